/* bertc rerank: documents for a query, best first. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pipeline_task.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The documents of one query. */
typedef struct documents {
    bert_text *pairs;
    size_t count;
} documents;

/* ---- Answers ---------------------------------------------------------------------------------------------------- */

static void write_results(bert_json_out *json, const bert_answers *answers) {
    size_t ranked;
    const bert_ranked *ranking = bert_answers_ranking(answers, &ranked);
    bert_json_out_key(json, "results");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < ranked; i++) {
        bert_json_out_begin(json, '{');
        bert_json_out_key(json, "index");
        bert_json_out_integer(json, (int64_t)ranking[i].index);
        bert_json_out_key(json, "score");
        bert_json_out_number(json, ranking[i].score);
        bert_json_out_end(json, '}');
    }
    for (size_t i = 0; i < bert_answers_count(answers); i++) {
        const char *sentence = bert_answers_get(answers, i)->sentence;
        if (!sentence) continue;
        bert_json_out_begin(json, '{');
        bert_json_out_key(json, "index");
        bert_json_out_integer(json, (int64_t)i);
        bert_json_out_key(json, "error");
        bert_json_out_text(json, sentence);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

static void print_results(const bert_answers *answers, const documents *all) {
    size_t ranked;
    const bert_ranked *ranking = bert_answers_ranking(answers, &ranked);
    for (size_t i = 0; all->pairs && i < ranked; i++) {
        const bert_text *pair = &all->pairs[ranking[i].index];
        bert_output_print("%.4f  %zu  ", ranking[i].score, ranking[i].index);
        bert_output_write(pair->pair, pair->pair_length);
        bert_output_print("\n");
    }
    for (size_t i = 0; i < bert_answers_count(answers); i++) {
        const char *sentence = bert_answers_get(answers, i)->sentence;
        if (sentence) bert_output_print("error: document %zu: %s\n", i, sentence);
    }
}

static size_t count_unusable(const bert_answers *answers) {
    size_t count = 0;
    for (size_t i = 0; i < bert_answers_count(answers); i++) count += bert_answers_get(answers, i)->sentence != NULL;
    return count;
}

static size_t count_cut(const bert_answers *answers) {
    size_t count = 0;
    for (size_t i = 0; i < bert_answers_count(answers); i++) count += bert_answers_get(answers, i)->cut;
    return count;
}

/* ---- One query, from the command line --------------------------------------------------------------------------- */

static bert_status add_document(documents *all, size_t *capacity, const char *query, const bert_text_item *item,
                                bert_error *error) {
    if (all->count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 64;
        bert_text *pairs = realloc(all->pairs, more * sizeof *pairs);
        if (!pairs) return bert_fail_memory(error, more * sizeof *pairs, "documents");
        all->pairs = pairs;
        *capacity = more;
    }
    all->pairs[all->count++] = (bert_text){query, strlen(query), item->text, item->length};
    return BERT_OK;
}

/* Each document keeps its own memory: `text` of the items. */
static bert_status read_documents(bert_text_input *input, const char *query, documents *all, bert_error *error) {
    size_t capacity = 0;
    bert_text_item item;
    while (bert_text_input_next(input, &item, error)) {
        bert_status status = add_document(all, &capacity, query, &item, error);
        if (status == BERT_OK) continue;
        bert_text_item_free(&item);
        return status;
    }
    return error->status;
}

static int report(const bert_answers *answers, const bert_pipeline *pipeline, bool quiet) {
    size_t unusable = count_unusable(answers), cut = count_cut(answers), count = bert_answers_count(answers);
    if (cut > 0 && !quiet) {
        bert_cli_complain("%zu of %zu documents were cut to %" PRId64 " tokens with their query", cut, count,
                          bert_pipeline_max_length(pipeline));
    }
    if (unusable > 0) bert_cli_complain("%zu of %zu documents could not be used", unusable, count);
    return unusable > 0 ? BERT_EXIT_FAILED : BERT_EXIT_OK;
}

static int write_ranking(const bert_answers *answers, const documents *all, const bert_pipeline_arguments *arguments) {
    if (arguments->text.format == BERT_FORMAT_TEXT) {
        print_results(answers, all);
        return BERT_EXIT_OK;
    }
    bert_json_out json = {0};
    bert_json_out_begin(&json, '{');
    write_results(&json, answers);
    bert_json_out_end(&json, '}');
    bert_json_out_newline(&json);
    bool failed = json.failed;
    if (!failed) bert_output_write(json.text, json.length);
    if (json.not_numbers && !arguments->engine.quiet) {
        bert_cli_complain("%zu numbers that are NaN or infinite were written as null", json.not_numbers);
    }
    bert_json_out_free(&json);
    if (failed) bert_cli_complain("out of memory for an answer");
    return failed ? BERT_EXIT_FAILED : BERT_EXIT_OK;
}

static int rank_one(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                    bert_pipeline_options *options, const char *query) {
    bert_text_input input;
    documents all = {0};
    bert_loaded_pipeline loaded = {.pipeline = NULL};
    bert_answers *answers = NULL;
    bert_error error = {.status = BERT_OK};
    int exit_status =
        bert_text_input_open("rerank", &arguments->text.input, arguments->texts, arguments->text_count, &input);
    if (exit_status != BERT_OPTIONS_GO_ON) return exit_status;
    bert_status status = bert_pipeline_open(command, arguments, options, &loaded, &error);
    if (status == BERT_OK) status = read_documents(&input, query, &all, &error);
    if (status == BERT_OK) status = bert_pipeline_run(loaded.pipeline, all.pairs, all.count, NULL, &answers, &error);
    if (status == BERT_OK) {
        exit_status = write_ranking(answers, &all, arguments);
        int reported = report(answers, loaded.pipeline, arguments->engine.quiet);
        if (exit_status == BERT_EXIT_OK) exit_status = reported;
    } else {
        exit_status = bert_cli_failed(&error);
    }
    bert_answers_free(answers);
    for (size_t i = 0; i < all.count; i++) free((char *)all.pairs[i].pair);
    free(all.pairs);
    bert_pipeline_close(&loaded);
    bert_text_input_close(&input);
    return exit_status;
}

/* ---- Many queries, a JSON object each --------------------------------------------------------------------------- */

/* The answer for one line. */
typedef struct line_answer {
    bert_answers *answers;
    bert_arena arena; /* The line's JSON. */
    documents all;
    bool failed;
    bert_error error;
} line_answer;

typedef struct rerank_state {
    bert_pipeline *pipeline;
    bert_invalid_utf8 invalid_utf8;
    line_answer *lines;
    size_t capacity;
    size_t unusable; /* Documents. */
} rerank_state;

static void forget_line(line_answer *line) {
    bert_answers_free(line->answers);
    bert_arena_free(&line->arena);
    *line = (line_answer){.answers = NULL};
}

static bert_status take_documents(const bert_json *object, line_answer *line, bert_error *error) {
    const bert_json *query = bert_json_get(object, "query"), *list = bert_json_get(object, "documents");
    if (!query || query->type != BERT_JSON_STRING) {
        return bert_fail(error, BERT_INVALID_INPUT, "the JSON object has no string \"query\"");
    }
    if (!list || list->type != BERT_JSON_ARRAY) {
        return bert_fail(error, BERT_INVALID_INPUT, "the JSON object has no array \"documents\"");
    }
    line->all.pairs = BERT_ARENA_NEW_ARRAY(&line->arena, bert_text, list->length);
    if (!line->all.pairs) return bert_fail_memory(error, list->length * sizeof(bert_text), "documents");
    for (const bert_json *document = list->first; document; document = document->next) {
        if (document->type != BERT_JSON_STRING) {
            return bert_fail(error, BERT_INVALID_INPUT, "\"documents\" holds what is not a string");
        }
        line->all.pairs[line->all.count++] = (bert_text){query->text, query->length, document->text, document->length};
    }
    return BERT_OK;
}

static bert_status answer_line(const rerank_state *state, const bert_text *text, line_answer *line, bert_error *error) {
    const char *bytes = text->text;
    size_t length = text->text_length, valid = bert_utf8_valid_prefix(bytes, length);
    if (valid < length && state->invalid_utf8 == BERT_INVALID_UTF8_ERROR) {
        return bert_fail(error, BERT_INVALID_INPUT, "the line is not UTF-8: byte %zu", valid);
    }
    if (valid < length) {
        char *copy = bert_arena_array(&line->arena, bert_utf8_replace(bytes, length, NULL), 1);
        if (!copy) return bert_fail_memory(error, length, "a line");
        length = bert_utf8_replace(bytes, length, copy);
        bytes = copy;
    }
    const bert_json *object;
    BERT_TRY(bert_json_parse(bytes, length, "the line is not JSON", &line->arena, &object, error));
    BERT_TRY(take_documents(object, line, error));
    return bert_pipeline_run(state->pipeline, line->all.pairs, line->all.count, NULL, &line->answers, error);
}

static bert_status run(void *user, const bert_text *texts, const bert_encoded_text *const *encoded, size_t count,
                       bert_error *error) {
    rerank_state *state = user;
    for (size_t i = 0; i < count; i++) {
        line_answer *line = &state->lines[i];
        forget_line(line);
        bert_arena_init(&line->arena, NULL);
        bert_status status = answer_line(state, &texts[i], line, &line->error);
        line->failed = status != BERT_OK;
        if (status != BERT_OK && status != BERT_INVALID_INPUT && status != BERT_INVALID_MODEL) {
            return bert_fail(error, status, "%s", line->error.message);
        }
        if (!line->failed) state->unusable += count_unusable(line->answers);
    }
    return BERT_OK;
}

static const char *failure(void *user, size_t index) {
    const rerank_state *state = user;
    return state->lines[index].failed ? state->lines[index].error.message : NULL;
}

static bool cut(void *user, size_t index) {
    const rerank_state *state = user;
    return count_cut(state->lines[index].answers) > 0;
}

static void print(void *user, size_t index, const bert_text_item *item) {
    const rerank_state *state = user;
    print_results(state->lines[index].answers, &state->lines[index].all);
}

static void write(void *user, size_t index, bert_json_out *json) {
    const rerank_state *state = user;
    write_results(json, state->lines[index].answers);
}

static int rank_lines(rerank_state *state, const bert_pipeline_arguments *arguments, bert_text_input *input) {
    const bert_text_task task = {.user = state,
                                 .run = run,
                                 .failure = failure,
                                 .cut = cut,
                                 .print = print,
                                 .write = write,
                                 .max_length = bert_pipeline_max_length(state->pipeline)};
    int status = bert_text_task_loop(&task, &arguments->text, arguments->engine.quiet, input);
    for (size_t i = 0; i < state->capacity; i++) forget_line(&state->lines[i]);
    if (state->unusable == 0) return status;
    bert_cli_complain("%zu documents could not be used", state->unusable);
    return status == BERT_EXIT_OK ? BERT_EXIT_FAILED : status;
}

static int rank_many(const bert_pipeline_command *command, const bert_pipeline_arguments *arguments,
                     bert_pipeline_options *options) {
    bert_text_input input;
    bert_loaded_pipeline loaded;
    bert_error error;
    int exit_status =
        bert_text_input_open("rerank", &arguments->text.input, arguments->texts, arguments->text_count, &input);
    if (exit_status != BERT_OPTIONS_GO_ON) return exit_status;
    input.text_key = NULL; /* The line itself: its JSON is read here. */
    rerank_state state = {.invalid_utf8 = options->invalid_utf8, .capacity = (size_t)arguments->text.batch_size};
    bert_status status = bert_pipeline_open(command, arguments, options, &loaded, &error);
    state.pipeline = loaded.pipeline;
    state.invalid_utf8 = (bert_invalid_utf8)arguments->text.input.invalid_utf8;
    state.lines = calloc(state.capacity, sizeof *state.lines);
    if (status == BERT_OK && !state.lines) status = bert_fail_memory(&error, state.capacity, "rankings");
    exit_status = status == BERT_OK ? rank_lines(&state, arguments, &input) : bert_cli_failed(&error);
    free(state.lines);
    bert_pipeline_close(&loaded);
    bert_text_input_close(&input);
    return exit_status;
}

int bert_command_rerank(int argc, char **argv) {
    const char *query = NULL;
    const char *label = NULL;
    const bert_option rows[] = {
        {.name = "query",
         .kind = BERT_OPTION_STRING,
         .value = &query,
         .argument = "TEXT",
         .help = "what documents are ranked for"},
        {.name = "label",
         .kind = BERT_OPTION_STRING,
         .value = &label,
         .argument = "NAME",
         .help = "whose score counts, for a model of several labels\n(default: the last one of two)"}};
    const bert_pipeline_command command = {
        .name = "rerank",
        .task = BERT_TASK_TEXT_RANKING,
        .synopsis = "bertc rerank MODEL [OPTION ...] --query TEXT [DOCUMENT ...]",
        .text = "Scores documents for a query with a cross-encoder, best first. Without DOCUMENT,\n"
                "standard input is read, one document a line; with --jsonl many queries,\n"
                "{\"query\": \"..\", \"documents\": [..]} on each line.\n",
        .title = "Ranking",
        .options = rows,
        .option_count = sizeof rows / sizeof *rows};
    bert_pipeline_arguments arguments;
    int status = bert_pipeline_parse(argc, argv, &command, &arguments);
    if (status != BERT_OPTIONS_GO_ON) return status;
    bool jsonl = arguments.text.input.jsonl;
    if (jsonl && query) return bert_usage_error("rerank", "--jsonl has queries in it: --query is not for it");
    if (!jsonl && !query) return bert_usage_error("rerank", "--query is missing");
    bert_pipeline_options options = {.ranking_label = label};
    arguments.text.input.no_pairs = true;
    return jsonl ? rank_many(&command, &arguments, &options) : rank_one(&command, &arguments, &options, query);
}
