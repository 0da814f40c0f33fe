#include "onnx_loader/wire.h"

bool bert_wire_read_varint(bert_wire_range *range, uint64_t *out) {
    uint64_t value = 0;
    const unsigned char *at = range->at;
    for (int i = 0; i < BERT_WIRE_VARINT_BYTES && at < range->end; i++) {
        unsigned char byte = *at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i); /* of the tenth byte one bit is kept, as protobuf does */
        if (byte & 0x80) continue;
        range->at = at;
        *out = value;
        return true;
    }
    return false;
}

static const char *take(bert_wire_range *range, uint64_t bytes, bert_wire_range *out) {
    if (bytes > (uint64_t)(range->end - range->at)) return "ends before the field does";
    *out = (bert_wire_range){range->at, range->at + bytes};
    range->at += bytes;
    return NULL;
}

const char *bert_wire_read_field(bert_wire_range *range, bert_wire_field *out) {
    uint64_t tag = 0, length = 0;
    if (!bert_wire_read_varint(range, &tag)) return "has a field tag that does not end";
    if (tag > UINT32_MAX || tag >> 3 == 0) return "has a field number that protobuf does not allow";
    *out = (bert_wire_field){.number = (uint32_t)(tag >> 3), .type = (bert_wire_type)(tag & 7)};
    const unsigned char *start = range->at;
    switch (out->type) {
    case BERT_WIRE_VARINT:
        if (!bert_wire_read_varint(range, &length)) return "has an integer that does not end";
        out->value = (bert_wire_range){start, range->at};
        return NULL;
    case BERT_WIRE_FIXED64:
        return take(range, 8, &out->value);
    case BERT_WIRE_FIXED32:
        return take(range, 4, &out->value);
    case BERT_WIRE_BYTES:
        if (!bert_wire_read_varint(range, &length)) return "has a length that does not end";
        return take(range, length, &out->value);
    case BERT_WIRE_GROUP_START:
    case BERT_WIRE_GROUP_END:
        return "has a protobuf group, which ONNX does not use";
    }
    return "has a wire type that protobuf does not know";
}

size_t bert_wire_write_varint(unsigned char *out, uint64_t value) {
    size_t count = 0;
    for (; value >= 0x80; value >>= 7) out[count++] = (unsigned char)(value | 0x80);
    out[count++] = (unsigned char)value;
    return count;
}
