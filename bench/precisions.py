#!/usr/bin/env python3
"""Speed and accuracy of the options that compute in less than float32, side by side.

    precisions.py MODEL.onnx [--quantized MODEL-QUANTIZED.onnx] [--bertc build/release/cli/bertc] [--cell 1x128]
                  [--threads 1] [--rounds 3] [--batches 8]

For each option (weights in bfloat16, products in bfloat16, attention in bfloat16; of a quantized file a scale for each
token) the median time of `bertc bench`, all options in turn in every round, and how far its outputs are from those
without the option, on random batches of 2 x 64 tokens, the second sequence padded. Needs numpy from PyPI.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np

import engines

FLOAT = [[], ["--precision", "bf16-weights"], ["--precision", "bf16"], ["--attention", "bf16"],
         ["--precision", "bf16", "--attention", "bf16"]]
QUANTIZED = [[], ["--quant-scope", "token"], ["--attention", "bf16"], ["--quant-scope", "token", "--attention", "bf16"]]


def milliseconds(arguments, model, options):
    batch, sequence = arguments.cell.split("x")
    done = subprocess.run([arguments.bertc, "bench", model, "--batch", batch, "--sequence", sequence, "--threads",
                           str(arguments.threads), "--format", "json", *options], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["cells"][0]["median_ms"]


def outputs(arguments, model, options, folder):
    """All float outputs of the batches, end to end."""
    values = []
    mask = np.ones((2, 64), np.int64)
    mask[1, 40:] = 0
    np.save(folder / "mask.npy", mask)
    names = json.loads(subprocess.run([arguments.bertc, "inspect", model, "--format", "json"], capture_output=True,
                                      text=True, check=True).stdout)["inputs"]
    mask_name = next(i["name"] for i in names if "mask" in i["name"])
    for seed in range(arguments.batches):
        subprocess.run([arguments.bertc, "run", model, "--random", "--seed", str(seed), "--shape", "batch=2,sequence=64",
                        "--input", f"{mask_name}={folder}/mask.npy", "--output-dir", folder / "out", "--quiet", *options],
                       capture_output=True, check=True)
        values += [np.load(f).ravel() for f in sorted((folder / "out").glob("*.npy"))]
    return np.concatenate(values)


def measure(arguments, model, all_options):
    rows, times = [], [[] for _ in all_options]
    for _ in range(arguments.rounds):
        for i, options in enumerate(all_options):
            times[i].append(milliseconds(arguments, model, options))
    with tempfile.TemporaryDirectory() as name:
        plain = None
        for options, measured in zip(all_options, times):
            values = outputs(arguments, model, options, pathlib.Path(name))
            plain = values if plain is None else plain
            off = values - plain
            rows.append((" ".join(options) or "none", statistics.median(measured), float(np.sqrt((off ** 2).mean())),
                         float(np.abs(off).max()), float(np.sqrt((plain ** 2).mean()))))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--quantized")
    p.add_argument("--bertc", default=engines.BERTC)
    p.add_argument("--cell", default="1x128", help="batch x sequence")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--batches", type=int, default=8)
    arguments = p.parse_args()
    for model, options in ((arguments.model, FLOAT), (arguments.quantized, QUANTIZED)):
        if not model:
            continue
        rows = measure(arguments, model, options)
        print(f"{pathlib.Path(model).name}, {arguments.cell}, {arguments.threads} thread(s); outputs of RMS {rows[0][4]:.2g}\n\n"
              "| option | ms | times as fast | RMS difference | greatest |\n|---|---|---|---|---|")
        for name, ms, rms, greatest, _ in rows:
            print(f"| `{name}` | {ms:.1f} | {rows[0][1] / ms:.2f} | {rms:.1e} | {greatest:.1e} |")
        print(flush=True)


if __name__ == "__main__":
    main()
