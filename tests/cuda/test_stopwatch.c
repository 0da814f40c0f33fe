/* Which of several ways is the fastest, where they differ by far: by the emulator's events; and weights that take turns
 * meanwhile. */
#include "cuda/cold_operand.h"
#include "cuda/stopwatch.h"

#include "tests/cuda_emulator/emulator.h"
#include "tests/support/test.h"

enum { FAILS, SLOW, FAST, AS_SLOW, WAYS };
/* The emulator's clock goes a thousandth as fast as time does: what is written has to take a microsecond anywhere. */
enum { FEW = 512 << 10, MANY = 256 << 20 };

typedef struct fills {
    unsigned char *memory; /* [MANY] */
    int *runs;             /* [WAYS] */
} fills;

static bool fill(const void *work, int way, cudaStream_t stream) {
    const fills *f = work;
    f->runs[way]++;
    if (way == FAILS) return cudaMemcpyAsync(NULL, f->memory, FEW, cudaMemcpyDeviceToDevice, stream) == cudaSuccess;
    return cudaMemsetAsync(f->memory, way, way == FAST ? FEW : MANY, stream) == cudaSuccess;
}

static void the_fastest_is_found(void **state) {
    void *memory = NULL;
    cudaStream_t streams[2] = {NULL};
    assert_int_equal(cudaMalloc(&memory, MANY), cudaSuccess);
    assert_int_equal(cudaStreamCreateWithFlags(&streams[1], cudaStreamNonBlocking), cudaSuccess);
    for (int i = 0; i < 2; i++) { /* the default stream can't be captured */
        int runs[WAYS] = {0};
        bert_cuda_fastest fastest = {0};
        assert_int_equal(bert_cuda_find_fastest(streams[i], fill, &(fills){memory, runs}, WAYS, 1, &fastest),
                         cudaSuccess);
        assert_int_equal(fastest.way, FAST);
        assert_true(fastest.nanoseconds > 0 && fastest.nanoseconds < 1000000000);
        assert_int_equal(runs[FAILS], 1);
        for (int way = SLOW; way < WAYS; way++) assert_in_range(runs[way], 2, 100);
        assert_int_equal(cudaGetLastError(), cudaSuccess);
    }
    cudaStreamDestroy(streams[1]);
    cudaFree(memory);
}

static bool fill_a_byte(const void *work, int way, cudaStream_t stream) {
    const fills *f = work;
    f->runs[way]++;
    return cudaMemsetAsync(f->memory, way, 1, stream) == cudaSuccess;
}

static void short_work_is_repeated_as_often_as_is_asked(void **state) {
    static const int least[] = {1, 100};
    void *memory = NULL;
    cudaStream_t stream;
    assert_int_equal(cudaMalloc(&memory, 1), cudaSuccess);
    assert_int_equal(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    for (int i = 0; i < 2; i++) {
        int runs = 0;
        bert_cuda_fastest fastest = {0};
        assert_int_equal(bert_cuda_find_fastest(stream, fill_a_byte, &(fills){memory, &runs}, 1, least[i], &fastest),
                         cudaSuccess);
        assert_int_equal(fastest.way, 0);
        assert_in_range(runs, 2 * (least[i] + 2), 2 * (least[i] + 22)); /* in two turns */
    }
    cudaStreamDestroy(stream);
    cudaFree(memory);
}

static void of_none_that_work_there_is_none(void **state) {
    void *memory = NULL;
    int runs[WAYS] = {0};
    assert_int_equal(cudaMalloc(&memory, FEW), cudaSuccess);
    for (int count = 0; count < 2; count++) { /* no way, and one that fails */
        bert_cuda_fastest fastest = {0};
        assert_int_equal(bert_cuda_find_fastest(NULL, fill, &(fills){memory, runs}, count, 1, &fastest), cudaSuccess);
        assert_int_equal(fastest.way, -1);
        assert_int_equal(cudaGetLastError(), cudaSuccess);
    }
    cudaFree(memory);
}

/* ---- Weights by turns ---------------------------------------------------------------------------------------------
 */

enum { L2 = 16 << 10, ROWS = 40, COLUMNS = 36, PITCH = 48, BYTES = ((ROWS - 1) * PITCH + COLUMNS) * 2 };

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
        assert_true((size_t)operand.count * BYTES > L2 && operand.count < 10);
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
        cmocka_unit_test(the_fastest_is_found),
        cmocka_unit_test(short_work_is_repeated_as_often_as_is_asked),
        cmocka_unit_test(of_none_that_work_there_is_none),
        cmocka_unit_test(copies_of_weights_take_turns),
        cmocka_unit_test(others_are_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
