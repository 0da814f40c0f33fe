/* What the emulator found, for any test that runs kernels on it; with a GPU there is nothing to ask. */
#ifndef BERT_TESTS_CUDA_FAULTS_H
#define BERT_TESTS_CUDA_FAULTS_H

#include "tests/support/test.h"

#include <cuda_runtime_api.h>

#ifdef BERT_CUDA_EMULATED
#include "tests/cuda_emulator/emulator.h"
#endif

/** Fails where kernels were at fault since it was last asked, and shows how. `what` ran. */
static inline void expect_no_faults(const char *what) {
#ifdef BERT_CUDA_EMULATED
    const size_t count = bert_emulator_fault_count();
    if (count == 0) return;
    bert_emulator_print();
    bert_emulator_clear();
    cudaGetLastError();
    fail_msg("%s: the emulator found %zu faults", what, count);
#endif
}

#endif
