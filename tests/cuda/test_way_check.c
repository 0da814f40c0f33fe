/* How far tensors are from each other, and which ways to the same are found to give something else. */
#include "cuda/way_check.h"

#include "core/base/float16.h"
#include "cuda/ops/difference.h"
#include "tests/cuda/kernel_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The kernel ---------------------------------------------------------------------------------------------------
 */

static const bert_dtype dtypes[] = {BERT_FLOAT, BERT_FLOAT16, BERT_BFLOAT16};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static void put(bert_dtype dtype, void *data, int64_t at, float value) {
    if (dtype == BERT_FLOAT) ((float *)data)[at] = value;
    if (dtype == BERT_FLOAT16) ((uint16_t *)data)[at] = bert_float_to_half(value);
    if (dtype == BERT_BFLOAT16) ((uint16_t *)data)[at] = bert_float_to_bfloat16(value);
}

/* All parts together, of numbers that every type has. */
static bert_cuda_difference_part difference_of(bert_dtype dtype, int64_t count, const float *x,
                                               const float *reference) {
    bert_cuda_difference_part all = {0};
    const int parts = bert_cuda_difference_parts(count);
    const size_t bytes = (size_t)count * (size_t)bert_element_bytes(dtype);
    void *host = malloc(bytes + 1);
    case_begin(BERT_OP_Identity);
    case_tensor *device[2], *written = case_extra(BERT_FLOAT, 2, DIMS(parts, 2));
    for (int side = 0; side < 2; side++) {
        device[side] = case_extra(dtype, 1, DIMS(count));
        for (int64_t i = 0; i < count; i++) put(dtype, host, i, side ? reference[i] : x[i]);
        if (count) assert_int_equal(cudaMemcpy(device[side]->device, host, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    }
    free(host);
    const bert_cuda_difference_args args = {.dtype = dtype,
                                            .count = count,
                                            .x = device[0]->device,
                                            .reference = device[1]->device,
                                            .parts = written->device};
    case_good(bert_cuda_difference(&args, NULL));
    const bert_cuda_difference_part *part = case_fetch(written);
    for (int i = 0; i < parts; i++) {
        assert_true(part[i].difference >= 0 && part[i].magnitude >= 0);
        all.difference = fmaxf(all.difference, part[i].difference);
        all.magnitude = fmaxf(all.magnitude, part[i].magnitude);
    }
    return all;
}

static void the_greatest_difference_is_found(void **state) {
    static const int64_t counts[] = {1, 255, 257, 4096, 4097, 1050000};
    enum { MOST = 1050000 }; /* more than all parts' first */
    float *x = malloc(MOST * sizeof *x), *reference = malloc(MOST * sizeof *x);
    for (int64_t i = 0; i < MOST; i++) x[i] = reference[i] = (float)(i * 37 % 64) / 64;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const int64_t count = counts[i], places[] = {0, count / 2, count - 1};
        for (int place = 0; place < 3; place++) {
            float *at = &x[places[place]], was = *at;
            *at = was - 2;
            const bert_cuda_difference_part all = difference_of(dtypes[i % DTYPES], count, x, reference);
            assert_true(all.difference == 2);
            assert_true(all.magnitude == (count > 64 ? 63.0F / 64 : 0));
            *at = was;
        }
        assert_true(difference_of(dtypes[i % DTYPES], count, x, reference).difference == 0);
    }
    free(x);
    free(reference);
}

static void what_is_not_finite_counts_where_it_should_not_be(void **state) {
    const float reference[] = {NAN, INFINITY, -INFINITY, -3, 1}, x[] = {0, 0, NAN, -3, 1};
    for (int type = 0; type < DTYPES; type++) {
        bert_cuda_difference_part all = difference_of(dtypes[type], 5, x, reference);
        assert_true(all.difference == 0 && all.magnitude == 3);
        const float bad[] = {NAN, INFINITY, -INFINITY};
        for (int i = 0; i < 3; i++) {
            float other[5];
            memcpy(other, x, sizeof other);
            other[3] = bad[i];
            all = difference_of(dtypes[type], 5, other, reference);
            assert_true(isinf(all.difference) && all.magnitude == 3);
        }
        all = difference_of(dtypes[type], 0, x, reference);
        assert_true(all.difference == 0 && all.magnitude == 0);
    }
}

static void other_types_are_refused(void **state) {
    bert_cuda_difference_args args = {.dtype = BERT_INT32, .count = 1};
    assert_int_equal(bert_cuda_difference(&args, NULL), cudaErrorInvalidValue);
    args = (bert_cuda_difference_args){.dtype = BERT_FLOAT, .count = -1};
    assert_int_equal(bert_cuda_difference(&args, NULL), cudaErrorInvalidValue);
}

/* ---- Ways ---------------------------------------------------------------------------------------------------------
 */

/* Of several parts, and zeros in the second half. */
enum { ROWS = 6, WIDTH = 2000, ELEMENTS = ROWS * WIDTH, LATE = 300 /* not of the first part */ };
enum { FIRST, SAME, NEAR, FAR, NOT_WRITTEN, HALF_WRITTEN, NAN_IN_IT, FAILS, AGAIN, WAYS };

typedef struct copies {
    float *y;                      /* [ROWS, WIDTH], on the device */
    const float (*made)[ELEMENTS]; /* by way, on the host */
    int runs[WAYS], first_fails;
} copies;

static bool copy_way(const void *work, int way, cudaStream_t stream) {
    copies *c = (copies *)(uintptr_t)work;
    c->runs[way]++;
    if (way == FAILS || (way == FIRST && c->first_fails))
        return cudaMemcpyAsync(NULL, c->y, sizeof *c->made, cudaMemcpyDeviceToDevice, stream) == cudaSuccess;
    if (way == NOT_WRITTEN) return true;
    const size_t bytes = way == HALF_WRITTEN ? sizeof *c->made / 2 : sizeof *c->made;
    return cudaMemcpyAsync(c->y, c->made[way], bytes, cudaMemcpyHostToDevice, stream) == cudaSuccess;
}

static bert_cuda_way_verdict verdicts[WAYS];

/* With memory for so many rows. */
static copies check_ways(int rows, float tolerance, bool first_fails) {
    static float made[WAYS][ELEMENTS];
    case_begin(BERT_OP_Identity);
    const size_t bytes =
        BERT_CUDA_DIFFERENCE_PARTS * sizeof(bert_cuda_difference_part) + (size_t)rows * WIDTH * sizeof(float);
    case_tensor *y = case_extra(BERT_FLOAT, 2, DIMS(ROWS, WIDTH));
    case_tensor *memory = case_extra(BERT_UINT8, 1, DIMS((int64_t)bytes));
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < ELEMENTS; i++) made[way][i] = i == LATE ? -4 : i < ELEMENTS / 2 ? (float)(i % 4) / 2 : 0;
    made[NEAR][LATE + 1] += 0.25F;
    made[FAR][LATE + 1] += 0.5F;
    made[NAN_IN_IT][ELEMENTS - 1] = NAN;
    copies c = {.y = y->device, .made = made, .first_fails = first_fails};
    const bert_cuda_way_check check = {.dtype = BERT_FLOAT,
                                       .rows = ROWS,
                                       .width = WIDTH,
                                       .y = c.y,
                                       .tolerance = tolerance,
                                       .memory = memory->device,
                                       .bytes = bytes};
    memset(verdicts, 0xff, sizeof verdicts);
    case_good(bert_cuda_check_ways(&check, copy_way, &c, WAYS, NULL, verdicts));
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    return c;
}

static void expect_verdicts(const bert_cuda_way_verdict expected[WAYS]) {
    for (int way = 0; way < WAYS; way++) assert_int_equal(verdicts[way], expected[way]);
}

static void what_differs_is_found(void **state) {
    const bert_cuda_way_verdict yes = BERT_CUDA_WAY_AGREES, no = BERT_CUDA_WAY_DIFFERS, broken = BERT_CUDA_WAY_FAILS;
    const copies c = check_ways(ROWS, 1.0F / 16, false); /* of 4 */
    expect_verdicts((bert_cuda_way_verdict[WAYS]){
        [NEAR] = yes, [FAR] = no, [NOT_WRITTEN] = no, [HALF_WRITTEN] = no, [NAN_IN_IT] = no, [FAILS] = broken});
    for (int way = 0; way < WAYS; way++) assert_int_equal(c.runs[way], 1);
    check_ways(ROWS, 0, false);
    expect_verdicts((bert_cuda_way_verdict[WAYS]){
        [NEAR] = no, [FAR] = no, [NOT_WRITTEN] = no, [HALF_WRITTEN] = no, [NAN_IN_IT] = no, [FAILS] = broken});
    /* Of the last four rows, behind what is off in the first. */
    check_ways(4, 0, false);
    expect_verdicts(
        (bert_cuda_way_verdict[WAYS]){[NOT_WRITTEN] = no, [HALF_WRITTEN] = no, [NAN_IN_IT] = no, [FAILS] = broken});
}

static void where_nothing_can_be_compared_all_agree(void **state) {
    check_ways(ROWS, 0, true);
    expect_verdicts((bert_cuda_way_verdict[WAYS]){[FIRST] = BERT_CUDA_WAY_AGREES});
    const copies c = check_ways(0, 0, false);
    expect_verdicts((bert_cuda_way_verdict[WAYS]){[FIRST] = BERT_CUDA_WAY_AGREES});
    assert_int_equal(c.runs[FIRST], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_greatest_difference_is_found),
        cmocka_unit_test(what_is_not_finite_counts_where_it_should_not_be),
        cmocka_unit_test(other_types_are_refused),
        cmocka_unit_test(what_differs_is_found),
        cmocka_unit_test(where_nothing_can_be_compared_all_agree),
    };
    return cmocka_run_group_tests_name("cuda way check", tests, case_open, case_close);
}
