/* The bundled model, from its file to its logits. */
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODEL BERT_SOURCE_DIR "/models/zh-sentiment/model.onnx"
#define GOLDEN BERT_SOURCE_DIR "/models/zh-sentiment/golden.jsonl"

enum { LONGEST = 512, LABELS = 2 };

typedef struct sentence {
    int64_t length;
    int64_t ids[LONGEST], types[LONGEST], mask[LONGEST];
    double logits[LABELS];
} sentence;

static int64_t read_integers(const bert_json *list, int64_t *out) {
    int64_t count = 0;
    for (const bert_json *element = list->first; element; element = element->next) {
        assert_true(count < LONGEST && bert_json_integer(element, &out[count]));
        count++;
    }
    return count;
}

static void read_sentence(const char *line, size_t length, sentence *out) {
    bert_arena arena;
    bert_arena_init(&arena, NULL);
    const bert_json *object = NULL;
    assert_int_equal(bert_json_parse(line, length, "golden.jsonl", &arena, &object, NULL), BERT_OK);
    out->length = read_integers(bert_json_get(object, "input_ids"), out->ids);
    assert_int_equal(read_integers(bert_json_get(object, "token_type_ids"), out->types), out->length);
    for (int64_t i = 0; i < out->length; i++) out->mask[i] = 1;
    int label = 0;
    const bert_json *logits = bert_json_get(bert_json_get(object, "logits"), "model");
    for (const bert_json *logit = logits->first; logit; logit = logit->next) {
        assert_true(label < LABELS && bert_json_number(logit, &out->logits[label++]));
    }
    assert_int_equal(label, LABELS);
    bert_arena_free(&arena);
}

/* Every `stride`th sentence; the count in *count_out. */
static sentence *read_golden(size_t stride, size_t *count_out) {
    bert_file file;
    assert_int_equal(bert_file_open(GOLDEN, true, NULL, &file, NULL), BERT_OK);
    const char *at = (const char *)file.data, *end = at + file.size;
    sentence *sentences = NULL;
    size_t count = 0;
    for (size_t line = 0; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline ? newline : end) - at);
        if (line % stride == 0 && length) {
            sentences = realloc(sentences, (count + 1) * sizeof *sentences);
            assert_non_null(sentences);
            read_sentence(at, length, &sentences[count++]);
        }
        at += length + 1;
    }
    bert_file_close(&file);
    *count_out = count;
    return sentences;
}

/* Precisions that round weights or activations to bfloat16 are this far off at most, others 1e-4. */
static double tolerance_of(bert_precision precision) {
    return precision == BERT_PRECISION_BF16 || precision == BERT_PRECISION_BF16_WEIGHTS ? 0.01 : 1e-4;
}

static void expect_golden_logits(const bert_model_options *model_options, const bert_session_options *options,
                                 size_t stride) {
    bert_model *model = NULL;
    bert_session *session = NULL;
    bert_error error;
    if (bert_model_load(MODEL, model_options, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_session_create(model, options, &session, &error) != BERT_OK) fail_msg("%s", error.message);
    size_t count = 0;
    sentence *sentences = read_golden(stride, &count);
    assert_true(count > 0);
    double worst = 0;
    for (size_t s = 0; s < count; s++) {
        sentence *one = &sentences[s];
        bert_tensor shape = {BERT_INT64, 2, {1, one->length}, NULL};
        bert_named_tensor inputs[3] = {
            {"input_ids", shape, 0}, {"token_type_ids", shape, 0}, {"attention_mask", shape, 0}};
        inputs[0].tensor.data = one->ids;
        inputs[1].tensor.data = one->types;
        inputs[2].tensor.data = one->mask;
        bert_named_tensor logits = {.name = "output_0"};
        bert_status status = bert_session_run(session, NULL, inputs, 3, &logits, 1, &error);
        if (status != BERT_OK) fail_msg("line %zu: %s", s * stride + 1, error.message);
        assert_int_equal(logits.tensor.rank, 2);
        assert_int_equal(logits.tensor.dims[1], LABELS);
        for (int label = 0; label < LABELS; label++) {
            bool wide = logits.tensor.dtype == BERT_DOUBLE;
            double logit = wide ? ((double *)logits.tensor.data)[label] : ((float *)logits.tensor.data)[label];
            double difference = fabs(logit - one->logits[label]);
            assert_true(difference <= tolerance_of(options->precision));
            if (difference > worst) worst = difference;
        }
    }
    print_message("%s: %zu sentences, worst difference %g\n", bert_session_provider(session), count, worst);
    free(sentences);
    bert_session_free(session);
    bert_model_free(model);
}

static void the_reference_backend_gives_the_golden_logits(void **state) {
    bert_session_options options = {.struct_size = sizeof options, .providers = "reference"};
    bert_model_options model_options = {.struct_size = sizeof model_options};
    expect_golden_logits(&model_options, &options, 24);
    model_options.no_passes = true;
    model_options.read_files = true;
    expect_golden_logits(&model_options, &options, 48);
}

static void the_cpu_backend_gives_the_golden_logits(void **state) {
    bert_thread_pool *threads = NULL;
    assert_int_equal(bert_thread_pool_create(2, NULL, &threads, NULL), BERT_OK);
    bert_model_options model_options = {.struct_size = sizeof model_options};
    for (int choice = 0; choice < 4; choice++) {
        bert_session_options options = {.struct_size = sizeof options, .providers = "cpu"};
        model_options.no_passes = choice & 1;
        if (choice & 2) options.threads = threads;
        options.deterministic = choice == 3;
        expect_golden_logits(&model_options, &options, choice == 0 ? 1 : 6);
    }
    bert_thread_pool_free(threads);
}

static void double_precision_agrees_with_the_golden_logits(void **state) {
    bert_session_options options = {
        .struct_size = sizeof options, .providers = "reference", .precision = BERT_PRECISION_FP64};
    bert_model_options model_options = {.struct_size = sizeof model_options, .promote_to_double = true};
    expect_golden_logits(&model_options, &options, 48);
}

static void bfloat16_stays_near_the_golden_logits(void **state) {
    bert_session_options options = {
        .struct_size = sizeof options, .providers = "cpu", .precision = BERT_PRECISION_BF16_WEIGHTS};
    bert_model_options model_options = {.struct_size = sizeof model_options};
    expect_golden_logits(&model_options, &options, 24);
    bert_model *model = NULL;
    bert_session *session = NULL;
    bert_error error;
    options.precision = BERT_PRECISION_BF16;
    assert_int_equal(bert_model_load(MODEL, &model_options, &model, &error), BERT_OK);
    const bert_status status = bert_session_create(model, &options, &session, &error);
    bert_session_free(session);
    bert_model_free(model);
    if (status == BERT_OK) {
        expect_golden_logits(&model_options, &options, 24);
        return;
    }
    print_message("skipped: bf16: %s\n", error.message);
    assert_int_equal(status, BERT_UNSUPPORTED);
    assert_non_null(strstr(error.message, "bf16-weights"));
}

static void a_model_loads_from_memory_as_from_its_file(void **state) {
    bert_file file;
    bert_model *model = NULL;
    bert_error error;
    assert_int_equal(bert_file_open(MODEL, true, NULL, &file, NULL), BERT_OK);
    if (bert_model_load_memory(file.data, file.size, NULL, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(bert_model_input_count(model), 3);
    bert_model_free(model);
    assert_int_equal(bert_model_load_memory(NULL, 0, NULL, &model, &error), BERT_INVALID_ARGUMENT);
    assert_int_equal(bert_model_load(NULL, NULL, &model, &error), BERT_INVALID_ARGUMENT);
    assert_int_equal(bert_model_load(BERT_SOURCE_DIR "/nowhere.onnx", NULL, &model, &error), BERT_IO_ERROR);
    assert_null(model);
    bert_file_close(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_backend_gives_the_golden_logits),
        cmocka_unit_test(the_cpu_backend_gives_the_golden_logits),
        cmocka_unit_test(double_precision_agrees_with_the_golden_logits),
        cmocka_unit_test(bfloat16_stays_near_the_golden_logits),
        cmocka_unit_test(a_model_loads_from_memory_as_from_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
