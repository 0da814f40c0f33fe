/* Embedding: rows of up to three tables added, then normalized, one token at a time. */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

/* One of the tables and the ids that choose its rows. */
typedef struct lookup {
    const float *table;
    const bert_tensor *ids; /* NULL: this one is absent */
    int64_t rows;           /* of the table */
} lookup;

typedef struct embedding_run {
    const bert_kernel_call *call;
    const bert_cpu_kernels *kernels;
    lookup words, positions, types;
    int64_t tokens, width;
    float epsilon;
} embedding_run;

enum { TASK_TOKENS = 8 };

static int64_t id_at(const bert_tensor *ids, int64_t index) {
    return ids->dtype == BERT_INT32 ? ((const int32_t *)ids->data)[index] : ((const int64_t *)ids->data)[index];
}

static lookup lookup_of(const bert_kernel_call *call, int32_t ids, int32_t table) {
    if (call->inputs[ids].dtype == BERT_DTYPE_UNDEFINED) return (lookup){0};
    return (lookup){call->inputs[table].data, &call->inputs[ids], call->inputs[table].dims[0]};
}

/* The row for token `token` of [B, S]: ids may be [1, S]. */
static const float *row_of(const lookup *from, int64_t token, int64_t width) {
    if (!from->ids) return NULL;
    const int64_t count = from->ids->dims[0] * from->ids->dims[1];
    int64_t id = id_at(from->ids, token % count);
    if (id < 0) id += from->rows;
    return from->table + id * width;
}

static bert_status check_ids(const lookup *from, const char *what, bert_error *error) {
    if (!from->ids) return BERT_OK;
    const int64_t length = from->ids->dims[1], count = from->ids->dims[0] * length;
    for (int64_t i = 0; i < count; i++) {
        const int64_t id = id_at(from->ids, i);
        if (id >= -from->rows && id < from->rows) continue;
        return bert_fail(error, BERT_INVALID_INPUT,
                         "%s id %lld at position %lld of sequence %lld is outside the table of %lld rows", what,
                         (long long)id, (long long)(i % length), (long long)(i / length), (long long)from->rows);
    }
    return BERT_OK;
}

static void add(const embedding_run *run, float *y, const float *a, const float *b) {
    run->kernels->binary(&(bert_binary_args){
        .y = y, .a = a, .b = b, .a_stride = 1, .b_stride = 1, .n = run->width, .op = BERT_BINARY_ADD});
}

static void run_tokens(void *argument, int64_t task, int thread) {
    const embedding_run *run = argument;
    const float *gamma = bert_cpu_input(run->call, BERT_EMBEDDING_GAMMA);
    const float *beta = bert_cpu_input(run->call, BERT_EMBEDDING_BETA);
    const int64_t last = (task + 1) * TASK_TOKENS, end = last < run->tokens ? last : run->tokens;
    for (int64_t token = task * TASK_TOKENS; token < end; token++) {
        float *y = (float *)run->call->outputs[0].data + token * run->width;
        const float *word = row_of(&run->words, token, run->width);
        const float *position = row_of(&run->positions, token, run->width);
        const float *type = row_of(&run->types, token, run->width);
        if (gamma) {
            run->kernels->layer_norm(&(bert_layer_norm_args){.y = y,
                                                             .x = word,
                                                             .bias = type,
                                                             .skip = position,
                                                             .gamma = gamma,
                                                             .beta = beta,
                                                             .rows = 1,
                                                             .n = run->width,
                                                             .epsilon = run->epsilon});
            continue;
        }
        run->kernels->unary(&(bert_unary_args){y, word, run->width, BERT_UNARY_IDENTITY});
        if (type) add(run, y, y, type);
        if (position) add(run, y, y, position);
    }
}

static bert_status run_embedding(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *y = &call->outputs[0];
    embedding_run run = {.call = call,
                         .kernels = bert_cpu_kernels_for(call),
                         .words = lookup_of(call, BERT_EMBEDDING_WORD_IDS, BERT_EMBEDDING_WORD_TABLE),
                         .positions = lookup_of(call, BERT_EMBEDDING_POSITION_IDS, BERT_EMBEDDING_POSITION_TABLE),
                         .types = lookup_of(call, BERT_EMBEDDING_TYPE_IDS, BERT_EMBEDDING_TYPE_TABLE),
                         .tokens = y->dims[0] * y->dims[1],
                         .width = y->dims[2],
                         .epsilon = *(const float *)call->plan->state};
    BERT_TRY(check_ids(&run.words, "token", error));
    BERT_TRY(check_ids(&run.positions, "position", error));
    BERT_TRY(check_ids(&run.types, "token type", error));
    if (run.width == 0) return BERT_OK;
    bert_thread_pool_run(bert_cpu_threads_for(call), (run.tokens + TASK_TOKENS - 1) / TASK_TOKENS, run_tokens, &run);
    return BERT_OK;
}

static bool are_ids(const bert_op_node *node, int32_t input) {
    if (!bert_cpu_has(node, input)) return input != BERT_EMBEDDING_WORD_IDS;
    const bert_dtype dtype = node->inputs[input].dtype;
    return dtype == BERT_INT32 || dtype == BERT_INT64;
}

bert_status bert_cpu_plan_embedding(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!are_ids(node, BERT_EMBEDDING_WORD_IDS) || !are_ids(node, BERT_EMBEDDING_POSITION_IDS) ||
        !are_ids(node, BERT_EMBEDDING_TYPE_IDS))
        return bert_cpu_leave(planner, "takes ids as int32 or int64");
    if (!bert_cpu_is_float(node, BERT_EMBEDDING_WORD_TABLE) ||
        !bert_cpu_float_or_absent(node, BERT_EMBEDDING_POSITION_TABLE) ||
        !bert_cpu_float_or_absent(node, BERT_EMBEDDING_TYPE_TABLE) ||
        !bert_cpu_float_or_absent(node, BERT_EMBEDDING_GAMMA) || !bert_cpu_float_or_absent(node, BERT_EMBEDDING_BETA))
        return bert_cpu_leave(planner, "takes float32 tables");
    planner->out->run = run_embedding;
    planner->out->kernel = "embedding/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(float), &state));
    *(float *)state = bert_cpu_float(node, "epsilon", 1e-12F);
    return BERT_OK;
}
