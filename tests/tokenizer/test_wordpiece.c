/* WordPiece on random vocabularies against the plain definition; words and tokens as long as one likes. */
#include "tests/tokenizer/support.h"

#include <stdlib.h>
#include <time.h>

enum { MOST_TOKENS = 400, MOST_CHARS = 40 };

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit) {
    random_state = random_state * 1664525U + 1013904223U;
    return (random_state >> 8) % limit;
}

/* A text of 1 to `most` characters of few kinds, so that tokens overlap in every way. */
static void random_text(char *out, uint32_t most) {
    static const char *const letters[] = {"a", "a", "a", "b", "b", "\xc3\xa9", "\xe0\xb8\x81", "\xf0\x90\x90\x80"};
    out[0] = '\0';
    for (uint32_t i = 1 + random_below(most); i > 0; i--) strcat(out, letters[random_below(8)]);
}

typedef struct random_vocabulary {
    const char *prefix;
    char tokens[MOST_TOKENS][4 * 24 + 8];
    int count;
    char json[MOST_TOKENS * 128];
} random_vocabulary;

static void make_vocabulary(random_vocabulary *v, const char *prefix, int max_word) {
    v->prefix = prefix;
    v->count = 0;
    strcpy(v->tokens[v->count++], "[UNK]");
    int wanted = 20 + (int)random_below(MOST_TOKENS - 20);
    while (v->count < wanted) {
        char *token = v->tokens[v->count];
        char text[4 * 24 + 1];
        random_text(text, random_below(4) ? 5 : 24);
        snprintf(token, sizeof v->tokens[0], "%s%s", random_below(2) ? prefix : "", text);
        bool there = false;
        for (int i = 0; i < v->count && !there; i++) there = strcmp(v->tokens[i], token) == 0;
        if (!there) v->count++;
        /* Few different texts may be left. */
        wanted -= there;
    }
    char *at = v->json;
    at += sprintf(at,
                  "{\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"model\": {\"type\": \"WordPiece\", "
                  "\"continuing_subword_prefix\": \"%s\", \"max_input_chars_per_word\": %d, \"vocab\": {",
                  prefix, max_word);
    for (int i = 0; i < v->count; i++) at += sprintf(at, "%s\"%s\": %d", i ? ", " : "", v->tokens[i], i);
    strcpy(at, "}}}");
}

static int find_token(const random_vocabulary *v, const char *text, size_t length, bool continues) {
    size_t prefix = continues ? strlen(v->prefix) : 0;
    for (int i = 0; i < v->count; i++) {
        const char *token = v->tokens[i];
        if (strlen(token) == prefix + length && memcmp(token, v->prefix, prefix) == 0 &&
            memcmp(token + prefix, text, length) == 0) {
            return i;
        }
    }
    return -1;
}

static size_t count_chars(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* WordPiece by its definition: the longest token, then the longest that continues. Ids and their ends in characters. */
static size_t split_plainly(const random_vocabulary *v, const char *word, size_t max_word, int32_t *ids,
                            int64_t *ends) {
    size_t length = strlen(word), at = 0, count = 0;
    ids[0] = 0;
    ends[0] = (int64_t)count_chars(word, length);
    if (count_chars(word, length) > max_word) return 1;
    while (at < length) {
        int id = -1;
        size_t end = length;
        for (; end > at && id < 0; end--) id = find_token(v, word + at, end - at, at > 0);
        if (id < 0) {
            ids[0] = 0;
            ends[0] = (int64_t)count_chars(word, length);
            return 1;
        }
        at = end + 1;
        ids[count] = id;
        ends[count++] = (int64_t)count_chars(word, at);
    }
    return count;
}

static void check_word(const random_vocabulary *v, const bert_tokenizer *tokenizer, bert_encoding *encoding,
                       size_t max_word) {
    char word[4 * MOST_CHARS + 1];
    int32_t ids[4 * MOST_CHARS];
    int64_t ends[4 * MOST_CHARS];
    random_text(word, MOST_CHARS);
    size_t count = split_plainly(v, word, max_word, ids, ends);
    bert_encoding_view view = encode_with(tokenizer, encoding, word, NULL, NULL);
    bool same = view.length == count && memcmp(view.ids, ids, count * sizeof *ids) == 0;
    for (size_t i = 0; same && i < count; i++) {
        same = view.offsets[i][1] == ends[i] && view.offsets[i][0] == (i ? ends[i - 1] : 0) && view.word_ids[i] == 0;
    }
    if (!same) {
        char tokens[4096];
        fail_msg("'%s' became %s of the vocabulary %s", word, tokens_of(tokenizer, view, tokens, sizeof tokens),
                 v->json);
    }
}

static void random_words_are_split_as_defined(void **state) {
    static random_vocabulary v;
    static const char *const prefixes[] = {"##", "##", "a", "\xc3\xa9#", ""};
    for (int round = 0; round < 150; round++) {
        size_t max_word = random_below(4) ? 100 : random_below(MOST_CHARS);
        make_vocabulary(&v, prefixes[random_below(5)], (int)max_word);
        test_files files = {.tokenizer_json = v.json};
        bert_tokenizer *tokenizer = load_files(&files);
        bert_encoding *encoding;
        assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
        for (int i = 0; i < 100; i++) check_word(&v, tokenizer, encoding, max_word);
        bert_encoding_free(encoding);
        bert_tokenizer_free(tokenizer);
    }
}

/* A word of `length` a's, of a vocabulary with tokens of `length` / 2 a's and a b, which never fit. */
static size_t split_long_word(size_t length, size_t last_b) {
    size_t half = length / 2;
    char *run = malloc(length + 1), *json = malloc(2 * length + 1000);
    assert_true(run && json);
    memset(run, 'a', length);
    run[length] = '\0';
    sprintf(json,
            "{\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"model\": {\"max_input_chars_per_word\": "
            "100000000, \"vocab\": {\"[UNK]\": 0, \"a\": 1, \"##a\": 2, \"%.*sb\": 3, \"##%.*sb\": 4}}}",
            (int)half, run, (int)half, run);
    if (last_b) run[length - 1] = 'b';
    test_files files = {.tokenizer_json = json};
    bert_tokenizer *tokenizer = load_files(&files);
    bert_encoding *encoding;
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
    size_t tokens = encode_with(tokenizer, encoding, run, NULL, NULL).length;
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
    free(run);
    free(json);
    return tokens;
}

static void time_is_linear_in_the_word(void **state) {
    clock_t begin = clock();
    assert_int_equal(split_long_word(400000, 0), 400000);
    assert_int_equal(split_long_word(400000, 1), 400000 - 200001 + 1);
    /* Twice 400,000 starts of up to 200,000 steps would take minutes. */
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 20);
}

static void a_word_is_measured_in_characters(void **state) {
    static const char json[] = "{\"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"model\": "
                               "{\"max_input_chars_per_word\": %d, \"vocab\": {\"[UNK]\": 0, \"\xc3\xa9\": 1, "
                               "\"##\xc3\xa9\": 2, \"!\": 3}}}";
    static const char *const expected[] = {"[UNK] [UNK] [UNK]", "\xc3\xa9 [UNK] !", "\xc3\xa9 \xc3\xa9 ##\xc3\xa9 !"};
    for (int most = 0; most < 3; most++) {
        char text[400];
        snprintf(text, sizeof text, json, most);
        test_files files = {.tokenizer_json = text};
        bert_tokenizer *tokenizer = load_files(&files);
        bert_encoding *encoding;
        assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
        assert_tokens(tokenizer, encode_with(tokenizer, encoding, "\xc3\xa9 \xc3\xa9\xc3\xa9!", NULL, NULL),
                      expected[most]);
        bert_encoding_free(encoding);
        bert_tokenizer_free(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_words_are_split_as_defined),
        cmocka_unit_test(time_is_linear_in_the_word),
        cmocka_unit_test(a_word_is_measured_in_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
