/*
 * The kernel lab: holds each kernel of each instruction set against the scalar one, then times it over the shapes that
 * BERT models give it, and says what share of this machine's measured peak that is. Then whole products with weights,
 * by every GEMM provider. See docs/kernels.md.
 */
#include "bench/kernels/cases.h"
#include "bench/kernels/products.h"

#include "core/base/error.h"
#include "tests/support/worst.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct lab_options {
    const char *kernel; /* NULL: all */
    const char *isa;
    bool json, kernels, products;
    lab_product_shape shape; /* k 0: those of BERT models */
    double seconds;          /* for one figure */
} lab_options;

typedef struct lab {
    lab_options options;
    double peaks[LAB_PEAK_COUNT];
    int wrong, shown;
    FILE *out;
} lab;

static const char usage[] =
    "usage: kernel_lab [--isa NAME] [--kernels [--kernel NAME] | --products [--shape KxN]] [--time SECONDS]\n"
    "                  [--format text|json]\n"
    "  --isa       one instruction set (avx2, avx512_vnni ...) instead of all that this machine has\n"
    "  --kernels   single kernels alone; --products: whole products with weights alone\n"
    "  --kernel    one kernel (sgemm, softmax ...)\n"
    "  --shape     products with weights of this shape (768x3072 ...) instead of those of BERT models\n"
    "  --time      for each figure; default 0.05\n";

/* ---- Single kernels ---------------------------------------------------------------------------------------------- */

/* The worst difference; with a tolerance of 0 the first differing byte counts as infinite. */
static double difference(float tolerance, const lab_buffers *buffers, const void *expected) {
    if (tolerance == 0.0F) return memcmp(buffers->out, expected, buffers->out_bytes) == 0 ? 0.0 : INFINITY;
    return worst_error(buffers->out, expected, (int64_t)(buffers->out_bytes / sizeof(float)));
}

/* Seconds of the fastest call. */
static double time_kernel(const lab_kernel *kernel, const bert_cpu_kernels *table, const lab_shape *shape,
                          const lab_buffers *buffers, double seconds) {
    int64_t calls = 1;
    double best = INFINITY;
    for (double spent = 0.0; spent < seconds;) {
        const double start = lab_seconds();
        for (int64_t call = 0; call < calls; call++) kernel->call(table, shape, buffers);
        const double taken = lab_seconds() - start;
        spent += taken;
        if (taken / (double)calls < best) best = taken / (double)calls;
        if (taken < 2e-4) calls *= 2; /* long enough for the clock */
    }
    return best;
}

static void report(lab *run, bert_isa isa, const char *name, const char *shape, lab_peak peak, double rate,
                   double error, bool right) {
    const double share = run->peaks[peak] > 0.0 ? rate / run->peaks[peak] : 0.0;
    if (!right) run->wrong++;
    if (run->options.json)
        fprintf(run->out,
                "%s    {\"isa\": \"%s\", \"kernel\": \"%s\", \"shape\": \"%s\", \"rate\": %.3f, \"unit\": \"%s\", "
                "\"peak\": \"%s\", \"share\": %.4f, \"error\": %.3g, \"right\": %s}",
                run->shown ? ",\n" : "", bert_isa_name(isa), name, shape, rate, lab_peak_unit(peak),
                lab_peak_name(peak), share, isfinite(error) ? error : 1e300, right ? "true" : "false");
    else
        fprintf(run->out, "  %-24s %-20s %9.1f %-8s %5.0f %% of %-8s error %.1e%s\n", name, shape, rate,
                lab_peak_unit(peak), share * 100.0, lab_peak_name(peak), error, right ? "" : "  WRONG");
    run->shown++;
}

static bool run_kernel(lab *run, bert_isa isa, const lab_kernel *kernel) {
    const bert_cpu_kernels *table = bert_cpu_kernels_of(isa);
    for (const lab_shape *shape = kernel->shapes; shape < kernel->shapes + LAB_MAX_SHAPES && shape->m > 0; shape++) {
        lab_buffers buffers = {0};
        void *expected = NULL;
        if (!kernel->prepare(shape, &buffers) || !(expected = lab_allocate(buffers.out_bytes))) {
            lab_free(&buffers);
            return false;
        }
        kernel->call(&bert_cpu_kernels_scalar, shape, &buffers);
        memcpy(expected, buffers.out, buffers.out_bytes);
        memset(buffers.out, 0, buffers.out_bytes);
        kernel->call(table, shape, &buffers);
        const float tolerance = lab_tolerance(kernel, shape);
        const double error = difference(tolerance, &buffers, expected);
        char text[64];
        snprintf(text, sizeof text, shape->k ? "%lld x %lld x %lld" : "%lld x %lld", (long long)shape->m,
                 (long long)shape->n, (long long)shape->k);
        const double seconds = time_kernel(kernel, table, shape, &buffers, run->options.seconds);
        report(run, isa, kernel->name, text, kernel->peak, kernel->work(shape) / seconds * 1e-9, error,
               error <= (double)tolerance);
        free(expected);
        lab_free(&buffers);
    }
    return true;
}

/* ---- Whole products ---------------------------------------------------------------------------------------------- */

enum { MOST_SIDE = 32768 };

/* BERT-base, and what has a hidden size of 384. */
static const lab_product_shape product_shapes[] = {{768, 768}, {768, 2304}, {768, 3072}, {3072, 768},
                                                   {384, 384}, {384, 1536}, {1536, 384}};
static const int64_t product_rows[] = {1, 8, 16, 32, 64, 128, 512};
enum { PRODUCT_ROWS = sizeof product_rows / sizeof *product_rows, MOST_ROWS = 512, CHECKED_ROWS = 19 };

static bool run_products(lab *run, bert_isa isa, const bert_cpu_kernels *kernels, lab_product_shape shape) {
    lab_product *product = lab_product_create(kernels, shape, MOST_ROWS);
    if (!product) return false;
    double errors[LAB_PROVIDER_COUNT];
    const char *names[LAB_PROVIDER_COUNT]; /* NULL: not here */
    for (int provider = 0; provider < LAB_PROVIDER_COUNT; provider++) {
        names[provider] = lab_product_provider(product, (lab_provider)provider);
        if (names[provider]) errors[provider] = lab_product_error(product, (lab_provider)provider, CHECKED_ROWS);
    }
    for (int i = 0; i < PRODUCT_ROWS; i++) {
        const int64_t rows = product_rows[i];
        double best[LAB_PROVIDER_COUNT];
        for (int provider = 0; provider < LAB_PROVIDER_COUNT; provider++) best[provider] = INFINITY;
        /* They take turns, so that what disturbs one disturbs the others. */
        for (double spent = 0.0; spent < run->options.seconds * LAB_PROVIDER_COUNT;) {
            for (int provider = 0; provider < LAB_PROVIDER_COUNT; provider++) {
                if (!names[provider]) continue;
                const double taken = lab_product_time(product, (lab_provider)provider, rows);
                if (taken < best[provider]) best[provider] = taken;
                spent += taken;
            }
        }
        for (int provider = 0; provider < LAB_PROVIDER_COUNT; provider++) {
            if (!names[provider]) continue;
            char name[64], text[64];
            snprintf(name, sizeof name, "product/%s", names[provider]);
            snprintf(text, sizeof text, "%lld x %lld x %lld", (long long)rows, (long long)shape.n, (long long)shape.k);
            const double work = 2.0 * (double)rows * (double)shape.n * (double)shape.k;
            report(run, isa, name, text, lab_provider_peak((lab_provider)provider), work / best[provider] * 1e-9,
                   errors[provider], errors[provider] <= lab_provider_tolerance((lab_provider)provider));
        }
    }
    lab_product_free(product);
    return true;
}

/* ---- All of it --------------------------------------------------------------------------------------------------- */

/* Whole products by each provider, of the shape that was asked for or of all. */
static bool run_all_products(lab *run, bert_isa isa) {
    bert_cpu_kernels chosen;
    bert_cpu_kernels_select(isa, &chosen);
    if (run->options.shape.k > 0) return run_products(run, isa, &chosen, run->options.shape);
    for (size_t i = 0; i < sizeof product_shapes / sizeof *product_shapes; i++)
        if (!run_products(run, isa, &chosen, product_shapes[i])) return false;
    return true;
}

/* Shares hold where the clock is what it was when the peak was measured; neighbours and power move it. */
static void warn_of_other_peaks(const lab *run, bert_isa isa) {
    for (int peak = 0; peak < LAB_PEAK_MEMORY; peak++) {
        const double before = run->peaks[peak];
        const double now = before > 0.0 ? lab_measure_peak((lab_peak)peak, isa) : 0.0;
        if (now < before * 0.9 || now > before * 1.1)
            fprintf(stderr,
                    "kernel_lab: %s: the peak of %s was %.0f %s, and is %.0f by now: shares of it are as far off\n",
                    bert_isa_name(isa), lab_peak_name((lab_peak)peak), before, lab_peak_unit((lab_peak)peak), now);
    }
}

static bool run_isa(lab *run, bert_isa isa) {
    for (int peak = 0; peak < LAB_PEAK_MEMORY; peak++) run->peaks[peak] = lab_measure_peak((lab_peak)peak, isa);
    if (!run->options.json) {
        fprintf(run->out, "\n%s:", bert_isa_name(isa));
        for (int peak = 0; peak < LAB_PEAK_COUNT; peak++)
            if (run->peaks[peak] > 0.0)
                fprintf(run->out, "  %s %.0f %s", lab_peak_name((lab_peak)peak), run->peaks[peak],
                        lab_peak_unit((lab_peak)peak));
        fputc('\n', run->out);
    }
    bert_cpu_enter(bert_cpu_kernels_of(isa));
    for (int i = 0; run->options.kernels && i < lab_kernel_count; i++) {
        const lab_kernel *kernel = &lab_kernels[i];
        if (run->options.kernel && strcmp(run->options.kernel, kernel->name) != 0) continue;
        if (kernel->has(bert_cpu_kernels_of(isa)) && !run_kernel(run, isa, kernel)) {
            bert_cpu_exit(bert_cpu_kernels_of(isa));
            return false;
        }
    }
    bert_cpu_exit(bert_cpu_kernels_of(isa));
    if (run->options.products && !run_all_products(run, isa)) return false;
    warn_of_other_peaks(run, isa);
    return true;
}

static bool find_isa(const char *name, bert_isa *out) {
    for (int isa = 0; isa < BERT_ISA_COUNT; isa++) {
        if (strcmp(name, bert_isa_name((bert_isa)isa)) != 0) continue;
        *out = (bert_isa)isa;
        return true;
    }
    return false;
}

/* "768x3072" */
static bool read_shape(const char *text, lab_product_shape *out) {
    char *end;
    const long k = strtol(text, &end, 10);
    if (*end != 'x') return false;
    const long n = strtol(end + 1, &end, 10);
    *out = (lab_product_shape){k, n};
    return *end == '\0' && k > 0 && k <= MOST_SIDE && n > 0 && n <= MOST_SIDE;
}

static bool read_options(int count, char **arguments, lab_options *options) {
    *options = (lab_options){.kernels = true, .products = true, .seconds = 0.05};
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (strcmp(arguments[i], "--kernels") == 0) {
            options->products = false;
        } else if (strcmp(arguments[i], "--products") == 0) {
            options->kernels = false;
        } else if (value && strcmp(arguments[i], "--isa") == 0) {
            options->isa = arguments[++i];
        } else if (value && strcmp(arguments[i], "--kernel") == 0) {
            options->kernel = arguments[++i];
            options->products = false;
        } else if (value && strcmp(arguments[i], "--shape") == 0) {
            if (!read_shape(arguments[++i], &options->shape)) return false;
            options->kernels = false;
        } else if (value && strcmp(arguments[i], "--time") == 0) {
            options->seconds = strtod(arguments[++i], NULL);
        } else if (value && strcmp(arguments[i], "--format") == 0) {
            options->json = strcmp(value, "json") == 0;
            if (!options->json && strcmp(value, "text") != 0) return false;
            i++;
        } else {
            return false;
        }
    }
    bert_isa isa;
    return options->seconds > 0.0 && (options->kernels || options->products) &&
           (!options->isa || find_isa(options->isa, &isa));
}

int main(int count, char **arguments) {
    lab all = {.out = stdout};
    if (!read_options(count, arguments, &all.options)) {
        fputs(usage, stderr);
        return 2;
    }
    const bert_gemm_provider *openblas;
    bert_error error;
    if (all.options.products && bert_openblas_open(&openblas, &error) != BERT_OK)
        fprintf(stderr, "skipped: product/openblas: %s\n", error.message);
    all.peaks[LAB_PEAK_MEMORY] = lab_measure_peak(LAB_PEAK_MEMORY, BERT_ISA_SCALAR);
    if (all.options.json) fputs("{\"results\": [\n", all.out);
    for (int isa = BERT_ISA_SCALAR + 1; isa < BERT_ISA_COUNT; isa++) {
        if (all.options.isa && strcmp(all.options.isa, bert_isa_name((bert_isa)isa)) != 0) continue;
        if (!bert_cpu_kernels_of((bert_isa)isa)) continue;
        if (!bert_isa_present((bert_isa)isa)) {
            fprintf(stderr, "skipped: %s: this machine doesn't have it\n", bert_isa_name((bert_isa)isa));
            continue;
        }
        if (!run_isa(&all, (bert_isa)isa)) {
            fputs("kernel_lab: out of memory\n", stderr);
            return 1;
        }
    }
    if (all.options.json)
        fprintf(all.out, "\n], \"memory_gb_per_s\": %.2f, \"wrong\": %d}\n", all.peaks[LAB_PEAK_MEMORY], all.wrong);
    else
        fprintf(all.out, "\n%d figures, %d wrong\n", all.shown, all.wrong);
    return all.wrong > 0 ? 1 : 0;
}
