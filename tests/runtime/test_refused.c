/*
 * Graphs that ONNX Runtime refuses as invalid (tests/data/refused, which tests/tools/refused_parity.py writes and holds
 * against ONNX Runtime): each is refused when it is loaded, with the reason.
 */
#include "tests/support/test.h"

#include <bert/model.h>
#include <stdio.h>
#include <string.h>

#define REFUSED BERT_SOURCE_DIR "/tests/data/refused/"

static void each_is_refused_with_its_reason(void **state) {
    FILE *list = fopen(REFUSED "reasons.txt", "r");
    assert_non_null(list);
    char name[128], word[128], path[512];
    int count = 0;
    for (; fscanf(list, "%127s %127[^\n]", name, word) == 2; count++) {
        const bert_model_options plain = {.struct_size = sizeof plain, .no_passes = true};
        const bert_model_options *const options[] = {NULL, &plain};
        snprintf(path, sizeof path, REFUSED "%s.onnx", name);
        for (int i = 0; i < 2; i++) {
            bert_model *model = NULL;
            bert_error error = {0};
            bert_status status = bert_model_load(path, options[i], &model, &error);
            if ((status != BERT_INVALID_MODEL && status != BERT_UNSUPPORTED) || !strstr(error.message, word)) {
                fail_msg("%s: status %d and '%s', where '%s' was expected", name, status, error.message, word);
            }
            assert_null(model);
        }
    }
    fclose(list);
    assert_true(count > 45);
}

/* Every operator that is missing is named at once. */
static void all_missing_operators_are_listed(void **state) {
    bert_model *model = NULL;
    bert_error error = {0};
    assert_int_equal(bert_model_load(REFUSED "two_operators_that_are_missing.onnx", NULL, &model, &error),
                     BERT_UNSUPPORTED);
    static const char *const words[] = {"2 of the model's operators", "Bogus of ai.onnx 17 (node Bogus_a)",
                                        "Nonsense of ai.onnx 17 (node Nonsense_y)"};
    for (int i = 0; i < 3; i++) assert_non_null(strstr(error.message, words[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_refused_with_its_reason),
        cmocka_unit_test(all_missing_operators_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
