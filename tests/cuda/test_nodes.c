/* Operators that several kernels make, or that a planner has forms of, as the provider plans and runs them. */
#include "core/graph/canonical.h"
#include "tests/cuda/node_case.h"

#include <math.h>
#include <stdio.h>

/* ---- RotaryEmbedding --------------------------------------------------------------------------------------------- */

/* Bits of `variant`: 0 com.microsoft's, 1 heads apart, 2 interleaved, 3 a part of each head, 4 no ids, or (of
 * com.microsoft's, which has them) one id alone. */
static void rotary_case(bert_dtype dtype, int64_t batch, int64_t heads, int64_t rows, int64_t half, unsigned variant) {
    const bool microsoft = has(variant, 0), part = has(variant, 3), one = has(variant, 4);
    const int64_t rest = half % 8 ? 3 : 8, depth = 2 * half + (part ? rest : 0), positions = rows + 2;
    int64_t ids[64];
    for (int64_t i = 0; i < batch * rows; i++) ids[i] = (i * 5 + 1) % positions;
    case_begin(microsoft ? BERT_OP_MS_RotaryEmbedding : BERT_OP_RotaryEmbedding);
    if (!has(variant, 1) && (!microsoft || part)) case_int("num_heads", heads);
    if (has(variant, 2)) case_int("interleaved", 1);
    if (part) case_int("rotary_embedding_dim", 2 * half);
    if (has(variant, 1))
        case_input(dtype, 4, DIMS(batch, heads, rows, depth), 2.0F);
    else
        case_input(dtype, 3, DIMS(batch, rows, heads * depth), 2.0F);
    if (microsoft) case_input_of(BERT_INT64, one ? 1 : 2, one ? DIMS(1) : DIMS(batch, rows), ids);
    for (int i = 0; i < 2; i++) {
        if (one && !microsoft)
            case_input(dtype, 3, DIMS(batch, rows, half), 1.0F);
        else
            case_input(dtype, 2, DIMS(positions, half), 1.0F);
    }
    if (!microsoft && !one) case_input_of(BERT_INT64, 2, DIMS(batch, rows), ids);
    if (has(variant, 1))
        case_output(dtype, 4, DIMS(batch, heads, rows, depth));
    else
        case_output(dtype, 3, DIMS(batch, rows, heads * depth));
    node_case_compare();
}

static void rotary_embedding_agrees_with_the_reference(void **state) {
    static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16, BERT_DOUBLE};
    for (unsigned variant = 0; variant < 32; variant++) {
        rotary_case(dtypes[variant % 4], 2, 3, 5, 4, variant);
        rotary_case(dtypes[(variant / 4) % 4], 1, 1, variant % 2 + 1, variant % 3 + 1, variant);
        rotary_case(dtypes[variant / 2 % 4], 2, 2, 3, 16, variant); /* by 16 bytes, what stays of a head too */
    }
    rotary_case(BERT_FLOAT, 2, 5, 7, 65, 2); /* more than a block */
}

static void positions_outside_the_cache_are_reported(void **state) {
    for (int i = 0; i < 3; i++) {
        const int64_t wrong[2] = {0, i == 0 ? 3 : i == 1 ? -1 : INT64_MAX};
        char says[160];
        case_begin(BERT_OP_RotaryEmbedding);
        case_int("num_heads", 1);
        case_input(BERT_FLOAT, 3, DIMS(1, 2, 4), 1.0F);
        for (int j = 0; j < 2; j++) case_input(BERT_FLOAT, 2, DIMS(3, 2), 1.0F);
        case_input_of(BERT_INT64, 2, DIMS(1, 2), wrong);
        case_output(BERT_FLOAT, 3, DIMS(1, 2, 4));
        snprintf(says, sizeof says,
                 "node node (RotaryEmbedding): position id %lld at position 1 of input 3 is outside the 3 rows of the "
                 "rotary caches",
                 (long long)wrong[1]);
        node_case_expect_invalid(says);
    }
    const int64_t first = 2; /* and the next is 3 */
    case_begin(BERT_OP_MS_RotaryEmbedding);
    case_int("num_heads", 1);
    case_input(BERT_FLOAT, 3, DIMS(1, 2, 4), 1.0F);
    case_input_of(BERT_INT64, 1, DIMS(1), &first);
    for (int j = 0; j < 2; j++) case_input(BERT_FLOAT, 2, DIMS(3, 2), 1.0F);
    case_output(BERT_FLOAT, 3, DIMS(1, 2, 4));
    node_case_expect_invalid("position id 3 at position 0 of input 1 is outside the 3 rows");
}

/* ---- EmbedLayerNormalization ------------------------------------------------------------------------------------- */

/* Bits of `variant`: 0 segments, 1 mask, 2 position ids, 3 of one row, 4 the sum. */
static void embed_case(bert_dtype dtype, int64_t batch, int64_t length, int64_t width, unsigned variant) {
    case_begin(BERT_OP_MS_EmbedLayerNormalization);
    case_float("epsilon", 1e-5F);
    case_input(BERT_INT32, 2, DIMS(batch, length), 11);
    if (has(variant, 0))
        case_input(BERT_INT32, 2, DIMS(batch, length), 2);
    else
        case_absent();
    case_input(dtype, 2, DIMS(11, width), 2.0F);
    case_input(dtype, 2, DIMS(length + 1, width), 2.0F);
    if (has(variant, 0))
        case_input(dtype, 2, DIMS(2, width), 2.0F);
    else
        case_absent();
    for (int i = 0; i < 2; i++) case_input(dtype, 1, DIMS(width), 1.0F);
    if (has(variant, 1))
        case_input(BERT_INT32, 2, DIMS(batch, length), 3); /* 2 counts for nothing */
    else if (has(variant, 2))
        case_absent();
    if (has(variant, 2)) case_input(BERT_INT32, 2, DIMS(has(variant, 3) ? 1 : batch, length), (float)length);
    loosened(case_output(dtype, 3, DIMS(batch, length, width)), 4);
    case_output(BERT_INT32, 1, DIMS(batch));
    if (has(variant, 4)) loosened(case_output(dtype, 3, DIMS(batch, length, width)), 2);
    node_case_compare();
}

static void q_embed_case(bert_dtype table, bert_dtype dtype, int64_t width, bool segments, bool mask) {
    const int64_t batch = 2, length = 5;
    case_begin(BERT_OP_MS_QEmbedLayerNormalization);
    case_input(BERT_INT32, 2, DIMS(batch, length), 11);
    if (segments)
        case_input(BERT_INT32, 2, DIMS(batch, length), 2);
    else
        case_absent();
    case_input(table, 2, DIMS(11, width), 127);
    case_input(table, 2, DIMS(length, width), 127);
    if (segments)
        case_input(table, 2, DIMS(2, width), 127);
    else
        case_absent();
    for (int i = 0; i < 2; i++) case_input(table, 1, DIMS(width), 127);
    if (mask)
        case_input(BERT_INT32, 2, DIMS(batch, length), 2);
    else
        case_absent();
    for (int part = 0; part < 2; part++) { /* scales, then zero points */
        for (int i = 0; i < 5; i++) {
            const float scale = 0.01F + 0.003F * (float)i;
            if (i == 2 && !segments)
                case_absent();
            else if (part == 0)
                case_input_floats(dtype, 0, NULL, &scale);
            else
                case_input(table, 0, NULL, 127);
        }
    }
    loosened(case_output(dtype, 3, DIMS(batch, length, width)), 8);
    case_output(BERT_INT32, 1, DIMS(batch));
    node_case_compare();
}

static void embed_layer_normalization_agrees_with_the_reference(void **state) {
    static const int64_t widths[] = {1, 7, 64, 1025};
    for (unsigned variant = 0; variant < 32; variant++) {
        embed_case(BERT_FLOAT, 2, 3, widths[variant % 3 + (variant % 7 == 0)], variant);
        if (variant % 4 == 1) embed_case(variant % 8 == 1 ? BERT_FLOAT16 : BERT_BFLOAT16, 1, 4, 32, variant);
    }
    for (int i = 0; i < 8; i++)
        q_embed_case(i & 1 ? BERT_INT8 : BERT_UINT8, i == 6 ? BERT_FLOAT16 : BERT_FLOAT, widths[i % 4], i & 2, i & 4);
}

/* Two rows of 16-bit numbers have an exact sum, so that no bit is off. */
static void tables_of_bytes_have_the_type_of_their_scale(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    enum { ROWS = 9, WIDTH = 40 };
    for (int i = 0; i < 12; i++) {
        const bert_dtype type = types[i % 3];
        case_begin(BERT_OP_BERTC_Embedding);
        for (int table = 0; table < 2; table++) {
            case_input(BERT_INT64, 2, DIMS(2, 5), ROWS);
            case_input(i & 1 ? BERT_INT8 : BERT_UINT8, 2, DIMS(ROWS, WIDTH), 127);
            case_known();
        }
        for (int input = BERT_EMBEDDING_TYPE_IDS; input <= BERT_EMBEDDING_BETA; input++) case_absent();
        for (int table = 0; table < 2; table++) {
            case_input(type, 2, DIMS(i & 2 ? ROWS : 1, i & 4 ? WIDTH : 1), 0.1F);
            case_known();
            case_absent();
        }
        case_output(type, 3, DIMS(2, 5, WIDTH))->tolerance = type == BERT_FLOAT ? 1e-6F : 0;
        node_case_compare();
    }
}

static void ids_outside_their_table_are_reported(void **state) {
    static const int32_t ids[] = {1, 4, 1, -1}, positions[] = {0, 7}; /* none counts from the end */
    static const char *const says[] = {
        "(EmbedLayerNormalization): id 4 at position 1 of input 0 is outside the 4 rows of the table",
        "(EmbedLayerNormalization): id 7 at position 1 of input 8 is outside the 2 rows of the table",
        "2 tokens, and a table of 1 positions",
        "(EmbedLayerNormalization): id -1 at position 1 of input 0 is outside the 4 rows of the table",
    };
    for (int i = 0; i < 4; i++) {
        case_begin(BERT_OP_MS_EmbedLayerNormalization);
        if (i % 3 == 0)
            case_input_of(BERT_INT32, 2, DIMS(1, 2), i ? ids + 2 : ids);
        else
            case_input(BERT_INT32, 2, DIMS(1, 2), 1);
        case_absent();
        case_input(BERT_FLOAT, 2, DIMS(4, 3), 1.0F);
        case_input(BERT_FLOAT, 2, DIMS(i == 2 ? 1 : 2, 3), 1.0F);
        case_absent();
        for (int j = 0; j < 2; j++) case_input(BERT_FLOAT, 1, DIMS(3), 1.0F);
        case_absent();
        if (i == 1) case_input_of(BERT_INT32, 2, DIMS(1, 2), positions);
        case_output(BERT_FLOAT, 3, DIMS(1, 2, 3));
        node_case_expect_invalid(says[i]);
    }
}

/* ---- RemovePadding, RestorePadding ------------------------------------------------------------------------------- */

static void remove_case(bert_dtype dtype, int64_t width, const int32_t *counts, int64_t batch, int64_t length) {
    int64_t total = 0;
    for (int64_t i = 0; i < batch; i++) total += counts[i];
    case_begin(BERT_OP_MS_RemovePadding);
    case_input(dtype, 3, DIMS(batch, length, width), 2.0F);
    case_input_of(BERT_INT32, 1, DIMS(batch), counts);
    case_known();
    case_output(dtype, 2, DIMS(total, width));
    case_output(BERT_INT32, 2, DIMS(batch, length));
    case_output(BERT_INT32, 1, DIMS(batch + 1));
    case_output(BERT_INT32, 1, DIMS(1));
    node_case_compare();
}

static void padding_goes_and_comes_as_in_the_reference(void **state) {
    static const int32_t counts[] = {3, 0, 5, 1}, none[] = {0, 0};
    static const int32_t offsets[] = {4, 0, 7, 5, 2, 1, 3, 6, 8, 9};
    remove_case(BERT_FLOAT, 1, counts, 4, 5);
    remove_case(BERT_FLOAT16, 8, counts, 4, 6);
    remove_case(BERT_DOUBLE, 3, counts, 1, 3);
    remove_case(BERT_FLOAT, 4, none, 2, 3);
    for (int i = 0; i < 6; i++) {
        const bert_dtype dtype = i % 3 == 0 ? BERT_FLOAT : i % 3 == 1 ? BERT_BFLOAT16 : BERT_DOUBLE;
        case_begin(BERT_OP_MS_RestorePadding);
        case_input(dtype, 2, DIMS(i * 2, i + 1), 2.0F);
        case_input_of(BERT_INT32, 2, DIMS(2, 5), offsets);
        case_output(dtype, 3, DIMS(2, 5, i + 1));
        node_case_compare();
    }
    static const int32_t below[] = {0, 2, -1, 3};
    for (int i = 0; i < 2; i++) {
        case_begin(BERT_OP_MS_RestorePadding);
        case_input(BERT_FLOAT, 2, DIMS(3, 2), 2.0F);
        case_input_of(BERT_INT32, 2, DIMS(1, 4), i ? below : offsets);
        case_output(BERT_FLOAT, 3, DIMS(1, 4, 2));
        node_case_expect_invalid(i ? "(RestorePadding): offset -1 at position 2 of input 1 is outside the 4 places"
                                   : "(RestorePadding): offset 4 at position 0 of input 1 is outside the 4 places");
    }
}

/* ---- LayerNormalization that the kernel hasn't ------------------------------------------------------------------- */

static void layer_norm_of_any_type_and_shape_agrees_with_the_reference(void **state) {
    static const bert_dtype dtypes[] = {BERT_DOUBLE, BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    static const bert_op_id ops[] = {BERT_OP_LayerNormalization, BERT_OP_RMSNormalization,
                                     BERT_OP_SimplifiedLayerNormalization};
    for (int i = 0; i < 36; i++) {
        const bert_dtype x = dtypes[i % 4], gamma = i % 3 ? x : BERT_FLOAT;
        const bert_op_id op = ops[i % 3];
        const bool apart = i % 5 == 0 || (x == gamma && x != BERT_DOUBLE); /* gamma is no row */
        case_begin(op);
        case_int("axis", i % 2 ? -1 : 1);
        case_input(x, 3, DIMS(3, 4, 7), 2.0F);
        if (apart)
            case_input(gamma, i % 2 ? 3 : 2, i % 2 ? DIMS(3, 1, 7) : DIMS(4, 1), 1.0F);
        else
            case_input(gamma, i % 2 ? 1 : 2, i % 2 ? DIMS(7) : DIMS(4, 7), 1.0F);
        if (op == BERT_OP_LayerNormalization && i & 4) case_input(gamma, 1, DIMS(1), 1.0F);
        const bert_dtype statistics = x == BERT_DOUBLE ? BERT_DOUBLE : BERT_FLOAT;
        loosened(case_output(op == BERT_OP_LayerNormalization ? x : gamma, 3, DIMS(3, 4, 7)), 2);
        if (op == BERT_OP_LayerNormalization)
            loosened(case_output(statistics, 3, i % 2 ? DIMS(3, 4, 1) : DIMS(3, 1, 1)), 2);
        if (op != BERT_OP_RMSNormalization)
            loosened(case_output(statistics, 3, i % 2 ? DIMS(3, 4, 1) : DIMS(3, 1, 1)), 2);
        node_case_compare();
    }
}

static void skips_that_sequences_share_agree_with_the_reference(void **state) {
    static const bert_op_id ops[] = {BERT_OP_BERTC_SkipLayerNormalization, BERT_OP_MS_SkipLayerNormalization,
                                     BERT_OP_MS_SkipSimplifiedLayerNormalization};
    for (int i = 0; i < 18; i++) {
        const bert_dtype dtype = i % 4 == 0 ? BERT_DOUBLE : i % 4 == 1 ? BERT_FLOAT16 : BERT_FLOAT;
        const bert_op_id op = ops[i % 3];
        case_begin(op);
        if (op == BERT_OP_BERTC_SkipLayerNormalization && i & 1) case_int("simplified", 1);
        case_input(dtype, 3, DIMS(2, 3, 9), 2.0F);
        case_input(dtype, i & 2 ? 2 : 3, i & 2 ? DIMS(3, 9) : DIMS(1, 3, 9), 2.0F);
        for (int j = op == BERT_OP_MS_SkipSimplifiedLayerNormalization; j < (i & 4 ? 3 : 2); j++)
            case_input(dtype, 1, DIMS(9), 1.0F);
        loosened(case_output(dtype, 3, DIMS(2, 3, 9)), 3);
        for (int j = 1; op != BERT_OP_BERTC_SkipLayerNormalization && j < 3; j++) case_absent_output();
        loosened(case_output(dtype, 3, DIMS(2, 3, 9)), 2);
        node_case_compare();
    }
}

/* ---- What operators may leave out, and old spellings ------------------------------------------------------------- */

static void blocks_that_dont_fill_their_axis_agree_with_the_reference(void **state) {
    for (int i = 0; i < 12; i++) {
        const int64_t axis = i % 3, block = i % 2 ? 2 : 3;
        int64_t dims[3] = {5, 7, 11}, blocks[3] = {5, 7, 11};
        blocks[axis] = (dims[axis] + block - 1) / block;
        case_begin(i & 1 ? BERT_OP_QuantizeLinear : BERT_OP_DequantizeLinear);
        case_int("axis", axis);
        case_int("block_size", block);
        case_input(i & 1 ? BERT_FLOAT : BERT_INT8, 3, dims, 100);
        case_input(BERT_FLOAT, 3, blocks, 1.0F);
        if (i & 4) case_input(BERT_INT8, 3, blocks, 9);
        case_output(i & 1 ? i & 4 ? BERT_INT8 : BERT_UINT8 : BERT_FLOAT, 3, dims);
        node_case_compare();
    }
}

static void parts_and_outputs_that_nobody_reads_are_left_out(void **state) {
    static const int64_t sizes[] = {1, 2, 4};
    for (int i = 0; i < 4; i++) {
        case_begin(BERT_OP_Split);
        case_int("axis", 1);
        case_input(BERT_FLOAT, 2, DIMS(2, 7), 1.0F);
        if (i & 1) {
            case_input_of(BERT_INT64, 1, DIMS(3), sizes);
            case_known();
        } else {
            case_int("num_outputs", 3);
        }
        if (i & 2)
            case_output(BERT_FLOAT, 2, DIMS(2, i & 1 ? 1 : 3));
        else
            case_absent_output();
        case_absent_output();
        case_output(BERT_FLOAT, 2, DIMS(2, i & 1 ? 4 : 1));
        node_case_compare();
    }
    for (int kept = 1; kept < 8; kept++) {
        case_begin(BERT_OP_DynamicQuantizeLinear);
        case_input(BERT_FLOAT, 2, DIMS(3, 5), 2.0F);
        for (int i = 0; i < 3; i++) {
            if (!(kept >> i & 1))
                case_absent_output();
            else if (i == 0)
                case_output(BERT_UINT8, 2, DIMS(3, 5));
            else
                case_output(i == 1 ? BERT_FLOAT : BERT_UINT8, 0, NULL);
        }
        node_case_compare();
    }
}

static void numbers_in_attributes_have_the_type_of_the_input(void **state) {
    static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_DOUBLE, BERT_BFLOAT16};
    static const int64_t pads[] = {1, 0, 2, 1};
    for (int i = 0; i < 16; i++) {
        case_begin(BERT_OP_Clip);
        case_opset(6);
        if (i & 4) case_float("min", -0.4F);
        if (i & 8) case_float("max", 0.7F);
        case_input(dtypes[i % 4], 2, DIMS(3, 5), 2.0F);
        case_output(dtypes[i % 4], 2, DIMS(3, 5));
        node_case_compare();
        case_begin(BERT_OP_Pad);
        case_opset(10);
        case_ints("pads", pads, 4);
        case_float("value", 0.3F);
        case_input(dtypes[i % 4], 2, DIMS(3, 2), 2.0F);
        case_output(dtypes[i % 4], 2, DIMS(6, 3));
        node_case_compare();
    }
}

/* ---- DynamicQuantizeLinear --------------------------------------------------------------------------------------- */

static void a_range_of_nothing_has_a_scale(void **state) {
    for (int i = 0; i < 2; i++) {
        case_begin(BERT_OP_DynamicQuantizeLinear);
        case_input(BERT_FLOAT, 2, i ? DIMS(0, 4) : DIMS(3, 0), 1.0F);
        case_output(BERT_UINT8, 2, i ? DIMS(0, 4) : DIMS(3, 0));
        case_output(BERT_FLOAT, 0, NULL);
        case_output(BERT_UINT8, 0, NULL);
        node_case_compare();
    }
}

/* More than one block would read the ranges of: several join theirs first. */
static void ranges_of_many_rows_are_joined_in_parts(void **state) {
    enum { MANY = 8200 };
    case_begin(BERT_OP_DynamicQuantizeLinear);
    case_input(BERT_FLOAT, 2, DIMS(MANY, 1), 1.0F);
    case_output(BERT_UINT8, 2, DIMS(MANY, 1));
    case_output(BERT_FLOAT, 0, NULL);
    case_output(BERT_UINT8, 0, NULL);
    node_case_compare_launching("join_kernel", 1);
}

/* ---- Pool -------------------------------------------------------------------------------------------------------- */

/* Sequences of tokens that a mask counts, and rows that are all that there is. */
static void pooling_agrees_with_the_reference(void **state) {
    static const char *const poolings[] = {"mean", "max", "first"};
    static const bert_dtype floats[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    static const bert_dtype masks[] = {BERT_INT64, BERT_INT32, BERT_BOOL};
    static const int32_t starts[] = {0, 4, 4, 15};
    for (int i = 0; i < 24; i++) {
        const bert_dtype dtype = floats[i % 3], mask = i % 5 ? masks[i / 3 % 3] : dtype;
        case_begin(BERT_OP_BERTC_Pool);
        case_string("pooling", poolings[i / 2 % 3]);
        if (i % 2) case_int("normalize", 1);
        if (i % 4 == 3) case_float("epsilon", 2.5F);
        case_input(dtype, 3, i < 18 ? DIMS(3, 5, 33) : DIMS(1, 15, 33), 2.0F);
        if (i < 18) {
            case_input(mask, 2, DIMS(3, 5), 2.0F);
        } else {
            case_absent();
            case_input_of(BERT_INT32, 1, DIMS(4), starts);
        }
        case_output(dtype, 2, DIMS(3, 33));
        node_case_compare();
    }
}

static void a_pooled_vector_with_a_nan_has_no_length(void **state) {
    static const float x[] = {3, NAN, 5, 4, 3, 0};
    case_begin(BERT_OP_BERTC_Pool);
    case_string("pooling", "mean");
    case_int("normalize", 1);
    case_input_of(BERT_FLOAT, 3, DIMS(2, 1, 3), x);
    case_output(BERT_FLOAT, 2, DIMS(2, 3));
    node_case_compare();
}

/* ---- Lookup ------------------------------------------------------------------------------------------------------ */

/* By a table that is constant, as passes have it, or comes with a run; bytes are bytes in every precision. */
static void bytes_are_looked_up_as_in_the_reference(void **state) {
    static const int64_t dims[][3] = {{2, 5, 33}, {1, 1, 1}, {2, 0, 3}};
    for (int i = 0; i < 24; i++) {
        const bert_dtype x = i & 1 ? BERT_INT8 : BERT_UINT8, y = i & 2 ? BERT_INT8 : BERT_UINT8;
        uint8_t bytes[2 * 5 * 33], table[BERT_LOOKUP_SIZE];
        for (int j = 0; j < 2 * 5 * 33; j++) bytes[j] = (uint8_t)(200 + j * 37);
        for (int j = 0; j < BERT_LOOKUP_SIZE; j++) table[j] = (uint8_t)(43 + j * 151);
        case_begin(BERT_OP_BERTC_Lookup);
        case_input_of(x, i < 21 ? 3 : 0, dims[i % 3], bytes);
        case_input_of(y, 1, DIMS(BERT_LOOKUP_SIZE), table);
        if (i & 4) case_known();
        case_output(y, i < 21 ? 3 : 0, dims[i % 3]);
        node_case_compare_in_launching(i & 8 ? BERT_PRECISION_FP16 : BERT_PRECISION_FP32, "lookup_kernel",
                                       i < 21 && i % 3 == 2 ? 0 : 1);
    }
}

/* ---- What is left ------------------------------------------------------------------------------------------------ */

static void what_has_no_kernel_is_left(void **state) {
    case_begin(BERT_OP_Attention);
    for (int i = 0; i < 3; i++) case_input(BERT_DOUBLE, 4, DIMS(1, 1, 2, 3), 1.0F);
    case_output(BERT_DOUBLE, 4, DIMS(1, 1, 2, 3));
    node_case_expect_left("the cuda provider's Attention computes in float32, float16 and bfloat16 only");
    case_begin(BERT_OP_DynamicQuantizeLinear);
    case_input(BERT_DOUBLE, 1, DIMS(3), 1.0F);
    case_output(BERT_UINT8, 1, DIMS(3));
    case_output(BERT_DOUBLE, 0, NULL);
    case_output(BERT_UINT8, 0, NULL);
    node_case_expect_left("computes in float32, float16 and bfloat16 only");
    case_begin(BERT_OP_BERTC_Pool);
    case_string("pooling", "mean");
    case_input(BERT_DOUBLE, 3, DIMS(1, 2, 3), 1.0F);
    case_output(BERT_DOUBLE, 2, DIMS(1, 3));
    node_case_expect_left("the cuda provider's Pool computes in float32, float16 and bfloat16 only");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotary_embedding_agrees_with_the_reference),
        cmocka_unit_test(positions_outside_the_cache_are_reported),
        cmocka_unit_test(embed_layer_normalization_agrees_with_the_reference),
        cmocka_unit_test(tables_of_bytes_have_the_type_of_their_scale),
        cmocka_unit_test(ids_outside_their_table_are_reported),
        cmocka_unit_test(padding_goes_and_comes_as_in_the_reference),
        cmocka_unit_test(layer_norm_of_any_type_and_shape_agrees_with_the_reference),
        cmocka_unit_test(skips_that_sequences_share_agree_with_the_reference),
        cmocka_unit_test(blocks_that_dont_fill_their_axis_agree_with_the_reference),
        cmocka_unit_test(parts_and_outputs_that_nobody_reads_are_left_out),
        cmocka_unit_test(numbers_in_attributes_have_the_type_of_the_input),
        cmocka_unit_test(a_range_of_nothing_has_a_scale),
        cmocka_unit_test(ranges_of_many_rows_are_joined_in_parts),
        cmocka_unit_test(pooling_agrees_with_the_reference),
        cmocka_unit_test(a_pooled_vector_with_a_nan_has_no_length),
        cmocka_unit_test(bytes_are_looked_up_as_in_the_reference),
        cmocka_unit_test(what_has_no_kernel_is_left),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
