/* BertNormalizer and BertPreTokenizer: text to classed code points that remember where they came from. */
#ifndef BERT_TOKENIZER_NORMALIZER_H
#define BERT_TOKENIZER_NORMALIZER_H

#include <bert/types.h>

typedef struct bert_normalizer_settings {
    bool clean_text;
    bool handle_chinese_chars;
    bool strip_accents; /**< Resolved: null of the files means what `lowercase` is. */
    bool lowercase;
} bert_normalizer_settings;

/** What the pre-tokenizer does with a code point. */
typedef enum bert_char_class {
    BERT_CHAR_WORD = 0,    /**< Part of a word. */
    BERT_CHAR_SPACE = 1,   /**< Ends a word and goes. */
    BERT_CHAR_ISOLATED = 2 /**< A word of its own: punctuation, a Chinese character. */
} bert_char_class;

/** A code point of the normalized text: its value in the low 21 bits, its class above. */
typedef uint32_t bert_char;
#define BERT_CHAR(code_point, class) ((bert_char)(code_point) | (bert_char)(class) << 21)
#define BERT_CHAR_VALUE(c) ((c)&0x1FFFFF)
#define BERT_CHAR_CLASS(c) ((bert_char_class)((c) >> 21))

/** A normalized text; source[i] is the index of the original code point that text[i] came from. Grows, never shrinks.
 */
typedef struct bert_normalized {
    const bert_allocator *allocator;
    bert_char *text;
    int32_t *source;
    size_t length;
    size_t text_capacity, source_capacity;
    /* Scratch, used only where combining marks have to be sorted. */
    uint32_t *pieces;
    int32_t *inputs;
    size_t piece_capacity, input_capacity;
} bert_normalized;

void bert_normalized_free(bert_normalized *normalized);

/**
 * What each code point becomes under given settings, worked out once: two levels, equal pages held once. Read-only
 * after creation: any thread.
 */
typedef struct bert_normalizer bert_normalizer;

/** What becomes of a byte of ASCII: the character of a word that it is, or one of these. */
enum {
    BERT_ASCII_SPACE = 0x80,
    BERT_ASCII_ISOLATED = 0x81, /**< A word of its own, unchanged. */
    BERT_ASCII_OTHER = 0xFF     /**< Something else; also what every byte beyond ASCII has. */
};

/** Here for the inline function below; only `ascii` is for others. */
enum { BERT_NORMALIZER_PAGE = 256, BERT_NORMALIZER_PAGES = 0x110000 / BERT_NORMALIZER_PAGE, BERT_NORMALIZER_SHIFT = 0 };
struct bert_normalizer {
    const bert_allocator *allocator;
    uint8_t ascii[256]; /* By byte. */
    bert_normalizer_settings settings;
    bool spaced;
    uint16_t page_of[BERT_NORMALIZER_PAGES];
    uint32_t *entries; /* See entry_kind in normalizer.c. */
    size_t page_count, page_capacity;
    uint32_t *several;
    size_t several_count, several_capacity;
};

static inline uint32_t bert_normalizer_entry(const bert_normalizer *normalizer, uint32_t code_point) {
    size_t page = normalizer->page_of[code_point / BERT_NORMALIZER_PAGE];
    return normalizer->entries[page * BERT_NORMALIZER_PAGE + code_point % BERT_NORMALIZER_PAGE];
}

/** The most characters that become of a code point. */
enum { BERT_MOST_CHARS = 10 };
/** bert_normalize_one where a code point does not become one character. */
int bert_normalize_other(const bert_normalizer *normalizer, uint32_t entry, uint32_t code_point,
                         bert_char out[BERT_MOST_CHARS]);
/**
 * Normalizes one code point by itself; how many characters it became, or -1 when its neighbours matter: then the whole
 * text has to go through bert_normalize.
 */
static inline int bert_normalize_one(const bert_normalizer *normalizer, uint32_t code_point,
                                     bert_char out[BERT_MOST_CHARS]) {
    uint32_t entry = bert_normalizer_entry(normalizer, code_point);
    if (entry >> 23 != BERT_NORMALIZER_SHIFT) return bert_normalize_other(normalizer, entry, code_point, out);
    out[0] = ((code_point + entry) & 0x1FFFFF) | (entry & 0x600000);
    return 1;
}

/**
 * `spaced`: Chinese characters get the spaces that BertNormalizer puts around them, which only the search for added
 * tokens in normalized text can see; otherwise they are isolated, which gives the same words.
 */
bert_status bert_normalizer_create(const bert_normalizer_settings *settings, bool spaced,
                                   const bert_allocator *allocator, bert_normalizer **out, bert_error *error);
void bert_normalizer_free(bert_normalizer *normalizer);

/**
 * Normalizes well-formed UTF-8 into `out` (replacing what it holds). `first` is the index of its first code point in
 * the text that offsets refer to. Fails only for want of memory.
 */
bert_status bert_normalize(const bert_normalizer *normalizer, const char *text, size_t length, int32_t first,
                           bert_normalized *out, bert_error *error);

#endif
