/*
 * Where the elements of a tensor went through Reshapes and Transposes.
 *
 * A layout says which part of which dimension of a source tensor stands where in a view of it. The source's dimensions
 * are split into pieces; every dimension of the view is a list of pieces, outermost first. Reshape splits and joins,
 * Transpose moves. Two views of one source hold the same elements in the same places when their layouts are equal: so
 * attention heads are recognised however an exporter reached them, in four dimensions or in three.
 */
#ifndef BERT_PASSES_LAYOUT_H
#define BERT_PASSES_LAYOUT_H

#include "core/passes/match.h"

#define BERT_LAYOUT_PIECES 8

/** A factor of a dimension of the source: `index / inner % size` for an index along it. */
typedef struct bert_piece {
    int32_t axis;
    bert_dim inner, size;
} bert_piece;

typedef struct bert_layout {
    int32_t rank;
    struct {
        int32_t count; /**< Pieces of size 1 are left out. */
        bert_piece pieces[BERT_LAYOUT_PIECES];
    } dims[BERT_MAX_RANK];
} bert_layout;

/** The source seen as it is. False when its rank isn't known or a dimension is 0. */
bool bert_layout_begin(bert_layout *layout, const bert_value *source);
/** The view in another shape. False, and the layout is undefined, when the pieces don't fall that way for certain. */
bool bert_layout_reshape(bert_layout *layout, const bert_dim *dims, int32_t rank, bert_symbols *symbols);
void bert_layout_permute(bert_layout *layout, const int32_t *perm);
/** What Reshape, Squeeze, Unsqueeze, Flatten or Transpose make of it; false for other nodes, or as above. */
bool bert_layout_apply(bert_layout *layout, const bert_node *node, bert_symbols *symbols);
bool bert_layout_equal(const bert_layout *a, const bert_layout *b);
/** Whether the node is one of those that bert_layout_apply knows. */
bool bert_is_view(const bert_node *node);

#endif
