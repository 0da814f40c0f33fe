/* Weights that come from memory: which they are, and copies that take turns while products of them are measured. */
#include "core/base/memory.h"
#include "cuda/cold_operand.h"
#include "cuda/plan/plan.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/test.h"

/* Few rows of a constant weight, in a model with more than L2 holds. What a plan alone has (id 0) doesn't count. */
static void weights_are_cold_where_l2_does_not_hold_them(void **state) {
    static const float values[64] = {0};
    enum { WEIGHT = 2, BYTES = sizeof values };
    const bert_host host = {.allocator = &bert_default_allocator};
    bert_device device = {.host = &host, .l2_bytes = BYTES + BYTES / 2};
    bert_prepared prepared = {.device = &device, .precision = BERT_PRECISION_FP32, .bytes = BYTES};
    bert_constant weight = {
        .id = 0, .dtype = BERT_FLOAT, .rank = 1, .dims = {64}, .bytes = BYTES, .data = (const void *)values};
    bert_cuda_node node = {.prepared = &prepared, .known = {[WEIGHT] = &weight}};
    const bert_cuda_call call = {.node = &node};
    void *memory = NULL;
    pthread_mutex_init(&device.lock, NULL);
    pthread_mutex_init(&prepared.lock, NULL);
    assert_int_equal(cudaMalloc(&memory, BYTES), cudaSuccess);
    assert_int_equal(bert_cuda_constant(&prepared, memory, &weight, NULL), BERT_OK);
    assert_false(bert_cuda_is_cold(&call, WEIGHT, 1));
    weight.id = 1;
    prepared.precision = BERT_PRECISION_FP16; /* of which the device has half the bytes: just what L2 holds */
    assert_int_equal(bert_cuda_constant(&prepared, memory, &weight, NULL), BERT_OK);
    assert_false(bert_cuda_is_cold(&call, WEIGHT, 1));
    prepared.precision = BERT_PRECISION_FP32;
    assert_int_equal(bert_cuda_constant(&prepared, memory, &weight, NULL), BERT_OK);
    assert_true(bert_cuda_is_cold(&call, WEIGHT, 1));
    assert_true(bert_cuda_is_cold(&call, WEIGHT, 1024));
    assert_false(bert_cuda_is_cold(&call, WEIGHT, 1025));
    assert_false(bert_cuda_is_cold(&call, WEIGHT + 1, 1)); /* it isn't known */
    device.l2_bytes = 0;
    assert_false(bert_cuda_is_cold(&call, WEIGHT, 1));
    cudaFree(memory);
    pthread_mutex_destroy(&prepared.lock);
    pthread_mutex_destroy(&device.lock);
}

enum { ROWS = 40, COLUMNS = 36, PITCH = 48, BYTES = ((ROWS - 1) * PITCH + COLUMNS) * 2 };

static size_t free_memory(void) {
    size_t available = 0, total = 0;
    assert_int_equal(cudaMemGetInfo(&available, &total), cudaSuccess);
    return available;
}

static void copies_of_weights_take_turns(void **state) {
    const size_t before = free_memory();
    uint16_t b[BYTES / 2], copy[BYTES / 2];
    void *device = NULL;
    assert_int_equal(cudaMalloc(&device, BYTES), cudaSuccess); /* nothing behind it may be read */
    for (int i = 0; i < BYTES / 2; i++) b[i] = (uint16_t)(i * 7919);
    assert_int_equal(cudaMemcpy(device, b, BYTES, cudaMemcpyHostToDevice), cudaSuccess);
    for (int transposed = 0; transposed < 2; transposed++) {
        const bert_cuda_gemm_args g = {.kind = BERT_CUDA_GEMM_F16,
                                       .transpose_b = transposed,
                                       .n = transposed ? ROWS : COLUMNS,
                                       .k = transposed ? COLUMNS : ROWS,
                                       .batch = 1,
                                       .b = device,
                                       .ldb = PITCH,
                                       .cold_b = true};
        bert_cuda_cold_operand operand = bert_cuda_cold_operand_open(&g, NULL);
        assert_true((size_t)operand.count * BYTES > bert_cuda_l2_bytes() && operand.count < 10);
        const void *all[10] = {NULL};
        for (int i = 0; i < 2 * operand.count; i++) {
            const void *next = bert_cuda_cold_operand_next(&operand);
            for (int j = 0; j < i && j < operand.count; j++) assert_int_equal(next == all[j], i - j == operand.count);
            if (i < operand.count) all[i] = next;
            assert_int_equal((uintptr_t)next % 256, 0);
            assert_int_equal(cudaMemcpy(copy, next, BYTES, cudaMemcpyDeviceToHost), cudaSuccess);
            assert_memory_equal(copy, b, BYTES);
        }
        assert_ptr_equal(all[0], device);
        bert_cuda_cold_operand_close(&operand);
    }
    cudaFree(device);
    assert_int_equal(free_memory(), before);
}

static void others_are_alone(void **state) {
    void *device = NULL;
    assert_int_equal(cudaMalloc(&device, BYTES), cudaSuccess);
    for (int i = 0; i < 4; i++) { /* in L2 anyway; several products; nothing; no memory for copies */
        const bert_cuda_gemm_args g = {.kind = BERT_CUDA_GEMM_F16,
                                       .n = COLUMNS,
                                       .k = i == 2 ? 0 : ROWS,
                                       .batch = i == 1 ? 2 : 1,
                                       .b = device,
                                       .ldb = PITCH,
                                       .cold_b = i != 0};
        const size_t before = free_memory();
        if (i == 3) bert_emulator_memory_limit(BYTES + 1024);
        bert_cuda_cold_operand operand = bert_cuda_cold_operand_open(&g, NULL);
        if (i == 3) bert_emulator_memory_limit((size_t)4 << 30);
        assert_int_equal(operand.count, 1);
        for (int turn = 0; turn < 3; turn++) assert_ptr_equal(bert_cuda_cold_operand_next(&operand), device);
        assert_int_equal(cudaGetLastError(), cudaSuccess);
        bert_cuda_cold_operand_close(&operand);
        assert_int_equal(free_memory(), before);
    }
    cudaFree(device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_cold_where_l2_does_not_hold_them),
        cmocka_unit_test(copies_of_weights_take_turns),
        cmocka_unit_test(others_are_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
