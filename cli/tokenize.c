/* bertc tokenize: text to ids, and back. */
#include "cli/cli.h"
#include "cli/decode.h"
#include "cli/output.h"
#include "cli/text_task.h"
#include "core/base/error.h"
#include "pipelines/model_files.h"

#include <stdlib.h>

typedef struct tokenize_options {
    bert_text_task_options task;
    bert_engine_options engine;
    bert_decode_options decode;
    bool no_special_tokens;
    bool decodes;
} tokenize_options;

typedef struct encoded {
    bert_encoding *encoding;
    bool failed;
    bert_error error;
} encoded;

typedef struct tokenize_state {
    const bert_tokenizer *tokenizer;
    bert_encode_options encode;
    bool must_fit; /* Longer texts are errors. */
    encoded *answers;
} tokenize_state;

static bert_status encode(const tokenize_state *state, const bert_text *text, encoded *out, bert_error *error) {
    if (!out->encoding) BERT_TRY(bert_encoding_create(state->tokenizer, &out->encoding, error));
    BERT_TRY(bert_tokenizer_encode(state->tokenizer, text->text, text->text_length, text->pair, text->pair_length,
                                   &state->encode, out->encoding, error));
    size_t length = bert_encoding_get(out->encoding).length;
    if (!state->must_fit || length <= (uint64_t)state->encode.max_length) return BERT_OK;
    return bert_fail(error, BERT_INVALID_INPUT,
                     "the text has %zu tokens, but at most %lld fit and it is not to be truncated", length,
                     (long long)state->encode.max_length);
}

static bert_status run(void *user, const bert_text *texts, const bert_encoded_text *const *ready, size_t count,
                       bert_error *error) {
    const tokenize_state *state = user;
    for (size_t i = 0; i < count; i++) {
        encoded *answer = &state->answers[i];
        answer->failed = encode(state, &texts[i], answer, &answer->error) != BERT_OK;
    }
    return BERT_OK;
}

static const char *failure(void *user, size_t index) {
    const tokenize_state *state = user;
    return state->answers[index].failed ? state->answers[index].error.message : NULL;
}

static bool cut(void *user, size_t index) {
    const tokenize_state *state = user;
    return state->encode.truncation != BERT_TRUNCATION_NONE && bert_encoding_next(state->answers[index].encoding);
}

static void print(void *user, size_t index, const bert_text_item *item) {
    const tokenize_state *state = user;
    bert_encoding_view view = bert_encoding_get(state->answers[index].encoding);
    for (size_t i = 0; i < view.length; i++) {
        size_t length;
        const char *token = bert_tokenizer_token(state->tokenizer, view.ids[i], &length);
        if (i) bert_output_write(" ", 1);
        bert_output_write(token, length);
    }
    bert_output_write("\t", 1);
    for (size_t i = 0; i < view.length; i++) bert_output_print("%s%d", i ? " " : "", (int)view.ids[i]);
    bert_output_write("\n", 1);
}

static void write_int32(bert_json_out *json, const char *key, const int32_t *numbers, size_t count) {
    bert_json_out_key(json, key);
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < count; i++) bert_json_out_integer(json, numbers[i]);
    bert_json_out_end(json, ']');
}

static void write_mask(bert_json_out *json, const char *key, const uint8_t *numbers, size_t count) {
    bert_json_out_key(json, key);
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < count; i++) bert_json_out_integer(json, numbers[i]);
    bert_json_out_end(json, ']');
}

static void write(void *user, size_t index, bert_json_out *json) {
    const tokenize_state *state = user;
    bert_encoding_view view = bert_encoding_get(state->answers[index].encoding);
    write_int32(json, "input_ids", view.ids, view.length);
    write_int32(json, "token_type_ids", view.type_ids, view.length);
    write_mask(json, "attention_mask", view.attention_mask, view.length);
    write_mask(json, "special_tokens_mask", view.special_tokens_mask, view.length);
    bert_json_out_key(json, "tokens");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < view.length; i++) {
        size_t length;
        const char *token = bert_tokenizer_token(state->tokenizer, view.ids[i], &length);
        bert_json_out_string(json, token, length);
    }
    bert_json_out_end(json, ']');
    bert_json_out_key(json, "offsets");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < view.length; i++) {
        bert_json_out_begin(json, '[');
        bert_json_out_integer(json, view.offsets[i][0]);
        bert_json_out_integer(json, view.offsets[i][1]);
        bert_json_out_end(json, ']');
    }
    bert_json_out_end(json, ']');
}

/*
 * As BertTokenizerFast: without --truncation and --max-length nothing is cut; --max-length alone cuts the longer text
 * first.
 */
static void set_truncation(const tokenize_options *options, tokenize_state *state) {
    int truncation = options->task.truncation;
    int64_t limit = bert_tokenizer_model_max_length(state->tokenizer);
    if (options->task.max_length > 0) limit = options->task.max_length;
    state->must_fit = truncation == BERT_TRUNCATION_NONE;
    if (truncation < 0)
        truncation = options->task.max_length > 0 ? BERT_TRUNCATION_LONGEST_FIRST : BERT_TRUNCATION_NONE;
    state->encode = (bert_encode_options){.struct_size = sizeof state->encode,
                                          .no_special_tokens = options->no_special_tokens,
                                          .truncation = (bert_truncation)truncation,
                                          .max_length = limit,
                                          .invalid_utf8 = (bert_invalid_utf8)options->task.input.invalid_utf8};
}

static int encode_all(const bert_tokenizer *tokenizer, const tokenize_options *options, bert_text_input *input) {
    tokenize_state state = {.tokenizer = tokenizer};
    set_truncation(options, &state);
    const bert_text_task task = {.user = &state,
                                 .run = run,
                                 .failure = failure,
                                 .cut = cut,
                                 .print = print,
                                 .write = write,
                                 .max_length = state.encode.max_length};
    size_t capacity = (size_t)options->task.batch_size;
    state.answers = calloc(capacity, sizeof *state.answers);
    if (!state.answers) {
        bert_error error;
        bert_fail_memory(&error, capacity * sizeof *state.answers, "encodings");
        return bert_cli_failed(&error);
    }
    int status = bert_text_task_loop(&task, &options->task, options->engine.quiet, input);
    for (size_t i = 0; i < capacity; i++) bert_encoding_free(state.answers[i].encoding);
    free(state.answers);
    return status;
}

static int tokenize(const char *model, const tokenize_options *options, bert_text_input *input) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_error error;
    const char *folder;
    bert_tokenizer *tokenizer = NULL;
    bert_log log = bert_engine_log(&options->engine);
    bert_tokenizer_options tokenizer_options = {.struct_size = sizeof tokenizer_options, .log = &log};
    bert_status status = bert_tokenizer_folder_find(model, options->task.tokenizer_folder, &arena, &folder, &error);
    if (status == BERT_OK) status = bert_tokenizer_load(folder, &tokenizer_options, &tokenizer, &error);
    int exit_status;
    if (status != BERT_OK) {
        exit_status = bert_cli_failed(&error);
    } else if (options->decodes) {
        exit_status = bert_decode_all(tokenizer, &options->decode, &options->task, options->engine.quiet, input);
    } else {
        exit_status = encode_all(tokenizer, options, input);
    }
    bert_tokenizer_free(tokenizer);
    bert_arena_free(&arena);
    return exit_status;
}

int bert_command_tokenize(int argc, char **argv) {
    tokenize_options options = {0};
    bert_option text_rows[BERT_TEXT_TASK_OPTION_COUNT];
    bert_option engine_rows[BERT_ENGINE_OPTION_COUNT];
    bert_text_task_option_rows(&options.task, text_rows);
    bert_engine_option_rows(&options.engine, BERT_QUANT_SCOPE_SEQUENCE, engine_rows);
    const bert_option own_rows[] = {
        {.name = "no-special-tokens", .value = &options.no_special_tokens, .help = "leave out [CLS] and [SEP]"},
        {.name = "decode",
         .value = &options.decodes,
         .help = "the input is ids (or JSON with \"input_ids\"), the\nanswer their text"},
        {.name = "skip-special-tokens", .value = &options.decode.skip_special_tokens, .help = "decode: leave them out"},
        {.name = "no-clean-up",
         .value = &options.decode.no_clean_up,
         .help = "decode: keep the spaces before punctuation"},
    };
    const bert_usage usage = {
        .synopsis = "bertc tokenize MODEL [OPTION ...] [TEXT ...]",
        .text = "Token ids of texts and pairs as BertTokenizerFast gives them, and their text again.\n"
                "Without TEXT, standard input is read, one text a line; a TAB splits a pair.\n"
                "Nothing is cut unless --max-length or --truncation is given.\n",
        .groups = {{"Tokenizing", own_rows, sizeof own_rows / sizeof own_rows[0]},
                   {"Text", text_rows, BERT_TEXT_TASK_OPTION_COUNT},
                   {BERT_ENGINE_NOTICES_TITLE, engine_rows, BERT_ENGINE_OPTION_COUNT}},
        .least_arguments = 1,
        .greatest_arguments = -1};
    int first;
    int status = bert_options_parse(argc, argv, &usage, &first);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bert_text_input input;
    status =
        bert_text_input_open("tokenize", &options.task.input, argv + first + 1, (size_t)(argc - first - 1), &input);
    if (status != BERT_OPTIONS_GO_ON) return status;
    status = tokenize(argv[first], &options, &input);
    bert_text_input_close(&input);
    return status;
}
