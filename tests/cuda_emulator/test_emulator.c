/* The emulator finds what it should: kernels with a planted fault, and the same ones without. */
#include "core/base/float16.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/planted.h"
#include "tests/support/test.h"
#include "tests/support/worst.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 3, THREADS = 128 };

/* A test that fails leaves no faults to the next. */
static int begin(void **state) {
    bert_emulator_clear();
    bert_emulator_order(0);
    cudaGetLastError();
    return 0;
}

static void *on_device(const void *data, size_t bytes) {
    void *memory = NULL;
    assert_int_equal(cudaMalloc(&memory, bytes), cudaSuccess);
    if (data) assert_int_equal(cudaMemcpy(memory, data, bytes, cudaMemcpyHostToDevice), cudaSuccess);
    return memory;
}

static void from_device(void *to, void *memory, size_t bytes) {
    assert_int_equal(cudaMemcpy(to, memory, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    assert_int_equal(cudaFree(memory), cudaSuccess);
}

/* Every fault is of the kind, and the first says where: planted.cu and a line. */
static void expect_faults(bert_emulator_kind kind, const char *text) {
    char line[1024];
    if (bert_emulator_fault_count() == 0) fail_msg("nothing was found");
    for (size_t i = 0; bert_emulator_fault_at(i); i++) {
        bert_emulator_describe(bert_emulator_fault_at(i), line, sizeof line);
        if (bert_emulator_fault_at(i)->kind != kind) fail_msg("found something else: %s", line);
        if (i > 0) continue;
        if (!strstr(line, text)) fail_msg("\"%s\" doesn't say \"%s\"", line, text);
        if (!strstr(line, "planted.cu:")) fail_msg("\"%s\" doesn't say where", line);
    }
    bert_emulator_clear();
    cudaGetLastError();
}

static void expect_none(void) {
    bert_emulator_print();
    assert_int_equal(bert_emulator_fault_count(), 0);
}

/* Whether the sums are right. */
static bool sums_with(planted_fault fault, cudaError_t expected) {
    float x[BLOCKS * THREADS], y[BLOCKS];
    for (int i = 0; i < BLOCKS * THREADS; i++) x[i] = (float)(i * 7 % 31);
    float *dx = on_device(x, sizeof x), *dy = on_device(NULL, sizeof y);
    assert_int_equal(planted_sums(dx, dy, BLOCKS, THREADS, fault, NULL), expected);
    cudaGetLastError();
    from_device(y, dy, sizeof y);
    cudaFree(dx);
    for (int block = 0; block < BLOCKS; block++) {
        float sum = 0;
        for (int i = 0; i < THREADS; i++) sum += x[block * THREADS + i];
        if (sum != y[block]) return false;
    }
    return true;
}

static void a_good_kernel_is_left_alone(void **state) {
    for (uint32_t order = 0; order < 5; order++) {
        bert_emulator_order(order);
        assert_true(sums_with(PLANTED_NONE, cudaSuccess));
        expect_none();
    }
    bert_emulator_order(0);
}

static void a_missing_barrier_is_a_race(void **state) {
    sums_with(PLANTED_MISSING_BARRIER, cudaSuccess);
    /* thread 0 goes first: what it reads is not written, and who writes it later meets its read */
    char line[1024];
    bool raced = false;
    for (size_t i = 0; bert_emulator_fault_at(i); i++) {
        bert_emulator_describe(bert_emulator_fault_at(i), line, sizeof line);
        raced = raced || bert_emulator_fault_at(i)->kind == BERT_EMULATOR_RACE;
    }
    assert_true(raced);
    bert_emulator_clear();
    bert_emulator_order(1); /* thread 0 goes last: the sums are right, and still it is found */
    assert_true(sums_with(PLANTED_MISSING_BARRIER, cudaSuccess));
    expect_faults(BERT_EMULATOR_RACE, "reads shared memory that thread");
    bert_emulator_order(0);
}

static void a_swapped_lane_gives_other_sums(void **state) {
    assert_false(sums_with(PLANTED_SWAPPED_LANE, cudaSuccess));
    expect_none();
}

static void bad_addresses_end_the_launch(void **state) {
    sums_with(PLANTED_OFF_BY_ONE, cudaErrorIllegalAddress);
    expect_faults(BERT_EMULATOR_OUT_OF_BOUNDS, "writes 4 bytes at offset 32 of a shared array of 32 bytes");
    sums_with(PLANTED_OVERRUN, cudaErrorIllegalAddress);
    expect_faults(BERT_EMULATOR_OUT_OF_BOUNDS, "writes 4 bytes at offset 12 of device memory of 12 bytes");
    sums_with(PLANTED_OVERREAD, cudaErrorIllegalAddress);
    expect_faults(BERT_EMULATOR_OUT_OF_BOUNDS, "reads 4 bytes at offset 1536 of device memory of 1536 bytes");
    sums_with(PLANTED_STRAY, cudaErrorIllegalAddress);
    expect_faults(BERT_EMULATOR_OUT_OF_BOUNDS, "writes 4 bytes at 0x10, which is no device memory");
}

static void unwritten_shared_memory_is_found(void **state) {
    sums_with(PLANTED_NOT_WRITTEN, cudaSuccess);
    expect_faults(BERT_EMULATOR_UNINITIALIZED, "no thread of the block wrote");
}

static void divergence_is_found(void **state) {
    sums_with(PLANTED_DIVERGED_BARRIER, cudaErrorLaunchFailure);
    expect_faults(BERT_EMULATOR_DIVERGENCE, "for thread 64, which has ended");
    sums_with(PLANTED_DIVERGED_LANES, cudaErrorLaunchFailure);
    expect_faults(BERT_EMULATOR_DIVERGENCE, "waits at __shfl_xor_sync");
    sums_with(PLANTED_ABSENT_LANE, cudaSuccess);
    char line[1024];
    bert_emulator_describe(bert_emulator_fault_at(0), line, sizeof line);
    assert_non_null(strstr(line, "takes the value of lane 16, which is not in it"));
    bert_emulator_clear();
    assert_true(sums_with(PLANTED_NONE, cudaSuccess)); /* and the next launch is well */
    expect_none();
}

static void blocks_that_write_the_same_are_found(void **state) {
    sums_with(PLANTED_BLOCKS_COLLIDE, cudaSuccess);
    expect_faults(BERT_EMULATOR_RACE, "writes device memory that another block wrote");
}

static void warps_need_syncwarp(void **state) {
    float x[32], y[32];
    for (int i = 0; i < 32; i++) x[i] = (float)i;
    for (int fault = 0; fault < 2; fault++) {
        float *dx = on_device(x, sizeof x), *dy = on_device(NULL, sizeof y);
        assert_int_equal(planted_swap(dx, dy, fault ? PLANTED_NO_SYNCWARP : PLANTED_NONE, NULL), cudaSuccess);
        from_device(y, dy, sizeof y);
        cudaFree(dx);
        if (fault) break;
        expect_none();
        for (int i = 0; i < 32; i++) assert_true(y[i] == x[i ^ 1]);
    }
    assert_true(bert_emulator_fault_count() > 0);
    bert_emulator_clear();
}

static void copies_are_waited_for(void **state) {
    float x[64], y[64];
    for (int i = 0; i < 64; i++) x[i] = (float)i;
    const planted_fault faults[] = {PLANTED_NONE,        PLANTED_NO_WAIT,    PLANTED_NO_WAIT_NEXT,
                                    PLANTED_COPIED_OVER, PLANTED_MISALIGNED, PLANTED_COPIED_ELSEWHERE};
    const cudaError_t errors[] = {[4] = cudaErrorMisalignedAddress, [5] = cudaErrorIllegalAddress};
    for (int i = 0; i < 6; i++) {
        float *dx = on_device(x, sizeof x), *dy = on_device(NULL, sizeof y);
        assert_int_equal(planted_copy(dx, dy, faults[i], NULL), errors[i]);
        from_device(y, dy, sizeof y);
        cudaFree(dx);
        if (i == 0) {
            expect_none();
            assert_memory_equal(x, y, sizeof x);
        } else if (i < 3) {
            const bert_emulator_fault *first = bert_emulator_fault_at(0);
            assert_int_equal(first->kind, BERT_EMULATOR_UNINITIALIZED);
            assert_non_null(strstr(first->message, "that a copy in the background may still be on its way to"));
            bert_emulator_clear();
        } else if (i == 3) {
            expect_faults(BERT_EMULATOR_RACE, "with no barrier between");
        } else if (i == 5) {
            const bert_emulator_fault *first = bert_emulator_fault_at(0);
            assert_int_equal(first->kind, BERT_EMULATOR_OUT_OF_BOUNDS);
            assert_non_null(strstr(first->message, "to what is no shared memory of its block"));
            bert_emulator_clear();
            cudaGetLastError();
        } else {
            expect_faults(BERT_EMULATOR_MISALIGNED, "reads 16 bytes at an address that they do not divide");
        }
    }
}

static void device_memory_is_left_alone_until_the_kernel_before_has_ended(void **state) {
    const char *const told = "touches device memory before the kernel before this one has ended";
    assert_true(sums_with(PLANTED_TOO_EARLY, cudaSuccess)); /* which it always has here */
    expect_faults(BERT_EMULATOR_TOO_EARLY, told);
    float x[64] = {0};
    float *dx = on_device(x, sizeof x), *dy = on_device(x, sizeof x);
    assert_int_equal(planted_copy(dx, dy, PLANTED_TOO_EARLY, NULL), cudaSuccess);
    assert_int_equal(bert_emulator_fault_count(), 16); /* where copies begin, not where they are waited for */
    assert_non_null(strstr(bert_emulator_fault_at(0)->message, told));
    bert_emulator_clear();
    cudaFree(dx);
    cudaFree(dy);
    sums_with(PLANTED_LEFT_EARLY, cudaSuccess);
    assert_int_equal(bert_emulator_fault_count(), THREADS);
    assert_int_equal(bert_emulator_fault_at(0)->kind, BERT_EMULATOR_TOO_EARLY);
    assert_non_null(strstr(bert_emulator_fault_at(0)->message, "ends before the kernel before this one has"));
    bert_emulator_clear();
}

/* ---- Clusters ------------------------------------------------------------------------------------------------------
 */

static int begin_clusters(void **state) {
    bert_emulator_have_capability(9, 0);
    return begin(state);
}

static int end_clusters(void **state) {
    bert_emulator_have_capability(8, 9);
    bert_emulator_order(0);
    return 0;
}

/* Whether each block of the clusters got what its neighbour has. */
static bool neighbours_with(int cluster, int blocks, planted_fault fault, cudaError_t expected) {
    float x[16 * 32], y[16 * 32] = {0};
    const size_t bytes = (size_t)blocks * 32 * sizeof *x;
    for (int i = 0; i < blocks * 32; i++) x[i] = (float)i;
    float *dx = on_device(x, bytes), *dy = on_device(y, bytes);
    assert_int_equal(planted_neighbours(dx, dy, cluster, blocks, fault, NULL), expected);
    cudaGetLastError();
    from_device(y, dy, bytes);
    cudaFree(dx);
    for (int block = 0; block < blocks; block++) {
        const int other = block / cluster * cluster + (block + 1) % cluster;
        if (memcmp(y + block * 32, x + other * 32, 32 * sizeof *x) != 0) return false;
    }
    return true;
}

static void a_good_cluster_is_left_alone(void **state) {
    for (uint32_t order = 0; order < 4; order++) {
        bert_emulator_order(order);
        for (int cluster = 2; cluster <= 8; cluster++)
            assert_true(neighbours_with(cluster, 2 * cluster, PLANTED_NONE, cudaSuccess));
    }
    expect_none();
}

static void clusters_that_no_gpu_takes_are_refused(void **state) {
    neighbours_with(3, 8, PLANTED_NONE, cudaErrorInvalidClusterSize);
    neighbours_with(16, 16, PLANTED_NONE, cudaErrorInvalidClusterSize);
    bert_emulator_have_capability(8, 9);
    neighbours_with(2, 4, PLANTED_NONE, cudaErrorNotSupported);
    expect_none();
}

static void faults_of_clusters_are_found(void **state) {
    static const struct {
        planted_fault fault;
        cudaError_t error;
        bert_emulator_kind kind;
        const char *text;
    } cases[] = {
        {PLANTED_BLOCKS_BARRIER, cudaSuccess, BERT_EMULATOR_RACE, "reads shared memory that another block wrote"},
        {PLANTED_PARTING, cudaSuccess, BERT_EMULATOR_RACE, "reads shared memory that another block wrote"},
        {PLANTED_WRITTEN_AGAIN, cudaSuccess, BERT_EMULATOR_RACE, "writes shared memory that another block read"},
        {PLANTED_ENDED_BLOCK, cudaSuccess, BERT_EMULATOR_RACE, "of its cluster, which has ended"},
        {PLANTED_SKIPPED, cudaErrorLaunchFailure, BERT_EMULATOR_DIVERGENCE, "waits at cluster_barrier of"},
        {PLANTED_FAR_BLOCK, cudaErrorIllegalAddress, BERT_EMULATOR_OUT_OF_BOUNDS, "of block 7 of a cluster of 2"},
        {PLANTED_FAR_PREFETCH, cudaErrorIllegalAddress, BERT_EMULATOR_OUT_OF_BOUNDS, "offset 512 of device memory"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool found = false;
        char line[1024] = "nothing";
        neighbours_with(2, 4, cases[i].fault, cases[i].error);
        for (size_t at = 0; bert_emulator_fault_at(at); at++) {
            bert_emulator_describe(bert_emulator_fault_at(at), line, sizeof line);
            if (bert_emulator_fault_at(at)->kind == cases[i].kind && strstr(line, cases[i].text)) found = true;
        }
        if (!found) fail_msg("fault %d is not found; %s", (int)cases[i].fault, line);
        bert_emulator_clear();
    }
}

/* The worst error against plain loops over a [16][16] and b [16][8]. */
static double product_error(int bf16, int swapped) {
    uint16_t a[16 * 16], b[16 * 8];
    float d[16 * 8], expected[16 * 8];
    for (int i = 0; i < 16 * 16; i++) {
        const float value = (float)(i * 5 % 17) - 8;
        a[i] = bf16 ? bert_float_to_bfloat16(value) : bert_float_to_half(value);
    }
    for (int i = 0; i < 16 * 8; i++) {
        const float value = (float)(i * 3 % 13) - 6;
        b[i] = bf16 ? bert_float_to_bfloat16(value) : bert_float_to_half(value);
    }
    uint16_t *da = on_device(a, sizeof a), *db = on_device(b, sizeof b);
    float *dd = on_device(NULL, sizeof d);
    const cudaError_t error = planted_product(da, db, dd, bf16, swapped, NULL);
    expect_none();
    assert_int_equal(error, cudaSuccess);
    from_device(d, dd, sizeof d);
    cudaFree(da);
    cudaFree(db);
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float sum = 0;
            for (int k = 0; k < 16; k++)
                sum += ((float)((row * 16 + k) * 5 % 17) - 8) * ((float)((k * 8 + column) * 3 % 13) - 6);
            expected[row * 8 + column] = sum;
        }
    }
    expect_none();
    return worst_error(d, expected, 16 * 8);
}

static void products_have_the_layout_of_the_instruction_set(void **state) {
    for (int bf16 = 0; bf16 < 2; bf16++) {
        assert_true(product_error(bf16, 0) == 0);
        assert_true(product_error(bf16, 1) > 0.5);
    }
    float a[16 * 8], b[8 * 8], d[16 * 8];
    for (int i = 0; i < 16 * 8; i++) a[i] = (float)(i % 11) - 5;
    for (int i = 0; i < 8 * 8; i++) b[i] = (float)(i % 7) - 3;
    float *da = on_device(a, sizeof a), *db = on_device(b, sizeof b), *dd = on_device(NULL, sizeof d);
    assert_int_equal(planted_product_tf32(da, db, dd, NULL), cudaSuccess);
    from_device(d, dd, sizeof d);
    cudaFree(da);
    cudaFree(db);
    for (int i = 0; i < 16 * 8; i++) {
        float sum = 0;
        for (int k = 0; k < 8; k++) sum += a[i / 8 * 8 + k] * b[k * 8 + i % 8];
        assert_true(d[i] == sum);
    }
    int8_t x[16 * 32], w[32 * 8];
    int32_t y[16 * 8];
    for (int i = 0; i < 16 * 32; i++) x[i] = (int8_t)(i * 37);
    for (int i = 0; i < 32 * 8; i++) w[i] = (int8_t)(i * 91);
    int8_t *dx = on_device(x, sizeof x), *dw = on_device(w, sizeof w);
    int32_t *dy = on_device(NULL, sizeof y);
    assert_int_equal(planted_product_s8(dx, dw, dy, NULL), cudaSuccess);
    from_device(y, dy, sizeof y);
    cudaFree(dx);
    cudaFree(dw);
    for (int i = 0; i < 16 * 8; i++) {
        int32_t sum = 0;
        for (int k = 0; k < 32; k++) sum += x[i / 8 * 32 + k] * w[k * 8 + i % 8];
        assert_int_equal(y[i], sum);
    }
    expect_none();
}

static void atomics_meet_atomics_alone(void **state) {
    int32_t x[100], counts[4];
    for (int i = 0; i < 100; i++) x[i] = i * i % 4;
    for (int atomic = 1; atomic >= 0; atomic--) {
        memset(counts, 0, sizeof counts);
        int32_t *dx = on_device(x, sizeof x), *dc = on_device(counts, sizeof counts);
        assert_int_equal(planted_histogram(dx, dc, 100, atomic, NULL), cudaSuccess);
        from_device(counts, dc, sizeof counts);
        cudaFree(dx);
        if (!atomic) break;
        expect_none();
        assert_int_equal(counts[0] + counts[1], 100);
    }
    expect_faults(BERT_EMULATOR_RACE, "device memory that");
}

static void votes_and_shuffles_agree_with_their_definitions(void **state) {
    int32_t x[32];
    uint32_t y[32 * 4], ballot = 0;
    for (uint32_t i = 0; i < 32; i++) {
        x[i] = i % 3 == 0 ? 0 : (int32_t)i;
        ballot |= (uint32_t)(x[i] != 0) << i;
    }
    int32_t *dx = on_device(x, sizeof x);
    uint32_t *dy = on_device(NULL, sizeof y);
    assert_int_equal(planted_votes(dx, dy, NULL), cudaSuccess);
    from_device(y, dy, sizeof y);
    cudaFree(dx);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(y[4 * i], 1);
        assert_int_equal(y[4 * i + 1], 0);
        assert_int_equal(y[4 * i + 2], ballot);
        assert_int_equal(y[4 * i + 3], x[i ? i - 1 : 0]);
    }
    expect_none();
}

/* ---- The runtime API -----------------------------------------------------------------------------------------------
 */

static void a_captured_graph_runs_when_it_is_launched(void **state) {
    float x[THREADS], y = 0;
    for (int i = 0; i < THREADS; i++) x[i] = 1;
    float *dx = on_device(x, sizeof x), *dy = on_device(&y, sizeof y);
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    assert_int_equal(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    const uint64_t before = bert_emulator_launches();
    assert_int_equal(cudaMemcpyAsync(dx, x, sizeof x, cudaMemcpyHostToDevice, stream), cudaSuccess);
    assert_int_equal(planted_sums(dx, dy, 1, THREADS, PLANTED_NONE, stream), cudaSuccess);
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    cudaGetLastError();
    assert_int_equal(bert_emulator_launches(), before);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    for (int run = 1; run <= 3; run++) {
        for (int i = 0; i < THREADS; i++) x[i] = (float)run;
        assert_int_equal(cudaGraphLaunch(exec, stream), cudaSuccess);
        assert_int_equal(cudaMemcpy(&y, dy, sizeof y, cudaMemcpyDeviceToHost), cudaSuccess);
        assert_true(y == (float)(run * THREADS));
    }
    assert_int_equal(bert_emulator_launches(), before + 3);
    cudaGraphExecDestroy(exec);
    cudaStreamDestroy(stream);
    cudaFree(dx);
    cudaFree(dy);
    expect_none();
}

static void memory_is_bounded_and_calls_fail_when_asked(void **state) {
    void *memory, *more;
    size_t before, total, after;
    assert_int_equal(cudaMemGetInfo(&before, &total), cudaSuccess);
    bert_emulator_memory_limit(1 << 20);
    assert_int_equal(cudaMalloc(&memory, (1 << 20) - 100), cudaSuccess);
    assert_int_equal(cudaMalloc(&more, 101), cudaErrorMemoryAllocation);
    assert_null(more);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaFree(memory), cudaSuccess);
    assert_int_equal(cudaFree(memory), cudaErrorInvalidValue); /* twice */
    cudaGetLastError();
    bert_emulator_memory_limit((size_t)4 << 30);
    assert_int_equal(cudaMemGetInfo(&after, &total), cudaSuccess);
    assert_int_equal(before, after);

    bert_emulator_fail_after(1, cudaErrorMemoryAllocation);
    assert_int_equal(cudaMalloc(&memory, 8), cudaSuccess);
    assert_int_equal(cudaMalloc(&more, 8), cudaErrorMemoryAllocation);
    assert_int_equal(cudaMalloc(&more, 8), cudaSuccess);
    char bytes[16] = {0};
    assert_int_equal(cudaMemcpy(memory, bytes, 9, cudaMemcpyHostToDevice), cudaErrorInvalidValue); /* past its end */
    assert_int_equal(cudaMemcpy(memory, bytes, 8, cudaMemcpyDeviceToHost), cudaErrorInvalidValue); /* wrong way */
    cudaGetLastError();
    cudaFree(memory);
    cudaFree(more);
}

/* A host that follows a device pointer: a fault here as on a GPU. */
static void the_host_can_not_touch_device_memory(void **state) {
    float *memory = on_device(NULL, 64);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile float *)memory > 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    cudaFree(memory);
}

static void launches_are_checked(void **state) {
    float *memory = on_device(NULL, 4096);
    assert_int_equal(planted_sums(memory, memory, 1, 2048, PLANTED_NONE, NULL), cudaErrorInvalidConfiguration);
    assert_int_equal(planted_sums(memory, memory, 0, 32, PLANTED_NONE, NULL), cudaErrorInvalidConfiguration);
    cudaGetLastError();
    cudaFree(memory);
}

/* Threads allow and launch a kernel at a time: what one has allowed another may not take back. */
static void a_kernel_keeps_the_shared_memory_that_it_was_allowed(void **state) {
    static const int limits[] = {50 << 10, 60 << 10, 60 << 10, 50 << 10};
    char line[1024];
    for (int i = 0; i < 4; i++) {
        expect_none();
        assert_int_equal(cudaFuncSetAttribute(limits, cudaFuncAttributeMaxDynamicSharedMemorySize, limits[i]),
                         cudaSuccess);
    }
    assert_int_equal(bert_emulator_fault_count(), 1);
    bert_emulator_describe(bert_emulator_fault_at(0), line, sizeof line);
    if (!strstr(line, "less shared: ") || !strstr(line, "allowed 51200 bytes")) fail_msg("%s", line);
    bert_emulator_clear();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_kernel_is_left_alone, begin),
        cmocka_unit_test_setup(a_missing_barrier_is_a_race, begin),
        cmocka_unit_test_setup(a_swapped_lane_gives_other_sums, begin),
        cmocka_unit_test_setup(bad_addresses_end_the_launch, begin),
        cmocka_unit_test_setup(unwritten_shared_memory_is_found, begin),
        cmocka_unit_test_setup(divergence_is_found, begin),
        cmocka_unit_test_setup(blocks_that_write_the_same_are_found, begin),
        cmocka_unit_test_setup(warps_need_syncwarp, begin),
        cmocka_unit_test_setup(copies_are_waited_for, begin),
        cmocka_unit_test_setup(device_memory_is_left_alone_until_the_kernel_before_has_ended, begin),
        cmocka_unit_test_setup_teardown(a_good_cluster_is_left_alone, begin_clusters, end_clusters),
        cmocka_unit_test_setup_teardown(clusters_that_no_gpu_takes_are_refused, begin_clusters, end_clusters),
        cmocka_unit_test_setup_teardown(faults_of_clusters_are_found, begin_clusters, end_clusters),
        cmocka_unit_test_setup(products_have_the_layout_of_the_instruction_set, begin),
        cmocka_unit_test_setup(atomics_meet_atomics_alone, begin),
        cmocka_unit_test_setup(votes_and_shuffles_agree_with_their_definitions, begin),
        cmocka_unit_test_setup(a_captured_graph_runs_when_it_is_launched, begin),
        cmocka_unit_test_setup(memory_is_bounded_and_calls_fail_when_asked, begin),
        cmocka_unit_test_setup(the_host_can_not_touch_device_memory, begin),
        cmocka_unit_test_setup(launches_are_checked, begin),
        cmocka_unit_test_setup(a_kernel_keeps_the_shared_memory_that_it_was_allowed, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
