/*
 * The masks of attention operators as plain nodes that feed the canonical Attention. Every layer builds its own, which
 * the last `common` makes one.
 */
#ifndef BERT_PASSES_ATTENTION_MASKS_H
#define BERT_PASSES_ATTENTION_MASKS_H

#include "core/passes/match.h"

/** What com.microsoft's attention operators do to the scores [B, H, S, T], as core/graph/ops/attention_masks.h has it.
 */
typedef struct bert_score_masks {
    bert_value *mask; /**< int32: [B], [2 B], [3 B + 2], [B, T], [B, S, T] or [B, 1, M, M]; NULL: none. */
    bert_value *bias; /**< [B or 1, H or 1, S, T], added to the scores; NULL: none. */
    float filter;     /**< Added to the score of a masked key. */
    bool unidirectional;
    bert_value *query, *key; /**< Tensors whose dimension 1 is S and T. */
} bert_score_masks;

/** Inputs `bias` and `mask` of the canonical Attention, and its mask_value. */
typedef struct bert_built_masks {
    bert_value *bias, *mask;
    float mask_value;
} bert_built_masks;

/** Builds them before `node`. *built is false where the mask's form isn't certain yet (a near miss is recorded). */
bert_status bert_build_masks(bert_pass_context *context, bert_node *node, const bert_score_masks *masks,
                             bert_built_masks *out, bool *built);
/** Bool [1, 1, S, T]: true where the key doesn't come after the query. */
bert_status bert_build_causal(bert_pass_context *context, bert_node *node, bert_value *query, bert_value *key,
                              bert_value **out);

#endif
