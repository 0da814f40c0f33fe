/*
 * One operator on its own: inference over shapes written as text, and the reference implementation over arrays.
 *
 *   op_case_begin("Concat", 13);
 *   op_case_input(BERT_FLOAT, "batch,3");           dimensions: numbers, names, a name with a number
 *                                                   added or a minus before it, or "?" for one that is unknown
 *   op_case_input(BERT_FLOAT, "batch,5");
 *   op_case_int("axis", -1);
 *   op_case_expect(0, BERT_FLOAT, "batch,8");
 *
 * One case at a time. Everything asserts; a case holds memory until op_case_end.
 */
#ifndef BERT_TESTS_GRAPH_OP_CASE_H
#define BERT_TESTS_GRAPH_OP_CASE_H

#include "tests/support/test.h"

#include "core/graph/op.h"

/** Ends the case before, if any. One output, unless op_case_outputs says otherwise. */
void op_case_begin(const char *op, int32_t opset);
/** The same for an operator of another domain. */
void op_case_begin_in(const char *domain, const char *op, int32_t opset);
void op_case_end(void);
/** cmocka teardown. */
int op_case_teardown(void **state);

/** The next input: its type and shape; "*" is a shape of unknown rank. */
void op_case_input(bert_dtype dtype, const char *shape);
/** The next input is absent. */
void op_case_absent(void);
/** The next input: an int64 vector that is followed, of the elements listed ("batch,12,-1"). */
void op_case_vector(const char *elements);
/** The same as a scalar. */
void op_case_scalar(const char *element);
/** The next input: a tensor whose content is known. `data` must stay until the case ends. */
void op_case_tensor(bert_dtype dtype, const char *shape, const void *data);

void op_case_int(const char *name, int64_t value);
void op_case_float(const char *name, float value);
void op_case_ints(const char *name, const int64_t *values, size_t count);
void op_case_string(const char *name, const char *value);
void op_case_constant(const char *name, bert_dtype dtype, const char *shape, const void *data);
/** An attribute that is a branch whose outputs have this type and these shapes. */
void op_case_branch(const char *name, bert_dtype dtype, const char *const *shapes, int32_t count);
void op_case_outputs(int32_t count);
/** Output `output` is one that nobody reads. */
void op_case_unread(int32_t output);

/** Infers (once a case) and checks type and shape of an output. */
void op_case_expect(int32_t output, bert_dtype dtype, const char *shape);
/** Checks the followed elements of an output; NULL: they aren't followed. */
void op_case_expect_elements(int32_t output, const char *elements);
/** Inference fails with the status and a sentence that holds `text`. */
void op_case_expect_refused(bert_status status, const char *text);

/** Runs the reference implementation (once a case) and returns output 0's data; all inputs must be tensors. */
const void *op_case_run(void);
const bert_tensor *op_case_output(int32_t output);
/** The reference implementation fails with the status and a sentence that holds `text`. */
void op_case_expect_run_fails(bert_status status, const char *text);

/** Runs and compares output `output` with int64, int32, float or byte elements listed. */
#define OP_CASE_EXPECT_DATA(output, type, ...)                                                                         \
    do {                                                                                                               \
        const type expected_[] = {__VA_ARGS__};                                                                        \
        op_case_run();                                                                                                 \
        assert_int_equal(bert_tensor_elements(op_case_output(output)), sizeof expected_ / sizeof expected_[0]);        \
        assert_int_equal(bert_dtype_size(op_case_output(output)->dtype), sizeof expected_[0]);                         \
        assert_memory_equal(op_case_output(output)->data, expected_, sizeof expected_);                                \
    } while (0)

/** Asserts that float output `output` is within 1e-5, absolute and relative, of `count` numbers; NaN equals NaN. */
void op_case_expect_close(int32_t output, const float *expected, size_t count);

/** Runs and compares float output `output` with the numbers listed. */
#define OP_CASE_EXPECT_CLOSE(output, ...)                                                                              \
    do {                                                                                                               \
        const float expected_[] = {__VA_ARGS__};                                                                       \
        op_case_expect_close((output), expected_, sizeof expected_ / sizeof expected_[0]);                             \
    } while (0)

#endif
