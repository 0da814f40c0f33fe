/* From a graph to a .onnx file. */
#ifndef BERT_ONNX_LOADER_SAVE_H
#define BERT_ONNX_LOADER_SAVE_H

#include "core/graph/graph.h"

/** What a file can hold by itself: protobuf counts the bytes of a message with 31 bits. */
#define BERT_ONNX_MOST_BYTES ((uint64_t)INT32_MAX)

/** Options of saving; zeros are the defaults. */
typedef struct bert_onnx_save_options {
    /** Weights go to a second file beside the first, called NAME.data, even where one file could hold them. */
    bool external_data;
    /** Bytes over which one file is not enough; 0: BERT_ONNX_MOST_BYTES. */
    uint64_t most_bytes;
} bert_onnx_save_options;

/**
 * Writes the graph, whose shapes are inferred, as an ONNX model of opset 17 or the newest that a node needs; nodes of
 * older opsets are spelled as that one has them. Tensors keep their names, symbolic dimensions theirs.
 *
 * A canonical operator (core/graph/canonical.h) becomes a call of a function that the file defines, in the domain
 * "bertc", with a body of ONNX's own operators (FusedMatMul of com.microsoft where a Linear has an alpha): any engine
 * that knows functions runs it, and sees what was rewritten to what. Loaded again, passes find the same graph.
 *
 * Weights go from where they lie to the file, never through a copy of all of them; each constant is written once. When
 * it all comes to more than `most_bytes`, those of a KiB and more go to NAME.data, at multiples of 4096 bytes. Files
 * take their names when they are whole: what had them before stays on failure, and may be what the graph is mapped
 * from.
 *
 * BERT_UNSUPPORTED names a node that has no such spelling. BERT_IO_ERROR, BERT_OUT_OF_MEMORY. The graph is only read,
 * by this thread alone where its pages are concerned: they are given back as they are written.
 */
bert_status bert_onnx_save(const bert_graph *graph, const char *path, const bert_onnx_save_options *options,
                           bert_error *error);

#endif
