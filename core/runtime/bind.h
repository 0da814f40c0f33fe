/* A graph for given shapes: every shape inferred, what became constant evaluated, branches chosen. */
#ifndef BERT_RUNTIME_BIND_H
#define BERT_RUNTIME_BIND_H

#include "core/runtime/model.h"

/** What a run is asked for. Arrays are by index of the graph's inputs or outputs. */
typedef struct bert_request {
    const bert_tensor *inputs; /**< Checked; data is read of inputs that decide shapes only. */
    const bool *given;         /**< False: the input keeps its default. */
    const bool *wanted;        /**< Outputs. */
    int64_t rows;              /**< That tensors without padding have at most; 0: with padding. */
    bert_quant_scope scope;
} bert_request;

/** Positions at which a binding without padding may need real tokens. */
#define BERT_MAX_NEEDED 16

/** The bound graph. Everything in it lives in the arena that it was bound with, or in the model. */
typedef struct bert_binding {
    bert_value_info *infos;   /**< By value id; of values that the wanted outputs depend on. */
    const bert_value **roots; /**< By value id: the value whose memory it is. A view's root is what it looks at. */
    /** By value id: the model's constant that a known content is, or is a view of; NULL when it lies in the arena. */
    const bert_constant **sources;
    const bert_node **steps; /**< Nodes that must run, in order. */
    size_t step_count;
    uint32_t value_count;    /**< Of the arrays by value id: the graph's, then values that binding made. */
    uint32_t value_capacity; /**< That the arrays have room for. */
    /* What follows is bert_bind_tokens'. */
    int8_t
        *row_axes; /**< By value id: the dimension that is the number of a run's rows; -1: none. NULL: none at all. */
    /** What a run gives, where it isn't NULL: see Attention and QuantizedLinear in core/graph/canonical.h. */
    bert_value *starts, *tokens, *counted;
    bool packed; /**< Without padding. */
    /** Packed: positions that must be real in every sequence, since an output is taken from there. */
    int32_t needed[BERT_MAX_NEEDED], needed_count;
    bool right;          /**< Packed: right only where all padding is on the right. */
    const char *padding; /**< Why it isn't packed though rows were asked for; else NULL. */
} bert_binding;

/**
 * Binds the graph. Content of values is known (info.constant) for constants of the model, for inputs that decide
 * shapes, and for what follows from these; such constants have id 0 and lie in `arena`. BERT_INVALID_INPUT when the
 * model can't take the shapes, with the node; BERT_UNSUPPORTED when a shape depends on what a kernel computes.
 */
bert_status bert_bind(const bert_model *model, const bert_request *request, bert_arena *arena, bert_binding *out,
                      bert_error *error);

#endif
