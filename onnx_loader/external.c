/* Weights in files beside the model's. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct external_place {
    const char *location;
    uint64_t offset, length;
    bool has_length;
} external_place;

static bert_status read_number(const char *key, const char *text, uint64_t *out, bert_error *error) {
    uint64_t value = 0;
    bool good = *text != '\0';
    for (const char *at = text; *at && good; at++) {
        good = *at >= '0' && *at <= '9' && !__builtin_mul_overflow(value, 10, &value) &&
               !__builtin_add_overflow(value, (uint64_t)(*at - '0'), &value);
    }
    if (!good)
        return bert_fail(error, BERT_INVALID_MODEL, "its external %s is \"%.*s\", not a number", key,
                         BERT_ONNX_SHOWN(text));
    *out = value;
    return BERT_OK;
}

static bert_status read_place(const BertOnnx__TensorProto *tensor, external_place *out, bert_error *error) {
    *out = (external_place){0};
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const char *key = bert_onnx_text(tensor->external_data[i]->key);
        const char *value = bert_onnx_text(tensor->external_data[i]->value);
        if (strcmp(key, "location") == 0) {
            out->location = value;
        } else if (strcmp(key, "offset") == 0) {
            BERT_TRY(read_number(key, value, &out->offset, error));
        } else if (strcmp(key, "length") == 0) {
            BERT_TRY(read_number(key, value, &out->length, error));
            out->has_length = true;
        }
    }
    if (!out->location || !*out->location) {
        return bert_fail(error, BERT_INVALID_MODEL, "it has external data without a location");
    }
    return BERT_OK;
}

/* Relative, and without a way up: what it names lies in the folder, symbolic links aside. */
static bert_status check_location(const char *location, bert_error *error) {
    bool good = location[0] != '/' && !strchr(location, '\\');
    for (const char *part = location; good && part; part = strchr(part, '/')) {
        if (*part == '/') part++;
        good = !(part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == '\0'));
    }
    if (good) return BERT_OK;
    return bert_fail(error, BERT_INVALID_MODEL,
                     "its external data is at \"%.*s\", and only paths inside the model's folder are followed",
                     BERT_ONNX_SHOWN(location));
}

/* Cuts the last part of a path off; "." when there is none. */
static void to_folder(char *path) {
    char *slash = strrchr(path, '/');
    if (!slash) {
        memcpy(path, ".", 2);
    } else {
        slash[slash == path] = '\0';
    }
}

static bool is_inside(const char *path, const char *folder) {
    size_t length = strlen(folder);
    if (length && folder[length - 1] == '/') length--; /* the root folder */
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static bert_status fail_path(bert_error *error, const char *path) {
    return bert_fail(error, errno == ENOMEM ? BERT_OUT_OF_MEMORY : BERT_IO_ERROR,
                     "its external data file %s could not be opened: %s", path, strerror(errno));
}

/*
 * The real path of the location. It must lie in the folder that the model was opened from, or in the one that the
 * model's file really lies in: caches keep a model and its data as links to files that are side by side elsewhere.
 */
static bert_status find_path(const bert_model_source *source, const char *location, char real[PATH_MAX],
                             bert_error *error) {
    char folder[PATH_MAX], joined[PATH_MAX], allowed[PATH_MAX];
    const char *given = source->external_data_folder ? source->external_data_folder : source->path;
    if (!given) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "it has external data (%.*s), and a model in memory has no folder unless one is given",
                         BERT_ONNX_SHOWN(location));
    }
    size_t length = strlen(given), location_length = strlen(location);
    if (length + location_length + 4 > PATH_MAX) {
        return bert_fail(error, BERT_INVALID_MODEL, "the path of its external data is longer than a path may be");
    }
    memcpy(folder, given, length + 1);
    if (!source->external_data_folder) to_folder(folder);
    length = strlen(folder);
    memcpy(joined, folder, length);
    joined[length] = '/';
    memcpy(joined + length + 1, location, location_length + 1);
    if (!realpath(joined, real)) return fail_path(error, joined);
    if (!realpath(folder, allowed)) return fail_path(error, folder);
    if (is_inside(real, allowed)) return BERT_OK;
    if (!source->external_data_folder) {
        if (!realpath(source->path, allowed)) return fail_path(error, source->path);
        to_folder(allowed);
        if (is_inside(real, allowed)) return BERT_OK;
    }
    return bert_fail(error, BERT_INVALID_MODEL,
                     "its external data at \"%s\" is a link out of the model's folder, to %s", location, real);
}

static bert_status open_once(bert_onnx_builder *builder, const char *location, const bert_file **out,
                             bert_error *error) {
    size_t length = strlen(location);
    *out = bert_hash_get(builder->external, location, length);
    if (*out) return BERT_OK;
    char path[PATH_MAX];
    BERT_TRY(check_location(location, error));
    BERT_TRY(find_path(builder->source, location, path, error));
    bert_file file;
    BERT_TRY(bert_file_open(path, !builder->source->read_files, builder->source->allocator, &file, error));
    BERT_TRY(bert_graph_adopt_file(builder->graph, file, out, error));
    if (bert_hash_set(builder->external, location, length, (void *)*out)) return BERT_OK;
    return bert_fail_memory(error, length, "the list of external data files");
}

bert_status bert_onnx_external_data(bert_onnx_builder *builder, const BertOnnx__TensorProto *tensor, size_t bytes,
                                    const unsigned char **data, const bert_file **file, bert_error *error) {
    external_place place;
    BERT_TRY(read_place(tensor, &place, error));
    BERT_TRY(open_once(builder, place.location, file, error));
    if (place.has_length && place.length != bytes) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "it has %" PRIu64 " bytes of external data, and its type and shape want %zu", place.length,
                         bytes);
    }
    if (place.offset > (*file)->size || bytes > (*file)->size - place.offset) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "it lies at bytes %" PRIu64 " to %" PRIu64 " + %zu of %s, which has %zu", place.offset,
                         place.offset, bytes, place.location, (*file)->size);
    }
    *data = bytes ? (*file)->data + place.offset : NULL;
    return BERT_OK;
}
