/* Functions of one number that several operators apply: the activations, and those of single operators. */
#ifndef BERT_GRAPH_OPS_ACTIVATION_H
#define BERT_GRAPH_OPS_ACTIVATION_H

#include <stdbool.h>

/** A function of one number. `parameter` is used by those that say so. */
typedef double (*bert_unary_fn)(double x, double parameter);

/** x Phi(x) with the error function. */
double bert_gelu_erf(double x, double unused);
/** 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
double bert_gelu_tanh(double x, double unused);
/** x sigmoid(alpha x) */
double bert_quick_gelu(double x, double alpha);
double bert_sigmoid(double x, double unused);
double bert_relu(double x, double unused);
double bert_identity(double x, double unused);
double bert_tanh(double x, double unused);

/** The function that a canonical Linear's attribute `activation` names, and its parameter; NULL for another name. */
bert_unary_fn bert_activation(const char *name, double *parameter);

#endif
