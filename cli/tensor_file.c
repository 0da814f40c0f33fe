#include "cli/tensor_file.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/graph/graph.h"
#include "onnx_loader/tensor_proto.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bert_owned_tensor_free(bert_owned_tensor *tensor) {
    free(tensor->tensor.data);
    free(tensor->name);
    *tensor = (bert_owned_tensor){0};
}

bert_status bert_owned_tensor_allocate(bert_owned_tensor *out, bert_error *error) {
    int64_t elements = bert_tensor_elements(&out->tensor);
    if (elements < 0) return bert_fail(error, BERT_INVALID_INPUT, "its dimensions multiply to more than memory holds");
    out->bytes = (size_t)elements * bert_dtype_size(out->tensor.dtype);
    size_t rounded = (out->bytes / BERT_ALIGNMENT + 1) * BERT_ALIGNMENT;
    out->tensor.data = aligned_alloc(BERT_ALIGNMENT, rounded);
    return out->tensor.data ? BERT_OK : bert_fail_memory(error, rounded, "a tensor");
}

double bert_tensor_element(const bert_tensor *tensor, int64_t at) {
    return bert_constant_double(&(bert_constant){.dtype = tensor->dtype, .data = tensor->data}, at);
}

int64_t bert_tensor_integer(const bert_tensor *tensor, int64_t at) {
    return bert_constant_int(&(bert_constant){.dtype = tensor->dtype, .data = tensor->data}, at);
}

const char *bert_shape_text(const int64_t *dims, int32_t rank, char *out) {
    size_t used = 0;
    out[used++] = '[';
    for (int d = 0; d < rank && d < BERT_MAX_RANK; d++) {
        used += (size_t)snprintf(out + used, BERT_SHAPE_TEXT_BYTES - used, "%s%" PRId64, d ? "," : "", dims[d]);
    }
    out[used++] = ']';
    out[used] = '\0';
    return out;
}

static bool ends_in(const char *path, const char *ending) {
    size_t length = strlen(path);
    size_t tail = strlen(ending);
    return length >= tail && strcmp(path + length - tail, ending) == 0;
}

static bert_status unknown_ending(const char *path, bert_error *error) {
    return bert_fail(error, BERT_INVALID_ARGUMENT, "'%s' ends neither in .npy nor in .pb", path);
}

/* Takes over a tensor whose data lies in an arena that goes. */
static bert_status own(const bert_tensor *tensor, const char *name, bert_owned_tensor *out, bert_error *error) {
    *out = (bert_owned_tensor){.tensor = *tensor};
    BERT_TRY(bert_owned_tensor_allocate(out, error));
    if (out->bytes) memcpy(out->tensor.data, tensor->data, out->bytes);
    out->name = name[0] ? strdup(name) : NULL;
    if (!name[0] || out->name) return BERT_OK;
    bert_owned_tensor_free(out);
    return bert_fail_memory(error, strlen(name), "a tensor's name");
}

static bert_status read_pb(const bert_file *file, bert_owned_tensor *out, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    bert_tensor tensor;
    const char *name;
    bert_status status = bert_onnx_tensor_read(file->data, file->size, &arena, &tensor, &name, error);
    if (status == BERT_OK) status = own(&tensor, name, out, error);
    bert_arena_free(&arena);
    return status;
}

bert_status bert_tensor_file_read(const char *path, bert_owned_tensor *out, bert_error *error) {
    bool npy = ends_in(path, ".npy");
    if (!npy && !ends_in(path, ".pb")) return unknown_ending(path, error);
    bert_file file;
    BERT_TRY(bert_file_open(path, true, NULL, &file, error));
    bert_owned_tensor tensor;
    bert_status status = npy ? bert_npy_parse(file.data, file.size, &tensor, error) : read_pb(&file, &tensor, error);
    bert_file_close(&file);
    if (status != BERT_OK) return bert_fail_in(error, status, "%s", path);
    *out = tensor;
    return BERT_OK;
}

static bert_status write_file(const char *path, const void *parts[2], const size_t sizes[2], bert_error *error) {
    FILE *file = fopen(path, "wb");
    if (!file) return bert_fail(error, BERT_IO_ERROR, "cannot write '%s': %s", path, strerror(errno));
    errno = 0;
    bool good = true;
    for (int i = 0; i < 2; i++) good = good && (sizes[i] == 0 || fwrite(parts[i], 1, sizes[i], file) == sizes[i]);
    if (fclose(file)) good = false;
    if (good) return BERT_OK;
    return bert_fail(error, BERT_IO_ERROR, "cannot write '%s': %s", path, strerror(errno));
}

static bert_status write_npy(const char *path, const bert_tensor *tensor, bert_error *error) {
    char *header;
    size_t header_size;
    BERT_TRY(bert_npy_header(tensor, &header, &header_size, error));
    size_t bytes = bert_tensor_bytes(tensor);
    bert_status status =
        write_file(path, (const void *[2]){header, tensor->data}, (const size_t[2]){header_size, bytes}, error);
    free(header);
    return status;
}

static bert_status write_pb(const char *path, const char *name, const bert_tensor *tensor, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    void *text;
    size_t size;
    bert_status status = bert_onnx_tensor_write(tensor, name, &arena, &text, &size, error);
    if (status == BERT_OK) {
        status = write_file(path, (const void *[2]){text, NULL}, (const size_t[2]){size, 0}, error);
    }
    bert_arena_free(&arena);
    return status;
}

bert_status bert_tensor_file_write(const char *path, const char *name, const bert_tensor *tensor, bert_error *error) {
    if (ends_in(path, ".npy")) return write_npy(path, tensor, error);
    return ends_in(path, ".pb") ? write_pb(path, name, tensor, error) : unknown_ending(path, error);
}
