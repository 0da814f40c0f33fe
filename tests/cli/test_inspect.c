/* bertc inspect: what was left plain and why, weights, and the plan with its arena. */
#include "core/base/json.h"
#include "tests/cli/driver.h"
#include "tests/support/onnx_writer.h"

#include <stdlib.h>
#include <string.h>

static const char bundled[] = MODEL_FOLDER;

static const bert_json *parse(const cli_result *result, bert_arena *arena) {
    const bert_json *root = NULL;
    bert_error error;
    cli_expect(result, 0);
    if (bert_json_parse(result->out, result->out_length, "the answer", arena, &root, &error) != BERT_OK) {
        fail_msg("%s", error.message);
    }
    return root;
}

static double number_of(const bert_json *object, const char *key) {
    const bert_json *member = bert_json_get(object, key);
    if (!member || member->type != BERT_JSON_NUMBER) fail_msg("no number '%s'", key);
    return member ? member->number : 0;
}

/* A product with a stack of matrices, which Linear does not have, what follows it, and the shape of that. */
static char *stacked_model(void) {
    const int64_t dims[] = {2, 3, 8}, stack[] = {2, 8, 8};
    message weight = tensor_head("w", 1, 3, stack), product = node("MatMul", "x w", "a"), graph = {0};
    float elements[128] = {0};
    put_blob(&weight, TENSOR_RAW, elements, sizeof elements);
    put_string(&product, NODE_NAME, "stacked");
    put_message(&graph, GRAPH_INPUT, value_info("x", 1, 3, dims));
    put_message(&graph, GRAPH_INITIALIZER, weight);
    put_message(&graph, GRAPH_NODE, product);
    put_message(&graph, GRAPH_NODE, node("Sin", "a", "y"));
    put_message(&graph, GRAPH_NODE, node("Neg", "n", "z"));
    put_message(&graph, GRAPH_INPUT, named_value_info("n", 7, "batch"));
    put_message(&graph, GRAPH_OUTPUT, value_info("y", 0, -1, NULL));
    put_message(&graph, GRAPH_OUTPUT, value_info("z", 0, -1, NULL));
    message m = model(8, 17, graph);
    char *path = cli_path(cli_make_folder(), "stacked.onnx");
    cli_write_file(path, m.data, m.size);
    free_message(&m);
    return path;
}

static const bert_json *group_of(const bert_json *root, const char *op) {
    for (const bert_json *group = bert_json_get(root, "plain")->first; group; group = group->next) {
        if (strcmp(bert_json_get(group, "op")->text, op) == 0) return group;
    }
    return NULL;
}

static void what_is_left_plain_says_why(void **state) {
    static const char reason[] = "its weight is not a float matrix of rank 2";
    char *path = stacked_model();
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    cli_result result = CLI("inspect", path, "--format", "json", "--passes");
    const bert_json *root = parse(&result, &arena);
    /* The node itself, and one beside it. */
    static const char *const ops[] = {"MatMul", "Sin"};
    for (int i = 0; i < 2; i++) {
        const bert_json *group = group_of(root, ops[i]);
        assert_non_null(group);
        assert_string_equal(bert_json_get(group, "pass")->text, "linear");
        assert_string_equal(bert_json_get(group, "stopped_at")->text, "stacked");
        assert_string_equal(bert_json_get(group, "reason")->text, reason);
    }
    /* What works on integers has no pattern near it. */
    const bert_json *neg = group_of(root, "Neg");
    assert_true(neg && number_of(neg, "count") == 1);
    assert_int_equal(bert_json_get(neg, "reason")->type, BERT_JSON_NULL);
    assert_int_equal(bert_json_get(root, "plain_nodes")->length, 3);
    const bert_json *weights = bert_json_get(root, "weights")->first;
    assert_string_equal(bert_json_get(weights, "dtype")->text, "float");
    assert_true(number_of(weights, "bytes") == 512 && number_of(weights, "elements") == 128);
    cli_free(&result);
    result = CLI("inspect", path);
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, "Left plain: 3 of 3 nodes\n"));
    assert_non_null(strstr(result.out, "  1  MatMul: linear stopped at stacked: its weight is not a float matrix"));
    assert_non_null(strstr(result.out, "  1  Neg\n"));
    cli_free(&result);
    bert_arena_free(&arena);
    free(path);
}

static bool overlap(double a, double a_end, double b, double b_end) {
    return a < b_end && b < a_end;
}

/* Tensors that are needed at one time do not lie over each other, nor does a kernel's workspace over them. */
static void the_arena_holds_what_is_alive(void **state) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    cli_result result = CLI("inspect", bundled, "--format", "json", "--shape", "batch=2,sequence=16");
    const bert_json *root = parse(&result, &arena), *storages = bert_json_get(root, "arena");
    double most = number_of(root, "plan_arena_bytes"), workspace = 0;
    int pairs = 0;
    assert_true(storages->length > 10);
    for (const bert_json *a = storages->first; a; a = a->next) {
        double begin = number_of(a, "offset"), end = begin + number_of(a, "bytes");
        assert_true(end <= most && number_of(a, "bytes") > 0);
        assert_true(number_of(a, "first") <= number_of(a, "last"));
        for (const bert_json *b = a->next; b; b = b->next) {
            bool together = overlap(number_of(a, "first"), number_of(a, "last") + 1, number_of(b, "first"),
                                    number_of(b, "last") + 1);
            pairs += together;
            assert_false(together &&
                         overlap(begin, end, number_of(b, "offset"), number_of(b, "offset") + number_of(b, "bytes")));
        }
        int step = 0;
        for (const bert_json *kernel = bert_json_get(root, "plan")->first; kernel; kernel = kernel->next, step++) {
            double at = number_of(kernel, "workspace_offset"), bytes = number_of(kernel, "workspace_bytes");
            workspace += bytes;
            if (bytes == 0 || step < number_of(a, "first") || step > number_of(a, "last")) continue;
            assert_true(at + bytes <= most);
            assert_false(overlap(begin, end, at, at + bytes));
        }
    }
    assert_true(pairs > 10 && workspace > 0);
    cli_free(&result);
    result = CLI("inspect", bundled, "--shape", "batch=2,sequence=16");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, "\nArena: "));
    assert_non_null(strstr(result.out, " KiB workspace  "));
    cli_free(&result);
    bert_arena_free(&arena);
}

static void without_passes_nothing_was_left(void **state) {
    cli_result result = CLI("inspect", bundled, "--no-passes");
    cli_expect(&result, 0);
    assert_non_null(strstr(result.out, "  none ran\n"));
    assert_null(strstr(result.out, "Left plain"));
    cli_free(&result);
}

/* Steps that passes made are called after nodes of the file, and so are their errors. */
static void every_step_has_a_name(void **state) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    cli_result result = CLI("inspect", bundled, "--shape", "batch=2,sequence=4", "--format", "json");
    const bert_json *root = parse(&result, &arena);
    size_t count = 0;
    for (const bert_json *step = bert_json_get(root, "plan")->first; step; step = step->next) {
        assert_true(bert_json_get(step, "node")->length > 0);
        count++;
    }
    assert_true(count > 30);
    cli_free(&result);
    bert_arena_free(&arena);
    cli_expect_one_sentence(CLI("run", bundled, "--random", "--shape", "batch=1,sequence=0"),
                            "node /bert/pooler/Gather");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_plain_says_why),
        cmocka_unit_test(the_arena_holds_what_is_alive),
        cmocka_unit_test(without_passes_nothing_was_left),
        cmocka_unit_test(every_step_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
