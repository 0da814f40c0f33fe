#!/usr/bin/env python3
"""Runs ONNX's own node tests, which PyPI's onnx 1.22.0 carries, through `bertc verify`.

    pip install -r tests/tools/requirements.txt
    python tests/tools/onnx_node_tests.py build/release/cli/bertc                              # reference and cpu
    python tests/tools/onnx_node_tests.py build/release/cli/bertc --provider cpu 'test_slice*'
    python tests/tools/onnx_node_tests.py build/release/cli/bertc --update                     # rewrites the list
    BERT_PLUGIN_DIR=build/release/tests/cuda/emulated BERT_CUDA_GEMM_CACHE=off \
        python tests/tools/onnx_node_tests.py build/release/cli/bertc --provider cuda          # CUDA, on the emulator

tests/data/onnx_node_tests.txt names every test, in one of two forms:

    NAME pass                     it passes with every provider
    NAME out-of-scope: REASON     no provider passes it, and REASON says why none has to

Exits with 1 when a test is not as the list has it, one that passes in spite of its line among them: then the list has to
change. So too when one is not in the list, or in the list and not in the package. A crash is a failure of the test that it
happened in, whatever its line is. Exits with 77, and says why, where the package is missing.

Most tests state the newest opset or IR version at the time of the last change to their operator, if only another element
type was allowed, and a few state one older than bert.c reads. Such a model is run with opset 23 (13 for the old ones)
written into it when ONNX's checker finds nothing wrong with that; otherwise as it is.
"""

import argparse
import concurrent.futures
import fnmatch
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIST = os.path.join(ROOT, "tests", "data", "onnx_node_tests.txt")
VERSION = "1.22.0"
FIRST_OPSET, STANDARD_OPSET, LAST_OPSET, LAST_IR = 9, 13, 23, 12
CHUNK = 40
TIMEOUT = 300
HEADER = f"""# ONNX's node tests (PyPI's onnx {VERSION}): which must pass with every provider, and which are out of scope and why.
# Checked by tests/tools/onnx_node_tests.py; its --update adds new tests and keeps the reasons that stand here.
"""

try:
    import onnx
except ImportError as missing:
    print(f"skipped: the Python package onnx is not there ({missing}); pip install -r tests/tools/requirements.txt")
    sys.exit(77)

DATA = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "node")


def read_list(path):
    """{name: None for pass, else the reason why it is out of scope}"""
    entries = {}
    if not os.path.exists(path):
        return entries
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            match = re.fullmatch(r"(\S+) (?:pass|out-of-scope: (.+))", line)
            if not match or match[1] in entries:
                sys.exit(f"{path}:{number}: neither 'NAME pass' nor 'NAME out-of-scope: REASON', or a name again: {line}")
            entries[match[1]] = match[2]
    return entries


def restated(model):
    """Whether the model was given an opset and an IR version that bert.c reads, and is still valid."""
    entry = next((entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if entry is None:
        return False
    opset = entry.version
    if FIRST_OPSET <= opset <= LAST_OPSET and model.ir_version <= LAST_IR:
        return False
    entry.version = STANDARD_OPSET if opset < FIRST_OPSET else min(opset, LAST_OPSET)
    model.ir_version = min(model.ir_version, LAST_IR)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:  # the checker has no one base class for what it raises
        return False
    return True


def prepare(name, folder):
    """Lays out a case: the model, restated where that is needed, and its data as they are."""
    source = os.path.join(DATA, name)
    target = os.path.join(folder, name)
    os.mkdir(target)
    model = onnx.load(os.path.join(source, "model.onnx"))
    if restated(model):
        onnx.save(model, os.path.join(target, "model.onnx"))
    for entry in os.listdir(source):
        if not os.path.exists(os.path.join(target, entry)):
            os.symlink(os.path.join(source, entry), os.path.join(target, entry))
    return target


def verify(bertc, provider, paths):
    """{name: (verdict, sentence)} of some cases; runs on behind one that takes the process down."""
    verdicts = {}
    while paths:
        command = [bertc, "verify", "--provider", provider, *paths]
        sound = True
        try:
            run = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
            output, ending = run.stdout, f"exit {run.returncode}: {run.stderr.strip()[-400:]}"
            sound = run.returncode in (0, 1)
        except subprocess.TimeoutExpired as late:
            output, ending = (late.stdout or b"").decode(errors="replace"), f"no end within {TIMEOUT} s"
        for line in output.splitlines():
            match = re.match(r"(pass|fail|skip)\s+(\S+)\s*(.*)", line)
            if match:
                verdicts[match[2]] = (match[1], match[3])
        left = [path for path in paths if os.path.basename(path) not in verdicts]
        if left:
            verdicts[os.path.basename(left[0])] = ("crash", ending)
        elif not sound:  # after the last of them, as the CUDA emulator tells of faults: which one?
            alone = len(paths) == 1
            for path in paths:
                verdicts.update({os.path.basename(path): ("crash", ending)} if alone else verify(bertc, provider, [path]))
            if not any(verdicts[os.path.basename(path)][0] == "crash" for path in paths):
                verdicts[os.path.basename(paths[-1])] = ("crash", f"with others alone: {ending}")
        paths = left[1:]
    return verdicts


def run_all(bertc, provider, paths, jobs):
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    verdicts = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for part in pool.map(lambda chunk: verify(bertc, provider, chunk), chunks):
            verdicts.update(part)
    return verdicts


def reason_for(sentence):
    """A reason for the list from what bert.c says: what it lacks, else the sentence without names of files and nodes."""
    lacking = sorted(set(re.findall(r"(\w+) of (?:ai\.onnx|[\w.]+) \d+ \(", sentence)))
    if lacking:
        return "no " + ", ".join(lacking)
    if "ONNX IR version" in sentence or "of operator set ai.onnx" in sentence:
        return f"an operator or type that opset {LAST_OPSET} does not have"
    number = re.search(r"elements of type \w+ \((\d+)\)|element type (\d+)", sentence)
    if number:
        return f"tensors of {onnx.TensorProto.DataType.Name(int(number[1] or number[2])).lower()}"
    if "not a dense tensor" in sentence:
        return "sequences, optionals and maps"
    return re.sub(r"^\S*: |node \"[^\"]*\" \(\w+\): ", "", sentence).strip() or "no sentence"


def check(entries, names, results):
    """Prints what is not as the list has it; the number of such tests."""
    wrong = 0

    def report(name, text):
        nonlocal wrong
        wrong += 1
        print(f"{name}: {text}")

    for name in names:
        entry = entries.get(name, "")
        bad = {provider: r[name] for provider, r in results.items() if r[name][0] != "pass"}
        for provider, (verdict, sentence) in bad.items():
            if verdict == "crash" or entry is None:
                report(name, f"{verdict} with {provider}: {sentence}")
        if name not in entries:
            report(name, "is not in the list (--update adds it)")
        elif entry is not None and len(bad) < len(results):
            report(name, "passes, but is listed as out of scope (--update moves it)")
    return wrong


def write_list(path, entries, results):
    """New tests are added and such that pass now move; one that must pass goes on to, and fails, until a hand edits it."""
    first = next(iter(results.values()))
    lines = []
    for name in sorted(first):
        verdicts = [result[name] for result in results.values()]
        entry = entries.get(name, "")
        if entry is None or all(verdict == "pass" for verdict, _ in verdicts):
            lines.append(f"{name} pass\n")
            continue
        sentence = next(sentence for verdict, sentence in verdicts if verdict != "pass")
        lines.append(f"{name} out-of-scope: {entries.get(name) or reason_for(sentence)}\n")
    with open(path, "w", encoding="utf-8") as out:
        out.write(HEADER + "".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bertc", help="the command to test")
    parser.add_argument("patterns", nargs="*", help="only tests whose names match one of these")
    parser.add_argument("--provider", action="append", help="may be repeated (default: reference and cpu)")
    parser.add_argument("--list", default=LIST, help="(default: tests/data/onnx_node_tests.txt)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--update", action="store_true", help="rewrite the list from what happened")
    options = parser.parse_intermixed_args()
    if onnx.__version__ != VERSION or not os.path.isdir(DATA):
        print(f"skipped: onnx {VERSION} carries the node tests, and this is {onnx.__version__}")
        return 77
    providers = options.provider or ["reference", "cpu"]
    entries = read_list(options.list)
    names = sorted(os.listdir(DATA))
    vanished = [name for name in entries if name not in names]
    if options.patterns:
        if options.update:
            parser.error("--update takes no patterns: the list is written as a whole")
        names = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in options.patterns)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [prepare(name, folder) for name in names]
        results = {provider: run_all(options.bertc, provider, paths, options.jobs) for provider in providers}
    if options.update:
        write_list(options.list, entries, results)
        entries, vanished = read_list(options.list), []
    wrong = check(entries, names, results)
    for name in vanished:
        wrong += 1
        print(f"{name}: is in the list, but not in onnx {VERSION}")
    for provider, verdicts in results.items():
        passed = sum(verdict == "pass" for verdict, _ in verdicts.values())
        print(f"{provider}: {passed} of {len(names)} pass")
    required = sum(entries.get(name, "") is None for name in names)
    print(f"{required} must pass; {wrong} not as listed")
    return 1 if wrong or not names else 0


if __name__ == "__main__":
    sys.exit(main())
