/* The .npy format, versions 1 to 3: numpy/lib/format.py describes it. */
#include "cli/tensor_file.h"
#include "core/base/error.h"
#include "core/base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    char kind; /* 'V' of 2 bytes is how ml_dtypes writes bfloat16. */
    size_t size;
    bert_dtype dtype;
} types[] = {{'f', 4, BERT_FLOAT},   {'f', 8, BERT_DOUBLE}, {'f', 2, BERT_FLOAT16}, {'i', 1, BERT_INT8},
             {'i', 2, BERT_INT16},   {'i', 4, BERT_INT32},  {'i', 8, BERT_INT64},   {'u', 1, BERT_UINT8},
             {'u', 2, BERT_UINT16},  {'u', 4, BERT_UINT32}, {'u', 8, BERT_UINT64},  {'b', 1, BERT_BOOL},
             {'V', 2, BERT_BFLOAT16}};

/* What the header's Python dict says. */
typedef struct npy_header {
    char order; /* '<', '>', '|' or '=' */
    bool has_type, has_order, has_shape;
    bool fortran;
    bert_tensor tensor;
} npy_header;

/* A place in the header's text. */
typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_blanks(cursor *c) {
    while (c->at < c->end && strchr(" \t\n", *c->at)) c->at++;
}

/* Skips blanks and takes the character when it stands there. */
static bool take(cursor *c, char character) {
    skip_blanks(c);
    if (c->at == c->end || *c->at != character) return false;
    c->at++;
    return true;
}

static bool take_string(cursor *c, char *out, size_t size) {
    skip_blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
    char quote = *c->at++;
    size_t length = 0;
    while (c->at < c->end && *c->at != quote) {
        if (length + 1 >= size) return false;
        out[length++] = *c->at++;
    }
    out[length] = '\0';
    return take(c, quote);
}

static bool take_word(cursor *c, const char *word) {
    skip_blanks(c);
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

static bool take_number(cursor *c, int64_t *out) {
    skip_blanks(c);
    int64_t value = 0;
    const char *begin = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *c->at - '0', &value)) {
            return false;
        }
        c->at++;
    }
    *out = value;
    return c->at > begin;
}

static bool take_shape(cursor *c, npy_header *header) {
    if (!take(c, '(')) return false;
    while (!take(c, ')')) {
        if (header->tensor.rank == BERT_MAX_RANK) return false;
        if (!take_number(c, &header->tensor.dims[header->tensor.rank++])) return false;
        if (!take(c, ',') && !(c->at < c->end && *c->at == ')')) return false;
    }
    header->has_shape = true;
    return true;
}

static bert_status take_type(npy_header *header, const char *text, bert_error *error) {
    header->order = text[0];
    header->has_type = true;
    char kind = text[0] ? text[1] : '\0';
    size_t size = kind ? (size_t)strtoul(text + 2, NULL, 10) : 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].kind == kind && types[i].size == size) header->tensor.dtype = types[i].dtype;
    }
    if (header->tensor.dtype == BERT_DTYPE_UNDEFINED || !strchr("<>|=", header->order)) {
        return bert_fail(error, BERT_UNSUPPORTED, "there are no tensors of its type '%s'", text);
    }
    return BERT_OK;
}

static bert_status malformed(bert_error *error, const char *what) {
    return bert_fail(error, BERT_INVALID_INPUT, "its header %s", what);
}

static bert_status parse_header(cursor c, npy_header *header, bert_error *error) {
    if (!take(&c, '{')) return malformed(error, "is not a Python dict");
    while (!take(&c, '}')) {
        char key[32];
        char type[32];
        if (!take_string(&c, key, sizeof key) || !take(&c, ':'))
            return malformed(error, "has a key that is not a string");
        if (strcmp(key, "descr") == 0) {
            if (!take_string(&c, type, sizeof type)) {
                return bert_fail(error, BERT_UNSUPPORTED, "it has records, not plain numbers");
            }
            BERT_TRY(take_type(header, type, error));
        } else if (strcmp(key, "fortran_order") == 0) {
            header->fortran = take_word(&c, "True");
            if (!header->fortran && !take_word(&c, "False")) return malformed(error, "has an odd fortran_order");
            header->has_order = true;
        } else if (strcmp(key, "shape") == 0) {
            if (!take_shape(&c, header)) return malformed(error, "has no shape of at most 8 dimensions");
        } else {
            return malformed(error, "has an unknown key");
        }
        skip_blanks(&c);
        if (!take(&c, ',') && !(c.at < c.end && *c.at == '}')) return malformed(error, "does not end");
    }
    if (!header->has_type || !header->has_order || !header->has_shape) {
        return malformed(error, "lacks one of descr, fortran_order, shape");
    }
    return BERT_OK;
}

/* Copies elements so that the last dimension varies fastest, bytes of an element in this machine's order. */
static void copy_elements(const npy_header *header, const unsigned char *data, bert_owned_tensor *out) {
    const bert_tensor *tensor = &out->tensor;
    size_t size = bert_dtype_size(tensor->dtype);
    size_t count = out->bytes / size;
    int64_t index[BERT_MAX_RANK] = {0};
    for (size_t i = 0; i < count; i++) {
        size_t from = i;
        if (header->fortran) {
            from = 0;
            for (int d = tensor->rank; d-- > 0;) from = from * (size_t)tensor->dims[d] + (size_t)index[d];
            for (int d = tensor->rank; d-- > 0 && ++index[d] == tensor->dims[d];) index[d] = 0;
        }
        unsigned char *to = (unsigned char *)tensor->data + i * size;
        memcpy(to, data + from * size, size);
        if (header->order != '>') continue;
        for (size_t b = 0; b < size / 2; b++) {
            unsigned char byte = to[b];
            to[b] = to[size - 1 - b];
            to[size - 1 - b] = byte;
        }
    }
}

bert_status bert_npy_parse(const unsigned char *data, size_t size, bert_owned_tensor *out, bert_error *error) {
    if (size < 10 || memcmp(data, "\x93NUMPY", 6) != 0) {
        return bert_fail(error, BERT_INVALID_INPUT, "it is not a .npy file");
    }
    unsigned version = data[6];
    if (version < 1 || version > 3) {
        return bert_fail(error, BERT_UNSUPPORTED, "it has version %u of the .npy format, which is none of 1 to 3",
                         version);
    }
    size_t begin = version == 1 ? 10 : 12;
    size_t length = data[8] | (size_t)data[9] << 8;
    if (version > 1 && size >= 12) length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (size < begin || size - begin < length) return bert_fail(error, BERT_INVALID_INPUT, "it ends in its header");
    npy_header header = {0};
    const char *text = (const char *)data + begin;
    BERT_TRY(parse_header((cursor){text, text + length}, &header, error));
    bert_owned_tensor tensor = {.tensor = header.tensor};
    BERT_TRY(bert_owned_tensor_allocate(&tensor, error));
    if (tensor.bytes != size - begin - length) {
        bert_status status = bert_fail(error, BERT_INVALID_INPUT, "its shape and type take %zu bytes, but it holds %zu",
                                       tensor.bytes, size - begin - length);
        bert_owned_tensor_free(&tensor);
        return status;
    }
    copy_elements(&header, data + begin + length, &tensor);
    *out = tensor;
    return BERT_OK;
}

static const char *type_text(bert_dtype dtype, char *out, size_t size) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].dtype != dtype) continue;
        snprintf(out, size, "%c%c%zu", types[i].size == 1 ? '|' : '<', types[i].kind, types[i].size);
        return out;
    }
    return NULL;
}

bert_status bert_npy_header(const bert_tensor *tensor, char **out, size_t *out_size, bert_error *error) {
    char type[8];
    if (!type_text(tensor->dtype, type, sizeof type)) {
        return bert_fail(error, BERT_UNSUPPORTED, "a tensor of type %s has no .npy form",
                         bert_dtype_name(tensor->dtype));
    }
    char shape[BERT_MAX_RANK * 22 + 1] = "";
    size_t used = 0;
    for (int i = 0; i < tensor->rank; i++) {
        bool more = i + 1 < tensor->rank || tensor->rank == 1;
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRId64 "%s", i ? " " : "", tensor->dims[i],
                                 more ? "," : "");
    }
    char dict[320];
    int length = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    /* Blanks and a line end make the whole header a multiple of 64 bytes. */
    size_t whole = (10 + (size_t)length + 1 + 63) / 64 * 64;
    char *header = malloc(whole);
    if (!header) return bert_fail_memory(error, whole, "a .npy header");
    static const char magic[8] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0};
    memcpy(header, magic, sizeof magic);
    header[8] = (char)((whole - 10) & 0xff);
    header[9] = (char)((whole - 10) >> 8);
    snprintf(header + 10, whole - 10, "%-*s", (int)(whole - 11), dict);
    header[whole - 1] = '\n';
    *out = header;
    *out_size = whole;
    return BERT_OK;
}
