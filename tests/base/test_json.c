/* core/base/json: what jansson reads, and the two things that it does not. */
#include "core/base/json.h"
#include "tests/support/test.h"

#include <string.h>

static bert_arena arena;
static bert_error error;

static int set_up(void **state) {
    bert_arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state) {
    bert_arena_free(&arena);
    return 0;
}

static const bert_json *parse(const char *text) {
    const bert_json *value;
    assert_int_equal(bert_json_parse(text, strlen(text), "test.json", &arena, &value, &error), BERT_OK);
    return value;
}

static void refuse(const char *text, const char *why) {
    const bert_json *value;
    assert_int_equal(bert_json_parse(text, strlen(text), "test.json", &arena, &value, &error), BERT_INVALID_MODEL);
    assert_null(value);
    assert_non_null(strstr(error.message, "test.json"));
    assert_non_null(strstr(error.message, why));
}

static void members_keep_their_order_and_types(void **state) {
    const bert_json *root = parse(" {\"z\": [1, -2.5, \"x\"], \"a\": true, \"m\": null} ");
    assert_int_equal(root->length, 3);
    assert_string_equal(root->first->key, "z");
    assert_int_equal(root->first->length, 3);
    double number;
    assert_true(bert_json_number(root->first->first->next, &number) && number == -2.5);
    assert_true(bert_json_is_string(root->first->first->next->next, "x"));
    assert_int_equal(bert_json_get(root, "a")->type, BERT_JSON_TRUE);
    assert_int_equal(bert_json_get(root, "m")->type, BERT_JSON_NULL);
    assert_null(bert_json_get(root, "q"));
    assert_null(bert_json_get(NULL, "q"));
    assert_string_equal(bert_json_type_name(root->first), "an array");
}

static void keys_and_strings_hold_nul(void **state) {
    const bert_json *root = parse("{\"a\\u0000b\": \"\\u0000\\u0000\", \"\\\\u0000\": \"c\\\\\\u0000\"}");
    assert_int_equal(root->first->key_length, 3);
    assert_memory_equal(root->first->key, "a\0b", 4);
    assert_int_equal(root->first->length, 2);
    assert_memory_equal(root->first->text, "\0\0", 3);
    const bert_json *second = root->first->next;
    assert_string_equal(second->key, "\\u0000"); /* an escaped backslash, no escaped NUL */
    assert_int_equal(second->length, 3);
    assert_memory_equal(second->text, "c\\\0", 4);
}

static void a_noncharacter_of_the_text_is_not_taken_for_nul(void **state) {
    const bert_json *root = parse("[\"\xEF\xB7\x90\", \"\\ufdd1 \\uFDD2\", \"\\u0000\"]");
    assert_true(bert_json_is_string(root->first, "\xEF\xB7\x90"));
    assert_true(bert_json_is_string(root->first->next, "\xEF\xB7\x91 \xEF\xB7\x92"));
    assert_int_equal(root->first->next->next->length, 1);
    assert_memory_equal(root->first->next->next->text, "\0", 2);
}

static void numbers_may_be_long(void **state) {
    const bert_json *root = parse("[1000000000000000019884624838656, 1e30, 9007199254740992, 2.5, 30522]");
    const bert_json *item = root->first;
    double number;
    int64_t integer;
    assert_true(bert_json_number(item, &number) && number == 1e30);
    assert_false(bert_json_integer(item, &integer));
    item = item->next;
    assert_true(bert_json_number(item, &number) && number == 1e30);
    item = item->next;
    assert_true(bert_json_integer(item, &integer) && integer == (int64_t)1 << 53);
    item = item->next;
    assert_false(bert_json_integer(item, &integer));
    item = item->next;
    assert_true(bert_json_integer(item, &integer) && integer == 30522);
    assert_false(bert_json_integer(NULL, &integer));
}

static void the_last_of_equal_keys_counts(void **state) {
    int64_t integer;
    assert_true(bert_json_integer(bert_json_get(parse("{\"a\": 1, \"b\": 2, \"a\": 3}"), "a"), &integer));
    assert_int_equal(integer, 3);
}

static void what_is_not_json_is_refused_with_its_place(void **state) {
    refuse("", "empty");
    refuse("{\n  \"a\": 1,\n  b}", "line 3");
    refuse("[1, 2", "line 1");
    refuse("[1] x", "line 1");
    refuse("\"\xff\"", "not JSON");
    refuse("[1e999]", "not JSON");
    char deep[400];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 199);
    deep[399] = '\0';
    refuse(deep, "not JSON");
    memset(deep + 200, ']', 200);
    const bert_json *value;
    assert_int_equal(bert_json_parse(deep, 400, "test.json", &arena, &value, &error), BERT_INVALID_MODEL);
    assert_non_null(strstr(error.message, "deep"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(members_keep_their_order_and_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_and_strings_hold_nul, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_noncharacter_of_the_text_is_not_taken_for_nul, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_may_be_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_of_equal_keys_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_json_is_refused_with_its_place, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
