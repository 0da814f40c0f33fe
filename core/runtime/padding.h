/* Whether a model's padding can be skipped, for people to see. */
#ifndef BERT_RUNTIME_PADDING_H
#define BERT_RUNTIME_PADDING_H

#include "core/runtime/bind.h"

/**
 * Binds a small batch with padding on the right, of 2 x 8 tokens where the model leaves that open, all outputs wanted.
 * *why: NULL when its padding is skipped, else why not ("node x (Op): ..."), in `arena`. A backend may still have no
 * kernels for it. BERT_OUT_OF_MEMORY.
 */
bert_status bert_padding_check(const bert_model *model, bert_quant_scope scope, bert_arena *arena, const char **why,
                               bert_error *error);

#endif
