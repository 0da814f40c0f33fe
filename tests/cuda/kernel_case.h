/*
 * One call of a kernel of cuda/ops and of the reference implementation: the same inputs, the outputs compared.
 *
 *   case_begin(BERT_OP_BERTC_SkipLayerNormalization);
 *   const case_tensor *x = case_input(BERT_FLOAT16, 2, DIMS(rows, width), 2.0F);    random numbers in [-2, 2)
 *   case_absent();                                                                  an input that is not there
 *   case_tensor *y = case_output(BERT_FLOAT16, 2, DIMS(rows, width));
 *   case_float("epsilon", 1e-5F);
 *   ... fills the arguments with x->device and y->device, calls the kernel
 *   case_compare(status);
 *
 * Device memory has the exact size of each tensor. Runs on the emulator, where any fault fails the case, and with a
 * GPU.
 */
#ifndef BERT_TESTS_CUDA_KERNEL_CASE_H
#define BERT_TESTS_CUDA_KERNEL_CASE_H

#include "core/graph/op.h"
#include "tests/support/test.h"

#include <cuda_runtime_api.h>

enum { CASE_MOST = 24 };

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

typedef struct case_tensor {
    bert_tensor host;    /**< Of an output: what the reference says. */
    void *device;        /**< NULL when there are no elements. */
    float tolerance;     /**< Of an output: relative to 1 + |expected|. */
    bool reference_only; /**< Of an output: case_compare fills `host`, and compares nothing. */
} case_tensor;

/** Group setup and teardown. The setup skips the program where no device is. */
int case_open(void **state);
int case_close(void **state);

/** Ends the case before. */
void case_begin(bert_op_id op);
void case_end(void);
/** Instead of the last opset that the operator has. */
void case_opset(int32_t opset);
void case_int(const char *name, int64_t value);
void case_float(const char *name, float value);
void case_string(const char *name, const char *value);
void case_ints(const char *name, const int64_t *values, size_t count);

/** The next input of the reference: numbers in [-scale, scale), integers and booleans below `scale` from 0 on. */
case_tensor *case_input(bert_dtype dtype, int32_t rank, const int64_t *dims, float scale);
/** The next input with this content, in the tensor's own type. */
case_tensor *case_input_of(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data);
/** The same with floats that are rounded to its type. */
case_tensor *case_input_floats(bert_dtype dtype, int32_t rank, const int64_t *dims, const float *values);
void case_absent(void);
void case_absent_output(void);
/** The next output of the reference; filled with a pattern on the device. */
case_tensor *case_output(bert_dtype dtype, int32_t rank, const int64_t *dims);
/** Memory for what the reference does not have: filled with a pattern, compared with nothing. */
case_tensor *case_extra(bert_dtype dtype, int32_t rank, const int64_t *dims);

/** The content of the last input is known while the node is planned. */
void case_known(void);

/** The case as a node: what a planner and the reference are shown. Good until the case changes. */
typedef struct case_node {
    bert_op_node node;
    bert_tensor_desc input_descs[CASE_MOST], output_descs[CASE_MOST];
    bert_constant constants[CASE_MOST];
    bert_tensor inputs[CASE_MOST], outputs[CASE_MOST]; /**< On the host. */
    bert_tensor device_inputs[CASE_MOST], device_outputs[CASE_MOST];
} case_node;
void case_describe(case_node *out);

/** Runs the reference; the kernel's status must be success, every output as the reference has it. */
void case_compare(cudaError_t status);
/** The status is success and the emulator found nothing. */
void case_good(cudaError_t status);
/** Copies a tensor's device memory to the host's: for what case_compare does not look at. */
const void *case_fetch(case_tensor *tensor);
/**
 * Each range is that of `piece` elements of a row of y [rows, width], or of what is left of it, as they are stored,
 * widened to 0.
 */
void case_expect_ranges(case_tensor *y, case_tensor *ranges, int64_t rows, int64_t width, int64_t piece);
/** Element of a fetched tensor as a double. */
double case_at(const case_tensor *tensor, int64_t index);

/** Tolerance of one rounding of the type, with some room for sums. */
float case_tolerance(bert_dtype dtype);
/** The output, whose tolerance is so many times as great from now on. */
static inline case_tensor *loosened(case_tensor *tensor, float factor) {
    tensor->tolerance *= factor;
    return tensor;
}

#endif
