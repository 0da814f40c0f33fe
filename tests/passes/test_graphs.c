/* Whole exports: what they become, and that they compute the same. */
#include "tests/passes/parity.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *path;
    int layers, linears; /* Linears behind the layers: a pooler, a head. */
    int pools;
} models[] = {
    {"tests/data/graphs/old_bert_11/model.onnx", 2, 1, 0},
    {"tests/data/graphs/old_bert_17/model.onnx", 2, 1, 0},
    {"tests/data/graphs/old_bert_cls_11/model.onnx", 2, 2, 0},
    {"tests/data/graphs/new_bert_17/model.onnx", 2, 1, 0},
    {"tests/data/graphs/new_bert_cls_17/model.onnx", 2, 2, 0},
    {"tests/data/graphs/new_pooled_bert_17/model.onnx", 1, 0, 1},
    {"tests/data/graphs/new_pooled_bert_18_dyn/model.onnx", 1, 0, 1},
    {"models/zh-sentiment/model.onnx", 4, 2, 0},
    {"models/zh-sentiment/model-optimized.onnx", 4, 2, 0},
};
enum { MODELS = sizeof models / sizeof models[0] };

static void path_of(int model, char *out, size_t capacity) {
    snprintf(out, capacity, "%s/%s", BERT_SOURCE_DIR, models[model].path);
}

static bert_model *load(int model) {
    char path[512];
    bert_model *out = NULL;
    bert_error error;
    path_of(model, path, sizeof path);
    bert_status status =
        bert_model_load_composed(&parity_composition, &(bert_model_source){.path = path}, NULL, &out, &error);
    if (status != BERT_OK) fail_msg("%s: %s", models[model].path, error.message);
    return out;
}

static int count(const bert_graph *graph, bert_op_id id) {
    int nodes = 0;
    BERT_FOR_EACH_NODE (node, &graph->body) {
        nodes += node->op->id == id;
    }
    return nodes;
}

static void plain_exports_become_canonical(void **state) {
    static const bert_op_id gone[] = {
        BERT_OP_MatMul,    BERT_OP_Gemm,      BERT_OP_Softmax,  BERT_OP_Erf,
        BERT_OP_Gelu,      BERT_OP_Transpose, BERT_OP_Tanh,     BERT_OP_LayerNormalization,
        BERT_OP_IsNaN,     BERT_OP_Expand,    BERT_OP_Identity, BERT_OP_Div,
        BERT_OP_ReduceSum, BERT_OP_ReduceL2};
    for (int m = 0; m < MODELS; m++) {
        bert_model *model = load(m);
        const bert_graph *graph = bert_model_graph(model);
        int layers = models[m].layers;
        assert_int_equal(count(graph, BERT_OP_BERTC_Attention), layers);
        assert_int_equal(count(graph, BERT_OP_BERTC_SkipLayerNormalization), 2 * layers);
        assert_int_equal(count(graph, BERT_OP_BERTC_Embedding), 1);
        /* Packed projection, output, two of the feed-forward. */
        assert_int_equal(count(graph, BERT_OP_BERTC_Linear), 4 * layers + models[m].linears);
        assert_int_equal(count(graph, BERT_OP_BERTC_Pool), models[m].pools);
        for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) assert_int_equal(count(graph, gone[i]), 0);
        BERT_FOR_EACH_NODE (node, &graph->body) {
            if (node->op->id == BERT_OP_BERTC_Attention) assert_int_equal(BERT_NODE_INT(node, "packed", 0), 1);
        }
        bert_model_free(model);
    }
}

static void masks_are_computed_once_and_only_over_keys(void **state) {
    for (int m = 0; m < MODELS; m++) {
        bert_model *model = load(m);
        const bert_value *mask = NULL;
        BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
            if (node->op->id != BERT_OP_BERTC_Attention) continue;
            /* A number that is added, or, of a fused attention, what is kept. */
            const bert_value *own = node->inputs[3] ? node->inputs[3] : node->inputs[4];
            assert_true(!node->inputs[3] || !node->inputs[4]);
            if (mask) assert_ptr_equal(own, mask);
            mask = own;
            assert_int_equal(mask->info.shape.rank, 4);
            assert_true(mask->info.shape.dims[1] == 1 && mask->info.shape.dims[2] == 1);
        }
        assert_non_null(mask);
        bert_model_free(model);
    }
}

static void every_computing_node_of_the_file_is_remembered(void **state) {
    for (int m = 0; m < MODELS; m++) {
        bert_model *model = load(m);
        BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
            if (strcmp(node->op->domain, BERT_CANONICAL_DOMAIN) == 0) {
                assert_true(node->origin_count > 0);
                bool was_fused = strcmp(node->origins[0]->op_type, "Attention") == 0;
                assert_true(node->origin_count > 1 || was_fused || node->op->id == BERT_OP_BERTC_Linear);
            }
            for (uint32_t i = 1; i < node->origin_count; i++) {
                assert_true(node->origins[i - 1]->index < node->origins[i]->index);
            }
        }
        bert_model_free(model);
    }
}

static void passes_change_results_by_rounding_alone(void **state) {
    static const struct {
        int64_t batch, sequence;
        bool empty_row;
    } shapes[] = {{1, 1, false}, {1, 9, false}, {3, 16, false}, {4, 11, true}};
    for (int m = 0; m < MODELS; m++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            char path[512];
            double worst = 0;
            bert_error error;
            path_of(m, path, sizeof path);
            if (parity_run(path, shapes[s].batch, shapes[s].sequence, shapes[s].empty_row, &worst, &error) != BERT_OK)
                fail_msg("%s: %s", models[m].path, error.message);
            if (worst > 1e-5) fail_msg("%s: %g", models[m].path, worst);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_exports_become_canonical),
        cmocka_unit_test(masks_are_computed_once_and_only_over_keys),
        cmocka_unit_test(every_computing_node_of_the_file_is_remembered),
        cmocka_unit_test(passes_change_results_by_rounding_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
