#include "core/runtime/reference_backend.h"

#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/graph/op.h"

#include <stdio.h>

struct bert_device {
    const bert_host *host;
};

struct bert_prepared {
    const bert_host *host;
};

struct bert_context {
    const bert_host *host;
};

static bert_status device_open(const bert_host *host, bert_device **out, bert_error *error) {
    bert_device *device = bert_allocate(host->allocator, sizeof *device, _Alignof(bert_device));
    if (!device) return bert_fail_memory(error, sizeof *device, "the reference device");
    device->host = host;
    *out = device;
    return BERT_OK;
}

static void device_close(bert_device *device) {
    bert_deallocate(device->host->allocator, device, sizeof *device, _Alignof(bert_device));
}

static void device_properties(const bert_device *device, bert_device_properties *out) {
    *out = (bert_device_properties){.host_memory = true};
    snprintf(out->name, sizeof out->name, "reference");
}

static bert_status prepared_create(bert_device *device, const bert_prepare_options *options, bert_prepared **out,
                                   bert_error *error) {
    if (options->precision != BERT_PRECISION_FP32 && options->precision != BERT_PRECISION_FP64) {
        return bert_fail(error, BERT_UNSUPPORTED, "the reference backend computes in fp32 and fp64 only");
    }
    bert_prepared *prepared = bert_allocate(device->host->allocator, sizeof *prepared, _Alignof(bert_prepared));
    if (!prepared) return bert_fail_memory(error, sizeof *prepared, "a prepared model");
    prepared->host = device->host;
    *out = prepared;
    return BERT_OK;
}

static void prepared_free(bert_prepared *prepared) {
    bert_deallocate(prepared->host->allocator, prepared, sizeof *prepared, _Alignof(bert_prepared));
}

static size_t prepared_bytes(const bert_prepared *prepared) {
    return 0;
}

static bert_status context_create(bert_prepared *prepared, const bert_context_options *options, bert_context **out,
                                  bert_error *error) {
    if (options->attention_precision != BERT_PRECISION_FP32)
        return bert_fail(error, BERT_UNSUPPORTED, "the reference backend has no attention of another precision");
    bert_context *context = bert_allocate(prepared->host->allocator, sizeof *context, _Alignof(bert_context));
    if (!context) return bert_fail_memory(error, sizeof *context, "a session's context");
    *context = (bert_context){.host = prepared->host};
    *out = context;
    return BERT_OK;
}

static void context_free(bert_context *context) {
    bert_deallocate(context->host->allocator, context, sizeof *context, _Alignof(bert_context));
}

/* What a run needs of the node: all but its tensors. */
typedef struct node_state {
    const bert_allocator *allocator;
    bert_op_node node;
} node_state;

static void release_state(void *state) {
    bert_deallocate(((node_state *)state)->allocator, state, sizeof(node_state), _Alignof(node_state));
}

static bert_status run(const bert_kernel_call *call, bert_error *error) {
    const node_state *state = call->plan->state;
    return bert_op_evaluate(&state->node, call->inputs, call->outputs, call->workspace, error);
}

static bert_status plan(bert_prepared *prepared, bert_context *context, const bert_op_node *node, bert_plan_mode mode,
                        bert_op_plan *out, bert_error *error) {
    const bert_op *op = bert_op_get((bert_op_id)node->op_id);
    if (!op->reference) {
        return bert_fail(error, BERT_UNSUPPORTED, "%s has no reference implementation", node->op_type);
    }
    out->run = run;
    out->kernel = "reference";
    if (mode != BERT_PLAN_BIND) return BERT_OK;
    const bert_allocator *allocator = prepared->host->allocator;
    node_state *state = bert_allocate(allocator, sizeof *state, _Alignof(node_state));
    if (!state) return bert_fail_memory(error, sizeof *state, "a reference kernel");
    *state = (node_state){.allocator = allocator, .node = *node};
    state->node.inputs = state->node.outputs = NULL; /* good for this call alone */
    out->state = state;
    out->release_state = release_state;
    if (op->workspace) out->workspace_bytes = op->workspace(node);
    return BERT_OK;
}

const bert_backend bert_reference_backend = {
    .struct_size = sizeof(bert_backend),
    .abi_version = BERT_BACKEND_ABI_VERSION,
    .name = "reference",
    .device_open = device_open,
    .device_close = device_close,
    .device_properties = device_properties,
    .prepared_create = prepared_create,
    .prepared_free = prepared_free,
    .prepared_bytes = prepared_bytes,
    .context_create = context_create,
    .context_free = context_free,
    .plan = plan,
};
