/* QuantizeLinear and DequantizeLinear with one scale and zero point of 8 bits. */
#include "cpu/ops/ops.h"

#include <string.h>

enum { X, SCALE, ZERO_POINT };

/* Elements of one task. */
enum { TASK_ELEMENTS = 16384 };

typedef struct quantize_run {
    const bert_kernel_call *call;
    int64_t count;
    float scale;
    int32_t zero_point;
    bool is_signed;
} quantize_run;

/* Of a byte of uint8, or of int8 as it lies in memory. */
static int32_t byte_of(unsigned char byte, bool is_signed) {
    return is_signed ? (int32_t)(int8_t)byte : byte;
}

static quantize_run begin(const bert_kernel_call *call, bert_dtype bytes) {
    const bool has_zero = *(const bool *)call->plan->state;
    const unsigned char *zero = has_zero ? call->inputs[ZERO_POINT].data : NULL;
    return (quantize_run){.call = call,
                          .count = bert_tensor_elements(&call->inputs[X]),
                          .scale = *(const float *)call->inputs[SCALE].data,
                          .zero_point = zero ? byte_of(*zero, bytes == BERT_INT8) : 0,
                          .is_signed = bytes == BERT_INT8};
}

static void run_tasks(const quantize_run *run, bert_task_fn task) {
    const int64_t tasks = (run->count + TASK_ELEMENTS - 1) / TASK_ELEMENTS;
    bert_thread_pool_run(bert_cpu_threads_for(run->call), tasks, task, (void *)(uintptr_t)run);
}

static int64_t elements_of_task(const quantize_run *run, int64_t task) {
    const int64_t left = run->count - task * TASK_ELEMENTS;
    return left < TASK_ELEMENTS ? left : TASK_ELEMENTS;
}

/* int8 is uint8 with everything 128 less, which is the top bit. */
static void quantize_task(void *argument, int64_t task, int thread) {
    const quantize_run *run = argument;
    const int64_t first = task * TASK_ELEMENTS, n = elements_of_task(run, task);
    uint8_t *y = (uint8_t *)run->call->outputs[0].data + first;
    const int32_t zero_point = run->zero_point + (run->is_signed ? 128 : 0);
    int32_t sum;
    bert_cpu_kernels_for(run->call)->quantize(
        &(bert_quantize_args){.y = y,
                              .sums = &sum,
                              .x = (const float *)run->call->inputs[X].data + first,
                              .scales = &run->scale,
                              .zero_points = &zero_point,
                              .rows = 1,
                              .n = n,
                              .stride = n});
    for (int64_t i = 0; i < n && run->is_signed; i++) y[i] ^= 0x80;
}

static bert_status run_quantize(const bert_kernel_call *call, bert_error *error) {
    const quantize_run run = begin(call, call->outputs[0].dtype);
    run_tasks(&run, quantize_task);
    return BERT_OK;
}

static void dequantize_task(void *argument, int64_t task, int thread) {
    const quantize_run *run = argument;
    const int64_t first = task * TASK_ELEMENTS;
    bert_cpu_kernels_for(run->call)->dequantize_bytes(
        &(bert_dequantize_bytes_args){.y = (float *)run->call->outputs[0].data + first,
                                      .x = (const uint8_t *)run->call->inputs[X].data + first,
                                      .n = elements_of_task(run, task),
                                      .scale = run->scale,
                                      .zero_point = run->zero_point,
                                      .is_signed = run->is_signed});
}

static bert_status run_dequantize(const bert_kernel_call *call, bert_error *error) {
    const quantize_run run = begin(call, call->inputs[X].dtype);
    run_tasks(&run, dequantize_task);
    return BERT_OK;
}

static bool is_byte(bert_dtype dtype) {
    return dtype == BERT_UINT8 || dtype == BERT_INT8;
}

static bool is_single(const bert_tensor_desc *desc) {
    return bert_cpu_count(desc->dims, 0, desc->rank) == 1;
}

static bert_status plan(const bert_cpu_planner *planner, bert_dtype wide, bert_dtype bytes,
                        bert_status (*run)(const bert_kernel_call *, bert_error *)) {
    const bert_op_node *node = planner->node;
    if (wide != BERT_FLOAT || !bert_cpu_is_float(node, SCALE) || !is_byte(bytes))
        return bert_cpu_leave(planner, "takes float32 and 8 bits");
    if (!is_single(&node->inputs[SCALE]) || BERT_NODE_INT(node, "block_size", 0) != 0)
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
