"""BERT in numpy's float64, written from the papers' formulas: what the graphs of random_graphs_bert.py mean."""

import math
from dataclasses import dataclass, field
from typing import Callable, Optional

import numpy as np

erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass
class Norm:
    """y = (x - mean) / sqrt(variance + epsilon) gamma + beta over the last dimension."""

    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float

    def __call__(self, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        return centred / np.sqrt(variance + self.epsilon) * self.gamma + self.beta


@dataclass
class Affine:
    """y = x W + b."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x):
        return x @ self.weight + self.bias


@dataclass
class Layer:
    """One encoder layer: attention and feed-forward, each followed by residual and norm. turn(feeds, q, k, v) gives the
    heads [B, H, S, D] as they are multiplied."""

    query: Affine
    key: Affine
    value: Affine
    output: Affine
    scale: float
    attention_norm: Norm
    up: Affine
    activation: Callable
    down: Affine
    norm: Norm
    turn: Optional[Callable] = None


@dataclass
class Recipe:
    """A whole model. bias(feeds) is what is added to the scores, [B or 1, heads or 1, S or 1, T], or None; with
    bias_replaces it stands in the scores' place where it isn't 0."""

    heads: int = 1
    word: np.ndarray = None
    position: Optional[np.ndarray] = None
    position_ids: Callable = None
    type: Optional[np.ndarray] = None
    type_ids: Callable = None
    norm: Norm = None
    bias: Callable = lambda feeds: None
    bias_replaces: bool = False
    nan_is_zero: bool = False
    layers: list = field(default_factory=list)
    pooler: Optional[Affine] = None

    def attend(self, layer, x, bias, feeds):
        batch, length, width = x.shape

        def split(values):
            return values.reshape(batch, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)

        query, key, value = [split(project(x)) for project in (layer.query, layer.key, layer.value)]
        if layer.turn:
            query, key, value = layer.turn(feeds, query, key, value)
        scores = query @ key.swapaxes(2, 3) * layer.scale
        if bias is not None:
            scores = np.where(bias != 0, bias, scores) if self.bias_replaces else scores + bias
        with np.errstate(invalid="ignore"):
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = weights / weights.sum(axis=-1, keepdims=True)
        if self.nan_is_zero:
            weights = np.where(np.isnan(weights), 0, weights)
        return (weights @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)

    def __call__(self, feeds):
        """Outputs by name: hidden_N after each layer, last_hidden_state, pooled."""
        x = self.word[feeds["input_ids"]]
        if self.position is not None:
            x = x + self.position[self.position_ids(feeds)]
        if self.type is not None:
            x = x + self.type[self.type_ids(feeds)]
        x = self.norm(x)
        bias = self.bias(feeds)
        outputs = {}
        for number, layer in enumerate(self.layers):
            x = layer.attention_norm(layer.output(self.attend(layer, x, bias, feeds)) + x)
            x = layer.norm(layer.down(layer.activation(layer.up(x))) + x)
            outputs[f"hidden_{number}"] = x
        outputs["last_hidden_state"] = x
        if self.pooler:
            outputs["pooled"] = np.tanh(self.pooler(x[:, 0]))
        return outputs


def gelu(factor):
    """x (1 + erf(x factor)) / 2: GELU for factor sqrt(1/2), or what a file rounds that to."""
    return lambda x: 0.5 * x * (1 + erf(x * factor))


def gelu_tanh(factor, cubic):
    """x (1 + tanh(factor (x + cubic x^3))) / 2"""
    return lambda x: 0.5 * x * (1 + np.tanh(factor * (x + cubic * x**3)))


def quick_gelu(factor):
    """x sigmoid(factor x)"""
    return lambda x: x / (1 + np.exp(-factor * x))


def relu(x):
    return np.maximum(x, 0)
