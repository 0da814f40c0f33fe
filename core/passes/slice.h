/* Parts of a tensor along one axis, however an exporter takes them. */
#ifndef BERT_PASSES_SLICE_H
#define BERT_PASSES_SLICE_H

#include "core/passes/match.h"

typedef struct bert_slice {
    bert_value *source;
    int32_t axis;    /**< Of the source. */
    int64_t start;   /**< Where it begins; it has as many elements as the value's dimension there, one where there is
                          none. */
    bool drops_axis; /**< The value has no dimension there. */
} bert_slice;

/** Whether the value is such a part: a Split's output, a Slice in steps of 1, or what a Gather takes by one index. */
bool bert_slice_of(const bert_value *value, bert_slice *out);

#endif
