/* QuantizedAdd saved as functions of ONNX's operators: read again and run as they stand, they give the same bits. */
#include "core/graph/canonical.h"
#include "onnx_loader/onnx_file.h"
#include "tests/onnx_loader/loading.h"
#include "tests/onnx_loader/saved.h"

#include <math.h>
#include <stdio.h>

enum { ROWS = 60, COLUMNS = 7, VARIANTS = 6, NODES = 2 * VARIANTS };

/* What a node of the graph is: bit 0: a is quantized, 1: y is dequantized, 2: y is the sum itself. Those after the
 * first of each are of int8. */
static int variant_of(int index) {
    return index % VARIANTS;
}
static bert_dtype type_of(int index) {
    return index < VARIANTS ? BERT_UINT8 : BERT_INT8;
}

static bert_value *sum_node(bert_graph *graph, int index, bert_value *a, bert_value *b) {
    const bert_dtype dtype = type_of(index);
    const int variant = variant_of(index);
    bert_value *inputs[BERT_QUANTIZED_ADD_INPUTS] = {a, b};
    char name[32];
    for (int i = BERT_QUANTIZED_ADD_Y_SCALE; i < BERT_QUANTIZED_ADD_INPUTS; i += 2) {
        if (i == BERT_QUANTIZED_ADD_Y_SCALE && variant & 4) continue;
        if (i == BERT_QUANTIZED_ADD_Y_NEW_SCALE && !(variant & 2)) continue;
        if (i >= BERT_QUANTIZED_ADD_A_SCALE && !(variant & 1)) continue;
        inputs[i] = build_float(graph, 0.041F + 0.0013F * (float)(i + index));
        inputs[i + 1] = build_constant(graph, dtype, 0, NULL, &(unsigned char){(unsigned char)(100 + 3 * i + index)});
    }
    snprintf(name, sizeof name, "sum_%d", index);
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_QuantizedAdd), 1, name, NULL, 0, inputs,
                         variant & 1   ? BERT_QUANTIZED_ADD_INPUTS
                         : variant & 2 ? BERT_QUANTIZED_ADD_A_SCALE
                                       : BERT_QUANTIZED_ADD_Y_NEW_SCALE);
}

/* Every variant: of a row and a matrix, or the other way round. */
static bert_status build_sums(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "rows 7"), *row = build_input(graph, "row", BERT_FLOAT, "7");
    bert_value *y[NODES];
    for (int i = 0; i < NODES; i++) y[i] = sum_node(graph, i, i % 3 ? x : row, i % 3 ? row : x);
    BERT_TRY(build_inputs(graph, error, x, row, BUILD_END));
    return bert_graph_set_outputs(graph, y, NODES, error);
}

static float x[ROWS * COLUMNS], row[COLUMNS] = {0.0F, -1.7F, 2.31F, NAN, INFINITY, -1e30F, 0.0413F};

static char folder[64], path[128];

static void saved_functions_give_the_same_bits(void **state) {
    const bert_named_tensor inputs[] = {named("x", BERT_FLOAT, 2, DIMS(ROWS, COLUMNS), x),
                                        named("row", BERT_FLOAT, 1, DIMS(COLUMNS), row)};
    saved_runs runs;
    saved_run(build_sums, path, inputs, 2, NODES, &runs);
    for (int i = 0; i < NODES; i++) {
        const bert_tensor *expected = &runs.outputs[0][i].tensor, *found = &runs.outputs[1][i].tensor;
        assert_int_equal(found->dtype, variant_of(i) & 6 ? BERT_FLOAT : type_of(i));
        assert_int_equal(bert_tensor_elements(found), ROWS * COLUMNS);
        assert_memory_equal(found->data, expected->data, bert_tensor_bytes(expected));
    }
    assert_int_equal(saved_count(runs.models[1], BERT_OP_BERTC_QuantizedAdd), 0);
    assert_int_equal(saved_count(runs.models[1], BERT_OP_Add), NODES);
    assert_int_equal(saved_count(runs.models[1], BERT_OP_QuantizeLinear), 2 * (4 + 3)); /* of y, of a */
    assert_int_equal(saved_count(runs.models[1], BERT_OP_DequantizeLinear), 2 * (2 + 3));
    saved_end(&runs);
}

/* What int8 and uint8 have in common, since a function's inputs have no types. */
static void each_variant_is_one_function(void **state) {
    static const char *const names[VARIANTS] = {"QuantizedAdd",
                                                "QuantizedAdd_of_quantized",
                                                "QuantizedAdd_dequantized",
                                                "QuantizedAdd_of_quantized_dequantized",
                                                "QuantizedAdd_in_floats",
                                                "QuantizedAdd_of_quantized_in_floats"};
    static const size_t inputs[VARIANTS] = {4, 8, 6, 10, 2, 6};
    const bert_model_source source = {.path = path};
    bert_model *model = saved_model(build_sums, path);
    bert_onnx_file file;
    bert_error error;
    if (bert_onnx_file_open(&source, &file, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(file.model->n_functions, VARIANTS);
    for (size_t i = 0; i < VARIANTS; i++) assert_string_equal(file.model->functions[i]->name, names[i]);
    for (size_t i = 0; i < NODES; i++) {
        assert_string_equal(file.model->graph->node[i]->op_type, names[i % VARIANTS]);
        assert_int_equal(file.model->graph->node[i]->n_input, inputs[i % VARIANTS]);
    }
    bert_onnx_file_close(&file);
    bert_model_free(model);
}

static int setup(void **state) {
    for (int i = 0; i < ROWS * COLUMNS; i++) x[i] = (float)((i * 7919 + 13) % 1021) / 80 - 6.1F;
    x[10] = NAN;
    x[11] = -INFINITY;
    make_folder(folder);
    snprintf(path, sizeof path, "%s/sums.onnx", folder);
    return 0;
}

static int teardown(void **state) {
    remove_folder(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_functions_give_the_same_bits),
        cmocka_unit_test(each_variant_is_one_function),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
