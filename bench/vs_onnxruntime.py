#!/usr/bin/env python3
"""Times bert.c against ONNX Runtime on the same model, side by side.

    vs_onnxruntime.py MODEL.onnx [--bertc build/release/cli/bertc] [--threads 1,2] [--cells 1x16,1x128,8x128] [--rounds 5]
                      [--seconds 1] [--json FILE] [-- OPTIONS OF bertc bench]

Both sides take turns: a round times one cell here and then there, each in a process of its own that is pinned to the same
cores, with fresh random ids every run. The table gives the median over rounds of each side's median, the spread (greatest
over least round), and the ratio, ONNX Runtime's time over bert.c's: above 1 bert.c is faster. Outputs of both on the same
inputs are compared first. Needs numpy and onnxruntime from PyPI.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def cores(threads):
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        sys.exit(f"{threads} threads asked for, {len(allowed)} cores are there")
    return set(allowed[:threads])


def worker(arguments):
    """ONNX Runtime's side: a line {"batch", "sequence", "seconds"} in, a line {"times": [ms]} out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.worker
    options.inter_op_num_threads = 1
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    load = (time.perf_counter() - start) * 1e3
    # Created before it is pinned: sessions made on one core choose slower kernels.
    os.sched_setaffinity(0, cores(arguments.worker))
    print(json.dumps({"load_ms": load, "inputs": [(i.name, i.type) for i in session.get_inputs()],
                      "outputs": [o.name for o in session.get_outputs()], "version": onnxruntime.__version__}), flush=True)
    random = np.random.default_rng(0)
    for line in sys.stdin:
        cell = json.loads(line)
        shape = (cell["batch"], cell["sequence"])
        if "files" in cell:
            feeds = {n: np.load(f) for n, f in cell["files"].items()}
            names = list(cell["outputs"])
            for name, value in zip(names, session.run(names, feeds)):
                np.save(cell["outputs"][name], value)
            print(json.dumps({}), flush=True)
            continue
        feeds = {i.name: fill(i.name, shape, TYPES[i.type], random, arguments.vocabulary) for i in session.get_inputs()}
        for _ in range(2):
            session.run(None, feeds)
        times, end = [], time.perf_counter() + cell["seconds"]
        while time.perf_counter() < end or len(times) < 5:
            for name in feeds:
                feeds[name] = fill(name, shape, feeds[name].dtype, random, arguments.vocabulary)
            start = time.perf_counter()
            session.run(None, feeds)
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps({"times": times}), flush=True)


def fill(name, shape, dtype, random, vocabulary):
    if "mask" in name:
        return np.ones(shape, dtype)
    if "type" in name:
        return np.zeros(shape, dtype)
    return random.integers(0, vocabulary, shape).astype(dtype)


class OnnxRuntime:
    def __init__(self, arguments, threads):
        command = [sys.executable, __file__, arguments.model, "--worker", str(threads), "--vocabulary",
                   str(arguments.vocabulary)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = json.loads(self.process.stdout.readline())

    def ask(self, **cell):
        self.process.stdin.write(json.dumps(cell) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def time(self, batch, sequence, seconds):
        return statistics.median(self.ask(batch=batch, sequence=sequence, seconds=seconds)["times"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run_bertc(arguments, threads, words):
    command = [arguments.bertc, *words, "--threads", str(threads), *arguments.options]
    allowed = cores(threads)
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def time_bertc(arguments, threads, batch, sequence):
    report = json.loads(run_bertc(arguments, threads, [
        "bench", arguments.model, "--batch", str(batch), "--sequence", str(sequence), "--min-time",
        str(arguments.seconds), "--format", "json"]))
    return report["cells"][0]["median_ms"], report


def compare(arguments, threads, other, batch, sequence):
    """Greatest absolute difference of any output, on random ids with padding in every second row."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, kind in other.about["inputs"]:
            value = fill(name, (batch, sequence), TYPES[kind], random, arguments.vocabulary)
            if "mask" in name:
                value[1::2, sequence // 2:] = 0
            files[name] = os.path.join(folder, f"{name}.npy")
            np.save(files[name], value)
        outputs = {n: os.path.join(folder, f"ort_{i}.npy") for i, n in enumerate(other.about["outputs"])}
        other.ask(batch=batch, sequence=sequence, files=files, outputs=outputs)
        words = ["run", arguments.model, "--output-dir", folder]
        for name, file in files.items():
            words += ["--input", f"{name}={file}"]
        run_bertc(arguments, threads, words)
        worst = 0.0
        for name, file in outputs.items():
            here = np.load(os.path.join(folder, "".join("_" if c in "/\\:" else c for c in name) + ".npy"))
            there = np.load(file)
            if here.shape != there.shape or not np.isfinite(here).all():
                sys.exit(f"output {name}: shape {here.shape} against {there.shape}, or not finite")
            worst = max(worst, float(np.abs(here - there).max()))
        return worst


def measure(arguments, threads):
    other = OnnxRuntime(arguments, threads)
    rows = []
    for cell in arguments.cells.split(","):
        batch, sequence = map(int, cell.split("x"))
        error = compare(arguments, threads, other, batch, sequence)
        here, there, report = [], [], {}
        for _ in range(arguments.rounds):
            there.append(other.time(batch, sequence, arguments.seconds))
            median, report = time_bertc(arguments, threads, batch, sequence)
            here.append(median)
        ratio = statistics.median(there) / statistics.median(here)
        rows.append({"threads": threads, "cell": cell, "onnxruntime_ms": statistics.median(there),
                     "bertc_ms": statistics.median(here), "ratio": ratio, "onnxruntime_spread": max(there) / min(there),
                     "bertc_spread": max(here) / min(here), "worst_difference": error, "isa": report.get("isa")})
        r = rows[-1]
        print(f"| {threads} | {cell} | {r['onnxruntime_ms']:.2f} | {r['bertc_ms']:.2f} | {ratio:.2f} "
              f"| {r['onnxruntime_spread']:.2f} / {r['bertc_spread']:.2f} | {error:.1e} |", flush=True)
    other.close()
    return rows, other.about


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--bertc", default="build/release/cli/bertc")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--cells", default="1x16,1x64,1x128,1x384,8x128", help="batch x sequence")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="of each cell, side and round")
    p.add_argument("--vocabulary", type=int, default=21128, help="random ids are below this")
    p.add_argument("--json", help="write the rows here too")
    p.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    p.add_argument("options", nargs="*", help="passed on to bertc")
    arguments = p.parse_args()
    if arguments.worker:
        return worker(arguments)
    print("| threads | batch x sequence | ONNX Runtime ms | bert.c ms | ratio | spread | worst difference |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for threads in map(int, arguments.threads.split(",")):
        measured, about = measure(arguments, threads)
        rows += measured
    mean = statistics.geometric_mean(r["ratio"] for r in rows)
    print(f"\nGeometric mean of the ratios: {mean:.2f} (ONNX Runtime {about['version']}, {rows[0]['isa']})")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"model": arguments.model, "rows": rows, "geometric_mean": mean, **about}, out, indent=1)


if __name__ == "__main__":
    main()
