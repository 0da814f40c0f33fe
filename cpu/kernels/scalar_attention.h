/*
 * Attention by products of bfloat16, as kernels.h defines it. Included by scalar.c alone.
 */
#ifndef BERT_CPU_KERNELS_SCALAR_ATTENTION_H
#define BERT_CPU_KERNELS_SCALAR_ATTENTION_H

/* Where a side has element `step` of one of 32 rows, or columns: that of part 0, and from one part to the next. */
static int64_t place_of_row(int32_t parts, int64_t row, int64_t step) {
    return step / BERT_SPLIT_STEPS * bert_parts_elements(parts) + row / 16 * BERT_SPLIT_TILE +
           place_in_tile(row % 16, step % 16, step % BERT_SPLIT_STEPS / 16);
}

static int64_t place_of_column(int32_t parts, int64_t column, int64_t step) {
    return step / BERT_SPLIT_STEPS * bert_parts_elements(parts) + column / 16 * BERT_SPLIT_TILE +
           place_in_tile(step % 16, column % 16, step % BERT_SPLIT_STEPS / 16);
}

static void attention_left(const bert_attention_left_args *args) {
    for (int64_t row = 0; row < args->rows; row++)
        for (int64_t step = 0; step < bert_split_tiles(args->k) * BERT_SPLIT_STEPS; step++)
            put_parts(args->parts, false, args->y + place_of_row(args->parts, row, step), BERT_PARTS_NEXT,
                      step < args->k ? args->x[row * args->ldx + step] : 0.0F);
}

static void attention_right(const bert_attention_right_args *args) {
    const int64_t tiles = bert_split_tiles(args->k), panel = tiles * bert_parts_elements(args->parts);
    const int64_t panels = bert_parts_panels(args->columns);
    for (int64_t column = 0; column < panels * BERT_PARTS_COLUMNS; column++) {
        uint16_t *y = args->y + column / BERT_PARTS_COLUMNS * panel;
        for (int64_t step = 0; step < tiles * BERT_SPLIT_STEPS; step++) {
            const int64_t from = args->transposed ? column * args->ldx + step : step * args->ldx + column;
            put_parts(args->parts, true, y + place_of_column(args->parts, column % BERT_PARTS_COLUMNS, step),
                      BERT_PARTS_NEXT, step < args->k && column < args->columns ? args->x[from] : 0.0F);
        }
    }
}

/* One part of a row times one of a column, summed up over a tile. */
static float multiply_tile(const uint16_t *a, const uint16_t *b) {
    float sum = 0.0F;
    for (int64_t pair = 0; pair < BERT_SPLIT_STEPS / 2; pair++)
        for (int64_t i = 0; i < 2; i++)
            sum += bert_bfloat16_to_float(a[2 * pair + i]) * bert_bfloat16_to_float(b[32 * pair + i]);
    return sum;
}

static void attention_multiply(const bert_attention_multiply_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        for (int64_t column = 0; column < args->columns; column++) {
            const uint16_t *a = args->a + place_of_row(args->parts, row, 0);
            const uint16_t *b = args->b + column / BERT_PARTS_COLUMNS * args->b_stride +
                                place_of_column(args->parts, column % BERT_PARTS_COLUMNS, 0);
            float sum = 0.0F;
            for (int64_t tile = 0; tile < args->tiles; tile++) {
                for (int32_t i = 0; i < bert_parts_products(args->parts); i++) {
                    const bert_parts_pair pair = bert_parts_pair_at(args->parts, i);
                    sum += multiply_tile(a + pair.a * BERT_PARTS_NEXT, b + pair.b * BERT_PARTS_NEXT);
                }
                a += bert_parts_elements(args->parts);
                b += bert_parts_elements(args->parts);
            }
            args->c[row * args->ldc + column] = sum;
        }
    }
}

static void attention_probabilities(const bert_attention_probabilities_args *args) {
    const int64_t n = args->attention->n;
    for (int64_t row = 0; row < args->attention->rows; row++) {
        const bert_softmax_args softmax = bert_attention_softmax(args->attention, row);
        const float greatest = scale_scores(&softmax);
        float total = 0.0F;
        for (int64_t key = 0; key < bert_split_tiles(n) * BERT_SPLIT_STEPS; key++) {
            float value = key < n ? expf(softmax.y[key] - greatest) : 0.0F;
            if (value < 0x1p-100F) value = 0.0F;
            total += value;
            put_parts(args->parts, false, args->y + place_of_row(args->parts, row, key), BERT_PARTS_NEXT, value);
        }
        args->totals[row] = total;
    }
}

static void attention_divide(const bert_attention_divide_args *args) {
    for (int64_t row = 0; row < args->rows; row++) {
        const float *x = args->x + row * args->ldx;
        float *y = args->y + row * args->ldy;
        args->left_out[row] = 0;
        for (int64_t i = 0; i < args->width; i++) {
            y[i] = x[i] * (1.0F / args->totals[row]);
            if (!isfinite(y[i])) args->left_out[row] = 1;
        }
    }
}

#endif
