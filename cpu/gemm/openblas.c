/*
 * The OpenBLAS provider. W lies as [n, k]: OpenBLAS 0.3.21 multiplies with a transposed right side faster than with a
 * plain one (by 10 to 25 percent up to 64 rows, K 768, N 768 to 3072), and columns are contiguous pieces for threads.
 *
 * OpenBLAS has threads of its own, which would fight those of the pool: it is told once to use the calling thread, and
 * products are cut for the pool here. (The setting is the process's: a program that uses OpenBLAS elsewhere shares it.)
 *
 * The library is opened when something is to multiply with it, not linked: being loaded costs a process 20 ms, and
 * threads that look for work for a while, which is what a machine with kernels of its own would pay for nothing.
 */
#include "cpu/gemm/gemm.h"

#include "core/base/error.h"
#include "core/base/memory.h"

#include <cblas.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Rows and columns of one call: large enough for OpenBLAS, small enough that the epilogue finds y in cache. */
enum { CALL_ROWS = 256, CALL_COLUMNS = 768, COLUMN_STEP = 16 };

typedef struct openblas_library {
    __typeof__(cblas_sgemm) *sgemm; /* NULL: the library could not be opened */
    bool small_products;            /* it multiplies small matrices without copying them first */
    char why[256];
} openblas_library;

static openblas_library library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* Its kernels for CPUs with AVX-512 have such products (0.3.21); those for others do not. */
static bool has_small_products(void *handle) {
    __typeof__(openblas_get_corename) *name = NULL;
    void *address = dlsym(handle, "openblas_get_corename");
    memcpy(&name, &address, sizeof name);
    const char *core = name ? name() : "";
    return strcasecmp(core, "skylakex") == 0 || strcasecmp(core, "cooperlake") == 0 ||
           strcasecmp(core, "sapphirerapids") == 0;
}

/* Never closed: its threads live as long as the process. */
static void open_library(void) {
    __typeof__(openblas_set_num_threads) *set_threads = NULL;
    void *handle = dlopen(BERT_OPENBLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    void *sgemm = handle ? dlsym(handle, "cblas_sgemm") : NULL;
    void *threads = sgemm ? dlsym(handle, "openblas_set_num_threads") : NULL;
    if (!threads) {
        const char *why = dlerror();
        snprintf(library.why, sizeof library.why, "%s", why ? why : "it lacks cblas_sgemm");
        return;
    }
    memcpy(&set_threads, &threads, sizeof threads); /* POSIX's way from an object pointer to a function */
    set_threads(1);
    library.small_products = has_small_products(handle);
    memcpy(&library.sgemm, &sgemm, sizeof sgemm);
}

bert_status bert_openblas_open(const bert_gemm_provider **out, bert_error *error) {
    *out = NULL;
    pthread_once(&library_once, open_library);
    if (!library.sgemm)
        return bert_fail(error, BERT_UNSUPPORTED,
                         "OpenBLAS (Debian: libopenblas0) is to multiply here and can't be opened: %s", library.why);
    *out = library.small_products ? &bert_gemm_openblas_panels : &bert_gemm_openblas;
    return BERT_OK;
}

void bert_openblas_multiply(const bert_sgemm_args *args, bool transposed) {
    library.sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, (blasint)args->m,
                  (blasint)args->n, (blasint)args->k, 1.0F, args->a, (blasint)args->lda, args->b, (blasint)args->ldb,
                  args->accumulate ? 1.0F : 0.0F, args->c, (blasint)args->ldc);
}

static bool in_place(const bert_weight_source *source) {
    const bert_constant *first = source->parts[0];
    return source->count == 1 && source->transposed && first->dtype == BERT_FLOAT && first->alignment >= sizeof(float);
}

static size_t packed_bytes(const bert_cpu_kernels *kernels, int64_t k, int64_t n) {
    size_t count, bytes;
    return bert_size_multiply((size_t)k, (size_t)n, &count) && bert_size_multiply(count, sizeof(float), &bytes) ? bytes
                                                                                                                : 0;
}

/* Rows and columns that are transposed at a time. */
enum { SIDE = 64 };

typedef struct transposition {
    const bert_cpu_kernels *kernels;
    float *out; /* [width, k] */
    const unsigned char *bytes;
    int64_t k, width;
} transposition;

/* SIDE columns. The file's rows may start at any address: a square is brought to an aligned place first. */
static void transpose_columns(void *argument, int64_t task, int thread) {
    const transposition *t = argument;
    _Alignas(BERT_ALIGNMENT) float rows[SIDE * SIDE];
    const int64_t start = task * SIDE, columns = t->width - start < SIDE ? t->width - start : SIDE;
    for (int64_t p = 0; p < t->k; p += SIDE) {
        const int64_t steps = t->k - p < SIDE ? t->k - p : SIDE;
        for (int64_t i = 0; i < steps; i++)
            memcpy(rows + i * SIDE, t->bytes + ((p + i) * t->width + start) * (int64_t)sizeof(float),
                   (size_t)columns * sizeof *rows);
        t->kernels->transpose(&(bert_transpose_args){
            .y = t->out + start * t->k + p, .x = rows, .ldy = t->k, .ldx = SIDE, .rows = steps, .columns = columns});
    }
}

static void pack(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n, int64_t first,
                 const bert_constant *part, bool transposed) {
    int64_t k, width;
    bert_gemm_part_shape(part, transposed, &k, &width);
    float *out = (float *)packed + first * k;
    if (transposed) {
        if (part->bytes) memcpy(out, part->data, part->bytes);
        return;
    }
    transposition all = {.kernels = kernels, .out = out, .bytes = part->data, .k = k, .width = width};
    bert_thread_pool_run(threads, (width + SIDE - 1) / SIDE, transpose_columns, &all);
}

typedef struct openblas_run {
    const bert_gemm_call *call;
    int64_t row_blocks, column_blocks, row_step, column_step;
} openblas_run;

static void run_block(void *argument, int64_t block, int thread) {
    const openblas_run *run = argument;
    const bert_gemm_call *call = run->call;
    const int64_t k = call->weight->k, row = block / run->column_blocks * run->row_step;
    const int64_t column = block % run->column_blocks * run->column_step;
    const bert_epilogue_args epilogue =
        bert_gemm_epilogue_at(&call->epilogue, row, bert_smaller(call->rows - row, run->row_step), column,
                              bert_smaller(call->weight->n - column, run->column_step));
    const int64_t stride = k > 0 ? k : 1;
    bert_openblas_multiply(&(bert_sgemm_args){.c = epilogue.y,
                                              .a = call->x + row * k,
                                              .b = (const float *)call->weight->data + column * k,
                                              .ldc = epilogue.stride,
                                              .lda = stride,
                                              .ldb = stride,
                                              .m = epilogue.rows,
                                              .n = epilogue.n,
                                              .k = k},
                           true);
    call->kernels->epilogue(&epilogue);
}

static void run(const bert_gemm_call *call) {
    const int64_t rows = call->rows, n = call->weight->n, threads = bert_thread_pool_threads(call->threads);
    if (rows == 0 || n == 0) return;
    openblas_run run = {.call = call, .row_step = CALL_ROWS, .column_step = CALL_COLUMNS};
    /* Blocks that go evenly over the threads: columns are cut first, since that costs OpenBLAS less. */
    if (threads > 1) {
        const int64_t share = (n + threads - 1) / threads;
        const int64_t pieces = (share + CALL_COLUMNS - 1) / CALL_COLUMNS * threads;
        run.column_step = ((n + pieces - 1) / pieces + COLUMN_STEP - 1) / COLUMN_STEP * COLUMN_STEP;
    }
    run.row_blocks = (rows + run.row_step - 1) / run.row_step;
    run.column_blocks = (n + run.column_step - 1) / run.column_step;
    bert_thread_pool_run(call->threads, run.row_blocks * run.column_blocks, run_block, &run);
}

const bert_gemm_provider bert_gemm_openblas = {
    .name = "openblas",
    .kernel = "linear/openblas",
    .in_place = in_place,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .run = run,
};

void bert_openblas_sgemm(const bert_sgemm_args *args) {
    if (args->m > INT_MAX || args->n > INT_MAX || args->k > INT_MAX || args->k == 0) {
        bert_cpu_kernels_scalar.sgemm(args);
        return;
    }
    bert_openblas_multiply(args, false);
}

void bert_openblas_attention(const bert_attention_args *args) {
    bert_attention_by_parts(args, bert_openblas_sgemm, bert_cpu_kernels_scalar.softmax);
}
