#!/usr/bin/env python3
"""Writes the static INT8 file of a float32 BERT as ONNX Runtime's quantize_static makes it.

    quantize_static.py MODEL.onnx OUT.onnx [--format qdq|qoperator] [--operators MatMul,...] [--vocabulary 20000]

uint8 activations, int8 weights, one scale a tensor; ranges come from two batches of 32 random ids. --operators quantizes
those alone; otherwise all that ONNX Runtime can. Needs numpy and onnxruntime from PyPI.
"""
import argparse
import logging

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

TOKENS, BATCHES = 32, 2


class RandomIds(CalibrationDataReader):
    def __init__(self, vocabulary):
        random = np.random.default_rng(0)
        self.ids = iter([random.integers(0, vocabulary, (1, TOKENS)) for _ in range(BATCHES)])

    def get_next(self):
        ids = next(self.ids, None)
        if ids is None:
            return None
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--format", choices=("qdq", "qoperator"), default="qdq")
    p.add_argument("--operators", type=lambda names: names.split(","))
    p.add_argument("--vocabulary", type=int, default=20000, help="random ids are below this")
    arguments = p.parse_args()
    logging.disable(logging.WARNING)  # advice to preprocess
    form = QuantFormat.QDQ if arguments.format == "qdq" else QuantFormat.QOperator
    quantize_static(arguments.model, arguments.out, RandomIds(arguments.vocabulary), quant_format=form,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    op_types_to_quantize=arguments.operators)


if __name__ == "__main__":
    main()
