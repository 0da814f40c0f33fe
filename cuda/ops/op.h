/*
 * What all kernels of cuda/ops promise to the host side of the plug-in. C headers: one NAME.h says what an operation
 * computes, NAME.cu has its kernels and why they are so.
 *
 *   cudaError_t bert_cuda_NAME(const bert_cuda_NAME_args *args, cudaStream_t stream);
 *
 * A call puts its kernels on the stream and returns: it allocates nothing, waits for nothing and may be captured.
 * `args` is read before it returns. It gives cudaSuccess, the error of a launch, or cudaErrorInvalidValue for arguments
 * that its header doesn't allow. No element (rows 0, say): no kernel. Pointers are device memory, aligned to their
 * elements at least (kernels look whether wider loads fit), and tensors are dense and row-major unless strides are
 * said. Outputs don't overlap inputs, save where a header says so. All calls are made from any thread; they keep no
 * state, and the only one that they look at is how kernels are launched (launch.h).
 *
 * Sizes are elements. Float tensors are float32, float16 or bfloat16; kernels compute in float32 and round once. The
 * same input gives the same bits on every run: no float atomics.
 */
#ifndef BERT_CUDA_OPS_OP_H
#define BERT_CUDA_OPS_OP_H

#include "core/base/dtypes.h"

#include <bert/backend.h>
#include <cuda_runtime_api.h>

/* Before a function for the host and for kernels: other compilers than nvcc know no difference. */
#ifdef __CUDACC__
#define BERT_CUDA_BOTH_SIDES __host__ __device__
#else
#define BERT_CUDA_BOTH_SIDES
#endif

/** Bytes of an element; 0 for a type that no kernel takes. */
static inline BERT_CUDA_BOTH_SIDES int bert_element_bytes(bert_dtype dtype) {
#define BERT_CUDA_BYTES(dtype, name, bytes)                                                                            \
    case dtype:                                                                                                        \
        return bytes;
    switch (dtype) { BERT_DTYPES(BERT_CUDA_BYTES) }
#undef BERT_CUDA_BYTES
    return 0;
}

/** Least and greatest element of a row as it is stored, or of a part of it. */
typedef bert_row_range bert_cuda_range;

/** What follows a product gives a range for each stretch of so many columns of a row, whichever kernel does it: a tile
 * of a product sees no more of a row. */
enum { BERT_CUDA_STRETCH = 128 };

/** Ranges that a row of `width` elements has then. */
static inline BERT_CUDA_BOTH_SIDES int64_t bert_cuda_stretches(int64_t width) {
    return (width + BERT_CUDA_STRETCH - 1) / BERT_CUDA_STRETCH;
}

/** Rows as E4M3, each with a float32 that its numbers are to be multiplied by: quantize_e4m3.h. */
typedef bert_byte_rows bert_cuda_e4m3_rows;

/** Activations, as canonical Linear names them: "none", "gelu" (erf), "gelu_tanh", "quick_gelu", "silu", "tanh",
 * "relu". */
typedef enum bert_cuda_activation {
    BERT_CUDA_NONE,
    BERT_CUDA_GELU,
    BERT_CUDA_GELU_TANH,
    BERT_CUDA_QUICK_GELU,
    BERT_CUDA_SILU,
    BERT_CUDA_TANH,
    BERT_CUDA_RELU,
    BERT_CUDA_ACTIVATIONS /**< So many. */
} bert_cuda_activation;

/**
 * The first index of a run with which its kernel can do nothing, mostly one outside its table; in memory of the device
 * or pinned, zeroed by the host before a run and read after it. Kernels take one that is allowed instead, and go on.
 * What the numbers are to the operator, the host knows.
 */
typedef struct bert_cuda_bad_index {
    int32_t found; /**< 0: none. */
    int32_t node;  /**< What the host passed as `node`. */
    int32_t input; /**< Of the node. */
    int32_t reserved;
    int64_t position; /**< In the tensor of indices. */
    int64_t value;
    int64_t bound; /**< What the index was held against: rows of the table, mostly. */
} bert_cuda_bad_index;

/** Where a kernel reports a bad index; `report` NULL: nowhere. */
typedef struct bert_cuda_index_check {
    bert_cuda_bad_index *report;
    int32_t node;
    bool from_start; /**< An index below 0 is bad too; else it counts from the end. */
} bert_cuda_index_check;

#endif
