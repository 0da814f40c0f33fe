#include "cpu/kernels/kernels.h"

static const bert_cpu_kernels *const tables[BERT_ISA_COUNT] = {
    [BERT_ISA_SCALAR] = &bert_cpu_kernels_scalar,
#ifdef BERT_CPU_X86
    [BERT_ISA_AVX2] = &bert_cpu_kernels_avx2,
    [BERT_ISA_AVX_VNNI] = &bert_cpu_kernels_avx_vnni,
    [BERT_ISA_AVX512] = &bert_cpu_kernels_avx512,
    [BERT_ISA_AVX512_VNNI] = &bert_cpu_kernels_avx512_vnni,
    [BERT_ISA_AVX512_BF16] = &bert_cpu_kernels_avx512_bf16,
    [BERT_ISA_AMX] = &bert_cpu_kernels_amx,
#endif
};

const bert_cpu_kernels *bert_cpu_kernels_of(bert_isa isa) {
    return (unsigned)isa < BERT_ISA_COUNT ? tables[isa] : NULL;
}

void bert_cpu_kernels_override(const bert_cpu_kernels *table, bert_cpu_kernels *out) {
#define OVERRIDE(name)                                                                                                 \
    if (table->name) out->name = table->name;
    BERT_CPU_KERNELS(OVERRIDE)
#undef OVERRIDE
    if (table->enter) {
        out->enter = table->enter;
        out->leave = table->leave;
    }
    if (table->block_bytes) out->block_bytes = table->block_bytes;
    if (table->late_eighths) out->late_eighths = table->late_eighths;
    if (table->fetch_streams) out->fetch_streams = table->fetch_streams;
    if (table->qgemm) out->bounded_panels = table->bounded_panels;
    if (table->sgemm) {
        out->sgemm_columns = table->sgemm_columns;
        out->sgemm_rows = table->sgemm_rows;
    }
}

void bert_cpu_kernels_select(bert_isa limit, bert_cpu_kernels *out) {
    *out = bert_cpu_kernels_scalar;
    for (int isa = BERT_ISA_SCALAR + 1; isa < BERT_ISA_COUNT; isa++) {
        if (tables[isa] && bert_isa_usable((bert_isa)isa, limit)) bert_cpu_kernels_override(tables[isa], out);
    }
}
