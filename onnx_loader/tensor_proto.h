/* Single tensors in ONNX's TensorProto form: what the .pb files of backend tests hold. */
#ifndef BERT_ONNX_LOADER_TENSOR_PROTO_H
#define BERT_ONNX_LOADER_TENSOR_PROTO_H

#include "core/base/memory.h"

#include <bert/types.h>

/**
 * Reads the bytes of a TensorProto, held to the same rules as a tensor of a model. The tensor's data and *name ("" when
 * it has none) lie in `arena`, the data aligned to BERT_ALIGNMENT. BERT_INVALID_MODEL: malformed. BERT_UNSUPPORTED: of
 * a type that no operator takes, or in another file.
 */
bert_status bert_onnx_tensor_read(const void *data, size_t size, bert_arena *arena, bert_tensor *out, const char **name,
                                  bert_error *error);

/** Writes the tensor with its data as raw_data. *out lies in `arena`. */
bert_status bert_onnx_tensor_write(const bert_tensor *tensor, const char *name, bert_arena *arena, void **out,
                                   size_t *size, bert_error *error);

#endif
