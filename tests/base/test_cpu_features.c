/* What the machine is found to have, held against what the kernel says of it, and BERT_CPU_ISA. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/cpu_features.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)

/* Words of the first line of /proc/cpuinfo that begins with `key`, a space on both sides; false where there is none. */
static bool read_words(const char *key, char *words, size_t bytes) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return false;
    bool found = false;
    while (!found && fgets(words, (int)bytes, file)) found = strncmp(words, key, strlen(key)) == 0;
    fclose(file);
    if (found) words[strcspn(words, "\n")] = ' ';
    return found;
}

static bool has_words(const char *flags, const char *words) {
    char list[128];
    snprintf(list, sizeof list, "%s", words);
    for (char *next = NULL, *word = strtok_r(list, " ", &next); word; word = strtok_r(NULL, " ", &next)) {
        char padded[64];
        snprintf(padded, sizeof padded, " %s ", word);
        if (!strstr(flags, padded)) return false;
    }
    return true;
}

static void the_kernel_agrees(void **state) {
    static char flags[16384];
    if (!read_words("flags", flags, sizeof flags)) {
        print_message("skipped: /proc/cpuinfo lists no flags here\n");
        skip();
    }
    static const char *const needs[BERT_ISA_COUNT] = {
        [BERT_ISA_SCALAR] = "",
        [BERT_ISA_AVX2] = "avx2 fma f16c",
        [BERT_ISA_AVX_VNNI] = "avx2 fma f16c avx_vnni",
        [BERT_ISA_AVX512] = "avx2 fma f16c avx512f avx512bw avx512dq avx512vl",
        [BERT_ISA_AVX512_VNNI] = "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni",
        [BERT_ISA_AVX512_BF16] = "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16",
        [BERT_ISA_AMX] = "avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni amx_tile amx_int8 amx_bf16",
    };
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        print_message("%s: %s\n", bert_isa_name((bert_isa)isa), bert_isa_present((bert_isa)isa) ? "present" : "absent");
        assert_int_equal(bert_isa_present((bert_isa)isa), has_words(flags, needs[isa]));
    }
    char vendor[256];
    const bool intel = read_words("vendor_id", vendor, sizeof vendor) && has_words(vendor, "GenuineIntel");
    assert_int_equal(bert_bf16_pairs_are_slow(), intel && has_words(flags, "avx512_bf16 avx512_fp16"));
}

#else

/* There are no kernels for other processors yet. (What an emulator shows as /proc/cpuinfo may be its host's.) */
static void the_kernel_agrees(void **state) {
    assert_true(bert_isa_present(BERT_ISA_SCALAR));
    for (int isa = BERT_ISA_SCALAR + 1; isa < BERT_ISA_COUNT; isa++) assert_false(bert_isa_present((bert_isa)isa));
}

#endif

static void a_limit_admits_what_it_is_built_on(void **state) {
    for (int limit = 0; limit < BERT_ISA_COUNT; limit++) {
        for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
            bool usable = bert_isa_usable((bert_isa)isa, (bert_isa)limit);
            if (isa > limit || !bert_isa_present((bert_isa)isa)) assert_false(usable);
            if (isa == limit) assert_int_equal(usable, bert_isa_present((bert_isa)isa));
        }
        assert_true(bert_isa_usable(BERT_ISA_SCALAR, (bert_isa)limit));
    }
    for (int limit = BERT_ISA_AVX512; limit < BERT_ISA_COUNT; limit++)
        assert_false(bert_isa_usable(BERT_ISA_AVX_VNNI, (bert_isa)limit));
    assert_false(bert_isa_present((bert_isa)BERT_ISA_COUNT));
    assert_false(bert_isa_usable(BERT_ISA_SCALAR, (bert_isa)BERT_ISA_COUNT));
}

static void the_variable_chooses(void **state) {
    bert_isa isa = BERT_ISA_COUNT;
    bert_error error = {0};
    for (int wanted = 0; wanted < BERT_ISA_COUNT; wanted++) {
        setenv("BERT_CPU_ISA", bert_isa_name((bert_isa)wanted), 1);
        if (bert_isa_present((bert_isa)wanted)) {
            assert_int_equal(bert_isa_select(&isa, &error), BERT_OK);
            assert_int_equal(isa, wanted);
        } else {
            assert_int_equal(bert_isa_select(&isa, &error), BERT_UNSUPPORTED);
            assert_non_null(strstr(error.message, bert_isa_name((bert_isa)wanted)));
        }
    }
    setenv("BERT_CPU_ISA", "avx1024", 1);
    assert_int_equal(bert_isa_select(&isa, &error), BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "avx1024"));
    setenv("BERT_CPU_ISA", "", 1);
    assert_int_equal(bert_isa_select(&isa, &error), BERT_OK);
    bert_isa best = isa;
    unsetenv("BERT_CPU_ISA");
    assert_int_equal(bert_isa_select(&isa, &error), BERT_OK);
    assert_int_equal(isa, best);
    for (int better = isa + 1; better < BERT_ISA_COUNT; better++) assert_false(bert_isa_present((bert_isa)better));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_agrees),
        cmocka_unit_test(a_limit_admits_what_it_is_built_on),
        cmocka_unit_test(the_variable_chooses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
