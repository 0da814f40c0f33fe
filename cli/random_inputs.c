#include "cli/random_inputs.h"

#include "core/base/float16.h"
#include "core/graph/canonical.h"
#include "core/graph/op.h"
#include "core/runtime/model.h"

#include <string.h>
#include <strings.h>

typedef enum input_role { ROLE_IDS, ROLE_MASK, ROLE_TYPES, ROLE_POSITIONS } input_role;

static input_role role_of(const char *name) {
    if (strcasestr(name, "mask")) return ROLE_MASK;
    if (strcasestr(name, "type") || strcasestr(name, "segment")) return ROLE_TYPES;
    if (strcasestr(name, "position")) return ROLE_POSITIONS;
    return ROLE_IDS;
}

static bool is_integer(bert_dtype dtype) {
    return dtype == BERT_INT64 || dtype == BERT_INT32 || dtype == BERT_INT16 || dtype == BERT_INT8 ||
           dtype == BERT_UINT64 || dtype == BERT_UINT32 || dtype == BERT_UINT16 || dtype == BERT_UINT8;
}

bool bert_random_is_ids(const char *name, bert_dtype dtype) {
    return is_integer(dtype) && role_of(name) == ROLE_IDS;
}

uint64_t bert_random_next(bert_random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Rows of the table that a value is looked up in, 0 when it is not: through casts and reshapes, at most `depth` nodes.
 */
static int64_t table_rows(const bert_value *value, int depth) {
    for (uint32_t i = 0; i < value->use_count; i++) {
        const bert_node *node = value->uses[i].node;
        int32_t input = value->uses[i].input;
        const char *type = node->op->name;
        int table = strcmp(type, "Gather") == 0 && input == 1                    ? 0
                    : strcmp(type, "Embedding") == 0 && input == 0               ? BERT_EMBEDDING_WORD_TABLE
                    : strcmp(type, "EmbedLayerNormalization") == 0 && input == 0 ? 2
                                                                                 : -1;
        const bert_value *weights = table >= 0 && table < node->input_count ? node->inputs[table] : NULL;
        if (weights && weights->info.constant && weights->info.constant->rank == 2) {
            return weights->info.constant->dims[0];
        }
        bool passes_on = strcmp(type, "Cast") == 0 || strcmp(type, "Reshape") == 0 || strcmp(type, "Identity") == 0;
        if (passes_on && input == 0 && depth > 0) {
            int64_t rows = table_rows(node->outputs[0], depth - 1);
            if (rows > 0) return rows;
        }
    }
    return 0;
}

static void store_integer(bert_tensor *tensor, int64_t at, int64_t value) {
    size_t size = bert_dtype_size(tensor->dtype);
    /* Two's complement, little-endian: the low bytes are the narrower number. */
    memcpy((char *)tensor->data + (size_t)at * size, &value, size);
}

static int64_t element_value(input_role role, int64_t at, int64_t last, int64_t rows, bert_random *random) {
    switch (role) {
    case ROLE_MASK:
        return 1;
    case ROLE_TYPES:
        return 0;
    case ROLE_POSITIONS:
        return at % last;
    default:
        return (int64_t)(bert_random_next(random) % (uint64_t)rows);
    }
}

static void fill_floats(bert_tensor *tensor, int64_t count, bool ones, bert_random *random) {
    for (int64_t i = 0; i < count; i++) {
        double value = ones ? 1 : (double)(bert_random_next(random) >> 11) * 0x1p-52 - 1;
        if (tensor->dtype == BERT_FLOAT) ((float *)tensor->data)[i] = (float)value;
        if (tensor->dtype == BERT_DOUBLE) ((double *)tensor->data)[i] = value;
        if (tensor->dtype == BERT_FLOAT16) ((uint16_t *)tensor->data)[i] = bert_float_to_half((float)value);
        if (tensor->dtype == BERT_BFLOAT16) ((uint16_t *)tensor->data)[i] = bert_float_to_bfloat16((float)value);
        if (tensor->dtype == BERT_BOOL) ((uint8_t *)tensor->data)[i] = ones || value >= 0;
    }
}

void bert_random_fill(const bert_model *model, const char *name, bert_random *random, bert_tensor *tensor) {
    int64_t count = bert_tensor_elements(tensor);
    input_role role = role_of(name);
    if (!is_integer(tensor->dtype)) {
        fill_floats(tensor, count, role == ROLE_MASK, random);
        return;
    }
    const bert_value *value = bert_graph_find_value(bert_model_graph(model), name);
    int64_t rows = value ? table_rows(value, 4) : 0;
    if (rows <= 0) rows = 100;
    int64_t last = tensor->rank > 0 ? tensor->dims[tensor->rank - 1] : 1;
    for (int64_t i = 0; i < count; i++) store_integer(tensor, i, element_value(role, i, last, rows, random));
}
