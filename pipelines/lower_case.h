/* Comparing texts without regard to case. */
#ifndef BERT_PIPELINES_LOWER_CASE_H
#define BERT_PIPELINES_LOWER_CASE_H

#include <stdbool.h>
#include <stddef.h>

/** Whether two well-formed texts are equal once in lower case as Python's str.lower has it, final sigma included. */
bool bert_equal_in_lower_case(const char *a, size_t a_length, const char *b, size_t b_length);

#endif
