/* The bundled classifier on the CUDA provider, which is linked into the test, and batches for it. */
#ifndef BERT_TESTS_CUDA_PROVIDER_CASE_H
#define BERT_TESTS_CUDA_PROVIDER_CASE_H

#include "core/runtime/model.h"
#include "core/runtime/session.h"
#include "tests/cuda/provider_composition.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <math.h>

#define ZH BERT_SOURCE_DIR "/models/zh-sentiment/"

enum { BATCH = 2, SEQUENCE = 9, TOKENS = BATCH * SEQUENCE, LABELS = 2 };

static bert_composition composition;

static inline bert_model *load_with(const char *path, const bert_model_options *options) {
    bert_model *model = NULL;
    bert_error error;
    const bert_model_source source = {.path = path};
    if (bert_model_load_composed(&composition, &source, options, &model, &error) != BERT_OK)
        fail_msg("%s", error.message);
    return model;
}

static inline bert_model *load(const char *path) {
    return load_with(path, NULL);
}

static inline bert_session *open_with(bert_model *model, const bert_session_options *options) {
    bert_session *session = NULL;
    bert_error error;
    if (bert_session_create(model, options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    return session;
}

static inline bert_session *open(bert_model *model, const char *providers) {
    const bert_session_options options = {.struct_size = sizeof options, .providers = providers};
    return open_with(model, &options);
}

/* A batch of sequences, of which the later ones are shorter. */
typedef struct batch {
    int64_t ids[TOKENS], types[TOKENS], mask[TOKENS];
    int64_t rows, length;
} batch;

static inline batch make_batch(int64_t rows, int64_t length, bool padded, unsigned seed) {
    batch b = {.rows = rows, .length = length};
    for (int64_t i = 0; i < rows * length; i++) {
        const int64_t row = i / length, at = i % length;
        seed = seed * 1664525U + 1013904223U;
        b.mask[i] = !padded || at < length - 3 * row;
        b.ids[i] = b.mask[i] ? 100 + (seed >> 16) % 500 : 0;
    }
    return b;
}

static inline bert_status try_run(bert_session *session, batch *b, float *logits, bert_error *error) {
    const bert_tensor shape = {BERT_INT64, 2, {b->rows, b->length}, NULL};
    bert_named_tensor inputs[3] = {{"input_ids", shape, 0}, {"token_type_ids", shape, 0}, {"attention_mask", shape, 0}};
    inputs[0].tensor.data = b->ids;
    inputs[1].tensor.data = b->types;
    inputs[2].tensor.data = b->mask;
    bert_named_tensor output = {.name = "output_0", .capacity_bytes = (size_t)(b->rows * LABELS) * sizeof *logits};
    output.tensor.data = logits;
    return bert_session_run(session, NULL, inputs, 3, &output, 1, error);
}

static inline void run(bert_session *session, batch *b, float *logits) {
    bert_error error;
    if (try_run(session, b, logits, &error) != BERT_OK) fail_msg("%s", error.message);
}

static inline void expect_near(const float *expected, const float *actual, int64_t count, double allowed) {
    for (int64_t i = 0; i < count; i++) {
        if (!(fabs((double)actual[i] - (double)expected[i]) <= allowed))
            fail_msg("%g instead of %g at %d", (double)actual[i], (double)expected[i], (int)i);
    }
}

#endif
