/*
 * Products in which rows are normalized on the way: the kernel in every tile that does so, the provider's ways to the
 * same, and the kernel that gives moments of rows alone, against the reference.
 */
#include "core/graph/canonical.h"
#include "cuda/device.h"
#include "cuda/ops/moments.h"
#include "cuda/ops/tensor_product.h"
#include "tests/cuda/node_case.h"

#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif

#include <math.h>
#include <stdlib.h>

/* What a product has, bit by bit. From FORMS on: the activation. */
enum {
    NORM = 1,          /* of x */
    RESIDUAL = 2,      /* as it is */
    NORM_RESIDUAL = 4, /* in its place */
    MOMENTS = 8,       /* of y */
    BETA = 16,
    BIAS = 32,
    TRANSPOSED = 64,
    FORMS = 128
};

typedef struct sizes {
    int64_t m, n, k;
} sizes;

typedef struct made {
    bert_cuda_gemm_args product;
    bert_cuda_bias_activation_args follows;
    bert_cuda_product_norms norms;
    case_tensor *y, *moments;
} made;

static int64_t groups_of(int64_t width) {
    return (width + BERT_MOMENT_COLUMNS - 1) / BERT_MOMENT_COLUMNS;
}

/* Of `count` elements of a tensor from `first` on. */
static void moments_of(const case_tensor *x, int64_t first, int64_t count, float out[2]) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) sum += case_at(x, first + i);
    for (int64_t i = 0; i < count; i++) squares += pow(case_at(x, first + i) - sum / (double)count, 2);
    out[0] = (float)(sum / (double)count);
    out[1] = (float)squares;
}

static float *moments_of_rows(const case_tensor *x, int64_t rows, int64_t width) {
    const int64_t groups = groups_of(width);
    float *moments = malloc((size_t)(rows * groups * 2 + 1) * sizeof *moments);
    for (int64_t i = 0; i < rows * groups; i++) {
        const int64_t column = i % groups * BERT_MOMENT_COLUMNS, left = width - column;
        moments_of(x, i / groups * width + column, left < BERT_MOMENT_COLUMNS ? left : BERT_MOMENT_COLUMNS,
                   moments + i * 2);
    }
    return moments;
}

/* Rows off zero, each by another number: what a mean is for. */
static const case_tensor *rows_input(int64_t rows, int64_t width) {
    float *values = malloc((size_t)(rows * width + 1) * sizeof *values);
    for (int64_t i = 0; i < rows * width; i++)
        values[i] = (float)(i / width % 7) - 3.0F + (float)((i * 7919 + i / width * 31) % 1021) / 340.0F;
    const case_tensor *x = case_input_floats(BERT_FLOAT16, 2, DIMS(rows, width), values);
    free(values);
    return x;
}

/* Moments, gamma and beta as inputs, or none. */
static bert_cuda_row_norm norm_input(const case_tensor *x, int64_t rows, int64_t width, bool there, bool beta) {
    if (!there) {
        for (int i = 0; i < 3; i++) case_absent();
        return (bert_cuda_row_norm){0};
    }
    float *values = moments_of_rows(x, rows, width);
    const case_tensor *moments = case_input_floats(BERT_FLOAT, 3, DIMS(rows, groups_of(width), 2), values);
    const case_tensor *gamma = case_input(BERT_FLOAT16, 1, DIMS(width), 1.5F);
    free(values);
    bert_cuda_row_norm norm = {.moments = moments->device, .gamma = gamma->device, .epsilon = 0.03F};
    if (beta)
        norm.beta = case_input(BERT_FLOAT16, 1, DIMS(width), 1.0F)->device;
    else
        case_absent();
    return norm;
}

static void make(made *p, sizes s, int form) {
    static const char *const names[] = {"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "relu"};
    const int activation = form / FORMS % BERT_CUDA_ACTIVATIONS;
    const bool transposed = form & TRANSPOSED, residual = form & (RESIDUAL | NORM_RESIDUAL);
    case_begin(BERT_OP_BERTC_LayerNormLinear);
    case_string("activation", names[activation]);
    case_int("transpose", transposed);
    if (form & NORM) case_float("x_epsilon", 0.03F);
    if (form & NORM_RESIDUAL) case_float("residual_epsilon", 0.03F);
    const case_tensor *x = rows_input(s.m, s.k), *added = NULL;
    if (residual)
        added = rows_input(s.m, s.n);
    else
        case_absent();
    p->norms.a = norm_input(x, s.m, s.k, form & NORM, form & BETA);
    p->norms.residual = norm_input(added, s.m, s.n, form & NORM_RESIDUAL, !(form & BETA));
    const case_tensor *weight = case_input(BERT_FLOAT16, 2, transposed ? DIMS(s.n, s.k) : DIMS(s.k, s.n), 0.1F);
    const case_tensor *bias = form & BIAS ? case_input(BERT_FLOAT16, 1, DIMS(s.n), 1.0F) : NULL;
    p->y = loosened(case_output(BERT_FLOAT16, 2, DIMS(s.m, s.n)), 4);
    p->moments = form & MOMENTS ? case_output(BERT_FLOAT, 3, DIMS(s.m, groups_of(s.n), 2)) : NULL;
    if (p->moments) p->moments->tolerance = 4 * case_tolerance(BERT_FLOAT16); /* of y as it was rounded */
    p->norms.moments = p->moments ? p->moments->device : NULL;
    p->product = (bert_cuda_gemm_args){.kind = BERT_CUDA_GEMM_F16,
                                       .transpose_b = transposed,
                                       .m = s.m,
                                       .n = s.n,
                                       .k = s.k,
                                       .batch = 1,
                                       .alpha = 1,
                                       .a = x->device,
                                       .b = weight->device,
                                       .lda = s.k,
                                       .ldb = transposed ? s.k : s.n,
                                       .ldc = s.n};
    p->follows = (bert_cuda_bias_activation_args){.dtype = BERT_FLOAT16,
                                                  .activation = (bert_cuda_activation)activation,
                                                  .rows = s.m,
                                                  .width = s.n,
                                                  .bias = bias ? bias->device : NULL,
                                                  .residual = added ? added->device : NULL,
                                                  .y = p->y->device};
}

static cudaError_t run(const made *p, int tile) {
    const bert_cuda_tensor_product_args args = {
        .product = &p->product, .floats = &p->follows, .norms = &p->norms, .tile = tile};
    return bert_cuda_tensor_product(&args, NULL);
}

/* Moments are those of y as it was stored. */
static void expect_moments(case_tensor *y, case_tensor *moments, int64_t rows, int64_t width) {
    case_fetch(y);
    case_fetch(moments);
    float *expected = moments_of_rows(y, rows, width);
    for (int64_t i = 0; i < rows * groups_of(width) * 2; i++)
        assert_true(fabs(case_at(moments, i) - (double)expected[i]) <= 1e-5 * (1 + fabs((double)expected[i])));
    free(expected);
}

static void check(sizes s, int form, int tile) {
    made p = {0};
    make(&p, s, form);
    case_compare(run(&p, tile));
    if (p.moments) expect_moments(p.y, p.moments, s.m, s.n);
}

/* Tiles that share k among a cluster come behind the others; without the GPU that has them they are skipped. */
static bool have_clusters(void) {
    struct cudaDeviceProp properties;
#ifdef BERT_CUDA_EMULATED
    bert_emulator_have_capability(9, 0);
#endif
    assert_int_equal(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    return properties.major >= 9;
}

static int tiles_with_norms(int32_t out[BERT_CUDA_TENSOR_PRODUCT_ALL_TILES]) {
    const int end = have_clusters() ? BERT_CUDA_TENSOR_PRODUCT_ALL_TILES : BERT_CUDA_TENSOR_PRODUCT_TILES;
    int count = 0;
    for (int32_t tile = 0; tile < end; tile++)
        if (bert_cuda_tensor_product_tile_takes_norms(tile)) out[count++] = tile;
    return count;
}

static void rows_around_every_tile(void **state) {
    static const int64_t rows[] = {1, 2, 15, 31, 32, 33, 63, 64, 65, 97, 130}, columns[] = {8, 72, 128, 136, 200};
    int32_t tiles[BERT_CUDA_TENSOR_PRODUCT_ALL_TILES];
    const int count = tiles_with_norms(tiles);
    int turn = 0;
    assert_true(count >= 2);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int t = 0; t < count; t++, turn++)
            check((sizes){rows[i], columns[turn % 5], 264},
                  turn % 2 * BIAS | NORM | NORM_RESIDUAL | MOMENTS | turn / 2 % 2 * TRANSPOSED | turn / 4 % 2 * BETA,
                  tiles[t]);
}

static void depths_around_pieces_and_moments(void **state) {
    static const int64_t depths[] = {8, 24, 32, 40, 56, 64, 72, 96, 120, 128, 136, 256, 264, 320, 776};
    int32_t tiles[BERT_CUDA_TENSOR_PRODUCT_ALL_TILES];
    const int count = tiles_with_norms(tiles);
    static const int parts[] = {1, 1, 2, 4, 8, 2, 4, 8};
    int turn = 0;
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++)
        for (int t = 0; t < count; t++, turn++)
            if ((depths[i] + 31) / 32 >= parts[t])
                check((sizes){9, 40, depths[i]}, NORM | (turn % 2 ? BETA : TRANSPOSED), tiles[t]);
}

static void every_form(void **state) {
    int32_t tiles[BERT_CUDA_TENSOR_PRODUCT_ALL_TILES];
    const int count = tiles_with_norms(tiles);
    for (int form = 0; form < FORMS; form++) {
        const int activation = form % BERT_CUDA_ACTIVATIONS;
        if (form & RESIDUAL && form & NORM_RESIDUAL) continue;
        check((sizes){35, 136, 264}, form | activation * FORMS, tiles[form / 4 % count]);
    }
}

/* As long as gamma and beta may be: each tile with the shared memory that it takes then. */
static void longest_rows(void **state) {
    int32_t tiles[BERT_CUDA_TENSOR_PRODUCT_ALL_TILES];
    const int count = tiles_with_norms(tiles);
    for (int t = 0; t < count; t++)
        check((sizes){3, 40, BERT_CUDA_MOST_NORM_WIDTH}, NORM | BETA | (t % 2 ? TRANSPOSED : 0), tiles[t]);
    node_case_compare();
}

static void products_are_scaled(void **state) {
    made p = {0};
    make(&p, (sizes){5, 72, 136}, NORM | NORM_RESIDUAL | MOMENTS | BIAS);
    case_float("alpha", 0.25F);
    p.product.alpha = 0.25F;
    case_compare(run(&p, 2));
    node_case_compare();
}

/* Rows that are all alike, and of one number but for the last: as LayerNorm has them, without a NaN. */
static void rows_without_variance(void **state) {
    enum { ROWS = 3, WIDTH = 72, COLUMNS = 16 };
    float values[ROWS * WIDTH], moments[ROWS * 2 * 2];
    for (int i = 0; i < ROWS * WIDTH; i++) values[i] = i / WIDTH == 2 && i % WIDTH == WIDTH - 1 ? 40.0F : 5.0F;
    case_begin(BERT_OP_BERTC_LayerNormLinear);
    case_float("x_epsilon", 1e-5F);
    const case_tensor *x = case_input_floats(BERT_FLOAT16, 2, DIMS(ROWS, WIDTH), values);
    case_absent();
    for (int i = 0; i < ROWS * 2; i++)
        moments_of(x, i / 2 * WIDTH + i % 2 * BERT_MOMENT_COLUMNS, i % 2 ? WIDTH - BERT_MOMENT_COLUMNS : 64,
                   moments + i * 2);
    case_input_floats(BERT_FLOAT, 3, DIMS(ROWS, 2, 2), moments);
    case_input(BERT_FLOAT16, 1, DIMS(WIDTH), 1.0F);
    for (int i = 0; i < 4; i++) case_absent();
    case_input(BERT_FLOAT16, 2, DIMS(WIDTH, COLUMNS), 0.5F);
    loosened(case_output(BERT_FLOAT16, 2, DIMS(ROWS, COLUMNS)), 4);
    node_case_compare();
}

static void what_does_not_fit_is_refused(void **state) {
    made p = {0};
    make(&p, (sizes){5, 40, 64}, NORM | NORM_RESIDUAL | MOMENTS | BIAS);
    assert_int_equal(run(&p, 0), cudaErrorNotSupported); /* a tile of many rows */
    assert_int_equal(run(&p, 2), cudaSuccess);
    made other = p;
    other.norms.a.gamma = (const char *)p.norms.a.gamma + 2;
    assert_int_equal(run(&other, 2), cudaErrorNotSupported);
    other = p;
    other.norms.residual.moments = p.norms.residual.moments + 1;
    assert_int_equal(run(&other, 2), cudaErrorNotSupported);
    other = p;
    other.follows.residual = NULL; /* of which there are moments */
    assert_int_equal(run(&other, 2), cudaErrorInvalidValue);
    other = p;
    other.norms.a.gamma = NULL;
    assert_int_equal(run(&other, 2), cudaErrorNotSupported);
    other = p;
    other.norms.moments = p.norms.moments + 1;
    assert_int_equal(run(&other, 2), cudaErrorNotSupported);
    other = p;
    other.follows.ranges = case_extra(BERT_FLOAT, 2, DIMS(5, 2))->device;
    assert_int_equal(run(&other, 2), cudaErrorInvalidValue);
    other = p;
    other.product.kind = BERT_CUDA_GEMM_BF16;
    other.follows.dtype = BERT_BFLOAT16;
    assert_int_equal(run(&other, 2), cudaErrorInvalidValue);
    other = p;
    other.product.kind = BERT_CUDA_GEMM_S8;
    other.product.transpose_b = true;
    other.product.ldb = 64;
    const bert_cuda_dequantize_args bytes = {.dtype = BERT_FLOAT16, .rows = 5, .width = 40};
    const bert_cuda_tensor_product_args of_bytes = {
        .product = &other.product, .bytes = &bytes, .norms = &other.norms, .tile = 2};
    assert_int_equal(bert_cuda_tensor_product(&of_bytes, NULL), cudaErrorInvalidValue);
    make(&p, (sizes){5, 40, BERT_CUDA_MOST_NORM_WIDTH + 8}, NORM);
    assert_int_equal(run(&p, 2), cudaErrorNotSupported);
    make(&p, (sizes){5, 44, 64}, NORM);
    p.product.ldb = 48;
    assert_int_equal(run(&p, 2), cudaErrorNotSupported); /* rows of y at multiples of 8 bytes */
}

/* ---- Moments alone ----------------------------------------------------------------------------------------------- */

static void moments_of_rows_alone(void **state) {
    static const int64_t widths[] = {8, 56, 64, 72, 128, 136, 768, 1000}, rows[] = {0, 1, 2, 17, 130};
    for (int turn = 0; turn < 40; turn++) {
        const int64_t width = widths[turn % 8], count = rows[turn % 5];
        case_begin(BERT_OP_MatMul);
        const case_tensor *x = rows_input(count, width);
        case_tensor *moments = case_extra(BERT_FLOAT, 3, DIMS(count, groups_of(width), 2));
        const bert_cuda_moments_args args = {.rows = count, .width = width, .x = x->device, .moments = moments->device};
        case_good(bert_cuda_moments(&args, NULL));
        if (count > 0) expect_moments((case_tensor *)x, moments, count, width);
    }
}

static void moments_want_whole_vectors(void **state) {
    case_begin(BERT_OP_MatMul);
    const case_tensor *x = rows_input(2, 20);
    const case_tensor *moments = case_extra(BERT_FLOAT, 3, DIMS(2, 1, 2));
    bert_cuda_moments_args args = {.rows = 2, .width = 20, .x = x->device, .moments = moments->device};
    assert_int_equal(bert_cuda_moments(&args, NULL), cudaErrorNotSupported);
    args.rows = -1;
    assert_int_equal(bert_cuda_moments(&args, NULL), cudaErrorInvalidValue);
}

/* ---- As the provider plans and runs them ------------------------------------------------------------------------- */

/* Of forms that share a choice each has a width of its own: what a GPU measured of one leaves the others alone. */
static void nodes_agree_with_the_reference(void **state) {
    static const int64_t rows[] = {1, 33, 128, 512};
    for (int form = 0; form < 2 * FORMS; form += 3) {
        made p;
        if (form & RESIDUAL && form & NORM_RESIDUAL) continue;
        make(&p, (sizes){rows[form % 4], 72 + form / BETA % 4 * 8, 136}, form);
        node_case_compare_launching("tensor_product_kernel", 1);
    }
}

/* With so many columns other products have tiles of more rows. */
static void many_columns_are_normalized_on_the_way_too(void **state) {
    const sizes size = {512, 4096, 8};
    made p;
    assert_false(bert_cuda_tensor_product_tile_takes_norms(bert_cuda_tensor_product_tile(size.m, size.n)));
    make(&p, size, NORM);
    node_case_compare_launching("tensor_product_kernel", 1);
}

static int ask_the_library(void **state) {
    node_case_device()->policy = BERT_CUDA_PRODUCT_LIBRARY;
    return 0;
}

static int ask_nobody(void **state) {
    node_case_device()->policy = BERT_CUDA_PRODUCT_CHOSEN;
    return 0;
}

/* The same by kernels apart, as where those were faster or the tile doesn't take what it is given. */
static void kernels_apart_agree_with_the_reference(void **state) {
    for (int form = 0; form < 2 * FORMS; form += 3) {
        made p;
        if (form & RESIDUAL && form & NORM_RESIDUAL) continue;
        make(&p, (sizes){form % 2 ? 33 : 5, form % 4 ? 72 : 264, 152}, form);
        loosened(p.y, 2); /* what is normalized, and the product, are rounded on their way */
        node_case_compare_launching("tensor_product_kernel", 0);
    }
}

/* Three weights side by side, as a packed Q, K and V. */
static void parts_stand_side_by_side(void **state) {
    for (int transposed = 0; transposed < 2; transposed++) {
        const int64_t rows = 7, k = 72, n[] = {16, 24, 8};
        case_begin(BERT_OP_BERTC_LayerNormLinear);
        case_int("parts", 3);
        case_int("transpose", transposed);
        case_float("x_epsilon", 0.03F);
        const case_tensor *x = rows_input(rows, k);
        case_absent();
        norm_input(x, rows, k, true, true);
        for (int i = 0; i < 3; i++) case_absent();
        for (int part = 0; part < 3; part++) {
            case_input(BERT_FLOAT16, 2, transposed ? DIMS(n[part], k) : DIMS(k, n[part]), 0.1F);
            case_known();
            if (part == 1) {
                case_absent();
                continue;
            }
            case_input(BERT_FLOAT16, 1, DIMS(n[part]), 1.0F);
            case_known();
        }
        loosened(case_output(BERT_FLOAT16, 2, DIMS(rows, 48)), 4);
        node_case_compare();
    }
}

static void other_nodes_are_left(void **state) {
    made p;
    make(&p, (sizes){513, 16, 16}, NORM);
    node_case_expect_left("takes up to 512 rows");
    make(&p, (sizes){3, 16, 20}, NORM);
    node_case_expect_left("multiples of 8");
    make(&p, (sizes){3, 20, 16}, NORM);
    node_case_expect_left("multiples of 8");
    make(&p, (sizes){3, 16, BERT_CUDA_MOST_NORM_WIDTH + 8}, NORM);
    node_case_expect_left("4096 at most");
    for (int i = 0; i < 2; i++) {
        const bert_dtype dtype = i ? BERT_BFLOAT16 : BERT_FLOAT;
        case_begin(BERT_OP_BERTC_LayerNormLinear);
        case_input(dtype, 2, DIMS(3, 16), 1.0F);
        for (int absent = 0; absent < 7; absent++) case_absent();
        case_input(dtype, 2, DIMS(16, 16), 1.0F);
        case_output(dtype, 2, DIMS(3, 16));
        node_case_expect_left("held in float16");
    }
}

/* Another form, whose choice is another; -1: there is none. */
static int other_form(int form, int bit) {
    const int residual = RESIDUAL | NORM_RESIDUAL;
    if (bit != NORM_RESIDUAL) return form ^ bit;
    return form & residual ? form ^ residual : -1;
}

/* What a run measured decides later plans: of that very product, wherever its weight came from. */
static void plans_learn_from_what_was_measured(void **state) {
    static const int bits[] = {NORM, NORM_RESIDUAL, MOMENTS, TRANSPOSED};
    const bert_cuda_product_maker maker = {.cache = node_case_device()->choices};
    assert_non_null(maker.cache);
    for (int form = 0; form < FORMS; form += 11) {
        const sizes size = {20, 80 + (int64_t)form * 8, 136};
        if (form & RESIDUAL && form & NORM_RESIDUAL) continue;
        for (int way = 0; way < 4; way += 3) {
            made p;
            make(&p, size, form);
            p.product.cold_b = form % 2;
            const bert_cuda_followed_norms norms = {.of = p.norms};
            const bert_cuda_followed_product followed = {.product = &p.product, .floats = &p.follows, .norms = &norms};
            assert_true(bert_cuda_keep_product_choice(&maker, &followed, way, 1));
            if (way > 0) {
                node_case_compare();
                continue;
            }
            node_case_expect_left_when_asked("was measured to be faster apart");
            for (int i = 0; i < 4; i++) {
                if (other_form(form, bits[i]) < 0) continue;
                make(&p, size, other_form(form, bits[i]));
                node_case_compare();
            }
        }
    }
}

/* What follows a product is part of what was measured. Where our own kernel is wanted nobody asks what was. */
static void plans_learn_of_one_activation(void **state) {
    const bert_cuda_product_maker maker = {.cache = node_case_device()->choices};
    const sizes size = {20, 64, 144};
    made p;
    make(&p, size, NORM | FORMS);
    const bert_cuda_followed_norms norms = {.of = p.norms};
    const bert_cuda_followed_product followed = {.product = &p.product, .floats = &p.follows, .norms = &norms};
    assert_true(bert_cuda_keep_product_choice(&maker, &followed, 0, 1));
    node_case_expect_left_when_asked("was measured to be faster apart");
    node_case_device()->policy = BERT_CUDA_PRODUCT_OWN;
    make(&p, size, NORM | FORMS);
    node_case_compare();
    node_case_device()->policy = BERT_CUDA_PRODUCT_CHOSEN;
    make(&p, size, NORM);
    node_case_compare();
    make(&p, size, NORM | 2 * FORMS);
    node_case_compare();
}

static void a_deterministic_session_leaves_them(void **state) {
    made p;
    make(&p, (sizes){3, 16, 16}, NORM);
    node_case_expect_left("is not wanted");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_around_every_tile),
        cmocka_unit_test(depths_around_pieces_and_moments),
        cmocka_unit_test(every_form),
        cmocka_unit_test(longest_rows),
        cmocka_unit_test(products_are_scaled),
        cmocka_unit_test(rows_without_variance),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(moments_of_rows_alone),
        cmocka_unit_test(moments_want_whole_vectors),
        cmocka_unit_test(nodes_agree_with_the_reference),
        cmocka_unit_test(many_columns_are_normalized_on_the_way_too),
        cmocka_unit_test_setup_teardown(kernels_apart_agree_with_the_reference, ask_the_library, ask_nobody),
        cmocka_unit_test(parts_stand_side_by_side),
        cmocka_unit_test(other_nodes_are_left),
        cmocka_unit_test(plans_learn_from_what_was_measured),
        cmocka_unit_test(plans_learn_of_one_activation)};
    const struct CMUnitTest deterministic[] = {cmocka_unit_test(a_deterministic_session_leaves_them)};
    const int failed = cmocka_run_group_tests(deterministic, node_case_open, node_case_close);
    return failed + cmocka_run_group_tests(tests, node_case_open_varying, node_case_close);
}
