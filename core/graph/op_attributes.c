#include "core/base/error.h"
#include "core/graph/op.h"

#include <inttypes.h>
#include <string.h>

typedef struct attribute_row {
    bert_op_id op;
    const char *name;
    bert_attribute_kind kind;
    int32_t since, until;
    bool required;
} attribute_row;

static const attribute_row rows[] = {
#define BERT_OP_ATTRIBUTE(op, name, kind, since, until, required)                                                      \
    {BERT_OP_##op, name, BERT_ATTRIBUTE_##kind, since, until, required},
#include "core/graph/op_attributes.def"
#undef BERT_OP_ATTRIBUTE
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static const char *kind_name(bert_attribute_kind kind) {
    static const char *const names[] = {
        [BERT_ATTRIBUTE_INT] = "an integer",          [BERT_ATTRIBUTE_FLOAT] = "a float",
        [BERT_ATTRIBUTE_STRING] = "a string",         [BERT_ATTRIBUTE_TENSOR] = "a tensor",
        [BERT_ATTRIBUTE_GRAPH] = "a graph",           [BERT_ATTRIBUTE_INTS] = "a list of integers",
        [BERT_ATTRIBUTE_FLOATS] = "a list of floats", [BERT_ATTRIBUTE_STRINGS] = "a list of strings"};
    return names[kind];
}

static bert_status check_one(const bert_op *op, int32_t opset, const bert_attribute *attribute, bert_error *error) {
    /* ONNX leaves these to whoever writes them. */
    if (strncmp(attribute->name, "__", 2) == 0) return BERT_OK;
    for (int i = 0; i < ROWS; i++) {
        const attribute_row *row = &rows[i];
        if (row->op != op->id || opset < row->since || opset > row->until || strcmp(row->name, attribute->name) != 0)
            continue;
        if (row->kind == attribute->kind) return BERT_OK;
        return bert_fail(error, BERT_INVALID_MODEL, "its attribute %s is %s, and that of %s is %s", attribute->name,
                         kind_name(attribute->kind), op->name, kind_name(row->kind));
    }
    return bert_fail(error, BERT_INVALID_MODEL, "it has an attribute %s, which %s of opset %" PRId32 " has not",
                     attribute->name, op->name, opset);
}

bert_status bert_op_check_attributes(const bert_op *op, int32_t opset, const bert_attribute *attributes, size_t count,
                                     bert_error *error) {
    for (size_t i = 0; i < count; i++) BERT_TRY(check_one(op, opset, &attributes[i], error));
    for (int i = 0; i < ROWS; i++) {
        const attribute_row *row = &rows[i];
        if (row->op != op->id || !row->required || opset < row->since || opset > row->until) continue;
        if (bert_attribute_find(attributes, count, row->name)) continue;
        return bert_fail(error, BERT_INVALID_MODEL, "it has no attribute %s, which %s needs", row->name, op->name);
    }
    return BERT_OK;
}
