/*
 * The keys that some queries look at, by their bias and mask: layers of local attention (ModernBERT: 64 tokens to each
 * side) drop nearly all of a long sequence's.
 */
#ifndef BERT_CPU_OPS_ATTENTION_WINDOW_H
#define BERT_CPU_OPS_ATTENTION_WINDOW_H

#include "cpu/kernels/kernels.h"

/** Keys [first, end). */
typedef struct bert_attention_window {
    int64_t first, end;
} bert_attention_window;

/**
 * A range of args' n keys outside of which every key is dropped for each of its rows. `first` is a multiple of `step`,
 * itself one of 16, and `end` one or n. Of args only rows, n, bias, mask, their strides and the mask's value count.
 *
 * What is dropped adds nothing to a row, to the last bit: its bias, or the mask's value, is -1e30 or below, so far that
 * float32 swallows a score, and some key in the range counts, by a bias of -1000 or above: beside that one it has a
 * probability of exactly 0. (As long as scores are below 1e22: a dropped key of infinity or NaN is not seen.) A row
 * that drops all of its keys alike must give what softmax makes of all of them: where there is one, all keys are the
 * range.
 */
bert_attention_window bert_attention_window_of(const bert_attention_args *args, int64_t step);

#endif
