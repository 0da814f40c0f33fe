#!/usr/bin/env python3
"""The tables of bench/gpu_suite.sh in Markdown, from what gpu_report.py has collected: gpu_tables.py RESULT.json"""
import sys

from gpu_bench import CELLS
from gpu_report import checks_of, is_ours, key_of, load, name_of, times_of

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


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join("" if c is None else " ".join(str(c).replace("|", "\\|").split()) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


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


def all_times(result):
    return [row for stage in result["stages"].values() for row in times_of(stage)]


def size(cell):
    return tuple(map(int, cell.split("x")))


def notices_table(result):
    """What was said on standard error, once a stage, with where it was said first."""
    places = {}
    for name, stage in result["stages"].items():
        for row in stage["rows"]:
            if row.get("notices"):
                places.setdefault((name, row["notices"]), []).append(row.get("check") or name_of(row))
    rows = [[name, where[0] + (f" and {len(where) - 1} more" if where[1:] else ""), said] for (name, said), where in places.items()]
    return table(["stage", "where", "what"], rows) if rows else ""


def cells_tables(result):
    """One table for each model, precision and way of padding: a line a cell, a column an engine, ratios over bert.c."""
    groups = {}
    for row in all_times(result):
        groups.setdefault((row["model"], row["precision"], row.get("way", "")), []).append(row)
    text = []
    for (model, precision, way), rows in sorted(groups.items()):
        engines = sorted({r["engine"] for r in rows}, key=lambda e: (not e.startswith("bert.c"), e))
        lines = []
        all_cells = CELLS if (model, precision, way) == ("base", "fp16", "") else []
        for cell in sorted({*all_cells, *(r["cell"] for r in rows)}, key=size):
            here = {r["engine"]: r for r in rows if r["cell"] == cell}
            ours = next((r for r in here.values() if is_ours(r)), None)
            line = [cell]
            for engine in engines:
                row = here.get(engine)
                ratio = f" ({row['median_ms'] / ours['median_ms']:.2f})" if row and ours and not is_ours(row) else ""
                device = f" [{row['device_median_ms']:.3f}]" if row and row.get("device_median_ms") else ""
                mark = " \\*" if row and row.get("mark") else ""
                line.append(f"{row['median_ms']:.3f}{device}{ratio}{mark}" if row else "not measured")
            line.append(f"{size(cell)[0] / ours['median_ms'] * 1e3:,.0f}" if ours else None)
            lines.append(line)
        text.append(f"BERT-{model}, {precision}{', ' + way if way else ''}: ms\n\n"
                    + table(["batch x sequence", *engines, "sequences/s"], lines)
                    + "".join(f"\n\\* {r['engine']} {r['cell']}: {r['mark']}\n" for r in rows if r.get("mark")))
    if text:
        text.append("ms: median of whole calls, ids in the host's memory to logits in it. [ms]: the GPU's own time, where it is "
                    "known. (ratio): the engine's time over bert.c's; above 1 bert.c is faster.\n")
    return "\n".join(text)


def figure(row, unit):
    if unit == "sequences/s":
        return size(row["cell"])[0] / row["median_ms"] * 1e3
    return row["median_ms"] * (1e3 if unit == "us" else 1)


def verdict_of(value, must, aim, more_is_better=True):
    if value is None:
        return "not measured"
    value, must, aim = (v if more_is_better else -v for v in (value, must, aim))
    return "aim met" if value >= aim else "met" if value >= must else "MISSED"


def compiled_figure(result, ours, what, aim, counts):
    """torch.compile's time over ours, the least of so many cells, those that count. One without the CUDA graphs that it is about
    counts where it is a miss alone."""
    ratios, cells = [], sum(map(counts, CELLS))
    for row in all_times(result):
        key = (row["model"], row["precision"], row["cell"], "")
        if row["engine"].endswith("compiled") and key in ours and key[:2] == ("base", "fp16") and counts(row["cell"]):
            ratio = row["median_ms"] / ours[key]["median_ms"]
            ratios += [ratio] if ratio < 1 or not row.get("mark") else []
    least = min(ratios, default=None)
    verdict = verdict_of(least, 1, aim)
    if ratios and verdict != "MISSED" and len(ratios) < cells:
        verdict = f"met in {len(ratios)} of {cells} so far"
    return [f"BERT-base float16, torch.compile's time over bert.c's, least of {cells} {what}", f"{least:.2f}" if ratios else None, "1.0",
            f"{aim}", verdict]


def figures_table(result):
    ours = {key_of(r)[1:]: r for r in all_times(result) if is_ours(r)}
    lines = []
    for what, key, unit, must, aim in FIGURES:
        row = ours.get(key)
        value = figure(row, unit) if row else None
        mark = f" ({row['mark']})" if row and row.get("mark") else ""
        lines.append([what, f"{value:,.0f} {unit}" if row else None, f"{must:,} {unit}", f"{aim:,}",
                      verdict_of(value, must, aim, unit == "sequences/s") + mark])
    for batch in (32, 128):
        pair = [ours.get(("base", "fp16", f"{batch}x128", way)) for way in ("compute", "skip")]
        ratio = pair[0]["median_ms"] / pair[1]["median_ms"] if all(pair) else None
        lines.append([f"ragged batch of {batch}, mean half of the maximum: padding computed / skipped",
                      f"{ratio:.2f}" if ratio else None, "1.7", "2.2", verdict_of(ratio, 1.7, 2.2)])
    return table(["figure", "measured", "must", "aim", ""], lines + [
        compiled_figure(result, ours, "cells", 1.2, lambda cell: True),
        compiled_figure(result, ours, "of batch 1", 2, lambda cell: size(cell)[0] == 1)])


def markdown(result):
    text = ["# bert.c on a GPU\n", stages_table(result)]
    for title, part in (("What did not pass", troubles_table(result)), ("Figures", figures_table(result)),
                        ("Times", cells_tables(result)), ("Notices", notices_table(result))):
        if part:
            text += [f"## {title}\n", part]
    return "\n".join(text)


if __name__ == "__main__":
    print(markdown(load(sys.argv[1])), end="")
