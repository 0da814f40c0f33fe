/*
 * Extractive question answering: start and end logits of [batch, sequence] to spans of the context, as transformers'
 * QuestionAnsweringPipeline finds them: softmax over the context's tokens and [CLS], the best products of a start and
 * an end within the greatest length, widened to whole words, equal answers of all windows added up.
 */
#include "core/base/error.h"
#include "pipelines/lower_case.h"
#include "pipelines/pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_ANSWER_LENGTH = 15 };

/* From a start token to an end token. */
typedef struct candidate {
    double score;
    size_t first, last;
} candidate;

/* What a window gave: spans in code points of the context, best first, and the score of no answer. */
typedef struct window_spans {
    struct {
        double score;
        int64_t start, end;
    } * spans;
    size_t count;
    double null_score;
} window_spans;

static bert_status prepare(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    pipeline->top_k = options->top_k ? (size_t)options->top_k : 1;
    pipeline->max_answer_length = options->max_answer_length ? options->max_answer_length : DEFAULT_ANSWER_LENGTH;
    pipeline->impossible_answers = options->impossible_answers;
    pipeline->answers_within_words = options->answers_within_words;
    return BERT_OK;
}

static bert_status accept(const bert_pipeline *pipeline, const bert_text *text, bert_error *error) {
    if (!text->pair) {
        return bert_fail(error, BERT_INVALID_INPUT,
                         "question answering takes a question and a context, but there is "
                         "one text");
    }
    if (text->text_length == 0) return bert_fail(error, BERT_INVALID_INPUT, "the question is empty");
    if (text->pair_length == 0) return bert_fail(error, BERT_INVALID_INPUT, "the context is empty");
    return BERT_OK;
}

static bert_status check(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error) {
    BERT_TRY(bert_check_output(pipeline, outputs, 0, 2, "float start logits of [batch, sequence]", error));
    BERT_TRY(bert_check_output(pipeline, outputs, 1, 2, "float end logits of [batch, sequence]", error));
    if (outputs[0].dims[0] == outputs[1].dims[0] && outputs[0].dims[1] == outputs[1].dims[1]) return BERT_OK;
    return bert_fail(error, BERT_INVALID_MODEL, "the start logits and the end logits differ in shape");
}

/* Tokens that count: the context's, and [CLS], which stands for no answer. */
static bool counts(const bert_row_reading *reading, size_t token) {
    int32_t cls = bert_tokenizer_special_ids(reading->pipeline->tokenizer).cls;
    const bert_text_row *row = reading->row;
    return row->sequences[token] == 1 || (row->special[token] && row->ids[token] == cls);
}

/* Probabilities of the row's tokens, others being as good as out. */
static void probabilities(const bert_row_reading *reading, const bert_tensor *logits, double *out) {
    size_t length = reading->row->length;
    bert_output_values(logits, reading->at * logits->dims[1] + reading->first, length, out);
    for (size_t t = 0; t < length; t++) {
        if (!counts(reading, t)) out[t] = -10000;
    }
    bert_softmax(out, out, length);
}

static void compete(candidate *best, size_t *count, size_t most, candidate span) {
    size_t at = *count;
    if (at == most && !(span.score > best[at - 1].score)) return;
    if (at == most) at--;
    while (at > 0 && span.score > best[at - 1].score) {
        best[at] = best[at - 1];
        at--;
    }
    best[at] = span;
    if (*count < most) ++*count;
}

/* Spans whose probability is 0 are no answers. */
static size_t best_spans(const bert_row_reading *reading, const double *start, const double *end, candidate *best,
                         size_t most) {
    size_t length = reading->row->length, count = 0;
    uint64_t reach = (uint64_t)reading->pipeline->max_answer_length;
    for (size_t s = 0; s < length; s++) {
        if (!(start[s] > 0) || !counts(reading, s)) continue;
        for (size_t e = s; e < length && e - s < reach; e++) {
            double score = start[s] * end[e];
            if (score > 0 && counts(reading, e)) compete(best, &count, most, (candidate){score, s, e});
        }
    }
    return count;
}

/* In code points; unless answers may end within words, from the first token's word to the last one's. */
static void place(const bert_row_reading *reading, const candidate *span, int64_t *start, int64_t *end) {
    const bert_text_row *row = reading->row;
    size_t first = span->first, last = span->last;
    if (!reading->pipeline->answers_within_words && row->words[first] >= 0 && row->words[last] >= 0) {
        while (first > 0 && row->sequences[first - 1] == 1 && row->words[first - 1] == row->words[first]) first--;
        while (last + 1 < row->length && row->sequences[last + 1] == 1 && row->words[last + 1] == row->words[last]) {
            last++;
        }
    }
    *start = row->starts[first];
    *end = row->ends[last];
}

static bert_status read(const bert_row_reading *reading, bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    size_t length = reading->row->length, most = pipeline->top_k, pairs;
    /* Some of them become equal when they are widened. */
    if (!pipeline->answers_within_words) most = 2 * most + 10;
    if (!bert_size_multiply(length, length, &pairs)) pairs = SIZE_MAX;
    if (most > pairs) most = pairs;
    window_spans *window = BERT_ARENA_NEW(reading->scratch, window_spans);
    candidate *best = BERT_ARENA_NEW_ARRAY(reading->scratch, candidate, most);
    double *start = BERT_ARENA_NEW_ARRAY(reading->scratch, double, 2 * length), *end = start + length;
    if (!window || !best || !start) return bert_fail_memory(error, most * sizeof *best, "answers");
    probabilities(reading, &reading->outputs[0], start);
    probabilities(reading, &reading->outputs[1], end);
    window->null_score = start[0] * end[0];
    start[0] = end[0] = 0;
    window->count = best_spans(reading, start, end, best, most);
    window->spans = bert_arena_array(reading->scratch, window->count, sizeof *window->spans);
    if (!window->spans) return bert_fail_memory(error, window->count * sizeof *window->spans, "answers");
    for (size_t i = 0; i < window->count; i++) {
        window->spans[i].score = best[i].score;
        place(reading, &best[i], &window->spans[i].start, &window->spans[i].end);
    }
    *reading->partial = window;
    return BERT_OK;
}

/* ---- Windows to answers ----------------------------------------------------------------------------------------- */

/* Equal answers count once, with the sum of their scores. */
static void add_span(bert_span *answers, size_t *count, double score, int64_t start, int64_t end, const char *text,
                     size_t length) {
    for (size_t i = 0; i < *count; i++) {
        if (bert_equal_in_lower_case(answers[i].text, answers[i].text_length, text, length)) {
            answers[i].score += score;
            return;
        }
    }
    answers[(*count)++] = (bert_span){.score = score, .start = start, .end = end, .text = text, .text_length = length};
}

/* Stable, best first: there are few. */
static void sort(bert_span *answers, size_t count) {
    for (size_t i = 1; i < count; i++) {
        bert_span moved = answers[i];
        size_t at = i;
        for (; at > 0 && moved.score > answers[at - 1].score; at--) answers[at] = answers[at - 1];
        answers[at] = moved;
    }
}

/* The answers keep their own copies of what they quote. */
static bert_status keep(const bert_text_reading *reading, const bert_span *answers, size_t count, bert_error *error) {
    bert_span *spans = BERT_ARENA_NEW_ARRAY(reading->arena, bert_span, count);
    if (!spans) return bert_fail_memory(error, count * sizeof *spans, "answers");
    for (size_t i = 0; i < count; i++) {
        spans[i] = answers[i];
        spans[i].text = bert_arena_string(reading->arena, answers[i].text, answers[i].text_length);
        if (!spans[i].text) return bert_fail_memory(error, answers[i].text_length, "an answer");
    }
    reading->answer->spans = spans;
    reading->answer->span_count = count;
    return BERT_OK;
}

static bert_status finish(const bert_text_reading *reading, bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    size_t total = 1, count = 0;
    double null_score = INFINITY;
    for (size_t r = 0; r < reading->rows; r++) total += ((const window_spans *)reading->partials[r])->count;
    bert_span *answers = BERT_ARENA_NEW_ARRAY(reading->scratch, bert_span, total);
    if (!answers) return bert_fail_memory(error, total * sizeof *answers, "answers");
    bert_code_points points = {.text = reading->text->pair, .length = reading->text->pair_length};
    for (size_t r = 0; r < reading->rows; r++) {
        const window_spans *window = reading->partials[r];
        if (window->null_score < null_score) null_score = window->null_score;
        for (size_t i = 0; i < window->count; i++) {
            size_t length;
            int64_t start = window->spans[i].start, end = window->spans[i].end;
            const char *text = bert_code_points_slice(&points, start, end, &length);
            add_span(answers, &count, window->spans[i].score, start, end, text, length);
        }
    }
    if (pipeline->impossible_answers || count == 0) {
        answers[count++] = (bert_span){.score = pipeline->impossible_answers ? null_score : 0, .text = ""};
    }
    sort(answers, count);
    return keep(reading, answers, count < pipeline->top_k ? count : pipeline->top_k, error);
}

const bert_task_rules bert_question_answering_rules = {
    .prepare = prepare, .accept = accept, .check = check, .read = read, .finish = finish};
