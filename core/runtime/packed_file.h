/*
 * A file of packed weights: what `bertc pack` writes, and sessions map instead of packing.
 *
 * It serves one backend on one instruction set, one precision and mode, and one model. All of that is in its header and
 * is checked when it is opened; each weight carries a digest, which is checked when it is asked for.
 *
 *     header   magic, version, sizes, the target ("cpu (avx512_vnni)"), precision, deterministic, digest of header and
 *              tables
 *     sources  one for each file of the model: size, stamp, digest
 *     entries  one for each weight: key, offset, bytes, digest; keys ascend
 *     weights  each at a multiple of 4,096 bytes
 *
 * Numbers are in the byte order of the machine, as the weights are.
 */
#ifndef BERT_RUNTIME_PACKED_FILE_H
#define BERT_RUNTIME_PACKED_FILE_H

#include "core/base/file.h"
#include "core/base/thread_pool.h"
#include "core/graph/graph.h"

#include <bert/backend.h>

/** What packed weights are good for. */
typedef struct bert_packed_target {
    char device[128]; /**< bert_device_properties.name. */
    bert_precision precision;
    bool deterministic;
} bert_packed_target;

typedef struct bert_packed_file bert_packed_file;

/**
 * Opens and maps a file of packed weights for `target` and the files that `graph` came from. A file of the model whose
 * stamp is that of the time of packing counts as unchanged; with another one its digest decides, which reads all of it.
 * BERT_IO_ERROR, BERT_INVALID_MODEL (damaged, or not such a file), BERT_UNSUPPORTED (of another version, for another
 * target, of another model), BERT_OUT_OF_MEMORY. `threads` may be NULL. Close with bert_packed_file_close.
 */
bert_status bert_packed_file_open(const char *path, const bert_packed_target *target, const bert_graph *graph,
                                  bert_thread_pool *threads, const bert_allocator *allocator, bert_packed_file **out,
                                  bert_error *error);
/** NULL is ignored. Weights that were found go with it. */
void bert_packed_file_close(bert_packed_file *file);

/**
 * The weight of a key, at a multiple of 4,096 bytes: *data NULL when there is none of `bytes` bytes. BERT_INVALID_MODEL
 * when its digest is not what it was: damaged. Reads all of it. Any thread.
 */
bert_status bert_packed_file_find(const bert_packed_file *file, uint64_t key, size_t bytes, bert_thread_pool *threads,
                                  const void **data, bert_error *error);

/** A weight to write. */
typedef struct bert_packed_weight_bytes {
    uint64_t key;
    const void *data;
    size_t bytes;
} bert_packed_weight_bytes;

/**
 * Writes the file: to a temporary one beside it first, so that `path` is all there or as it was. The weights get sorted
 * by key; keys differ. BERT_IO_ERROR.
 */
bert_status bert_packed_file_write(const char *path, const bert_packed_target *target, const bert_graph *graph,
                                   bert_packed_weight_bytes *weights, size_t count, bert_thread_pool *threads,
                                   const bert_allocator *allocator, bert_error *error);

/**
 * The key of what `layout` makes of some constants, side by side: equal for the same model in every process. A constant
 * that lies in a file of the model is known by its place there, any other by its content.
 */
uint64_t bert_packed_key(const bert_graph *graph, const char *layout, const bert_constant *const *constants,
                         int32_t count);

#endif
