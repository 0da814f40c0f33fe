/*
 * Products by cuBLASLt, which has every kind here, batches and the bias besides; cuBLAS itself would add nothing but
 * its loading time.
 *
 * Row-major is column-major read the other way: C = op(A) op(B) stored by rows is Cᵀ = op(B)ᵀ op(A)ᵀ stored by columns.
 * So the library's first operand is our B, its second our A, its rows our n, and the flags of transposition stay with
 * their operands. The bias, which the library adds along its rows, goes along our columns, as it should.
 *
 * float32 is CUBLAS_COMPUTE_32F: products and sums of 32 bits at least. TF32 has a kind of its own, and
 * NVIDIA_TF32_OVERRIDE can only switch it off. Bytes are summed in 32-bit integers, which is exact; the library has
 * fast kernels for one form of them, and ops/byte_product.cu has the others.
 */
#include "cuda/gemm.h"

#include "cuda/cold_operand.h"
#include "cuda/gemm_key.h"
#include "cuda/ops/byte_product.h"
#include "cuda/stopwatch.h"

#include <cublasLt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKSPACE_BYTES = 32 << 20, CANDIDATES = 8, S8_MULTIPLE = 16, ROWS_TO_ASK_ABOUT = 16, MOST_ANSWERS = 64 };
enum { EXACT_WORDS = 14, MOST_MADE = 512 };
/* Products of one call: some of the library's kernels have the batch in the grid's z, which goes no further. */
enum { MOST_AT_ONCE = 65535 };

typedef bool (*question)(bert_cuda_gemm *gemm, const bert_cuda_gemm_shape *shape);

/* What the library was asked about a shape, and said. */
typedef struct answer {
    question asked;
    bert_cuda_gemm_shape shape;
    bool yes;
} answer;

/* A product, by all that an algorithm may depend on, and the one that it was made by. */
typedef struct made_product {
    int64_t product[EXACT_WORDS];
    cublasLtMatmulAlgo_t algorithm;
    uint64_t last_use; /* 0: never */
    uint64_t revision; /* of the cache then: by the same one it would be made so again */
} made_product;

struct bert_cuda_gemm {
    cublasLtHandle_t handle;
    bert_cuda_gemm_cache *cache;
    answer answers[MOST_ANSWERS];
    int answer_count;
    cublasStatus_t said;          /* by the library, when it was asked for algorithms last */
    made_product made[MOST_MADE]; /* those that were used last */
    uint64_t clock;               /* of their use */
};

/* One product in the library's words. */
typedef struct problem {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t first, second, result;
    cublasLtMatmulPreference_t preference;
} problem;

/* Types by bert_cuda_gemm_kind. */
static const struct {
    const char *name;
    cudaDataType_t operand, result, scale;
    cublasComputeType_t compute;
} kinds[] = {
    [BERT_CUDA_GEMM_F32] = {"float32", CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F},
    [BERT_CUDA_GEMM_TF32] = {"TF32", CUDA_R_32F, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32},
    [BERT_CUDA_GEMM_F16] = {"float16", CUDA_R_16F, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F},
    [BERT_CUDA_GEMM_BF16] = {"bfloat16", CUDA_R_16BF, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F},
    [BERT_CUDA_GEMM_S8] = {"int8", CUDA_R_8I, CUDA_R_32I, CUDA_R_32I, CUBLAS_COMPUTE_32I},
    [BERT_CUDA_GEMM_F8] = {"E4M3", CUDA_R_8F_E4M3, CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- Errors --------------------------------------------------------------------------------------------------------
 */

static cudaError_t error_of(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return cudaSuccess;
    case CUBLAS_STATUS_ALLOC_FAILED:
        return cudaErrorMemoryAllocation;
    case CUBLAS_STATUS_INVALID_VALUE:
        return cudaErrorInvalidValue;
    case CUBLAS_STATUS_NOT_SUPPORTED:
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return cudaErrorNotSupported;
    default: {
        /* What a kernel ran into stays with the device; the library's word for it says less. */
        const cudaError_t device = cudaPeekAtLastError();
        return device != cudaSuccess ? device : cudaErrorUnknown;
    }
    }
}

static cudaError_t fail(const bert_cuda_gemm_args *g, const char *what, const char *reason, cudaError_t error,
                        char *why, size_t size) {
    snprintf(why, size, "%s of %s, %" PRId64 " of [%" PRId64 ", %" PRId64 "] x [%" PRId64 ", %" PRId64 "]: %s", what,
             kinds[g->kind].name, g->batch, g->m, g->k, g->k, g->n, reason);
    return error;
}

static cudaError_t fail_library(const bert_cuda_gemm_args *g, const char *call, cublasStatus_t status, char *why,
                                size_t size) {
    return fail(g, call, cublasLtGetStatusName(status), error_of(status), why, size);
}

/* ---- Describing a product ------------------------------------------------------------------------------------------
 */

static void forget(problem *p) {
    if (p->preference) cublasLtMatmulPreferenceDestroy(p->preference);
    if (p->result) cublasLtMatrixLayoutDestroy(p->result);
    if (p->second) cublasLtMatrixLayoutDestroy(p->second);
    if (p->first) cublasLtMatrixLayoutDestroy(p->first);
    if (p->operation) cublasLtMatmulDescDestroy(p->operation);
    *p = (problem){0};
}

#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        const cublasStatus_t try_status_ = (expression);                                                               \
        if (try_status_ != CUBLAS_STATUS_SUCCESS) return try_status_;                                                  \
    } while (0)

#define SET_OPERATION(p, name, value)                                                                                  \
    TRY(cublasLtMatmulDescSetAttribute((p)->operation, CUBLASLT_MATMUL_DESC_##name, &(value), sizeof(value)))
#define SET_PREFERENCE(p, name, value)                                                                                 \
    TRY(cublasLtMatmulPreferenceSetAttribute((p)->preference, CUBLASLT_MATMUL_PREF_##name, &(value), sizeof(value)))

/* `columns` elements in a row of ours, which is the library's column. */
static cublasStatus_t describe_matrix(cublasLtMatrixLayout_t *out, cudaDataType_t type, int64_t rows, int64_t columns,
                                      int64_t pitch, int64_t batch, int64_t stride) {
    const int32_t count = (int32_t)batch;
    TRY(cublasLtMatrixLayoutCreate(out, type, (uint64_t)columns, (uint64_t)rows, pitch));
    if (batch == 1) return CUBLAS_STATUS_SUCCESS;
    TRY(cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
    return cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride);
}

static cublasStatus_t describe_scales(problem *p, const bert_cuda_gemm_args *g) {
    if (!g->row_scales) return CUBLAS_STATUS_SUCCESS;
    SET_OPERATION(p, A_SCALE_POINTER, g->column_scales);
    SET_OPERATION(p, B_SCALE_POINTER, g->row_scales);
#if CUBLAS_VERSION >= 120900
    const int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    SET_OPERATION(p, A_SCALE_MODE, mode);
    SET_OPERATION(p, B_SCALE_MODE, mode);
    return CUBLAS_STATUS_SUCCESS;
#else
    return CUBLAS_STATUS_NOT_SUPPORTED;
#endif
}

/* Of E4M3: fast sums stay in the tensor cores, which keep some 14 bits of them, as inference has them; others are added
 * to float32 every so often. Fast where `pose` finds them. */
static cublasStatus_t describe_sums(const problem *p, bool fast) {
    const int8_t mode = fast;
    SET_OPERATION(p, FAST_ACCUM, mode);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t describe_operation(problem *p, const bert_cuda_gemm_args *g) {
    const cublasOperation_t plain = CUBLAS_OP_N, transposed = CUBLAS_OP_T;
    TRY(cublasLtMatmulDescCreate(&p->operation, kinds[g->kind].compute, kinds[g->kind].scale));
    SET_OPERATION(p, TRANSA, *(g->transpose_b ? &transposed : &plain));
    SET_OPERATION(p, TRANSB, *(g->transpose_a ? &transposed : &plain));
    if (g->kind == BERT_CUDA_GEMM_F8) TRY(describe_sums(p, true));
    if (g->bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        SET_OPERATION(p, EPILOGUE, epilogue);
        SET_OPERATION(p, BIAS_POINTER, g->bias);
    }
    return describe_scales(p, g);
}

static cublasStatus_t describe_preference(problem *p, const bert_cuda_gemm_args *g) {
    const uint64_t workspace = g->workspace ? WORKSPACE_BYTES : 0;
    const uint32_t alignment = (uint32_t)bert_cuda_gemm_alignment(g);
    /* A sum that is split over blocks stays float32 until it is whole; the other schemes round parts to C's type. */
    const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    TRY(cublasLtMatmulPreferenceCreate(&p->preference));
    SET_PREFERENCE(p, MAX_WORKSPACE_BYTES, workspace);
    SET_PREFERENCE(p, REDUCTION_SCHEME_MASK, reduction);
    SET_PREFERENCE(p, MIN_ALIGNMENT_A_BYTES, alignment);
    SET_PREFERENCE(p, MIN_ALIGNMENT_B_BYTES, alignment);
    SET_PREFERENCE(p, MIN_ALIGNMENT_C_BYTES, alignment);
    SET_PREFERENCE(p, MIN_ALIGNMENT_D_BYTES, alignment);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t describe(problem *p, const bert_cuda_gemm_args *g) {
    const cudaDataType_t operand = kinds[g->kind].operand;
    TRY(describe_operation(p, g));
    TRY(describe_matrix(&p->first, operand, g->transpose_b ? g->n : g->k, g->transpose_b ? g->k : g->n, g->ldb,
                        g->batch, g->stride_b));
    TRY(describe_matrix(&p->second, operand, g->transpose_a ? g->k : g->m, g->transpose_a ? g->m : g->k, g->lda,
                        g->batch, g->stride_a));
    TRY(describe_matrix(&p->result, kinds[g->kind].result, g->m, g->n, g->ldc, g->batch, g->stride_c));
    return describe_preference(p, g);
}

/* ---- Running -------------------------------------------------------------------------------------------------------
 */

static cublasStatus_t multiply(bert_cuda_gemm *gemm, const problem *p, const bert_cuda_gemm_args *g,
                               const cublasLtMatmulAlgo_t *algorithm, cudaStream_t stream) {
    const int32_t whole_alpha = 1, whole_beta = g->beta != 0;
    const bool whole = g->kind == BERT_CUDA_GEMM_S8;
    const void *alpha = whole ? (const void *)&whole_alpha : &g->alpha;
    const void *beta = whole ? (const void *)&whole_beta : &g->beta;
    return cublasLtMatmul(gemm->handle, p->operation, alpha, g->b, p->first, g->a, p->second, beta, g->c, p->result,
                          g->c, p->result, algorithm, g->workspace, g->workspace ? WORKSPACE_BYTES : 0, stream);
}

static int ask_once(bert_cuda_gemm *gemm, const problem *p, int most, cublasLtMatmulHeuristicResult_t *out) {
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        gemm->handle, p->operation, p->first, p->second, p->result, p->result, p->preference, most, out, &found);
    gemm->said = status;
    if (status != CUBLAS_STATUS_SUCCESS) return 0;
    int good = 0;
    for (int i = 0; i < found; i++)
        if (out[i].state == CUBLAS_STATUS_SUCCESS) out[good++] = out[i];
    return good;
}

/* The library's guesses for a problem as it is described, the best first. None is no error of the library's call. Where
 * it would split sums over blocks and has no kernel that does (of E4M3 with scales, say), it may have one that doesn't:
 * the problem asks for that from then on. */
static int ask(bert_cuda_gemm *gemm, problem *p, int most, cublasLtMatmulHeuristicResult_t *out) {
    const uint32_t whole = CUBLASLT_REDUCTION_SCHEME_NONE;
    const int found = ask_once(gemm, p, most, out);
    if (found > 0) return found;
    const cublasStatus_t set = cublasLtMatmulPreferenceSetAttribute(
        p->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &whole, sizeof whole);
    return set == CUBLAS_STATUS_SUCCESS ? ask_once(gemm, p, most, out) : 0;
}

static bool same_shape(const bert_cuda_gemm_shape *a, const bert_cuda_gemm_shape *b) {
    return a->kind == b->kind && a->n == b->n && a->k == b->k && a->scales == b->scales && a->bias == b->bias;
}

/* Asks once: it takes the library some ten microseconds. */
static bool answer_to(bert_cuda_gemm *gemm, question asked, const bert_cuda_gemm_shape *shape) {
    for (int i = 0; i < gemm->answer_count; i++) {
        const answer *known = &gemm->answers[i];
        if (known->asked == asked && same_shape(&known->shape, shape)) return known->yes;
    }
    const answer found = {asked, *shape, asked(gemm, shape)};
    if (gemm->answer_count < MOST_ANSWERS) gemm->answers[gemm->answer_count++] = found;
    return found.yes;
}

/* Of the pointers only the alignment is looked at. */
static bert_cuda_gemm_args example_of(const bert_cuda_gemm_shape *shape, int64_t rows) {
    static float aligned[4] __attribute__((aligned(16)));
    return (bert_cuda_gemm_args){.kind = shape->kind,
                                 .transpose_b = true,
                                 .m = rows,
                                 .n = shape->n,
                                 .k = shape->k,
                                 .batch = 1,
                                 .alpha = 1,
                                 .a = aligned,
                                 .b = aligned,
                                 .c = aligned,
                                 .lda = shape->k,
                                 .ldb = shape->k,
                                 .ldc = shape->n,
                                 .row_scales = shape->scales ? aligned : NULL,
                                 .column_scales = shape->scales ? aligned : NULL,
                                 .bias = shape->bias ? aligned : NULL,
                                 .workspace = aligned};
}

/* Which scales, shapes and devices have fast sums of E4M3 the library doesn't say beforehand. It is asked about as many
 * rows whatever the product has, so that a row has the same sums in every batch. */
static bool has_fast_sums(bert_cuda_gemm *gemm, const bert_cuda_gemm_shape *shape) {
    const bert_cuda_gemm_args example = example_of(shape, ROWS_TO_ASK_ABOUT);
    cublasLtMatmulHeuristicResult_t guess;
    problem p = {0};
    const bool there = describe(&p, &example) == CUBLAS_STATUS_SUCCESS && ask(gemm, &p, 1, &guess) > 0;
    forget(&p);
    return there;
}

/* Describes a product as it is to be made: where the library has no kernel with fast sums, others will do. */
static cublasStatus_t pose(bert_cuda_gemm *gemm, problem *p, const bert_cuda_gemm_args *g) {
    const bert_cuda_gemm_shape shape = {g->kind, g->n, g->k, g->row_scales != NULL, g->bias != NULL};
    TRY(describe(p, g));
    return g->kind == BERT_CUDA_GEMM_F8 && !answer_to(gemm, has_fast_sums, &shape) ? describe_sums(p, false)
                                                                                   : CUBLAS_STATUS_SUCCESS;
}

static bool fits(bert_cuda_gemm *gemm, const problem *p, const bert_cuda_gemm_args *g,
                 const cublasLtMatmulAlgo_t *algorithm) {
    cublasLtMatmulHeuristicResult_t checked = {0};
    return cublasLtMatmulAlgoCheck(gemm->handle, p->operation, p->first, p->second, p->result, p->result, algorithm,
                                   &checked) == CUBLAS_STATUS_SUCCESS &&
           checked.workspaceSize <= (g->workspace ? WORKSPACE_BYTES : 0U);
}

/* What was chosen for the product's bucket, where the library finds that it fits this very product. */
static bool chosen(bert_cuda_gemm *gemm, const problem *p, const bert_cuda_gemm_args *g, cublasLtMatmulAlgo_t *out) {
    const bert_cuda_gemm_key key = bert_cuda_gemm_key_of(g);
    bert_cuda_gemm_choice choice;
    if (!gemm->cache || !bert_cuda_gemm_cache_find(gemm->cache, &key, &choice)) return false;
    _Static_assert(sizeof choice.words == sizeof *out, "an algorithm is eight words");
    memcpy(out, choice.words, sizeof *out);
    return fits(gemm, p, g, out);
}

/* A batch whose rows follow each other and share B is one product of all rows. */
static bert_cuda_gemm_args joined(const bert_cuda_gemm_args *args) {
    bert_cuda_gemm_args g = *args;
    if (g.batch > 1 && g.stride_b == 0 && !g.transpose_a && g.stride_a == g.m * g.lda && g.stride_c == g.m * g.ldc) {
        g.m *= g.batch;
        g.batch = 1;
    }
    return g;
}

/* The form of INT8 products that the library has fast kernels for. */
static bool fast_bytes(const bert_cuda_gemm_args *g) {
    return !g->transpose_a && g->transpose_b && g->n % S8_MULTIPLE == 0 && g->k % S8_MULTIPLE == 0 &&
           bert_cuda_gemm_alignment(g) == 16;
}

/* No products to sum: C is beta C, and the bias on top is nothing that a graph asks for. */
static cudaError_t run_empty(const bert_cuda_gemm_args *g, cudaStream_t stream, char *why, size_t size) {
    if (g->bias || (g->beta != 0 && g->beta != 1))
        return fail(g, "a product", "an inner size of 0 goes with no bias", cudaErrorNotSupported, why, size);
    const size_t bytes = bert_cuda_gemm_result_bytes(g->kind);
    cudaError_t status = cudaSuccess;
    for (int64_t i = 0; i < g->batch && g->beta == 0 && status == cudaSuccess; i++) {
        status = cudaMemset2DAsync((char *)g->c + (size_t)(i * g->stride_c) * bytes, (size_t)g->ldc * bytes, 0,
                                   (size_t)g->n * bytes, (size_t)g->m, stream);
    }
    return status == cudaSuccess ? status : fail(g, "clearing", cudaGetErrorString(status), status, why, size);
}

static cudaError_t run_bytes(const bert_cuda_gemm_args *g, cudaStream_t stream, char *why, size_t size) {
    const cudaError_t status = bert_cuda_byte_product(g, stream);
    return status == cudaSuccess ? status : fail(g, "a product", cudaGetErrorString(status), status, why, size);
}

/* Then nothing was put on the stream, and another algorithm may do. */
static bool refused(cublasStatus_t status) {
    return status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE;
}

static void describe_exactly(const bert_cuda_gemm_args *g, int64_t out[EXACT_WORDS]) {
    const bert_cuda_gemm_key key = bert_cuda_gemm_key_of(g);
    const uint32_t flags = key.flags & ~(uint32_t)BERT_CUDA_GEMM_COLD; /* by which it is measured, not made */
    const int64_t words[] = {
        key.kind, flags,  key.alignment, g->workspace != NULL, g->m,        g->n,       g->k, g->batch,
        g->lda,   g->ldb, g->ldc,        g->stride_a,          g->stride_b, g->stride_c};
    _Static_assert(sizeof words == EXACT_WORDS * sizeof *words, "all of them");
    memcpy(out, words, sizeof words);
}

static made_product *find_made(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *g) {
    int64_t product[EXACT_WORDS];
    describe_exactly(g, product);
    for (int i = 0; i < MOST_MADE && gemm->made[i].last_use; i++) {
        if (memcmp(gemm->made[i].product, product, sizeof product) != 0) continue;
        gemm->made[i].last_use = ++gemm->clock;
        return &gemm->made[i];
    }
    return NULL;
}

/* The first that was never used, else the one that was not used for the longest time. */
static made_product *place_of_made(bert_cuda_gemm *gemm) {
    made_product *oldest = &gemm->made[0];
    for (int i = 1; i < MOST_MADE && oldest->last_use; i++)
        if (gemm->made[i].last_use < oldest->last_use) oldest = &gemm->made[i];
    return oldest;
}

static uint64_t revision_of(const bert_cuda_gemm *gemm) {
    return gemm->cache ? bert_cuda_gemm_cache_revision(gemm->cache) : 0;
}

/* `made`: what there is of it; NULL: nothing. */
static void remember(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *g, made_product *made,
                     const cublasLtMatmulAlgo_t *algorithm) {
    if (!made) {
        made = place_of_made(gemm);
        made->last_use = ++gemm->clock;
        describe_exactly(g, made->product);
    }
    made->algorithm = *algorithm;
    made->revision = revision_of(gemm);
}

/* By the algorithm that was chosen, else by the library's first guess; where it refuses that as it is to run, by the
 * next that it doesn't. */
static cublasStatus_t multiply_somehow(bert_cuda_gemm *gemm, problem *p, const bert_cuda_gemm_args *g,
                                       cudaStream_t stream, bool *found, cublasLtMatmulAlgo_t *by) {
    cublasLtMatmulHeuristicResult_t guesses[CANDIDATES];
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    *found = chosen(gemm, p, g, by);
    if (!*found && ask(gemm, p, 1, guesses) > 0) {
        *found = true;
        *by = guesses[0].algo;
    }
    if (*found) status = multiply(gemm, p, g, by, stream);
    if (!*found || !refused(status)) return status;
    const int count = ask(gemm, p, CANDIDATES, guesses);
    for (int i = 0; i < count && refused(status); i++) {
        *by = guesses[i].algo;
        status = multiply(gemm, p, g, by, stream);
    }
    return status;
}

static bool is_captured(cudaStream_t stream) {
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(stream, &status) == cudaSuccess) return status != cudaStreamCaptureStatusNone;
    cudaGetLastError(); /* seen: the next call is not to find it */
    return false;
}

/* A product that was made before is made so again, without asking the library, which takes it some ten microseconds:
 * until a choice comes that may be for it. While its stream is captured it is in any case: with the same last bits, and
 * since the library may not answer then (that of CUDA 13.3 is reported not to). */
static cublasStatus_t multiply_as_before(bert_cuda_gemm *gemm, problem *p, const bert_cuda_gemm_args *g,
                                         cudaStream_t stream, bool *found) {
    made_product *made = find_made(gemm, g);
    cublasLtMatmulAlgo_t by;
    *found = made && (made->revision == revision_of(gemm) || is_captured(stream));
    if (*found) return multiply(gemm, p, g, &made->algorithm, stream);
    const cublasStatus_t status = multiply_somehow(gemm, p, g, stream, found, &by);
    if (status == CUBLAS_STATUS_SUCCESS) remember(gemm, g, made, &by);
    return status;
}

static cudaError_t run_library(bert_cuda_gemm *gemm, problem *p, const bert_cuda_gemm_args *g, cudaStream_t stream,
                               char *why, size_t size) {
    bool found;
    const cublasStatus_t status = multiply_as_before(gemm, p, g, stream, &found);
    if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
    if (g->kind == BERT_CUDA_GEMM_S8 && refused(status)) return run_bytes(g, stream, why, size);
    if (found) return fail_library(g, "cublasLtMatmul", status, why, size);
    if (gemm->said != CUBLAS_STATUS_SUCCESS && gemm->said != CUBLAS_STATUS_NOT_SUPPORTED)
        return fail_library(g, "cublasLtMatmulAlgoGetHeuristic", gemm->said, why, size);
    return fail(g, "a product", "cublasLt has no kernel for it on this device", cudaErrorNotSupported, why, size);
}

/* What both ways in do first. `nothing` is set when the product needs no library. */
static cudaError_t begin(const bert_cuda_gemm_args *args, bert_cuda_gemm_args *out, bool *nothing, char *why,
                         size_t size) {
    const char *fault = (unsigned)args->kind < KINDS ? bert_cuda_gemm_fault(args) : "a product is of no known kind";
    *nothing = false;
    if (fault) {
        snprintf(why, size, "%s", fault);
        return cudaErrorInvalidValue;
    }
    *out = joined(args);
    *nothing = out->m == 0 || out->n == 0 || out->batch == 0;
    return cudaSuccess;
}

static cudaError_t run_at_once(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *g, cudaStream_t stream, char *why,
                               size_t size) {
    problem p = {0};
    const cublasStatus_t described = pose(gemm, &p, g);
    const cudaError_t status = described == CUBLAS_STATUS_SUCCESS
                                   ? run_library(gemm, &p, g, stream, why, size)
                                   : fail_library(g, "describing a product", described, why, size);
    forget(&p);
    return status;
}

static const void *moved(const void *operand, int64_t elements, size_t bytes) {
    return (const char *)operand + elements * (int64_t)bytes;
}

static cudaError_t run(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                       size_t size) {
    bert_cuda_gemm_args g;
    bool nothing;
    cudaError_t status = begin(args, &g, &nothing, why, size);
    if (status != cudaSuccess || nothing) return status;
    if (g.k == 0) return run_empty(&g, stream, why, size);
    if (g.kind == BERT_CUDA_GEMM_S8 && !fast_bytes(&g)) return run_bytes(&g, stream, why, size);
    const size_t in = bert_cuda_gemm_operand_bytes(g.kind), out = bert_cuda_gemm_result_bytes(g.kind);
    for (int64_t first = 0, all = g.batch; first < all && status == cudaSuccess; first += g.batch) {
        g.batch = all - first < MOST_AT_ONCE ? all - first : MOST_AT_ONCE;
        status = run_at_once(gemm, &g, stream, why, size);
        g.a = moved(g.a, g.batch * g.stride_a, in);
        g.b = moved(g.b, g.batch * g.stride_b, in);
        g.c = (char *)g.c + g.batch * g.stride_c * (int64_t)out;
    }
    return status;
}

/* ---- Measuring -----------------------------------------------------------------------------------------------------
 */

/* A product by each of some algorithms. */
typedef struct trials {
    bert_cuda_gemm *gemm;
    const problem *p;
    const bert_cuda_gemm_args *g;
    const cublasLtMatmulHeuristicResult_t *candidates;
    bert_cuda_cold_operand *b;
} trials;

static bool run_trial(const void *work, int way, cudaStream_t stream) {
    const trials *t = work;
    bert_cuda_gemm_args g = *t->g;
    g.b = bert_cuda_cold_operand_next(t->b);
    return multiply(t->gemm, t->p, &g, &t->candidates[way].algo, stream) == CUBLAS_STATUS_SUCCESS;
}

static cudaError_t choose(bert_cuda_gemm *gemm, problem *p, const bert_cuda_gemm_args *g, cudaStream_t stream) {
    cublasLtMatmulHeuristicResult_t candidates[CANDIDATES];
    bert_cuda_fastest fastest;
    const int count = ask(gemm, p, CANDIDATES, candidates);
    bert_cuda_cold_operand b = bert_cuda_cold_operand_open(g, stream);
    const cudaError_t status =
        bert_cuda_find_fastest(stream, run_trial, &(trials){gemm, p, g, candidates, &b}, count, b.count, &fastest);
    bert_cuda_cold_operand_close(&b);
    if (status != cudaSuccess || fastest.way < 0) return status;
    const bert_cuda_gemm_key key = bert_cuda_gemm_key_of(g);
    bert_cuda_gemm_choice choice = {.nanoseconds = fastest.nanoseconds};
    memcpy(choice.words, &candidates[fastest.way].algo, sizeof choice.words);
    bert_cuda_gemm_cache_add(gemm->cache, &key, &choice);
    return cudaSuccess;
}

static cudaError_t measure(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *g, cudaStream_t stream, char *why,
                           size_t size) {
    problem p = {0};
    cudaError_t status = cudaSuccess;
    const cublasStatus_t described = pose(gemm, &p, g);
    if (described == CUBLAS_STATUS_SUCCESS) status = choose(gemm, &p, g, stream);
    forget(&p);
    if (described != CUBLAS_STATUS_SUCCESS) return fail_library(g, "describing a product", described, why, size);
    return status == cudaSuccess ? status
                                 : fail(g, "measuring a product", cudaGetErrorString(status), status, why, size);
}

static cudaError_t tune(bert_cuda_gemm *gemm, const bert_cuda_gemm_args *args, cudaStream_t stream, char *why,
                        size_t size) {
    bert_cuda_gemm_args g;
    bool nothing;
    enum cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    cudaError_t status = begin(args, &g, &nothing, why, size);
    if (status != cudaSuccess || nothing || g.k == 0) return status;
    if (!gemm->cache) return cudaSuccess;
    if (g.batch > MOST_AT_ONCE) g.batch = MOST_AT_ONCE;
    status = cudaStreamIsCapturing(stream, &capturing);
    if (status != cudaSuccess || capturing != cudaStreamCaptureStatusNone) {
        return fail(&g, "measuring a product", "not while its stream is captured",
                    status != cudaSuccess ? status : cudaErrorStreamCaptureUnsupported, why, size);
    }
    bert_cuda_gemm_choice known;
    const bert_cuda_gemm_key key = bert_cuda_gemm_key_of(&g);
    if (bert_cuda_gemm_cache_find(gemm->cache, &key, &known)) return cudaSuccess;
    if (g.kind == BERT_CUDA_GEMM_S8 && !fast_bytes(&g)) return cudaSuccess;
    return measure(gemm, &g, stream, why, size);
}

/* ---- The provider --------------------------------------------------------------------------------------------------
 */

static bert_cuda_gemm *open_library(char *why, size_t size) {
    bert_cuda_gemm *gemm = calloc(1, sizeof *gemm);
    if (!gemm) {
        snprintf(why, size, "no memory for the handle of cublasLt");
        return NULL;
    }
    const cublasStatus_t status = cublasLtCreate(&gemm->handle);
    if (status == CUBLAS_STATUS_SUCCESS) return gemm;
    snprintf(why, size, "cublasLtCreate: %s", cublasLtGetStatusName(status));
    free(gemm);
    return NULL;
}

static void close_library(bert_cuda_gemm *gemm) {
    if (!gemm) return;
    cublasLtDestroy(gemm->handle);
    free(gemm);
}

/* Asks for kernels; nothing is run. */
static bool has_kernels(bert_cuda_gemm *gemm, const bert_cuda_gemm_shape *shape) {
    static const int64_t rows[] = {1, ROWS_TO_ASK_ABOUT, 32, 64, 128, 256, 1024, 16384};
    bool there = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && there; i++) {
        const bert_cuda_gemm_args example = example_of(shape, rows[i]);
        cublasLtMatmulHeuristicResult_t guess;
        problem p = {0};
        there = !bert_cuda_gemm_fault(&example) && pose(gemm, &p, &example) == CUBLAS_STATUS_SUCCESS &&
                ask(gemm, &p, 1, &guess) > 0;
        forget(&p);
    }
    return there;
}

static bool supports(bert_cuda_gemm *gemm, const bert_cuda_gemm_shape *shape) {
    if ((unsigned)shape->kind >= KINDS) return false;
    if (shape->kind == BERT_CUDA_GEMM_S8) return true; /* which has a kernel of our own */
    return answer_to(gemm, has_kernels, shape);
}

static void identify(char *out, size_t size) {
    int device = 0, driver = 0; /* the driver's version: it may have compiled our kernels */
    struct cudaDeviceProp properties = {0};
    cudaDriverGetVersion(&driver);
    if (cudaGetDevice(&device) != cudaSuccess || cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
        snprintf(out, size, "no device; cublasLt %zu", cublasLtGetVersion());
        return;
    }
    snprintf(out, size, "%s, sm_%d%d, %d multiprocessors; CUDA %d; cublasLt %zu", properties.name, properties.major,
             properties.minor, properties.multiProcessorCount, driver, cublasLtGetVersion());
}

static void use_cache(bert_cuda_gemm *gemm, bert_cuda_gemm_cache *cache) {
    gemm->cache = cache;
    memset(gemm->made, 0, sizeof gemm->made); /* by what another one had */
}

const bert_cuda_gemm_provider bert_cuda_gemm_provider_built = {.name = "cublasLt",
                                                               .open = open_library,
                                                               .close = close_library,
                                                               .workspace_bytes = WORKSPACE_BYTES,
                                                               .s8_multiple = S8_MULTIPLE,
                                                               .supports = supports,
                                                               .run = run,
                                                               .identify = identify,
                                                               .use_cache = use_cache,
                                                               .clock = true,
                                                               .tune = tune};
