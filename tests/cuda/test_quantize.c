/* Dynamic quantization: integers to the last bit, and a whole QuantizedLinear around a plain product. */
#include "cuda/ops/elementwise.h"
#include "cuda/ops/quantize.h"
#include "tests/cuda/kernel_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct quantized {
    case_tensor *ranges, *scales, *zero_points, *values, *sums;
    int64_t pitch, scale_stride; /* from row to row; 0: all share the first */
} quantized;

/* Groups of `group_rows` rows, of which the last may be short: where each begins. NULL where there is one. */
static const case_tensor *groups_of(int64_t rows, int64_t group_rows, int64_t *groups) {
    *groups = (rows + group_rows - 1) / group_rows;
    if (*groups == 1) return NULL;
    int32_t *offsets = malloc((size_t)(*groups + 1) * sizeof *offsets);
    for (int64_t i = 0; i <= *groups; i++) offsets[i] = (int32_t)(i < *groups ? i * group_rows : rows);
    const case_tensor *tensor = case_extra(BERT_INT32, 1, DIMS(*groups + 1));
    const size_t bytes = (size_t)(*groups + 1) * sizeof *offsets;
    assert_int_equal(cudaMemcpy(tensor->device, offsets, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    free(offsets);
    return tensor;
}

/* From x [rows, width] to its bytes, one scale for `group_rows` rows. */
static quantized quantize(const case_tensor *x, int64_t rows, int64_t width, int64_t group_rows, bool shifted,
                          int64_t pitch) {
    int64_t groups;
    const case_tensor *offsets = groups_of(rows, group_rows, &groups);
    quantized q = {.ranges = case_extra(BERT_FLOAT, 2, DIMS(rows, 2)),
                   .scales = case_extra(BERT_FLOAT, 1, DIMS(offsets ? rows : 1)),
                   .zero_points = case_extra(BERT_INT32, 1, DIMS(offsets ? rows : 1)),
                   .values = case_extra(shifted ? BERT_INT8 : BERT_UINT8, 2, DIMS(rows, pitch)),
                   .sums = case_extra(BERT_INT32, 1, DIMS(rows)),
                   .pitch = pitch,
                   .scale_stride = offsets ? 1 : 0};
    const bert_cuda_row_ranges_args ranges = {x->host.dtype, rows, width, x->device, q.ranges->device};
    case_good(bert_cuda_row_ranges(&ranges, NULL));
    const bert_cuda_quantization_args scales = {.ranges = q.ranges->device,
                                                .rows = rows,
                                                .ranges_per_row = 1,
                                                .offsets = offsets ? offsets->device : NULL,
                                                .groups = groups,
                                                .scales = q.scales->device,
                                                .zero_points = q.zero_points->device};
    case_good(bert_cuda_quantization(&scales, NULL));
    const bert_cuda_quantize_args args = {.dtype = x->host.dtype,
                                          .rows = rows,
                                          .width = width,
                                          .x = x->device,
                                          .step = 1,
                                          .scales = q.scales->device,
                                          .zero_points = q.zero_points->device,
                                          .scale_stride = q.scale_stride,
                                          .shifted = shifted,
                                          .y = q.values->device,
                                          .pitch = pitch,
                                          .sums = q.sums->device};
    case_good(bert_cuda_quantize(&args, NULL));
    case_fetch(q.scales);
    case_fetch(q.zero_points);
    case_fetch(q.values);
    case_fetch(q.sums);
    return q;
}

/* DynamicQuantizeLinear of each group alone must give what the kernels gave. */
static void quantize_case(int64_t rows, int64_t width, int64_t group_rows, bool shifted, int64_t pitch, float scale) {
    float *data = malloc((size_t)(rows * width) * sizeof *data);
    for (int64_t i = 0; i < rows * width; i++) data[i] = sinf((float)i * 0.7F) * scale + (i % 11 == 3 ? 0.4F : 0.0F);
    for (int64_t first = 0; first < rows; first += group_rows) {
        const int64_t count = first + group_rows < rows ? group_rows : rows - first;
        case_begin(BERT_OP_DynamicQuantizeLinear);
        case_input_of(BERT_FLOAT, 2, DIMS(count, width), data + first * width);
        case_tensor *y = case_output(BERT_UINT8, 2, DIMS(count, width));
        case_tensor *y_scale = case_output(BERT_FLOAT, 0, NULL), *y_zero = case_output(BERT_UINT8, 0, NULL);
        case_tensor *x = case_extra(BERT_FLOAT, 2, DIMS(rows, width));
        const size_t bytes = (size_t)(rows * width) * sizeof *data;
        assert_int_equal(cudaMemcpy(x->device, data, bytes, cudaMemcpyHostToDevice), cudaSuccess);
        const quantized q = quantize(x, rows, width, group_rows, shifted, pitch);
        const uint8_t zero_point = (uint8_t)case_at(q.zero_points, first);
        const float factor = (float)case_at(q.scales, first);
        assert_int_equal(cudaMemcpy(y_scale->device, &factor, sizeof factor, cudaMemcpyHostToDevice), cudaSuccess);
        assert_int_equal(cudaMemcpy(y_zero->device, &zero_point, 1, cudaMemcpyHostToDevice), cudaSuccess);
        uint8_t *values = malloc((size_t)(count * width));
        for (int64_t row = 0; row < count; row++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < pitch; i++) {
                const int32_t value = (int32_t)case_at(q.values, (first + row) * pitch + i);
                if (i >= width) assert_int_equal(value, 0);
                if (i < width) values[row * width + i] = (uint8_t)(value + (shifted ? 128 : 0));
                sum += value;
            }
            assert_true(case_at(q.sums, first + row) == sum);
        }
        assert_int_equal(cudaMemcpy(y->device, values, (size_t)(count * width), cudaMemcpyHostToDevice), cudaSuccess);
        free(values);
        y_scale->tolerance = 0;
        case_compare(cudaSuccess);
    }
    free(data);
}

static void quantizing_is_exact(void **state) {
    quantize_case(1, 1, 1, false, 1, 1);
    quantize_case(5, 7, 5, true, 7, 3);   /* the whole tensor */
    quantize_case(5, 8, 2, false, 8, 3);  /* sequences, the last one short */
    quantize_case(4, 33, 1, true, 48, 2); /* rows, and room for a product that wants multiples of 16 */
    quantize_case(3, 128, 3, true, 128, 9);
    quantize_case(2, 5, 1, true, 8, 0); /* all but a few are 0 */
    quantize_case(300, 2, 300, true, 2, 1);
}

static void ragged_groups_have_scales_of_their_own(void **state) {
    const float ranges[] = {-1, 1, 0, 2, -3, 0, 0, 0, -1, 4};
    const int32_t offsets[] = {0, 2, 2, 3, 5};
    case_begin(BERT_OP_Identity);
    const case_tensor *r = case_input_of(BERT_FLOAT, 2, DIMS(5, 2), ranges);
    const case_tensor *at = case_input_of(BERT_INT32, 1, DIMS(5), offsets);
    case_tensor *scales = case_extra(BERT_FLOAT, 1, DIMS(5)), *zero_points = case_extra(BERT_INT32, 1, DIMS(5));
    case_tensor *byte = case_extra(BERT_UINT8, 1, DIMS(1));
    const bert_cuda_quantization_args args = {.ranges = r->device,
                                              .rows = 5,
                                              .ranges_per_row = 1,
                                              .offsets = at->device,
                                              .groups = 4,
                                              .scales = scales->device,
                                              .zero_points = zero_points->device,
                                              .first_zero_point = byte->device};
    case_good(bert_cuda_quantization(&args, NULL));
    case_fetch(scales);
    case_fetch(zero_points);
    case_fetch(byte);
    const float expected[] = {3.0F / 255, 3.0F / 255, 3.0F / 255, 5.0F / 255, 5.0F / 255};
    const int32_t zeros[] = {85, 85, 255, 51, 51};
    for (int i = 0; i < 5; i++) {
        assert_true((float)case_at(scales, i) == expected[i]);
        assert_true(case_at(zero_points, i) == zeros[i]);
    }
    assert_true(case_at(byte, 0) == 85);
}

static void rows_that_do_not_count_are_left_out(void **state) {
    const float ranges[] = {-1, 1, 0, 9, -3, 0, 0, 4};
    const uint8_t counted[] = {1, 0, 0, 0}; /* of the second group none: then all of it counts */
    case_begin(BERT_OP_Identity);
    const case_tensor *r = case_input_of(BERT_FLOAT, 2, DIMS(4, 2), ranges);
    const case_tensor *which = case_input_of(BERT_BOOL, 1, DIMS(4), counted);
    int64_t groups;
    const case_tensor *at = groups_of(4, 2, &groups);
    case_tensor *scales = case_extra(BERT_FLOAT, 1, DIMS(4)), *zero_points = case_extra(BERT_INT32, 1, DIMS(4));
    const bert_cuda_quantization_args args = {.ranges = r->device,
                                              .rows = 4,
                                              .ranges_per_row = 1,
                                              .offsets = at->device,
                                              .groups = groups,
                                              .counted = which->device,
                                              .scales = scales->device,
                                              .zero_points = zero_points->device};
    case_good(bert_cuda_quantization(&args, NULL));
    case_fetch(scales);
    for (int i = 0; i < 4; i++) assert_true((float)case_at(scales, i) == (i < 2 ? 2.0F : 7.0F) / 255);
}

/* Ranges of parts of rows make the scales that ranges of whole rows make, of all of x and of each row. */
static void ranges_may_be_of_parts_of_rows(void **state) {
    enum { ROWS = 5, WIDTH = 96, MOST = 48 };
    static const int64_t parts[] = {1, 2, 3, 48};
    for (int i = 0; i < 8; i++) {
        const int64_t count = parts[i % 4], part = WIDTH / count;
        float ranges[2 * ROWS * MOST];
        case_begin(BERT_OP_Identity);
        case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(ROWS, WIDTH), 3);
        for (int64_t at = 0; at < ROWS * count; at++) {
            ranges[2 * at] = ranges[2 * at + 1] = 0;
            for (int64_t j = 0; j < part; j++) {
                ranges[2 * at] = fminf(ranges[2 * at], (float)case_at(x, at * part + j));
                ranges[2 * at + 1] = fmaxf(ranges[2 * at + 1], (float)case_at(x, at * part + j));
            }
        }
        const case_tensor *given = case_input_of(BERT_FLOAT, 2, DIMS(ROWS, 2 * count), ranges);
        const bool by_row = i >= 4;
        quantized whole = quantize(x, ROWS, WIDTH, by_row ? 1 : ROWS, true, WIDTH);
        const int64_t scale_count = by_row ? ROWS : 1;
        case_tensor *scales = case_extra(BERT_FLOAT, 1, &scale_count);
        case_tensor *zeros = case_extra(BERT_INT32, 1, &scale_count);
        case_tensor *bytes = case_extra(BERT_INT8, 2, DIMS(ROWS, WIDTH));
        const bert_cuda_quantization_args groups = {.ranges = given->device,
                                                    .rows = ROWS,
                                                    .ranges_per_row = count,
                                                    .scales = scales->device,
                                                    .zero_points = zeros->device};
        if (!by_row) case_good(bert_cuda_quantization(&groups, NULL));
        const bert_cuda_quantize_args args = {.dtype = BERT_FLOAT,
                                              .rows = ROWS,
                                              .width = WIDTH,
                                              .x = x->device,
                                              .step = 1,
                                              .ranges = by_row ? given->device : NULL,
                                              .ranges_per_row = count,
                                              .scales = scales->device,
                                              .zero_points = zeros->device,
                                              .scale_stride = by_row,
                                              .shifted = true,
                                              .y = bytes->device,
                                              .pitch = WIDTH};
        case_good(bert_cuda_quantize(&args, NULL));
        case_fetch(scales);
        case_fetch(zeros);
        case_fetch(bytes);
        for (int64_t row = 0; row < scale_count; row++) {
            assert_true(case_at(scales, row) == case_at(whole.scales, row));
            assert_true(case_at(zeros, row) == case_at(whole.zero_points, row));
        }
        for (int64_t at = 0; at < ROWS * WIDTH; at++) assert_true(case_at(bytes, at) == case_at(whole.values, at));
    }
}

/* So many ranges that blocks join parts of them first: the same scale, and the greatest may be anywhere. */
static void many_ranges_are_joined_in_parts(void **state) {
    enum { ROWS = 701, EACH = 13, COUNT = ROWS * EACH };
    static float ranges[2 * COUNT];
    static const int places[] = {0, 255, 8191, 8192, COUNT - 1};
    for (int i = 0; i < 5; i++) {
        for (int64_t at = 0; at < COUNT; at++) {
            ranges[2 * at] = -0.5F - (float)(at % 7);
            ranges[2 * at + 1] = (float)(at % 11);
        }
        ranges[2 * places[i]] = -40;
        ranges[2 * places[4 - i] + 1] = 60;
        case_begin(BERT_OP_Identity);
        const case_tensor *given = case_input_of(BERT_FLOAT, 2, DIMS(ROWS, 2 * EACH), ranges);
        case_tensor *parts = case_extra(BERT_FLOAT, 2, DIMS(BERT_CUDA_QUANTIZATION_PARTS, 2));
        case_tensor *scales = case_extra(BERT_FLOAT, 1, DIMS(1)), *zeros = case_extra(BERT_INT32, 1, DIMS(1));
        const bert_cuda_quantization_args args = {.ranges = given->device,
                                                  .rows = ROWS,
                                                  .ranges_per_row = EACH,
                                                  .scales = scales->device,
                                                  .zero_points = zeros->device,
                                                  .parts = parts->device};
        case_good(bert_cuda_quantization(&args, NULL));
        case_fetch(scales);
        case_fetch(zeros);
        assert_true(case_at(scales, 0) == (double)(100.0F / 255.0F));
        assert_int_equal((int64_t)case_at(zeros, 0), 102);
    }
}

/* Row i of y is row first + i step of x, in bytes, with that row's scale: its own range's, or one that is there. */
static void rows_may_be_some_of_those_of_x(void **state) {
    enum { ROWS = 7, PITCH = 16 };
    static const int64_t chosen[][3] = {{0, 1, 7}, {2, 3, 2}, {6, 1, 1}, {1, 5, 2}}; /* first, step, rows */
    for (int i = 0; i < 16; i++) {
        const int64_t width = i % 2 ? 8 : 5, *rows = chosen[i / 4];
        const bool by_row = i / 2 % 2;
        case_begin(BERT_OP_Identity);
        const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(ROWS, width), 3);
        const quantized all = quantize(x, ROWS, width, 1, true, PITCH);
        case_tensor *scales = by_row ? case_extra(BERT_FLOAT, 1, DIMS(ROWS)) : all.scales;
        case_tensor *zeros = by_row ? case_extra(BERT_INT32, 1, DIMS(ROWS)) : all.zero_points;
        case_tensor *bytes = case_extra(BERT_INT8, 2, DIMS(rows[2], PITCH));
        case_tensor *sums = case_extra(BERT_INT32, 1, DIMS(rows[2]));
        const bert_cuda_quantize_args args = {.dtype = BERT_FLOAT,
                                              .rows = rows[2],
                                              .width = width,
                                              .x = x->device,
                                              .first = rows[0],
                                              .step = rows[1],
                                              .ranges = by_row ? all.ranges->device : NULL,
                                              .ranges_per_row = 1,
                                              .scales = scales->device,
                                              .zero_points = zeros->device,
                                              .scale_stride = 1,
                                              .shifted = true,
                                              .y = bytes->device,
                                              .pitch = PITCH,
                                              .sums = sums->device};
        case_good(bert_cuda_quantize(&args, NULL));
        if (by_row) {
            case_fetch(scales);
            case_fetch(zeros);
        }
        case_fetch(bytes);
        case_fetch(sums);
        for (int64_t row = 0; row < rows[2]; row++) {
            const int64_t source = rows[0] + row * rows[1];
            assert_true(case_at(scales, source) == case_at(all.scales, source));
            assert_true(case_at(zeros, source) == case_at(all.zero_points, source));
            assert_true(case_at(sums, row) == case_at(all.sums, source));
            for (int64_t at = 0; at < PITCH; at++)
                assert_true(case_at(bytes, row * PITCH + at) == case_at(all.values, source * PITCH + at));
        }
    }
}

static void arguments_are_checked(void **state) {
    const bert_cuda_quantization_args none = {.rows = 1};
    assert_int_equal(bert_cuda_quantization(&none, NULL), cudaErrorInvalidValue);
    const bert_cuda_range range = {0, 1};
    const bert_cuda_quantize_args by_row = {
        .dtype = BERT_FLOAT, .rows = 1, .width = 1, .step = 1, .pitch = 1, .ranges = &range};
    assert_int_equal(bert_cuda_quantize(&by_row, NULL), cudaErrorInvalidValue);
    static const int64_t places[][2] = {{-1, 1}, {0, 0}, {0, -1}}; /* first, step */
    for (int i = 0; i < 3; i++) {
        const bert_cuda_quantize_args args = {
            .dtype = BERT_FLOAT, .rows = 1, .width = 1, .first = places[i][0], .step = places[i][1], .pitch = 1};
        assert_int_equal(bert_cuda_quantize(&args, NULL), cudaErrorInvalidValue);
    }
}

/* `variant`: bit 0 uint8 weight, 1 zero points, 2 scales per column, 3 bias, 4 residual, 5 ranges, 6 static (and then
 * the bias is of integers). Every third has a scale for each row, where it isn't static. */
static void linear_case(int64_t rows, int64_t depth, int64_t width, int variant) {
    static const char *const names[] = {"none", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "relu"};
    const int activation = variant % BERT_CUDA_ACTIVATIONS;
    const bert_dtype type = variant & 1 ? BERT_UINT8 : BERT_INT8;
    const int32_t shift = variant & 1 ? 128 : 0;
    const int64_t columns = variant & 4 ? width : 1;
    case_begin(BERT_OP_BERTC_QuantizedLinear);
    case_string("activation", names[activation]);
    const bool is_static = variant >= 64, by_row = variant % 3 == 0 && !is_static;
    if (by_row) case_string("scope", "token");
    const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(rows, depth), 3), *residual = NULL, *bias = NULL;
    if (variant & 16)
        residual = case_input(BERT_FLOAT, 2, DIMS(rows, width), 1);
    else
        case_absent();
    const float x_scale_value = 0.03F;
    const int32_t x_zero_value = 117;
    const uint8_t x_zero_byte = 117;
    if (is_static) {
        case_input_of(BERT_FLOAT, 0, NULL, &x_scale_value);
        case_input_of(BERT_UINT8, 0, NULL, &x_zero_byte);
    } else {
        case_absent();
        case_absent();
    }
    const case_tensor *w = case_input(type, 2, DIMS(depth, width), variant & 1 ? 255 : 127);
    const case_tensor *w_scale = case_input(BERT_FLOAT, 1, DIMS(columns), 0.01F), *zeros = NULL;
    if (variant & 2)
        zeros = case_input(type, 1, DIMS(columns), 90);
    else
        case_absent();
    const bool integer_bias = variant & 8 && is_static;
    if (variant & 8) bias = case_input(integer_bias ? BERT_INT32 : BERT_FLOAT, 1, DIMS(width), integer_bias ? 100 : 1);
    case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(rows, width));
    case_tensor *ranges = variant & 32 ? case_extra(BERT_FLOAT, 2, DIMS(rows, 2 * bert_cuda_stretches(width))) : NULL;
    quantized q = quantize(x, rows, depth, by_row ? 1 : rows, true, depth);
    if (is_static) { /* the scale and zero point of the file for all rows */
        cudaMemcpy(q.scales->device, &x_scale_value, sizeof x_scale_value, cudaMemcpyHostToDevice);
        cudaMemcpy(q.zero_points->device, &x_zero_value, sizeof x_zero_value, cudaMemcpyHostToDevice);
        const bert_cuda_quantize_args again = {.dtype = BERT_FLOAT,
                                               .rows = rows,
                                               .width = depth,
                                               .x = x->device,
                                               .step = 1,
                                               .scales = q.scales->device,
                                               .zero_points = q.zero_points->device,
                                               .shifted = true,
                                               .y = q.values->device,
                                               .pitch = depth,
                                               .sums = q.sums->device};
        case_good(bert_cuda_quantize(&again, NULL));
        case_fetch(q.values);
    }
    /* What the host prepares once, and the product. */
    int32_t *products = calloc((size_t)(rows * width), sizeof *products), *sums = calloc((size_t)width, sizeof *sums);
    int32_t *zero_points = calloc((size_t)width, sizeof *zero_points);
    float *scales = calloc((size_t)width, sizeof *scales);
    for (int64_t k = 0; k < depth; k++)
        for (int64_t n = 0; n < width; n++) {
            const int32_t weight = (int32_t)case_at(w, k * width + n) - shift;
            sums[n] += weight;
            for (int64_t row = 0; row < rows; row++)
                products[row * width + n] += (int32_t)case_at(q.values, row * depth + k) * weight;
        }
    for (int64_t n = 0; n < width; n++) {
        const int64_t column = columns > 1 ? n : 0;
        zero_points[n] = (zeros ? (int32_t)case_at(zeros, column) : 0) - shift;
        scales[n] = (float)case_at(w_scale, column);
    }
    case_tensor *d_products = case_extra(BERT_INT32, 2, DIMS(rows, width)),
                *d_sums = case_extra(BERT_INT32, 1, DIMS(width));
    case_tensor *d_zeros = case_extra(BERT_INT32, 1, DIMS(width)), *d_scales = case_extra(BERT_FLOAT, 1, DIMS(width));
    cudaMemcpy(d_products->device, products, (size_t)(rows * width) * sizeof *products, cudaMemcpyHostToDevice);
    cudaMemcpy(d_sums->device, sums, (size_t)width * sizeof *sums, cudaMemcpyHostToDevice);
    cudaMemcpy(d_zeros->device, zero_points, (size_t)width * sizeof *zero_points, cudaMemcpyHostToDevice);
    cudaMemcpy(d_scales->device, scales, (size_t)width * sizeof *scales, cudaMemcpyHostToDevice);
    free(products);
    free(sums);
    free(zero_points);
    free(scales);
    const bert_cuda_dequantize_args args = {.dtype = BERT_FLOAT,
                                            .activation = (bert_cuda_activation)activation,
                                            .rows = rows,
                                            .width = width,
                                            .depth = depth,
                                            .products = d_products->device,
                                            .pitch = width,
                                            .scales = is_static ? NULL : q.scales->device,
                                            .zero_points = q.zero_points->device,
                                            .row_stride = q.scale_stride,
                                            .sums = q.sums->device,
                                            .weight_scales = d_scales->device,
                                            .weight_zero_points = d_zeros->device,
                                            .weight_sums = d_sums->device,
                                            .bias = bias && !integer_bias ? bias->device : NULL,
                                            .integer_bias = integer_bias ? bias->device : NULL,
                                            .residual = residual ? residual->device : NULL,
                                            .y = y->device,
                                            .ranges = ranges ? ranges->device : NULL};
    case_compare(bert_cuda_dequantize(&args, NULL));
    if (ranges) case_expect_ranges(y, ranges, rows, width, BERT_CUDA_STRETCH);
}

static void a_quantized_linear_agrees_with_the_reference(void **state) {
    for (int variant = 0; variant < 128; variant++)
        linear_case(variant % 4 + 1, variant % 7 + 1, variant % 5 * 9 + 1, variant);
    /* Rows of several stretches, in vectors and element by element. */
    for (int64_t width = 255; width < 645; width += 129) linear_case(3, 5, width, 63);
    /* Several rows a thread. */
    for (int i = 0; i < 4; i++) linear_case(i % 2 ? 2049 : 513, 2, 8 + i / 3, 32 + i * 19);
}

/* ---- The operators of a file ---------------------------------------------------------------------------------------
 */

static bert_cuda_operand operand(const case_tensor *tensor, int64_t stride0, int64_t stride1) {
    return (bert_cuda_operand){.data = tensor->device, .dtype = tensor->host.dtype, .strides = {stride0, stride1}};
}

static void quantize_and_dequantize_linear_agree_with_the_reference(void **state) {
    static const bert_dtype types[] = {BERT_UINT8, BERT_INT8, BERT_UINT16, BERT_INT16};
    for (int i = 0; i < 16; i++) {
        const bert_dtype type = types[i % 4];
        const bool per_axis = i & 4, has_zero = i & 8;
        const int64_t scales = per_axis ? 3 : 1;
        bert_cuda_elementwise_args args = {.op = BERT_CUDA_QUANTIZE, .rank = 2, .dims = {3, 5}};
        case_begin(BERT_OP_QuantizeLinear);
        case_int("axis", 0);
        const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(3, 5), 300);
        const float scale_values[] = {0.5F, 2, 1.25F};
        const case_tensor *scale = case_input_floats(BERT_FLOAT, per_axis ? 1 : 0, &scales, scale_values), *zero = NULL;
        if (has_zero) zero = case_input(type, per_axis ? 1 : 0, &scales, 40);
        const bert_dtype to = has_zero ? type : BERT_UINT8;
        case_tensor *y = case_output(to, 2, DIMS(3, 5));
        args.inputs[0] = operand(x, 5, 1);
        args.inputs[1] = operand(scale, per_axis, 0);
        if (zero) args.inputs[2] = operand(zero, per_axis, 0);
        args.dtype = to;
        args.y = y->device;
        case_compare(bert_cuda_elementwise(&args, NULL));

        case_begin(BERT_OP_DequantizeLinear);
        case_int("axis", 0);
        const bert_dtype from = i == 15 ? BERT_INT32 : type;
        x = case_input(from, 2, DIMS(3, 5), 120);
        scale = case_input_floats(BERT_FLOAT, per_axis ? 1 : 0, &scales, scale_values);
        zero = has_zero ? case_input(from, per_axis ? 1 : 0, &scales, 40) : NULL;
        y = case_output(BERT_FLOAT, 2, DIMS(3, 5));
        args = (bert_cuda_elementwise_args){.op = BERT_CUDA_DEQUANTIZE, .rank = 2, .dims = {3, 5}};
        args.inputs[0] = operand(x, 5, 1);
        args.inputs[1] = operand(scale, per_axis, 0);
        if (zero) args.inputs[2] = operand(zero, per_axis, 0);
        args.dtype = BERT_FLOAT;
        args.y = y->device;
        case_compare(bert_cuda_elementwise(&args, NULL));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantizing_is_exact),
        cmocka_unit_test(ragged_groups_have_scales_of_their_own),
        cmocka_unit_test(rows_that_do_not_count_are_left_out),
        cmocka_unit_test(ranges_may_be_of_parts_of_rows),
        cmocka_unit_test(many_ranges_are_joined_in_parts),
        cmocka_unit_test(rows_may_be_some_of_those_of_x),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(a_quantized_linear_agrees_with_the_reference),
        cmocka_unit_test(quantize_and_dequantize_linear_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
