/*
 * Float32 to double, over a whole graph: for the judge of float32 results.
 *
 * Whole numbers that a graph works out in float and casts back (the logarithmic buckets of relative positions) stay as
 * they are: where the exact result is a whole number, one rounding more or less decides between two of them, and the
 * graph in float32 is what says which.
 */
#include "core/base/dtypes.h"
#include "core/base/error.h"
#include "core/graph/op.h"
#include "core/runtime/model.h"

#include <string.h>

typedef struct promotion {
    bert_graph *graph;
    bool *exact;       /* By value id: float32, of whole numbers and single constants alone. */
    bool *kept;        /* By value id: exact, and cast to integers in the end. */
    uint32_t capacity; /* Values when the promotion began. */
} promotion;

/* ---- Which values stay float32 ---- */

static bool casts_to_whole(const bert_node *node) {
    if (node->op->id != BERT_OP_Cast) return false;
    return !bert_dtype_is_float((bert_dtype)BERT_NODE_INT(node, "to", BERT_DTYPE_UNDEFINED));
}

static bool is_float(const bert_value *value) {
    return value && value->info.dtype == BERT_FLOAT;
}

static bool is_exact(const promotion *p, const bert_value *value) {
    if (value->info.constant) return !value->graph_output && bert_constant_elements(value->info.constant) == 1;
    return p->exact[value->id];
}

static void mark_exact_outputs(const promotion *p, const bert_node *node) {
    for (int32_t i = 0; i < node->input_count; i++) {
        if (is_float(node->inputs[i]) && !is_exact(p, node->inputs[i])) return;
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *value = node->outputs[i];
        if (is_float(value) && !value->graph_output) p->exact[value->id] = true;
    }
}

static void mark_kept_inputs(const promotion *p, const bert_node *node) {
    bool wanted = casts_to_whole(node);
    for (int32_t i = 0; i < node->output_count; i++) wanted |= node->outputs[i] && p->kept[node->outputs[i]->id];
    for (int32_t i = 0; wanted && i < node->input_count; i++) {
        const bert_value *value = node->inputs[i];
        if (is_float(value) && is_exact(p, value)) p->kept[value->id] = true;
    }
}

static void find_kept(const promotion *p) {
    BERT_FOR_EACH_NODE (node, &p->graph->body) mark_exact_outputs(p, node);
    for (const bert_node *node = p->graph->body.last; node; node = node->previous) mark_kept_inputs(p, node);
}

/* Whether the node works in float32 still. */
static bool is_kept(const promotion *p, const bert_node *node) {
    if (casts_to_whole(node) && node->input_count && node->inputs[0]) return p->kept[node->inputs[0]->id];
    for (int32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] && node->outputs[i]->id < p->capacity && p->kept[node->outputs[i]->id]) return true;
    }
    return false;
}

/* ---- Promotion ---- */

static bert_status promote_constant(bert_graph *graph, const bert_constant **constant, bert_error *error) {
    const bert_constant *narrow = *constant;
    size_t elements = (size_t)bert_constant_elements(narrow), bytes;
    if (!bert_size_multiply(elements, sizeof(double), &bytes)) bytes = SIZE_MAX;
    double *data = bert_arena_allocate(&graph->arena, bytes, BERT_ALIGNMENT);
    if (!data) return bert_fail_memory(error, bytes, "a constant as double");
    for (size_t i = 0; i < elements; i++) {
        float value;
        memcpy(&value, narrow->data + i * sizeof value, sizeof value);
        data[i] = value;
    }
    if (narrow->file) bert_file_release_pages(narrow->file, narrow->data, narrow->bytes);
    return bert_graph_add_constant(graph, BERT_DOUBLE, narrow->rank, narrow->dims, data, bytes, NULL, constant, error);
}

/* Attributes that hold an element type, by name: whoever writes float32 there means the type of the model. */
static bool names_a_type(const char *name) {
    return strcmp(name, "to") == 0 || strcmp(name, "dtype") == 0 || strcmp(name, "stash_type") == 0 ||
           strcmp(name, "output_dtype") == 0 || strcmp(name, "softmax_precision") == 0;
}

static bert_status promote_block(promotion *p, bert_block *block, bert_error *error);

static bert_status promote_attribute(promotion *p, bert_attribute *attribute, bert_error *error) {
    switch (attribute->kind) {
    case BERT_ATTRIBUTE_INT:
        if (attribute->value.i == BERT_FLOAT && names_a_type(attribute->name)) attribute->value.i = BERT_DOUBLE;
        return BERT_OK;
    case BERT_ATTRIBUTE_TENSOR:
        if (attribute->value.tensor->dtype != BERT_FLOAT) return BERT_OK;
        return promote_constant(p->graph, &attribute->value.tensor, error);
    case BERT_ATTRIBUTE_GRAPH:
        return promote_block(p, attribute->value.graph, error);
    default:
        return BERT_OK;
    }
}

/* ConstantOfShape without a value fills with a float32 zero: say that it is a double one. */
static bert_status give_value(promotion *p, bert_node *node, bert_error *error) {
    static const double zero = 0;
    if (node->op->id != BERT_OP_ConstantOfShape || node->attribute_count) return BERT_OK;
    bert_attribute *value = BERT_ARENA_NEW(&p->graph->arena, bert_attribute);
    if (!value) return bert_fail_memory(error, sizeof *value, "an attribute");
    *value = (bert_attribute){.name = "value", .kind = BERT_ATTRIBUTE_TENSOR, .count = 1};
    BERT_TRY(bert_graph_add_constant(p->graph, BERT_DOUBLE, 1, (int64_t[]){1}, &zero, sizeof zero, NULL,
                                     &value->value.tensor, error));
    node->attributes = value;
    node->attribute_count = 1;
    return BERT_OK;
}

static bert_status promote_block(promotion *p, bert_block *block, bert_error *error) {
    BERT_FOR_EACH_NODE (node, block) {
        if (is_kept(p, node)) continue;
        for (size_t i = 0; i < node->attribute_count; i++) {
            BERT_TRY(promote_attribute(p, &node->attributes[i], error));
        }
        BERT_TRY(give_value(p, node, error));
    }
    return BERT_OK;
}

/* What a node that became double reads in place of a value that stays float32: a double constant, or a Cast's output.
 */
static bert_status add_double(promotion *p, bert_value *value, bert_value **out, bert_error *error) {
    if (value->info.constant) {
        const bert_constant *constant = value->info.constant;
        BERT_TRY(promote_constant(p->graph, &constant, error));
        return bert_graph_add_constant_value(p->graph, NULL, constant, out, error);
    }
    BERT_TRY(bert_graph_add_value(p->graph, NULL, out, error));
    (*out)->info = value->info;
    (*out)->info.dtype = BERT_DOUBLE;
    const bert_attribute to = BERT_INT_ATTRIBUTE("to", BERT_DOUBLE);
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_Cast),
                                 .opset = value->producer->opset,
                                 .inputs = &value,
                                 .input_count = 1,
                                 .outputs = out,
                                 .output_count = 1,
                                 .attributes = &to,
                                 .attribute_count = 1};
    bert_node *cast;
    BERT_TRY(bert_graph_add_node(value->producer->block, value->producer->next, &spec, &cast, error));
    return bert_node_add_origins(cast, value->producer, error);
}

/* A reader of the value, other than `except`, that became double; NULL when there is none. */
static const bert_use *double_reader(const promotion *p, const bert_value *value, const bert_node *except) {
    for (uint32_t i = 0; i < value->use_count; i++) {
        if (value->uses[i].node != except && !is_kept(p, value->uses[i].node)) return &value->uses[i];
    }
    return NULL;
}

static bert_status redirect_readers(promotion *p, bert_value *value, bert_error *error) {
    const bert_use *use = double_reader(p, value, NULL);
    if (!use) return BERT_OK;
    bert_value *as_double;
    BERT_TRY(add_double(p, value, &as_double, error));
    while ((use = double_reader(p, value, as_double->producer))) {
        BERT_TRY(bert_node_set_input(use->node, use->input, as_double, error));
    }
    return BERT_OK;
}

static bert_status promote_values(promotion *p, bert_error *error) {
    for (uint32_t i = 0; i < p->capacity; i++) {
        bert_value *value = p->graph->values[i];
        if (!is_float(value)) continue;
        if (p->kept[i]) {
            BERT_TRY(redirect_readers(p, value, error));
            continue;
        }
        value->info.dtype = BERT_DOUBLE;
        if (value->info.constant) BERT_TRY(promote_constant(p->graph, &value->info.constant, error));
        if (value->input_default) BERT_TRY(promote_constant(p->graph, &value->input_default, error));
    }
    return BERT_OK;
}

bert_status bert_promote_to_double(bert_graph *graph, bert_error *error) {
    promotion p = {.graph = graph, .capacity = graph->value_count};
    p.exact = BERT_ARENA_NEW_ARRAY(&graph->arena, bool, (size_t)p.capacity + 1);
    p.kept = BERT_ARENA_NEW_ARRAY(&graph->arena, bool, (size_t)p.capacity + 1);
    if (!p.exact || !p.kept) return bert_fail_memory(error, p.capacity, "marks of values");
    BERT_TRY(bert_infer_graph(graph, error));
    find_kept(&p);
    BERT_TRY(promote_block(&p, &graph->body, error));
    return promote_values(&p, error);
}
