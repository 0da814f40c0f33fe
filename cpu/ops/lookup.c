/* Lookup: a byte of a table for each byte. */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

static void run_task(void *argument, int64_t task, int thread) {
    const bert_kernel_call *call = argument;
    const int64_t first = task * BERT_CPU_TASK_BYTES;
    const int64_t left = bert_tensor_elements(&call->inputs[BERT_LOOKUP_X]) - first;
    bert_cpu_kernels_for(call)->lookup(
        &(bert_lookup_args){.y = (uint8_t *)call->outputs[0].data + first,
                            .x = (const uint8_t *)call->inputs[BERT_LOOKUP_X].data + first,
                            .table = call->inputs[BERT_LOOKUP_TABLE].data,
                            .n = bert_smaller(BERT_CPU_TASK_BYTES, left)});
}

static bert_status run(const bert_kernel_call *call, bert_error *error) {
    const int64_t count = bert_tensor_elements(&call->inputs[BERT_LOOKUP_X]);
    const int64_t tasks = (count + BERT_CPU_TASK_BYTES - 1) / BERT_CPU_TASK_BYTES;
    bert_thread_pool_run(bert_cpu_threads_for(call), tasks, run_task, (void *)(uintptr_t)call);
    return BERT_OK;
}

bert_status bert_cpu_plan_lookup(const bert_cpu_planner *planner) {
    planner->out->run = run;
    planner->out->kernel = "lookup/cpu";
    planner->out->in_place = 1 + BERT_LOOKUP_X;
    return BERT_OK;
}
