/* Small graphs for tests of passes: every function fails the test when the graph refuses. */
#ifndef BERT_TESTS_PASSES_BUILDER_H
#define BERT_TESTS_PASSES_BUILDER_H

#include "core/passes/list.h"
#include "core/passes/match.h"
#include "tests/support/test.h"

#include <string.h>

typedef struct builder {
    bert_graph *graph;
    int32_t opset;
    bert_value *inputs[16];
    int32_t input_count;
    bert_pass_report report; /**< Of the last run. */
} builder;

builder start(int32_t opset);
void finish(builder *b);

/** A graph input; dimensions as words: "batch sequence 64", a number or a name each. */
bert_value *input(builder *b, const char *name, bert_dtype dtype, const char *dims);
/** A float constant with small numbers that differ; `columns` 0: a vector. */
bert_value *weight(builder *b, int64_t rows, int64_t columns);
/** The same with any shape. */
bert_value *tensor(builder *b, int32_t rank, const int64_t *dims);
/** A constant of an 8-bit type with any shape, at most 256 elements. */
bert_value *bytes(builder *b, bert_dtype dtype, int32_t rank, const int64_t *dims);
/** An int32 constant. */
bert_value *integers(builder *b, int32_t rank, const int64_t *dims, const int32_t *numbers);
bert_value *scalar(builder *b, float number);
bert_value *boolean(builder *b, bool truth);
/** int64: a vector, or with count -1 a scalar. */
bert_value *ints(builder *b, int32_t count, const int64_t *numbers);
#define INTS(b, ...)                                                                                                   \
    ints((b), (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__})
#define INT(b, number) ints((b), -1, &(int64_t){number})

/** A node of ONNX's own domain with one output, its shape inferred. */
bert_value *node(builder *b, bert_op_id id, const bert_attribute *attributes, size_t attribute_count,
                 bert_value *const *inputs, int32_t input_count);
#define OP(b, id, ...)                                                                                                 \
    node((b), BERT_OP_##id, NULL, 0, (bert_value *[]){__VA_ARGS__},                                                    \
         (int32_t)(sizeof((bert_value *[]){__VA_ARGS__}) / sizeof(bert_value *)))
/** The same with one attribute. */
#define OP_WITH(b, id, attribute, ...)                                                                                 \
    node((b), BERT_OP_##id, &(attribute), 1, (bert_value *[]){__VA_ARGS__},                                            \
         (int32_t)(sizeof((bert_value *[]){__VA_ARGS__}) / sizeof(bert_value *)))
#define INTS_ATTRIBUTE(attribute_name, ...)                                                                            \
    ((bert_attribute){.name = (attribute_name),                                                                        \
                      .kind = BERT_ATTRIBUTE_INTS,                                                                     \
                      .count = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                                     \
                      .value = {.ints = (const int64_t[]){__VA_ARGS__}}})

bert_value *cast(builder *b, bert_value *x, bert_dtype dtype);
/** What a DynamicQuantizeLinear gives. */
typedef struct quantized {
    bert_value *values, *scale, *zero_point;
} quantized;
quantized quantize_dynamically(builder *b, bert_value *x);
bert_value *transpose(builder *b, bert_value *x, int64_t p0, int64_t p1, int64_t p2, int64_t p3);
/** Reshape to these numbers. */
#define RESHAPE(b, x, ...) OP(b, Reshape, (x), INTS(b, __VA_ARGS__))
/** Parts of a dimension, of one size. */
void split(builder *b, bert_value *x, int64_t axis, int32_t count, bert_value **parts);
bert_value *mean(builder *b, bert_value *x, int64_t axis);

/** Declares the graph's inputs and outputs; checks its invariants. */
void declare(builder *b, bert_value *const *outputs, int32_t count);
/** Declares the outputs, then runs the named pass alone; checks the graph's invariants. */
void run(builder *b, const char *pass, bert_value *const *outputs, int32_t count);
#define RUN(b, pass, ...)                                                                                              \
    run((b), (pass), (bert_value *[]){__VA_ARGS__}, (int32_t)(sizeof((bert_value *[]){__VA_ARGS__}) / sizeof(void *)))
/** All passes. */
void run_all(builder *b, bert_value *const *outputs, int32_t count);

/** Near misses of the last run whose reason has this in it. */
int count_misses(const builder *b, const char *pass, const char *reason);
int count_nodes(const builder *b, bert_op_id id);
int count_all(const builder *b);
/** The only node of its kind. */
bert_node *only(const builder *b, bert_op_id id);

#endif
