#include "pipelines/model_files.h"

#include "core/base/error.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

typedef enum path_kind { PATH_MISSING, PATH_FOLDER, PATH_OTHER } path_kind;

static path_kind kind_of(const char *path) {
    struct stat status;
    if (stat(path, &status)) return PATH_MISSING;
    return S_ISDIR(status.st_mode) ? PATH_FOLDER : PATH_OTHER;
}

/* The path of `name` in `folder` when there is such a file, else NULL. */
static bert_status file_in(bert_arena *arena, const char *folder, const char *name, const char **out,
                           bert_error *error) {
    const char *path = bert_arena_format(arena, "%s/%s", folder, name);
    if (!path) return bert_fail_memory(error, strlen(folder) + strlen(name) + 2, "the path of a file");
    *out = kind_of(path) == PATH_OTHER ? path : NULL;
    return BERT_OK;
}

static bert_status holds_tokenizer(bert_arena *arena, const char *folder, bool *out, bert_error *error) {
    const char *path = NULL;
    BERT_TRY(file_in(arena, folder, "tokenizer.json", &path, error));
    if (!path) BERT_TRY(file_in(arena, folder, "vocab.txt", &path, error));
    *out = path != NULL;
    return BERT_OK;
}

/* The folder that a file lies in. */
static const char *folder_of(bert_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return ".";
    return slash == path ? "/" : bert_arena_string(arena, path, (size_t)(slash - path));
}

/* Beside the model's file, then one folder up. */
static bool places_of(bert_arena *arena, const char *model_file, const char *places[2]) {
    places[0] = folder_of(arena, model_file);
    places[1] = places[0] ? bert_arena_format(arena, "%s/..", places[0]) : NULL;
    return places[1];
}

static bert_status find_model(const char *model, bert_arena *arena, const char **out, bert_error *error) {
    switch (kind_of(model)) {
    case PATH_MISSING:
        return bert_fail(error, BERT_IO_ERROR, "cannot find the model '%s': %s", model, strerror(errno));
    case PATH_OTHER:
        *out = model;
        return BERT_OK;
    case PATH_FOLDER:
        break;
    }
    const char *path = NULL;
    BERT_TRY(file_in(arena, model, "model.onnx", &path, error));
    if (!path) BERT_TRY(file_in(arena, model, "onnx/model.onnx", &path, error));
    if (!path) {
        return bert_fail(error, BERT_IO_ERROR, "the folder '%s' holds neither model.onnx nor onnx/model.onnx", model);
    }
    *out = path;
    return BERT_OK;
}

static bert_status check_tokenizer_folder(const char *folder, bert_arena *arena, bert_error *error) {
    bool holds = false;
    BERT_TRY(holds_tokenizer(arena, folder, &holds, error));
    if (holds) return BERT_OK;
    return bert_fail(error, BERT_IO_ERROR, "the tokenizer's folder '%s' holds neither tokenizer.json nor vocab.txt",
                     folder);
}

bert_status bert_model_files_find(const char *model, const char *tokenizer_folder, bert_arena *arena,
                                  bert_model_files *out, bert_error *error) {
    bert_model_files files = {0};
    const char *places[2];
    BERT_TRY(find_model(model, arena, &files.model, error));
    if (!places_of(arena, files.model, places)) return bert_fail_memory(error, strlen(model), "the model's path");
    for (int i = 1; i >= 0; i--) {
        bool holds = false;
        BERT_TRY(holds_tokenizer(arena, places[i], &holds, error));
        if (holds) files.tokenizer_folder = places[i];
        const char *config;
        BERT_TRY(file_in(arena, places[i], "config.json", &config, error));
        if (config) files.config = config;
        const char *modules;
        BERT_TRY(file_in(arena, places[i], "modules.json", &modules, error));
        if (!modules) continue;
        files.modules = modules;
        BERT_TRY(file_in(arena, places[i], "sentence_bert_config.json", &files.sentence_config, error));
    }
    if (tokenizer_folder) {
        BERT_TRY(check_tokenizer_folder(tokenizer_folder, arena, error));
        files.tokenizer_folder = tokenizer_folder;
        if (!files.config) BERT_TRY(file_in(arena, tokenizer_folder, "config.json", &files.config, error));
    }
    if (files.tokenizer_folder) {
        BERT_TRY(file_in(arena, files.tokenizer_folder, "tokenizer_config.json", &files.tokenizer_config, error));
    }
    *out = files;
    return BERT_OK;
}

bert_status bert_tokenizer_folder_find(const char *model, const char *tokenizer_folder, bert_arena *arena,
                                       const char **out, bert_error *error) {
    if (tokenizer_folder) {
        BERT_TRY(check_tokenizer_folder(tokenizer_folder, arena, error));
        *out = tokenizer_folder;
        return BERT_OK;
    }
    bool holds = false;
    if (kind_of(model) == PATH_FOLDER) BERT_TRY(holds_tokenizer(arena, model, &holds, error));
    if (holds) {
        *out = model;
        return BERT_OK;
    }
    bert_model_files files;
    BERT_TRY(bert_model_files_find(model, NULL, arena, &files, error));
    if (!files.tokenizer_folder) return bert_model_files_no_tokenizer(files.model, error);
    *out = files.tokenizer_folder;
    return BERT_OK;
}

bert_status bert_model_files_no_tokenizer(const char *model, bert_error *error) {
    return bert_fail(
        error, BERT_IO_ERROR,
        "there is no tokenizer.json or vocab.txt beside '%s' or one folder up; name the folder that has one", model);
}
