/* Protobuf's wire format, one field at a time. Nothing here allocates, and nothing reads past a range's end. */
#ifndef BERT_ONNX_LOADER_WIRE_H
#define BERT_ONNX_LOADER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Raw data of ONNX files is little-endian and used in place. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bert.c runs on little-endian machines only"
#endif

typedef enum bert_wire_type {
    BERT_WIRE_VARINT = 0,
    BERT_WIRE_FIXED64 = 1,
    BERT_WIRE_BYTES = 2, /**< Length-delimited: strings, messages, packed lists. */
    BERT_WIRE_GROUP_START = 3,
    BERT_WIRE_GROUP_END = 4,
    BERT_WIRE_FIXED32 = 5
} bert_wire_type;

/** Bytes [at, end). */
typedef struct bert_wire_range {
    const unsigned char *at, *end;
} bert_wire_range;

/** One field of a message as it stands in the file. */
typedef struct bert_wire_field {
    uint32_t number;
    bert_wire_type type;
    bert_wire_range value; /**< Of BERT_WIRE_BYTES the content without its length, else the bytes of the number. */
} bert_wire_field;

/** Reads a base-128 number of at most ten bytes and moves range->at behind it. False when it does not end. */
bool bert_wire_read_varint(bert_wire_range *range, uint64_t *out);

/** Reads the field at range->at, which is before range->end, and moves behind it. NULL, or what is wrong with it. */
const char *bert_wire_read_field(bert_wire_range *range, bert_wire_field *out);

/** Greatest number of bytes that bert_wire_write_varint writes. */
#define BERT_WIRE_VARINT_BYTES 10

/** Writes `value` at `out`; returns how many bytes it took. */
size_t bert_wire_write_varint(unsigned char *out, uint64_t value);

#endif
