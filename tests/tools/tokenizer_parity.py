#!/usr/bin/env python3
"""Holds bert.c's tokenizer against `tokenizers` from PyPI: ids, types, words, offsets, masks, windows, decoded text.

    pip install -r tests/tools/requirements.txt
    ninja -C build/release tokenizer_probe
    python tests/tools/tokenizer_parity.py build/release/tests/tokenizer/tokenizer_probe                 # the full run
    python tests/tools/tokenizer_parity.py build/release/tests/tokenizer/tokenizer_probe --count 5000    # a sample

The full run takes 200,000 generated strings, and every assigned code point alone and between two letters, cased and
uncased. Strings come from a seeded generator: all scripts, combining marks, emoji sequences, control characters, special
tokens alone and inside text, very long words, pairs with every truncation strategy, strides, padding. A sample takes so
many strings and a matching share of the code points. Exits with 1 at the first differences, shown one a line.
"""

import argparse
import contextlib
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import unicodedata

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing, RobertaProcessing, TemplateProcessing

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STRATEGIES = [None, "longest_first", "only_first", "only_second"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
BY_CATEGORY = {}
for code_point in ASSIGNED:
    BY_CATEGORY.setdefault(unicodedata.category(chr(code_point)), []).append(code_point)
# What NFD may move: a combining class, and some of these are not removed as accents.
COMBINING = [c for c in ASSIGNED if unicodedata.combining(chr(c))]
KEPT_COMBINING = [c for c in COMBINING if unicodedata.category(chr(c)) != "Mn"]
WORDS = ("the of and to in hello world unbelievable tokenizers don't Über naïve café Straße ÉCOLE İstanbul ΑΣΣΟΣ Ω "
         "Москва Ёлка 東京 今天 不错 서울 ภาษาไทย हिन्दी عربي עברית ﬁne Ǆ ǅ ΐ ͅ Å ﷺ 한국어 각 豈 ́").split(" ")


class Probe:
    """The C side, a process that answers requests."""

    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"the probe ended with {self.process.returncode}")

    def take(self, count):
        data = self.process.stdout.read(count)
        if len(data) != count:
            raise SystemExit(f"the probe stopped answering (status {self.process.wait()})")
        return data

    def ask(self, requests):
        """Writes the requests from a second thread, for an answer may fill its pipe before all are written."""
        blob = b"".join(requests)
        writer = threading.Thread(target=lambda: (self.process.stdin.write(blob), self.process.stdin.flush()))
        writer.start()
        answers = [self.read(request) for request in requests]
        writer.join()
        return answers

    def read(self, request):
        status, count = struct.unpack("<qq", self.take(16))
        if status:
            return "error", self.take(count).decode()
        if request[0] == 1:
            return "text", self.take(count)
        windows = []
        for _ in range(count):
            (n,) = struct.unpack("<q", self.take(8))
            ids, types, words = (list(struct.unpack(f"<{n}i", self.take(4 * n))) for _ in range(3))
            flat = struct.unpack(f"<{2 * n}q", self.take(16 * n))
            attention, special = list(self.take(n)), list(self.take(n))
            sequences = list(struct.unpack(f"<{n}b", self.take(n)))
            windows.append((ids, types, words, list(zip(flat[::2], flat[1::2])), attention, special, sequences))
        return "windows", windows


def encode_request(text, pair, options):
    strategy, max_length, stride, pad_to, special = options
    first, second = text.encode(), (pair or "").encode()
    flags = (pair is not None) | (0 if special else 2)
    header = struct.pack("<8q", 0, flags, STRATEGIES.index(strategy), max_length, stride, pad_to, len(first),
                         len(second))
    return header + first + second


def decode_request(ids, skip, clean_up):
    data = struct.pack(f"<{len(ids)}i", *ids)
    return struct.pack("<8q", 1, 2 * skip + 8 * clean_up, 0, 0, 0, 0, len(data), 0) + data


def columns(encoding):
    words = [-1 if word is None else word for word in encoding.word_ids]
    sequences = [-1 if sequence is None else sequence for sequence in encoding.sequence_ids]
    return (encoding.ids, encoding.type_ids, words, encoding.offsets, encoding.attention_mask,
            encoding.special_tokens_mask, sequences)


class Silence:
    """Standard error, of Rust code too, goes nowhere while this is entered: a panic is an answer here, not news."""

    def __enter__(self):
        sys.stderr.flush()
        self.kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_):
        os.dup2(self.kept, 2)
        os.close(self.kept)


def expect(tokenizer, text, pair, options):
    strategy, max_length, stride, pad_to, special = options
    # `tokenizers` panics, with a message of its own, where a stride leaves no room for a text.
    with Silence() if strategy and stride else contextlib.nullcontext():
        return expected_windows(tokenizer, text, pair, strategy, max_length, stride, pad_to, special)


def expected_windows(tokenizer, text, pair, strategy, max_length, stride, pad_to, special):
    try:
        if strategy:
            tokenizer.enable_truncation(max_length, stride=stride, strategy=strategy)
        if pad_to:
            tokenizer.enable_padding(length=pad_to, pad_id=0, pad_token="[PAD]")
        encoding = tokenizer.encode(text, pair, add_special_tokens=special)
    except BaseException as error:  # a panic is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return "error", str(error)
    finally:
        if strategy:
            tokenizer.no_truncation()
        if pad_to:
            tokenizer.no_padding()
    return "windows", [columns(encoding)] + [columns(window) for window in encoding.overflowing]


def clean_up(text):
    """transformers' clean_up_tokenization."""
    for mark in (".", "?", "!", ","):
        text = text.replace(" " + mark, mark)
    text = text.replace(" ' ", "'")
    for ending in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(" " + ending, ending)
    return text


class Generator:
    def __init__(self, seed, pieces):
        self.random = random.Random(seed)
        self.pieces = pieces

    def scalar(self):
        while True:
            c = self.random.randrange(0x110000)
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    def script(self):
        """Neighbours in Unicode: mostly one script."""
        start = self.random.choice(ASSIGNED)
        return "".join(
            chr(c) for c in (start + self.random.randrange(40) for _ in range(self.random.randrange(1, 8)))
            if c < 0x110000 and not 0xD800 <= c < 0xE000)

    def marks(self):
        base = chr(self.random.choice(ASSIGNED))
        source = self.random.choice([COMBINING, KEPT_COMBINING, COMBINING + KEPT_COMBINING * 8])
        count = self.random.choice([1, 2, 3, 4, 40])
        return base + "".join(chr(self.random.choice(source)) for _ in range(count))

    def emoji(self):
        base = [0x1F468, 0x1F469, 0x1F466, 0x1F44D, 0x2764, 0x1F3F4, 0x1F1E9, 0x1F1EA, 0x1FAE0, 0x1F6DC, 0x23]
        extra = ["", "\u200d", "\ufe0f", "\u20e3", "\U0001f3fd", "\U000e0067", "\U000e007f"]
        return "".join(chr(self.random.choice(base)) + self.random.choice(extra)
                       for _ in range(self.random.randrange(1, 6)))

    def category(self):
        name = self.random.choice(sorted(BY_CATEGORY))
        return "".join(chr(self.random.choice(BY_CATEGORY[name])) for _ in range(self.random.randrange(1, 4)))

    def ascii(self):
        return "".join(chr(self.random.randrange(128)) for _ in range(self.random.randrange(1, 12)))

    def long_word(self):
        piece = self.random.choice(["a", "é", "ab", "\u0301x", "한", "ﬀ", "q", self.scalar()])
        return piece * self.random.choice([49, 50, 51, 99, 100, 101, 150, 400])

    def special(self):
        token = self.random.choice(self.pieces)
        if self.random.random() < 0.3:
            token = self.random.choice([token.upper(), token.lower(), token[:-1], token[1:]])
        around = ["", " ", "  ", "\t", "\u3000", "a", "_", "é", "今", ".", "\u0301", "\n"]
        return self.random.choice(around) + token + self.random.choice(around)

    def space(self):
        return self.random.choice([" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u200b", "\u2028", "\u3000", "\x1c"])

    def text(self):
        makers = [self.script, self.marks, self.emoji, self.category, self.ascii, self.special, self.scalar, self.space,
                  lambda: self.random.choice(WORDS), lambda: " " + self.random.choice(WORDS) + " "]
        length = self.random.choice([0, 1, 1, 2, 3, 5, 8, 13])
        parts = [self.random.choice(makers)() for _ in range(length)]
        if self.random.random() < 0.03:
            parts.insert(self.random.randrange(len(parts) + 1), self.long_word())
        return "".join(parts)

    def options(self, around):
        strategy = self.random.choice(STRATEGIES + [None, None])
        special = self.random.random() < 0.9
        least = around if special else 1  # below that, `tokenizers` wraps around and cuts nothing
        max_length = self.random.randrange(least, 24)
        stride = self.random.choice([0, 0, 0, 1, 2, 5])
        # From this stride on, `tokenizers` refuses whatever the text.
        stride = min(stride, max(0, max_length - 2))
        pad_to = self.random.choice([0, 0, 0, 8, 30])
        return strategy, max_length if strategy else 0, stride if strategy else 0, pad_to, special


def make_vocabulary(generator):
    """Every assigned code point, alone and continuing, and longer tokens, so that a difference can't hide in [UNK]."""
    vocabulary = {token: i for i, token in enumerate(SPECIAL)}
    with open(os.path.join(ROOT, "models", "zh-sentiment", "vocab.txt"), encoding="utf-8") as file:
        tokens = file.read().split("\n")
    for c in ASSIGNED:
        tokens += [chr(c), "##" + chr(c)]
    for word in WORDS:
        for end in range(1, len(word) + 1):
            tokens += [word[:end], word[:end].lower(), "##" + word[end - 1:]]
    for _ in range(4000):
        tokens.append(generator.random.choice(["", "##"]) + generator.script() + generator.script())
    for token in tokens:
        vocabulary.setdefault(token, len(vocabulary))
    return vocabulary


def added_tokens():
    """Every combination of flags, on contents that normalization changes and that it leaves."""
    tokens = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    contents = ["<T{}>", "Mid{}", "ÀÉ{}", "今{}天", " s{} ", "_{}_"]
    for flags in range(32):
        tokens.append(AddedToken(contents[flags % len(contents)].format(flags), single_word=bool(flags & 1),
                                 lstrip=bool(flags & 2), rstrip=bool(flags & 4), normalized=bool(flags & 8),
                                 special=bool(flags & 16)))
    tokens += [AddedToken("hello"), AddedToken("hello world", normalized=False), AddedToken("hell", single_word=True)]
    return tokens


def configurations(vocabulary):
    """(name, tokenizer, share of the strings)"""
    settings = {
        "uncased": (dict(), False, 6),
        "cased": (dict(lowercase=False), False, 4),
        "lower case, accents kept": (dict(strip_accents=False), False, 2),
        "cased, accents stripped": (dict(strip_accents=True, lowercase=False), False, 2),
        "Chinese characters in words": (dict(handle_chinese_chars=False), False, 1),
        "text not cleaned": (dict(clean_text=False), False, 2),
        "uncased, as MPNet": (dict(), False, 2),
        "added tokens": (dict(), True, 4),
        "added tokens, cased": (dict(lowercase=False), True, 2),
        "added tokens, Chinese characters in words": (dict(handle_chinese_chars=False), True, 1),
    }
    for name, (normalizer, added, share) in settings.items():
        tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = BertNormalizer(**normalizer)
        tokenizer.pre_tokenizer = BertPreTokenizer()
        tokenizer.decoder = WordPieceDecoder(cleanup="cased" in name)
        if "MPNet" in name:
            tokenizer.post_processor = RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
        elif share % 2:
            tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        else:
            tokenizer.post_processor = TemplateProcessing(
                single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        tokenizer.add_tokens(added_tokens() if added else added_tokens()[:5])
        yield name, tokenizer, share


class Comparison:
    def __init__(self):
        self.compared = self.differing = 0

    def note(self, same, *what):
        self.compared += 1
        if not same:
            self.differing += 1
            if self.differing <= 20:
                print("differs:", *what)

    def encodings(self, probe, tokenizer, name, cases):
        for start in range(0, len(cases), 500):
            batch = cases[start:start + 500]
            answers = probe.ask([encode_request(*case) for case in batch])
            for case, got in zip(batch, answers):
                want = expect(tokenizer, *case)
                same = want[0] == got[0] and (want[0] == "error" or want[1] == got[1])
                self.note(same, name, ascii(case), "\n   got ", str(got)[:400], "\n   want", str(want)[:400])

    def decodings(self, probe, tokenizer, name, generator, count):
        size = tokenizer.get_vocab_size()
        common = list(range(5)) + [tokenizer.token_to_id(token) for token in
                                   (".", "?", "!", ",", "'", "##s", "s", "n", "##t", "don", "m", "re", "ve")]
        common = [token for token in common if token is not None]
        cases = []
        for _ in range(count):
            ids = [generator.random.choice([generator.random.randrange(size + 3), generator.random.choice(common)])
                   for _ in range(generator.random.randrange(12))]
            cases.append((ids, generator.random.random() < 0.5, generator.random.random() < 0.5))
        for case, (_, got) in zip(cases, probe.ask([decode_request(*case) for case in cases])):
            want = tokenizer.decode(case[0], skip_special_tokens=case[1])
            want = clean_up(want) if case[2] else want
            self.note(want.encode() == got, name, "decode", case, "got", got, "want", want.encode())


def code_point_cases(generator, share):
    alone = (None, 0, 0, 0, False)
    for c in ASSIGNED:
        if share >= 1 or generator.random.random() < share:
            yield chr(c), None, alone
            yield "a" + chr(c) + "b", None, alone


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probe", help="the program tokenizer_probe of a build")
    parser.add_argument("--count", type=int, default=200000, help="generated strings (default 200000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["RUST_BACKTRACE"] = "0"
    generator = Generator(arguments.seed, SPECIAL + [token.content for token in added_tokens()])
    comparison = Comparison()
    vocabulary = make_vocabulary(generator)
    configured = list(configurations(vocabulary))
    shares = sum(share for _, _, share in configured)
    for name, tokenizer, share in configured:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save(os.path.join(folder, "tokenizer.json"))
            probe = Probe(arguments.probe, folder)
            cases = []
            for _ in range(-(-arguments.count * share // shares)):
                text = generator.text()
                pair = generator.text() if generator.random.random() < 0.4 else None
                around = tokenizer.num_special_tokens_to_add(pair is not None)
                cases.append((text, pair, generator.options(around)))
            if name in ("uncased", "cased"):
                cases += code_point_cases(generator, arguments.count / 200000)
            comparison.encodings(probe, tokenizer, name, cases)
            comparison.decodings(probe, tokenizer, name, generator, max(10, arguments.count // 100))
            probe.close()
        print(f"{name}: {comparison.compared} compared so far, {comparison.differing} differ", flush=True)
    sys.exit(1 if comparison.differing else 0)


if __name__ == "__main__":
    main()
