#!/usr/bin/env python3
"""Holds `bertc run` against ONNX Runtime on the same inputs: random token ids, full and padded batches.

    pip install -r tests/tools/requirements.txt
    python tests/tools/onnxruntime_parity.py build/release/cli/bertc            # a sample: the bundled models, a BERT of 3 layers
    python tests/tools/onnxruntime_parity.py build/release/cli/bertc --full     # BERT-base too, sequences up to 512
    python tests/tools/onnxruntime_parity.py build/release/cli/bertc MODEL.onnx # a model of your own

Every element has to be within --tolerance (1e-4), absolute or relative; the quantized model within twenty times that and
ONNX Runtime's own rule of one scale a tensor. Exits with 1 when one is not.
"""

import argparse
import os
import sys
import tempfile

import numpy as np

from engines import SENTIMENT, bertc_run, file_name, made_up, make_bert, ort_session


def worst_error(got, expected):
    """Greatest of the lesser of absolute and relative error; infinite where shape, NaN or infinity differ."""
    if got.shape != expected.shape or not np.array_equal(np.isfinite(got), np.isfinite(expected)):
        return np.inf
    error = np.abs(got.astype(np.float64) - expected)
    return float(np.max(np.minimum(error, error / np.maximum(np.abs(expected), 1e-30)), initial=0))


def check(bertc, path, tolerance, cells, vocabulary, options):
    session = ort_session(path)
    random = np.random.default_rng(7)
    failures = 0
    for batch, sequence in cells:
        for padded in (False, True) if batch > 1 else (False,):
            feeds = made_up(session, random, batch, sequence, vocabulary, padded)
            expected = session.run(None, feeds)
            got = bertc_run(bertc, path, feeds, options)
            for entry, values in zip(session.get_outputs(), expected):
                error = worst_error(got[file_name(entry.name)], values)
                failed = not error <= tolerance
                failures += failed
                print(f"{'FAIL' if failed else 'ok  '} {os.path.basename(path):34} {batch}x{sequence:<4}"
                      f"{'padded' if padded else 'full  '} {entry.name:14} {error:.2e} {' '.join(options)}", flush=True)
    return failures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bertc")
    p.add_argument("models", nargs="*")
    p.add_argument("--full", action="store_true", help="BERT-base as well")
    p.add_argument("--tolerance", type=float, default=1e-4)
    p.add_argument("--vocabulary", type=int, default=1000, help="ids of models of your own lie below")
    a = p.parse_args()
    failures = 0
    if a.models:
        for path in a.models:
            failures += check(a.bertc, path, a.tolerance, [(1, 16), (4, 64)], a.vocabulary, [])
        sys.exit(failures > 0)
    small = [(1, 1), (1, 16), (3, 37), (8, 128)]
    for name, factor in (("model", 1), ("model-optimized", 1), ("model-optimized-quantized", 20)):
        path = os.path.join(SENTIMENT, f"{name}.onnx")
        for options in ([], ["--no-passes"], ["--provider", "reference"]):
            cells = small[:3] if "reference" in options else small
            failures += check(a.bertc, path, factor * a.tolerance, cells, 4821, options)
    with tempfile.TemporaryDirectory() as folder:
        for opset in ("11", "17"):
            path = os.path.join(folder, f"bert-3x768-opset{opset}.onnx")
            make_bert(path, "--layers", "3", "--vocabulary", "2000", "--opset", opset)
            for threads in ("1", "2"):
                failures += check(a.bertc, path, a.tolerance, small, 2000, ["--threads", threads])
        if a.full:
            path = os.path.join(folder, "bert-base.onnx")
            make_bert(path)
            cells = [(batch, sequence) for batch in (1, 8) for sequence in (16, 128, 384, 512)]
            failures += check(a.bertc, path, a.tolerance, cells, 21128, [])
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
