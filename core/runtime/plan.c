#include "core/runtime/plan.h"

#include "core/base/error.h"
#include "core/graph/op.h"
#include "core/runtime/computed_once.h"
#include "core/runtime/late_norms.h"
#include "core/runtime/memory_plan.h"
#include "core/runtime/op_node.h"
#include "core/runtime/token_rows.h"

#include <stdatomic.h>
#include <string.h>

/* What is needed until the outputs were handed over. */
#define AFTER_LAST_STEP INT32_MAX

typedef struct planner {
    bert_plan *plan;
    bert_context *context;
    const bert_graph *graph;
    bert_binding binding;
    bert_arena scratch;
    uint32_t *storage_of; /* by value id */
    bool *wide;           /* by value id */
    int32_t *last_read;   /* by id of a root: the last step that reads it; -1 for none */
    int64_t *bytes_read;  /* by step: of a row of input 0 in its second form; 0: it reads that itself */
    bool *ranges_wanted;  /* by id of a root: a step quantizes its rows */
    int32_t *range_count; /* by id of a root: ranges that each of its rows has, at `ranges` */
    uint32_t *ranges;
    int32_t *last_bytes_read; /* by id of a root: the last step that reads its byte rows; -1 for none */
    int64_t *row_bytes;       /* by id of a root: of such a row */
    bool *read_itself;        /* by id of a root: something reads more of it than these */
    bert_byte_rows_storage *byte_rows;
    size_t storage_capacity;
    const bert_constant **kept; /* by value id: a constant that outlives the binding */
    bert_error *error;
} planner;

static bert_status no_memory(const planner *p) {
    return bert_fail(p->error, BERT_OUT_OF_MEMORY, "could not allocate memory for a plan");
}

static const bert_value_info *info_of(const planner *p, const bert_value *value) {
    return &p->binding.infos[value->id];
}

static bert_tensor tensor_of(const bert_value_info *info) {
    bert_tensor tensor = {.dtype = info->dtype, .rank = info->shape.rank};
    for (int32_t i = 0; i < info->shape.rank; i++) tensor.dims[i] = info->shape.dims[i];
    return tensor;
}

static uint32_t add_storage(planner *p, bert_storage_kind kind, size_t bytes, int32_t first, int32_t last) {
    uint32_t index = (uint32_t)p->plan->storage_count++;
    p->plan->storages[index] = (bert_storage){.kind = kind, .index = -1, .bytes = bytes, .first = first, .last = last};
    return index;
}

/* ---- Known content ---------------------------------------------------------------------------------------------- */

/* The constant behind a value, moved out of the binding's arena on first use. */
static bert_status keep_constant(planner *p, const bert_value *value, const bert_constant **out) {
    const bert_constant *constant = info_of(p, value)->constant;
    if (p->kept[value->id]) {
        *out = p->kept[value->id];
        return BERT_OK;
    }
    if (constant != p->binding.sources[value->id]) {
        bert_constant *copy = BERT_ARENA_NEW(&p->plan->memory, bert_constant);
        if (!copy) return no_memory(p);
        *copy = *constant;
        if (!p->binding.sources[value->id] && constant->bytes) {
            unsigned char *data = bert_arena_allocate(&p->plan->memory, constant->bytes, BERT_ALIGNMENT);
            if (!data) return no_memory(p);
            memcpy(data, constant->data, constant->bytes);
            copy->data = data;
        }
        constant = copy;
    }
    *out = p->kept[value->id] = constant;
    return BERT_OK;
}

/* `anywhere`: who reads it takes it where it lies; others may need another, aligned copy. */
static bert_status add_constant_storage(planner *p, const bert_value *value, bool anywhere, uint32_t *out) {
    *out = p->storage_of[value->id];
    if (*out != BERT_NO_STORAGE) return BERT_OK;
    const bert_constant *constant = NULL, *source = p->binding.sources[value->id];
    BERT_TRY(keep_constant(p, value, &constant));
    void *data = (void *)constant->data; /* kernels only read it */
    const bool in_place = anywhere && source && p->plan->weights->device->properties.host_memory;
    if (source && !in_place) BERT_TRY(bert_weights_resident(p->plan->weights, source, &data, p->error));
    *out = add_storage(p, BERT_STORAGE_CONSTANT, constant->bytes, 0, AFTER_LAST_STEP);
    p->plan->storages[*out].base = data;
    if (!source) p->plan->storages[*out].folded = constant;
    if (!in_place) p->storage_of[value->id] = *out;
    return BERT_OK;
}

/* With a device of its own memory, folded content goes there in one block that the plan owns. */
static bert_status upload_constants(planner *p) {
    bert_plan *plan = p->plan;
    const bert_opened_device *device = plan->weights->device;
    if (device->properties.host_memory) return BERT_OK;
    size_t bytes = 0;
    for (size_t i = 0; i < plan->storage_count; i++) {
        const bert_storage *storage = &plan->storages[i];
        if (!storage->folded) continue;
        bytes += (storage->bytes + BERT_ALIGNMENT - 1) & ~(size_t)(BERT_ALIGNMENT - 1);
    }
    if (bytes == 0) return BERT_OK;
    BERT_TRY(device->backend->memory_allocate(device->device, bytes, &plan->device_constants, p->error));
    plan->device_constant_bytes = bytes;
    unsigned char *at = plan->device_constants;
    for (size_t i = 0; i < plan->storage_count; i++) {
        bert_storage *storage = &plan->storages[i];
        if (!storage->folded) continue;
        if (storage->bytes) {
            BERT_TRY(device->backend->constant(plan->weights->prepared, at, storage->folded, p->error));
        }
        storage->base = at;
        at += (storage->bytes + BERT_ALIGNMENT - 1) & ~(size_t)(BERT_ALIGNMENT - 1);
    }
    return BERT_OK;
}

/* ---- Lifetimes -------------------------------------------------------------------------------------------------- */

static bert_status find_last_reads(planner *p) {
    const bert_binding *binding = &p->binding;
    for (uint32_t i = 0; i < binding->value_count; i++) p->last_read[i] = -1;
    for (size_t s = 0; s < binding->step_count; s++) {
        const bert_node *node = binding->steps[s];
        for (int32_t i = 0; i < node->input_count; i++) {
            if (node->inputs[i]) p->last_read[binding->roots[node->inputs[i]->id]->id] = (int32_t)s;
        }
    }
    for (int32_t i = 0; i < p->graph->output_count; i++) {
        if (!p->plan->request.wanted[i]) continue;
        p->last_read[binding->roots[p->graph->outputs[i]->id]->id] = AFTER_LAST_STEP;
    }
    return BERT_OK;
}

/* ---- Ranges of rows ---------------------------------------------------------------------------------------------- */

static int64_t width_of(const planner *p, const bert_value *value) {
    const bert_shape *shape = &info_of(p, value)->shape;
    return shape->rank > 0 ? shape->dims[shape->rank - 1] : -1;
}

/* The value whose rows the node has as its input 0; NULL: it has them not as they are in memory. */
static const bert_value *rows_read(const planner *p, const bert_node *node) {
    const bert_value *x = node->inputs[0];
    if (!x || info_of(p, x)->constant) return NULL;
    const bert_value *root = p->binding.roots[x->id];
    return width_of(p, root) > 0 && width_of(p, root) == width_of(p, x) ? root : NULL;
}

/* The value whose rows step `index` quantizes, by their ranges or as bytes; NULL: none. */
static const bert_value *quantized_rows(const planner *p, size_t index) {
    const bert_node *node = p->binding.steps[index];
    return bert_is_dynamic_linear(node) || p->bytes_read[index] ? rows_read(p, node) : NULL;
}

static void find_wanted_ranges(const planner *p) {
    for (size_t s = 0; s < p->binding.step_count; s++) {
        const bert_node *node = p->binding.steps[s];
        const bert_value *rows = bert_is_dynamic_linear(node) ? rows_read(p, node) : NULL;
        if (rows) p->ranges_wanted[rows->id] = true;
    }
}

/* Whether the step that gives y writes byte rows of it. */
static bool writes_bytes(const planner *p, const bert_value *y, const bert_op_plan *plan) {
    return p->last_bytes_read[y->id] >= 0 && plan->y_bytes == p->row_bytes[y->id];
}

/* Of who reads rows as bytes, ranges are of use where it has to make these itself. */
static bool are_ranges_wanted(const planner *p, const bert_value *y, const bert_op_plan *plan) {
    return p->ranges_wanted[y->id] || (p->last_bytes_read[y->id] >= 0 && !writes_bytes(p, y, plan));
}

/* What the step's kernel finds while it writes output 0 lives as long as that. */
static void place_ranges(planner *p, const bert_node *node, bert_plan_step *step, int32_t index) {
    const bert_value *rows = quantized_rows(p, (size_t)index);
    step->x_ranges = rows && p->range_count[rows->id] ? p->ranges[rows->id] : BERT_NO_STORAGE;
    step->y_ranges = BERT_NO_STORAGE;
    if (step->plan.y_ranges <= 0 || node->output_count == 0 || !node->outputs[0]) return;
    const bert_value *y = node->outputs[0];
    if (!are_ranges_wanted(p, y, &step->plan)) return;
    const size_t count =
        (size_t)(bert_tensor_elements(&step->outputs[0]) / width_of(p, y)) * (size_t)step->plan.y_ranges;
    const int32_t last = p->last_read[y->id] > index ? p->last_read[y->id] : index;
    step->y_ranges = add_storage(p, BERT_STORAGE_ARENA, count * sizeof(bert_row_range), index, last);
    p->ranges[y->id] = step->y_ranges;
    p->range_count[y->id] = step->plan.y_ranges;
}

/* ---- Byte rows --------------------------------------------------------------------------------------------------- */

static const bert_byte_rows_storage no_byte_rows = {BERT_NO_STORAGE, BERT_NO_STORAGE};

/* Asks the backend; who writes a tensor is planned before those that read it. */
static bert_status ask_for_bytes(planner *p, const bert_node *node, int64_t *out) {
    bert_op_plan plan;
    bool runs;
    *out = 0;
    if (node->op->id != BERT_OP_BERTC_Linear) return BERT_OK;
    /* What it has no kernel for, it says again when the node is bound. */
    BERT_TRY(bert_weights_ask(p->plan->weights, &p->scratch, node, p->binding.infos, &plan, &runs, p->error));
    *out = plan.x_bytes;
    return BERT_OK;
}

/* The value whose byte rows step `index` shares with others: all want as many bytes as the first. NULL: none. */
static const bert_value *shared_byte_rows(const planner *p, size_t index) {
    const bert_value *rows = p->bytes_read[index] ? rows_read(p, p->binding.steps[index]) : NULL;
    if (!rows) return NULL;
    const bool first = p->last_bytes_read[rows->id] < 0;
    return first || p->row_bytes[rows->id] == p->bytes_read[index] ? rows : NULL;
}

static void find_byte_reads(const planner *p, size_t index) {
    const bert_node *node = p->binding.steps[index];
    const bert_value *shared = shared_byte_rows(p, index);
    for (int32_t i = 0; i < node->input_count; i++) {
        if (!node->inputs[i]) continue;
        const bert_value *root = p->binding.roots[node->inputs[i]->id];
        if (i == 0 && shared) {
            p->last_bytes_read[root->id] = (int32_t)index;
            p->row_bytes[root->id] = p->bytes_read[index];
        } else {
            p->read_itself[root->id] = true;
        }
    }
}

static bert_status find_bytes(planner *p) {
    for (uint32_t i = 0; i < p->binding.value_count; i++) {
        p->last_bytes_read[i] = -1;
        p->byte_rows[i] = no_byte_rows;
    }
    for (size_t s = 0; s < p->binding.step_count; s++) {
        BERT_TRY(ask_for_bytes(p, p->binding.steps[s], &p->bytes_read[s]));
        find_byte_reads(p, s);
    }
    for (int32_t i = 0; i < p->graph->output_count; i++)
        if (p->plan->request.wanted[i]) p->read_itself[p->binding.roots[p->graph->outputs[i]->id]->id] = true;
    return BERT_OK;
}

/* Nothing but byte rows is read of what the step gives, and the step writes these. */
static bool is_unread(const planner *p, const bert_value *y, const bert_op_plan *plan) {
    return writes_bytes(p, y, plan) && !p->read_itself[y->id];
}

static bert_byte_rows_storage add_byte_rows(planner *p, const bert_tensor *tensor, int64_t row_bytes, int32_t first,
                                            int32_t last) {
    const size_t elements = (size_t)bert_tensor_elements(tensor);
    const size_t width = (size_t)tensor->dims[tensor->rank - 1], rows = width ? elements / width : 0;
    const uint32_t bytes = add_storage(p, BERT_STORAGE_ARENA, rows * (size_t)row_bytes, first, last);
    return (bert_byte_rows_storage){bytes, add_storage(p, BERT_STORAGE_ARENA, rows * sizeof(float), first, last)};
}

/* Of input 0: where they were made, or room to make them, which later readers find again. */
static void place_read_bytes(planner *p, bert_plan_step *step, int32_t index) {
    const bert_value *rows = shared_byte_rows(p, (size_t)index);
    step->x_bytes = rows ? p->byte_rows[rows->id] : no_byte_rows;
    step->x_bytes_made = step->x_bytes.bytes != BERT_NO_STORAGE;
    if (step->x_bytes_made) return;
    step->x_bytes =
        add_byte_rows(p, &step->inputs[0], p->bytes_read[index], index, rows ? p->last_bytes_read[rows->id] : index);
    if (rows) p->byte_rows[rows->id] = step->x_bytes;
}

static void place_bytes(planner *p, const bert_node *node, bert_plan_step *step, int32_t index) {
    step->x_bytes = step->y_bytes = no_byte_rows;
    if (p->bytes_read[index]) place_read_bytes(p, step, index);
    const bert_value *y = node->output_count > 0 ? node->outputs[0] : NULL;
    if (!y || !writes_bytes(p, y, &step->plan)) return;
    step->y_bytes = p->byte_rows[y->id] =
        add_byte_rows(p, &step->outputs[0], p->row_bytes[y->id], index, p->last_bytes_read[y->id]);
}

/* ---- Steps ------------------------------------------------------------------------------------------------------ */

/* Inputs that were planned as wide, and views of them. */
static void show_wide(const planner *p, const bert_node *node, const bert_op_node *shown) {
    bert_tensor_desc *inputs = (bert_tensor_desc *)shown->inputs; /* in the scratch memory */
    for (int32_t i = 0; i < node->input_count; i++) {
        if (node->inputs[i]) inputs[i].wide = p->wide[p->binding.roots[node->inputs[i]->id]->id];
    }
}

/* Shows the backend the node with constants that outlive the binding. */
static bert_status plan_kernel(planner *p, const bert_node *node, bert_plan_step *step, int32_t index) {
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *input = node->inputs[i];
        const bert_constant *constant = NULL;
        if (!input || !info_of(p, input)->constant) continue;
        BERT_TRY(keep_constant(p, input, &constant));
        p->binding.infos[input->id].constant = constant;
    }
    bert_op_node shown;
    BERT_TRY(bert_describe_node(&p->scratch, node, p->binding.infos, &shown, p->error));
    const bert_value *rows = quantized_rows(p, (size_t)index);
    shown.x_ranges = rows ? p->range_count[rows->id] : 0;
    show_wide(p, node, &shown);
    const bert_weights *weights = p->plan->weights;
    bert_status status =
        weights->device->backend->plan(weights->prepared, p->context, &shown, BERT_PLAN_BIND, &step->plan, p->error);
    if (status != BERT_OK) return bert_fail_in_node(p->error, status, node);
    if (step->plan.x_bytes != p->bytes_read[index]) {
        if (step->plan.release_state) step->plan.release_state(step->plan.state);
        bert_fail(p->error, BERT_INTERNAL, "the backend reads its input as bytes in one mode of planning alone");
        return bert_fail_in_node(p->error, BERT_INTERNAL, node);
    }
    step->flops = bert_count_flops(&shown);
    for (int32_t i = 0; i < node->output_count && i < 64; i++) {
        if (node->outputs[i]) p->wide[node->outputs[i]->id] = step->plan.wide_outputs >> i & 1;
    }
    return BERT_OK;
}

static bert_status place_inputs(planner *p, const bert_node *node, bert_plan_step *step) {
    uint32_t *storages = BERT_ARENA_NEW_ARRAY(&p->plan->memory, uint32_t, (size_t)node->input_count);
    step->inputs = BERT_ARENA_NEW_ARRAY(&p->plan->memory, bert_tensor, (size_t)node->input_count);
    step->input_storages = storages;
    if (!step->inputs || !storages) return no_memory(p);
    for (int32_t i = 0; i < node->input_count; i++) {
        const bert_value *input = node->inputs[i];
        storages[i] = BERT_NO_STORAGE;
        if (!input) continue;
        step->inputs[i] = tensor_of(info_of(p, input));
        if (!info_of(p, input)->constant) {
            storages[i] = p->storage_of[p->binding.roots[input->id]->id];
        } else if (i >= 64 || !(step->plan.unread_inputs >> i & 1)) {
            const bool anywhere = i < 64 && (step->plan.unaligned_inputs >> i & 1);
            BERT_TRY(add_constant_storage(p, input, anywhere, &storages[i]));
        }
    }
    return BERT_OK;
}

/* The storage that output 0 may take over: this step is the last to need it, and reads it once. */
static uint32_t find_in_place(const planner *p, const bert_plan_step *step, int32_t index, size_t bytes) {
    int32_t input = step->plan.in_place - 1;
    if (input < 0 || input >= step->node->input_count) return BERT_NO_STORAGE;
    uint32_t candidate = step->input_storages[input];
    if (candidate == BERT_NO_STORAGE) return BERT_NO_STORAGE;
    const bert_storage *storage = &p->plan->storages[candidate];
    if (storage->kind != BERT_STORAGE_ARENA || storage->last != index || storage->bytes != bytes) {
        return BERT_NO_STORAGE;
    }
    for (int32_t i = 0; i < step->node->input_count; i++) {
        if (i != input && step->input_storages[i] == candidate) return BERT_NO_STORAGE;
    }
    return candidate;
}

static bert_status place_outputs(planner *p, const bert_node *node, bert_plan_step *step, int32_t index) {
    uint32_t *storages = BERT_ARENA_NEW_ARRAY(&p->plan->memory, uint32_t, (size_t)node->output_count);
    step->outputs = BERT_ARENA_NEW_ARRAY(&p->plan->memory, bert_tensor, (size_t)node->output_count);
    step->output_storages = storages;
    if (!step->outputs || !storages) return no_memory(p);
    for (int32_t i = 0; i < node->output_count; i++) {
        const bert_value *output = node->outputs[i];
        storages[i] = BERT_NO_STORAGE;
        if (!output) continue;
        step->outputs[i] = tensor_of(info_of(p, output));
        size_t bytes = bert_tensor_bytes(&step->outputs[i]);
        if (i == 0) step->y_unread = is_unread(p, output, &step->plan);
        const bool kept = p->last_read[output->id] > index && !(i == 0 && step->y_unread);
        const int32_t last = kept ? p->last_read[output->id] : index;
        uint32_t storage = i == 0 ? find_in_place(p, step, index, bytes) : BERT_NO_STORAGE;
        if (storage != BERT_NO_STORAGE) {
            p->plan->storages[storage].last = last;
        } else {
            storage = add_storage(p, BERT_STORAGE_ARENA, bytes, index, last);
        }
        storages[i] = p->storage_of[output->id] = storage;
    }
    return BERT_OK;
}

/* Remembers a tensor whose number of rows is the run's. */
static void mark_rows(planner *p, const bert_value *value, bert_tensor *tensor) {
    if (!value || !p->binding.row_axes || p->binding.row_axes[value->id] < 0) return;
    p->plan->row_tensors[p->plan->row_tensor_count++] = (bert_row_tensor){tensor, p->binding.row_axes[value->id]};
}

static bert_status mark_row_tensors(planner *p) {
    bert_plan *plan = p->plan;
    size_t most = 0;
    for (size_t s = 0; s < plan->step_count; s++) {
        most += (size_t)plan->steps[s].node->input_count + (size_t)plan->steps[s].node->output_count;
    }
    plan->row_tensors = BERT_ARENA_NEW_ARRAY(&plan->memory, bert_row_tensor, most);
    if (!plan->row_tensors) return no_memory(p);
    for (size_t s = 0; s < plan->step_count; s++) {
        const bert_plan_step *step = &plan->steps[s];
        for (int32_t i = 0; i < step->node->input_count; i++) mark_rows(p, step->node->inputs[i], &step->inputs[i]);
        for (int32_t i = 0; i < step->node->output_count; i++) mark_rows(p, step->node->outputs[i], &step->outputs[i]);
    }
    return BERT_OK;
}

/* ---- What is computed once --------------------------------------------------------------------------------------- */

static bert_status compute_once(planner *p, const bert_node *node, int32_t index, size_t bytes, void **out) {
    bert_weights *weights = p->plan->weights;
    bert_plan_step step = {.node = node};
    BERT_TRY(plan_kernel(p, node, &step, index));
    void *data = bert_allocate(&weights->model->allocator, bytes, BERT_ALIGNMENT);
    bert_tensor output = tensor_of(info_of(p, node->outputs[0]));
    output.data = data;
    bert_status status = data ? place_inputs(p, node, &step) : bert_fail_memory(p->error, bytes, "a value");
    for (int32_t i = 0; status == BERT_OK && i < node->input_count; i++)
        if (step.input_storages[i] != BERT_NO_STORAGE)
            step.inputs[i].data = p->plan->storages[step.input_storages[i]].base;
    if (status == BERT_OK) status = bert_compute_once(weights, p->context, &step, &output, p->error);
    if (step.plan.release_state) step.plan.release_state(step.plan.state);
    if (status != BERT_OK) {
        bert_deallocate(&weights->model->allocator, data, bytes, BERT_ALIGNMENT);
        return status;
    }
    return bert_weights_keep_computed(weights, node->outputs[0]->id, data, bytes, out, p->error);
}

/* The value of a step that is no part of the plan: computed now, or for an earlier one. */
static bert_status place_once(planner *p, const bert_node *node, int32_t index) {
    const bert_value *output = node->outputs[0];
    const bert_tensor tensor = tensor_of(info_of(p, output));
    const size_t bytes = bert_tensor_bytes(&tensor);
    void *data = bert_weights_computed(p->plan->weights, output->id);
    if (!data) BERT_TRY(compute_once(p, node, index, bytes, &data));
    const uint32_t storage = add_storage(p, BERT_STORAGE_CONSTANT, bytes, 0, AFTER_LAST_STEP);
    p->plan->storages[storage].base = data;
    p->storage_of[output->id] = storage;
    return BERT_OK;
}

/* Takes steps that are computed once out of the binding's. */
static bert_status take_out_once(planner *p) {
    bert_binding *binding = &p->binding;
    size_t left = 0;
    if (!p->plan->weights->device->properties.host_memory) return BERT_OK;
    bool *once = BERT_ARENA_NEW_ARRAY(&p->scratch, bool, binding->step_count);
    if (!once) return no_memory(p);
    if (!bert_find_computed_once(p->graph, binding, &p->scratch, once)) return no_memory(p);
    for (size_t s = 0; s < binding->step_count; s++)
        if (once[s]) BERT_TRY(place_once(p, binding->steps[s], (int32_t)s));
    for (size_t s = 0; s < binding->step_count; s++)
        if (!once[s]) binding->steps[left++] = binding->steps[s];
    binding->step_count = left;
    return BERT_OK;
}

static bert_status plan_steps(planner *p) {
    bert_plan *plan = p->plan;
    plan->steps = BERT_ARENA_NEW_ARRAY(&plan->memory, bert_plan_step, p->binding.step_count);
    if (!plan->steps) return no_memory(p);
    for (size_t s = 0; s < p->binding.step_count; s++) {
        const bert_node *node = p->binding.steps[s];
        bert_plan_step *step = &plan->steps[plan->step_count];
        step->node = node;
        BERT_TRY(plan_kernel(p, node, step, (int32_t)s));
        plan->step_count++; /* from here on bert_plan_free releases its state */
        BERT_TRY(place_inputs(p, node, step));
        BERT_TRY(place_outputs(p, node, step, (int32_t)s));
        place_ranges(p, node, step, (int32_t)s);
        place_bytes(p, node, step, (int32_t)s);
    }
    return BERT_OK;
}

/* ---- Inputs, outputs, memory ------------------------------------------------------------------------------------ */

static void add_input_storages(planner *p) {
    for (int32_t i = 0; i < p->graph->input_count; i++) {
        const bert_value *input = p->graph->inputs[i];
        if (info_of(p, input)->constant || p->last_read[input->id] < 0) continue;
        uint32_t storage = add_storage(p, BERT_STORAGE_INPUT, bert_tensor_bytes(&p->plan->request.inputs[i]), 0,
                                       p->last_read[input->id]);
        p->plan->storages[storage].index = i;
        p->storage_of[input->id] = storage;
    }
}

static void add_token_storages(planner *p) {
    const bert_value *lists[BERT_TOKEN_LISTS] = {p->binding.starts, p->binding.tokens, p->binding.counted};
    for (int32_t i = 0; i < BERT_TOKEN_LISTS; i++) {
        if (!lists[i] || p->last_read[lists[i]->id] < 0) continue;
        const bert_tensor tensor = tensor_of(info_of(p, lists[i]));
        const uint32_t storage =
            add_storage(p, BERT_STORAGE_TOKENS, bert_tensor_bytes(&tensor), 0, p->last_read[lists[i]->id]);
        p->plan->storages[storage].index = i;
        p->storage_of[lists[i]->id] = storage;
    }
}

/* An output is written into its buffer by the kernel that makes it; what no kernel makes, and what another output's
 * buffer holds already, is copied after the run. */
static bert_status add_output(planner *p, int32_t index) {
    bert_plan *plan = p->plan;
    const bert_value *value = p->graph->outputs[index];
    int32_t number = (int32_t)plan->output_count;
    bert_plan_output *output = &plan->outputs[plan->output_count++];
    *output = (bert_plan_output){.index = index, .tensor = tensor_of(info_of(p, value))};
    output->bytes = bert_tensor_bytes(&output->tensor);
    if (info_of(p, value)->constant) {
        BERT_TRY(add_constant_storage(p, value, false, &output->source));
    } else {
        output->source = p->storage_of[p->binding.roots[value->id]->id];
    }
    bert_storage *source = &plan->storages[output->source];
    if (source->kind == BERT_STORAGE_ARENA) {
        source->kind = BERT_STORAGE_OUTPUT;
        source->index = number;
        output->storage = output->source;
        return BERT_OK;
    }
    output->storage = add_storage(p, BERT_STORAGE_OUTPUT, output->bytes, AFTER_LAST_STEP, AFTER_LAST_STEP);
    plan->storages[output->storage].index = number;
    return BERT_OK;
}

static bert_status add_outputs(planner *p) {
    p->plan->outputs = BERT_ARENA_NEW_ARRAY(&p->plan->memory, bert_plan_output, (size_t)p->graph->output_count);
    if (!p->plan->outputs) return no_memory(p);
    for (int32_t i = 0; i < p->graph->output_count; i++) {
        if (p->plan->request.wanted[i]) BERT_TRY(add_output(p, i));
    }
    return BERT_OK;
}

static bool is_uploaded(const planner *p, const bert_storage *storage) {
    return !p->plan->weights->device->properties.host_memory &&
           (storage->kind == BERT_STORAGE_INPUT || storage->kind == BERT_STORAGE_TOKENS);
}

/* Gives an uploaded storage its place in the block of all of them: side by side, in the order in which they are
 * uploaded, so that a backend may do so in one copy. */
static bert_status join_uploads(planner *p, bert_memory_block *uploads, bert_storage *storage) {
    size_t end;
    storage->offset = (uploads->bytes + BERT_ALIGNMENT - 1) & ~(size_t)(BERT_ALIGNMENT - 1);
    if (!bert_size_add(storage->offset, storage->bytes, &end) || end > SIZE_MAX - BERT_ALIGNMENT)
        return bert_fail(p->error, BERT_OUT_OF_MEMORY, "the inputs of a run do not fit into memory");
    uploads->bytes = end;
    if (storage->last > uploads->last) uploads->last = storage->last;
    return BERT_OK;
}

static bert_status lay_out(planner *p) {
    bert_plan *plan = p->plan;
    size_t count = 1;
    bert_memory_block *blocks =
        BERT_ARENA_NEW_ARRAY(&p->scratch, bert_memory_block, 1 + plan->storage_count + plan->step_count);
    if (!blocks) return no_memory(p);
    blocks[0] = (bert_memory_block){0};
    for (size_t i = 0; i < plan->storage_count; i++) {
        bert_storage *storage = &plan->storages[i];
        if (storage->kind == BERT_STORAGE_CONSTANT) continue;
        if (is_uploaded(p, storage)) {
            BERT_TRY(join_uploads(p, &blocks[0], storage));
            continue;
        }
        /* Inputs and outputs have a place as well, for callers whose buffers can't be used as they are. */
        blocks[count++] = (bert_memory_block){.bytes = storage->bytes, .first = storage->first, .last = storage->last};
    }
    for (size_t s = 0; s < plan->step_count; s++) {
        blocks[count++] =
            (bert_memory_block){.bytes = plan->steps[s].plan.workspace_bytes, .first = (int32_t)s, .last = (int32_t)s};
    }
    BERT_TRY(bert_memory_plan(blocks, count, &p->scratch, &plan->arena_bytes, p->error));
    count = 1;
    for (size_t i = 0; i < plan->storage_count; i++) {
        bert_storage *storage = &plan->storages[i];
        if (storage->kind == BERT_STORAGE_CONSTANT) continue;
        storage->offset = is_uploaded(p, storage) ? blocks[0].offset + storage->offset : blocks[count++].offset;
    }
    for (size_t s = 0; s < plan->step_count; s++) plan->steps[s].workspace_offset = blocks[count++].offset;
    return BERT_OK;
}

/* ---- What a plan is for ----------------------------------------------------------------------------------------- */

static bert_status copy_request(planner *p, const bert_request *request) {
    bert_arena *memory = &p->plan->memory;
    size_t inputs = (size_t)p->graph->input_count, outputs = (size_t)p->graph->output_count;
    bert_tensor *tensors = BERT_ARENA_NEW_ARRAY(memory, bert_tensor, inputs);
    bool *given = BERT_ARENA_NEW_ARRAY(memory, bool, inputs), *wanted = BERT_ARENA_NEW_ARRAY(memory, bool, outputs);
    if (!tensors || !given || !wanted) return no_memory(p);
    for (size_t i = 0; i < inputs; i++) {
        given[i] = request->given[i];
        if (!given[i]) continue;
        tensors[i] = request->inputs[i];
        tensors[i].data = NULL;
        if (!p->plan->weights->model->deciders.inputs[i]) continue;
        size_t bytes = bert_tensor_bytes(&tensors[i]);
        tensors[i].data = bert_arena_allocate(memory, bytes, BERT_ALIGNMENT);
        if (!tensors[i].data) return no_memory(p);
        if (bytes) memcpy(tensors[i].data, request->inputs[i].data, bytes);
    }
    for (size_t i = 0; i < outputs; i++) wanted[i] = request->wanted[i];
    p->plan->request = (bert_request){
        .inputs = tensors, .given = given, .wanted = wanted, .rows = request->rows, .scope = request->scope};
    return BERT_OK;
}

/* ---- Making and freeing ----------------------------------------------------------------------------------------- */

/* No value has more than one storage, and one of ranges; a step may add byte rows of what it reads, and of what it
 * gives; inputs, lists of tokens, and outputs that are copied, may add one each. */
static bert_status allocate_tables(planner *p) {
    size_t values = p->binding.value_count;
    p->storage_of = BERT_ARENA_NEW_ARRAY(&p->scratch, uint32_t, values);
    p->wide = BERT_ARENA_NEW_ARRAY(&p->scratch, bool, values);
    p->last_read = BERT_ARENA_NEW_ARRAY(&p->scratch, int32_t, values);
    p->kept = BERT_ARENA_NEW_ARRAY(&p->scratch, const bert_constant *, values);
    p->ranges_wanted = BERT_ARENA_NEW_ARRAY(&p->scratch, bool, values);
    p->range_count = BERT_ARENA_NEW_ARRAY(&p->scratch, int32_t, values);
    p->ranges = BERT_ARENA_NEW_ARRAY(&p->scratch, uint32_t, values);
    p->bytes_read = BERT_ARENA_NEW_ARRAY(&p->scratch, int64_t, p->binding.step_count);
    p->row_bytes = BERT_ARENA_NEW_ARRAY(&p->scratch, int64_t, values);
    p->last_bytes_read = BERT_ARENA_NEW_ARRAY(&p->scratch, int32_t, values);
    p->read_itself = BERT_ARENA_NEW_ARRAY(&p->scratch, bool, values);
    p->byte_rows = BERT_ARENA_NEW_ARRAY(&p->scratch, bert_byte_rows_storage, values);
    size_t most = (size_t)p->graph->input_count + (size_t)p->graph->output_count + BERT_TOKEN_LISTS;
    for (size_t s = 0; s < p->binding.step_count; s++) {
        most += (size_t)p->binding.steps[s]->input_count + (size_t)p->binding.steps[s]->output_count + 5;
    }
    most += (size_t)p->graph->output_count; /* constants that are outputs */
    p->plan->storages = BERT_ARENA_NEW_ARRAY(&p->plan->memory, bert_storage, most);
    if (!p->storage_of || !p->wide || !p->last_read || !p->kept || !p->ranges_wanted || !p->range_count || !p->ranges ||
        !p->bytes_read || !p->row_bytes || !p->last_bytes_read || !p->read_itself || !p->byte_rows ||
        !p->plan->storages)
        return no_memory(p);
    for (size_t i = 0; i < values; i++) p->storage_of[i] = BERT_NO_STORAGE;
    return BERT_OK;
}

/* Scales of rows would be of what no token's rows hold, too, or be lacking for these. */
static bool has_scales_of_rows(const bert_plan *plan) {
    for (size_t i = 0; i < plan->step_count; i++)
        if (bert_is_dynamic_linear(plan->steps[i].node)) return true;
    return false;
}

static bert_status build(planner *p, const bert_request *request) {
    BERT_TRY(copy_request(p, request));
    bert_plan *plan = p->plan;
    const bert_model *model = plan->weights->model;
    BERT_TRY(bert_bind(model, &plan->request, &p->scratch, &p->binding, p->error));
    BERT_TRY(bert_bind_tokens(model, &plan->request, &plan->memory, &p->scratch, &p->binding, p->error));
    if (plan->weights->device->backend->layer_norm_linear) {
        BERT_TRY(
            bert_bind_late_norms(plan->weights, &plan->request, &plan->memory, &p->scratch, &p->binding, p->error));
    }
    if (!p->binding.packed) plan->request.rows = 0;
    plan->key = bert_request_key(model, &plan->request);
    if (!plan->padding) plan->padding = p->binding.padding;
    memcpy(plan->needed, p->binding.needed, sizeof plan->needed);
    plan->needed_count = p->binding.needed_count;
    plan->right = p->binding.right;
    BERT_TRY(allocate_tables(p));
    BERT_TRY(take_out_once(p));
    BERT_TRY(find_last_reads(p));
    BERT_TRY(find_bytes(p));
    find_wanted_ranges(p);
    add_input_storages(p);
    add_token_storages(p);
    BERT_TRY(plan_steps(p));
    if (p->binding.packed) BERT_TRY(mark_row_tensors(p));
    plan->fills = p->binding.packed && !has_scales_of_rows(plan);
    BERT_TRY(add_outputs(p));
    BERT_TRY(upload_constants(p));
    return lay_out(p);
}

/* `padding`: why a plan without padding was given up; NULL: none was tried. */
static bert_status create(bert_weights *weights, bert_context *context, const bert_request *request,
                          const char *padding, bert_plan **out, bert_error *error) {
    const bert_allocator *allocator = &weights->model->allocator;
    bert_plan *plan = bert_allocate(allocator, sizeof *plan, _Alignof(bert_plan));
    if (!plan) return bert_fail_memory(error, sizeof *plan, "a plan");
    static atomic_uint_least64_t plans;
    *plan = (bert_plan){.weights = weights, .id = atomic_fetch_add(&plans, 1) + 1};
    bert_arena_init(&plan->memory, allocator);
    planner p = {.plan = plan, .context = context, .graph = weights->model->graph, .error = error};
    bert_arena_init(&p.scratch, allocator);
    bert_status status = BERT_OK;
    if (padding) plan->padding = bert_arena_string(&plan->memory, padding, strlen(padding));
    if (padding && !plan->padding) status = no_memory(&p);
    if (status == BERT_OK) status = build(&p, request);
    bert_arena_free(&p.scratch);
    *out = plan;
    return status;
}

bert_status bert_plan_create(bert_weights *weights, bert_context *context, const bert_request *request, bert_plan **out,
                             bert_error *error) {
    bert_plan *plan = NULL;
    bert_error reason = {0};
    bert_status status = create(weights, context, request, NULL, &plan, &reason);
    if (status == BERT_UNSUPPORTED && plan->request.rows > 0) {
        /* The backend has no kernel for rows without padding. */
        bert_request padded = *request;
        padded.rows = 0;
        bert_plan_free(plan);
        bert_error why = reason;
        plan = NULL;
        status = create(weights, context, &padded, why.message, &plan, &reason);
    }
    if (status != BERT_OK) {
        bert_plan_free(plan);
        if (error) *error = reason;
        return status;
    }
    *out = plan;
    return BERT_OK;
}

void bert_plan_free(bert_plan *plan) {
    if (!plan) return;
    for (size_t s = 0; s < plan->step_count; s++) {
        const bert_op_plan *kernel = &plan->steps[s].plan;
        if (kernel->release_state) kernel->release_state(kernel->state);
    }
    const bert_opened_device *device = plan->weights->device;
    if (plan->device_constants) {
        device->backend->memory_free(device->device, plan->device_constants, plan->device_constant_bytes);
    }
    const bert_allocator *allocator = &plan->weights->model->allocator;
    bert_arena_free(&plan->memory);
    bert_deallocate(allocator, plan, sizeof *plan, _Alignof(bert_plan));
}
