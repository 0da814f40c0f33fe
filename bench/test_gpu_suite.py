#!/usr/bin/env python3
"""Tests of bench/gpu_suite.sh that need no GPU, with those of test_gpu_bench.py: what a GPU would answer is made up here."""
import argparse
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import gpu_checks  # noqa: E402
import gpu_report  # noqa: E402
from test_gpu_bench import Bench, Folder, Process, Report  # noqa: E402, F401

BERTC = """#!/bin/sh
case "$*" in
  *"--provider cpu"*) echo 'pass  one  worst error 1e-7'; echo 'pass  two  worst error 1e-7'; echo 'skip  three  why' ;;
  *"--precision fp8"*) echo 'bertc: fp8 takes a GPU with products of FP8 (compute capability 8.9 and later ...' >&2; exit 1 ;;
  bench*) echo '{"provider": "cuda", "cells": [{"batch": 1, "sequence": 128, "tokens": 128,
    "median_ms": 2, "min_ms": 1, "p99_ms": 3, "runs": 9}]}' ;;
  *"--precision bf16"*) echo 'pass  one  worst error 1e-3'; echo 'skip  two  no kernel'; echo 'skip  three  why' ;;
  *) [ "$5" = fp16 ] && echo 'bertc: a notice' >&2
     echo 'pass  one  worst error 1e-7'; echo 'pass  two  worst error 1e-7'; echo 'skip  three  why' ;;
esac
"""
CRASHES = """#!/bin/sh
pass() { echo "pass  $1  worst error $2"; }
case "$*" in
  *"--provider cpu"*) pass one 1; pass two 1; pass three 1 ;;
  *fp16*graphs/two) echo 'pass  two  worst'; kill -ABRT $$ ;;
  *fp16*graphs/three) pass three 2 ;;
  *fp16*) pass one 1; echo gone >&2; kill -SEGV $$ ;;
  *bf16*graphs/one) pass one 1 ;;
  *bf16*) echo 'fail  one  too far off'; pass two 1; pass three 1; exit 1 ;;
  *) pass one 1; pass two 1; pass three 1 ;;
esac
"""
SANITIZER = """#!/bin/sh
echo "$BERT_CUDA_LINEAR $*" >>"$(dirname "$0")/calls"
case "$*" in
  *racecheck*rows_gpu*) echo '========= Race reported'; echo '========= RACECHECK SUMMARY: 1 hazard'; exit 86 ;;
  *test_slow_gpu*) sleep 30 & echo $! >"$(dirname "$0")/slow"; wait ;;
  *test_skips_gpu*) echo 'skipped: no GPU is here'; exit 77 ;;
esac
echo '========= ERROR SUMMARY: 0 errors'
"""


class Suite(Folder):
    def setUp(self):
        super().setUp()
        self.build, self.out = (os.path.join(self.folder, n) for n in ("build", "out"))
        self.write("bin/nvidia-smi", "#!/bin/sh\necho 'A GPU, 1.0, Disabled'\n")

    def start(self, *words, **more):
        environment = {**os.environ, "PATH": os.path.join(self.folder, "bin") + ":" + os.environ["PATH"], "PYTHON": sys.executable,
                       "NVIDIA_DEVICE": os.path.join(self.folder, "device"), **more}
        return subprocess.Popen([os.path.join(HERE, "gpu_suite.sh"), "--out", self.out, "--build", self.build, "--models",
                                 os.path.join(self.folder, "models"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=environment, start_new_session=True)

    def suite(self, *words, **more):
        process = self.start(*words, **more)
        out, err = process.communicate()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def result(self):
        with open(os.path.join(self.out, "result.json")) as file:
            return json.load(file)

    def stage(self, name):
        return self.result()["stages"][name]

    def outcomes(self, name):
        return {row["check"]: row["outcome"] for row in self.stage(name)["rows"]}

    def test_arguments(self):
        for words in ([], ["bench-basement"], ["--limit", "soon", "kernels"], ["--total", "all", "kernels"], ["kernels", "--out"]):
            self.assertEqual(self.suite(*words).returncode, 2, words)
        self.assertIn("conformance", self.suite("--help").stdout)

    def test_without_a_gpu(self):
        self.write("bin/nvidia-smi", "#!/bin/sh\nexit 9\n")
        done = self.suite("kernels", "bench-base")
        self.assertEqual(done.returncode, 77)
        self.assertEqual(done.stdout.count("no GPU is here"), 2)
        self.assertFalse(os.path.exists(self.out))

    def test_device(self):
        """It is enough to know that a GPU is there, and is held open while stages run."""
        self.write("bin/nvidia-smi", "#!/bin/sh\nexit 9\n")
        device = self.write("device", "")
        self.write("bin/cmake", "#!/bin/sh\nls -l /proc/self/fd\n")
        self.assertEqual(self.suite("kernels", "build").returncode, 1)
        self.assertIn("-> " + device, self.suite("build").stdout)
        self.assertEqual(self.outcomes("kernels"), {"kernel tests": "failed"})

    def test_models_are_made_beside_the_build(self):
        self.write("bin/cmake", "#!/bin/sh\n")
        python = self.write("bin/python", f"""#!/bin/sh
case "$*" in *"gpu_bench.py models"*) echo "$*" >>{self.folder}/made ;; *bench-load*|*"gpu_report.py"*) exec {sys.executable} "$@" ;; esac
""")
        self.assertEqual(self.suite("build", PYTHON=python).returncode, 0)
        self.assertFalse(os.path.exists(self.folder + "/made"))
        self.suite("build", "bench-load", PYTHON=python)
        self.assertTrue(os.path.exists(self.folder + "/made"))

    def test_total(self):
        for size in ("base", "large"):
            self.write(f"models/bert-{size}.onnx", "")
        self.assertEqual(self.suite("--total", "20", "all").returncode, 1)
        self.assertEqual(list(self.result()["stages"]), [
            "build", "kernels", "conformance", "bench-base", "bench-8bit", "bench-large", "bench-load", "bench-ragged", "bench-compiled",
            "memcheck", "racecheck", "initcheck", "synccheck"])
        told = {(stage["status"], stage["note"]) for stage in self.result()["stages"].values()}
        self.assertEqual(told, {("not run", "no time was left")})
        self.write("bin/cmake", "#!/bin/sh\nsleep 60\n")
        self.assertEqual(self.suite("--total", "27", "build", "kernels").returncode, 1)
        self.assertEqual((self.stage("build")["status"], self.stage("kernels")["status"]), ("timed-out", "not run"))

    def test_killed(self):
        self.write("bin/compute-sanitizer", SANITIZER)
        for name in ("rows", "slow"):
            self.write(f"build/tests/cuda/test_{name}_gpu", "")
        process = self.start("memcheck")
        rows = os.path.join(self.out, "memcheck.rows")
        self.wait_until(lambda: os.path.exists(rows) and gpu_report.read_rows(rows) and os.path.exists(self.folder + "/bin/slow"))
        os.killpg(process.pid, signal.SIGKILL)
        self.assertLessEqual(len(os.listdir(self.out)), 4)
        stage = gpu_report.load(os.path.join(self.out, "result.json"))["stages"]["memcheck"]
        self.assertEqual((stage["status"], stage["machine"]["gpu"], stage["machine"]["persistence"]), ("killed", "A GPU, 1.0", "Disabled"))
        self.assertEqual([row["check"] for row in stage["rows"]], ["rows, memcheck"])
        with open(self.folder + "/bin/slow") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        process.communicate()  # whose end comes with that of all that it started

    def test_kernels(self):
        for name, text in (("good", "echo '[  PASSED  ] 1 test' >&2"), ("bad", "echo 'wrong'; exit 3"), ("skips", "exit 77"),
                           ("crashes", "kill -SEGV $$"), ("cuda_product_nodes", 'echo "says $BERT_CUDA_LINEAR" >&2; pwd')):
            self.write(f"build/tests/cuda/test_{name}_gpu", f"#!/bin/sh\n{text}\n")
        self.assertEqual(self.suite("kernels").returncode, 1)
        self.assertEqual(self.outcomes("kernels"), {"good": "passed", "bad": "failed", "skips": "failed", "crashes": "failed",
                                                    "cuda_product_nodes": "passed", "cuda_product_nodes_library": "passed"})
        rows = {row["check"]: row for row in self.stage("kernels")["rows"]}
        self.assertEqual(rows["bad"]["note"], "ended with status 3: wrong")
        self.assertNotIn("notices", rows["good"])
        self.assertEqual(rows["cuda_product_nodes_library"]["notices"], "says library")

    def test_a_kernel_test_that_hangs(self):
        self.write("build/tests/cuda/test_slow_gpu", "#!/bin/sh\nsleep 60\n")
        with mock.patch.object(gpu_checks, "KERNEL_SECONDS", 0.5):
            row, = gpu_checks.kernels(argparse.Namespace(build=self.build, end=time.monotonic() + 100))
        self.assertEqual((row["outcome"], row["note"][:11]), ("failed", "did not end"))

    def build_stage(self):
        return self.suite("build", PYTHONPATH=os.path.join(self.folder, "python"), C_INCLUDE_PATH="").stdout

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
        os.symlink(toolkit, os.path.join(self.folder, "bin/nvcc"))
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
        self.assertEqual((outcomes["graphs, on the CPU"], outcomes["graphs, bf16"]), ("passed", "passed"))
        notices = {row["check"]: row.get("notices") for row in self.stage("conformance")["rows"]}
        self.assertEqual((notices["graphs, fp16"], notices["graphs, fp32"]), ("bertc: a notice", None))

    def test_conformance_that_ends_early(self):
        self.write("build/cli/bertc", CRASHES)
        self.assertEqual(self.suite("conformance").returncode, 1)
        rows = {row["check"]: (row["outcome"], row["note"]) for row in self.stage("conformance")["rows"]}
        self.assertEqual(rows["graphs, fp16"], ("failed", "bertc ended with status -11: gone"))
        self.assertEqual(rows["graphs/one, fp16"][0], "passed")
        self.assertEqual(rows["graphs/two, fp16"], ("failed", "by itself: bertc ended with status -6: pass  two  worst"))
        self.assertEqual(rows["graphs/three, fp16"], ("passed", "by itself: worst error 2"))
        self.assertEqual(rows["graphs/one, bf16"], ("failed", "too far off; by itself: pass worst error 1"))

    def test_8bit_benchmarks(self):
        self.write("build/cli/bertc", BERTC)
        for name in ("base", "large", "base-int8", "large-int8"):
            self.write(f"models/bert-{name}.onnx", "")
        self.assertEqual(self.suite("bench-8bit").returncode, 0)
        self.assertEqual(self.stage("bench-8bit")["status"], "passed")
        checks = [row for row in self.stage("bench-8bit")["rows"] if "check" in row]
        times = [row["precision"] for row in self.stage("bench-8bit")["rows"] if "median_ms" in row]
        self.assertEqual([row["outcome"] for row in checks], ["skipped"] * 3)
        self.assertEqual({row["note"] for row in checks}, {"the GPU has no FP8"})
        self.assertEqual(times, ["int8"] * 3)
        self.write("build/cli/bertc", "#!/bin/sh\necho 'bertc: fp8 went wrong' >&2; exit 1\n")  # any other failure is one
        self.assertEqual(self.suite("bench-8bit").returncode, 1)
        self.assertEqual(set(self.outcomes("bench-8bit").values()), {"failed"})

    def test_sanitizers(self):
        self.write("bin/compute-sanitizer", SANITIZER)
        librarys = ("cuda_followed_product", "cuda_followed_product_chunks", "cuda_nodes", "cuda_product_nodes")  # initcheck doesn't see all that these write
        for name in ("rows", "skips", "cuda_gemm", *librarys):
            self.write(f"build/tests/cuda/test_{name}_gpu", "")
        passes = ("cuda_gemm", *librarys, "cuda_product_nodes_library")
        for tool in ("memcheck", "racecheck", "synccheck"):
            racing = tool == "racecheck"
            self.assertEqual(self.suite(tool).returncode, 1)
            self.assertEqual(self.outcomes(tool), {f"rows, {tool}": "failed" if racing else "passed", f"skips, {tool}": "failed",
                                                   **{f"{name}, {tool}": "passed" for name in passes}})
        os.remove(os.path.join(self.build, "tests/cuda/test_skips_gpu"))
        self.assertEqual(self.suite("initcheck").returncode, 0)
        self.assertEqual(self.outcomes("initcheck"), {"rows, initcheck": "passed",
                                                      "cuda_gemm, initcheck": "passed"})
        # One result holds all.
        self.assertEqual((self.stage("memcheck")["status"], self.stage("initcheck")["status"]), ("failed", "passed"))
        with open(os.path.join(self.folder, "bin/calls")) as file:
            calls = file.read().splitlines()
        for tool, option, count in (("memcheck", "--report-api-errors no", 8), ("racecheck", "--kernel-name-exclude regex=", 8),
                                    ("synccheck", "--kernel-name-exclude regex=", 8), ("initcheck", "--error-exitcode", 2)):
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
        self.assertEqual(self.suite("--limit", "12", "memcheck").returncode, 1)
        self.assertEqual(self.outcomes("memcheck"), {"rows, memcheck": "passed", "slow, memcheck": "not run"})
        self.assertEqual(self.stage("memcheck")["status"], "unfinished")
        self.assertFalse(self.lives("bin/slow"))


if __name__ == "__main__":
    unittest.main()
