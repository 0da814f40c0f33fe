/* Heads of attention: views of a tensor [batch, sequence, heads x size], however an exporter spells them (layout.h). */
#ifndef BERT_PASSES_HEADS_H
#define BERT_PASSES_HEADS_H

#include "core/passes/match.h"

/**
 * One of query, key and value: a view of `source` [B, S, H D], times `scale`; or of a third of a source [B, S, 3 H D];
 * or of a source of rank 4, whose dimensions are B, S, H and D in the order `axes`.
 */
typedef struct bert_heads {
    bert_value *source;
    int64_t axes[4];
    int32_t third; /**< Which one, from 0 on; -1: all of the source. */
    bert_dim batch, length, heads, size;
    double scale;
    int32_t rank; /**< Of the view: 4, or 3 with batch and heads joined. */
} bert_heads;

/** Views and scales that a chain of them may have. */
enum { BERT_HEADS_VIEWS = 16 };

/** Where a view whose dimensions stand in this order has one of (B, S, H, D). */
int32_t bert_heads_place(int32_t dimension, const int32_t order[4]);

/** Orders of a view's dimensions, as permutations of (B, S, H, D). */
extern const int32_t bert_heads_bhsd[4], bert_heads_bhds[4];

/**
 * Goes back from `view`, whose dimensions stand in this order, through views and scales as far as the source can be
 * [B, S, H D] or [B, S, 3 H D], and adds them to the pattern as nodes that others may read. False where it is no such
 * view.
 */
bool bert_match_heads(bert_pattern *pattern, bert_value *view, const int32_t order[4], bert_heads *out);
/** They as [B, S, H D], built before the pattern's root where they aren't yet. */
bert_status bert_build_heads(const bert_pattern *pattern, const bert_heads *from, bert_value **out);

/** The scale that a node multiplies its only tensor with, or 0 when it does something else. */
double bert_scale_of(const bert_node *node);
/** That tensor. */
bert_value *bert_scaled_operand(const bert_node *node);

#endif
