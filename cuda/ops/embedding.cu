/*
 * A warp a token, the sum of its table rows in registers (row_registers.h), LayerNorm over them, one write. Ids come
 * first, then all three rows, gamma and beta together. The reads of the word table are as random as words are, but each
 * is a whole row. Wide or unaligned tables go through a kernel with a block a token that gathers anew in every pass.
 */
#include "cuda/ops/embedding.h"

#include "core/graph/canonical.h"
#include "cuda/ops/index_check.h"
#include "cuda/ops/row_registers.h"

/* T rows, P parameters. */
template <typename T, typename P> struct embedding {
    bert_cuda_embedding_table tables[3]; /* word, type, position */
    const P *gamma, *beta;
    const int32_t *sources;
    T *y;
    uint16_t *y_lower;
    bert_cuda_range *ranges;
    bert_cuda_e4m3_rows e4m3;
    bool y_unread;
    int64_t tokens, length;
    int width;
    float epsilon;
    bert_cuda_index_check check;
};

/* The rows of the tables that the token takes; NULL where there is no such table. */
template <typename T, typename P> struct table_rows {
    const P *at[3];

    __device__ table_rows(const embedding<T, P> &a, int64_t token) {
        static_assert(BERT_EMBEDDING_POSITION_IDS == 2 && BERT_EMBEDDING_TYPE_IDS == 4, "inputs of Embedding");
        const int inputs[3] = {0, 4, 2};
        const int64_t source = a.sources ? a.sources[token] : token;
        const int64_t sequence = source / a.length, place = source % a.length;
        BERT_UNROLL
        for (int i = 0; i < 3; i++) {
            const bert_cuda_embedding_table &table = a.tables[i];
            at[i] = nullptr;
            if (!table.ids) continue;
            const int64_t from = sequence * table.batch_stride + place * table.token_stride;
            const int64_t id = load_index(table.ids, table.id_type, from);
            at[i] =
                static_cast<const P *>(table.table) + checked_index(id, table.rows, from, inputs[i], a.check) * a.width;
        }
    }
};

template <typename T, typename P, typename W>
static __global__ void __launch_bounds__(BERT_ROW_THREADS, W::blocks) warp_token_kernel(embedding<T, P> a) {
    begin_kernel();
    const int64_t warps = blockDim.x / BERT_WARP;
    const int64_t token = blockIdx.x * warps + threadIdx.x / BERT_WARP;
    if (token >= a.tokens) return;
    bert_row<T, W> values(a.width);
    const table_rows<T, P> rows(a, token);
    const auto word = values.load(rows.at[0]), type = values.load(rows.at[1]), position = values.load(rows.at[2]);
    const auto gamma = values.load(a.gamma), beta = values.load(a.beta);
    values.add(word);
    values.add(type);
    values.add(position);
    if (a.gamma) {
        float mean, deviation;
        values.statistics(a.epsilon, false, &mean, &deviation);
        values.normalize(mean, deviation, gamma, beta);
    }
    const int64_t at = token * values.width;
    if (!a.y_unread) values.store(a.y, a.y_lower, at);
    if (a.e4m3.bytes) values.store_e4m3(a.e4m3, token);
    if (a.ranges) values.range(a.y_lower != nullptr, a.ranges + token);
}

template <typename T, typename P> static __global__ void __launch_bounds__(128) block_token_kernel(embedding<T, P> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int step = static_cast<int>(blockDim.x), from = static_cast<int>(threadIdx.x);
    for (int64_t token = blockIdx.x; token < a.tokens; token += gridDim.x) {
        const table_rows<T, P> rows(a, token);
        const auto summed = [&rows](int column) {
            float value = 0;
            for (const P *row : rows.at)
                if (row) value += to_float(row[column]);
            return value;
        };
        float mean = 0, deviation = 1, sum = 0, squares = 0;
        row_range range;
        if (a.gamma) {
            for (int i = from; i < a.width; i += step) sum += summed(i);
            mean = block_sum(sum, scratch) / static_cast<float>(a.width);
            for (int i = from; i < a.width; i += step) squares += (summed(i) - mean) * (summed(i) - mean);
            deviation = 1.0F / sqrtf(block_sum(squares, scratch) / static_cast<float>(a.width) + a.epsilon);
        }
        for (int i = from; i < a.width; i += step) {
            float value = summed(i);
            if (a.gamma) value = (value - mean) * deviation * to_float(a.gamma[i]) + to_float(a.beta[i]);
            range.add(store_element(a.y, a.y_lower, token * a.width + i, value));
        }
        if (a.e4m3.bytes)
            write_e4m3_row<T, 1>(a.y + token * a.width, a.width, block_max(range.magnitude(), scratch), a.e4m3, token);
        if (!a.ranges) continue;
        range.join_block(scratch);
        if (from == 0) range.store(a.ranges + token);
    }
}

template <typename T, typename P> static bool vectors_fit(const embedding<T, P> &a) {
    constexpr int N = bert_row_vector<T>::N;
    bool fit = a.width <= BERT_ROW_MOST && bert_vectors_fit<N>(a.width, a.gamma) &&
               bert_vectors_fit<N>(a.width, a.beta) && bert_vectors_fit<N>(a.width, a.y) &&
               bert_vectors_fit<N>(a.width, a.y_lower) && bert_vectors_fit<N>(a.width, a.e4m3.bytes);
    for (const bert_cuda_embedding_table &table : a.tables)
        fit = fit && (!table.ids || bert_vectors_fit<N>(a.width, static_cast<const P *>(table.table)));
    return fit;
}

template <typename T, typename P> static cudaError_t launch(const bert_cuda_embedding_args *args, cudaStream_t stream) {
    embedding<T, P> a = {};
    a.tables[0] = args->word;
    a.tables[1] = args->type;
    a.tables[2] = args->position;
    a.gamma = static_cast<const P *>(args->gamma);
    a.beta = static_cast<const P *>(args->beta);
    a.sources = args->sources;
    a.y = static_cast<T *>(args->y);
    a.y_lower = args->y_lower;
    a.ranges = args->ranges;
    a.e4m3 = args->e4m3;
    a.y_unread = args->y_unread && args->e4m3.bytes;
    a.tokens = args->sources ? args->tokens : args->batch * args->length;
    a.length = args->length;
    a.width = static_cast<int>(args->width);
    a.epsilon = args->epsilon;
    a.check = args->check;
    if (a.tokens == 0 || a.width == 0) return cudaSuccess;
    if (!vectors_fit(a))
        return BERT_LAUNCH((block_token_kernel<T, P>), dim3(bert_blocks(a.tokens, 1)), dim3(128), 0, stream, a);
    const int warps = bert_row_warps(a.tokens);
    return bert_launch_row_kernel(a.width, [&](auto columns) {
        return BERT_LAUNCH((warp_token_kernel<T, P, decltype(columns)>), dim3(bert_blocks(a.tokens, warps, INT32_MAX)),
                           dim3(warps * BERT_WARP), 0, stream, a);
    });
}

static bool allowed(const bert_cuda_embedding_table *table) {
    if (!table->ids) return true;
    return table->table && table->rows > 0 && (table->id_type == BERT_INT32 || table->id_type == BERT_INT64);
}

cudaError_t bert_cuda_embedding(const bert_cuda_embedding_args *args, cudaStream_t stream) {
    if (args->batch < 0 || args->length < 0 || args->width < 0 || args->width > INT32_MAX || args->tokens < 0)
        return cudaErrorInvalidValue;
    if (!allowed(&args->word) || !allowed(&args->type) || !allowed(&args->position) || !args->gamma != !args->beta)
        return cudaErrorInvalidValue;
    if ((args->float_parameters || args->y_lower) && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    if (args->e4m3.bytes && args->y_lower) return cudaErrorInvalidValue;
    switch (args->dtype) {
    case BERT_FLOAT:
        return launch<float, float>(args, stream);
    case BERT_FLOAT16:
        return launch<__half, __half>(args, stream);
    case BERT_BFLOAT16:
        return args->float_parameters ? launch<__nv_bfloat16, float>(args, stream)
                                      : launch<__nv_bfloat16, __nv_bfloat16>(args, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
