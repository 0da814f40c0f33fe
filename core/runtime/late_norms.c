#include "core/runtime/late_norms.h"

#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/graph/op.h"
#include "core/runtime/binding_edit.h"
#include "core/runtime/computed_once.h"

#include <string.h>

/* A norm that may be late: it takes what a Linear gives, right from it. */
typedef struct norm {
    const bert_node *node;
    bert_value *rows;                /* what it normalizes, which the Linear gives or, with the skip, is to give */
    size_t product;                  /* the step that is the Linear */
    bert_value *skip;                /* what a SkipLayerNormalization adds to the rows; NULL: a LayerNormalization */
    bert_value *gamma, *beta, *bias; /* the last two NULL where they are absent */
    float epsilon;
    bool late;
} norm;

/* What a Linear becomes while norms are late; nothing but zeros: it stays. */
typedef struct form {
    const norm *x, *residual; /* late norms that it applies as it reads */
    const norm *added;        /* whose skip is its residual */
    bool moments;             /* it gives them */
} form;
enum { FORMS = 16 };

typedef enum answer { NOT_ASKED, RUNS, REFUSED } answer;

typedef struct rewriter {
    const bert_weights *weights;
    const bert_binding *from;
    bert_binding made; /* with the values that nodes need which the backend is asked for; then with steps, too */
    bert_arena *memory, *scratch;
    bert_error *error;
    /* By id of a root; NULL of other values. */
    const bert_node **writers;
    size_t *written; /* the step */
    uint32_t *reads; /* inputs that read it, and wanted outputs */
    bool *wanted;
    norm **norm_of; /* that gives it; NULL: none */
    /* By value id. */
    bert_value **moments; /* of its rows, where a node was made with them */
    /* By step. */
    bool *once;              /* it is no part of the plan: see computed_once.h */
    norm *norms;             /* node NULL: none */
    norm **added;            /* of a Linear: the SkipLayerNormalization that adds to it, and nobody else reads */
    uint32_t *late;          /* of a Linear: late norms of its rows */
    uint8_t *products;       /* of a Linear, an answer: whether it may be another node at all */
    uint8_t *outputs;        /* of a norm, an answer: whether it may be a LayerNormalization */
    uint8_t (*forms)[FORMS]; /* of a Linear, answers by form_index */
} rewriter;

static bert_status no_memory(const rewriter *r) {
    return bert_fail(r->error, BERT_OUT_OF_MEMORY, "could not allocate memory for binding shapes");
}

static const bert_value_info *info_of(const rewriter *r, const bert_value *value) {
    return &r->made.infos[value->id];
}

static const bert_value *root_of(const rewriter *r, const bert_value *value) {
    return r->from->roots[value->id];
}

/* ---- Norms that may be late -------------------------------------------------------------------------------------- */

static int64_t width_of(const rewriter *r, const bert_value *value) {
    const bert_shape *shape = &info_of(r, value)->shape;
    return shape->rank > 0 ? shape->dims[shape->rank - 1] : 0;
}

static bool are_alike(const bert_value_info *a, const bert_value_info *b) {
    bool alike = a->dtype == b->dtype && a->shape.rank == b->shape.rank;
    for (int32_t i = 0; alike && i < a->shape.rank; i++) alike = a->shape.dims[i] == b->shape.dims[i];
    return alike;
}

/* Whether gamma, beta or bias is a constant of the type of the rows, with an element for each of their columns. */
static bool is_factor(const rewriter *r, const bert_value *factor, const bert_value *rows) {
    const bert_value_info *info = info_of(r, factor);
    return info->constant && info->dtype == info_of(r, rows)->dtype && info->shape.rank == 1 &&
           info->shape.dims[0] == width_of(r, rows);
}

/* The Linear that gives this very value, not one that it is a view of; its step into *step. */
static const bert_node *product_of(const rewriter *r, const bert_value *value, size_t *step) {
    const bert_node *node = value ? r->writers[value->id] : NULL;
    if (!node || node->op->id != BERT_OP_BERTC_Linear) return NULL;
    *step = r->written[value->id];
    return r->once[*step] ? NULL : node;
}

/* Whether the Linear can add the skip, and the bias, itself. */
static bool takes_skip(const rewriter *r, const bert_node *linear, const norm *n) {
    if (strcmp(BERT_NODE_STRING(linear, "activation", "none"), "none") != 0) return false;
    if (bert_node_in(linear, BERT_LINEAR_RESIDUAL) || r->reads[linear->outputs[0]->id] != 1) return false;
    if (!are_alike(info_of(r, linear->outputs[0]), info_of(r, n->skip))) return false;
    return !n->bias || (BERT_NODE_INT(linear, "parts", 1) == 1 && !bert_node_in(linear, BERT_LINEAR_BIAS(0)));
}

/* All but the Linear. */
static bool has_form(const rewriter *r, const norm *n) {
    const bert_value *y = n->node->outputs[0], *factors[] = {n->gamma, n->beta, n->bias};
    if (!y || !are_alike(info_of(r, n->rows), info_of(r, y))) return false;
    if (width_of(r, n->rows) <= 0 || info_of(r, n->rows)->shape.rank == BERT_MAX_RANK) return false;
    for (int i = 0; i < 3; i++)
        if (factors[i] && !is_factor(r, factors[i], n->rows)) return false;
    return n->gamma != NULL;
}

static bool find_skip_norm(const rewriter *r, const bert_node *node, norm *out) {
    if (BERT_NODE_INT(node, "simplified", 0)) return false;
    for (int32_t side = BERT_SKIP_X; side <= BERT_SKIP_SKIP; side++) {
        bert_value *x = node->inputs[side], *sum = bert_node_out(node, 1);
        norm n = {.node = node,
                  .rows = sum ? sum : x,
                  .skip = node->inputs[BERT_SKIP_X + BERT_SKIP_SKIP - side],
                  .gamma = bert_node_in(node, BERT_SKIP_GAMMA),
                  .beta = bert_node_in(node, BERT_SKIP_BETA),
                  .bias = bert_node_in(node, BERT_SKIP_BIAS),
                  .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-12F)};
        const bert_node *linear = product_of(r, x, &n.product);
        if (!linear || !takes_skip(r, linear, &n) || !has_form(r, &n)) continue;
        *out = n;
        return true;
    }
    return false;
}

static bool find_layer_norm(const rewriter *r, const bert_node *node, norm *out) {
    norm n = {.node = node,
              .rows = node->inputs[0],
              .gamma = bert_node_in(node, 1),
              .beta = bert_node_in(node, 2),
              .epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-5F)};
    const int64_t axis = BERT_NODE_INT(node, "axis", -1);
    if (!product_of(r, n.rows, &n.product)) return false;
    if (axis != -1 && axis != info_of(r, n.rows)->shape.rank - 1) return false;
    for (int32_t i = 1; i < node->output_count; i++)
        if (node->outputs[i] && r->reads[node->outputs[i]->id]) return false;
    if (!has_form(r, &n)) return false;
    *out = n;
    return true;
}

static void find_norm(rewriter *r, size_t step) {
    const bert_node *node = r->from->steps[step];
    norm *n = &r->norms[step];
    if (node->op->id == BERT_OP_BERTC_SkipLayerNormalization) {
        if (!find_skip_norm(r, node, n)) return;
        r->added[n->product] = n;
    } else if (node->op->id != BERT_OP_LayerNormalization || !find_layer_norm(r, node, n)) {
        return;
    }
    r->norm_of[node->outputs[0]->id] = n;
    n->late = !r->wanted[node->outputs[0]->id];
    r->late[n->product] += n->late;
}

static void keep(rewriter *r, norm *n) {
    if (!n || !n->late) return;
    n->late = false;
    r->late[n->product]--;
}

/* The norm whose output the value is, as it is or seen in another shape, while it is late; NULL: it is what it says. */
static norm *late_norm_of(const rewriter *r, const bert_value *value) {
    norm *n = value ? r->norm_of[root_of(r, value)->id] : NULL;
    return n && n->late ? n : NULL;
}

/* Whether a step may come to normalize its input, whose rows are those of a norm. */
static bool may_normalize(const rewriter *r, size_t step, int32_t input, const norm *of) {
    const bert_node *node = r->from->steps[step];
    const bert_value *value = node->inputs[input];
    if (width_of(r, value) != width_of(r, of->rows) || info_of(r, value)->shape.rank == BERT_MAX_RANK) return false;
    if (node->op->id == BERT_OP_BERTC_Linear) return input == BERT_LINEAR_X || input == BERT_LINEAR_RESIDUAL;
    return r->norms[step].skip == value;
}

static void keep_norms_of_other_readers(rewriter *r) {
    for (size_t s = 0; s < r->from->step_count; s++) {
        const bert_node *node = r->from->steps[s];
        for (int32_t i = 0; i < node->input_count; i++) {
            norm *n = late_norm_of(r, node->inputs[i]);
            if (n && !may_normalize(r, s, i, n)) keep(r, n);
        }
    }
}

/* ---- Nodes that are made ----------------------------------------------------------------------------------------- */

static form form_of(const rewriter *r, size_t step) {
    const bert_node *linear = r->from->steps[step];
    const norm *added = r->added[step];
    form f = {.moments = r->late[step] > 0, .x = late_norm_of(r, linear->inputs[BERT_LINEAR_X])};
    if (added && (added->late || late_norm_of(r, added->skip))) f.added = added;
    f.residual = late_norm_of(r, f.added ? added->skip : bert_node_in(linear, BERT_LINEAR_RESIDUAL));
    return f;
}

static int form_index(const form *f) {
    return (f->x != NULL) | (f->residual != NULL) << 1 | (f->added != NULL) << 2 | f->moments << 3;
}

/* Of rows as this value has them: those of the Linear that gives them, perhaps seen in another shape. */
static bert_status moments_of(rewriter *r, const bert_value *rows, bert_value **out) {
    const norm *n = r->norm_of[root_of(r, rows)->id];
    bert_value *given = NULL;
    *out = r->moments[rows->id];
    if (*out) return BERT_OK;
    if (n) BERT_TRY(moments_of(r, n->rows, &given));
    bert_value_info info = {.dtype = BERT_FLOAT, .shape = info_of(r, rows)->shape};
    const int32_t last = info.shape.rank++ - 1;
    info.shape.dims[last] = BERT_MOMENTS_OF_ROW(info.shape.dims[last]);
    info.shape.dims[last + 1] = 2;
    *out = bert_binding_add_value(&r->made, r->memory, "moments", &info, r->made.row_axes[rows->id]);
    if (!*out) return no_memory(r);
    if (given) r->made.roots[(*out)->id] = given;
    r->moments[rows->id] = *out;
    return BERT_OK;
}

/* Inputs from `moments` on are those that normalize input `operand`. */
static bert_status add_norm(rewriter *r, bert_arena *arena, bert_node *node, const norm *n, int32_t operand,
                            int32_t moments, const char *epsilon) {
    if (!n) return BERT_OK;
    const bert_attribute attribute = BERT_FLOAT_ATTRIBUTE(epsilon, n->epsilon);
    BERT_TRY(moments_of(r, node->inputs[operand], &node->inputs[moments]));
    node->inputs[moments + 1] = n->gamma;
    node->inputs[moments + 2] = n->beta;
    return bert_node_add_attribute(arena, node, &attribute) ? BERT_OK : no_memory(r);
}

static bert_status make_product(rewriter *r, bert_arena *arena, size_t step, const form *f, bert_node **out) {
    const bert_node *linear = r->from->steps[step];
    const int32_t parts = (int32_t)BERT_NODE_INT(linear, "parts", 1);
    bert_node *node = bert_node_copy(arena, linear, BERT_LAYER_NORM_LINEAR_WEIGHT(parts), f->moments ? 2 : 1);
    if (!node) return no_memory(r);
    node->op = bert_op_get(BERT_OP_BERTC_LayerNormLinear);
    if (f->added) node->outputs[0] = f->added->rows;
    for (int32_t i = BERT_LINEAR_WEIGHT(0); i < node->input_count; i++) node->inputs[i] = NULL;
    node->inputs[BERT_LINEAR_RESIDUAL] = f->added ? f->added->skip : bert_node_in(linear, BERT_LINEAR_RESIDUAL);
    for (int32_t part = 0; part < parts; part++) {
        node->inputs[BERT_LAYER_NORM_LINEAR_WEIGHT(part)] = linear->inputs[BERT_LINEAR_WEIGHT(part)];
        node->inputs[BERT_LAYER_NORM_LINEAR_BIAS(part)] = bert_node_in(linear, BERT_LINEAR_BIAS(part));
    }
    if (f->added && f->added->bias) node->inputs[BERT_LAYER_NORM_LINEAR_BIAS(0)] = f->added->bias;
    if (f->moments) BERT_TRY(moments_of(r, node->outputs[0], &node->outputs[1]));
    BERT_TRY(add_norm(r, arena, node, f->x, BERT_LINEAR_X, BERT_LAYER_NORM_LINEAR_X_MOMENTS, "x_epsilon"));
    BERT_TRY(add_norm(r, arena, node, f->residual, BERT_LINEAR_RESIDUAL, BERT_LAYER_NORM_LINEAR_RESIDUAL_MOMENTS,
                      "residual_epsilon"));
    *out = node;
    return BERT_OK;
}

/* What a SkipLayerNormalization is after the Linear added its skip. */
static bert_status make_layer_norm(rewriter *r, bert_arena *arena, const norm *n, bert_node **out) {
    bert_node *node = bert_node_copy(arena, n->node, n->beta ? 3 : 2, 1);
    if (!node) return no_memory(r);
    node->op = bert_op_get(BERT_OP_LayerNormalization);
    node->opset = 17;
    node->attribute_count = 0;
    const bert_attribute attributes[] = {BERT_INT_ATTRIBUTE("axis", -1), BERT_FLOAT_ATTRIBUTE("epsilon", n->epsilon)};
    for (int i = 0; i < 2; i++)
        if (!bert_node_add_attribute(arena, node, &attributes[i])) return no_memory(r);
    node->inputs[0] = n->rows;
    node->inputs[1] = n->gamma;
    if (n->beta) node->inputs[2] = n->beta;
    *out = node;
    return BERT_OK;
}

/* ---- What the backend takes -------------------------------------------------------------------------------------- */

static bert_status ask(rewriter *r, const bert_node *node, uint8_t *out) {
    bert_op_plan plan;
    bool runs;
    BERT_TRY(bert_weights_ask(r->weights, r->scratch, node, r->made.infos, &plan, &runs, r->error));
    /* A product of byte rows is no Linear over what it would normalize. */
    *out = runs && plan.x_bytes == 0 ? RUNS : REFUSED;
    return BERT_OK;
}

/* Whether the Linear may be what it is to be now. */
static bert_status ask_for_product(rewriter *r, size_t step, const form *f, bool *out) {
    uint8_t *known = &r->forms[step][form_index(f)];
    if (r->products[step] == NOT_ASKED) BERT_TRY(ask(r, r->from->steps[step], &r->products[step]));
    if (*known == NOT_ASKED && r->products[step] == RUNS) {
        bert_node *node;
        BERT_TRY(make_product(r, r->scratch, step, f, &node));
        BERT_TRY(ask(r, node, known));
    }
    *out = *known == RUNS;
    return BERT_OK;
}

static bert_status ask_for_layer_norm(rewriter *r, size_t step, bool *out) {
    uint8_t *known = &r->outputs[step];
    if (*known == NOT_ASKED) {
        bert_node *node;
        BERT_TRY(make_layer_norm(r, r->scratch, &r->norms[step], &node));
        BERT_TRY(ask(r, node, known));
    }
    *out = *known == RUNS;
    return BERT_OK;
}

/* Whether its Linear adds the skip of a norm that stays. */
static bool only_adds(const rewriter *r, const norm *n) {
    return n->node && n->skip && !n->late && late_norm_of(r, n->skip);
}

/* Keeps norms on which a node depends that the backend doesn't take; *changed where there was one. */
static bert_status keep_refused(rewriter *r, size_t step, bool *changed) {
    bool runs = true;
    if (r->from->steps[step]->op->id == BERT_OP_BERTC_Linear) {
        const form f = form_of(r, step);
        if (form_index(&f)) BERT_TRY(ask_for_product(r, step, &f, &runs));
        if (runs) return BERT_OK;
        for (size_t s = 0; s < r->from->step_count; s++) {
            norm *n = &r->norms[s];
            if (n == f.x || n == f.residual || (n->node && n->product == step)) keep(r, n);
        }
    } else if (only_adds(r, &r->norms[step])) {
        BERT_TRY(ask_for_layer_norm(r, step, &runs));
        if (!runs) keep(r, late_norm_of(r, r->norms[step].skip));
    }
    if (!runs) *changed = true;
    return BERT_OK;
}

/* The most norms that can be late: each that is kept may take others with it. */
static bert_status choose(rewriter *r) {
    for (size_t s = 0; s < r->from->step_count; s++) find_norm(r, s);
    keep_norms_of_other_readers(r);
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t s = 0; s < r->from->step_count; s++) BERT_TRY(keep_refused(r, s, &changed));
    }
    return BERT_OK;
}

/* ---- The whole binding ------------------------------------------------------------------------------------------- */

static bert_status add_product(rewriter *r, size_t step, const form *f) {
    bert_node *node;
    BERT_TRY(make_product(r, r->memory, step, f, &node));
    r->made.steps[r->made.step_count++] = node;
    return BERT_OK;
}

/* A Linear that adds a skip comes where the norm was: the skip may be computed after the Linear's own place. */
static bert_status add_step(rewriter *r, size_t step) {
    const bert_node *node = r->from->steps[step];
    const norm *n = &r->norms[step];
    if (node->op->id == BERT_OP_BERTC_Linear) {
        const form f = form_of(r, step);
        if (f.added) return BERT_OK;
        if (form_index(&f)) return add_product(r, step, &f);
    }
    if (n->node && n->skip && (n->late || only_adds(r, n))) {
        const form f = form_of(r, n->product);
        BERT_TRY(add_product(r, n->product, &f));
    }
    if (n->node && n->late) return BERT_OK;
    if (only_adds(r, n)) {
        bert_node *made;
        BERT_TRY(make_layer_norm(r, r->memory, n, &made));
        node = made;
    }
    r->made.steps[r->made.step_count++] = node;
    return BERT_OK;
}

static bert_status rewrite(rewriter *r) {
    for (size_t s = 0; s < r->from->step_count; s++) BERT_TRY(add_step(r, s));
    /* Who reads a late norm's output reads the rows that it was to normalize. */
    for (uint32_t i = 0; i < r->from->value_count; i++) {
        const bert_value *root = r->from->roots[i];
        if (root && late_norm_of(r, root)) r->made.roots[i] = late_norm_of(r, root)->rows;
    }
    return BERT_OK;
}

static bert_status allocate_tables(rewriter *r) {
    const size_t values = r->from->value_count, steps = r->from->step_count;
    const bool copied = bert_binding_copy(r->from, r->from->value_count, steps, r->scratch, &r->made);
    r->writers = BERT_ARENA_NEW_ARRAY(r->scratch, const bert_node *, values);
    r->written = BERT_ARENA_NEW_ARRAY(r->scratch, size_t, values);
    r->reads = BERT_ARENA_NEW_ARRAY(r->scratch, uint32_t, values);
    r->wanted = BERT_ARENA_NEW_ARRAY(r->scratch, bool, values);
    r->norm_of = BERT_ARENA_NEW_ARRAY(r->scratch, norm *, values);
    r->moments = BERT_ARENA_NEW_ARRAY(r->scratch, bert_value *, values);
    r->once = BERT_ARENA_NEW_ARRAY(r->scratch, bool, steps);
    r->norms = BERT_ARENA_NEW_ARRAY(r->scratch, norm, steps);
    r->added = BERT_ARENA_NEW_ARRAY(r->scratch, norm *, steps);
    r->late = BERT_ARENA_NEW_ARRAY(r->scratch, uint32_t, steps);
    r->products = BERT_ARENA_NEW_ARRAY(r->scratch, uint8_t, steps);
    r->outputs = BERT_ARENA_NEW_ARRAY(r->scratch, uint8_t, steps);
    r->forms = bert_arena_array(r->scratch, steps, sizeof *r->forms);
    return copied && r->writers && r->written && r->reads && r->wanted && r->norm_of && r->moments && r->once &&
                   r->norms && r->added && r->late && r->products && r->outputs && r->forms
               ? BERT_OK
               : no_memory(r);
}

static bert_status find_readers(rewriter *r, const bert_request *request) {
    const bert_graph *graph = r->weights->model->graph;
    const bert_binding *from = r->from;
    for (size_t s = 0; s < from->step_count; s++) {
        const bert_node *node = from->steps[s];
        for (int32_t i = 0; i < node->input_count; i++)
            if (node->inputs[i]) r->reads[root_of(r, node->inputs[i])->id]++;
        for (int32_t i = 0; i < node->output_count; i++) {
            if (!node->outputs[i]) continue;
            r->writers[node->outputs[i]->id] = node;
            r->written[node->outputs[i]->id] = s;
        }
    }
    for (int32_t i = 0; i < graph->output_count; i++) {
        if (!request->wanted[i]) continue;
        const bert_value *root = root_of(r, graph->outputs[i]);
        r->wanted[root->id] = true;
        r->reads[root->id]++;
    }
    if (!r->weights->device->properties.host_memory) return BERT_OK;
    return bert_find_computed_once(graph, from, r->scratch, r->once) ? BERT_OK : no_memory(r);
}

bert_status bert_bind_late_norms(const bert_weights *weights, const bert_request *request, bert_arena *memory,
                                 bert_arena *scratch, bert_binding *binding, bert_error *error) {
    rewriter r = {.weights = weights, .from = binding, .memory = memory, .scratch = scratch, .error = error};
    bool any = false;
    BERT_TRY(allocate_tables(&r));
    BERT_TRY(find_readers(&r, request));
    BERT_TRY(choose(&r));
    for (size_t s = 0; s < binding->step_count; s++) any |= r.norms[s].late;
    if (!any) return BERT_OK;
    BERT_TRY(rewrite(&r));
    *binding = r.made;
    return BERT_OK;
}
