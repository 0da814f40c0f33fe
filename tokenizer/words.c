#include "tokenizer/words.h"

#include "core/base/error.h"
#include "core/base/utf8.h"

#include <string.h>

static bert_status grow(bert_words *words, size_t more, bert_error *error) {
    bert_tokens *tokens = words->out;
    const bert_allocator *allocator = words->scratch->allocator;
    size_t want, bytes = SIZE_MAX;
    if (!bert_size_add(tokens->count, more, &want)) want = SIZE_MAX;
    if (want < tokens->capacity * 2) want = tokens->capacity * 2;
    bert_token *items =
        bert_size_multiply(want, sizeof *items, &bytes) ? bert_allocate(allocator, bytes, BERT_ALIGNMENT) : NULL;
    if (!items) return bert_fail_memory(error, bytes, "the tokens of a text");
    if (tokens->count) memcpy(items, tokens->items, tokens->count * sizeof *items);
    bert_deallocate(allocator, tokens->items, tokens->capacity * sizeof *items, BERT_ALIGNMENT);
    tokens->items = items;
    tokens->capacity = want;
    return BERT_OK;
}

static inline bert_status reserve(bert_words *words, size_t more, bert_error *error) {
    const bert_tokens *tokens = words->out;
    return more <= tokens->capacity - tokens->count ? BERT_OK : grow(words, more, error);
}

bert_status bert_words_reserve(bert_words *words, size_t more, bert_error *error) {
    return reserve(words, more, error);
}

static void put_token(bert_words *words, int32_t id, int32_t start, int32_t end) {
    bert_tokens *out = words->out;
    out->items[out->count++] = (bert_token){.id = id, .start = start, .end = end, .word = words->index};
}

/* Empties the word; room for one of at most `chars` characters, which may be as long as the tokenizer lets them be. */
static bert_status begin(bert_words *words, size_t chars, bert_error *error) {
    bert_word *word = &words->scratch->word;
    const bert_allocator *allocator = words->scratch->allocator;
    int64_t max_word = words->tokenizer->max_word;
    word->chars = word->length = 0;
    if ((uint64_t)max_word < chars) chars = (size_t)max_word;
    if (chars <= word->capacity) return BERT_OK;
    if (chars < 128) chars = 128;
    if (chars < 2 * word->capacity) chars = 2 * word->capacity;
    chars = (chars + 7) & ~(size_t)7;
    const size_t each = 4 + sizeof *word->sources + sizeof *word->pieces + sizeof *word->states / 2;
    size_t bytes = SIZE_MAX;
    void *block = NULL;
    if (bert_size_multiply(chars, each, &bytes) && bert_size_add(bytes, 8 + sizeof *word->states, &bytes)) {
        block = bert_allocate(allocator, bytes, BERT_ALIGNMENT);
    }
    if (!block) return bert_fail_memory(error, bytes, "a word");
    bert_deallocate(allocator, word->block, word->block_bytes, BERT_ALIGNMENT);
    word->block = block;
    word->block_bytes = bytes;
    word->capacity = chars;
    word->states = block;
    word->pieces = (bert_piece *)(void *)(word->states + chars / 2 + 1);
    word->sources = (int32_t *)(void *)(word->pieces + chars);
    word->bytes = (char *)(word->sources + chars);
    return BERT_OK;
}

/* Where in the text the word's character at `index` came from. */
static int32_t source_of(const bert_word *word, size_t index) {
    return word->straight ? word->first + (int32_t)index : word->sources[index];
}

/* The hash states before each of the word's 8 bytes, for the keys of its prefixes. */
static void fill_states(bert_word *word) {
    size_t blocks = word->length / 8;
    word->states[0] = 0;
    for (size_t i = 0; i < blocks; i++) {
        word->states[i + 1] = bert_vocabulary_mix(word->states[i], bert_vocabulary_load8(word->bytes + 8 * i));
    }
}

static uint64_t low_bytes(uint64_t bytes, size_t count) {
    return bytes & ((UINT64_C(1) << 8 * count) - 1);
}

/* The id of the word's first `length` bytes. `first8`: 8 of them. */
static int32_t find_prefix(const bert_vocabulary *vocabulary, const bert_word *word, uint64_t first8, size_t length) {
    uint64_t key;
    if (length <= BERT_VOCABULARY_SHORT) {
        key = bert_vocabulary_short_key(low_bytes(first8, length), length);
    } else {
        size_t whole = length / 8;
        uint64_t rest = bert_vocabulary_load(word->bytes + 8 * whole, length % 8);
        key = bert_vocabulary_long_key(word->states[whole], rest, length);
    }
    return bert_vocabulary_find(vocabulary, key, word->bytes, length);
}

/* The longest token that the word starts with but is not: at most one look for each of its bytes. -1: there is none. */
static int32_t find_first(const bert_vocabulary *vocabulary, const bert_word *word, uint64_t first8, size_t *length) {
    size_t at = word->length - 1 < vocabulary->longest ? word->length - 1 : vocabulary->longest;
    uint32_t lengths = bert_vocabulary_lengths(vocabulary, first8, word->length);
    for (; at > 0; at--) {
        if (!(lengths >> bert_vocabulary_length_bit(at) & 1)) continue;
        int32_t id = find_prefix(vocabulary, word, first8, at);
        if (id < 0) continue;
        *length = at;
        return id;
    }
    return -1;
}

static size_t count_code_points(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* WordPiece of a word that is not a token as a whole: the longest token that it starts with, then the longest
   continuing piece, and so on; false where one step finds none. There is room for a token a character. */
static bool split_word(bert_words *words, uint64_t first8) {
    const bert_tokenizer *tokenizer = words->tokenizer;
    const bert_word *word = &words->scratch->word;
    size_t length, mark = words->out->count;
    int32_t id = tokenizer->pieces.nodes ? find_first(&tokenizer->vocabulary, word, first8, &length) : -1;
    if (id < 0) return false;
    size_t at = count_code_points(word->bytes, length);
    put_token(words, id, source_of(word, 0), source_of(word, at - 1) + 1);
    bert_pieces_find(&tokenizer->pieces, word->bytes + word->length, word->chars - at, word->pieces + at);
    while (at < word->chars) {
        bert_piece piece = word->pieces[at];
        if (piece.id < 0) {
            words->out->count = mark;
            return false;
        }
        size_t next = at + piece.chars;
        put_token(words, piece.id, source_of(word, at), source_of(word, next - 1) + 1);
        at = next;
    }
    return true;
}

/* WordPiece of the word. Most words are a token as a whole: one look at the vocabulary. */
static bert_status finish_word(bert_words *words, bert_error *error) {
    const bert_tokenizer *tokenizer = words->tokenizer;
    bert_word *word = &words->scratch->word;
    BERT_TRY(reserve(words, word->chars, error));
    int32_t id = -1;
    bool split = false;
    if (word->chars <= (uint64_t)tokenizer->max_word) {
        memset(word->bytes + word->length, 0, 8);
        uint64_t first8 = bert_vocabulary_load8(word->bytes);
        if (word->length > BERT_VOCABULARY_SHORT) fill_states(word);
        id = find_prefix(&tokenizer->vocabulary, word, first8, word->length);
        if (id < 0) split = split_word(words, first8);
    }
    if (!split) put_token(words, id < 0 ? tokenizer->unk_id : id, word->first, word->last + 1);
    words->index++;
    word->chars = word->length = 0;
    return BERT_OK;
}

/* The word, if there is one, ends here. */
static inline bert_status end_word(bert_words *words, bert_error *error) {
    return words->scratch->word.chars > 0 ? finish_word(words, error) : BERT_OK;
}

/* A word of at most 7 bytes of UTF-8 that stand in `bytes` from the lowest up, if it is a token as a whole. */
static inline bool put_short(bert_words *words, uint64_t bytes, size_t length, int32_t start, int32_t end) {
    int32_t id =
        bert_vocabulary_find(&words->tokenizer->vocabulary, bert_vocabulary_short_key(bytes, length), NULL, length);
    if (id < 0) return false;
    put_token(words, id, start, end);
    words->index++;
    return true;
}

/* A code point as UTF-8 in the low bytes of a number, and how many they are. */
static inline uint64_t utf8_bytes(uint32_t c, size_t *length) {
    if (c < 0x80) {
        *length = 1;
        return c;
    }
    if (c < 0x800) {
        *length = 2;
        return (0xC0 | c >> 6) | (0x80 | (c & 0x3F)) << 8;
    }
    if (c < 0x10000) {
        *length = 3;
        return (0xE0 | c >> 12) | (0x80 | (c >> 6 & 0x3F)) << 8 | (0x80 | (c & 0x3F)) << 16;
    }
    *length = 4;
    return (0xF0 | c >> 18) | (0x80 | (c >> 12 & 0x3F)) << 8 | (0x80 | (c >> 6 & 0x3F)) << 16 |
           (uint64_t)(0x80 | (c & 0x3F)) << 24;
}

/* A character that is a word of its own. */
static inline bert_status put_isolated(bert_words *words, uint32_t value, int32_t source, bert_error *error) {
    size_t length;
    uint64_t bytes = utf8_bytes(value, &length);
    const bert_tokenizer *tokenizer = words->tokenizer;
    BERT_TRY(reserve(words, 1, error));
    if (tokenizer->max_word > 0 && put_short(words, bytes, length, source, source + 1)) return BERT_OK;
    put_token(words, tokenizer->unk_id, source, source + 1);
    words->index++;
    return BERT_OK;
}

/* From here on `sources` counts. */
static void keep_sources(bert_word *word) {
    size_t kept = word->chars < word->capacity ? word->chars : word->capacity;
    for (size_t i = 0; i < kept; i++) word->sources[i] = word->first + (int32_t)i;
    word->straight = false;
}

static void put_in_word(bert_word *word, uint32_t value, int32_t source) {
    if (word->chars == 0) {
        word->first = source;
        word->straight = true;
    } else if (word->straight && source != word->last + 1) {
        keep_sources(word);
    }
    word->last = source;
    if (word->chars < word->capacity) {
        if (!word->straight) word->sources[word->chars] = source;
        word->length += bert_utf8_encode(value, word->bytes + word->length);
    }
    word->chars++;
}

static inline bert_status put_char(bert_words *words, bert_char c, int32_t source, bert_error *error) {
    bert_char_class class = BERT_CHAR_CLASS(c);
    if (class == BERT_CHAR_WORD) {
        put_in_word(&words->scratch->word, BERT_CHAR_VALUE(c), source);
        return BERT_OK;
    }
    BERT_TRY(end_word(words, error));
    return class == BERT_CHAR_SPACE ? BERT_OK : put_isolated(words, BERT_CHAR_VALUE(c), source, error);
}

/* Takes the characters of ASCII that a word begins with; how many. */
static size_t take_ascii(bert_word *word, const uint8_t *ascii, const unsigned char *at, const unsigned char *end,
                         int32_t source) {
    size_t most = (size_t)(end - at), count = 0;
    if (most > word->capacity) most = word->capacity;
    while (count < most && ascii[at[count]] < 0x80) {
        word->bytes[count] = (char)ascii[at[count]];
        count++;
    }
    word->length = word->chars = count;
    word->first = source;
    word->last = source + (int32_t)count - 1;
    word->straight = true;
    return count;
}

/* In each byte of `bytes`, all below 0x80: the top bit where it is from `first` to `last`. */
static inline uint64_t in_range(uint64_t bytes, unsigned char first, unsigned char last) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    return (bytes + ones * (0x80U - first)) & ~(bytes + ones * (0x7FU - last)) & ones * 0x80;
}

/*
 * The word of 1 to 7 letters and digits of ASCII that `at` starts with, if what follows ends it and it is a token; its
 * length, else 0. Eight bytes can be read. It does for most words of English what the general way does, without a loop.
 */
static inline size_t put_ascii_word(bert_words *words, const uint8_t *ascii, const unsigned char *at, int32_t source) {
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t bytes = bert_vocabulary_load8((const char *)at), low = bytes & ~tops;
    uint64_t upper = in_range(low, 'A', 'Z');
    uint64_t others = ~(upper | in_range(low, 'a', 'z') | in_range(low, '0', '9')) & tops;
    others |= bytes & tops;
    if (!others) return 0;
    size_t length = (size_t)__builtin_ctzll(others) / 8;
    uint8_t next = ascii[at[length]];
    if (length == 0 || (next != BERT_ASCII_SPACE && next != BERT_ASCII_ISOLATED)) return 0;
    if (ascii['A'] == 'a') bytes |= upper >> 2;
    int32_t end = source + (int32_t)length;
    return put_short(words, low_bytes(bytes, length), length, source, end) ? length : 0;
}

bert_status bert_words_of_text(bert_words *words, const char *text, size_t length, int32_t source, bool *sorted,
                               bert_error *error) {
    const unsigned char *at = (const unsigned char *)text, *end = at + length;
    const bert_normalizer *normalizer = words->tokenizer->normalizer;
    const uint8_t *ascii = normalizer->ascii;
    bert_word *word = &words->scratch->word;
    const size_t mark = words->out->count;
    const int32_t first_index = words->index;
    const bool quick = words->tokenizer->max_word >= 8;
    *sorted = false;
    /* No code point becomes more than two characters for each of its bytes. */
    BERT_TRY(begin(words, 2 * length, error));
    while (at < end) {
        uint8_t kind = ascii[*at];
        if (kind < 0x80 && word->chars == 0) {
            size_t taken = 0;
            if (quick && end - at >= 8) {
                BERT_TRY(reserve(words, 1, error));
                taken = put_ascii_word(words, ascii, at, source);
            }
            if (taken == 0) taken = take_ascii(word, ascii, at, end, source);
            at += taken;
            source += (int32_t)taken;
            if (taken > 0) continue;
        } else if (kind == BERT_ASCII_SPACE || kind == BERT_ASCII_ISOLATED) {
            BERT_TRY(end_word(words, error));
            if (kind == BERT_ASCII_ISOLATED) BERT_TRY(put_isolated(words, *at, source, error));
            at++;
            source++;
            continue;
        }
        bert_char chars[BERT_MOST_CHARS];
        int count = bert_normalize_one(normalizer, bert_utf8_next(&at), chars);
        if (count < 0) {
            word->chars = word->length = 0;
            words->out->count = mark;
            words->index = first_index;
            *sorted = true;
            return BERT_OK;
        }
        for (int i = 0; i < count; i++) BERT_TRY(put_char(words, chars[i], source, error));
        source++;
    }
    return end_word(words, error);
}

bert_status bert_words_of_range(bert_words *words, const bert_normalized *text, size_t start, size_t end,
                                bert_error *error) {
    BERT_TRY(begin(words, end - start, error));
    for (size_t i = start; i < end; i++) BERT_TRY(put_char(words, text->text[i], text->source[i], error));
    return end_word(words, error);
}
