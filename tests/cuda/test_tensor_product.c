/*
 * The product that does what follows it, in two ways: sums that both types hold exactly, where it has to give the bits
 * of the product and the kernel after it; and any numbers, against the reference.
 */
#include "core/base/float16.h"
#include "cuda/ops/tensor_product.h"
#include "tests/cuda/kernel_case.h"

#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif

#include <stdlib.h>
#include <string.h>

enum { STAGE_BYTES = 64, MOST_K = 256 };

/* What follows, bit by bit. From FORMS on: the activation. */
enum { WITH_BIAS = 1, WITH_RESIDUAL = 2, WITH_RANGES = 4, IN_HALVES = 8, STATIC = 16, FORMS = 32 };

typedef struct shape {
    bert_cuda_gemm_kind kind;
    bert_dtype dtype; /* of y */
    bool transposed;
    int64_t m, n, k;
    int form;
} shape;

typedef struct made {
    bert_cuda_gemm_args product;
    bert_cuda_bias_activation_args floats;
    bert_cuda_dequantize_args bytes;
    int64_t padded_n;
    case_tensor *y[2], *ranges[2]; /* of the kernel after a product, of the product that does it too */
} made;

static uint32_t next_bits(void) {
    static uint32_t state = 11;
    state = state * 1664525U + 1013904223U;
    return state >> 10;
}

static void put(const case_tensor *tensor, const void *data, size_t bytes) {
    if (bytes) assert_int_equal(cudaMemcpy(tensor->device, data, bytes, cudaMemcpyHostToDevice), cudaSuccess);
}

static int64_t up_to(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

/* -1, 0 or 1, of which up to 256 products have a sum that bfloat16 holds; bytes of any value. */
static int operand_value(bert_cuda_gemm_kind kind) {
    return kind == BERT_CUDA_GEMM_S8 ? (int)(next_bits() % 256) - 128 : (int)(next_bits() % 3) - 1;
}

static uint16_t as_16_bits(bert_dtype dtype, float value) {
    return dtype == BERT_FLOAT16 ? bert_float_to_half(value) : bert_float_to_bfloat16(value);
}

/* [rows, pitch] on the device, of `values` [rows, columns]; what lies between rows is NaN, or -1, and nothing lies
 * behind the last. */
static const void *matrix(bert_cuda_gemm_kind kind, const int *values, int64_t rows, int64_t columns, int64_t pitch) {
    const bert_dtype dtype = kind == BERT_CUDA_GEMM_S8    ? BERT_INT8
                             : kind == BERT_CUDA_GEMM_F16 ? BERT_FLOAT16
                                                          : BERT_BFLOAT16;
    const int64_t count = rows > 0 ? (rows - 1) * pitch + columns : 0;
    const size_t bytes = (size_t)count * bert_dtype_size(dtype);
    const case_tensor *tensor = case_extra(dtype, 1, DIMS(count));
    unsigned char *host = malloc(bytes + 1);
    memset(host, 0xff, bytes);
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t at = i / columns * pitch + i % columns;
        if (dtype == BERT_INT8)
            ((int8_t *)host)[at] = (int8_t)values[i];
        else
            ((uint16_t *)(void *)host)[at] = as_16_bits(dtype, (float)values[i]);
    }
    put(tensor, host, bytes);
    free(host);
    return tensor->device;
}

static int *random_values(bert_cuda_gemm_kind kind, int64_t count) {
    int *values = malloc((size_t)(count + 1) * sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = operand_value(kind);
    return values;
}

/* int32 [count] on the device, between -limit and limit. */
static const int32_t *integers(int64_t count, int limit) {
    const case_tensor *tensor = case_extra(BERT_INT32, 1, DIMS(count));
    int32_t *host = malloc((size_t)(count + 1) * sizeof *host);
    for (int64_t i = 0; i < count; i++) host[i] = (int32_t)(next_bits() % (2U * (unsigned)limit + 1)) - limit;
    put(tensor, host, (size_t)count * sizeof *host);
    free(host);
    return tensor->device;
}

static const case_tensor *random_tensor(bert_dtype dtype, int64_t count) {
    return case_input(dtype, 1, DIMS(count), 2.0F);
}

/* What follows, with the sums as the kernel of its own takes them. */
static void follow(const shape *s, made *x, const int32_t *sums) {
    const bool halves = s->form & IN_HALVES && s->dtype == BERT_BFLOAT16, whole = s->kind == BERT_CUDA_GEMM_S8;
    const bool is_static = whole && s->form & STATIC;
    const int64_t count = s->m * s->n;
    const case_tensor *bias = s->form & WITH_BIAS && !is_static ? random_tensor(s->dtype, s->n) : NULL;
    const case_tensor *residual = s->form & WITH_RESIDUAL ? random_tensor(s->dtype, (halves ? 2 : 1) * count) : NULL;
    for (int i = 0; i < 2; i++) {
        x->y[i] = case_extra(s->dtype, 1, DIMS((halves ? 2 : 1) * count));
        x->ranges[i] = case_extra(BERT_FLOAT, 2, DIMS(s->m, 2 * bert_cuda_stretches(s->n)));
    }
    x->floats = (bert_cuda_bias_activation_args){
        .dtype = s->dtype,
        .activation = (bert_cuda_activation)(s->form / FORMS % BERT_CUDA_ACTIVATIONS),
        .rows = s->m,
        .width = s->n,
        .bias = bias ? bias->device : NULL,
        .residual = residual ? residual->device : NULL,
        .residual_lower = residual && halves ? (const uint16_t *)residual->device + count : NULL};
    if (!whole) {
        const case_tensor *products = case_extra(s->dtype, 1, DIMS(count));
        uint16_t *host = malloc((size_t)(count + 1) * sizeof *host);
        for (int64_t i = 0; i < count; i++) host[i] = as_16_bits(s->dtype, x->product.alpha * (float)sums[i]);
        put(products, host, (size_t)count * sizeof *host);
        free(host);
        x->floats.x = products->device;
        return;
    }
    const case_tensor *products = case_extra(BERT_INT32, 1, DIMS(count));
    put(products, sums, (size_t)count * sizeof *sums);
    x->bytes =
        (bert_cuda_dequantize_args){.dtype = s->dtype,
                                    .activation = x->floats.activation,
                                    .rows = s->m,
                                    .width = s->n,
                                    .depth = s->k,
                                    .products = products->device,
                                    .pitch = s->n,
                                    .scales = is_static ? NULL : case_input(BERT_FLOAT, 1, DIMS(s->m), 0.01F)->device,
                                    .zero_points = integers(s->m, 127),
                                    .row_stride = !is_static,
                                    .sums = integers(s->m, 30000),
                                    .weight_scales = case_input(BERT_FLOAT, 1, DIMS(s->n), 0.01F)->device,
                                    .weight_zero_points = integers(s->n, 127),
                                    .weight_sums = integers(s->n, 30000),
                                    .bias = x->floats.bias,
                                    .integer_bias = is_static && s->form & WITH_BIAS ? integers(s->n, 100000) : NULL,
                                    .residual = x->floats.residual,
                                    .residual_lower = x->floats.residual_lower};
}

/* Where y and its ranges go: of the two kernels (0), of the one (1). */
static void give(const shape *s, made *x, int which) {
    const bool halves = s->form & IN_HALVES && s->dtype == BERT_BFLOAT16;
    void *y = x->y[which]->device;
    uint16_t *lower = halves ? (uint16_t *)y + s->m * s->n : NULL;
    bert_cuda_range *ranges = s->form & WITH_RANGES ? x->ranges[which]->device : NULL;
    x->floats.y = x->bytes.y = y;
    x->floats.y_lower = x->bytes.y_lower = lower;
    x->floats.ranges = x->bytes.ranges = ranges;
}

static made make(const shape *s) {
    const int64_t multiple = s->kind == BERT_CUDA_GEMM_S8 ? 16 : 8;
    const bool whole = s->kind == BERT_CUDA_GEMM_S8;
    made x = {.padded_n = whole ? up_to(s->n, 16) : s->n}; /* bytes: as weights are packed, columns of nothing behind */
    case_begin(BERT_OP_MatMul);
    int *a = random_values(s->kind, s->m * s->k), *b = random_values(s->kind, s->k * x.padded_n);
    int32_t *sums = calloc((size_t)(s->m * s->n) + 1, sizeof *sums);
    for (int64_t row = 0; row < s->m; row++)
        for (int64_t column = 0; column < s->n; column++)
            for (int64_t k = 0; k < s->k; k++)
                sums[row * s->n + column] +=
                    a[row * s->k + k] * b[s->transposed ? column * s->k + k : k * x.padded_n + column];
    x.product = (bert_cuda_gemm_args){.kind = s->kind,
                                      .transpose_b = s->transposed,
                                      .m = s->m,
                                      .n = x.padded_n,
                                      .k = s->k,
                                      .batch = 1,
                                      .alpha = whole || s->form & WITH_BIAS ? 1.0F : -0.5F,
                                      .lda = up_to(s->k, multiple),
                                      .ldb = up_to(s->transposed ? s->k : x.padded_n, multiple),
                                      .ldc = x.padded_n};
    x.product.a = matrix(s->kind, a, s->m, s->k, x.product.lda);
    x.product.b = s->transposed ? matrix(s->kind, b, x.padded_n, s->k, x.product.ldb)
                                : matrix(s->kind, b, s->k, x.padded_n, x.product.ldb);
    follow(s, &x, sums);
    free(a);
    free(b);
    free(sums);
    give(s, &x, 0);
    case_good(whole ? bert_cuda_dequantize(&x.bytes, NULL) : bert_cuda_bias_activation(&x.floats, NULL));
    give(s, &x, 1);
    return x;
}

static void expect_same(const shape *s, int tile, case_tensor *const tensors[2]) {
    const size_t size = bert_dtype_size(tensors[0]->host.dtype);
    const unsigned char *expected = case_fetch(tensors[0]), *got = case_fetch(tensors[1]);
    for (int64_t i = 0; i < bert_tensor_elements(&tensors[0]->host); i++) {
        if (memcmp(got + (size_t)i * size, expected + (size_t)i * size, size) == 0) continue;
        fail_msg("kind %d, y of type %d, transposed %d, [%d, %d] x [%d, %d], form %d, tile %d: element %d of y differs",
                 (int)s->kind, (int)s->dtype, s->transposed, (int)s->m, (int)s->k, (int)s->k, (int)s->n, s->form, tile,
                 (int)i);
    }
}

static void check(const shape *s, int tile) {
    made x = make(s);
    const bert_cuda_tensor_product_args args = {
        .product = &x.product, .floats = &x.floats, .bytes = &x.bytes, .tile = tile};
    assert_true(bert_cuda_tensor_product_fits(&x.product));
    case_good(bert_cuda_tensor_product(&args, NULL));
    expect_same(s, tile, x.y);
    if (s->form & WITH_RANGES) case_expect_ranges(x.y[1], x.ranges[1], s->m, s->n, BERT_CUDA_STRETCH);
}

/* Kinds with types of y and layouts of B, one after the other. */
static const struct {
    bert_cuda_gemm_kind kind;
    bert_dtype dtype;
    bool transposed;
} ways[] = {{BERT_CUDA_GEMM_F16, BERT_FLOAT16, false}, {BERT_CUDA_GEMM_BF16, BERT_BFLOAT16, false},
            {BERT_CUDA_GEMM_F16, BERT_FLOAT16, true},  {BERT_CUDA_GEMM_BF16, BERT_BFLOAT16, true},
            {BERT_CUDA_GEMM_S8, BERT_FLOAT, true},     {BERT_CUDA_GEMM_S8, BERT_FLOAT16, true},
            {BERT_CUDA_GEMM_S8, BERT_BFLOAT16, true}};
enum { WAYS = sizeof ways / sizeof *ways };

static shape shape_of(int way, int64_t m, int64_t n, int64_t k, int form) {
    return (shape){ways[way].kind, ways[way].dtype, ways[way].transposed, m, n, k, form};
}

static void rows_around_every_tile(void **state) {
    static const int64_t rows[] = {1, 7, 31, 32, 33, 63, 64, 65, 127, 128, 129, 251, 255, 256, 257};
    int turn = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int tile = 0; tile < BERT_CUDA_TENSOR_PRODUCT_TILES; tile++, turn++) {
            const shape s = shape_of(turn % WAYS, rows[i], 40, 24, turn * 37);
            check(&s, tile);
        }
}

static void columns_around_every_tile(void **state) {
    static const int64_t columns[] = {1, 7, 8, 63, 64, 65, 127, 128, 129, 136, 255, 256, 257};
    int turn = 0;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        for (int way = 0; way < WAYS; way++, turn++) {
            const shape s = shape_of(way, 5, columns[i], 24, turn * 29 | WITH_RANGES);
            check(&s, 3 - turn % 2);
        }
}

/* A piece of k is 32 or 64 elements, and the ring has four. */
static void depths_around_the_ring(void **state) {
    static const int64_t pieces[] = {1, 2, 3, 4, 5, 7};
    int turn = 0;
    for (int way = 0; way < WAYS; way++) {
        const int64_t piece = ways[way].kind == BERT_CUDA_GEMM_S8 ? STAGE_BYTES : STAGE_BYTES / 2;
        for (int tile = 0; tile < BERT_CUDA_TENSOR_PRODUCT_TILES; tile++) {
            for (int64_t k = 1; k < 8; k += 2, turn++) {
                const shape s = shape_of(way, 3, 16, k, turn);
                check(&s, tile);
            }
            for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++, turn++) {
                const shape s = shape_of(way, 3, 16, pieces[i] * piece + turn % 3 - 1, turn);
                if (tile == 3 || turn % 3 == 0) check(&s, tile);
            }
        }
    }
}

/* ---- Tiles that a cluster shares -----------------------------------------------------------------------------------
 */

enum { FIRST_SHARED = BERT_CUDA_TENSOR_PRODUCT_TILES };
static const int parts_of[] = {2, 4, 8, 2, 4, 8}; /* from FIRST_SHARED on */

/* Without the GPU that has them, tests of clusters are skipped. */
static void need_clusters(void) {
    struct cudaDeviceProp properties;
#ifdef BERT_CUDA_EMULATED
    bert_emulator_have_capability(9, 0);
#endif
    assert_int_equal(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    if (properties.major >= 9) return;
    print_message("skipped: clusters take compute capability 9.0, this GPU has %d.%d\n", properties.major,
                  properties.minor);
    skip();
}

static int no_clusters(void **state) {
#ifdef BERT_CUDA_EMULATED
    bert_emulator_have_capability(8, 9);
#endif
    return 0;
}

/* y has rows that begin at multiples of 16 bytes. */
static shape whole_rows(int way, int64_t m, int64_t n, int64_t k, int form) {
    return shape_of(way, m, (n + 7) / 8 * 8, k, form);
}

static void shared_tiles_around_every_edge(void **state) {
    static const int64_t rows[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 130},
                         columns[] = {8, 120, 128, 136, 264};
    need_clusters();
    int turn = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int tile = FIRST_SHARED; tile < BERT_CUDA_TENSOR_PRODUCT_ALL_TILES; tile++, turn++) {
            const int64_t k = ways[turn % WAYS].kind == BERT_CUDA_GEMM_S8 ? 4 * MOST_K + 96 : MOST_K;
            const shape s = whole_rows(turn % WAYS, rows[i], columns[turn % 5], k, turn * 37);
            check(&s, tile);
        }
}

static void shared_depths_divide_as_they_can(void **state) {
    need_clusters();
    int turn = 0;
    for (int tile = FIRST_SHARED; tile < BERT_CUDA_TENSOR_PRODUCT_ALL_TILES; tile++) {
        const int parts = parts_of[tile - FIRST_SHARED];
        for (int pieces = parts; pieces <= 2 * parts + 1; pieces++, turn++) {
            const int way = turn % WAYS;
            const int64_t piece = ways[way].kind == BERT_CUDA_GEMM_S8 ? STAGE_BYTES : STAGE_BYTES / 2;
            if (ways[way].kind != BERT_CUDA_GEMM_S8 && pieces * piece > MOST_K) continue; /* sums are exact */
            const shape s = whole_rows(way, 9, 40, pieces * piece - turn % 3, turn | WITH_RANGES);
            check(&s, tile);
        }
    }
}

static void shared_tiles_do_every_form_of_what_follows(void **state) {
    need_clusters();
    for (int form = 0; form < 6 * FORMS; form++) {
        const shape s = whole_rows(form % WAYS, 19, 72, 200, form);
        check(&s, FIRST_SHARED + form % 2 * 3); /* in two: k of bytes has 4 pieces */
    }
}

static void shared_tiles_are_refused_where_they_can_not_be(void **state) {
    const shape s = whole_rows(0, 4, 16, MOST_K, 0), ragged = shape_of(0, 4, 17, MOST_K, 0),
                flat = whole_rows(0, 4, 16, STAGE_BYTES / 2 * 7, 0);
    for (int turn = 0; turn < 4; turn++) {
        const shape *chosen = turn == 1 ? &ragged : turn == 2 ? &flat : &s;
        if (turn == 0) need_clusters();
#ifdef BERT_CUDA_EMULATED
        if (turn == 3) bert_emulator_have_capability(8, 9);
#else
        if (turn == 3) continue;
#endif
        made x = make(chosen);
        const bert_cuda_tensor_product_args args = {
            .product = &x.product, .floats = &x.floats, .bytes = &x.bytes, .tile = FIRST_SHARED + 2};
        assert_int_equal(bert_cuda_tensor_product(&args, NULL), turn == 0 ? cudaSuccess : cudaErrorNotSupported);
    }
}

/* All of B is fetched while a kernel waits, once, however many rows there are: whole stretches of each of its rows. */
static void weights_are_fetched_once(void **state) {
#ifdef BERT_CUDA_EMULATED
    static const int64_t rows[] = {1, 65};
    need_clusters();
    for (int way = 0; way < WAYS; way++) {
        const bool bytes = ways[way].kind == BERT_CUDA_GEMM_S8;
        const int64_t n = 200, k = bytes ? 528 : 256;
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            for (int tile = 0; tile < BERT_CUDA_TENSOR_PRODUCT_ALL_TILES; tile++) {
                const shape s = shape_of(way, rows[i], n, k, 0);
                made x = make(&s);
                const bert_cuda_tensor_product_args args = {
                    .product = &x.product, .floats = &x.floats, .bytes = &x.bytes, .tile = tile};
                bert_emulator_prefetched();
                case_good(bert_cuda_tensor_product(&args, NULL));
                const int64_t row = (s.transposed ? k : x.padded_n) * (bytes ? 1 : 2);
                assert_int_equal(bert_emulator_prefetched(), (s.transposed ? x.padded_n : k) * up_to(row, 64));
            }
    }
#else
    print_message("skipped: a GPU doesn't tell what it fetched\n");
    skip();
#endif
}

static void only_tiles_that_may_win_are_measured(void **state) {
    static const struct {
        int64_t m, n;
        bool may_win[BERT_CUDA_TENSOR_PRODUCT_ALL_TILES];
    } cases[] = {{16, 768, {false, false, false, true, false, false, false, true, true, true}},
                 {64, 768, {false, false, true, true, true, true, true, true, true, true}},
                 {256, 3072, {true, true, true, true, true, true, true, false, false, false}},
                 {16384, 768, {true, true, true, true, false, false, false, false, false, false}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int tile = 0; tile < BERT_CUDA_TENSOR_PRODUCT_ALL_TILES; tile++)
            assert_int_equal(bert_cuda_tensor_product_may_win(cases[i].m, cases[i].n, tile), cases[i].may_win[tile]);
}

static void y_may_be_the_residual(void **state) {
    for (int way = 0; way < WAYS; way++) {
        const shape s = shape_of(way, 35, way % 2 ? 137 : 136, 40, WITH_RESIDUAL | IN_HALVES | FORMS);
        made x = make(&s);
        const size_t bytes = (size_t)bert_tensor_elements(&x.y[1]->host) * bert_dtype_size(s.dtype);
        assert_int_equal(cudaMemcpy(x.y[1]->device, x.floats.residual, bytes, cudaMemcpyDeviceToDevice), cudaSuccess);
        x.floats.residual = x.bytes.residual = x.y[1]->device;
        x.floats.residual_lower = x.bytes.residual_lower = x.floats.y_lower;
        const bert_cuda_tensor_product_args args = {
            .product = &x.product, .floats = &x.floats, .bytes = &x.bytes, .tile = 2};
        case_good(bert_cuda_tensor_product(&args, NULL));
        expect_same(&s, 2, x.y);
    }
}

static void every_form_of_what_follows(void **state) {
    for (int form = 0; form < 6 * FORMS; form++) {
        const shape s = shape_of(form % WAYS, 19, form / WAYS % 2 ? 72 : 71, 40, form);
        check(&s, 3);
    }
}

/* Blocks of several strips of rows and columns, each of them once. */
static void many_tiles(void **state) {
    for (int way = 0; way < WAYS; way += 3) {
        const shape s = shape_of(way, 2081, 264, 8, WITH_RANGES);
        check(&s, 3);
    }
}

/* ---- Numbers of any kind, against the reference ------------------------------------------------------------------ */

typedef struct linear {
    bert_cuda_gemm_args product;
    bert_cuda_bias_activation_args follows;
    case_tensor *y;
} linear;

static void make_linear(linear *l, bert_dtype dtype, bool transposed, bert_cuda_activation activation, int64_t m,
                        int64_t n, int64_t k) {
    static const char *const names[] = {"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "relu"};
    case_begin(BERT_OP_BERTC_Linear);
    case_string("activation", names[activation]);
    case_int("transpose", transposed);
    const case_tensor *a = case_input(dtype, 2, DIMS(m, k), 1.0F);
    const case_tensor *residual = case_input(dtype, 2, DIMS(m, n), 2.0F);
    const case_tensor *b = case_input(dtype, 2, transposed ? DIMS(n, k) : DIMS(k, n), 0.25F);
    const case_tensor *bias = case_input(dtype, 1, DIMS(n), 1.0F);
    l->y = case_output(dtype, 2, DIMS(m, n));
    l->product = (bert_cuda_gemm_args){.kind = dtype == BERT_FLOAT16 ? BERT_CUDA_GEMM_F16 : BERT_CUDA_GEMM_BF16,
                                       .transpose_b = transposed,
                                       .m = m,
                                       .n = n,
                                       .k = k,
                                       .batch = 1,
                                       .alpha = 1,
                                       .a = a->device,
                                       .b = b->device,
                                       .lda = k,
                                       .ldb = transposed ? k : n,
                                       .ldc = n};
    l->follows = (bert_cuda_bias_activation_args){.dtype = dtype,
                                                  .activation = activation,
                                                  .rows = m,
                                                  .width = n,
                                                  .bias = bias->device,
                                                  .residual = residual->device,
                                                  .y = l->y->device};
}

static cudaError_t run_linear(const linear *l, int tile) {
    const bert_cuda_tensor_product_args args = {.product = &l->product, .floats = &l->follows, .tile = tile};
    return bert_cuda_tensor_product(&args, NULL);
}

/* The bytes of `rows` rows of y, which are then overwritten; the caller's. */
static void *take_rows(const linear *l, int64_t rows) {
    const size_t bytes = (size_t)(rows * l->product.n) * 2;
    void *taken = malloc(bytes);
    assert_int_equal(cudaMemcpy(taken, l->y->device, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_int_equal(cudaMemset(l->y->device, 0xff, bytes), cudaSuccess);
    return taken;
}

static void expect_rows(const linear *l, const void *expected, int64_t rows) {
    void *got = take_rows(l, rows);
    assert_memory_equal(got, expected, (size_t)(rows * l->product.n) * 2);
    free(got);
}

/* All tiles of one block give the same bits, whatever the number of rows. */
static void floats_agree_with_the_reference(void **state) {
    enum { FEW_ROWS = 3 };
    static const int64_t sizes[][3] = {{37, 136, 104}, {130, 64, 200}, {5, 8, 768}};
    for (int turn = 0; turn < 2 * BERT_CUDA_ACTIVATIONS; turn++) {
        const int64_t *size = sizes[turn % 3];
        linear l;
        make_linear(&l, turn % 2 ? BERT_BFLOAT16 : BERT_FLOAT16, turn / 2 % 2,
                    (bert_cuda_activation)(turn % BERT_CUDA_ACTIVATIONS), size[0], size[1], size[2]);
        case_compare(run_linear(&l, 0));
        void *first = take_rows(&l, size[0]);
        for (int tile = 1; tile < BERT_CUDA_TENSOR_PRODUCT_TILES; tile++) {
            case_compare(run_linear(&l, tile));
            expect_rows(&l, first, size[0]);
        }
        l.product.m = l.follows.rows = FEW_ROWS;
        for (int tile = 0; tile < BERT_CUDA_TENSOR_PRODUCT_TILES; tile++) {
            case_good(run_linear(&l, tile));
            expect_rows(&l, first, FEW_ROWS);
        }
        free(first);
    }
}

/* And those of a cluster: near the reference, and the same in every run. */
static void shared_floats_agree_with_the_reference(void **state) {
    static const int64_t m = 37, n = 136, k = 776;
    need_clusters();
    for (int turn = 0; turn < 4 * (BERT_CUDA_TENSOR_PRODUCT_ALL_TILES - FIRST_SHARED); turn++) {
        const int tile = FIRST_SHARED + turn / 4;
        linear l;
        make_linear(&l, turn % 2 ? BERT_BFLOAT16 : BERT_FLOAT16, turn / 2 % 2, BERT_CUDA_NONE, m, n, k);
        case_compare(run_linear(&l, tile));
        void *first = take_rows(&l, m);
        case_good(run_linear(&l, tile));
        expect_rows(&l, first, m);
        free(first);
    }
}

static void what_does_not_fit_is_refused(void **state) {
    const shape s = shape_of(0, 4, 16, 16, 0), whole = shape_of(4, 4, 16, 16, 0);
    for (int fault = 0; fault < 17; fault++) {
        uint8_t byte = 0;
        made x = make(fault < 12 || fault == 16 ? &s : &whole);
        bert_cuda_gemm_args *g = &x.product;
        bert_cuda_tensor_product_args args = {.product = g, .floats = &x.floats, .bytes = &x.bytes, .tile = 2};
        if (fault == 0) g->lda = 17;
        if (fault == 1) g->ldb = 20;
        if (fault == 2) g->a = (const char *)g->a + 8;
        if (fault == 3) g->transpose_a = true;
        if (fault == 4) g->batch = 2;
        if (fault == 5) g->beta = 1;
        if (fault == 6) g->bias = x.floats.y;
        if (fault == 7) g->kind = BERT_CUDA_GEMM_F32;
        if (fault == 8) g->k = 0;
        if (fault == 12) g->transpose_b = false;
        const bool fits = fault > 8 && fault != 12;
        assert_int_equal(bert_cuda_tensor_product_fits(g), fits);
        if (fault == 9) args.tile = BERT_CUDA_TENSOR_PRODUCT_ALL_TILES;
        if (fault == 10) x.floats.dtype = BERT_BFLOAT16;
        if (fault == 11) x.floats.width = 8;
        if (fault == 13) x.bytes.width = 17;
        if (fault == 14) args.bytes = NULL;
        if (fault == 15) x.bytes.y_lower = x.bytes.y;
        if (fault == 16) x.floats.e4m3.bytes = &byte;
        assert_int_equal(bert_cuda_tensor_product(&args, NULL), cudaErrorInvalidValue);
    }
}

/* C and its pitch may be anything. */
static void c_is_not_looked_at(void **state) {
    for (int way = 0; way < WAYS; way += 4) {
        const shape s = shape_of(way, 4, 16, 16, 0);
        made x = make(&s);
        x.product.c = (void *)1;
        x.product.ldc = 0;
        assert_true(bert_cuda_tensor_product_fits(&x.product));
        const bert_cuda_tensor_product_args args = {
            .product = &x.product, .floats = &x.floats, .bytes = &x.bytes, .tile = 2};
        case_good(bert_cuda_tensor_product(&args, NULL));
        expect_same(&s, args.tile, x.y);
    }
}

static void nothing_to_write(void **state) {
    for (int way = 0; way < WAYS; way += 4) {
        const shape s = shape_of(way, 0, 16, 16, 0);
        check(&s, 1);
    }
}

static void the_tile_without_measuring_fills_the_gpu(void **state) {
    assert_int_equal(bert_cuda_tensor_product_tile(16384, 768), 0);
    assert_int_equal(bert_cuda_tensor_product_tile(4096, 768), 1);
    assert_int_equal(bert_cuda_tensor_product_tile(2048, 768), 2);
    assert_int_equal(bert_cuda_tensor_product_tile(1, 1), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_around_every_tile),
        cmocka_unit_test(columns_around_every_tile),
        cmocka_unit_test(depths_around_the_ring),
        cmocka_unit_test(every_form_of_what_follows),
        cmocka_unit_test(y_may_be_the_residual),
        cmocka_unit_test(many_tiles),
        cmocka_unit_test(floats_agree_with_the_reference),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(c_is_not_looked_at),
        cmocka_unit_test(nothing_to_write),
        cmocka_unit_test(the_tile_without_measuring_fills_the_gpu),
        cmocka_unit_test(only_tiles_that_may_win_are_measured),
        cmocka_unit_test_teardown(weights_are_fetched_once, no_clusters),
        cmocka_unit_test_teardown(shared_tiles_around_every_edge, no_clusters),
        cmocka_unit_test_teardown(shared_depths_divide_as_they_can, no_clusters),
        cmocka_unit_test_teardown(shared_tiles_do_every_form_of_what_follows, no_clusters),
        cmocka_unit_test_teardown(shared_floats_agree_with_the_reference, no_clusters),
        cmocka_unit_test_teardown(shared_tiles_are_refused_where_they_can_not_be, no_clusters),
    };
    return cmocka_run_group_tests_name("cuda tensor product", tests, case_open, case_close);
}
