#include "core/base/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Length of the character that `first` leads and the range of its second byte, which excludes overlong forms,
   surrogates and what lies beyond U+10FFFF. 0 for a byte that leads nothing. */
static size_t lead(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xBF;
    if (first >= 0xC2 && first <= 0xDF) return 2;
    if (first >= 0xE0 && first <= 0xEF) {
        if (first == 0xE0) *low = 0xA0;
        if (first == 0xED) *high = 0x9F;
        return 3;
    }
    if (first >= 0xF0 && first <= 0xF4) {
        if (first == 0xF0) *low = 0x90;
        if (first == 0xF4) *high = 0x8F;
        return 4;
    }
    return 0;
}

/* How many of the bytes fit the character that starts here; *whole is set when it is complete. */
static size_t matched(const unsigned char *text, size_t length, bool *whole) {
    unsigned char low, high;
    *whole = false;
    if (text[0] < 0x80) {
        *whole = true;
        return 1;
    }
    size_t wanted = lead(text[0], &low, &high);
    if (wanted == 0) return 1;
    size_t have = 1;
    while (have < wanted && have < length && text[have] >= low && text[have] <= high) {
        low = 0x80;
        high = 0xBF;
        have++;
    }
    *whole = have == wanted;
    return have;
}

size_t bert_utf8_valid_prefix(const char *text, size_t length) {
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while (at < length) {
        uint64_t word;
        if (length - at >= sizeof word) {
            memcpy(&word, bytes + at, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof word;
                continue;
            }
        }
        /* The common three-byte character, without the general case's loop. */
        if (length - at >= 3 && bytes[at] > 0xE0 && bytes[at] < 0xED && (bytes[at + 1] & 0xC0) == 0x80 &&
            (bytes[at + 2] & 0xC0) == 0x80) {
            at += 3;
            continue;
        }
        bool whole;
        size_t have = matched(bytes + at, length - at, &whole);
        if (!whole) break;
        at += have;
    }
    return at;
}

size_t bert_utf8_invalid_length(const char *text, size_t length) {
    bool whole;
    return matched((const unsigned char *)text, length, &whole);
}

size_t bert_utf8_encode(uint32_t code_point, char out[4]) {
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

size_t bert_utf8_replace(const char *text, size_t length, char *out) {
    size_t used = 0;
    while (length > 0) {
        size_t valid = bert_utf8_valid_prefix(text, length);
        if (out) memcpy(out + used, text, valid);
        used += valid;
        text += valid;
        length -= valid;
        if (length == 0) break;
        char replacement[4];
        size_t written = bert_utf8_encode(0xFFFD, replacement);
        if (out) memcpy(out + used, replacement, written);
        used += written;
        size_t invalid = bert_utf8_invalid_length(text, length);
        text += invalid;
        length -= invalid;
    }
    return used;
}
