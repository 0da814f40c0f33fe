/*
 * One node on the CPU backend and in the reference implementation: the same inputs, the outputs compared.
 *
 *   node_case_begin(BERT_OP_BERTC_Linear);
 *   node_case_int("parts", 1);
 *   node_case_input(BERT_FLOAT, 2, (int64_t[]){3, 8}, x);
 *   node_case_constant(2, (int64_t[]){8, 5}, w);           float32, known while planning
 *   node_case_output(2, (int64_t[]){3, 5});                float32
 *   node_case_compare(1e-5F);
 *
 * One case at a time. Ranges of rows of output 0 that a kernel offers are always asked for, and compared with what it
 * wrote. Inputs are copied to buffers that end at a page that can't be touched.
 */
#ifndef BERT_TESTS_CPU_NODE_CASE_H
#define BERT_TESTS_CPU_NODE_CASE_H

#include "tests/cpu/guarded.h"

#include "core/graph/op.h"

/** Opens the backend with its environment as it is, without a fallback: a group's setup. */
int node_open(void **state);
/**
 * For main: runs the group once for each instruction set that this machine has, and with `providers` once with each
 * value of BERT_CPU_GEMM, "openblas", "own" and "split". The number of tests that failed.
 */
int node_run_tests(const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup, bool providers);
/** Threads of the following cases. */
void node_backend_threads(int threads);
/** Whether attention of the following cases computes in bfloat16; false: the instruction set has no such products. */
bool node_backend_bf16_attention(bool wanted);

/** Precision and determinism of the following cases, until the group ends; false, and float32: there is none such here.
 * A case whose plan reads or writes the second form of its rows is run with that, and without the first, too. */
bool node_backend_precision(bert_precision precision, bool deterministic);
/** Whether attention's products are OpenBLAS's unless a case is deterministic, and says so (a test skips then): its
 * kernels for some cores, which it takes for newer ones that it doesn't know, too, add up in an order that depends on
 * the number of rows. */
bool node_attention_by_openblas(void);

/** Whole numbers of [least, most] that look random and are the same everywhere, from a seed on. */
void node_case_seed(uint32_t seed);
int64_t node_case_draw(int64_t least, int64_t most);

/** Ends the case before. */
void node_case_begin(bert_op_id op);
void node_case_end(void);
/** Of an opset before the operator's newest one. */
void node_case_opset(int32_t opset);
void node_case_int(const char *name, int64_t value);
void node_case_float(const char *name, float value);
void node_case_string(const char *name, const char *value);
void node_case_ints(const char *name, const int64_t *values, size_t count);
void node_case_absent(void);
void node_case_input(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data);
void node_case_constant(int32_t rank, const int64_t *dims, const float *data);
/** The same of another type. */
void node_case_constant_of(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data);
/** The same at an odd address, with the id of an earlier weight where `id` isn't 0. */
void node_case_unaligned(bert_dtype dtype, int32_t rank, const int64_t *dims, const void *data, uint64_t id);
/** Calls bring so many ranges of each row of input 0, which has floats and is there already; each is that of its part
 * times `wider`. */
void node_case_x_ranges(int32_t count, float wider);
void node_case_output(int32_t rank, const int64_t *dims);
/** The same of another type, which is compared byte by byte where it is not of floats. */
void node_case_output_of(bert_dtype dtype, int32_t rank, const int64_t *dims);
/** Runs both; every output within `tolerance` of the reference's, relative to 1 + |expected|; NaN where it has NaN. */
void node_case_compare(float tolerance);
/** Runs the backend; the first output. Lives until the case ends. */
const float *node_case_run(void);
/** Ranges that the kernel of the last run offers for a row of output 0; bytes of a row's second form that it reads, and
 * that it writes. */
int32_t node_case_y_ranges(void);
int64_t node_case_x_bytes(void);
int64_t node_case_y_bytes(void);
/** Of the last run: "linear/own". */
const char *node_case_kernel(void);
/** The kernel fails with the status and a sentence that holds `text`. */
void node_case_expect_fails(bert_status status, const char *text);
/** The planner leaves the node to the fallback. */
void node_case_expect_left(void);
/** Bytes of all packed weights. */
size_t node_backend_bytes(void);

#endif
