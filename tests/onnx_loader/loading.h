/* Loading what a test has written. */
#ifndef BERT_TESTS_ONNX_LOADER_LOADING_H
#define BERT_TESTS_ONNX_LOADER_LOADING_H

#include "tests/support/test.h"

#include "onnx_loader/onnx_loader.h"
#include "tests/support/onnx_writer.h"

/**
 * Loads the model and frees the message only with release: constants are views of it. Fails the test when it does not
 * load, or when the graph breaks one of its rules.
 */
bert_graph *load(const message *m);
void release(bert_graph *graph, message *m);
/** Expects the status and a sentence that holds `part`; frees the message. */
void expect_refused(message m, bert_status expected, const char *part);
/** The same of a file. */
void expect_file_refused(const char *path, bert_status expected, const char *part);

/** Nodes of the graph's own block. */
int count_nodes(const bert_graph *graph);
/** The value; fails the test when there is none. */
bert_value *value_named(const bert_graph *graph, const char *name);

/** A folder of the test's own that ends with it; files in it. */
void make_folder(char path[64]);
void remove_folder(const char *path);
void write_file(const char *folder, const char *name, const void *data, size_t size);

#endif
