/* LayerNormalization and SkipLayerNormalization over the last dimension. */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

/* Where a node has what; -1: nowhere. */
typedef struct norm_state {
    int32_t skip, gamma, beta, bias; /* inputs */
    int32_t sum;                     /* output */
    float epsilon;
    bool simplified;
} norm_state;

/* Elements of one task: enough work to be worth handing over. */
enum { TASK_FLOATS = 4096 };

typedef struct norm_run {
    bert_layer_norm_args all;
    const bert_kernel_call *call;
    const bert_cpu_kernels *kernels;
    int64_t task_rows;
} norm_run;

static void run_rows(void *argument, int64_t task, int thread) {
    const norm_run *run = argument;
    bert_layer_norm_args args = run->all;
    const int64_t row = task * run->task_rows, offset = row * args.n;
    args.rows = args.rows - row < run->task_rows ? args.rows - row : run->task_rows;
    args.y += offset;
    args.x += offset;
    if (args.sum) args.sum += offset;
    if (args.skip) args.skip += offset;
    run->kernels->layer_norm(&args);
    bert_cpu_write_rows(run->call, args.y, row, args.rows);
}

static const float *input_at(const bert_kernel_call *call, int32_t input) {
    return input < 0 ? NULL : bert_cpu_input(call, input);
}

static bert_status run_norm(const bert_kernel_call *call, bert_error *error) {
    const norm_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0];
    norm_run run = {.all = {.y = call->outputs[0].data,
                            .sum = state->sum < 0 ? NULL : call->outputs[state->sum].data,
                            .x = x->data,
                            .skip = input_at(call, state->skip),
                            .bias = input_at(call, state->bias),
                            .gamma = input_at(call, state->gamma),
                            .beta = input_at(call, state->beta),
                            .rows = bert_cpu_count(x->dims, 0, x->rank - 1),
                            .n = x->dims[x->rank - 1],
                            .epsilon = state->epsilon,
                            .simplified = state->simplified},
                    .call = call,
                    .kernels = bert_cpu_kernels_for(call)};
    if (run.all.rows == 0 || run.all.n == 0) return BERT_OK;
    run.task_rows = TASK_FLOATS / run.all.n + 1;
    const int64_t tasks = (run.all.rows + run.task_rows - 1) / run.task_rows;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks, run_rows, &run);
    return BERT_OK;
}

static bert_status plan_norm(const bert_cpu_planner *planner, const norm_state *wanted) {
    planner->out->run = run_norm;
    planner->out->kernel = wanted->skip < 0 ? "layer_norm/cpu" : "skip_layer_norm/cpu";
    planner->out->in_place = wanted->sum < 0 ? 1 : 0;
    bert_cpu_give_rows(planner);
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(norm_state), &state));
    *(norm_state *)state = *wanted;
    return BERT_OK;
}

static int32_t where(const bert_op_node *node, int32_t input) {
    return bert_cpu_has(node, input) ? input : -1;
}

/* Whether the inputs from `first` on are absent or float32 vectors. */
static bool are_vectors(const bert_op_node *node, int32_t first) {
    for (int32_t i = first; i < node->input_count; i++)
        if (bert_cpu_has(node, i) && (node->inputs[i].dtype != BERT_FLOAT || node->inputs[i].rank != 1)) return false;
    return true;
}

static bool has_output(const bert_op_node *node, int32_t output) {
    return output < node->output_count && node->outputs[output].dtype != BERT_DTYPE_UNDEFINED;
}

bert_status bert_cpu_plan_layer_norm(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const int64_t axis = BERT_NODE_INT(node, "axis", -1);
    const int32_t rank = node->inputs[0].rank;
    if (!bert_cpu_is_float(node, 0) || !are_vectors(node, 1))
        return bert_cpu_leave(planner, "computes in float32, with vectors for scale and bias");
    if (has_output(node, 1) || has_output(node, 2)) return bert_cpu_leave(planner, "gives no mean and deviation");
    if (axis != -1 && (rank < 1 || axis != rank - 1)) return bert_cpu_leave(planner, "takes the last axis only");
    if (BERT_NODE_INT(node, "stash_type", 1) != 1) return bert_cpu_leave(planner, "keeps its sums in float32");
    return plan_norm(planner, &(norm_state){.skip = -1,
                                            .gamma = 1,
                                            .beta = where(node, 2),
                                            .bias = -1,
                                            .sum = -1,
                                            .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-5F)});
}

/* The canonical operator and com.microsoft's, which has the sum as its fourth output. */
bert_status bert_cpu_plan_skip_layer_norm(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const bool canonical = node->domain[0] == 'b';
    const bert_tensor_desc *x = &node->inputs[BERT_SKIP_X], *skip = &node->inputs[BERT_SKIP_SKIP];
    if (!bert_cpu_is_float(node, BERT_SKIP_X) || !bert_cpu_is_float(node, BERT_SKIP_SKIP) ||
        !are_vectors(node, BERT_SKIP_GAMMA))
        return bert_cpu_leave(planner, "computes in float32, with vectors for gamma, beta and bias");
    if (!canonical) {
        if (has_output(node, 1) || has_output(node, 2)) return bert_cpu_leave(planner, "gives no mean and deviation");
        if (planner->mode == BERT_PLAN_BIND && !bert_cpu_same_dims(x, skip))
            return bert_cpu_leave(planner, "doesn't broadcast skip");
    }
    const int32_t sum = canonical ? 1 : 3;
    return plan_norm(planner, &(norm_state){.skip = BERT_SKIP_SKIP,
                                            .gamma = BERT_SKIP_GAMMA,
                                            .beta = where(node, BERT_SKIP_BETA),
                                            .bias = where(node, BERT_SKIP_BIAS),
                                            .sum = has_output(node, sum) ? sum : -1,
                                            .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-12F),
                                            .simplified = BERT_NODE_INT(node, "simplified", 0) != 0});
}
