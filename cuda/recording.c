/*
 * Kernels of a bound plan as a CUDA graph. A plan's first run calls its kernels, so that libraries load and choose what
 * they run, and then calls them once more to record them: every later run is one launch. A plan without padding has
 * another number of rows each time; such a number is recorded when it comes for the second time. What CUDA or a library
 * refuses while it is recorded alone fails no run: the session calls its kernels one by one from then on.
 */
#include "cuda/device.h"

#include <stdio.h>
#include <string.h>

static const bert_host *host_of(const bert_context *context) {
    return context->prepared->device->host;
}

static bool same_steps(const bert_run_steps *a, const bert_run_steps *b) {
    return a->plan == b->plan && a->arena == b->arena && a->rows == b->rows;
}

static bert_cuda_recording *find(bert_context *context, const bert_run_steps *steps) {
    for (int i = 0; i < BERT_CUDA_RECORDINGS; i++) {
        if (same_steps(&context->recordings[i].steps, steps)) return &context->recordings[i];
    }
    return NULL;
}

static void forget(bert_cuda_recording *recording) {
    if (recording->exec) cudaGraphExecDestroy(recording->exec);
    *recording = (bert_cuda_recording){0};
}

void bert_cuda_forget_recordings(bert_context *context) {
    for (int i = 0; i < BERT_CUDA_RECORDINGS; i++) forget(&context->recordings[i]);
}

/* The place of the one that was not used for the longest time. */
static bert_cuda_recording *remember(bert_context *context, const bert_run_steps *steps) {
    bert_cuda_recording *oldest = &context->recordings[0];
    for (int i = 1; i < BERT_CUDA_RECORDINGS; i++) {
        if (context->recordings[i].last_use < oldest->last_use) oldest = &context->recordings[i];
    }
    forget(oldest);
    oldest->steps = *steps;
    return oldest;
}

static bert_status launch(bert_context *context, bert_error *error) {
    return bert_cuda_check(host_of(context), cudaGraphLaunch(context->current->exec, context->stream), error,
                           "cudaGraphLaunch of a plan");
}

bert_status bert_cuda_steps_begin(bert_context *context, const bert_run_steps *steps, bool *replayed,
                                  bert_error *error) {
    context->phase = steps->apart ? BERT_CUDA_APART : BERT_CUDA_PLAIN;
    context->current = NULL;
    if (steps->apart || context->never_record) return BERT_OK;
    bert_cuda_recording *recording = find(context, steps);
    const bool seen = recording != NULL;
    if (!seen) recording = remember(context, steps);
    recording->last_use = ++context->clock;
    context->current = recording;
    if (!seen) return BERT_OK;
    if (recording->exec) {
        *replayed = true;
        return launch(context, error);
    }
    /* Relaxed: a kernel's code may be loaded while it is recorded. */
    BERT_CUDA_TRY(bert_cuda_check(host_of(context),
                                  cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeRelaxed), error,
                                  "cudaStreamBeginCapture"));
    context->phase = BERT_CUDA_CAPTURING;
    return BERT_OK;
}

void bert_cuda_give_up_recording(bert_context *context, const char *reason) {
    char notice[BERT_ERROR_MESSAGE_BYTES];
    snprintf(notice, sizeof notice, "a plan's kernels can't be recorded, and are called one by one: %s", reason);
    bert_cuda_notice(host_of(context), notice);
    context->never_record = true;
}

/* Makes what was captured something to launch. */
static bert_status end_capture(bert_context *context, bert_status status, bool *again, bert_error *error) {
    bert_cuda_recording *recording = context->current;
    cudaGraph_t graph = NULL;
    context->phase = BERT_CUDA_PLAIN;
    cudaError_t result = cudaStreamEndCapture(context->stream, &graph);
    if (result == cudaSuccess && status == BERT_OK && !context->never_record)
        result = cudaGraphInstantiate(&recording->exec, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (result == cudaSuccess && status == BERT_OK && !context->never_record)
        return context->ran ? BERT_OK : launch(context, error);
    cudaGetLastError();
    recording->exec = NULL;
    forget(recording);
    if (status != BERT_OK) return BERT_OK;
    if (!context->never_record) bert_cuda_give_up_recording(context, cudaGetErrorString(result));
    *again = !context->ran;
    return BERT_OK;
}

/* What this run measured; a file that can't be written is told of once. */
static void keep_choices(bert_context *context) {
    char notice[BERT_ERROR_MESSAGE_BYTES] = "";
    bert_cuda_gemm_cache *choices = context->prepared->device->choices;
    if (!choices || context->choices_lost) return;
    context->choices_lost = !bert_cuda_gemm_cache_save(choices, notice, sizeof notice);
    if (context->choices_lost) bert_cuda_notice(host_of(context), notice);
}

bert_status bert_cuda_steps_end(bert_context *context, bert_status status, bool *again, bert_error *error) {
    if (context->phase == BERT_CUDA_CAPTURING) return end_capture(context, status, again, error);
    if (status == BERT_OK) keep_choices(context);
    if (!context->current) return BERT_OK;
    if (status != BERT_OK) {
        forget(context->current);
        return BERT_OK;
    }
    context->ran = true;
    *again = context->current->steps.rows == 0;
    return BERT_OK;
}
