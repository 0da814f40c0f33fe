#!/usr/bin/env python3
"""Writes a model of a family beside BERT, of base size and with random weights, through torch.onnx.export:

    export_family.py modernbert|nomic|deberta|squeezebert|convbert OUT.onnx

Inputs input_ids and attention_mask, output last_hidden_state; the vocabulary has 20,000 tokens. Needs torch,
transformers and onnx from PyPI (tests/tools/requirements-torch.txt says how to do without CUDA's packages).
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/tools"))
import torch_without_cuda  # noqa: E402,F401  has to come before torch

import torch  # noqa: E402
import transformers  # noqa: E402

VOCABULARY = 20000


def modernbert():
    """answerdotai/ModernBERT-base: 22 layers, 768, rotary embeddings, windows of 128 tokens in two layers of three."""
    config = transformers.ModernBertConfig(vocab_size=VOCABULARY, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                                           cls_token_id=1, sep_token_id=2)
    config._attn_implementation = "sdpa"
    return transformers.ModernBertModel(config)


class NomicLayer(torch.nn.Module):
    """Rotated heads and a gated feed-forward part, no biases, a norm after each."""

    def __init__(self, hidden=768, heads=12, inner=3072):
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(hidden, 3 * hidden, bias=False)
        self.out = torch.nn.Linear(hidden, hidden, bias=False)
        self.up = torch.nn.Linear(hidden, inner, bias=False)
        self.gate = torch.nn.Linear(hidden, inner, bias=False)
        self.down = torch.nn.Linear(inner, hidden, bias=False)
        self.norm1, self.norm2 = torch.nn.LayerNorm(hidden), torch.nn.LayerNorm(hidden)

    @staticmethod
    def rotate(x, cosines, sines):
        first, second = x.chunk(2, dim=-1)
        return x * cosines + torch.cat((-second, first), dim=-1) * sines

    def forward(self, x, mask, cosines, sines):
        batch, sequence, hidden = x.shape
        qkv = self.qkv(x).view(batch, sequence, 3, self.heads, hidden // self.heads)
        q, k = (self.rotate(qkv[:, :, i], cosines, sines).transpose(1, 2) for i in (0, 1))
        scores = q @ k.transpose(-1, -2) / (hidden // self.heads) ** 0.5 + mask
        context = (scores.softmax(dim=-1) @ qkv[:, :, 2].transpose(1, 2)).transpose(1, 2)
        x = self.norm1(self.out(context.reshape(batch, sequence, hidden)) + x)
        return self.norm2(self.down(self.up(x) * torch.nn.functional.silu(self.gate(x))) + x)


class Nomic(torch.nn.Module):
    """nomic-ai/nomic-embed-text-v1's architecture, whose code isn't part of transformers."""

    def __init__(self, hidden=768, size=64, layers=12):
        super().__init__()
        self.words = torch.nn.Embedding(VOCABULARY, hidden)
        self.types = torch.nn.Embedding(2, hidden)
        self.norm = torch.nn.LayerNorm(hidden)
        self.layers = torch.nn.ModuleList(NomicLayer() for _ in range(layers))
        self.register_buffer("frequencies", 1 / 1000 ** (torch.arange(0, size, 2) / size))

    def forward(self, input_ids, attention_mask):
        x = self.norm(self.words(input_ids) + self.types(torch.zeros_like(input_ids)))
        mask = (1 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        angles = torch.outer(torch.arange(input_ids.shape[1], dtype=torch.float32), self.frequencies)
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        for layer in self.layers:
            x = layer(x, mask, angles.cos(), angles.sin())
        return x


def nomic():
    """nomic-ai/nomic-embed-text-v1: 12 layers, 768, rotary embeddings, SwiGLU."""
    return Nomic()


def deberta():
    """microsoft/deberta-v3-base: 12 layers, 768, scores of content to position and position to content."""
    return transformers.DebertaV2Model(transformers.DebertaV2Config(
        vocab_size=VOCABULARY, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
        pos_att_type=["p2c", "c2p"], max_relative_positions=-1, position_biased_input=False, type_vocab_size=0))


def squeezebert():
    """squeezebert/squeezebert-uncased: 12 layers, 768, convolutions of one token in 4 groups in place of Linear."""
    return transformers.SqueezeBertModel(transformers.SqueezeBertConfig(vocab_size=VOCABULARY, pad_token_id=0))


def convbert():
    """YituTech/conv-bert-base: 12 layers, 768, 6 heads of attention beside convolutions along 9 tokens."""
    return transformers.ConvBertModel(transformers.ConvBertConfig(vocab_size=VOCABULARY, pad_token_id=0))


FAMILIES = {"modernbert": modernbert, "nomic": nomic, "deberta": deberta, "squeezebert": squeezebert, "convbert": convbert}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = FAMILIES[arguments.family]().eval()
    ids = torch.randint(5, VOCABULARY, (2, 16))
    names = ["input_ids", "attention_mask", "last_hidden_state"]
    torch.onnx.export(model, (ids, torch.ones_like(ids)), str(arguments.out), input_names=names[:2],
                      output_names=names[2:], dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names},
                      opset_version=17, dynamo=False)


if __name__ == "__main__":
    main()
