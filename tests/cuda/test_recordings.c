/* Plans of the CUDA provider that are recorded and replayed, on the emulator: which runs are, and what they give. */
#include "tests/cuda/faults.h"
#include "tests/cuda/provider_case.h"
#include "tests/cuda_emulator/emulator.h"

#include <stdlib.h>

static uint64_t graph_launches_of_run(bert_session *session, batch *b) {
    float logits[BATCH * LABELS];
    const uint64_t before = bert_emulator_graph_launches();
    run(session, b, logits);
    return bert_emulator_graph_launches() - before;
}

static void a_plan_is_recorded_in_its_first_run_and_replayed(void **state) {
    bert_model *model = load(ZH "model.onnx");
    bert_session *session = open(model, "cuda");
    batch small = make_batch(1, 5, false, 1), large = make_batch(BATCH, SEQUENCE, false, 1);
    assert_int_equal(graph_launches_of_run(session, &small), 0);
    assert_int_equal(graph_launches_of_run(session, &small), 1);
    /* A larger arena moves what was recorded. */
    assert_int_equal(graph_launches_of_run(session, &large), 0);
    assert_int_equal(graph_launches_of_run(session, &small), 0);
    assert_int_equal(graph_launches_of_run(session, &small), 1);
    assert_int_equal(graph_launches_of_run(session, &large), 1);
    bert_session_free(session);

    /* Times of kernels are those of kernels that are called. */
    const bert_session_options options = {.struct_size = sizeof options, .providers = "cuda", .profile = true};
    session = open_with(model, &options);
    for (int i = 0; i < 3; i++) assert_int_equal(graph_launches_of_run(session, &small), 0);
    size_t count = 0;
    const bert_profile_entry *entries = bert_session_profile(session, &count);
    assert_true(count > 10);
    for (size_t i = 0; i < count; i++) assert_true(entries[i].runs == 3 && entries[i].nanoseconds > 0);
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

static void what_is_replayed_is_timed_where_that_is_asked(void **state) {
    bert_model *model = load(ZH "model.onnx");
    for (int asked = 0; asked < 2; asked++) {
        const bert_session_options options = {.struct_size = sizeof options, .providers = "cuda", .device_time = asked};
        bert_session *session = open_with(model, &options);
        batch b = make_batch(1, 5, false, 1), other = make_batch(1, 4, false, 1);
        float logits[LABELS];
        run(session, &b, logits);
        assert_int_equal(bert_session_device_nanoseconds(session), 0);
        run(session, &b, logits);
        assert_true((bert_session_device_nanoseconds(session) > 0) == asked);
        run(session, &other, logits); /* whose kernels are called one by one */
        assert_int_equal(bert_session_device_nanoseconds(session), 0);
        bert_session_free(session);
    }
    const bert_session_options options = {.struct_size = sizeof options, .providers = "cpu", .device_time = true};
    bert_session *session = open_with(model, &options);
    assert_int_equal(bert_session_device_nanoseconds(session), 0);
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

/* Ids, types and mask, and what a run says of its tokens, lie side by side on the device as they do in pinned memory.
 */
static void inputs_are_uploaded_in_one_copy(void **state) {
    bert_model *model = load(ZH "model.onnx");
    for (int padded = 0; padded < 2; padded++) {
        const bert_session_options options = {.struct_size = sizeof options,
                                              .providers = "cuda",
                                              .padded_rows =
                                                  padded ? BERT_PADDED_ROWS_UNDEFINED : BERT_PADDED_ROWS_EXACT};
        bert_session *session = open_with(model, &options);
        for (int64_t length = 1; length <= SEQUENCE; length++) {
            batch b = make_batch(BATCH, length, padded && length > 3, 1);
            float logits[BATCH * LABELS];
            run(session, &b, logits); /* binds, which uploads what it folded */
            const uint64_t before = bert_emulator_uploads();
            run(session, &b, logits);
            assert_int_equal(bert_emulator_uploads() - before, 1);
        }
        bert_session_free(session);
    }
    bert_model_free(model);
    expect_no_faults(__func__);
}

/* The second sequence has so many tokens less. */
static batch make_shorter(int64_t less, unsigned seed) {
    batch b = make_batch(BATCH, SEQUENCE, false, seed);
    for (int64_t i = TOKENS - less; i < TOKENS; i++) {
        b.mask[i] = 0;
        b.ids[i] = -1; /* nobody looks at it */
    }
    return b;
}

/* 15, 14 and 13 tokens of 18 are one bucket's: what is recorded with the rows of one serves the others. */
static void a_recording_serves_numbers_of_rows_near_it(void **state) {
    static const bert_precision precisions[] = {BERT_PRECISION_FP32, BERT_PRECISION_FP16, BERT_PRECISION_FP8};
    bert_model *model = load(ZH "model.onnx");
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        bert_session_options options = {.struct_size = sizeof options,
                                        .providers = "cuda",
                                        .precision = precisions[p],
                                        .padded_rows = BERT_PADDED_ROWS_UNDEFINED};
        bert_session *session = open_with(model, &options), *apart;
        for (unsigned i = 0; i < 6; i++) {
            float logits[BATCH * LABELS], expected[BATCH * LABELS];
            batch b = make_shorter(3 + i % 3, i);
            assert_int_equal(graph_launches_of_run(session, &b), i > 0);
            run(session, &b, logits);
            /* Each by itself, with no other's numbers in its memory. */
            apart = open_with(model, &options);
            run(apart, &b, expected);
            expect_near(expected, logits, BATCH * LABELS, 0);
            bert_session_free(apart);
        }
        bert_session_free(session);
    }
    bert_model_free(model);
    expect_no_faults(__func__);
}

/* Scales of a sequence cover its own rows: there are no others then, and 14 are recorded when they come again. */
static void rows_that_have_scales_are_recorded_as_many_as_they_are(void **state) {
    bert_model *model = load(ZH "model-optimized-quantized.onnx");
    const bert_session_options options = {.struct_size = sizeof options,
                                          .providers = "cuda",
                                          .quant_scope = BERT_QUANT_SCOPE_SEQUENCE,
                                          .padded_rows = BERT_PADDED_ROWS_UNDEFINED};
    bert_session *session = open_with(model, &options);
    for (unsigned i = 0; i < 6; i++) {
        batch b = make_shorter(3 + i % 3, i);
        assert_int_equal(graph_launches_of_run(session, &b), i >= 3);
    }
    bert_session_free(session);
    bert_model_free(model);
    expect_no_faults(__func__);
}

/* Neither where no graph can be made, nor where kernels are refused while they are recorded; without padding rows are
 * recorded that have not been run before. */
static void a_session_goes_on_where_nothing_can_be_recorded(void **state) {
    static void (*const refuse[])(bool) = {bert_emulator_refuse_graphs, bert_emulator_refuse_captured_work};
    bert_model *model = load(ZH "model.onnx");
    for (int variant = 0; variant < 4; variant++) {
        const bert_session_options options = {.struct_size = sizeof options,
                                              .providers = "cuda",
                                              .padded_rows =
                                                  variant & 2 ? BERT_PADDED_ROWS_UNDEFINED : BERT_PADDED_ROWS_EXACT};
        enum { RUNS = 3 };
        float expected[RUNS][BATCH * LABELS], logits[BATCH * LABELS];
        bert_session *session = open_with(model, &options);
        for (unsigned i = 0; i < RUNS; i++) {
            batch b = make_batch(BATCH, SEQUENCE, variant & 2, i);
            run(session, &b, expected[i]);
        }
        bert_session_free(session);
        const uint64_t graphs = bert_emulator_graph_launches();
        session = open_with(model, &options);
        refuse[variant & 1](true);
        for (unsigned i = 0; i < RUNS; i++) {
            batch b = make_batch(BATCH, SEQUENCE, variant & 2, i);
            run(session, &b, logits);
            expect_near(expected[i], logits, BATCH * LABELS, 0);
        }
        refuse[variant & 1](false);
        assert_int_equal(bert_emulator_graph_launches() - graphs, 0);
        bert_session_free(session);
    }
    bert_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_recorded_in_its_first_run_and_replayed),
        cmocka_unit_test(what_is_replayed_is_timed_where_that_is_asked),
        cmocka_unit_test(inputs_are_uploaded_in_one_copy),
        cmocka_unit_test(a_recording_serves_numbers_of_rows_near_it),
        cmocka_unit_test(rows_that_have_scales_are_recorded_as_many_as_they_are),
        cmocka_unit_test(a_session_goes_on_where_nothing_can_be_recorded),
    };
    composition = provider_composition();
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1); /* nothing is written beside the models */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
