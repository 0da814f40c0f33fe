/*
 * Texts read ahead: a thread of its own reads and encodes them into one window while the texts of the window before are
 * answered. Memory is bounded by two windows, however long the input is.
 */
#ifndef BERT_CLI_TEXT_STREAM_H
#define BERT_CLI_TEXT_STREAM_H

#include "cli/text_input.h"
#include "pipelines/text_encoder.h"

/** A text, and what an encoder made of it. */
typedef struct bert_stream_item {
    bert_text_item item;
    bert_encoded_text *encoded; /**< NULL without an encoder, or where it failed. */
    size_t length;              /**< Tokens; without an encoder, or where it failed, what the bytes make likely. */
} bert_stream_item;

typedef struct bert_text_window {
    bert_stream_item *items; /**< In the order of the input. */
    size_t count, capacity;
    size_t length; /**< Of all items. */
    size_t bytes;  /**< Of all their texts. */
} bert_text_window;

/** When a window is closed. It may grow beyond by one text. */
typedef struct bert_window_limits {
    size_t texts;
    size_t least_texts; /**< Tokens close no window of fewer texts. */
    size_t tokens;
} bert_window_limits;

/** One thread takes windows; its own thread fills them. */
typedef struct bert_text_stream bert_text_stream;

/**
 * Starts reading. `encoder` may be NULL; it belongs to the stream's thread until bert_text_stream_close, and so does
 * `input`. With `patient` a window is closed only when it is full or the input ends; otherwise also when its texts are
 * waited for and the next one is not there yet, as from a person or a slow program.
 */
bert_status bert_text_stream_open(bert_text_input *input, bert_text_encoder *encoder, const bert_window_limits *limits,
                                  bool patient, bert_text_stream **out, bert_error *error);
/**
 * The next window, waiting for it; the one before is gone. `limits` are for windows that are not closed yet. NULL at
 * the end of the input, or with `error` filled where reading failed (`error->status` is BERT_OK at the end). Texts read
 * before a failure come first.
 */
const bert_text_window *bert_text_stream_next(bert_text_stream *stream, const bert_window_limits *limits,
                                              bert_error *error);
/** Ends the reading, also while it waits for input. NULL is ignored. */
void bert_text_stream_close(bert_text_stream *stream);

/** Makes a stream end as if its input did; for signal handlers. NULL is ignored. */
void bert_text_stream_interrupt(bert_text_stream *stream);

#endif
