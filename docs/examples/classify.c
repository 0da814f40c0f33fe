/* Classifies texts: classify MODEL TEXT ... */
#include <bert/bert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const bert_error *error) {
    fprintf(stderr, "%s\n", error->message);
    return 1;
}

int main(int argc, char **argv) {
    bert_error error;
    bert_pipeline *pipeline;
    bert_answers *answers;
    if (argc < 3) {
        fprintf(stderr, "usage: classify MODEL TEXT ...\n");
        return 2;
    }
    size_t count = (size_t)argc - 2;
    bert_text *texts = calloc(count, sizeof *texts);
    if (!texts) return 1;
    for (size_t i = 0; i < count; i++) texts[i] = (bert_text){.text = argv[i + 2], .text_length = strlen(argv[i + 2])};

    if (bert_pipeline_load(BERT_TASK_TEXT_CLASSIFICATION, argv[1], NULL, &pipeline, &error)) return fail(&error);
    if (bert_pipeline_run(pipeline, texts, count, NULL, &answers, &error)) return fail(&error);
    for (size_t i = 0; i < count; i++) {
        const bert_answer *answer = bert_answers_get(answers, i);
        if (answer->sentence) {
            printf("%s: %s\n", argv[i + 2], answer->sentence);
        } else {
            const char *label = bert_pipeline_label(pipeline, answer->label);
            printf("%s: %s, %.1f %%\n", argv[i + 2], label, 100 * answer->scores[answer->label]);
        }
    }
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
    free(texts);
    return 0;
}
