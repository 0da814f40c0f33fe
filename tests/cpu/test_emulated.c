/*
 * Kernels whose instructions most machines lack, compiled over an emulation of these instructions and held to the
 * scalar kernels: the source that runs on such machines, its packing, tails and tiles, is tested on all.
 */
#include "tests/cpu/emulated_kernels.h"
#include "tests/cpu/guarded.h"
#include "tests/cpu/narrow_kernels.h"
#include "tests/cpu/quantized_kernels.h"

static bool absent(bert_isa isa, const char *what) {
    if (bert_isa_present(isa)) return false;
    print_message("skipped: %s is emulated with %s, which this machine doesn't have\n", what, bert_isa_name(isa));
    return true;
}

static void amx_multiplies_as_scalar_code_does(void **state) {
    assert_non_null(bert_emulated_amx.enter);
    test_qgemm(&bert_emulated_amx);
    test_bgemm(&bert_emulated_amx);
}

static void avx_vnni_multiplies_as_scalar_code_does(void **state) {
    if (absent(BERT_ISA_AVX2, "avx_vnni")) return;
    test_qgemm(&bert_emulated_avx_vnni);
}

static void avx512_bf16_multiplies_as_scalar_code_does(void **state) {
    if (absent(BERT_ISA_AVX512, "avx512_bf16")) return;
    test_bgemm(&bert_emulated_avx512_bf16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amx_multiplies_as_scalar_code_does),
        cmocka_unit_test(avx_vnni_multiplies_as_scalar_code_does),
        cmocka_unit_test(avx512_bf16_multiplies_as_scalar_code_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
