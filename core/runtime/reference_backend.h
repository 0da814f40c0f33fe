/* The backend "reference": the op table's plain loops, in host memory, for float32 and double. */
#ifndef BERT_RUNTIME_REFERENCE_BACKEND_H
#define BERT_RUNTIME_REFERENCE_BACKEND_H

#include <bert/backend.h>

/** Runs every op of the table on the calling thread. Precisions: fp32, and fp64 for models promoted to double. */
extern const bert_backend bert_reference_backend;

#endif
