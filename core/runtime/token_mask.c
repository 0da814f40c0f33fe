#include "core/runtime/token_mask.h"

#include "core/base/error.h"
#include "core/graph/canonical.h"
#include "core/graph/op.h"

#include <math.h>
#include <string.h>

/* ---- Which input it is ------------------------------------------------------------------------------------------- */

static bool may_be_mask(const bert_value *value) {
    switch (value->info.dtype) {
    case BERT_BOOL:
    case BERT_INT8:
    case BERT_UINT8:
    case BERT_INT32:
    case BERT_INT64:
        return value->info.shape.rank == 2;
    default:
        return false;
    }
}

/* Shapes are what these read, and not the content. */
static bool reads_content(const bert_node *node) {
    return node->op->id != BERT_OP_Shape && node->op->id != BERT_OP_Size;
}

/* Marks every value that `value` is computed from. */
static void follow_back(const bert_value *value, const bert_value **stack, bool *seen) {
    size_t depth = 0;
    stack[depth++] = value;
    seen[value->id] = true;
    while (depth) {
        const bert_node *node = stack[--depth]->producer;
        if (!node || !reads_content(node)) continue;
        for (int32_t i = 0; i < node->input_count; i++) {
            const bert_value *input = node->inputs[i];
            if (!input || seen[input->id]) continue;
            seen[input->id] = true;
            stack[depth++] = input;
        }
    }
}

static int32_t input_named(const bert_graph *graph, const char *name) {
    for (int32_t i = 0; i < graph->input_count; i++) {
        if (strcmp(graph->inputs[i]->name, name) == 0 && may_be_mask(graph->inputs[i])) return i;
    }
    return -1;
}

bert_status bert_token_mask_find(const bert_graph *graph, int32_t *out, bert_error *error) {
    bert_arena scratch;
    bert_arena_init(&scratch, graph->allocator);
    bool *seen = BERT_ARENA_NEW_ARRAY(&scratch, bool, graph->value_count);
    const bert_value **stack = BERT_ARENA_NEW_ARRAY(&scratch, const bert_value *, graph->value_count);
    if (!seen || !stack) {
        bert_arena_free(&scratch);
        return bert_fail_memory(error, graph->value_count * sizeof *stack, "the search for the attention mask");
    }
    BERT_FOR_EACH_NODE (node, &graph->body) {
        if (node->op->id != BERT_OP_BERTC_Attention) continue;
        for (int32_t i = BERT_ATTENTION_BIAS; i <= BERT_ATTENTION_MASK && i < node->input_count; i++) {
            if (node->inputs[i] && !seen[node->inputs[i]->id]) follow_back(node->inputs[i], stack, seen);
        }
    }
    int32_t count = 0;
    *out = -1;
    for (int32_t i = 0; i < graph->input_count; i++) {
        if (!seen[graph->inputs[i]->id] || !may_be_mask(graph->inputs[i])) continue;
        *out = i;
        count++;
    }
    if (count != 1) *out = input_named(graph, "attention_mask");
    bert_arena_free(&scratch);
    return BERT_OK;
}

/* ---- Following what it becomes ----------------------------------------------------------------------------------- */

/* Elements of a value that is followed, at most: beyond that it costs more than it may bring. */
enum { MOST_ELEMENTS = 1 << 22 };

typedef enum node_kind { OPAQUE, ELEMENTWISE, MOVES_FIRST, MOVES_ALL, SUMS } node_kind;

static node_kind kind_of(const bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_Add:
    case BERT_OP_Sub:
    case BERT_OP_Mul:
    case BERT_OP_Div:
    case BERT_OP_Mod:
    case BERT_OP_Min:
    case BERT_OP_Max:
    case BERT_OP_Pow:
    case BERT_OP_Neg:
    case BERT_OP_Abs:
    case BERT_OP_Sign:
    case BERT_OP_Cast:
    case BERT_OP_Clip:
    case BERT_OP_Equal:
    case BERT_OP_Greater:
    case BERT_OP_GreaterOrEqual:
    case BERT_OP_Less:
    case BERT_OP_LessOrEqual:
    case BERT_OP_And:
    case BERT_OP_Or:
    case BERT_OP_Xor:
    case BERT_OP_Not:
    case BERT_OP_IsNaN:
    case BERT_OP_Where:
        return ELEMENTWISE;
    case BERT_OP_Identity:
    case BERT_OP_Reshape:
    case BERT_OP_Flatten:
    case BERT_OP_Squeeze:
    case BERT_OP_Unsqueeze:
    case BERT_OP_Transpose:
    case BERT_OP_Slice:
    case BERT_OP_Split:
    case BERT_OP_Gather:
    case BERT_OP_GatherElements:
    case BERT_OP_GatherND:
    case BERT_OP_Expand:
    case BERT_OP_Tile:
        return MOVES_FIRST;
    case BERT_OP_Concat:
        return MOVES_ALL;
    case BERT_OP_ReduceSum:
        return SUMS;
    default:
        return OPAQUE;
    }
}

static bert_status no_memory(const bert_mask_prober *p) {
    return bert_fail(p->error, BERT_OUT_OF_MEMORY, "could not allocate memory for following the attention mask");
}

/* The type and shape that the binding found; data NULL. */
static bert_tensor tensor_of(const bert_mask_prober *p, const bert_value *value) {
    const bert_value_info *info = &p->binding->infos[value->id];
    bert_tensor tensor = {.dtype = info->dtype, .rank = info->shape.rank};
    for (int32_t i = 0; i < info->shape.rank; i++) tensor.dims[i] = info->shape.dims[i];
    return tensor;
}

static bool fill(const bert_mask_prober *p, bert_tensor *tensor, int64_t number) {
    const int64_t elements = bert_tensor_elements(tensor);
    const size_t size = bert_dtype_size(tensor->dtype);
    unsigned char *data = bert_arena_allocate(p->arena, (size_t)elements * size, BERT_ALIGNMENT);
    /* Two's complement, little-endian: the low bytes are the narrower number. */
    for (int64_t i = 0; data && i < elements; i++) memcpy(data + (size_t)i * size, &number, size);
    tensor->data = data;
    return data != NULL;
}

static int32_t *new_depends(const bert_mask_prober *p, int64_t elements, int32_t number) {
    int32_t *depends = BERT_ARENA_NEW_ARRAY(p->arena, int32_t, (size_t)elements);
    for (int64_t i = 0; depends && i < elements; i++) depends[i] = number;
    return depends;
}

static bert_status finish(bert_mask_prober *p, const bert_value *value, const bert_mask_probe *probe) {
    bert_mask_probe *copy = BERT_ARENA_NEW(p->arena, bert_mask_probe);
    if (!copy) return no_memory(p);
    *copy = *probe;
    copy->elements = bert_tensor_elements(&copy->zeros);
    p->probes[value->id] = copy;
    return BERT_OK;
}

static bert_status probe_mask(bert_mask_prober *p, const bert_value *value) {
    bert_mask_probe probe = {.zeros = tensor_of(p, value), .ones = tensor_of(p, value)};
    const int64_t elements = bert_tensor_elements(&probe.zeros);
    int32_t *depends = new_depends(p, elements, 0);
    if (!depends || !fill(p, &probe.zeros, 0) || !fill(p, &probe.ones, 1)) return no_memory(p);
    for (int64_t i = 0; i < elements; i++) depends[i] = (int32_t)i;
    probe.depends = depends;
    return finish(p, value, &probe);
}

static bert_status probe_constant(bert_mask_prober *p, const bert_value *value) {
    const bert_constant *constant = p->binding->infos[value->id].constant;
    bert_tensor tensor = tensor_of(p, value);
    tensor.data = bert_arena_allocate(p->arena, constant->bytes, BERT_ALIGNMENT);
    const int32_t *depends = new_depends(p, bert_tensor_elements(&tensor), BERT_MASK_NONE);
    if (!tensor.data || !depends) return no_memory(p);
    if (constant->bytes) memcpy(tensor.data, constant->data, constant->bytes);
    return finish(p, value, &(bert_mask_probe){.zeros = tensor, .ones = tensor, .depends = depends});
}

static double number_at(const bert_tensor *tensor, int64_t index) {
    const bert_constant constant = {.dtype = tensor->dtype, .data = tensor->data};
    return bert_constant_double(&constant, index);
}

/* ---- Nodes ------------------------------------------------------------------------------------------------------- */

/* Offset of the element of a tensor that broadcasting puts at `index` of `out`. */
static int64_t broadcast_offset(const bert_tensor *tensor, const bert_tensor *out, int64_t index) {
    int64_t offset = 0, stride = 1;
    for (int32_t back = 1; back <= out->rank; back++) {
        const int64_t at = index % out->dims[out->rank - back];
        index /= out->dims[out->rank - back];
        if (back > tensor->rank) break;
        const int64_t size = tensor->dims[tensor->rank - back];
        if (size > 1) offset += at * stride;
        stride *= size;
    }
    return offset;
}

static int32_t join(int32_t a, int32_t b) {
    if (a == b || b == BERT_MASK_NONE) return a;
    return a == BERT_MASK_NONE ? b : BERT_MASK_UNKNOWN;
}

/* Which element of the mask a comparison of a sequence's length with `number` is, all padding being on the right:
 * length > t is element t. `above`: the length is to be greater; `equal`: or the same. */
static int32_t compare_length(bert_mask_prober *p, int32_t sequence, double number, bool above, bool equal) {
    /* length >= n and not (length < n) are element n - 1. */
    const double position = above == equal ? number - 1 : number;
    if (position != floor(position)) return BERT_MASK_UNKNOWN;
    p->right = true;
    if (position < 0 || position >= (double)p->sequence) return BERT_MASK_NONE;
    return (int32_t)((int64_t)sequence * p->sequence + (int64_t)position);
}

/* What a comparison with the length of a sequence depends on. */
static int32_t compared(bert_mask_prober *p, const bert_node *node, const bert_tensor *out, int64_t element) {
    const bert_op_id op = node->op->id;
    const bool less = op == BERT_OP_Less || op == BERT_OP_LessOrEqual;
    const bool equal = op == BERT_OP_LessOrEqual || op == BERT_OP_GreaterOrEqual;
    if (!less && op != BERT_OP_Greater && op != BERT_OP_GreaterOrEqual) return BERT_MASK_UNKNOWN;
    const bert_mask_probe *sides[2];
    int64_t at[2];
    for (int i = 0; i < 2; i++) {
        if (!node->inputs[i]) return BERT_MASK_UNKNOWN;
        sides[i] = p->probes[node->inputs[i]->id];
        at[i] = broadcast_offset(&sides[i]->zeros, out, element);
    }
    for (int i = 0; i < 2; i++) {
        const int32_t length = sides[i]->depends[at[i]], other = sides[1 - i]->depends[at[1 - i]];
        if (length > BERT_MASK_LENGTHS || other != BERT_MASK_NONE) continue;
        return compare_length(p, BERT_MASK_LENGTHS - length, number_at(&sides[1 - i]->zeros, at[1 - i]),
                              less == (i == 1), equal);
    }
    return BERT_MASK_UNKNOWN;
}

/* Lengths that are cast stay lengths; all else that is done with them is a comparison, or not known. */
static void join_lengths(bert_mask_prober *p, const bert_node *node, const bert_tensor *out, int32_t *depends) {
    if (node->op->id == BERT_OP_Cast) return;
    const int64_t elements = bert_tensor_elements(out);
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        const bert_mask_probe *input = p->probes[node->inputs[i]->id];
        for (int64_t e = 0; e < elements; e++) {
            if (input->depends[broadcast_offset(&input->zeros, out, e)] > BERT_MASK_LENGTHS) continue;
            depends[e] = node->input_count == 2 ? compared(p, node, out, e) : BERT_MASK_UNKNOWN;
        }
    }
}

/* The second element of the mask on which one of a value depends. */
static int32_t second_at(const bert_mask_probe *probe, int64_t at) {
    return probe->with ? probe->with[at] : BERT_MASK_NONE;
}

/* A product of two elements that are 0 where theirs of the mask are: 0 where either is. A mask of queries and keys. */
static bert_status join_pairs(const bert_mask_prober *p, const bert_node *node, const bert_mask_probe *probe,
                              int32_t *depends, int32_t **with) {
    if (!node->inputs[0] || !node->inputs[1]) return BERT_OK;
    const bert_tensor *out = &probe->zeros;
    const int64_t elements = bert_tensor_elements(out);
    const bert_mask_probe *a = p->probes[node->inputs[0]->id], *b = p->probes[node->inputs[1]->id];
    for (int64_t e = 0; e < elements; e++) {
        const int64_t a_at = broadcast_offset(&a->zeros, out, e), b_at = broadcast_offset(&b->zeros, out, e);
        const int32_t first = a->depends[a_at], second = b->depends[b_at];
        if (first < 0 || second < 0 || first == second || number_at(&a->zeros, a_at) != 0 ||
            number_at(&b->zeros, b_at) != 0 || !isfinite(number_at(&probe->ones, e)))
            continue;
        if (!*with) *with = new_depends(p, elements, BERT_MASK_NONE);
        if (!*with) return no_memory(p);
        depends[e] = first < second ? first : second;
        (*with)[e] = first < second ? second : first;
    }
    return BERT_OK;
}

static bert_status join_elementwise(bert_mask_prober *p, const bert_node *node, bert_mask_probe *probe) {
    const bert_tensor *out = &probe->zeros;
    const int64_t elements = bert_tensor_elements(out);
    int32_t *depends = new_depends(p, elements, BERT_MASK_NONE), *with = NULL;
    if (!depends) return no_memory(p);
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        const bert_mask_probe *input = p->probes[node->inputs[i]->id];
        if (input->with && !with) {
            with = new_depends(p, elements, BERT_MASK_NONE);
            if (!with) return no_memory(p);
        }
        for (int64_t e = 0; e < elements; e++) {
            const int64_t at = broadcast_offset(&input->zeros, out, e);
            const int32_t first = input->depends[at], second = second_at(input, at);
            const bool other = with && depends[e] != BERT_MASK_NONE && first != BERT_MASK_NONE && with[e] != second;
            depends[e] = other ? BERT_MASK_UNKNOWN : join(depends[e], first);
            if (with && second != BERT_MASK_NONE) with[e] = second;
        }
    }
    join_lengths(p, node, out, depends);
    if (!with && (node->op->id == BERT_OP_Mul || node->op->id == BERT_OP_And))
        BERT_TRY(join_pairs(p, node, probe, depends, &with));
    probe->depends = depends;
    probe->with = with;
    return BERT_OK;
}

/* A sum over the ones of a sequence is its length; any other isn't followed. */
static const int32_t *sum_depends(const bert_mask_prober *p, const bert_node *node, const bert_tensor *out) {
    const bert_mask_probe *input = p->probes[node->inputs[0]->id];
    const int64_t elements = bert_tensor_elements(out);
    int32_t *depends = new_depends(p, elements, BERT_MASK_UNKNOWN);
    if (!depends || input->with || input->elements != elements * p->sequence) return depends;
    if (input->zeros.rank < 1 || input->zeros.dims[input->zeros.rank - 1] != p->sequence) return depends;
    for (int64_t e = 0; e < elements; e++) {
        const int32_t first = input->depends[e * p->sequence];
        bool all = first >= 0 && first % p->sequence == 0;
        for (int64_t t = e * p->sequence; t < (e + 1) * p->sequence && all; t++) {
            all = input->depends[t] == first + t - e * p->sequence && number_at(&input->zeros, t) == 0 &&
                  number_at(&input->ones, t) == 1;
        }
        if (all) depends[e] = BERT_MASK_LENGTH_OF((int32_t)(first / p->sequence));
    }
    /* Over the last axis alone: there would be one sum otherwise, or sums of other elements. */
    for (int64_t e = 0; e < elements; e++) {
        if (number_at(out, e) != (double)p->sequence) depends[e] = BERT_MASK_UNKNOWN;
    }
    return depends;
}

/* Runs the node on what `inputs` hold. *done false: it refuses. */
static bert_status run(const bert_mask_prober *p, const bert_node *node, const bert_tensor *inputs,
                       bert_tensor *outputs, bool *done) {
    bert_error reason;
    const bert_status status = bert_node_evaluate(p->arena, node, inputs, outputs, &reason);
    *done = status == BERT_OK;
    return status == BERT_OUT_OF_MEMORY ? no_memory(p) : BERT_OK;
}

/* The elements of the mask that the inputs' depend on, first or second ones, as inputs of a node that moves them. *out
 * NULL: where to depends on the mask, too. */
static bert_status list_depends(const bert_mask_prober *p, const bert_node *node, node_kind kind, bool second,
                                const bert_tensor **out) {
    bert_tensor *inputs = BERT_ARENA_NEW_ARRAY(p->arena, bert_tensor, (size_t)node->input_count);
    *out = NULL;
    if (!inputs) return no_memory(p);
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        const bert_mask_probe *input = p->probes[node->inputs[i]->id];
        const int32_t *depends = second ? input->with : input->depends;
        inputs[i] = input->zeros;
        if (i > 0 && kind == MOVES_FIRST) {
            for (int64_t e = 0; e < input->elements; e++) {
                if (input->depends[e] != BERT_MASK_NONE) return BERT_OK;
            }
            continue;
        }
        if (!depends) depends = new_depends(p, input->elements, BERT_MASK_NONE);
        if (!depends) return no_memory(p);
        inputs[i].dtype = BERT_INT32;
        inputs[i].data = (void *)depends; /* only read */
    }
    *out = inputs;
    return BERT_OK;
}

/* The same of outputs, moved as the node moves elements; `outputs`: scratch. */
static bert_status move_depends(const bert_mask_prober *p, const bert_node *node, node_kind kind, bool second,
                                bert_tensor *outputs, bool *done) {
    const bert_tensor *inputs;
    *done = false;
    BERT_TRY(list_depends(p, node, kind, second, &inputs));
    if (!inputs) return BERT_OK;
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        outputs[i] = tensor_of(p, node->outputs[i]);
        outputs[i].dtype = BERT_INT32;
    }
    return run(p, node, inputs, outputs, done);
}

static bool has_pairs(const bert_mask_prober *p, const bert_node *node) {
    for (int32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i] && p->probes[node->inputs[i]->id]->with) return true;
    }
    return false;
}

static bert_status probe_node(bert_mask_prober *p, const bert_node *node, node_kind kind) {
    const size_t count = (size_t)node->input_count, output_count = (size_t)node->output_count;
    bert_tensor *inputs[2], *outputs[4];
    bool done = true;
    const bool moves = kind == MOVES_FIRST || kind == MOVES_ALL, pairs = moves && has_pairs(p, node);
    for (int k = 0; k < 2; k++) {
        inputs[k] = BERT_ARENA_NEW_ARRAY(p->arena, bert_tensor, count);
        if (!inputs[k]) return no_memory(p);
        for (size_t i = 0; i < count; i++) {
            if (!node->inputs[i]) continue;
            const bert_mask_probe *input = p->probes[node->inputs[i]->id];
            inputs[k][i] = k ? input->ones : input->zeros;
        }
    }
    for (int k = 0; k < 4; k++) {
        outputs[k] = BERT_ARENA_NEW_ARRAY(p->arena, bert_tensor, output_count);
        if (!outputs[k]) return no_memory(p);
        for (size_t i = 0; i < output_count && k < 2; i++) {
            if (node->outputs[i]) outputs[k][i] = tensor_of(p, node->outputs[i]);
        }
    }
    for (int k = 0; k < 2 && done; k++) BERT_TRY(run(p, node, inputs[k], outputs[k], &done));
    if (done && moves) BERT_TRY(move_depends(p, node, kind, false, outputs[2], &done));
    if (done && pairs) BERT_TRY(move_depends(p, node, kind, true, outputs[3], &done));
    for (size_t i = 0; i < output_count && done; i++) {
        if (!node->outputs[i]) continue;
        bert_mask_probe probe = {.zeros = outputs[0][i],
                                 .ones = outputs[1][i],
                                 .depends = outputs[2][i].data,
                                 .with = pairs ? outputs[3][i].data : NULL};
        if (kind == ELEMENTWISE) BERT_TRY(join_elementwise(p, node, &probe));
        if (kind == SUMS) probe.depends = sum_depends(p, node, &probe.ones);
        if (!probe.depends) return no_memory(p);
        BERT_TRY(finish(p, node->outputs[i], &probe));
    }
    return BERT_OK;
}

static bool is_small(const bert_mask_prober *p, const bert_value *value) {
    const bert_value_info *info = &p->binding->infos[value->id];
    if (info->shape.rank < 0 || bert_dtype_size(info->dtype) == 0) return false;
    const bert_tensor tensor = tensor_of(p, value);
    return bert_tensor_elements(&tensor) <= MOST_ELEMENTS;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the chain of nodes that makes a mask */
static bert_status probe_value(bert_mask_prober *p, const bert_value *value, int depth) {
    enum { MOST_DEPTH = 128 };
    if (p->tried[value->id] || depth > MOST_DEPTH) return BERT_OK;
    p->tried[value->id] = true;
    if (!is_small(p, value)) return BERT_OK;
    if (value == p->mask) return probe_mask(p, value);
    if (p->binding->infos[value->id].constant) return probe_constant(p, value);
    const bert_node *node = value->producer;
    if (!node) return BERT_OK;
    const node_kind kind = kind_of(node);
    if (kind == OPAQUE) return BERT_OK;
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        BERT_TRY(probe_value(p, node->inputs[i], depth + 1));
        if (!p->probes[node->inputs[i]->id]) return BERT_OK;
    }
    for (int32_t i = 0; i < node->output_count; i++) {
        if (!node->outputs[i]) continue;
        p->tried[node->outputs[i]->id] = true;
        if (!is_small(p, node->outputs[i])) return BERT_OK;
    }
    return probe_node(p, node, kind);
}

bert_status bert_mask_prober_begin(bert_mask_prober *prober, const bert_model *model, const bert_binding *binding,
                                   bert_arena *arena, bert_error *error) {
    const bert_graph *graph = model->graph;
    const bert_value *mask = graph->inputs[model->token_mask];
    const bert_shape *shape = &binding->infos[mask->id].shape;
    *prober = (bert_mask_prober){.binding = binding,
                                 .mask = mask,
                                 .batch = shape->dims[0],
                                 .sequence = shape->dims[1],
                                 .arena = arena,
                                 .probes = BERT_ARENA_NEW_ARRAY(arena, const bert_mask_probe *, graph->value_count),
                                 .tried = BERT_ARENA_NEW_ARRAY(arena, bool, graph->value_count),
                                 .error = error};
    return prober->probes && prober->tried ? BERT_OK : no_memory(prober);
}

bert_status bert_mask_probe_value(bert_mask_prober *prober, const bert_value *value, const bert_mask_probe **out) {
    *out = NULL;
    BERT_TRY(probe_value(prober, value, 0));
    *out = prober->probes[value->id];
    return BERT_OK;
}

/* ---- What masks do ----------------------------------------------------------------------------------------------- */

/*
 * A score with this much added has a probability of 0 beside one that has at most KEEPS taken from it: exp gives 0 in
 * float32 from -104 on, and scores are nowhere near the difference. From SWALLOWS on that holds with anything added.
 */
#define DROPS (-9000.0)
#define KEEPS (-1000.0)
#define SWALLOWS (-1e30)

/* What an element of a mask adds to its score: where a bool is false, what the score counts as. */
static double added(const bert_tensor *tensor, int64_t index, double mask_value) {
    const double number = number_at(tensor, index);
    if (tensor->dtype != BERT_BOOL) return number;
    return number != 0 ? 0 : mask_value;
}

/* Whether a bias or mask drops every key whose element is 0 by at least `least`, and keeps a token that is 1 for
 * itself.
 */
static bool drops_keys(const bert_mask_prober *p, const bert_mask_probe *probe, double mask_value, double least) {
    const int64_t *dims = probe->zeros.dims;
    if (probe->zeros.rank != 4 || dims[3] != p->sequence || (dims[0] != p->batch && p->batch != 1)) return false;
    for (int64_t i = 0; i < probe->elements; i++) {
        const int64_t key = i % dims[3], query = i / dims[3] % dims[2], batch = i / dims[3] / dims[2] / dims[1];
        const int32_t own = (int32_t)(batch * p->sequence + key);
        const int32_t depends = probe->depends[i], with = second_at(probe, i);
        if (with != BERT_MASK_NONE) { /* a query that is asked for is a real token */
            const int32_t asks = (int32_t)(batch * p->sequence + query);
            if (dims[2] != p->sequence || !((depends == own && with == asks) || (depends == asks && with == own)))
                return false;
        } else if (depends != own && depends != BERT_MASK_NONE) {
            return false;
        }
        if (!(added(&probe->zeros, i, mask_value) <= least)) return false;
        const bool itself = dims[2] == 1 || query == key;
        if (itself && !(added(&probe->ones, i, mask_value) >= KEEPS)) return false;
    }
    return true;
}

/* Whether a bias drops keys, also where it is a sum with something that needn't be known (a bias of positions). */
static bert_status bias_drops_keys(bert_mask_prober *p, const bert_value *bias, bool *out) {
    const bert_mask_probe *probe;
    BERT_TRY(bert_mask_probe_value(p, bias, &probe));
    *out = probe && drops_keys(p, probe, 0, DROPS);
    const bert_node *sum = bias->producer;
    if (*out || probe || !sum || sum->op->id != BERT_OP_Add) return BERT_OK;
    for (int i = 0; i < 2 && !*out; i++) {
        BERT_TRY(bert_mask_probe_value(p, sum->inputs[i], &probe));
        *out = probe && drops_keys(p, probe, 0, SWALLOWS);
    }
    return BERT_OK;
}

bert_status bert_mask_drops_keys(bert_mask_prober *prober, const bert_node *attention, const char **why) {
    const bert_value *bias = NULL, *mask = NULL;
    bool drops = false;
    if (attention->input_count > BERT_ATTENTION_BIAS) bias = attention->inputs[BERT_ATTENTION_BIAS];
    if (attention->input_count > BERT_ATTENTION_MASK) mask = attention->inputs[BERT_ATTENTION_MASK];
    *why = "it masks no keys";
    if (mask) {
        const double mask_value = (double)BERT_NODE_FLOAT(attention, "mask_value", -INFINITY);
        const bert_mask_probe *probe;
        BERT_TRY(bert_mask_probe_value(prober, mask, &probe));
        drops = probe && drops_keys(prober, probe, mask_value, DROPS);
        *why = "its mask isn't certain to drop just the tokens whose attention_mask is 0";
    }
    if (bias && !drops) {
        BERT_TRY(bias_drops_keys(prober, bias, &drops));
        *why = "its mask isn't certain to drop just the tokens whose attention_mask is 0";
    }
    if (drops) *why = NULL;
    return BERT_OK;
}

/* What a mask is an expansion of. */
static const bert_value *before_expansion(const bert_value *value) {
    while (value->producer && value->producer->op->id == BERT_OP_Expand) value = value->producer->inputs[0];
    return value;
}

bert_status bert_mask_at_padding(bert_mask_prober *prober, const bert_value *value, int32_t rank, bool *one,
                                 double *number) {
    const bert_mask_probe *probe;
    *one = false;
    BERT_TRY(bert_mask_probe_value(prober, before_expansion(value), &probe));
    if (!probe || probe->zeros.rank != rank || rank < 2 || probe->elements == 0) return BERT_OK;
    const int64_t *dims = probe->zeros.dims;
    if (dims[0] != prober->batch || dims[1] != prober->sequence) return BERT_OK;
    const int64_t width = probe->elements / (prober->batch * prober->sequence);
    *number = number_at(&probe->zeros, 0);
    for (int64_t i = 0; i < probe->elements; i++) {
        if (probe->depends[i] != i / width || number_at(&probe->zeros, i) != *number) return BERT_OK;
    }
    *one = true;
    return BERT_OK;
}

bert_status bert_mask_is_tokens(bert_mask_prober *prober, const bert_value *value, bool *out) {
    const bert_mask_probe *probe;
    *out = false;
    BERT_TRY(bert_mask_probe_value(prober, value, &probe));
    if (!probe || probe->elements != prober->batch * prober->sequence) return BERT_OK;
    for (int64_t i = 0; i < probe->elements; i++) {
        if (probe->depends[i] != i || second_at(probe, i) != BERT_MASK_NONE || number_at(&probe->zeros, i) != 0 ||
            number_at(&probe->ones, i) != 1)
            return BERT_OK;
    }
    *out = true;
    return BERT_OK;
}
