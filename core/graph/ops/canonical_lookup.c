/* The canonical Lookup (core/graph/canonical.h). */
#include "core/graph/canonical.h"
#include "core/graph/ops/infer.h"
#include "core/graph/ops/loops.h"

bert_status bert_infer_lookup(const bert_inference *in) {
    BERT_TRY(bert_infer_type(in, BERT_LOOKUP_X, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_type(in, BERT_LOOKUP_TABLE, BERT_TYPES_BYTE));
    BERT_TRY(bert_infer_rank(in, BERT_LOOKUP_TABLE, 1, 1));
    const bert_shape *table = bert_infer_shape(in, BERT_LOOKUP_TABLE);
    if (table->rank == 1) {
        BERT_TRY(bert_infer_equal(in, table->dims[0], BERT_LOOKUP_SIZE,
                                  "the elements of the table and what a byte holds", NULL));
    }
    bert_infer_give(in, 0, bert_infer_dtype(in, BERT_LOOKUP_TABLE), bert_infer_shape(in, BERT_LOOKUP_X));
    return BERT_OK;
}

bert_status bert_reference_lookup(const bert_reference_call *call) {
    const bert_tensor *x = &call->inputs[BERT_LOOKUP_X], *table = &call->inputs[BERT_LOOKUP_TABLE];
    const int64_t count = bert_tensor_elements(x);
    for (int64_t i = 0; i < count; i++) {
        const int64_t byte = (int64_t)bert_load_integer(x, i);
        bert_copy_elements(&call->outputs[0], i, table, byte < 0 ? byte + BERT_LOOKUP_SIZE : byte, 1);
    }
    return BERT_OK;
}
