/*
 * Rewrites of a graph. Each pass is one file with one function; passes.c lists them in the order in which they run.
 *
 * A pass matches on values, shapes and constants, never on names. It rewrites only what it is sure of: the result has
 * the same outputs up to rounding for every input. What it leaves runs as plain ops. Shape inference is up to date when
 * a pass begins, and a pass fills info of the values that it makes (bert_infer_node).
 */
#ifndef BERT_PASSES_PASS_H
#define BERT_PASSES_PASS_H

#include "core/graph/op.h"

/** What a pass did, or nearly did, for `bertc inspect`. */
typedef struct bert_pass_report bert_pass_report;

/** One rewrite: `node` is what stands there now. */
typedef struct bert_pass_rewrite {
    const char *pass;
    const char *node; /**< The node that was made, or its first output when it has no name; "" when nodes only went. */
    const char *op_type; /**< Of that node. */
} bert_pass_rewrite;

/** A place where a pass stopped short: `node` broke the pattern, for `reason`. */
typedef struct bert_pass_miss {
    const char *pass;
    const char *node;
    const char *reason;
} bert_pass_miss;

/** The record that all passes of a graph write, in the order in which it happened. */
struct bert_pass_report {
    bert_arena *arena; /**< Where the records live; NULL: the graph's. All else starts as zero. */
    bert_pass_rewrite *rewrites;
    size_t rewrite_count, rewrite_capacity;
    bert_pass_miss *misses;
    size_t miss_count, miss_capacity;
};

typedef struct bert_pass bert_pass;

typedef struct bert_pass_context {
    bert_graph *graph;
    const bert_log *log;
    bert_pass_report *report; /**< May be NULL. */
    bert_error *error;
    const bert_pass *pass; /**< The one that runs. */
    uint32_t changes;      /**< Counted up at every rewrite. */
} bert_pass_context;

struct bert_pass {
    const char *name;    /**< "linear", "attention". */
    const char *summary; /**< One line for inspect and the docs. */
    bert_status (*run)(bert_pass_context *context);
};

/** The passes in order. */
extern const bert_pass bert_passes[];
extern const size_t bert_pass_count;

/** Runs all passes in order, shapes inferred before each; `report` may be NULL. */
bert_status bert_passes_run(bert_graph *graph, const bert_log *log, bert_pass_report *report, bert_error *error);

/** Records for the report; never fails (a record that finds no memory is lost). `node` may be NULL: nodes only went. */
void bert_pass_rewrote(bert_pass_context *context, const bert_node *node);
void bert_pass_missed(bert_pass_context *context, const bert_node *node, const char *format, ...) BERT_PRINTF(3, 4);

#endif
