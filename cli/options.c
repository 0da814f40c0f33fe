#include "cli/options.h"

#include "cli/cli.h"
#include "cli/output.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* getopt_long's values of long options begin beyond any character; the first is --help. */
enum { HELP = 1000, FIRST_OPTION = 1001, MAX_OPTIONS = 64 };

int bert_usage_error(const char *command, const char *format, ...) {
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    bert_cli_complain("%s (see 'bertc%s%s --help')", sentence, command ? " " : "", command ? command : "");
    return BERT_EXIT_USAGE;
}

bool bert_parse_integer(const char *text, int64_t least, int64_t greatest, int64_t *out) {
    if (!isdigit((unsigned char)text[0]) && text[0] != '-') return false;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < least || value > greatest) return false;
    *out = value;
    return true;
}

bool bert_parse_integers(const char *text, int64_t *out, size_t capacity, size_t *count) {
    *count = 0;
    for (;;) {
        size_t length = strcspn(text, ",");
        char number[24];
        if (length >= sizeof number || *count == capacity) return false;
        memcpy(number, text, length);
        number[length] = '\0';
        if (!bert_parse_integer(number, 1, INT32_MAX, &out[*count])) return false;
        ++*count;
        if (!text[length]) return true;
        text += length + 1;
    }
}

static bool parse_number(const char *text, double *out) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < 0) return false;
    *out = value;
    return true;
}

static const char *choices_sentence(const char *const *choices, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; choices[i] && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", choices[i]);
    }
    return out;
}

static int store_choice(const char *command, const bert_option *option, const char *text) {
    for (int i = 0; option->choices[i]; i++) {
        if (strcmp(text, option->choices[i]) == 0) {
            *(int *)option->value = i;
            return BERT_OPTIONS_GO_ON;
        }
    }
    char known[256];
    return bert_usage_error(command, "--%s takes one of %s, not '%s'", option->name,
                            choices_sentence(option->choices, known, sizeof known), text);
}

static int store_list(const bert_option *option, const char *text) {
    bert_option_list *list = option->value;
    const char **values = realloc(list->values, (list->count + 1) * sizeof *values);
    if (!values) {
        bert_cli_complain("out of memory while reading options");
        return BERT_EXIT_FAILED;
    }
    list->values = values;
    values[list->count++] = text;
    return BERT_OPTIONS_GO_ON;
}

static int store(const char *command, const bert_option *option, const char *text) {
    switch (option->kind) {
    case BERT_OPTION_FLAG:
        *(bool *)option->value = true;
        return BERT_OPTIONS_GO_ON;
    case BERT_OPTION_STRING:
        *(const char **)option->value = text;
        return BERT_OPTIONS_GO_ON;
    case BERT_OPTION_INTEGER:
        if (bert_parse_integer(text, option->least, option->greatest, option->value)) return BERT_OPTIONS_GO_ON;
        return bert_usage_error(command, "--%s takes a whole number from %lld to %lld, not '%s'", option->name,
                                (long long)option->least, (long long)option->greatest, text);
    case BERT_OPTION_NUMBER:
        if (parse_number(text, option->value)) return BERT_OPTIONS_GO_ON;
        return bert_usage_error(command, "--%s takes a number of at least 0, not '%s'", option->name, text);
    case BERT_OPTION_CHOICE:
        return store_choice(command, option, text);
    case BERT_OPTION_LIST:
        return store_list(option, text);
    }
    return BERT_OPTIONS_GO_ON;
}

static void print_option(const bert_option *option) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    const char *line = option->help;
    bert_output_print("  %-26s ", left);
    if (strlen(left) > 26) bert_output_print("\n%29s", "");
    for (;;) {
        size_t length = strcspn(line, "\n");
        bert_output_print("%.*s\n", (int)length, line);
        if (!line[length]) return;
        line += length + 1;
        bert_output_print("%29s", "");
    }
}

static void print_help(const bert_usage *usage) {
    bert_output_print("Usage: %s\n\n%s", usage->synopsis, usage->text);
    for (size_t g = 0; g < BERT_MAX_OPTION_GROUPS && usage->groups[g].title; g++) {
        bert_output_print("\n%s:\n", usage->groups[g].title);
        for (size_t i = 0; i < usage->groups[g].count; i++) print_option(&usage->groups[g].options[i]);
    }
}

static int check_arguments(const char *command, const bert_usage *usage, int count) {
    if (count < usage->least_arguments) {
        return bert_usage_error(command, "too few arguments: the usage is %s", usage->synopsis);
    }
    if (usage->greatest_arguments >= 0 && count > usage->greatest_arguments) {
        return bert_usage_error(command, "too many arguments: the usage is %s", usage->synopsis);
    }
    return BERT_OPTIONS_GO_ON;
}

/* Fills getopt_long's table, --help first; returns how many options there are. */
static size_t gather(const bert_usage *usage, struct option *table, const bert_option **rows) {
    size_t count = 0;
    table[0] = (struct option){"help", no_argument, NULL, HELP};
    for (size_t g = 0; g < BERT_MAX_OPTION_GROUPS && usage->groups[g].title; g++) {
        for (size_t i = 0; i < usage->groups[g].count && count < MAX_OPTIONS; i++, count++) {
            const bert_option *option = &usage->groups[g].options[i];
            int has_argument = option->kind == BERT_OPTION_FLAG ? no_argument : required_argument;
            table[count + 1] = (struct option){option->name, has_argument, NULL, FIRST_OPTION + (int)count};
            rows[count] = option;
        }
    }
    table[count + 1] = (struct option){0};
    return count;
}

int bert_options_parse(int argc, char **argv, const bert_usage *usage, int *first) {
    struct option table[MAX_OPTIONS + 2];
    const bert_option *rows[MAX_OPTIONS];
    gather(usage, table, rows);
    const char *command = argv[0];
    optind = 0; /* glibc: begin anew, whatever was parsed before. */
    opterr = 0;
    for (;;) {
        int found = getopt_long(argc, argv, ":h", table, NULL);
        if (found == -1) break;
        if (found == 'h' || found == HELP) {
            print_help(usage);
            return BERT_EXIT_OK;
        }
        if (found == ':') return bert_usage_error(command, "%s needs a value", argv[optind - 1]);
        if (found == '?') {
            if (optopt && optopt < HELP) return bert_usage_error(command, "there is no option '-%c'", optopt);
            return bert_usage_error(command, "there is no option '%s', or it takes no value", argv[optind - 1]);
        }
        int status = store(command, rows[found - FIRST_OPTION], optarg);
        if (status != BERT_OPTIONS_GO_ON) return status;
    }
    *first = optind;
    return check_arguments(command, usage, argc - optind);
}
