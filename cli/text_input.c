#include "cli/text_input.h"

#include "cli/cli.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

static const char *const invalid_utf8_choices[] = {"error", "replace", NULL};

void bert_text_input_option_rows(bert_text_input_options *options, bert_option rows[BERT_TEXT_INPUT_OPTION_COUNT]) {
    rows[0] = (bert_option){.name = "jsonl",
                            .value = &options->jsonl,
                            .help = "standard input holds one JSON object a line,\n"
                                    "{\"text\": \"..\", \"text_pair\": \"..\"}; blank lines are skipped"};
    rows[1] = (bert_option){.name = "text-pair",
                            .kind = BERT_OPTION_STRING,
                            .value = &options->text_pair,
                            .argument = "TEXT",
                            .help = "the second text of a pair, for a single TEXT"};
    rows[2] = (bert_option){.name = "no-pairs", .value = &options->no_pairs, .help = "a TAB on a line is text"};
    rows[3] = (bert_option){.name = "invalid-utf8",
                            .kind = BERT_OPTION_CHOICE,
                            .value = &options->invalid_utf8,
                            .argument = "error|replace",
                            .choices = invalid_utf8_choices,
                            .help = "what is not UTF-8 makes its line an error (default),\n"
                                    "or becomes U+FFFD"};
}

void bert_text_item_free(bert_text_item *item) {
    free(item->text);
    free(item->pair);
    free(item->sentence);
    *item = (bert_text_item){0};
}

int bert_text_input_open(const char *command, const bert_text_input_options *options, char **arguments, size_t count,
                         bert_text_input *out) {
    *out = (bert_text_input){
        .options = *options, .descriptor = STDIN_FILENO, .wake = -1, .text_key = "text", .pair_key = "text_pair"};
    if (options->jsonl && count > 0) {
        return bert_usage_error(command, "--jsonl reads standard input, but there are TEXT arguments too");
    }
    if (options->text_pair && count != 1) {
        return bert_usage_error(command, "--text-pair needs one TEXT argument, but there are %zu", count);
    }
    if (count > 0) {
        out->arguments = arguments;
        out->argument_count = count;
    }
    return BERT_OPTIONS_GO_ON;
}

void bert_text_input_close(bert_text_input *input) {
    free(input->buffer);
    *input = (bert_text_input){0};
}

bool bert_text_input_is_interactive(const bert_text_input *input) {
    return !input->arguments && isatty(input->descriptor);
}

size_t bert_text_input_total_bytes(const bert_text_input *input) {
    size_t total = 0;
    if (input->arguments) {
        for (size_t i = 0; i < input->argument_count; i++) total += strlen(input->arguments[i]);
        return total;
    }
    struct stat status;
    if (fstat(input->descriptor, &status) || !S_ISREG(status.st_mode)) return 0;
    off_t at = lseek(input->descriptor, 0, SEEK_CUR);
    return at >= 0 && status.st_size > at ? (size_t)(status.st_size - at) : 0;
}

/* A NUL-terminated copy of `length` bytes, which may hold NUL bytes themselves. */
static char *copy_bytes(const char *bytes, size_t length) {
    char *copy = length < SIZE_MAX ? malloc(length + 1) : NULL;
    if (!copy) return NULL;
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

static bool out_of_memory(bert_text_item *item, bert_error *error) {
    bert_text_item_free(item);
    bert_fail(error, BERT_OUT_OF_MEMORY, "out of memory for a line of input");
    return false;
}

static bool set_texts(bert_text_item *item, const char *text, size_t length, const char *pair, size_t pair_length,
                      bert_error *error) {
    item->text = copy_bytes(text, length);
    item->length = length;
    if (pair) {
        item->pair = copy_bytes(pair, pair_length);
        item->pair_length = pair_length;
    }
    return item->text && (!pair || item->pair) ? true : out_of_memory(item, error);
}

BERT_PRINTF(3, 0)
static bool set_sentence(bert_text_item *item, bert_error *error, const char *format, const char *detail) {
    if (asprintf(&item->sentence, format, detail) >= 0) return true;
    item->sentence = NULL;
    return out_of_memory(item, error);
}

/* The texts of a parsed object: true with a sentence in the item when they are not there. */
static bool take_object(const bert_text_input *input, const bert_json *object, bert_text_item *item,
                        bert_error *error) {
    if (object->type != BERT_JSON_OBJECT) return set_sentence(item, error, "the line is not a JSON %s", "object");
    const bert_json *text = bert_json_get(object, input->text_key);
    const bert_json *pair = bert_json_get(object, input->pair_key);
    if (!text || text->type != BERT_JSON_STRING) {
        return set_sentence(item, error, "the JSON object has no string \"%s\"", input->text_key);
    }
    if (pair && pair->type == BERT_JSON_NULL) pair = NULL;
    if (pair && pair->type != BERT_JSON_STRING) {
        return set_sentence(item, error, "\"%s\" of the JSON object is neither a string nor null", input->pair_key);
    }
    return set_texts(item, text->text, text->length, pair ? pair->text : NULL, pair ? pair->length : 0, error);
}

static bool parse_object(const bert_text_input *input, const char *line, size_t length, bert_text_item *item,
                         bert_error *error) {
    char *replaced = NULL;
    size_t valid = bert_utf8_valid_prefix(line, length);
    if (valid < length) {
        char position[32];
        snprintf(position, sizeof position, "%zu", valid);
        if (input->options.invalid_utf8 == BERT_INVALID_UTF8_ERROR) {
            return set_sentence(item, error, "the line is not UTF-8: byte %s", position);
        }
        replaced = malloc(bert_utf8_replace(line, length, NULL));
        if (!replaced) return out_of_memory(item, error);
        length = bert_utf8_replace(line, length, replaced);
        line = replaced;
    }
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *object;
    bert_error problem;
    bert_status status = bert_json_parse(line, length, "the line is not JSON", &arena, &object, &problem);
    bool done = status == BERT_OK              ? take_object(input, object, item, error)
                : status == BERT_OUT_OF_MEMORY ? out_of_memory(item, error)
                                               : set_sentence(item, error, "%s", problem.message);
    bert_arena_free(&arena);
    free(replaced);
    return done;
}

static bool is_blank(const char *line, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    }
    return true;
}

/* Room for READ_BYTES behind what was read and is not done with. */
static bool make_room(bert_text_input *input, bert_error *error) {
    if (input->capacity - input->end >= READ_BYTES) return true;
    size_t kept = input->end - input->begin;
    if (input->begin > 0) memmove(input->buffer, input->buffer + input->begin, kept);
    input->begin = 0;
    input->end = kept;
    if (input->capacity - kept >= READ_BYTES) return true;
    size_t capacity = input->capacity ? 2 * input->capacity : (size_t)2 * READ_BYTES;
    char *buffer = capacity > input->capacity ? realloc(input->buffer, capacity) : NULL;
    if (!buffer) return out_of_memory(&(bert_text_item){0}, error);
    input->buffer = buffer;
    input->capacity = capacity;
    return true;
}

/* Waits until there is something to read; false when `wake` came first. */
static bool wait_for_input(const bert_text_input *input) {
    struct pollfd descriptors[] = {{.fd = input->descriptor, .events = POLLIN}, {.fd = input->wake, .events = POLLIN}};
    while (poll(descriptors, 2, -1) < 0 && errno == EINTR) continue;
    return !descriptors[1].revents;
}

/* Reads on. False with `at_end` set at the end of the input, or with `error` filled. */
static bool read_more(bert_text_input *input, bert_error *error) {
    if (!make_room(input, error)) return false;
    ssize_t got = -1;
    if (!wait_for_input(input)) {
        input->at_end = true;
        input->begin = input->end; /* Half a line is none. */
        return false;
    }
    do {
        got = read(input->descriptor, input->buffer + input->end, READ_BYTES);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        bert_fail(error, BERT_IO_ERROR, "cannot read standard input: %s", strerror(errno));
        input->begin = input->end;
    }
    if (got <= 0) {
        input->at_end = true;
        return false;
    }
    input->end += (size_t)got;
    return true;
}

/* The next line without its end; false at the end of the input or after an error. */
static bool read_line(bert_text_input *input, const char **line, size_t *length, size_t *bytes, bert_error *error) {
    size_t searched = 0;
    const char *found = NULL;
    for (;;) {
        size_t there = input->end - input->begin;
        if (there > searched) found = memchr(input->buffer + input->begin + searched, '\n', there - searched);
        if (found || input->at_end) break;
        searched = there;
        if (!read_more(input, error) && !input->at_end) return false;
    }
    if (error->status != BERT_OK) return false;
    if (!found && input->begin == input->end) return false;
    *line = input->buffer + input->begin;
    *length = found ? (size_t)(found - *line) : input->end - input->begin;
    *bytes = *length + (found != NULL);
    input->begin += *bytes;
    if (*length > 0 && (*line)[*length - 1] == '\r') --*length;
    input->number++;
    return true;
}

bool bert_text_input_is_ready(const bert_text_input *input) {
    if (input->arguments || input->at_end) return true;
    if (input->begin < input->end && memchr(input->buffer + input->begin, '\n', input->end - input->begin)) return true;
    struct pollfd descriptor = {.fd = input->descriptor, .events = POLLIN};
    return poll(&descriptor, 1, 0) > 0;
}

/* A line or an argument as the whole of a text, or as what `before` and `after` make it. */
static bool set_whole(const bert_text_input *input, bert_text_item *item, const char *text, size_t length,
                      bert_error *error) {
    if (input->before) return set_texts(item, input->before, strlen(input->before), text, length, error);
    const char *pair = input->after ? input->after : input->options.text_pair;
    return set_texts(item, text, length, pair, pair ? strlen(pair) : 0, error);
}

bool bert_text_input_next(bert_text_input *input, bert_text_item *out, bert_error *error) {
    *out = (bert_text_item){0};
    error->status = BERT_OK;
    if (input->arguments) {
        if (input->taken == input->argument_count) return false;
        const char *text = input->arguments[input->taken++];
        out->number = input->taken;
        out->input_bytes = strlen(text);
        return set_whole(input, out, text, strlen(text), error);
    }
    const char *line;
    size_t length;
    size_t bytes = 0;
    do {
        size_t more;
        if (!read_line(input, &line, &length, &more, error)) return false;
        bytes += more;
    } while (input->options.jsonl && is_blank(line, length));
    out->number = input->number;
    out->input_bytes = bytes;
    if (input->options.jsonl && input->text_key) return parse_object(input, line, length, out, error);
    bool whole = input->options.no_pairs || !input->text_key || input->before || input->after;
    const char *tab = whole ? NULL : memchr(line, '\t', length);
    if (!tab) return set_whole(input, out, line, length, error);
    size_t first = (size_t)(tab - line);
    return set_texts(out, line, first, tab + 1, length - first - 1, error);
}
