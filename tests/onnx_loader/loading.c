#include "tests/onnx_loader/loading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bert_graph *load(const message *m) {
    const bert_model_source source = {.data = m->data, .bytes = m->size};
    bert_graph *graph = NULL;
    bert_error error = {0};
    if (bert_onnx_load(&source, &graph, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_graph_check(graph, &error) != BERT_OK) fail_msg("%s", error.message);
    return graph;
}

void release(bert_graph *graph, message *m) {
    bert_graph_free(graph);
    free_message(m);
}

static void expect_source_refused(const bert_model_source *source, bert_status expected, const char *part) {
    bert_graph *graph = (bert_graph *)source;
    bert_error error = {0};
    bert_status status = bert_onnx_load(source, &graph, &error);
    if (status != expected || !strstr(error.message, part)) {
        fail_msg("got status %d and \"%s\", expected %d and \"%s\"", status, error.message, expected, part);
    }
    assert_null(graph);
    assert_int_equal(error.status, expected);
    const char *name = source->path ? source->path : "the model in memory";
    assert_int_equal(strncmp(error.message, name, strlen(name)), 0);
    assert_int_equal(bert_onnx_load(source, &graph, NULL), expected);
}

void expect_refused(message m, bert_status expected, const char *part) {
    expect_source_refused(&(bert_model_source){.data = m.data, .bytes = m.size}, expected, part);
    free_message(&m);
}

void expect_file_refused(const char *path, bert_status expected, const char *part) {
    expect_source_refused(&(bert_model_source){.path = path}, expected, part);
    expect_source_refused(&(bert_model_source){.path = path, .read_files = true}, expected, part);
}

int count_nodes(const bert_graph *graph) {
    int count = 0;
    BERT_FOR_EACH_NODE (n, &graph->body) count++;
    return count;
}

bert_value *value_named(const bert_graph *graph, const char *name) {
    bert_value *value = bert_graph_find_value(graph, name);
    if (!value) fail_msg("there is no value %s", name);
    return value;
}

void make_folder(char path[64]) {
    static const char name[] = "/tmp/bert_loader_XXXXXX";
    memcpy(path, name, sizeof name);
    if (!mkdtemp(path)) fail_msg("no folder for files");
}

void remove_folder(const char *path) {
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", path);
    assert_int_equal(system(command), 0);
}

void write_file(const char *folder, const char *name, const void *data, size_t size) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) fail_msg("%s was not written", path);
}
