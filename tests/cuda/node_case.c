#include "tests/cuda/node_case.h"

#include "core/base/error.h"
#include "core/base/memory.h"
#include "cuda/backend.h"
#include "tests/cuda/halves_case.h"

#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct {
    bert_host host;
    const bert_backend *table;
    bert_device *device;
    bert_precision precision; /* of these two */
    bert_prepared *prepared;
    bert_context *context;
} backend;

static case_node current;
static struct {
    const bert_row_range *ranges;
    int32_t per_row;
} left_ranges;
static struct {
    bert_row_range *ranges;
    int32_t per_row;
} taken_ranges;
/* Of the last plan that was run. */
static uint64_t wide_outputs;

static bool varying;

static void close_session(void) {
    if (backend.context) backend.table->context_free(backend.context);
    if (backend.prepared) backend.table->prepared_free(backend.prepared);
    backend.context = NULL;
    backend.prepared = NULL;
}

static void open_session(bert_precision precision) {
    const bert_prepare_options options = {
        .struct_size = sizeof options, .precision = precision, .deterministic = !varying};
    const bert_context_options context_options = {.struct_size = sizeof context_options};
    bert_error error = {0};
    if (backend.context && backend.precision == precision) return;
    close_session();
    if (backend.table->prepared_create(backend.device, &options, &backend.prepared, &error) != BERT_OK ||
        backend.table->context_create(backend.prepared, &context_options, &backend.context, &error) != BERT_OK)
        fail_msg("%s", error.message);
    backend.precision = precision;
}

int node_case_open(void **state) {
    bert_error error = {0};
    case_open(state);
    backend.host = (bert_host){.struct_size = sizeof backend.host,
                               .abi_version = BERT_BACKEND_ABI_VERSION,
                               .allocator = &bert_default_allocator,
                               .fail = bert_fail};
    backend.table = bert_cuda_backend(BERT_BACKEND_ABI_VERSION);
    if (backend.table->device_open(&backend.host, &backend.device, &error) != BERT_OK) fail_msg("%s", error.message);
    open_session(BERT_PRECISION_FP32);
    return 0;
}

bert_device *node_case_device(void) {
    return backend.device;
}

int node_case_open_varying(void **state) {
    varying = true;
    return node_case_open(state);
}

int node_case_close(void **state) {
    case_close(state);
    close_session();
    backend.table->device_close(backend.device);
    return 0;
}

static bert_status plan_as(bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    *out = (bert_op_plan){0};
    current.node.x_ranges = mode == BERT_PLAN_BIND ? left_ranges.per_row : 0;
    return backend.table->plan(backend.prepared, mode == BERT_PLAN_BIND ? backend.context : NULL, &current.node, mode,
                               out, error);
}

/* All three questions get the same answer. */
static bert_op_plan plan_all(void) {
    bert_op_plan plans[3];
    bert_error error = {0};
    for (int mode = BERT_PLAN_QUERY; mode <= BERT_PLAN_BIND; mode++) {
        if (plan_as((bert_plan_mode)mode, &plans[mode], &error) != BERT_OK) fail_msg("%s", error.message);
        assert_true(plans[mode].run == plans[0].run);
        assert_string_equal(plans[mode].kernel, plans[0].kernel);
        assert_int_equal(plans[mode].unread_inputs, plans[0].unread_inputs);
    }
    return plans[BERT_PLAN_BIND];
}

static bool filled; /* the next run */

static bert_status run(const bert_tensor *given, const bert_tensor *outputs, bert_error *error) {
    bert_tensor inputs[CASE_MOST];
    const bert_op_plan plan = plan_all();
    wide_outputs = plan.wide_outputs;
    if (taken_ranges.ranges) assert_int_equal(plan.y_ranges, taken_ranges.per_row);
    void *workspace = NULL;
    memcpy(inputs, given, sizeof inputs);
    for (int32_t i = 0; i < current.node.input_count; i++) /* what was packed need not be there any more */
        if (plan.unread_inputs >> i & 1) inputs[i].data = NULL;
    if (plan.workspace_bytes) assert_int_equal(cudaMalloc(&workspace, plan.workspace_bytes), cudaSuccess);
    assert_int_equal(cudaDeviceSynchronize(), cudaSuccess); /* the session's stream doesn't wait for copies */
    const bert_kernel_call call = {.plan = &plan,
                                   .context = backend.context,
                                   .inputs = inputs,
                                   .outputs = outputs,
                                   .workspace = workspace,
                                   .x_ranges = left_ranges.ranges,
                                   .y_ranges = taken_ranges.ranges};
    bert_status status = backend.table->run_begin(backend.context, error);
    bool replayed = false;
    const bert_run_steps steps = {.plan = 1, .rows = 1, .filled = true, .apart = true};
    if (status == BERT_OK && filled) status = backend.table->steps_begin(backend.context, &steps, &replayed, error);
    if (status == BERT_OK) status = plan.run(&call, error);
    const bert_status ended = backend.table->run_end(backend.context, status == BERT_OK ? error : NULL);
    cudaFree(workspace);
    if (plan.release_state) plan.release_state(plan.state);
    node_case_give_ranges(NULL, 0);
    node_case_take_ranges(NULL, 0);
    return status == BERT_OK ? ended : status;
}

void node_case_give_ranges(const case_tensor *ranges, int32_t per_row) {
    left_ranges.ranges = ranges ? ranges->device : NULL;
    left_ranges.per_row = per_row;
}

void node_case_take_ranges(const case_tensor *ranges, int32_t per_row) {
    taken_ranges.ranges = ranges ? ranges->device : NULL;
    taken_ranges.per_row = per_row;
}

void node_case_run_filled(void) {
    bert_error error = {0};
    open_session(BERT_PRECISION_FP32);
    case_describe(&current);
    filled = true;
    if (run(current.device_inputs, current.device_outputs, &error) != BERT_OK) fail_msg("%s", error.message);
    filled = false;
}

void node_case_compare(void) {
    bert_error error = {0};
    open_session(BERT_PRECISION_FP32);
    case_describe(&current);
    if (run(current.device_inputs, current.device_outputs, &error) != BERT_OK) fail_msg("%s", error.message);
    case_compare(cudaSuccess);
}

/* Elements as the session has them, in memory of their own: to the device, or back to the case's memory. */
static void exchange(const bert_tensor *host, const bert_tensor *device, bert_tensor *own, bool back) {
    const size_t bytes = bert_tensor_bytes(host);
    bert_error error = {0};
    bert_status status = BERT_OK;
    if (bytes == 0) return;
    void *values = malloc(bytes);
    if (!back) assert_int_equal(cudaMalloc(&own->data, bytes), cudaSuccess);
    status = backend.table->run_begin(backend.context, &error);
    if (status == BERT_OK && back) status = backend.table->download(backend.context, values, own, &error);
    if (status == BERT_OK && !back) status = backend.table->upload(backend.context, own->data, host, &error);
    if (status == BERT_OK) status = backend.table->run_end(backend.context, &error);
    if (status == BERT_OK && back) {
        assert_int_equal(cudaMemcpy(device->data, values, bytes, cudaMemcpyHostToDevice), cudaSuccess);
        cudaFree(own->data);
    }
    free(values);
    if (status != BERT_OK) fail_msg("%s", error.message);
}

void node_case_compare_in(bert_precision precision) {
    bert_tensor inputs[CASE_MOST], outputs[CASE_MOST];
    bert_error error = {0};
    open_session(precision);
    case_describe(&current);
    memcpy(inputs, current.device_inputs, sizeof inputs);
    memcpy(outputs, current.device_outputs, sizeof outputs);
    for (int32_t i = 0; i < current.node.input_count; i++)
        if (inputs[i].dtype != BERT_DTYPE_UNDEFINED) exchange(&current.inputs[i], NULL, &inputs[i], false);
    for (int32_t i = 0; i < current.node.output_count; i++)
        if (outputs[i].dtype != BERT_DTYPE_UNDEFINED) exchange(&current.outputs[i], NULL, &outputs[i], false);
    if (run(inputs, outputs, &error) != BERT_OK) fail_msg("%s", error.message);
    for (int32_t i = 0; i < current.node.output_count; i++)
        if (outputs[i].dtype != BERT_DTYPE_UNDEFINED)
            exchange(&current.outputs[i], &current.device_outputs[i], &outputs[i], true);
    for (int32_t i = 0; i < current.node.input_count; i++) cudaFree(inputs[i].data);
    case_compare(cudaSuccess);
}

static void count_launches(const char *kernel) {
#ifdef BERT_CUDA_EMULATED
    bert_emulator_count(kernel);
#endif
}

static void expect_launches(uint64_t count) {
#ifdef BERT_CUDA_EMULATED
    assert_int_equal(bert_emulator_launches(), count);
    bert_emulator_count(NULL);
#endif
}

void node_case_compare_launching(const char *kernel, uint64_t count) {
    count_launches(kernel);
    node_case_compare();
    expect_launches(count);
}

void node_case_compare_in_launching(bert_precision precision, const char *kernel, uint64_t count) {
    count_launches(kernel);
    node_case_compare_in(precision);
    expect_launches(count);
}

/* An output of float32 as its elements, of which the device has both halves or the upper ones. */
static void join_output(const bert_tensor *host, void *device, bool both) {
    const size_t count = (size_t)bert_tensor_elements(host);
    if (!both) assert_int_equal(cudaMemset((uint16_t *)device + count, 0, 2 * count), cudaSuccess);
    halves_join_all(host, device);
}

void node_case_compare_halves(unsigned wide, unsigned expected_outputs) {
    bert_error error = {0};
    open_session(BERT_PRECISION_BF16);
    case_describe(&current);
    for (int32_t i = 0; i < current.node.input_count; i++) {
        if (current.inputs[i].dtype != BERT_FLOAT) continue;
        current.input_descs[i].wide = wide >> i & 1 && !current.input_descs[i].constant;
        halves_put(&current.inputs[i], current.device_inputs[i].data, wide >> i & 1);
    }
    if (run(current.device_inputs, current.device_outputs, &error) != BERT_OK) fail_msg("%s", error.message);
    for (int32_t i = 0; i < current.node.output_count; i++) {
        const bool both = expected_outputs >> i & 1;
        if (current.outputs[i].dtype == BERT_DTYPE_UNDEFINED) continue;
        assert_int_equal(wide_outputs >> i & 1, both);
        if (current.outputs[i].dtype == BERT_FLOAT)
            join_output(&current.outputs[i], current.device_outputs[i].data, both);
    }
    case_compare(cudaSuccess);
}

void node_case_compare_wide(unsigned wide) {
    node_case_compare_halves(wide, UINT_MAX);
}

void node_case_expect_invalid(const char *text) {
    bert_error error = {0};
    open_session(BERT_PRECISION_FP32);
    case_describe(&current);
    assert_int_equal(run(current.device_inputs, current.device_outputs, &error), BERT_INVALID_INPUT);
    if (!strstr(error.message, text)) fail_msg("\"%s\" doesn't say \"%s\"", error.message, text);
    case_good(cudaSuccess);
}

static void expect_left(bert_plan_mode mode, const char *text) {
    bert_error error = {0};
    bert_op_plan plan;
    assert_int_equal(plan_as(mode, &plan, &error), BERT_UNSUPPORTED);
    if (!strstr(error.message, text)) fail_msg("\"%s\" doesn't say \"%s\"", error.message, text);
    assert_null(plan.state);
}

void node_case_expect_left(const char *text) {
    case_describe(&current);
    for (int mode = BERT_PLAN_QUERY; mode <= BERT_PLAN_BIND; mode++) expect_left((bert_plan_mode)mode, text);
}

void node_case_expect_left_when_asked(const char *text) {
    bert_error error = {0};
    bert_op_plan plan;
    case_describe(&current);
    expect_left(BERT_PLAN_QUERY, text);
    if (plan_as(BERT_PLAN_BIND, &plan, &error) != BERT_OK) fail_msg("%s", error.message);
    if (plan.release_state) plan.release_state(plan.state);
}

void node_case_expect_too_large(void) {
    case_describe(&current);
    expect_left(BERT_PLAN_BIND, "can't hold an input of this size");
}
