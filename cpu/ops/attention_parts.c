/*
 * Attention by products of bfloat16: of three parts that a float32 is split into, which is as exact as float32, or of
 * one that it is rounded to. Sums and softmax are float32. K, transposed, and V become the right sides of the two
 * products once a head; a block of queries is the left side of the first, its probabilities that of the second.
 *
 * Rows that come out not finite (a number wasn't, rounds to infinity, or there is nothing to attend to) are computed
 * again in float32, which knows what they are.
 */
#include "cpu/ops/attention_form.h"

#include "cpu/gemm/gemm.h"

/* Elements of sides, in bfloat16, and floats of rows. */
typedef struct layout {
    int64_t panel_keys, panel_values; /* from one panel to the next */
    int64_t keys, values, queries, probabilities;
    int64_t scores, context; /* a row's */
} layout;

static layout layout_of(int32_t parts, int64_t keys, int64_t width) {
    const int64_t of_width = bert_split_tiles(width) * bert_parts_elements(parts);
    const int64_t of_keys = bert_split_tiles(keys) * bert_parts_elements(parts);
    /* An odd number of lines, so that a column of scores lies in all sets of the cache. */
    const int64_t scores = bert_gemm_row_bytes(bert_parts_panels(keys) * BERT_PARTS_COLUMNS * (int64_t)sizeof(float));
    return (layout){.panel_keys = of_width,
                    .panel_values = of_keys,
                    .keys = bert_parts_panels(keys) * of_width,
                    .values = bert_parts_panels(width) * of_keys,
                    .queries = of_width,
                    .probabilities = of_keys,
                    .scores = scores / (int64_t)sizeof(float),
                    .context = bert_parts_panels(width) * BERT_PARTS_COLUMNS};
}

/* A thread's scratch. */
typedef struct places {
    uint16_t *keys, *values, *queries, *probabilities;
    float *scores, *context;
    float *totals;     /* [BERT_PARTS_ROWS] */
    uint8_t *left_out; /* likewise */
    float *floats;     /* bert_attention_float's scratch */
} places;

static places places_of(float *scratch, const layout *sizes) {
    places p = {.keys = (uint16_t *)(void *)scratch};
    p.values = p.keys + sizes->keys;
    p.queries = p.values + sizes->values;
    p.probabilities = p.queries + sizes->queries;
    p.scores = (float *)(void *)(p.probabilities + sizes->probabilities);
    p.context = p.scores + BERT_PARTS_ROWS * sizes->scores;
    p.totals = p.context + BERT_PARTS_ROWS * sizes->context;
    p.left_out = (uint8_t *)(p.totals + BERT_PARTS_ROWS);
    p.floats = p.totals + 2 * BERT_PARTS_ROWS; /* at a cache line, as all that is large */
    return p;
}

static int64_t scratch_floats(const bert_attention_form *form, int64_t keys, int64_t width) {
    const layout sizes = layout_of(form->parts, keys, width);
    return (sizes.keys + sizes.values + sizes.queries + sizes.probabilities) / 2 +
           BERT_PARTS_ROWS * (sizes.scores + sizes.context + 2) +
           bert_attention_float.scratch_floats(&bert_attention_float, keys, width);
}

static void load(const bert_attention_form *form, const bert_attention_head *head) {
    const int32_t parts = form->parts;
    const bert_cpu_kernels *kernels = &head->prepared->device->kernels;
    const layout sizes = layout_of(parts, head->keys, head->width);
    const places p = places_of(head->scratch, &sizes);
    kernels->attention_right(&(bert_attention_right_args){.y = p.keys,
                                                          .x = head->k,
                                                          .ldx = head->k_stride,
                                                          .k = head->width,
                                                          .columns = head->keys,
                                                          .parts = parts,
                                                          .transposed = true});
    kernels->attention_right(&(bert_attention_right_args){
        .y = p.values, .x = head->v, .ldx = head->v_stride, .k = head->keys, .columns = head->width, .parts = parts});
}

/* Rows that were left out, in float32, by the keys of their window. */
static void attend_again(const bert_attention_head *head, const places *p, int64_t first,
                         const bert_attention_args *args) {
    bert_attention_head floats = *head;
    bool loaded = false;
    floats.scratch = p->floats;
    floats.k += first * head->k_stride;
    floats.v += first * head->v_stride;
    floats.keys = args->n;
    for (int64_t row = 0, count; row < args->rows; row += count) {
        for (count = 1; row + count < args->rows && p->left_out[row + count] == p->left_out[row];) count++;
        if (!p->left_out[row]) continue;
        if (!loaded) bert_attention_float.load(&bert_attention_float, &floats);
        loaded = true;
        bert_attention_args some = *args;
        some.rows = count;
        some.y += row * args->ldy;
        some.q += row * args->ldq;
        if (some.bias) some.bias += row * args->bias_row_stride;
        if (some.mask) some.mask += row * args->mask_row_stride;
        bert_attention_float.attend(&bert_attention_float, &floats, 0, &some);
    }
}

static void attend(const bert_attention_form *form, const bert_attention_head *head, int64_t first,
                   bert_attention_args *args) {
    const int32_t parts = form->parts;
    const bert_cpu_kernels *kernels = &head->prepared->device->kernels;
    const layout sizes = layout_of(parts, head->keys, head->width);
    const places p = places_of(head->scratch, &sizes);
    kernels->attention_left(&(bert_attention_left_args){
        .y = p.queries, .x = args->q, .ldx = args->ldq, .rows = args->rows, .k = head->width, .parts = parts});
    kernels->attention_multiply(
        &(bert_attention_multiply_args){.c = p.scores,
                                        .a = p.queries,
                                        .b = p.keys + first / BERT_PARTS_COLUMNS * sizes.panel_keys,
                                        .ldc = sizes.scores,
                                        .b_stride = sizes.panel_keys,
                                        .rows = args->rows,
                                        .columns = args->n,
                                        .tiles = bert_split_tiles(head->width),
                                        .parts = parts});
    args->scores = p.scores;
    args->ld_scores = sizes.scores;
    kernels->attention_probabilities(&(bert_attention_probabilities_args){
        .y = p.probabilities, .totals = p.totals, .attention = args, .parts = parts});
    kernels->attention_multiply(
        &(bert_attention_multiply_args){.c = p.context,
                                        .a = p.probabilities,
                                        .b = p.values + first / BERT_SPLIT_STEPS * bert_parts_elements(parts),
                                        .ldc = sizes.context,
                                        .b_stride = sizes.panel_values,
                                        .rows = args->rows,
                                        .columns = head->width,
                                        .tiles = bert_split_tiles(args->n),
                                        .parts = parts});
    kernels->attention_divide(&(bert_attention_divide_args){.y = args->y,
                                                            .x = p.context,
                                                            .totals = p.totals,
                                                            .left_out = p.left_out,
                                                            .ldy = args->ldy,
                                                            .ldx = sizes.context,
                                                            .rows = args->rows,
                                                            .width = head->width});
    attend_again(head, &p, first, args);
}

/* Ranges of keys begin at whole panels of K and tiles of V. */
enum { KEY_STEP = BERT_PARTS_COLUMNS };
_Static_assert(KEY_STEP % BERT_SPLIT_STEPS == 0, "where a range of keys may begin");

#define PARTS_FORM(name, count)                                                                                        \
    {                                                                                                                  \
        .kernel = (name), .parts = (count), .scratch_floats = scratch_floats, .load = load, .key_step = KEY_STEP,      \
        .block_rows = BERT_PARTS_ROWS, .window_rows = BERT_PARTS_ROWS, .attend = attend                                \
    }
const bert_attention_form bert_attention_split = PARTS_FORM("attention/split", BERT_SPLIT_PARTS);
const bert_attention_form bert_attention_bf16 = PARTS_FORM("attention/bf16", 1);
