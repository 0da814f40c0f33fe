#include "cpu/gemm/panels.h"

/*
 * Kernels' tiles of rows are whole in a multiple of BLOCK_STEP. Where kernels want large blocks, more rows than
 * MOST_ROWS would drive their own x out of the second-level cache: lines of y that a panel writes are a row of y apart,
 * often a multiple of 4 KB, and so share few sets with each other (of FFN1 of BERT-base, 96 of 2,048).
 */
enum { BLOCK_STEP = BERT_PANEL_ROWS / 2, MOST_ROWS = 5 * BERT_PANEL_ROWS };

typedef struct panel_run {
    const bert_panel_product *product;
    int64_t block_rows, blocks, parts;
} panel_run;

/* The panels [first, end) for one block of rows; the next one is fetched while one is used. */
static void run_block(const void *argument, int64_t block, int64_t first, int64_t end) {
    const panel_run *run = argument;
    const bert_panel_product *product = run->product;
    const int64_t start = block * run->block_rows, rows = bert_smaller(product->rows - start, run->block_rows);
    const int64_t tiles = (rows + BERT_PANEL_ROWS - 1) / BERT_PANEL_ROWS;
    const int64_t lines = (product->panel_bytes / BERT_PANEL_LINE + tiles - 1) / tiles;
    for (int64_t panel = first; panel < end; panel++) {
        bert_panel_tile tile = {.panel = panel};
        if (panel + 1 < end) {
            tile.next = (const char *)product->weight + (panel + 1) * product->panel_bytes;
            tile.next_lines = lines;
        }
        for (int64_t row = 0; row < rows; row += BERT_PANEL_ROWS) {
            tile.row = start + row;
            tile.rows = bert_smaller(rows - row, BERT_PANEL_ROWS);
            product->run_tile(product->argument, &tile);
            if (tile.next) tile.next += lines * BERT_PANEL_LINE;
        }
    }
}

static void run_part(void *argument, int64_t part, int thread) {
    const panel_run *run = argument;
    bert_cpu_enter(run->product->kernels);
    bert_gemm_walk(run->blocks, run->product->panels, part, run->parts, run_block, run);
    bert_cpu_exit(run->product->kernels);
}

int64_t bert_gemm_panel_block_rows(const bert_panel_product *product, int64_t threads) {
    const int64_t least = product->block_bytes / product->row_bytes;
    const int64_t shared = bert_smaller(product->rows * product->panels / (8 * threads), MOST_ROWS);
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
