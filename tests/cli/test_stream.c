/* Files of any length: answers in order, memory that does not grow, Ctrl-C, readers that go away, progress. */
#include "tests/cli/driver.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const words[] = {"好", "不好", "酒店", "键盘不灵", "hello", "服务", "x", "，"};

/* Line `number` of a file: from one word to many. */
static size_t make_line(size_t number, char *out) {
    char *at = out;
    for (size_t i = 0; i <= number * 7 % 61; i++) at += sprintf(at, "%s ", words[(number + i) % 8]);
    at += sprintf(at, "%zu\n", number);
    return (size_t)(at - out);
}

static char *make_lines(size_t count, size_t *size) {
    char *text = malloc(count * 1200 + 1), *at = text;
    assert_non_null(text);
    for (size_t i = 0; i < count; i++) at += make_line(i, at);
    *size = (size_t)(at - text);
    return text;
}

static void answers_keep_the_order_of_their_texts(void **state) {
    size_t size;
    char *text = make_lines(700, &size);
    static const char *const batches[] = {"1", "8", "1000"};
    char *first = NULL;
    for (int i = 0; i < 3; i++) {
        const char *const arguments[] = {"classify", MODEL_FOLDER, "--batch-size", batches[i], NULL};
        cli_result result = cli_run(arguments, text, size);
        cli_expect(&result, 0);
        size_t count;
        char **lines = cli_lines(result.out, &count);
        assert_int_equal(count, 700);
        for (size_t l = 0; l < count; l++) {
            char end[32];
            snprintf(end, sizeof end, " %zu", l);
            assert_true(strlen(lines[l]) > strlen(end));
            assert_string_equal(lines[l] + strlen(lines[l]) - strlen(end), end);
        }
        cli_lines_free(lines, count);
        /* Labels and scores too are the same, whatever batch a text was in. */
        if (first) assert_string_equal(result.out, first);
        if (!first) first = strdup(result.out);
        cli_free(&result);
    }
    free(first);
    free(text);
}

/* A child with these descriptors, that Ctrl-C reaches. */
static pid_t start(const char *const *arguments, int in, int out, int err) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    signal(SIGINT, SIG_DFL);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    execv(BERT_BERTC, (char *const *)arguments);
    _exit(127);
}

static int file_with(const char *bytes, size_t size) {
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fflush(file), 0);
    int descriptor = dup(fileno(file));
    fclose(file);
    assert_int_equal(lseek(descriptor, 0, SEEK_SET), 0);
    return descriptor;
}

/* Kibibytes that a run over `count` lines of 2,000 bytes holds at most. */
static long greatest_memory(const char *task, size_t count) {
    /* Written line by line: a child's memory counts from its parent's on. */
    FILE *file = tmpfile();
    assert_non_null(file);
    for (size_t i = 0; i < count; i++) {
        char line[2001];
        memset(line, 'a' + (int)(i % 26), 2000);
        line[2000] = '\n';
        assert_int_equal(fwrite(line, 1, sizeof line, file), sizeof line);
    }
    assert_int_equal(fflush(file), 0);
    int in = dup(fileno(file)), nowhere = open("/dev/null", O_RDWR);
    fclose(file);
    assert_int_equal(lseek(in, 0, SEEK_SET), 0);
    const char *const arguments[] = {
        BERT_BERTC, task, MODEL_FOLDER, "--max-length", "8", "--quiet", "--format", "jsonl", "--threads", "1", NULL};
    pid_t child = start(arguments, in, nowhere, nowhere);
    int status;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(in);
    close(nowhere);
    return usage.ru_maxrss;
}

static void memory_does_not_grow_with_the_file(void **state) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer keeps memory of its own\n");
    skip();
#endif
    static const char *const tasks[] = {"classify", "tokenize"};
    for (int i = 0; i < 2; i++) {
        long some = greatest_memory(tasks[i], 3000), more = greatest_memory(tasks[i], 12000);
        /* The file has 18 MB more. */
        if (more > some + 4096) fail_msg("%s: %ld KiB for 3,000 lines, %ld for 12,000", tasks[i], some, more);
    }
}

/* Reads until there is a line, in whatever time that takes. */
static void await_line(int descriptor) {
    char c = 0;
    while (c != '\n') assert_int_equal(read(descriptor, &c, 1), 1);
}

static char *rest_of(int descriptor, size_t *lines) {
    size_t size = 0;
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    for (ssize_t got; (got = read(descriptor, text + size, (1 << 20) - 1 - size)) > 0;) size += (size_t)got;
    *lines = 0;
    for (size_t i = 0; i < size; i++) *lines += text[i] == '\n';
    return text;
}

static void interrupt_after_a_line(int in, bool waits) {
    int out[2], err[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    const char *const arguments[] = {BERT_BERTC, "classify", MODEL_FOLDER, "--threads", "1", "--batch-size", "2", NULL};
    pid_t child = start(arguments, in, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    await_line(out[0]);
    assert_int_equal(kill(child, SIGINT), 0);
    size_t answered, said;
    char *answers = rest_of(out[0], &answered), *words_said = rest_of(err[0], &said);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 130);
    char expected[80];
    snprintf(expected, sizeof expected, "bertc: interrupted: %zu texts were answered\n", answered + 1);
    assert_string_equal(words_said, expected);
    /* Whole lines of the first texts, and no more. */
    assert_true(answers[0] == '\0' || answers[strlen(answers) - 1] == '\n');
    if (!waits) assert_true(answered < 3999);
    free(answers);
    free(words_said);
    close(out[0]);
    close(err[0]);
}

static void an_interrupt_ends_with_the_answers_that_are_there(void **state) {
    size_t size;
    char *text = make_lines(4000, &size);
    int in = file_with(text, size);
    interrupt_after_a_line(in, false);
    close(in);
    /* And while the input is waited for. */
    int waiting[2];
    assert_int_equal(pipe2(waiting, O_CLOEXEC), 0);
    assert_int_equal(write(waiting[1], "好\n", 4), 4);
    interrupt_after_a_line(waiting[0], true);
    close(waiting[0]);
    close(waiting[1]);
    free(text);
}

static void a_slow_writer_is_answered_at_once(void **state) {
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    const char *const arguments[] = {BERT_BERTC, "classify", MODEL_FOLDER, NULL};
    pid_t child = start(arguments, in[0], out[1], 2);
    close(in[0]);
    close(out[1]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write(in[1], "好\n", 4), 4);
        await_line(out[0]);
    }
    close(in[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(out[0]);
}

static void readers_that_go_away_end_the_work_quietly(void **state) {
    static const char *const tasks[] = {"classify", "tokenize"};
    size_t size;
    char *text = make_lines(4000, &size);
    for (int i = 0; i < 2; i++) {
        int in = file_with(text, size), out[2], err[2];
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(pipe2(err, O_CLOEXEC), 0);
        const char *const arguments[] = {BERT_BERTC, tasks[i], MODEL_FOLDER, "--threads", "1", NULL};
        pid_t child = start(arguments, in, out[1], err[1]);
        close(out[1]);
        close(err[1]);
        await_line(out[0]);
        close(out[0]);
        size_t lines;
        char *said = rest_of(err[0], &lines);
        assert_string_equal(said, "");
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        free(said);
        close(err[0]);
        close(in);
    }
    free(text);
}

static void a_terminal_sees_how_far_it_is(void **state) {
    size_t size;
    char *text = make_lines(3000, &size);
    int in = file_with(text, size), nowhere = open("/dev/null", O_RDWR), terminal, screen;
    assert_int_equal(openpty(&terminal, &screen, NULL, NULL, NULL), 0);
    const char *const arguments[] = {BERT_BERTC, "classify", MODEL_FOLDER, NULL};
    pid_t child = start(arguments, in, nowhere, screen);
    close(screen);
    static char seen[1 << 20];
    size_t length = 0;
    for (ssize_t got; (got = read(terminal, seen + length, sizeof seen - 1 - length)) > 0;) length += (size_t)got;
    seen[length] = '\0';
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    if (!strstr(seen, "\r[") || !strstr(seen, " texts  ") || !strstr(seen, " tokens/s  ") || !strstr(seen, " left")) {
        fail_msg("the terminal saw: %s", seen);
    }
    /* In the end it is gone. */
    assert_true(length > 4 && strcmp(seen + length - 4, "\r\x1b[K") == 0);
    close(terminal);
    close(nowhere);
    close(in);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_keep_the_order_of_their_texts),
        cmocka_unit_test(memory_does_not_grow_with_the_file),
        cmocka_unit_test(an_interrupt_ends_with_the_answers_that_are_there),
        cmocka_unit_test(a_slow_writer_is_answered_at_once),
        cmocka_unit_test(readers_that_go_away_end_the_work_quietly),
        cmocka_unit_test(a_terminal_sees_how_far_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
