#include "tests/graph/op_case.h"

#include "core/base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 24 };

static struct {
    bool begun, inferred, ran;
    bert_arena arena;
    bert_symbols *symbols;
    const bert_op *op;
    int32_t opset;
    bert_value_info infos[MOST];
    const bert_value_info *inputs[MOST];
    int32_t input_count;
    bert_value_info results[MOST];
    bert_value_info *outputs[MOST];
    bert_tensor tensors[MOST];
    int32_t output_count;
    bert_attribute attributes[MOST];
    size_t attribute_count;
    bert_error error;
} current;

void op_case_begin(const char *op, int32_t opset) {
    op_case_begin_in("", op, opset);
}

void op_case_begin_in(const char *domain, const char *op, int32_t opset) {
    op_case_end();
    memset(&current, 0, sizeof current);
    bert_arena_init(&current.arena, NULL);
    current.symbols = bert_symbols_create(&current.arena);
    assert_non_null(current.symbols);
    current.op = bert_op_find(domain, op);
    assert_non_null(current.op);
    current.opset = opset;
    current.begun = true;
    op_case_outputs(1);
}

void op_case_end(void) {
    if (current.begun) bert_arena_free(&current.arena);
    current.begun = false;
}

int op_case_teardown(void **state) {
    op_case_end();
    return 0;
}

void op_case_outputs(int32_t count) {
    current.output_count = count;
    for (int32_t i = 0; i < count; i++) current.outputs[i] = &current.results[i];
}

void op_case_unread(int32_t output) {
    current.outputs[output] = NULL;
}

/* "12", "batch" or "sequence + 3". */
static bert_dim parse_dim(char *word) {
    char *end;
    long long number = strtoll(word, &end, 10);
    if (!*end) return bert_dim_of(number);
    char *plus = strstr(word, " + ");
    if (plus) {
        *plus = '\0';
        number = strtoll(plus + 3, &end, 10);
        assert_int_equal(*end, '\0');
    }
    if (*word == '-') return bert_dim_subtract(current.symbols, 0, bert_dim_named(current.symbols, word + 1));
    const bert_dim name = bert_dim_named(current.symbols, word);
    return plus ? bert_dim_add(current.symbols, name, number) : name;
}

/* "batch,12,-1" as dimensions. */
static int32_t parse(const char *text, bert_dim *out, int32_t capacity) {
    int32_t count = 0;
    while (*text) {
        char word[64];
        size_t length = strcspn(text, ",");
        assert_true(length < sizeof word && count < capacity);
        memcpy(word, text, length);
        word[length] = '\0';
        out[count++] = strcmp(word, "?") == 0 ? bert_dim_fresh(current.symbols) : parse_dim(word);
        text += length + (text[length] == ',');
    }
    return count;
}

static bert_value_info *next_input(bert_dtype dtype, const char *shape) {
    bert_value_info *info = &current.infos[current.input_count];
    info->dtype = dtype;
    info->shape.rank = strcmp(shape, "*") == 0 ? -1 : parse(shape, info->shape.dims, BERT_MAX_RANK);
    current.inputs[current.input_count++] = info;
    return info;
}

void op_case_input(bert_dtype dtype, const char *shape) {
    next_input(dtype, shape);
}

void op_case_absent(void) {
    current.inputs[current.input_count++] = NULL;
}

void op_case_vector(const char *elements) {
    bert_dim values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = parse(elements, values, BERT_MAX_TRACKED_ELEMENTS);
    bert_value_info *info = next_input(BERT_INT64, "0");
    bert_dim *kept = BERT_ARENA_NEW_ARRAY(&current.arena, bert_dim, (size_t)count + 1);
    memcpy(kept, values, (size_t)count * sizeof *kept);
    info->shape.dims[0] = count;
    info->elements = kept;
    info->element_count = count;
}

void op_case_scalar(const char *element) {
    op_case_vector(element);
    bert_value_info *info = &current.infos[current.input_count - 1];
    assert_int_equal(info->element_count, 1);
    info->shape.rank = 0;
}

static const bert_constant *make_constant(bert_dtype dtype, const char *shape, const void *data) {
    bert_constant *constant = BERT_ARENA_NEW(&current.arena, bert_constant);
    constant->dtype = dtype;
    constant->rank = parse(shape, constant->dims, BERT_MAX_RANK);
    constant->data = data;
    constant->alignment = 8;
    constant->bytes = (size_t)bert_constant_elements(constant) * bert_dtype_size(dtype);
    return constant;
}

void op_case_tensor(bert_dtype dtype, const char *shape, const void *data) {
    next_input(dtype, shape)->constant = make_constant(dtype, shape, data);
}

static bert_attribute *next_attribute(const char *name, bert_attribute_kind kind) {
    bert_attribute *attribute = &current.attributes[current.attribute_count++];
    *attribute = (bert_attribute){.name = name, .kind = kind, .count = 1};
    return attribute;
}

void op_case_int(const char *name, int64_t value) {
    next_attribute(name, BERT_ATTRIBUTE_INT)->value.i = value;
}

void op_case_float(const char *name, float value) {
    next_attribute(name, BERT_ATTRIBUTE_FLOAT)->value.f = value;
}

void op_case_ints(const char *name, const int64_t *values, size_t count) {
    bert_attribute *attribute = next_attribute(name, BERT_ATTRIBUTE_INTS);
    attribute->value.ints = values;
    attribute->count = count;
}

void op_case_string(const char *name, const char *value) {
    bert_attribute *attribute = next_attribute(name, BERT_ATTRIBUTE_STRING);
    attribute->value.s = value;
    attribute->count = strlen(value);
}

void op_case_constant(const char *name, bert_dtype dtype, const char *shape, const void *data) {
    next_attribute(name, BERT_ATTRIBUTE_TENSOR)->value.tensor = make_constant(dtype, shape, data);
}

void op_case_branch(const char *name, bert_dtype dtype, const char *const *shapes, int32_t count) {
    bert_block *block = BERT_ARENA_NEW(&current.arena, bert_block);
    block->outputs = BERT_ARENA_NEW_ARRAY(&current.arena, bert_value *, (size_t)count);
    block->output_count = count;
    for (int32_t i = 0; i < count; i++) {
        bert_value *value = BERT_ARENA_NEW(&current.arena, bert_value);
        value->info.dtype = dtype;
        value->info.shape.rank = parse(shapes[i], value->info.shape.dims, BERT_MAX_RANK);
        block->outputs[i] = value;
    }
    next_attribute(name, BERT_ATTRIBUTE_GRAPH)->value.graph = block;
}

static bert_status infer(void) {
    bert_inference in = {.op = current.op,
                         .opset = current.opset,
                         .attributes = current.attributes,
                         .attribute_count = current.attribute_count,
                         .input_count = current.input_count,
                         .output_count = current.output_count,
                         .inputs = current.inputs,
                         .outputs = current.outputs,
                         .symbols = current.symbols,
                         .arena = &current.arena,
                         .error = &current.error};
    current.inferred = true;
    return bert_infer_outputs(&in);
}

static void infer_well(void) {
    if (current.inferred) return;
    bert_status status = infer();
    if (status != BERT_OK) fail_msg("%s", current.error.message);
}

static void format(const bert_dim *dims, int32_t count, char *out, size_t capacity) {
    size_t length = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < count; i++) {
        char dim[128];
        bert_dim_format(current.symbols, dims[i], dim, sizeof dim);
        length += (size_t)snprintf(out + length, capacity - length, "%s%s", i ? "," : "", dim[0] == '?' ? "?" : dim);
    }
}

void op_case_expect(int32_t output, bert_dtype dtype, const char *shape) {
    infer_well();
    char found[1024] = "*";
    const bert_value_info *info = &current.results[output];
    if (info->shape.rank >= 0) format(info->shape.dims, info->shape.rank, found, sizeof found);
    assert_string_equal(found, shape);
    assert_string_equal(bert_dtype_name(info->dtype), bert_dtype_name(dtype));
}

void op_case_expect_elements(int32_t output, const char *elements) {
    infer_well();
    char found[4096];
    const bert_value_info *info = &current.results[output];
    if (!elements) {
        assert_null(info->elements);
        return;
    }
    assert_non_null(info->elements);
    format(info->elements, info->element_count, found, sizeof found);
    assert_string_equal(found, elements);
}

void op_case_expect_refused(bert_status status, const char *text) {
    assert_int_equal(infer(), status);
    if (!strstr(current.error.message, text)) fail_msg("\"%s\" does not hold \"%s\"", current.error.message, text);
}

static void describe(const bert_tensor *tensors, int32_t count, bert_tensor_desc *out) {
    for (int32_t i = 0; i < count; i++) {
        out[i] = (bert_tensor_desc){.dtype = tensors[i].dtype, .rank = tensors[i].rank};
        memcpy(out[i].dims, tensors[i].dims, sizeof out[i].dims);
    }
}

static void *make_workspace(const bert_tensor *inputs) {
    bert_tensor_desc input_descs[MOST];
    bert_tensor_desc output_descs[MOST];
    describe(inputs, current.input_count, input_descs);
    describe(current.tensors, current.output_count, output_descs);
    bert_op_node node = {.domain = current.op->domain,
                         .op_type = current.op->name,
                         .opset = current.opset,
                         .op_id = current.op->id,
                         .name = "",
                         .attributes = current.attributes,
                         .attribute_count = current.attribute_count,
                         .input_count = current.input_count,
                         .output_count = current.output_count,
                         .inputs = input_descs,
                         .outputs = output_descs};
    return bert_arena_allocate(&current.arena, current.op->workspace(&node), BERT_ALIGNMENT);
}

static bert_status run(void) {
    bert_tensor inputs[MOST] = {{0}};
    infer_well();
    for (int32_t i = 0; i < current.input_count; i++) {
        if (!current.inputs[i]) continue;
        const bert_constant *constant = current.inputs[i]->constant;
        assert_non_null(constant);
        inputs[i] = (bert_tensor){.dtype = constant->dtype, .rank = constant->rank};
        memcpy(inputs[i].dims, constant->dims, sizeof inputs[i].dims);
        inputs[i].data = bert_arena_allocate(&current.arena, constant->bytes, BERT_ALIGNMENT);
        if (constant->bytes) memcpy(inputs[i].data, constant->data, constant->bytes);
    }
    for (int32_t i = 0; i < current.output_count; i++) {
        bert_tensor *tensor = &current.tensors[i];
        *tensor = (bert_tensor){.dtype = BERT_DTYPE_UNDEFINED};
        if (!current.outputs[i]) continue;
        const bert_shape *shape = &current.results[i].shape;
        assert_true(shape->rank >= 0);
        *tensor = (bert_tensor){.dtype = current.results[i].dtype, .rank = shape->rank};
        for (int32_t j = 0; j < shape->rank; j++) {
            assert_true(bert_dim_known(shape->dims[j]));
            tensor->dims[j] = shape->dims[j];
        }
        const size_t bytes = bert_tensor_bytes(tensor);
        tensor->data = bert_arena_allocate(&current.arena, bytes, BERT_ALIGNMENT);
        memset(tensor->data, 0xa5, bytes);
    }
    bert_reference_call call = {.op = current.op,
                                .opset = current.opset,
                                .attributes = current.attributes,
                                .attribute_count = current.attribute_count,
                                .input_count = current.input_count,
                                .output_count = current.output_count,
                                .inputs = inputs,
                                .outputs = current.tensors,
                                .error = &current.error};
    current.ran = true;
    if (current.op->workspace) call.workspace = make_workspace(inputs);
    return current.op->reference(&call);
}

const void *op_case_run(void) {
    if (!current.ran) {
        bert_status status = run();
        if (status != BERT_OK) fail_msg("%s", current.error.message);
    }
    return current.tensors[0].data;
}

const bert_tensor *op_case_output(int32_t output) {
    return &current.tensors[output];
}

void op_case_expect_run_fails(bert_status status, const char *text) {
    assert_int_equal(run(), status);
    if (!strstr(current.error.message, text)) fail_msg("\"%s\" does not hold \"%s\"", current.error.message, text);
}

void op_case_expect_close(int32_t output, const float *expected, size_t count) {
    op_case_run();
    const bert_tensor *tensor = op_case_output(output);
    assert_int_equal(tensor->dtype, BERT_FLOAT);
    assert_int_equal(bert_tensor_elements(tensor), count);
    for (size_t i = 0; i < count; i++) {
        float found = ((const float *)tensor->data)[i];
        bool close = found == expected[i] ||
                     (isfinite(expected[i]) && fabsf(found - expected[i]) <= 1e-5F + 1e-5F * fabsf(expected[i]));
        if (!close && !(isnan(found) && isnan(expected[i]))) {
            fail_msg("output %d, element %zu is %.9g; expected %.9g", (int)output, i, found, expected[i]);
        }
    }
}
