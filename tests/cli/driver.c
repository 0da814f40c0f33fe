#include "tests/cli/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int scratch_file(void) {
    FILE *file = tmpfile();
    assert_non_null(file);
    int descriptor = dup(fileno(file));
    fclose(file);
    assert_true(descriptor >= 0);
    return descriptor;
}

static char *read_all(int descriptor, size_t *size) {
    off_t end = lseek(descriptor, 0, SEEK_END);
    assert_true(end >= 0);
    char *text = malloc((size_t)end + 1);
    assert_non_null(text);
    assert_int_equal(pread(descriptor, text, (size_t)end, 0), end);
    text[end] = '\0';
    *size = (size_t)end;
    close(descriptor);
    return text;
}

cli_result cli_run(const char *const *arguments, const char *input, size_t input_length) {
    enum { MOST = 64 };
    const char *argv[MOST] = {BERT_BERTC};
    int files[3] = {scratch_file(), scratch_file(), scratch_file()};
    for (size_t i = 0; arguments[i]; i++) {
        assert_true(i + 2 < MOST);
        argv[i + 1] = arguments[i];
    }
    assert_int_equal(write(files[0], input, input_length), input_length);
    lseek(files[0], 0, SEEK_SET);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 3; i++) dup2(files[i], i);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    cli_result result = {.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state)};
    size_t err_length;
    close(files[0]);
    result.out = read_all(files[1], &result.out_length);
    result.err = read_all(files[2], &err_length);
    return result;
}

void cli_free(cli_result *result) {
    free(result->out);
    free(result->err);
    *result = (cli_result){0};
}

void cli_expect(const cli_result *result, int status) {
    if (result->status == status) return;
    fail_msg("exit status %d instead of %d\nstdout: %.2000s\nstderr: %.2000s", result->status, status, result->out,
             result->err);
}

void cli_expect_one_sentence(cli_result result, const char *words) {
    cli_expect(&result, 1);
    const char *end = strchr(result.err, '\n');
    bool one_line = strncmp(result.err, "bertc: ", 7) == 0 && end && end[1] == '\0';
    if (!one_line || result.out[0] || !strstr(result.err, words)) {
        fail_msg("one sentence with '%s' was expected\nstdout: %.2000s\nstderr: %.2000s", words, result.out,
                 result.err);
    }
    cli_free(&result);
}

char **cli_lines(const char *text, size_t *count) {
    *count = 0;
    for (const char *at = text; *at; at++) *count += *at == '\n';
    char **lines = calloc(*count + 1, sizeof *lines);
    assert_non_null(lines);
    for (size_t i = 0; i < *count; i++) {
        const char *end = strchr(text, '\n');
        lines[i] = strndup(text, (size_t)(end - text));
        text = end + 1;
    }
    assert_string_equal(text, ""); /* The last line ends too. */
    return lines;
}

void cli_lines_free(char **lines, size_t count) {
    for (size_t i = 0; i < count; i++) free(lines[i]);
    free(lines);
}

char *cli_read_file(const char *path, size_t *size) {
    int descriptor = open(path, O_RDONLY);
    if (descriptor < 0) fail_msg("cannot open %s: %s", path, strerror(errno));
    return read_all(descriptor, size);
}

void cli_write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file) fail_msg("cannot write %s: %s", path, strerror(errno));
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

const char *cli_make_folder(void) {
    static char path[] = "cli-test-XXXXXX";
    memcpy(path, "cli-test-XXXXXX", sizeof path);
    assert_non_null(mkdtemp(path));
    return path;
}

char *cli_path(const char *folder, const char *name) {
    char *path;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

void cli_copy(const char *from, const char *to) {
    size_t size;
    char *bytes = cli_read_file(from, &size);
    cli_write_file(to, bytes, size);
    free(bytes);
}
