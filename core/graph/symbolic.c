#include "core/graph/symbolic.h"

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
    uint32_t count;
    const term *terms;
} expression;

typedef enum symbol_kind { NAMED, FLOOR_QUOTIENT, QUOTIENT, MODULO, MINIMUM, MAXIMUM, BROADCAST } symbol_kind;

typedef struct symbol {
    symbol_kind kind;
    bool nonnegative;
    const char *name; /* NAMED; "" for the others */
    bert_dim a, b;    /* of the others */
} symbol;

/* Finds entries of a list by hash: open addressing, at most half full. */
typedef struct bucket {
    uint32_t hash;
    uint32_t entry; /* 1 + the index in the list; 0: free */
} bucket;

typedef struct hash_index {
    bucket *buckets;
    uint32_t size, used; /* size: a power of two, or 0 */
} hash_index;

struct bert_symbols {
    bert_arena *arena;
    expression *expressions;
    symbol *table;
    uint32_t expression_count, expression_capacity;
    uint32_t symbol_count, symbol_capacity;
    hash_index expression_index, symbol_index;
    uint64_t fresh_count;
};

bert_symbols *bert_symbols_create(bert_arena *arena) {
    bert_symbols *symbols = BERT_ARENA_NEW(arena, bert_symbols);
    if (symbols) symbols->arena = arena;
    return symbols;
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

static uint32_t hash_bytes(uint32_t hash, const void *memory, size_t bytes) {
    const unsigned char *byte = memory;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ byte[i]) * 16777619U; /* FNV-1a */
    return hash;
}

#define HASH_START 2166136261U

/* The next bucket from *slot on with this hash; one that is free ends the search. The index is not empty. */
static bucket *probe(const hash_index *index, uint32_t hash, uint32_t *slot) {
    while (index->buckets[*slot & (index->size - 1)].entry && index->buckets[*slot & (index->size - 1)].hash != hash) {
        ++*slot;
    }
    return &index->buckets[(*slot)++ & (index->size - 1)];
}

/* Room for one more entry. */
static bool grow_index(bert_arena *arena, hash_index *index) {
    if ((index->used + 1) * 2 <= index->size) return true;
    hash_index larger = {.size = index->size ? index->size * 2 : 64, .used = index->used};
    larger.buckets = BERT_ARENA_NEW_ARRAY(arena, bucket, larger.size);
    if (!larger.buckets) return false;
    for (uint32_t i = 0; i < index->size; i++) {
        if (!index->buckets[i].entry) continue;
        uint32_t slot = index->buckets[i].hash;
        bucket *free_one = probe(&larger, index->buckets[i].hash, &slot);
        while (free_one->entry) free_one = probe(&larger, index->buckets[i].hash, &slot);
        *free_one = index->buckets[i];
    }
    *index = larger;
    return true;
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
    const expression *e = &symbols->expressions[index];
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
    if (!grow_index(symbols->arena, &symbols->expression_index)) return bert_dim_fresh(symbols);
    uint32_t hash = hash_bytes(HASH_START, p->terms, p->count * sizeof(term));
    uint32_t slot = hash;
    bucket *place = probe(&symbols->expression_index, hash, &slot);
    for (; place->entry; place = probe(&symbols->expression_index, hash, &slot)) {
        const expression *e = &symbols->expressions[place->entry - 1];
        if (e->count == p->count && memcmp(e->terms, p->terms, p->count * sizeof(term)) == 0) {
            return handle_of(place->entry - 1);
        }
    }
    expression *expressions = grown(symbols->arena, symbols->expressions, symbols->expression_count,
                                    &symbols->expression_capacity, sizeof *expressions);
    if (expressions) symbols->expressions = expressions;
    term *terms = BERT_ARENA_NEW_ARRAY(symbols->arena, term, p->count);
    if (!expressions || !terms) return bert_dim_fresh(symbols);
    memcpy(terms, p->terms, p->count * sizeof *terms);
    expressions[symbols->expression_count++] = (expression){.count = p->count, .terms = terms};
    *place = (bucket){.hash = hash, .entry = symbols->expression_count};
    symbols->expression_index.used++;
    return handle_of(symbols->expression_count - 1);
}

/* ---- Symbols -------------------------------------------------------------------------------------------------------
 */

/* The symbol with this description, made if need be. A name is copied when it is new. */
static bert_dim intern_symbol(bert_symbols *symbols, symbol wanted) {
    if (!grow_index(symbols->arena, &symbols->symbol_index)) return bert_dim_fresh(symbols);
    uint32_t hash = hash_bytes(HASH_START, &wanted.kind, sizeof wanted.kind);
    hash = hash_bytes(hash, &wanted.a, sizeof wanted.a);
    hash = hash_bytes(hash, &wanted.b, sizeof wanted.b);
    hash = hash_bytes(hash, wanted.name, strlen(wanted.name));
    uint32_t slot = hash;
    bucket *place = probe(&symbols->symbol_index, hash, &slot);
    for (; place->entry; place = probe(&symbols->symbol_index, hash, &slot)) {
        const symbol *s = &symbols->table[place->entry - 1];
        if (s->kind == wanted.kind && s->a == wanted.a && s->b == wanted.b && strcmp(s->name, wanted.name) == 0) {
            return handle_of(SYMBOL_BASE + place->entry - 1);
        }
    }
    symbol *table =
        grown(symbols->arena, symbols->table, symbols->symbol_count, &symbols->symbol_capacity, sizeof *table);
    if (table) symbols->table = table;
    wanted.name = bert_arena_string(symbols->arena, wanted.name, strlen(wanted.name));
    if (!table || !wanted.name) return bert_dim_fresh(symbols);
    table[symbols->symbol_count++] = wanted;
    *place = (bucket){.hash = hash, .entry = symbols->symbol_count};
    symbols->symbol_index.used++;
    return handle_of(SYMBOL_BASE + symbols->symbol_count - 1);
}

/* NULL for polynomials and fresh symbols. */
static const symbol *symbol_of(const bert_symbols *symbols, bert_dim dim) {
    if (bert_dim_known(dim)) return NULL;
    uint64_t index = index_of(dim);
    return index >= SYMBOL_BASE && index < FRESH_BASE ? &symbols->table[index - SYMBOL_BASE] : NULL;
}

bert_dim bert_dim_named(bert_symbols *symbols, const char *name) {
    return intern_symbol(symbols, (symbol){.kind = NAMED, .nonnegative = true, .name = name});
}

/* The symbol for an operation that is not a polynomial; the same for the same operands. */
static bert_dim derived(bert_symbols *symbols, symbol_kind kind, bert_dim a, bert_dim b, bool nonnegative) {
    return intern_symbol(symbols, (symbol){.kind = kind, .nonnegative = nonnegative, .name = "", .a = a, .b = b});
}

bool bert_dim_nonnegative(const bert_symbols *symbols, bert_dim dim) {
    if (bert_dim_known(dim)) return dim >= 0;
    uint64_t index = index_of(dim);
    if (index >= SYMBOL_BASE) {
        const symbol *s = symbol_of(symbols, dim);
        return s && s->nonnegative;
    }
    const expression *e = &symbols->expressions[index];
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

/* Minimum or maximum: one of the two where the sign of the difference is known. */
static bert_dim extreme(bert_symbols *symbols, symbol_kind kind, bert_dim a, bert_dim b) {
    if (a == b) return a;
    if (bert_dim_known(a) && bert_dim_known(b)) return (a < b) == (kind == MINIMUM) ? a : b;
    if (bert_dim_nonnegative(symbols, bert_dim_subtract(symbols, a, b))) return kind == MINIMUM ? b : a;
    if (bert_dim_nonnegative(symbols, bert_dim_subtract(symbols, b, a))) return kind == MINIMUM ? a : b;
    const symbol *of_a = symbol_of(symbols, a);
    const symbol *of_b = symbol_of(symbols, b);
    if (of_a && of_a->kind == kind && (of_a->a == b || of_a->b == b)) return a;
    if (of_b && of_b->kind == kind && (of_b->a == a || of_b->b == a)) return b;
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
    if (!s || s->kind != MINIMUM || (s->a != a && s->b != a)) return false;
    bert_dim cap = s->a == a ? s->b : s->a;
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
    } else if (s->kind == NAMED) {
        append(t, s->name);
    } else {
        append(t, forms[s->kind]);
        append_dim(symbols, s->a, t, depth + 1);
        append(t, ", ");
        append_dim(symbols, s->b, t, depth + 1);
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
        const expression *e = &symbols->expressions[index_of(dim)];
        for (uint32_t i = 0; i < e->count; i++) append_term(symbols, &e->terms[i], i == 0, t, depth);
    }
}

const char *bert_dim_format(const bert_symbols *symbols, bert_dim dim, char *out, size_t capacity) {
    text t = {.out = out, .capacity = capacity};
    append(&t, "");
    append_dim(symbols, dim, &t, 0);
    return out;
}
