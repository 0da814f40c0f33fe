/* Conversions between float32 and the two 16-bit float formats, as IEEE 754 rounds them (to nearest, ties to even). */
#ifndef BERT_BASE_FLOAT16_H
#define BERT_BASE_FLOAT16_H

#include <stdint.h>

float bert_half_to_float(uint16_t half);
uint16_t bert_float_to_half(float value); /**< Overflow gives infinity; NaN stays NaN. */
float bert_bfloat16_to_float(uint16_t bfloat16);
uint16_t bert_float_to_bfloat16(float value);

#endif
