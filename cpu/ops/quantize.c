/* QuantizeLinear and DequantizeLinear with one scale and zero point of 8 bits. */
#include "cpu/ops/ops.h"

#include <string.h>

enum { X, SCALE, ZERO_POINT };

/* Elements of one task. */
enum { TASK_ELEMENTS = 16384 };

typedef struct quantize_run {
    const bert_kernel_call *call;
    int64_t count;
    bert_cpu_quantization by;
} quantize_run;

static quantize_run begin(const bert_kernel_call *call, bert_dtype bytes) {
    const bool has_zero = *(const bool *)call->plan->state;
    return (quantize_run){.call = call,
                          .count = bert_tensor_elements(&call->inputs[X]),
                          .by = {.scale = *(const float *)call->inputs[SCALE].data,
                                 .zero_point = has_zero ? bert_cpu_byte(&call->inputs[ZERO_POINT], 0) : 0,
                                 .is_signed = bytes == BERT_INT8}};
}

static void run_tasks(const quantize_run *run, bert_task_fn task) {
    const int64_t tasks = (run->count + TASK_ELEMENTS - 1) / TASK_ELEMENTS;
    bert_thread_pool_run(bert_cpu_threads_for(run->call), tasks, task, (void *)(uintptr_t)run);
}

static void quantize_task(void *argument, int64_t task, int thread) {
    const quantize_run *run = argument;
    const int64_t first = task * TASK_ELEMENTS;
    bert_cpu_quantize(bert_cpu_kernels_for(run->call), &run->by, (uint8_t *)run->call->outputs[0].data + first,
                      (const float *)run->call->inputs[X].data + first,
                      bert_smaller(TASK_ELEMENTS, run->count - first));
}

static bert_status run_quantize(const bert_kernel_call *call, bert_error *error) {
    const quantize_run run = begin(call, call->outputs[0].dtype);
    run_tasks(&run, quantize_task);
    return BERT_OK;
}

static void dequantize_task(void *argument, int64_t task, int thread) {
    const quantize_run *run = argument;
    const int64_t first = task * TASK_ELEMENTS;
    bert_cpu_dequantize(bert_cpu_kernels_for(run->call), &run->by, (float *)run->call->outputs[0].data + first,
                        (const uint8_t *)run->call->inputs[X].data + first,
                        bert_smaller(TASK_ELEMENTS, run->count - first));
}

static bert_status run_dequantize(const bert_kernel_call *call, bert_error *error) {
    const quantize_run run = begin(call, call->inputs[X].dtype);
    run_tasks(&run, dequantize_task);
    return BERT_OK;
}

static bool is_byte(bert_dtype dtype) {
    return dtype == BERT_UINT8 || dtype == BERT_INT8;
}

static bert_status plan(const bert_cpu_planner *planner, bert_dtype wide, bert_dtype bytes,
                        bert_status (*run)(const bert_kernel_call *, bert_error *)) {
    const bert_op_node *node = planner->node;
    if (wide != BERT_FLOAT || !bert_cpu_is_float(node, SCALE) || !is_byte(bytes))
        return bert_cpu_leave(planner, "takes float32 and 8 bits");
    if (!bert_cpu_is_single(&node->inputs[SCALE]) || BERT_NODE_INT(node, "block_size", 0) != 0)
        return bert_cpu_leave(planner, "takes one scale");
    planner->out->run = run;
    planner->out->kernel = "quantize/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(bool), &state));
    *(bool *)state = bert_cpu_has(node, ZERO_POINT);
    return BERT_OK;
}

bert_status bert_cpu_plan_quantize(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    return plan(planner, node->inputs[X].dtype, node->outputs[0].dtype, run_quantize);
}

bert_status bert_cpu_plan_dequantize(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    return plan(planner, node->outputs[0].dtype, node->inputs[X].dtype, run_dequantize);
}
