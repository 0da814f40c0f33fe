/*
 * A warp a token, the sum of its table rows in registers (row_registers.h), LayerNorm over them, one write. The reads
 * of the word table are as random as words are, but each is a whole row. Wide or unaligned tables go through a kernel
 * with a block a token that gathers anew in every pass.
 */
#include "cuda/ops/embedding.h"

#include "core/graph/canonical.h"
#include "cuda/ops/index_check.h"
#include "cuda/ops/row_registers.h"

template <typename T> struct embedding {
    bert_cuda_embedding_table tables[3]; /* word, type, position */
    const T *gamma, *beta;
    const int32_t *sources;
    T *y;
    bert_cuda_range *ranges;
    int64_t tokens, length;
    int width;
    float epsilon;
    bert_cuda_index_check check;
};

/* The row of table `which` that the token takes; NULL where there is no such table. */
template <typename T> static __device__ const T *row_of(const embedding<T> &a, int which, int64_t token) {
    static_assert(BERT_EMBEDDING_POSITION_IDS == 2 && BERT_EMBEDDING_TYPE_IDS == 4, "inputs of Embedding");
    const int input = which == 0 ? 0 : which == 1 ? 4 : 2;
    const bert_cuda_embedding_table &table = a.tables[which];
    if (!table.ids) return nullptr;
    const int64_t source = a.sources ? a.sources[token] : token;
    const int64_t at = source / a.length * table.batch_stride + source % a.length * table.token_stride;
    const int64_t id = checked_index(load_index(table.ids, table.id_type, at), table.rows, at, input, a.check);
    return static_cast<const T *>(table.table) + id * a.width;
}

template <typename T> static __global__ void __launch_bounds__(128) warp_token_kernel(embedding<T> a) {
    const int64_t warps = blockDim.x / BERT_WARP;
    const int64_t token = blockIdx.x * warps + threadIdx.x / BERT_WARP;
    if (token >= a.tokens) return;
    bert_row<T> values;
    values.clear();
    for (int which = 0; which < 3; which++) {
        const T *row = row_of(a, which, token);
        if (row) values.add(row, a.width);
    }
    if (a.gamma) {
        float mean, deviation;
        values.statistics(a.width, a.epsilon, false, &mean, &deviation);
        values.normalize(a.width, mean, deviation, a.gamma, a.beta);
    }
    values.store(a.y + token * a.width, a.width);
    if (a.ranges) values.range(a.width, a.ranges + token);
}

template <typename T> static __global__ void __launch_bounds__(128) block_token_kernel(embedding<T> a) {
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int step = static_cast<int>(blockDim.x), from = static_cast<int>(threadIdx.x);
    for (int64_t token = blockIdx.x; token < a.tokens; token += gridDim.x) {
        const T *rows[3];
        for (int which = 0; which < 3; which++) rows[which] = row_of(a, which, token);
        const auto summed = [&rows](int column) {
            float value = 0;
            for (int which = 0; which < 3; which++)
                if (rows[which]) value += to_float(rows[which][column]);
            return value;
        };
        float mean = 0, deviation = 1, sum = 0, squares = 0, least = 0, most = 0;
        if (a.gamma) {
            for (int i = from; i < a.width; i += step) sum += summed(i);
            mean = block_sum(sum, scratch) / static_cast<float>(a.width);
            for (int i = from; i < a.width; i += step) squares += (summed(i) - mean) * (summed(i) - mean);
            deviation = 1.0F / sqrtf(block_sum(squares, scratch) / static_cast<float>(a.width) + a.epsilon);
        }
        for (int i = from; i < a.width; i += step) {
            float value = summed(i);
            if (a.gamma) value = (value - mean) * deviation * to_float(a.gamma[i]) + to_float(a.beta[i]);
            const T rounded = from_float<T>(value);
            a.y[token * a.width + i] = rounded;
            least = fminf(least, to_float(rounded));
            most = fmaxf(most, to_float(rounded));
        }
        if (!a.ranges) continue;
        least = -block_max(-least, scratch);
        most = block_max(most, scratch);
        if (from == 0) {
            a.ranges[token].least = least;
            a.ranges[token].most = most;
        }
    }
}

template <typename T> static bool vectors_fit(const embedding<T> &a) {
    constexpr int N = bert_row<T>::N;
    bool fit = a.width <= BERT_ROW_MOST && bert_vectors_fit<N>(a.width, a.gamma) &&
               bert_vectors_fit<N>(a.width, a.beta) && bert_vectors_fit<N>(a.width, a.y);
    for (const bert_cuda_embedding_table &table : a.tables)
        fit = fit && (!table.ids || bert_vectors_fit<N>(a.width, static_cast<const T *>(table.table)));
    return fit;
}

template <typename T> static cudaError_t launch(const bert_cuda_embedding_args *args, cudaStream_t stream) {
    embedding<T> a = {};
    a.tables[0] = args->word;
    a.tables[1] = args->type;
    a.tables[2] = args->position;
    a.gamma = static_cast<const T *>(args->gamma);
    a.beta = static_cast<const T *>(args->beta);
    a.sources = args->sources;
    a.y = static_cast<T *>(args->y);
    a.ranges = args->ranges;
    a.tokens = args->sources ? args->tokens : args->batch * args->length;
    a.length = args->length;
    a.width = static_cast<int>(args->width);
    a.epsilon = args->epsilon;
    a.check = args->check;
    if (a.tokens == 0 || a.width == 0) return cudaSuccess;
    if (!vectors_fit(a))
        return BERT_LAUNCH((block_token_kernel<T>), dim3(bert_blocks(a.tokens, 1)), dim3(128), 0, stream, a);
    const int warps = bert_row_warps(a.tokens);
    return BERT_LAUNCH((warp_token_kernel<T>), dim3(bert_blocks(a.tokens, warps, INT32_MAX)), dim3(warps * BERT_WARP),
                       0, stream, a);
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
