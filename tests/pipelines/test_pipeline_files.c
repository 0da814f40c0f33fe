/* What the files beside a model make of a pipeline: config.json, tokenizer_config.json, sentence-transformers' files.
 */
#include "tests/support/onnx_writer.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL BERT_SOURCE_DIR "/tests/data/pipelines"

static char folder[64];

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void drop_file(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    remove(path);
}

/* A folder with another's model and tokenizer, and this config.json. */
static void make_folder(const char *source, const char *config) {
    static const char *const names[] = {"model.onnx", "vocab.txt", "tokenizer_config.json"};
    strcpy(folder, "pipeline-files-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[256];
        char to[256];
        snprintf(from, sizeof from, "%s/%s", source, names[i]);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    if (config) write_file("config.json", config);
}

static void drop_folder(void) {
    static const char *const names[] = {"model.onnx",           "vocab.txt",    "tokenizer_config.json",
                                        "config.json",          "modules.json", "sentence_bert_config.json",
                                        "1_Pooling/config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) drop_file(names[i]);
    drop_file("1_Pooling");
    assert_int_equal(rmdir(folder), 0);
}

static bert_answers *answer_all(bert_task task, const bert_pipeline_options *options, const bert_text *texts,
                                size_t count) {
    bert_pipeline *pipeline;
    bert_answers *answers;
    bert_error error;
    if (bert_pipeline_load(task, folder, options, &pipeline, &error) != BERT_OK) fail_msg("%s", error.message);
    if (bert_pipeline_run(pipeline, texts, count, NULL, &answers, &error) != BERT_OK) fail_msg("%s", error.message);
    bert_pipeline_free(pipeline);
    return answers;
}

static bert_answers *answer(bert_task task, const bert_pipeline_options *options, const char *text) {
    return answer_all(task, options, &(bert_text){.text = text, .text_length = strlen(text)}, 1);
}

static void expect_refused(bert_task task, const bert_pipeline_options *options, bert_status status,
                           const char *words) {
    bert_pipeline *pipeline;
    bert_error error = {.message = ""};
    assert_int_equal(bert_pipeline_load(task, folder, options, &pipeline, &error), status);
    if (!strstr(error.message, words)) fail_msg("'%s' was expected in '%s'", words, error.message);
}

/* How scores follow from logits: "softmax", "sigmoid" or "none". */
static void expect_scores(const char *config, const char *model, const char *function) {
    make_folder(model, config);
    bert_answers *answers = answer(BERT_TASK_TEXT_CLASSIFICATION, NULL, "a good film");
    const bert_answer *got = bert_answers_get(answers, 0);
    double sum = 0;
    for (size_t i = 0; i < got->label_count; i++) sum += exp(got->logits[i]);
    for (size_t i = 0; i < got->label_count; i++) {
        double logit = got->logits[i];
        double expected = *function == 'n' ? logit : function[1] == 'i' ? 1 / (1 + exp(-logit)) : exp(logit) / sum;
        if (!(fabs(got->scores[i] - expected) < 1e-12)) fail_msg("%s does not give %s", config, function);
    }
    bert_answers_free(answers);
    drop_folder();
}

static void problem_type_and_label_count_say_what_scores_are(void **state) {
    expect_scores("{}", SMALL "/classify", "softmax");
    expect_scores("{\"problem_type\": null}", SMALL "/classify", "softmax");
    expect_scores("{\"problem_type\": \"single_label_classification\"}", SMALL "/classify", "softmax");
    expect_scores("{\"problem_type\": \"multi_label_classification\"}", SMALL "/classify", "sigmoid");
    expect_scores("{\"problem_type\": \"regression\"}", SMALL "/classify", "none");
    expect_scores("{}", SMALL "/score", "sigmoid");
    expect_scores("{\"problem_type\": \"regression\"}", SMALL "/score", "none");
}

static void bad_configurations_are_refused(void **state) {
    static const struct {
        const char *config, *words;
    } cases[] = {{"[]", "not a JSON object"},
                 {"{", "config.json"},
                 {"{\"problem_type\": \"guess\"}", "problem_type"},
                 {"{\"id2label\": {\"x\": \"y\"}}", "id2label"},
                 {"{\"id2label\": {\"0\": 1}}", "id2label"},
                 {"{\"vocab_size\": \"many\"}", "vocab_size"},
                 {"{\"max_position_embeddings\": 1.5}", "max_position_embeddings"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_folder(SMALL "/classify", cases[i].config);
        expect_refused(BERT_TASK_TEXT_CLASSIFICATION, NULL, BERT_INVALID_MODEL, cases[i].words);
        drop_folder();
    }
}

/* Some families' first position embeddings are of padding: as many tokens less fit. */
static void families_differ_in_how_many_tokens_their_positions_are_for(void **state) {
    static const struct {
        const char *config;
        int64_t tokens;
    } cases[] = {{"{\"max_position_embeddings\": 6}", 6},
                 {"{\"max_position_embeddings\": 6, \"model_type\": \"bert\", \"pad_token_id\": 1}", 6},
                 {"{\"max_position_embeddings\": 6, \"model_type\": \"mpnet\"}", 4},
                 {"{\"max_position_embeddings\": 6, \"model_type\": \"mpnet\", \"pad_token_id\": 0}", 4},
                 {"{\"max_position_embeddings\": 6, \"model_type\": \"roberta\", \"pad_token_id\": 0}", 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_folder(SMALL "/classify", cases[i].config);
        bert_pipeline *pipeline;
        bert_error error;
        if (bert_pipeline_load(BERT_TASK_TEXT_CLASSIFICATION, folder, NULL, &pipeline, &error) != BERT_OK) {
            fail_msg("%s", error.message);
        }
        assert_int_equal(bert_pipeline_max_length(pipeline), cases[i].tokens);
        bert_pipeline_free(pipeline);
        drop_folder();
    }
}

static void heads_are_found_without_config_json(void **state) {
    make_folder(SMALL "/fill-mask", NULL);
    bert_answers_free(answer(BERT_TASK_FILL_MASK, NULL, "good [MASK]"));
    drop_folder();
    make_folder(SMALL "/ner", NULL);
    bert_answers *answers = answer(BERT_TASK_TOKEN_CLASSIFICATION, NULL, "good");
    assert_int_equal(bert_answers_get(answers, 0)->entity_count, 1);
    assert_int_equal(strncmp(bert_answers_get(answers, 0)->entities[0].label, "LABEL_", 6), 0);
    bert_answers_free(answers);
    drop_folder();
}

static double length_of(const bert_answer *answer) {
    double sum = 0;
    for (size_t i = 0; i < answer->width; i++) sum += (double)answer->embedding[i] * answer->embedding[i];
    return sqrt(sum);
}

#define TRANSFORMER "{\"path\": \"\", \"type\": \"sentence_transformers.models.Transformer\"}"
#define POOLING "{\"path\": \"1_Pooling\", \"type\": \"sentence_transformers.models.Pooling\"}"
#define MODULE(name) "{\"path\": \"2\", \"type\": \"sentence_transformers.models." name "\"}"

static void make_modules(const char *modules, const char *pooling) {
    char path[256];
    make_folder(SMALL "/embed", NULL);
    snprintf(path, sizeof path, "%s/1_Pooling", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    write_file("modules.json", modules);
    if (pooling) write_file("1_Pooling/config.json", pooling);
}

/* Element 0 of an embedding of this text, and whether it has length 1. */
static double embed(const bert_pipeline_options *options, bool *unit) {
    bert_answers *answers = answer(BERT_TASK_FEATURE_EXTRACTION, options, "a good film");
    const bert_answer *got = bert_answers_get(answers, 0);
    double first = (double)got->embedding[0];
    assert_int_equal(got->rows, 1);
    assert_int_equal(got->width, 16);
    *unit = fabs(length_of(got) - 1) < 1e-6;
    bert_answers_free(answers);
    return first;
}

static void sentence_transformers_files_say_how_to_pool(void **state) {
    bool unit;
    double expected[BERT_POOLING_MAX + 1];
    make_folder(SMALL "/embed", NULL);
    for (int pooling = BERT_POOLING_CLS; pooling <= BERT_POOLING_MAX; pooling++) {
        bert_pipeline_options options = {.struct_size = sizeof options, .pooling = (bert_pooling)pooling};
        expected[pooling] = embed(&options, &unit);
        assert_false(unit);
    }
    assert_true(embed(NULL, &unit) == expected[BERT_POOLING_MEAN]);
    drop_folder();
    static const struct {
        const char *config;
        bert_pooling pooling;
    } cases[] = {{"{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}", BERT_POOLING_CLS},
                 {"{\"pooling_mode_cls_token\": false, \"pooling_mode_max_tokens\": true}", BERT_POOLING_MAX},
                 {"{\"pooling_mode\": \"cls\"}", BERT_POOLING_CLS},
                 {"{\"pooling_mode_mean_tokens\": true}", BERT_POOLING_MEAN}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_modules("[" TRANSFORMER ", " POOLING "]", cases[i].config);
        assert_true(embed(NULL, &unit) == expected[cases[i].pooling]);
        assert_false(unit);
        drop_folder();
    }
    make_modules("[" TRANSFORMER ", " POOLING ", " MODULE("Normalize") "]", cases[0].config);
    embed(NULL, &unit);
    assert_true(unit);
    bert_pipeline_options off = {.struct_size = sizeof off, .normalize = BERT_OFF};
    assert_true(embed(&off, &unit) == expected[BERT_POOLING_CLS]);
    assert_false(unit);
    drop_folder();
}

/* A model without an attention_mask, whose hidden states are rows of a table, with a tensor of that name inside. The
 * first element of each row may be a NaN. */
static void write_model_without_mask(bool has_nan) {
    static const int64_t table[] = {600, 2}, two[] = {-1, -1};
    message g = {0}, rows = tensor_head("table", 1, 2, table), pick = node("Gather", "table attention_mask", "rows");
    float numbers[2 * 600];
    for (int i = 0; i < 2 * 600; i++) numbers[i] = has_nan && i % 2 == 0 ? NAN : (float)((i * 37) % 101) / 50 - 1;
    put_blob(&rows, TENSOR_RAW, numbers, sizeof numbers);
    put_message(&pick, NODE_ATTRIBUTE, int_attribute("axis", 0));
    put_message(&g, GRAPH_INPUT, value_info("input_ids", 7, 2, two));
    put_message(&g, GRAPH_INITIALIZER, rows);
    put_message(&g, GRAPH_NODE, node("Abs", "input_ids", "attention_mask"));
    put_message(&g, GRAPH_NODE, pick);
    put_message(&g, GRAPH_NODE, node("Neg", "rows", "last_hidden_state"));
    put_message(&g, GRAPH_OUTPUT, value_info("last_hidden_state", 1, -1, NULL));
    message m = model(8, 17, g);
    char path[256];
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(m.data, 1, m.size, file), m.size);
    assert_int_equal(fclose(file), 0);
    free_message(&m);
}

/* Texts are pooled over their own tokens, whatever padding the model sees. */
static void models_without_a_mask_are_pooled_too(void **state) {
    const bert_text texts[] = {{"good", 4, NULL, 0}, {"john lives in paris and works in berlin", 39, NULL, 0}};
    make_folder(SMALL "/embed", NULL);
    drop_file("model.onnx");
    write_model_without_mask(false);
    double expected[2][2] = {{0}};
    for (int pooled = 0; pooled < 2; pooled++) {
        const bert_pipeline_options options = {.struct_size = sizeof options,
                                               .pooling = pooled ? BERT_POOLING_MEAN : BERT_POOLING_NONE};
        bert_answers *answers = answer_all(BERT_TASK_FEATURE_EXTRACTION, &options, texts, 2);
        for (int i = 0; i < 2; i++) {
            const bert_answer *answer = bert_answers_get(answers, (size_t)i);
            assert_int_equal(answer->width, 2);
            assert_true(pooled ? answer->rows == 1 : answer->rows > 2);
            for (size_t e = 0; e < 2 * answer->rows; e++) {
                const double number = (double)answer->embedding[e];
                if (!pooled) expected[i][e % 2] += number / (double)answer->rows;
                if (pooled) assert_true(fabs(number - expected[i][e]) < 1e-6);
            }
        }
        bert_answers_free(answers);
    }
    drop_folder();
}

/* Texts of two lengths, so that one of them is padded: on the left [CLS] isn't at place 0. */
static void cls_is_the_first_token_whichever_side_is_padded(void **state) {
    static const char *const sides[] = {"right", "left"};
    const bert_text texts[] = {{"good", 4, NULL, 0}, {"john lives in paris and works in berlin", 39, NULL, 0}};
    for (int i = 0; i < 4; i++) {
        const bool pooled = i % 2;
        static float expected[2];
        char config[128];
        make_folder(SMALL "/embed", NULL);
        drop_file("model.onnx");
        write_model_without_mask(false);
        drop_file("tokenizer_config.json");
        snprintf(config, sizeof config, "{\"padding_side\": \"%s\"}", sides[i / 2]);
        write_file("tokenizer_config.json", config);
        const bert_pipeline_options options = {.struct_size = sizeof options,
                                               .pooling = pooled ? BERT_POOLING_CLS : BERT_POOLING_NONE};
        bert_answers *answers = answer_all(BERT_TASK_FEATURE_EXTRACTION, &options, texts, 2);
        for (size_t text = 0; text < 2; text++) {
            const bert_answer *answer = bert_answers_get(answers, text);
            if (!pooled && text == 0) memcpy(expected, answer->embedding, sizeof expected);
            assert_memory_equal(answer->embedding, expected, sizeof expected);
        }
        bert_answers_free(answers);
        drop_folder();
    }
}

enum { MASKED_TEXTS = 2, MOST_MASKED_TOKENS = 32 };
static const char *const masked_texts[MASKED_TEXTS] = {"good [MASK]", "john [MASK] in paris and works in [MASK]"};

/* A batch as the model's inputs have it. */
typedef struct masked_batch {
    size_t width;
    int64_t inputs[3][MASKED_TEXTS * MOST_MASKED_TOKENS];
} masked_batch;

static masked_batch encode_masked_texts(const bert_tokenizer *tokenizer) {
    masked_batch batch = {0};
    bert_encoding *encoding;
    assert_int_equal(bert_encoding_create(tokenizer, &encoding, NULL), BERT_OK);
    for (int padded = 0; padded < 2; padded++) {
        const bert_encode_options options = {.struct_size = sizeof options, .pad_to = (int64_t)batch.width};
        for (int text = 0; text < MASKED_TEXTS; text++) {
            assert_int_equal(bert_tokenizer_encode(tokenizer, masked_texts[text], strlen(masked_texts[text]), NULL, 0,
                                                   &options, encoding, NULL),
                             BERT_OK);
            const bert_encoding_view view = bert_encoding_get(encoding);
            if (!padded && view.length > batch.width) batch.width = view.length;
            assert_true(batch.width <= MOST_MASKED_TOKENS);
            for (size_t i = 0; padded && i < batch.width; i++) {
                const size_t at = (size_t)text * batch.width + i;
                batch.inputs[0][at] = view.ids[i];
                batch.inputs[1][at] = view.attention_mask[i];
                batch.inputs[2][at] = view.type_ids[i];
            }
        }
    }
    bert_encoding_free(encoding);
    return batch;
}

static double probability(const float *logits, size_t count, int32_t token) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += exp((double)logits[i]);
    return exp((double)logits[token]) / sum;
}

/* Holds the fillings of every mask against what the whole batch's logits say. */
static void check_fillings(const masked_batch *batch, const bert_answers *answers, int64_t mask, const bert_tensor *y) {
    const size_t vocabulary = (size_t)y->dims[2];
    for (size_t text = 0; text < MASKED_TEXTS; text++) {
        const bert_answer *answer = bert_answers_get(answers, text);
        size_t masks = 0;
        for (size_t at = text * batch->width; at < (text + 1) * batch->width; at++) {
            if (batch->inputs[0][at] != mask) continue;
            const bert_mask_answer *found = &answer->masks[masks++];
            const float *logits = (const float *)y->data + at * vocabulary;
            assert_true(masks <= answer->mask_count && found->count == 5);
            for (size_t i = 0; i < found->count; i++)
                assert_true(fabs(found->fillings[i].score - probability(logits, vocabulary, found->fillings[i].token)) <
                            1e-6);
        }
        assert_int_equal(masks, text + 1);
        assert_int_equal(masks, answer->mask_count);
    }
}

/* What a session that computes every token of the same batch says; `left`: where padding is. */
static void check_against_session(const bert_answers *answers, bool left) {
    static const char *const names[] = {"input_ids", "attention_mask", "token_type_ids"};
    bert_tokenizer *tokenizer;
    bert_model *model;
    bert_session *session;
    char path[256];
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    assert_int_equal(bert_tokenizer_load(folder, NULL, &tokenizer, NULL), BERT_OK);
    assert_int_equal(bert_model_load(path, NULL, &model, NULL), BERT_OK);
    assert_int_equal(bert_session_create(model, NULL, &session, NULL), BERT_OK);
    masked_batch batch = encode_masked_texts(tokenizer);
    assert_int_equal(batch.inputs[1][0], left ? 0 : 1);
    bert_named_tensor inputs[3], logits = {.name = "logits"};
    for (int n = 0; n < 3; n++)
        inputs[n] = (bert_named_tensor){
            .name = names[n], .tensor = {BERT_INT64, 2, {MASKED_TEXTS, (int64_t)batch.width}, batch.inputs[n]}};
    assert_int_equal(bert_session_run(session, NULL, inputs, 3, &logits, 1, NULL), BERT_OK);
    check_fillings(&batch, answers, bert_tokenizer_special_ids(tokenizer).mask, &logits.tensor);
    bert_session_free(session);
    bert_model_free(model);
    bert_tokenizer_free(tokenizer);
}

/* A short text's [MASK] stands behind its padding, with the position that the graph counts there. */
static void masks_are_found_whichever_side_is_padded(void **state) {
    static const char *const sides[] = {"right", "left"};
    const bert_session_options exact = {.struct_size = sizeof exact, .padded_rows = BERT_PADDED_ROWS_EXACT};
    bert_text texts[MASKED_TEXTS];
    for (int t = 0; t < MASKED_TEXTS; t++) texts[t] = (bert_text){masked_texts[t], strlen(masked_texts[t]), NULL, 0};
    for (int i = 0; i < 4; i++) { /* tokens of padding are skipped, or computed */
        char config[128];
        make_folder(SMALL "/fill-mask", NULL);
        drop_file("tokenizer_config.json");
        snprintf(config, sizeof config, "{\"padding_side\": \"%s\"}", sides[i / 2]);
        write_file("tokenizer_config.json", config);
        const bert_pipeline_options options = {.struct_size = sizeof options, .session = i % 2 ? &exact : NULL};
        bert_answers *answers = answer_all(BERT_TASK_FILL_MASK, &options, texts, MASKED_TEXTS);
        check_against_session(answers, i / 2);
        bert_answers_free(answers);
        drop_folder();
    }
}

/* Of tokens and of texts alike. */
static void a_vector_with_a_nan_has_no_length(void **state) {
    make_folder(SMALL "/embed", NULL);
    drop_file("model.onnx");
    write_model_without_mask(true);
    for (int pooled = 0; pooled < 2; pooled++) {
        const bert_pipeline_options options = {.struct_size = sizeof options,
                                               .pooling = pooled ? BERT_POOLING_MEAN : BERT_POOLING_NONE,
                                               .normalize = BERT_ON};
        bert_answers *answers = answer(BERT_TASK_FEATURE_EXTRACTION, &options, "a good film");
        const bert_answer *got = bert_answers_get(answers, 0);
        for (size_t e = 0; e < 2 * got->rows; e++) assert_true(isnan(got->embedding[e]));
        bert_answers_free(answers);
    }
    drop_folder();
}

static void modules_that_cant_be_followed_are_refused(void **state) {
    static const char mean[] = "{\"pooling_mode_mean_tokens\": true}";
    const bert_pipeline_options named = {.struct_size = sizeof named, .pooling = BERT_POOLING_MEAN};
    bool unit;
    make_modules("[" TRANSFORMER ", " POOLING ", " MODULE("Dense") "]", mean);
    expect_refused(BERT_TASK_FEATURE_EXTRACTION, NULL, BERT_UNSUPPORTED, "models.Dense");
    embed(&named, &unit);
    drop_folder();
    make_modules("[" TRANSFORMER ", " POOLING "]",
                 "{\"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": true}");
    expect_refused(BERT_TASK_FEATURE_EXTRACTION, NULL, BERT_UNSUPPORTED, "several poolings");
    drop_folder();
    make_modules("[" TRANSFORMER ", " POOLING "]", "{\"pooling_mode_lasttoken\": true}");
    expect_refused(BERT_TASK_FEATURE_EXTRACTION, NULL, BERT_UNSUPPORTED, "lasttoken");
    drop_folder();
    make_modules("[" POOLING "]", NULL);
    expect_refused(BERT_TASK_FEATURE_EXTRACTION, NULL, BERT_IO_ERROR, "1_Pooling/config.json");
    drop_folder();
    make_modules("{}", NULL);
    expect_refused(BERT_TASK_FEATURE_EXTRACTION, NULL, BERT_INVALID_MODEL, "not a JSON array");
    drop_folder();
    make_modules("[{\"path\": 1}]", NULL);
    expect_refused(BERT_TASK_FEATURE_EXTRACTION, NULL, BERT_INVALID_MODEL, "no type and path");
    drop_folder();
}

static void sentence_length_limits_embeddings(void **state) {
    make_modules("[" TRANSFORMER ", " POOLING "]", "{\"pooling_mode_mean_tokens\": true}");
    write_file("sentence_bert_config.json", "{\"max_seq_length\": 5}");
    bert_answers *answers = answer(BERT_TASK_FEATURE_EXTRACTION, NULL, "a good film in paris");
    assert_true(bert_answers_get(answers, 0)->cut);
    bert_answers_free(answers);
    const bert_pipeline_options longer = {.struct_size = sizeof longer, .max_length = 20};
    answers = answer(BERT_TASK_FEATURE_EXTRACTION, &longer, "a good film in paris");
    assert_false(bert_answers_get(answers, 0)->cut);
    bert_answers_free(answers);
    drop_folder();
}

static void cross_encoders_may_say_what_scores_are(void **state) {
    make_folder(SMALL "/score", "{\"sentence_transformers\": {\"activation_fn\": "
                                "\"torch.nn.modules.linear.Identity\"}}");
    const bert_text pair = {"who", 3, "john", 4};
    bert_pipeline *pipeline;
    bert_answers *answers;
    assert_int_equal(bert_pipeline_load(BERT_TASK_TEXT_RANKING, folder, NULL, &pipeline, NULL), BERT_OK);
    assert_int_equal(bert_pipeline_run(pipeline, &pair, 1, NULL, &answers, NULL), BERT_OK);
    assert_true(bert_answers_get(answers, 0)->scores[0] == bert_answers_get(answers, 0)->logits[0]);
    bert_answers_free(answers);
    bert_pipeline_free(pipeline);
    drop_folder();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problem_type_and_label_count_say_what_scores_are),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(families_differ_in_how_many_tokens_their_positions_are_for),
        cmocka_unit_test(heads_are_found_without_config_json),
        cmocka_unit_test(sentence_transformers_files_say_how_to_pool),
        cmocka_unit_test(models_without_a_mask_are_pooled_too),
        cmocka_unit_test(cls_is_the_first_token_whichever_side_is_padded),
        cmocka_unit_test(masks_are_found_whichever_side_is_padded),
        cmocka_unit_test(a_vector_with_a_nan_has_no_length),
        cmocka_unit_test(modules_that_cant_be_followed_are_refused),
        cmocka_unit_test(sentence_length_limits_embeddings),
        cmocka_unit_test(cross_encoders_may_say_what_scores_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
