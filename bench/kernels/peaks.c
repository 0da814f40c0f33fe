#include "bench/kernels/peaks.h"

#include "core/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* CPUs clock up and down, and share: the best of this many counts. */
enum { BURSTS = 300, ROUNDS = 12 };

const char *lab_peak_name(lab_peak peak) {
    static const char *const names[LAB_PEAK_COUNT] = {"float32", "int8", "bf16", "cache", "memory"};
    return names[peak];
}

const char *lab_peak_unit(lab_peak peak) {
    static const char *const units[LAB_PEAK_COUNT] = {"GFLOP/s", "GOP/s", "GFLOP/s", "GB/s", "GB/s"};
    return units[peak];
}

double lab_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* ---- Arithmetic -------------------------------------------------------------------------------------------------- */

/* Each function runs `count` rounds of independent chains that stay in registers; operations of a round beside it. */
typedef struct burst {
    bert_isa isa;
    lab_peak peak;
    double operations;
    void (*run)(int64_t count);
} burst;

#if defined(__x86_64__)
#include <immintrin.h>

/* CHAIN(i) for each of 12 or 24 chains: enough of them to hide an instruction's latency. */
#define CHAINS_12(CHAIN)                                                                                               \
    CHAIN(0) CHAIN(1) CHAIN(2) CHAIN(3) CHAIN(4) CHAIN(5) CHAIN(6) CHAIN(7) CHAIN(8) CHAIN(9) CHAIN(10) CHAIN(11)
#define CHAINS_24(CHAIN)                                                                                               \
    CHAINS_12(CHAIN)                                                                                                   \
    CHAIN(12)                                                                                                          \
    CHAIN(13) CHAIN(14) CHAIN(15) CHAIN(16) CHAIN(17) CHAIN(18) CHAIN(19) CHAIN(20) CHAIN(21) CHAIN(22) CHAIN(23)

/* STEP(sum) is a chain's next value, of both factors. The empty assembly keeps each in its register, and
 * compilers from computing what the factors give but once. */
#define CHAIN_256_FLOAT(i) __m256 sum##i = _mm256_setzero_ps();
#define CHAIN_256_WHOLE(i) __m256i sum##i = _mm256_setzero_si256();
#define CHAIN_512_FLOAT(i) __m512 sum##i = _mm512_setzero_ps();
#define CHAIN_512_WHOLE(i) __m512i sum##i = _mm512_setzero_si512();
#define CHAIN_STEP(i)                                                                                                  \
    __asm__ volatile("" : "+v"(factor), "+v"(other));                                                                  \
    sum##i = STEP(sum##i);                                                                                             \
    __asm__ volatile("" : "+v"(sum##i));

#define BURST(name, instructions, CHAINS, DECLARE, type, start)                                                        \
    __attribute__((target(instructions))) static void name(int64_t count) {                                            \
        type factor = start, other = start;                                                                            \
        CHAINS(DECLARE)                                                                                                \
        for (int64_t round = 0; round < count; round++) {                                                              \
            CHAINS(CHAIN_STEP)                                                                                         \
        }                                                                                                              \
    }

#define STEP(sum) _mm256_fmadd_ps(factor, factor, sum)
BURST(burst_avx2, "avx2,fma", CHAINS_12, CHAIN_256_FLOAT, __m256, _mm256_setzero_ps())
#undef STEP
/* Of bounded panels, products in 16 bits: twice two bytes a column. */
#define STEP(sum)                                                                                                      \
    _mm256_add_epi32(                                                                                                  \
        sum, _mm256_madd_epi16(                                                                                        \
                 _mm256_add_epi16(_mm256_maddubs_epi16(factor, other), _mm256_maddubs_epi16(other, factor)), other))
BURST(burst_avx2_int8, "avx2", CHAINS_12, CHAIN_256_WHOLE, __m256i, _mm256_setzero_si256())
#undef STEP
#define STEP(sum) _mm256_dpbusd_avx_epi32(sum, factor, factor)
BURST(burst_avx_vnni, "avx2,avxvnni", CHAINS_12, CHAIN_256_WHOLE, __m256i, _mm256_setzero_si256())
#undef STEP
#define STEP(sum) _mm512_fmadd_ps(factor, factor, sum)
BURST(burst_avx512, "avx512f", CHAINS_24, CHAIN_512_FLOAT, __m512, _mm512_setzero_ps())
#undef STEP
#define STEP(sum)                                                                                                      \
    _mm512_add_epi32(                                                                                                  \
        sum, _mm512_madd_epi16(                                                                                        \
                 _mm512_add_epi16(_mm512_maddubs_epi16(factor, other), _mm512_maddubs_epi16(other, factor)), other))
BURST(burst_avx512_int8, "avx512f,avx512bw", CHAINS_24, CHAIN_512_WHOLE, __m512i, _mm512_setzero_si512())
#undef STEP
#define STEP(sum) _mm512_dpbusd_epi32(sum, factor, factor)
BURST(burst_avx512_vnni, "avx512f,avx512vnni", CHAINS_24, CHAIN_512_WHOLE, __m512i, _mm512_setzero_si512())
#undef STEP
#define STEP(sum) _mm512_dpbf16_ps(sum, (__m512bh)factor, (__m512bh)factor)
BURST(burst_avx512_bf16, "avx512f,avx512bf16", CHAINS_24, CHAIN_512_FLOAT, __m512, _mm512_setzero_ps())
#undef STEP

/* Tiles of 16 rows of 64 bytes. */
__attribute__((target("amx-tile"))) static void configure_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t column_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.column_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("" : : "r"(&config) : "memory"); /* compilers are not told that it is read */
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

#define TILE_BURST(name, instructions, product)                                                                        \
    __attribute__((target(instructions))) static void name(int64_t count) {                                            \
        configure_tiles();                                                                                             \
        for (int64_t round = 0; round < count; round++) {                                                              \
            product(0, 4, 6);                                                                                          \
            product(1, 4, 7);                                                                                          \
            product(2, 5, 6);                                                                                          \
            product(3, 5, 7);                                                                                          \
        }                                                                                                              \
        _tile_release();                                                                                               \
    }
TILE_BURST(burst_amx_int8, "amx-tile,amx-int8", _tile_dpbusd)
TILE_BURST(burst_amx_bf16, "amx-tile,amx-bf16", _tile_dpbf16ps)

static const burst bursts[] = {
    {BERT_ISA_AVX2, LAB_PEAK_FLOAT, 12 * 16, burst_avx2},
    {BERT_ISA_AVX2, LAB_PEAK_INT8, 12 * 128, burst_avx2_int8},
    {BERT_ISA_AVX_VNNI, LAB_PEAK_INT8, 12 * 64, burst_avx_vnni},
    {BERT_ISA_AVX512, LAB_PEAK_FLOAT, 24 * 32, burst_avx512},
    {BERT_ISA_AVX512, LAB_PEAK_INT8, 24 * 256, burst_avx512_int8},
    {BERT_ISA_AVX512_VNNI, LAB_PEAK_INT8, 24 * 128, burst_avx512_vnni},
    {BERT_ISA_AVX512_BF16, LAB_PEAK_BF16, 24 * 64, burst_avx512_bf16},
    {BERT_ISA_AMX, LAB_PEAK_INT8, 4 * 32768, burst_amx_int8},
    {BERT_ISA_AMX, LAB_PEAK_BF16, 4 * 16384, burst_amx_bf16},
};
#else
static const burst bursts[] = {{BERT_ISA_SCALAR, LAB_PEAK_FLOAT, 0, NULL}};
#endif

static double run_burst(const burst *which) {
    const int64_t count = 20000;
    double best = 0.0;
    for (int i = 0; i < BURSTS; i++) {
        const double start = lab_seconds();
        which->run(count);
        const double seconds = lab_seconds() - start;
        const double rate = seconds > 0.0 ? which->operations * (double)count / seconds * 1e-9 : 0.0;
        if (rate > best) best = rate;
    }
    return best;
}

/* ---- Bandwidth --------------------------------------------------------------------------------------------------- */

/* Half of a common second-level cache; what no cache holds. */
static const size_t cache_bytes = (size_t)256 * 1024, memory_bytes = (size_t)256 * 1024 * 1024;

static double copy_in_cache(void) {
    char *memory = aligned_alloc(64, 2 * cache_bytes);
    double best = 0.0;
    if (!memory) return 0.0;
    memset(memory, 1, 2 * cache_bytes);
    for (int i = 0; i < ROUNDS; i++) {
        const int copies = 64;
        const double start = lab_seconds();
        for (int copy = 0; copy < copies; copy++) {
            memcpy(memory, memory + cache_bytes, cache_bytes);
            __asm__ volatile("" : : "r"(memory) : "memory");
        }
        const double rate = 2.0 * copies * (double)cache_bytes / (lab_seconds() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    free(memory);
    return best;
}

/* Large pages, as packed weights have them, and a few streams at a time: what the hardware fetches ahead is by page. */
enum { STREAMS = 4 };

static uint64_t read_streams(const uint64_t *memory, size_t count) {
    uint64_t sums[STREAMS * 8] = {0};
    for (size_t at = 0; at < count / STREAMS; at += 8)
        for (size_t stream = 0; stream < STREAMS; stream++)
            for (size_t j = 0; j < 8; j++) sums[stream * 8 + j] += memory[stream * (count / STREAMS) + at + j];
    uint64_t sum = 0;
    for (int i = 0; i < STREAMS * 8; i++) sum += sums[i];
    return sum;
}

static double read_memory(void) {
    uint64_t *memory = aligned_alloc(BERT_LARGE_PAGE, memory_bytes);
    double best = 0.0;
    if (!memory) return 0.0;
    bert_ask_for_large_pages(memory, memory_bytes);
    memset(memory, 1, memory_bytes);
    for (int i = 0; i < ROUNDS / 2; i++) {
        const double start = lab_seconds();
        const uint64_t sum = read_streams(memory, memory_bytes / sizeof *memory);
        __asm__ volatile("" : : "r"(sum));
        const double rate = (double)memory_bytes / (lab_seconds() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    free(memory);
    return best;
}

double lab_measure_peak(lab_peak peak, bert_isa isa) {
    if (peak == LAB_PEAK_CACHE) return copy_in_cache();
    if (peak == LAB_PEAK_MEMORY) return read_memory();
    /* What an instruction set lacks it takes from those that it is built on: the best counts. */
    double best = 0.0;
    for (size_t i = 0; i < sizeof bursts / sizeof *bursts; i++) {
        if (!bursts[i].run || bursts[i].peak != peak || !bert_isa_usable(bursts[i].isa, isa)) continue;
        const double rate = run_burst(&bursts[i]);
        if (rate > best) best = rate;
    }
    return best;
}
