/* Attention: both kernels, every form of mask, packed and ragged. */
#include "core/base/float16.h"
#include "core/graph/ops/loops.h"
#include "cuda/ops/attention.h"
#include "cuda/ops/tokens.h"
#include "tests/cuda/kernel_case.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    int64_t batch, heads, depth, queries, keys;
} shape;

static size_t size_of(bert_dtype dtype) {
    return dtype == BERT_FLOAT ? 4 : 2;
}

/* `bits`: for each of the four dimensions of the scores, whether the mask has it. */
static void mask_shape(const shape *s, int bits, int64_t dims[4], int64_t strides[4]) {
    const int64_t full[4] = {s->batch, s->heads, s->queries, s->keys};
    int64_t stride = 1;
    for (int i = 3; i >= 0; i--) {
        dims[i] = bits >> i & 1 ? full[i] : 1;
        strides[i] = dims[i] == 1 ? 0 : stride;
        stride *= dims[i];
    }
}

/* Each range is that of a head's part of a row of y, or of 64 elements of it. */
static void check_ranges(case_tensor *y, case_tensor *ranges, int64_t rows, int64_t heads, int64_t depth) {
    assert_int_equal(bert_cuda_attention_ranges(heads, depth), heads * ((depth + 63) / 64));
    case_expect_ranges(y, ranges, rows * heads, depth, 64);
}

static case_tensor *room_for_ranges(int64_t rows, int64_t heads, int64_t depth) {
    return case_extra(BERT_FLOAT, 2, DIMS(rows, 2 * bert_cuda_attention_ranges(heads, depth)));
}

/* `variant`: bit 0 packed, 1 bias, 2 mask, 3 a finite mask value, 4 zero rows, 5 and up: which dimensions masks have.
 */
static void attention_case(bert_dtype dtype, shape s, int variant) {
    const bool packed = variant & 1;
    const int64_t width = s.heads * s.depth;
    if (packed) s.keys = s.queries;
    case_begin(BERT_OP_BERTC_Attention);
    bert_cuda_attention_args args = {.dtype = dtype,
                                     .batch = s.batch,
                                     .heads = s.heads,
                                     .depth = s.depth,
                                     .queries = s.queries,
                                     .keys = s.keys,
                                     .y_batch = s.queries * width,
                                     .y_head = s.depth,
                                     .y_row = width,
                                     .scale = 0.3F,
                                     .mask_value = variant & 8 ? -FLT_MAX : -INFINITY,
                                     .zero_rows = variant >> 4 & 1};
    case_int("heads", s.heads);
    case_int("packed", packed);
    case_float("scale", args.scale);
    case_float("mask_value", args.mask_value);
    case_string("masked_rows", args.zero_rows ? "zero" : "nan");
    if (packed) {
        const case_tensor *qkv = case_input(dtype, 3, DIMS(s.batch, s.queries, 3 * width), 2.0F);
        char *data = qkv->device;
        const bert_cuda_heads heads = {data, s.queries * 3 * width, s.depth, 3 * width};
        args.q = args.k = args.v = heads;
        args.k.data = data + (size_t)width * size_of(dtype);
        args.v.data = data + 2 * (size_t)width * size_of(dtype);
        case_absent();
        case_absent();
    } else {
        const bert_cuda_heads q = {NULL, s.queries * width, s.depth, width}, k = {NULL, s.keys * width, s.depth, width};
        args.q = q;
        args.k = args.v = k;
        args.q.data = case_input(dtype, 3, DIMS(s.batch, s.queries, width), 2.0F)->device;
        args.k.data = case_input(dtype, 3, DIMS(s.batch, s.keys, width), 2.0F)->device;
        args.v.data = case_input(dtype, 3, DIMS(s.batch, s.keys, width), 2.0F)->device;
    }
    int64_t dims[4];
    if (variant & 2) {
        mask_shape(&s, variant >> 5 & 15, dims, args.bias_at);
        args.bias = case_input(dtype, 4, dims, 3.0F)->device;
    } else {
        case_absent();
    }
    if (variant & 4) {
        mask_shape(&s, variant >> 5 & 15, dims, args.mask_at);
        args.mask = case_input(BERT_BOOL, 4, dims, 1.4F)->device; /* few of them true */
    }
    case_tensor *y = case_output(dtype, 3, DIMS(s.batch, s.queries, width));
    y->tolerance *= dtype == BERT_FLOAT ? 2 : 3;
    args.y = y->device;
    case_tensor *ranges = room_for_ranges(s.batch * s.queries, s.heads, s.depth);
    args.ranges = ranges->device;
    case_compare(bert_cuda_attention(&args, NULL));
    check_ranges(y, ranges, s.batch * s.queries, s.heads, s.depth);
}

static void plain_attention_agrees_with_the_reference(void **state) {
    static const int64_t lengths[] = {1, 31, 32, 33};
    static const int64_t depths[] = {1, 5, 64, 67};
    int variant = 0;
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++, variant += 37)
            attention_case(BERT_FLOAT, (shape){1 + variant % 2, 2, depths[(i + j) % 4], lengths[i], lengths[j]},
                           variant % 512);
    attention_case(BERT_FLOAT, (shape){1, 1, 8, 3, 0}, 0);
    attention_case(BERT_FLOAT16, (shape){1, 2, 20, 9, 40}, 6 | 9 << 5);
}

static void every_form_of_mask_agrees_with_the_reference(void **state) {
    for (int variant = 0; variant < 512; variant += 2) {
        if (!(variant & 6)) continue;
        attention_case(BERT_FLOAT, (shape){2, 2, 3, 2, 5}, variant);
    }
}

static void tensor_core_attention_agrees_with_the_reference(void **state) {
    static const int64_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 131};
    int variant = 0;
    for (size_t i = 0; i < 8; i++, variant += 37) {
        const bert_dtype dtype = i % 2 ? BERT_BFLOAT16 : BERT_FLOAT16;
        attention_case(dtype, (shape){1, 1, 64, lengths[i], lengths[(i * 3 + 1) % 8]}, variant % 512);
        attention_case(dtype, (shape){1, 2, 32, lengths[7 - i] / 2 + 1, lengths[i]}, (variant + 111) % 512);
    }
    attention_case(BERT_FLOAT16, (shape){2, 2, 64, 20, 20}, 1 | 4 | 9 << 5);
    attention_case(BERT_FLOAT16, (shape){1, 1, 64, 3, 0}, 0);
    attention_case(BERT_BFLOAT16, (shape){1, 128, 64, 1, 2}, 0); /* enough work for four warps a block */
    attention_case(BERT_FLOAT16, (shape){2, 64, 32, 70, 1}, 2 | 15 << 5);
}

/* One term a key, or a look-up a score: over several tiles of keys, with blocks of one warp and of four. */
static void tensor_cores_mask_by_keys_and_by_rows(void **state) {
    enum { BY_KEYS = 1 << 5 | 1 << 8, BY_ROWS = BY_KEYS | 1 << 7 };
    for (int masks = 2; masks <= 6; masks += 2) {
        for (int rest = 1; rest <= 2; rest++) /* a finite mask value, zero rows */
            attention_case(BERT_FLOAT16, (shape){2, 2, 64, 17, 131}, masks | rest << 3 | BY_KEYS);
        attention_case(BERT_BFLOAT16, (shape){2, 64, 32, 3, 67}, masks | 8 | BY_KEYS);
    }
    attention_case(BERT_FLOAT16, (shape){2, 64, 32, 3, 67}, 6 | 8 | BY_ROWS);
}

/* The sequences of a ragged batch, packed, against each alone. */
static void ragged_case(bert_dtype dtype, int64_t depth) {
    const int32_t offsets[] = {0, 5, 5, 22, 23};
    const int64_t heads = 2, width = heads * depth, tokens = 23;
    float *values = malloc((size_t)(tokens * 3 * width) * sizeof *values);
    for (int64_t i = 0; i < tokens * 3 * width; i++) values[i] = sinf((float)i * 1.7F);
    for (int sequence = 0; sequence < 4; sequence++) {
        const int64_t from = offsets[sequence], length = offsets[sequence + 1] - from;
        case_begin(BERT_OP_BERTC_Attention);
        case_int("heads", heads);
        case_int("packed", 1);
        case_float("scale", 0.5F);
        const case_tensor *qkv = case_input_floats(dtype, 3, DIMS(1, length, 3 * width), values + from * 3 * width);
        case_tensor *y = case_output(dtype, 3, DIMS(1, length, width));
        const int64_t inputs = qkv != NULL;
        assert_int_equal(inputs, 1);
        /* All sequences at once; then the one that is looked at is copied to where it is compared. */
        case_tensor *all = case_extra(dtype, 2, DIMS(tokens, 3 * width));
        case_tensor *all_y = case_extra(dtype, 2, DIMS(tokens, width));
        case_tensor *at = case_extra(BERT_INT32, 1, DIMS(5)), *ranges = room_for_ranges(tokens, heads, depth);
        const size_t size = size_of(dtype);
        char *bytes = malloc((size_t)(tokens * 3 * width) * size);
        for (int64_t i = 0; i < tokens * 3 * width; i++) {
            const uint16_t narrow = dtype == BERT_FLOAT16 ? bert_float_to_half(values[i]) : 0;
            memcpy(bytes + (size_t)i * size, dtype == BERT_FLOAT ? (const void *)&values[i] : &narrow, size);
        }
        assert_int_equal(cudaMemcpy(all->device, bytes, (size_t)(tokens * 3 * width) * size, cudaMemcpyHostToDevice),
                         0);
        assert_int_equal(cudaMemcpy(at->device, offsets, sizeof offsets, cudaMemcpyHostToDevice), 0);
        free(bytes);
        char *data = all->device;
        const bert_cuda_attention_args args = {.dtype = dtype,
                                               .batch = 4,
                                               .heads = heads,
                                               .depth = depth,
                                               .queries = 17,
                                               .keys = 17,
                                               .q = {data, 0, depth, 3 * width},
                                               .k = {data + (size_t)width * size, 0, depth, 3 * width},
                                               .v = {data + 2 * (size_t)width * size, 0, depth, 3 * width},
                                               .y = all_y->device,
                                               .y_head = depth,
                                               .y_row = width,
                                               .offsets = at->device,
                                               .ranges = ranges->device,
                                               .scale = 0.5F};
        const cudaError_t status = bert_cuda_attention(&args, NULL);
        if (length)
            assert_int_equal(cudaMemcpy(y->device, (char *)all_y->device + (size_t)(from * width) * size,
                                        (size_t)(length * width) * size, cudaMemcpyDeviceToDevice),
                             0);
        y->tolerance *= dtype == BERT_FLOAT ? 2 : 3;
        check_ranges(all_y, ranges, tokens, heads, depth);
        case_compare(status);
    }
    free(values);
}

static void ragged_batches_agree_with_sequences_alone(void **state) {
    ragged_case(BERT_FLOAT, 6);
    ragged_case(BERT_FLOAT16, 64);
    ragged_case(BERT_FLOAT16, 32);
}

/* A batch of which the mask drops keys, in the middle and at both ends: packed without them, with the bias that the
 * padded tokens have, each row is what the padded batch has for its token. `by_keys`: the bias is one of keys. */
static void packed_case(bert_dtype dtype, int64_t depth, bool by_keys) {
    enum { BATCH = 3, LENGTH = 7, HEADS = 2 };
    static const uint8_t kept[BATCH * LENGTH] = {0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0};
    const int64_t width = HEADS * depth;
    const size_t size = size_of(dtype);
    int32_t tokens[BATCH * LENGTH], offsets[BATCH + 1] = {0}, count = 0;
    for (int32_t i = 0; i < BATCH * LENGTH; i++) {
        if (kept[i]) tokens[count++] = i;
        offsets[i / LENGTH + 1] = count;
    }
    case_begin(BERT_OP_BERTC_Attention);
    case_int("heads", HEADS);
    case_int("packed", 1);
    case_float("scale", 0.5F);
    case_tensor *qkv = case_input(dtype, 3, DIMS(BATCH, LENGTH, 3 * width), 1.0F);
    case_absent();
    case_absent();
    const case_tensor *bias = by_keys ? case_input(dtype, 4, DIMS(BATCH, 1, 1, LENGTH), 2.0F)
                                      : case_input(dtype, 4, DIMS(1, HEADS, LENGTH, LENGTH), 2.0F);
    case_input_of(BERT_BOOL, 4, DIMS(BATCH, 1, 1, LENGTH), kept);
    case_tensor *y = case_output(dtype, 3, DIMS(BATCH, LENGTH, width));
    case_tensor *rows = case_extra(dtype, 2, DIMS(count, 3 * width)),
                *rows_y = case_extra(dtype, 2, DIMS(count, width));
    case_tensor *at = case_extra(BERT_INT32, 1, DIMS(count)), *from = case_extra(BERT_INT32, 1, DIMS(BATCH + 1));
    assert_int_equal(cudaMemcpy(at->device, tokens, (size_t)count * 4, cudaMemcpyHostToDevice), 0);
    assert_int_equal(cudaMemcpy(from->device, offsets, sizeof offsets, cudaMemcpyHostToDevice), 0);
    const bert_cuda_tokens_args pack = {(int32_t)size,  3 * width,   count,       at->device,
                                        BATCH * LENGTH, qkv->device, rows->device};
    case_good(bert_cuda_pack_tokens(&pack, NULL));
    char *data = rows->device;
    case_tensor *ranges = room_for_ranges(count, HEADS, depth);
    bert_cuda_attention_args args = {.dtype = dtype,
                                     .batch = BATCH,
                                     .heads = HEADS,
                                     .depth = depth,
                                     .queries = LENGTH,
                                     .keys = LENGTH,
                                     .q = {data, 0, depth, 3 * width},
                                     .k = {data + (size_t)width * size, 0, depth, 3 * width},
                                     .v = {data + 2 * (size_t)width * size, 0, depth, 3 * width},
                                     .y = rows_y->device,
                                     .y_head = depth,
                                     .y_row = width,
                                     .offsets = from->device,
                                     .tokens = at->device,
                                     .sequence = LENGTH,
                                     .ranges = ranges->device,
                                     .bias = bias->device,
                                     .bias_at = {0, LENGTH * LENGTH, LENGTH, 1},
                                     .scale = 0.5F};
    if (by_keys) {
        args.bias_at[0] = LENGTH;
        args.bias_at[1] = args.bias_at[2] = 0;
    }
    case_good(bert_cuda_attention(&args, NULL));
    check_ranges(rows_y, ranges, count, HEADS, depth);
    const bert_cuda_tokens_args unpack = {(int32_t)size,  width,          count,    at->device,
                                          BATCH * LENGTH, rows_y->device, y->device};
    case_good(bert_cuda_unpack_tokens(&unpack, NULL));
    char *got = malloc((size_t)(BATCH * LENGTH * width) * size);
    assert_int_equal(cudaMemcpy(got, y->device, (size_t)(BATCH * LENGTH * width) * size, cudaMemcpyDeviceToHost), 0);
    /* Rows of padding: zeros here; the reference has numbers there, which are not looked at. */
    bert_tensor unpacked = y->host;
    unpacked.data = got;
    y->reference_only = true;
    case_compare(cudaSuccess);
    for (int64_t i = 0; i < BATCH * LENGTH * width; i++) {
        const double value = bert_load(&unpacked, i), expected = kept[i / width] ? case_at(y, i) : 0;
        const double tolerance = kept[i / width] ? (double)y->tolerance * 3 * (1 + fabs(expected)) : 0;
        if (!(fabs(value - expected) <= tolerance))
            fail_msg("element %lld is %g, expected %g", (long long)i, value, expected);
    }
    free(got);
}

static void packed_tokens_agree_with_the_padded_batch(void **state) {
    packed_case(BERT_FLOAT, 3, false);
    packed_case(BERT_FLOAT, 8, true);
    packed_case(BERT_FLOAT16, 64, false);
    packed_case(BERT_BFLOAT16, 32, false);
    packed_case(BERT_FLOAT16, 32, true);
}

static void what_holds_for_one_sequence_is_packed_for_all(void **state) {
    const int32_t tokens[] = {0, 2, 3, 4, 7};
    case_begin(BERT_OP_Identity);
    case_tensor *x = case_input(BERT_FLOAT, 2, DIMS(3, 2), 1.0F);
    const case_tensor *at = case_input_of(BERT_INT32, 1, DIMS(5), tokens);
    case_tensor *y = case_extra(BERT_FLOAT, 2, DIMS(5, 2));
    const bert_cuda_tokens_args args = {4, 2, 5, at->device, 3, x->device, y->device};
    case_good(bert_cuda_pack_tokens(&args, NULL));
    case_fetch(y);
    for (int i = 0; i < 10; i++) assert_true(case_at(y, i) == case_at(x, tokens[i / 2] % 3 * 2 + i % 2));
}

static void unaligned_rows_take_the_plain_kernel(void **state) {
    /* Heads of 64 whose rows are 65 apart. */
    case_begin(BERT_OP_BERTC_Attention);
    case_tensor *all = case_input(BERT_FLOAT16, 2, DIMS(6, 65), 2.0F);
    case_tensor *y = case_extra(BERT_FLOAT16, 2, DIMS(6, 64));
    const bert_cuda_heads heads = {all->device, 0, 0, 65};
    const bert_cuda_attention_args args = {.dtype = BERT_FLOAT16,
                                           .batch = 1,
                                           .heads = 1,
                                           .depth = 64,
                                           .queries = 6,
                                           .keys = 6,
                                           .q = heads,
                                           .k = heads,
                                           .v = heads,
                                           .y = y->device,
                                           .y_row = 64,
                                           .scale = 0};
    case_good(bert_cuda_attention(&args, NULL));
    case_fetch(y);
    for (int64_t d = 0; d < 64; d++) { /* a scale of 0: the mean of V */
        double mean = 0;
        for (int64_t row = 0; row < 6; row++) mean += case_at(all, row * 65 + d) / 6;
        assert_true(fabs(case_at(y, 3 * 64 + d) - mean) < 2e-3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_attention_agrees_with_the_reference),
        cmocka_unit_test(every_form_of_mask_agrees_with_the_reference),
        cmocka_unit_test(tensor_core_attention_agrees_with_the_reference),
        cmocka_unit_test(tensor_cores_mask_by_keys_and_by_rows),
        cmocka_unit_test(ragged_batches_agree_with_sequences_alone),
        cmocka_unit_test(packed_tokens_agree_with_the_padded_batch),
        cmocka_unit_test(what_holds_for_one_sequence_is_packed_for_all),
        cmocka_unit_test(unaligned_rows_take_the_plain_kernel),
    };
    return cmocka_run_group_tests(tests, case_open, case_close);
}
