/* Attention and DisentangledBias as functions of the file. */
#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "onnx_loader/save_call.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Elements of a head; -1: not known. */
static int64_t head_size(const bert_node *node) {
    const bert_shape *shape = &node->outputs[0]->info.shape;
    int64_t heads = BERT_NODE_INT(node, "heads", 1);
    bool is_known = shape->rank == 3 && bert_dim_known(shape->dims[2]) && heads > 0;
    return is_known ? shape->dims[2] / heads : -1;
}

/* Orders of the dimensions batch, sequence, heads and size of a head. */
static const int64_t bhsd[4] = {0, 2, 1, 3}, bhds[4] = {0, 2, 3, 1};
/* Those of heads [B, H, S, D] that become [B, H, D, S]. */
static const int64_t last_two_exchanged[4] = {0, 1, 3, 2};

static const char *head_view(bert_onnx_saved_call *c, const char *of, const int64_t perm[4]) {
    const char *split =
        bert_onnx_save_step(c, "Reshape", bert_onnx_save_format(c->saver, "%s_split", of), of, "heads_shape");
    return bert_onnx_save_step_transpose(c, bert_onnx_save_format(c->saver, "%s_heads", of), split, perm, 4);
}

/* Equal parts of the last dimension. */
static void split_in(bert_onnx_saved_call *c, const char *x, const char *const *parts, int count) {
    bert_onnx_save_node(c->saver, &c->body, "", "Split", &x, 1, parts, (size_t)count);
    bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "axis", -1);
    if (c->saver->opset >= 18) bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "num_outputs", count);
}

/* Cosines or sines [1 or B, S, D] as [1 or B, 1, S, D]: the same for all heads. */
static const char *angles_of_heads(bert_onnx_saved_call *c, const char *angles) {
    return bert_onnx_save_step(c, "Unsqueeze", bert_onnx_save_format(c->saver, "heads_%s", angles), angles,
                               "axis_of_heads");
}

/* Heads [B, H, S, D] of `of`, rotated: x cosines + (-second half of x, first half) sines. */
static const char *rotate(bert_onnx_saved_call *c, const char *of, const char *heads, const char *cosines,
                          const char *sines) {
    bert_onnx_saver *saver = c->saver;
    const char *halves[2] = {bert_onnx_save_format(saver, "%s_first", of),
                             bert_onnx_save_format(saver, "%s_second", of)};
    split_in(c, heads, halves, 2);
    const char *negated =
        bert_onnx_save_step(c, "Neg", bert_onnx_save_format(saver, "%s_negated", of), halves[1], NULL);
    const char *turned =
        bert_onnx_save_step(c, "Concat", bert_onnx_save_format(saver, "%s_turned", of), negated, halves[0]);
    bert_onnx_save_int(saver, bert_onnx_save_last_step(c), "axis", -1);
    const char *along = bert_onnx_save_step(c, "Mul", bert_onnx_save_format(saver, "%s_along", of), heads, cosines);
    const char *across = bert_onnx_save_step(c, "Mul", bert_onnx_save_format(saver, "%s_across", of), turned, sines);
    return bert_onnx_save_step(c, "Add", bert_onnx_save_format(saver, "%s_rotated", of), along, across);
}

/* Heads of the queries [B, H, S, D] and of the keys [B, H, D, T]. */
static void queries_and_keys(bert_onnx_saved_call *c, const char **query, const char **key) {
    *query = head_view(c, "query", bhsd);
    if (!bert_node_in(c->node, BERT_ATTENTION_COSINES)) {
        *key = head_view(c, "key", bhds);
        return;
    }
    bert_onnx_save_step_ints(c, "axis_of_heads", (int64_t[]){1}, 1);
    const char *cosines = angles_of_heads(c, "cosines"), *sines = angles_of_heads(c, "sines");
    *query = rotate(c, "query", *query, cosines, sines);
    /* The angles broadcast to keys whose elements are last. */
    *key = rotate(c, "key", head_view(c, "key", bhsd), cosines, sines);
    *key = bert_onnx_save_step_transpose(c, "key_columns", *key, last_two_exchanged, 4);
}

static const char *softmax(bert_onnx_saved_call *c, const char *scores) {
    const char *p = bert_onnx_save_step(c, "Softmax", "probabilities", scores, NULL);
    bert_onnx_save_int(c->saver, bert_onnx_save_last_step(c), "axis", -1);
    if (strcmp(BERT_NODE_STRING(c->node, "masked_rows", "nan"), "zero") != 0) return p;
    return bert_onnx_save_step_in(c, "", "Where", "guarded", bert_onnx_save_step(c, "IsNaN", "is_nan", p, NULL),
                                  bert_onnx_save_step_number(c, "zero", 0), p, NULL);
}

static bert_status attention_body(bert_onnx_saved_call *c, bert_error *error) {
    int64_t heads = BERT_NODE_INT(c->node, "heads", 1), size = head_size(c->node);
    if (strcmp(c->inner_inputs[0], "packed") == 0) {
        static const char *const parts[] = {"query", "key", "value"};
        split_in(c, "packed", parts, 3);
    }
    bert_onnx_save_step_ints(c, "heads_shape", (int64_t[]){0, 0, heads, size}, 4);
    const char *query, *key;
    queries_and_keys(c, &query, &key);
    const char *value = head_view(c, "value", bhsd);
    const char *product = bert_onnx_save_step(c, "MatMul", "product", query, key);
    const char *scores = bert_onnx_save_step(c, "Mul", "scores", product, bert_onnx_save_step_given_number(c, "scale"));
    if (bert_node_in(c->node, BERT_ATTENTION_BIAS)) scores = bert_onnx_save_step(c, "Add", "biased", scores, "bias");
    if (bert_node_in(c->node, BERT_ATTENTION_MASK)) {
        scores = bert_onnx_save_step_in(c, "", "Where", "masked", "mask", scores,
                                        bert_onnx_save_step_given_number(c, "mask_value"), NULL);
    }
    const char *context = bert_onnx_save_step(c, "MatMul", "context", softmax(c, scores), value);
    bert_onnx_save_step_ints(c, "shape", (int64_t[]){0, 0, size < 0 ? -1 : heads * size}, 3);
    c->inner_outputs[0] = bert_onnx_save_step(
        c, "Reshape", "y", bert_onnx_save_step_transpose(c, "side_by_side", context, bhsd, 4), "shape");
    return BERT_OK;
}

bert_status bert_onnx_save_attention(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                     bert_error *error) {
    static const char *const known[] = {"heads", "scale", "packed", "mask_value", "masked_rows", NULL};
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "Attention", BERT_ATTENTION_Q);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    bert_onnx_save_extend_name(&c, "_%" PRId64 "_heads", BERT_NODE_INT(node, "heads", 1));
    if (head_size(node) >= 0) bert_onnx_save_extend_name(&c, "_of_%" PRId64, head_size(node));
    const bert_onnx_parts *parts = saver->parts[node->inputs[BERT_ATTENTION_Q]->id];
    static const char *const inner[] = {"query", "key", "value"};
    bool packed = BERT_NODE_INT(node, "packed", 0) && !parts;
    if (packed) {
        bert_onnx_save_give(&c, "packed", BERT_ATTENTION_Q);
        bert_onnx_save_extend_name(&c, "_packed");
    }
    for (int p = 0; p < 3 && !packed; p++) {
        if (parts) {
            c.inputs_of_node += p == 0;
            bert_onnx_save_give_text(&c, inner[p], parts->names[p]);
        } else {
            bert_onnx_save_give(&c, inner[p], p);
        }
    }
    if (bert_onnx_save_give(&c, "bias", BERT_ATTENTION_BIAS)) bert_onnx_save_extend_name(&c, "_bias");
    bert_onnx_save_give_number(&c, "scale", BERT_NODE_FLOAT(node, "scale", 1));
    if (bert_onnx_save_give(&c, "mask", BERT_ATTENTION_MASK)) {
        bert_onnx_save_extend_name(&c, "_mask");
        bert_onnx_save_give_number(&c, "mask_value", BERT_NODE_FLOAT(node, "mask_value", -INFINITY));
    }
    bert_onnx_save_give(&c, "cosines", BERT_ATTENTION_COSINES);
    if (bert_onnx_save_give(&c, "sines", BERT_ATTENTION_SINES)) bert_onnx_save_extend_name(&c, "_rotary");
    if (strcmp(BERT_NODE_STRING(node, "masked_rows", "nan"), "zero") == 0) bert_onnx_save_extend_name(&c, "_guarded");
    bert_onnx_save_name_type(&c);
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return bert_onnx_save_finish(&c, nodes, attention_body, error);
}

/* One term of DisentangledBias: heads of `content` times those of `positions`, at the `indices`. */
static const char *position_term(bert_onnx_saved_call *c, const char *content, const char *positions,
                                 const char *indices) {
    bert_onnx_saver *saver = c->saver;
    const char *heads = head_view(c, content, bhsd), *rows = head_view(c, positions, bhds);
    const char *product =
        bert_onnx_save_step(c, "MatMul", bert_onnx_save_format(saver, "%s_products", positions), heads, rows);
    const char *all = bert_onnx_save_step(c, "Shape", bert_onnx_save_format(saver, "%s_shape", product), product, NULL);
    const char *first =
        bert_onnx_save_step(c, "Gather", bert_onnx_save_format(saver, "%s_first", all), all, "first_two");
    const char *last_two =
        bert_onnx_save_step(c, "Shape", bert_onnx_save_format(saver, "%s_shape", indices), indices, NULL);
    const char *shape =
        bert_onnx_save_step(c, "Concat", bert_onnx_save_format(saver, "%s_expanded_shape", indices), first, last_two);
    bert_onnx_save_int(saver, bert_onnx_save_last_step(c), "axis", 0);
    const char *by =
        bert_onnx_save_step(c, "Expand", bert_onnx_save_format(saver, "%s_expanded", indices), indices, shape);
    const char *gathered =
        bert_onnx_save_step(c, "GatherElements", bert_onnx_save_format(saver, "%s_gathered", positions), product, by);
    bert_onnx_save_int(saver, bert_onnx_save_last_step(c), "axis", -1);
    return gathered;
}

static bert_status disentangled_bias_body(bert_onnx_saved_call *c, bert_error *error) {
    const int64_t heads = BERT_NODE_INT(c->node, "heads", 1);
    const bert_dim width = bert_node_in(c->node, BERT_DISENTANGLED_Q)->info.shape.dims[2];
    const char *keys = NULL, *queries = NULL;
    bert_onnx_save_step_ints(c, "heads_shape", (int64_t[]){0, 0, heads, width / heads}, 4);
    bert_onnx_save_step_ints(c, "first_two", (int64_t[]){0, 1}, 2);
    if (bert_node_in(c->node, BERT_DISENTANGLED_KEYS))
        keys = position_term(c, "query", "position_keys", "content_to_position");
    if (bert_node_in(c->node, BERT_DISENTANGLED_QUERIES)) {
        queries = position_term(c, "key", "position_queries", "position_to_content");
        queries = bert_onnx_save_step_transpose(c, "turned", queries, last_two_exchanged, 4);
    }
    const char *sum = keys && queries ? bert_onnx_save_step(c, "Add", "sum", keys, queries) : keys ? keys : queries;
    c->inner_outputs[0] = bert_onnx_save_step(c, "Mul", "y", sum, bert_onnx_save_step_given_number(c, "scale"));
    return BERT_OK;
}

bert_status bert_onnx_save_disentangled_bias(bert_onnx_saver *saver, const bert_node *node, bert_onnx_nodes *nodes,
                                             bert_error *error) {
    static const char *const known[] = {"heads", "scale", NULL};
    const int64_t heads = BERT_NODE_INT(node, "heads", 1);
    const bert_shape *q = &node->inputs[BERT_DISENTANGLED_Q]->info.shape;
    bert_onnx_saved_call c;
    bert_onnx_save_begin(&c, saver, node, "DisentangledBias", BERT_DISENTANGLED_Q);
    BERT_TRY(bert_onnx_save_check_attributes(node, known, error));
    if (q->rank != 3 || !bert_dim_known(q->dims[2]) ||
        (!bert_node_in(node, BERT_DISENTANGLED_KEYS) && !bert_node_in(node, BERT_DISENTANGLED_QUERIES)))
        return bert_fail(error, BERT_UNSUPPORTED, "it has no positions, or heads whose size isn't known");
    bert_onnx_save_extend_name(&c, "_%" PRId64 "_heads_of_%" PRId64, heads, q->dims[2] / heads);
    bert_onnx_save_give(&c, "query", BERT_DISENTANGLED_Q);
    bert_onnx_save_give(&c, "key", BERT_DISENTANGLED_K);
    if (bert_onnx_save_give(&c, "position_keys", BERT_DISENTANGLED_KEYS)) bert_onnx_save_extend_name(&c, "_keys");
    bert_onnx_save_give(&c, "content_to_position", BERT_DISENTANGLED_C2P);
    if (bert_onnx_save_give(&c, "position_queries", BERT_DISENTANGLED_QUERIES))
        bert_onnx_save_extend_name(&c, "_queries");
    bert_onnx_save_give(&c, "position_to_content", BERT_DISENTANGLED_P2C);
    bert_onnx_save_give_number(&c, "scale", BERT_NODE_FLOAT(node, "scale", 1));
    bert_onnx_save_name_type(&c);
    bert_onnx_save_give_output(&c, bert_onnx_save_name(saver, node->outputs[0]));
    return bert_onnx_save_finish(&c, nodes, disentangled_bias_body, error);
}
