/* Answers a question from a context of any length: answer MODEL QUESTION CONTEXT */
#include <bert/bert.h>
#include <inttypes.h>
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
    if (argc != 4) return fail("usage: answer MODEL QUESTION CONTEXT");

    bert_pipeline_options options = {.struct_size = sizeof options, .top_k = 3, .impossible_answers = true};
    if (bert_pipeline_load(BERT_TASK_QUESTION_ANSWERING, argv[1], &options, &pipeline, &error)) {
        return fail(error.message);
    }
    bert_text text = {argv[2], strlen(argv[2]), argv[3], strlen(argv[3])};
    if (bert_pipeline_run(pipeline, &text, 1, NULL, &answers, &error)) return fail(error.message);

    const bert_answer *answer = bert_answers_get(answers, 0);
    if (answer->sentence) return fail(answer->sentence);
    for (size_t i = 0; i < answer->span_count; i++) {
        const bert_span *span = &answer->spans[i];
        printf("%.4f  %s  (characters %" PRId64 " to %" PRId64 ")\n", span->score,
               span->text_length ? span->text : "no answer", span->start, span->end);
    }
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
    return 0;
}
