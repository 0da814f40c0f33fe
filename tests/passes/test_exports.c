/*
 * The exports that bert.c is held to, by family, exporter, opset and what ONNX Runtime's optimizer did: what the passes
 * make of each, and that it computes the same.
 *
 * A name is exporter_family_opset: old is torch.onnx of before, new the transformers of today, dyn their dynamo export.
 * _off went through onnxruntime's transformers optimizer (_idx with a mask index, _apx with FastGelu, _fp16 in half),
 * _ext and _all through the session's.
 *
 * Some lie in tests/data/graphs. The others are looked for in ../shared/cases/graphs beside the sources and left out,
 * in so many words, where that is not.
 */
#include "tests/passes/parity.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 2 };

typedef struct export_case {
    const char *name;
    int linears; /* 3 or 4 a layer (query, key and value are one), and those before and after the layers. */
} export_case;

/* Families that become canonical altogether. */
static const export_case whole[] = {
    {"new_albert_17", 10},
    {"new_bert_17", 9},
    {"new_bert_18_dyn", 9},
    {"new_bert_18_dyn_all", 9},
    {"new_bert_18_dyn_ext", 9},
    {"new_bert_18_dyn_off", 9},
    {"new_bert_18_dyn_off_apx", 9},
    {"new_bert_18_dyn_off_idx", 9},
    {"new_bert_20_dyn", 9},
    {"new_bert_cls_17", 10},
    {"new_bert_cls_18_dyn", 10},
    {"new_bert_cls_20_dyn", 10},
    {"new_distilbert_17", 8},
    {"new_distilbert_17_off", 8},
    {"new_distilbert_18_dyn", 8},
    {"new_distilbert_20_dyn", 8},
    {"new_electra_14", 9},
    {"new_electra_17", 9},
    {"new_mpnet_14", 9},
    {"new_mpnet_17", 9},
    {"new_mpnet_18_dyn", 9},
    {"new_mpnet_20_dyn", 9},
    {"new_roberta_17", 9},
    {"new_roberta_17_off", 9},
    {"new_roberta_18_dyn", 9},
    {"new_roberta_20_dyn", 9},
    {"old_albert_11", 10},
    {"old_albert_14", 10},
    {"old_albert_17", 10},
    {"old_bert_11", 9},
    {"old_bert_11_all", 9},
    {"old_bert_11_ext", 9},
    {"old_bert_11_off", 9},
    {"old_bert_11_off_apx", 9},
    {"old_bert_11_off_fp16", 9},
    {"old_bert_11_off_idx", 9},
    {"old_bert_17", 9},
    {"old_bert_17_all", 9},
    {"old_bert_17_ext", 9},
    {"old_bert_17_off", 9},
    {"old_bert_17_off_apx", 9},
    {"old_bert_17_off_idx", 9},
    {"old_bert_cls_11", 10},
    {"old_bert_cls_17", 10},
    {"old_bert_gelunew_11", 9},
    {"old_bert_gelunew_17", 9},
    {"old_bert_mlm_11", 10},
    {"old_bert_mlm_17", 10},
    {"old_bert_qa_11", 9},
    {"old_bert_qa_17", 9},
    {"old_distilbert_11", 8},
    {"old_distilbert_17", 8},
    {"old_electra_11", 9},
    {"old_electra_17", 9},
    {"old_mpnet_17", 9},
    {"old_roberta_11", 9},
    {"old_roberta_17", 9},
};
/* Their attention has positions of its own: Linear, norms and GELU alone. */
static const export_case in_part[] = {
    {"new_deberta2_17", 12},      {"new_deberta2_18_dyn", 12},  {"new_deberta2_20_dyn", 12},
    {"new_modernbert_17", 8},     {"new_modernbert_17_off", 8}, {"new_modernbert_18_dyn", 8},
    {"new_modernbert_20_dyn", 8}, {"old_deberta2_14", 12},      {"old_deberta2_17", 12},
};
/* What must be there everywhere. */
static const char *const committed[] = {
    "old_bert_11",     "old_bert_17",         "old_bert_cls_11",      "new_bert_17",        "new_bert_cls_17",
    "old_bert_17_ext", "old_bert_11_off_idx", "old_bert_11_off_fp16", "new_roberta_17_off",
};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static bool find(const char *name, char *out, size_t capacity) {
    snprintf(out, capacity, "%s/tests/data/graphs/%s/model.onnx", BERT_SOURCE_DIR, name);
    if (access(out, R_OK) == 0) return true;
    for (size_t i = 0; i < COUNT(committed); i++) assert_string_not_equal(name, committed[i]);
    snprintf(out, capacity, "%s/../shared/cases/graphs/%s/model.onnx", BERT_SOURCE_DIR, name);
    if (access(out, R_OK) == 0) return true;
    print_message("skipped: %s is not beside the sources\n", name);
    return false;
}

static bert_model *load(const char *path) {
    bert_model *out = NULL;
    bert_error error;
    if (bert_model_load_composed(&parity_composition, &(bert_model_source){.path = path}, NULL, &out, &error) !=
        BERT_OK)
        fail_msg("%s: %s", path, error.message);
    return out;
}

static int count(const bert_model *model, bert_op_id id) {
    int nodes = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        nodes += node->op->id == id;
    }
    return nodes;
}

static void expect(const char *name, const bert_model *model, bert_op_id id, int expected) {
    int found = count(model, id);
    if (found != expected) fail_msg("%s: %d of %s, not %d", name, found, bert_op_get(id)->name, expected);
}

/* Neither what patterns are made of nor what the optimizer fuses them to. */
static void expect_none_left(const char *name, const bert_model *model) {
    static const bert_op_id gone[] = {BERT_OP_MatMul, BERT_OP_Gemm,    BERT_OP_Softmax, BERT_OP_Erf,
                                      BERT_OP_Tanh,   BERT_OP_Sigmoid, BERT_OP_Gelu,    BERT_OP_ReduceMean,
                                      BERT_OP_IsNaN,  BERT_OP_Pow,     BERT_OP_Sqrt};
    for (size_t i = 0; i < COUNT(gone); i++) expect(name, model, gone[i], 0);
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        if (strcmp(node->op->domain, "com.microsoft") == 0) fail_msg("%s: %s is left", name, node->op->name);
    }
}

static void every_family_becomes_canonical_whichever_exporter_wrote_it(void **state) {
    char path[512];
    for (size_t i = 0; i < COUNT(whole); i++) {
        const char *name = whole[i].name;
        if (!find(name, path, sizeof path)) continue;
        bert_model *model = load(path);
        expect(name, model, BERT_OP_BERTC_Attention, LAYERS);
        expect(name, model, BERT_OP_BERTC_SkipLayerNormalization, 2 * LAYERS);
        expect(name, model, BERT_OP_BERTC_Embedding, 1);
        expect(name, model, BERT_OP_BERTC_Linear, whole[i].linears);
        expect_none_left(name, model);
        bert_model_free(model);
    }
}

static void other_attention_leaves_linear_norms_and_gelu(void **state) {
    char path[512];
    for (size_t i = 0; i < COUNT(in_part); i++) {
        const char *name = in_part[i].name;
        if (!find(name, path, sizeof path)) continue;
        bert_model *model = load(path);
        expect(name, model, BERT_OP_BERTC_SkipLayerNormalization, 2 * LAYERS);
        expect(name, model, BERT_OP_BERTC_Linear, in_part[i].linears);
        expect(name, model, BERT_OP_Erf, 0);
        expect(name, model, BERT_OP_Gemm, 0);
        bert_model_free(model);
    }
}

static void expect_parity(const char *name) {
    static const struct {
        int64_t batch, sequence;
        bool empty_row;
    } shapes[] = {{1, 9, false}, {4, 11, true}};
    /* Half precision rounds between nodes that are one afterwards. */
    double allowed = strstr(name, "fp16") ? 5e-3 : 1e-5;
    char path[512];
    if (!find(name, path, sizeof path)) return;
    for (size_t s = 0; s < COUNT(shapes); s++) {
        double worst = 0;
        bert_error error;
        if (parity_run(path, shapes[s].batch, shapes[s].sequence, shapes[s].empty_row, &worst, &error) != BERT_OK)
            fail_msg("%s: %s", name, error.message);
        if (worst > allowed) fail_msg("%s: %g", name, worst);
    }
}

static void every_export_computes_the_same_rewritten(void **state) {
    for (size_t i = 0; i < COUNT(whole); i++) expect_parity(whole[i].name);
    for (size_t i = 0; i < COUNT(in_part); i++) expect_parity(in_part[i].name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_becomes_canonical_whichever_exporter_wrote_it),
        cmocka_unit_test(other_attention_leaves_linear_norms_and_gelu),
        cmocka_unit_test(every_export_computes_the_same_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
