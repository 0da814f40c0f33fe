/*
 * Options as tables: one row says how an option is written, where its value goes and what help says of it, so that
 * parsing and `--help` can't differ.
 */
#ifndef BERT_CLI_OPTIONS_H
#define BERT_CLI_OPTIONS_H

#include <bert/types.h>

typedef enum bert_option_kind {
    BERT_OPTION_FLAG,    /**< bool *: true when given. */
    BERT_OPTION_STRING,  /**< const char **. */
    BERT_OPTION_INTEGER, /**< int64_t *, between `least` and `greatest`. */
    BERT_OPTION_NUMBER,  /**< double *, not negative. */
    BERT_OPTION_CHOICE,  /**< int *: index in `choices`. */
    BERT_OPTION_LIST     /**< bert_option_list *: every value given, in order. */
} bert_option_kind;

/** Values of an option that may be given more than once. `values` point into argv; free the array. */
typedef struct bert_option_list {
    const char **values;
    size_t count;
} bert_option_list;

typedef struct bert_option {
    const char *name; /**< Without the dashes. */
    bert_option_kind kind;
    void *value;          /**< Holds the default when parsing begins. */
    const char *argument; /**< How help calls the value: "N"; NULL for flags. */
    const char *help;     /**< One line; may be followed by more, separated by '\n'. */
    int64_t least, greatest;
    const char *const *choices; /**< NULL-terminated. */
} bert_option;

/** Options under one heading of the help. */
typedef struct bert_option_group {
    const char *title;
    const bert_option *options;
    size_t count;
} bert_option_group;

#define BERT_MAX_OPTION_GROUPS 6

/** A subcommand's usage. */
typedef struct bert_usage {
    const char *synopsis; /**< "bertc classify MODEL [TEXT ...]" */
    const char *text;     /**< What it does: whole lines. */
    bert_option_group groups[BERT_MAX_OPTION_GROUPS];
    int32_t least_arguments, greatest_arguments; /**< That are not options; -1: any number. */
} bert_usage;

/** What bert_options_parse returns when the subcommand may begin. */
#define BERT_OPTIONS_GO_ON (-1)

/**
 * Reads options in any place of argv and moves the other arguments behind them; *first is the index of the first one.
 * Returns BERT_OPTIONS_GO_ON, or the status to exit with: 0 after --help, 2 after a sentence about wrong usage.
 */
int bert_options_parse(int argc, char **argv, const bert_usage *usage, int *first);

/** One sentence about wrong usage, with a pointer to --help; returns 2. `command` may be NULL. */
int bert_usage_error(const char *command, const char *format, ...) BERT_PRINTF(2, 3);

/**
 * Reads a list of positive integers separated by commas ("1,8,32") into at most `capacity` numbers. False when it is
 * none.
 */
bool bert_parse_integers(const char *text, int64_t *out, size_t capacity, size_t *count);
/** The whole text as a decimal integer in range; false when it is none. */
bool bert_parse_integer(const char *text, int64_t least, int64_t greatest, int64_t *out);

#endif
