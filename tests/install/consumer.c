/* The ten lines that a user writes: nothing but the installed headers and library. */
#include <bert/bert.h>
#include <stdio.h>

int main(int argc, char **argv) {
    bert_error error = {0};
    bert_model *model = NULL;
    bert_session *session = NULL;
    int64_t ids[] = {2, 3280, 979, 3367, 1135, 1196, 879, 3}; /* [CLS] 这家酒店很好 [SEP] */
    int64_t mask[] = {1, 1, 1, 1, 1, 1, 1, 1}, types[8] = {0};
    bert_named_tensor inputs[] = {{"input_ids", {BERT_INT64, 2, {1, 8}, ids}, 0},
                                  {"attention_mask", {BERT_INT64, 2, {1, 8}, mask}, 0},
                                  {"token_type_ids", {BERT_INT64, 2, {1, 8}, types}, 0}};
    bert_named_tensor output = {.name = "output_0"};
    if (bert_model_load(argc > 1 ? argv[1] : "model.onnx", NULL, &model, &error) ||
        bert_session_create(model, NULL, &session, &error) ||
        bert_session_run(session, NULL, inputs, 3, &output, 1, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    const float *logits = output.tensor.data;
    printf("bert.c %s: %s\n", bert_version(), logits[1] > logits[0] ? "positive" : "negative");
    bert_session_free(session);
    bert_model_free(model);
    return 0;
}
