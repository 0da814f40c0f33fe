"""What a seed decides: choices with names, and the inputs of a graph."""

import random

import numpy as np


class Choices:
    """Picks by a seeded generator and remembers every pick by name; `fixed` picks win, so that a case can be narrowed."""

    def __init__(self, seed, fixed=None):
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.fixed = fixed or {}
        self.made = {}

    def pick(self, name, options):
        """One of `options`, a list (repeat one to make it likelier)."""
        value = self.random.choice(options)
        if name in self.fixed:
            wanted = [option for option in options if str(option) == self.fixed[name]]
            value = wanted[0] if wanted else value
        self.made[name] = value
        return value

    def chance(self, name, probability):
        value = self.random.random() < probability
        if name in self.fixed:
            value = self.fixed[name] == "True"
        self.made[name] = value
        return value

    def __str__(self):
        return " ".join(f"{name}={value}" for name, value in self.made.items())


def mask_rows(choices, batch, length, patterns):
    """0 and 1 [batch, length]: each row full, padded right or left, with holes, or empty, as far as `patterns` allows."""
    rows = np.ones((batch, length), np.int64)
    for row in rows:
        pattern = choices.random.choice(patterns)
        cut = choices.random.randrange(1, length + 1)
        if pattern == "right":
            row[cut:] = 0
        elif pattern == "left":
            row[: length - cut] = 0
        elif pattern == "holes":
            row[:] = choices.numpy.integers(0, 2, length)
            row[choices.random.randrange(length)] = 1
        elif pattern == "empty":
            row[:] = 0
    return rows
