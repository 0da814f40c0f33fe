#include "tokenizer/normalizer.h"

#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/utf8.h"
#include "tokenizer/unicode.h"

#include <string.h>

enum {
    PAGE = BERT_NORMALIZER_PAGE,
    PAGES = BERT_NORMALIZER_PAGES,
    /* NFD and lower-casing make of one code point at most this many; the spaces around a Chinese character too. */
    MOST_CHARS = BERT_UNICODE_DECOMPOSED * BERT_UNICODE_LOWERED
};

/* An entry says what becomes of a code point: the kind in the top bits, below it a class and 21 bits of argument. */
typedef enum entry_kind {
    KIND_SHIFT = BERT_NORMALIZER_SHIFT, /* One code point: its own value plus the argument, modulo 2^21. So equal pages
                                           are common. */
    KIND_NONE = 1,                      /* Removed. */
    KIND_SEVERAL = 2 /* The argument is the index of a count in `several`, followed by that many bert_char. */,
    KIND_HANGUL = 3, /* A syllable, to be taken apart by arithmetic. */
    KIND_ORDER = 4,  /* A survivor with a combining class: the run it stands in has to be sorted. */
    KIND_SPACED = 5  /* As KIND_SHIFT, between two blanks. */
} entry_kind;

#define ENTRY(kind, class, argument) ((uint32_t)(kind) << 23 | (uint32_t)(class) << 21 | ((argument)&0x1FFFFF))

_Static_assert(BERT_MOST_CHARS == MOST_CHARS + 2, "the header says how many characters a code point becomes");

enum { HANGUL_FIRST = 0xAC00, HANGUL_LAST = 0xD7A3, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11A7 };

static bert_char_class class_of(unsigned flags) {
    if (flags & BERT_UNICODE_SPACE) return BERT_CHAR_SPACE;
    return flags & BERT_UNICODE_PUNCTUATION ? BERT_CHAR_ISOLATED : BERT_CHAR_WORD;
}

/* clean_text: false when the code point is removed; white space becomes a blank. */
static bool clean_as(const bert_normalizer_settings *settings, unsigned flags, uint32_t *code_point) {
    if (!settings->clean_text) return true;
    uint32_t c = *code_point;
    if (c == '\t' || c == '\n' || c == '\r') {
        *code_point = ' ';
        return true;
    }
    if (c == 0 || c == 0xFFFD || flags & BERT_UNICODE_OTHER) return false;
    if (flags & BERT_UNICODE_SPACE) *code_point = ' ';
    return true;
}

static bool clean(const bert_normalizer_settings *settings, uint32_t *code_point) {
    return clean_as(settings, settings->clean_text ? bert_unicode_flags(*code_point) : 0, code_point);
}

static bool is_hangul(uint32_t c) {
    return c >= HANGUL_FIRST && c <= HANGUL_LAST;
}

/* Lower-cases (if set) and classes one code point that NFD and the removal of marks left. */
static size_t finish(const bert_normalizer_settings *settings, uint32_t code_point, bool isolated, bert_char *out) {
    uint32_t lowered[BERT_UNICODE_LOWERED] = {code_point};
    size_t count = settings->lowercase ? bert_unicode_lowercase(code_point, lowered) : 1;
    for (size_t i = 0; i < count; i++) {
        out[i] = BERT_CHAR(lowered[i], isolated ? BERT_CHAR_ISOLATED : class_of(bert_unicode_flags(lowered[i])));
    }
    return count;
}

/* Lower-cases and classes a code point of known properties that stayed as it is. */
static size_t finish_known(const bert_normalizer_settings *settings, const bert_unicode_properties *known,
                           uint32_t code_point, bool isolated, bert_char *out) {
    if (!settings->lowercase || (known->lowered == 1 && known->lowercase[0] == code_point)) {
        out[0] = BERT_CHAR(code_point, isolated ? BERT_CHAR_ISOLATED : class_of(known->flags));
        return 1;
    }
    return finish(settings, code_point, isolated, out);
}

/* The whole of BertNormalizer on one code point. Returns how many; *order is set when neighbours matter. */
static size_t normalize_known(const bert_normalizer *normalizer, uint32_t code_point,
                              const bert_unicode_properties *known, bert_char out[MOST_CHARS + 2], bool *order) {
    const bert_normalizer_settings *settings = &normalizer->settings;
    uint32_t cleaned = code_point;
    *order = false;
    if (!clean_as(settings, known->flags, &cleaned)) return 0;
    if (cleaned != code_point) {
        out[0] = BERT_CHAR(' ', BERT_CHAR_SPACE);
        return 1;
    }
    bool chinese = settings->handle_chinese_chars && bert_unicode_is_chinese(code_point);
    bool spaced = chinese && normalizer->spaced;
    size_t made = 0;
    if (spaced) out[made++] = BERT_CHAR(' ', BERT_CHAR_SPACE);
    if (!settings->strip_accents || (known->decomposed == 1 && known->decomposition[0] == code_point)) {
        bool stripped = settings->strip_accents && known->flags & BERT_UNICODE_MARK;
        if (settings->strip_accents && !stripped && known->combining_class) *order = true;
        if (!stripped) made += finish_known(settings, known, code_point, chinese, out + made);
    } else {
        for (size_t i = 0; i < known->decomposed; i++) {
            uint32_t piece = known->decomposition[i];
            if (bert_unicode_flags(piece) & BERT_UNICODE_MARK) continue;
            if (bert_unicode_combining_class(piece)) *order = true;
            made += finish(settings, piece, chinese, out + made);
        }
    }
    if (spaced) out[made++] = BERT_CHAR(' ', BERT_CHAR_SPACE);
    return made;
}

static bert_status add_several(bert_normalizer *normalizer, const bert_char *chars, size_t count, uint32_t *index,
                               bert_error *error) {
    if (normalizer->several_count + count + 1 > normalizer->several_capacity) {
        size_t capacity = normalizer->several_capacity ? normalizer->several_capacity * 2 : 1024;
        uint32_t *several = bert_allocate(normalizer->allocator, capacity * sizeof *several, BERT_ALIGNMENT);
        if (!several) return bert_fail_memory(error, capacity * sizeof *several, "the table of the normalizer");
        if (normalizer->several_count) {
            memcpy(several, normalizer->several, normalizer->several_count * sizeof *several);
        }
        bert_deallocate(normalizer->allocator, normalizer->several, normalizer->several_capacity * sizeof *several,
                        BERT_ALIGNMENT);
        normalizer->several = several;
        normalizer->several_capacity = capacity;
    }
    *index = (uint32_t)normalizer->several_count;
    normalizer->several[normalizer->several_count++] = (uint32_t)count;
    memcpy(normalizer->several + normalizer->several_count, chars, count * sizeof *chars);
    normalizer->several_count += count;
    return BERT_OK;
}

static bert_status make_entry(bert_normalizer *normalizer, uint32_t code_point, const bert_unicode_properties *known,
                              uint32_t *entry, bert_error *error) {
    if (is_hangul(code_point) && normalizer->settings.strip_accents) {
        *entry = ENTRY(KIND_HANGUL, 0, 0);
        return BERT_OK;
    }
    bert_char chars[MOST_CHARS + 2];
    bool order;
    size_t count = normalize_known(normalizer, code_point, known, chars, &order);
    if (order) {
        *entry = ENTRY(KIND_ORDER, 0, 0);
    } else if (count == 0) {
        *entry = ENTRY(KIND_NONE, 0, 0);
    } else if (count == 1) {
        *entry = ENTRY(KIND_SHIFT, BERT_CHAR_CLASS(chars[0]), BERT_CHAR_VALUE(chars[0]) - code_point);
    } else if (count == 3 && BERT_CHAR_CLASS(chars[0]) == BERT_CHAR_SPACE) {
        *entry = ENTRY(KIND_SPACED, BERT_CHAR_CLASS(chars[1]), BERT_CHAR_VALUE(chars[1]) - code_point);
    } else {
        uint32_t index = 0;
        BERT_TRY(add_several(normalizer, chars, count, &index, error));
        *entry = ENTRY(KIND_SEVERAL, 0, index);
    }
    return BERT_OK;
}

/* Holds the page at `page_count` against those before it, the one made last first; equal ones are common, and the
   table stays in the cache. */
static uint16_t keep_page(bert_normalizer *normalizer, uint16_t last) {
    const uint32_t *fresh = normalizer->entries + normalizer->page_count * PAGE;
    for (size_t i = 0; i <= normalizer->page_count; i++) {
        size_t candidate = i == 0 ? last : i - 1;
        const uint32_t *page = normalizer->entries + candidate * PAGE;
        if (candidate < normalizer->page_count && memcmp(page, fresh, PAGE * sizeof *page) == 0) {
            return (uint16_t)candidate;
        }
    }
    return (uint16_t)normalizer->page_count++;
}

static bert_status grow_pages(bert_normalizer *normalizer, bert_error *error) {
    if (normalizer->page_count < normalizer->page_capacity) return BERT_OK;
    size_t page_bytes = PAGE * sizeof(uint32_t),
           capacity = normalizer->page_capacity ? normalizer->page_capacity * 2 : 192;
    uint32_t *entries = bert_allocate(normalizer->allocator, capacity * page_bytes, BERT_ALIGNMENT);
    if (!entries) return bert_fail_memory(error, capacity * page_bytes, "the table of the normalizer");
    if (normalizer->page_count) memcpy(entries, normalizer->entries, normalizer->page_count * page_bytes);
    bert_deallocate(normalizer->allocator, normalizer->entries, normalizer->page_capacity * page_bytes, BERT_ALIGNMENT);
    normalizer->entries = entries;
    normalizer->page_capacity = capacity;
    return BERT_OK;
}

/* The last of the run that `known` begins which a normalizer treats alike, no further than `last`. */
static uint32_t run_of(uint32_t first, uint32_t end, uint32_t last) {
    if (end > last) end = last;
    /* Blocks of Chinese characters begin and end inside such runs; then it goes one by one. */
    bool alike = bert_unicode_is_chinese(first) == bert_unicode_is_chinese(end);
    /* U+FFFD is removed whatever its flags are. */
    return alike && !(first <= 0xFFFD && end >= 0xFFFD) ? end : first;
}

static bert_status make_page(bert_normalizer *normalizer, uint32_t first, bert_unicode_walk *walk, bert_error *error) {
    BERT_TRY(grow_pages(normalizer, error));
    uint32_t *page = normalizer->entries + normalizer->page_count * PAGE;
    for (uint32_t at = first; at < first + PAGE;) {
        bert_unicode_properties known;
        bert_unicode_look(walk, at, &known);
        uint32_t end = run_of(at, known.run, first + PAGE - 1);
        BERT_TRY(make_entry(normalizer, at, &known, &page[at - first], error));
        for (uint32_t i = at + 1; i <= end; i++) page[i - first] = page[at - first];
        at = end + 1;
    }
    size_t number = first / PAGE;
    normalizer->page_of[number] = keep_page(normalizer, number ? normalizer->page_of[number - 1] : 0);
    return BERT_OK;
}

/* Whether the page at `first` holds one entry all over, `run` being the end of a run that it is part of. */
static bool is_uniform(uint32_t first, uint32_t run) {
    return run_of(first, run, first + PAGE - 1) == first + PAGE - 1;
}

/* All pages. Where a run takes up whole ones, the second and all further ones are as the first. */
static bert_status make_pages(bert_normalizer *normalizer, bert_error *error) {
    bert_unicode_walk walk = {0};
    for (uint32_t first = 0; first < PAGES * PAGE;) {
        bert_unicode_properties known;
        bert_unicode_look(&walk, first, &known);
        BERT_TRY(make_page(normalizer, first, &walk, error));
        uint32_t next = first + PAGE;
        while (next < known.run && is_uniform(first, known.run) && is_uniform(next, known.run) &&
               bert_unicode_is_chinese(first) == bert_unicode_is_chinese(next)) {
            normalizer->page_of[next / PAGE] = normalizer->page_of[first / PAGE];
            next += PAGE;
        }
        first = next;
    }
    return BERT_OK;
}

/* A shortcut for what single bytes become, where they become one character. */
static void fill_ascii(bert_normalizer *normalizer) {
    memset(normalizer->ascii, BERT_ASCII_OTHER, sizeof normalizer->ascii);
    for (uint32_t c = 0; c < 0x80; c++) {
        uint32_t entry = bert_normalizer_entry(normalizer, c), value = (c + entry) & 0x1FFFFF;
        if (entry >> 23 != KIND_SHIFT || value >= 0x80) continue;
        bert_char_class class = BERT_CHAR_CLASS(entry & 0x600000);
        if (class == BERT_CHAR_SPACE) normalizer->ascii[c] = BERT_ASCII_SPACE;
        if (class == BERT_CHAR_WORD) normalizer->ascii[c] = (uint8_t)value;
        if (class == BERT_CHAR_ISOLATED && value == c) normalizer->ascii[c] = BERT_ASCII_ISOLATED;
    }
}

bert_status bert_normalizer_create(const bert_normalizer_settings *settings, bool spaced,
                                   const bert_allocator *allocator, bert_normalizer **out, bert_error *error) {
    *out = NULL;
    bert_normalizer *normalizer = bert_allocate(allocator, sizeof *normalizer, BERT_ALIGNMENT);
    if (!normalizer) return bert_fail_memory(error, sizeof *normalizer, "the normalizer");
    memset(normalizer, 0, sizeof *normalizer);
    normalizer->allocator = allocator;
    normalizer->settings = *settings;
    normalizer->spaced = spaced;
    bert_status status = make_pages(normalizer, error);
    if (status != BERT_OK) {
        bert_normalizer_free(normalizer);
        return status;
    }
    fill_ascii(normalizer);
    *out = normalizer;
    return BERT_OK;
}

void bert_normalizer_free(bert_normalizer *normalizer) {
    if (!normalizer) return;
    bert_deallocate(normalizer->allocator, normalizer->entries, normalizer->page_capacity * PAGE * sizeof(uint32_t),
                    BERT_ALIGNMENT);
    bert_deallocate(normalizer->allocator, normalizer->several, normalizer->several_capacity * sizeof(uint32_t),
                    BERT_ALIGNMENT);
    bert_deallocate(normalizer->allocator, normalizer, sizeof *normalizer, BERT_ALIGNMENT);
}

static bert_status grow_u32(const bert_allocator *allocator, void *array, size_t have, size_t want, size_t *got,
                            bert_error *error) {
    size_t bytes = SIZE_MAX;
    if (have >= want) return BERT_OK;
    want = want < have * 2 ? have * 2 : want;
    void *fresh =
        bert_size_multiply(want, sizeof(uint32_t), &bytes) ? bert_allocate(allocator, bytes, BERT_ALIGNMENT) : NULL;
    if (!fresh) return bert_fail_memory(error, bytes, "a normalized text");
    void **slot = array;
    bert_deallocate(allocator, *slot, have * sizeof(uint32_t), BERT_ALIGNMENT);
    *slot = fresh;
    *got = want;
    return BERT_OK;
}

/* Room for what `length` bytes can become: no character grows to more than two code points for each of its bytes. */
static bert_status reserve(bert_normalized *out, size_t length, bert_error *error) {
    size_t want;
    if (!bert_size_multiply(length, 2, &want) || !bert_size_add(want, MOST_CHARS + 2, &want)) want = SIZE_MAX;
    BERT_TRY(grow_u32(out->allocator, &out->text, out->text_capacity, want, &out->text_capacity, error));
    return grow_u32(out->allocator, &out->source, out->source_capacity, want, &out->source_capacity, error);
}

void bert_normalized_free(bert_normalized *normalized) {
    const bert_allocator *allocator = normalized->allocator;
    bert_deallocate(allocator, normalized->text, normalized->text_capacity * sizeof(uint32_t), BERT_ALIGNMENT);
    bert_deallocate(allocator, normalized->source, normalized->source_capacity * sizeof(uint32_t), BERT_ALIGNMENT);
    bert_deallocate(allocator, normalized->pieces, normalized->piece_capacity * sizeof(uint32_t), BERT_ALIGNMENT);
    bert_deallocate(allocator, normalized->inputs, normalized->input_capacity * sizeof(uint32_t), BERT_ALIGNMENT);
    *normalized = (bert_normalized){.allocator = allocator};
}

static size_t put_hangul(uint32_t syllable, bert_char *text) {
    uint32_t index = syllable - HANGUL_FIRST, tail = index % 28;
    text[0] = BERT_CHAR(HANGUL_L + index / 588, BERT_CHAR_WORD);
    text[1] = BERT_CHAR(HANGUL_V + index % 588 / 28, BERT_CHAR_WORD);
    if (tail == 0) return 2;
    text[2] = BERT_CHAR(HANGUL_T + tail, BERT_CHAR_WORD);
    return 3;
}

/* What an entry other than KIND_SHIFT and KIND_ORDER makes of a code point. */
static size_t put_special(const bert_normalizer *normalizer, uint32_t entry, uint32_t code_point, bert_char *text) {
    switch ((entry_kind)(entry >> 23)) {
    case KIND_HANGUL:
        return put_hangul(code_point, text);
    case KIND_SPACED:
        text[0] = text[2] = BERT_CHAR(' ', BERT_CHAR_SPACE);
        text[1] = ((code_point + entry) & 0x1FFFFF) | (entry & 0x600000);
        return 3;
    case KIND_SEVERAL: {
        const uint32_t *several = normalizer->several + (entry & 0x1FFFFF);
        memcpy(text, several + 1, several[0] * sizeof *text);
        return several[0];
    }
    default:
        return 0;
    }
}

/* In the long way round below, a piece of a decomposition: its value, whether it is the first of its character, and
   its combining class. */
#define PIECE_FOLLOWS (1u << 21)
#define PIECE_CLASS(piece) ((piece) >> 22)

/* Sorts a run by combining class, equal ones in their order. `scratch` has room for the run. */
static void sort_run(uint32_t *run, size_t count, uint32_t *scratch) {
    if (count < 32) {
        for (size_t i = 1; i < count; i++) {
            uint32_t piece = run[i];
            size_t j = i;
            for (; j > 0 && PIECE_CLASS(run[j - 1]) > PIECE_CLASS(piece); j--) run[j] = run[j - 1];
            run[j] = piece;
        }
        return;
    }
    size_t starts[257] = {0};
    for (size_t i = 0; i < count; i++) starts[PIECE_CLASS(run[i]) + 1]++;
    for (size_t i = 1; i < 257; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; i < count; i++) scratch[starts[PIECE_CLASS(run[i])]++] = run[i];
    memcpy(run, scratch, count * sizeof *run);
}

static size_t decompose_into(uint32_t code_point, uint32_t *pieces) {
    uint32_t parts[BERT_UNICODE_DECOMPOSED];
    size_t count = bert_unicode_decompose(code_point, parts);
    for (size_t i = 0; i < count; i++) {
        pieces[i] = parts[i] | (i ? PIECE_FOLLOWS : 0) | (uint32_t)bert_unicode_combining_class(parts[i]) << 22;
    }
    return count;
}

/* Cleans, spaces and decomposes: out->pieces, and in out->inputs where each first piece came from. */
static size_t decompose_text(const bert_normalizer *normalizer, const char *text, size_t length, int32_t first,
                             bert_normalized *out) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    size_t pieces = 0, inputs = 0;
    for (int32_t source = first; at < end; source++) {
        uint32_t code_point = bert_utf8_next(&at);
        if (!clean(&normalizer->settings, &code_point)) continue;
        bool spaced = normalizer->settings.handle_chinese_chars && bert_unicode_is_chinese(code_point);
        if (spaced) {
            out->pieces[pieces++] = ' ';
            out->inputs[inputs++] = source;
        }
        pieces += is_hangul(code_point) ? 0 : decompose_into(code_point, out->pieces + pieces);
        if (is_hangul(code_point)) {
            size_t count = put_hangul(code_point, out->pieces + pieces);
            for (size_t i = 1; i < count; i++) out->pieces[pieces + i] |= PIECE_FOLLOWS;
            pieces += count;
        }
        out->inputs[inputs++] = source;
        if (spaced) {
            out->pieces[pieces++] = ' ';
            out->inputs[inputs++] = source;
        }
    }
    return pieces;
}

/*
 * The long way round, for a text where NFD may move something that stays. As in `tokenizers`, sorting moves characters
 * but not the places they stand for: the n-th first piece refers to the n-th character, whichever it is now.
 */
static bert_status normalize_in_order(const bert_normalizer *normalizer, const char *text, size_t length, int32_t first,
                                      bert_normalized *out, bert_error *error) {
    size_t capacity = out->text_capacity;
    BERT_TRY(grow_u32(out->allocator, &out->pieces, out->piece_capacity, capacity, &out->piece_capacity, error));
    BERT_TRY(grow_u32(out->allocator, &out->inputs, out->input_capacity, capacity, &out->input_capacity, error));
    size_t count = decompose_text(normalizer, text, length, first, out);
    for (size_t i = 0; i < count;) {
        size_t start = i;
        while (i < count && PIECE_CLASS(out->pieces[i])) i++;
        if (i > start) sort_run(out->pieces + start, i - start, out->text);
        while (i < count && !PIECE_CLASS(out->pieces[i])) i++;
    }
    size_t made = 0, input = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t piece = out->pieces[i], value = piece & 0x1FFFFF;
        if (!(piece & PIECE_FOLLOWS)) input++;
        if (bert_unicode_flags(value) & BERT_UNICODE_MARK) continue;
        size_t more = finish(&normalizer->settings, value, false, out->text + made);
        for (size_t j = 0; j < more; j++) out->source[made++] = input ? out->inputs[input - 1] : first;
    }
    out->length = made;
    return BERT_OK;
}

int bert_normalize_other(const bert_normalizer *normalizer, uint32_t entry, uint32_t code_point,
                         bert_char out[BERT_MOST_CHARS]) {
    return entry >> 23 == KIND_ORDER ? -1 : (int)put_special(normalizer, entry, code_point, out);
}

bert_status bert_normalize(const bert_normalizer *normalizer, const char *text, size_t length, int32_t first,
                           bert_normalized *out, bert_error *error) {
    BERT_TRY(reserve(out, length, error));
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    size_t made = 0;
    for (int32_t source = first; at < end; source++) {
        int more = bert_normalize_one(normalizer, bert_utf8_next(&at), out->text + made);
        if (more < 0) return normalize_in_order(normalizer, text, length, first, out, error);
        for (int i = 0; i < more; i++) out->source[made++] = source;
    }
    out->length = made;
    return BERT_OK;
}
