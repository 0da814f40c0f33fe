/* Plain C for every kernel: what other machines run, and what every other kernel is held to. */
#include "cpu/kernels/kernels.h"

#include "core/base/float16.h"

#include <math.h>
#include <string.h>

/* c (+)= a b over one chain. */
static void sgemm_chain(const bert_sgemm_args *args, int64_t begin, int64_t steps, bool accumulate) {
    enum { WIDTH = 16 };
    for (int64_t first = 0; first < args->n; first += WIDTH) {
        const int64_t width = args->n - first < WIDTH ? args->n - first : WIDTH;
        for (int64_t i = 0; i < args->m; i++) {
            const float *a = args->a + i * args->lda + begin;
            float *c = args->c + i * args->ldc + first;
            float sums[WIDTH] = {0};
            for (int64_t p = 0; p < steps; p++) {
                const float *b = args->b + (begin + p) * args->ldb + first;
                for (int64_t j = 0; j < width; j++) sums[j] += a[p] * b[j];
            }
            for (int64_t j = 0; j < width; j++) c[j] = accumulate ? c[j] + sums[j] : sums[j];
        }
    }
}

static void sgemm(const bert_sgemm_args *args) {
    int64_t begin = 0;
    do { /* once even where k is 0: zeros */
        const int64_t left = args->k - begin;
        sgemm_chain(args, begin, left < BERT_SGEMM_CHAIN ? left : BERT_SGEMM_CHAIN, args->accumulate || begin > 0);
        begin += BERT_SGEMM_CHAIN;
    } while (begin < args->k);
}

static float sigmoid(float x) {
    return 1.0F / (1.0F + expf(-x));
}

static float apply(bert_unary op, float x) {
    const float sqrt_half = 0.70710678118654752440F, sqrt_2_over_pi = 0.79788456080286535588F;
    switch (op) {
    case BERT_UNARY_RELU:
        return x < 0.0F ? 0.0F : x;
    case BERT_UNARY_TANH:
        return tanhf(x);
    case BERT_UNARY_ERF:
        return erff(x);
    case BERT_UNARY_GELU:
        return 0.5F * x * erfcf(-x * sqrt_half);
    case BERT_UNARY_GELU_TANH:
        return x * sigmoid(2.0F * sqrt_2_over_pi * (x + 0.044715F * x * x * x));
    case BERT_UNARY_QUICK_GELU:
        return x * sigmoid(1.702F * x);
    case BERT_UNARY_SILU:
        return x * sigmoid(x);
    case BERT_UNARY_SIGMOID:
        return sigmoid(x);
    case BERT_UNARY_EXP:
        return expf(x);
    case BERT_UNARY_SQRT:
        return sqrtf(x);
    case BERT_UNARY_ABS:
        return fabsf(x);
    case BERT_UNARY_NEGATE:
        return -x;
    case BERT_UNARY_RECIPROCAL:
        return 1.0F / x;
    default:
        return x;
    }
}

static void unary(const bert_unary_args *args) {
    for (int64_t i = 0; i < args->n; i++) args->y[i] = apply(args->op, args->x[i]);
}

static void epilogue(const bert_epilogue_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        float *y = args->y + row * args->stride;
        const float *residual = args->residual ? args->residual + row * args->residual_stride : NULL;
        for (int64_t i = 0; i < args->n; i++) {
            float value = args->alpha * y[i];
            if (args->bias) value += args->bias[i];
            value = apply(args->activation, value);
            y[i] = residual ? value + residual[i] : value;
        }
    }
}

static void layer_norm(const bert_layer_norm_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const int64_t offset = row * args->n;
        float *y = args->y + offset;
        double total = 0.0, squares = 0.0;
        for (int64_t i = 0; i < args->n; i++) {
            float value = args->x[offset + i];
            if (args->bias) value += args->bias[i];
            if (args->skip) value += args->skip[offset + i];
            if (args->sum) args->sum[offset + i] = value;
            y[i] = value;
            total += value;
        }
        const double mean = args->simplified ? 0.0 : total / (double)args->n;
        for (int64_t i = 0; i < args->n; i++) squares += (y[i] - mean) * (y[i] - mean);
        const double scale = 1.0 / sqrt(squares / (double)args->n + (double)args->epsilon);
        for (int64_t i = 0; i < args->n; i++) {
            double value = (y[i] - mean) * scale * args->gamma[i];
            y[i] = (float)(args->beta ? value + args->beta[i] : value);
        }
    }
}

/* y = the scores, scaled, biased and masked; returns the greatest. */
static float scale_scores(const bert_softmax_args *args) {
    float greatest = -INFINITY;
    for (int64_t i = 0; i < args->n; i++) {
        float value = args->x[i] * args->scale;
        if (args->bias) value += args->bias[i * args->bias_stride];
        if (args->mask && !args->mask[i * args->mask_stride]) value = args->mask_value;
        args->y[i] = value;
        if (value > greatest) greatest = value;
    }
    return greatest;
}

static void softmax(const bert_softmax_args *args) {
    const float greatest = scale_scores(args);
    double total = 0.0;
    for (int64_t i = 0; i < args->n; i++) {
        args->y[i] = expf(args->y[i] - greatest);
        total += args->y[i];
    }
    const bool zero = args->nan_is_zero && isnan(total);
    for (int64_t i = 0; i < args->n; i++) args->y[i] = zero ? 0.0F : (float)(args->y[i] / total);
}

void bert_attention_by_parts(const bert_attention_args *args, void (*multiply)(const bert_sgemm_args *args),
                             void (*softmax_row)(const bert_softmax_args *args)) {
    multiply(&(bert_sgemm_args){.c = args->scores,
                                .a = args->q,
                                .b = args->keys,
                                .ldc = args->ld_scores,
                                .lda = args->ldq,
                                .ldb = args->ld_keys,
                                .m = args->rows,
                                .n = args->n,
                                .k = args->width});
    for (int64_t row = 0; row < args->rows; row++) {
        const bert_softmax_args softmax_args = bert_attention_softmax(args, row);
        softmax_row(&softmax_args);
    }
    bert_attention_context(args, multiply);
}

static void attention(const bert_attention_args *args) {
    bert_attention_by_parts(args, sgemm, softmax);
}

static void binary(const bert_binary_args *args) {
    for (int64_t i = 0; i < args->n; i++) {
        const float a = args->a[i * args->a_stride], b = args->b[i * args->b_stride];
        switch (args->op) {
        case BERT_BINARY_SUBTRACT:
            args->y[i] = a - b;
            break;
        case BERT_BINARY_MULTIPLY:
            args->y[i] = a * b;
            break;
        case BERT_BINARY_DIVIDE:
            args->y[i] = a / b;
            break;
        default:
            args->y[i] = a + b;
            break;
        }
    }
}

static void rotate(const bert_rotate_args *args) {
    const int64_t half = args->n / 2;
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->ldx;
        const float *cosines = args->cosines + row * args->ld_angles, *sines = args->sines + row * args->ld_angles;
        float *y = args->y + row * args->ldy;
        for (int64_t i = 0; i < half; i++) {
            y[i] = x[i] * cosines[i] - x[i + half] * sines[i];
            y[i + half] = x[i + half] * cosines[i + half] + x[i] * sines[i + half];
        }
    }
}

static void transpose(const bert_transpose_args *args) {
    enum { BLOCK = 16 };
    for (int64_t first = 0; first < args->rows; first += BLOCK) {
        const int64_t end = first + BLOCK < args->rows ? first + BLOCK : args->rows;
        for (int64_t column = 0; column < args->columns; column++)
            for (int64_t row = first; row < end; row++)
                args->y[column * args->ldy + row] = args->x[row * args->ldx + column];
    }
}

/* ---- Quantized -------------------------------------------------------------------------------------------------- */

static bert_row_range range_of(const float *x, int64_t n) {
    bert_row_range range = {0.0F, 0.0F};
    for (int64_t i = 0; i < n; i++) {
        if (x[i] < range.least) range.least = x[i];
        if (x[i] > range.most) range.most = x[i];
    }
    return range;
}

static void range(const bert_range_args *args) {
    for (int64_t row = 0; row < args->rows; row++) args->ranges[row] = range_of(args->x + row * args->n, args->n);
}

static void quantize(const bert_quantize_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        uint8_t *y = args->y + row * args->stride;
        uint32_t sum = 0;
        for (int64_t i = 0; i < args->stride; i++) y[i] = 0;
        for (int64_t i = 0; i < args->n; i++) {
            const float value =
                nearbyintf(args->x[row * args->n + i] / args->scales[row]) + (float)args->zero_points[row];
            if (value > 0.0F) y[i] = value > 255.0F ? 255 : (uint8_t)value; /* not for NaN */
            sum += y[i];
        }
        args->sums[row] = (int32_t)sum;
    }
}

/* Of one sign of a half: the first step's sum of weights and the second's. */
static void add_excess(int first, int second, int most[2]) {
    const int over = first + second - BERT_QGEMM_BOUND, from_first = over < first ? over : first;
    if (from_first > most[0]) most[0] = from_first;
    if (over - first > most[1]) most[1] = over - first;
}

static void measure_excess(const bert_measure_excess_args *args) {
    const int64_t columns = BERT_QGEMM_EXCESS_COLUMNS, step_bytes = BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP;
    for (int64_t at = 0; at < (args->steps + 1) / 2 * BERT_QGEMM_EXCESS_GROUPS; at++) {
        const int64_t first = at / BERT_QGEMM_EXCESS_GROUPS * 2;
        const int64_t group = at % BERT_QGEMM_EXCESS_GROUPS * columns * BERT_QGEMM_STEP;
        int most[2] = {0, 0};
        for (int64_t half = 0; half < 2 * columns; half++) {
            int positive[2] = {0, 0}, negative[2] = {0, 0};
            for (int64_t step = first; step < first + 2 && step < args->steps; step++) {
                for (int64_t i = group + 2 * half; i < group + 2 * half + 2; i++) {
                    const int w = args->b[step * step_bytes + i] - args->zeros[i];
                    positive[step - first] += w > 0 ? w : 0;
                    negative[step - first] += w < 0 ? -w : 0;
                }
            }
            add_excess(positive[0], positive[1], most);
            add_excess(negative[0], negative[1], most);
        }
        for (int i = 0; i < 2; i++) args->most[2 * at + i] = (uint8_t)(most[i] < 255 ? most[i] : 255);
    }
}

static void qgemm(const bert_qgemm_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const uint8_t *a = args->a + row * args->lda;
        uint32_t sums[BERT_QGEMM_COLUMNS] = {0}; /* unsigned: they wrap around */
        const int8_t *b = args->b;
        for (int64_t p = 0; p < args->steps * BERT_QGEMM_STEP; p += BERT_QGEMM_STEP)
            for (int j = 0; j < BERT_QGEMM_COLUMNS; j++)
                for (int i = 0; i < BERT_QGEMM_STEP; i++) sums[j] += (uint32_t)(a[p + i] * *b++);
        for (int j = 0; j < BERT_QGEMM_COLUMNS; j++) args->c[row * BERT_QGEMM_COLUMNS + j] = (int32_t)sums[j];
    }
}

static void dequantize(const bert_dequantize_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const int32_t *c = args->c + row * BERT_QGEMM_COLUMNS;
        for (int64_t i = 0; i < args->n; i++) {
            const uint32_t taken = (uint32_t)args->x_zeros[row] * (uint32_t)args->offsets[i] +
                                   (uint32_t)args->x_sums[row] * (uint32_t)args->zeros[i];
            args->y[row * args->stride + i] =
                (float)(int32_t)((uint32_t)c[i] - taken) * (args->x_scales[row] * args->scales[i]);
        }
    }
    epilogue(&(bert_epilogue_args){.y = args->y,
                                   .bias = args->bias,
                                   .residual = args->residual,
                                   .stride = args->stride,
                                   .residual_stride = args->residual_stride,
                                   .rows = args->rows,
                                   .n = args->n,
                                   .alpha = 1.0F,
                                   .activation = args->activation});
    for (int64_t row = 0; args->ranges && row < args->rows; row++)
        args->ranges[row * args->range_stride] = range_of(args->y + row * args->stride, args->n);
}

static void dequantize_bytes(const bert_dequantize_bytes_args *args) {
    const uint8_t *unsigned_x = args->x;
    const int8_t *signed_x = args->x;
    for (int64_t i = 0; i < args->n; i++)
        args->y[i] = (float)((args->is_signed ? signed_x[i] : unsigned_x[i]) - args->zero_point) * args->scale;
}

static float requantize(const bert_requantization *by, float x) {
    if (!by) return x;
    const float whole = nearbyintf(x / by->scale);
    const float clamped = !(whole > by->least) ? by->least : whole < by->most ? whole : by->most;
    return (clamped + by->shift) * by->new_scale;
}

static void quantized_add(const bert_quantized_add_args *args) {
    for (int64_t i = 0; i < args->n; i++)
        args->y[i] =
            requantize(args->y_by, requantize(args->a_by, args->a[i * args->a_stride]) + args->b[i * args->b_stride]);
}

static void take(const bert_take_args *args) {
    for (int64_t i = 0; i < args->rows; i++) {
        const float *x = args->x + i * args->ldx;
        const float *plus = args->plus ? args->plus + i * args->ld_plus : NULL;
        float *y = args->y + i * args->ldy;
        for (int64_t j = 0; j < args->n; j++) {
            const int64_t at = (int64_t)args->index[i * args->ld_index + j] - args->first;
            const float value = at >= 0 && at < args->width ? args->scale * x[at] : 0.0F;
            y[j] = plus ? plus[j] + value : value;
        }
    }
}

static void lookup(const bert_lookup_args *args) {
    for (int64_t i = 0; i < args->n; i++) args->y[i] = args->table[args->x[i]];
}

/* ---- Bfloat16 ---------------------------------------------------------------------------------------------------- */

static void to_bf16(const bert_to_bf16_args *args) {
    for (int64_t row = 0; row < args->rows; row++)
        for (int64_t i = 0; i < args->padded; i++)
            args->y[row * args->ldy + i] = i < args->n ? bert_float_to_bfloat16(args->x[row * args->ldx + i]) : 0;
}

static void from_bf16(const bert_from_bf16_args *args) {
    for (int64_t i = 0; i < args->n; i++) args->y[i] = bert_bfloat16_to_float(args->x[i]);
}

/* A chain of some columns of b at a time becomes float32. */
static void sgemm_bf16(const bert_sgemm_bf16_args *args) {
    enum { WIDTH = 16 };
    const bert_sgemm_args *all = &args->product;
    for (int64_t first = 0; first < all->n; first += WIDTH) {
        float b[BERT_SGEMM_CHAIN * WIDTH];
        bert_sgemm_args part = *all;
        part.b = b;
        part.ldb = WIDTH;
        part.c = all->c + first;
        part.n = all->n - first < WIDTH ? all->n - first : WIDTH;
        int64_t begin = 0;
        do { /* once even where k is 0: zeros */
            part.a = all->a + begin;
            part.k = all->k - begin < BERT_SGEMM_CHAIN ? all->k - begin : BERT_SGEMM_CHAIN;
            part.accumulate = all->accumulate || begin > 0;
            for (int64_t p = 0; p < part.k; p++) {
                const uint16_t *row = args->b + ((begin + p) / 2 * all->ldb + first) * 2 + p % 2;
                for (int64_t j = 0; j < part.n; j++) b[p * WIDTH + j] = bert_bfloat16_to_float(row[2 * j]);
            }
            sgemm(&part);
            begin += BERT_SGEMM_CHAIN;
        } while (begin < all->k);
    }
}

static void bgemm(const bert_bgemm_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const uint16_t *a = args->a + row * args->lda;
        float *c = args->c + row * args->ldc;
        const float *start = args->start ? args->start + row * args->ld_start : NULL;
        for (int j = 0; j < BERT_BGEMM_COLUMNS; j++) {
            float sum = start ? start[j] : 0.0F;
            for (int64_t p = 0; p < args->steps * BERT_BGEMM_STEP; p++) {
                const int64_t place = (p / BERT_BGEMM_STEP * BERT_BGEMM_COLUMNS + j) * BERT_BGEMM_STEP;
                sum += bert_bfloat16_to_float(a[p]) * bert_bfloat16_to_float(args->b[place + p % BERT_BGEMM_STEP]);
            }
            c[j] = sum;
        }
    }
}

/* ---- Split float32 ----------------------------------------------------------------------------------------------- */

/* To the nearest bfloat16, halves away from zero: one addition, whose result is the number itself in float32. */
static float upper_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x8000U) & 0xffff0000U;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

static uint16_t as_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* high, middle, low */
static void split(float x, uint16_t parts[BERT_SPLIT_PARTS]) {
    for (int part = 0; part < BERT_SPLIT_PARTS; part++) {
        const float upper = part + 1 < BERT_SPLIT_PARTS ? upper_half(x) : x; /* 24 bits less 8 less 8 */
        parts[part] = as_bf16(upper);
        x -= upper;
    }
}

/* Where a tile has element `step` of pair `at` in its row `row`. */
static int64_t place_in_tile(int64_t row, int64_t at, int64_t step) {
    return row * 32 + at * 2 + step;
}

/* Parts of x, one or all, `next` elements apart. */
static void put_parts(int32_t parts, bool greatest_first, uint16_t *place, int64_t next, float x) {
    uint16_t values[BERT_SPLIT_PARTS];
    if (parts == 1)
        values[0] = bert_float_to_bfloat16(x);
    else
        split(x, values);
    for (int32_t part = 0; part < parts; part++)
        place[(greatest_first ? part : parts - 1 - part) * next] = values[part];
}

static void split_rows(const bert_split_rows_args *args) {
    const int64_t tiles = bert_split_tiles(args->k), rows = (args->rows + 15) / 16 * 16;
    for (int64_t row = 0; row < rows; row++) {
        uint16_t *group = args->y + row / BERT_SPLIT_ROWS * tiles * BERT_SPLIT_GROUP_TILE;
        for (int64_t step = 0; step < tiles * BERT_SPLIT_STEPS; step++) {
            uint16_t *tile =
                group + step / BERT_SPLIT_STEPS * BERT_SPLIT_GROUP_TILE + row % BERT_SPLIT_ROWS / 16 * BERT_SPLIT_TILE;
            put_parts(BERT_SPLIT_PARTS, false, tile + place_in_tile(row % 16, step % BERT_SPLIT_STEPS / 2, step % 2),
                      2 * BERT_SPLIT_TILE, row < args->rows && step < args->k ? args->x[row * args->ldx + step] : 0.0F);
        }
    }
}

static void split_panel(const bert_split_panel_args *args) {
    const int64_t column_tiles = (args->columns + 15) / 16;
    for (int64_t at = 2 * args->first; at < 2 * args->end; at++) {
        uint16_t *tiles = args->y + bert_split_tile_place(args->columns, args->ring, at / BERT_SPLIT_STEPS);
        for (int64_t column = 0; column < column_tiles * 16; column++) {
            put_parts(BERT_SPLIT_PARTS, true,
                      tiles + column / 16 * BERT_SPLIT_TILE +
                          place_in_tile(at % BERT_SPLIT_STEPS / 2, column % 16, at % 2),
                      column_tiles * BERT_SPLIT_TILE,
                      at < args->k && column < args->columns ? args->x[at * args->ldx + column] : 0.0F);
        }
    }
}

/* high, middle, low of step `step` of a row, and of a panel's column. */
static void row_parts(const bert_sgemm_split_args *args, int64_t row, int64_t step, float parts[BERT_SPLIT_PARTS]) {
    const uint16_t *tile = args->a + row / BERT_SPLIT_ROWS * args->a_stride +
                           step / BERT_SPLIT_STEPS * BERT_SPLIT_GROUP_TILE +
                           row % BERT_SPLIT_ROWS / 16 * BERT_SPLIT_TILE;
    for (int part = 0; part < BERT_SPLIT_PARTS; part++)
        parts[part] = bert_bfloat16_to_float(tile[(int64_t)(BERT_SPLIT_PARTS - 1 - part) * 2 * BERT_SPLIT_TILE +
                                                  place_in_tile(row % 16, step % BERT_SPLIT_STEPS / 2, step % 2)]);
}

static void column_parts(const bert_sgemm_split_args *args, int64_t column, int64_t step,
                         float parts[BERT_SPLIT_PARTS]) {
    const int64_t column_tiles = (args->columns + 15) / 16;
    const uint16_t *tiles =
        args->b + bert_split_tile_place(args->columns, args->as_it_goes != NULL, step / BERT_SPLIT_STEPS);
    for (int part = 0; part < BERT_SPLIT_PARTS; part++)
        parts[part] = bert_bfloat16_to_float(tiles[(part * column_tiles + column / 16) * BERT_SPLIT_TILE +
                                                   place_in_tile(step % BERT_SPLIT_STEPS / 2, column % 16, step % 2)]);
}

/* What a tile adds to sums[column] of a row: summed up apart, since shorter chains round less. */
static void add_split_tile(const bert_sgemm_split_args *args, int64_t tile, int64_t row, float *sums) {
    float tile_sums[BERT_SPLIT_COLUMNS] = {0};
    for (int64_t step = tile * BERT_SPLIT_STEPS; step < (tile + 1) * BERT_SPLIT_STEPS; step++) {
        float a[BERT_SPLIT_PARTS], b[BERT_SPLIT_PARTS];
        row_parts(args, row, step, a);
        for (int64_t column = 0; column < args->columns; column++) {
            column_parts(args, column, step, b);
            tile_sums[column] += a[2] * b[0] + a[1] * b[1] + a[0] * b[2] + a[1] * b[0] + a[0] * b[1] + a[0] * b[0];
        }
    }
    for (int64_t column = 0; column < args->columns; column++) sums[column] += tile_sums[column];
}

static void finish_split_row(const bert_sgemm_split_args *args, int64_t row, const float *sums) {
    float *c = args->c + row * args->ldc;
    bool finite = true;
    for (int64_t column = 0; column < args->columns; column++) finite = finite && isfinite(sums[column]);
    args->left_out[row] = finite ? 0 : 1;
    for (int64_t column = 0; finite && column < args->columns; column++)
        c[column] = args->accumulate ? c[column] + sums[column] : sums[column];
}

static void sgemm_split(const bert_sgemm_split_args *args) {
    for (int64_t first = 0; first < args->rows; first += BERT_SPLIT_ROWS) {
        const int64_t rows = args->rows - first < BERT_SPLIT_ROWS ? args->rows - first : BERT_SPLIT_ROWS;
        float sums[BERT_SPLIT_ROWS][BERT_SPLIT_COLUMNS] = {{0}};
        for (int64_t tile = 0; tile < args->tiles; tile++) {
            const int64_t pair = tile * BERT_SPLIT_PAIRS;
            if (args->as_it_goes && pair >= args->as_it_goes->first) {
                bert_split_panel_args panel = *args->as_it_goes;
                panel.first = pair;
                panel.end = pair + BERT_SPLIT_PAIRS;
                args->split_panel(&panel);
            }
            for (int64_t row = 0; row < rows; row++) add_split_tile(args, tile, first + row, sums[row]);
        }
        for (int64_t row = 0; row < rows; row++) finish_split_row(args, first + row, sums[row]);
    }
    if (args->ahead) args->split_panel(args->ahead);
}

#include "cpu/kernels/scalar_attention.h"

/* ---- Float16 ----------------------------------------------------------------------------------------------------- */

static void to_f16(const bert_to_f16_args *args) {
    for (int64_t i = 0; i < args->n; i++) args->y[i] = bert_float_to_half(args->x[i]);
}

static void from_f16(const bert_from_f16_args *args) {
    for (int64_t i = 0; i < args->n; i++) args->y[i] = bert_half_to_float(args->x[i]);
}

const bert_cpu_kernels bert_cpu_kernels_scalar = {
#define ENTRY(name) .name = (name),
    BERT_CPU_KERNELS(ENTRY)
#undef ENTRY
        .sgemm_columns = 16,
    .sgemm_rows = 1,
};
