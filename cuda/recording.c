/*
 * Kernels of a bound plan as a CUDA graph. A plan's first run calls its kernels, so that libraries load and choose what
 * they run, and then calls them once more to record them: every later run is one launch. A plan without padding has
 * another number of rows each time, of which few are rounded up to a multiple (bert_backend's row_step); such a number
 * is recorded when it comes for the second time. What CUDA or a library
 * refuses for being recorded fails no run: those kernels are called one by one from then on.
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

void bert_cuda_give_up_recording(bert_context *context, const char *reason) {
    char notice[BERT_ERROR_MESSAGE_BYTES];
    snprintf(notice, sizeof notice, "a plan's kernels can't be recorded, and are called one by one: %s", reason);
    bert_cuda_notice(host_of(context), notice);
    context->current->refused = true;
}

/* The same for what CUDA said, of which nothing is left for the next call to find. */
static void give_up_for(bert_context *context, cudaError_t result) {
    cudaGetLastError();
    bert_cuda_give_up_recording(context, cudaGetErrorString(result));
}

/* Between two events, where the time is asked for. */
static cudaError_t replay(bert_context *context, cudaGraphExec_t exec) {
    if (!context->began) return cudaGraphLaunch(exec, context->stream);
    cudaError_t result = cudaEventRecord(context->began, context->stream);
    if (result == cudaSuccess) result = cudaGraphLaunch(exec, context->stream);
    if (result == cudaSuccess) result = cudaEventRecord(context->ended, context->stream);
    context->timed = result == cudaSuccess;
    return result;
}

bert_status bert_cuda_steps_begin(bert_context *context, const bert_run_steps *steps, bool *replayed,
                                  bert_error *error) {
    context->phase = steps->apart ? BERT_CUDA_APART : BERT_CUDA_PLAIN;
    context->filled = steps->filled;
    context->current = NULL;
    BERT_CUDA_TRY(bert_cuda_finish_uploads(context, error));
    if (steps->apart) return BERT_OK;
    bert_cuda_recording *recording = find(context, steps);
    const bool seen = recording != NULL;
    if (!seen) recording = remember(context, steps);
    recording->last_use = ++context->clock;
    if (recording->refused) return BERT_OK;
    context->current = recording;
    if (!seen) return BERT_OK;
    if (recording->exec) {
        *replayed = true;
        return bert_cuda_check(host_of(context), replay(context, recording->exec), error, "cudaGraphLaunch of a plan");
    }
    /* Relaxed: a kernel's code may be loaded while it is recorded. */
    const cudaError_t result = cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeRelaxed);
    if (result == cudaSuccess) {
        context->phase = BERT_CUDA_CAPTURING;
        return BERT_OK;
    }
    give_up_for(context, result);
    context->current = NULL;
    *replayed = context->ran; /* then the results are there */
    return BERT_OK;
}

/* Makes what was captured something to launch, and launches it unless its kernels have run. */
static cudaError_t instantiate(const bert_context *context, cudaGraph_t graph) {
    bert_cuda_recording *recording = context->current;
    cudaError_t result = cudaGraphInstantiate(&recording->exec, graph, 0);
    if (result == cudaSuccess && !context->ran) result = cudaGraphLaunch(recording->exec, context->stream);
    if (result == cudaSuccess) return cudaSuccess;
    if (recording->exec) cudaGraphExecDestroy(recording->exec);
    recording->exec = NULL;
    return result;
}

static void end_capture(bert_context *context, bert_status status, bool *again) {
    bert_cuda_recording *recording = context->current;
    cudaGraph_t graph = NULL;
    context->phase = BERT_CUDA_PLAIN;
    cudaError_t result = cudaStreamEndCapture(context->stream, &graph);
    if (status == BERT_OK && !recording->refused) {
        if (result == cudaSuccess) result = instantiate(context, graph);
        if (result != cudaSuccess) give_up_for(context, result);
    }
    if (graph) cudaGraphDestroy(graph);
    if (status == BERT_OK && !recording->refused) return;
    cudaGetLastError(); /* of what was refused, and of the capture that it ended */
    if (status != BERT_OK) forget(recording);
    *again = status == BERT_OK && !context->ran;
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
    if (context->phase == BERT_CUDA_CAPTURING) {
        end_capture(context, status, again);
        return BERT_OK;
    }
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
