/* Every elementwise operator of the op table, with broadcasting: one kernel, a code for what it computes. */
#ifndef BERT_CUDA_OPS_ELEMENTWISE_H
#define BERT_CUDA_OPS_ELEMENTWISE_H

#include "cuda/ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Named as the operators are. Types: those that the op table allows; where not said, y has the type of the inputs. */
typedef enum bert_cuda_elementwise_op {
    /* Of one tensor. */
    BERT_CUDA_ABS,
    BERT_CUDA_CEIL,
    BERT_CUDA_COS,
    BERT_CUDA_ERF,
    BERT_CUDA_EXP,
    BERT_CUDA_FLOOR,
    BERT_CUDA_GELU_OF, /**< erf */
    BERT_CUDA_GELU_TANH_OF,
    BERT_CUDA_QUICK_GELU_OF, /**< parameter[0]: alpha */
    BERT_CUDA_LOG,
    BERT_CUDA_MISH,
    BERT_CUDA_NEG,
    BERT_CUDA_RECIPROCAL,
    BERT_CUDA_RELU_OF,
    BERT_CUDA_ROUND,
    BERT_CUDA_SIGMOID,
    BERT_CUDA_SIGN,
    BERT_CUDA_SIN,
    BERT_CUDA_SOFTPLUS,
    BERT_CUDA_SQRT,
    BERT_CUDA_TANH_OF,
    BERT_CUDA_NOT,
    BERT_CUDA_IS_NAN, /**< y is bool */
    BERT_CUDA_IS_INF, /**< y is bool; parameter[0], [1]: whether negative, positive ones count */
    BERT_CUDA_CAST,   /**< Any types. */
    /* Of two. */
    BERT_CUDA_ADD,
    BERT_CUDA_SUB,
    BERT_CUDA_MUL,
    BERT_CUDA_DIV, /**< An integer divided by 0 gives 0; `bad` is set to 1. */
    BERT_CUDA_MOD, /**< The sign of the divisor; with parameter[0] not 0 that of the dividend. `bad` as above. */
    BERT_CUDA_MIN,
    BERT_CUDA_MAX,
    BERT_CUDA_POW,   /**< The power may have another type. */
    BERT_CUDA_EQUAL, /**< y is bool, here and in what follows */
    BERT_CUDA_GREATER,
    BERT_CUDA_GREATER_OR_EQUAL,
    BERT_CUDA_LESS,
    BERT_CUDA_LESS_OR_EQUAL,
    BERT_CUDA_AND,
    BERT_CUDA_OR,
    BERT_CUDA_XOR,
    /* Of two or three. */
    BERT_CUDA_BIAS_GELU,      /**< gelu(a + b), erf; b may be absent */
    BERT_CUDA_BIAS_GELU_TANH, /**< The tanh form, com.microsoft's FastGelu. */
    BERT_CUDA_WHERE,          /**< condition (bool), x, y */
    BERT_CUDA_CLIP,           /**< x, least, most; absent bounds are absent */
    BERT_CUDA_QUANTIZE,       /**< x float, scale float, zero point of y's type (8 or 16 bits) or absent */
    BERT_CUDA_DEQUANTIZE      /**< x integer, scale float, zero point of x's type or absent; y float */
} bert_cuda_elementwise_op;

/** An input, spread over the shape of y: stride 0 along what is broadcast. Any strides: a blocked scale splits its
 * axis. */
typedef struct bert_cuda_operand {
    const void *data; /**< NULL: absent. */
    bert_dtype dtype;
    int64_t strides[BERT_MAX_RANK];
    /** BERT_BFLOAT16 alone: the lower halves (halves.h) of a tensor that is held in float32; NULL: it is not. Operators
     * whose y is bool, Pow's power, those that quantize, and casts to other than floats of 16 and 32 bits, take the
     * upper ones. */
    const uint16_t *lower;
} bert_cuda_operand;

typedef struct bert_cuda_elementwise_args {
    bert_cuda_elementwise_op op;
    int32_t rank;
    int64_t dims[BERT_MAX_RANK]; /**< Of y. */
    bert_cuda_operand inputs[3];
    bert_dtype dtype;  /**< Of y. */
    void *y;           /**< Dense. May be an input that is as dense and whose elements are of the same size. */
    uint16_t *y_lower; /**< As `lower`, of operators that would read that. */
    float parameter[2];
    int32_t *bad; /**< On the device; NULL: nobody wants to know. */
} bert_cuda_elementwise_args;

/** cudaErrorInvalidValue for types that the operator does not have. */
cudaError_t bert_cuda_elementwise(const bert_cuda_elementwise_args *args, cudaStream_t stream);

/** Strides of a dense tensor that is broadcast to a shape of `rank` dimensions as ONNX does: to the right. Host code.
 */
void bert_cuda_broadcast_strides(int32_t rank, const bert_tensor *tensor, int64_t strides[BERT_MAX_RANK]);

#ifdef __cplusplus
}
#endif
#endif
