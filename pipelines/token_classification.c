/*
 * Token classification: logits of [batch, sequence, labels] to entities, aggregated as transformers'
 * TokenClassificationPipeline does: tokens to words (first, average, max), neighbours of one label to entities, windows
 * to one list.
 */
#include "core/base/error.h"
#include "core/base/utf8.h"
#include "pipelines/pipeline.h"

#include <stdlib.h>
#include <string.h>

/* A token, or a word of several, with what the model thinks of it. */
typedef struct labelled {
    bert_token_text word;
    const double *scores; /* All labels'; tokens only. */
    double score;         /* Of `label`. */
    size_t label;
    int64_t index, start, end;
    bool continues; /* A word that the token before began. */
} labelled;

/* What a row gave. */
typedef struct row_labels {
    labelled *items;
    size_t count;
    size_t label_count;
} row_labels;

/* The entities of a text, in the scratch arena while they are put together. */
typedef struct entity_list {
    const bert_pipeline *pipeline;
    bert_arena *arena;
    bert_entity *items;
    size_t count;
} entity_list;

static bert_status prepare(bert_pipeline *pipeline, const bert_pipeline_options *options, bert_error *error) {
    static const char *const outside[] = {"O"};
    const char *const *ignored = options->ignore_labels ? options->ignore_labels : outside;
    size_t count = options->ignore_labels ? options->ignore_label_count : 1;
    if (options->aggregation < BERT_AGGREGATION_NONE || options->aggregation > BERT_AGGREGATION_MAX) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "%d is not a bert_aggregation", (int)options->aggregation);
    }
    pipeline->aggregation = options->aggregation;
    pipeline->ignore_labels = BERT_ARENA_NEW_ARRAY(&pipeline->arena, const char *, count);
    if (!pipeline->ignore_labels) return bert_fail_memory(error, count, "labels to ignore");
    for (size_t i = 0; i < count; i++) {
        pipeline->ignore_labels[i] = bert_arena_string(&pipeline->arena, ignored[i], strlen(ignored[i]));
        if (!pipeline->ignore_labels[i]) return bert_fail_memory(error, strlen(ignored[i]), "a label to ignore");
    }
    pipeline->ignore_label_count = count;
    return BERT_OK;
}

static bert_status accept(const bert_pipeline *pipeline, const bert_text *text, bert_error *error) {
    if (!text->pair) return BERT_OK;
    return bert_fail(error, BERT_INVALID_INPUT, "token classification takes one text, not a pair");
}

static bert_status check(const bert_pipeline *pipeline, const bert_tensor *outputs, bert_error *error) {
    return bert_check_output(pipeline, outputs, 0, 3, "float logits of [batch, sequence, labels]", error);
}

static int64_t count_code_points(const char *text, size_t length) {
    int64_t count = 0;
    for (size_t i = 0; i < length; i += bert_utf8_length((unsigned char)text[i])) count++;
    return count;
}

/* Whether a token goes on with the word of the one before: the vocabulary's spelling is longer than the text's. */
static bool continues_word(const bert_pipeline *pipeline, bert_code_points *points, const labelled *token) {
    if (pipeline->tokenizer->marks_pieces) {
        return count_code_points(token->word.text, token->word.length) != token->end - token->start;
    }
    /* The vocabulary does not mark pieces that go on: those without a space before them do. */
    if (token->start == 0) return false;
    size_t length;
    const char *around = bert_code_points_slice(points, token->start - 1, token->start + 1, &length);
    return !memchr(around, ' ', length);
}

static bert_status read_token(const bert_row_reading *reading, size_t at, bert_code_points *points, labelled *out,
                              bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    const bert_text_row *row = reading->row;
    const bert_tensor *logits = reading->outputs;
    size_t labels = (size_t)logits->dims[2];
    double *scores = BERT_ARENA_NEW_ARRAY(reading->scratch, double, labels);
    if (!scores) return bert_fail_memory(error, labels * sizeof *scores, "scores of labels");
    int64_t position = reading->at * logits->dims[1] + reading->first + (int64_t)at;
    bert_output_values(logits, position * (int64_t)labels, labels, scores);
    bert_softmax(scores, scores, labels);
    *out = (labelled){.scores = scores,
                      .label = bert_greatest(scores, labels),
                      .index = (int64_t)at,
                      .start = row->starts[at],
                      .end = row->ends[at]};
    out->score = scores[out->label];
    out->word.text = bert_tokenizer_token(pipeline->tokenizer, row->ids[at], &out->word.length);
    if (!out->word.text) out->word = (bert_token_text){"", 0};
    out->continues = continues_word(pipeline, points, out);
    if (row->ids[at] == bert_tokenizer_special_ids(pipeline->tokenizer).unk) {
        const char *source = bert_code_points_slice(points, out->start, out->end, &out->word.length);
        out->word.text = bert_arena_string(reading->scratch, source, out->word.length);
        if (!out->word.text) return bert_fail_memory(error, out->word.length, "a word");
        out->continues = false;
    }
    return BERT_OK;
}

static bert_status read(const bert_row_reading *reading, bert_error *error) {
    const bert_text_row *row = reading->row;
    row_labels *labels = BERT_ARENA_NEW(reading->scratch, row_labels);
    bert_code_points points = {.text = reading->text->text, .length = reading->text->text_length};
    if (!labels) return bert_fail_memory(error, sizeof *labels, "labels of tokens");
    labels->items = BERT_ARENA_NEW_ARRAY(reading->scratch, labelled, row->length);
    if (!labels->items) return bert_fail_memory(error, row->length * sizeof *labels->items, "labels of tokens");
    labels->label_count = (size_t)reading->outputs->dims[2];
    for (size_t t = 0; t < row->length; t++) {
        if (row->special[t]) continue;
        BERT_TRY(read_token(reading, t, &points, &labels->items[labels->count++], error));
    }
    *reading->partial = labels;
    return BERT_OK;
}

/* ---- Tokens to words -------------------------------------------------------------------------------------------- */

/* The words of `items` as one text. */
static bert_status join(const bert_pipeline *pipeline, bert_arena *arena, const labelled *items, size_t count,
                        bert_token_text *out, bert_error *error) {
    bert_token_text *words = BERT_ARENA_NEW_ARRAY(arena, bert_token_text, count);
    if (!words) return bert_fail_memory(error, count * sizeof *words, "the words of an entity");
    for (size_t i = 0; i < count; i++) words[i] = items[i].word;
    size_t length = bert_tokenizer_join(pipeline->tokenizer, words, count, NULL, 0);
    char *text = bert_arena_array(arena, length + 1, 1);
    if (!text) return bert_fail_memory(error, length, "the words of an entity");
    bert_tokenizer_join(pipeline->tokenizer, words, count, text, length + 1);
    *out = (bert_token_text){text, length};
    return BERT_OK;
}

static bert_status average(bert_arena *arena, const labelled *tokens, size_t count, size_t label_count, labelled *word,
                           bert_error *error) {
    double *means = BERT_ARENA_NEW_ARRAY(arena, double, label_count);
    if (!means) return bert_fail_memory(error, label_count * sizeof *means, "scores of labels");
    for (size_t t = 0; t < count; t++) {
        for (size_t i = 0; i < label_count; i++) means[i] += tokens[t].scores[i] / (double)count;
    }
    word->label = bert_greatest(means, label_count);
    word->score = means[word->label];
    return BERT_OK;
}

/* The tokens of one word, which agree on a label from here on. */
static bert_status make_word(const bert_pipeline *pipeline, bert_arena *arena, const labelled *tokens, size_t count,
                             size_t label_count, labelled *word, bert_error *error) {
    const labelled *chosen = tokens;
    bert_token_text text;
    for (size_t t = 1; pipeline->aggregation == BERT_AGGREGATION_MAX && t < count; t++) {
        if (tokens[t].score > chosen->score) chosen = &tokens[t];
    }
    BERT_TRY(join(pipeline, arena, tokens, count, &text, error));
    labelled made = *chosen;
    made.word = text;
    made.start = tokens[0].start;
    made.end = tokens[count - 1].end;
    if (pipeline->aggregation == BERT_AGGREGATION_AVERAGE) {
        BERT_TRY(average(arena, tokens, count, label_count, &made, error));
    }
    *word = made;
    return BERT_OK;
}

/* In place: there are at most as many words as tokens. */
static bert_status tokens_to_words(const bert_pipeline *pipeline, bert_arena *arena, row_labels *labels,
                                   bert_error *error) {
    size_t words = 0;
    for (size_t begin = 0; begin < labels->count;) {
        size_t end = begin + 1;
        while (end < labels->count && labels->items[end].continues) end++;
        BERT_TRY(make_word(pipeline, arena, labels->items + begin, end - begin, labels->label_count,
                           &labels->items[words++], error));
        begin = end;
    }
    labels->count = words;
    return BERT_OK;
}

/* ---- Words to entities ------------------------------------------------------------------------------------------ */

static bool is_ignored(const bert_pipeline *pipeline, const char *label) {
    for (size_t i = 0; i < pipeline->ignore_label_count; i++) {
        if (strcmp(pipeline->ignore_labels[i], label) == 0) return true;
    }
    return false;
}

static bert_status name_label(entity_list *list, size_t label, const char **out, bert_error *error) {
    *out = bert_pipeline_label(list->pipeline, label);
    if (!*out) *out = bert_arena_format(list->arena, "LABEL_%zu", label);
    return *out ? BERT_OK : bert_fail_memory(error, sizeof "LABEL_", "a label");
}

static bert_status add_entity(entity_list *list, const labelled *item, const char *label, int64_t index,
                              bert_error *error) {
    if (is_ignored(list->pipeline, label)) return BERT_OK;
    bert_entity *entity = &list->items[list->count++];
    *entity = (bert_entity){.label = bert_arena_string(list->arena, label, strlen(label)),
                            .score = item->score,
                            .word = bert_arena_string(list->arena, item->word.text, item->word.length),
                            .word_length = item->word.length,
                            .index = index,
                            .start = item->start,
                            .end = item->end};
    return entity->label && entity->word ? BERT_OK : bert_fail_memory(error, item->word.length, "an entity");
}

static bert_status add_tokens(entity_list *list, const row_labels *labels, bert_error *error) {
    for (size_t i = 0; i < labels->count; i++) {
        const char *label;
        BERT_TRY(name_label(list, labels->items[i].label, &label, error));
        BERT_TRY(add_entity(list, &labels->items[i], label, labels->items[i].index, error));
    }
    return BERT_OK;
}

/* "B-PER" begins an entity of "PER"; "I-PER" and "PER" go on with one. */
static const char *tag_of(const char *label, bool *begins) {
    *begins = strncmp(label, "B-", 2) == 0;
    return *begins || strncmp(label, "I-", 2) == 0 ? label + 2 : label;
}

static bert_status add_group(entity_list *list, bert_arena *scratch, const labelled *items, size_t count,
                             const char *first_label, bert_error *error) {
    labelled whole = items[0];
    whole.score = 0;
    for (size_t i = 0; i < count; i++) whole.score += items[i].score / (double)count;
    whole.end = items[count - 1].end;
    BERT_TRY(join(list->pipeline, scratch, items, count, &whole.word, error));
    const char *dash = strchr(first_label, '-');
    return add_entity(list, &whole, dash ? dash + 1 : first_label, -1, error);
}

static bert_status add_groups(entity_list *list, bert_arena *scratch, const row_labels *labels, bert_error *error) {
    for (size_t begin = 0; begin < labels->count;) {
        const char *first;
        const char *next;
        bool begins;
        BERT_TRY(name_label(list, labels->items[begin].label, &first, error));
        const char *tag = tag_of(first, &begins);
        size_t end = begin + 1;
        for (; end < labels->count; end++) {
            BERT_TRY(name_label(list, labels->items[end].label, &next, error));
            if (strcmp(tag_of(next, &begins), tag) != 0 || begins) break;
        }
        BERT_TRY(add_group(list, scratch, labels->items + begin, end - begin, first, error));
        begin = end;
    }
    return BERT_OK;
}

/* ---- Windows to one list ---------------------------------------------------------------------------------------- */

typedef struct placed_entity {
    bert_entity entity;
    size_t place;
} placed_entity;

static int by_start(const void *a, const void *b) {
    const placed_entity *left = a, *right = b;
    if (left->entity.start != right->entity.start) return left->entity.start < right->entity.start ? -1 : 1;
    return left->place < right->place ? -1 : left->place > right->place;
}

static bool is_better(const bert_entity *entity, const bert_entity *than) {
    int64_t length = entity->end - entity->start, than_length = than->end - than->start;
    return length > than_length || (length == than_length && entity->score > than->score);
}

/* Of entities that overlap, as windows give them, the longest stays, or else the one with the greatest score. */
static bert_status merge_windows(entity_list *list, bert_arena *scratch, bert_error *error) {
    placed_entity *sorted = BERT_ARENA_NEW_ARRAY(scratch, placed_entity, list->count);
    if (!sorted) return bert_fail_memory(error, list->count * sizeof *sorted, "entities of windows");
    for (size_t i = 0; i < list->count; i++) sorted[i] = (placed_entity){list->items[i], i};
    qsort(sorted, list->count, sizeof *sorted, by_start);
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        const bert_entity *entity = &sorted[i].entity;
        bert_entity *previous = kept ? &list->items[kept - 1] : NULL;
        if (!previous || entity->start >= previous->end) {
            list->items[kept++] = *entity;
        } else if (is_better(entity, previous)) {
            *previous = *entity;
        }
    }
    list->count = kept;
    return BERT_OK;
}

static bert_status finish(const bert_text_reading *reading, bert_error *error) {
    const bert_pipeline *pipeline = reading->pipeline;
    size_t tokens = 0;
    for (size_t r = 0; r < reading->rows; r++) tokens += ((const row_labels *)reading->partials[r])->count;
    entity_list list = {.pipeline = pipeline, .arena = reading->arena};
    list.items = BERT_ARENA_NEW_ARRAY(reading->scratch, bert_entity, tokens);
    if (!list.items) return bert_fail_memory(error, tokens * sizeof *list.items, "entities");
    for (size_t r = 0; r < reading->rows; r++) {
        row_labels *labels = reading->partials[r];
        if (pipeline->aggregation == BERT_AGGREGATION_NONE) {
            BERT_TRY(add_tokens(&list, labels, error));
            continue;
        }
        if (pipeline->aggregation != BERT_AGGREGATION_SIMPLE) {
            BERT_TRY(tokens_to_words(pipeline, reading->scratch, labels, error));
        }
        BERT_TRY(add_groups(&list, reading->scratch, labels, error));
    }
    if (reading->rows > 1) BERT_TRY(merge_windows(&list, reading->scratch, error));
    bert_entity *entities = BERT_ARENA_NEW_ARRAY(reading->arena, bert_entity, list.count);
    if (!entities) return bert_fail_memory(error, list.count * sizeof *entities, "entities");
    if (list.count) memcpy(entities, list.items, list.count * sizeof *entities);
    reading->answer->entities = entities;
    reading->answer->entity_count = list.count;
    return BERT_OK;
}

const bert_task_rules bert_token_classification_rules = {
    .prepare = prepare, .accept = accept, .check = check, .read = read, .finish = finish};
