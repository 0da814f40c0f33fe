/* kernel_case, and the built library of products with its workspace: what each test of products opens and closes. */
#ifndef BERT_TESTS_CUDA_GEMM_CASE_H
#define BERT_TESTS_CUDA_GEMM_CASE_H

#include "cuda/gemm.h"
#include "tests/cuda/kernel_case.h"

static const bert_cuda_gemm_provider *const provider = &bert_cuda_gemm_provider_built;
static bert_cuda_gemm *gemm;
static void *workspace; /* the provider's workspace_bytes; NULL: it wants none */

/** Group setup and teardown, in place of case_open and case_close. */
static inline int gemm_case_open(void **state) {
    char why[512] = "";
    case_open(state);
    gemm = provider->open(why, sizeof why);
    if (!gemm) {
        print_error("%s\n", why);
        return -1;
    }
    return provider->workspace_bytes ? (int)cudaMalloc(&workspace, provider->workspace_bytes) : 0;
}

static inline int gemm_case_close(void **state) {
    case_close(state);
    provider->close(gemm);
    return (int)cudaFree(workspace);
}

#endif
