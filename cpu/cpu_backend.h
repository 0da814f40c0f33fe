/*
 * The backend "cpu": kernels chosen for the machine's instruction sets, threads from the session's pool, and the host's
 * fallback backend for nodes that it has no kernel for.
 *
 * Environment, read when the device is opened: BERT_CPU_ISA limits the instruction set (see core/base/cpu_features.h);
 * BERT_CPU_GEMM names the GEMM provider for weights, "own", "split" (without AMX in plain C, for tests) or "openblas"
 * (in whose place a deterministic session uses "own"). An unknown or absent one is BERT_UNSUPPORTED.
 */
#ifndef BERT_CPU_CPU_BACKEND_H
#define BERT_CPU_CPU_BACKEND_H

#include <bert/backend.h>

extern const bert_backend bert_cpu_backend;

#endif
