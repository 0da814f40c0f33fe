#include "tests/cpu/split_kernels.h"

#include "core/base/float16.h"
#include "tests/cpu/guarded.h"

#include <float.h>
#include <math.h>

static const int64_t row_counts[] = {1, 15, 16, 17, 31, 32, 33, 64, 65, 100, 128};
static const int64_t depths[] = {1, 2, 31, 32, 33, 64, 95, 768, 769};
static const int64_t widths[] = {1, 15, 16, 17, 32, 47, 48};
enum {
    ROW_COUNTS = sizeof row_counts / sizeof *row_counts,
    DEPTHS = sizeof depths / sizeof *depths,
    WIDTHS = sizeof widths / sizeof *widths
};

/* ---- Parts ------------------------------------------------------------------------------------------------------- */

/* Numbers of all sizes, and in between what is special: zeros, subnormal numbers, the least that splits without a rest,
 * the greatest that splits and the least that doesn't, infinity, NaN. */
static void fill_numbers(float *x, int64_t count, uint32_t seed) {
    static const uint32_t bits[] = {0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00008000, 0x00800000, 0x08800001,
                                    0x7f7f7fff, 0x7f7f8000, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fffffff,
                                    0xffffffff, 0x7f800001, 0x3f808000, 0xbf818000, 0x3f807fff, 0x3fffffff};
    enum { SPECIAL = sizeof bits / sizeof *bits };
    fill_random(x, count, 1.0F, seed);
    for (int64_t i = 0; i < count; i++) {
        x[i] = ldexpf(x[i], (int)(i * 37 % 250) - 125);
        if ((i + seed) % 3 == 0) memcpy(&x[i], &bits[(i / 3 + seed) % SPECIAL], sizeof *x);
    }
}

/* They add up to the number, the others at most 2^-8 and 2^-17 of it; below 2^-133 there is no bfloat16. What doesn't
 * split has a NaN. */
static void check_parts(float x, uint16_t high, uint16_t middle, uint16_t low) {
    const double parts[] = {(double)bert_bfloat16_to_float(high), (double)bert_bfloat16_to_float(middle),
                            (double)bert_bfloat16_to_float(low)};
    if (!(fabsf(x) < 0x1.ffp127F)) {
        assert_true(isnan(parts[0]) || isnan(parts[1]) || isnan(parts[2]));
        return;
    }
    const double size = fabs((double)x), step = size < 0x1p-110 ? 0x1p-133 : 0.0;
    assert_true(fabs(parts[0] + parts[1] + parts[2] - (double)x) <= step);
    assert_true(fabs(parts[1]) <= 0x1p-8 * size + step && fabs(parts[2]) <= 0x1p-17 * size + step);
}

/* Elements of x[rows, stride] with nothing behind its last row, at least one. */
static int64_t extent(int64_t rows, int64_t columns, int64_t stride) {
    return rows > 0 ? (rows - 1) * stride + columns : 0;
}

static uint16_t *guarded_halves(bert_guarded *out, int64_t count) {
    return guarded_new(out, (size_t)count * sizeof(uint16_t));
}

/* y[groups of 32 rows][tiles of k][low, middle, high][32 rows][32]; rows beyond the last 16 are nobody's. */
static void check_rows(const bert_split_rows_args *args) {
    const int64_t tiles = bert_split_tiles(args->k);
    for (int64_t row = 0; row < (args->rows + 31) / 32 * 32; row++) {
        for (int64_t step = 0; step < tiles * 32; step++) {
            const uint16_t *low = args->y + (row / 32 * tiles + step / 32) * 3 * 1024 + row % 32 * 32 + step % 32;
            const float x = row < args->rows && step < args->k ? args->x[row * args->ldx + step] : 0.0F;
            if (row < (args->rows + 15) / 16 * 16)
                check_parts(x, low[2048], low[1024], low[0]);
            else
                assert_true(low[0] == 0xa5a5 && low[1024] == 0xa5a5 && low[2048] == 0xa5a5);
        }
    }
}

static void rows_case(const bert_cpu_kernels *table, int64_t rows, int64_t k, int64_t slack, uint32_t seed) {
    const int64_t ldx = k + slack, elements = bert_split_tiles(k) * bert_split_rows_elements(rows);
    bert_guarded memory[3];
    float *x = guarded_floats(&memory[0], extent(rows, k, ldx));
    uint16_t *y = guarded_halves(&memory[1], elements), *expected = guarded_halves(&memory[2], elements);
    fill_numbers(x, extent(rows, k, ldx), seed);
    bert_split_rows_args args = {.y = expected, .x = x, .ldx = ldx, .rows = rows, .k = k};
    bert_cpu_kernels_scalar.split_rows(&args);
    args.y = y;
    table->split_rows(&args);
    assert_memory_equal(y, expected, (size_t)elements * sizeof *y);
    check_rows(&args);
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

void test_split_rows(const bert_cpu_kernels *table) {
    for (int i = 0; i < ROW_COUNTS; i++)
        for (int j = 0; j < DEPTHS; j++)
            rows_case(table, row_counts[i], depths[j], (i + j) % 3 * 5, (uint32_t)(i + 7 * j));
}

/* y[tiles of k][high, middle, low][column tiles][16 pairs][16 columns][2] */
static const uint16_t *place_in_panel(const bert_split_panel_args *args, int64_t step, int64_t column, int part) {
    const int64_t column_tiles = (args->columns + 15) / 16;
    return args->y + ((step / 32 * 3 + part) * column_tiles + column / 16) * 512 + step % 32 / 2 * 32 +
           column % 16 * 2 + step % 2;
}

static void check_panel(const bert_split_panel_args *args) {
    for (int64_t step = 0; step < 2 * args->end; step++) {
        for (int64_t column = 0; column < (args->columns + 15) / 16 * 16; column++) {
            const bool given = step < args->k && column < args->columns;
            check_parts(given ? args->x[step * args->ldx + column] : 0.0F, *place_in_panel(args, step, column, 0),
                        *place_in_panel(args, step, column, 1), *place_in_panel(args, step, column, 2));
        }
    }
}

/* Places that go round hold the last tile that came to each. */
static void ring_case(const bert_cpu_kernels *table, bert_split_panel_args args) {
    const int64_t ring = BERT_SPLIT_RING, elements = bert_split_panel_elements(args.columns),
                  tiles = bert_split_tiles(args.k);
    const uint16_t *whole = args.y;
    bert_guarded memory;
    args.y = guarded_halves(&memory, ring * elements);
    args.ring = true;
    table->split_panel(&args);
    for (int64_t tile = tiles > ring ? tiles - ring : 0; tile < tiles; tile++)
        assert_memory_equal(args.y + tile % ring * elements, whole + tile * elements,
                            (size_t)elements * sizeof *args.y);
    guarded_free(&memory);
}

static void panel_case(const bert_cpu_kernels *table, int64_t columns, int64_t k, int64_t slack, uint32_t seed) {
    const int64_t ldx = columns + slack, tiles = bert_split_tiles(k);
    const int64_t elements = tiles * bert_split_panel_elements(columns);
    bert_guarded memory[3];
    float *x = guarded_floats(&memory[0], extent(k, columns, ldx));
    uint16_t *y = guarded_halves(&memory[1], elements), *expected = guarded_halves(&memory[2], elements);
    fill_numbers(x, extent(k, columns, ldx), seed);
    bert_split_panel_args args = {.x = x, .ldx = ldx, .columns = columns, .k = k};
    const int64_t pairs = 16 * tiles, part = pairs / 3; /* some pairs, then those before and after */
    const int64_t ends[][2] = {{part, 2 * part + 1}, {0, part}, {2 * part + 1, pairs}, {0, pairs}};
    for (int i = 0; i < 4; i++) {
        args.first = ends[i][0];
        args.end = ends[i][1];
        args.y = expected;
        bert_cpu_kernels_scalar.split_panel(&args);
        args.y = y;
        table->split_panel(&args);
        assert_memory_equal(y, expected, (size_t)elements * sizeof *y); /* what isn't split yet, too */
        if (i == 2) check_panel(&args);
    }
    ring_case(table, args);
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

void test_split_panel(const bert_cpu_kernels *table) {
    for (int i = 0; i < WIDTHS; i++)
        for (int j = 0; j < DEPTHS; j++)
            panel_case(table, widths[i], depths[j], (i + j) % 3 * 5, (uint32_t)(i + 7 * j));
}

/* ---- Products ---------------------------------------------------------------------------------------------------- */

/* What is multiplied: numbers in [-1, 1), or ones whose sums are exact in any order and have bits of each part of x, or
 * of w, or of both middle parts, so that no product of any step can be missing. */
typedef enum numbers { ANY, X_IN_PARTS, W_IN_PARTS, BOTH_IN_PARTS, NUMBERS } numbers;

enum { BUFFERS = 6 };

typedef struct product {
    int64_t rows, columns, k, ldx, ldw, ldc;
    numbers kind;
    float *x, *w, *c;
    uint16_t *a, *b;
    uint8_t *left_out;
    bert_guarded memory[BUFFERS];
} product;

static uint32_t draw_state;

/* Of [0, limit). */
static int draw(int limit) {
    draw_state = draw_state * 1664525U + 1013904223U;
    return (int)(((uint64_t)(draw_state >> 8) * (uint64_t)limit) >> 24);
}

/* About 1, with as many parts. */
static float draw_parts(int parts) {
    float x = 1.0F;
    if (parts > 1) x += (float)(draw(3) - 1) * 0x1p-9F;
    if (parts > 2) x += (float)(draw(3) - 1) * 0x1p-18F;
    return x;
}

/* Numbers of steps 2 i and 2 i + 1, `stride` apart, of one sign, or of two: products of these with those cancel but for
 * what lower parts give, so that sums stay as short as they are. */
static void draw_pair(float *pair, int64_t stride, bool second, int parts, float second_sign) {
    const float sign = draw(2) ? 1.0F : -1.0F;
    pair[0] = sign * draw_parts(parts);
    if (second) pair[stride] = sign * second_sign * draw_parts(parts);
}

static void fill_product(product *p) {
    const int x_parts = p->kind == X_IN_PARTS ? 3 : p->kind == BOTH_IN_PARTS ? 2 : 1;
    const int w_parts = p->kind == W_IN_PARTS ? 3 : p->kind == BOTH_IN_PARTS ? 2 : 1;
    const float x_sign = p->kind == W_IN_PARTS ? 1.0F : -1.0F;
    fill_random(p->x, extent(p->rows, p->k, p->ldx), 1.0F, 1);
    fill_random(p->w, extent(p->k, p->columns, p->ldw), 1.0F, 2);
    if (p->kind == ANY) return;
    for (int64_t step = 0; step < p->k; step += 2) {
        for (int64_t row = 0; row < p->rows; row++)
            draw_pair(p->x + row * p->ldx + step, 1, step + 1 < p->k, x_parts, x_sign);
        for (int64_t column = 0; column < p->columns; column++)
            draw_pair(p->w + step * p->ldw + column, p->ldw, step + 1 < p->k, w_parts, -x_sign);
    }
}

static bert_split_panel_args panel_of(const product *p, uint16_t *y) {
    return (bert_split_panel_args){.y = y,
                                   .x = p->w,
                                   .ldx = p->ldw,
                                   .columns = p->columns,
                                   .k = p->k,
                                   .end = bert_split_tiles(p->k) * BERT_SPLIT_PAIRS};
}

static void split_product(product *p) {
    const bert_split_panel_args panel = panel_of(p, p->b);
    bert_cpu_kernels_scalar.split_rows(
        &(bert_split_rows_args){.y = p->a, .x = p->x, .ldx = p->ldx, .rows = p->rows, .k = p->k});
    bert_cpu_kernels_scalar.split_panel(&panel);
}

static void new_product(product *p, int64_t rows, int64_t columns, int64_t k, int64_t slack, numbers kind) {
    const int64_t tiles = bert_split_tiles(k);
    *p = (product){.rows = rows,
                   .columns = columns,
                   .k = k,
                   .ldx = k + slack,
                   .ldw = columns + slack,
                   .ldc = columns + slack,
                   .kind = kind};
    p->x = guarded_floats(&p->memory[0], extent(rows, k, p->ldx));
    p->w = guarded_floats(&p->memory[1], extent(k, columns, p->ldw));
    p->c = guarded_floats(&p->memory[2], extent(rows, columns, p->ldc));
    p->a = guarded_halves(&p->memory[3], tiles * bert_split_rows_elements(rows));
    p->b = guarded_halves(&p->memory[4], tiles * bert_split_panel_elements(columns));
    p->left_out = guarded_new(&p->memory[5], (size_t)rows);
    draw_state = (uint32_t)(rows + 1000 * k);
    fill_product(p);
    split_product(p);
}

static void free_product(product *p) {
    for (int i = 0; i < BUFFERS; i++) guarded_free(&p->memory[i]);
}

static bert_sgemm_split_args args_of(const product *p) {
    return (bert_sgemm_split_args){.c = p->c,
                                   .a = p->a,
                                   .b = p->b,
                                   .left_out = p->left_out,
                                   .ldc = p->ldc,
                                   .a_stride = bert_split_tiles(p->k) * BERT_SPLIT_GROUP_TILE,
                                   .rows = p->rows,
                                   .columns = p->columns,
                                   .tiles = bert_split_tiles(p->k),
                                   .split_panel = bert_cpu_kernels_scalar.split_panel};
}

static void multiply(const bert_cpu_kernels *table, const bert_sgemm_split_args *args) {
    memset(args->left_out, GUARD_PATTERN, (size_t)args->rows);
    bert_cpu_enter(table);
    table->sgemm_split(args);
    bert_cpu_exit(table);
}

/* Bytes of c with its slack. */
static size_t result_bytes(const product *p) {
    return (size_t)extent(p->rows, p->columns, p->ldc) * sizeof *p->c;
}

/* An element is off by products that are left out, about 2^-24 of each term, and by roundings; by `least` times numbers
 * of x where parts of weights are so small that they count as zeros. */
static void check_sums_to(const product *p, double least) {
    for (int64_t row = 0; row < p->rows; row++) {
        assert_int_equal(p->left_out[row], 0);
        for (int64_t column = 0; column < p->columns; column++) {
            double sum = 0.0, size = 0.0, lost = 0.0;
            for (int64_t step = 0; step < p->k; step++) {
                const double term = (double)p->x[row * p->ldx + step] * (double)p->w[step * p->ldw + column];
                sum += term;
                size += fabs(term);
                lost += least * fabs((double)p->x[row * p->ldx + step]);
            }
            const double off = fabs((double)p->c[row * p->ldc + column] - sum);
            if (!(off <= (p->kind == ANY ? 0x1p-22 * size + lost : 0.0)))
                fail_msg("%lld x %lld x %lld of kind %d: row %lld, column %lld is %.9g, expected %.9g",
                         (long long)p->rows, (long long)p->columns, (long long)p->k, (int)p->kind, (long long)row,
                         (long long)column, (double)p->c[row * p->ldc + column], sum);
        }
        for (int64_t i = p->columns; i < p->ldc && row + 1 < p->rows; i++) /* the slack is left alone */
            assert_memory_equal(&p->c[row * p->ldc + i], "\xa5\xa5\xa5\xa5", sizeof *p->c);
    }
}

static void check_sums(const product *p) {
    check_sums_to(p, 0.0);
}

/* A row alone has the bits that it has among others, and leaves the way as it was for others after it. */
static void alone_case(const bert_cpu_kernels *table, const product *p, int64_t row) {
    const bert_sgemm_split_args whole = args_of(p);
    bert_sgemm_split_args args = whole;
    bert_guarded memory[3];
    uint16_t *a = guarded_halves(&memory[0], args.tiles * BERT_SPLIT_GROUP_TILE);
    args.c = guarded_floats(&memory[1], p->columns);
    args.left_out = guarded_new(&memory[2], 1);
    args.a = a;
    args.rows = 1;
    bert_cpu_kernels_scalar.split_rows(
        &(bert_split_rows_args){.y = a, .x = p->x + row * p->ldx, .ldx = p->ldx, .rows = 1, .k = p->k});
    bert_cpu_enter(table);
    table->sgemm_split(&args);
    table->sgemm_split(&whole);
    bert_cpu_exit(table);
    assert_int_equal(*args.left_out, 0);
    assert_memory_equal(args.c, p->c + row * p->ldc, (size_t)p->columns * sizeof *p->c);
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
}

/* Sums are added to what is there, as they were without it. All of another panel is split meanwhile. */
static void accumulate_case(const bert_cpu_kernels *table, const product *p, int64_t ahead_columns, int64_t ahead_k) {
    product other;
    bert_guarded memory[3];
    const int64_t count = extent(p->rows, p->columns, p->ldc);
    const int64_t elements = bert_split_tiles(ahead_k) * bert_split_panel_elements(ahead_columns);
    float *c = guarded_floats(&memory[0], count), *expected = guarded_floats(&memory[1], count);
    new_product(&other, 1, ahead_columns, ahead_k, 3, ANY);
    const bert_split_panel_args panel = panel_of(&other, guarded_halves(&memory[2], elements));
    bert_sgemm_split_args args = args_of(p);
    args.c = c;
    args.accumulate = true;
    args.ahead = &panel;
    fill_random(expected, count, 1.0F, 3);
    memcpy(c, expected, result_bytes(p));
    for (int64_t row = 0; row < p->rows; row++)
        for (int64_t i = 0; i < p->columns; i++) expected[row * p->ldc + i] += p->c[row * p->ldc + i];
    multiply(table, &args);
    assert_memory_equal(c, expected, result_bytes(p));
    assert_memory_equal(panel.y, other.b, (size_t)elements * sizeof *panel.y);
    for (int i = 0; i < 3; i++) guarded_free(&memory[i]);
    free_product(&other);
}

/* The panel is split as it is multiplied, into few places: the same bits, whether its first tile was there or not. The
 * first one of another panel is split where it has another place than the last one of this. */
static void ring_product_case(const bert_cpu_kernels *table, const product *p, bool begun) {
    const int64_t elements = bert_split_panel_elements(p->columns);
    product other;
    bert_guarded memory[2];
    bert_sgemm_split_args args = args_of(p);
    bert_split_panel_args panel = panel_of(p, guarded_halves(&memory[0], BERT_SPLIT_RING * elements)), next;
    new_product(&other, 1, p->columns, 40, 3, ANY);
    panel.ring = true;
    if (begun && args.tiles > 0) {
        bert_split_panel_args first = panel;
        first.end = panel.first = BERT_SPLIT_PAIRS;
        bert_cpu_kernels_scalar.split_panel(&first);
    }
    next = panel_of(&other, panel.y);
    next.ring = true;
    next.end = BERT_SPLIT_PAIRS;
    args.b = panel.y;
    args.as_it_goes = &panel;
    args.ahead = args.tiles % BERT_SPLIT_RING == 1 ? NULL : &next;
    args.c = guarded_floats(&memory[1], extent(p->rows, p->columns, p->ldc));
    multiply(table, &args);
    assert_memory_equal(args.c, p->c, result_bytes(p)); /* the slack has the same pattern */
    if (args.ahead) assert_memory_equal(panel.y, other.b, (size_t)elements * sizeof *panel.y);
    for (int i = 0; i < 2; i++) guarded_free(&memory[i]);
    free_product(&other);
}

static void product_case(const bert_cpu_kernels *table, int64_t rows, int64_t columns, int64_t k, int at) {
    product p;
    new_product(&p, rows, columns, k, at % 3 * 5, (numbers)(at % NUMBERS));
    const bert_sgemm_split_args args = args_of(&p);
    multiply(table, &args);
    alone_case(table, &p, rows - 1);
    alone_case(table, &p, rows / 2);
    check_sums(&p);
    accumulate_case(table, &p, widths[at % WIDTHS], depths[at % DEPTHS]);
    for (int begun = 0; begun < 2 && rows <= BERT_SPLIT_ROWS; begun++) ring_product_case(table, &p, begun);
    free_product(&p);
}

/* Weights of which two parts are below the least normal number or near it, by large numbers. */
static void tiny_case(const bert_cpu_kernels *table, int64_t rows, int64_t columns, int64_t k) {
    product p;
    new_product(&p, rows, columns, k, 0, ANY);
    for (int64_t i = 0; i < k * columns; i++) p.w[i] *= 0x1p-115F;
    for (int64_t i = 0; i < rows * k; i++) p.x[i] *= 0x1p100F;
    split_product(&p);
    const bert_sgemm_split_args args = args_of(&p);
    multiply(table, &args);
    check_sums_to(&p, 0x1p-126);
    free_product(&p);
}

/* ---- What isn't finite ------------------------------------------------------------------------------------------- */

/* Rows with a bit set in `left_out` are left alone, the others have the bits of `finite`. */
static void left_out_case(const bert_cpu_kernels *table, product *p, const float *finite, const bool *left_out) {
    bert_sgemm_split_args args = args_of(p);
    for (int ring = 0; ring <= (p->rows <= BERT_SPLIT_ROWS ? 1 : 0); ring++) {
        bert_guarded memory;
        bert_split_panel_args panel =
            panel_of(p, guarded_halves(&memory, ring * BERT_SPLIT_RING * bert_split_panel_elements(p->columns)));
        panel.ring = ring;
        args.as_it_goes = ring ? &panel : NULL;
        args.b = ring ? panel.y : p->b;
        memset(p->c, GUARD_PATTERN, result_bytes(p));
        split_product(p);
        multiply(table, &args);
        for (int64_t row = 0; row < p->rows; row++) {
            const float *c = p->c + row * p->ldc;
            assert_int_equal(p->left_out[row], left_out[row]);
            for (int64_t i = 0; i < p->columns; i++)
                assert_memory_equal(&c[i], left_out[row] ? "\xa5\xa5\xa5\xa5" : (const char *)&finite[row * p->ldc + i],
                                    sizeof *c);
        }
        guarded_free(&memory);
    }
}

enum { MOST_ROWS = 65 };

/* A number that doesn't split in a row of x, then in a column of the panel, where it reaches every row. */
static void not_finite_case(const bert_cpu_kernels *table, int64_t rows, int64_t columns, int64_t k, float value) {
    product p;
    new_product(&p, rows, columns, k, 3, ANY);
    const bert_sgemm_split_args args = args_of(&p);
    multiply(table, &args);
    check_sums(&p);
    bert_guarded memory;
    float *finite = guarded_floats(&memory, extent(rows, columns, p.ldc));
    memcpy(finite, p.c, result_bytes(&p));
    const int64_t where[] = {rows - 1, rows / 3};
    bool left_out[MOST_ROWS] = {false};
    for (int i = 0; i < 2; i++) {
        p.x[where[i] * p.ldx + k - 1 - i * (k / 2)] = value;
        left_out[where[i]] = true;
        left_out_case(table, &p, finite, left_out);
    }
    fill_product(&p);
    p.w[(k - 1) * p.ldw + columns - 1] = value;
    for (int64_t row = 0; row < rows; row++) left_out[row] = true;
    left_out_case(table, &p, finite, left_out);
    for (int64_t row = 0; row < rows; row++) left_out[row] = row == where[0];
    fill_product(&p);
    for (int64_t step = 0; step < k; step++) /* each number splits, the sum of column 0 is too large */
        p.x[where[0] * p.ldx + step] = copysignf(3e38F, p.w[step * p.ldw]);
    if (k >= 31) left_out_case(table, &p, finite, left_out);
    free_product(&p);
    guarded_free(&memory);
}

static void test_not_finite(const bert_cpu_kernels *table) {
    static const float values[] = {INFINITY, -INFINITY, NAN, FLT_MAX, -FLT_MAX};
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 48, 31}, {16, 17, 33}, {33, 48, 65}, {MOST_ROWS, 31, 2}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t j = 0; j < sizeof values / sizeof *values; j++)
            not_finite_case(table, shapes[i][0], shapes[i][1], shapes[i][2], values[j]);
}

void test_sgemm_split(const bert_cpu_kernels *table) {
    for (int i = 0; i < ROW_COUNTS; i++)
        for (int j = 0; j < DEPTHS; j++)
            product_case(table, row_counts[i], widths[(3 * i + j) % WIDTHS], depths[j], i + j);
    for (int i = 0; i < ROW_COUNTS; i++)
        for (int j = 0; j < WIDTHS; j++) product_case(table, row_counts[i], widths[j], 33 * (i % 3), i + j);
    tiny_case(table, 20, 48, 65);
    test_not_finite(table);
}
