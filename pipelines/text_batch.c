#include "pipelines/text_batch.h"

#include "core/base/error.h"
#include "core/base/memory.h"

#include <inttypes.h>
#include <string.h>

/* The inputs that text gives. */
enum { INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS, MASK_TOKENS, INPUTS };
static const char *const input_names[INPUTS] = {"input_ids", "attention_mask", "token_type_ids", BERT_TEXT_MASK_TOKENS};

typedef struct model_input {
    const char *name;
    bert_dtype dtype;
    int which;
} model_input;

/* What the tokenizer pads a row with, and where. */
typedef struct text_padding {
    int32_t values[INPUTS];
    bool left;
    size_t least; /* tokens of an empty text */
} text_padding;

struct bert_text_batch {
    const bert_allocator *allocator;
    model_input inputs[INPUTS];
    size_t input_count;
    int64_t fixed_rows, fixed_width; /* -1 where the file does not fix them. */
    text_padding padding;
    int32_t mask;        /* [MASK]; -1: the tokenizer has none. */
    void *tensors;       /* The padded inputs, one behind the other; then, of the last run: */
    size_t *first_masks; /* by row: how many [MASK] tokens are before it. NULL: the model doesn't take them. */
    size_t tensor_bytes;
};

void bert_text_batch_free(bert_text_batch *batch) {
    if (!batch) return;
    const bert_allocator *allocator = batch->allocator;
    bert_deallocate(allocator, batch->tensors, batch->tensor_bytes, BERT_ALIGNMENT);
    bert_deallocate(allocator, batch, sizeof *batch, BERT_ALIGNMENT);
}

/* -1 when `text` gives no such input. */
static int input_of(const char *name) {
    for (int c = 0; c < INPUTS; c++) {
        if (strcmp(name, input_names[c]) == 0) return c;
    }
    return -1;
}

static bert_status take_fixed(int64_t declared, int64_t *fixed, const char *name, bert_error *error) {
    if (declared <= 0) return BERT_OK;
    if (*fixed > 0 && *fixed != declared) {
        return bert_fail(error, BERT_INVALID_MODEL,
                         "input '%s' has a dimension of %" PRId64 " where another has %" PRId64, name, declared,
                         *fixed);
    }
    *fixed = declared;
    return BERT_OK;
}

static bert_status take_input(bert_text_batch *batch, const bert_model_tensor *input, bert_error *error) {
    int which = input_of(input->name);
    if (which < 0) {
        if (input->optional) return BERT_OK;
        return bert_fail(
            error, BERT_UNSUPPORTED,
            "the model needs an input '%s', but text gives input_ids, attention_mask and token_type_ids only",
            input->name);
    }
    if (which == MASK_TOKENS) {
        batch->inputs[batch->input_count++] = (model_input){input_names[which], BERT_INT32, which};
        return BERT_OK;
    }
    if ((input->dtype != BERT_INT32 && input->dtype != BERT_INT64) || (input->rank != 2 && input->rank >= 0)) {
        return bert_fail(error, BERT_UNSUPPORTED,
                         "input '%s' is %s of rank %d, but a text model takes int32 or int64 of [batch, sequence]",
                         input->name, bert_dtype_name(input->dtype), (int)input->rank);
    }
    if (input->rank == 2) {
        BERT_TRY(take_fixed(input->dims[0], &batch->fixed_rows, input->name, error));
        BERT_TRY(take_fixed(input->dims[1], &batch->fixed_width, input->name, error));
    }
    batch->inputs[batch->input_count++] =
        (model_input){.name = input_names[which], .dtype = input->dtype, .which = which};
    return BERT_OK;
}

static bert_status take_inputs(bert_text_batch *batch, const bert_model *model, bert_error *error) {
    bool has_ids = false;
    batch->fixed_rows = batch->fixed_width = -1;
    for (size_t i = 0; i < bert_model_input_count(model); i++) {
        bert_model_tensor input;
        BERT_TRY(bert_model_input(model, i, &input));
        BERT_TRY(take_input(batch, &input, error));
        has_ids |= strcmp(input.name, input_names[INPUT_IDS]) == 0;
    }
    if (!has_ids) return bert_fail(error, BERT_UNSUPPORTED, "the model has no input 'input_ids': it takes no text");
    return BERT_OK;
}

/* Learned from how the tokenizer pads an empty text by one token. */
static bert_status pad_nothing(const bert_tokenizer *tokenizer, bert_encoding *encoding, text_padding *out,
                               bert_error *error) {
    bert_encode_options options = {.struct_size = sizeof options};
    BERT_TRY(bert_tokenizer_encode(tokenizer, "", 0, NULL, 0, &options, encoding, error));
    out->least = bert_encoding_get(encoding).length;
    options.pad_to = (int64_t)out->least + 1;
    BERT_TRY(bert_tokenizer_encode(tokenizer, "", 0, NULL, 0, &options, encoding, error));
    bert_encoding_view view = bert_encoding_get(encoding);
    out->left = view.attention_mask[0] == 0;
    size_t at = out->left ? 0 : view.length - 1;
    out->values[INPUT_IDS] = view.ids[at];
    out->values[ATTENTION_MASK] = 0;
    out->values[TOKEN_TYPE_IDS] = view.type_ids[at];
    return BERT_OK;
}

static bert_status learn_padding(const bert_tokenizer *tokenizer, text_padding *out, bert_error *error) {
    bert_encoding *encoding;
    BERT_TRY(bert_encoding_create(tokenizer, &encoding, error));
    const bert_status status = pad_nothing(tokenizer, encoding, out, error);
    bert_encoding_free(encoding);
    return status;
}

bert_status bert_text_begins_at_0(const bert_tokenizer *tokenizer, bool *out, bert_error *error) {
    text_padding padding;
    BERT_TRY(learn_padding(tokenizer, &padding, error));
    *out = !padding.left && padding.least > 0;
    return BERT_OK;
}

static bert_status set_up(bert_text_batch *batch, const bert_model *model, const bert_tokenizer *tokenizer,
                          bert_error *error) {
    BERT_TRY(take_inputs(batch, model, error));
    batch->mask = bert_tokenizer_special_ids(tokenizer).mask;
    return learn_padding(tokenizer, &batch->padding, error);
}

bert_status bert_text_batch_create(const bert_model *model, const bert_tokenizer *tokenizer,
                                   const bert_allocator *allocator, bert_text_batch **out, bert_error *error) {
    *out = NULL;
    bert_text_batch *batch = bert_allocate(allocator, sizeof *batch, BERT_ALIGNMENT);
    if (!batch) return bert_fail_memory(error, sizeof *batch, "a batch of texts");
    *batch = (bert_text_batch){.allocator = allocator};
    bert_status status = set_up(batch, model, tokenizer, error);
    if (status != BERT_OK) {
        bert_text_batch_free(batch);
        return status;
    }
    *out = batch;
    return BERT_OK;
}

int64_t bert_text_batch_width(const bert_text_batch *batch) {
    return batch->fixed_width > 0 ? batch->fixed_width : INT64_MAX;
}

size_t bert_text_batch_capacity(const bert_text_batch *batch) {
    return batch->fixed_rows > 0 ? (size_t)batch->fixed_rows : SIZE_MAX;
}

static size_t first_token(const bert_text_batch *batch, const bert_text_row *row, size_t width) {
    return batch->padding.left && width > row->length ? width - row->length : 0;
}

bert_text_place bert_text_batch_place(const bert_text_batch *batch, const bert_text_row *row, size_t index,
                                      size_t width) {
    if (batch->first_masks) return (bert_text_place){.first = (int64_t)batch->first_masks[index]};
    return (bert_text_place){.at = (int64_t)index, .first = (int64_t)first_token(batch, row, width)};
}

static void store(void *tensor, bert_dtype dtype, size_t at, int32_t value) {
    if (dtype == BERT_INT64) {
        ((int64_t *)tensor)[at] = value;
    } else {
        ((int32_t *)tensor)[at] = value;
    }
}

static int32_t token_value(const bert_text_row *row, int which, size_t token) {
    return which == INPUT_IDS ? row->ids[token] : which == TOKEN_TYPE_IDS ? row->type_ids[token] : 1;
}

/* Rows that the file's fixed batch has beyond those that are asked for repeat the first. */
static void fill(const bert_text_batch *batch, const model_input *input, const bert_text_row *const *rows, size_t count,
                 size_t tensor_rows, size_t width, void *tensor) {
    for (size_t r = 0; r < tensor_rows; r++) {
        const bert_text_row *row = rows[r < count ? r : 0];
        size_t first = first_token(batch, row, width);
        for (size_t i = 0; i < width; i++) {
            bool real = i >= first && i < first + row->length;
            int32_t value = real ? token_value(row, input->which, i - first) : batch->padding.values[input->which];
            store(tensor, input->dtype, r * width + i, value);
        }
    }
}

/* How many are asked for is a multiple of this, since each other number of them is a shape of its own. */
enum { MASK_STEP = 8 };

/* Numbers of the rows' [MASK] tokens in the padded batch, the last one repeated; returns how many there are. */
static int64_t find_masks(bert_text_batch *batch, const bert_text_row *const *rows, size_t count, size_t width,
                          int32_t *tokens) {
    int64_t found = 0;
    for (size_t r = 0; r < count; r++) {
        const size_t first = r * width + first_token(batch, rows[r], width);
        batch->first_masks[r] = (size_t)found;
        for (size_t t = 0; t < rows[r]->length; t++) {
            if (rows[r]->ids[t] == batch->mask) tokens[found++] = (int32_t)(first + t);
        }
    }
    for (; found % MASK_STEP != 0; found++) tokens[found] = tokens[found - 1];
    return found;
}

static size_t longest_row(const bert_text_row *const *rows, size_t count) {
    size_t longest = 0;
    for (size_t r = 0; r < count; r++) {
        if (rows[r]->length > longest) longest = rows[r]->length;
    }
    return longest;
}

/* Numbers of tokens are half as wide as an int64, so that those which find_masks repeats lie in the same lines. */
_Static_assert(MASK_STEP * sizeof(int32_t) <= BERT_ALIGNMENT, "a step of tokens is no more than a cache line");

/* Memory for every input and for first_masks, `stride` bytes each: whole cache lines of an int64 for each token, and
 * for each row where there are no tokens. */
static bert_status reserve_tensors(bert_text_batch *batch, size_t rows, size_t width, size_t *stride,
                                   bert_error *error) {
    size_t elements;
    size_t bytes;
    if (!bert_size_multiply(rows, width > 0 ? width : 1, &elements) ||
        !bert_size_multiply(elements, sizeof(int64_t), &bytes) || !bert_size_add(bytes, BERT_ALIGNMENT - 1, &bytes) ||
        bytes > SIZE_MAX / (INPUTS + 1)) {
        return bert_fail_memory(error, SIZE_MAX, "a batch of texts");
    }
    *stride = bytes / BERT_ALIGNMENT * BERT_ALIGNMENT;
    const size_t all = *stride * (INPUTS + 1);
    if (all <= batch->tensor_bytes) return BERT_OK;
    void *tensors = bert_allocate(batch->allocator, all, BERT_ALIGNMENT);
    if (!tensors) return bert_fail_memory(error, all, "a batch of texts");
    bert_deallocate(batch->allocator, batch->tensors, batch->tensor_bytes, BERT_ALIGNMENT);
    batch->tensors = tensors;
    batch->tensor_bytes = all;
    return BERT_OK;
}

bert_status bert_text_batch_run(bert_text_batch *batch, bert_session *session, const bert_run_options *options,
                                const bert_text_row *const *rows, size_t count, bert_named_tensor *outputs,
                                size_t output_count, bert_error *error) {
    if (count == 0 || count > bert_text_batch_capacity(batch)) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "a batch of %zu rows was to be run, but the model takes %s",
                         count, count ? "fewer at once" : "at least one");
    }
    size_t tensor_rows = batch->fixed_rows > 0 ? (size_t)batch->fixed_rows : count;
    size_t width = batch->fixed_width > 0 ? (size_t)batch->fixed_width : longest_row(rows, count);
    size_t stride = 0;
    BERT_TRY(reserve_tensors(batch, tensor_rows, width, &stride, error));
    bert_named_tensor inputs[INPUTS];
    for (size_t i = 0; i < batch->input_count; i++) {
        void *tensor = (char *)batch->tensors + i * stride;
        if (batch->inputs[i].which == MASK_TOKENS) {
            if (tensor_rows * width > INT32_MAX)
                return bert_fail(error, BERT_INVALID_INPUT, "a batch of %zu texts of %zu tokens is too large",
                                 tensor_rows, width);
            batch->first_masks = (size_t *)(void *)((char *)batch->tensors + INPUTS * stride);
            inputs[i] =
                (bert_named_tensor){.name = batch->inputs[i].name,
                                    .tensor = {BERT_INT32, 1, {find_masks(batch, rows, count, width, tensor)}, tensor}};
            continue;
        }
        fill(batch, &batch->inputs[i], rows, count, tensor_rows, width, tensor);
        inputs[i] = (bert_named_tensor){.name = batch->inputs[i].name,
                                        .tensor = {.dtype = batch->inputs[i].dtype,
                                                   .rank = 2,
                                                   .dims = {(int64_t)tensor_rows, (int64_t)width},
                                                   .data = tensor}};
    }
    return bert_session_run(session, options, inputs, batch->input_count, outputs, output_count, error);
}
