"""Heads that are rotated by their positions (rotary embeddings), in exporters' spellings and in spellings beside them."""

import numpy as np
from onnx import TensorProto

from random_graphs_write import f32

# Layouts, as what heads [batch, sequence, heads, size] are transposed by.
BHSD, BSHD = [0, 2, 1, 3], [0, 1, 2, 3]
# Which half of a head stands where, and its sign, in what is multiplied with the sines.
TURNED = [(1, -1), (0, 1)]
WRONGLY_TURNED = {"backwards": [(1, 1), (0, -1)], "unswapped": [(0, -1), (1, 1)], "unsigned": [(1, 1), (0, 1)]}
# What isn't a rotation of the two halves of a head by its position, or is spelled in a way of its own. Its result is held
# against the formulas like any other.
NEAR_MISSES = [*WRONGLY_TURNED, "other_cut", "interleaved", "subtracted", "scaled_half", "partial", "by_head", "head_as_row",
               "first_row", "one_angle", "other_angles", "other_heads", "query_alone", "key_alone", "value_too", "columns",
               "halves"]


class Angles:
    """Cosines and sines of a graph's positions: tensors, and functions of the feeds that give them in float64.

    `rank` is theirs: 3 is [1 or batch, sequence, size], 2 [sequence, size].
    """

    def __init__(self, bert, name):
        self.bert, self.w, self.choices, self.name = bert, bert.w, bert.choices, name
        self.size = bert.head_size
        base = self.choices.pick(f"{name}.base", [10000.0, 10000.0, 160000.0, 20.0])
        self.frequencies = [(base ** (-np.arange(0, self.size, 2) / self.size)).astype(np.float32)] * 2
        if self.choices.chance(f"{name}.other_half", 0.15):
            self.frequencies[1] = self.frequencies[0][::-1] * np.float32(0.7)
        sources = ["computed", "computed", "computed", "gathered"] + (["sliced"] if self.w.opset >= 10 else [])
        # float16 has no room for angles.
        source = self.choices.pick(f"{name}.source", [s for s in sources if bert.kind != "half" or s != "computed"])
        self.rank = 2 if source == "sliced" else 3
        self.names = getattr(self, source)()

    def positions(self):
        spellings = ["range", "range", "input", "counted", "slice"] if self.w.opset >= 11 else ["slice", "input"]
        return self.bert.position_ids(f"{self.name}.positions", spellings)

    def computed(self):
        """Positions times frequencies, each twice, and their cosines and sines."""
        w, c = self.w, self.choices
        ids, positions = self.positions()
        places = w.cast(ids, TensorProto.FLOAT)
        halves = self.frequencies
        by_product = c.chance(f"{self.name}.product", 0.5)

        def angles_of(frequencies):
            if by_product:
                rows = w.op("MatMul", w.weight("frequencies", frequencies[None, :, None]), w.unsqueeze(places, 1))
                return w.op("Transpose", rows, perm=[0, 2, 1])
            return w.op("Mul", w.unsqueeze(places, 2), w.weight("frequencies", frequencies[None, None]))

        first = angles_of(halves[0])
        second = first if halves[1] is halves[0] else angles_of(halves[1])
        factor = c.pick(f"{self.name}.factor", [None, 1.0, 1.15])
        names = []
        if c.chance(f"{self.name}.joined_first", 0.7):
            both = w.op("Concat", first, second, axis=-1 if w.opset >= 11 else 2)
            names = [w.op(op, both) for op in ("Cos", "Sin")]
        else:
            for op in ("Cos", "Sin"):
                parts = [w.op(op, first)] * 2 if second is first else [w.op(op, first), w.op(op, second)]
                names.append(w.op("Concat", *parts, axis=-1 if w.opset >= 11 else 2))
        if factor:
            names = [w.op("Mul", x, w.scalar(factor)) for x in names]

        def exact_angles(feeds):
            angles = positions(feeds)[..., None] * np.concatenate(halves).astype(np.float64)
            return np.cos(angles) * f32(factor or 1), np.sin(angles) * f32(factor or 1)

        self.exact = exact_angles
        return names

    def tables(self):
        """Cosines and sines of all positions as float32."""
        angles = np.arange(self.bert.positions + 2)[:, None] * np.concatenate(self.frequencies).astype(np.float64)
        return [np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)]

    def gathered(self):
        """Rows of tables."""
        ids, positions = self.positions()
        tables = self.tables()
        self.exact = lambda feeds: [table.astype(np.float64)[positions(feeds)] for table in tables]
        return [self.w.op("Gather", self.w.weight("angles", table), ids) for table in tables]

    def sliced(self):
        """The first rows of tables."""
        tables, w = self.tables(), self.w
        self.exact = lambda feeds: [table[None, : feeds["input_ids"].shape[1]].astype(np.float64) for table in tables]
        return [w.slice(w.weight("angles", table), 0, w.length("input_ids", 1), 0) for table in tables]

    def three(self):
        """The tensors as [1 or batch, sequence, size]."""
        return self.names if self.rank == 3 else [self.w.unsqueeze(x, 0) for x in self.names]


class Rotary:
    """Rotates the heads of a model's layers. After each `turn` says what was written: of feeds and heads, in float64."""

    def __init__(self, bert):
        self.bert, self.w, self.choices = bert, bert.w, bert.choices
        self.angles = [Angles(bert, "rotary0")]
        if self.choices.chance("rotary.two_angles", 0.3):
            self.angles.append(Angles(bert, "rotary1"))
        self.layout = self.choices.pick("rotary.layout", [BHSD, BHSD, BSHD])
        self.turn = None

    def write(self, name, query, key, value, heads_of):
        """Heads [batch, heads, sequence, size], queries and keys rotated. heads_of(x, perm) splits one of the three."""
        c, w = self.choices, self.w
        near = c.pick(f"{name}.near_miss", [None] * (2 * len(NEAR_MISSES)) + NEAR_MISSES)
        same = c.chance(f"{name}.same_layout", 0.9) or near == "other_heads"
        layouts = [self.layout, self.layout if same else BSHD, self.layout if near == "value_too" else BHSD]
        q, k, v = [heads_of(x, layout) for x, layout in zip((query, key, value), layouts)]
        scale = c.pick(f"{name}.scaled_first", [1.0] * 8 + [0.5, 1.3])  # Of the queries alone.
        if scale != 1:
            q = w.op("Mul", q, w.scalar(scale))
        angles = c.random.choice(self.angles)
        of_q = Rotation(self.bert, f"{name}.q", near, angles, layouts[0])
        others = Angles(self.bert, f"{name}.others") if near == "other_angles" else angles
        of_k = Rotation(self.bert, f"{name}.k", near, others, layouts[1])
        if layouts[0] is layouts[1] and others is angles and c.chance(f"{name}.angles_once", 0.7):
            of_k.share(of_q)
        rotated_q = q if near == "key_alone" else of_q.write(q, k if near == "other_heads" else q)
        rotated_k = k if near == "query_alone" else of_k.write(k, k)
        rotated_v = of_q.write(v, v) if near == "value_too" else v

        def turn(feeds, q, k, v):
            q = q * f32(scale)
            return (q if near == "key_alone" else of_q.exact(feeds, q, k if near == "other_heads" else q),
                    k if near == "query_alone" else of_k.exact(feeds, k, k),
                    of_q.exact(feeds, v, v) if near == "value_too" else v)

        self.turn = turn
        return [x if layout is BHSD else w.op("Transpose", x, perm=BHSD)
                for x, layout in zip((rotated_q, rotated_k, rotated_v), layouts)]


class Rotation:
    """x cosines + turned(x) sines for heads in one layout, or what a near miss makes of it."""

    def __init__(self, bert, name, near, angles, layout):
        self.w, self.choices, self.name = bert.w, bert.choices, name
        self.near, self.angles, self.layout = near, angles, layout
        self.size, self.heads = bert.head_size, bert.heads
        self.rotated = self.size // 2 if near == "partial" else self.size  # Elements of a head that are.
        self.cut = self.rotated // 2
        if near == "other_cut":
            self.cut = self.choices.random.choice([cut for cut in range(1, self.size) if cut != self.cut])
        self.axis = 2 if near == "columns" else 3
        self.factors = self.choices.numpy.uniform(0.5, 1.5, (self.heads, 1, 1)).astype(np.float32)
        spellings = ["slice", "slice", "slice_long", "split"] + (["slice_computed"] if self.w.opset >= 10 else [])
        self.spelling = self.choices.pick(f"{name}.parts", spellings)
        self.written = None

    def share(self, other):
        """Takes the angles that the other one wrote, and what is drawn of them."""
        self.written, self.factors = other.of_heads(), other.factors

    # ---- Angles ----

    def of_heads(self):
        """Cosines and sines as they broadcast to the heads."""
        w, c, angles, axis = self.w, self.choices, self.angles, 1 if self.layout is BHSD else 2
        if self.written:
            return self.written
        if self.near is None and angles.rank == 2 and c.chance(f"{self.name}.few_dimensions", 0.5):
            self.written = angles.names if self.layout is BHSD else [w.unsqueeze(x, 1) for x in angles.names]
            return self.written
        if self.near == "head_as_row":
            tables = [w.weight("angles", table[None, None, : self.heads]) for table in angles.tables()]
            self.written = [w.op("Transpose", x, perm=BHSD) for x in tables] if self.layout is BHSD else tables
            return self.written
        self.written = [self.changed(w.unsqueeze(self.cut_angles(x), axis)) for x in angles.three()]
        return self.written

    def cut_angles(self, x):
        w, half = self.w, self.size // 2
        if self.near == "first_row":
            return w.slice(x, 0, 1, 1)
        if self.near == "one_angle":
            return w.slice(x, half, half + 1, 2)
        return w.slice(x, 0, self.rotated, 2) if self.near == "partial" else x

    def changed(self, x):
        w = self.w
        if self.near == "by_head":
            return w.op("Mul", x, w.weight("factors", self.factors if self.layout is BHSD else self.factors[:, 0]))
        return w.op("Transpose", x, perm=[0, 1, 3, 2]) if self.near == "columns" else x

    def exact_angles(self, feeds):
        """What they are, as they broadcast to heads [batch, heads, sequence, size]."""
        if self.near == "head_as_row":
            return [table[None, : self.heads, None].astype(np.float64) for table in self.angles.tables()]
        half = self.size // 2
        cuts = {"first_row": np.s_[:, :1], "one_angle": np.s_[..., half : half + 1], "partial": np.s_[..., : self.rotated]}
        factors = self.factors.astype(np.float64) if self.near == "by_head" else 1
        return [x[cuts.get(self.near, ...)][:, None] * factors for x in self.angles.exact(feeds)]

    # ---- Heads ----

    def parts(self, x, cut, size):
        """Elements of the heads before the cut, and from it on."""
        w, axis = self.w, self.axis
        if self.spelling == "split" and w.opset < 13:
            return w.ops("Split", [x], 2, axis=axis, split=[cut, size - cut])
        if self.spelling == "split" and w.opset >= 18 and 2 * cut == size:
            return w.ops("Split", [x], 2, axis=axis, num_outputs=2)
        if self.spelling == "split":
            return w.ops("Split", [x, w.constant([cut, size - cut])], 2, axis=axis)
        axis = axis - 4 if w.opset >= 10 and self.choices.chance(f"{self.name}.from_end", 0.5) else axis
        if self.spelling == "slice_computed" and 2 * cut == size:
            cut = w.op("Div", w.length(x, self.axis), w.constant([2]))
        return w.slice(x, 0, cut, axis), w.slice(x, cut, size if self.spelling == "slice" else np.iinfo(np.int64).max, axis)

    def joined(self, *parts):
        axis = self.axis - 4 if self.w.opset >= 11 and self.choices.chance(f"{self.name}.join_from_end", 0.7) else self.axis
        return self.w.op("Concat", *parts, axis=axis)

    def turned(self, x):
        w = self.w
        if self.near == "interleaved":
            pairs = w.op("Reshape", x, w.constant([0, 0, 0, self.size // 2, 2]))
            even, odd = w.slice(pairs, 0, 1, 4), w.slice(pairs, 1, 2, 4)
            return w.op("Reshape", w.op("Concat", w.op("Neg", odd), even, axis=4), w.constant([0, 0, 0, self.size]))
        halves = self.parts(x, self.cut, self.rotated)
        order = WRONGLY_TURNED.get(self.near, TURNED)
        return self.joined(*[halves[half] if sign > 0 else w.op("Neg", halves[half]) for half, sign in order])

    def product(self, x, angles, what):
        """In any order."""
        return self.w.op("Mul", *([angles, x] if self.choices.chance(f"{self.name}.{what}_second", 0.25) else [x, angles]))

    def write(self, x, other):
        """The heads x, rotated. `other` are the heads whose turned halves are added: x, where they should be."""
        w, rest, cast = self.w, None, x is other and self.choices.chance(f"{self.name}.cast", 0.15)
        cosines, sines = self.of_heads()
        if cast:  # To the type that they have.
            x = w.cast(x, TensorProto.FLOAT)
        if self.near == "columns":
            x = w.op("Transpose", x, perm=[0, 1, 3, 2])
        if self.near == "partial":
            x, rest = self.parts(x, self.rotated, self.size)
        if self.near == "halves":
            return self.in_halves(x, cosines, sines)
        turned = self.turned(x if self.near != "other_heads" else other)
        if self.near == "scaled_half":
            turned = w.op("Mul", turned, w.scalar(0.5))
        terms = [self.product(x, cosines, "cosines"), self.product(turned, sines, "sines")]
        if self.near != "subtracted" and self.choices.chance(f"{self.name}.sines_first", 0.25):
            terms.reverse()
        y = w.op("Sub" if self.near == "subtracted" else "Add", *terms)
        if cast:
            y = w.cast(y, TensorProto.FLOAT)
        if rest:
            y = self.joined(y, rest)
        return w.op("Transpose", y, perm=[0, 1, 3, 2]) if self.near == "columns" else y

    def in_halves(self, x, cosines, sines):
        """Each half of the rotated heads by itself, as GPT-NeoX's and LLaMA's authors may write it."""
        w = self.w
        (a, b), (cos_a, cos_b), (sin_a, sin_b) = [self.parts(t, self.cut, self.size) for t in (x, cosines, sines)]
        return self.joined(w.op("Sub", w.op("Mul", a, cos_a), w.op("Mul", b, sin_a)),
                           w.op("Add", w.op("Mul", b, cos_b), w.op("Mul", a, sin_b)))

    def exact_turned(self, x):
        if self.near == "interleaved":
            return np.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
        halves = x[..., : self.cut], x[..., self.cut :]
        return np.concatenate([sign * halves[half] for half, sign in WRONGLY_TURNED.get(self.near, TURNED)], axis=-1)

    def exact(self, feeds, x, other):
        """The same of heads [batch, heads, sequence, size] in float64."""
        cosines, sines = self.exact_angles(feeds)
        sign = {"subtracted": -1, "scaled_half": 0.5}.get(self.near, 1)
        rest = x[..., self.rotated :]
        y = x[..., : self.rotated] * cosines + sign * self.exact_turned(other[..., : self.rotated]) * sines
        return np.concatenate([y, rest], axis=-1)
