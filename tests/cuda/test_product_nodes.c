/* Products of every kind, as the provider plans and runs them: also with the library for all that it takes. */
#include "core/graph/canonical.h"
#include "cuda/environment.h"
#include "tests/cuda/node_case.h"

#include <math.h>

/* ---- MatMulNBits ------------------------------------------------------------------------------------------------- */

/* `zero`: 0 none, 1 packed, 2 floats. */
static void nbits_case(bert_dtype dtype, bert_dtype scale_type, int64_t rows, int64_t n, int64_t k, int64_t block,
                       int64_t bits, int zero, bool bias) {
    const int64_t blocks = (k + block - 1) / block, bytes = block * bits / 8;
    case_begin(BERT_OP_MS_MatMulNBits);
    case_int("N", n);
    case_int("K", k);
    case_int("bits", bits);
    case_int("block_size", block);
    case_input(dtype, 3, DIMS(1, rows, k), 1.0F);
    case_input(BERT_UINT8, 3, DIMS(n, blocks, bytes), 256);
    case_input(scale_type, 1, DIMS(n * blocks), bits == 8 ? 0.001F : 0.01F);
    if (zero == 1)
        case_input(BERT_UINT8, 1, DIMS(n * ((blocks * bits + 7) / 8)), 256);
    else if (zero == 2)
        case_input(scale_type, 2, DIMS(n, blocks), 8);
    else if (bias)
        case_absent();
    if (bias) {
        case_absent();
        case_input(dtype, 1, DIMS(n), 1.0F);
    }
    loosened(case_output(dtype, 3, DIMS(1, rows, n)), dtype == BERT_FLOAT ? 4 : 3);
}

static void products_with_weights_of_few_bits_agree_with_the_reference(void **state) {
    static const int64_t bits[] = {2, 4, 8}, depths[] = {1, 16, 31, 33, 100}, columns[] = {1, 3, 17};
    int i = 0;
    for (int b = 0; b < 3; b++)
        for (int d = 0; d < 5; d++)
            for (int zero = 0; zero < 3; zero++, i++) {
                nbits_case(i % 4 == 3 ? BERT_FLOAT16 : BERT_FLOAT, i % 5 == 4 ? BERT_FLOAT16 : BERT_FLOAT, 1 + i % 3,
                           columns[i % 3], depths[d], i % 2 ? 16 : 32, bits[b], zero, i % 3 == 1);
                node_case_compare();
            }
    nbits_case(BERT_FLOAT, BERT_FLOAT, 0, 4, 16, 16, 4, 0, false);
    node_case_compare();
}

/* A bias doesn't make a product the library's, of which the last bits may depend on the number of rows. */
static void what_our_own_kernel_takes_it_makes_with_the_bias(void **state) {
    const bool own = bert_cuda_environment_says(BERT_CUDA_LINEAR) != BERT_CUDA_LINEAR_LIBRARY;
    nbits_case(BERT_BFLOAT16, BERT_BFLOAT16, 5, 40, 64, 16, 4, 1, true);
    node_case_compare_launching("tensor_product_kernel", own);
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* Of types that the library has no products of: every form of batches and vectors. */
static void plain_products_agree_with_the_reference(void **state) {
    static const bert_dtype dtypes[] = {BERT_DOUBLE, BERT_INT32, BERT_UINT32, BERT_INT64, BERT_UINT64};
    static const int64_t sizes[] = {1, 15, 16, 17, 33};
    for (int i = 0; i < 25; i++) {
        const bert_dtype dtype = dtypes[i % 5];
        const int64_t m = sizes[i / 5], k = sizes[(i * 2 + 1) % 5], n = sizes[(i * 3 + 2) % 5];
        case_begin(BERT_OP_MatMul);
        case_input(dtype, 4, DIMS(2, 1, m, k), 9);
        case_input(dtype, 3, DIMS(3, k, n), 9);
        loosened(case_output(dtype, 4, DIMS(2, 3, m, n)), 20);
        node_case_compare();
        case_begin(BERT_OP_MatMul); /* a row, and a column */
        if (i % 2) {
            case_input(dtype, 1, DIMS(k), 9);
            case_input(dtype, 3, DIMS(2, k, n), 9);
            loosened(case_output(dtype, 2, DIMS(2, n)), 20);
        } else {
            case_input(dtype, 3, DIMS(2, m, k), 9);
            case_input(dtype, 1, DIMS(k), 9);
            loosened(case_output(dtype, 2, DIMS(2, m)), 20);
        }
        node_case_compare();
    }
    case_begin(BERT_OP_MatMul);
    case_input(BERT_DOUBLE, 2, DIMS(3, 0), 1);
    case_input(BERT_DOUBLE, 2, DIMS(0, 2), 1);
    case_output(BERT_DOUBLE, 2, DIMS(3, 2));
    node_case_compare();
}

static void gemm_of_double_agrees_with_the_reference(void **state) {
    static const char *const activations[] = {"Relu", "Tanh", "Sigmoid"};
    for (int i = 0; i < 16; i++) {
        const bert_dtype dtype = i % 2 ? BERT_DOUBLE : BERT_FLOAT;
        const int64_t m = 5, k = 18, n = 33;
        case_begin(i & 8 ? BERT_OP_MS_FusedGemm : BERT_OP_Gemm);
        if (i & 8) case_string("activation", activations[i % 3]);
        case_int("transA", i >> 1 & 1);
        case_int("transB", i >> 2 & 1);
        case_float("alpha", 0.5F);
        case_float("beta", i % 3 ? 2.0F : 0.0F);
        case_input(dtype, 2, i & 2 ? DIMS(k, m) : DIMS(m, k), 1.0F);
        case_input(dtype, 2, i & 4 ? DIMS(n, k) : DIMS(k, n), 1.0F);
        if (i % 4) case_input(dtype, i % 4 == 1 ? 1 : 2, i % 4 == 1 ? DIMS(n) : DIMS(m, 1), 1.0F);
        loosened(case_output(dtype, 2, DIMS(m, n)), 4);
        node_case_compare();
    }
    case_begin(BERT_OP_MS_GemmFastGelu);
    case_input(BERT_DOUBLE, 3, DIMS(2, 3, 8), 1.0F);
    case_input(BERT_DOUBLE, 2, DIMS(8, 5), 1.0F);
    case_input(BERT_DOUBLE, 1, DIMS(5), 1.0F);
    case_output(BERT_DOUBLE, 3, DIMS(2, 3, 5));
    node_case_compare();
}

/* FusedMatMul's A and B, transposed in every way. */
static void batches_that_are_transposed_agree_with_the_reference(void **state) {
    for (int i = 0; i < 32; i++) {
        const bert_dtype dtype = i & 16 ? BERT_DOUBLE : BERT_FLOAT;
        const int64_t m = 5, k = 7, n = 3, p = 2, q = 4;
        const int64_t a_rows = i & 1 ? k : m, a_columns = i & 1 ? m : k, b_rows = i & 4 ? n : k,
                      b_columns = i & 4 ? k : n;
        case_begin(BERT_OP_MS_FusedMatMul);
        case_int("transA", i & 1);
        case_int("transBatchA", i >> 1 & 1);
        case_int("transB", i >> 2 & 1);
        case_int("transBatchB", i >> 3 & 1);
        case_float("alpha", 0.5F);
        case_input(dtype, 4, i & 2 ? DIMS(a_rows, p, q, a_columns) : DIMS(p, q, a_rows, a_columns), 1.0F);
        case_input(dtype, 4, i & 8 ? DIMS(b_rows, p, q, b_columns) : DIMS(p, q, b_rows, b_columns), 1.0F);
        loosened(case_output(dtype, 4, DIMS(p, q, m, n)), 2);
        node_case_compare();
    }
}

/* ---- Products of bytes ------------------------------------------------------------------------------------------- */

/* Bits of `variant`: 0 signed a, 1 signed b, 2 scales by row, 3 by column, 4 by matrix. `vectors`: 1 a, 2 b. */
static void qlinear_case(bert_dtype scale_type, int vectors, unsigned variant) {
    const int64_t batch = 3, m = 4, k = 260, n = 5;
    const bert_dtype a_type = has(variant, 0) ? BERT_INT8 : BERT_UINT8,
                     b_type = has(variant, 1) ? BERT_INT8 : BERT_UINT8;
    const bool rows = has(variant, 2) && !(vectors & 1), columns = has(variant, 3) && !(vectors & 2);
    const bool matrices = has(variant, 4) && !vectors;
    const float y_scale = 0.05F;
    case_begin(BERT_OP_QLinearMatMul);
    for (int side = 0; side < 2; side++) {
        const bert_dtype type = side ? b_type : a_type;
        const bool each = side ? columns : rows, alone = vectors >> side & 1;
        const int64_t places = side ? n : m;
        if (alone)
            case_input(type, 1, DIMS(k), 127);
        else
            case_input(type, 3, side ? DIMS(batch, k, n) : DIMS(batch, m, k), 127);
        for (int i = 0; i < 2; i++) { /* scale, then zero point */
            const bert_dtype of = i ? type : scale_type;
            const float greatest = i ? 127.0F : 0.01F;
            if (each && matrices)
                case_input(of, 3, side ? DIMS(batch, 1, places) : DIMS(batch, places, 1), greatest);
            else if (each)
                case_input(of, 1, DIMS(places), greatest);
            else
                case_input(of, 0, NULL, greatest);
        }
    }
    case_input_floats(scale_type, 0, NULL, &y_scale);
    case_input(BERT_UINT8, 0, NULL, 127);
    if (vectors == 3)
        case_output(BERT_UINT8, 0, NULL);
    else if (vectors)
        case_output(BERT_UINT8, 2, DIMS(batch, vectors == 1 ? n : m));
    else
        case_output(BERT_UINT8, 3, DIMS(batch, m, n));
    node_case_compare();
}

static void quantized_products_agree_with_the_reference(void **state) {
    for (unsigned variant = 0; variant < 32; variant++) {
        for (int vectors = 0; vectors < 4; vectors++) {
            if (variant > 15 && vectors) continue;
            qlinear_case(variant % 3 == 1   ? BERT_FLOAT16
                         : variant % 3 == 2 ? BERT_BFLOAT16
                                            : BERT_FLOAT,
                         vectors, variant);
        }
    }
}

static void products_that_are_scaled_agree_with_the_reference(void **state) {
    const float scale = 0.02F;
    for (int i = 0; i < 8; i++) {
        const int64_t m = 3, k = 20, n = 4;
        const bert_dtype type = i & 1 ? BERT_FLOAT16 : BERT_FLOAT;
        case_begin(BERT_OP_MS_QGemm);
        case_float("alpha", 0.5F);
        case_int("transA", i >> 1 & 1);
        case_int("transB", i >> 2 & 1);
        case_input(BERT_UINT8, 2, i & 2 ? DIMS(k, m) : DIMS(m, k), 255);
        case_input_floats(type, 0, NULL, &scale);
        case_input(BERT_UINT8, 0, NULL, 255);
        case_input(BERT_INT8, 2, i & 4 ? DIMS(n, k) : DIMS(k, n), 127);
        case_input(type, 1, DIMS(n), 0.01F);
        case_input(BERT_INT8, 1, DIMS(n), 127);
        case_input(BERT_INT32, 1, DIMS(n), 1000);
        loosened(case_output(type, 2, DIMS(m, n)), 2);
        node_case_compare();

        case_begin(BERT_OP_MS_MatMulIntegerToFloat);
        case_input(BERT_UINT8, 3, DIMS(2, m, k), 255);
        case_input(BERT_INT8, 2, DIMS(k, n), 127);
        case_input_floats(type, 0, NULL, &scale);
        case_input(type, 1, DIMS(n), 0.01F);
        case_input(BERT_UINT8, 0, NULL, 255);
        case_input(BERT_INT8, 1, DIMS(n), 127);
        if (i & 2) case_input(type, 1, DIMS(n), 1.0F);
        loosened(case_output(type, 3, DIMS(2, m, n)), 4);
        node_case_compare();
    }
    for (int i = 0; i < 2; i++) {
        case_begin(BERT_OP_MS_DynamicQuantizeMatMul);
        case_input(BERT_FLOAT, i ? 3 : 1, i ? DIMS(2, 3, 20) : DIMS(20), 1.0F);
        case_input(BERT_INT8, 2, DIMS(20, 4), 127);
        case_input(BERT_FLOAT, 1, DIMS(4), 0.01F);
        if (i) {
            case_input(BERT_INT8, 1, DIMS(4), 127);
            case_input(BERT_FLOAT, 1, DIMS(4), 1.0F);
        }
        loosened(i ? case_output(BERT_FLOAT, 3, DIMS(2, 3, 4)) : case_output(BERT_FLOAT, 1, DIMS(4)), 4);
        node_case_compare();
    }
}

/* QuantizedLinear with weight_only: the model's floats may have 16 bits. */
static void weights_alone_of_any_float_agree_with_the_reference(void **state) {
    static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    for (int i = 0; i < 12; i++) {
        const bert_dtype dtype = dtypes[i % 3];
        const int64_t m = 3, k = 17, n = 5, parts = 1 + i % 2;
        case_begin(BERT_OP_BERTC_QuantizedLinear);
        case_int("weight_only", 1);
        case_int("parts", parts);
        case_int("transpose", i >> 1 & 1);
        if (i & 4) case_string("activation", "gelu");
        case_input(dtype, 3, DIMS(1, m, k), 1.0F);
        for (int j = 1; j < BERT_QUANTIZED_LINEAR_WEIGHT(0); j++) case_absent();
        for (int64_t part = 0; part < parts; part++) {
            case_input(i & 2 ? BERT_UINT8 : BERT_INT8, 2, i & 2 ? DIMS(n, k) : DIMS(k, n), 127);
            case_known();
            case_input(dtype, 1, DIMS(part ? 1 : n), 0.02F);
            case_known();
            if (i & 1) {
                case_input(i & 2 ? BERT_UINT8 : BERT_INT8, 1, DIMS(part ? 1 : n), 127);
                case_known();
            } else {
                case_absent();
            }
            case_input(dtype, 1, DIMS(n), 1.0F);
            case_known();
        }
        loosened(case_output(dtype, 3, DIMS(1, m, n * parts)), 6);
        node_case_compare();
    }
}

/* QuantizedLinear of one row of each sequence, whose scale is that of a tensor, a sequence or a row of x. */
static void rows_of_a_place_agree_with_the_reference(void **state) {
    static const char *const scopes[] = {"tensor", "sequence", "token"};
    static const int32_t starts[] = {0, 5, 10};
    for (int i = 0; i < 3 * 2 * 10; i++) {
        const int keepdims = i / 3 % 2;
        case_begin(BERT_OP_BERTC_QuantizedLinear);
        case_int("place", i / 6 - 5);
        case_int("keepdims", keepdims);
        case_string("scope", scopes[i % 3]);
        case_input(BERT_FLOAT, 3, DIMS(2, 5, 17), 1.0F);
        for (int j = 1; j < BERT_QUANTIZED_LINEAR_WEIGHT(0); j++) case_absent();
        case_input(BERT_INT8, 2, DIMS(17, 6), 127);
        case_known();
        case_input(BERT_FLOAT, 1, DIMS(6), 0.02F);
        case_known();
        case_input(BERT_INT8, 0, NULL, 127);
        case_known();
        case_input(BERT_FLOAT, 1, DIMS(6), 1.0F);
        case_known();
        if (i % 3 == 1) {
            case_input_of(BERT_INT32, 1, DIMS(3), starts);
            case_input(BERT_BOOL, 1, DIMS(10), 1);
        }
        loosened(keepdims ? case_output(BERT_FLOAT, 3, DIMS(2, 1, 6)) : case_output(BERT_FLOAT, 2, DIMS(2, 6)), 4);
        node_case_compare_launching("ranges_kernel", 1); /* nobody left ranges */
    }
}

/* Who wrote x left several ranges of each row, so many that blocks join parts of them first, and one place alone is
 * multiplied: all rows have a share in its scale, or those of its sequence, or its own ranges. */
static void chosen_rows_have_the_scale_of_many_ranges(void **state) {
    enum { BATCH = 2, LENGTH = 350, EACH = 13, PART = 2, WIDTH = EACH * PART, RANGES = BATCH * LENGTH * EACH };
    static const char *const scopes[] = {"tensor", "sequence", "token"};
    static const int32_t starts[] = {0, LENGTH, BATCH * LENGTH};
    static const int places[] = {0, 1, LENGTH - 1, -1};
    static float ranges[2 * RANGES];
    for (int i = 0; i < 3 * 2 * 4; i++) {
        case_begin(BERT_OP_BERTC_QuantizedLinear);
        case_int("place", places[i / 6]);
        case_string("scope", scopes[i % 3]);
        const case_tensor *x = case_input(BERT_FLOAT, 3, DIMS(BATCH, LENGTH, WIDTH), 1.0F);
        for (int at = 0; at < RANGES; at++) {
            const float first = (float)case_at(x, at * PART), second = (float)case_at(x, at * PART + 1);
            ranges[2 * at] = fminf(0, fminf(first, second));
            ranges[2 * at + 1] = fmaxf(0, fmaxf(first, second));
        }
        for (int j = 1; j < BERT_QUANTIZED_LINEAR_WEIGHT(0); j++) case_absent();
        case_input(BERT_INT8, 2, DIMS(WIDTH, 6), 127);
        case_known();
        case_input(BERT_FLOAT, 1, DIMS(6), 0.02F);
        case_known();
        case_absent();
        case_absent();
        if (i % 3 == 1) {
            case_input_of(BERT_INT32, 1, DIMS(3), starts);
            case_input(BERT_BOOL, 1, DIMS(BATCH * LENGTH), 2);
        }
        loosened(case_output(BERT_FLOAT, 2, DIMS(BATCH, 6)), 4);
        case_tensor *given = case_extra(BERT_FLOAT, 2, DIMS(RANGES, 2));
        assert_int_equal(cudaMemcpy(given->device, ranges, sizeof ranges, cudaMemcpyHostToDevice), cudaSuccess);
        node_case_give_ranges(given, EACH);
        if (i / 3 % 2)
            node_case_compare_launching("ranges_kernel", 0);
        else
            node_case_compare_launching("join_kernel", i % 3 == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_with_weights_of_few_bits_agree_with_the_reference),
        cmocka_unit_test(what_our_own_kernel_takes_it_makes_with_the_bias),
        cmocka_unit_test(plain_products_agree_with_the_reference),
        cmocka_unit_test(gemm_of_double_agrees_with_the_reference),
        cmocka_unit_test(batches_that_are_transposed_agree_with_the_reference),
        cmocka_unit_test(quantized_products_agree_with_the_reference),
        cmocka_unit_test(products_that_are_scaled_agree_with_the_reference),
        cmocka_unit_test(weights_alone_of_any_float_agree_with_the_reference),
        cmocka_unit_test(rows_of_a_place_agree_with_the_reference),
        cmocka_unit_test(chosen_rows_have_the_scale_of_many_ranges),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
