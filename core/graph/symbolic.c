#include "core/graph/symbolic.h"

#include "core/base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TERMS = 64, MAX_DEGREE = 8 };

/*
 * A handle is -BERT_DIM_LIMIT - index. Indexes below SYMBOL_BASE are polynomials in the table; from there on they are
 * single symbols, those with a description first, fresh ones from FRESH_BASE on. A fresh symbol takes no memory, so one
 * can always be had.
 */
#define SYMBOL_BASE ((uint64_t)1 << 40)
#define FRESH_BASE ((uint64_t)1 << 41)

typedef struct term {
    int64_t coefficient;          /* never 0 */
    uint64_t degree;              /* as wide as the rest, so that there is no padding and equal terms are equal bytes */
    uint64_t symbols[MAX_DEGREE]; /* handle indexes, ascending, once a power */
} term;

/* Terms from the greatest monomial to the least; no terms is 0. */
typedef struct polynomial {
    uint32_t count;
    term terms[MAX_TERMS];
} polynomial;

typedef struct expression {
    bert_dim handle;
    uint32_t count;
    const term *terms;
} expression;

typedef enum symbol_kind { FLOOR_QUOTIENT, QUOTIENT, MODULO, MINIMUM, MAXIMUM, BROADCAST } symbol_kind;

/* What a derived symbol is found by: as wide as the rest, so that there is no padding. */
typedef struct operation {
    int64_t kind;
    bert_dim a, b;
} operation;

typedef struct symbol {
    bert_dim handle;
    bool nonnegative, all_named;
    const char *name;    /* of a named dimension; else NULL */
    operation operation; /* what the others are */
} symbol;

struct bert_symbols {
    bert_arena *arena;
    const expression **expressions;
    const symbol **table;
    uint32_t expression_count, expression_capacity;
    uint32_t symbol_count, symbol_capacity;
    bert_hash *by_terms, *by_operands, *by_name; /* to expressions and symbols */
    uint64_t fresh_count;
};

bert_symbols *bert_symbols_create(bert_arena *arena) {
    bert_symbols *symbols = BERT_ARENA_NEW(arena, bert_symbols);
    if (!symbols) return NULL;
    symbols->arena = arena;
    symbols->by_terms = bert_hash_create(arena);
    symbols->by_operands = bert_hash_create(arena);
    symbols->by_name = bert_hash_create(arena);
    return symbols->by_terms && symbols->by_operands && symbols->by_name ? symbols : NULL;
}

static bert_dim handle_of(uint64_t index) {
    return -BERT_DIM_LIMIT - (int64_t)index;
}

static uint64_t index_of(bert_dim handle) {
    return (uint64_t)(-BERT_DIM_LIMIT - handle);
}

/* A number at the very end of the range stands for whatever lies beyond it too: nothing is computed from it. */
static bool is_exact(int64_t number) {
    return number > -BERT_DIM_LIMIT + 1 && number < BERT_DIM_LIMIT - 1;
}

bert_dim bert_dim_fresh(bert_symbols *symbols) {
    return handle_of(FRESH_BASE + symbols->fresh_count++);
}

/* Room for one more element in a list that lives in the arena: grown by doubling, the old copy stays behind. */
static void *grown(bert_arena *arena, void *list, uint32_t count, uint32_t *capacity, size_t size) {
    if (count < *capacity) return list;
    uint32_t larger = *capacity ? *capacity * 2 : 16;
    if (larger <= *capacity) return NULL;
    void *copy = bert_arena_array(arena, larger, size);
    if (!copy) return NULL;
    if (count) memcpy(copy, list, count * size);
    *capacity = larger;
    return copy;
}

/* ---- Polynomials ---------------------------------------------------------------------------------------------------
 */

/* The order of monomials: by degree, then by the list of symbols. Products keep it, which division relies on. */
static int compare_monomials(const term *a, const term *b) {
    if (a->degree != b->degree) return a->degree < b->degree ? -1 : 1;
    for (uint32_t i = 0; i < a->degree; i++) {
        /* The symbol with the smaller number is the greater variable, as x is before y. */
        if (a->symbols[i] != b->symbols[i]) return a->symbols[i] > b->symbols[i] ? -1 : 1;
    }
    return 0;
}

/* p += t; false when it doesn't fit. */
static bool add_term(polynomial *p, const term *t) {
    uint32_t i = 0;
    while (i < p->count && compare_monomials(&p->terms[i], t) > 0) i++;
    if (i < p->count && compare_monomials(&p->terms[i], t) == 0) {
        int64_t sum;
        if (__builtin_add_overflow(p->terms[i].coefficient, t->coefficient, &sum)) return false;
        if (sum != 0 && !is_exact(sum)) return false;
        p->terms[i].coefficient = sum;
        if (sum == 0) memmove(&p->terms[i], &p->terms[i + 1], (--p->count - i) * sizeof(term));
        return true;
    }
    if (p->count == MAX_TERMS) return false;
    memmove(&p->terms[i + 1], &p->terms[i], (p->count++ - i) * sizeof(term));
    p->terms[i] = *t;
    return true;
}

static bool multiply_terms(const term *a, const term *b, term *out) {
    term product = {.degree = a->degree + b->degree};
    if (product.degree > MAX_DEGREE) return false;
    if (__builtin_mul_overflow(a->coefficient, b->coefficient, &product.coefficient)) return false;
    if (!is_exact(product.coefficient)) return false;
    uint32_t i = 0;
    uint32_t j = 0;
    for (uint32_t k = 0; k < product.degree; k++) {
        bool from_a = j == b->degree || (i < a->degree && a->symbols[i] <= b->symbols[j]);
        product.symbols[k] = from_a ? a->symbols[i++] : b->symbols[j++];
    }
    *out = product;
    return true;
}

/* a / b for single terms, exactly; false when there is a remainder. */
static bool divide_terms(const term *a, const term *b, term *out) {
    if (b->degree > a->degree || a->coefficient % b->coefficient != 0) return false;
    term quotient = {.coefficient = a->coefficient / b->coefficient, .degree = a->degree - b->degree};
    uint32_t j = 0;
    uint32_t k = 0;
    for (uint32_t i = 0; i < a->degree; i++) {
        if (j < b->degree && a->symbols[i] == b->symbols[j]) {
            j++;
        } else if (k < quotient.degree) {
            quotient.symbols[k++] = a->symbols[i];
        } else {
            return false;
        }
    }
    *out = quotient;
    return j == b->degree;
}

/* p += factor * q */
static bool add_product(polynomial *p, const term *factor, const polynomial *q) {
    for (uint32_t i = 0; i < q->count; i++) {
        term product;
        if (!multiply_terms(factor, &q->terms[i], &product) || !add_term(p, &product)) return false;
    }
    return true;
}

static bool expand(const bert_symbols *symbols, bert_dim dim, polynomial *out) {
    out->count = 0;
    if (bert_dim_known(dim)) {
        if (!is_exact(dim)) return false;
        return dim == 0 || add_term(out, &(term){.coefficient = dim});
    }
    uint64_t index = index_of(dim);
    if (index >= SYMBOL_BASE) return add_term(out, &(term){.coefficient = 1, .degree = 1, .symbols = {index}});
    const expression *e = symbols->expressions[index];
    out->count = e->count;
    memcpy(out->terms, e->terms, e->count * sizeof(term));
    return true;
}

/* The handle of a polynomial: a number, a symbol, or an entry of the table. */
static bert_dim intern(bert_symbols *symbols, const polynomial *p) {
    if (p->count == 0) return 0;
    if (p->count == 1 && p->terms[0].degree == 0) return p->terms[0].coefficient;
    if (p->count == 1 && p->terms[0].degree == 1 && p->terms[0].coefficient == 1) {
        return handle_of(p->terms[0].symbols[0]);
    }
    size_t bytes = p->count * sizeof(term);
    const expression *known = bert_hash_get(symbols->by_terms, (const char *)p->terms, bytes);
    if (known) return known->handle;
    expression *added = BERT_ARENA_NEW(symbols->arena, expression);
    term *terms = BERT_ARENA_NEW_ARRAY(symbols->arena, term, p->count);
    const expression **list = grown(symbols->arena, symbols->expressions, symbols->expression_count,
                                    &symbols->expression_capacity, sizeof *list);
    if (list) symbols->expressions = list;
    if (!added || !terms || !list) return bert_dim_fresh(symbols);
    memcpy(terms, p->terms, bytes);
    *added = (expression){.handle = handle_of(symbols->expression_count), .count = p->count, .terms = terms};
    if (!bert_hash_set(symbols->by_terms, (const char *)terms, bytes, added)) return bert_dim_fresh(symbols);
    list[symbols->expression_count++] = added;
    return added->handle;
}

/* ---- Symbols -------------------------------------------------------------------------------------------------------
 */

/* Adds a symbol to the list and to a table by `key`, which lives in it. */
static bert_dim add_symbol(bert_symbols *symbols, symbol *added, bert_hash *hash, const void *key, size_t bytes) {
    const symbol **list =
        grown(symbols->arena, symbols->table, symbols->symbol_count, &symbols->symbol_capacity, sizeof *list);
    if (!list) return bert_dim_fresh(symbols);
    symbols->table = list;
    added->handle = handle_of(SYMBOL_BASE + symbols->symbol_count);
    if (!bert_hash_set(hash, key, bytes, added)) return bert_dim_fresh(symbols);
    list[symbols->symbol_count++] = added;
    return added->handle;
}

/* NULL for polynomials and fresh symbols. */
static const symbol *symbol_of(const bert_symbols *symbols, bert_dim dim) {
    if (bert_dim_known(dim)) return NULL;
    uint64_t index = index_of(dim);
    return index >= SYMBOL_BASE && index < FRESH_BASE ? symbols->table[index - SYMBOL_BASE] : NULL;
}

bert_dim bert_dim_named(bert_symbols *symbols, const char *name) {
    size_t length = strlen(name);
    const symbol *known = bert_hash_get(symbols->by_name, name, length);
    if (known) return known->handle;
    symbol *added = BERT_ARENA_NEW(symbols->arena, symbol);
    char *copy = bert_arena_string(symbols->arena, name, length);
    if (!added || !copy) return bert_dim_fresh(symbols);
    *added = (symbol){.nonnegative = true, .all_named = true, .name = copy};
    return add_symbol(symbols, added, symbols->by_name, copy, length);
}

const char *bert_dim_name(const bert_symbols *symbols, bert_dim dim) {
    const symbol *s = symbol_of(symbols, dim);
    return s ? s->name : NULL;
}

bool bert_dim_all_named(const bert_symbols *symbols, bert_dim dim) {
    if (bert_dim_known(dim)) return true;
    uint64_t index = index_of(dim);
    if (index >= SYMBOL_BASE) {
        const symbol *s = symbol_of(symbols, dim);
        return s && s->all_named;
    }
    const expression *e = symbols->expressions[index];
    for (uint32_t i = 0; i < e->count; i++) {
        for (uint32_t j = 0; j < e->terms[i].degree; j++) {
            if (!bert_dim_all_named(symbols, handle_of(e->terms[i].symbols[j]))) return false;
        }
    }
    return true;
}

/* The symbol for an operation that is not a polynomial; the same for the same operands. */
static bert_dim derived(bert_symbols *symbols, symbol_kind kind, bert_dim a, bert_dim b, bool nonnegative) {
    operation key = {.kind = kind, .a = a, .b = b};
    const symbol *known = bert_hash_get(symbols->by_operands, (const char *)&key, sizeof key);
    if (known) return known->handle;
    symbol *added = BERT_ARENA_NEW(symbols->arena, symbol);
    if (!added) return bert_dim_fresh(symbols);
    *added = (symbol){.nonnegative = nonnegative,
                      .all_named = bert_dim_all_named(symbols, a) && bert_dim_all_named(symbols, b),
                      .operation = key};
    return add_symbol(symbols, added, symbols->by_operands, &added->operation, sizeof key);
}

bool bert_dim_nonnegative(const bert_symbols *symbols, bert_dim dim) {
    if (bert_dim_known(dim)) return dim >= 0;
    uint64_t index = index_of(dim);
    if (index >= SYMBOL_BASE) {
        const symbol *s = symbol_of(symbols, dim);
        return s && s->nonnegative;
    }
    const expression *e = symbols->expressions[index];
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->terms[i].coefficient < 0) return false;
        for (uint32_t j = 0; j < e->terms[i].degree; j++) {
            if (!bert_dim_nonnegative(symbols, handle_of(e->terms[i].symbols[j]))) return false;
        }
    }
    return true;
}

/* ---- Operations ----------------------------------------------------------------------------------------------------
 */

static bert_dim known_or_fresh(bert_symbols *symbols, int64_t number) {
    return is_exact(number) ? number : bert_dim_fresh(symbols);
}

/* a + factor * b */
static bert_dim add_multiple(bert_symbols *symbols, bert_dim a, int64_t factor, bert_dim b) {
    polynomial sum;
    polynomial other;
    if (!expand(symbols, a, &sum) || !expand(symbols, b, &other)) return bert_dim_fresh(symbols);
    if (!add_product(&sum, &(term){.coefficient = factor}, &other)) return bert_dim_fresh(symbols);
    return intern(symbols, &sum);
}

bert_dim bert_dim_add(bert_symbols *symbols, bert_dim a, bert_dim b) {
    return add_multiple(symbols, a, 1, b);
}

bert_dim bert_dim_subtract(bert_symbols *symbols, bert_dim a, bert_dim b) {
    return add_multiple(symbols, a, -1, b);
}

bert_dim bert_dim_multiply(bert_symbols *symbols, bert_dim a, bert_dim b) {
    polynomial left;
    polynomial right;
    polynomial product;
    product.count = 0;
    if (!expand(symbols, a, &left) || !expand(symbols, b, &right)) return bert_dim_fresh(symbols);
    for (uint32_t i = 0; i < left.count; i++) {
        if (!add_product(&product, &left.terms[i], &right)) return bert_dim_fresh(symbols);
    }
    return intern(symbols, &product);
}

static int64_t floor_quotient(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

/* Polynomial long division; false when `b` does not divide `a`. */
static bool divide_exactly(const polynomial *a, const polynomial *b, polynomial *quotient) {
    polynomial rest = *a;
    quotient->count = 0;
    while (rest.count) {
        term t;
        if (!divide_terms(&rest.terms[0], &b->terms[0], &t) || !add_term(quotient, &t)) return false;
        t.coefficient = -t.coefficient;
        if (!add_product(&rest, &t, b)) return false;
    }
    return true;
}

/* p = divisor * quotient + rest with the coefficients of the rest in [0, divisor). */
static void split_by_number(const polynomial *p, int64_t divisor, polynomial *quotient, polynomial *rest) {
    quotient->count = rest->count = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        term t = p->terms[i];
        int64_t whole = floor_quotient(t.coefficient, divisor);
        int64_t part = t.coefficient - whole * divisor;
        t.coefficient = whole;
        if (whole) quotient->terms[quotient->count++] = t;
        t.coefficient = part;
        if (part) rest->terms[rest->count++] = t;
    }
}

static bool is_number(const polynomial *p) {
    return p->count == 0 || (p->count == 1 && p->terms[0].degree == 0);
}

bert_dim bert_dim_divide(bert_symbols *symbols, bert_dim a, bert_dim b, bool floor) {
    polynomial left;
    polynomial right;
    polynomial quotient;
    if (!expand(symbols, a, &left) || !expand(symbols, b, &right) || right.count == 0) return bert_dim_fresh(symbols);
    if (bert_dim_known(a) && bert_dim_known(b)) return known_or_fresh(symbols, floor ? floor_quotient(a, b) : a / b);
    if (divide_exactly(&left, &right, &quotient)) return intern(symbols, &quotient);
    bool nonnegative = bert_dim_nonnegative(symbols, a) && bert_dim_nonnegative(symbols, b);
    if (!floor && !nonnegative) return derived(symbols, QUOTIENT, a, b, false);
    if (!bert_dim_known(b) || b < 0) return derived(symbols, FLOOR_QUOTIENT, a, b, nonnegative);
    polynomial rest;
    split_by_number(&left, b, &quotient, &rest);
    bert_dim whole = intern(symbols, &quotient);
    if (is_number(&rest)) return whole;
    bert_dim part = intern(symbols, &rest);
    bool rest_nonnegative = bert_dim_nonnegative(symbols, part);
    return bert_dim_add(symbols, whole, derived(symbols, FLOOR_QUOTIENT, part, b, rest_nonnegative));
}

bert_dim bert_dim_modulo(bert_symbols *symbols, bert_dim a, bert_dim b) {
    polynomial left;
    polynomial right;
    polynomial quotient;
    if (!expand(symbols, a, &left) || !expand(symbols, b, &right) || right.count == 0) return bert_dim_fresh(symbols);
    if (bert_dim_known(a) && bert_dim_known(b)) return a - floor_quotient(a, b) * b;
    if (divide_exactly(&left, &right, &quotient)) return 0;
    if (!bert_dim_known(b) || b < 0) return derived(symbols, MODULO, a, b, bert_dim_nonnegative(symbols, b));
    polynomial rest;
    split_by_number(&left, b, &quotient, &rest);
    bert_dim part = intern(symbols, &rest);
    return is_number(&rest) ? part : derived(symbols, MODULO, part, b, true);
}

static bool is_operand(const symbol *s, symbol_kind kind, bert_dim dim) {
    return s && !s->name && s->operation.kind == kind && (s->operation.a == dim || s->operation.b == dim);
}

/* Minimum or maximum: one of the two where the sign of the difference is known. */
static bert_dim extreme(bert_symbols *symbols, symbol_kind kind, bert_dim a, bert_dim b) {
    if (a == b) return a;
    if (bert_dim_known(a) && bert_dim_known(b)) return (a < b) == (kind == MINIMUM) ? a : b;
    if (bert_dim_nonnegative(symbols, bert_dim_subtract(symbols, a, b))) return kind == MINIMUM ? b : a;
    if (bert_dim_nonnegative(symbols, bert_dim_subtract(symbols, b, a))) return kind == MINIMUM ? a : b;
    const symbol *of_a = symbol_of(symbols, a);
    const symbol *of_b = symbol_of(symbols, b);
    if (is_operand(of_a, kind, b)) return a;
    if (is_operand(of_b, kind, a)) return b;
    bool a_nonnegative = bert_dim_nonnegative(symbols, a);
    bool b_nonnegative = bert_dim_nonnegative(symbols, b);
    bool nonnegative = kind == MINIMUM ? a_nonnegative && b_nonnegative : a_nonnegative || b_nonnegative;
    return a < b ? derived(symbols, kind, a, b, nonnegative) : derived(symbols, kind, b, a, nonnegative);
}

bert_dim bert_dim_minimum(bert_symbols *symbols, bert_dim a, bert_dim b) {
    return extreme(symbols, MINIMUM, a, b);
}

bert_dim bert_dim_maximum(bert_symbols *symbols, bert_dim a, bert_dim b) {
    return extreme(symbols, MAXIMUM, a, b);
}

/* Whether b is min(a, n) with a number n of 1 or more. Where it broadcasts with a, the result is a: b is a or 1. */
static bool is_capped(const bert_symbols *symbols, bert_dim a, bert_dim b) {
    const symbol *s = symbol_of(symbols, b);
    if (!is_operand(s, MINIMUM, a)) return false;
    bert_dim cap = s->operation.a == a ? s->operation.b : s->operation.a;
    return bert_dim_known(cap) && cap >= 1;
}

bert_dim bert_dim_broadcast(bert_symbols *symbols, bert_dim a, bert_dim b) {
    if (a == b || b == 1) return a;
    if (a == 1) return b;
    if (bert_dim_known(a)) return a;
    if (bert_dim_known(b)) return b;
    if (is_capped(symbols, a, b)) return a;
    if (is_capped(symbols, b, a)) return b;
    return a < b ? derived(symbols, BROADCAST, a, b, true) : derived(symbols, BROADCAST, b, a, true);
}

/* ---- Text ----------------------------------------------------------------------------------------------------------
 */

typedef struct text {
    char *out;
    size_t capacity, length;
} text;

static void append(text *t, const char *piece) {
    for (; *piece && t->length + 1 < t->capacity; piece++) t->out[t->length++] = *piece;
    if (t->capacity) t->out[t->length] = '\0';
}

static void append_dim(const bert_symbols *symbols, bert_dim dim, text *t, int depth);

static void append_symbol(const bert_symbols *symbols, uint64_t index, text *t, int depth) {
    static const char *const forms[] = {
        [FLOOR_QUOTIENT] = "floor_div(", [QUOTIENT] = "div(", [MODULO] = "mod(", [MINIMUM] = "min(", [MAXIMUM] = "max(",
        [BROADCAST] = "broadcast("};
    const symbol *s = symbol_of(symbols, handle_of(index));
    if (!s) {
        char name[32];
        snprintf(name, sizeof name, "?%" PRIu64, index - FRESH_BASE + 1);
        append(t, name);
    } else if (s->name) {
        append(t, s->name);
    } else {
        append(t, forms[s->operation.kind]);
        append_dim(symbols, s->operation.a, t, depth + 1);
        append(t, ", ");
        append_dim(symbols, s->operation.b, t, depth + 1);
        append(t, ")");
    }
}

static void append_term(const bert_symbols *symbols, const term *e, bool first, text *t, int depth) {
    char number[32];
    bool negative = e->coefficient < 0;
    int64_t size = negative ? -e->coefficient : e->coefficient;
    if (first) {
        append(t, negative ? "-" : "");
    } else {
        append(t, negative ? " - " : " + ");
    }
    snprintf(number, sizeof number, "%" PRId64, size);
    if (size != 1 || e->degree == 0) append(t, number);
    for (uint32_t i = 0; i < e->degree; i++) {
        if (i || size != 1) append(t, "*");
        append_symbol(symbols, e->symbols[i], t, depth);
    }
}

static void append_dim(const bert_symbols *symbols, bert_dim dim, text *t, int depth) {
    enum { DEEPEST = 16 };
    if (depth > DEEPEST) {
        append(t, "...");
    } else if (bert_dim_known(dim)) {
        char number[32];
        snprintf(number, sizeof number, "%" PRId64, dim);
        append(t, number);
    } else if (index_of(dim) >= SYMBOL_BASE) {
        append_symbol(symbols, index_of(dim), t, depth);
    } else {
        const expression *e = symbols->expressions[index_of(dim)];
        for (uint32_t i = 0; i < e->count; i++) append_term(symbols, &e->terms[i], i == 0, t, depth);
    }
}

const char *bert_dim_format(const bert_symbols *symbols, bert_dim dim, char *out, size_t capacity) {
    text t = {.out = out, .capacity = capacity};
    append(&t, "");
    append_dim(symbols, dim, &t, 0);
    return out;
}
