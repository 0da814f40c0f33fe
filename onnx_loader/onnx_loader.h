/* From the bytes of a .onnx file to a graph. */
#ifndef BERT_ONNX_LOADER_H
#define BERT_ONNX_LOADER_H

#include "core/runtime/composition.h"

/**
 * Loads a model: ONNX IR versions 3 to 12, opsets 9 to 23 of ai.onnx, version 1 of com.microsoft.
 *
 * The file is mapped (or read, source->read_files); the graph owns the mapping, and constants are views into it: no
 * weight in raw_data or in external data is copied. Bytes given in memory are borrowed and must outlive the graph.
 * The graph comes sorted, with every node a row of the op table, Constant nodes made constants and model-local
 * functions inlined. Types and shapes of graph inputs are filled in; those that the file states of other tensors are
 * only hints, which shape inference overwrites.
 *
 * BERT_IO_ERROR: the model's or an external data file could not be opened. BERT_INVALID_MODEL: malformed, or it
 * contradicts itself. BERT_UNSUPPORTED: well-formed, but with something that bert.c does not do; operators that are
 * missing are listed, all of them. BERT_OUT_OF_MEMORY. On failure *out is NULL. Any thread.
 */
bert_status bert_onnx_load(const bert_model_source *source, bert_graph **out, bert_error *error);

#endif
