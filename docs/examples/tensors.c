/* A session by itself, tensors in and out: tensors MODEL.onnx TOKENIZER-FOLDER TEXT */
#include <bert/bert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *sentence) {
    fprintf(stderr, "%s\n", sentence);
    return 1;
}

/* An input of [1, length] that holds `values`; free its data. */
static bert_named_tensor make_input(const char *name, size_t length, const int32_t *values) {
    int64_t *data = malloc(length * sizeof *data);
    for (size_t i = 0; data && i < length; i++) data[i] = values ? values[i] : 1;
    return (bert_named_tensor){.name = name,
                               .tensor = {.dtype = BERT_INT64, .rank = 2, .dims = {1, (int64_t)length}, .data = data}};
}

int main(int argc, char **argv) {
    bert_error error;
    bert_tokenizer *tokenizer;
    bert_encoding *encoding;
    bert_model *model;
    bert_session *session;
    if (argc != 4) return fail("usage: tensors MODEL.onnx TOKENIZER-FOLDER TEXT");

    /* Text to token ids. */
    bert_encode_options encode = {.struct_size = sizeof encode, .truncation = BERT_TRUNCATION_LONGEST_FIRST};
    if (bert_tokenizer_load(argv[2], NULL, &tokenizer, &error)) return fail(error.message);
    if (bert_encoding_create(tokenizer, &encoding, &error)) return fail(error.message);
    if (bert_tokenizer_encode(tokenizer, argv[3], strlen(argv[3]), NULL, 0, &encode, encoding, &error)) {
        return fail(error.message);
    }
    bert_encoding_view tokens = bert_encoding_get(encoding);

    /* Token ids to outputs. The session owns these until its next run. */
    bert_thread_pool *threads;
    if (bert_thread_pool_create(0, NULL, &threads, &error)) return fail(error.message);
    bert_session_options options = {.struct_size = sizeof options, .threads = threads};
    if (bert_model_load(argv[1], NULL, &model, &error)) return fail(error.message);
    if (bert_session_create(model, &options, &session, &error)) return fail(error.message);
    bert_named_tensor inputs[] = {make_input("input_ids", tokens.length, tokens.ids),
                                  make_input("attention_mask", tokens.length, NULL),
                                  make_input("token_type_ids", tokens.length, tokens.type_ids)};
    bert_model_tensor declared;
    if (bert_model_output(model, 0, &declared)) return fail("the model has no output");
    bert_named_tensor output = {.name = declared.name};
    if (bert_session_run(session, NULL, inputs, 3, &output, 1, &error)) return fail(error.message);

    printf("%s", declared.name);
    for (int32_t d = 0; d < output.tensor.rank; d++)
        printf("%s%lld", d ? " x " : ": ", (long long)output.tensor.dims[d]);
    int64_t count = bert_tensor_elements(&output.tensor);
    const float *values = output.tensor.data;
    printf(", beginning with");
    for (int64_t i = 0; i < count && i < 4; i++) printf(" %.4f", (double)values[i]);
    printf("\n");

    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) free(inputs[i].tensor.data);
    bert_session_free(session);
    bert_model_free(model);
    bert_thread_pool_free(threads);
    bert_encoding_free(encoding);
    bert_tokenizer_free(tokenizer);
    return 0;
}
