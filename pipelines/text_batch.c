#include "pipelines/text_batch.h"

#include "core/base/error.h"
#include "core/base/memory.h"

#include <inttypes.h>
#include <string.h>

/* The inputs that text gives, in the order of `columns` of a row. */
enum { INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS, COLUMNS };
static const char *const column_names[COLUMNS] = {"input_ids", "attention_mask", "token_type_ids"};

/* A growing array of int32. */
typedef struct int32_list {
    int32_t *items;
    size_t count, capacity;
} int32_list;

typedef struct model_input {
    const char *name;
    bert_dtype dtype;
    int column;
} model_input;

struct bert_text_encoder {
    const bert_tokenizer *tokenizer;
    bert_encoding *encoding;
    bert_encode_options options;
    bool must_fit; /* Longer texts are refused. */
};

struct bert_text_batch {
    const bert_allocator *allocator;
    bert_text_encoder encoder;
    model_input inputs[COLUMNS];
    size_t input_count;
    int64_t fixed_rows, fixed_width; /* -1 where the file does not fix them. */
    int32_list columns[COLUMNS];     /* The rows' tokens one behind the other. */
    int32_list ends;                 /* Where each row ends in the columns. */
    int32_t padding[COLUMNS];
    bool pad_left;
    void *tensors; /* The padded inputs, one behind the other. */
    size_t tensor_bytes;
};

static bert_status reserve(const bert_allocator *allocator, int32_list *list, size_t more, bert_error *error) {
    size_t needed;
    size_t bytes;
    if (!bert_size_add(list->count, more, &needed)) return bert_fail_memory(error, SIZE_MAX, "token ids");
    if (needed <= list->capacity) return BERT_OK;
    size_t capacity = needed < 256 ? 256 : needed;
    if (capacity < 2 * list->capacity) capacity = 2 * list->capacity;
    if (!bert_size_multiply(capacity, sizeof(int32_t), &bytes)) return bert_fail_memory(error, SIZE_MAX, "token ids");
    int32_t *items = bert_allocate(allocator, bytes, BERT_ALIGNMENT);
    if (!items) return bert_fail_memory(error, bytes, "token ids");
    if (list->count) memcpy(items, list->items, list->count * sizeof(int32_t));
    bert_deallocate(allocator, list->items, list->capacity * sizeof(int32_t), BERT_ALIGNMENT);
    list->items = items;
    list->capacity = capacity;
    return BERT_OK;
}

void bert_text_batch_free(bert_text_batch *batch) {
    if (!batch) return;
    const bert_allocator *allocator = batch->allocator;
    for (int c = 0; c < COLUMNS; c++) {
        bert_deallocate(allocator, batch->columns[c].items, batch->columns[c].capacity * sizeof(int32_t),
                        BERT_ALIGNMENT);
    }
    bert_deallocate(allocator, batch->ends.items, batch->ends.capacity * sizeof(int32_t), BERT_ALIGNMENT);
    bert_deallocate(allocator, batch->tensors, batch->tensor_bytes, BERT_ALIGNMENT);
    bert_encoding_free(batch->encoder.encoding);
    bert_deallocate(allocator, batch, sizeof *batch, BERT_ALIGNMENT);
}

/* -1 when `text` gives no such input. */
static int column_of(const char *name) {
    for (int c = 0; c < COLUMNS; c++) {
        if (strcmp(name, column_names[c]) == 0) return c;
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
    int column = column_of(input->name);
    if (column < 0) {
        if (input->optional) return BERT_OK;
        return bert_fail(
            error, BERT_UNSUPPORTED,
            "the model needs an input '%s', but text gives input_ids, attention_mask and token_type_ids only",
            input->name);
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
        (model_input){.name = column_names[column], .dtype = input->dtype, .column = column};
    return BERT_OK;
}

static bert_status take_inputs(bert_text_batch *batch, const bert_model *model, bert_error *error) {
    bool has_ids = false;
    batch->fixed_rows = batch->fixed_width = -1;
    for (size_t i = 0; i < bert_model_input_count(model); i++) {
        bert_model_tensor input;
        BERT_TRY(bert_model_input(model, i, &input));
        BERT_TRY(take_input(batch, &input, error));
        has_ids |= strcmp(input.name, column_names[INPUT_IDS]) == 0;
    }
    if (!has_ids) return bert_fail(error, BERT_UNSUPPORTED, "the model has no input 'input_ids': it takes no text");
    return BERT_OK;
}

/* The tokenizer's own padding is learned from how it pads an empty text by one token. */
static bert_status learn_padding(bert_text_batch *batch, bert_error *error) {
    const bert_tokenizer *tokenizer = batch->encoder.tokenizer;
    bert_encoding *encoding = batch->encoder.encoding;
    bert_encode_options options = {.struct_size = sizeof options};
    BERT_TRY(bert_tokenizer_encode(tokenizer, "", 0, NULL, 0, &options, encoding, error));
    options.pad_to = (int64_t)bert_encoding_get(encoding).length + 1;
    BERT_TRY(bert_tokenizer_encode(tokenizer, "", 0, NULL, 0, &options, encoding, error));
    bert_encoding_view view = bert_encoding_get(encoding);
    batch->pad_left = view.attention_mask[0] == 0;
    size_t at = batch->pad_left ? 0 : view.length - 1;
    batch->padding[INPUT_IDS] = view.ids[at];
    batch->padding[ATTENTION_MASK] = 0;
    batch->padding[TOKEN_TYPE_IDS] = view.type_ids[at];
    return BERT_OK;
}

static bert_status set_up(bert_text_batch *batch, const bert_model *model, const bert_text_batch_options *options,
                          bert_error *error) {
    BERT_TRY(take_inputs(batch, model, error));
    bert_text_encoder *encoder = &batch->encoder;
    BERT_TRY(bert_encoding_create(encoder->tokenizer, &encoder->encoding, error));
    BERT_TRY(learn_padding(batch, error));
    int64_t max_length = bert_tokenizer_model_max_length(encoder->tokenizer);
    if (options->max_length > 0 && options->max_length < max_length) max_length = options->max_length;
    if (batch->fixed_width > 0 && batch->fixed_width < max_length) max_length = batch->fixed_width;
    encoder->must_fit = options->truncation == BERT_TRUNCATION_NONE;
    encoder->options = (bert_encode_options){.struct_size = sizeof encoder->options,
                                             .truncation = options->truncation,
                                             .max_length = max_length,
                                             .invalid_utf8 = options->invalid_utf8};
    return BERT_OK;
}

bert_status bert_text_batch_create(const bert_model *model, const bert_tokenizer *tokenizer,
                                   const bert_text_batch_options *options, bert_text_batch **out, bert_error *error) {
    *out = NULL;
    bert_text_batch *batch = bert_allocate(NULL, sizeof *batch, BERT_ALIGNMENT);
    if (!batch) return bert_fail_memory(error, sizeof *batch, "a batch of texts");
    *batch = (bert_text_batch){.encoder = {.tokenizer = tokenizer}};
    bert_status status = set_up(batch, model, options, error);
    if (status != BERT_OK) {
        bert_text_batch_free(batch);
        return status;
    }
    *out = batch;
    return BERT_OK;
}

bert_status bert_text_encoder_create(const bert_text_batch *batch, bert_text_encoder **out, bert_error *error) {
    *out = NULL;
    bert_text_encoder *encoder = bert_allocate(NULL, sizeof *encoder, BERT_ALIGNMENT);
    if (!encoder) return bert_fail_memory(error, sizeof *encoder, "an encoder of texts");
    *encoder = batch->encoder;
    bert_status status = bert_encoding_create(encoder->tokenizer, &encoder->encoding, error);
    if (status != BERT_OK) {
        bert_deallocate(NULL, encoder, sizeof *encoder, BERT_ALIGNMENT);
        return status;
    }
    *out = encoder;
    return BERT_OK;
}

void bert_text_encoder_free(bert_text_encoder *encoder) {
    if (!encoder) return;
    bert_encoding_free(encoder->encoding);
    bert_deallocate(NULL, encoder, sizeof *encoder, BERT_ALIGNMENT);
}

/* The text's tokens, good until the next text. */
static bert_status encode(bert_text_encoder *encoder, const bert_text *text, bert_encoding_view *view,
                          bert_error *error) {
    BERT_TRY(bert_tokenizer_encode(encoder->tokenizer, text->text, text->text_length, text->pair, text->pair_length,
                                   &encoder->options, encoder->encoding, error));
    *view = bert_encoding_get(encoder->encoding);
    if (encoder->must_fit && view->length > (uint64_t)encoder->options.max_length) {
        return bert_fail(error, BERT_INVALID_INPUT,
                         "the text has %zu tokens, but at most %" PRId64 " fit and it is not to be truncated",
                         view->length, encoder->options.max_length);
    }
    if (view->length == 0) return bert_fail(error, BERT_INVALID_INPUT, "the text has no tokens");
    return BERT_OK;
}

/* Whether truncation dropped tokens of the text encoded last. Its view is no good afterwards. */
static bool was_cut(bert_text_encoder *encoder) {
    return encoder->options.truncation != BERT_TRUNCATION_NONE && bert_encoding_next(encoder->encoding);
}

static size_t row_bytes(size_t length) {
    return sizeof(bert_text_row) + 2 * length * sizeof(int32_t);
}

bert_status bert_text_encoder_encode(bert_text_encoder *encoder, const bert_text *text, bert_text_row **out,
                                     bert_error *error) {
    *out = NULL;
    bert_encoding_view view;
    BERT_TRY(encode(encoder, text, &view, error));
    bert_text_row *row = bert_allocate(NULL, row_bytes(view.length), sizeof(void *));
    if (!row) return bert_fail_memory(error, row_bytes(view.length), "token ids");
    row->length = view.length;
    memcpy(row->ids, view.ids, view.length * sizeof(int32_t));
    memcpy(row->ids + view.length, view.type_ids, view.length * sizeof(int32_t));
    row->cut = was_cut(encoder);
    *out = row;
    return BERT_OK;
}

void bert_text_row_free(bert_text_row *row) {
    if (row) bert_deallocate(NULL, row, row_bytes(row->length), sizeof(void *));
}

int64_t bert_text_batch_max_length(const bert_text_batch *batch) {
    return batch->encoder.options.max_length;
}

size_t bert_text_batch_capacity(const bert_text_batch *batch) {
    return batch->fixed_rows > 0 ? (size_t)batch->fixed_rows : SIZE_MAX;
}

size_t bert_text_batch_rows(const bert_text_batch *batch) {
    return batch->ends.count;
}

void bert_text_batch_clear(bert_text_batch *batch) {
    for (int c = 0; c < COLUMNS; c++) batch->columns[c].count = 0;
    batch->ends.count = 0;
}

static bert_status add_row(bert_text_batch *batch, size_t length, const int32_t *ids, const int32_t *type_ids,
                           bert_error *error) {
    size_t total;
    if (!bert_size_add(batch->columns[0].count, length, &total) || total > INT32_MAX) {
        return bert_fail_memory(error, total, "token ids");
    }
    for (int c = 0; c < COLUMNS; c++) BERT_TRY(reserve(batch->allocator, &batch->columns[c], length, error));
    BERT_TRY(reserve(batch->allocator, &batch->ends, 1, error));
    for (size_t i = 0; i < length; i++) {
        batch->columns[INPUT_IDS].items[batch->columns[INPUT_IDS].count++] = ids[i];
        batch->columns[ATTENTION_MASK].items[batch->columns[ATTENTION_MASK].count++] = 1;
        batch->columns[TOKEN_TYPE_IDS].items[batch->columns[TOKEN_TYPE_IDS].count++] = type_ids[i];
    }
    batch->ends.items[batch->ends.count++] = (int32_t)total;
    return BERT_OK;
}

bert_status bert_text_batch_add(bert_text_batch *batch, const bert_text *text, bool *cut, bert_error *error) {
    const bert_text_row *row = text->row;
    if (row) {
        BERT_TRY(add_row(batch, row->length, row->ids, row->ids + row->length, error));
        *cut = row->cut;
        return BERT_OK;
    }
    bert_encoding_view view;
    BERT_TRY(encode(&batch->encoder, text, &view, error));
    BERT_TRY(add_row(batch, view.length, view.ids, view.type_ids, error));
    *cut = was_cut(&batch->encoder);
    return BERT_OK;
}

static void store(void *tensor, bert_dtype dtype, size_t at, int32_t value) {
    if (dtype == BERT_INT64) {
        ((int64_t *)tensor)[at] = value;
    } else {
        ((int32_t *)tensor)[at] = value;
    }
}

/* Rows that the file's fixed batch has beyond those that were added repeat the first. */
static void fill(const bert_text_batch *batch, const model_input *input, size_t rows, size_t width, void *tensor) {
    const int32_t *tokens = batch->columns[input->column].items;
    for (size_t r = 0; r < rows; r++) {
        size_t source = r < batch->ends.count ? r : 0;
        size_t begin = source ? (size_t)batch->ends.items[source - 1] : 0;
        size_t length = (size_t)batch->ends.items[source] - begin;
        size_t first = batch->pad_left ? width - length : 0;
        for (size_t i = 0; i < width; i++) {
            bool real = i >= first && i < first + length;
            int32_t value = real ? tokens[begin + i - first] : batch->padding[input->column];
            store(tensor, input->dtype, r * width + i, value);
        }
    }
}

static size_t longest_row(const bert_text_batch *batch) {
    int32_t longest = 0;
    for (size_t r = 0; r < batch->ends.count; r++) {
        int32_t length = batch->ends.items[r] - (r ? batch->ends.items[r - 1] : 0);
        if (length > longest) longest = length;
    }
    return (size_t)longest;
}

/* Memory for every input, `stride` bytes each. */
static bert_status reserve_tensors(bert_text_batch *batch, size_t rows, size_t width, size_t *stride,
                                   bert_error *error) {
    size_t elements;
    size_t bytes;
    if (!bert_size_multiply(rows, width, &elements) || !bert_size_multiply(elements, sizeof(int64_t), &bytes) ||
        !bert_size_add(bytes, BERT_ALIGNMENT, &bytes) || bytes > SIZE_MAX / COLUMNS) {
        return bert_fail_memory(error, SIZE_MAX, "a batch of texts");
    }
    *stride = bytes / BERT_ALIGNMENT * BERT_ALIGNMENT;
    if (*stride * COLUMNS <= batch->tensor_bytes) return BERT_OK;
    void *tensors = bert_allocate(batch->allocator, *stride * COLUMNS, BERT_ALIGNMENT);
    if (!tensors) return bert_fail_memory(error, *stride * COLUMNS, "a batch of texts");
    bert_deallocate(batch->allocator, batch->tensors, batch->tensor_bytes, BERT_ALIGNMENT);
    batch->tensors = tensors;
    batch->tensor_bytes = *stride * COLUMNS;
    return BERT_OK;
}

bert_status bert_text_batch_run(bert_text_batch *batch, bert_session *session, bert_named_tensor *outputs,
                                size_t output_count, bert_error *error) {
    if (batch->ends.count == 0 || batch->ends.count > bert_text_batch_capacity(batch)) {
        return bert_fail(error, BERT_INVALID_ARGUMENT, "a batch of %zu rows was to be run, but the model takes %s",
                         batch->ends.count, batch->ends.count ? "fewer at once" : "at least one");
    }
    size_t rows = batch->fixed_rows > 0 ? (size_t)batch->fixed_rows : batch->ends.count;
    size_t width = batch->fixed_width > 0 ? (size_t)batch->fixed_width : longest_row(batch);
    size_t stride = 0;
    BERT_TRY(reserve_tensors(batch, rows, width, &stride, error));
    bert_named_tensor inputs[COLUMNS];
    for (size_t i = 0; i < batch->input_count; i++) {
        void *tensor = (char *)batch->tensors + i * stride;
        fill(batch, &batch->inputs[i], rows, width, tensor);
        inputs[i] = (bert_named_tensor){
            .name = batch->inputs[i].name,
            .tensor = {
                .dtype = batch->inputs[i].dtype, .rank = 2, .dims = {(int64_t)rows, (int64_t)width}, .data = tensor}};
    }
    return bert_session_run(session, NULL, inputs, batch->input_count, outputs, output_count, error);
}
