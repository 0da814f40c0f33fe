/*
 * A convolution is a sum of products, one for each tap of its kernel: of w's matrix of that tap, [group_outputs,
 * group_inputs], and of the elements of x that the tap meets, [group_inputs, places], all items of the batch side by
 * side. With one tap it is that product. Nothing is gathered in memory first: who loads an element of x finds out
 * where it is, or that it is padding. The taps are the outer loop, so that this is asked once for many channels.
 *
 * tile_kernel: a block computes TILE x TILE sums, from DEPTH channels of a tap at a time, which lie in shared memory.
 * While it multiplies, the next ones are on their way to its registers. float16 and bfloat16 go to tensor cores; a
 * warp has 16 outputs and 32 places. float32 and double are multiplied by each thread for 4 outputs and 4 places.
 * Rows of a tile are padded so that ldmatrix, and what threads read at once, meets different banks.
 *
 * direct_kernel: a thread a sum. A tile of few channels, as a group of one has, would be padding for the most part; and
 * there x is read by neighbours at once, and from the caches for all taps but the first.
 *
 * Channels of a group choose between the two, never places or the batch, so bits depend on neither.
 */
#include "cuda/ops/conv.h"

#include "cuda/ops/element.h"
#include "cuda/tensor_core.h"

#include <type_traits>

enum { THREADS = 256, TILE = 64, DEPTH = 32, LOADS = TILE * DEPTH / THREADS, SIDE = 4 };

/* What follows from the arguments. */
struct conv_sizes {
    int64_t taps, elements, places; /* Of the kernel; of a channel of x and of y. */
    int64_t columns;                /* Places of all items. */
    int64_t sums;                   /* Elements of y. */
};

/* The element within a channel of x that a place of y meets at a tap; -1: padding. */
static __device__ inline int64_t meet(const bert_cuda_conv_args &a, int64_t place, int64_t tap) {
    int64_t element = 0, stride = 1;
    for (int i = a.axes - 1; i >= 0; i--) {
        const bert_conv_axis &axis = a.axis[i];
        const int64_t next_place = i ? place / axis.places : 0, next_tap = i ? tap / axis.taps : 0;
        const int64_t at = (place - next_place * axis.places) * axis.stride +
                           (tap - next_tap * axis.taps) * axis.dilation - axis.before;
        if (at < 0 || at >= axis.size) return -1;
        element += at * stride;
        stride *= axis.size;
        place = next_place;
        tap = next_tap;
    }
    return element;
}

/* ---- Tiles ---------------------------------------------------------------------------------------------------------
 */

/* Tiles in shared memory. Of x: [channel][place]. Of w: [output][channel] for ldmatrix; else [channel][output], of
 * which a thread reads neighbours. */
template <typename T> struct conv_tiles {
    static constexpr bool narrow = sizeof(T) == 2;
    static constexpr int x_pitch = narrow ? TILE + 8 : TILE, w_pitch = narrow ? DEPTH + 8 : TILE + 4;
    static constexpr int x_elements = DEPTH * x_pitch, w_elements = narrow ? TILE * w_pitch : DEPTH * w_pitch;
    using sum = typename std::conditional<std::is_same<T, double>::value, double, float>::type;

    /* Where sum (i, j) of a thread is in the tile. */
    static __device__ int output_of(int i, int j) {
        const int thread = static_cast<int>(threadIdx.x), lane = thread % BERT_WARP;
        return narrow ? thread / (2 * BERT_WARP) * 16 + lane / 4 + 8 * (j >> 1) : thread / 16 * SIDE + i;
    }
    static __device__ int place_of(int i, int j) {
        const int thread = static_cast<int>(threadIdx.x), lane = thread % BERT_WARP;
        return narrow ? thread / BERT_WARP % 2 * 32 + i * 8 + lane % 4 * 2 + (j & 1) : thread % 16 * SIDE + j;
    }
};

/* The sums of a block: of so many outputs from `channel` on, and of the columns from `column` on. */
struct conv_block {
    int64_t group, channel, outputs, column;

    __device__ conv_block(const bert_cuda_conv_args &a, int64_t tile) {
        const int64_t down = (a.group_outputs + TILE - 1) / TILE, first = tile % down * TILE;
        group = tile / down % a.groups;
        channel = group * a.group_outputs + first;
        outputs = a.group_outputs - first;
        column = tile / (down * a.groups) * TILE;
    }
};

/* What a thread loads for the tiles: of one place of x and one channel of w each time. */
template <typename T> struct conv_loads {
    const T *x, *w;       /* From the item's and the group's channels on; from the block's first output on. */
    int64_t place;        /* -1: there is none. */
    int64_t outputs;      /* From the first on. */
    int64_t tap, channel; /* Of the next tiles. */
    T next_x[LOADS], next_w[LOADS];

    __device__ conv_loads(const bert_cuda_conv_args &a, const conv_sizes &s, const conv_block &block) {
        const int64_t column = block.column + static_cast<int>(threadIdx.x) % TILE, item = column / s.places;
        x = static_cast<const T *>(a.x) + (item * a.groups + block.group) * a.group_inputs * s.elements;
        w = static_cast<const T *>(a.w) + block.channel * a.group_inputs * s.taps;
        place = column < s.columns ? column - item * s.places : -1;
        outputs = block.outputs;
        tap = channel = 0;
    }
    __device__ void fetch(const bert_cuda_conv_args &a, const conv_sizes &s) {
        const int thread = static_cast<int>(threadIdx.x);
        const int64_t element = place < 0 ? -1 : meet(a, place, tap);
        const int64_t w_channel = channel + thread % DEPTH;
        for (int i = 0; i < LOADS; i++) {
            const int64_t x_channel = channel + thread / TILE + i * (THREADS / TILE);
            const int64_t output = thread / DEPTH + i * (THREADS / DEPTH);
            const bool x_there = element >= 0 && x_channel < a.group_inputs;
            const bool w_there = output < outputs && w_channel < a.group_inputs;
            next_x[i] = x_there ? x[x_channel * s.elements + element] : T{};
            next_w[i] = w_there ? w[(output * a.group_inputs + w_channel) * s.taps + tap] : T{};
        }
        channel += DEPTH;
        if (channel < a.group_inputs) return;
        channel = 0;
        tap++;
    }
    __device__ void put(T *x_tile, T *w_tile) const {
        using tiles = conv_tiles<T>;
        const int thread = static_cast<int>(threadIdx.x), w_channel = thread % DEPTH;
        for (int i = 0; i < LOADS; i++) {
            const int output = thread / DEPTH + i * (THREADS / DEPTH);
            x_tile[(thread / TILE + i * (THREADS / TILE)) * tiles::x_pitch + thread % TILE] = next_x[i];
            w_tile[tiles::narrow ? output * tiles::w_pitch + w_channel : w_channel * tiles::w_pitch + output] =
                next_w[i];
        }
    }
};

template <typename T>
static __device__ inline void multiply_plainly(T (&sums)[SIDE][SIDE], const T *x_tile, const T *w_tile) {
    using tiles = conv_tiles<T>;
    const T *w = w_tile + tiles::output_of(0, 0), *x = x_tile + tiles::place_of(0, 0);
    BERT_UNROLL
    for (int k = 0; k < DEPTH; k++) {
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++)
                sums[i][j] = fma(w[k * tiles::w_pitch + i], x[k * tiles::x_pitch + j], sums[i][j]);
    }
}

template <typename T>
static __device__ inline void multiply_on_tensor_cores(float (&sums)[SIDE][SIDE], const T *x_tile, const T *w_tile) {
    using tiles = conv_tiles<T>;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % BERT_WARP;
    const T *w = w_tile + (thread / (2 * BERT_WARP) * 16 + lane % 16) * tiles::w_pitch + lane / 16 * 8;
    const T *x = x_tile + lane % 16 * tiles::x_pitch + thread / BERT_WARP % 2 * 32 + lane / 16 * 8;
    for (int k = 0; k < DEPTH; k += 16) {
        uint32_t outputs[4], places[4];
        ldmatrix_x4(outputs, w + k);
        for (int i = 0; i < SIDE; i += 2) {
            ldmatrix_x4_trans(places, x + k * tiles::x_pitch + i * 8);
            const uint32_t first[2] = {places[0], places[1]}, second[2] = {places[2], places[3]};
            mma_m16n8k16<T>(sums[i], outputs, first);
            mma_m16n8k16<T>(sums[i + 1], outputs, second);
        }
    }
}

template <typename T, typename F>
static __device__ inline void begin_sums(const bert_cuda_conv_args &a, const conv_block &block, F (&sums)[SIDE][SIDE]) {
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            const int output = conv_tiles<T>::output_of(i, j);
            sums[i][j] = a.b && output < block.outputs ? load_as<F>(a.b, a.dtype, block.channel + output) : F(0);
        }
    }
}

template <typename T, typename F>
static __device__ inline void store_sums(const bert_cuda_conv_args &a, const conv_sizes &s, const conv_block &block,
                                         const F (&sums)[SIDE][SIDE]) {
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            const int output = conv_tiles<T>::output_of(i, j);
            const int64_t column = block.column + conv_tiles<T>::place_of(i, j), item = column / s.places;
            if (output >= block.outputs || column >= s.columns) continue;
            const int64_t row = item * a.groups * a.group_outputs + block.channel + output;
            store_as<F>(a.y, a.dtype, row * s.places + column - item * s.places, sums[i][j]);
        }
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) tile_kernel(bert_cuda_conv_args a, conv_sizes s, int64_t tiles) {
    begin_kernel();
    BERT_SHARED(T, x_tile, conv_tiles<T>::x_elements);
    BERT_SHARED(T, w_tile, conv_tiles<T>::w_elements);
    const int64_t steps = s.taps * ((a.group_inputs + DEPTH - 1) / DEPTH);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const conv_block block(a, tile);
        conv_loads<T> loads(a, s, block);
        typename conv_tiles<T>::sum sums[SIDE][SIDE];
        begin_sums<T>(a, block, sums);
        loads.fetch(a, s);
        for (int64_t step = 1; step <= steps; step++) {
            loads.put(x_tile, w_tile);
            __syncthreads();
            if (step < steps) loads.fetch(a, s);
            if constexpr (conv_tiles<T>::narrow)
                multiply_on_tensor_cores<T>(sums, x_tile, w_tile);
            else
                multiply_plainly<T>(sums, x_tile, w_tile);
            __syncthreads();
        }
        store_sums<T>(a, s, block, sums);
    }
}

/* ---- One sum a thread ----------------------------------------------------------------------------------------------
 */

template <typename F>
static __global__ void __launch_bounds__(THREADS) direct_kernel(bert_cuda_conv_args a, conv_sizes s) {
    begin_kernel();
    const int64_t all_outputs = a.groups * a.group_outputs, step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < s.sums; i += step) {
        const int64_t row = i / s.places, place = i - row * s.places;
        const int64_t item = row / all_outputs, output = row - item * all_outputs;
        const int64_t x = (item * a.groups + output / a.group_outputs) * a.group_inputs * s.elements;
        const int64_t w = output * a.group_inputs * s.taps;
        F sum = a.b ? load_as<F>(a.b, a.dtype, output) : F(0);
        for (int64_t tap = 0; tap < s.taps; tap++) {
            const int64_t element = meet(a, place, tap);
            if (element < 0) continue;
            for (int64_t c = 0; c < a.group_inputs; c++)
                sum = fma(load_as<F>(a.w, a.dtype, w + c * s.taps + tap),
                          load_as<F>(a.x, a.dtype, x + c * s.elements + element), sum);
        }
        store_as<F>(a.y, a.dtype, i, sum);
    }
}

/* ---- Host ----------------------------------------------------------------------------------------------------------
 */

/* False for arguments that conv.h doesn't allow. Without channels there is nothing to meet. */
static bool measure(const bert_cuda_conv_args &a, conv_sizes *s) {
    bert_cuda_walk taps = {}, elements = {}, places, y;
    int64_t dims[3][BERT_CONV_MAX_AXES];
    if (!bert_dtype_is_float(a.dtype) || a.axes < 1 || a.axes > BERT_CONV_MAX_AXES) return false;
    if (a.groups < 1 || a.group_inputs < 0) return false;
    for (int i = 0; i < a.axes; i++) {
        const bert_conv_axis &axis = a.axis[i];
        if (axis.taps < 1 || axis.stride < 1 || axis.dilation < 1 || axis.before < 0) return false;
        dims[0][i] = axis.taps;
        dims[1][i] = axis.size;
        dims[2][i] = axis.places;
    }
    if (a.group_inputs > 0 && (!bert_walk_over(a.axes, dims[0], &taps) || !bert_walk_over(a.axes, dims[1], &elements)))
        return false;
    if (!bert_walk_over(a.axes, dims[2], &places)) return false;
    const int64_t of_y[] = {a.batch, places.count, a.groups, a.group_outputs};
    if (!bert_walk_over(4, of_y, &y)) return false;
    *s = {taps.count, elements.count, places.count, a.batch * places.count, y.count};
    return true;
}

/* A multiply-add in a tile takes a fraction of the time of one that loads what it wants, so a tile may be padding for
 * the greater part. */
static bool fill_tiles(const bert_cuda_conv_args &a) {
    enum { MOST_PADDED = 8 };
    const int64_t padded = bert_tiles(a.group_outputs, TILE) * TILE * (bert_tiles(a.group_inputs, DEPTH) * DEPTH);
    return a.group_inputs > 0 && padded <= MOST_PADDED * a.group_outputs * a.group_inputs;
}

template <typename T>
static cudaError_t launch_tiles(const bert_cuda_conv_args &a, const conv_sizes &s, cudaStream_t stream) {
    const int64_t tiles = bert_tiles(s.columns, TILE) * bert_tiles(a.group_outputs, TILE) * a.groups;
    return BERT_LAUNCH((tile_kernel<T>), dim3(bert_blocks(tiles, 1)), dim3(THREADS), 0, stream, a, s, tiles);
}

cudaError_t bert_cuda_conv(const bert_cuda_conv_args *args, cudaStream_t stream) {
    const bert_cuda_conv_args a = *args;
    conv_sizes s;
    if (!measure(a, &s)) return cudaErrorInvalidValue;
    if (s.sums == 0) return cudaSuccess;
    if (fill_tiles(a)) {
        if (a.dtype == BERT_FLOAT16) return launch_tiles<__half>(a, s, stream);
        if (a.dtype == BERT_BFLOAT16) return launch_tiles<__nv_bfloat16>(a, s, stream);
        if (a.dtype == BERT_DOUBLE) return launch_tiles<double>(a, s, stream);
        return launch_tiles<float>(a, s, stream);
    }
    const dim3 grid(bert_blocks(s.sums, THREADS)), block(THREADS);
    if (a.dtype == BERT_DOUBLE) return BERT_LAUNCH((direct_kernel<double>), grid, block, 0, stream, a, s);
    return BERT_LAUNCH((direct_kernel<float>), grid, block, 0, stream, a, s);
}
