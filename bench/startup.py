#!/usr/bin/env python3
"""Process start to first answer, and peak memory: bert.c against ONNX Runtime, taking turns.

    startup.py MODEL.onnx [--cell 1x16] [--threads 1] [--rounds 5] [--bertc build/release/cli/bertc] [-- OPTIONS OF bertc run]

Each round starts a process on each side that loads the model, runs it once on the same inputs, writes its outputs and ends.
The files are in the page cache (a first round that isn't counted brings them there). Outputs are compared. ONNX Runtime's
side is `python -c` with numpy and onnxruntime, whose imports are in its time as they are in a user's; the time that Python
itself takes to start is given too. Needs numpy and onnxruntime from PyPI.
"""
import argparse
import os
import statistics
import sys
import tempfile
import time

import numpy as np

import engines

OTHER = """
import sys, numpy, onnxruntime
model, threads, folder = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
feeds = {i.name: numpy.load(f"{folder}/{i.name}.npy") for i in session.get_inputs()}
for i, y in enumerate(session.run(None, feeds)): numpy.save(f"{folder}/other_{i}.npy", y)
"""


def timed(command):
    """(seconds from start to end of a process, its peak resident memory in MiB)"""
    start = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ,
                             file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def write_inputs(model, cell, vocabulary, folder):
    """Random inputs of the model's names and types; returns (names of inputs, names of outputs)."""
    other = engines.Process("onnxruntime", model, 1)
    shape, random = tuple(map(int, cell.split("x"))), np.random.default_rng(0)
    for name, dtype in other.about["inputs"]:
        np.save(f"{folder}/{name}.npy", engines.fill(name, shape, np.dtype(dtype), random, vocabulary))
    other.close()
    return [name for name, _ in other.about["inputs"]], other.about["outputs"]


def worst_difference(folder, outputs):
    worst = 0.0
    for i, name in enumerate(outputs):
        here = np.load(f"{folder}/{''.join('_' if c in '/:' else c for c in name)}.npy")
        there = np.load(f"{folder}/other_{i}.npy")
        if here.shape != there.shape or not np.isfinite(here).all():
            sys.exit(f"output {name}: shape {here.shape} against {there.shape}, or not finite")
        worst = max(worst, float(np.abs(here - there).max()))
    return worst


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--cell", default="1x16", help="batch x sequence")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--vocabulary", type=int, default=21128, help="random ids are below this")
    p.add_argument("--bertc", default=engines.BERTC)
    arguments = engines.parse_with_rest(p)
    python, threads = sys.executable, str(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = write_inputs(arguments.model, arguments.cell, arguments.vocabulary, folder)
        bertc = [arguments.bertc, "run", arguments.model, "--threads", threads, "--output-dir", folder, *arguments.options]
        for name in inputs:
            bertc += ["--input", f"{name}={folder}/{name}.npy"]
        sides = {"bert.c": bertc, "ONNX Runtime": [python, "-c", OTHER, arguments.model, threads, folder],
                 "python alone": [python, "-c", "pass"]}
        runs = {name: [] for name in sides}
        for counted in range(-1, arguments.rounds):
            for name, command in sides.items():
                result = timed(command)
                if counted >= 0:
                    runs[name].append(result)
        print("| | start to end, ms | least | peak memory, MiB |\n|---|---|---|---|")
        for name, results in runs.items():
            times = [1e3 * seconds for seconds, _ in results]
            print(f"| {name} | {statistics.median(times):.0f} | {min(times):.0f} | {max(m for _, m in results):.0f} |")
        medians = {name: statistics.median(seconds for seconds, _ in results) for name, results in runs.items()}
        print(f"\nbert.c takes {medians['bert.c'] / medians['ONNX Runtime']:.3f} of ONNX Runtime's time; worst difference "
              f"{worst_difference(folder, outputs):.1e}")


if __name__ == "__main__":
    main()
