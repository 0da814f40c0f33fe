"""A random BERT as an ONNX graph, in a random mixture of exporters' and optimizers' spellings, and as a numpy recipe."""

import math

import numpy as np
from onnx import TensorProto, helper

import random_graphs_exact as exact
from random_graphs_attention import Attentions
from random_graphs_linear import DYNAMIC_SPELLINGS, FLOAT_SPELLINGS, STATIC_SPELLINGS, WEIGHT_SPELLINGS, Linear
from random_graphs_mask import Mask
from random_graphs_rotary import Rotary
from random_graphs_write import GraphWriter, f32, halved

OPSETS = [9, 10, 11, 11, 11, 12, 13, 13, 14, 15, 16, 17, 17, 17, 18, 19, 20, 21, 22, 23]
KINDS = ["float", "float", "float", "float", "float", "float", "weights", "dynamic", "dynamic", "dynamic", "static", "half"]
ROTATED = ["old", "sdpa", "distil", "mha", "onnx"]  # Attention whose heads may be rotated by their positions.


class RandomBert(Attentions):
    """Draws a model; `model` is its bytes, `outputs` the names, `recipe` what it means (None: not written down)."""

    def __init__(self, choices):
        self.choices = c = choices
        self.opset = c.pick("opset", OPSETS)
        self.kind = c.pick("kind", [k for k in KINDS if self.opset >= 11 or k in ("float", "weights", "half")
                                    and (self.opset >= 10 or k == "float")])
        self.quantized = self.kind in ("dynamic", "static")
        self.attention = c.pick("attention", self.attentions())
        self.layers = 1 if self.quantized else c.pick("layers", [1, 1, 2, 3])
        self.heads = c.pick("heads", [1, 2, 3, 4])
        self.head_size = c.pick("head_size", [4, 5, 7, 8, 8, 16, 17, 32])
        self.hidden = self.heads * self.head_size
        self.intermediate = c.pick("intermediate", [self.hidden, 2 * self.hidden, 4 * self.hidden, 13, 37])
        self.vocabulary, self.positions = c.pick("vocabulary", [11, 30, 60]), c.pick("positions", [20, 24, 33])
        self.ids_dtype = c.pick("ids_dtype", [np.int64, np.int64, np.int32])
        self.w = GraphWriter(self.opset)
        self.w.constants_as_nodes = c.chance("constants_as_nodes", 0.5)
        self.w.shape_cuts = c.chance("shape_cuts", 0.4)
        self.recipe = exact.Recipe(heads=self.heads)
        self.comparable = self.kind in ("float", "weights")  # A recipe knows no rounding.
        self.rotary = None  # Heads aren't rotated.
        self.apart = set()  # Projections that are heads already.
        self.filter_value = -10000.0  # Of fused attention operators.
        self.mask = Mask(self.w, c, self.attention, self.quantized, self.kind == "half")
        self.epsilon = f32(c.pick("epsilon", [1e-12, 1e-12, 1e-5, 1e-3]))
        self.outputs = []
        self.write()
        self.model = self.w.model().SerializeToString()
        if not self.comparable:
            self.recipe = None
        if self.kind == "half":
            self.model = halved(self.model)

    def attentions(self):
        names = ["old", "old", "sdpa", "sdpa", "distil", "ms", "ms", "mha"]
        if self.opset >= 12:
            names += ["einsum"]
        if self.opset >= 23:
            names += ["onnx", "onnx"]
        return ["q", "q", "old", "sdpa", "ms"] if self.kind == "dynamic" else names

    # ---- Weights ----

    def normal(self, *shape, scale=1.0, mean=0.0):
        return (self.choices.numpy.standard_normal(shape) * scale + mean).astype(np.float32)

    def matrix(self, k, n):
        return self.normal(k, n, scale=1.2 / math.sqrt(k)), self.normal(n, scale=0.2)

    def kinds_of_linear(self):
        return {"weights": WEIGHT_SPELLINGS + FLOAT_SPELLINGS[:2], "dynamic": DYNAMIC_SPELLINGS,
                "static": STATIC_SPELLINGS}.get(self.kind, FLOAT_SPELLINGS)

    def linear(self, x, name, k, n):
        """Writes x W + b; returns its output and what it means."""
        weight, bias = self.matrix(k, n)
        spelling = Linear(self.w, self.choices, name, self.kinds_of_linear())
        return spelling.write(x, weight, bias), exact.Affine(spelling.exact_weight, bias.astype(np.float64))

    # ---- Graph ----

    def write(self):
        w, c = self.w, self.choices
        w.graph_input("input_ids", self.ids_dtype, ["batch", "sequence"])
        embed = c.chance("embed_fused", 0.2)
        if not embed:
            self.mask.declare()
        x = self.embed_fused() if embed else self.embeddings()
        if self.head_size % 2 == 0 and self.attention in ROTATED and c.chance("rotary", 0.4):
            self.rotary = Rotary(self)
        self.mask.relate(self.heads, self.positions)
        for number in range(self.layers):
            x = self.layer(x, f"layer{number}")
            if number + 1 < self.layers and c.chance(f"layer{number}.output", 0.2):
                self.add_output(f"hidden_{number}", x, ["batch", "sequence", self.hidden])
        self.add_output("last_hidden_state", x, ["batch", "sequence", self.hidden])
        if c.chance("pooled", 0.5):
            self.pool(x)
        self.recipe.bias = self.mask.exact_with_relation(self.filter_value)
        self.recipe.bias_replaces = self.attention == "distil"

    def add_output(self, name, value, shape):
        self.w.graph_output(name, value, shape)
        self.outputs.append(name)

    def feeds(self, batch, length):
        """Inputs by name."""
        random = self.choices.numpy
        feeds = {"input_ids": random.integers(0, self.vocabulary, (batch, length)).astype(self.ids_dtype)}
        for entry in self.w.inputs:
            if entry.name == "token_type_ids":
                feeds[entry.name] = random.integers(0, 2, (batch, length)).astype(self.ids_dtype)
            elif entry.name == "position_ids":
                feeds[entry.name] = random.integers(0, self.positions, (batch, length)).astype(self.ids_dtype)
            elif entry.name == "attention_mask":
                mask = self.mask.feed(batch, length)
                feeds[entry.name] = mask.astype(np.float16) if self.kind == "half" and mask.dtype == np.float32 else mask
        return feeds

    # ---- Embeddings ----

    def tables(self):
        r = self.recipe
        r.word = self.normal(self.vocabulary, self.hidden, scale=0.7)
        r.position = self.normal(self.positions + 2, self.hidden, scale=0.3)
        r.type = self.normal(2, self.hidden, scale=0.3)

    def position_ids(self, name, spellings):
        """Writes positions 0, 1, 2 ... or an input; returns them, and a function of the feeds that gives them."""
        w = self.w
        spelling = self.choices.pick(name, spellings)
        if spelling == "counted":
            return self.counted_positions()
        if spelling == "input":
            return self.positions_given(), lambda feeds: feeds["position_ids"]
        length = w.dimension("input_ids", 1)
        if spelling == "range":
            return w.unsqueeze(w.op("Range", w.constant(0), length, w.constant(1)), 0), self.counted_from_0
        places = w.weight("position_ids", np.arange(self.positions, dtype=np.int64)[None])
        if self.opset >= 10:
            return w.slice(places, 0, w.unsqueeze(length, 0), 1), self.counted_from_0
        ones = w.op("ConstantOfShape", w.op("Shape", "input_ids"), value=helper.make_tensor("one", TensorProto.INT64, [1], [1]))
        places = w.op("Gather", w.op("NonZero", ones), w.constant(1), axis=0)
        return w.op("Reshape", places, w.op("Shape", "input_ids")), self.counted_from_0

    @staticmethod
    def counted_from_0(feeds):
        return np.arange(feeds["input_ids"].shape[1])[None]

    def positions_given(self):
        """The graph's input, which there is one of."""
        if not any(entry.name == "position_ids" for entry in self.w.inputs):
            self.w.graph_input("position_ids", self.ids_dtype, ["batch", "sequence"])
        return "position_ids"

    def counted_positions(self):
        """RoBERTa's: tokens that are not padding (id 1) are counted from 2 on, padding is at 1."""
        w = self.w
        ids = w.cast("input_ids", TensorProto.INT64) if self.ids_dtype == np.int32 else "input_ids"
        real = w.cast(w.op("Not", w.op("Equal", ids, w.constant(1))), TensorProto.INT32)
        counted = w.op("Mul", w.op("CumSum", real, w.constant(1)), real)

        def positions(feeds):
            kept = feeds["input_ids"] != 1
            return np.cumsum(kept, axis=1) * kept + 1

        return w.op("Add", w.cast(counted, TensorProto.INT64), w.constant(1)), positions

    def type_ids(self):
        w = self.w
        spelling = self.choices.pick("type_ids", ["input", "input", "zeros", "none"])
        if spelling == "none":
            self.recipe.type = None
            return None
        if spelling == "input":
            w.graph_input("token_type_ids", self.ids_dtype, ["batch", "sequence"])
            self.recipe.type_ids = lambda feeds: feeds["token_type_ids"]
            return "token_type_ids"
        self.recipe.type_ids = lambda feeds: np.zeros_like(feeds["input_ids"])
        return w.op("Expand", w.constant([[0]]), w.op("Shape", "input_ids"))

    def embeddings(self):
        w, c, r = self.w, self.choices, self.recipe
        self.tables()
        terms = [w.op("Gather", w.weight("word", r.word), "input_ids")]
        types = self.type_ids()
        if types:
            terms.append(w.op("Gather", w.weight("type", r.type), types))
        if c.chance("positions_used", 0.85):
            spellings = ["slice", "slice", "range", "input", "counted"] if self.opset >= 11 else ["slice", "input"]
            ids, r.position_ids = self.position_ids("position_ids", spellings)
            terms.append(w.op("Gather", w.weight("position", r.position), ids))
        else:
            r.position = None
        c.random.shuffle(terms)
        total = terms[0]
        for term in terms[1:]:
            total = w.op("Add", total, term)
        y, r.norm = self.norm(total, "embeddings")
        self.to_double(r)
        return y

    @staticmethod
    def to_double(recipe):
        for name in ("word", "position", "type"):
            table = getattr(recipe, name)
            setattr(recipe, name, None if table is None else table.astype(np.float64))

    def embed_fused(self):
        """EmbedLayerNormalization, whose mask index may serve attention."""
        w, c, r = self.w, self.choices, self.recipe
        self.tables()

        def as_int32(name):
            return name if self.ids_dtype == np.int32 else w.cast(name, TensorProto.INT32)

        types = self.type_ids()
        positions = ""
        if c.chance("embed_position_ids", 0.3):
            positions = as_int32(self.positions_given())
            r.position_ids = lambda feeds: feeds["position_ids"]
        else:
            r.position_ids = self.counted_from_0
        if types and types != "token_type_ids":
            types = w.cast(types, TensorProto.INT32)
        elif types:
            types = as_int32(types)
        r.norm = self.norm_values()
        gives_index = self.mask.form == "index"
        mask = ""
        if gives_index:
            mask = w.graph_input("attention_mask", self.mask.dtype, ["batch", "sequence"])
        sums = c.chance("embed_sum", 0.2)
        outputs = [True, True] + ([True] if sums else [])
        results = w.ops("EmbedLayerNormalization", [
            as_int32("input_ids"), types or "", w.weight("word", r.word), w.weight("position", r.position),
            w.weight("type", r.type) if types else "", w.weight("gamma", r.norm.gamma.astype(np.float32)),
            w.weight("beta", r.norm.beta.astype(np.float32)), mask, positions], outputs, domain="com.microsoft",
            epsilon=self.epsilon)
        if sums:
            self.add_output("sum", results[2], ["batch", "sequence", self.hidden])
        if gives_index:
            self.mask.value = results[1]
        else:
            self.mask.declare()
        self.to_double(r)
        return results[0]

    # ---- Normalization ----

    def norm_values(self):
        return exact.Norm(self.normal(self.hidden, scale=0.2, mean=1.0).astype(np.float64),
                          self.normal(self.hidden, scale=0.1).astype(np.float64), self.epsilon)

    def norm(self, x, name):
        """LayerNormalization of x."""
        w, c = self.w, self.choices
        spelling = c.pick(f"{name}.norm", ["pow", "mul", "two_subs", "op", "op"])
        values = self.norm_values()
        gamma = w.weight("gamma", values.gamma.astype(np.float32))
        beta = w.weight("beta", values.beta.astype(np.float32))
        if spelling == "op":
            return w.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=self.epsilon), values
        mean = w.reduce_mean(x)
        centred = w.op("Sub", x, mean)
        other = w.op("Sub", x, mean) if spelling == "two_subs" else centred
        square = w.op("Mul", other, other) if spelling == "mul" else w.op("Pow", other, w.scalar(2.0))
        deviation = w.op("Sqrt", w.op("Add", w.reduce_mean(square), w.scalar(self.epsilon)))
        scaled = w.op("Div", centred, deviation)
        product = w.op("Mul", gamma, scaled) if c.chance(f"{name}.gamma_first", 0.5) else w.op("Mul", scaled, gamma)
        return w.op("Add", product, beta), values

    def skip_norm(self, x, skip, bias, name):
        """The residual and the norm; `bias` is one that the product before left out, or ""."""
        w, c = self.w, self.choices
        if bias or c.chance(f"{name}.skip_fused", 0.3):
            values = self.norm_values()
            inputs = [x, skip] if c.chance(f"{name}.skip_second", 0.7) or bias else [skip, x]
            inputs += [w.weight("gamma", values.gamma.astype(np.float32)),
                       w.weight("beta", values.beta.astype(np.float32)), bias]
            outputs = [True, False, False, True] if c.chance(f"{name}.skip_sum", 0.2) else [True]
            results = w.ops("SkipLayerNormalization", inputs, outputs, domain="com.microsoft", epsilon=self.epsilon)
            if len(results) > 1 and "sum" not in self.outputs:
                self.add_output("sum", results[3], ["batch", "sequence", self.hidden])
            return results[0], values
        total = w.op("Add", skip, x) if c.chance(f"{name}.residual_first", 0.5) else w.op("Add", x, skip)
        return self.norm(total, name)

    # ---- Layer ----

    def layer(self, x, name):
        w, c, h = self.w, self.choices, self.hidden
        context, (query, key, value), scale = getattr(self, f"attention_{self.attention}")(x, f"{name}.attention")
        projected, bias, output = self.maybe_open(context, f"{name}.output", h, h)
        x, attention_norm = self.skip_norm(projected, x, bias, f"{name}.attention_norm")
        inner, up, activation = self.activated(x, f"{name}.up")
        projected, bias, down = self.maybe_open(inner, f"{name}.down", self.intermediate, h)
        y, norm = self.skip_norm(projected, x, bias, f"{name}.norm")
        turn = self.rotary.turn if self.rotary else None
        self.recipe.layers.append(exact.Layer(query, key, value, output, scale, attention_norm, up, activation, down,
                                              norm, turn))
        if c.chance(f"{name}.dropout", 0.1):
            y = w.op("Identity", y)
        return y

    def maybe_open(self, x, name, k, n):
        """A Linear, or a product alone with the name of the bias that SkipLayerNormalization is to add."""
        if self.kind == "float" and self.choices.chance(f"{name}.bias_left", 0.1):
            weight, bias = self.matrix(k, n)
            product = self.w.op("MatMul", x, self.w.weight("weight", weight))
            return product, self.w.weight("bias", bias), exact.Affine(weight.astype(np.float64), bias.astype(np.float64))
        y, affine = self.linear(x, name, k, n)
        return y, "", affine

    # ---- Activation ----

    def activated(self, x, name):
        """The first Linear of the feed-forward part and its activation."""
        w, c = self.w, self.choices
        spelling = c.pick(f"{name}.activation", self.activations())
        if spelling == "bias_gelu":
            weight, bias = self.matrix(self.hidden, self.intermediate)
            up = exact.Affine(weight.astype(np.float64), bias.astype(np.float64))
            product, bias = w.op("MatMul", x, w.weight("weight", weight)), w.weight("bias", bias)
            if c.chance(f"{name}.fast", 0.4):
                return w.ms("FastGelu", product, bias), up, exact.gelu_tanh(math.sqrt(2 / math.pi), 0.044715)
            return w.ms("BiasGelu", product, bias), up, exact.gelu(math.sqrt(0.5))
        y, up = self.linear(x, name, self.hidden, self.intermediate)
        y, activation = getattr(self, f"activation_{spelling}")(y)
        return y, up, activation

    def activations(self):
        names = ["erf", "erf", "erf_half_first", "erf_mul", "tanh", "tanh_mul", "relu", "ms_gelu", "fast", "quick", "sigmoid", "silu"]
        if self.kind == "float":
            names += ["bias_gelu", "bias_gelu"]
        if self.opset >= 20:
            names += ["gelu", "gelu_approximate"]
        return names

    def activation_erf(self, x):
        w = self.w
        erf = w.op("Erf", w.op("Div", x, w.scalar(math.sqrt(2))))
        product = w.op("Mul", x, w.op("Add", erf, w.scalar(1.0)))
        return w.op("Mul", product, w.scalar(0.5)), exact.gelu(1 / f32(math.sqrt(2)))

    def activation_erf_half_first(self, x):
        w = self.w
        erf = w.op("Erf", w.op("Div", x, w.scalar(math.sqrt(2))))
        return w.op("Mul", w.op("Mul", x, w.scalar(0.5)), w.op("Add", w.scalar(1.0), erf)), exact.gelu(1 / f32(math.sqrt(2)))

    def activation_erf_mul(self, x):
        w = self.w
        erf = w.op("Erf", w.op("Mul", x, w.scalar(math.sqrt(0.5))))
        return w.op("Mul", w.op("Mul", x, w.op("Add", erf, w.scalar(1.0))), w.scalar(0.5)), exact.gelu(f32(math.sqrt(0.5)))

    def activation_tanh(self, x):
        w = self.w
        cubic = w.op("Mul", w.op("Pow", x, w.scalar(3.0)), w.scalar(0.044715))
        tanh = w.op("Tanh", w.op("Mul", w.op("Add", x, cubic), w.scalar(math.sqrt(2 / math.pi))))
        y = w.op("Mul", w.op("Mul", x, w.scalar(0.5)), w.op("Add", tanh, w.scalar(1.0)))
        return y, exact.gelu_tanh(f32(math.sqrt(2 / math.pi)), f32(0.044715))

    def activation_tanh_mul(self, x):
        """As Megatron and BLOOM have it: x (1 + 0.044715 x x)."""
        w = self.w
        square = w.op("Mul", w.op("Mul", x, w.scalar(0.044715)), x)
        inner = w.op("Mul", w.op("Mul", x, w.scalar(0.7978845608)), w.op("Add", square, w.scalar(1.0)))
        y = w.op("Mul", w.op("Mul", x, w.scalar(0.5)), w.op("Add", w.op("Tanh", inner), w.scalar(1.0)))
        return y, exact.gelu_tanh(f32(0.7978845608), f32(0.044715))

    def activation_relu(self, x):
        return self.w.op("Relu", x), exact.relu

    def activation_ms_gelu(self, x):
        return self.w.ms("Gelu", x), exact.gelu(math.sqrt(0.5))

    def activation_fast(self, x):
        return self.w.ms("FastGelu", x), exact.gelu_tanh(math.sqrt(2 / math.pi), 0.044715)

    def activation_quick(self, x):
        return self.w.ms("QuickGelu", x, alpha=1.702), exact.quick_gelu(f32(1.702))

    def activation_sigmoid(self, x):
        w = self.w
        return w.op("Mul", x, w.op("Sigmoid", w.op("Mul", x, w.scalar(1.702)))), exact.quick_gelu(f32(1.702))

    def activation_silu(self, x):
        return self.w.op("Mul", self.w.op("Sigmoid", x), x), exact.quick_gelu(1.0)

    def activation_gelu(self, x):
        return self.w.op("Gelu", x), exact.gelu(math.sqrt(0.5))

    def activation_gelu_approximate(self, x):
        return self.w.op("Gelu", x, approximate="tanh"), exact.gelu_tanh(math.sqrt(2 / math.pi), 0.044715)

    # ---- Head ----

    def pool(self, x):
        """tanh(W x[:, 0] + b)"""
        w, c = self.w, self.choices
        spelling = c.pick("pooler", ["gather", "gather", "slice", "fused"])
        if spelling == "slice":
            first = w.squeeze(w.slice(x, 0, 1, 1), 1)
        else:
            first = w.op("Gather", x, w.constant(0), axis=1)
        weight, bias = self.matrix(self.hidden, self.hidden)
        self.recipe.pooler = exact.Affine(weight.astype(np.float64), bias.astype(np.float64))
        inputs = first, w.weight("weight", weight.T), w.weight("bias", bias)
        if spelling == "fused":
            y = w.ms("FusedGemm", *inputs, transB=1, activation="Tanh")
        else:
            y = w.op("Tanh", w.op("Gemm", *inputs, transB=1))
        self.add_output("pooled", y, ["batch", self.hidden])
