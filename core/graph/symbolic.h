/*
 * Integers that may not be known yet: dimensions, and the elements of small integer tensors that shapes are computed
 * from.
 *
 * An expression is a polynomial with integer coefficients over symbols. A symbol is a dimension that the file names
 * ("batch"), or something that is not a polynomial of others (a quotient, a minimum). Expressions are normalised and
 * interned, so two are equal exactly when their handles are: `Reshape` to [batch, sequence, 12, 64] is recognised
 * however the exporter spelled the arithmetic.
 */
#ifndef BERT_GRAPH_SYMBOLIC_H
#define BERT_GRAPH_SYMBOLIC_H

#include "core/base/memory.h"

/** An integer in (-2^61, 2^61), or below that a handle of an expression in its bert_symbols. */
typedef int64_t bert_dim;

#define BERT_DIM_LIMIT ((int64_t)1 << 61)

static inline bool bert_dim_known(bert_dim dim) {
    return dim > -BERT_DIM_LIMIT;
}

/** Any number of a file, an attribute or an element, as a bert_dim: beyond the limits (the ends of int64, as Slice has
 * them) the limit stands for it. */
static inline bert_dim bert_dim_of(int64_t number) {
    if (number <= -BERT_DIM_LIMIT) return -BERT_DIM_LIMIT + 1;
    return number >= BERT_DIM_LIMIT ? BERT_DIM_LIMIT - 1 : number;
}

/** The table of symbols and expressions of one graph. Not for use by two threads at once. */
typedef struct bert_symbols bert_symbols;

/** NULL when memory runs out. Lives as long as the arena. */
bert_symbols *bert_symbols_create(bert_arena *arena);

/*
 * Every operation below returns a fresh symbol where it can't say more (overflow, a polynomial beyond 64 terms,
 * memory), which is always right: a fresh symbol equals nothing else. With two known operands the result is known, or
 * fresh on overflow and on division by zero.
 */
bert_dim bert_dim_named(bert_symbols *symbols, const char *name); /**< The same handle for the same name. */
bert_dim bert_dim_fresh(bert_symbols *symbols);
bert_dim bert_dim_add(bert_symbols *symbols, bert_dim a, bert_dim b);
bert_dim bert_dim_subtract(bert_symbols *symbols, bert_dim a, bert_dim b);
bert_dim bert_dim_multiply(bert_symbols *symbols, bert_dim a, bert_dim b);
/** Quotient rounded to minus infinity (`floor`) or zero; exact polynomial division where it divides. */
bert_dim bert_dim_divide(bert_symbols *symbols, bert_dim a, bert_dim b, bool floor);
bert_dim bert_dim_modulo(bert_symbols *symbols, bert_dim a, bert_dim b); /**< Sign of the divisor, as Python's. */
bert_dim bert_dim_minimum(bert_symbols *symbols, bert_dim a, bert_dim b);
bert_dim bert_dim_maximum(bert_symbols *symbols, bert_dim a, bert_dim b);
/** What dimensions a and b broadcast to, given that they do: the other's where one is 1. */
bert_dim bert_dim_broadcast(bert_symbols *symbols, bert_dim a, bert_dim b);

/** Whether the value is certainly at least 0: named symbols are; sums and products of such are; others are not known to
 * be. */
bool bert_dim_nonnegative(const bert_symbols *symbols, bert_dim dim);

/** The name of a dimension that is just a name; NULL for a number, an expression, or what has none. */
const char *bert_dim_name(const bert_symbols *symbols, bert_dim dim);
/** Whether a number, or all that it is computed from has a name or is a number: nothing of it is fresh. */
bool bert_dim_all_named(const bert_symbols *symbols, bert_dim dim);
/** "12", "batch", "2*batch*sequence + 1"; truncated to capacity. Returns `out`. */
const char *bert_dim_format(const bert_symbols *symbols, bert_dim dim, char *out, size_t capacity);

#endif
