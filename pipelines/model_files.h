/* Finds what belongs to a model: the .onnx file, its tokenizer's folder, its config.json. */
#ifndef BERT_PIPELINES_MODEL_FILES_H
#define BERT_PIPELINES_MODEL_FILES_H

#include "core/base/memory.h"

/** Paths, in the caller's arena. */
typedef struct bert_model_files {
    const char *model;            /**< The .onnx file. */
    const char *tokenizer_folder; /**< That holds tokenizer.json or vocab.txt; NULL when there is none. */
    const char *config;           /**< config.json; NULL when there is none. */
    const char *tokenizer_config; /**< tokenizer_config.json in the tokenizer's folder; NULL when there is none. */
    const char *modules;          /**< sentence-transformers' modules.json, looked for as config.json is; or NULL. */
    const char *sentence_config;  /**< sentence_bert_config.json beside it, or NULL. */
} bert_model_files;

/**
 * `model` is a .onnx file, or a folder with model.onnx or else onnx/model.onnx. Tokenizer and config.json are looked
 * for beside the file, then in its parent folder; `tokenizer_folder` (may be NULL) takes the tokenizer from elsewhere,
 * and config.json too where the model has none of its own. BERT_IO_ERROR when there is no model, or no tokenizer in a
 * `tokenizer_folder` that was given.
 */
bert_status bert_model_files_find(const char *model, const char *tokenizer_folder, bert_arena *arena,
                                  bert_model_files *out, bert_error *error);

/** The tokenizer's folder alone: `model` may then be a folder without any .onnx file. BERT_IO_ERROR: there is none. */
bert_status bert_tokenizer_folder_find(const char *model, const char *tokenizer_folder, bert_arena *arena,
                                       const char **out, bert_error *error);

/** BERT_IO_ERROR with the places that were searched: for a model whose files lack a tokenizer that is needed. */
bert_status bert_model_files_no_tokenizer(const char *model, bert_error *error);

#endif
