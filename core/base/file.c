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

static int64_t nanoseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static bert_file_stamp stamp_of(const struct stat *status) {
    return (bert_file_stamp){.device = (uint64_t)status->st_dev,
                             .inode = (uint64_t)status->st_ino,
                             .written_ns = nanoseconds(&status->st_mtim),
                             .changed_ns = nanoseconds(&status->st_ctim)};
}

static bert_status open_descriptor(int descriptor, const char *path, bool map, const bert_allocator *allocator,
                                   bert_file *out, bert_error *error) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) return fail_errno(error, path, "could not be looked at");
    if (S_ISDIR(status.st_mode)) return bert_fail(error, BERT_IO_ERROR, "%s: is a folder, not a file", path);
    if (!S_ISREG(status.st_mode)) return bert_fail(error, BERT_IO_ERROR, "%s: is not a regular file", path);
    bert_file file = {
        .size = (size_t)status.st_size, .mapped = map, .stamp = stamp_of(&status), .allocator = allocator};
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

bool bert_file_is_at(const bert_file *file, const char *path) {
    struct stat status;
    if (file->stamp.inode == 0 || stat(path, &status) != 0) return false;
    const bert_file_stamp there = stamp_of(&status);
    return there.device == file->stamp.device && there.inode == file->stamp.inode;
}

/* The whole pages inside [data, data + bytes), or (grown) all that it touches, for madvise. */
static void advise_pages(const bert_file *file, const void *data, size_t bytes, bool grown, int advice) {
    if (!file->mapped) return;
    const uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    const uintptr_t start = (uintptr_t)data + (grown ? 0 : mask), end = (uintptr_t)data + bytes + (grown ? mask : 0);
    if ((start & ~mask) < (end & ~mask)) madvise((void *)(start & ~mask), (end & ~mask) - (start & ~mask), advice);
}

void bert_file_release_pages(const bert_file *file, const void *data, size_t bytes) {
    advise_pages(file, data, bytes, false, MADV_DONTNEED);
}

void bert_file_fetch_pages(const bert_file *file, const void *data, size_t bytes) {
#if defined(MADV_POPULATE_READ)
    advise_pages(file, data, bytes, true, MADV_POPULATE_READ);
#else
    advise_pages(file, data, bytes, true, MADV_WILLNEED);
#endif
}
