/*
 * Steps whose values are computed once for all plans and sessions of a model: products of constants, as DeBERTa
 * projects its relative positions in every layer, and what they are made of. They are the same in every run, and too
 * large for binding to compute on plain loops. In host memory alone.
 */
#ifndef BERT_RUNTIME_COMPUTED_ONCE_H
#define BERT_RUNTIME_COMPUTED_ONCE_H

#include "core/runtime/plan.h"

/** Says of each step of a binding whether its value is computed once; false: there was no memory in `scratch`. */
bool bert_find_computed_once(const bert_graph *graph, const bert_binding *binding, bert_arena *scratch, bool *once);

/** Runs the kernel of such a step, whose inputs have their data, into *output. */
bert_status bert_compute_once(const bert_weights *weights, bert_context *context, const bert_plan_step *step,
                              bert_tensor *output, bert_error *error);

#endif
