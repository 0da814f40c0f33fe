/* Putting a tokenizer together from its files. */
#ifndef BERT_TOKENIZER_LOAD_H
#define BERT_TOKENIZER_LOAD_H

#include "core/base/json.h"
#include "tokenizer/internal.h"

/** The special tokens that BertTokenizerFast knows by name, in the order in which transformers adds them. */
typedef enum bert_special_name {
    BERT_SPECIAL_BOS,
    BERT_SPECIAL_EOS,
    BERT_SPECIAL_UNK,
    BERT_SPECIAL_SEP,
    BERT_SPECIAL_PAD,
    BERT_SPECIAL_CLS,
    BERT_SPECIAL_MASK,
    BERT_SPECIAL_COUNT
} bert_special_name;

/** The bytes of a file under its name. */
typedef struct bert_source {
    const char *name;
    const char *data; /**< NULL: the file is not there. */
    size_t size;
} bert_source;

/** Whose defaults hold for what no file says: BertTokenizerFast's, or MPNetTokenizerFast's (WordPiece as BERT's, with
 * RoBERTa's tokens around texts). */
typedef enum bert_tokenizer_class { BERT_CLASS_BERT, BERT_CLASS_MPNET, BERT_CLASS_COUNT } bert_tokenizer_class;

/** What is known while loading. */
typedef struct bert_load {
    bert_tokenizer *tokenizer;
    bert_arena *scratch; /**< For JSON; freed when loading ends. */
    const bert_log *log;
    bert_source tokenizer_json, vocab_txt, config, special_map, added_json;
    const bert_json *config_root, *special_root, *added_root; /**< NULL when absent. */
    const bert_json *tokenizer_added;                         /**< "added_tokens" of tokenizer.json, or NULL. */
    bert_tokenizer_class class; /**< That tokenizer_config.json names; bert_load_settings finds it. */
    bool lifted;                /**< The vocabulary was taken from tokenizer.json already. */
    const char *unk_token;      /**< NUL-terminated. */
    size_t unk_length;
} bert_load;

/** vocab.txt: the vocabulary, a token a line, its id the number of the line. */
bert_status bert_load_vocabulary_text(bert_load *load, bert_error *error);
/**
 * Adds the tokens of model.vocab to the vocabulary where tokenizer.json spells them plainly, and tells where its object
 * stands in the file. *begin is NULL, and no token added, where it does not: that says nothing about the file.
 */
bert_status bert_lift_vocabulary(bert_load *load, const char **begin, const char **end, bert_error *error);
/** Takes back what that added. */
void bert_drop_vocabulary(bert_load *load);
/** The "model" of tokenizer.json. */
bert_status bert_load_vocabulary_json(bert_load *load, const bert_json *model, bert_error *error);
/** All of tokenizer.json. */
bert_status bert_load_tokenizer_json(bert_load *load, bert_error *error);
/** The settings of tokenizer_config.json, over those that tokenizer.json left. */
bert_status bert_load_settings(bert_load *load, bert_error *error);
/** Added and special tokens of all files. Needs the vocabulary and the settings. */
bert_status bert_load_added_tokens(bert_load *load, bert_error *error);
/**
 * What stands around texts: of BERT [CLS] A [SEP] and [CLS] A [SEP] B [SEP], of RoBERTa <s> A </s> and <s> A </s></s> B
 * </s>, of type 0 everywhere. MPNet's are RoBERTa's tokens with BERT's types, as transformers makes them from
 * vocab.txt.
 */
typedef enum bert_template_kind { BERT_TEMPLATE_BERT, BERT_TEMPLATE_ROBERTA, BERT_TEMPLATE_MPNET } bert_template_kind;
/** Makes the tokenizer's templates. */
bert_status bert_load_templates(bert_load *load, bert_template_kind kind, int32_t cls, int32_t sep, bert_error *error);
/** A boolean member; `otherwise` when absent or null. BERT_INVALID_MODEL when it is something else. */
bert_status bert_load_boolean(const char *file, const bert_json *object, const char *key, bool otherwise, bool *out,
                              bert_error *error);

#endif
