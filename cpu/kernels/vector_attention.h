/*
 * Softmax, and attention of some queries of one head, over the vectors of vector_avx2.h or vector_avx512.h. Included by
 * vector_kernels.h alone.
 *
 * Rows are done a few at a time: the chains of maximum, exponential and sum of one row leave the arithmetic units idle
 * most of the time, those of several fill them. What a row gives doesn't depend on which others it is done with.
 */

/* Rows at a time, as registers allow. */
enum { V_SCORE_ROWS = V_WIDTH == 16 ? 4 : 2 };

/* What there is besides the scale. */
typedef enum score_kind { SCORE_PLAIN, SCORE_BIASED, SCORE_ANY } score_kind;

/* Scores scaled, biased and masked; `left` is how many lanes are there, V_WIDTH or less. */
V_ALWAYS_INLINE v_float score(const bert_softmax_args *args, const score_kind kind, int64_t i, const bool partial,
                              int64_t left) {
    const v_mask first = v_first(left);
    v_float value = partial ? v_load_first(args->x + i, first) : v_load(args->x + i);
    v_float bias = v_set(0.0F);
    if (kind == SCORE_BIASED) bias = partial ? v_load_first(args->bias + i, first) : v_load(args->bias + i);
    if (kind == SCORE_ANY && args->bias) {
        const float *place = args->bias + i * args->bias_stride;
        bias = args->bias_stride == 0 ? v_set(*place) : partial ? v_load_first(place, first) : v_load(place);
    }
    value = v_fma(value, v_set(args->scale), bias);
    if (kind == SCORE_ANY && args->mask) {
        const uint8_t *place = args->mask + i * args->mask_stride;
        if (args->mask_stride == 0)
            value = *place ? value : v_set(args->mask_value);
        else
            value = v_select(partial ? v_load_bytes_first(place, left) : v_load_bytes(place), value,
                             v_set(args->mask_value));
    }
    return partial ? v_select(first, value, v_set(-INFINITY)) : value;
}

/* y = the scores of `rows` rows; the greatest of each (whatever, where one is NaN: the sum will tell). */
V_ALWAYS_INLINE void score_rows(const int rows, const score_kind kind, const bert_softmax_args *args,
                                v_float *greatest) {
    const int64_t n = args->n;
    int64_t i = 0;
#pragma GCC unroll 4
    for (int row = 0; row < rows; row++) greatest[row] = v_set(-INFINITY);
    for (; i + V_WIDTH <= n; i += V_WIDTH) {
#pragma GCC unroll 4
        for (int row = 0; row < rows; row++) {
            const v_float value = score(&args[row], kind, i, false, V_WIDTH);
            v_store(args[row].y + i, value);
            greatest[row] = v_max(value, greatest[row]);
        }
    }
    if (i < n) {
#pragma GCC unroll 4
        for (int row = 0; row < rows; row++) {
            const v_float value = score(&args[row], kind, i, true, n - i);
            v_store_first(args[row].y + i, v_first(n - i), value);
            greatest[row] = v_max(value, greatest[row]);
        }
    }
#pragma GCC unroll 4
    for (int row = 0; row < rows; row++) greatest[row] = v_set(v_greatest(greatest[row]));
}

/* y = e^(y - greatest) and the sums of it. */
V_ALWAYS_INLINE void exp_rows(const int rows, const bert_softmax_args *args, const v_float *greatest, float *totals) {
    const int64_t n = args->n;
    v_float sums[V_SCORE_ROWS];
    int64_t i = 0;
#pragma GCC unroll 4
    for (int row = 0; row < rows; row++) sums[row] = v_set(0.0F);
    for (; i + V_WIDTH <= n; i += V_WIDTH) {
#pragma GCC unroll 4
        for (int row = 0; row < rows; row++) {
            float *y = args[row].y + i;
            const v_float value = v_exp_down(v_sub(v_load(y), greatest[row]));
            v_store(y, value);
            sums[row] = v_add(sums[row], value);
        }
    }
    if (i < n) {
        const v_mask first = v_first(n - i);
#pragma GCC unroll 4
        for (int row = 0; row < rows; row++) {
            float *y = args[row].y + i;
            const v_float value = v_exp_down(v_sub(v_load_first(y, first), greatest[row]));
            v_store_first(y, first, value);
            sums[row] = v_add(sums[row], v_select(first, value, v_set(0.0F)));
        }
    }
#pragma GCC unroll 4
    for (int row = 0; row < rows; row++) totals[row] = v_sum(sums[row]);
}

/* score_rows by what all rows have alike. */
V_ALWAYS_INLINE void scaled_scores(const int rows, const bert_softmax_args *args, v_float *greatest) {
    if (!args->bias && !args->mask)
        score_rows(rows, SCORE_PLAIN, args, greatest);
    else if (!args->mask && args->bias_stride == 1)
        score_rows(rows, SCORE_BIASED, args, greatest);
    else
        score_rows(rows, SCORE_ANY, args, greatest);
}

V_ALWAYS_INLINE void exponentials_of(const int rows, const bert_softmax_args *args, float *totals) {
    v_float greatest[V_SCORE_ROWS];
    scaled_scores(rows, args, greatest);
    exp_rows(rows, args, greatest, totals);
}

static void exponentials(const bert_softmax_args *args, float *total) {
    exponentials_of(1, args, total);
}

/* The same for V_SCORE_ROWS rows of one length, with or without bias and mask alike. */
static void exponentials_of_rows(const bert_softmax_args *args, float *totals) {
    exponentials_of(V_SCORE_ROWS, args, totals);
}

/* y = y / total, or zeros where nothing was there to attend to. */
static void divide(float *y, int64_t n, float total, bool nan_is_zero) {
    const bool zero = nan_is_zero && isnan(total);
    const v_float factor = v_set(1.0F / total);
    int64_t i = 0;
    for (; i + V_WIDTH <= n; i += V_WIDTH) v_store(y + i, zero ? v_set(0.0F) : v_mul(v_load(y + i), factor));
    if (i < n) {
        const v_mask first = v_first(n - i);
        v_store_first(y + i, first, zero ? v_set(0.0F) : v_mul(v_load_first(y + i, first), factor));
    }
}

static void softmax(const bert_softmax_args *args) {
    float total;
    exponentials(args, &total);
    divide(args->y, args->n, total, args->nan_is_zero);
}

/* Scores, their exponentials, and what these give of the values; divided by their sums at the end, when there are
 * fewer numbers to divide. */
static void attention(const bert_attention_args *args) {
    float totals[BERT_ATTENTION_ROWS];
    bert_softmax_args rows[V_SCORE_ROWS];
    sgemm(&(bert_sgemm_args){.c = args->scores,
                             .a = args->q,
                             .b = args->keys,
                             .ldc = args->ld_scores,
                             .lda = args->ldq,
                             .ldb = args->ld_keys,
                             .m = args->rows,
                             .n = args->n,
                             .k = args->width});
    for (int64_t row = 0; row < args->rows;) {
        const bool several = args->rows - row >= V_SCORE_ROWS;
        const int count = several ? V_SCORE_ROWS : 1;
        for (int i = 0; i < count; i++) rows[i] = bert_attention_softmax(args, row + i);
        if (several)
            exponentials_of_rows(rows, totals + row);
        else
            exponentials(rows, totals + row);
        row += count;
    }
    bert_attention_context(args, sgemm);
    for (int64_t row = 0; row < args->rows; row++)
        divide(args->y + row * args->ldy, args->width, totals[row], args->nan_is_zero);
}
