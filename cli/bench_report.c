#include "cli/bench.h"
#include "cli/output.h"
#include "core/base/error.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int by_time(const void *a, const void *b) {
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median_of_sorted(double *times, size_t count) {
    qsort(times, count, sizeof *times, by_time);
    return (times[(count - 1) / 2] + times[count / 2]) / 2;
}

void bert_bench_summarize(bert_bench_cell *cell) {
    size_t n = cell->runs;
    cell->median_ms = median_of_sorted(cell->times, n);
    cell->min_ms = cell->times[0];
    if (cell->device_runs) cell->device_median_ms = median_of_sorted(cell->device_times, cell->device_runs);
    cell->p99_ms = cell->times[(99 * n + 99) / 100 - 1];
    cell->tokens_per_s = (double)cell->tokens / (cell->median_ms * 1e-3);
}

double bert_bench_peak_rss_mib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024; /* Linux counts KiB. */
}

/* ---- Shares ------------------------------------------------------------------------------------------------------ */

static void add_share(bert_bench_share *shares, size_t *count, const char *name, double ms) {
    size_t i = 0;
    while (i < *count && strcmp(shares[i].name, name) != 0) i++;
    if (i == *count) {
        if (*count == BERT_MAX_SHARES) return;
        shares[i] = (bert_bench_share){0};
        snprintf(shares[i].name, sizeof shares[i].name, "%s", name);
        ++*count;
    }
    shares[i].calls++;
    shares[i].ms += ms;
}

/* Exporters name a layer's nodes "/bert/encoder/layer.3/...", "/layers.3/...", "/h.3/...": its number, -1 without. */
static int layer_of(const char *names) {
    for (const char *at = strstr(names, "layer"); at; at = strstr(at + 1, "layer")) {
        const char *digits = at + strlen("layer");
        digits += *digits == 's';
        digits += *digits == '.' || *digits == '_';
        if (isdigit((unsigned char)*digits)) return (int)strtol(digits, NULL, 10);
    }
    return -1;
}

static int named_layer(const bert_profile_entry *entry) {
    const int layer = layer_of(entry->node);
    return layer < 0 ? layer_of(entry->origins) : layer;
}

static bool is_op(const bert_profile_entry *entry, const char *op_type) {
    return strcmp(entry->op_type, op_type) == 0;
}

/* The first Linear since the layer before of the Attention at `at`; there may be a mask's nodes between them. */
static size_t layer_begin(const bert_profile_entry *entries, size_t at) {
    size_t begin = at;
    for (size_t i = at; i-- > 0;) {
        if (is_op(&entries[i], "SkipLayerNormalization") || is_op(&entries[i], "Attention")) break;
        if (is_op(&entries[i], "Linear") || is_op(&entries[i], "QuantizedLinear")) begin = i;
    }
    return begin;
}

/*
 * Layers by what follows on what: one begins with the Linears before its Attention, and ends with its second
 * SkipLayerNormalization or where the next one begins.
 */
static void count_layers(const bert_profile_entry *entries, size_t count, int *layers) {
    int layer = -1;
    for (size_t i = 0; i < count; i++) layers[i] = -1;
    for (size_t at = 0; at < count; at++) {
        if (!is_op(&entries[at], "Attention")) continue;
        layer++;
        int norms = 0;
        for (size_t i = layer_begin(entries, at); i < count && norms < 2; i++) {
            layers[i] = layer;
            norms += is_op(&entries[i], "SkipLayerNormalization");
        }
    }
}

/* The layer of each entry, -1 outside: by names where attention is in pieces. Elsewhere names tell less: optimizers
 * drop some of them, and layers that share weights may share names. */
static void find_layers(const bert_profile_entry *entries, size_t count, int *layers) {
    for (size_t i = 0; i < count; i++) {
        if (is_op(&entries[i], "Attention")) {
            count_layers(entries, count, layers);
            return;
        }
        layers[i] = named_layer(&entries[i]);
    }
}

static int by_share(const void *a, const void *b) {
    double left = ((const bert_bench_share *)a)->ms;
    double right = ((const bert_bench_share *)b)->ms;
    return left > right ? -1 : left < right;
}

bert_status bert_bench_profile(const bert_session *session, bert_bench_cell *cell, bert_error *error) {
    cell->ops = calloc(BERT_MAX_SHARES, sizeof *cell->ops);
    cell->layers = calloc(BERT_MAX_SHARES, sizeof *cell->layers);
    if (!cell->ops || !cell->layers) return bert_fail_memory(error, BERT_MAX_SHARES * sizeof *cell->ops, "a profile");
    size_t count;
    const bert_profile_entry *entries = bert_session_profile(session, &count);
    int *layers = calloc(count + 1, sizeof *layers);
    if (!layers) return bert_fail_memory(error, (count + 1) * sizeof *layers, "a profile");
    find_layers(entries, count, layers);
    for (size_t i = 0; i < count; i++) {
        const bert_profile_entry *entry = &entries[i];
        double ms = entry->runs ? (double)entry->nanoseconds * 1e-6 / (double)entry->runs : 0;
        char name[96];
        snprintf(name, sizeof name, "%s (%s)", entry->op_type, entry->kernel);
        add_share(cell->ops, &cell->op_count, name, ms);
        snprintf(name, sizeof name, layers[i] < 0 ? "outside layers" : "layer %d", layers[i]);
        add_share(cell->layers, &cell->layer_count, name, ms);
    }
    free(layers);
    qsort(cell->ops, cell->op_count, sizeof *cell->ops, by_share);
    return BERT_OK;
}

/* ---- Showing ----------------------------------------------------------------------------------------------------- */

static double gflops(const bert_bench_cell *cell) {
    return (double)cell->flops * 1e-6 / cell->median_ms;
}

void bert_bench_print_head(const bert_bench_report *report) {
    bert_output_print("%s on %s, %s, %s, %d threads, loaded in %.1f ms\n", report->model, report->provider,
                      report->precision, report->isa, report->threads, report->load_ms);
    bert_output_print("%6s %9s %11s %11s %11s %7s %12s %9s\n", "batch", "sequence", "median ms", "min ms", "p99 ms",
                      "runs", "tokens/s", "GFLOP/s");
}

static void print_shares(const bert_bench_share *shares, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += shares[i].ms;
    for (size_t i = 0; i < count; i++) {
        bert_output_print("    %10.4f ms %5.1f%% %5zu x  %s\n", shares[i].ms, sum > 0 ? 100 * shares[i].ms / sum : 0,
                          shares[i].calls, shares[i].name);
    }
}

void bert_bench_print_cell(const bert_bench_cell *cell) {
    bert_output_print("%6" PRId64 " %9" PRId64 " %11.4f %11.4f %11.4f %7zu %12.0f", cell->batch, cell->sequence,
                      cell->median_ms, cell->min_ms, cell->p99_ms, cell->runs, cell->tokens_per_s);
    if (cell->flops > 0) bert_output_print(" %9.1f", gflops(cell));
    bert_output_print("\n");
    if (cell->device_runs)
        bert_output_print("  on the device %.4f ms (median of %zu runs)\n", cell->device_median_ms, cell->device_runs);
    if (!cell->ops) return;
    bert_output_print("  by operator\n");
    print_shares(cell->ops, cell->op_count);
    bert_output_print("  by layer\n");
    print_shares(cell->layers, cell->layer_count);
}

static void write_measure(bert_json_out *json, const char *key, double value) {
    bert_json_out_key(json, key);
    bert_json_out_measure(json, value, 6);
}

static void write_integer(bert_json_out *json, const char *key, int64_t value) {
    bert_json_out_key(json, key);
    bert_json_out_integer(json, value);
}

static void write_text(bert_json_out *json, const char *key, const char *text) {
    bert_json_out_key(json, key);
    bert_json_out_text(json, text);
}

static void write_shares(bert_json_out *json, const char *key, const bert_bench_share *shares, size_t count) {
    bert_json_out_key(json, key);
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < count; i++) {
        bert_json_out_begin(json, '{');
        write_text(json, "name", shares[i].name);
        write_integer(json, "calls", (int64_t)shares[i].calls);
        write_measure(json, "ms", shares[i].ms);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

static void write_cell(bert_json_out *json, const bert_bench_cell *cell) {
    bert_json_out_begin(json, '{');
    write_integer(json, "batch", cell->batch);
    write_integer(json, "sequence", cell->sequence);
    write_integer(json, "tokens", cell->tokens);
    write_measure(json, "median_ms", cell->median_ms);
    write_measure(json, "min_ms", cell->min_ms);
    write_measure(json, "p99_ms", cell->p99_ms);
    write_integer(json, "runs", (int64_t)cell->runs);
    if (cell->device_runs) write_measure(json, "device_median_ms", cell->device_median_ms);
    write_measure(json, "tokens_per_s", cell->tokens_per_s);
    bert_json_out_key(json, "gflops");
    if (cell->flops > 0) {
        bert_json_out_measure(json, gflops(cell), 6);
    } else {
        bert_json_out_null(json);
    }
    if (cell->ops) {
        write_shares(json, "ops", cell->ops, cell->op_count);
        write_shares(json, "layers", cell->layers, cell->layer_count);
    }
    bert_json_out_end(json, '}');
}

void bert_bench_json(const bert_bench_report *report, bert_json_out *json) {
    bert_json_out_begin(json, '{');
    write_text(json, "model", report->model);
    write_text(json, "provider", report->provider);
    write_text(json, "precision", report->precision);
    write_integer(json, "threads", report->threads);
    write_text(json, "isa", report->isa);
    write_measure(json, "load_ms", report->load_ms);
    bert_json_out_key(json, "cells");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < report->cell_count; i++) write_cell(json, &report->cells[i]);
    bert_json_out_end(json, ']');
    write_measure(json, "peak_rss_mib", bert_bench_peak_rss_mib());
    bert_json_out_end(json, '}');
    bert_json_out_newline(json);
}
