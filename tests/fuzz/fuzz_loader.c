/* Any bytes as a model: loading fails with a sentence, or gives a graph that keeps its rules and has its shapes
 * inferred without harm. */
#include "core/base/utf8.h"
#include "core/graph/op.h"
#include "onnx_loader/onnx_loader.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sentence(bert_status status, const bert_error *error) {
    size_t length = strlen(error->message);
    if (error->status != status || length == 0 || strchr(error->message, '\n')) abort();
    if (bert_utf8_valid_prefix(error->message, length) != length) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const bert_model_source source = {.data = data, .bytes = size};
    bert_graph *graph = NULL;
    bert_error error = {0};
    bert_status status = bert_onnx_load(&source, &graph, &error);
    if (status != BERT_OK) {
        if (graph) abort();
        check_sentence(status, &error);
        return 0;
    }
    if (bert_graph_check(graph, &error) != BERT_OK) abort();
    status = bert_infer_graph(graph, &error);
    if (status != BERT_OK) check_sentence(status, &error);
    bert_graph_free(graph);
    return 0;
}
