/* The table of functions that the CUDA provider is. */
#include "cuda/backend.h"

#include "cuda/cold_operand.h"
#include "cuda/device.h"
#include "cuda/environment.h"
#include "cuda/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The earliest that a plug-in can be built with. */
enum { FIRST_CUDA = 12 };

static bert_status check_device(const bert_host *host, bert_error *error) {
    int count = 0;
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result != cudaSuccess) {
        int driver = 0;
        cudaGetLastError(); /* not to be found by the next call */
        if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0)
            return host->fail(error, BERT_UNSUPPORTED, "no GPU is here: there is no NVIDIA driver");
        if (result == cudaErrorInsufficientDriver) {
            char other[64] = "";
            if (driver / 1000 >= FIRST_CUDA)
                snprintf(other, sizeof other, ", or a plug-in that is built with CUDA %d", driver / 1000);
            return host->fail(error, BERT_UNSUPPORTED,
                              "the NVIDIA driver is too old: it has CUDA %d.%d, and this plug-in was built with CUDA "
                              "%d.%d: it takes a later driver%s",
                              driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                              other);
        }
        return host->fail(error, BERT_UNSUPPORTED, "no GPU can be used here: %s", cudaGetErrorString(result));
    }
    if (count == 0) return host->fail(error, BERT_UNSUPPORTED, "no GPU is here");
    return BERT_OK;
}

static bert_status describe_device(bert_device *device, bert_error *error) {
    const bert_host *host = device->host;
    struct cudaDeviceProp properties;
    BERT_CUDA_TRY(bert_cuda_check(host, cudaGetDeviceProperties(&properties, device->index), error,
                                  "cudaGetDeviceProperties of GPU %d", device->index));
    if (properties.major < 8) {
        return host->fail(error, BERT_UNSUPPORTED,
                          "the GPU %s has compute capability %d.%d; kernels are built for 8.0 and later",
                          properties.name, properties.major, properties.minor);
    }
    snprintf(device->name, sizeof device->name, "%.*s", (int)sizeof device->name - 1, properties.name);
    device->memory_bytes = properties.totalGlobalMem;
    return BERT_OK;
}

/* Tells of a variable whose word isn't known which it takes. */
static void check_variable(const bert_host *host, bert_cuda_variable variable) {
    char notice[256], words[64] = "";
    const char *name = NULL;
    const bert_cuda_word *word;
    if (bert_cuda_environment_says(variable) != BERT_CUDA_SAYS_SOMETHING_ELSE) return;
    for (size_t i = 0; (word = bert_cuda_word_at(i)) != NULL; i++) {
        if (word->variable != variable) continue;
        const size_t length = strlen(words);
        snprintf(words + length, sizeof words - length, "%s%s", length ? " or " : "", word->text);
        name = word->variable_name;
    }
    snprintf(notice, sizeof notice, "provider cuda: %s takes %s; \"%.64s\" is ignored", name, words, getenv(name));
    bert_cuda_notice(host, notice);
}

static void check_environment(const bert_host *host) {
    for (int i = 0; i < BERT_CUDA_VARIABLES; i++) check_variable(host, (bert_cuda_variable)i);
}

/* All devices of a process are the same GPU; sessions of them launch in many threads. */
enum { THE_DEVICE = 0 }; /* the first that CUDA shows */
static pthread_once_t launches_chosen = PTHREAD_ONCE_INIT;

static void choose_launches(void) {
    bert_cuda_launch_ahead = bert_cuda_can_launch_ahead();
}

static void device_close(bert_device *device) {
    if (device->choices) bert_cuda_gemm_cache_free(device->choices);
    if (device->stream) cudaStreamDestroy(device->stream);
    pthread_mutex_destroy(&device->lock);
    bert_cuda_delete(device->host, device, sizeof *device);
}

/* What was measured before for this GPU. Without memory for it nothing counts as measured: the library guesses, and
 * products with what follows them are our own kernel's where it takes them. */
static void open_choices(bert_device *device) {
    char path[4096], identity[256] = "", notice[BERT_ERROR_MESSAGE_BYTES] = "";
    const bool file = bert_cuda_gemm_cache_path(device->host->model_path, path, sizeof path);
    bert_cuda_product_identity(identity, sizeof identity);
    device->choices =
        bert_cuda_gemm_cache_create(device->host->allocator, file ? path : NULL, identity, notice, sizeof notice);
    bert_cuda_notice(device->host, notice);
}

static bert_status device_open(const bert_host *host, bert_device **out, bert_error *error) {
    BERT_CUDA_TRY(check_device(host, error));
    bert_device *device = bert_cuda_new(host, sizeof *device);
    if (!device) return bert_cuda_no_memory(host, sizeof *device, error);
    *device = (bert_device){.host = host, .index = THE_DEVICE, .policy = bert_cuda_product_policy_wanted()};
    device->late_norms = device->policy != BERT_CUDA_PRODUCT_LIBRARY &&
                         bert_cuda_environment_says(BERT_CUDA_LATE_NORM) != BERT_CUDA_LATE_NORM_OFF;
    pthread_mutex_init(&device->lock, NULL);
    bert_status status = describe_device(device, error);
    if (status == BERT_OK)
        status = bert_cuda_check(host, cudaSetDevice(device->index), error, "cudaSetDevice of GPU %d", device->index);
    if (status == BERT_OK) {
        status = bert_cuda_check(host, cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking), error,
                                 "cudaStreamCreateWithFlags");
    }
    if (status != BERT_OK) {
        device_close(device);
        return status;
    }
    device->l2_bytes = bert_cuda_l2_bytes();
    check_environment(host);
    pthread_once(&launches_chosen, choose_launches);
    open_choices(device);
    *out = device;
    return BERT_OK;
}

static void device_properties(const bert_device *device, bert_device_properties *out) {
    *out = (bert_device_properties){.memory_bytes = device->memory_bytes};
    memcpy(out->name, device->name, sizeof out->name);
}

/* With few rows a GPU waits for launches, unless they are replayed; with more than these each kernel should take longer
 * than the launch of the next. Tiles of products have 64 rows or more, so that the last one costs the same half empty.
 */
enum { ROW_STEP = 64, FEW_ROWS = 4096 };

static const bert_backend backend = {
    .struct_size = sizeof(bert_backend),
    .abi_version = BERT_BACKEND_ABI_VERSION,
    .name = "cuda",
    .layer_norm_linear = true,
    .row_step = ROW_STEP,
    .few_rows = FEW_ROWS,
    .device_open = device_open,
    .device_close = device_close,
    .device_properties = device_properties,
    .prepared_create = bert_cuda_prepared_create,
    .prepared_free = bert_cuda_prepared_free,
    .prepared_bytes = bert_cuda_prepared_bytes,
    .context_create = bert_cuda_context_create,
    .context_free = bert_cuda_context_free,
    .context_bytes = bert_cuda_context_bytes,
    .device_nanoseconds = bert_cuda_device_nanoseconds,
    .plan = bert_cuda_plan,
    .run_begin = bert_cuda_run_begin,
    .run_end = bert_cuda_run_end,
    .steps_begin = bert_cuda_steps_begin,
    .steps_end = bert_cuda_steps_end,
    .memory_allocate = bert_cuda_memory_allocate,
    .memory_free = bert_cuda_memory_free,
    .constant = bert_cuda_constant,
    .upload = bert_cuda_upload,
    .download = bert_cuda_download,
};

const bert_backend *bert_cuda_backend(uint32_t abi_version) {
    return abi_version == BERT_BACKEND_ABI_VERSION ? &backend : NULL;
}
