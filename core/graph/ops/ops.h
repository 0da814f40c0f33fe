/* Declarations of every function that ops.def names. */
#ifndef BERT_GRAPH_OPS_OPS_H
#define BERT_GRAPH_OPS_OPS_H

#include "core/graph/op.h"

#endif
