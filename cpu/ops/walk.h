/*
 * Walks over a block of elements in which each operand has steps of its own: transposed, cut out, or broadcast (steps
 * of 0). Neighbouring dimensions that go on evenly for every operand are joined, so that most walks are a few long
 * rows.
 */
#ifndef BERT_CPU_OPS_WALK_H
#define BERT_CPU_OPS_WALK_H

#include <bert/thread_pool.h>
#include <bert/types.h>

enum {
    BERT_WALK_OPERANDS = 4,
    BERT_WALK_RANK = 2 * BERT_MAX_RANK, /**< What Tile repeats is a dimension beside the one that is repeated. */
};

/** Offsets and steps are in elements. */
typedef struct bert_walk {
    int32_t operands, rank;
    int64_t dims[BERT_WALK_RANK], steps[BERT_WALK_OPERANDS][BERT_WALK_RANK];
} bert_walk;

/**
 * Computes `n` elements: operand o has the first of them at offsets[o], and each next one steps[o] further. `argument`
 * is that of bert_walk_run.
 */
typedef void (*bert_walk_fn)(const void *argument, const int64_t *offsets, const int64_t *steps, int64_t n);

/** A walk over dims[rank], without operands. */
bert_walk bert_walk_begin(int32_t rank, const int64_t *dims);

/** Adds an operand: a tensor from its beginning on, by the steps that bert_cpu_steps gives it. */
void bert_walk_add(bert_walk *walk, const bert_tensor *tensor);

/** Joins dimensions and leaves those of one element out; at least one is left. bert_walk_run does so itself. */
void bert_walk_join(bert_walk *walk);

/**
 * Calls `fn` for each row of the last dimension that joining leaves, from several threads at once; long rows are cut.
 * `size`: bytes of an element, by which tasks are made. Nothing is called where a dimension has no elements.
 */
void bert_walk_run(bert_walk *walk, bert_thread_pool *threads, size_t size, bert_walk_fn fn, const void *argument);

#endif
