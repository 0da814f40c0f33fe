#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR_CELLS = 20 };
static const int64_t SECOND = 1000000000;
static const int64_t REDRAW_NANOSECONDS = 200 * 1000 * 1000;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

void bert_progress_begin(bert_progress *progress, bool wanted, size_t total_bytes) {
    bool shown = wanted && isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO);
    *progress = (bert_progress){.shown = shown, .total_bytes = total_bytes};
    if (shown) progress->began = progress->drawn = now();
}

/* "[#####---------------]  25 %  " */
static void put_bar(double part, char *out, size_t size) {
    char cells[BAR_CELLS + 1];
    for (int i = 0; i < BAR_CELLS; i++) cells[i] = i < (int)(part * BAR_CELLS) ? '#' : '-';
    cells[BAR_CELLS] = '\0';
    snprintf(out, size, "[%s] %3d %%  ", cells, (int)(part * 100));
}

/* "  1:02:03 left" */
static void put_time(double seconds, char *out, size_t size) {
    int64_t whole = seconds < 1e9 ? (int64_t)(seconds + 0.5) : 1000000000;
    int hours = (int)(whole / 3600);
    int minutes = (int)(whole / 60 % 60);
    int rest = (int)(whole % 60);
    if (hours) {
        snprintf(out, size, "  %d:%02d:%02d left", hours, minutes, rest);
    } else {
        snprintf(out, size, "  %d:%02d left", minutes, rest);
    }
}

static void draw(const bert_progress *progress, int64_t time) {
    char bar[BAR_CELLS + 16] = "";
    char rate[40];
    char left[32] = "";
    double seconds = (double)(time - progress->began) / (double)SECOND;
    double speed = (double)(progress->tokens ? progress->tokens : progress->texts) / seconds;
    snprintf(rate, sizeof rate, "%.*f %s/s", speed < 10 ? 1 : 0, speed, progress->tokens ? "tokens" : "texts");
    if (progress->total_bytes > 0 && progress->bytes > 0) {
        double part = (double)progress->bytes / (double)progress->total_bytes;
        if (part > 1) part = 1; /* the file has grown */
        put_bar(part, bar, sizeof bar);
        put_time(seconds / part - seconds, left, sizeof left);
    }
    fprintf(stderr, "\r%s%zu texts  %s%s\x1b[K", bar, progress->texts, rate, left);
    fflush(stderr);
}

void bert_progress_add(bert_progress *progress, size_t texts, size_t tokens, size_t bytes) {
    progress->texts += texts;
    progress->tokens += tokens;
    progress->bytes += bytes;
    if (!progress->shown) return;
    int64_t time = now();
    if (time - progress->drawn < REDRAW_NANOSECONDS) return;
    progress->drawn = time;
    draw(progress, time);
}

void bert_progress_end(bert_progress *progress) {
    if (!progress->shown) return;
    fputs("\r\x1b[K", stderr);
    fflush(stderr);
    progress->shown = false;
}
