#include "cpu/ops/attention_window.h"

/* Keys that are looked at together, without a branch, so that compilers make vectors of it: what a window is made of,
 * and, where most is dropped, some of these. */
enum { CHUNK = 16, CHUNKS = 64 };

/* Biases up to the first drop a key, from the second on a key counts. */
#define DROPPED (-1e30F)
#define COUNTING (-1000.0F)

/* Bias and mask of one row; NULL: none. */
typedef struct row_terms {
    const float *bias;
    const uint8_t *mask;
    int64_t bias_stride, mask_stride;
    bool mask_drops; /* not only to a value that scores may be below */
} row_terms;

static row_terms terms_of(const bert_attention_args *args, int64_t row) {
    return (row_terms){.bias = args->bias ? args->bias + row * args->bias_row_stride : NULL,
                       .mask = args->mask ? args->mask + row * args->mask_row_stride : NULL,
                       .bias_stride = args->bias_stride,
                       .mask_stride = args->mask_stride,
                       .mask_drops = args->mask_value <= DROPPED};
}

/* NaN isn't dropped, nor does it count. */
static bool is_dropped(const row_terms *row, int64_t key) {
    if (row->mask && !row->mask[key * row->mask_stride]) return row->mask_drops;
    return row->bias && row->bias[key * row->bias_stride] <= DROPPED;
}

static bool counts(const row_terms *row, int64_t key) {
    if (row->mask && !row->mask[key * row->mask_stride]) return false;
    return !row->bias || row->bias[key * row->bias_stride] >= COUNTING;
}

static inline bool biases_drop(const float *bias, const int count) {
    int left = 0;
    for (int i = 0; i < count; i++) left |= !(bias[i] <= DROPPED);
    return left == 0;
}

static inline bool masks_drop(const uint8_t *mask, const int count) {
    int left = 0;
    for (int i = 0; i < count; i++) left |= mask[i];
    return left == 0;
}

/* Whether all keys of [first, end) are dropped: a chunk, some, or the last ones. */
static bool drops_all(const row_terms *row, int64_t first, int64_t end) {
    const int64_t count = end - first;
    const bool whole = count == CHUNK || count == CHUNKS;
    if (whole && row->bias && !row->mask && row->bias_stride == 1)
        return count == CHUNK ? biases_drop(row->bias + first, CHUNK) : biases_drop(row->bias + first, CHUNKS);
    if (whole && row->mask && !row->bias && row->mask_stride == 1 && row->mask_drops)
        return count == CHUNK ? masks_drop(row->mask + first, CHUNK) : masks_drop(row->mask + first, CHUNKS);
    bool all = true;
    for (int64_t key = first; key < end && all; key++) all = is_dropped(row, key);
    return all;
}

/* Where the first chunk starts that a row doesn't drop: the rows before have one at `most`. */
static int64_t first_of(const row_terms *row, int64_t most) {
    int64_t first = 0;
    while (first + CHUNKS <= most && drops_all(row, first, first + CHUNKS)) first += CHUNKS;
    while (first + CHUNK <= most && drops_all(row, first, first + CHUNK)) first += CHUNK;
    return first + CHUNK <= most || !drops_all(row, first, most) ? first : most;
}

/* Where the last one ends; the rows before have one that ends at `least`, which is a whole chunk's end. */
static int64_t end_of(const row_terms *row, int64_t least, int64_t n) {
    int64_t end = n / CHUNK * CHUNK;
    if (end < n && !drops_all(row, end, n)) return n;
    while (end - CHUNKS >= least && drops_all(row, end - CHUNKS, end)) end -= CHUNKS;
    while (end - CHUNK >= least && drops_all(row, end - CHUNK, end)) end -= CHUNK;
    return end;
}

/* Whether a key of the window counts, which is sought from `*at` on: neighbours' keys are neighbours. */
static bool finds_key(const row_terms *row, const bert_attention_window *window, int64_t *at) {
    const int64_t from = *at;
    for (int64_t key = from; key < window->end; key++) {
        *at = key;
        if (counts(row, key)) return true;
    }
    for (int64_t key = window->first; key < from; key++) {
        *at = key;
        if (counts(row, key)) return true;
    }
    return false;
}

bert_attention_window bert_attention_window_of(const bert_attention_args *args, int64_t step) {
    const bert_attention_window all = {.first = 0, .end = args->n};
    bert_attention_window window = {.first = args->n, .end = 0};
    for (int64_t row = 0; row < args->rows && window.first > 0; row++) {
        const row_terms terms = terms_of(args, row);
        window.first = first_of(&terms, window.first);
    }
    if (window.first == args->n) return all;
    for (int64_t row = args->rows - 1; row >= 0 && window.end < args->n; row--) {
        const row_terms terms = terms_of(args, row);
        window.end = end_of(&terms, window.end, args->n);
    }
    window.first = window.first / step * step;
    window.end = (window.end + step - 1) / step * step;
    if (window.end > args->n) window.end = args->n;
    if (window.first == 0 && window.end == args->n) return all;
    int64_t at = window.first;
    for (int64_t row = 0; row < args->rows; row++) {
        const row_terms terms = terms_of(args, row);
        if (!finds_key(&terms, &window, &at)) return all;
    }
    return window;
}
