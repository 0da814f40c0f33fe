/*
 * How a head's attention is computed: what its keys and values are laid out as, and what a block of queries does with
 * them. attention.c walks sequences, heads and blocks, whatever the form; it calls bert_cpu_enter before these
 * functions and bert_cpu_exit after them.
 */
#ifndef BERT_CPU_OPS_ATTENTION_FORM_H
#define BERT_CPU_OPS_ATTENTION_FORM_H

#include "cpu/device.h"

/** Keys and values of one head of one sequence. */
typedef struct bert_attention_head {
    const bert_prepared *prepared;
    const float *k, *v;         /**< [keys, width] each, */
    int64_t k_stride, v_stride; /**< rows these elements apart: K's may be rotated copies. */
    int64_t keys, width;
    float *scratch; /**< Of this thread, aligned to 64: as much as the form's scratch_floats. */
} bert_attention_head;

typedef struct bert_attention_form bert_attention_form;
struct bert_attention_form {
    const char *kernel; /**< For profiles: "attention/cpu". */
    int32_t parts;      /**< Bfloat16 that an operand becomes; 0: it stays float32. */
    /** Scratch of a thread for so many keys; a multiple of 16. */
    int64_t (*scratch_floats)(const bert_attention_form *form, int64_t keys, int64_t width);
    /** Lays keys and values out in the scratch. */
    void (*load)(const bert_attention_form *form, const bert_attention_head *head);
    /** Ranges of keys begin at multiples of it, a multiple of 16, and end at such or with all keys: so what sums are
     * made of is added in the order in which it is with all keys. */
    int64_t key_step;
    /** Queries that are attended to at once, BERT_ATTENTION_BLOCK at most; where there are many keys, or each query has
     * a window of them, window_rows, of which block_rows are a multiple. */
    int64_t block_rows, window_rows;
    /** Up to block_rows queries and the head's keys [first, first + n): y, q, their strides, rows, n, lead,
     * scale, bias and mask are set in args. `first` is a multiple of key_step. */
    void (*attend)(const bert_attention_form *form, const bert_attention_head *head, int64_t first,
                   bert_attention_args *args);
};

/** Queries that any form attends to at once, at most. */
enum { BERT_ATTENTION_BLOCK = 48 };

/** float32, by the prepared model's attention kernel. */
extern const bert_attention_form bert_attention_float;
/** float32 by products of split numbers, where these are faster: where there is AMX. */
extern const bert_attention_form bert_attention_split;
/** Q, K, V and probabilities rounded to bfloat16, sums and softmax in float32. */
extern const bert_attention_form bert_attention_bf16;

/** A multiple of a cache line's 16 floats. */
static inline int64_t bert_attention_padded(int64_t count) {
    return (count + 15) / 16 * 16;
}

#endif
