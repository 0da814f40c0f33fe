/* The canonical PackTokens and UnpackTokens (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

#include <inttypes.h>
#include <string.h>

/* Types and ranks of x and tokens; how many leading dimensions of the padded tensor count tokens. */
static bert_status infer_operands(const bert_inference *in, int32_t *axes) {
    *axes = (int32_t)BERT_INFER_INT(in, "axes", 2);
    if (*axes != 1 && *axes != 2) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "%s has %" PRId32 " axes of tokens; it takes 1 or 2",
                         in->op->name, *axes);
    }
    BERT_TRY(bert_infer_type(in, BERT_PACK_X, BERT_TYPES_ANY));
    BERT_TRY(bert_infer_type(in, BERT_PACK_TOKENS, BERT_TYPE(BERT_INT32)));
    BERT_TRY(bert_infer_rank(in, BERT_PACK_X, *axes, BERT_MAX_RANK));
    return bert_infer_rank(in, BERT_PACK_TOKENS, 1, 1);
}

bert_status bert_infer_pack_tokens(const bert_inference *in) {
    int32_t axes;
    BERT_TRY(infer_operands(in, &axes));
    bert_shape shape = *bert_infer_shape(in, BERT_PACK_X);
    const bert_shape *tokens = bert_infer_shape(in, BERT_PACK_TOKENS);
    if (shape.rank > 0) {
        shape.dims[axes - 1] = tokens->rank == 1 ? tokens->dims[0] : bert_dim_fresh(in->symbols);
        if (axes == 2) shape.dims[0] = 1;
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, BERT_PACK_X), &shape);
    return BERT_OK;
}

bert_status bert_infer_unpack_tokens(const bert_inference *in) {
    int32_t axes;
    BERT_TRY(infer_operands(in, &axes));
    const int64_t batch = BERT_INFER_INT(in, "batch", 0), sequence = BERT_INFER_INT(in, "sequence", 0);
    if (batch < 0 || sequence < 0 || batch > INT32_MAX || sequence > INT32_MAX || batch * sequence > INT32_MAX) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "UnpackTokens has a batch of %" PRId64 " and a sequence of %" PRId64, batch, sequence);
    }
    bert_shape shape = *bert_infer_shape(in, BERT_PACK_X);
    const bert_shape *tokens = bert_infer_shape(in, BERT_PACK_TOKENS);
    if (shape.rank > 0 && tokens->rank == 1) {
        BERT_TRY(bert_infer_equal(in, shape.dims[axes - 1], tokens->dims[0], "the rows of x and the tokens", NULL));
    }
    if (shape.rank > 0) {
        shape.dims[0] = axes == 2 ? batch : batch * sequence;
        if (axes == 2) shape.dims[1] = sequence;
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, BERT_PACK_X), &shape);
    return BERT_OK;
}

/* Tokens of the padded tensor, and the elements of one. */
typedef struct token_rows {
    int64_t count, width;
} token_rows;

static token_rows rows_of(const bert_reference_call *call, const bert_tensor *padded) {
    const int32_t axes = (int32_t)BERT_CALL_INT(call, "axes", 2);
    return (token_rows){bert_dims_product(padded, 0, axes), bert_dims_product(padded, axes, padded->rank)};
}

static bert_status token_at(const bert_reference_call *call, int64_t row, int64_t *out) {
    *out = (int64_t)bert_load_integer(&call->inputs[BERT_PACK_TOKENS], row);
    if (*out >= 0) return BERT_OK;
    return bert_fail(call->error, BERT_INVALID_INPUT, "token %" PRId64 " of row %" PRId64 " is negative", *out, row);
}

bert_status bert_reference_pack_tokens(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[BERT_PACK_X];
    const token_rows padded = rows_of(call, x);
    const int64_t rows = call->inputs[BERT_PACK_TOKENS].dims[0];
    for (int64_t row = 0; row < rows && padded.count; row++) {
        int64_t token;
        BERT_TRY(token_at(call, row, &token));
        bert_copy_elements(&call->outputs[0], row * padded.width, x, token % padded.count * padded.width, padded.width);
    }
    return BERT_OK;
}

bert_status bert_reference_unpack_tokens(const bert_reference_call *call) {
    const bert_tensor *y = &call->outputs[0];
    const token_rows padded = rows_of(call, y);
    const int64_t rows = call->inputs[BERT_PACK_TOKENS].dims[0];
    const size_t bytes = bert_tensor_bytes(y);
    if (bytes) memset(y->data, 0, bytes);
    for (int64_t row = rows - 1; row >= 0; row--) { /* so that the first of a token stays */
        int64_t token;
        BERT_TRY(token_at(call, row, &token));
        if (token >= padded.count) {
            return bert_fail(call->error, BERT_INVALID_INPUT,
                             "token %" PRId64 " is beyond the %" PRId64 " of the batch", token, padded.count);
        }
        bert_copy_elements(y, token * padded.width, &call->inputs[BERT_PACK_X], row * padded.width, padded.width);
    }
    return BERT_OK;
}
