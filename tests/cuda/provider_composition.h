/* A composition of every part that a build has, and of the CUDA provider linked into a test, which comes first. */
#ifndef BERT_TESTS_CUDA_PROVIDER_COMPOSITION_H
#define BERT_TESTS_CUDA_PROVIDER_COMPOSITION_H

#include "core/runtime/composition.h"
#include "cuda/backend.h"

static const bert_backend *provider_backends[8];

static inline bert_composition provider_composition(void) {
    bert_composition composition = bert_default_composition;
    provider_backends[0] = bert_cuda_backend(BERT_BACKEND_ABI_VERSION);
    for (size_t i = 0; i < composition.backend_count; i++) provider_backends[1 + i] = composition.backends[i];
    composition.backends = provider_backends;
    composition.backend_count++;
    composition.plugin_count = 0;
    return composition;
}

#endif
