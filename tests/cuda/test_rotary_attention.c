/* Canonical Attention that rotates its heads, as the provider plans and runs it. */
#include "cuda/ops/attention.h"
#include "cuda/ops/rotary.h"
#include "tests/cuda/node_case.h"

#include <math.h>

typedef struct shape {
    int64_t batch, heads, depth, length;
} shape;

enum { MOST_TOKENS = 160 };

/* Rows without padding: tokens with holes among them, at the ends of sequences too; the second sequence has none. */
typedef struct rows {
    int32_t tokens[MOST_TOKENS], starts[MOST_TOKENS + 1];
    int64_t count;
} rows;

static rows rows_of(const shape *s, bool none) {
    rows r = {.count = 0};
    for (int64_t b = 0; b < s->batch; b++) {
        for (int64_t i = 0; i < s->length; i++)
            if (!none && b != 1 && (i + 2 * b + 1) % 3 != 0) r.tokens[r.count++] = (int32_t)(b * s->length + i);
        r.starts[b + 1] = (int32_t)r.count;
    }
    return r;
}

/* Bits of `variant`: packed, each sequence has angles of its own, a bias, a mask, rows without padding. */
enum { PACKED = 1, OWN = 2, BIAS = 4, MASK = 8, TOKENS = 16, VARIANTS = 32, NO_TOKENS = 64 | TOKENS };

/* Numbers that are no angles: a wrong one shows. */
static void case_angles(bert_dtype dtype, const shape *s, unsigned variant) {
    for (int i = 0; i < 2; i++) case_input(dtype, 3, DIMS(variant & OWN ? s->batch : 1, s->length, s->depth), 1.0F);
}

static case_tensor *begin(bert_dtype dtype, shape s, unsigned variant) {
    const rows r = rows_of(&s, (variant & NO_TOKENS) == NO_TOKENS);
    const int64_t width = s.heads * s.depth, batch = variant & TOKENS ? 1 : s.batch;
    const int64_t length = variant & TOKENS ? r.count : s.length;
    assert_true(s.batch * s.length <= MOST_TOKENS);
    case_begin(BERT_OP_BERTC_Attention);
    case_int("heads", s.heads);
    case_float("scale", 1.5F / sqrtf((float)s.depth));
    case_string("masked_rows", "zero");
    if (variant & PACKED) case_int("packed", 1);
    if (variant & TOKENS) case_int("sequence", s.length);
    case_input(dtype, 3, DIMS(batch, length, variant & PACKED ? 3 * width : width), 2.0F);
    for (int i = 0; i < 2; i++) {
        if (variant & PACKED)
            case_absent();
        else
            case_input(dtype, 3, DIMS(batch, length, width), 2.0F);
    }
    if (variant & BIAS)
        case_input(dtype, 4, DIMS(1, s.heads, s.length, s.length), 2.0F);
    else
        case_absent();
    if (variant & MASK)
        case_input(BERT_BOOL, 4, DIMS(s.batch, 1, 1, s.length), 1.8F);
    else
        case_absent();
    case_angles(dtype, &s, variant);
    if (variant & TOKENS) {
        case_input_of(BERT_INT32, 1, DIMS(s.batch + 1), r.starts);
        case_input_of(BERT_INT32, 1, DIMS(r.count), r.tokens);
    }
    return loosened(case_output(dtype, 3, DIMS(batch, length, width)), 3);
}

/* One kernel rotates Q and K of all heads. */
static void rotary_attention_case(bert_dtype dtype, shape s, unsigned variant) {
    case_tensor *y = begin(dtype, s, variant);
    const int64_t count = y->host.dims[0] * y->host.dims[1];
    const int64_t per_row = bert_cuda_attention_ranges(s.heads, s.depth);
    case_tensor *ranges = case_extra(BERT_FLOAT, 2, DIMS(count, 2 * per_row));
    node_case_take_ranges(ranges, (int32_t)per_row);
    node_case_compare_launching("rotary_kernel", count > 0);
    case_expect_ranges(y, ranges, count * s.heads, s.depth, 64);
}

static void heads_are_rotated_as_the_reference_has_it(void **state) {
    static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
    static const int64_t depths[] = {2, 6, 16, 32, 64, 128}, lengths[] = {7, 1, 17, 5};
    for (unsigned variant = 0; variant < VARIANTS; variant++)
        for (unsigned i = 0; i < 3; i++)
            rotary_attention_case(dtypes[i], (shape){3, 3 - i % 2, depths[(variant + 2 * i) % 6], lengths[variant % 4]},
                                  variant);
    for (unsigned i = 0; i < 6; i++) {
        for (unsigned j = 0; j < 3; j++) {
            rotary_attention_case(dtypes[j], (shape){3, 2, depths[i], 9}, PACKED | TOKENS | OWN);
            rotary_attention_case(dtypes[j], (shape){1, 1, depths[i], 3}, i % 2 ? PACKED : 0);
        }
    }
    rotary_attention_case(BERT_FLOAT, (shape){2, 3, 10, 33}, PACKED | OWN); /* more than a block */
}

static void batches_without_a_token_are_nothing(void **state) {
    for (unsigned variant = 0; variant < VARIANTS; variant += 5) {
        rotary_attention_case(BERT_FLOAT16, (shape){2, 2, 32, 5}, variant | NO_TOKENS);
        rotary_attention_case(BERT_FLOAT, (shape){0, 2, 6, 5}, variant & ~(unsigned)TOKENS);
        rotary_attention_case(BERT_FLOAT, (shape){2, 2, 6, 0}, variant & ~(unsigned)TOKENS);
    }
}

/* Q, K and V from float32 tensors that the device has in 16 bits, or in halves. */
static void sessions_of_16_bits_rotate_what_they_hold(void **state) {
    enum { ROTATED = 1 << 0 | 1 << 1 | 1 << 5 | 1 << 6 };
    for (unsigned variant = 0; variant < VARIANTS; variant += 5) {
        loosened(begin(BERT_FLOAT, (shape){2, 2, 64, 5}, variant), 1000);
        node_case_compare_in_launching(BERT_PRECISION_FP16, "rotary_kernel", 1);
        loosened(begin(BERT_FLOAT, (shape){2, 2, 6, 5}, variant), 4000);
        node_case_compare_halves(variant & PACKED ? ROTATED & ~2U : ROTATED, 0);
    }
}

static bert_cuda_rotary_strides strides_of(int odd) {
    return (bert_cuda_rotary_strides){56 + (odd == 0), 12 + (odd == 1), 28 + (odd == 2)};
}

/* What doesn't begin at a multiple of 16 bytes is turned too. `place` 0 to 5: a tensor; 6 to 8: a stride of x,
 * 9 to 11 of y; 12: an element that only moves; 13: none, by vectors. */
static void uneven_case(int place) {
    enum { BATCH = 2, HEADS = 2, ROWS = 2, HALF = 4, ROOM = 128, ELEMENTS = BATCH * HEADS * ROWS * 2 * HALF };
    const int64_t depth = 2 * HALF + (place == 12);
    case_tensor *tensors[6];
    float *at[6];
    case_begin(BERT_OP_Identity);
    for (int i = 0; i < 6; i++) { /* two of x, two of y, cosines, sines */
        tensors[i] = case_input(BERT_FLOAT, 1, DIMS(ROOM), 1.0F);
        at[i] = (float *)tensors[i]->device + (i == place);
    }
    const bert_cuda_rotary_args args = {.dtype = BERT_FLOAT,
                                        .batch = BATCH,
                                        .heads = HEADS,
                                        .rows = ROWS,
                                        .depth = depth,
                                        .half = HALF,
                                        .x = {at[0], at[1]},
                                        .y = {at[2], at[3]},
                                        .x_at = strides_of(place - 6),
                                        .y_at = strides_of(place - 9),
                                        .cosines = at[4],
                                        .sines = at[5],
                                        .angle_each = true,
                                        .positions = BATCH * ROWS};
    case_good(bert_cuda_rotary(&args, NULL));
    for (int i = 0; i < 6; i++) case_fetch(tensors[i]);
    for (int i = 0; i < 2 * ELEMENTS; i++) {
        const int d = i % (2 * HALF), partner = (d + HALF) % (2 * HALF), head = i / (2 * HALF) % HEADS;
        const int row = i / (2 * HALF * HEADS) % ROWS, b = i / (2 * HALF * HEADS * ROWS) % BATCH, part = i / ELEMENTS;
        const int64_t from = b * args.x_at.batch + head * args.x_at.head + row * args.x_at.row + (part == place);
        const int64_t to = b * args.y_at.batch + head * args.y_at.head + row * args.y_at.row + (2 + part == place);
        const int64_t angle = (b * ROWS + row) * 2 * HALF + d;
        const double x = case_at(tensors[part], from + d), t = case_at(tensors[part], from + partner);
        const double expected = x * case_at(tensors[4], angle + (place == 4)) +
                                (d < HALF ? -t : t) * case_at(tensors[5], angle + (place == 5));
        assert_true(fabs(case_at(tensors[2 + part], to + d) - expected) < 1e-5);
        if (place == 12)
            assert_true(case_at(tensors[2 + part], to + 2 * HALF) == case_at(tensors[part], from + 2 * HALF));
    }
}

static void what_begins_anywhere_is_turned_pair_by_pair(void **state) {
    for (int place = 0; place <= 13; place++) uneven_case(place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_rotated_as_the_reference_has_it),
        cmocka_unit_test(batches_without_a_token_are_nothing),
        cmocka_unit_test(sessions_of_16_bits_rotate_what_they_hold),
        cmocka_unit_test(what_begins_anywhere_is_turned_pair_by_pair),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
