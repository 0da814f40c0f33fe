#include "core/graph/ops/loops.h"

#include <inttypes.h>
#include <string.h>

void bert_load_row(const bert_tensor *tensor, int64_t from, int64_t count, double *out) {
    if (tensor->dtype == BERT_FLOAT) {
        const float *values = (const float *)tensor->data + from;
        for (int64_t i = 0; i < count; i++) out[i] = values[i];
    } else {
        for (int64_t i = 0; i < count; i++) out[i] = bert_load(tensor, from + i);
    }
}

void bert_store_row(const bert_tensor *tensor, int64_t from, int64_t count, const double *values) {
    for (int64_t i = 0; i < count; i++) bert_store(tensor, from + i, values[i]);
}

void bert_copy_elements(const bert_tensor *to, int64_t to_index, const bert_tensor *from, int64_t from_index,
                        int64_t count) {
    size_t size = bert_dtype_size(to->dtype);
    if (count <= 0) return;
    memcpy((char *)to->data + (size_t)to_index * size, (const char *)from->data + (size_t)from_index * size,
           (size_t)count * size);
}

int64_t bert_dims_product(const bert_tensor *tensor, int32_t from, int32_t to) {
    int64_t product = 1;
    for (int32_t i = from; i < to; i++) product *= tensor->dims[i];
    return product;
}

bert_status bert_call_axes(const bert_reference_call *call, int32_t input, int32_t rank, uint32_t *mask, bool *given) {
    size_t count = 0;
    const int64_t *listed = BERT_CALL_INTS(call, "axes", &count);
    const bert_tensor *tensor = input >= 0 ? bert_call_input(call, input) : NULL;
    if (tensor) count = (size_t)bert_tensor_elements(tensor);
    *given = listed || tensor;
    *mask = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t axis = tensor ? (int64_t)bert_load_integer(tensor, (int64_t)i) : listed[i];
        if (axis < -(int64_t)rank || axis >= rank) {
            return bert_fail(call->error, BERT_INVALID_INPUT,
                             "axis %" PRId64 " is outside a tensor of %" PRId32 " dimensions", axis, rank);
        }
        *mask |= (uint32_t)1 << bert_call_axis(axis, rank);
    }
    return BERT_OK;
}

bert_loop bert_loop_over(int32_t rank, const int64_t *dims) {
    bert_loop loop = {.rank = rank, .left = 1};
    for (int32_t i = 0; i < rank; i++) {
        loop.dims[i] = dims[i];
        loop.left *= dims[i];
    }
    return loop;
}

void bert_loop_add_strides(bert_loop *loop, const int64_t *strides) {
    memcpy(loop->strides[loop->operands++], strides, (size_t)loop->rank * sizeof *strides);
}

void bert_loop_add(bert_loop *loop, const bert_tensor *operand) {
    int64_t *strides = loop->strides[loop->operands++];
    int64_t stride = 1;
    int32_t shift = loop->rank - operand->rank;
    for (int32_t i = operand->rank - 1; i >= 0; i--) {
        strides[i + shift] = operand->dims[i] == 1 ? 0 : stride;
        stride *= operand->dims[i];
    }
}

void bert_loop_next(bert_loop *loop) {
    loop->left--;
    loop->position++;
    for (int32_t axis = loop->rank - 1; axis >= 0; axis--) {
        bool carry = ++loop->index[axis] == loop->dims[axis];
        for (int32_t i = 0; i < loop->operands; i++) {
            loop->offset[i] += carry ? -(loop->dims[axis] - 1) * loop->strides[i][axis] : loop->strides[i][axis];
        }
        if (!carry) return;
        loop->index[axis] = 0;
    }
}

void bert_dense_strides(int32_t rank, const int64_t *dims, int64_t strides[BERT_MAX_RANK]) {
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dims[i];
    }
}
