/* core/graph: values, nodes, rewriting, order, and the check that finds a broken graph. */
#include "core/graph/op.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A chain x -> Add(x, x) -> ... of `length` nodes named n0, n1, ... with outputs t0, t1, ... */
static bert_graph *make_chain(int length) {
    bert_error error;
    bert_graph *graph = bert_graph_create(NULL);
    assert_non_null(graph);
    bert_value *last;
    assert_int_equal(bert_graph_add_value(graph, "x", &last, &error), BERT_OK);
    assert_int_equal(bert_graph_set_inputs(graph, &last, 1, &error), BERT_OK);
    for (int i = 0; i < length; i++) {
        char node_name[32], value_name[32];
        snprintf(node_name, sizeof node_name, "n%d", i);
        snprintf(value_name, sizeof value_name, "t%d", i);
        bert_value *output;
        assert_int_equal(bert_graph_add_value(graph, value_name, &output, &error), BERT_OK);
        bert_value *inputs[] = {last, last};
        bert_node *node;
        const bert_node_spec spec = {.op = bert_op_get(BERT_OP_Add),
                                     .opset = 17,
                                     .name = node_name,
                                     .inputs = inputs,
                                     .input_count = 2,
                                     .outputs = &output,
                                     .output_count = 1};
        assert_int_equal(bert_graph_add_node(&graph->body, NULL, &spec, &node, &error), BERT_OK);
        last = output;
    }
    assert_int_equal(bert_graph_set_outputs(graph, &last, 1, &error), BERT_OK);
    assert_int_equal(bert_graph_check(graph, &error), BERT_OK);
    return graph;
}

static int count_nodes(const bert_block *block) {
    int count = 0;
    BERT_FOR_EACH_NODE (node, block) {
        count++;
    }
    return count;
}

static void uses_follow_rewrites(void **state) {
    bert_error error;
    bert_graph *graph = make_chain(3);
    bert_value *x = bert_graph_find_value(graph, "x");
    bert_value *t0 = bert_graph_find_value(graph, "t0");
    bert_node *last = graph->body.last;
    assert_int_equal(x->use_count, 2);
    assert_int_equal(bert_node_set_input(last, 1, x, &error), BERT_OK);
    assert_int_equal(x->use_count, 3);
    assert_int_equal(bert_graph_find_value(graph, "t1")->use_count, 1);
    assert_int_equal(bert_graph_replace_value(graph, t0, x, &error), BERT_OK);
    assert_int_equal(t0->use_count, 0);
    assert_int_equal(bert_graph_check(graph, &error), BERT_OK);
    assert_int_equal(bert_graph_remove_dead(graph), 1);
    assert_null(bert_graph_find_value(graph, "t0"));
    assert_int_equal(count_nodes(&graph->body), 2);
    assert_int_equal(bert_graph_check(graph, &error), BERT_OK);
    bert_graph_free(graph);
}

static void an_output_keeps_the_callers_name(void **state) {
    bert_error error;
    bert_graph *graph = make_chain(2);
    bert_value *t0 = bert_graph_find_value(graph, "t0");
    bert_value *t1 = bert_graph_find_value(graph, "t1");
    assert_int_equal(bert_graph_replace_value(graph, t1, t0, &error), BERT_OK);
    assert_ptr_equal(graph->outputs[0], t0);
    assert_string_equal(graph->output_names[0], "t1");
    assert_true(t0->graph_output && !t1->graph_output);
    assert_int_equal(bert_graph_remove_dead(graph), 1);
    assert_int_equal(bert_graph_check(graph, &error), BERT_OK);
    bert_graph_free(graph);
}

static void everything_is_dead_that_no_output_needs(void **state) {
    bert_graph *graph = make_chain(5);
    bert_error error;
    bert_value *t1 = bert_graph_find_value(graph, "t1");
    assert_int_equal(bert_graph_set_outputs(graph, &t1, 1, &error), BERT_OK);
    assert_int_equal(bert_graph_remove_dead(graph), 3);
    assert_int_equal(count_nodes(&graph->body), 2);
    assert_int_equal(bert_graph_remove_dead(graph), 0);
    bert_graph_free(graph);
}

static void move_to_end(bert_node *node) {
    bert_block *block = node->block;
    *(node->previous ? &node->previous->next : &block->first) = node->next;
    *(node->next ? &node->next->previous : &block->last) = node->previous;
    node->previous = block->last;
    node->next = NULL;
    *(block->last ? &block->last->next : &block->first) = node;
    block->last = node;
}

static void sorting_puts_writers_first_and_keeps_what_is_sorted(void **state) {
    bert_error error;
    bert_graph *graph = make_chain(200);
    bert_node *before[200] = {NULL};
    int count = 0;
    BERT_FOR_EACH_NODE (node, &graph->body) {
        before[count++] = node;
    }
    assert_int_equal(bert_graph_sort(graph, &error), BERT_OK);
    count = 0;
    BERT_FOR_EACH_NODE (node, &graph->body) {
        assert_ptr_equal(node, before[count++]);
    }
    srand(7);
    for (int i = 0; i < 1000; i++) move_to_end(before[rand() % 200]);
    assert_int_not_equal(bert_graph_check(graph, &error), BERT_OK);
    assert_int_equal(bert_graph_sort(graph, &error), BERT_OK);
    assert_int_equal(bert_graph_check(graph, &error), BERT_OK);
    assert_int_equal(count_nodes(&graph->body), 200);
    bert_graph_free(graph);
}

static void a_cycle_is_named(void **state) {
    bert_error error;
    bert_graph *graph = make_chain(10);
    assert_int_equal(bert_node_set_input(graph->body.first->next, 0, bert_graph_find_value(graph, "t7"), &error),
                     BERT_OK);
    assert_int_equal(bert_graph_sort(graph, &error), BERT_INVALID_MODEL);
    assert_non_null(strstr(error.message, "cycle"));
    assert_int_equal(count_nodes(&graph->body), 10);
    bert_graph_free(graph);
}

static void the_check_finds_a_lost_use(void **state) {
    bert_error error;
    bert_graph *graph = make_chain(3);
    bert_graph_find_value(graph, "t0")->use_count = 1;
    assert_int_equal(bert_graph_check(graph, &error), BERT_INTERNAL);
    bert_graph_free(graph);
}

static void names_and_writers_are_unique(void **state) {
    bert_error error;
    bert_graph *graph = make_chain(1);
    bert_value *value;
    assert_int_equal(bert_graph_add_value(graph, "t0", &value, &error), BERT_INVALID_MODEL);
    bert_value *t0 = bert_graph_find_value(graph, "t0");
    bert_node *node;
    const bert_node_spec spec = {.op = bert_op_get(BERT_OP_Add),
                                 .opset = 17,
                                 .inputs = (bert_value *[]){t0, t0},
                                 .input_count = 2,
                                 .outputs = &t0,
                                 .output_count = 1};
    assert_int_equal(bert_graph_add_node(&graph->body, NULL, &spec, &node, &error), BERT_INVALID_MODEL);
    assert_int_equal(t0->use_count, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bert_graph_add_value(graph, NULL, &value, &error), BERT_OK);
        assert_ptr_equal(bert_graph_find_value(graph, value->name), value);
    }
    bert_graph_free(graph);
}

static void constants_are_read_at_any_alignment(void **state) {
    bert_error error;
    bert_graph *graph = bert_graph_create(NULL);
    static _Alignas(64) unsigned char bytes[64];
    const int64_t numbers[] = {-5, 7, INT64_MAX};
    memcpy(bytes + 3, numbers, sizeof numbers);
    const bert_constant *constant;
    assert_int_equal(bert_graph_add_constant(graph, BERT_INT64, 1, (int64_t[]){3}, bytes + 3, sizeof numbers, NULL,
                                             &constant, &error),
                     BERT_OK);
    assert_int_equal(constant->alignment, 1);
    assert_int_equal(bert_constant_int(constant, 0), -5);
    assert_true(bert_constant_int(constant, 2) == INT64_MAX);
    bert_value *value;
    assert_int_equal(bert_graph_add_constant_value(graph, "c", constant, &value, &error), BERT_OK);
    assert_null(value->info.elements); /* one element is no bert_dim */
    assert_int_equal(
        bert_graph_add_constant(graph, BERT_INT64, 1, (int64_t[]){2}, bytes + 8, 16, NULL, &constant, &error), BERT_OK);
    assert_int_equal(constant->alignment, 8);
    assert_int_equal(bert_graph_add_constant_value(graph, "d", constant, &value, &error), BERT_OK);
    assert_int_equal(value->info.element_count, 2);
    assert_int_equal(bert_graph_add_constant(graph, BERT_FLOAT, 1, (int64_t[]){3}, bytes, 8, NULL, &constant, &error),
                     BERT_INVALID_MODEL);
    assert_int_equal(bert_graph_add_constant(graph, BERT_STRING, 0, NULL, bytes, 8, NULL, &constant, &error),
                     BERT_UNSUPPORTED);
    bert_graph_free(graph);
}

static bert_status build_with(const bert_allocator *allocator) {
    bert_error error;
    bert_graph *graph = bert_graph_create(allocator);
    if (!graph) return BERT_OUT_OF_MEMORY;
    bert_status status = BERT_OK;
    for (int i = 0; i < 2000 && status == BERT_OK; i++) {
        bert_value *value;
        status = bert_graph_add_value(graph, NULL, &value, &error);
    }
    if (status == BERT_OK) status = bert_graph_sort(graph, &error);
    bert_graph_free(graph);
    return status;
}

/* In any order, each once, in memory that grows with their number; a list that nodes share stays the other's. */
static void origins_are_gathered_in_order(void **state) {
    enum { NODES = 5000 };
    static bert_origin all[NODES];
    static const bert_origin *lists[NODES][2];
    bert_error error;
    bert_graph *graph = make_chain(NODES);
    bert_node *first = graph->body.first;
    int i = 0;
    BERT_FOR_EACH_NODE (node, &graph->body) {
        all[i] = (bert_origin){.index = (uint32_t)i, .name = "n"};
        lists[i][0] = &all[0]; /* the call that all are part of */
        lists[i][1] = &all[i];
        node->origins = i ? lists[i] : &lists[0][0];
        node->origin_count = i ? 2 : 1;
        i++;
    }
    const size_t before = graph->arena.total_bytes;
    for (bert_node *node = graph->body.last; node != first; node = node->previous)
        assert_int_equal(bert_node_add_origins(first, node, &error), BERT_OK);
    BERT_FOR_EACH_NODE (node, &graph->body) assert_int_equal(bert_node_add_origins(first, node, &error), BERT_OK);
    assert_int_equal(first->origin_count, NODES);
    for (uint32_t o = 0; o < NODES; o++) assert_ptr_equal(first->origins[o], &all[o]);
    assert_ptr_equal(lists[1][1], &all[1]);
    assert_true(graph->arena.total_bytes - before < 100 * NODES * sizeof(void *));
    bert_graph_free(graph);
}

static void running_out_of_memory_is_a_status(void **state) {
    scarce_memory plenty = {0};
    bert_allocator allocator = scarce_allocator(&plenty);
    assert_int_equal(build_with(&allocator), BERT_OK);
    assert_true(plenty.allocations > 5);
    for (size_t i = 0; i < plenty.allocations; i++) {
        scarce_memory memory = {.fail_from = i, .fail_to = i + 1};
        allocator = scarce_allocator(&memory);
        assert_int_equal(build_with(&allocator), BERT_OUT_OF_MEMORY);
        assert_int_equal(memory.live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uses_follow_rewrites),
        cmocka_unit_test(an_output_keeps_the_callers_name),
        cmocka_unit_test(everything_is_dead_that_no_output_needs),
        cmocka_unit_test(sorting_puts_writers_first_and_keeps_what_is_sorted),
        cmocka_unit_test(a_cycle_is_named),
        cmocka_unit_test(the_check_finds_a_lost_use),
        cmocka_unit_test(names_and_writers_are_unique),
        cmocka_unit_test(constants_are_read_at_any_alignment),
        cmocka_unit_test(origins_are_gathered_in_order),
        cmocka_unit_test(running_out_of_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
