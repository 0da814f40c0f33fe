/* UTF-8: checking, reading and writing code points. */
#ifndef BERT_BASE_UTF8_H
#define BERT_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/** Bytes of the longest prefix that is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). Any thread. */
size_t bert_utf8_valid_prefix(const char *text, size_t length);

/**
 * Bytes of the ill-formed sequence that `text` starts with (length > 0, and not well-formed there): the maximal subpart
 * that the Unicode Standard (chapter 3.9) and Python's errors='replace' turn into one U+FFFD.
 */
size_t bert_utf8_invalid_length(const char *text, size_t length);

/**
 * Copies the text with U+FFFD for each ill-formed sequence. `out` has room for 3 * length bytes; NULL only counts.
 * Returns the bytes of the copy.
 */
size_t bert_utf8_replace(const char *text, size_t length, char *out);

/** Writes a code point (at most 0x10FFFF) as 1 to 4 bytes; returns how many. */
size_t bert_utf8_encode(uint32_t code_point, char out[4]);

/** Bytes of the character that a well-formed text starts with. */
static inline size_t bert_utf8_length(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/** Reads the code point at *text, which is well-formed, and steps over it. */
static inline uint32_t bert_utf8_next(const unsigned char **text) {
    const unsigned char *p = *text;
    if (p[0] < 0x80) {
        *text = p + 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *text = p + 2;
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    }
    if (p[0] < 0xF0) {
        *text = p + 3;
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    }
    *text = p + 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

#endif
