#!/usr/bin/env python3
"""Finds every code point on which `tokenizers` and utf8proc differ and writes tokenizer/unicode_exceptions.c.

    pip install -r tests/tools/requirements.txt
    python tests/tools/tokenizer_exceptions.py            # rewrites the table
    python tests/tools/tokenizer_exceptions.py --check    # fails when the table is not what it would write

What `tokenizers` thinks of a code point is asked of the package itself, through normalizers, the pre-tokenizer and an
added token, for each of the 1,112,064 code points that text can hold. utf8proc is asked through ctypes.

Its Unicode version varies from system to system, and the crates behind `tokenizers` mix several. So everything that was
not assigned yet in Unicode 3.2 (which Python carries beside the current version) is written down, whatever the utf8proc
at hand says: with FIXED set nothing is asked of utf8proc, and the answer does not depend on its version. Long runs of
equal, inert code points are written down too, for they make the tables quick to build.
"""

import argparse
import ctypes
import ctypes.util
import os
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import NFD, BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TABLE = os.path.join(ROOT, "tokenizer", "unicode_exceptions.c")
OTHER, SPACE, MARK, PUNCTUATION, WORD, FIXED = 1, 2, 4, 8, 16, 32
HANGUL = range(0xAC00, 0xD7A4)
LONG_RUN = 12


def code_points():
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            yield c


class Utf8proc:
    """utf8proc's answers, as tokenizer/unicode.c turns them into flags."""

    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("utf8proc") or "libutf8proc.so")
        self.lib.utf8proc_category.argtypes = [ctypes.c_int32]
        self.lib.utf8proc_tolower.argtypes = [ctypes.c_int32]
        self.lib.utf8proc_category_string.argtypes = [ctypes.c_int32]
        self.lib.utf8proc_category_string.restype = ctypes.c_char_p
        self.lib.utf8proc_get_property.argtypes = [ctypes.c_int32]
        self.lib.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_uint16)
        self.lib.utf8proc_version.restype = ctypes.c_char_p
        self.lib.utf8proc_decompose_char.restype = ctypes.c_ssize_t
        self.lib.utf8proc_decompose_char.argtypes = [
            ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p]
        self.buffer = (ctypes.c_int32 * 16)()

    def version(self):
        return self.lib.utf8proc_version().decode()

    def category(self, c):
        return self.lib.utf8proc_category_string(c).decode()

    def flags(self, c):
        category, char = self.category(c), chr(c)
        flags = OTHER if category in ("Cn", "Cc", "Cf", "Cs", "Co") else 0
        if category == "Mn":
            flags |= MARK
        if category[0] == "P" or (c < 128 and char.isprintable() and not char.isalnum() and char != " "):
            flags |= PUNCTUATION
        if category[0] == "L" or category in ("Mn", "Mc", "Me", "Nd", "Nl", "Pc"):
            flags |= WORD
        if c in WHITE_SPACE:
            flags |= SPACE
        return flags

    def combining_class(self, c):
        return self.lib.utf8proc_get_property(c)[1]

    def decompose(self, c):
        count = self.lib.utf8proc_decompose_char(c, self.buffer, 16, 1 << 4, None)  # UTF8PROC_DECOMPOSE
        return tuple(self.buffer[i] for i in range(count)) if 0 < count <= 16 else (c,)

    def lowercase(self, c):
        return (self.lib.utf8proc_tolower(c),)


WHITE_SPACE = set(range(9, 14)) | {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000} | set(
    range(0x2000, 0x200B))


class Truth:
    """What `tokenizers` does with each code point."""

    def __init__(self):
        self.clean = BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
        self.strip = BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
        self.split = BertPreTokenizer()
        self.nfd, self.lower = NFD(), Lowercase()
        self.single = self.added(single_word=True)
        self.left, self.right = self.added(lstrip=True), self.added(rstrip=True)
        self.classes = {}

    @staticmethod
    def added(**flags):
        tokenizer = Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.add_tokens([AddedToken("Q", normalized=False, **flags)])
        return tokenizer

    def flags(self, c):
        char, flags = chr(c), 0
        if self.clean.normalize_str("a" + char + "b") == "ab" and c != 0xFFFD:
            flags |= OTHER
        pieces = [piece for piece, _ in self.split.pre_tokenize_str("a" + char + "b")]
        if pieces == ["a", "b"]:
            flags |= SPACE
        elif pieces == ["a", char, "b"]:
            flags |= PUNCTUATION
        elif pieces != ["a" + char + "b"]:
            raise SystemExit(f"U+{c:04X}: the pre-tokenizer gave {pieces}")
        if self.strip.normalize_str("a" + char) == "a":
            flags |= MARK
        if self.single.encode("Q" + char).ids[0] == 0:
            flags |= WORD
        if (self.single.encode(char + "Q").ids[-1] == 0) != bool(flags & WORD):
            raise SystemExit(f"U+{c:04X}: a word character on one side only")
        stripped = self.left.encode(char + "Q").offsets[0] == (0, 2)
        if stripped != bool(flags & SPACE) or stripped != (self.right.encode("Q" + char).offsets[0] == (0, 2)):
            raise SystemExit(f"U+{c:04X}: white space to one of the two only")
        return flags

    def decompose(self, c):
        return tuple(map(ord, self.nfd.normalize_str(chr(c))))

    def lowercase(self, c):
        return tuple(map(ord, self.lower.normalize_str(chr(c))))

    def swaps(self, first, second):
        """Whether NFD puts `second` first: 0 < class(second) < class(first)."""
        return self.nfd.normalize_str("a" + first + second) != "a" + first + second

    def combining_class(self, c, guess, representatives):
        char = chr(c)
        if not self.swaps(char, "\u0334") and not self.swaps("\u0345", char):
            return 0
        for value in [guess] + list(range(1, 255)):
            if all(self.swaps(char, other) == (there < value) and self.swaps(other, char) == (value < there)
                   for there, other in representatives.items()):
                return value
        raise SystemExit(f"U+{c:04X}: no combining class fits what NFD does")


def compare(utf8proc, truth):
    """All that has to be written down: {c: flags}, {c: class}, {c: decomposition}, {c: lower case}."""
    representatives = {}
    for char in map(chr, code_points()):  # old ones, so that all agree on them
        value = unicodedata.ucd_3_2_0.combining(char)
        if value and value == unicodedata.combining(char) and not unicodedata.decomposition(char):
            representatives.setdefault(value, char)
    answers, differing, classes, decompositions, lowercases, fixed, inert = {}, set(), {}, {}, {}, set(), set()
    for c in code_points():
        flags, expected = truth.flags(c), utf8proc.flags(c)
        decomposed, lowered = truth.decompose(c), truth.lowercase(c)
        guess = utf8proc.combining_class(c)
        if decomposed == (c,):
            combining = truth.combining_class(c, guess, representatives)
        else:  # it never stays, so no one asks
            combining, flags = guess, flags & ~MARK | expected & MARK
        if c in (9, 10, 13):  # clean_text makes blanks of them before it asks
            flags |= OTHER
        young = unicodedata.ucd_3_2_0.category(chr(c)) == "Cn"
        if c in HANGUL:
            if decomposed != utf8proc.decompose(c) or flags != WORD or lowered != (c,):
                raise SystemExit(f"U+{c:04X}: a Hangul syllable of its own kind: {decomposed} {flags} {lowered}")
            continue
        answers[c] = flags
        if young:
            fixed.add(c)
        elif flags != expected:
            differing.add(c)
        if decomposed == (c,) and lowered == (c,) and combining == 0:
            inert.add(c)
        if combining != (0 if young else guess):
            classes[c] = combining
        if decomposed != ((c,) if young else utf8proc.decompose(c)):
            decompositions[c] = decomposed
        if lowered != ((c,) if young else utf8proc.lowercase(c)):
            lowercases[c] = lowered
    return answers, differing, classes, decompositions, lowercases, fixed, inert


def ranges_of(pairs):
    """[(c, value)] in order -> [(first, last, value)]."""
    out = []
    for c, value in pairs:
        if out and out[-1][1] == c - 1 and out[-1][2] == value:
            out[-1] = (out[-1][0], c, value)
        else:
            out.append((c, c, value))
    return out


def flag_ranges(answers, differing, fixed, inert):
    written = {c: answers[c] | FIXED for c in fixed}
    written.update((c, answers[c]) for c in differing)
    for first, last, value in ranges_of(sorted((c, answers[c]) for c in inert)):
        if last - first >= LONG_RUN:
            written.update((c, value | FIXED) for c in range(first, last + 1))
    return ranges_of(sorted(written.items()))


def rows(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 120:
            lines.append(line)
            line = "   "
        line += " " + item + ","
    return "\n".join(lines + [line]) + "\n"


def table(kind, name, items):
    count = f"const size_t bert_unicode_{name}_count ="
    end = f"{count} sizeof bert_unicode_{name}s / sizeof *bert_unicode_{name}s;\n"
    if len(end) > 121:
        end = f"{count}\n    sizeof bert_unicode_{name}s / sizeof *bert_unicode_{name}s;\n"
    return f"const {kind} bert_unicode_{name}s[] = {{\n{rows(items)}}};\n{end}"


def render(answers, differing, classes, decompositions, lowercases, fixed, inert):
    def mapping(c, to):
        assert 0 < len(to) <= 4
        return f"{{0x{c:X}, {{{', '.join(f'0x{t:X}' for t in to)}}}}}"

    def spans(items):
        return [f"{{0x{first:X}, 0x{last:X}, {value}}}" for first, last, value in items]

    assert all(len(to) <= 2 for to in lowercases.values())
    return f"""\
/*
 * Where `tokenizers` {tokenizers.__version__} and utf8proc think differently of a code point, found by asking both about
 * each. Written by tests/tools/tokenizer_exceptions.py; run that again instead of editing.
 */
#include "tokenizer/unicode.h"

/* clang-format off */
{table("bert_unicode_range", "flag_exception", spans(flag_ranges(answers, differing, fixed, inert)))}
{table("bert_unicode_range", "class_exception", spans(ranges_of(sorted(classes.items()))))}
{table("bert_unicode_mapping", "decomposition_exception", [mapping(*item) for item in sorted(decompositions.items())])}
{table("bert_unicode_mapping", "lowercase_exception", [mapping(*item) for item in sorted(lowercases.items())])}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the table that is there")
    arguments = parser.parse_args()
    utf8proc = Utf8proc()
    found = compare(utf8proc, Truth())
    text = render(*found)
    _, differing, classes, decompositions, lowercases, fixed, _ = found
    print(f"tokenizers {tokenizers.__version__}, utf8proc {utf8proc.version()}: {len(fixed)} code points younger than "
          f"Unicode 3.2, {len(differing)} with other flags, {len(classes)} with another class, {len(decompositions)} with "
          f"another decomposition, {len(lowercases)} with another lower case")
    if arguments.check:
        with open(TABLE, encoding="utf-8") as file:
            if file.read() != text:
                sys.exit("tokenizer/unicode_exceptions.c is not what would be written")
        return
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
