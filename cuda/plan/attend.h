/* Attention of any operator that has it: ai.onnx's and com.microsoft's describe theirs, and it is computed here. */
#ifndef BERT_CUDA_PLAN_ATTEND_H
#define BERT_CUDA_PLAN_ATTEND_H

#include "cuda/ops/attention.h"
#include "cuda/ops/attention_masks.h"
#include "cuda/plan/plan.h"

/** Q, or K or V of what is new. */
typedef struct bert_cuda_attend_part {
    bert_cuda_heads heads;
    int64_t depth;
    const void *bias; /**< [heads, depth], added to it before anything else. */
    bool has_bias;
    /* Of K and V: [batch, shared, past, depth], then with what is new [batch, shared, keys, depth]. */
    const void *past;
    void *present;
    bool gives_present;
} bert_cuda_attend_part;

/** Filled from dimensions alone while a node is bound: pointers are NULL then. */
typedef struct bert_cuda_attend {
    bert_dtype dtype; /**< Of all but masks. */
    int64_t batch, heads;
    int64_t shared;                /**< Heads of K and V. */
    int64_t queries, past, keys;   /**< keys: those of the past, then what is new. */
    bert_cuda_attend_part q, k, v; /**< v.depth is that of y. */
    float scale, softcap;
    bert_cuda_attention_masks_args
        masks;         /**< bias: also where no others are. Its batch ... keys are those of `bias`. */
    bool builds_masks; /**< There is more than a bias that the kernel takes as it is. */
    bool has_bias;
    void *y;
    int64_t y_batch, y_head, y_row;
    void *scores; /**< NULL: nobody asks. */
    bert_cuda_scores form;
} bert_cuda_attend;

/** Heads side by side in rows of `row` elements [batch, rows, row], from element `first` on. */
bert_cuda_heads bert_cuda_heads_in_rows(const bert_tensor *tensor, int64_t rows, int64_t row, int64_t depth,
                                        int64_t first);
/** [batch, heads, rows, depth] */
bert_cuda_heads bert_cuda_heads_apart(const bert_tensor *tensor);

/** Strides of a bias or mask that broadcasts to the scores [sequence, head, query, key]; 0 where it is broadcast. */
void bert_cuda_attend_strides(const bert_tensor *tensor, int64_t strides[4]);
/** The node's scale, or 1 / sqrt(head size) where it is `unset`, NaN or absent. */
float bert_cuda_attend_scale(const bert_op_node *node, float unset, int64_t depth);

/** A bias, or a mask of bool, of rank 1 to 4 that broadcasts to the scores; its last dimension may be shorter. */
void bert_cuda_attend_bias(bert_cuda_attend *attend, const bert_tensor *bias);
/** com.microsoft's mask in its forms (core/graph/ops/attention_masks.h). */
void bert_cuda_attend_mask(bert_cuda_attend *attend, const bert_tensor *mask, float filter);
/** Keys after the query get `after`. */
void bert_cuda_attend_causal(bert_cuda_attend *attend, float after);

bert_status bert_cuda_attend_reserve(const bert_cuda_planner *planner, const bert_cuda_attend *attend);
/** `workspace`: what is left of the call's, in the order in which it was reserved. */
bert_status bert_cuda_attend_run(const bert_cuda_call *call, const bert_cuda_attend *attend, void **workspace);

#endif
