/* A .onnx file, decoded: what it says, before anything is made of it. */
#ifndef BERT_ONNX_LOADER_ONNX_FILE_H
#define BERT_ONNX_LOADER_ONNX_FILE_H

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/runtime/composition.h"
#include "onnx_loader/onnx.pb-c.h"

/** The decoded message lives in the arena; its raw_data are stand-ins for views into `bytes`. */
typedef struct bert_onnx_file {
    bert_file bytes;
    bert_arena arena;
    const BertOnnx__ModelProto *model;
} bert_onnx_file;

/**
 * Opens and decodes the source's file. The sentence of an error does not name the file unless it could not be opened.
 * Close with bert_onnx_file_close.
 */
bert_status bert_onnx_file_open(const bert_model_source *source, bert_onnx_file *out, bert_error *error);
void bert_onnx_file_close(bert_onnx_file *file);

/** The bytes that the tensor's raw_data has in the file; false when the tensor has no raw_data. */
bool bert_onnx_raw_data(const bert_file *bytes, const BertOnnx__TensorProto *tensor, const unsigned char **data,
                        size_t *size);

#endif
