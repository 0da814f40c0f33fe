/* A Gather of one place of each sequence goes up to where rows meet, and no further. */
#include "core/graph/canonical.h"
#include "core/runtime/model_end.h"
#include "tests/passes/grids.h"
#include "tests/passes/twice.h"

enum { BATCH = 3, SEQUENCE = 5, WIDTH = 8 };

static float attended[BATCH * SEQUENCE * WIDTH], inputs[BATCH * SEQUENCE * WIDTH];

typedef enum place { FIRST, LAST, KEPT_AXIS, TWO_PLACES, ANOTHER_AXIS, NOT_CONSTANT, PLACES } place;

/* What is wrong with a graph: nothing, or why rows are needed. */
typedef enum obstacle {
    NONE,
    LEAVES,
    READ,
    BROADCAST,
    LOOKED_AT_TWICE,
    NORM_FROM_FRONT,
    NORM_OF_PLACES,
    SCALES_OF_COLUMNS,
    SCALE_OF_RUN,
    OBSTACLES
} obstacle;

typedef struct spec {
    place place;
    obstacle obstacle;
    bool quantized; /* products, dynamically */
    bool between;   /* quantizers with fixed scales, as quantize_static has each product and each sum */
    bool scaled;    /* by an operator that no layer has */
    bool pre_norm;  /* LayerNorms before products, sums after: as ViT and GPT have it */
    bool bare;      /* and none in the end */
} spec;

static bert_value *linear(builder *b, const spec *s, bert_value *x, int64_t n) {
    if (s->quantized)
        return OP(b, MS_DynamicQuantizeMatMul, x, bytes(b, BERT_INT8, 2, (const int64_t[]){WIDTH, n}), scalar(b, 0.01F),
                  bytes(b, BERT_INT8, 0, NULL), weight(b, n, 0));
    if (s->between) {
        /* No sum is half way between two bytes. */
        const grid by = grid_of(b, 0.03F, BERT_UINT8), of_weight = grid_of(b, 0.00412345F, BERT_INT8);
        bert_value *w = dequantize(b, bytes(b, BERT_INT8, 2, (const int64_t[]){WIDTH, n}), of_weight);
        bert_value *product = round_trip(b, OP(b, MatMul, round_trip(b, x, by), w), by);
        return round_trip(b, OP(b, Add, product, weight(b, n, 0)), by);
    }
    return OP(b, Add, OP(b, MatMul, x, weight(b, WIDTH, n)), weight(b, n, 0));
}

static bert_value *norm(builder *b, bert_value *x, int64_t axis) {
    bert_attribute attribute = BERT_INT_ATTRIBUTE("axis", axis);
    return OP_WITH(b, LayerNormalization, attribute, x, weight(b, WIDTH, 0), weight(b, WIDTH, 0));
}

/* With a scale for each place. */
static bert_value *norm_of_places(builder *b, bert_value *x) {
    bert_attribute attribute = BERT_INT_ATTRIBUTE("axis", -1);
    return OP_WITH(b, LayerNormalization, attribute, x, tensor(b, 2, (const int64_t[]){SEQUENCE, WIDTH}),
                   weight(b, WIDTH, 0));
}

static bert_value *take(builder *b, bert_value *x, const spec *s) {
    bert_attribute axis = BERT_INT_ATTRIBUTE("axis", s->place == ANOTHER_AXIS ? 2 : 1);
    bert_value *which = NULL;
    switch (s->place) {
    case LAST:
        which = INT(b, -1);
        break;
    case KEPT_AXIS:
        which = INTS(b, 1);
        break;
    case TWO_PLACES:
        which = INTS(b, 0, 2);
        break;
    case NOT_CONSTANT:
        which = input(b, "which", BERT_INT64, "");
        break;
    default:
        which = INT(b, 0);
    }
    return OP_WITH(b, Gather, axis, x, which);
}

/* What follows attention in a layer. */
static bert_value *layer(builder *b, const spec *s) {
    bert_value *x = input(b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *a = input(b, "attended", BERT_FLOAT, "batch sequence 8");
    bert_value *y = OP(b, Add, linear(b, s, a, WIDTH), x), *z;
    if (s->pre_norm) {
        z = OP(b, Add, linear(b, s, OP(b, Tanh, linear(b, s, norm(b, y, -1), WIDTH)), WIDTH), y);
        if (!s->bare) z = norm(b, z, -1);
    } else {
        y = norm(b, y, -1);
        z = norm(b, OP(b, Add, linear(b, s, OP(b, Relu, linear(b, s, y, WIDTH)), WIDTH), y), -1);
    }
    return z;
}

/* A layer, then a classifier. */
static void make(builder *b, const void *of) {
    const spec *s = of;
    bert_value *z = layer(b, s);
    if (s->scaled) z = OP(b, Abs, OP(b, Div, z, scalar(b, 1.5F)));
    if (s->obstacle == NORM_OF_PLACES) z = norm_of_places(b, z);
    if (s->obstacle == SCALES_OF_COLUMNS) { /* the axis may have another number after the Gather */
        const grid by = {tensor(b, 1, (const int64_t[]){WIDTH}), bytes(b, BERT_INT8, 1, (const int64_t[]){WIDTH})};
        bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 2);
        z = OP_WITH(b, DequantizeLinear, axis, OP_WITH(b, QuantizeLinear, axis, z, by.scale, by.zero_point), by.scale,
                    by.zero_point);
    }
    if (s->obstacle == SCALE_OF_RUN)
        z = round_trip(b, z, (grid){input(b, "scale", BERT_FLOAT, ""), bytes(b, BERT_INT8, 0, NULL)});
    if (s->obstacle == NORM_FROM_FRONT) z = norm(b, z, 2); /* the axis may have another number after the Gather */
    if (s->obstacle == BROADCAST) z = OP(b, Add, z, input(b, "places", BERT_FLOAT, "1 sequence 8"));
    bert_value *taken = take(b, z, s);
    bert_value *outputs[3] = {OP(b, Tanh, s->place == ANOTHER_AXIS ? taken : linear(b, s, taken, 4))};
    int32_t count = 1;
    if (s->obstacle == LEAVES) outputs[count++] = z;
    if (s->obstacle == READ) outputs[count++] = OP(b, Sigmoid, z);
    if (s->obstacle == LOOKED_AT_TWICE) outputs[count++] = take(b, z, &(spec){.place = LAST});
    declare(b, outputs, count);
}

/* Linears beside the classifier that give all rows. */
static int whole_products(const bert_model *model) {
    int all = 0;
    BERT_FOR_EACH_NODE (node, &model->graph->body) {
        if (node->op->id != BERT_OP_BERTC_Linear && node->op->id != BERT_OP_BERTC_QuantizedLinear) continue;
        const bert_shape *shape = &node->outputs[0]->info.shape;
        const bool whole = shape->rank == 3 && bert_dim_name(model->graph->symbols, shape->dims[1]) != NULL;
        all += whole;
    }
    return all;
}

static int products_left(const spec *s) {
    static int64_t which = 3;
    static float places[SEQUENCE * WIDTH];
    for (size_t i = 0; i < SEQUENCE * WIDTH; i++) places[i] = (float)(i % 7) * 0.1F;
    static float scale = 0.027F;
    bert_named_tensor given[3] = {
        twice_input("x", BERT_FLOAT, inputs, 3, (const int64_t[]){BATCH, SEQUENCE, WIDTH}),
        twice_input("attended", BERT_FLOAT, attended, 3, (const int64_t[]){BATCH, SEQUENCE, WIDTH})};
    size_t count = 2;
    if (s->place == NOT_CONSTANT) given[count++] = twice_input("which", BERT_INT64, &which, 0, NULL);
    if (s->obstacle == BROADCAST)
        given[count++] = twice_input("places", BERT_FLOAT, places, 3, (const int64_t[]){1, SEQUENCE, WIDTH});
    if (s->obstacle == SCALE_OF_RUN) given[count++] = twice_input("scale", BERT_FLOAT, &scale, 0, NULL);
    bert_model *model = twice(make, s, given, count, 1e-6);
    const int found = whole_products(model);
    bert_model_free(model);
    return found;
}

static int fill(void **state) {
    for (int i = 0; i < BATCH * SEQUENCE * WIDTH; i++) {
        inputs[i] = (float)(i * 7919 % 211) / 100 - 1.05F;
        attended[i] = (float)(i * 104729 % 199) / 100 - 0.95F;
    }
    return 0;
}

static void one_place_is_taken_before_the_layer_is_computed(void **state) {
    for (int at = FIRST; at <= KEPT_AXIS; at++)
        for (int pre_norm = 0; pre_norm < 2; pre_norm++)
            assert_int_equal(products_left(&(spec){.place = (place)at, .scaled = at == LAST, .pre_norm = pre_norm}), 0);
}

/* Scales that don't depend on rows need none of them; Tanh is a table there. */
static void static_quantization_needs_no_other_rows(void **state) {
    for (int at = FIRST; at <= KEPT_AXIS; at++)
        for (int norms = 0; norms < 3; norms++) {
            const spec s = {.place = (place)at, .between = true, .pre_norm = norms > 0, .bare = norms > 1};
            assert_int_equal(products_left(&s), 0);
        }
    for (int why = LEAVES; why < OBSTACLES; why++)
        assert_int_equal(products_left(&(spec){.obstacle = (obstacle)why, .between = true}), 3);
}

static void other_gathers_stay(void **state) {
    for (int at = TWO_PLACES; at < PLACES; at++) assert_int_equal(products_left(&(spec){.place = (place)at}), 3);
}

static void rows_that_are_read_elsewhere_are_computed(void **state) {
    for (int why = LEAVES; why < OBSTACLES; why++)
        assert_int_equal(products_left(&(spec){.obstacle = (obstacle)why}), 3);
}

/* Every row has a share in the scale: what is before the last product is needed whole, and so is that product where it
 * has a residual. */
static void dynamic_quantization_needs_all_rows(void **state) {
    for (int at = FIRST; at <= KEPT_AXIS; at++)
        for (int norms = 0; norms < 3; norms++) {
            const spec s = {.place = (place)at, .quantized = true, .pre_norm = norms > 0, .bare = norms > 1};
            assert_int_equal(products_left(&s), s.bare ? 3 : 2);
        }
    for (int at = TWO_PLACES; at < PLACES; at++)
        assert_int_equal(products_left(&(spec){.place = (place)at, .quantized = true}), 3);
    for (int why = LEAVES; why < OBSTACLES; why++)
        assert_int_equal(products_left(&(spec){.obstacle = (obstacle)why, .quantized = true}), 3);
}

/* Of an input that nothing in the graph writes, before and after the Gather that goes up. */
static void make_inputs_own(builder *b, const void *of) {
    const spec first = {.place = FIRST};
    bert_value *h = input(b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *outputs[] = {OP(b, Tanh, take(b, h, &first)), NULL};
    outputs[1] = take(b, linear(b, &first, h, 4), &first);
    declare(b, outputs, 2);
}

static void what_reads_an_inputs_place_already_comes_after_it(void **state) {
    bert_named_tensor x = twice_input("x", BERT_FLOAT, inputs, 3, (const int64_t[]){BATCH, SEQUENCE, WIDTH});
    bert_model *model = twice(make_inputs_own, NULL, &x, 1, 1e-6);
    assert_int_equal(twice_count(model, BERT_OP_Gather), 1);
    bert_model_free(model);
}

static void make_states(builder *b, const void *of) {
    bert_value *states = layer(b, of);
    declare(b, &states, 1);
}

static bert_model *model_of_states(const spec *s) {
    bert_named_tensor given[2] = {
        twice_input("x", BERT_FLOAT, inputs, 3, (const int64_t[]){BATCH, SEQUENCE, WIDTH}),
        twice_input("attended", BERT_FLOAT, attended, 3, (const int64_t[]){BATCH, SEQUENCE, WIDTH})};
    bert_model *model = twice(make_states, s, given, 2, 1e-6);
    assert_int_equal(whole_products(model), 3);
    return model;
}

/* Hidden states that nothing reads but a Pool of their first tokens, which the caller adds. */
static void a_model_that_ends_in_pooling_computes_no_more(void **state) {
    for (int i = 0; i < 12; i++) {
        const spec s = {.pre_norm = i & 1, .quantized = i / 4 == 1, .between = i / 4 == 2};
        const bool begins_at_0 = i & 2;
        bert_model *model = model_of_states(&s);
        const bert_pooled_output wanted = {bert_model_graph(model)->output_names[0], "mask", "first", true,
                                           begins_at_0};
        const char *name = NULL;
        bert_error error;
        if (bert_model_end_in_pool(model, &wanted, &name, &error) != BERT_OK) fail_msg("%s", error.message);
        assert_int_equal(whole_products(model), begins_at_0 ? s.quantized ? 2 : 0 : 3);
        bert_model_free(model);
    }
}

/* Where the caller says which tokens it wants. */
static void a_model_that_ends_in_tokens_computes_no_more(void **state) {
    for (int i = 0; i < 6; i++) {
        const spec s = {.pre_norm = i & 1, .quantized = i / 2 == 1, .between = i / 2 == 2};
        bert_model *model = model_of_states(&s);
        const char *states = bert_model_graph(model)->output_names[0], *name = NULL;
        bert_error error;
        if (bert_model_end_in_tokens(model, states, "tokens", &name, &error) != BERT_OK) fail_msg("%s", error.message);
        int left = 0; /* whose rows are those of every sequence */
        BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) {
            const bool product = node->op->id == BERT_OP_BERTC_Linear || node->op->id == BERT_OP_BERTC_QuantizedLinear;
            left += product && node->outputs[0]->info.shape.dims[0] != 1;
        }
        assert_int_equal(left, s.quantized ? 3 : 0);
        bert_model_free(model);
    }
}

/* [CLS] through a product quantized dynamically, and a sum with it: states of one place that the caller pools. */
static void make_placed(builder *b, const void *of) {
    const spec s = {.quantized = true};
    bert_value *h = input(b, "x", BERT_FLOAT, "batch sequence 8");
    bert_value *axis = INTS(b, 1);
    bert_value *first = OP(b, Add, take(b, linear(b, &s, h, WIDTH), &s), input(b, "t", BERT_FLOAT, "batch 8"));
    bert_value *states = OP(b, Add, h, OP(b, Unsqueeze, first, axis));
    declare(b, &states, 1);
}

/* Passes run again over a graph with such a product: it takes no residual. */
static void passes_leave_a_product_with_a_place_as_it_is(void **state) {
    bert_named_tensor given[2] = {twice_input("x", BERT_FLOAT, inputs, 3, (const int64_t[]){BATCH, SEQUENCE, WIDTH}),
                                  twice_input("t", BERT_FLOAT, attended, 2, (const int64_t[]){BATCH, WIDTH})};
    bert_model *model = twice(make_placed, NULL, given, 2, 1e-6);
    assert_int_equal(whole_products(model), 0);
    const bert_pooled_output wanted = {bert_model_graph(model)->output_names[0], "mask", "mean", false, false};
    const char *name = NULL;
    bert_error error;
    if (bert_model_end_in_pool(model, &wanted, &name, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(twice_count(model, BERT_OP_BERTC_QuantizedLinear), 1);
    assert_int_equal(whole_products(model), 0);
    bert_model_free(model);
}

/* No place of a sequence of five: what a run says of it is what Gather says. */
static void a_place_that_there_is_not_stays_a_gather(void **state) {
    for (int i = 0; i < 2; i++) {
        builder b = start(17);
        bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1);
        bert_value *x = input(&b, "x", BERT_FLOAT, "batch 5 8");
        bert_value *taken =
            OP_WITH(&b, Gather, axis, linear(&b, &(spec){.quantized = true}, x, 4), INT(&b, i ? INT64_MIN : 5));
        run_all(&b, &taken, 1);
        assert_int_equal(count_nodes(&b, BERT_OP_Gather), 1);
        finish(&b);
    }
}

static void where_it_stays_is_said_why(void **state) {
    static const spec specs[] = {
        {.quantized = true}, {.quantized = true, .pre_norm = true, .bare = true}, {.obstacle = READ}};
    static const char *const reasons[] = {"dynamic scale", "dynamic scale", "more of it is read"};
    for (int i = 0; i < 3; i++) {
        builder b = start(17);
        make(&b, &specs[i]);
        bert_error error;
        assert_int_equal(bert_passes_run(b.graph, NULL, &b.report, &error), BERT_OK);
        assert_int_equal(count_misses(&b, "early_gather", reasons[i]), 1);
        finish(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_place_is_taken_before_the_layer_is_computed),
                                       cmocka_unit_test(static_quantization_needs_no_other_rows),
                                       cmocka_unit_test(other_gathers_stay),
                                       cmocka_unit_test(rows_that_are_read_elsewhere_are_computed),
                                       cmocka_unit_test(dynamic_quantization_needs_all_rows),
                                       cmocka_unit_test(what_reads_an_inputs_place_already_comes_after_it),
                                       cmocka_unit_test(a_model_that_ends_in_pooling_computes_no_more),
                                       cmocka_unit_test(a_model_that_ends_in_tokens_computes_no_more),
                                       cmocka_unit_test(passes_leave_a_product_with_a_place_as_it_is),
                                       cmocka_unit_test(a_place_that_there_is_not_stays_a_gather),
                                       cmocka_unit_test(where_it_stays_is_said_why)};
    return cmocka_run_group_tests(tests, fill, NULL);
}
