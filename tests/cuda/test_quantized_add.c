/* Canonical QuantizedAdd: the kernel alone, and as the provider plans and runs it. All results are exact. */
#include "core/graph/canonical.h"
#include "cuda/ops/quantized_add.h"
#include "tests/cuda/node_case.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

/* Bits of a variant: whether a is quantized, whether y is dequantized, whether a's and y's bytes are signed, and
 * whether y is the sum itself. */
enum { QUANTIZES_A, GIVES_FLOATS, SIGNED_A, SIGNED_Y, GIVES_SUMS, VARIANTS = 1 << 5 };

typedef struct sum_case {
    case_tensor *a, *b, *y, *inputs[BERT_QUANTIZED_ADD_INPUTS];
} sum_case;

/* A scale and a zero point from input `first` on, constants of the node where they are known. */
static void add_scale(sum_case *c, int first, float scale, int zero_point, bool is_signed, bool known) {
    const uint8_t byte = (uint8_t)zero_point;
    c->inputs[first] = case_input_floats(BERT_FLOAT, 0, NULL, &scale);
    if (known) case_known();
    c->inputs[first + 1] = case_input_of(is_signed ? BERT_INT8 : BERT_UINT8, 1, DIMS(1), &byte);
    if (known) case_known();
}

/* Those of y, its new ones, those of a, its new ones. */
typedef struct scales {
    float scale[4];
    int zero_point[4];
} scales;

/* Those that a variant has, behind a and b. */
static void add_scales(sum_case *c, unsigned variant, const scales *s, bool known) {
    const bool of_a = has(variant, QUANTIZES_A), of_y = !has(variant, GIVES_SUMS);
    const bool present[] = {of_y, of_y && has(variant, GIVES_FLOATS), of_a, of_a};
    for (int i = 0; i < (of_a ? 4 : 2); i++) {
        const bool is_signed = has(variant, i < 2 ? SIGNED_Y : SIGNED_A);
        if (present[i])
            add_scale(c, BERT_QUANTIZED_ADD_Y_SCALE + 2 * i, s->scale[i], s->zero_point[i], is_signed, known);
        for (int j = 0; !present[i] && j < 2; j++) case_absent();
    }
}

/* Of which each is another, in the middle of its bytes. */
static void add_usual_scales(sum_case *c, unsigned variant, bool known) {
    const int shift_a = has(variant, SIGNED_A) ? 128 : 0, shift_y = has(variant, SIGNED_Y) ? 128 : 0;
    const scales s = {{0.037F, 0.041F, 0.023F, 0.0229F}, {131 - shift_y, 117 - shift_y, 140 - shift_a, 133 - shift_a}};
    add_scales(c, variant, &s, known);
}

static void add_output(sum_case *c, unsigned variant, int32_t rank, const int64_t *dims) {
    const bert_dtype byte = has(variant, SIGNED_Y) ? BERT_INT8 : BERT_UINT8;
    const bool floats = has(variant, GIVES_FLOATS) || has(variant, GIVES_SUMS);
    c->y = case_output(floats ? BERT_FLOAT : byte, rank, dims);
    c->y->tolerance = 0;
}

typedef struct shapes {
    int32_t rank, a_rank, b_rank;
    int64_t dims[4], a[4], b[4];
} shapes;

static sum_case begin(const shapes *s, unsigned variant, bool known) {
    sum_case c = {NULL};
    case_begin(BERT_OP_BERTC_QuantizedAdd);
    c.a = c.inputs[BERT_QUANTIZED_ADD_A] = case_input(BERT_FLOAT, s->a_rank, s->a, 4.0F);
    c.b = c.inputs[BERT_QUANTIZED_ADD_B] = case_input(BERT_FLOAT, s->b_rank, s->b, 3.0F);
    add_usual_scales(&c, variant, known);
    add_output(&c, variant, s->rank, s->dims);
    return c;
}

/* Of vectors and of single elements: equal shapes, a bias, a mask, and what joins to no fewer dimensions. */
static const shapes all_shapes[] = {
    {3, 3, 3, {2, 5, 64}, {2, 5, 64}, {2, 5, 64}},
    {3, 3, 3, {3, 1, 37}, {3, 1, 37}, {3, 1, 37}},
    {3, 3, 1, {2, 5, 36}, {2, 5, 36}, {36}},
    {2, 2, 1, {7, 33}, {7, 33}, {33}},
    {4, 4, 4, {2, 3, 5, 8}, {2, 3, 5, 8}, {2, 1, 1, 8}},
    {4, 4, 4, {2, 3, 5, 7}, {2, 3, 5, 7}, {2, 1, 1, 7}},
    {4, 4, 4, {2, 3, 4, 12}, {2, 3, 4, 1}, {2, 1, 4, 12}},
    {4, 4, 4, {2, 3, 4, 6}, {1, 3, 1, 6}, {2, 1, 4, 1}},
    {4, 1, 4, {2, 3, 4, 8}, {8}, {2, 3, 4, 8}},
    {2, 2, 0, {9, 4}, {9, 4}, {0}},
    {0, 0, 0, {0}, {0}, {0}},
    {3, 3, 3, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},
    {3, 3, 3, {2, 0, 8}, {2, 0, 8}, {2, 1, 8}},
};
enum { SHAPES = sizeof all_shapes / sizeof *all_shapes };

/* ---- The kernel -------------------------------------------------------------------------------------------------- */

static bert_cuda_byte_scale byte_scale(const sum_case *c, int first) {
    if (!c->inputs[first]) return (bert_cuda_byte_scale){.scale = NULL};
    return (bert_cuda_byte_scale){.scale = c->inputs[first]->device,
                                  .scale_type = BERT_FLOAT,
                                  .zero_point = c->inputs[first + 1]->device,
                                  .byte_type = c->inputs[first + 1]->host.dtype};
}

static bert_cuda_operand operand(const case_tensor *x, int32_t rank) {
    bert_cuda_operand result = {.data = x->device, .dtype = x->host.dtype};
    bert_cuda_broadcast_strides(rank, &x->host, result.strides);
    return result;
}

static bert_cuda_quantized_add_args args_of(const sum_case *c) {
    const bert_tensor *y = &c->y->host;
    bert_cuda_quantized_add_args args = {.rank = y->rank,
                                         .a = operand(c->a, y->rank),
                                         .b = operand(c->b, y->rank),
                                         .a_scale = byte_scale(c, BERT_QUANTIZED_ADD_A_SCALE),
                                         .a_new_scale = byte_scale(c, BERT_QUANTIZED_ADD_A_NEW_SCALE),
                                         .y_scale = byte_scale(c, BERT_QUANTIZED_ADD_Y_SCALE),
                                         .y_new_scale = byte_scale(c, BERT_QUANTIZED_ADD_Y_NEW_SCALE),
                                         .y = c->y->device};
    memcpy(args.dims, y->dims, sizeof args.dims);
    return args;
}

static void run(const sum_case *c) {
    const bert_cuda_quantized_add_args args = args_of(c);
    case_compare(bert_cuda_quantized_add(&args, NULL));
}

static void sums_agree_with_the_reference(void **state) {
    for (int i = 0; i < SHAPES; i++)
        for (unsigned variant = 0; variant < VARIANTS; variant++) {
            const sum_case c = begin(&all_shapes[i], variant, false);
            run(&c);
        }
}

/* More than the blocks of a grid take at once, by vectors and by elements. */
static void large_sums_agree_with_the_reference(void **state) {
    static const shapes large[] = {{2, 2, 1, {513, 4096}, {513, 4096}, {4096}},
                                   {1, 1, 1, {(1 << 19) + 255}, {(1 << 19) + 255}, {1}}};
    for (unsigned i = 0; i < 4; i++) {
        const sum_case c = begin(&large[i % 2], i < 2 ? 0 : 1 << QUANTIZES_A | 1 << GIVES_FLOATS, false);
        run(&c);
    }
}

/* A copy of a tensor that begins one element behind where memory is aligned for everything. */
static char *moved(const case_tensor *tensor) {
    const size_t bytes = bert_tensor_bytes(&tensor->host), size = bert_dtype_size(tensor->host.dtype);
    const case_tensor *place = case_extra(tensor->host.dtype, 1, DIMS((int64_t)(bytes / size) + 1));
    char *data = (char *)place->device + size;
    assert_int_equal(cudaMemcpy(data, tensor->device, bytes, cudaMemcpyDeviceToDevice), cudaSuccess);
    return data;
}

static void tensors_begin_anywhere(void **state) {
    static const shapes some[] = {{2, 2, 2, {3, 8}, {3, 8}, {3, 8}}, {2, 2, 2, {3, 8}, {3, 8}, {3, 1}}};
    for (unsigned i = 0; i < 32; i++) {
        const sum_case c = begin(&some[i / 16], i & 8 ? 1 << GIVES_FLOATS : 0, false);
        bert_cuda_quantized_add_args args = args_of(&c);
        const size_t bytes = bert_tensor_bytes(&c.y->host);
        if (i & 1) args.a.data = moved(c.a);
        if (i & 2) args.b.data = moved(c.b);
        if (i & 4) args.y = moved(c.y);
        const cudaError_t status = bert_cuda_quantized_add(&args, NULL);
        if (i & 4) assert_int_equal(cudaMemcpy(c.y->device, args.y, bytes, cudaMemcpyDeviceToDevice), cudaSuccess);
        case_compare(status);
    }
}

/* Rows that aren't behind each other, and that begin where no vector does. */
static void rows_may_lie_apart(void **state) {
    static const shapes rows = {2, 2, 2, {3, 8}, {3, 8}, {1, 8}};
    for (int64_t apart = 8; apart < 13; apart++) {
        const sum_case c = begin(&rows, 1 << QUANTIZES_A, false);
        bert_cuda_quantized_add_args args = args_of(&c);
        char *data = case_extra(BERT_FLOAT, 2, DIMS(3, apart))->device;
        for (int64_t row = 0; row < 3; row++)
            assert_int_equal(
                cudaMemcpy(data + row * apart * 4, (char *)c.a->device + row * 32, 32, cudaMemcpyDeviceToDevice),
                cudaSuccess);
        args.a.data = data;
        args.a.strides[0] = apart;
        case_compare(bert_cuda_quantized_add(&args, NULL));
    }
}

static void sums_work_in_place(void **state) {
    for (unsigned i = 0; i < 8; i++) {
        const int64_t width = i & 1 ? 64 : 33, one = i & 4 ? 1 : width;
        const bool over_b = has(i, 1);
        const shapes s = {2, 2, 2, {5, width}, {5, over_b ? one : width}, {5, over_b ? width : one}};
        const sum_case c = begin(&s, 1 << QUANTIZES_A | 1 << GIVES_FLOATS | 1 << SIGNED_Y, false);
        void *own = c.y->device;
        c.y->device = over_b ? c.b->device : c.a->device;
        run(&c);
        c.y->device = own;
    }
}

/* Halves between bytes, what lies beyond them, and what is no number, with scales that are as odd. */
static void special_values_are_as_in_the_reference(void **state) {
    static const float values[] = {0,         -0.0F, 0.5F,         -0.5F,   1.5F,        -1.5F,
                                   2.5F,      -2.5F, 126.5F,       127.5F,  -128.5F,     -129.5F,
                                   255.5F,    1e9F,  -1e9F,        3e38F,   -3e38F,      INFINITY,
                                   -INFINITY, NAN,   FLT_TRUE_MIN, FLT_MIN, 16777215.0F, 0.49999997F};
    static const float odd[] = {1, 0.5F, 1e-40F, 3e38F, 0, -1, INFINITY, NAN, 0.3F};
    enum { COUNT = sizeof values / sizeof *values };
    for (unsigned i = 0; i < 9 * VARIANTS; i++) {
        const unsigned variant = i % VARIANTS;
        const float scale = odd[i / VARIANTS];
        sum_case c = {NULL};
        case_begin(BERT_OP_BERTC_QuantizedAdd);
        c.a = c.inputs[BERT_QUANTIZED_ADD_A] = case_input_floats(BERT_FLOAT, 2, DIMS(COUNT, 1), values);
        c.b = c.inputs[BERT_QUANTIZED_ADD_B] = case_input_floats(BERT_FLOAT, 1, DIMS(COUNT), values);
        const scales by = {{scale, 0.7F, 1, scale}, {255, 0, 128, 3}};
        add_scales(&c, variant, &by, false);
        add_output(&c, variant, 2, DIMS(COUNT, COUNT));
        run(&c);
    }
}

static void what_the_header_does_not_allow_is_refused(void **state) {
    const sum_case c = begin(&all_shapes[0], 1 << QUANTIZES_A | 1 << GIVES_FLOATS, false);
    const bert_cuda_quantized_add_args good = args_of(&c);
    bert_cuda_quantized_add_args bad[9];
    for (int i = 0; i < 9; i++) bad[i] = good;
    bad[0].dims[0] = -1;
    bad[1].a.dtype = BERT_FLOAT16;
    bad[2].a.dtype = bad[2].b.dtype = BERT_DOUBLE;
    bad[3].b.data = NULL;
    bad[4].y_scale.scale = NULL;
    bad[5].a_new_scale.scale = NULL;
    bad[6].a_scale.byte_type = BERT_INT16;
    bad[7].y_new_scale.scale_type = BERT_DOUBLE;
    bad[8].b.lower = good.b.data;
    for (int i = 0; i < 9; i++) assert_int_equal(bert_cuda_quantized_add(&bad[i], NULL), cudaErrorInvalidValue);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

/* By scales that are constant, as passes have them, or come with a run. */
static void nodes_agree_with_the_reference(void **state) {
    for (int i = 0; i < SHAPES; i++)
        for (unsigned variant = 0; variant < VARIANTS; variant++) {
            const sum_case c = begin(&all_shapes[i], variant, variant % 3 == 0);
            const bert_tensor *y = &c.y->host;
            const bool vectors = y->rank > 0 && y->dims[y->rank - 1] % 4 == 0;
            node_case_compare_launching(vectors ? "quantized_add_kernel<T, VECTOR>" : "quantized_add_kernel<T, 1>",
                                        bert_tensor_elements(y) > 0);
        }
}

/* Numbers of few bits and scales that are powers of 2: 16 bits hold them, and what they become, as they are. */
static void nodes_of_16_bits_agree_with_the_reference(void **state) {
    static const scales powers = {{0.5F, 0.25F, 0.5F, 0.125F}, {40, 38, 9, 7}};
    float values[2][80];
    for (int i = 0; i < 80; i++) {
        values[0][i] = (float)(i * 29 % 64 - 32) / 4;
        values[1][i] = (float)(i * 13 % 64 - 32) / 4;
    }
    for (unsigned i = 0; i < 16 * VARIANTS; i++) {
        const unsigned variant = i % VARIANTS, more = i / VARIANTS;
        const bool bias = has(more, 1);
        const int64_t *dims = has(more, 2) ? DIMS(4, 20) : DIMS(16, 5);
        sum_case c = {NULL};
        case_begin(BERT_OP_BERTC_QuantizedAdd);
        case_input_floats(BERT_FLOAT, 2, dims, values[0]);
        case_input_floats(BERT_FLOAT, bias ? 1 : 2, bias ? dims + 1 : dims, values[1]);
        add_scales(&c, variant, &powers, has(more, 0));
        add_output(&c, variant, 2, dims);
        node_case_compare_in_launching(has(more, 3) ? BERT_PRECISION_BF16 : BERT_PRECISION_FP16, "quantized_add_kernel",
                                       1);
    }
}

/* Scales that are known stay float32: rounded to 16 bits they would give other bytes, and in float16 the new one of y
 * is 0. */
static void constant_scales_stay_floats(void **state) {
    float values[400];
    for (int i = 0; i < 400; i++) values[i] = (float)(i - 200) / 4;
    static const scales fine = {{0.5019F, 2e-8F, 0.5019F, 0.5023F}, {0}};
    for (unsigned i = 0; i < 8; i++) {
        const unsigned variant = i >> 1 | 1 << SIGNED_A | 1 << SIGNED_Y;
        sum_case c = {NULL};
        case_begin(BERT_OP_BERTC_QuantizedAdd);
        case_input_floats(BERT_FLOAT, 1, DIMS(400), values);
        case_input_floats(BERT_FLOAT, 0, NULL, &values[201]);
        add_scales(&c, variant, &fine, true);
        add_output(&c, variant, 1, DIMS(400));
        if (has(variant, GIVES_FLOATS)) c.y->tolerance = 4e-8F;
        node_case_compare_in(i & 1 ? BERT_PRECISION_BF16 : BERT_PRECISION_FP16);
    }
}

/* Of tensors that are held in float32 both halves count; bytes tell. */
static void wide_inputs_count_in_full(void **state) {
    for (unsigned i = 0; i < 16; i++) {
        const int64_t width = i & 4 ? 64 : 33;
        const shapes s = {2, 2, 2, {9, width}, {9, width}, {i & 8 ? 1 : 9, width}};
        begin(&s, 1 << QUANTIZES_A, false);
        node_case_compare_halves(i & 3, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_agree_with_the_reference),
        cmocka_unit_test(large_sums_agree_with_the_reference),
        cmocka_unit_test(tensors_begin_anywhere),
        cmocka_unit_test(rows_may_lie_apart),
        cmocka_unit_test(sums_work_in_place),
        cmocka_unit_test(special_values_are_as_in_the_reference),
        cmocka_unit_test(what_the_header_does_not_allow_is_refused),
        cmocka_unit_test(nodes_agree_with_the_reference),
        cmocka_unit_test(nodes_of_16_bits_agree_with_the_reference),
        cmocka_unit_test(constant_scales_stay_floats),
        cmocka_unit_test(wide_inputs_count_in_full),
    };
    return cmocka_run_group_tests(tests, node_case_open, node_case_close);
}
