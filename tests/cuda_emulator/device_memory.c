/* Device memory of the emulator: one stretch of addresses, which nothing can touch but kernels and copies. */
#include "tests/cuda_emulator/internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

void emu_lock(void) {
    pthread_once(&once, set_up);
    pthread_mutex_lock(&launch_lock);
}

void emu_unlock(void) {
    pthread_mutex_unlock(&launch_lock);
}

static void protect(int protection) {
    if (heap.top) mprotect(heap.data, heap.top, protection);
}

void bert_emulator_device_begin(void) {
    emu_lock();
    if (heap.accessible++ == 0) protect(PROT_READ | PROT_WRITE);
}

void bert_emulator_device_end(void) {
    if (--heap.accessible == 0) protect(PROT_NONE);
    emu_unlock();
}

void bert_emulator_memory_limit(size_t bytes) {
    heap.limit = bytes;
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
    const cudaError_t planned = emu_planned_failure();
    if (planned != cudaSuccess) return planned;
    if (bytes == 0) return cudaSuccess;
    emu_lock();
    const cudaError_t error = allocate(memory, bytes);
    emu_unlock();
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
    emu_lock();
    const cudaError_t error = take_out(heap.buffers, &heap.count, memory, &bytes);
    heap.used -= bytes;
    emu_unlock();
    return emu_set_error(error);
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned int flags) {
    if (!memory) return emu_set_error(cudaErrorInvalidValue);
    *memory = NULL;
    const cudaError_t planned = emu_planned_failure();
    if (planned != cudaSuccess) return planned;
    if (bytes == 0) return cudaSuccess;
    unsigned char *data = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!data) return emu_set_error(cudaErrorMemoryAllocation);
    emu_lock();
    const cudaError_t error = insert(heap.pinned, &heap.pinned_count, (emu_buffer){data, bytes});
    emu_unlock();
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
    emu_lock();
    const cudaError_t error = take_out(heap.pinned, &heap.pinned_count, memory, &bytes);
    emu_unlock();
    if (error == cudaSuccess) free(memory);
    return emu_set_error(error);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    emu_lock();
    *total_bytes = heap.limit;
    *free_bytes = heap.limit > heap.used ? heap.limit - heap.used : 0;
    emu_unlock();
    return cudaSuccess;
}

/* Whether the stretch lies in one allocation of the device, or outside its memory where `device` is false. */
bool emu_is_where(const void *memory, size_t bytes, bool device) {
    const unsigned char *byte = memory;
    const bool on_heap = byte >= heap.data && byte < heap.data + heap_bytes;
    if (on_heap != device) return false;
    if (!device) return true;
    const emu_buffer *buffer = find_in(heap.buffers, heap.count, memory, NULL);
    return buffer && bytes <= buffer->bytes - (size_t)(byte - buffer->data);
}
