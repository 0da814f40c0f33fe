/* What rewrites of a binding (token_rows.h, late_norms.h) are made with. */
#ifndef BERT_RUNTIME_BINDING_EDIT_H
#define BERT_RUNTIME_BINDING_EDIT_H

#include "core/runtime/bind.h"

/**
 * A binding like `from`, with room in its arrays for `more` values and for `steps` steps, of which it has none yet. Its
 * row_axes are -1 where `from` has none. Arrays lie in `scratch`. False when memory runs out.
 */
bool bert_binding_copy(const bert_binding *from, uint32_t more, size_t steps, bert_arena *scratch, bert_binding *out);

/** A new value of a binding that has room for it, its own root. NULL when memory runs out, or the room. */
bert_value *bert_binding_add_value(bert_binding *binding, bert_arena *memory, const char *name,
                                   const bert_value_info *info, int8_t row_axis);

/** A node like `like`, with inputs and outputs of its own: as many as these, which are like's as far as it has so many.
 * NULL when memory runs out. */
bert_node *bert_node_copy(bert_arena *arena, const bert_node *like, int32_t input_count, int32_t output_count);

/** Gives a copied node one more attribute. False when memory runs out. */
bool bert_node_add_attribute(bert_arena *arena, bert_node *node, const bert_attribute *attribute);

#endif
