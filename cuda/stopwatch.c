#include "cuda/stopwatch.h"

enum { MOST_REPEATS = 20 };

/* What runs for this long is told from something else by one run. */
static const float long_enough_ms = 0.2F;

typedef struct stopwatch {
    cudaEvent_t begin, end;
    cudaStream_t stream;
    int least; /* repeats of short work */
} stopwatch;

/* Work in one of its ways, `repeats` times. */
typedef struct timed {
    bert_cuda_way_fn run;
    const void *work;
    int way, repeats;
} timed;

static bool call_runs(const timed *t, cudaStream_t stream) {
    bool good = true;
    for (int i = 0; i < t->repeats && good; i++) good = t->run(t->work, t->way, stream);
    return good;
}

/* The runs as a graph; NULL where they can't be recorded (on the default stream, say). */
static cudaGraphExec_t record_runs(const timed *t, cudaStream_t stream) {
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess) {
        bool good = call_runs(t, stream);
        good = cudaStreamEndCapture(stream, &graph) == cudaSuccess && good;
        if (good && cudaGraphInstantiate(&exec, graph, 0) != cudaSuccess) exec = NULL;
        if (graph) cudaGraphDestroy(graph);
    }
    if (!exec) cudaGetLastError(); /* seen: the next call is not to find it */
    return exec;
}

/* Milliseconds of one run, the mean of those that follow each other: a launch of `exec`, or called where that is NULL.
 * Negative when they fail. */
static float time_runs(const timed *t, cudaGraphExec_t exec, const stopwatch *watch) {
    float milliseconds = -1;
    /* The clock starts when the GPU comes from a launch before, so that the way to it doesn't count. */
    if (exec && cudaGraphLaunch(exec, watch->stream) != cudaSuccess) return -1;
    if (cudaEventRecord(watch->begin, watch->stream) != cudaSuccess) return -1;
    if (exec ? cudaGraphLaunch(exec, watch->stream) != cudaSuccess : !call_runs(t, watch->stream)) return -1;
    if (cudaEventRecord(watch->end, watch->stream) != cudaSuccess || cudaEventSynchronize(watch->end) != cudaSuccess ||
        cudaEventElapsedTime(&milliseconds, watch->begin, watch->end) != cudaSuccess)
        return -1;
    return milliseconds / (float)t->repeats;
}

/*
 * The first run loads code and is not counted; the second says how many more tell the time. Those of small work are
 * recorded, as they will be in a plan: called one by one they take as long as the host needs to call them, and all ways
 * look alike.
 */
static float measure(const stopwatch *watch, timed t) {
    if (time_runs(&t, NULL, watch) < 0) return -1;
    const float once = time_runs(&t, NULL, watch);
    if (once < 0 || once >= long_enough_ms) return once;
    const float wanted = long_enough_ms / (once > 0.001F ? once : 0.001F);
    t.repeats = wanted < MOST_REPEATS ? (int)wanted + 1 : MOST_REPEATS;
    if (t.repeats < watch->least) t.repeats = watch->least;
    cudaGraphExec_t exec = record_runs(&t, watch->stream);
    const float time = time_runs(&t, exec, watch);
    if (exec) cudaGraphExecDestroy(exec);
    return time;
}

static float measure_way(const stopwatch *watch, bert_cuda_way_fn run, const void *work, int way) {
    const float time = measure(watch, (timed){run, work, way, 1});
    if (time < 0) cudaGetLastError(); /* seen, as above */
    return time;
}

/* Each way that is near the best has a second turn after all had one: a GPU that comes from rest is slow at first, and
 * a single run may be disturbed. */
static void compare(const stopwatch *watch, bert_cuda_way_fn run, const void *work, int count, bert_cuda_fastest *out) {
    float times[BERT_CUDA_MOST_WAYS], best = -1;
    for (int way = 0; way < count; way++) {
        times[way] = measure_way(watch, run, work, way);
        if (times[way] >= 0 && (best < 0 || times[way] < best)) best = times[way];
    }
    const float near = best * 1.5F;
    for (int way = 0; way < count; way++) {
        if (times[way] < 0 || times[way] > near) continue;
        const float again = measure_way(watch, run, work, way),
                    time = again < 0 || again > times[way] ? times[way] : again;
        if (out->way >= 0 && time >= best) continue;
        best = time;
        *out = (bert_cuda_fastest){.way = way, .nanoseconds = (int64_t)((double)time * 1e6)};
    }
}

cudaError_t bert_cuda_find_fastest(cudaStream_t stream, bert_cuda_way_fn run, const void *work, int count, int least,
                                   bert_cuda_fastest *out) {
    stopwatch watch = {.stream = stream, .least = least};
    *out = (bert_cuda_fastest){.way = -1};
    if (count > BERT_CUDA_MOST_WAYS) return cudaErrorInvalidValue;
    cudaError_t status = cudaEventCreate(&watch.begin);
    if (status == cudaSuccess) status = cudaEventCreate(&watch.end);
    if (status == cudaSuccess) {
        compare(&watch, run, work, count, out);
        status = cudaStreamSynchronize(stream);
    }
    if (watch.end) cudaEventDestroy(watch.end);
    if (watch.begin) cudaEventDestroy(watch.begin);
    return status;
}
