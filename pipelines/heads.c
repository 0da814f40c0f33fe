#include "pipelines/heads.h"

#include "core/base/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef enum head_kind {
    HEAD_OTHER,
    HEAD_LABELS,       /* [batch, labels] */
    HEAD_HIDDEN,       /* [batch, sequence, hidden] */
    HEAD_TOKEN_LABELS, /* [batch, sequence, labels] */
    HEAD_VOCABULARY,   /* [batch, sequence, vocabulary] */
    HEAD_START,        /* [batch, sequence] */
    HEAD_END,
    HEAD_KINDS
} head_kind;

/* What each task needs, in the order of bert_task. */
static const struct {
    head_kind first, second;
    const char *needs;
} needs[] = {
    {HEAD_LABELS, HEAD_OTHER, "logits of [batch, labels]"},
    {HEAD_HIDDEN, HEAD_OTHER, "a last_hidden_state of [batch, sequence, hidden]"},
    {HEAD_TOKEN_LABELS, HEAD_OTHER, "logits of [batch, sequence, labels]"},
    {HEAD_VOCABULARY, HEAD_OTHER, "logits of [batch, sequence, vocabulary]"},
    {HEAD_START, HEAD_END, "start_logits and end_logits of [batch, sequence]"},
    {HEAD_LABELS, HEAD_OTHER, "logits of [batch, labels]"},
};

typedef struct head_search {
    const bert_model *model;
    const bert_model_config *config;
    int64_t vocabulary_size;
    const char *sequence; /* Name of the inputs' second dimension, or NULL. */
    bert_model_tensor found[HEAD_KINDS];
    bool has[HEAD_KINDS];
} head_search;

static bool is_for(const head_search *search, const char *suffix) {
    const char *architecture = search->config->architecture;
    const char *at = strstr(architecture, "For");
    return at && strcmp(at, suffix) == 0;
}

static bool is_vocabulary(const head_search *search, int64_t width) {
    if (is_for(search, "ForMaskedLM") || is_for(search, "ForPreTraining")) return true;
    return width > 0 && (width == search->config->vocab_size || width == search->vocabulary_size);
}

static head_kind kind_by_name(const char *name) {
    static const struct {
        const char *name;
        head_kind kind;
    } names[] = {{"last_hidden_state", HEAD_HIDDEN},     {"token_embeddings", HEAD_HIDDEN},
                 {"start_logits", HEAD_START},           {"end_logits", HEAD_END},
                 {"prediction_logits", HEAD_VOCABULARY}, {"pooler_output", HEAD_OTHER},
                 {"sentence_embedding", HEAD_OTHER},     {"seq_relationship_logits", HEAD_OTHER}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) return names[i].kind;
    }
    return HEAD_KINDS;
}

static head_kind kind_of_matrix(const head_search *search, const bert_model_tensor *output, bool is_logits) {
    const char *last = output->rank == 2 ? output->dim_names[1] : NULL;
    bool per_token =
        output->rank == 2 && output->dims[1] < 0 && last && search->sequence && strcmp(last, search->sequence) == 0;
    if (is_for(search, "ForQuestionAnswering") || (per_token && !is_logits)) {
        return search->has[HEAD_START] ? HEAD_END : HEAD_START;
    }
    if (is_logits || is_for(search, "ForSequenceClassification")) return HEAD_LABELS;
    /* A plain model's pooler output has no labels. */
    bool is_plain = search->config->architecture[0] && !strstr(search->config->architecture, "For");
    return is_plain || search->has[HEAD_HIDDEN] ? HEAD_OTHER : HEAD_LABELS;
}

static head_kind kind_of_sequence(const head_search *search, const bert_model_tensor *output, bool is_logits) {
    int64_t width = output->rank == 3 ? output->dims[2] : -1;
    const bert_model_config *config = search->config;
    if (is_vocabulary(search, width)) return HEAD_VOCABULARY;
    if (is_logits || is_for(search, "ForTokenClassification")) return HEAD_TOKEN_LABELS;
    if (width > 0 && width != config->hidden_size && (size_t)width == config->label_count) return HEAD_TOKEN_LABELS;
    return HEAD_HIDDEN;
}

static head_kind kind_of(const head_search *search, const bert_model_tensor *output) {
    head_kind kind = kind_by_name(output->name);
    if (kind != HEAD_KINDS) return kind;
    bool is_logits = strcmp(output->name, "logits") == 0;
    switch (output->rank) {
    case 2:
        return kind_of_matrix(search, output, is_logits);
    case 3:
        return kind_of_sequence(search, output, is_logits);
    case -1: /* The file says nothing of the shape: the architecture has to. */
        if (is_for(search, "ForQuestionAnswering") || is_for(search, "ForSequenceClassification")) {
            return kind_of_matrix(search, output, is_logits);
        }
        return kind_of_sequence(search, output, is_logits);
    default:
        return HEAD_OTHER;
    }
}

static bert_status look(head_search *search, bert_error *error) {
    for (size_t i = 0; i < bert_model_input_count(search->model); i++) {
        bert_model_tensor input;
        BERT_TRY(bert_model_input(search->model, i, &input));
        if (strcmp(input.name, "input_ids") == 0 && input.rank == 2) search->sequence = input.dim_names[1];
    }
    for (size_t i = 0; i < bert_model_output_count(search->model); i++) {
        bert_model_tensor output;
        BERT_TRY(bert_model_output(search->model, i, &output));
        head_kind kind = kind_of(search, &output);
        if (search->has[kind]) continue;
        search->has[kind] = true;
        search->found[kind] = output;
    }
    return BERT_OK;
}

static bool fits(const head_search *search, bert_task task) {
    return search->has[needs[task].first] && (!needs[task].second || search->has[needs[task].second]);
}

/* A growing sentence that is cut rather than overrun. */
typedef struct sentence {
    char text[BERT_ERROR_MESSAGE_BYTES];
    size_t length;
} sentence;

BERT_PRINTF(2, 3)
static void say(sentence *out, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof out->text - out->length;
    int written = vsnprintf(out->text + out->length, room, format, arguments);
    va_end(arguments);
    if (written > 0) out->length += (size_t)written < room ? (size_t)written : room - 1;
}

static void say_output(sentence *out, const bert_model_tensor *output, const char *before) {
    say(out, "%s%s", before, output->name);
    if (output->rank < 0) return;
    say(out, " [");
    for (int32_t d = 0; d < output->rank; d++) {
        say(out, "%s", d ? ", " : "");
        if (output->dims[d] >= 0) {
            say(out, "%" PRId64, output->dims[d]);
        } else {
            say(out, "%s", output->dim_names[d] ? output->dim_names[d] : "?");
        }
    }
    say(out, "]");
}

static bert_status refuse(const head_search *search, bert_task task, bert_error *error) {
    sentence outputs = {.length = 0};
    sentence tasks = {.length = 0};
    for (size_t i = 0; i < bert_model_output_count(search->model); i++) {
        bert_model_tensor output;
        BERT_TRY(bert_model_output(search->model, i, &output));
        say_output(&outputs, &output, i ? ", " : "");
    }
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (fits(search, (bert_task)i)) say(&tasks, "%s%s", tasks.length ? ", " : "", bert_task_name((bert_task)i));
    }
    return bert_fail(error, BERT_UNSUPPORTED, "%s needs %s, but the model's outputs are %s; %s%s", bert_task_name(task),
                     needs[task].needs, outputs.length ? outputs.text : "none",
                     tasks.length ? "they fit " : "they fit no task", tasks.text);
}

bert_status bert_head_find(bert_task task, const bert_model *model, const bert_model_config *config,
                           int32_t vocabulary_size, bert_head *out, bert_error *error) {
    head_search search = {.model = model, .config = config, .vocabulary_size = vocabulary_size};
    BERT_TRY(look(&search, error));
    if (!fits(&search, task)) return refuse(&search, task, error);
    const bert_model_tensor *first = &search.found[needs[task].first];
    *out = (bert_head){.outputs = {first->name},
                       .output_count = needs[task].second ? 2 : 1,
                       .width = first->rank > 0 ? first->dims[first->rank - 1] : -1};
    if (needs[task].second) out->outputs[1] = search.found[needs[task].second].name;
    return BERT_OK;
}
