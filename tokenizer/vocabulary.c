#include "tokenizer/vocabulary.h"

#include "core/base/error.h"

#include <stdlib.h>

void bert_vocabulary_init(bert_vocabulary *vocabulary, const bert_allocator *allocator) {
    *vocabulary = (bert_vocabulary){.allocator = allocator, .empty_id = -1};
}

void bert_vocabulary_free(bert_vocabulary *vocabulary) {
    bert_deallocate(vocabulary->allocator, vocabulary->slots, vocabulary->capacity * sizeof(bert_vocabulary_slot),
                    BERT_ALIGNMENT);
    bert_deallocate(vocabulary->allocator, vocabulary->entries,
                    vocabulary->entry_capacity * sizeof(bert_vocabulary_entry), BERT_ALIGNMENT);
    bert_vocabulary_init(vocabulary, vocabulary->allocator);
}

/* The key of a text that is not empty. */
static uint64_t key_of(const char *text, size_t length) {
    if (length <= BERT_VOCABULARY_SHORT) return bert_vocabulary_short_key(bert_vocabulary_load(text, length), length);
    uint64_t state = 0;
    size_t done = 0;
    for (; length - done >= 8; done += 8) {
        state = bert_vocabulary_mix(state, bert_vocabulary_load8(text + done));
    }
    return bert_vocabulary_long_key(state, bert_vocabulary_load(text + done, length - done), length);
}

bert_status bert_vocabulary_reserve(bert_vocabulary *vocabulary, size_t entries, bert_error *error) {
    size_t bytes = SIZE_MAX;
    if (entries <= vocabulary->entry_capacity) return BERT_OK;
    bert_vocabulary_entry *fresh = NULL;
    if (entries < UINT32_MAX && bert_size_multiply(entries, sizeof *fresh, &bytes)) {
        fresh = bert_allocate(vocabulary->allocator, bytes, BERT_ALIGNMENT);
    }
    if (!fresh) return bert_fail_memory(error, bytes, "the tokens of the vocabulary");
    if (vocabulary->entry_count) memcpy(fresh, vocabulary->entries, vocabulary->entry_count * sizeof *fresh);
    bert_deallocate(vocabulary->allocator, vocabulary->entries, vocabulary->entry_capacity * sizeof *fresh,
                    BERT_ALIGNMENT);
    vocabulary->entries = fresh;
    vocabulary->entry_capacity = entries;
    return BERT_OK;
}

bert_status bert_vocabulary_add(bert_vocabulary *vocabulary, const char *text, size_t length, int32_t id,
                                bert_error *error) {
    if (vocabulary->entry_count == vocabulary->entry_capacity) {
        size_t capacity = vocabulary->entry_capacity ? 2 * vocabulary->entry_capacity : 64;
        BERT_TRY(bert_vocabulary_reserve(vocabulary, capacity, error));
    }
    vocabulary->entries[vocabulary->entry_count++] =
        (bert_vocabulary_entry){.id = id, .length = (uint32_t)length, .text = text};
    return BERT_OK;
}

static size_t first_slot(const bert_vocabulary *vocabulary, uint64_t key) {
    return (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> vocabulary->shift);
}

/* Puts entry `index` into the table, in place of one with the same text, whose index is returned; SIZE_MAX: none. */
static size_t put_entry(bert_vocabulary *vocabulary, size_t index, uint64_t key) {
    const bert_vocabulary_entry *entries = vocabulary->entries, *entry = &entries[index];
    size_t mask = vocabulary->capacity - 1, before = SIZE_MAX;
    bert_vocabulary_slot *slot = NULL;
    for (size_t at = first_slot(vocabulary, key);; at = (at + 1) & mask) {
        slot = &vocabulary->slots[at];
        if (slot->key == 0) break;
        const bert_vocabulary_entry *there = &entries[slot->entry];
        if (slot->key == key && there->length == entry->length &&
            memcmp(there->text, entry->text, entry->length) == 0) {
            before = slot->entry;
            break;
        }
    }
    *slot = (bert_vocabulary_slot){.key = key, .id = entry->id, .entry = (uint32_t)index};
    return before;
}

/* Puts all entries into the table; those of which a later one has the text lose theirs. The table is larger than the
   nearer caches, so slots are fetched some entries ahead. */
static void fill_slots(bert_vocabulary *vocabulary, bert_vocabulary_doubles *doubles) {
    enum { AHEAD = 16 };
    uint64_t keys[AHEAD];
    bert_vocabulary_entry *entries = vocabulary->entries;
    size_t count = vocabulary->entry_count, empty = SIZE_MAX;
    memset(vocabulary->slots, 0, vocabulary->capacity * sizeof *vocabulary->slots);
    for (size_t next = 0; next < count + AHEAD; next++) {
        size_t index = next - AHEAD, before;
        if (next >= AHEAD) {
            before = entries[index].length ? put_entry(vocabulary, index, keys[index % AHEAD]) : empty;
            if (!entries[index].length) empty = index;
            if (before != SIZE_MAX) {
                if (doubles->count++ == 0) doubles->example = entries[before].text;
                entries[before].text = NULL;
            }
        }
        if (next < count && entries[next].length) {
            keys[next % AHEAD] = key_of(entries[next].text, entries[next].length);
            __builtin_prefetch(&vocabulary->slots[first_slot(vocabulary, keys[next % AHEAD])], 1);
        }
    }
    vocabulary->empty_id = empty == SIZE_MAX ? -1 : entries[empty].id;
}

static bert_status make_slots(bert_vocabulary *vocabulary, bert_error *error) {
    int log2_capacity = 4;
    while (((size_t)1 << log2_capacity) / 8 * 5 < vocabulary->entry_count) log2_capacity++;
    size_t capacity = (size_t)1 << log2_capacity, bytes = capacity * sizeof *vocabulary->slots;
    vocabulary->slots = bert_allocate(vocabulary->allocator, bytes, BERT_ALIGNMENT);
    if (!vocabulary->slots) return bert_fail_memory(error, bytes, "the table of the vocabulary");
    vocabulary->capacity = capacity;
    vocabulary->shift = 64 - log2_capacity;
    return BERT_OK;
}

static int compare_entries(const void *left, const void *right) {
    const bert_vocabulary_entry *a = left, *b = right;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    /* Two texts with one id: the one that was added last stands last. Texts of a file lie in its order. */
    return a->text < b->text ? -1 : a->text > b->text;
}

/* What find_first of WordPiece asks: the longest text, and which lengths there are. */
static void note_lengths(bert_vocabulary *vocabulary) {
    for (size_t i = 0; i < vocabulary->entry_count; i++) {
        const bert_vocabulary_entry *entry = &vocabulary->entries[i];
        if (entry->length > vocabulary->longest) vocabulary->longest = entry->length;
        if (entry->length < 3) continue;
        size_t bucket = bert_vocabulary_bucket(bert_vocabulary_load(entry->text, 3));
        vocabulary->lengths[bucket] |= UINT32_C(1) << bert_vocabulary_length_bit(entry->length);
    }
}

bert_status bert_vocabulary_finish(bert_vocabulary *vocabulary, bert_vocabulary_doubles *doubles, bert_error *error) {
    bert_vocabulary_entry *entries = vocabulary->entries;
    *doubles = (bert_vocabulary_doubles){.count = 0};
    BERT_TRY(make_slots(vocabulary, error));
    fill_slots(vocabulary, doubles);
    size_t kept = 0;
    bool sorted = true;
    for (size_t i = 0; i < vocabulary->entry_count; i++) {
        if (!entries[i].text) continue;
        if (kept > 0 && entries[kept - 1].id >= entries[i].id) sorted = false;
        entries[kept++] = entries[i];
    }
    vocabulary->entry_count = kept;
    if (!sorted) qsort(entries, kept, sizeof *entries, compare_entries);
    if (!sorted || doubles->count) {
        bert_vocabulary_doubles none = {.count = 0};
        fill_slots(vocabulary, &none);
    }
    note_lengths(vocabulary);
    return BERT_OK;
}

int32_t bert_vocabulary_id(const bert_vocabulary *vocabulary, const char *text, size_t length) {
    if (length == 0) return vocabulary->empty_id;
    return bert_vocabulary_find(vocabulary, key_of(text, length), text, length);
}

const bert_vocabulary_entry *bert_vocabulary_entry_of(const bert_vocabulary *vocabulary, int32_t id) {
    size_t low = 0, high = vocabulary->entry_count;
    /* Ids mostly run from 0 without a gap: then the entry is where its id says. */
    if (id >= 0 && (size_t)id < high && vocabulary->entries[id].id == id) return &vocabulary->entries[id];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (vocabulary->entries[middle].id <= id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low && vocabulary->entries[low - 1].id == id ? &vocabulary->entries[low - 1] : NULL;
}
