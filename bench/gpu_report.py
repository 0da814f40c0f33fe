#!/usr/bin/env python3
"""The result of bench/gpu_suite.sh: one JSON file that every stage adds to; gpu_tables.py shows it.

    gpu_report.py begin RESULT.json STAGE     # its rows are in STAGE.rows beside RESULT.json until they are recorded
    gpu_report.py record RESULT.json STAGE --status STATUS [--seconds S] [--note TEXT]
    gpu_report.py merge RESULT.json FROM ...  # adds other results, the latest last

RESULT.json: {"format": 1, "stages": {STAGE: {"status", "seconds", "note", "machine": {..}, "rows": [..]}}}; status: passed,
failed, unfinished (none failed, some were not run), timed-out, killed (with the suite) or "not run". A stage that is run again
takes the place of its earlier result, but for times on the same GPU that it did not measure again: PyTorch's, and bert.c's of
the same sources. A row is a check,
{"check", "outcome": "passed" | "failed" | "skipped" | "not run", "note"}, or a time, {"model", "precision", "cell", "engine",
"median_ms" ..}; "notices": what was said on standard error; "mark": what a time was measured without. Needs nothing but Python.
"""
import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCES = ("CMakeLists.txt", "cli", "cmake", "core", "cpu", "cuda", "onnx_loader", "pipelines", "tokenizer")  # what bertc is made of
NO_FP8 = "the GPU has no FP8"  # why a check is skipped


def says_no_fp8(text):
    """Whether bertc refuses FP8 for the sake of the GPU."""
    return "compute capability 8.9" in text


def append(path, row):
    """One more row of a stage, on disk before the next is begun: what a stage measured stays when its time is up."""
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(path):
    """Rows of a file that may end in the middle of one."""
    rows = []
    if os.path.exists(path):
        with open(path) as file, contextlib.suppress(json.JSONDecodeError):
            for line in file:
                rows.append(json.loads(line))
    return rows


def answer(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def digest_of_sources(root=ROOT):
    """By names and contents: a tree may be changed, or come without its history."""
    digest = hashlib.sha256()
    for source in SOURCES:
        path = os.path.join(root, source)
        found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names if not name.endswith(".pyc")]
        for file in sorted(found) or [path]:
            with open(file, "rb") as content:
                digest.update(f"{os.path.relpath(file, root)} {hashlib.sha256(content.read()).hexdigest()}\n".encode())
    return digest.hexdigest()


def machine():
    """Where a stage ran. What can't be found out is empty."""
    gpus = answer("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,persistence_mode", "--format=csv,noheader")
    gpu, _, persistence = gpus.partition("\n")[0].rpartition(", ")
    nvcc = (answer("nvcc", "--version") or answer("/usr/local/cuda/bin/nvcc", "--version")).splitlines()
    return {"commit": answer("git", "rev-parse", "HEAD"), "sources": digest_of_sources(), "gpu": gpu, "persistence": persistence,
            "nvcc": nvcc[-2].strip() if len(nvcc) > 1 else "", "cpus": len(os.sched_getaffinity(0)), "platform": platform.platform(),
            "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def read(path):
    if not os.path.exists(path):
        return {"format": 1, "stages": {}}
    with open(path) as file:
        result = json.load(file)
    if result.get("format") != 1:
        sys.exit(f"{path} is of format {result.get('format')}, not 1")
    return result


def rows_file(path, stage):
    return os.path.join(os.path.dirname(path), stage + ".rows")


def load(path):
    """A result, with what a stage has measured that runs, or did until it was killed with the suite."""
    result = read(path)
    running = result.pop("running", None)
    if running:
        put(result, running["stage"], {"status": "killed", "seconds": 0, "note": "it did not end", "machine": running["machine"],
                                       "rows": read_rows(rows_file(path, running["stage"]))})
    return result


def save(path, result):
    with open(path + ".new", "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def key_of(row):
    return row["engine"], row["model"], row["precision"], row["cell"], row.get("way", "")


def name_of(row):
    """Of a time, and of the check that says that measuring it failed."""
    return " ".join(filter(None, key_of(row)))


def checks_of(stage):
    return [row for row in stage["rows"] if "check" in row]


def times_of(stage):
    return [row for row in stage["rows"] if "median_ms" in row]


def is_ours(row):
    return row["engine"].startswith("bert.c")


def put(result, name, stage):
    """Adds a stage, run after what is there of it. What it did not measure again stays: times of the same GPU, PyTorch's, which
    don't depend on what bert.c has become since, and bert.c's of the same sources."""
    earlier = result["stages"].get(name)
    if earlier and stage["status"] == "not run":
        return
    if earlier and earlier["machine"]["gpu"] == stage["machine"]["gpu"]:
        known = {name_of(row) for row in times_of(stage)} | {row["check"] for row in checks_of(stage) if row["outcome"] == "failed"}
        same = earlier["machine"].get("sources") == stage["machine"].get("sources") is not None
        stage["rows"] += [row for row in times_of(earlier) if (same or not is_ours(row)) and name_of(row) not in known]
    result["stages"][name] = stage


def begin(a):
    result = load(a.result)
    with open(rows_file(a.result, a.stage), "w"):
        pass
    save(a.result, {**result, "running": {"stage": a.stage, "machine": machine()}})


def record(a):
    result = read(a.result)
    rows = rows_file(a.result, a.stage)
    stage = {"status": a.status, "seconds": a.seconds, "note": a.note, "rows": read_rows(rows),
             "machine": result.pop("running", {}).get("machine") or machine()}
    outcomes = {row["outcome"] for row in checks_of(stage)}
    if a.status == "failed" and "failed" in outcomes:
        stage["note"] = ""  # its checks say what failed
    elif a.status == "failed" and "not run" in outcomes:
        stage.update(status="unfinished", note="")
    put(result, a.stage, stage)
    save(a.result, result)
    if os.path.exists(rows):
        os.remove(rows)


def merge(a):
    result = load(a.result)
    for path in a.others:
        if not os.path.exists(path):
            sys.exit(f"{path} is not there")
        for name, stage in load(path)["stages"].items():
            put(result, name, stage)
    save(a.result, result)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    for name in ("begin", "record", "merge"):
        command = commands.add_parser(name)
        command.add_argument("result")
        if name in ("begin", "record"):
            command.add_argument("stage")
        if name == "record":
            command.add_argument("--status", choices=("passed", "failed", "timed-out", "not run"), required=True)
            command.add_argument("--seconds", type=float, default=0)
            command.add_argument("--note", default="")
        if name == "merge":
            command.add_argument("others", nargs="+")
    a = p.parse_args()
    {"begin": begin, "record": record, "merge": merge}[a.command](a)


if __name__ == "__main__":
    main()
