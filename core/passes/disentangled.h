/*
 * DeBERTa's disentangled attention: what its scores get for relative positions, as a tree of
 *
 *   GatherElements(MatMul(query heads, position keys), content to position)
 *   Transpose(GatherElements(MatMul(key heads, position queries), position to content))
 *
 * with scales, and an Add where there are both. Positions are heads of a tensor [1, P, H D], tiled for the batch.
 */
#ifndef BERT_PASSES_DISENTANGLED_H
#define BERT_PASSES_DISENTANGLED_H

#include "core/passes/heads.h"

/** One term. */
typedef struct bert_positions {
    bert_value *rows;    /**< [1, P, H D]; NULL: the term isn't there. */
    bert_value *indices; /**< [S, T] or [T, S], perhaps with dimensions before these along which all is the same. */
    double scale;
} bert_positions;

typedef struct bert_disentangled {
    bert_positions keys, queries;
} bert_disentangled;

/** Whether `bias` is that for these heads, of all sequences; its nodes, which others may read, join the pattern. */
bool bert_match_disentangled(bert_pattern *pattern, bert_value *bias, const bert_heads *query, const bert_heads *key,
                             bert_disentangled *out);
/** Builds it before the pattern's root: [B, H, S, T]. */
bert_status bert_build_disentangled(const bert_pattern *pattern, const bert_disentangled *bias, const bert_heads *query,
                                    const bert_heads *key, bert_value **out);

#endif
