#include "pipelines/model_config.h"

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

#include <string.h>

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

/* A whole number above 0; families that have no such thing write -1 or null. */
static bert_status take_count(const bert_json *root, const char *key, int64_t *out, const char *path,
                              bert_error *error) {
    const bert_json *value = bert_json_get(root, key);
    int64_t count = 0;
    if (value && value->type != BERT_JSON_NULL && !bert_json_integer(value, &count)) {
        return bert_fail(error, BERT_INVALID_MODEL, "%s: %s is not a whole number", path, key);
    }
    *out = count > 0 ? count : 0;
    return BERT_OK;
}

static bert_status copy_string(bert_model_config *config, const bert_json *string, const char **out,
                               bert_error *error) {
    *out = bert_arena_string(&config->arena, string->text, string->length);
    return *out ? BERT_OK : bert_fail_memory(error, string->length, "a string of a model's configuration");
}

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Where CrossEncoder keeps its activation, in its newer and its older way. */
static void take_cross_encoder(bert_model_config *config, const bert_json *root) {
    const bert_json *activation = bert_json_get(bert_json_get(root, "sentence_transformers"), "activation_fn");
    if (!activation) activation = bert_json_get(root, "sbert_ce_default_activation_function");
    if (!activation || activation->type != BERT_JSON_STRING) return;
    if (ends_with(activation->text, ".Identity")) config->cross_encoder = BERT_SCORE_NONE;
    if (ends_with(activation->text, ".Sigmoid")) config->cross_encoder = BERT_SCORE_SIGMOID;
}

/* Families that count positions from behind the padding's id on: so many of their position embeddings no token reaches.
 */
static int64_t unreached_positions(const bert_json *root) {
    static const char *const families[] = {"roberta", "xlm-roberta", "camembert"};
    const bert_json *type = bert_json_get(root, "model_type");
    if (bert_json_is_string(type, "mpnet")) return 2; /* padding's place is 1 there, whatever the config says */
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (!bert_json_is_string(type, families[i])) continue;
        int64_t padding = 1;
        return bert_json_integer(bert_json_get(root, "pad_token_id"), &padding) && padding >= 0 ? padding + 1 : 2;
    }
    return 0;
}

static bert_status take_config(bert_model_config *config, const bert_json *root, const char *path, bert_error *error) {
    if (root->type != BERT_JSON_OBJECT) return wrong(path, "the file is not a JSON object", error);
    BERT_TRY(take_labels(config, bert_json_get(root, "id2label"), path, error));
    BERT_TRY(take_problem_type(config, bert_json_get(root, "problem_type"), path, error));
    BERT_TRY(take_count(root, "max_position_embeddings", &config->positions, path, error));
    const int64_t unreached = unreached_positions(root);
    config->positions = config->positions > unreached ? config->positions - unreached : 0;
    BERT_TRY(take_count(root, "vocab_size", &config->vocab_size, path, error));
    BERT_TRY(take_count(root, "hidden_size", &config->hidden_size, path, error));
    const bert_json *architectures = bert_json_get(root, "architectures");
    if (architectures && architectures->type == BERT_JSON_ARRAY && architectures->first &&
        architectures->first->type == BERT_JSON_STRING) {
        BERT_TRY(copy_string(config, architectures->first, &config->architecture, error));
    }
    take_cross_encoder(config, root);
    return BERT_OK;
}

static bert_status take_tokenizer(bert_model_config *config, const bert_json *root, const char *path,
                                  bert_error *error) {
    const bert_json *clean = bert_json_get(root, "clean_up_tokenization_spaces");
    config->clean_up_spaces = clean && clean->type == BERT_JSON_TRUE;
    return BERT_OK;
}

static bert_status take_sentence(bert_model_config *config, const bert_json *root, const char *path,
                                 bert_error *error) {
    return take_count(root, "max_seq_length", &config->sentence_length, path, error);
}

static const struct {
    const char *flag, *name; /* As 1_Pooling/config.json writes it, in its older and its newer way. */
    bert_pooling pooling;    /* DEFAULT: known, but not computed here. */
} pooling_modes[] = {{"pooling_mode_cls_token", "cls", BERT_POOLING_CLS},
                     {"pooling_mode_mean_tokens", "mean", BERT_POOLING_MEAN},
                     {"pooling_mode_max_tokens", "max", BERT_POOLING_MAX},
                     {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", BERT_POOLING_DEFAULT},
                     {"pooling_mode_weightedmean_tokens", "weightedmean", BERT_POOLING_DEFAULT},
                     {"pooling_mode_lasttoken", "lasttoken", BERT_POOLING_DEFAULT}};

static bert_status take_pooling(bert_model_config *config, const bert_json *root, const char *path, bert_error *error) {
    const bert_json *named = bert_json_get(root, "pooling_mode");
    size_t chosen = 0;
    const char *refused = NULL;
    for (size_t i = 0; i < sizeof pooling_modes / sizeof *pooling_modes; i++) {
        const bert_json *flag = bert_json_get(root, pooling_modes[i].flag);
        bool on = named ? bert_json_is_string(named, pooling_modes[i].name) : flag && flag->type == BERT_JSON_TRUE;
        if (!on) continue;
        chosen++;
        config->pooling = pooling_modes[i].pooling;
        if (config->pooling == BERT_POOLING_DEFAULT) refused = pooling_modes[i].name;
    }
    if (chosen == 1 && !refused) return BERT_OK;
    config->pooling = BERT_POOLING_MEAN;
    config->cannot_embed = bert_arena_format(&config->arena, "%s asks for %s; bert.c pools by cls, mean or max", path,
                                             refused       ? refused
                                             : chosen == 0 ? "no pooling that it knows"
                                                           : "several poolings side by side");
    return config->cannot_embed ? BERT_OK : bert_fail_memory(error, strlen(path), "a sentence");
}

typedef bert_status (*take_root)(bert_model_config *config, const bert_json *root, const char *path, bert_error *error);

/* `path` NULL: the file is not there. */
static bert_status load_file(bert_model_config *config, const char *path, take_root take, bert_error *error) {
    if (!path) return BERT_OK;
    bert_file file;
    bert_arena scratch;
    const bert_json *root;
    BERT_TRY(bert_file_open(path, false, config->arena.allocator, &file, error));
    bert_arena_init(&scratch, config->arena.allocator);
    bert_status status = bert_json_parse((const char *)file.data, file.size, path, &scratch, &root, error);
    if (status == BERT_OK) status = take(config, root, path, error);
    bert_arena_free(&scratch);
    bert_file_close(&file);
    return status;
}

/* modules.json names a pipeline of its own: Transformer, Pooling, Normalize. */
static bert_status take_modules(bert_model_config *config, const bert_json *root, const char *path, bert_error *error) {
    if (root->type != BERT_JSON_ARRAY) return wrong(path, "the file is not a JSON array", error);
    for (const bert_json *module = root->first; module; module = module->next) {
        const bert_json *type = bert_json_get(module, "type"), *folder = bert_json_get(module, "path");
        if (!type || type->type != BERT_JSON_STRING || !folder || folder->type != BERT_JSON_STRING) {
            return wrong(path, "a module has no type and path", error);
        }
        const char *class = strrchr(type->text, '.') ? strrchr(type->text, '.') + 1 : type->text;
        if (strcmp(class, "Pooling") == 0) {
            const char *slash = strrchr(path, '/');
            const char *file =
                bert_arena_format(&config->arena, "%.*s/%s/config.json", (int)(slash - path), path, folder->text);
            if (!file) return bert_fail_memory(error, folder->length, "a path");
            BERT_TRY(load_file(config, file, take_pooling, error));
        } else if (strcmp(class, "Normalize") == 0) {
            config->normalize = true;
        } else if (strcmp(class, "Transformer") != 0 && strcmp(class, "Dropout") != 0) {
            config->cannot_embed = bert_arena_format(
                &config->arena, "%s names a module %s, which bert.c does not compute", path, type->text);
            if (!config->cannot_embed) return bert_fail_memory(error, type->length, "a sentence");
        }
    }
    return BERT_OK;
}

bert_status bert_model_config_load(const bert_model_files *files, const bert_allocator *allocator,
                                   bert_model_config *out, bert_error *error) {
    bert_model_config config = {.architecture = ""};
    bert_arena_init(&config.arena, allocator);
    bert_status status = load_file(&config, files->config, take_config, error);
    if (status == BERT_OK) status = load_file(&config, files->tokenizer_config, take_tokenizer, error);
    if (status == BERT_OK) status = load_file(&config, files->modules, take_modules, error);
    if (status == BERT_OK) status = load_file(&config, files->sentence_config, take_sentence, error);
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
