/*
 * Dimensions that lie behind each other on both sides are joined; then neighbouring elements are taken together, up to
 * 16 bytes, as long as both sides allow it. What is left is an index, a few divisions, a load and a store: the rows of
 * heads that attention layouts move are whole vectors.
 */
#include "cuda/ops/move.h"

#include "cuda/ops/element.h"

enum { THREADS = 256 };

struct move {
    bert_cuda_walk walk;
    const void *from;
    void *to;
    int64_t from_strides[BERT_MAX_RANK], to_strides[BERT_MAX_RANK];
};

/* An element of BYTES bytes. */
template <int BYTES> struct alignas(BYTES) chunk { bert_vector<uint8_t, BYTES> bytes; };

template <int BYTES> static __global__ void __launch_bounds__(THREADS) move_kernel(move m) {
    begin_kernel();
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < m.walk.count; i += step) {
        const int64_t from = offset_of(m.walk, m.from_strides, i), to = offset_of(m.walk, m.to_strides, i);
        static_cast<chunk<BYTES> *>(m.to)[to] = static_cast<const chunk<BYTES> *>(m.from)[from];
    }
}

/* Takes two neighbours for one, if that can be. */
static bool widen(move *m, int bytes) {
    const int32_t last = m->walk.rank - 1;
    if (last < 0 || m->from_strides[last] != 1 || m->to_strides[last] != 1 || m->walk.dims[last] % 2) return false;
    const uintptr_t both = reinterpret_cast<uintptr_t>(m->from) | reinterpret_cast<uintptr_t>(m->to);
    if (both % static_cast<unsigned>(2 * bytes)) return false;
    for (int32_t i = 0; i < last; i++)
        if (m->from_strides[i] % 2 || m->to_strides[i] % 2) return false;
    for (int32_t i = 0; i < last; i++) {
        m->from_strides[i] /= 2;
        m->to_strides[i] /= 2;
    }
    m->walk.dims[last] /= 2;
    m->walk.count /= 2;
    return true;
}

cudaError_t bert_cuda_move(const bert_cuda_move_args *args, cudaStream_t stream) {
    move m = {};
    if (!bert_walk_over(args->rank, args->dims, &m.walk)) return cudaErrorInvalidValue;
    if (m.walk.count == 0) return cudaSuccess;
    m.from = args->from;
    m.to = args->to;
    for (int32_t i = 0; i < args->rank; i++) {
        m.from_strides[i] = args->from_strides[i];
        m.to_strides[i] = args->to_strides[i];
    }
    int64_t *const strides[] = {m.from_strides, m.to_strides};
    bert_join_dimensions(&m.walk, strides, 2);
    int bytes = args->element_bytes;
    while (bytes < 16 && widen(&m, bytes)) bytes *= 2;
    const dim3 grid(bert_blocks(m.walk.count, THREADS, 1 << 14)), block(THREADS);
    switch (bytes) {
    case 1:
        return BERT_LAUNCH((move_kernel<1>), grid, block, 0, stream, m);
    case 2:
        return BERT_LAUNCH((move_kernel<2>), grid, block, 0, stream, m);
    case 4:
        return BERT_LAUNCH((move_kernel<4>), grid, block, 0, stream, m);
    case 8:
        return BERT_LAUNCH((move_kernel<8>), grid, block, 0, stream, m);
    case 16:
        return BERT_LAUNCH((move_kernel<16>), grid, block, 0, stream, m);
    default:
        return cudaErrorInvalidValue;
    }
}

/* ---- Pad -----------------------------------------------------------------------------------------------------------
 */

static __device__ int64_t positive_modulo(int64_t a, int64_t b) {
    const int64_t rest = a % b;
    return rest < 0 ? rest + b : rest;
}

/* Where the element at `at` of an axis of `size` elements comes from; -1: it is the constant. */
static __device__ int64_t source_index(bert_cuda_pad_mode mode, int64_t at, int64_t size) {
    if (at >= 0 && at < size) return at;
    if (size == 0 || mode == BERT_CUDA_PAD_CONSTANT) return -1;
    if (mode == BERT_CUDA_PAD_EDGE || size == 1) return at < 0 ? 0 : size - 1;
    if (mode == BERT_CUDA_PAD_WRAP) return positive_modulo(at, size);
    const int64_t period = 2 * (size - 1), place = positive_modulo(at, period);
    return place < size ? place : period - place;
}

static __global__ void __launch_bounds__(THREADS) pad_kernel(bert_cuda_pad_args a, bert_cuda_walk walk) {
    begin_kernel();
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < walk.count; i += step) {
        int64_t left = i, from = 0;
        bool inside = true;
        for (int axis = walk.rank - 1; axis >= 0; axis--) {
            const int64_t at = left % walk.dims[axis];
            left /= walk.dims[axis];
            const int64_t source = source_index(a.mode, at - a.before[axis], a.size[axis]);
            inside = inside && source >= 0;
            from += (source + a.first[axis]) * a.strides[axis];
        }
        if (inside)
            copy_element(a.to, i, a.from, from, a.element_bytes);
        else if (a.fill)
            copy_element(a.to, i, a.fill, 0, a.element_bytes);
        else
            store_bits(a.to, i, a.fill_bits, a.element_bytes);
    }
}

cudaError_t bert_cuda_pad(const bert_cuda_pad_args *args, cudaStream_t stream) {
    bert_cuda_walk walk = {};
    if (!bert_walk_over(args->rank, args->dims, &walk) || !bert_bytes_allowed(args->element_bytes))
        return cudaErrorInvalidValue;
    if (walk.count == 0) return cudaSuccess;
    return BERT_LAUNCH(pad_kernel, dim3(bert_blocks(walk.count, THREADS, 1 << 14)), dim3(THREADS), 0, stream, *args,
                       walk);
}
