#include "cli/text_stream.h"

#include "core/base/error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Text of a window, whatever its limits say of texts and tokens. */
enum { GREATEST_WINDOW_BYTES = 64 * 1024 * 1024 };

struct bert_text_stream {
    bert_text_input *input;
    bert_text_encoder *encoder;
    bool patient;
    int wake; /* Readable once the reading is to end. */
    pthread_t thread;
    pthread_mutex_t mutex; /* For all below. */
    pthread_cond_t filled; /* The open window has more, or the reader waits or ended. */
    pthread_cond_t taken;  /* There is room in the open window again, or the reading is to end. */
    bert_text_window windows[2];
    int open; /* The one that is filled. */
    bert_window_limits limits;
    bool waits; /* The reader, for input. */
    bool ended;
    bool stop;
    bert_error error; /* Why it ended; BERT_OK at the input's end. */
};

static void clear_window(bert_text_window *window) {
    for (size_t i = 0; i < window->count; i++) {
        bert_text_item_free(&window->items[i].item);
        bert_encoded_text_free(window->items[i].encoded);
    }
    window->count = window->length = window->bytes = 0;
}

static bool is_full(const bert_text_stream *stream) {
    const bert_text_window *window = &stream->windows[stream->open];
    const bert_window_limits *limits = &stream->limits;
    return window->count >= limits->texts || window->bytes >= GREATEST_WINDOW_BYTES ||
           (window->count >= limits->least_texts && window->length >= limits->tokens);
}

static bert_status append(bert_text_window *window, const bert_stream_item *item, bert_error *error) {
    if (window->count == window->capacity) {
        size_t capacity = window->capacity ? 2 * window->capacity : 64;
        bert_stream_item *items = realloc(window->items, capacity * sizeof *items);
        if (!items) return bert_fail_memory(error, capacity * sizeof *items, "texts");
        window->items = items;
        window->capacity = capacity;
    }
    window->items[window->count++] = *item;
    window->length += item->length;
    window->bytes += item->item.length + item->item.pair_length;
    return BERT_OK;
}

/* The text's token ids. Where that fails, the task finds out why when it encodes the text itself. */
static void encode(bert_text_stream *stream, bert_stream_item *item) {
    const bert_text text = {item->item.text, item->item.length, item->item.pair, item->item.pair_length};
    if (stream->encoder && !item->item.sentence &&
        bert_text_encoder_encode(stream->encoder, &text, &item->encoded, NULL) == BERT_OK) {
        item->length = item->encoded->tokens;
        return;
    }
    item->length = 2 + (text.text_length + text.pair_length) / 4;
}

/* Reads one text into the open window; false at the end, with the reason in stream->error. */
static bool read_one(bert_text_stream *stream) {
    bert_stream_item item = {.encoded = NULL};
    bert_error error = {.status = BERT_OK};
    bool ready = bert_text_input_is_ready(stream->input);
    if (!ready) {
        pthread_mutex_lock(&stream->mutex);
        stream->waits = true;
        pthread_cond_signal(&stream->filled);
        pthread_mutex_unlock(&stream->mutex);
    }
    bool got = bert_text_input_next(stream->input, &item.item, &error);
    if (got) encode(stream, &item);
    pthread_mutex_lock(&stream->mutex);
    stream->waits = false;
    if (got && append(&stream->windows[stream->open], &item, &error) != BERT_OK) {
        bert_text_item_free(&item.item);
        bert_encoded_text_free(item.encoded);
        got = false;
    }
    if (!got) stream->error = error;
    pthread_mutex_unlock(&stream->mutex);
    return got;
}

static void *read_all(void *argument) {
    bert_text_stream *stream = argument;
    for (bool more = true; more;) {
        pthread_mutex_lock(&stream->mutex);
        if (is_full(stream)) pthread_cond_signal(&stream->filled);
        while (is_full(stream) && !stream->stop) pthread_cond_wait(&stream->taken, &stream->mutex);
        more = !stream->stop;
        pthread_mutex_unlock(&stream->mutex);
        if (more) more = read_one(stream);
    }
    pthread_mutex_lock(&stream->mutex);
    stream->ended = true;
    pthread_cond_signal(&stream->filled);
    pthread_mutex_unlock(&stream->mutex);
    return NULL;
}

/* Signals are for the thread that answers. */
static bool start_thread(bert_text_stream *stream) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&stream->thread, NULL, read_all, stream) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void free_stream(bert_text_stream *stream) {
    for (int i = 0; i < 2; i++) {
        clear_window(&stream->windows[i]);
        free(stream->windows[i].items);
    }
    pthread_cond_destroy(&stream->filled);
    pthread_cond_destroy(&stream->taken);
    pthread_mutex_destroy(&stream->mutex);
    if (stream->wake >= 0) close(stream->wake);
    free(stream);
}

bert_status bert_text_stream_open(bert_text_input *input, bert_text_encoder *encoder, const bert_window_limits *limits,
                                  bool patient, bert_text_stream **out, bert_error *error) {
    *out = NULL;
    bert_text_stream *stream = calloc(1, sizeof *stream);
    if (!stream) return bert_fail_memory(error, sizeof *stream, "reading texts");
    stream->input = input;
    stream->encoder = encoder;
    stream->patient = patient;
    stream->limits = *limits;
    pthread_mutex_init(&stream->mutex, NULL);
    pthread_cond_init(&stream->filled, NULL);
    pthread_cond_init(&stream->taken, NULL);
    stream->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    input->wake = stream->wake;
    if (stream->wake < 0 || !start_thread(stream)) {
        input->wake = -1;
        free_stream(stream);
        return bert_fail(error, BERT_OUT_OF_MEMORY, "the system started no thread that reads texts");
    }
    *out = stream;
    return BERT_OK;
}

/* Whether the open window can be taken. */
static bool is_closed(const bert_text_stream *stream) {
    if (stream->ended || is_full(stream)) return true;
    return stream->waits && !stream->patient && stream->windows[stream->open].count > 0;
}

const bert_text_window *bert_text_stream_next(bert_text_stream *stream, const bert_window_limits *limits,
                                              bert_error *error) {
    pthread_mutex_lock(&stream->mutex);
    stream->limits = *limits;
    pthread_cond_signal(&stream->taken);
    while (!is_closed(stream)) pthread_cond_wait(&stream->filled, &stream->mutex);
    bert_text_window *window = &stream->windows[stream->open];
    stream->open = 1 - stream->open;
    clear_window(&stream->windows[stream->open]);
    if (window->count == 0) *error = stream->error;
    pthread_cond_signal(&stream->taken);
    pthread_mutex_unlock(&stream->mutex);
    return window->count ? window : NULL;
}

void bert_text_stream_interrupt(bert_text_stream *stream) {
    if (!stream) return;
    int before = errno;
    eventfd_t one = 1;
    if (write(stream->wake, &one, sizeof one) < 0) errno = 0; /* It is full: readable all the same. */
    errno = before;
}

void bert_text_stream_close(bert_text_stream *stream) {
    if (!stream) return;
    pthread_mutex_lock(&stream->mutex);
    stream->stop = true;
    pthread_cond_signal(&stream->taken);
    pthread_mutex_unlock(&stream->mutex);
    bert_text_stream_interrupt(stream);
    pthread_join(stream->thread, NULL);
    stream->input->wake = -1;
    free_stream(stream);
}
