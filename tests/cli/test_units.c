/* Parts of bertc by themselves: .npy files, JSON text, comparing. */
#include "cli/compare_tensors.h"
#include "cli/json_out.h"
#include "cli/tensor_file.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A .npy file of a version with this dict and data; *size its length. Free it. */
static unsigned char *npy(int version, const char *dict, const void *data, size_t bytes, size_t *size) {
    size_t head = version == 1 ? 10 : 12;
    size_t length = strlen(dict);
    unsigned char *file = calloc(1, head + length + bytes);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)version;
    for (size_t i = 0; i < head - 8; i++) file[8 + i] = (unsigned char)(length >> 8 * i);
    memcpy(file + head, dict, length);
    if (bytes) memcpy(file + head + length, data, bytes);
    *size = head + length + bytes;
    return file;
}

static bert_status parse(int version, const char *dict, const void *data, size_t bytes, bert_owned_tensor *out) {
    size_t size;
    unsigned char *file = npy(version, dict, data, bytes, &size);
    bert_error error;
    bert_status status = bert_npy_parse(file, size, out, &error);
    free(file);
    return status;
}

static void npy_is_read_in_every_order_and_version(void **state) {
    static const int16_t rows[] = {1, 2, 3, 4, 5, 6};
    static const int16_t columns[] = {1, 4, 2, 5, 3, 6};
    static const unsigned char swapped[] = {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6};
    static const struct {
        const char *dict;
        const void *data;
    } files[] = {{"{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }\n", rows},
                 {"{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<i2\"}", rows},
                 {"{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }  ", columns},
                 {"{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }", swapped}};
    for (int version = 1; version <= 3; version++) {
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
            bert_owned_tensor tensor;
            assert_int_equal(parse(version, files[i].dict, files[i].data, sizeof rows, &tensor), BERT_OK);
            assert_int_equal(tensor.tensor.dtype, BERT_INT16);
            assert_int_equal(tensor.tensor.rank, 2);
            assert_int_equal(tensor.tensor.dims[1], 3);
            assert_memory_equal(tensor.tensor.data, rows, sizeof rows);
            bert_owned_tensor_free(&tensor);
        }
    }
}

static void every_type_and_rank_survives_npy(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT,  BERT_DOUBLE, BERT_FLOAT16, BERT_BFLOAT16, BERT_INT8,
                                       BERT_INT16,  BERT_INT32,  BERT_INT64,   BERT_UINT8,    BERT_UINT16,
                                       BERT_UINT32, BERT_UINT64, BERT_BOOL};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (int rank = 0; rank <= BERT_MAX_RANK; rank++) {
            bert_owned_tensor made = {.tensor = {.dtype = types[t], .rank = rank}};
            bert_error error;
            for (int d = 0; d < rank; d++) made.tensor.dims[d] = d == 1 ? 3 : d == 6 ? 0 : 2;
            assert_int_equal(bert_owned_tensor_allocate(&made, &error), BERT_OK);
            for (size_t i = 0; i < made.bytes; i++) ((unsigned char *)made.tensor.data)[i] = (unsigned char)(i % 2);
            char *header;
            size_t size;
            assert_int_equal(bert_npy_header(&made.tensor, &header, &size, &error), BERT_OK);
            assert_int_equal(size % 64, 0);
            header = realloc(header, size + made.bytes);
            memcpy(header + size, made.tensor.data, made.bytes);
            bert_owned_tensor got;
            assert_int_equal(bert_npy_parse((unsigned char *)header, size + made.bytes, &got, &error), BERT_OK);
            assert_int_equal(got.tensor.dtype, types[t]);
            assert_int_equal(got.tensor.rank, rank);
            assert_memory_equal(got.tensor.dims, made.tensor.dims, (size_t)rank * sizeof(int64_t));
            assert_int_equal(got.bytes, made.bytes);
            if (made.bytes) assert_memory_equal(got.tensor.data, made.tensor.data, made.bytes);
            bert_owned_tensor_free(&got);
            bert_owned_tensor_free(&made);
            free(header);
        }
    }
}

static void every_prefix_of_a_npy_file_is_refused(void **state) {
    size_t size;
    unsigned char *file =
        npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", (const float[]){1, 2}, 8, &size);
    for (size_t length = 0; length < size; length++) {
        /* In memory of its own, so that reading past the end is noticed. */
        unsigned char *prefix = malloc(length ? length : 1);
        memcpy(prefix, file, length);
        bert_owned_tensor tensor;
        bert_error error;
        assert_int_not_equal(bert_npy_parse(prefix, length, &tensor, &error), BERT_OK);
        free(prefix);
    }
    free(file);
}

static void odd_headers_are_refused(void **state) {
    static const char *const dicts[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }",
        "{'descr': '<f4', 'shape': (2,), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}",
        "{'descr': '', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': 'a name that is longer than any type has, by far', 'fortran_order': False, 'shape': (2,)}",
        "{",
        "[]",
        ""};
    for (size_t i = 0; i < sizeof dicts / sizeof dicts[0]; i++) {
        bert_owned_tensor tensor;
        if (parse(1, dicts[i], (const float[]){1, 2}, 8, &tensor) == BERT_OK) fail_msg("%s is read", dicts[i]);
    }
}

static void json_text_is_escaped_and_floats_read_back(void **state) {
    bert_json_out json = {0};
    bert_json_out_begin(&json, '{');
    bert_json_out_key(&json, "a\"b");
    bert_json_out_string(&json, "\\ \n\x01\0é\xff\xe4\xbd|", 11);
    bert_json_out_key(&json, "n");
    bert_json_out_begin(&json, '[');
    bert_json_out_number(&json, 0.1F);
    bert_json_out_number(&json, NAN);
    bert_json_out_number(&json, -INFINITY);
    bert_json_out_integer(&json, INT64_MIN);
    bert_json_out_boolean(&json, true);
    bert_json_out_text(&json, NULL);
    bert_json_out_end(&json, ']');
    bert_json_out_end(&json, '}');
    assert_string_equal(json.text, "{\"a\\\"b\": \"\\\\ \\u000a\\u0001\\u0000é\xef\xbf\xbd\xef\xbf\xbd|\", \"n\": "
                                   "[0.100000001, null, null, -9223372036854775808, true, null]}");
    assert_int_equal(json.not_numbers, 2);
    bert_json_out_free(&json);
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t bits = i * 21475U; /* over all floats */
        float value;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        bert_json_out_clear(&json);
        bert_json_out_number(&json, value);
        assert_true(strtof(json.text, NULL) == value);
    }
    bert_json_out_free(&json);
}

static bert_comparison compare_floats(const float *got, const float *expected, int64_t count, double rtol,
                                      double atol) {
    const bert_tensor a = {.dtype = BERT_FLOAT, .rank = 2, .dims = {count / 2, 2}, .data = (void *)got};
    const bert_tensor b = {.dtype = BERT_FLOAT, .rank = 2, .dims = {count / 2, 2}, .data = (void *)expected};
    return bert_compare_tensors(&a, &b, (bert_tolerance){.rtol = rtol, .atol = atol});
}

static void the_worst_element_is_named(void **state) {
    const float expected[] = {1, 100, 0, -3};
    bert_comparison same = compare_floats(expected, expected, 4, 0, 0);
    assert_true(same.same_form && same.beyond == 0 && same.ratio == 0);
    /* An error of 0.05 on 100 is allowed by rtol, the same on -3 is not. */
    bert_comparison near = compare_floats((const float[]){1, 100.05F, 0, -3.05F}, expected, 4, 1e-3, 1e-4);
    assert_int_equal(near.beyond, 1);
    assert_int_equal(near.index[0], 1);
    assert_int_equal(near.index[1], 1);
    assert_true(fabs(near.error - 0.05) < 1e-6);
}

static void nan_and_infinity_are_near_themselves_only(void **state) {
    const float odd[] = {NAN, INFINITY, -INFINITY, 0};
    assert_int_equal(compare_floats(odd, odd, 4, 0, 0).beyond, 0);
    assert_int_equal(compare_floats((const float[]){0, INFINITY, -INFINITY, 0}, odd, 4, 1e9, 1e9).beyond, 1);
    assert_int_equal(compare_floats(odd, (const float[]){0, INFINITY, -INFINITY, 0}, 4, 1e9, 1e9).beyond, 1);
    assert_int_equal(compare_floats((const float[]){NAN, -INFINITY, INFINITY, NAN}, odd, 4, 1e9, 1e9).beyond, 3);
    assert_true(isinf(compare_floats((const float[]){0, 0, 0, 0}, odd, 4, 1e9, 1e9).ratio));
}

static void integers_are_held_to_the_absolute_tolerance_alone(void **state) {
    const int64_t a[] = {1000000, INT64_MIN};
    const int64_t b[] = {1000001, INT64_MAX};
    const bert_tensor got = {.dtype = BERT_INT64, .rank = 1, .dims = {2}, .data = (void *)a};
    const bert_tensor expected = {.dtype = BERT_INT64, .rank = 1, .dims = {2}, .data = (void *)b};
    assert_int_equal(bert_compare_tensors(&got, &expected, (bert_tolerance){.rtol = 1e-3, .atol = 1e-4}).beyond, 2);
    assert_int_equal(bert_compare_tensors(&got, &expected, (bert_tolerance){.atol = 1}).beyond, 1);
}

static void other_shapes_and_types_are_not_compared(void **state) {
    float data[6] = {0};
    const bert_tensor a = {.dtype = BERT_FLOAT, .rank = 2, .dims = {2, 3}, .data = data};
    bert_tensor b = a;
    assert_true(bert_compare_tensors(&a, &b, (bert_tolerance){0}).same_form);
    b.dims[0] = 3;
    b.dims[1] = 2;
    assert_false(bert_compare_tensors(&a, &b, (bert_tolerance){0}).same_form);
    b = a;
    b.dtype = BERT_INT32;
    assert_false(bert_compare_tensors(&a, &b, (bert_tolerance){0}).same_form);
    b = a;
    b.rank = 1;
    assert_false(bert_compare_tensors(&a, &b, (bert_tolerance){0}).same_form);
}

static void a_tensor_survives_pb_and_npy_files(void **state) {
    static const char *const files[] = {"cli-unit.pb", "cli-unit.npy"};
    float data[6] = {1, -2, NAN, INFINITY, 0, 1e-40F};
    const bert_tensor tensor = {.dtype = BERT_FLOAT, .rank = 2, .dims = {2, 3}, .data = data};
    bert_error error;
    for (int i = 0; i < 2; i++) {
        bert_owned_tensor got;
        assert_int_equal(bert_tensor_file_write(files[i], "a/b", &tensor, &error), BERT_OK);
        assert_int_equal(bert_tensor_file_read(files[i], &got, &error), BERT_OK);
        assert_int_equal(got.bytes, sizeof data);
        assert_memory_equal(got.tensor.data, data, sizeof data);
        if (i == 0) assert_string_equal(got.name, "a/b");
        bert_owned_tensor_free(&got);
    }
    assert_int_equal(bert_tensor_file_write("no-such-folder/x.npy", "x", &tensor, &error), BERT_IO_ERROR);
    assert_int_equal(bert_tensor_file_write("x.txt", "x", &tensor, &error), BERT_INVALID_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_is_read_in_every_order_and_version),
        cmocka_unit_test(every_type_and_rank_survives_npy),
        cmocka_unit_test(every_prefix_of_a_npy_file_is_refused),
        cmocka_unit_test(odd_headers_are_refused),
        cmocka_unit_test(json_text_is_escaped_and_floats_read_back),
        cmocka_unit_test(the_worst_element_is_named),
        cmocka_unit_test(nan_and_infinity_are_near_themselves_only),
        cmocka_unit_test(integers_are_held_to_the_absolute_tolerance_alone),
        cmocka_unit_test(other_shapes_and_types_are_not_compared),
        cmocka_unit_test(a_tensor_survives_pb_and_npy_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
