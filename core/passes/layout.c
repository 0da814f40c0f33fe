#include "core/passes/layout.h"

#include <string.h>

bool bert_layout_begin(bert_layout *layout, const bert_value *source) {
    const bert_shape *shape = &source->info.shape;
    if (shape->rank < 0) return false;
    memset(layout, 0, sizeof *layout);
    layout->rank = shape->rank;
    for (int32_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i] == 0) return false;
        if (shape->dims[i] == 1) continue;
        layout->dims[i].count = 1;
        layout->dims[i].pieces[0] = (bert_piece){.axis = i, .inner = 1, .size = shape->dims[i]};
    }
    return true;
}

/* The pieces still to be placed, first one last. */
typedef struct piece_pile {
    bert_piece pieces[BERT_MAX_RANK * BERT_LAYOUT_PIECES + 1];
    int32_t count;
    bert_symbols *symbols;
} piece_pile;

static void fill(piece_pile *pile, const bert_layout *layout) {
    pile->count = 0;
    for (int32_t i = layout->rank - 1; i >= 0; i--) {
        for (int32_t j = layout->dims[i].count - 1; j >= 0; j--) {
            pile->pieces[pile->count++] = layout->dims[i].pieces[j];
        }
    }
}

/* a / b where that is exact for certain. */
static bool divide(bert_symbols *symbols, bert_dim a, bert_dim b, bert_dim *out) {
    if (b == 0) return false;
    *out = bert_dim_divide(symbols, a, b, true);
    return bert_dim_multiply(symbols, *out, b) == a;
}

/* Takes from the pile what fits into `need` elements, which become fewer; false when the next piece doesn't fit. */
static bool take(piece_pile *pile, bert_dim *need, bert_piece *out) {
    bert_dim rest = 0;
    if (pile->count == 0) return false;
    bert_piece *next = &pile->pieces[pile->count - 1];
    *out = *next;
    if (divide(pile->symbols, *need, next->size, &rest)) {
        pile->count--;
        *need = rest;
        return true;
    }
    if (!divide(pile->symbols, next->size, *need, &rest)) return false;
    *out = (bert_piece){next->axis, bert_dim_multiply(pile->symbols, next->inner, rest), *need};
    next->size = rest;
    *need = 1;
    return true;
}

/* Puts a piece at the end of a dimension; neighbours in the source become one again. */
static bool put(bert_layout *layout, int32_t dim, const bert_piece *piece, bert_symbols *symbols) {
    int32_t count = layout->dims[dim].count;
    bert_piece *last = count ? &layout->dims[dim].pieces[count - 1] : NULL;
    if (last && last->axis == piece->axis && last->inner == bert_dim_multiply(symbols, piece->inner, piece->size)) {
        last->inner = piece->inner;
        last->size = bert_dim_multiply(symbols, last->size, piece->size);
        return true;
    }
    if (count == BERT_LAYOUT_PIECES) return false;
    layout->dims[dim].pieces[layout->dims[dim].count++] = *piece;
    return true;
}

bool bert_layout_reshape(bert_layout *layout, const bert_dim *dims, int32_t rank, bert_symbols *symbols) {
    piece_pile pile = {.symbols = symbols};
    if (rank < 0) return false;
    fill(&pile, layout);
    memset(layout, 0, sizeof *layout);
    layout->rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        bert_dim need = dims[i];
        if (need == 0) return false;
        while (need != 1) {
            bert_piece piece;
            if (!take(&pile, &need, &piece) || !put(layout, i, &piece, symbols)) return false;
        }
    }
    return pile.count == 0;
}

void bert_layout_permute(bert_layout *layout, const int32_t *perm) {
    bert_layout old = *layout;
    for (int32_t i = 0; i < layout->rank; i++) layout->dims[i] = old.dims[perm[i]];
}

bool bert_is_view(const bert_node *node) {
    switch (node->op->id) {
    case BERT_OP_Reshape:
    case BERT_OP_Squeeze:
    case BERT_OP_Unsqueeze:
    case BERT_OP_Flatten:
    case BERT_OP_Transpose:
        return true;
    default:
        return false;
    }
}

bool bert_layout_apply(bert_layout *layout, const bert_node *node, bert_symbols *symbols) {
    int32_t perm[BERT_MAX_RANK];
    if (!bert_is_view(node)) return false;
    if (bert_node_is(node, BERT_OP_Transpose)) {
        if (!bert_node_permutation(node, perm) || bert_value_rank(node->inputs[0]) != layout->rank) return false;
        bert_layout_permute(layout, perm);
        return true;
    }
    const bert_shape *shape = &node->outputs[0]->info.shape;
    return bert_layout_reshape(layout, shape->dims, shape->rank, symbols);
}

bool bert_layout_equal(const bert_layout *a, const bert_layout *b) {
    if (a->rank != b->rank) return false;
    for (int32_t i = 0; i < a->rank; i++) {
        if (a->dims[i].count != b->dims[i].count) return false;
        for (int32_t j = 0; j < a->dims[i].count; j++) {
            const bert_piece *x = &a->dims[i].pieces[j], *y = &b->dims[i].pieces[j];
            if (x->axis != y->axis || x->inner != y->inner || x->size != y->size) return false;
        }
    }
    return true;
}
