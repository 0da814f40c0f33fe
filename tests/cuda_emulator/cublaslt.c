/*
 * cuBLASLt as its documentation has it, in plain loops: matrices by columns, D = alpha op(A) op(B) + beta C, a bias
 * along the rows of D, a scale for each row of A and each column of B. It refuses what a Hopper GPU's library refuses:
 * attributes of another size, FP8 and int8 but for A transposed and B not, sizes that their kernels don't have. So what
 * cuda/gemm_cublas.c asks of the library is held against the references without a GPU.
 */
#include "tests/cuda_emulator/cublaslt.h"

#include "core/base/float16.h"
#include "tests/cuda_emulator/e4m3.h"
#include "tests/cuda_emulator/emulator.h"

#include <cublasLt.h>
#include <stdbool.h>
#include <stdlib.h>

/* Algorithms: the first needs no workspace, and fails when it is run with so many columns of D; the second needs it;
 * the third fails whenever it is run. */
enum { ALGORITHMS = 3, FIRST = 0, NEEDS_WORKSPACE = 1, FAILS = 2, WORKSPACE_BYTES = 1 << 20, FIRST_NAME = 1000 };
enum { REFUSED_ROWS = 33 };

struct cublasLtContext {
    int unused;
};

struct emulated_layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t pitch, stride;
    int32_t batch;
};

struct emulated_operation {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t transpose_a, transpose_b, a_mode, b_mode;
    uint32_t epilogue;
    int8_t fast_sums;
    const void *bias;
    const float *a_scale, *b_scale;
};

struct emulated_preference {
    uint64_t workspace;
    uint32_t schemes, alignments[4];
};

/* ---- Descriptions --------------------------------------------------------------------------------------------------
 */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion(void) {
    return CUBLAS_VERSION;
}
const char *cublasLtGetStatusName(cublasStatus_t status) {
    return status == CUBLAS_STATUS_NOT_SUPPORTED    ? "CUBLAS_STATUS_NOT_SUPPORTED"
           : status == CUBLAS_STATUS_INTERNAL_ERROR ? "CUBLAS_STATUS_INTERNAL_ERROR"
                                                    : "CUBLAS_STATUS_INVALID_VALUE";
}

static cublasStatus_t set(void *attribute, size_t bytes, const void *value, size_t given) {
    if (given != bytes) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(attribute, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}
#define SET(attribute) set(&(attribute), sizeof(attribute), value, bytes)

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t pitch) {
    *layout = malloc(sizeof **layout);
    if (!*layout) return CUBLAS_STATUS_ALLOC_FAILED;
    **layout = (struct emulated_layout){.type = type, .rows = rows, .columns = columns, .pitch = pitch, .batch = 1};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t name,
                                                const void *value, size_t bytes) {
    return name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? SET(layout->batch) : SET(layout->stride);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    *operation = malloc(sizeof **operation);
    if (!*operation) return CUBLAS_STATUS_ALLOC_FAILED;
    **operation =
        (struct emulated_operation){.compute = compute, .scale = scale, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
    free(operation);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name,
                                              const void *value, size_t bytes) {
    switch (name) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return SET(operation->transpose_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return SET(operation->transpose_b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return SET(operation->epilogue);
    case CUBLASLT_MATMUL_DESC_FAST_ACCUM:
        return SET(operation->fast_sums);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return SET(operation->bias);
    case CUBLASLT_MATMUL_DESC_A_SCALE_POINTER:
        return SET(operation->a_scale);
    case CUBLASLT_MATMUL_DESC_B_SCALE_POINTER:
        return SET(operation->b_scale);
    case CUBLASLT_MATMUL_DESC_A_SCALE_MODE:
        return SET(operation->a_mode);
    case CUBLASLT_MATMUL_DESC_B_SCALE_MODE:
        return SET(operation->b_mode);
    default:
        return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    *preference = calloc(1, sizeof **preference);
    return *preference ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name, const void *value,
                                                    size_t bytes) {
    if (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) return SET(preference->workspace);
    if (name == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) return SET(preference->schemes);
    return SET(preference->alignments[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES]);
}

/* ---- What there are kernels for ------------------------------------------------------------------------------------
 */

/* A product and its matrices, as a stream keeps them. */
typedef struct product {
    struct emulated_operation operation;
    struct emulated_layout a, b, d;
    const void *a_data, *b_data;
    void *d_data;
    double alpha, beta;
    uint64_t m, n, k;
} product;

static bool types_fit(const product *p) {
    const cudaDataType_t in = p->a.type, out = p->d.type;
    if (p->b.type != in) return false;
    switch (p->operation.compute) {
    case CUBLAS_COMPUTE_32I:
        return in == CUDA_R_8I && out == CUDA_R_32I && p->operation.scale == CUDA_R_32I;
    case CUBLAS_COMPUTE_32F_FAST_TF32:
        return in == CUDA_R_32F && out == CUDA_R_32F && p->operation.scale == CUDA_R_32F;
    default:
        if (p->operation.scale != CUDA_R_32F) return false;
        return in == CUDA_R_8F_E4M3 ? out == CUDA_R_16F : in == out && in != CUDA_R_8I;
    }
}

static bool scales_fit(const product *p) {
    const struct emulated_operation *o = &p->operation;
    if (!o->a_scale && !o->b_scale) return o->a_mode == 0 && o->b_mode == 0;
    return p->a.type == CUDA_R_8F_E4M3 && o->a_scale && o->b_scale &&
           o->a_mode == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F && o->b_mode == o->a_mode;
}

/* Like the real library, which has no kernels with such scales for some shapes: none for 30 to 200 columns where there
 * is much to sum for each row of D, and where that is a bit less only without splitting the sums; nor for so many rows
 * with a bias. */
static bool depth_fits(const product *p, uint32_t schemes) {
    if (!p->operation.a_scale) return true;
    if (p->operation.bias && p->m == BERT_EMULATOR_E4M3_UNBIASED) return false;
    if (p->n < 30 || p->n > 200) return true;
    if (p->k > BERT_EMULATOR_E4M3_DEPTH * p->m) return false;
    return p->k <= 2 * p->m || schemes == CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* Of FP8 alone; this library has no kernels with fast sums where there are less than 32 products to sum, but for many
 * columns. */
static bool sums_fit(const product *p) {
    return !p->operation.fast_sums || (p->a.type == CUDA_R_8F_E4M3 && (p->k >= 32 || p->n > 64));
}

/* Kernels of bytes have A transposed and B not, and rows of A, columns of it and of B in multiples. All have the batch
 * in the grid's z. */
static bool forms_fit(const product *p) {
    if (p->d.batch > 65535) return false;
    const int multiple = p->a.type == CUDA_R_8F_E4M3 ? 16 : 4;
    if (p->a.type != CUDA_R_8F_E4M3 && p->a.type != CUDA_R_8I) return true;
    return p->operation.transpose_a && !p->operation.transpose_b && p->m % (uint64_t)multiple == 0 &&
           p->k % (uint64_t)multiple == 0 && p->a.pitch % multiple == 0 && p->b.pitch % multiple == 0;
}

static cublasStatus_t take(product *p, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                           cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
    *p = (product){.operation = *operation, .a = *a, .b = *b, .d = *d};
    p->m = operation->transpose_a ? a->columns : a->rows;
    p->k = operation->transpose_a ? a->rows : a->columns;
    p->n = operation->transpose_b ? b->rows : b->columns;
    if ((operation->transpose_b ? b->columns : b->rows) != p->k || d->rows != p->m || d->columns != p->n)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (c != d || a->batch != d->batch || b->batch != d->batch) return CUBLAS_STATUS_INVALID_VALUE;
    if (a->pitch < (int64_t)a->rows || b->pitch < (int64_t)b->rows || d->pitch < (int64_t)d->rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    const bool biased = operation->epilogue == CUBLASLT_EPILOGUE_BIAS;
    if (biased != (operation->bias != NULL) || (biased && d->type == CUDA_R_32I)) return CUBLAS_STATUS_INVALID_VALUE;
    return types_fit(p) && scales_fit(p) && sums_fit(p) && forms_fit(p) ? CUBLAS_STATUS_SUCCESS
                                                                        : CUBLAS_STATUS_NOT_SUPPORTED;
}

static size_t element_bytes(cudaDataType_t type) {
    return type == CUDA_R_8I || type == CUDA_R_8F_E4M3 ? 1 : type == CUDA_R_16F || type == CUDA_R_16BF ? 2 : 4;
}

static size_t workspace_of(uint64_t algorithm) {
    return algorithm == NEEDS_WORKSPACE ? WORKSPACE_BYTES : 0;
}

static bool refuse_questions;

void bert_emulated_refuse_questions(bool refuse) {
    refuse_questions = refuse;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t *results, int *count) {
    product p;
    const cublasStatus_t status = take(&p, operation, a, b, c, d);
    *count = 0;
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (refuse_questions) return CUBLAS_STATUS_INTERNAL_ERROR;
    if (preference->schemes != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE &&
        preference->schemes != CUBLASLT_REDUCTION_SCHEME_NONE)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (!depth_fits(&p, preference->schemes)) return CUBLAS_STATUS_NOT_SUPPORTED;
    const cudaDataType_t types[] = {a->type, b->type, c->type, d->type};
    for (int i = 0; i < 4; i++)
        if (preference->alignments[i] < element_bytes(types[i])) return CUBLAS_STATUS_NOT_SUPPORTED;
    for (uint64_t i = 0; i < ALGORITHMS && *count < most; i++) {
        if (workspace_of(i) > preference->workspace) continue;
        results[(*count)++] =
            (cublasLtMatmulHeuristicResult_t){.algo = {{FIRST_NAME + i}}, .workspaceSize = workspace_of(i)};
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                       cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm,
                                       cublasLtMatmulHeuristicResult_t *result) {
    product p;
    const uint64_t name = algorithm->data[0] - FIRST_NAME;
    if (refuse_questions) return CUBLAS_STATUS_INTERNAL_ERROR;
    if (name >= ALGORITHMS) return CUBLAS_STATUS_INVALID_VALUE;
    result->workspaceSize = workspace_of(name);
    return take(&p, operation, a, b, c, d);
}

/* ---- Running -------------------------------------------------------------------------------------------------------
 */

static uint64_t fast_products;

uint64_t bert_emulated_fast_products(void) {
    return fast_products;
}

enum { MOST_SEEN = 256 };
static const void *seen[MOST_SEEN];
static int seen_count;

int bert_emulated_first_operands(void) {
    const int count = seen_count;
    seen_count = 0;
    return count;
}

static void see(const void *operand) {
    for (int i = 0; i < seen_count; i++)
        if (seen[i] == operand) return;
    if (seen_count < MOST_SEEN) seen[seen_count++] = operand;
}

static bool spoil_products;

void bert_emulated_spoil_products(bool spoil) {
    spoil_products = spoil;
}

static double load(cudaDataType_t type, const void *data, int64_t at) {
    switch (type) {
    case CUDA_R_16F:
        return (double)bert_half_to_float(((const uint16_t *)data)[at]);
    case CUDA_R_16BF:
        return (double)bert_bfloat16_to_float(((const uint16_t *)data)[at]);
    case CUDA_R_8F_E4M3:
        return (double)bert_emulated_e4m3_to_float(((const uint8_t *)data)[at]);
    case CUDA_R_8I:
        return ((const int8_t *)data)[at];
    case CUDA_R_32I:
        return ((const int32_t *)data)[at];
    default:
        return (double)((const float *)data)[at];
    }
}

/* Sums of bytes stay whole in a double, and wrap around as int32. */
static void store(cudaDataType_t type, void *data, int64_t at, double value) {
    if (type == CUDA_R_16F)
        ((uint16_t *)data)[at] = bert_float_to_half((float)value);
    else if (type == CUDA_R_16BF)
        ((uint16_t *)data)[at] = bert_float_to_bfloat16((float)value);
    else if (type == CUDA_R_32I)
        ((uint32_t *)data)[at] = (uint32_t)(int64_t)value;
    else
        ((float *)data)[at] = (float)value;
}

static double at(const struct emulated_layout *layout, const void *data, int32_t batch, bool transposed, uint64_t row,
                 uint64_t column) {
    const uint64_t down = transposed ? column : row, across = transposed ? row : column;
    return load(layout->type, data, batch * layout->stride + (int64_t)across * layout->pitch + (int64_t)down);
}

static void run(void *argument) {
    const product *p = argument;
    const struct emulated_operation *o = &p->operation;
    for (int32_t batch = 0; batch < p->d.batch; batch++) {
        for (uint64_t place = 0; place < p->m * p->n; place++) {
            const uint64_t row = place % p->m, column = place / p->m;
            double sum = 0;
            for (uint64_t i = 0; i < p->k; i++)
                sum += at(&p->a, p->a_data, batch, o->transpose_a, row, i) *
                       at(&p->b, p->b_data, batch, o->transpose_b, i, column);
            if (o->a_scale) sum *= (double)o->a_scale[row] * (double)o->b_scale[column];
            sum *= p->alpha;
            if (p->beta != 0) sum += p->beta * at(&p->d, p->d_data, batch, false, row, column);
            if (o->bias) sum += load(p->d.type, o->bias, (int64_t)row);
            if (spoil_products && column == p->n - 1) sum += p->d.type == CUDA_R_32I ? 1 << 20 : 8;
            store(p->d.type, p->d_data, batch * p->d.stride + (int64_t)column * p->d.pitch + (int64_t)row, sum);
        }
    }
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void *alpha,
                              const void *a_data, cublasLtMatrixLayout_t a, const void *b_data,
                              cublasLtMatrixLayout_t b, const void *beta, const void *c_data, cublasLtMatrixLayout_t c,
                              void *d_data, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream) {
    product p;
    const uint64_t name = algorithm->data[0] - FIRST_NAME;
    const cublasStatus_t status = take(&p, operation, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    if (name >= ALGORITHMS || c_data != d_data || (!workspace && workspace_bytes)) return CUBLAS_STATUS_INVALID_VALUE;
    if (workspace_of(name) > workspace_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    if (!depth_fits(&p, CUBLASLT_REDUCTION_SCHEME_NONE)) return CUBLAS_STATUS_NOT_SUPPORTED;
    /* As the library does with the bytes of few rows. */
    if (name == FAILS || (p.a.type == CUDA_R_8I && p.n == 1)) return CUBLAS_STATUS_NOT_SUPPORTED;
    if (name == FIRST && p.d.columns == REFUSED_ROWS) return CUBLAS_STATUS_NOT_SUPPORTED;
    see(a_data);
    p.a_data = a_data;
    p.b_data = b_data;
    p.d_data = d_data;
    p.alpha = load(operation->scale, alpha, 0);
    p.beta = load(operation->scale, beta, 0);
    fast_products += operation->fast_sums != 0;
    return bert_emulator_enqueue(stream, run, &p, sizeof p) == (int)cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                                                : CUBLAS_STATUS_EXECUTION_FAILED;
}
