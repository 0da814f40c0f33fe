/* What moves elements: strided copies, padding, gathers and scatters, a table of bytes, tensors from a rule. */
#include "cuda/ops/gather.h"
#include "cuda/ops/generate.h"
#include "cuda/ops/lookup.h"
#include "cuda/ops/move.h"
#include "tests/cuda/kernel_case.h"

#include <stdlib.h>
#include <string.h>

static const bert_dtype types[] = {BERT_FLOAT, BERT_BOOL, BERT_FLOAT16, BERT_INT64, BERT_INT8};

static int32_t bytes_of(bert_dtype dtype) {
    return (int32_t)bert_dtype_size(dtype);
}

static void dense(int32_t rank, const int64_t *dims, int64_t *strides) {
    int64_t stride = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dims[i];
    }
}

static void transpose_case(bert_dtype dtype, const int64_t dims[4], const int64_t order[4]) {
    int64_t to[4], from_strides[4];
    bert_cuda_move_args args = {.element_bytes = bytes_of(dtype), .rank = 4};
    dense(4, dims, from_strides);
    for (int i = 0; i < 4; i++) {
        to[i] = args.dims[i] = dims[order[i]];
        args.from_strides[i] = from_strides[order[i]];
    }
    dense(4, to, args.to_strides);
    case_begin(BERT_OP_Transpose);
    case_ints("perm", order, 4);
    args.from = case_input(dtype, 4, dims, 100)->device;
    case_tensor *y = case_output(dtype, 4, to);
    args.to = y->device;
    y->tolerance = 0;
    case_compare(bert_cuda_move(&args, NULL));
}

static void transposes_agree_with_the_reference(void **state) {
    static const int64_t orders[][4] = {{0, 2, 1, 3}, {3, 2, 1, 0}, {0, 1, 2, 3},
                                        {0, 1, 3, 2}, {1, 0, 3, 2}, {2, 3, 0, 1}};
    static const int64_t shapes[][4] = {{2, 3, 5, 16}, {1, 4, 1, 7}, {3, 1, 2, 6}, {2, 2, 2, 1}};
    for (int i = 0; i < 24; i++) transpose_case(types[i % 5], shapes[i % 4], orders[i % 6]);
}

static void slices_and_joins_agree_with_the_reference(void **state) {
    for (int i = 0; i < 5; i++) { /* x[4:0:-2, 1:4] of [5, 6]: strides of both signs */
        case_begin(BERT_OP_Slice);
        const int64_t starts[] = {4, 1}, ends[] = {0, 4}, axes[] = {0, 1}, steps[] = {-2, 1};
        const case_tensor *x = case_input(types[i], 2, DIMS(5, 6), 100);
        case_input_of(BERT_INT64, 1, DIMS(2), starts);
        case_input_of(BERT_INT64, 1, DIMS(2), ends);
        case_input_of(BERT_INT64, 1, DIMS(2), axes);
        case_input_of(BERT_INT64, 1, DIMS(2), steps);
        case_tensor *y = case_output(types[i], 2, DIMS(2, 3));
        const int32_t bytes = bytes_of(types[i]);
        bert_cuda_move_args args = {.element_bytes = bytes,
                                    .rank = 2,
                                    .dims = {2, 3},
                                    .from = (char *)x->device + (4 * 6 + 1) * bytes,
                                    .from_strides = {-12, 1},
                                    .to = y->device,
                                    .to_strides = {3, 1}};
        y->tolerance = 0;
        case_compare(bert_cuda_move(&args, NULL));

        case_begin(BERT_OP_Concat);
        case_int("axis", 1);
        const case_tensor *a = case_input(types[i], 2, DIMS(3, 4), 100), *b = case_input(types[i], 2, DIMS(3, 8), 100);
        y = case_output(types[i], 2, DIMS(3, 12));
        y->tolerance = 0;
        args = (bert_cuda_move_args){.element_bytes = bytes,
                                     .rank = 2,
                                     .dims = {3, 4},
                                     .from = a->device,
                                     .from_strides = {4, 1},
                                     .to = y->device,
                                     .to_strides = {12, 1}};
        case_good(bert_cuda_move(&args, NULL));
        args.dims[1] = args.from_strides[0] = 8;
        args.from = b->device;
        args.to = (char *)y->device + 4 * bytes;
        case_compare(bert_cuda_move(&args, NULL));

        case_begin(BERT_OP_Expand);
        const int64_t shape[] = {2, 3, 4};
        x = case_input(types[i], 2, DIMS(3, 1), 100);
        case_input_of(BERT_INT64, 1, DIMS(3), shape);
        y = case_output(types[i], 3, shape);
        y->tolerance = 0;
        args = (bert_cuda_move_args){.element_bytes = bytes,
                                     .rank = 3,
                                     .dims = {2, 3, 4},
                                     .from = x->device,
                                     .from_strides = {0, 1, 0},
                                     .to = y->device,
                                     .to_strides = {12, 4, 1}};
        case_compare(bert_cuda_move(&args, NULL));
    }
}

/* Stretches that would make whole vectors, were they not one element off. */
static void unaligned_stretches_are_moved_by_elements(void **state) {
    for (int i = 0; i < 5; i++)
        for (int off = 0; off < 4; off++) {
            const int32_t bytes = bytes_of(types[i]);
            const int64_t from = off & 1, to = off >> 1;
            case_begin(BERT_OP_Identity);
            case_tensor *x = case_input(types[i], 1, DIMS(33), 100), *y = case_extra(types[i], 1, DIMS(33));
            const bert_cuda_move_args args = {.element_bytes = bytes,
                                              .rank = 1,
                                              .dims = {32},
                                              .from = (char *)x->device + from * bytes,
                                              .from_strides = {1},
                                              .to = (char *)y->device + to * bytes,
                                              .to_strides = {1}};
            case_good(bert_cuda_move(&args, NULL));
            case_fetch(y);
            for (int64_t j = 0; j < 32; j++) assert_true(case_at(y, to + j) == case_at(x, from + j));
        }
}

static void padding_agrees_with_the_reference(void **state) {
    static const char *const modes[] = {"constant", "edge", "reflect", "wrap"};
    static const int64_t pads[][4] = {{1, 2, 0, 3}, {-1, 0, 2, -2}, {0, 5, 4, 0}};
    for (int i = 0; i < 24; i++) {
        const bert_dtype dtype = types[i % 5];
        const int64_t *pad = pads[i % 3];
        const int mode = i % 4;
        int64_t dims[2] = {3 + pad[0] + pad[2], 5 + pad[1] + pad[3]};
        bert_cuda_pad_args args = {
            .element_bytes = bytes_of(dtype), .rank = 2, .strides = {5, 1}, .mode = (bert_cuda_pad_mode)mode};
        for (int axis = 0; axis < 2; axis++) {
            const int64_t before = pad[axis], after = pad[axis + 2], size = axis ? 5 : 3;
            args.dims[axis] = dims[axis];
            args.before[axis] = before > 0 ? before : 0;
            args.first[axis] = before < 0 ? -before : 0;
            args.size[axis] = size - args.first[axis] + (after < 0 ? after : 0);
        }
        case_begin(BERT_OP_Pad);
        case_string("mode", modes[mode]);
        args.from = case_input(dtype, 2, DIMS(3, 5), 100)->device;
        case_input_of(BERT_INT64, 1, DIMS(4), pad);
        if (i / 4 % 2) args.fill = case_input(dtype, 0, NULL, 2)->device;
        case_tensor *y = case_output(dtype, 2, dims);
        y->tolerance = 0;
        args.to = y->device;
        case_compare(bert_cuda_pad(&args, NULL));
    }
    case_begin(BERT_OP_Tile);
    const int64_t repeats[] = {2, 3};
    const case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(2, 3), 9);
    case_input_of(BERT_INT64, 1, DIMS(2), repeats);
    case_tensor *y = case_output(BERT_FLOAT, 2, DIMS(4, 9));
    bert_cuda_pad_args args = {.element_bytes = 4,
                               .rank = 2,
                               .dims = {4, 9},
                               .size = {2, 3},
                               .strides = {3, 1},
                               .from = x->device,
                               .mode = BERT_CUDA_PAD_WRAP,
                               .to = y->device};
    case_compare(bert_cuda_pad(&args, NULL));
    case_begin(BERT_OP_Identity); /* ConstantOfShape */
    y = case_extra(BERT_INT64, 1, DIMS(5));
    args = (bert_cuda_pad_args){.element_bytes = 8, .rank = 1, .dims = {5}, .fill_bits = 42, .to = y->device};
    case_good(bert_cuda_pad(&args, NULL));
    for (int i = 0; i < 5; i++) assert_int_equal(((const int64_t *)case_fetch(y))[i], 42);
}

/* ---- Indices -------------------------------------------------------------------------------------------------------
 */

static const int64_t some_indices[] = {1, -1, 0, 2, -3, 1};

static case_tensor *index_input(int narrow, int32_t rank, const int64_t *dims, const int64_t *values) {
    int32_t low[24];
    for (int i = 0; i < 24 && narrow; i++) low[i] = i < 6 ? (int32_t)values[i] : 0;
    return case_input_of(narrow ? BERT_INT32 : BERT_INT64, rank, dims, narrow ? (const void *)low : values);
}

static void gathers_agree_with_the_reference(void **state) {
    static const int64_t rows[] = {1, 3, 16, 4};
    for (int i = 0; i < 20; i++) {
        const bert_dtype dtype = types[i % 5];
        case_begin(BERT_OP_Gather);
        case_int("axis", 1);
        const case_tensor *data = case_input(dtype, 3, DIMS(2, 3, rows[i % 4]), 100);
        const case_tensor *indices = index_input(i % 2, 2, DIMS(2, 3), some_indices);
        case_tensor *y = case_output(dtype, 4, DIMS(2, 2, 3, rows[i % 4]));
        y->tolerance = 0;
        const bert_cuda_gather_args args = {.element_bytes = bytes_of(dtype),
                                            .before = 2,
                                            .bound = 3,
                                            .row = rows[i % 4],
                                            .data = data->device,
                                            .indices = indices->device,
                                            .index_type = indices->host.dtype,
                                            .input = 1,
                                            .count = 6,
                                            .y = y->device};
        case_compare(bert_cuda_gather(&args, NULL));

        case_begin(BERT_OP_GatherElements);
        case_int("axis", i % 2);
        const int64_t data_dims[2] = {i % 2 ? 4 : 3, i % 2 ? 3 : 5};
        data = case_input(dtype, 2, data_dims, 100);
        indices = index_input(i % 2, 2, DIMS(2, 3), some_indices);
        y = case_output(dtype, 2, DIMS(2, 3));
        y->tolerance = 0;
        const bert_cuda_gather_elements_args elements = {.element_bytes = bytes_of(dtype),
                                                         .rank = 2,
                                                         .axis = i % 2,
                                                         .dims = {2, 3},
                                                         .data_dims = {data_dims[0], data_dims[1]},
                                                         .data = data->device,
                                                         .indices = indices->device,
                                                         .index_type = indices->host.dtype,
                                                         .y = y->device};
        case_compare(bert_cuda_gather_elements(&elements, NULL));

        case_begin(BERT_OP_GatherND);
        const int batch = i % 2;
        case_int("batch_dims", batch);
        data = case_input(dtype, 4, DIMS(3, 3, 4, 2), 100); /* batch of 3, or none */
        indices = batch ? case_input_of(BERT_INT64, 2, DIMS(3, 2), some_indices)
                        : case_input_of(BERT_INT64, 2, DIMS(2, 3), some_indices);
        y = batch ? case_output(dtype, 2, DIMS(3, 2)) : case_output(dtype, 2, DIMS(2, 2));
        y->tolerance = 0;
        bert_cuda_gather_nd_args nd = {.element_bytes = bytes_of(dtype),
                                       .depth = batch ? 2 : 3,
                                       .batches = batch ? 3 : 1,
                                       .tuples = batch ? 1 : 2,
                                       .bounds = {3, 3, 4},
                                       .row = 2,
                                       .data = data->device,
                                       .indices = indices->device,
                                       .index_type = BERT_INT64,
                                       .y = y->device};
        if (batch) nd.bounds[1] = 4;
        case_compare(bert_cuda_gather_nd(&nd, NULL));
    }
}

static void bad_indices_are_reported(void **state) {
    const int64_t indices[] = {0, 3};
    for (int i = 0; i < 2; i++) {
        case_begin(BERT_OP_Gather);
        const bert_cuda_bad_index none = {0};
        const case_tensor *data = case_input(BERT_FLOAT, 2, DIMS(3, i ? 4 : 5), 1);
        const case_tensor *at = case_input_of(BERT_INT64, 1, DIMS(2), indices);
        case_tensor *report = case_input_of(BERT_UINT8, 1, DIMS(sizeof none), &none);
        case_tensor *y = case_extra(BERT_FLOAT, 2, DIMS(2, i ? 4 : 5));
        const bert_cuda_gather_args args = {.element_bytes = 4,
                                            .before = 1,
                                            .bound = 3,
                                            .row = i ? 4 : 5,
                                            .data = data->device,
                                            .indices = at->device,
                                            .index_type = BERT_INT64,
                                            .input = 1,
                                            .count = 2,
                                            .y = y->device,
                                            .check = {report->device, 7}};
        case_good(bert_cuda_gather(&args, NULL));
        bert_cuda_bad_index found;
        memcpy(&found, case_fetch(report), sizeof found);
        assert_true(found.found == 1 && found.node == 7 && found.input == 1 && found.position == 1 &&
                    found.value == 3 && found.bound == 3);
    }
}

static void scatters_agree_with_the_reference(void **state) {
    static const char *const modes[] = {"none", "add", "mul", "max", "min"};
    static const bert_dtype numeric[] = {BERT_FLOAT, BERT_INT64, BERT_FLOAT16, BERT_UINT8};
    for (int i = 0; i < 20; i++) {
        const bert_dtype dtype = numeric[i % 4];
        case_begin(BERT_OP_ScatterElements);
        case_string("reduction", modes[i % 5]);
        case_int("axis", i % 2);
        const int64_t dims[2] = {i % 2 ? 4 : 3, i % 2 ? 3 : 5};
        const case_tensor *data = case_input(dtype, 2, dims, 9);
        const case_tensor *indices = index_input(i % 3 == 0, 2, DIMS(2, 3), some_indices);
        const case_tensor *updates = case_input(dtype, 2, DIMS(2, 3), 9);
        case_tensor *y = case_output(dtype, 2, dims);
        const size_t bytes = (size_t)(dims[0] * dims[1]) * bert_dtype_size(dtype);
        assert_int_equal(cudaMemcpy(y->device, data->device, bytes, cudaMemcpyDeviceToDevice), cudaSuccess);
        const bert_cuda_scatter_elements_args args = {.dtype = dtype,
                                                      .mode = (bert_cuda_scatter_mode)(i % 5),
                                                      .rank = 2,
                                                      .axis = i % 2,
                                                      .dims = {2, 3},
                                                      .y_dims = {dims[0], dims[1]},
                                                      .indices = indices->device,
                                                      .updates = updates->device,
                                                      .index_type = indices->host.dtype,
                                                      .y = y->device};
        case_compare(bert_cuda_scatter_elements(&args, NULL));

        case_begin(BERT_OP_ScatterND);
        case_string("reduction", modes[i % 5]);
        const int64_t tuples[] = {0, 1, 2, 0, -3, 1};
        data = case_input(dtype, 3, DIMS(3, 2, 7), 9);
        indices = case_input_of(BERT_INT64, 2, DIMS(3, 2), tuples);
        updates = case_input(dtype, 2, DIMS(3, 7), 9);
        y = case_output(dtype, 3, DIMS(3, 2, 7));
        assert_int_equal(cudaMemcpy(y->device, data->device, 42 * bert_dtype_size(dtype), cudaMemcpyDeviceToDevice),
                         cudaSuccess);
        const bert_cuda_scatter_nd_args nd = {.dtype = dtype,
                                              .mode = (bert_cuda_scatter_mode)(i % 5),
                                              .depth = 2,
                                              .tuples = 3,
                                              .bounds = {3, 2},
                                              .row = 7,
                                              .indices = indices->device,
                                              .updates = updates->device,
                                              .index_type = BERT_INT64,
                                              .y = y->device};
        case_compare(bert_cuda_scatter_nd(&nd, NULL));
    }
}

/* ---- Lookup --------------------------------------------------------------------------------------------------------
 */

/* x, of all bytes where it is long enough, which come again in another place; and a table that has each byte once. */
static case_tensor *lookup_inputs(bert_dtype x_type, bert_dtype table_type, int64_t count, const case_tensor **table) {
    uint8_t all[256], *bytes = malloc((size_t)count + 1);
    for (int64_t i = 0; i < count; i++) bytes[i] = (uint8_t)(200 + i * 37 + i / 256 * 11);
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)(43 + i * 151);
    case_begin(BERT_OP_BERTC_Lookup);
    case_tensor *x = case_input_of(x_type, 1, &count, bytes);
    *table = case_input_of(table_type, 1, DIMS(256), all);
    free(bytes);
    return x;
}

/* x and y begin so many bytes behind where memory is aligned for everything. */
static void lookup_case(bert_dtype x_type, bert_dtype table_type, int64_t count, int64_t x_first, int64_t y_first) {
    const case_tensor *table, *x = lookup_inputs(x_type, table_type, count, &table);
    const case_tensor *y = case_output(table_type, 1, &count);
    const case_tensor *from = case_extra(x_type, 1, DIMS(x_first + count));
    case_tensor *to = case_extra(table_type, 1, DIMS(y_first + count));
    uint8_t *moved_x = (uint8_t *)from->device + x_first, *moved_y = (uint8_t *)to->device + y_first, before[16];
    const size_t bytes = (size_t)count;
    memcpy(before, to->host.data, (size_t)y_first);
    if (bytes) assert_int_equal(cudaMemcpy(moved_x, x->device, bytes, cudaMemcpyDeviceToDevice), cudaSuccess);
    const bert_cuda_lookup_args args = {.count = count, .x = moved_x, .table = table->device, .y = moved_y};
    const cudaError_t status = bert_cuda_lookup(&args, NULL);
    if (bytes) assert_int_equal(cudaMemcpy(y->device, moved_y, bytes, cudaMemcpyDeviceToDevice), cudaSuccess);
    case_compare(status);
    assert_memory_equal(case_fetch(to), before, (size_t)y_first);
}

static void lookups_agree_with_the_reference(void **state) {
    static const int64_t counts[] = {0, 1, 15, 16, 17, 255, 256, 4097};
    static const int64_t firsts[][2] = {{0, 0}, {1, 0}, {0, 1}, {5, 5}, {8, 8}, {16, 16}};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 6; j++)
            for (int k = 0; k < 4; k++)
                lookup_case(k & 1 ? BERT_INT8 : BERT_UINT8, k & 2 ? BERT_INT8 : BERT_UINT8, counts[i], firsts[j][0],
                            firsts[j][1]);
    /* More than the blocks of a grid take at once, by vectors and by bytes. */
    lookup_case(BERT_UINT8, BERT_UINT8, (16 << 19) + 4097, 0, 0);
    lookup_case(BERT_UINT8, BERT_UINT8, (1 << 19) + 4097, 1, 0);
    assert_int_equal(bert_cuda_lookup(&(const bert_cuda_lookup_args){.count = -1}, NULL), cudaErrorInvalidValue);
}

static void lookups_work_in_place(void **state) {
    for (int i = 0; i < 2; i++) {
        const int64_t count = i ? 4097 : 15;
        const case_tensor *table, *x = lookup_inputs(BERT_INT8, BERT_UINT8, count, &table);
        case_tensor *y = case_output(BERT_UINT8, 1, &count);
        void *own = y->device;
        y->device = x->device;
        const bert_cuda_lookup_args args = {.count = count, .x = x->device, .table = table->device, .y = y->device};
        case_compare(bert_cuda_lookup(&args, NULL));
        y->device = own;
    }
}

/* ---- Rules ---------------------------------------------------------------------------------------------------------
 */

static void rules_agree_with_the_reference(void **state) {
    for (int i = 0; i < 5; i++) {
        const int64_t depth = 4, diagonal = i - 2;
        case_begin(BERT_OP_OneHot);
        case_int("axis", 1);
        const int64_t classes[] = {0, 3, -1, 4, -5, 2};
        const case_tensor *indices = case_input_of(BERT_INT64, 2, DIMS(2, 3), classes);
        case_input_of(BERT_INT64, 1, DIMS(1), &depth);
        const case_tensor *values = case_input(types[i], 1, DIMS(2), 100);
        case_tensor *y = case_output(types[i], 3, DIMS(2, 4, 3));
        y->tolerance = 0;
        const bert_cuda_one_hot_args args = {bytes_of(types[i]), 2,        4, 3, indices->device, BERT_INT64,
                                             values->device,     y->device};
        case_compare(bert_cuda_one_hot(&args, NULL));

        case_begin(BERT_OP_Trilu);
        case_int("upper", i % 2);
        const case_tensor *x = case_input(types[i], 3, DIMS(2, 4, 5), 100);
        const case_tensor *k = case_input_of(BERT_INT64, 0, NULL, &diagonal);
        y = case_output(types[i], 3, DIMS(2, 4, 5));
        y->tolerance = 0;
        const bert_cuda_trilu_args trilu = {bytes_of(types[i]), 2, 4, 5, x->device, k->device, i % 2, y->device};
        case_compare(bert_cuda_trilu(&trilu, NULL));

        case_begin(BERT_OP_EyeLike);
        case_int("k", diagonal);
        case_input(types[i], 2, DIMS(3, 5), 9);
        y = case_output(types[i], 2, DIMS(3, 5));
        case_compare(bert_cuda_eye_like(types[i], 3, 5, diagonal, y->device, NULL));
    }
    for (int i = 0; i < 2; i++) {
        case_begin(BERT_OP_Range);
        const bert_dtype dtype = i ? BERT_INT32 : BERT_FLOAT;
        const float numbers[] = {1.5F, 11.5F, 2.5F};
        const int32_t whole[] = {9, -7, -3};
        const case_tensor *in[3];
        for (int j = 0; j < 3; j++)
            in[j] = i ? case_input_of(dtype, 0, NULL, &whole[j]) : case_input_floats(dtype, 0, NULL, &numbers[j]);
        const int64_t count = i ? 6 : 4;
        case_tensor *y = case_output(dtype, 1, &count);
        case_compare(bert_cuda_range_of(dtype, in[0]->device, in[2]->device, count, y->device, NULL));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposes_agree_with_the_reference),
        cmocka_unit_test(slices_and_joins_agree_with_the_reference),
        cmocka_unit_test(unaligned_stretches_are_moved_by_elements),
        cmocka_unit_test(padding_agrees_with_the_reference),
        cmocka_unit_test(gathers_agree_with_the_reference),
        cmocka_unit_test(bad_indices_are_reported),
        cmocka_unit_test(scatters_agree_with_the_reference),
        cmocka_unit_test(lookups_agree_with_the_reference),
        cmocka_unit_test(lookups_work_in_place),
        cmocka_unit_test(rules_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
