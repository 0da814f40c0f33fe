#include "cli/output.h"

#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

/* The first errno that a write to standard output left; 0 while all went well. */
static int write_error;
/* Where text goes in place of standard output. */
static bert_json_out *diverted;

static void note_error(void) {
    if (!write_error) write_error = errno ? errno : EIO;
}

/*
 * A standard stream that the caller closed would be the next file that is opened, and answers would go into that.
 * /dev/null takes its place, opened so that to use it stays the error that it was.
 */
static void fill_closed_streams(void) {
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
        if (fcntl(stream, F_GETFD) < 0) open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
}

void bert_output_begin(void) {
    fill_closed_streams();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void bert_output_print(const char *format, ...) {
    if (write_error) return;
    va_list arguments;
    va_start(arguments, format);
    if (diverted) {
        bert_json_out_format(diverted, format, arguments);
    } else if (vfprintf(stdout, format, arguments) < 0) {
        note_error();
    }
    va_end(arguments);
}

void bert_output_write(const char *bytes, size_t length) {
    if (diverted) {
        bert_json_out_raw(diverted, bytes, length);
    } else if (length && !write_error && fwrite(bytes, 1, length, stdout) != length) {
        note_error();
    }
}

void bert_output_divert(bert_json_out *text) {
    diverted = text;
}

bool bert_output_flush(void) {
    if (!write_error && fflush(stdout)) note_error();
    return !write_error;
}

int bert_output_end(int status) {
    bert_output_flush();
    if (fclose(stdout)) note_error();
    if (write_error && write_error != EPIPE) {
        bert_cli_complain("cannot write to standard output: %s", strerror(write_error));
        return BERT_EXIT_FAILED;
    }
    return status;
}
