/*
 * Which keys attention masks drop, found by following what a mask is made of.
 *
 * Exporters spell a mask in a dozen ways; what counts is on which element of the attention mask (the graph's input)
 * each element of Attention's bias or mask depends, and what it is where that is 0 and where it is 1; or on which two,
 * a query's and a key's, where they are multiplied and either makes it 0. Both are found for concrete shapes by running
 * the mask's nodes: on zeros, on ones, and, where nodes move elements, on their own indices. What can't be followed so
 * is not known, and no padding is skipped then. A mask that compares positions with the sum of a sequence's mask is
 * followed as if all padding were on the right, which a run must see to.
 */
#ifndef BERT_RUNTIME_TOKEN_MASK_H
#define BERT_RUNTIME_TOKEN_MASK_H

#include "core/runtime/bind.h"

/** An element that depends on none of the mask, and one of which it is not known. */
enum { BERT_MASK_NONE = -1, BERT_MASK_UNKNOWN = -2, BERT_MASK_LENGTHS = -3 };
/** An element that is the number of ones of a sequence. */
#define BERT_MASK_LENGTH_OF(sequence) (BERT_MASK_LENGTHS - (sequence))

/** A value that is made of the attention mask and constants. */
typedef struct bert_mask_probe {
    bert_tensor zeros, ones; /**< What it holds when the mask is all 0, and all 1. */
    const int32_t *depends;  /**< By element: the element of the mask that it depends on, BERT_MASK_NONE, UNKNOWN, or
                               BERT_MASK_LENGTH_OF its sequence. */
    const int32_t *with;     /**< By element: a second one, where it is what it is in `zeros` as soon as either is 0;
                               else BERT_MASK_NONE. NULL: NONE for all. */
    int64_t elements;
} bert_mask_probe;

typedef struct bert_mask_prober {
    const bert_binding *binding;
    const bert_value *mask; /**< The graph's input, [batch, sequence] in this binding. */
    int64_t batch, sequence;
    bert_arena *arena;
    const bert_mask_probe **probes; /**< By value id. */
    bool *tried;                    /**< By value id. */
    bool right; /**< Something that was probed is so only where padding is on the right: it compares with a length. */
    bert_error *error;
} bert_mask_prober;

/**
 * The graph's input, by index, that says which tokens of [batch, sequence] are real: of rank 2, integer or boolean, and
 * the only one that the masks of canonical Attentions depend on; where there are none, the one called attention_mask.
 * *out -1: there is none. BERT_OUT_OF_MEMORY.
 */
bert_status bert_token_mask_find(const bert_graph *graph, int32_t *out, bert_error *error);

/** Starts probing in a binding whose inputs have shapes. BERT_OUT_OF_MEMORY. */
bert_status bert_mask_prober_begin(bert_mask_prober *prober, const bert_model *model, const bert_binding *binding,
                                   bert_arena *arena, bert_error *error);
/** *out NULL: it can't be followed. BERT_OUT_OF_MEMORY. */
bert_status bert_mask_probe_value(bert_mask_prober *prober, const bert_value *value, const bert_mask_probe **out);

/**
 * Whether a canonical Attention over every token drops just the keys whose element of the mask is 0: each with a
 * probability of 0, as long as a sequence has one that is 1, and leaves every other token itself to attend to. *why: a
 * static string where it doesn't, or where that isn't certain; NULL where it does. BERT_OUT_OF_MEMORY.
 */
bert_status bert_mask_drops_keys(bert_mask_prober *prober, const bert_node *attention, const char **why);
/**
 * Whether `value`, of `rank` dimensions as a tensor [batch, sequence, ...] that it is broadcast against, is one *number
 * (0 and 1 of booleans) at every token whose element of the mask is 0. BERT_OUT_OF_MEMORY.
 */
bert_status bert_mask_at_padding(bert_mask_prober *prober, const bert_value *value, int32_t rank, bool *one,
                                 double *number);
/**
 * Whether `value`, of [batch, sequence], has 0 where the attention mask has 0 and 1 where it has 1. BERT_OUT_OF_MEMORY.
 */
bert_status bert_mask_is_tokens(bert_mask_prober *prober, const bert_value *value, bool *out);

#endif
