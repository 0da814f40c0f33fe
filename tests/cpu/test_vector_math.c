/*
 * The accuracy of exp, erf, tanh and the activations against double precision, over every 251st float of the whole line
 * (both signs, subnormals, infinities), for every instruction set. The limits are what docs and headers promise.
 */
#include "cpu/kernels/kernels.h"
#include "tests/support/test.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 4096, STEP = 251 };

static double exact_gelu(double x) {
    return 0.5 * x * erfc(-x * 0.70710678118654752440);
}
static double exact_gelu_tanh(double x) {
    return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}
static double exact_sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}
static double exact_quick_gelu(double x) {
    return x * exact_sigmoid(1.702 * x);
}

static double exact_silu(double x) {
    return x * exact_sigmoid(x);
}

struct promise {
    const char *name;
    bert_unary op;
    double (*exact)(double);
    double ulps;     /* in units of the last place of the exact result ... */
    double absolute; /* ... or this far off, for what underflows or is next to nothing */
    double from;     /* for x from here on */
};

/* GELU of negative x: small results lose digits, none is far off, and before -5.96 it may be 0. */
static const struct promise promises[] = {
    {"exp", BERT_UNARY_EXP, exp, 2.0, 0.0, -INFINITY},
    {"erf", BERT_UNARY_ERF, erf, 2.0, 0x1p-149, -INFINITY},
    {"tanh", BERT_UNARY_TANH, tanh, 3.0, 0x1p-149, -INFINITY},
    {"sigmoid", BERT_UNARY_SIGMOID, exact_sigmoid, 3.0, 0x1p-126, -INFINITY},
    {"gelu", BERT_UNARY_GELU, exact_gelu, 10.0, 2e-8, -INFINITY},
    {"gelu from -1.5 on", BERT_UNARY_GELU, exact_gelu, 8.0, 0x1p-149, -1.5},
    {"gelu from -5.96 on", BERT_UNARY_GELU, exact_gelu, 4000.0, 0x1p-149, -5.96},
    {"gelu_tanh", BERT_UNARY_GELU_TANH, exact_gelu_tanh, 12.0, 2e-8, -INFINITY},
    {"quick_gelu", BERT_UNARY_QUICK_GELU, exact_quick_gelu, 12.0, 2e-8, -INFINITY},
    {"silu", BERT_UNARY_SILU, exact_silu, 4.0, 2e-8, -INFINITY},
};

/* The distance between floats around the value. */
static double unit(double value) {
    const double size = fabs(value);
    if (size < 0x1p-126) return 0x1p-149;
    int exponent;
    frexp(size, &exponent);
    return ldexp(1.0, exponent - 24);
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void hold(const struct promise *promise, const bert_cpu_kernels *table, const char *isa) {
    static float x[BLOCK], y[BLOCK];
    double worst = 0.0, worst_absolute = 0.0;
    float worst_at = 0.0F;
    for (uint64_t first = 0; first < 0x100000000; first += (uint64_t)BLOCK * STEP) {
        int count = 0;
        for (uint64_t bits = first; count < BLOCK && bits < 0x100000000; bits += STEP)
            x[count++] = float_of((uint32_t)bits);
        table->unary(&(bert_unary_args){y, x, count, promise->op});
        for (int i = 0; i < count; i++) {
            if ((double)x[i] < promise->from) continue;
            const double exact = promise->exact((double)x[i]);
            if (isnan(exact)) {
                if (!isnan(y[i])) fail_msg("%s(%.9g) is %.9g, not NaN", promise->name, (double)x[i], (double)y[i]);
                continue;
            }
            if (isnan(y[i])) fail_msg("%s(%.9g) is NaN, not %.9g", promise->name, (double)x[i], exact);
            const float nearest = (float)exact;
            if (isinf(nearest) || isinf(y[i])) {
                /* At the edge of what float holds either neighbour is right. */
                if (nearest == y[i] || (isinf(nearest) && y[i] > 3.40281e38F) || nearest > 3.40281e38F) continue;
                fail_msg("%s(%.9g) is %.9g, expected %.9g", promise->name, (double)x[i], (double)y[i], exact);
            }
            const double error = fabs((double)y[i] - exact);
            if (!(error <= promise->absolute) && !(error / unit(exact) <= worst)) {
                worst = error / unit(exact);
                worst_at = x[i];
            }
            if (!(error <= worst_absolute) && fabs(exact) < 1.0) worst_absolute = error;
        }
    }
    print_message("%s of %s: at most %.2f units in the last place (at %.9g), %.2g in absolute terms below 1\n",
                  promise->name, isa, worst, (double)worst_at, worst_absolute);
    assert_true(worst <= promise->ulps);
}

static void functions_are_as_close_as_promised(void **state) {
    bool any = false;
    for (int isa = BERT_ISA_SCALAR + 1; isa < BERT_ISA_COUNT; isa++) {
        const bert_cpu_kernels *table = bert_cpu_kernels_of((bert_isa)isa);
        if (!table || !table->unary) continue;
        any = true;
        if (!bert_isa_present((bert_isa)isa)) {
            print_message("skipped: %s: this machine doesn't have it\n", bert_isa_name((bert_isa)isa));
            continue;
        }
        for (size_t i = 0; i < sizeof promises / sizeof *promises; i++)
            hold(&promises[i], table, bert_isa_name((bert_isa)isa));
    }
    if (any) return;
    print_message("skipped: there are no vector kernels for this processor\n");
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(functions_are_as_close_as_promised)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
