/* Branches, views, folding, memory in place, and devices with memory of their own. */
#include "core/runtime/reference_backend.h"
#include "tests/runtime/build.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

/* ---- Backends that watch what the runtime does with them --------------------------------------------------------- */

static bert_kernel_fn reference_run;
static int in_place_plans, shared_calls;

static bert_status watch_sharing(const bert_kernel_call *call, bert_error *error) {
    if (call->plan->in_place && call->inputs[0].data == call->outputs[0].data) shared_calls++;
    return reference_run(call, error);
}

/* Offers output 0 the memory of input 0 wherever the shapes are the same. */
static bert_status plan_in_place(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                                 bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    BERT_TRY(bert_reference_backend.plan(prepared, context, node, mode, out, error));
    reference_run = out->run;
    out->run = watch_sharing;
    const bert_tensor_desc *input = &node->inputs[0], *output = &node->outputs[0];
    bool same = input->rank == output->rank;
    for (int32_t i = 0; same && i < input->rank; i++) same = input->dims[i] == output->dims[i];
    if (!same || (strcmp(node->op_type, "Add") != 0 && strcmp(node->op_type, "Mul") != 0)) return BERT_OK;
    out->in_place = 1;
    if (mode == BERT_PLAN_BIND) in_place_plans++;
    return BERT_OK;
}

/* What Add gives is wide; notes who is shown what. */
static int wide_reads, narrow_reads;

static bert_status plan_wide(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                             bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    BERT_TRY(bert_reference_backend.plan(prepared, context, node, mode, out, error));
    if (strcmp(node->op_type, "Add") == 0) out->wide_outputs = 1;
    for (int32_t i = 0; i < node->input_count; i++) {
        if (mode != BERT_PLAN_BIND) assert_false(node->inputs[i].wide);
        if (mode == BERT_PLAN_BIND) *(node->inputs[i].wide ? &wide_reads : &narrow_reads) += 1;
    }
    return BERT_OK;
}

/* A device whose memory no one else touches: every tensor of a kernel must lie in what it gave out. */
enum { MOST_BLOCKS = 256 };
static struct {
    unsigned char *memory;
    size_t bytes;
} device_blocks[MOST_BLOCKS];
static size_t device_uploads, device_downloads, device_strays;
static const unsigned char *uploaded_to; /* in this run, before a kernel; NULL: nothing yet */
static bool kernel_ran;

static bert_status allocate_on_device(bert_device *device, size_t bytes, void **out, bert_error *error) {
    for (size_t i = 0; i < MOST_BLOCKS; i++) {
        if (device_blocks[i].memory) continue;
        device_blocks[i].memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
        device_blocks[i].bytes = bytes;
        *out = device_blocks[i].memory;
        return *out ? BERT_OK : BERT_OUT_OF_MEMORY;
    }
    return BERT_OUT_OF_MEMORY;
}

static size_t find_on_device(const void *memory, size_t bytes) {
    for (size_t i = 0; i < MOST_BLOCKS; i++) {
        uintptr_t start = (uintptr_t)device_blocks[i].memory, at = (uintptr_t)memory;
        if (start && at >= start && at + bytes <= start + device_blocks[i].bytes) return i;
    }
    return MOST_BLOCKS;
}

static void free_on_device(bert_device *device, void *memory, size_t bytes) {
    size_t block = find_on_device(memory, bytes);
    assert_true(block < MOST_BLOCKS && device_blocks[block].bytes == bytes);
    free(memory);
    device_blocks[block].memory = NULL;
}

static void to_device(void *destination, const void *source, size_t bytes) {
    assert_true(find_on_device(destination, bytes) < MOST_BLOCKS && find_on_device(source, 1) == MOST_BLOCKS);
    device_uploads++;
    memcpy(destination, source, bytes);
}

static bert_status constant_to_device(bert_prepared *prepared, void *destination, const bert_constant *source,
                                      bert_error *error) {
    to_device(destination, source->data, source->bytes);
    return BERT_OK;
}

/* Side by side and in order, aligned to 64 bytes, before any kernel: as backend.h says. */
static bert_status upload(bert_context *context, void *destination, const bert_tensor *source, bert_error *error) {
    const unsigned char *at = destination;
    assert_true((uintptr_t)at % 64 == 0 && !kernel_ran);
    if (uploaded_to) assert_true(at >= uploaded_to && at - uploaded_to < 64);
    uploaded_to = at + bert_tensor_bytes(source);
    to_device(destination, source->data, bert_tensor_bytes(source));
    return BERT_OK;
}

static bert_status download(bert_context *context, void *destination, const bert_tensor *source, bert_error *error) {
    const size_t bytes = bert_tensor_bytes(source);
    assert_true(find_on_device(source->data, bytes) < MOST_BLOCKS && find_on_device(destination, 1) == MOST_BLOCKS);
    device_downloads++;
    memcpy(destination, source->data, bytes);
    return BERT_OK;
}

static void count_strays(const bert_tensor *tensors, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        if (tensors[i].dtype != BERT_DTYPE_UNDEFINED && find_on_device(tensors[i].data, 1) == MOST_BLOCKS) {
            device_strays++;
        }
    }
}

static bert_status run_on_device(const bert_kernel_call *call, bert_error *error) {
    kernel_ran = true;
    count_strays(call->inputs, 2); /* every node of the test has two inputs and one output */
    count_strays(call->outputs, 1);
    return reference_run(call, error);
}

static bert_status plan_on_device(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                                  bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    BERT_TRY(bert_reference_backend.plan(prepared, context, node, mode, out, error));
    reference_run = out->run;
    out->run = run_on_device;
    return BERT_OK;
}

static void device_properties(const bert_device *device, bert_device_properties *out) {
    *out = (bert_device_properties){.name = "far away", .host_memory = false};
}

/* Refuses two ops, with a reason. */
static bert_status plan_without_products(bert_prepared *prepared, bert_context *context, const bert_op_node *node,
                                         bert_plan_mode mode, bert_op_plan *out, bert_error *error) {
    if (strcmp(node->op_type, "Mul") == 0) return bert_fail(error, BERT_UNSUPPORTED, "no products here");
    if (strcmp(node->op_type, "Shape") == 0) return bert_fail(error, BERT_UNSUPPORTED, "no shapes here");
    return bert_reference_backend.plan(prepared, context, node, mode, out, error);
}

/* ---- Helpers ----------------------------------------------------------------------------------------------------- */

typedef struct fixture {
    bert_composition composition;
    bert_backend backend;
    const bert_backend *backends[1];
    bert_model *model;
    bert_session *session;
    bert_error error;
} fixture;

static void open_fixture(fixture *f, build_fn build) {
    f->composition = build_composition;
    f->backends[0] = &f->backend;
    f->composition.backends = f->backends;
    if (build_load(build, &f->composition, NULL, &f->model, &f->error) != BERT_OK) fail_msg("%s", f->error.message);
    if (bert_session_create(f->model, NULL, &f->session, &f->error) != BERT_OK) fail_msg("%s", f->error.message);
}

static void close_fixture(fixture *f) {
    bert_session_free(f->session);
    bert_model_free(f->model);
}

static const float *run(fixture *f, const bert_named_tensor *inputs, size_t count, bert_named_tensor *output) {
    bert_status status = bert_session_run(f->session, NULL, inputs, count, output, 1, &f->error);
    if (status != BERT_OK) fail_msg("%s", f->error.message);
    return output->tensor.data;
}

/* ---- Branches ---------------------------------------------------------------------------------------------------- */

static bert_block *new_branch(bert_block *parent) {
    bert_block *branch = BERT_ARENA_NEW(&parent->graph->arena, bert_block);
    if (branch) *branch = (bert_block){.graph = parent->graph, .parent = parent};
    return branch;
}

static bert_attribute branch_attribute(const char *name, bert_block *branch) {
    return (bert_attribute){.name = name, .kind = BERT_ATTRIBUTE_GRAPH, .count = 1, .value.graph = branch};
}

/* If(c) { if (d) x + 1 else x } else { x * x }, and the result is read by another node. */
static bert_status build_branches(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n");
    bert_value *c = build_input(graph, "c", BERT_BOOL, ""), *d = build_input(graph, "d", BERT_BOOL, "");
    bert_value *one = build_float(graph, 1);
    bert_block *then = new_branch(&graph->body), *other = new_branch(&graph->body);
    bert_block *inner_then = then ? new_branch(then) : NULL, *inner_other = then ? new_branch(then) : NULL;
    if (!x || !c || !d || !one || !other || !inner_then || !inner_other) return BERT_OUT_OF_MEMORY;
    bert_value *sum = build_node(inner_then, "Add", "sum", NULL, 0, x, one, BUILD_END);
    bert_value *product = build_node(other, "Mul", "product", NULL, 0, x, x, BUILD_END);
    if (!sum || !product) return BERT_OUT_OF_MEMORY;
    BERT_TRY(bert_block_set_outputs(inner_then, &sum, 1, error));
    BERT_TRY(bert_block_set_outputs(inner_other, &x, 1, error));
    bert_attribute inner[2] = {branch_attribute("then_branch", inner_then),
                               branch_attribute("else_branch", inner_other)};
    bert_value *chosen = build_node(then, "If", "inner", inner, 2, d, BUILD_END);
    if (!chosen) return BERT_OUT_OF_MEMORY;
    BERT_TRY(bert_block_set_outputs(then, &chosen, 1, error));
    BERT_TRY(bert_block_set_outputs(other, &product, 1, error));
    bert_attribute outer[2] = {branch_attribute("then_branch", then), branch_attribute("else_branch", other)};
    bert_value *result = build_node(&graph->body, "If", "outer", outer, 2, c, BUILD_END);
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, result, x, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, c, d, BUILD_END));
    return build_outputs(graph, error, y, result, BUILD_END);
}

static void branches_are_chosen_by_content(void **state) {
    fixture f = {.backend = bert_reference_backend};
    open_fixture(&f, build_branches);
    assert_false(f.model->deciders.inputs[0]);
    assert_true(f.model->deciders.inputs[1] && f.model->deciders.inputs[2]);
    float x[2] = {3, 5};
    for (int choice = 0; choice < 8; choice++) {
        bool c = choice & 1, d = choice & 2;
        bert_named_tensor in[3] = {named("x", BERT_FLOAT, 1, DIMS(2), x), named("c", BERT_BOOL, 0, NULL, &c),
                                   named("d", BERT_BOOL, 0, NULL, &d)};
        bert_named_tensor y = {.name = "y"}, result = {.name = "outer"};
        float expected = c ? (d ? x[1] + 1 : x[1]) : x[1] * x[1];
        assert_true(run(&f, in, 3, &y)[1] == expected + x[1]);
        assert_true(run(&f, in, 3, &result)[1] == expected);
        assert_int_equal(bert_session_plan(f.session)->step_count, c && !d ? 0 : 1);
    }
    close_fixture(&f);
}

/* ---- Views, memory ----------------------------------------------------------------------------------------------- */

/* y = ((x + 1) seen as [-1], [1, -1], [2, -1]) * 2, and the view in the middle is an output too. */
static bert_status build_views(bert_graph *graph, bert_error *error) {
    bert_block *body = &graph->body;
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n,2");
    bert_value *sum = build_node(body, "Add", "sum", NULL, 0, x, build_float(graph, 1), BUILD_END);
    bert_value *a = build_node(body, "Reshape", "a", NULL, 0, sum, build_int64s(graph, 1, DIMS(-1)), BUILD_END);
    bert_value *b = build_node(body, "Unsqueeze", "b", NULL, 0, a, build_int64s(graph, 1, DIMS(0)), BUILD_END);
    bert_value *c = build_node(body, "Reshape", "c", NULL, 0, b, build_int64s(graph, 2, DIMS(2, -1)), BUILD_END);
    bert_value *y = build_node(body, "Mul", "y", NULL, 0, c, build_float(graph, 2), BUILD_END);
    bert_value *seen = build_node(body, "Reshape", "seen", NULL, 0, x, build_int64s(graph, 1, DIMS(-1)), BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, b, sum, seen, BUILD_END);
}

static void chains_of_views_share_memory_and_are_no_steps(void **state) {
    fixture f = {.backend = bert_reference_backend};
    f.backend.plan = plan_in_place;
    open_fixture(&f, build_views);
    float x[8] = {0, 1, 2, 3, 4, 5, 6, 7}, b[8], sum[8];
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(4, 2), x);
    bert_named_tensor outputs[4] = {{.name = "b", .tensor.data = b, .capacity_bytes = sizeof b},
                                    {.name = "sum", .tensor.data = sum, .capacity_bytes = sizeof sum},
                                    {.name = "y"},
                                    {.name = "seen"}};
    shared_calls = 0;
    bert_status status = bert_session_run(f.session, NULL, &input, 1, outputs, 4, &f.error);
    if (status != BERT_OK) fail_msg("%s", f.error.message);
    assert_int_equal(bert_session_plan(f.session)->step_count, 2);
    assert_int_equal(outputs[0].tensor.rank, 2);
    assert_int_equal(outputs[0].tensor.dims[1], 8);
    for (int i = 0; i < 8; i++) {
        assert_true(b[i] == x[i] + 1 && sum[i] == b[i] && ((float *)outputs[2].tensor.data)[i] == 2 * b[i]);
        assert_true(((float *)outputs[3].tensor.data)[i] == x[i]);
        assert_true(x[i] == (float)i);
    }
    assert_int_equal(shared_calls, 0); /* x is the caller's, sum is an output: neither may be overwritten */
    close_fixture(&f);
}

static void what_a_kernel_gives_more_of_is_shown_to_who_reads_it(void **state) {
    fixture f = {.backend = bert_reference_backend};
    f.backend.plan = plan_wide;
    open_fixture(&f, build_views);
    float x[8] = {0};
    bert_named_tensor input = named("x", BERT_FLOAT, 2, DIMS(4, 2), x), output = {.name = "y"};
    wide_reads = narrow_reads = 0;
    run(&f, &input, 1, &output);
    /* Mul of a view of the sum; not Add's x and 1, not the 2. */
    assert_int_equal(wide_reads, 1);
    assert_int_equal(narrow_reads, 3);
    close_fixture(&f);
}

/* y = ((((x + 1) + 1) + ...) + x): a chain of ten. */
static bert_status build_chain(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n"), *y = x, *one = build_float(graph, 1);
    for (int i = 0; i < 10 && y; i++) y = build_node(&graph->body, "Add", NULL, NULL, 0, y, one, BUILD_END);
    bert_value *twice = build_node(&graph->body, "Mul", "twice", NULL, 0, y, y, BUILD_END);
    bert_value *last = build_node(&graph->body, "Add", "y", NULL, 0, twice, x, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, last, BUILD_END);
}

static void kernels_in_place_share_and_never_harm(void **state) {
    size_t bytes[2];
    for (int in_place = 0; in_place < 2; in_place++) {
        fixture f = {.backend = bert_reference_backend};
        if (in_place) f.backend.plan = plan_in_place;
        open_fixture(&f, build_chain);
        float x[100];
        for (int i = 0; i < 100; i++) x[i] = (float)i;
        bert_named_tensor input = named("x", BERT_FLOAT, 1, DIMS(100), x), output = {.name = "y"};
        in_place_plans = shared_calls = 0;
        const float *y = run(&f, &input, 1, &output);
        for (int i = 0; i < 100; i++) assert_true(y[i] == (x[i] + 10) * (x[i] + 10) + x[i] && x[i] == (float)i);
        bytes[in_place] = bert_session_plan(f.session)->arena_bytes;
        /* Not the first (the caller's x), not the product (it reads its input twice). */
        if (in_place) assert_true(in_place_plans == 12 && shared_calls == 10);
        close_fixture(&f);
    }
    assert_true(bytes[1] <= bytes[0]);
}

/* y = x + ConstantOfShape([1024, 1024]): four mebibytes that follow from nothing. */
static bert_status build_large(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "");
    bert_value *shape = build_int64s(graph, 2, DIMS(1024, 1024));
    bert_value *zeros = build_node(&graph->body, "ConstantOfShape", "zeros", NULL, 0, shape, BUILD_END);
    bert_value *y = build_node(&graph->body, "Add", "y", NULL, 0, zeros, x, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, y, BUILD_END);
}

static void large_known_content_is_not_kept(void **state) {
    fixture f = {.backend = bert_reference_backend};
    open_fixture(&f, build_large);
    float x = 7;
    bert_named_tensor input = named("x", BERT_FLOAT, 0, NULL, &x), output = {.name = "y"};
    assert_true(run(&f, &input, 1, &output)[1024 * 1024 - 1] == 7);
    assert_int_equal(bert_session_plan(f.session)->step_count, 2);
    assert_true(bert_session_plan(f.session)->memory.total_bytes < 1 << 20);
    close_fixture(&f);
}

/* ---- Devices ----------------------------------------------------------------------------------------------------- */

/* y = (x + range) * w, where the range follows from x's shape; x and the range are outputs too. */
static bert_status build_for_device(bert_graph *graph, bert_error *error) {
    bert_block *body = &graph->body;
    bert_attribute to = BERT_INT_ATTRIBUTE("to", BERT_FLOAT);
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n");
    bert_value *size = build_node(body, "Size", "size", NULL, 0, x, BUILD_END);
    bert_value *range =
        build_node(body, "Range", "range", NULL, 0, build_int64(graph, 0), size, build_int64(graph, 1), BUILD_END);
    bert_value *floats = build_node(body, "Cast", "floats", &to, 1, range, BUILD_END);
    bert_value *sum = build_node(body, "Add", "sum", NULL, 0, x, floats, BUILD_END);
    bert_value *w = build_input(graph, "w", BERT_FLOAT, "one"); /* small, and still the first */
    bert_value *y = build_node(body, "Mul", "y", NULL, 0, sum, w, BUILD_END);
    BERT_TRY(build_inputs(graph, error, w, x, BUILD_END));
    return build_outputs(graph, error, y, floats, x, BUILD_END);
}

static void a_device_is_shown_its_own_memory_only(void **state) {
    fixture f = {.backend = bert_reference_backend};
    f.backend.plan = plan_on_device;
    f.backend.device_properties = device_properties;
    f.backend.memory_allocate = allocate_on_device;
    f.backend.memory_free = free_on_device;
    f.backend.constant = constant_to_device;
    f.backend.upload = upload;
    f.backend.download = download;
    open_fixture(&f, build_for_device);
    device_strays = device_downloads = 0;
    for (int64_t n = 1; n < 40; n += 7) {
        float x[40], w = 3, y[40];
        const int64_t one = 1;
        for (int64_t i = 0; i < n; i++) x[i] = (float)(2 * i);
        bert_named_tensor inputs[2] = {named("x", BERT_FLOAT, 1, &n, x), named("w", BERT_FLOAT, 1, &one, &w)};
        bert_named_tensor outputs[3] = {
            {.name = "x"}, {.name = "y", .tensor.data = y, .capacity_bytes = sizeof y}, {.name = "floats"}};
        uploaded_to = NULL;
        kernel_ran = false;
        bert_status status = bert_session_run(f.session, NULL, inputs, 2, outputs, 3, &f.error);
        if (status != BERT_OK) fail_msg("%s", f.error.message);
        assert_true(uploaded_to && kernel_ran);
        for (int64_t i = 0; i < n; i++) {
            assert_true(y[i] == 9 * (float)i && ((float *)outputs[0].tensor.data)[i] == x[i]);
            assert_true(((float *)outputs[2].tensor.data)[i] == (float)i);
        }
    }
    assert_int_equal(device_strays, 0);
    assert_int_equal(device_downloads, 6 * 3);
    close_fixture(&f);
    for (size_t i = 0; i < MOST_BLOCKS; i++) assert_null(device_blocks[i].memory);
}

static bert_status build_two_products(bert_graph *graph, bert_error *error) {
    bert_value *x = build_input(graph, "x", BERT_FLOAT, "n");
    bert_value *a = build_node(&graph->body, "Mul", "first", NULL, 0, x, x, BUILD_END);
    bert_value *b = build_node(&graph->body, "Mul", "second", NULL, 0, a, x, BUILD_END);
    bert_value *shape = build_node(&graph->body, "Shape", "shape", NULL, 0, b, BUILD_END);
    BERT_TRY(build_inputs(graph, error, x, BUILD_END));
    return build_outputs(graph, error, b, shape, BUILD_END);
}

static void every_node_that_a_provider_lacks_is_named(void **state) {
    fixture f = {.backend = bert_reference_backend, .composition = build_composition};
    f.backend.name = "picky";
    f.backend.plan = plan_without_products;
    f.backends[0] = &f.backend;
    f.composition.backends = f.backends;
    assert_int_equal(build_load(build_two_products, &f.composition, NULL, &f.model, &f.error), BERT_OK);
    assert_int_equal(bert_session_create(f.model, NULL, &f.session, &f.error), BERT_UNSUPPORTED);
    assert_non_null(strstr(f.error.message, "provider picky: 2 nodes are not supported: node first (Mul): no products "
                                            "here; node second (Mul): no products here"));
    /* Binding evaluates the Shape: the provider never sees it. */
    assert_null(strstr(f.error.message, "Shape"));
    bert_model_free(f.model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches_are_chosen_by_content),
        cmocka_unit_test(chains_of_views_share_memory_and_are_no_steps),
        cmocka_unit_test(what_a_kernel_gives_more_of_is_shown_to_who_reads_it),
        cmocka_unit_test(kernels_in_place_share_and_never_harm),
        cmocka_unit_test(large_known_content_is_not_kept),
        cmocka_unit_test(a_device_is_shown_its_own_memory_only),
        cmocka_unit_test(every_node_that_a_provider_lacks_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
