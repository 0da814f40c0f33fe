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

/* utf8proc's answer. */
static unsigned flags_of(uint32_t code_point, const utf8proc_property_t *property) {
    unsigned flags = 0;
    switch ((utf8proc_category_t)property->category) {
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

unsigned bert_unicode_flags(uint32_t code_point) {
    const bert_unicode_range *exception =
        find_range(bert_unicode_flag_exceptions, bert_unicode_flag_exception_count, code_point);
    if (exception) return exception->value & ~(unsigned)BERT_UNICODE_FIXED;
    return flags_of(code_point, utf8proc_get_property((utf8proc_int32_t)code_point));
}

unsigned bert_unicode_combining_class(uint32_t code_point) {
    const bert_unicode_range *exception =
        find_range(bert_unicode_class_exceptions, bert_unicode_class_exception_count, code_point);
    if (exception) return exception->value;
    if (is_fixed(code_point)) return 0;
    return (unsigned)utf8proc_get_property((utf8proc_int32_t)code_point)->combining_class;
}

/* utf8proc's answer. */
static size_t decomposition_of(uint32_t code_point, uint32_t out[BERT_UNICODE_DECOMPOSED]) {
    utf8proc_int32_t pieces[BERT_UNICODE_DECOMPOSED];
    utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)code_point, pieces, BERT_UNICODE_DECOMPOSED,
                                                     UTF8PROC_DECOMPOSE, NULL);
    /* utf8proc refuses surrogates and more; nothing that decodes from UTF-8 takes more than four. */
    if (count < 1 || count > BERT_UNICODE_DECOMPOSED) {
        out[0] = code_point;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) out[i] = (uint32_t)pieces[i];
    return (size_t)count;
}

size_t bert_unicode_decompose(uint32_t code_point, uint32_t out[BERT_UNICODE_DECOMPOSED]) {
    const bert_unicode_mapping *exception =
        find_mapping(bert_unicode_decomposition_exceptions, bert_unicode_decomposition_exception_count, code_point);
    if (exception) return copy_mapping(exception, BERT_UNICODE_DECOMPOSED, out);
    if (!is_fixed(code_point)) return decomposition_of(code_point, out);
    out[0] = code_point;
    return 1;
}

size_t bert_unicode_lowercase(uint32_t code_point, uint32_t out[BERT_UNICODE_LOWERED]) {
    const bert_unicode_mapping *exception =
        find_mapping(bert_unicode_lowercase_exceptions, bert_unicode_lowercase_exception_count, code_point);
    if (exception) return copy_mapping(exception, BERT_UNICODE_LOWERED, out);
    out[0] = is_fixed(code_point) ? code_point : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code_point);
    return 1;
}

bool bert_unicode_is_chinese(uint32_t c) {
    if (c < 0x3400) return false;
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* The range at or behind *at that does not end before the code point, NULL at the end; *at moves there. */
static const bert_unicode_range *walk_ranges(const bert_unicode_range *ranges, size_t count, size_t *at,
                                             uint32_t code_point) {
    while (*at < count && ranges[*at].last < code_point) ++*at;
    return *at < count ? &ranges[*at] : NULL;
}

static const bert_unicode_mapping *walk_mappings(const bert_unicode_mapping *mappings, size_t count, size_t *at,
                                                 uint32_t code_point) {
    while (*at < count && mappings[*at].from < code_point) ++*at;
    return *at < count ? &mappings[*at] : NULL;
}

void bert_unicode_look(bert_unicode_walk *walk, uint32_t code_point, bert_unicode_properties *out) {
    const bert_unicode_range *flags =
        walk_ranges(bert_unicode_flag_exceptions, bert_unicode_flag_exception_count, &walk->flag, code_point);
    const bert_unicode_range *class =
        walk_ranges(bert_unicode_class_exceptions, bert_unicode_class_exception_count, &walk->class, code_point);
    const bert_unicode_mapping *decomposition =
        walk_mappings(bert_unicode_decomposition_exceptions, bert_unicode_decomposition_exception_count,
                      &walk->decomposition, code_point);
    const bert_unicode_mapping *lowercase = walk_mappings(
        bert_unicode_lowercase_exceptions, bert_unicode_lowercase_exception_count, &walk->lowercase, code_point);
    bool flags_here = flags && flags->first <= code_point, class_here = class && class->first <= code_point;
    bool decomposition_here = decomposition && decomposition->from == code_point;
    bool lowercase_here = lowercase && lowercase->from == code_point;
    bool fixed = flags_here && flags->value & BERT_UNICODE_FIXED;
    *out = (bert_unicode_properties){
        .decomposed = 1, .decomposition = {code_point}, .lowered = 1, .lowercase = {code_point}, .run = code_point};
    if (!fixed) {
        const utf8proc_property_t *property = utf8proc_get_property((utf8proc_int32_t)code_point);
        if (!flags_here) out->flags = flags_of(code_point, property);
        out->combining_class = (unsigned)property->combining_class;
        bool maps = property->decomp_seqindex != UINT16_MAX;
        if (maps && !decomposition_here) out->decomposed = decomposition_of(code_point, out->decomposition);
        if (!lowercase_here) out->lowercase[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code_point);
    }
    if (flags_here) out->flags = flags->value & ~(unsigned)BERT_UNICODE_FIXED;
    if (class_here) out->combining_class = class->value;
    if (decomposition_here) out->decomposed = copy_mapping(decomposition, BERT_UNICODE_DECOMPOSED, out->decomposition);
    if (lowercase_here) out->lowered = copy_mapping(lowercase, BERT_UNICODE_LOWERED, out->lowercase);
    if (code_point >= 0xAC00 && code_point <= 0xD7A3) {
        out->run = 0xD7A3;
    } else if (fixed && !class_here && !decomposition_here && !lowercase_here) {
        uint32_t end = flags->last;
        if (class && class->first <= end) end = class->first - 1;
        if (decomposition && decomposition->from <= end) end = decomposition->from - 1;
        if (lowercase && lowercase->from <= end) end = lowercase->from - 1;
        out->run = end;
    }
}
