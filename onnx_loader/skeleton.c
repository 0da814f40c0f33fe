#include "onnx_loader/skeleton.h"

#include "core/base/error.h"
#include "core/base/utf8.h"
#include "onnx_loader/onnx.pb-c.h"
#include "onnx_loader/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Where the scan is, for sentences: a list from the innermost field outwards. */
typedef struct place {
    const struct place *outer;
    const ProtobufCFieldDescriptor *field;
    size_t index; /* among the field's occurrences, for repeated fields */
    int depth;
} place;

/* A message's bytes: more than one range when the file gives a singular message in parts. */
typedef struct content {
    const bert_wire_range *ranges;
    size_t count;
} content;

typedef struct scan {
    const char *root; /* what sentences call the whole */
    const unsigned char *start;
    bert_onnx_skeleton *out;
    bert_arena parts; /* ranges of messages in parts */
    size_t messages, fields;
    const ProtobufCFieldDescriptor *raw_data;
    bert_error *error;
} scan;

/* onnx.proto has no message with more fields; a test holds it to that. */
enum { MAX_FIELDS_OF_A_MESSAGE = 32, LENGTH_BYTES = 5 };

static void describe(const char *root, const place *at, char *out, size_t capacity) {
    const place *trail[BERT_ONNX_MAX_DEPTH + 1];
    int depth = 0;
    for (; at && at->field && depth <= BERT_ONNX_MAX_DEPTH; at = at->outer) trail[depth++] = at;
    size_t used = (size_t)snprintf(out, capacity, "%s", root);
    while (depth-- > 0 && used < capacity) {
        const place *p = trail[depth];
        bool listed = p->field->label == PROTOBUF_C_LABEL_REPEATED;
        used += (size_t)(listed ? snprintf(out + used, capacity - used, ".%s[%zu]", p->field->name, p->index)
                                : snprintf(out + used, capacity - used, ".%s", p->field->name));
    }
}

static bert_status fail_at(const scan *s, const place *at, const unsigned char *byte, bert_status status,
                           const char *what) {
    char where[512];
    describe(s->root, at, where, sizeof where);
    return bert_fail(s->error, status, "%s %s (byte %zu)", where, what, (size_t)(byte - s->start));
}

static bert_status reserve(scan *s, size_t bytes) {
    bert_onnx_skeleton *out = s->out;
    if (bytes <= out->capacity - out->size) return BERT_OK;
    if (bytes > BERT_ONNX_MAX_STRUCTURE - out->size) {
        return bert_fail(s->error, BERT_UNSUPPORTED,
                         "the model's structure takes more than %zu bytes: weights that large must be in raw_data",
                         BERT_ONNX_MAX_STRUCTURE);
    }
    size_t capacity = out->capacity * 2;
    if (capacity < out->size + bytes) capacity = out->size + bytes;
    if (capacity < 4096) capacity = 4096;
    unsigned char *data = bert_allocate(out->allocator, capacity, BERT_ALIGNMENT);
    if (!data) return bert_fail_memory(s->error, capacity, "the model's structure");
    if (out->size) memcpy(data, out->data, out->size);
    bert_deallocate(out->allocator, out->data, out->capacity, BERT_ALIGNMENT);
    out->data = data;
    out->capacity = capacity;
    return BERT_OK;
}

static bert_status write_bytes(scan *s, const void *bytes, size_t count) {
    BERT_TRY(reserve(s, count));
    if (count) memcpy(s->out->data + s->out->size, bytes, count);
    s->out->size += count;
    return BERT_OK;
}

static bert_status write_varint(scan *s, uint64_t value) {
    BERT_TRY(reserve(s, BERT_WIRE_VARINT_BYTES));
    s->out->size += bert_wire_write_varint(s->out->data + s->out->size, value);
    return BERT_OK;
}

static bert_wire_type wire_type_of(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_FLOAT:
        return BERT_WIRE_FIXED32;
    case PROTOBUF_C_TYPE_DOUBLE:
        return BERT_WIRE_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return BERT_WIRE_BYTES;
    default:
        return BERT_WIRE_VARINT;
    }
}

/* Whether the field is one that onnx.proto gives a type without fields: its content is never looked at. */
static bool is_refused(const ProtobufCFieldDescriptor *known) {
    return known->type == PROTOBUF_C_TYPE_MESSAGE &&
           ((const ProtobufCMessageDescriptor *)known->descriptor)->n_fields == 0;
}

static const char *check_packed(bert_wire_type element, bert_wire_range list) {
    size_t bytes = (size_t)(list.end - list.at);
    if (element == BERT_WIRE_FIXED32) return bytes % 4 ? "is a packed list cut inside an element" : NULL;
    if (element == BERT_WIRE_FIXED64) return bytes % 8 ? "is a packed list cut inside an element" : NULL;
    uint64_t ignored;
    while (list.at < list.end) {
        if (!bert_wire_read_varint(&list, &ignored)) return "is a packed list with an integer that does not end";
    }
    return NULL;
}

static const char *check_value(const ProtobufCFieldDescriptor *known, const bert_wire_field *field) {
    bert_wire_type expected = wire_type_of(known->type);
    if (field->type == expected) {
        if (known->type != PROTOBUF_C_TYPE_STRING) return NULL;
        const char *text = (const char *)field->value.at;
        size_t length = (size_t)(field->value.end - field->value.at);
        if (memchr(text, 0, length)) return "holds a NUL byte";
        return bert_utf8_valid_prefix(text, length) == length ? NULL : "is not UTF-8";
    }
    if (known->label == PROTOBUF_C_LABEL_REPEATED && field->type == BERT_WIRE_BYTES) {
        return check_packed(expected, field->value);
    }
    return "has another wire type than ONNX gives it";
}

/*
 * First look at a message: every field that onnx.proto lists is well-formed. counts[i]: how often the field with index
 * i of the descriptor comes.
 */
static bert_status check_message(scan *s, const ProtobufCMessageDescriptor *descriptor, content message,
                                 const place *at, size_t *counts) {
    for (size_t r = 0; r < message.count; r++) {
        bert_wire_range rest = message.ranges[r];
        while (rest.at < rest.end) {
            const unsigned char *start = rest.at;
            bert_wire_field field;
            const char *wrong = bert_wire_read_field(&rest, &field);
            if (wrong) return fail_at(s, at, start, BERT_INVALID_MODEL, wrong);
            const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(descriptor, field.number);
            if (!known) continue;
            size_t index = (size_t)(known - descriptor->fields);
            const place here = {at, known, counts[index]++, at->depth};
            wrong = check_value(known, &field);
            if (wrong) return fail_at(s, &here, start, BERT_INVALID_MODEL, wrong);
            if (++s->fields > BERT_ONNX_MAX_FIELDS) {
                return fail_at(s, &here, start, BERT_UNSUPPORTED, "is beyond the greatest number of fields");
            }
        }
    }
    return BERT_OK;
}

static bert_status write_message(scan *s, const ProtobufCMessageDescriptor *descriptor, content message,
                                 const place *at);

/* Lengths are written in five bytes, however short, so that they can be filled in afterwards. */
static bert_status write_submessage(scan *s, const ProtobufCFieldDescriptor *known, content message, const place *at) {
    BERT_TRY(write_varint(s, (uint64_t)known->id << 3 | BERT_WIRE_BYTES));
    BERT_TRY(reserve(s, LENGTH_BYTES));
    size_t length_at = s->out->size;
    s->out->size += LENGTH_BYTES;
    BERT_TRY(write_message(s, known->descriptor, message, at));
    uint64_t length = s->out->size - length_at - LENGTH_BYTES;
    for (int i = 0; i < LENGTH_BYTES; i++) {
        unsigned char byte = (unsigned char)(length >> (7 * i) & 0x7f);
        s->out->data[length_at + (size_t)i] = i + 1 < LENGTH_BYTES ? byte | 0x80 : byte;
    }
    return BERT_OK;
}

/* The parts of a singular message that comes `count` times, from the one in `first`, in range `r` of `message`, on. */
static bert_status collect_parts(scan *s, const ProtobufCFieldDescriptor *known, content message, size_t r,
                                 bert_wire_range rest, bert_wire_range first, size_t count, content *out) {
    bert_wire_range *parts = BERT_ARENA_NEW_ARRAY(&s->parts, bert_wire_range, count);
    if (!parts) return bert_fail_memory(s->error, count * sizeof *parts, "the parts of a message");
    size_t found = 0;
    parts[found++] = first;
    for (;;) {
        while (rest.at < rest.end && found < count) {
            bert_wire_field field;
            if (bert_wire_read_field(&rest, &field)) break; /* does not happen: check_message has been here */
            if (field.number == known->id) parts[found++] = field.value;
        }
        if (found == count || ++r >= message.count) break;
        rest = message.ranges[r];
    }
    *out = (content){parts, found};
    return BERT_OK;
}

static bert_status write_field(scan *s, const ProtobufCFieldDescriptor *known, const bert_wire_field *field) {
    BERT_TRY(write_varint(s, (uint64_t)known->id << 3 | field->type));
    size_t bytes = (size_t)(field->value.end - field->value.at);
    if (known == s->raw_data) {
        bert_onnx_stand_in stand_in = {(uint64_t)(field->value.at - s->start), bytes};
        BERT_TRY(write_varint(s, sizeof stand_in));
        return write_bytes(s, &stand_in, sizeof stand_in);
    }
    if (is_refused(known)) return write_varint(s, 0);
    if (field->type == BERT_WIRE_BYTES) BERT_TRY(write_varint(s, bytes));
    return write_bytes(s, field->value.at, bytes);
}

static bert_status write_message(scan *s, const ProtobufCMessageDescriptor *descriptor, content message,
                                 const place *at) {
    if (at->depth > BERT_ONNX_MAX_DEPTH) {
        return fail_at(s, at, message.ranges[0].at, BERT_UNSUPPORTED, "is nested deeper than any model is");
    }
    size_t counts[MAX_FIELDS_OF_A_MESSAGE] = {0}, seen[MAX_FIELDS_OF_A_MESSAGE] = {0};
    BERT_TRY(check_message(s, descriptor, message, at, counts));
    for (size_t r = 0; r < message.count; r++) {
        bert_wire_range rest = message.ranges[r];
        while (rest.at < rest.end) {
            bert_wire_field field;
            if (bert_wire_read_field(&rest, &field)) break; /* does not happen: check_message has been here */
            const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(descriptor, field.number);
            if (!known) continue;
            size_t index = (size_t)(known - descriptor->fields);
            size_t occurrence = seen[index]++;
            if (known->type == PROTOBUF_C_TYPE_MESSAGE && ++s->messages > BERT_ONNX_MAX_MESSAGES) {
                return fail_at(s, at, field.value.at, BERT_UNSUPPORTED, "has more messages in it than any model");
            }
            if (known->type != PROTOBUF_C_TYPE_MESSAGE || is_refused(known)) {
                BERT_TRY(write_field(s, known, &field));
                continue;
            }
            const place here = {at, known, occurrence, at->depth + 1};
            content inner = {&field.value, 1};
            if (known->label != PROTOBUF_C_LABEL_REPEATED && counts[index] > 1) {
                if (occurrence > 0) continue; /* joined to the first */
                BERT_TRY(collect_parts(s, known, message, r, rest, field.value, counts[index], &inner));
            }
            BERT_TRY(write_submessage(s, known, inner, &here));
        }
    }
    return BERT_OK;
}

bert_status bert_onnx_skeleton_build(const ProtobufCMessageDescriptor *root, const unsigned char *data, size_t size,
                                     const bert_allocator *allocator, bert_onnx_skeleton *out, bert_error *error) {
    static const unsigned char nothing[1];
    *out = (bert_onnx_skeleton){.allocator = allocator};
    scan s = {.root = root == &bert_onnx__model_proto__descriptor ? "model" : "tensor",
              .start = size ? data : nothing,
              .out = out,
              .raw_data =
                  protobuf_c_message_descriptor_get_field_by_name(&bert_onnx__tensor_proto__descriptor, "raw_data"),
              .error = error};
    bert_arena_init(&s.parts, allocator);
    const bert_wire_range all = {s.start, s.start + size};
    const place top = {0};
    bert_status status = write_message(&s, root, (content){&all, 1}, &top);
    bert_arena_free(&s.parts);
    if (status != BERT_OK) bert_onnx_skeleton_free(out);
    return status;
}

void bert_onnx_skeleton_free(bert_onnx_skeleton *skeleton) {
    bert_deallocate(skeleton->allocator, skeleton->data, skeleton->capacity, BERT_ALIGNMENT);
    *skeleton = (bert_onnx_skeleton){0};
}
