#include "core/base/cpu_features.h"

#include "core/base/error.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

static const char *const isa_names[BERT_ISA_COUNT] = {
    [BERT_ISA_SCALAR] = "scalar",
    [BERT_ISA_AVX2] = "avx2",
    [BERT_ISA_AVX_VNNI] = "avx_vnni",
    [BERT_ISA_AVX512] = "avx512",
    [BERT_ISA_AVX512_VNNI] = "avx512_vnni",
    [BERT_ISA_AVX512_BF16] = "avx512_bf16",
    [BERT_ISA_AMX] = "amx",
};

#define ISA_BIT(isa) (1U << (isa))

/* Kernels that a limit admits besides its own: what its files may be mixed with. */
static const unsigned admitted[BERT_ISA_COUNT] = {
    [BERT_ISA_SCALAR] = ISA_BIT(BERT_ISA_SCALAR),
    [BERT_ISA_AVX2] = ISA_BIT(BERT_ISA_SCALAR) | ISA_BIT(BERT_ISA_AVX2),
    [BERT_ISA_AVX_VNNI] = ISA_BIT(BERT_ISA_SCALAR) | ISA_BIT(BERT_ISA_AVX2) | ISA_BIT(BERT_ISA_AVX_VNNI),
    [BERT_ISA_AVX512] = ISA_BIT(BERT_ISA_SCALAR) | ISA_BIT(BERT_ISA_AVX2) | ISA_BIT(BERT_ISA_AVX512),
    [BERT_ISA_AVX512_VNNI] =
        ISA_BIT(BERT_ISA_SCALAR) | ISA_BIT(BERT_ISA_AVX2) | ISA_BIT(BERT_ISA_AVX512) | ISA_BIT(BERT_ISA_AVX512_VNNI),
    [BERT_ISA_AVX512_BF16] = ISA_BIT(BERT_ISA_SCALAR) | ISA_BIT(BERT_ISA_AVX2) | ISA_BIT(BERT_ISA_AVX512) |
                             ISA_BIT(BERT_ISA_AVX512_VNNI) | ISA_BIT(BERT_ISA_AVX512_BF16),
    [BERT_ISA_AMX] = ISA_BIT(BERT_ISA_SCALAR) | ISA_BIT(BERT_ISA_AVX2) | ISA_BIT(BERT_ISA_AVX512) |
                     ISA_BIT(BERT_ISA_AVX512_VNNI) | ISA_BIT(BERT_ISA_AVX512_BF16) | ISA_BIT(BERT_ISA_AMX),
};

static pthread_once_t detected_once = PTHREAD_ONCE_INIT, tiles_once = PTHREAD_ONCE_INIT;
static unsigned detected; /* ISA_BITs; written once, with slow_pairs. */
static bool tiles_granted, slow_pairs;

#if defined(__x86_64__)

/* Registers that the operating system saves on a switch. */
static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/*
 * Linux hands the 8 KiB of tile data out on request only (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). The permission is
 * the process's, and makes its signal frames larger: so it is asked for where AMX is to be used, and not before.
 */
static void request_tile_data(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    tiles_granted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#endif
}

static bool has_all(uint32_t value, uint32_t bits) {
    return (value & bits) == bits;
}

static bool is_intel(void) {
    uint32_t most, name[3];
    return __get_cpuid(0, &most, &name[0], &name[2], &name[1]) && memcmp(name, "GenuineIntel", sizeof name) == 0;
}

static unsigned detect_x86(void) {
    enum { A, B, C, D };
    uint32_t leaf1[4] = {0}, leaf7[4] = {0}, leaf7_1[4] = {0};
    unsigned found = ISA_BIT(BERT_ISA_SCALAR);
    const uint32_t osxsave_avx_fma_f16c = 1U << 27 | 1U << 28 | 1U << 12 | 1U << 29;
    if (!__get_cpuid(1, &leaf1[A], &leaf1[B], &leaf1[C], &leaf1[D]) || !has_all(leaf1[C], osxsave_avx_fma_f16c) ||
        !__get_cpuid_count(7, 0, &leaf7[A], &leaf7[B], &leaf7[C], &leaf7[D]))
        return found;
    if (leaf7[A] >= 1) __get_cpuid_count(7, 1, &leaf7_1[A], &leaf7_1[B], &leaf7_1[C], &leaf7_1[D]);
    const uint64_t xcr0 = read_xcr0();
    const uint64_t ymm = 0x6, zmm = 0xe6, tiles = 0x60000;
    if ((xcr0 & ymm) != ymm || !has_all(leaf7[B], 1U << 5)) return found;
    found |= ISA_BIT(BERT_ISA_AVX2);
    if (has_all(leaf7_1[A], 1U << 4)) found |= ISA_BIT(BERT_ISA_AVX_VNNI);
    const uint32_t f_dq_bw_vl = 1U << 16 | 1U << 17 | 1U << 30 | 1U << 31;
    if ((xcr0 & zmm) != zmm || !has_all(leaf7[B], f_dq_bw_vl)) return found;
    found |= ISA_BIT(BERT_ISA_AVX512);
    if (!has_all(leaf7[C], 1U << 11)) return found;
    found |= ISA_BIT(BERT_ISA_AVX512_VNNI);
    if (has_all(leaf7_1[A], 1U << 5)) found |= ISA_BIT(BERT_ISA_AVX512_BF16);
    const uint32_t fp16 = 1U << 23;
    slow_pairs = (found & ISA_BIT(BERT_ISA_AVX512_BF16)) && has_all(leaf7[D], fp16) && is_intel();
    const uint32_t bf16_tile_int8 = 1U << 22 | 1U << 24 | 1U << 25;
    if ((xcr0 & tiles) == tiles && has_all(leaf7[D], bf16_tile_int8)) /* request_tile_data has the last word */
        found |= ISA_BIT(BERT_ISA_AMX);
    return found;
}

static void detect(void) {
    detected = detect_x86();
}

#else

static void detect(void) {
    detected = ISA_BIT(BERT_ISA_SCALAR);
}

static void request_tile_data(void) {}

#endif

const char *bert_isa_name(bert_isa isa) {
    return (unsigned)isa < BERT_ISA_COUNT ? isa_names[isa] : "unknown";
}

bool bert_isa_present(bert_isa isa) {
    if ((unsigned)isa >= BERT_ISA_COUNT) return false;
    pthread_once(&detected_once, detect);
    if (!(detected & ISA_BIT(isa))) return false;
    if (isa != BERT_ISA_AMX) return true;
    pthread_once(&tiles_once, request_tile_data);
    return tiles_granted;
}

bool bert_bf16_pairs_are_slow(void) {
    pthread_once(&detected_once, detect);
    return slow_pairs;
}

bool bert_isa_usable(bert_isa isa, bert_isa limit) {
    if ((unsigned)isa >= BERT_ISA_COUNT || (unsigned)limit >= BERT_ISA_COUNT) return false;
    return (admitted[limit] & ISA_BIT(isa)) != 0 && bert_isa_present(isa);
}

bert_status bert_isa_select(bert_isa *out, bert_error *error) {
    const char *wanted = getenv("BERT_CPU_ISA");
    if (!wanted || !*wanted) {
        int best = BERT_ISA_COUNT - 1;
        while (best > BERT_ISA_SCALAR && !bert_isa_present((bert_isa)best)) best--;
        *out = (bert_isa)best;
        return BERT_OK;
    }
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        if (strcmp(wanted, isa_names[isa]) != 0) continue;
        if (!bert_isa_present((bert_isa)isa))
            return bert_fail(error, BERT_UNSUPPORTED, "BERT_CPU_ISA asks for %s, which this machine doesn't have",
                             wanted);
        *out = (bert_isa)isa;
        return BERT_OK;
    }
    return bert_fail(error, BERT_UNSUPPORTED,
                     "BERT_CPU_ISA is \"%.40s\"; it may be scalar, avx2, avx_vnni, avx512, avx512_vnni, avx512_bf16 or "
                     "amx",
                     wanted);
}
