/*
 * What stands around the attention kernel in operators that passes have not made canonical: a bias of Q, K and V, the
 * past of K and V, masks. A step that an operator doesn't ask for costs nothing.
 */
#include "cuda/plan/attend.h"

#include "cuda/ops/move.h"

#include <math.h>
#include <string.h>

/* ---- Heads ------------------------------------------------------------------------------------------------------- */

bert_cuda_heads bert_cuda_heads_in_rows(const bert_tensor *tensor, int64_t rows, int64_t row, int64_t depth,
                                        int64_t first) {
    const char *data = tensor->data;
    if (data) data += (size_t)first * bert_cuda_dtype_size(tensor->dtype);
    return (bert_cuda_heads){.data = data, .batch = rows * row, .head = depth, .row = row};
}

bert_cuda_heads bert_cuda_heads_apart(const bert_tensor *tensor) {
    const int64_t head = tensor->dims[2] * tensor->dims[3];
    return (bert_cuda_heads){
        .data = tensor->data, .batch = tensor->dims[1] * head, .head = head, .row = tensor->dims[3]};
}

/* ---- Scores ------------------------------------------------------------------------------------------------------ */

void bert_cuda_attend_strides(const bert_tensor *tensor, int64_t strides[4]) {
    int64_t all[BERT_MAX_RANK];
    bert_cuda_broadcast_strides(4, tensor, all);
    memcpy(strides, all, 4 * sizeof *strides);
}

float bert_cuda_attend_scale(const bert_op_node *node, float unset, int64_t depth) {
    const float scale = BERT_NODE_FLOAT(node, "scale", unset);
    return scale == unset || isnan(scale) ? (float)(1 / sqrt((double)depth)) : scale;
}

/* ---- Masks ------------------------------------------------------------------------------------------------------- */

/* The bias has the dimension of the scores. */
static void widen(int64_t *dim, int64_t full) {
    if (full != 1) *dim = full;
}

static void begin_masks(bert_cuda_attend *attend) {
    bert_cuda_attention_masks_args *masks = &attend->masks;
    if (masks->batch) return;
    masks->batch = masks->heads = masks->queries = masks->keys = 1;
    masks->bias_keys = attend->keys;
    masks->past = attend->past;
}

void bert_cuda_attend_bias(bert_cuda_attend *attend, const bert_tensor *bias) {
    bert_cuda_attention_masks_args *masks = &attend->masks;
    if (!bias) return;
    begin_masks(attend);
    const int64_t full[4] = {attend->batch, attend->heads, attend->queries, attend->keys};
    int64_t *const dims[4] = {&masks->batch, &masks->heads, &masks->queries, &masks->keys};
    bert_cuda_attend_strides(bias, masks->bias_at);
    for (int32_t i = 4 - bias->rank; i < 4; i++) {
        if (bias->dims[i - (4 - bias->rank)] != 1) widen(dims[i], full[i]);
    }
    const int64_t last = bias->dims[bias->rank - 1];
    if (last != 1) masks->bias_keys = last;
    masks->bias = bias->data;
    masks->bias_type = bias->dtype;
    attend->has_bias = true;
    if (bias->dtype == BERT_BOOL || masks->bias_keys < attend->keys) attend->builds_masks = true;
}

void bert_cuda_attend_mask(bert_cuda_attend *attend, const bert_tensor *mask, float filter) {
    bert_cuda_attention_masks_args *masks = &attend->masks;
    if (!mask) return;
    const int64_t width = mask->dims[mask->rank - 1];
    if (mask->rank == 2 && width == 1 && attend->keys != 1) return; /* masks nothing */
    begin_masks(attend);
    widen(&masks->batch, attend->batch);
    widen(&masks->keys, attend->keys);
    masks->filter = filter;
    attend->builds_masks = true;
    if (mask->rank == 1) {
        masks->ends = mask->data;
        if (mask->data && width == 2 * attend->batch) masks->starts = masks->ends + attend->batch;
        return;
    }
    masks->kept = mask->data;
    masks->kept_at[0] = width;
    masks->kept_at[2] = 1;
    if (mask->rank == 2) return;
    const int64_t rows = mask->dims[mask->rank - 2];
    widen(&masks->queries, attend->queries);
    masks->kept_at[0] = rows * width;
    masks->kept_at[1] = width;
    if (masks->kept && mask->rank == 4) masks->kept += attend->past * width;
}

void bert_cuda_attend_causal(bert_cuda_attend *attend, float after) {
    begin_masks(attend);
    widen(&attend->masks.queries, attend->queries);
    widen(&attend->masks.keys, attend->keys);
    attend->masks.causal = true;
    attend->masks.after = after;
    attend->builds_masks = true;
}

/* ---- Workspace --------------------------------------------------------------------------------------------------- */

/* Pieces of it: Q, K and V with their bias, K and V with their past, the bias that masks make. */
enum { Q_SUM, K_SUM, V_SUM, K_JOINED, V_JOINED, MASKS, PIECES };

static int64_t count_of(int64_t a, int64_t b, int64_t c, int64_t d) {
    return bert_cuda_times(bert_cuda_times(a, b), bert_cuda_times(c, d));
}

static void count_pieces(const bert_cuda_attend *a, int64_t counts[PIECES]) {
    const int64_t fresh = a->keys - a->past;
    const bert_cuda_attention_masks_args *masks = &a->masks;
    memset(counts, 0, PIECES * sizeof *counts);
    if (a->q.has_bias) counts[Q_SUM] = count_of(a->batch, a->queries, a->heads, a->q.depth);
    if (a->k.has_bias) counts[K_SUM] = count_of(a->batch, fresh, a->shared, a->k.depth);
    if (a->v.has_bias) counts[V_SUM] = count_of(a->batch, fresh, a->shared, a->v.depth);
    if (a->past && !a->k.gives_present) counts[K_JOINED] = count_of(a->batch, a->shared, a->keys, a->k.depth);
    if (a->past && !a->v.gives_present) counts[V_JOINED] = count_of(a->batch, a->shared, a->keys, a->v.depth);
    if (a->builds_masks) counts[MASKS] = count_of(masks->batch, masks->heads, masks->queries, masks->keys);
}

bert_status bert_cuda_attend_reserve(const bert_cuda_planner *planner, const bert_cuda_attend *attend) {
    int64_t counts[PIECES];
    count_pieces(attend, counts);
    for (int i = 0; i < PIECES; i++) {
        const size_t size = i == MASKS ? sizeof(float) : bert_cuda_dtype_size(attend->dtype);
        BERT_CUDA_TRY(bert_cuda_reserve(planner, counts[i], size));
    }
    return BERT_OK;
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/* part + bias, as [batch, rows, heads, depth] in `out`; the part is that from there on. */
static bert_status add_bias(const bert_cuda_call *call, const bert_cuda_attend *a, int64_t heads, int64_t rows,
                            bert_cuda_attend_part *part, void *out) {
    if (!part->has_bias) return BERT_OK;
    const bert_cuda_elementwise_args args = {
        .op = BERT_CUDA_ADD,
        .rank = 4,
        .dims = {a->batch, rows, heads, part->depth},
        .inputs = {{part->heads.data, a->dtype, {part->heads.batch, part->heads.row, part->heads.head, 1}},
                   {part->bias, a->dtype, {0, 0, part->depth, 1}}},
        .dtype = a->dtype,
        .y = out};
    part->heads = (bert_cuda_heads){out, rows * heads * part->depth, part->depth, heads * part->depth};
    return bert_cuda_launched(call, bert_cuda_elementwise(&args, call->context->stream), "elementwise");
}

/* `rows` rows of [batch, shared, rows, depth] at row `first` of the joined ones. */
static bert_status copy_rows(const bert_cuda_call *call, const bert_cuda_attend *a, const bert_cuda_heads *from,
                             int64_t depth, int64_t rows, int64_t first, void *joined) {
    const size_t size = bert_cuda_dtype_size(a->dtype);
    const bert_cuda_move_args args = {
        .element_bytes = (int32_t)size,
        .rank = 4,
        .dims = {a->batch, a->shared, rows, depth},
        .from = from->data,
        .from_strides = {from->batch, from->head, from->row, 1},
        .to = (char *)joined + (size_t)(first * depth) * size,
        .to_strides = {a->shared * a->keys * depth, a->keys * depth, depth, 1},
    };
    return bert_cuda_launched(call, bert_cuda_move(&args, call->context->stream), "move");
}

/* The past, then the part, as [batch, shared, keys, depth]; the part is that from there on. */
static bert_status join(const bert_cuda_call *call, const bert_cuda_attend *a, bert_cuda_attend_part *part,
                        void *workspace) {
    if (!a->past && !part->gives_present) return BERT_OK;
    void *joined = part->gives_present ? part->present : workspace;
    const int64_t depth = part->depth;
    const bert_cuda_heads past = {part->past, a->shared * a->past * depth, a->past * depth, depth};
    if (a->past) BERT_CUDA_TRY(copy_rows(call, a, &past, depth, a->past, 0, joined));
    BERT_CUDA_TRY(copy_rows(call, a, &part->heads, depth, a->keys - a->past, a->past, joined));
    part->heads = (bert_cuda_heads){joined, a->shared * a->keys * depth, a->keys * depth, depth};
    return BERT_OK;
}

/* Gives the kernel the bias of the operator, or one that holds all masks. */
static bert_status mask_scores(const bert_cuda_call *call, const bert_cuda_attend *a, bert_cuda_attention_args *args,
                               float *workspace) {
    bert_cuda_attention_masks_args masks = a->masks;
    if (!a->builds_masks) {
        if (!a->has_bias) return BERT_OK;
        args->bias = masks.bias;
        memcpy(args->bias_at, masks.bias_at, sizeof args->bias_at);
        return BERT_OK;
    }
    const bert_tensor made = {.rank = 4, .dims = {masks.batch, masks.heads, masks.queries, masks.keys}};
    masks.y = workspace;
    args->bias = workspace;
    args->wide_bias = true;
    bert_cuda_attend_strides(&made, args->bias_at);
    return bert_cuda_launched(call, bert_cuda_attention_masks(&masks, call->context->stream), "attention_masks");
}

bert_status bert_cuda_attend_run(const bert_cuda_call *call, const bert_cuda_attend *attend, void **workspace) {
    bert_cuda_attend a = *attend;
    if (a.batch == 0) return BERT_OK; /* nor has any output an element */
    int64_t counts[PIECES];
    void *pieces[PIECES];
    count_pieces(attend, counts);
    for (int i = 0; i < PIECES; i++)
        pieces[i] = bert_cuda_take(workspace, counts[i], i == MASKS ? sizeof(float) : bert_cuda_dtype_size(a.dtype));
    const int64_t fresh = a.keys - a.past;
    BERT_CUDA_TRY(add_bias(call, &a, a.heads, a.queries, &a.q, pieces[Q_SUM]));
    BERT_CUDA_TRY(add_bias(call, &a, a.shared, fresh, &a.k, pieces[K_SUM]));
    BERT_CUDA_TRY(add_bias(call, &a, a.shared, fresh, &a.v, pieces[V_SUM]));
    BERT_CUDA_TRY(join(call, &a, &a.k, pieces[K_JOINED]));
    BERT_CUDA_TRY(join(call, &a, &a.v, pieces[V_JOINED]));
    bert_cuda_attention_args args = {.dtype = a.dtype,
                                     .batch = a.batch,
                                     .heads = a.heads,
                                     .depth = a.q.depth,
                                     .group = a.shared ? a.heads / a.shared : 1,
                                     .value_depth = a.v.depth,
                                     .queries = a.queries,
                                     .keys = a.keys,
                                     .q = a.q.heads,
                                     .k = a.k.heads,
                                     .v = a.v.heads,
                                     .y = a.y,
                                     .y_batch = a.y_batch,
                                     .y_head = a.y_head,
                                     .y_row = a.y_row,
                                     .scale = a.scale,
                                     .softcap = a.softcap,
                                     .scores = a.scores,
                                     .form = a.form};
    BERT_CUDA_TRY(mask_scores(call, &a, &args, pieces[MASKS]));
    return bert_cuda_launched(call, bert_cuda_attention(&args, call->context->stream), "attention");
}
