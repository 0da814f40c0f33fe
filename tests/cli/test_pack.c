/* bertc pack, and --packed. */
#include "tests/cli/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void packed_weights_answer_as_the_model_does(void **state) {
    char *packed = cli_path(cli_make_folder(), "model.pack");
    cli_result result = CLI("pack", MODEL_FOLDER, packed);
    cli_expect(&result, 0);
    assert_string_equal(result.out, "");
    cli_free(&result);

    cli_result plain = CLI("classify", MODEL_FOLDER, "--format", "jsonl", "很好");
    result = CLI("classify", MODEL_FOLDER, "--format", "jsonl", "很好", "--packed", packed);
    cli_expect(&result, 0);
    assert_string_equal(result.out, plain.out);
    assert_string_equal(result.err, "");
    cli_free(&result);

    /* Cut off: noticed, and not used. */
    assert_int_equal(truncate(packed, 10000), 0);
    result = CLI("classify", MODEL_FOLDER, "--format", "jsonl", "很好", "--packed", packed);
    cli_expect(&result, 0);
    assert_string_equal(result.out, plain.out);
    assert_non_null(strstr(result.err, "cut off; weights are packed anew"));
    cli_free(&result);
    cli_free(&plain);
    unlink(packed);
    free(packed);
}

static void what_is_missing_is_one_sentence(void **state) {
    cli_expect_one_sentence(CLI("classify", MODEL_FOLDER, "x", "--packed", "nowhere.pack"), "nowhere.pack");
    cli_expect_one_sentence(CLI("pack", MODEL_FOLDER, "no/such/folder/model.pack"), "no/such/folder/model.pack");
    cli_expect_one_sentence(CLI("pack", "nowhere.onnx", "model.pack"), "nowhere.onnx");
    cli_result result = CLI("pack", MODEL_FOLDER);
    cli_expect(&result, 2);
    cli_free(&result);
}

static void expect_intact(const char *model) {
    cli_result result = CLI("classify", model, "--tokenizer", MODEL_FOLDER, "x");
    cli_expect(&result, 0);
    cli_free(&result);
}

static void a_model_is_not_packed_over_itself(void **state) {
    const char *folder = cli_make_folder();
    char *model = cli_path(folder, "model.onnx"), *weights = cli_path(folder, "model.onnx.data");
    cli_copy(MODEL_FOLDER "/model.onnx", model);
    cli_expect_one_sentence(CLI("pack", model, model), "one of the model's own files");
    expect_intact(model);
    unlink(model);
    /* Nor over its weights, where these lie in a file beside it. */
    cli_result result = CLI("quantize", MODEL_FOLDER, model, "--external-data");
    cli_expect(&result, 0);
    cli_free(&result);
    cli_expect_one_sentence(CLI("pack", model, weights), "one of the model's own files");
    expect_intact(model);
    unlink(model);
    unlink(weights);
    free(model);
    free(weights);
}

/* Nothing of it stays, be it the disk that is full or a limit of the process. */
static void what_does_not_fit_is_an_error_and_leaves_nothing(void **state) {
    const char *folder = cli_make_folder();
    char *command;
    assert_true(asprintf(&command,
                         "(ulimit -f 100; " BERT_BERTC " pack " MODEL_FOLDER " %s/model.pack) 2>cli-limit.txt; "
                         "test $? -eq 1 && grep -q 'File too large' cli-limit.txt && rmdir %s",
                         folder, folder) > 0);
    assert_int_equal(system(command), 0);
    free(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_weights_answer_as_the_model_does),
        cmocka_unit_test(what_is_missing_is_one_sentence),
        cmocka_unit_test(a_model_is_not_packed_over_itself),
        cmocka_unit_test(what_does_not_fit_is_an_error_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
