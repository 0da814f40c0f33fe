#!/usr/bin/env python3
"""Times bert.c against ONNX Runtime, OpenVINO or PyTorch on the same model, side by side.

    vs_onnxruntime.py MODEL.onnx [--against onnxruntime|openvino|openvino-bf16|pytorch|pytorch-compiled|...] [--threads 1,2]
                      [--cells 1x16,1x128,8x128] [--rounds 5] [--seconds 1] [--json FILE] [--plot FILE.png]
                      [--bertc build/release/cli/bertc] [--bertc-model FILE] [-- OPTIONS OF bertc bench]

Both sides take turns: a round times one cell here and then there, each in a process of its own that is pinned to the same
cores, with fresh random ids every run. The table gives the median over rounds of each side's median, the spread (greatest
over least round), and the ratio, the other's time over bert.c's: above 1 bert.c is faster. Outputs of both on the same
inputs are compared first. --bertc-model gives bert.c another file than the other side (a quantized one, say). Needs numpy
and the other side's package from PyPI, --plot matplotlib besides; engines.py says what each engine runs.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

import numpy as np

import engines


def run_bertc(arguments, threads, words):
    command = [arguments.bertc, *words, "--threads", str(threads), *arguments.options]
    allowed = engines.cores(threads)
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, allowed))
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def time_bertc(arguments, threads, batch, sequence):
    report = json.loads(run_bertc(arguments, threads, [
        "bench", arguments.bertc_model, "--batch", str(batch), "--sequence", str(sequence), "--min-time",
        str(arguments.seconds), "--format", "json"]))
    return report["cells"][0]["median_ms"], report


def compare(arguments, threads, other, batch, sequence):
    """Greatest absolute difference of any output, on random ids with padding in every second row."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, dtype in other.about["inputs"]:
            value = engines.fill(name, (batch, sequence), np.dtype(dtype), random, arguments.vocabulary)
            if "mask" in name:
                value[1::2, sequence // 2:] = 0
            files[name] = os.path.join(folder, f"{name}.npy")
            np.save(files[name], value)
        outputs = {n: os.path.join(folder, f"other_{i}.npy") for i, n in enumerate(other.about["outputs"])}
        other.ask(files=files, outputs=outputs)
        words = ["run", arguments.bertc_model, "--output-dir", folder]
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


def measure_cell(arguments, threads, other, cell):
    batch, sequence = map(int, cell.split("x"))
    error = compare(arguments, threads, other, batch, sequence)
    here, there, report = [], [], {}
    for _ in range(arguments.rounds):
        times = other.ask(batch=batch, sequence=sequence, vocabulary=arguments.vocabulary, seconds=arguments.seconds)
        there.append(statistics.median(times["times"]))
        median, report = time_bertc(arguments, threads, batch, sequence)
        here.append(median)
    return {"threads": threads, "cell": cell, "other_ms": statistics.median(there), "bertc_ms": statistics.median(here),
            "ratio": statistics.median(there) / statistics.median(here), "other_spread": max(there) / min(there),
            "bertc_spread": max(here) / min(here), "worst_difference": error, "isa": report["isa"],
            "precision": report["precision"]}


def measure(arguments, threads):
    other = engines.Process(arguments.against, arguments.model, threads)
    rows = []
    for cell in arguments.cells.split(","):
        rows.append(r := measure_cell(arguments, threads, other, cell))
        print(f"| {threads} | {cell} | {r['other_ms']:.2f} | {r['bertc_ms']:.2f} | {r['ratio']:.2f} "
              f"| {r['other_spread']:.2f} / {r['bertc_spread']:.2f} | {r['worst_difference']:.1e} |", flush=True)
    other.close()
    return rows, other.about


def plot(rows, about, file):
    """Bars of the ratio by cell, a colour for each number of threads; the line at 1 is the other side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = list(dict.fromkeys(r["cell"] for r in rows))
    counts = sorted({r["threads"] for r in rows})
    figure, axes = pyplot.subplots(figsize=(1.5 + len(cells), 3.5), layout="constrained")
    width = 0.8 / len(counts)
    for i, threads in enumerate(counts):
        ratios = {r["cell"]: r["ratio"] for r in rows if r["threads"] == threads}
        places = [cells.index(c) + (i - (len(counts) - 1) / 2) * width for c in ratios]
        bars = axes.bar(places, list(ratios.values()), width, label=f"{threads} thread{'s' if threads > 1 else ''}")
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(cells)), cells)
    axes.set_xlabel("batch x sequence")
    axes.set_ylabel(f"{about['engine']} {about['version']} / bert.c")
    axes.legend()
    figure.savefig(file, dpi=120)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--against", choices=engines.ENGINES, default="onnxruntime")
    p.add_argument("--bertc", default=engines.BERTC)
    p.add_argument("--bertc-model", help="what bert.c loads; default MODEL")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--cells", default="1x16,1x64,1x128,1x384,8x128", help="batch x sequence")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=1.0, help="of each cell, side and round")
    p.add_argument("--vocabulary", type=int, default=21128, help="random ids are below this")
    p.add_argument("--json", help="write the rows here too")
    p.add_argument("--plot", help="draw the ratios here")
    arguments = engines.parse_with_rest(p)
    arguments.bertc_model = arguments.bertc_model or arguments.model
    return arguments


def main():
    arguments = parse()
    print(f"| threads | batch x sequence | {arguments.against} ms | bert.c ms | ratio | spread | worst difference |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for threads in map(int, arguments.threads.split(",")):
        measured, about = measure(arguments, threads)
        rows += measured
    mean = statistics.geometric_mean(r["ratio"] for r in rows)
    print(f"\nGeometric mean of the ratios: {mean:.2f} ({about['engine']} {about['version']}; bert.c {rows[0]['precision']}, "
          f"{rows[0]['isa']})")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump({"model": arguments.model, "rows": rows, "geometric_mean": mean, **about}, out, indent=1)
    if arguments.plot:
        plot(rows, about, arguments.plot)


if __name__ == "__main__":
    main()
