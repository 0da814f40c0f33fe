/*
 * The interface between the runtime and what computes: the table of functions that a backend fills.
 *
 * Three kinds of object. A *device* is where memory is and kernels run. A *prepared model* holds the weights of one
 * model on one device, packed, quantized or uploaded once and shared by sessions. A *context* is one session's stream
 * and scratch. For each node of a graph there is one call, `plan`, that says whether the backend can run it and how.
 *
 * A backend sees nodes and buffers, never graphs or files. A plug-in imports no symbol of the host: what it needs comes
 * with bert_host.
 */
#ifndef BERT_BACKEND_H
#define BERT_BACKEND_H

#include <bert/types.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Raised whenever anything on this page changes. A plug-in with another number is refused. */
#define BERT_BACKEND_ABI_VERSION 10

/* ---- What a backend is shown --------------------------------------------------------------------------------------
 */

/**
 * A constant of the model: an initializer of the file, or the result of folding. The bytes are row-major and
 * little-endian; they may lie in a mapped file and start at any address: check `alignment` before reading them as
 * anything but bytes.
 */
typedef struct bert_constant {
    uint64_t
        id; /**< Unique in the process; two nodes that share a weight show the same one. 0: folded while binding. */
    bert_dtype dtype;
    int32_t rank;
    int64_t dims[BERT_MAX_RANK];
    const unsigned char *data; /**< NULL when there are no elements. */
    size_t bytes;
    size_t alignment; /**< Greatest power of two up to 64 that divides the address of `data`. */
    const void *file; /**< Not for plug-ins: the mapping that `data` lies in, NULL when it lies in memory. */
} bert_constant;

typedef enum bert_attribute_kind {
    BERT_ATTRIBUTE_INT,
    BERT_ATTRIBUTE_FLOAT,
    BERT_ATTRIBUTE_STRING,
    BERT_ATTRIBUTE_TENSOR,
    BERT_ATTRIBUTE_GRAPH,
    BERT_ATTRIBUTE_INTS,
    BERT_ATTRIBUTE_FLOATS,
    BERT_ATTRIBUTE_STRINGS
} bert_attribute_kind;

/** An attribute of a node. `count` is the number of elements of the list kinds, the length of a string in bytes,
 * else 1. */
typedef struct bert_attribute {
    const char *name;
    bert_attribute_kind kind;
    size_t count;
    union {
        int64_t i;
        float f;
        const char *s; /**< NUL-terminated besides. */
        const bert_constant *tensor;
        struct bert_block *graph; /**< Not for backends. */
        const int64_t *ints;
        const float *floats;
        const char *const *strings;
    } value;
} bert_attribute;

/* How an attribute is found: here in full, since a plug-in imports nothing. */

static inline const bert_attribute *bert_attribute_find(const bert_attribute *attributes, size_t count,
                                                        const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(attributes[i].name, name) == 0) return &attributes[i];
    }
    return NULL;
}
/** The same where it is of that kind. */
static inline const bert_attribute *bert_attribute_of_kind(const bert_attribute *attributes, size_t count,
                                                           const char *name, bert_attribute_kind kind) {
    const bert_attribute *attribute = bert_attribute_find(attributes, count, name);
    return attribute && attribute->kind == kind ? attribute : NULL;
}
/** The value, or `missing` when there is no such attribute or it has another kind. */
static inline int64_t bert_attribute_int(const bert_attribute *attributes, size_t count, const char *name,
                                         int64_t missing) {
    const bert_attribute *attribute = bert_attribute_of_kind(attributes, count, name, BERT_ATTRIBUTE_INT);
    return attribute ? attribute->value.i : missing;
}
static inline float bert_attribute_float(const bert_attribute *attributes, size_t count, const char *name,
                                         float missing) {
    const bert_attribute *attribute = bert_attribute_of_kind(attributes, count, name, BERT_ATTRIBUTE_FLOAT);
    return attribute ? attribute->value.f : missing;
}
static inline const char *bert_attribute_string(const bert_attribute *attributes, size_t count, const char *name,
                                                const char *missing) {
    const bert_attribute *attribute = bert_attribute_of_kind(attributes, count, name, BERT_ATTRIBUTE_STRING);
    return attribute ? attribute->value.s : missing;
}
/** NULL when there is none. */
static inline const bert_constant *bert_attribute_tensor(const bert_attribute *attributes, size_t count,
                                                         const char *name) {
    const bert_attribute *attribute = bert_attribute_of_kind(attributes, count, name, BERT_ATTRIBUTE_TENSOR);
    return attribute ? attribute->value.tensor : NULL;
}
/** NULL and *count_out 0 when there is none. */
static inline const int64_t *bert_attribute_ints(const bert_attribute *attributes, size_t count, const char *name,
                                                 size_t *count_out) {
    const bert_attribute *attribute = bert_attribute_of_kind(attributes, count, name, BERT_ATTRIBUTE_INTS);
    *count_out = attribute ? attribute->count : 0;
    return attribute ? attribute->value.ints : NULL;
}

/* Of anything with `attributes` and `attribute_count`. */
#define BERT_NODE_INT(node, name, missing)                                                                             \
    bert_attribute_int((node)->attributes, (node)->attribute_count, (name), (missing))
#define BERT_NODE_FLOAT(node, name, missing)                                                                           \
    bert_attribute_float((node)->attributes, (node)->attribute_count, (name), (missing))
#define BERT_NODE_STRING(node, name, missing)                                                                          \
    bert_attribute_string((node)->attributes, (node)->attribute_count, (name), (missing))
#define BERT_NODE_TENSOR(node, name) bert_attribute_tensor((node)->attributes, (node)->attribute_count, (name))
#define BERT_NODE_INTS(node, name, count_out)                                                                          \
    bert_attribute_ints((node)->attributes, (node)->attribute_count, (name), (count_out))

/** Type and shape of one input or output of a node while it is planned. */
typedef struct bert_tensor_desc {
    bert_dtype dtype;              /**< BERT_DTYPE_UNDEFINED: an optional input or output that is absent. */
    int32_t rank;                  /**< -1 when not yet known (BERT_PLAN_QUERY and BERT_PLAN_PREPARE only). */
    int64_t dims[BERT_MAX_RANK];   /**< -1 when not yet known (likewise); else the greatest that a run will show. */
    const bert_constant *constant; /**< The content where it is known; else NULL. */
    bool wide; /**< Of an input, in BERT_PLAN_BIND: what gives it has it among its `wide_outputs`. */
} bert_tensor_desc;

/**
 * Least and greatest of some elements, 0 among them; NaN is left out. What dynamic quantization wants to know of the
 * rows that share a scale, and what whoever writes a tensor knows without reading it again. A row is what the last
 * dimension has. A plan may give `count` ranges a row, each of a part of it: [rows, count].
 */
typedef struct bert_row_range {
    float least, most;
} bert_row_range;

/**
 * A second form of a tensor: for each row as many bytes as its readers' plans say, and a float32. What they mean is the
 * backend's own. They are made once for all who read the tensor with rows as wide as it was written with, and as many
 * bytes of them: by who writes it, where its plan offers that, else by their first reader. Who sees it with rows of
 * another width, or wants other bytes, makes its own, and so does each reader of a constant.
 */
typedef struct bert_byte_rows {
    uint8_t *bytes; /**< Row after row, aligned to 64; NULL: there are none. */
    float *scales;  /**< As many as there are rows. */
} bert_byte_rows;

/**
 * A node while it is planned. `inputs` and `outputs` are good for the call of `plan` alone. Names, attributes and
 * constants with an id live as long as the prepared model, a constant with id 0 as long as the plan.
 */
typedef struct bert_op_node {
    const char *domain; /**< "" for ONNX's own ops, "com.microsoft", or "bertc" for canonical ones. */
    const char *op_type;
    int32_t opset;    /**< Version of the domain that the model imports. */
    uint32_t op_id;   /**< A bert_op_id of core/graph/ops.def: for tables indexed by op inside the host's own build. */
    const char *name; /**< For errors and profiles. */
    const bert_attribute *attributes;
    size_t attribute_count;
    int32_t input_count;
    int32_t output_count;
    const bert_tensor_desc *inputs;
    const bert_tensor_desc *outputs;
    int32_t x_ranges; /**< Ranges a row of input 0 that calls bring; 0: none. BERT_PLAN_BIND only. */
} bert_op_node;

/** What to do besides answering whether. */
typedef enum bert_plan_mode {
    BERT_PLAN_QUERY = 0, /**< Only whether and how: packs nothing, allocates no state. Dimensions may be unknown. */
    BERT_PLAN_PREPARE =
        1,             /**< Packs the node's weights into the prepared model. Dimensions may be unknown. No state. */
    BERT_PLAN_BIND = 2 /**< Everything is known: the plan that runs. Finds the weights packed, or packs them. */
} bert_plan_mode;

/* ---- What a backend answers ----------------------------------------------------------------------------------------
 */

typedef struct bert_context bert_context;   /**< Defined by each backend. */
typedef struct bert_prepared bert_prepared; /**< Defined by each backend. */
typedef struct bert_device bert_device;     /**< Defined by each backend. */

/** One execution of a planned node. Tensors are the device's memory; an absent one has dtype BERT_DTYPE_UNDEFINED. */
typedef struct bert_kernel_call {
    const struct bert_op_plan *plan;
    bert_context *context;
    /** Real shapes of this run, at most the planned ones: without padding, the number of rows is the run's own. */
    const bert_tensor *inputs;
    const bert_tensor *outputs;     /**< Never overlap inputs, save where the plan said `in_place`. */
    void *workspace;                /**< plan->workspace_bytes, aligned to 64; content undefined. NULL when 0. */
    const bert_row_range *x_ranges; /**< [rows of input 0, node->x_ranges], the device's memory; NULL: none. */
    bert_row_range *y_ranges;       /**< [rows of output 0, plan->y_ranges], to be written; NULL: none. */
    bert_byte_rows x_bytes;         /**< Of input 0, with plan->x_bytes; the device's memory. */
    bool x_bytes_made;              /**< They are there; else `run` makes them, for later readers too. */
    bert_byte_rows y_bytes;         /**< Of output 0, with plan->y_bytes: to be written where they are not NULL. */
    bool y_unread; /**< Beside `y_bytes`: these are all that is read of output 0, whose memory may hold anything. */
} bert_kernel_call;

/** Runs a node. Errors are the run's (an id outside a table, a CUDA error); never a lack of memory. */
typedef bert_status (*bert_kernel_fn)(const bert_kernel_call *call, bert_error *error);

/** How a node will run. Filled by `plan`; zeroed before the call. */
typedef struct bert_op_plan {
    bert_kernel_fn run;
    const char *kernel; /**< Name for profiles and inspect: "linear/openblas". Static string. */
    void *state;        /**< What `run` needs besides tensors: read-only while runs go on. May be NULL. */
    void (*release_state)(void *state); /**< Called when the plan goes; NULL when there is nothing to free. */
    size_t workspace_bytes;
    /** Bit i: `run` never reads input i (a weight that was packed, or that is read as the constant it is). Its pages
     * may go: they come again from the file. */
    uint64_t unread_inputs;
    uint64_t unaligned_inputs; /**< Bit i: `run` takes input i at any address, as a constant may lie in a file. */
    /**
     * Bit i: output i holds more than tensors of its type do on this device, in no more bytes than on the host. Who
     * doesn't know of it reads it as any other; a node that reads it, or a view of it, is shown `wide`.
     */
    uint64_t wide_outputs;
    int32_t in_place; /**< 1 + the input whose memory output 0 may share; 0: none. Same bytes, elementwise order. */
    int32_t y_ranges; /**< Ranges a row of output 0 that `run` writes, where they are wanted; 0: none. */
    /** Bytes of a row of input 0 in its second form, which `run` reads, never the input itself unless it makes that; 0:
     * it reads the input. Linear alone; the same in every mode. */
    int64_t x_bytes;
    int64_t y_bytes; /**< Bytes of a row of output 0 in a second form that `run` writes, where it is wanted; 0: none. */
} bert_op_plan;

/* ---- The two sides --------------------------------------------------------------------------------------------------
 */

/** What the host lends a backend. Valid from device_open to device_close. */
typedef struct bert_host {
    size_t struct_size;
    uint32_t abi_version;
    const bert_allocator *allocator;
    const bert_log *log;
    const char *model_path; /**< The model's file, beside which what was measured for it is kept; NULL: none. */
    /** Fills `error` with a formatted sentence; returns status. */
    bert_status (*fail)(bert_error *error, bert_status status, const char *format, ...) BERT_PRINTF(3, 4);
    /** A backend of the same memory for the ops that this one has no kernel for, NULL where there is none. */
    const struct bert_backend *fallback;
} bert_host;

/**
 * Numerics of dynamic quantization: over what one scale is taken. A backend sees it in the node, while that is queried
 * and prepared too: a session shows canonical QuantizedLinears with their attribute `scope` set.
 */
typedef enum bert_quant_scope {
    BERT_QUANT_SCOPE_TENSOR = 0,   /**< ONNX's rule: the whole tensor. */
    BERT_QUANT_SCOPE_SEQUENCE = 1, /**< Each sequence as if alone and unpadded. */
    BERT_QUANT_SCOPE_TOKEN = 2     /**< Each row. */
} bert_quant_scope;

typedef enum bert_precision {
    BERT_PRECISION_FP32 = 0,
    BERT_PRECISION_BF16 = 1,         /**< What products multiply is rounded, sums are not. A CPU on which float32 is
                                          faster rounds weights alone. */
    BERT_PRECISION_BF16_WEIGHTS = 2, /**< Weights of products alone are rounded. */
    BERT_PRECISION_FP16 = 3,
    BERT_PRECISION_FP64 = 4,
    BERT_PRECISION_TF32 = 5,
    BERT_PRECISION_FP8 = 6
} bert_precision;

struct bert_thread_pool;

/**
 * Packed weights that outlive the process, lent by the host with a prepared model and as long as it. `layout` says how
 * exactly the bytes are laid out and whatever besides the constants went into them; `constants` are what was packed,
 * NULL where an optional one is absent. Any thread.
 */
typedef struct bert_weight_store {
    /** Packed weights, checked, at a multiple of 4,096 bytes; NULL: there are none, pack them. */
    const void *(*find)(const struct bert_weight_store *store, const char *layout,
                        const bert_constant *const *constants, int32_t count, size_t bytes);
    /** Tells of weights that were packed; `data` lives as long as the prepared model. */
    void (*packed)(const struct bert_weight_store *store, const char *layout, const bert_constant *const *constants,
                   int32_t count, const void *data, size_t bytes);
} bert_weight_store;

/** What weights are prepared for. Sessions with equal precision and mode share one prepared model. */
typedef struct bert_prepare_options {
    size_t struct_size;
    bert_precision precision;
    bool deterministic;               /**< The same bits alone or in a batch, whatever the number of threads. */
    const bert_weight_store *store;   /**< NULL: none. For backends whose memory is the host's. */
    struct bert_thread_pool *threads; /**< For calls with BERT_PLAN_PREPARE; NULL: the calling thread alone. */
    bool on_demand;                   /**< Weights may be packed when they are used again: see bert_session_options. */
} bert_prepare_options;

/** What a session runs with. */
typedef struct bert_context_options {
    size_t struct_size;
    struct bert_thread_pool *threads; /**< For backends inside the host; NULL: the calling thread alone. */
    /** Of the products in Attention: FP32 means as `precision` of the prepared model has them; BF16. */
    bert_precision attention_precision;
    bool device_time; /**< `device_nanoseconds` will be asked. */
} bert_context_options;

/** Which kernels a run calls: a backend that recorded them in an earlier run may replay them instead. */
typedef struct bert_run_steps {
    uint64_t plan;     /**< The bound plan: never 0, and never that of another one in this process. */
    const void *arena; /**< Where its activations lie. */
    int64_t rows;      /**< Of a plan without padding, this run's; else 0. */
    bool filled;       /**< Some of the rows are no token's: see bert_backend. */
    bool apart;        /**< Each kernel has ended when its call returns: its time is taken. */
} bert_run_steps;

typedef struct bert_device_properties {
    char name[128];      /**< "cpu (avx512_vnni)", "NVIDIA H100". */
    bool host_memory;    /**< Kernels read and write ordinary memory: no upload, no download. */
    size_t memory_bytes; /**< Of the device; 0 when unknown. */
} bert_device_properties;

/**
 * A backend. All functions may be called from any thread; calls on one context come from one thread at a time, calls on
 * one prepared model may come from several at once (it locks). Members marked so are NULL where host_memory is true.
 */
typedef struct bert_backend {
    size_t struct_size;
    uint32_t abi_version;
    const char *name; /**< What --provider calls it: "cpu", "reference", "cuda". */
    /** Binding puts LayerNormLinears (core/graph/canonical.h) in the place of Linears and the LayerNorms around them
     * where `plan`, asked with BERT_PLAN_QUERY and dimensions known, takes every one of them. */
    bool layer_norm_linear;
    /** Runs without padding have a multiple of `row_step` rows (or as many as their plan has at most), where `few_rows`
     * or fewer are real: for a backend that replays runs of as many rows. Rows behind the real ones name the last token
     * once more and are no sequence's; what they hold is anything, and nobody's. row_step 0: no rows but the real ones.
     */
    int64_t row_step, few_rows;

    /** BERT_UNSUPPORTED with the reason when the device isn't there. `host` outlives the device. */
    bert_status (*device_open)(const bert_host *host, bert_device **out, bert_error *error);
    void (*device_close)(bert_device *device);
    void (*device_properties)(const bert_device *device, bert_device_properties *out);

    bert_status (*prepared_create)(bert_device *device, const bert_prepare_options *options, bert_prepared **out,
                                   bert_error *error); /**< BERT_UNSUPPORTED for a precision that it lacks. */
    void (*prepared_free)(bert_prepared *prepared);
    size_t (*prepared_bytes)(const bert_prepared *prepared); /**< Memory that packed weights take. */

    bert_status (*context_create)(bert_prepared *prepared, const bert_context_options *options, bert_context **out,
                                  bert_error *error); /**< BERT_UNSUPPORTED for a precision that it lacks. */
    void (*context_free)(bert_context *context);
    /** Memory of its own, on the device and for copies, beside what runs are given. NULL: none to speak of. */
    size_t (*context_bytes)(const bert_context *context);
    /** As bert_session_device_nanoseconds has it; after run_end. NULL: there is no clock. */
    int64_t (*device_nanoseconds)(const bert_context *context);

    /**
     * Whether the backend runs this node, and how. BERT_UNSUPPORTED with the reason: no. `context` may be NULL except
     * in BERT_PLAN_BIND. After BERT_OK in BERT_PLAN_BIND the caller owns plan->state.
     */
    bert_status (*plan)(bert_prepared *prepared, bert_context *context, const bert_op_node *node, bert_plan_mode mode,
                        bert_op_plan *out, bert_error *error);

    /**
     * Around one run: uploads, kernels, downloads. Either may be NULL. After run_end, which is called after a failure
     * too (then its own doesn't count), outputs are readable: it synchronizes.
     */
    bert_status (*run_begin)(bert_context *context, bert_error *error);
    bert_status (*run_end)(bert_context *context, bert_error *error);
    /**
     * Around the kernels of a run, between its uploads and downloads; both NULL for a backend that always wants them
     * called. *replayed: they are under way already, and are not to be called. After the calls, and after one that
     * failed (`status`), steps_end; *again: from steps_begin on once more.
     */
    bert_status (*steps_begin)(bert_context *context, const bert_run_steps *steps, bool *replayed, bert_error *error);
    bert_status (*steps_end)(bert_context *context, bert_status status, bool *again, bert_error *error);

    /*
     * Device memory; all NULL where host_memory is true. The device may hold elements in another form than the host
     * (float32 in 16 bits), in no more bytes, so that tensors go there and back by these functions alone. A constant
     * is there for every context of the device when `constant` returns. Uploads and downloads belong to the run of
     * their context: `source->data` of an upload may change when it returns, `destination` is filled by run_end. Those
     * of a run come in the order of their destinations, which lie side by side, aligned to 64 bytes, before any kernel.
     */
    bert_status (*memory_allocate)(bert_device *device, size_t bytes, void **out, bert_error *error);
    void (*memory_free)(bert_device *device, void *memory, size_t bytes);
    bert_status (*constant)(bert_prepared *prepared, void *destination, const bert_constant *source, bert_error *error);
    bert_status (*upload)(bert_context *context, void *destination, const bert_tensor *source, bert_error *error);
    bert_status (*download)(bert_context *context, void *destination, const bert_tensor *source, bert_error *error);
} bert_backend;

#ifdef __cplusplus
}
#endif
#endif
