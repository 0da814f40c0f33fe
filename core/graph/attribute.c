#include "core/graph/graph.h"

#include <string.h>

const bert_attribute *bert_attribute_find(const bert_attribute *attributes, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(attributes[i].name, name) == 0) return &attributes[i];
    }
    return NULL;
}

static const bert_attribute *find_kind(const bert_attribute *attributes, size_t count, const char *name,
                                       bert_attribute_kind kind) {
    const bert_attribute *attribute = bert_attribute_find(attributes, count, name);
    return attribute && attribute->kind == kind ? attribute : NULL;
}

int64_t bert_attribute_int(const bert_attribute *attributes, size_t count, const char *name, int64_t missing) {
    const bert_attribute *attribute = find_kind(attributes, count, name, BERT_ATTRIBUTE_INT);
    return attribute ? attribute->value.i : missing;
}

float bert_attribute_float(const bert_attribute *attributes, size_t count, const char *name, float missing) {
    const bert_attribute *attribute = find_kind(attributes, count, name, BERT_ATTRIBUTE_FLOAT);
    return attribute ? attribute->value.f : missing;
}

const char *bert_attribute_string(const bert_attribute *attributes, size_t count, const char *name,
                                  const char *missing) {
    const bert_attribute *attribute = find_kind(attributes, count, name, BERT_ATTRIBUTE_STRING);
    return attribute ? attribute->value.s : missing;
}

const int64_t *bert_attribute_ints(const bert_attribute *attributes, size_t count, const char *name,
                                   size_t *count_out) {
    const bert_attribute *attribute = find_kind(attributes, count, name, BERT_ATTRIBUTE_INTS);
    *count_out = attribute ? attribute->count : 0;
    return attribute ? attribute->value.ints : NULL;
}
