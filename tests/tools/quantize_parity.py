#!/usr/bin/env python3
"""Holds `bertc quantize` against onnxruntime.quantization.quantize_dynamic, on the bundled model and on a made one.

    quantize_parity.py BERTC

For every kind of weights: the bytes of both files must be equal, ONNX Runtime must load bert.c's file, and must give the same
outputs for it as for its own (so the scales are equal too); bert.c must give them as well, within what a flipped rounding does.
"""
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOLERANCE = 3e-3


def own(bertc, model, out, weights, per_channel):
    subprocess.run([bertc, "quantize", model, out, "--weights", weights] + ["--per-channel"] * per_channel, check=True,
                   capture_output=True)


def theirs(model, out, weights, per_channel):
    quantize_dynamic(onnx.load(model), out, per_channel=per_channel,
                     weight_type=QuantType.QInt8 if weights == "int8" else QuantType.QUInt8,
                     extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})


def quantized_weights(file):
    """(type, shape, bytes) of all constant matrices of bytes, in an order of their own."""
    constants = [numpy_helper.to_array(i) for i in onnx.load(file).graph.initializer]
    return sorted((str(c.dtype), c.shape, c.tobytes()) for c in constants if c.ndim == 2 and c.dtype.itemsize == 1)


def feeds_for(session, random):
    feeds = {}
    for i in session.get_inputs():
        dtype = np.int32 if "int32" in i.type else np.int64
        shape = (3, 17)
        if "mask" in i.name:
            feeds[i.name] = np.ones(shape, dtype)
            feeds[i.name][1, 9:] = 0
        elif "type" in i.name:
            feeds[i.name] = np.zeros(shape, dtype)
        else:
            feeds[i.name] = random.integers(0, 900, shape).astype(dtype)
    return feeds


def run_bertc(bertc, model, feeds, folder):
    command = [bertc, "run", model, "--output-dir", folder]
    for name, value in feeds.items():
        np.save(f"{folder}/{name}.npy", value)
        command += ["--input", f"{name}={folder}/{name}.npy"]
    subprocess.run(command, check=True, capture_output=True)


def compare(bertc, model, weights, per_channel, folder):
    ours, other = f"{folder}/ours.onnx", f"{folder}/other.onnx"
    own(bertc, model, ours, weights, per_channel)
    theirs(model, other, weights, per_channel)
    if quantized_weights(ours) != quantized_weights(other):
        return "the quantized weights differ from ONNX Runtime's"
    sessions = [onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"]) for f in (ours, other)]
    feeds = feeds_for(sessions[0], np.random.default_rng(0))
    outputs = [s.run(None, feeds) for s in sessions]
    run_bertc(bertc, ours, feeds, folder)
    for i, info in enumerate(sessions[0].get_outputs()):
        here = np.load(f"{folder}/{info.name}.npy")
        for what, value in (("ONNX Runtime on its own file", outputs[1][i]), ("bert.c on the same file", here)):
            worst = float(np.abs(outputs[0][i] - value).max())
            if not worst <= TOLERANCE:
                return f"{info.name}: {worst:.1e} between ONNX Runtime on bert.c's file and {what}"
    return None


def main():
    bertc, failed, count = os.path.abspath(sys.argv[1]), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        made = f"{folder}/made.onnx"
        subprocess.run([sys.executable, f"{ROOT}/bench/make_bert.py", made, "--layers", "2", "--hidden", "96", "--heads", "3",
                        "--intermediate", "160", "--vocabulary", "1000"], check=True)
        bundled = f"{ROOT}/models/zh-sentiment"
        models = [made, f"{bundled}/model.onnx", f"{bundled}/model-optimized.onnx"]
        for model, weights, per_channel in itertools.product(models, ("int8", "uint8"), (False, True)):
            wrong = compare(bertc, model, weights, per_channel, folder)
            count += 1
            failed += wrong is not None
            name = f"{os.path.basename(model)}, {weights}{', per channel' if per_channel else ''}"
            print(f"{'FAIL' if wrong else 'ok  '} {name}{': ' + wrong if wrong else ''}")
    print(f"{count - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
