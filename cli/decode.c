#include "cli/decode.h"

#include "cli/cli.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "core/base/json.h"

#include <stdlib.h>
#include <string.h>

/* What one input gave: its text, or why there is none. */
typedef struct decoded {
    char *text;
    size_t length;
    bert_error error;
} decoded;

typedef struct decode_state {
    const bert_tokenizer *tokenizer;
    bert_decode_options options;
    decoded *answers;
    int32_t *ids;
    size_t id_count, id_capacity;
} decode_state;

static bert_status add_id(decode_state *state, int64_t id, bert_error *error) {
    int32_t size = bert_tokenizer_vocabulary_size(state->tokenizer);
    if (id < 0 || id >= size) {
        return bert_fail(error, BERT_INVALID_INPUT, "the id %lld is outside the vocabulary of %d tokens", (long long)id,
                         (int)size);
    }
    if (state->id_count == state->id_capacity) {
        size_t capacity = state->id_capacity ? 2 * state->id_capacity : 512;
        int32_t *ids = realloc(state->ids, capacity * sizeof *ids);
        if (!ids) return bert_fail_memory(error, capacity * sizeof *ids, "token ids");
        state->ids = ids;
        state->id_capacity = capacity;
    }
    state->ids[state->id_count++] = (int32_t)id;
    return BERT_OK;
}

static bert_status parse_list(decode_state *state, const char *text, bert_error *error) {
    for (;;) {
        text += strspn(text, " \t,");
        if (!*text) return BERT_OK;
        char number[24];
        size_t length = strcspn(text, " \t,");
        int64_t id;
        snprintf(number, sizeof number, "%.*s", (int)(length < sizeof number ? length : sizeof number - 1), text);
        if (length >= sizeof number || !bert_parse_integer(number, INT64_MIN, INT64_MAX, &id)) {
            return bert_fail(error, BERT_INVALID_INPUT, "'%.*s' is not a token id", (int)(length < 40 ? length : 40),
                             text);
        }
        BERT_TRY(add_id(state, id, error));
        text += length;
    }
}

static bert_status take_array(decode_state *state, const bert_json *array, bert_error *error) {
    if (!array || array->type != BERT_JSON_ARRAY) {
        return bert_fail(error, BERT_INVALID_INPUT, "the JSON line has no array \"input_ids\"");
    }
    for (const bert_json *element = array->first; element; element = element->next) {
        int64_t id;
        if (!bert_json_integer(element, &id)) {
            return bert_fail(error, BERT_INVALID_INPUT, "\"input_ids\" holds %s that is not a token id",
                             bert_json_type_name(element));
        }
        BERT_TRY(add_id(state, id, error));
    }
    return BERT_OK;
}

static bert_status parse_json(decode_state *state, const bert_text *text, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *root;
    bert_status status = bert_json_parse(text->text, text->text_length, "the line is not JSON", &arena, &root, error);
    if (status == BERT_OK) {
        status = take_array(state, root->type == BERT_JSON_OBJECT ? bert_json_get(root, "input_ids") : root, error);
    }
    bert_arena_free(&arena);
    return status;
}

static bert_status decode(decode_state *state, const bert_text *text, decoded *out, bert_error *error) {
    state->id_count = 0;
    size_t blanks = strspn(text->text, " \t");
    bool json = text->text[blanks] == '{' || text->text[blanks] == '[';
    BERT_TRY(json ? parse_json(state, text, error) : parse_list(state, text->text, error));
    bool skip = state->options.skip_special_tokens;
    bool clean_up = !state->options.no_clean_up;
    size_t length = bert_tokenizer_decode(state->tokenizer, state->ids, state->id_count, skip, clean_up, NULL, 0);
    out->text = malloc(length + 1);
    if (!out->text) return bert_fail_memory(error, length + 1, "decoded text");
    out->length =
        bert_tokenizer_decode(state->tokenizer, state->ids, state->id_count, skip, clean_up, out->text, length + 1);
    return BERT_OK;
}

static void drop_answers(decode_state *state, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(state->answers[i].text);
        state->answers[i] = (decoded){0};
    }
}

static bert_status run(void *user, const bert_text *texts, const bert_encoded_text *const *ready, size_t count,
                       bert_error *error) {
    decode_state *state = user;
    drop_answers(state, count);
    for (size_t i = 0; i < count; i++) decode(state, &texts[i], &state->answers[i], &state->answers[i].error);
    return BERT_OK;
}

static const char *failure(void *user, size_t index) {
    const decode_state *state = user;
    return state->answers[index].text ? NULL : state->answers[index].error.message;
}

static bool cut(void *user, size_t index) {
    return false;
}

static void print(void *user, size_t index, const bert_text_item *item) {
    const decode_state *state = user;
    bert_output_write(state->answers[index].text, state->answers[index].length);
    bert_output_print("\n");
}

static void write(void *user, size_t index, bert_json_out *json) {
    const decode_state *state = user;
    bert_json_out_key(json, "text");
    bert_json_out_string(json, state->answers[index].text, state->answers[index].length);
}

int bert_decode_all(const bert_tokenizer *tokenizer, const bert_decode_options *decode_options,
                    const bert_text_task_options *options, bool quiet, bert_text_input *input) {
    decode_state state = {.tokenizer = tokenizer, .options = *decode_options};
    const bert_text_task task = {
        .user = &state, .run = run, .failure = failure, .cut = cut, .print = print, .write = write};
    size_t capacity = (size_t)options->batch_size;
    state.answers = calloc(capacity, sizeof *state.answers);
    input->text_key = NULL;
    int status;
    if (state.answers) {
        status = bert_text_task_loop(&task, options, quiet, input);
        drop_answers(&state, capacity);
    } else {
        bert_error error;
        bert_fail_memory(&error, capacity * sizeof *state.answers, "decoded texts");
        status = bert_cli_failed(&error);
    }
    free(state.answers);
    free(state.ids);
    return status;
}
