/* The equation of an Einsum, which inference, the reference, passes and backends read by the same functions. */
#ifndef BERT_GRAPH_EINSUM_H
#define BERT_GRAPH_EINSUM_H

#include <bert/backend.h>
#include <string.h>

/**
 * Axes that an equation can have: one for each letter, in the order of an implicit output (A is 0, a is 26), and behind
 * them those that ellipses stand for: the last dimension of every ellipsis is the last axis.
 */
enum { BERT_EINSUM_LETTERS = 52, BERT_EINSUM_AXES = BERT_EINSUM_LETTERS + BERT_MAX_RANK };

/** "ij...k" */
typedef struct bert_einsum_term {
    int32_t count;    /**< Letters. */
    int32_t ellipsis; /**< Letters before it; -1: there is none. */
    uint8_t axes[BERT_MAX_RANK];
} bert_einsum_term;

typedef struct bert_einsum {
    const char *equation;
    int32_t operands;
    uint64_t letters;        /**< Bit a: an operand has axis a. */
    bert_einsum_term output; /**< Of an implicit one, too: what is there once, behind the ellipsis. */
} bert_einsum;

/** -1: no letter. */
static inline int32_t bert_einsum_axis(char letter) {
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    return letter >= 'a' && letter <= 'z' ? letter - 'a' + 26 : -1;
}
/** The inverse; '.' for an axis of an ellipsis. */
static inline char bert_einsum_letter(int32_t axis) {
    if (axis >= BERT_EINSUM_LETTERS) return '.';
    return (char)(axis < 26 ? 'A' + axis : 'a' + axis - 26);
}

/** Reads the term at *at, which is left behind it. NULL, or what is wrong. */
static inline const char *bert_einsum_read_term(const char **at, bert_einsum_term *term) {
    *term = (bert_einsum_term){.ellipsis = -1};
    for (;; ++*at) {
        const char c = **at;
        const int32_t axis = bert_einsum_axis(c);
        if (c == ' ') continue;
        if (c == '.') {
            if (strncmp(*at, "...", 3) != 0) return "has dots that are no ellipsis";
            if (term->ellipsis >= 0) return "has two ellipses in a term";
            term->ellipsis = term->count;
            *at += 2;
            continue;
        }
        if (axis < 0) return NULL;
        if (term->count == BERT_MAX_RANK) return "has more labels in a term than a tensor has dimensions";
        term->axes[term->count++] = (uint8_t)axis;
    }
}

/** Without "->": what is there once, in alphabetical order. */
static inline const char *bert_einsum_implicit(uint64_t once, bool ellipsis, bert_einsum_term *out) {
    *out = (bert_einsum_term){.ellipsis = ellipsis ? 0 : -1};
    for (int32_t axis = 0; axis < BERT_EINSUM_LETTERS; axis++) {
        if (!(once >> axis & 1)) continue;
        if (out->count == BERT_MAX_RANK) return "gives more labels than a tensor has dimensions";
        out->axes[out->count++] = (uint8_t)axis;
    }
    return NULL;
}

static inline const char *bert_einsum_check_output(const bert_einsum *e, bool ellipsis) {
    uint64_t seen = 0;
    for (int32_t i = 0; i < e->output.count; i++) {
        const uint64_t bit = UINT64_C(1) << e->output.axes[i];
        if (seen & bit) return "has a label twice in its output";
        if (!(e->letters & bit)) return "has a label in its output that no input has";
        seen |= bit;
    }
    return ellipsis && e->output.ellipsis < 0 ? "has an ellipsis in an input and none in its output" : NULL;
}

/** NULL, or what is wrong: it completes "equation ... ". `equation` has to stay. */
static inline const char *bert_einsum_parse(const char *equation, bert_einsum *out) {
    const char *at = equation, *wrong;
    uint64_t again = 0;
    bool ellipsis = false;
    *out = (bert_einsum){.equation = equation};
    do {
        bert_einsum_term term;
        if (out->operands++) at++;
        wrong = bert_einsum_read_term(&at, &term);
        if (wrong) return wrong;
        ellipsis = ellipsis || term.ellipsis >= 0;
        for (int32_t i = 0; i < term.count; i++) {
            again |= out->letters & UINT64_C(1) << term.axes[i];
            out->letters |= UINT64_C(1) << term.axes[i];
        }
    } while (*at == ',');
    if (*at == '\0') return bert_einsum_implicit(out->letters & ~again, ellipsis, &out->output);
    if (strncmp(at, "->", 2) != 0) return "has a character that is no label";
    at += 2;
    wrong = bert_einsum_read_term(&at, &out->output);
    if (wrong) return wrong;
    return *at != '\0' ? "has a character that is no label" : bert_einsum_check_output(out, ellipsis);
}

/** The term of an operand, from 0 on, of an equation without fault. */
static inline bert_einsum_term bert_einsum_operand(const bert_einsum *e, int32_t operand) {
    const char *at = e->equation;
    bert_einsum_term term;
    for (int32_t i = 0; i < operand; i++) at = strchr(at, ',') + 1;
    bert_einsum_read_term(&at, &term);
    return term;
}

/** The axes that are summed over, as bits: labels that the output hasn't. */
static inline uint64_t bert_einsum_summed(const bert_einsum *e) {
    uint64_t summed = e->letters;
    for (int32_t i = 0; i < e->output.count; i++) summed &= ~(UINT64_C(1) << e->output.axes[i]);
    return summed;
}

/** The axis of each dimension of a tensor; false where the term has another number of them. */
static inline bool bert_einsum_dimensions(const bert_einsum_term *term, int32_t rank, uint8_t axes[BERT_MAX_RANK]) {
    const int32_t dots = rank - term->count;
    const int32_t before = term->ellipsis < 0 ? term->count : term->ellipsis;
    if (rank > BERT_MAX_RANK || dots < 0 || (dots > 0 && term->ellipsis < 0)) return false;
    for (int32_t i = 0; i < before; i++) axes[i] = term->axes[i];
    for (int32_t i = 0; i < dots; i++) axes[before + i] = (uint8_t)(BERT_EINSUM_AXES - dots + i);
    for (int32_t i = before; i < term->count; i++) axes[dots + i] = term->axes[i];
    return true;
}

/** How an Einsum's result is computed from tensors that inference accepted. */
typedef struct bert_einsum_loops {
    int32_t outer, inner; /**< Axes of the output, in its order, and those that are summed over behind them. */
    uint8_t axes[BERT_EINSUM_AXES];
    int64_t sizes[BERT_EINSUM_AXES]; /**< By place in `axes`. */
} bert_einsum_loops;

static inline bert_einsum_loops bert_einsum_loops_over(const bert_einsum *e, const bert_tensor *inputs,
                                                       int32_t output_rank) {
    bert_einsum_loops loops = {.outer = output_rank};
    int64_t sizes[BERT_EINSUM_AXES] = {0};
    uint64_t seen = 0;
    for (int32_t operand = 0; operand < e->operands; operand++) {
        const bert_einsum_term term = bert_einsum_operand(e, operand);
        uint8_t axes[BERT_MAX_RANK] = {0};
        bert_einsum_dimensions(&term, inputs[operand].rank, axes);
        for (int32_t i = 0; i < inputs[operand].rank; i++) {
            const int64_t dim = inputs[operand].dims[i];
            if (!(seen >> axes[i] & 1) || dim != 1) sizes[axes[i]] = dim;
            seen |= UINT64_C(1) << axes[i];
        }
    }
    bert_einsum_dimensions(&e->output, output_rank, loops.axes);
    for (int32_t axis = 0; axis < BERT_EINSUM_LETTERS; axis++) {
        if (bert_einsum_summed(e) >> axis & 1) loops.axes[loops.outer + loops.inner++] = (uint8_t)axis;
    }
    for (int32_t i = 0; i < loops.outer + loops.inner; i++) loops.sizes[i] = sizes[loops.axes[i]];
    return loops;
}

/** How far an operand's elements are apart along each of the loops: 0 where it has but one, or none. */
static inline void bert_einsum_strides(const bert_einsum *e, const bert_einsum_loops *loops, int32_t operand,
                                       const bert_tensor *input, int64_t *strides) {
    const bert_einsum_term term = bert_einsum_operand(e, operand);
    uint8_t axes[BERT_MAX_RANK] = {0};
    int64_t stride = 1, by_axis[BERT_EINSUM_AXES] = {0};
    bert_einsum_dimensions(&term, input->rank, axes);
    for (int32_t i = input->rank - 1; i >= 0; i--) {
        if (input->dims[i] != 1) by_axis[axes[i]] += stride; /* a label twice: along the diagonal */
        stride *= input->dims[i];
    }
    for (int32_t i = 0; i < loops->outer + loops->inner; i++) strides[i] = by_axis[loops->axes[i]];
}

#endif
