/* bertc quantize. */
#include "tests/cli/driver.h"
#include "tests/cli/golden.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Quantizing moves the bundled model's logits by about 2e-2. */
static void a_quantized_model_answers_nearly_as_before(void **state) {
    static const char *const options[][2] = {
        {"--weights=int8", "--quiet"}, {"--weights=uint8", "--quiet"}, {"--weights=int8", "--per-channel"}};
    char *out = cli_path(cli_make_folder(), "quantized.onnx");
    golden_set golden = golden_load();
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        cli_result result = CLI("quantize", MODEL_FOLDER, out, options[i][0], options[i][1]);
        cli_expect(&result, 0);
        assert_non_null(strstr(result.out, "26 products and 3 tables quantized"));
        cli_free(&result);
        const char *arguments[] = {"classify", out, "--tokenizer", MODEL_FOLDER, "--jsonl", "--format", "jsonl", NULL};
        size_t bytes = 0;
        for (size_t line = 0; line < 40; line++) bytes += strlen(golden.lines[line]) + 1;
        result = cli_run(arguments, golden.text, bytes);
        cli_expect(&result, 0);
        size_t count;
        char **answers = cli_lines(result.out, &count);
        assert_int_equal(count, 40);
        for (size_t line = 0; line < count; line++) {
            if (!golden_logits_are_near(&golden, line, answers[line], "model", 0.1))
                fail_msg("line %zu: %s", line, answers[line]);
        }
        cli_lines_free(answers, count);
        cli_free(&result);

        result = CLI("inspect", out);
        cli_expect(&result, 0);
        assert_non_null(strstr(result.out, "bertc.QuantizedLinear"));
        assert_null(strstr(result.out, "bertc.Linear"));
        cli_free(&result);
    }
    golden_free(&golden);
    unlink(out);
    free(out);
}

static void what_cannot_be_quantized_is_one_sentence(void **state) {
    cli_expect_one_sentence(CLI("quantize", "nowhere.onnx", "out.onnx"), "nowhere.onnx");
    cli_expect_one_sentence(CLI("quantize", MODEL_FOLDER, "no/such/folder/out.onnx"), "no/such/folder/out.onnx");
    cli_result result = CLI("quantize", MODEL_FOLDER, "out.onnx", "--weights", "int4");
    cli_expect(&result, 2);
    cli_free(&result);
    assert_int_not_equal(access("out.onnx", F_OK), 0);
}

/* What is quantized has no float32 products left to quantize. */
static void a_quantized_model_has_nothing_left_to_quantize(void **state) {
    char *folder = strdup(cli_make_folder());
    char *once = cli_path(folder, "once.onnx"), *twice = cli_path(folder, "twice.onnx");
    cli_result result = CLI("quantize", MODEL_FOLDER, once);
    cli_expect(&result, 0);
    cli_free(&result);
    cli_expect_one_sentence(CLI("quantize", once, twice), "no float32 weights to quantize");
    assert_int_not_equal(access(twice, F_OK), 0);
    unlink(once);
    free(once);
    free(twice);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quantized_model_answers_nearly_as_before),
        cmocka_unit_test(what_cannot_be_quantized_is_one_sentence),
        cmocka_unit_test(a_quantized_model_has_nothing_left_to_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
