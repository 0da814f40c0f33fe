/* The CUDA runtime API of include/cuda_runtime_api.h: device memory, streams, events, graphs. */
#include "tests/cuda_emulator/device_interface.h"
#include "tests/cuda_emulator/internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* ---- Device memory: one stretch of addresses, first fit, a gap after every allocation
 * -------------------------------- */

enum { ALIGNMENT = 512, GAP = 512, MOST_BUFFERS = 8192 };
static const size_t heap_bytes = (size_t)8 << 30;

static pthread_mutex_t launch_lock; /* recursive: graphs launch kernels */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static struct {
    unsigned char *data;
    emu_cell *cells;
    size_t top; /* everything above is untouched so far */
    size_t used, limit;
    emu_buffer buffers[MOST_BUFFERS]; /* live ones, by address */
    size_t count;
    emu_buffer pinned[MOST_BUFFERS]; /* of the host, which kernels may use too */
    size_t pinned_count;
    int accessible; /* how often device_begin */
} heap = {.limit = (size_t)4 << 30};

static uint64_t launches;
static long failure_countdown = -1;
static cudaError_t failure;
static _Thread_local cudaError_t last_error;

static void set_up(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&launch_lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *data = mmap(NULL, heap_bytes, PROT_NONE, flags, -1, 0);
    void *cells = mmap(NULL, heap_bytes * sizeof(emu_cell), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (data == MAP_FAILED) return;
    heap.data = data;
    heap.cells = cells == MAP_FAILED ? NULL : cells; /* without: no races of device memory are seen */
}

static void lock(void) {
    pthread_once(&once, set_up);
    pthread_mutex_lock(&launch_lock);
}

static void unlock(void) {
    pthread_mutex_unlock(&launch_lock);
}

static void protect(int protection) {
    if (heap.top) mprotect(heap.data, heap.top, protection);
}

void bert_emulator_device_begin(void) {
    lock();
    if (heap.accessible++ == 0) protect(PROT_READ | PROT_WRITE);
}

void bert_emulator_device_end(void) {
    if (--heap.accessible == 0) protect(PROT_NONE);
    unlock();
}

void bert_emulator_memory_limit(size_t bytes) {
    heap.limit = bytes;
}

void bert_emulator_fail_after(long calls, int error) {
    failure_countdown = calls;
    failure = (cudaError_t)error;
}

uint64_t bert_emulator_launches(void) {
    return launches;
}

cudaError_t emu_set_error(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t emu_planned_failure(void) {
    if (failure_countdown < 0 || failure_countdown-- > 0) return cudaSuccess;
    return emu_set_error(failure);
}

/* The first buffer that ends after the address. */
static size_t position_of(const emu_buffer *buffers, size_t count, const void *address) {
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (buffers[middle].data + buffers[middle].bytes <= (const unsigned char *)address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const emu_buffer *find_in(const emu_buffer *buffers, size_t count, const void *address,
                                 const emu_buffer **nearest) {
    const size_t at = position_of(buffers, count, address);
    const unsigned char *byte = address;
    if (at < count && byte >= buffers[at].data) return &buffers[at];
    if (!nearest) return NULL;
    if (at > 0 && (size_t)(byte - (buffers[at - 1].data + buffers[at - 1].bytes)) < (1 << 20))
        *nearest = &buffers[at - 1];
    else if (at < count && (size_t)(buffers[at].data - byte) < (1 << 20))
        *nearest = &buffers[at];
    return NULL;
}

const emu_buffer *emu_find_buffer(const void *address, const emu_buffer **nearest) {
    const emu_buffer *found = find_in(heap.buffers, heap.count, address, nearest);
    return found ? found : find_in(heap.pinned, heap.pinned_count, address, nearest && *nearest ? NULL : nearest);
}

emu_cell *emu_heap_cells(const void *address) {
    const unsigned char *byte = address;
    if (!heap.cells || byte < heap.data || byte >= heap.data + heap_bytes) return NULL;
    return &heap.cells[byte - heap.data];
}

static cudaError_t insert(emu_buffer *buffers, size_t *count, emu_buffer buffer) {
    if (*count == MOST_BUFFERS) return cudaErrorMemoryAllocation;
    const size_t at = position_of(buffers, *count, buffer.data);
    memmove(&buffers[at + 1], &buffers[at], (*count - at) * sizeof *buffers);
    buffers[at] = buffer;
    ++*count;
    return cudaSuccess;
}

/* Where `bytes` fit between allocations. */
static size_t first_fit(size_t bytes) {
    size_t start = 0;
    for (size_t i = 0; i < heap.count; i++) {
        const size_t next = (size_t)(heap.buffers[i].data - heap.data);
        if (next >= start && next - start >= bytes + GAP) return start;
        start = (next + heap.buffers[i].bytes + GAP + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return start;
}

static cudaError_t allocate(void **memory, size_t bytes) {
    if (!heap.data || bytes > heap.limit || heap.used > heap.limit - bytes) return cudaErrorMemoryAllocation;
    const size_t start = first_fit(bytes);
    if (start + bytes + GAP > heap_bytes) return cudaErrorMemoryAllocation;
    const size_t end = (start + bytes + GAP + 4095) / 4096 * 4096;
    if (end > heap.top) {
        if (heap.accessible) mprotect(heap.data + heap.top, end - heap.top, PROT_READ | PROT_WRITE);
        heap.top = end;
    }
    const cudaError_t error = insert(heap.buffers, &heap.count, (emu_buffer){heap.data + start, bytes});
    if (error != cudaSuccess) return error;
    heap.used += bytes;
    bert_emulator_device_begin();
    memset(heap.data + start, 0xff, bytes); /* NaN: what is not written shows */
    bert_emulator_device_end();
    *memory = heap.data + start;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    if (!memory) return emu_set_error(cudaErrorInvalidValue);
    *memory = NULL;
    if (emu_planned_failure() != cudaSuccess) return failure;
    if (bytes == 0) return cudaSuccess;
    lock();
    const cudaError_t error = allocate(memory, bytes);
    unlock();
    return emu_set_error(error);
}

static cudaError_t take_out(emu_buffer *buffers, size_t *count, const void *memory, size_t *bytes) {
    const size_t at = position_of(buffers, *count, memory);
    if (at == *count || buffers[at].data != memory) return cudaErrorInvalidValue;
    *bytes = buffers[at].bytes;
    memmove(&buffers[at], &buffers[at + 1], (*count - at - 1) * sizeof *buffers);
    --*count;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    if (!memory) return cudaSuccess;
    size_t bytes = 0;
    lock();
    const cudaError_t error = take_out(heap.buffers, &heap.count, memory, &bytes);
    heap.used -= bytes;
    unlock();
    return emu_set_error(error);
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned int flags) {
    if (!memory) return emu_set_error(cudaErrorInvalidValue);
    *memory = NULL;
    if (emu_planned_failure() != cudaSuccess) return failure;
    if (bytes == 0) return cudaSuccess;
    unsigned char *data = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!data) return emu_set_error(cudaErrorMemoryAllocation);
    lock();
    const cudaError_t error = insert(heap.pinned, &heap.pinned_count, (emu_buffer){data, bytes});
    unlock();
    if (error != cudaSuccess) {
        free(data);
        return emu_set_error(error);
    }
    *memory = data;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory) {
    if (!memory) return cudaSuccess;
    size_t bytes = 0;
    lock();
    const cudaError_t error = take_out(heap.pinned, &heap.pinned_count, memory, &bytes);
    unlock();
    if (error == cudaSuccess) free(memory);
    return emu_set_error(error);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    lock();
    *total_bytes = heap.limit;
    *free_bytes = heap.limit > heap.used ? heap.limit - heap.used : 0;
    unlock();
    return cudaSuccess;
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
typedef struct emu_kernel {
    const char *name;
    emu_dim3 grid, block;
    size_t shared;
    void (*run)(void *);
    void (*release)(void *);
    void *closure;
    size_t closure_bytes;
} emu_kernel;

static void run_kernel(void *memory) {
    const emu_kernel *kernel = memory;
    bert_emulator_device_begin();
    launches++;
    emu_set_error(emu_run(kernel->name, kernel->grid, kernel->block, kernel->shared, kernel->run, kernel->closure,
                          kernel->closure_bytes));
    bert_emulator_device_end();
}

static void release_kernel(void *memory) {
    emu_kernel *kernel = memory;
    kernel->release(kernel->closure);
    free(kernel);
}

static cudaError_t check_launch(const void *function, dim3 grid, dim3 block, size_t shared) {
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > EMU_MOST_THREADS || block.z > 64) return cudaErrorInvalidConfiguration;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    return shared > emu_dynamic_limit(function) ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t bert_emulator_launch(const char *name, const void *function, dim3 grid, dim3 block, size_t shared,
                                 cudaStream_t stream, void (*run)(void *), void (*release)(void *), void *closure,
                                 size_t closure_bytes) {
    cudaError_t error = emu_planned_failure();
    if (error == cudaSuccess) error = check_launch(function, grid, block, shared);
    emu_kernel *kernel = error == cudaSuccess ? malloc(sizeof *kernel) : NULL;
    if (!kernel) {
        release(closure);
        return emu_set_error(error == cudaSuccess ? cudaErrorMemoryAllocation : error);
    }
    *kernel = (emu_kernel){.name = name,
                           .grid = {grid.x, grid.y, grid.z},
                           .block = {block.x, block.y, block.z},
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

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value) {
    if (value < 0 || value > EMU_SHARED_OPTIN) return emu_set_error(cudaErrorInvalidValue);
    lock();
    size_t at = 0;
    while (at < dynamic_limit_count && dynamic_limits[at].function != function) at++;
    if (at < MOST_FUNCTIONS) {
        dynamic_limits[at].function = function;
        dynamic_limits[at].bytes = (size_t)value;
        if (at == dynamic_limit_count) dynamic_limit_count++;
    }
    unlock();
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

/* Whether the stretch lies in one allocation of the device, or outside its memory where `device` is false. */
static bool is_where(const void *memory, size_t bytes, bool device) {
    const unsigned char *byte = memory;
    const bool on_heap = byte >= heap.data && byte < heap.data + heap_bytes;
    if (on_heap != device) return false;
    if (!device) return true;
    const emu_buffer *buffer = find_in(heap.buffers, heap.count, memory, NULL);
    return buffer && bytes <= buffer->bytes - (size_t)(byte - buffer->data);
}

static cudaError_t check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    if (kind == cudaMemcpyDefault) {
        return (is_where(to, bytes, true) || is_where(to, bytes, false)) &&
                       (is_where(from, bytes, true) || is_where(from, bytes, false))
                   ? cudaSuccess
                   : cudaErrorInvalidValue;
    }
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return is_where(to, bytes, to_device) && is_where(from, bytes, from_device) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    if (bytes == 0) return cudaSuccess;
    lock();
    const cudaError_t error = check_copy(to, from, bytes, kind);
    unlock();
    if (error != cudaSuccess) return emu_set_error(error);
    const copy c = {.to = to, .from = from, .bytes = bytes};
    return (cudaError_t)bert_emulator_enqueue(stream, run_copy, &c, sizeof c);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, bytes, kind, NULL);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    if (bytes == 0) return cudaSuccess;
    lock();
    const bool good = is_where(memory, bytes, true);
    unlock();
    if (!good) return emu_set_error(cudaErrorInvalidValue);
    const copy c = {.to = memory, .bytes = bytes, .value = value};
    return (cudaError_t)bert_emulator_enqueue(stream, run_copy, &c, sizeof c);
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    return cudaMemsetAsync(memory, value, bytes, NULL);
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
    *milliseconds = (float)(end->time.tv_sec - begin->time.tv_sec) * 1e3F +
                    (float)(end->time.tv_nsec - begin->time.tv_nsec) * 1e-6F;
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
    *count = 1;
    return cudaSuccess;
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
    *properties = (struct cudaDeviceProp){.name = "the emulator",
                                          .totalGlobalMem = heap.limit,
                                          .sharedMemPerBlock = EMU_SHARED_PER_BLOCK,
                                          .sharedMemPerBlockOptin = EMU_SHARED_OPTIN,
                                          .major = 8,
                                          .minor = 9,
                                          .multiProcessorCount = 4,
                                          .maxThreadsPerBlock = EMU_MOST_THREADS,
                                          .warpSize = EMU_LANES,
                                          .l2CacheSize = 4 << 20};
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
    *version = CUDART_VERSION;
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
