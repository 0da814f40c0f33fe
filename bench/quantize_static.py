#!/usr/bin/env python3
"""Writes the static INT8 file of a float32 BERT as ONNX Runtime's quantize_static makes it.

    quantize_static.py MODEL.onnx OUT.onnx [--format qdq|qoperator] [--operators MatMul,...]

uint8 activations, int8 weights, one scale a tensor; ranges come from two batches of 32 random ids. --operators quantizes
those alone; otherwise all that ONNX Runtime can. Needs numpy, onnx and onnxruntime from PyPI.
"""
import argparse
import logging

import numpy as np
import onnx
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


def vocabulary_of(path):
    """Rows of the table that input_ids are looked up in."""
    graph = onnx.load(path, load_external_data=False).graph
    rows = {t.name: t.dims[0] for t in graph.initializer if t.dims}
    for node in graph.node:
        if node.op_type == "Gather" and node.input[1] == "input_ids" and node.input[0] in rows:
            return rows[node.input[0]]
    raise SystemExit(f"{path}: no Gather looks input_ids up in a table")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--format", choices=("qdq", "qoperator"), default="qdq")
    p.add_argument("--operators", type=lambda names: names.split(","))
    arguments = p.parse_args()
    logging.disable(logging.WARNING)  # advice to preprocess
    form = QuantFormat.QDQ if arguments.format == "qdq" else QuantFormat.QOperator
    quantize_static(arguments.model, arguments.out, RandomIds(vocabulary_of(arguments.model)), quant_format=form,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    op_types_to_quantize=arguments.operators)


if __name__ == "__main__":
    main()
