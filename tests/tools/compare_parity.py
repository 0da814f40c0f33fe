#!/usr/bin/env python3
"""Holds every tensor inside models against ONNX Runtime's, live, by way of `bertc compare`.

    pip install -r tests/tools/requirements.txt
    python tests/tools/compare_parity.py build/release/cli/bertc                 # the models of tests/data/graphs
    python tests/tools/compare_parity.py build/release/cli/bertc MODEL.onnx ...  # models of your own

Every model is recorded by tests/tools/dump_onnxruntime.py, unoptimized, and has to compare clean. Then one weight of a product of it
is changed by hand, and `bertc compare` has to name the node that reads the weight as the first to diverge. Exits with 1 otherwise.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

import dump_onnxruntime

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def compare(bertc, model, case, options):
    done = subprocess.run([bertc, "compare", model, case, "--format", "json", *options], capture_output=True, text=True)
    if not done.stdout:
        raise ValueError(done.stderr.strip())
    return done.returncode, json.loads(done.stdout)


def tolerances(model):
    """Integers and what comes of them may be off by a rounding; float16 is rounded by every operator."""
    types = {i.data_type for i in model.graph.initializer}
    if types & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}:
        return ["--rtol", "1e-2", "--atol", "3"]
    return ["--rtol", "1e-2", "--atol", "1e-2"] if onnx.TensorProto.FLOAT16 in types else []


def change_weight(model):
    """Adds to the middle of a float weight of the middle one of the graph's products; returns the node."""
    weights = {i.name: i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT and len(i.dims) == 2}
    readers = [n for n in model.graph.node if n.op_type in ("MatMul", "Gemm", "FusedGemm", "Attention")
               and any(name in weights for name in n.input[1:2])]
    if not readers:
        return None
    node = readers[len(readers) // 2]
    tensor = weights[node.input[1]]
    values = numpy_helper.to_array(tensor).copy()
    values[values.shape[0] // 2] += 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    # A weight that others read as well diverges where the first of them stands.
    return next(n for n in model.graph.node if tensor.name in n.input)


def check(bertc, path, folder):
    case = os.path.join(folder, "case")
    count = dump_onnxruntime.dump(path, case, sizes={0: 2, 1: 9}, seed=5)
    model = onnx.load(path)
    options = tolerances(model)
    for passes in ([], ["--no-passes"]):
        code, answer = compare(bertc, path, case, options + passes)
        if code or answer["diverging"] or answer["compared"] + answer["missing"] != count:
            raise ValueError(f"unchanged, {answer['first']} diverges first: {json.dumps(answer['tensors'][:1])}")
    node = change_weight(model)
    if node is None:
        return f"{answer['compared']} of {count} tensors agree"
    changed = os.path.join(folder, "changed.onnx")
    onnx.save(model, changed)
    code, answer = compare(bertc, changed, case, options)
    if code != 1 or answer["first"] not in node.output or answer["suspects"][0]["node"] not in (node.name, *node.output):
        raise ValueError(f"changed at {node.name}, the first to diverge is said to be {answer['first']}")
    return f"{answer['compared']} of {count} tensors agree; changed at {node.op_type} {node.name}: found"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bertc")
    p.add_argument("models", nargs="*")
    a = p.parse_args()
    models = a.models or sorted(glob.glob(os.path.join(ROOT, "tests", "data", "graphs", "*", "model.onnx")))
    if not models:
        sys.exit("there is no model")
    failures = 0
    for path in models:
        name = os.path.basename(os.path.dirname(path)) if os.path.basename(path) == "model.onnx" else os.path.basename(path)
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(f"ok    {name}  {check(a.bertc, path, folder)}", flush=True)
            except Exception as reason:  # whatever ONNX Runtime throws is an answer
                print(f"FAIL  {name}  {reason}", flush=True)
                failures += 1
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
