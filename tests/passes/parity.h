/* Runs a model with and without passes on the same inputs, or profiled. */
#ifndef BERT_TESTS_PASSES_PARITY_H
#define BERT_TESTS_PASSES_PARITY_H

#include "core/passes/pass.h"
#include "core/runtime/model.h"

#include <bert/session.h>

/** The loader, the passes and the reference backend alone. */
extern const bert_composition parity_composition;

/**
 * Loads the model at `path` twice and runs both on inputs made up for their names: ids, types, and masks that keep a
 * different number of tokens in each row, the last one none (with `empty_row`). Gives the greatest difference of any
 * output, relative to its greatest magnitude or 1.
 */
bert_status parity_run(const char *path, int64_t batch, int64_t sequence, bool empty_row, double *worst,
                       bert_error *error);

/** What a run executed; until parity_profile_end. */
typedef struct parity_profile {
    struct parity_session *session;
    const bert_model *model;
    const bert_profile_entry *entries;
    size_t count;
    bert_session_memory memory;
} parity_profile;

/** Runs the model once as the library loads it, with passes, on the cpu backend, and tells what was executed. */
bert_status parity_profile_run(const char *path, int64_t batch, int64_t sequence, parity_profile *out,
                               bert_error *error);
void parity_profile_end(parity_profile *profile);

#endif
