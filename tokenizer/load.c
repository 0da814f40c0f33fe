/* The public side of loading: files to memory, memory to a tokenizer. */
#include "tokenizer/load.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void bert_tokenizer_free(bert_tokenizer *tokenizer) {
    if (!tokenizer) return;
    bert_normalizer_free(tokenizer->normalizer);
    bert_added_tokens_free(&tokenizer->added);
    bert_pieces_free(&tokenizer->pieces);
    bert_vocabulary_free(&tokenizer->vocabulary);
    bert_deallocate(tokenizer->allocator, tokenizer->vocabulary_text, tokenizer->vocabulary_text_bytes, BERT_ALIGNMENT);
    bert_arena_free(&tokenizer->arena);
    bert_deallocate(tokenizer->allocator, tokenizer, sizeof *tokenizer, BERT_ALIGNMENT);
}

static bert_status parse(bert_load *load, const bert_source *source, const bert_json **out, bert_error *error) {
    *out = NULL;
    if (!source->data) return BERT_OK;
    BERT_TRY(bert_json_parse(source->data, source->size, source->name, load->scratch, out, error));
    if ((*out)->type == BERT_JSON_OBJECT) return BERT_OK;
    return bert_fail(error, BERT_INVALID_MODEL, "%s: holds %s where an object was expected", source->name,
                     bert_json_type_name(*out));
}

/* The greatest id + 1, of the vocabulary and of what was added. */
static int32_t count_ids(const bert_tokenizer *tokenizer) {
    const bert_vocabulary *vocabulary = &tokenizer->vocabulary;
    int32_t greatest = vocabulary->entry_count ? vocabulary->entries[vocabulary->entry_count - 1].id : -1;
    return (tokenizer->added.greatest_id > greatest ? tokenizer->added.greatest_id : greatest) + 1;
}

static bert_status load_parts(bert_load *load, bert_error *error) {
    bert_tokenizer *tokenizer = load->tokenizer;
    BERT_TRY(parse(load, &load->config, &load->config_root, error));
    BERT_TRY(parse(load, &load->special_map, &load->special_root, error));
    BERT_TRY(parse(load, &load->added_json, &load->added_root, error));
    if (load->tokenizer_json.data) {
        BERT_TRY(bert_load_tokenizer_json(load, error));
    } else {
        BERT_TRY(bert_load_vocabulary_text(load, error));
    }
    BERT_TRY(bert_load_settings(load, error));
    tokenizer->unk_id = bert_vocabulary_id(&tokenizer->vocabulary, load->unk_token, load->unk_length);
    if (tokenizer->unk_id < 0) {
        const char *file = load->tokenizer_json.data ? load->tokenizer_json.name : load->vocab_txt.name;
        return bert_fail(error, BERT_INVALID_MODEL, "%s: the vocabulary has no %s, the token for unknown words", file,
                         load->unk_token);
    }
    BERT_TRY(bert_load_added_tokens(load, error));
    if (!load->tokenizer_json.data) {
        bert_template_kind kind = load->class == BERT_CLASS_MPNET ? BERT_TEMPLATE_MPNET : BERT_TEMPLATE_BERT;
        BERT_TRY(bert_load_templates(load, kind, tokenizer->special.cls, tokenizer->special.sep, error));
    }
    /* Only added tokens that are looked for in normalized text can tell spaces around Chinese characters. */
    BERT_TRY(bert_normalizer_create(&tokenizer->settings, true, tokenizer->allocator, &tokenizer->normalizer, error));
    BERT_TRY(bert_added_tokens_finish(&tokenizer->added, tokenizer->normalizer, error));
    tokenizer->size = count_ids(tokenizer);
    return BERT_OK;
}

static bert_status load_sources(bert_load *load, const bert_allocator *allocator, bert_tokenizer **out,
                                bert_error *error) {
    if (!load->tokenizer_json.data && !load->vocab_txt.data) {
        return bert_fail(error, BERT_IO_ERROR, "there is neither tokenizer.json nor vocab.txt");
    }
    bert_tokenizer *tokenizer = bert_allocate(allocator, sizeof *tokenizer, BERT_ALIGNMENT);
    if (!tokenizer) return bert_fail_memory(error, sizeof *tokenizer, "the tokenizer");
    *tokenizer = (bert_tokenizer){.allocator = allocator, .model_max_length = INT64_MAX, .max_word = 100};
    bert_arena_init(&tokenizer->arena, allocator);
    bert_vocabulary_init(&tokenizer->vocabulary, allocator);
    bert_pieces_init(&tokenizer->pieces, allocator);
    bert_added_tokens_init(&tokenizer->added, &tokenizer->arena, allocator);
    bert_arena scratch;
    bert_arena_init(&scratch, allocator);
    load->tokenizer = tokenizer;
    load->scratch = &scratch;
    bert_status status = load_parts(load, error);
    bert_arena_free(&scratch);
    if (status == BERT_OK) {
        *out = tokenizer;
    } else {
        bert_tokenizer_free(tokenizer);
    }
    return status;
}

static bert_status check_options(const bert_tokenizer_options *options, bert_error *error) {
    if (!options || options->struct_size == sizeof *options) return BERT_OK;
    return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_options.struct_size is %zu; %zu was expected",
                     options->struct_size, sizeof *options);
}

/* An empty file is there all the same. */
static bert_source source_of(const char *name, const char *data, size_t size) {
    return (bert_source){.name = name, .data = data, .size = data ? size : 0};
}

bert_status bert_tokenizer_load_memory(const bert_tokenizer_files *files, const bert_tokenizer_options *options,
                                       bert_tokenizer **out, bert_error *error) {
    if (!out) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_load_memory: out is NULL");
    *out = NULL;
    if (!files) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_load_memory: files is NULL");
    if (files->struct_size != sizeof *files) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_files.struct_size is %zu; %zu was expected",
                         files->struct_size, sizeof *files);
    }
    BERT_TRY(check_options(options, error));
    bert_load load = {
        .log = options ? options->log : NULL,
        .tokenizer_json = source_of("tokenizer.json", files->tokenizer_json.data, files->tokenizer_json.size),
        .vocab_txt = source_of("vocab.txt", files->vocab_txt.data, files->vocab_txt.size),
        .config =
            source_of("tokenizer_config.json", files->tokenizer_config_json.data, files->tokenizer_config_json.size),
        .special_map = source_of("special_tokens_map.json", files->special_tokens_map_json.data,
                                 files->special_tokens_map_json.size),
        .added_json = source_of("added_tokens.json", files->added_tokens_json.data, files->added_tokens_json.size),
    };
    return load_sources(&load, options ? options->allocator : NULL, out, error);
}

enum { FILE_COUNT = 5 };

static const char *const file_names[FILE_COUNT] = {"tokenizer.json", "vocab.txt", "tokenizer_config.json",
                                                   "special_tokens_map.json", "added_tokens.json"};

/* Maps the file when it is there; a file that is not leaves data NULL. */
static bert_status open_source(bert_arena *names, const char *folder, const char *name, const bert_allocator *allocator,
                               bert_file *file, bert_source *source, bert_error *error) {
    char *path = bert_arena_format(names, "%s/%s", folder, name);
    if (!path) return bert_fail_memory(error, strlen(folder) + strlen(name) + 2, "the path of a file");
    *source = (bert_source){.name = path};
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) return BERT_OK;
    BERT_TRY(bert_file_open(path, true, allocator, file, error));
    source->data = file->size ? (const char *)file->data : "";
    source->size = file->size;
    return BERT_OK;
}

bert_status bert_tokenizer_load(const char *folder, const bert_tokenizer_options *options, bert_tokenizer **out,
                                bert_error *error) {
    if (!out) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_load: out is NULL");
    *out = NULL;
    if (!folder) return bert_fail(error, BERT_INVALID_ARGUMENT, "bert_tokenizer_load: folder is NULL");
    BERT_TRY(check_options(options, error));
    const bert_allocator *allocator = options ? options->allocator : NULL;
    bert_load load = {.log = options ? options->log : NULL};
    bert_source *sources[FILE_COUNT] = {&load.tokenizer_json, &load.vocab_txt, &load.config, &load.special_map,
                                        &load.added_json};
    bert_file files[FILE_COUNT] = {{0}};
    bert_arena names;
    bert_arena_init(&names, allocator);
    bert_status status = BERT_OK;
    for (int i = 0; i < FILE_COUNT && status == BERT_OK; i++) {
        status = open_source(&names, folder, file_names[i], allocator, &files[i], sources[i], error);
    }
    if (status == BERT_OK && !load.tokenizer_json.data && !load.vocab_txt.data) {
        status = bert_fail(error, BERT_IO_ERROR, "%s: has neither tokenizer.json nor vocab.txt", folder);
    }
    if (status == BERT_OK) status = load_sources(&load, allocator, out, error);
    for (int i = 0; i < FILE_COUNT; i++) bert_file_close(&files[i]);
    bert_arena_free(&names);
    return status;
}
