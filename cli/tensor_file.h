/* Tensors in files: NumPy's .npy and ONNX's TensorProto (.pb). */
#ifndef BERT_CLI_TENSOR_FILE_H
#define BERT_CLI_TENSOR_FILE_H

#include <bert/types.h>

/** A tensor that owns its data; free with bert_owned_tensor_free. */
typedef struct bert_owned_tensor {
    bert_tensor tensor; /**< `data` is never NULL. */
    size_t bytes;
    char *name; /**< In a .pb file; NULL where the file has none. */
} bert_owned_tensor;
void bert_owned_tensor_free(bert_owned_tensor *tensor);

/** Memory for a tensor of the dtype, rank and dims that out->tensor holds; the content is undefined. */
bert_status bert_owned_tensor_allocate(bert_owned_tensor *out, bert_error *error);

/** Element `at`, counted in row-major order, of a tensor of any type. */
double bert_tensor_element(const bert_tensor *tensor, int64_t at);
/** The same, exact for integers. */
int64_t bert_tensor_integer(const bert_tensor *tensor, int64_t at);
/** "[2,16]" into `out` (BERT_SHAPE_TEXT_BYTES); returns it. */
#define BERT_SHAPE_TEXT_BYTES 192
const char *bert_shape_text(const int64_t *dims, int32_t rank, char *out);

/**
 * Reads a file by the ending of its name, .npy or .pb. BERT_IO_ERROR, BERT_INVALID_INPUT when it is malformed or
 * holds no tensor, BERT_UNSUPPORTED when it is of a type that bert.c has no tensors of. Errors name the file.
 */
bert_status bert_tensor_file_read(const char *path, bert_owned_tensor *out, bert_error *error);
/** Writes a file of that ending. `name` goes into a .pb file. */
bert_status bert_tensor_file_write(const char *path, const char *name, const bert_tensor *tensor, bert_error *error);

/* The two formats, on bytes. `size` is that of the whole file. Writers return memory to free(). */

bert_status bert_npy_parse(const unsigned char *data, size_t size, bert_owned_tensor *out, bert_error *error);
/** The header of a version 1.0 file for the tensor; its data follows as it lies in memory. */
bert_status bert_npy_header(const bert_tensor *tensor, char **out, size_t *out_size, bert_error *error);

#endif
