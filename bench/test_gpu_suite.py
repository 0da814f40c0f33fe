#!/usr/bin/env python3
"""Tests of bench/gpu_suite.sh and its report that need no GPU: what a GPU would answer is made up here."""
import glob
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import gpu_checks  # noqa: E402
import gpu_report  # noqa: E402

BERTC = """#!/bin/sh
case "$*" in
  *"--provider cpu"*) echo 'pass  one  worst error 1e-7'; echo 'pass  two  worst error 1e-7'; echo 'skip  three  why' ;;
  *"--precision fp8"*) echo 'bertc: fp8 takes a GPU with products of FP8 (compute capability 8.9 and later ...' >&2; exit 1 ;;
  bench*) echo '{"provider": "cuda", "cells": [{"batch": 1, "sequence": 128, "tokens": 128,
    "median_ms": 2, "min_ms": 1, "p99_ms": 3, "runs": 9}]}' ;;
  *"--precision bf16"*) echo 'pass  one  worst error 1e-3'; echo 'skip  two  no kernel'; echo 'skip  three  why' ;;
  *) echo 'pass  one  worst error 1e-7'; echo 'pass  two  worst error 1e-7'; echo 'skip  three  why' ;;
esac
"""
SANITIZER = """#!/bin/sh
echo "$BERT_CUDA_LINEAR $*" >>"$(dirname "$0")/calls"
case "$*" in
  *racecheck*rows_gpu*) echo '========= Race reported'; echo '========= RACECHECK SUMMARY: 1 hazard'; exit 86 ;;
  *test_slow_gpu*) sleep 30 ;;
  *test_skips_gpu*) echo 'skipped: no GPU is here'; exit 77 ;;
esac
echo '========= ERROR SUMMARY: 0 errors'
"""


class Suite(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.build, self.out = (os.path.join(self.folder.name, n) for n in ("build", "out"))
        self.write("bin/nvidia-smi", "#!/bin/sh\necho 'A GPU, 1.0'\n")

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def suite(self, *words, **more):
        environment = {**os.environ, "PATH": os.path.join(self.folder.name, "bin") + ":" + os.environ["PATH"], "PYTHON": sys.executable,
                       **more}
        return subprocess.run([os.path.join(HERE, "gpu_suite.sh"), "--out", self.out, "--build", self.build, *words],
                              capture_output=True, text=True, env=environment)

    def stage(self, name):
        with open(os.path.join(self.out, "result.json")) as file:
            return json.load(file)["stages"][name]

    def outcomes(self, name):
        return {row["check"]: row["outcome"] for row in self.stage(name)["rows"]}

    def test_arguments(self):
        for words in ([], ["bench-basement"], ["--limit", "soon", "kernels"], ["kernels", "--out"]):
            self.assertEqual(self.suite(*words).returncode, 2, words)
        self.assertIn("conformance", self.suite("--help").stdout)

    def test_without_a_gpu(self):
        self.write("bin/nvidia-smi", "#!/bin/sh\nexit 9\n")
        done = self.suite("kernels", "bench-base")
        self.assertEqual(done.returncode, 77)
        self.assertEqual(done.stdout.count("no GPU is here"), 2)
        self.assertFalse(os.path.exists(self.out))

    def build_stage(self):
        return self.suite("build", PYTHONPATH=os.path.join(self.folder.name, "python"), C_INCLUDE_PATH="").stdout

    def test_cublas_of_a_python_package(self):
        self.write("bin/nvcc", "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
        self.write("bin/cmake", "#!/bin/sh\necho \"cmake $* finds headers in $C_INCLUDE_PATH\"\n")
        library = self.write("python/nvidia/cu13/lib/libcublasLt.so.13", "")
        header = self.write("python/nvidia/cu13/include/cublasLt.h", "")
        for name in ("lib/libcublasLt.so.12", "include/cublasLt.h"):  # comes later in the order of names, and is for CUDA 12
            self.write("python/nvidia/cublas/" + name, "")
        found = f"-DCUDA_cublasLt_LIBRARY={library} finds headers in {os.path.dirname(header)}\n"
        self.assertIn(found, self.build_stage())
        self.write("bin/nvcc", "#!/bin/sh\necho 'Cuda compilation tools, release 14.0, V14.0.1'\n")
        self.assertNotIn("cublasLt", self.build_stage())  # CMake says what is missing

    def test_cublas_of_the_toolkit(self):
        self.write("bin/cmake", "#!/bin/sh\necho \"cmake $*\"\n")
        self.write("python/nvidia/cu13/lib/libcublasLt.so.13", "")
        self.write("python/nvidia/cu13/include/cublasLt.h", "")
        toolkit = self.write("toolkit/bin/nvcc", "#!/bin/sh\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
        os.symlink(toolkit, os.path.join(self.folder.name, "bin/nvcc"))
        self.assertIn("cublasLt", self.build_stage())
        for name in ("toolkit/lib64", f"lib/{os.uname().machine}-linux-gnu"):  # NVIDIA's, Debian's
            library = self.write(name + "/libcublasLt.so", "")
            told = self.build_stage()
            self.assertIn("cmake -S .", told)
            self.assertNotIn("cublasLt", told)
            os.remove(library)

    def test_conformance(self):
        self.write("build/cli/bertc", BERTC)
        self.assertEqual(self.suite("conformance").returncode, 1)
        self.assertEqual(self.stage("conformance")["status"], "failed")
        outcomes = self.outcomes("conformance")
        self.assertEqual(outcomes["graphs/one, bf16"], "passed")
        self.assertEqual(outcomes["graphs/two, fp16"], "passed")
        self.assertEqual(outcomes["graphs/two, bf16"], "failed")  # it passes on the CPU, so a skip is no excuse
        self.assertEqual(outcomes["graphs/three, fp32"], "skipped")
        self.assertEqual(outcomes["graphs, fp8"], "skipped")  # not every GPU has it

    def test_8bit_benchmarks(self):
        self.write("build/cli/bertc", BERTC)
        models = os.path.join(self.folder.name, "models")
        for name in ("base", "large", "base-int8", "large-int8"):
            self.write(f"models/bert-{name}.onnx", "")
        self.assertEqual(self.suite("--models", models, "bench-8bit").returncode, 0)
        self.assertEqual(self.stage("bench-8bit")["status"], "passed")
        checks = [row for row in self.stage("bench-8bit")["rows"] if "check" in row]
        times = [row["precision"] for row in self.stage("bench-8bit")["rows"] if "median_ms" in row]
        self.assertEqual([row["outcome"] for row in checks], ["skipped", "skipped"])
        self.assertEqual({row["note"] for row in checks}, {"the GPU has no FP8"})
        self.assertEqual(times, ["int8", "int8"])
        self.write("build/cli/bertc", "#!/bin/sh\necho 'bertc: fp8 went wrong' >&2; exit 1\n")  # any other failure is one
        self.assertEqual(self.suite("--models", models, "bench-8bit").returncode, 1)
        self.assertEqual(set(self.outcomes("bench-8bit").values()), {"failed"})

    def test_sanitizers(self):
        self.write("bin/compute-sanitizer", SANITIZER)
        librarys = ("cuda_followed_product", "cuda_nodes", "cuda_product_nodes")  # initcheck doesn't see all that these write
        for name in ("rows", "skips", "cuda_gemm", *librarys):
            self.write(f"build/tests/cuda/test_{name}_gpu", "")
        passes = ("cuda_gemm", *librarys, "cuda_product_nodes_library")
        for tool in ("memcheck", "racecheck", "synccheck"):
            racing = tool == "racecheck"
            self.assertEqual(self.suite(tool).returncode, racing)
            self.assertEqual(self.outcomes(tool), {f"rows, {tool}": "failed" if racing else "passed", f"skips, {tool}": "skipped",
                                                   **{f"{name}, {tool}": "passed" for name in passes}})
        self.assertEqual(self.suite("initcheck").returncode, 0)
        self.assertEqual(self.outcomes("initcheck"), {"rows, initcheck": "passed", "skips, initcheck": "skipped",
                                                      "cuda_gemm, initcheck": "passed"})
        self.assertEqual(self.stage("memcheck")["status"], "passed")  # one result holds all
        with open(os.path.join(self.folder.name, "bin/calls")) as file:
            calls = file.read().splitlines()
        for tool, option, count in (("memcheck", "--report-api-errors no", 7), ("racecheck", "--kernel-name-exclude regex=", 7),
                                    ("synccheck", "--kernel-name-exclude regex=", 7), ("initcheck", "--error-exitcode", 3)):
            self.assertEqual(sum(f"--tool {tool} {option}" in call for call in calls), count, tool)
        self.assertEqual(sum(call.startswith("library ") for call in calls), 3)
        self.assertEqual(sum(call.endswith("byte_kernel*") for call in calls), 1)

    def test_the_librarys_kernels_alone_are_left_out(self):
        left_out = re.compile(gpu_checks.LEAVE_OUT[1].split("=", 1)[1])
        for name in ("ampere_fp16_s16816gemm_fp16_128x64_nn", "sm90_xmma_f32f32", "_ZN7cutlass6KernelI", "gemvNSP_kernel"):
            self.assertTrue(left_out.search(name), name)
        files = sorted(glob.glob(os.path.join(HERE, "../cuda/ops/*.cu")) + glob.glob(os.path.join(HERE, "../cuda/ops/*.h")))
        names, kernels = [], []
        for path in files:
            with open(path) as file:
                text = file.read()
            found = re.findall(r"__global__ void\s*(?:__launch_bounds__\([^()]*\))?\s*(\w+)\(", text)
            self.assertEqual(len(found), text.count("__global__"), path)  # no kernel is overlooked
            kernels += found
            names += [*found, *re.findall(r"\b(?:struct|enum) (\w+)", text), os.path.basename(path).replace(".", "_")]
        self.assertGreater(len(kernels), 40)
        for name in names:  # as the mangled names of kernels have them
            self.assertIsNone(left_out.search(f"{len(name)}{name}"), name)

    def test_time_is_up(self):
        self.write("bin/compute-sanitizer", SANITIZER)
        for name in ("rows", "slow"):
            self.write(f"build/tests/cuda/test_{name}_gpu", "")
        self.assertEqual(self.suite("--limit", "27", "memcheck").returncode, 1)
        self.assertEqual(self.outcomes("memcheck"), {"rows, memcheck": "passed", "slow, memcheck": "not run"})
        self.write("build/cli/bertc", "#!/bin/sh\nsleep 30\n")
        self.assertEqual(self.suite("--limit", "1", "conformance").returncode, 1)
        self.assertEqual(self.stage("conformance")["status"], "timed-out")


class Report(unittest.TestCase):
    def test_tables(self):
        def time(engine, cell, ms, model="base", precision="fp16", way=""):
            return {"engine": engine, "model": model, "precision": precision, "cell": cell, "way": way, "median_ms": ms}

        torch = "PyTorch 2 compiled"
        rows = [time("bert.c", "1x128", 0.2), time(torch, "1x128", 0.3), time("bert.c", "128x128", 7), time(torch, "128x128", 7.7),
                time("bert.c", "64x384", 7, "large", "fp8", "skip"), time("bert.c", "32x128", 2, way="compute"),
                time("bert.c", "32x128", 1, way="skip"), {"check": "a | b", "outcome": "failed", "note": "two\nlines"}]
        with tempfile.TemporaryDirectory() as folder:
            result, lines = os.path.join(folder, "r.json"), os.path.join(folder, "rows")
            for row in rows:
                gpu_report.append(lines, row)
            with open(lines, "a") as file:
                file.write('{"check": "half of a li')

            def run(*words):
                return subprocess.run([sys.executable, os.path.join(HERE, "gpu_report.py"), *words], check=True, capture_output=True,
                                      text=True).stdout

            run("record", result, "bench-base", "--status", "failed", "--seconds", "5", "--note", "gone")
            run("record", result, "bench-base", "--status", "passed", "--seconds", "7", "--rows", lines)
            run("record", result, "kernels", "--status", "timed-out", "--seconds", "9", "--note", "ended")
            text = run("show", result)
        self.assertIn("| bench-base | passed | 7 | 1 failed |", text)
        self.assertIn("| kernels | timed-out | 9 |", text)
        self.assertIn("| bench-base | a \\| b | failed | two lines |", text)
        self.assertIn("| BERT-base 1x128 float16 | 200 us | 300 us | 150 | met |", text)
        self.assertIn("| BERT-base 128x128 float16 | 18,286 sequences/s | 22,000 sequences/s | 26,000 | MISSED |", text)
        self.assertIn("lengths, FP8 | 9,143 sequences/s | 6,000 sequences/s | 9,100 | aim met |", text)
        self.assertIn("padding computed / skipped | 2.00 | 1.7 | 2.2 | met |", text)
        self.assertIn("least of 2 cells of 16 | 1.10 | 1.0 | 1.2 | met |", text)
        self.assertIn("| 1x128 | 0.200 | 0.300 (1.50) | 5,000 |", text)
        self.assertIn("load to first answer, BERT-base float16 |  | 1,000 ms | 400 | not measured |", text)


if __name__ == "__main__":
    unittest.main()
