/* Declarations of every function that ops.def names, made from the same list. */
#ifndef BERT_GRAPH_OPS_OPS_H
#define BERT_GRAPH_OPS_OPS_H

#include "core/graph/op.h"

#define BERT_OP(id, domain, name, since, until, min_inputs, max_inputs, min_outputs, max_outputs, shape_inputs, flags, \
                infer, reference, workspace)                                                                           \
    bert_status bert_infer_##infer(const bert_inference *in);                                                          \
    bert_status bert_reference_##reference(const bert_reference_call *call);                                           \
    size_t bert_workspace_##workspace(const bert_op_node *node);
#include "core/graph/ops.def"
#undef BERT_OP

#endif
