/* Nodes of float32 in sessions that hold it in 16 bits: what is rounded, what stays float32, as the provider plans and
 * runs them. */
#include "cuda/environment.h"
#include "tests/cuda/node_case.h"

/* Scales below what float16 has digits for: as constants they stay float32. */
enum { KEPT_CASES = 6 };

static void kept_scales_case(int which, float allowed) {
    const float scale = 0.0002F, small = 3.28e-7F, smaller = 2.09e-7F;
    switch (which) {
    case 0:
        case_begin(BERT_OP_QLinearMatMul);
        case_input(BERT_UINT8, 2, DIMS(3, 20), 255);
        case_input_floats(BERT_FLOAT, 0, NULL, &scale);
        case_known();
        case_input(BERT_UINT8, 0, NULL, 255);
        case_input(BERT_INT8, 2, DIMS(20, 4), 127);
        case_input_floats(BERT_FLOAT, 0, NULL, &small);
        case_known();
        case_input(BERT_INT8, 0, NULL, 127);
        case_input_floats(BERT_FLOAT, 0, NULL, &smaller);
        case_known();
        case_input(BERT_INT8, 0, NULL, 127);
        case_output(BERT_INT8, 2, DIMS(3, 4));
        break;
    case 1:
        case_begin(BERT_OP_MS_MatMulIntegerToFloat);
        case_input(BERT_UINT8, 2, DIMS(3, 2000), 255);
        case_input(BERT_INT8, 2, DIMS(2000, 4), 127);
        case_input(BERT_FLOAT, 0, NULL, 0.1F); /* of a run: as all tensors are */
        case_input_floats(BERT_FLOAT, 0, NULL, &small);
        case_known();
        case_output(BERT_FLOAT, 2, DIMS(3, 4))->tolerance = allowed;
        break;
    case 2:
        case_begin(BERT_OP_MS_QAttention);
        case_int("num_heads", 2);
        case_input(BERT_UINT8, 3, DIMS(2, 3, 500), 127);
        case_input(BERT_UINT8, 2, DIMS(500, 24), 127);
        case_input(BERT_FLOAT, 1, DIMS(24), 0.5F);
        case_known();
        case_input(BERT_FLOAT, 0, NULL, 1.5F);
        case_input_floats(BERT_FLOAT, 0, NULL, &small);
        case_known();
        case_output(BERT_FLOAT, 3, DIMS(2, 3, 8))->tolerance = 3 * allowed;
        break;
    case 3:
        case_begin(BERT_OP_DequantizeLinear);
        case_input(BERT_INT32, 2, DIMS(3, 4), 1e7F);
        case_input_floats(BERT_FLOAT, 0, NULL, &small);
        case_known();
        case_output(BERT_FLOAT, 2, DIMS(3, 4))->tolerance = allowed;
        break;
    case 4:
        case_begin(BERT_OP_MS_MatMulNBits);
        case_int("N", 1);
        case_int("K", 16);
        case_int("bits", 8);
        case_int("block_size", 16);
        case_input(BERT_FLOAT, 2, DIMS(3, 16), 3e3F);
        case_input(BERT_UINT8, 3, DIMS(1, 1, 16), 255);
        case_input_floats(BERT_FLOAT, 1, DIMS(1), &small);
        case_known();
        case_output(BERT_FLOAT, 2, DIMS(3, 1))->tolerance = 4 * allowed;
        break;
    default:
        case_begin(BERT_OP_MS_QEmbedLayerNormalization);
        case_input(BERT_INT32, 2, DIMS(2, 3), 4);
        case_absent();
        case_input(BERT_UINT8, 2, DIMS(4, 8), 255);
        case_input(BERT_UINT8, 2, DIMS(3, 8), 255);
        case_absent();
        for (int i = 0; i < 2; i++) case_input(BERT_UINT8, 1, DIMS(8), 255);
        case_absent();
        for (int i = 0; i < 5; i++) { /* how much of which table a row has follows from the scales */
            const float of[5] = {small, smaller, 0, 1.0F / 255, 1.0F / 255};
            if (i == 2)
                case_absent();
            else
                case_input_floats(BERT_FLOAT, 0, NULL, &of[i]);
            if (i != 2) case_known();
        }
        for (int i = 0; i < 5; i++) {
            if (i == 2)
                case_absent();
            else
                case_input(BERT_UINT8, 0, NULL, 127);
        }
        case_output(BERT_FLOAT, 3, DIMS(2, 3, 8))->tolerance = 4 * allowed;
    }
}

static void scales_that_are_constant_stay_float32(void **state) {
    for (int which = 0; which < KEPT_CASES; which++) {
        for (int i = 0; i < 2; i++) {
            kept_scales_case(which, i ? 8e-3F : 1e-3F);
            node_case_compare_in(i ? BERT_PRECISION_BF16 : BERT_PRECISION_FP16);
        }
    }
}

/* Every other planner of this page, once in 16 bits. */
static void sessions_of_16_bits_agree_with_the_reference(void **state) {
    const bool own = bert_cuda_environment_says(BERT_CUDA_LINEAR) != BERT_CUDA_LINEAR_LIBRARY;
    for (int i = 0; i < 2; i++) {
        const bert_precision precision = i ? BERT_PRECISION_BF16 : BERT_PRECISION_FP16;
        const float allowed = i ? 3e-2F : 4e-3F;
        case_begin(BERT_OP_MS_MatMulNBits);
        case_int("N", 5);
        case_int("K", 40);
        case_int("block_size", 16);
        case_input(BERT_FLOAT, 2, DIMS(3, 40), 1.0F);
        case_input(BERT_UINT8, 3, DIMS(5, 3, 8), 255);
        case_input(BERT_FLOAT, 1, DIMS(15), 0.01F);
        case_output(BERT_FLOAT, 2, DIMS(3, 5))->tolerance = allowed;
        node_case_compare_in(precision);
        case_begin(BERT_OP_LayerNormalization);
        case_input(BERT_FLOAT, 2, DIMS(3, 8), 2.0F);
        case_input(BERT_FLOAT, 1, DIMS(8), 1.0F);
        for (int j = 0; j < 3; j++) case_output(BERT_FLOAT, 2, DIMS(3, j ? 1 : 8))->tolerance = allowed;
        node_case_compare_in(precision);
        case_begin(BERT_OP_MS_EmbedLayerNormalization);
        case_input(BERT_INT32, 2, DIMS(2, 3), 4);
        case_input(BERT_INT32, 2, DIMS(2, 3), 2);
        for (int j = 0; j < 3; j++) case_input(BERT_FLOAT, 2, DIMS(5 - j, 8), 2.0F);
        for (int j = 0; j < 2; j++) case_input(BERT_FLOAT, 1, DIMS(8), 1.0F);
        case_output(BERT_FLOAT, 3, DIMS(2, 3, 8))->tolerance = allowed;
        case_absent_output();
        case_output(BERT_FLOAT, 3, DIMS(2, 3, 8))->tolerance = allowed;
        node_case_compare_in(precision);
        case_begin(BERT_OP_Attention);
        for (int j = 0; j < 3; j++) case_input(BERT_FLOAT, 4, DIMS(1, 2, 5, 32), 1.0F);
        case_input(BERT_FLOAT, 2, DIMS(5, 4), 1.0F);
        case_output(BERT_FLOAT, 4, DIMS(1, 2, 5, 32))->tolerance = allowed;
        node_case_compare_in(precision);
        case_begin(BERT_OP_MS_PackedAttention);
        const int32_t starts[] = {0, 4, 6};
        case_int("num_heads", 2);
        case_input(BERT_FLOAT, 2, DIMS(6, 8), 1.0F); /* as wide as our own product wants it, whose bias it adds */
        case_input(BERT_FLOAT, 2, DIMS(8, 24), 0.5F);
        case_input(BERT_FLOAT, 1, DIMS(24), 0.5F);
        case_input(BERT_INT32, 2, DIMS(2, 4), 1);
        case_input_of(BERT_INT32, 1, DIMS(3), starts);
        case_output(BERT_FLOAT, 2, DIMS(6, 8))->tolerance = allowed;
        node_case_compare_in_launching(precision, "tensor_product_kernel", own);
    }
}

/* ---- What bf16 holds in float32 ---------------------------------------------------------------------------------- */

/* The residual's digits are kept: it is so great that bfloat16 would lose more than is allowed. */
static void wide_residual_case(bert_op_id linear, bool weight_only, bool with_activation) {
    case_begin(linear);
    if (weight_only) case_int("weight_only", 1);
    if (with_activation) case_string("activation", "relu");
    case_input(BERT_FLOAT, 3, DIMS(1, 3, 24), 0.01F);
    case_input(BERT_FLOAT, 3, DIMS(1, 3, 5), 100.0F);
    if (linear == BERT_OP_BERTC_QuantizedLinear) {
        for (int i = 0; i < 2; i++) case_absent();
        case_input(BERT_INT8, 2, DIMS(24, 5), 127);
        case_known();
        case_input(BERT_FLOAT, 1, DIMS(5), 0.001F);
    } else {
        case_input(BERT_FLOAT, 2, DIMS(24, 5), 0.01F);
    }
    case_known();
    case_output(BERT_FLOAT, 3, DIMS(1, 3, 5))->tolerance = 1e-4F;
    node_case_compare_wide(2);
}

static void sums_with_a_wide_residual_are_wide(void **state) {
    for (int i = 0; i < 6; i++)
        wide_residual_case(i < 4 ? BERT_OP_BERTC_QuantizedLinear : BERT_OP_BERTC_Linear, i / 2 % 2, i % 2);
}

/* As a graph without passes has a residual: of tensors that are wide, or not. */
static void sums_of_two_tensors_are_wide(void **state) {
    for (unsigned wide = 0; wide < 4; wide++) {
        case_begin(BERT_OP_Add);
        for (int i = 0; i < 2; i++) case_input(BERT_FLOAT, 3, DIMS(2, 3, 37), 2.0F);
        case_output(BERT_FLOAT, 3, DIMS(2, 3, 37));
        node_case_compare_wide(wide);
    }
}

static void reductions_of_wide_tensors_are_wide(void **state) {
    static const bert_op_id ops[] = {BERT_OP_ReduceMean, BERT_OP_ReduceSumSquare, BERT_OP_ReduceMax};
    static const int64_t axis = -1;
    for (int i = 0; i < 6; i++) {
        const bool reduces = i < 3;
        case_begin(ops[i % 3]);
        case_opset(18);
        case_int("noop_with_empty_axes", 1);
        case_input(BERT_FLOAT, 2, DIMS(3, 131), 2.0F);
        case_input_of(BERT_INT64, 1, DIMS(reduces), &axis);
        case_known();
        case_output(BERT_FLOAT, 2, DIMS(3, reduces ? 1 : 131));
        node_case_compare_wide(1);
    }
}

static void extremes_of_wide_tensors_are_wide(void **state) {
    for (unsigned count = 1; count < 4; count++) {
        for (unsigned wide = 1; wide < 1U << count; wide++) {
            case_begin(count & 1 ? BERT_OP_Max : BERT_OP_Min);
            for (unsigned i = 0; i < count; i++) case_input(BERT_FLOAT, 2, DIMS(3, i == 1 ? 1 : 37), 2.0F);
            case_output(BERT_FLOAT, 2, DIMS(3, 37));
            node_case_compare_wide(wide);
        }
    }
}

/* Broadcast or not; to the last bit. */
static void what_is_chosen_from_wide_tensors_is_wide(void **state) {
    for (unsigned wide = 1; wide < 4; wide++) {
        for (int shape = 0; shape < 3; shape++) {
            case_begin(BERT_OP_Where);
            case_input(BERT_BOOL, 2, DIMS(shape ? 3 : 1, 37), 2);
            case_input(BERT_FLOAT, 2, DIMS(3, shape == 1 ? 1 : 37), 2.0F);
            case_input(BERT_FLOAT, 2, DIMS(shape == 2 ? 1 : 3, 37), 2.0F);
            case_output(BERT_FLOAT, 2, DIMS(3, 37))->tolerance = 0;
            node_case_compare_wide(wide << 1);
        }
    }
}

/* From float32 to float32, to the last bit: no other type has lower halves, and what the second input of CastLike has
 * doesn't matter. A double is made of the upper halves. */
static void casts_of_wide_tensors_are_wide(void **state) {
    static const bert_dtype types[] = {BERT_FLOAT, BERT_DOUBLE, BERT_FLOAT16, BERT_BFLOAT16,
                                       BERT_INT32, BERT_INT64,  BERT_UINT8,   BERT_BOOL};
    static const float values[] = {1.3F, 0, 2.71828F, 100.7F, 3.14159F};
    for (size_t i = 0; i < 2 * sizeof types / sizeof *types; i++) {
        const bert_dtype type = types[i / 2];
        case_begin(i % 2 ? BERT_OP_CastLike : BERT_OP_Cast);
        case_input_floats(BERT_FLOAT, 1, DIMS(5), values);
        if (i % 2)
            case_input(type, 1, DIMS(3), 1.0F);
        else
            case_int("to", type);
        case_tensor *y = case_output(type, 1, DIMS(5));
        if (type == BERT_FLOAT) y->tolerance = 0;
        if (type == BERT_DOUBLE) y->tolerance = 4e-3F;
        node_case_compare_halves(1, type == BERT_FLOAT);
    }
    for (size_t i = 1; i < sizeof types / sizeof *types; i++) {
        case_begin(BERT_OP_CastLike);
        case_input(types[i], 1, DIMS(5), 2.0F);
        case_input(BERT_FLOAT, 1, DIMS(3), 2.0F);
        case_output(BERT_FLOAT, 1, DIMS(5))->tolerance = 4e-3F;
        node_case_compare_halves(2, 0);
    }
}

/* Rows of 16 bytes in each half, and of single elements; to the last bit. Of a token that is there again the first row
 * counts. */
static void wide_tokens_stay_wide_without_padding(void **state) {
    static const int32_t tokens[] = {0, 1, 4, 4}, counts[] = {2, 1}, offsets[] = {4, 0, 5, 1, 2, 3};
    for (int64_t width = 5; width <= 8; width += 3) {
        for (int packs = 0; packs < 2; packs++) {
            case_begin(packs ? BERT_OP_BERTC_PackTokens : BERT_OP_BERTC_UnpackTokens);
            if (!packs) case_int("batch", 2);
            if (!packs) case_int("sequence", 3);
            case_input(BERT_FLOAT, 3, packs ? DIMS(2, 3, width) : DIMS(1, 4, width), 2.0F);
            case_input_of(BERT_INT32, 1, DIMS(4), tokens);
            case_output(BERT_FLOAT, 3, packs ? DIMS(1, 4, width) : DIMS(2, 3, width))->tolerance = 0;
            node_case_compare_wide(1);
        }
        case_begin(BERT_OP_MS_RemovePadding);
        case_input(BERT_FLOAT, 3, DIMS(2, 3, width), 2.0F);
        case_input_of(BERT_INT32, 1, DIMS(2), counts);
        case_known();
        case_output(BERT_FLOAT, 2, DIMS(3, width))->tolerance = 0;
        node_case_compare_wide(1);
        case_begin(BERT_OP_MS_RestorePadding);
        case_input(BERT_FLOAT, 2, DIMS(3, width), 2.0F);
        case_input_of(BERT_INT32, 2, DIMS(2, 3), offsets);
        case_output(BERT_FLOAT, 3, DIMS(2, 3, width))->tolerance = 0;
        node_case_compare_wide(1);
    }
}

/* Rows of 16 bytes in each half, single elements, and [CLS] of each sequence; to the last bit. */
static void rows_of_wide_tensors_are_wide(void **state) {
    static const int64_t indices[] = {2, -3, 0, 2};
    for (int64_t width = 5; width <= 8; width += 3) {
        for (int axis = 0; axis < 3; axis++) {
            const int64_t count = axis == 1 ? 1 : 4;
            case_begin(BERT_OP_Gather);
            case_int("axis", axis);
            case_input(BERT_FLOAT, 3, DIMS(3, 5, width), 2.0F);
            case_input_of(BERT_INT64, axis == 1 ? 0 : 1, DIMS(count), indices);
            if (axis == 1)
                case_output(BERT_FLOAT, 2, DIMS(3, width))->tolerance = 0;
            else
                case_output(BERT_FLOAT, 3, axis ? DIMS(3, 5, count) : DIMS(count, 5, width))->tolerance = 0;
            node_case_compare_wide(1);
        }
    }
}

static void norms_of_wide_tensors_are_wide(void **state) {
    for (unsigned wide = 1; wide < 4; wide++) {
        for (int64_t width = 31; width <= 32; width++) {
            case_begin(BERT_OP_BERTC_SkipLayerNormalization);
            for (int i = 0; i < 2; i++) case_input(BERT_FLOAT, 3, DIMS(1, 3, width), 2.0F);
            for (int i = 0; i < 2; i++) {
                case_input(BERT_FLOAT, 1, DIMS(width), 1.0F);
                case_known();
            }
            for (int i = 0; i < 2; i++) case_output(BERT_FLOAT, 3, DIMS(1, 3, width))->tolerance *= 3;
            node_case_compare_wide(wide);
        }
    }
}

static void pools_of_wide_tensors_are_wide(void **state) {
    for (unsigned variant = 0; variant < 8; variant++) {
        case_begin(BERT_OP_BERTC_Pool);
        case_string("pooling", variant & 2 ? "mean" : "max");
        case_int("normalize", variant >> 2);
        case_input(BERT_FLOAT, 3, DIMS(2, 5, 9), 2.0F);
        case_input(BERT_INT64, 2, DIMS(2, 5), 2.0F);
        case_output(BERT_FLOAT, 2, DIMS(2, 9));
        node_case_compare_wide(variant & 1);
    }
}

/* What no kernel has: a skip that sequences share, a gamma for each of them. Constants are not rounded either. */
static void composed_norms_of_wide_tensors_are_wide(void **state) {
    for (unsigned wide = 0; wide < 4; wide++) {
        case_begin(BERT_OP_BERTC_SkipLayerNormalization);
        case_input(BERT_FLOAT, 3, DIMS(2, 3, 31), 2.0F);
        case_input(BERT_FLOAT, 2, DIMS(3, 31), 2.0F);
        for (int i = 0; i < 3; i++) {
            case_input(BERT_FLOAT, 1, DIMS(31), 1.0F);
            case_known();
        }
        for (int i = 0; i < 2; i++) case_output(BERT_FLOAT, 3, DIMS(2, 3, 31))->tolerance *= 3;
        node_case_compare_wide(wide | 7U << 2);
        case_begin(BERT_OP_LayerNormalization);
        case_input(BERT_FLOAT, 3, DIMS(2, 3, 31), 2.0F);
        case_input(BERT_FLOAT, 3, DIMS(2, 1, 31), 1.0F);
        case_input(BERT_FLOAT, 1, DIMS(31), 1.0F);
        case_known();
        case_output(BERT_FLOAT, 3, DIMS(2, 3, 31))->tolerance *= 3;
        node_case_compare_wide(wide | 1U << 2);
    }
}

/* What is computed in double is rounded: y is float32, x or gamma is double. */
static void norms_in_double_give_bfloat16(void **state) {
    for (int i = 0; i < 2; i++) {
        case_begin(i ? BERT_OP_RMSNormalization : BERT_OP_LayerNormalization);
        case_input(i ? BERT_DOUBLE : BERT_FLOAT, 2, DIMS(3, 31), 2.0F);
        case_input(i ? BERT_FLOAT : BERT_DOUBLE, 1, DIMS(31), 1.0F);
        case_output(BERT_FLOAT, 2, DIMS(3, 31))->tolerance = 1e-2F;
        node_case_compare_in(BERT_PRECISION_BF16);
    }
}

/* Tables, gamma and beta, or their scales, are constants that nobody rounds. */
static void embeddings_with_their_sum_are_wide(void **state) {
    for (int i = 0; i < 8; i++) {
        const bool segments = i & 1, positions = i & 2;
        const int64_t width = i & 4 ? 8 : 9;
        case_begin(BERT_OP_MS_EmbedLayerNormalization);
        case_input(BERT_INT32, 2, DIMS(2, 3), 4);
        if (segments)
            case_input(BERT_INT32, 2, DIMS(2, 3), 2);
        else
            case_absent();
        for (int j = 0; j < 5; j++) {
            if (j == 2 && !segments) {
                case_absent();
                continue;
            }
            case_input(BERT_FLOAT, j < 3 ? 2 : 1, j < 3 ? DIMS(5 - j, width) : DIMS(width), 2.0F);
            case_known();
        }
        case_absent();
        if (positions) case_input(BERT_INT32, 2, DIMS(1, 3), 4);
        case_output(BERT_FLOAT, 3, DIMS(2, 3, width))->tolerance *= 3;
        case_absent_output();
        if (segments) case_output(BERT_FLOAT, 3, DIMS(2, 3, width));
        node_case_compare_wide(31U << 2);
    }
    case_begin(BERT_OP_MS_QEmbedLayerNormalization);
    case_input(BERT_INT32, 2, DIMS(2, 3), 4);
    case_input(BERT_INT32, 2, DIMS(2, 3), 2);
    for (int i = 0; i < 5; i++) case_input(BERT_UINT8, i < 3 ? 2 : 1, i < 3 ? DIMS(5 - i, 8) : DIMS(8), 255);
    case_absent();
    for (int i = 0; i < 5; i++) {
        case_input(BERT_FLOAT, 0, NULL, 0.02F);
        case_known();
    }
    for (int i = 0; i < 5; i++) case_input(BERT_UINT8, 0, NULL, 127);
    case_output(BERT_FLOAT, 3, DIMS(2, 3, 8))->tolerance *= 3;
    node_case_compare_wide(31U << 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_that_are_constant_stay_float32),
        cmocka_unit_test(sessions_of_16_bits_agree_with_the_reference),
        cmocka_unit_test(sums_with_a_wide_residual_are_wide),
        cmocka_unit_test(sums_of_two_tensors_are_wide),
        cmocka_unit_test(reductions_of_wide_tensors_are_wide),
        cmocka_unit_test(extremes_of_wide_tensors_are_wide),
        cmocka_unit_test(what_is_chosen_from_wide_tensors_is_wide),
        cmocka_unit_test(casts_of_wide_tensors_are_wide),
        cmocka_unit_test(wide_tokens_stay_wide_without_padding),
        cmocka_unit_test(rows_of_wide_tensors_are_wide),
        cmocka_unit_test(norms_of_wide_tensors_are_wide),
        cmocka_unit_test(pools_of_wide_tensors_are_wide),
        cmocka_unit_test(composed_norms_of_wide_tensors_are_wide),
        cmocka_unit_test(norms_in_double_give_bfloat16),
        cmocka_unit_test(embeddings_with_their_sum_are_wide),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
