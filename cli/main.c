/* bertc: finds the subcommand. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"

#include <stdarg.h>
#include <string.h>

static const bert_command commands[] = {
    {"classify", "text classification: labels and scores for texts and pairs", bert_command_classify},
    {"embed", "feature extraction: vectors for texts", bert_command_embed},
    {"ner", "token classification: entities in texts", bert_command_ner},
    {"fill-mask", "the likeliest tokens for each mask of a text", bert_command_fill_mask},
    {"qa", "question answering: parts of contexts that answer", bert_command_qa},
    {"rerank", "cross-encoder: documents for a query, best first", bert_command_rerank},
    {"tokenize", "text to token ids and back", bert_command_tokenize},
    {"run", "runs a model on tensors from files, or on random ones", bert_command_run},
    {"inspect", "shows a model: inputs, outputs, operators, rewrites, plan, memory", bert_command_inspect},
    {"verify", "holds a model against recorded inputs and outputs", bert_command_verify},
    {"quantize", "writes a float32 model as dynamic INT8", bert_command_quantize},
    {"pack", "lays weights out for this machine, to be mapped as they are", bert_command_pack},
    {"compare", "names the first tensor inside a model that differs from a recorded one", bert_command_compare},
    {"bench", "measures how fast a model runs", bert_command_bench},
};

void bert_cli_complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bert_output_flush();
    fputs("bertc: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int bert_cli_failed(const bert_error *error) {
    bert_cli_complain("%s", error->message);
    return BERT_EXIT_FAILED;
}

static int print_help(void) {
    bert_output_print("Usage: bertc COMMAND [OPTION ...] [ARGUMENT ...]\n\n"
                      "Runs BERT models from ONNX files.\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        bert_output_print("  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    bert_output_print("\n'bertc COMMAND --help' lists a command's options, 'bertc --version' what this build has.\n"
                      "MODEL is a .onnx file, or a folder that holds model.onnx or onnx/model.onnx.\n"
                      "Exit status: 0 success, 1 the work failed, 2 wrong usage.\n");
    return BERT_EXIT_OK;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) return bert_usage_error(NULL, "a command is missing");
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) return print_help();
    if (strcmp(name, "--version") == 0) return bert_cli_version();
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(name, commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    }
    return bert_usage_error(NULL, "there is no command '%s'", name);
}

int main(int argc, char **argv) {
    bert_output_begin();
    return bert_output_end(dispatch(argc, argv));
}
