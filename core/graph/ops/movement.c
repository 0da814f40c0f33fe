#include "core/graph/ops/movement.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bert_move bert_move_between(const bert_tensor *from, const bert_tensor *to, const bert_tensor *box) {
    bert_move move = {.rank = box->rank};
    memcpy(move.dims, box->dims, sizeof move.dims);
    bert_dense_strides(from->rank, from->dims, move.from);
    bert_dense_strides(to->rank, to->dims, move.to);
    return move;
}

void bert_move_run(const bert_move *move, const bert_tensor *from, int64_t from_start, const bert_tensor *to,
                   int64_t to_start) {
    for (int32_t i = 0; i < move->rank; i++) {
        if (move->dims[i] == 0) return;
    }
    int32_t last = move->rank - 1;
    int64_t row = last < 0 ? 1 : move->dims[last];
    int64_t from_step = last < 0 ? 1 : move->from[last];
    int64_t to_step = last < 0 ? 1 : move->to[last];
    bert_loop loop = bert_loop_over(last < 0 ? 0 : last, move->dims);
    bert_loop_add_strides(&loop, move->from);
    bert_loop_add_strides(&loop, move->to);
    for (; loop.left; bert_loop_next(&loop)) {
        int64_t source = from_start + loop.offset[0];
        int64_t target = to_start + loop.offset[1];
        if (from_step == 1 && to_step == 1) {
            bert_copy_elements(to, target, from, source, row);
            continue;
        }
        for (int64_t i = 0; i < row; i++) {
            bert_copy_elements(to, target + i * to_step, from, source + i * from_step, 1);
        }
    }
}

/* "[0, 3]" of a flat position. */
static const char *format_place(const bert_tensor *tensor, int64_t position, char *out, size_t capacity) {
    int64_t at[BERT_MAX_RANK] = {0};
    for (int32_t i = tensor->rank - 1; i >= 0; i--) {
        at[i] = position % tensor->dims[i];
        position /= tensor->dims[i];
    }
    size_t length = (size_t)snprintf(out, capacity, "[");
    for (int32_t i = 0; i < tensor->rank && length < capacity; i++) {
        length += (size_t)snprintf(out + length, capacity - length, "%s%" PRId64, i ? ", " : "", at[i]);
    }
    if (length < capacity) snprintf(out + length, capacity - length, "]");
    return out;
}

bert_status bert_read_index(const bert_reference_call *call, int32_t input, int64_t position, int64_t bound,
                            const char *of, int64_t *out) {
    const bert_tensor *indices = &call->inputs[input];
    int64_t index = (int64_t)bert_load_integer(indices, position);
    if (index < -bound || index >= bound) {
        char place[160];
        return bert_fail(call->error, BERT_INVALID_INPUT,
                         "index %" PRId64 " at %s of input %" PRId32 " is outside the %" PRId64 " %s", index,
                         format_place(indices, position, place, sizeof place), input, bound, of);
    }
    *out = index < 0 ? index + bound : index;
    return BERT_OK;
}
