#include "cpu/gemm/gemm.h"

#include "core/base/error.h"

#include <stdlib.h>
#include <string.h>

bert_status bert_gemm_choose(bert_isa isa, const bert_gemm_provider **out, bert_error *error) {
    const char *wanted = getenv("BERT_CPU_GEMM");
    /* Split numbers measured faster from 16 rows on where there is AMX, own kernels from 2 on where there are other
     * vector ones; see docs/kernels.md. */
    const char *fastest = isa == BERT_ISA_AMX ? "split" : isa > BERT_ISA_SCALAR ? "own" : "openblas";
    const char *name = wanted && *wanted ? wanted : fastest;
    *out = strcmp(name, "split") == 0 ? &bert_gemm_split : &bert_gemm_own;
    if (strcmp(name, (*out)->name) == 0) return BERT_OK;
    if (strcmp(name, "openblas") == 0) return bert_openblas_open(out, error);
    return bert_fail(error, BERT_UNSUPPORTED, "BERT_CPU_GEMM is \"%.40s\"; it may be own, split or openblas", name);
}

const bert_gemm_provider *bert_gemm_choose_bf16(bert_isa isa, bool slow_pairs) {
    return isa < BERT_ISA_AMX && slow_pairs ? &bert_gemm_bf16_weights : &bert_gemm_bf16;
}
