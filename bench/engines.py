"""The engines that bench/vs_*.py time bert.c against, each in a process of its own.

The parent starts `engines.py ENGINE MODEL THREADS` and speaks JSON, a line each way:

    first, from the engine   {"engine", "version", "inputs": [[name, dtype], ..], "outputs": [name, ..]}
    {"batch", "sequence", "vocabulary", "seconds"}  ->  {"times": [ms, ..]}      fresh random ids every run
    {"files": {input: .npy}, "outputs": {output: .npy}}  ->  {}                  one run on given inputs

Engines: onnxruntime and openvino run the .onnx file, pytorch runs the same BERT as a torch module that takes its weights from
a file of make_bert.py (eager; pytorch-compiled: through torch.compile); those in -bf16 compute in bfloat16. Each needs its
package from PyPI, and numpy.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/tools"))  # torch_without_cuda

# Where a release build puts it.
BERTC = str(pathlib.Path(__file__).resolve().parent.parent / "build/release/cli/bertc")


def cores(threads):
    """The cores that both sides are pinned to."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        sys.exit(f"{threads} threads asked for, {len(allowed)} cores are there")
    return set(allowed[:threads])


def parse_with_rest(parser):
    """Parses the command line up to '--'; what follows it is `options`, for bertc."""
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:at])
    arguments.options = words[at + 1:]
    return arguments


def fill(name, shape, dtype, random, vocabulary):
    """One input of a BERT: random ids, masks of ones, type ids of zeros."""
    if "mask" in name:
        return np.ones(shape, dtype)
    if "type" in name:
        return np.zeros(shape, dtype)
    return random.integers(0, vocabulary, shape).astype(dtype)


class OnnxRuntime:
    """ONNX Runtime's CPU provider."""

    def __init__(self, model, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.version = onnxruntime.__version__
        self.inputs = [(i.name, i.type[len("tensor("):-1]) for i in self.session.get_inputs()]
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, feeds):
        return dict(zip(self.outputs, self.session.run(self.outputs, feeds)))


class OpenVino:
    """OpenVINO's CPU plug-in, float32 as the file has it."""

    precision = "f32"

    def __init__(self, model, threads):
        import openvino

        core = openvino.Core()
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision}
        self.compiled = core.compile_model(model, "CPU", config)
        self.request = self.compiled.create_infer_request()
        self.version = openvino.__version__.split("-")[0]
        self.inputs = [(i.any_name, i.element_type.to_dtype().name) for i in self.compiled.inputs]
        self.outputs = [o.any_name for o in self.compiled.outputs]

    def run(self, feeds):
        self.request.infer(feeds)
        return {name: self.request.get_tensor(name).data for name in self.outputs}


class OpenVinoBf16(OpenVino):
    precision = "bf16"


class PyTorch:
    """The BERT of make_bert.py as a torch module: nn.functional, scaled_dot_product_attention, erf GELU."""

    compiled = False
    dtype = "float32"

    def __init__(self, model, threads):
        import onnx
        import torch_without_cuda  # noqa: F401  has to come before torch
        import torch
        from onnx import numpy_helper

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.version = torch, torch.__version__
        graph = onnx.load(model).graph
        dtype = getattr(torch, self.dtype)
        arrays = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in graph.initializer}
        self.weights = {name: x.to(dtype) if x.is_floating_point() else x for name, x in arrays.items()}
        self.inputs = [(i.name, "int64") for i in graph.input]
        self.outputs = [o.name for o in graph.output]
        prefix = "bert.encoder.layer."
        self.layers = 1 + max(int(name[len(prefix):].split(".")[0]) for name in self.weights if name.startswith(prefix))
        hidden = self.weights["bert.embeddings.LayerNorm.weight"].shape[0]
        self.heads = next(count for count in self.head_counts(graph) if hidden % count == 0)
        self.forward = torch.compile(self.bert, dynamic=False) if self.compiled else self.bert

    @staticmethod
    def head_counts(graph):
        """Candidates for the number of heads: the third entries of targets of Reshapes to four dimensions."""
        from onnx import numpy_helper

        made = {n.output[0]: n for n in graph.node}
        for node in graph.node:
            target = made.get(node.input[1]) if node.op_type == "Reshape" else None
            if target is not None and target.op_type == "Concat" and len(target.input) == 4:
                yield int(numpy_helper.to_array(made[target.input[2]].attribute[0].t)[0])

    def linear(self, x, name):
        return self.torch.addmm(self.weights[f"{name}.bias"], x.flatten(0, 1), self.weights[f"onnx::MatMul_{name}"]).view(
            *x.shape[:2], -1)

    def layer_norm(self, x, name):
        functional = self.torch.nn.functional
        return functional.layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-12)

    def mask(self, attention_mask, dtype):
        """What scaled_dot_product_attention adds to scores of this type; None where nothing is masked."""
        return (1.0 - attention_mask[:, None, None, :].to(dtype)) * self.torch.finfo(dtype).min

    def bert(self, input_ids, attention_mask, token_type_ids):
        functional, w, prefix = self.torch.nn.functional, self.weights, "bert.embeddings"
        x = w[f"{prefix}.word_embeddings.weight"][input_ids] + w[f"{prefix}.token_type_embeddings.weight"][token_type_ids]
        x = self.layer_norm(x + w[f"{prefix}.position_embeddings.weight"][: x.shape[1]], f"{prefix}.LayerNorm")
        mask = self.mask(attention_mask, x.dtype)
        for layer in range(self.layers):
            name = f"bert.encoder.layer.{layer}"
            q, k, v = (self.linear(x, f"{name}.attention.self.{part}").unflatten(-1, (self.heads, -1)).transpose(1, 2)
                       for part in ("query", "key", "value"))
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
            x = self.layer_norm(self.linear(y, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm")
            y = functional.gelu(self.linear(x, f"{name}.intermediate.dense"))
            x = self.layer_norm(self.linear(y, f"{name}.output.dense") + x, f"{name}.output.LayerNorm")
        pooled = self.torch.tanh(functional.linear(x[:, 0], w["bert.pooler.dense.weight"], w["bert.pooler.dense.bias"]))
        return functional.linear(pooled, w["classifier.weight"], w["classifier.bias"])

    def run(self, feeds):
        logits = self.forward(**{name: self.torch.from_numpy(value) for name, value in feeds.items()})
        return {self.outputs[0]: logits.float().numpy()}


class PyTorchCompiled(PyTorch):
    compiled = True


class PyTorchCompiledBf16(PyTorchCompiled):
    dtype = "bfloat16"


ENGINES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "openvino-bf16": OpenVinoBf16, "pytorch": PyTorch,
           "pytorch-compiled": PyTorchCompiled, "pytorch-compiled-bf16": PyTorchCompiledBf16}


def time_runs(engine, cell, random):
    """Milliseconds of each run: two for warming up, then until the seconds and five runs have gone by."""
    shape, times = (cell["batch"], cell["sequence"]), []
    end = None
    while end is None or time.perf_counter() < end or len(times) < 7:
        feeds = {n: fill(n, shape, np.dtype(d), random, cell["vocabulary"]) for n, d in engine.inputs}
        start = time.perf_counter()
        engine.run(feeds)
        times.append((time.perf_counter() - start) * 1e3)
        if len(times) == 2:
            end = time.perf_counter() + cell["seconds"]
    return times[2:]


def serve(name, model, threads):
    """The engine's process."""
    engine = ENGINES[name](model, threads)
    # Created before it is pinned: ONNX Runtime sessions that are made on one core choose slower kernels.
    os.sched_setaffinity(0, cores(threads))
    about = {"engine": name, "version": engine.version, "inputs": engine.inputs, "outputs": engine.outputs}
    print(json.dumps(about), flush=True)
    random = np.random.default_rng(0)
    for line in sys.stdin:
        request = json.loads(line)
        if "files" in request:
            values = engine.run({n: np.load(f) for n, f in request["files"].items()})
            for output, file in request["outputs"].items():
                np.save(file, values[output])
            print(json.dumps({}), flush=True)
        else:
            print(json.dumps({"times": time_runs(engine, request, random)}), flush=True)


class Process:
    """An engine in a process of its own. `about` is its first line."""

    def __init__(self, name, model, threads):
        self.process = subprocess.Popen([sys.executable, __file__, name, model, str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{name} did not start")
        self.about = json.loads(line)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
