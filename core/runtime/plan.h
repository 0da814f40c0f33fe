/* A plan: the kernels that give wanted outputs for given shapes, and where everything lies while they run. */
#ifndef BERT_RUNTIME_PLAN_H
#define BERT_RUNTIME_PLAN_H

#include "core/runtime/bind.h"
#include "core/runtime/weights.h"

#include <bert/session.h>

typedef enum bert_storage_kind {
    BERT_STORAGE_ARENA,   /**< Activations and workspace, at `offset` of the session's arena. */
    BERT_STORAGE_INPUT,   /**< The caller's input `index` of the graph, or a copy of it at `offset`. */
    BERT_STORAGE_OUTPUT,  /**< The caller's buffer of plan output `index`, or at `offset`. */
    BERT_STORAGE_TOKENS,  /**< What a run says of its tokens: bert_token_list `index`, or a copy of it at `offset`. */
    BERT_STORAGE_CONSTANT /**< Known content, at `base`. */
} bert_storage_kind;

/** What a run says of its tokens: arrays of bert_tokens. */
typedef enum bert_token_list {
    BERT_TOKEN_STARTS,
    BERT_TOKEN_TOKENS,
    BERT_TOKEN_COUNTED,
    BERT_TOKEN_LISTS
} bert_token_list;

/** Memory that one value and its views take. */
typedef struct bert_storage {
    bert_storage_kind kind;
    int32_t index;
    size_t bytes;
    int32_t first, last; /**< Steps between which the content is needed. */
    size_t offset;
    void *base;                  /**< Where it is in the run that goes on. */
    const bert_constant *folded; /**< Content that the device doesn't have before the plan uploads it; else NULL. */
} bert_storage;

/** No storage: an absent tensor, or a constant that the kernel does not read. */
#define BERT_NO_STORAGE UINT32_MAX

/** Byte rows of a tensor: storages, or BERT_NO_STORAGE (both). */
typedef struct bert_byte_rows_storage {
    uint32_t bytes, scales;
} bert_byte_rows_storage;

/** One kernel. */
typedef struct bert_plan_step {
    const bert_node *node;
    bert_op_plan plan;
    bert_tensor *inputs, *outputs; /**< `data` is filled in by each run. */
    const uint32_t *input_storages, *output_storages;
    size_t workspace_offset;     /**< In the arena. */
    uint32_t x_ranges, y_ranges; /**< Storages of ranges of rows of input 0 and output 0, or BERT_NO_STORAGE. */
    bert_byte_rows_storage x_bytes, y_bytes;
    bool x_bytes_made, y_unread;
    int64_t flops;
    int64_t nanoseconds, runs; /**< Since the profile was reset. */
} bert_plan_step;

/** A tensor of a step with a dimension that is the number of rows of the run. */
typedef struct bert_row_tensor {
    bert_tensor *tensor;
    int32_t axis;
} bert_row_tensor;

/** One wanted output. */
typedef struct bert_plan_output {
    int32_t index;      /**< Among the graph's outputs. */
    bert_tensor tensor; /**< Type and shape. */
    size_t bytes;
    uint32_t storage; /**< Of kind BERT_STORAGE_OUTPUT. */
    uint32_t source;  /**< Where the content is; another storage when it must be copied after the run. */
} bert_plan_output;

/** Read-only between runs, save for storages' bases, tensors' data and times. Used by one session. */
typedef struct bert_plan {
    bert_arena memory; /**< Everything here. */
    bert_weights *weights;
    bert_plan_step *steps;
    size_t step_count;
    bert_storage *storages;
    size_t storage_count;
    bert_plan_output *outputs;
    size_t output_count;
    bert_row_tensor *row_tensors; /**< Of a plan without padding. */
    size_t row_tensor_count;
    int32_t needed[BERT_MAX_NEEDED], needed_count; /**< See bert_binding. */
    bool right;                                    /**< See bert_binding. */
    bool fills;          /**< Of one without padding: its runs may have rows that are no token's. */
    const char *padding; /**< Why padding isn't skipped, of a plan that was to skip it; else NULL. */
    size_t arena_bytes;  /**< That a run needs. */
    void *device_constants;
    size_t device_constant_bytes;
    uint64_t id; /**< Unique in the process. */
    /* What the plan is for. */
    uint64_t key;
    bert_request request; /**< Copies; data of inputs that decide shapes only. rows 0: padding isn't skipped. */
    uint64_t last_use;    /**< The cache's clock. */
} bert_plan;

/** The hash of what a plan is for. */
uint64_t bert_request_key(const bert_model *model, const bert_request *request);
/** Whether the plan is for this. Allocates nothing. */
bool bert_plan_is_for(const bert_plan *plan, uint64_t key, const bert_request *request);

/** Binds the request on prepared weights for a session's context. Free with bert_plan_free, before the context. */
bert_status bert_plan_create(bert_weights *weights, bert_context *context, const bert_request *request, bert_plan **out,
                             bert_error *error);
void bert_plan_free(bert_plan *plan);

/** The plan that the session bound or ran last, for inspect; NULL when there is none. Lives until the next bind. */
const bert_plan *bert_session_plan(const bert_session *session);

#endif
