/*
 * Kernels whose instructions most machines lack, compiled over an emulation of these instructions and held to the
 * scalar kernels: the source that runs on such machines, its packing, tails and tiles, is tested on all.
 */
#include "cpu/gemm/panels.h"
#include "tests/cpu/attention_parts_kernels.h"
#include "tests/cpu/emulated_kernels.h"
#include "tests/cpu/guarded.h"
#include "tests/cpu/narrow_kernels.h"
#include "tests/cpu/quantized_kernels.h"
#include "tests/cpu/split_kernels.h"

static bool absent(bert_isa isa, const char *what) {
    if (bert_isa_present(isa)) return false;
    print_message("skipped: %s is emulated with %s, which this machine doesn't have\n", what, bert_isa_name(isa));
    return true;
}

static void amx_multiplies_as_scalar_code_does(void **state) {
    assert_non_null(bert_emulated_amx.enter);
    test_qgemm(&bert_emulated_amx);
    test_bgemm(&bert_emulated_amx);
    test_sgemm_split(&bert_emulated_amx);
    test_attention_multiply(&bert_emulated_amx);
}

/* Lines of a panel and then of y, whose rows are PANEL_ROW_LINES of Y_ROW_LINES, and how often each was prefetched. */
enum { MOST_ROWS = 130, MOST_LINES = 600, PANEL_ROW_LINES = 3, Y_ROW_LINES = 4, LINE_BYTES = 64 };
enum { ALL_LINES = MOST_LINES + MOST_ROWS * Y_ROW_LINES };
static char panel_memory[ALL_LINES * LINE_BYTES];
static int fetched[ALL_LINES];

void bert_emulated_prefetch(const void *line) {
    const ptrdiff_t at = (const char *)line - panel_memory;
    if (at >= 0 && at < (ptrdiff_t)sizeof panel_memory) fetched[at / LINE_BYTES]++;
}

/* `lines` lines of each of `streams` ranges, one after the other. */
static bert_fetch fetch_from_panel(int64_t lines, int32_t streams) {
    assert_in_range(lines * streams, 0, MOST_LINES);
    memset(fetched, 0, sizeof fetched);
    return (bert_fetch){.from = panel_memory, .lines = lines, .stride = lines * LINE_BYTES, .streams = streams};
}

/* All of the panel's lines once, and those of so many rows of y. */
static void expect_fetched(const bert_fetch *fetch, int64_t rows) {
    for (int64_t line = 0; line < ALL_LINES; line++) {
        const int64_t y_line = line - MOST_LINES;
        const bool wanted = line < MOST_LINES ? line < fetch->lines * fetch->streams
                                              : y_line / Y_ROW_LINES < rows && y_line % Y_ROW_LINES < PANEL_ROW_LINES;
        assert_int_equal(fetched[line], wanted);
    }
}

/* The panel that comes next and the rows that will be written are fetched once, whole, whatever rows and steps their
 * lines are spread over. */
static void amx_fetches_what_comes_next(void **state) {
    static const int64_t rows[] = {1, 15, 16, 17, 48, 49, 64, 65, 81, 113, 128, 130}, steps[] = {1, 15, 16, 17, 40, 96};
    static uint8_t a[MOST_ROWS * 4 * 96];
    static int8_t b[4 * 96 * BERT_QGEMM_COLUMNS];
    static int32_t c[MOST_ROWS * BERT_QGEMM_COLUMNS];
    static float y[MOST_ROWS * BERT_BGEMM_COLUMNS];
    bert_cpu_enter(&bert_emulated_amx);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++) {
            const int32_t streams = i % 2 ? 4 : 1;
            bert_fetch fetch = fetch_from_panel(j % 2 ? MOST_LINES / streams - 23 : 3 * steps[j] / streams, streams);
            bert_emulated_amx.qgemm(&(bert_qgemm_args){.c = c,
                                                       .a = a,
                                                       .b = b,
                                                       .lda = 4 * steps[j],
                                                       .rows = rows[i],
                                                       .steps = steps[j],
                                                       .fetch = fetch,
                                                       .y = panel_memory + MOST_LINES * LINE_BYTES,
                                                       .y_stride = Y_ROW_LINES * LINE_BYTES});
            expect_fetched(&fetch, rows[i]);
            fetch = fetch_from_panel(fetch.lines, streams);
            bert_emulated_amx.bgemm(&(bert_bgemm_args){.c = y,
                                                       .a = (const uint16_t *)(const void *)a,
                                                       .b = (const uint16_t *)(const void *)b,
                                                       .ldc = BERT_BGEMM_COLUMNS,
                                                       .lda = 2 * steps[j],
                                                       .rows = rows[i],
                                                       .steps = steps[j],
                                                       .fetch = fetch});
            expect_fetched(&fetch, 0);
        }
    }
    bert_cpu_exit(&bert_emulated_amx);
}

/* Products that were done before a pair was split: of the panel that is multiplied, and of the one ahead. */
enum { SPLIT_TILES = 5, SPLIT_PAIRS = BERT_SPLIT_PAIRS * SPLIT_TILES, SPLIT_WIDTH = 47 };
static int products_done, done_before[2][SPLIT_PAIRS];
static const float *split_source;

void bert_emulated_product(void) {
    products_done++;
}

static void note_split(const bert_split_panel_args *args) {
    assert_int_equal(args->end, args->first + 1);
    done_before[args->x != split_source][args->first] = products_done;
    bert_cpu_kernels_scalar.split_panel(args);
}

/* In a ring a tile is split while the one before it is multiplied, a pair with about each product, and the first tile
 * of another panel with the last one; else all pairs are spread over all products. What comes after that is fetched
 * once. */
static void amx_splits_between_products(void **state) {
    static float source[2][2 * SPLIT_PAIRS * SPLIT_WIDTH], c[BERT_SPLIT_ROWS * SPLIT_WIDTH];
    static _Alignas(64) uint16_t a[SPLIT_TILES * BERT_SPLIT_GROUP_TILE];
    static _Alignas(64) uint16_t panels[2][SPLIT_TILES * BERT_SPLIT_PANEL_TILE];
    uint8_t left_out[BERT_SPLIT_ROWS];
    for (int rows = 8; rows <= BERT_SPLIT_ROWS; rows += 24) {
        for (int ring = 0; ring < 2; ring++) {
            const int of_tile = rows > 16 ? 36 : 18, last = of_tile * (SPLIT_TILES - 1);
            const bert_split_panel_args own = {.y = panels[0],
                                               .x = source[0],
                                               .ldx = SPLIT_WIDTH,
                                               .columns = SPLIT_WIDTH,
                                               .k = 2 * SPLIT_PAIRS,
                                               .end = SPLIT_PAIRS,
                                               .ring = true};
            bert_split_panel_args other = own;
            other.x = source[1];
            other.y = ring ? panels[0] + BERT_SPLIT_PANEL_TILE : panels[1];
            other.ring = false;
            if (ring) other.end = BERT_SPLIT_PAIRS;
            split_source = source[0];
            products_done = 0;
            const bert_fetch fetch = fetch_from_panel(77 + rows, 1 + ring * 3);
            bert_cpu_enter(&bert_emulated_amx);
            bert_emulated_amx.sgemm_split(&(bert_sgemm_split_args){.c = c,
                                                                   .a = a,
                                                                   .b = panels[0],
                                                                   .left_out = left_out,
                                                                   .ldc = SPLIT_WIDTH,
                                                                   .a_stride = SPLIT_TILES * BERT_SPLIT_GROUP_TILE,
                                                                   .rows = rows,
                                                                   .columns = SPLIT_WIDTH,
                                                                   .tiles = SPLIT_TILES,
                                                                   .as_it_goes = ring ? &own : NULL,
                                                                   .ahead = &other,
                                                                   .fetch = fetch,
                                                                   .split_panel = note_split});
            bert_cpu_exit(&bert_emulated_amx);
            expect_fetched(&fetch, 0);
            for (int pair = 0; ring && pair < SPLIT_PAIRS; pair++) {
                const int begins = pair < 16 ? 0 : of_tile * (pair / 16 - 1) + of_tile * (pair % 16) / 24;
                assert_in_range(done_before[0][pair], begins, pair < 16 ? 0 : of_tile * (pair / 16) - 1);
            }
            for (int pair = 0; pair < (int)other.end; pair++) {
                const int first = ring ? last : 0, count = ring ? of_tile : of_tile * SPLIT_TILES;
                assert_in_range(done_before[1][pair], first + count * pair / (int)other.end,
                                first + count * (pair + 1) / (int)other.end + 1);
            }
        }
    }
}

/* Weights are read once for a block: tiles want larger ones, where threads don't go without, up to some rows. */
static void blocks_grow_with_amx_as_far_as_threads_share_them(void **state) {
    static const struct {
        const bert_cpu_kernels *kernels;
        int64_t rows, row_bytes, panels, threads, expected;
    } cases[] = {
        {&bert_cpu_kernels_scalar, 1024, 768, 16, 1, 256}, {&bert_cpu_kernels_scalar, 1024, 3072, 16, 1, 64},
        {&bert_emulated_amx, 1024, 768, 16, 1, 256},       {&bert_emulated_amx, 1024, 3072, 16, 1, 256},
        {&bert_emulated_amx, 1024, 3072, 16, 16, 128},     {&bert_emulated_amx, 1024, 3072, 16, 64, 64},
        {&bert_emulated_amx, 1024, 3072, 64, 16, 256},     {&bert_emulated_amx, 4096, 1024, 16, 1, 320},
        {&bert_emulated_amx, 16, 768, 16, 64, 32},         {&bert_emulated_amx, 128, 4194304, 1, 1, 32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bert_panel_product product = {.kernels = cases[i].kernels,
                                            .rows = cases[i].rows,
                                            .row_bytes = cases[i].row_bytes,
                                            .block_bytes = 256 * 1024,
                                            .panels = cases[i].panels};
        assert_int_equal(bert_gemm_panel_block_rows(&product, cases[i].threads), cases[i].expected);
    }
}

/* A weight's lines, and how often they were to be fetched. */
enum { PANELS = 5, LINES_OF_PANEL = 50, BEYOND = 8 };
static char weight_memory[(PANELS * LINES_OF_PANEL + BEYOND) * BERT_FETCH_LINE];
static int wanted[PANELS * LINES_OF_PANEL + BEYOND];

static void note_wanted(const void *argument, const bert_panel_tile *tile) {
    for (int64_t line = 0; line < tile->next.lines; line++)
        for (int64_t range = 0; range < tile->next.streams; range++)
            wanted[(tile->next.from - weight_memory + range * tile->next.stride) / BERT_FETCH_LINE + line]++;
}

/* The tiles of a panel, or of a slice, fetch the next one together: each line at least once, few of them twice. */
static void tiles_share_what_comes_next(void **state) {
    static const int64_t rows[] = {1, 64, 65, 200, 320}, slices[] = {0, 20};
    bert_cpu_kernels kernels = bert_cpu_kernels_scalar;
    for (int32_t streams = 0; streams < 5; streams++) {
        for (int at = 0; at < 10; at++) {
            memset(wanted, 0, sizeof wanted);
            kernels.fetch_streams = streams;
            bert_gemm_run_panels(&(bert_panel_product){.kernels = &kernels,
                                                       .rows = rows[at % 5],
                                                       .row_bytes = 64,
                                                       .block_bytes = 320 * 64,
                                                       .weight = weight_memory,
                                                       .panels = PANELS,
                                                       .panel_bytes = (int64_t)LINES_OF_PANEL * BERT_FETCH_LINE,
                                                       .slice_bytes = slices[at / 5] * BERT_FETCH_LINE,
                                                       .run_tile = note_wanted});
            const int64_t first = slices[at / 5] ? slices[at / 5] : LINES_OF_PANEL; /* is there at the start */
            int64_t again = 0;
            for (int64_t line = 0; line < PANELS * LINES_OF_PANEL; line++) {
                assert_true(line < first || wanted[line] > 0);
                if (wanted[line] > 1) again += wanted[line] - 1;
            }
            assert_in_range(again, 0, streams > 1 ? (streams - 1) * 3 * PANELS : 0);
        }
    }
}

static void avx_vnni_multiplies_as_scalar_code_does(void **state) {
    if (absent(BERT_ISA_AVX2, "avx_vnni")) return;
    test_qgemm(&bert_emulated_avx_vnni);
}

static void avx512_bf16_multiplies_as_scalar_code_does(void **state) {
    if (absent(BERT_ISA_AVX512, "avx512_bf16")) return;
    test_bgemm(&bert_emulated_avx512_bf16);
    test_attention_multiply(&bert_emulated_avx512_bf16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amx_multiplies_as_scalar_code_does),
        cmocka_unit_test(amx_fetches_what_comes_next),
        cmocka_unit_test(amx_splits_between_products),
        cmocka_unit_test(blocks_grow_with_amx_as_far_as_threads_share_them),
        cmocka_unit_test(tiles_share_what_comes_next),
        cmocka_unit_test(avx_vnni_multiplies_as_scalar_code_does),
        cmocka_unit_test(avx512_bf16_multiplies_as_scalar_code_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
