/*
 * What the environment says to the CUDA provider: all of its variables.
 *
 *   BERT_CUDA_GEMM_CACHE      a path, or "off": gemm_cache.h
 *   BERT_CUDA_LINEAR          "library" or "own": followed_product.h
 *   BERT_CUDA_LAUNCH_AHEAD    "off": launch.h
 *
 * A word that isn't known has no effect; backend.c gives a notice of it.
 */
#ifndef BERT_CUDA_ENVIRONMENT_H
#define BERT_CUDA_ENVIRONMENT_H

#include <stdlib.h>
#include <string.h>

/** A variable that takes words. */
typedef struct bert_cuda_variable {
    const char *name;
    const char *words[2]; /**< NULL: there is no second one. */
} bert_cuda_variable;

enum { BERT_CUDA_LINEAR, BERT_CUDA_LAUNCH_AHEAD, BERT_CUDA_VARIABLES };

static inline const bert_cuda_variable *bert_cuda_variable_at(int which) {
    static const bert_cuda_variable variables[BERT_CUDA_VARIABLES] = {{"BERT_CUDA_LINEAR", {"library", "own"}},
                                                                      {"BERT_CUDA_LAUNCH_AHEAD", {"off", NULL}}};
    return &variables[which];
}

/** What a variable says: its words, in their order. */
enum {
    BERT_CUDA_SAYS_NOTHING = 0, /**< It is not set, or empty. */
    BERT_CUDA_LINEAR_LIBRARY = 1,
    BERT_CUDA_LINEAR_OWN = 2,
    BERT_CUDA_LAUNCH_AHEAD_OFF = 1,
    BERT_CUDA_SAYS_SOMETHING_ELSE = 3 /**< Than its words. */
};

static inline int bert_cuda_environment_says(int which) {
    const bert_cuda_variable *variable = bert_cuda_variable_at(which);
    const char *value = getenv(variable->name);
    if (!value || !value[0]) return BERT_CUDA_SAYS_NOTHING;
    for (int i = 0; i < 2 && variable->words[i]; i++)
        if (strcmp(value, variable->words[i]) == 0) return i + 1;
    return BERT_CUDA_SAYS_SOMETHING_ELSE;
}

/** BERT_CUDA_GEMM_CACHE; NULL: it is not set. */
static inline const char *bert_cuda_environment_choices(void) {
    return getenv("BERT_CUDA_GEMM_CACHE");
}

#endif
