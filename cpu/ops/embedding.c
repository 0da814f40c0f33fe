/* Embedding: rows of up to three tables added, then normalized, one token at a time. Rows of bytes and of 16-bit floats
 * become float32 first; rows of float32 that lie in a file at any address are brought to an aligned place, since
 * another copy of a whole table would be memory and time for rows that nobody looks at. */
#include "cpu/ops/ops.h"

#include "core/graph/canonical.h"

#include <string.h>

/* One of the tables and the ids that choose its rows. */
typedef struct lookup {
    const bert_tensor *table, *ids;        /* ids NULL: this one is absent */
    const bert_tensor *scale, *zero_point; /* of a table of bytes, [1 or rows, 1 or width]; zero_point NULL: 0 */
    int64_t rows;                          /* of the table */
} lookup;

enum { TABLES = 3 };

typedef struct embedding_run {
    const bert_kernel_call *call;
    const bert_cpu_kernels *kernels;
    lookup tables[TABLES]; /* words, positions, types */
    const int32_t *tokens; /* [rows]: where they lie among those that ids describe; NULL: all of them, in order */
    float *scratch;        /* [threads][TABLES][width]: rows as float32, aligned */
    int64_t rows, width;
    float epsilon;
    bert_dtype narrow; /* what rows of bytes are rounded to; undefined: float32 */
} embedding_run;

/* Rows of a task, and how many rows before its turn what a token chooses is fetched. */
enum { TASK_ROWS = 8, AHEAD = 2 };

static int64_t id_at(const bert_tensor *ids, int64_t index) {
    return ids->dtype == BERT_INT32 ? ((const int32_t *)ids->data)[index] : ((const int64_t *)ids->data)[index];
}

/* Which inputs there are, and what the norm needs. */
typedef struct embedding_state {
    uint32_t inputs; /* bit i: input i */
    float epsilon;
    bert_dtype narrow; /* planner.narrow */
} embedding_state;

static const bert_tensor *given(const bert_kernel_call *call, int32_t input) {
    const embedding_state *state = call->plan->state;
    return state->inputs >> input & 1 ? &call->inputs[input] : NULL;
}

static lookup lookup_of(const bert_kernel_call *call, int32_t ids) {
    const int32_t table = ids + 1;
    if (!given(call, ids)) return (lookup){0};
    return (lookup){.table = &call->inputs[table],
                    .ids = &call->inputs[ids],
                    .scale = given(call, BERT_EMBEDDING_SCALE(table)),
                    .zero_point = given(call, BERT_EMBEDDING_ZERO_POINT(table)),
                    .rows = call->inputs[table].dims[0]};
}

/* Where row `id` of a matrix that broadcasts begins; *step is 0 where it is one element. */
static int64_t broadcast_row(const bert_tensor *tensor, int64_t id, int64_t *step) {
    *step = tensor->dims[1] != 1;
    return (tensor->dims[0] == 1 ? 0 : id) * tensor->dims[1];
}

/* Where one scale and zero point serve the row: plain enough for compilers to make vectors of. */
static void dequantize_plain(const bert_tensor *table, int64_t first, int64_t width, float scale, int32_t zero,
                             float *restrict out) {
    const uint8_t *bytes = (const uint8_t *)table->data + first;
    if (table->dtype == BERT_UINT8) {
        for (int64_t i = 0; i < width; i++) out[i] = (float)(bytes[i] - zero) * scale;
    } else {
        for (int64_t i = 0; i < width; i++) out[i] = (float)((int8_t)bytes[i] - zero) * scale;
    }
}

static void dequantize_row(const lookup *from, int64_t id, int64_t width, float *out) {
    int64_t scale_step, zero_step = 0, zero = 0;
    const float *scale = (const float *)from->scale->data + broadcast_row(from->scale, id, &scale_step);
    if (from->zero_point) zero = broadcast_row(from->zero_point, id, &zero_step);
    if (scale_step == 0 && zero_step == 0) {
        const int32_t shift = from->zero_point ? bert_cpu_byte(from->zero_point, zero) : 0;
        dequantize_plain(from->table, id * width, width, *scale, shift, out);
        return;
    }
    for (int64_t i = 0; i < width; i++) {
        const int32_t shift = from->zero_point ? bert_cpu_byte(from->zero_point, zero + i * zero_step) : 0;
        out[i] = (float)(bert_cpu_byte(from->table, id * width + i) - shift) * scale[i * scale_step];
    }
}

/* The row that token `token` of [B, S] chooses: ids may be [1, S]. */
static int64_t row_number(const lookup *from, int64_t token) {
    const int64_t count = from->ids->dims[0] * from->ids->dims[1];
    const int64_t id = id_at(from->ids, token % count);
    return id < 0 ? id + from->rows : id;
}

static int64_t bytes_of(const lookup *from, int64_t elements) {
    return elements * (int64_t)bert_dtype_size(from->table->dtype);
}

static const unsigned char *row_bytes(const lookup *from, int64_t id, int64_t width) {
    return (const unsigned char *)from->table->data + bytes_of(from, id * width);
}

/* Rows of a large table are nowhere near: those of a token to come are on their way while others are added. */
static void fetch_row(const lookup *from, int64_t token, int64_t width) {
    enum { LINE_BYTES = 64 };
    const unsigned char *row = row_bytes(from, row_number(from, token), width);
    for (int64_t at = 0, bytes = bytes_of(from, width); at < bytes; at += LINE_BYTES) __builtin_prefetch(row + at);
}

/* The row of a token. There is scratch where a table is of bytes or 16-bit floats, or not aligned. */
static const float *row_of(const embedding_run *run, const lookup *from, int64_t token, float *scratch) {
    const int64_t width = run->width;
    if (!from->ids) return NULL;
    const int64_t id = row_number(from, token);
    if (scratch && from->scale) {
        dequantize_row(from, id, width, scratch);
        if (run->narrow) bert_cpu_round(run->kernels, scratch, run->narrow, width);
        return scratch;
    }
    const unsigned char *row = row_bytes(from, id, width);
    if (scratch && bert_cpu_is_narrow(from->table->dtype)) {
        bert_cpu_widen(run->kernels, NULL, scratch, row, from->table->dtype, width);
        return scratch;
    }
    if (!scratch || (uintptr_t)row % _Alignof(float) == 0) return (const float *)(const void *)row;
    return memcpy(scratch, row, (size_t)width * sizeof(float));
}

static bert_status check_ids(const embedding_run *run, const lookup *from, const char *what, bert_error *error) {
    if (!from->ids) return BERT_OK;
    const int64_t length = from->ids->dims[1], count = from->ids->dims[0] * length;
    for (int64_t row = 0; row < (run->tokens ? run->rows : count); row++) {
        const int64_t i = run->tokens ? run->tokens[row] % count : row, id = id_at(from->ids, i);
        if (id >= -from->rows && id < from->rows) continue;
        return bert_fail(error, BERT_INVALID_INPUT,
                         "%s id %lld at position %lld of sequence %lld is outside the table of %lld rows", what,
                         (long long)id, (long long)(i % length), (long long)(i / length), (long long)from->rows);
    }
    return BERT_OK;
}

static void add(const embedding_run *run, float *y, const float *a, const float *b) {
    run->kernels->binary(&(bert_binary_args){
        .y = y, .a = a, .b = b, .a_stride = 1, .b_stride = 1, .n = run->width, .op = BERT_BINARY_ADD});
}

static int64_t token_of(const embedding_run *run, int64_t row) {
    return run->tokens ? run->tokens[row] : row;
}

/* y of one token: of its rows, those of words, positions and types. */
static void add_up(const embedding_run *run, const float *const rows[TABLES], float *y) {
    const bert_tensor *gamma = given(run->call, BERT_EMBEDDING_GAMMA);
    const float *word = rows[0], *position = rows[1], *type = rows[2];
    if (gamma) {
        run->kernels->layer_norm(&(bert_layer_norm_args){.y = y,
                                                         .x = word,
                                                         .bias = type,
                                                         .skip = position,
                                                         .gamma = gamma->data,
                                                         .beta = run->call->inputs[BERT_EMBEDDING_BETA].data,
                                                         .rows = 1,
                                                         .n = run->width,
                                                         .epsilon = run->epsilon});
        return;
    }
    run->kernels->unary(&(bert_unary_args){y, word, run->width, BERT_UNARY_IDENTITY});
    if (type) add(run, y, y, type);
    if (position) add(run, y, y, position);
}

static void run_rows(void *argument, int64_t task, int thread) {
    const embedding_run *run = argument;
    const int64_t last = (task + 1) * TASK_ROWS, end = last < run->rows ? last : run->rows;
    for (int64_t row = task * TASK_ROWS; row < end; row++) {
        const int64_t token = token_of(run, row);
        float *y = (float *)run->call->outputs[0].data + row * run->width;
        const float *rows[TABLES];
        if (row + AHEAD < run->rows) fetch_row(&run->tables[0], token_of(run, row + AHEAD), run->width);
        for (int i = 0; i < TABLES; i++) {
            float *scratch = run->scratch ? run->scratch + (thread * TABLES + i) * run->width : NULL;
            rows[i] = row_of(run, &run->tables[i], token, scratch);
        }
        add_up(run, rows, y);
        bert_cpu_write_rows(run->call, y, row, 1);
    }
}

static bert_status run_embedding(const bert_kernel_call *call, bert_error *error) {
    const embedding_state *state = call->plan->state;
    const bert_tensor *y = &call->outputs[0], *tokens = given(call, BERT_EMBEDDING_TOKENS);
    embedding_run run = {.call = call,
                         .kernels = bert_cpu_kernels_for(call),
                         .tables = {lookup_of(call, BERT_EMBEDDING_WORD_IDS),
                                    lookup_of(call, BERT_EMBEDDING_POSITION_IDS),
                                    lookup_of(call, BERT_EMBEDDING_TYPE_IDS)},
                         .tokens = tokens ? tokens->data : NULL,
                         .scratch = call->workspace,
                         .rows = y->dims[0] * y->dims[1],
                         .width = y->dims[2],
                         .epsilon = state->epsilon,
                         .narrow = state->narrow};
    BERT_TRY(check_ids(&run, &run.tables[0], "token", error));
    BERT_TRY(check_ids(&run, &run.tables[1], "position", error));
    BERT_TRY(check_ids(&run, &run.tables[2], "token type", error));
    if (run.width == 0) return BERT_OK;
    bert_thread_pool_run(bert_cpu_threads_for(call), (run.rows + TASK_ROWS - 1) / TASK_ROWS, run_rows, &run);
    return BERT_OK;
}

static bool are_ids(const bert_op_node *node, int32_t input) {
    if (!bert_cpu_has(node, input)) return input != BERT_EMBEDDING_WORD_IDS;
    const bert_dtype dtype = node->inputs[input].dtype;
    return dtype == BERT_INT32 || dtype == BERT_INT64;
}

/* float32, or bytes with a float32 scale; absent where its ids are. */
static bool is_table(const bert_op_node *node, int32_t table) {
    if (bert_cpu_has(node, BERT_EMBEDDING_SCALE(table))) return bert_cpu_is_float(node, BERT_EMBEDDING_SCALE(table));
    return bert_cpu_float_or_absent(node, table);
}

static bool needs_scratch(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    static const int32_t tables[] = {BERT_EMBEDDING_WORD_TABLE, BERT_EMBEDDING_POSITION_TABLE,
                                     BERT_EMBEDDING_TYPE_TABLE};
    if (planner->narrow) return true;
    for (int i = 0; i < TABLES; i++) {
        const bert_constant *table = bert_cpu_has(node, tables[i]) ? node->inputs[tables[i]].constant : NULL;
        if (bert_cpu_has(node, BERT_EMBEDDING_SCALE(tables[i])) || (table && table->alignment < _Alignof(float)))
            return true;
    }
    return false;
}

/* Three rows a thread, where rows are not used as they lie. */
static bert_status plan_scratch(const bert_cpu_planner *planner) {
    const size_t threads = (size_t)bert_thread_pool_threads(planner->context->threads);
    size_t bytes;
    if (!needs_scratch(planner)) return BERT_OK;
    if (!bert_size_multiply((size_t)planner->node->outputs[0].dims[2], TABLES * sizeof(float), &bytes) ||
        !bert_size_multiply(bytes, threads, &planner->out->workspace_bytes))
        return bert_cpu_leave(planner, "can't hold rows of this size");
    return BERT_OK;
}

bert_status bert_cpu_plan_embedding(const bert_cpu_planner *planner) {
    const bert_op_node *node = planner->node;
    if (!are_ids(node, BERT_EMBEDDING_WORD_IDS) || !are_ids(node, BERT_EMBEDDING_POSITION_IDS) ||
        !are_ids(node, BERT_EMBEDDING_TYPE_IDS))
        return bert_cpu_leave(planner, "takes ids as int32 or int64");
    if (!is_table(node, BERT_EMBEDDING_WORD_TABLE) || !is_table(node, BERT_EMBEDDING_POSITION_TABLE) ||
        !is_table(node, BERT_EMBEDDING_TYPE_TABLE) || !bert_cpu_float_or_absent(node, BERT_EMBEDDING_GAMMA) ||
        !bert_cpu_float_or_absent(node, BERT_EMBEDDING_BETA))
        return bert_cpu_leave(planner, "takes tables of float32, or bytes with a float32 scale");
    planner->out->run = run_embedding;
    planner->out->kernel = "embedding/cpu";
    bert_cpu_give_rows(planner);
    planner->out->unaligned_inputs = UINT64_C(1) << BERT_EMBEDDING_WORD_TABLE |
                                     UINT64_C(1) << BERT_EMBEDDING_POSITION_TABLE |
                                     UINT64_C(1) << BERT_EMBEDDING_TYPE_TABLE;
    if (planner->narrow) *planner->narrow_inputs = planner->out->unaligned_inputs;
    if (planner->mode != BERT_PLAN_BIND) return BERT_OK;
    BERT_TRY(plan_scratch(planner));
    void *memory;
    BERT_TRY(bert_cpu_new_state(planner, sizeof(embedding_state), &memory));
    embedding_state *state = memory;
    state->epsilon = BERT_NODE_FLOAT(node, "epsilon", 1e-12F);
    state->narrow = planner->narrow;
    for (int32_t i = 0; i < BERT_EMBEDDING_INPUTS; i++) state->inputs |= (uint32_t)bert_cpu_has(node, i) << i;
    return BERT_OK;
}
