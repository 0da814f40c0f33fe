"""The spellings of the attention mask, and what each adds to the scores."""

import numpy as np
from onnx import TensorProto

from random_graphs_draw import mask_rows
from random_graphs_write import FLOAT_MIN

# By attention operator: forms that end up as a float tensor to add, and forms that the operator takes itself.
BIAS_FORMS = ["additive", "additive", "additive", "where", "three", "expanded", "float_input"]
NEW_FORMS = ["range_and", "range_and"]
FUSED_FORMS = {"ms": ["two", "two", "index", "index", "three_fused", "start_end"], "q": ["two", "index", "index"],
               "mha": ["two", "index"], "old": [], "einsum": [], "sdpa": [], "distil": [], "onnx": []}


class Mask:
    """Writes the mask of a graph; `form` says which."""

    def __init__(self, writer, choices, attention, quantized, half):
        self.w, self.choices = writer, choices
        forms = list(FUSED_FORMS[attention])
        if attention == "distil":
            forms = ["equal_zero"]
        elif attention == "onnx":
            forms = BIAS_FORMS + NEW_FORMS + ["boolean", "boolean"]
        elif attention != "q":
            forms += BIAS_FORMS + (NEW_FORMS if writer.opset >= 11 else [])
        self.form = choices.pick("mask", forms + ["none"])
        fills = [-10000.0, FLOAT_MIN, FLOAT_MIN]
        if self.form in ("where", "range_and", "equal_zero"):
            fills.append(-np.inf)
        self.fill = float(np.float32(choices.pick("mask_fill", fills)))
        self.dtype = np.float32 if self.form == "float_input" else choices.pick("mask_dtype", [np.int64, np.int32])
        self.fused = self.form in FUSED_FORMS[attention]
        if self.fused:
            self.dtype = np.int32 if self.form != "two" else self.dtype
        # A row that attends to nothing is left out where NaN would be quantized, where float16 rounds its scores away, and
        # where ONNX Runtime departs from ONNX and nothing else says what is right.
        self.patterns = ["full", "right", "right", "left", "holes"]
        unclear = half or quantized and (self.fill == -np.inf or attention == "onnx")
        if not unclear and self.form not in ("boolean", "start_end", "index"):
            self.patterns.append("empty")
        self.value = None
        self.related = attention in ("old", "einsum", "sdpa", "ms", "mha") and not self.fused and writer.opset >= 11 \
            and choices.chance("relative", 0.12)
        self.table = None

    # ---- Inputs ----

    def declare(self):
        """Adds the graph input, and a tensor that every layer shares."""
        if self.form == "none":
            return
        shape = {"three": ["batch", "sequence", "sequence"], "three_fused": ["batch", "sequence", "sequence"],
                 "start_end": ["twice_batch"]}.get(self.form, ["batch", "sequence"])
        name = self.w.graph_input("attention_mask", self.dtype, shape)
        self.value = getattr(self, self.form)(name)

    def feed(self, batch, length):
        """The input as an array."""
        if self.form in ("three", "three_fused"):
            rows = mask_rows(self.choices, batch * length, length, self.patterns)
            return rows.reshape(batch, length, length).astype(self.dtype)
        if self.form == "start_end":
            ends = self.choices.numpy.integers(1, length + 1, batch)
            starts = [self.choices.random.randrange(0, end) for end in ends]
            return np.concatenate([ends, starts]).astype(self.dtype)
        return mask_rows(self.choices, batch, length, self.patterns).astype(self.dtype)

    # ---- Relative positions ----

    def relate(self, heads, positions):
        """MPNet's bias: a number a head for every distance of query and key, added to the mask's tensor."""
        w = self.w
        if not self.related:
            return
        self.table = self.choices.numpy.standard_normal((2 * positions, heads)).astype(np.float32)
        places = w.op("Range", w.constant(0), w.dimension("input_ids", 1), w.constant(1))
        distance = w.op("Sub", w.unsqueeze(places, 0), w.unsqueeze(places, 1))
        rows = w.op("Gather", w.weight("relative", self.table), w.op("Add", distance, w.constant(positions)), axis=0)
        bias = w.unsqueeze(w.op("Transpose", rows, perm=[2, 0, 1]), 0)
        self.value = bias if self.form == "none" else w.op("Add", bias, self.value)

    def exact_with_relation(self, filter_value):
        """What exact gives, and the relative positions' numbers."""
        masked, table = self.exact(filter_value), self.table
        if table is None:
            return masked

        def bias(feeds):
            places = np.arange(feeds["input_ids"].shape[1])
            related = table[places[None] - places[:, None] + len(table) // 2].astype(np.float64).transpose(2, 0, 1)[None]
            mask = masked(feeds)
            return related if mask is None else related + mask

        return bias

    # ---- Forms: each writes its tensor ----

    def inverted(self, four):
        w = self.w
        mask = four if self.dtype == np.float32 else w.cast(four, TensorProto.FLOAT)
        return w.op("Mul", w.op("Sub", w.scalar(1.0), mask), w.scalar(self.fill))

    def additive(self, name):
        w = self.w
        if self.choices.chance("mask_unsqueeze_twice", 0.5):
            return self.inverted(w.unsqueeze(w.unsqueeze(name, 1), 2))
        return self.inverted(w.unsqueeze(name, 1, 2))

    float_input = additive

    def three(self, name):
        return self.inverted(self.w.unsqueeze(name, 1))

    def expanded(self, name):
        w = self.w
        shape = w.op("Concat", w.unsqueeze(w.dimension(name, 0), 0), w.constant([1]),
                     w.unsqueeze(w.dimension(name, 1), 0), w.unsqueeze(w.dimension(name, 1), 0), axis=0)
        return self.inverted(w.op("Expand", w.unsqueeze(name, 1, 2), shape))

    def select(self, keep):
        """0 where `keep` (bool, four dimensions), the fill elsewhere."""
        w = self.w
        if self.choices.chance("mask_select_not", 0.4):
            return w.op("Where", w.op("Not", keep), w.scalar(self.fill), w.scalar(0.0))
        return w.op("Where", keep, w.scalar(0.0), w.scalar(self.fill))

    def where(self, name):
        w = self.w
        return self.select(w.cast(w.unsqueeze(name, 1, 2), TensorProto.BOOL))

    def boolean(self, name):
        return self.w.cast(self.w.unsqueeze(name, 1, 2), TensorProto.BOOL)

    def new_export(self, name):
        """keep[batch, 1, 1, sequence] as PyTorch 2's exporter builds it: indices, a gather, and what is always true."""
        w = self.w
        batch, length = w.dimension(name, 0), w.dimension(name, 1)
        zero, one = w.constant(0), w.constant(1)
        rows = w.unsqueeze(w.op("Range", zero, batch, one), 1)
        columns = w.unsqueeze(w.op("Range", zero, length, one), 0)
        shape = w.op("Shape", name)
        places = w.op("Concat", w.unsqueeze(w.op("Expand", rows, shape), 2),
                      w.unsqueeze(w.op("Expand", columns, shape), 2), axis=2)
        picked = w.op("GatherND", w.cast(name, TensorProto.BOOL), places)
        always = w.op("Less", columns, w.unsqueeze(length, 0))
        keep = w.op("And", always, picked)
        return w.unsqueeze(keep, 1, 2)

    def range_and(self, name):
        return self.select(self.new_export(name))

    def equal_zero(self, name):
        return name  # DistilBERT compares anew in every layer.

    def drop(self, scores, q):
        """DistilBERT: the scores, replaced by the fill where the mask is 0."""
        w = self.w
        zero = w.op("Equal", self.value, w.constant(0, self.dtype))
        shape = w.op("Concat", w.unsqueeze(w.dimension(q, 0), 0), w.constant([1, 1]),
                     w.unsqueeze(w.dimension(self.value, 1), 0), axis=0)
        dropped = w.op("Expand", w.op("Reshape", zero, shape), w.op("Shape", scores))
        return w.op("Where", dropped, w.scalar(self.fill), scores)

    # ---- Forms that fused operators take ----

    def two(self, name):
        return self.w.cast(name, TensorProto.INT32) if self.dtype == np.int64 else name

    def index(self, name):
        return self.w.reduce_sum(name, 1)

    def three_fused(self, name):
        return name

    def start_end(self, name):
        return name

    # ---- What it means ----

    def exact(self, filter_value):
        """A function of the feeds: what is added to the scores. `filter_value`: that of the fused operator."""
        form, fill = self.form, filter_value if self.fused else self.fill
        if form == "none":
            return lambda feeds: None

        def bias(feeds):
            mask = feeds["attention_mask"]
            if form == "start_end":
                ends, starts = np.split(mask, 2)
                places = np.arange(feeds["input_ids"].shape[1])
                mask = (places < ends[:, None]) & (places >= starts[:, None])
            elif form == "index":
                mask = np.arange(mask.shape[1]) < mask.sum(axis=1)[:, None]
            mask = mask[:, None] if mask.ndim == 3 else mask[:, None, None]
            return np.where(mask != 0, 0.0, -np.inf if form == "boolean" else fill)

        return bias
