/* Elements by their indices: the Gather and Scatter families, Compress, Lookup, OneHot. */
#include "cuda/ops/gather.h"

#include "core/graph/canonical.h"
#include "cuda/ops/generate.h"
#include "cuda/ops/lookup.h"
#include "cuda/plan/plan.h"

#include <string.h>

static int32_t bytes_of(const bert_tensor *tensor) {
    return (int32_t)bert_cuda_dtype_size(tensor->dtype);
}

/* Indices are input 1, checked on the device. */
bert_status bert_cuda_plan_indexed(const bert_cuda_planner *planner) {
    const bert_dtype dtype = planner->node->inputs[1].dtype;
    if (dtype != BERT_INT32 && dtype != BERT_INT64) return bert_cuda_leave(planner, "takes indices of int32 or int64");
    return bert_cuda_want_reports(planner);
}

bert_status bert_cuda_check_bound(const bert_cuda_call *call, int64_t bound, const bert_tensor *indices) {
    if (bound > 0 || bert_cuda_elements(indices) == 0) return BERT_OK;
    return call->node->prepared->device->host->fail(call->error, BERT_INVALID_INPUT,
                                                    "there is nothing to choose from, and indices are given");
}

bert_status bert_cuda_plan_gather(const bert_cuda_planner *planner) {
    bert_cuda_keep_wide(planner);
    return bert_cuda_plan_indexed(planner);
}

bert_status bert_cuda_run_gather(const bert_cuda_call *call) {
    const bert_tensor *data = &call->inputs[0], *indices = &call->inputs[1];
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 0), data->rank);
    bert_cuda_gather_args args = {.element_bytes = bytes_of(data),
                                  .before = bert_cuda_count(data->dims, 0, axis),
                                  .bound = data->dims[axis],
                                  .row = bert_cuda_count(data->dims, axis + 1, data->rank),
                                  .data = data->data,
                                  .indices = indices->data,
                                  .index_type = indices->dtype,
                                  .count = bert_cuda_elements(indices),
                                  .y = call->outputs[0].data,
                                  .check = bert_cuda_check_of(call),
                                  .input = 1};
    if (bert_cuda_elements(&call->outputs[0]) == 0) return BERT_OK;
    BERT_CUDA_TRY(bert_cuda_check_bound(call, args.bound, indices));
    BERT_CUDA_TRY(bert_cuda_launched(call, bert_cuda_gather(&args, call->context->stream), "gather"));
    args.data = bert_cuda_lower_halves(call, 0);
    args.y = bert_cuda_output_lower_halves(call, 0);
    return args.y ? bert_cuda_launched(call, bert_cuda_gather(&args, call->context->stream), "gather") : BERT_OK;
}

bert_status bert_cuda_run_gather_elements(const bert_cuda_call *call) {
    const bert_tensor *data = &call->inputs[0], *indices = &call->inputs[1];
    bert_cuda_gather_elements_args args = {.element_bytes = bytes_of(data),
                                           .rank = data->rank,
                                           .axis =
                                               bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 0), data->rank),
                                           .data = data->data,
                                           .indices = indices->data,
                                           .index_type = indices->dtype,
                                           .y = call->outputs[0].data,
                                           .check = bert_cuda_check_of(call)};
    memcpy(args.dims, indices->dims, sizeof args.dims);
    memcpy(args.data_dims, data->dims, sizeof args.data_dims);
    if (bert_cuda_elements(indices) == 0) return BERT_OK;
    BERT_CUDA_TRY(bert_cuda_check_bound(call, data->dims[args.axis], indices));
    return bert_cuda_launched(call, bert_cuda_gather_elements(&args, call->context->stream), "gather_elements");
}

bert_status bert_cuda_run_gather_nd(const bert_cuda_call *call) {
    const bert_tensor *data = &call->inputs[0], *indices = &call->inputs[1];
    const int32_t batch = (int32_t)BERT_NODE_INT(&call->node->node, "batch_dims", 0);
    const int32_t depth = (int32_t)indices->dims[indices->rank - 1];
    bert_cuda_gather_nd_args args = {.element_bytes = bytes_of(data),
                                     .depth = depth,
                                     .batches = bert_cuda_count(data->dims, 0, batch),
                                     .tuples = bert_cuda_count(indices->dims, batch, indices->rank - 1),
                                     .row = bert_cuda_count(data->dims, batch + depth, data->rank),
                                     .data = data->data,
                                     .indices = indices->data,
                                     .index_type = indices->dtype,
                                     .y = call->outputs[0].data,
                                     .check = bert_cuda_check_of(call)};
    for (int32_t i = 0; i < depth; i++) args.bounds[i] = data->dims[batch + i];
    if (bert_cuda_elements(&call->outputs[0]) == 0) return BERT_OK;
    for (int32_t i = 0; i < depth; i++) BERT_CUDA_TRY(bert_cuda_check_bound(call, args.bounds[i], indices));
    return bert_cuda_launched(call, bert_cuda_gather_nd(&args, call->context->stream), "gather_nd");
}

/* ---- Scatter ----------------------------------------------------------------------------------------------------- */

static bert_cuda_scatter_mode mode_of(const bert_op_node *node) {
    static const char *const names[] = {[BERT_CUDA_SCATTER_NONE] = "none",
                                        [BERT_CUDA_SCATTER_ADD] = "add",
                                        [BERT_CUDA_SCATTER_MUL] = "mul",
                                        [BERT_CUDA_SCATTER_MAX] = "max",
                                        [BERT_CUDA_SCATTER_MIN] = "min"};
    const char *name = BERT_NODE_STRING(node, "reduction", "none");
    for (int i = 0; i < 5; i++)
        if (strcmp(names[i], name) == 0) return (bert_cuda_scatter_mode)i;
    return BERT_CUDA_SCATTER_NONE;
}

bert_status bert_cuda_run_scatter_elements(const bert_cuda_call *call) {
    const bert_tensor *data = &call->inputs[0], *indices = &call->inputs[1], *y = &call->outputs[0];
    bert_cuda_scatter_elements_args args = {.dtype = y->dtype,
                                            .mode = mode_of(&call->node->node),
                                            .rank = data->rank,
                                            .axis =
                                                bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 0), data->rank),
                                            .indices = indices->data,
                                            .updates = call->inputs[2].data,
                                            .index_type = indices->dtype,
                                            .y = y->data,
                                            .check = bert_cuda_check_of(call)};
    memcpy(args.dims, indices->dims, sizeof args.dims);
    memcpy(args.y_dims, data->dims, sizeof args.y_dims);
    BERT_CUDA_TRY(bert_cuda_run_copy(call));
    if (bert_cuda_elements(indices) == 0) return BERT_OK;
    BERT_CUDA_TRY(bert_cuda_check_bound(call, data->dims[args.axis], indices));
    return bert_cuda_launched(call, bert_cuda_scatter_elements(&args, call->context->stream), "scatter_elements");
}

bert_status bert_cuda_run_scatter_nd(const bert_cuda_call *call) {
    const bert_tensor *data = &call->inputs[0], *indices = &call->inputs[1], *y = &call->outputs[0];
    const int32_t depth = (int32_t)indices->dims[indices->rank - 1];
    bert_cuda_scatter_nd_args args = {.dtype = y->dtype,
                                      .mode = mode_of(&call->node->node),
                                      .depth = depth,
                                      .tuples = bert_cuda_count(indices->dims, 0, indices->rank - 1),
                                      .row = bert_cuda_count(data->dims, depth, data->rank),
                                      .indices = indices->data,
                                      .updates = call->inputs[2].data,
                                      .index_type = indices->dtype,
                                      .y = y->data,
                                      .check = bert_cuda_check_of(call)};
    for (int32_t i = 0; i < depth; i++) args.bounds[i] = data->dims[i];
    BERT_CUDA_TRY(bert_cuda_run_copy(call));
    if (args.tuples == 0 || args.row == 0) return BERT_OK;
    for (int32_t i = 0; i < depth; i++) BERT_CUDA_TRY(bert_cuda_check_bound(call, args.bounds[i], indices));
    return bert_cuda_launched(call, bert_cuda_scatter_nd(&args, call->context->stream), "scatter_nd");
}

/* ---- Compress: a Gather by the places whose condition holds, which are known ------------------------------------- */

static bool is_flat(const bert_op_node *node) {
    return !bert_attribute_find(node->attributes, node->attribute_count, "axis");
}

bert_status bert_cuda_plan_compress(const bert_cuda_planner *planner) {
    const bert_op_node *node = planner->node;
    const bert_host *host = planner->prepared->device->host;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_tensor_desc *x = &node->inputs[0];
    const bert_constant *condition = node->inputs[1].constant;
    const int64_t length = is_flat(node) ? bert_cuda_desc_count(x, 0, x->rank)
                                         : x->dims[bert_cuda_axis(BERT_NODE_INT(node, "axis", 0), x->rank)];
    const size_t room = (size_t)(condition->dims[0] + 1) * sizeof(int64_t);
    int64_t *places = bert_cuda_new(host, room), count = 0;
    if (!places) return bert_cuda_no_memory(host, room, planner->error);
    for (int64_t i = 0; i < length && i < condition->dims[0]; i++)
        if (condition->data[i]) places[count++] = i;
    planner->state->n = count;
    const bert_status status = bert_cuda_own(planner, places, (size_t)count * sizeof *places);
    bert_cuda_delete(host, places, room);
    return status;
}

bert_status bert_cuda_run_compress(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bool flat = is_flat(&call->node->node);
    const int32_t axis = flat ? 0 : bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", 0), x->rank);
    const bert_cuda_gather_args args = {.element_bytes = bytes_of(x),
                                        .before = flat ? 1 : bert_cuda_count(x->dims, 0, axis),
                                        .bound = flat ? bert_cuda_elements(x) : x->dims[axis],
                                        .row = flat ? 1 : bert_cuda_count(x->dims, axis + 1, x->rank),
                                        .data = x->data,
                                        .indices = call->node->own,
                                        .index_type = BERT_INT64,
                                        .count = call->node->n,
                                        .y = call->outputs[0].data};
    if (bert_cuda_elements(&call->outputs[0]) == 0) return BERT_OK;
    return bert_cuda_launched(call, bert_cuda_gather(&args, call->context->stream), "gather");
}

/* ---- Lookup: no byte is outside its table ------------------------------------------------------------------------ */

bert_status bert_cuda_run_lookup(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[BERT_LOOKUP_X];
    const bert_cuda_lookup_args args = {.count = bert_cuda_elements(x),
                                        .x = x->data,
                                        .table = call->inputs[BERT_LOOKUP_TABLE].data,
                                        .y = call->outputs[0].data};
    return bert_cuda_launched(call, bert_cuda_lookup(&args, call->context->stream), "lookup");
}

/* ---- From a rule ------------------------------------------------------------------------------------------------- */

bert_status bert_cuda_run_one_hot(const bert_cuda_call *call) {
    const bert_tensor *indices = &call->inputs[0], *y = &call->outputs[0];
    const int32_t axis = bert_cuda_axis(BERT_NODE_INT(&call->node->node, "axis", -1), y->rank);
    const bert_cuda_one_hot_args args = {.element_bytes = bytes_of(y),
                                         .before = bert_cuda_count(y->dims, 0, axis),
                                         .depth = y->dims[axis],
                                         .after = bert_cuda_count(y->dims, axis + 1, y->rank),
                                         .indices = indices->data,
                                         .index_type = indices->dtype,
                                         .values = call->inputs[2].data,
                                         .y = y->data};
    return bert_cuda_launched(call, bert_cuda_one_hot(&args, call->context->stream), "one_hot");
}

bert_status bert_cuda_run_trilu(const bert_cuda_call *call) {
    const bert_tensor *x = &call->inputs[0];
    const bert_cuda_trilu_args args = {.element_bytes = bytes_of(x),
                                       .matrices = bert_cuda_count(x->dims, 0, x->rank - 2),
                                       .rows = x->dims[x->rank - 2],
                                       .columns = x->dims[x->rank - 1],
                                       .x = x->data,
                                       .diagonal = bert_cuda_input_data(call, 1),
                                       .upper = BERT_NODE_INT(&call->node->node, "upper", 1) != 0,
                                       .y = call->outputs[0].data};
    return bert_cuda_launched(call, bert_cuda_trilu(&args, call->context->stream), "trilu");
}

bert_status bert_cuda_run_eye_like(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const int64_t above = BERT_NODE_INT(&call->node->node, "k", 0);
    return bert_cuda_launched(
        call, bert_cuda_eye_like(y->dtype, y->dims[0], y->dims[1], above, y->data, call->context->stream), "eye_like");
}

bert_status bert_cuda_run_range(const bert_cuda_call *call) {
    const bert_tensor *y = &call->outputs[0];
    return bert_cuda_launched(call,
                              bert_cuda_range_of(y->dtype, call->inputs[0].data, call->inputs[2].data, y->dims[0],
                                                 y->data, call->context->stream),
                              "range");
}
