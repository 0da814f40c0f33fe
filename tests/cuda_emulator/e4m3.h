/* FP8 as the emulator's products read it. */
#ifndef BERT_TESTS_CUDA_EMULATOR_E4M3_H
#define BERT_TESTS_CUDA_EMULATOR_E4M3_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The OCP's FP8 E4M3: no infinities, all ones is NaN. A float32 with the same fields is 2^120 times too small. */
static inline float bert_emulated_e4m3_to_float(uint8_t bits) {
    const uint32_t fields = (uint32_t)(bits & 0x7f) << 20 | (uint32_t)(bits & 0x80) << 24;
    float value;
    memcpy(&value, &fields, sizeof value);
    return (bits & 0x7f) == 0x7f ? NAN : value * 0x1p120F;
}

#endif
