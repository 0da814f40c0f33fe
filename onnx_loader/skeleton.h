/*
 * The structure of a .onnx file without its weights.
 *
 * The scan walks the file as onnx.proto describes it and writes a skeleton: the same messages, but every raw_data
 * replaced by a stand-in that says where it lies, and what onnx.proto does not list dropped. Lengths of enclosing
 * messages follow. What protobuf-c would do badly is settled here, before it sees a byte: depth and numbers of messages
 * are limited, groups and wire types that do not fit a field are refused, strings are checked to be UTF-8 without NUL,
 * and the parts of a message that is given more than once are joined (which is how protobuf defines their merge).
 */
#ifndef BERT_ONNX_LOADER_SKELETON_H
#define BERT_ONNX_LOADER_SKELETON_H

#include "core/base/memory.h"

#include <protobuf-c/protobuf-c.h>

/** Messages inside messages; a subgraph in a subgraph takes three. */
#define BERT_ONNX_MAX_DEPTH 64
/** Messages of a file, and fields in all of them: these bound what decoding takes to about 2 GiB, whatever the file. */
#define BERT_ONNX_MAX_MESSAGES ((size_t)1 << 21)
#define BERT_ONNX_MAX_FIELDS ((size_t)1 << 24)
/** Bytes of the skeleton. */
#define BERT_ONNX_MAX_STRUCTURE ((size_t)1 << 30)

typedef struct bert_onnx_skeleton {
    unsigned char *data;
    size_t size, capacity; /**< Bytes. */
    const bert_allocator *allocator;
} bert_onnx_skeleton;

/** What stands in place of raw_data: bytes [offset, offset + length) of the file. */
typedef struct bert_onnx_stand_in {
    uint64_t offset, length;
} bert_onnx_stand_in;

/**
 * Scans the message `root` in `data`. BERT_INVALID_MODEL says what is wrong, at which byte and in which field
 * ("graph.node[3].attribute[0]"); BERT_UNSUPPORTED when a limit is passed. Free with bert_onnx_skeleton_free.
 */
bert_status bert_onnx_skeleton_build(const ProtobufCMessageDescriptor *root, const unsigned char *data, size_t size,
                                     const bert_allocator *allocator, bert_onnx_skeleton *out, bert_error *error);
void bert_onnx_skeleton_free(bert_onnx_skeleton *skeleton);

#endif
