/* A progress bar on standard error, for work on many texts: how many, how fast, how long still. */
#ifndef BERT_CLI_PROGRESS_H
#define BERT_CLI_PROGRESS_H

#include <bert/types.h>

/** Counts of what is done. One thread. */
typedef struct bert_progress {
    bool shown;
    size_t texts, tokens; /**< Done; tokens 0 where no one counts them. */
    size_t bytes;         /**< Of the input, done. */
    size_t total_bytes;   /**< Of the input; 0 when unknown: then there is no bar, only counts. */
    int64_t began, drawn; /**< Nanoseconds of the monotonic clock. */
} bert_progress;

/** Shows the bar only where standard error is a terminal that no answers go to as well, and if it is `wanted`. */
void bert_progress_begin(bert_progress *progress, bool wanted, size_t total_bytes);
/** Adds what was done since, and draws where the last time is a while ago. */
void bert_progress_add(bert_progress *progress, size_t texts, size_t tokens, size_t bytes);
/** Takes the bar off the terminal. */
void bert_progress_end(bert_progress *progress);

#endif
