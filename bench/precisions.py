#!/usr/bin/env python3
"""Speed and accuracy of the options that compute in less than float32, side by side.

    precisions.py MODEL.onnx [--quantized MODEL-QUANTIZED.onnx] [--bertc build/release/cli/bertc] [--cell 1x128]
                  [--threads 1] [--rounds 3] [--batches 8]
    precisions.py MODEL.onnx --provider cuda [...]
    precisions.py FOLDER --texts FILE.jsonl [--lines 100] --rounds 0 [...]

For each option (weights in bfloat16, products in bfloat16, attention in bfloat16; of a quantized file a scale for each
token; of the CUDA provider its precisions) the median time of `bertc bench`, all options in turn in every round, and how
far its outputs are from those without the option, on random batches of 2 x 64 tokens, the second sequence padded. With
--texts the outputs are the logits that a classifier gives the first lines of a file, and answers that change are
counted. --rounds 0 measures no time. Needs numpy from PyPI.
"""
import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np

import engines

FLOAT = [[], ["--precision", "bf16-weights"], ["--precision", "bf16"], ["--attention", "bf16"],
         ["--precision", "bf16", "--attention", "bf16"]]
CUDA = [[], ["--precision", "fp16"], ["--precision", "bf16"], ["--precision", "fp8"]]
QUANTIZED = [[], ["--quant-scope", "token"], ["--attention", "bf16"], ["--quant-scope", "token", "--attention", "bf16"]]


def milliseconds(arguments, model, options):
    batch, sequence = arguments.cell.split("x")
    done = subprocess.run([arguments.bertc, "bench", model, "--batch", batch, "--sequence", sequence, "--threads",
                           str(arguments.threads), "--format", "json", "--provider", arguments.provider, *options],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["cells"][0]["median_ms"]


def logits(arguments, model, options):
    """[lines, labels]"""
    with open(arguments.texts, encoding="utf-8") as file:
        lines = "".join(itertools.islice(file, arguments.lines))
    done = subprocess.run([arguments.bertc, "classify", model, "--jsonl", "--format", "jsonl", "--provider",
                           arguments.provider, *options], input=lines, capture_output=True, text=True, check=True)
    return np.array([json.loads(line)["logits"] for line in done.stdout.splitlines()])


def outputs(arguments, model, options, folder):
    """All float outputs of the batches, end to end."""
    if arguments.texts:
        return logits(arguments, model, options)
    values = []
    mask = np.ones((2, 64), np.int64)
    mask[1, 40:] = 0
    np.save(folder / "mask.npy", mask)
    names = json.loads(subprocess.run([arguments.bertc, "inspect", model, "--format", "json"], capture_output=True,
                                      text=True, check=True).stdout)["inputs"]
    mask_name = next(i["name"] for i in names if "mask" in i["name"])
    for seed in range(arguments.batches):
        subprocess.run([arguments.bertc, "run", model, "--random", "--seed", str(seed), "--shape", "batch=2,sequence=64",
                        "--input", f"{mask_name}={folder}/mask.npy", "--output-dir", folder / "out", "--quiet",
                        "--provider", arguments.provider, *options], capture_output=True, check=True)
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
            rows.append({"option": " ".join(options) or "none", "ms": statistics.median(measured) if measured else None,
                         "rms": float(np.sqrt((off ** 2).mean())), "greatest": float(np.abs(off).max()),
                         "changed": int((values.argmax(-1) != plain.argmax(-1)).sum()) if arguments.texts else None,
                         "plain": float(np.sqrt((plain ** 2).mean()))})
    return rows


def table(arguments, rows):
    """Lines of markdown."""
    timed = arguments.rounds > 0
    yield ("| option |" + " ms | times as fast |" * timed + " RMS difference | greatest |" +
           " answers that change |" * bool(arguments.texts))
    yield "|---" * (3 + 2 * timed + bool(arguments.texts)) + "|"
    for row in rows:
        times = f" {row['ms']:.1f} | {rows[0]['ms'] / row['ms']:.2f} |" if timed else ""
        changed = f" {row['changed']} |" if arguments.texts else ""
        yield f"| `{row['option']}` |{times} {row['rms']:.1e} | {row['greatest']:.1e} |{changed}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--quantized")
    p.add_argument("--bertc", default=engines.BERTC)
    p.add_argument("--provider", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--texts", help="JSON lines with a text each, as bertc classify --jsonl reads them")
    p.add_argument("--lines", type=int, default=100)
    p.add_argument("--cell", default="1x128", help="batch x sequence")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--batches", type=int, default=8)
    arguments = p.parse_args()
    for model, options in ((arguments.model, CUDA if arguments.provider == "cuda" else FLOAT),
                           (arguments.quantized, QUANTIZED)):
        if not model:
            continue
        rows = measure(arguments, model, options)
        times = f"{arguments.cell}, {arguments.threads} thread(s); " if arguments.rounds else ""
        print(f"{pathlib.Path(model).name}, {times}outputs of RMS {rows[0]['plain']:.2g}\n", *table(arguments, rows), "",
              sep="\n", flush=True)


if __name__ == "__main__":
    main()
