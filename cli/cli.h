/* What every subcommand of bertc shares: exit statuses, the table of subcommands, messages. */
#ifndef BERT_CLI_CLI_H
#define BERT_CLI_CLI_H

#include <bert/types.h>
#include <stdio.h>

/** Exit statuses that scripts rely on. */
enum {
    BERT_EXIT_OK = 0,
    BERT_EXIT_FAILED = 1,       /**< The work failed: a bad model, bad input, a case that did not pass. */
    BERT_EXIT_USAGE = 2,        /**< Wrong usage. */
    BERT_EXIT_INTERRUPTED = 130 /**< Ctrl-C: 128 + SIGINT, as shells have it. */
};

/** A subcommand: one file under cli/, one line in the table of main.c. */
typedef struct bert_command {
    const char *name;
    const char *summary; /**< For `bertc --help`. */
    /** argv[0] is the subcommand's name. Returns an exit status. */
    int (*run)(int argc, char **argv);
} bert_command;

int bert_command_classify(int argc, char **argv);
int bert_command_embed(int argc, char **argv);
int bert_command_ner(int argc, char **argv);
int bert_command_fill_mask(int argc, char **argv);
int bert_command_qa(int argc, char **argv);
int bert_command_rerank(int argc, char **argv);
int bert_command_tokenize(int argc, char **argv);
int bert_command_run(int argc, char **argv);
int bert_command_inspect(int argc, char **argv);
int bert_command_verify(int argc, char **argv);
int bert_command_quantize(int argc, char **argv);
int bert_command_pack(int argc, char **argv);
int bert_command_compare(int argc, char **argv);
int bert_command_bench(int argc, char **argv);

/** Writes what `bertc --version` shows to standard output. Returns an exit status. */
int bert_cli_version(void);

/** "bertc: <sentence>" on standard error. */
void bert_cli_complain(const char *format, ...) BERT_PRINTF(1, 2);
/** The same; returns BERT_EXIT_FAILED. */
int bert_cli_failed(const bert_error *error);

#endif
