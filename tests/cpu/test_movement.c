/*
 * Operators of the CPU backend that move elements and change none (Slice, Split, Concat, Expand, Tile, Where,
 * GatherElements, Transpose) against the reference implementation: shapes drawn at random, elements of every size, one
 * thread and several; and what they and Gather leave to the fallback.
 */
#include "tests/cpu/node_case.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_RANK = 4, MOST_ELEMENTS = 1 << 16, MOST_BYTES = 1 << 22, CASES = 300 };

static unsigned char pool[3][MOST_BYTES];

static int fill(void **state) {
    node_open(state);
    node_case_seed(7);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < MOST_BYTES; j++) pool[i][j] = (unsigned char)node_case_draw(0, 255);
    return 0;
}

/* A type of 1, 2, 4 or 8 bytes that is compared byte by byte. */
static bert_dtype type_of(int at) {
    static const bert_dtype types[] = {BERT_UINT8, BERT_INT16, BERT_INT32, BERT_INT64};
    return types[at % 4];
}

/* A shape whose last dimension is long now and then, so that there are several tasks. */
static int32_t draw_shape(int64_t *dims, int64_t least) {
    for (;;) {
        const int32_t rank = (int32_t)node_case_draw(1, MOST_RANK);
        int64_t count = 1;
        for (int32_t i = 0; i < rank; i++) dims[i] = node_case_draw(least, 7);
        if (node_case_draw(0, 3) == 0) dims[rank - 1] = node_case_draw(100, 300);
        if (node_case_draw(0, 7) == 0) dims[0] = node_case_draw(50, 90);
        for (int32_t i = 0; i < rank; i++) count *= dims[i];
        if (count <= MOST_ELEMENTS) return rank;
    }
}

static void begin(bert_op_id op, int at) {
    node_backend_threads(at % 3 + 1);
    node_case_begin(op);
}

static void slices_agree_with_the_reference(void **state) {
    for (int at = 0; at < CASES; at++) {
        int64_t dims[MOST_RANK], out[MOST_RANK], starts[MOST_RANK], ends[MOST_RANK], axes[MOST_RANK], steps[MOST_RANK];
        const int32_t rank = draw_shape(dims, 1);
        const int64_t count = node_case_draw(1, rank);
        for (int32_t i = 0; i < rank; i++) out[i] = dims[i];
        for (int64_t i = 0; i < count; i++) { /* the last axes, counted from the end or from the front */
            const int64_t axis = rank - 1 - i, dim = dims[axis];
            axes[i] = at % 2 ? axis - rank : axis;
            steps[i] = node_case_draw(0, 3) ? node_case_draw(1, 3) : -node_case_draw(1, 3);
            const int64_t first = node_case_draw(0, dim - 1),
                          last = steps[i] > 0 ? node_case_draw(first, dim - 1) : node_case_draw(0, first);
            const int64_t step = steps[i];
            out[axis] = (last - first) / step + 1;
            starts[i] = node_case_draw(0, 1) ? first : first - dim;
            ends[i] = last + (step > 0 ? 1 : -1);
            if (ends[i] < 0) ends[i] = INT64_MIN;
        }
        begin(BERT_OP_Slice, at);
        node_case_input(type_of(at), rank, dims, pool[0]);
        node_case_input(BERT_INT64, 1, &count, starts);
        node_case_input(BERT_INT64, 1, &count, ends);
        node_case_input(BERT_INT64, 1, &count, axes);
        node_case_input(BERT_INT64, 1, &count, steps);
        node_case_output_of(type_of(at), rank, out);
        node_case_compare(0.0F);
    }
}

/* Lists as attributes or as int32, axes and steps left out, bounds that are cut, and nothing at all. */
static void slices_of_every_form_agree_with_the_reference(void **state) {
    static const int64_t starts[] = {-9, 2}, ends[] = {3, 99}, dims[] = {5, 7, 3}, out[] = {3, 5, 3}, axes[] = {-2, 2};
    static const int32_t narrow_starts[] = {-9, 2}, narrow_ends[] = {3, 99}, empty_ends[] = {-9, 99};
    for (int axes_given = 0; axes_given < 2; axes_given++) {
        const int64_t along_2[] = {5, 3, 1};
        begin(BERT_OP_Slice, 1);
        node_case_opset(9);
        node_case_ints("starts", starts, 2);
        node_case_ints("ends", ends, 2);
        if (axes_given) node_case_ints("axes", axes, 2);
        node_case_input(BERT_INT32, 3, dims, pool[0]);
        node_case_output_of(BERT_INT32, 3, axes_given ? along_2 : out);
        node_case_compare(0.0F);
    }
    for (int empty = 0; empty < 2; empty++) {
        const int64_t two = 2, none[] = {0, 5, 3};
        begin(BERT_OP_Slice, empty);
        node_case_input(BERT_INT64, 3, dims, pool[0]);
        node_case_input(BERT_INT32, 1, &two, narrow_starts);
        node_case_input(BERT_INT32, 1, &two, empty ? empty_ends : narrow_ends);
        node_case_output_of(BERT_INT64, 3, empty ? none : out);
        node_case_compare(0.0F);
    }
}

/* What joins to one long row is cut for the threads. */
static void long_rows_agree_with_the_reference(void **state) {
    static const int64_t long_dims[] = {3, 40000}, joined[] = {6, 40000}, one[] = {1, 1}, two = 2;
    begin(BERT_OP_Concat, 1);
    node_case_int("axis", 0);
    for (int i = 0; i < 2; i++) node_case_input(BERT_INT32, 2, long_dims, pool[i]);
    node_case_output_of(BERT_INT32, 2, joined);
    node_case_compare(0.0F);
    begin(BERT_OP_Expand, 2);
    node_case_input(BERT_INT32, 2, one, pool[0]);
    node_case_input(BERT_INT64, 1, &two, long_dims);
    node_case_output_of(BERT_INT32, 2, long_dims);
    node_case_compare(0.0F);
}

static void splits_and_concats_agree_with_the_reference(void **state) {
    for (int at = 0; at < CASES; at++) {
        int64_t dims[MOST_RANK], parts[3], whole = 0;
        const int32_t rank = draw_shape(dims, 0);
        const int64_t axis = node_case_draw(0, rank - 1), count = node_case_draw(1, 3);
        for (int64_t i = 0; i < count; i++) whole += parts[i] = node_case_draw(0, 5);
        const bool split = at % 2;
        begin(split ? BERT_OP_Split : BERT_OP_Concat, at);
        node_case_int("axis", at % 4 < 2 ? axis : axis - rank);
        if (split) {
            dims[axis] = whole;
            node_case_input(type_of(at / 2), rank, dims, pool[0]);
            node_case_input(BERT_INT64, 1, &count, parts);
        }
        for (int64_t i = 0; i < count; i++) {
            dims[axis] = parts[i];
            if (split)
                node_case_output_of(type_of(at / 2), rank, dims);
            else
                node_case_input(type_of(at / 2), rank, dims, pool[i]);
        }
        dims[axis] = whole;
        if (!split) node_case_output_of(type_of(at / 2), rank, dims);
        node_case_compare(0.0F);
    }
}

/* Of a shape, its last dimensions, some of which repeat. */
static int32_t draw_operand(const int64_t *dims, int32_t rank, int64_t *own) {
    const int32_t kept = (int32_t)node_case_draw(0, rank);
    for (int32_t i = 0; i < kept; i++) own[i] = node_case_draw(0, 1) ? dims[rank - kept + i] : 1;
    return kept;
}

static void expansions_agree_with_the_reference(void **state) {
    const int64_t none = 0;
    begin(BERT_OP_Expand, 0); /* of a number to a number */
    node_case_input(BERT_INT32, 0, NULL, pool[0]);
    node_case_input(BERT_INT64, 1, &none, pool[0]);
    node_case_output_of(BERT_INT32, 0, NULL);
    node_case_compare(0.0F);
    for (int at = 0; at < CASES; at++) {
        int64_t dims[MOST_RANK], own[MOST_RANK];
        const int32_t rank = draw_shape(dims, 0), kept = draw_operand(dims, rank, own);
        const int64_t count = rank;
        begin(BERT_OP_Expand, at);
        node_case_input(type_of(at), kept, own, pool[0]);
        node_case_input(BERT_INT64, 1, &count, dims);
        node_case_output_of(type_of(at), rank, dims);
        node_case_compare(0.0F);
    }
}

static void repetitions_agree_with_the_reference(void **state) {
    for (int at = 0; at < CASES; at++) {
        int64_t dims[MOST_RANK], repeats[MOST_RANK], out[MOST_RANK];
        const int32_t rank = draw_shape(dims, 0);
        const int64_t count = rank;
        for (int32_t i = 0; i < rank; i++)
            out[i] = dims[i] * (repeats[i] = node_case_draw(0, 9) ? node_case_draw(1, 2) : node_case_draw(0, 5));
        begin(BERT_OP_Tile, at);
        node_case_input(type_of(at), rank, dims, pool[0]);
        node_case_input(BERT_INT64, 1, &count, repeats);
        node_case_output_of(type_of(at), rank, out);
        node_case_compare(0.0F);
    }
}

static void choices_agree_with_the_reference(void **state) {
    static unsigned char mask[MOST_BYTES];
    for (int i = 0; i < MOST_BYTES; i++) mask[i] = (unsigned char)node_case_draw(0, 1);
    for (int at = 0; at < 2 * CASES; at++) {
        int64_t dims[MOST_RANK], own[3][MOST_RANK];
        int32_t kept[3];
        const int32_t rank = draw_shape(dims, 0);
        for (int i = 0; i < 3; i++) kept[i] = draw_operand(dims, rank, own[i]);
        const int whole = (int)node_case_draw(0, 2); /* one operand has the whole shape */
        kept[whole] = rank;
        memcpy(own[whole], dims, sizeof dims);
        begin(BERT_OP_Where, at);
        node_case_input(BERT_BOOL, kept[0], own[0], mask);
        node_case_input(type_of(at), kept[1], own[1], pool[0]);
        node_case_input(type_of(at), kept[2], own[2], pool[1]);
        node_case_output_of(type_of(at), rank, dims);
        node_case_compare(0.0F);
    }
    begin(BERT_OP_Where, 0); /* numbers */
    node_case_input(BERT_BOOL, 0, NULL, mask);
    for (int i = 0; i < 2; i++) node_case_input(BERT_INT32, 0, NULL, pool[i]);
    node_case_output_of(BERT_INT32, 0, NULL);
    node_case_compare(0.0F);
    begin(BERT_OP_Where, 1); /* rows longer than a task */
    node_case_input(BERT_BOOL, 1, (const int64_t[]){40000}, mask);
    node_case_input(BERT_INT32, 0, NULL, pool[0]);
    node_case_input(BERT_INT32, 2, (const int64_t[]){3, 40000}, pool[1]);
    node_case_output_of(BERT_INT32, 2, (const int64_t[]){3, 40000});
    node_case_compare(0.0F);
}

static void gathered_elements_agree_with_the_reference(void **state) {
    static int64_t wide[MOST_ELEMENTS];
    static int32_t narrow[MOST_ELEMENTS];
    for (int at = 0; at < CASES; at++) {
        int64_t dims[MOST_RANK], from[MOST_RANK], count = 1;
        const int32_t rank = draw_shape(dims, 1);
        const int64_t axis = node_case_draw(0, rank - 1);
        for (int32_t i = 0; i < rank; i++) {
            from[i] =
                i == axis ? node_case_draw(1, 3) : dims[i] + node_case_draw(0, dims[i] < 9); /* others may be longer */
            count *= dims[i];
        }
        for (int64_t i = 0; i < count; i++)
            narrow[i] = (int32_t)(wide[i] = node_case_draw(-from[axis], from[axis] - 1));
        begin(BERT_OP_GatherElements, at);
        node_case_int("axis", at % 4 < 2 ? axis : axis - rank);
        node_case_input(type_of(at / 2), rank, from, pool[0]);
        node_case_input(at % 2 ? BERT_INT32 : BERT_INT64, rank, dims, at % 2 ? (const void *)narrow : wide);
        node_case_output_of(type_of(at / 2), rank, dims);
        node_case_compare(0.0F);
    }
    for (int i = 0; i < 2; i++) {
        const int64_t outside[] = {0, i ? -4 : 3, 1};
        node_case_begin(BERT_OP_GatherElements);
        node_case_input(BERT_INT32, 1, (const int64_t[]){3}, pool[0]);
        node_case_input(BERT_INT64, 1, (const int64_t[]){3}, outside);
        node_case_output_of(BERT_INT32, 1, (const int64_t[]){3});
        node_case_expect_fails(BERT_INVALID_INPUT, i ? "index -4, element 1" : "index 3, element 1");
    }
}

static void begin_of(bert_op_id op, bert_dtype dtype, int inputs) {
    node_case_begin(op);
    for (int i = 0; i < inputs; i++) node_case_input(dtype, 1, (const int64_t[]){2}, pool[i]);
}

static void expect_left_with(bert_dtype index_dtype, bert_dtype dtype) {
    static const int64_t two = 2;
    if (index_dtype != BERT_DTYPE_UNDEFINED) node_case_input(index_dtype, 1, &two, pool[2]);
    node_case_output_of(dtype, 1, &two);
    node_case_expect_left();
}

static void transpositions_agree_with_the_reference(void **state) {
    for (int at = 0; at < CASES; at++) {
        int64_t dims[MOST_RANK], out[MOST_RANK], perm[MOST_RANK];
        const int32_t rank = draw_shape(dims, at % 16 == 0 ? 0 : 1);
        for (int32_t i = 0; i < rank; i++) perm[i] = i;
        for (int32_t i = rank - 1; i > 0; i--) {
            const int64_t other = node_case_draw(0, i), kept = perm[i];
            perm[i] = perm[other];
            perm[other] = kept;
        }
        for (int32_t i = 0; i < rank; i++) out[i] = dims[perm[i]];
        begin(BERT_OP_Transpose, at);
        node_case_ints("perm", perm, (size_t)rank);
        node_case_input(type_of(at / 2), rank, dims, pool[0]);
        node_case_output_of(type_of(at / 2), rank, out);
        node_case_compare(0.0F);
    }
}

/* Strings have no bytes that could be moved. */
static void types_that_are_not_moved_are_left(void **state) {
    static const bert_op_id with_list[] = {BERT_OP_Slice, BERT_OP_Split,  BERT_OP_Expand,
                                           BERT_OP_Tile,  BERT_OP_Gather, BERT_OP_GatherElements};
    for (size_t i = 0; i < sizeof with_list / sizeof *with_list; i++) {
        begin_of(with_list[i], BERT_STRING, 1);
        expect_left_with(BERT_INT64, BERT_STRING);
    }
    begin_of(BERT_OP_Concat, BERT_STRING, 2);
    expect_left_with(BERT_DTYPE_UNDEFINED, BERT_STRING);
    begin_of(BERT_OP_Where, BERT_BOOL, 1);
    for (int i = 0; i < 2; i++) node_case_input(BERT_STRING, 1, (const int64_t[]){2}, pool[i]);
    expect_left_with(BERT_DTYPE_UNDEFINED, BERT_STRING);
    begin_of(BERT_OP_Transpose, BERT_STRING, 1);
    expect_left_with(BERT_DTYPE_UNDEFINED, BERT_STRING);
}

static void indices_of_other_types_are_left(void **state) {
    static const bert_dtype types[] = {BERT_INT16, BERT_UINT32, BERT_UINT64};
    for (size_t i = 0; i < 2 * sizeof types / sizeof *types; i++) {
        begin_of(i % 2 ? BERT_OP_Gather : BERT_OP_GatherElements, BERT_INT32, 1);
        expect_left_with(types[i / 2], BERT_INT32);
    }
}

static void a_split_without_a_part_is_left(void **state) {
    for (int absent = 0; absent < 2; absent++) {
        begin_of(BERT_OP_Split, BERT_INT32, 1);
        for (int i = 0; i < 2; i++)
            node_case_output_of(i == absent ? BERT_DTYPE_UNDEFINED : BERT_INT32, 1, (const int64_t[]){1});
        node_case_expect_left();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_agree_with_the_reference),
        cmocka_unit_test(slices_of_every_form_agree_with_the_reference),
        cmocka_unit_test(long_rows_agree_with_the_reference),
        cmocka_unit_test(splits_and_concats_agree_with_the_reference),
        cmocka_unit_test(expansions_agree_with_the_reference),
        cmocka_unit_test(repetitions_agree_with_the_reference),
        cmocka_unit_test(choices_agree_with_the_reference),
        cmocka_unit_test(gathered_elements_agree_with_the_reference),
        cmocka_unit_test(transpositions_agree_with_the_reference),
        cmocka_unit_test(types_that_are_not_moved_are_left),
        cmocka_unit_test(indices_of_other_types_are_left),
        cmocka_unit_test(a_split_without_a_part_is_left),
    };
    return node_run_tests(tests, sizeof tests / sizeof *tests, fill, false);
}
