/* Files of packed weights: the same answers as from the model's own, and never used where they don't fit. */
#include "core/base/cpu_features.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "tests/support/test.h"

#include <bert/bert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MODELS BERT_SOURCE_DIR "/models/zh-sentiment/"

enum { LABELS = 2, TOKENS = 7 };

static char folder[] = "packed.XXXXXX"; /* under the build's */
static char model_path[64], packed_path[64];

static int make_folder(void **state) {
    assert_non_null(mkdtemp(folder));
    snprintf(model_path, sizeof model_path, "%s/model.onnx", folder);
    snprintf(packed_path, sizeof packed_path, "%s/model.pack", folder);
    return 0;
}

static int remove_folder(void **state) {
    unlink(model_path);
    unlink(packed_path);
    return rmdir(folder);
}

/* ---- Files ------------------------------------------------------------------------------------------------------- */

static unsigned char *read_file(const char *path, size_t *size) {
    bert_file file;
    assert_int_equal(bert_file_open(path, false, NULL, &file, NULL), BERT_OK);
    unsigned char *bytes = malloc(file.size);
    assert_non_null(bytes);
    memcpy(bytes, file.data, file.size);
    *size = file.size;
    bert_file_close(&file);
    return bytes;
}

static void write_file(const char *path, const unsigned char *bytes, size_t size) {
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void copy_file(const char *from, const char *to) {
    size_t size;
    unsigned char *bytes = read_file(from, &size);
    write_file(to, bytes, size);
    free(bytes);
}

static int files_in_folder(void) {
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(listing));) count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

/* ---- Models ------------------------------------------------------------------------------------------------------ */

typedef struct run_result {
    float logits[LABELS];
    char notices[2048];
    size_t weight_bytes;
} run_result;

static void keep_notice(void *user, bert_log_level level, const char *message) {
    run_result *result = user;
    const size_t used = strlen(result->notices);
    snprintf(result->notices + used, sizeof result->notices - used, "%s\n", message);
}

static bool no_passes; /* of models that are loaded from now on */

static bert_model *load(run_result *result) {
    bert_error error = {0};
    const bert_log log = {.write = keep_notice, .user = result, .level = BERT_LOG_NOTICE};
    const bert_model_options options = {.struct_size = sizeof options, .log = &log, .no_passes = no_passes};
    bert_model *model;
    if (bert_model_load(model_path, &options, &model, &error) != BERT_OK) fail_msg("%s", error.message);
    return model;
}

static bert_status pack(const char *path, bert_error *error) {
    run_result result = {0};
    bert_model *model = load(&result);
    const bert_status status = bert_model_pack(model, NULL, path, error);
    bert_model_free(model);
    return status;
}

/* The answer of the model, with `packed` (NULL: none). A session that can't be made is returned as its status. */
static bert_status answer(const char *packed, run_result *result, bert_error *error) {
    *result = (run_result){0};
    bert_model *model = load(result);
    bert_session *session;
    const bert_session_options options = {.struct_size = sizeof options, .packed_file = packed};
    const bert_status status = bert_session_create(model, &options, &session, error);
    bert_model_free(model);
    if (status != BERT_OK) return status;
    int64_t ids[TOKENS] = {2, 2769, 1599, 3614, 821, 2157, 3}, types[TOKENS] = {0};
    int64_t mask[TOKENS] = {1, 1, 1, 1, 1, 1, 1};
    const bert_named_tensor inputs[] = {{"input_ids", {BERT_INT64, 2, {1, TOKENS}, ids}, 0},
                                        {"token_type_ids", {BERT_INT64, 2, {1, TOKENS}, types}, 0},
                                        {"attention_mask", {BERT_INT64, 2, {1, TOKENS}, mask}, 0}};
    bert_named_tensor output = {.name = "output_0", .tensor = {.data = result->logits}, .capacity_bytes = 8};
    if (bert_session_run(session, NULL, inputs, 3, &output, 1, error) != BERT_OK) fail_msg("%s", error->message);
    bert_session_memory memory = {.struct_size = sizeof memory};
    bert_session_get_memory(session, &memory);
    result->weight_bytes = memory.weight_bytes;
    bert_session_free(session);
    return BERT_OK;
}

/* The file in place is not used, for this reason, and the answer is the model's own. */
static void expect_unused(const run_result *plain, const char *reason) {
    run_result result;
    bert_error error = {0};
    if (answer(packed_path, &result, &error) != BERT_OK) fail_msg("%s", error.message);
    if (!strstr(result.notices, reason)) fail_msg("no \"%s\" in: %s", reason, result.notices);
    assert_non_null(strstr(result.notices, "packed anew"));
    assert_memory_equal(result.logits, plain->logits, sizeof plain->logits);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static void packed_weights_give_the_same_bits(void **state) {
    static const char *const names[] = {"model.onnx", "model-optimized.onnx", "model-optimized-quantized.onnx"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char source[256];
        snprintf(source, sizeof source, MODELS "%s", names[i]);
        copy_file(source, model_path);
        bert_error error = {0};
        if (pack(packed_path, &error) != BERT_OK) fail_msg("%s", error.message);
        run_result plain, packed;
        assert_int_equal(answer(NULL, &plain, &error), BERT_OK);
        assert_int_equal(answer(packed_path, &packed, &error), BERT_OK);
        assert_string_equal(packed.notices, "");
        assert_memory_equal(packed.logits, plain.logits, sizeof plain.logits);
        assert_int_equal(packed.weight_bytes, plain.weight_bytes);
        assert_int_equal(files_in_folder(), 2);
    }
}

static void prepare_small(run_result *plain) {
    copy_file(MODELS "model-optimized-quantized.onnx", model_path);
    bert_error error = {0};
    if (pack(packed_path, &error) != BERT_OK) fail_msg("%s", error.message);
    assert_int_equal(answer(NULL, plain, &error), BERT_OK);
}

static void a_file_of_another_model_is_not_used(void **state) {
    run_result plain;
    prepare_small(&plain);
    size_t size;
    unsigned char *bytes = read_file(model_path, &size);
    /* The same file, written anew: another stamp, the same content. */
    unlink(model_path);
    write_file(model_path, bytes, size);
    run_result again;
    bert_error error = {0};
    assert_int_equal(answer(packed_path, &again, &error), BERT_OK);
    assert_string_equal(again.notices, "");
    /* Of the same size, a bit of a weight changed. */
    bytes[size / 2] ^= 1;
    write_file(model_path, bytes, size);
    assert_int_equal(answer(NULL, &plain, &error), BERT_OK);
    expect_unused(&plain, "packed from another model");
    free(bytes);
}

static void every_damage_is_found(void **state) {
    run_result plain;
    prepare_small(&plain);
    size_t size;
    unsigned char *bytes = read_file(packed_path, &size);
    /* Magic, version, device, tables, and the last weight. */
    static const struct {
        int64_t at;
        const char *reason;
    } places[] = {{0, "begins otherwise"},      {8, "this bert.c reads format"}, {16, "cut off"},
                  {40, "digest of its tables"}, {300, "digest of its tables"},   {-1, "digest of a weight"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        unsigned char *byte = bytes + (places[i].at < 0 ? (int64_t)size + places[i].at : places[i].at);
        *byte ^= 0x40;
        write_file(packed_path, bytes, size);
        expect_unused(&plain, places[i].reason);
        *byte ^= 0x40;
    }
    static const size_t lengths[] = {1, 100, 250, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        write_file(packed_path, bytes, lengths[i]);
        expect_unused(&plain, lengths[i] < 224 ? "too short" : "cut off");
    }
    free(bytes);
}

static void a_file_for_other_options_or_machines_is_not_used(void **state) {
    run_result plain;
    bert_error error = {0};
    copy_file(MODELS "model-optimized-quantized.onnx", model_path);
    run_result ignored = {0};
    bert_model *model = load(&ignored);
    const bert_session_options deterministic = {.struct_size = sizeof deterministic, .deterministic = true};
    assert_int_equal(bert_model_pack(model, &deterministic, packed_path, &error), BERT_OK);
    bert_model_free(model);
    assert_int_equal(answer(NULL, &plain, &error), BERT_OK);
    expect_unused(&plain, "another precision");

    bert_isa best;
    assert_int_equal(bert_isa_select(&best, &error), BERT_OK);
    if (best == BERT_ISA_SCALAR) {
        print_message("skipped: there is no lower instruction set than scalar\n");
        return;
    }
    const char *before = getenv("BERT_CPU_ISA");
    char *kept = before ? strdup(before) : NULL;
    setenv("BERT_CPU_ISA", "scalar", 1);
    assert_int_equal(pack(packed_path, &error), BERT_OK);
    if (kept)
        setenv("BERT_CPU_ISA", kept, 1);
    else
        unsetenv("BERT_CPU_ISA");
    free(kept);
    expect_unused(&plain, "packed for cpu (scalar), and this is cpu");
}

/* Nodes as the model's file has them want weights that what was packed after the passes hasn't. */
static void weights_that_a_file_lacks_are_told_once(void **state) {
    run_result plain;
    bert_error error = {0};
    copy_file(MODELS "model.onnx", model_path);
    if (pack(packed_path, &error) != BERT_OK) fail_msg("%s", error.message);
    no_passes = true;
    assert_int_equal(answer(NULL, &plain, &error), BERT_OK);
    expect_unused(&plain, "lacks some in the layout that is wanted here");
    run_result result;
    assert_int_equal(answer(packed_path, &result, &error), BERT_OK);
    assert_null(strchr(strchr(result.notices, '\n') + 1, '\n'));
    no_passes = false;
}

static void paths_that_lead_nowhere_are_errors(void **state) {
    run_result plain, result;
    prepare_small(&plain);
    bert_error error = {0};
    assert_int_equal(answer("nowhere/at.all", &result, &error), BERT_IO_ERROR);
    assert_non_null(strstr(error.message, "nowhere/at.all"));
    assert_int_equal(pack("nowhere/at.all", &error), BERT_IO_ERROR);
    assert_non_null(strstr(error.message, "nowhere/at.all"));
    /* Packed weights don't take the place of what they were read from, whatever leads there. */
    char link_path[64];
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    assert_int_equal(symlink("model.onnx", link_path), 0);
    assert_int_equal(pack(model_path, &error), BERT_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "one of the model's own files"));
    assert_int_equal(pack(link_path, &error), BERT_INVALID_ARGUMENT);
    assert_int_equal(unlink(link_path), 0);
    /* What stood there stays when writing fails. */
    size_t size;
    unsigned char *bytes = read_file(packed_path, &size);
    assert_int_equal(chmod(folder, 0555), 0);
    const bool refused = access(folder, W_OK) != 0; /* root may write anywhere */
    if (refused) assert_int_equal(pack(packed_path, &error), BERT_IO_ERROR);
    assert_int_equal(chmod(folder, 0755), 0);
    size_t after;
    unsigned char *same = read_file(packed_path, &after);
    assert_int_equal(after, size);
    assert_memory_equal(same, bytes, size);
    assert_int_equal(files_in_folder(), 2);
    free(bytes);
    free(same);
}

/* As digest.h has it, in whatever steps a block is read: files of packed weights keep them. */
static uint64_t digest_by_blocks(const unsigned char *bytes, size_t count) {
    enum { BLOCK = 1 << 18 };
    uint64_t sums[2] = {0, count};
    for (size_t at = 0; at < count; at += BLOCK)
        sums[0] += XXH3_64bits_withSeed(bytes + at, count - at < BLOCK ? count - at : BLOCK, at / BLOCK);
    return XXH3_64bits(sums, sizeof sums);
}

static void digests_depend_on_every_byte_and_on_no_thread(void **state) {
    enum { BYTES = 1000000 };
    unsigned char *bytes = calloc(BYTES, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < BYTES; i++) bytes[i] = (unsigned char)(i * 7 + i / 251);
    bert_thread_pool *threads;
    assert_int_equal(bert_thread_pool_create(3, NULL, &threads, NULL), BERT_OK);
    const uint64_t digest = bert_digest(bytes, BYTES, NULL);
    assert_int_equal(bert_digest(bytes, BYTES, threads), digest);
    assert_int_not_equal(bert_digest(bytes, BYTES - 1, NULL), digest);
    static const size_t lengths[] = {0, 1, 4095, 4096, 4097, 8193, 262143, 262144, 262145, BYTES};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        assert_int_equal(bert_digest(bytes, lengths[i], threads), digest_by_blocks(bytes, lengths[i]));
    for (size_t at = 0; at < BYTES; at += 99999) {
        bytes[at] ^= 1;
        assert_int_not_equal(bert_digest(bytes, BYTES, threads), digest);
        bytes[at] ^= 1;
    }
    /* Two blocks that change places. */
    unsigned char block[1 << 18];
    memcpy(block, bytes, sizeof block);
    memmove(bytes, bytes + sizeof block, sizeof block);
    memcpy(bytes + sizeof block, block, sizeof block);
    assert_int_not_equal(bert_digest(bytes, BYTES, NULL), digest);
    bert_thread_pool_free(threads);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_weights_give_the_same_bits),
        cmocka_unit_test(a_file_of_another_model_is_not_used),
        cmocka_unit_test(every_damage_is_found),
        cmocka_unit_test(a_file_for_other_options_or_machines_is_not_used),
        cmocka_unit_test(weights_that_a_file_lacks_are_told_once),
        cmocka_unit_test(paths_that_lead_nowhere_are_errors),
        cmocka_unit_test(digests_depend_on_every_byte_and_on_no_thread),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
