/* Products of packed panels whose sums are finished while they are in the first-level cache: of bytes, of bfloat16. */
#ifndef BERT_CPU_GEMM_PANELS_H
#define BERT_CPU_GEMM_PANELS_H

#include "cpu/gemm/gemm.h"

/** Rows of a tile at most: their sums stay in the first-level cache. */
enum { BERT_PANEL_ROWS = 64 };
/** Rows of a block at most, where kernels want large ones; panels whose slices take turns. */
enum { BERT_PANEL_MOST_ROWS = 5 * BERT_PANEL_ROWS, BERT_PANEL_GROUP = 16 };

/** One panel, or a slice of it, for some rows. */
typedef struct bert_panel_tile {
    int64_t row, rows, panel;
    int64_t slice;            /**< 0 is the first. */
    int64_t block_row, place; /**< The row in its block; the panel in its group: where sums wait between slices. */
    int64_t part;             /**< Whose they are: below the number of threads. */
    bert_fetch next;          /**< Its share of the next panel or slice. */
} bert_panel_tile;

typedef struct bert_panel_product {
    const bert_cpu_kernels *kernels;
    bert_thread_pool *threads;
    int64_t rows, row_bytes; /**< Of x, or of a slice of it; row_bytes above 0. */
    int64_t block_bytes; /**< Of x that stay in the second-level cache while panels stream by; kernels may want more. */
    const void *weight;  /**< [panels][panel_bytes] */
    int64_t panels, panel_bytes;
    /** Where k is cut into slices, so that blocks have more rows: so many bytes of each panel of a group in turn, then
     * the next so many. 0: it isn't. */
    int64_t slice_bytes;
    /** Called between the kernels' enter and leave, from any thread, for each tile once; slices in their order, all by
     * the same thread. */
    void (*run_tile)(const void *argument, const bert_panel_tile *tile);
    const void *argument;
} bert_panel_product;

/** Runs all tiles: each thread has a contiguous range of them, block by block of rows. */
void bert_gemm_run_panels(const bert_panel_product *product);

/**
 * Rows of the product's blocks, a multiple of half a tile's, rows above 0: block_bytes of x, or as many as the kernels
 * want, which is BERT_PANEL_MOST_ROWS at most, as far as each of `threads` threads still gets eight panels of a block
 * or more.
 */
int64_t bert_gemm_panel_block_rows(const bert_panel_product *product, int64_t threads);

#endif
