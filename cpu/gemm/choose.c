#include "cpu/gemm/gemm.h"

#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

bert_status bert_gemm_choose(bert_isa isa, const bert_gemm_provider **out, bert_error *error) {
    static const bert_gemm_provider *const providers[] = {&bert_gemm_own, &bert_gemm_openblas};
    const char *wanted = getenv("BERT_CPU_GEMM");
    if (!wanted || !*wanted) {
        /* Own kernels measured faster at every number of rows wherever there are vector ones; see gemm.h. */
        *out = isa > BERT_ISA_SCALAR ? &bert_gemm_own : &bert_gemm_openblas;
        return *out == &bert_gemm_openblas ? bert_openblas_open(error) : BERT_OK;
    }
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (strcmp(wanted, providers[i]->name) != 0) continue;
        *out = providers[i];
        return *out == &bert_gemm_openblas ? bert_openblas_open(error) : BERT_OK;
    }
    return bert_fail(error, BERT_UNSUPPORTED, "BERT_CPU_GEMM is \"%.40s\"; it may be own or openblas", wanted);
}
