#!/usr/bin/env python3
"""The checks of bench/gpu_suite.sh. Each writes a row for every check to ROWS as soon as it is made; exits 1 when one failed.

    gpu_checks.py kernels     --build BUILD --rows ROWS [--seconds S]
    gpu_checks.py conformance --build BUILD --rows ROWS [--seconds S] CASES ...     # folders for bertc verify
    gpu_checks.py sanitizers  --build BUILD --rows ROWS [--seconds S] [--tools memcheck,racecheck,initcheck,synccheck]

What there is no time for in S seconds is a row too: "not run".
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import sys
import time

import gpu_process
import gpu_report

# The library's kernels are not ours to judge, beyond the memory that we give them: those whose mangled names have this are left out of
# two tools (which takes CUDA 12.3). No name of ours has it: there gemm, of an argument, comes after an underscore.
LEAVE_OUT = ["--kernel-name-exclude", "regex=cublas|cutlass|nvjet|xmma|[a-z0-9]gemm|gemv|splitK"]
# Calls may fail in memcheck: a test looks at what they return, and wants an error now and then.
OPTIONS = {"memcheck": ["--report-api-errors", "no"], "racecheck": LEAVE_OUT, "initcheck": [], "synccheck": LEAVE_OUT}
# initcheck sees whether memory was written, but for writes that it doesn't follow (TMA's, say) and those of kernels that are left out. So
# it is for programs where no kernel of ours reads what the library's wrote; of test_cuda_gemm it runs byte_kernel* alone, the one kernel
# there that is ours.
READS_THE_LIBRARYS = "test_cuda_(followed_product(_chunks)?|(.*_)?nodes)_gpu$"
# Tolerances of each precision; none: those of the cases. int8 lies in the cases themselves.
PRECISIONS = {"fp32": [], "fp16": ["--rtol", "1e-2", "--atol", "1e-2"], "bf16": ["--rtol", "1e-2", "--atol", "1e-2"],
              "fp8": ["--rtol", "0.2", "--atol", "0.2"]}
# Seconds that one program may take.
KERNEL_SECONDS, VERIFY_SECONDS, SANITIZER_SECONDS = 60, 90, 120
# A checked program keeps the host as busy as the GPU; compute-sanitizer takes ten at a time (--max-connections).
WORKERS = max(2, min(8, len(os.sched_getaffinity(0)) // 2))


def pooled(check, items):
    """Rows of check(*item), each as it comes."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
        for done in concurrent.futures.as_completed([pool.submit(check, *item) for item in items]):
            yield done.result()


def not_run(name, note="no time was left"):
    return {"check": name, "outcome": "not run", "note": note}


def run(a, name, command, most, environment=None, folder=None):
    """What became of a program, or else the row that says that the stage's time is up."""
    left = a.end - time.monotonic()
    if left < 5:
        return None, not_run(name)
    done = gpu_process.run(command, min(most, left), environment, folder)
    if done.status is None and left < most:
        return None, not_run(name, done.why())
    return done, None


def row_of(name, outcome, note, done):
    """cmocka's last lines go to standard error, too: they are no notices."""
    notices = [line for line in dict.fromkeys(done.err.splitlines()) if line.strip() and not line.startswith("[")]
    row = {"check": name, "outcome": outcome, "note": note, "seconds": done.seconds}
    return {**row, "notices": gpu_process.note_of("\n".join(notices))} if notices else row


def tests(a):
    """Kernel tests: name, program, and what the environment says to it. Nodes that multiply run as ctest has them, also with the
    library's products."""
    programs = sorted(glob.glob(os.path.join(os.path.abspath(a.build), "tests/cuda/test_*_gpu")))
    found = [(os.path.basename(p)[5:-4], p, {}) for p in programs]
    return found + [(name + "_library", p, {"BERT_CUDA_LINEAR": "library"}) for name, p, _ in found if name == "cuda_product_nodes"]


def no_tests(a):
    return {"check": "kernel tests", "outcome": "failed", "note": f"none are in {a.build}/tests/cuda"}


def kernels(a):
    """Every test program for a GPU. One that skips (77) sees no GPU, though here is one."""
    def check(name, program, environment):
        done, row = run(a, name, [program], KERNEL_SECONDS, environment, a.build)
        if row:
            return row
        passed = done.status == 0
        return row_of(name, "passed" if passed else "failed", "" if passed else done.told(), done)

    yield from pooled(check, tests(a)) if tests(a) else [no_tests(a)]


# ---- Whole graphs


def verify(a, name, path, *words):
    """Runs bertc verify: verdict and reason of each case it got to, what became of it, and the row that says so where time is up."""
    # What is measured for one case serves the others, and no file is left beside them.
    environment = {"BERT_CUDA_GEMM_CACHE": os.path.join(os.path.abspath(a.build), "gemm-choices")}
    command = [os.path.join(a.build, "cli", "bertc"), "verify", *words, "--allow-skipped", path]
    done, row = run(a, name, command, VERIFY_SECONDS, environment)
    lines = done.out.splitlines() if done else []
    return {m[2]: (m[1], m[3].strip()) for line in lines if (m := re.match(r"(pass|fail|skip) +(\S+)(.*)", line))}, done, row


def whole_run(name, done, missing):
    """How the run over a whole folder went: whether it reached its end, and got to each case."""
    failed = done.status not in (0, 1) or missing
    return row_of(name, "failed" if failed else "passed", "bertc " + done.why() if failed else "", done)


def in_precision(a, cases, folder, name, on_cpu):
    """Rows of a folder of cases: of the run over all, and of each. What failed, or wasn't come to, is run again by itself."""
    words = ["--provider", "cuda", "--precision", name, *PRECISIONS[name]]
    label = f"{folder}, {name}"
    found, done, row = verify(a, label, cases, *words)
    if done and not found and gpu_report.says_no_fp8(done.err + done.out):
        row = {"check": label, "outcome": "skipped", "note": gpu_report.NO_FP8}
    if row:
        yield row
        return
    yield whole_run(label, done, any(case not in found for case in on_cpu))

    def judge(case, verdict, note):
        wanted = on_cpu.get(case, ("fail",))[0] == "pass"
        return {"check": f"{folder}/{case}, {name}", "outcome": "passed" if verdict == "pass" else "failed" if wanted else "skipped",
                "note": note}

    def again(case):
        row = judge(case, *found.get(case, ("fail", "")))
        alone, done, late = verify(a, row["check"], os.path.join(cases, case), *words)
        if late:
            return row if case in found else late
        verdict, why = alone[case] if case in alone and done.status in (0, 1) else ("fail", "bertc " + done.why())
        if case in found:  # with the others it failed, whatever it does now
            return {**row, "note": f"{row['note']}; by itself: {verdict} {why}"}
        return judge(case, verdict, f"by itself: {why}")

    repeated = [case for case in {**on_cpu, **found} if judge(case, *found.get(case, ("fail", "")))["outcome"] == "failed"]
    yield from (judge(case, *found[case]) for case in found if case not in repeated)
    yield from pooled(again, [(case,) for case in repeated])


def conformance(a):
    """Every case that passes on the CPU at float32 has to pass on the GPU in each precision."""
    for cases in a.cases:
        folder = os.path.basename(cases.rstrip("/"))
        on_cpu, done, row = verify(a, f"{folder}, on the CPU", cases, "--provider", "cpu")
        yield row or whole_run(f"{folder}, on the CPU", done, not on_cpu)
        for name in PRECISIONS:
            yield from in_precision(a, cases, folder, name, on_cpu)


# ---- compute-sanitizer


def sanitizers(a):
    """compute-sanitizer over the kernel tests."""
    tool_path = shutil.which("compute-sanitizer", path=os.environ["PATH"] + ":/usr/local/cuda/bin")
    checks = [(t, *test) for t in a.tools.split(",") for test in tests(a) if t != "initcheck" or not re.search(READS_THE_LIBRARYS, test[1])]
    if not checks:
        yield no_tests(a)
    if not tool_path:
        yield {"check": "compute-sanitizer", "outcome": "failed", "note": "it is not here"}
        return

    def check(tool, name, program, environment):
        name = f"{name}, {tool}"
        words = ["byte_kernel*"] if "cuda_gemm" in program and tool == "initcheck" else []
        done, row = run(a, name, [tool_path, "--tool", tool, *OPTIONS[tool], "--error-exitcode", "86", "--print-limit", "10", program,
                                  *words], SANITIZER_SECONDS, environment, a.build)
        if row or done.status is None:
            return row or not_run(name, done.why())
        summary = "ERROR SUMMARY" in done.out or "RACECHECK SUMMARY" in done.out
        passed = done.status == 0 and summary
        return row_of(name, "passed" if passed else "failed", "" if passed else done.told(), done)

    yield from pooled(check, checks)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("kernels", "conformance", "sanitizers"))
    p.add_argument("--build", required=True)
    p.add_argument("--rows", required=True)
    p.add_argument("--tools", default=",".join(OPTIONS))
    p.add_argument("--seconds", type=float, default=440)
    p.add_argument("cases", nargs="*")
    a = p.parse_intermixed_args()
    a.end = time.monotonic() + a.seconds
    gpu_process.end_with_the_stage()
    worst = passed = 0
    for row in {"kernels": kernels, "conformance": conformance, "sanitizers": sanitizers}[a.what](a):
        gpu_report.append(a.rows, row)
        print(f"{row['outcome']}  {row['check']}  {row['note']}", flush=True)
        worst |= row["outcome"] in ("failed", "not run")
        passed += row["outcome"] == "passed"
    return 1 if worst or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
