/* Embedding and Lookup, which read tables, and SkipLayerNormalization, which ends as Embedding does. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "onnx_loader/save_call.h"

static const char *normalize(bert_onnx_saved_call *c, const char *x, const char *beta) {
    bool simplified = BERT_NODE_INT(c->node, "simplified", 0) != 0;
    const char *op = !simplified             ? "LayerNormalization"
                     : c->saver->opset >= 23 ? "RMSNormalization"
                                             : "SimplifiedLayerNormalization";
    bert_onnx_save_step_in(c, "", op, "y", x, "gamma", beta, NULL);
    bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "axis", -1);
    bert_onnx_save_reference(c->saver, bert_onnx_save_last_step(c), "epsilon", BERT_ONNX_FLOAT, "epsilon");
    return "y";
}

/* One of the tables: what its inputs are called, and where it stands among the node's. */
typedef struct table {
    const char *name;
    int32_t ids, rows;
} table;

static const table tables[] = {{"word", BERT_EMBEDDING_WORD_IDS, BERT_EMBEDDING_WORD_TABLE},
                               {"type", BERT_EMBEDDING_TYPE_IDS, BERT_EMBEDDING_TYPE_TABLE},
                               {"position", BERT_EMBEDDING_POSITION_IDS, BERT_EMBEDDING_POSITION_TABLE}};
enum { TABLES = sizeof tables / sizeof tables[0] };

static const char *table_text(bert_onnx_saved_call *c, const table *t, const char *what) {
    return bert_onnx_save_format(c->saver, "%s_%s", t->name, what);
}

/* The table as floats. */
static const char *float_table(bert_onnx_saved_call *c, const table *t) {
    const char *rows = table_text(c, t, "table");
    if (!bert_node_in(c->node, BERT_EMBEDDING_SCALE(t->rows))) return rows;
    rows = bert_onnx_save_step_cast(c, c->dtype, table_text(c, t, "cast"), rows);
    if (bert_node_in(c->node, BERT_EMBEDDING_ZERO_POINT(t->rows))) {
        const char *zero =
            bert_onnx_save_step_cast(c, c->dtype, table_text(c, t, "zero_cast"), table_text(c, t, "zero_point"));
        rows = bert_onnx_save_step(c, "Sub", table_text(c, t, "centered"), rows, zero);
    }
    return bert_onnx_save_step(c, "Mul", table_text(c, t, "floats"), rows, table_text(c, t, "scale"));
}

static bert_status embedding_body(bert_onnx_saved_call *c, bert_error *error) {
    const char *sum = NULL;
    for (int i = 0; i < TABLES; i++) {
        const table *t = &tables[i];
        if (!bert_node_in(c->node, t->ids)) continue;
        const char *rows =
            bert_onnx_save_step(c, "Gather", table_text(c, t, "rows"), float_table(c, t), table_text(c, t, "ids"));
        sum = sum ? bert_onnx_save_step(c, "Add", table_text(c, t, "sum"), sum, rows) : rows;
    }
    if (bert_node_in(c->node, BERT_EMBEDDING_GAMMA)) {
        sum = normalize(c, sum, bert_node_in(c->node, BERT_EMBEDDING_BETA) ? "beta" : NULL);
    }
    c->inner_outputs[0] = sum;
    return BERT_OK;
}

static void give_table(bert_onnx_saved_call *c, const table *t) {
    if (!bert_onnx_save_give(c, table_text(c, t, "ids"), t->ids)) return;
    bert_onnx_save_give(c, table_text(c, t, "table"), t->rows);
    bool bytes = bert_onnx_save_give(c, table_text(c, t, "scale"), BERT_EMBEDDING_SCALE(t->rows)) != NULL;
    bool centered = bert_onnx_save_give(c, table_text(c, t, "zero_point"), BERT_EMBEDDING_ZERO_POINT(t->rows)) != NULL;
    bert_onnx_save_extend_name(c, "_%s%s%s", t->name, bytes ? "_bytes" : "", centered ? "_zero_point" : "");
}

bert_status bert_onnx_save_embedding(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error) {
    static const char *const known[] = {"epsilon", NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "Embedding", BERT_EMBEDDING_WORD_TABLE);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    c.dtype = node->outputs[0]->info.dtype;
    for (int i = 0; i < TABLES; i++) give_table(&c, &tables[i]);
    if (bert_onnx_save_give(&c, "gamma", BERT_EMBEDDING_GAMMA)) {
        bert_onnx_save_extend_name(&c, "_normalized");
        bert_onnx_save_give_number(&c, "epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-5F));
        if (!bert_onnx_save_give(&c, "beta", BERT_EMBEDDING_BETA)) bert_onnx_save_extend_name(&c, "_no_beta");
    }
    bert_onnx_save_name_type(&c);
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return bert_onnx_save_finish(&c, nodes, embedding_body, error);
}

static bert_status skip_layer_normalization_body(bert_onnx_saved_call *c, bert_error *error) {
    const char *x = "x";
    if (bert_node_in(c->node, BERT_SKIP_BIAS)) x = bert_onnx_save_step(c, "Add", "biased", x, "bias");
    const char *sum = bert_onnx_save_step(c, "Add", "sum", x, "skip");
    c->inner_outputs[0] = normalize(c, sum, bert_node_in(c->node, BERT_SKIP_BETA) ? "beta" : NULL);
    if (c->output_count > 1) c->inner_outputs[1] = sum;
    return BERT_OK;
}

bert_status bert_onnx_save_skip_layer_normalization(bert_onnx_saver *saver, const bert_node *node,
                                                    bert_onnx_nodes *nodes, bert_error *error) {
    static const char *const known[] = {"epsilon", "simplified", NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "SkipLayerNormalization", BERT_SKIP_X);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    bert_onnx_save_give(&c, "x", BERT_SKIP_X);
    bert_onnx_save_give(&c, "skip", BERT_SKIP_SKIP);
    bert_onnx_save_give(&c, "gamma", BERT_SKIP_GAMMA);
    if (!bert_onnx_save_give(&c, "beta", BERT_SKIP_BETA)) bert_onnx_save_extend_name(&c, "_no_beta");
    if (bert_onnx_save_give(&c, "bias", BERT_SKIP_BIAS)) bert_onnx_save_extend_name(&c, "_bias");
    if (BERT_NODE_INT(node, "simplified", 0)) bert_onnx_save_extend_name(&c, "_simplified");
    bert_onnx_save_give_number(&c, "epsilon", BERT_NODE_FLOAT(node, "epsilon", 1e-5F));
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    if (node->output_count > 1 && node->outputs[1]) {
        bert_onnx_save_extend_name(&c, "_sum");
        bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[1]));
    }
    return bert_onnx_save_finish(&c, nodes, skip_layer_normalization_body, error);
}

static bert_status lookup_body(bert_onnx_saved_call *c, bert_error *error) {
    c->inner_outputs[0] =
        bert_onnx_save_step(c, "Gather", "y", "table", bert_onnx_save_step_cast(c, BERT_INT32, "places", "x"));
    return BERT_OK;
}

bert_status bert_onnx_save_lookup(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                  bert_error *error) {
    static const char *const known[] = {NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "Lookup", BERT_LOOKUP_X);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    bert_onnx_save_give(&c, "x", BERT_LOOKUP_X);
    bert_onnx_save_give(&c, "table", BERT_LOOKUP_TABLE);
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return bert_onnx_save_finish(&c, nodes, lookup_body, error);
}
