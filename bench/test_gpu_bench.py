#!/usr/bin/env python3
"""Tests of bench/gpu_bench.py and of the result and its tables that need no GPU: what bertc and PyTorch would answer is made up here."""
import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import gpu_bench  # noqa: E402
import gpu_process  # noqa: E402
import gpu_report  # noqa: E402

BENCH = """#!/bin/sh
case "$BERT_CUDA_LAUNCH_AHEAD$BERT_CUDA_LATE_NORM$BERT_CUDA_LINEAR:$*" in
  :*"--batch 128 "*) kill -SEGV $$ ;;
  :*"--batch 32 "*) sleep 30 ;;
  library:*) exit 3 ;;
  *"--batch 9 "*) echo '{"provider": "cuda", "cells": [{}]}'; exit 0 ;;
  *"--batch 6 "*"--device-time"*) echo '{"provider": "cuda", "cells": [{"median_ms": 2, "min_ms": 1, "p99_ms": 3, "runs": 9, "tokens": 128, "device_median_ms": 1.5}]}'; exit 0 ;;
  *"--batch 7 "*) echo "bertc: a plan's kernels can't be recorded, and are called one by one: why" >&2 ;;
esac
echo '{"provider": "cuda", "cells": [{"median_ms": 2, "min_ms": 1, "p99_ms": 3, "runs": 9, "tokens": 128}]}'
"""
PYTORCH = """
import json, os
print("AUTOTUNE addmm(128x768)")
print(json.dumps({"cell": "1x128", "engine": "PyTorch 2 compiled", "precision": "fp16", "median_ms": 1, "cudagraph_skips": 0}))
print(json.dumps({"cell": "8x128", "engine": "PyTorch 2 compiled", "precision": "fp16", "error": "RuntimeError: out of memory"}))
print("{ of its own")
print(json.dumps({"cell": "9x128", "engine": "PyTorch 2 compiled", "precision": "fp16", "median_ms": 1, "cudagraph_skips": 2}), flush=True)
os._exit(7)
"""


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def wait_until(self, holds, seconds=20):
        end = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)

    def lives(self, name):
        """Whether the process lives whose number a stub wrote to a file."""
        with open(os.path.join(self.folder, name)) as file:
            number = file.read().strip()
        try:
            with open(f"/proc/{number}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False


class Process(Folder):
    def test_time_is_up_for_all_that_was_started(self):
        program = self.write("program", f"#!/bin/sh\nsleep 60 &\necho $! >{self.folder}/child\necho said\nwait\n")
        done = gpu_process.run([program], 0.5)
        self.assertEqual((done.status, done.out), (None, "said\n"))
        self.assertLess(done.seconds, 10)
        self.wait_until(lambda: not self.lives("child"))

    def test_ends(self):
        done = gpu_process.run(["/bin/sh", "-c", "echo gone >&2; kill -9 $$"], 10)
        self.assertEqual((done.status, done.why()), (-9, "ended with status -9: gone"))
        self.assertEqual(gpu_process.run([self.folder + "/none"], 10).status, 127)

    def test_the_stage_ends(self):
        program = self.write("program", "#!/bin/sh\ncd $(dirname $0); echo $$ >child.new; mv child.new child; sleep 60\n")
        stage = subprocess.Popen([sys.executable, "-c", "import sys, gpu_process; gpu_process.end_with_the_stage(); "
                                  "gpu_process.run(sys.argv[1:], 60)", program], cwd=HERE)
        self.wait_until(lambda: os.path.exists(self.folder + "/child"))
        stage.send_signal(signal.SIGTERM)
        self.assertEqual(stage.wait(timeout=20), 143)
        self.wait_until(lambda: not self.lives("child"))


class Bench(Folder):
    def table(self, seconds=100):
        for size in ("base", "large"):
            self.write(f"bert-{size}.onnx", "")
        self.rows_file = os.path.join(self.folder, "rows")
        return gpu_bench.Table(argparse.Namespace(
            bertc=self.write("bertc", BENCH), models=self.folder, rows=self.rows_file, provider="cuda", device="cuda", precision="fp16",
            min_time=0.5, seconds=seconds, cells="1x128,8x128"))

    def rows(self):
        return gpu_report.read_rows(self.rows_file)

    def told(self):
        """Of each row its cell and way, or what is amiss with which outcome."""
        return [(r["check"], r["outcome"]) if "check" in r else (r["cell"], r["way"]) for r in self.rows()]

    def test_a_cell_that_fails_is_measured_in_another_way(self):
        table = self.table()
        with mock.patch.object(gpu_bench, "CELL_SECONDS", 0.5):
            for cell in ("32x128", "1x128", "128x128", "32x16"):
                table.cell("base", "fp16", cell)
        self.assertEqual(self.told(), [
            ("bert.c base fp16 32x128", "failed"), ("32x128", "not launched ahead"), ("1x128", ""), ("bert.c base fp16 128x128", "failed"),
            ("128x128", "not launched ahead"), ("32x16", "not launched ahead")])  # two failures are enough to know
        self.assertRegex(self.rows()[0]["note"], "bertc did not end in ")
        self.assertIn("ended with status -11", self.rows()[3]["note"])
        self.assertEqual(table.failed, 1)

    def test_the_devices_own_time_is_kept_where_it_is_known(self):
        table = self.table()
        for cell in ("6x128", "1x128"):
            table.cell("base", "fp16", cell)
        self.assertEqual([row.get("device_median_ms") for row in self.rows()], [1.5, None])

    def test_cells_that_fail_in_every_way(self):
        table = self.table()
        for cell in ("9x128", "9x16", "1x16"):
            table.cell("base", "fp16", cell, "skip")
        name = "bert.c base fp16 9x128 skip"
        self.assertEqual(self.told()[:4], [(name, "failed"), *((f"{name}, {way}", "failed") for way in (
            "not launched ahead", "norms apart", "products of the library"))])
        self.assertEqual(self.rows()[0]["note"], "KeyError: 'median_ms'")
        self.assertEqual(self.told()[8:], [("bert.c base fp16 1x16 skip", "not run")])

    def test_a_cell_that_fails_has_less_time_in_other_ways(self):
        table = self.table(seconds=1000)
        with mock.patch.object(gpu_process, "run", return_value=gpu_process.Ended(None, "", "", 1)) as run:
            table.cell("base", "fp16", "1x128")
            table.cell("base", "fp16", "8x128")
        self.assertEqual([call.args[1] for call in run.mock_calls], [60, 20, 20, 20] * 2)

    def test_each_environment_has_its_choices(self):
        table = self.table()
        files = [table.environment(variables)["BERT_CUDA_GEMM_CACHE"] for _, variables in gpu_bench.WAYS]
        self.assertEqual(len(set(files)), len(gpu_bench.WAYS))

    def test_without_cuda_graphs(self):
        self.table().cell("base", "fp16", "7x128")
        self.assertEqual(self.rows()[0]["mark"], "no CUDA graph")
        self.assertIn("called one by one: why", self.rows()[0]["notices"])

    def test_time_is_up(self):
        table = self.table(seconds=0)
        table.cell("base", "fp16", "1x128")
        table.compiled()
        self.assertEqual(self.told(), [("bert.c base fp16 1x128", "not run"), *(
            (f"PyTorch compiled {cell}", "not run") for cell in ("base 1x128", "base 8x128", "large 1x384"))])

    def test_time_is_up_for_pytorch(self):
        table = self.table()
        late = gpu_bench.OutOfTime("ended while it tuned")
        with mock.patch.object(table, "call", side_effect=late):
            table.a.cells = "1x16,1x64,1x128,8x16,8x64"
            table.compiled()
        notes = [(row["check"].removeprefix("PyTorch compiled "), row["note"]) for row in self.rows()]
        self.assertEqual(notes, [("base 1x16", str(late)), *((f"base {cell}", "no time was left") for cell in ("1x64", "1x128", "8x16")),
                                 ("large 1x384", str(late)), ("base 8x64", str(late))])

    def test_pytorch(self):
        self.write("gpu_pytorch.py", PYTORCH)
        table = self.table()
        table.a.cells = "1x128,8x128,9x128"
        with mock.patch.object(gpu_bench, "HERE", self.folder):
            table.attempt("PyTorch", table.pytorch, "base", "fp16", ["1x128", "8x128", "9x128"], "compiled")
        cell = "PyTorch compiled base, a cell"
        self.assertEqual(self.told(), [("1x128", ""), ("PyTorch 2 compiled base fp16 8x128", "failed"), (cell, "failed"), ("9x128", ""),
                                       ("PyTorch", "failed")])
        notes = [row.get("note") or row.get("mark") for row in self.rows()]
        self.assertEqual(notes[:2] + notes[3:4], [None, "RuntimeError: out of memory", "CUDA graphs skipped: 2"])
        self.assertIn("JSONDecodeError", notes[2])
        self.assertIn("ended with status 7", notes[4])

    def test_a_module_that_is_missing(self):
        table = self.table()
        self.write("numpy.py", "raise ModuleNotFoundError('no numpy')\n")
        with mock.patch.dict(os.environ, PYTHONPATH=self.folder), mock.patch.dict(sys.modules, numpy=None):
            table.full("base", ["1x128"])
        self.assertEqual(self.told(), [("1x128", ""), ("PyTorch eager base", "failed"), ("logits base", "failed")])
        self.assertIn("ModuleNotFoundError", self.rows()[1]["note"])


class Report(Folder):
    torch = "PyTorch 2 compiled"

    def time(self, engine, cell, ms, model="base", precision="fp16", way="", **more):
        return {"engine": engine, "model": model, "precision": precision, "cell": cell, "way": way, "median_ms": ms, **more}

    def run_script(self, script, *words):
        return subprocess.run([sys.executable, os.path.join(HERE, script), *words], check=True, capture_output=True, text=True).stdout

    def stage(self, result, name, rows, status="passed", *words):
        path = os.path.join(self.folder, result, "result.json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.run_script("gpu_report.py", "begin", path, name)
        for row in rows:
            gpu_report.append(os.path.join(self.folder, result, name + ".rows"), row)
        if status:
            self.run_script("gpu_report.py", "record", path, name, "--status", status, "--seconds", "7", *words)
        return path

    def test_tables(self):
        rows = [self.time("bert.c", "1x128", 0.2), self.time(self.torch, "1x128", 0.3),
                self.time("bert.c", "128x128", 7, mark="no CUDA graph"), self.time(self.torch, "128x128", 7.7),
                self.time("bert.c", "64x384", 7, "large", "fp8", "skip"),
                self.time("bert.c", "32x128", 2, way="compute"), self.time("bert.c", "32x128", 1, way="skip", notices="bertc: oh"),
                {"check": "a | b", "outcome": "failed", "note": "two\nlines"}]
        self.stage("out", "bench-base", [], "failed", "--note", "gone")
        self.stage("out", "kernels", [], "timed-out", "--note", "ended")
        self.stage("out", "memcheck", [{"check": "c", "outcome": "not run", "note": "late"}], "failed", "--note", "gone")
        path = self.stage("out", "bench-base", rows)
        self.assertEqual(os.listdir(os.path.dirname(path)), ["result.json"])
        text = self.run_script("gpu_tables.py", path)
        self.assertIn("| bench-base | passed | 7 | 1 failed |", text)
        self.assertIn("| kernels | timed-out | 7 |  | ended |", text)
        self.assertIn("| memcheck | unfinished | 7 | 1 not run |  |", text)
        self.assertIn("| bench-base | a \\| b | failed | two lines |", text)
        self.assertIn("| BERT-base 1x128 float16 | 200 us | 300 us | 150 | met |", text)
        self.assertIn("| BERT-base 128x128 float16 | 18,286 sequences/s | 22,000 sequences/s | 26,000 | MISSED (no CUDA graph) |", text)
        self.assertIn("lengths, FP8 | 9,143 sequences/s | 6,000 sequences/s | 9,100 | aim met |", text)
        self.assertIn("padding computed / skipped | 2.00 | 1.7 | 2.2 | met |", text)
        self.assertIn("| 1x128 | 0.200 | 0.300 (1.50) | 5,000 |", text)
        self.assertIn("| 128x128 | 7.000 \\* | 7.700 (1.10) |", text)
        self.assertIn("\n\\* bert.c 128x128: no CUDA graph\n", text)
        self.assertIn("load to first answer, BERT-base float16 |  | 1,000 ms | 400 | not measured |", text)
        self.assertIn("| bench-base | bert.c base fp16 32x128 skip | bertc: oh |", text)

    def test_compiled_figure(self):
        cells = gpu_bench.CELLS
        ours = [self.time("bert.c", cell, 1) for cell in cells]

        def verdict(*theirs, of="16 cells"):
            text = self.run_script("gpu_tables.py", self.stage("out", "bench-base", [*ours, *theirs]))
            return next(line for line in text.splitlines() if f"least of {of}" in line).split(f" {of} | ")[1]

        # From most to least: a time that isn't measured again stays.
        self.assertEqual(verdict(), " | 1.0 | 1.2 | not measured |")
        skipped = self.time(self.torch, "8x16", 3, mark="CUDA graphs skipped: 1")
        theirs = [self.time(self.torch, cell, 1.3) for cell in cells]
        self.assertEqual(verdict(*theirs[:3], skipped), "1.30 | 1.0 | 1.2 | met in 3 of 16 so far |")
        self.assertEqual(verdict(*theirs), "1.30 | 1.0 | 1.2 | aim met |")
        self.assertEqual(verdict(of="4 of batch 1"), "1.30 | 1.0 | 2 | met |")
        alone = [self.time(self.torch, cell, 2.5 if cell.startswith("1x") else 1.3) for cell in cells]
        self.assertEqual(verdict(*alone, of="4 of batch 1"), "2.50 | 1.0 | 2 | aim met |")
        self.assertEqual(verdict(*theirs), "1.30 | 1.0 | 1.2 | aim met |")
        self.assertEqual(verdict(self.time(self.torch, "1x128", 1.1)), "1.10 | 1.0 | 1.2 | met |")
        self.assertEqual(verdict(self.time(self.torch, "8x16", 0.9, mark="CUDA graphs skipped: 1")), "0.90 | 1.0 | 1.2 | MISSED |")

    def test_what_is_not_measured_again_stays(self):
        def stage(sources, *rows):
            return {"status": "passed", "machine": {"gpu": "H", **({"sources": sources} if sources else {})}, "rows": list(rows)}

        ours, other, theirs = self.time("bert.c", "1x128", 1), self.time("bert.c", "8x128", 2), self.time(self.torch, "1x128", 3)
        failed, failed_theirs = ({"check": gpu_report.name_of(row), "outcome": "failed", "note": ""} for row in (ours, theirs))
        for sources, rows, expected in (("aa", [other], [other, ours, theirs]), ("ab", [other], [other, theirs]),
                                        ("aa", [failed], [failed, theirs]), ("aa", [failed_theirs], [failed_theirs, ours]),
                                        (("", ""), [], [theirs])):
            result = {"stages": {"bench-base": stage(sources[0], dict(ours), theirs)}}
            gpu_report.put(result, "bench-base", stage(sources[1], *rows))
            self.assertEqual(result["stages"]["bench-base"]["rows"], expected)

    def test_sources_are_known_by_names_and_contents(self):
        for source in gpu_report.SOURCES:
            self.write(source if source.endswith(".txt") else source + "/a.c", "one")
        seen = {gpu_report.digest_of_sources(self.folder)}
        for name, text in (("README.md", "two"), ("build/a.c", "two"), ("cuda/a.c", "one")):  # which are no sources, or as they were
            self.write(name, text)
            self.assertEqual({gpu_report.digest_of_sources(self.folder)}, seen)
        for name, text in (("cuda/a.c", "two"), ("cuda/b.c", "two"), ("CMakeLists.txt", "two"), ("cuda/a.c", "")):
            self.write(name, text)
            digest = gpu_report.digest_of_sources(self.folder)
            self.assertNotIn(digest, seen)
            seen.add(digest)
        os.rename(self.folder + "/cuda/b.c", self.folder + "/cuda/c.c")
        self.assertNotIn(gpu_report.digest_of_sources(self.folder), seen)

    def test_load_that_fails(self):
        table = Bench.table(self)
        with mock.patch.object(table, "call", side_effect=gpu_bench.Failure("gone")):
            table.load()
        checks = [row["check"] for row in gpu_report.read_rows(self.rows_file)]
        self.assertEqual(checks[0], gpu_report.name_of(self.time("bert.c", "1x128", 1, way="load")))

    def test_cells_that_nobody_measured_are_in_the_table(self):
        text = self.run_script("gpu_tables.py", self.stage("out", "bench-base", [self.time("bert.c", "1x128", 0.2)]))
        self.assertIn("| 128x384 | not measured |", text)

    def test_merge(self):
        check = {"check": "a", "outcome": "failed", "note": ""}
        first = self.stage("first", "bench-base", [self.time("bert.c", "1x128", 1)])
        self.stage("first", "bench-compiled", [self.time(self.torch, "1x128", 2), self.time(self.torch, "8x128", 3), check], "timed-out")
        self.stage("first", "kernels", [check], "failed")
        second = self.stage("second", "kernels", [], "not run")
        self.stage("second", "bench-compiled", [self.time(self.torch, "8x128", 4)], None)  # killed
        both = os.path.join(self.folder, "both.json")
        self.run_script("gpu_report.py", "merge", both, first, second)
        with open(both) as file:
            stages = json.load(file)["stages"]
        self.assertEqual([stages[n]["status"] for n in ("bench-base", "kernels", "bench-compiled")], ["passed", "failed", "killed"])
        self.assertEqual(stages["bench-compiled"]["rows"], [self.time(self.torch, "8x128", 4), self.time(self.torch, "1x128", 2)])


if __name__ == "__main__":
    unittest.main()
