#include "core/base/file.h"

#include "core/base/error.h"
#include "core/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bert_status fail_errno(bert_error *error, const char *path, const char *what) {
    int code = errno;
    return bert_fail(error, code == ENOMEM ? BERT_OUT_OF_MEMORY : BERT_IO_ERROR, "%s: %s: %s", path, what,
                     strerror(code));
}

static bert_status read_all(int descriptor, const char *path, unsigned char *data, size_t size, bert_error *error) {
    for (size_t done = 0; done < size;) {
        ssize_t got = read(descriptor, data + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(error, path, "could not be read");
        if (got == 0) {
            return bert_fail(error, BERT_IO_ERROR, "%s: ended after %zu of its %zu bytes while it was read", path, done,
                             size);
        }
        done += (size_t)got;
    }
    return BERT_OK;
}

static bert_status open_descriptor(int descriptor, const char *path, bool map, const bert_allocator *allocator,
                                   bert_file *out, bert_error *error) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) return fail_errno(error, path, "could not be looked at");
    if (S_ISDIR(status.st_mode)) return bert_fail(error, BERT_IO_ERROR, "%s: is a folder, not a file", path);
    if (!S_ISREG(status.st_mode)) return bert_fail(error, BERT_IO_ERROR, "%s: is not a regular file", path);
    bert_file file = {.size = (size_t)status.st_size, .mapped = map, .allocator = allocator};
    if (file.size == 0) {
        *out = (bert_file){0};
        return BERT_OK;
    }
    if (map) {
        void *data = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED) return fail_errno(error, path, "could not be mapped");
        file.data = data;
    } else {
        unsigned char *data = bert_allocate(allocator, file.size, BERT_ALIGNMENT);
        if (!data) return bert_fail_memory(error, file.size, path);
        bert_status read_status = read_all(descriptor, path, data, file.size, error);
        if (read_status != BERT_OK) {
            bert_deallocate(allocator, data, file.size, BERT_ALIGNMENT);
            return read_status;
        }
        file.data = data;
        file.allocator = allocator ? allocator : &bert_default_allocator;
    }
    *out = file;
    return BERT_OK;
}

bert_status bert_file_open(const char *path, bool map, const bert_allocator *allocator, bert_file *out,
                           bert_error *error) {
    *out = (bert_file){0};
    /* O_NONBLOCK so that opening a pipe does not hang; it means nothing for a regular file. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return fail_errno(error, path, "could not be opened");
    bert_status status = open_descriptor(descriptor, path, map, allocator, out, error);
    close(descriptor);
    return status;
}

void bert_file_close(bert_file *file) {
    if (file->mapped) {
        munmap((void *)file->data, file->size);
    } else if (file->allocator) {
        bert_deallocate(file->allocator, (void *)file->data, file->size, BERT_ALIGNMENT);
    }
    *file = (bert_file){0};
}

void bert_file_release_pages(const bert_file *file, const void *data, size_t bytes) {
    if (!file->mapped) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)data + bytes) & ~(page - 1);
    if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
}
