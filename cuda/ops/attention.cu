/*
 * Attention in one pass over the keys: scores of a tile of keys, softmax as far as it is known, and their part of the
 * result, rescaled whenever a greater score turns up. Scores never leave the chip. Two kernels:
 *
 * tensor_kernel, for 16-bit types and heads of 64 or 32. A warp has 16 queries. Q stays in registers as the A of
 * m16n8k16; K of a tile of 64 keys is B as it lies in memory (ldmatrix gives columns of K^T as rows of K); the scores
 * come out in the layout that the A of the second product wants, so that P needs no shuffle and no shared memory; V is
 * B by ldmatrix.trans. The next tile of K and V is copied in the background meanwhile. Shared rows are 16 bytes longer
 * than a head, so that the eight rows of an ldmatrix lie in different banks. Blocks have 4 warps, which share the
 * copying, also where a short batch leaves multiprocessors idle: a warp alone takes longer. Short sequences have one.
 * Masks and biases that are the same for all queries, as padding is, are made one term a key, in shared memory: looking
 * them up for each score would take five times the instructions of all the rest. Those that differ by query are looked
 * up so, by instances of their own.
 *
 * plain_kernel, for everything else: float32, whose products must be true, any head size, scores that are capped or
 * asked for. A warp has 8 queries, a lane one key of a tile of 32 for the scores, and two columns of the result. Heads
 * over 64 are cut along the result (blockIdx.z), each block computing the scores again. Where the weights themselves
 * are asked for, a second turn over the keys computes the scores once more, now that their sum is known.
 */
#include "cuda/ops/attention.h"

#include "cuda/ops/row_range.h"
#include "cuda/tensor_core.h"

/* Rows of sequence b, and where they begin in q, k, v and y. */
struct sequence {
    int64_t q, k, v, y;
    int64_t row; /* of its first among those of y */
    int queries, keys;
    const int32_t *tokens; /* of its rows; NULL: 0, 1, 2 ... */
    int first_token;       /* what they count from */

    /* The place of a row in bias and mask. */
    __device__ int64_t place(int row) const {
        return tokens ? tokens[row] - first_token : row;
    }
};

static __device__ sequence sequence_of(const bert_cuda_attention_args &a, int64_t b, int64_t h, int first_sequence) {
    sequence s;
    s.queries = static_cast<int>(a.queries);
    s.keys = static_cast<int>(a.keys);
    s.q = h * a.q.head;
    const int64_t shared = static_cast<uint32_t>(h) / static_cast<uint32_t>(a.group); /* is_allowed limits both */
    s.k = shared * a.k.head;
    s.v = shared * a.v.head;
    s.y = h * a.y_head;
    s.row = b * a.queries;
    s.tokens = nullptr;
    s.first_token = static_cast<int>((first_sequence + b) * a.sequence);
    if (a.offsets) {
        const int64_t first = a.offsets[b];
        s.row = first;
        s.queries = s.keys = a.offsets[b + 1] - static_cast<int>(first);
        s.q += first * a.q.row;
        s.k += first * a.k.row;
        s.v += first * a.v.row;
        s.y += first * a.y_row;
        if (a.tokens) s.tokens = a.tokens + first;
    } else {
        s.q += b * a.q.batch;
        s.k += b * a.k.batch;
        s.v += b * a.v.batch;
        s.y += b * a.y_batch;
    }
    return s;
}

/* A NaN that signals: no arithmetic gives it. */
static constexpr uint32_t MASKED = 0xffa5a5a5U;

/* Bias and mask of one row of scores. Strides of a broadcast dimension are 0. */
template <typename T> struct row_masks {
    const void *bias;
    const uint8_t *mask;
    int64_t bias_step, mask_step;
    float mask_value;
    bool wide_bias;

    __device__ row_masks(const bert_cuda_attention_args &a, int64_t b, int64_t h, int64_t row) {
        const int64_t from = b * a.bias_at[0] + h * a.bias_at[1] + row * a.bias_at[2];
        bias = a.bias;
        wide_bias = a.wide_bias;
        if (bias && wide_bias)
            bias = static_cast<const float *>(bias) + from;
        else if (bias)
            bias = static_cast<const T *>(bias) + from;
        mask = a.mask;
        if (mask) mask += b * a.mask_at[0] + h * a.mask_at[1] + row * a.mask_at[2];
        bias_step = a.bias_at[3];
        mask_step = a.mask_at[3];
        mask_value = a.mask_value;
    }
    __device__ float bias_of(int64_t key) const {
        if (!bias) return 0;
        return wide_bias ? static_cast<const float *>(bias)[key * bias_step]
                         : to_float(static_cast<const T *>(bias)[key * bias_step]);
    }
    __device__ float apply(float score, int64_t key) const {
        score += bias_of(key);
        return mask && !mask[key * mask_step] ? mask_value : score;
    }
    /* What is added to all scores of the key, as bits; MASKED where they are the mask's value. */
    __device__ uint32_t term(int64_t key) const {
        return mask && !mask[key * mask_step] ? MASKED : __float_as_uint(bias_of(key));
    }
};

/* exp(score - greatest); where all scores so far are -infinity, 0. */
static __device__ inline float weight(float score, float greatest) {
    return exp2_near((score - (greatest == -INFINITY ? 0.0F : greatest)) * 1.44269504088896341F);
}

/* What a sum of weights makes of a row of the result. */
static __device__ inline float row_factor(float sum, bool no_keys, bool zero_rows) {
    if (no_keys || (zero_rows && !(sum > 0.0F))) return 0.0F;
    return sum == 0.0F ? NAN : 1.0F / sum;
}

/* ---- Tensor cores --------------------------------------------------------------------------------------------------
 */

enum { KEYS = 64, WARP_QUERIES = 16 };

/* From one row of a tile in shared memory to the next: the eight rows that ldmatrix takes lie in different banks. */
template <int DEPTH> static __host__ __device__ constexpr int tile_pitch() {
    return DEPTH + 8;
}

/* Rows [first, first + ROWS) of a head into shared memory, in the background; rows from `end` on are zeros. */
template <typename T, int DEPTH, int ROWS, int THREADS>
static __device__ inline void load_tile(T *tile, const T *head, int64_t row_stride, int first, int end) {
    constexpr int pieces = DEPTH / 8, pitch = tile_pitch<DEPTH>(),
                  step = THREADS / pieces; /* rows that all threads take at once */
    static_assert(THREADS % pieces == 0 && ROWS % step == 0, "every thread has as many pieces");
    const int row = static_cast<int>(threadIdx.x) / pieces, column = static_cast<int>(threadIdx.x) % pieces * 8;
    const int64_t from = (first + row) * row_stride + column, jump = step * row_stride;
    BERT_UNROLL
    for (int i = 0; i < ROWS / step; i++) {
        const bool there = first + row + i * step < end;
        copy_async_16(tile + (row + i * step) * pitch + column, head + (there ? from + i * jump : 0), there ? 16 : 0);
    }
}

/* The scores of a warp's 16 queries with 8 tiles of 8 keys. Register j of tile n: row g + 8 (j >> 1), key
 * 8 n + 2 t + (j & 1). */
using tile_of_scores = float[KEYS / 8][4];

/* Scaled and masked, by what `terms` have of the keys; NULL: scaled. */
static __device__ inline void mask_by_keys(tile_of_scores &scores, float scale, float mask_value,
                                           const uint32_t *terms) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    BERT_UNROLL
    for (int n = 0; n < KEYS / 8; n++) {
        bert_vector<uint32_t, 2> pair = {};
        if (terms) pair = *reinterpret_cast<const bert_vector<uint32_t, 2> *>(terms + n * 8 + 2 * t);
        BERT_UNROLL
        for (int j = 0; j < 4; j++) {
            const uint32_t term = pair.at[j & 1];
            const float score = scores[n][j] * scale + __uint_as_float(term);
            scores[n][j] = term == MASKED ? mask_value : score;
        }
    }
}

/* The same by masks of each row. */
template <typename T>
static __device__ inline void mask_by_rows(tile_of_scores &scores, float scale, const row_masks<T> (&masks)[2],
                                           const sequence &s, int key) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    BERT_UNROLL
    for (int n = 0; n < KEYS / 8; n++) {
        BERT_UNROLL
        for (int j = 0; j < 4; j++) {
            const int at = key + n * 8 + 2 * t + (j & 1);
            if (at < s.keys) scores[n][j] = masks[j >> 1].apply(scores[n][j] * scale, s.place(at));
        }
    }
}

/* Keys from `end` on, in the last tile, have no part in the softmax. */
static __device__ inline void end_keys(tile_of_scores &scores, int key, int end) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    BERT_UNROLL
    for (int n = 0; n < KEYS / 8; n++) {
        BERT_UNROLL
        for (int j = 0; j < 4; j++) {
            if (key + n * 8 + 2 * t + (j & 1) >= end) scores[n][j] = -INFINITY;
        }
    }
}

/* Terms of the keys of a tile: each of the block's THREADS has one of them, or two; read a tile ahead, as K and V are.
 */
template <typename T, int THREADS> struct key_terms {
    static constexpr int own = THREADS < KEYS ? KEYS / THREADS : 1;
    uint32_t next[own];

    __device__ void read(const row_masks<T> &masks, const sequence &s, int key) {
        BERT_UNROLL
        for (int i = 0; i < own; i++) {
            const int place = static_cast<int>(threadIdx.x) + i * THREADS;
            if (place < KEYS && key + place < s.keys) next[i] = masks.term(s.place(key + place));
        }
    }
    __device__ void write(uint32_t *to) const {
        BERT_UNROLL
        for (int i = 0; i < own; i++) {
            const int place = static_cast<int>(threadIdx.x) + i * THREADS;
            if (place < KEYS) to[place] = next[i];
        }
    }
};

/* scores += Q K^T of a tile. */
template <typename T, int DEPTH>
static __device__ inline void multiply_keys(tile_of_scores &scores, const uint32_t (&q)[DEPTH / 16][4],
                                            const T *k_tile) {
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
    BERT_UNROLL
    for (int n = 0; n < KEYS / 8; n++) {
        BERT_UNROLL
        for (int i = 0; i < DEPTH / 16; i += 2) { /* one ldmatrix has B of two steps */
            uint32_t pair[4];
            ldmatrix_x4(pair, k_tile + (n * 8 + lane % 8) * tile_pitch<DEPTH>() + i * 16 + lane / 8 * 8);
            mma_m16n8k16<T>(scores[n], q[i], {pair[0], pair[1]});
            mma_m16n8k16<T>(scores[n], q[i + 1], {pair[2], pair[3]});
        }
    }
}

/* What the softmax of two rows, in a group's lanes, has come to so far: the greatest score, and the sum of weights. */
struct running_softmax {
    float greatest[2], sum[2];

    /* Scores become weights; `rescale` is what earlier weights are to be multiplied by. */
    __device__ void add(tile_of_scores &scores, float (&rescale)[2]) {
        float tile_greatest[2] = {-INFINITY, -INFINITY};
        BERT_UNROLL
        for (int n = 0; n < KEYS / 8; n++) {
            BERT_UNROLL
            for (int j = 0; j < 4; j++) tile_greatest[j >> 1] = fmaxf(tile_greatest[j >> 1], scores[n][j]);
        }
        BERT_UNROLL
        for (int half = 0; half < 2; half++) { /* a row is in the four lanes of a group */
            float most = tile_greatest[half];
            most = fmaxf(most, __shfl_xor_sync(BERT_ALL_LANES, most, 1));
            most = fmaxf(most, __shfl_xor_sync(BERT_ALL_LANES, most, 2));
            most = fmaxf(most, greatest[half]);
            rescale[half] = weight(greatest[half], most);
            greatest[half] = most;
            sum[half] *= rescale[half];
        }
        BERT_UNROLL
        for (int n = 0; n < KEYS / 8; n++) {
            BERT_UNROLL
            for (int j = 0; j < 4; j++) {
                scores[n][j] = weight(scores[n][j], greatest[j >> 1]);
                sum[j >> 1] += scores[n][j];
            }
        }
    }
};

/* result = rescale result + weights V of a tile. */
template <typename T, int DEPTH>
static __device__ inline void multiply_values(float (&result)[DEPTH / 8][4], const float (&rescale)[2],
                                              const tile_of_scores &weights, const T *v_tile) {
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP;
    BERT_UNROLL
    for (int c = 0; c < DEPTH / 8; c++) {
        BERT_UNROLL
        for (int j = 0; j < 4; j++) result[c][j] *= rescale[j >> 1];
    }
    BERT_UNROLL
    for (int i = 0; i < KEYS / 16; i++) { /* of 16 keys */
        const uint32_t p[4] = {pack_pair<T>(weights[2 * i][0], weights[2 * i][1]),
                               pack_pair<T>(weights[2 * i][2], weights[2 * i][3]),
                               pack_pair<T>(weights[2 * i + 1][0], weights[2 * i + 1][1]),
                               pack_pair<T>(weights[2 * i + 1][2], weights[2 * i + 1][3])};
        BERT_UNROLL
        for (int c = 0; c < DEPTH / 8; c += 2) { /* one ldmatrix has B of two tiles of columns */
            uint32_t pair[4];
            ldmatrix_x4_trans(pair, v_tile + (i * 16 + lane % 16) * tile_pitch<DEPTH>() + (c + lane / 16) * 8);
            mma_m16n8k16<T>(result[c], p, {pair[0], pair[1]});
            mma_m16n8k16<T>(result[c + 1], p, {pair[2], pair[3]});
        }
    }
}

/* Rows of the result, divided by the sums of their weights, and their ranges. */
template <typename T, int DEPTH>
static __device__ inline void store_rows(const bert_cuda_attention_args &a, const sequence &s, const int (&row)[2],
                                         const float (&result)[DEPTH / 8][4], const float (&sum)[2]) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    BERT_UNROLL
    for (int half = 0; half < 2; half++) {
        float total = sum[half];
        total += __shfl_xor_sync(BERT_ALL_LANES, total, 1);
        total += __shfl_xor_sync(BERT_ALL_LANES, total, 2);
        const float factor = row_factor(total, s.keys == 0, a.zero_rows);
        const bool zero = factor == 0.0F; /* even where the sums are NaN */
        const bool there = row[half] < s.queries;
        T *y = static_cast<T *>(a.y) + s.y + row[half] * a.y_row;
        row_range range;
        BERT_UNROLL
        for (int c = 0; c < DEPTH / 8; c++) {
            bert_vector<T, 2> pair;
            pair.at[0] = from_float<T>(zero ? 0.0F : result[c][2 * half] * factor);
            pair.at[1] = from_float<T>(zero ? 0.0F : result[c][2 * half + 1] * factor);
            if (a.ranges) {
                range.add(to_float(pair.at[0]));
                range.add(to_float(pair.at[1]));
            }
            if (there) *reinterpret_cast<bert_vector<T, 2> *>(y + c * 8 + 2 * t) = pair;
        }
        if (!a.ranges) continue;
        range.join_lanes(4);
        if (there && t == 0) range.store(a.ranges + (s.row + row[half]) * a.heads + blockIdx.y);
    }
}

/* BY_ROWS: bias or mask differ by query. */
template <typename T, int DEPTH, int WARPS, bool BY_ROWS>
static __global__ void __launch_bounds__(WARPS *BERT_WARP)
    tensor_kernel(bert_cuda_attention_args a, int first_sequence) {
    begin_kernel();
    constexpr int pitch = tile_pitch<DEPTH>(), threads = WARPS * BERT_WARP, queries = WARPS * WARP_QUERIES;
    BERT_SHARED(T, tiles, (queries + 4 * KEYS) * pitch);
    BERT_SHARED(uint32_t, terms, 2 * KEYS);
    const int64_t b = blockIdx.z, h = blockIdx.y;
    const sequence s = sequence_of(a, b, h, first_sequence);
    const int first = static_cast<int>(blockIdx.x) * queries;
    if (first >= s.queries) return;
    T *const q_tile = tiles, *const k_tiles = tiles + queries * pitch, *const v_tiles = k_tiles + 2 * KEYS * pitch;
    const T *const k = static_cast<const T *>(a.k.data) + s.k, *const v = static_cast<const T *>(a.v.data) + s.v;
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;

    load_tile<T, DEPTH, queries, threads>(q_tile, static_cast<const T *>(a.q.data) + s.q, a.q.row, first, s.queries);
    load_tile<T, DEPTH, KEYS, threads>(k_tiles, k, a.k.row, 0, s.keys);
    load_tile<T, DEPTH, KEYS, threads>(v_tiles, v, a.v.row, 0, s.keys);
    copy_async_commit();
    const bool by_keys = !BY_ROWS && (a.bias || a.mask);
    const row_masks<T> key_masks(a, b, h, 0);
    key_terms<T, threads> ahead = {};
    if (by_keys) {
        ahead.read(key_masks, s, 0);
        ahead.write(terms);
    }
    copy_async_wait<0>();
    __syncthreads();
    uint32_t q[DEPTH / 16][4];
    BERT_UNROLL
    for (int i = 0; i < DEPTH / 16; i++)
        ldmatrix_x4(q[i], q_tile + (warp * WARP_QUERIES + lane % 16) * pitch + i * 16 + lane / 16 * 8);

    /* Rows g and g + 8 of the warp's 16. */
    const int row[2] = {first + warp * WARP_QUERIES + lane / 4, first + warp * WARP_QUERIES + lane / 4 + 8};
    const row_masks<T> masks[2] = {{a, b, h, s.place(row[0] < s.queries ? row[0] : 0)},
                                   {a, b, h, s.place(row[1] < s.queries ? row[1] : 0)}};
    float result[DEPTH / 8][4] = {};
    running_softmax softmax = {{-INFINITY, -INFINITY}, {0, 0}};

    for (int key = 0, turn = 0; key < s.keys; key += KEYS, turn ^= 1) {
        const int here = turn * KEYS * pitch, other = (turn ^ 1) * KEYS * pitch;
        const bool more = key + KEYS < s.keys;
        if (more) {
            load_tile<T, DEPTH, KEYS, threads>(k_tiles + other, k, a.k.row, key + KEYS, s.keys);
            load_tile<T, DEPTH, KEYS, threads>(v_tiles + other, v, a.v.row, key + KEYS, s.keys);
            if (by_keys) ahead.read(key_masks, s, key + KEYS);
        }
        copy_async_commit();
        tile_of_scores scores = {};
        multiply_keys<T, DEPTH>(scores, q, k_tiles + here);
        if (BY_ROWS)
            mask_by_rows(scores, a.scale, masks, s, key);
        else if (by_keys)
            mask_by_keys(scores, a.scale, a.mask_value, terms + turn * KEYS);
        else
            mask_by_keys(scores, a.scale, 0, nullptr);
        if (key + KEYS > s.keys) end_keys(scores, key, s.keys);
        float rescale[2];
        softmax.add(scores, rescale);
        multiply_values<T, DEPTH>(result, rescale, scores, v_tiles + here);
        if (by_keys && more) ahead.write(terms + (turn ^ 1) * KEYS);
        copy_async_wait<0>();
        __syncthreads(); /* the next tile is there for all, and this one is free */
    }
    store_rows<T, DEPTH>(a, s, row, result, softmax.sum);
}

/* ---- Plain ---------------------------------------------------------------------------------------------------------
 */

enum { PLAIN_KEYS = 32, PLAIN_WARPS = 4, ROWS = 8, CHUNK = 64 };

/* `rows` rows of columns [column, column + CHUNK) into shared memory as floats; zeros outside the head and from `end`.
 */
template <typename T>
static __device__ void load_chunk(float *tile, int pitch, const T *head, int64_t row_stride, int first, int rows,
                                  int end, int column, int depth) {
    for (int i = static_cast<int>(threadIdx.x); i < rows * CHUNK; i += PLAIN_WARPS * BERT_WARP) {
        const int row = i / CHUNK, at = i % CHUNK;
        const bool there = first + row < end && column + at < depth;
        tile[row * pitch + at] = there ? to_float(head[(first + row) * row_stride + column + at]) : 0.0F;
    }
}

/* Shared memory gives a warp a word for each lane at a time, so each access brings four floats where it can. Rows of K,
 * one for each lane, are longer by four, so that lanes which read at the same time read in different banks. */
using four_floats = bert_vector<float, 4>;
enum { K_PITCH = CHUNK + 4 };
static_assert(K_PITCH % 4 == 0 && CHUNK % 4 == 0 && PLAIN_KEYS % 4 == 0, "fours are aligned");

static __device__ inline four_floats load_four(const float *from) {
    return *reinterpret_cast<const four_floats *>(from);
}

/* What a block of plain_kernel has of Q, K and V. */
struct plain_tiles {
    float *q, *k, *v;
};

/* Products of the warp's queries with the lane's key of a tile, not scaled. All threads of the block take part; the
 * tiles of K and V, and with the first tile of Q, are there for all afterwards. */
template <typename T>
static __device__ void tile_scores(const bert_cuda_attention_args &a, const sequence &s, const plain_tiles &tiles,
                                   int first, int key, float *scores) {
    constexpr int queries = PLAIN_WARPS * ROWS;
    const T *const q = static_cast<const T *>(a.q.data) + s.q, *const k = static_cast<const T *>(a.k.data) + s.k;
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;
    const int depth = static_cast<int>(a.depth);
    BERT_UNROLL
    for (int r = 0; r < ROWS; r++) scores[r] = 0;
    for (int column = 0; column < depth; column += CHUNK) {
        if (key == 0 || depth > CHUNK) load_chunk(tiles.q, CHUNK, q, a.q.row, first, queries, s.queries, column, depth);
        load_chunk(tiles.k, K_PITCH, k, a.k.row, key, PLAIN_KEYS, s.keys, column, depth);
        __syncthreads();
        const int end = depth - column < CHUNK ? depth - column : CHUNK; /* zeros lie from there to a multiple of 4 */
        for (int d = 0; d < end; d += 4) {
            const four_floats elements = load_four(tiles.k + lane * K_PITCH + d);
            BERT_UNROLL
            for (int r = 0; r < ROWS; r++) {
                const four_floats query = load_four(tiles.q + (warp * ROWS + r) * CHUNK + d);
                BERT_UNROLL
                for (int i = 0; i < 4; i++) scores[r] += query.at[i] * elements.at[i];
            }
        }
        if (column + CHUNK < depth) __syncthreads();
    }
}

/* The score of a query and a key as the softmax takes it; RARE: capped, or shown on the way, where that is asked for.
 */
template <typename T, bool RARE>
static __device__ inline float finished(const bert_cuda_attention_args &a, const row_masks<T> &masks, const sequence &s,
                                        float score, int key, T *shown) {
    score *= a.scale;
    if (!RARE) return masks.apply(score, s.place(key));
    if (shown && a.form == BERT_CUDA_SCORES_RAW) shown[key] = from_float<T>(score);
    if (a.softcap > 0) score = a.softcap * tanhf(score / a.softcap);
    if (shown && a.form == BERT_CUDA_SCORES_CAPPED) shown[key] = from_float<T>(score);
    score = masks.apply(score, s.place(key));
    if (shown && a.form == BERT_CUDA_SCORES_MASKED) shown[key] = from_float<T>(score);
    return score;
}

/* Row `row` of the scores that are asked for; NULL where they aren't, or another block of the same queries has them. */
template <typename T>
static __device__ inline T *shown_row(const bert_cuda_attention_args &a, int64_t b, int64_t h, int chunk, int row) {
    if (!a.scores || chunk) return nullptr;
    return static_cast<T *>(a.scores) + ((b * a.heads + h) * a.queries + row) * a.keys;
}

/* A second turn over the keys: the weights, now that what they are divided by is known. */
template <typename T>
static __device__ void show_weights(const bert_cuda_attention_args &a, const sequence &s, const plain_tiles &tiles,
                                    int64_t b, int64_t h, int first, const float *greatest, const float *sum) {
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;
    float scores[ROWS];
    for (int key = 0; key < s.keys; key += PLAIN_KEYS) {
        tile_scores<T>(a, s, tiles, first, key, scores);
        BERT_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const int row = first + warp * ROWS + r;
            if (row >= s.queries || key + lane >= s.keys) continue;
            T *const shown = shown_row<T>(a, b, h, 0, row);
            const float score =
                finished<T, true>(a, row_masks<T>(a, b, h, s.place(row)), s, scores[r], key + lane, shown);
            const float factor = row_factor(sum[r], false, a.zero_rows);
            shown[key + lane] = from_float<T>(factor == 0.0F ? 0.0F : weight(score, greatest[r]) * factor);
        }
        __syncthreads();
    }
}

/* Adds the warp's rows of weights, [ROWS, PLAIN_KEYS], times a tile of V to the lane's two columns of results. */
static __device__ inline void add_values(const float *weights, const float *v_tile, int lane, float result[ROWS][2]) {
    for (int key = 0; key < PLAIN_KEYS; key += 4) {
        float v[4][2];
        BERT_UNROLL
        for (int i = 0; i < 4; i++) {
            v[i][0] = v_tile[(key + i) * CHUNK + lane];
            v[i][1] = v_tile[(key + i) * CHUNK + lane + BERT_WARP];
        }
        BERT_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const four_floats share = load_four(weights + r * PLAIN_KEYS + key);
            BERT_UNROLL
            for (int i = 0; i < 4; i++) {
                result[r][0] += share.at[i] * v[i][0];
                result[r][1] += share.at[i] * v[i][1];
            }
        }
    }
}

/* RARE: with scores that are capped or shown, whose code would cost all others registers. */
template <typename T, bool RARE>
static __global__ void __launch_bounds__(PLAIN_WARPS *BERT_WARP)
    plain_kernel(bert_cuda_attention_args a, int first_sequence, int chunks) {
    begin_kernel();
    constexpr int queries = PLAIN_WARPS * ROWS;
    BERT_SHARED(float, q_tile, queries *CHUNK);
    BERT_SHARED(float, k_tile, PLAIN_KEYS *K_PITCH);
    BERT_SHARED(float, v_tile, PLAIN_KEYS *CHUNK);
    BERT_SHARED(float, weights, queries *PLAIN_KEYS); /* each warp has rows of its own */
    const plain_tiles tiles = {q_tile, k_tile, v_tile};
    const int64_t b = blockIdx.z / static_cast<unsigned>(chunks), h = blockIdx.y;
    const int chunk = static_cast<int>(blockIdx.z % static_cast<unsigned>(chunks));
    const int value_depth = static_cast<int>(a.value_depth);
    const sequence s = sequence_of(a, b, h, first_sequence);
    const int first = static_cast<int>(blockIdx.x) * queries;
    if (first >= s.queries) return;
    const T *const v = static_cast<const T *>(a.v.data) + s.v;
    const int lane = static_cast<int>(threadIdx.x) % BERT_WARP, warp = static_cast<int>(threadIdx.x) / BERT_WARP;
    float result[ROWS][2] = {}, greatest[ROWS], sum[ROWS] = {}, scores[ROWS];
    BERT_UNROLL
    for (int r = 0; r < ROWS; r++) greatest[r] = -INFINITY;

    for (int key = 0; key < s.keys; key += PLAIN_KEYS) {
        load_chunk(v_tile, CHUNK, v, a.v.row, key, PLAIN_KEYS, s.keys, chunk * CHUNK, value_depth);
        tile_scores<T>(a, s, tiles, first, key, scores);
        BERT_UNROLL
        for (int r = 0; r < ROWS; r++) {
            const int row = first + warp * ROWS + r;
            float *const place = weights + (warp * ROWS + r) * PLAIN_KEYS + lane;
            if (row >= s.queries) { /* the same for all lanes */
                *place = 0;
                continue;
            }
            float score = -INFINITY;
            if (key + lane < s.keys)
                score = finished<T, RARE>(a, row_masks<T>(a, b, h, s.place(row)), s, scores[r], key + lane,
                                          RARE ? shown_row<T>(a, b, h, chunk, row) : nullptr);
            const float most = fmaxf(greatest[r], warp_max(score));
            const float rescale = weight(greatest[r], most), p = weight(score, most);
            greatest[r] = most;
            sum[r] = sum[r] * rescale + warp_sum(p);
            result[r][0] *= rescale;
            result[r][1] *= rescale;
            *place = p;
        }
        __syncwarp();
        if (first + warp * ROWS < s.queries) add_values(weights + warp * ROWS * PLAIN_KEYS, v_tile, lane, result);
        __syncthreads();
    }
    for (int r = 0; r < ROWS; r++) {
        const int row = first + warp * ROWS + r;
        if (row >= s.queries) break;
        const float factor = row_factor(sum[r], s.keys == 0, a.zero_rows);
        T *y = static_cast<T *>(a.y) + s.y + row * a.y_row;
        row_range range;
        BERT_UNROLL
        for (int half = 0; half < 2; half++) {
            const int column = chunk * CHUNK + lane + half * BERT_WARP;
            if (column >= value_depth) continue;
            const T rounded = from_float<T>(factor == 0.0F ? 0.0F : result[r][half] * factor);
            y[column] = rounded;
            range.add(to_float(rounded));
        }
        if (!a.ranges) continue;
        range.join_lanes(BERT_WARP);
        if (lane == 0) range.store(a.ranges + ((s.row + row) * a.heads + h) * chunks + chunk);
    }
    if (RARE && a.form == BERT_CUDA_SCORES_WEIGHTS && a.scores && chunk == 0)
        show_weights<T>(a, s, tiles, b, h, first, greatest, sum);
}

/* ---- Choosing ------------------------------------------------------------------------------------------------------
 */

/* What the plain kernel alone has; else whether rows can be copied by 16 bytes, and results written by 4. */
static bool suits_tensor_cores(const bert_cuda_attention_args *a) {
    const bert_cuda_heads *const heads[] = {&a->q, &a->k, &a->v};
    if (a->value_depth != a->depth || a->softcap > 0 || a->scores) return false;
    for (const bert_cuda_heads *x : heads) {
        if (reinterpret_cast<uintptr_t>(x->data) % 16 || x->head % 8 || x->row % 8) return false;
        if (!a->offsets && x->batch % 8) return false;
    }
    return reinterpret_cast<uintptr_t>(a->y) % 4 == 0 && a->y_head % 2 == 0 && a->y_row % 2 == 0 &&
           (a->offsets || a->y_batch % 2 == 0);
}

template <typename T, int DEPTH, bool BY_ROWS>
static cudaError_t launch_tensor(const bert_cuda_attention_args *a, int first_sequence, cudaStream_t stream) {
    const unsigned heads = static_cast<unsigned>(a->heads), batch = static_cast<unsigned>(a->batch);
    if (a->queries > 2 * WARP_QUERIES)
        return BERT_LAUNCH((tensor_kernel<T, DEPTH, 4, BY_ROWS>),
                           dim3(bert_blocks(a->queries, 4 * WARP_QUERIES, INT32_MAX), heads, batch),
                           dim3(4 * BERT_WARP), 0, stream, *a, first_sequence);
    return BERT_LAUNCH((tensor_kernel<T, DEPTH, 1, BY_ROWS>),
                       dim3(bert_blocks(a->queries, WARP_QUERIES, INT32_MAX), heads, batch), dim3(BERT_WARP), 0, stream,
                       *a, first_sequence);
}

template <typename T, int DEPTH>
static cudaError_t launch_masked(const bert_cuda_attention_args *a, int first_sequence, cudaStream_t stream) {
    const bool by_rows = (a->bias && a->bias_at[2] != 0) || (a->mask && a->mask_at[2] != 0);
    return by_rows ? launch_tensor<T, DEPTH, true>(a, first_sequence, stream)
                   : launch_tensor<T, DEPTH, false>(a, first_sequence, stream);
}

template <typename T>
static cudaError_t launch_plain(const bert_cuda_attention_args *a, int first_sequence, cudaStream_t stream) {
    const unsigned chunks = bert_blocks(a->value_depth, CHUNK);
    const dim3 grid(bert_blocks(a->queries, PLAIN_WARPS * ROWS, INT32_MAX), static_cast<unsigned>(a->heads),
                    static_cast<unsigned>(a->batch) * chunks);
    const dim3 block(PLAIN_WARPS * BERT_WARP);
    const int parts = static_cast<int>(chunks);
    if (a->softcap > 0 || a->scores)
        return BERT_LAUNCH((plain_kernel<T, true>), grid, block, 0, stream, *a, first_sequence, parts);
    return BERT_LAUNCH((plain_kernel<T, false>), grid, block, 0, stream, *a, first_sequence, parts);
}

template <typename T>
static cudaError_t launch_narrow(const bert_cuda_attention_args *a, int first_sequence, cudaStream_t stream) {
    if (a->depth == 64 && suits_tensor_cores(a)) return launch_masked<T, 64>(a, first_sequence, stream);
    if (a->depth == 32 && suits_tensor_cores(a)) return launch_masked<T, 32>(a, first_sequence, stream);
    return launch_plain<T>(a, first_sequence, stream);
}

/* A grid has at most 65,535 blocks along y and z: longer batches go in parts. */
static cudaError_t launch_part(const bert_cuda_attention_args *a, int first_sequence, cudaStream_t stream) {
    switch (a->dtype) {
    case BERT_FLOAT:
        return launch_plain<float>(a, first_sequence, stream);
    case BERT_FLOAT16:
        return launch_narrow<__half>(a, first_sequence, stream);
    default:
        return launch_narrow<__nv_bfloat16>(a, first_sequence, stream);
    }
}

static const void *advanced(const bert_cuda_attention_args *a, const void *data, int64_t elements, size_t size) {
    return data ? static_cast<const char *>(data) + elements * static_cast<int64_t>(size) : nullptr;
}

static bool is_allowed(const bert_cuda_attention_args *a) {
    const int64_t rows = INT32_MAX - 64, depth = 1 << 20;
    if (a->batch < 0 || a->heads < 0 || a->heads > 65535 || a->depth < 0 || a->depth > depth) return false;
    if (a->value_depth < 0 || a->value_depth > depth || (a->depth == 0 && a->value_depth > 0) || a->group < 0 ||
        a->group > INT32_MAX || (a->scores && a->offsets))
        return false;
    return a->queries >= 0 && a->queries <= rows && a->keys >= 0 && a->keys <= rows;
}

cudaError_t bert_cuda_attention(const bert_cuda_attention_args *args, cudaStream_t stream) {
    if (args->dtype != BERT_FLOAT && args->dtype != BERT_FLOAT16 && args->dtype != BERT_BFLOAT16)
        return cudaErrorInvalidValue;
    if (!is_allowed(args)) return cudaErrorInvalidValue;
    bert_cuda_attention_args whole = *args;
    if (whole.group == 0) whole.group = 1;
    if (whole.value_depth == 0) whole.value_depth = whole.depth;
    if (whole.batch == 0 || whole.heads == 0 || whole.value_depth == 0 || whole.queries == 0) return cudaSuccess;
    const size_t size = whole.dtype == BERT_FLOAT ? 4 : 2;
    const int64_t most = 65535 / ((whole.value_depth + CHUNK - 1) / CHUNK);
    if (most < 1) return cudaErrorInvalidValue;
    for (int64_t first = 0; first < args->batch; first += most) {
        bert_cuda_attention_args part = whole;
        part.batch = args->batch - first < most ? args->batch - first : most;
        if (args->offsets) {
            part.offsets += first;
        } else {
            part.q.data = advanced(args, args->q.data, first * args->q.batch, size);
            part.k.data = advanced(args, args->k.data, first * args->k.batch, size);
            part.v.data = advanced(args, args->v.data, first * args->v.batch, size);
            part.y = const_cast<void *>(advanced(args, args->y, first * args->y_batch, size));
            if (args->ranges)
                part.ranges += first * args->queries * bert_cuda_attention_ranges(args->heads, whole.value_depth);
        }
        part.bias = advanced(args, args->bias, first * args->bias_at[0], args->wide_bias ? sizeof(float) : size);
        const int64_t before = first * args->heads * args->queries * args->keys;
        part.scores = const_cast<void *>(advanced(args, args->scores, before, size));
        if (args->mask) part.mask += first * args->mask_at[0];
        const cudaError_t error = launch_part(&part, static_cast<int>(first), stream);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}
