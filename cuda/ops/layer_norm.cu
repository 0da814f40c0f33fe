/*
 * LayerNorm is bound by memory: a row is read once and written once, and what matters is how. Rows of up to 1,024
 * elements, which every BERT has, stay in the registers of one warp (row_registers.h) between the two passes of the
 * variance: no shared memory, no barrier, and one wait for all that is read. Longer or unaligned ones go through a
 * kernel with a block a row that computes the sum of x, bias and residual anew in every pass; the second and third find
 * them in the caches.
 *
 * In bfloat16 plans the residual is float32 in halves (halves.h): with a product of 2 bytes an element, 4 of the
 * residual, and 4 of y, a row moves 10 bytes an element where it would move 6, and its gamma and beta, in float32, come
 * from the caches. Products read 2 of the 4, as ever. A residual that the product adds itself (beta 1) would spare this
 * kernel a read and cost the product the same one; it would be rounded to what the product writes, here 16 bits.
 */
#include "cuda/ops/layer_norm.h"

#include "cuda/ops/row_registers.h"

/* Pointers of the arguments, typed: T rows, P parameters. */
template <typename T, typename P> struct layer_norm_rows {
    const T *x, *residual;
    const P *bias, *gamma, *beta;
    T *sum, *y;
    const uint16_t *x_lower, *residual_lower;
    uint16_t *sum_lower, *y_lower;
    float *mean, *deviation;
    bert_cuda_range *ranges;
    bert_cuda_e4m3_rows e4m3;
    bool y_unread;
    int64_t rows;
    int width;
    float epsilon;
    bool simplified;
};

template <typename T, typename P, typename W>
static __global__ void __launch_bounds__(BERT_ROW_THREADS, W::blocks) warp_row_kernel(layer_norm_rows<T, P> a) {
    begin_kernel();
    const int64_t warps = blockDim.x / BERT_WARP;
    const int64_t row = blockIdx.x * warps + threadIdx.x / BERT_WARP;
    if (row >= a.rows) return;
    bert_row<T, W> values(a.width);
    const int64_t at = row * values.width;
    const bool first = threadIdx.x % BERT_WARP == 0;
    const auto x = values.load(a.x, a.x_lower, at);
    const auto residual = values.load(a.residual, a.residual_lower, at);
    const auto bias = values.load(a.bias), gamma = values.load(a.gamma), beta = values.load(a.beta);
    values.add(x);
    values.add(bias);
    values.add(residual);
    if (a.sum) values.store(a.sum, a.sum_lower, at);
    float mean, deviation;
    values.statistics(a.epsilon, a.simplified, &mean, &deviation);
    values.normalize(mean, deviation, gamma, beta);
    if (!a.y_unread) values.store(a.y, a.y_lower, at);
    if (a.e4m3.bytes) values.store_e4m3(a.e4m3, row);
    if (a.mean && first) a.mean[row] = mean;
    if (a.deviation && first) a.deviation[row] = deviation;
    if (a.ranges) values.range(a.y_lower != nullptr, a.ranges + row);
}

template <typename T, typename P>
static __device__ float summed(const layer_norm_rows<T, P> &a, int64_t row, int column) {
    const int64_t at = row * a.width + column;
    float value = load_element(a.x, a.x_lower, at);
    if (a.bias) value += to_float(a.bias[column]);
    if (a.residual) value += load_element(a.residual, a.residual_lower, at);
    return value;
}

/* A block a row. Each thread writes, in its last pass, only elements that it alone has read: y and sum may be x. Of
 * three blocks a multiprocessor a thread has the registers that it wants; left alone, nvcc gives float ones fewer, and
 * spills. */
template <typename T, typename P>
static __global__ void __launch_bounds__(256, 3) block_row_kernel(layer_norm_rows<T, P> a) {
    begin_kernel();
    BERT_SHARED(float, scratch, BERT_WARP + 1);
    const int step = static_cast<int>(blockDim.x), from = static_cast<int>(threadIdx.x);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        float sum = 0, squares = 0;
        row_range range;
        for (int i = from; i < a.width && !a.simplified; i += step) sum += summed(a, row, i);
        const float mean = a.simplified ? 0.0F : block_sum(sum, scratch) / static_cast<float>(a.width);
        for (int i = from; i < a.width; i += step) {
            const float distance = summed(a, row, i) - mean;
            squares += distance * distance;
        }
        const float variance = block_sum(squares, scratch) / static_cast<float>(a.width);
        const float deviation = 1.0F / sqrtf(variance + a.epsilon);
        for (int i = from; i < a.width; i += step) {
            const float value = summed(a, row, i);
            const float shift = a.beta ? to_float(a.beta[i]) : 0.0F;
            const float y = (value - mean) * deviation * to_float(a.gamma[i]) + shift;
            if (a.sum) store_element(a.sum, a.sum_lower, row * a.width + i, value);
            range.add(store_element(a.y, a.y_lower, row * a.width + i, y));
        }
        if (a.e4m3.bytes)
            write_e4m3_row<T, 1>(a.y + row * a.width, a.width, block_max(range.magnitude(), scratch), a.e4m3, row);
        if (a.ranges) range.join_block(scratch);
        if (from != 0) continue;
        if (a.mean) a.mean[row] = mean;
        if (a.deviation) a.deviation[row] = deviation;
        if (a.ranges) range.store(a.ranges + row);
    }
}

template <typename T, typename P>
static cudaError_t launch(const bert_cuda_layer_norm_args *args, cudaStream_t stream) {
    layer_norm_rows<T, P> a = {};
    a.x = static_cast<const T *>(args->x);
    a.residual = static_cast<const T *>(args->residual);
    a.bias = static_cast<const P *>(args->bias);
    a.gamma = static_cast<const P *>(args->gamma);
    a.beta = static_cast<const P *>(args->beta);
    a.sum = static_cast<T *>(args->sum);
    a.y = static_cast<T *>(args->y);
    a.x_lower = args->x_lower;
    a.residual_lower = args->residual_lower;
    a.sum_lower = args->sum_lower;
    a.y_lower = args->y_lower;
    a.mean = args->mean;
    a.deviation = args->deviation;
    a.ranges = args->ranges;
    a.e4m3 = args->e4m3;
    a.y_unread = args->y_unread && args->e4m3.bytes;
    a.rows = args->rows;
    a.width = static_cast<int>(args->width);
    a.epsilon = args->epsilon;
    a.simplified = args->simplified;
    constexpr int N = bert_row_vector<T>::N;
    const bool vectors = a.width <= BERT_ROW_MOST && bert_vectors_fit<N>(a.width, a.x) &&
                         bert_vectors_fit<N>(a.width, a.residual) && bert_vectors_fit<N>(a.width, a.bias) &&
                         bert_vectors_fit<N>(a.width, a.gamma) && bert_vectors_fit<N>(a.width, a.beta) &&
                         bert_vectors_fit<N>(a.width, a.sum) && bert_vectors_fit<N>(a.width, a.y) &&
                         bert_vectors_fit<N>(a.width, a.x_lower) && bert_vectors_fit<N>(a.width, a.residual_lower) &&
                         bert_vectors_fit<N>(a.width, a.sum_lower) && bert_vectors_fit<N>(a.width, a.y_lower) &&
                         bert_vectors_fit<N>(a.width, a.e4m3.bytes);
    if (!vectors) return BERT_LAUNCH((block_row_kernel<T, P>), dim3(bert_blocks(a.rows, 1)), dim3(256), 0, stream, a);
    const int warps = bert_row_warps(a.rows);
    return bert_launch_row_kernel(a.width, [&](auto columns) {
        return BERT_LAUNCH((warp_row_kernel<T, P, decltype(columns)>), dim3(bert_blocks(a.rows, warps, INT32_MAX)),
                           dim3(warps * BERT_WARP), 0, stream, a);
    });
}

cudaError_t bert_cuda_layer_norm(const bert_cuda_layer_norm_args *args, cudaStream_t stream) {
    const bool mixed =
        args->float_parameters || args->x_lower || args->residual_lower || args->sum_lower || args->y_lower;
    if (args->rows < 0 || args->width < 0 || args->width > INT32_MAX) return cudaErrorInvalidValue;
    if (mixed && args->dtype != BERT_BFLOAT16) return cudaErrorInvalidValue;
    if (args->e4m3.bytes && args->y_lower) return cudaErrorInvalidValue;
    if (args->rows == 0 || args->width == 0) return cudaSuccess;
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
