"""The two engines that the tools hold against each other: ONNX Runtime, and bert.c through `bertc run`."""

import os
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SENTIMENT = os.path.join(ROOT, "models", "zh-sentiment")
TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def ort_session(model, optimize=True):
    """A session on the CPU that says nothing but errors; `model` is a path or the bytes of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def made_up(session, random, batch, sequence, vocabulary, padded):
    """Inputs by name, token ids below `vocabulary`; padded rows end earlier, each somewhere else, but for the first."""
    feeds = {}
    lengths = random.integers(1, sequence + 1, batch) if padded else np.full(batch, sequence)
    lengths[0] = sequence
    for entry in session.get_inputs():
        dtype = TYPES[entry.type]
        if "mask" in entry.name:
            values = np.arange(sequence)[None, :] < lengths[:, None]
        elif "type" in entry.name:
            values = np.tile(np.arange(sequence) >= sequence // 2, (batch, 1))
        else:
            values = random.integers(0, vocabulary, (batch, sequence))
        feeds[entry.name] = values.astype(dtype)
    return feeds


def file_name(output):
    """What `bertc run` calls an output's file, without the ending."""
    return output.replace("/", "_").replace(":", "_")


def bertc_run(bertc, path, feeds, options=(), isa=None):
    """Outputs of bert.c by file_name; ends the program where bertc fails. `isa`: the instruction set to force."""
    environment = dict(os.environ, BERT_CPU_ISA=isa) if isa else None
    with tempfile.TemporaryDirectory() as folder:
        arguments = [bertc, "run", path, "--output-dir", folder, *options]
        for name, values in feeds.items():
            file = os.path.join(folder, f"in_{file_name(name)}.npy")
            np.save(file, values)
            arguments += ["--input", f"{name}={file}"]
        done = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return {name[: -len(".npy")]: np.load(os.path.join(folder, name))
                for name in os.listdir(folder) if not name.startswith("in_")}


def make_bert(path, *options):
    """Writes a BERT with random weights by bench/make_bert.py."""
    script = os.path.join(ROOT, "bench", "make_bert.py")
    subprocess.run([sys.executable, script, path, *options], check=True)
