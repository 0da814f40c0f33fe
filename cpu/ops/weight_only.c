/*
 * Products of floats with weights that stay in few bits: QuantizedLinear with weight_only, and com.microsoft's
 * MatMulNBits. A tile of the weight becomes floats just before it is multiplied, in scratch that stays in cache: no
 * float copy of the weight is kept, nor any other, since it is read where the file has it.
 */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <string.h>

/* Columns and rows of the weight that are floats at a time, a thread. */
enum { TILE_COLUMNS = 96, TILE_DEPTH = BERT_SGEMM_CHAIN, MOST_PARTS = 3 };
enum { SCRATCH = 2 * TILE_COLUMNS * TILE_DEPTH }; /* floats of a thread */

typedef struct weight_state weight_state;

/* What a tile is filled with: rows [k, k + depth) of columns [first, first + count) of a part. */
typedef struct tile {
    const weight_state *state;
    int32_t part;
    int64_t k, depth, first, count;
    const bert_cpu_kernels *kernels;
    float *out;     /* [depth][TILE_COLUMNS] */
    float *columns; /* [count][TILE_DEPTH]: of a weight that lies that way round, to be transposed */
} tile;
typedef void (*fill_fn)(const tile *t);

typedef struct weight_part {
    const bert_constant *weight, *scale, *zero_point; /* zero_point NULL: 0, or the operator's own */
    int64_t columns, first;                           /* first: in the output */
    int64_t tiles;
    int32_t bias_input; /* -1: none */
} weight_part;

struct weight_state {
    fill_fn fill;
    weight_part parts[MOST_PARTS];
    int32_t count, residual_input; /* -1: none */
    int64_t depth, width, tiles;   /* of all parts */
    bert_unary activation;
    bool transposed;                          /* QuantizedLinear: [N, K] */
    int64_t bits, block, blocks, block_bytes; /* MatMulNBits */
};

static float float_at(const bert_constant *constant, int64_t index) {
    float out;
    bert_cpu_read_floats(constant, index, 1, &out);
    return out;
}

static int32_t byte_at(const bert_constant *constant, int64_t index) {
    const unsigned char byte = constant->data[index];
    return constant->dtype == BERT_INT8 ? (int32_t)(int8_t)byte : byte;
}

/* ---- The product ------------------------------------------------------------------------------------------------- */

typedef struct weight_run {
    const bert_kernel_call *call;
    const weight_state *state;
    int64_t rows;
} weight_run;

static const float *input_or_null(const bert_kernel_call *call, int32_t input) {
    return input < 0 ? NULL : call->inputs[input].data;
}

static void run_tile(void *argument, int64_t task, int thread) {
    const weight_run *run = argument;
    const weight_state *state = run->state;
    const weight_part *part = state->parts;
    int64_t number = task;
    for (; number >= part->tiles; part++) number -= part->tiles;
    const int64_t first = number * TILE_COLUMNS, left = part->columns - first;
    const int64_t count = left < TILE_COLUMNS ? left : TILE_COLUMNS;
    float *scratch = (float *)run->call->workspace + (int64_t)thread * SCRATCH;
    tile t = {.state = state,
              .part = (int32_t)(part - state->parts),
              .first = first,
              .count = count,
              .kernels = bert_cpu_kernels_for(run->call),
              .out = scratch,
              .columns = scratch + TILE_COLUMNS * TILE_DEPTH};
    float *y = (float *)run->call->outputs[0].data + part->first + first;
    const float *bias = input_or_null(run->call, part->bias_input);
    const float *residual = input_or_null(run->call, state->residual_input);
    for (t.k = 0; t.k < state->depth || t.k == 0; t.k += TILE_DEPTH) {
        t.depth = state->depth - t.k < TILE_DEPTH ? state->depth - t.k : TILE_DEPTH;
        state->fill(&t);
        run->call->context->prepared->multiply(&(bert_sgemm_args){.c = y,
                                                                  .a = (const float *)run->call->inputs[0].data + t.k,
                                                                  .b = scratch,
                                                                  .ldc = state->width,
                                                                  .lda = state->depth,
                                                                  .ldb = TILE_COLUMNS,
                                                                  .m = run->rows,
                                                                  .n = count,
                                                                  .k = t.depth,
                                                                  .accumulate = t.k > 0});
    }
    t.kernels->epilogue(&(bert_epilogue_args){.y = y,
                                              .bias = bias ? bias + first : NULL,
                                              .residual = residual ? residual + part->first + first : NULL,
                                              .stride = state->width,
                                              .residual_stride = state->width,
                                              .rows = run->rows,
                                              .n = count,
                                              .alpha = 1.0F,
                                              .activation = state->activation});
}

static bert_status run_weight_only(const bert_kernel_call *call, bert_error *error) {
    const weight_state *state = call->plan->state;
    const bert_tensor *x = &call->inputs[0];
    weight_run run = {.call = call, .state = state, .rows = bert_cpu_count(x->dims, 0, x->rank - 1)};
    if (run.rows == 0 || state->width == 0) return BERT_OK;
    bert_thread_pool_run(bert_cpu_threads_for(call), state->tiles, run_tile, &run);
    return BERT_OK;
}

/* A part more, whose weight is known; the scale and so on are the caller's to fill. */
static weight_part *add_part(weight_state *state, const bert_constant *weight, int64_t columns) {
    weight_part *part = &state->parts[state->count++];
    *part = (weight_part){.weight = weight,
                          .columns = columns,
                          .first = state->width,
                          .tiles = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS,
                          .bias_input = -1};
    state->width += columns;
    state->tiles += part->tiles;
    return part;
}

static bert_status plan(const bert_cpu_planner *planner, const weight_state *wanted) {
    planner->out->run = run_weight_only;
    planner->out->kernel = "weight_only/cpu";
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    const size_t threads = (size_t)bert_thread_pool_threads(planner->context->threads);
    if (!bert_size_multiply(threads, SCRATCH * sizeof(float), &planner->out->workspace_bytes))
        return bert_cpu_leave(planner, "can't hold scratch for so many threads");
    void *memory;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(weight_state), &memory));
    memcpy(memory, wanted, sizeof *wanted);
    return BERT_OK;
}

static const bert_constant *constant_at(const bert_op_node *node, int32_t input) {
    const bert_constant *constant = bert_cpu_has(node, input) ? node->inputs[input].constant : NULL;
    return constant && constant->id != 0 ? constant : NULL;
}

/* ---- QuantizedLinear --------------------------------------------------------------------------------------------- */

/* One each for every type, so that the loops are plain. */
static void widen_int8(float *out, const unsigned char *from, const float *zeros, const float *scales, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = ((float)(int8_t)from[i] - zeros[i]) * scales[i];
}

static void widen_uint8(float *out, const unsigned char *from, const float *zeros, const float *scales, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = ((float)from[i] - zeros[i]) * scales[i];
}

static void widen_by_one(float *out, const unsigned char *from, bool is_signed, float zero, float scale, int64_t n) {
    if (is_signed) {
        for (int64_t i = 0; i < n; i++) out[i] = ((float)(int8_t)from[i] - zero) * scale;
    } else {
        for (int64_t i = 0; i < n; i++) out[i] = ((float)from[i] - zero) * scale;
    }
}

/* t->columns to t->out. */
static void turn(const tile *t) {
    t->kernels->transpose(&(bert_transpose_args){
        .y = t->out, .x = t->columns, .ldy = TILE_COLUMNS, .ldx = TILE_DEPTH, .rows = t->count, .columns = t->depth});
}

static void fill_bytes(const tile *t) {
    const weight_part *p = &t->state->parts[t->part];
    const bool is_signed = p->weight->dtype == BERT_INT8;
    const bool one_scale = bert_cpu_count(p->scale->dims, 0, p->scale->rank) == 1;
    const bool one_zero = !p->zero_point || bert_cpu_count(p->zero_point->dims, 0, p->zero_point->rank) == 1;
    float scales[TILE_COLUMNS], zeros[TILE_COLUMNS];
    for (int64_t j = 0; j < t->count; j++) {
        scales[j] = float_at(p->scale, one_scale ? 0 : t->first + j);
        zeros[j] = p->zero_point ? (float)byte_at(p->zero_point, one_zero ? 0 : t->first + j) : 0.0F;
    }
    if (t->state->transposed) {
        for (int64_t j = 0; j < t->count; j++) {
            const unsigned char *column = p->weight->data + (t->first + j) * t->state->depth + t->k;
            widen_by_one(t->columns + j * TILE_DEPTH, column, is_signed, zeros[j], scales[j], t->depth);
        }
        turn(t);
        return;
    }
    for (int64_t i = 0; i < t->depth; i++) {
        const unsigned char *row = p->weight->data + (t->k + i) * p->columns + t->first;
        (is_signed ? widen_int8 : widen_uint8)(t->out + i * TILE_COLUMNS, row, zeros, scales, t->count);
    }
}

bert_status bert_cpu_plan_weight_only_linear(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    const int64_t parts = BERT_NODE_INT(node, "parts", 1);
    weight_state state = {.fill = fill_bytes,
                          .residual_input = bert_cpu_has(node, BERT_LINEAR_RESIDUAL) ? BERT_LINEAR_RESIDUAL : -1,
                          .transposed = BERT_NODE_INT(node, "transpose", 0) != 0};
    if (parts < 1 || parts > MOST_PARTS) return bert_cpu_leave(planner, "takes 1 to 3 parts");
    if (!bert_cpu_activation(BERT_NODE_STRING(node, "activation", "none"), &state.activation))
        return bert_cpu_leave(planner, "doesn't know this activation");
    if (!bert_cpu_is_float(node, BERT_LINEAR_X) || !bert_cpu_float_or_absent(node, BERT_LINEAR_RESIDUAL))
        return bert_cpu_leave(planner, "computes in float32 only");
    for (int32_t i = 0; i < parts; i++) {
        const int32_t bias = BERT_QUANTIZED_LINEAR_BIAS(i), zero_point = BERT_QUANTIZED_LINEAR_ZERO_POINT(i);
        const bert_constant *weight = constant_at(node, BERT_QUANTIZED_LINEAR_WEIGHT(i));
        if (!weight || !constant_at(node, BERT_QUANTIZED_LINEAR_SCALE(i)) ||
            (bert_cpu_has(node, zero_point) && !constant_at(node, zero_point)))
            return bert_cpu_leave(planner, "wants constant weights, scales and zero points");
        if (!bert_cpu_float_or_absent(node, bias)) return bert_cpu_leave(planner, "wants float32 biases");
        weight_part *part = add_part(&state, weight, weight->dims[state.transposed ? 0 : 1]);
        state.depth = weight->dims[state.transposed ? 1 : 0];
        part->scale = constant_at(node, BERT_QUANTIZED_LINEAR_SCALE(i));
        part->zero_point = constant_at(node, zero_point);
        if (bert_cpu_has(node, bias)) part->bias_input = bias;
    }
    return plan(planner, &state);
}

/* ---- MatMulNBits ------------------------------------------------------------------------------------------------- */

enum { A, B, SCALES, ZERO_POINTS, GROUP_INDEX, BIAS };
/* Of block_size; inference has refused a node without it. */
enum { LEAST_BLOCK = 16 };

/* Number `index` of those packed from `bytes` on, the first in the low bits. */
static inline unsigned char unpack(const unsigned char *bytes, int64_t index, int64_t bits) {
    return (unsigned char)(bytes[index * bits / 8] >> (index * bits % 8) & ((1 << bits) - 1));
}

/* Numbers [from, from + n). With the bits known the divisions are shifts. */
static void unpack_all(unsigned char *out, const unsigned char *bytes, int64_t from, int64_t n, int64_t bits) {
    if (bits == 4) {
        for (int64_t i = 0; i < n; i++) out[i] = unpack(bytes, from + i, 4);
    } else if (bits == 2) {
        for (int64_t i = 0; i < n; i++) out[i] = unpack(bytes, from + i, 2);
    } else {
        memcpy(out, bytes + from, (size_t)n);
    }
}

/* That of a block: packed, a float of its own, or the middle of the range. */
static float zero_of(const weight_state *state, const weight_part *part, int64_t column, int64_t block) {
    const bert_constant *zero = part->zero_point;
    if (!zero) return (float)(1 << (state->bits - 1));
    if (zero->dtype != BERT_UINT8) return float_at(zero, column * state->blocks + block);
    return (float)unpack(zero->data + column * ((state->blocks * state->bits + 7) / 8), block, state->bits);
}

static void fill_blocks(const tile *t) {
    const weight_state *state = t->state;
    const weight_part *p = &state->parts[t->part];
    unsigned char numbers[TILE_DEPTH];
    for (int64_t j = 0; j < t->count; j++) {
        const int64_t column = t->first + j;
        float *out = t->columns + j * TILE_DEPTH;
        for (int64_t i = 0; i < t->depth;) {
            const int64_t block = (t->k + i) / state->block, inside = (t->k + i) % state->block;
            const int64_t left = state->block - inside, n = left < t->depth - i ? left : t->depth - i;
            unpack_all(numbers, p->weight->data + (column * state->blocks + block) * state->block_bytes, inside, n,
                       state->bits);
            widen_by_one(out + i, numbers, false, zero_of(state, p, column, block),
                         float_at(p->scale, column * state->blocks + block), n);
            i += n;
        }
    }
    turn(t);
}

bert_status bert_cpu_plan_matmul_nbits(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    weight_state state = {.fill = fill_blocks,
                          .residual_input = -1,
                          .depth = BERT_NODE_INT(node, "K", 0),
                          .bits = BERT_NODE_INT(node, "bits", 4),
                          .block = BERT_NODE_INT(node, "block_size", LEAST_BLOCK)};
    const bool zero_is_given = bert_cpu_has(node, ZERO_POINTS);
    if (!bert_cpu_is_float(node, A) || !bert_cpu_is_float(node, SCALES) || !bert_cpu_float_or_absent(node, BIAS))
        return bert_cpu_leave(planner, "computes in float32 only");
    if (!constant_at(node, B) || !constant_at(node, SCALES) || (zero_is_given && !constant_at(node, ZERO_POINTS)))
        return bert_cpu_leave(planner, "wants constant weights, scales and zero points");
    if (zero_is_given && node->inputs[ZERO_POINTS].dtype != BERT_UINT8 && !bert_cpu_is_float(node, ZERO_POINTS))
        return bert_cpu_leave(planner, "takes packed or float32 zero points");
    state.blocks = (state.depth + state.block - 1) / state.block;
    state.block_bytes = state.block * state.bits / 8;
    weight_part *part = add_part(&state, constant_at(node, B), BERT_NODE_INT(node, "N", 0));
    part->scale = constant_at(node, SCALES);
    part->zero_point = constant_at(node, ZERO_POINTS);
    if (bert_cpu_has(node, BIAS)) part->bias_input = BIAS;
    return plan(planner, &state);
}
