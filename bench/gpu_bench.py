#!/usr/bin/env python3
"""The tables of bench/gpu_suite.sh: bert.c on a GPU, and PyTorch beside it on the same weights.

    gpu_bench.py TABLE --bertc BERTC --models FOLDER --rows ROWS [--cells 1x128,8x128] [--seconds S] [--provider cuda] [--min-time 0.5]

    base        BERT-base float16, every cell of {1, 8, 32, 128} x {16, 64, 128, 384}, and eager PyTorch; 1 x 128 also with
                kernels that are launched one after the other, and with LayerNorms that are kernels of their own
    compiled    torch.compile's share of that, and 1 x 384 of BERT-large: it takes its time for each shape
    large       BERT-large float16, and eager PyTorch
    8bit        INT8 and FP8, base and large, full and of SQuAD-like lengths
    ragged      batches of mixed lengths, padding computed and skipped
    load        process start to the first answer, by a clock outside
    models      makes the models, and no table

Cells are in the order of their worth, each of bert.c in a process of its own; --cells names others for base and compiled.
Where a cell fails it is measured in another way, which tells more of the fault. Models are made on the way (make_bert.py,
bertc quantize), once a folder. A row is written as soon as it is measured. What fails is a row too, as is what there is no
time for in S seconds, and the exit status is 1; FP8 on a GPU that has none is skipped.
"""
import argparse
import collections
import json
import os
import re
import statistics
import sys
import tempfile
import time

import gpu_process
import gpu_report

HERE = os.path.dirname(os.path.abspath(__file__))
CELLS = ("1x128", "128x128", "1x384", "32x128", "8x128", "128x384", "32x384", "8x384", "1x64", "1x16", "128x64", "32x64", "8x64", "128x16",
         "32x16", "8x16")
SIZES = {"base": [], "large": ["--layers", "24", "--hidden", "1024", "--heads", "16", "--intermediate", "4096"],
         "tiny": ["--layers", "2", "--hidden", "64", "--heads", "4", "--intermediate", "128", "--vocabulary", "1000"]}
CELL_SECONDS = 60
NEXT_SECONDS = 20  # in another way, where it failed: it may have taken all of its time
# What a cell is measured with, in turn, until one gives a time: the row's way, and the environment.
NOT_AHEAD = ("not launched ahead", {"BERT_CUDA_LAUNCH_AHEAD": "off"})
NORMS_APART = ("norms apart", {"BERT_CUDA_LATE_NORM": "off"})
WAYS = [("", {}), NOT_AHEAD, NORMS_APART, ("products of the library", {"BERT_CUDA_LINEAR": "library"})]
NOT_RECORDED = "can't be recorded"  # so says the notice of a session that goes without CUDA graphs


class Failure(Exception):
    pass


class OutOfTime(Failure):
    pass


def said(done):
    """What a row of a time has besides, of what bertc said."""
    more = {"notices": gpu_process.note_of(done.err)} if done.err else {}
    return {**more, "mark": "no CUDA graph"} if NOT_RECORDED in done.err else more


class Table:
    def __init__(self, a):
        self.a, self.failed, self.end = a, 0, time.monotonic() + a.seconds
        self.failures = collections.Counter()

    def add(self, row):
        gpu_report.append(self.a.rows, row)
        told = f"{row['median_ms']:.3f} ms" if "median_ms" in row else row["note"]
        print(row.get("engine") or f"{row['outcome']}  {row['check']}", row.get("model", ""), row.get("precision", ""), row.get("cell", ""),
              row.get("way", ""), told, flush=True)

    def amiss(self, what, outcome, note):
        self.failed |= outcome != "skipped"
        self.add({"check": what, "outcome": outcome, "note": note})

    def attempt(self, what, function, *arguments, **more):
        """One step of a table; the others go on when it fails, however. Returns what became of it."""
        try:
            function(*arguments, **more)
            return "passed"
        except OutOfTime as late:
            outcome, note = "not run", str(late)
        except Failure as failure:
            no_fp8 = gpu_report.says_no_fp8(str(failure))
            outcome, note = ("skipped", gpu_report.NO_FP8) if no_fp8 else ("failed", str(failure))
        except Exception as error:
            outcome, note = "failed", f"{type(error).__name__}: {error}"
        self.amiss(what, outcome, note)
        return outcome

    def call(self, command, most, environment=None, on_line=None):
        left = self.end - time.monotonic()
        if left < 5:
            raise OutOfTime("no time was left")
        done = gpu_process.run(command, min(most, left), environment, on_line=on_line)
        if done.status is None and left < most:
            raise OutOfTime(done.why())
        if done.status != 0:
            raise Failure(f"{os.path.basename(command[0])} {done.why()}")
        return done

    def model(self, size):
        path = os.path.join(self.a.models, f"bert-{size}.onnx")
        if not os.path.exists(path):
            self.call([sys.executable, os.path.join(HERE, "make_bert.py"), path + ".new", *SIZES[size]], 120)
            os.replace(path + ".new", path)
        return path

    def quantized(self, size):
        path = os.path.join(self.a.models, f"bert-{size}-int8.onnx")
        if not os.path.exists(path):
            self.call([self.a.bertc, "quantize", self.model(size), path + ".new"], 120)
            os.replace(path + ".new", path)
        return path

    def environment(self, variables=None):
        """Each has a file of choices of its own: what is fastest may be another product."""
        variables = variables or {}
        return {"BERT_CUDA_GEMM_CACHE": os.path.join(self.a.models, "-".join(["gemm-choices", *map("-".join, variables.items())])), **variables}

    def bertc(self, size, precision, cell, way="", words=(), model=None, variables=None, most=CELL_SECONDS):
        """The row of one `bertc bench`; `precision` is what the table calls it, `words` and `variables` (of the environment) what
        asks for it; `most` seconds."""
        batch, sequence = cell.split("x")
        command = [self.a.bertc, "bench", model or self.model(size), "--provider", self.a.provider, "--batch", batch, "--sequence",
                   sequence, "--min-time", str(self.a.min_time), "--device-time", "--format", "json", *words]
        done = self.call(command, most, self.environment(variables))
        report = json.loads(done.out)
        if report["provider"] != self.a.provider:
            raise Failure(f"it ran on {report['provider']}, not on {self.a.provider}")
        times = report["cells"][0]
        self.add({"engine": "bert.c", "model": size, "precision": precision, "way": way, "options": list(words), "cell": cell, **said(done),
                  **{k: times[k] for k in ("median_ms", "min_ms", "p99_ms", "runs", "tokens")},
                  "device_median_ms": times.get("device_median_ms")})  # of runs that are replayed

    def cell(self, size, precision, cell, way="", words=(), model=None, ways=WAYS):
        """One cell, in the first of the ways that gives a time. Two cells that fail in the same way are enough to know."""
        row = {"engine": "bert.c", "model": size, "precision": precision, "cell": cell, "way": way}
        tried, most = False, CELL_SECONDS
        for other, variables in ways:
            key = (size, precision, way, other)
            if self.failures[key] == 2:
                continue
            tried = True
            name = ", ".join(filter(None, (way, other)))
            outcome = self.attempt(gpu_report.name_of({**row, "way": name}), self.bertc, size, precision, cell, name, words, model,
                                   variables, most)
            if outcome != "failed":
                return
            most = NEXT_SECONDS
            self.failures[key] += 1
        if not tried:
            self.amiss(gpu_report.name_of(row), "not run", "two cells before it failed in every way")

    def pytorch(self, size, precision, cells, mode, words=()):
        """Rows of gpu_pytorch.py, each taken as it comes."""
        missing = list(cells)

        def take(line):
            row = {"model": size, "way": "", **json.loads(line)}
            missing.remove(row["cell"])
            if "error" in row:
                self.amiss(gpu_report.name_of(row), "failed", row["error"])
                return
            skips = row.get("cudagraph_skips")
            self.add({**row, **({"mark": f"CUDA graphs skipped: {skips}"} if skips else {})})

        def on_line(line):
            if line.startswith("{"):  # what doesn't is PyTorch's own talk
                self.attempt(f"PyTorch {mode} {size}, a cell", take, line)

        command = [sys.executable, os.path.join(HERE, "gpu_pytorch.py"), self.model(size), "--mode", mode, "--precision", precision,
                   "--cells", ",".join(cells), "--seconds", str(self.a.min_time), "--device", self.a.device, *words]
        try:
            done = self.call(command, self.a.seconds, on_line=on_line)
            # It says much more.
            said = gpu_process.note_of("\n".join(line for line in done.err.splitlines() if re.search("(?i)warning|cudagraph", line)))
            if said:
                self.add({"check": f"PyTorch {mode} {size}", "outcome": "passed", "note": "", "notices": said})
        except OutOfTime as late:
            for i, cell in enumerate(missing):  # the first is what it was at
                self.amiss(f"PyTorch {mode} {size} {cell}", "not run", "no time was left" if i else str(late))

    def difference(self, size, precision, folder):
        """Greatest difference of logits between bert.c and eager PyTorch, both in this precision, on the same ids."""
        import numpy as np

        words = [w for n in ("input_ids", "attention_mask", "token_type_ids") for w in ("--input", f"{n}={folder}/{n}.npy")]
        self.call([self.a.bertc, "run", self.model(size), "--provider", self.a.provider, "--precision", precision, *words, "--output-dir",
                   folder], CELL_SECONDS, self.environment())
        worst = float(np.abs(np.load(f"{folder}/logits.npy") - np.load(f"{folder}/there.npy")).max())
        close = worst <= (1e-4 if precision == "fp32" else 1e-2)
        self.failed |= not close
        self.add({"check": f"logits of BERT-{size} {precision} against PyTorch's", "worst_difference": worst,
                  "outcome": "passed" if close else "failed", "note": f"worst difference {worst:.1e}"})

    # ---- The tables

    def full(self, size, cells):
        precision = self.a.precision
        for cell in cells:
            self.cell(size, precision, cell, "", ["--precision", precision])
        with tempfile.TemporaryDirectory() as folder:
            self.attempt(f"PyTorch eager {size}", self.eager, size, cells, folder)
            self.attempt(f"logits {size}", self.difference, size, precision, folder)

    def eager(self, size, cells, folder):
        """One process for PyTorch's times and its logits."""
        import numpy as np

        shape = (2, 64)
        for name, value in (("input_ids", np.random.default_rng(1).integers(0, 1000, shape)), ("attention_mask", np.ones(shape, np.int64)),
                            ("token_type_ids", np.zeros(shape, np.int64))):
            np.save(f"{folder}/{name}.npy", value)
        self.pytorch(size, self.a.precision, cells, "eager", ["--ids", f"{folder}/input_ids.npy", "--logits", f"{folder}/there.npy"])

    def base(self):
        self.full("base", self.a.cells.split(","))
        for way in (NOT_AHEAD, NORMS_APART):
            self.cell("base", self.a.precision, "1x128", "", ["--precision", self.a.precision], ways=[way])

    def large(self):
        self.full("large", ["1x384", "1x128", "32x384", "8x384", "8x128", "32x128"])

    def tiny(self):
        self.full("tiny", ["1x16", "2x16"])

    def compiled(self):
        """There may be no time for all of BERT-base's: those that tell most, BERT-large's one, then the others."""
        cells = self.a.cells.split(",")
        for size, some in (("base", cells[:4]), ("large", ["1x384"]), ("base", cells[4:])):
            if some:
                self.attempt(f"PyTorch compiled {size}", self.pytorch, size, self.a.precision, some, "compiled")

    def eight_bit(self):
        ways = [("int8", self.quantized, ["--precision", self.a.precision, "--quant-scope", "sequence"]),
                ("fp8", self.model, ["--precision", "fp8"])]
        for size, cells, way, more in (("base", ("128x128", "1x128"), "", []), ("large", ("64x384",), "skip", ["--lengths", "84-384"])):
            for precision, model, words in ways:
                self.attempt(f"bert.c {size} {precision}", lambda: [
                    self.cell(size, precision, cell, way, [*words, *more], model(size)) for cell in cells])

    def ragged(self):
        """Lengths whose mean is half of the greatest: bertc spreads so many that 0.31 of the way is the mean."""
        for cell in ("128x128", "32x128", "32x384"):
            sequence = int(cell.split("x")[1])
            for way in ("skip", "compute"):
                self.cell("base", self.a.precision, cell, way,
                          ["--precision", self.a.precision, "--lengths", f"{round(0.275 * sequence)}-{sequence}", "--padding", way])

    def load(self):
        for way, variables in (("load", {}), ("load, no file of choices", {"BERT_CUDA_GEMM_CACHE": "off"})):
            row = {"engine": "bert.c", "model": "base", "precision": self.a.precision, "cell": "1x128", "way": way}
            self.attempt(gpu_report.name_of(row), self.first_answers, row, variables)

    def first_answers(self, row, variables):
        command = [self.a.bertc, "bench", self.model("base"), "--provider", self.a.provider, "--precision", self.a.precision, "--batch",
                   "1", "--sequence", "128", "--runs", "1", "--format", "json"]
        # The first brings files into memory, and is not counted.
        runs = [self.call(command, CELL_SECONDS, {**self.environment(), **variables}) for _ in range(6)]
        times = [run.seconds * 1e3 for run in runs]
        self.add({**row, "median_ms": statistics.median(times[1:]), "min_ms": min(times[1:]), "runs": 5, "first_ms": times[0], **said(runs[-1])})

    def models(self):
        for size in ("base", "large"):
            self.model(size)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"base": Table.base, "large": Table.large, "8bit": Table.eight_bit, "ragged": Table.ragged, "load": Table.load,
              "tiny": Table.tiny, "compiled": Table.compiled, "models": Table.models}
    p.add_argument("table", choices=tables)
    p.add_argument("--bertc", default="bertc")
    p.add_argument("--models", required=True)
    p.add_argument("--rows", default=os.devnull)
    p.add_argument("--cells", default=",".join(CELLS))
    p.add_argument("--seconds", type=float, default=440, help="of all")
    p.add_argument("--provider", default="cuda")
    p.add_argument("--device", default="cuda", help="PyTorch's name for it")
    p.add_argument("--precision", default="fp16")
    p.add_argument("--min-time", type=float, default=0.5, help="seconds of each cell and engine")
    table = Table(p.parse_args())
    os.makedirs(table.a.models, exist_ok=True)
    gpu_process.end_with_the_stage()
    table.attempt(table.a.table, tables[table.a.table], table)
    return table.failed


if __name__ == "__main__":
    sys.exit(main())
