/* What is asked once a process, and what each launch looks at. */
#include "cuda/platform.h"

#include <stdlib.h>

bool bert_cuda_launch_ahead;

enum { FIRST_CODE = 90, FIRST_CUDA = 12030 };

/* As all kernels are built; this one only says how. */
static __global__ void waiting_kernel() {
    begin_kernel();
}

/* A GPU may run code for an earlier one, which a driver compiles for it: that code doesn't wait. */
static bool kernels_wait() {
    cudaFuncAttributes attributes = {};
    return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void *>(waiting_kernel)) == cudaSuccess &&
           attributes.ptxVersion >= FIRST_CODE;
}

bool bert_cuda_can_launch_ahead() {
    const char *wanted = getenv("BERT_CUDA_LAUNCH_AHEAD");
    if (wanted && strcmp(wanted, "off") == 0) return false;
    int driver = 0;
    const bool can = CUDART_VERSION >= FIRST_CUDA && cudaDriverGetVersion(&driver) == cudaSuccess &&
                     driver >= FIRST_CUDA && kernels_wait();
    cudaGetLastError(); /* not to be found by the next call */
    return can;
}
