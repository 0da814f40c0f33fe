/* vocab.txt and the model of tokenizer.json to a vocabulary. */
#include "tokenizer/load.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/utf8.h"

#include <inttypes.h>
#include <string.h>

static bert_status allocate_text(bert_load *load, size_t bytes, bert_error *error) {
    load->tokenizer->vocabulary_text = bert_allocate(load->tokenizer->allocator, bytes, BERT_ALIGNMENT);
    if (!load->tokenizer->vocabulary_text) return bert_fail_memory(error, bytes, "the text of the vocabulary");
    load->tokenizer->vocabulary_text_bytes = bytes;
    return BERT_OK;
}

/* One notice, however many tokens stand twice. */
static bert_status finish(bert_load *load, const char *file, bert_error *error) {
    bert_vocabulary *vocabulary = &load->tokenizer->vocabulary;
    bert_vocabulary_doubles doubles;
    BERT_TRY(bert_vocabulary_finish(vocabulary, &doubles, error));
    if (doubles.count == 0) return BERT_OK;
    bert_log_write(load->log, BERT_LOG_NOTICE,
                   "%s: %zu tokens stand more than once, the first of them '%s'; the last place counts, so its id is "
                   "%" PRId32,
                   file, doubles.count, doubles.example,
                   bert_vocabulary_id(vocabulary, doubles.example, strlen(doubles.example)));
    return BERT_OK;
}

static size_t count_lines(const char *text, size_t size) {
    size_t lines = 1;
    const char *at = text, *end = text + size;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        lines++;
    }
    return lines;
}

/* Ends the line at `line` with a NUL; returns where the next begins. Python's text mode, which transformers reads with,
   takes LF, CR LF and CR for the end of a line. `returns`: there is a CR somewhere. */
static char *end_line(char *line, char *end, bool returns, size_t *length) {
    char *at = memchr(line, '\n', (size_t)(end - line));
    if (!at) at = end;
    char *first = returns ? memchr(line, '\r', (size_t)(at - line)) : NULL;
    if (first) at = first;
    *length = (size_t)(at - line);
    char *next = at < end ? at + 1 : end;
    if (at < end && *at == '\r' && next < end && *next == '\n') next++;
    *at = '\0';
    return next;
}

static bert_status fail_utf8(const bert_source *source, size_t valid, bert_error *error) {
    size_t line = 1;
    for (size_t i = 0; i < valid; i++) line += source->data[i] == '\n';
    return bert_fail(error, BERT_INVALID_MODEL, "%s: line %zu is not UTF-8", source->name, line);
}

bert_status bert_load_vocabulary_text(bert_load *load, bert_error *error) {
    bert_vocabulary *vocabulary = &load->tokenizer->vocabulary;
    const bert_source *source = &load->vocab_txt;
    size_t valid = bert_utf8_valid_prefix(source->data, source->size);
    if (valid < source->size) return fail_utf8(source, valid, error);
    BERT_TRY(allocate_text(load, source->size + 1, error));
    char *line = load->tokenizer->vocabulary_text, *end = line + source->size;
    if (source->size) memcpy(line, source->data, source->size);
    BERT_TRY(bert_vocabulary_reserve(vocabulary, count_lines(line, source->size), error));
    bool returns = line < end && memchr(line, '\r', source->size);
    for (int32_t id = 0; line < end; id++) {
        size_t length;
        char *token = line;
        line = end_line(line, end, returns, &length);
        if (length >= INT32_MAX || id == INT32_MAX - 1) {
            return bert_fail(error, BERT_INVALID_MODEL, "%s: larger than any vocabulary", source->name);
        }
        BERT_TRY(bert_vocabulary_add(vocabulary, token, length, id, error));
    }
    BERT_TRY(finish(load, source->name, error));
    load->unk_token = "[UNK]";
    load->unk_length = 5;
    load->tokenizer->marks_pieces = true;
    return bert_pieces_build(&load->tokenizer->pieces, vocabulary, "##", 2, error);
}

static bert_status add_json_tokens(bert_load *load, const bert_json *map, bert_error *error) {
    bert_vocabulary *vocabulary = &load->tokenizer->vocabulary;
    size_t bytes = 0;
    for (const bert_json *member = map->first; member; member = member->next) bytes += member->key_length + 1;
    BERT_TRY(allocate_text(load, bytes + 1, error));
    BERT_TRY(bert_vocabulary_reserve(vocabulary, map->length, error));
    char *text = load->tokenizer->vocabulary_text;
    for (const bert_json *member = map->first; member; member = member->next) {
        int64_t id;
        if (!bert_json_integer(member, &id) || id < 0 || id >= INT32_MAX || member->key_length >= INT32_MAX) {
            return bert_fail(
                error, BERT_INVALID_MODEL, "%s: model.vocab: the id of '%.*s' is not an integer from 0 to 2147483646",
                load->tokenizer_json.name, (int)(member->key_length < 100 ? member->key_length : 100), member->key);
        }
        memcpy(text, member->key, member->key_length);
        text[member->key_length] = '\0';
        BERT_TRY(bert_vocabulary_add(vocabulary, text, member->key_length, (int32_t)id, error));
        text += member->key_length + 1;
    }
    return finish(load, load->tokenizer_json.name, error);
}

/* A member that is a string, copied with a NUL behind it; `otherwise` when it is absent. */
static bert_status take_string(bert_load *load, const bert_json *model, const char *key, const char *otherwise,
                               const char **text, size_t *length, bert_error *error) {
    const bert_json *value = bert_json_get(model, key);
    *text = otherwise;
    *length = strlen(otherwise);
    if (!value) return BERT_OK;
    if (value->type != BERT_JSON_STRING) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: model.%s is %s where a string was expected",
                         load->tokenizer_json.name, key, bert_json_type_name(value));
    }
    *text = bert_arena_string(&load->tokenizer->arena, value->text, value->length);
    *length = value->length;
    return *text ? BERT_OK : bert_fail_memory(error, value->length + 1, key);
}

bert_status bert_load_vocabulary_json(bert_load *load, const bert_json *model, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    const char *file = load->tokenizer_json.name, *prefix;
    const bert_json *type = bert_json_get(model, "type"), *map = bert_json_get(model, "vocab");
    if (type && !bert_json_is_string(type, "WordPiece")) {
        bool string = type->type == BERT_JSON_STRING;
        return bert_fail(error, BERT_UNSUPPORTED, "%s: the model is %.*s; only WordPiece is supported", file,
                         string ? (int)(type->length < 100 ? type->length : 100) : 7, string ? type->text : "unnamed");
    }
    if (!map || map->type != BERT_JSON_OBJECT) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: model.vocab is %s where an object was expected", file,
                         bert_json_type_name(map));
    }
    size_t prefix_length;
    if (load->lifted) {
        BERT_TRY(finish(load, file, error));
    } else {
        BERT_TRY(add_json_tokens(load, map, error));
    }
    BERT_TRY(take_string(load, model, "unk_token", "[UNK]", &load->unk_token, &load->unk_length, error));
    BERT_TRY(take_string(load, model, "continuing_subword_prefix", "##", &prefix, &prefix_length, error));
    tokenizer->marks_pieces = prefix_length > 0;
    BERT_TRY(bert_pieces_build(&tokenizer->pieces, &tokenizer->vocabulary, prefix, prefix_length, error));
    const bert_json *most = bert_json_get(model, "max_input_chars_per_word");
    if (most && (!bert_json_integer(most, &tokenizer->max_word) || tokenizer->max_word < 0)) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: model.max_input_chars_per_word is not an integer from 0 on",
                         file);
    }
    return BERT_OK;
}
