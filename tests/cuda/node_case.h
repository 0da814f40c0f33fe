/*
 * A case of kernel_case.h, planned and run by the provider instead of one kernel: what stands in cuda/plan is tested
 * too.
 *
 *   case_begin(BERT_OP_Attention);
 *   case_input(...); case_output(...); case_int(...);
 *   node_case_compare();
 */
#ifndef BERT_TESTS_CUDA_NODE_CASE_H
#define BERT_TESTS_CUDA_NODE_CASE_H

#include "tests/cuda/kernel_case.h"

/** Group setup and teardown, in the place of case_open and case_close. */
int node_case_open(void **state);
int node_case_close(void **state);
/** The same as the first, with sessions that may give other bits in a batch than alone: those of node_case_open are
 * deterministic. */
int node_case_open_varying(void **state);

/** That cases are planned for. */
bert_device *node_case_device(void);
/** Of the case's next run alone: the ranges of input 0 that who wrote it left, [rows, per_row, 2] in float32. */
void node_case_give_ranges(const case_tensor *ranges, int32_t per_row);
/** Of the case's next run alone: where the ranges of output 0 go, [rows, per_row, 2] in float32, which its plan
 * promises to give. */
void node_case_take_ranges(const case_tensor *ranges, int32_t per_row);
/** Plans the node and runs it; every output as the reference has it. */
void node_case_compare(void);
/** Plans the node and runs it as in a run with rows that are no token's, which no reference has: nothing is compared.
 */
void node_case_run_filled(void);
/** As node_case_compare, in a session of this precision, in which the device may hold float32 in 16 bits. */
void node_case_compare_in(bert_precision precision);
/** The same two, in which so many kernels are launched whose names have `kernel` in them; a GPU doesn't tell. */
void node_case_compare_launching(const char *kernel, uint64_t count);
void node_case_compare_in_launching(bert_precision precision, const char *kernel, uint64_t count);
/** In a session of bf16: inputs whose bit is set in `wide` are held in float32 (cuda/ops/halves.h), all other floats
 * are rounded to bfloat16, for the reference too. What is known is rounded on the device alone where its bit is set:
 * planners have it in float32. Every output is float32, and held in it. */
void node_case_compare_wide(unsigned wide);
/** The same, where outputs are of any type, and those are held in float32 whose bit is set in `expected_outputs`. */
void node_case_compare_halves(unsigned wide, unsigned expected_outputs);
/** The run fails with BERT_INVALID_INPUT and a sentence that holds `text`. */
void node_case_expect_invalid(const char *text);
/** The planner leaves the node whatever it is asked, with a sentence that holds `text`. */
void node_case_expect_left(const char *text);
/** The same, but it binds the node: who did that asked before. */
void node_case_expect_left_when_asked(const char *text);
/** The planner leaves it when its sizes are known: no workspace is so large. */
void node_case_expect_too_large(void);

/** Bit `at` of a variant. */
static inline bool has(unsigned variant, int at) {
    return variant >> at & 1;
}

#endif
