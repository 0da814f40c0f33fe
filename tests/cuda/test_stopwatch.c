/* Which of several ways is the fastest, where they differ by far: by the emulator's events. */
#include "cuda/stopwatch.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_is_found),
        cmocka_unit_test(short_work_is_repeated_as_often_as_is_asked),
        cmocka_unit_test(of_none_that_work_there_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
