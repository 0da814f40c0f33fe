/* A loaded model: the graph of an ONNX file, rewritten to canonical form. Immutable and shared by sessions. */
#ifndef BERT_MODEL_H
#define BERT_MODEL_H

#include <bert/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Counted: bert_model_free drops the caller's hold, each session has its own. Usable from any thread. */
typedef struct bert_model bert_model;

/** Options of loading. Set `struct_size`, zero the rest for the defaults. */
typedef struct bert_model_options {
    size_t struct_size;              /**< sizeof(bert_model_options) */
    const bert_allocator *allocator; /**< Copied. NULL: the C library's. Also used by sessions of this model. */
    const bert_log *log;             /**< Copied. NULL: notices are dropped. */
    /**
     * Read files into memory instead of mapping them. A mapped file must not be truncated while the model lives:
     * reading it would raise SIGBUS.
     */
    bool read_files;
    bool no_passes;         /**< Leave the graph as the file has it. */
    bool promote_to_double; /**< Every float32 tensor becomes float64 and no pass runs: for the judge (fp64). */
    const char
        *external_data_folder; /**< For a model in memory: where its external data lies. NULL: it may have none. */
    /**
     * Tensors inside the graph, by name, that become outputs behind its own ones, in this order and each once; its own
     * outputs may be among them. Passes leave them, so what would have been fused over them runs as the file has it.
     * Not for tensors inside a branch of an If. Copied.
     */
    const char *const *extra_outputs;
    size_t extra_output_count;
    /**
     * Only those of them that are still there after all passes, which run as if none had been asked for. Otherwise a
     * name that the graph does not have is BERT_INVALID_ARGUMENT.
     */
    bool extra_outputs_if_kept;
} bert_model_options;

/**
 * Loads MODEL.onnx. BERT_IO_ERROR, BERT_INVALID_MODEL (malformed, cyclic, contradictory shapes), BERT_UNSUPPORTED
 * (every operator that is missing is named), BERT_OUT_OF_MEMORY.
 */
BERT_API bert_status bert_model_load(const char *path, const bert_model_options *options, bert_model **out,
                                     bert_error *error);
/** The same from memory; the bytes must stay as they are for the model's life. */
BERT_API bert_status bert_model_load_memory(const void *data, size_t bytes, const bert_model_options *options,
                                            bert_model **out, bert_error *error);
/** Drops the caller's hold. NULL is ignored. */
BERT_API void bert_model_free(bert_model *model);

/** An input or output of the model as the file declares it. Strings live as long as the model. */
typedef struct bert_model_tensor {
    const char *name;
    bert_dtype dtype;
    int32_t rank;                         /**< -1 when the file does not say. */
    int64_t dims[BERT_MAX_RANK];          /**< -1 where it is not a number. */
    const char *dim_names[BERT_MAX_RANK]; /**< "batch"; NULL where it has none. */
    bool optional;                        /**< An input that has a default in the file. */
} bert_model_tensor;

BERT_API size_t bert_model_input_count(const bert_model *model);
BERT_API size_t bert_model_output_count(const bert_model *model);
/** `index` below the count; else BERT_INVALID_ARGUMENT. */
BERT_API bert_status bert_model_input(const bert_model *model, size_t index, bert_model_tensor *out);
BERT_API bert_status bert_model_output(const bert_model *model, size_t index, bert_model_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
