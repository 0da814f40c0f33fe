#include "cli/bench_lengths.h"

#include "core/base/error.h"
#include "core/runtime/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The share of the way from the least length to the greatest is a power of evenly spread numbers; the mean of u^2.25 is
 * 1 / 3.25. */
#define SKEW 2.25

bool bert_lengths_parse(const char *text, int64_t *least, int64_t *greatest) {
    char *end;
    *least = strtoll(text, &end, 10);
    if (end == text || *end != '-') return false;
    const char *second = end + 1;
    if (*second < '0' || *second > '9') return false;
    *greatest = strtoll(second, &end, 10);
    return *end == '\0' && *least >= 1 && *greatest >= *least && *greatest <= INT32_MAX;
}

void bert_lengths_fill(int64_t least, int64_t greatest, bert_random *random, int64_t *lengths, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        const double share = count > 1 ? (double)i / (double)(count - 1) : 1;
        lengths[i] = least + llround((double)(greatest - least) * pow(share, SKEW));
    }
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t other = (int64_t)(bert_random_next(random) % (uint64_t)(i + 1)), length = lengths[i];
        lengths[i] = lengths[other];
        lengths[other] = length;
    }
}

bert_status bert_lengths_mask(const bert_model *model, const int64_t *lengths, bert_named_tensor *inputs, size_t count,
                              bert_error *error) {
    if (model->token_mask < 0) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "the model has no attention mask that could say how long sequences are");
    }
    const char *name = model->inputs[model->token_mask].name;
    size_t at = 0;
    while (at < count && strcmp(inputs[at].name, name) != 0) at++;
    if (at == count) return bert_fail(error, BERT_UNSUPPORTED, "the input '%s' has a default: it isn't given", name);
    const bert_tensor *mask = &inputs[at].tensor;
    const size_t size = bert_dtype_size(mask->dtype);
    for (int64_t i = 0; i < bert_tensor_elements(mask); i++) {
        const int64_t real = i % mask->dims[1] < lengths[i / mask->dims[1]];
        /* Two's complement, little-endian: the low bytes are the narrower number. */
        memcpy((char *)mask->data + (size_t)i * size, &real, size);
    }
    return BERT_OK;
}
