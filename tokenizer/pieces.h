/*
 * The continuing pieces of WordPiece ("##ing"): the longest one that starts at each place of a word, all places in time
 * linear in the word, whatever the vocabulary. It is Aho and Corasick's automaton ("Efficient string matching", 1975)
 * over the reversed pieces, run from the end of the word. Song et al. ("Fast WordPiece Tokenization", EMNLP 2021) bring
 * failure links to WordPiece the other way round, from the start; this way a node needs one piece, no list of them.
 */
#ifndef BERT_TOKENIZER_PIECES_H
#define BERT_TOKENIZER_PIECES_H

#include "tokenizer/trie.h"
#include "tokenizer/vocabulary.h"

/** A piece of a word. */
typedef struct bert_piece {
    int32_t id;     /**< -1: none. */
    uint32_t chars; /**< Code points, without the prefix. */
} bert_piece;

typedef struct bert_piece_node {
    uint32_t link;    /* The node of the longest proper suffix of this one's text that has a node. */
    bert_piece piece; /* The longest one that is a suffix of this node's text. */
} bert_piece_node;

/** Built by one thread, then read-only: any thread. */
typedef struct bert_pieces {
    bert_trie trie;         /* Of reversed pieces. */
    bert_piece_node *nodes; /* NULL: there is no piece. */
    size_t node_bytes;
} bert_pieces;

/** Nothing is allocated yet. */
void bert_pieces_init(bert_pieces *pieces, const bert_allocator *allocator);
void bert_pieces_free(bert_pieces *pieces);

/** The tokens of a finished vocabulary that start with the prefix and go on behind it. Call once. */
bert_status bert_pieces_build(bert_pieces *pieces, const bert_vocabulary *vocabulary, const char *prefix,
                              size_t prefix_length, bert_error *error);

/**
 * The longest piece that starts at each of the last `count` code points of a text of well-formed UTF-8 that ends at
 * `end`, into longest[0 .. count - 1]. There is a piece.
 */
void bert_pieces_find(const bert_pieces *pieces, const char *end, size_t count, bert_piece *longest);

#endif
