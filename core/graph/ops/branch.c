/* If: what is known of its outputs. Binding runs the branch that the condition chooses. */
#include "core/graph/ops/infer.h"

#include <inttypes.h>

static bert_status find_branch(const bert_inference *in, const char *name, const bert_block **out) {
    const bert_attribute *attribute = bert_attribute_find(in->attributes, in->attribute_count, name);
    if (!attribute || attribute->kind != BERT_ATTRIBUTE_GRAPH) {
        return bert_fail(in->error, BERT_INVALID_MODEL, "If has no %s", name);
    }
    *out = attribute->value.graph;
    if ((*out)->output_count == in->output_count) return BERT_OK;
    return bert_fail(in->error, BERT_INVALID_MODEL, "If has %" PRId32 " outputs and its %s %" PRId32, in->output_count,
                     name, (*out)->output_count);
}

/* What holds whichever of two branches runs. */
static bert_status merge(const bert_inference *in, int32_t output, const bert_value_info *a, const bert_value_info *b) {
    bool typed = a->dtype != BERT_DTYPE_UNDEFINED && b->dtype != BERT_DTYPE_UNDEFINED;
    if (typed && a->dtype != b->dtype) {
        return bert_fail(in->error, BERT_INVALID_MODEL,
                         "output %" PRId32 " of If is %s in one branch and %s in the other", output,
                         bert_dtype_name(a->dtype), bert_dtype_name(b->dtype));
    }
    bert_shape shape = a->shape;
    if (a->shape.rank != b->shape.rank) shape = bert_shape_unknown();
    for (int32_t i = 0; i < shape.rank; i++) {
        if (a->shape.dims[i] != b->shape.dims[i]) shape.dims[i] = bert_dim_fresh(in->symbols);
    }
    bert_infer_give(in, output, typed ? a->dtype : BERT_DTYPE_UNDEFINED, &shape);
    return BERT_OK;
}

bert_status bert_infer_if(const bert_inference *in) {
    const bert_block *then_branch = NULL;
    const bert_block *else_branch = NULL;
    BERT_TRY(bert_infer_type(in, 0, BERT_TYPES_BOOL));
    BERT_TRY(find_branch(in, "then_branch", &then_branch));
    BERT_TRY(find_branch(in, "else_branch", &else_branch));
    int64_t values[BERT_MAX_TRACKED_ELEMENTS];
    int32_t count = 0;
    bool known = bert_infer_numbers(in, 0, values, &count) && count == 1;
    for (int32_t i = 0; i < in->output_count; i++) {
        if (!in->outputs[i]) continue;
        const bert_value_info *from_then = &then_branch->outputs[i]->info;
        const bert_value_info *from_else = &else_branch->outputs[i]->info;
        if (!known) {
            BERT_TRY(merge(in, i, from_then, from_else));
            continue;
        }
        const bert_value_info *chosen = values[0] ? from_then : from_else;
        bert_infer_give(in, i, chosen->dtype, &chosen->shape);
        in->outputs[i]->elements = chosen->elements;
        in->outputs[i]->element_count = chosen->element_count;
    }
    return BERT_OK;
}
