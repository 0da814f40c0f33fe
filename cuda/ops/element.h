/*
 * Elements of any type, for kernels of plain ops: a type is looked at while the kernel runs. All threads of a warp look
 * at the same one, so that costs little beside the memory; and one kernel serves all types. For .cu files.
 *
 * Arithmetic is done in one of three: float for float32, float16 and bfloat16; double; int64 for every integer type and
 * bool. Integers wrap around when they are stored, so sums and products are right for uint64 too; what compares,
 * divides or takes extremes asks for that type itself.
 */
#ifndef BERT_CUDA_OPS_ELEMENT_H
#define BERT_CUDA_OPS_ELEMENT_H

#include "core/base/dtypes.h"
#include "cuda/ops/op.h"
#include "cuda/platform.h"

template <typename F> __device__ inline F load_as(const void *data, bert_dtype dtype, int64_t at);

template <> __device__ inline float load_as<float>(const void *data, bert_dtype dtype, int64_t at) {
    switch (dtype) {
    case BERT_FLOAT16:
        return __half2float(static_cast<const __half *>(data)[at]);
    case BERT_BFLOAT16:
        return __bfloat162float(static_cast<const __nv_bfloat16 *>(data)[at]);
    default:
        return static_cast<const float *>(data)[at];
    }
}

template <> __device__ inline int64_t load_as<int64_t>(const void *data, bert_dtype dtype, int64_t at) {
    switch (dtype) {
    case BERT_BOOL:
        return static_cast<const uint8_t *>(data)[at] != 0;
    case BERT_UINT8:
        return static_cast<const uint8_t *>(data)[at];
    case BERT_INT8:
        return static_cast<const int8_t *>(data)[at];
    case BERT_UINT16:
        return static_cast<const uint16_t *>(data)[at];
    case BERT_INT16:
        return static_cast<const int16_t *>(data)[at];
    case BERT_UINT32:
        return static_cast<const uint32_t *>(data)[at];
    case BERT_INT32:
        return static_cast<const int32_t *>(data)[at];
    default:
        return static_cast<const int64_t *>(data)[at];
    }
}

/** Of any type, as the reference implementations load it. */
template <> __device__ inline double load_as<double>(const void *data, bert_dtype dtype, int64_t at) {
    switch (dtype) {
    case BERT_DOUBLE:
        return static_cast<const double *>(data)[at];
    case BERT_FLOAT:
    case BERT_FLOAT16:
    case BERT_BFLOAT16:
        return load_as<float>(data, dtype, at);
    case BERT_UINT64:
        return static_cast<double>(static_cast<const uint64_t *>(data)[at]);
    default:
        return static_cast<double>(load_as<int64_t>(data, dtype, at));
    }
}

template <typename F> __device__ inline void store_as(void *data, bert_dtype dtype, int64_t at, F value);

template <> __device__ inline void store_as<float>(void *data, bert_dtype dtype, int64_t at, float value) {
    switch (dtype) {
    case BERT_FLOAT16:
        static_cast<__half *>(data)[at] = __float2half_rn(value);
        break;
    case BERT_BFLOAT16:
        static_cast<__nv_bfloat16 *>(data)[at] = __float2bfloat16_rn(value);
        break;
    case BERT_DOUBLE:
        static_cast<double *>(data)[at] = value;
        break;
    default:
        static_cast<float *>(data)[at] = value;
    }
}

template <> __device__ inline void store_as<double>(void *data, bert_dtype dtype, int64_t at, double value) {
    if (dtype == BERT_DOUBLE)
        static_cast<double *>(data)[at] = value;
    else
        store_as<float>(data, dtype, at, static_cast<float>(value));
}

/** The low bits; of bool, whether it is not 0. */
template <> __device__ inline void store_as<int64_t>(void *data, bert_dtype dtype, int64_t at, int64_t value) {
    switch (dtype) {
    case BERT_BOOL:
        static_cast<uint8_t *>(data)[at] = value != 0;
        break;
    case BERT_UINT8:
    case BERT_INT8:
        static_cast<uint8_t *>(data)[at] = static_cast<uint8_t>(value);
        break;
    case BERT_UINT16:
    case BERT_INT16:
        static_cast<uint16_t *>(data)[at] = static_cast<uint16_t>(value);
        break;
    case BERT_UINT32:
    case BERT_INT32:
        static_cast<uint32_t *>(data)[at] = static_cast<uint32_t>(value);
        break;
    default:
        static_cast<int64_t *>(data)[at] = value;
    }
}

/** Copies one element of `bytes` bytes as it is. */
static __device__ inline void copy_element(void *to, int64_t to_at, const void *from, int64_t from_at, int bytes) {
    switch (bytes) {
    case 1:
        static_cast<uint8_t *>(to)[to_at] = static_cast<const uint8_t *>(from)[from_at];
        break;
    case 2:
        static_cast<uint16_t *>(to)[to_at] = static_cast<const uint16_t *>(from)[from_at];
        break;
    case 4:
        static_cast<uint32_t *>(to)[to_at] = static_cast<const uint32_t *>(from)[from_at];
        break;
    default:
        static_cast<uint64_t *>(to)[to_at] = static_cast<const uint64_t *>(from)[from_at];
    }
}

/** Writes the low `bytes` bytes of `bits` as one element. */
static __device__ inline void store_bits(void *to, int64_t at, uint64_t bits, int bytes) {
    switch (bytes) {
    case 1:
        static_cast<uint8_t *>(to)[at] = static_cast<uint8_t>(bits);
        break;
    case 2:
        static_cast<uint16_t *>(to)[at] = static_cast<uint16_t>(bits);
        break;
    case 4:
        static_cast<uint32_t *>(to)[at] = static_cast<uint32_t>(bits);
        break;
    default:
        static_cast<uint64_t *>(to)[at] = bits;
    }
}

static inline bool bert_bytes_allowed(int bytes) {
    return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8;
}

/* ---- Where elements are --------------------------------------------------------------------------------------------
 */

/** Counts through the elements of a shape in row-major order, and finds them in tensors with strides of their own. */
typedef struct bert_cuda_walk {
    int32_t rank;
    int64_t count; /**< Elements. */
    int64_t dims[BERT_MAX_RANK];
} bert_cuda_walk;

/** Offset of element `index` of the walk in a tensor with these strides. */
static __device__ inline int64_t offset_of(const bert_cuda_walk &walk, const int64_t *strides, int64_t index) {
    int64_t offset = 0;
    for (int axis = walk.rank - 1; axis > 0; axis--) {
        const int64_t next = index / walk.dims[axis];
        offset += (index - next * walk.dims[axis]) * strides[axis];
        index = next;
    }
    return walk.rank > 0 ? offset + index * strides[0] : 0;
}

/** False where a dimension is negative or there are more elements than an int64 holds. */
static inline bool bert_walk_over(int32_t rank, const int64_t *dims, bert_cuda_walk *walk) {
    if (rank < 0 || rank > BERT_MAX_RANK) return false;
    walk->rank = rank;
    walk->count = 1;
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i] < 0 || (dims[i] > 0 && walk->count > INT64_MAX / dims[i])) return false;
        walk->dims[i] = dims[i];
        walk->count *= dims[i];
    }
    return true;
}

/** Joins dimension i with the one before wherever every tensor steps over both as over one. Dimensions of 1 go. */
static inline void bert_join_dimensions(bert_cuda_walk *walk, int64_t *const *strides, int tensors) {
    int32_t kept = 0;
    for (int32_t i = 0; i < walk->rank; i++) {
        const int64_t size = walk->dims[i];
        if (size == 1) continue;
        bool joins = kept > 0;
        for (int t = 0; t < tensors && joins; t++) joins = strides[t][kept - 1] == strides[t][i] * size;
        if (!joins) kept++;
        walk->dims[kept - 1] = joins ? walk->dims[kept - 1] * size : size;
        for (int t = 0; t < tensors; t++) strides[t][kept - 1] = strides[t][i];
    }
    walk->rank = kept;
}

#endif
