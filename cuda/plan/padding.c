/* Padding off and on again: canonical PackTokens and UnpackTokens, com.microsoft's RemovePadding and RestorePadding. */
#include "core/graph/canonical.h"
#include "cuda/ops/gather.h"
#include "cuda/ops/move.h"
#include "cuda/ops/tokens.h"
#include "cuda/plan/plan.h"

#include <string.h>

/* ---- Padding off and on ------------------------------------------------------------------------------------------ */

/* Rows of input 0 to output 0; where these are in halves, the lower ones go the same way. */
static bert_status move_tokens(const bert_cuda_call *call, bert_cuda_tokens_args args, bool packs) {
    const char *kernel = packs ? "pack_tokens" : "unpack_tokens";
    cudaError_t (*move)(const bert_cuda_tokens_args *, cudaStream_t) =
        packs ? bert_cuda_pack_tokens : bert_cuda_unpack_tokens;
    BERT_CUDA_TRY(bert_cuda_launched(call, move(&args, call->context->stream), kernel));
    args.x = bert_cuda_lower_halves(call, 0);
    args.y = bert_cuda_output_lower_halves(call, 0);
    return args.y ? bert_cuda_launched(call, move(&args, call->context->stream), kernel) : BERT_OK;
}

static bert_cuda_tokens_args tokens_of(const bert_cuda_call *call, const bert_tensor *padded, const bert_tensor *rows) {
    const int32_t axes = (int32_t)BERT_NODE_INT(&call->node->node, "axes", 2);
    const bert_tensor *tokens = &call->inputs[BERT_PACK_TOKENS];
    return (bert_cuda_tokens_args){.element_bytes = (int32_t)bert_cuda_dtype_size(rows->dtype),
                                   .width = bert_cuda_count(padded->dims, axes, padded->rank),
                                   .count = tokens->dims[0],
                                   .tokens = tokens->data,
                                   .padded = bert_cuda_count(padded->dims, 0, axes),
                                   .x = call->inputs[BERT_PACK_X].data,
                                   .y = call->outputs[0].data};
}

bert_status bert_cuda_run_pack_tokens(const bert_cuda_call *call) {
    return move_tokens(call, tokens_of(call, &call->inputs[BERT_PACK_X], &call->outputs[0]), true);
}

bert_status bert_cuda_run_unpack_tokens(const bert_cuda_call *call) {
    return move_tokens(call, tokens_of(call, &call->outputs[0], &call->inputs[BERT_PACK_X]), false);
}

/* ---- RemovePadding: outputs beside the tokens follow from the counts, which binding knows ------------------------ */

enum { TOKENS, OFFSETS, STARTS, LONGEST };

static bert_status copy(const bert_cuda_call *call, const void *from, int64_t count, const void *to) {
    const bert_cuda_move_args args = {.element_bytes = 4,
                                      .rank = 1,
                                      .dims = {count},
                                      .from = from,
                                      .from_strides = {1},
                                      .to = (void *)to,
                                      .to_strides = {1}};
    if (!to || count == 0) return BERT_OK;
    return bert_cuda_launched(call, bert_cuda_move(&args, call->context->stream), "move");
}

/* offsets [batch, length]: the places of tokens, then those of padding; starts [batch + 1]; the longest. */
static bert_status write_places(const bert_cuda_planner *planner, int64_t batch, int64_t length, int32_t *out) {
    const bert_constant *counts = planner->node->inputs[1].constant;
    int32_t *starts = out + batch * length, *longest = starts + batch + 1;
    int64_t total = 0, token = 0;
    for (int64_t i = 0; i < batch; i++) {
        const int64_t count = bert_cuda_constant_int(counts, i);
        if (count < 0 || count > length)
            return planner->prepared->device->host->fail(
                planner->error, BERT_INVALID_INPUT, "node %s: sequence %lld has %lld tokens of %lld",
                planner->node->name, (long long)i, (long long)count, (long long)length);
        total += count;
    }
    int64_t padding = total;
    *longest = 0;
    for (int64_t i = 0; i < batch; i++) {
        const int64_t count = bert_cuda_constant_int(counts, i);
        starts[i] = (int32_t)token;
        if (count > *longest) *longest = (int32_t)count;
        for (int64_t j = 0; j < length; j++) out[j < count ? token++ : padding++] = (int32_t)(i * length + j);
    }
    starts[batch] = (int32_t)token;
    return BERT_OK;
}

bert_status bert_cuda_plan_remove_padding(const bert_cuda_planner *planner) {
    const bert_host *host = planner->prepared->device->host;
    bert_cuda_keep_wide(planner);
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const int64_t batch = planner->node->inputs[0].dims[0], length = planner->node->inputs[0].dims[1];
    if (batch > 0 && length > INT32_MAX / batch) return bert_cuda_leave(planner, "can't hold an input of this size");
    const size_t bytes = (size_t)(batch * length + batch + 2) * sizeof(int32_t);
    int32_t *places = bert_cuda_new(host, bytes);
    if (!places) return bert_cuda_no_memory(host, bytes, planner->error);
    bert_status status = write_places(planner, batch, length, places);
    if (status == BERT_OK) status = bert_cuda_own(planner, places, bytes);
    bert_cuda_delete(host, places, bytes);
    return status;
}

bert_status bert_cuda_run_remove_padding(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0], *y = &call->outputs[TOKENS];
    const int64_t batch = x->dims[0], padded = batch * x->dims[1];
    const int32_t *places = call->node->own, *starts = places + padded;
    const bert_cuda_tokens_args args = {.element_bytes = (int32_t)bert_cuda_dtype_size(x->dtype),
                                        .width = x->dims[2],
                                        .count = y->dims[0],
                                        .tokens = places,
                                        .padded = padded,
                                        .x = x->data,
                                        .y = y->data};
    BERT_CUDA_TRY(move_tokens(call, args, true));
    BERT_CUDA_TRY(copy(call, places, padded, bert_cuda_output_data(call, OFFSETS)));
    BERT_CUDA_TRY(copy(call, starts, batch + 1, bert_cuda_output_data(call, STARTS)));
    return copy(call, starts + batch + 1, 1, bert_cuda_output_data(call, LONGEST));
}

/* ---- RestorePadding: zeros, and each token to its offset --------------------------------------------------------- */

bert_status bert_cuda_plan_restore_padding(const bert_cuda_planner *planner) {
    bert_cuda_keep_wide(planner);
    return bert_cuda_want_reports(planner);
}

/* Elements of the output, or its lower halves, from those of the input. */
static bert_status restore(const bert_cuda_call *call, bert_dtype dtype, const void *from, void *to) {
    const bert_tensor *x = &call->inputs[0], *offsets = &call->inputs[1], *y = &call->outputs[0];
    const bert_cuda_pad_args zeros = {
        .element_bytes = (int32_t)bert_cuda_dtype_size(dtype), .rank = 1, .dims = {bert_cuda_elements(y)}, .to = to};
    const bert_cuda_scatter_nd_args tokens = {.dtype = dtype,
                                              .depth = 1,
                                              .tuples = x->dims[0],
                                              .bounds = {offsets->dims[0] * offsets->dims[1]},
                                              .row = x->dims[1],
                                              .indices = offsets->data,
                                              .updates = from,
                                              .index_type = BERT_INT32,
                                              .y = to,
                                              .check = bert_cuda_check_of(call)};
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_pad(&zeros, call->context->stream), "pad"));
    return bert_cuda_launched(call, bert_cuda_scatter_nd(&tokens, call->context->stream), "scatter_nd");
}

bert_status bert_cuda_run_restore_padding(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0], *offsets = &call->inputs[1], *y = &call->outputs[0];
    const int64_t places = offsets->dims[0] * offsets->dims[1];
    uint16_t *lower = bert_cuda_output_lower_halves(call, 0);
    if (x->dims[0] > places)
        return call->node->prepared->device->host->fail(call->error, BERT_INVALID_INPUT,
                                                        "%lld tokens don't fit %lld places", (long long)x->dims[0],
                                                        (long long)places);
    BERT_CUDA_TRY(restore(call, y->dtype, x->data, y->data));
    return lower ? restore(call, BERT_UINT16, bert_cuda_lower_halves(call, 0), lower) : BERT_OK;
}
