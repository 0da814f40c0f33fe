#include "bench/kernels/attention_cases.h"

#include <string.h>

/* ---- The kernel of float32 --------------------------------------------------------------------------------------- */

/* m queries, n keys, k wide; the fourth input is scratch. */
bool lab_prepare_attention(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->k, 1.0F) && lab_add_floats(b, 1, s->k * s->n, 1.0F) &&
           lab_add_floats(b, 2, s->n * s->k, 1.0F) && lab_add_floats(b, 3, s->m * s->n, 1.0F) &&
           lab_add_floats(b, 4, s->n, 1.0F) && lab_set_output(b, (size_t)(s->m * s->k) * sizeof(float));
}

void lab_call_attention(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->attention(&(bert_attention_args){.y = b->out,
                                            .q = b->inputs[0],
                                            .keys = b->inputs[1],
                                            .values = b->inputs[2],
                                            .scores = b->inputs[3],
                                            .ldy = s->k,
                                            .ldq = s->k,
                                            .ld_keys = s->n,
                                            .ld_values = s->k,
                                            .ld_scores = s->n,
                                            .rows = s->m,
                                            .n = s->n,
                                            .width = s->k,
                                            .scale = 0.125F,
                                            .bias = b->inputs[4],
                                            .bias_stride = 1});
}

double lab_attention_work(const lab_shape *s) {
    return 2.0 * lab_product_work(s);
}

/* ---- Those of products of bfloat16 ------------------------------------------------------------------------------- */

static int64_t side_bytes(int64_t panels, int64_t k, int32_t parts) {
    return panels * bert_split_tiles(k) * bert_parts_elements(parts) * (int64_t)sizeof(uint16_t);
}

static int64_t right_bytes(const lab_shape *s) {
    return side_bytes(bert_parts_panels(s->n), s->k, BERT_SPLIT_PARTS);
}

bool lab_prepare_left(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->k, 3.0F) && lab_set_output(b, (size_t)side_bytes(1, s->k, (int32_t)s->n));
}

void lab_call_left(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->attention_left(&(bert_attention_left_args){
        .y = b->out, .x = b->inputs[0], .ldx = s->k, .rows = s->m, .k = s->k, .parts = (int32_t)s->n});
}

double lab_left_work(const lab_shape *s) {
    return (double)(s->m * s->k) * (4.0 + 2.0 * (double)s->n);
}

bool lab_prepare_right(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->k * s->n, 3.0F) && lab_set_output(b, (size_t)right_bytes(s));
}

void lab_call_right(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->attention_right(&(bert_attention_right_args){.y = b->out,
                                                        .x = b->inputs[0],
                                                        .ldx = s->m == 2 ? s->k : s->n,
                                                        .k = s->k,
                                                        .columns = s->n,
                                                        .parts = BERT_SPLIT_PARTS,
                                                        .transposed = s->m == 2});
}

double lab_right_work(const lab_shape *s) {
    return (double)(s->k * s->n) * (4.0 + 2.0 * BERT_SPLIT_PARTS);
}

bool lab_prepare_multiply(const lab_shape *s, lab_buffers *b) {
    if (!lab_add_floats(b, 0, s->m * s->k, 1.0F) || !lab_add_floats(b, 1, s->k * s->n, 1.0F) ||
        !lab_add_bytes(b, 2, side_bytes(1, s->k, BERT_SPLIT_PARTS)) || !lab_add_bytes(b, 3, right_bytes(s)) ||
        !lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float)))
        return false;
    bert_cpu_kernels_scalar.attention_left(&(bert_attention_left_args){
        .y = b->inputs[2], .x = b->inputs[0], .ldx = s->k, .rows = s->m, .k = s->k, .parts = BERT_SPLIT_PARTS});
    bert_cpu_kernels_scalar.attention_right(&(bert_attention_right_args){
        .y = b->inputs[3], .x = b->inputs[1], .ldx = s->n, .k = s->k, .columns = s->n, .parts = BERT_SPLIT_PARTS});
    return true;
}

void lab_call_multiply(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    const int64_t tiles = bert_split_tiles(s->k);
    table->attention_multiply(&(bert_attention_multiply_args){.c = b->out,
                                                              .a = b->inputs[2],
                                                              .b = b->inputs[3],
                                                              .ldc = s->n,
                                                              .b_stride = tiles * bert_parts_elements(BERT_SPLIT_PARTS),
                                                              .rows = s->m,
                                                              .columns = s->n,
                                                              .tiles = tiles,
                                                              .parts = BERT_SPLIT_PARTS});
}

/* Input 1 is scratch for the scores, 2 for the parts; the totals are the output. */
bool lab_prepare_probabilities(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->n, 3.0F) && lab_add_floats(b, 1, s->m * s->n, 3.0F) &&
           lab_add_bytes(b, 2, side_bytes(1, s->n, (int32_t)s->k)) && lab_set_output(b, (size_t)s->m * sizeof(float));
}

/* Scores are overwritten: it starts from a fresh copy, whose cost is part of what is measured. */
void lab_call_probabilities(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    memcpy(b->inputs[1], b->inputs[0], (size_t)(s->m * s->n) * sizeof(float));
    const bert_attention_args attention = {
        .scores = b->inputs[1], .ld_scores = s->n, .rows = s->m, .n = s->n, .scale = 0.125F};
    table->attention_probabilities(&(bert_attention_probabilities_args){
        .y = b->inputs[2], .totals = b->out, .attention = &attention, .parts = (int32_t)s->k});
}

double lab_probabilities_work(const lab_shape *s) {
    return lab_float_traffic(s, 3) + (double)(s->m * s->n) * 2.0 * (double)s->k;
}

/* Input 2 is room for what rows are left out. */
bool lab_prepare_divide(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->n, 3.0F) && lab_add_floats(b, 1, s->m, 3.0F) && lab_add_bytes(b, 2, s->m) &&
           lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

void lab_call_divide(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->attention_divide(&(bert_attention_divide_args){.y = b->out,
                                                          .x = b->inputs[0],
                                                          .totals = b->inputs[1],
                                                          .left_out = b->inputs[2],
                                                          .ldy = s->n,
                                                          .ldx = s->n,
                                                          .rows = s->m,
                                                          .width = s->n});
}

double lab_divide_work(const lab_shape *s) {
    return lab_float_traffic(s, 2);
}
