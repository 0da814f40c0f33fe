#!/usr/bin/env python3
"""Holds `bertc tokenize` against `tokenizers` from PyPI on lines of mixed text: no line may differ.

    pip install -r tests/tools/requirements.txt
    python tests/tools/tokenizer_lines_parity.py build/release/cli/bertc                    # 1,000,000 lines
    python tests/tools/tokenizer_lines_parity.py build/release/cli/bertc --lines 20000      # a sample, as CI takes

Lines are real text (Python's documentation, the project's sources and pages, the Chinese reviews of the bundled model, words
of the scripts that the multilingual vocabulary knows) cut and mixed, and generated ones: every script, combining marks,
emoji, code, URLs, control characters, added tokens, long words, bytes that are no UTF-8. They are shared out over tokenizers
of different settings, each written to files that both sides load: ids, type ids, masks, tokens and offsets are compared, pairs
and truncation among them, and decoded text with and without special tokens and clean-up. Exits with 1 when a line differs.

--vocabulary FILE takes a vocab.txt in place of the one that is made of the lines' own words.
"""

import argparse
import collections
import glob
import inspect
import json
import os
import pydoc_data.topics
import random
import subprocess
import sys
import tempfile

from tokenizer_parity import ROOT, SPECIAL, Generator, added_tokens, clean_up
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

# A sentence or so in each of many scripts: the words of the multilingual vocabulary's languages.
SCRIPTS = """
Все люди рождаются свободными и равными в своём достоинстве и правах. Ёлка съела подъезд.
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. ΟΔΟΣ Άγιος
يولد جميع الناس أحراراً متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميراً
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. שָׁלוֹם
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।
সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।
மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும் உரிமைகளிலும் சமமானவர்கள்
มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ ต่างมีเหตุผลและมโนธรรม
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ガギグゲゴ ﾊﾟﾋﾟ
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 각 값
人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。
ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. ᲛᲗᲐᲕᲠᲣᲚᲘ
Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։
የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።
Tüm insanlar özgür, şeref ve hakları bakımından eşit doğarlar. İSTANBUL ılık Iğdır
Mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Tiếng Việt
Wszyscy ludzie rodzą się wolni i równi w swojej godności. Zażółć gęślą jaźń
Þeir eru gæddir vitsmunum og samvizku. Straße GROẞ ﬁnden naïve Ærøskøbing Čeština řeka
бүх хүн төрж мэндлэхэд эрх чөлөөтэй ᠮᠣᠩᠭᠣᠯ བོད་ཡིག ລາວ ខ្មែរ မြန်မာ සිංහල తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ
""".strip().split("\n")
EMOJI = "😀 👩‍👩‍👧‍👦 👍🏽 ❤️ 🇩🇪 #️⃣ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🫠 ™ ① ½ ² ℃ № … “ ” — ‘ ’ « » ¡ ¿ € ₿".split(" ")
URLS = ["https://example.org/a/b.html?q=1&r=%20x#top", "http://user:pw@host:8080/~me/", "mailto:a.b+c@example.co.uk",
        "C:\\Users\\me\\file.txt", "/usr/lib/x86_64-linux-gnu/libm.so.6", "ftp://10.0.0.1/", "192.168.0.1:443", "@user #tag"]


def real_lines():
    lines = list(SCRIPTS)
    for text in pydoc_data.topics.topics.values():
        lines += text.split("\n")
    for module in (argparse, collections, inspect, json, random, subprocess, tempfile):
        lines += inspect.getsource(module).split("\n")
    for pattern in ("docs/*.md", "README.md", "tokenizer/*.c", "core/base/*.[ch]", "tests/tools/*.py"):
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            with open(path, encoding="utf-8") as file:
                lines += file.read().split("\n")
    with open(os.path.join(ROOT, "models", "zh-sentiment", "golden.jsonl"), encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            lines += [pair["text"], pair["text_pair"] or ""]
    return [line for line in lines if line.strip()]


class Lines:
    """An endless supply; no line holds what would end it."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.real = real_lines()
        self.words = [word for line in self.real for word in line.split()]
        self.generator = Generator(seed, SPECIAL + [token.content for token in added_tokens()])

    def piece(self):
        pick = self.random.random()
        if pick < 0.45:
            line = self.random.choice(self.real)
            start = self.random.randrange(max(1, len(line) - 60))
            return line[start:start + self.random.randrange(1, 120)]
        if pick < 0.6:
            return self.random.choice(SCRIPTS)[:self.random.randrange(1, 60)]
        if pick < 0.7:
            return " ".join(self.random.choice(self.words) for _ in range(self.random.randrange(1, 12)))
        if pick < 0.75:
            return self.random.choice(URLS)
        if pick < 0.8:
            return self.random.choice(EMOJI)
        return self.generator.text()

    def line(self):
        text = "".join(self.piece() + self.random.choice(["", " ", " ", "，", "."])
                       for _ in range(self.random.choice([1, 1, 2, 3])))
        text = text.replace("\n", " ").replace("\t", " ")
        if self.random.random() < 0.1:
            text += "\t" + self.piece().replace("\n", " ")
        raw = text.encode()
        if self.random.random() < 0.1:
            raw = self.broken(raw)
        while raw.endswith(b"\r"):  # would be the line's end
            raw = raw[:-1]
        return raw

    def broken(self, raw):
        bad = [b"\xff", b"\xc3", b"\xe4\xbb", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"\x80\x81", b"\xf5\x80"]
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(raw) + 1)
            raw = raw[:at] + self.random.choice(bad) + raw[at + self.random.randrange(2):]
        return raw.replace(b"\n", b" ")


def make_vocabulary(lines, chance):
    """Common words of the lines whole, as stems and as endings; every character met, alone and continuing."""
    counts = collections.Counter(word for word in lines.words for word in (word, word.lower()))
    tokens = list(SPECIAL) + ["<s>", "</s>", "<unk>", "<mask>"]
    for word, _ in counts.most_common(9000):
        tokens.append(word)
        cut = chance.randrange(len(word))
        tokens += [word[:cut], "##" + word[cut:]]
    letters = {c for line in lines.real for c in line + line.lower() if c.isprintable()}  # lines of vocab.txt end at others
    tokens += sorted(letters) + ["##" + c for c in sorted(letters)]
    return list(dict.fromkeys(token for token in tokens if token not in ("", "##")))


Setting = collections.namedtuple("Setting", "name normalizer config added special options max_length", defaults=[None] * 5)


def settings():
    """The names of from_pretrained's settings on the left, what they mean on the right."""
    custom = {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    return [
        Setting("uncased", {}, {"do_lower_case": True}),
        Setting("cased", {"lowercase": False}, {"do_lower_case": False}),
        Setting("multilingual cased", {"lowercase": False, "strip_accents": False},
                {"do_lower_case": False, "strip_accents": False}),
        Setting("Chinese characters in words", {"handle_chinese_chars": False}, {"tokenize_chinese_chars": False}),
        Setting("lower case, accents kept", {"strip_accents": False}, {"strip_accents": False}),
        Setting("cased, accents stripped", {"lowercase": False, "strip_accents": True},
                {"do_lower_case": False, "strip_accents": True}),
        Setting("added tokens", {}, {}, added_tokens()),
        Setting("added tokens, cased", {"lowercase": False}, {"do_lower_case": False}, added_tokens()),
        Setting("other special tokens", {}, custom, special=custom),
        Setting("model_max_length", {}, {"model_max_length": 24}, options=["--truncation", "longest_first"], max_length=24),
    ]


def build(setting, vocabulary, folder):
    """The tokenizer of `tokenizers`, and the files that bertc reads."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(**setting.normalizer)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder(cleanup=True)
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
             "mask_token": "[MASK]", **(setting.special or {})}
    cls, sep = names["cls_token"], names["sep_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0", pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, ids[cls]), (sep, ids[sep])])
    added = setting.added or [AddedToken(token, special=True, normalized=False) for token in names.values()]
    tokenizer.add_tokens(added)
    config = dict(setting.config)
    if setting.added:  # with all their flags, these stand in tokenizer.json alone
        tokenizer.save(os.path.join(folder, "tokenizer.json"))
        return tokenizer, names
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.write("".join(token + "\n" for token in vocabulary))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return tokenizer, names


def run_bertc(bertc, folder, options, lines):
    """The answers as parsed lines, while a file feeds it: any number of lines."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(b"".join(line + b"\n" for line in lines))
        stdin.seek(0)
        command = [bertc, "tokenize", folder, "--format", "jsonl", "--quiet", *options]
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE)
        count = 0
        for line in process.stdout:
            yield line
            count += 1
        status = process.wait()
        if status or count != len(lines):
            sys.exit(f"{' '.join(command)}: status {status}, {count} answers for {len(lines)} lines")


class Comparison:
    def __init__(self):
        self.lines = self.differing = 0

    def note(self, same, name, *what):
        self.lines += 1
        if same:
            return
        self.differing += 1
        if self.differing <= 20:
            print("differs:", name, *(str(part)[:1000] for part in what))


def texts_of(raw):
    first, tab, second = raw.partition(b"\t")
    decode = lambda part: part.decode(errors="replace")
    return (decode(first), decode(second)) if tab else decode(first)


def expected(encoding, added):
    """Added tokens are spelled as they were given: `tokenizers` has the text that they were found in."""
    return {"input_ids": encoding.ids, "token_type_ids": encoding.type_ids, "attention_mask": encoding.attention_mask,
            "special_tokens_mask": encoding.special_tokens_mask,
            "tokens": [added.get(token, text) for token, text in zip(encoding.ids, encoding.tokens)],
            "offsets": [list(pair) for pair in encoding.offsets]}


def compare_encoding(comparison, bertc, folder, setting, tokenizer, raw):
    if setting.max_length:
        tokenizer.enable_truncation(setting.max_length)
    added = {token: text.content for token, text in tokenizer.get_added_tokens_decoder().items()}
    answers = run_bertc(bertc, folder, ["--invalid-utf8", "replace", *(setting.options or [])], raw)
    sample = []
    for start in range(0, len(raw), 2000):
        batch = raw[start:start + 2000]
        for line, want in zip(batch, tokenizer.encode_batch([texts_of(line) for line in batch])):
            ids, got, want = want.ids, json.loads(next(answers)), expected(want, added)
            comparison.note(got == want, setting.name, line, "\n   got ", got, "\n   want", want)
            if comparison.lines % 10 == 0:
                sample.append(ids)
    for _ in answers:  # there is none: this notices how bertc ended
        pass
    return sample


def compare_decoding(comparison, bertc, folder, setting, tokenizer, sample):
    """A tenth of the ids again, in each of the four ways of decoding."""
    lines = [" ".join(map(str, ids)).encode() for ids in sample]
    for skip in (False, True):
        for clean in (False, True):
            options = ["--decode"] + skip * ["--skip-special-tokens"] + (not clean) * ["--no-clean-up"]
            for ids, answer in zip(sample, run_bertc(bertc, folder, options, lines)):
                want = tokenizer.decode(ids, skip_special_tokens=skip)
                want = clean_up(want) if clean else want
                got = json.loads(answer)["text"]
                comparison.note(got == want, setting.name, "decode", ids, skip, clean, "\n   got ", ascii(got),
                                "\n   want", ascii(want))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bertc")
    parser.add_argument("--lines", type=int, default=1000000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocabulary", help="a vocab.txt")
    arguments = parser.parse_args()
    lines = Lines(arguments.seed)
    if arguments.vocabulary:
        with open(arguments.vocabulary, encoding="utf-8") as file:
            vocabulary = file.read().split("\n")[:-1]
        vocabulary += [token for token in ("<s>", "</s>", "<unk>", "<mask>") if token not in vocabulary]
    else:
        vocabulary = make_vocabulary(lines, random.Random(arguments.seed))
    comparison = Comparison()
    chosen = settings()
    encoded = 0
    for index, setting in enumerate(chosen):
        count = arguments.lines * (index + 1) // len(chosen) - arguments.lines * index // len(chosen)
        with tempfile.TemporaryDirectory() as folder:
            tokenizer, _ = build(setting, vocabulary, folder)
            # In parts, so that memory stays small.
            for start in range(0, count, 20000):
                raw = [lines.line() for _ in range(min(20000, count - start))]
                sample = compare_encoding(comparison, arguments.bertc, folder, setting, tokenizer, raw)
                compare_decoding(comparison, arguments.bertc, folder, setting, tokenizer, sample)
                encoded += len(raw)
        print(f"{setting.name}: {encoded} lines so far, {comparison.lines} answers compared, {comparison.differing} differ",
              flush=True)
    sys.exit(1 if comparison.differing else 0)


if __name__ == "__main__":
    main()
