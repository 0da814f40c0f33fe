#include "cli/case.h"

#include "cli/model_inputs.h"
#include "core/base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0;
}

/* Whether a name is PREFIX*ENDING. */
static bool matches(const char *name, const char *prefix, const char *ending) {
    size_t length = strlen(name);
    size_t before = strlen(prefix);
    size_t after = strlen(ending);
    return length >= before + after && memcmp(name, prefix, before) == 0 && strcmp(name + length - after, ending) == 0;
}

/* Names in a folder, numbers in them in their order: test_data_set_2 comes before test_data_set_10. */
static bert_status list(const char *folder, const char *prefix, const char *ending, bert_arena *arena,
                        const char ***out, size_t *count, bert_error *error) {
    struct dirent **entries;
    int found = scandir(folder, &entries, NULL, versionsort);
    if (found < 0) return bert_fail(error, BERT_IO_ERROR, "cannot list the folder '%s': %s", folder, strerror(errno));
    const char **names = BERT_ARENA_NEW_ARRAY(arena, const char *, (size_t)found + 1);
    bool failed = !names;
    size_t kept = 0;
    for (int i = 0; i < found; i++) {
        const char *name = entries[i]->d_name;
        if (!failed && name[0] != '.' && matches(name, prefix, ending)) {
            names[kept] = bert_arena_format(arena, "%s/%s", folder, name);
            failed = !names[kept++];
        }
        free(entries[i]);
    }
    free(entries);
    if (failed) return bert_fail_memory(error, (size_t)found * sizeof *names, "the names in a folder");
    *out = names;
    *count = kept;
    return BERT_OK;
}

/* The path without slashes at its end. */
static const char *trimmed(bert_arena *arena, const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return bert_arena_string(arena, path, length);
}

/* The folder that a path lies in; NULL when memory runs out. */
static const char *folder_of(bert_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == path) return "/";
    return slash ? bert_arena_string(arena, path, (size_t)(slash - path)) : ".";
}

static bert_status make_case(const char *folder, const char *parent, bert_arena *arena, bert_case *out,
                             bert_error *error) {
    const char *slash = strrchr(folder, '/');
    out->folder = folder;
    out->name = slash && slash[1] ? slash + 1 : folder;
    out->parent = parent;
    out->model = bert_arena_format(arena, "%s/model.onnx", folder);
    return out->model ? BERT_OK : bert_fail_memory(error, strlen(folder), "a path");
}

bert_status bert_cases_find(const char *path, bert_arena *arena, bert_case **out, size_t *count, bert_error *error) {
    const char *folder = trimmed(arena, path);
    const char *own_model = folder ? bert_arena_format(arena, "%s/model.onnx", folder) : NULL;
    if (!own_model) return bert_fail_memory(error, strlen(path), "a path");
    if (!is_folder(folder)) {
        return bert_fail(error, BERT_IO_ERROR, "'%s' is not a folder: a case is a folder with model.onnx", path);
    }
    const char **names = &folder;
    size_t found = 1;
    bool single = exists(own_model);
    if (!single) BERT_TRY(list(folder, "", "", arena, &names, &found, error));
    const char *above = folder_of(arena, folder);
    bert_case *cases = BERT_ARENA_NEW_ARRAY(arena, bert_case, found);
    if (!cases || !above) return bert_fail_memory(error, found * sizeof *cases, "cases");
    *count = 0;
    for (size_t i = 0; i < found; i++) {
        bert_case item;
        BERT_TRY(make_case(names[i], single ? above : folder, arena, &item, error));
        if (exists(item.model)) cases[(*count)++] = item;
    }
    if (*count == 0) {
        return bert_fail(error, BERT_IO_ERROR, "there is no case in '%s': no model.onnx in it or in its folders", path);
    }
    *out = cases;
    return BERT_OK;
}

bert_status bert_case_data_sets(const bert_case *item, bert_arena *arena, const char ***out, size_t *count,
                                bert_error *error) {
    return list(item->folder, "test_data_set_", "", arena, out, count, error);
}

void bert_case_tensors_free(bert_case_tensors *tensors) {
    for (size_t i = 0; i < tensors->count; i++) bert_owned_tensor_free(&tensors->items[i]);
    free(tensors->items);
    *tensors = (bert_case_tensors){0};
}

static bert_status read_all(const char *const *paths, size_t count, bert_case_tensors *out, bert_error *error) {
    out->items = calloc(count + 1, sizeof *out->items);
    if (!out->items) return bert_fail_memory(error, count * sizeof *out->items, "tensors");
    for (size_t i = 0; i < count; i++) {
        BERT_TRY(bert_tensor_file_read(paths[i], &out->items[i], error));
        out->count++;
    }
    return BERT_OK;
}

bert_status bert_case_files(const char *data_set, const char *prefix, bert_arena *arena, const char ***out,
                            size_t *count, bert_error *error) {
    return list(data_set, prefix, ".pb", arena, out, count, error);
}

bert_status bert_case_open(const char *path, bert_arena *arena, bert_case *out, bert_error *error) {
    const char *folder = trimmed(arena, path);
    if (!folder) return bert_fail_memory(error, strlen(path), "a path");
    if (!is_folder(folder)) return bert_fail(error, BERT_IO_ERROR, "'%s' is not a folder", path);
    const char *above = folder_of(arena, folder);
    if (!above) return bert_fail_memory(error, strlen(path), "a path");
    return make_case(folder, above, arena, out, error);
}

bert_status bert_case_read(const char *data_set, const char *prefix, bert_case_tensors *out, bert_error *error) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const char **paths;
    size_t count;
    *out = (bert_case_tensors){0};
    bert_status status = list(data_set, prefix, ".pb", &arena, &paths, &count, error);
    if (status == BERT_OK) status = read_all(paths, count, out, error);
    if (status != BERT_OK) bert_case_tensors_free(out);
    bert_arena_free(&arena);
    return status;
}

/* What a tensor of the file is called in the model: its own name where the model has it, else that of its place. */
static const char *name_of(const bert_model *model, bool input, const bert_owned_tensor *tensor, size_t place,
                           bert_model_tensor *declared) {
    size_t count = input ? bert_model_input_count(model) : bert_model_output_count(model);
    for (size_t i = 0; tensor->name && i < count; i++) {
        if ((input ? bert_model_input(model, i, declared) : bert_model_output(model, i, declared)) != BERT_OK) continue;
        if (strcmp(declared->name, tensor->name) == 0) return declared->name;
    }
    if (place >= count) return NULL;
    bert_status status = input ? bert_model_input(model, place, declared) : bert_model_output(model, place, declared);
    return status == BERT_OK ? declared->name : NULL;
}

const char *bert_case_output_name(const bert_model *model, const bert_owned_tensor *tensor, size_t place) {
    bert_model_tensor declared;
    return name_of(model, false, tensor, place, &declared);
}

bert_status bert_case_name_inputs(const bert_model *model, bert_case_tensors *tensors, bert_named_tensor *named,
                                  bert_error *error) {
    for (size_t i = 0; i < tensors->count; i++) {
        bert_model_tensor declared;
        bert_owned_tensor *tensor = &tensors->items[i];
        named[i].name = name_of(model, true, tensor, i, &declared);
        if (!named[i].name) return bert_fail(error, BERT_INVALID_INPUT, "the model has no input for input_%zu.pb", i);
        if (tensor->tensor.dtype == BERT_FLOAT && declared.dtype == BERT_DOUBLE) {
            BERT_TRY(bert_owned_tensor_to_double(tensor, error));
        }
        named[i].tensor = tensor->tensor;
    }
    return BERT_OK;
}

/* One line of tolerances.txt; false when it is neither blank, a comment, nor three columns. */
static bool read_tolerance_line(char *line, const char *name, bert_tolerance *out, bool *found) {
    char *rest;
    const char *pattern = strtok_r(line, " \t\r\n", &rest);
    if (!pattern || pattern[0] == '#') return true;
    const char *columns[2] = {strtok_r(NULL, " \t\r\n", &rest), strtok_r(NULL, " \t\r\n", &rest)};
    double numbers[2];
    for (int i = 0; i < 2; i++) {
        char *end;
        if (!columns[i]) return false;
        numbers[i] = strtod(columns[i], &end);
        if (*end || end == columns[i] || !(numbers[i] >= 0)) return false;
    }
    if (strtok_r(NULL, " \t\r\n", &rest)) return false;
    *found = fnmatch(pattern, name, 0) == 0;
    if (*found) *out = (bert_tolerance){.rtol = numbers[0], .atol = numbers[1]};
    return true;
}

void bert_tolerance_option_rows(bert_tolerance *given, bert_option rows[BERT_TOLERANCE_OPTION_COUNT]) {
    *given = (bert_tolerance){-1, -1};
    rows[0] = (bert_option){.name = "rtol",
                            .kind = BERT_OPTION_NUMBER,
                            .value = &given->rtol,
                            .argument = "R",
                            .help = "relative tolerance (default: 1e-3)"};
    rows[1] = (bert_option){.name = "atol",
                            .kind = BERT_OPTION_NUMBER,
                            .value = &given->atol,
                            .argument = "A",
                            .help = "absolute tolerance (default: 1e-4); for integers the\nonly one"};
}

bert_status bert_case_tolerance(const bert_case *item, const bert_tolerance *given, bert_tolerance *out,
                                bert_error *error) {
    *out = (bert_tolerance){.rtol = 1e-3, .atol = 1e-4};
    bool found = false;
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const char *path = bert_arena_format(&arena, "%s/tolerances.txt", item->parent);
    FILE *file = path ? fopen(path, "r") : NULL;
    bert_status status = BERT_OK;
    char *line = NULL;
    size_t capacity = 0;
    int number = 0;
    while (file && !found && status == BERT_OK && getline(&line, &capacity, file) >= 0) {
        number++;
        if (!read_tolerance_line(line, item->name, out, &found)) {
            status =
                bert_fail(error, BERT_INVALID_INPUT, "%s: line %d is not a name pattern, rtol and atol", path, number);
        }
    }
    if (given->rtol >= 0) out->rtol = given->rtol;
    if (given->atol >= 0) out->atol = given->atol;
    free(line);
    if (file) fclose(file);
    bert_arena_free(&arena);
    return status;
}
