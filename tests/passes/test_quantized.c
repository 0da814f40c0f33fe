/*
 * Quantized graphs in every spelling: what they become, and that they compute the same, to the last bit where nothing
 * but the integers and their scales is computed.
 */
#include "core/graph/canonical.h"
#include "tests/passes/twice.h"

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

enum { ROWS = 6, DEPTH = 8, COLUMNS = 6 };

static float numbers[512];

static int fill(void **state) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        numbers[i] = (float)((i * 7919 + 13) % 211) / 100 - 1.05F;
    return 0;
}

static const bert_node *find(const bert_model *model, bert_op_id id) {
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        if (node->op->id == id) return node;
    }
    fail_msg("there is no %s", bert_op_get(id)->name);
    return NULL;
}

static int rest(const bert_model *model) {
    int count = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
        count++;
    }
    return count;
}

/* ---- Nodes ----------------------------------------------------------------------------------------------------------
 */

/* DynamicQuantizeLinear, or QuantizeLinear with a constant scale. */
static quantized quantize(builder *b, bert_value *x, bool fixed, bert_dtype dtype) {
    if (!fixed) return quantize_dynamically(b, x);
    quantized q = {NULL, scalar(b, 0.0123F), bytes(b, dtype, 0, NULL)};
    q.values = OP(b, QuantizeLinear, x, q.scale, q.zero_point);
    return q;
}

static bert_value *scales(builder *b, bool of_columns, int64_t columns) {
    return of_columns ? OP(b, Abs, weight(b, columns, 0)) : scalar(b, 0.017F);
}

static bert_value *zeros(builder *b, bert_dtype dtype, bool of_columns, int64_t columns) {
    return bytes(b, dtype, of_columns ? 1 : 0, &columns);
}

/* ---- Products of bytes ----------------------------------------------------------------------------------------------
 */

typedef enum spelling { INTEGER, TO_FLOAT, DYNAMIC, QLINEAR, GEMM, GEMM_TO_BYTES, SPELLINGS } spelling;

typedef struct product_spec {
    spelling how;
    bert_dtype x, w;
    bool fixed, of_columns, transposed, biased, chained, x_zero;
} product_spec;

static bert_value *integer_product(builder *b, const product_spec *s, const quantized *q, bert_value *w) {
    bert_value *scale = scales(b, s->of_columns, COLUMNS), *zero = zeros(b, s->w, s->of_columns, COLUMNS);
    bert_value *sums = OP(b, MatMulInteger, q->values, w, q->zero_point, zero);
    sums = cast(b, sums, BERT_FLOAT);
    bert_value *y = OP(b, Mul, sums, s->fixed ? scale : OP(b, Mul, q->scale, scale));
    return s->biased ? OP(b, Add, weight(b, COLUMNS, 0), y) : y;
}

static bert_value *product_of_bytes(builder *b, const product_spec *s, const quantized *q, bert_value *w) {
    bert_value *scale = scales(b, s->of_columns, COLUMNS), *zero = zeros(b, s->w, s->of_columns, COLUMNS);
    bert_value *y_scale = scalar(b, 0.061F), *y_zero = bytes(b, s->x, 0, NULL);
    bert_value *x_zero = s->x_zero ? q->zero_point : NULL;
    const int32_t start[COLUMNS] = {-40000, 70001, 3, 0, 16777217, -9};
    bert_attribute attributes[2] = {BERT_INT_ATTRIBUTE("transB", s->transposed), BERT_FLOAT_ATTRIBUTE("alpha", 0.7F)};
    bert_value *bias = s->how == TO_FLOAT ? weight(b, COLUMNS, 0) : integers(b, 1, DIMS(COLUMNS), start);
    if (!s->biased) bias = NULL;
    switch (s->how) {
    case TO_FLOAT:
        return OP(b, MS_MatMulIntegerToFloat, q->values, w, q->scale, scale, x_zero, zero, bias);
    case QLINEAR:
        return OP(b, QLinearMatMul, q->values, q->scale, q->zero_point, w, scale, zero, y_scale, y_zero);
    default: {
        bert_value *inputs[] = {q->values, q->scale, q->zero_point, w, scale, zero, bias, y_scale, y_zero};
        return node(b, BERT_OP_MS_QGemm, attributes, 2, inputs, s->how == GEMM ? 7 : 9);
    }
    }
}

static void make_product(builder *b, const void *spec) {
    const product_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, s->how >= GEMM ? "n 8" : "1 n 8");
    bert_value *w = bytes(b, s->w, 2, s->transposed ? DIMS(COLUMNS, DEPTH) : DIMS(DEPTH, COLUMNS)), *y;
    quantized q = {.values = NULL};
    if (s->how != DYNAMIC) q = quantize(b, x, s->fixed, s->x);
    if (s->how == INTEGER) {
        y = integer_product(b, s, &q, w);
    } else if (s->how == DYNAMIC) {
        y = OP(b, MS_DynamicQuantizeMatMul, x, w, scales(b, s->of_columns, COLUMNS),
               zeros(b, s->w, s->of_columns, COLUMNS), s->biased ? weight(b, COLUMNS, 0) : NULL);
    } else {
        y = product_of_bytes(b, s, &q, w);
    }
    if (s->chained) { /* the bytes go to another product */
        q = (quantized){y, scalar(b, 0.061F), bytes(b, s->x, 0, NULL)};
        y = OP(b, QLinearMatMul, y, q.scale, q.zero_point, bytes(b, s->w, 2, DIMS(COLUMNS, 3)), scalar(b, 0.01F),
               zeros(b, s->w, false, 1), scalar(b, 0.09F), bytes(b, s->x, 0, NULL));
    }
    if (y->info.dtype != BERT_FLOAT) y = cast(b, y, BERT_INT32);
    declare(b, &y, 1);
}

static void products_of_bytes_have_the_same_bits(void **state) {
    int made = 0;
    for (int how = 0; how < SPELLINGS; how++) {
        for (int choice = 0; choice < 256; choice++) {
            product_spec s = {.how = (spelling)how,
                              .x = choice & 1 ? BERT_INT8 : BERT_UINT8,
                              .w = choice & 2 ? BERT_INT8 : BERT_UINT8,
                              .of_columns = choice & 4,
                              .fixed = choice & 8 || how >= QLINEAR,
                              .transposed = choice & 16,
                              .biased = choice & 32,
                              .chained = choice & 64,
                              .x_zero = !(choice & 128)};
            /* What the operators don't have. */
            if ((!s.fixed || how == DYNAMIC) && s.x == BERT_INT8) continue;
            if (how == DYNAMIC && s.fixed) continue;
            if (s.transposed && how < GEMM) continue;
            if (s.biased && how == QLINEAR) continue;
            if (s.chained && how != QLINEAR && how != GEMM_TO_BYTES) continue;
            if (!s.x_zero && (how != TO_FLOAT || !s.fixed)) continue;
            bert_named_tensor x = twice_input("x", BERT_FLOAT, numbers, how >= GEMM ? 2 : 3,
                                              how >= GEMM ? DIMS(ROWS, DEPTH) : DIMS(1, ROWS, DEPTH));
            bert_model *model = twice(make_product, &s, &x, 1, 0);
            assert_int_equal(twice_count(model, BERT_OP_BERTC_QuantizedLinear), 1 + s.chained);
            for (int id = BERT_OP_MatMulInteger; id <= BERT_OP_MS_QGemm; id++) {
                if (id == BERT_OP_MS_QuantizeLinear || id == BERT_OP_MS_DequantizeLinear) continue;
                assert_int_equal(twice_count(model, (bert_op_id)id), 0);
            }
            /* Without its zero point x is another one than was quantized: it is made from the bytes. */
            if (how < QLINEAR || how == GEMM) assert_int_equal(rest(model), s.x_zero ? 1 : 3);
            bert_model_free(model);
            made++;
        }
    }
    assert_true(made > 80);
}

/* ---- Attention ------------------------------------------------------------------------------------------------------
 */

typedef struct attention_spec {
    bert_dtype w;
    int mask; /* 0: none, 1: lengths [2], 2: keys [2, s] */
    bool fixed, of_columns, separate;
} attention_spec;

static void make_attention(builder *b, const void *spec) {
    const attention_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, "2 s 8");
    bert_value *mask = s->mask ? input(b, "mask", BERT_INT32, s->mask == 1 ? "2" : "2 s") : NULL;
    bert_attribute heads = BERT_INT_ATTRIBUTE("num_heads", 2);
    for (int layer = 0; layer < 2; layer++) {
        quantized q = quantize(b, x, s->fixed, BERT_UINT8);
        if (!s->separate) {
            x = OP_WITH(b, MS_QAttention, heads, q.values, bytes(b, s->w, 2, DIMS(8, 24)), weight(b, 24, 0), q.scale,
                        scales(b, s->of_columns, 24), mask, q.zero_point, zeros(b, s->w, s->of_columns, 24));
            continue;
        }
        product_spec part = {.how = INTEGER, .w = s->w, .fixed = s->fixed, .of_columns = s->of_columns, .biased = true};
        bert_value *parts[3];
        for (int i = 0; i < 3; i++) parts[i] = integer_product(b, &part, &q, bytes(b, s->w, 2, DIMS(8, COLUMNS)));
        bert_value *context = OP_WITH(b, MS_MultiHeadAttention, heads, parts[0], parts[1], parts[2], NULL, mask);
        q = quantize(b, context, s->fixed, BERT_UINT8);
        x = OP(b, Add, x,
               OP(b, MS_MatMulIntegerToFloat, q.values, bytes(b, s->w, 2, DIMS(COLUMNS, 8)), q.scale,
                  scales(b, s->of_columns, 8), q.zero_point, zeros(b, s->w, s->of_columns, 8)));
    }
    declare(b, &x, 1);
}

static void attention_has_one_product_for_query_key_and_value(void **state) {
    static int32_t lengths[] = {5, 2}, keys[] = {1, 1, 1, 1, 1, 0, 1, 0, 1, 1};
    for (int choice = 0; choice < 48; choice++) {
        attention_spec s = {choice & 1 ? BERT_INT8 : BERT_UINT8, choice / 16, choice & 2, choice & 4, choice & 8};
        bert_named_tensor inputs[] = {
            twice_input("x", BERT_FLOAT, numbers, 3, DIMS(2, 5, 8)),
            twice_input("mask", BERT_INT32, s.mask == 1 ? lengths : keys, s.mask, DIMS(2, 5))};
        /* A rounding of the attention before can move a value to the next integer: then by its scale. */
        bert_model *model = twice(make_attention, &s, inputs, s.mask ? 2 : 1, s.separate ? 1e-3 : 1e-5);
        assert_int_equal(twice_count(model, BERT_OP_MS_QAttention), 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Attention), 2);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_QuantizedLinear), s.separate ? 4 : 2);
        assert_int_equal(twice_count(model, BERT_OP_DynamicQuantizeLinear), 0);
        assert_int_equal(twice_count(model, BERT_OP_QuantizeLinear), 0);
        assert_int_equal(twice_count(model, BERT_OP_Add), 0); /* the residual is the product's */
        const bert_node *first = find(model, BERT_OP_BERTC_QuantizedLinear);
        assert_int_equal(BERT_NODE_INT(first, "parts", 1), s.separate ? 3 : 1);
        assert_int_equal(first->inputs[BERT_QUANTIZED_LINEAR_X_SCALE] != NULL, s.fixed);
        assert_int_equal(BERT_NODE_INT(find(model, BERT_OP_BERTC_Attention), "packed", 0), 1);
        bert_model_free(model);
    }
}

/* ---- Weights in their float form ------------------------------------------------------------------------------------
 */

typedef struct float_spec {
    bert_dtype w, x; /* x: bytes that x goes through; undefined: none */
    int form;        /* 0: DequantizeLinear, 1: Cast and Mul, 2: Cast, Sub and Mul, 3: Sub of a cast zero point */
    bool of_columns, transposed, gemm, zero;
} float_spec;

/* The float form of `w` [rows, columns], its scales along `axis` where they are of one. */
static bert_value *float_form(builder *b, int form, bert_value *w, bool of_axis, int64_t axis, bool with_zero) {
    const int64_t n = w->info.shape.dims[axis], dims[2] = {axis == 0 ? n : 1, axis == 1 ? n : 1};
    const bert_dtype dtype = w->info.dtype;
    bert_attribute along = BERT_INT_ATTRIBUTE("axis", axis);
    if (form == 0) {
        bert_value *scale = scales(b, of_axis, n), *zero = with_zero ? zeros(b, dtype, of_axis, n) : NULL;
        return zero ? OP_WITH(b, DequantizeLinear, along, w, scale, zero)
                    : OP_WITH(b, DequantizeLinear, along, w, scale);
    }
    bert_value *scale = of_axis ? tensor(b, 2, dims) : scalar(b, 0.017F), *y = cast(b, w, BERT_FLOAT);
    if (form == 2) y = OP(b, Sub, y, scalar(b, 3));
    if (form == 3) y = OP(b, Sub, y, cast(b, bytes(b, dtype, of_axis ? 2 : 0, dims), BERT_FLOAT));
    return form & 1 ? OP(b, Mul, scale, y) : OP(b, Mul, y, scale);
}

static void make_float(builder *b, const void *spec) {
    const float_spec *s = spec;
    bert_value *x = input(b, "x", BERT_FLOAT, s->gemm ? "n 8" : "1 n 8");
    bert_value *w = bytes(b, s->w, 2, s->transposed ? DIMS(COLUMNS, DEPTH) : DIMS(DEPTH, COLUMNS)), *y;
    if (s->x) {
        quantized q = quantize(b, x, true, s->x);
        x = OP(b, DequantizeLinear, q.values, q.scale, q.zero_point);
    }
    w = float_form(b, s->form, w, s->of_columns, s->transposed ? 0 : 1, s->zero);
    if (s->gemm) {
        bert_attribute transposed = BERT_INT_ATTRIBUTE("transB", s->transposed);
        y = OP_WITH(b, Gemm, transposed, x, w, weight(b, COLUMNS, 0));
    } else {
        bert_attribute perm = INTS_ATTRIBUTE("perm", 1, 0);
        y = OP(b, Add, weight(b, COLUMNS, 0), OP(b, MatMul, x, s->transposed ? OP_WITH(b, Transpose, perm, w) : w));
    }
    y = OP(b, Tanh, y);
    declare(b, &y, 1);
}

static void products_with_a_dequantized_weight_keep_its_bytes(void **state) {
    for (int choice = 0; choice < 192; choice++) {
        float_spec s = {.w = choice & 1 ? BERT_INT8 : BERT_UINT8,
                        .x = choice / 64 == 0   ? BERT_DTYPE_UNDEFINED
                             : choice / 64 == 1 ? BERT_UINT8
                                                : BERT_INT8,
                        .form = choice >> 4 & 3,
                        .of_columns = choice & 2,
                        .transposed = choice & 4,
                        .gemm = choice & 8};
        s.zero = choice & 1 || choice & 2;
        bert_named_tensor x =
            twice_input("x", BERT_FLOAT, numbers, s.gemm ? 2 : 3, s.gemm ? DIMS(ROWS, DEPTH) : DIMS(1, ROWS, DEPTH));
        bert_model *model = twice(make_float, &s, &x, 1, 1e-5);
        assert_int_equal(rest(model), 1);
        const bert_node *linear = find(model, BERT_OP_BERTC_QuantizedLinear);
        assert_int_equal(BERT_NODE_INT(linear, "weight_only", 0), s.x == BERT_DTYPE_UNDEFINED);
        assert_int_equal(BERT_NODE_INT(linear, "transpose", 0), s.transposed);
        assert_non_null(linear->inputs[BERT_QUANTIZED_LINEAR_BIAS(0)]);
        assert_string_equal(BERT_NODE_STRING(linear, "activation", ""), "tanh");
        bert_model_free(model);
    }
}

/* ---- Embeddings -----------------------------------------------------------------------------------------------------
 */

typedef struct embedding_spec {
    bert_dtype table;
    int form;  /* as in float_spec; 4: DequantizeLinear of the rows */
    int scale; /* 0: one, 1: of rows, 2: of columns */
} embedding_spec;

static bert_value *look_up(builder *b, const embedding_spec *s, int64_t rows, bert_value *ids) {
    bert_value *table = bytes(b, s->table, 2, DIMS(rows, 8));
    if (s->form < 4) return OP(b, Gather, float_form(b, s->form, table, s->scale > 0, s->scale == 2, true), ids);
    bert_attribute last = BERT_INT_ATTRIBUTE("axis", -1);
    return OP_WITH(b, DequantizeLinear, last, OP(b, Gather, table, ids), scales(b, s->scale > 0, 8),
                   zeros(b, s->table, s->scale > 0, 8));
}

static void make_embedding(builder *b, const void *spec) {
    const embedding_spec *s = spec;
    bert_value *ids = input(b, "ids", BERT_INT64, "b s"), *types = input(b, "types", BERT_INT64, "b s");
    bert_value *sum = OP(b, Add, look_up(b, s, 30, ids), look_up(b, s, 2, types));
    sum = OP(b, LayerNormalization, sum, weight(b, 8, 0), weight(b, 8, 0));
    declare(b, &sum, 1);
}

static int64_t ids[] = {3, 29, 0, -7, 7, 2, 11, 12}, types[] = {0, 0, 1, 1, 0, 1, 0, 1};

static void tables_of_bytes_stay_bytes(void **state) {
    for (int form = 0; form < 5; form++) {
        for (int choice = 0; choice < 6; choice++) {
            embedding_spec s = {choice & 1 ? BERT_INT8 : BERT_UINT8, form, choice / 2};
            bert_named_tensor inputs[] = {twice_input("ids", BERT_INT64, ids, 2, DIMS(2, 4)),
                                          twice_input("types", BERT_INT64, types, 2, DIMS(2, 4))};
            if (form == 4 && s.scale == 1) continue; /* rows are not the last axis */
            bert_model *model = twice(make_embedding, &s, inputs, 2, 1e-6);
            assert_int_equal(rest(model), 1);
            const bert_node *node = find(model, BERT_OP_BERTC_Embedding);
            assert_int_equal(node->inputs[BERT_EMBEDDING_WORD_TABLE]->info.dtype, s.table);
            assert_non_null(node->inputs[BERT_EMBEDDING_SCALE(BERT_EMBEDDING_POSITION_TABLE)]);
            bert_model_free(model);
        }
    }
}

static void make_fused_embedding(builder *b, const void *spec) {
    const int *choice = spec;
    const bert_dtype dtype = *choice & 1 ? BERT_INT8 : BERT_UINT8;
    const bool typed = *choice & 2, masked = *choice & 4;
    static const bert_dtype floats[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    const bert_dtype scale = floats[*choice >> 3];
    bert_value *inputs[18] = {input(b, "ids", BERT_INT32, "b s"), typed ? input(b, "types", BERT_INT32, "b s") : NULL};
    static const int64_t rows[] = {30, 9, 2};
    for (int i = 0; i < 5; i++) {
        if (i == 2 && !typed) continue;
        inputs[2 + i] = i < 3 ? bytes(b, dtype, 2, DIMS(rows[i], 8)) : bytes(b, dtype, 1, DIMS(8));
        inputs[8 + i] = scalar(b, 0.01F * (float)(i + 1));
        if (scale != BERT_FLOAT) inputs[8 + i] = cast(b, inputs[8 + i], scale);
        inputs[13 + i] = bytes(b, dtype, 0, NULL);
    }
    if (masked) inputs[7] = input(b, "mask", BERT_INT32, "b s");
    bert_value *outputs[2] = {NULL};
    bert_node *made = NULL;
    for (int i = 0; i < 2; i++) assert_int_equal(bert_graph_add_value(b->graph, NULL, &outputs[i], NULL), BERT_OK);
    assert_int_equal(bert_graph_add_node(&b->graph->body, NULL,
                                         &(bert_node_spec){.op = bert_op_get(BERT_OP_MS_QEmbedLayerNormalization),
                                                           .opset = 1,
                                                           .inputs = inputs,
                                                           .input_count = 18,
                                                           .outputs = outputs,
                                                           .output_count = 2},
                                         &made, NULL),
                     BERT_OK);
    if (scale != BERT_FLOAT) outputs[0] = cast(b, outputs[0], BERT_FLOAT);
    declare(b, outputs, 2);
}

static void the_fused_embedding_of_bytes_becomes_one(void **state) {
    static int32_t words[] = {3, 29, 0, 7, 7, 2, 11, 12}, kinds[] = {0, 0, 1, 1, 0, 1, 0, 1};
    static int32_t mask[] = {1, 1, 0, 1, 1, 0, 0, 0};
    for (int choice = 0; choice < 24; choice++) {
        bert_named_tensor inputs[3] = {twice_input("ids", BERT_INT32, words, 2, DIMS(2, 4))};
        size_t count = 1;
        if (choice & 2) inputs[count++] = twice_input("types", BERT_INT32, kinds, 2, DIMS(2, 4));
        if (choice & 4) inputs[count++] = twice_input("mask", BERT_INT32, mask, 2, DIMS(2, 4));
        bert_model *model = twice(make_fused_embedding, &choice, inputs, count, 1e-6);
        assert_int_equal(twice_count(model, BERT_OP_MS_QEmbedLayerNormalization), 0);
        assert_int_equal(twice_count(model, BERT_OP_BERTC_Embedding), 1);
        assert_int_equal(twice_count(model, BERT_OP_DequantizeLinear), 0);
        bert_model_free(model);
    }
}

/* ---- What stays -----------------------------------------------------------------------------------------------------
 */

static void what_is_not_certain_is_left_alone(void **state) {
    for (int form = 0; form < 6; form++) {
        builder b = start(21);
        bert_value *x = input(&b, "x", BERT_FLOAT, "n 8"), *w = bytes(&b, BERT_INT8, 2, DIMS(8, 6)), *y = NULL;
        quantized q = quantize(&b, x, true, BERT_UINT8);
        bert_attribute rows = BERT_INT_ATTRIBUTE("axis", 0), blocks[] = {rows, BERT_INT_ATTRIBUTE("block_size", 4)};
        bert_attribute turned = BERT_INT_ATTRIBUTE("transA", 1);
        switch (form) {
        case 0: /* a scale that differs along what is summed */
            y = OP(&b, MatMul, x, OP_WITH(&b, DequantizeLinear, rows, w, weight(&b, 8, 0)));
            break;
        case 1: /* blocks of scales */
            y = OP(&b, MatMul, x,
                   node(&b, BERT_OP_DequantizeLinear, blocks, 2, (bert_value *[]){w, tensor(&b, 2, DIMS(2, 6))}, 2));
            break;
        case 2: /* a scale of x that is given */
            q.scale = input(&b, "s", BERT_FLOAT, "");
            y = OP(&b, MS_MatMulIntegerToFloat, q.values, w, q.scale, scalar(&b, 1), q.zero_point);
            break;
        case 3: /* numbers that are no zero points of bytes */
            y = OP(&b, MatMul, x, OP(&b, Mul, OP(&b, Sub, cast(&b, w, BERT_FLOAT), scalar(&b, 0.5F)), scalar(&b, 1)));
            break;
        case 4: /* another zero point than that of the bytes of x */
            y = OP(&b, MatMulInteger, q.values, w, bytes(&b, BERT_UINT8, 0, NULL));
            y = OP(&b, Mul, cast(&b, y, BERT_FLOAT), scalar(&b, 0.1F));
            break;
        default: /* an input that is transposed */
            y = OP_WITH(&b, MS_QGemm, turned,
                        OP(&b, QuantizeLinear, input(&b, "z", BERT_FLOAT, "8 n"), q.scale, q.zero_point), q.scale,
                        q.zero_point, w, scalar(&b, 1), bytes(&b, BERT_INT8, 0, NULL));
        }
        run_all(&b, &y, 1);
        if (form == 4) { /* equal bytes but for the zero point: what was quantized is not what is multiplied */
            const bert_node *linear = only(&b, BERT_OP_BERTC_QuantizedLinear);
            assert_true(bert_value_made_by(linear->inputs[0], BERT_OP_DequantizeLinear) != NULL);
        } else {
            assert_int_equal(count_nodes(&b, BERT_OP_BERTC_QuantizedLinear), 0);
        }
        finish(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_bytes_have_the_same_bits),
        cmocka_unit_test(attention_has_one_product_for_query_key_and_value),
        cmocka_unit_test(products_with_a_dequantized_weight_keep_its_bytes),
        cmocka_unit_test(tables_of_bytes_stay_bytes),
        cmocka_unit_test(the_fused_embedding_of_bytes_becomes_one),
        cmocka_unit_test(what_is_not_certain_is_left_alone),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
