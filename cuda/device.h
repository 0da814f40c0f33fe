/*
 * What the objects of the CUDA backend hold, and what its files share. The plug-in imports nothing of its host: what it
 * needs of it comes in bert_host, and the few helpers below are its own.
 */
#ifndef BERT_CUDA_DEVICE_H
#define BERT_CUDA_DEVICE_H

#include "cuda/followed_product.h"
#include "cuda/gemm.h"
#include "cuda/ops/op.h"

#include <bert/backend.h>
#include <pthread.h>

/** Returns from the calling function when `expression` is not BERT_OK. */
#define BERT_CUDA_TRY(expression)                                                                                      \
    do {                                                                                                               \
        bert_status bert_cuda_try_status_ = (expression);                                                              \
        if (bert_cuda_try_status_ != BERT_OK) return bert_cuda_try_status_;                                            \
    } while (0)

enum { BERT_CUDA_ALIGNMENT = 256, BERT_CUDA_UPLOAD_ALIGNMENT = 64 /* of destinations: bert/backend.h */ };

/** The first GPU that CUDA shows. `stream` and what is on it belong to who holds the lock. */
struct bert_device {
    const bert_host *host;
    int index;
    char name[128];
    size_t memory_bytes;
    size_t l2_bytes; /**< Of its second-level cache; 0: not known. */
    pthread_mutex_t lock;
    cudaStream_t stream;             /**< Of constants. */
    bert_cuda_gemm_cache *choices;   /**< How products are made; NULL: nothing is measured. */
    bert_cuda_product_policy policy; /**< Of products with what follows them. */
    bool late_norms;                 /**< LayerNorms may go into the products around them. */
};

/** Weights in a form of their own, found by what they were made from. */
typedef struct bert_cuda_packed {
    struct bert_cuda_packed *next;
    char *key;
    size_t key_bytes;
    void *data; /**< On the device. */
    size_t bytes;
} bert_cuda_packed;

/** The list grows under the lock; entries never change. */
struct bert_prepared {
    bert_device *device;
    bert_precision precision;
    bool deterministic; /**< Nothing that was measured counts for how products are made. */
    pthread_mutex_t lock;
    bert_cuda_packed *packed;
    size_t bytes;          /**< Of these. */
    size_t constant_bytes; /**< Of the model's constants that are on the device as they are. */
};

/** What kernels of a run report, in pinned memory, which they write only when something is wrong: nothing is copied. */
typedef struct bert_cuda_report {
    bert_cuda_bad_index index;
    int32_t divided_by_zero;
    int32_t reserved;
} bert_cuda_report;

/** Pinned memory that copies of a run go through; grows as runs ask for more. */
typedef struct bert_cuda_staging {
    unsigned char *memory;
    size_t bytes, used;
} bert_cuda_staging;

/** Uploads that lie side by side, on the host as on the device, and are still to be copied. */
typedef struct bert_cuda_pending_upload {
    unsigned char *destination;
    size_t staged, bytes; /**< 0 bytes: none. */
} bert_cuda_pending_upload;

/** A download that run_end finishes. */
typedef struct bert_cuda_delivery {
    void *destination;
    bert_dtype dtype; /**< On the host. */
    int64_t count;
    size_t staged; /**< Where it lies in the staging memory. */
} bert_cuda_delivery;

/** Kernels of a run that were seen, and recorded where `exec` is there. */
typedef struct bert_cuda_recording {
    bert_run_steps steps;
    cudaGraphExec_t exec;
    bool refused; /**< They can't be recorded; while they are: it is given up. */
    uint64_t last_use;
} bert_cuda_recording;

/** Recordings of a session: as many as it keeps plans by default, and some rows of each. */
enum { BERT_CUDA_RECORDINGS = 128 };

/** What a run is doing with its kernels. */
typedef enum bert_cuda_phase {
    BERT_CUDA_PLAIN,    /**< They run as they are called. */
    BERT_CUDA_APART,    /**< ... and end before the call returns. */
    BERT_CUDA_CAPTURING /**< They are recorded. */
} bert_cuda_phase;

/** What indices are to an operator: "index 31 at position 2 of input 1 is outside the 30 rows of the table". */
typedef struct bert_cuda_index_words {
    const char *what;  /**< "index" */
    const char *fault; /**< "is outside the" */
    const char *of;    /**< "rows of the table" */
    bool from_start;   /**< None counts from the end. */
} bert_cuda_index_words;

/** A node whose kernels report. */
typedef struct bert_cuda_reporter {
    const char *name, *op;
    const bert_cuda_index_words *indices;
} bert_cuda_reporter;

struct bert_context {
    bert_prepared *prepared;
    cudaStream_t stream;
    bert_cuda_gemm *gemm;
    void *gemm_workspace;
    bert_cuda_report *report;
    bert_cuda_reporter *reporters; /**< By the number that their kernels know. */
    int32_t reporter_count, reporter_capacity;
    /* The run that goes on. */
    bert_cuda_staging staging;
    bert_cuda_pending_upload pending;
    bert_cuda_delivery *deliveries;
    size_t delivery_count, delivery_capacity;
    bert_cuda_phase phase;
    bert_cuda_recording recordings[BERT_CUDA_RECORDINGS];
    bert_cuda_recording *current; /**< Of the steps that go on; NULL: they are not to be recorded. */
    uint64_t clock;
    cudaEvent_t began, ended; /**< Around what is replayed; NULL: nobody asks for its time. */
    bool timed;               /**< They have been recorded in this run. */
    bool filled;              /**< It has rows that are no token's. */
    bool ran;                 /**< The steps of this run have been run. */
    bool choices_lost;        /**< What was measured could not be kept in its file. */
};

/* ---- Errors ------------------------------------------------------------------------------------------------------ */

/** BERT_OK, or a sentence that says which call failed (format) and what CUDA calls it. Lack of memory has its status.
 */
bert_status bert_cuda_check(const bert_host *host, cudaError_t result, bert_error *error, const char *format, ...)
    BERT_PRINTF(4, 5);
bert_status bert_cuda_no_memory(const bert_host *host, size_t bytes, bert_error *error);
/** Writes a sentence to the host's log at level notice; not an empty one. */
void bert_cuda_notice(const bert_host *host, const char *sentence);

#ifdef __clang_analyzer__
/* The analyzer sees one file at a time: tell it what this gives back. */
#define bert_cuda_no_memory(host, bytes, error)                                                                        \
    ((void)bert_cuda_no_memory((host), (bytes), (error)), BERT_OUT_OF_MEMORY)
#endif

static inline void *bert_cuda_new(const bert_host *host, size_t bytes) {
    return host->allocator->allocate(host->allocator->user, bytes, 64);
}
static inline void bert_cuda_delete(const bert_host *host, void *memory, size_t bytes) {
    if (memory) host->allocator->deallocate(host->allocator->user, memory, bytes, 64);
}

/* ---- Device memory ----------------------------------------------------------------------------------------------- */

bert_status bert_cuda_memory_allocate(bert_device *device, size_t bytes, void **out, bert_error *error);
void bert_cuda_memory_free(bert_device *device, void *memory, size_t bytes);
/** Copies to the device and waits. Any thread. */
bert_status bert_cuda_copy_to_device(bert_device *device, void *destination, const void *source, size_t bytes,
                                     bert_error *error);

/* ---- Elements ---------------------------------------------------------------------------------------------------- */

static inline size_t bert_cuda_dtype_size(bert_dtype dtype) {
    return (size_t)bert_element_bytes(dtype);
}
const char *bert_cuda_dtype_name(bert_dtype dtype);
/** As what the device holds elements of a type: float32 has 16 bits where the precision says so. */
bert_dtype bert_cuda_stored(const bert_prepared *prepared, bert_dtype dtype);
int64_t bert_cuda_count(const int64_t *dims, int32_t first, int32_t end);
/** Elements from the host's form to the device's, or back. `to` and `from` may be unaligned. */
void bert_cuda_encode(bert_dtype stored, bert_dtype dtype, void *to, const void *from, int64_t count);
void bert_cuda_decode(bert_dtype stored, bert_dtype dtype, void *to, const void *from, int64_t count);
/** Each of `most` [count] grows to |x| [count] where that is greater; NaN is not. */
void bert_cuda_add_magnitudes(float *most, const float *x, int64_t count);
/** The greatest |x| [count], NaN left out; 0 for none. */
float bert_cuda_greatest_magnitude(const float *x, int64_t count);
/** x [count] times `factors` [count], as E4M3. */
void bert_cuda_encode_e4m3(uint8_t *to, const float *x, const float *factors, int64_t count);

/* ---- Prepared models and contexts -------------------------------------------------------------------------------- */

bert_status bert_cuda_prepared_create(bert_device *device, const bert_prepare_options *options, bert_prepared **out,
                                      bert_error *error);
void bert_cuda_prepared_free(bert_prepared *prepared);
size_t bert_cuda_prepared_bytes(const bert_prepared *prepared);
/** Whether the model's constants are more than L2 holds: then a weight isn't there any more when it is used again, a
 * run later. Tables of embeddings count, of which a run reads little: a model whose other weights would fit may be
 * taken for a larger one. Any thread. */
bool bert_cuda_weights_are_cold(bert_prepared *prepared);
bert_status bert_cuda_constant(bert_prepared *prepared, void *destination, const bert_constant *source,
                               bert_error *error);

/** Writes a packed weight of `bytes` to host memory, zeroed before. */
typedef bert_status (*bert_cuda_pack_fn)(const void *argument, void *out, bert_error *error);
/**
 * The packed weight of a key (`key_bytes` bytes, equal for equal content): found, or made now by `pack`. It lives as
 * long as `prepared`. Any thread.
 */
bert_status bert_cuda_pack(bert_prepared *prepared, const void *key, size_t key_bytes, size_t bytes,
                           bert_cuda_pack_fn pack, const void *argument, void **out, bert_error *error);

bert_status bert_cuda_context_create(bert_prepared *prepared, const bert_context_options *options, bert_context **out,
                                     bert_error *error);
void bert_cuda_context_free(bert_context *context);
size_t bert_cuda_context_bytes(const bert_context *context);
int64_t bert_cuda_device_nanoseconds(const bert_context *context);
bert_status bert_cuda_run_begin(bert_context *context, bert_error *error);
bert_status bert_cuda_run_end(bert_context *context, bert_error *error);
bert_status bert_cuda_upload(bert_context *context, void *destination, const bert_tensor *source, bert_error *error);
/** Before kernels read what was uploaded: puts the copies that are left on the stream. */
bert_status bert_cuda_finish_uploads(bert_context *context, bert_error *error);
bert_status bert_cuda_download(bert_context *context, void *destination, const bert_tensor *source, bert_error *error);
/** The number under which a node reports; -1 where there is no memory. Strings live as long as the context. */
int32_t bert_cuda_number_reporter(bert_context *context, const bert_cuda_reporter *reporter);

bert_status bert_cuda_steps_begin(bert_context *context, const bert_run_steps *steps, bool *replayed,
                                  bert_error *error);
bert_status bert_cuda_steps_end(bert_context *context, bert_status status, bool *again, bert_error *error);
/** While kernels are recorded: one was refused. The rest of them need not be called; the steps' end sees to it that the
 * run is none the worse. */
void bert_cuda_give_up_recording(bert_context *context, const char *reason);
/** Before the context goes. */
void bert_cuda_forget_recordings(bert_context *context);

/* ---- Plans ------------------------------------------------------------------------------------------------------- */

bert_status bert_cuda_plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                           bert_plan_mode mode, bert_op_plan *out, bert_error *error);

#endif
