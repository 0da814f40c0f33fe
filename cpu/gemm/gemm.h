/*
 * GEMM with a constant right side: y = epilogue(x W), W packed once, or deferred until it is used again.
 *
 * A provider packs weights into a layout of its own and multiplies with them. Which one serves a weight is decided when
 * the weight is packed, never by the number of rows or threads. Providers: "own" (packed panels, the kernels' sgemm),
 * "split" (the same panels, sgemm_split: float32 by six products of bfloat16), "openblas" or "openblas_panels", and for
 * other precisions "bf16" and "bf16_weights"; weights of 8 bits have quantized.h.
 */
#ifndef BERT_CPU_GEMM_GEMM_H
#define BERT_CPU_GEMM_GEMM_H

#include "core/base/memory.h"
#include "core/base/thread_pool.h"
#include "cpu/kernels/kernels.h"

#include <bert/backend.h>
#include <stdatomic.h>

/** The greatest number of weights side by side in one product (Q, K and V are three). */
#define BERT_GEMM_MAX_PARTS 8

/** What a weight is packed from: constants with an id of float32 or 16-bit floats, side by side; each [k, n_p], or
 * [n_p, k] transposed. */
typedef struct bert_weight_source {
    const bert_constant *parts[BERT_GEMM_MAX_PARTS];
    int32_t count;
    bool transposed;
} bert_weight_source;

/** A weight that is packed when it is used a second time: the first product is computed from the source. */
typedef struct bert_deferred_weight {
    bert_weight_source source;                /**< Of float32; its parts are these: */
    bert_constant parts[BERT_GEMM_MAX_PARTS]; /**< Copies: a plan's constants end with it. Their data is the model's. */
    atomic_bool used;
    struct bert_packed_weight *_Atomic packed; /**< NULL: not yet. */
} bert_deferred_weight;

typedef struct bert_packed_weight {
    struct bert_packed_weight *next;
    uint64_t ids[BERT_GEMM_MAX_PARTS]; /**< The key: constants, */
    int32_t count;                     /**< how many, */
    bool transposed;                   /**< and which way round. */
    int64_t k, n;                      /**< n over all parts. */
    const void *data;                  /**< In the provider's layout; NULL with `deferred`. */
    bert_deferred_weight *deferred;    /**< NULL: it was packed at once. */
    size_t bytes;                      /**< Of the packed form; 0 where the constant is used where it lies. */
} bert_packed_weight;

/** One product. */
typedef struct bert_gemm_call {
    const bert_cpu_kernels *kernels;
    bert_thread_pool *threads;
    const bert_packed_weight *weight;
    size_t model_bytes; /**< Of all that is packed so far: whether caches keep a weight from run to run. */
    const float *x;     /**< [rows, k] */
    int64_t rows;
    /** With a provider that has x_row_bytes: room for x in the form that it reads, made already or, where x_made is
     * false, to be made; NULL: in the workspace. And for y as the next product's x, NULL: it isn't wanted; with
     * y_unread nothing else of y is. */
    uint16_t *x_rows, *y_rows;
    bool x_made, y_unread;
    void *workspace; /**< bert_gemm_workspace_bytes, or bert_gemm_scratch_bytes with x_rows; aligned to 64. */
    /** y, strides and what happens to x W: `rows` and `n` in it are ignored. */
    bert_epilogue_args epilogue;
} bert_gemm_call;

typedef struct bert_gemm_provider {
    const char *name;
    const char *kernel; /**< For profiles: "linear/openblas". */
    /** Whether a source can be used where it lies. NULL: none can. */
    bool (*in_place)(const bert_weight_source *source);
    /** Bytes of a packed weight; 0 on overflow. */
    size_t (*packed_bytes)(const bert_cpu_kernels *kernels, int64_t k, int64_t n);
    /** Puts one part of float32, n_part columns wide, to columns [first, first + n_part) of a packed weight [k, n]. */
    void (*pack)(const bert_cpu_kernels *kernels, bert_thread_pool *threads, void *packed, int64_t n, int64_t first,
                 const bert_constant *part, bool transposed);
    /** Bytes of a row of x as products read it, bfloat16 filled up: for who has it so. NULL: they read float32. */
    int64_t (*x_row_bytes)(int64_t k);
    /** Bytes of scratch of a product with `rows` rows on so many threads; SIZE_MAX on overflow. NULL: none. */
    size_t (*workspace_bytes)(const bert_packed_weight *weight, size_t rows, int threads);
    /** Whether sums are added up in one order, whatever the number of rows and threads. */
    bool one_order;
    /** Whether `run` takes a weight without data, from the source that it is deferred with. */
    bool takes_source;
    void (*run)(const bert_gemm_call *call);
} bert_gemm_provider;

static inline bool bert_gemm_in_place(const bert_gemm_provider *provider, const bert_weight_source *source) {
    return provider->in_place && provider->in_place(source);
}

/** Bytes of scratch of a product that brings x in the provider's form; 0 where it needs none, SIZE_MAX on overflow. */
static inline size_t bert_gemm_scratch_bytes(const bert_gemm_provider *provider, const bert_packed_weight *weight,
                                             size_t rows, int threads) {
    return provider->workspace_bytes ? provider->workspace_bytes(weight, rows, threads) : 0;
}

/** The same of one that doesn't: x in that form comes after it. */
static inline size_t bert_gemm_workspace_bytes(const bert_gemm_provider *provider, const bert_packed_weight *weight,
                                               size_t rows, int threads) {
    size_t bytes = bert_gemm_scratch_bytes(provider, weight, rows, threads), x = 0;
    const size_t row = provider->x_row_bytes ? (size_t)provider->x_row_bytes(weight->k) : 0;
    return bert_size_multiply(rows, row, &x) && bert_size_add(bytes, x, &bytes) ? bytes : SIZE_MAX;
}

extern const bert_gemm_provider bert_gemm_own;
extern const bert_gemm_provider bert_gemm_split;
/** OpenBLAS over whole matrices, and over panels of 64 columns: bert_openblas_open says which. */
extern const bert_gemm_provider bert_gemm_openblas;
extern const bert_gemm_provider bert_gemm_openblas_panels;
extern const bert_gemm_provider bert_gemm_bf16;
extern const bert_gemm_provider bert_gemm_bf16_weights;

static inline int64_t bert_smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/** The widest panel. */
enum { BERT_GEMM_MAX_COLUMNS = 64 };

/** Columns of a panel that hold something of n. */
static inline int64_t bert_gemm_panel_width(int64_t n, int64_t columns, int64_t panel) {
    return bert_smaller(n - panel * columns, columns);
}

/**
 * Panels of `columns` columns, [panels][k, columns], the last one filled up with zeros: bytes of [k, n], 0 on overflow;
 * and bert_gemm_provider.pack into them.
 */
size_t bert_gemm_panel_bytes(int64_t columns, int64_t k, int64_t n);
void bert_gemm_pack_panels(const bert_cpu_kernels *kernels, bert_thread_pool *threads, int64_t columns, void *packed,
                           int64_t n, int64_t first, const bert_constant *part, bool transposed);

/** Rows [first, first + rows) of a panel of `columns` columns from the source of a deferred weight, to out[rows,
 * columns]; columns beyond the weight's are left alone. */
void bert_gemm_pack_source(const bert_gemm_call *call, int64_t columns, int64_t panel, int64_t first, int64_t rows,
                           float *out);

/** The own provider's product over weights of bfloat16 in its panels: bert_gemm_bf16_weights. */
void bert_gemm_own_run_bf16(const bert_gemm_call *call);

/** The provider that BERT_CPU_GEMM names, else the one for these kernels. */
bert_status bert_gemm_choose(bert_isa isa, const bert_gemm_provider **out, bert_error *error);
/** The one for products in bfloat16, where there is a kernel for them: weights alone where that is the faster way. */
const bert_gemm_provider *bert_gemm_choose_bf16(bert_isa isa, bool slow_pairs);

/**
 * Opens the library, once in a process, and gives the one of its two providers that suits its kernels for this CPU.
 * Before it succeeded nothing that is named openblas may run. BERT_UNSUPPORTED with the reason where the library isn't
 * there; *out is NULL then. Any thread.
 */
bert_status bert_openblas_open(const bert_gemm_provider **out, bert_error *error);

/** OpenBLAS's own function, row-major: c[m, n] = a b, b transposed or not, or c + a b. After bert_openblas_open. */
void bert_openblas_multiply(const bert_sgemm_args *args, bool transposed);

/** The sgemm kernel as OpenBLAS does it, on the calling thread: for machines whose own kernel is the scalar one. */
void bert_openblas_sgemm(const bert_sgemm_args *args);
/** Likewise the attention kernel. */
void bert_openblas_attention(const bert_attention_args *args);

/**
 * Bytes from one row of x to the next for `bytes` of them, where a product loads columns of rows at a time: whole cache
 * lines, and an odd number of them. Rows of 3,072 bytes would share 4 of the first-level cache's 64 sets, those of
 * 3,136 lie in all.
 */
static inline int64_t bert_gemm_row_bytes(int64_t bytes) {
    const int64_t lines = (bytes + BERT_ALIGNMENT - 1) / BERT_ALIGNMENT;
    return (lines | 1) * BERT_ALIGNMENT;
}

/**
 * Rows of the blocks that x [rows > 0] is cut into: a multiple of `step`, about `most` at most, and all of about the
 * same size, since threads share blocks by their number.
 */
static inline int64_t bert_gemm_block_rows(int64_t rows, int64_t most, int64_t step) {
    const int64_t whole = most < step ? step : most / step * step;
    const int64_t blocks = (rows + whole - 1) / whole;
    return ((rows + blocks - 1) / blocks + step - 1) / step * step;
}

/**
 * The share `part` of `parts` of a product that is cut into blocks of rows times panels: a contiguous range of these
 * tiles, block by block, handed to `run` as panels [first, end) of a block.
 */
static inline void bert_gemm_walk(int64_t blocks, int64_t panels, int64_t part, int64_t parts,
                                  void (*run)(const void *argument, int64_t block, int64_t first, int64_t end),
                                  const void *argument) {
    const int64_t tiles = blocks * panels, end = tiles * (part + 1) / parts;
    for (int64_t tile = tiles * part / parts; tile < end;) {
        const int64_t block = tile / panels, first = tile % panels;
        const int64_t left = end - tile, count = left < panels - first ? left : panels - first;
        run(argument, block, first, first + count);
        tile += count;
    }
}

/** The epilogue of rows [row, row + rows) and columns [column, column + columns) of a product. */
static inline bert_epilogue_args bert_gemm_epilogue_at(const bert_epilogue_args *whole, int64_t row, int64_t rows,
                                                       int64_t column, int64_t columns) {
    bert_epilogue_args tile = *whole;
    tile.y += row * tile.stride + column;
    if (tile.bias) tile.bias += column;
    if (tile.residual) tile.residual += row * tile.residual_stride + column;
    tile.rows = rows;
    tile.n = columns;
    return tile;
}

/** Columns and rows of the matrix that a part is: [*k, *n]. */
static inline void bert_gemm_part_shape(const bert_constant *part, bool transposed, int64_t *k, int64_t *n) {
    *k = part->dims[transposed ? 1 : 0];
    *n = part->dims[transposed ? 0 : 1];
}

#endif
