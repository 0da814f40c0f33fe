#!/usr/bin/env python3
"""Records what ONNX Runtime computes inside a model, as a case that `bertc compare` and other tools read.

    pip install -r tests/tools/requirements.txt
    python tests/tools/dump_onnxruntime.py MODEL.onnx CASE                              # every tensor, random ids of 2 x 16
    python tests/tools/dump_onnxruntime.py MODEL.onnx CASE --shape batch=1,sequence=128 --seed 7
    python tests/tools/dump_onnxruntime.py MODEL.onnx CASE --input input_ids=ids.npy    # tensors of your own, .npy or .pb
    python tests/tools/dump_onnxruntime.py MODEL.onnx CASE --tensors '*LayerNorm*' --tensors logits

CASE gets test_data_set_0/input_N.pb and output_N.pb, in the layout of ONNX's backend tests: the model's outputs first, then the
tensors inside in the order of the graph, each under its own name. ONNX Runtime runs with its graph optimizations off, so that every
tensor of the file is there and is computed as the file says; --optimized leaves them on (its fused kernels are then what is recorded,
where asking for a tensor does not keep them from being used). Tensors inside branches and functions are not reached.
"""

import argparse
import fnmatch
import os
import re
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

GROUP_BYTES = 256 << 20
TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": np.bool_,
         "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def read_tensor(path):
    if path.endswith(".npy"):
        return np.load(path)
    proto = onnx.TensorProto()
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    return numpy_helper.to_array(proto)


def make_up(entry, sizes, random, vocabulary):
    """Masks of ones, types of zeros, ids below the vocabulary's size, else numbers between -1 and 1."""
    dims = [d if isinstance(d, int) else sizes.get(d, sizes.get(i, 2 if i == 0 else 16)) for i, d in enumerate(entry.shape)]
    dtype = TYPES[entry.type]
    if "mask" in entry.name:
        return np.ones(dims, dtype)
    if "type" in entry.name or "segment" in entry.name:
        return np.zeros(dims, dtype)
    if np.issubdtype(dtype, np.integer):
        return random.integers(0, vocabulary, dims).astype(dtype)
    return random.uniform(-1, 1, dims).astype(dtype)


def rows_of_tables(model):
    """Rows of the largest table of rank 2 that a Gather or an embedding reads: what word ids have to be below of."""
    shapes = {i.name: i.dims for i in model.graph.initializer}
    rows = [shapes[name][0] for node in model.graph.node if node.op_type in ("Gather", "EmbedLayerNormalization", "QEmbedLayerNormalization")
            for name in node.input if name in shapes and len(shapes[name]) == 2]
    return max(rows, default=2)


def make_session(model, folder, outputs, optimized):
    """A session of the model with these outputs alone; weights in other files are found beside the model."""
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def choose(model, patterns):
    """The model's own outputs, then the tensors that nodes compute."""
    own = list(model.graph.output)
    names = {o.name for o in own}
    inside = []
    for node in model.graph.node:
        for name in node.output if node.op_type != "Constant" else ():
            if name and name not in names and (not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)):
                names.add(name)
                inside.append(onnx.ValueInfoProto(name=name))
    if patterns:
        own = [o for o in own if any(fnmatch.fnmatch(o.name, p) for p in patterns)]
    return own + inside


def write(folder, kind, index, name, values):
    with open(os.path.join(folder, f"{kind}_{index}.pb"), "wb") as file:
        file.write(numpy_helper.from_array(np.asarray(values), name).SerializeToString())


def record(model, source, feeds, tensors, folder, optimized):
    """Writes the tensors group by group: a session keeps all its outputs at once. Returns how many were written."""
    group, start, written = 64, 0, 0
    while start < len(tensors):
        chosen = tensors[start:start + group]
        session = make_session(model, source, chosen, optimized)
        total = 0
        for tensor, values in zip(chosen, session.run([t.name for t in chosen], feeds)):
            if isinstance(values, np.ndarray) and values.dtype != object:
                write(folder, "output", written, tensor.name, values)
                written += 1
                total += values.nbytes
        start += len(chosen)
        # The next group by what this one took.
        group = max(1, min(256, int(len(chosen) * GROUP_BYTES / max(total, 1))))
    return written


def dump(path, case, inputs=None, sizes=None, seed=0, patterns=(), optimized=False):
    """What the command does; `inputs` are arrays by name. Returns the number of tensors."""
    folder = os.path.join(case, "test_data_set_0")
    if os.path.isdir(folder) and any(re.fullmatch(r"(input|output)_\d+\.pb", name) for name in os.listdir(folder)):
        raise FileExistsError(f"{folder} holds a case already")
    model = onnx.load(path, load_external_data=False)
    source = os.path.dirname(os.path.abspath(path))
    tensors = choose(model, patterns)
    if not tensors:
        raise ValueError("no tensor has a name that fits")
    random = np.random.default_rng(seed)
    feeds = {}
    for entry in make_session(model, source, tensors[:1], optimized).get_inputs():
        given = (inputs or {}).get(entry.name)
        feeds[entry.name] = given if given is not None else make_up(entry, sizes or {}, random, rows_of_tables(model))
    os.makedirs(folder, exist_ok=True)
    for index, (name, values) in enumerate(feeds.items()):
        write(folder, "input", index, name, values)
    return record(model, source, feeds, tensors, folder, optimized)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("case")
    p.add_argument("--input", action="append", default=[], metavar="NAME=FILE")
    p.add_argument("--shape", default="", metavar="NAME=N,...", help="sizes of symbolic dimensions (default: 2 and 16)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--tensors", action="append", default=[], metavar="PATTERN", help="only tensors with such names")
    p.add_argument("--optimized", action="store_true", help="leave ONNX Runtime's graph optimizations on")
    a = p.parse_args()
    sizes = {name: int(size) for name, _, size in (part.rpartition("=") for part in a.shape.split(",") if part)}
    inputs = {name: read_tensor(path) for name, _, path in (part.partition("=") for part in a.input)}
    try:
        count = dump(a.model, a.case, inputs, sizes, a.seed, a.tensors, a.optimized)
    except (OSError, ValueError) as reason:
        sys.exit(f"{a.model}: {reason}")
    print(f"{count} tensors in {a.case}")


if __name__ == "__main__":
    main()
