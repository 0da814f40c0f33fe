#!/usr/bin/env python3
"""Shows where ONNX Runtime departs from the ONNX specification: small graphs on it, on ONNX's reference, and on bert.c.

    pip install -r tests/tools/requirements.txt
    python tests/tools/onnxruntime_departures.py build/release/libbertc.so

docs/comparing-with-onnxruntime.md says what each one is. Exits with 1 when bert.c doesn't agree with ONNX's reference, or when
ONNX Runtime does: then it departs no longer, and page and tools are to be put right.
"""

import sys
import warnings

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from bertc_library import Library
from engines import ort_session
from random_graphs_write import FLOAT_MIN


def model_of(nodes, opset, feeds, constants, output=TensorProto.FLOAT):
    """The graph with one output "y" of that type."""
    inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
              for name, values in feeds.items()]
    initializers = [numpy_helper.from_array(np.array(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "departure", inputs, [helper.make_tensor_value_info("y", output, None)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10 if opset > 18 else 8)


def dequantized_product(random):
    """MatMul(x, DequantizeLinear(W)): x is float, and only W was rounded."""
    feeds = {"x": random.standard_normal((2, 32)).astype(np.float32)}
    constants = {"W": random.integers(-127, 128, (32, 4)).astype(np.int8), "scale": np.float32(0.01), "zero": np.int8(0)}
    nodes = [helper.make_node("DequantizeLinear", ["W", "scale", "zero"], ["dequantized"]),
             helper.make_node("MatMul", ["x", "dequantized"], ["y"])]
    return model_of(nodes, 19, feeds, constants), feeds


def attention(random, mask):
    """ai.onnx's Attention with a mask; V is the identity, so that y shows the probabilities."""
    q, k = (random.standard_normal((1, 1, 3, 4)).astype(np.float32) for _ in range(2))
    feeds = {"q": q, "k": k, "v": np.eye(3, dtype=np.float32)[None, None], "mask": mask}
    return model_of([helper.make_node("Attention", list(feeds), ["y"])], 23, feeds, {}), feeds


def attention_row_without_keys(random):
    """A boolean mask that lets the second query attend to nothing."""
    return attention(random, np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1]], bool))


def attention_row_of_lowest(random):
    """The same with the lowest float added, as exporters write masks."""
    return attention(random, np.array([[0, 0, 0], [FLOAT_MIN] * 3, [0, FLOAT_MIN, 0]], np.float32))


def float16_steps(random):
    """x + 2048 - 2048 in float16, which has steps of 2 there: the sum is rounded before 2048 is taken away again."""
    feeds = {"x": np.array([0.25, 0.75, 1.25, 3.5], np.float16)}
    nodes = [helper.make_node("Add", ["x", "w"], ["sum"]), helper.make_node("Sub", ["sum", "w"], ["y"])]
    return model_of(nodes, 17, feeds, {"w": np.float16(2048)}, output=TensorProto.FLOAT16), feeds


def same(a, b):
    return np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    library, wrong = Library(sys.argv[1]), 0
    np.set_printoptions(precision=4, suppress=True)
    for case in (dequantized_product, attention_row_without_keys, attention_row_of_lowest, float16_steps):
        model, feeds = case(np.random.default_rng(0))
        data = model.SerializeToString()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            specified = ReferenceEvaluator(model).run(None, feeds)[0]
        theirs = ort_session(data).run(None, feeds)[0]
        ours = library.run(data, [feeds], ["y"])[0]["y"]
        print(f"{case.__name__}: {case.__doc__}")
        for name, values in (("ONNX's reference", specified), ("ONNX Runtime", theirs), ("bert.c", ours)):
            print(f"  {name:17} {np.array2string(np.squeeze(values), separator=', ').replace(chr(10), '')}")
        if same(theirs, specified) or not same(ours, specified):
            print("  FAIL: " + ("bert.c departs" if not same(ours, specified) else "ONNX Runtime departs no longer"))
            wrong += 1
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
