#include "pipelines/model_config.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

/* More labels than any classifier has: a bound on what a hostile file makes us allocate. */
#define MAX_LABELS 1000000

static bert_status wrong(const char *path, const char *what, bert_error *error) {
    return bert_fail(error, BERT_INVALID_MODEL, "%s: %s", path, what);
}

/* The number that a key of id2label is, -1 when it is none. */
static int64_t label_id(const bert_json *label) {
    int64_t id = 0;
    for (size_t i = 0; i < label->key_length; i++) {
        char digit = label->key[i];
        if (digit < '0' || digit > '9' || id >= MAX_LABELS) return -1;
        id = 10 * id + (digit - '0');
    }
    return label->key_length > 0 && id < MAX_LABELS ? id : -1;
}

static bert_status take_labels(bert_model_config *config, const bert_json *id2label, const char *path,
                               bert_error *error) {
    if (!id2label || id2label->type == BERT_JSON_NULL) return BERT_OK;
    if (id2label->type != BERT_JSON_OBJECT) return wrong(path, "id2label is not an object", error);
    size_t count = 0;
    for (const bert_json *label = id2label->first; label; label = label->next) {
        int64_t id = label_id(label);
        if (id < 0) return wrong(path, "a key of id2label is not a number", error);
        if (label->type != BERT_JSON_STRING) return wrong(path, "a label in id2label is not a string", error);
        if ((size_t)id >= count) count = (size_t)id + 1;
    }
    config->labels = BERT_ARENA_NEW_ARRAY(&config->arena, const char *, count);
    if (!config->labels) return bert_fail_memory(error, count * sizeof *config->labels, "the labels");
    config->label_count = count;
    for (const bert_json *label = id2label->first; label; label = label->next) {
        char *copy = bert_arena_string(&config->arena, label->text, label->length);
        if (!copy) return bert_fail_memory(error, label->length, "a label");
        config->labels[label_id(label)] = copy;
    }
    return BERT_OK;
}

static bert_status take_problem_type(bert_model_config *config, const bert_json *type, const char *path,
                                     bert_error *error) {
    static const char *const names[] = {NULL, "single_label_classification", "multi_label_classification",
                                        "regression"};
    if (!type || type->type == BERT_JSON_NULL) return BERT_OK;
    for (int i = 1; i < 4; i++) {
        if (bert_json_is_string(type, names[i])) {
            config->problem_type = (bert_problem_type)i;
            return BERT_OK;
        }
    }
    return wrong(path, "problem_type is none of single_label_classification, multi_label_classification and regression",
                 error);
}

static bert_status take_root(bert_model_config *config, const bert_json *root, const char *path, bert_error *error) {
    if (root->type != BERT_JSON_OBJECT) return wrong(path, "the file is not a JSON object", error);
    BERT_TRY(take_labels(config, bert_json_get(root, "id2label"), path, error));
    BERT_TRY(take_problem_type(config, bert_json_get(root, "problem_type"), path, error));
    const bert_json *positions = bert_json_get(root, "max_position_embeddings");
    int64_t count = 0;
    if (positions && positions->type != BERT_JSON_NULL && !bert_json_integer(positions, &count)) {
        return wrong(path, "max_position_embeddings is not a whole number", error);
    }
    /* Families without absolute positions write -1. */
    config->max_position_embeddings = count > 0 ? count : 0;
    return BERT_OK;
}

/* The parsed values live as long as `arena`, which holds more than what is kept. */
static bert_status parse(bert_model_config *config, const bert_file *file, const char *path, bert_arena *arena,
                         bert_error *error) {
    const bert_json *root;
    BERT_TRY(bert_json_parse((const char *)file->data, file->size, path, arena, &root, error));
    return take_root(config, root, path, error);
}

bert_status bert_model_config_load(const char *path, const bert_allocator *allocator, bert_model_config *out,
                                   bert_error *error) {
    bert_model_config config = {0};
    bert_arena_init(&config.arena, allocator);
    if (!path) {
        *out = config;
        return BERT_OK;
    }
    bert_file file;
    bert_arena scratch;
    BERT_TRY(bert_file_open(path, false, allocator, &file, error));
    bert_arena_init(&scratch, allocator);
    bert_status status = parse(&config, &file, path, &scratch, error);
    bert_arena_free(&scratch);
    bert_file_close(&file);
    if (status != BERT_OK) {
        bert_model_config_free(&config);
        return status;
    }
    *out = config;
    return BERT_OK;
}

void bert_model_config_free(bert_model_config *config) {
    bert_arena_free(&config->arena);
    *config = (bert_model_config){0};
}
