/* Loading: what each file says, what is refused and how, memory that runs out, one tokenizer on many threads. */
#include "tests/support/scarce_memory.h"
#include "tests/tokenizer/support.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\n##s\n";

#define PRE "\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}"
#define NORMALIZER(lower)                                                                                              \
    "\"normalizer\": {\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, "            \
    "\"strip_accents\": null, \"lowercase\": " lower "}"
#define MODEL                                                                                                          \
    "\"model\": {\"type\": \"WordPiece\", \"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": \"##\", "           \
    "\"max_input_chars_per_word\": 100, \"vocab\": {\"[UNK]\": 0, \"[CLS]\": 1, \"[SEP]\": 2, \"hello\": 3, "          \
    "\"Hello\": 4, \"[PAD]\": 5, \"[MASK]\": 6}}"

static void expect_refusal(const test_files *files, bert_status expected, const char *words) {
    bert_tokenizer *tokenizer = (bert_tokenizer *)&tokenizer;
    bert_error error = {0};
    bert_status status = load_files_with(files, NULL, &tokenizer, &error);
    assert_null(tokenizer);
    if (status != expected || !strstr(error.message, words)) {
        fail_msg("wanted %s with '%s', got %s: %s", bert_status_name(expected), words, bert_status_name(status),
                 error.message);
    }
    assert_null(strchr(error.message, '\n'));
}

static void expect_encoding(const test_files *files, const char *text, const char *expected) {
    bert_tokenizer *tokenizer = load_files(files);
    bert_encoding *encoding;
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
    assert_tokens(tokenizer, encode_with(tokenizer, encoding, text, NULL, NULL), expected);
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
}

static void a_config_lies_over_the_normalizer_of_tokenizer_json(void **state) {
    test_files files = {.tokenizer_json = "{" NORMALIZER("false") ", " PRE ", " MODEL "}"};
    /* Alone it stands as it is. */
    expect_encoding(&files, "Hello", "Hello");
    files.config = "{\"do_lower_case\": true}";
    expect_encoding(&files, "Hello", "hello");
    /* What the config does not say has BertTokenizerFast's default. */
    files.config = "{}";
    expect_encoding(&files, "Hello", "hello");
    files.config = "{\"do_lower_case\": false}";
    expect_encoding(&files, "Hello", "Hello");
    files.config = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}";
    expect_encoding(&files, "Hello", "Hello");
}

static void templates_are_taken_as_they_are_written(void **state) {
    test_files files = {
        .tokenizer_json = "{" NORMALIZER(
            "true") ", " PRE ", " MODEL ", \"post_processor\": {\"type\": \"TemplateProcessing\", "
                    "\"single\": [{\"SpecialToken\": {\"id\": \"X\", \"type_id\": 3}}, {\"Sequence\": {\"id\": \"A\", "
                    "\"type_id\": 7}}], \"pair\": [{\"Sequence\": {\"id\": \"B\", \"type_id\": 0}}, {\"Sequence\": "
                    "{\"id\": "
                    "\"A\", \"type_id\": 1}}], \"special_tokens\": {\"X\": {\"id\": \"X\", \"ids\": [1, 2], "
                    "\"tokens\": "
                    "[\"[CLS]\", \"[SEP]\"]}}}}"};
    bert_tokenizer *tokenizer = load_files(&files);
    bert_encoding *encoding;
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
    bert_encoding_view view = encode_with(tokenizer, encoding, "hello", NULL, NULL);
    assert_tokens(tokenizer, view, "[CLS] [SEP] hello");
    const int32_t types[] = {3, 3, 7};
    assert_memory_equal(view.type_ids, types, sizeof types);
    view = encode_with(tokenizer, encoding, "hello", "[MASK]", NULL);
    assert_tokens(tokenizer, view, "[MASK] hello");
    assert_int_equal(view.sequence_ids[0], 1);
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
}

/* all-mpnet-base-v2's: two separators between texts, and the type 0 in every window. */
static void robertas_template_is_around_wordpiece_too(void **state) {
    test_files files = {.tokenizer_json = "{" NORMALIZER("true") ", " PRE ", " MODEL ", \"post_processor\": {\"type\": "
                                                                 "\"RobertaProcessing\", \"sep\": [\"[SEP]\", 2], "
                                                                 "\"cls\": [\"[CLS]\", 1], \"trim_offsets\": true, "
                                                                 "\"add_prefix_space\": false}}"};
    const bert_encode_options options = {
        .struct_size = sizeof options, .truncation = BERT_TRUNCATION_ONLY_SECOND, .max_length = 6};
    expect_encoding(&files, "hello", "[CLS] hello [SEP]");
    bert_tokenizer *tokenizer = load_files(&files);
    bert_encoding *encoding;
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
    bert_encoding_view view = encode_with(tokenizer, encoding, "hello", "hello hello", &options);
    const int32_t types[6] = {0};
    for (int window = 0; window < 2; window++) {
        assert_tokens(tokenizer, view, "[CLS] hello [SEP] [SEP] hello [SEP]");
        assert_memory_equal(view.type_ids, types, sizeof types);
        assert_int_equal(bert_encoding_next(encoding), window == 0);
        view = bert_encoding_get(encoding);
    }
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
}

/* MPNet's vocabulary has BERT's names for special tokens too, and the class says which count. From vocab.txt,
 * transformers gives the second text the type 1. */
static void mpnets_class_has_names_of_its_own(void **state) {
    static const char both[] = "<s>\n<pad>\n</s>\n[UNK]\n<mask>\n[PAD]\n[CLS]\n[SEP]\n[MASK]\nhello\n";
    static const char *const configs[] = {"{\"tokenizer_class\": \"MPNetTokenizer\"}",
                                          "{\"tokenizer_class\": \"MPNetTokenizerFast\"}"};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        test_files files = {.vocab = both, .config = configs[i]};
        expect_encoding(&files, "hello [SEP] <mask>", "<s> hello [UNK] [UNK] [UNK] <mask> </s>");
        bert_tokenizer *tokenizer = load_files(&files);
        bert_special_ids ids = bert_tokenizer_special_ids(tokenizer);
        assert_int_equal(ids.cls, 0);
        assert_int_equal(ids.pad, 1);
        assert_int_equal(ids.sep, 2);
        assert_int_equal(ids.unk, 3);
        assert_int_equal(ids.mask, 4);
        bert_encoding *encoding;
        assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
        bert_encoding_view view = encode_with(tokenizer, encoding, "hello", "hello", NULL);
        assert_tokens(tokenizer, view, "<s> hello </s> </s> hello </s>");
        const int32_t types[] = {0, 0, 0, 0, 1, 1};
        assert_memory_equal(view.type_ids, types, sizeof types);
        /* The mask takes blanks before it. */
        view = encode_with(tokenizer, encoding, "hello <mask>", NULL, NULL);
        assert_int_equal(view.offsets[2][0], 5);
        bert_encoding_free(encoding);
        bert_tokenizer_free(tokenizer);
    }
    test_files named = {.vocab = both, .config = "{\"tokenizer_class\": \"MPNetTokenizer\", \"cls_token\": \"[CLS]\"}"};
    expect_encoding(&named, "hello", "[CLS] hello </s>");
    /* Of Chinese characters, tokenizer.json has the last word. */
    test_files chinese = {.tokenizer_json = "{" NORMALIZER("true") ", " PRE ", " MODEL "}",
                          .config = "{\"tokenizer_class\": \"MPNetTokenizer\", \"tokenize_chinese_chars\": false}"};
    expect_encoding(&chinese, "\xe4\xbb\x8a\xe5\xa4\xa9", "[UNK] [UNK]");
    chinese.config = "{\"tokenize_chinese_chars\": false}";
    expect_encoding(&chinese, "\xe4\xbb\x8a\xe5\xa4\xa9", "[UNK]");
}

static void special_tokens_come_from_every_file(void **state) {
    test_files files = {.vocab = vocabulary,
                        .special_map = "{\"mask_token\": \"hello\", \"cls_token\": {\"content\": "
                                       "\"world\", \"lstrip\": true}}"};
    expect_encoding(&files, "[MASK] Hello hello world", "world [UNK] [UNK] [UNK] hello hello world [SEP]");
    bert_tokenizer *tokenizer = load_files(&files);
    bert_special_ids ids = bert_tokenizer_special_ids(tokenizer);
    assert_int_equal(ids.mask, 5);
    assert_int_equal(ids.cls, 6);
    assert_int_equal(ids.pad, 0);
    assert_int_equal(ids.sep, 3);
    assert_int_equal(ids.unk, 1);
    bert_tokenizer_free(tokenizer);
    files = (test_files){.vocab = vocabulary, .added = "{\"<two>\": 9, \"<one>\": 8}"};
    tokenizer = load_files(&files);
    assert_int_equal(bert_tokenizer_id(tokenizer, "<one>", 5), 8);
    assert_int_equal(bert_tokenizer_id(tokenizer, "<two>", 5), 9);
    assert_int_equal(bert_tokenizer_vocabulary_size(tokenizer), 10);
    assert_string_equal(bert_tokenizer_token(tokenizer, 8, NULL), "<one>");
    assert_null(bert_tokenizer_token(tokenizer, 10, NULL));
    assert_null(bert_tokenizer_token(tokenizer, -1, NULL));
    bert_tokenizer_free(tokenizer);
}

static void further_special_tokens_of_both_files_add_up(void **state) {
    test_files files = {.vocab = vocabulary,
                        .config = "{\"additional_special_tokens\": [\"<a>\"]}",
                        .special_map = "{\"additional_special_tokens\": [{\"content\": \"<b>\"}, \"<a>\"]}"};
    expect_encoding(&files, "<a><b>", "[CLS] <a> <b> [SEP]");
}

static void a_mask_token_that_is_missing_gets_an_id(void **state) {
    test_files files = {.vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n"};
    bert_tokenizer *tokenizer = load_files(&files);
    assert_int_equal(bert_tokenizer_special_ids(tokenizer).mask, 5);
    bert_tokenizer_free(tokenizer);
    files.config = "{\"mask_token\": null}";
    tokenizer = load_files(&files);
    assert_int_equal(bert_tokenizer_special_ids(tokenizer).mask, -1);
    assert_int_equal(bert_tokenizer_vocabulary_size(tokenizer), 5);
    bert_tokenizer_free(tokenizer);
}

static void lines_end_as_python_reads_them(void **state) {
    test_files files = {.vocab = "[PAD]\r\n[UNK]\r\n[CLS]\n[SEP]\r[MASK]\r\nhello "};
    bert_tokenizer *tokenizer = load_files(&files);
    assert_int_equal(bert_tokenizer_id(tokenizer, "[SEP]", 5), 3);
    assert_int_equal(bert_tokenizer_id(tokenizer, "hello ", 6), 5);
    assert_int_equal(bert_tokenizer_id(tokenizer, "hello", 5), -1);
    assert_int_equal(bert_tokenizer_vocabulary_size(tokenizer), 6);
    bert_tokenizer_free(tokenizer);
}

static char notices[2048];

static void keep_notice(void *user, bert_log_level level, const char *message) {
    assert_int_equal(level, BERT_LOG_NOTICE);
    strncat(notices, message, sizeof notices - strlen(notices) - 1);
}

static void the_last_of_double_tokens_wins_with_a_notice(void **state) {
    test_files files = {.vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ntwice\nonce\ntwice\n"};
    bert_log log = {.write = keep_notice, .level = BERT_LOG_NOTICE};
    bert_tokenizer_options options = {.struct_size = sizeof options, .log = &log};
    bert_tokenizer *tokenizer;
    notices[0] = '\0';
    assert_int_equal(load_files_with(&files, &options, &tokenizer, NULL), BERT_OK);
    assert_non_null(strstr(notices, "'twice'"));
    assert_int_equal(bert_tokenizer_id(tokenizer, "twice", 5), 7);
    assert_null(bert_tokenizer_token(tokenizer, 5, NULL));
    assert_string_equal(bert_tokenizer_token(tokenizer, 7, NULL), "twice");
    bert_tokenizer_free(tokenizer);
}

static void tokens_may_hold_nul(void **state) {
    test_files files = {
        .tokenizer_json = "{" NORMALIZER(
            "true") ", " PRE ", \"model\": {\"unk_token\": \"[UNK]\", \"vocab\": {\"[UNK]\": 0, \"a\\u0000b\": 1, "
                    "\"\\ud83d\\ude00\": 2}}}"};
    bert_tokenizer *tokenizer = load_files(&files);
    size_t length;
    assert_int_equal(bert_tokenizer_id(tokenizer, "a\0b", 3), 1);
    assert_memory_equal(bert_tokenizer_token(tokenizer, 1, &length), "a\0b", 4);
    assert_int_equal(length, 3);
    assert_int_equal(bert_tokenizer_id(tokenizer, "\xf0\x9f\x98\x80", 4), 2);
    assert_int_equal(bert_tokenizer_id(tokenizer, "\xff", 1), -1);
    bert_tokenizer_free(tokenizer);
}

static void huge_lengths_mean_no_limit(void **state) {
    static const struct {
        const char *config;
        int64_t expected;
    } cases[] = {
        {"{\"model_max_length\": 1e30}", INT64_MAX},
        {"{\"model_max_length\": 1000000000000000019884624838656}", INT64_MAX},
        {"{\"model_max_length\": 512}", 512},
        {"{\"model_max_length\": 512.0}", 512},
        {"{\"model_max_length\": null}", INT64_MAX},
        {"{\"max_len\": 128}", 128},
        {"{}", INT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_files files = {.vocab = vocabulary, .config = cases[i].config};
        bert_tokenizer *tokenizer = load_files(&files);
        assert_int_equal(bert_tokenizer_model_max_length(tokenizer), cases[i].expected);
        bert_tokenizer_free(tokenizer);
    }
}

static void bad_files_are_refused_with_one_sentence(void **state) {
    static const struct {
        test_files files;
        bert_status status;
        const char *words;
    } cases[] = {
        {{0}, BERT_IO_ERROR, "neither tokenizer.json nor vocab.txt"},
        {{.vocab = ""}, BERT_INVALID_MODEL, "no [UNK]"},
        {{.vocab = "[PAD]\n[CLS]\n[SEP]\n"}, BERT_INVALID_MODEL, "vocab.txt: the vocabulary has no [UNK]"},
        {{.vocab = "a\n\xff\n"}, BERT_INVALID_MODEL, "vocab.txt: line 2 is not UTF-8"},
        {{.vocab = vocabulary, .config = "{\n\"a\": 1,,}"},
         BERT_INVALID_MODEL,
         "tokenizer_config.json: not JSON: line 2"},
        {{.vocab = vocabulary, .config = "[1]"}, BERT_INVALID_MODEL, "an object was expected"},
        {{.vocab = vocabulary, .config = "{\"do_lower_case\": 3}"}, BERT_INVALID_MODEL, "do_lower_case"},
        {{.vocab = vocabulary, .config = "{\"model_max_length\": -4}"}, BERT_INVALID_MODEL, "model_max_length"},
        {{.vocab = vocabulary, .config = "{\"padding_side\": \"up\"}"}, BERT_INVALID_MODEL, "padding_side"},
        {{.vocab = vocabulary, .config = "{\"cls_token\": 7}"}, BERT_INVALID_MODEL, "special token"},
        {{.vocab = vocabulary, .config = "{\"cls_token\": null}"}, BERT_INVALID_MODEL, "cls_token"},
        {{.vocab = vocabulary, .special_map = "{"}, BERT_INVALID_MODEL, "special_tokens_map.json: not JSON"},
        {{.vocab = vocabulary, .added = "{\"a\": \"b\"}"}, BERT_INVALID_MODEL, "added_tokens.json"},
        {{.vocab = vocabulary, .config = "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}"},
         BERT_INVALID_MODEL,
         "added_tokens_decoder"},
        {{.tokenizer_json = ""}, BERT_INVALID_MODEL, "tokenizer.json: not JSON: the file is empty"},
        {{.tokenizer_json = "{\"a\": \"\xff\"}"}, BERT_INVALID_MODEL, "byte 0xff"},
        {{.tokenizer_json = "{\"a\": \"\\ud800\"}"}, BERT_INVALID_MODEL, "D800"},
        {{.tokenizer_json = "{\n\"a\" 1}"}, BERT_INVALID_MODEL, "tokenizer.json: not JSON: line 2, column"},
        {{.tokenizer_json = "{}"}, BERT_INVALID_MODEL, "no model"},
        {{.tokenizer_json = "{\"model\": {\"type\": \"BPE\"}}"}, BERT_UNSUPPORTED, "the model is BPE"},
        {{.tokenizer_json = "{\"model\": {\"vocab\": {\"a\": -1}}}"}, BERT_INVALID_MODEL, "the id of 'a'"},
        {{.tokenizer_json = "{\"model\": {\"vocab\": {\"a\": 1.5}}}"}, BERT_INVALID_MODEL, "the id of 'a'"},
        {{.tokenizer_json = "{\"model\": {\"vocab\": {\"a\": 4294967296}}}"}, BERT_INVALID_MODEL, "the id of 'a'"},
        {{.tokenizer_json = "{\"normalizer\": {\"type\": \"Sequence\"}, " PRE ", " MODEL "}"},
         BERT_UNSUPPORTED,
         "the normalizer is Sequence"},
        {{.tokenizer_json = "{" MODEL "}"}, BERT_UNSUPPORTED, "pre-tokenizer"},
        {{.tokenizer_json = "{\"decoder\": {\"type\": \"BPE\"}, " PRE ", " MODEL "}"},
         BERT_UNSUPPORTED,
         "the decoder is BPE"},
        {{.tokenizer_json = "{\"post_processor\": {\"type\": \"ByteLevel\"}, " PRE ", " MODEL "}"},
         BERT_UNSUPPORTED,
         "ByteLevel"},
        {{.tokenizer_json = "{\"post_processor\": {\"type\": \"RobertaProcessing\"}, " PRE ", " MODEL "}"},
         BERT_INVALID_MODEL,
         "cls and sep must be [token, id]"},
        {{.tokenizer_json = "{\"added_tokens\": [{}], " PRE ", " MODEL "}"}, BERT_INVALID_MODEL, "no content"},
        {{.tokenizer_json = "{" PRE ", \"model\": {\"unk_token\": \"<u>\", \"vocab\": {\"[UNK]\": 0}}}"},
         BERT_INVALID_MODEL,
         "no <u>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refusal(&cases[i].files, cases[i].status, cases[i].words);
    }
}

/* What loading gives, as text: the status, or every token. */
static char *summary(const char *json) {
    test_files files = {.tokenizer_json = json};
    bert_tokenizer *tokenizer = NULL;
    bert_error error = {0};
    bert_status status = load_files_with(&files, NULL, &tokenizer, &error);
    char *out = calloc(1, 4096), *at = out + sprintf(out, "%s:", bert_status_name(status));
    for (int32_t id = 0; id < (tokenizer ? bert_tokenizer_vocabulary_size(tokenizer) : 0) && id < 50; id++) {
        size_t length;
        const char *token = bert_tokenizer_token(tokenizer, id, &length);
        at += sprintf(at, " %d", (int)id);
        for (size_t i = 0; token && i < length; i++) at += sprintf(at, ".%02x", (unsigned char)token[i]);
    }
    bert_tokenizer_free(tokenizer);
    return out;
}

/* The vocabulary of a tokenizer.json is lifted out of it where it is written plainly. A root with an escape in a key is
   not: so both ways can be held against each other. */
static void spellings_of_the_vocabulary_make_no_difference(void **state) {
    static const char *const models[] = {
        /* Plain ones. */
        "{\"vocab\": {\"[UNK]\": 0, \"a\": 1}}",
        ("{\"type\": \"WordPiece\", \"vocab\":{\"[UNK]\":0,\"\\\"\":1,\"\\\\\":2,\"\\/\":3,\"/\":4,"
         "\"\\u00e9\":5,\"\\u4ECA\":6}}"),
        " { \"vocab\" :\n{\t\"[UNK]\" : 7 ,\r\n \"b\":0 } , \"unk_token\" : \"[UNK]\" } ",
        "{\"vocab\": {\"[UNK]\": 3, \"a\": 1, \"b\": 2, \"a\": 0}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\": 1, \"\": 2}}",
        "{\"vocab\": {\"[UNK]\": 0, \"}\": 1, \"{\\\"\": 2}, \"x\": {\"vocab\": {\"c\": 3}}}",
        "{\"x\": [{\"vocab\": {\"c\": 3}}, \"}]\\\"\"], \"vocab\": {\"[UNK]\": 0}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\\b\\f\\n\\r\\t\": 1, \"\x7f\": 2, \"\xef\xbf\xbf\": 3}}",
        /* Odd ones. */
        "{\"vocab\": {\"[UNK]\": 0, \"a\\u0000b\": 1, \"\\ud83d\\ude00\": 2}}",
        "{\"vocab\": {\"[UNK]\": 0, \"a\": 1.0, \"b\": 2e0, \"c\": 0.3e1}}",
        "{\"vocab\": {\"[UNK]\": 0}, \"vocab\": {\"[UNK]\": 0, \"a\": 1}}",
        "{\"voc\\u0061b\": {\"[UNK]\": 0, \"a\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0}, \"voc\\u0061b\": {\"[UNK]\": 0, \"a\": 1}}",
        "{\"x\": 1000000000000000019884624838656, \"vocab\": {\"[UNK]\": 0}}",
        /* Bad ones. */
        "{\"vocab\": {\"[UNK]\": 0, \"a\": -1}}",
        "{\"vocab\": {\"[UNK]\": 00, \"a\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"a\": 01}}",
        "{\"vocab\": {\"[UNK]\": 0, \"a\": 2147483647}}",
        "{\"vocab\": {\"[UNK]\": 0, \"a\": 12345678901234567890}}",
        "{\"vocab\": {\"[UNK]\": 0,}}",
        "{\"vocab\": {\"[UNK]\": 0 \"a\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"a\"}}",
        "{\"vocab\": {\"[UNK]\": 0, a: 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"a\tb\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\\x\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\\u12g4\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\\ud83d\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\xff\": 1}}",
        "{\"vocab\": {\"[UNK]\": 0, \"\xed\xa0\x80\": 1}}",
        "{\"vocab\": {\"[UNK]\": \"0\"}}",
        "{\"vocab\": {}}",
        "{\"vocab\": [\"[UNK]\"]}",
        "{\"vocab\": {\"[UNK]\": 0}",
        "{\"vocab\": {\"[UNK]\": 0}]}",
        "{\"vocab\": {\"[UNK]\": 0}}}",
        "{\"vocab\": {\"[UNK]\": 0}, }",
        "{\"vocab\": {\"[UNK]\": 0}, \"x\": \"\xff\"}",
        "{\"vocab\": {\"[UNK]\": 0}, \"x\": {]}}",
        "{\"x\": \"\\\", \"vocab\": {\"[UNK]\": 0}}",
        "{\"vocab\"",
        "",
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char lifted[1000], left[1000];
        snprintf(lifted, sizeof lifted, "{\"model\": %s, " PRE "}", models[i]);
        snprintf(left, sizeof left, "{\"\\u0078\": 0, \"model\": %s, " PRE "}", models[i]);
        char *one = summary(lifted), *other = summary(left);
        if (strcmp(one, other) != 0) fail_msg("%s: %s, but %s", models[i], one, other);
        free(one);
        free(other);
    }
    /* Errors name the place in the whole file. */
    test_files files = {.tokenizer_json = "{\"model\": {\"vocab\": {\n\"[UNK]\": 0,\n\"a\": 1}},\n\"x\" 1}"};
    expect_refusal(&files, BERT_INVALID_MODEL, "tokenizer.json: not JSON: line 4, column 5");
}

static void deep_nesting_is_refused(void **state) {
    char json[1000];
    memset(json, '[', sizeof json / 2);
    memset(json + sizeof json / 2, ']', sizeof json / 2);
    json[sizeof json - 1] = '\0';
    json[0] = ' ';
    test_files files = {.tokenizer_json = json};
    expect_refusal(&files, BERT_INVALID_MODEL, "nested");
}

static void folders_without_a_tokenizer_are_named(void **state) {
    bert_tokenizer *tokenizer;
    bert_error error = {0};
    assert_int_equal(bert_tokenizer_load("/nonexistent-folder", NULL, &tokenizer, &error), BERT_IO_ERROR);
    assert_non_null(strstr(error.message, "/nonexistent-folder"));
    assert_null(tokenizer);
    char folder[] = "/tmp/bert-tokenizer-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("[PAD]\n[CLS]\n", file);
    fclose(file);
    assert_int_equal(bert_tokenizer_load(folder, NULL, &tokenizer, &error), BERT_INVALID_MODEL);
    assert_non_null(strstr(error.message, path));
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static bert_status load_and_encode(bool json, const bert_allocator *allocator, bert_error *error) {
    test_files files = {.tokenizer_json = json ? "{" PRE ", " MODEL "}" : NULL,
                        .vocab = vocabulary,
                        .config = "{\"added_tokens_decoder\": {\"9\": {\"content\": \"<X>\", \"normalized\": true}}}",
                        .special_map = "{}"};
    bert_tokenizer_options options = {.struct_size = sizeof options, .allocator = allocator};
    bert_tokenizer *tokenizer = NULL;
    bert_encoding *encoding = NULL;
    bert_status status = load_files_with(&files, &options, &tokenizer, error);
    if (status == BERT_OK) status = bert_encoding_create(tokenizer, &encoding, error);
    if (status == BERT_OK) {
        /* Marks that have to be sorted, bytes that are replaced, and more tokens than at first. */
        static const char text[] = "hello <X> \xff \xf0\x9d\x85\xad\xe3\x80\xae";
        bert_encode_options how = {.struct_size = sizeof how, .invalid_utf8 = BERT_INVALID_UTF8_REPLACE};
        for (int i = 0; i < 2 && status == BERT_OK; i++) {
            how.pad_to = i * 500;
            status = bert_tokenizer_encode(tokenizer, text, sizeof text - 1, "hello world", 11, &how, encoding, error);
        }
    }
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
    return status;
}

static void fail_every_allocation(bool json) {
    size_t refused = 0;
    for (;; refused++) {
        scarce_memory memory = {.fail_from = refused, .fail_to = refused + 1};
        const bert_allocator allocator = scarce_allocator(&memory);
        bert_error error = {0};
        bert_status status = load_and_encode(json, &allocator, &error);
        assert_int_equal(memory.live, 0);
        if (status == BERT_OK) break;
        if (status != BERT_OUT_OF_MEMORY) fail_msg("allocation %zu: %s", refused, error.message);
        assert_true(error.message[0] != '\0');
    }
    assert_true(refused > 20);
}

static void every_failing_allocation_is_a_status(void **state) {
    fail_every_allocation(false);
    fail_every_allocation(true);
}

static void a_steady_encoding_allocates_nothing(void **state) {
    scarce_memory memory = {0};
    const bert_allocator allocator = scarce_allocator(&memory);
    test_files files = {.vocab = vocabulary};
    bert_tokenizer_options options = {.struct_size = sizeof options, .allocator = &allocator};
    bert_tokenizer *tokenizer;
    bert_encoding *encoding;
    assert_int_equal(load_files_with(&files, &options, &tokenizer, NULL), BERT_OK);
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
    encode_with(tokenizer, encoding, "hello worlds hello", "hello world", NULL);
    size_t allocations = memory.allocations;
    for (int i = 0; i < 100; i++) {
        encode_with(tokenizer, encoding, i & 1 ? "hello" : "world [MASK] hello", i % 3 ? "hello" : NULL, NULL);
    }
    assert_int_equal(memory.allocations, allocations);
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
    assert_int_equal(memory.live, 0);
}

static void *encode_many(void *argument) {
    const bert_tokenizer *tokenizer = argument;
    bert_encoding *encoding;
    if (bert_encoding_create(tokenizer, &encoding, NULL) != BERT_OK) return NULL;
    size_t total = 0;
    for (int i = 0; i < 2000; i++) {
        static const char text[] = "Hello w\xc3\xb6rlds [MASK] \xe4\xbb\x8a\xe5\xa4\xa9";
        if (bert_tokenizer_encode(tokenizer, text, sizeof text - 1, "x", 1, NULL, encoding, NULL) != BERT_OK) break;
        total += bert_encoding_get(encoding).length;
    }
    bert_encoding_free(encoding);
    return (void *)total;
}

static void threads_share_a_tokenizer(void **state) {
    enum { THREADS = 4 };
    test_files files = {.vocab = vocabulary};
    bert_tokenizer *tokenizer = load_files(&files);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, encode_many, tokenizer), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *total;
        assert_int_equal(pthread_join(threads[i], &total), 0);
        assert_int_equal((size_t)total, 2000 * 10);
    }
    bert_tokenizer_free(tokenizer);
}

static void wrong_arguments_are_refused(void **state) {
    bert_tokenizer *tokenizer;
    bert_error error = {0};
    bert_tokenizer_files files = {.struct_size = 1};
    assert_int_equal(bert_tokenizer_load_memory(&files, NULL, &tokenizer, &error), BERT_INVALID_ARGUMENT);
    assert_int_equal(bert_tokenizer_load_memory(NULL, NULL, &tokenizer, &error), BERT_INVALID_ARGUMENT);
    assert_int_equal(bert_tokenizer_load(NULL, NULL, &tokenizer, &error), BERT_INVALID_ARGUMENT);
    bert_tokenizer_options options = {.struct_size = 5};
    assert_int_equal(bert_tokenizer_load(".", &options, &tokenizer, &error), BERT_INVALID_ARGUMENT);
    bert_tokenizer_free(NULL);
    bert_encoding_free(NULL);
    assert_int_equal(bert_encoding_get(NULL).length, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_lies_over_the_normalizer_of_tokenizer_json),
        cmocka_unit_test(templates_are_taken_as_they_are_written),
        cmocka_unit_test(robertas_template_is_around_wordpiece_too),
        cmocka_unit_test(mpnets_class_has_names_of_its_own),
        cmocka_unit_test(special_tokens_come_from_every_file),
        cmocka_unit_test(further_special_tokens_of_both_files_add_up),
        cmocka_unit_test(a_mask_token_that_is_missing_gets_an_id),
        cmocka_unit_test(lines_end_as_python_reads_them),
        cmocka_unit_test(the_last_of_double_tokens_wins_with_a_notice),
        cmocka_unit_test(tokens_may_hold_nul),
        cmocka_unit_test(huge_lengths_mean_no_limit),
        cmocka_unit_test(bad_files_are_refused_with_one_sentence),
        cmocka_unit_test(spellings_of_the_vocabulary_make_no_difference),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(folders_without_a_tokenizer_are_named),
        cmocka_unit_test(every_failing_allocation_is_a_status),
        cmocka_unit_test(a_steady_encoding_allocates_nothing),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
