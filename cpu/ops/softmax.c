/* Softmax over the last axis. */
#include "cpu/ops/ops.h"

typedef struct softmax_run {
    const bert_cpu_kernels *kernels;
    float *y;
    const float *x;
    int64_t rows, n, task_rows;
} softmax_run;

enum { TASK_FLOATS = 4096 };

static void run_rows(void *argument, int64_t task, int thread) {
    const softmax_run *run = argument;
    const int64_t last = (task + 1) * run->task_rows, end = last < run->rows ? last : run->rows;
    for (int64_t row = task * run->task_rows; row < end; row++)
        run->kernels->softmax(
            &(bert_softmax_args){.y = run->y + row * run->n, .x = run->x + row * run->n, .n = run->n, .scale = 1.0F});
}

static bert_status run_softmax(const bert_kernel_call *call, bert_error *error) {
    const bert_tensor *x = &call->inputs[0];
    softmax_run run = {.kernels = bert_cpu_kernels_for(call),
                       .y = call->outputs[0].data,
                       .x = x->data,
                       .rows = bert_cpu_count(x->dims, 0, x->rank - 1),
                       .n = x->dims[x->rank - 1]};
    if (run.rows == 0 || run.n == 0) return BERT_OK;
    run.task_rows = TASK_FLOATS / run.n + 1;
    const int64_t tasks = (run.rows + run.task_rows - 1) / run.task_rows;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks, run_rows, &run);
    return BERT_OK;
}

bert_status bert_cpu_plan_softmax(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    /* Before opset 13 the tensor is flattened at the axis, which is the same for the last one. */
    const int64_t axis = BERT_NODE_INT(node, "axis", node->opset < 13 ? 1 : -1);
    const int32_t rank = node->inputs[0].rank;
    if (!bert_cpu_is_float(node, 0)) return bert_cpu_leave(planner, "computes in float32 only");
    if (axis != -1 && (rank < 1 || axis != rank - 1)) return bert_cpu_leave(planner, "takes the last axis only");
    if (rank == 0) return bert_cpu_leave(planner, "takes no scalar");
    planner->out->run = run_softmax;
    planner->out->kernel = "softmax/cpu";
    planner->out->in_place = 1;
    return BERT_OK;
}
