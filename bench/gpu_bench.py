#!/usr/bin/env python3
"""The tables of bench/gpu_suite.sh: bert.c on a GPU, and PyTorch beside it on the same weights.

    gpu_bench.py TABLE --bertc BERTC --models FOLDER --rows ROWS [--provider cuda] [--seconds 0.5]

    base                    BERT-base float16, every cell of {1, 8, 32, 128} x {16, 64, 128, 384}, and eager PyTorch; 1 x 128 also
                            with kernels that are launched one after the other
    compiled-1 .. -128      torch.compile's share of that, by batch: it takes its time for each shape
    large                   BERT-large float16, and eager PyTorch
    8bit                    INT8 and FP8, base and large, full and of SQuAD-like lengths
    ragged                  batches of mixed lengths, padding computed and skipped
    load                    process start to the first answer, by a clock outside

Models are made on the way (make_bert.py, bertc quantize), once a folder. A row is written as soon as it is measured. What
fails is a row too, and the exit status is 1; FP8 on a GPU that has none is skipped.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import gpu_report

HERE = os.path.dirname(os.path.abspath(__file__))
BATCHES, SEQUENCES = (1, 8, 32, 128), (16, 64, 128, 384)
SIZES = {"base": [], "large": ["--layers", "24", "--hidden", "1024", "--heads", "16", "--intermediate", "4096"],
         "tiny": ["--layers", "2", "--hidden", "64", "--heads", "4", "--intermediate", "128", "--vocabulary", "1000"]}


class Failure(Exception):
    pass


def call(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


class Table:
    def __init__(self, a):
        self.a, self.failed = a, 0

    def add(self, row):
        gpu_report.append(self.a.rows, row)
        told = f"{row['median_ms']:.3f} ms" if "median_ms" in row else row["note"]
        print(row.get("engine") or row["outcome"], row.get("model", ""), row.get("precision", ""), row.get("cell", ""), row.get("way", ""),
              told, flush=True)

    def attempt(self, what, function, *arguments):
        """One step of a table; the others go on when it fails."""
        try:
            function(*arguments)
        except Failure as failure:
            if gpu_report.says_no_fp8(str(failure)):
                self.add({"check": what, "outcome": "skipped", "note": gpu_report.NO_FP8})
                return
            self.failed = 1
            self.add({"check": what, "outcome": "failed", "note": str(failure)})

    def model(self, size):
        path = os.path.join(self.a.models, f"bert-{size}.onnx")
        if not os.path.exists(path):
            call([sys.executable, os.path.join(HERE, "make_bert.py"), path + ".new", *SIZES[size]])
            os.replace(path + ".new", path)
        return path

    def quantized(self, size):
        path = os.path.join(self.a.models, f"bert-{size}-int8.onnx")
        if not os.path.exists(path):
            call([self.a.bertc, "quantize", self.model(size), path])
        return path

    def choices(self, way=""):
        return os.path.join(self.a.models, "gemm-choices" + way)

    def environment(self):
        return {**os.environ, "BERT_CUDA_GEMM_CACHE": self.choices()}

    def bertc(self, size, precision, batches, sequences, way="", words=(), model=None, **variables):
        """Rows of `bertc bench`; `precision` is what the table calls it, `words` and variables of the environment what asks for it."""
        command = [self.a.bertc, "bench", model or self.model(size), "--provider", self.a.provider, "--batch",
                   ",".join(map(str, batches)), "--sequence", ",".join(map(str, sequences)), "--min-time", str(self.a.seconds),
                   "--format", "json", *words]
        report = json.loads(call(command, env={**self.environment(), **variables}))
        if report["provider"] != self.a.provider:
            raise Failure(f"it ran on {report['provider']}, not on {self.a.provider}")
        for cell in report["cells"]:
            self.add({"engine": "bert.c", "model": size, "precision": precision, "way": way, "options": list(words),
                      "cell": f"{cell['batch']}x{cell['sequence']}",
                      **{k: cell[k] for k in ("median_ms", "min_ms", "p99_ms", "runs", "tokens")}})

    def pytorch(self, size, precision, cells, mode):
        """Rows of gpu_pytorch.py, each taken as it comes."""
        command = [sys.executable, os.path.join(HERE, "gpu_pytorch.py"), self.model(size), "--mode", mode, "--precision", precision,
                   "--cells", ",".join(cells), "--seconds", str(self.a.seconds), "--device", self.a.device]
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            for line in process.stdout:
                self.add({"model": size, "way": "", **json.loads(line)})
            if process.wait():
                errors.seek(0)
                raise Failure(f"gpu_pytorch.py {mode}: {errors.read().strip()[-500:]}")

    def difference(self, size, precision, cell):
        """Greatest difference of logits between bert.c and eager PyTorch, both in this precision, on the same ids."""
        import numpy as np

        shape = tuple(map(int, cell.split("x")))
        with tempfile.TemporaryDirectory() as folder:
            values = {"input_ids": np.random.default_rng(1).integers(0, 1000, shape), "attention_mask": np.ones(shape, np.int64),
                      "token_type_ids": np.zeros(shape, np.int64)}
            words = []
            for name, value in values.items():
                np.save(f"{folder}/{name}.npy", value)
                words += ["--input", f"{name}={folder}/{name}.npy"]
            call([self.a.bertc, "run", self.model(size), "--provider", self.a.provider, "--precision", precision, *words,
                  "--output-dir", folder])
            call([sys.executable, os.path.join(HERE, "gpu_pytorch.py"), self.model(size), "--precision", precision, "--cells", "",
                  "--device", self.a.device, "--ids", f"{folder}/input_ids.npy", "--logits", f"{folder}/there.npy"])
            worst = float(np.abs(np.load(f"{folder}/logits.npy") - np.load(f"{folder}/there.npy")).max())
        close = worst <= (1e-4 if precision == "fp32" else 1e-2)
        self.failed |= not close
        self.add({"check": f"logits of BERT-{size} {precision} {cell} against PyTorch's", "worst_difference": worst,
                  "outcome": "passed" if close else "failed", "note": f"worst difference {worst:.1e}"})

    # ---- The tables

    def full(self, size, batches, sequences):
        precision = self.a.precision
        cells = [f"{b}x{s}" for b in batches for s in sequences]
        self.attempt(f"bert.c {size}", self.bertc, size, precision, batches, sequences, "", ["--precision", precision])
        self.attempt(f"logits {size}", self.difference, size, precision, "2x64")
        self.attempt(f"PyTorch eager {size}", self.pytorch, size, precision, cells, "eager")

    def base(self):
        self.full("base", BATCHES, SEQUENCES)
        self.attempt("bert.c base, not launched ahead", lambda: self.bertc(
            "base", self.a.precision, (1,), (128,), "not launched ahead", ["--precision", self.a.precision], BERT_CUDA_LAUNCH_AHEAD="off",
            BERT_CUDA_GEMM_CACHE=self.choices("-not-ahead")))  # what is fastest may be another

    def large(self):
        self.full("large", (1, 8, 32), (128, 384))
        self.attempt("PyTorch compiled large", self.pytorch, "large", self.a.precision, ["1x384"], "compiled")

    def tiny(self):
        self.full("tiny", (1, 2), (16,))

    def compiled(self, batch):
        self.attempt(f"PyTorch compiled, batch {batch}", self.pytorch, "base", self.a.precision,
                     [f"{batch}x{s}" for s in (128, 384, 64, 16)], "compiled")

    def eight_bit(self):
        ways = [("int8", self.quantized, ["--precision", self.a.precision, "--quant-scope", "sequence"]),
                ("fp8", self.model, ["--precision", "fp8"])]
        for precision, model, words in ways:
            self.attempt(f"bert.c base {precision}", lambda: self.bertc("base", precision, (1, 128), (128,), "", words, model("base")))
            self.attempt(f"bert.c large {precision}", lambda: self.bertc(
                "large", precision, (64,), (384,), "skip", [*words, "--lengths", "74-384"], model("large")))

    def ragged(self):
        """Lengths whose mean is half of the greatest: bertc spreads them so that a third of the way is the mean."""
        for batch, sequence in ((32, 128), (128, 128), (32, 384)):
            for way in ("compute", "skip"):
                self.attempt(f"bert.c ragged {batch}x{sequence} {way}", self.bertc, "base", self.a.precision, (batch,), (sequence,), way,
                             ["--precision", self.a.precision, "--lengths", f"{sequence // 4}-{sequence}", "--padding", way])

    def load(self):
        command = [self.a.bertc, "bench", self.model("base"), "--provider", self.a.provider, "--precision", self.a.precision, "--batch",
                   "1", "--sequence", "128", "--runs", "1", "--format", "json"]
        for way, choices in (("load, no file of choices", "off"), ("load", None)):
            environment = self.environment()
            if choices:
                environment["BERT_CUDA_GEMM_CACHE"] = choices
            times = []
            for _ in range(6):  # the first brings files into memory, and is not counted
                start = time.perf_counter()
                call(command, env=environment)
                times.append((time.perf_counter() - start) * 1e3)
            self.add({"engine": "bert.c", "model": "base", "precision": self.a.precision, "cell": "1x128", "way": way,
                      "median_ms": statistics.median(times[1:]), "min_ms": min(times[1:]), "runs": 5, "first_ms": times[0]})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {"base": Table.base, "large": Table.large, "8bit": Table.eight_bit, "ragged": Table.ragged, "load": Table.load,
              "tiny": Table.tiny, **{f"compiled-{b}": lambda t, b=b: t.compiled(b) for b in BATCHES}}
    p.add_argument("table", choices=tables)
    p.add_argument("--bertc", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--rows", required=True)
    p.add_argument("--provider", default="cuda")
    p.add_argument("--device", default="cuda", help="PyTorch's name for it")
    p.add_argument("--precision", default="fp16")
    p.add_argument("--seconds", type=float, default=0.5, help="of each cell and engine")
    table = Table(p.parse_args())
    os.makedirs(table.a.models, exist_ok=True)
    table.attempt(table.a.table, tables[table.a.table], table)
    return table.failed


if __name__ == "__main__":
    sys.exit(main())
