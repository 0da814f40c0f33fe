#include "cli/model_inputs.h"

#include "core/base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool add_dimension(bert_dimensions *dimensions, const char *name, size_t length, int64_t size) {
    if (length == 0 || length >= sizeof dimensions->items[0].name || dimensions->count == BERT_MAX_DIMENSIONS) {
        return false;
    }
    bert_dimension *item = &dimensions->items[dimensions->count++];
    memcpy(item->name, name, length);
    item->name[length] = '\0';
    item->size = size;
    return true;
}

static bool parse_shape(bert_dimensions *dimensions, const char *text) {
    while (*text) {
        size_t length = strcspn(text, ",");
        const char *equals = memrchr(text, '=', length);
        char number[24];
        int64_t size;
        if (!equals) return false;
        size_t digits = length - (size_t)(equals + 1 - text);
        if (digits >= sizeof number) return false;
        memcpy(number, equals + 1, digits);
        number[digits] = '\0';
        if (!bert_parse_integer(number, 0, INT32_MAX, &size)) return false;
        if (!add_dimension(dimensions, text, (size_t)(equals - text), size)) return false;
        text += length;
        if (*text == ',') text++;
    }
    return true;
}

int bert_dimensions_parse(const char *command, const bert_option_list *shapes, bert_dimensions *out) {
    *out = (bert_dimensions){0};
    for (size_t i = 0; i < shapes->count; i++) {
        if (parse_shape(out, shapes->values[i])) continue;
        return bert_usage_error(command, "--shape takes NAME=N[,NAME=N], at most %d, not '%s'", BERT_MAX_DIMENSIONS,
                                shapes->values[i]);
    }
    return BERT_OPTIONS_GO_ON;
}

static int64_t find_dimension(const bert_dimensions *dimensions, const char *name) {
    for (size_t i = 0; name && i < dimensions->count; i++) {
        if (strcmp(dimensions->items[i].name, name) == 0) return dimensions->items[i].size;
    }
    return -1;
}

void bert_model_inputs_free(bert_model_inputs *inputs) {
    for (size_t i = 0; i < inputs->count; i++) bert_owned_tensor_free(&inputs->tensors[i]);
    free(inputs->tensors);
    free(inputs->named);
    *inputs = (bert_model_inputs){0};
}

/* The model's input of that name; false when there is none. */
static bool find_input(const bert_model *model, const char *name, size_t length, bert_model_tensor *out) {
    for (size_t i = 0; i < bert_model_input_count(model); i++) {
        if (bert_model_input(model, i, out) == BERT_OK && strlen(out->name) == length &&
            memcmp(out->name, name, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Splits NAME=FILE where NAME is an input of the model: both may hold '=' themselves. */
static const char *split(const bert_model *model, const char *text, bert_model_tensor *out) {
    for (const char *equals = strchr(text, '='); equals; equals = strchr(equals + 1, '=')) {
        if (find_input(model, text, (size_t)(equals - text), out)) return equals + 1;
    }
    return NULL;
}

static bert_status unknown_input(const bert_model *model, const char *text, bert_error *error) {
    char known[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < bert_model_input_count(model) && used < sizeof known; i++) {
        bert_model_tensor input;
        if (bert_model_input(model, i, &input) != BERT_OK) continue;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", input.name);
    }
    return bert_fail(error, BERT_INVALID_ARGUMENT, "--input %s: NAME=FILE is expected with NAME one of %s", text,
                     known);
}

bert_status bert_owned_tensor_to_double(bert_owned_tensor *tensor, bert_error *error) {
    bert_owned_tensor wide = {.tensor = tensor->tensor};
    wide.tensor.dtype = BERT_DOUBLE;
    BERT_TRY(bert_owned_tensor_allocate(&wide, error));
    const float *from = tensor->tensor.data;
    double *to = wide.tensor.data;
    for (size_t i = 0; i < wide.bytes / sizeof *to; i++) to[i] = from[i];
    wide.name = tensor->name;
    tensor->name = NULL;
    bert_owned_tensor_free(tensor);
    *tensor = wide;
    return BERT_OK;
}

static bert_named_tensor *find_given(const bert_model_inputs *inputs, const char *name) {
    for (size_t i = 0; i < inputs->count; i++) {
        if (strcmp(inputs->named[i].name, name) == 0) return &inputs->named[i];
    }
    return NULL;
}

static void append(bert_model_inputs *inputs, const char *name, const bert_owned_tensor *tensor) {
    inputs->tensors[inputs->count] = *tensor;
    inputs->named[inputs->count] = (bert_named_tensor){.name = name, .tensor = tensor->tensor};
    inputs->count++;
}

static bert_status read_file(const bert_model *model, const char *text, bert_dimensions *dimensions,
                             bert_model_inputs *inputs, bert_error *error) {
    bert_model_tensor declared;
    const char *path = split(model, text, &declared);
    if (!path) return unknown_input(model, text, error);
    if (find_given(inputs, declared.name)) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "--input %s: input '%s' was given before", text, declared.name);
    }
    bert_owned_tensor tensor;
    BERT_TRY(bert_tensor_file_read(path, &tensor, error));
    if (tensor.tensor.dtype == BERT_FLOAT && declared.dtype == BERT_DOUBLE) {
        bert_status status = bert_owned_tensor_to_double(&tensor, error);
        if (status != BERT_OK) {
            bert_owned_tensor_free(&tensor);
            return status;
        }
    }
    for (int d = 0; d < tensor.tensor.rank && d < declared.rank; d++) {
        const char *name = declared.dim_names[d];
        if (name && find_dimension(dimensions, name) < 0) {
            add_dimension(dimensions, name, strlen(name), tensor.tensor.dims[d]);
        }
    }
    append(inputs, declared.name, &tensor);
    return BERT_OK;
}

static bert_status choose_shape(const bert_model_tensor *declared, const bert_dimensions *dimensions, bert_tensor *out,
                                bert_error *error) {
    if (declared->rank < 0) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "input '%s' has no rank in the file: give it with --input",
                         declared->name);
    }
    *out = (bert_tensor){.dtype = declared->dtype, .rank = declared->rank};
    for (int d = 0; d < declared->rank; d++) {
        char place[256];
        snprintf(place, sizeof place, "%s:%d", declared->name, d);
        int64_t size = find_dimension(dimensions, place);
        if (size < 0)
            size = declared->dims[d] >= 0 ? declared->dims[d] : find_dimension(dimensions, declared->dim_names[d]);
        if (size < 0) {
            return bert_fail(error, BERT_INVALID_ARGUMENT, "dimension %d of input '%s' has no size: give --shape %s=N",
                             d, declared->name, declared->dim_names[d] ? declared->dim_names[d] : place);
        }
        out->dims[d] = size;
    }
    return BERT_OK;
}

static bert_status make_up(const bert_model *model, const bert_model_tensor *declared,
                           const bert_dimensions *dimensions, bert_random *random, bert_model_inputs *inputs,
                           bert_error *error) {
    bert_owned_tensor tensor = {0};
    BERT_TRY(choose_shape(declared, dimensions, &tensor.tensor, error));
    if (bert_dtype_size(declared->dtype) == 0) {
        return bert_fail(error, BERT_UNSUPPORTED, "input '%s' is of type %s, which can't be made up", declared->name,
                         bert_dtype_name(declared->dtype));
    }
    BERT_TRY(bert_owned_tensor_allocate(&tensor, error));
    bert_random_fill(model, declared->name, random, &tensor.tensor);
    append(inputs, declared->name, &tensor);
    return BERT_OK;
}

static bert_status make_all(const bert_model *model, const bert_option_list *files, bert_dimensions *dimensions,
                            bool random, bert_random *generator, bert_model_inputs *inputs, bert_error *error) {
    size_t count = bert_model_input_count(model);
    inputs->tensors = calloc(count + 1, sizeof *inputs->tensors);
    inputs->named = calloc(count + 1, sizeof *inputs->named);
    if (!inputs->tensors || !inputs->named) return bert_fail_memory(error, count * sizeof *inputs->named, "inputs");
    for (size_t i = 0; i < files->count; i++) BERT_TRY(read_file(model, files->values[i], dimensions, inputs, error));
    for (size_t i = 0; i < count; i++) {
        bert_model_tensor declared;
        BERT_TRY(bert_model_input(model, i, &declared));
        if (declared.optional || find_given(inputs, declared.name)) continue;
        if (!random) {
            return bert_fail(error, BERT_INVALID_ARGUMENT, "input '%s' is missing: give --input %s=FILE, or --random",
                             declared.name, declared.name);
        }
        BERT_TRY(make_up(model, &declared, dimensions, generator, inputs, error));
    }
    return BERT_OK;
}

/* Whether --shape speaks of something that the model has. */
static bool is_dimension(const bert_model *model, const char *name) {
    for (size_t i = 0; i < bert_model_input_count(model); i++) {
        bert_model_tensor input;
        if (bert_model_input(model, i, &input) != BERT_OK) continue;
        for (int d = 0; d < input.rank; d++) {
            char place[256];
            snprintf(place, sizeof place, "%s:%d", input.name, d);
            if (strcmp(name, place) == 0 || (input.dim_names[d] && strcmp(name, input.dim_names[d]) == 0)) return true;
        }
    }
    return false;
}

bert_status bert_model_inputs_make(const bert_model *model, const bert_option_list *files,
                                   const bert_dimensions *dimensions, bool random, uint64_t seed,
                                   bert_model_inputs *out, bert_error *error) {
    bert_dimensions known = *dimensions;
    bert_model_inputs inputs = {0};
    bert_random generator = {seed};
    for (size_t i = 0; i < dimensions->count; i++) {
        if (!is_dimension(model, dimensions->items[i].name)) {
            return bert_fail(error, BERT_INVALID_ARGUMENT, "--shape: no input has a dimension '%s'",
                             dimensions->items[i].name);
        }
    }
    bert_status status = make_all(model, files, &known, random, &generator, &inputs, error);
    if (status != BERT_OK) {
        bert_model_inputs_free(&inputs);
        return status;
    }
    *out = inputs;
    return BERT_OK;
}
