/* The CUDA runtime API of include/cuda_runtime_api.h but for memory: errors, launches, streams, events, graphs. */
#include "tests/cuda_emulator/device_interface.h"
#include "tests/cuda_emulator/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t launches;
static const char *counted; /* part of the names of kernels that are; NULL: all are */
static struct {
    const char *name;
    void (*work)(void *argument);
    void *argument;
} after; /* bert_emulator_after */
static long failure_countdown = -1;
static cudaError_t failure;
static _Thread_local cudaError_t last_error;

static bool failure_came, graphs_refused, captured_work_refused;
static uint64_t graph_launches, uploads;

bool bert_emulator_fail_after(long calls, int error) {
    const bool came = failure_came;
    failure_came = false;
    failure_countdown = calls;
    failure = (cudaError_t)error;
    return came;
}

void bert_emulator_refuse_graphs(bool refuse) {
    graphs_refused = refuse;
}

void bert_emulator_refuse_captured_work(bool refuse) {
    captured_work_refused = refuse;
}

static int driver_version = CUDART_VERSION;

void bert_emulator_have_driver(int version) {
    driver_version = version;
}

static int capability[2] = {8, 9};

void bert_emulator_have_capability(int major, int minor) {
    capability[0] = major;
    capability[1] = minor;
}

static int code_version = 90;

void bert_emulator_have_code(int version) {
    code_version = version;
}

uint64_t bert_emulator_graph_launches(void) {
    return graph_launches;
}

uint64_t bert_emulator_uploads(void) {
    return uploads;
}

uint64_t bert_emulator_launches(void) {
    return launches;
}

void bert_emulator_count(const char *name) {
    counted = name;
    launches = 0;
}

void bert_emulator_after(const char *name, void (*work)(void *argument), void *argument) {
    after.name = name;
    after.work = work;
    after.argument = argument;
}

cudaError_t emu_set_error(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t emu_planned_failure(void) {
    if (failure_countdown < 0 || failure_countdown-- > 0) return cudaSuccess;
    failure_came = true;
    return emu_set_error(failure);
}

/* ---- Streams and graphs --------------------------------------------------------------------------------------------
 */

typedef struct emu_work {
    void (*run)(void *argument);
    void (*release)(void *argument);
    void *argument;
} emu_work;

struct CUgraph_st {
    emu_work *work;
    size_t count, room;
    int references;
};
struct CUgraphExec_st {
    struct CUgraph_st *graph;
};
struct CUstream_st {
    struct CUgraph_st *capture; /* NULL: runs at once */
};
struct CUevent_st {
    struct timespec time;
    bool recorded;
};

static void release_graph(struct CUgraph_st *graph) {
    if (--graph->references > 0) return;
    for (size_t i = 0; i < graph->count; i++) graph->work[i].release(graph->work[i].argument);
    free(graph->work);
    free(graph);
}

/* Takes `work` over: runs and releases it, or keeps it in the graph. */
static cudaError_t submit(cudaStream_t stream, emu_work work) {
    struct CUgraph_st *graph = stream ? stream->capture : NULL;
    if (!graph) {
        work.run(work.argument);
        work.release(work.argument);
        return cudaSuccess;
    }
    if (captured_work_refused) {
        work.release(work.argument);
        return emu_set_error(cudaErrorStreamCaptureUnsupported);
    }
    if (graph->count == graph->room) {
        const size_t room = graph->room ? 2 * graph->room : 64;
        emu_work *larger = realloc(graph->work, room * sizeof *larger);
        if (!larger) {
            work.release(work.argument);
            return cudaErrorMemoryAllocation;
        }
        graph->work = larger;
        graph->room = room;
    }
    graph->work[graph->count++] = work;
    return cudaSuccess;
}

/* The argument of what bert_emulator_enqueue was given. */
typedef struct enqueued {
    void (*work)(void *argument);
    _Alignas(16) unsigned char argument[];
} enqueued;

static void run_enqueued(void *memory) {
    enqueued *item = memory;
    bert_emulator_device_begin();
    item->work(item->argument);
    bert_emulator_device_end();
}

int bert_emulator_enqueue(void *stream, void (*work)(void *argument), const void *argument, size_t bytes) {
    if (emu_planned_failure() != cudaSuccess) return failure;
    enqueued *item = malloc(sizeof *item + bytes);
    if (!item) return emu_set_error(cudaErrorMemoryAllocation);
    item->work = work;
    if (bytes) memcpy(item->argument, argument, bytes);
    return emu_set_error(submit(stream, (emu_work){run_enqueued, free, item}));
}

/* A kernel of the list. Its error is sticky, as a GPU's is. */
static void run_kernel(void *memory) {
    const emu_kernel *kernel = memory;
    bert_emulator_device_begin();
    if (!counted || strstr(kernel->name, counted)) launches++;
    emu_set_error(emu_run(kernel));
    if (after.name && strstr(kernel->name, after.name)) after.work(after.argument);
    bert_emulator_device_end();
}

static void release_kernel(void *memory) {
    emu_kernel *kernel = memory;
    kernel->release(kernel->closure);
    free(kernel);
}

/* Blocks of several share a cluster from 9.0 on; those of them that the emulator runs have 1,024 threads together. */
static cudaError_t check_cluster(unsigned cluster, dim3 grid, uint64_t threads) {
    if (cluster == 1) return cudaSuccess;
    if (capability[0] < 9) return cudaErrorNotSupported;
    if (cluster == 0 || cluster > EMU_MOST_CLUSTER || grid.x % cluster) return cudaErrorInvalidClusterSize;
    return threads % EMU_LANES || threads * cluster > EMU_MOST_THREADS ? cudaErrorInvalidClusterSize : cudaSuccess;
}

static cudaError_t check_launch(const void *function, unsigned cluster, dim3 grid, dim3 block, size_t shared) {
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > EMU_MOST_THREADS || block.z > 64) return cudaErrorInvalidConfiguration;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    return shared > emu_dynamic_limit(function) ? cudaErrorInvalidValue : check_cluster(cluster, grid, threads);
}

cudaError_t bert_emulator_launch(const char *name, const void *function, unsigned cluster, dim3 grid, dim3 block,
                                 size_t shared, cudaStream_t stream, void (*run)(void *), void (*release)(void *),
                                 void *closure, size_t closure_bytes) {
    cudaError_t error = emu_planned_failure();
    if (error == cudaSuccess) error = check_launch(function, cluster, grid, block, shared);
    emu_kernel *kernel = error == cudaSuccess ? malloc(sizeof *kernel) : NULL;
    if (!kernel) {
        release(closure);
        return emu_set_error(error == cudaSuccess ? cudaErrorMemoryAllocation : error);
    }
    *kernel = (emu_kernel){.name = name,
                           .grid = {grid.x, grid.y, grid.z},
                           .block = {block.x, block.y, block.z},
                           .cluster = cluster,
                           .shared = shared,
                           .run = run,
                           .release = release,
                           .closure = closure,
                           .closure_bytes = closure_bytes};
    const cudaError_t before = last_error;
    last_error = cudaSuccess;
    emu_set_error(submit(stream, (emu_work){run_kernel, release_kernel, kernel}));
    error = last_error;
    if (error == cudaSuccess) last_error = before;
    return error;
}

enum { MOST_FUNCTIONS = 256 };
static struct {
    const void *function;
    size_t bytes;
} dynamic_limits[MOST_FUNCTIONS];
static size_t dynamic_limit_count;

size_t emu_dynamic_limit(const void *function) {
    for (size_t i = 0; i < dynamic_limit_count; i++)
        if (dynamic_limits[i].function == function) return dynamic_limits[i].bytes;
    return EMU_SHARED_PER_BLOCK;
}

/* Code for the GPU, or for the last one before it that there is code for. */
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    const int most = capability[0] * 10 + capability[1];
    *attributes = (struct cudaFuncAttributes){.ptxVersion = code_version < most ? code_version : most};
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value) {
    if (value < 0 || value > EMU_SHARED_OPTIN) return emu_set_error(cudaErrorInvalidValue);
    emu_lock();
    size_t at = 0;
    while (at < dynamic_limit_count && dynamic_limits[at].function != function) at++;
    if (at < dynamic_limit_count && dynamic_limits[at].bytes > (size_t)value)
        emu_report(BERT_EMULATOR_LESS_SHARED, NULL, NULL,
                   "before which a kernel is allowed %d bytes of shared memory, and was %zu: another thread may be "
                   "launching it",
                   value, dynamic_limits[at].bytes);
    if (at < MOST_FUNCTIONS) {
        dynamic_limits[at].function = function;
        dynamic_limits[at].bytes = (size_t)value;
        if (at == dynamic_limit_count) dynamic_limit_count++;
    }
    emu_unlock();
    return at < MOST_FUNCTIONS ? cudaSuccess : emu_set_error(cudaErrorMemoryAllocation);
}

/* ---- Copies --------------------------------------------------------------------------------------------------------
 */

typedef struct copy {
    void *to;
    const void *from; /* NULL: fills */
    size_t bytes;
    int value;
} copy;

static void run_copy(void *argument) {
    const copy *c = argument;
    if (c->from)
        memmove(c->to, c->from, c->bytes);
    else
        memset(c->to, c->value, c->bytes);
}

static cudaError_t check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    if (kind == cudaMemcpyDefault) {
        return (emu_is_where(to, bytes, true) || emu_is_where(to, bytes, false)) &&
                       (emu_is_where(from, bytes, true) || emu_is_where(from, bytes, false))
                   ? cudaSuccess
                   : cudaErrorInvalidValue;
    }
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return emu_is_where(to, bytes, to_device) && emu_is_where(from, bytes, from_device) ? cudaSuccess
                                                                                        : cudaErrorInvalidValue;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    if (bytes == 0) return cudaSuccess;
    emu_lock();
    const cudaError_t error = check_copy(to, from, bytes, kind);
    emu_unlock();
    if (error != cudaSuccess) return emu_set_error(error);
    const copy c = {.to = to, .from = from, .bytes = bytes};
    if (kind == cudaMemcpyHostToDevice) uploads++;
    return (cudaError_t)bert_emulator_enqueue(stream, run_copy, &c, sizeof c);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, NULL);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    if (bytes == 0) return cudaSuccess;
    emu_lock();
    const bool good = emu_is_where(memory, bytes, true);
    emu_unlock();
    if (!good) return emu_set_error(cudaErrorInvalidValue);
    const copy c = {.to = memory, .bytes = bytes, .value = value};
    return (cudaError_t)bert_emulator_enqueue(stream, run_copy, &c, sizeof c);
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    return cudaMemsetAsync(memory, value, bytes, NULL);
}

cudaError_t cudaMemset2DAsync(void *memory, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream) {
    cudaError_t error = emu_set_error(width <= pitch ? cudaSuccess : cudaErrorInvalidValue);
    for (size_t row = 0; row < height && error == cudaSuccess; row++)
        error = cudaMemsetAsync((char *)memory + row * pitch, value, width, stream);
    return error;
}

/* ---- Streams, events, graphs ----------------------------------------------------------------------------------------
 */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags) {
    *stream = calloc(1, sizeof **stream);
    return emu_set_error(*stream ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (stream && stream->capture) release_graph(stream->capture);
    free(stream);
    return cudaSuccess;
}
/* A captured stream can't be waited for. */
static cudaError_t refuse_captured(cudaStream_t stream) {
    return stream && stream->capture ? emu_set_error(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const cudaError_t error = refuse_captured(stream);
    return error != cudaSuccess ? error : last_error;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    return cudaStreamSynchronize(stream);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags) {
    *event = calloc(1, sizeof **event);
    return emu_set_error(*event ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    clock_gettime(CLOCK_MONOTONIC, &event->time);
    event->recorded = true;
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    if (!begin->recorded || !end->recorded) return emu_set_error(cudaErrorInvalidResourceHandle);
    /* A thousandth of what went by, as a GPU might take: who measures has other ways for what takes long. */
    *milliseconds =
        (float)(end->time.tv_sec - begin->time.tv_sec) + (float)(end->time.tv_nsec - begin->time.tv_nsec) * 1e-9F;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    if (!stream || stream->capture) return emu_set_error(cudaErrorStreamCaptureUnsupported);
    stream->capture = calloc(1, sizeof *stream->capture);
    if (!stream->capture) return emu_set_error(cudaErrorMemoryAllocation);
    stream->capture->references = 1;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = NULL;
    if (!stream || !stream->capture) return emu_set_error(cudaErrorIllegalState);
    *graph = stream->capture;
    stream->capture = NULL;
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    *status = stream && stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
    *exec = NULL;
    if (emu_planned_failure() != cudaSuccess) return failure;
    if (graphs_refused) return emu_set_error(cudaErrorStreamCaptureUnsupported);
    *exec = calloc(1, sizeof **exec);
    if (!*exec) return emu_set_error(cudaErrorMemoryAllocation);
    (*exec)->graph = graph;
    graph->references++;
    return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
    if (emu_planned_failure() != cudaSuccess) return failure;
    const cudaError_t error = refuse_captured(stream);
    if (error != cudaSuccess) return error;
    graph_launches++;
    bert_emulator_device_begin();
    for (size_t i = 0; i < exec->graph->count; i++) exec->graph->work[i].run(exec->graph->work[i].argument);
    bert_emulator_device_end();
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    if (exec) release_graph(exec->graph);
    free(exec);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    if (graph) release_graph(graph);
    return cudaSuccess;
}

/* ---- Device and errors ---------------------------------------------------------------------------------------------
 */

cudaError_t cudaGetDeviceCount(int *count) {
    *count = driver_version / 1000 < CUDART_VERSION / 1000 ? 0 : 1;
    return emu_set_error(*count ? cudaSuccess : cudaErrorInsufficientDriver);
}
cudaError_t cudaSetDevice(int device) {
    return emu_set_error(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    if (device != 0) return emu_set_error(cudaErrorInvalidDevice);
    size_t total, unused;
    cudaMemGetInfo(&unused, &total);
    *properties = (struct cudaDeviceProp){.name = "the emulator",
                                          .totalGlobalMem = total,
                                          .sharedMemPerBlock = EMU_SHARED_PER_BLOCK,
                                          .sharedMemPerBlockOptin = EMU_SHARED_OPTIN,
                                          .major = capability[0],
                                          .minor = capability[1],
                                          .multiProcessorCount = 4,
                                          .maxThreadsPerBlock = EMU_MOST_THREADS,
                                          .warpSize = EMU_LANES,
                                          .l2CacheSize = 16 << 10};
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    struct cudaDeviceProp properties;
    const cudaError_t error = cudaGetDeviceProperties(&properties, device);
    if (error != cudaSuccess) return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = properties.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)properties.sharedMemPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)properties.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrL2CacheSize:
        *value = properties.l2CacheSize;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        break;
    }
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    return last_error;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) {
    *version = driver_version;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError(void) {
    return last_error;
}
const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
        return "cudaErrorIllegalAddress";
    case cudaErrorMisalignedAddress:
        return "cudaErrorMisalignedAddress";
    case cudaErrorLaunchFailure:
        return "cudaErrorLaunchFailure";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    default:
        return "a CUDA error";
    }
}
const char *cudaGetErrorString(cudaError_t error) {
    return cudaGetErrorName(error);
}
