#!/usr/bin/env python3
"""Holds files that onnxruntime.quantization.quantize_static writes against ONNX Runtime, of the bundled model and of a made one.

    static_parity.py BERTC

In both formats, QDQ and QOperator, with activations and weights of int8 and uint8, per tensor and per channel, of all
operators and of MatMul alone. ONNX Runtime runs them without its optimizations, operator by operator; what is left of
differences are roundings that a last bit flips: at most a few steps of a scale over the logits, and a quarter of what
quantization itself does to them.
"""
import itertools
import logging
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from quantize_parity import ROOT, feeds_for, run_bertc

BUNDLED = f"{ROOT}/models/zh-sentiment/model.onnx"  # opset 11, which has one scale a tensor
STEPS = 4


class Calibration(CalibrationDataReader):
    def __init__(self, session):
        random = np.random.default_rng(1)
        self.feeds = iter([feeds_for(session, random) for _ in range(2)])

    def get_next(self):
        return next(self.feeds, None)


def session_of(file):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def compare(bertc, model, form, activations, weights, per_channel, operators, folder):
    """How far bert.c is from ONNX Runtime, and that from the model, in steps of a scale over the logits."""
    file, original = f"{folder}/static.onnx", session_of(model)
    quantize_static(model, file, Calibration(original), quant_format=form, activation_type=activations,
                    weight_type=weights, per_channel=per_channel, op_types_to_quantize=operators)
    session = session_of(file)
    feeds = feeds_for(session, np.random.default_rng(0))
    theirs = session.run(None, feeds)[0]
    run_bertc(bertc, file, feeds, folder)
    ours = np.load(f"{folder}/{session.get_outputs()[0].name}.npy")
    floats = original.run(None, feeds)[0]
    step = (floats.max() - floats.min()) / 255
    return np.abs(ours - theirs).max() / step, np.abs(theirs - floats).max() / step


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    bertc, failed, count = os.path.abspath(sys.argv[1]), 0, 0
    logging.disable(logging.WARNING)  # advice to preprocess
    types = (QuantType.QUInt8, QuantType.QInt8)
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/made.onnx"
        subprocess.run([sys.executable, f"{ROOT}/bench/make_bert.py", made, "--layers", "2", "--hidden", "96", "--heads", "3",
                        "--intermediate", "160", "--vocabulary", "1000"], check=True)
        for model, form, activations, weights, per_channel, operators in itertools.product(
                (BUNDLED, made), (QuantFormat.QDQ, QuantFormat.QOperator), types, types, (False, True),
                (None, ["MatMul"])):
            if per_channel and (weights == QuantType.QUInt8 or model == BUNDLED):
                continue
            if (activations, weights) == (QuantType.QInt8, QuantType.QUInt8):
                continue  # which ONNX Runtime doesn't have
            worst, moved = compare(bertc, model, form, activations, weights, per_channel, operators, folder)
            good = worst <= min(STEPS, moved / 4)
            failed += not good
            count += 1
            print(f"{'ok  ' if good else 'FAIL'} {os.path.basename(model)}, {form.name}, {activations.name}, {weights.name}"
                  f"{', per channel' if per_channel else ''}{', MatMul alone' if operators else ''}: {worst:.2f} steps; "
                  f"quantization itself moves answers by {moved:.1f}")
    print(f"{count - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
