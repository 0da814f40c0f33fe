#!/usr/bin/env python3
"""Judges float32 results: the error of bert.c and of ONNX Runtime against bert.c's float64 run, side by side.

    pip install -r tests/tools/requirements.txt
    python tests/tools/judge.py build/release/cli/bertc                # BERTs of 12 x 256 and 2 x 768, the bundled model
    python tests/tools/judge.py build/release/cli/bertc --quick        # the same, few and short inputs
    python tests/tools/judge.py build/release/cli/bertc --full         # BERT-base, all 12 layers of 768: a minute or more
    python tests/tools/judge.py build/release/cli/bertc MODEL.onnx ... # float32 models of your own

Every model gets --inputs (32) seeded random batches, every other one padded, and every output element counts, those of padded
tokens too. A row of the table is an output: root mean square and greatest error of each engine, and bert.c's over ONNX
Runtime's. Exits with 1 when one of the ratios is above --limit (1.5); that of the greatest errors counts for outputs of which
1,000 elements or more were compared, below it is chance. --isa names the instruction sets to force in bert.c;
"default" is what it chooses itself. The float64 run (`bertc run --provider reference --precision fp64`) computes every step of
the graph as the file has it in double; tests/tools/random_graphs.py holds it against an implementation in numpy.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

from engines import SENTIMENT, bertc_run, file_name, made_up, make_bert, ort_session

FEW = 1000
DOUBLE = ["--provider", "reference", "--precision", "fp64"]


class Errors:
    """Sums up the errors of one output over many inputs."""

    def __init__(self):
        self.squares, self.elements, self.greatest = 0.0, 0, 0.0

    def add(self, got, exact):
        """One more input's output; a shape, NaN or infinity that only one side has makes the error infinite."""
        if got.shape != exact.shape or not np.isfinite(got).all() or not np.isfinite(exact).all():
            self.greatest = self.squares = np.inf
            return
        error = got.astype(np.float64) - exact
        self.squares += float(np.sum(error * error))
        self.elements += error.size
        self.greatest = max(self.greatest, float(np.max(np.abs(error), initial=0)))

    @property
    def rms(self):
        return float(np.sqrt(self.squares / max(self.elements, 1)))


def batches(session, arguments):
    """Seeded inputs of all sizes up to the greatest; every other one is padded and has two sequences or more."""
    random = np.random.default_rng(arguments.seed)
    for i in range(arguments.inputs):
        padded = i % 2 == 1
        batch = int(random.integers(2 if padded else 1, arguments.batch + 1))
        sequence = int(random.integers(2, arguments.sequence + 1))
        yield made_up(session, random, batch, sequence, arguments.vocabulary, padded)


def ratio(ours, theirs):
    """bert.c's error over ONNX Runtime's; nothing over nothing is even."""
    return ours / theirs if theirs else (1.0 if ours == 0 else np.inf)


def present(bertc, wanted):
    """Those of the wanted instruction sets that this machine has; says which it lacks."""
    version = subprocess.run([bertc, "--version"], capture_output=True, text=True, check=True).stdout
    here = re.search(r"^cpu: *(.*); in use", version, re.MULTILINE).group(1).split()
    for isa in wanted:
        if isa not in ("default", *here):
            print(f"skipped: this machine has no {isa}")
    return [isa for isa in wanted if isa in ("default", *here)]


def judge(path, arguments):
    """Prints a model's rows; returns how many ratios are above the limit."""
    session = ort_session(path)
    names = [entry.name for entry in session.get_outputs() if entry.type == "tensor(float)"]
    feeds = list(batches(session, arguments))
    engines = ["ONNX Runtime", *arguments.isa]
    errors = {engine: {name: Errors() for name in names} for engine in engines}
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        exact = list(pool.map(lambda feed: bertc_run(arguments.bertc, path, feed, DOUBLE), feeds))
    for feed, right in zip(feeds, exact):
        results = {"ONNX Runtime": dict(zip(map(file_name, names), session.run(names, feed)))}
        for isa in arguments.isa:
            results[isa] = bertc_run(arguments.bertc, path, feed, isa=None if isa == "default" else isa)
        for engine, outputs in results.items():
            for name in names:
                errors[engine][name].add(outputs[file_name(name)], right[file_name(name)])
    beyond = 0
    for isa in arguments.isa:
        for name in names:
            ours, theirs = errors[isa][name], errors["ONNX Runtime"][name]
            ratios = ratio(ours.rms, theirs.rms), ratio(ours.greatest, theirs.greatest)
            failed = sum(not r <= arguments.limit for r in (ratios if ours.elements >= FEW else ratios[:1]))
            beyond += failed
            print(f"| {'FAIL ' if failed else ''}{os.path.basename(path)} | {name} | {isa} | {ours.rms:.3g} / {theirs.rms:.3g} "
                  f"| {ratios[0]:.2f} | {ours.greatest:.3g} / {theirs.greatest:.3g} | {ratios[1]:.2f} |", flush=True)
    return beyond


def made_models(folder, arguments):
    """Paths of models made here, each with the vocabulary of its ids."""
    if arguments.full:
        sizes = {"bert-12x768": ["--layers", "12", "--vocabulary", "2000"]}
    else:
        sizes = {"bert-12x256": ["--layers", "12", "--hidden", "256", "--heads", "4", "--intermediate", "1024",
                                 "--vocabulary", "2000", "--opset", "11"],
                 "bert-2x768": ["--layers", "2", "--vocabulary", "2000"]}
    for name, options in sizes.items():
        path = os.path.join(folder, f"{name}.onnx")
        make_bert(path, "--token-outputs", *options)
        yield path, 2000
    if not arguments.full:
        yield os.path.join(SENTIMENT, "model.onnx"), 4821
        yield os.path.join(SENTIMENT, "model-optimized.onnx"), 4821


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bertc")
    p.add_argument("models", nargs="*")
    p.add_argument("--inputs", type=int, default=32, help="random batches a model")
    p.add_argument("--batch", type=int, default=4, help="greatest number of sequences")
    p.add_argument("--sequence", type=int, default=64, help="greatest number of tokens")
    p.add_argument("--vocabulary", type=int, default=1000, help="ids of models of your own lie below")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--isa", default="default,avx2,scalar", type=lambda text: text.split(","))
    p.add_argument("--limit", type=float, default=1.5)
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="float64 runs at once")
    p.add_argument("--quick", action="store_true", help="sequences up to 24")
    p.add_argument("--full", action="store_true", help="BERT-base")
    a = p.parse_args()
    a.isa = present(a.bertc, a.isa)
    if a.quick:
        a.batch, a.sequence = 2, 24
    print("| model | output | instruction set | RMS error, bert.c / ONNX Runtime | ratio | greatest | ratio |")
    print("|---|---|---|---|---|---|---|")
    if a.models:
        sys.exit(sum(judge(path, a) for path in a.models) > 0)
    beyond = 0
    with tempfile.TemporaryDirectory() as folder:
        for path, a.vocabulary in made_models(folder, a):
            beyond += judge(path, a)
    sys.exit(beyond > 0)


if __name__ == "__main__":
    main()
