/* What is asked once a process, and what each launch looks at. */
#include "cuda/environment.h"
#include "cuda/platform.h"

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
    if (bert_cuda_environment_says(BERT_CUDA_LAUNCH_AHEAD) == BERT_CUDA_LAUNCH_AHEAD_OFF) return false;
    int driver = 0;
    const bool can = CUDART_VERSION >= FIRST_CUDA && cudaDriverGetVersion(&driver) == cudaSuccess &&
                     driver >= FIRST_CUDA && kernels_wait();
    cudaGetLastError(); /* not to be found by the next call */
    return can;
}
