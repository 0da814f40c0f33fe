#include "cpu/gemm/quantized.h"

#include "core/base/error.h"
#include "core/base/memory.h"
#include "cpu/device.h"
#include "cpu/gemm/bounded.h"
#include "cpu/gemm/panels.h"

#include <string.h>

/* ---- Packing ----------------------------------------------------------------------------------------------------- */

static void key_of(const bert_quantized_source *source, uint64_t ids[3 * BERT_GEMM_MAX_PARTS]) {
    for (int32_t i = 0; i < source->count; i++) {
        ids[3 * i] = source->weights[i]->id;
        ids[3 * i + 1] = source->scales[i]->id;
        ids[3 * i + 2] = source->zero_points[i] ? source->zero_points[i]->id : 0;
    }
}

static int64_t panels_of(int64_t n) {
    return (n + BERT_QGEMM_COLUMNS - 1) / BERT_QGEMM_COLUMNS;
}

/* Elements from one row of a part to the next, and from one column to the next; its columns. */
typedef struct part_layout {
    int64_t depth, columns, row_stride, column_stride;
} part_layout;

static part_layout layout_of(const bert_quantized_source *source, int32_t part) {
    const int64_t *dims = source->weights[part]->dims;
    return source->transposed ? (part_layout){dims[1], dims[0], 1, dims[1]}
                              : (part_layout){dims[0], dims[1], dims[1], 1};
}

/* Sizes of what is packed but excess. */
typedef struct packed_sizes {
    size_t panels, all;
    bool bounded;
} packed_sizes;

/* Fills sizes; false where the parts don't go together or sizes overflow. */
static bool measure(const bert_quantized_source *source, bert_quantized_weight *weight, packed_sizes *sizes) {
    for (int32_t i = 0; i < source->count; i++) {
        const part_layout part = layout_of(source, i);
        if (i > 0 && part.depth != weight->k) return false;
        weight->k = part.depth;
        if (__builtin_add_overflow(weight->n, part.columns, &weight->n)) return false;
    }
    if (weight->n > INT32_MAX || weight->k > INT32_MAX) return false;
    weight->steps = (weight->k + BERT_QGEMM_STEP - 1) / BERT_QGEMM_STEP;
    const size_t panels = (size_t)panels_of(weight->n);
    size_t vectors;
    return bert_size_multiply(panels * BERT_QGEMM_COLUMNS, (size_t)weight->steps * BERT_QGEMM_STEP, &sizes->panels) &&
           bert_size_multiply((size_t)weight->n, sizeof(float) + 2 * sizeof(int32_t), &vectors) &&
           bert_size_add(sizes->panels, vectors, &sizes->all) &&
           bert_size_add(sizes->all, sizes->bounded ? panels * sizeof(bert_qgemm_bounds) : 0, &sizes->all);
}

/* Where a scale or zero point of a column stands: constants may start at any address. */
static int64_t element_of(const bert_constant *constant, int64_t column) {
    return constant->rank == 0 || constant->dims[0] == 1 ? 0 : column;
}

/* What is taken from values and zero points so that they are int8. */
static int32_t shift_of(const bert_constant *weight) {
    return weight->dtype == BERT_UINT8 ? 128 : 0;
}

static int32_t byte_at(const bert_constant *constant, int64_t index) {
    const unsigned char byte = constant->data[index];
    return constant->dtype == BERT_UINT8 ? byte : (int32_t)(int8_t)byte;
}

/* A part on its way into panels. */
typedef struct packing {
    const bert_quantized_source *source;
    int32_t part;
    int64_t first, columns; /* the columns that the part becomes */
    const bert_quantized_weight *weight;
    int8_t *panels;
    float *scales;
    int32_t *zeros, *offsets;
} packing;

/* Columns [from, to), all of one panel: the scale and zero point of each, and what the zero point is of its offset. */
static void pack_vectors(const packing *p, int64_t from, int64_t to) {
    const bert_constant *scale = p->source->scales[p->part], *zero_point = p->source->zero_points[p->part];
    const int32_t shift = shift_of(p->source->weights[p->part]);
    for (int64_t column = from; column < to; column++) {
        const int64_t j = column - p->first;
        memcpy(p->scales + column, scale->data + element_of(scale, j) * (int64_t)sizeof(float), sizeof(float));
        p->zeros[column] = (zero_point ? byte_at(zero_point, element_of(zero_point, j)) : 0) - shift;
        p->offsets[column] = (int32_t)(0U - (uint32_t)p->zeros[column] * (uint32_t)p->weight->k);
    }
}

_Static_assert(BERT_QGEMM_STEP == 4, "pack_step writes four rows");

/* One step of `columns` columns that lie side by side, four rows: plain enough for compilers to make vectors of. */
static void pack_step(const unsigned char *const in[BERT_QGEMM_STEP], unsigned char flip, int64_t columns,
                      int8_t *restrict out, uint32_t *restrict sums) {
    for (int64_t j = 0; j < columns; j++) {
        const int8_t a = (int8_t)(in[0][j] ^ flip), b = (int8_t)(in[1][j] ^ flip);
        const int8_t c = (int8_t)(in[2][j] ^ flip), d = (int8_t)(in[3][j] ^ flip);
        out[j * BERT_QGEMM_STEP] = a;
        out[j * BERT_QGEMM_STEP + 1] = b;
        out[j * BERT_QGEMM_STEP + 2] = c;
        out[j * BERT_QGEMM_STEP + 3] = d;
        sums[j] += (uint32_t)(a + b + c + d); /* wraps around, as products do */
    }
}

/* What of a part falls into one panel. */
typedef struct panel_share {
    int64_t from, to;            /* columns of the whole weight */
    const unsigned char *values; /* of column `from` */
    int8_t *out;
    uint32_t sums[BERT_QGEMM_COLUMNS];
} panel_share;

/* Panels of one task: what they take of a row are whole cache lines, so that each is fetched once. */
enum { GROUP = 4 };

static panel_share share_of(const packing *p, int64_t panel) {
    const int64_t begin = panel * BERT_QGEMM_COLUMNS, end = p->first + p->columns;
    panel_share share = {.from = p->first > begin ? p->first : begin,
                         .to = end < begin + BERT_QGEMM_COLUMNS ? end : begin + BERT_QGEMM_COLUMNS};
    share.values =
        p->source->weights[p->part]->data + (share.from - p->first) * layout_of(p->source, p->part).column_stride;
    share.out = p->panels + begin * p->weight->steps * BERT_QGEMM_STEP + (share.from - begin) * BERT_QGEMM_STEP;
    return share;
}

/* Where a column's rows are side by side. */
static void pack_transposed(panel_share *share, int64_t k, unsigned char flip) {
    for (int64_t j = 0; j < share->to - share->from; j++) {
        for (int64_t row = 0; row < k; row++) {
            const int8_t value = (int8_t)(share->values[j * k + row] ^ flip);
            share->out[(row / BERT_QGEMM_STEP * BERT_QGEMM_COLUMNS + j) * BERT_QGEMM_STEP + row % BERT_QGEMM_STEP] =
                value;
            share->sums[j] += (uint32_t)(int32_t)value;
        }
    }
}

/* Values, four rows of a column side by side, and their sums. */
static void pack_values(const packing *p, panel_share *shares, int64_t count) {
    const part_layout layout = layout_of(p->source, p->part);
    const unsigned char flip = shift_of(p->source->weights[p->part]) ? 0x80 : 0; /* less 128, as int8 */
    unsigned char zeros[BERT_QGEMM_COLUMNS];                                     /* a row beyond k */
    memset(zeros, flip, sizeof zeros);
    if (p->source->transposed) {
        for (int64_t i = 0; i < count; i++) pack_transposed(&shares[i], p->weight->k, flip);
        return;
    }
    for (int64_t row = 0; row < p->weight->k; row += BERT_QGEMM_STEP) {
        for (panel_share *share = shares; share < shares + count; share++) {
            const unsigned char *rows[BERT_QGEMM_STEP];
            for (int64_t i = 0; i < BERT_QGEMM_STEP; i++)
                rows[i] = row + i < p->weight->k ? share->values + (row + i) * layout.row_stride : zeros;
            pack_step(rows, flip, share->to - share->from, share->out + row * BERT_QGEMM_COLUMNS, share->sums);
        }
    }
}

static void pack_group(void *argument, int64_t task, int thread) {
    const packing *p = argument;
    const int64_t last = (p->first + p->columns - 1) / BERT_QGEMM_COLUMNS;
    const int64_t panel = p->first / BERT_QGEMM_COLUMNS + task * GROUP;
    panel_share shares[GROUP];
    int64_t count = 0;
    for (; count < GROUP && panel + count <= last; count++) shares[count] = share_of(p, panel + count);
    pack_values(p, shares, count);
    for (int64_t i = 0; i < count; i++) {
        pack_vectors(p, shares[i].from, shares[i].to);
        for (int64_t column = shares[i].from; column < shares[i].to; column++)
            p->offsets[column] = (int32_t)((uint32_t)p->offsets[column] + shares[i].sums[column - shares[i].from]);
    }
}

/* Where the vectors and the bounds stand after the panels, a multiple of 192 bytes. */
static void place(bert_quantized_weight *weight, const void *memory, const packed_sizes *sizes) {
    weight->panels = memory;
    weight->scales = (const float *)(const void *)(weight->panels + sizes->panels);
    weight->zeros = (const int32_t *)(const void *)(weight->scales + weight->n);
    weight->offsets = weight->zeros + weight->n;
    if (sizes->bounded) weight->bounds = (const bert_qgemm_bounds *)(const void *)(weight->offsets + weight->n);
}

static void pack(bert_thread_pool *threads, const bert_quantized_source *source, bert_quantized_weight *weight,
                 void *memory, const packed_sizes *sizes) {
    memset(memory, 0, sizes->all); /* beyond k and n there are zeros */
    place(weight, memory, sizes);
    packing all = {.source = source,
                   .weight = weight,
                   .panels = memory,
                   .scales = (float *)weight->scales,
                   .zeros = (int32_t *)weight->zeros,
                   .offsets = (int32_t *)weight->offsets};
    for (all.part = 0; all.part < source->count; all.part++) {
        all.columns = layout_of(source, all.part).columns;
        if (all.columns == 0) continue;
        const int64_t last = (all.first + all.columns - 1) / BERT_QGEMM_COLUMNS;
        bert_thread_pool_run(threads, (last - all.first / BERT_QGEMM_COLUMNS) / GROUP + 1, pack_group, &all);
        all.first += all.columns;
    }
}

/* ---- Bounds ------------------------------------------------------------------------------------------------------ */

/* A packed weight whose panels are to be bounded, in the memory that it was packed into, and what was measured of each.
 */
typedef struct bounding {
    const bert_cpu_kernels *kernels;
    const bert_quantized_weight *weight;
    int8_t *panels;
    int32_t *zeros;
    bert_qgemm_bounds *bounds;
    bert_qgemm_excess *excess;
    uint8_t *most;
    int64_t most_bytes; /* of a panel */
} bounding;

static int8_t *panel_of(const bounding *b, int64_t panel) {
    return b->panels + panel * BERT_QGEMM_COLUMNS * b->weight->steps * BERT_QGEMM_STEP;
}

/* The zero points of each weight of a panel's step, zeros beyond n. All fit in a byte (pack_vectors). */
static void zeros_of(const bounding *b, int64_t panel, int8_t out[BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP]) {
    const int32_t *zeros = b->zeros + panel * BERT_QGEMM_COLUMNS;
    const int64_t width = bert_gemm_panel_width(b->weight->n, BERT_QGEMM_COLUMNS, panel);
    memset(out, 0, BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP);
    for (int64_t i = 0; i < width * BERT_QGEMM_STEP; i++) out[i] = (int8_t)zeros[i / BERT_QGEMM_STEP];
}

/* first[g + 1] is how many pairs group g has, until place_excess adds them up. */
static void count_excess(void *argument, int64_t panel, int thread) {
    const bounding *b = argument;
    bert_qgemm_bounds *bounds = &b->bounds[panel];
    uint8_t *most = b->most + panel * b->most_bytes;
    int8_t zeros[BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP];
    zeros_of(b, panel, zeros);
    b->kernels->measure_excess(&(bert_measure_excess_args){most, panel_of(b, panel), zeros, b->weight->steps});
    bounds->bounded = bert_qgemm_count_excess(most, b->weight->steps, bounds->first + 1);
    if (!bounds->bounded) memset(bounds, 0, sizeof *bounds);
}

static void bound_panel(void *argument, int64_t panel, int thread) {
    const bounding *b = argument;
    if (!b->bounds[panel].bounded) return;
    int8_t zeros[BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP];
    zeros_of(b, panel, zeros);
    bert_qgemm_bound(panel_of(b, panel), b->weight->steps, zeros, b->most + panel * b->most_bytes, &b->bounds[panel],
                     b->excess);
    memset(b->zeros + panel * BERT_QGEMM_COLUMNS, 0,
           (size_t)bert_gemm_panel_width(b->weight->n, BERT_QGEMM_COLUMNS, panel) * sizeof *b->zeros);
}

/* Places panels' excess one after the other; how many pairs there are in all, or -1 where these are too many to number.
 */
static int64_t place_excess(bert_qgemm_bounds *bounds, int64_t panels) {
    int64_t total = 0;
    for (int64_t panel = 0; panel < panels; panel++) {
        bounds[panel].first[0] = (int32_t)total;
        for (int group = 1; group <= BERT_QGEMM_EXCESS_GROUPS; group++) {
            total += bounds[panel].first[group];
            if (total > INT32_MAX) return -1;
            bounds[panel].first[group] = (int32_t)total;
        }
    }
    return total;
}

/* Memory for the excess of a weight; NULL in *out where it has none. */
static bert_status take_excess(bert_prepared *prepared, int64_t pairs, bert_qgemm_excess **out, bert_error *error) {
    *out = NULL;
    if (pairs == 0) return BERT_OK;
    const size_t bytes = (size_t)pairs * sizeof **out;
    *out = bert_weight_memory_take(&prepared->weight_memory, prepared->device->host->allocator, bytes);
    return *out ? BERT_OK : bert_fail_memory(error, bytes, "a packed weight");
}

/* Counts, takes memory and bounds; `b` with memory for what is measured. */
static bert_status bound_all(bert_prepared *prepared, bert_thread_pool *threads, bounding *b, int64_t *pairs,
                             bert_error *error) {
    const int64_t panels = panels_of(b->weight->n);
    bert_thread_pool_run(threads, panels, count_excess, b);
    *pairs = place_excess(b->bounds, panels);
    if (*pairs < 0) { /* no panel is bounded, then */
        memset(b->bounds, 0, (size_t)panels * sizeof *b->bounds);
        *pairs = 0;
    }
    const bert_status status = take_excess(prepared, *pairs, &b->excess, error);
    if (status == BERT_OK) bert_thread_pool_run(threads, panels, bound_panel, b);
    return status;
}

/* Bounds the panels that were packed into `memory`. */
static bert_status bound(bert_prepared *prepared, bert_thread_pool *threads, bert_quantized_weight *weight,
                         void *memory, bert_error *error) {
    bounding b = {.kernels = &prepared->device->kernels,
                  .weight = weight,
                  .panels = memory,
                  .zeros = (int32_t *)weight->zeros,
                  .bounds = (bert_qgemm_bounds *)weight->bounds,
                  .most_bytes = (weight->steps + 1) / 2 * BERT_QGEMM_EXCESS_GROUPS * 2};
    if (weight->steps == 0) { /* nothing to bound */
        memset(b.bounds, 0, (size_t)panels_of(weight->n) * sizeof *b.bounds);
        return BERT_OK;
    }
    const bert_allocator *allocator = prepared->device->host->allocator;
    const size_t bytes = (size_t)(panels_of(weight->n) * b.most_bytes); /* less than the panels' */
    b.most = bert_allocate(allocator, bytes, 1);
    if (!b.most) return bert_fail_memory(error, bytes, "packing a weight");
    int64_t pairs = 0;
    const bert_status status = bound_all(prepared, threads, &b, &pairs, error);
    bert_deallocate(allocator, b.most, bytes, 1);
    if (status != BERT_OK) return status;
    weight->excess = b.excess;
    weight->bytes += (size_t)pairs * sizeof *b.excess;
    return BERT_OK;
}

/* ---- Weights ----------------------------------------------------------------------------------------------------- */

/* What a weight is found by in the store: its constants, and how it is laid out. */
typedef struct store_key {
    const bert_weight_store *store; /* NULL: none */
    const char *layout, *excess_layout;
    const bert_constant *constants[3 * BERT_GEMM_MAX_PARTS];
    int32_t count;
} store_key;

static store_key store_key_of(const bert_weight_store *store, const bert_quantized_source *source, bool bounded) {
    store_key key = {.store = store, .excess_layout = "excess", .count = 3 * source->count};
    if (source->transposed) key.excess_layout = "excess transposed";
    if (bounded)
        key.layout = source->transposed ? "int8 48x4 bounded transposed" : "int8 48x4 bounded";
    else
        key.layout = source->transposed ? "int8 48x4 transposed" : "int8 48x4";
    for (int32_t i = 0; i < source->count; i++) {
        key.constants[3 * i] = source->weights[i];
        key.constants[3 * i + 1] = source->scales[i];
        key.constants[3 * i + 2] = source->zero_points[i];
    }
    return key;
}

/* Whether bounds and excess from a file are what kernels may follow; *pairs in all. */
static bool bounds_hold(const bert_quantized_weight *weight, int64_t *pairs) {
    int32_t end = 0;
    for (int64_t panel = 0; panel < panels_of(weight->n); panel++) {
        const bert_qgemm_bounds *bounds = &weight->bounds[panel];
        if (bounds->first[0] != end) return false;
        for (int group = 0; group < BERT_QGEMM_EXCESS_GROUPS; group++)
            if (bounds->first[group + 1] < bounds->first[group]) return false;
        end = bounds->first[BERT_QGEMM_EXCESS_GROUPS];
        if (!bounds->bounded && end != bounds->first[0]) return false;
    }
    *pairs = end;
    return true;
}

static bool excess_holds(const bert_quantized_weight *weight, int64_t pairs) {
    for (int64_t i = 0; i < pairs; i++)
        for (int j = 0; j < 2; j++)
            if (weight->excess[i].steps[j] < 0 || weight->excess[i].steps[j] >= weight->steps) return false;
    return true;
}

/* Looks a weight up; false: it has to be packed. */
static bool find(const store_key *key, bert_quantized_weight *weight, const packed_sizes *sizes) {
    const bert_weight_store *store = key->store;
    const void *found = store ? store->find(store, key->layout, key->constants, key->count, sizes->all) : NULL;
    if (!found) return false;
    place(weight, found, sizes);
    weight->bytes = sizes->all;
    if (!sizes->bounded) return true;
    int64_t pairs;
    if (!bounds_hold(weight, &pairs)) return false;
    if (pairs == 0) return true;
    const size_t bytes = (size_t)pairs * sizeof *weight->excess;
    weight->excess = store->find(store, key->excess_layout, key->constants, key->count, bytes);
    weight->bytes += bytes;
    return weight->excess && excess_holds(weight, pairs);
}

static void tell_packed(const store_key *key, const bert_quantized_weight *weight, const packed_sizes *sizes) {
    const bert_weight_store *store = key->store;
    if (!store) return;
    store->packed(store, key->layout, key->constants, key->count, weight->panels, sizes->all);
    if (weight->excess)
        store->packed(store, key->excess_layout, key->constants, key->count, weight->excess,
                      weight->bytes - sizes->all);
}

/* Found in the store, or packed. */
static bert_status make(bert_prepared *prepared, bert_thread_pool *threads, const bert_quantized_source *source,
                        bert_quantized_weight *weight, bert_error *error) {
    packed_sizes sizes = {.bounded = prepared->device->kernels.bounded_panels};
    if (!measure(source, weight, &sizes))
        return bert_fail(error, BERT_UNSUPPORTED, "a weight of this shape is more than a product can take");
    if (sizes.all == 0) return BERT_OK;
    const store_key key = store_key_of(prepared->store, source, sizes.bounded);
    if (find(&key, weight, &sizes)) return BERT_OK;
    weight->excess = NULL;
    weight->bytes = sizes.all;
    void *memory = bert_weight_memory_take(&prepared->weight_memory, prepared->device->host->allocator, sizes.all);
    if (!memory) return bert_fail_memory(error, sizes.all, "a packed weight");
    pack(threads, source, weight, memory, &sizes);
    const bert_status status = sizes.bounded ? bound(prepared, threads, weight, memory, error) : BERT_OK;
    if (status != BERT_OK) {
        bert_weight_memory_give_back(&prepared->weight_memory, memory, sizes.all);
        return status;
    }
    tell_packed(&key, weight, &sizes);
    return BERT_OK;
}

static bert_status add_weight(bert_prepared *prepared, bert_thread_pool *threads, const bert_quantized_source *source,
                              const bert_quantized_weight **out, bert_error *error) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    bert_quantized_weight *weight = bert_allocate(allocator, sizeof *weight, _Alignof(bert_quantized_weight));
    if (!weight) return bert_fail_memory(error, sizeof *weight, "a packed weight");
    *weight = (bert_quantized_weight){.count = source->count, .transposed = source->transposed};
    key_of(source, weight->ids);
    bert_status status = make(prepared, threads, source, weight, error);
    if (status != BERT_OK) {
        bert_deallocate(allocator, weight, sizeof *weight, _Alignof(bert_quantized_weight));
        return status;
    }
    weight->next = prepared->quantized;
    prepared->quantized = weight;
    prepared->bytes += weight->bytes;
    *out = weight;
    return BERT_OK;
}

bert_status bert_cpu_pack_quantized(bert_prepared *prepared, bert_thread_pool *threads,
                                    const bert_quantized_source *source, const bert_quantized_weight **out,
                                    bert_error *error) {
    uint64_t ids[3 * BERT_GEMM_MAX_PARTS] = {0};
    key_of(source, ids);
    pthread_mutex_lock(&prepared->mutex);
    const bert_quantized_weight *weight = prepared->quantized;
    while (weight && (weight->count != source->count || weight->transposed != source->transposed ||
                      memcmp(weight->ids, ids, sizeof ids) != 0))
        weight = weight->next;
    bert_status status = BERT_OK;
    if (weight)
        *out = weight;
    else
        status = add_weight(prepared, threads, source, out, error);
    pthread_mutex_unlock(&prepared->mutex);
    return status;
}

void bert_cpu_free_quantized(bert_prepared *prepared) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    while (prepared->quantized) {
        bert_quantized_weight *weight = prepared->quantized;
        prepared->quantized = weight->next;
        bert_deallocate(allocator, weight, sizeof *weight, _Alignof(bert_quantized_weight));
    }
}

/* ---- The product ------------------------------------------------------------------------------------------------- */

/* Bytes of x that a block of rows may take, unless kernels want more: it stays in the second-level cache while panels
 * stream by. */
enum { BLOCK_BYTES = 256 * 1024 };

/* Wrapping around, as the sums themselves do. */
static void add_start(int32_t *sums, const int32_t *start, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++) {
        int32_t *row = sums + i * BERT_QGEMM_COLUMNS;
        for (int64_t j = 0; j < n; j++) row[j] = (int32_t)((uint32_t)row[j] + (uint32_t)start[j]);
    }
}

static const bert_qgemm_bounds *bounds_at(const bert_quantized_weight *weight, int64_t panel) {
    return weight->bounds && weight->bounds[panel].bounded ? &weight->bounds[panel] : NULL;
}

static void run_tile(const void *argument, const bert_panel_tile *at) {
    const bert_quantized_call *call = argument;
    const bert_quantized_weight *weight = call->weight;
    const int64_t row = at->row, rows = at->rows, first = at->panel * BERT_QGEMM_COLUMNS,
                  depth = weight->steps * BERT_QGEMM_STEP, panels = panels_of(weight->n);
    const int64_t stride = bert_quantized_row_bytes(weight);
    const int64_t width = bert_gemm_panel_width(weight->n, BERT_QGEMM_COLUMNS, at->panel);
    _Alignas(BERT_ALIGNMENT) int32_t sums[BERT_PANEL_ROWS * BERT_QGEMM_COLUMNS];
    const bert_epilogue_args tile = bert_gemm_epilogue_at(&call->epilogue, row, rows, first, width);
    const int64_t eighths = call->kernels->late_eighths * (tile.activation == BERT_UNARY_IDENTITY ? 1 : 2);
    bert_fetch late = at->next;
    const bert_fetch early = bert_fetch_take(&late, late.lines - late.lines * eighths / 8);
    call->kernels->qgemm(&(bert_qgemm_args){.c = sums,
                                            .a = call->x.values + row * stride,
                                            .b = weight->panels + first * depth,
                                            .lda = stride,
                                            .rows = rows,
                                            .steps = weight->steps,
                                            .bounds = bounds_at(weight, at->panel),
                                            .excess = weight->excess,
                                            .fetch = early,
                                            .y = tile.y,
                                            .y_stride = tile.stride * (int64_t)sizeof *tile.y});
    if (call->start) add_start(sums, call->start + first, rows, width);
    call->kernels->dequantize(
        &(bert_dequantize_args){.y = tile.y,
                                .c = sums,
                                .x_scales = call->x.scales + row,
                                .x_zeros = call->x.zero_points + row,
                                .x_sums = call->x.sums + row,
                                .scales = weight->scales + first,
                                .zeros = weight->zeros + first,
                                .offsets = weight->offsets + first,
                                .stride = tile.stride,
                                .rows = rows,
                                .n = width,
                                .bias = tile.bias,
                                .residual = tile.residual,
                                .residual_stride = tile.residual_stride,
                                .activation = tile.activation,
                                .ranges = call->ranges ? call->ranges + row * panels + at->panel : NULL,
                                .range_stride = panels,
                                .fetch = late});
}

int64_t bert_quantized_ranges(const bert_quantized_weight *weight) {
    return panels_of(weight->n);
}

void bert_gemm_quantized(const bert_quantized_call *call) {
    const bert_quantized_weight *weight = call->weight;
    const int64_t depth = weight->steps * BERT_QGEMM_STEP;
    bert_gemm_run_panels(&(bert_panel_product){.kernels = call->kernels,
                                               .threads = call->threads,
                                               .rows = call->rows,
                                               .row_bytes = depth > 0 ? depth : 1,
                                               .block_bytes = BLOCK_BYTES,
                                               .weight = weight->panels,
                                               .panels = panels_of(weight->n),
                                               .panel_bytes = depth * BERT_QGEMM_COLUMNS,
                                               .run_tile = run_tile,
                                               .argument = call});
}
