/*
 * Elements of y near each other ask for positions near each other: in DeBERTa these follow i - j, so that a tile of
 * 32 x 32 elements has 63 of them at most. A block computes such a tile of y, for one head. For each term it multiplies
 * the tile's 32 rows of content with a window of 64 positions, all with all, and each element takes its own product
 * from shared memory. That makes twice as many as are asked for, but a row that is loaded serves 32 or 64 of them:
 * gathered for each element it would serve one. Indices that are farther apart take several windows, one after the
 * other, whatever is between them: right for all, fast for those that come. Every product is made the same way, in
 * whichever window, so that bits depend on nothing else.
 *
 * Indices are the same for all sequences and heads, and windows for all sequences. So a block goes on from sequence to
 * sequence where there are more than enough blocks: it reads indices once, keeps each thread's in registers, and keeps
 * the last window of each term in shared memory. What is left to read is 32 rows of q and of k.
 *
 * float16 and bfloat16 go to tensor cores, float32 is multiplied by each thread for 4 rows and 4 positions. Heads over
 * 64 go by 64 columns, shorter ones are filled up with zeros.
 *
 * In shared memory, rows are 16 bytes longer than 64 columns, so that rows that are read at once lie in different
 * banks. A warp has rows of y, its lanes are keys. So of content_to_position lanes read one row of products,
 * [row][position], at positions that are neighbours or the same. Of position_to_content each lane reads a row of its
 * own: products are [position][row] there, and lie in different banks where positions go up by one from key to key, go
 * down by one, or stay. The pitches are those that make writing cheap as well: at most two turns.
 */
#include "cuda/ops/disentangled_bias.h"

#include "cuda/ops/index_check.h"
#include "cuda/tensor_core.h"

enum { SIDE = 32, WINDOW = 64, DEPTH = 64, WARPS = 4, THREADS = WARPS * BERT_WARP };
enum { OWN = SIDE / WARPS };                          /* elements of y that a thread has: rows of its warp, one key */
enum { BY_ROW = WINDOW + 8, BY_POSITION = SIDE + 4 }; /* pitches of products */
enum { PRODUCTS = SIDE * BY_ROW, TURN = SIDE + 1 };
static_assert(WINDOW * BY_POSITION == PRODUCTS && SIDE * TURN <= PRODUCTS, "one place for all");

/* From so many on, more would not fill a GPU better: a few for each place that blocks have on a large one. */
static constexpr int64_t ENOUGH_BLOCKS = 1 << 11, MOST_SEQUENCES = 65535;

static __device__ inline int lane_of_thread() {
    return static_cast<int>(threadIdx.x) % BERT_WARP;
}
static __device__ inline int warp_of_thread() {
    return static_cast<int>(threadIdx.x) / BERT_WARP;
}
/* Row of the tile of y that element n of a thread is in; its column is the lane. */
static __device__ inline int query_of(int n) {
    return warp_of_thread() * OWN + n;
}

/* ---- Products ------------------------------------------------------------------------------------------------------
 */

/* Rows of a tile in shared memory, and which products of it a thread makes: 4 x 4 of them. */
template <typename T> struct tile_of {
    static constexpr bool narrow = sizeof(T) == 2;
    static constexpr int vector = 16 / sizeof(T), pitch = DEPTH + vector;
    static constexpr int content = SIDE * pitch, window = WINDOW * pitch; /* elements */
    static constexpr size_t shared =
        (content + BERT_CUDA_POSITION_TERMS * window) * sizeof(T) + PRODUCTS * sizeof(float);

    static __device__ int row(int i, int j) {
        const int lane = lane_of_thread(), warp = warp_of_thread();
        return narrow ? warp % 2 * 16 + lane / 4 + 8 * (j >> 1) : static_cast<int>(threadIdx.x) / 16 + 8 * i;
    }
    static __device__ int position(int i, int j) {
        const int lane = lane_of_thread(), warp = warp_of_thread();
        return narrow ? warp / 2 * 32 + i * 8 + lane % 4 * 2 + (j & 1) : static_cast<int>(threadIdx.x) % 16 + 16 * j;
    }
};

/* `rows` rows of DEPTH columns, of which `there` rows and `columns` columns are in memory from `from` on; zeros for the
 * others. `wide`: by 16 bytes, in the background. */
template <typename T>
static __device__ inline void load_rows(T *tile, const T *from, int64_t step, int rows, int there, int columns,
                                        bool wide) {
    using layout = tile_of<T>;
    constexpr int pieces = DEPTH / layout::vector;
    if (wide) {
        BERT_ROLLED
        for (int i = static_cast<int>(threadIdx.x); i < rows * pieces; i += THREADS) {
            const int row = i / pieces, column = i % pieces * layout::vector;
            const bool has = row < there && column < columns;
            copy_async_16(tile + row * layout::pitch + column, from + (has ? row * step + column : 0), has ? 16 : 0);
        }
    } else {
        BERT_ROLLED
        for (int i = static_cast<int>(threadIdx.x); i < rows * DEPTH; i += THREADS) {
            const int row = i / DEPTH, column = i % DEPTH;
            const bool has = row < there && column < columns;
            tile[row * layout::pitch + column] = has ? from[row * step + column] : from_float<T>(0.0F);
        }
    }
}

/* sums += content window^T, of a thread's own. */
template <typename T>
static __device__ inline void multiply_tiles(float (&sums)[4][4], const T *content, const T *window) {
    constexpr int pitch = tile_of<T>::pitch;
    const int lane = lane_of_thread(), warp = warp_of_thread();
    content += (warp % 2 * 16 + lane % 16) * pitch + lane / 16 * 8;
    window += (warp / 2 * 32 + lane % 8) * pitch + lane / 8 * 8;
    BERT_UNROLL
    for (int k = 0; k < DEPTH; k += 32) { /* one ldmatrix has B of two steps */
        uint32_t rows[2][4];
        ldmatrix_x4(rows[0], content + k);
        ldmatrix_x4(rows[1], content + k + 16);
        BERT_UNROLL
        for (int i = 0; i < 4; i++) {
            uint32_t pair[4];
            ldmatrix_x4(pair, window + i * 8 * pitch + k);
            mma_m16n8k16<T>(sums[i], rows[0], {pair[0], pair[1]});
            mma_m16n8k16<T>(sums[i], rows[1], {pair[2], pair[3]});
        }
    }
}

static __device__ inline void multiply_tiles(float (&sums)[4][4], const float *content, const float *window) {
    using four = bert_vector<float, 4>;
    constexpr int pitch = tile_of<float>::pitch;
    content += static_cast<int>(threadIdx.x) / 16 * pitch;
    window += static_cast<int>(threadIdx.x) % 16 * pitch;
    for (int k = 0; k < DEPTH; k += 4) {
        four x[4], y[4];
        BERT_UNROLL
        for (int i = 0; i < 4; i++) {
            x[i] = *reinterpret_cast<const four *>(content + 8 * i * pitch + k);
            y[i] = *reinterpret_cast<const four *>(window + 16 * i * pitch + k);
        }
        BERT_UNROLL
        for (int column = 0; column < 4; column++) {
            BERT_UNROLL
            for (int i = 0; i < 4; i++) {
                BERT_UNROLL
                for (int j = 0; j < 4; j++) sums[i][j] += x[i].at[column] * y[j].at[column];
            }
        }
    }
}

/* ---- Terms ---------------------------------------------------------------------------------------------------------
 */

/* What a block has of one term: TERM is its place in the arguments. All threads call everything. */
template <typename T, int TERM> struct block_term {
    static constexpr bool of_queries = TERM == BERT_CUDA_CONTENT_TO_POSITION;
    T *content, *window; /* in shared memory: the first for both terms, the second for this one */
    float *products;     /* for both */
    int row, rows;       /* the tile's first row of content, and how many are there from it on */
    int first, last;     /* positions that the tile asks for; none: last < first */
    int held;            /* position from which on the window lies there; -1: none does */
    int position[OWN];   /* of the thread's elements; -1: outside y, or without this term */

    __device__ block_term(const bert_cuda_disentangled_bias_args &a, unsigned char *shared, int query, int key) {
        content = reinterpret_cast<T *>(shared);
        window = content + tile_of<T>::content + TERM * tile_of<T>::window;
        products =
            reinterpret_cast<float *>(content + tile_of<T>::content + BERT_CUDA_POSITION_TERMS * tile_of<T>::window);
        row = of_queries ? query : key;
        rows = static_cast<int>(of_queries ? a.queries : a.keys) - row;
        held = -1;
        read_indices(a, of_queries ? key : query, static_cast<int>(of_queries ? a.keys : a.queries));
        if (!of_queries) turn(reinterpret_cast<int *>(products));
    }

    /* As they lie in memory: a warp takes rows of indices, a lane one of `columns`, from the tile's first on. */
    __device__ void read_indices(const bert_cuda_disentangled_bias_args &a, int column, int columns) {
        const bert_cuda_position_term &term = a.terms[TERM];
        const int lane = lane_of_thread(), warp = warp_of_thread();
        BERT_SHARED(int, bounds, 2 * WARPS);
        first = INT32_MAX;
        last = -1;
        BERT_UNROLL
        for (int n = 0; n < OWN; n++) {
            position[n] = -1;
            if (!term.indices || query_of(n) >= rows || column + lane >= columns) continue;
            const int64_t at = static_cast<int64_t>(row + query_of(n)) * columns + column + lane;
            position[n] = static_cast<int>(
                checked_index(load_index(term.indices, term.index_type, at), term.count, at, term.input, a.check));
            first = position[n] < first ? position[n] : first;
            last = position[n] > last ? position[n] : last;
        }
        for (int step = BERT_WARP / 2; step > 0; step /= 2)
            join(__shfl_xor_sync(BERT_ALL_LANES, first, step), __shfl_xor_sync(BERT_ALL_LANES, last, step));
        if (lane == 0) {
            bounds[2 * warp] = first;
            bounds[2 * warp + 1] = last;
        }
        __syncthreads();
        for (int i = 0; i < WARPS; i++) join(bounds[2 * i], bounds[2 * i + 1]);
    }
    __device__ void join(int least, int most) {
        first = least < first ? least : first;
        last = most > last ? most : last;
    }

    /* From a lane for each column of the indices to a lane for each row of them, which keys are. */
    __device__ void turn(int *scratch) {
        BERT_UNROLL
        for (int n = 0; n < OWN; n++) scratch[query_of(n) * TURN + lane_of_thread()] = position[n];
        __syncthreads();
        BERT_UNROLL
        for (int n = 0; n < OWN; n++) position[n] = scratch[lane_of_thread() * TURN + query_of(n)];
    }

    static __device__ int product_at(int row, int place) {
        return of_queries ? row * BY_ROW + place : place * BY_POSITION + row;
    }

    /* Products of sequence b's rows with the window from position `from` on, of a thread's own. */
    __device__ void multiply(const bert_cuda_disentangled_bias_args &a, int64_t b, int from, bool wide,
                             float (&sums)[4][4]) {
        const bert_cuda_position_term &term = a.terms[TERM];
        const int depth = static_cast<int>(a.depth);
        const int64_t width = a.heads * depth, head = static_cast<int64_t>(blockIdx.y) * depth;
        const T *x = static_cast<const T *>(term.content) + (b * (row + rows) + row) * width + head;
        const T *y = static_cast<const T *>(term.positions) + from * width + head;
        int column = 0;
        do {
            if (column > 0) __syncthreads(); /* all have read the columns before */
            load_rows(content, x + column, width, SIDE, rows, depth - column, wide);
            if (held != from || depth > DEPTH)
                load_rows(window, y + column, width, WINDOW, last + 1 - from, depth - column, wide);
            copy_async_commit();
            copy_async_wait<0>();
            __syncthreads();
            multiply_tiles(sums, content, window);
            column += DEPTH;
        } while (column < depth);
        held = from;
    }

    /* Adds what the term gives to the thread's elements of sequence b. */
    __device__ void add(const bert_cuda_disentangled_bias_args &a, int64_t b, bool wide, float (&sums)[OWN]) {
        for (int from = first; from <= last; from += WINDOW) {
            float made[4][4] = {};
            multiply(a, b, from, wide, made);
            BERT_UNROLL
            for (int i = 0; i < 4; i++) {
                BERT_UNROLL
                for (int j = 0; j < 4; j++)
                    products[product_at(tile_of<T>::row(i, j), tile_of<T>::position(i, j))] = made[i][j];
            }
            __syncthreads();
            BERT_UNROLL
            for (int n = 0; n < OWN; n++) {
                const int place = position[n] - from;
                if (place >= 0 && place < WINDOW)
                    sums[n] += products[product_at(of_queries ? query_of(n) : lane_of_thread(), place)];
            }
        }
    }
};

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    disentangled_bias_kernel(bert_cuda_disentangled_bias_args a, int key_tiles, bool wide) {
    begin_kernel();
    BERT_SHARED_DYNAMIC(unsigned char, shared);
    const int tile = static_cast<int>(blockIdx.x);
    const int query = tile / key_tiles * SIDE, key = tile % key_tiles * SIDE;
    const int first = query + query_of(0), column = key + lane_of_thread();
    const int rows = column < a.keys ? static_cast<int>(a.queries) - first : 0; /* of y's that the thread has */
    block_term<T, BERT_CUDA_CONTENT_TO_POSITION> of_queries(a, shared, query, key);
    block_term<T, BERT_CUDA_POSITION_TO_CONTENT> of_keys(a, shared, query, key);
    for (int64_t b = blockIdx.z; b < a.batch; b += gridDim.z) {
        float sums[OWN] = {};
        of_queries.add(a, b, wide, sums);
        of_keys.add(a, b, wide, sums);
        T *y = static_cast<T *>(a.y) + ((b * a.heads + blockIdx.y) * a.queries + first) * a.keys + column;
        BERT_UNROLL
        for (int n = 0; n < OWN; n++, y += a.keys)
            if (n < rows) *y = from_float<T>(a.scale * sums[n]);
    }
}

/* ---- Launching -----------------------------------------------------------------------------------------------------
 */

template <typename T> static cudaError_t launch(const bert_cuda_disentangled_bias_args *a, cudaStream_t stream) {
    const int64_t key_tiles = bert_tiles(a->keys, SIDE), tiles = key_tiles * bert_tiles(a->queries, SIDE);
    bool wide = true;
    for (const bert_cuda_position_term &term : a->terms)
        wide = wide && bert_vectors_fit<tile_of<T>::vector>(a->depth, static_cast<const T *>(term.content)) &&
               bert_vectors_fit<tile_of<T>::vector>(a->depth, static_cast<const T *>(term.positions));
    const int64_t blocks = a->blocks ? a->blocks : ENOUGH_BLOCKS;
    const unsigned sequences =
        bert_blocks(blocks, tiles * a->heads, a->batch < MOST_SEQUENCES ? a->batch : MOST_SEQUENCES);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(a->heads), sequences);
    const cudaError_t allowed = bert_allow_shared(disentangled_bias_kernel<T>, tile_of<T>::shared);
    if (allowed != cudaSuccess) return allowed;
    return BERT_LAUNCH((disentangled_bias_kernel<T>), grid, dim3(THREADS), tile_of<T>::shared, stream, *a,
                       static_cast<int>(key_tiles), wide);
}

static bool is_allowed(const bert_cuda_disentangled_bias_args *a) {
    const int64_t most = 1 << 20;
    if (a->batch < 0 || a->heads < 0 || a->heads > 65535 || a->depth < 0 || a->depth > most) return false;
    if (a->blocks < 0) return false;
    if (a->queries < 0 || a->queries > most || a->keys < 0 || a->keys > most) return false;
    for (const bert_cuda_position_term &term : a->terms) {
        if (!term.indices) continue;
        if (term.count < 0 || term.count > INT32_MAX - WINDOW) return false;
        if (term.index_type != BERT_INT32 && term.index_type != BERT_INT64) return false;
    }
    return true;
}

cudaError_t bert_cuda_disentangled_bias(const bert_cuda_disentangled_bias_args *args, cudaStream_t stream) {
    if (!is_allowed(args)) return cudaErrorInvalidValue;
    if (args->batch == 0 || args->heads == 0 || args->queries == 0 || args->keys == 0) return cudaSuccess;
    for (const bert_cuda_position_term &term : args->terms)
        if (term.indices && term.count == 0) return cudaErrorInvalidValue; /* nothing to choose from */
    switch (args->dtype) {
    case BERT_FLOAT:
        return launch<float>(args, stream);
    case BERT_FLOAT16:
        return launch<__half>(args, stream);
    case BERT_BFLOAT16:
        return launch<__nv_bfloat16>(args, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
