#!/usr/bin/env python3
"""The checks of bench/gpu_suite.sh. Each writes a row for every check to ROWS as soon as it is made; exits 1 when one failed.

    gpu_checks.py kernels     --build BUILD --rows ROWS
    gpu_checks.py conformance --build BUILD --rows ROWS CASES ...     # folders for bertc verify
    gpu_checks.py sanitizers  --build BUILD --rows ROWS [--tools memcheck,racecheck,initcheck,synccheck] [--seconds S]
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

import gpu_report

# The library's kernels are not ours to judge, beyond the memory that we give them: those whose mangled names have this are left out of
# two tools (which takes CUDA 12.3). No name of ours has it: there gemm, of an argument, comes after an underscore.
LEAVE_OUT = ["--kernel-name-exclude", "regex=cublas|cutlass|nvjet|xmma|[a-z0-9]gemm|gemv|splitK"]
# Calls may fail in memcheck: a test looks at what they return, and wants an error now and then.
OPTIONS = {"memcheck": ["--report-api-errors", "no"], "racecheck": LEAVE_OUT, "initcheck": [], "synccheck": LEAVE_OUT}
# initcheck sees whether memory was written, but for writes that it doesn't follow (TMA's, say) and those of kernels that are left out. So
# it is for programs where no kernel of ours reads what the library's wrote; of test_cuda_gemm it runs byte_kernel* alone, the one kernel
# there that is ours.
READS_THE_LIBRARYS = "test_cuda_(followed_product|(.*_)?nodes)_gpu$"
# Tolerances of each precision; none: those of the cases. int8 lies in the cases themselves.
PRECISIONS = {"fp32": [], "fp16": ["--rtol", "1e-2", "--atol", "1e-2"], "bf16": ["--rtol", "1e-2", "--atol", "1e-2"],
              "fp8": ["--rtol", "0.2", "--atol", "0.2"]}


def note_of(text, most=300):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " / ".join(lines[-6:])[-most:]


def kernels(a):
    """Every test that ctest knows as the GPU's."""
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "junit.xml")
        command = ["ctest", "--test-dir", a.build, "-L", "gpu", "--output-on-failure", "--timeout", "400", "-j", "4", "--no-tests=error",
                   "--output-junit", report]
        subprocess.run(command, check=False)
        if not os.path.exists(report):
            return [{"check": "ctest -L gpu", "outcome": "failed", "note": "no test was found, or ctest did not end"}]
        rows = []
        for case in xml.parse(report).getroot().iter("testcase"):
            outcome = {"run": "passed", "fail": "failed"}.get(case.get("status"), "skipped")
            output = case.findtext("system-out") or ""
            skipped = case.find("skipped")
            note = note_of(output) if outcome == "failed" else skipped.get("message", "") if skipped is not None else ""
            rows.append({"check": case.get("name"), "outcome": outcome, "note": note, "seconds": float(case.get("time") or 0)})
        return rows


def conformance(a):
    """Every case that passes on the CPU at float32 has to pass on the GPU in each precision."""
    bertc = os.path.join(a.build, "cli", "bertc")
    # What is measured for one case serves the others, and no file is left beside them.
    environment = {**os.environ, "BERT_CUDA_GEMM_CACHE": os.path.join(a.build, "gemm-choices")}

    def verify(cases, *words):
        done = subprocess.run([bertc, "verify", "--quiet", *words, cases], capture_output=True, text=True, env=environment)
        found = {m[2]: (m[1], m[3].strip()) for line in done.stdout.splitlines()
                 if (m := re.match(r"(pass|fail|skip) +(\S+)(.*)", line))}
        if not found and gpu_report.says_no_fp8(done.stderr + done.stdout):
            return None
        if not found:
            raise SystemExit(f"bertc verify {cases}: {note_of(done.stderr or done.stdout)}")
        return found

    for cases in a.cases:
        on_cpu = verify(cases, "--provider", "cpu", "--allow-skipped")
        for precision, tolerance in PRECISIONS.items():
            on_gpu = verify(cases, "--provider", "cuda", "--precision", precision, *tolerance, "--allow-skipped")
            if on_gpu is None:
                yield {"check": f"{os.path.basename(cases.rstrip('/'))}, {precision}", "outcome": "skipped", "note": gpu_report.NO_FP8}
                continue
            for name, (verdict, why) in on_gpu.items():
                outcome = "passed" if verdict == "pass" else "failed" if on_cpu.get(name, ("fail",))[0] == "pass" else "skipped"
                yield {"check": f"{os.path.basename(cases.rstrip('/'))}/{name}, {precision}", "outcome": outcome, "note": why}


def sanitizers(a):
    """compute-sanitizer over the kernel tests; what there is no time for is told as not run."""
    tool_path = shutil.which("compute-sanitizer", path=os.environ["PATH"] + ":/usr/local/cuda/bin")
    programs = sorted(glob.glob(os.path.join(a.build, "tests", "cuda", "test_*_gpu")))
    # By name, with what the environment says to them: nodes that multiply also as ctest's cuda_product_nodes_library_gpu has them.
    runs = [(os.path.basename(p)[5:-4], p, {}) for p in programs]
    runs += [(name + "_library", p, {"BERT_CUDA_LINEAR": "library"}) for name, p, _ in runs if name == "cuda_product_nodes"]
    checks = [(t, *run) for t in a.tools.split(",") for run in runs if t != "initcheck" or not re.search(READS_THE_LIBRARYS, run[1])]
    end = time.monotonic() + a.seconds
    if not programs:
        yield {"check": "kernel tests", "outcome": "failed", "note": f"none are in {a.build}/tests/cuda"}
    if not tool_path:
        yield {"check": "compute-sanitizer", "outcome": "failed", "note": "it is not here"}
        return

    def check(tool, name, program, environment):
        name = f"{name}, {tool}"
        words = ["byte_kernel*"] if "cuda_gemm" in program and tool == "initcheck" else []
        left = end - time.monotonic()
        if left < 5:
            return {"check": name, "outcome": "not run", "note": "no time was left"}
        begin = time.monotonic()
        try:
            done = subprocess.run([tool_path, "--tool", tool, *OPTIONS[tool], "--error-exitcode", "86", "--print-limit", "10", program,
                                   *words], capture_output=True, text=True, timeout=left, env={**os.environ, **environment})
        except subprocess.TimeoutExpired:
            return {"check": name, "outcome": "not run", "note": f"it did not end in {left:.0f} s"}
        summary = [line for line in done.stdout.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
        outcome = "passed" if done.returncode == 0 and summary else "skipped" if done.returncode == 77 else "failed"
        return {"check": name, "outcome": outcome, "seconds": time.monotonic() - begin,
                "note": "" if outcome == "passed" else note_of(done.stdout + done.stderr, 1000)}

    # A checked program keeps the host as busy as the GPU.
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(4, len(os.sched_getaffinity(0)) // 2)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(check, *c) for c in checks]):
            yield done.result()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("kernels", "conformance", "sanitizers"))
    p.add_argument("--build", required=True)
    p.add_argument("--rows", required=True)
    p.add_argument("--tools", default=",".join(OPTIONS))
    p.add_argument("--seconds", type=float, default=440)
    p.add_argument("cases", nargs="*")
    a = p.parse_intermixed_args()
    worst = passed = 0
    for row in {"kernels": kernels, "conformance": conformance, "sanitizers": sanitizers}[a.what](a):
        gpu_report.append(a.rows, row)
        print(f"{row['outcome']}  {row['check']}  {row['note']}", flush=True)
        worst |= row["outcome"] in ("failed", "not run")
        passed += row["outcome"] == "passed"
    return 1 if worst or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
