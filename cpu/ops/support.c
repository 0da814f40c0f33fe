#include "cpu/ops/ops.h"

#include <string.h>

/* What lies before a state: how to free it. */
typedef struct state_header {
    const bert_allocator *allocator;
    size_t bytes;
} state_header;

enum { HEADER_BYTES = BERT_ALIGNMENT };
_Static_assert(sizeof(state_header) <= HEADER_BYTES, "the header fits before the state");

static void release_state(void *state) {
    state_header *header = (state_header *)(void *)((char *)state - HEADER_BYTES);
    bert_deallocate(header->allocator, header, header->bytes, BERT_ALIGNMENT);
}

bert_status bert_cpu_new_state(const bert_cpu_planner *planner, size_t bytes, void **out) {
    const bert_allocator *allocator = planner->prepared->device->host->allocator;
    state_header *header = bert_allocate(allocator, HEADER_BYTES + bytes, BERT_ALIGNMENT);
    if (!header) return bert_fail_memory(planner->error, bytes, "the plan of a node");
    memset(header, 0, HEADER_BYTES + bytes);
    header->allocator = allocator;
    header->bytes = HEADER_BYTES + bytes;
    planner->out->state = (char *)header + HEADER_BYTES;
    planner->out->release_state = release_state;
    *out = planner->out->state;
    return BERT_OK;
}

int64_t bert_cpu_row_bytes(const bert_cpu_planner *planner, int64_t width) {
    const bert_gemm_provider *provider = planner->prepared->gemm;
    return provider->x_row_bytes && !planner->narrow ? provider->x_row_bytes(width) : 0;
}

void bert_cpu_give_rows(const bert_cpu_planner *planner) {
    const bert_tensor_desc *y = &planner->node->outputs[0];
    planner->out->y_ranges = 1;
    if (planner->mode == BERT_PLAN_BIND && y->rank > 0)
        planner->out->y_bytes = bert_cpu_row_bytes(planner, y->dims[y->rank - 1]);
}

void bert_cpu_write_halves(const bert_kernel_call *call, const float *x, int64_t ldx, int64_t row, int64_t rows,
                           int64_t column, int64_t width) {
    const bert_tensor *y = &call->outputs[0];
    const int64_t n = y->dims[y->rank - 1], ldy = call->plan->y_bytes / (int64_t)sizeof(uint16_t);
    if (!call->y_bytes.bytes) return;
    bert_cpu_kernels_for(call)->to_bf16(
        &(bert_to_bf16_args){.y = (uint16_t *)(void *)call->y_bytes.bytes + row * ldy + column,
                             .x = x,
                             .ldy = ldy,
                             .ldx = ldx,
                             .rows = rows,
                             .n = width,
                             .padded = column + width < n ? width : ldy - column});
}

void bert_cpu_write_rows(const bert_kernel_call *call, const float *y, int64_t row, int64_t rows) {
    const bert_tensor *tensor = &call->outputs[0];
    const int64_t n = tensor->dims[tensor->rank - 1];
    if (call->y_ranges)
        bert_cpu_kernels_for(call)->range(
            &(bert_range_args){.ranges = call->y_ranges + row, .x = y, .rows = rows, .n = n});
    bert_cpu_write_halves(call, y, n, row, rows, 0, n);
}

const void *bert_cpu_input(const bert_kernel_call *call, int32_t input) {
    return call->inputs[input].dtype == BERT_DTYPE_UNDEFINED ? NULL : call->inputs[input].data;
}

bool bert_cpu_activation(const char *name, bert_unary *out) {
    static const struct {
        const char *name;
        bert_unary op;
    } activations[] = {
        {"none", BERT_UNARY_IDENTITY},       {"gelu", BERT_UNARY_GELU},
        {"gelu_tanh", BERT_UNARY_GELU_TANH}, {"quick_gelu", BERT_UNARY_QUICK_GELU},
        {"silu", BERT_UNARY_SILU},           {"tanh", BERT_UNARY_TANH},
        {"relu", BERT_UNARY_RELU},
    };
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) != 0) continue;
        *out = activations[i].op;
        return true;
    }
    return false;
}

void bert_cpu_steps(const bert_tensor *tensor, int32_t rank, int64_t *steps) {
    int64_t step = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        const int32_t own = i - (rank - tensor->rank);
        const int64_t size = own >= 0 ? tensor->dims[own] : 1;
        steps[i] = size == 1 ? 0 : step;
        step *= size;
    }
}

#define COPY(type)                                                                                                     \
    for (int64_t i = 0; i < n; i++) ((type *)y)[i * y_step] = ((const type *)x)[i * x_step]

void bert_cpu_copy(void *y, int64_t y_step, const void *x, int64_t x_step, size_t size, int64_t n) {
    if (x_step == 1 && y_step == 1) {
        memcpy(y, x, (size_t)n * size);
        return;
    }
    BERT_CPU_BY_SIZE(size, COPY)
}

int64_t bert_cpu_matrix_offset(const bert_tensor *tensor, const bert_tensor *y, int64_t index) {
    int64_t offset = 0, stride = bert_cpu_count(tensor->dims, tensor->rank - 2, tensor->rank);
    for (int32_t back = 3; back <= y->rank; back++) {
        const int64_t at = index % y->dims[y->rank - back];
        index /= y->dims[y->rank - back];
        if (back > tensor->rank) continue;
        const int64_t size = tensor->dims[tensor->rank - back];
        if (size > 1) offset += at * stride;
        stride *= size;
    }
    return offset;
}

/* int8 is uint8 with everything 128 less, which is the top bit. */
void bert_cpu_quantize(const bert_cpu_kernels *kernels, const bert_cpu_quantization *by, void *y, const float *x,
                       int64_t n) {
    const int32_t zero_point = by->zero_point + (by->is_signed ? 128 : 0);
    uint8_t *bytes = y;
    int32_t sum;
    kernels->quantize(&(bert_quantize_args){.y = bytes,
                                            .sums = &sum,
                                            .x = x,
                                            .scales = &by->scale,
                                            .zero_points = &zero_point,
                                            .rows = 1,
                                            .n = n,
                                            .stride = n});
    for (int64_t i = 0; i < n && by->is_signed; i++) bytes[i] ^= 0x80;
}

void bert_cpu_dequantize(const bert_cpu_kernels *kernels, const bert_cpu_quantization *by, float *y, const void *x,
                         int64_t n) {
    kernels->dequantize_bytes(&(bert_dequantize_bytes_args){
        .y = y, .x = x, .n = n, .scale = by->scale, .zero_point = by->zero_point, .is_signed = by->is_signed});
}
