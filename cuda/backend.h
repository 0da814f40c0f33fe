/* The entry of the CUDA provider, and of the plug-in that it is. */
#ifndef BERT_CUDA_BACKEND_H
#define BERT_CUDA_BACKEND_H

#include <bert/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The backend "cuda"; NULL where it was built for another version of bert/backend.h than `abi_version`. Any thread. */
BERT_API const bert_backend *bert_cuda_backend(uint32_t abi_version);

#ifdef __cplusplus
}
#endif
#endif
