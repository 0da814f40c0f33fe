#include "core/runtime/weight_store.h"

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"

#include <string.h>

static const void *find(const bert_weight_store *base, const char *layout, const bert_constant *const *constants,
                        int32_t count, size_t bytes) {
    bert_model_store *store = (bert_model_store *)base; /* its first member */
    if (!store->file) return NULL;
    pthread_mutex_lock(&store->mutex);
    const void *data = NULL;
    if (!store->damaged) {
        bert_error error;
        const uint64_t key = bert_packed_key(store->model->graph, layout, constants, count);
        if (bert_packed_file_find(store->file, key, bytes, store->threads, &data, &error) != BERT_OK) {
            store->damaged = true;
            bert_log_write(&store->model->log, BERT_LOG_NOTICE, "%s; weights are packed anew", error.message);
        } else if (!data && !store->missed) {
            store->missed = true; /* what BERT_CPU_GEMM names has layouts of its own, for one */
            bert_log_write(&store->model->log, BERT_LOG_NOTICE,
                           "the file of packed weights lacks some in the layout that is wanted here; they are packed "
                           "anew");
        }
    }
    pthread_mutex_unlock(&store->mutex);
    return data;
}

/* Room for one more; false when there is no memory. */
static bool grow(bert_model_store *store) {
    if (store->count < store->capacity) return true;
    const size_t capacity = store->capacity ? 2 * store->capacity : 64;
    const bert_allocator *allocator = &store->model->allocator;
    bert_packed_weight_bytes *weights =
        bert_allocate(allocator, capacity * sizeof *weights, _Alignof(bert_packed_weight_bytes));
    if (!weights) return false;
    if (store->count) memcpy(weights, store->weights, store->count * sizeof *weights);
    bert_deallocate(allocator, store->weights, store->capacity * sizeof *weights, _Alignof(bert_packed_weight_bytes));
    store->weights = weights;
    store->capacity = capacity;
    return true;
}

static void packed(const bert_weight_store *base, const char *layout, const bert_constant *const *constants,
                   int32_t count, const void *data, size_t bytes) {
    bert_model_store *store = (bert_model_store *)base;
    if (!store->recording || bytes == 0) return;
    pthread_mutex_lock(&store->mutex);
    if (grow(store)) {
        const uint64_t key = bert_packed_key(store->model->graph, layout, constants, count);
        store->weights[store->count++] = (bert_packed_weight_bytes){.key = key, .data = data, .bytes = bytes};
    } else {
        store->incomplete = true;
    }
    pthread_mutex_unlock(&store->mutex);
}

bert_status bert_model_store_init(bert_model_store *store, const bert_model *model, bert_error *error) {
    *store = (bert_model_store){.base = {.find = find, .packed = packed}, .model = model};
    if (pthread_mutex_init(&store->mutex, NULL) == 0) return BERT_OK;
    return bert_fail(error, BERT_OUT_OF_MEMORY, "could not make the lock of packed weights");
}

void bert_model_store_free(bert_model_store *store) {
    bert_packed_file_close(store->file);
    bert_deallocate(&store->model->allocator, store->weights, store->capacity * sizeof *store->weights,
                    _Alignof(bert_packed_weight_bytes));
    pthread_mutex_destroy(&store->mutex);
}
