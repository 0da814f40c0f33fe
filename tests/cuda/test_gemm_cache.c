/* cuda/gemm_cache: the table of choices and its file. */
#include "core/base/memory.h"
#include "cuda/gemm_cache.h"
#include "tests/support/scarce_memory.h"
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char identity[] = "a GPU, sm_90, 132 multiprocessors; cublasLt 130100";
static char folder[] = "/tmp/bertc-gemm-XXXXXX", path[64];

static int make_folder(void **state) {
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/choices", folder);
    return 0;
}

static int remove_folder(void **state) {
    unlink(path);
    return rmdir(folder); /* fails, and the group with it, when a temporary file was left */
}

static bert_cuda_gemm_key key_of(int64_t i) {
    return (bert_cuda_gemm_key){.kind = (int32_t)(i % 7),
                                .flags = (uint32_t)i % 3,
                                .alignment = 16,
                                .rows = 1 + i % 5,
                                .n = 768 + i,
                                .k = 3072,
                                .batch = 1};
}

static bert_cuda_gemm_choice choice_of(int64_t i) {
    bert_cuda_gemm_choice choice = {.way = (int32_t)(i % 5), .nanoseconds = 1000 * i};
    for (uint64_t w = 0; w < 8; w++) choice.words[w] = UINT64_MAX / (w + 1) - (uint64_t)i;
    return choice;
}

static bert_cuda_gemm_cache *open_cache(const char *file, const char *whose, const char *expected) {
    char notice[1024] = "untouched";
    bert_cuda_gemm_cache *cache =
        bert_cuda_gemm_cache_create(&bert_default_allocator, file, whose, notice, sizeof notice);
    assert_non_null(cache);
    if (!*expected)
        assert_string_equal(notice, "");
    else if (!strstr(notice, expected))
        fail_msg("'%s' is not in '%s'", expected, notice);
    return cache;
}

static void add(bert_cuda_gemm_cache *cache, int64_t i) {
    const bert_cuda_gemm_key key = key_of(i);
    const bert_cuda_gemm_choice choice = choice_of(i);
    assert_true(bert_cuda_gemm_cache_add(cache, &key, &choice));
}

static bool has(bert_cuda_gemm_cache *cache, int64_t i) {
    const bert_cuda_gemm_key key = key_of(i);
    const bert_cuda_gemm_choice expected = choice_of(i);
    bert_cuda_gemm_choice found = {0};
    if (!bert_cuda_gemm_cache_find(cache, &key, &found)) return false;
    assert_memory_equal(found.words, expected.words, sizeof found.words);
    assert_int_equal(found.way, expected.way);
    assert_int_equal(found.nanoseconds, expected.nanoseconds);
    return true;
}

static void save(bert_cuda_gemm_cache *cache) {
    char notice[1024] = "untouched";
    assert_true(bert_cuda_gemm_cache_save(cache, notice, sizeof notice));
    assert_string_equal(notice, "");
}

/* A file with `count` choices, and nothing else at its path. */
static void write_choices(int64_t count) {
    unlink(path);
    bert_cuda_gemm_cache *cache = open_cache(path, identity, "");
    for (int64_t i = 0; i < count; i++) add(cache, i * 7 % count);
    save(cache);
    bert_cuda_gemm_cache_free(cache);
}

static char *read_text(size_t *size) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = malloc(1 << 20);
    *size = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

static void write_text(const char *text, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static void buckets_hold_every_number_once(void **state) {
    int64_t before = 0, buckets = 0;
    for (int64_t rows = 1; rows <= 4096; rows++) {
        const int64_t bucket = bert_cuda_gemm_bucket(rows);
        assert_true(bucket >= rows && bucket >= before && 4 * bucket < 5 * rows + 4);
        assert_int_equal(bert_cuda_gemm_bucket(bucket), bucket);
        if (rows <= 8) assert_int_equal(bucket, rows);
        buckets += bucket != before;
        before = bucket;
    }
    assert_int_equal(buckets, 8 + 9 * 4);
}

static void choices_survive_a_file(void **state) {
    write_choices(100);
    bert_cuda_gemm_cache *cache = open_cache(path, identity, "");
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 100);
    for (int64_t i = 0; i < 100; i++) assert_true(has(cache, i));
    assert_false(has(cache, 100));
    /* An earlier choice is replaced, in memory and in the file. */
    const bert_cuda_gemm_key key = key_of(3);
    bert_cuda_gemm_choice choice = choice_of(500);
    assert_true(bert_cuda_gemm_cache_add(cache, &key, &choice));
    save(cache);
    bert_cuda_gemm_cache_free(cache);
    cache = open_cache(path, identity, "");
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 100);
    assert_true(bert_cuda_gemm_cache_find(cache, &key, &choice));
    assert_int_equal(choice.nanoseconds, 500000);
    bert_cuda_gemm_cache_free(cache);
}

static void keys_differ_in_every_field(void **state) {
    bert_cuda_gemm_cache *cache = open_cache(NULL, identity, "");
    add(cache, 1);
    for (int field = 0; field < 7; field++) {
        bert_cuda_gemm_key key = key_of(1);
        bert_cuda_gemm_choice choice;
        if (field == 0) key.kind++;
        if (field == 1) key.flags ^= 16;
        if (field == 2) key.alignment = 8;
        if (field == 3) key.rows++;
        if (field == 4) key.n++;
        if (field == 5) key.k--;
        if (field == 6) key.batch = 12;
        assert_false(bert_cuda_gemm_cache_find(cache, &key, &choice));
    }
    assert_true(has(cache, 1));
    save(cache); /* nowhere */
    bert_cuda_gemm_cache_free(cache);
}

/* Any byte that is changed, and any end that is missing, is noticed; what is written afterwards is whole. */
static void damage_is_noticed(void **state) {
    size_t size;
    write_choices(5);
    char *text = read_text(&size);
    for (size_t at = 0; at < size; at++) {
        text[at] ^= 1;
        write_text(text, size);
        text[at] ^= 1;
        bert_cuda_gemm_cache *cache = open_cache(path, identity, "it is ignored");
        assert_int_equal(bert_cuda_gemm_cache_count(cache), 0);
        bert_cuda_gemm_cache_free(cache);
    }
    for (size_t length = 0; length < size; length++) {
        write_text(text, length);
        bert_cuda_gemm_cache *cache = open_cache(path, identity, "it is ignored");
        assert_int_equal(bert_cuda_gemm_cache_count(cache), 0);
        bert_cuda_gemm_cache_free(cache);
    }
    text[size] = 'x'; /* and what comes after the end */
    write_text(text, size + 1);
    bert_cuda_gemm_cache *cache = open_cache(path, identity, "it is ignored");
    add(cache, 9);
    save(cache);
    bert_cuda_gemm_cache_free(cache);
    cache = open_cache(path, identity, "");
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 1);
    assert_true(has(cache, 9));
    bert_cuda_gemm_cache_free(cache);
    free(text);
}

static void what_is_for_another_is_ignored(void **state) {
    write_choices(5);
    bert_cuda_gemm_cache *cache = open_cache(path, "another GPU; cublasLt 130100", "is for 'a GPU, sm_90");
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 0);
    save(cache); /* nothing to save: the file stays */
    bert_cuda_gemm_cache_free(cache);
    cache = open_cache(path, identity, "");
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 5);
    bert_cuda_gemm_cache_free(cache);
    const char later[] = "bert.c GEMM choices, format 3\nsomething\n";
    write_text(later, sizeof later - 1);
    bert_cuda_gemm_cache_free(open_cache(path, identity, "of another version"));
    bert_cuda_gemm_cache_free(open_cache(folder, identity, "is not a regular file"));
    bert_cuda_gemm_cache_free(open_cache("/nonexistent/choices", identity, ""));
}

/* A path that was mistaken costs nobody a file. */
static void what_is_something_else_stays(void **state) {
    static const char model[] = "some weights, not ours to write over, nor to read";
    size_t size;
    write_text(model, sizeof model);
    bert_cuda_gemm_cache *cache = open_cache(path, identity, "is no file of GEMM choices");
    add(cache, 1);
    save(cache);
    bert_cuda_gemm_cache_free(cache);
    char *text = read_text(&size);
    assert_int_equal(size, sizeof model);
    assert_memory_equal(text, model, size);
    free(text);
    write_text("", 0); /* nothing at all may be filled */
    cache = open_cache(path, identity, "another version");
    add(cache, 1);
    save(cache);
    bert_cuda_gemm_cache_free(cache);
    cache = open_cache(path, identity, "");
    assert_true(has(cache, 1));
    bert_cuda_gemm_cache_free(cache);
}

/* Opens a cache at what is no file of choices, adds to it, and saves. */
static void use_as_choices(const char *expected) {
    bert_cuda_gemm_cache *cache = open_cache(path, identity, expected);
    add(cache, 1);
    save(cache);
    assert_true(has(cache, 1));
    bert_cuda_gemm_cache_free(cache);
}

/* What can't be read may be anything. */
static void what_is_not_read_stays(void **state) {
    struct stat about;
    const off_t large = 20000000;
    unlink(path);
    assert_int_equal(mkfifo(path, 0644), 0); /* with nobody at its other end */
    use_as_choices("is not a regular file: it is left as it is");
    assert_int_equal(lstat(path, &about), 0);
    assert_true(S_ISFIFO(about.st_mode));
    unlink(path);
    write_text("", 0);
    assert_int_equal(truncate(path, large), 0);
    use_as_choices("is too large for a file of GEMM choices: it is left as it is");
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, large);
    unlink(path);
}

static void what_became_something_else_stays(void **state) {
    static const char other[] = "a file that came here after the cache was opened";
    char notice[1024] = "";
    size_t size;
    unlink(path);
    bert_cuda_gemm_cache *cache = open_cache(path, identity, "");
    add(cache, 1);
    write_text(other, sizeof other);
    assert_false(bert_cuda_gemm_cache_save(cache, notice, sizeof notice));
    assert_non_null(strstr(notice, "is no file of GEMM choices"));
    bert_cuda_gemm_cache_free(cache);
    char *text = read_text(&size);
    assert_int_equal(size, sizeof other);
    free(text);
}

static void a_link_stays_a_link(void **state) {
    struct stat about;
    char link[96];
    snprintf(link, sizeof link, "%s.link", path);
    write_choices(2);
    assert_int_equal(symlink(path, link), 0);
    bert_cuda_gemm_cache *cache = open_cache(link, identity, "");
    add(cache, 1000);
    save(cache);
    bert_cuda_gemm_cache_free(cache);
    assert_int_equal(lstat(link, &about), 0);
    assert_true(S_ISLNK(about.st_mode));
    unlink(link);
    cache = open_cache(path, identity, "");
    assert_true(has(cache, 1) && has(cache, 1000));
    bert_cuda_gemm_cache_free(cache);
}

static void lines_of_an_identity_are_joined(void **state) {
    unlink(path);
    bert_cuda_gemm_cache *cache = open_cache(path, "a GPU\nend 0", "");
    add(cache, 1);
    save(cache);
    bert_cuda_gemm_cache_free(cache);
    cache = open_cache(path, "a GPU\nend 0", "");
    assert_true(has(cache, 1));
    bert_cuda_gemm_cache_free(cache);
}

static void a_file_that_cannot_be_written_is_noticed(void **state) {
    char notice[1024] = "";
    bert_cuda_gemm_cache *cache = open_cache("/nonexistent/choices", identity, "");
    add(cache, 1);
    assert_false(bert_cuda_gemm_cache_save(cache, notice, sizeof notice));
    assert_non_null(strstr(notice, "/nonexistent/choices: No such file or directory"));
    assert_true(has(cache, 1));
    bert_cuda_gemm_cache_free(cache);
}

static void two_caches_keep_each_others_choices(void **state) {
    write_choices(1);
    bert_cuda_gemm_cache *one = open_cache(path, identity, ""), *other = open_cache(path, identity, "");
    add(one, 10);
    add(other, 20);
    const uint64_t ones = bert_cuda_gemm_cache_revision(one), others = bert_cuda_gemm_cache_revision(other);
    save(one);
    assert_int_equal(bert_cuda_gemm_cache_revision(one), ones); /* nothing new came of it */
    save(other);
    assert_int_not_equal(bert_cuda_gemm_cache_revision(other), others);
    bert_cuda_gemm_cache_free(one);
    bert_cuda_gemm_cache_free(other);
    one = open_cache(path, identity, "");
    assert_true(has(one, 0) && has(one, 10) && has(one, 20));
    bert_cuda_gemm_cache_free(one);
}

static void write_many(int64_t from) {
    char notice[1024];
    for (int64_t i = from; i < from + 40; i++) {
        bert_cuda_gemm_cache *cache =
            bert_cuda_gemm_cache_create(&bert_default_allocator, path, identity, notice, sizeof notice);
        const bert_cuda_gemm_key key = key_of(i);
        const bert_cuda_gemm_choice choice = choice_of(i);
        if (!cache || *notice) _exit(1); /* half a file was seen */
        if (!bert_cuda_gemm_cache_add(cache, &key, &choice) || !bert_cuda_gemm_cache_save(cache, notice, sizeof notice))
            _exit(2);
        bert_cuda_gemm_cache_free(cache);
    }
    _exit(0);
}

/* Processes that write at a time: each sees whole files, and the last one stays. */
static void writers_at_a_time_leave_whole_files(void **state) {
    unlink(path);
    for (int64_t i = 0; i < 4; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) write_many(1000 * i);
    }
    for (int i = 0; i < 4; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    bert_cuda_gemm_cache *cache = open_cache(path, identity, "");
    assert_true(bert_cuda_gemm_cache_count(cache) > 0);
    bert_cuda_gemm_cache_free(cache);
}

static void *add_and_look(void *shared) {
    for (int64_t i = 0; i < 500; i++) {
        const bert_cuda_gemm_key key = key_of(i);
        bert_cuda_gemm_choice choice = choice_of(i);
        bert_cuda_gemm_cache_add(shared, &key, &choice);
        if (!bert_cuda_gemm_cache_find(shared, &key, &choice)) return shared;
    }
    return NULL;
}

static void threads_share_a_cache(void **state) {
    bert_cuda_gemm_cache *cache = open_cache(NULL, identity, "");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, add_and_look, cache), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(bert_cuda_gemm_cache_count(cache), 500);
    bert_cuda_gemm_cache_free(cache);
}

/* Wherever memory runs out: no crash, nothing lost but what had no room, nothing left behind. */
static void memory_may_run_out(void **state) {
    bool ran_out = true;
    for (size_t fail = 0; ran_out; fail++) {
        char notice[1024];
        scarce_memory memory = {.fail_from = fail, .fail_to = fail + 1};
        const bert_allocator allocator = scarce_allocator(&memory);
        const bert_cuda_gemm_key key = key_of(200);
        const bert_cuda_gemm_choice choice = choice_of(200);
        write_choices(100);
        bert_cuda_gemm_cache *cache = bert_cuda_gemm_cache_create(&allocator, path, identity, notice, sizeof notice);
        if (cache && bert_cuda_gemm_cache_add(cache, &key, &choice)) {
            const bool saved = bert_cuda_gemm_cache_save(cache, notice, sizeof notice);
            assert_int_equal(saved, *notice == 0);
            assert_true(has(cache, 200));
        }
        bert_cuda_gemm_cache_free(cache);
        assert_int_equal(memory.live, 0);
        ran_out = memory.allocations > fail;
    }
}

static void the_environment_names_the_file(void **state) {
    char out[32];
    unsetenv("BERT_CUDA_GEMM_CACHE");
    assert_false(bert_cuda_gemm_cache_path(NULL, out, sizeof out));
    assert_true(bert_cuda_gemm_cache_path("model.onnx", out, sizeof out));
    assert_string_equal(out, "model.onnx.gemm");
    assert_false(bert_cuda_gemm_cache_path("a path that is longer than there is room for.onnx", out, sizeof out));
    assert_string_equal(out, "");
    setenv("BERT_CUDA_GEMM_CACHE", "/somewhere", 1);
    assert_true(bert_cuda_gemm_cache_path("model.onnx", out, sizeof out));
    assert_string_equal(out, "/somewhere");
    setenv("BERT_CUDA_GEMM_CACHE", "off", 1);
    assert_false(bert_cuda_gemm_cache_path("model.onnx", out, sizeof out));
    unsetenv("BERT_CUDA_GEMM_CACHE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_hold_every_number_once),
        cmocka_unit_test(choices_survive_a_file),
        cmocka_unit_test(keys_differ_in_every_field),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(what_is_for_another_is_ignored),
        cmocka_unit_test(what_is_something_else_stays),
        cmocka_unit_test(what_is_not_read_stays),
        cmocka_unit_test(what_became_something_else_stays),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(lines_of_an_identity_are_joined),
        cmocka_unit_test(a_file_that_cannot_be_written_is_noticed),
        cmocka_unit_test(two_caches_keep_each_others_choices),
        cmocka_unit_test(writers_at_a_time_leave_whole_files),
        cmocka_unit_test(threads_share_a_cache),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(the_environment_names_the_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
