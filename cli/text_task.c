#include "cli/text_task.h"

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/text_stream.h"
#include "core/base/error.h"

#include <inttypes.h>
#include <signal.h>
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

/*
 * A window: enough texts that sorting pays, few enough that answers come soon and Ctrl-C loses little. It begins with
 * one batch and doubles, unless its answers are large.
 */
enum { WINDOW_BATCHES = 64, WINDOW_TOKENS = 32 * 1024, LARGE_ANSWERS_BYTES = 8 * 1024 * 1024 };

/* The answer of a text of the window: a stretch of `answers`. */
typedef struct answer_place {
    size_t begin, length;
    bool there;
} answer_place;

/* One run of the loop: the window that is answered, and what the end says. */
typedef struct text_loop {
    const bert_text_task *task;
    const bert_text_task_options *options;
    size_t batch_size;
    bert_window_limits limits;
    const bert_text_window *window;
    bert_json_out answers;             /* In the order in which they were made. */
    answer_place *places;              /* In the order of the window ... */
    size_t *order;                     /* ... and of running: the usable texts' indices in the window. */
    size_t capacity;                   /* Of both. */
    size_t written;                    /* Answers of the window that were written. */
    bert_text *texts;                  /* Of a batch, ... */
    const bert_encoded_text **encoded; /* ... and what an encoder made of them. */
    bert_progress progress;
    size_t total, unusable, cut;
    size_t first_cut; /* Number of the first text that was cut. */
    char *first_sentence;
    size_t first_unusable;
} text_loop;

/* The stream that Ctrl-C ends. */
static bert_text_stream *volatile interruptible;
static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number) {
    interrupted = 1;
    bert_text_stream_interrupt(interruptible);
}

/* The second Ctrl-C kills. One that is ignored, as nohup has it, stays so. */
static void catch_interrupts(bert_text_stream *stream, struct sigaction *before) {
    interrupted = 0;
    interruptible = stream;
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    sigaction(SIGINT, NULL, before);
    if (before->sa_handler != SIG_IGN) sigaction(SIGINT, &action, NULL);
}

static void release_interrupts(const struct sigaction *before) {
    sigaction(SIGINT, before, NULL);
    interruptible = NULL;
}

static void answer_failure(text_loop *loop, const bert_text_item *item, const char *sentence) {
    if (loop->unusable++ == 0 || item->number < loop->first_unusable) {
        free(loop->first_sentence);
        loop->first_sentence = strdup(sentence);
        loop->first_unusable = item->number;
    }
    if (loop->options->format == BERT_FORMAT_TEXT) {
        bert_output_print("error: %s\n", sentence);
        return;
    }
    bert_json_out_begin(&loop->answers, '{');
    bert_json_out_key(&loop->answers, "error");
    bert_json_out_text(&loop->answers, sentence);
    bert_json_out_end(&loop->answers, '}');
    bert_json_out_newline(&loop->answers);
}

/* Makes the answer of text `at` of the window, whose number in the batch is `index`. */
static void answer_item(text_loop *loop, size_t at, size_t index) {
    const bert_text_task *task = loop->task;
    const bert_text_item *item = &loop->window->items[at].item;
    const char *sentence = item->sentence ? item->sentence : task->failure(task->user, index);
    size_t begin = loop->answers.length;
    bert_output_divert(&loop->answers);
    if (sentence) {
        answer_failure(loop, item, sentence);
    } else if (loop->options->format == BERT_FORMAT_TEXT) {
        task->print(task->user, index, item);
    } else {
        bert_json_out_begin(&loop->answers, '{');
        task->write(task->user, index, &loop->answers);
        bert_json_out_end(&loop->answers, '}');
        bert_json_out_newline(&loop->answers);
    }
    bert_output_divert(NULL);
    loop->places[at] = (answer_place){.begin = begin, .length = loop->answers.length - begin, .there = true};
    if (!sentence && task->cut(task->user, index) && (loop->cut++ == 0 || item->number < loop->first_cut)) {
        loop->first_cut = item->number;
    }
}

/* Writes the answers whose turn it is. False when no more can be written. */
static bool write_answers(text_loop *loop) {
    size_t before = loop->written;
    while (loop->written < loop->window->count && loop->places[loop->written].there) {
        const answer_place *place = &loop->places[loop->written++];
        bert_output_write(loop->answers.text + place->begin, place->length);
    }
    loop->total += loop->written - before;
    return loop->written == before || bert_output_flush();
}

static bert_status run_batch(text_loop *loop, const size_t *order, size_t count, bert_error *error) {
    const bert_stream_item *items = loop->window->items;
    size_t tokens = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const bert_stream_item *item = &items[order[i]];
        loop->texts[i] = (bert_text){item->item.text, item->item.length, item->item.pair, item->item.pair_length};
        loop->encoded[i] = item->encoded;
        tokens += item->encoded ? item->encoded->tokens : 0;
        bytes += item->item.input_bytes;
    }
    BERT_TRY(loop->task->run(loop->task->user, loop->texts, loop->encoded, count, error));
    for (size_t i = 0; i < count; i++) answer_item(loop, order[i], i);
    bert_progress_add(&loop->progress, count, tokens, bytes);
    if (loop->answers.failed) return bert_fail_memory(error, loop->answers.capacity, "an answer");
    return BERT_OK;
}

static int compare_lengths(const void *left, const void *right, void *items) {
    const size_t *a = left;
    const size_t *b = right;
    const bert_stream_item *all = items;
    if (all[*a].length != all[*b].length) return all[*a].length < all[*b].length ? -1 : 1;
    return *a < *b ? -1 : 1;
}

static bert_status reserve(text_loop *loop, size_t count, bert_error *error) {
    if (count <= loop->capacity) return BERT_OK;
    free(loop->places);
    free(loop->order);
    loop->places = malloc(count * sizeof *loop->places);
    loop->order = malloc(count * sizeof *loop->order);
    loop->capacity = loop->places && loop->order ? count : 0;
    return loop->capacity ? BERT_OK : bert_fail_memory(error, count * sizeof *loop->places, "a window of texts");
}

/* Answers the window. False when the work is to end, `error` filled if that is a failure. */
static bool answer_window(text_loop *loop, bert_error *error) {
    const bert_text_window *window = loop->window;
    if (reserve(loop, window->count, error) != BERT_OK) return false;
    loop->written = 0;
    bert_json_out_clear(&loop->answers);
    size_t usable = 0;
    for (size_t i = 0; i < window->count; i++) {
        loop->places[i].there = false;
        if (window->items[i].item.sentence) {
            answer_item(loop, i, 0);
        } else {
            loop->order[usable++] = i;
        }
    }
    if (!loop->task->in_order) {
        qsort_r(loop->order, usable, sizeof *loop->order, compare_lengths, window->items);
    }
    for (size_t done = 0; done < usable;) {
        size_t count = usable - done < loop->batch_size ? usable - done : loop->batch_size;
        if (interrupted) return false;
        if (run_batch(loop, loop->order + done, count, error) != BERT_OK) return false;
        if (!write_answers(loop)) return false;
        done += count;
    }
    return write_answers(loop);
}

static void grow_window(text_loop *loop) {
    size_t most = loop->batch_size * WINDOW_BATCHES;
    bert_window_limits *limits = &loop->limits;
    limits->texts = loop->answers.length > LARGE_ANSWERS_BYTES ? limits->texts / 2 : limits->texts * 2;
    if (limits->texts > most) limits->texts = most;
    if (limits->texts < loop->batch_size) limits->texts = loop->batch_size;
}

static void answer_all(text_loop *loop, bert_text_stream *stream, bert_error *error) {
    while ((loop->window = bert_text_stream_next(stream, &loop->limits, error)) && answer_window(loop, error)) {
        grow_window(loop);
    }
}

static void report(const text_loop *loop, bool quiet) {
    if (interrupted) bert_cli_complain("interrupted: %zu texts were answered", loop->total);
    if (loop->cut > 0 && !quiet) {
        bert_cli_complain("%zu of %zu texts were cut to %" PRId64 " tokens, number %zu first", loop->cut, loop->total,
                          loop->task->max_length, loop->first_cut);
    }
    if (loop->answers.not_numbers > 0 && !quiet) {
        bert_cli_complain("%zu numbers that are NaN or infinite were written as null", loop->answers.not_numbers);
    }
    if (loop->unusable > 0) {
        bert_cli_complain("%zu of %zu inputs could not be used; number %zu: %s", loop->unusable, loop->total,
                          loop->first_unusable, loop->first_sentence ? loop->first_sentence : "out of memory");
    }
}

static bert_status run_stream(text_loop *loop, bert_text_input *input, bool quiet, bert_error *error) {
    bert_text_stream *stream;
    struct sigaction before;
    loop->texts = malloc(loop->batch_size * sizeof *loop->texts);
    loop->encoded = malloc(loop->batch_size * sizeof *loop->encoded);
    if (!loop->texts || !loop->encoded)
        return bert_fail_memory(error, loop->batch_size * sizeof *loop->texts, "a batch of texts");
    bool interactive = bert_text_input_is_interactive(input);
    bert_progress_begin(&loop->progress, !quiet && !interactive, bert_text_input_total_bytes(input));
    BERT_TRY(bert_text_stream_open(input, loop->task->encoder, &loop->limits, loop->task->in_order && !interactive,
                                   &stream, error));
    catch_interrupts(stream, &before);
    error->status = BERT_OK;
    answer_all(loop, stream, error);
    bert_status status = error->status;
    release_interrupts(&before);
    bert_text_stream_close(stream);
    bert_progress_end(&loop->progress);
    return status;
}

int bert_text_task_loop(const bert_text_task *task, const bert_text_task_options *options, bool quiet,
                        bert_text_input *input) {
    size_t batch_size = (size_t)options->batch_size;
    text_loop loop = {.task = task,
                      .options = options,
                      .batch_size = batch_size,
                      .limits = {.texts = batch_size, .least_texts = batch_size, .tokens = WINDOW_TOKENS}};
    if (bert_text_input_is_interactive(input) && !quiet) {
        bert_cli_complain("reading texts, one a line, until Ctrl-D");
    }
    bert_error error;
    bert_status status = run_stream(&loop, input, quiet, &error);
    report(&loop, quiet);
    int exit_status = loop.unusable ? BERT_EXIT_FAILED : BERT_EXIT_OK;
    if (interrupted) exit_status = BERT_EXIT_INTERRUPTED;
    if (status != BERT_OK) exit_status = bert_cli_failed(&error);
    free(loop.texts);
    free(loop.encoded);
    free(loop.places);
    free(loop.order);
    free(loop.first_sentence);
    bert_json_out_free(&loop.answers);
    return exit_status;
}
