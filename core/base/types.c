#include "core/base/dtypes.h"

#define DTYPE(dtype, text, bytes) [dtype] = {.name = (text), .size = (bytes)},
static const struct {
    const char *name;
    size_t size;
} dtypes[] = {BERT_DTYPES(DTYPE)};
#undef DTYPE

static bool dtype_is_known(bert_dtype dtype) {
    return (size_t)dtype < sizeof dtypes / sizeof dtypes[0] && dtypes[dtype].name;
}

size_t bert_dtype_size(bert_dtype dtype) {
    return dtype_is_known(dtype) ? dtypes[dtype].size : 0;
}

const char *bert_dtype_name(bert_dtype dtype) {
    return dtype_is_known(dtype) ? dtypes[dtype].name : dtypes[BERT_DTYPE_UNDEFINED].name;
}

int64_t bert_tensor_elements(const bert_tensor *tensor) {
    /* A zero dimension makes the product zero even when the others overflow, so it is looked for first. */
    bool empty = false;
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] < 0) return -1;
        empty |= tensor->dims[i] == 0;
    }
    if (empty) return 0;
    int64_t elements = 1;
    int64_t size = (int64_t)bert_dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(elements, tensor->dims[i], &elements)) return -1;
    }
    int64_t bytes;
    return __builtin_mul_overflow(elements, size, &bytes) ? -1 : elements;
}
