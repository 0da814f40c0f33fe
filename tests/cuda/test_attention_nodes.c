/* Operators with attention in them, as the provider plans and runs them: every form of operands, past and masks. */
#include "core/graph/canonical.h"
#include "tests/cuda/node_case.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

typedef struct sizes {
    int64_t batch, heads, shared, depth, value_depth, queries, keys, past;
} sizes;

/* ---- ai.onnx's Attention ----------------------------------------------------------------------------------------- */

static const case_tensor *heads_input(bert_dtype dtype, bool apart, const sizes *s, int64_t heads, int64_t rows,
                                      int64_t depth) {
    return apart ? case_input(dtype, 4, DIMS(s->batch, heads, rows, depth), 2.0F)
                 : case_input(dtype, 3, DIMS(s->batch, rows, heads * depth), 2.0F);
}

/* 0: none; then masks of bool and float, of every rank, shared or not, with fewer columns than there are keys. */
enum { MASKS = 8 };

static void onnx_mask(bert_dtype dtype, const sizes *s, unsigned kind) {
    const int64_t keys = s->past + s->keys, fewer = keys > 1 ? keys - 1 : keys;
    switch (kind) {
    case 1:
        case_input(BERT_BOOL, 2, DIMS(s->queries, keys), 1.6F);
        break;
    case 2:
        case_input(BERT_BOOL, 4, DIMS(s->batch, 1, 1, fewer), 1.6F);
        break;
    case 3:
        case_input(dtype, 4, DIMS(s->batch, s->heads, s->queries, keys), 2.0F);
        break;
    case 4:
        case_input(dtype, 3, DIMS(s->heads, 1, fewer), 2.0F);
        break;
    case 5:
        case_input(dtype, 1, DIMS(keys), 2.0F);
        break;
    case 6:
        case_input(BERT_BOOL, 2, DIMS(s->queries, 1), 1.9F);
        break;
    case 7:
        case_input(dtype, 4, DIMS(1, 1, s->queries, keys), 2.0F);
        break;
    default:
        case_absent();
    }
}

/* Bits of `variant`: 0 heads apart, 1 causal, 2 cap, 3 scale, 4 presents, 5 the scores, 6 and 7 which of them. */
static void onnx_case(bert_dtype dtype, sizes s, unsigned mask, unsigned variant) {
    const bool apart = has(variant, 0);
    const int64_t keys = s.past + s.keys;
    case_begin(BERT_OP_Attention);
    if (!apart) {
        case_int("q_num_heads", s.heads);
        case_int("kv_num_heads", s.shared);
    }
    if (has(variant, 1)) case_int("is_causal", 1);
    if (has(variant, 2)) case_float("softcap", 1.5F);
    if (has(variant, 3)) case_float("scale", 0.3F);
    if (has(variant, 5)) case_int("qk_matmul_output_mode", variant >> 6 & 3);
    heads_input(dtype, apart, &s, s.heads, s.queries, s.depth);
    heads_input(dtype, apart, &s, s.shared, s.keys, s.depth);
    heads_input(dtype, apart, &s, s.shared, s.keys, s.value_depth);
    onnx_mask(dtype, &s, mask);
    if (s.past) {
        case_input(dtype, 4, DIMS(s.batch, s.shared, s.past, s.depth), 2.0F);
        case_input(dtype, 4, DIMS(s.batch, s.shared, s.past, s.value_depth), 2.0F);
    }
    loosened(apart ? case_output(dtype, 4, DIMS(s.batch, s.heads, s.queries, s.value_depth))
                   : case_output(dtype, 3, DIMS(s.batch, s.queries, s.heads * s.value_depth)),
             4);
    if (has(variant, 4) || has(variant, 5)) {
        case_output(dtype, 4, DIMS(s.batch, s.shared, keys, s.depth));
        case_output(dtype, 4, DIMS(s.batch, s.shared, keys, s.value_depth));
    }
    if (has(variant, 5)) loosened(case_output(dtype, 4, DIMS(s.batch, s.heads, s.queries, keys)), 4);
    node_case_compare();
}

static void onnx_attention_agrees_with_the_reference(void **state) {
    static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    static const sizes shapes[] = {{1, 1, 1, 1, 1, 1, 1, 0},     {2, 4, 2, 5, 7, 3, 6, 0},
                                   {1, 3, 3, 65, 64, 33, 31, 2}, {2, 2, 1, 32, 32, 17, 65, 0},
                                   {1, 4, 1, 64, 64, 1, 1, 9},   {3, 2, 2, 64, 67, 2, 32, 5}};
    unsigned variant = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned mask = 0; mask < MASKS; mask++, variant += 37)
            onnx_case(dtypes[(i + mask) % 3], shapes[i], mask, variant & 255);
    for (variant = 0; variant < 256; variant += 1) /* every attribute and output with every other */
        onnx_case(BERT_FLOAT, (sizes){2, 2, 1, 3, 2, 3, 2, variant % 3}, variant % MASKS, variant);
    onnx_case(BERT_FLOAT, (sizes){2, 1, 1, 4, 4, 3, 0, 0}, 0, 0);  /* no keys */
    onnx_case(BERT_FLOAT, (sizes){0, 1, 1, 4, 4, 3, 2, 1}, 1, 16); /* no sequences */
    onnx_case(BERT_FLOAT, (sizes){1, 1, 1, 4, 4, 0, 2, 1}, 1, 18); /* no queries: the present alone */
}

/* ---- com.microsoft's masks --------------------------------------------------------------------------------------- */

enum { MS_MASKS = 8 };

static void ms_mask(const sizes *s, unsigned kind, bool rank_4) {
    const int64_t keys = s->past + s->keys;
    int32_t lengths[3 * 8 + 2];
    for (int64_t i = 0; i < 3 * s->batch + 2; i++) /* an end, then a start, for each sequence */
        lengths[i] = (int32_t)(i < s->batch ? keys - i % 2 : i < 2 * s->batch ? i % 2 : 0);
    switch (kind) {
    case 1:
        case_input_of(BERT_INT32, 1, DIMS(s->batch), lengths);
        break;
    case 2:
        case_input_of(BERT_INT32, 1, DIMS(2 * s->batch), lengths);
        break;
    case 3:
        case_input_of(BERT_INT32, 1, DIMS(3 * s->batch + 2), lengths);
        break;
    case 4:
        case_input(BERT_INT32, 2, DIMS(s->batch, keys), 1.7F);
        break;
    case 5:
        case_input(BERT_INT32, 3, DIMS(s->batch, s->queries, keys), 1.7F);
        break;
    case 6:
        case_input(BERT_INT32, 2, DIMS(s->batch, 1), 1.7F);
        break;
    case 7:
        if (rank_4) {
            case_input(BERT_INT32, 4, DIMS(s->batch, 1, keys + 3, keys + 3), 1.7F);
            break;
        } /* fall through */
    default:
        case_absent();
    }
}

/* Attributes that the operators share. Bits: 0 unidirectional, 1 a scale, 2 the lowest float as filter. Where a mask
 * may leave a row without keys, the filter is one that leaves digits to the scores beside it. */
static void ms_attributes(const sizes *s, unsigned mask, unsigned variant) {
    case_int("num_heads", s->heads);
    if (has(variant, 0)) case_int("unidirectional", 1);
    if (has(variant, 1)) case_float("scale", 0.4F);
    if (has(variant, 2))
        case_float("mask_filter_value", -FLT_MAX);
    else if (mask > 3 || s->past + s->keys < 3)
        case_float("mask_filter_value", -30.0F);
}

/* ---- MultiHeadAttention ------------------------------------------------------------------------------------------ */

/* Bits of `variant`: those of ms_attributes; 3 a bias of Q, K and V, 4 one of the scores, 5 presents, 6 the weights. */
static void multi_head_case(bert_dtype dtype, sizes s, int form, unsigned mask, unsigned variant) {
    const int64_t width = s.heads * s.depth, value_width = s.heads * s.value_depth, keys = s.past + s.keys;
    case_begin(BERT_OP_MS_MultiHeadAttention);
    ms_attributes(&s, mask, variant);
    if (form == 3) { /* all in one */
        case_input(dtype, 5, DIMS(s.batch, s.queries, s.heads, 3, s.depth), 2.0F);
        case_absent();
        case_absent();
    } else {
        case_input(dtype, 3, DIMS(s.batch, s.queries, width), 2.0F);
        if (form == 0) {
            case_input(dtype, 3, DIMS(s.batch, s.keys, width), 2.0F);
            case_input(dtype, 3, DIMS(s.batch, s.keys, value_width), 2.0F);
        } else if (form == 1) {
            case_input(dtype, 4, DIMS(s.batch, s.heads, s.keys, s.depth), 2.0F);
            case_input(dtype, 4, DIMS(s.batch, s.heads, s.keys, s.value_depth), 2.0F);
        } else {
            case_input(dtype, 5, DIMS(s.batch, s.keys, s.heads, 2, s.depth), 2.0F);
            case_absent();
        }
    }
    if (has(variant, 3))
        case_input(dtype, 1, DIMS(2 * width + value_width), 1.0F);
    else
        case_absent();
    ms_mask(&s, mask, false);
    if (has(variant, 4))
        case_input(dtype, 4, DIMS(variant & 1 ? s.batch : 1, variant & 2 ? s.heads : 1, s.queries, keys), 2.0F);
    else
        case_absent();
    if (s.past) {
        case_input(dtype, 4, DIMS(s.batch, s.heads, s.past, s.depth), 2.0F);
        case_input(dtype, 4, DIMS(s.batch, s.heads, s.past, s.value_depth), 2.0F);
    }
    loosened(case_output(dtype, 3, DIMS(s.batch, s.queries, value_width)), 6);
    if (has(variant, 5) || has(variant, 6)) {
        case_output(dtype, 4, DIMS(s.batch, s.heads, keys, s.depth));
        case_output(dtype, 4, DIMS(s.batch, s.heads, keys, s.value_depth));
    }
    if (has(variant, 6)) loosened(case_output(dtype, 4, DIMS(s.batch, s.heads, s.queries, keys)), 6);
    node_case_compare();
}

static void multi_head_attention_agrees_with_the_reference(void **state) {
    unsigned variant = 0;
    for (int form = 0; form < 4; form++) {
        for (unsigned mask = 0; mask < 7; mask++, variant += 29) {
            sizes small = {2, 2, 2, 4, form < 2 ? 3 : 4, 3, form == 3 ? 3 : 5, variant % 3};
            multi_head_case(BERT_FLOAT, small, form, mask, variant & 127);
            multi_head_case(BERT_FLOAT, small, form, mask, ~variant & 127);
            sizes wide = {1, 3, 3, 64, 64, 17, form == 3 ? 17 : 33, variant % 2 * 4};
            multi_head_case(form % 2 ? BERT_FLOAT16 : BERT_BFLOAT16, wide, form, mask, variant >> 1 & 63);
        }
    }
}

static void rows_that_are_masked_as_a_whole_are_means(void **state) {
    /* The lowest float swallows the scores beside it: also in 16 bits, which have no such number. */
    const int32_t nothing[] = {0, 0, 0, 0};
    for (int i = 0; i < 3; i++) {
        const bert_dtype dtype = i == 0 ? BERT_FLOAT : i == 1 ? BERT_FLOAT16 : BERT_BFLOAT16;
        case_begin(BERT_OP_MS_MultiHeadAttention);
        case_int("num_heads", 1);
        case_float("mask_filter_value", -FLT_MAX);
        for (int j = 0; j < 3; j++) case_input(dtype, 3, DIMS(1, 4, 64), 2.0F);
        case_absent();
        case_input_of(BERT_INT32, 2, DIMS(1, 4), nothing);
        case_output(dtype, 3, DIMS(1, 4, 64));
        node_case_compare();
    }
}

/* ---- Attention and QAttention ------------------------------------------------------------------------------------ */

/* Bits of `variant`: those of ms_attributes; 3 a bias of the scores, 4 a present, 5 sizes of their own for Q, K and V.
 */
static void ms_case(bert_dtype dtype, sizes s, unsigned mask, unsigned variant) {
    const int64_t width = s.heads * s.depth, inner = 6;
    s.keys = s.queries;
    if (!has(variant, 5) || s.past || has(variant, 4)) s.value_depth = s.depth;
    const int64_t listed[3] = {width, width, s.heads * s.value_depth}, columns = 2 * width + listed[2];
    case_begin(BERT_OP_MS_Attention);
    ms_attributes(&s, mask, variant);
    if (has(variant, 5)) case_ints("qkv_hidden_sizes", listed, 3);
    case_input(dtype, 3, DIMS(s.batch, s.queries, inner), 1.0F);
    case_input(dtype, 2, DIMS(inner, columns), 0.7F);
    if (variant % 3)
        case_input(dtype, 1, DIMS(columns), 0.5F);
    else
        case_absent();
    ms_mask(&s, mask, true);
    if (s.past)
        case_input(dtype, 5, DIMS(2, s.batch, s.heads, s.past, s.depth), 1.0F);
    else
        case_absent();
    if (has(variant, 3)) case_input(dtype, 4, DIMS(1, s.heads, s.queries, s.past + s.keys), 2.0F);
    loosened(case_output(dtype, 3, DIMS(s.batch, s.queries, listed[2])), 8);
    if (s.past || has(variant, 4))
        loosened(case_output(dtype, 5, DIMS(2, s.batch, s.heads, s.past + s.keys, s.depth)), 4);
    node_case_compare();
}

static void q_case(bert_dtype dtype, sizes s, unsigned mask, unsigned variant) {
    const int64_t width = s.heads * s.depth, inner = 300; /* more than sums are exact over at a time */
    s.keys = s.queries;
    case_begin(BERT_OP_MS_QAttention);
    ms_attributes(&s, mask, variant);
    const float scale = 0.01F;
    case_input(variant & 8 ? BERT_INT8 : BERT_UINT8, 3, DIMS(s.batch, s.queries, inner), 127);
    case_input(variant & 16 ? BERT_INT8 : BERT_UINT8, 2, DIMS(inner, 3 * width), 127);
    case_input(dtype, 1, DIMS(3 * width), 0.5F);
    case_input_floats(dtype, 0, NULL, &scale);
    case_input(dtype, 1, DIMS(variant & 32 ? 3 * width : 1), 0.002F);
    ms_mask(&s, mask, true);
    case_input(variant & 8 ? BERT_INT8 : BERT_UINT8, 0, NULL, 127);
    case_input(variant & 16 ? BERT_INT8 : BERT_UINT8, 1, DIMS(variant & 32 ? 3 * width : 1), 127);
    if (s.past) case_input(dtype, 5, DIMS(2, s.batch, s.heads, s.past, s.depth), 1.0F);
    loosened(case_output(dtype, 3, DIMS(s.batch, s.queries, width)), 16);
    if (s.past) loosened(case_output(dtype, 5, DIMS(2, s.batch, s.heads, s.past + s.keys, s.depth)), 4);
    node_case_compare();
}

static void ms_attention_agrees_with_the_reference(void **state) {
    unsigned variant = 0;
    for (unsigned mask = 0; mask < MS_MASKS; mask++) {
        for (int i = 0; i < 4; i++, variant += 23) {
            const sizes s = {2, 2, 2, 4, 3, i == 2 ? 1 : 5, 0, i % 2 * 3};
            ms_case(i == 3 ? BERT_FLOAT16 : BERT_FLOAT, s, mask, variant & 63);
            q_case(i == 3 ? BERT_FLOAT16 : BERT_FLOAT, s, mask, variant & 63);
        }
    }
    ms_case(BERT_BFLOAT16, (sizes){1, 2, 2, 64, 64, 20, 0, 0}, 4, 0);
}

/* ---- PackedAttention --------------------------------------------------------------------------------------------- */

static void packed_case(bert_dtype dtype, int64_t depth, unsigned variant) {
    const int32_t starts[] = {0, 4, 4, 9, 10};
    const int64_t heads = 2, width = heads * depth, value_width = heads * (has(variant, 0) ? depth + 1 : depth);
    const int64_t listed[3] = {width, width, value_width}, columns = 2 * width + value_width;
    case_begin(BERT_OP_MS_PackedAttention);
    case_int("num_heads", heads);
    if (has(variant, 0)) case_ints("qkv_hidden_sizes", listed, 3);
    if (has(variant, 1)) case_float("scale", 0.4F);
    case_input(dtype, 2, DIMS(10, 6), 1.0F);
    case_input(dtype, 2, DIMS(6, columns), 0.7F);
    case_input(dtype, 1, DIMS(columns), 0.5F);
    case_input(BERT_INT32, 2, DIMS(4, 6), 1);
    case_input_of(BERT_INT32, 1, DIMS(5), starts);
    if (has(variant, 2)) case_input(dtype, 4, DIMS(has(variant, 1) ? 4 : 1, heads, 6, 6), 2.0F);
    loosened(case_output(dtype, 2, DIMS(10, value_width)), 8);
    node_case_compare();
}

static void packed_attention_agrees_with_the_reference(void **state) {
    for (unsigned variant = 0; variant < 8; variant++) packed_case(BERT_FLOAT, 5, variant);
    packed_case(BERT_FLOAT16, 64, 6);
    packed_case(BERT_BFLOAT16, 32, 4);
}

/* Products of whatever y has in rows that are no sequence's are measured, and held against each other. */
static void rows_of_no_sequence_are_cleared_where_they_are_measured(void **state) {
    enum { ROWS = 8, REAL = 6, WIDTH = 4 };
    const int32_t starts[] = {0, 2, REAL}, tokens[ROWS] = {0, 1, 4, 5, 6, 7, 7, 7};
    case_begin(BERT_OP_BERTC_Attention);
    case_int("heads", 2);
    case_int("packed", 1);
    case_int("sequence", 4);
    case_input(BERT_FLOAT, 3, DIMS(1, ROWS, 3 * WIDTH), 1.0F);
    for (int i = 1; i < BERT_ATTENTION_STARTS; i++) case_absent();
    case_input_of(BERT_INT32, 1, DIMS(3), starts);
    case_input_of(BERT_INT32, 1, DIMS(ROWS), tokens);
    case_tensor *y = case_output(BERT_FLOAT, 3, DIMS(1, ROWS, WIDTH));
    node_case_run_filled();
    const float *got = case_fetch(y);
    for (int i = 0; i < ROWS * WIDTH; i++) assert_int_equal(got[i] == 0, i >= REAL * WIDTH);
}

static void offsets_that_are_wrong_are_reported(void **state) {
    static const int32_t wrong[][3] = {{1, 3, 6}, {0, 7, 6}, {0, 3, 5}, {0, 4, 7}, {0, -1, 6}, {0, 0, 6}};
    static const int at[] = {0, 1, 2, 2, 1, 2};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        case_begin(BERT_OP_MS_PackedAttention);
        case_int("num_heads", 1);
        case_input(BERT_FLOAT, 2, DIMS(6, 2), 1.0F);
        case_input(BERT_FLOAT, 2, DIMS(2, 6), 1.0F);
        case_input(BERT_FLOAT, 1, DIMS(6), 1.0F);
        case_input(BERT_INT32, 2, DIMS(2, 5), 1);
        case_input_of(BERT_INT32, 1, DIMS(3), wrong[i]);
        case_output(BERT_FLOAT, 2, DIMS(6, 2));
        char says[160];
        snprintf(says, sizeof says,
                 "node node (PackedAttention): cumulative length %d at position %d of input 4 doesn't divide the 6 "
                 "tokens into sequences",
                 (int)wrong[i][at[i]], at[i]);
        node_case_expect_invalid(says);
    }
}

static void a_projection_that_no_memory_holds_is_left(void **state) {
    for (int i = 0; i < 2; i++) { /* more elements than int64 counts; more bytes */
        case_begin(BERT_OP_MS_PackedAttention);
        case_int("num_heads", 1);
        case_input(BERT_FLOAT16, 2, DIMS(INT64_C(1) << (i ? 59 : 62), 0), 1.0F);
        case_input(BERT_FLOAT16, 2, DIMS(0, 12), 1.0F);
        case_input(BERT_FLOAT16, 1, DIMS(12), 1.0F);
        case_input(BERT_INT32, 2, DIMS(1, 2), 1);
        case_input(BERT_INT32, 1, DIMS(2), 1);
        case_absent_output();
        node_case_expect_too_large();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onnx_attention_agrees_with_the_reference),
        cmocka_unit_test(multi_head_attention_agrees_with_the_reference),
        cmocka_unit_test(rows_that_are_masked_as_a_whole_are_means),
        cmocka_unit_test(ms_attention_agrees_with_the_reference),
        cmocka_unit_test(packed_attention_agrees_with_the_reference),
        cmocka_unit_test(rows_of_no_sequence_are_cleared_where_they_are_measured),
        cmocka_unit_test(offsets_that_are_wrong_are_reported),
        cmocka_unit_test(a_projection_that_no_memory_holds_is_left),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
