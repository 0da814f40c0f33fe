#include "cpu/gemm/quantized.h"

#include "core/base/error.h"
#include "core/base/memory.h"
#include "cpu/device.h"

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

/* Fills sizes; false where the parts don't go together or sizes overflow. The panels' bytes in *panel_bytes. */
static bool measure(const bert_quantized_source *source, bert_quantized_weight *weight, size_t *panel_bytes) {
    for (int32_t i = 0; i < source->count; i++) {
        const part_layout part = layout_of(source, i);
        if (i > 0 && part.depth != weight->k) return false;
        weight->k = part.depth;
        if (__builtin_add_overflow(weight->n, part.columns, &weight->n)) return false;
    }
    if (weight->n > INT32_MAX || weight->k > INT32_MAX) return false;
    weight->steps = (weight->k + BERT_QGEMM_STEP - 1) / BERT_QGEMM_STEP;
    size_t vectors;
    return bert_size_multiply((size_t)panels_of(weight->n) * BERT_QGEMM_COLUMNS,
                              (size_t)weight->steps * BERT_QGEMM_STEP, panel_bytes) &&
           bert_size_multiply((size_t)weight->n, sizeof(float) + 2 * sizeof(int32_t), &vectors) &&
           bert_size_add(*panel_bytes, vectors, &weight->bytes);
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

/* One part to columns from `first` on: the panels, and sums of columns less zero points in offsets. */
static void pack_part(const bert_quantized_source *source, int32_t part, const bert_quantized_weight *weight,
                      int64_t first, int8_t *panels, float *scales, int32_t *zeros, int32_t *offsets) {
    const bert_constant *values = source->weights[part], *scale = source->scales[part];
    const bert_constant *zero_point = source->zero_points[part];
    const int32_t shift = shift_of(values);
    const part_layout layout = layout_of(source, part);
    const int64_t columns = layout.columns, panel_bytes = weight->steps * BERT_QGEMM_STEP * BERT_QGEMM_COLUMNS;
    for (int64_t j = 0; j < columns; j++) {
        memcpy(scales + first + j, scale->data + element_of(scale, j) * (int64_t)sizeof(float), sizeof(float));
        zeros[first + j] = (zero_point ? byte_at(zero_point, element_of(zero_point, j)) : 0) - shift;
        offsets[first + j] = (int32_t)(0U - (uint32_t)zeros[first + j] * (uint32_t)weight->k);
    }
    for (int64_t p = 0; p < weight->k; p++) {
        for (int64_t j = 0; j < columns; j++) {
            const int64_t column = first + j;
            const int32_t value = byte_at(values, p * layout.row_stride + j * layout.column_stride) - shift;
            int8_t *step = panels + column / BERT_QGEMM_COLUMNS * panel_bytes +
                           p / BERT_QGEMM_STEP * BERT_QGEMM_STEP * BERT_QGEMM_COLUMNS;
            step[column % BERT_QGEMM_COLUMNS * BERT_QGEMM_STEP + p % BERT_QGEMM_STEP] = (int8_t)value;
            offsets[column] = (int32_t)((uint32_t)offsets[column] + (uint32_t)value);
        }
    }
}

static bert_status pack(const bert_prepared *prepared, const bert_quantized_source *source,
                        bert_quantized_weight *weight, bert_error *error) {
    size_t panel_bytes;
    if (!measure(source, weight, &panel_bytes))
        return bert_fail(error, BERT_UNSUPPORTED, "a weight of this shape is more than a product can take");
    if (weight->bytes == 0) return BERT_OK;
    weight->memory = bert_cpu_allocate_weight(prepared, weight->bytes, &weight->alignment);
    if (!weight->memory) return bert_fail_memory(error, weight->bytes, "a packed weight");
    memset(weight->memory, 0, weight->bytes); /* beyond k and n there are zeros */
    int8_t *panels = weight->memory;
    float *scales = (float *)(void *)(panels + panel_bytes); /* a multiple of 192 bytes from the start */
    int32_t *zeros = (int32_t *)(void *)(scales + weight->n), *offsets = zeros + weight->n;
    int64_t first = 0;
    for (int32_t part = 0; part < source->count; part++) {
        pack_part(source, part, weight, first, panels, scales, zeros, offsets);
        first += layout_of(source, part).columns;
    }
    weight->panels = panels;
    weight->scales = scales;
    weight->zeros = zeros;
    weight->offsets = offsets;
    return BERT_OK;
}

static bert_status add_weight(bert_prepared *prepared, const bert_quantized_source *source,
                              const bert_quantized_weight **out, bert_error *error) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    bert_quantized_weight *weight = bert_allocate(allocator, sizeof *weight, _Alignof(bert_quantized_weight));
    if (!weight) return bert_fail_memory(error, sizeof *weight, "a packed weight");
    *weight = (bert_quantized_weight){.count = source->count, .transposed = source->transposed};
    key_of(source, weight->ids);
    bert_status status = pack(prepared, source, weight, error);
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

bert_status bert_cpu_pack_quantized(bert_prepared *prepared, const bert_quantized_source *source,
                                    const bert_quantized_weight **out, bert_error *error) {
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
        status = add_weight(prepared, source, out, error);
    pthread_mutex_unlock(&prepared->mutex);
    return status;
}

void bert_cpu_free_quantized(bert_prepared *prepared) {
    const bert_allocator *allocator = prepared->device->host->allocator;
    while (prepared->quantized) {
        bert_quantized_weight *weight = prepared->quantized;
        prepared->quantized = weight->next;
        bert_deallocate(allocator, weight->memory, weight->bytes, weight->alignment);
        bert_deallocate(allocator, weight, sizeof *weight, _Alignof(bert_quantized_weight));
    }
}

/* ---- The product ------------------------------------------------------------------------------------------------- */

/* Rows whose sums are kept at a time: in the first-level cache. Bytes of x that a block of rows may take: it stays in
 * the second level while panels stream by. */
enum { SUM_ROWS = 64, BLOCK_BYTES = 256 * 1024, LINE_BYTES = 64 };

typedef struct quantized_run {
    const bert_quantized_call *call;
    int64_t block_rows, blocks, panels, parts;
} quantized_run;

/* Wrapping around, as the sums themselves do. */
static void add_start(int32_t *sums, const int32_t *start, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++) {
        int32_t *row = sums + i * BERT_QGEMM_COLUMNS;
        for (int64_t j = 0; j < n; j++) row[j] = (int32_t)((uint32_t)row[j] + (uint32_t)start[j]);
    }
}

/* One panel for at most SUM_ROWS rows. */
static void run_tile(const bert_quantized_call *call, int64_t row, int64_t rows, int64_t panel, const int8_t *next,
                     int64_t next_lines) {
    const bert_quantized_weight *weight = call->weight;
    const int64_t first = panel * BERT_QGEMM_COLUMNS, depth = weight->steps * BERT_QGEMM_STEP;
    const int64_t left = weight->n - first, width = left < BERT_QGEMM_COLUMNS ? left : BERT_QGEMM_COLUMNS;
    _Alignas(BERT_ALIGNMENT) int32_t sums[SUM_ROWS * BERT_QGEMM_COLUMNS];
    bert_epilogue_args epilogue = call->epilogue;
    epilogue.y += row * epilogue.stride + first;
    call->kernels->qgemm(&(bert_qgemm_args){.c = sums,
                                            .a = call->x.values + row * depth,
                                            .b = weight->panels + first * depth,
                                            .lda = depth,
                                            .rows = rows,
                                            .steps = weight->steps,
                                            .prefetch = next,
                                            .prefetch_lines = next_lines});
    if (call->start) add_start(sums, call->start + first, rows, width);
    call->kernels->dequantize(&(bert_dequantize_args){.y = epilogue.y,
                                                      .c = sums,
                                                      .x_scales = call->x.scales + row,
                                                      .x_zeros = call->x.zero_points + row,
                                                      .x_sums = call->x.sums + row,
                                                      .scales = weight->scales + first,
                                                      .zeros = weight->zeros + first,
                                                      .offsets = weight->offsets + first,
                                                      .stride = epilogue.stride,
                                                      .rows = rows,
                                                      .n = width});
    if (!epilogue.bias && !epilogue.residual && epilogue.activation == BERT_UNARY_IDENTITY) return;
    if (epilogue.bias) epilogue.bias += first;
    if (epilogue.residual) epilogue.residual += row * epilogue.residual_stride + first;
    epilogue.alpha = 1.0F;
    epilogue.rows = rows;
    epilogue.n = width;
    call->kernels->epilogue(&epilogue);
}

/* The panels [first, end) for one block of rows; the next one is fetched while one is used. */
static void run_block(const quantized_run *run, int64_t block, int64_t first, int64_t end) {
    const bert_quantized_weight *weight = run->call->weight;
    const int64_t start = block * run->block_rows, left = run->call->rows - start;
    const int64_t rows = left < run->block_rows ? left : run->block_rows, tiles = (rows + SUM_ROWS - 1) / SUM_ROWS;
    const int64_t panel_bytes = weight->steps * BERT_QGEMM_STEP * BERT_QGEMM_COLUMNS;
    const int64_t lines = (panel_bytes / LINE_BYTES + tiles - 1) / tiles;
    for (int64_t panel = first; panel < end; panel++) {
        const int8_t *next = panel + 1 < end ? weight->panels + (panel + 1) * panel_bytes : NULL;
        for (int64_t row = 0; row < rows; row += SUM_ROWS) {
            const int64_t count = rows - row < SUM_ROWS ? rows - row : SUM_ROWS;
            run_tile(run->call, start + row, count, panel, next, next ? lines : 0);
            if (next) next += lines * LINE_BYTES;
        }
    }
}

static void run_part(void *argument, int64_t part, int thread) {
    const quantized_run *run = argument;
    const int64_t tiles = run->blocks * run->panels, end = tiles * (part + 1) / run->parts;
    bert_cpu_enter(run->call->kernels);
    for (int64_t tile = tiles * part / run->parts; tile < end;) {
        const int64_t block = tile / run->panels, first = tile % run->panels;
        const int64_t left = end - tile, count = left < run->panels - first ? left : run->panels - first;
        run_block(run, block, first, first + count);
        tile += count;
    }
    bert_cpu_exit(run->call->kernels);
}

void bert_gemm_quantized(const bert_quantized_call *call) {
    const bert_quantized_weight *weight = call->weight;
    if (call->rows == 0 || weight->n == 0) return;
    const int64_t depth = weight->steps > 0 ? weight->steps * BERT_QGEMM_STEP : 1;
    int64_t rows = BLOCK_BYTES / depth / SUM_ROWS * SUM_ROWS;
    if (rows < SUM_ROWS) rows = SUM_ROWS;
    quantized_run all = {
        .call = call, .block_rows = rows, .blocks = (call->rows + rows - 1) / rows, .panels = panels_of(weight->n)};
    const int64_t threads = bert_thread_pool_threads(call->threads), tiles = all.blocks * all.panels;
    all.parts = threads < tiles ? threads : tiles;
    bert_thread_pool_run(call->threads, all.parts, run_part, &all);
}
