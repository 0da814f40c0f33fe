/*
 * Two graphs of one file are run: the one after the passes, for the tensors that are still there, and the file's own,
 * for those that passes fused away. Tensors are compared in groups, so that a model of any size needs little memory.
 */
#include "cli/compare.h"
#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/runtime/model.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of the tensors that one run gives. */
static const size_t group_bytes = (size_t)64 << 20;

/* A file output_*.pb of a data set. */
typedef struct expected_file {
    const char *path;
    size_t row;
    size_t bytes;
} expected_file;

typedef struct data_set {
    const char *path;
    expected_file *files;
    size_t count;
} data_set;

typedef struct comparison {
    const bert_engine_options *options;
    bert_engine_options plain_options; /* for the file's own graph */
    bert_arena *arena;
    bert_comparing *out;
    data_set *sets;
    size_t set_count;
    bert_hash *by_name; /* to a row's index */
    size_t capacity;
    const char **names;        /* of all rows */
    const bert_compared *only; /* the one row whose turn it is; NULL: all of them */
} comparison;

bool bert_compared_diverges(const bert_compared *row) {
    return row->compared && (!row->worst.same_form || row->worst.beyond > 0);
}

static bert_status no_memory(bert_error *error) {
    return bert_fail(error, BERT_OUT_OF_MEMORY, "could not allocate memory for the list of tensors");
}

static const char *copy(comparison *c, const char *text) {
    return bert_arena_string(c->arena, text, strlen(text));
}

/* ---- What the case has ------------------------------------------------------------------------------------------ */

static bert_status add_row(comparison *c, const char *name, size_t *row, bert_error *error) {
    const char *key = copy(c, name);
    const size_t *known = bert_hash_get(c->by_name, name, strlen(name));
    if (known) {
        *row = *known;
        return BERT_OK;
    }
    bert_comparing *out = c->out;
    if (out->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 64;
        bert_compared *rows = BERT_ARENA_NEW_ARRAY(c->arena, bert_compared, capacity);
        if (!rows) return no_memory(error);
        if (out->count) memcpy(rows, out->rows, out->count * sizeof *rows);
        out->rows = rows;
        c->capacity = capacity;
    }
    size_t *index = BERT_ARENA_NEW(c->arena, size_t);
    if (!key || !index || !bert_hash_set(c->by_name, key, strlen(key), index)) return no_memory(error);
    *row = *index = out->count++;
    out->rows[*row] = (bert_compared){.name = key};
    return BERT_OK;
}

/* Names and sizes; the tensors themselves are read again when their turn comes. */
static bert_status list_files(comparison *c, const bert_model *model, data_set *set, bert_error *error) {
    const char **paths;
    BERT_TRY(bert_case_files(set->path, "output_", c->arena, &paths, &set->count, error));
    set->files = BERT_ARENA_NEW_ARRAY(c->arena, expected_file, set->count + 1);
    if (!set->files) return no_memory(error);
    for (size_t i = 0; i < set->count; i++) {
        bert_owned_tensor tensor;
        BERT_TRY(bert_tensor_file_read(paths[i], &tensor, error));
        bool named = tensor.name && *tensor.name;
        const char *name = named ? tensor.name : bert_case_output_name(model, &tensor, i);
        bert_status status = name ? add_row(c, name, &set->files[i].row, error)
                                  : bert_fail(error, BERT_INVALID_INPUT,
                                              "%s has no name, and the model no output of that number", paths[i]);
        set->files[i].path = paths[i];
        set->files[i].bytes = tensor.bytes;
        bert_owned_tensor_free(&tensor);
        BERT_TRY(status);
    }
    return BERT_OK;
}

/* ---- What the graphs have --------------------------------------------------------------------------------------- */

static const bert_value *value_of(const bert_graph *graph, const char *name) {
    for (int32_t i = 0; i < graph->output_count; i++) {
        if (strcmp(graph->output_names[i], name) == 0) return graph->outputs[i];
    }
    return NULL;
}

static uint32_t *order_nodes(comparison *c, const bert_graph *graph) {
    uint32_t *orders = BERT_ARENA_NEW_ARRAY(c->arena, uint32_t, (size_t)graph->next_node_id + 1), order = 0;
    if (!orders) return NULL;
    BERT_FOR_EACH_NODE (node, &graph->body) orders[node->id] = ++order;
    return orders;
}

/* What the file's own graph says of the tensors: `graph` has them as outputs. */
static bert_status describe_rows(comparison *c, const bert_graph *graph, const uint32_t *orders, bert_error *error) {
    for (size_t i = 0; i < c->out->count; i++) {
        bert_compared *row = &c->out->rows[i];
        const bert_value *value = value_of(graph, row->name);
        row->present = value != NULL;
        c->out->missing += !row->present;
        if (!value || !value->producer) continue;
        row->order = orders[value->producer->id];
        row->node = copy(c, bert_node_label(value->producer));
        row->op = value->producer->op->name;
        if (!row->node) return no_memory(error);
    }
    if (c->out->missing < c->out->count) return BERT_OK;
    return bert_fail(error, BERT_INVALID_INPUT, "the model has none of the %zu tensors that the case names, '%s' first",
                     c->out->count, c->out->count ? c->out->rows[0].name : "");
}

static const char *join_origins(comparison *c, const bert_node *node) {
    const char *text = "";
    for (uint32_t i = 0; i < node->origin_count && text; i++) {
        text = bert_arena_format(c->arena, "%s%s%s", text, i ? " " : "", node->origins[i]->name);
    }
    return text;
}

/* Which tensors are still there after the passes, and what writes them. */
static bert_status find_kept(comparison *c, const bert_graph *graph, bert_error *error) {
    for (size_t i = 0; i < c->out->count; i++) {
        bert_compared *row = &c->out->rows[i];
        const bert_value *value = value_of(graph, row->name);
        row->kept = row->present && value;
        if (!row->kept || !value->producer) continue;
        row->here = copy(c, bert_node_label(value->producer));
        row->here_op = value->producer->op->name;
        row->origins = join_origins(c, value->producer);
        if (!row->here || !row->origins) return no_memory(error);
    }
    return BERT_OK;
}

/* ---- Running and comparing -------------------------------------------------------------------------------------- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bert_tensor form_of(const bert_tensor *tensor) {
    bert_tensor form = *tensor;
    form.data = NULL;
    return form;
}

static void take_comparison(bert_compared *row, const data_set *set, const bert_comparison *found,
                            const bert_tensor *got, const bert_tensor *expected) {
    /* A pass may have made a tensor smaller than what its name stands for in the file: then the file's is compared. */
    if (!found->same_form && row->kept) {
        row->kept = row->compared = false;
        return;
    }
    bool worse = !row->compared || (row->worst.same_form && (!found->same_form || found->ratio > row->worst.ratio));
    int64_t beyond = row->compared ? row->worst.beyond : 0, elements = row->compared ? row->worst.elements : 0;
    if (worse) {
        row->worst = *found;
        row->data_set = base_name(set->path);
        row->got = form_of(got);
        row->expected = form_of(expected);
    }
    row->worst.beyond = beyond + found->beyond;
    row->worst.elements = elements + found->elements;
    row->compared = true;
}

enum { GROUP_FILES = 256 };

/* What one run gives. */
typedef struct group {
    const expected_file *files[GROUP_FILES];
    size_t count, bytes;
} group;

static bert_status run_group(comparison *c, bert_engine *engine, const data_set *set, const bert_named_tensor *inputs,
                             size_t input_count, const group *g, bert_error *error) {
    bert_named_tensor outputs[GROUP_FILES] = {{0}};
    for (size_t i = 0; i < g->count; i++) outputs[i].name = c->out->rows[g->files[i]->row].name;
    bert_status status = bert_session_run(engine->session, NULL, inputs, input_count, outputs, g->count, error);
    if (status != BERT_OK) return bert_fail_in(error, status, "%s", base_name(set->path));
    for (size_t i = 0; i < g->count; i++) {
        bert_owned_tensor expected;
        BERT_TRY(bert_tensor_file_read(g->files[i]->path, &expected, error));
        bert_comparison found = bert_compare_tensors(&outputs[i].tensor, &expected.tensor, c->out->tolerance);
        take_comparison(&c->out->rows[g->files[i]->row], set, &found, &outputs[i].tensor, &expected.tensor);
        bert_owned_tensor_free(&expected);
    }
    return BERT_OK;
}

/* Whether a tensor's turn is now: `kept` ones are those of the graph after the passes. */
static bool has_turn(const comparison *c, const bert_compared *row, bool kept) {
    return c->only ? row == c->only : row->present && row->kept == kept;
}

static bert_status run_groups(comparison *c, bert_engine *engine, const data_set *set, bool kept,
                              const bert_named_tensor *inputs, size_t input_count, bert_error *error) {
    group g = {.count = 0};
    for (size_t i = 0; i <= set->count; i++) {
        bool last = i == set->count;
        const expected_file *file = last ? NULL : &set->files[i];
        bool taken = file && has_turn(c, &c->out->rows[file->row], kept);
        bool full = taken && (g.count == GROUP_FILES || g.bytes + file->bytes > group_bytes);
        if (g.count && (last || full)) {
            BERT_TRY(run_group(c, engine, set, inputs, input_count, &g, error));
            g.count = g.bytes = 0;
        }
        if (!taken) continue;
        g.files[g.count++] = file;
        g.bytes += file->bytes;
    }
    return BERT_OK;
}

static bert_status run_set(comparison *c, bert_engine *engine, const data_set *set, bool kept, bert_error *error) {
    bert_case_tensors inputs;
    BERT_TRY(bert_case_read(set->path, "input_", &inputs, error));
    bert_named_tensor *named = calloc(inputs.count + 1, sizeof *named);
    bert_status status = named ? bert_case_name_inputs(engine->model, &inputs, named, error) : no_memory(error);
    if (status == BERT_OK) status = run_groups(c, engine, set, kept, named, inputs.count, error);
    free(named);
    bert_case_tensors_free(&inputs);
    return status;
}

static bert_status run_sets(comparison *c, bert_engine *engine, bool kept, bert_error *error) {
    bool any = false;
    for (size_t i = 0; i < c->out->count; i++) any = any || has_turn(c, &c->out->rows[i], kept);
    if (!any) return BERT_OK;
    if (!engine->session) {
        const bert_engine_options *options = kept ? c->options : &c->plain_options;
        BERT_TRY(bert_engine_start(options, BERT_PADDED_ROWS_EXACT, false, engine, error));
    }
    for (size_t i = 0; i < c->set_count; i++) BERT_TRY(run_set(c, engine, &c->sets[i], kept, error));
    return BERT_OK;
}

static bert_status run_after_passes(comparison *c, const char *model, bert_error *error) {
    bert_engine engine = {0};
    bert_status status = bert_engine_load_outputs(c->options, model, c->names, c->out->count, true, &engine, error);
    if (status == BERT_OK) status = find_kept(c, bert_model_graph(engine.model), error);
    if (status == BERT_OK) status = run_sets(c, &engine, true, error);
    bert_engine_close(&engine);
    return status;
}

/* ---- The verdict ------------------------------------------------------------------------------------------------ */

static int by_order(const void *a, const void *b) {
    const bert_compared *left = a;
    const bert_compared *right = b;
    if (left->order != right->order) return left->order < right->order ? -1 : 1;
    return strcmp(left->name, right->name);
}

static const bert_compared *row_of(const bert_comparing *out, const char *name) {
    for (size_t i = 0; i < out->count; i++) {
        if (strcmp(out->rows[i].name, name) == 0) return &out->rows[i];
    }
    return NULL;
}

/*
 * Whether the tensor speaks for what is before it. For one that diverges after the passes, those that were recomputed
 * without them do not.
 */
static bool agrees(const bert_comparing *out, const bert_value *value) {
    const bert_compared *row = row_of(out, value->name);
    return row && row->compared && !bert_compared_diverges(row) && (row->kept || !out->first->kept);
}

/* Marks the nodes from the first tensor that diverges back to those that agree. */
static bert_status mark_suspects(comparison *c, const bert_graph *graph, bool *marked, bert_error *error) {
    const bert_value *first = value_of(graph, c->out->first->name);
    const bert_node **stack = BERT_ARENA_NEW_ARRAY(c->arena, const bert_node *, (size_t)graph->next_node_id + 1);
    size_t depth = 0;
    if (!stack) return no_memory(error);
    if (first && first->producer) {
        marked[first->producer->id] = true;
        stack[depth++] = first->producer;
    }
    while (depth) {
        const bert_node *node = stack[--depth];
        for (int32_t i = 0; i < node->input_count; i++) {
            const bert_value *value = node->inputs[i];
            if (!value || !value->producer || marked[value->producer->id] || agrees(c->out, value)) continue;
            marked[value->producer->id] = true;
            stack[depth++] = value->producer;
        }
    }
    return BERT_OK;
}

/* Lists those that are nearest to the tensor. */
static bert_status find_suspects(comparison *c, const bert_graph *graph, const uint32_t *orders, bert_error *error) {
    bool *marked = BERT_ARENA_NEW_ARRAY(c->arena, bool, (size_t)graph->next_node_id + 1);
    if (!marked) return no_memory(error);
    BERT_TRY(mark_suspects(c, graph, marked, error));
    bert_comparing *out = c->out;
    for (const bert_node *node = graph->body.last; node; node = node->previous) {
        if (!marked[node->id] || out->suspect_count++ >= BERT_MAX_SUSPECTS) continue;
        bert_suspect *suspect = &out->suspects[out->suspect_count - 1];
        *suspect = (bert_suspect){copy(c, bert_node_label(node)), node->op->name, orders[node->id]};
        if (!suspect->name) return no_memory(error);
    }
    return BERT_OK;
}

/* The first one without passes: is it the rewriting, or would the file's graph diverge as well? */
static bert_status compare_plainly(comparison *c, bert_engine *plain, bert_error *error) {
    bert_compared *row = &c->out->rows[c->out->first - c->out->rows];
    bert_compared before = *row;
    row->kept = row->compared = false;
    c->only = row;
    bert_status status = run_sets(c, plain, false, error);
    c->out->plain = row->worst;
    c->out->plain_compared = row->compared;
    *row = before;
    return status;
}

static bert_status judge(comparison *c, bert_engine *plain, const uint32_t *orders, bert_error *error) {
    bert_comparing *out = c->out;
    for (size_t i = out->count; i-- > 0;) {
        if (!bert_compared_diverges(&out->rows[i])) continue;
        out->diverging++;
        out->first = &out->rows[i];
    }
    if (!out->first) return BERT_OK;
    BERT_TRY(find_suspects(c, bert_model_graph(plain->model), orders, error));
    return out->first->kept ? compare_plainly(c, plain, error) : BERT_OK;
}

/* Rows move when they are sorted: files find theirs again by name. */
static bert_status sort_rows(comparison *c, bert_error *error) {
    size_t *places = BERT_ARENA_NEW_ARRAY(c->arena, size_t, c->out->count + 1);
    if (!places) return no_memory(error);
    qsort(c->out->rows, c->out->count, sizeof *c->out->rows, by_order);
    for (size_t i = 0; i < c->out->count; i++) {
        for (size_t j = 0; j < c->out->count; j++) {
            if (c->out->rows[i].name == c->names[j]) places[j] = i;
        }
    }
    for (size_t s = 0; s < c->set_count; s++) {
        for (size_t f = 0; f < c->sets[s].count; f++) c->sets[s].files[f].row = places[c->sets[s].files[f].row];
    }
    return BERT_OK;
}

static bert_status compare_with(comparison *c, const char *model, bert_engine *plain, bert_error *error) {
    c->plain_options = *c->options;
    c->plain_options.no_passes = true;
    c->plain_options.packed_file = NULL; /* made for the graph after the passes */
    bool passes_run = !c->options->no_passes && c->options->precision != BERT_PRECISION_FP64;
    /* The file's outputs, for tensors without a name; loading maps the file and prepares nothing. */
    BERT_TRY(bert_engine_load(&c->plain_options, model, plain, error));
    for (size_t i = 0; i < c->set_count; i++) BERT_TRY(list_files(c, plain->model, &c->sets[i], error));
    bert_engine_close(plain);
    c->names = BERT_ARENA_NEW_ARRAY(c->arena, const char *, c->out->count + 1);
    if (!c->names) return no_memory(error);
    for (size_t i = 0; i < c->out->count; i++) c->names[i] = c->out->rows[i].name;
    BERT_TRY(bert_engine_load_outputs(&c->plain_options, model, c->names, c->out->count, true, plain, error));
    const uint32_t *orders = order_nodes(c, bert_model_graph(plain->model));
    if (!orders) return no_memory(error);
    BERT_TRY(describe_rows(c, bert_model_graph(plain->model), orders, error));
    BERT_TRY(sort_rows(c, error));
    if (passes_run) BERT_TRY(run_after_passes(c, model, error));
    BERT_TRY(run_sets(c, plain, false, error));
    return judge(c, plain, orders, error);
}

bert_status bert_compare_run(const bert_engine_options *options, const char *model, const char *const *data_sets,
                             size_t data_set_count, bert_arena *arena, bert_comparing *out, bert_error *error) {
    comparison c = {.options = options, .arena = arena, .out = out, .set_count = data_set_count};
    c.sets = BERT_ARENA_NEW_ARRAY(arena, data_set, data_set_count);
    c.by_name = bert_hash_create(arena);
    if (!c.sets || !c.by_name) return no_memory(error);
    for (size_t i = 0; i < data_set_count; i++) c.sets[i].path = data_sets[i];
    bert_engine plain = {0};
    bert_status status = compare_with(&c, model, &plain, error);
    bert_engine_close(&plain);
    return status;
}
