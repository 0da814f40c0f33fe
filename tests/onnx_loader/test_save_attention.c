/* Attention whose heads are rotated, saved as functions of ONNX's operators: read again and run as they stand, they
 * give the same numbers. */
#include "core/graph/canonical.h"
#include "onnx_loader/onnx_file.h"
#include "tests/onnx_loader/loading.h"
#include "tests/onnx_loader/saved.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 3, LENGTH = 5, HEADS = 3, DEPTH = 4, WIDTH = HEADS * DEPTH, INPUTS = 11 };

/* A node of the graph, and its inputs by name; inputs that are absent are NULL. */
typedef struct variant {
    const char *function; /* That it is saved as. */
    bool packed, guarded;
    const char *inputs[BERT_ATTENTION_OF_MODEL];
} variant;

static const variant variants[] = {
    {"Attention_3_heads_of_4", false, false, {"q", "k", "v"}},
    {"Attention_3_heads_of_4_rotary", false, false, {"q", "k", "v", NULL, NULL, "cosines", "sines"}},
    {"Attention_3_heads_of_4_rotary", false, false, {"q", "k", "v", NULL, NULL, "cosines_of_all", "sines_of_all"}},
    {"Attention_3_heads_of_4_bias_rotary",
     false,
     false,
     {"q", "k", "v", "bias", NULL, "cosines_of_all", "sines_of_all"}},
    {"Attention_3_heads_of_4_packed_mask_rotary_guarded",
     true,
     true,
     {"qkv", NULL, NULL, NULL, "mask", "cosines", "sines"}},
    /* A Linear with three parts, which are read one by one in the file. */
    {"Attention_3_heads_of_4_rotary", true, false, {"product", NULL, NULL, NULL, NULL, "cosines", "sines"}},
    {"Attention_3_heads_rotary", false, false, {"wide", "wide", "wide", NULL, NULL, "cosines_wide", "sines_wide"}},
};
enum { NODES = sizeof variants / sizeof variants[0], ROTATED = NODES - 1, FUNCTIONS = 5 };

/* Graph inputs: types are float32, but for the mask's. */
static const struct {
    const char *name, *shape;
    int32_t rank;
    int64_t dims[4];
} inputs[INPUTS] = {
    {"q", "batch length 12", 3, {BATCH, LENGTH, WIDTH}},
    {"k", "batch length 12", 3, {BATCH, LENGTH, WIDTH}},
    {"v", "batch length 12", 3, {BATCH, LENGTH, WIDTH}},
    {"qkv", "batch length 36", 3, {BATCH, LENGTH, 3 * WIDTH}},
    {"bias", "batch 1 length length", 4, {BATCH, 1, LENGTH, LENGTH}},
    {"cosines", "1 length 4", 3, {1, LENGTH, DEPTH}},
    {"sines", "1 length 4", 3, {1, LENGTH, DEPTH}},
    {"cosines_of_all", "batch length 4", 3, {BATCH, LENGTH, DEPTH}},
    {"sines_of_all", "batch length 4", 3, {BATCH, LENGTH, DEPTH}},
    {"wide", "batch length width", 3, {BATCH, LENGTH, 2 * WIDTH}},
    {"angles_wide", "1 length depth", 3, {1, LENGTH, 2 * DEPTH}},
};
static float data[INPUTS][BATCH * LENGTH * 3 * WIDTH];
static bool mask[BATCH * LENGTH];
static char folder[64], path[128];
static int32_t newest; /* Opset of the graph, and so of the file. */

static bert_value *made(bert_graph *graph, const char *op, const char *name, bert_value *x) {
    const bert_op *found = bert_op_find("", op);
    return build_node_of(&graph->body, found, newest, name, NULL, 0, &x, 1);
}

static bert_value *linear(bert_graph *graph, bert_value *x) {
    float weight[3][WIDTH * WIDTH], bias[WIDTH];
    bert_value *operands[8] = {x};
    const bert_attribute parts = BERT_INT_ATTRIBUTE("parts", 3);
    for (int i = 0; i < 3 * WIDTH * WIDTH; i++) weight[i / WIDTH / WIDTH][i % (WIDTH * WIDTH)] = sinf((float)(i * i));
    for (int i = 0; i < WIDTH; i++) bias[i] = 0.1F * (float)i;
    for (int p = 0; p < 3; p++) {
        operands[BERT_LINEAR_WEIGHT(p)] = build_constant(graph, BERT_FLOAT, 2, DIMS(WIDTH, WIDTH), weight[p]);
        operands[BERT_LINEAR_BIAS(p)] = build_constant(graph, BERT_FLOAT, 1, DIMS(WIDTH), bias);
    }
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_Linear), 1, "product", &parts, 1, operands, 8);
}

static bert_value *attention(bert_graph *graph, const variant *v, int number) {
    bert_value *operands[BERT_ATTENTION_OF_MODEL] = {NULL};
    char name[32];
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", HEADS), BERT_FLOAT_ATTRIBUTE("scale", 0.4F),
                                         BERT_INT_ATTRIBUTE("packed", v->packed),
                                         BERT_STRING_ATTRIBUTE("masked_rows", v->guarded ? "zero" : "nan")};
    for (int i = 0; i < BERT_ATTENTION_OF_MODEL; i++)
        if (v->inputs[i]) operands[i] = value_named(graph, v->inputs[i]);
    snprintf(name, sizeof name, "y%d", number);
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_Attention), 1, name, attributes, 4, operands,
                         BERT_ATTENTION_OF_MODEL);
}

static bert_status build_all(bert_graph *graph, bert_error *error) {
    bert_value *values[INPUTS + 1], *outputs[NODES];
    for (int i = 0; i < INPUTS; i++) values[i] = build_input(graph, inputs[i].name, BERT_FLOAT, inputs[i].shape);
    values[INPUTS] = build_input(graph, "mask", BERT_BOOL, "batch 1 1 length");
    made(graph, "Cos", "cosines_wide", value_named(graph, "angles_wide"));
    made(graph, "Sin", "sines_wide", value_named(graph, "angles_wide"));
    linear(graph, value_named(graph, "q"));
    for (int i = 0; i < NODES; i++) outputs[i] = attention(graph, &variants[i], i);
    BERT_TRY(bert_graph_set_inputs(graph, values, INPUTS + 1, error));
    return bert_graph_set_outputs(graph, outputs, NODES, error);
}

static float greatest_difference(const bert_tensor *one, const bert_tensor *other) {
    const float *a = one->data, *b = other->data;
    float greatest = 0;
    assert_int_equal(bert_tensor_elements(one), bert_tensor_elements(other));
    for (int64_t i = 0; i < bert_tensor_elements(one); i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        greatest = fmaxf(greatest, fabsf(a[i] - b[i]));
    }
    return greatest;
}

static void expect_the_same_numbers(void) {
    bert_named_tensor given[INPUTS + 1];
    saved_runs runs;
    for (int i = 0; i < INPUTS; i++)
        given[i] = named(inputs[i].name, BERT_FLOAT, inputs[i].rank, inputs[i].dims, data[i]);
    given[INPUTS] = named("mask", BERT_BOOL, 4, DIMS(BATCH, 1, 1, LENGTH), mask);
    saved_run(build_all, path, given, INPUTS + 1, NODES, &runs);
    const bert_named_tensor *expected = runs.outputs[0], *found = runs.outputs[1];
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(bert_tensor_elements(&expected[i].tensor), BATCH * LENGTH * WIDTH * (i == NODES - 1 ? 2 : 1));
        assert_true(greatest_difference(&expected[i].tensor, &found[i].tensor) < 1e-5F);
    }
    /* They aren't the same because angles do nothing. */
    assert_true(greatest_difference(&found[0].tensor, &found[1].tensor) > 0.01F);
    assert_true(greatest_difference(&found[1].tensor, &found[2].tensor) > 0.01F);
    assert_int_equal(saved_count(runs.models[1], BERT_OP_BERTC_Attention), 0);
    assert_int_equal(saved_count(runs.models[1], BERT_OP_Softmax), NODES);
    assert_int_equal(saved_count(runs.models[1], BERT_OP_Neg), 2 * ROTATED);
    assert_int_equal(saved_count(runs.models[1], BERT_OP_Split), 2 * ROTATED + 1); /* and of what is packed */
    saved_end(&runs);
}

/* Split has another form in the later one. */
static void saved_functions_give_the_same_numbers(void **state) {
    static const int32_t opsets[] = {17, 18};
    for (int i = 0; i < 2; i++) {
        newest = opsets[i];
        expect_the_same_numbers();
    }
}

static void names_say_what_is_rotated(void **state) {
    const bert_model_source source = {.path = path};
    bert_onnx_file file;
    bert_error error;
    size_t calls = 0;
    newest = 17;
    bert_model *model = saved_model(build_all, path);
    if (bert_onnx_file_open(&source, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(file.model->n_functions, FUNCTIONS + 1);
    for (size_t i = 0; i < file.model->graph->n_node; i++) {
        const BertOnnx__NodeProto *node = file.model->graph->node[i];
        if (strncmp(node->op_type, "Attention", 9) != 0) continue;
        assert_true(calls < NODES);
        assert_string_equal(node->op_type, variants[calls].function);
        const char *const *angles = &variants[calls++].inputs[BERT_ATTENTION_COSINES];
        for (size_t a = 0; a < 2 && angles[a]; a++) assert_string_equal(node->input[node->n_input - 2 + a], angles[a]);
    }
    assert_int_equal(calls, NODES);
    bert_onnx_file_close(&file);
    bert_model_free(model);
}

static int setup(void **state) {
    for (int i = 0; i < INPUTS; i++)
        for (int j = 0; j < BATCH * LENGTH * 3 * WIDTH; j++)
            data[i][j] = (float)((j * 7919 + i * 131 + 13) % 1021) / 300 - 1.7F;
    /* One sequence is all padding. */
    for (int i = 0; i < BATCH * LENGTH; i++) mask[i] = i / LENGTH < 2 && i % LENGTH < 3 + i / LENGTH;
    make_folder(folder);
    snprintf(path, sizeof path, "%s/attention.onnx", folder);
    return 0;
}

static int teardown(void **state) {
    remove_folder(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_functions_give_the_same_numbers),
        cmocka_unit_test(names_say_what_is_rotated),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
