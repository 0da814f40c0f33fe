/*
 * Fused operators: small cases with the values that ONNX Runtime 1.32 gives, and those of the canonical operators,
 * which numpy computed from their specification. Padding and packed attention, which ONNX Runtime has on GPUs only,
 * follow its documentation.
 */
#include "tests/graph/op_case.h"

#include <float.h>

static void attention_of_onnx_runtime_takes_every_mask(void **state) {
    {
        static const float i0[] = {0.0F,   0.25F, -0.25F, -1.0F,  -0.5F,  -1.0F,  0.0F,   1.25F,
                                   -0.5F,  -0.5F, 0.5F,   0.25F,  0.0F,   -1.0F,  -0.0F,  0.75F,
                                   -1.25F, -0.5F, -2.0F,  -1.25F, -1.75F, -0.25F, -1.25F, 0.25F};
        static const float i1[] = {0.25F,  -0.25F, -2.5F, -0.5F, -0.0F,  0.0F,   -1.5F, -0.5F,  -1.0F,  -0.75F,
                                   1.0F,   -0.75F, -0.0F, 1.0F,  -0.5F,  -0.0F,  0.0F,  0.0F,   -1.25F, 0.0F,
                                   1.25F,  -1.5F,  0.75F, 0.0F,  -0.75F, 2.0F,   0.75F, -1.25F, 0.0F,   0.5F,
                                   -0.25F, 0.75F,  -0.0F, 0.75F, 1.5F,   -0.75F, 0.25F, -0.5F,  0.25F,  -1.25F,
                                   -0.5F,  -0.25F, 1.0F,  1.25F, -1.25F, -0.75F, 0.75F, -2.0F};
        static const float i2[] = {-0.5F,  -0.0F, 1.25F, 0.75F,  -0.25F, -0.25F,
                                   -0.25F, 1.5F,  -0.5F, -0.25F, 0.25F,  -0.0F};
        static const int32_t i3[] = {1, 1, 0, 0, 1, 1};
        op_case_begin_in("com.microsoft", "Attention", 1);
        op_case_tensor(BERT_FLOAT, "2,3,4", i0);
        op_case_tensor(BERT_FLOAT, "4,12", i1);
        op_case_tensor(BERT_FLOAT, "12", i2);
        op_case_tensor(BERT_INT32, "2,3", i3);
        op_case_int("num_heads", 2);
        op_case_float("mask_filter_value", -2.5F);
        op_case_expect(0, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(0, -1.217355F, 0.4095053F, -0.05972608F, -2.109138F, -1.520635F, 0.4582704F, -0.06183834F,
                             -2.121458F, -1.410124F, 0.4480238F, -0.06194872F, -2.122372F, 1.00567F, 0.5737818F,
                             -3.56687F, 2.085918F, 1.171012F, 0.6222655F, -3.185204F, 1.570558F, 1.101169F, 0.599888F,
                             -3.368547F, 1.743913F);
    }
    {
        static const float i0[] = {0.0F,   0.25F, -0.25F, -1.0F,  -0.5F,  -1.0F,  0.0F,   1.25F,
                                   -0.5F,  -0.5F, 0.5F,   0.25F,  0.0F,   -1.0F,  -0.0F,  0.75F,
                                   -1.25F, -0.5F, -2.0F,  -1.25F, -1.75F, -0.25F, -1.25F, 0.25F};
        static const float i1[] = {0.25F,  -0.25F, -2.5F, -0.5F, -0.0F,  0.0F,   -1.5F, -0.5F,  -1.0F,  -0.75F,
                                   1.0F,   -0.75F, -0.0F, 1.0F,  -0.5F,  -0.0F,  0.0F,  0.0F,   -1.25F, 0.0F,
                                   1.25F,  -1.5F,  0.75F, 0.0F,  -0.75F, 2.0F,   0.75F, -1.25F, 0.0F,   0.5F,
                                   -0.25F, 0.75F,  -0.0F, 0.75F, 1.5F,   -0.75F, 0.25F, -0.5F,  0.25F,  -1.25F,
                                   -0.5F,  -0.25F, 1.0F,  1.25F, -1.25F, -0.75F, 0.75F, -2.0F};
        static const float i2[] = {-0.5F,  -0.0F, 1.25F, 0.75F,  -0.25F, -0.25F,
                                   -0.25F, 1.5F,  -0.5F, -0.25F, 0.25F,  -0.0F};
        static const int32_t i3[] = {2, 1};
        op_case_begin_in("com.microsoft", "Attention", 1);
        op_case_tensor(BERT_FLOAT, "2,3,4", i0);
        op_case_tensor(BERT_FLOAT, "4,12", i1);
        op_case_tensor(BERT_FLOAT, "12", i2);
        op_case_tensor(BERT_INT32, "2", i3);
        op_case_int("num_heads", 2);
        op_case_int("unidirectional", 1);
        op_case_expect(0, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(0, 1.0625F, -0.0625F, -0.6875F, 2.1875F, -1.537556F, 0.4407367F, -0.06256021F, -2.124585F,
                             -1.431515F, 0.4202126F, -0.06252132F, -2.124853F, -2.6875F, 0.6875F, 0.0625F, -1.5F,
                             -2.6875F, 0.6875F, 0.0625F, -1.5F, -2.6875F, 0.6875F, 0.0625F, -1.5F);
    }
    {
        static const float i0[] = {0.0F,   0.25F, -0.25F, -1.0F,  -0.5F,  -1.0F,  0.0F,   1.25F,
                                   -0.5F,  -0.5F, 0.5F,   0.25F,  0.0F,   -1.0F,  -0.0F,  0.75F,
                                   -1.25F, -0.5F, -2.0F,  -1.25F, -1.75F, -0.25F, -1.25F, 0.25F};
        static const float i1[] = {0.25F,  -0.25F, -2.5F, -0.5F, -0.0F,  0.0F,   -1.5F, -0.5F,  -1.0F,  -0.75F,
                                   1.0F,   -0.75F, -0.0F, 1.0F,  -0.5F,  -0.0F,  0.0F,  0.0F,   -1.25F, 0.0F,
                                   1.25F,  -1.5F,  0.75F, 0.0F,  -0.75F, 2.0F,   0.75F, -1.25F, 0.0F,   0.5F,
                                   -0.25F, 0.75F,  -0.0F, 0.75F, 1.5F,   -0.75F, 0.25F, -0.5F,  0.25F,  -1.25F,
                                   -0.5F,  -0.25F, 1.0F,  1.25F, -1.25F, -0.75F, 0.75F, -2.0F};
        static const float i2[] = {-0.5F,  -0.0F, 1.25F, 0.75F,  -0.25F, -0.25F,
                                   -0.25F, 1.5F,  -0.5F, -0.25F, 0.25F,  -0.0F};
        static const int32_t i3[] = {3, 2, 1, 0};
        static const float i4[] = {-0.25F, -1.0F, -0.0F, -0.5F, 1.25F,  0.75F, -0.0F,  0.75F,
                                   -0.25F, 1.0F,  -0.0F, 0.5F,  -1.25F, 0.25F, -1.75F, -2.0F};
        op_case_begin_in("com.microsoft", "Attention", 1);
        op_case_tensor(BERT_FLOAT, "2,3,4", i0);
        op_case_tensor(BERT_FLOAT, "4,12", i1);
        op_case_tensor(BERT_FLOAT, "12", i2);
        op_case_tensor(BERT_INT32, "4", i3);
        op_case_tensor(BERT_FLOAT, "2,2,2,1,2", i4);
        op_case_int("num_heads", 2);
        op_case_float("mask_filter_value", -1.5F);
        op_case_float("scale", 0.5F);
        op_case_outputs(2);
        op_case_expect(0, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(0, -1.036752F, 0.4810556F, -0.04952773F, -2.033408F, -1.171104F, 0.5335072F, -0.05733467F,
                             -2.082238F, -1.164459F, 0.5021299F, -0.05789664F, -2.096407F, -1.291803F, 0.5784895F,
                             -2.032023F, 0.4195673F, -0.6003155F, 0.6183736F, -0.6980065F, -0.7824548F, -0.9711295F,
                             0.5989143F, -2.559929F, 0.9790403F);
        op_case_expect(1, BERT_FLOAT, "2,2,2,4,2");
        OP_CASE_EXPECT_CLOSE(1, -0.25F, -1.0F, 0.25F, -0.125F, -0.875F, -0.5625F, -0.375F, -0.0625F, -0.0F, -0.5F,
                             -1.5F, 0.0625F, 3.0F, 3.3125F, 1.25F, 2.4375F, 1.25F, 0.75F, -0.625F, -0.4375F, 0.375F,
                             -0.9375F, -0.375F, -0.9375F, -0.0F, 0.75F, 1.75F, 2.4375F, 1.5F, -0.9375F, 3.25F, 1.75F,
                             -0.25F, 1.0F, 1.0625F, -0.0625F, -2.8125F, 0.6875F, -0.9375F, 1.0625F, -0.0F, 0.5F,
                             -0.6875F, 2.1875F, -0.0625F, -2.125F, 0.3125F, -0.5F, -1.25F, 0.25F, -2.6875F, 0.6875F,
                             1.6875F, 0.875F, 0.625F, 0.3125F, -1.75F, -2.0F, 0.0625F, -1.5F, -5.3125F, 4.9375F,
                             -3.375F, 1.75F);
    }
}

/* The triangle's number is added like the bias: a key after the query is equal to one that the bias takes as low, and
 * below it where the bias takes both. */
static void the_bias_is_added_to_keys_after_the_query_too(void **state) {
    static const float x[] = {1, 0, 0, 1}, bias[] = {0, 0, 0, 0, 0, 0};
    static const float weight[] = {0.5F, 1, -1, 0.25F, 4, 8, -2, 0.5F, 1, 1, 16, 32};
    static const float low[2][2] = {{-FLT_MAX, -FLT_MAX}, {-FLT_MAX, 0}};
    static const float expected[2][4] = {{4, 8, 10, 20}, {10, 20, 16, 32}};
    for (int i = 0; i < 2; i++) {
        const float scores[] = {low[i][0], low[i][1], low[i][0], low[i][1]};
        op_case_begin_in("com.microsoft", "Attention", 1);
        op_case_tensor(BERT_FLOAT, "1,2,2", x);
        op_case_tensor(BERT_FLOAT, "2,6", weight);
        op_case_tensor(BERT_FLOAT, "6", bias);
        op_case_absent();
        op_case_absent();
        op_case_tensor(BERT_FLOAT, "1,1,2,2", scores);
        op_case_int("num_heads", 1);
        op_case_int("unidirectional", 1);
        op_case_expect(0, BERT_FLOAT, "1,2,2");
        OP_CASE_EXPECT_CLOSE(0, expected[i][0], expected[i][1], expected[i][2], expected[i][3]);
    }
}

static void multi_head_attention_adds_bias_mask_and_past(void **state) {
    {
        static const float i0[] = {-0.25F, -1.0F, 0.25F, 2.25F, -0.75F, -0.5F, 0.25F, 0.5F};
        static const float i1[] = {-0.25F, -0.25F, 0.75F, 0.5F, -1.0F, -0.0F, 0.0F, -1.0F, 0.25F, -0.75F, 1.0F, 0.25F};
        static const float i2[] = {0.0F,   -0.5F, -0.0F,  -2.0F, -1.25F, 0.25F,
                                   -2.25F, 0.75F, -1.75F, 0.75F, -0.75F, 0.75F};
        static const float i3[] = {0.25F, -1.5F, 1.25F, 1.5F, -0.0F, -0.25F, -0.25F, -1.0F, 1.0F, -0.5F, -0.0F, -0.75F};
        static const int32_t i4[] = {1, 0, 1};
        static const float i5[] = {-0.75F, -1.25F, 1.25F, -0.25F, 1.0F,  0.0F,
                                   -0.75F, -0.25F, -0.5F, 0.0F,   -0.5F, -0.25F};
        op_case_begin_in("com.microsoft", "MultiHeadAttention", 1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i0);
        op_case_tensor(BERT_FLOAT, "1,3,4", i1);
        op_case_tensor(BERT_FLOAT, "1,3,4", i2);
        op_case_tensor(BERT_FLOAT, "12", i3);
        op_case_tensor(BERT_INT32, "1,3", i4);
        op_case_tensor(BERT_FLOAT, "1,2,2,3", i5);
        op_case_int("num_heads", 2);
        op_case_float("mask_filter_value", -2.0F);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, -0.6561919F, 0.1825962F, -0.3492728F, -1.474898F, -0.2060384F, -0.1556337F, -0.3171622F,
                             -1.601295F);
    }
    {
        static const float i0[] = {-0.25F, -1.0F, 0.25F, 2.25F, -0.75F, -0.5F, 0.25F, 0.5F};
        static const float i1[] = {-1.5F, -0.75F, 1.75F, -0.75F, -1.0F, 0.25F, 1.5F, -1.5F};
        static const float i2[] = {-0.25F, -0.75F, -1.75F, 0.75F, -0.0F, 0.0F, -0.75F, 0.5F};
        static const float i6[] = {-0.5F, -0.25F, -1.0F, -1.25F};
        static const float i7[] = {1.25F, -0.5F, 0.25F, -0.0F};
        op_case_begin_in("com.microsoft", "MultiHeadAttention", 1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i0);
        op_case_tensor(BERT_FLOAT, "1,2,4", i1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i2);
        op_case_absent();
        op_case_absent();
        op_case_absent();
        op_case_tensor(BERT_FLOAT, "1,2,1,2", i6);
        op_case_tensor(BERT_FLOAT, "1,2,1,2", i7);
        op_case_int("num_heads", 2);
        op_case_int("unidirectional", 1);
        op_case_outputs(3);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, 0.3056599F, -0.6573901F, -1.315455F, 0.5870455F, 0.1803098F, -0.4904922F, -0.9654712F,
                             0.4965882F);
        op_case_expect(1, BERT_FLOAT, "1,2,3,2");
        OP_CASE_EXPECT_CLOSE(1, -0.5F, -0.25F, -1.5F, -0.75F, -1.0F, 0.25F, -1.0F, -1.25F, 1.75F, -0.75F, 1.5F, -1.5F);
        op_case_expect(2, BERT_FLOAT, "1,2,3,2");
        OP_CASE_EXPECT_CLOSE(2, 1.25F, -0.5F, -0.25F, -0.75F, -0.0F, 0.0F, 0.25F, -0.0F, -1.75F, 0.75F, -0.75F, 0.5F);
    }
}

static void embeddings_of_onnx_runtime_count_the_ones_of_the_mask(void **state) {
    {
        static const int32_t i0[] = {1, 4, 0, 2, 2, 3};
        static const int32_t i1[] = {0, 1, 1, 1, 0, 0};
        static const float i2[] = {-0.5F, -0.5F, 0.75F, -0.25F, -0.25F, 0.0F,  1.25F, 0.75F, 0.5F,  -0.5F,
                                   -1.5F, 1.0F,  1.0F,  -0.25F, 0.5F,   0.75F, 0.75F, 1.0F,  -0.5F, 1.5F};
        static const float i3[] = {-1.25F, 0.75F, 0.5F,  0.75F, 2.0F,   1.5F,  -1.25F, -1.75F,
                                   0.75F,  -1.0F, -0.0F, 0.75F, -1.75F, -2.0F, 0.25F,  0.0F};
        static const float i4[] = {-0.25F, 0.0F, -0.75F, -1.5F, -0.25F, -1.0F, -1.75F, 0.5F};
        static const float i5[] = {-0.0F, 0.5F, -1.0F, -0.75F};
        static const float i6[] = {-1.0F, -1.0F, 0.25F, -0.75F};
        static const int32_t i7[] = {1, 0, 1, 1, 1, 1};
        op_case_begin_in("com.microsoft", "EmbedLayerNormalization", 1);
        op_case_tensor(BERT_INT32, "2,3", i0);
        op_case_tensor(BERT_INT32, "2,3", i1);
        op_case_tensor(BERT_FLOAT, "5,4", i2);
        op_case_tensor(BERT_FLOAT, "4,4", i3);
        op_case_tensor(BERT_FLOAT, "2,4", i4);
        op_case_tensor(BERT_FLOAT, "4", i5);
        op_case_tensor(BERT_FLOAT, "4", i6);
        op_case_tensor(BERT_INT32, "2,3", i7);
        op_case_float("epsilon", 0.0625F);
        op_case_outputs(3);
        op_case_expect(0, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(0, -1.0F, -0.6603169F, -0.6558217F, -0.75F, -1.0F, -0.7130548F, 1.862359F, -0.7704961F,
                             -1.0F, -1.711869F, 0.5347474F, -1.675429F, -1.0F, -1.051663F, 1.455464F, -1.912412F, -1.0F,
                             -0.6540399F, 1.474167F, -0.2310598F, -1.0F, -1.615457F, 0.496183F, -0.75F);
        op_case_expect(1, BERT_INT32, "2");
        OP_CASE_EXPECT_DATA(1, int32_t, 2, 3);
        op_case_expect(2, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(2, -1.75F, 0.75F, 1.0F, 0.0F, 2.5F, 1.5F, -3.5F, 0.25F, 0.0F, -2.5F, -1.0F, 1.0F, -1.0F,
                             -0.75F, -2.75F, 2.25F, 2.25F, 1.0F, -3.5F, -2.25F, 1.5F, -1.25F, -0.25F, 0.0F);
    }
}

static void quantized_attention_and_embeddings_are_exact_before_float(void **state) {
    {
        static const uint8_t i0[] = {88, 6, 125, 166, 169, 54, 42, 144};
        static const int8_t i1[] = {34,  113, 101, -31,  -87, -64, 97,  -12, 126, 40,  24,  -103, 23,  -31, 87,  -94,
                                    -79, 41,  46,  84,   6,   -32, -50, -33, 41,  10,  -53, -73,  53,  -65, -75, -44,
                                    90,  -11, 24,  -108, -40, 64,  69,  20,  96,  -52, -86, -109, -77, 67,  103, -95};
        static const float i2[] = {-0.0F, 0.0F, 0.75F, 0.5F, 0.25F, -1.0F, 0.5F, -0.75F, 1.0F, -1.25F, -0.25F, -0.0F};
        static const float i3[] = {0.01171875F};
        static const float i4[] = {0.0234375F,  0.015625F,   0.00390625F, 0.0234375F,  0.0234375F, 0.00390625F,
                                   0.02734375F, 0.01953125F, 0.02734375F, 0.02734375F, 0.0234375F, 0.01171875F};
        static const int32_t i5[] = {1, 0};
        static const uint8_t i6[] = {94};
        static const int8_t i7[] = {57, -112, -69, 4, 113, 65, 80, -80, -57, -60, 63, 9};
        op_case_begin_in("com.microsoft", "QAttention", 1);
        op_case_tensor(BERT_UINT8, "1,2,4", i0);
        op_case_tensor(BERT_INT8, "4,12", i1);
        op_case_tensor(BERT_FLOAT, "12", i2);
        op_case_tensor(BERT_FLOAT, "", i3);
        op_case_tensor(BERT_FLOAT, "12", i4);
        op_case_tensor(BERT_INT32, "1,2", i5);
        op_case_tensor(BERT_UINT8, "", i6);
        op_case_tensor(BERT_INT8, "12", i7);
        op_case_int("num_heads", 2);
        op_case_float("mask_filter_value", -2.0F);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, 1.70218F, 1.962391F, 1.310536F, -0.8026329F, 1.714859F, 1.967773F, 1.296367F,
                             -0.8015963F);
    }
    {
        static const int32_t i0[] = {1, 4, 0, 2, 2, 3};
        static const int32_t i1[] = {0, 1, 1, 1, 0, 0};
        static const uint8_t i2[] = {54,  191, 163, 229, 143, 32,  227, 47,  14,  204,
                                     115, 164, 33,  184, 103, 255, 162, 240, 202, 215};
        static const uint8_t i3[] = {22, 198, 154, 101, 79, 164, 50, 47, 223, 194, 151, 193, 82, 184, 52, 113};
        static const uint8_t i4[] = {37, 96, 87, 107, 121, 8, 87, 216};
        static const uint8_t i5[] = {110, 138, 26, 99};
        static const uint8_t i6[] = {248, 140, 5, 184};
        static const int32_t i7[] = {1, 0, 1, 1, 1, 1};
        static const float i8[] = {0.02734375F};
        static const float i9[] = {0.015625F};
        static const float i10[] = {0.00390625F};
        static const float i11[] = {0.02734375F};
        static const float i12[] = {0.01171875F};
        static const uint8_t i13[] = {235};
        static const uint8_t i14[] = {93};
        static const uint8_t i15[] = {99};
        static const uint8_t i16[] = {203};
        static const uint8_t i17[] = {35};
        op_case_begin_in("com.microsoft", "QEmbedLayerNormalization", 1);
        op_case_tensor(BERT_INT32, "2,3", i0);
        op_case_tensor(BERT_INT32, "2,3", i1);
        op_case_tensor(BERT_UINT8, "5,4", i2);
        op_case_tensor(BERT_UINT8, "4,4", i3);
        op_case_tensor(BERT_UINT8, "2,4", i4);
        op_case_tensor(BERT_UINT8, "4", i5);
        op_case_tensor(BERT_UINT8, "4", i6);
        op_case_tensor(BERT_INT32, "2,3", i7);
        op_case_tensor(BERT_FLOAT, "", i8);
        op_case_tensor(BERT_FLOAT, "", i9);
        op_case_tensor(BERT_FLOAT, "", i10);
        op_case_tensor(BERT_FLOAT, "", i11);
        op_case_tensor(BERT_FLOAT, "", i12);
        op_case_tensor(BERT_UINT8, "", i13);
        op_case_tensor(BERT_UINT8, "", i14);
        op_case_tensor(BERT_UINT8, "", i15);
        op_case_tensor(BERT_UINT8, "", i16);
        op_case_tensor(BERT_UINT8, "", i17);
        op_case_float("epsilon", 0.0625F);
        op_case_outputs(2);
        op_case_expect(0, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(0, 3.472996F, 1.957402F, -8.505713F, 4.281689F, 5.125813F, -1.510944F, 2.556228F, 1.48306F,
                             5.913163F, 0.677469F, 1.313388F, -2.168621F, 6.583405F, -0.7024783F, -0.7266827F,
                             0.4884627F, 5.902271F, -1.286149F, 1.187168F, 1.059512F, 5.413212F, 0.3101767F, 3.169766F,
                             -2.112622F);
        op_case_expect(1, BERT_INT32, "2");
        OP_CASE_EXPECT_DATA(1, int32_t, 2, 3);
    }
}

static void integer_products_are_exact(void **state) {
    {
        static const uint8_t i0[] = {255, 255, 0, 3};
        static const int8_t i1[] = {-128, 127, -128, 5};
        static const uint8_t i2[] = {7};
        static const int8_t i3[] = {3, -4};
        op_case_begin_in("", "MatMulInteger", 17);
        op_case_tensor(BERT_UINT8, "2,2", i0);
        op_case_tensor(BERT_INT8, "2,2", i1);
        op_case_tensor(BERT_UINT8, "", i2);
        op_case_tensor(BERT_INT8, "2", i3);
        op_case_expect(0, BERT_INT32, "2,2");
        OP_CASE_EXPECT_DATA(0, int32_t, -64976, 34720, 1441, -953);
    }
    {
        static const uint8_t i0[] = {7, 194, 237, 254, 32, 37};
        static const float i1[] = {0.01171875F};
        static const uint8_t i2[] = {182};
        static const int8_t i3[] = {105, 83, -33, 107, -63, -97};
        static const float i4[] = {0.015625F, 0.00390625F};
        static const int8_t i5[] = {45, 124};
        static const float i6[] = {0.00390625F};
        static const uint8_t i7[] = {29};
        op_case_begin_in("", "QLinearMatMul", 17);
        op_case_tensor(BERT_UINT8, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "", i1);
        op_case_tensor(BERT_UINT8, "", i2);
        op_case_tensor(BERT_INT8, "3,2", i3);
        op_case_tensor(BERT_FLOAT, "2", i4);
        op_case_tensor(BERT_INT8, "2", i5);
        op_case_tensor(BERT_FLOAT, "", i6);
        op_case_tensor(BERT_UINT8, "", i7);
        op_case_expect(0, BERT_UINT8, "2,2");
        OP_CASE_EXPECT_DATA(0, uint8_t, 0, 0, 255, 255);
    }
    {
        static const uint8_t i0[] = {45, 45, 136, 147, 243, 114};
        static const int8_t i1[] = {109, 64, 90, -80, -12, 106};
        static const float i2[] = {0.02734375F};
        static const float i3[] = {0.0078125F, 0.02734375F};
        static const uint8_t i4[] = {196};
        static const int8_t i5[] = {-91, -111};
        static const float i6[] = {-1.0F, 0.25F};
        op_case_begin_in("com.microsoft", "MatMulIntegerToFloat", 1);
        op_case_tensor(BERT_UINT8, "2,3", i0);
        op_case_tensor(BERT_INT8, "3,2", i1);
        op_case_tensor(BERT_FLOAT, "", i2);
        op_case_tensor(BERT_FLOAT, "2", i3);
        op_case_tensor(BERT_UINT8, "", i4);
        op_case_tensor(BERT_INT8, "2", i5);
        op_case_tensor(BERT_FLOAT, "2", i6);
        op_case_expect(0, BERT_FLOAT, "2,2");
        OP_CASE_EXPECT_CLOSE(0, -14.30252F, -32.74216F, -2.660065F, -18.37622F);
    }
    {
        static const float i0[] = {-1.25F, -1.0F, 1.25F, -1.0F, 1.0F, 1.5F};
        static const int8_t i1[] = {-54, 99, -64, 106, 40, -65};
        static const float i2[] = {0.00390625F, 0.015625F};
        static const int8_t i3[] = {62, -70};
        static const float i4[] = {-1.25F, 0.0F};
        op_case_begin_in("com.microsoft", "DynamicQuantizeMatMul", 1);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_tensor(BERT_INT8, "3,2", i1);
        op_case_tensor(BERT_FLOAT, "2", i2);
        op_case_tensor(BERT_INT8, "2", i3);
        op_case_tensor(BERT_FLOAT, "2", i4);
        op_case_expect(0, BERT_FLOAT, "2,2");
        OP_CASE_EXPECT_CLOSE(0, -0.2970205F, -5.963726F, -1.417999F, 0.2268076F);
    }
    {
        static const uint8_t i0[] = {215, 31, 42, 45, 145, 220};
        static const float i1[] = {0.01953125F};
        static const uint8_t i2[] = {123};
        static const int8_t i3[] = {113, -81, -86, 43, 90, -60};
        static const float i4[] = {0.01171875F, 0.01953125F};
        static const int8_t i5[] = {71, -56};
        static const int32_t i6[] = {100, -7};
        static const float i7[] = {0.02734375F};
        static const uint8_t i8[] = {132};
        op_case_begin_in("com.microsoft", "QGemm", 1);
        op_case_tensor(BERT_UINT8, "3,2", i0);
        op_case_tensor(BERT_FLOAT, "", i1);
        op_case_tensor(BERT_UINT8, "", i2);
        op_case_tensor(BERT_INT8, "2,3", i3);
        op_case_tensor(BERT_FLOAT, "2", i4);
        op_case_tensor(BERT_INT8, "2", i5);
        op_case_tensor(BERT_INT32, "2", i6);
        op_case_tensor(BERT_FLOAT, "", i7);
        op_case_tensor(BERT_UINT8, "", i8);
        op_case_int("transA", 1);
        op_case_int("transB", 1);
        op_case_float("alpha", 0.5F);
        op_case_expect(0, BERT_UINT8, "2,2");
        OP_CASE_EXPECT_DATA(0, uint8_t, 186, 112, 102, 0);
    }
}

static void quantization_rounds_half_to_even_and_saturates(void **state) {
    {
        static const float i0[] = {0.5F, 1.5F, 2.5F, -0.5F, -1.5F, 300.0F, -300.0F};
        static const float i1[] = {1.0F};
        static const uint8_t i2[] = {10};
        op_case_begin_in("", "QuantizeLinear", 17);
        op_case_tensor(BERT_FLOAT, "7", i0);
        op_case_tensor(BERT_FLOAT, "", i1);
        op_case_tensor(BERT_UINT8, "", i2);
        op_case_expect(0, BERT_UINT8, "7");
        OP_CASE_EXPECT_DATA(0, uint8_t, 10, 12, 12, 10, 8, 255, 0);
    }
    {
        static const float i0[] = {-0.0F, 2.0F, -0.0F, 4.0F, 14.0F, 4.0F};
        static const float i1[] = {0.01171875F, 0.0078125F, 0.01171875F};
        static const int8_t i2[] = {-100, 11, 122};
        op_case_begin_in("", "QuantizeLinear", 17);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "3", i1);
        op_case_tensor(BERT_INT8, "3", i2);
        op_case_int("axis", 1);
        op_case_expect(0, BERT_INT8, "2,3");
        OP_CASE_EXPECT_DATA(0, int8_t, -100, 127, 122, 127, 127, 127);
    }
    {
        static const int8_t i0[] = {118, 113, -66, -69, 45, 120};
        static const float i1[] = {0.02734375F, 0.0078125F};
        static const int8_t i2[] = {60, 1};
        op_case_begin_in("", "DequantizeLinear", 17);
        op_case_tensor(BERT_INT8, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "2", i1);
        op_case_tensor(BERT_INT8, "2", i2);
        op_case_int("axis", 0);
        op_case_expect(0, BERT_FLOAT, "2,3");
        OP_CASE_EXPECT_CLOSE(0, 1.585938F, 1.449219F, -3.445312F, -0.546875F, 0.34375F, 0.9296875F);
    }
    {
        static const float i0[] = {0.0F, 2.0F, -3.0F, -2.5F, 1.34F, 0.5F};
        op_case_begin_in("", "DynamicQuantizeLinear", 17);
        op_case_tensor(BERT_FLOAT, "6", i0);
        op_case_outputs(3);
        op_case_expect(0, BERT_UINT8, "6");
        OP_CASE_EXPECT_DATA(0, uint8_t, 153, 255, 0, 26, 221, 179);
        op_case_expect(1, BERT_FLOAT, "");
        OP_CASE_EXPECT_CLOSE(1, 0.01960784F);
        op_case_expect(2, BERT_UINT8, "");
        OP_CASE_EXPECT_DATA(2, uint8_t, 153);
    }
    {
        static const float i0[] = {0.0F, 0.0F, 0.0F};
        op_case_begin_in("", "DynamicQuantizeLinear", 17);
        op_case_tensor(BERT_FLOAT, "3", i0);
        op_case_outputs(3);
        op_case_expect(0, BERT_UINT8, "3");
        OP_CASE_EXPECT_DATA(0, uint8_t, 0, 0, 0);
        op_case_expect(1, BERT_FLOAT, "");
        OP_CASE_EXPECT_CLOSE(1, 1.0F);
        op_case_expect(2, BERT_UINT8, "");
        OP_CASE_EXPECT_DATA(2, uint8_t, 0);
    }
}

static void n_bit_weights_unpack_from_the_low_bits(void **state) {
    {
        static const float i0[] = {-1.75F, -0.25F, -0.75F, 0.75F, 2.25F,  0.25F, -0.75F, -1.25F,
                                   -0.0F,  -0.25F, -1.25F, 0.0F,  -1.25F, 1.0F,  1.0F,   1.0F};
        static const uint8_t i1[] = {86, 77, 83, 42, 20, 193, 200, 42, 100, 235, 214, 152, 248, 84, 216, 239};
        static const float i2[] = {0.01953125F, 0.0078125F};
        op_case_begin_in("com.microsoft", "MatMulNBits", 1);
        op_case_tensor(BERT_FLOAT, "1,16", i0);
        op_case_tensor(BERT_UINT8, "2,1,8", i1);
        op_case_tensor(BERT_FLOAT, "2,1", i2);
        op_case_absent();
        op_case_int("K", 16);
        op_case_int("N", 2);
        op_case_int("bits", 4);
        op_case_int("block_size", 16);
        op_case_expect(0, BERT_FLOAT, "1,2");
        OP_CASE_EXPECT_CLOSE(0, 0.0390625F, 0.2070312F);
    }
    {
        static const float i0[] = {0.25F, 1.0F,  -1.75F, -0.75F, 0.25F, 0.5F, -0.5F, 1.0F,  0.25F,  -1.25F,
                                   -1.0F, 0.75F, 0.5F,   -2.0F,  1.25F, 0.5F, 1.25F, -0.5F, -0.25F, -1.25F};
        static const uint8_t i1[] = {188, 186, 204, 3,   167, 245, 195, 119, 121, 104, 14,  184, 137, 133, 238, 187,
                                     245, 21,  243, 144, 102, 142, 9,   238, 161, 10,  233, 115, 30,  161, 17,  140,
                                     194, 18,  202, 151, 82,  56,  2,   50,  72,  224, 131, 50,  190, 116, 213, 192,
                                     238, 181, 27,  141, 108, 206, 39,  119, 211, 158, 9,   209, 93,  173, 167, 164};
        static const float i2[] = {0.015625F, 0.015625F, 0.00390625F, 0.01953125F};
        static const uint8_t i3[] = {74, 101, 42, 190};
        op_case_begin_in("com.microsoft", "MatMulNBits", 1);
        op_case_tensor(BERT_FLOAT, "1,20", i0);
        op_case_tensor(BERT_UINT8, "2,2,16", i1);
        op_case_tensor(BERT_FLOAT, "2,2", i2);
        op_case_tensor(BERT_UINT8, "2,2", i3);
        op_case_int("K", 20);
        op_case_int("N", 2);
        op_case_int("bits", 8);
        op_case_int("block_size", 16);
        op_case_expect(0, BERT_FLOAT, "1,2");
        OP_CASE_EXPECT_CLOSE(0, 7.53125F, 1.724609F);
    }
}

static void fused_activations_and_products(void **state) {
    {
        static const float i0[] = {-0.0F, -1.0F, -0.0F, 0.0F, 1.0F, -1.0F};
        static const float i1[] = {-0.0F, -1.75F, 0.75F};
        op_case_begin_in("com.microsoft", "BiasGelu", 1);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "3", i1);
        op_case_expect(0, BERT_FLOAT, "2,3");
        OP_CASE_EXPECT_CLOSE(0, -0.0F, -0.008194327F, 0.5800295F, 0.0F, -0.1699705F, -0.1003234F);
    }
    {
        static const float i0[] = {-1.0F, -1.75F, -0.0F, 1.0F, -1.5F, -1.0F};
        static const float i1[] = {-0.75F, -1.25F, 0.5F};
        op_case_begin_in("com.microsoft", "FastGelu", 1);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "3", i1);
        op_case_expect(0, BERT_FLOAT, "2,3");
        OP_CASE_EXPECT_CLOSE(0, -0.07020464F, -0.003637522F, 0.345714F, 0.1496754F, -0.007723324F, -0.154286F);
    }
    {
        static const float i0[] = {-0.75F, -0.75F, 0.5F};
        op_case_begin_in("com.microsoft", "QuickGelu", 1);
        op_case_tensor(BERT_FLOAT, "3", i0);
        op_case_float("alpha", 0.5F);
        op_case_expect(0, BERT_FLOAT, "3");
        OP_CASE_EXPECT_CLOSE(0, -0.3055001F, -0.3055001F, 0.2810882F);
    }
    {
        static const float i0[] = {-0.75F, 0.5F, -1.0F, -1.25F};
        op_case_begin_in("com.microsoft", "Gelu", 1);
        op_case_tensor(BERT_FLOAT, "4", i0);
        op_case_expect(0, BERT_FLOAT, "4");
        OP_CASE_EXPECT_CLOSE(0, -0.1699705F, 0.3457312F, -0.1586553F, -0.1320622F);
    }
    {
        static const float i0[] = {-1.75F, 1.75F, -0.25F, 0.25F, -0.0F, 0.25F};
        static const float i1[] = {0.0F, 2.0F, -1.0F, -1.5F, -1.0F, -1.25F, 0.75F, 0.75F, -1.0F, -1.5F, -0.25F, 1.5F};
        op_case_begin_in("com.microsoft", "FusedMatMul", 1);
        op_case_tensor(BERT_FLOAT, "3,2", i0);
        op_case_tensor(BERT_FLOAT, "4,3", i1);
        op_case_int("transA", 1);
        op_case_int("transB", 1);
        op_case_float("alpha", 0.5F);
        op_case_expect(0, BERT_FLOAT, "2,4");
        OP_CASE_EXPECT_CLOSE(0, -0.25F, 1.4375F, -0.75F, 1.34375F, 0.125F, -1.59375F, 0.625F, -1.15625F);
    }
    {
        static const float i0[] = {-2.75F, 0.5F, -1.0F, 1.0F, -1.0F, -0.25F};
        static const float i1[] = {-1.5F, -1.0F, 1.5F, 0.75F, -0.5F, -0.75F};
        static const float i2[] = {-2.0F, -0.5F};
        op_case_begin_in("com.microsoft", "FusedGemm", 1);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "3,2", i1);
        op_case_tensor(BERT_FLOAT, "2", i2);
        op_case_string("activation", "Relu");
        op_case_float("beta", 2.0F);
        op_case_expect(0, BERT_FLOAT, "2,2");
        OP_CASE_EXPECT_CLOSE(0, 1.375F, 2.875F, 0.0F, 0.0F);
    }
    {
        static const float i0[] = {-0.0F, -0.0F, -0.0F, -1.0F, -0.0F, -0.0F, 1.25F, 1.75F};
        static const float i1[] = {-0.25F, -0.75F, -0.0F, -0.5F, -0.75F, -0.0F, -1.0F, 0.5F};
        static const float i2[] = {-0.0F, 0.25F, -0.25F, -0.75F};
        static const float i3[] = {-1.0F, -0.25F, -0.5F, 0.25F};
        static const float i4[] = {-0.0F, -1.25F, 0.0F, -1.25F};
        op_case_begin_in("com.microsoft", "SkipLayerNormalization", 1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i0);
        op_case_tensor(BERT_FLOAT, "2,4", i1);
        op_case_tensor(BERT_FLOAT, "4", i2);
        op_case_tensor(BERT_FLOAT, "4", i3);
        op_case_tensor(BERT_FLOAT, "4", i4);
        op_case_float("epsilon", 0.0625F);
        op_case_outputs(4);
        op_case_unread(1);
        op_case_unread(2);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, -1.0F, -0.4081139F, -0.7635232F, 1.198683F, -1.0F, -0.542582F, -0.620475F, -0.7310104F);
        op_case_expect(3, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(3, -0.25F, -2.0F, 0.0F, -2.75F, -0.75F, -1.25F, 0.25F, 1.0F);
    }
    {
        static const float i0[] = {-0.5F, -0.25F, -2.0F, 0.0F, 0.25F, -0.25F, -0.5F, -0.25F};
        static const float i1[] = {-1.0F, -0.25F, -0.5F, 0.0F, -1.25F, 0.25F, 0.25F, -0.25F};
        static const float i2[] = {-0.5F, 0.5F, -1.75F, 0.5F};
        op_case_begin_in("com.microsoft", "SkipSimplifiedLayerNormalization", 1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i0);
        op_case_tensor(BERT_FLOAT, "1,2,4", i1);
        op_case_tensor(BERT_FLOAT, "4", i2);
        op_case_float("epsilon", 0.0625F);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, 0.5F, -0.1666667F, 2.916667F, 0.0F, 0.8F, 0.0F, 0.7F, -0.4F);
    }
}

static void rotary_embeddings_turn_pairs(void **state) {
    {
        static const float i0[] = {0.25F, 0.25F, 0.5F, -0.75F, -0.25F, 0.75F, 0.5F, 0.25F};
        static const int64_t i1[] = {1, 0};
        static const float i2[] = {-1.5F, 0.5F, 1.25F, 1.0F, 0.25F, -1.5F};
        static const float i3[] = {1.0F, -0.25F, -2.5F, 0.5F, -1.5F, -1.25F};
        op_case_begin_in("com.microsoft", "RotaryEmbedding", 1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i0);
        op_case_tensor(BERT_INT64, "1,2", i1);
        op_case_tensor(BERT_FLOAT, "3,2", i2);
        op_case_tensor(BERT_FLOAT, "3,2", i3);
        op_case_int("interleaved", 1);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, 0.9375F, -0.3125F, 0.875F, -0.5F, -0.375F, -1.375F, 0.3125F, 0.0F);
    }
    {
        static const float i0[] = {-0.75F, 1.25F, -0.25F, 0.25F, 1.75F, 1.5F, -0.0F, -0.25F};
        static const int64_t i1[] = {1};
        static const float i2[] = {-1.25F, -0.75F, 0.5F, 0.5F, 0.0F, 1.0F};
        static const float i3[] = {-0.75F, -0.0F, 0.75F, 0.5F, 1.0F, 0.5F};
        op_case_begin_in("com.microsoft", "RotaryEmbedding", 1);
        op_case_tensor(BERT_FLOAT, "1,2,4", i0);
        op_case_tensor(BERT_INT64, "1", i1);
        op_case_tensor(BERT_FLOAT, "3,2", i2);
        op_case_tensor(BERT_FLOAT, "3,2", i3);
        op_case_expect(0, BERT_FLOAT, "1,2,4");
        OP_CASE_EXPECT_CLOSE(0, -0.1875F, 0.5F, -0.6875F, 0.75F, 0.0F, 1.625F, 1.75F, 0.5F);
    }
}

static void canonical_operators_do_what_their_page_says(void **state) {
    {
        static const float i0[] = {-0.25F, 0.25F, -1.0F, -1.75F, 0.5F, -0.0F};
        static const float i1[] = {0.25F, -1.75F, -0.25F, -0.5F, -0.75F, -2.25F, -0.25F, 1.0F};
        static const float i2[] = {0.5F, -0.5F, -0.0F};
        static const float i3[] = {0.75F};
        static const float i4[] = {-2.75F, -0.0F, 0.5F, 0.75F, 1.75F, 1.25F, 0.25F, 0.25F, 0.75F};
        op_case_begin_in("bertc", "Linear", 1);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "2,4", i1);
        op_case_tensor(BERT_FLOAT, "3,1", i2);
        op_case_tensor(BERT_FLOAT, "1", i3);
        op_case_tensor(BERT_FLOAT, "3,3", i4);
        op_case_absent();
        op_case_int("parts", 2);
        op_case_float("alpha", 0.5F);
        op_case_string("activation", "gelu");
        op_case_expect(0, BERT_FLOAT, "2,4");
        OP_CASE_EXPECT_CLOSE(0, 0.7087591F, -1.555416F, -0.1996238F, -0.6094792F, -0.6423064F, 0.3314381F, 0.04274245F,
                             0.9437173F);
    }
    {
        static const float i0[] = {-0.25F, 0.25F, -1.0F, -1.75F, 0.5F, -0.0F};
        static const float i2[] = {-2.75F, 0.75F, 0.25F, -0.0F, 1.75F, 0.25F, 0.5F, 1.25F, 0.75F};
        op_case_begin_in("bertc", "Linear", 1);
        op_case_tensor(BERT_FLOAT, "2,3", i0);
        op_case_absent();
        op_case_tensor(BERT_FLOAT, "3,3", i2);
        op_case_absent();
        op_case_int("transpose", 1);
        op_case_string("activation", "tanh");
        op_case_expect(0, BERT_FLOAT, "2,3");
        OP_CASE_EXPECT_CLOSE(0, 0.5545997F, 0.1853332F, -0.50983F, 0.9999376F, 0.7039056F, -0.2449187F);
    }
    {
        static const float i0[] = {-0.5F,  -0.0F,  1.0F,   2.0F,   -0.25F, -0.0F, 0.25F, 1.25F,  -0.0F,
                                   1.5F,   -1.0F,  -0.25F, -0.25F, 0.75F,  1.0F,  -1.5F, -1.0F,  0.25F,
                                   -0.75F, -1.5F,  1.0F,   0.5F,   0.5F,   -0.5F, 1.0F,  -0.25F, 1.0F,
                                   -1.0F,  -0.75F, 0.25F,  -0.75F, 0.75F,  0.25F, -1.0F, 0.0F,   -0.25F};
        static const float i3[] = {1.0F, -0.75F, -0.5F, 1.25F, 2.25F, 2.0F};
        static const uint8_t i4[] = {1, 1, 0};
        op_case_begin_in("bertc", "Attention", 1);
        op_case_tensor(BERT_FLOAT, "1,3,12", i0);
        op_case_absent();
        op_case_absent();
        op_case_tensor(BERT_FLOAT, "1,2,1,3", i3);
        op_case_tensor(BERT_BOOL, "1,1,1,3", i4);
        op_case_int("heads", 2);
        op_case_float("scale", 0.5F);
        op_case_int("packed", 1);
        op_case_expect(0, BERT_FLOAT, "1,3,4");
        OP_CASE_EXPECT_CLOSE(0, 0.1732882F, 1.326712F, -0.8569758F, -0.2738374F, 0.1732882F, 1.326712F, 0.3926132F,
                             -0.4821022F, 0.1037486F, 1.396251F, 0.3005536F, -0.4667589F);
    }
    {
        static const int64_t i0[] = {1, -1, 0, 2, 2, 3};
        static const float i1[] = {0.0F,  0.25F,  1.5F,   -0.0F, -1.0F, 0.0F,   0.5F, -0.75F, -1.75F, -1.5F,
                                   0.75F, -0.75F, -0.25F, 0.25F, 0.5F,  -0.25F, 0.5F, -1.0F,  -0.25F, -1.0F};
        static const int64_t i2[] = {0, 1, 2};
        static const float i3[] = {1.25F, -0.0F, -0.75F, -0.25F, -0.25F, 0.75F, -1.5F, -1.0F, -0.5F, 2.5F, 1.0F, -0.0F};
        static const int32_t i4[] = {0, 1, 1, 1, 0, 0};
        static const float i5[] = {0.75F, 2.0F, -0.25F, -0.25F, 1.25F, 0.5F, 0.75F, -0.5F};
        static const float i6[] = {2.0F, 1.75F, 0.5F, 0.75F};
        static const float i7[] = {-2.0F, 0.75F, -0.25F, 0.5F};
        op_case_begin_in("bertc", "Embedding", 1);
        op_case_tensor(BERT_INT64, "2,3", i0);
        op_case_tensor(BERT_FLOAT, "5,4", i1);
        op_case_tensor(BERT_INT64, "1,3", i2);
        op_case_tensor(BERT_FLOAT, "3,4", i3);
        op_case_tensor(BERT_INT32, "2,3", i4);
        op_case_tensor(BERT_FLOAT, "2,4", i5);
        op_case_tensor(BERT_FLOAT, "4", i6);
        op_case_tensor(BERT_FLOAT, "4", i7);
        op_case_float("epsilon", 0.0625F);
        op_case_expect(0, BERT_FLOAT, "2,3,4");
        OP_CASE_EXPECT_CLOSE(0, -0.9353454F, 3.036588F, -0.5645571F, -0.4073761F, 0.5766321F, 1.550003F, -0.4370136F,
                             -0.5285749F, -3.141254F, 2.414328F, 0.2255224F, -0.4985971F, -0.08763423F, -0.50499F,
                             0.2280914F, -0.3964215F, -2.808122F, 3.578427F, -0.3510152F, -0.2576144F, -3.331501F,
                             3.6097F, -0.2802614F, -0.180881F);
    }
    {
        static const float i0[] = {0.75F, -0.25F, -1.75F, 0.25F, -0.75F, -0.25F, -0.5F, -0.25F};
        static const float i1[] = {-2.25F, 1.25F, 0.25F, 1.0F, 2.0F, 0.0F, -1.75F, -1.0F};
        static const float i2[] = {2.0F, 1.75F, 0.5F, 0.75F};
        static const float i3[] = {-2.0F, 0.75F, -0.25F, 0.5F};
        static const float i4[] = {-1.25F, -0.5F, 0.0F, -2.0F};
        op_case_begin_in("bertc", "SkipLayerNormalization", 1);
        op_case_tensor(BERT_FLOAT, "2,4", i0);
        op_case_tensor(BERT_FLOAT, "2,4", i1);
        op_case_tensor(BERT_FLOAT, "4", i2);
        op_case_tensor(BERT_FLOAT, "4", i3);
        op_case_tensor(BERT_FLOAT, "4", i4);
        op_case_float("epsilon", 0.0625F);
        op_case_outputs(2);
        op_case_expect(0, BERT_FLOAT, "2,4");
        OP_CASE_EXPECT_CLOSE(0, -4.696074F, 3.109065F, -0.4055428F, 0.7333142F, 0.4196696F, 1.85095F, -0.5161636F,
                             -0.4799662F);
        op_case_expect(1, BERT_FLOAT, "2,4");
        OP_CASE_EXPECT_CLOSE(1, -2.75F, 0.5F, -1.5F, -0.75F, 0.0F, -0.75F, -2.25F, -3.25F);
    }
    {
        static const float i0[] = {0.75F, -0.25F, -1.75F, 0.25F, -0.75F, -0.25F, -0.5F, -0.25F};
        static const float i1[] = {-2.25F, 1.25F, 0.25F, 1.0F, 2.0F, 0.0F, -1.75F, -1.0F};
        static const float i2[] = {2.0F, 1.75F, 0.5F, 0.75F};
        op_case_begin_in("bertc", "SkipLayerNormalization", 1);
        op_case_tensor(BERT_FLOAT, "2,4", i0);
        op_case_tensor(BERT_FLOAT, "2,4", i1);
        op_case_tensor(BERT_FLOAT, "4", i2);
        op_case_float("epsilon", 0.0625F);
        op_case_int("simplified", 1);
        op_case_expect(0, BERT_FLOAT, "2,4");
        OP_CASE_EXPECT_CLOSE(0, -2.218801F, 1.2943F, -0.5547002F, 0.6933752F, 1.714986F, -0.3001226F, -0.7717437F,
                             -0.6431198F);
    }
}

static void packed_tokens_attend_within_their_sequence(void **state) {
    {
        static const float i0[] = {0.25F, -1.5F, 0.25F, -0.0F, -0.25F, -0.0F, -0.5F, -0.5F, -1.75F, -0.0F, 1.75F, 2.0F};
        static const float i1[] = {1.25F,  0.75F,  -0.75F, 1.5F,   -0.0F,  -0.0F,  -0.25F, 0.0F,  -0.5F,  -0.0F,
                                   -1.0F,  -0.25F, 2.25F,  -0.0F,  -0.25F, 0.5F,   0.75F,  -1.0F, -0.25F, 1.0F,
                                   0.25F,  0.0F,   1.5F,   -0.75F, 0.0F,   -0.5F,  1.5F,   -2.0F, -0.75F, -0.5F,
                                   0.75F,  0.5F,   1.5F,   -1.5F,  0.75F,  -0.25F, -0.75F, 0.5F,  -1.0F,  -2.0F,
                                   -0.25F, -1.5F,  -0.75F, 0.25F,  0.25F,  1.5F,   -0.25F, -1.5F};
        static const float i2[] = {-0.75F, -1.0F, -1.25F, 0.5F, -0.75F, -2.0F, 0.75F, -0.0F, 0.25F, 0.0F, 0.75F, 0.0F};
        static const int32_t i3[] = {0, 2, 3, 1};
        static const int32_t i4[] = {0, 1, 3};
        op_case_begin_in("com.microsoft", "PackedAttention", 1);
        op_case_tensor(BERT_FLOAT, "3,4", i0);
        op_case_tensor(BERT_FLOAT, "4,12", i1);
        op_case_tensor(BERT_FLOAT, "12", i2);
        op_case_tensor(BERT_INT32, "2,2", i3);
        op_case_tensor(BERT_INT32, "3", i4);
        op_case_int("num_heads", 2);
        op_case_expect(0, BERT_FLOAT, "3,4");
        OP_CASE_EXPECT_CLOSE(0, 0.125F, -0.375F, -1.5625F, 1.0F, 4.224394F, 0.3729785F, 3.109974F, -2.688802F,
                             4.249998F, 0.3749999F, 0.7500189F, 0.937471F);
    }
    {
        static const float i0[] = {0.0F, 1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F, 7.0F};
        static const int32_t i1[] = {1, 2};
        op_case_begin_in("com.microsoft", "RemovePadding", 1);
        op_case_tensor(BERT_FLOAT, "2,2,2", i0);
        op_case_tensor(BERT_INT32, "2", i1);
        op_case_outputs(4);
        op_case_expect(0, BERT_FLOAT, "3,2");
        OP_CASE_EXPECT_CLOSE(0, 0.0F, 1.0F, 4.0F, 5.0F, 6.0F, 7.0F);
        op_case_expect(1, BERT_INT32, "2,2");
        OP_CASE_EXPECT_DATA(1, int32_t, 0, 2, 3, 1);
        op_case_expect(2, BERT_INT32, "3");
        OP_CASE_EXPECT_DATA(2, int32_t, 0, 1, 3);
        op_case_expect(3, BERT_INT32, "1");
        OP_CASE_EXPECT_DATA(3, int32_t, 2);
    }
    {
        static const float i0[] = {0.0F, 1.0F, 4.0F, 5.0F, 6.0F, 7.0F};
        static const int32_t i1[] = {0, 2, 3, 1};
        op_case_begin_in("com.microsoft", "RestorePadding", 1);
        op_case_tensor(BERT_FLOAT, "3,2", i0);
        op_case_tensor(BERT_INT32, "2,2", i1);
        op_case_expect(0, BERT_FLOAT, "2,2,2");
        OP_CASE_EXPECT_CLOSE(0, 0.0F, 1.0F, 0.0F, 0.0F, 4.0F, 5.0F, 6.0F, 7.0F);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(attention_of_onnx_runtime_takes_every_mask, op_case_teardown),
        cmocka_unit_test_teardown(the_bias_is_added_to_keys_after_the_query_too, op_case_teardown),
        cmocka_unit_test_teardown(multi_head_attention_adds_bias_mask_and_past, op_case_teardown),
        cmocka_unit_test_teardown(embeddings_of_onnx_runtime_count_the_ones_of_the_mask, op_case_teardown),
        cmocka_unit_test_teardown(quantized_attention_and_embeddings_are_exact_before_float, op_case_teardown),
        cmocka_unit_test_teardown(integer_products_are_exact, op_case_teardown),
        cmocka_unit_test_teardown(quantization_rounds_half_to_even_and_saturates, op_case_teardown),
        cmocka_unit_test_teardown(n_bit_weights_unpack_from_the_low_bits, op_case_teardown),
        cmocka_unit_test_teardown(fused_activations_and_products, op_case_teardown),
        cmocka_unit_test_teardown(rotary_embeddings_turn_pairs, op_case_teardown),
        cmocka_unit_test_teardown(canonical_operators_do_what_their_page_says, op_case_teardown),
        cmocka_unit_test_teardown(packed_tokens_attend_within_their_sequence, op_case_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
