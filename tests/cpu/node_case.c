#include "tests/cpu/node_case.h"

#include "core/base/cpu_features.h"
#include "core/base/error.h"
#include "core/base/float16.h"
#include "core/base/memory.h"
#include "core/base/thread_pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels/kernels.h"
#include "cpu/narrow.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 16 };

static struct {
    bert_host host;
    bert_device *device;
    bert_prepared *prepared;
    bert_context *context;
    bert_thread_pool *pool;
    bool bf16_attention;
} backend;

/* A prepared model of these options, in place of the one that there was. */
static bert_status new_prepared(bert_precision precision, bool deterministic) {
    const bert_prepare_options options = {
        .struct_size = sizeof options, .precision = precision, .deterministic = deterministic};
    if (backend.context) bert_cpu_backend.context_free(backend.context);
    if (backend.prepared) bert_cpu_backend.prepared_free(backend.prepared);
    backend.context = NULL;
    backend.prepared = NULL;
    return bert_cpu_backend.prepared_create(backend.device, &options, &backend.prepared, NULL);
}

static struct {
    bool begun;
    bert_op_node node;
    bert_attribute attributes[MOST];
    bert_constant constants[MOST];
    bert_tensor_desc input_descs[MOST], output_descs[MOST];
    bert_tensor inputs[MOST], outputs[MOST], expected[MOST];
    bert_guarded memory[3 * MOST];
    size_t memory_count;
    bert_op_plan plan;
    bert_guarded workspace;
    void *workspace_data;
    bert_row_range *x_ranges; /* [rows of input 0, node.x_ranges] */
    bert_guarded y_ranges_memory;
    bert_row_range *y_ranges; /* [rows of output 0, plan.y_ranges] */
} current;

static uint64_t next_id = 1000;
static uint32_t random_state;

void node_case_seed(uint32_t seed) {
    random_state = seed;
}

int64_t node_case_draw(int64_t least, int64_t most) {
    random_state = random_state * 1664525U + 1013904223U;
    return least + (int64_t)((uint64_t)(random_state >> 8) * (uint64_t)(most - least + 1) >> 24);
}

int node_open(void **state) {
    bert_error error = {0};
    backend.host = (bert_host){.struct_size = sizeof backend.host,
                               .abi_version = BERT_BACKEND_ABI_VERSION,
                               .allocator = &bert_default_allocator,
                               .fail = bert_fail};
    assert_int_equal(bert_cpu_backend.device_open(&backend.host, &backend.device, &error), BERT_OK);
    assert_int_equal(new_prepared(BERT_PRECISION_FP32, false), BERT_OK);
    node_backend_threads(1);
    return 0;
}

static bert_status new_context(int threads) {
    if (backend.context) bert_cpu_backend.context_free(backend.context);
    bert_thread_pool_free(backend.pool);
    backend.pool = NULL;
    backend.context = NULL;
    if (threads > 1) assert_int_equal(bert_thread_pool_create(threads, NULL, &backend.pool, NULL), BERT_OK);
    const bert_context_options options = {.struct_size = sizeof options,
                                          .threads = backend.pool,
                                          .attention_precision =
                                              backend.bf16_attention ? BERT_PRECISION_BF16 : BERT_PRECISION_FP32};
    return bert_cpu_backend.context_create(backend.prepared, &options, &backend.context, NULL);
}

void node_backend_threads(int threads) {
    node_case_end();
    if (backend.context && threads == bert_thread_pool_threads(backend.pool)) return;
    assert_int_equal(new_context(threads), BERT_OK);
}

bool node_backend_bf16_attention(bool wanted) {
    const int threads = bert_thread_pool_threads(backend.pool);
    node_case_end();
    backend.bf16_attention = wanted;
    if (new_context(threads) == BERT_OK) return true;
    assert_true(wanted);
    node_backend_bf16_attention(false);
    return false;
}

bool node_backend_precision(bert_precision precision, bool deterministic) {
    node_case_end();
    const bool known = new_prepared(precision, deterministic) == BERT_OK;
    if (!known) assert_int_equal(new_prepared(BERT_PRECISION_FP32, false), BERT_OK);
    assert_int_equal(new_context(bert_thread_pool_threads(backend.pool)), BERT_OK);
    return known;
}

bool node_attention_by_openblas(void) {
    const char *isa = getenv("BERT_CPU_ISA"); /* node_run_tests has set it */
    if (!isa || strcmp(isa, bert_isa_name(BERT_ISA_SCALAR)) != 0) return false;
    print_message("skipped: OpenBLAS multiplies here, and promises no bits\n");
    return true;
}

static int close_backend(void **state) {
    node_case_end();
    bert_cpu_backend.context_free(backend.context);
    bert_thread_pool_free(backend.pool);
    bert_cpu_backend.prepared_free(backend.prepared);
    bert_cpu_backend.device_close(backend.device);
    memset(&backend, 0, sizeof backend);
    return 0;
}

int node_run_tests(const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup, bool providers) {
    static const char *const names[] = {"openblas", "own", "split"};
    int failed = 0;
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        const char *isa_name = bert_isa_name((bert_isa)isa);
        if (!bert_isa_present((bert_isa)isa)) {
            print_message("skipped: %s: this machine doesn't have it\n", isa_name);
            continue;
        }
        setenv("BERT_CPU_ISA", isa_name, 1);
        for (int provider = 0; provider < (providers ? 3 : 1); provider++) {
            if (providers) setenv("BERT_CPU_GEMM", names[provider], 1);
            print_message("%s%s%s\n", isa_name, providers ? ", " : "", providers ? names[provider] : "");
            failed += _cmocka_run_group_tests(isa_name, tests, count, setup, close_backend);
        }
    }
    return failed;
}

size_t node_backend_bytes(void) {
    return bert_cpu_backend.prepared_bytes(backend.prepared);
}

/* ---- Building a case --------------------------------------------------------------------------------------------- */

void node_case_begin(bert_op_id op) {
    node_case_end();
    memset(&current, 0, sizeof current);
    const bert_op *row = bert_op_get(op);
    current.begun = true;
    current.node = (bert_op_node){.domain = row->domain,
                                  .op_type = row->name,
                                  .opset = row->until,
                                  .op_id = (uint32_t)op,
                                  .name = "node",
                                  .attributes = current.attributes,
                                  .inputs = current.input_descs,
                                  .outputs = current.output_descs};
}

void node_case_opset(int32_t opset) {
    current.node.opset = opset;
}

static void release_plan(void) {
    if (current.plan.release_state) current.plan.release_state(current.plan.state);
    if (current.workspace_data) guarded_free(&current.workspace);
    current.workspace_data = NULL;
    if (current.y_ranges) guarded_free(&current.y_ranges_memory);
    current.y_ranges = NULL;
    current.plan = (bert_op_plan){0};
}

void node_case_end(void) {
    if (!current.begun) return;
    release_plan();
    for (size_t i = 0; i < current.memory_count; i++) guarded_free(&current.memory[i]);
    current.begun = false;
}

static bert_attribute *add_attribute(const char *name, bert_attribute_kind kind) {
    assert_true(current.node.attribute_count < MOST);
    bert_attribute *attribute = &current.attributes[current.node.attribute_count++];
    *attribute = (bert_attribute){.name = name, .kind = kind, .count = 1};
    return attribute;
}

void node_case_int(const char *name, int64_t value) {
    add_attribute(name, BERT_ATTRIBUTE_INT)->value.i = value;
}

void node_case_float(const char *name, float value) {
    add_attribute(name, BERT_ATTRIBUTE_FLOAT)->value.f = value;
}

void node_case_string(const char *name, const char *value) {
    bert_attribute *attribute = add_attribute(name, BERT_ATTRIBUTE_STRING);
    attribute->value.s = value;
    attribute->count = strlen(value);
}

void node_case_ints(const char *name, const int64_t *values, size_t count) {
    bert_attribute *attribute = add_attribute(name, BERT_ATTRIBUTE_INTS);
    attribute->value.ints = values;
    attribute->count = count;
}

void node_case_absent(void) {
    current.node.input_count++;
}

static void *new_memory(size_t bytes) {
    assert_true(current.memory_count < 3 * MOST);
    return guarded_new(&current.memory[current.memory_count++], bytes);
}

void node_case_input(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) {
    const int32_t at = current.node.input_count++;
    bert_tensor *tensor = &current.inputs[at];
    *tensor = (bert_tensor){.dtype = dtype, .rank = rank};
    current.input_descs[at] = (bert_tensor_desc){.dtype = dtype, .rank = rank};
    for (int32_t i = 0; i < rank; i++) tensor->dims[i] = current.input_descs[at].dims[i] = dims[i];
    const size_t bytes = (size_t)bert_tensor_elements(tensor) * bert_dtype_size(dtype);
    tensor->data = new_memory(bytes);
    if (bytes) memcpy(tensor->data, data, bytes);
}

static bert_constant *add_constant(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) {
    node_case_input(dtype, rank, dims, data);
    const int32_t at = current.node.input_count - 1;
    bert_constant *constant = &current.constants[at];
    *constant = (bert_constant){.id = next_id++,
                                .dtype = dtype,
                                .rank = rank,
                                .data = current.inputs[at].data,
                                .bytes = (size_t)bert_tensor_elements(&current.inputs[at]) * bert_dtype_size(dtype),
                                .alignment = bert_dtype_size(dtype)};
    for (int32_t i = 0; i < rank; i++) constant->dims[i] = dims[i];
    current.input_descs[at].constant = constant;
    return constant;
}

void node_case_constant(int32_t rank, const int64_t *dims, const float *data) {
    add_constant(BERT_FLOAT, rank, dims, data);
}

void node_case_constant_of(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) {
    add_constant(dtype, rank, dims, data);
}

void node_case_unaligned(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data, uint64_t id) {
    bert_constant *constant = add_constant(dtype, rank, dims, data);
    unsigned char *bytes = new_memory(constant->bytes + 1);
    memcpy(bytes, data, constant->bytes);
    constant->data = bytes;
    constant->alignment = 1;
    if (id) constant->id = id;
}

void node_case_output(int32_t rank, const int64_t *dims) {
    node_case_output_of(BERT_FLOAT, rank, dims);
}

void node_case_output_of(bert_dtype dtype, int32_t rank, const int64_t *dims) {
    const int32_t at = current.node.output_count++;
    bert_tensor *tensor = &current.outputs[at];
    *tensor = (bert_tensor){.dtype = dtype, .rank = rank};
    current.output_descs[at] = (bert_tensor_desc){.dtype = dtype, .rank = rank};
    for (int32_t i = 0; i < rank; i++) tensor->dims[i] = current.output_descs[at].dims[i] = dims[i];
    current.expected[at] = *tensor;
    const size_t bytes = (size_t)bert_tensor_elements(tensor) * bert_dtype_size(dtype);
    tensor->data = new_memory(bytes);
    current.expected[at].data = new_memory(bytes);
}

/* ---- Ranges of rows ---------------------------------------------------------------------------------------------- */

static int64_t width_of(const bert_tensor *tensor) {
    return tensor->rank > 0 ? tensor->dims[tensor->rank - 1] : 1;
}

static int64_t rows_of(const bert_tensor *tensor) {
    return tensor->rank > 0 ? bert_tensor_elements(tensor) / (width_of(tensor) > 0 ? width_of(tensor) : 1) : 1;
}

static bert_row_range range_of(const float *x, int64_t count) {
    bert_row_range range;
    bert_cpu_kernels_scalar.range(&(bert_range_args){.ranges = &range, .x = x, .rows = 1, .n = count});
    return range;
}

void node_case_x_ranges(int32_t count, float wider) {
    const bert_tensor *x = &current.inputs[0];
    const int64_t rows = rows_of(x), width = width_of(x);
    current.node.x_ranges = count;
    current.x_ranges = new_memory((size_t)(rows * count) * sizeof *current.x_ranges);
    for (int64_t i = 0; i < rows * count; i++) {
        const int64_t part = i % count, first = width * part / count, end = width * (part + 1) / count;
        current.x_ranges[i] = range_of((const float *)x->data + i / count * width + first, end - first);
        current.x_ranges[i].least *= wider;
        current.x_ranges[i].most *= wider;
    }
}

/* Ranges that the kernel gave are those of what it wrote. */
static void check_y_ranges(void) {
    const bert_tensor *y = &current.outputs[0];
    const int64_t width = width_of(y);
    for (int64_t row = 0; current.y_ranges && row < rows_of(y); row++) {
        const bert_row_range expected = range_of((const float *)y->data + row * width, width);
        bert_row_range all = {0.0F, 0.0F};
        for (int32_t i = 0; i < current.plan.y_ranges; i++) {
            const bert_row_range part = current.y_ranges[row * current.plan.y_ranges + i];
            assert_true(part.least <= 0.0F && part.most >= 0.0F); /* written, and not NaN */
            all.least = fminf(all.least, part.least);
            all.most = fmaxf(all.most, part.most);
        }
        assert_true(all.least == expected.least && all.most == expected.most);
    }
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static bert_status plan_as(bert_plan_mode mode, bert_op_plan *out) {
    *out = (bert_op_plan){0};
    return bert_cpu_backend.plan(backend.prepared, mode == BERT_PLAN_BIND ? backend.context : NULL, &current.node, mode,
                                 out, NULL);
}

/* All three questions get the same answer. */
static void plan_all(void) {
    bert_op_plan query, prepare;
    release_plan();
    assert_int_equal(plan_as(BERT_PLAN_QUERY, &query), BERT_OK);
    assert_int_equal(plan_as(BERT_PLAN_PREPARE, &prepare), BERT_OK);
    const size_t packed = node_backend_bytes();
    assert_int_equal(plan_as(BERT_PLAN_BIND, &current.plan), BERT_OK);
    assert_int_equal(node_backend_bytes(), packed); /* found, not packed again */
    assert_true(query.run == current.plan.run && prepare.run == current.plan.run);
    if (strncmp(query.kernel, "attention/", 10) != 0) /* a context and the number of keys decide its form */
        assert_string_equal(query.kernel, current.plan.kernel);
    assert_int_equal(prepare.unread_inputs, current.plan.unread_inputs);
    assert_null(query.state);
    assert_null(prepare.state);
    if (current.plan.workspace_bytes)
        current.workspace_data = memset(guarded_new(&current.workspace, current.plan.workspace_bytes), 0xff,
                                        current.plan.workspace_bytes); /* NaN */
    if (current.plan.y_ranges == 0) return;
    const size_t ranges = (size_t)(rows_of(&current.outputs[0]) * current.plan.y_ranges);
    current.y_ranges = guarded_new(&current.y_ranges_memory, ranges * sizeof *current.y_ranges);
    memset(current.y_ranges, 0xff, ranges * sizeof *current.y_ranges); /* NaN, which the kernel replaces */
}

/* Rows of floats as bfloat16, `bytes` bytes each; an odd number of them is filled up by a zero. */
static void expect_halves(const bert_tensor *tensor, const uint8_t *rows, int64_t bytes) {
    const int64_t width = tensor->dims[tensor->rank - 1];
    for (int64_t i = 0; i < rows_of(tensor) * width; i++) {
        uint16_t found;
        memcpy(&found, rows + i / width * bytes + i % width * (int64_t)sizeof found, sizeof found);
        assert_int_equal(found, bert_float_to_bfloat16(((const float *)tensor->data)[i]));
    }
    for (int64_t row = 0; width % 2 && row < rows_of(tensor); row++) {
        uint16_t last;
        memcpy(&last, rows + row * bytes + width * (int64_t)sizeof last, sizeof last);
        assert_int_equal(last, 0);
    }
}

/* Runs with the second form of input and output, as far as the plan has these: made by the node, which must give what
 * the floats round to; then with that of x alone, and asked for that of y alone, which changes no bit. */
static bert_status run_with_rows(bert_kernel_call *call, bert_error *error) {
    const bert_op_plan *plan = &current.plan;
    bert_tensor *inputs = (bert_tensor *)call->inputs, *y = &current.outputs[0];
    const size_t y_bytes = (size_t)(rows_of(y) * plan->y_bytes);
    bert_guarded memory[4];
    float scales; /* nobody reads them */
    call->x_bytes = (bert_byte_rows){guarded_new(&memory[0], (size_t)(rows_of(inputs) * plan->x_bytes)), &scales};
    uint8_t *y_rows = guarded_new(&memory[1], y_bytes);
    if (plan->y_bytes) call->y_bytes = (bert_byte_rows){y_rows, &scales};
    bert_status status = plan->run(call, error);
    if (status == BERT_OK && plan->y_bytes) expect_halves(y, call->y_bytes.bytes, plan->y_bytes);
    if (status == BERT_OK && plan->x_bytes) {
        const size_t bytes = bert_tensor_bytes(y);
        void *kept = memcpy(guarded_new(&memory[2], bytes), y->data, bytes);
        expect_halves(inputs, call->x_bytes.bytes, plan->x_bytes);
        inputs[0].data = NULL;
        call->x_bytes_made = true;
        status = plan->run(call, error);
        assert_memory_equal(y->data, kept, bytes);
        guarded_free(&memory[2]);
    }
    if (status == BERT_OK && plan->y_bytes) {
        call->y_unread = true;
        memset(call->y_bytes.bytes, 0xee, y_bytes);
        const bert_tensor whole = *y;
        bert_tensor unread = *y;
        unread.data = guarded_new(&memory[3], bert_tensor_bytes(y)); /* it may write that, or not */
        call->outputs = &unread;
        status = plan->run(call, error);
        expect_halves(&whole, call->y_bytes.bytes, plan->y_bytes);
        guarded_free(&memory[3]);
    }
    guarded_free(&memory[0]);
    guarded_free(&memory[1]);
    return status;
}

static bert_status run_backend(bert_error *error) {
    plan_all();
    bert_tensor inputs[MOST];
    memcpy(inputs, current.inputs, sizeof inputs);
    for (int32_t i = 0; i < current.node.input_count; i++) /* what was packed need not be there any more */
        if (current.plan.unread_inputs >> i & 1) inputs[i].data = NULL;
    for (int32_t i = current.node.input_count; i < MOST; i++) /* what a node doesn't list is nobody's to read */
        inputs[i] = (bert_tensor){.dtype = BERT_UINT8, .rank = -1, .data = (void *)(uintptr_t)1};
    bert_kernel_call call = {.plan = &current.plan,
                             .context = backend.context,
                             .inputs = inputs,
                             .outputs = current.outputs,
                             .workspace = current.workspace_data,
                             .x_ranges = current.x_ranges,
                             .y_ranges = current.y_ranges};
    const bool rows = current.plan.x_bytes || current.plan.y_bytes;
    const bert_status status = rows ? run_with_rows(&call, error) : current.plan.run(&call, error);
    if (status == BERT_OK) check_y_ranges();
    return status;
}

static void run_reference(void) {
    const bert_op *op = bert_op_get((bert_op_id)current.node.op_id);
    bert_error error = {0};
    void *workspace = NULL;
    const size_t bytes = op->workspace ? op->workspace(&current.node) : 0;
    if (bytes) workspace = bert_allocate(NULL, bytes, BERT_ALIGNMENT);
    const bert_reference_call call = {.op = op,
                                      .opset = current.node.opset,
                                      .attributes = current.attributes,
                                      .attribute_count = current.node.attribute_count,
                                      .input_count = current.node.input_count,
                                      .output_count = current.node.output_count,
                                      .inputs = current.inputs,
                                      .outputs = current.expected,
                                      .workspace = workspace,
                                      .error = &error};
    if (op->reference(&call) != BERT_OK) fail_msg("the reference says: %s", error.message);
    bert_deallocate(NULL, workspace, bytes, BERT_ALIGNMENT);
}

const float *node_case_run(void) {
    bert_error error = {0};
    if (run_backend(&error) != BERT_OK) fail_msg("%s", error.message);
    return current.outputs[0].data;
}

int32_t node_case_y_ranges(void) {
    return current.plan.y_ranges;
}

int64_t node_case_x_bytes(void) {
    return current.plan.x_bytes;
}

int64_t node_case_y_bytes(void) {
    return current.plan.y_bytes;
}

const char *node_case_kernel(void) {
    return current.plan.kernel;
}

static float float_at(const bert_tensor *tensor, size_t index) {
    if (tensor->dtype == BERT_FLOAT) return ((const float *)tensor->data)[index];
    const uint16_t bits = ((const uint16_t *)tensor->data)[index];
    return tensor->dtype == BERT_FLOAT16 ? bert_half_to_float(bits) : bert_bfloat16_to_float(bits);
}

void node_case_compare(float tolerance) {
    node_case_run();
    run_reference();
    for (int32_t output = 0; output < current.node.output_count; output++) {
        const bert_tensor *y = &current.outputs[output], *expected = &current.expected[output];
        const size_t elements = (size_t)bert_tensor_elements(y);
        if (y->dtype != BERT_FLOAT && !bert_cpu_is_narrow(y->dtype)) {
            if (elements) assert_memory_equal(y->data, expected->data, elements * bert_dtype_size(y->dtype));
            continue;
        }
        for (size_t i = 0; i < elements; i++) {
            const float found = float_at(y, i), wanted = float_at(expected, i);
            if (isnan(wanted) && isnan(found)) continue;
            if (found == wanted) continue;
            if (isfinite(wanted) && fabsf(found - wanted) <= tolerance * (1.0F + fabsf(wanted))) continue;
            fail_msg("%s: output %d, element %zu is %.9g, expected %.9g", current.node.op_type, output, i,
                     (double)found, (double)wanted);
        }
    }
}

void node_case_expect_fails(bert_status status, const char *text) {
    bert_error error = {0};
    assert_int_equal(run_backend(&error), status);
    if (!strstr(error.message, text)) fail_msg("\"%s\" doesn't say \"%s\"", error.message, text);
}

void node_case_expect_left(void) {
    bert_op_plan plan;
    assert_int_equal(plan_as(BERT_PLAN_QUERY, &plan), BERT_UNSUPPORTED);
    assert_int_equal(plan_as(BERT_PLAN_BIND, &plan), BERT_UNSUPPORTED);
    assert_null(plan.state);
}
