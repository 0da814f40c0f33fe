/* Types that every module of bert.c shares: element types, tensor views, allocator, log, cancel flag. */
#ifndef BERT_TYPES_H
#define BERT_TYPES_H

#include <bert/export.h>
#include <bert/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Element types, numbered as ONNX's TensorProto.DataType. */
typedef enum bert_dtype {
    BERT_DTYPE_UNDEFINED = 0,
    BERT_FLOAT = 1,
    BERT_UINT8 = 2,
    BERT_INT8 = 3,
    BERT_UINT16 = 4,
    BERT_INT16 = 5,
    BERT_INT32 = 6,
    BERT_INT64 = 7,
    BERT_STRING = 8, /**< Named so that errors can say it; no op takes it. */
    BERT_BOOL = 9,   /**< One byte, 0 or 1. */
    BERT_FLOAT16 = 10,
    BERT_DOUBLE = 11,
    BERT_UINT32 = 12,
    BERT_UINT64 = 13,
    BERT_BFLOAT16 = 16
} bert_dtype;

/** Bytes of one element; 0 for a type that bert.c holds no tensors of. Any thread. */
BERT_API size_t bert_dtype_size(bert_dtype dtype);
/** ONNX's name in lower case ("float", "int64"), "undefined" for what is unknown. Static string. Any thread. */
BERT_API const char *bert_dtype_name(bert_dtype dtype);

/** The greatest rank of a tensor. */
#define BERT_MAX_RANK 8

/**
 * A view of a dense, row-major tensor. Owns nothing. A scalar has rank 0 and one element; a dimension may be 0.
 * `data` is aligned to the element size at least. What `data` may be NULL for is said where a tensor is a parameter.
 */
typedef struct bert_tensor {
    bert_dtype dtype;
    int32_t rank;
    int64_t dims[BERT_MAX_RANK]; /**< Elements along each dimension; those from `rank` on are ignored. */
    void *data;
} bert_tensor;

/** Product of the dimensions; -1 if one is negative or the product, or its size in bytes, overflows. Any thread. */
BERT_API int64_t bert_tensor_elements(const bert_tensor *tensor);

/**
 * Memory for everything that bert.c keeps. `allocate` returns memory of `bytes` (> 0) aligned to `alignment` (a power
 * of two), or NULL; `deallocate` gets the same size and alignment. Both are called from any thread.
 */
typedef struct bert_allocator {
    void *(*allocate)(void *user, size_t bytes, size_t alignment);
    void (*deallocate)(void *user, void *memory, size_t bytes, size_t alignment);
    void *user;
} bert_allocator;

typedef enum bert_log_level {
    BERT_LOG_DEBUG = 0,
    BERT_LOG_INFO = 1,
    BERT_LOG_NOTICE = 2, /**< The work goes on, but not quite as asked (a provider is missing, say). */
    BERT_LOG_WARNING = 3
} bert_log_level;

/** Where notices go; `write` NULL drops them. The sentence ends without a newline. Called on the thread of the call. */
typedef struct bert_log {
    void (*write)(void *user, bert_log_level level, const char *message);
    void *user;
    bert_log_level level; /**< Less important ones are not written. */
} bert_log;

/** Set to non-zero from any thread or a signal handler; looked at between kernels. Starts as 0. */
typedef volatile int32_t bert_cancel_flag;

#ifdef __cplusplus
}
#endif
#endif
