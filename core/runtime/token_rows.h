/*
 * A binding over the real tokens of a batch alone, and the scope of its quantization.
 *
 * From the ids (or the first costly node) on, what works row by row runs on packed rows, Attention on the rows of one
 * sequence at a time; rows begin at an Embedding that is given the tokens, else at a PackTokens, and end at a Pool or
 * at UnpackTokens. That is possible where every Attention drops just the tokens that the attention mask does, and where
 * nothing else looks at the rows of padding.
 */
#ifndef BERT_RUNTIME_TOKEN_ROWS_H
#define BERT_RUNTIME_TOKEN_ROWS_H

#include "core/runtime/bind.h"

/**
 * Rewrites a binding for request->rows (above 0) and request->scope. What it makes lives in `memory`, arrays of the
 * binding in `scratch`. With rows, either binding->packed is set, or the binding still computes every row and
 * binding->padding says why. BERT_OUT_OF_MEMORY.
 */
bert_status bert_bind_tokens(const bert_model *model, const bert_request *request, bert_arena *memory,
                             bert_arena *scratch, bert_binding *binding, bert_error *error);

/**
 * The node as a session with this scope runs it: a QuantizedLinear whose scale comes from its input gets the attribute
 * `scope` and (scope sequence) the inputs `starts` and `counted`, which may be NULL; any other node is itself. NULL
 * when memory runs out.
 */
const bert_node *bert_node_in_scope(bert_arena *arena, const bert_node *node, bert_quant_scope scope,
                                    bert_value *starts, bert_value *counted);

#endif
