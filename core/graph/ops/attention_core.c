#include "core/graph/ops/attention_core.h"

#include <math.h>

bert_heads bert_heads_interleaved(const bert_tensor *tensor, int64_t column, int64_t depth) {
    int64_t width = tensor->dims[2];
    return (bert_heads){.tensor = tensor,
                        .offset = column,
                        .batch_stride = tensor->dims[1] * width,
                        .head_stride = depth,
                        .row_stride = width,
                        .element_stride = 1};
}

bert_heads bert_heads_separate(const bert_tensor *tensor) {
    int64_t depth = tensor->dims[3];
    return (bert_heads){.tensor = tensor,
                        .batch_stride = tensor->dims[1] * tensor->dims[2] * depth,
                        .head_stride = tensor->dims[2] * depth,
                        .row_stride = depth,
                        .element_stride = 1};
}

size_t bert_attention_workspace(int64_t columns, int64_t depth, int64_t value_depth) {
    size_t count = (size_t)columns, rows, bytes; /* rows: of Q and of K */
    bool fits = bert_size_multiply(2, (size_t)depth, &rows) && bert_size_add(count, rows, &count) &&
                bert_size_add(count, (size_t)value_depth, &count) && bert_size_multiply(count, sizeof(double), &bytes);
    return fits ? bytes : SIZE_MAX;
}

void bert_softmax_row(double *row, int64_t count) {
    double greatest = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (row[i] > greatest) greatest = row[i];
    }
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        row[i] = exp(row[i] - greatest);
        sum += row[i];
    }
    for (int64_t i = 0; i < count; i++) row[i] /= sum;
}

/* A row of a head of Q or K as it is multiplied. */
static void load_row(const bert_attention *a, const bert_heads *heads, int64_t batch, int64_t head, int64_t row,
                     double *out) {
    const int64_t start = bert_heads_row(heads, batch, head, row);
    for (int64_t d = 0; d < a->depth; d++) out[d] = bert_load(heads->tensor, start + d * heads->element_stride);
    if (a->turn) a->turn(a->user, batch, row, out);
}

/* One query of one head. */
static void attend(const bert_attention *a, int64_t batch, int64_t head, int64_t row) {
    double *scores = a->scratch;
    double *query = scores + a->columns;
    double *key = query + a->depth;
    double *sum = key + a->depth;
    int64_t shared = head / a->group;
    load_row(a, &a->q, batch, head, row, query);
    for (int64_t t = 0; t < a->columns; t++) {
        double score = 0;
        load_row(a, &a->k, batch, shared, t, key);
        for (int64_t d = 0; d < a->depth; d++) score += query[d] * key[d];
        scores[t] = score * a->scale;
    }
    if (a->adjust) a->adjust(a->user, batch, head, row, scores);
    bert_softmax_row(scores, a->columns);
    if (a->inspect) a->inspect(a->user, batch, head, row, scores);
    for (int64_t d = 0; d < a->value_depth; d++) sum[d] = 0;
    for (int64_t t = 0; t < a->columns; t++) {
        int64_t value = bert_heads_row(&a->v, batch, shared, t);
        for (int64_t d = 0; d < a->value_depth; d++) {
            sum[d] += scores[t] * bert_load(a->v.tensor, value + d * a->v.element_stride);
        }
    }
    int64_t to = bert_heads_row(&a->y, batch, head, row);
    for (int64_t d = 0; d < a->value_depth; d++) bert_store(a->y.tensor, to + d * a->y.element_stride, sum[d]);
}

void bert_attention_run(const bert_attention *attention) {
    for (int64_t b = 0; b < attention->batch; b++) {
        for (int64_t h = 0; h < attention->heads; h++) {
            for (int64_t s = 0; s < attention->rows; s++) attend(attention, b, h, s);
        }
    }
}
