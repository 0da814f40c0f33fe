#include "core/runtime/packed_file.h"

#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/file_out.h"
#include "core/base/memory.h"

#include <stdlib.h>
#include <string.h>

/* Raised whenever anything in this file, or what a layout's name stands for, changes. */
enum { FORMAT_VERSION = 2 };
/* Of weights: a page, which any kernel's alignment divides. */
enum { WEIGHT_ALIGNMENT = 4096 };
static const char magic[8] = {'b', 'e', 'r', 't', 'p', 'a', 'c', 'k'};

typedef struct packed_header {
    char magic[8];
    uint32_t version;
    uint32_t precision;
    uint64_t file_bytes;
    uint64_t table_digest; /* of the header with this as 0, and of the tables */
    char device[sizeof((bert_packed_target *)NULL)->device];
    uint32_t deterministic;
    uint32_t source_count;
    uint64_t entry_count;
} packed_header;

typedef struct packed_source {
    uint64_t bytes, digest;
    bert_file_stamp stamp;
} packed_source;

typedef struct packed_entry {
    uint64_t key, offset, bytes, digest;
} packed_entry;

struct bert_packed_file {
    bert_file file;
    const bert_allocator *allocator;
    const char *path; /* in the same block */
    const packed_entry *entries;
    size_t entry_count;
};

/* ---- Keys -------------------------------------------------------------------------------------------------------- */

/* Where a constant lies: the number of its file (from 1) and the offset there; 0 when it lies in none. */
static uint32_t place_of(const bert_graph *graph, const bert_constant *constant, uint64_t *offset) {
    const uintptr_t data = (uintptr_t)constant->data;
    uint32_t number = 1;
    for (const bert_graph_file *file = graph->files; file; file = file->next, number++) {
        const uintptr_t start = (uintptr_t)file->file.data;
        if (data < start || data - start >= file->file.size) continue;
        *offset = data - start;
        return number;
    }
    return 0;
}

uint64_t bert_packed_key(const bert_graph *graph, const char *layout, const bert_constant *const *constants,
                         int32_t count) {
    uint64_t key = bert_digest(layout, strlen(layout), NULL);
    for (int32_t i = 0; i < count; i++) {
        uint64_t parts[6 + BERT_MAX_RANK] = {key};
        const bert_constant *constant = constants[i];
        if (constant) {
            parts[1] = 1;
            parts[2] = (uint64_t)constant->dtype;
            parts[3] = (uint64_t)constant->rank;
            parts[4] = place_of(graph, constant, &parts[5]);
            if (!parts[4]) parts[5] = bert_digest(constant->data, constant->bytes, NULL);
            for (int32_t axis = 0; axis < constant->rank; axis++) parts[6 + axis] = (uint64_t)constant->dims[axis];
        }
        key = bert_digest(parts, sizeof parts, NULL);
    }
    return key;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

static bert_status damaged(const bert_packed_file *packed, const char *how, bert_error *error) {
    return bert_fail(error, BERT_INVALID_MODEL, "%s: not a file of packed weights, or a damaged one: %s", packed->path,
                     how);
}

static uint64_t digest_of_tables(const unsigned char *data, size_t bytes) {
    packed_header header;
    memcpy(&header, data, sizeof header);
    header.table_digest = 0;
    const uint64_t parts[2] = {bert_digest(&header, sizeof header, NULL),
                               bert_digest(data + sizeof header, bytes - sizeof header, NULL)};
    return bert_digest(parts, sizeof parts, NULL);
}

/* Bytes of the header and the tables; false when they overflow. */
static bool measure_tables(uint64_t sources, uint64_t entries, size_t *out) {
    size_t source_bytes, entry_bytes;
    return bert_size_multiply((size_t)sources, sizeof(packed_source), &source_bytes) &&
           bert_size_multiply((size_t)entries, sizeof(packed_entry), &entry_bytes) &&
           bert_size_add(source_bytes, entry_bytes, &source_bytes) &&
           bert_size_add(source_bytes, sizeof(packed_header), out);
}

static bert_status check_target(const bert_packed_file *packed, const packed_header *header,
                                const bert_packed_target *target, bert_error *error) {
    if (strncmp(header->device, target->device, sizeof header->device) != 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "%s: packed for %.*s, and this is %s", packed->path,
                         (int)sizeof header->device, header->device, target->device);
    }
    if (header->precision != (uint32_t)target->precision || header->deterministic != (uint32_t)target->deterministic) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "%s: packed for another precision, or one that is deterministic where this is not",
                         packed->path);
    }
    return BERT_OK;
}

static bool same_stamp(const bert_file_stamp *a, const bert_file_stamp *b) {
    return a->inode != 0 && memcmp(a, b, sizeof *a) == 0;
}

static bert_status check_sources(const bert_packed_file *packed, const packed_source *sources, uint32_t count,
                                 const bert_graph *graph, bert_thread_pool *threads, bert_error *error) {
    uint32_t i = 0;
    bool same = true;
    for (const bert_graph_file *file = graph->files; file && same; file = file->next, i++) {
        same = i < count && sources[i].bytes == file->file.size;
        if (same && !same_stamp(&sources[i].stamp, &file->file.stamp)) {
            same = bert_digest(file->file.data, file->file.size, threads) == sources[i].digest;
            bert_file_release_pages(&file->file, file->file.data, file->file.size);
        }
    }
    if (same && i == count) return BERT_OK;
    return bert_fail(error, BERT_UNSUPPORTED, "%s: packed from another model, or this one has changed since",
                     packed->path);
}

static bert_status check_entries(const bert_packed_file *packed, size_t table_bytes, bert_error *error) {
    for (size_t i = 0; i < packed->entry_count; i++) {
        const packed_entry *entry = &packed->entries[i];
        const bool inside = entry->offset >= table_bytes && entry->offset <= packed->file.size &&
                            entry->bytes <= packed->file.size - entry->offset;
        if (!inside || entry->offset % WEIGHT_ALIGNMENT != 0 || (i > 0 && entry->key <= entry[-1].key))
            return damaged(packed, "its table of weights is wrong", error);
    }
    return BERT_OK;
}

static bert_status check(bert_packed_file *packed, const bert_packed_target *target, const bert_graph *graph,
                         bert_thread_pool *threads, bert_error *error) {
    packed_header header;
    if (packed->file.size < sizeof header) return damaged(packed, "it is too short", error);
    memcpy(&header, packed->file.data, sizeof header);
    if (memcmp(header.magic, magic, sizeof magic) != 0) return damaged(packed, "it begins otherwise", error);
    if (header.version != FORMAT_VERSION) {
        return bert_fail(error, BERT_UNSUPPORTED, "%s: packed in format %u, and this bert.c reads format %d",
                         packed->path, header.version, FORMAT_VERSION);
    }
    size_t table_bytes;
    if (!measure_tables(header.source_count, header.entry_count, &table_bytes) || table_bytes > packed->file.size ||
        header.file_bytes != packed->file.size)
        return damaged(packed, "it is cut off", error);
    if (digest_of_tables(packed->file.data, table_bytes) != header.table_digest)
        return damaged(packed, "the digest of its tables is wrong", error);
    BERT_TRY(check_target(packed, &header, target, error));
    /* Aligned to 8: the header's size is a multiple of that, and the file is mapped at a page. */
    const packed_source *sources = (const packed_source *)(const void *)(packed->file.data + sizeof header);
    packed->entries = (const packed_entry *)(const void *)(sources + header.source_count);
    packed->entry_count = (size_t)header.entry_count;
    BERT_TRY(check_entries(packed, table_bytes, error));
    return check_sources(packed, sources, header.source_count, graph, threads, error);
}

bert_status bert_packed_file_open(const char *path, const bert_packed_target *target, const bert_graph *graph,
                                  bert_thread_pool *threads, const bert_allocator *allocator, bert_packed_file **out,
                                  bert_error *error) {
    *out = NULL;
    const size_t length = strlen(path) + 1;
    bert_packed_file *packed = bert_allocate(allocator, sizeof *packed + length, _Alignof(bert_packed_file));
    if (!packed) return bert_fail_memory(error, sizeof *packed + length, "a file of packed weights");
    char *name = (char *)(packed + 1);
    memcpy(name, path, length);
    *packed = (bert_packed_file){.allocator = allocator, .path = name};
    bert_status status = bert_file_open(path, true, allocator, &packed->file, error);
    if (status == BERT_OK) status = check(packed, target, graph, threads, error);
    if (status != BERT_OK) {
        bert_packed_file_close(packed);
        return status;
    }
    *out = packed;
    return BERT_OK;
}

void bert_packed_file_close(bert_packed_file *packed) {
    if (!packed) return;
    bert_file_close(&packed->file);
    bert_deallocate(packed->allocator, packed, sizeof *packed + strlen(packed->path) + 1, _Alignof(bert_packed_file));
}

static int compare_keys(const void *a, const void *b) {
    const uint64_t x = ((const packed_entry *)a)->key, y = ((const packed_entry *)b)->key;
    return (x > y) - (x < y);
}

bert_status bert_packed_file_find(const bert_packed_file *packed, uint64_t key, size_t bytes, bert_thread_pool *threads,
                                  const void **data, bert_error *error) {
    *data = NULL;
    const packed_entry wanted = {.key = key};
    const packed_entry *entry =
        packed->entry_count ? bsearch(&wanted, packed->entries, packed->entry_count, sizeof wanted, compare_keys)
                            : NULL;
    if (!entry || entry->bytes != bytes) return BERT_OK;
    const unsigned char *found = packed->file.data + entry->offset;
    bert_file_fetch_pages(&packed->file, found, bytes);
    if (bert_digest(found, bytes, threads) != entry->digest)
        return damaged(packed, "the digest of a weight is wrong", error);
    *data = found;
    return BERT_OK;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static int compare_weights(const void *a, const void *b) {
    const uint64_t x = ((const bert_packed_weight_bytes *)a)->key, y = ((const bert_packed_weight_bytes *)b)->key;
    return (x > y) - (x < y);
}

static size_t align(size_t offset) {
    return (offset + WEIGHT_ALIGNMENT - 1) / WEIGHT_ALIGNMENT * WEIGHT_ALIGNMENT;
}

/* Fills the header and the tables, which have the room that measure_tables gave. */
static void fill_tables(unsigned char *tables, size_t table_bytes, const bert_packed_target *target,
                        const bert_graph *graph, uint32_t source_count, const bert_packed_weight_bytes *weights,
                        size_t count, bert_thread_pool *threads) {
    packed_header *header = (packed_header *)(void *)tables;
    packed_source *source = (packed_source *)(void *)(header + 1);
    packed_entry *entry = (packed_entry *)(void *)(source + source_count);
    *header = (packed_header){.version = FORMAT_VERSION,
                              .precision = (uint32_t)target->precision,
                              .deterministic = target->deterministic,
                              .source_count = source_count,
                              .entry_count = count};
    memcpy(header->magic, magic, sizeof magic);
    memcpy(header->device, target->device, sizeof header->device);
    for (const bert_graph_file *file = graph->files; file; file = file->next, source++) {
        source->bytes = file->file.size;
        source->digest = bert_digest(file->file.data, file->file.size, threads);
        source->stamp = file->file.stamp;
        bert_file_release_pages(&file->file, file->file.data, file->file.size);
    }
    size_t offset = table_bytes;
    for (size_t i = 0; i < count; i++, entry++) {
        offset = align(offset);
        *entry = (packed_entry){.key = weights[i].key,
                                .offset = offset,
                                .bytes = weights[i].bytes,
                                .digest = bert_digest(weights[i].data, weights[i].bytes, threads)};
        offset += weights[i].bytes;
    }
    header->file_bytes = offset;
    header->table_digest = digest_of_tables(tables, table_bytes);
}

static bert_status write_all(bert_file_out *out, const unsigned char *tables, size_t table_bytes,
                             const bert_packed_weight_bytes *weights, size_t count, bert_error *error) {
    static const unsigned char zeros[WEIGHT_ALIGNMENT];
    BERT_TRY(bert_file_out_write(out, tables, table_bytes, error));
    for (size_t i = 0; i < count; i++) {
        BERT_TRY(bert_file_out_write(out, zeros, align((size_t)out->position) - (size_t)out->position, error));
        BERT_TRY(bert_file_out_write(out, weights[i].data, weights[i].bytes, error));
    }
    return BERT_OK;
}

static bert_status write_file(const char *path, const unsigned char *tables, size_t table_bytes,
                              const bert_packed_weight_bytes *weights, size_t count, bert_error *error) {
    bert_file_out out;
    BERT_TRY(bert_file_out_open(path, &out, error));
    const bert_status status = write_all(&out, tables, table_bytes, weights, count, error);
    if (status == BERT_OK) return bert_file_out_close(&out, error);
    bert_file_out_abandon(&out);
    return status;
}

bert_status bert_packed_file_write(const char *path, const bert_packed_target *target, const bert_graph *graph,
                                   bert_packed_weight_bytes *weights, size_t count, bert_thread_pool *threads,
                                   const bert_allocator *allocator, bert_error *error) {
    uint32_t source_count = 0;
    for (const bert_graph_file *file = graph->files; file; file = file->next) source_count++;
    if (count) qsort(weights, count, sizeof *weights, compare_weights);
    size_t table_bytes;
    if (!measure_tables(source_count, count, &table_bytes))
        return bert_fail(error, BERT_UNSUPPORTED, "%s: too many weights for a file", path);
    unsigned char *tables = bert_allocate(allocator, table_bytes, BERT_ALIGNMENT);
    if (!tables) return bert_fail_memory(error, table_bytes, "the table of packed weights");
    fill_tables(tables, table_bytes, target, graph, source_count, weights, count, threads);
    const bert_status status = write_file(path, tables, table_bytes, weights, count, error);
    bert_deallocate(allocator, tables, table_bytes, BERT_ALIGNMENT);
    return status;
}
