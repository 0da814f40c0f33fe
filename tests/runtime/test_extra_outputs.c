/* Tensors inside a graph as outputs: bert_model_options.extra_outputs. */
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <string.h>

#define MODEL BERT_SOURCE_DIR "/tests/data/graphs/old_bert_cls_11/model.onnx"
/* Inside of a GELU, which a pass fuses, and a LayerNormalization's end, which stays. */
#define FUSED "/m/bert/encoder/layer.0/intermediate/intermediate_act_fn/Erf_output_0"
#define KEPT "/m/bert/encoder/layer.0/output/LayerNorm/Add_1_output_0"

static bert_model *load(const char *const *names, size_t count, bool if_kept, bool no_passes) {
    const bert_model_options options = {.struct_size = sizeof options,
                                        .extra_outputs = names,
                                        .extra_output_count = count,
                                        .extra_outputs_if_kept = if_kept,
                                        .no_passes = no_passes};
    bert_model *model = NULL;
    bert_error error = {0};
    if (bert_model_load(MODEL, &options, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    return model;
}

static const char *output_name(const bert_model *model, size_t index) {
    bert_model_tensor output = {0};
    assert_int_equal(bert_model_output(model, index, &output), BERT_OK);
    return output.name;
}

/* Elements of the first output that is asked for, by a run of three tokens; the caller's model and session go. */
static size_t run(bert_model *model, const char *name, float *out, size_t capacity) {
    bert_session *session = NULL;
    bert_error error = {0};
    int64_t ids[3] = {5, 7, 11}, ones[3] = {1, 1, 1}, zeros[3] = {0};
    const bert_named_tensor inputs[] = {named("input_ids", BERT_INT64, 2, DIMS(1, 3), ids),
                                        named("attention_mask", BERT_INT64, 2, DIMS(1, 3), ones),
                                        named("token_type_ids", BERT_INT64, 2, DIMS(1, 3), zeros)};
    bert_named_tensor output = {.name = name};
    if (bert_session_create(model, NULL, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_session_run(session, NULL, inputs, 3, &output, 1, &error) != BERT_OK) fail_msg("%s", error.message);
    size_t count = (size_t)bert_tensor_elements(&output.tensor);
    assert_int_equal(output.tensor.dtype, BERT_FLOAT);
    assert_true(count <= capacity);
    memcpy(out, output.tensor.data, count * sizeof *out);
    bert_session_free(session);
    bert_model_free(model);
    return count;
}

static void tensors_inside_become_outputs_and_stay(void **state) {
    static float kept[2][1 << 12];
    static const char *const names[] = {FUSED, KEPT};
    for (int i = 0; i < 2; i++) {
        bert_model *model = load(names, 2, false, false);
        assert_int_equal(bert_model_output_count(model), 3);
        assert_string_equal(output_name(model, 1), FUSED);
        assert_string_equal(output_name(model, 2), KEPT);
        size_t count = run(model, names[i], kept[0], 1 << 12);
        assert_int_equal(run(load(names, 2, false, true), names[i], kept[1], 1 << 12), count);
        for (size_t e = 0; e < count; e++) assert_float_equal(kept[0][e], kept[1][e], 1e-5);
        assert_true(kept[0][0] != kept[0][1]);
    }
}

static size_t node_count(const bert_model *model) {
    size_t count = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) count++;
    return count;
}

static void if_kept_leaves_the_passes_alone(void **state) {
    static const char *const names[] = {FUSED, "nothing", KEPT, KEPT};
    bert_model *plain = load(NULL, 0, false, false), *model = load(names, 4, true, false);
    assert_int_equal(node_count(model), node_count(plain));
    assert_int_equal(bert_model_output_count(model), 2);
    assert_string_equal(output_name(model, 0), output_name(plain, 0));
    assert_string_equal(output_name(model, 1), KEPT);
    bert_model_tensor output = {0};
    assert_int_equal(bert_model_output(model, 1, &output), BERT_OK);
    assert_int_equal(output.rank, 3);
    assert_int_equal(output.dtype, BERT_FLOAT);
    bert_model_free(plain);
    bert_model_free(model);
}

static void an_output_of_the_file_is_not_listed_twice(void **state) {
    bert_model *plain = load(NULL, 0, false, false);
    const char *names[] = {output_name(plain, 0), KEPT, KEPT};
    for (int if_kept = 0; if_kept < 2; if_kept++) {
        bert_model *model = load(names, 3, if_kept, false);
        assert_int_equal(bert_model_output_count(model), 2);
        bert_model_free(model);
    }
    bert_model_free(plain);
}

static void an_unknown_name_is_refused(void **state) {
    static const char *const names[] = {KEPT, "nothing"}, *const missing[] = {NULL};
    const struct {
        const char *const *names;
        size_t count;
        const char *part;
    } rows[] = {{names, 2, "tensor 'nothing' can't be an output: the graph has no tensor of that name"},
                {missing, 1, "it has no name"}};
    for (int i = 0; i < 2; i++) {
        bert_model_options options = {
            .struct_size = sizeof options, .extra_outputs = rows[i].names, .extra_output_count = rows[i].count};
        bert_model *model = NULL;
        bert_error error = {0};
        assert_int_equal(bert_model_load(MODEL, &options, &model, &error), BERT_INVALID_ARGUMENT);
        assert_null(model);
        assert_non_null(strstr(error.message, rows[i].part));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_inside_become_outputs_and_stay),
        cmocka_unit_test(if_kept_leaves_the_passes_alone),
        cmocka_unit_test(an_output_of_the_file_is_not_listed_twice),
        cmocka_unit_test(an_unknown_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
