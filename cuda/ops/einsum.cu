/*
 * A thread an element of the result, which goes through all that is summed for it. What is large in a model is a
 * product, which passes make a MatMul of; here come diagonals, three operands, ellipses. Dimensions over which all
 * operands step as over one are joined first, so that a sum over one label divides nothing to find its elements.
 */
#include "cuda/ops/einsum.h"

#include "cuda/ops/element.h"

enum { THREADS = 256 };

/* F: elements; A: what they are multiplied and summed as. Whole numbers wrap around, which signed ones may not do. */
template <typename F, typename A>
static __global__ void __launch_bounds__(THREADS)
    einsum_kernel(bert_cuda_einsum_args a, bert_cuda_walk outer, bert_cuda_walk inner) {
    begin_kernel();
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < outer.count; i += step) {
        int64_t starts[BERT_CUDA_EINSUM_OPERANDS];
        for (int o = 0; o < a.operands; o++) starts[o] = offset_of(outer, a.inputs[o].outer, i);
        A sum = A(0);
        for (int64_t j = 0; j < inner.count; j++) {
            A product = A(1);
            for (int o = 0; o < a.operands; o++) {
                const int64_t at = starts[o] + offset_of(inner, a.inputs[o].inner, j);
                product *= static_cast<A>(load_as<F>(a.inputs[o].data, a.dtype, at));
            }
            sum += product;
        }
        store_as<F>(a.y, a.dtype, i, static_cast<F>(sum));
    }
}

cudaError_t bert_cuda_einsum(const bert_cuda_einsum_args *args, cudaStream_t stream) {
    bert_cuda_einsum_args a = *args;
    bert_cuda_walk outer, inner;
    int64_t *along_outer[BERT_CUDA_EINSUM_OPERANDS], *along_inner[BERT_CUDA_EINSUM_OPERANDS];
    if (a.operands < 1 || a.operands > BERT_CUDA_EINSUM_OPERANDS || a.dtype == BERT_BOOL ||
        !bert_element_bytes(a.dtype) || !bert_walk_over(a.outer, a.outer_dims, &outer) ||
        !bert_walk_over(a.inner, a.inner_dims, &inner))
        return cudaErrorInvalidValue;
    if (outer.count == 0) return cudaSuccess;
    for (int o = 0; o < a.operands; o++) {
        along_outer[o] = a.inputs[o].outer;
        along_inner[o] = a.inputs[o].inner;
    }
    bert_join_dimensions(&outer, along_outer, a.operands);
    bert_join_dimensions(&inner, along_inner, a.operands);
    const dim3 grid(bert_blocks(outer.count, THREADS, 1 << 14)), block(THREADS);
    switch (a.dtype) {
    case BERT_FLOAT:
    case BERT_FLOAT16:
    case BERT_BFLOAT16:
        return BERT_LAUNCH((einsum_kernel<float, float>), grid, block, 0, stream, a, outer, inner);
    case BERT_DOUBLE:
        return BERT_LAUNCH((einsum_kernel<double, double>), grid, block, 0, stream, a, outer, inner);
    default:
        return BERT_LAUNCH((einsum_kernel<int64_t, uint64_t>), grid, block, 0, stream, a, outer, inner);
    }
}
