/* What is asked once a process, and what each launch looks at. No kernel is here. */
#include "cuda/ops/launch.h"

#include <cuda_runtime.h>
#include <stdlib.h>
#include <string.h>

bool bert_cuda_launch_ahead;

enum { FIRST_MAJOR = 9, FIRST_CUDA = 12030 };

bool bert_cuda_can_launch_ahead(int device) {
    const char *wanted = getenv("BERT_CUDA_LAUNCH_AHEAD");
    if (wanted && strcmp(wanted, "off") == 0) return false;
    int major = 0, driver = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess) {
        cudaGetLastError(); /* not to be found by the next call */
        return false;
    }
    return major >= FIRST_MAJOR && driver >= FIRST_CUDA && CUDART_VERSION >= FIRST_CUDA;
}
