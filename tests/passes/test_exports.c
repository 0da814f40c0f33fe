/*
 * The exports that bert.c is held to, by family, exporter, opset and what ONNX Runtime's tools did: what a run of each
 * executes, and that it computes the same as without passes.
 *
 * tests/data/exports has the graphs; their large weights are not those of the exporter (see export_graphs.py).
 */
#include "tests/passes/parity.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

enum { LAYERS = 2 };

/* torch.onnx with the transformers of before and of today, and today's dynamo exporter. */
typedef enum exporter { OLD, NEW, DYNAMO } exporter;

/*
 * What happened to the export, in the order in which it did: _off is onnxruntime's transformers optimizer (_idx with a
 * mask index, _apx with FastGelu, _fp16 in half), _q its dynamic quantization (_q2 after the optimizer, _u of uint8,
 * pc of columns), _ext and _all an optimized session that was saved.
 */
typedef struct export_case {
    exporter from;
    const char *family;
    int opset;
    const char *tools;
    int products; /* 3 or 4 a layer (query, key and value are one), and those before and after the layers. */
} export_case;

/* Families that become canonical altogether. */
static const export_case whole[] = {
    {OLD, "albert", 11, "", 10},
    {OLD, "albert", 14, "", 10},
    {OLD, "albert", 17, "", 10},
    {NEW, "albert", 17, "", 10},
    {OLD, "bert", 11, "", 9},
    {OLD, "bert", 11, "_all", 9},
    {OLD, "bert", 11, "_ext", 9},
    {OLD, "bert", 11, "_off", 9},
    {OLD, "bert", 11, "_off_apx", 9},
    {OLD, "bert", 11, "_off_apx_q2", 9},
    {OLD, "bert", 11, "_off_apx_q2_ext", 9},
    {OLD, "bert", 11, "_off_apx_q2pc", 9},
    {OLD, "bert", 11, "_off_apx_q2u", 9},
    {OLD, "bert", 11, "_off_fp16", 9},
    {OLD, "bert", 11, "_off_idx", 9},
    {OLD, "bert", 11, "_off_idx_q2", 9},
    {OLD, "bert", 11, "_off_idx_q2_ext", 9},
    {OLD, "bert", 11, "_off_idx_q2pc", 9},
    {OLD, "bert", 11, "_off_idx_q2u", 9},
    {OLD, "bert", 11, "_off_q2", 9},
    {OLD, "bert", 11, "_off_q2_ext", 9},
    {OLD, "bert", 11, "_off_q2pc", 9},
    {OLD, "bert", 11, "_off_q2u", 9},
    {OLD, "bert", 11, "_q", 9},
    {OLD, "bert", 11, "_q_ext", 9},
    {OLD, "bert", 17, "", 9},
    {OLD, "bert", 17, "_all", 9},
    {OLD, "bert", 17, "_ext", 9},
    {OLD, "bert", 17, "_off", 9},
    {OLD, "bert", 17, "_off_apx", 9},
    {OLD, "bert", 17, "_off_idx", 9},
    {OLD, "bert", 17, "_q", 9},
    {OLD, "bert", 17, "_q_ext", 9},
    {NEW, "bert", 17, "", 9},
    {DYNAMO, "bert", 18, "", 9},
    {DYNAMO, "bert", 18, "_all", 9},
    {DYNAMO, "bert", 18, "_ext", 9},
    {DYNAMO, "bert", 18, "_off", 9},
    {DYNAMO, "bert", 18, "_off_apx", 9},
    {DYNAMO, "bert", 18, "_off_idx", 9},
    {DYNAMO, "bert", 18, "_off_idx_q", 9},
    {DYNAMO, "bert", 18, "_off_idx_q_ext", 9},
    {DYNAMO, "bert", 18, "_off_q", 9},
    {DYNAMO, "bert", 18, "_off_q_ext", 9},
    {DYNAMO, "bert", 18, "_q", 9},
    {DYNAMO, "bert", 18, "_q_ext", 9},
    {DYNAMO, "bert", 20, "", 9},
    {OLD, "bert_cls", 11, "", 10},
    {OLD, "bert_cls", 17, "", 10},
    {NEW, "bert_cls", 17, "", 10},
    {DYNAMO, "bert_cls", 18, "", 10},
    {DYNAMO, "bert_cls", 20, "", 10},
    {OLD, "bert_gelunew", 11, "", 9},
    {OLD, "bert_gelunew", 17, "", 9},
    {OLD, "bert_mlm", 11, "", 10},
    {OLD, "bert_mlm", 17, "", 10},
    {OLD, "bert_qa", 11, "", 9},
    {OLD, "bert_qa", 17, "", 9},
    {OLD, "distilbert", 11, "", 8},
    {OLD, "distilbert", 17, "", 8},
    {NEW, "distilbert", 17, "", 8},
    {NEW, "distilbert", 17, "_off", 8},
    {DYNAMO, "distilbert", 18, "", 8},
    {DYNAMO, "distilbert", 20, "", 8},
    {OLD, "electra", 11, "", 9},
    {OLD, "electra", 17, "", 9},
    {NEW, "electra", 14, "", 9},
    {NEW, "electra", 17, "", 9},
    {OLD, "mpnet", 17, "", 9},
    {NEW, "mpnet", 14, "", 9},
    {NEW, "mpnet", 17, "", 9},
    {DYNAMO, "mpnet", 18, "", 9},
    {DYNAMO, "mpnet", 20, "", 9},
    {OLD, "roberta", 11, "", 9},
    {OLD, "roberta", 17, "", 9},
    {NEW, "roberta", 17, "", 9},
    {NEW, "roberta", 17, "_off", 9},
    {DYNAMO, "roberta", 18, "", 9},
    {DYNAMO, "roberta", 20, "", 9},
};

/* Attention has positions of its own: DeBERTa's gets a bias for them, ModernBERT's rotates heads before. */
static const export_case in_part[] = {
    {OLD, "deberta2", 14, "", 12},      {OLD, "deberta2", 17, "", 12},     {NEW, "deberta2", 17, "", 12},
    {DYNAMO, "deberta2", 18, "", 12},   {DYNAMO, "deberta2", 20, "", 12},  {NEW, "modernbert", 17, "", 8},
    {NEW, "modernbert", 17, "_off", 8}, {DYNAMO, "modernbert", 18, "", 8}, {DYNAMO, "modernbert", 20, "", 8},
};
#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void name_of(const export_case *c, char *out, size_t capacity) {
    snprintf(out, capacity, "%s_%s_%d%s%s", c->from == OLD ? "old" : "new", c->family, c->opset,
             c->from == DYNAMO ? "_dyn" : "", c->tools);
}

static void path_of(const export_case *c, char *out, size_t capacity) {
    char name[64];
    name_of(c, name, sizeof name);
    snprintf(out, capacity, "%s/tests/data/exports/%s.onnx", BERT_SOURCE_DIR, name);
}

static bool is_quantized(const export_case *c) {
    return strstr(c->tools, "_q") != NULL;
}

static bool is_half(const export_case *c) {
    return strstr(c->tools, "fp16") != NULL;
}

/* ---- What a run executes --------------------------------------------------------------------------------------------
 */

static parity_profile profile(const export_case *c) {
    char path[512];
    parity_profile out;
    bert_error error;
    path_of(c, path, sizeof path);
    if (parity_profile_run(path, 3, 16, &out, &error) != BERT_OK) fail_msg("%s: %s", path, error.message);
    return out;
}

/* Kernels of the operator that ran: with `kernel`, those whose name begins so. */
static int executed(const parity_profile *p, const char *op_type, const char *kernel) {
    int count = 0;
    for (size_t i = 0; i < p->count; i++) {
        const bert_profile_entry *entry = &p->entries[i];
        if (entry->runs != 1 || !entry->kernel || strcmp(entry->op_type, op_type) != 0) continue;
        count += !kernel || strncmp(entry->kernel, kernel, strlen(kernel)) == 0;
    }
    return count;
}

/* So many of the operator ran, with `kernel` all of them by kernels whose name begins so. */
static void expect(const export_case *c, const parity_profile *p, const char *op_type, const char *kernel,
                   int expected) {
    char name[64];
    name_of(c, name, sizeof name);
    const int found = executed(p, op_type, NULL), own = kernel ? executed(p, op_type, kernel) : found;
    if (found != expected) fail_msg("%s ran %d of %s, not %d", name, found, op_type, expected);
    if (own != expected) fail_msg("%s ran %d of %s by its kernels, not %d", name, own, op_type, expected);
}

/* Neither what patterns are made of nor what optimizers fuse them to. */
static void expect_none_left(const export_case *c, const parity_profile *p) {
    static const char *const gone[] = {"MatMul",
                                       "Gemm",
                                       "Softmax",
                                       "LogSoftmax",
                                       "Exp",
                                       "Erf",
                                       "Tanh",
                                       "Sigmoid",
                                       "Gelu",
                                       "QuickGelu",
                                       "Relu",
                                       "ReduceMean",
                                       "ReduceMax",
                                       "IsNaN",
                                       "Pow",
                                       "Sqrt",
                                       "RMSNormalization",
                                       "SimplifiedLayerNormalization",
                                       "SkipSimplifiedLayerNormalization",
                                       "FusedMatMul",
                                       "FusedGemm",
                                       "GemmFastGelu",
                                       "BiasGelu",
                                       "FastGelu",
                                       "BiasSoftmax",
                                       "MultiHeadAttention",
                                       "PackedAttention",
                                       "QAttention",
                                       "RotaryEmbedding",
                                       "RemovePadding",
                                       "RestorePadding",
                                       "EmbedLayerNormalization",
                                       "QEmbedLayerNormalization",
                                       "DynamicQuantizeLinear",
                                       "MatMulInteger",
                                       "MatMulIntegerToFloat",
                                       "DynamicQuantizeMatMul",
                                       "QLinearMatMul",
                                       "QGemm",
                                       "MatMulNBits",
                                       "DequantizeLinear",
                                       "QuantizeLinear",
                                       "Transpose"};
    for (size_t i = 0; i < COUNT(gone); i++) expect(c, p, gone[i], NULL, 0);
}

static void every_family_runs_canonical_kernels_whichever_exporter_wrote_it(void **state) {
    for (size_t i = 0; i < COUNT(whole); i++) {
        const export_case *c = &whole[i];
        parity_profile p = profile(c);
        expect(c, &p, "Attention", "attention/", LAYERS);
        expect(c, &p, "SkipLayerNormalization", "skip_layer_norm/", 2 * LAYERS);
        expect(c, &p, "Embedding", "embedding/", 1);
        expect(c, &p, "Linear", "linear/", is_quantized(c) ? 0 : c->products);
        expect(c, &p, "QuantizedLinear", "quantized_linear/", is_quantized(c) ? c->products : 0);
        expect_none_left(c, &p);
        parity_profile_end(&p);
    }
}

static void attention_with_positions_of_its_own_is_attention(void **state) {
    static const char *const of_deberta[] = {"MatMul", "Softmax", "GatherElements", "Tile", "Transpose"};
    static const char *const of_modernbert[] = {"MatMul", "Softmax", "Neg", "Cos", "Transpose"};
    for (size_t i = 0; i < COUNT(in_part); i++) {
        const export_case *c = &in_part[i];
        parity_profile p = profile(c);
        const bool deberta = strcmp(c->family, "deberta2") == 0;
        expect(c, &p, "Attention", "attention/", LAYERS);
        expect(c, &p, "DisentangledBias", "disentangled_bias/", deberta ? LAYERS : 0);
        for (int j = 0; j < 5; j++) expect(c, &p, (deberta ? of_deberta : of_modernbert)[j], NULL, 0);
        expect(c, &p, "SkipLayerNormalization", "skip_layer_norm/", 2 * LAYERS);
        expect(c, &p, "Linear", "linear/", c->products);
        expect(c, &p, "Erf", NULL, 0);
        expect(c, &p, "Gemm", NULL, 0);
        parity_profile_end(&p);
    }
}

/* ---- Shared weights -------------------------------------------------------------------------------------------------
 */

/* Bytes of the weights of all Linears in panels, the widest that kernels have; each constant once with `once`. */
static size_t weight_bytes(const bert_model *model, bool once) {
    enum { MOST = 64, PANEL = 48 };
    uint64_t seen[MOST];
    size_t bytes = 0;
    int count = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        if (node->op->id != BERT_OP_BERTC_Linear) continue;
        for (int32_t i = 2; i < node->input_count; i += 2) {
            const bert_constant *weight = node->inputs[i] ? node->inputs[i]->info.constant : NULL;
            bool again = false;
            if (!weight) fail_msg("a weight is no constant");
            if (!weight) continue;
            for (int j = 0; j < count; j++) again = again || seen[j] == weight->id;
            assert_true(count < MOST);
            seen[count++] = weight->id;
            if (once && again) continue;
            bytes += (size_t)weight->dims[0] * (size_t)((weight->dims[1] + PANEL - 1) / PANEL * PANEL) * sizeof(float);
        }
    }
    return bytes;
}

static void layers_that_share_weights_have_them_packed_once(void **state) {
    for (size_t i = 0; i < COUNT(whole); i++) {
        if (strcmp(whole[i].family, "albert") != 0) continue;
        parity_profile p = profile(&whole[i]);
        size_t once = weight_bytes(p.model, true), all = weight_bytes(p.model, false);
        assert_true(once < all * 2 / 3);
        assert_true(p.memory.weight_bytes < once + (all - once) / 4); /* and some vectors */
        parity_profile_end(&p);
    }
}

/* ---- The same results -----------------------------------------------------------------------------------------------
 */

static void expect_parity(const export_case *c) {
    static const struct {
        int64_t batch, sequence;
        bool empty_row;
    } shapes[] = {{1, 9, false}, {4, 11, true}};
    /* Half precision rounds between nodes that are one afterwards; a value that a rounding before moved may be
     * quantized to the next integer. */
    double allowed = is_half(c) ? 5e-3 : is_quantized(c) ? 2e-2 : 1e-5;
    char path[512];
    path_of(c, path, sizeof path);
    for (size_t s = 0; s < COUNT(shapes); s++) {
        double worst = 0;
        bert_error error;
        if (parity_run(path, shapes[s].batch, shapes[s].sequence, shapes[s].empty_row, &worst, &error) != BERT_OK)
            fail_msg("%s: %s", path, error.message);
        if (worst > allowed) fail_msg("%s: %g", path, worst);
    }
}

static void every_export_computes_the_same_rewritten(void **state) {
    for (size_t i = 0; i < COUNT(whole); i++) expect_parity(&whole[i]);
    for (size_t i = 0; i < COUNT(in_part); i++) expect_parity(&in_part[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_runs_canonical_kernels_whichever_exporter_wrote_it),
        cmocka_unit_test(attention_with_positions_of_its_own_is_attention),
        cmocka_unit_test(layers_that_share_weights_have_them_packed_once),
        cmocka_unit_test(every_export_computes_the_same_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
