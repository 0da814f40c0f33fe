#include "cpu/gemm/panels.h"

/*
 * Kernels' tiles of rows are whole in a multiple of BLOCK_STEP. Where kernels want large blocks, more rows than
 * BERT_PANEL_MOST_ROWS would drive their own x out of the second-level cache: lines of y that a panel writes are a row
 * of y apart, often a multiple of 4 KB, and so share few sets with each other (of FFN1 of BERT-base, 96 of 2,048).
 */
enum { BLOCK_STEP = BERT_PANEL_ROWS / 2 };

typedef struct panel_run {
    const bert_panel_product *product;
    int64_t block_rows, blocks, parts;
} panel_run;

typedef struct panel_part {
    const panel_run *run;
    int64_t part;
} panel_part;

/* Of a panel. */
static int64_t slices_of(const bert_panel_product *product) {
    return product->slice_bytes > 0 ? (product->panel_bytes + product->slice_bytes - 1) / product->slice_bytes : 1;
}

/* Of the panels [first, end): which panel and slice comes `index`-th. */
static bert_panel_tile slice_at(const bert_panel_product *product, int64_t first, int64_t end, int64_t index) {
    const int64_t slices = slices_of(product), group = index / (BERT_PANEL_GROUP * slices) * BERT_PANEL_GROUP;
    const int64_t count = bert_smaller(BERT_PANEL_GROUP, end - first - group), within = index - group * slices;
    return (bert_panel_tile){.panel = first + group + within % count, .slice = within / count, .place = within % count};
}

/* The lines of a panel or slice. */
static bert_fetch fetch_of(const bert_panel_product *product, const bert_panel_tile *next) {
    const int64_t at = next->slice * product->slice_bytes, left = product->panel_bytes - at;
    const int64_t bytes = product->slice_bytes > 0 ? bert_smaller(left, product->slice_bytes) : left;
    return bert_fetch_of(product->kernels, (const char *)product->weight + next->panel * product->panel_bytes + at,
                         bytes / BERT_FETCH_LINE);
}

/* The panels [first, end) for one block of rows; what comes next is fetched while something is used. */
static void run_block(const void *argument, int64_t block, int64_t first, int64_t end) {
    const panel_part *part = argument;
    const panel_run *run = part->run;
    const bert_panel_product *product = run->product;
    const int64_t start = block * run->block_rows, rows = bert_smaller(product->rows - start, run->block_rows);
    const int64_t tiles = (rows + BERT_PANEL_ROWS - 1) / BERT_PANEL_ROWS;
    const int64_t count = (end - first) * slices_of(product);
    for (int64_t index = 0; index < count; index++) {
        bert_panel_tile tile = slice_at(product, first, end, index);
        bert_fetch next = {.from = product->weight}; /* no line of it */
        tile.part = part->part;
        if (index + 1 < count) {
            const bert_panel_tile after = slice_at(product, first, end, index + 1);
            next = fetch_of(product, &after);
        }
        const int64_t share = (next.lines + tiles - 1) / tiles;
        for (int64_t row = 0; row < rows; row += BERT_PANEL_ROWS) {
            tile.row = start + row;
            tile.block_row = row;
            tile.rows = bert_smaller(rows - row, BERT_PANEL_ROWS);
            tile.next = bert_fetch_take(&next, share);
            product->run_tile(product->argument, &tile);
        }
    }
}

static void run_part(void *argument, int64_t part, int thread) {
    const panel_run *run = argument;
    bert_cpu_enter(run->product->kernels);
    bert_gemm_walk(run->blocks, run->product->panels, part, run->parts, run_block, &(panel_part){run, part});
    bert_cpu_exit(run->product->kernels);
}

int64_t bert_gemm_panel_block_rows(const bert_panel_product *product, int64_t threads) {
    const int64_t least = product->block_bytes / product->row_bytes;
    const int64_t shared = bert_smaller(product->rows * product->panels / (8 * threads), BERT_PANEL_MOST_ROWS);
    const int64_t wanted = bert_smaller(product->kernels->block_bytes / product->row_bytes, shared);
    return bert_gemm_block_rows(product->rows, wanted > least ? wanted : least, BLOCK_STEP);
}

void bert_gemm_run_panels(const bert_panel_product *product) {
    if (product->rows == 0 || product->panels == 0) return;
    const int64_t threads = bert_thread_pool_threads(product->threads);
    panel_run run = {.product = product, .block_rows = bert_gemm_panel_block_rows(product, threads)};
    run.blocks = (product->rows + run.block_rows - 1) / run.block_rows;
    run.parts = bert_smaller(threads, run.blocks * product->panels);
    bert_thread_pool_run(product->threads, run.parts, run_part, &run);
}
