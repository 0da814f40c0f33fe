/* What is asked once a process, and what each launch looks at. */
#include "cuda/environment.h"
#include "cuda/platform.h"

bool bert_cuda_launch_ahead;

enum { FIRST_CUDA = 12030 };

/* As all kernels are built; this one only says how. */
static __global__ void waiting_kernel() {
    begin_kernel();
}

bool bert_cuda_can_launch_ahead() {
    if (bert_cuda_environment_says(BERT_CUDA_LAUNCH_AHEAD) == BERT_CUDA_LAUNCH_AHEAD_OFF) return false;
    int driver = 0;
    const bool can = CUDART_VERSION >= FIRST_CUDA && cudaDriverGetVersion(&driver) == cudaSuccess &&
                     driver >= FIRST_CUDA && bert_runs_for_hopper(waiting_kernel);
    cudaGetLastError(); /* not to be found by the next call */
    return can;
}
