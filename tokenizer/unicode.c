#include "tokenizer/unicode.h"

#include <utf8proc.h>

/* The range that holds the code point, or NULL. The ranges lie in order. */
static const bert_unicode_range *find_range(const bert_unicode_range *ranges, size_t count, uint32_t code_point) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].last < code_point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && ranges[low].first <= code_point ? &ranges[low] : NULL;
}

static const bert_unicode_mapping *find_mapping(const bert_unicode_mapping *mappings, size_t count,
                                                uint32_t code_point) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (mappings[middle].from < code_point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && mappings[low].from == code_point ? &mappings[low] : NULL;
}

static size_t copy_mapping(const bert_unicode_mapping *mapping, size_t most, uint32_t *out) {
    size_t count = 0;
    while (count < most && mapping->to[count]) {
        out[count] = mapping->to[count];
        count++;
    }
    return count;
}

static bool is_white_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_ascii_punctuation(uint32_t c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/* Whether the exceptions say all there is to say about the code point. */
static bool is_fixed(uint32_t code_point) {
    const bert_unicode_range *range =
        find_range(bert_unicode_flag_exceptions, bert_unicode_flag_exception_count, code_point);
    return range && range->value & BERT_UNICODE_FIXED;
}

unsigned bert_unicode_flags(uint32_t code_point) {
    const bert_unicode_range *exception =
        find_range(bert_unicode_flag_exceptions, bert_unicode_flag_exception_count, code_point);
    if (exception) return exception->value & ~(unsigned)BERT_UNICODE_FIXED;
    unsigned flags = 0;
    switch (utf8proc_category((utf8proc_int32_t)code_point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        flags = BERT_UNICODE_OTHER;
        break;
    case UTF8PROC_CATEGORY_MN:
        flags = BERT_UNICODE_MARK | BERT_UNICODE_WORD;
        break;
    case UTF8PROC_CATEGORY_PC:
        flags = BERT_UNICODE_PUNCTUATION | BERT_UNICODE_WORD;
        break;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        flags = BERT_UNICODE_PUNCTUATION;
        break;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        flags = BERT_UNICODE_WORD;
        break;
    default:
        break;
    }
    if (is_white_space(code_point)) flags |= BERT_UNICODE_SPACE;
    if (is_ascii_punctuation(code_point)) flags |= BERT_UNICODE_PUNCTUATION;
    return flags;
}

unsigned bert_unicode_combining_class(uint32_t code_point) {
    const bert_unicode_range *exception =
        find_range(bert_unicode_class_exceptions, bert_unicode_class_exception_count, code_point);
    if (exception) return exception->value;
    if (is_fixed(code_point)) return 0;
    return (unsigned)utf8proc_get_property((utf8proc_int32_t)code_point)->combining_class;
}

size_t bert_unicode_decompose(uint32_t code_point, uint32_t out[BERT_UNICODE_DECOMPOSED]) {
    const bert_unicode_mapping *exception =
        find_mapping(bert_unicode_decomposition_exceptions, bert_unicode_decomposition_exception_count, code_point);
    if (exception) return copy_mapping(exception, BERT_UNICODE_DECOMPOSED, out);
    utf8proc_int32_t pieces[BERT_UNICODE_DECOMPOSED];
    utf8proc_ssize_t count = is_fixed(code_point)
                                 ? 0
                                 : utf8proc_decompose_char((utf8proc_int32_t)code_point, pieces,
                                                           BERT_UNICODE_DECOMPOSED, UTF8PROC_DECOMPOSE, NULL);
    /* utf8proc refuses surrogates and more; nothing that decodes from UTF-8 takes more than four. */
    if (count < 1 || count > BERT_UNICODE_DECOMPOSED) {
        out[0] = code_point;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)pieces[i];
    return (size_t)count;
}

size_t bert_unicode_lowercase(uint32_t code_point, uint32_t out[BERT_UNICODE_LOWERED]) {
    const bert_unicode_mapping *exception =
        find_mapping(bert_unicode_lowercase_exceptions, bert_unicode_lowercase_exception_count, code_point);
    if (exception) return copy_mapping(exception, BERT_UNICODE_LOWERED, out);
    out[0] = is_fixed(code_point) ? code_point : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code_point);
    return 1;
}

bool bert_unicode_is_chinese(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* The first code point from `from` on that a list of mappings names; beyond all when there is none. */
static uint32_t next_mapping(const bert_unicode_mapping *mappings, size_t count, uint32_t from) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (mappings[middle].from < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count ? mappings[low].from : UINT32_MAX;
}

static uint32_t next_class(uint32_t from) {
    size_t low = 0, high = bert_unicode_class_exception_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bert_unicode_class_exceptions[middle].last < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < bert_unicode_class_exception_count ? bert_unicode_class_exceptions[low].first : UINT32_MAX;
}

uint32_t bert_unicode_run(uint32_t first) {
    if (first >= 0xAC00 && first <= 0xD7A3) return 0xD7A3;
    const bert_unicode_range *range =
        find_range(bert_unicode_flag_exceptions, bert_unicode_flag_exception_count, first);
    if (!range || !(range->value & BERT_UNICODE_FIXED)) return first;
    uint32_t next[] = {
        range->last + 1, next_class(first),
        next_mapping(bert_unicode_decomposition_exceptions, bert_unicode_decomposition_exception_count, first),
        next_mapping(bert_unicode_lowercase_exceptions, bert_unicode_lowercase_exception_count, first)};
    uint32_t end = next[0];
    for (int i = 1; i < 4; i++) {
        if (next[i] < end) end = next[i];
    }
    return end > first ? end - 1 : first;
}
