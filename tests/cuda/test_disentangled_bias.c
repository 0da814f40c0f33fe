/* DisentangledBias, the kernel and its planner: tiles that are full and that are not, indices of every kind. */
#include "cuda/ops/disentangled_bias.h"

#include "core/graph/canonical.h"
#include "tests/cuda/node_case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    int64_t batch, heads, depth, queries, keys;
} shape;

/* How indices follow from i - j, or don't. */
typedef enum indices_kind {
    RISING,  /* by one from element to element: one window a tile */
    FALLING, /* the other way round */
    BUCKETS, /* ever more slowly away from the diagonal */
    RANDOM,  /* any of all positions, from the end too */
    FAR,     /* the first, the last and those at the borders of windows */
    KINDS
} indices_kind;

static int64_t next_number(int64_t bound) {
    static uint32_t state = 7;
    state = state * 1664525U + 1013904223U;
    return (int64_t)(state >> 8) % bound;
}

static int64_t clamped(int64_t index, int64_t count) {
    return index < 0 ? 0 : index >= count ? count - 1 : index;
}

static int64_t index_of(indices_kind kind, int64_t distance, int64_t count) {
    const int64_t size = distance < 0 ? -distance : distance, far[] = {0, count - 1, 63, 64, 127, -1, -count};
    int64_t bucket = size;
    switch (kind) {
    case RISING:
        return clamped(count / 2 + distance, count);
    case FALLING:
        return clamped(count / 2 - distance, count) - count;
    case BUCKETS:
        if (size > 8) bucket = size > 32 ? 14 : 8 + size / 6;
        return clamped(count / 2 + (distance < 0 ? -bucket : bucket), count);
    case RANDOM:
        return next_number(2 * count) - count;
    default:
        bucket = far[(distance % 7 + 7) % 7];
        return bucket >= count ? 0 : bucket;
    }
}

/* The next input: indices [rows, columns] into `count` positions. */
static case_tensor *indices_input(bert_dtype type, indices_kind kind, int64_t rows, int64_t columns, int64_t count) {
    const size_t elements = (size_t)(rows * columns);
    int64_t *wide = malloc(elements * sizeof *wide + 1);
    int32_t *narrow = malloc(elements * sizeof *narrow + 1);
    for (size_t at = 0; at < elements; at++) {
        wide[at] = index_of(kind, (int64_t)at / columns - (int64_t)at % columns, count);
        narrow[at] = (int32_t)wide[at];
    }
    case_tensor *tensor = case_input_of(type, 2, DIMS(rows, columns), type == BERT_INT32 ? (const void *)narrow : wide);
    free(wide);
    free(narrow);
    return tensor;
}

/* Inputs and attributes; `terms`: bit 0 content to position, 1 the other way round. Gives y. */
static case_tensor *build(bert_dtype dtype, shape s, unsigned terms, indices_kind kind, int64_t positions) {
    const int64_t width = s.heads * s.depth;
    case_begin(BERT_OP_BERTC_DisentangledBias);
    case_int("heads", s.heads);
    case_float("scale", 0.3F);
    case_input(dtype, 3, DIMS(s.batch, s.queries, width), 1.0F);
    case_input(dtype, 3, DIMS(s.batch, s.keys, width), 1.0F);
    for (int i = 0; i < 2; i++) {
        const bert_dtype type = (s.queries + i) % 2 ? BERT_INT64 : BERT_INT32;
        if (terms >> i & 1) { /* the terms don't have the same positions */
            case_input(dtype, 3, DIMS(1, positions + i, width), 1.0F);
            indices_input(type, kind, i ? s.keys : s.queries, i ? s.queries : s.keys, positions + i);
        } else {
            case_absent();
            case_absent();
        }
    }
    return case_output(dtype, 4, DIMS(s.batch, s.heads, s.queries, s.keys));
}

static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};

static void node_case(bert_dtype dtype, shape s, unsigned terms, indices_kind kind, int64_t positions) {
    loosened(build(dtype, s, terms, kind, positions), 2);
    node_case_compare();
}

static void every_shape_agrees_with_the_reference(void **state) {
    static const int64_t lengths[] = {1, 31, 32, 33, 65}, depths[] = {64, 5, 32, 67, 8, 64, 130};
    int turn = 0;
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < 5; j++, turn++) {
            const shape s = {1 + turn % 2, 1 + turn % 3 / 2, depths[turn % 7], lengths[i], lengths[j]};
            node_case(dtypes[turn % 3], s, 3, (indices_kind)(turn / 2 % KINDS), turn % 4 ? 130 : 40);
        }
    }
    node_case(BERT_FLOAT, (shape){0, 2, 4, 3, 5}, 3, RANDOM, 4); /* no sequences, no queries, no keys */
    node_case(BERT_FLOAT, (shape){2, 2, 4, 0, 5}, 3, RANDOM, 4);
    node_case(BERT_FLOAT16, (shape){2, 2, 4, 3, 0}, 3, RANDOM, 0);
    node_case(BERT_FLOAT, (shape){2, 2, 0, 3, 5}, 3, RANDOM, 4); /* products of nothing */
}

static void every_kind_of_index_agrees_with_the_reference(void **state) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < 3; i++) {
            node_case(dtypes[i], (shape){1, 2, 64, 40, 50}, 3, (indices_kind)kind, 150);
            node_case(dtypes[i], (shape){1, 1, 24, 7, 65}, 3, (indices_kind)kind, 1);
        }
    }
}

static void each_term_may_be_absent(void **state) {
    for (unsigned terms = 0; terms < 4; terms++) {
        for (int i = 0; i < 3; i++) {
            node_case(dtypes[i], (shape){2, 2, 64, 33, 34}, terms, RISING, 70);
            node_case(dtypes[i], (shape){1, 1, 6, 34, 2}, terms, RANDOM, 200);
        }
    }
}

static void sessions_of_16_bits_agree_with_the_reference(void **state) {
    for (int i = 0; i < 2; i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            build(BERT_FLOAT, (shape){2, 2, 64, 33, 20}, 3, (indices_kind)kind, 100)->tolerance = i ? 3e-2F : 4e-3F;
            node_case_compare_in_launching(i ? BERT_PRECISION_BF16 : BERT_PRECISION_FP16, "disentangled_bias", 1);
        }
    }
}

static void indices_outside_are_reported(void **state) {
    static const int64_t wrong[] = {6, -7, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 8; i++) {
        const bool of_keys = i % 2;
        const int64_t indices[6] = {5, -6, 0, 0, wrong[i / 2], 0};
        char says[160];
        case_begin(BERT_OP_BERTC_DisentangledBias);
        case_int("heads", 2);
        case_input(BERT_FLOAT, 3, DIMS(1, 2, 8), 1.0F);
        case_input(BERT_FLOAT, 3, DIMS(1, 3, 8), 1.0F);
        for (int absent = 0; absent < 2 && of_keys; absent++) case_absent();
        case_input(BERT_FLOAT, 3, DIMS(1, 6, 8), 1.0F);
        case_input_of(BERT_INT64, 2, of_keys ? DIMS(3, 2) : DIMS(2, 3), indices);
        case_output(BERT_FLOAT, 4, DIMS(1, 2, 2, 3));
        snprintf(says, sizeof says,
                 "node node (DisentangledBias): index %lld at position 4 of input %d is outside the 6 positions",
                 (long long)wrong[i / 2], of_keys ? 5 : 3);
        node_case_expect_invalid(says);
    }
    build(BERT_FLOAT, (shape){1, 1, 4, 2, 3}, 1, RISING, 0);
    node_case_expect_invalid("there is nothing to choose from, and indices are given");
}

static void double_is_left(void **state) {
    build(BERT_DOUBLE, (shape){1, 1, 4, 2, 3}, 3, RISING, 5);
    node_case_expect_left("computes in float32, float16 and bfloat16 only");
}

/* ---- The kernel alone ----------------------------------------------------------------------------------------------
 */

static case_node described;

/* Of the case that was built, with both terms. */
static bert_cuda_disentangled_bias_args kernel_args(void) {
    case_describe(&described);
    const bert_tensor *in = described.device_inputs, *y = &described.device_outputs[0];
    bert_cuda_disentangled_bias_args args = {.dtype = y->dtype,
                                             .batch = y->dims[0],
                                             .heads = y->dims[1],
                                             .depth = in[BERT_DISENTANGLED_Q].dims[2] / y->dims[1],
                                             .queries = y->dims[2],
                                             .keys = y->dims[3],
                                             .scale = 0.3F,
                                             .y = y->data};
    for (int i = 0; i < 2; i++) {
        const bert_tensor *positions = &in[i ? BERT_DISENTANGLED_QUERIES : BERT_DISENTANGLED_KEYS];
        const bert_tensor *indices = &in[i ? BERT_DISENTANGLED_P2C : BERT_DISENTANGLED_C2P];
        args.terms[i] = (bert_cuda_position_term){.content = in[i ? BERT_DISENTANGLED_K : BERT_DISENTANGLED_Q].data,
                                                  .positions = positions->data,
                                                  .count = positions->dims[1],
                                                  .indices = indices->data,
                                                  .index_type = indices->dtype};
    }
    return args;
}

/* By windows that stay from sequence to sequence, by several that don't, by columns in two parts. */
static void sequences_may_share_a_block(void **state) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < 6; i++) {
            const shape s = {5, 2, i % 2 ? 72 : 64, 3 + kind, 34};
            loosened(build(dtypes[i / 2], s, 3, (indices_kind)kind, 130), 2);
            bert_cuda_disentangled_bias_args args = kernel_args();
            args.blocks = i % 2 ? 1 : 8; /* one for all sequences of a tile, or two that take turns */
            case_compare(bert_cuda_disentangled_bias(&args, NULL));
        }
    }
}

/* A tensor's elements again, in memory that begins one element behind where it is aligned for everything. */
static const void *moved(const bert_tensor *tensor) {
    const case_tensor *room = case_extra(tensor->dtype, 1, DIMS(bert_tensor_elements(tensor) + 1));
    char *to = (char *)room->device + bert_dtype_size(tensor->dtype);
    assert_int_equal(cudaMemcpy(to, tensor->data, bert_tensor_bytes(tensor), cudaMemcpyDeviceToDevice), cudaSuccess);
    return to;
}

static void rows_need_not_be_aligned(void **state) {
    static const int32_t inputs[] = {BERT_DISENTANGLED_Q, BERT_DISENTANGLED_K, BERT_DISENTANGLED_KEYS,
                                     BERT_DISENTANGLED_QUERIES};
    for (int i = 0; i < 12; i++) {
        loosened(build(dtypes[i / 4], (shape){2, 2, 64, 5, 33}, 3, BUCKETS, 60), 2);
        bert_cuda_disentangled_bias_args args = kernel_args();
        const void *at = moved(&described.device_inputs[inputs[i % 4]]);
        if (i % 4 < 2)
            args.terms[i % 4].content = at;
        else
            args.terms[i % 4 - 2].positions = at;
        case_compare(bert_cuda_disentangled_bias(&args, NULL));
    }
}

/* Elements whose own two indices stay have the same bits, whatever becomes of the others, and alone or in a batch. */
static void bits_depend_on_an_elements_own_rows_alone(void **state) {
    enum { S = 40, T = 35, H = 2, D = 64, ELEMENTS = H * S * T };
    for (int i = 0; i < 3; i++) {
        const size_t size = bert_dtype_size(dtypes[i]);
        case_tensor *y = build(dtypes[i], (shape){2, H, D, S, T}, 3, RISING, 300);
        case_tensor *other = case_extra(dtypes[i], 4, DIMS(1, H, S, T));
        bert_cuda_disentangled_bias_args args = kernel_args();
        case_good(bert_cuda_disentangled_bias(&args, NULL));
        const char *bits = case_fetch(y);
        bits += ELEMENTS * size;

        args.batch = 1; /* the second sequence, of which every third row has other indices */
        args.y = other->device;
        for (int term = 0; term < 2; term++) {
            const bert_tensor *indices = &described.inputs[term ? BERT_DISENTANGLED_P2C : BERT_DISENTANGLED_C2P];
            const int64_t rows = indices->dims[0], columns = indices->dims[1];
            args.terms[term].content = (const char *)args.terms[term].content + (size_t)((term ? T : S) * H * D) * size;
            for (int64_t at = 0; at < rows * columns; at++) {
                const bool changes = at / columns % 3 == 0;
                if (indices->dtype == BERT_INT32 && changes) ((int32_t *)indices->data)[at] = (int32_t)next_number(300);
                if (indices->dtype == BERT_INT64 && changes) ((int64_t *)indices->data)[at] = next_number(300);
            }
            assert_int_equal(cudaMemcpy((void *)args.terms[term].indices, indices->data, bert_tensor_bytes(indices),
                                        cudaMemcpyHostToDevice),
                             cudaSuccess);
        }
        case_good(bert_cuda_disentangled_bias(&args, NULL));
        const char *found = case_fetch(other);
        for (size_t at = 0; at < ELEMENTS; at++) {
            if (at / T % S % 3 == 0 || at % T % 3 == 0) continue;
            assert_memory_equal(found + at * size, bits + at * size, size);
        }
    }
}

static void arguments_that_are_wrong_are_refused(void **state) {
    for (int i = 0; i < 10; i++) {
        build(BERT_FLOAT, (shape){1, 1, 4, 2, 3}, 3, RISING, 5);
        bert_cuda_disentangled_bias_args args = kernel_args();
        if (i == 0) args.dtype = BERT_DOUBLE;
        if (i == 1) args.batch = -1;
        if (i == 2) args.heads = 65536;
        if (i == 3) args.depth = -1;
        if (i == 4) args.queries = INT64_C(1) << 40;
        if (i == 5) args.keys = -1;
        if (i == 6) args.terms[0].count = 0;
        if (i == 7) args.terms[1].count = INT32_MAX;
        if (i == 8) args.terms[0].index_type = BERT_INT8;
        if (i == 9) args.blocks = -1;
        assert_int_equal(bert_cuda_disentangled_bias(&args, NULL), cudaErrorInvalidValue);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_agrees_with_the_reference),
        cmocka_unit_test(every_kind_of_index_agrees_with_the_reference),
        cmocka_unit_test(each_term_may_be_absent),
        cmocka_unit_test(sessions_of_16_bits_agree_with_the_reference),
        cmocka_unit_test(indices_outside_are_reported),
        cmocka_unit_test(double_is_left),
        cmocka_unit_test(sequences_may_share_a_block),
        cmocka_unit_test(rows_need_not_be_aligned),
        cmocka_unit_test(bits_depend_on_an_elements_own_rows_alone),
        cmocka_unit_test(arguments_that_are_wrong_are_refused),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
