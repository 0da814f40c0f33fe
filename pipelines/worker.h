/* What one run of a pipeline works with: a session, its tensors, an encoder. A pipeline keeps those that are idle. */
#ifndef BERT_PIPELINES_WORKER_H
#define BERT_PIPELINES_WORKER_H

#include "pipelines/pipeline.h"

typedef struct bert_worker {
    struct bert_worker *next;
    bert_session *session;
    bert_text_batch *batch;
    bert_text_encoder *encoder; /* Made by the first run that needs it. */
} bert_worker;

/** An idle worker, or a new one. Any thread. */
bert_status bert_worker_take(bert_pipeline *pipeline, bert_worker **out, bert_error *error);
/** Gives it back. Any thread. */
void bert_worker_give(bert_pipeline *pipeline, bert_worker *worker);
/** Frees those that are idle. */
void bert_workers_free(bert_pipeline *pipeline);

#endif
