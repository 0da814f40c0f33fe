/* Encoding: normalizer, WordPiece, added tokens, offsets, pairs, truncation, windows, padding. */
#include "tests/tokenizer/support.h"

static const char vocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\nun\n##able\n##a\n##b\na\nb\n,\n.\n今\n天\ne\n"
    "cafe\ni\n##\xcc\x87\nHello\n\xc3\x89\n<\n>\n=\nx\n";

static const char template_json[] =
    "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"decoder\": {\"type\": \"WordPiece\", \"prefix\": \"##\", "
    "\"cleanup\": false}, \"post_processor\": {\"type\": \"BertProcessing\", \"sep\": [\"[SEP]\", 1], \"cls\": "
    "[\"[CLS]\", 0]}, \"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": "
    "\"##\", \"max_input_chars_per_word\": 100, \"vocab\": {\"[CLS]\": 0, \"[SEP]\": 1, \"[UNK]\": 2, \"a\": 3, \"b\": "
    "4, \"c\": 5, \"##a\": 6, \"hello\": 7}}";

/* tokenizer.json with these added tokens and the BERT normalizer. */
static bert_tokenizer *load_added(const char *added) {
    char json[4096];
    snprintf(json, sizeof json,
             "{\"added_tokens\": [%s], \"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, "
             "\"handle_chinese_chars\": true, \"strip_accents\": null, \"lowercase\": true}, %s}",
             added, template_json);
    test_files files = {.tokenizer_json = json};
    return load_files(&files);
}

typedef struct fixture {
    bert_tokenizer *tokenizer;
    bert_encoding *encoding;
} fixture;

static fixture start(bert_tokenizer *tokenizer) {
    fixture it = {.tokenizer = tokenizer};
    bert_error error = {0};
    assert_int_equal(bert_encoding_create(tokenizer, &it.encoding, &error), BERT_OK);
    return it;
}

static fixture start_vocabulary(const char *config) {
    test_files files = {.vocab = vocabulary, .config = config};
    return start(load_files(&files));
}

static void stop(fixture *it) {
    bert_encoding_free(it->encoding);
    bert_tokenizer_free(it->tokenizer);
}

static void expect_tokens(fixture *it, const char *text, const char *expected) {
    assert_tokens(it->tokenizer, encode_with(it->tokenizer, it->encoding, text, NULL, NULL), expected);
}

static void expect_offsets(bert_encoding_view view, const int64_t (*expected)[2], size_t count) {
    assert_int_equal(view.length, count);
    for (size_t i = 0; i < count; i++) {
        if (view.offsets[i][0] != expected[i][0] || view.offsets[i][1] != expected[i][1]) {
            fail_msg("offsets[%zu] are %lld, %lld", i, (long long)view.offsets[i][0], (long long)view.offsets[i][1]);
        }
    }
}

static void words_fall_into_the_longest_pieces(void **state) {
    fixture it = start_vocabulary(NULL);
    expect_tokens(&it, "Hello, unable WORLD.", "[CLS] hello , un ##able world . [SEP]");
    expect_tokens(&it, "", "[CLS] [SEP]");
    expect_tokens(&it, "unabl", "[CLS] [UNK] [SEP]");
    expect_tokens(&it, "abab ba", "[CLS] a ##b ##a ##b b ##a [SEP]");
    stop(&it);
}

static void a_word_of_101_characters_is_unknown(void **state) {
    fixture it = start_vocabulary(NULL);
    char word[102];
    memset(word, 'a', 101);
    word[101] = '\0';
    assert_int_equal(encode_with(it.tokenizer, it.encoding, word + 1, NULL, NULL).length, 102);
    assert_int_equal(encode_with(it.tokenizer, it.encoding, word, NULL, NULL).length, 3);
    expect_tokens(&it, word, "[CLS] [UNK] [SEP]");
    stop(&it);
}

static void offsets_count_code_points_of_the_original_text(void **state) {
    fixture it = start_vocabulary(NULL);
    /* A decomposed accent, a removed control character, Chinese characters, an accent that becomes nothing. */
    bert_encoding_view view =
        encode_with(it.tokenizer, it.encoding, "cafe\xcc\x81 \x01\xe4\xbb\x8a\xe5\xa4\xa9 \xc3\x89", NULL, NULL);
    assert_tokens(it.tokenizer, view, "[CLS] cafe \xe4\xbb\x8a \xe5\xa4\xa9 e [SEP]");
    const int64_t expected[][2] = {{0, 0}, {0, 4}, {7, 8}, {8, 9}, {10, 11}, {0, 0}};
    expect_offsets(view, expected, 6);
    const int32_t words[] = {-1, 0, 1, 2, 3, -1};
    assert_memory_equal(view.word_ids, words, sizeof words);
    stop(&it);
}

static void lower_casing_may_grow_a_character(void **state) {
    fixture it = start_vocabulary("{\"strip_accents\": false}");
    bert_encoding_view view = encode_with(it.tokenizer, it.encoding, "a \xc4\xb0", NULL, NULL);
    assert_tokens(it.tokenizer, view, "[CLS] a i ##\xcc\x87 [SEP]");
    const int64_t expected[][2] = {{0, 0}, {0, 1}, {2, 3}, {2, 3}, {0, 0}};
    expect_offsets(view, expected, 5);
    stop(&it);
}

static void settings_of_the_config_rule_the_normalizer(void **state) {
    fixture it = start_vocabulary("{\"do_lower_case\": false}");
    expect_tokens(&it, "Hello hello \xc3\x89", "[CLS] Hello hello \xc3\x89 [SEP]");
    stop(&it);
    it = start_vocabulary("{\"do_lower_case\": false, \"strip_accents\": true}");
    expect_tokens(&it, "Hello \xc3\xa9", "[CLS] Hello e [SEP]");
    stop(&it);
    it = start_vocabulary("{\"tokenize_chinese_chars\": false}");
    expect_tokens(&it, "\xe4\xbb\x8a\xe5\xa4\xa9 \xe4\xbb\x8a", "[CLS] [UNK] \xe4\xbb\x8a [SEP]");
    stop(&it);
}

static void special_tokens_in_the_text_are_found_as_they_are(void **state) {
    fixture it = start_vocabulary(NULL);
    expect_tokens(&it, "hello[MASK]world [SEP]", "[CLS] hello [MASK] world [SEP] [SEP]");
    expect_tokens(&it, "[mask]", "[CLS] [UNK] [UNK] [UNK] [SEP]");
    expect_tokens(&it, "[MASK", "[CLS] [UNK] [UNK] [SEP]");
    bert_encoding_view view = encode_with(it.tokenizer, it.encoding, "[MASK]", NULL, NULL);
    /* What the text itself holds is no special token of the encoding. */
    const uint8_t mask[] = {1, 0, 1};
    assert_memory_equal(view.special_tokens_mask, mask, sizeof mask);
    stop(&it);
}

static void single_words_are_not_parts_of_words(void **state) {
    fixture it = start(load_added("{\"id\": 8, \"content\": \"<s>\", \"single_word\": true, \"normalized\": false}"));
    expect_tokens(&it, "a <s> b", "[CLS] a <s> b [SEP]");
    expect_tokens(&it, ".<s>.", "[CLS] [UNK] <s> [UNK] [SEP]");
    expect_tokens(&it, "a<s>", "[CLS] a [UNK] [UNK] [UNK] [SEP]");
    expect_tokens(&it, "<s>\xc3\xa9", "[CLS] [UNK] [UNK] [UNK] [UNK] [SEP]");
    stop(&it);
}

static void strips_take_the_white_space_around(void **state) {
    fixture it = start(load_added("{\"id\": 8, \"content\": \"<l>\", \"lstrip\": true, \"normalized\": false}, "
                                  "{\"id\": 9, \"content\": \"<r>\", \"rstrip\": true, \"normalized\": false}"));
    bert_encoding_view view = encode_with(it.tokenizer, it.encoding,
                                          "a \t<l> b<r>\n \xe3\x80\x80"
                                          "c",
                                          NULL, NULL);
    assert_tokens(it.tokenizer, view, "[CLS] a <l> b <r> c [SEP]");
    const int64_t expected[][2] = {{0, 0}, {0, 1}, {1, 6}, {7, 8}, {8, 14}, {14, 15}, {0, 0}};
    expect_offsets(view, expected, 7);
    stop(&it);
}

static void normalized_tokens_are_found_in_normalized_text(void **state) {
    fixture it = start(load_added("{\"id\": 8, \"content\": \"\xc3\x89"
                                  "a\", \"normalized\": true}, "
                                  "{\"id\": 9, \"content\": \"Zz\", \"normalized\": false}"));
    expect_tokens(&it,
                  "b EA e\xcc\x81"
                  "ab",
                  "[CLS] b \xc3\x89"
                  "a \xc3\x89"
                  "a b [SEP]");
    expect_tokens(&it, "zzZz", "[CLS] [UNK] Zz [SEP]");
    stop(&it);
}

static void the_longest_added_token_wins(void **state) {
    fixture it = start(load_added("{\"id\": 8, \"content\": \"<a\", \"normalized\": false}, "
                                  "{\"id\": 9, \"content\": \"<a>\", \"normalized\": false}"));
    expect_tokens(&it, "<a<a><", "[CLS] <a <a> [UNK] [SEP]");
    stop(&it);
}

static void a_pair_has_its_own_offsets_words_and_types(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encoding_view view = encode_with(it.tokenizer, it.encoding, "hello a", "world", NULL);
    assert_tokens(it.tokenizer, view, "[CLS] hello a [SEP] world [SEP]");
    const int32_t types[] = {0, 0, 0, 0, 1, 1}, words[] = {-1, 0, 1, -1, 0, -1};
    const int8_t sequences[] = {-1, 0, 0, -1, 1, -1};
    const int64_t offsets[][2] = {{0, 0}, {0, 5}, {6, 7}, {0, 0}, {0, 5}, {0, 0}};
    assert_memory_equal(view.type_ids, types, sizeof types);
    assert_memory_equal(view.word_ids, words, sizeof words);
    assert_memory_equal(view.sequence_ids, sequences, sizeof sequences);
    expect_offsets(view, offsets, 6);
    stop(&it);
}

/* Before anything else was encoded, when an encoding has no memory yet. */
static void an_empty_text_may_have_no_tokens_at_all(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encode_options options = {.struct_size = sizeof options, .no_special_tokens = true};
    assert_int_equal(encode_with(it.tokenizer, it.encoding, "", NULL, &options).length, 0);
    assert_int_equal(encode_with(it.tokenizer, it.encoding, "", "", &options).length, 0);
    stop(&it);
}

static void no_special_tokens_leaves_them_out(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encode_options options = {.struct_size = sizeof options, .no_special_tokens = true};
    assert_tokens(it.tokenizer, encode_with(it.tokenizer, it.encoding, "a", "b", &options), "a b");
    stop(&it);
}

static void each_strategy_cuts_its_text(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encode_options options = {
        .struct_size = sizeof options, .truncation = BERT_TRUNCATION_LONGEST_FIRST, .max_length = 6};
    assert_tokens(it.tokenizer, encode_with(it.tokenizer, it.encoding, "a a a a a", "b b", &options),
                  "[CLS] a a [SEP] b [SEP]");
    options.truncation = BERT_TRUNCATION_ONLY_FIRST;
    assert_tokens(it.tokenizer, encode_with(it.tokenizer, it.encoding, "a a a a a", "b b", &options),
                  "[CLS] a [SEP] b b [SEP]");
    options.truncation = BERT_TRUNCATION_ONLY_SECOND;
    assert_tokens(it.tokenizer, encode_with(it.tokenizer, it.encoding, "a a", "b b b", &options),
                  "[CLS] a a [SEP] b [SEP]");
    options.truncation = BERT_TRUNCATION_NONE;
    assert_int_equal(encode_with(it.tokenizer, it.encoding, "a a a a a", "b b", &options).length, 10);
    stop(&it);
}

static void expect_failure(fixture *it, const char *text, const char *pair, const bert_encode_options *options,
                           bert_status expected, const char *words) {
    bert_error error = {0};
    bert_status status = bert_tokenizer_encode(it->tokenizer, text, strlen(text), pair, pair ? strlen(pair) : 0,
                                               options, it->encoding, &error);
    assert_int_equal(status, expected);
    if (!strstr(error.message, words)) fail_msg("'%s' is not in: %s", words, error.message);
    assert_int_equal(bert_encoding_get(it->encoding).length, 0);
    assert_false(bert_encoding_next(it->encoding));
}

static void truncation_that_cannot_reach_its_length_fails(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encode_options options = {
        .struct_size = sizeof options, .truncation = BERT_TRUNCATION_ONLY_FIRST, .max_length = 6};
    expect_failure(&it, "a", "b b b b", &options, BERT_INVALID_INPUT, "only_first");
    options.truncation = BERT_TRUNCATION_ONLY_SECOND;
    expect_failure(&it, "a a a a a", NULL, &options, BERT_INVALID_INPUT, "only_second");
    options.truncation = BERT_TRUNCATION_LONGEST_FIRST;
    options.max_length = 1;
    expect_failure(&it, "a", NULL, &options, BERT_INVALID_INPUT, "special tokens");
    options.max_length = 4;
    options.stride = 2;
    expect_failure(&it, "a a a", NULL, &options, BERT_INVALID_INPUT, "stride");
    assert_int_equal(encode_with(it.tokenizer, it.encoding, "a a", NULL, &options).length, 4);
    stop(&it);
}

static void windows_overlap_by_the_stride(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encode_options options = {
        .struct_size = sizeof options, .truncation = BERT_TRUNCATION_ONLY_SECOND, .max_length = 6, .stride = 1};
    bert_encoding_view view = encode_with(it.tokenizer, it.encoding, "hello", "a b a b", &options);
    assert_tokens(it.tokenizer, view, "[CLS] hello [SEP] a b [SEP]");
    assert_true(bert_encoding_next(it.encoding));
    assert_tokens(it.tokenizer, bert_encoding_get(it.encoding), "[CLS] hello [SEP] b a [SEP]");
    assert_true(bert_encoding_next(it.encoding));
    view = bert_encoding_get(it.encoding);
    assert_tokens(it.tokenizer, view, "[CLS] hello [SEP] a b [SEP]");
    assert_int_equal(view.offsets[3][0], 4);
    assert_false(bert_encoding_next(it.encoding));
    stop(&it);
}

static void the_left_side_can_be_cut_and_padded(void **state) {
    fixture it = start_vocabulary("{\"truncation_side\": \"left\", \"padding_side\": \"left\"}");
    bert_encode_options options = {
        .struct_size = sizeof options, .truncation = BERT_TRUNCATION_LONGEST_FIRST, .max_length = 4, .pad_to = 6};
    bert_encoding_view view = encode_with(it.tokenizer, it.encoding, "a , b .", NULL, &options);
    assert_tokens(it.tokenizer, view, "[PAD] [PAD] [CLS] b . [SEP]");
    const uint8_t attention[] = {0, 0, 1, 1, 1, 1}, special[] = {1, 1, 1, 0, 0, 1};
    assert_memory_equal(view.attention_mask, attention, sizeof attention);
    assert_memory_equal(view.special_tokens_mask, special, sizeof special);
    stop(&it);
}

static void model_max_length_is_the_default_limit(void **state) {
    fixture it = start_vocabulary("{\"model_max_length\": 5}");
    bert_encode_options options = {.struct_size = sizeof options, .truncation = BERT_TRUNCATION_LONGEST_FIRST};
    assert_int_equal(encode_with(it.tokenizer, it.encoding, "a a a a a", NULL, &options).length, 5);
    stop(&it);
}

static void broken_utf8_fails_or_is_replaced(void **state) {
    fixture it = start_vocabulary(NULL);
    expect_failure(&it, "ab\xff", NULL, NULL, BERT_INVALID_INPUT, "byte 2 is 0xFF");
    expect_failure(&it, "a", "\xed\xa0\x80", NULL, BERT_INVALID_INPUT, "pair");
    bert_encode_options options = {.struct_size = sizeof options, .invalid_utf8 = BERT_INVALID_UTF8_REPLACE};
    /* Python: b'\xe4\xbb a \xf0\x90\x80' has one U+FFFD for each cut character, and three for the surrogate. */
    bert_encoding_view view =
        encode_with(it.tokenizer, it.encoding, "\xe4\xbb a \xf0\x90\x80 b \xed\xa0\x80 a", NULL, &options);
    assert_tokens(it.tokenizer, view, "[CLS] a b a [SEP]");
    const int64_t expected[][2] = {{0, 0}, {2, 3}, {6, 7}, {12, 13}, {0, 0}};
    expect_offsets(view, expected, 5);
    stop(&it);
}

static void nul_bytes_are_text(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_error error;
    assert_int_equal(bert_tokenizer_encode(it.tokenizer, "a\0b", 3, NULL, 0, NULL, it.encoding, &error), BERT_OK);
    bert_encoding_view view = bert_encoding_get(it.encoding);
    assert_tokens(it.tokenizer, view, "[CLS] a ##b [SEP]");
    assert_int_equal(view.offsets[2][0], 2);
    stop(&it);
}

static void wrong_arguments_are_refused(void **state) {
    fixture it = start_vocabulary(NULL);
    bert_encode_options options = {.struct_size = 3};
    expect_failure(&it, "a", NULL, &options, BERT_INVALID_ARGUMENT, "struct_size");
    options = (bert_encode_options){.struct_size = sizeof options, .stride = -1};
    expect_failure(&it, "a", NULL, &options, BERT_INVALID_ARGUMENT, "negative");
    options = (bert_encode_options){.struct_size = sizeof options, .truncation = (bert_truncation)9};
    expect_failure(&it, "a", NULL, &options, BERT_INVALID_ARGUMENT, "strategy");
    options = (bert_encode_options){.struct_size = sizeof options, .pad_to = INT64_MAX};
    expect_failure(&it, "a", NULL, &options, BERT_OUT_OF_MEMORY, "could not allocate");
    assert_int_equal(bert_tokenizer_encode(it.tokenizer, NULL, 1, NULL, 0, NULL, it.encoding, NULL),
                     BERT_INVALID_ARGUMENT);
    assert_int_equal(encode_with(it.tokenizer, it.encoding, "a", NULL, NULL).length, 3);
    stop(&it);
}

static const char *decode(const bert_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip, bool clean) {
    static char out[256];
    size_t length = bert_tokenizer_decode(tokenizer, ids, count, skip, clean, out, sizeof out);
    assert_int_equal(length, strlen(out));
    return out;
}

static void decoding_joins_pieces_and_cleans_up(void **state) {
    fixture it = start_vocabulary(NULL);
    const int32_t ids[] = {2, 5, 13, 7, 8, 99, 14, 3};
    assert_string_equal(decode(it.tokenizer, ids, 8, true, true), "hello, unable.");
    assert_string_equal(decode(it.tokenizer, ids, 8, false, false), "[CLS] hello, unable. [SEP]");
    assert_string_equal(decode(it.tokenizer, ids, 0, false, false), "");
    char out[6] = "zzzzz";
    assert_int_equal(bert_tokenizer_decode(it.tokenizer, ids, 8, true, true, out, sizeof out), 14);
    assert_string_equal(out, "hello");
    assert_int_equal(bert_tokenizer_decode(it.tokenizer, ids, 8, true, true, NULL, 0), 14);
    stop(&it);
    /* cleanup false in tokenizer.json: only the whole text is cleaned, and only when asked. */
    it = start(load_added("{\"id\": 8, \"content\": \".\", \"normalized\": false}"));
    const int32_t stops[] = {3, 8};
    assert_string_equal(decode(it.tokenizer, stops, 2, true, false), "a .");
    assert_string_equal(decode(it.tokenizer, stops, 2, true, true), "a.");
    stop(&it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_fall_into_the_longest_pieces),
        cmocka_unit_test(a_word_of_101_characters_is_unknown),
        cmocka_unit_test(offsets_count_code_points_of_the_original_text),
        cmocka_unit_test(lower_casing_may_grow_a_character),
        cmocka_unit_test(settings_of_the_config_rule_the_normalizer),
        cmocka_unit_test(special_tokens_in_the_text_are_found_as_they_are),
        cmocka_unit_test(single_words_are_not_parts_of_words),
        cmocka_unit_test(strips_take_the_white_space_around),
        cmocka_unit_test(normalized_tokens_are_found_in_normalized_text),
        cmocka_unit_test(the_longest_added_token_wins),
        cmocka_unit_test(a_pair_has_its_own_offsets_words_and_types),
        cmocka_unit_test(an_empty_text_may_have_no_tokens_at_all),
        cmocka_unit_test(no_special_tokens_leaves_them_out),
        cmocka_unit_test(each_strategy_cuts_its_text),
        cmocka_unit_test(truncation_that_cannot_reach_its_length_fails),
        cmocka_unit_test(windows_overlap_by_the_stride),
        cmocka_unit_test(the_left_side_can_be_cut_and_padded),
        cmocka_unit_test(model_max_length_is_the_default_limit),
        cmocka_unit_test(broken_utf8_fails_or_is_replaced),
        cmocka_unit_test(nul_bytes_are_text),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(decoding_joins_pieces_and_cleans_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
