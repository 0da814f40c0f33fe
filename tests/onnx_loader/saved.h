/* A graph of a test, saved and run beside what its file loads as, without passes. */
#ifndef BERT_TESTS_ONNX_LOADER_SAVED_H
#define BERT_TESTS_ONNX_LOADER_SAVED_H

#include "tests/runtime/build.h"

enum { SAVED_MOST_OUTPUTS = 16 };

/** The graph's own run, then the file's. */
typedef struct saved_runs {
    bert_model *models[2];
    bert_session *sessions[2];
    bert_named_tensor outputs[2][SAVED_MOST_OUTPUTS];
} saved_runs;

/** The graph's model; its file is at `path`. */
bert_model *saved_model(build_fn build, const char *path);
/** Both runs on the inputs; `outputs`: how many there are. Names and types of outputs are the same. */
void saved_run(build_fn build, const char *path, const bert_named_tensor *inputs, size_t count, int outputs,
               saved_runs *out);
void saved_end(saved_runs *runs);
/** Nodes of an operator in a model's graph. */
int saved_count(const bert_model *model, bert_op_id id);

#endif
