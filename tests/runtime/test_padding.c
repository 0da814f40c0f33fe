/*
 * Runs without padding against runs with it: every exporter's spelling of masks, padding on the right, on the left and
 * in the middle, and what must keep a graph from it. With arguments: the same for these models, as a table.
 */
#include "core/base/memory.h"
#include "core/graph/canonical.h"
#include "core/runtime/model_end.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"
#include "tests/support/worst.h"

#include <bert/bert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 4, SEQUENCE = 9, TOKENS = BATCH * SEQUENCE, MOST_INPUTS = 4, MOST_OUTPUTS = 8 };

typedef enum mask_form { RIGHT, LEFT, HOLES, FORMS } mask_form;

/* The first token of a sequence, [CLS], is there but on the left. */
static bool is_real(mask_form form, int64_t sequence, int64_t position) {
    static const int64_t lengths[BATCH] = {9, 2, 5, 1};
    switch (form) {
    case RIGHT:
        return position < lengths[sequence];
    case LEFT:
        return position >= SEQUENCE - lengths[sequence];
    default:
        return position == 0 || (position * 5 + sequence * 3) % 4 != 0;
    }
}

typedef struct sample {
    int64_t ids[TOKENS], mask[TOKENS], zeros[TOKENS];
    bert_named_tensor inputs[MOST_INPUTS];
    size_t count;
} sample;

/* The dtype that the model wants, in place: int64 elements become int32 ones. */
static void narrow(const int64_t *from, bert_dtype dtype, void *to) {
    for (int i = 0; i < TOKENS; i++) {
        if (dtype == BERT_INT32)
            ((int32_t *)to)[i] = (int32_t)from[i];
        else
            ((int64_t *)to)[i] = from[i];
    }
}

static void fill(const bert_model *model, mask_form form, sample *out, int64_t memory[MOST_INPUTS][TOKENS]) {
    for (int64_t i = 0; i < TOKENS; i++) {
        out->mask[i] = is_real(form, i / SEQUENCE, i % SEQUENCE);
        out->ids[i] = out->mask[i] ? 4 + (i * 7 + form) % 40 : 1;
        out->zeros[i] = 0;
    }
    out->count = bert_model_input_count(model);
    assert_true(out->count <= MOST_INPUTS);
    for (size_t i = 0; i < out->count; i++) {
        bert_model_tensor input;
        bert_model_input(model, i, &input);
        const int64_t *content = strstr(input.name, "mask")   ? out->mask
                                 : strstr(input.name, "type") ? out->zeros
                                                              : out->ids;
        narrow(content, input.dtype, memory[i]);
        out->inputs[i] = named(input.name, input.dtype, 2, DIMS(BATCH, SEQUENCE), memory[i]);
    }
}

/* Deterministic, since OpenBLAS, where it multiplies, would change its sums with the number of rows. */
static bert_session *open_session(bert_model *model, const char *provider, bert_padded_rows rows,
                                  bert_quant_scope scope, bert_error *error) {
    const bert_session_options options = {.struct_size = sizeof options,
                                          .providers = provider,
                                          .padded_rows = rows,
                                          .quant_scope = scope,
                                          .deterministic = true};
    bert_session *session = NULL;
    return bert_session_create(model, &options, &session, error) == BERT_OK ? session : NULL;
}

static size_t run(bert_session *session, const bert_model *model, const sample *in, bert_named_tensor *outputs) {
    const size_t count = bert_model_output_count(model);
    bert_error error;
    assert_true(count <= MOST_OUTPUTS);
    for (size_t i = 0; i < count; i++) {
        bert_model_tensor output;
        bert_model_output(model, i, &output);
        outputs[i] = (bert_named_tensor){.name = output.name};
    }
    if (bert_session_run(session, NULL, in->inputs, in->count, outputs, count, &error) != BERT_OK) {
        fail_msg("%s", error.message);
    }
    return count;
}

static double element(const bert_tensor *tensor, int64_t i) {
    const bert_constant constant = {.dtype = tensor->dtype, .data = tensor->data};
    return bert_constant_double(&constant, i);
}

/* The greatest difference where tokens are real, and in outputs that aren't by tokens; rows of padding must be zeros.
 */
static double difference(const bert_tensor *exact, const bert_tensor *packed, const sample *in) {
    const int64_t count = bert_tensor_elements(exact);
    const bool by_tokens = exact->rank >= 2 && exact->dims[0] == BATCH && exact->dims[1] == SEQUENCE;
    double worst = 0;
    assert_int_equal(count, bert_tensor_elements(packed));
    for (int64_t i = 0; i < count; i++) {
        const double a = element(exact, i), b = element(packed, i);
        if (by_tokens && !in->mask[i / (count / TOKENS)]) {
            assert_true(b == 0);
            continue;
        }
        const double off = error_of(b, a);
        if (off > worst) worst = off;
    }
    return worst;
}

/* Why padding was not skipped, NULL where it was; *worst over all outputs. */
static const char *compare(bert_model *model, const char *provider, bert_quant_scope scope, mask_form form,
                           double *worst) {
    static char why[BERT_ERROR_MESSAGE_BYTES];
    static sample in;
    static int64_t memory[MOST_INPUTS][TOKENS];
    bert_error error;
    bert_named_tensor expected[MOST_OUTPUTS], got[MOST_OUTPUTS];
    bert_session *exact = open_session(model, provider, BERT_PADDED_ROWS_EXACT, scope, &error);
    bert_session *packed = open_session(model, provider, BERT_PADDED_ROWS_UNDEFINED, scope, &error);
    *worst = 0;
    if (!exact || !packed) {
        bert_session_free(exact);
        snprintf(why, sizeof why, "%s", error.message);
        return why;
    }
    fill(model, form, &in, memory);
    run(exact, model, &in, expected);
    const size_t count = run(packed, model, &in, got);
    assert_null(bert_session_plan(exact)->padding);
    const bert_plan *plan = bert_session_plan(packed);
    const char *padding = plan->request.rows ? NULL
                          : plan->padding    ? plan->padding
                                             : "a token that is needed is padding";
    if (padding) snprintf(why, sizeof why, "%s", padding);
    for (size_t i = 0; i < count; i++) {
        if (padding) {
            assert_memory_equal(expected[i].tensor.data, got[i].tensor.data, bert_tensor_bytes(&got[i].tensor));
            continue;
        }
        const double off = difference(&expected[i].tensor, &got[i].tensor, &in);
        if (off > *worst) *worst = off;
    }
    bert_session_free(exact);
    bert_session_free(packed);
    return padding ? why : NULL;
}

static bert_model *load(const char *path) {
    bert_model *model = NULL;
    bert_error error;
    if (bert_model_load(path, NULL, &model, &error) != BERT_OK) fail_msg("%s: %s", path, error.message);
    return model;
}

/* ---- Models of every exporter ------------------------------------------------------------------------------------ */

static void exporters_masks_are_understood(void **state) {
    static const char *const names[] = {
        "new_bert_17",         "new_bert_cls_17", "new_roberta_17_off", "old_bert_11",        "old_bert_11_off_fp16",
        "old_bert_11_off_idx", "old_bert_17",     "old_bert_cls_11",    "new_pooled_bert_17", "new_pooled_bert_18_dyn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, BERT_SOURCE_DIR "/tests/data/graphs/%s/model.onnx", names[i]);
        bert_model *model = load(path);
        const bool by_length = strstr(names[i], "off_idx") || strstr(names[i], "fp16");
        for (int provider = 0; provider < 2; provider++) {
            for (int form = 0; form < FORMS; form++) {
                double worst;
                const char *why =
                    compare(model, provider ? "cpu" : "reference", BERT_QUANT_SCOPE_TENSOR, (mask_form)form, &worst);
                /* [CLS] is padding on the left; a length says nothing of holes. */
                const bool packs = form == RIGHT || (form == HOLES && !by_length) || strstr(names[i], "pooled");
                if (packs != !why) fail_msg("%s, form %d: %s", names[i], form, why ? why : "padding was skipped");
                if (!(worst <= 2e-6)) fail_msg("%s, form %d: off by %g", names[i], form, worst);
            }
        }
        bert_model_free(model);
    }
}

/* Masks of pairs of tokens, and biases for relative positions that are computed of them. */
static void masks_of_pairs_are_understood(void **state) {
    static const char *const names[] = {"old_deberta2_14", "old_deberta2_17", "new_deberta2_17", "new_deberta2_18_dyn",
                                        "new_deberta2_20_dyn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, BERT_SOURCE_DIR "/tests/data/exports/%s.onnx", names[i]);
        bert_model *model = load(path);
        for (int provider = 0; provider < 2; provider++) {
            for (int form = 0; form < FORMS; form++) {
                double worst;
                const char *why =
                    compare(model, provider ? "cpu" : "reference", BERT_QUANT_SCOPE_TENSOR, (mask_form)form, &worst);
                if (why) fail_msg("%s, form %d: %s", names[i], form, why);
                if (!(worst <= 2e-6)) fail_msg("%s, form %d: off by %g", names[i], form, worst);
            }
        }
        bert_model_free(model);
    }
}

static int count_steps(const bert_plan *plan, bert_op_id op) {
    int count = 0;
    for (size_t i = 0; i < plan->step_count; i++) count += plan->steps[i].node->op->id == op;
    return count;
}

/* Where pooled states are all that is asked for, no row is put back. */
static void pooled_rows_need_no_padding(void **state) {
    static sample in;
    static int64_t memory[MOST_INPUTS][TOKENS];
    bert_model *model = load(BERT_SOURCE_DIR "/tests/data/graphs/new_pooled_bert_17/model.onnx");
    for (int provider = 0; provider < 2; provider++) {
        bert_named_tensor output = {.name = "sentence_embedding"};
        bert_error error;
        bert_session *session = open_session(model, provider ? "cpu" : "reference", BERT_PADDED_ROWS_UNDEFINED,
                                             BERT_QUANT_SCOPE_TENSOR, &error);
        assert_non_null(session);
        fill(model, HOLES, &in, memory);
        if (bert_session_run(session, NULL, in.inputs, in.count, &output, 1, &error) != BERT_OK) {
            fail_msg("%s", error.message);
        }
        const bert_plan *plan = bert_session_plan(session);
        assert_true(plan->request.rows > 0);
        assert_int_equal(count_steps(plan, BERT_OP_BERTC_Pool), 1);
        assert_int_equal(count_steps(plan, BERT_OP_BERTC_UnpackTokens), 0);
        assert_int_equal(count_steps(plan, BERT_OP_BERTC_PackTokens), 0);
        bert_session_free(session);
    }
    bert_model_free(model);
}

/* Of a model that ends in some tokens: those of the padded run, whichever side padding is on. */
static void tokens_that_are_named_need_no_padding(void **state) {
    static sample in;
    static int64_t memory[MOST_INPUTS][TOKENS];
    const char *path = BERT_SOURCE_DIR "/tests/data/graphs/new_bert_17/model.onnx";
    for (int form = 0; form < FORMS; form++) {
        int32_t tokens[2 * BATCH];
        bert_model *model = load(path);
        bert_model_tensor states;
        bert_error error;
        bert_named_tensor outputs[2] = {{NULL}, {NULL}};
        bert_session *sessions[2];
        bert_model_output(model, 0, &states);
        fill(model, (mask_form)form, &in, memory);
        if (bert_model_end_in_tokens(model, states.name, "chosen", &outputs[0].name, &error) != BERT_OK)
            fail_msg("%s", error.message);
        for (int b = 0, count = 0; b < BATCH; b++) { /* the first and the last real one of each sequence */
            int first = b * SEQUENCE, last = first + SEQUENCE - 1;
            while (!in.mask[first]) first++;
            while (!in.mask[last]) last--;
            tokens[count++] = last;
            tokens[count++] = first;
        }
        in.inputs[in.count++] = named("chosen", BERT_INT32, 1, DIMS(2 * BATCH), tokens);
        outputs[1].name = outputs[0].name;
        for (int i = 0; i < 2; i++) {
            sessions[i] = open_session(model, "cpu", i ? BERT_PADDED_ROWS_UNDEFINED : BERT_PADDED_ROWS_EXACT,
                                       BERT_QUANT_SCOPE_TENSOR, &error);
            assert_non_null(sessions[i]);
            if (bert_session_run(sessions[i], NULL, in.inputs, in.count, &outputs[i], 1, &error) != BERT_OK)
                fail_msg("%s", error.message);
        }
        assert_true(bert_session_plan(sessions[1])->request.rows > 0);
        assert_int_equal(outputs[1].tensor.dims[1], 2 * BATCH);
        for (int64_t i = 0; i < bert_tensor_elements(&outputs[0].tensor); i++)
            assert_true(error_of(element(&outputs[1].tensor, i), element(&outputs[0].tensor, i)) < 1e-5);
        for (int i = 0; i < 2; i++) bert_session_free(sessions[i]);
        bert_model_free(model);
    }
}

static void quantized_models_skip_padding_where_scales_are_not_shared(void **state) {
    bert_model *model = load(BERT_SOURCE_DIR "/models/zh-sentiment/model-optimized-quantized.onnx");
    for (int form = 0; form < FORMS; form++) {
        double worst;
        const char *why = compare(model, "cpu", BERT_QUANT_SCOPE_TENSOR, (mask_form)form, &worst);
        if (!why || (form != LEFT && !strstr(why, "quant_scope tensor"))) fail_msg("%s", why ? why : "skipped");
        for (int scope = BERT_QUANT_SCOPE_SEQUENCE; scope <= BERT_QUANT_SCOPE_TOKEN; scope++) {
            why = compare(model, "cpu", (bert_quant_scope)scope, (mask_form)form, &worst);
            assert_true(form == LEFT ? why != NULL : !why);
            assert_true(worst <= 2e-6);
        }
    }
    bert_model_free(model);
}

/* One sequence of the sample as a batch of its own, without padding: its row of the first output, [batch, labels]. */
static void run_alone(bert_session *session, const bert_model *model, const sample *in, int64_t sequence,
                      int64_t memory[MOST_INPUTS][TOKENS], float *out, int64_t labels) {
    sample alone = {.count = in->count};
    int64_t content[MOST_INPUTS][SEQUENCE], length = 0;
    for (int64_t i = 0; i < SEQUENCE; i++) {
        if (!in->mask[sequence * SEQUENCE + i]) continue;
        for (size_t k = 0; k < in->count; k++) content[k][length] = memory[k][sequence * SEQUENCE + i];
        length++;
    }
    for (size_t k = 0; k < in->count; k++) {
        alone.inputs[k] = named(in->inputs[k].name, BERT_INT64, 2, DIMS(1, length), content[k]);
    }
    bert_named_tensor outputs[MOST_OUTPUTS];
    run(session, model, &alone, outputs);
    memcpy(out, outputs[0].tensor.data, (size_t)labels * sizeof *out);
}

static void a_sequence_is_quantized_as_if_it_were_alone(void **state) {
    enum { LABELS = 2 };
    static sample in;
    static int64_t memory[MOST_INPUTS][TOKENS];
    bert_model *model = load(BERT_SOURCE_DIR "/models/zh-sentiment/model-optimized-quantized.onnx");
    bert_error error;
    fill(model, RIGHT, &in, memory);
    for (int provider = 0; provider < 2; provider++) {
        const char *name = provider ? "cpu" : "reference";
        bert_session *tensor = open_session(model, name, BERT_PADDED_ROWS_EXACT, BERT_QUANT_SCOPE_TENSOR, &error);
        assert_non_null(tensor);
        for (int padded_rows = 0; padded_rows < 2; padded_rows++) {
            bert_named_tensor outputs[MOST_OUTPUTS];
            bert_session *session =
                open_session(model, name, (bert_padded_rows)padded_rows, BERT_QUANT_SCOPE_SEQUENCE, &error);
            assert_non_null(session);
            run(session, model, &in, outputs);
            assert_int_equal(outputs[0].tensor.dims[1], LABELS);
            const float *logits = outputs[0].tensor.data;
            for (int64_t b = 0; b < BATCH; b++) {
                float alone[LABELS];
                run_alone(tensor, model, &in, b, memory, alone, LABELS);
                for (int i = 0; i < LABELS; i++) {
                    if (logits[b * LABELS + i] == alone[i]) continue;
                    fail_msg("%s, sequence %d: %.9g, alone %.9g", name, (int)b, (double)logits[b * LABELS + i],
                             (double)alone[i]);
                }
            }
            bert_session_free(session);
        }
        bert_session_free(tensor);
    }
    bert_model_free(model);
}

/* What a quant_scope can't be applied to is refused before anything runs, and named. */
static void a_scope_of_plain_operators_is_refused(void **state) {
    bert_model *model = NULL;
    bert_error error;
    const bert_model_options plain = {.struct_size = sizeof plain, .no_passes = true};
    const char *path = BERT_SOURCE_DIR "/models/zh-sentiment/model-optimized-quantized.onnx";
    assert_int_equal(bert_model_load(path, &plain, &model, &error), BERT_OK);
    assert_null(open_session(model, "cpu", BERT_PADDED_ROWS_EXACT, BERT_QUANT_SCOPE_SEQUENCE, &error));
    assert_int_equal(error.status, BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "(DynamicQuantizeLinear): it takes one scale over a whole tensor"));
    bert_session *session = open_session(model, "cpu", BERT_PADDED_ROWS_EXACT, BERT_QUANT_SCOPE_TENSOR, &error);
    assert_non_null(session);
    bert_session_free(session);
    bert_model_free(model);
}

/* ---- Graphs made for this ---------------------------------------------------------------------------------------- */

typedef enum graph_form {
    SMALL_NUMBER,    /* masked by a number that leaves a probability */
    LARGE_NUMBER,    /* ... that doesn't */
    POSITION_BIAS,   /* the sum of a mask and what is computed */
    PAIRS,           /* pairs of tokens are masked where either is padding */
    PAIRS_OF_OTHERS, /* ... where a token or another one is */
    PAIRS_ADDED,     /* ... where both are */
    PAIRS_BIASED,    /* ... and get a bias of both */
    BIAS_READ,       /* ... which is an output as well */
    BYTES,           /* of bytes with one scale, and a table's */
    BYTES_BY_PLACE,  /* of bytes with a scale for each place */
    BYTES_ADDED,     /* of sums between bytes: with rows, one for all, one for each place, numbers */
    BYTES_OF_FIRST,  /* ... with the first token's */
    NO_MASK,         /* nothing is masked */
    ANOTHER_TOKEN,   /* masked by the token before */
    MEAN,            /* an output that is the mean over all tokens */
    MASKED_SUM,      /* the sum over those that are real */
    FILLED_GREATEST, /* the greatest over those that are real */
    FIRST_TOKEN,     /* an output that is the first token's */
    POOLED,          /* the mean of those that are real */
    POOLED_OTHERS,   /* the mean of the tokens before them */
    POOLED_TWICE,    /* the mean, in which they count twice */
    POOLED_ALL,      /* the mean of all */
    POOLED_ALONE,    /* the mean of each token, as a sequence of its own */
    NORMALIZED,      /* an output with a scale and a bias for all tokens */
    SCALED_BY_PLACE, /* ... with a scale for each place of a sequence */
    BIASED_BY_PLACE, /* ... with a bias for each */
    TURNED           /* an output with tokens in another place */
} graph_form;

static graph_form building;

/* `bias`, `mask`: NULL where there is none. */
static bert_value *attention_node(bert_graph *graph, bert_value *x, bert_value *bias, bert_value *mask) {
    bert_value *y = NULL, *inputs[] = {x, x, x, bias, mask};
    bert_node *node = NULL;
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", 2), BERT_FLOAT_ATTRIBUTE("scale", 0.5F)};
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_BERTC_Attention),
                                 .opset = 1,
                                 .name = "attention",
                                 .inputs = inputs,
                                 .input_count = mask   ? 5
                                                : bias ? 4
                                                       : 3,
                                 .outputs = &y,
                                 .output_count = 1,
                                 .attributes = attributes,
                                 .attribute_count = 2};
    if (bert_graph_add_value(graph, "attended", &y, NULL) != BERT_OK) return NULL;
    return bert_graph_add_node(&graph->body, NULL, &spec, &node, NULL) == BERT_OK ? y : NULL;
}

static bert_value *turned_mask(bert_graph *graph, bert_value *mask) {
    const bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1);
    bert_value *order = build_int64s(graph, SEQUENCE, DIMS(8, 0, 1, 2, 3, 4, 5, 6, 7));
    return build_node(&graph->body, "Gather", "turned", &axis, 1, mask, order, BUILD_END);
}

static bert_value *pool_node(bert_graph *graph, bert_value *y, bert_value *mask) {
    const bert_attribute mean = BERT_STRING_ATTRIBUTE("pooling", "mean");
    if (building == POOLED_OTHERS) mask = turned_mask(graph, mask);
    if (building == POOLED_TWICE) mask = build_node(&graph->body, "Add", "doubled", NULL, 0, mask, mask, BUILD_END);
    if (building == POOLED_ALONE) {
        y = build_node(&graph->body, "Reshape", "tokens", NULL, 0, y, build_int64s(graph, 3, DIMS(-1, 1, 4)),
                       BUILD_END);
        mask = build_node(&graph->body, "Reshape", "token_mask", NULL, 0, mask, build_int64s(graph, 2, DIMS(-1, 1)),
                          BUILD_END);
    }
    bert_value *inputs[] = {y, mask};
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_Pool), 1, "pool", &mean, 1, inputs,
                         building == POOLED_ALL ? 1 : 2);
}

static bert_value *norm_node(bert_graph *graph, bert_value *y) {
    static float numbers[SEQUENCE * 4];
    for (int i = 0; i < SEQUENCE * 4; i++) numbers[i] = (float)(i % 7) - 3;
    bert_value *one = build_constant(graph, BERT_FLOAT, 1, DIMS(4), numbers);
    bert_value *each = build_constant(graph, BERT_FLOAT, 2, DIMS(SEQUENCE, 4), numbers);
    return build_node(&graph->body, "LayerNormalization", "norm", NULL, 0, y, building == SCALED_BY_PLACE ? each : one,
                      building == BIASED_BY_PLACE ? each : one, BUILD_END);
}

/* (1 - mask) x number, as [batch, 1, 1, sequence]. */
static bert_value *mask_bias(bert_graph *graph, bert_value *mask, float number) {
    const bert_attribute to_float = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
    if (building == ANOTHER_TOKEN) mask = turned_mask(graph, mask);
    bert_value *as_float = build_node(&graph->body, "Cast", "as_float", &to_float, 1, mask, BUILD_END);
    bert_value *rest = build_node(&graph->body, "Sub", "rest", NULL, 0, build_float(graph, 1), as_float, BUILD_END);
    bert_value *bias = build_node(&graph->body, "Mul", "bias", NULL, 0, rest, build_float(graph, number), BUILD_END);
    bert_value *axes = build_int64s(graph, 2, DIMS(1, 2));
    return build_node(&graph->body, "Unsqueeze", "scores_bias", NULL, 0, bias, axes, BUILD_END);
}

static bool is_of_pairs(void) {
    return building >= PAIRS && building <= BIAS_READ;
}

/* [batch, 1, sequence, sequence] of bool: of a query and a key. */
static bert_value *pair_mask(bert_graph *graph, bert_value *mask) {
    const bert_attribute to_bool = BERT_INT_ATTRIBUTE("to", BERT_BOOL);
    bert_block *body = &graph->body;
    bert_value *of_keys = building == PAIRS_OF_OTHERS ? turned_mask(graph, mask) : mask;
    bert_value *keys =
        build_node(body, "Unsqueeze", "keys", NULL, 0, of_keys, build_int64s(graph, 2, DIMS(1, 2)), BUILD_END);
    bert_value *queries =
        build_node(body, "Unsqueeze", "queries", NULL, 0, mask, build_int64s(graph, 2, DIMS(1, 3)), BUILD_END);
    bert_value *pairs =
        build_node(body, building == PAIRS_ADDED ? "Add" : "Mul", "pairs", NULL, 0, keys, queries, BUILD_END);
    return build_node(body, "Cast", "pair_mask", &to_bool, 1, pairs, BUILD_END);
}

/* What is added to the score of each pair: products with rows of a table of positions. */
static bert_value *pair_bias(bert_graph *graph, bert_value *x) {
    static float rows[2 * SEQUENCE * 4];
    static int32_t places[SEQUENCE * SEQUENCE];
    for (int i = 0; i < 2 * SEQUENCE * 4; i++) rows[i] = (float)((i * 29) % 31) / 20.0F - 0.7F;
    for (int i = 0; i < SEQUENCE * SEQUENCE; i++) places[i] = SEQUENCE + i / SEQUENCE - i % SEQUENCE;
    bert_value *positions = build_constant(graph, BERT_FLOAT, 3, DIMS(1, 2 * SEQUENCE, 4), rows);
    bert_value *indices = build_constant(graph, BERT_INT32, 2, DIMS(SEQUENCE, SEQUENCE), places);
    bert_value *inputs[] = {x, x, positions, indices, positions, indices};
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("heads", 2), BERT_FLOAT_ATTRIBUTE("scale", 0.5F)};
    return build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_DisentangledBias), 1, "pair_bias", attributes, 2,
                         inputs, 6);
}

/* Real tokens' rows alone: [batch, sequence, 1] of 1 and 0. */
static bert_value *token_weights(bert_graph *graph, bert_value *mask) {
    const bert_attribute to_float = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
    bert_value *as_float = build_node(&graph->body, "Cast", "weights", &to_float, 1, mask, BUILD_END);
    return build_node(&graph->body, "Unsqueeze", "token_weights", NULL, 0, as_float, build_int64s(graph, 1, DIMS(2)),
                      BUILD_END);
}

static bert_value *build_output(bert_graph *graph, bert_value *y, bert_value *mask) {
    static const int64_t over_tokens[] = {1}, turned[] = {1, 0, 2};
    const bert_attribute axes[] = {
        {.name = "axes", .kind = BERT_ATTRIBUTE_INTS, .count = 1, .value = {.ints = over_tokens}}};
    const bert_attribute perm = {.name = "perm", .kind = BERT_ATTRIBUTE_INTS, .count = 3, .value = {.ints = turned}};
    const bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1);
    const bert_attribute to_bool = BERT_INT_ATTRIBUTE("to", BERT_BOOL);
    bert_block *body = &graph->body;
    bert_value *weights;
    switch (building) {
    case MEAN:
        return build_node(body, "ReduceMean", "mean", axes, 1, y, BUILD_END);
    case MASKED_SUM:
        y = build_node(body, "Mul", "masked", NULL, 0, y, token_weights(graph, mask), BUILD_END);
        return build_node(body, "ReduceSum", "sum", NULL, 0, y, build_int64s(graph, 1, DIMS(1)), BUILD_END);
    case FILLED_GREATEST:
        weights = build_node(body, "Cast", "keep", &to_bool, 1, token_weights(graph, mask), BUILD_END);
        y = build_node(body, "Where", "filled", NULL, 0, weights, y, build_float(graph, -1e9F), BUILD_END);
        return build_node(body, "ReduceMax", "greatest", axes, 1, y, BUILD_END);
    case FIRST_TOKEN:
        return build_node(body, "Gather", "first", &axis, 1, y, build_int64(graph, 0), BUILD_END);
    case POOLED:
    case POOLED_OTHERS:
    case POOLED_TWICE:
    case POOLED_ALL:
    case POOLED_ALONE:
        return pool_node(graph, y, mask);
    case NORMALIZED:
    case SCALED_BY_PLACE:
    case BIASED_BY_PLACE:
        return norm_node(graph, y);
    case TURNED:
        return build_node(body, "Transpose", "turned_output", &perm, 1, y, BUILD_END);
    default:
        return build_node(body, "Tanh", "tanh", NULL, 0, y, BUILD_END);
    }
}

/* x by way of bytes. */
static bert_value *as_bytes(bert_graph *graph, bert_value *x) {
    static float each[SEQUENCE];
    static unsigned char zeros[SEQUENCE], table[256];
    bert_block *body = &graph->body;
    for (int i = 0; i < SEQUENCE; i++) each[i] = 0.01F * (float)(i + 1);
    for (int i = 0; i < 256; i++) table[i] = (unsigned char)(255 - i);
    memset(zeros, 128, sizeof zeros);
    const bool one = building == BYTES;
    bert_value *scale = one ? build_float(graph, 0.01F) : build_constant(graph, BERT_FLOAT, 1, DIMS(SEQUENCE), each);
    bert_value *zero = build_constant(graph, BERT_UINT8, one ? 0 : 1, DIMS(SEQUENCE), zeros);
    bert_value *q = build_node(body, "QuantizeLinear", "quantized", NULL, 0, x, scale, zero, BUILD_END);
    bert_value *looked_up[] = {q, build_constant(graph, BERT_UINT8, 1, DIMS(256), table)};
    q = build_node_of(body, bert_op_get(BERT_OP_BERTC_Lookup), 1, "lookup", NULL, 0, looked_up, 2);
    return build_node(body, "DequantizeLinear", "dequantized", NULL, 0, q, scale, zero, BUILD_END);
}

/* a + b between bytes. `of_bytes`: a is quantized, too. `to_bytes`: y is bytes, that another node makes floats. */
static bert_value *sum_node(bert_graph *graph, const char *name, bert_value *a, bert_value *b, bool of_bytes,
                            bool to_bytes) {
    bert_value *scale = build_float(graph, 0.02F), *zero = build_constant(graph, BERT_INT8, 0, NULL, &(int8_t){-3});
    bert_value *inputs[BERT_QUANTIZED_ADD_INPUTS] = {a, b, scale, zero};
    if (!to_bytes) {
        inputs[BERT_QUANTIZED_ADD_Y_NEW_SCALE] = scale;
        inputs[BERT_QUANTIZED_ADD_Y_NEW_ZERO_POINT] = zero;
    }
    for (int i = BERT_QUANTIZED_ADD_A_SCALE; of_bytes && i < BERT_QUANTIZED_ADD_INPUTS; i += 2) {
        inputs[i] = build_constant(graph, BERT_FLOAT, 1, DIMS(1), &(float){0.015F});
        inputs[i + 1] = build_constant(graph, BERT_UINT8, 1, DIMS(1), &(unsigned char){121});
    }
    bert_value *y = build_node_of(&graph->body, bert_op_get(BERT_OP_BERTC_QuantizedAdd), 1, name, NULL, 0, inputs,
                                  BERT_QUANTIZED_ADD_INPUTS);
    if (!to_bytes) return y;
    return build_node(&graph->body, "DequantizeLinear", NULL, NULL, 0, y, scale, zero, BUILD_END);
}

/* y, with x and others added to it between bytes. */
static bert_value *added_bytes(bert_graph *graph, bert_value *x, bert_value *y, bert_value *mask) {
    static float numbers[SEQUENCE * 4];
    for (int i = 0; i < SEQUENCE * 4; i++) numbers[i] = (float)(i % 11) / 20 - 0.2F;
    if (building == BYTES_OF_FIRST) {
        const bert_attribute axis = BERT_INT_ATTRIBUTE("axis", 1);
        x = build_node(&graph->body, "Gather", "first", &axis, 1, x, build_int64s(graph, 1, DIMS(0)), BUILD_END);
        return sum_node(graph, "sums", y, x, true, false);
    }
    bert_value *one = build_constant(graph, BERT_FLOAT, 1, DIMS(4), numbers);
    bert_value *each = build_constant(graph, BERT_FLOAT, 2, DIMS(SEQUENCE, 4), numbers);
    y = sum_node(graph, "sums", y, x, true, false);
    y = sum_node(graph, "biased_sums", y, one, false, true);
    y = sum_node(graph, "placed_sums", each, y, true, true);
    return sum_node(graph, "weighted_sums", token_weights(graph, mask), y, false, false);
}

static bert_status build_small(bert_graph *graph, bert_error *error) {
    static float table[44 * 4];
    for (int i = 0; i < 44 * 4; i++) table[i] = (float)((i * 37) % 53) / 20.0F - 1.0F;
    bert_value *ids = build_input(graph, "input_ids", BERT_INT64, "batch,sequence");
    bert_value *mask = build_input(graph, "attention_mask", BERT_INT64, "batch,sequence");
    bert_value *words = build_constant(graph, BERT_FLOAT, 2, DIMS(44, 4), table);
    bert_value *x = build_node(&graph->body, "Gather", "embedded", NULL, 0, words, ids, BUILD_END);
    bert_value *bias = NULL;
    bert_value *pairs = is_of_pairs() ? pair_mask(graph, mask) : NULL;
    if (building == PAIRS_BIASED || building == BIAS_READ) bias = pair_bias(graph, x);
    if (building != NO_MASK && !pairs) bias = mask_bias(graph, mask, building == SMALL_NUMBER ? -50.0F : -1e38F);
    if (building == POSITION_BIAS) {
        /* Of a shape that binding doesn't work out by itself: it depends on the ids. */
        const bert_attribute to_float = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
        bert_value *numbers = build_node(&graph->body, "Cast", "numbers", &to_float, 1, ids, BUILD_END);
        bert_value *four = build_node(&graph->body, "Unsqueeze", "numbers_4d", NULL, 0, numbers,
                                      build_int64s(graph, 2, DIMS(1, 2)), BUILD_END);
        bias = build_node(&graph->body, "Add", "both", NULL, 0, four, bias, BUILD_END);
    }
    bert_value *y = attention_node(graph, x, bias, pairs);
    if (building == BYTES || building == BYTES_BY_PLACE) y = as_bytes(graph, y);
    if (building == BYTES_ADDED || building == BYTES_OF_FIRST) y = added_bytes(graph, x, y, mask);
    BERT_TRY(build_inputs(graph, error, ids, mask, BUILD_END));
    if (building == BIAS_READ) return build_outputs(graph, error, build_output(graph, y, mask), bias, BUILD_END);
    return build_outputs(graph, error, build_output(graph, y, mask), BUILD_END);
}

static void expect_form(graph_form form, const char *expected) {
    bert_model *model = NULL;
    bert_error error;
    double worst;
    building = form;
    if (build_load(build_small, NULL, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    const char *why = compare(model, "reference", BERT_QUANT_SCOPE_TENSOR, RIGHT, &worst);
    bert_model_free(model);
    if (!expected != !why || (why && !strstr(why, expected))) {
        fail_msg("form %d: %s", (int)form, why ? why : "padding was skipped");
    }
    if (!(worst <= 1e-6)) fail_msg("form %d: off by %g", (int)form, worst);
}

static void only_what_makes_no_difference_is_skipped(void **state) {
    expect_form(LARGE_NUMBER, NULL);
    expect_form(POSITION_BIAS, NULL);
    expect_form(MASKED_SUM, NULL);
    expect_form(FILLED_GREATEST, NULL);
    expect_form(FIRST_TOKEN, NULL);
    expect_form(POOLED, NULL);
    expect_form(NORMALIZED, NULL);
    expect_form(BYTES, NULL);
    expect_form(BYTES_BY_PLACE, "node quantized (QuantizeLinear)");
    expect_form(BYTES_ADDED, NULL);
    expect_form(BYTES_OF_FIRST, "node sums (QuantizedAdd)");
    expect_form(PAIRS, NULL);
    expect_form(PAIRS_BIASED, NULL);
    expect_form(PAIRS_OF_OTHERS, "node attention (Attention): its mask isn't certain");
    expect_form(PAIRS_ADDED, "node attention (Attention): its mask isn't certain");
    expect_form(BIAS_READ, "node pair_bias (DisentangledBias): it doesn't treat every token by itself");
    expect_form(SMALL_NUMBER, "node attention (Attention): its mask isn't certain");
    expect_form(NO_MASK, "node attention (Attention): it masks no keys");
    expect_form(ANOTHER_TOKEN, "node attention (Attention): its mask isn't certain");
    expect_form(MEAN, "node mean (ReduceMean)");
    expect_form(POOLED_OTHERS, "node pool (Pool): it isn't certain to count just the tokens");
    expect_form(POOLED_TWICE, "node pool (Pool): it isn't certain to count just the tokens");
    expect_form(POOLED_ALL, "node pool (Pool): it isn't certain to count just the tokens");
    expect_form(POOLED_ALONE, "node pool (Pool): its sequences aren't the batch's");
    expect_form(SCALED_BY_PLACE, "node norm (LayerNormalization): it doesn't treat every token by itself");
    expect_form(BIASED_BY_PLACE, "node norm (LayerNormalization): it doesn't treat every token by itself");
    expect_form(TURNED, "node turned_output (Transpose)");
}

/* ---- Masks of a run ---------------------------------------------------------------------------------------------- */

/* Whether a run with this mask, of one sequence after the other, skips padding. */
static bool skips(bert_session *session, const bert_model *model, const int64_t mask[TOKENS]) {
    static sample in;
    static int64_t memory[MOST_INPUTS][TOKENS];
    bert_named_tensor outputs[MOST_OUTPUTS];
    fill(model, RIGHT, &in, memory);
    memcpy(memory[1], mask, sizeof memory[1]);
    run(session, model, &in, outputs);
    return bert_session_plan(session)->request.rows > 0;
}

static void masks_that_are_no_masks_run_as_they_are(void **state) {
    bert_model *model = NULL;
    bert_error error;
    int64_t mask[TOKENS];
    building = LARGE_NUMBER;
    assert_int_equal(build_load(build_small, NULL, NULL, &model, &error), BERT_OK);
    bert_session *session =
        open_session(model, "reference", BERT_PADDED_ROWS_UNDEFINED, BERT_QUANT_SCOPE_TENSOR, &error);
    for (int i = 0; i < TOKENS; i++) mask[i] = 1;
    assert_false(skips(session, model, mask)); /* there is no padding */
    mask[TOKENS - 1] = 0;
    assert_true(skips(session, model, mask));
    mask[0] = 2;
    assert_false(skips(session, model, mask)); /* more than real */
    mask[0] = 1;
    for (int i = SEQUENCE; i < 2 * SEQUENCE; i++) mask[i] = 0;
    assert_false(skips(session, model, mask)); /* a sequence without a token */
    mask[SEQUENCE + 4] = 1;
    assert_true(skips(session, model, mask));
    bert_session_free(session);
    bert_model_free(model);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exporters_masks_are_understood),
        cmocka_unit_test(masks_of_pairs_are_understood),
        cmocka_unit_test(pooled_rows_need_no_padding),
        cmocka_unit_test(tokens_that_are_named_need_no_padding),
        cmocka_unit_test(quantized_models_skip_padding_where_scales_are_not_shared),
        cmocka_unit_test(a_sequence_is_quantized_as_if_it_were_alone),
        cmocka_unit_test(a_scope_of_plain_operators_is_refused),
        cmocka_unit_test(only_what_makes_no_difference_is_skipped),
        cmocka_unit_test(masks_that_are_no_masks_run_as_they_are),
    };
    for (int i = 1; i < argc; i++) {
        bert_model *model = load(argv[i]);
        for (int form = 0; form < FORMS; form++) {
            double worst;
            const char *why = compare(model, "cpu", BERT_QUANT_SCOPE_TOKEN, (mask_form)form, &worst);
            printf("%s form %d: %s %.2g\n", argv[i], form, why ? why : "packed", worst);
        }
        bert_model_free(model);
    }
    return argc > 1 ? 0 : cmocka_run_group_tests(tests, NULL, NULL);
}
