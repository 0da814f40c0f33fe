/*
 * How sessions that run at once on threads of their own scale: sequences a second of 1, 2, ... sessions of one thread
 * each, over one model.
 *
 *   concurrent_sessions MODEL.onnx [SEQUENCE [SESSIONS [SECONDS]]]      default: 128 tokens, 2 sessions, 2 seconds
 *
 * Inputs are [1, SEQUENCE]: ids count from 1 on, masks are ones, the rest zeros. Numbers of sessions take turns, three
 * rounds; the best round of each counts, since what disturbs only slows down.
 */
#include <bert/bert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_INPUTS = 8, MOST_SESSIONS = 64, ROUNDS = 3 };

typedef struct settings {
    const char *model;
    int64_t sequence;
    int sessions;
    double seconds;
} settings;

/* One session and the thread that runs it. */
typedef struct worker {
    bert_session *session;
    bert_named_tensor inputs[MOST_INPUTS];
    size_t input_count;
    const char *output;
    const atomic_bool *stop;
    int64_t runs;
    bert_error error;
    bool failed;
} worker;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool make_inputs(const bert_model *model, int64_t sequence, worker *w) {
    w->input_count = bert_model_input_count(model);
    if (w->input_count > MOST_INPUTS) return false;
    for (size_t i = 0; i < w->input_count; i++) {
        bert_model_tensor declared;
        if (bert_model_input(model, i, &declared)) return false;
        if (declared.dtype != BERT_INT64 && declared.dtype != BERT_INT32) return false;
        const bool mask = strstr(declared.name, "mask"), type = strstr(declared.name, "type");
        void *data = calloc((size_t)sequence, sizeof(int64_t));
        if (!data) return false;
        for (int64_t t = 0; t < sequence; t++) {
            const int64_t value = mask ? 1 : type ? 0 : 1 + t;
            if (declared.dtype == BERT_INT64)
                ((int64_t *)data)[t] = value;
            else
                ((int32_t *)data)[t] = (int32_t)value;
        }
        w->inputs[i] = (bert_named_tensor){
            .name = declared.name, .tensor = {.dtype = declared.dtype, .rank = 2, .dims = {1, sequence}, .data = data}};
    }
    bert_model_tensor declared;
    if (bert_model_output(model, 0, &declared)) return false;
    w->output = declared.name;
    return true;
}

static bool run_once(worker *w) {
    bert_named_tensor output = {.name = w->output};
    return bert_session_run(w->session, NULL, w->inputs, w->input_count, &output, 1, &w->error) == BERT_OK;
}

static void *run_worker(void *argument) {
    worker *w = argument;
    do { /* once even where the time is over before the thread got to run */
        w->failed = !run_once(w);
        w->runs++;
    } while (!w->failed && !atomic_load(w->stop));
    return NULL;
}

/* The first `count` workers together for so many seconds: runs a second of all, 0 where one failed, which is said. */
static double measure(worker *workers, int count, double seconds) {
    atomic_bool stop = false;
    pthread_t threads[MOST_SESSIONS];
    int started = 0;
    const double begin = now();
    for (; started < count; started++) {
        workers[started].stop = &stop;
        workers[started].runs = 0;
        if (pthread_create(&threads[started], NULL, run_worker, &workers[started])) break;
    }
    const struct timespec pause = {.tv_sec = (time_t)seconds,
                                   .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds))};
    nanosleep(&pause, NULL);
    atomic_store(&stop, true);
    int64_t runs = 0;
    if (started < count) fprintf(stderr, "thread %d could not be started\n", started + 1);
    bool failed = started < count;
    for (int i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        runs += workers[i].runs;
        if (workers[i].failed) fprintf(stderr, "session %d failed: %s\n", i + 1, workers[i].error.message);
        failed = failed || workers[i].failed;
    }
    return failed ? 0.0 : (double)runs / (now() - begin);
}

static int report(worker *workers, const settings *s) {
    double best[MOST_SESSIONS] = {0.0};
    for (int round = 0; round < ROUNDS; round++) {
        for (int count = 1; count <= s->sessions; count++) {
            const double rate = measure(workers, count, s->seconds);
            if (rate == 0.0) return 1;
            if (rate > best[count - 1]) best[count - 1] = rate;
        }
    }
    printf("| sessions | sequences of %lld tokens a second | times one |\n|---|---|---|\n", (long long)s->sequence);
    for (int count = 1; count <= s->sessions; count++)
        printf("| %d | %.2f | %.2f |\n", count, best[count - 1], best[count - 1] / best[0]);
    return 0;
}

static int run(const bert_model *model, const settings *s, worker *workers) {
    for (int i = 0; i < s->sessions; i++) {
        worker *w = &workers[i];
        if (!make_inputs(model, s->sequence, w)) {
            fprintf(stderr, "the model takes other inputs than whole numbers of [batch, sequence]\n");
            return 1;
        }
        if (bert_session_create((bert_model *)model, NULL, &w->session, &w->error) || !run_once(w)) {
            fprintf(stderr, "%s\n", w->error.message);
            return 1;
        }
    }
    return report(workers, s);
}

int main(int argc, char **argv) {
    settings s = {.sequence = 128, .sessions = 2, .seconds = 2.0};
    if (argc > 1) s.model = argv[1];
    if (argc > 2) s.sequence = atoll(argv[2]);
    if (argc > 3) s.sessions = atoi(argv[3]);
    if (argc > 4) s.seconds = atof(argv[4]);
    if (!s.model || argc > 5 || s.sequence < 1 || s.sessions < 1 || s.sessions > MOST_SESSIONS || s.seconds <= 0.0) {
        fprintf(stderr, "usage: concurrent_sessions MODEL.onnx [SEQUENCE [SESSIONS (at most %d) [SECONDS]]]\n",
                MOST_SESSIONS);
        return 2;
    }
    bert_error error;
    bert_model *model;
    if (bert_model_load(s.model, NULL, &model, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    static worker workers[MOST_SESSIONS];
    const int status = run(model, &s, workers);
    for (int i = 0; i < s.sessions; i++) {
        bert_session_free(workers[i].session);
        for (size_t j = 0; j < MOST_INPUTS; j++) free(workers[i].inputs[j].tensor.data);
    }
    bert_model_free(model);
    return status;
}
