/* Time by kernel. */
#include "core/base/error.h"
#include "core/runtime/session.h"

#include <string.h>

/* Names of the nodes of the file that a node stands for, with spaces between. */
static const char *join_origins(bert_arena *memory, const bert_node *node) {
    size_t length = 1;
    for (uint32_t i = 0; i < node->origin_count; i++) length += strlen(node->origins[i]->name) + 1;
    char *text = bert_arena_allocate(memory, length, 1), *at = text;
    if (!text) return NULL;
    for (uint32_t i = 0; i < node->origin_count; i++) {
        size_t part = strlen(node->origins[i]->name);
        if (i) *at++ = ' ';
        memcpy(at, node->origins[i]->name, part);
        at += part;
    }
    return text; /* the arena's memory is zeroed */
}

/* What a profile of this plan needs, so that asking for it allocates nothing. */
bert_status bert_session_describe_profile(bert_session *session, bert_plan *plan, bert_error *error) {
    size_t nodes = session->model->graph->next_node_id;
    if (!session->origins) {
        session->origins = BERT_ARENA_NEW_ARRAY(&session->memory, const char *, nodes);
        session->profile = BERT_ARENA_NEW_ARRAY(&session->memory, bert_profile_entry, nodes);
    }
    if (!session->origins || !session->profile) {
        return bert_fail_memory(error, nodes * sizeof(bert_profile_entry), "the profile");
    }
    for (size_t s = 0; s < plan->step_count; s++) {
        const bert_node *node = plan->steps[s].node;
        if (session->origins[node->id]) continue;
        session->origins[node->id] = join_origins(&session->memory, node);
        if (!session->origins[node->id]) return bert_fail_memory(error, 1, "the profile");
    }
    return BERT_OK;
}

const bert_profile_entry *bert_session_profile(const bert_session *session, size_t *count_out) {
    const bert_plan *plan = session->current;
    *count_out = 0;
    if (!session->options.profile || !plan) return NULL;
    for (size_t s = 0; s < plan->step_count; s++) {
        const bert_plan_step *step = &plan->steps[s];
        session->profile[s] = (bert_profile_entry){.node = bert_node_label(step->node),
                                                   .op_type = step->node->op->name,
                                                   .kernel = step->plan.kernel,
                                                   .origins = session->origins[step->node->id],
                                                   .runs = step->runs,
                                                   .nanoseconds = step->nanoseconds,
                                                   .flops = step->flops};
    }
    *count_out = plan->step_count;
    return session->profile;
}

void bert_session_reset_profile(bert_session *session) {
    for (size_t i = 0; i < session->plan_count; i++) {
        bert_plan *plan = session->plans[i];
        for (size_t s = 0; s < plan->step_count; s++) plan->steps[s].nanoseconds = plan->steps[s].runs = 0;
    }
}
