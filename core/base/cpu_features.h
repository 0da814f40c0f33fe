/* What the CPU, the operating system and BERT_CPU_ISA allow, from CPUID, XGETBV and the kernel's answers only. */
#ifndef BERT_BASE_CPU_FEATURES_H
#define BERT_BASE_CPU_FEATURES_H

#include <bert/types.h>

/** Instruction sets with a kernel file of their own, in order of preference: a later one is built on the earlier. */
typedef enum bert_isa {
    BERT_ISA_SCALAR = 0,
    BERT_ISA_AVX2,     /**< AVX2, FMA, F16C. */
    BERT_ISA_AVX_VNNI, /**< AVX2 and the VEX form of VNNI. */
    BERT_ISA_AVX512,   /**< F, BW, DQ, VL. */
    BERT_ISA_AVX512_VNNI,
    BERT_ISA_AVX512_BF16, /**< VNNI and BF16. */
    BERT_ISA_AMX,         /**< tile, int8, bf16; the kernel grants tile data. */
    BERT_ISA_COUNT
} bert_isa;

/** The name that BERT_CPU_ISA and `bertc --version` use ("avx512_vnni"). */
const char *bert_isa_name(bert_isa isa);
/** Whether this machine can run it, whatever BERT_CPU_ISA says. Of AMX it asks the kernel, once. Any thread. */
bool bert_isa_present(bert_isa isa);
/**
 * Whether kernels of `isa` may be used: it is present, and `limit` is at or above it and built on it.
 * AVX_VNNI is not part of what AVX512 is built on.
 */
bool bert_isa_usable(bert_isa isa, bert_isa limit);
/**
 * Whether this machine multiplies pairs of bfloat16 (AVX-512 BF16) at half the rate of float32, as Intel's cores with
 * AVX-512 FP16 do, which are made for AMX; others do it at twice that rate. Any thread.
 */
bool bert_bf16_pairs_are_slow(void);
/**
 * The highest ISA to use: BERT_CPU_ISA's when set, else the best present. BERT_UNSUPPORTED when the variable names an
 * unknown ISA or one that isn't there.
 */
bert_status bert_isa_select(bert_isa *out, bert_error *error);

#endif
