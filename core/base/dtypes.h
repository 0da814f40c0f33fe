/* The element types, their names and the bytes of an element, and which of them are floats: one list for core and for
 * plug-ins, which import none of its functions. */
#ifndef BERT_BASE_DTYPES_H
#define BERT_BASE_DTYPES_H

#include <bert/types.h>

/** TYPE(dtype, name, bytes) for each; bytes 0: there are no tensors of it. */
#define BERT_DTYPES(TYPE)                                                                                              \
    TYPE(BERT_DTYPE_UNDEFINED, "undefined", 0)                                                                         \
    TYPE(BERT_FLOAT, "float", 4)                                                                                       \
    TYPE(BERT_UINT8, "uint8", 1)                                                                                       \
    TYPE(BERT_INT8, "int8", 1)                                                                                         \
    TYPE(BERT_UINT16, "uint16", 2)                                                                                     \
    TYPE(BERT_INT16, "int16", 2)                                                                                       \
    TYPE(BERT_INT32, "int32", 4)                                                                                       \
    TYPE(BERT_INT64, "int64", 8)                                                                                       \
    TYPE(BERT_STRING, "string", 0)                                                                                     \
    TYPE(BERT_BOOL, "bool", 1)                                                                                         \
    TYPE(BERT_FLOAT16, "float16", 2)                                                                                   \
    TYPE(BERT_DOUBLE, "double", 8)                                                                                     \
    TYPE(BERT_UINT32, "uint32", 4)                                                                                     \
    TYPE(BERT_UINT64, "uint64", 8)                                                                                     \
    TYPE(BERT_BFLOAT16, "bfloat16", 2)

#ifdef __CUDACC__
#define BERT_DTYPES_FUNCTION static inline __host__ __device__ /* kernels ask too */
#else
#define BERT_DTYPES_FUNCTION static inline
#endif

BERT_DTYPES_FUNCTION bool bert_dtype_is_float(bert_dtype dtype) {
    return dtype == BERT_FLOAT || dtype == BERT_DOUBLE || dtype == BERT_FLOAT16 || dtype == BERT_BFLOAT16;
}

#undef BERT_DTYPES_FUNCTION

#endif
