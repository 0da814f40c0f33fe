/*
 * The instructions of AMX, AVX-VNNI and AVX-512 BF16 that the kernels use, in C: a kernel's file that is compiled after
 * this header runs on machines that lack them, so that its packing, its tails and its tiles are tested everywhere.
 * Results are the instructions' own, bit for bit, as Intel's manual defines them: sums of 8-bit products wrap around,
 * bfloat16 products are fused with float32 sums that are rounded to nearest, and subnormal numbers count as zeros.
 *
 * What hardware refuses with a fault fails the test here: a tile without a configuration, a shape that does not go with
 * the others, a configuration that is none.
 */
#ifndef BERT_TESTS_CPU_EMULATED_INSTRUCTIONS_H
#define BERT_TESTS_CPU_EMULATED_INSTRUCTIONS_H

#include "core/base/float16.h"
#include "tests/cpu/emulated_kernels.h"
#include "tests/support/test.h"

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static inline float flushed(float x) {
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0F, x) : x;
}

static inline float bf16_at(const void *values, int64_t index) {
    uint16_t half;
    memcpy(&half, (const char *)values + index * (int64_t)sizeof half, sizeof half);
    return flushed(bert_bfloat16_to_float(half));
}

/* ---- AMX: eight tiles of up to 16 rows of 64 bytes, in this thread. ---------------------------------------------- */

typedef struct emulated_tile {
    int rows, row_bytes;
    unsigned char data[16][64];
} emulated_tile;

static _Thread_local emulated_tile emulated_tiles[8];
static _Thread_local bool emulated_configured;

static inline void emulated_loadconfig(const void *memory) {
    unsigned char config[64];
    memcpy(config, memory, sizeof config);
    assert_int_equal(config[0], 1); /* palette */
    assert_int_equal(config[1], 0);
    for (int i = 2; i < 16; i++) assert_int_equal(config[i], 0);
    for (int i = 0; i < 8; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, config + 16 + 2 * i, sizeof row_bytes);
        assert_true(row_bytes <= 64 && config[48 + i] <= 16 && (row_bytes == 0) == (config[48 + i] == 0));
        emulated_tiles[i] = (emulated_tile){.rows = config[48 + i], .row_bytes = row_bytes};
    }
    for (int i = 8; i < 16; i++) assert_true(config[16 + 2 * i] == 0 && config[17 + 2 * i] == 0 && config[48 + i] == 0);
    emulated_configured = true;
}

static inline void emulated_release(void) {
    emulated_configured = false;
}

static inline emulated_tile *emulated_tile_at(int number) {
    assert_true(emulated_configured && number >= 0 && number < 8 && emulated_tiles[number].rows > 0);
    return &emulated_tiles[number];
}

static inline void emulated_zero(int number) {
    emulated_tile *tile = emulated_tile_at(number);
    memset(tile->data, 0, sizeof tile->data);
}

static inline void emulated_load(int number, const void *base, int64_t stride) {
    emulated_tile *tile = emulated_tile_at(number);
    memset(tile->data, 0, sizeof tile->data);
    for (int row = 0; row < tile->rows; row++)
        memcpy(tile->data[row], (const char *)base + row * stride, (size_t)tile->row_bytes);
}

static inline void emulated_store(int number, void *base, int64_t stride) {
    const emulated_tile *tile = emulated_tile_at(number);
    for (int row = 0; row < tile->rows; row++)
        memcpy((char *)base + row * stride, tile->data[row], (size_t)tile->row_bytes);
}

/* The shapes that a product wants; returns the groups of four bytes along k. */
static inline int emulated_groups(const emulated_tile *sum, const emulated_tile *a, const emulated_tile *b) {
    assert_true(sum != a && sum != b && a != b);
    assert_true(sum->rows == a->rows && sum->row_bytes == b->row_bytes && a->row_bytes == 4 * b->rows);
    return a->row_bytes / 4;
}

/* Unsigned bytes of a, signed ones of b. */
static inline void emulated_dpbusd(int sum_number, int a_number, int b_number) {
    emulated_tile *sum = emulated_tile_at(sum_number);
    const emulated_tile *a = emulated_tile_at(a_number), *b = emulated_tile_at(b_number);
    const int groups = emulated_groups(sum, a, b);
    for (int row = 0; row < sum->rows; row++) {
        for (int column = 0; column < sum->row_bytes / 4; column++) {
            uint32_t total;
            memcpy(&total, &sum->data[row][4 * column], sizeof total);
            for (int group = 0; group < groups; group++)
                for (int i = 0; i < 4; i++)
                    total += (uint32_t)(a->data[row][4 * group + i] * (int8_t)b->data[group][4 * column + i]);
            memcpy(&sum->data[row][4 * column], &total, sizeof total);
        }
    }
}

/* Even and odd products are summed apart, then added to each other and to what was there. */
static inline void emulated_dpbf16ps(int sum_number, int a_number, int b_number) {
    if (bert_emulated_product) bert_emulated_product();
    emulated_tile *sum = emulated_tile_at(sum_number);
    const emulated_tile *a = emulated_tile_at(a_number), *b = emulated_tile_at(b_number);
    const int groups = emulated_groups(sum, a, b);
    for (int row = 0; row < sum->rows; row++) {
        for (int column = 0; column < sum->row_bytes / 4; column++) {
            float even = 0.0F, odd = 0.0F, total;
            memcpy(&total, &sum->data[row][4 * column], sizeof total);
            for (int group = 0; group < groups; group++) {
                const unsigned char *left = &a->data[row][4 * group], *right = &b->data[group][4 * column];
                even = flushed(fmaf(bf16_at(left, 0), bf16_at(right, 0), even));
                odd = flushed(fmaf(bf16_at(left, 1), bf16_at(right, 1), odd));
            }
            total = flushed(flushed(total) + flushed(even + odd));
            memcpy(&sum->data[row][4 * column], &total, sizeof total);
        }
    }
}

#define BERT_AMX_EMULATOR
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbusd
#undef _tile_dpbf16ps
#define _tile_loadconfig emulated_loadconfig
#define _tile_release emulated_release
#define _tile_zero emulated_zero
#define _tile_loadd emulated_load
#define _tile_stored emulated_store
#define _tile_dpbusd emulated_dpbusd
#define _tile_dpbf16ps emulated_dpbf16ps

static inline void emulated_prefetch(const void *line) {
    if (bert_emulated_prefetch) bert_emulated_prefetch(line);
}

#undef _mm_prefetch
#define _mm_prefetch(line, hint) emulated_prefetch(line)

/* ---- AVX-VNNI and AVX-512 BF16 ----------------------------------------------------------------------------------- */

#if defined(__AVX2__)
static inline __m256i emulated_dpbusd_256(__m256i sum, __m256i a, __m256i b) {
    uint32_t totals[8];
    uint8_t left[32];
    int8_t right[32];
    memcpy(totals, &sum, sizeof totals);
    memcpy(left, &a, sizeof left);
    memcpy(right, &b, sizeof right);
    for (int i = 0; i < 32; i++) totals[i / 4] += (uint32_t)(left[i] * right[i]);
    memcpy(&sum, totals, sizeof totals);
    return sum;
}

#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd_256
#endif

/* The odd product is added first, then the even one. */
#if defined(__AVX512F__)
static inline __m512 emulated_dpbf16_512(__m512 sum, __m512i a, __m512i b) {
    float totals[16];
    memcpy(totals, &sum, sizeof totals);
    for (int i = 0; i < 16; i++) {
        totals[i] = flushed(fmaf(bf16_at(&a, 2 * i + 1), bf16_at(&b, 2 * i + 1), flushed(totals[i])));
        totals[i] = flushed(fmaf(bf16_at(&a, 2 * i), bf16_at(&b, 2 * i), totals[i]));
    }
    memcpy(&sum, totals, sizeof totals);
    return sum;
}
#undef _mm512_dpbf16_ps
#define _mm512_dpbf16_ps(sum, a, b) emulated_dpbf16_512(sum, (__m512i)(a), (__m512i)(b))
#endif

#endif
