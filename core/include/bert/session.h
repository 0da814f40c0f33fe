/* Running a model: shapes are bound to a plan, plans run. */
#ifndef BERT_SESSION_H
#define BERT_SESSION_H

#include <bert/backend.h>
#include <bert/model.h>
#include <bert/thread_pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One thread at a time; cheap; many may share a model and a thread pool. */
typedef struct bert_session bert_session;

/** What rows of tokens that the attention mask drops hold in outputs. */
typedef enum bert_padded_rows {
    BERT_PADDED_ROWS_EXACT = 0, /**< Every element as the graph defines it. */
    /**
     * The caller reads none of them: they are zeros where padding is skipped. That is where the graph allows it, and
     * the mask of a run holds 0 and 1 alone and leaves every sequence a token; else they are computed as ever.
     */
    BERT_PADDED_ROWS_UNDEFINED = 1
} bert_padded_rows;

/** Options of a session. Set `struct_size`, zero the rest for the defaults. */
typedef struct bert_session_options {
    size_t struct_size;
    const char *providers;     /**< In order of preference, "cuda,cpu". NULL: "cpu". */
    bert_thread_pool *threads; /**< Must outlive the session. NULL: the calling thread alone. */
    bert_precision precision;
    /**
     * Other than tensor it needs every dynamic quantization to be one of canonical QuantizedLinear: session creation is
     * BERT_UNSUPPORTED otherwise, and lists the nodes. Sequence: the attention mask says which tokens count; in a
     * tensor of two dimensions a row is a sequence.
     */
    bert_quant_scope quant_scope;
    bert_padded_rows padded_rows;
    bool deterministic; /**< The same bits alone or in a batch, padded or not, with any number of threads. */
    bool profile;       /**< Time every kernel: see bert_session_profile. */
    int32_t plan_cache; /**< Plans kept for shapes seen before; 0 means 16. */
    /**
     * A file that bert_model_pack wrote: its weights are mapped where they would be packed. One that is stale, damaged,
     * or of another machine or model is a notice in the model's log, and weights are packed. The file must not be
     * truncated while the model lives. NULL: none.
     */
    const char *packed_file;
    /**
     * Of the products in Attention: BERT_PRECISION_FP32 leaves them as `precision` has them; BERT_PRECISION_BF16 rounds
     * queries, keys, values and probabilities to bfloat16 and sums in float32, whatever the weights are.
     */
    bert_precision attention_precision;
    int32_t reserved; /**< 0. Where older callers have padding. */
    /**
     * For processes of one run or few: laying float32 weights out for the kernels, which takes most of the time of a
     * session's creation, is left to the second product of each, in whichever session of the model; the first product
     * reads the weight where it lies in the model. The same bits. A run that lays weights out allocates. Where another
     * session of the model laid them out at its creation they are used.
     */
    bool weights_on_demand;
    bool reserved_flags[7]; /**< False. Where older callers have padding. */
    bool device_time;       /**< Time the kernels of each run on the device: see bert_session_device_nanoseconds. */
} bert_session_options;

/**
 * Chooses the first provider that is present and runs every node of the graph, and prepares weights on it (shared with
 * other sessions of the model). A provider that is missing or can't is a notice in the model's log; if none is left,
 * BERT_UNSUPPORTED with the reasons. Free with bert_session_free.
 */
BERT_API bert_status bert_session_create(bert_model *model, const bert_session_options *options, bert_session **out,
                                         bert_error *error);
BERT_API void bert_session_free(bert_session *session);

/**
 * Writes the weights as a session with these options holds them, for the first provider of the list that can run the
 * model, to a file for bert_session_options.packed_file. The file is there as a whole or not at all. BERT_UNSUPPORTED:
 * no such provider, or one whose memory is not the host's; BERT_INVALID_ARGUMENT: `path` is one of the files that the
 * model was loaded from; BERT_IO_ERROR.
 */
BERT_API bert_status bert_model_pack(bert_model *model, const bert_session_options *options, const char *path,
                                     bert_error *error);
/** The provider that was chosen: "cpu". Static string. */
BERT_API const char *bert_session_provider(const bert_session *session);

/** A tensor with the name that it has in the graph. */
typedef struct bert_named_tensor {
    const char *name;
    bert_tensor tensor;
    /**
     * Outputs: bytes at tensor.data when the caller owns them. With 0, or tensor.data NULL, the session owns the result
     * and sets tensor.data; it lives until the session's next run, bind or end. Not used for inputs.
     */
    size_t capacity_bytes;
} bert_named_tensor;

/** Options of one run; NULL means none. */
typedef struct bert_run_options {
    size_t struct_size;
    const bert_cancel_flag *cancel; /**< Looked at between kernels. */
} bert_run_options;

/**
 * Runs the model. `inputs`: every input that has no default, host memory, by name, dtype as declared. `outputs`: a
 * subset of the outputs by name; tensor's dtype, rank and dims are filled in, and the data. BERT_INVALID_INPUT: a
 * missing or unknown name, a shape or id that the model can't take. BERT_INVALID_ARGUMENT: a buffer that is too small
 * (the error says how many bytes are needed). After a failure outputs hold nothing useful and the session can run
 * again. A run with shapes that were bound before allocates nothing (but see weights_on_demand); where
 * OpenBLAS multiplies (CPUs without own kernels, sessions that are not deterministic) it may take scratch of its own.
 */
BERT_API bert_status bert_session_run(bert_session *session, const bert_run_options *options,
                                      const bert_named_tensor *inputs, size_t input_count, bert_named_tensor *outputs,
                                      size_t output_count, bert_error *error);

/** Binds shapes without running: tensor.data may be NULL unless a shape depends on that input's content. */
BERT_API bert_status bert_session_bind(bert_session *session, const bert_named_tensor *inputs, size_t input_count,
                                       const char *const *output_names, size_t output_count, bert_error *error);

/** Memory of a session, in bytes. */
typedef struct bert_session_memory {
    size_t struct_size;
    size_t weight_bytes; /**< Packed weights, shared by the sessions of this model, provider and precision; those that
                            are laid out later count from then on. */
    size_t arena_bytes;  /**< Activations and workspace of the plans in the cache. */
    size_t plan_count;
    size_t context_bytes; /**< What the provider has for this session besides: a library's workspace, pinned memory for
                             copies. */
} bert_session_memory;
BERT_API void bert_session_get_memory(const bert_session *session, bert_session_memory *out);

/**
 * What the last run took from its first kernel to the end of its last one, by the device's clock: copies and the host's
 * part are left out. 0 without options.device_time, of a provider without such a clock, and of a run whose kernels were
 * called one by one (the first of its kind, mostly).
 */
BERT_API int64_t bert_session_device_nanoseconds(const bert_session *session);

/** Time of one kernel over the runs since the profile was last reset. Strings live as long as the session. */
typedef struct bert_profile_entry {
    const char *node; /**< Name in the graph; of a node without one, that of what it stands for. */
    const char *op_type;
    const char *kernel;  /**< "linear/openblas". */
    const char *origins; /**< Names of the file's nodes that it stands for, separated by spaces. */
    int64_t runs;
    int64_t nanoseconds; /**< Sum over the runs. */
    int64_t flops;       /**< Multiplications and additions of one run; 0 when not counted. */
} bert_profile_entry;

/** Entries of the plan that ran last, in order; *count_out 0 without options.profile. They live until the next run. */
BERT_API const bert_profile_entry *bert_session_profile(const bert_session *session, size_t *count_out);
BERT_API void bert_session_reset_profile(bert_session *session);

#ifdef __cplusplus
}
#endif
#endif
