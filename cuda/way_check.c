#include "cuda/way_check.h"

#include "cuda/ops/difference.h"

enum { PARTS_BYTES = BERT_CUDA_DIFFERENCE_PARTS * sizeof(bert_cuda_difference_part) };

/* The rows of y that are compared, and in the memory first the parts of a comparison, then those rows as the first way
 * gave them. */
typedef struct window {
    void *y;
    int64_t elements;
    size_t bytes;
    bert_cuda_difference_part *parts;
    void *reference;
} window;

static window window_of(const bert_cuda_way_check *check) {
    const size_t row = (size_t)check->width * (size_t)bert_element_bytes(check->dtype);
    const size_t room = row && check->bytes > PARTS_BYTES ? (check->bytes - PARTS_BYTES) / row : 0;
    const int64_t rows = room < (size_t)check->rows ? (int64_t)room : check->rows;
    return (window){.y = (char *)check->y + (size_t)(check->rows - rows) * row,
                    .elements = rows * check->width,
                    .bytes = (size_t)rows * row,
                    .parts = check->memory,
                    .reference = (char *)check->memory + PARTS_BYTES};
}

/* Holds y against what the first way gave. */
static cudaError_t compare(const bert_cuda_way_check *check, const window *w, cudaStream_t stream,
                           bert_cuda_way_verdict *verdict) {
    bert_cuda_difference_part parts[BERT_CUDA_DIFFERENCE_PARTS];
    const bert_cuda_difference_args args = {
        .dtype = check->dtype, .count = w->elements, .x = w->y, .reference = w->reference, .parts = w->parts};
    const int count = bert_cuda_difference_parts(w->elements);
    float difference = 0, magnitude = 0;
    cudaError_t status = bert_cuda_difference(&args, stream);
    if (status == cudaSuccess)
        status = cudaMemcpyAsync(parts, w->parts, (size_t)count * sizeof *parts, cudaMemcpyDeviceToHost, stream);
    if (status == cudaSuccess) status = cudaStreamSynchronize(stream);
    if (status != cudaSuccess) return status;
    for (int i = 0; i < count; i++) {
        if (parts[i].difference > difference) difference = parts[i].difference;
        if (parts[i].magnitude > magnitude) magnitude = parts[i].magnitude;
    }
    *verdict = difference <= magnitude * check->tolerance ? BERT_CUDA_WAY_AGREES : BERT_CUDA_WAY_DIFFERS;
    return cudaSuccess;
}

cudaError_t bert_cuda_check_ways(const bert_cuda_way_check *check, bert_cuda_way_fn run, const void *work, int count,
                                 cudaStream_t stream, bert_cuda_way_verdict *verdicts) {
    const window w = window_of(check);
    cudaError_t status = cudaSuccess;
    for (int way = 0; way < count; way++) verdicts[way] = BERT_CUDA_WAY_AGREES;
    for (int way = 0; way < count && w.elements > 0 && status == cudaSuccess; way++) {
        status = cudaMemsetAsync(w.y, 0xff, w.bytes, stream); /* NaN in every type: what isn't written shows */
        if (status != cudaSuccess) break;
        if (!run(work, way, stream)) {
            cudaGetLastError(); /* seen: the next call is not to find it */
            if (way == 0) break;
            verdicts[way] = BERT_CUDA_WAY_FAILS;
        } else if (way == 0) {
            status = cudaMemcpyAsync(w.reference, w.y, w.bytes, cudaMemcpyDeviceToDevice, stream);
        } else {
            status = compare(check, &w, stream, &verdicts[way]);
        }
    }
    return status == cudaSuccess ? cudaStreamSynchronize(stream) : status;
}
