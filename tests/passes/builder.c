#include "tests/passes/builder.h"

#include "tests/support/graph_build.h"

#include <stdio.h>
#include <stdlib.h>

static bert_error error;

static void must(bert_status status) {
    if (status != BERT_OK) fail_msg("%s", error.message);
}

builder start(int32_t opset) {
    builder b = {.opset = opset};
    b.graph = bert_graph_create(NULL);
    assert_non_null(b.graph);
    return b;
}

void finish(builder *b) {
    bert_graph_free(b->graph);
}

static bert_value *made(bert_value *value) {
    assert_non_null(value);
    return value;
}

bert_value *input(builder *b, const char *name, bert_dtype dtype, const char *dims) {
    bert_value *value = made(build_input(b->graph, name, dtype, dims));
    b->inputs[b->input_count++] = value;
    return value;
}

static bert_value *constant(builder *b, bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data) {
    return made(build_constant(b->graph, dtype, rank, dims, data));
}

bert_value *tensor(builder *b, int32_t rank, const int64_t *dims) {
    size_t count = 1;
    for (int32_t i = 0; i < rank; i++) count *= (size_t)dims[i];
    float *numbers = malloc(count * sizeof *numbers);
    assert_non_null(numbers);
    for (size_t i = 0; i < count; i++) numbers[i] = (float)((i * 37 + b->graph->value_count) % 101) / 101 - 0.5F;
    bert_value *value = constant(b, BERT_FLOAT, rank, dims, numbers);
    free(numbers);
    return value;
}

bert_value *weight(builder *b, int64_t rows, int64_t columns) {
    return tensor(b, columns ? 2 : 1, (int64_t[]){rows, columns});
}

bert_value *bytes(builder *b, bert_dtype dtype, int32_t rank, const int64_t *dims) {
    unsigned char numbers[256];
    for (size_t i = 0; i < sizeof numbers; i++) numbers[i] = (unsigned char)(i * 37 + b->graph->value_count);
    bert_tensor shape = {.dtype = dtype, .rank = rank};
    if (rank) memcpy(shape.dims, dims, (size_t)rank * sizeof *dims);
    assert_true(bert_tensor_elements(&shape) <= (int64_t)sizeof numbers);
    return constant(b, dtype, rank, dims, numbers);
}

bert_value *integers(builder *b, int32_t rank, const int64_t *dims, const int32_t *numbers) {
    return constant(b, BERT_INT32, rank, dims, numbers);
}

bert_value *scalar(builder *b, float number) {
    return constant(b, BERT_FLOAT, 0, NULL, &number);
}

bert_value *boolean(builder *b, bool truth) {
    unsigned char byte = truth;
    return constant(b, BERT_BOOL, 0, NULL, &byte);
}

bert_value *ints(builder *b, int32_t count, const int64_t *numbers) {
    int64_t dim = count;
    return constant(b, BERT_INT64, count < 0 ? 0 : 1, &dim, numbers);
}

bert_value *node(builder *b, bert_op_id id, const bert_attribute *attributes, size_t attribute_count,
                 bert_value *const *inputs, int32_t input_count) {
    /* Lists of the caller's may be gone when the graph is used: keep them with the graph. */
    bert_attribute kept[4];
    assert_true(attribute_count <= 4);
    for (size_t i = 0; i < attribute_count; i++) {
        kept[i] = attributes[i];
        if (kept[i].kind != BERT_ATTRIBUTE_INTS) continue;
        int64_t *list = BERT_ARENA_NEW_ARRAY(&b->graph->arena, int64_t, kept[i].count);
        assert_non_null(list);
        memcpy(list, attributes[i].value.ints, kept[i].count * sizeof *list);
        kept[i].value.ints = list;
    }
    bert_value *output = made(
        build_node_of(&b->graph->body, bert_op_get(id), b->opset, NULL, kept, attribute_count, inputs, input_count));
    must(bert_infer_node(b->graph, output->producer, &error));
    return output;
}

bert_value *cast(builder *b, bert_value *x, bert_dtype dtype) {
    bert_attribute to = BERT_INT_ATTRIBUTE("to", dtype);
    return OP_WITH(b, Cast, to, x);
}

void split(builder *b, bert_value *x, int64_t axis, int32_t count, bert_value **parts) {
    const bert_attribute along = BERT_INT_ATTRIBUTE("axis", axis);
    bert_node *made = NULL;
    for (int32_t i = 0; i < count; i++) must(bert_graph_add_value(b->graph, NULL, &parts[i], &error));
    must(bert_graph_add_node(&b->graph->body, NULL,
                             &(bert_node_spec){.op = bert_op_get(BERT_OP_Split),
                                               .opset = b->opset,
                                               .inputs = &x,
                                               .input_count = 1,
                                               .outputs = parts,
                                               .output_count = count,
                                               .attributes = &along,
                                               .attribute_count = 1},
                             &made, &error));
    must(bert_infer_node(b->graph, made, &error));
}

quantized quantize_dynamically(builder *b, bert_value *x) {
    bert_value *outputs[3] = {NULL};
    bert_node *node_made = NULL;
    for (int i = 0; i < 3; i++) must(bert_graph_add_value(b->graph, NULL, &outputs[i], &error));
    must(bert_graph_add_node(&b->graph->body, NULL,
                             &(bert_node_spec){.op = bert_op_get(BERT_OP_DynamicQuantizeLinear),
                                               .opset = b->opset,
                                               .inputs = &x,
                                               .input_count = 1,
                                               .outputs = outputs,
                                               .output_count = 3},
                             &node_made, &error));
    must(bert_infer_node(b->graph, node_made, &error));
    return (quantized){outputs[0], outputs[1], outputs[2]};
}

bert_value *transpose(builder *b, bert_value *x, int64_t p0, int64_t p1, int64_t p2, int64_t p3) {
    bert_attribute perm = INTS_ATTRIBUTE("perm", p0, p1, p2, p3);
    return OP_WITH(b, Transpose, perm, x);
}

bert_value *mean(builder *b, bert_value *x, int64_t axis) {
    bert_attribute axes = INTS_ATTRIBUTE("axes", axis);
    return OP_WITH(b, ReduceMean, axes, x);
}

void declare(builder *b, bert_value *const *outputs, int32_t count) {
    must(bert_graph_set_inputs(b->graph, b->inputs, b->input_count, &error));
    must(bert_graph_set_outputs(b->graph, outputs, count, &error));
    must(bert_graph_check(b->graph, &error));
    memset(&b->report, 0, sizeof b->report);
    b->report.arena = &b->graph->arena;
}

static void run_one(builder *b, const char *name) {
    for (size_t i = 0; i < bert_pass_count; i++) {
        if (strcmp(bert_passes[i].name, name) != 0) continue;
        bert_pass_context context = {.graph = b->graph, .report = &b->report, .error = &error, .pass = &bert_passes[i]};
        must(bert_infer_graph(b->graph, &error));
        must(bert_passes[i].run(&context));
        bert_graph_remove_dead(b->graph);
        must(bert_graph_check(b->graph, &error));
        must(bert_infer_graph(b->graph, &error));
        return;
    }
    fail_msg("there is no pass %s", name);
}

void run(builder *b, const char *pass, bert_value *const *outputs, int32_t count) {
    declare(b, outputs, count);
    run_one(b, pass);
}

void run_all(builder *b, bert_value *const *outputs, int32_t count) {
    declare(b, outputs, count);
    must(bert_passes_run(b->graph, NULL, &b->report, &error));
    must(bert_graph_check(b->graph, &error));
}

int count_misses(const builder *b, const char *pass, const char *reason) {
    int count = 0;
    for (size_t i = 0; i < b->report.miss_count; i++) {
        const bert_pass_miss *miss = &b->report.misses[i];
        count += strcmp(miss->pass, pass) == 0 && strstr(miss->reason, reason) != NULL;
    }
    return count;
}

int count_nodes(const builder *b, bert_op_id id) {
    int count = 0;
    BERT_FOR_EACH_NODE (n, &b->graph->body) {
        count += n->op->id == id;
    }
    return count;
}

int count_all(const builder *b) {
    int count = 0;
    BERT_FOR_EACH_NODE (n, &b->graph->body) {
        count++;
    }
    return count;
}

bert_node *only(const builder *b, bert_op_id id) {
    bert_node *found = NULL;
    BERT_FOR_EACH_NODE (n, &b->graph->body) {
        if (n->op->id != id) continue;
        assert_null(found);
        found = n;
    }
    assert_non_null(found);
    return found;
}
