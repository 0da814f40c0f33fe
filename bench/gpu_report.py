#!/usr/bin/env python3
"""The result of bench/gpu_suite.sh: one JSON file that every stage adds to, and its tables.

    gpu_report.py record RESULT.json STAGE --status passed|failed|timed-out --seconds S [--rows FILE.jsonl] [--note TEXT]
    gpu_report.py show RESULT.json            # Markdown

RESULT.json: {"format": 1, "stages": {STAGE: {"status", "seconds", "note", "machine": {..}, "rows": [..]}}}. A stage that is
run again takes the place of its earlier result. A row is a check, {"check", "outcome": "passed" | "failed" | "skipped" |
"not run", "note"}, or a time, {"model", "precision", "cell", "engine", "median_ms" ..}. Needs nothing but Python.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import sys

# What one H100 is to reach: (what, model, precision, cell and way of its row, unit, must, aim).
FIGURES = [
    ("BERT-base 1x128 float16", ("base", "fp16", "1x128", ""), "us", 300, 150),
    ("BERT-base 128x128 float16", ("base", "fp16", "128x128", ""), "sequences/s", 22000, 26000),
    ("BERT-base 128x128 INT8", ("base", "int8", "128x128", ""), "sequences/s", 30000, 40000),
    ("BERT-base 128x128 FP8", ("base", "fp8", "128x128", ""), "sequences/s", 30000, 40000),
    ("BERT-large 1x384 float16", ("large", "fp16", "1x384", ""), "us", 1300, 800),
    ("BERT-large, SQuAD-like lengths, INT8", ("large", "int8", "64x384", "skip"), "sequences/s", 6000, 9100),
    ("BERT-large, SQuAD-like lengths, FP8", ("large", "fp8", "64x384", "skip"), "sequences/s", 6000, 9100),
    ("load to first answer, BERT-base float16", ("base", "fp16", "1x128", "load"), "ms", 1000, 400),
]
OUTCOMES = ("passed", "failed", "skipped", "not run")
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
    if path and os.path.exists(path):
        for line in open(path):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def answer(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def machine():
    """Where a stage ran. What can't be found out is empty."""
    gpu = answer("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader")
    nvcc = answer("nvcc", "--version") or answer("/usr/local/cuda/bin/nvcc", "--version")
    return {"commit": answer("git", "rev-parse", "HEAD"), "gpu": gpu.splitlines()[0] if gpu else "", "nvcc": nvcc.splitlines()[-2].strip() if nvcc else "",
            "cpus": len(os.sched_getaffinity(0)), "platform": platform.platform(),
            "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def load(path):
    if not os.path.exists(path):
        return {"format": 1, "stages": {}}
    with open(path) as file:
        result = json.load(file)
    if result.get("format") != 1:
        sys.exit(f"{path} is of format {result.get('format')}, not 1")
    return result


def record(a):
    result = load(a.result)
    result["stages"][a.stage] = {"status": a.status, "seconds": a.seconds, "note": a.note, "machine": machine(),
                                 "rows": read_rows(a.rows)}
    if any(c["outcome"] == "failed" for c in checks_of(result["stages"][a.stage])) and a.status == "failed":
        result["stages"][a.stage]["note"] = ""  # its checks say what failed
    with open(a.result + ".new", "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    os.replace(a.result + ".new", a.result)


# ---- Tables


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join("" if c is None else " ".join(str(c).replace("|", "\\|").split()) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def checks_of(stage):
    return [row for row in stage["rows"] if "check" in row]


def stages_table(result):
    rows = []
    for name, stage in result["stages"].items():
        counts = [sum(c["outcome"] == o for c in checks_of(stage)) for o in OUTCOMES]
        told = ", ".join(f"{n} {o}" for n, o in zip(counts, OUTCOMES) if n)
        rows.append([name, stage["status"], f"{stage['seconds']:.0f}", told, stage.get("note", ""), stage["machine"]["gpu"]])
    return table(["stage", "status", "s", "checks", "note", "GPU"], rows)


def troubles_table(result):
    rows = [[name, c["check"], c["outcome"], c.get("note", "")] for name, stage in result["stages"].items()
            for c in checks_of(stage) if c["outcome"] != "passed"]
    return table(["stage", "check", "outcome", "why"], rows) if rows else ""


def times_of(result):
    return [row for stage in result["stages"].values() for row in stage["rows"] if "median_ms" in row]


def is_ours(row):
    return row["engine"].startswith("bert.c")


def size(cell):
    return tuple(map(int, cell.split("x")))


def cells_tables(result):
    """One table for each model, precision and way of padding: a line a cell, a column an engine, ratios over bert.c."""
    groups = {}
    for row in times_of(result):
        groups.setdefault((row["model"], row["precision"], row.get("way", "")), []).append(row)
    text = []
    for (model, precision, way), rows in sorted(groups.items()):
        engines = sorted({r["engine"] for r in rows}, key=lambda e: (not e.startswith("bert.c"), e))
        lines = []
        for cell in sorted({r["cell"] for r in rows}, key=size):
            here = {r["engine"]: r for r in rows if r["cell"] == cell}
            ours = next((r for r in here.values() if is_ours(r)), None)
            line = [cell]
            for engine in engines:
                row = here.get(engine)
                ratio = f" ({row['median_ms'] / ours['median_ms']:.2f})" if row and ours and not is_ours(row) else ""
                device = f" [{row['device_median_ms']:.3f}]" if row and row.get("device_median_ms") else ""
                line.append(f"{row['median_ms']:.3f}{device}{ratio}" if row else "not measured")
            line.append(f"{size(cell)[0] / ours['median_ms'] * 1e3:,.0f}" if ours else None)
            lines.append(line)
        text.append(f"BERT-{model}, {precision}{', ' + way if way else ''}: ms\n\n"
                    + table(["batch x sequence", *engines, "sequences/s"], lines))
    if text:
        text.append("ms: median of whole calls, ids in the host's memory to logits in it. [ms]: the GPU's own time, where it is "
                    "known. (ratio): the engine's time over bert.c's; above 1 bert.c is faster.\n")
    return "\n".join(text)


def figure(row, unit):
    if unit == "sequences/s":
        return size(row["cell"])[0] / row["median_ms"] * 1e3
    return row["median_ms"] * (1e3 if unit == "us" else 1)


def figures_table(result):
    ours = {(r["model"], r["precision"], r["cell"], r.get("way", "")): r for r in times_of(result) if is_ours(r)}
    lines = []
    for what, key, unit, must, aim in FIGURES:
        row = ours.get(key)
        value = figure(row, unit) if row else None
        better = (lambda a, b: a >= b) if unit == "sequences/s" else (lambda a, b: a <= b)
        verdict = "not measured" if row is None else "aim met" if better(value, aim) else "met" if better(value, must) else "MISSED"
        lines.append([what, f"{value:,.0f} {unit}" if row else None, f"{must:,} {unit}", f"{aim:,}", verdict])
    for batch in (32, 128):
        pair = [ours.get(("base", "fp16", f"{batch}x128", way)) for way in ("compute", "skip")]
        ratio = pair[0]["median_ms"] / pair[1]["median_ms"] if all(pair) else None
        verdict = "not measured" if ratio is None else "aim met" if ratio >= 2.2 else "met" if ratio >= 1.7 else "MISSED"
        lines.append([f"ragged batch of {batch}, mean half of the maximum: padding computed / skipped",
                      f"{ratio:.2f}" if ratio else None, "1.7", "2.2", verdict])
    ratios = [r["median_ms"] / ours[key]["median_ms"] for r in times_of(result) if r["engine"].endswith("compiled")
              and (key := (r["model"], r["precision"], r["cell"], "")) in ours and key[:2] == ("base", "fp16")]
    verdict = "not measured" if not ratios else "aim met" if min(ratios) >= 1.2 else "met" if min(ratios) >= 1 else "MISSED"
    lines.append([f"BERT-base float16, torch.compile's time over bert.c's, least of {len(ratios)} cells of 16",
                  f"{min(ratios):.2f}" if ratios else None, "1.0", "1.2", verdict])
    return table(["figure", "measured", "must", "aim", ""], lines)


def markdown(result):
    text = ["# bert.c on a GPU\n", stages_table(result)]
    for title, part in (("What did not pass", troubles_table(result)), ("Figures", figures_table(result)),
                        ("Times", cells_tables(result))):
        if part:
            text += [f"## {title}\n", part]
    return "\n".join(text)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    r = commands.add_parser("record")
    r.add_argument("result")
    r.add_argument("stage")
    r.add_argument("--status", choices=("passed", "failed", "timed-out"), required=True)
    r.add_argument("--seconds", type=float, required=True)
    r.add_argument("--rows")
    r.add_argument("--note", default="")
    s = commands.add_parser("show")
    s.add_argument("result")
    a = p.parse_args()
    if a.command == "record":
        record(a)
    else:
        print(markdown(load(a.result)), end="")


if __name__ == "__main__":
    main()
