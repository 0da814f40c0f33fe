/*
 * Attention with products of bfloat16: Q, K, V and probabilities are rounded, sums and the softmax stay float32.
 *
 * Both right sides are laid out once a head as panels for the bgemm kernel, pairs along the summed dimension side by
 * side: of K pairs of one key's elements, which is a transposition of 32-bit units; of V pairs of neighbouring keys.
 *
 *     keys     [panels of 48 keys][width / 2][48][2]        values     [panels of 48 elements][keys / 2][48][2]
 *
 * What fills a panel up is zeros, and so is the second of a pair where width or keys are odd: it adds nothing.
 */
#include "cpu/ops/attention_form.h"

#include <string.h>

enum { COLUMNS = BERT_BGEMM_COLUMNS, ROWS = BERT_ATTENTION_BLOCK };

static int64_t pairs(int64_t count) {
    return (count + 1) / 2;
}

static int64_t panels(int64_t count) {
    return (count + COLUMNS - 1) / COLUMNS;
}

/* Floats, or pairs of bfloat16, up to a whole cache line. A row of Q or of probabilities begins at one: AMX loads
 * lines. */
typedef struct layout {
    int64_t keys, values;         /* pairs in panels */
    int64_t q_pairs, score_pairs; /* of a row of Q or V, and of probabilities */
    int64_t scores, context;      /* floats of a row */
} layout;

static layout layout_of(int64_t keys, int64_t width) {
    return (layout){.keys = panels(keys) * COLUMNS * pairs(width),
                    .values = panels(width) * COLUMNS * pairs(keys),
                    .q_pairs = bert_attention_padded(pairs(width)),
                    .score_pairs = bert_attention_padded(pairs(keys)),
                    .scores = panels(keys) * COLUMNS,
                    .context = panels(width) * COLUMNS};
}

/* What is needed while a head is loaded, one panel of K or two rows of V, is where rows of queries are later. */
typedef struct parts {
    uint32_t *keys, *values; /* in pairs */
    uint32_t *q, *probabilities;
    float *scores, *context;
} parts;

static parts parts_of(float *scratch, const layout *sizes) {
    parts p = {.keys = (uint32_t *)(void *)scratch};
    p.values = p.keys + sizes->keys;
    p.q = p.values + sizes->values;
    p.probabilities = p.q + ROWS * sizes->q_pairs;
    p.scores = (float *)(void *)(p.probabilities + ROWS * sizes->score_pairs);
    p.context = p.scores + ROWS * sizes->scores;
    return p;
}

static int64_t scratch_floats(int64_t keys, int64_t width) {
    const layout sizes = layout_of(keys, width);
    return sizes.keys + sizes.values + ROWS * (sizes.q_pairs + sizes.score_pairs + sizes.scores + sizes.context);
}

/* One row of floats as pairs of bfloat16; `count` pairs, the last ones zeros. */
static void round_row(const bert_cpu_kernels *kernels, const float *x, int64_t n, uint32_t *y, int64_t count) {
    kernels->to_bf16(&(bert_to_bf16_args){.y = (uint16_t *)(void *)y, .x = x, .rows = 1, .n = n, .stride = 2 * count});
}

static void load_keys(const bert_attention_head *head, const layout *sizes, const parts *p) {
    const bert_cpu_kernels *kernels = &head->prepared->device->kernels;
    const int64_t steps = pairs(head->width);
    memset(p->keys, 0, (size_t)sizes->keys * sizeof *p->keys);
    for (int64_t panel = 0; panel < panels(head->keys); panel++) {
        const int64_t first = panel * COLUMNS, left = head->keys - first, count = left < COLUMNS ? left : COLUMNS;
        for (int64_t key = 0; key < count; key++)
            round_row(kernels, head->k + (first + key) * head->k_stride, head->width, p->q + key * steps, steps);
        /* Pairs are moved as floats are: nothing is computed with them. */
        kernels->transpose(&(bert_transpose_args){.y = (float *)(void *)(p->keys + panel * COLUMNS * steps),
                                                  .x = (const float *)(const void *)p->q,
                                                  .ldy = COLUMNS,
                                                  .ldx = steps,
                                                  .rows = count,
                                                  .columns = steps});
    }
}

/* Columns of one panel: what two rows have there, side by side. Plain enough for compilers to make vectors of. */
static void pair_rows(const uint16_t *first, const uint16_t *second, int64_t count, uint32_t *restrict out) {
    for (int64_t i = 0; i < count; i++) out[i] = (uint32_t)first[i] | (uint32_t)second[i] << 16;
}

static void load_values(const bert_attention_head *head, const layout *sizes, const parts *p) {
    const bert_cpu_kernels *kernels = &head->prepared->device->kernels;
    const int64_t steps = pairs(head->keys);
    uint32_t *first = p->q, *second = p->q + sizes->q_pairs;
    memset(p->values, 0, (size_t)sizes->values * sizeof *p->values);
    for (int64_t step = 0; step < steps; step++) {
        const float *row = head->v + 2 * step * head->v_stride;
        round_row(kernels, row, head->width, first, sizes->q_pairs);
        if (2 * step + 1 < head->keys)
            round_row(kernels, row + head->v_stride, head->width, second, sizes->q_pairs);
        else
            memset(second, 0, (size_t)sizes->q_pairs * sizeof *second);
        for (int64_t panel = 0; panel < panels(head->width); panel++) {
            const int64_t from = panel * COLUMNS, left = head->width - from;
            pair_rows((const uint16_t *)(const void *)first + from, (const uint16_t *)(const void *)second + from,
                      left < COLUMNS ? left : COLUMNS, p->values + (panel * steps + step) * COLUMNS);
        }
    }
}

static void load(const bert_attention_head *head) {
    const layout sizes = layout_of(head->keys, head->width);
    const parts p = parts_of(head->scratch, &sizes);
    load_keys(head, &sizes, &p);
    load_values(head, &sizes, &p);
}

/* Floats of c and pairs of a from one row to the next, pairs of b from one panel to the next. */
typedef struct product_strides {
    int64_t c, a, b;
} product_strides;

/* c[rows, n] = a b, n rounded up to whole panels, over `steps` pairs. */
static void multiply(const bert_cpu_kernels *kernels, const product_strides *strides, float *c, const uint32_t *a,
                     const uint32_t *b, int64_t rows, int64_t n, int64_t steps) {
    for (int64_t panel = 0; panel < panels(n); panel++)
        kernels->bgemm(&(bert_bgemm_args){.c = c + panel * COLUMNS,
                                          .a = (const uint16_t *)(const void *)a,
                                          .b = (const uint16_t *)(const void *)(b + panel * strides->b),
                                          .ldc = strides->c,
                                          .lda = 2 * strides->a,
                                          .rows = rows,
                                          .steps = steps});
}

static void attend(const bert_attention_head *head, int64_t first, bert_attention_args *args) {
    const bert_cpu_kernels *kernels = &head->prepared->device->kernels;
    const layout sizes = layout_of(head->keys, head->width);
    const parts p = parts_of(head->scratch, &sizes);
    const int64_t key_pairs = pairs(head->width), value_pairs = pairs(head->keys);
    const product_strides of_keys = {.c = sizes.scores, .a = sizes.q_pairs, .b = COLUMNS * key_pairs};
    const product_strides of_values = {.c = sizes.context, .a = sizes.score_pairs, .b = COLUMNS * value_pairs};
    for (int64_t row = 0; row < args->rows; row++)
        round_row(kernels, args->q + row * args->ldq, head->width, p.q + row * sizes.q_pairs, sizes.q_pairs);
    bert_cpu_enter(kernels);
    multiply(kernels, &of_keys, p.scores, p.q, p.keys + first * key_pairs, args->rows, args->n, key_pairs);
    args->scores = p.scores;
    args->ld_scores = sizes.scores;
    for (int64_t row = 0; row < args->rows; row++) {
        const bert_softmax_args softmax = bert_attention_softmax(args, row);
        kernels->softmax(&softmax);
        round_row(kernels, softmax.y, args->n, p.probabilities + row * sizes.score_pairs,
                  bert_attention_padded(pairs(args->n)));
    }
    multiply(kernels, &of_values, p.context, p.probabilities, p.values + first / 2 * COLUMNS, args->rows, head->width,
             pairs(args->n));
    bert_cpu_exit(kernels);
    for (int64_t row = 0; row < args->rows; row++)
        memcpy(args->y + row * args->ldy, p.context + row * sizes.context, (size_t)head->width * sizeof *args->y);
}

/* Whole panels of keys, and whole tiles of AMX, which add up 32 of them at a time. */
enum { KEY_STEP = 96 };
_Static_assert(KEY_STEP % BERT_BGEMM_COLUMNS == 0 && KEY_STEP % 32 == 0, "where a range of keys may begin");

const bert_attention_form bert_attention_bf16 = {
    .kernel = "attention/bf16", .scratch_floats = scratch_floats, .load = load, .key_step = KEY_STEP, .attend = attend};
