/*
 * Attention in float32. For each head K is transposed once into the thread's scratch (the kernel wants the right side
 * by rows of k), and V copied beside it: where it lies each row of it is on a page of its own. Then the attention
 * kernel takes a few rows of Q at a time, and writes the context straight into y.
 */
#include "cpu/ops/attention_form.h"

#include <string.h>

/* Keys, values and scores. */
static int64_t scratch_floats(int64_t keys, int64_t width) {
    return bert_attention_padded(keys) * (2 * width + BERT_ATTENTION_BLOCK);
}

static float *values_of(const bert_attention_head *head) {
    return head->scratch + head->width * bert_attention_padded(head->keys);
}

static void load(const bert_attention_head *head) {
    float *values = values_of(head);
    head->prepared->device->kernels.transpose(&(bert_transpose_args){.y = head->scratch,
                                                                     .x = head->k,
                                                                     .ldy = bert_attention_padded(head->keys),
                                                                     .ldx = head->stride,
                                                                     .rows = head->keys,
                                                                     .columns = head->width});
    for (int64_t key = 0; key < head->keys; key++)
        memcpy(values + key * head->width, head->v + key * head->stride, (size_t)head->width * sizeof *values);
}

static void attend(const bert_attention_head *head, bert_attention_args *args) {
    args->keys = head->scratch;
    args->values = values_of(head);
    args->scores = values_of(head) + head->width * bert_attention_padded(head->keys);
    args->ld_keys = args->ld_scores = bert_attention_padded(head->keys);
    args->ld_values = head->width;
    head->prepared->attend(args);
}

const bert_attention_form bert_attention_float = {
    .kernel = "attention/cpu", .scratch_floats = scratch_floats, .load = load, .attend = attend};
