/*
 * Attention in float32. For each head K is transposed once into the thread's scratch (the kernel wants the right side
 * by rows of k), and V copied beside it: where it lies each row of it is on a page of its own. Then the attention
 * kernel takes a few rows of Q at a time, and writes the context straight into y.
 */
#include "cpu/gemm/gemm.h"
#include "cpu/ops/attention_form.h"

#include <string.h>

/* From one row of keys or scores to the next: an odd number of cache lines, so that a column of them lies in all of the
 * first-level cache's sets. With 512 keys it would lie in two. */
static int64_t row_floats(int64_t keys) {
    return bert_gemm_row_bytes(keys * (int64_t)sizeof(float)) / (int64_t)sizeof(float);
}

/* Keys, values and scores. */
static int64_t scratch_floats(const bert_attention_form *form, int64_t keys, int64_t width) {
    return row_floats(keys) * (width + BERT_ATTENTION_BLOCK) + bert_attention_padded(keys) * width;
}

static float *values_of(const bert_attention_head *head) {
    return head->scratch + head->width * row_floats(head->keys);
}

static void load(const bert_attention_form *form, const bert_attention_head *head) {
    float *values = values_of(head);
    head->prepared->device->kernels.transpose(&(bert_transpose_args){.y = head->scratch,
                                                                     .x = head->k,
                                                                     .ldy = row_floats(head->keys),
                                                                     .ldx = head->k_stride,
                                                                     .rows = head->keys,
                                                                     .columns = head->width});
    for (int64_t key = 0; key < head->keys; key++)
        memcpy(values + key * head->width, head->v + key * head->v_stride, (size_t)head->width * sizeof *values);
}

static void attend(const bert_attention_form *form, const bert_attention_head *head, int64_t first,
                   bert_attention_args *args) {
    args->keys = head->scratch + first;
    args->values = values_of(head) + first * head->width;
    args->scores = values_of(head) + head->width * bert_attention_padded(head->keys);
    args->ld_keys = args->ld_scores = row_floats(head->keys);
    args->ld_values = head->width;
    head->prepared->attend(args);
}

/* Up to 512 keys scores take 51 KB at most, and stay in the first-level cache, or near it. Either is whole tiles of 6
 * and of 8 rows. */
enum { BLOCK_ROWS = BERT_ATTENTION_BLOCK, MANY_KEYS_ROWS = BERT_ATTENTION_BLOCK / 2 };
_Static_assert((int)BERT_ATTENTION_BLOCK <= (int)BERT_ATTENTION_ROWS, "what the kernel takes");

const bert_attention_form bert_attention_float = {.kernel = "attention/cpu",
                                                  .scratch_floats = scratch_floats,
                                                  .load = load,
                                                  .key_step = 16,
                                                  .block_rows = BLOCK_ROWS,
                                                  .window_rows = MANY_KEYS_ROWS,
                                                  .attend = attend};
