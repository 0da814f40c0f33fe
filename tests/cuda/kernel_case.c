#include "tests/cuda/kernel_case.h"

#include "core/base/memory.h"
#include "core/graph/ops/loops.h"
#include "cuda/launch.h"
#include "tests/cuda/faults.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = CASE_MOST, PATTERN = 0xa5 };

static struct {
    bool begun;
    bert_op_id op;
    bert_attribute attributes[MOST];
    size_t attribute_count;
    case_tensor *inputs[MOST], *outputs[MOST], *all[2 * MOST];
    int32_t input_count, output_count, all_count;
    uint64_t known[MOST]; /* ids of constants; 0: their content is not known */
    int32_t opset;
    uint32_t seed;
} current;

int case_open(void **state) {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
        printf("skipped: no GPU is here\n");
        exit(77);
    }
    bert_cuda_launch_ahead = bert_cuda_can_launch_ahead();
    return 0;
}

int case_close(void **state) {
    case_end();
    return 0;
}

static void change_order(uint32_t order) {
#ifdef BERT_CUDA_EMULATED
    bert_emulator_order(order % 3); /* ascending, descending, shuffled: results may not depend on it */
#endif
}

/* ---- Building ------------------------------------------------------------------------------------------------------
 */

void case_end(void) {
    for (int32_t i = 0; i < current.all_count; i++) {
        cudaFree(current.all[i]->device);
        free(current.all[i]->host.data);
        free(current.all[i]);
    }
    current.all_count = 0;
}

void case_begin(bert_op_id op) {
    const uint32_t seed = current.seed + 1;
    case_end();
    memset(&current, 0, sizeof current);
    current.op = op;
    current.opset = bert_op_get(op)->until;
    current.seed = seed;
    change_order(seed);
}

void case_opset(int32_t opset) {
    current.opset = opset;
}

static bert_attribute *add_attribute(const char *name, bert_attribute_kind kind) {
    assert_true(current.attribute_count < MOST);
    bert_attribute *attribute = &current.attributes[current.attribute_count++];
    *attribute = (bert_attribute){.name = name, .kind = kind, .count = 1};
    return attribute;
}
void case_int(const char *name, int64_t value) {
    add_attribute(name, BERT_ATTRIBUTE_INT)->value.i = value;
}
void case_float(const char *name, float value) {
    add_attribute(name, BERT_ATTRIBUTE_FLOAT)->value.f = value;
}
void case_string(const char *name, const char *value) {
    bert_attribute *attribute = add_attribute(name, BERT_ATTRIBUTE_STRING);
    attribute->value.s = value;
    attribute->count = strlen(value);
}
void case_ints(const char *name, const int64_t *values, size_t count) {
    bert_attribute *attribute = add_attribute(name, BERT_ATTRIBUTE_INTS);
    attribute->value.ints = values;
    attribute->count = count;
}

static case_tensor *new_tensor(bert_dtype dtype, int32_t rank, const int64_t *dims) {
    assert_true(current.all_count < 2 * MOST);
    case_tensor *tensor = calloc(1, sizeof *tensor);
    current.all[current.all_count++] = tensor;
    tensor->host = (bert_tensor){.dtype = dtype, .rank = rank};
    for (int32_t i = 0; i < rank; i++) tensor->host.dims[i] = dims[i];
    const size_t bytes = bert_tensor_bytes(&tensor->host);
    tensor->host.data = malloc(bytes + 1);
    tensor->tolerance = case_tolerance(dtype);
    memset(tensor->host.data, PATTERN, bytes);
    if (bytes) assert_int_equal(cudaMalloc(&tensor->device, bytes), cudaSuccess);
    return tensor;
}

static void upload(case_tensor *tensor) {
    const size_t bytes = bert_tensor_bytes(&tensor->host);
    if (!bytes) return;
    assert_int_equal(cudaMemcpy(tensor->device, tensor->host.data, bytes, cudaMemcpyHostToDevice), cudaSuccess);
}

/* The same everywhere, in [0, 1). */
static double next_random(void) {
    static uint32_t state = 1;
    state = state * 1664525U + 1013904223U;
    return (double)(state >> 8) * 0x1p-24;
}

case_tensor *case_input(bert_dtype dtype, int32_t rank, const int64_t *dims, float scale) {
    case_tensor *tensor = new_tensor(dtype, rank, dims);
    const int64_t count = bert_tensor_elements(&tensor->host);
    for (int64_t i = 0; i < count; i++) {
        if (bert_dtype_is_float(dtype))
            bert_store(&tensor->host, i, (2 * next_random() - 1) * (double)scale);
        else
            bert_store_integer(&tensor->host, i, (bert_integer)(next_random() * (double)scale));
    }
    upload(tensor);
    current.inputs[current.input_count++] = tensor;
    return tensor;
}

case_tensor *case_input_of(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) {
    case_tensor *tensor = new_tensor(dtype, rank, dims);
    if (bert_tensor_bytes(&tensor->host)) memcpy(tensor->host.data, data, bert_tensor_bytes(&tensor->host));
    upload(tensor);
    current.inputs[current.input_count++] = tensor;
    return tensor;
}

case_tensor *case_input_floats(bert_dtype dtype, int32_t rank, const int64_t *dims, const float *values) {
    case_tensor *tensor = new_tensor(dtype, rank, dims);
    for (int64_t i = 0; i < bert_tensor_elements(&tensor->host); i++) bert_store(&tensor->host, i, (double)values[i]);
    upload(tensor);
    current.inputs[current.input_count++] = tensor;
    return tensor;
}

void case_absent(void) {
    current.inputs[current.input_count++] = NULL;
}

void case_known(void) {
    static uint64_t next_id = 1; /* never that of another case */
    current.known[current.input_count - 1] = next_id++;
}

case_tensor *case_extra(bert_dtype dtype, int32_t rank, const int64_t *dims) {
    case_tensor *tensor = new_tensor(dtype, rank, dims);
    upload(tensor);
    return tensor;
}

case_tensor *case_output(bert_dtype dtype, int32_t rank, const int64_t *dims) {
    case_tensor *tensor = new_tensor(dtype, rank, dims);
    upload(tensor);
    current.outputs[current.output_count++] = tensor;
    return tensor;
}

void case_absent_output(void) {
    current.outputs[current.output_count++] = NULL;
}

/* ---- Comparing -----------------------------------------------------------------------------------------------------
 */

float case_tolerance(bert_dtype dtype) {
    return dtype == BERT_FLOAT      ? 4e-6F
           : dtype == BERT_FLOAT16  ? 1e-3F
           : dtype == BERT_BFLOAT16 ? 8e-3F
           : dtype == BERT_DOUBLE   ? 1e-12F
                                    : 0.0F;
}

/* One side of a node. */
static void describe(case_tensor *const *tensors, int32_t count, bert_tensor *host, bert_tensor *device,
                     bert_tensor_desc *descs) {
    for (int32_t i = 0; i < count; i++) {
        if (!tensors[i]) continue;
        host[i] = device[i] = tensors[i]->host;
        device[i].data = tensors[i]->device;
        descs[i] = (bert_tensor_desc){.dtype = host[i].dtype, .rank = host[i].rank};
        memcpy(descs[i].dims, host[i].dims, sizeof host[i].dims);
    }
}

void case_describe(case_node *out) {
    const bert_op *op = bert_op_get(current.op);
    memset(out, 0, sizeof *out);
    describe(current.inputs, current.input_count, out->inputs, out->device_inputs, out->input_descs);
    describe(current.outputs, current.output_count, out->outputs, out->device_outputs, out->output_descs);
    for (int32_t i = 0; i < current.input_count; i++) {
        const bert_tensor *tensor = &out->inputs[i];
        if (!current.known[i]) continue;
        out->constants[i] = (bert_constant){.id = current.known[i],
                                            .dtype = tensor->dtype,
                                            .rank = tensor->rank,
                                            .data = tensor->data,
                                            .bytes = bert_tensor_bytes(tensor),
                                            .alignment = 8};
        memcpy(out->constants[i].dims, tensor->dims, sizeof tensor->dims);
        out->input_descs[i].constant = &out->constants[i];
    }
    out->node = (bert_op_node){.domain = op->domain,
                               .op_type = op->name,
                               .opset = current.opset,
                               .op_id = (uint32_t)op->id,
                               .name = "node",
                               .attributes = current.attributes,
                               .attribute_count = current.attribute_count,
                               .input_count = current.input_count,
                               .output_count = current.output_count,
                               .inputs = out->input_descs,
                               .outputs = out->output_descs};
}

static void run_reference(void) {
    const bert_op *op = bert_op_get(current.op);
    case_node c;
    bert_error error = {0};
    case_describe(&c);
    const size_t bytes = op->workspace ? op->workspace(&c.node) : 0;
    void *workspace = bytes ? bert_allocate(NULL, bytes, BERT_ALIGNMENT) : NULL;
    const bert_reference_call call = {.op = op,
                                      .opset = current.opset,
                                      .attributes = current.attributes,
                                      .attribute_count = current.attribute_count,
                                      .input_count = current.input_count,
                                      .output_count = current.output_count,
                                      .inputs = c.inputs,
                                      .outputs = c.outputs,
                                      .workspace = workspace,
                                      .error = &error};
    const bert_status status = op->reference(&call);
    bert_deallocate(NULL, workspace, bytes, BERT_ALIGNMENT);
    if (status != BERT_OK) fail_msg("the reference says: %s", error.message);
}

static void download(void *to, const case_tensor *tensor) {
    const size_t bytes = bert_tensor_bytes(&tensor->host);
    if (bytes) assert_int_equal(cudaMemcpy(to, tensor->device, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
}

const void *case_fetch(case_tensor *tensor) {
    download(tensor->host.data, tensor);
    return tensor->host.data;
}

double case_at(const case_tensor *tensor, int64_t index) {
    return bert_load(&tensor->host, index);
}

void case_expect_ranges(case_tensor *y, case_tensor *ranges, int64_t rows, int64_t width, int64_t piece) {
    case_fetch(y);
    const float *found = case_fetch(ranges);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t first = 0; first < width; first += piece, found += 2) {
            double least = 0, most = 0;
            for (int64_t i = first; i < width && i < first + piece; i++) {
                least = fmin(least, case_at(y, row * width + i));
                most = fmax(most, case_at(y, row * width + i));
            }
            assert_true((double)found[0] == least && (double)found[1] == most);
        }
    }
}

static void compare(const case_tensor *expected, int32_t output) {
    bert_tensor got = expected->host;
    got.data = malloc(bert_tensor_bytes(&got) + 1);
    download(got.data, expected);
    for (int64_t i = 0; i < bert_tensor_elements(&got); i++) {
        const double y = bert_load(&got, i), e = bert_load(&expected->host, i);
        const bool exact = expected->tolerance == 0 && !bert_dtype_is_float(got.dtype)
                               ? bert_load_integer(&got, i) == bert_load_integer(&expected->host, i)
                               : y == e || (isnan(y) && isnan(e));
        if (exact || (isfinite(e) && fabs(y - e) <= (double)expected->tolerance * (1 + fabs(e)))) continue;
        free(got.data);
        fail_msg("%s: output %d, element %lld is %.9g, expected %.9g", bert_op_get(current.op)->name, output,
                 (long long)i, y, e);
    }
    free(got.data);
}

void case_good(cudaError_t status) {
    const cudaError_t later = cudaDeviceSynchronize();
    expect_no_faults(bert_op_get(current.op)->name);
    if (status != cudaSuccess) fail_msg("%s", cudaGetErrorString(status));
    if (later != cudaSuccess) fail_msg("%s", cudaGetErrorString(later));
}

void case_compare(cudaError_t status) {
    case_good(status);
    run_reference();
    for (int32_t i = 0; i < current.output_count; i++)
        if (current.outputs[i] && !current.outputs[i]->reference_only) compare(current.outputs[i], i);
}
