/* Rotary position embeddings, as exporters spell them on heads of queries and keys (heads.h). */
#ifndef BERT_PASSES_ROTARY_H
#define BERT_PASSES_ROTARY_H

#include "core/passes/heads.h"

/** By what heads are rotated. */
typedef struct bert_rotation {
    bert_value *cosines, *sines; /**< Broadcast to the heads that are rotated, and are the same for all heads. */
    int32_t head_axis;           /**< Of these heads, counted from the end: [B, H, S, D] or [B, S, H, D]. */
} bert_rotation;

/**
 * Like bert_match_heads, of heads that are rotated on the way:
 *   x cosines + Concat(-x[D/2:], x[:D/2]) sines
 */
bool bert_match_rotated_heads(bert_pattern *pattern, bert_value *view, const int32_t order[4], bert_heads *out,
                              bert_rotation *rotation);
/** Whether both are rotated by the same angles. */
bool bert_rotation_equal(const bert_rotation *a, const bert_rotation *b);
/** The cosines or the sines as [1 or B, S, D], built before the pattern's root where they aren't yet. */
bert_status bert_build_angles(const bert_pattern *pattern, const bert_rotation *rotation, bert_value *angles,
                              bert_value **out);

#endif
