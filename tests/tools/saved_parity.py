#!/usr/bin/env python3
"""Holds what `bertc inspect --save-optimized` writes against ONNX Runtime, case by case.

    pip install -r tests/tools/requirements.txt
    python tests/tools/saved_parity.py build/release/cli/bertc                # tests/data/graphs, bundled models, ModernBERTs
    python tests/tools/saved_parity.py build/release/cli/bertc FOLDER ...     # other cases: folders with model.onnx and test_data_set_*

For every case: the saved file, run by ONNX Runtime, gives the outputs of the case within its tolerance (tolerances.txt
beside it), with weights in the file and outside of it; bert.c loads the saved file again, reaches the same operators as from
the original, and passes the case with it. Without passes the saved file is the graph as it was: it has to pass as well.
The same of --random draws (40) of tests/tools/random_graphs.py, and as many of its --static ones, whose outputs are those of ONNX
Runtime without its optimizer on the original. Exits with 1 when one does not.
"""

import argparse
import fnmatch
import glob
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

import engines
import random_graphs

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def tensors(folder, kind):
    """Tensors input_0.pb, input_1.pb ... by name."""
    found = {}
    for index in range(len(glob.glob(os.path.join(glob.escape(folder), f"{kind}_*.pb")))):
        proto = onnx.TensorProto()
        with open(os.path.join(folder, f"{kind}_{index}.pb"), "rb") as file:
            proto.ParseFromString(file.read())
        found[proto.name] = numpy_helper.to_array(proto)
    return found


def tolerance(case):
    """rtol and atol, by the first pattern in tolerances.txt that fits."""
    path = os.path.join(os.path.dirname(case), "tolerances.txt")
    for line in open(path) if os.path.exists(path) else []:
        columns = line.split("#")[0].split()
        if columns and fnmatch.fnmatch(os.path.basename(case), columns[0]):
            return float(columns[1]), float(columns[2])
    return 1e-3, 1e-4


def bertc(arguments):
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stdout, done.stderr.strip()


def operators(program, model):
    code, out, error = bertc([program, "inspect", model, "--format", "json"])
    if code:
        raise ValueError(error)
    return sorted((op["domain"], op["op"], op["count"]) for op in json.loads(out)["ops"])


def check_outputs(session, case):
    rtol, atol = tolerance(case)
    worst = 0.0
    for data_set in sorted(glob.glob(os.path.join(glob.escape(case), "test_data_set_*"))):
        feeds = tensors(data_set, "input")
        expected = tensors(data_set, "output")
        wanted = {i.name for i in session.get_inputs()}
        got = session.run(list(expected), {name: value for name, value in feeds.items() if name in wanted})
        for (name, values), result in zip(expected.items(), got):
            if result.shape != values.shape or result.dtype != values.dtype:
                raise ValueError(f"{name} is {result.dtype}{result.shape} and not {values.dtype}{values.shape}")
            if not np.allclose(result, values, rtol=rtol, atol=atol):
                raise ValueError(f"{name} is off by {np.max(np.abs(result - values)):.2e}")
            if values.size and values.dtype.kind == "f":
                worst = max(worst, float(np.max(np.abs(result.astype(np.float64) - values))))
    return worst


def check(program, case, folder, options):
    model = os.path.join(case, "model.onnx")
    saved_case = os.path.join(folder, os.path.basename(case))
    shutil.rmtree(saved_case, ignore_errors=True)
    os.makedirs(saved_case)
    for data_set in glob.glob(os.path.join(glob.escape(case), "test_data_set_*")):
        os.symlink(os.path.abspath(data_set), os.path.join(saved_case, os.path.basename(data_set)))
    saved = os.path.join(saved_case, "model.onnx")
    code, _, error = bertc([program, "inspect", model, "--save-optimized", saved, *options])
    if code:
        raise ValueError(error)
    worst = check_outputs(engines.ort_session(saved), case)
    if "--no-passes" not in options and operators(program, saved) != operators(program, model):
        raise ValueError(f"loaded again it has {operators(program, saved)} and not {operators(program, model)}")
    rtol, atol = tolerance(case)
    code, out, error = bertc([program, "verify", saved_case, "--rtol", str(rtol), "--atol", str(atol)])
    if code:
        raise ValueError(f"bertc verify: {out.splitlines()[0]}")
    return worst


def made_case(source, vocabulary, folder):
    """A model as a case, with ONNX Runtime's own outputs."""
    case = os.path.join(folder, "originals", os.path.splitext(os.path.basename(source))[0])
    data_set = os.path.join(case, "test_data_set_0")
    os.makedirs(data_set)
    shutil.copy(source, os.path.join(case, "model.onnx"))
    weights = os.path.join(os.path.dirname(source), "weights.bin")  # Of all in tests/data/exports.
    if os.path.exists(weights):
        shutil.copy(weights, case)
    session = engines.ort_session(os.path.join(case, "model.onnx"))
    random = np.random.default_rng(3)
    ids = random.integers(1, vocabulary, (3, 21))
    feeds = {"input_ids": ids, "attention_mask": (np.arange(21) < np.array([[21], [9], [14]])).astype(np.int64),
             "token_type_ids": np.zeros_like(ids)}
    feeds = {i.name: feeds[i.name] for i in session.get_inputs()}
    outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds)))
    for kind, named in (("input", feeds), ("output", outputs)):
        for index, (tensor, values) in enumerate(named.items()):
            with open(os.path.join(data_set, f"{kind}_{index}.pb"), "wb") as file:
                file.write(numpy_helper.from_array(values, tensor).SerializeToString())
    return case


def check_draw(program, draw, folder):
    """What became of a draw: "agrees", or why it can't be judged."""
    static = isinstance(draw, random_graphs.StaticDraw)
    if not static and any(departs(draw.bert) for departs in random_graphs.DEPARTURES.values()):
        return "ONNX Runtime departs from ONNX"
    try:
        expected = draw.by_onnxruntime(optimize=False)
    except Exception:  # ONNX Runtime's exceptions have no common class
        return "ONNX Runtime refuses it"
    original, saved = os.path.join(folder, "original.onnx"), os.path.join(folder, "saved.onnx")
    with open(original, "wb") as file:
        file.write(draw.bert.model)
    code, _, error = bertc([program, "inspect", original, "--quiet", "--save-optimized", saved])
    if code:
        raise ValueError(error)
    session = engines.ort_session(saved, optimize=False)
    got = [dict(zip(draw.bert.outputs, session.run(draw.bert.outputs, feed))) for feed in draw.feeds]
    if static:
        problems, flipped = draw.hold(got, expected, "cpu")
        if problems:
            raise ValueError("; ".join(problems))
        return "flipped" if flipped else "agrees"
    limit = 1e-4 if draw.bert.kind in ("float", "weights") else random_graphs.FLIPPED_TOLERANCE
    worst = max(random_graphs.differ(g[name], e[name]) for g, e in zip(got, expected) for name in draw.bert.outputs)
    if not worst <= limit:
        raise ValueError(f"{draw.bert.kind}: off by {worst:.2e}")
    return "agrees"


def check_draws(program, count, folder):
    """How many random graphs failed."""
    verdicts, failures = {}, 0
    for kind, seed in itertools.product((random_graphs.Draw, random_graphs.StaticDraw), range(count)):
        try:
            verdict = check_draw(program, kind(seed), folder)
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
        except Exception as reason:  # whatever ONNX Runtime throws is an answer
            print(f"FAIL  random graph {seed} ({kind.__name__})  {reason}", flush=True)
            failures += 1
    print(f"random graphs: {verdicts}, {failures} failed")
    if verdicts.get("agrees", 0) + failures < count:
        print("FAIL  too few of them count")
        failures += 1
    return failures


def find_cases(folders):
    for folder in map(os.path.normpath, folders):
        if os.path.exists(os.path.join(folder, "model.onnx")):
            yield folder
        else:
            for model in sorted(glob.glob(os.path.join(glob.escape(folder), "*", "model.onnx"))):
                yield os.path.dirname(model)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bertc")
    p.add_argument("folders", nargs="*")
    p.add_argument("--random", type=int, default=40, metavar="N", help="random graphs besides (default: 40)")
    a = p.parse_args()
    failures = passed = 0
    with tempfile.TemporaryDirectory() as folder:
        cases = list(find_cases(a.folders or [os.path.join(ROOT, "tests", "data", "graphs")]))
        if not a.folders:
            with open(os.path.join(folder, "tolerances.txt"), "w") as file:
                file.write("*quantized 0 2e-2\n")
            os.makedirs(os.path.join(folder, "originals"))
            shutil.copy(os.path.join(folder, "tolerances.txt"), os.path.join(folder, "originals", "tolerances.txt"))
            names = ("model", "model-optimized", "model-optimized-quantized")
            cases += [made_case(os.path.join(ROOT, "models", "zh-sentiment", f"{n}.onnx"), 4821, folder) for n in names]
            # Heads that are rotated.
            exports = sorted(glob.glob(os.path.join(glob.escape(ROOT), "tests", "data", "exports", "new_modernbert_*.onnx")))
            cases += [made_case(source, 100, folder) for source in exports]
        if not cases:
            sys.exit("there is no case")
        for case in cases:
            for options in ([], ["--external-data"], ["--no-passes"]):
                name = " ".join([os.path.basename(case), *options])
                try:
                    print(f"ok    {name}  worst error {check(a.bertc, case, folder, options):.2e}", flush=True)
                    passed += 1
                except Exception as reason:  # whatever ONNX Runtime throws is an answer
                    print(f"FAIL  {name}  {reason}", flush=True)
                    failures += 1
        print(f"{passed} passed, {failures} failed")
        failures += check_draws(a.bertc, a.random, folder)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
