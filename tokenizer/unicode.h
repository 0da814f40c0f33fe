/* What `tokenizers` 0.23 thinks of each code point: utf8proc's answer, except where a table says otherwise. */
#ifndef BERT_TOKENIZER_UNICODE_H
#define BERT_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names stand for the predicates of the Rust crates behind `tokenizers`. */
enum {
    BERT_UNICODE_OTHER = 1,       /* Cc, Cf, Cn, Co: what clean_text removes. */
    BERT_UNICODE_SPACE = 2,       /* White_Space. */
    BERT_UNICODE_MARK = 4,        /* Mn: what strip_accents removes. */
    BERT_UNICODE_PUNCTUATION = 8, /* P*, and all of ASCII that is neither letter, digit, space nor control. */
    BERT_UNICODE_WORD = 16,       /* \w of regular expressions: decides about added tokens that are single words. */
    BERT_UNICODE_FIXED = 32       /* Only in the table: utf8proc, whose version may be any, is not asked at all. */
};

/** The longest canonical decomposition and the longest lower-case form, in code points. */
enum { BERT_UNICODE_DECOMPOSED = 4, BERT_UNICODE_LOWERED = 2 };

/** A bit set of BERT_UNICODE_*. Like all functions here: pure, any thread, code_point at most 0x10FFFF. */
unsigned bert_unicode_flags(uint32_t code_point);

/** Canonical combining class; not 0 for what normalization may reorder. */
unsigned bert_unicode_combining_class(uint32_t code_point);

/** Writes the full canonical decomposition (the code point itself when it has none); returns how many. */
size_t bert_unicode_decompose(uint32_t code_point, uint32_t out[BERT_UNICODE_DECOMPOSED]);

/** Writes the lower-case form, without regard to context; returns how many. */
size_t bert_unicode_lowercase(uint32_t code_point, uint32_t out[BERT_UNICODE_LOWERED]);

/** The blocks that BERT's normalizer puts spaces around. */
bool bert_unicode_is_chinese(uint32_t code_point);

/** All of the above of one code point. */
typedef struct bert_unicode_properties {
    unsigned flags, combining_class;
    size_t decomposed, lowered; /* Code points of the two that follow. */
    uint32_t decomposition[BERT_UNICODE_DECOMPOSED], lowercase[BERT_UNICODE_LOWERED];
    /**
     * The last of a run of code points from this one on that are all the same: equal flags, no mapping, no combining
     * class; or all Hangul syllables. A run may be shorter than it could be. It takes no notice of blocks.
     */
    uint32_t run;
} bert_unicode_properties;

/** Where a walk through the code points has come to in each table. Zeroed to begin with. */
typedef struct bert_unicode_walk {
    size_t flag, class, decomposition, lowercase;
} bert_unicode_walk;

/** Looks a code point up, quicker than one by one: those of a walk must not go down. */
void bert_unicode_look(bert_unicode_walk *walk, uint32_t code_point, bert_unicode_properties *out);

/* Ranges and mappings of unicode_exceptions.c, sorted. */
typedef struct bert_unicode_range {
    uint32_t first, last;
    uint8_t value;
} bert_unicode_range;

typedef struct bert_unicode_mapping {
    uint32_t from;
    uint32_t to[BERT_UNICODE_DECOMPOSED]; /* Ends at the first 0. */
} bert_unicode_mapping;

extern const bert_unicode_range bert_unicode_flag_exceptions[];
extern const size_t bert_unicode_flag_exception_count;
extern const bert_unicode_range bert_unicode_class_exceptions[];
extern const size_t bert_unicode_class_exception_count;
extern const bert_unicode_mapping bert_unicode_decomposition_exceptions[];
extern const size_t bert_unicode_decomposition_exception_count;
extern const bert_unicode_mapping bert_unicode_lowercase_exceptions[];
extern const size_t bert_unicode_lowercase_exception_count;

#endif
