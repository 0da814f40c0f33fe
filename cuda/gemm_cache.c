/*
 * The plug-in imports nothing of the host, so files and checksums are done with the C library here. The table is a
 * sorted array: a model has tens of products, and a look-up comes once a product and plan.
 */
#include "cuda/gemm_cache.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_CHOICES = 1 << 16, MOST_FILE_BYTES = 1 << 24 };

static const char first_line[] = "bert.c GEMM choices, format 1";

typedef struct entry {
    bert_cuda_gemm_key key;
    bert_cuda_gemm_choice choice;
} entry;

typedef struct table {
    entry *entries; /* Ascending by key. */
    size_t count, capacity;
} table;

struct bert_cuda_gemm_cache {
    pthread_mutex_t lock;
    char *path; /* NULL: in memory alone. */
    char *identity;
    table choices;
    bool changed; /* The file lacks something. */
};

int64_t bert_cuda_gemm_bucket(int64_t rows) {
    int64_t step = 1;
    while (rows > 8 * step) step *= 2;
    return (rows + step - 1) / step * step;
}

bool bert_cuda_gemm_cache_path(const char *beside, char *out, size_t size) {
    const char *named = getenv("BERT_CUDA_GEMM_CACHE");
    if (size == 0) return false;
    *out = 0;
    if (named && (!*named || strcmp(named, "off") == 0)) return false;
    if (!named && !beside) return false;
    const int length = named ? snprintf(out, size, "%s", named) : snprintf(out, size, "%s.gemm", beside);
    if (length >= 0 && (size_t)length < size) return true;
    *out = 0;
    return false;
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
        entry *grown = realloc(t->entries, capacity * sizeof *grown);
        if (!grown) return false;
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
                    " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRId64,
                    k->kind, k->flags, k->alignment, k->rows, k->n, k->k, k->batch, w[0], w[1], w[2], w[3], w[4], w[5],
                    w[6], w[7], e->choice.nanoseconds);
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
    const int fields =
        sscanf(copy,
               "%" SCNd32 " %" SCNu32 " %" SCNd32 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNx64
               " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNd64,
               &k->kind, &k->flags, &k->alignment, &k->rows, &k->n, &k->k, &k->batch, &w[0], &w[1], &w[2], &w[3], &w[4],
               &w[5], &w[6], &w[7], &out->choice.nanoseconds);
    return fields == 16 && format_choice(out, again, sizeof again) == (int)length && strcmp(copy, again) == 0;
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

/* What a file is to a cache; `why` is the end of a sentence about it. */
typedef enum verdict { GOOD, STALE, DAMAGED, NO_MEMORY } verdict;

static verdict parse_choices(const char *text, size_t size, size_t at, table *out, char *why, size_t why_size) {
    const char *line;
    size_t length, begin = at;
    int number = 3;
    char last[64];
    entry read;
    for (; next_line(text, size, &at, &line, &length); begin = at, number++) {
        if (length > 4 && memcmp(line, "end ", 4) == 0) break;
        if (!parse_choice(line, length, &read)) {
            snprintf(why, why_size, "is damaged in line %d", number);
            return DAMAGED;
        }
        if (!put(out, &read, true)) return NO_MEMORY;
    }
    snprintf(last, sizeof last, "end %zu %016" PRIx64, out->count, checksum(text, begin));
    if (begin == at || at != size || !same_text(line, length, last)) {
        snprintf(why, why_size, "is damaged: its end is not what it was written with");
        return DAMAGED;
    }
    return GOOD;
}

/* All of a file's text. On anything but GOOD `out` is empty. */
static verdict parse(const char *text, size_t size, const char *identity, table *out, char *why, size_t why_size) {
    const char *line;
    size_t length, at = 0;
    *out = (table){0};
    if (!next_line(text, size, &at, &line, &length) || !same_text(line, length, first_line)) {
        snprintf(why, why_size, "is of another version, or not a file of choices");
        return STALE;
    }
    if (!next_line(text, size, &at, &line, &length)) {
        snprintf(why, why_size, "is damaged: it ends in line 2");
        return DAMAGED;
    }
    if (!same_text(line, length, identity)) {
        snprintf(why, why_size, "is for '%.*s', not for '%s'", (int)(length < 200 ? length : 200), line, identity);
        return STALE;
    }
    const verdict found = parse_choices(text, size, at, out, why, why_size);
    if (found == GOOD) return GOOD;
    free(out->entries);
    *out = (table){0};
    return found;
}

/* Reads a whole regular file; NULL with errno. Free it. */
static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rbe");
    if (!file) return NULL;
    struct stat about;
    char *text = NULL;
    errno = 0;
    if (fstat(fileno(file), &about) == 0) {
        if (!S_ISREG(about.st_mode) || about.st_size > MOST_FILE_BYTES)
            errno = EFBIG;
        else
            text = malloc((size_t)about.st_size + 1);
    }
    if (text) *size = fread(text, 1, (size_t)about.st_size, file);
    const int kept = errno;
    fclose(file);
    errno = kept;
    return text;
}

/* What the file has for the identity, into `out`; a sentence in `notice` when it can't be used. */
static verdict load(const char *path, const char *identity, table *out, char *notice, size_t size) {
    size_t bytes = 0;
    *out = (table){0};
    char *text = read_file(path, &bytes);
    if (!text) {
        if (errno == ENOENT) return GOOD;
        snprintf(notice, size, "choices of GEMM algorithms in %s can't be read (%s): they are measured again", path,
                 strerror(errno));
        return errno == ENOMEM ? NO_MEMORY : DAMAGED;
    }
    char why[512] = "does not fit into memory";
    const verdict found = parse(text, bytes, identity, out, why, sizeof why);
    free(text);
    if (found != GOOD)
        snprintf(notice, size, "%s %s: it is ignored, and GEMM algorithms are measured again", path, why);
    return found;
}

/* The file's text. Free it. */
static char *format(const char *identity, const table *t, size_t *length) {
    const size_t room = sizeof first_line + strlen(identity) + 2 + t->count * 512 + 64;
    char *text = malloc(room);
    if (!text) return NULL;
    size_t at = (size_t)snprintf(text, room, "%s\n%s\n", first_line, identity);
    for (size_t i = 0; i < t->count; i++) {
        at += (size_t)format_choice(&t->entries[i], text + at, room - at);
        text[at++] = '\n';
    }
    const uint64_t sum = checksum(text, at);
    at += (size_t)snprintf(text + at, room - at, "end %zu %016" PRIx64 "\n", t->count, sum);
    *length = at;
    return text;
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

/* Under another name in the same folder first, which then takes the place of the file in one step. */
static bool replace_file(const char *path, const char *text, size_t length) {
    const size_t room = strlen(path) + 8;
    char *temporary = malloc(room);
    if (!temporary) return false;
    snprintf(temporary, room, "%s.XXXXXX", path);
    const int file = mkstemp(temporary);
    bool good = file >= 0;
    if (good) {
        /* mkstemp gives its owner alone a look; these are no secrets. */
        good = fchmod(file, 0644) == 0 && write_all(file, text, length);
        if (close(file) != 0) good = false;
        if (good) good = rename(temporary, path) == 0;
        if (!good) {
            const int kept = errno;
            unlink(temporary);
            errno = kept;
        }
    }
    free(temporary);
    return good;
}

/* ---- The cache -----------------------------------------------------------------------------------------------------
 */

/* On one line whatever it says. */
static char *copy_line(const char *text) {
    char *copy = strdup(text);
    for (char *c = copy; c && *c; c++)
        if (iscntrl((unsigned char)*c)) *c = ' ';
    return copy;
}

bert_cuda_gemm_cache *bert_cuda_gemm_cache_create(const char *path, const char *identity, char *notice, size_t size) {
    if (size > 0) *notice = 0;
    bert_cuda_gemm_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return NULL;
    pthread_mutex_init(&cache->lock, NULL);
    cache->identity = copy_line(identity);
    cache->path = path ? strdup(path) : NULL;
    if (!cache->identity || (path && !cache->path)) {
        bert_cuda_gemm_cache_free(cache);
        return NULL;
    }
    if (path) load(path, cache->identity, &cache->choices, notice, size);
    return cache;
}

void bert_cuda_gemm_cache_free(bert_cuda_gemm_cache *cache) {
    if (!cache) return;
    pthread_mutex_destroy(&cache->lock);
    free(cache->choices.entries);
    free(cache->identity);
    free(cache->path);
    free(cache);
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
    pthread_mutex_unlock(&cache->lock);
    return done;
}

size_t bert_cuda_gemm_cache_count(bert_cuda_gemm_cache *cache) {
    pthread_mutex_lock(&cache->lock);
    const size_t count = cache->choices.count;
    pthread_mutex_unlock(&cache->lock);
    return count;
}

static bool save_locked(bert_cuda_gemm_cache *cache, char *notice, size_t size) {
    table there;
    char unused[1024];
    size_t length;
    load(cache->path, cache->identity, &there, unused, sizeof unused);
    for (size_t i = 0; i < there.count; i++) put(&cache->choices, &there.entries[i], false);
    free(there.entries);
    char *text = format(cache->identity, &cache->choices, &length);
    const bool done = text && replace_file(cache->path, text, length);
    if (!done)
        snprintf(notice, size, "choices of GEMM algorithms can't be kept in %s: %s", cache->path, strerror(errno));
    free(text);
    return done;
}

bool bert_cuda_gemm_cache_save(bert_cuda_gemm_cache *cache, char *notice, size_t size) {
    bool done = true;
    if (size > 0) *notice = 0;
    pthread_mutex_lock(&cache->lock);
    if (cache->path && cache->changed) done = save_locked(cache, notice, size);
    if (done) cache->changed = false;
    pthread_mutex_unlock(&cache->lock);
    return done;
}
