#include "cli/text_task.h"

#include "cli/cli.h"
#include "cli/output.h"
#include "core/base/error.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const truncations[] = {"none", "longest_first", "only_first", "only_second", NULL};
static const char *const formats[] = {"text", "jsonl", NULL};

enum { DEFAULT_BATCH_SIZE = 8, GREATEST_BATCH_SIZE = 65536 };

void bert_text_task_option_rows(bert_text_task_options *options, bert_option rows[BERT_TEXT_TASK_OPTION_COUNT]) {
    *options = (bert_text_task_options){.truncation = -1, .batch_size = DEFAULT_BATCH_SIZE};
    const bert_option own[] = {
        {.name = "tokenizer",
         .kind = BERT_OPTION_STRING,
         .value = &options->tokenizer_folder,
         .argument = "DIR",
         .help = "folder of the tokenizer (default: the model's, or\nits parent)"},
        {.name = "max-length",
         .kind = BERT_OPTION_INTEGER,
         .value = &options->max_length,
         .argument = "N",
         .least = 1,
         .greatest = INT32_MAX,
         .help = "tokens of a text at most, special ones included"},
        {.name = "truncation",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->truncation,
         .argument = "HOW",
         .choices = truncations,
         .help = "what is cut where a text is too long: longest_first,\n"
                 "only_first, only_second (text of a pair), none"},
        {.name = "batch-size",
         .kind = BERT_OPTION_INTEGER,
         .value = &options->batch_size,
         .argument = "N",
         .least = 1,
         .greatest = GREATEST_BATCH_SIZE,
         .help = "texts that run together (default: 8)"},
        {.name = "format",
         .kind = BERT_OPTION_CHOICE,
         .value = &options->format,
         .argument = "text|jsonl",
         .choices = formats,
         .help = "a readable line an answer (default), or one JSON object"},
    };
    bert_text_input_option_rows(&options->input, rows);
    memcpy(rows + BERT_TEXT_INPUT_OPTION_COUNT, own, sizeof own);
}

/* One run of the loop: the batch that is being filled, and what the end says. */
typedef struct text_loop {
    const bert_text_task *task;
    const bert_text_task_options *options;
    bert_text_input *input;
    bert_text_item *items;
    bert_text *texts;
    size_t *index; /* Of each item in `texts`; SIZE_MAX for one that can't be used. */
    size_t count, capacity;
    bert_json_out json;
    size_t total, unusable, cut;
    size_t first_cut; /* Number of the first text that was cut. */
    char *first_sentence;
    size_t first_unusable;
} text_loop;

static void answer_failure(text_loop *loop, const bert_text_item *item, const char *sentence) {
    if (loop->unusable++ == 0) {
        loop->first_sentence = strdup(sentence);
        loop->first_unusable = item->number;
    }
    if (loop->options->format == BERT_FORMAT_TEXT) {
        bert_output_print("error: %s\n", sentence);
        return;
    }
    bert_json_out_clear(&loop->json);
    bert_json_out_begin(&loop->json, '{');
    bert_json_out_key(&loop->json, "error");
    bert_json_out_text(&loop->json, sentence);
    bert_json_out_end(&loop->json, '}');
    bert_json_out_newline(&loop->json);
}

static void answer_item(text_loop *loop, size_t at) {
    const bert_text_task *task = loop->task;
    const bert_text_item *item = &loop->items[at];
    size_t index = loop->index[at];
    const char *sentence = index == SIZE_MAX ? item->sentence : task->failure(task->user, index);
    bert_json_out_clear(&loop->json);
    if (sentence) {
        answer_failure(loop, item, sentence);
    } else if (loop->options->format == BERT_FORMAT_TEXT) {
        task->print(task->user, index, item);
    } else {
        bert_json_out_begin(&loop->json, '{');
        task->write(task->user, index, &loop->json);
        bert_json_out_end(&loop->json, '}');
        bert_json_out_newline(&loop->json);
    }
    bert_output_write(loop->json.text, loop->json.length);
    if (!sentence && task->cut(task->user, index) && loop->cut++ == 0) loop->first_cut = item->number;
}

static bert_status answer_batch(text_loop *loop, bert_error *error) {
    size_t usable = 0;
    for (size_t i = 0; i < loop->count; i++) {
        const bert_text_item *item = &loop->items[i];
        loop->index[i] = item->sentence ? SIZE_MAX : usable;
        if (item->sentence) continue;
        loop->texts[usable++] = (bert_text){item->text, item->length, item->pair, item->pair_length};
    }
    if (usable > 0) BERT_TRY(loop->task->run(loop->task->user, loop->texts, usable, error));
    for (size_t i = 0; i < loop->count; i++) answer_item(loop, i);
    loop->total += loop->count;
    if (loop->json.failed) return bert_fail_memory(error, loop->json.capacity, "an answer");
    return BERT_OK;
}

static void drop_batch(text_loop *loop) {
    for (size_t i = 0; i < loop->count; i++) bert_text_item_free(&loop->items[i]);
    loop->count = 0;
}

/* False at the end of the input or of what can be written, or with `error` filled. */
static bool next_batch(text_loop *loop, bert_error *error) {
    drop_batch(loop);
    while (loop->count < loop->capacity && bert_text_input_next(loop->input, &loop->items[loop->count], error)) {
        loop->count++;
    }
    if (loop->count == 0) return false;
    /* What was read before a failure to read is answered; the failure comes again with the next line. */
    error->status = answer_batch(loop, error);
    return bert_output_flush() && error->status == BERT_OK;
}

static void report(const text_loop *loop, bool quiet) {
    if (loop->cut > 0 && !quiet) {
        bert_cli_complain("%zu of %zu texts were cut to %" PRId64 " tokens, number %zu first", loop->cut, loop->total,
                          loop->task->max_length, loop->first_cut);
    }
    if (loop->json.not_numbers > 0 && !quiet) {
        bert_cli_complain("%zu numbers that are NaN or infinite were written as null", loop->json.not_numbers);
    }
    if (loop->unusable > 0) {
        bert_cli_complain("%zu of %zu inputs could not be used; number %zu: %s", loop->unusable, loop->total,
                          loop->first_unusable, loop->first_sentence ? loop->first_sentence : "out of memory");
    }
}

int bert_text_task_loop(const bert_text_task *task, const bert_text_task_options *options, bool quiet,
                        bert_text_input *input) {
    bool interactive = bert_text_input_is_interactive(input);
    size_t capacity = interactive || task->one_by_one ? 1 : (size_t)options->batch_size;
    if (interactive && !quiet) bert_cli_complain("reading texts, one a line, until Ctrl-D");
    text_loop loop = {.task = task, .options = options, .input = input, .capacity = capacity};
    loop.items = calloc(capacity, sizeof *loop.items);
    loop.texts = calloc(capacity, sizeof *loop.texts);
    loop.index = calloc(capacity, sizeof *loop.index);
    bert_error error = {.status = BERT_OK};
    if (!loop.items || !loop.texts || !loop.index) {
        bert_fail_memory(&error, capacity * sizeof *loop.items, "a batch of texts");
    } else {
        while (next_batch(&loop, &error)) continue;
    }
    report(&loop, quiet);
    int status = error.status != BERT_OK ? bert_cli_failed(&error) : loop.unusable ? BERT_EXIT_FAILED : BERT_EXIT_OK;
    drop_batch(&loop);
    free(loop.items);
    free(loop.texts);
    free(loop.index);
    free(loop.first_sentence);
    bert_json_out_free(&loop.json);
    return status;
}

bert_status bert_text_engine_open(const char *model, const char *tokenizer_folder, const bert_engine_options *options,
                                  bert_text_engine *out, bert_error *error) {
    *out = (bert_text_engine){0};
    bert_arena_init(&out->arena, NULL);
    BERT_TRY(bert_model_files_find(model, tokenizer_folder, &out->arena, &out->files, error));
    if (!out->files.tokenizer_folder) return bert_model_files_no_tokenizer(out->files.model, error);
    bert_log log = bert_engine_log(options);
    bert_tokenizer_options tokenizer_options = {.struct_size = sizeof tokenizer_options, .log = &log};
    BERT_TRY(bert_tokenizer_load(out->files.tokenizer_folder, &tokenizer_options, &out->tokenizer, error));
    BERT_TRY(bert_engine_load(options, out->files.model, &out->engine, error));
    return bert_engine_start(options, BERT_PADDED_ROWS_UNDEFINED, false, &out->engine, error);
}

void bert_text_engine_close(bert_text_engine *engine) {
    bert_engine_close(&engine->engine);
    bert_tokenizer_free(engine->tokenizer);
    bert_arena_free(&engine->arena);
}
