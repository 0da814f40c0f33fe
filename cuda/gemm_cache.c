/*
 * The plug-in imports nothing of the host, so files and checksums are done with the C library here. The table is a
 * sorted array: a model has tens of products, and a look-up comes once a product and plan.
 */
#include "cuda/gemm_cache.h"

#include "cuda/environment.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CHOICES = 1 << 16, MOST_FILE_BYTES = 1 << 24 };

static const char first_line[] = "bert.c GEMM choices, format 2";
enum { KIND_LENGTH = 19 }; /* of what every version begins with */

typedef struct entry {
    bert_cuda_gemm_key key;
    bert_cuda_gemm_choice choice;
} entry;

typedef struct table {
    const bert_allocator *allocator;
    entry *entries; /* Ascending by key. */
    size_t count, capacity;
} table;

/* A file's bytes, or those that will be one. */
typedef struct file_text {
    char *data; /* NULL when there are none. */
    size_t length, room;
} file_text;

struct bert_cuda_gemm_cache {
    const bert_allocator *allocator;
    pthread_mutex_t lock;
    char *path; /* NULL: in memory alone. */
    char *identity;
    table choices;
    uint64_t revision;
    bool changed; /* The file lacks something. */
    bool foreign; /* The file is something else, and stays as it is. */
};

int64_t bert_cuda_gemm_bucket(int64_t rows) {
    int64_t step = 1;
    while (rows > 8 * step) step *= 2;
    return (rows + step - 1) / step * step;
}

bool bert_cuda_gemm_cache_path(const char *beside, char *out, size_t size) {
    const char *named = bert_cuda_environment_choices();
    if (size == 0) return false;
    *out = 0;
    if (named && (!*named || strcmp(named, "off") == 0)) return false;
    if (!named && !beside) return false;
    const int length = named ? snprintf(out, size, "%s", named) : snprintf(out, size, "%s.gemm", beside);
    if (length >= 0 && (size_t)length < size) return true;
    *out = 0;
    return false;
}

/* ---- Memory --------------------------------------------------------------------------------------------------------
 */

static void *allocate(const bert_allocator *allocator, size_t bytes) {
    return allocator->allocate(allocator->user, bytes, sizeof(max_align_t));
}

static void release(const bert_allocator *allocator, void *memory, size_t bytes) {
    if (memory) allocator->deallocate(allocator->user, memory, bytes, sizeof(max_align_t));
}

static char *copy_string(const bert_allocator *allocator, const char *string) {
    const size_t bytes = strlen(string) + 1;
    char *copy = allocate(allocator, bytes);
    if (copy) memcpy(copy, string, bytes);
    return copy;
}

static void release_string(const bert_allocator *allocator, char *string) {
    if (string) release(allocator, string, strlen(string) + 1);
}

static void clear(table *t) {
    release(t->allocator, t->entries, t->capacity * sizeof *t->entries);
    *t = (table){.allocator = t->allocator};
}

/* ---- The table -----------------------------------------------------------------------------------------------------
 */

static int compare_numbers(int64_t a, int64_t b) {
    return a < b ? -1 : a > b;
}

static int compare_keys(const bert_cuda_gemm_key *a, const bert_cuda_gemm_key *b) {
    const int64_t left[] = {a->kind, a->flags, a->alignment, a->rows, a->n, a->k, a->batch};
    const int64_t right[] = {b->kind, b->flags, b->alignment, b->rows, b->n, b->k, b->batch};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        const int order = compare_numbers(left[i], right[i]);
        if (order) return order;
    }
    return 0;
}

/* The first entry that is not before the key. */
static size_t place_of(const table *t, const bert_cuda_gemm_key *key) {
    size_t low = 0, high = t->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare_keys(&t->entries[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const entry *find(const table *t, const bert_cuda_gemm_key *key) {
    const size_t at = place_of(t, key);
    return at < t->count && compare_keys(&t->entries[at].key, key) == 0 ? &t->entries[at] : NULL;
}

static bool put(table *t, const entry *what, bool replace) {
    const size_t at = place_of(t, &what->key);
    if (at < t->count && compare_keys(&t->entries[at].key, &what->key) == 0) {
        if (replace) t->entries[at] = *what;
        return true;
    }
    if (t->count == MOST_CHOICES) return false;
    if (t->count == t->capacity) {
        const size_t capacity = t->capacity ? 2 * t->capacity : 64;
        entry *grown = allocate(t->allocator, capacity * sizeof *grown);
        if (!grown) return false;
        if (t->count) memcpy(grown, t->entries, t->count * sizeof *grown);
        release(t->allocator, t->entries, t->capacity * sizeof *grown);
        t->entries = grown;
        t->capacity = capacity;
    }
    memmove(&t->entries[at + 1], &t->entries[at], (t->count - at) * sizeof *t->entries);
    t->entries[at] = *what;
    t->count++;
    return true;
}

/* ---- The file ------------------------------------------------------------------------------------------------------
 */

/* FNV-1a: against damage, not against malice; the library looks at every algorithm before it is used. */
static uint64_t checksum(const char *text, size_t length) {
    uint64_t sum = 0xcbf29ce484222325U;
    for (size_t i = 0; i < length; i++) sum = (sum ^ (unsigned char)text[i]) * 0x100000001b3U;
    return sum;
}

/* A choice's line. Its length, without the newline. */
static int format_choice(const entry *e, char *out, size_t size) {
    const bert_cuda_gemm_key *k = &e->key;
    const uint64_t *w = e->choice.words;
    return snprintf(out, size,
                    "%" PRId32 " %" PRIu32 " %" PRId32 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRIx64
                    " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRId32
                    " %" PRId64,
                    k->kind, k->flags, k->alignment, k->rows, k->n, k->k, k->batch, w[0], w[1], w[2], w[3], w[4], w[5],
                    w[6], w[7], e->choice.way, e->choice.nanoseconds);
}

/* Takes a line in its only spelling: what was read is written again, and has to be the same. */
static bool parse_choice(const char *line, size_t length, entry *out) {
    char copy[512], again[512];
    if (length >= sizeof copy) return false;
    memcpy(copy, line, length);
    copy[length] = 0;
    bert_cuda_gemm_key *k = &out->key;
    uint64_t *w = out->choice.words;
    *out = (entry){0};
    const int fields = sscanf(copy,
                              "%" SCNd32 " %" SCNu32 " %" SCNd32 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
                              " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
                              " %" SCNx64 " %" SCNd32 " %" SCNd64,
                              &k->kind, &k->flags, &k->alignment, &k->rows, &k->n, &k->k, &k->batch, &w[0], &w[1],
                              &w[2], &w[3], &w[4], &w[5], &w[6], &w[7], &out->choice.way, &out->choice.nanoseconds);
    return fields == 17 && format_choice(out, again, sizeof again) == (int)length && strcmp(copy, again) == 0;
}

/* Takes the line that begins at *at off the text; false when there is no whole one. */
static bool next_line(const char *text, size_t size, size_t *at, const char **line, size_t *length) {
    const char *end = *at < size ? memchr(text + *at, '\n', size - *at) : NULL;
    if (!end) return false;
    *line = text + *at;
    *length = (size_t)(end - *line);
    *at += *length + 1;
    return true;
}

static bool same_text(const char *line, size_t length, const char *text) {
    return strlen(text) == length && memcmp(line, text, length) == 0;
}

/* False where a file can't be used; `why` is then the end of a sentence about it. */
static bool parse_choices(const char *text, size_t size, size_t at, table *out, char *why, size_t why_size) {
    const char *line;
    size_t length, begin = at;
    int number = 3;
    char last[64];
    entry read;
    for (; next_line(text, size, &at, &line, &length); begin = at, number++) {
        if (length > 4 && memcmp(line, "end ", 4) == 0) break;
        if (!parse_choice(line, length, &read)) {
            snprintf(why, why_size, "is damaged in line %d", number);
            return false;
        }
        if (!put(out, &read, true)) return false;
    }
    snprintf(last, sizeof last, "end %zu %016" PRIx64, out->count, checksum(text, begin));
    if (begin == at || at != size || !same_text(line, length, last)) {
        snprintf(why, why_size, "is damaged: its end is not what it was written with");
        return false;
    }
    return true;
}

/* All of a file's text, into an empty table. It stays empty where the file can't be used. */
static bool parse(const char *text, size_t size, const char *identity, table *out, char *why, size_t why_size) {
    const char *line;
    size_t length, at = 0;
    if (!next_line(text, size, &at, &line, &length) || !same_text(line, length, first_line)) {
        snprintf(why, why_size, "is of another version");
        return false;
    }
    if (!next_line(text, size, &at, &line, &length)) {
        snprintf(why, why_size, "is damaged: it ends in line 2");
        return false;
    }
    if (!same_text(line, length, identity)) {
        snprintf(why, why_size, "is for '%.*s', not for '%s'", (int)(length < 200 ? length : 200), line, identity);
        return false;
    }
    if (parse_choices(text, size, at, out, why, why_size)) return true;
    clear(out);
    return false;
}

/* Opens a regular file of no more bytes than one of choices may have. Negative where there is none, and `why` is then
 * the end of a sentence about what is there instead, empty for nothing. */
static int open_file(const char *path, size_t *bytes, char *why, size_t why_size) {
    /* O_NONBLOCK so that opening a pipe does not hang; it means nothing for a regular file. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    if (file < 0 && errno == ENOENT)
        *why = 0;
    else if (file < 0 || fstat(file, &about) != 0)
        snprintf(why, why_size, "can't be read (%s)", strerror(errno));
    else if (!S_ISREG(about.st_mode))
        snprintf(why, why_size, "is not a regular file");
    else if (about.st_size > MOST_FILE_BYTES)
        snprintf(why, why_size, "is too large for a file of GEMM choices");
    else {
        *bytes = (size_t)about.st_size;
        return file;
    }
    if (file >= 0) close(file);
    return -1;
}

/* Reads a whole file; false, with `why` as above, where it isn't read. Release its room. */
static bool read_file(const bert_allocator *allocator, const char *path, file_text *out, char *why, size_t why_size) {
    *out = (file_text){0};
    size_t bytes;
    const int file = open_file(path, &bytes, why, why_size);
    if (file < 0) return false;
    out->room = bytes + 1;
    out->data = allocate(allocator, out->room);
    ssize_t got = out->data ? 1 : -1;
    if (!out->data) errno = ENOMEM;
    while (got > 0 && out->length < bytes) {
        got = read(file, out->data + out->length, bytes - out->length);
        if (got > 0) out->length += (size_t)got;
        if (got < 0 && errno == EINTR) got = 1;
    }
    if (got < 0) snprintf(why, why_size, "can't be read (%s)", strerror(errno));
    if (got < 0) release(allocator, out->data, out->room);
    close(file);
    return got >= 0;
}

/* What the file has for the identity, into `out`; a sentence in `notice` when it can't be used. False when there is
 * something that isn't known to be ours: a name that was mistaken must not cost a file. */
static bool load(const bert_allocator *allocator, const char *path, const char *identity, table *out, char *notice,
                 size_t size) {
    file_text file;
    char why[512] = "does not fit into memory";
    *out = (table){.allocator = allocator};
    if (!read_file(allocator, path, &file, why, sizeof why)) {
        if (!*why) return true;
        snprintf(notice, size, "%s %s: it is left as it is, and GEMM algorithms are measured again", path, why);
        return false;
    }
    const bool ours =
        file.length == 0 || (file.length >= KIND_LENGTH && memcmp(file.data, first_line, KIND_LENGTH) == 0);
    if (!ours)
        snprintf(notice, size, "%s is no file of GEMM choices: it is ignored, and left as it is", path);
    else if (!parse(file.data, file.length, identity, out, why, sizeof why))
        snprintf(notice, size, "%s %s: it is ignored, and GEMM algorithms are measured again", path, why);
    release(allocator, file.data, file.room);
    return ours;
}

/* The file's text. False when memory runs out. Release its room. */
static bool format(const char *identity, const table *t, file_text *out) {
    enum { MOST_LINE = 512 };
    *out = (file_text){.room = sizeof first_line + strlen(identity) + 2 + t->count * MOST_LINE + 64};
    out->data = allocate(t->allocator, out->room);
    if (!out->data) return false;
    size_t at = (size_t)snprintf(out->data, out->room, "%s\n%s\n", first_line, identity);
    for (size_t i = 0; i < t->count; i++) {
        at += (size_t)format_choice(&t->entries[i], out->data + at, out->room - at);
        out->data[at++] = '\n';
    }
    const uint64_t sum = checksum(out->data, at);
    at += (size_t)snprintf(out->data + at, out->room - at, "end %zu %016" PRIx64 "\n", t->count, sum);
    out->length = at;
    return true;
}

static bool write_all(int file, const char *text, size_t length) {
    while (length > 0) {
        const ssize_t done = write(file, text, length);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return false;
        text += done;
        length -= (size_t)done;
    }
    return true;
}

/* Under another name in the same folder first, which then takes the place of the file in one step; of the file that a
 * symbolic link names, not of the link. False with errno. */
static bool replace_file(const bert_allocator *allocator, const char *path, const file_text *content) {
    char resolved[PATH_MAX];
    if (realpath(path, resolved)) path = resolved;
    const size_t room = strlen(path) + 8;
    char *temporary = allocate(allocator, room);
    if (!temporary) {
        errno = ENOMEM;
        return false;
    }
    snprintf(temporary, room, "%s.XXXXXX", path);
    const int file = mkstemp(temporary);
    bool good = file >= 0;
    if (good) {
        /* mkstemp lets nobody but the owner look; these are no secrets. */
        good = fchmod(file, 0644) == 0 && write_all(file, content->data, content->length);
        if (close(file) != 0) good = false;
        if (good) good = rename(temporary, path) == 0;
        if (!good) {
            const int kept = errno;
            unlink(temporary);
            errno = kept;
        }
    }
    release(allocator, temporary, room);
    return good;
}

/* ---- The cache -----------------------------------------------------------------------------------------------------
 */

bert_cuda_gemm_cache *bert_cuda_gemm_cache_create(const bert_allocator *allocator, const char *path,
                                                  const char *identity, char *notice, size_t size) {
    if (size > 0) *notice = 0;
    bert_cuda_gemm_cache *cache = allocate(allocator, sizeof *cache);
    if (!cache) return NULL;
    *cache = (bert_cuda_gemm_cache){.allocator = allocator, .choices.allocator = allocator};
    pthread_mutex_init(&cache->lock, NULL);
    cache->identity = copy_string(allocator, identity);
    cache->path = path ? copy_string(allocator, path) : NULL;
    if (!cache->identity || (path && !cache->path)) {
        bert_cuda_gemm_cache_free(cache);
        return NULL;
    }
    for (char *c = cache->identity; *c; c++) /* on one line whatever it says */
        if (iscntrl((unsigned char)*c)) *c = ' ';
    if (path) cache->foreign = !load(allocator, path, cache->identity, &cache->choices, notice, size);
    return cache;
}

void bert_cuda_gemm_cache_free(bert_cuda_gemm_cache *cache) {
    if (!cache) return;
    pthread_mutex_destroy(&cache->lock);
    clear(&cache->choices);
    release_string(cache->allocator, cache->identity);
    release_string(cache->allocator, cache->path);
    release(cache->allocator, cache, sizeof *cache);
}

bool bert_cuda_gemm_cache_find(bert_cuda_gemm_cache *cache, const bert_cuda_gemm_key *key, bert_cuda_gemm_choice *out) {
    pthread_mutex_lock(&cache->lock);
    const entry *found = find(&cache->choices, key);
    if (found) *out = found->choice;
    pthread_mutex_unlock(&cache->lock);
    return found != NULL;
}

bool bert_cuda_gemm_cache_add(bert_cuda_gemm_cache *cache, const bert_cuda_gemm_key *key,
                              const bert_cuda_gemm_choice *choice) {
    pthread_mutex_lock(&cache->lock);
    const bool done = put(&cache->choices, &(entry){*key, *choice}, true);
    if (done) cache->changed = true;
    if (done) cache->revision++;
    pthread_mutex_unlock(&cache->lock);
    return done;
}

uint64_t bert_cuda_gemm_cache_revision(bert_cuda_gemm_cache *cache) {
    pthread_mutex_lock(&cache->lock);
    const uint64_t revision = cache->revision;
    pthread_mutex_unlock(&cache->lock);
    return revision;
}

size_t bert_cuda_gemm_cache_count(bert_cuda_gemm_cache *cache) {
    pthread_mutex_lock(&cache->lock);
    const size_t count = cache->choices.count;
    pthread_mutex_unlock(&cache->lock);
    return count;
}

static bool save_locked(bert_cuda_gemm_cache *cache, char *notice, size_t size) {
    table there;
    file_text content;
    cache->foreign = !load(cache->allocator, cache->path, cache->identity, &there, notice, size);
    if (cache->foreign) return false;
    if (size > 0) *notice = 0; /* what can't be used of a file of ours is replaced */
    const size_t before = cache->choices.count;
    for (size_t i = 0; i < there.count; i++) put(&cache->choices, &there.entries[i], false);
    if (cache->choices.count != before) cache->revision++;
    clear(&there);
    bool done = format(cache->identity, &cache->choices, &content);
    if (!done) errno = ENOMEM;
    if (done) done = replace_file(cache->allocator, cache->path, &content);
    if (!done)
        snprintf(notice, size, "choices of GEMM algorithms can't be kept in %s: %s", cache->path, strerror(errno));
    release(cache->allocator, content.data, content.room);
    return done;
}

bool bert_cuda_gemm_cache_save(bert_cuda_gemm_cache *cache, char *notice, size_t size) {
    bool done = true;
    if (size > 0) *notice = 0;
    pthread_mutex_lock(&cache->lock);
    if (cache->path && cache->changed && !cache->foreign) done = save_locked(cache, notice, size);
    if (done) cache->changed = false;
    pthread_mutex_unlock(&cache->lock);
    return done;
}
