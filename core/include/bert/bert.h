/*
 * bert.c: BERT inference from ONNX files.
 *
 *     bert_error error;
 *     bert_model *model;
 *     bert_session *session;
 *     if (bert_model_load("model.onnx", NULL, &model, &error)) return fail(error.message);
 *     if (bert_session_create(model, NULL, &session, &error)) return fail(error.message);
 *     int64_t ids[] = {101, 7592, 102};
 *     bert_named_tensor input = {"input_ids", {BERT_INT64, 2, {1, 3}, ids}, 0};
 *     bert_named_tensor output = {"logits", {0}, 0};
 *     if (bert_session_run(session, NULL, &input, 1, &output, 1, &error)) return fail(error.message);
 *     const float *logits = output.tensor.data;
 *     bert_session_free(session);
 *     bert_model_free(model);
 */
#ifndef BERT_BERT_H
#define BERT_BERT_H

#include <bert/backend.h>
#include <bert/model.h>
#include <bert/pipeline.h>
#include <bert/session.h>
#include <bert/status.h>
#include <bert/thread_pool.h>
#include <bert/tokenizer.h>
#include <bert/types.h>
#include <bert/version.h>

#endif
