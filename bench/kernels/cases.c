#include "bench/kernels/cases.h"

#include "bench/kernels/attention_cases.h"
#include "bench/kernels/byte_cases.h"
#include "core/base/float16.h"
#include "core/base/memory.h"

#include <stdlib.h>
#include <string.h>

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

void *lab_allocate(size_t bytes) {
    /* As activations lie. */
    const size_t alignment = bytes < BERT_LARGE_PAGE ? BERT_ALIGNMENT : BERT_LARGE_PAGE;
    const size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void *memory = aligned_alloc(alignment, whole ? whole : alignment);
    if (memory) bert_ask_for_large_pages(memory, whole);
    if (memory) memset(memory, 0, whole);
    return memory;
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

void lab_fill(float *x, int64_t count, float scale, uint32_t seed) {
    uint32_t state = seed * 2654435761U + 12345U;
    for (int64_t i = 0; i < count; i++) x[i] = ((float)next_random(&state) * 0x1p-23F - 1.0F) * scale;
}

void lab_free(lab_buffers *buffers) {
    for (int i = 0; i < LAB_INPUTS; i++) free(buffers->inputs[i]);
    free(buffers->out);
    *buffers = (lab_buffers){0};
}

bool lab_add_floats(lab_buffers *buffers, int index, int64_t count, float scale) {
    buffers->inputs[index] = lab_allocate((size_t)count * sizeof(float));
    if (!buffers->inputs[index]) return false;
    lab_fill(buffers->inputs[index], count, scale, (uint32_t)index + 1);
    return true;
}

bool lab_add_bytes(lab_buffers *buffers, int index, int64_t count) {
    uint32_t state = (uint32_t)index + 77;
    unsigned char *bytes = buffers->inputs[index] = lab_allocate((size_t)count);
    for (int64_t i = 0; bytes && i < count; i++) bytes[i] = (unsigned char)(next_random(&state) >> 8);
    return bytes != NULL;
}

/* Input `index`: the same whole number or float for each row. */
static bool add_constants(lab_buffers *buffers, int index, int64_t count, int32_t whole, float number, bool is_float) {
    int32_t *values = buffers->inputs[index] = lab_allocate((size_t)count * sizeof *values);
    if (values && is_float)
        for (int64_t i = 0; i < count; i++) memcpy(&values[i], &number, sizeof number);
    else if (values)
        for (int64_t i = 0; i < count; i++) values[i] = whole;
    return values != NULL;
}

bool lab_set_output(lab_buffers *buffers, size_t bytes) {
    buffers->out_bytes = bytes;
    buffers->out = lab_allocate(bytes);
    return buffers->out != NULL;
}

double lab_product_work(const lab_shape *s) {
    return 2.0 * (double)s->m * (double)s->n * (double)s->k;
}

double lab_float_traffic(const lab_shape *s, int matrices) {
    return (double)s->m * (double)s->n * 4.0 * matrices;
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

static bool prepare_sgemm(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->k, 1.0F) && lab_add_floats(b, 1, s->k * s->n, 1.0F) &&
           lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_sgemm(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->sgemm(&(bert_sgemm_args){.c = b->out,
                                    .a = b->inputs[0],
                                    .b = b->inputs[1],
                                    .ldc = s->n,
                                    .lda = s->k,
                                    .ldb = s->n,
                                    .m = s->m,
                                    .n = s->n,
                                    .k = s->k});
}

/* ---- What passes over rows --------------------------------------------------------------------------------------- */

static bool prepare_rows(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->n, 3.0F) && lab_add_floats(b, 1, s->m * s->n, 3.0F) &&
           lab_add_floats(b, 2, s->n, 1.0F) && lab_add_floats(b, 3, s->n, 1.0F) && lab_add_floats(b, 4, s->n, 1.0F) &&
           lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

/* The epilogue works in place: it starts from a fresh copy, whose cost is part of what is measured. */
static void call_epilogue(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    memcpy(b->out, b->inputs[0], b->out_bytes);
    table->epilogue(&(bert_epilogue_args){.y = b->out,
                                          .bias = b->inputs[2],
                                          .residual = b->inputs[1],
                                          .stride = s->n,
                                          .residual_stride = s->n,
                                          .rows = s->m,
                                          .n = s->n,
                                          .alpha = 1.0F,
                                          .activation = s->k ? BERT_UNARY_GELU : BERT_UNARY_IDENTITY});
}

static double epilogue_work(const lab_shape *s) {
    return lab_float_traffic(s, 5);
}

static void call_layer_norm(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->layer_norm(&(bert_layer_norm_args){.y = b->out,
                                              .x = b->inputs[0],
                                              .skip = b->inputs[1],
                                              .bias = b->inputs[2],
                                              .gamma = b->inputs[3],
                                              .beta = b->inputs[4],
                                              .rows = s->m,
                                              .n = s->n,
                                              .epsilon = 1e-12F});
}

static double three_matrices(const lab_shape *s) {
    return lab_float_traffic(s, 3);
}

static double two_matrices(const lab_shape *s) {
    return lab_float_traffic(s, 2);
}

static void call_softmax(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    for (int64_t row = 0; row < s->m; row++)
        table->softmax(&(bert_softmax_args){.y = (float *)b->out + row * s->n,
                                            .x = (const float *)b->inputs[0] + row * s->n,
                                            .n = s->n,
                                            .scale = 0.125F,
                                            .bias = b->inputs[2],
                                            .bias_stride = 1});
}

static void call_unary(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->unary(&(bert_unary_args){b->out, b->inputs[0], s->m * s->n, (bert_unary)s->k});
}

static void call_binary(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->binary(&(bert_binary_args){b->out, b->inputs[0], b->inputs[1], 1, 1, s->m * s->n, BERT_BINARY_MULTIPLY});
}

static void call_transpose(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->transpose(&(bert_transpose_args){b->out, b->inputs[0], s->m, s->n, s->m, s->n});
}

/* The rows are heads of one tensor as wide as BERT-base's; inputs 1 and 2 are cosines and sines. */
enum { ROTATED_STRIDE = 768 };

static bool prepare_rotate(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * ROTATED_STRIDE, 1.0F) && lab_add_floats(b, 1, s->m * s->n, 1.0F) &&
           lab_add_floats(b, 2, s->m * s->n, 1.0F) && lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_rotate(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->rotate(&(bert_rotate_args){.y = b->out,
                                      .x = b->inputs[0],
                                      .cosines = b->inputs[1],
                                      .sines = b->inputs[2],
                                      .ldy = s->n,
                                      .ldx = ROTATED_STRIDE,
                                      .ld_angles = s->n,
                                      .rows = s->m,
                                      .n = s->n});
}

static double rotate_work(const lab_shape *s) {
    return lab_float_traffic(s, 4);
}

/* Rows one after the other, each a step further, as relative positions of queries and keys are. */
static bool prepare_take(const lab_shape *s, lab_buffers *b) {
    if (!lab_add_floats(b, 0, s->m * s->k, 1.0F) || !add_constants(b, 1, s->m * s->n, 0, 0, false)) return false;
    for (int64_t i = 0; i < s->m * s->n; i++)
        ((int32_t *)b->inputs[1])[i] = (int32_t)((i / s->n + s->n - 1 - i % s->n) % s->k);
    return lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_take(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->take(&(bert_take_args){.y = b->out,
                                  .x = b->inputs[0],
                                  .index = b->inputs[1],
                                  .ldy = s->n,
                                  .ldx = s->k,
                                  .ld_index = s->n,
                                  .rows = s->m,
                                  .n = s->n,
                                  .width = s->k,
                                  .scale = 0.125F});
}

/* ---- Quantization ------------------------------------------------------------------------------------------------ */

static bool prepare_range(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->n, 3.0F) && lab_set_output(b, (size_t)s->m * sizeof(bert_row_range));
}

static void call_range(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->range(&(bert_range_args){.ranges = b->out, .x = b->inputs[0], .rows = s->m, .n = s->n});
}

static double one_matrix(const lab_shape *s) {
    return lab_float_traffic(s, 1);
}

static bool prepare_quantize(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->n, 3.0F) && add_constants(b, 1, s->m, 0, 0.02F, true) &&
           add_constants(b, 2, s->m, 128, 0.0F, false) && lab_set_output(b, (size_t)(s->m * (s->n + 4)));
}

static void call_quantize(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    uint8_t *out = b->out; /* the sums first, then the bytes */
    table->quantize(&(bert_quantize_args){.y = out + 4 * s->m,
                                          .sums = (int32_t *)b->out,
                                          .x = b->inputs[0],
                                          .scales = b->inputs[1],
                                          .zero_points = b->inputs[2],
                                          .rows = s->m,
                                          .n = s->n,
                                          .stride = s->n});
}

static double quantize_work(const lab_shape *s) {
    return (double)s->m * (double)s->n * 5.0;
}

/* Sums of up to 2^31 become numbers of up to 4.3, where activations have their curves. */
static bool prepare_dequantize(const lab_shape *s, lab_buffers *b) {
    return lab_add_bytes(b, 0, s->m * s->n * 4) && add_constants(b, 1, s->m, 0, 0.02F, true) &&
           add_constants(b, 2, s->m, 128, 0.0F, false) && add_constants(b, 3, s->n, 0, 1e-7F, true) &&
           add_constants(b, 4, s->n, 3, 0.0F, false) && lab_add_bytes(b, 5, s->n * 4) &&
           lab_add_floats(b, 6, s->n, 1.0F) && lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_dequantize(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->dequantize(&(bert_dequantize_args){.y = b->out,
                                              .c = b->inputs[0],
                                              .x_scales = b->inputs[1],
                                              .x_zeros = b->inputs[2],
                                              .x_sums = b->inputs[2],
                                              .scales = b->inputs[3],
                                              .zeros = b->inputs[4],
                                              .offsets = b->inputs[5],
                                              .stride = s->n,
                                              .rows = s->m,
                                              .n = s->n,
                                              .bias = b->inputs[6],
                                              .activation = s->k ? BERT_UNARY_GELU : BERT_UNARY_IDENTITY});
}

static bool prepare_dequantize_bytes(const lab_shape *s, lab_buffers *b) {
    return lab_add_bytes(b, 0, s->m * s->n) && lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_dequantize_bytes(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->dequantize_bytes(&(bert_dequantize_bytes_args){.y = b->out,
                                                          .x = b->inputs[0],
                                                          .n = s->m * s->n,
                                                          .scale = 0.02F,
                                                          .zero_point = s->k ? 3 : 128,
                                                          .is_signed = s->k != 0});
}

static void call_quantized_add(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    static const bert_requantization by = {.scale = 0.02F, .least = -128, .most = 127, .shift = 0, .new_scale = 0.02F};
    table->quantized_add(&(bert_quantized_add_args){.y = b->out,
                                                    .a = b->inputs[0],
                                                    .b = b->inputs[1],
                                                    .a_stride = 1,
                                                    .b_stride = 1,
                                                    .n = s->m * s->n,
                                                    .a_by = &by,
                                                    .y_by = &by});
}

static bool prepare_lookup(const lab_shape *s, lab_buffers *b) {
    return lab_add_bytes(b, 0, s->m * s->n) && lab_add_bytes(b, 1, 256) && lab_set_output(b, (size_t)(s->m * s->n));
}

static void call_lookup(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->lookup(&(bert_lookup_args){.y = b->out, .x = b->inputs[0], .table = b->inputs[1], .n = s->m * s->n});
}

static double lookup_work(const lab_shape *s) {
    return (double)s->m * (double)s->n * 2.0;
}

/* ---- Floats of 16 bits ------------------------------------------------------------------------------------------- */

static bool prepare_to_bf16(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->n, 3.0F) && lab_set_output(b, (size_t)(s->m * s->n) * sizeof(uint16_t));
}

static void call_to_bf16(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->to_bf16(&(bert_to_bf16_args){
        .y = b->out, .x = b->inputs[0], .ldy = s->n, .ldx = s->n, .rows = s->m, .n = s->n, .padded = s->n});
}

static bool prepare_from_bf16(const lab_shape *s, lab_buffers *b) {
    return lab_add_bytes(b, 0, s->m * s->n * 2) && lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_from_bf16(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->from_bf16(&(bert_from_bf16_args){b->out, b->inputs[0], s->m * s->n});
}

/* Numbers below 2: which NaN a NaN becomes is the instruction set's. */
static bool prepare_from_f16(const lab_shape *s, lab_buffers *b) {
    if (!prepare_from_bf16(s, b)) return false;
    uint16_t *halves = b->inputs[0];
    for (int64_t i = 0; i < s->m * s->n; i++) halves[i] &= 0xbfff;
    return true;
}

static void call_to_f16(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->to_f16(&(bert_to_f16_args){b->out, b->inputs[0], s->m * s->n});
}

static void call_from_f16(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->from_f16(&(bert_from_f16_args){b->out, b->inputs[0], s->m * s->n});
}

static double conversion_work(const lab_shape *s) {
    return (double)s->m * (double)s->n * 6.0;
}

/* Random floats, rounded. */
static bool add_halves(lab_buffers *buffers, int index, int64_t count) {
    if (!lab_add_floats(buffers, index, count, 1.0F)) return false;
    const float *values = buffers->inputs[index];
    uint16_t *halves = buffers->inputs[index]; /* in place: each goes before what is still to be read */
    for (int64_t i = 0; i < count; i++) {
        const float value = values[i];
        halves[i] = bert_float_to_bfloat16(value);
    }
    return true;
}

static bool prepare_sgemm_bf16(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->k, 1.0F) && add_halves(b, 1, s->k * s->n) &&
           lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float));
}

static void call_sgemm_bf16(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    const bert_sgemm_args product = {
        .c = b->out, .a = b->inputs[0], .ldc = s->n, .lda = s->k, .ldb = s->n, .m = s->m, .n = s->n, .k = s->k};
    table->sgemm_bf16(&(bert_sgemm_bf16_args){.product = product, .b = b->inputs[1]});
}

static bool prepare_bgemm(const lab_shape *s, lab_buffers *b) {
    return add_halves(b, 0, s->m * s->k) && add_halves(b, 1, s->k * BERT_BGEMM_COLUMNS) &&
           lab_set_output(b, (size_t)(s->m * BERT_BGEMM_COLUMNS) * sizeof(float));
}

static void call_bgemm(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->bgemm(&(bert_bgemm_args){.c = b->out,
                                    .a = b->inputs[0],
                                    .b = b->inputs[1],
                                    .ldc = BERT_BGEMM_COLUMNS,
                                    .lda = s->k,
                                    .rows = s->m,
                                    .steps = s->k / BERT_BGEMM_STEP});
}

/* ---- Split float32 ----------------------------------------------------------------------------------------------- */

static int64_t split_rows_elements(const lab_shape *s) {
    return bert_split_tiles(s->k) * bert_split_rows_elements(s->m);
}

static int64_t split_panel_elements(const lab_shape *s) {
    return bert_split_tiles(s->k) * bert_split_panel_elements(s->n);
}

static bool prepare_split_rows(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->m * s->k, 3.0F) &&
           lab_set_output(b, (size_t)split_rows_elements(s) * sizeof(uint16_t));
}

static void call_split_rows(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->split_rows(&(bert_split_rows_args){.y = b->out, .x = b->inputs[0], .ldx = s->k, .rows = s->m, .k = s->k});
}

/* Of x alone, or of a panel alone: the other size is 1. */
static double split_work(const lab_shape *s) {
    return (double)s->m * (double)s->n * (double)s->k * 10.0;
}

static bool prepare_split_panel(const lab_shape *s, lab_buffers *b) {
    return lab_add_floats(b, 0, s->k * s->n, 3.0F) &&
           lab_set_output(b, (size_t)split_panel_elements(s) * sizeof(uint16_t));
}

static bert_split_panel_args panel_to_split(const lab_shape *s, const float *x, uint16_t *y) {
    return (bert_split_panel_args){
        .y = y, .x = x, .ldx = s->n, .columns = s->n, .k = s->k, .end = bert_split_tiles(s->k) * BERT_SPLIT_PAIRS};
}

static void call_split_panel(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    const bert_split_panel_args args = panel_to_split(s, b->inputs[0], b->out);
    table->split_panel(&args);
}

/* Both sides are split already, and nothing is meanwhile: `--products` times that. */
static bool prepare_sgemm_split(const lab_shape *s, lab_buffers *b) {
    if (!lab_add_floats(b, 0, s->m * s->k, 1.0F) || !lab_add_floats(b, 1, s->k * s->n, 1.0F) ||
        !lab_add_bytes(b, 2, split_rows_elements(s) * 2) || !lab_add_bytes(b, 3, split_panel_elements(s) * 2) ||
        !lab_add_bytes(b, 4, s->m) || !lab_set_output(b, (size_t)(s->m * s->n) * sizeof(float)))
        return false;
    const bert_split_panel_args panel = panel_to_split(s, b->inputs[1], b->inputs[3]);
    bert_cpu_kernels_scalar.split_panel(&panel);
    bert_cpu_kernels_scalar.split_rows(
        &(bert_split_rows_args){.y = b->inputs[2], .x = b->inputs[0], .ldx = s->k, .rows = s->m, .k = s->k});
    return true;
}

static void call_sgemm_split(const bert_cpu_kernels *table, const lab_shape *s, const lab_buffers *b) {
    table->sgemm_split(&(bert_sgemm_split_args){.c = b->out,
                                                .a = b->inputs[2],
                                                .b = b->inputs[3],
                                                .left_out = b->inputs[4],
                                                .ldc = s->n,
                                                .a_stride = bert_split_tiles(s->k) * BERT_SPLIT_GROUP_TILE,
                                                .rows = s->m,
                                                .columns = s->n,
                                                .tiles = bert_split_tiles(s->k)});
}

/* ---- The list ---------------------------------------------------------------------------------------------------- */

#define HAS(name)                                                                                                      \
    static bool has_##name(const bert_cpu_kernels *table) {                                                            \
        return table->name != NULL;                                                                                    \
    }
BERT_CPU_KERNELS(HAS)
#undef HAS

/* A panel of the AVX-512 kernel is 48 wide, one of AVX2's 16: both divide 48. */
const lab_kernel lab_kernels[] = {
    {"sgemm",
     "rows x columns x depth",
     {{1, 48, 768},
      {8, 48, 768},
      {16, 48, 768},
      {48, 48, 768},
      {128, 48, 768},
      {128, 48, 384},
      {48, 128, 64},
      {48, 64, 128}},
     LAB_PEAK_FLOAT,
     1e-4F,
     prepare_sgemm,
     call_sgemm,
     lab_product_work,
     has_sgemm},
    {"epilogue",
     "rows x columns, gelu (1) or none (0)",
     {{48, 48, 0}, {48, 48, 1}, {128, 48, 1}},
     LAB_PEAK_CACHE,
     1e-6F,
     prepare_rows,
     call_epilogue,
     epilogue_work,
     has_epilogue},
    {"layer_norm",
     "rows x columns",
     {{16, 384, 0}, {16, 768, 0}, {16, 1024, 0}},
     LAB_PEAK_CACHE,
     2e-5F,
     prepare_rows,
     call_layer_norm,
     three_matrices,
     has_layer_norm},
    {"softmax",
     "rows x columns",
     {{48, 16, 0}, {48, 128, 0}, {48, 512, 0}},
     LAB_PEAK_CACHE,
     1e-6F,
     prepare_rows,
     call_softmax,
     two_matrices,
     has_softmax},
    {"attention",
     "queries x keys x width",
     {{16, 16, 64}, {48, 128, 64}, {24, 512, 64}, {48, 128, 32}},
     LAB_PEAK_FLOAT,
     1e-5F,
     lab_prepare_attention,
     lab_call_attention,
     lab_attention_work,
     has_attention},
    {"unary",
     "rows x columns, function",
     {{16, 768, BERT_UNARY_GELU}, {16, 768, BERT_UNARY_TANH}, {16, 768, BERT_UNARY_EXP}},
     LAB_PEAK_CACHE,
     1e-6F,
     prepare_rows,
     call_unary,
     two_matrices,
     has_unary},
    {"binary",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_rows,
     call_binary,
     three_matrices,
     has_binary},
    {"transpose",
     "rows x columns",
     {{128, 64, 0}, {384, 64, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_rows,
     call_transpose,
     two_matrices,
     has_transpose},
    {"rotate",
     "rows x columns",
     {{48, 64, 0}, {48, 32, 0}},
     LAB_PEAK_CACHE,
     1e-6F,
     prepare_rotate,
     call_rotate,
     rotate_work,
     has_rotate},
    {"take",
     "rows x columns x width",
     {{16, 16, 31}, {48, 128, 175}, {48, 256, 303}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_take,
     call_take,
     three_matrices,
     has_take},
    {"range", "rows x columns", {{16, 768, 0}}, LAB_PEAK_CACHE, 0.0F, prepare_range, call_range, one_matrix, has_range},
    {"quantize",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_quantize,
     call_quantize,
     quantize_work,
     has_quantize},
    {"measure_excess",
     "steps x columns",
     {{192, 48, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     lab_prepare_measure_excess,
     lab_call_measure_excess,
     lab_measure_excess_work,
     has_measure_excess},
    {"qgemm",
     "rows x columns x depth",
     {{1, 48, 768}, {8, 48, 768}, {16, 48, 768}, {64, 48, 768}, {64, 48, 3072}, {64, 48, 384}},
     LAB_PEAK_INT8,
     0.0F,
     lab_prepare_qgemm,
     lab_call_qgemm,
     lab_product_work,
     has_qgemm},
    {"dequantize",
     "rows x columns, gelu (1) or none (0)",
     {{64, 48, 0}, {64, 48, 1}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_dequantize,
     call_dequantize,
     two_matrices,
     has_dequantize},
    {"dequantize_bytes",
     "rows x columns, int8 (1) or uint8 (0)",
     {{16, 768, 0}, {16, 768, 1}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_dequantize_bytes,
     call_dequantize_bytes,
     quantize_work,
     has_dequantize_bytes},
    {"quantized_add",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_rows,
     call_quantized_add,
     three_matrices,
     has_quantized_add},
    {"lookup",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_lookup,
     call_lookup,
     lookup_work,
     has_lookup},
    {"to_bf16",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_to_bf16,
     call_to_bf16,
     conversion_work,
     has_to_bf16},
    {"from_bf16",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_from_bf16,
     call_from_bf16,
     conversion_work,
     has_from_bf16},
    {"sgemm_bf16",
     "rows x columns x depth",
     {{1, 48, 768}, {8, 48, 768}, {16, 48, 768}, {128, 48, 768}},
     LAB_PEAK_FLOAT,
     1e-4F,
     prepare_sgemm_bf16,
     call_sgemm_bf16,
     lab_product_work,
     has_sgemm_bf16},
    {"bgemm",
     "rows x columns x depth",
     {{1, 48, 768}, {16, 48, 768}, {64, 48, 768}, {64, 48, 3072}},
     LAB_PEAK_BF16,
     1e-4F,
     prepare_bgemm,
     call_bgemm,
     lab_product_work,
     has_bgemm},
    {"split_rows",
     "rows x nothing x depth",
     {{16, 1, 768}, {128, 1, 768}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_split_rows,
     call_split_rows,
     split_work,
     has_split_rows},
    {"split_panel",
     "nothing x columns x depth",
     {{1, 48, 768}, {1, 16, 128}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_split_panel,
     call_split_panel,
     split_work,
     has_split_panel},
    {"sgemm_split",
     "rows x columns x depth",
     {{16, 48, 768}, {32, 48, 64}, {32, 48, 768}, {128, 48, 768}, {48, 16, 128}},
     LAB_PEAK_FLOAT,
     1e-4F,
     prepare_sgemm_split,
     call_sgemm_split,
     lab_product_work,
     has_sgemm_split},
    {"attention_left",
     "rows x parts x depth",
     {{32, 3, 64}, {32, 1, 64}},
     LAB_PEAK_CACHE,
     0.0F,
     lab_prepare_left,
     lab_call_left,
     lab_left_work,
     has_attention_left},
    {"attention_right",
     "transposed (2) or not (1) x columns x depth",
     {{2, 128, 64}, {1, 64, 128}, {2, 384, 64}, {1, 64, 384}},
     LAB_PEAK_CACHE,
     0.0F,
     lab_prepare_right,
     lab_call_right,
     lab_right_work,
     has_attention_right},
    {"attention_multiply",
     "rows x columns x depth",
     {{16, 16, 64}, {32, 128, 64}, {32, 64, 128}, {32, 384, 64}, {32, 64, 384}},
     LAB_PEAK_FLOAT,
     1e-5F,
     lab_prepare_multiply,
     lab_call_multiply,
     lab_product_work,
     has_attention_multiply},
    {"attention_probabilities",
     "rows x keys x parts",
     {{32, 128, 3}, {32, 384, 3}, {32, 128, 1}},
     LAB_PEAK_CACHE,
     1e-6F,
     lab_prepare_probabilities,
     lab_call_probabilities,
     lab_probabilities_work,
     has_attention_probabilities},
    {"attention_divide",
     "rows x columns",
     {{32, 64, 0}},
     LAB_PEAK_CACHE,
     1e-6F,
     lab_prepare_divide,
     lab_call_divide,
     lab_divide_work,
     has_attention_divide},
    {"to_f16",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_to_bf16,
     call_to_f16,
     conversion_work,
     has_to_f16},
    {"from_f16",
     "rows x columns",
     {{16, 768, 0}},
     LAB_PEAK_CACHE,
     0.0F,
     prepare_from_f16,
     call_from_f16,
     conversion_work,
     has_from_f16},
};
float lab_tolerance(const lab_kernel *kernel, const lab_shape *shape) {
    return kernel->call == call_dequantize && shape->k ? 1e-6F : kernel->tolerance;
}

const int lab_kernel_count = sizeof lab_kernels / sizeof *lab_kernels;
#define COUNT(name) +1
_Static_assert(sizeof lab_kernels / sizeof *lab_kernels == 0 BERT_CPU_KERNELS(COUNT), "the lab knows every kernel");
#undef COUNT
