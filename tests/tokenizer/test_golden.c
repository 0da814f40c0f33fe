/* The bundled model's tokenizer against the ids that transformers gave. */
#include "tests/tokenizer/support.h"

#include "core/base/file.h"
#include "core/base/json.h"

#include <stdio.h>

static void check_numbers(const bert_json *expected, const int32_t *got, size_t length, size_t line, const char *what) {
    assert_non_null(expected);
    size_t i = 0;
    if (expected->length != length) {
        fail_msg("line %zu: %zu %s where %zu were expected", line, length, what, expected->length);
    }
    for (const bert_json *item = expected->first; item; item = item->next, i++) {
        int64_t value;
        assert_true(bert_json_integer(item, &value));
        if (value != got[i]) {
            fail_msg("line %zu: %s[%zu] is %d where %lld was expected", line, what, i, got[i], (long long)value);
        }
    }
}

static void check_line(const bert_tokenizer *tokenizer, bert_encoding *encoding, const char *bytes, size_t size,
                       size_t line) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *root;
    bert_error error = {0};
    assert_int_equal(bert_json_parse(bytes, size, "golden.jsonl", &arena, &root, &error), BERT_OK);
    const bert_json *text = bert_json_get(root, "text"), *pair = bert_json_get(root, "text_pair");
    bool has_pair = pair && pair->type == BERT_JSON_STRING;
    bert_status status = bert_tokenizer_encode(tokenizer, text->text, text->length, has_pair ? pair->text : NULL,
                                               has_pair ? pair->length : 0, NULL, encoding, &error);
    if (status != BERT_OK) fail_msg("line %zu: %s", line, error.message);
    bert_encoding_view view = bert_encoding_get(encoding);
    check_numbers(bert_json_get(root, "input_ids"), view.ids, view.length, line, "ids");
    check_numbers(bert_json_get(root, "token_type_ids"), view.type_ids, view.length, line, "type ids");
    bert_arena_free(&arena);
}

static void check_folder(const bert_tokenizer *tokenizer) {
    bert_file file;
    bert_error error = {0};
    assert_int_equal(bert_file_open(BERT_SOURCE_DIR "/models/zh-sentiment/golden.jsonl", false, NULL, &file, &error),
                     BERT_OK);
    bert_encoding *encoding;
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, &error), BERT_OK);
    const char *at = (const char *)file.data, *end = at + file.size;
    size_t line = 0;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        check_line(tokenizer, encoding, at, (size_t)(stop - at), ++line);
        at = stop + 1;
    }
    assert_int_equal(line, 258);
    bert_encoding_free(encoding);
    bert_file_close(&file);
}

static void every_golden_line_has_its_ids_and_types(void **state) {
    bert_tokenizer *tokenizer;
    bert_error error = {0};
    bert_status status = bert_tokenizer_load(BERT_SOURCE_DIR "/models/zh-sentiment", NULL, &tokenizer, &error);
    if (status != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(bert_tokenizer_vocabulary_size(tokenizer), 4821);
    assert_int_equal(bert_tokenizer_model_max_length(tokenizer), 256);
    check_folder(tokenizer);
    bert_tokenizer_free(tokenizer);
}

static void open_file(const char *name, bert_file *file) {
    char path[4096];
    snprintf(path, sizeof path, "%s/models/zh-sentiment/%s", BERT_SOURCE_DIR, name);
    bert_error error = {0};
    assert_int_equal(bert_file_open(path, true, NULL, file, &error), BERT_OK);
}

static void so_it_has_without_tokenizer_json(void **state) {
    bert_file vocab, config;
    open_file("vocab.txt", &vocab);
    open_file("tokenizer_config.json", &config);
    bert_tokenizer_files files = {.struct_size = sizeof files};
    files.vocab_txt.data = (const char *)vocab.data;
    files.vocab_txt.size = vocab.size;
    files.tokenizer_config_json.data = (const char *)config.data;
    files.tokenizer_config_json.size = config.size;
    bert_tokenizer *tokenizer;
    bert_error error = {0};
    bert_status status = bert_tokenizer_load_memory(&files, NULL, &tokenizer, &error);
    bert_file_close(&vocab);
    bert_file_close(&config);
    if (status != BERT_OK) fail_msg("%s", error.message);
    check_folder(tokenizer);
    bert_tokenizer_free(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_line_has_its_ids_and_types),
        cmocka_unit_test(so_it_has_without_tokenizer_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
