/*
 * MatMulInteger and QLinearMatMul of two activations, which nobody packed: bytes less their zero point become floats,
 * which multiply exactly. No product exceeds 255 x 255 in magnitude and 256 of these sum up to less than 2^24, so that
 * float32 holds every sum of as many, in whatever order they are added; longer ones are added up as int32.
 */
#include "cpu/ops/ops.h"

#include "core/graph/op.h"

#include <string.h>

enum { PIECE = 256, TASK_ROWS = 64, BLOCK_COLUMNS = 256, TASK_ELEMENTS = 16384 };
_Static_assert(PIECE * 255 * 255 < 1 << 24, "a piece of k is summed exactly");

/* Where inputs stand: of QLinearMatMul, else of MatMulInteger, which has neither scales nor an output's zero point. */
typedef struct places {
    int32_t b, a_zero, b_zero;
} places;

static const places qlinear_places = {3, 2, 5}, integer_places = {1, 2, 3};
enum { A, A_SCALE = 1, B_SCALE = 4, Y_SCALE = 6, Y_ZERO = 7 };

/* What a thread works in. */
typedef struct scratch {
    float a[TASK_ROWS * PIECE], products[TASK_ROWS * BLOCK_COLUMNS];
    int32_t sums[TASK_ROWS * BLOCK_COLUMNS];
} scratch;

/* What a plan keeps. */
typedef struct product_state {
    places at; /* zero points: -1: absent, 0 */
    bool quantizes;
} product_state;

typedef struct product_run {
    const bert_kernel_call *call;
    const bert_cpu_kernels *kernels;
    const bert_tensor *a, *b, *y;
    int32_t a_zero, b_zero;
    float *floats; /* B less its zero point */
    scratch *scratches;
    int64_t m, n, k, row_blocks;
    /* Of QLinearMatMul. */
    bool quantizes;
    float ratio; /* of a sum's unit to the output's */
    int32_t y_zero;
} product_run;

/* Element 0 of the bytes at an input, 0 where it is absent. */
static int32_t zero_point(const bert_kernel_call *call, int32_t input) {
    return input < 0 ? 0 : bert_cpu_byte(&call->inputs[input], 0);
}

static void center(const product_run *run, float *y, const bert_tensor *of, int64_t first, int64_t n, int32_t zero) {
    const bert_cpu_quantization by = {.scale = 1.0F, .zero_point = zero, .is_signed = of->dtype == BERT_INT8};
    bert_cpu_dequantize(run->kernels, &by, y, (const uint8_t *)of->data + first, n);
}

static void center_b(void *argument, int64_t task, int thread) {
    const product_run *run = argument;
    const int64_t first = task * TASK_ELEMENTS;
    const int64_t n = bert_smaller(TASK_ELEMENTS, bert_tensor_elements(run->b) - first);
    center(run, run->floats + first, run->b, first, n, run->b_zero);
}

/* ---- One block of rows and columns ------------------------------------------------------------------------------- */

static void add_products(const scratch *of, int32_t *sums, int64_t rows, int64_t columns, bool first) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            const int32_t piece = (int32_t)of->products[i * BLOCK_COLUMNS + j];
            int32_t *sum = &sums[i * BLOCK_COLUMNS + j];
            *sum = first ? piece : (int32_t)((uint32_t)*sum + (uint32_t)piece); /* wraps around */
        }
    }
}

/* Sums of rows and columns that begin at these elements of A and B. */
static void multiply(const product_run *run, scratch *with, int64_t a_first, int64_t b_first, int64_t rows,
                     int64_t columns) {
    if (run->k == 0) memset(with->sums, 0, sizeof with->sums);
    for (int64_t depth = 0; depth < run->k; depth += PIECE) {
        const int64_t piece = bert_smaller(PIECE, run->k - depth);
        for (int64_t i = 0; i < rows; i++)
            center(run, with->a + i * PIECE, run->a, a_first + i * run->k + depth, piece, run->a_zero);
        run->call->context->prepared->multiply(&(bert_sgemm_args){.c = with->products,
                                                                  .a = with->a,
                                                                  .b = run->floats + b_first + depth * run->n,
                                                                  .ldc = BLOCK_COLUMNS,
                                                                  .lda = PIECE,
                                                                  .ldb = run->n,
                                                                  .m = rows,
                                                                  .n = columns,
                                                                  .k = piece});
        add_products(with, with->sums, rows, columns, depth == 0);
    }
}

/* A row of sums in the output's unit, and rounded to its bytes. */
static void quantize_row(const product_run *run, scratch *with, uint8_t *y, const int32_t *sums, int64_t columns) {
    const bert_cpu_quantization by = {
        .scale = 1.0F, .zero_point = run->y_zero, .is_signed = run->y->dtype == BERT_INT8};
    for (int64_t j = 0; j < columns; j++) with->products[j] = (float)sums[j] * run->ratio;
    bert_cpu_quantize(run->kernels, &by, y, with->products, columns);
}

static void run_block(void *argument, int64_t task, int thread) {
    const product_run *run = argument;
    scratch *with = &run->scratches[thread];
    const int64_t batch = task / run->row_blocks, row = task % run->row_blocks * TASK_ROWS;
    const int64_t rows = bert_smaller(TASK_ROWS, run->m - row);
    const int64_t a_first = bert_cpu_matrix_offset(run->a, run->y, batch) + row * run->k;
    const int64_t b_first = bert_cpu_matrix_offset(run->b, run->y, batch);
    for (int64_t column = 0; column < run->n; column += BLOCK_COLUMNS) {
        const int64_t columns = bert_smaller(BLOCK_COLUMNS, run->n - column);
        multiply(run, with, a_first, b_first + column, rows, columns);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t at = (batch * run->m + row + i) * run->n + column;
            const int32_t *sums = with->sums + i * BLOCK_COLUMNS;
            if (run->quantizes)
                quantize_row(run, with, (uint8_t *)run->y->data + at, sums, columns);
            else
                memcpy((int32_t *)run->y->data + at, sums, (size_t)columns * sizeof *sums);
        }
    }
}

/* ---- All --------------------------------------------------------------------------------------------------------- */

static bert_status run_product(const bert_kernel_call *call, bert_error *error) {
    const product_state *state = call->plan->state;
    const bert_tensor *a = &call->inputs[A], *y = &call->outputs[0];
    if (bert_tensor_elements(y) == 0) return BERT_OK;
    product_run run = {.call = call,
                       .kernels = bert_cpu_kernels_for(call),
                       .a = a,
                       .b = &call->inputs[state->at.b],
                       .y = y,
                       .a_zero = zero_point(call, state->at.a_zero),
                       .b_zero = zero_point(call, state->at.b_zero),
                       .scratches = call->workspace,
                       .m = y->dims[y->rank - 2],
                       .n = y->dims[y->rank - 1],
                       .k = a->dims[a->rank - 1],
                       .quantizes = state->quantizes};
    if (state->quantizes) {
        const float scale = *(const float *)call->inputs[A_SCALE].data * *(const float *)call->inputs[B_SCALE].data;
        run.ratio = scale / *(const float *)call->inputs[Y_SCALE].data;
        run.y_zero = zero_point(call, Y_ZERO);
    }
    bert_thread_pool *threads = bert_cpu_threads_for(call);
    run.floats = (float *)(void *)(run.scratches + bert_thread_pool_threads(threads));
    bert_thread_pool_run(threads, (bert_tensor_elements(run.b) + TASK_ELEMENTS - 1) / TASK_ELEMENTS, center_b, &run);
    run.row_blocks = (run.m + TASK_ROWS - 1) / TASK_ROWS;
    bert_thread_pool_run(threads, bert_cpu_count(y->dims, 0, y->rank - 2) * run.row_blocks, run_block, &run);
    return BERT_OK;
}

static bool is_one(const bert_op_node *node, int32_t input) {
    return !bert_cpu_has(node, input) || bert_cpu_is_single(&node->inputs[input]);
}

static bool is_one_float(const bert_op_node *node, int32_t input) {
    return bert_cpu_is_float(node, input) && is_one(node, input);
}

static bert_status bind(const bert_cpu_planner *planner, const places *at, bool quantizes) {
    const bert_op_node *node = planner->node;
    const bert_tensor_desc *b = &node->inputs[at->b];
    size_t bytes;
    const size_t scratches = sizeof(scratch) * (size_t)bert_thread_pool_threads(planner->context->threads);
    if (!bert_size_product(sizeof(float), b->dims, b->rank, &bytes) ||
        !bert_size_add(bytes, scratches, &planner->out->workspace_bytes))
        return bert_cpu_leave(planner, "can't hold tensors of this size");
    void *state;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(product_state), &state));
    *(product_state *)state = (product_state){
        {at->b, bert_cpu_has(node, at->a_zero) ? at->a_zero : -1, bert_cpu_has(node, at->b_zero) ? at->b_zero : -1},
        quantizes};
    return BERT_OK;
}

bert_status bert_cpu_plan_integer_matmul(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const bool quantizes = node->op_id == BERT_OP_QLinearMatMul;
    const places at = quantizes ? qlinear_places : integer_places;
    if (node->inputs[A].rank == 1 || node->inputs[at.b].rank == 1)
        return bert_cpu_leave(planner, "takes matrices, not vectors");
    if (!is_one(node, at.a_zero) || !is_one(node, at.b_zero)) return bert_cpu_leave(planner, "takes one zero point");
    if (quantizes && (!is_one_float(node, A_SCALE) || !is_one_float(node, B_SCALE) || !is_one_float(node, Y_SCALE)))
        return bert_cpu_leave(planner, "takes one scale of float32");
    planner->out->run = run_product;
    planner->out->kernel = "integer_matmul/cpu";
    return planner->mode == BERT_PLAN_BIND ? bind(planner, &at, quantizes) : BERT_OK;
}
