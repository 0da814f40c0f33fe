#include "tests/cuda/halves_case.h"

#include <stdlib.h>
#include <string.h>

void halves_split(float x, uint16_t *upper, uint16_t *lower) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rest = bits & 0xffff;
    *upper = (uint16_t)((bits >> 16) + (rest >= 0x8000));
    *lower = (uint16_t)rest;
}

float halves_join(uint16_t upper, uint16_t lower) {
    const uint32_t bits = ((uint32_t)upper << 16) + lower - (lower >= 0x8000 ? 0x10000U : 0U);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void halves_put(const bert_tensor *host, void *device, bool with_lower) {
    const int64_t count = bert_tensor_elements(host);
    uint16_t *halves = malloc((size_t)count * 4 + 1);
    float *floats = host->data;
    for (int64_t i = 0; i < count; i++) {
        halves_split(floats[i], &halves[i], &halves[count + i]);
        if (with_lower) continue;
        floats[i] = halves_join(halves[i], 0);
        halves[count + i] = 0x5a5a;
    }
    if (count) assert_int_equal(cudaMemcpy(device, halves, (size_t)count * 4, cudaMemcpyDefault), cudaSuccess);
    free(halves);
}

void halves_join_all(const bert_tensor *host, void *device) {
    const int64_t count = bert_tensor_elements(host);
    uint16_t *halves = malloc((size_t)count * 4 + 1);
    float *floats = malloc((size_t)count * 4 + 1);
    if (count) assert_int_equal(cudaMemcpy(halves, device, (size_t)count * 4, cudaMemcpyDefault), cudaSuccess);
    for (int64_t i = 0; i < count; i++) floats[i] = halves_join(halves[i], halves[count + i]);
    if (count) assert_int_equal(cudaMemcpy(device, floats, (size_t)count * 4, cudaMemcpyDefault), cudaSuccess);
    free(floats);
    free(halves);
}
