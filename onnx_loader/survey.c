/* A look over all nodes of a model before any is built: which operators are missing, which number each node gets. */
#include "core/base/error.h"
#include "onnx_loader/builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *bert_onnx_domain(const char *domain) {
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

int bert_onnx_shown(const char *text) {
    enum { MOST = 120 };
    int length = (int)strnlen(text, MOST + 1);
    if (length <= MOST) return length;
    for (length = MOST; length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;) length--;
    return length;
}

/* ---- Operator sets ------------------------------------------------------------------------------------------------
 */

static bert_status set_version(int32_t *version, int64_t imported, int64_t first, int64_t last, const char *what,
                               const char *domain, bert_error *error) {
    if (imported < first || imported > last) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "%s imports version %" PRId64 " of operator set %s; bert.c has %" PRId64 " to %" PRId64, what,
                         imported, domain, first, last);
    }
    if (*version && *version != imported) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "%s imports versions %" PRId32 " and %" PRId64 " of operator set %s", what, *version, imported,
                         domain);
    }
    *version = (int32_t)imported;
    return BERT_OK;
}

bert_status bert_onnx_read_opsets(BertOnnx__OperatorSetIdProto *const *imports, size_t count, const char *what,
                                  bert_onnx_opsets *out, bert_error *error) {
    if (count > BERT_ONNX_MAX_IMPORTS) {
        return bert_fail(error, BERT_UNSUPPORTED, "%s imports %zu operator sets, the most is %d", what, count,
                         BERT_ONNX_MAX_IMPORTS);
    }
    *out = (bert_onnx_opsets){.imports = imports, .import_count = count};
    for (size_t i = 0; i < count; i++) {
        const char *domain = bert_onnx_domain(imports[i]->domain);
        if (*domain == '\0') {
            BERT_TRY(set_version(&out->onnx, imports[i]->version, BERT_ONNX_FIRST_OPSET, BERT_ONNX_LAST_OPSET, what,
                                 "ai.onnx", error));
        } else if (strcmp(domain, "com.microsoft") == 0) {
            BERT_TRY(set_version(&out->microsoft, imports[i]->version, 1, 1, what, domain, error));
        }
    }
    return BERT_OK;
}

/* The version of a domain that is neither ai.onnx nor com.microsoft; 0: not imported. */
static int64_t other_version(const bert_onnx_opsets *opsets, const char *domain) {
    for (size_t i = 0; i < opsets->import_count; i++) {
        if (strcmp(bert_onnx_domain(opsets->imports[i]->domain), domain) == 0) return opsets->imports[i]->version;
    }
    return 0;
}

/* ---- Functions ----------------------------------------------------------------------------------------------------
 */

/* Domain, name and overload with a NUL between. */
static const char *function_key(bert_arena *arena, const char *domain, const char *name, const char *overload,
                                size_t *length) {
    size_t domain_length = strlen(domain), name_length = strlen(name), overload_length = strlen(overload);
    *length = domain_length + name_length + overload_length + 2;
    char *key = bert_arena_allocate(arena, *length + 1, 1);
    if (!key) return NULL;
    memcpy(key, domain, domain_length + 1);
    memcpy(key + domain_length + 1, name, name_length + 1);
    memcpy(key + domain_length + name_length + 2, overload, overload_length + 1);
    return key;
}

static bert_onnx_function *look_up(const bert_onnx_builder *builder, const BertOnnx__NodeProto *node,
                                   const char *overload) {
    char key[512];
    const char *parts[] = {bert_onnx_domain(node->domain), bert_onnx_text(node->op_type), overload};
    size_t length = 0;
    for (int i = 0; i < 3; i++) {
        size_t part = strlen(parts[i]);
        if (part > sizeof key - length - 1) return NULL; /* no function has a name that long: see add_function */
        memcpy(key + length, parts[i], part);
        length += part;
        if (i < 2) key[length++] = '\0';
    }
    return bert_hash_get(builder->functions, key, length);
}

bert_onnx_function *bert_onnx_find_function(bert_onnx_builder *builder, const BertOnnx__NodeProto *node) {
    bert_onnx_function *function = look_up(builder, node, bert_onnx_text(node->overload));
    char overload[BERT_ONNX_COMPOSED_OVERLOAD];
    if (function || !bert_onnx_is_composed(node)) return function;
    bert_onnx_composed_overload(node, overload);
    return look_up(builder, node, overload);
}

static bert_status add_function(bert_onnx_builder *builder, const BertOnnx__FunctionProto *proto, bert_error *error) {
    const char *name = bert_onnx_text(proto->name), *domain = bert_onnx_domain(proto->domain);
    size_t length = 0;
    const char *key = function_key(&builder->scratch, domain, name, bert_onnx_text(proto->overload), &length);
    bert_onnx_function *function = BERT_ARENA_NEW(&builder->scratch, bert_onnx_function);
    if (!key || !function) return bert_fail_memory(error, sizeof *function, "a function of the model");
    if (length > 500) return bert_fail(error, BERT_UNSUPPORTED, "a function's name takes %zu bytes", length);
    if (bert_hash_get(builder->functions, key, length)) {
        return bert_fail(error, BERT_INVALID_MODEL, "the function %s of domain %s is defined twice", name, domain);
    }
    if (proto->n_attribute_proto > BERT_ONNX_MAX_ATTRIBUTES) {
        return bert_fail(error, BERT_UNSUPPORTED, "the function %s has %zu attributes, the most is %d", name,
                         proto->n_attribute_proto, BERT_ONNX_MAX_ATTRIBUTES);
    }
    function->proto = proto;
    char what[600];
    snprintf(what, sizeof what, "the function %s", name);
    BERT_TRY(bert_onnx_read_opsets(proto->opset_import, proto->n_opset_import, what, &function->opsets, error));
    if (!function->opsets.onnx) function->opsets.onnx = builder->opsets.onnx;
    if (!function->opsets.microsoft) function->opsets.microsoft = builder->opsets.microsoft;
    if (bert_hash_set(builder->functions, key, length, function)) return BERT_OK;
    return bert_fail_memory(error, length, "the list of functions");
}

/* ---- Missing operators --------------------------------------------------------------------------------------------
 */

typedef struct missing_op {
    const char *domain, *name, *node;
    int64_t opset;
    int32_t since, until; /* what the table has of it; 0: nothing */
    size_t count;
    struct missing_op *next;
} missing_op;

typedef struct survey {
    bert_onnx_builder *builder;
    bert_hash *missing_by_key;
    missing_op *first;
    missing_op **last;
    size_t missing_count;
    uint32_t next_index;
    uint32_t composed_nodes; /* nodes with an index that are not in the file */
    bert_error *error;
} survey;

static bert_status note_missing(survey *s, const BertOnnx__NodeProto *node, int64_t opset, const bert_op *op) {
    bert_arena *arena = &s->builder->scratch;
    const char *domain = bert_onnx_domain(node->domain), *name = bert_onnx_text(node->op_type);
    char version[24];
    snprintf(version, sizeof version, "%" PRId64, opset);
    size_t length = 0;
    const char *key = function_key(arena, domain, name, version, &length);
    if (!key) return bert_fail_memory(s->error, length, "the list of missing operators");
    missing_op *missing = bert_hash_get(s->missing_by_key, key, length);
    if (!missing) {
        missing = BERT_ARENA_NEW(arena, missing_op);
        if (!missing || !bert_hash_set(s->missing_by_key, key, length, missing)) {
            return bert_fail_memory(s->error, sizeof *missing, "the list of missing operators");
        }
        *missing = (missing_op){.domain = domain, .name = name, .node = bert_onnx_node_name(node), .opset = opset};
        if (op) {
            missing->since = op->since;
            missing->until = op->until;
        }
        *s->last = missing;
        s->last = &missing->next;
        s->missing_count++;
    }
    missing->count++;
    return BERT_OK;
}

/* "Foo of com.microsoft 1 (node a and 3 more)"; returns what snprintf does. */
static int describe_missing(const missing_op *missing, char *out, size_t capacity) {
    char version[64] = "", known[64] = "", more[48] = "";
    if (missing->opset) snprintf(version, sizeof version, " %" PRId64, missing->opset);
    if (missing->until) {
        snprintf(known, sizeof known, ", known from %" PRId32 " to %" PRId32, missing->since, missing->until);
    }
    if (missing->count > 1) snprintf(more, sizeof more, " and %zu more", missing->count - 1);
    const char *domain = *missing->domain ? missing->domain : "ai.onnx";
    return snprintf(out, capacity, "%.*s of %.*s%s%s (node %.*s%s)", BERT_ONNX_SHOWN(missing->name),
                    BERT_ONNX_SHOWN(domain), version, known, BERT_ONNX_SHOWN(missing->node), more);
}

static bert_status report_missing(const survey *s) {
    if (!s->first) return BERT_OK;
    char list[BERT_ERROR_MESSAGE_BYTES - 200];
    size_t used = 0, listed = 0;
    for (const missing_op *missing = s->first; missing; missing = missing->next, listed++) {
        char one[600];
        int length = describe_missing(missing, one, sizeof one);
        if (length < 0 || used + (size_t)length + 2 >= sizeof list) break;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", listed ? "; " : "", one);
    }
    char more[48] = "";
    if (listed < s->missing_count) snprintf(more, sizeof more, "; and %zu more", s->missing_count - listed);
    return bert_fail(s->error, BERT_UNSUPPORTED, "bert.c does not have %zu of the model's operators: %s%s",
                     s->missing_count, list, more);
}

/* ---- The walk -----------------------------------------------------------------------------------------------------
 */

static bert_status survey_nodes(survey *s, BertOnnx__NodeProto *const *nodes, size_t count,
                                const bert_onnx_opsets *opsets, bool reached, int call_depth);

static uint32_t take_indices(survey *s, size_t count) {
    uint32_t first = s->next_index;
    s->next_index += (uint32_t)count; /* the scan limits messages, and so nodes, to far less than 2^32 */
    return first;
}

static bert_status number_graph(survey *s, const BertOnnx__GraphProto *graph) {
    bert_arena *arena = &s->builder->scratch;
    const BertOnnx__GraphProto **key = BERT_ARENA_NEW(arena, const BertOnnx__GraphProto *);
    uint32_t *index = BERT_ARENA_NEW(arena, uint32_t);
    if (key && index) {
        *key = graph;
        *index = take_indices(s, graph->n_node);
        if (bert_hash_set(s->builder->first_indices, (const char *)key, sizeof(*key), index)) return BERT_OK;
    }
    return bert_fail_memory(s->error, sizeof(*key), "the numbers of nodes");
}

uint32_t bert_onnx_first_index(const bert_onnx_builder *builder, const BertOnnx__GraphProto *graph) {
    const uint32_t *index = bert_hash_get(builder->first_indices, (const char *)&graph, sizeof(graph));
    return index ? *index : 0;
}

static bert_status survey_graph(survey *s, const BertOnnx__GraphProto *graph, const bert_onnx_opsets *opsets,
                                bool reached, int call_depth) {
    BERT_TRY(number_graph(s, graph));
    return survey_nodes(s, graph->node, graph->n_node, opsets, reached, call_depth);
}

static bert_status survey_function(survey *s, bert_onnx_function *function, bool reached, int call_depth) {
    const BertOnnx__FunctionProto *proto = function->proto;
    if (function->surveyed) return BERT_OK;
    if (call_depth > BERT_ONNX_MAX_CALL_DEPTH) {
        return bert_fail(s->error, BERT_UNSUPPORTED, "calls of functions are nested deeper than %d, at function %s",
                         BERT_ONNX_MAX_CALL_DEPTH, bert_onnx_text(proto->name));
    }
    function->first_index = take_indices(s, proto->n_node);
    function->surveyed = true;
    return survey_nodes(s, proto->node, proto->n_node, &function->opsets, reached, call_depth);
}

static bert_status survey_op(survey *s, const BertOnnx__NodeProto *node, const bert_onnx_opsets *opsets) {
    const char *domain = bert_onnx_domain(node->domain), *name = bert_onnx_text(node->op_type);
    if (*name == '\0') {
        return bert_fail(s->error, BERT_INVALID_MODEL, "node %.*s has no operator",
                         BERT_ONNX_SHOWN(bert_onnx_node_name(node)));
    }
    if (*domain == '\0') {
        if (!opsets->onnx) {
            return bert_fail(s->error, BERT_INVALID_MODEL,
                             "node %.*s (%.*s) is of operator set ai.onnx, and the model does not say which version",
                             BERT_ONNX_SHOWN(bert_onnx_node_name(node)), BERT_ONNX_SHOWN(name));
        }
        if (strcmp(name, "Constant") == 0) return BERT_OK;
    }
    bool microsoft = strcmp(domain, "com.microsoft") == 0;
    int64_t opset = *domain == '\0' ? opsets->onnx : microsoft ? opsets->microsoft : other_version(opsets, domain);
    bool may_be_known = *domain == '\0' || microsoft;
    const bert_op *op = may_be_known ? bert_op_find(domain, name) : NULL;
    if (op && opset >= op->since && opset <= op->until) return BERT_OK;
    return note_missing(s, node, opset, op);
}

/* The function of operators that the node is, made for the first of its kind. */
static bert_status composed_function(survey *s, const BertOnnx__NodeProto *node, bert_onnx_function **out) {
    const BertOnnx__FunctionProto *composed = NULL;
    char overload[BERT_ONNX_COMPOSED_OVERLOAD];
    const bert_status status = bert_onnx_check_composed(node, s->error);
    if (status != BERT_OK) return bert_onnx_fail_in_node(node, status, s->error);
    bert_onnx_composed_overload(node, overload);
    *out = look_up(s->builder, node, overload);
    if (*out) return BERT_OK;
    BERT_TRY(bert_onnx_compose(&s->builder->scratch, node, &composed, s->error));
    BERT_TRY(add_function(s->builder, composed, s->error));
    s->composed_nodes += (uint32_t)composed->n_node;
    *out = look_up(s->builder, node, overload);
    return BERT_OK;
}

/* The function that a node calls, NULL: none. */
static bert_status called_function(survey *s, const BertOnnx__NodeProto *node, bert_onnx_function **out) {
    *out = look_up(s->builder, node, bert_onnx_text(node->overload));
    return *out || !bert_onnx_is_composed(node) ? BERT_OK : composed_function(s, node, out);
}

static bert_status survey_nodes(survey *s, BertOnnx__NodeProto *const *nodes, size_t count,
                                const bert_onnx_opsets *opsets, bool reached, int call_depth) {
    for (size_t i = 0; i < count; i++) {
        const BertOnnx__NodeProto *node = nodes[i];
        bert_onnx_function *function = NULL;
        if (reached) BERT_TRY(called_function(s, node, &function));
        if (function) {
            BERT_TRY(survey_function(s, function, true, call_depth + 1));
        } else if (reached) {
            BERT_TRY(survey_op(s, node, opsets));
        }
        for (size_t a = 0; a < node->n_attribute; a++) {
            const BertOnnx__AttributeProto *attribute = node->attribute[a];
            if (attribute->g) BERT_TRY(survey_graph(s, attribute->g, opsets, reached, call_depth));
            for (size_t g = 0; g < attribute->n_graphs; g++) {
                BERT_TRY(survey_graph(s, attribute->graphs[g], opsets, reached, call_depth));
            }
        }
    }
    return BERT_OK;
}

bert_status bert_onnx_survey(bert_onnx_builder *builder, bert_error *error) {
    const BertOnnx__ModelProto *model = builder->model;
    builder->functions = bert_hash_create(&builder->scratch);
    builder->first_indices = bert_hash_create(&builder->scratch);
    survey s = {.builder = builder, .missing_by_key = bert_hash_create(&builder->scratch), .error = error};
    s.last = &s.first;
    if (!builder->functions || !builder->first_indices || !s.missing_by_key) {
        return bert_fail_memory(error, sizeof(void *), "the model's functions");
    }
    BERT_TRY(bert_onnx_read_opsets(model->opset_import, model->n_opset_import, "the model", &builder->opsets, error));
    if (!builder->opsets.microsoft) builder->opsets.microsoft = 1; /* its only version, and often not written down */
    for (size_t i = 0; i < model->n_functions; i++) BERT_TRY(add_function(builder, model->functions[i], error));
    BERT_TRY(survey_graph(&s, model->graph, &builder->opsets, true, 0));
    for (size_t i = 0; i < model->n_functions; i++) {
        const BertOnnx__FunctionProto *proto = model->functions[i];
        const BertOnnx__NodeProto call = {.op_type = proto->name, .domain = proto->domain, .overload = proto->overload};
        BERT_TRY(survey_function(&s, bert_onnx_find_function(builder, &call), false, 0));
    }
    builder->graph->file_node_count = s.next_index - s.composed_nodes;
    return report_missing(&s);
}
