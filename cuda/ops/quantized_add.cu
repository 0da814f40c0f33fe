/*
 * Each element is read and written once, in the place of five kernels that read what the one before wrote; memory
 * bounds it. A thread takes four neighbours of y, whose places in a and b cost one division for each dimension that is
 * left of those that both step over as over one: none where their shapes are equal. Quotients, sums and products are
 * spelled as intrinsics that round each step, as the operators do that this stands for: the compiler may not fuse them.
 */
#include "cuda/ops/quantized_add.h"

#include "cuda/ops/element.h"
#include "cuda/ops/halves.h"
#include "cuda/ops/quantized.h"

enum { THREADS = 256, VECTOR = 4, MOST_BLOCKS = 1 << 11 };

struct quantized_add {
    bert_cuda_quantized_add_args args;
    bert_cuda_walk walk; /* over vectors */
};

/* ---- The kernel ----------------------------------------------------------------------------------------------------
 */

/* A scale and zero point, and the bytes that there are. */
struct byte_scale {
    float scale;
    int zero_point, least, most;

    __device__ void load(const bert_cuda_byte_scale &from) {
        *this = {};
        if (!from.scale) return;
        const bool is_signed = from.byte_type == BERT_INT8;
        scale = load_as<float>(from.scale, from.scale_type, 0);
        zero_point =
            is_signed ? *static_cast<const int8_t *>(from.zero_point) : *static_cast<const uint8_t *>(from.zero_point);
        least = is_signed ? INT8_MIN : 0;
        most = is_signed ? INT8_MAX : UINT8_MAX;
    }
    __device__ int quantize(float x) const {
        return quantized(__fdiv_rn(x, scale), zero_point, least, most);
    }
    __device__ float dequantize(int byte) const {
        return __fmul_rn(static_cast<float>(byte - zero_point), scale);
    }
};

/* What vector `i` of y is made of: neighbours, or one element for all of it. */
template <typename T, int N>
static __device__ void load_addend(const quantized_add &q, const bert_cuda_operand &x, int64_t i, float *values) {
    const T *data = static_cast<const T *>(x.data);
    const int64_t at = offset_of(q.walk, x.strides, i);
    if (N == 1 || x.strides[q.walk.rank - 1] == 0) {
        const float value = load_element(data, x.lower, at);
        BERT_UNROLL
        for (int j = 0; j < N; j++) values[j] = value;
        return;
    }
    bert_elements<T, N> elements;
    elements.load(data, x.lower, at);
    BERT_UNROLL
    for (int j = 0; j < N; j++) values[j] = elements.get(j);
}

template <typename T, int N> static __global__ void __launch_bounds__(THREADS) quantized_add_kernel(quantized_add q) {
    begin_kernel();
    const bool quantizes_a = q.args.a_scale.scale != nullptr, quantizes_y = q.args.y_scale.scale != nullptr;
    const bool gives_bytes = quantizes_y && q.args.y_new_scale.scale == nullptr;
    byte_scale a_scale, a_new_scale, y_scale, y_new_scale;
    a_scale.load(q.args.a_scale);
    a_new_scale.load(q.args.a_new_scale);
    y_scale.load(q.args.y_scale);
    y_new_scale.load(q.args.y_new_scale);
    const int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < q.walk.count; i += step) {
        float a[N], b[N];
        bert_vector<uint8_t, N> bytes;
        bert_vector<T, N> floats;
        load_addend<T, N>(q, q.args.a, i, a);
        load_addend<T, N>(q, q.args.b, i, b);
        BERT_UNROLL
        for (int j = 0; j < N; j++) {
            if (quantizes_a) a[j] = a_new_scale.dequantize(a_scale.quantize(a[j]));
            const float sum = __fadd_rn(a[j], b[j]);
            const int byte = y_scale.quantize(sum);
            bytes.at[j] = static_cast<uint8_t>(byte);
            floats.at[j] = from_float<T>(quantizes_y ? y_new_scale.dequantize(byte) : sum);
        }
        if (gives_bytes)
            store_vector(static_cast<uint8_t *>(q.args.y) + i * N, bytes);
        else
            store_vector(static_cast<T *>(q.args.y) + i * N, floats);
    }
}

/* ---- Choosing ------------------------------------------------------------------------------------------------------
 */

static bool is_byte_scale(const bert_cuda_byte_scale *s) {
    const bool is_single = bert_dtype_is_float(s->scale_type) && s->scale_type != BERT_DOUBLE;
    return s->scale && s->zero_point && is_single && (s->byte_type == BERT_INT8 || s->byte_type == BERT_UINT8);
}

static bool is_allowed(const bert_cuda_quantized_add_args *a) {
    const bool halves = a->a.lower || a->b.lower;
    if (!a->a.data || !a->b.data || a->a.dtype != a->b.dtype || (halves && a->a.dtype != BERT_BFLOAT16)) return false;
    if (a->y_scale.scale && !is_byte_scale(&a->y_scale)) return false;
    if (a->y_new_scale.scale && !(a->y_scale.scale && is_byte_scale(&a->y_new_scale))) return false;
    if (!a->a_scale.scale && !a->a_new_scale.scale) return true;
    return is_byte_scale(&a->a_scale) && is_byte_scale(&a->a_new_scale);
}

/* Whether vectors of y are vectors of an input too, or one element of it each. */
template <typename T> static bool takes_vectors(const bert_cuda_walk &walk, const bert_cuda_operand &x) {
    const int32_t last = walk.rank - 1;
    if (x.strides[last] == 0) return true;
    bool fits = x.strides[last] == 1;
    for (int32_t i = 0; i < last; i++) fits = fits && x.strides[i] % VECTOR == 0;
    return fits && bert_vectors_fit<VECTOR>(walk.dims[last], static_cast<const T *>(x.data)) &&
           bert_vectors_fit<VECTOR>(walk.dims[last], x.lower);
}

/* Walks over vectors of y instead of its elements, if that can be. */
template <typename T> static bool widen(quantized_add *q) {
    bert_cuda_walk *walk = &q->walk;
    const int32_t last = walk->rank - 1;
    const bool floats = !q->args.y_scale.scale || q->args.y_new_scale.scale;
    if (last < 0 || !takes_vectors<T>(*walk, q->args.a) || !takes_vectors<T>(*walk, q->args.b)) return false;
    if (!bert_vectors_fit<VECTOR>(walk->dims[last], static_cast<const uint8_t *>(q->args.y))) return false;
    if (floats && !bert_vectors_fit<VECTOR>(walk->dims[last], static_cast<const T *>(q->args.y))) return false;
    q->args.a.strides[last] *= VECTOR;
    q->args.b.strides[last] *= VECTOR;
    walk->dims[last] /= VECTOR;
    walk->count /= VECTOR;
    return true;
}

template <typename T> static cudaError_t launch(quantized_add *q, cudaStream_t stream) {
    const bool vectors = widen<T>(q);
    const dim3 grid(bert_blocks(q->walk.count, THREADS, MOST_BLOCKS)), block(THREADS);
    if (vectors) return BERT_LAUNCH((quantized_add_kernel<T, VECTOR>), grid, block, 0, stream, *q);
    return BERT_LAUNCH((quantized_add_kernel<T, 1>), grid, block, 0, stream, *q);
}

cudaError_t bert_cuda_quantized_add(const bert_cuda_quantized_add_args *args, cudaStream_t stream) {
    quantized_add q = {};
    q.args = *args;
    if (!bert_walk_over(args->rank, args->dims, &q.walk)) return cudaErrorInvalidValue;
    if (q.walk.count == 0) return cudaSuccess;
    if (!is_allowed(args)) return cudaErrorInvalidValue;
    int64_t *const strides[] = {q.args.a.strides, q.args.b.strides};
    bert_join_dimensions(&q.walk, strides, 2);
    switch (args->a.dtype) {
    case BERT_FLOAT:
        return launch<float>(&q, stream);
    case BERT_FLOAT16:
        return launch<__half>(&q, stream);
    case BERT_BFLOAT16:
        return launch<__nv_bfloat16>(&q, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
