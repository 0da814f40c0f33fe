#include "cpu/narrow.h"

#include "core/base/float16.h"

#include <string.h>

/* Elements of one task, and of what is brought to an aligned place at a time. */
enum { TASK = 32768, CHUNK = 1024 };

typedef struct conversion {
    const bert_cpu_kernels *kernels;
    float *wide;
    uint16_t *narrow;
    const float *from_wide;
    const unsigned char *from_narrow;
    int64_t count;
    bert_dtype dtype;
} conversion;

static void widen_run(const conversion *c, float *y, const uint16_t *x, int64_t n) {
    if (c->dtype == BERT_FLOAT16)
        c->kernels->from_f16(&(bert_from_f16_args){.y = y, .x = x, .n = n});
    else
        c->kernels->from_bf16(&(bert_from_bf16_args){.y = y, .x = x, .n = n});
}

static void widen_task(void *argument, int64_t task, int thread) {
    const conversion *c = argument;
    const int64_t first = task * TASK, end = first + TASK < c->count ? first + TASK : c->count;
    const unsigned char *from = c->from_narrow + first * (int64_t)sizeof(uint16_t);
    if ((uintptr_t)from % _Alignof(uint16_t) == 0) {
        widen_run(c, c->wide + first, (const uint16_t *)(const void *)from, end - first);
        return;
    }
    uint16_t aligned[CHUNK];
    for (int64_t i = first; i < end; i += CHUNK) {
        const int64_t n = end - i < CHUNK ? end - i : CHUNK;
        memcpy(aligned, c->from_narrow + i * (int64_t)sizeof *aligned, (size_t)n * sizeof *aligned);
        widen_run(c, c->wide + i, aligned, n);
    }
}

static void narrow_task(void *argument, int64_t task, int thread) {
    const conversion *c = argument;
    const int64_t first = task * TASK, n = c->count - first < TASK ? c->count - first : TASK;
    if (c->dtype == BERT_FLOAT16)
        c->kernels->to_f16(&(bert_to_f16_args){.y = c->narrow + first, .x = c->from_wide + first, .n = n});
    else
        c->kernels->to_bf16(
            &(bert_to_bf16_args){.y = c->narrow + first, .x = c->from_wide + first, .rows = 1, .n = n, .padded = n});
}

void bert_cpu_widen(const bert_cpu_kernels *kernels, bert_thread_pool *threads, float *y, const void *x,
                    bert_dtype dtype, int64_t count) {
    conversion c = {.kernels = kernels, .wide = y, .from_narrow = x, .count = count, .dtype = dtype};
    bert_thread_pool_run(threads, (count + TASK - 1) / TASK, widen_task, &c);
}

void bert_cpu_narrow(const bert_cpu_kernels *kernels, bert_thread_pool *threads, uint16_t *y, const float *x,
                     bert_dtype dtype, int64_t count) {
    conversion c = {.kernels = kernels, .narrow = y, .from_wide = x, .count = count, .dtype = dtype};
    bert_thread_pool_run(threads, (count + TASK - 1) / TASK, narrow_task, &c);
}

void bert_cpu_round(const bert_cpu_kernels *kernels, float *x, bert_dtype dtype, int64_t count) {
    uint16_t narrow[CHUNK];
    for (int64_t i = 0; i < count; i += CHUNK) {
        const int64_t n = count - i < CHUNK ? count - i : CHUNK;
        bert_cpu_narrow(kernels, NULL, narrow, x + i, dtype, n);
        bert_cpu_widen(kernels, NULL, x + i, narrow, dtype, n);
    }
}

void bert_cpu_read_floats(const bert_constant *constant, int64_t first, int64_t count, float *out) {
    const int64_t size = bert_cpu_is_narrow(constant->dtype) ? (int64_t)sizeof(uint16_t) : (int64_t)sizeof(float);
    const unsigned char *from = constant->data + first * size;
    if (constant->dtype == BERT_FLOAT) {
        if (count > 0) memcpy(out, from, (size_t)count * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, from + i * size, sizeof bits);
        out[i] = constant->dtype == BERT_FLOAT16 ? bert_half_to_float(bits) : bert_bfloat16_to_float(bits);
    }
}
