/* bertc qa: extractive question answering. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pipeline_task.h"

#include <inttypes.h>

typedef struct qa_options {
    const char *question, *context;
    int64_t doc_stride, max_answer_length, top_k;
    bool impossible, within_words;
} qa_options;

static void print(void *user, const bert_pipeline *pipeline, const bert_answer *answer, const bert_text_item *item) {
    for (size_t i = 0; i < answer->span_count; i++) {
        const bert_span *span = &answer->spans[i];
        bert_output_print("%.4f  ", span->score);
        bert_output_write(span->text_length ? span->text : "(no answer)", span->text_length ? span->text_length : 11);
        bert_output_print("  (%" PRId64 " to %" PRId64 ")\n", span->start, span->end);
    }
}

static void write_span(bert_json_out *json, const bert_span *span) {
    bert_json_out_key(json, "answer");
    bert_json_out_string(json, span->text, span->text_length);
    bert_json_out_key(json, "score");
    bert_json_out_number(json, span->score);
    bert_json_out_key(json, "start");
    bert_json_out_integer(json, span->start);
    bert_json_out_key(json, "end");
    bert_json_out_integer(json, span->end);
}

static void write(void *user, const bert_pipeline *pipeline, const bert_answer *answer, bert_json_out *json) {
    const qa_options *options = user;
    if (options->top_k == 1) {
        write_span(json, &answer->spans[0]);
        return;
    }
    bert_json_out_key(json, "answers");
    bert_json_out_begin(json, '[');
    for (size_t i = 0; i < answer->span_count; i++) {
        bert_json_out_begin(json, '{');
        write_span(json, &answer->spans[i]);
        bert_json_out_end(json, '}');
    }
    bert_json_out_end(json, ']');
}

/* Where questions and contexts come from. */
static int open_input(qa_options *options, bert_pipeline_arguments *arguments, bert_text_input *input) {
    bert_text_input_options *texts = &arguments->text.input;
    if (texts->jsonl && (options->question || options->context)) {
        return bert_usage_error("qa",
                                "--jsonl has questions and contexts in it: --question and --context are not for it");
    }
    if (options->question && options->context && arguments->text_count > 0) {
        return bert_usage_error("qa", "there is a TEXT argument beside --question and --context");
    }
    if (options->question && options->context) {
        texts->text_pair = options->context;
        return bert_text_input_open("qa", texts, (char **)&options->question, 1, input);
    }
    int status = bert_text_input_open("qa", texts, arguments->texts, arguments->text_count, input);
    input->text_key = "question";
    input->pair_key = "context";
    input->before = options->question;
    input->after = options->context;
    return status;
}

static int answer(const bert_pipeline_command *command, qa_options *qa, bert_pipeline_arguments *arguments) {
    bert_pipeline_options options = {.stride = qa->doc_stride == 0  ? -1
                                               : qa->doc_stride < 0 ? 0
                                                                    : qa->doc_stride,
                                     .top_k = qa->top_k,
                                     .max_answer_length = qa->max_answer_length,
                                     .impossible_answers = qa->impossible,
                                     .answers_within_words = qa->within_words};
    bert_text_input input;
    int status = open_input(qa, arguments, &input);
    if (status != BERT_OPTIONS_GO_ON) return status;
    status = bert_pipeline_answer(command, arguments, &options, &input);
    bert_text_input_close(&input);
    return status;
}

int bert_command_qa(int argc, char **argv) {
    qa_options options = {.doc_stride = -1, .max_answer_length = 15, .top_k = 1};
    const bert_option rows[] = {
        {.name = "question",
         .kind = BERT_OPTION_STRING,
         .value = &options.question,
         .argument = "TEXT",
         .help = "the question; texts are contexts then"},
        {.name = "context",
         .kind = BERT_OPTION_STRING,
         .value = &options.context,
         .argument = "TEXT",
         .help = "the context; texts are questions then"},
        {.name = "doc-stride",
         .kind = BERT_OPTION_INTEGER,
         .value = &options.doc_stride,
         .argument = "N",
         .least = 0,
         .greatest = INT32_MAX,
         .help = "tokens that the windows of a long context share\n(default: 128, or half of --max-length)"},
        {.name = "max-answer-len",
         .kind = BERT_OPTION_INTEGER,
         .value = &options.max_answer_length,
         .argument = "N",
         .least = 1,
         .greatest = INT32_MAX,
         .help = "tokens of an answer at most (default: 15)"},
        {.name = "top-k",
         .kind = BERT_OPTION_INTEGER,
         .value = &options.top_k,
         .argument = "N",
         .least = 1,
         .greatest = 1000000,
         .help = "answers at most (default: 1)"},
        {.name = "impossible", .value = &options.impossible, .help = "let there be no answer"},
        {.name = "within-words", .value = &options.within_words, .help = "let answers begin and end inside words"}};
    const bert_pipeline_command command = {
        .name = "qa",
        .task = BERT_TASK_QUESTION_ANSWERING,
        .synopsis = "bertc qa MODEL [OPTION ...] [TEXT ...]",
        .text = "Finds the part of a context that answers a question. With neither --question nor\n"
                "--context, standard input is read: a question, a TAB, a context on each line, or\n"
                "with --jsonl {\"question\": \"..\", \"context\": \"..\"}. A context that is too long is read\n"
                "in windows of at most --max-length tokens (default: 384). Offsets count code points.\n",
        .title = "Answers",
        .options = rows,
        .option_count = sizeof rows / sizeof *rows,
        .user = &options,
        .print = print,
        .write = write};
    bert_pipeline_arguments arguments;
    int status = bert_pipeline_parse(argc, argv, &command, &arguments);
    return status == BERT_OPTIONS_GO_ON ? answer(&command, &options, &arguments) : status;
}
