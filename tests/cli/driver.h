/* Runs bertc as a user does: arguments and standard input in, exit status and both outputs out. */
#ifndef BERT_TESTS_CLI_DRIVER_H
#define BERT_TESTS_CLI_DRIVER_H

#include "tests/support/test.h"

#include <stdbool.h>

#define MODEL_FOLDER BERT_SOURCE_DIR "/models/zh-sentiment"
#define GRAPHS BERT_SOURCE_DIR "/tests/data/graphs"

typedef struct cli_result {
    int status; /* Exit status; 128 + the signal that ended it. */
    char *out, *err;
    size_t out_length;
} cli_result;

/* `arguments` ends with NULL and begins behind the program's name. Free with cli_free. */
cli_result cli_run(const char *const *arguments, const char *input, size_t input_length);
void cli_free(cli_result *result);

#define CLI(...) cli_run((const char *const[]){__VA_ARGS__, NULL}, "", 0)
#define CLI_INPUT(input, ...) cli_run((const char *const[]){__VA_ARGS__, NULL}, (input), strlen(input))

/* Fails the test with what bertc wrote unless it ended with `status`. */
void cli_expect(const cli_result *result, int status);
/* Exit status 1, nothing on standard output, and on standard error one line "bertc: ..." that holds `words`. Frees. */
void cli_expect_one_sentence(cli_result result, const char *words);

/* Line `index` of a text, in memory that cli_lines_free frees with the others. */
char **cli_lines(const char *text, size_t *count);
void cli_lines_free(char **lines, size_t count);

/* A whole file, NUL-terminated; fails the test when it can't be read. Free it. */
char *cli_read_file(const char *path, size_t *size);
void cli_write_file(const char *path, const void *bytes, size_t size);
/* A new folder under the build's; the path in static memory, good until the next call. */
const char *cli_make_folder(void);
/* "folder/name"; free it. */
char *cli_path(const char *folder, const char *name);
/* Copies a file. */
void cli_copy(const char *from, const char *to);

#endif
