#include "tests/onnx_loader/saved.h"

#include "onnx_loader/save.h"
#include "tests/onnx_loader/loading.h"

bert_model *saved_model(build_fn build, const char *path) {
    bert_model *model = NULL;
    bert_error error;
    if (build_load(build, NULL, NULL, &model, &error) != BERT_OK ||
        bert_onnx_save(bert_model_graph(model), path, NULL, &error) != BERT_OK)
        fail_msg("%s", error.message);
    return model;
}

static bert_session *run(bert_model *model, const bert_named_tensor *inputs, size_t count, int outputs,
                         bert_named_tensor *out) {
    bert_session *session = NULL;
    bert_error error;
    assert_int_equal(bert_model_output_count(model), outputs);
    for (int i = 0; i < outputs; i++) {
        bert_model_tensor described;
        assert_int_equal(bert_model_output(model, (size_t)i, &described), BERT_OK);
        out[i] = (bert_named_tensor){.name = described.name};
    }
    if (bert_session_create(model, NULL, &session, &error) != BERT_OK ||
        bert_session_run(session, NULL, inputs, count, out, (size_t)outputs, &error) != BERT_OK)
        fail_msg("%s", error.message);
    return session;
}

void saved_run(build_fn build, const char *path, const bert_named_tensor *inputs, size_t count, int outputs,
               saved_runs *out) {
    const bert_model_source source = {.path = path};
    bert_composition from_file = build_composition;
    bert_error error;
    assert_true(outputs <= SAVED_MOST_OUTPUTS);
    from_file.load = bert_onnx_load;
    out->models[0] = saved_model(build, path);
    if (bert_model_load_composed(&from_file, &source, NULL, &out->models[1], &error) != BERT_OK)
        fail_msg("%s", error.message);
    for (int i = 0; i < 2; i++) out->sessions[i] = run(out->models[i], inputs, count, outputs, out->outputs[i]);
    for (int i = 0; i < outputs; i++) {
        assert_string_equal(out->outputs[0][i].name, out->outputs[1][i].name);
        assert_int_equal(out->outputs[0][i].tensor.dtype, out->outputs[1][i].tensor.dtype);
    }
}

void saved_end(saved_runs *runs) {
    for (int i = 0; i < 2; i++) {
        bert_session_free(runs->sessions[i]);
        bert_model_free(runs->models[i]);
    }
}

int saved_count(const bert_model *model, bert_op_id id) {
    int count = 0;
    BERT_FOR_EACH_NODE (node, &bert_model_graph(model)->body) count += node->op->id == id;
    return count;
}
