#include "cli/trace.h"

#include "cli/json_out.h"
#include "core/base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs of a cell that are written: enough to see what varies, and a file that viewers open. */
enum { TRACED_RUNS = 10 };

struct bert_trace {
    const char *path;
    FILE *file;
    bert_json_out json;
    double clock;  /* Microseconds from the first event. */
    int64_t *sums; /* Nanoseconds of each kernel when the run before ended. */
    size_t sum_capacity;
    bool any;
};

bert_status bert_trace_open(const char *path, bert_trace **out, bert_error *error) {
    bert_trace *trace = calloc(1, sizeof *trace);
    if (!trace) return bert_fail_memory(error, sizeof *trace, "a trace");
    trace->path = path;
    trace->file = fopen(path, "w");
    if (!trace->file) {
        free(trace);
        return bert_fail(error, BERT_IO_ERROR, "cannot write '%s': %s", path, strerror(errno));
    }
    fputs("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n", trace->file);
    *out = trace;
    return BERT_OK;
}

static void write_member(bert_json_out *json, const char *key, const char *text) {
    bert_json_out_key(json, key);
    bert_json_out_text(json, text);
}

static void write_event(bert_trace *trace, const char *name, const char *category, double begin, double duration,
                        int thread, const bert_profile_entry *entry) {
    bert_json_out *json = &trace->json;
    bert_json_out_clear(json);
    bert_json_out_begin(json, '{');
    write_member(json, "name", name);
    write_member(json, "cat", category);
    write_member(json, "ph", "X");
    bert_json_out_key(json, "ts");
    bert_json_out_measure(json, begin, 15);
    bert_json_out_key(json, "dur");
    bert_json_out_measure(json, duration, 15);
    bert_json_out_key(json, "pid");
    bert_json_out_integer(json, 1);
    bert_json_out_key(json, "tid");
    bert_json_out_integer(json, thread);
    if (entry) {
        bert_json_out_key(json, "args");
        bert_json_out_begin(json, '{');
        write_member(json, "kernel", entry->kernel);
        write_member(json, "from", entry->origins);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, '}');
    fprintf(trace->file, "%s%s", trace->any ? ",\n" : "", json->text ? json->text : "");
    trace->any = true;
}

static bool reserve(bert_trace *trace, size_t count) {
    if (count <= trace->sum_capacity) return true;
    int64_t *sums = realloc(trace->sums, count * sizeof *sums);
    if (!sums) return false;
    trace->sums = sums;
    trace->sum_capacity = count;
    return true;
}

void bert_trace_run(bert_trace *trace, const bert_session *session, int64_t batch, int64_t sequence, size_t run) {
    size_t count;
    const bert_profile_entry *entries = bert_session_profile(session, &count);
    if (run >= TRACED_RUNS || !reserve(trace, count)) return;
    if (run == 0 && count) memset(trace->sums, 0, count * sizeof *trace->sums);
    double begin = trace->clock;
    for (size_t i = 0; i < count; i++) {
        double duration = (double)(entries[i].nanoseconds - trace->sums[i]) * 1e-3;
        write_event(trace, entries[i].node, entries[i].op_type, trace->clock, duration, 2, &entries[i]);
        trace->sums[i] = entries[i].nanoseconds;
        trace->clock += duration;
    }
    char name[96];
    snprintf(name, sizeof name, "%" PRId64 "x%" PRId64 " run %zu", batch, sequence, run);
    write_event(trace, name, "run", begin, trace->clock - begin, 1, NULL);
}

bert_status bert_trace_close(bert_trace *trace, bert_error *error) {
    if (!trace) return BERT_OK;
    fputs("\n]}\n", trace->file);
    bool failed = ferror(trace->file) || trace->json.failed;
    failed |= fclose(trace->file) != 0;
    bert_status status =
        failed ? bert_fail(error, BERT_IO_ERROR, "cannot write the trace to '%s'", trace->path) : BERT_OK;
    bert_json_out_free(&trace->json);
    free(trace->sums);
    free(trace);
    return status;
}
