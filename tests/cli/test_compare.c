/* bertc compare: on a model whose weight was changed by hand it names the node that reads the weight. */
#include "core/base/json.h"
#include "onnx_loader/onnx_loader.h"
#include "tests/cli/driver.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char original[] = GRAPHS "/old_bert_cls_11/model.onnx";
static const char inputs_of[] = GRAPHS "/old_bert_cls_11/test_data_set_1";

/* The node whose weight is changed, and what it writes. */
static const char changed_node[] = "/m/bert/encoder/layer.1/attention/self/value/MatMul";
static const char changed_tensor[] = "/m/bert/encoder/layer.1/attention/self/value/MatMul_output_0";

/* Folders that all tests share. */
static char *folder, *whole_case, *outer_case;

/* ---- Making a case ---------------------------------------------------------------------------------------------- */

static bert_graph *load(const char *bytes, size_t size) {
    const bert_model_source source = {.data = bytes, .bytes = size};
    bert_graph *graph = NULL;
    bert_error error;
    if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
    return graph;
}

/* Runs the file's own graph and writes `count` of its tensors to `out`. */
static void run_for(const char *out, const char *const *names, int count) {
    const char *arguments[64] = {"run",          original, "--no-passes",     "--provider", "reference",
                                 "--output-dir", out,      "--output-format", "pb"};
    static const char *const input_names[] = {"input_ids", "attention_mask", "token_type_ids"};
    char *inputs[3];
    int at = 9;
    for (int i = 0; i < 3; i++) {
        assert_true(asprintf(&inputs[i], "%s=%s/input_%d.pb", input_names[i], inputs_of, i) > 0);
        arguments[at++] = "--input";
        arguments[at++] = inputs[i];
    }
    for (int i = 0; i < count; i++) {
        arguments[at++] = "--output";
        arguments[at++] = names[i];
    }
    cli_result result = cli_run(arguments, "", 0);
    cli_expect(&result, 0);
    cli_free(&result);
    for (int i = 0; i < 3; i++) free(inputs[i]);
}

static void copy_inputs(const char *to_folder) {
    for (int i = 0; i < 3; i++) {
        char file[32];
        snprintf(file, sizeof file, "input_%d.pb", i);
        char *from = cli_path(inputs_of, file), *to = cli_path(to_folder, file);
        cli_copy(from, to);
        free(from);
        free(to);
    }
}

/* Names the files of a folder output_0.pb, output_1.pb ..., and puts the inputs beside them. */
static void make_data_set(const char *path) {
    DIR *listing = opendir(path);
    assert_non_null(listing);
    char *names[512];
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] != '.') names[count++] = cli_path(path, entry->d_name);
        assert_true(count < 512);
    }
    closedir(listing);
    for (int i = 0; i < count; i++) {
        char file[32];
        snprintf(file, sizeof file, "output_%d.pb", i);
        char *to = cli_path(path, file);
        assert_int_equal(rename(names[i], to), 0);
        free(to);
        free(names[i]);
    }
    copy_inputs(path);
}

/* A case of every tensor that a node of the file writes, and one of its output alone. */
static int setup(void **state) {
    enum { AT_ONCE = 20 };
    size_t size;
    char *bytes = cli_read_file(original, &size);
    bert_graph *graph = load(bytes, size);
    const char *names[AT_ONCE];
    int count = 0, total = 0;
    folder = strdup(cli_make_folder());
    whole_case = cli_path(folder, "whole");
    outer_case = cli_path(folder, "outer");
    char *whole = cli_path(whole_case, "test_data_set_0");
    assert_int_equal(mkdir(whole_case, 0777), 0);
    BERT_FOR_EACH_NODE (node, &graph->body) {
        names[count++] = node->outputs[0]->name;
        total++;
        if (count < AT_ONCE && node->next) continue;
        run_for(whole, names, count);
        count = 0;
    }
    assert_true(total > 100);
    make_data_set(whole);
    run_for(outer_case, graph->output_names, 1);
    make_data_set(outer_case); /* a data set without a case around it */
    bert_graph_free(graph);
    free(bytes);
    free(whole);
    return 0;
}

static int teardown(void **state) {
    free(folder);
    free(whole_case);
    free(outer_case);
    return 0;
}

/* The model with one element of the node's weight changed. */
static char *changed_model(void) {
    size_t size;
    char *bytes = cli_read_file(original, &size), *path = cli_path(folder, "changed.onnx");
    bert_graph *graph = load(bytes, size);
    const bert_constant *weight = NULL;
    BERT_FOR_EACH_NODE (node, &graph->body) {
        if (strcmp(node->name, changed_node) == 0) weight = node->inputs[1]->info.constant;
    }
    if (!weight) {
        fail_msg("no node %s in the model", changed_node);
        return NULL;
    }
    size_t at =
        (size_t)(weight->data - (const unsigned char *)bytes) + weight->bytes / 2 / sizeof(float) * sizeof(float);
    assert_true(weight->data >= (const unsigned char *)bytes && at + sizeof(float) <= size);
    float element;
    memcpy(&element, bytes + at, sizeof element);
    element += 20;
    memcpy(bytes + at, &element, sizeof element);
    bert_graph_free(graph);
    cli_write_file(path, bytes, size);
    free(bytes);
    return path;
}

/* ---- Tests ------------------------------------------------------------------------------------------------------ */

static void expect_words(const cli_result *result, const char *words) {
    if (!strstr(result->out, words)) fail_msg("no '%s' in\n%.4000s", words, result->out);
}

static void an_unchanged_model_compares_clean(void **state) {
    static const char *const options[][2] = {{"--quiet", "--all"},
                                             {"--no-passes", "--all"},
                                             {"--provider=reference", "--all"},
                                             {"--precision=fp64", "--provider=reference"}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        cli_result result = CLI("compare", original, whole_case, options[i][0], options[i][1]);
        cli_expect(&result, 0);
        expect_words(&result, " tensors compared, 0 diverge, 0 are not in the model\n");
        assert_null(strstr(result.out, "DIVERGES"));
        cli_free(&result);
    }
}

static void a_changed_weight_is_traced_to_the_node_that_reads_it(void **state) {
    char *changed = changed_model(), words[512];
    static const char *const options[] = {"--quiet", "--no-passes"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        cli_result result = CLI("compare", changed, whole_case, options[i]);
        cli_expect(&result, 1);
        snprintf(words, sizeof words, "\nThe first to diverge is %s, which node %s (MatMul) writes\n", changed_tensor,
                 changed_node);
        expect_words(&result, words);
        expect_words(&result, "what that node reads agrees\n");
        cli_free(&result);
    }
    /* With a tolerance that is wide enough nothing diverges. */
    cli_result result = CLI("compare", changed, whole_case, "--atol", "1e3");
    cli_expect(&result, 0);
    cli_free(&result);
    free(changed);
}

static void json_says_the_same(void **state) {
    char *changed = changed_model();
    cli_result result = CLI("compare", changed, whole_case, "--format", "json", "--all");
    cli_expect(&result, 1);
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *root = NULL;
    bert_error error;
    assert_int_equal(bert_json_parse(result.out, result.out_length, "the answer", &arena, &root, &error), BERT_OK);
    assert_string_equal(bert_json_get(root, "first")->text, changed_tensor);
    const bert_json *suspects = bert_json_get(root, "suspects");
    assert_int_equal(suspects->length, 1);
    assert_string_equal(bert_json_get(suspects->first, "node")->text, changed_node);
    assert_string_equal(bert_json_get(suspects->first, "op")->text, "MatMul");
    size_t diverging = 0;
    bool seen = false;
    for (const bert_json *row = bert_json_get(root, "tensors")->first; row; row = row->next) {
        bool diverges = strcmp(bert_json_get(row, "verdict")->text, "diverges") == 0;
        bool is_first = strcmp(bert_json_get(row, "name")->text, changed_tensor) == 0;
        /* Rows stand in the order of the graph: nothing diverges before the first. */
        assert_true(!diverges || is_first || seen);
        seen = seen || is_first;
        diverging += diverges;
    }
    assert_true(seen && diverging > 10);
    bert_arena_free(&arena);
    cli_free(&result);
    free(changed);
}

static void where_the_case_has_nothing_between_the_nodes_are_listed(void **state) {
    char *changed = changed_model();
    cli_result result = CLI("compare", changed, outer_case);
    cli_expect(&result, 1);
    expect_words(&result, "the case has nothing between it and what agrees; the nodes there, the nearest first:\n");
    expect_words(&result, " more\n");
    expect_words(&result, "without passes it diverges as well");
    cli_free(&result);
    result = CLI("compare", original, outer_case);
    cli_expect(&result, 0);
    cli_free(&result);
    free(changed);
}

/* To the last bit what a fused operator computes is not what the file's operators do: so a faulty one would show. */
static void what_passes_changed_is_told_from_what_the_file_says(void **state) {
    cli_result result =
        CLI("compare", original, whole_case, "--provider", "reference", "--rtol", "0", "--atol", "0", "--quiet");
    cli_expect(&result, 1);
    expect_words(&result, "without passes it agrees (error 0): a pass, or the kernel of what it made, is at fault\n");
    expect_words(&result, "writes it, for the nodes: ");
    cli_free(&result);
    result = CLI("compare", original, whole_case, "--provider=reference", "--rtol=0", "--atol=0", "--no-passes");
    cli_expect(&result, 0);
    cli_free(&result);
}

static void tensors_that_the_model_does_not_have_are_counted(void **state) {
    char *data_set = cli_path(folder, "renamed");
    char *from = cli_path(whole_case, "test_data_set_0/output_0.pb"), *to = cli_path(data_set, "output_0.pb");
    assert_int_equal(mkdir(data_set, 0777), 0);
    size_t size;
    char *bytes = cli_read_file(from, &size);
    char *name = memmem(bytes, size, "/m/bert", 7);
    assert_non_null(name);
    memcpy(name, "/x/bert", 7);
    cli_write_file(to, bytes, size);
    cli_expect_one_sentence(CLI("compare", original, data_set), "none of the 1 tensors that the case names, '/x/bert");
    char *known = cli_path(data_set, "output_1.pb");
    free(to);
    to = cli_path(outer_case, "output_0.pb");
    cli_copy(to, known);
    copy_inputs(data_set);
    cli_result result = CLI("compare", original, data_set, "--all");
    cli_expect(&result, 0);
    expect_words(&result, "1 tensors compared, 0 diverge, 1 are not in the model\n");
    expect_words(&result, "  missing ");
    cli_free(&result);
    free(bytes);
    free(data_set);
    free(from);
    free(to);
    free(known);
    cli_expect_one_sentence(CLI("compare", MODEL_FOLDER, outer_case), "the model has no");
}

static void what_is_no_case_is_said(void **state) {
    cli_expect_one_sentence(CLI("compare", original, folder), "neither test_data_set_* nor output_*.pb");
    cli_expect_one_sentence(CLI("compare", original, original), "is not a folder");
    cli_result result = CLI("compare", original);
    cli_expect(&result, 2);
    cli_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unchanged_model_compares_clean),
        cmocka_unit_test(a_changed_weight_is_traced_to_the_node_that_reads_it),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(where_the_case_has_nothing_between_the_nodes_are_listed),
        cmocka_unit_test(what_passes_changed_is_told_from_what_the_file_says),
        cmocka_unit_test(tensors_that_the_model_does_not_have_are_counted),
        cmocka_unit_test(what_is_no_case_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
