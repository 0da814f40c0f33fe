/*
 * Bound by memory: each element is read and written once. A thread has 16 bytes of the first elements of pairs and 16
 * of the second ones, or, where addresses don't allow that or pairs are interleaved, one pair; other threads have
 * elements that only move. All heads of a token follow each other, of Q and of K, so that cosines and sines, which are
 * the same for them, come from the cache.
 *
 * Angles are copied, not chosen by address, which would put them into local memory.
 */
#include "cuda/ops/rotary.h"

#include "cuda/ops/index_check.h"
#include "cuda/platform.h"

enum { THREADS = 256 };

/* What elements of a type are turned in. */
template <typename T> struct arithmetic {
    static __device__ float load(T x) {
        return to_float(x);
    }
    static __device__ T store(float x) {
        return from_float<T>(x);
    }
};
template <> struct arithmetic<double> {
    static __device__ double load(double x) {
        return x;
    }
    static __device__ double store(double x) {
        return x;
    }
};

static __device__ int64_t cache_row(const bert_cuda_rotary_args &a, int64_t b, int64_t row) {
    const int64_t token = b * a.rows + row;
    if (!a.ids) return (a.tokens ? a.tokens[token] : token) % a.positions;
    const int64_t at = a.offset ? 0 : token;
    const int64_t position =
        static_cast<int64_t>(static_cast<uint64_t>(a.ids[at]) + static_cast<uint64_t>(a.offset ? row : 0));
    if (position >= 0 && position < a.positions) return position;
    report_index(position, a.positions, at, a.input, a.check);
    return 0;
}

template <typename T, int N> struct angles {
    bert_vector<T, N> cosines, sines;

    __device__ void load(const bert_cuda_rotary_args &a, int64_t at) {
        load_vector(&cosines, a.cosines, at);
        load_vector(&sines, a.sines, at);
    }
};

/* N pairs of a head, from `first` and `second` on. */
template <typename T, int N>
static __device__ void turn(const T *x, T *y, int64_t first, int64_t second, const angles<T, N> &of_first,
                            const angles<T, N> &of_second) {
    typedef arithmetic<T> in;
    bert_vector<T, N> from, partners, turned, turned_partners;
    load_vector(&from, x, first);
    load_vector(&partners, x, second);
    BERT_UNROLL
    for (int i = 0; i < N; i++) {
        const auto u = in::load(from.at[i]), v = in::load(partners.at[i]);
        turned.at[i] = in::store(in::load(of_first.cosines.at[i]) * u - in::load(of_first.sines.at[i]) * v);
        turned_partners.at[i] = in::store(in::load(of_second.sines.at[i]) * u + in::load(of_second.cosines.at[i]) * v);
    }
    store_vector(y + first, turned);
    store_vector(y + second, turned_partners);
}

static BERT_CUDA_BOTH_SIDES int64_t heads_of_all(const bert_cuda_rotary_args &a) {
    return a.x[1] ? 2 * a.heads : a.heads;
}

/* Work item `item` of a head x: N of its pairs, then N of the elements that only move. */
template <typename T, int N>
static __device__ void do_item(const bert_cuda_rotary_args &a, const T *x, T *y, int64_t item, int64_t b, int64_t row) {
    if (item >= a.half / N) {
        const int64_t at = a.half + item * N;
        bert_vector<T, N> moved;
        load_vector(&moved, x, at);
        store_vector(y + at, moved);
        return;
    }
    const int64_t at = cache_row(a, b, row) * (a.angle_each ? 2 * a.half : a.half) + item * N;
    const int64_t first = a.interleaved ? 2 * item : item * N, second = first + (a.interleaved ? 1 : a.half);
    angles<T, N> of_first, of_second;
    of_first.load(a, at);
    of_second = of_first;
    if (a.angle_each) of_second.load(a, at + a.half);
    turn<T, N>(x, y, first, second, of_first, of_second);
}

/* `interleaved` wants N to be 1. */
template <typename T, int N> static __global__ void __launch_bounds__(THREADS) rotary_kernel(bert_cuda_rotary_args a) {
    begin_kernel();
    const int64_t work = (a.depth - a.half) / N, heads = heads_of_all(a), count = a.batch * a.rows * heads * work;
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const int64_t head = i / work, token = head / heads, b = token / a.rows, row = token - b * a.rows;
        const int64_t of_token = head - token * heads;
        const bool second = of_token >= a.heads;
        const int64_t h = second ? of_token - a.heads : of_token;
        const T *x = static_cast<const T *>(second ? a.x[1] : a.x[0]);
        T *y = static_cast<T *>(second ? a.y[1] : a.y[0]);
        do_item<T, N>(a, x + b * a.x_at.batch + h * a.x_at.head + row * a.x_at.row,
                      y + b * a.y_at.batch + h * a.y_at.head + row * a.y_at.row, i - head * work, b, row);
    }
}

template <typename T, int N> static bool vectors_fit(const bert_cuda_rotary_args &a) {
    const void *const pointers[] = {a.x[0], a.x[1], a.y[0], a.y[1], a.cosines, a.sines};
    const int64_t sizes[] = {a.half,     a.depth,      a.x_at.batch, a.x_at.head,
                             a.x_at.row, a.y_at.batch, a.y_at.head,  a.y_at.row};
    bool fit = !a.interleaved;
    for (const void *pointer : pointers) fit = fit && bert_vectors_fit<N>(0, static_cast<const T *>(pointer));
    for (const int64_t size : sizes) fit = fit && size % N == 0;
    return fit;
}

template <typename T, int N> static cudaError_t launch_as(const bert_cuda_rotary_args &a, cudaStream_t stream) {
    const int64_t count = a.batch * a.rows * heads_of_all(a) * ((a.depth - a.half) / N);
    return BERT_LAUNCH((rotary_kernel<T, N>), dim3(bert_blocks(count, THREADS)), dim3(THREADS), 0, stream, a);
}

template <typename T> static cudaError_t launch(const bert_cuda_rotary_args &a, cudaStream_t stream) {
    constexpr int N = 16 / static_cast<int>(sizeof(T));
    return vectors_fit<T, N>(a) ? launch_as<T, N>(a, stream) : launch_as<T, 1>(a, stream);
}

cudaError_t bert_cuda_rotary(const bert_cuda_rotary_args *args, cudaStream_t stream) {
    const bert_cuda_rotary_args a = *args;
    if (a.half < 0 || 2 * a.half > a.depth || (a.angle_each && a.interleaved) || (a.ids && a.tokens))
        return cudaErrorInvalidValue;
    if (a.batch * a.rows * a.heads * a.depth == 0) return cudaSuccess;
    if (a.half > 0 && a.positions < 1) return cudaErrorInvalidValue;
    switch (a.dtype) {
    case BERT_FLOAT:
        return launch<float>(a, stream);
    case BERT_FLOAT16:
        return launch<__half>(a, stream);
    case BERT_BFLOAT16:
        return launch<__nv_bfloat16>(a, stream);
    case BERT_DOUBLE:
        return launch<double>(a, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
