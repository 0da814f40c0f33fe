#include "onnx_loader/onnx_file.h"

#include "core/base/error.h"
#include "onnx_loader/skeleton.h"

#include <string.h>

/* protobuf-c frees without saying how much: it gets an arena, which goes as a whole. */
typedef struct decoder_memory {
    bert_arena *arena;
    bool exhausted;
} decoder_memory;

static void *decoder_allocate(void *user, size_t bytes) {
    decoder_memory *memory = user;
    void *block = bert_arena_allocate(memory->arena, bytes, 8);
    if (!block) memory->exhausted = true;
    return block;
}

static void decoder_free(void *user, void *block) {}

static bert_status decode(bert_onnx_file *file, const bert_allocator *allocator, bert_error *error) {
    bert_onnx_skeleton skeleton;
    bert_status status = bert_onnx_skeleton_build(&bert_onnx__model_proto__descriptor, file->bytes.data,
                                                  file->bytes.size, allocator, &skeleton, error);
    /* Most often it is another kind of file: who gave it knows nothing of protobuf. */
    if (status == BERT_INVALID_MODEL) return bert_fail_in(error, status, "not an ONNX model, or a damaged one");
    BERT_TRY(status);
    decoder_memory memory = {&file->arena, false};
    ProtobufCAllocator decoder = {decoder_allocate, decoder_free, &memory};
    file->model = bert_onnx__model_proto__unpack(&decoder, skeleton.size, skeleton.data);
    bert_onnx_skeleton_free(&skeleton);
    if (file->model) return BERT_OK;
    if (memory.exhausted) return bert_fail_memory(error, file->bytes.size, "the decoded model");
    return bert_fail(error, BERT_INVALID_MODEL, "not an ONNX model, or a damaged one: protobuf-c refuses it");
}

bert_status bert_onnx_file_open(const bert_model_source *source, bert_onnx_file *out, bert_error *error) {
    bert_onnx_file file = {.bytes = {.data = source->data, .size = source->bytes}};
    if (source->path) {
        BERT_TRY(bert_file_open(source->path, !source->read_files, source->allocator, &file.bytes, error));
    }
    bert_arena_init(&file.arena, source->allocator);
    bert_status status = BERT_OK;
    if (file.bytes.size == 0) {
        status = bert_fail(error, BERT_INVALID_MODEL, "not an ONNX model: the file is empty");
    } else {
        status = decode(&file, source->allocator, error);
    }
    if (status != BERT_OK) {
        bert_onnx_file_close(&file);
        return status;
    }
    *out = file;
    return BERT_OK;
}

void bert_onnx_file_close(bert_onnx_file *file) {
    bert_arena_free(&file->arena);
    bert_file_close(&file->bytes);
    file->model = NULL;
}

bool bert_onnx_raw_data(const bert_file *bytes, const BertOnnx__TensorProto *tensor, const unsigned char **data,
                        size_t *size) {
    if (!tensor->has_raw_data) return false;
    bert_onnx_stand_in stand_in;
    memcpy(&stand_in, tensor->raw_data.data, sizeof stand_in);
    *data = bytes->data + stand_in.offset;
    *size = (size_t)stand_in.length;
    return true;
}
