/* Operators that ONNX Runtime's optimizer fused: what they become, and that they compute the same. */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#include <float.h>
#include <math.h>

enum { BATCH = 3, SEQUENCE = 5, HEADS = 2, WIDTH = 8 };

static float numbers[4096];

static void fill_numbers(void) {
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        numbers[i] = (float)((i * 7919 + 13) % 211) / 100 - 1.05F;
}

#define TENSOR(name, dtype, data, ...)                                                                                 \
    twice_input((name), (dtype), (data), (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                \
                (int64_t[]){__VA_ARGS__})

/* ---- Attention and its masks ----------------------------------------------------------------------------------------
 */

typedef enum form { NO_MASK, LENGTHS, STARTS, CUMULATED, KEYS, PAIRS, SQUARE, FORMS } form;
static const char *const mask_dims[FORMS] = {"", "3", "6", "11", "3 s", "3 s s", "3 1 s s"};

typedef struct attention_spec {
    form form;
    float filter, scale;
    bool unidirectional, biased, separate;
} attention_spec;

/* Two layers, so that what they share can be seen. */
static void make_attention(builder *b, const void *spec) {
    const attention_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "3 s 8");
    bert_value *mask = s->form ? input(b, "mask", BERT_INT32, mask_dims[s->form]) : NULL;
    bert_value *bias = s->biased ? input(b, "bias", BERT_FLOAT, "1 2 s s") : NULL;
    bert_attribute attributes[] = {
        BERT_INT_ATTRIBUTE("num_heads", HEADS), BERT_FLOAT_ATTRIBUTE("mask_filter_value", s->filter),
        BERT_INT_ATTRIBUTE("unidirectional", s->unidirectional), BERT_FLOAT_ATTRIBUTE("scale", s->scale)};
    for (int layer = 0; layer < 2; layer++) {
        if (!s->separate) {
            bert_value *inputs[] = {x, weight(b, WIDTH, 3 * WIDTH), weight(b, 3 * WIDTH, 0), mask, NULL, bias};
            x = node(b, BERT_OP_MS_Attention, attributes, 4, inputs, 6);
            continue;
        }
        bert_value *parts[3];
        for (int i = 0; i < 3; i++) parts[i] = OP(b, MatMul, x, weight(b, WIDTH, WIDTH));
        bert_value *inputs[] = {parts[0], parts[1], parts[2], weight(b, 3 * WIDTH, 0), mask, bias};
        x = node(b, BERT_OP_MS_MultiHeadAttention, attributes, 4, inputs, 6);
    }
    declare(b, &x, 1);
}

/* Row 1 has a hole and padding on the left, row 2 keeps nothing. */
static int64_t fill_mask(form f, int32_t *out) {
    static const int32_t lengths[] = {5, 3, 0}, starts[] = {0, 1, 0};
    static const int32_t kept[BATCH][SEQUENCE] = {{1, 1, 1, 1, 0}, {0, 1, 0, 1, -1}, {0}};
    int64_t rows = f == KEYS ? 1 : SEQUENCE;
    for (int i = 0; i < 11; i++) out[i] = i < 3 ? lengths[i] : i < 6 && f == STARTS ? starts[i - 3] : 77;
    if (f < KEYS) return 0;
    for (int64_t i = 0; i < BATCH * rows * SEQUENCE; i++) {
        int64_t row = i / SEQUENCE / rows, query = i / SEQUENCE % rows;
        out[i] = kept[row][(i + (query == 2)) % SEQUENCE];
    }
    return rows;
}

static bert_model *run_attention(const attention_spec *s) {
    int32_t mask[BATCH * SEQUENCE * SEQUENCE];
    fill_mask(s->form, mask);
    bert_named_tensor inputs[3] = {TENSOR("x", BERT_FLOAT, numbers, BATCH, SEQUENCE, WIDTH)};
    size_t count = 1;
    switch (s->form) {
    case KEYS:
        inputs[count++] = TENSOR("mask", BERT_INT32, mask, BATCH, SEQUENCE);
        break;
    case PAIRS:
        inputs[count++] = TENSOR("mask", BERT_INT32, mask, BATCH, SEQUENCE, SEQUENCE);
        break;
    case SQUARE:
        inputs[count++] = TENSOR("mask", BERT_INT32, mask, BATCH, 1, SEQUENCE, SEQUENCE);
        break;
    case NO_MASK:
        break;
    default:
        inputs[count++] = TENSOR("mask", BERT_INT32, mask, s->form == LENGTHS ? 3 : s->form == STARTS ? 6 : 11);
    }
    float bias[HEADS * SEQUENCE * SEQUENCE];
    memcpy(bias, numbers + 500, sizeof bias);
    /* Without a mask beside it: nothing is kept of a query, and of another but for keys after it. */
    for (int i = 0; i < SEQUENCE && s->form == NO_MASK; i++) bias[3 * SEQUENCE + i] = -FLT_MAX;
    if (s->form == NO_MASK) bias[0] = -FLT_MAX;
    if (s->biased) inputs[count++] = TENSOR("bias", BERT_FLOAT, bias, 1, HEADS, SEQUENCE, SEQUENCE);
    /* Where nothing is kept, -10000 and the bias are added in float32, whose steps are 1e-3 there; the fused operator's
     * reference adds in double. */
    return twice(make_attention, s, inputs, count, s->biased && s->filter == -10000 ? 1e-3 : 1e-6);
}

static void expect_two_layers_with_one_mask(const bert_model *model) {
    const bert_node *found[2] = {NULL, NULL};
    int count = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        if (node->op->id != BERT_OP_BERTC_Attention) continue;
        assert_true(count < 2);
        found[count++] = node;
    }
    if (!found[0] || !found[1]) {
        fail_msg("%d Attention instead of two", count);
        return;
    }
    assert_int_equal(twice_count(model, BERT_OP_BERTC_Linear), 2);
    for (int i = BERT_ATTENTION_BIAS; i <= BERT_ATTENTION_MASK; i++)
        assert_ptr_equal(found[0]->inputs[i], found[1]->inputs[i]);
    for (int i = 0; i < 2; i++) assert_int_equal(BERT_NODE_INT(found[i], "packed", 0), 1);
}

static void attention_computes_the_same_with_every_mask(void **state) {
    static const float filters[] = {-FLT_MAX, -10000, -1e31F, -3};
    for (int f = 0; f < FORMS; f++) {
        for (int choice = 0; choice < 32; choice++) {
            attention_spec s = {.form = (form)f,
                                .filter = filters[choice & 3],
                                .unidirectional = choice >> 2 & 1,
                                .biased = choice >> 3 & 1,
                                .scale = choice & 1 ? 0.7F : 0};
            s.separate = choice >> 4 & 1;
            /* MultiHeadAttention's mask never has starts. */
            if (s.separate && (s.form == STARTS || s.form == SQUARE)) continue;
            bert_model *model = run_attention(&s);
            assert_int_equal(twice_count(model, BERT_OP_MS_Attention), 0);
            assert_int_equal(twice_count(model, BERT_OP_MS_MultiHeadAttention), 0);
            expect_two_layers_with_one_mask(model);
            bert_model_free(model);
        }
    }
}

/* What stays, since the pass can't be sure or the canonical form has nothing for it. */
static void attention_of_another_kind_is_left_alone(void **state) {
    bert_attribute heads = BERT_INT_ATTRIBUTE("num_heads", HEADS);
    bert_attribute sizes[] = {heads, INTS_ATTRIBUTE("qkv_hidden_sizes", 8, 8, 16)};
    for (int choice = 0; choice < 4; choice++) {
        builder b = start(17);
        bert_value *x = input(&b, "x", BERT_FLOAT, "b s 8");
        /* A mask [b, 1] masks nothing unless s is 1; one of unknown length has no certain form; a weight that is given
         * can't be packed. */
        bert_value *mask = choice == 0   ? input(&b, "mask", BERT_INT32, "b 1")
                           : choice == 1 ? input(&b, "mask", BERT_INT32, "n")
                                         : NULL;
        bert_value *w = choice == 2 ? input(&b, "w", BERT_FLOAT, "8 24") : weight(&b, 8, choice == 3 ? 32 : 24);
        bert_value *inputs[] = {x, w, weight(&b, choice == 3 ? 32 : 24, 0), mask};
        bert_value *y = choice == 3 ? node(&b, BERT_OP_MS_Attention, sizes, 2, inputs, 4)
                                    : node(&b, BERT_OP_MS_Attention, &heads, 1, inputs, 4);
        run_all(&b, &y, 1);
        assert_int_equal(count_nodes(&b, BERT_OP_MS_Attention), 1);
        assert_int_equal(count_nodes(&b, BERT_OP_BERTC_Attention), 0);
        assert_true(b.report.miss_count > 0);
        finish(&b);
    }
}

/* ---- ONNX's Attention -----------------------------------------------------------------------------------------------
 */

typedef struct onnx_spec {
    int mask; /* 0: none, 1: bool [s, s], 2: float [3, 1, s, s]. */
    bool causal, by_heads;
} onnx_spec;

/* [3, H, s, D] of [3, s, H D]. */
static bert_value *heads_of(builder *b, bert_value *x) {
    return transpose(b, RESHAPE(b, x, 0, 0, HEADS, WIDTH / HEADS), 0, 2, 1, 3);
}

static void make_onnx(builder *b, const void *spec) {
    const onnx_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "3 s 8");
    bert_value *mask = s->mask == 1   ? input(b, "mask", BERT_BOOL, "s s")
                       : s->mask == 2 ? input(b, "mask", BERT_FLOAT, "3 1 s s")
                                      : NULL;
    bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("q_num_heads", HEADS), BERT_INT_ATTRIBUTE("kv_num_heads", HEADS),
                                   BERT_INT_ATTRIBUTE("is_causal", s->causal)};
    bert_value *parts[4] = {NULL, NULL, NULL, mask};
    for (int i = 0; i < 3; i++) parts[i] = OP(b, MatMul, x, weight(b, WIDTH, WIDTH));
    b->opset = 23;
    if (!s->by_heads) {
        bert_value *y = node(b, BERT_OP_Attention, attributes, 3, parts, 4);
        declare(b, &y, 1);
        return;
    }
    for (int i = 0; i < 3; i++) parts[i] = heads_of(b, parts[i]);
    bert_attribute scale = BERT_FLOAT_ATTRIBUTE("scale", 0.3F);
    bert_value *y = node(b, BERT_OP_Attention, &scale, s->mask > 0, parts, 4);
    y = RESHAPE(b, transpose(b, y, 0, 2, 1, 3), 0, 0, WIDTH);
    declare(b, &y, 1);
}

static void attention_of_onnx_becomes_canonical(void **state) {
    unsigned char kept[SEQUENCE * SEQUENCE];
    for (int i = 0; i < SEQUENCE * SEQUENCE; i++) kept[i] = i % SEQUENCE == 0 || i % 3 != 0;
    for (int choice = 0; choice < 9; choice++) {
        onnx_spec s = {.mask = choice / 2, .causal = choice & 1};
        if (choice > 5) s = (onnx_spec){.mask = choice - 6, .by_heads = true};
        bert_named_tensor inputs[2] = {TENSOR("x", BERT_FLOAT, numbers, BATCH, SEQUENCE, WIDTH)};
        if (s.mask == 1) inputs[1] = TENSOR("mask", BERT_BOOL, kept, SEQUENCE, SEQUENCE);
        if (s.mask == 2) inputs[1] = TENSOR("mask", BERT_FLOAT, numbers + 300, BATCH, 1, SEQUENCE, SEQUENCE);
        bert_model *model = twice(make_onnx, &s, inputs, s.mask ? 2 : 1, 1e-6);
        assert_int_equal(twice_count(model, BERT_OP_Attention), 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 1);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Linear), 1);
        bert_model_free(model);
    }
}

/* ---- Products and activations ---------------------------------------------------------------------------------------
 */

typedef struct product_spec {
    bert_op_id product, activation;
    const char *own; /* FusedGemm's activation. */
    bool transposed, bias;
    int linears, rest; /* What is left: Linears, and nodes in all. */
} product_spec;

static void make_product(builder *b, const void *spec) {
    const product_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "n 8");
    bert_attribute attributes[3] = {BERT_INT_ATTRIBUTE("transB", s->transposed), BERT_FLOAT_ATTRIBUTE("alpha", 0.25F)};
    size_t attribute_count = s->product == BERT_OP_MS_GemmFastGelu ? 0 : 2;
    if (s->own) attributes[attribute_count++] = BERT_STRING_ATTRIBUTE("activation", s->own);
    bert_value *inputs[3] = {x, weight(b, s->transposed ? 6 : 8, s->transposed ? 8 : 6), NULL};
    bool added = s->bias && s->product != BERT_OP_MS_FusedMatMul;
    if (added) inputs[2] = weight(b, 6, 0);
    bert_value *y = node(b, s->product, attributes, attribute_count, inputs, added ? 3 : 2);
    if (s->activation) {
        bert_value *next[2] = {y, s->bias && !added ? weight(b, 6, 0) : NULL};
        y = node(b, s->activation, NULL, 0, next, next[1] ? 2 : 1);
    }
    declare(b, &y, 1);
}

static void fused_products_become_linear(void **state) {
    static const product_spec specs[] = {
        {BERT_OP_MS_FusedMatMul, BERT_OP_MS_BiasGelu, NULL, false, true, 1, 1},
        {BERT_OP_MS_FusedMatMul, BERT_OP_MS_FastGelu, NULL, true, true, 1, 1},
        {BERT_OP_MS_FusedMatMul, BERT_OP_MS_FastGelu, NULL, true, false, 1, 1},
        {BERT_OP_MS_FusedMatMul, BERT_OP_MS_Gelu, NULL, true, false, 1, 1},
        {BERT_OP_MS_FusedMatMul, BERT_OP_MS_QuickGelu, NULL, false, false, 1, 1},
        {BERT_OP_MS_FusedGemm, 0, "Tanh", true, true, 1, 1},
        {BERT_OP_MS_FusedGemm, 0, "Relu", false, false, 1, 1},
        {BERT_OP_MS_FusedGemm, BERT_OP_MS_Gelu, "", true, true, 1, 1},
        {BERT_OP_MS_GemmFastGelu, 0, NULL, false, true, 1, 1},
        {BERT_OP_MS_GemmFastGelu, 0, NULL, false, false, 1, 1},
        /* Linear has no sigmoid, and no activation before an activation. */
        {BERT_OP_MS_FusedGemm, 0, "Sigmoid", true, true, 1, 2},
        {BERT_OP_MS_FusedGemm, 0, "Sigmoid", false, false, 1, 2},
        {BERT_OP_MS_FusedGemm, BERT_OP_MS_Gelu, "Tanh", true, true, 1, 2},
    };
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        bert_named_tensor x = TENSOR("x", BERT_FLOAT, numbers, 7, 8);
        bert_model *model = twice(make_product, &specs[i], &x, 1, 1e-6);
        int nodes = 0;
        BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
            nodes++;
        }
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Linear), specs[i].linears);
        assert_int_equal(nodes, specs[i].rest);
        bert_model_free(model);
    }
}

static void make_residual(builder *b, const void *spec) {
    const int *choice = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, *choice == 4 ? "7 8" : "n 8");
    bert_value *product = OP(b, MatMul, x, weight(b, 8, *choice == 1 ? 1 : 8));
    bert_value *residual = *choice == 4 ? weight(b, 7, 8) : x;
    bert_value *y = *choice & 1 ? OP(b, Add, residual, product) : OP(b, Add, product, residual);
    bert_value *outputs[] = {y, product};
    declare(b, outputs, *choice == 2 ? 2 : 1);
}

static void a_residual_is_added_by_the_linear_before_it(void **state) {
    /* 0 and 3: either order. 1: a column is broadcast. 2: the product is wanted too. 4: a constant of the sum alone. */
    for (int choice = 0; choice < 5; choice++) {
        bert_named_tensor x = TENSOR("x", BERT_FLOAT, numbers, 7, 8);
        bert_model *model = twice(make_residual, &choice, &x, 1, 1e-6);
        assert_int_equal(twice_count(model, BERT_OP_Add), choice == 1 || choice == 2);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Linear), 1);
        bert_model_free(model);
    }
}

static void make_softmax(builder *b, const void *spec) {
    bert_value *x = input(b, "x", BERT_FLOAT, "2 3 5"), *bias = input(b, "bias", BERT_FLOAT, "1 3 5");
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", *(const int *)spec);
    bert_value *y = OP_WITH(b, MS_BiasSoftmax, axis, x, bias);
    declare(b, &y, 1);
}

static void bias_softmax_over_the_last_dimension_is_a_sum_and_softmax(void **state) {
    for (int axis = 1; axis < 3; axis++) {
        bert_named_tensor inputs[] = {TENSOR("x", BERT_FLOAT, numbers, 2, 3, 5),
                                      TENSOR("bias", BERT_FLOAT, numbers + 90, 1, 3, 5)};
        bert_model *model = twice(make_softmax, &axis, inputs, 2, 1e-6);
        assert_int_equal(twice_count(model, BERT_OP_MS_BiasSoftmax), axis == 1);
        assert_int_equal(twice_count(model, BERT_OP_Softmax), axis == 2);
        bert_model_free(model);
    }
}

/* ---- Normalizations -------------------------------------------------------------------------------------------------
 */

typedef struct skip_spec {
    bool beta, bias, sum, broadcast;
} skip_spec;

static bert_value *add_value(builder *b) {
    bert_value *value = NULL;
    assert_int_equal(bert_graph_add_value(b->graph, NULL, &value, NULL), BERT_OK);
    return value;
}

static bert_node *add_node(builder *b, bert_op_id id, bert_value *const *inputs, int32_t input_count,
                           bert_value *const *outputs, int32_t output_count) {
    bert_node *made = NULL;
    assert_int_equal(bert_graph_add_node(&b->graph->body, NULL,
                                         &(bert_node_spec){.op = bert_op_get(id),
                                                           .opset = 1,
                                                           .inputs = inputs,
                                                           .input_count = input_count,
                                                           .outputs = outputs,
                                                           .output_count = output_count},
                                         &made, NULL),
                     BERT_OK);
    return made;
}

static void make_skip(builder *b, const void *spec) {
    const skip_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "b s 8");
    bert_value *skip = input(b, "skip", BERT_FLOAT, s->broadcast ? "1 s 8" : "b s 8");
    bert_value *inputs[] = {x, skip, weight(b, 8, 0), s->beta ? weight(b, 8, 0) : NULL,
                            s->bias ? weight(b, 8, 0) : NULL};
    bert_value *outputs[] = {add_value(b), NULL, NULL, s->sum ? add_value(b) : NULL};
    add_node(b, BERT_OP_MS_SkipLayerNormalization, inputs, 5, outputs, 4);
    declare(b, (bert_value *[]){outputs[0], outputs[3]}, s->sum ? 2 : 1);
}

static void skip_layer_normalization_keeps_its_sum_and_its_bias(void **state) {
    for (int choice = 0; choice < 16; choice++) {
        skip_spec s = {choice & 1, choice >> 1 & 1, choice >> 2 & 1, choice >> 3 & 1};
        bert_named_tensor inputs[] = {TENSOR("x", BERT_FLOAT, numbers, 2, 3, 8),
                                      TENSOR("skip", BERT_FLOAT, numbers + 77, s.broadcast ? 1 : 2, 3, 8)};
        bert_model *model = twice(make_skip, &s, inputs, 2, 1e-6);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_SkipLayerNormalization), !s.broadcast);
        assert_int_equal(twice_count(model, BERT_OP_MS_SkipLayerNormalization), s.broadcast);
        bert_model_free(model);
    }
}

typedef struct embedding_spec {
    bool typed, masked, positions;
} embedding_spec;

static void make_embedding(builder *b, const void *spec) {
    const embedding_spec *s = spec;
    bert_value *ids = input(b, "ids", BERT_INT32, "b s");
    bert_value *types = s->typed ? input(b, "types", BERT_INT32, "b s") : NULL;
    bert_value *mask = s->masked ? input(b, "mask", BERT_INT32, "b s") : NULL;
    bert_value *positions = s->positions ? input(b, "positions", BERT_INT32, "1 s") : NULL;
    bert_value *inputs[] = {ids,
                            types,
                            weight(b, 20, 8),
                            weight(b, 9, 8),
                            s->typed ? weight(b, 2, 8) : NULL,
                            weight(b, 8, 0),
                            weight(b, 8, 0),
                            mask,
                            positions};
    bert_value *outputs[] = {add_value(b), add_value(b)};
    add_node(b, BERT_OP_MS_EmbedLayerNormalization, inputs, 9, outputs, 2);
    declare(b, outputs, 2);
}

static void an_embedding_counts_positions_and_its_mask(void **state) {
    static int32_t ids[] = {3, 19, 0, 7, 7, 2, 11, 12}, types[] = {0, 0, 1, 1, 0, 1, 0, 1};
    static int32_t mask[] = {0, 1, 1, 0, 2, 0, 0, -1}, positions[] = {8, 0, 3, 3};
    for (int choice = 0; choice < 8; choice++) {
        embedding_spec s = {choice & 1, choice >> 1 & 1, choice >> 2 & 1};
        bert_named_tensor inputs[4] = {TENSOR("ids", BERT_INT32, ids, 2, 4)};
        size_t count = 1;
        if (s.typed) inputs[count++] = TENSOR("types", BERT_INT32, types, 2, 4);
        if (s.masked) inputs[count++] = TENSOR("mask", BERT_INT32, mask, 2, 4);
        if (s.positions) inputs[count++] = TENSOR("positions", BERT_INT32, positions, 1, 4);
        bert_model *model = twice(make_embedding, &s, inputs, count, 1e-6);
        assert_int_equal(twice_count(model, BERT_OP_MS_EmbedLayerNormalization), 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Embedding), 1);
        bert_model_free(model);
    }
}

/* ---- If -------------------------------------------------------------------------------------------------------------
 */

static bert_value *node_in(builder *b, bert_block *block, bert_op_id id, const bert_attribute *attributes,
                           bert_value *const *inputs, int32_t count) {
    bert_value *output = add_value(b);
    bert_node *made = NULL;
    assert_int_equal(bert_graph_add_node(block, NULL,
                                         &(bert_node_spec){.op = bert_op_get(id),
                                                           .opset = 17,
                                                           .inputs = inputs,
                                                           .input_count = count,
                                                           .outputs = &output,
                                                           .output_count = 1,
                                                           .attributes = attributes,
                                                           .attribute_count = attributes ? 2 : 0},
                                         &made, NULL),
                     BERT_OK);
    return output;
}

/* If(condition) { inner } else { x x }: what it gives. With `inner` NULL the first branch gives x + x. */
static bert_value *add_if(builder *b, bert_block *block, bert_value *x, bert_value *condition, bert_value *inner) {
    bert_block *branches[2];
    for (int i = 0; i < 2; i++) {
        branches[i] = BERT_ARENA_NEW(&b->graph->arena, bert_block);
        assert_non_null(branches[i]);
        *branches[i] = (bert_block){.graph = b->graph, .parent = block};
    }
    bert_value *results[2] = {NULL, node_in(b, branches[1], BERT_OP_Mul, NULL, (bert_value *[]){x, x}, 2)};
    results[0] = inner ? add_if(b, branches[0], x, inner, NULL)
                       : node_in(b, branches[0], BERT_OP_Add, NULL, (bert_value *[]){x, x}, 2);
    for (int i = 0; i < 2; i++) assert_int_equal(bert_block_set_outputs(branches[i], &results[i], 1, NULL), BERT_OK);
    bert_attribute attributes[2] = {
        {.name = "then_branch", .kind = BERT_ATTRIBUTE_GRAPH, .count = 1, .value.graph = branches[0]},
        {.name = "else_branch", .kind = BERT_ATTRIBUTE_GRAPH, .count = 1, .value.graph = branches[1]}};
    return node_in(b, block, BERT_OP_If, attributes, &condition, 1);
}

typedef struct if_spec {
    int outer, inner; /* 0, 1; 2: an input. */
} if_spec;

static void make_if(builder *b, const void *spec) {
    const if_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "n");
    bert_value *given = s->outer == 2 || s->inner == 2 ? input(b, "given", BERT_BOOL, "") : NULL;
    bert_value *y = add_if(b, &b->graph->body, x, s->outer == 2 ? given : boolean(b, s->outer == 1),
                           s->inner == 2 ? given : boolean(b, s->inner == 1));
    declare(b, (bert_value *[]){y, OP(b, Neg, y)}, 2);
}

static void a_branch_that_certainly_runs_takes_the_place_of_its_if(void **state) {
    for (int choice = 0; choice < 9; choice++) {
        if_spec s = {choice / 3, choice % 3};
        unsigned char truth = 1;
        bert_named_tensor inputs[] = {TENSOR("x", BERT_FLOAT, numbers, 6),
                                      {"given", {.dtype = BERT_BOOL, .data = &truth}, 0}};
        bert_model *model = twice(make_if, &s, inputs, s.outer == 2 || s.inner == 2 ? 2 : 1, 0);
        bool left = s.outer == 2 || (s.outer == 1 && s.inner == 2);
        assert_int_equal(twice_count(model, BERT_OP_If), left);
        assert_int_equal(twice_count(model, BERT_OP_Add), !left && s.outer == 1 && s.inner == 1);
        bert_model_free(model);
    }
}

int main(void) {
    fill_numbers();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_computes_the_same_with_every_mask),
        cmocka_unit_test(attention_of_another_kind_is_left_alone),
        cmocka_unit_test(attention_of_onnx_becomes_canonical),
        cmocka_unit_test(fused_products_become_linear),
        cmocka_unit_test(a_residual_is_added_by_the_linear_before_it),
        cmocka_unit_test(bias_softmax_over_the_last_dimension_is_a_sum_and_softmax),
        cmocka_unit_test(skip_layer_normalization_keeps_its_sum_and_its_bias),
        cmocka_unit_test(an_embedding_counts_positions_and_its_mask),
        cmocka_unit_test(a_branch_that_certainly_runs_takes_the_place_of_its_if),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
