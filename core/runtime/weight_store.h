/* The store of packed weights that a backend is lent while it prepares a model: a file to take them from, or a list. */
#ifndef BERT_RUNTIME_WEIGHT_STORE_H
#define BERT_RUNTIME_WEIGHT_STORE_H

#include "core/runtime/model.h"
#include "core/runtime/packed_file.h"

/** Where packed weights come from and are noted. Any thread once a session may use it. */
typedef struct bert_model_store {
    bert_weight_store base; /**< What the backend sees: see bert_model_store_init. */
    const bert_model *model;
    bert_packed_file *file;    /**< To find weights in; NULL: none are found. Closed with the store. */
    bert_thread_pool *threads; /**< To check digests with; NULL outside of preparing. */
    bool recording;            /**< Note what gets packed, in `weights`. */
    pthread_mutex_t mutex;
    bert_packed_weight_bytes *weights; /**< Good as long as the prepared model. */
    size_t count, capacity;
    bool incomplete; /**< A note found no memory. */
    bool damaged;    /**< A digest was wrong: nothing is found any more. */
    bool missed;     /**< The file lacked a weight in the layout that was wanted, which was said. */
} bert_model_store;

bert_status bert_model_store_init(bert_model_store *store, const bert_model *model, bert_error *error);
/** After the prepared model. */
void bert_model_store_free(bert_model_store *store);

#endif
