/* The inside of a bert_session. */
#ifndef BERT_RUNTIME_SESSION_H
#define BERT_RUNTIME_SESSION_H

#include "core/runtime/plan.h"
#include "core/runtime/tokens.h"

struct bert_session {
    bert_model *model; /**< Held. */
    bert_session_options options;
    bert_weights *weights;
    bert_context *context;
    bert_arena memory; /**< The tables below, and names of profiles. */
    /* The request of the call that goes on. */
    bert_tensor *inputs;     /**< By graph input; data is the caller's. */
    bool *given;             /**< By graph input. */
    bool *wanted;            /**< By graph output. */
    bert_tokens tokens;      /**< Real ones, where padding may be skipped or the scope of quantization asks for them. */
    int32_t *output_indices; /**< Graph output of each output that the caller named, in his order. */
    /* Plans. */
    bert_plan **plans;
    size_t plan_count, plan_capacity;
    bert_plan *current; /**< Bound or run last. */
    uint64_t clock;
    /* Memory that all plans share: of the device, and on the host for outputs that the session owns. */
    void *arena;
    size_t arena_bytes;
    void *host_outputs; /**< Only where the device's memory is not the host's. */
    size_t host_output_bytes;
    /* Profile. */
    bert_profile_entry *profile;
    const char **origins; /**< By node id; NULL until a profile needs it. */
};

/** Sorts the caller's inputs into session->inputs and ->given and checks each. `need_data`: a run, not a bind. */
bert_status bert_session_take_inputs(bert_session *session, const bert_named_tensor *inputs, size_t count,
                                     bool need_data, bert_error *error);
/** Finds the named output that was not yet asked for in this call; sets ->wanted and *index_out. */
bert_status bert_session_take_output(bert_session *session, const char *name, int32_t *index_out, bert_error *error);
/** Finds or makes the plan of the request, and makes the arena large enough: session->current. */
bert_status bert_session_find_plan(bert_session *session, bert_error *error);
/** The profile of the plan that ran last. */
bert_status bert_session_describe_profile(bert_session *session, bert_plan *plan, bert_error *error);

#endif
