/*
 * A block computes a tile of M x 128 of y by mma.sync; its warps, two side by side, have WARP_ROWS x 64 of it each.
 * Pieces of 64 bytes of k come into a ring of four stages in shared memory by copies in the background, three pieces
 * ahead; fragments are loaded one step of 32 bytes ahead of the products that use them. One barrier a piece: it says
 * that the next piece is there, and that everybody is done with the piece before, whose stage is filled next.
 *
 * A step is 32 bytes of k in every type (16 elements of 16 bits, or 32 of 8), and so are the fragments of A, and of B
 * where its rows run along k: one code for all. Only B as [k, n] is another: its fragments are transposed on the way.
 *
 * Shared memory, by chunks of 16 bytes. ldmatrix reads 8 rows of one chunk at a time, and these have to lie in 8
 * different groups of 4 banks:
 *
 *   rows of 64 bytes (A, B as [n, k])                   rows of 256 bytes (B as [k, n])
 *   row 0  [0 1 2 3]  row 1  [0 1 2 3]                  row 0  [0 1 2 3 4 5 6 7  8 ... 15]
 *   row 2  [1 0 3 2]  row 3  [1 0 3 2]                  row 1  [1 0 3 2 5 4 7 6  9 ... 14]
 *   row 4  [2 3 0 1]  row 5  [2 3 0 1]                  ...
 *   row 6  [3 2 1 0]  row 7  [3 2 1 0]                  row 7  [7 6 5 4 3 2 1 0  15 ... 8]
 *   chunk c of row r at c ^ (r / 2 % 4)                 chunk c of row r at c ^ (r % 8)
 *
 * Budget, for 128 columns and four stages:
 *
 *   M    warps  a warp    sums   fragments  at most   used (sm_80, sm_90)   shared    blocks of a multiprocessor
 *                         (registers a thread)                                        (164 KiB and 64 Ki registers)
 *   256  8      64 x 64   128    64         255       236 to 244            96 KiB    1
 *   128  4      64 x 64   128    64         255       238 to 244            64 KiB    2
 *   64   4      32 x 64    64    48         168       156 to 164            48 KiB    3
 *   32   4      16 x 64    32    40         128       112 to 128            40 KiB    4
 *
 * and, where rows are normalized (below), with 8 bytes a row and 128 a piece of k behind the ring:
 *
 *   64   4      32 x 64    64    48         255       166 to 168            52 KiB    2
 *   32   4      16 x 64    32    40         168       128                   44 KiB    3     (k of 768)
 *
 * When all is summed the ring is free, and sums go through it once more, 32 rows of a warp at a time, so that a thread
 * gets neighbours of a row: 16 bytes of y, and what belongs to its columns (bias, scales) is loaded once. A row's 64
 * columns of a warp are written as whole sectors. Rows there are 72 words apart and units of 4 words of the right half
 * trade places in pairs, so that neither side meets itself in a bank. The ranges of the two warps' halves of a row meet
 * in shared memory, too.
 *
 * Blocks go down a strip of GROUP_ROWS rows before they go on to the next columns: those that run at a time share both
 * the weights and the rows in L2. Sums are those of k in order, whatever the tile, and no block shares a sum with
 * another, but for the split tiles: with few rows there are few tiles (24 of 32 x 128 in a [128, 768]), and each would
 * go through all of k by itself while most of a GPU is idle. There the blocks of a cluster share a tile: each has its
 * part of the pieces, stages its sums in its own shared memory, and after a barrier of the cluster gathers its share of
 * the rows from all blocks, in their order, and writes them:
 *
 *   k     [ block 0 | block 1 | block 2 | block 3 ]          a cluster of 4, each with a sum of all M x 128
 *   rows  block 0: y[0, M/4) = sums 0 + 1 + 2 + 3            of each warp's rows, that is
 *         block 1: y[M/4, M/2) = ...
 *
 * Nothing goes through L2, no memory is wanted for it, and the sums are the same in every run; but not those of an
 * unsplit tile, whose additions are in another order.
 *
 * Rows of A that are LayerNorm's input are normalized where they lie in the ring: each thread does so to the chunks
 * that it copied itself, between waiting for them and the barrier that shows them to everybody, so that this takes no
 * barrier more. Blocks that share rows do it anew each, which is why it is for few rows.
 *
 * A kernel that is launched ahead waits in begin_kernel for rows that the kernel before still computes. The weights are
 * there already, and with few rows it is they that a product waits for: so before that each first tile of a column has
 * its columns of B fetched into L2.
 */
#include "cuda/ops/tensor_product.h"

#include "cuda/gemm_key.h"
#include "cuda/ops/epilogue.h"
#include "cuda/ops/product_operands.h"

#include <type_traits>

enum {
    STAGES = 4,          /* of the ring */
    STAGED_PITCH = 72,   /* words */
    GROUP_ROWS = 2048,   /* of tiles that follow each other */
    ENOUGH_BLOCKS = 128, /* to keep a GPU busy */
    MOST_PARTS = 8,      /* of a cluster that any GPU takes */
    MOST_NORM_ROWS = 64  /* of a tile that normalizes */
};

/* Rows of a tile, and blocks of a cluster that share one. */
static const struct {
    int rows, parts;
} tiles[] = {{256, 1}, {128, 1}, {64, 1}, {32, 1}, {64, 2}, {64, 4}, {64, 8}, {32, 2}, {32, 4}, {32, 8}};
static_assert(sizeof tiles / sizeof *tiles == BERT_CUDA_TENSOR_PRODUCT_ALL_TILES, "tensor_product.h counts them");

template <int M> struct tile {
    static constexpr int WARPS = M > 128 ? 8 : 4;
    static constexpr int THREADS = WARPS * BERT_WARP;
    static constexpr int WARP_ROWS = M / (WARPS / 2);
    static constexpr int BLOCKS = M > 128 ? 1 : M > 64 ? 2 : M > 32 ? 3 : 4;
    static constexpr int A_BYTES = M * PIECE;
    static constexpr int STAGE_BYTES = A_BYTES + COLUMNS * PIECE;
    static constexpr int STAGED_ROWS = WARP_ROWS < 32 ? WARP_ROWS : 32; /* of a warp, on their way to y */
    static constexpr int STAGED_WORDS = STAGED_ROWS * STAGED_PITCH;
    static constexpr int SHARED = STAGES * STAGE_BYTES;
    /* Of what normalizes, behind that: of the residual's rows; then gamma and beta. */
    static constexpr int STATISTICS = M * static_cast<int>(sizeof(row_statistics));
    static_assert(SHARED >= WARPS * STAGED_WORDS * 4 + M * 2 * static_cast<int>(sizeof(row_range)),
                  "the ring is reused");
};

/* Sums of a product in which rows are normalized. */
template <typename T> struct bert_normed_sums : bert_float_sums<T> {
    static constexpr bool NORMS = true;
    bert_row_norm<T> a, residual;
    float *moments; /* of y; or NULL */
    int k;
};

/* Pitches are bytes. BEFORE: bert_float_sums, bert_normed_sums or bert_byte_sums. */
template <typename BEFORE> struct product {
    const unsigned char *a, *b;
    int64_t pitch_a, pitch_b, m, n;
    int depth; /* bytes of k where rows run along it, else elements */
    int pieces, parts;
    int64_t row_tiles, column_tiles;
    bool vectors; /* y is written 16 bytes at a time */
    BEFORE before;
    bert_epilogue<typename BEFORE::element> after;
};

/* ---- From sums to y ------------------------------------------------------------------------------------------------
 */

/* Word of a staged row and column. */
static __device__ inline int staged_at(int row, int column) {
    return row * STAGED_PITCH + (column / 4 ^ column / 32) * 4 + column % 4;
}

/* Two sums as they lie in memory; those of bytes wrap around. */
template <typename S> static __device__ inline uint32_t add_words(uint32_t a, uint32_t b) {
    if constexpr (std::is_same<S, float>::value)
        return __float_as_uint(__fadd_rn(__uint_as_float(a), __uint_as_float(b)));
    else
        return a + b;
}

/* What blocks 0 to `parts` - 1 of the cluster have there, summed in their order. All are loaded at once. */
template <typename S> static __device__ inline bert_vector<S, 4> gathered_unit(const S *at, int parts) {
    uint32_t words[MOST_PARTS][4];
    BERT_UNROLL
    for (int part = 0; part < MOST_PARTS; part++)
        if (part < parts) cluster_load(words[part], at, static_cast<unsigned>(part));
    BERT_UNROLL
    for (int part = 1; part < MOST_PARTS; part++) {
        BERT_UNROLL
        for (int i = 0; i < 4; i++)
            if (part < parts) words[0][i] = add_words<S>(words[0][i], words[part][i]);
    }
    bert_vector<S, 4> sums;
    memcpy(&sums, words[0], sizeof sums);
    return sums;
}

/* N sums from a column that is a multiple of N on: a block's own, or those of a cluster. */
template <int N, bool SPLIT, typename S>
static __device__ inline void load_staged(const S *staged, int row, int column, int parts, S (&out)[N]) {
    constexpr int UNIT = N < 4 ? N : 4;
    bert_vector<S, UNIT> units[N / UNIT];
    BERT_UNROLL
    for (int i = 0; i < N / UNIT; i++) {
        const S *at = staged + staged_at(row, column + i * UNIT);
        if constexpr (SPLIT)
            units[i] = gathered_unit(at, parts);
        else
            load_vector(&units[i], at, 0);
    }
    BERT_UNROLL
    for (int i = 0; i < N; i++) out[i] = units[i / UNIT].at[i % UNIT];
}

/* ROWS rows of a warp's sums, from row `part` on, to its shared memory. */
template <int WARP_ROWS, int ROWS, typename S>
static __device__ inline void stage_sums(const S (&sums)[WARP_ROWS / 16][WARP_COLUMNS / 8][4], S *staged, int part) {
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
    BERT_UNROLL
    for (int i = 0; i < WARP_ROWS / 16; i++) { /* sums stay in registers, so `part` can't be their index */
        if (i * 16 / ROWS * ROWS != part) continue;
        BERT_UNROLL
        for (int j = 0; j < WARP_COLUMNS / 8 * 2; j++) {
            const bert_vector<S, 2> pair = {{sums[i][j / 2][j % 2 * 2], sums[i][j / 2][j % 2 * 2 + 1]}};
            const int row = i * 16 % ROWS + j % 2 * 8 + lane / 4;
            *reinterpret_cast<bert_vector<S, 2> *>(staged + staged_at(row, j / 2 * 8 + lane % 4 * 2)) = pair;
        }
    }
}

/* What a thread has of columns, and how it writes rows of them. N elements of y a thread at a time. */
template <int N, bool SPLIT, typename BEFORE> struct row_writer {
    using T = typename BEFORE::element;
    using S = typename BEFORE::sum;
    static constexpr int LANES = bert_stretch<WARP_COLUMNS, N>::LANES, TURNS = bert_stretch<WARP_COLUMNS, N>::PIECES;
    static constexpr int ROWS = BERT_WARP / LANES; /* of a warp at a time */
    using note = row_range;                        /* what it leaves in shared memory of each half of a row */
    static constexpr int NOTES = 2;
    int64_t first_column;
    int first;
    typename BEFORE::template columns<N> of_sums[TURNS];
    typename bert_epilogue<T>::template columns<N> of_values[TURNS];

    __device__ row_writer(const product<BEFORE> &p, int64_t first_column_)
        : first_column(first_column_), first(static_cast<int>(threadIdx.x) % LANES * N) {
        BERT_UNROLL
        for (int turn = 0; turn < TURNS; turn++) {
            const int64_t column = first_column + first + turn * LANES * N;
            if (column >= p.after.width) continue;
            of_sums[turn].load(p.before, column);
            of_values[turn].load(p.after, column);
        }
    }

    /* Staged rows from `from` to `end`, of which the first is y's `first_row`; `ranges` are those of the first, two
     * apart. */
    __device__ void write(const product<BEFORE> &p, const S *staged, int from, int end, int64_t first_row,
                          row_range *ranges) const {
        const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
        BERT_ROLLED
        for (int base = from; base < end; base += ROWS) { /* all lanes: they join ranges */
            const int row = base + lane / LANES;
            const int64_t at = first_row + row;
            row_range range;
            BERT_UNROLL
            for (int turn = 0; turn < TURNS; turn++) {
                const int column = first + turn * LANES * N;
                if (row >= end || at >= p.m || first_column + column >= p.after.width) continue;
                S own[N];
                float values[N];
                load_staged<N, SPLIT>(staged, row, column, p.parts, own);
                p.before.values_of(of_sums[turn], own, at, values);
                p.after.write(of_values[turn], values, at, first_column + column, &range);
            }
            if (!p.after.ranges) continue;
            range.join_lanes(LANES);
            if (lane % LANES == 0 && row < end) ranges[row * 2] = range;
        }
    }
};

/* The same where the residual may be normalized, and moments of y are wanted. */
template <int N, bool SPLIT, typename BEFORE> struct normed_row_writer : row_writer<N, SPLIT, BEFORE> {
    using base = row_writer<N, SPLIT, BEFORE>;
    using typename base::T;
    static_assert(base::TURNS == 1, "a thread has one vector of a row");
    static_assert(static_cast<int>(WARP_COLUMNS) == BERT_MOMENT_COLUMNS, "a warp's columns have moments");
    using note = const row_statistics; /* what it finds there of the residual's row */
    static constexpr int NOTES = 1;
    bert_packed<T, N> gamma, beta; /* of the residual, where that is normalized */

    __device__ normed_row_writer(const product<BEFORE> &p, int64_t first_column_) : base(p, first_column_) {
        const int64_t column = this->first_column + this->first;
        if (column >= p.after.width) return;
        if (p.before.residual.moments) gamma.load(p.before.residual.gamma + column);
        if (p.before.residual.beta) beta.load(p.before.residual.beta + column);
    }

    /* Values of a row to y; as they were stored they come back. */
    __device__ void finish(const product<BEFORE> &p, float (&values)[N], int64_t at,
                           const row_statistics *residual) const {
        typename bert_epilogue<T>::template added<N> added;
        added.load(p.after, at);
        p.after.activate(this->of_values[0], values);
        if (p.before.residual.moments) {
            BERT_UNROLL
            for (int i = 0; i < N; i++) {
                const float shift = p.before.residual.beta ? to_float(beta.get(i)) : 0.0F;
                values[i] += residual->normalize(to_float(added.upper.get(i)), to_float(gamma.get(i)), shift);
            }
        } else {
            p.after.add(added, values);
        }
        const bert_elements<T, N> y = p.after.round(values);
        y.store(p.after.y, p.after.y_lower, at);
        BERT_UNROLL
        for (int i = 0; i < N; i++) values[i] = to_float(y.upper.at[i]);
    }

    /* `residual`: statistics of the residual of the first staged row, and those after it. */
    __device__ void write(const product<BEFORE> &p, const typename base::S *staged, int from, int end,
                          int64_t first_row, const row_statistics *residual) const {
        const int64_t left = p.after.width - this->first_column;
        const int64_t groups = BERT_MOMENTS_OF_ROW(p.after.width), group = this->first_column / WARP_COLUMNS;
        BERT_ROLLED
        for (int first = from; first < end; first += base::ROWS) { /* all lanes: they join moments */
            const int row = first + static_cast<int>(threadIdx.x) % BERT_WARP / base::LANES;
            const int64_t at = first_row + row;
            const bool has = row < end && at < p.m && this->first < left;
            float values[N] = {};
            if (has) {
                float own[N];
                load_staged<N, SPLIT>(staged, row, this->first, p.parts, own);
                p.before.values_of(this->of_sums[0], own, at, values);
                finish(p, values, at * p.after.width + this->first_column + this->first, residual + row);
            }
            if (p.before.moments)
                store_moments<base::LANES>(values, has, clamp(left, WARP_COLUMNS),
                                           p.before.moments + (at * groups + group) * 2);
        }
    }
};

template <int N, bool SPLIT, typename BEFORE>
using writer_of = std::conditional_t<BEFORE::NORMS, normed_row_writer<N, SPLIT, BEFORE>, row_writer<N, SPLIT, BEFORE>>;

/*
 * A warp's sums, those of y from `first_row` and `first_column` on. `staged`: shared memory of its own, of ROWS rows;
 * `notes`: of its rows, the writer's.
 */
template <int N, int WARP_ROWS, int ROWS, typename BEFORE, typename S>
static __device__ inline void write_sums(const product<BEFORE> &p, const S (&sums)[WARP_ROWS / 16][WARP_COLUMNS / 8][4],
                                         S *staged, typename writer_of<N, false, BEFORE>::note *notes,
                                         int64_t first_row, int64_t first_column) {
    using writer_type = writer_of<N, false, BEFORE>;
    const writer_type writer(p, first_column);
    BERT_ROLLED
    for (int part = 0; part < WARP_ROWS; part += ROWS) {
        __syncwarp();
        stage_sums<WARP_ROWS, ROWS>(sums, staged, part);
        __syncwarp();
        writer.write(p, staged, 0, ROWS, first_row + part, notes + part * writer_type::NOTES);
    }
}

/* The same of a cluster, of whose sums this block writes rows `from` to `end` of each warp's. */
template <int N, int WARP_ROWS, typename BEFORE, typename S>
static __device__ inline void gather_sums(const product<BEFORE> &p,
                                          const S (&sums)[WARP_ROWS / 16][WARP_COLUMNS / 8][4], S *staged,
                                          typename writer_of<N, true, BEFORE>::note *notes, int from, int end,
                                          int64_t first_row, int64_t first_column) {
    const writer_of<N, true, BEFORE> writer(p, first_column);
    stage_sums<WARP_ROWS, WARP_ROWS>(sums, staged, 0);
    cluster_barrier();
    writer.write(p, staged, from, end, first_row, notes);
    cluster_part(); /* nobody ends while its sums are read */
}

/* ---- The kernel ----------------------------------------------------------------------------------------------------
 */

/* What a block computes: a tile of y, over its pieces of k. */
struct task {
    int64_t first_row, first_column;
    int rank, first_piece, pieces;
};

/* Down a strip of rows, then on to the next columns, then to the next strip. */
template <int M, bool SPLIT, typename BEFORE> static __device__ inline task task_of(const product<BEFORE> &p) {
    constexpr int GROUP = GROUP_ROWS / M;
    const int64_t tile_index = SPLIT ? blockIdx.x / static_cast<unsigned>(p.parts) : blockIdx.x;
    const int64_t strip = tile_index / (GROUP * p.column_tiles), inside = tile_index - strip * GROUP * p.column_tiles;
    const int64_t left = p.row_tiles - strip * GROUP, rows = left < GROUP ? left : GROUP;
    const int rank = SPLIT ? static_cast<int>(cluster_rank()) : 0;
    const int first = SPLIT ? p.pieces * rank / p.parts : 0;
    const int end = SPLIT ? p.pieces * (rank + 1) / p.parts : p.pieces;
    return {(strip * GROUP + inside % rows) * M, inside / rows * COLUMNS, rank, first, end - first};
}

/* Has what the block multiplies of B brought into L2. */
template <bool B_ROWS, int THREADS, typename BEFORE>
static __device__ inline void prefetch_b(const product<BEFORE> &p, const task &t) {
    constexpr int STEP = B_ROWS ? PIECE : PIECE / 2; /* of `depth`, a piece */
    const int from = t.first_piece * STEP, depth = clamp(p.depth - from, t.pieces * STEP);
    const int64_t first_row = B_ROWS ? t.first_column : from;
    const int rows = B_ROWS ? clamp(p.n - t.first_column, COLUMNS) : depth;
    const int bytes = B_ROWS ? depth : clamp((p.n - t.first_column) * 2, COLUMNS * 2);
    const unsigned char *first = p.b + first_row * p.pitch_b + (B_ROWS ? from : t.first_column * 2);
    constexpr int BESIDE = B_ROWS ? 1 : COLUMNS * 2 / BERT_PREFETCHED; /* threads of a row */
    const int thread = static_cast<int>(threadIdx.x);
    BERT_ROLLED
    for (int row = thread / BESIDE; row < rows; row += THREADS / BESIDE)
        for (int at = thread % BESIDE * BERT_PREFETCHED; at < bytes; at += BESIDE * BERT_PREFETCHED)
            prefetch(first + row * p.pitch_b + at);
}

/* What a block makes of A on the way. */
template <typename T, int M, typename BEFORE>
static __device__ inline auto normalizer_of(const product<BEFORE> &p, const task &t, unsigned char *parameters) {
    if constexpr (BEFORE::NORMS)
        return row_normalizer<T, M, tile<M>::THREADS>(p.before.a, parameters, t.pieces, t.first_piece * PIECE / 2,
                                                      p.before.k);
    else
        return no_normalizer();
}

/* The sums of a block's task, each warp's in its registers; the ring is free afterwards. */
template <typename T, bool B_ROWS, int M, typename BEFORE, typename S>
static __device__ inline void sum_pieces(const product<BEFORE> &p, const task &t, unsigned char *ring,
                                         S (&sums)[tile<M>::WARP_ROWS / 16][WARP_COLUMNS / 8][4]) {
    using G = tile<M>;
    using copies_b = std::conditional_t<B_ROWS, row_copies<COLUMNS, G::THREADS>, column_copies<G::THREADS>>;
    constexpr int STEP_B = B_ROWS ? PIECE : PIECE / 2;
    const int warp = static_cast<int>(threadIdx.x) / BERT_WARP, warp_row = warp / 2 * G::WARP_ROWS;
    const int skipped = t.first_piece * PIECE, depth_a = B_ROWS ? p.depth : p.depth * 2;
    row_copies<M, G::THREADS> a(p.a + skipped, p.pitch_a, t.first_row, p.m, depth_a - skipped);
    copies_b b(p.b + (B_ROWS ? skipped : t.first_piece * STEP_B * p.pitch_b), p.pitch_b, t.first_column, p.n,
               p.depth - t.first_piece * STEP_B);

    const auto load = [&](fragments<G::WARP_ROWS> &f, int slot, int step) {
        const unsigned char *stage = ring + slot * G::STAGE_BYTES;
        f.load_a(stage + warp_row * PIECE, step);
        if constexpr (B_ROWS)
            f.load_b_rows(stage + G::A_BYTES, warp % 2, step);
        else
            f.load_b_columns(stage + G::A_BYTES, warp % 2, step);
    };
    const auto fill = [&](int slot) {
        a.issue(ring + slot * G::STAGE_BYTES);
        b.issue(ring + slot * G::STAGE_BYTES + G::A_BYTES);
    };

    auto normalizer = normalizer_of<T, M>(p, t, ring + G::SHARED + G::STATISTICS);
    BERT_UNROLL
    for (int piece = 0; piece < STAGES - 1; piece++) {
        if (piece < t.pieces) fill(piece);
        copy_async_commit();
    }
    fragments<G::WARP_ROWS> even, odd; /* of a piece's two steps */
    if constexpr (BEFORE::NORMS) normalizer.find_statistics(p.before.a, t.first_row, p.m, p.before.k);
    copy_async_wait<STAGES - 2>();
    __syncthreads();
    if (normalizer.wanted) {
        normalizer.apply(ring + a.to);
        __syncthreads();
    }
    load(even, 0, 0);
    int slot = 0, next = STAGES - 1;
    BERT_ROLLED
    for (int piece = 0; piece < t.pieces; piece++) {
        load(odd, slot, 1);
        if (piece + STAGES - 1 < t.pieces) fill(next);
        copy_async_commit(); /* an empty group too, so that each piece is one */
        next = slot;
        slot = slot + 1 < STAGES ? slot + 1 : 0;
        multiply<T, G::WARP_ROWS>(sums, even);
        if (piece + 1 < t.pieces) {
            copy_async_wait<STAGES - 2>();
            normalizer.apply(ring + slot * G::STAGE_BYTES + a.to);
            __syncthreads();
            load(even, slot, 0);
        }
        multiply<T, G::WARP_ROWS>(sums, odd);
    }
    copy_async_wait<0>();
    __syncthreads();
}

/* The ranges of a block's rows, of which both halves are known, but for those that other blocks of the cluster have. */
template <int M, typename BEFORE>
static __device__ inline void store_ranges(const product<BEFORE> &p, const task &t, const row_range *ranges, int from,
                                           int end) {
    for (int i = static_cast<int>(threadIdx.x); i < M && t.first_row + i < p.m; i += tile<M>::THREADS) {
        const int row = i % tile<M>::WARP_ROWS;
        if (row < from || row >= end) continue;
        row_range range = ranges[i * 2];
        range.add(ranges[i * 2 + 1].least);
        range.add(ranges[i * 2 + 1].most);
        range.store(p.after.ranges + (t.first_row + i) * p.column_tiles + t.first_column / COLUMNS);
    }
}

/* Statistics of the residual's rows into shared memory, if it is to be normalized. */
template <int M, typename BEFORE>
static __device__ inline void find_residual_statistics(const product<BEFORE> &p, const task &t, row_statistics *to) {
    constexpr int STEP = tile<M>::THREADS / BERT_STATISTICS_LANES;
    const auto &norm = p.before.residual;
    if (!norm.moments) return;
    BERT_UNROLL
    for (int first = 0; first < M; first += STEP) {
        const int row = first + static_cast<int>(threadIdx.x) / BERT_STATISTICS_LANES;
        const row_statistics s = statistics_of(norm.moments, t.first_row + row, static_cast<int>(p.after.width),
                                               norm.epsilon, t.first_row + row < p.m);
        if (threadIdx.x % BERT_STATISTICS_LANES == 0) to[row] = s;
    }
}

/* Blocks of a multiprocessor; what normalizes wants more registers. */
template <int M, typename BEFORE> static constexpr int blocks_of() {
    return tile<M>::BLOCKS - (BEFORE::NORMS ? 1 : 0);
}

template <typename T, bool B_ROWS, int M, bool SPLIT, typename BEFORE>
static __global__ void __launch_bounds__(tile<M>::THREADS, (blocks_of<M, BEFORE>()))
    tensor_product_kernel(product<BEFORE> p) {
    using S = typename BEFORE::sum;
    using G = tile<M>;
    const task t = task_of<M, SPLIT>(p);
    if (BERT_HOPPER && t.first_row == 0) prefetch_b<B_ROWS, G::THREADS>(p, t);
    begin_kernel();
    if constexpr (!SPLIT || BERT_HOPPER) {
        BERT_SHARED_DYNAMIC(unsigned char, ring);
        row_statistics *statistics = reinterpret_cast<row_statistics *>(ring + G::SHARED);
        S sums[G::WARP_ROWS / 16][WARP_COLUMNS / 8][4] = {};
        if constexpr (BEFORE::NORMS) find_residual_statistics<M>(p, t, statistics);
        sum_pieces<T, B_ROWS, M>(p, t, ring, sums);

        constexpr int N = 16 / static_cast<int>(sizeof(typename BEFORE::element));
        const int warp = static_cast<int>(threadIdx.x) / BERT_WARP, warp_row = warp / 2 * G::WARP_ROWS, half = warp % 2;
        const int from = SPLIT ? G::WARP_ROWS * t.rank / p.parts : 0;
        const int end = SPLIT ? G::WARP_ROWS * (t.rank + 1) / p.parts : G::WARP_ROWS;
        S *staged = reinterpret_cast<S *>(ring) + warp * G::STAGED_WORDS;
        row_range *ranges = reinterpret_cast<row_range *>(ring + G::WARPS * G::STAGED_WORDS * 4);
        const auto notes = [&] {
            if constexpr (BEFORE::NORMS)
                return static_cast<const row_statistics *>(statistics) + warp_row;
            else
                return ranges + warp_row * 2 + half;
        }();
        const int64_t row = t.first_row + warp_row, column = t.first_column + half * WARP_COLUMNS;
        if constexpr (SPLIT)
            gather_sums<N, G::WARP_ROWS>(p, sums, staged, notes, from, end, row, column);
        else if (BEFORE::NORMS || p.vectors)
            write_sums<N, G::WARP_ROWS, G::STAGED_ROWS>(p, sums, staged, notes, row, column);
        else if constexpr (!BEFORE::NORMS)
            write_sums<1, G::WARP_ROWS, G::STAGED_ROWS>(p, sums, staged, notes, row, column);
        if (!p.after.ranges) return;
        __syncthreads();
        store_ranges<M>(p, t, ranges, from, end);
    }
}

/* ---- Launching -----------------------------------------------------------------------------------------------------
 */

/* Shared memory that the kernel takes at most: gamma and beta are as long as rows of A. */
template <int M, typename BEFORE> static constexpr size_t most_shared() {
    constexpr int NORMS =
        tile<M>::STATISTICS + 2 * BERT_CUDA_MOST_NORM_WIDTH * static_cast<int>(sizeof(typename BEFORE::element));
    return tile<M>::SHARED + (BEFORE::NORMS ? NORMS : 0);
}

template <typename T, bool B_ROWS, int M, bool SPLIT, typename BEFORE>
static cudaError_t launch_tile(product<BEFORE> p, cudaStream_t stream) {
    constexpr auto kernel = tensor_product_kernel<T, B_ROWS, M, SPLIT, BEFORE>;
    p.row_tiles = bert_tiles(p.m, M);
    p.column_tiles = bert_tiles(p.after.width, COLUMNS);
    if (p.row_tiles > INT32_MAX / p.parts / p.column_tiles) return cudaErrorInvalidValue;
    if (SPLIT && (!p.vectors || p.pieces < p.parts || !bert_runs_for_hopper(kernel))) return cudaErrorNotSupported;
    size_t shared = tile<M>::SHARED;
    if constexpr (BEFORE::NORMS) {
        shared += tile<M>::STATISTICS;
        if (p.before.a.moments) shared += static_cast<size_t>(bert_tiles(p.pieces, p.parts)) * 2 * PIECE;
    }
    const cudaError_t allowed = bert_allow_shared(kernel, most_shared<M, BEFORE>());
    if (allowed != cudaSuccess) return allowed;
    return BERT_LAUNCH_CLUSTERS((tensor_product_kernel<T, B_ROWS, M, SPLIT, BEFORE>), static_cast<unsigned>(p.parts),
                                dim3(static_cast<unsigned>(p.row_tiles * p.column_tiles * p.parts)),
                                dim3(tile<M>::THREADS), shared, stream, p);
}

template <typename T, bool B_ROWS, typename BEFORE>
static cudaError_t launch(const bert_cuda_tensor_product_args *args, const BEFORE &before,
                          const bert_epilogue<typename BEFORE::element> &after, cudaStream_t stream) {
    const bert_cuda_gemm_args *g = args->product;
    const int64_t bytes = sizeof(T);
    product<BEFORE> p = {};
    p.a = static_cast<const unsigned char *>(g->a);
    p.b = static_cast<const unsigned char *>(g->b);
    p.pitch_a = g->lda * bytes;
    p.pitch_b = g->ldb * bytes;
    p.m = g->m;
    p.n = g->n;
    p.depth = static_cast<int>(B_ROWS ? g->k * bytes : g->k);
    p.pieces = static_cast<int>(bert_tiles(g->k * bytes, PIECE));
    p.before = before;
    p.after = after;
    p.vectors = after.template vectors_fit<16 / static_cast<int>(sizeof(typename BEFORE::element))>();
    p.parts = tiles[args->tile].parts;
    if (BEFORE::NORMS && !p.vectors) return cudaErrorNotSupported;
    switch (tiles[args->tile].rows) {
    case 256:
        if constexpr (BEFORE::NORMS)
            return cudaErrorNotSupported;
        else
            return launch_tile<T, B_ROWS, 256, false>(p, stream);
    case 128:
        if constexpr (BEFORE::NORMS)
            return cudaErrorNotSupported;
        else
            return launch_tile<T, B_ROWS, 128, false>(p, stream);
    case 64:
        return p.parts > 1 ? launch_tile<T, B_ROWS, 64, true>(p, stream) : launch_tile<T, B_ROWS, 64, false>(p, stream);
    default:
        return p.parts > 1 ? launch_tile<T, B_ROWS, 32, true>(p, stream) : launch_tile<T, B_ROWS, 32, false>(p, stream);
    }
}

/* Whether gamma, beta and moments of rows are where the kernel takes them: 16 bytes, or two floats, at a time. */
template <typename T> static bool norm_fits(const bert_row_norm<T> &norm, int64_t width) {
    constexpr int N = CHUNK / static_cast<int>(sizeof(T));
    return !norm.moments || (norm.gamma && bert_vectors_fit<N>(width, norm.gamma) &&
                             bert_vectors_fit<N>(width, norm.beta) && bert_vectors_fit<2>(0, norm.moments));
}

template <typename T>
static cudaError_t launch_normed(const bert_cuda_tensor_product_args *args, const bert_epilogue<T> &after,
                                 cudaStream_t stream) {
    const bert_cuda_product_norms *norms = args->norms;
    bert_normed_sums<T> before = {};
    before.alpha = args->product->alpha;
    before.a = bert_row_norm<T>::of(norms->a);
    before.residual = bert_row_norm<T>::of(norms->residual);
    before.moments = norms->moments;
    before.k = static_cast<int>(args->product->k);
    if (before.a.moments && before.k > BERT_CUDA_MOST_NORM_WIDTH) return cudaErrorNotSupported;
    if (!norm_fits(before.a, before.k) || !norm_fits(before.residual, after.width) ||
        !bert_vectors_fit<2>(0, before.moments))
        return cudaErrorNotSupported;
    return args->product->transpose_b ? launch<T, true>(args, before, after, stream)
                                      : launch<T, false>(args, before, after, stream);
}

template <typename T> static cudaError_t launch_floats(const bert_cuda_tensor_product_args *args, cudaStream_t stream) {
    const bert_float_sums<T> before = {args->product->alpha};
    const bert_epilogue<T> after = bert_epilogue<T>::of(*args->floats);
    return args->product->transpose_b ? launch<T, true>(args, before, after, stream)
                                      : launch<T, false>(args, before, after, stream);
}

template <typename T> static cudaError_t launch_bytes(const bert_cuda_tensor_product_args *args, cudaStream_t stream) {
    return launch<int8_t, true>(args, bert_byte_sums<T>::of(*args->bytes), bert_epilogue<T>::of(*args->bytes), stream);
}

bool bert_cuda_tensor_product_fits(const bert_cuda_gemm_args *g) {
    const bool floats = g->kind == BERT_CUDA_GEMM_F16 || g->kind == BERT_CUDA_GEMM_BF16;
    const bool bytes = g->kind == BERT_CUDA_GEMM_S8 && g->transpose_b;
    if ((!floats && !bytes) || g->transpose_a || g->batch != 1 || g->beta != 0 || g->bias) return false;
    if (g->k < 1 || g->k > INT32_MAX / 4) return false;
    bert_cuda_gemm_args operands = *g; /* C is not written: any will do that is wide and aligned enough */
    operands.c = nullptr;
    operands.ldc = (g->n + 15) / 16 * 16;
    return !bert_cuda_gemm_fault(&operands) && bert_cuda_gemm_alignment(&operands) == 16;
}

int32_t bert_cuda_tensor_product_tile(int64_t m, int64_t n) {
    int32_t tile = 0;
    for (; tile < BERT_CUDA_TENSOR_PRODUCT_TILES - 1; tile++)
        if (bert_tiles(m, tiles[tile].rows) * bert_tiles(n, COLUMNS) >= ENOUGH_BLOCKS) break;
    return tile;
}

bool bert_cuda_tensor_product_tile_takes_norms(int32_t tile) {
    return tiles[tile].rows <= MOST_NORM_ROWS;
}

bool bert_cuda_tensor_product_may_win(int64_t m, int64_t n, int32_t tile) {
    const int64_t rows = tiles[tile].rows, blocks = bert_tiles(m, rows) * bert_tiles(n, COLUMNS);
    const int64_t least = tiles[BERT_CUDA_TENSOR_PRODUCT_TILES - 1].rows;
    if (rows > least && rows / 2 >= m) return false;
    return tiles[tile].parts == 1 || blocks < ENOUGH_BLOCKS;
}

static bool halves_fit(bert_dtype dtype, const uint16_t *residual_lower, const uint16_t *y_lower) {
    return dtype == BERT_BFLOAT16 || (!residual_lower && !y_lower);
}

cudaError_t bert_cuda_tensor_product(const bert_cuda_tensor_product_args *args, cudaStream_t stream) {
    const bert_cuda_gemm_args *g = args->product;
    if (!bert_cuda_tensor_product_fits(g)) return cudaErrorInvalidValue;
    if (args->tile < 0 || args->tile >= BERT_CUDA_TENSOR_PRODUCT_ALL_TILES) return cudaErrorInvalidValue;
    if (g->kind == BERT_CUDA_GEMM_S8) {
        const bert_cuda_dequantize_args *e = args->bytes;
        if (!e || e->rows != g->m || e->width < 0 || e->width > g->n || args->norms) return cudaErrorInvalidValue;
        if (!halves_fit(e->dtype, e->residual_lower, e->y_lower)) return cudaErrorInvalidValue;
        if (e->rows == 0 || e->width == 0) return cudaSuccess;
        switch (e->dtype) {
        case BERT_FLOAT:
            return launch_bytes<float>(args, stream);
        case BERT_FLOAT16:
            return launch_bytes<__half>(args, stream);
        case BERT_BFLOAT16:
            return launch_bytes<__nv_bfloat16>(args, stream);
        default:
            return cudaErrorInvalidValue;
        }
    }
    const bert_cuda_bias_activation_args *e = args->floats;
    const bert_dtype dtype = g->kind == BERT_CUDA_GEMM_F16 ? BERT_FLOAT16 : BERT_BFLOAT16;
    if (!e || e->dtype != dtype || e->rows != g->m || e->width != g->n || e->row_scales || e->column_scales ||
        e->e4m3.bytes)
        return cudaErrorInvalidValue;
    if (!halves_fit(e->dtype, e->residual_lower, e->y_lower)) return cudaErrorInvalidValue;
    const bert_cuda_product_norms *norms = args->norms;
    if (norms && (dtype != BERT_FLOAT16 || e->ranges || (norms->residual.moments && !e->residual)))
        return cudaErrorInvalidValue;
    if (e->rows == 0 || e->width == 0) return cudaSuccess;
    if (norms) return launch_normed(args, bert_epilogue<__half>::of(*e), stream);
    return dtype == BERT_FLOAT16 ? launch_floats<__half>(args, stream) : launch_floats<__nv_bfloat16>(args, stream);
}
