/*
 * What a tile of tensor_product.cu multiplies: pieces of A and B on their way to shared memory, A normalized there if
 * it is to be, fragments of both in registers, and their product. How all that lies in memory stands at the top of
 * tensor_product.cu. For that file.
 */
#ifndef BERT_CUDA_OPS_PRODUCT_OPERANDS_H
#define BERT_CUDA_OPS_PRODUCT_OPERANDS_H

#include "cuda/ops/row_moments.h"
#include "cuda/tensor_core.h"

enum {
    CHUNK = 16,                  /* bytes of one copy */
    PIECE = 64,                  /* bytes of k in a stage */
    COLUMNS = BERT_CUDA_STRETCH, /* of a tile, which gives a range for each row */
    WARP_COLUMNS = 64            /* of a warp: 2 warps side by side */
};

static __device__ inline int clamp(int64_t value, int most) {
    return value < 0 ? 0 : value > most ? most : static_cast<int>(value);
}

/* ---- Copies to shared memory ---------------------------------------------------------------------------------------
 */

/* What a thread copies of ROWS rows of 64 bytes, piece by piece along k: a chunk of each STRIDE-th row. */
template <int ROWS, int THREADS> struct row_copies {
    static constexpr int STRIDE = THREADS * CHUNK / PIECE;
    static_assert(ROWS % STRIDE == 0 && STRIDE % 8 == 0, "rows of a thread have one swizzle");
    const unsigned char *from;
    int64_t stride;
    int rows, depth, to; /* rows, and bytes of k, from the first chunk on */

    __device__ row_copies(const unsigned char *matrix, int64_t pitch, int64_t first, int64_t end, int depth_) {
        const int row = static_cast<int>(threadIdx.x) / (PIECE / CHUNK), chunk = threadIdx.x % (PIECE / CHUNK);
        from = matrix + (first + row) * pitch + chunk * CHUNK;
        stride = STRIDE * pitch;
        rows = clamp(end - first, ROWS) - row;
        depth = depth_ - chunk * CHUNK;
        to = row * PIECE + (chunk ^ (row / 2 % 4)) * CHUNK;
    }
    __device__ void issue(unsigned char *shared) {
        const int valid = clamp(depth, CHUNK);
        BERT_UNROLL
        for (int i = 0; i < ROWS / STRIDE; i++)
            copy_async_16(shared + to + i * STRIDE * PIECE, from + i * stride, i * STRIDE < rows ? valid : 0);
        from += PIECE;
        depth -= PIECE;
    }
};

/* The same of 32 rows of 256 bytes, each of them of one k: B as [k, n]. */
template <int THREADS> struct column_copies {
    static constexpr int PITCH = COLUMNS * 2, CHUNKS = PITCH / CHUNK, ROWS = PIECE / 2, STRIDE = THREADS / CHUNKS;
    static_assert(ROWS % STRIDE == 0 && STRIDE % 8 == 0, "rows of a thread have one swizzle");
    const unsigned char *from;
    int64_t stride;
    int valid, depth, to;

    __device__ column_copies(const unsigned char *matrix, int64_t pitch, int64_t first, int64_t end, int depth_) {
        const int row = static_cast<int>(threadIdx.x) / CHUNKS, chunk = threadIdx.x % CHUNKS;
        from = matrix + row * pitch + first * 2 + chunk * CHUNK;
        stride = STRIDE * pitch;
        valid = clamp((end - first) * 2 - chunk * CHUNK, CHUNK);
        depth = depth_ - row;
        to = row * PITCH + (chunk ^ row % 8) * CHUNK;
    }
    __device__ void issue(unsigned char *shared) {
        BERT_UNROLL
        for (int i = 0; i < ROWS / STRIDE; i++)
            copy_async_16(shared + to + i * STRIDE * PITCH, from + i * stride, i * STRIDE < depth ? valid : 0);
        from += ROWS / STRIDE * stride;
        depth -= ROWS;
    }
};

/* What turns the chunks of A that a thread copied into LayerNorm's result. `parameters`: shared memory of PIECE bytes
 * of gamma for each piece of the block, then as many of beta. */
template <typename T, int ROWS, int THREADS> struct row_normalizer {
    static constexpr int STRIDE = row_copies<ROWS, THREADS>::STRIDE, N = CHUNK / static_cast<int>(sizeof(T));
    static_assert(PIECE / CHUNK == BERT_STATISTICS_LANES, "the threads of a row find its statistics");
    bool wanted;
    row_statistics rows[ROWS / STRIDE];
    const unsigned char *gamma, *beta; /* of the next piece */

    /* Has the parameters copied, of elements from `first` on. */
    __device__ row_normalizer(const bert_row_norm<T> &norm, unsigned char *parameters, int pieces, int first, int depth)
        : wanted(norm.moments != nullptr) {
        if (!wanted) return;
        const int thread = static_cast<int>(threadIdx.x), chunks = pieces * (PIECE / CHUNK);
        gamma = parameters + thread % (PIECE / CHUNK) * CHUNK;
        beta = gamma + pieces * PIECE;
        for (int i = thread; i < chunks; i += THREADS) {
            const int valid = clamp((depth - first - i * N) * static_cast<int64_t>(sizeof(T)), CHUNK);
            copy_async_16(parameters + i * CHUNK, norm.gamma + first + i * N, valid);
            copy_async_16(parameters + pieces * PIECE + i * CHUNK, (norm.beta ? norm.beta : norm.gamma) + first + i * N,
                          norm.beta ? valid : 0);
        }
    }
    __device__ void find_statistics(const bert_row_norm<T> &norm, int64_t first, int64_t end, int width) {
        if (!wanted) return;
        BERT_UNROLL
        for (int i = 0; i < ROWS / STRIDE; i++) {
            const int64_t row = first + static_cast<int>(threadIdx.x) / BERT_STATISTICS_LANES + i * STRIDE;
            rows[i] = statistics_of(norm.moments, row, width, norm.epsilon, row < end);
        }
    }
    /* The next piece, of which this thread's copies are there; `to`: where the first of them is. */
    __device__ void apply(unsigned char *to) {
        if (!wanted) return;
        bert_packed<T, N> scale, shift, x;
        scale.load(reinterpret_cast<const T *>(gamma));
        shift.load(reinterpret_cast<const T *>(beta));
        gamma += PIECE;
        beta += PIECE;
        BERT_UNROLL
        for (int i = 0; i < ROWS / STRIDE; i++) {
            T *at = reinterpret_cast<T *>(to + i * STRIDE * PIECE);
            bert_vector<T, N> y;
            x.load(at);
            BERT_UNROLL
            for (int j = 0; j < N; j++)
                y.at[j] = from_float<T>(
                    rows[i].normalize(to_float(x.get(j)), to_float(scale.get(j)), to_float(shift.get(j))));
            *reinterpret_cast<bert_vector<T, N> *>(at) = y;
        }
    }
};

/* A as it is. */
struct no_normalizer {
    static constexpr bool wanted = false;
    __device__ void apply(unsigned char *to) {}
};

/* ---- Fragments and products ----------------------------------------------------------------------------------------
 */

/* Where a lane's rows for ldmatrix lie in a stage, and one step of all that its warp multiplies. */
template <int WARP_ROWS> struct fragments {
    uint32_t a[WARP_ROWS / 16][4], b[WARP_COLUMNS / 16][4];

    __device__ void load_a(const unsigned char *shared, int step) {
        const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
        const int chunk = (step * 2 + lane / 16) ^ (lane / 2 % 4);
        BERT_UNROLL
        for (int i = 0; i < WARP_ROWS / 16; i++)
            ldmatrix_x4(a[i], shared + (i * 16 + lane % 16) * PIECE + chunk * CHUNK);
    }
    /* Two neighbouring fragments of 8 columns at a time. `warp`: which 64 columns. */
    __device__ void load_b_rows(const unsigned char *shared, int warp, int step) {
        const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
        const int row = warp * WARP_COLUMNS + lane / 16 * 8 + lane % 8;
        const int chunk = (step * 2 + lane / 8 % 2) ^ (lane % 8 / 2);
        BERT_UNROLL
        for (int i = 0; i < WARP_COLUMNS / 16; i++) ldmatrix_x4(b[i], shared + (row + i * 16) * PIECE + chunk * CHUNK);
    }
    __device__ void load_b_columns(const unsigned char *shared, int warp, int step) {
        const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
        const unsigned char *row = shared + (step * 16 + lane % 16) * COLUMNS * 2;
        BERT_UNROLL
        for (int i = 0; i < WARP_COLUMNS / 16; i++) {
            const int chunk = warp * (WARP_COLUMNS / 8) + ((i * 2 + lane / 16) ^ lane % 8);
            ldmatrix_x4_trans(b[i], row + chunk * CHUNK);
        }
    }
};

template <typename T> struct step_of { /* 16 bits */
    static __device__ void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        mma_m16n8k16<T>(d, a, b);
    }
};
template <> struct step_of<int8_t> {
    static __device__ void add(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        mma_m16n8k32_s8(d, a, b);
    }
};

template <typename T, int WARP_ROWS, typename S>
static __device__ inline void multiply(S (&sums)[WARP_ROWS / 16][WARP_COLUMNS / 8][4], const fragments<WARP_ROWS> &f) {
    BERT_UNROLL
    for (int i = 0; i < WARP_ROWS / 16; i++) {
        BERT_UNROLL
        for (int j = 0; j < WARP_COLUMNS / 8; j++) {
            const uint32_t b[2] = {f.b[j / 2][j % 2 * 2], f.b[j / 2][j % 2 * 2 + 1]};
            step_of<T>::add(sums[i][j], f.a[i], b);
        }
    }
}

#endif
