#include "pipelines/lower_case.h"

#include "core/base/utf8.h"
#include "tokenizer/unicode.h"

#include <utf8proc.h>

enum { CAPITAL_SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2 };

/* A text's code points in lower case, one by one. */
typedef struct lower_reader {
    const unsigned char *begin, *at, *end;
    uint32_t held[BERT_UNICODE_LOWERED];
    size_t count, taken;
} lower_reader;

static bool is_cased(uint32_t c) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

/* Unicode's Case_Ignorable: what may stand inside a word without ending it. */
static bool is_case_ignorable(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2019;
    }
}

static const unsigned char *step_back(const unsigned char *at) {
    do at--;
    while ((*at & 0xC0) == 0x80);
    return at;
}

/* Whether the sigma whose bytes begin at `sigma` ends a word (Unicode's Final_Sigma). */
static bool is_final(const lower_reader *reader, const unsigned char *sigma) {
    bool cased_before = false;
    for (const unsigned char *at = sigma; at > reader->begin && !cased_before;) {
        at = step_back(at);
        const unsigned char *read = at;
        uint32_t c = bert_utf8_next(&read);
        if (is_case_ignorable(c)) continue;
        cased_before = is_cased(c);
        if (!cased_before) return false;
    }
    const unsigned char *at = sigma + bert_utf8_length(*sigma);
    while (cased_before && at < reader->end) {
        uint32_t c = bert_utf8_next(&at);
        if (!is_case_ignorable(c)) return !is_cased(c);
    }
    return cased_before;
}

/* UINT32_MAX at the end. */
static uint32_t next_lower(lower_reader *reader) {
    if (reader->taken == reader->count) {
        if (reader->at == reader->end) return UINT32_MAX;
        const unsigned char *begin = reader->at;
        uint32_t c = bert_utf8_next(&reader->at);
        if (c == CAPITAL_SIGMA && is_final(reader, begin)) return FINAL_SIGMA;
        reader->count = bert_unicode_lowercase(c, reader->held);
        reader->taken = 0;
    }
    return reader->held[reader->taken++];
}

static lower_reader reader_of(const char *text, size_t length) {
    const unsigned char *begin = (const unsigned char *)text;
    return (lower_reader){.begin = begin, .at = begin, .end = begin + length};
}

bool bert_equal_in_lower_case(const char *a, size_t a_length, const char *b, size_t b_length) {
    lower_reader left = reader_of(a, a_length);
    lower_reader right = reader_of(b, b_length);
    uint32_t c;
    do {
        c = next_lower(&left);
        if (c != next_lower(&right)) return false;
    } while (c != UINT32_MAX);
    return true;
}
