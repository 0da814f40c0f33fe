#!/usr/bin/env python3
"""Graphs that ONNX Runtime refuses as invalid: bert.c has to refuse each when it loads, with the reason.

    pip install -r tests/tools/requirements.txt
    python tests/tools/refused_parity.py build/release/cli/bertc
    python tests/tools/refused_parity.py build/release/cli/bertc --write FOLDER    # also writes them, as tests/data/refused has them

Each graph is given to ONNX Runtime first: one that it takes fails the test, because it belongs elsewhere. Valid graphs beside them are
taken by both. Exits with 1 when an engine decides otherwise than it should.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import onnxruntime.quantization
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, INT32, UINT8, INT8, BOOL, FLOAT16 = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8,
                                                   TensorProto.INT8, TensorProto.BOOL, TensorProto.FLOAT16)
MS = "com.microsoft"


def node(op, inputs, outputs, domain="", **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"{op}_{outputs.split()[0]}", domain=domain, **attributes)


def weight(name, *dims, dtype=np.float32):
    values = np.arange(int(np.prod(dims)), dtype=np.float64).reshape(dims) % 7
    return numpy_helper.from_array(values.astype(dtype), name)


def value(name, kind=FLOAT, dims=("batch", "sequence", 8)):
    return helper.make_tensor_value_info(name, kind, dims)


def model(nodes, inputs=None, outputs=None, weights=(), opset=17, functions=(), imports=()):
    graph = helper.make_graph(nodes, "graph", inputs or [value("x")], outputs or [onnx.ValueInfoProto(name="y")], list(weights))
    sets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1), *(helper.make_opsetid(d, 1) for d in imports)]
    return helper.make_model(graph, opset_imports=sets, functions=list(functions), ir_version=8 if opset < 19 else 10)


def attention(**changes):
    """com.microsoft's QAttention, in order but for what `changes` says."""
    given = {"x": UINT8, "scale_dims": [], "attributes": {"num_heads": 2}, "opset": 17, "inputs": "x w b sx sw mask zx zw", **changes}
    weights = [weight("w", 8, 24, dtype=np.uint8), weight("b", 24), weight("sx", *given["scale_dims"]), weight("sw"),
               weight("zx", dtype=np.uint8), weight("zw", dtype=np.uint8)]
    return model([node("QAttention", given["inputs"], "y", MS, **given["attributes"])],
                 [value("x", given["x"]), value("mask", INT32, ["batch", "sequence"])], weights=weights, opset=given["opset"])


def quantized_opset_23():
    """What onnxruntime's quantize_dynamic makes of ai.onnx's Attention: another operator's name, and this one's inputs and attributes."""
    weights = [weight("w", 8, 8)]
    before = model([node("Attention", "x w v", "y", q_num_heads=2, kv_num_heads=2)], [value("x"), value("v")], weights=weights, opset=23)
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("before.onnx", "after.onnx")]
        onnx.save(before, paths[0])
        onnxruntime.quantization.quantize_dynamic(*paths)
        return onnx.load(paths[1])


def invalid():
    """Name, model and a word that the reason has to hold."""
    add = node("Add", "x x", "y")
    yield "no_such_input", model([node("Add", "x nothing", "y")]), "nothing"
    yield "cycle", model([node("Add", "x b", "a"), node("Neg", "a", "b"), node("Neg", "b", "y")]), "cycle"
    yield "written_twice", model([node("Neg", "x", "y"), node("Abs", "x", "y")]), "y"
    yield "output_that_nothing_writes", model([node("Neg", "x", "z")]), "y"
    yield "no_such_operator", model([node("Bogus", "x", "y")]), "Bogus"
    yield "no_such_domain", model([node("Add", "x x", "y", "org.example")]), "org.example"
    yield "too_few_inputs", model([node("Add", "x", "y")]), "inputs"
    yield "too_many_inputs", model([node("Neg", "x x", "y")]), "inputs"
    yield "too_many_outputs", model([node("Neg", "x", "y z")]), "outputs"
    yield "two_types", model([node("Add", "x w", "y")], weights=[weight("w", 8, dtype=np.int64)]), "type"
    yield "float_ids", model([node("Gather", "w x", "y")], weights=[weight("w", 5, 8)]), "float"
    yield "float_condition", model([node("Where", "x x x", "y")]), "float"
    yield "float_shape", model([node("Reshape", "x w", "y")], weights=[weight("w", 2)]), "float"
    yield "no_broadcast", model([node("Add", "x w", "y")], weights=[weight("w", 7)]), "7"
    yield "product_of_other_width", model([node("MatMul", "x w", "y")], weights=[weight("w", 7, 3)]), "7"
    yield "product_of_scalar", model([node("MatMul", "x w", "y")], weights=[weight("w")]), "0 dimensions"
    yield "axis_outside", model([node("Concat", "x x", "y", axis=3)]), "axis"
    yield "softmax_axis_outside", model([node("Softmax", "x", "y", axis=5)]), "axis"
    yield "gather_axis_outside", model([node("Gather", "x i", "y", axis=4)], weights=[weight("i", 2, dtype=np.int64)]), "axis"
    yield "permutation_twice_the_same", model([node("Transpose", "x", "y", perm=[0, 1, 1])]), "perm"
    yield "concat_without_axis", model([node("Concat", "x x", "y")]), "axis"
    yield "cast_without_type", model([node("Cast", "x", "y")]), "to"
    yield "cast_to_no_type", model([node("Cast", "x", "y", to=99)]), "99"
    yield "unknown_attribute", model([node("Add", "x x", "y", bogus=1)]), "bogus"
    yield "unknown_attribute_of_softmax", model([node("Softmax", "x", "y", axes=[1])]), "axes"
    yield "attribute_of_another_type", model([node("Softmax", "x", "y", axis=1.5)]), "axis"
    yield "old_form", model([node("Unsqueeze", "x", "y", axes=[0])], opset=17), "Unsqueeze"
    yield "operator_of_a_later_opset", model([node("Gelu", "x", "y")], opset=17), "Gelu"
    yield "declared_as_another_type", model([add], outputs=[value("y", INT64)]), "y"
    hinted = model([node("Neg", "x", "a"), node("Neg", "a", "y")])
    hinted.graph.value_info.append(value("a", FLOAT16))
    yield "inner_tensor_declared_as_another_type", hinted, "a"
    future = model([add])
    future.ir_version = 99
    yield "ir_of_the_future", future, "99"
    yield "inputs_of_one_name", model([add], inputs=[value("x"), value("x")]), "x"
    short = weight("w", 8)
    short.raw_data = short.raw_data[:-4]
    yield "weight_that_is_cut", model([node("Add", "x w", "y")], weights=[short]), "w"
    recursive = helper.make_function("f", "Loop", ["a"], ["b"], [helper.make_node("Loop", ["a"], ["b"], domain="f")],
                                     [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)])
    yield "function_that_calls_itself", model([node("Loop", "x", "y", "f")], functions=[recursive], imports=["f"]), "itself"
    yield "norm_of_integers", model([node("LayerNormalization", "x g", "y")], [value("x", INT64)], weights=[weight("g", 8)]), "int64"
    yield "integers_times_floats", model([node("MatMulInteger", "x w", "y")], weights=[weight("w", 8, 8, dtype=np.uint8)]), "float"
    yield "quantize_twice", model([node("DynamicQuantizeLinear", "x", "y s z")], [value("x", UINT8)]), "uint8"
    yield "two_operators_that_are_missing", model([node("Bogus", "x", "a"), node("Nonsense", "a", "y")]), "Nonsense"
    yield "branches_of_two_types", branches(), "If"
    yield "quantized_attention_of_opset_23", quantized_opset_23(), "kv_num_heads"
    yield "quantized_attention_without_heads", attention(attributes={}), "num_heads"
    yield "quantized_attention_of_floats", attention(x=FLOAT), "float"
    yield "quantized_attention_with_float_mask", attention(inputs="x w b sx sw b zx zw"), "int32"
    yield "attention_without_heads", model([node("Attention", "x w b", "y", MS)], weights=[weight("w", 8, 24), weight("b", 24)]), \
        "num_heads"
    yield "attention_with_attributes_of_another", model([node("Attention", "x w b", "y", MS, num_heads=2, q_num_heads=2)],
                                                        weights=[weight("w", 8, 24), weight("b", 24)]), "q_num_heads"
    yield "embedding_of_float_ids", model([node("EmbedLayerNormalization", "x x w p t g b", "y m", MS)],
                                          [value("x", FLOAT, ["batch", "sequence"])],
                                          weights=[weight(n, 9, 8) for n in "wpt"] + [weight(n, 8) for n in "gb"]), "float"
    yield "rotary_of_opset_17", model([node("RotaryEmbedding", "x c c", "y")], weights=[weight("c", 9, 4)]), "RotaryEmbedding"
    yield "bias_of_integers", model([node("BiasGelu", "x b", "y", MS)], weights=[weight("b", 8, dtype=np.int64)]), "type"


def branches():
    then = helper.make_graph([node("Neg", "x", "t")], "then", [], [value("t")])
    otherwise = helper.make_graph([node("Cast", "x", "e", to=INT64)], "otherwise", [], [value("e", INT64)])
    return model([node("If", "c", "y", then_branch=then, else_branch=otherwise)], [value("x"), value("c", BOOL, [])])


def valid():
    """Graphs that are as near to those as can be, and valid."""
    yield "sum", model([node("Add", "x w", "y")], weights=[weight("w", 8)])
    yield "gather", model([node("Gather", "x i", "y", axis=2)], weights=[weight("i", 2, dtype=np.int64)])
    yield "quantized_attention", attention()
    yield "old_form_in_old_opset", model([node("Unsqueeze", "x", "y", axes=[0])], opset=11)
    yield "attributes", model([node("Gemm", "x w", "y", transB=1, alpha=0.5)], [value("x", dims=["n", 8])], weights=[weight("w", 3, 8)])
    yield "attribute_of_a_tool", model([node("Add", "x x", "y", __note=1)])
    yield "hints", model([node("Add", "x x", "y")], outputs=[value("y")])


def onnxruntime_refuses(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as reason:  # of its own classes, and others
        return str(reason)
    return None


def bertc_refuses(bertc, path):
    done = subprocess.run([bertc, "inspect", path, "--quiet"], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        return f"exit status {done.returncode}: {done.stderr}"
    return done.stderr.strip() if done.returncode else None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bertc")
    p.add_argument("--write", metavar="FOLDER")
    a = p.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.write or scratch
        os.makedirs(folder, exist_ok=True)
        reasons = []
        for name, proto, word in invalid():
            path = os.path.join(folder, f"{name}.onnx")
            with open(path, "wb") as file:
                file.write(proto.SerializeToString())
            theirs, ours = onnxruntime_refuses(path), bertc_refuses(a.bertc, path)
            problem = ("ONNX Runtime takes it" if theirs is None else "bert.c takes it" if ours is None
                       else f"'{word}' is not in the reason" if word not in ours or ours.startswith("exit") else None)
            failures += problem is not None
            reasons.append(f"{name} {word}\n")
            shown = f"{problem}: {ours!r}; ONNX Runtime: {theirs!r}" if problem else ours
            print(f"{'FAIL' if problem else 'ok  '}  {name}  {shown}", flush=True)
        if a.write:
            with open(os.path.join(folder, "reasons.txt"), "w") as file:
                file.writelines(reasons)
        for name, proto in valid():
            path = os.path.join(scratch, f"{name}.onnx")
            with open(path, "wb") as file:
                file.write(proto.SerializeToString())
            theirs, ours = onnxruntime_refuses(path), bertc_refuses(a.bertc, path)
            failures += bool(theirs or ours)
            print(f"{'FAIL' if theirs or ours else 'ok  '}  {name} is valid  {theirs or ''} {ours or ''}", flush=True)
    print(f"{failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
