/* The tensors of a case held against those of a model: what `bertc compare` finds out and shows. */
#ifndef BERT_CLI_COMPARE_H
#define BERT_CLI_COMPARE_H

#include "cli/case.h"
#include "cli/engine.h"
#include "core/graph/graph.h"

/** One tensor that the case names. Strings in the arena. */
typedef struct bert_compared {
    const char *name;
    bool present; /**< The model's file has it. */
    bool kept;    /**< It is still there after all passes: what runs is compared. Else it is computed without passes. */
    bool compared;         /**< `worst` says how near it is. */
    uint32_t order;        /**< Of the node that writes it, counted from 1 in the order of the graph; 0: none does. */
    const char *node, *op; /**< That node, of the file; NULL: an input or a constant. */
    const char *here, *here_op; /**< With `kept`, what writes it after the passes. */
    const char *origins;        /**< The nodes of the file that this one stands for, by spaces. */
    bert_comparison worst;      /**< Over all data sets. */
    const char *data_set;       /**< Where that is. */
    bert_tensor got, expected;  /**< Types and shapes there; no data. */
} bert_compared;

/** A node of the file where a divergence may come from. */
typedef struct bert_suspect {
    const char *name, *op;
    uint32_t order;
} bert_suspect;

#define BERT_MAX_SUSPECTS 16

/** Everything that is found out. */
typedef struct bert_comparing {
    const char *model, *name; /**< Path of the model; name of the case. */
    bert_tolerance tolerance;
    bert_compared *rows; /**< In the order of the graph once all is done. */
    size_t count;
    size_t diverging, missing;
    const bert_compared *first; /**< The first that diverges; NULL: none does. */
    /** Nodes between it and the tensors before it that agree, itself last; `suspect_count` may be beyond the list. */
    bert_suspect suspects[BERT_MAX_SUSPECTS];
    size_t suspect_count;
    bool plain_compared; /**< Of `first`, where it is `kept`: `plain` says how near it is without passes. */
    bert_comparison plain;
} bert_comparing;

/** Whether a tensor is not what the case has. */
bool bert_compared_diverges(const bert_compared *row);

/**
 * Runs the inputs of all `data_sets` and compares. What lies in `out` lies in `arena`. Errors: of files, of the model,
 * of a run; BERT_INVALID_INPUT when the model has none of the tensors.
 */
bert_status bert_compare_run(const bert_engine_options *options, const char *model, const char *const *data_sets,
                             size_t data_set_count, bert_arena *arena, bert_comparing *out, bert_error *error);

/** All rows with `all`, else the first few that diverge; then the verdict. */
void bert_compare_print(const bert_comparing *comparing, bool all);
/** The same as JSON, one object, with every row that diverges. BERT_OUT_OF_MEMORY. */
bert_status bert_compare_json(const bert_comparing *comparing, bool all, bert_error *error);

#endif
