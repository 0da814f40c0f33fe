#include <bert/types.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [BERT_DTYPE_UNDEFINED] = {"undefined", 0},
    [BERT_FLOAT] = {"float", 4},
    [BERT_UINT8] = {"uint8", 1},
    [BERT_INT8] = {"int8", 1},
    [BERT_UINT16] = {"uint16", 2},
    [BERT_INT16] = {"int16", 2},
    [BERT_INT32] = {"int32", 4},
    [BERT_INT64] = {"int64", 8},
    [BERT_STRING] = {"string", 0},
    [BERT_BOOL] = {"bool", 1},
    [BERT_FLOAT16] = {"float16", 2},
    [BERT_DOUBLE] = {"double", 8},
    [BERT_UINT32] = {"uint32", 4},
    [BERT_UINT64] = {"uint64", 8},
    [BERT_BFLOAT16] = {"bfloat16", 2},
};

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
