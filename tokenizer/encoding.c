/* Tokens of one or two texts to an encoding: truncation, windows, special tokens, padding. */
#include "tokenizer/internal.h"

#include "core/base/error.h"

#include <string.h>

/* How the tokens of one text fall into windows. Window 0 is what truncation keeps. */
typedef struct window_plan {
    size_t total;  /* Tokens of the text. */
    size_t most;   /* Tokens of a window. */
    size_t stride; /* Tokens that a window shares with the one before. */
    size_t count;  /* Windows, at least 1. */
    bool left;     /* Windows are counted from the end. */
} window_plan;

struct bert_encoding {
    const bert_allocator *allocator;
    bert_scratch scratch;
    bert_tokens tokens[2];
    /* Of the last encode: */
    const bert_tokenizer *tokenizer;
    const bert_template *layout;
    window_plan plans[2];
    bool special;
    size_t pad_to;
    size_t window, windows;
    /* The arrays of the current window, in one block. */
    size_t length, capacity;
    int64_t (*offsets)[2];
    int32_t *ids, *type_ids, *word_ids;
    uint8_t *attention_mask, *special_tokens_mask;
    int8_t *sequence_ids;
    void *block;
    size_t block_bytes;
};

enum { ELEMENT_BYTES = 2 * sizeof(int64_t) + 3 * sizeof(int32_t) + 3 };

bert_status bert_encoding_create(const bert_tokenizer *tokenizer, bert_encoding **out, bert_error *error) {
    if (!out) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_encoding_create: out is NULL");
    *out = NULL;
    if (!tokenizer) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_encoding_create: tokenizer is NULL");
    bert_encoding *encoding = bert_allocate(tokenizer->allocator, sizeof *encoding, BERT_ALIGNMENT);
    if (!encoding) return bert_fail_memory(error, sizeof *encoding, "an encoding");
    *encoding = (bert_encoding){.allocator = tokenizer->allocator};
    encoding->scratch.allocator = tokenizer->allocator;
    encoding->scratch.normalized.allocator = tokenizer->allocator;
    *out = encoding;
    return BERT_OK;
}

void bert_encoding_free(bert_encoding *encoding) {
    if (!encoding) return;
    const bert_allocator *allocator = encoding->allocator;
    bert_normalized_free(&encoding->scratch.normalized);
    bert_deallocate(allocator, encoding->scratch.word.block, encoding->scratch.word.block_bytes, BERT_ALIGNMENT);
    bert_deallocate(allocator, encoding->scratch.replaced, encoding->scratch.replaced_capacity, BERT_ALIGNMENT);
    for (int i = 0; i < 2; i++) {
        bert_deallocate(allocator, encoding->tokens[i].items, encoding->tokens[i].capacity * sizeof(bert_token),
                        BERT_ALIGNMENT);
    }
    bert_deallocate(allocator, encoding->block, encoding->block_bytes, BERT_ALIGNMENT);
    bert_deallocate(allocator, encoding, sizeof *encoding, BERT_ALIGNMENT);
}

static window_plan whole(size_t total) {
    return (window_plan){.total = total, .most = total, .count = 1};
}

/* Cuts one text to `most` tokens. A cut to nothing leaves an empty window and one with everything, as in `tokenizers`.
 */
static bert_status cut(window_plan *plan, size_t most, size_t stride, bool left, bert_error *error) {
    if (most >= plan->total) return BERT_OK;
    if (most == 0) {
        *plan = (window_plan){.total = plan->total, .most = 0, .count = 2, .left = left};
        return BERT_OK;
    }
    if (stride >= most) {
        return bert_fail(error, BERT_INVALID_INPUT,
                         "a stride of %zu does not fit into windows of %zu tokens: it has to be smaller", stride, most);
    }
    size_t step = most - stride;
    *plan = (window_plan){.total = plan->total, .most = most, .stride = stride, .left = left};
    plan->count = 1 + (plan->total - most + step - 1) / step;
    return BERT_OK;
}

static void window_range(const window_plan *plan, size_t window, size_t *start, size_t *end) {
    if (plan->most == 0 && plan->total > 0) {
        *start = 0;
        *end = window == 0 ? 0 : plan->total;
        return;
    }
    size_t step = plan->most - plan->stride;
    size_t first = window * step, last = plan->total - first < plan->most ? plan->total : first + plan->most;
    *start = plan->left ? plan->total - last : first;
    *end = plan->left ? plan->total - first : last;
}

/* The greatest number of tokens in a window of the text. */
static size_t widest(const window_plan *plan) {
    return plan->most == 0 || plan->total < plan->most ? plan->total : plan->most;
}

/* How many tokens of each text stay so that both have `most`: the longer gives first, then both the same. */
static void share(size_t most, size_t *first, size_t *second) {
    size_t shorter = *first < *second ? *first : *second, longer;
    bool swap = *first > *second;
    if (shorter > most) {
        longer = shorter;
    } else {
        longer = most - shorter > shorter ? most - shorter : shorter;
    }
    if (shorter + longer > most) {
        shorter = most / 2;
        longer = shorter + most % 2;
    }
    *first = swap ? longer : shorter;
    *second = swap ? shorter : longer;
}

static bert_status truncate_texts(bert_encoding *encoding, bool has_pair, const bert_encode_options *options,
                                  size_t most, bert_error *error) {
    window_plan *plans = encoding->plans;
    size_t stride = (size_t)options->stride, total = plans[0].total + plans[1].total;
    bool left = encoding->tokenizer->truncate_left;
    if (most == 0) {
        BERT_TRY(cut(&plans[0], 0, stride, left, error));
        return cut(&plans[1], 0, stride, left, error);
    }
    if (options->truncation == BERT_TRUNCATION_LONGEST_FIRST) {
        size_t first = most, second = plans[1].total;
        if (has_pair) {
            first = plans[0].total;
            share(most, &first, &second);
        }
        BERT_TRY(cut(&plans[0], first, stride, left, error));
        return cut(&plans[1], second, stride, left, error);
    }
    int target = options->truncation == BERT_TRUNCATION_ONLY_SECOND;
    if (target == 1 && !has_pair) {
        return bert_fail(error, BERT_INVALID_INPUT, "truncation only_second wants a pair, but there is only one text");
    }
    size_t excess = total - most;
    if (plans[target].total <= excess) {
        return bert_fail(error, BERT_INVALID_INPUT,
                         "truncation %s can't reach max_length: %zu tokens have to go, but that text has only %zu",
                         target ? "only_second" : "only_first", excess, plans[target].total);
    }
    return cut(&plans[target], plans[target].total - excess, stride, left, error);
}

static bert_status plan_windows(bert_encoding *encoding, bool has_pair, const bert_encode_options *options,
                                bert_error *error) {
    const bert_tokenizer *tokenizer = encoding->tokenizer;
    encoding->plans[0] = whole(encoding->tokens[0].count);
    encoding->plans[1] = whole(encoding->tokens[1].count);
    if (options->truncation == BERT_TRUNCATION_NONE) return BERT_OK;
    int64_t max_length = options->max_length ? options->max_length : tokenizer->model_max_length;
    size_t special = encoding->special ? encoding->layout->special_count : 0;
    size_t total = encoding->plans[0].total + encoding->plans[1].total;
    if ((uint64_t)total + special <= (uint64_t)max_length) return BERT_OK;
    if ((uint64_t)max_length < special) {
        return bert_fail(error, BERT_INVALID_INPUT, "a max_length of %lld leaves no room for the %zu special tokens",
                         (long long)max_length, special);
    }
    return truncate_texts(encoding, has_pair, options, (size_t)max_length - special, error);
}

/* Overflow-safe a * b for the count of windows; saturates, for no one will step through so many. */
static size_t saturating_product(size_t a, size_t b) {
    size_t product;
    return bert_size_multiply(a, b, &product) ? product : SIZE_MAX;
}

static bert_status reserve_output(bert_encoding *encoding, bert_error *error) {
    const bert_template *layout = encoding->layout;
    size_t want = encoding->pad_to, need = 0;
    encoding->windows = 1;
    for (size_t i = 0; i < layout->count; i++) {
        const bert_template_piece *piece = &layout->pieces[i];
        if (piece->special_id >= 0) {
            need += encoding->special;
        } else {
            need += widest(&encoding->plans[piece->sequence]);
            encoding->windows = saturating_product(encoding->windows, encoding->plans[piece->sequence].count);
        }
    }
    if (want < need) want = need;
    if (want <= encoding->capacity) return BERT_OK;
    if (want < encoding->capacity * 2) want = encoding->capacity * 2;
    size_t bytes = SIZE_MAX;
    char *block = bert_size_multiply(want, ELEMENT_BYTES, &bytes)
                      ? bert_allocate(encoding->allocator, bytes, BERT_ALIGNMENT)
                      : NULL;
    if (!block) return bert_fail_memory(error, bytes, "an encoding");
    bert_deallocate(encoding->allocator, encoding->block, encoding->block_bytes, BERT_ALIGNMENT);
    encoding->block = block;
    encoding->block_bytes = bytes;
    encoding->capacity = want;
    /* Widest elements first, so that each array is aligned. */
    encoding->offsets = (int64_t(*)[2])(void *)block;
    encoding->ids = (int32_t *)(void *)(encoding->offsets + want);
    encoding->type_ids = encoding->ids + want;
    encoding->word_ids = encoding->type_ids + want;
    encoding->attention_mask = (uint8_t *)(encoding->word_ids + want);
    encoding->special_tokens_mask = encoding->attention_mask + want;
    encoding->sequence_ids = (int8_t *)(encoding->special_tokens_mask + want);
    return BERT_OK;
}

static void put_special(bert_encoding *encoding, size_t at, int32_t id, int32_t type_id, bool attended) {
    encoding->offsets[at][0] = encoding->offsets[at][1] = 0;
    encoding->ids[at] = id;
    encoding->type_ids[at] = type_id;
    encoding->word_ids[at] = -1;
    encoding->attention_mask[at] = attended;
    encoding->special_tokens_mask[at] = 1;
    encoding->sequence_ids[at] = -1;
}

static void put_window(bert_encoding *encoding, const bert_template_piece *piece, size_t window) {
    const bert_token *items = encoding->tokens[piece->sequence].items;
    size_t start, end, at = encoding->length;
    window_range(&encoding->plans[piece->sequence], window, &start, &end);
    if (start == end) return; /* an empty text: there may be no arrays yet */
    /* `tokenizers` gives the template's type to the first window alone; the others keep the number of their text. But
     * for RobertaProcessing, which gives it to all, if it adds special tokens. */
    bool by_template = window == 0 || (encoding->layout->types_all && encoding->special);
    int32_t type_id = by_template ? piece->type_id : piece->sequence;
    for (size_t i = start; i < end; i++, at++) {
        encoding->offsets[at][0] = items[i].start;
        encoding->offsets[at][1] = items[i].end;
        encoding->ids[at] = items[i].id;
        encoding->word_ids[at] = items[i].word;
        encoding->type_ids[at] = type_id;
    }
    size_t count = end - start;
    memset(encoding->attention_mask + encoding->length, 1, count);
    memset(encoding->special_tokens_mask + encoding->length, 0, count);
    memset(encoding->sequence_ids + encoding->length, piece->sequence, count);
    encoding->length = at;
}

/*
 * Which window of the text at the template's piece `index` stands in the encoding's window `window`. `tokenizers`
 * merges pieces from the left: each overflowing combination so far meets all windows of the next text, then what
 * truncation kept meets that text's overflowing windows.
 */
static size_t window_of_piece(const bert_encoding *encoding, size_t index, size_t window) {
    const bert_template *layout = encoding->layout;
    size_t overflow = window, chosen = 0; /* `overflow`: 0 is the main window, n the n-th overflowing one. */
    for (size_t i = layout->count; i-- > index;) {
        if (layout->pieces[i].special_id >= 0) continue;
        size_t here = encoding->plans[layout->pieces[i].sequence].count, before = 1;
        for (size_t j = 0; j < i; j++) {
            if (layout->pieces[j].special_id < 0) {
                before = saturating_product(before, encoding->plans[layout->pieces[j].sequence].count);
            }
        }
        if (overflow == 0) {
            chosen = 0;
        } else if (overflow - 1 < saturating_product(before - 1, here)) {
            chosen = (overflow - 1) % here;
            overflow = (overflow - 1) / here + 1;
        } else {
            chosen = overflow - (before - 1) * here;
            overflow = 0;
        }
    }
    return chosen;
}

static void pad(bert_encoding *encoding) {
    const bert_tokenizer *tokenizer = encoding->tokenizer;
    size_t length = encoding->length, missing = encoding->pad_to > length ? encoding->pad_to - length : 0,
           from = length;
    if (missing == 0) return;
    if (tokenizer->pad_left) {
        memmove(encoding->offsets + missing, encoding->offsets, length * sizeof *encoding->offsets);
        memmove(encoding->ids + missing, encoding->ids, length * sizeof *encoding->ids);
        memmove(encoding->type_ids + missing, encoding->type_ids, length * sizeof *encoding->type_ids);
        memmove(encoding->word_ids + missing, encoding->word_ids, length * sizeof *encoding->word_ids);
        memmove(encoding->attention_mask + missing, encoding->attention_mask, length);
        memmove(encoding->special_tokens_mask + missing, encoding->special_tokens_mask, length);
        memmove(encoding->sequence_ids + missing, encoding->sequence_ids, length);
        from = 0;
    }
    for (size_t i = 0; i < missing; i++) {
        put_special(encoding, from + i, tokenizer->pad_id, tokenizer->pad_type_id, false);
    }
    encoding->length += missing;
}

static void assemble(bert_encoding *encoding) {
    const bert_template *layout = encoding->layout;
    encoding->length = 0;
    for (size_t i = 0; i < layout->count; i++) {
        const bert_template_piece *piece = &layout->pieces[i];
        if (piece->special_id < 0) {
            put_window(encoding, piece, window_of_piece(encoding, i, encoding->window));
        } else if (encoding->special) {
            put_special(encoding, encoding->length++, piece->special_id, piece->type_id, true);
        }
    }
    pad(encoding);
}

static bert_status check_options(const bert_tokenizer *tokenizer, const bert_encode_options *options,
                                 bert_error *error) {
    if (options->struct_size != sizeof *options) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_encode_options.struct_size is %zu; %zu was expected",
                         options->struct_size, sizeof *options);
    }
    if (options->max_length < 0 || options->stride < 0 || options->pad_to < 0) {
        return bert_fail(error, BERT_INVALID_ARGUMENT,
                         "max_length (%lld), stride (%lld) and pad_to (%lld) must not be negative",
                         (long long)options->max_length, (long long)options->stride, (long long)options->pad_to);
    }
    if (options->truncation < BERT_TRUNCATION_NONE || options->truncation > BERT_TRUNCATION_ONLY_SECOND) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a truncation strategy", (int)options->truncation);
    }
    if (options->invalid_utf8 != BERT_INVALID_UTF8_ERROR && options->invalid_utf8 != BERT_INVALID_UTF8_REPLACE) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_invalid_utf8", (int)options->invalid_utf8);
    }
    return BERT_OK;
}

static bert_status encode(const bert_tokenizer *tokenizer, const char *text, size_t text_length, const char *pair,
                          size_t pair_length, const bert_encode_options *options, bert_encoding *encoding,
                          bert_error *error) {
    BERT_TRY(check_options(tokenizer, options, error));
    encoding->tokenizer = tokenizer;
    encoding->layout = pair ? &tokenizer->pair : &tokenizer->single;
    encoding->special = !options->no_special_tokens;
    if ((uint64_t)options->pad_to > SIZE_MAX) return bert_fail_memory(error, SIZE_MAX, "an encoding");
    encoding->pad_to = (size_t)options->pad_to;
    BERT_TRY(bert_tokenize(tokenizer, text, text_length, "text", options->invalid_utf8, &encoding->scratch,
                           &encoding->tokens[0], error));
    encoding->tokens[1].count = 0;
    if (pair) {
        BERT_TRY(bert_tokenize(tokenizer, pair, pair_length, "pair", options->invalid_utf8, &encoding->scratch,
                               &encoding->tokens[1], error));
    }
    BERT_TRY(plan_windows(encoding, pair != NULL, options, error));
    BERT_TRY(reserve_output(encoding, error));
    assemble(encoding);
    return BERT_OK;
}

bert_status bert_tokenizer_encode(const bert_tokenizer *tokenizer, const char *text, size_t text_length,
                                  const char *pair, size_t pair_length, const bert_encode_options *options,
                                  bert_encoding *encoding, bert_error *error) {
    static const bert_encode_options defaults = {.struct_size = sizeof(bert_encode_options)};
    if (!tokenizer || !encoding || (!text && text_length)) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_encode: %s is NULL",
                         !tokenizer  ? "tokenizer"
                         : !encoding ? "encoding"
                                     : "text");
    }
    encoding->window = encoding->windows = encoding->length = 0;
    bert_status status =
        encode(tokenizer, text, text_length, pair, pair_length, options ? options : &defaults, encoding, error);
    if (status != BERT_OK) encoding->windows = encoding->length = 0;
    return status;
}

bool bert_encoding_next(bert_encoding *encoding) {
    if (!encoding || encoding->window + 1 >= encoding->windows) return false;
    encoding->window++;
    assemble(encoding);
    return true;
}

bert_encoding_view bert_encoding_get(const bert_encoding *encoding) {
    if (!encoding) return (bert_encoding_view){0};
    return (bert_encoding_view){
        .length = encoding->length,
        .ids = encoding->ids,
        .type_ids = encoding->type_ids,
        .attention_mask = encoding->attention_mask,
        .special_tokens_mask = encoding->special_tokens_mask,
        .offsets = (const int64_t(*)[2])encoding->offsets,
        .word_ids = encoding->word_ids,
        .sequence_ids = encoding->sequence_ids,
    };
}
