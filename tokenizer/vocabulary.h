/* The vocabulary of WordPiece: token text <-> id. */
#ifndef BERT_TOKENIZER_VOCABULARY_H
#define BERT_TOKENIZER_VOCABULARY_H

#include "core/base/memory.h"

#include <bert/types.h>
#include <string.h>

/**
 * A slot of the open hash table of texts. A text of at most 7 bytes is its own key, so that one look at the slot tells;
 * of a longer one the key is a hash.
 */
typedef struct bert_vocabulary_slot {
    uint64_t key; /* 0 is an empty slot. See bert_vocabulary_key. */
    int32_t id;
    uint32_t entry; /* Index in `entries`. */
} bert_vocabulary_slot;

typedef struct bert_vocabulary_entry {
    int32_t id;
    uint32_t length;
    const char *text; /* NUL-terminated. */
} bert_vocabulary_entry;

enum { BERT_VOCABULARY_BUCKETS = 4096 };

/** Built by one thread, then read-only: any thread. */
typedef struct bert_vocabulary {
    const bert_allocator *allocator;
    bert_vocabulary_slot *slots;
    size_t capacity;  /* A power of two. */
    int shift;        /* 64 - log2(capacity) */
    int32_t empty_id; /* Of the empty token, or -1. */
    bert_vocabulary_entry *entries;
    size_t entry_count, entry_capacity;
    size_t longest; /* Bytes of the longest text. */
    /** Which lengths there are among texts whose first 3 bytes fall together: see bert_vocabulary_lengths. */
    uint32_t lengths[BERT_VOCABULARY_BUCKETS];
} bert_vocabulary;

/** Nothing is allocated yet. */
void bert_vocabulary_init(bert_vocabulary *vocabulary, const bert_allocator *allocator);
void bert_vocabulary_free(bert_vocabulary *vocabulary);

/** Room for `entries` tokens, so that adding them seldom grows anything. */
bert_status bert_vocabulary_reserve(bert_vocabulary *vocabulary, size_t entries, bert_error *error);

/**
 * Adds a token. `text` is well-formed UTF-8 followed by a NUL, at most INT32_MAX bytes, and outlives the vocabulary.
 * Of the tokens with one text the last counts.
 */
bert_status bert_vocabulary_add(bert_vocabulary *vocabulary, const char *text, size_t length, int32_t id,
                                bert_error *error);

/** Tokens whose text a later one has too. */
typedef struct bert_vocabulary_doubles {
    size_t count;
    const char *example; /* The text of the first; NULL when there is none. */
} bert_vocabulary_doubles;

/** Call once after the last token and before all below: drops doubles, sorts by id, makes the table. */
bert_status bert_vocabulary_finish(bert_vocabulary *vocabulary, bert_vocabulary_doubles *doubles, bert_error *error);

/** -1 when there is none. */
int32_t bert_vocabulary_id(const bert_vocabulary *vocabulary, const char *text, size_t length);
/** NULL when there is none. */
const bert_vocabulary_entry *bert_vocabulary_entry_of(const bert_vocabulary *vocabulary, int32_t id);

/** The longest text that a key holds as it is. */
enum { BERT_VOCABULARY_SHORT = 7 };

/** 8 bytes as a number, the first the lowest. */
static inline uint64_t bert_vocabulary_load8(const char *text) {
    uint64_t bytes;
    memcpy(&bytes, text, sizeof bytes);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bytes = __builtin_bswap64(bytes);
#endif
    return bytes;
}

/** `length` bytes, at most 7, as the low ones of such a number. */
static inline uint64_t bert_vocabulary_load(const char *text, size_t length) {
    const unsigned char *bytes = (const unsigned char *)text;
    if (length == 0) return 0;
    if (length < 4) {
        return bytes[0] | (uint64_t)bytes[length / 2] << 8 * (length / 2) |
               (uint64_t)bytes[length - 1] << 8 * (length - 1);
    }
    uint32_t low, high;
    memcpy(&low, text, sizeof low);
    memcpy(&high, text + length - 4, sizeof high);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    low = __builtin_bswap32(low);
    high = __builtin_bswap32(high);
#endif
    return low | (uint64_t)high << 8 * (length - 4);
}

/* A longer text's hash: a state that takes 8 bytes at a time, and what is left at the end. */
static inline uint64_t bert_vocabulary_mix(uint64_t state, uint64_t bytes) {
    state = (state ^ bytes) * UINT64_C(0x9E3779B97F4A7C15);
    return state ^ state >> 29;
}

static inline uint64_t bert_vocabulary_short_key(uint64_t bytes, size_t length) {
    return bytes | (uint64_t)length << 56;
}

static inline uint64_t bert_vocabulary_long_key(uint64_t state, uint64_t rest, size_t length) {
    return bert_vocabulary_mix(state ^ length, rest) | UINT64_C(0xFF) << 56;
}

static inline unsigned bert_vocabulary_length_bit(size_t length) {
    return length < 32 ? (unsigned)length - 1 : 31;
}

static inline size_t bert_vocabulary_bucket(uint64_t first8) {
    return (size_t)((first8 & 0xFFFFFF) * UINT32_C(0x9E3779B1) >> 20) & (BERT_VOCABULARY_BUCKETS - 1);
}

/**
 * A bit for each length (1 the lowest; the highest for 32 and more) that a text with the same first 3 bytes may have.
 * Those of 1 and 2 bytes are not told apart. `length` of the text that `first8` begins.
 */
static inline uint32_t bert_vocabulary_lengths(const bert_vocabulary *vocabulary, uint64_t first8, size_t length) {
    return 3 | (length < 3 ? 0 : vocabulary->lengths[bert_vocabulary_bucket(first8)]);
}

/** The id of the text with that key; `text` is only looked at where the key is not all of it. -1: there is none. */
static inline int32_t bert_vocabulary_find(const bert_vocabulary *vocabulary, uint64_t key, const char *text,
                                           size_t length) {
    size_t mask = vocabulary->capacity - 1;
    for (size_t at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> vocabulary->shift);; at = (at + 1) & mask) {
        const bert_vocabulary_slot *slot = &vocabulary->slots[at];
        if (slot->key == 0) return -1;
        if (slot->key != key) continue;
        if (length <= BERT_VOCABULARY_SHORT) return slot->id;
        const bert_vocabulary_entry *entry = &vocabulary->entries[slot->entry];
        if (entry->length == length && memcmp(entry->text, text, length) == 0) return slot->id;
    }
}

#endif
