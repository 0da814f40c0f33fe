/* core/base: errors, memory, files, 16-bit floats. */

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/float16.h"
#include "core/base/memory.h"
#include "tests/support/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void errors_hold_one_line(void **state) {
    bert_error error = {0};
    assert_int_equal(bert_fail(&error, BERT_IO_ERROR, "%s", "a\nb"), BERT_IO_ERROR);
    assert_string_equal(error.message, "a b");
    assert_int_equal(bert_fail_in(&error, error.status, "node %d", 7), BERT_IO_ERROR);
    assert_string_equal(error.message, "node 7: a b");
    assert_int_equal(bert_fail(NULL, BERT_INTERNAL, "no record"), BERT_INTERNAL);
}

static void a_cut_sentence_stays_utf8(void **state) {
    bert_error error;
    for (int shift = 0; shift < 4; shift++) {
        char text[2048];
        int length = 0;
        for (int i = 0; i < shift; i++) text[length++] = 'x';
        while (length < 2000) {
            memcpy(text + length, "\xe4\xbd\xa0", 3);
            length += 3;
        }
        text[length] = '\0';
        bert_fail(&error, BERT_INTERNAL, "%s", text);
        size_t kept = strlen(error.message);
        assert_true(kept <= BERT_ERROR_MESSAGE_BYTES - 1 && kept >= BERT_ERROR_MESSAGE_BYTES - 4);
        assert_int_equal((kept - (size_t)shift) % 3, 0);
    }
}

static void arenas_zero_and_align(void **state) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    for (size_t i = 0; i < 2000; i++) {
        size_t alignment = (size_t)1 << (i % 7);
        unsigned char *memory = bert_arena_allocate(&arena, i * 7, alignment);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % alignment, 0);
        for (size_t j = 0; j < i * 7; j++) assert_int_equal(memory[j], 0);
        memset(memory, 0xff, i * 7);
    }
    assert_string_equal(bert_arena_format(&arena, "%d-%s", 3, "x"), "3-x");
    assert_null(bert_arena_array(&arena, SIZE_MAX / 2, 3));
    bert_arena_free(&arena);
    assert_int_equal(arena.total_bytes, 0);
}

static void every_half_survives_the_way_through_float(void **state) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = bert_half_to_float((uint16_t)bits);
        if (isnan(value)) {
            assert_true(isnan(bert_half_to_float(bert_float_to_half(value))));
            continue;
        }
        assert_int_equal(bert_float_to_half(value), bits);
        float as_bfloat = bert_bfloat16_to_float((uint16_t)bits);
        if (!isnan(as_bfloat)) assert_int_equal(bert_float_to_bfloat16(as_bfloat), bits);
    }
    assert_int_equal(bert_float_to_half(65519.996F), 0x7bff);
    assert_int_equal(bert_float_to_half(65520.0F), 0x7c00);
    assert_int_equal(bert_float_to_half(0x1p-25F), 0); /* a tie goes to even */
    assert_int_equal(bert_float_to_half(0x1.8p-25F), 1);
    assert_int_equal(bert_float_to_half(1.0F + 0x1p-11F), 0x3c00);
    assert_int_equal(bert_float_to_half(1.0F + 0x1.8p-10F), 0x3c02);
    assert_int_equal(bert_float_to_bfloat16(1.0F + 0x1p-8F), 0x3f80);
    assert_true(isnan(bert_bfloat16_to_float(bert_float_to_bfloat16(NAN))));
}

static void files_are_mapped_or_read_alike(void **state) {
    char path[] = "/tmp/bert_file_XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    char text[10000];
    memset(text, 'q', sizeof text);
    assert_int_equal(write(descriptor, text, sizeof text), sizeof text);
    for (int map = 0; map < 2; map++) {
        bert_file file;
        bert_error error;
        assert_int_equal(bert_file_open(path, map, NULL, &file, &error), BERT_OK);
        assert_int_equal(file.size, sizeof text);
        bert_file_release_pages(&file, file.data, file.size);
        assert_memory_equal(file.data, text, sizeof text);
        bert_file_close(&file);
        assert_null(file.data);
    }
    assert_int_equal(ftruncate(descriptor, 0), 0);
    close(descriptor);
    bert_file file;
    bert_error error;
    assert_int_equal(bert_file_open(path, true, NULL, &file, &error), BERT_OK);
    assert_int_equal(file.size, 0);
    bert_file_close(&file);
    unlink(path);
    assert_int_equal(bert_file_open(path, true, NULL, &file, &error), BERT_IO_ERROR);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(bert_file_open("/", true, NULL, &file, &error), BERT_IO_ERROR);
    assert_non_null(strstr(error.message, "folder"));
}

static void element_counts_refuse_overflow(void **state) {
    bert_tensor tensor = {.dtype = BERT_FLOAT, .rank = 3, .dims = {2, 3, 4}};
    assert_int_equal(bert_tensor_elements(&tensor), 24);
    tensor.rank = 0;
    assert_int_equal(bert_tensor_elements(&tensor), 1);
    tensor = (bert_tensor){.dtype = BERT_FLOAT, .rank = 2, .dims = {INT64_MAX / 2, 1}};
    assert_int_equal(bert_tensor_elements(&tensor), -1);
    tensor = (bert_tensor){.dtype = BERT_INT8, .rank = 3, .dims = {INT64_MAX, INT64_MAX, 0}};
    assert_int_equal(bert_tensor_elements(&tensor), 0);
    tensor.dims[1] = -1;
    assert_int_equal(bert_tensor_elements(&tensor), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_hold_one_line),           cmocka_unit_test(a_cut_sentence_stays_utf8),
        cmocka_unit_test(arenas_zero_and_align),          cmocka_unit_test(every_half_survives_the_way_through_float),
        cmocka_unit_test(files_are_mapped_or_read_alike), cmocka_unit_test(element_counts_refuse_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
