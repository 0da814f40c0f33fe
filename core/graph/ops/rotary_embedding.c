/* RotaryEmbedding, ai.onnx's (opset 23) and com.microsoft's: pairs of a head's elements are turned by an angle. */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>

/* Inputs: X first; the domains have the others in different orders. */
typedef struct operands {
    int32_t cosines, sines, positions;
} operands;

static operands operands_of(bert_op_id id) {
    return id == BERT_OP_MS_RotaryEmbedding ? (operands){2, 3, 1} : (operands){1, 2, 3};
}

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

/* Heads and the size of one; unknown ones are fresh. com.microsoft may leave the heads to the caches' width. */
static bert_status infer_heads(const bert_inference *in, const bert_shape *x, const bert_shape *cosines,
                               bert_dim *depth) {
    if (x->rank == 4) {
        *depth = x->dims[3];
        return BERT_OK;
    }
    int64_t heads = BERT_INFER_INT(in, "num_heads", 0);
    *depth = bert_dim_fresh(in->symbols);
    if (heads == 0 && in->op->id == BERT_OP_MS_RotaryEmbedding) {
        if (cosines->rank > 0) {
            *depth = bert_dim_multiply(in->symbols, 2, cosines->dims[cosines->rank - 1]);
        }
    } else if (heads > 0) {
        *depth = bert_dim_divide(in->symbols, x->dims[2], heads, true);
    } else {
        return bert_fail(in->error, BERT_INVALID_MODEL, "RotaryEmbedding of three dimensions has %" PRId64 " heads",
                         heads);
    }
    bool known = bert_dim_known(*depth) && bert_dim_known(x->dims[2]);
    if (!known || (*depth > 0 && x->dims[2] % *depth == 0 && (heads == 0 || *depth * heads == x->dims[2]))) {
        return BERT_OK;
    }
    return bert_fail(in->error, BERT_INVALID_MODEL,
                     "the last dimension of the input, %" PRId64 ", doesn't divide into heads", x->dims[2]);
}

/* The caches: [positions, half] to be read at position ids, or [batch, sequence, half]. */
static bert_status infer_caches(const bert_inference *in, const operands *o, const bert_shape *x, bert_dim depth) {
    const bert_shape *cosines = bert_infer_shape(in, o->cosines);
    BERT_TRY(bert_infer_equal_shapes(in, cosines, bert_infer_shape(in, o->sines), "the caches", NULL));
    int32_t rank = bert_infer_input(in, o->positions) ? 2 : 3;
    BERT_TRY(bert_infer_rank(in, o->cosines, rank, rank));
    if (cosines->rank < 0) return BERT_OK;
    int64_t rotated = BERT_INFER_INT(in, "rotary_embedding_dim", 0);
    if (rotated < 0 || rotated > INT32_MAX || (bert_dim_known(depth) && rotated > depth)) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "rotary_embedding_dim is %" PRId64, rotated);
    }
    bert_dim turned = rotated ? rotated : depth;
    bert_dim half = bert_dim_divide(in->symbols, turned, 2, true);
    BERT_TRY(bert_infer_equal(in, cosines->dims[rank - 1], half, "the columns of the caches and half of what is turned",
                              NULL));
    if (bert_dim_known(turned) && turned % 2 != 0) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "RotaryEmbedding turns %" PRId64 " elements, an odd number",
                         turned);
    }
    if (rank == 2) return BERT_OK;
    bert_dim rows = x->dims[x->rank == 4 ? 2 : 1];
    BERT_TRY(bert_infer_equal(in, cosines->dims[0], x->dims[0], "the sequences of caches and input", NULL));
    return bert_infer_equal(in, cosines->dims[1], rows, "the rows of caches and input", NULL);
}

bert_status bert_infer_rotary_embedding(const bert_inference *in) {
    operands o = operands_of(in->op->id);
    BERT_TRY(bert_infer_same_type(in, 0, o.cosines));
    BERT_TRY(bert_infer_same_type(in, 0, o.sines));
    BERT_TRY(bert_infer_type(in, o.positions, BERT_TYPE(BERT_INT64)));
    BERT_TRY(bert_infer_rank(in, 0, 3, 4));
    if (BERT_INFER_INT(in, "is_packed_batching", 0)) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "RotaryEmbedding with is_packed_batching");
    }
    const bert_shape *x = bert_infer_shape(in, 0);
    const bert_shape *positions = bert_infer_shape(in, o.positions);
    if (x->rank >= 0) {
        bert_dim depth;
        BERT_TRY(infer_heads(in, x, bert_infer_shape(in, o.cosines), &depth));
        BERT_TRY(infer_caches(in, &o, x, depth));
    }
    if (x->rank >= 0 && positions->rank >= 0) {
        bool offset = in->op->id == BERT_OP_MS_RotaryEmbedding && positions->rank == 1;
        if (offset) {
            BERT_TRY(bert_infer_equal(in, positions->dims[0], 1, "the elements of position_ids and 1", NULL));
        } else {
            BERT_TRY(bert_infer_rank(in, o.positions, 2, 2));
            bert_dim rows = x->dims[x->rank == 4 ? 2 : 1];
            BERT_TRY(bert_infer_equal(in, positions->dims[0], x->dims[0], "the sequences of ids and input", NULL));
            BERT_TRY(bert_infer_equal(in, positions->dims[1], rows, "the lengths of ids and input", NULL));
        }
    }
    return bert_infer_like_input(in, BERT_TYPES_FLOAT);
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Row of the caches for token (batch, row). */
static bert_status cache_row(const bert_reference_call *call, const operands *o, int64_t batch, int64_t row,
                             int64_t rows, int64_t *out) {
    const bert_tensor *positions = bert_call_input(call, o->positions);
    const bert_tensor *cosines = &call->inputs[o->cosines];
    if (!positions) {
        *out = batch * rows + row;
        return BERT_OK;
    }
    bool offset = positions->rank == 1;
    int64_t first = (int64_t)bert_load_integer(positions, offset ? 0 : batch * rows + row);
    int64_t position = first;
    bool fits = !offset || !__builtin_add_overflow(first, row, &position);
    if (!fits || position < 0 || position >= cosines->dims[0]) {
        return bert_fail(call->error, BERT_INVALID_INPUT,
                         "position %" PRId64 " is outside a rotary cache of %" PRId64 " rows", position,
                         cosines->dims[0]);
    }
    *out = position;
    return BERT_OK;
}

/* One head of one token: `turned` elements in pairs, the others as they are. */
static void turn(const bert_reference_call *call, const operands *o, int64_t start, int64_t depth, int64_t turned,
                 int64_t row, bool interleaved) {
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *y = &call->outputs[0];
    int64_t half = turned / 2;
    for (int64_t i = 0; i < half; i++) {
        int64_t first = start + (interleaved ? 2 * i : i);
        int64_t second = start + (interleaved ? 2 * i + 1 : i + half);
        double cosine = bert_load(&call->inputs[o->cosines], row * half + i);
        double sine = bert_load(&call->inputs[o->sines], row * half + i);
        double a = bert_load(x, first);
        double b = bert_load(x, second);
        bert_store(y, first, cosine * a - sine * b);
        bert_store(y, second, sine * a + cosine * b);
    }
    bert_copy_elements(y, start + turned, x, start + turned, depth - turned);
}

bert_status bert_reference_rotary_embedding(const bert_reference_call *call) {
    operands o = operands_of(call->op->id);
    const bert_tensor *x = &call->inputs[0];
    const bert_tensor *cosines = &call->inputs[o.cosines];
    bool separate = x->rank == 4;
    bool interleaved = BERT_CALL_INT(call, "interleaved", 0) != 0;
    int64_t turned = 2 * cosines->dims[cosines->rank - 1];
    int64_t rows = x->dims[separate ? 2 : 1];
    int64_t heads = separate ? x->dims[1] : BERT_CALL_INT(call, "num_heads", 0);
    if (heads == 0 && !separate) heads = turned ? x->dims[2] / turned : 1;
    int64_t depth = separate ? x->dims[3] : x->dims[2] / heads;
    for (int64_t i = 0; i < x->dims[0] * rows; i++) {
        int64_t batch = i / rows;
        int64_t row = 0;
        BERT_TRY(cache_row(call, &o, batch, i % rows, rows, &row));
        for (int64_t h = 0; h < heads; h++) {
            int64_t start = separate ? ((batch * heads + h) * rows + i % rows) * depth : (i * heads + h) * depth;
            turn(call, &o, start, depth, turned, row, interleaved);
        }
    }
    return BERT_OK;
}
