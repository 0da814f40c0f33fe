#!/usr/bin/env python3
"""Holds how bert.c puts a tokenizer together from its files against transformers' from_pretrained of BertTokenizerFast
and of MPNetTokenizerFast.

    pip install -r tests/tools/requirements-transformers.txt
    ninja -C build/release tokenizer_probe
    python tests/tools/tokenizer_loading_parity.py build/release/tests/tokenizer/tokenizer_probe

Every combination of a handful of tokenizer.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json is
loaded by both and encodes texts and pairs that tell them apart. Exits with 1 when one differs.
"""

import itertools
import json
import os
import sys
import tempfile

from tokenizer_parity import Probe, encode_request
from transformers import BertTokenizerFast, MPNetTokenizerFast
from transformers.utils import logging

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "Hello", "é", "e", "今", "天", "##s", "##!", "!",
              "<e1>", "a", "b", "<s>", "</s>", "<pad>", "<mask>"]
TEXTS = ["Hello héllo [MASK] world", "a [MASK]  b<e1> <e2>x <e3> a <e4>", "今天 Neu neu <zz> <x> wö Wö <new> <NEW>",
         "<s> </s> [CLS] <bos> hello! [PAD] <mask> <pad> <S>"]


def token(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True, **flags}


def tokenizer_json(lowercase, added):
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {text: i for i, text in enumerate(VOCABULARY)}},
    }


TOKENIZERS = [
    None,
    tokenizer_json(True, []),
    tokenizer_json(False, []),
    tokenizer_json(True, [{"id": 4, **token("[MASK]", lstrip=True)},
                          {"id": 22, **token("<new>", special=False, normalized=True)}]),
]
CONFIGS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"tokenize_chinese_chars": False},
    {"cls_token": "<s>", "sep_token": "</s>"},
    {"mask_token": {"__type": "AddedToken", **token("[MASK]", lstrip=True, rstrip=True)}},
    {"added_tokens_decoder": {"4": token("[MASK]", rstrip=True), "22": token("Neu", special=False, normalized=True),
                              "23": token("<zz>")}},
    {"additional_special_tokens": ["<e1>", "<e2>"]},
    {"model_max_length": 1e30, "mask_token": None},
]
SPECIAL_MAPS = [
    None,
    {"mask_token": "hello"},
    {"additional_special_tokens": ["<e3>", token("<e4>", lstrip=True)], "mask_token": token("[MASK]", lstrip=True),
     "bos_token": "<bos>"},
]
PAIRS = [None, "a"]
CLASSES = [("BertTokenizer", BertTokenizerFast), ("MPNetTokenizer", MPNetTokenizerFast)]
ADDED = [None, {"<x>": 23, "Wö": 22}, {"<e1>": 15, "<x>": 22}]


def write(folder, name, content):
    if content is not None:
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(content, file)


def main():
    logging.set_verbosity_error()
    compared = differing = 0
    for (name, reference_class), *files in itertools.product(CLASSES, TOKENIZERS, CONFIGS, SPECIAL_MAPS, ADDED):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
                file.write("\n".join(VOCABULARY) + "\n")
            write(folder, "tokenizer.json", files[0])
            write(folder, "tokenizer_config.json", {"tokenizer_class": name, **files[1]})
            write(folder, "special_tokens_map.json", files[2])
            write(folder, "added_tokens.json", files[3])
            reference = reference_class.from_pretrained(folder)
            # Before 0.23 `tokenizers` kept looking for added tokens as an older normalizer had made them; adding one
            # brings them up to date.
            reference.backend_tokenizer.add_special_tokens(["\ue000"])
            probe = Probe(sys.argv[1], folder)
            for text, pair in itertools.product(TEXTS, PAIRS):
                want = reference(text, pair, return_token_type_ids=True, return_offsets_mapping=True)
                want = [want["input_ids"], want["token_type_ids"], want["offset_mapping"]]
                kind, got = probe.ask([encode_request(text, pair, (None, 0, 0, 0, True))])[0]
                got = [got[0][0], got[0][1], got[0][3]] if kind == "windows" else got
                compared += 1
                if got != want:
                    differing += 1
                    print("differs:", name, ascii((text, pair)), files[1:], "\n   got ", got, "\n   want", want)
            probe.close()
    print(f"{compared} compared, {differing} differ")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
