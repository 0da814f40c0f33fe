/* The real tokens of a run's batch, as its attention mask has them. */
#ifndef BERT_RUNTIME_TOKENS_H
#define BERT_RUNTIME_TOKENS_H

#include "core/graph/graph.h"

/** Zero it to begin with. Arrays keep their memory from run to run. */
typedef struct bert_tokens {
    int64_t batch, sequence;
    int64_t rows;     /**< Real tokens. */
    int64_t run_rows; /**< Rows of a run without padding: these, or some more. */
    /** The mask holds nothing but 0 and 1, drops something, and leaves every sequence a token. */
    bool packable;
    bool right;       /**< What it drops is on the right. */
    int32_t *starts;  /**< [batch + 1]: rows starts[b] to starts[b + 1] are sequence b. */
    int32_t *tokens;  /**< [run_rows]: row r is token tokens[r] = b sequence + s; behind `rows` the last one again. */
    uint8_t *counted; /**< [batch sequence]: 1 where the mask isn't 0. */
    void *memory;
    size_t bytes;
} bert_tokens;

/** Reads a mask of rank 2 at any alignment. BERT_OUT_OF_MEMORY. */
bert_status bert_tokens_count(bert_tokens *tokens, const bert_allocator *allocator, const bert_constant *mask,
                              bert_error *error);
void bert_tokens_free(bert_tokens *tokens, const bert_allocator *allocator);

/** Whether a token of a packable mask is real in every sequence. */
bool bert_tokens_have(const bert_tokens *tokens, int32_t position);

/** The number of rows that a plan is bound for so that it serves `rows`, in eighths of the batch. */
int64_t bert_tokens_bucket(const bert_tokens *tokens);

/** Makes run_rows a multiple of `step`, or the whole bucket, where `few` or fewer rows are real. step 0: leaves it. */
void bert_tokens_fill(bert_tokens *tokens, int64_t step, int64_t few);

#endif
