/* Text to token ids as BertTokenizerFast makes them, and back. */
#ifndef BERT_TOKENIZER_H
#define BERT_TOKENIZER_H

#include <bert/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A loaded tokenizer: immutable, usable from any number of threads at once. */
typedef struct bert_tokenizer bert_tokenizer;

/** What encoding one text gave: parallel arrays. Reused from call to call; one per thread. */
typedef struct bert_encoding bert_encoding;

typedef enum bert_truncation {
    BERT_TRUNCATION_NONE = 0,          /**< A text that is too long is left long. */
    BERT_TRUNCATION_LONGEST_FIRST = 1, /**< Cuts the longer of a pair until it fits, as `tokenizers` does. */
    BERT_TRUNCATION_ONLY_FIRST = 2,
    BERT_TRUNCATION_ONLY_SECOND = 3
} bert_truncation;

typedef enum bert_invalid_utf8 {
    BERT_INVALID_UTF8_ERROR = 0,  /**< BERT_INVALID_INPUT with the byte's position. */
    BERT_INVALID_UTF8_REPLACE = 1 /**< U+FFFD as Python's errors='replace' puts it. */
} bert_invalid_utf8;

/** Options of loading. Set `struct_size`, zero the rest for the defaults. */
typedef struct bert_tokenizer_options {
    size_t struct_size; /**< sizeof(bert_tokenizer_options) */
    const bert_allocator *allocator;
    const bert_log *log; /**< Notices: a vocabulary line that stands twice, say. */
} bert_tokenizer_options;

/**
 * Loads the tokenizer of a folder as BertTokenizerFast.from_pretrained puts it together: `tokenizer.json`, else
 * `vocab.txt`; with `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` where present. Only a
 * tokenizer.json without any of these is taken as it stands, its normalizer and vocabulary too, as `tokenizers` does.
 * BERT_IO_ERROR when there is neither, BERT_INVALID_MODEL when a file is malformed or has no [UNK],
 * BERT_UNSUPPORTED when tokenizer.json is not a WordPiece BERT tokenizer. Free with bert_tokenizer_free.
 */
BERT_API bert_status bert_tokenizer_load(const char *folder, const bert_tokenizer_options *options,
                                         bert_tokenizer **out, bert_error *error);

/** The bytes of the files that bert_tokenizer_load would read; `data` NULL for one that is absent. */
typedef struct bert_tokenizer_files {
    size_t struct_size;
    struct {
        const char *data;
        size_t size; /**< Bytes. */
    } tokenizer_json, vocab_txt, tokenizer_config_json, special_tokens_map_json, added_tokens_json;
} bert_tokenizer_files;

/** The same from memory; the bytes may go when the call returns. */
BERT_API bert_status bert_tokenizer_load_memory(const bert_tokenizer_files *files,
                                                const bert_tokenizer_options *options, bert_tokenizer **out,
                                                bert_error *error);
BERT_API void bert_tokenizer_free(bert_tokenizer *tokenizer);

/** Tokens in the vocabulary, added ones included: the greatest id + 1. */
BERT_API int32_t bert_tokenizer_vocabulary_size(const bert_tokenizer *tokenizer);
/** The token's text (UTF-8, NUL-terminated; may hold NUL bytes: see `length`), NULL for an id that is not there. */
BERT_API const char *bert_tokenizer_token(const bert_tokenizer *tokenizer, int32_t id, size_t *length);
/** The id of a token's text, -1 when there is none. */
BERT_API int32_t bert_tokenizer_id(const bert_tokenizer *tokenizer, const char *token, size_t length);
/** `model_max_length`; INT64_MAX where it is absent or beyond (1e30 is how Hugging Face writes 'none'). */
BERT_API int64_t bert_tokenizer_model_max_length(const bert_tokenizer *tokenizer);
/** The [PAD], [CLS], [SEP], [MASK], [UNK] ids; -1 where the vocabulary has none. */
typedef struct bert_special_ids {
    int32_t pad, cls, sep, mask, unk;
} bert_special_ids;
BERT_API bert_special_ids bert_tokenizer_special_ids(const bert_tokenizer *tokenizer);

/** How to encode. Set `struct_size`, zero the rest for the defaults. */
typedef struct bert_encode_options {
    size_t struct_size;
    bool no_special_tokens; /**< Leave out [CLS] and [SEP]. */
    bert_truncation truncation;
    int64_t max_length; /**< Tokens, special ones included; 0 means the tokenizer's model_max_length. */
    int64_t stride;     /**< Tokens that an overflowing window shares with the one before; see bert_encoding_next. */
    int64_t pad_to;     /**< Pads on the tokenizer's padding side to this many tokens; 0 pads nothing. */
    bert_invalid_utf8 invalid_utf8;
} bert_encode_options;

BERT_API bert_status bert_encoding_create(const bert_tokenizer *tokenizer, bert_encoding **out, bert_error *error);
BERT_API void bert_encoding_free(bert_encoding *encoding);

/**
 * Encodes a text, or a pair when `pair` is not NULL. Lengths in bytes; NUL bytes are text. The arrays of `encoding`
 * live until its next use; `tokenizer` outlives its windows. `options` NULL means the defaults. BERT_INVALID_INPUT: not
 * UTF-8, or truncation that can't reach max_length. After a failure the encoding holds no tokens. No allocation once it
 * has held texts as long of the same kind: marks to be sorted and broken UTF-8 take room of their own.
 */
BERT_API bert_status bert_tokenizer_encode(const bert_tokenizer *tokenizer, const char *text, size_t text_length,
                                           const char *pair, size_t pair_length, const bert_encode_options *options,
                                           bert_encoding *encoding, bert_error *error);

/** Steps to the next window of a text that truncation cut (the overflowing encodings of `tokenizers`); false: none. */
BERT_API bool bert_encoding_next(bert_encoding *encoding);

/** The arrays of an encoding, each of `length` elements, owned by the encoding. */
typedef struct bert_encoding_view {
    size_t length;
    const int32_t *ids;
    const int32_t *type_ids;
    const uint8_t *attention_mask;
    const uint8_t *special_tokens_mask;
    const int64_t (*offsets)[2]; /**< Start and end in code points of the text (of its own text, for a pair). */
    const int32_t *word_ids;     /**< Index of the word in its text; -1 for special tokens. */
    const int8_t *sequence_ids;  /**< 0 text, 1 pair, -1 special tokens and padding. */
} bert_encoding_view;
BERT_API bert_encoding_view bert_encoding_get(const bert_encoding *encoding);

/**
 * Ids back to text as BertTokenizerFast.decode(ids, skip_special_tokens, clean_up_tokenization_spaces). Writes at most
 * `capacity` bytes with a terminating NUL and returns the full length in bytes (without the NUL), as snprintf does.
 * Ids that are not in the vocabulary are skipped.
 */
BERT_API size_t bert_tokenizer_decode(const bert_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                      bool skip_special_tokens, bool clean_up_spaces, char *out, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
