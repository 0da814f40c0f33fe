/*
 * com.microsoft's MatMulNBits: a weight [N, K] of 2, 4 or 8-bit numbers in blocks along K, each with a scale and a zero
 * point; the first number of a byte is in its low bits.
 */
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>

enum { A, B, SCALES, ZERO_POINTS, GROUP_INDEX, BIAS };

/* The attributes, and what follows from them. */
typedef struct packing {
    int64_t depth, columns, bits, block; /* K, N */
    int64_t blocks, bytes;               /* blocks of a column, bytes of a block */
    int64_t zero_bytes;                  /* of a column's packed zero points */
} packing;

static packing packing_of(const bert_attribute *attributes, size_t count) {
    packing p = {.depth = bert_attribute_int(attributes, count, "K", 0),
                 .columns = bert_attribute_int(attributes, count, "N", 0),
                 .bits = bert_attribute_int(attributes, count, "bits", 4),
                 .block = bert_attribute_int(attributes, count, "block_size", 0)};
    bool sound = p.depth > 0 && p.columns > 0 && p.depth <= INT32_MAX && p.columns <= INT32_MAX &&
                 (p.bits == 2 || p.bits == 4 || p.bits == 8) && p.block >= 16 && p.block <= INT32_MAX &&
                 (p.block & (p.block - 1)) == 0;
    if (!sound) return (packing){0};
    p.blocks = (p.depth + p.block - 1) / p.block;
    p.bytes = p.block * p.bits / 8;
    p.zero_bytes = (p.blocks * p.bits + 7) / 8;
    return p;
}

/* ---- Inference ------------------------------------------------------------------------------------------------------
 */

static bert_status infer_elements(const bert_inference *in, int32_t input, int64_t expected, const char *what) {
    const bert_shape *shape = bert_infer_shape(in, input);
    if (shape->rank < 0) return BERT_OK;
    return bert_infer_equal(in, bert_shape_elements(in, shape), expected, what, NULL);
}

bert_status bert_infer_matmul_nbits(const bert_inference *in) {
    packing p = packing_of(in->attributes, in->attribute_count);
    if (!p.blocks) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "MatMulNBits needs K and N, bits of 2, 4 or 8, and a block_size that is a power of two of at "
                         "least 16");
    }
    if (bert_infer_input(in, GROUP_INDEX) || BERT_INFER_INT(in, "weight_prepacked", 0)) {
        return bert_fail(in->error, BERT_UNSUPPORTED, "MatMulNBits with g_idx or weight_prepacked");
    }
    BERT_TRY(bert_infer_type(in, A, BERT_TYPES_FLOAT));
    BERT_TRY(bert_infer_type(in, B, BERT_TYPE(BERT_UINT8)));
    BERT_TRY(bert_infer_type(in, SCALES, BERT_TYPES_FLOAT));
    bool packed = bert_infer_dtype(in, ZERO_POINTS) == BERT_UINT8;
    if (!packed) BERT_TRY(bert_infer_same_type(in, SCALES, ZERO_POINTS));
    BERT_TRY(bert_infer_same_type(in, A, BIAS));
    BERT_TRY(infer_elements(in, B, p.columns * p.blocks * p.bytes, "the bytes of the weight and those it should have"));
    BERT_TRY(infer_elements(in, SCALES, p.columns * p.blocks, "the scales and the blocks"));
    BERT_TRY(infer_elements(in, ZERO_POINTS, p.columns * (packed ? p.zero_bytes : p.blocks),
                            "the zero points and those of the blocks"));
    BERT_TRY(infer_elements(in, BIAS, p.columns, "the elements of the bias and N"));
    BERT_TRY(bert_infer_rank(in, A, 1, BERT_MAX_RANK));
    bert_shape shape = *bert_infer_shape(in, A);
    if (shape.rank > 0) {
        BERT_TRY(bert_infer_equal(in, shape.dims[shape.rank - 1], p.depth, "the last dimension of A and K", NULL));
        shape.dims[shape.rank - 1] = p.columns;
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, A), &shape);
    return BERT_OK;
}

/* ---- Reference ------------------------------------------------------------------------------------------------------
 */

/* Number `index` of those packed from byte `start` on. */
static int64_t unpack(const bert_tensor *bytes, int64_t start, int64_t index, int64_t bits) {
    int64_t at = start + index * bits / 8;
    return (int64_t)bert_load_integer(bytes, at) >> (index * bits % 8) & ((1 << bits) - 1);
}

static double zero_point(const bert_tensor *zero, const packing *p, int64_t column, int64_t block) {
    if (!zero) return (double)(1 << (p->bits - 1));
    if (zero->dtype != BERT_UINT8) return bert_load(zero, column * p->blocks + block);
    return (double)unpack(zero, column * p->zero_bytes, block, p->bits);
}

/* Column `column` of the weight as numbers. */
static void load_column(const bert_reference_call *call, const packing *p, int64_t column, double *out) {
    for (int64_t k = 0; k < p->depth; k++) {
        int64_t block = k / p->block;
        int64_t start = (column * p->blocks + block) * p->bytes;
        double number = (double)unpack(&call->inputs[B], start, k % p->block, p->bits);
        double scale = bert_load(&call->inputs[SCALES], column * p->blocks + block);
        out[k] = (number - zero_point(bert_call_input(call, ZERO_POINTS), p, column, block)) * scale;
    }
}

bert_status bert_reference_matmul_nbits(const bert_reference_call *call) {
    packing p = packing_of(call->attributes, call->attribute_count);
    const bert_tensor *bias = bert_call_input(call, BIAS);
    int64_t rows = p.depth ? bert_tensor_elements(&call->inputs[A]) / p.depth : 0;
    double *weight = call->workspace;
    for (int64_t column = 0; column < p.columns; column++) {
        load_column(call, &p, column, weight);
        for (int64_t row = 0; row < rows; row++) {
            double sum = 0;
            for (int64_t k = 0; k < p.depth; k++) sum += bert_load(&call->inputs[A], row * p.depth + k) * weight[k];
            bert_store(&call->outputs[0], row * p.columns + column, sum + (bias ? bert_load(bias, column) : 0));
        }
    }
    return BERT_OK;
}

size_t bert_workspace_matmul_nbits(const bert_op_node *node) {
    return (size_t)packing_of(node->attributes, node->attribute_count).depth * sizeof(double);
}
