/*
 * Equal nodes: the same operator, attributes and inputs. The first one serves all, so that a mask or a shape that every
 * layer computes for itself is computed once.
 */
#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/passes/list.h"
#include "core/passes/match.h"

#include <string.h>

/* Constants up to this size are compared by content: exporters write the same small one again and again. */
#define SMALL_CONSTANT 128
#define SIGNATURE_CAPACITY 4096

/* What makes a node what it is, as bytes. */
typedef struct signature {
    char bytes[SIGNATURE_CAPACITY];
    size_t length;
    bool whole; /* False: it didn't fit, or holds something that isn't compared. */
} signature;

static void put(signature *s, const void *data, size_t bytes) {
    if (bytes > SIGNATURE_CAPACITY - s->length) {
        s->whole = false;
        return;
    }
    if (bytes) memcpy(s->bytes + s->length, data, bytes);
    s->length += bytes;
}

static void put_int(signature *s, int64_t number) {
    put(s, &number, sizeof number);
}

static void put_text(signature *s, const char *text) {
    put(s, text, strlen(text) + 1);
}

static void put_constant(signature *s, const bert_constant *constant) {
    if (constant->bytes > SMALL_CONSTANT) {
        put_int(s, (int64_t)constant->id);
        return;
    }
    put_int(s, constant->dtype);
    put_int(s, constant->rank);
    put(s, constant->dims, (size_t)constant->rank * sizeof constant->dims[0]);
    put(s, constant->data, constant->bytes);
}

static void put_value(signature *s, const bert_value *value) {
    bool constant = value && value->info.constant && !value->producer;
    put_int(s, !value ? 0 : constant ? 1 : 2);
    if (constant) {
        put_constant(s, value->info.constant);
    } else if (value) {
        put_int(s, value->id);
    }
}

static void put_attribute(signature *s, const bert_attribute *attribute) {
    put_text(s, attribute->name);
    put_int(s, attribute->kind);
    put_int(s, (int64_t)attribute->count);
    switch (attribute->kind) {
    case BERT_ATTRIBUTE_INT:
        put_int(s, attribute->value.i);
        break;
    case BERT_ATTRIBUTE_FLOAT:
        put(s, &attribute->value.f, sizeof attribute->value.f);
        break;
    case BERT_ATTRIBUTE_STRING:
        put(s, attribute->value.s, attribute->count);
        break;
    case BERT_ATTRIBUTE_TENSOR:
        put_constant(s, attribute->value.tensor);
        break;
    case BERT_ATTRIBUTE_INTS:
        put(s, attribute->value.ints, attribute->count * sizeof(int64_t));
        break;
    case BERT_ATTRIBUTE_FLOATS:
        put(s, attribute->value.floats, attribute->count * sizeof(float));
        break;
    case BERT_ATTRIBUTE_GRAPH:
    case BERT_ATTRIBUTE_STRINGS:
        s->whole = false;
        break;
    }
}

/* Shapes are read by nodes of the file and by those that passes make, in another opset; these mean the same in all. */
static int32_t opset_of(const bert_node *node) {
    return bert_node_is(node, BERT_OP_Shape) || bert_node_is(node, BERT_OP_Gather) ? 0 : node->opset;
}

static void describe(signature *s, const bert_node *node) {
    s->length = 0;
    s->whole = !(node->op->flags & BERT_OP_IMPURE);
    put_int(s, node->op->id);
    put_int(s, opset_of(node));
    put_int(s, node->output_count);
    for (int32_t i = 0; i < node->output_count; i++) put_int(s, node->outputs[i] != NULL);
    put_int(s, node->input_count);
    for (int32_t i = 0; i < node->input_count; i++) put_value(s, node->inputs[i]);
    for (size_t i = 0; i < node->attribute_count; i++) put_attribute(s, &node->attributes[i]);
}

static bool can_merge(const bert_node *first, const bert_node *node) {
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] && bert_value_leaves(node->outputs[i]) && bert_value_leaves(first->outputs[i]))
            return false;
    }
    return true;
}

static bert_status merge(bert_pass_context *context, bert_node *first, bert_node *node) {
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        BERT_TRY(bert_graph_replace_value(context->graph, node->outputs[i], first->outputs[i], context->error));
    }
    BERT_TRY(bert_node_add_origins(first, node, context->error));
    bert_graph_remove_node(node);
    bert_pass_rewrote(context, first);
    return BERT_OK;
}

static bert_status merge_in(bert_pass_context *context, bert_block *block, bert_arena *arena) {
    signature s;
    bert_hash *seen = bert_hash_create(arena);
    if (!seen) return bert_fail_memory(context->error, sizeof(void *), "a table of nodes");
    BERT_FOR_EACH_NODE_SAFE (node, block) {
        for (size_t i = 0; i < node->attribute_count; i++) {
            if (node->attributes[i].kind != BERT_ATTRIBUTE_GRAPH) continue;
            BERT_TRY(merge_in(context, node->attributes[i].value.graph, arena));
        }
        describe(&s, node);
        if (!s.whole) continue;
        bert_node *first = bert_hash_get(seen, s.bytes, s.length);
        if (first) {
            if (can_merge(first, node)) BERT_TRY(merge(context, first, node));
            continue;
        }
        const char *key = bert_arena_string(arena, s.bytes, s.length);
        if (!key || !bert_hash_set(seen, key, s.length, node)) {
            return bert_fail_memory(context->error, s.length, "a table of nodes");
        }
    }
    return BERT_OK;
}

bert_status bert_pass_common(bert_pass_context *context) {
    bert_arena arena;
    bert_arena_init(&arena, context->graph->allocator);
    bert_status status = merge_in(context, &context->graph->body, &arena);
    bert_arena_free(&arena);
    return status;
}
