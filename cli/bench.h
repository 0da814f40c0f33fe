/* What `bertc bench` measures and shows. */
#ifndef BERT_CLI_BENCH_H
#define BERT_CLI_BENCH_H

#include "cli/engine.h"
#include "cli/json_out.h"

/** Time of one kind of kernel, or of one layer, in one run on average. */
typedef struct bert_bench_share {
    char name[96];
    size_t calls; /**< Kernels in a run. */
    double ms;
} bert_bench_share;

#define BERT_MAX_SHARES 128

/** One batch and sequence. */
typedef struct bert_bench_cell {
    int64_t batch, sequence;
    int64_t tokens; /**< Real ones of the batch. */
    double *times;  /**< Milliseconds of each run, sorted. */
    size_t runs;
    double median_ms, min_ms, p99_ms, tokens_per_s;
    /* With --device-time: of runs whose time is known, and their median; 0: none is. */
    double *device_times;
    size_t device_runs;
    double device_median_ms;
    int64_t flops; /**< Of a run; 0 when none are counted. */
    /* With --profile. */
    bert_bench_share *ops, *layers; /**< NULL without. */
    size_t op_count, layer_count;
} bert_bench_cell;

typedef struct bert_bench_report {
    const char *model, *provider, *precision, *isa;
    int threads;
    double load_ms;
    bert_bench_cell *cells;
    size_t cell_count;
} bert_bench_report;

/** Median, least, 99th percentile (nearest rank) and tokens a second from the times, which it sorts. */
void bert_bench_summarize(bert_bench_cell *cell);
/** Sums the session's profile by operator and by layer. BERT_OUT_OF_MEMORY. */
bert_status bert_bench_profile(const bert_session *session, bert_bench_cell *cell, bert_error *error);
/** The greatest resident memory of this process so far, in MiB. */
double bert_bench_peak_rss_mib(void);

void bert_bench_print_head(const bert_bench_report *report);
void bert_bench_print_cell(const bert_bench_cell *cell);
void bert_bench_json(const bert_bench_report *report, bert_json_out *json);

#endif
