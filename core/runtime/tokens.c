#include "core/runtime/tokens.h"

#include "core/base/error.h"

enum { BUCKETS = 8 };

static bert_status reserve(bert_tokens *tokens, const bert_allocator *allocator, bert_error *error) {
    const size_t batch = (size_t)tokens->batch, count = batch * (size_t)tokens->sequence;
    const size_t words = batch + 1 + count, bytes = words * sizeof(int32_t) + count;
    if (bytes > tokens->bytes) {
        void *memory = bert_allocate(allocator, bytes, BERT_ALIGNMENT);
        if (!memory) return bert_fail_memory(error, bytes, "the tokens of a batch");
        bert_deallocate(allocator, tokens->memory, tokens->bytes, BERT_ALIGNMENT);
        tokens->memory = memory;
        tokens->bytes = bytes;
    }
    tokens->starts = tokens->memory;
    tokens->tokens = tokens->starts + batch + 1;
    tokens->counted = (uint8_t *)(tokens->tokens + count);
    return BERT_OK;
}

bert_status bert_tokens_count(bert_tokens *tokens, const bert_allocator *allocator, const bert_constant *mask,
                              bert_error *error) {
    int64_t count;
    tokens->batch = mask->dims[0];
    tokens->sequence = mask->dims[1];
    tokens->packable = false;
    tokens->right = true;
    tokens->rows = 0;
    if (__builtin_mul_overflow(tokens->batch, tokens->sequence, &count) || count > INT32_MAX ||
        tokens->batch >= INT32_MAX) {
        return bert_fail(error, BERT_OUT_OF_MEMORY, "a batch has more tokens than can be counted");
    }
    BERT_TRY(reserve(tokens, allocator, error));
    bool packable = true;
    for (int64_t b = 0; b < tokens->batch; b++) {
        tokens->starts[b] = (int32_t)tokens->rows;
        for (int64_t i = b * tokens->sequence; i < (b + 1) * tokens->sequence; i++) {
            const int64_t element = bert_constant_int(mask, i);
            tokens->counted[i] = element != 0;
            if (element != 0 && i > b * tokens->sequence && !tokens->counted[i - 1]) tokens->right = false;
            if (element != 0) tokens->tokens[tokens->rows++] = (int32_t)i;
            if (element != 0 && element != 1) packable = false;
        }
        if (tokens->rows == tokens->starts[b]) packable = false;
    }
    tokens->starts[tokens->batch] = (int32_t)tokens->rows;
    tokens->run_rows = tokens->rows;
    tokens->packable = packable && tokens->rows < count;
    return BERT_OK;
}

void bert_tokens_free(bert_tokens *tokens, const bert_allocator *allocator) {
    bert_deallocate(allocator, tokens->memory, tokens->bytes, BERT_ALIGNMENT);
}

bool bert_tokens_have(const bert_tokens *tokens, int32_t position) {
    for (int64_t b = 0; b < tokens->batch; b++) {
        if (!tokens->counted[b * tokens->sequence + position]) return false;
    }
    return true;
}

int64_t bert_tokens_bucket(const bert_tokens *tokens) {
    const int64_t count = tokens->batch * tokens->sequence, step = (count + BUCKETS - 1) / BUCKETS;
    const int64_t bucket = (tokens->rows + step - 1) / step * step;
    return bucket < count ? bucket : count;
}

void bert_tokens_fill(bert_tokens *tokens, int64_t step, int64_t few) {
    if (step == 0 || tokens->rows == 0 || tokens->rows > few) return;
    const int64_t bucket = bert_tokens_bucket(tokens), filled = (tokens->rows + step - 1) / step * step;
    tokens->run_rows = filled < bucket ? filled : bucket;
    for (int64_t row = tokens->rows; row < tokens->run_rows; row++)
        tokens->tokens[row] = tokens->tokens[tokens->rows - 1];
}
