#include "core/base/file_out.h"

#include "core/base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bert_status fail_errno(bert_error *error, const char *path, const char *what) {
    return bert_fail(error, BERT_IO_ERROR, "%s: %s: %s", path, what, strerror(errno));
}

void bert_file_out_abandon(bert_file_out *out) {
    if (out->stream) {
        fclose(out->stream);
        unlink(out->temporary);
    }
    free(out->path);
    free(out->temporary);
    *out = (bert_file_out){0};
}

/* mkstemp gives a file to its owner alone; a new file has what the process's mask leaves. */
static void give_permissions(int descriptor, const struct stat *before) {
    mode_t mask = umask(0);
    umask(mask);
    mode_t mode = before ? before->st_mode & 07777 : 0666 & ~mask;
    if (fchmod(descriptor, mode) != 0) return; /* some file systems have none: then there is nothing to give */
}

bert_status bert_file_out_open(const char *path, bert_file_out *out, bert_error *error) {
    *out = (bert_file_out){0};
    struct stat before;
    bool exists = stat(path, &before) == 0;
    if (exists && !S_ISREG(before.st_mode)) {
        return bert_fail(error, BERT_IO_ERROR, "%s: is there and is not a regular file", path);
    }
    bert_file_out file = {.path = strdup(path)};
    if (!file.path || asprintf(&file.temporary, "%s.XXXXXX", path) < 0) {
        free(file.path);
        return bert_fail_memory(error, strlen(path), "a path");
    }
    int descriptor = mkstemp(file.temporary);
    if (descriptor < 0) {
        bert_status status = fail_errno(error, path, "could not be written");
        bert_file_out_abandon(&file);
        return status;
    }
    give_permissions(descriptor, exists ? &before : NULL);
    file.stream = fdopen(descriptor, "wb");
    if (!file.stream) {
        bert_status status = fail_errno(error, path, "could not be written");
        close(descriptor);
        unlink(file.temporary);
        bert_file_out_abandon(&file);
        return status;
    }
    *out = file;
    return BERT_OK;
}

bert_status bert_file_out_write(bert_file_out *out, const void *data, size_t bytes, bert_error *error) {
    if (bytes && fwrite(data, 1, bytes, out->stream) != bytes) {
        return fail_errno(error, out->path, "could not be written");
    }
    out->position += bytes;
    return BERT_OK;
}

bert_status bert_file_out_close(bert_file_out *out, bert_error *error) {
    bert_status status = BERT_OK;
    if (fclose(out->stream) != 0) status = fail_errno(error, out->path, "could not be written");
    out->stream = NULL;
    if (status == BERT_OK && rename(out->temporary, out->path) != 0) {
        status = fail_errno(error, out->path, "could not be given its name");
    }
    if (status != BERT_OK) unlink(out->temporary);
    bert_file_out_abandon(out);
    return status;
}
