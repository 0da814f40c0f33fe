/* Kernels that work row by row: LayerNorm, Embedding, bias and activation. */
#include "core/graph/canonical.h"
#include "core/graph/ops/loops.h"
#include "cuda/ops/bias_activation.h"
#include "cuda/ops/embedding.h"
#include "cuda/ops/layer_norm.h"
#include "cuda/ops/pool.h"
#include "tests/cuda/skip_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const bert_dtype float_types[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};

/* `variant`: bits of skip_case_begin, 3 the sum as well, 4 ranges. */
static void run_skip_case(bert_dtype dtype, int64_t rows, int64_t width, int variant) {
    skip_case c = skip_case_begin(dtype, rows, width, variant, variant & 8);
    case_tensor *ranges = variant & 16 ? case_extra(BERT_FLOAT, 2, DIMS(rows, 2)) : NULL;
    c.args.ranges = ranges ? ranges->device : NULL;
    case_compare(bert_cuda_layer_norm(&c.args, NULL));
    if (ranges) case_expect_ranges(c.y, ranges, rows, width, width);
}

static void layer_norm_agrees_with_the_reference(void **state) {
    static const int64_t rows[] = {0, 1, 3, 4, 5};
    static const int64_t widths[] = {1, 8, 31, 64, 96, 1024, 1031};
    int variant = 0;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++)
            for (size_t k = 0; k < sizeof widths / sizeof *widths; k++, variant++)
                run_skip_case(float_types[i], rows[j], widths[k], variant % 32);
    run_skip_case(BERT_FLOAT16, 1030, 8, 31); /* several warps a block, the last with less */
}

/* Those that have a kernel of their own, and their neighbours. */
static const int64_t usual_widths[] = {384, 512, 520, 760, 768, 776, 1000, 1016, 1024};
enum { USUAL_WIDTHS = sizeof usual_widths / sizeof *usual_widths };

static void layer_norm_knows_the_usual_widths(void **state) {
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < USUAL_WIDTHS; k++)
            for (int variant = 0; variant < 32; variant += 5 + (int)(k % 2))
                run_skip_case(float_types[i], 2, usual_widths[k], variant);
}

/* x alone, without bias, residual and beta. */
static void statistics_case(bert_dtype dtype, int64_t width) {
    case_begin(BERT_OP_LayerNormalization);
    const case_tensor *x = case_input(dtype, 2, DIMS(5, width), 3.0F);
    const case_tensor *gamma = case_input(dtype, 1, DIMS(width), 1.0F);
    case_tensor *y = loosened(case_output(dtype, 2, DIMS(5, width)), 3);
    case_tensor *mean = case_output(BERT_FLOAT, 2, DIMS(5, 1));
    case_tensor *deviation = case_output(BERT_FLOAT, 2, DIMS(5, 1));
    const bert_cuda_layer_norm_args args = {.dtype = dtype,
                                            .rows = 5,
                                            .width = width,
                                            .x = x->device,
                                            .gamma = gamma->device,
                                            .y = y->device,
                                            .mean = mean->device,
                                            .deviation = deviation->device,
                                            .epsilon = 1e-5F};
    case_compare(bert_cuda_layer_norm(&args, NULL));
}

static void layer_norm_gives_its_statistics(void **state) {
    for (size_t i = 0; i < 3; i++) {
        for (int64_t width = 24; width <= 25; width++)
            statistics_case(float_types[i], width); /* in registers, and not */
        for (size_t k = 0; k < USUAL_WIDTHS; k++) statistics_case(float_types[i], usual_widths[k]);
    }
}

static void layer_norm_works_in_place(void **state) {
    for (int64_t width = 32; width <= 33; width++) {
        case_begin(BERT_OP_BERTC_SkipLayerNormalization);
        const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(3, width), 2.0F);
        const case_tensor *residual = case_input(BERT_FLOAT, 2, DIMS(3, width), 2.0F);
        const case_tensor *gamma = case_input(BERT_FLOAT, 1, DIMS(width), 1.0F);
        case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(3, width));
        case_tensor *sum = case_output(BERT_FLOAT, 2, DIMS(3, width));
        void *own_y = y->device, *own_sum = sum->device;
        y->device = x->device;
        sum->device = residual->device;
        const bert_cuda_layer_norm_args args = {.dtype = BERT_FLOAT,
                                                .rows = 3,
                                                .width = width,
                                                .x = x->device,
                                                .residual = residual->device,
                                                .gamma = gamma->device,
                                                .sum = residual->device,
                                                .y = x->device,
                                                .epsilon = 1e-12F};
        y->tolerance *= 3;
        case_float("epsilon", 1e-12F);
        case_compare(bert_cuda_layer_norm(&args, NULL));
        y->device = own_y;
        sum->device = own_sum;
    }
}

/* ---- Bias and activation -------------------------------------------------------------------------------------------
 */

static const char *const activation_names[] = {"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "relu"};

/* Against a Linear whose weight is the identity: x w is x itself. `variant`: bit 0 residual, 1 bias, 2 ranges, from 3
 * on the activation. */
static void epilogue_case(bert_dtype dtype, int64_t rows, int64_t width, int variant) {
    const int activation = variant / 8 % BERT_CUDA_ACTIVATIONS;
    case_begin(BERT_OP_BERTC_Linear);
    case_string("activation", activation_names[activation]);
    const case_tensor *x = case_input(dtype, 2, DIMS(rows, width), 4.0F);
    const case_tensor *residual = NULL, *bias = NULL;
    if (variant & 1)
        residual = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    else
        case_absent();
    float identity[64 * 64] = {0};
    assert_true(width <= 64);
    for (int64_t i = 0; i < width; i++) identity[i * width + i] = 1;
    case_input_floats(dtype, 2, DIMS(width, width), identity);
    if (variant & 2) bias = case_input(dtype, 1, DIMS(width), 1.0F);
    case_tensor *y = case_output(dtype, 2, DIMS(rows, width));
    case_tensor *ranges = variant & 4 ? case_extra(BERT_FLOAT, 2, DIMS(rows, 2)) : NULL;
    const bert_cuda_bias_activation_args args = {.dtype = dtype,
                                                 .activation = (bert_cuda_activation)activation,
                                                 .rows = rows,
                                                 .width = width,
                                                 .x = x->device,
                                                 .bias = bias ? bias->device : NULL,
                                                 .residual = residual ? residual->device : NULL,
                                                 .y = y->device,
                                                 .ranges = ranges ? ranges->device : NULL};
    case_compare(bert_cuda_bias_activation(&args, NULL));
    if (ranges) case_expect_ranges(y, ranges, rows, width, width);
}

/* Rows and columns of x have scales, powers of two, which the reference's x and weight hold already. */
static void scaled_epilogue_case(bert_dtype dtype, int64_t rows, int64_t width) {
    float raw_values[5 * 64], values[5 * 64], weights[64 * 64] = {0}, row_scales[5], column_scales[64];
    for (int64_t i = 0; i < width; i++) {
        column_scales[i] = ldexpf(1, (int)(i % 5) - 2);
        weights[i * width + i] = column_scales[i] * 0.5F;
    }
    for (int64_t i = 0; i < rows * width; i++) {
        row_scales[i / width] = ldexpf(1, (int)(i / width % 3));
        raw_values[i] = (float)(i * 7 % 33 - 16) / 8;
        values[i] = raw_values[i] * row_scales[i / width];
    }
    case_begin(BERT_OP_BERTC_Linear);
    case_string("activation", "gelu");
    case_input_floats(dtype, 2, DIMS(rows, width), values);
    const case_tensor *residual = case_input(dtype, 2, DIMS(rows, width), 2.0F);
    case_input_floats(dtype, 2, DIMS(width, width), weights);
    const case_tensor *bias = case_input(dtype, 1, DIMS(width), 1.0F);
    case_tensor *y = case_output(dtype, 2, DIMS(rows, width)), *raw = case_extra(dtype, 2, DIMS(rows, width));
    case_tensor *by_row = case_extra(BERT_FLOAT, 1, DIMS(rows)), *by_column = case_extra(BERT_FLOAT, 1, DIMS(width));
    const size_t bytes = (size_t)(rows * width) * (dtype == BERT_FLOAT ? 4 : 2);
    for (int64_t i = 0; i < rows * width; i++) bert_store(&raw->host, i, (double)raw_values[i]);
    assert_int_equal(cudaMemcpy(raw->device, raw->host.data, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    cudaMemcpy(by_row->device, row_scales, (size_t)rows * sizeof *row_scales, cudaMemcpyHostToDevice);
    cudaMemcpy(by_column->device, column_scales, (size_t)width * sizeof *column_scales, cudaMemcpyHostToDevice);
    const bert_cuda_bias_activation_args args = {.dtype = dtype,
                                                 .activation = BERT_CUDA_GELU,
                                                 .rows = rows,
                                                 .width = width,
                                                 .x = raw->device,
                                                 .bias = bias->device,
                                                 .residual = residual->device,
                                                 .row_scales = by_row->device,
                                                 .column_scales = by_column->device,
                                                 .scale = 0.5F,
                                                 .y = y->device};
    case_compare(bert_cuda_bias_activation(&args, NULL));
}

static void scales_of_rows_and_columns_come_first(void **state) {
    for (size_t i = 0; i < 3; i++) {
        scaled_epilogue_case(float_types[i], 5, 33);
        scaled_epilogue_case(float_types[i], 3, 64);
    }
    const float one = 1;
    const bert_cuda_bias_activation_args half = {.dtype = BERT_FLOAT, .rows = 1, .width = 1, .row_scales = &one};
    assert_int_equal(bert_cuda_bias_activation(&half, NULL), cudaErrorInvalidValue);
}

static void bias_and_activation_agree_with_the_reference(void **state) {
    static const int64_t widths[] = {1, 7, 8, 33, 64};
    int variant = 0;
    for (size_t i = 0; i < 3; i++)
        for (int64_t rows = 0; rows < 4; rows++)
            for (size_t k = 0; k < sizeof widths / sizeof *widths; k++, variant++)
                epilogue_case(float_types[i], rows, widths[k], variant);
    for (variant = 0; variant < 8 * BERT_CUDA_ACTIVATIONS; variant++) epilogue_case(BERT_FLOAT, 2, 40, variant);
}

/* Blocks of one row a thread, and of several: each form of the kernel, and rows of single elements. */
static void a_thread_has_several_of_many_rows(void **state) {
    static const int64_t rows[] = {512, 513, 1531, 2049};
    static const int variants[] = {8 + 2, 8 + 4 + 2, 4 + 1, 2 + 1, 5 * 8 + 7}; /* GELU, no activation, another one */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof variants / sizeof *variants; k++)
            epilogue_case(float_types[(i + k) % 3], rows[i], (i + k) % 4 ? 8 : 9, variants[k]);
    epilogue_case(BERT_FLOAT16, 65537, 1, 4 + 1); /* more blocks than one dimension of a grid has */
}

/* Vectors are loaded where x begins at one; elsewhere the emulator would find it. */
static void normalized_rows_begin_anywhere(void **state) {
    for (size_t i = 0; i < 3; i++) {
        const int64_t rows = 3, width = 768;
        const size_t size = bert_dtype_size(float_types[i]);
        skip_case c = skip_case_begin(float_types[i], rows, width, 3, false);
        char *shifted = (char *)case_extra(float_types[i], 1, DIMS(rows * width + 1))->device + size;
        cudaMemcpy(shifted, c.args.x, (size_t)(rows * width) * size, cudaMemcpyDeviceToDevice);
        c.args.x = shifted;
        case_compare(bert_cuda_layer_norm(&c.args, NULL));
    }
}

/* As exact as 0.5 x (1 + erff(x / sqrt 2)) is with an erff that is good to 2 units in the last place. */
static void gelu_is_exact_at_every_magnitude(void **state) {
    enum { COUNT = 1 << 16, WIDTH = 1024 };
    float *numbers = calloc(COUNT, sizeof *numbers);
    for (uint32_t i = 0; i < COUNT; i++) { /* every exponent, from subnormal numbers on */
        const uint32_t bits = i / 2 * (0x7f800000U / (COUNT / 2)) + i * 19 % 0x10000U;
        const uint32_t number = bits | i % 2 << 31;
        memcpy(&numbers[i], &number, sizeof number);
    }
    for (uint32_t i = 0; i < COUNT / 2; i++) /* and those between that matter most */
        numbers[i * 2 + (i / 8) % 2] = ((float)i / (COUNT / 2) - 0.5F) * 16;
    numbers[0] = INFINITY;
    numbers[1] = NAN;
    numbers[2] = -INFINITY; /* NaN in the formula */
    case_begin(BERT_OP_Identity);
    const case_tensor *x = case_input_floats(BERT_FLOAT, 2, DIMS(COUNT / WIDTH, WIDTH), numbers);
    case_tensor *y = case_extra(BERT_FLOAT, 2, DIMS(COUNT / WIDTH, WIDTH));
    const bert_cuda_bias_activation_args args = {.dtype = BERT_FLOAT,
                                                 .activation = BERT_CUDA_GELU,
                                                 .rows = COUNT / WIDTH,
                                                 .width = WIDTH,
                                                 .x = x->device,
                                                 .y = y->device};
    case_good(bert_cuda_bias_activation(&args, NULL));
    const float *got = case_fetch(y);
#ifdef BERT_CUDA_EMULATED
    const double most_off = 1e-7;
#else
    const double most_off = 1e-7 + 0x1p-23; /* by ex2.approx */
#endif
    assert_true(got[0] == INFINITY && isnan(got[1]) && isnan(got[2]));
    for (int i = 3; i < COUNT; i++) {
        const double exact = (double)numbers[i], expected = exact * 0.5 * erfc(-exact / sqrt(2));
        if (fabs((double)got[i] - expected) > most_off * fabs(exact) + 0x1p-149)
            fail_msg("GELU of %.9g is %.9g instead of %.9g", exact, (double)got[i], expected);
    }
    free(numbers);
}

/* Each stretch of a row has a range: rows of whole vectors, and of single elements. */
static void a_wide_row_has_a_range_for_each_stretch(void **state) {
    static const int64_t widths[] = {127, 128, 129, 136, 256, 257, 1300, 1304};
    for (size_t i = 0; i < 3 * sizeof widths / sizeof *widths; i++) {
        const int64_t width = widths[i / 3], rows = i < 21 ? 3 : 403, stretches = bert_cuda_stretches(width);
        case_begin(BERT_OP_Relu);
        const case_tensor *x = case_input(float_types[i % 3], 2, DIMS(rows, width), 4.0F);
        case_tensor *y = case_output(float_types[i % 3], 2, DIMS(rows, width));
        case_tensor *ranges = case_extra(BERT_FLOAT, 2, DIMS(rows, 2 * stretches));
        const bert_cuda_bias_activation_args args = {.dtype = float_types[i % 3],
                                                     .activation = BERT_CUDA_RELU,
                                                     .rows = rows,
                                                     .width = width,
                                                     .x = x->device,
                                                     .y = y->device,
                                                     .ranges = ranges->device};
        case_compare(bert_cuda_bias_activation(&args, NULL));
        case_expect_ranges(y, ranges, rows, width, BERT_CUDA_STRETCH);
    }
}

/* ---- Embedding -----------------------------------------------------------------------------------------------------
 */

enum { WORDS = 11, POSITIONS = 7, TYPES = 2 };

/* `variant`: bit 0 ids of 32 bits, 1 positions, 2 types, 3 LayerNorm, 4 one row of positions for all sequences. */
static void embedding_case(bert_dtype dtype, int64_t batch, int64_t length, int64_t width, int variant) {
    int64_t ids[64], position_ids[64];
    int32_t narrow[64];
    for (int64_t i = 0; i < batch * length; i++) {
        ids[i] = i * 5 % (2 * WORDS) - WORDS; /* negative ones count from the end */
        narrow[i] = (int32_t)ids[i];
        position_ids[i] = i % POSITIONS;
    }
    case_begin(BERT_OP_BERTC_Embedding);
    case_float("epsilon", 1e-5F);
    const bert_dtype id_type = variant & 1 ? BERT_INT32 : BERT_INT64;
    const int64_t position_rows = variant & 16 ? 1 : batch;
    const case_tensor *word_ids =
        case_input_of(id_type, 2, DIMS(batch, length), variant & 1 ? (const void *)narrow : ids);
    const case_tensor *words = case_input(dtype, 2, DIMS(WORDS, width), 1.0F);
    bert_cuda_embedding_args args = {
        .dtype = dtype, .batch = batch, .length = length, .width = width, .epsilon = 1e-5F};
    args.word = (bert_cuda_embedding_table){word_ids->device, id_type, length, 1, words->device, WORDS};
    if (variant & 2) {
        const case_tensor *at = case_input_of(BERT_INT64, 2, DIMS(position_rows, length), position_ids);
        const case_tensor *table = case_input(dtype, 2, DIMS(POSITIONS, width), 1.0F);
        args.position = (bert_cuda_embedding_table){at->device, BERT_INT64,    position_rows == 1 ? 0 : length,
                                                    1,          table->device, POSITIONS};
    } else {
        case_absent();
        case_absent();
    }
    if (variant & 4) {
        const case_tensor *at = case_input(BERT_INT64, 2, DIMS(batch, length), TYPES);
        const case_tensor *table = case_input(dtype, 2, DIMS(TYPES, width), 1.0F);
        args.type = (bert_cuda_embedding_table){at->device, BERT_INT64, length, 1, table->device, TYPES};
    } else {
        case_absent();
        case_absent();
    }
    if (variant & 8) {
        args.gamma = case_input(dtype, 1, DIMS(width), 1.0F)->device;
        args.beta = case_input(dtype, 1, DIMS(width), 1.0F)->device;
    }
    case_tensor *y = case_output(dtype, 3, DIMS(batch, length, width));
    case_tensor *ranges = case_extra(BERT_FLOAT, 2, DIMS(batch * length, 2));
    y->tolerance *= 3;
    args.y = y->device;
    args.ranges = ranges->device;
    case_compare(bert_cuda_embedding(&args, NULL));
    if (width) case_expect_ranges(y, ranges, batch * length, width, width);
}

static void embedding_agrees_with_the_reference(void **state) {
    static const int64_t widths[] = {8, 33, 64};
    int variant = 0;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++)
            for (int turn = 0; turn < 6; turn++, variant += 5)
                embedding_case(float_types[i], turn % 3, turn + 1, widths[k], variant % 32);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < USUAL_WIDTHS; k++)
            for (int turn = 0; turn < 3; turn++, variant += 5)
                embedding_case(float_types[i], 1, 2, usual_widths[k], variant % 32);
}

static void embedding_packs_the_tokens_that_it_is_told(void **state) {
    for (int64_t width = 16; width <= 17; width++) {
        const int32_t ids[] = {1, 2, 0, 3, 4, 5}, sources[] = {0, 1, 3, 4, 5};
        case_begin(BERT_OP_BERTC_Embedding);
        const case_tensor *word_ids = case_input_of(BERT_INT32, 2, DIMS(2, 3), ids);
        case_tensor *words = case_input(BERT_FLOAT, 2, DIMS(WORDS, width), 1.0F);
        const case_tensor *at = case_input_of(BERT_INT32, 1, DIMS(5), sources);
        case_tensor *y = case_extra(BERT_FLOAT, 2, DIMS(5, width));
        const bert_cuda_embedding_args args = {
            .dtype = BERT_FLOAT,
            .batch = 2,
            .length = 3,
            .width = width,
            .word = {word_ids->device, BERT_INT32, 3, 1, words->device, WORDS},
            .sources = at->device,
            .tokens = 5,
            .y = y->device,
        };
        case_good(bert_cuda_embedding(&args, NULL));
        case_fetch(y);
        for (int64_t i = 0; i < 5 * width; i++)
            assert_true(case_at(y, i) == case_at(words, ids[sources[i / width]] * width + i % width));
    }
}

/* The table of words or types gets the bad ids, the other one good ones. */
static void bad_id_case(int64_t width, bool types) {
    const int64_t bad[] = {1, WORDS, 2, -WORDS - 1}, good[] = {0, 1, 2, 3};
    case_begin(BERT_OP_BERTC_Embedding);
    const case_tensor *word_ids = case_input_of(BERT_INT64, 2, DIMS(2, 2), types ? good : bad);
    const case_tensor *type_ids = case_input_of(BERT_INT64, 2, DIMS(2, 2), types ? bad : good);
    const case_tensor *words = case_input(BERT_FLOAT, 2, DIMS(WORDS, width), 1.0F);
    const bert_cuda_bad_index none = {0};
    case_tensor *report = case_input_of(BERT_UINT8, 1, DIMS(sizeof none), &none);
    case_tensor *y = case_extra(BERT_FLOAT, 3, DIMS(2, 2, width));
    const bert_cuda_embedding_args args = {.dtype = BERT_FLOAT,
                                           .batch = 2,
                                           .length = 2,
                                           .width = width,
                                           .word = {word_ids->device, BERT_INT64, 2, 1, words->device, WORDS},
                                           .type = {type_ids->device, BERT_INT64, 2, 1, words->device, WORDS},
                                           .y = y->device,
                                           .check = {report->device, 42}};
    case_good(bert_cuda_embedding(&args, NULL));
    bert_cuda_bad_index found;
    memcpy(&found, case_fetch(report), sizeof found);
    assert_int_equal(found.found, 1);
    assert_int_equal(found.node, 42);
    assert_int_equal(found.input, types ? BERT_EMBEDDING_TYPE_IDS : BERT_EMBEDDING_WORD_IDS);
    assert_int_equal(found.bound, WORDS);
    assert_true((found.position == 1 && found.value == WORDS) || (found.position == 3 && found.value == -WORDS - 1));
}

static void an_id_outside_its_table_is_reported(void **state) {
    for (int variant = 0; variant < 4; variant++) bad_id_case(8 + variant % 2, variant >= 2);
}

/* ---- Pooling -------------------------------------------------------------------------------------------------------
 */

static const char *const poolings[] = {"first", "mean", "max"};

static const bert_dtype mask_types[] = {BERT_BOOL,  BERT_INT8,    BERT_UINT8,    BERT_INT32,
                                        BERT_INT64, BERT_FLOAT16, BERT_BFLOAT16, BERT_FLOAT};

enum { MOST_TIMES = 90 };

/* Sequences of 3, 0 and 4 rows (`packed`), or four of 3 tokens, of which some count, and some twice; or so many times
 * as long. */
static void pool_case(bert_dtype dtype, int64_t width, int pooling, bool packed, const bert_dtype *mask_type,
                      bool normalize, int32_t times) {
    const int32_t offsets[] = {0, 3 * times, 3 * times, 7 * times};
    const int64_t batch = packed ? 3 : 4, sequence = (packed ? 7 : 3) * times;
    case_begin(BERT_OP_BERTC_Pool);
    case_string("pooling", poolings[pooling]);
    case_int("normalize", normalize);
    case_float("epsilon", 0.5F);
    const case_tensor *x = case_input(dtype, 3, DIMS(packed ? 1 : batch, sequence, width), 2.0F);
    const case_tensor *mask = NULL, *at = NULL;
    int32_t late[4 * 3 * MOST_TIMES] = {0}; /* with int32 the first sequence's first 256 tokens don't count */
    for (int64_t i = 256; i < batch * sequence; i++) late[i] = (int32_t)(i % 3);
    if (mask_type && *mask_type == BERT_INT32 && sequence > 256)
        mask = case_input_of(BERT_INT32, 2, DIMS(batch, sequence), late);
    else if (mask_type)
        mask = case_input(*mask_type, 2, DIMS(batch, sequence), 3.0F);
    else
        case_absent();
    if (packed) at = case_input_of(BERT_INT32, 1, DIMS(4), offsets);
    case_tensor *y = case_output(dtype, 2, DIMS(batch, width));
    if (times > 1) y->tolerance = 1e-4; /* of sums that may be small beside what is summed */
    const bert_cuda_pool_args args = {.dtype = dtype,
                                      .pooling = (bert_cuda_pooling)pooling,
                                      .batch = batch,
                                      .width = width,
                                      .offsets = at ? at->device : NULL,
                                      .sequence = sequence,
                                      .mask = mask ? mask->device : NULL,
                                      .mask_dtype = mask_type ? *mask_type : BERT_DTYPE_UNDEFINED,
                                      .x = x->device,
                                      .y = y->device,
                                      .values =
                                          normalize ? case_extra(BERT_FLOAT, 2, DIMS(batch, width))->device : NULL,
                                      .epsilon = 0.5F};
    case_compare(bert_cuda_pool(&args, NULL));
}

static void pooling_agrees_with_the_reference(void **state) {
    for (int variant = 0; variant < 36; variant++) {
        const bert_dtype dtype = float_types[variant % 3], mask = mask_types[variant % 8];
        const int64_t width = variant % 7 * 3 + 1;
        pool_case(dtype, width, variant / 3 % 3, true, NULL, variant / 9 % 2, 1);
        pool_case(dtype, width, variant / 3 % 3, false, NULL, variant / 9 % 2, 1);
        pool_case(dtype, width, variant / 3 % 3, false, &mask, variant / 9 % 2, 1);
    }
    /* Several columns a thread, and more rows than are weighed at a time. */
    for (int variant = 0; variant < 12; variant++) {
        const bert_dtype mask = mask_types[variant % 8];
        pool_case(BERT_FLOAT, 300, variant % 3, true, NULL, variant % 2, 90);
        pool_case(BERT_FLOAT, 513, variant % 3, false, &mask, variant / 3 % 2, variant < 6 ? 1 : 87);
        pool_case(BERT_FLOAT, 5, variant % 3, false, &mask_types[3], false, MOST_TIMES);
    }
}

static void wrong_arguments_are_refused(void **state) {
    assert_int_equal(
        bert_cuda_layer_norm(&(bert_cuda_layer_norm_args){.dtype = BERT_INT32, .rows = 1, .width = 1}, NULL),
        cudaErrorInvalidValue);
    assert_int_equal(
        bert_cuda_bias_activation(&(bert_cuda_bias_activation_args){.dtype = BERT_FLOAT, .rows = -1, .width = 1}, NULL),
        cudaErrorInvalidValue);
    const int32_t gamma = 0;
    assert_int_equal(bert_cuda_embedding(&(bert_cuda_embedding_args){.dtype = BERT_FLOAT, .gamma = &gamma}, NULL),
                     cudaErrorInvalidValue);
    const bert_cuda_pool_args pools[] = {{.dtype = BERT_DOUBLE, .batch = 1, .width = 1},
                                         {.dtype = BERT_FLOAT, .batch = -1, .width = 1},
                                         {.dtype = BERT_FLOAT, .mask = &gamma, .mask_dtype = BERT_INT16},
                                         {.dtype = BERT_FLOAT16, .x_lower = (const uint16_t *)&gamma}};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        assert_int_equal(bert_cuda_pool(&pools[i], NULL), cudaErrorInvalidValue);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norm_agrees_with_the_reference),
        cmocka_unit_test(layer_norm_knows_the_usual_widths),
        cmocka_unit_test(layer_norm_gives_its_statistics),
        cmocka_unit_test(layer_norm_works_in_place),
        cmocka_unit_test(bias_and_activation_agree_with_the_reference),
        cmocka_unit_test(scales_of_rows_and_columns_come_first),
        cmocka_unit_test(a_thread_has_several_of_many_rows),
        cmocka_unit_test(normalized_rows_begin_anywhere),
        cmocka_unit_test(gelu_is_exact_at_every_magnitude),
        cmocka_unit_test(a_wide_row_has_a_range_for_each_stretch),
        cmocka_unit_test(embedding_agrees_with_the_reference),
        cmocka_unit_test(embedding_packs_the_tokens_that_it_is_told),
        cmocka_unit_test(an_id_outside_its_table_is_reported),
        cmocka_unit_test(pooling_agrees_with_the_reference),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
