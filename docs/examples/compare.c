/* How alike two sentences are, by the cosine of their embeddings: compare MODEL SENTENCE SENTENCE */
#include <bert/bert.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *sentence) {
    fprintf(stderr, "%s\n", sentence);
    return 1;
}

int main(int argc, char **argv) {
    bert_error error;
    bert_pipeline *pipeline;
    bert_answers *answers;
    if (argc != 4) return fail("usage: compare MODEL SENTENCE SENTENCE");

    /* Pooling and length come from the model's own files, where it has them; vectors are of length 1 here anyway. */
    bert_pipeline_options options = {.struct_size = sizeof options, .normalize = BERT_ON};
    if (bert_pipeline_load(BERT_TASK_FEATURE_EXTRACTION, argv[1], &options, &pipeline, &error)) {
        return fail(error.message);
    }
    bert_text texts[2] = {{.text = argv[2], .text_length = strlen(argv[2])},
                          {.text = argv[3], .text_length = strlen(argv[3])}};
    if (bert_pipeline_run(pipeline, texts, 2, NULL, &answers, &error)) return fail(error.message);

    const bert_answer *first = bert_answers_get(answers, 0);
    const bert_answer *second = bert_answers_get(answers, 1);
    if (first->sentence || second->sentence) return fail(first->sentence ? first->sentence : second->sentence);
    double cosine = 0;
    for (size_t i = 0; i < first->width; i++) cosine += (double)first->embedding[i] * second->embedding[i];
    printf("%.4f\n", cosine);

    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
    return 0;
}
