/*
 * What the environment says to the CUDA provider: all of its variables.
 *
 *   BERT_CUDA_LINEAR          "library" or "own": followed_product.h
 *   BERT_CUDA_LAUNCH_AHEAD    "off": launch.h
 *   BERT_CUDA_LATE_NORM       "off": device.h
 *   BERT_CUDA_GEMM_CACHE      a path, or "off": gemm_cache.h
 *
 * The first three take words. One that isn't known has no effect, and backend.c gives a notice of it. The last has no
 * part in that: whatever isn't "off" is a path.
 */
#ifndef BERT_CUDA_ENVIRONMENT_H
#define BERT_CUDA_ENVIRONMENT_H

#include <stdlib.h>
#include <string.h>

/** The variables that take words. */
typedef enum bert_cuda_variable {
    BERT_CUDA_LINEAR,
    BERT_CUDA_LAUNCH_AHEAD,
    BERT_CUDA_LATE_NORM,
    BERT_CUDA_VARIABLES /**< How many there are. */
} bert_cuda_variable;

/** What a variable says. */
typedef enum bert_cuda_said {
    BERT_CUDA_SAYS_NOTHING, /**< It is not set, or empty. */
    BERT_CUDA_SAYS_SOMETHING_ELSE,
    BERT_CUDA_LINEAR_LIBRARY,
    BERT_CUDA_LINEAR_OWN,
    BERT_CUDA_LAUNCH_AHEAD_OFF,
    BERT_CUDA_LATE_NORM_OFF
} bert_cuda_said;

typedef struct bert_cuda_word {
    bert_cuda_variable variable;
    const char *variable_name, *text;
    bert_cuda_said said;
} bert_cuda_word;

/** Word `i` of all variables' words; NULL behind the last. */
static inline const bert_cuda_word *bert_cuda_word_at(size_t i) {
    static const bert_cuda_word words[] = {
        {BERT_CUDA_LINEAR, "BERT_CUDA_LINEAR", "library", BERT_CUDA_LINEAR_LIBRARY},
        {BERT_CUDA_LINEAR, "BERT_CUDA_LINEAR", "own", BERT_CUDA_LINEAR_OWN},
        {BERT_CUDA_LAUNCH_AHEAD, "BERT_CUDA_LAUNCH_AHEAD", "off", BERT_CUDA_LAUNCH_AHEAD_OFF},
        {BERT_CUDA_LATE_NORM, "BERT_CUDA_LATE_NORM", "off", BERT_CUDA_LATE_NORM_OFF}};
    return i < sizeof words / sizeof *words ? &words[i] : NULL;
}

static inline bert_cuda_said bert_cuda_environment_says(bert_cuda_variable variable) {
    const bert_cuda_word *word;
    for (size_t i = 0; (word = bert_cuda_word_at(i)) != NULL; i++) {
        if (word->variable != variable) continue;
        const char *value = getenv(word->variable_name);
        if (!value || !value[0]) return BERT_CUDA_SAYS_NOTHING;
        if (strcmp(value, word->text) == 0) return word->said;
    }
    return BERT_CUDA_SAYS_SOMETHING_ELSE;
}

/** BERT_CUDA_GEMM_CACHE; NULL: it is not set. */
static inline const char *bert_cuda_environment_choices(void) {
    return getenv("BERT_CUDA_GEMM_CACHE");
}

#endif
