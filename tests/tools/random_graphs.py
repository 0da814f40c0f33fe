#!/usr/bin/env python3
"""Random small BERTs in random spellings, run by ONNX Runtime and by bert.c, and compared.

    pip install -r tests/tools/requirements.txt
    python tests/tools/random_graphs.py build/release/libbertc.so                    # 200 draws
    python tests/tools/random_graphs.py build/release/libbertc.so --count 10000      # ten minutes on two idle cores
    python tests/tools/random_graphs.py build/release/libbertc.so --seed 17 --count 1 --verbose --keep cases
    python tests/tools/random_graphs.py build/release/libbertc.so --plant-fault      # every draw has to fail
    python tests/tools/random_graphs.py build/release/libbertc.so --static --count 5000     # static quantization
    BERT_PLUGIN_DIR=build/release/tests/cuda/emulated BERT_CUDA_GEMM_CACHE=off \\
        python tests/tools/random_graphs.py build/release/libbertc.so --provider cuda       # on the CUDA emulator

A seed decides all: sizes, heads of odd sizes, heads that are rotated by their positions (and what is nearly that), layers,
opset 9 to 23, types, how each part is spelled (PyTorch 1 and 2 exports, torch.einsum, ONNX Runtime's fused operators, weights
of 16 and 8 bits, dynamic and static quantization), the mask's form and content, and two inputs. Every draw runs on bert.c's cpu
(or another, by --provider) and reference backends, with passes and without. What may differ:

- float graphs by --tolerance (1e-4) of 1 + |expected|; beyond it bert.c has to be as near to its own float64 run as ONNX
  Runtime is (within twice its error: scores beside a mask of -10000 lose their digits in both);
- graphs of float16 by 0.02; beyond it by 0.1, and 0.02 in the root mean square (ONNX Runtime computes them in float32,
  bert.c rounds every step to float16 as the graph says);
- quantized graphs by 1e-4 in the root mean square; where one rounding flips, by 3 %, and on cpu (or the other) with passes in one of
  ten of these draws at most;
- where ONNX Runtime departs from ONNX: DEPARTURES lists how, docs/comparing-with-onnxruntime.md says why. Such a draw counts
  only if bert.c agrees with ONNX Runtime without its optimizer, or with the formulas in numpy.

The float64 run itself has to be what random_graphs_exact.py computes in numpy, to 1e-11. Exits with 1 when a draw fails.

With --static the graphs are others (random_graphs_static.py): operators of BERT between QuantizeLinear and DequantizeLinear, as
quantize_static puts them, and as it doesn't. With passes and without a backend has to give the same bits of each output that
no product, GELU or spelled normalization is part of (on cpu nor what a table has by the reference implementations, such as a
Tanh; on reference nor a sum that a normalization computes, which it has in double). The others may differ as roundings do that
flip, 8 % of the root mean square or 2 steps of bytes, and so may ONNX Runtime without its optimizer, and runs that skip padding.
"""

import argparse
import collections
import concurrent.futures
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from bertc_library import PADDED_ROWS_UNDEFINED, BertcError, Library
from engines import ort_session
from random_graphs_bert import RandomBert
from random_graphs_draw import Choices
from random_graphs_static import RandomStatic

HALF_TOLERANCE, HALF_ROUNDING, HALF_ROUNDING_RMS = 0.02, 0.1, 0.02
FLIPPED_TOLERANCE = 0.03
STATIC_TOLERANCE, STATIC_STEPS = 0.08, 2  # Of few numbers, where one step follows from another; bytes by so many.
QUANTIZED_TOLERANCE = 1e-4
BESIDE_10000 = 0.005  # float32 has steps of 1e-3 there.
EXACT_TOLERANCE = 1e-11


def modes_of(provider):
    """How every draw runs: a name, and arguments of Library.run."""
    return {backend + passes: {"provider": backend, "passes": not passes}
            for backend in (provider, "reference") for passes in ("", ", no passes")}


def is_dequantized_product(bert):
    """MatMul with DequantizeLinear's output: ONNX Runtime's optimizer quantizes x too."""
    return any(name.endswith(".spelling") and value == "dequantize" for name, value in bert.choices.made.items())


def is_empty_attention_row(bert):
    """ai.onnx's Attention on a row that attends to nothing: ONNX Runtime gives zeros, softmax NaN or equal shares."""
    return bert.attention == "onnx" and (bert.mask.fill < -1e30 or bert.mask.form == "boolean")


# How ONNX Runtime is known to depart from ONNX, and in which draws.
DEPARTURES = {"dequantized product": is_dequantized_product, "attention row without keys": is_empty_attention_row}


def differ(got, expected):
    """Greatest |got - expected| / (1 + |expected|); infinite where shape or NaN differ."""
    if got.shape != expected.shape or not np.array_equal(np.isnan(got), np.isnan(expected)):
        return np.inf
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(np.float64) - expected) / (1 + np.abs(expected))
    return float(np.nanmax(error, initial=0))


def differ_rms(got, expected):
    """Root mean square of the difference over that of what was expected; infinite where shape or NaN differ."""
    if got.shape != expected.shape or not np.array_equal(np.isnan(got), np.isnan(expected)):
        return np.inf
    error = np.nan_to_num(got.astype(np.float64) - expected)
    return float(np.sqrt(np.sum(error * error) / max(np.sum(np.nan_to_num(expected.astype(np.float64)) ** 2), 1e-30)))


def worst(results, expected, measure):
    """The greatest difference over all runs and the outputs that both have."""
    return max(measure(got[name], right[name]) for got, right in zip(results, expected) for name in right if name in got)


class Draw:
    """One seed: the graph, its inputs, and the verdict."""

    graph = RandomBert

    def __init__(self, seed, fixed=None, provider="cpu"):
        self.seed, self.provider, self.modes = seed, provider, modes_of(provider)
        choices = Choices(seed, fixed)
        self.bert = self.graph(choices)
        self.feeds = [self.bert.feeds(choices.random.randrange(1, 5), choices.random.randrange(1, self.bert.positions))
                      for _ in range(2)]
        self.expected = None
        self.refused = None  # What ONNX Runtime says.

    def by_onnxruntime(self, optimize=True):
        session = ort_session(self.bert.model, optimize)
        return [dict(zip(self.bert.outputs, session.run(self.bert.outputs, feed))) for feed in self.feeds]

    def by_formulas(self):
        """What the outputs of the recipe are, in float64; None where there is no recipe."""
        if not self.bert.recipe:
            return None
        return [{name: values for name, values in self.bert.recipe(feed).items() if name in self.bert.outputs}
                for feed in self.feeds]

    def judge(self, library, tolerance, fault=False):
        """(verdict, details): agrees, rounding, flipped, departure ..., by numpy ..., refused, or FAIL."""
        model = planted(self.bert.model) if fault else self.bert.model
        meant = self.by_formulas()
        try:
            self.expected, verdicts = self.by_onnxruntime(), set()
        except Exception as error:  # ONNX Runtime's exceptions have no common class.
            self.refused = str(error).strip()
            if not meant:
                return "refused", [self.refused]
            self.expected, verdicts = meant, {"by numpy alone: ONNX Runtime refuses"}
        results, problems, exact = {}, [], None
        for mode, options in self.modes.items():
            try:
                results[mode] = library.run(model, self.feeds, self.bert.outputs, **options)
            except BertcError as error:
                problems.append(f"{mode}: {error}")
        try:
            if self.bert.kind in ("float", "weights"):
                exact = library.run(model, self.feeds, self.bert.outputs, double=True)
        except BertcError as error:
            problems.append(f"float64: {error}")
        if meant and exact:
            error = worst(exact, meant, differ)
            if not error <= EXACT_TOLERANCE:
                problems.append(f"float64 differs from numpy by {error:.2e}")
        for mode, got in results.items():
            verdict, text = self.compare(got, exact, tolerance)
            tolerated = verdict == "flipped" and mode != self.provider
            verdicts.add(f"flipped, but not on {self.provider} with passes" if tolerated else verdict)
            if verdict == "FAIL":
                problems.append(f"{mode}: {text}")
        if problems:
            return "FAIL", problems
        return sorted(verdicts - {"agrees"} or {"agrees"})[0], []

    def near(self, got, expected, exact, tolerance):
        """"agrees"; "flipped" or "rounding" where the reasons above allow more; or None."""
        if self.bert.quantized:
            error = worst(got, expected, differ_rms)
            return "agrees" if error <= QUANTIZED_TOLERANCE else "flipped" if error <= FLIPPED_TOLERANCE else None
        error = worst(got, expected, differ)
        if error <= (HALF_TOLERANCE if self.bert.kind == "half" else tolerance):
            return "agrees"
        if self.bert.kind == "half":
            rounding = error <= HALF_ROUNDING and worst(got, expected, differ_rms) <= HALF_ROUNDING_RMS
            return "rounding" if rounding else None
        if exact:
            ours, theirs = worst(got, exact, differ), worst(expected, exact, differ)
            if ours <= 2 * theirs and theirs < 0.01 and np.isfinite(ours):
                return "rounding"
        return None

    def compare(self, got, exact, tolerance):
        """(verdict, text)"""
        verdict = self.near(got, self.expected, exact, tolerance)
        if verdict:
            return verdict, ""
        if self.refused:
            error = worst(got, self.expected, differ)
            if error <= BESIDE_10000 and -10000 in (self.bert.mask.fill, self.bert.filter_value):
                return "rounding", ""
            return "FAIL", f"differs from numpy by {error:.2e}"
        unoptimized = self.by_onnxruntime(False)
        for name, applies in DEPARTURES.items():
            if not applies(self.bert):
                continue
            by_formula = exact and self.bert.recipe and worst(got, exact, differ) <= tolerance
            if by_formula or self.near(got, unoptimized, exact, tolerance):
                return f"departure: {name}", ""
        measure = differ_rms if self.bert.quantized else differ
        text = (f"differs from ONNX Runtime by {worst(got, self.expected, measure):.2e}, "
                f"without its optimizer by {worst(got, unoptimized, measure):.2e}")
        if exact:
            text += (f"; from float64 bert.c by {worst(got, exact, differ):.2e}, "
                     f"ONNX Runtime by {worst(self.expected, exact, differ):.2e}")
        return "FAIL", text

    def keep(self, folder):
        """Writes the draw as a case that `bertc verify` and `bertc compare` take."""
        case = os.path.join(folder, f"seed_{self.seed}")
        os.makedirs(case, exist_ok=True)
        with open(os.path.join(case, "model.onnx"), "wb") as out:
            out.write(self.bert.model)
        for number, feed in enumerate(self.feeds):
            data = os.path.join(case, f"test_data_set_{number}")
            os.makedirs(data, exist_ok=True)
            outputs = self.expected[number] if self.expected else {}
            for kind, named in (("input", feed), ("output", outputs)):
                for i, (name, values) in enumerate(named.items()):
                    with open(os.path.join(data, f"{kind}_{i}.pb"), "wb") as out:
                        out.write(numpy_helper.from_array(values, name).SerializeToString())


class StaticDraw(Draw):
    """A seed of --static."""

    graph = RandomStatic

    def __init__(self, seed, fixed=None, provider="cpu"):
        super().__init__(seed, fixed, provider)
        self.modes[f"{provider}, no padding"] = {"provider": provider, "padded_rows": PADDED_ROWS_UNDEFINED}
        # What is held against what, and by whose rules bits have to be the same: another provider's are the CPU's.
        self.pairs = [("reference", "reference, no passes", "reference"), (provider, f"{provider}, no passes", "cpu"),
                      (f"{provider}, no passes", "reference, no passes", ""), (f"{provider}, no padding", provider, ""),
                      ("reference, no passes", "ONNX Runtime", "")]

    def judge(self, library, tolerance, fault=False):
        """(verdict, details): agrees, flipped, by passes alone ..., or FAIL."""
        model = planted_scales(self.bert.model) if fault else self.bert.model
        results, problems, any_flipped = {}, [], False
        try:
            results["ONNX Runtime"] = self.expected = self.by_onnxruntime(False)
        except Exception as error:  # ONNX Runtime's exceptions have no common class.
            self.refused = str(error).strip()
        for mode, options in self.modes.items():
            try:
                results[mode] = library.run(model, self.feeds, self.bert.outputs, **options)
            except BertcError as error:
                problems.append(f"{mode}: {error}")
        for one, other, backend in self.pairs:
            if one in results and other in results:
                found, flipped = self.hold(results[one], results[other], backend, real="padding" in one)
                problems += [f"{one} and {other}: {text}" for text in found]
                any_flipped |= flipped
        if problems:
            return "FAIL", problems
        if self.refused:
            return ("refused" if fault else "by passes alone: ONNX Runtime refuses"), [self.refused]
        return "flipped" if any_flipped else "agrees", []

    def hold(self, got, expected, backend, real=False):
        """What is wrong with the outputs, and whether a rounding flipped. `real`: but for rows of padding."""
        problems, any_flipped = [], False
        for feed, ours, theirs in zip(self.feeds, got, expected):
            for name in self.bert.outputs:
                a, b = ours[name], theirs[name]
                if a.dtype != b.dtype or a.shape != b.shape:
                    problems.append(f"{name} is {a.dtype}{a.shape}, {b.dtype}{b.shape}")
                    continue
                if real:
                    a, b = real_rows(a, feed), real_rows(b, feed)
                if backend in self.bert.exact[name]:
                    if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
                        problems.append(f"{name} has other bits in {np.sum(a != b)} of {a.size}")
                    continue
                error = differ_rms(*(values.astype(np.float64) - self.bert.centers[name] for values in (a, b)))
                any_flipped |= error > QUANTIZED_TOLERANCE
                few = a.dtype.kind in "iu" and np.abs(a.astype(int) - b).max(initial=0) <= STATIC_STEPS
                if not (few or error <= STATIC_TOLERANCE):
                    problems.append(f"{name} differs by {error:.2e}")
        return problems, any_flipped


def real_rows(values, feed):
    """Those of tokens that the mask keeps, where the values have rows of tokens."""
    kept = feed.get("attention_mask")
    return values if kept is None or values.shape[:2] != kept.shape else values[kept != 0]


def planted_scales(model):
    """The model with a fault: what makes floats of bytes has other scales than what made the bytes."""
    changed = onnx.load_model_from_string(model)
    scales = {node.input[1] for node in changed.graph.node if node.op_type == "DequantizeLinear"}
    for scale in changed.graph.initializer:
        if scale.name in scales:
            scale.CopyFrom(numpy_helper.from_array(np.asarray(numpy_helper.to_array(scale) * np.float32(1.4)), scale.name))
    return changed.SerializeToString()


def planted(model):
    """The model with a fault: half of the columns of its last weight have the other sign, or other bits."""
    changed = onnx.load_model_from_string(model)
    weights = [w for w in changed.graph.initializer
               if len(w.dims) == 2 and w.name.split("_")[0] in ("weight", "half", "integers", "qkv")]
    values = numpy_helper.to_array(weights[-1]).copy()
    values[:, ::2] = ~values[:, ::2] if values.dtype.kind in "iu" else -values[:, ::2]
    weights[-1].CopyFrom(numpy_helper.from_array(values, weights[-1].name))
    return changed.SerializeToString()


def run_seeds(path, seeds, arguments):
    """Verdicts of some seeds: (seed, verdict, details, choices)."""
    library = Library(path)
    found = []
    for seed in seeds:
        fixed = dict(pair.split("=", 1) for pair in arguments.fix)
        draw = (StaticDraw if arguments.static else Draw)(seed, fixed, arguments.provider)
        verdict, details = draw.judge(library, arguments.tolerance, arguments.plant_fault)
        if arguments.keep and (verdict == "FAIL" or arguments.count == 1):
            draw.keep(arguments.keep)
        found.append((seed, verdict, details, str(draw.bert.choices)))
    return found


def all_draws(arguments):
    """Runs all seeds, some at a time in processes of their own; yields verdicts."""
    seeds = list(range(arguments.seed, arguments.seed + arguments.count))
    if arguments.jobs <= 1:
        for seed in seeds:
            yield from run_seeds(arguments.library, [seed], arguments)
        return
    chunks = [seeds[i : i + 25] for i in range(0, len(seeds), 25)]
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs) as pool:
        for future in [pool.submit(run_seeds, arguments.library, chunk, arguments) for chunk in chunks]:
            yield from future.result()


def report(arguments):
    """Prints what each draw gave, and the sums; returns the exit status."""
    counts, quantized = collections.Counter(), 0
    for seed, verdict, details, choices in all_draws(arguments):
        counts[verdict] += 1
        quantized += arguments.static or " kind=dynamic " in choices or " kind=static " in choices
        if verdict == "FAIL" and not arguments.plant_fault or arguments.verbose:
            print(f"{verdict} seed {seed}: {'; '.join(details)}\n    {choices}", flush=True)
    for verdict, count in counts.most_common():
        print(f"{count:6d} {verdict}")
    if arguments.plant_fault:
        print(f"{counts['FAIL']} of {arguments.count} planted faults found")
        # With --static some are in what is as good as constant.
        return 0 if counts["FAIL"] + counts["refused"] >= (0.95 if arguments.static else 1) * arguments.count else 1
    compared = arguments.count - counts["refused"]
    if arguments.count >= 50 and counts["flipped"] > quantized / 10:
        print(f"FAIL: {counts['flipped']} of {quantized} quantized draws have a flipped rounding, too many for chance")
        return 1
    return 0 if counts["FAIL"] == 0 and compared >= 0.9 * arguments.count else 1


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("library", help="libbertc.so")
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--seed", type=int, default=0, help="the first one")
    p.add_argument("--tolerance", type=float, default=1e-4)
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    p.add_argument("--fix", action="append", default=[], metavar="CHOICE=VALUE", help="attention=ms, layer0.up.activation=erf")
    p.add_argument("--keep", metavar="DIR", help="write draws that fail (a single draw always) as cases")
    p.add_argument("--plant-fault", action="store_true", help="change a weight of what bert.c gets")
    p.add_argument("--static", action="store_true", help="graphs of static quantization")
    p.add_argument("--provider", default="cpu", help="what is held against the reference backend: cpu, cuda")
    p.add_argument("--verbose", action="store_true", help="print every draw")
    sys.exit(report(p.parse_args()))


if __name__ == "__main__":
    main()
