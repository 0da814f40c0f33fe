/* What a caller gives and asks for, held against what the model declares. */
#include "core/base/error.h"
#include "core/runtime/session.h"
#include "core/runtime/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "dimension 1 (sequence)", or without a name. */
static const char *name_dimension(const bert_model_tensor *declared, int32_t dimension, char *text, size_t capacity) {
    const char *name = declared->dim_names[dimension];
    snprintf(text, capacity, name ? "dimension %d (%.80s)" : "dimension %d", dimension, name);
    return text;
}

static bert_status check_tensor(const bert_model_tensor *declared, const bert_tensor *given, bool need_data,
                                bert_error *error) {
    if (given->dtype != declared->dtype) {
        return bert_fail(error, BERT_INVALID_INPUT, "input %s has elements of type %s, the model wants %s",
                         declared->name, bert_dtype_name(given->dtype), bert_dtype_name(declared->dtype));
    }
    if (given->rank < 0 || given->rank > BERT_MAX_RANK || (declared->rank >= 0 && given->rank != declared->rank)) {
        return bert_fail(error, BERT_INVALID_INPUT, "input %s has rank %d, the model wants %d", declared->name,
                         given->rank, declared->rank < 0 ? BERT_MAX_RANK : declared->rank);
    }
    char text[128];
    for (int32_t d = 0; d < given->rank; d++) {
        if (given->dims[d] < 0) {
            return bert_fail(error, BERT_INVALID_INPUT, "input %s: dimension %d is %" PRId64, declared->name, d,
                             given->dims[d]);
        }
        if (declared->rank < 0 || declared->dims[d] < 0 || declared->dims[d] == given->dims[d]) continue;
        return bert_fail(error, BERT_INVALID_INPUT, "input %s: %s is %" PRId64 ", the model wants %" PRId64,
                         declared->name, name_dimension(declared, d, text, sizeof text), given->dims[d],
                         declared->dims[d]);
    }
    int64_t elements = bert_tensor_elements(given);
    if (elements < 0) {
        return bert_fail(error, BERT_INVALID_INPUT, "input %s has more elements than memory can hold", declared->name);
    }
    if (need_data && !given->data && elements > 0) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "input %s has no data", declared->name);
    }
    return BERT_OK;
}

/* Dimensions of one name are one number, in all inputs. */
static bert_status check_symbols_of(const bert_session *session, int32_t index, int32_t dimension, bert_error *error) {
    const bert_graph *graph = session->model->graph;
    const bert_model_tensor *declared = session->model->inputs;
    bert_dim symbol = graph->inputs[index]->info.shape.dims[dimension];
    if (bert_dim_known(symbol)) return BERT_OK;
    for (int32_t i = 0; i <= index; i++) {
        if (!session->given[i]) continue;
        int32_t end = i == index ? dimension : declared[i].rank;
        for (int32_t d = 0; d < end; d++) {
            if (graph->inputs[i]->info.shape.dims[d] != symbol) continue;
            if (session->inputs[i].dims[d] == session->inputs[index].dims[dimension]) return BERT_OK;
            char text[128];
            return bert_fail(error, BERT_INVALID_INPUT, "input %s: %s is %" PRId64 ", but %s has %" PRId64 " there",
                             declared[index].name, name_dimension(&declared[index], dimension, text, sizeof text),
                             session->inputs[index].dims[dimension], declared[i].name, session->inputs[i].dims[d]);
        }
    }
    return BERT_OK;
}

static bert_status check_symbols(const bert_session *session, bert_error *error) {
    for (int32_t i = 0; i < session->model->graph->input_count; i++) {
        if (!session->given[i]) continue;
        for (int32_t d = 0; d < session->model->inputs[i].rank; d++) {
            BERT_TRY(check_symbols_of(session, i, d, error));
        }
    }
    return BERT_OK;
}

/* "input_ids, attention_mask": the names that the model has. */
static void list_names(const bert_model_tensor *tensors, int32_t count, char *text, size_t capacity) {
    text[0] = '\0';
    for (int32_t i = 0; i < count; i++) bert_append_text(text, capacity, "%s%s", i ? ", " : "", tensors[i].name);
}

static bert_status take_input(bert_session *session, const bert_named_tensor *input, bool need_data,
                              bert_error *error) {
    const bert_model *model = session->model;
    int32_t count = model->graph->input_count, index = 0;
    if (!input->name) return bert_fail(error, BERT_INVALID_ARGUMENT, "an input has no name");
    while (index < count && strcmp(model->inputs[index].name, input->name) != 0) index++;
    if (index == count) {
        char names[512];
        list_names(model->inputs, count, names, sizeof names);
        return bert_fail(error, BERT_INVALID_INPUT, "the model has no input %.200s: it has %s", input->name, names);
    }
    if (session->given[index]) {
        return bert_fail(error, BERT_INVALID_INPUT, "input %s is given twice", input->name);
    }
    bool need = need_data || model->deciders.inputs[index];
    if (!need_data && need && !input->tensor.data && bert_tensor_elements(&input->tensor) > 0) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "input %s has no data, and the model's shapes depend on its content", input->name);
    }
    BERT_TRY(check_tensor(&model->inputs[index], &input->tensor, need, error));
    session->inputs[index] = input->tensor;
    session->given[index] = true;
    return BERT_OK;
}

bert_status bert_session_take_inputs(bert_session *session, const bert_named_tensor *inputs, size_t count,
                                     bool need_data, bert_error *error) {
    const bert_model *model = session->model;
    for (int32_t i = 0; i < model->graph->input_count; i++) session->given[i] = false;
    for (int32_t i = 0; i < model->graph->output_count; i++) session->wanted[i] = false;
    if (count && !inputs) return bert_fail(error, BERT_INVALID_ARGUMENT, "the list of inputs is NULL");
    for (size_t i = 0; i < count; i++) BERT_TRY(take_input(session, &inputs[i], need_data, error));
    for (int32_t i = 0; i < model->graph->input_count; i++) {
        if (session->given[i] || model->inputs[i].optional) continue;
        return bert_fail(error, BERT_INVALID_INPUT, "input %s is missing", model->inputs[i].name);
    }
    return check_symbols(session, error);
}

bert_status bert_session_take_output(bert_session *session, const char *name, int32_t *index_out, bert_error *error) {
    const bert_model *model = session->model;
    bool exists = false;
    if (!name) return bert_fail(error, BERT_INVALID_ARGUMENT, "an output has no name");
    for (int32_t i = 0; i < model->graph->output_count; i++) {
        if (strcmp(model->outputs[i].name, name) != 0) continue;
        exists = true;
        if (session->wanted[i]) continue;
        session->wanted[i] = true;
        *index_out = i;
        return BERT_OK;
    }
    if (exists) return bert_fail(error, BERT_INVALID_INPUT, "output %.200s is asked for twice", name);
    char names[512];
    list_names(model->outputs, model->graph->output_count, names, sizeof names);
    return bert_fail(error, BERT_INVALID_INPUT, "the model has no output %.200s: it has %s", name, names);
}
