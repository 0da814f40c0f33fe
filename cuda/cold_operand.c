#include "cuda/cold_operand.h"

#include "cuda/gemm_key.h"

enum { ALIGNMENT = 256, MOST_COUNT = 256 };

size_t bert_cuda_l2_bytes(void) {
    int device = 0, bytes = 0;
    if (cudaGetDevice(&device) == cudaSuccess &&
        cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, device) == cudaSuccess)
        return bytes > 0 ? (size_t)bytes : 0;
    cudaGetLastError(); /* seen: the next call is not to find it */
    return 0;
}

static size_t bytes_of_b(const bert_cuda_gemm_args *g) {
    const int64_t rows = g->transpose_b ? g->n : g->k, columns = g->transpose_b ? g->k : g->n;
    if (rows == 0 || columns == 0 || g->batch != 1) return 0;
    return (size_t)((rows - 1) * g->ldb + columns) * bert_cuda_gemm_operand_bytes(g->kind);
}

/* How many are more than L2 holds: a quarter more, since it doesn't always let go of the oldest first. */
static int count_of(size_t l2, size_t apart) {
    const size_t count = (l2 + l2 / 4) / apart + 2;
    return count < MOST_COUNT ? (int)count : MOST_COUNT;
}

static cudaError_t copy_all(const bert_cuda_cold_operand *operand, size_t bytes, cudaStream_t stream) {
    cudaError_t status = cudaSuccess;
    for (int i = 1; i < operand->count && status == cudaSuccess; i++)
        status = cudaMemcpyAsync(operand->copies + (size_t)(i - 1) * operand->apart, operand->original, bytes,
                                 cudaMemcpyDeviceToDevice, stream);
    return status;
}

bert_cuda_cold_operand bert_cuda_cold_operand_open(const bert_cuda_gemm_args *g, cudaStream_t stream) {
    bert_cuda_cold_operand operand = {.original = g->b, .count = 1};
    const size_t bytes = g->cold_b ? bytes_of_b(g) : 0, l2 = bytes ? bert_cuda_l2_bytes() : 0;
    void *memory = NULL;
    if (l2 == 0) return operand;
    operand.apart = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    operand.count = count_of(l2, operand.apart);
    cudaError_t status = cudaMalloc(&memory, (size_t)(operand.count - 1) * operand.apart);
    operand.copies = memory;
    if (status == cudaSuccess) status = copy_all(&operand, bytes, stream);
    if (status == cudaSuccess) return operand;
    cudaGetLastError(); /* seen, as above */
    bert_cuda_cold_operand_close(&operand);
    return (bert_cuda_cold_operand){.original = g->b, .count = 1};
}

void bert_cuda_cold_operand_close(bert_cuda_cold_operand *operand) {
    if (operand->copies) cudaFree(operand->copies);
    operand->copies = NULL;
}

const void *bert_cuda_cold_operand_next(bert_cuda_cold_operand *operand) {
    const int turn = operand->turn;
    operand->turn = (turn + 1) % operand->count;
    return turn ? operand->copies + (size_t)(turn - 1) * operand->apart : operand->original;
}
