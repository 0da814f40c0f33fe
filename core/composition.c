/* What this build is put together from, and loading with it. */
#include "core/runtime/composition.h"

#include "core/base/error.h"
#include "core/runtime/model.h"
#include "core/runtime/reference_backend.h"
#include "onnx_loader/onnx_loader.h"

static const bert_backend *const backends[] = {&bert_reference_backend};

const bert_composition bert_default_composition = {
    .load = bert_onnx_load,
    .backends = backends,
    .backend_count = sizeof backends / sizeof *backends,
    .reference = &bert_reference_backend,
};

static bert_status load(const bert_model_source *source, const bert_model_options *options, bert_model **out,
                        bert_error *error) {
    return bert_model_load_composed(&bert_default_composition, source, options, out, error);
}

bert_status bert_model_load(const char *path, const bert_model_options *options, bert_model **out, bert_error *error) {
    *out = NULL;
    if (!path) return bert_fail(error, BERT_INVALID_ARGUMENT, "the path of the model is NULL");
    return load(&(bert_model_source){.path = path}, options, out, error);
}

bert_status bert_model_load_memory(const void *data, size_t bytes, const bert_model_options *options, bert_model **out,
                                   bert_error *error) {
    *out = NULL;
    if (!data) return bert_fail(error, BERT_INVALID_ARGUMENT, "the model in memory is NULL");
    return load(&(bert_model_source){.data = data, .bytes = bytes}, options, out, error);
}
