"""Random graphs of what quantize_static writes: operators of BERT between QuantizeLinear and DequantizeLinear."""

import math

import numpy as np
from onnx import TensorProto, helper

from random_graphs_draw import mask_rows
from random_graphs_linear import weight_range
from random_graphs_write import GraphWriter

OPSETS = [10, 11, 12, 13, 13, 14, 15, 16, 17, 17, 17, 18, 19, 20, 21, 22, 23]
TYPES = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8, np.float32: TensorProto.FLOAT}
ALL = frozenset(("reference", "cpu"))
MOVES = ("add_bias", "add_bias", "add_mask", "residual", "residual", "add_wide", "chain", "chain", "move", "twice",
         "loose", "layer_norm", "softmax", "another_table")
PRODUCTS = ("linear", "linear", "linear", "attention", "gelu")
PIECES = {"moves": MOVES, "all": MOVES + PRODUCTS, "products": PRODUCTS + ("add_bias", "residual", "layer_norm")}


class Grid:
    """What floats are rounded to: `scale` times a byte less `zero`."""

    def __init__(self, dtype, scale, zero):
        self.dtype, self.scale, self.zero = dtype, float(np.float32(scale)), zero

    def range(self):
        info = np.iinfo(self.dtype)
        return (info.min - self.zero) * self.scale, (info.max - self.zero) * self.scale

    def bytes_of(self, values):
        info = np.iinfo(self.dtype)
        return np.clip(np.rint(values / np.float32(self.scale)) + self.zero, info.min, info.max).astype(self.dtype)


class Value:
    """A tensor of the graph: its dimensions, about which range it has, and which backends have to give its very bits with
    passes as without. `grid`: of bytes."""

    def __init__(self, name, dims, low, high, exact=ALL, grid=None):
        self.name, self.dims, self.low, self.high, self.exact, self.grid = name, list(dims), low, high, exact, grid

    def but(self, name, low=None, high=None, dims=None, exact=None):
        """A tensor of floats that is like this one but for what is given."""
        return Value(name, self.dims if dims is None else dims, self.low if low is None else low,
                     self.high if high is None else high, self.exact if exact is None else exact)


class RandomStatic:
    """Draws a graph; `model` is its bytes, `outputs` the names, `exact` by output which backends are held to its bits, and
    `centers` the zero points of those that are bytes."""

    def __init__(self, choices):
        self.choices = c = choices
        self.opset = c.pick("opset", OPSETS)
        self.w = GraphWriter(self.opset)
        self.w.constants_as_nodes = c.chance("constants_as_nodes", 0.3)
        self.heads = c.pick("heads", [1, 2, 3])
        self.hidden = self.heads * c.pick("head_size", [1, 4, 5, 8, 16, 32])
        self.vocabulary, self.positions = 20, c.pick("positions", [9, 20, 40])
        self.fixed = (c.random.randrange(1, 4), c.random.randrange(1, 9)) if c.chance("fixed_dims", 0.3) else None
        self.batch, self.sequence = self.fixed or ("batch", "sequence")
        self.domain = "com.microsoft" if c.chance("microsoft", 0.15) else ""
        self.leaks = c.pick("leaks", [0, 0, 0.03, 0.1, 0.3])
        self.pairs = c.pick("pairs", [0.3, 0.6, 0.8, 1, 1])  # How many of the places between operators have a pair.
        self.new_scales = c.pick("new_scales", [0, 0, 0.1])
        self.kind = c.pick("kind", ["moves", "moves", "all", "products"])
        self.outputs, self.exact, self.centers, self.past = [], {}, {}, []
        self.write()
        self.model = self.w.model().SerializeToString()

    # ---- Inputs and outputs ----

    def feeds(self, batch, length):
        """Inputs by name."""
        random, feeds = self.choices.numpy, {}
        batch, length = self.fixed or (batch, length)
        for entry in self.w.inputs:
            shape = batch, length, self.hidden
            if entry.name == "input_ids":
                values = random.integers(0, self.vocabulary, shape[:2])
            elif entry.name == "attention_mask":
                values = mask_rows(self.choices, batch, length, ["full", "right", "right", "holes"])
            elif entry.name == "scale":
                values = np.float32(random.uniform(0.01, 0.03))
            elif entry.name == "hidden":
                values = random.standard_normal(shape).astype(np.float32)
            else:
                dtype = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
                values = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
            feeds[entry.name] = np.asarray(values)
        return feeds

    def input(self, name, dtype, dims):
        """Declared where it is first asked for."""
        if all(entry.name != name for entry in self.w.inputs):
            self.w.graph_input(name, dtype, dims)
        return name

    def input_bytes(self):
        """Bytes that the caller has, as floats."""
        random, dims = self.choices.random, [self.batch, self.sequence, self.hidden]
        dtype = random.choice([np.uint8, np.int8])
        name = self.input(f"bytes_{np.dtype(dtype).name}", dtype, dims)
        grid = Grid(dtype, random.uniform(0.01, 0.025), random.choice([131, 128] if dtype == np.uint8 else [0, -3]))
        return self.dequantize(Value(name, dims, *grid.range(), grid=grid))

    def give(self, value, stem):
        """Makes it an output."""
        name = f"{stem}_{len(self.outputs)}"
        self.w.graph_output(name, value.name, value.dims, TYPES[value.grid.dtype if value.grid else np.float32])
        self.outputs.append(name)
        self.exact[name], self.centers[name] = value.exact, value.grid.zero if value.grid else 0

    def maybe_give(self, value):
        """Where something else may read it: it leaves the graph, or the graph has a further node for it."""
        random = self.choices.random
        if random.random() < self.leaks:
            other = value
            if value.grid and random.random() < 0.5:
                other = value.but(self.w.cast(value.name, TensorProto.FLOAT))
            elif not value.grid and random.random() < 0.3:
                other = value.but(self.w.op("Abs", value.name))
            self.give(other, "leak")
        return value

    # ---- Quantizers ----

    def grid(self, value):
        """One for the value's range; now and then some of it is beyond."""
        random = self.choices.random
        dtype = random.choice([np.uint8, np.uint8, np.int8])
        low, high, least = min(value.low, 0), max(value.high, 0), np.iinfo(dtype).min
        if random.random() < 0.25 and (dtype == np.int8 or low == 0):
            return Grid(dtype, max(-low, high, 1e-3) / np.iinfo(dtype).max * random.uniform(0.7, 1.4), 0)
        scale = max(high - low, 1e-3) / 255 * random.uniform(0.7, 1.4)
        return Grid(dtype, scale, int(np.clip(round(least - low / scale), least, np.iinfo(dtype).max)))

    def constants(self, grid, makes_bytes):
        """Scale and zero point, which may be absent where it is 0 (and where bytes are made: of uint8)."""
        random = self.choices.random
        dims = [1] if random.random() < 0.2 and not self.domain else []
        names = [self.w.weight("grid", np.full(dims, grid.scale, np.float32))]
        can_lack = grid.zero == 0 and (grid.dtype == np.uint8 or not makes_bytes) and not self.domain
        if not can_lack or random.random() < 0.4:
            names.append(self.w.weight("zero", np.full(dims, grid.zero, grid.dtype)))
        return names

    def quantize(self, x, grid=None):
        grid = grid or self.grid(x)
        name = self.w.op("QuantizeLinear", x.name, *self.constants(grid, True), domain=self.domain)
        return self.maybe_give(Value(name, x.dims, x.low, x.high, x.exact, grid))

    def dequantize(self, q):
        """By the scale that made the bytes, or a new one."""
        random, grid = self.choices.random, q.grid
        if random.random() < self.new_scales:
            zero = min(grid.zero + random.choice([0, 1]), np.iinfo(grid.dtype).max)
            grid = Grid(grid.dtype, grid.scale * random.uniform(0.5, 1.5), zero)
        name = self.w.op("DequantizeLinear", q.name, *self.constants(grid, False), domain=self.domain)
        low, high = grid.range()
        return self.maybe_give(Value(name, q.dims, max(low, q.low * 1.2), min(high, q.high * 1.2), q.exact))

    def pair(self, x, grid=None):
        return self.dequantize(self.quantize(x, grid))

    def inside(self):
        """How many pairs are in a part that passes know as a whole: none, often, so that they see it."""
        return self.choices.random.choice([0, 0.1, self.pairs])

    def maybe(self, x, grid=None):
        """x by way of bytes, or not."""
        return self.pair(x, grid) if self.choices.random.random() < self.pairs else self.maybe_give(x)

    def vector(self, n, mean=0.0, spread=0.3):
        """A constant [n], which may be dequantized."""
        w, random = self.w, self.choices.random
        values = (self.choices.numpy.standard_normal(n) * spread + mean).astype(np.float32)
        value = Value("", [n], float(values.min()), float(values.max()))
        form = random.choice(["floats", "floats", "bytes", "pair", "int32"])
        if form == "bytes":
            value.grid = self.grid(value)
            value.name = w.weight("vector", value.grid.bytes_of(values))
            return self.dequantize(value)
        if form == "int32" and not self.domain:
            integers = w.weight("vector", np.rint(values / 1e-3).astype(np.int32))
            return value.but(w.op("DequantizeLinear", integers, w.weight("grid", np.float32(1e-3))))
        value.name = w.weight("vector", values)
        return self.pair(value) if form == "pair" else value

    # ---- Sums ----

    def add(self, a, b, dims=None):
        """In either order."""
        middle = (a.low + a.high + b.low + b.high) / 2
        half = math.hypot(a.high - a.low, b.high - b.low) / 2
        names = self.choices.random.sample([a.name, b.name], 2)
        return Value(self.w.op("Add", *names), dims or a.dims, middle - half, middle + half, a.exact & b.exact)

    def add_bias(self, x):
        """A vector, or a constant that broadcasts otherwise."""
        w, random = self.w, self.choices.random
        if random.random() < 0.6:
            return self.maybe(self.add(self.maybe(x), self.vector(x.dims[-1])))
        dims = random.choice([[], [1], [1, 1], [1, self.hidden], [1, 1, self.hidden], [1, 1, 1, self.hidden],
                              [self.fixed[0] if self.fixed else 1, 1, 1]])
        values = np.asarray(self.choices.numpy.standard_normal(dims) * 0.5, np.float32)
        addend = self.maybe(Value(w.weight("addend", values), dims, -1, 1))
        y = self.maybe(self.add(self.maybe(x), addend, [1, *x.dims] if len(dims) == 4 else x.dims))
        return y.but(w.squeeze(y.name, 0), dims=x.dims) if len(dims) == 4 else y

    def mask(self, *axes):
        """0, and much less where the input has padding, unsqueezed at the axes."""
        w, dims = self.w, [self.batch, self.sequence]
        self.input("attention_mask", np.int64, list(dims))
        much = self.choices.random.choice([3.1, 10.3, 10.3, 10000])
        for axis in axes:
            dims.insert(axis, 1)
        real = w.cast(w.unsqueeze("attention_mask", *axes), TensorProto.FLOAT)
        masked = w.op("Mul", w.op("Sub", w.scalar(1.0), real), w.scalar(-much))
        return self.maybe(Value(masked, dims, -much, 0))

    def add_mask(self, x):
        return self.maybe(self.add(self.maybe(x), self.mask(2)))

    def residual(self, x):
        return self.maybe(self.add(self.maybe(x), self.maybe(self.choices.random.choice(self.past))))

    def add_wide(self, x):
        """The other operand is the greater one, by rows of a sequence or by a dimension in front."""
        w, random = self.w, self.choices.random
        if random.random() < 0.5:
            row = x.but(w.op("Gather", x.name, w.constant([random.choice([0, -1])]), axis=1), dims=[x.dims[0], 1, x.dims[2]])
            return self.maybe(self.add(self.maybe(row), self.maybe(random.choice(self.past)), x.dims))
        values = self.choices.numpy.standard_normal((2, 1, 1, random.choice([1, x.dims[2]]))).astype(np.float32)
        wide = Value(w.weight("wide", values), values.shape, -2, 2)
        wide = self.maybe(self.add(self.maybe(x), wide, [2, *x.dims]))
        return wide.but(w.op("Gather", wide.name, w.constant(random.randrange(2)), axis=0), dims=x.dims)

    # ---- Element by element ----

    def chain(self, x):
        for _ in range(self.choices.random.randrange(1, 5)):
            x = self.maybe(self.step(self.maybe(x)))
        return x

    def step(self, x):
        """A Tanh or Sigmoid in a table is the reference implementations' on every backend."""
        w, random, by_table = self.w, self.choices.random, x.exact - {"cpu"}
        name = random.choice(["Div", "Div", "Mul", "Relu", "Clip", "Tanh", "Sigmoid", "square", "Abs", "Add", "Sub"])
        if name == "Div":
            by = 2.0 ** random.randrange(-2, 4)
            return x.but(w.op("Div", x.name, w.scalar(by)), x.low / by, x.high / by)
        if name == "Mul":
            by = random.uniform(0.3, 2)
            return x.but(w.op("Mul", *random.sample([x.name, w.scalar(by)], 2)), x.low * by, x.high * by)
        if name == "Relu":
            return x.but(w.op("Relu", x.name), 0, max(x.high, 0))
        if name == "Clip":
            low, high = sorted((x.low * random.uniform(0.2, 1), x.high * random.uniform(0.2, 1)))
            if self.opset >= 11:
                return x.but(w.op("Clip", x.name, w.scalar(low), w.scalar(high)), low, high)
            return x.but(w.op("Clip", x.name, min=low, max=high), low, high)
        if name in ("Tanh", "Sigmoid"):
            return x.but(w.op(name, x.name), -1 if name == "Tanh" else 0, 1, exact=by_table)
        if name == "square":
            return x.but(w.op("Mul", x.name, x.name), 0, max(x.low ** 2, x.high ** 2))
        if name == "Abs":
            return x.but(w.op("Abs", x.name), 0, max(-x.low, x.high))
        by = random.uniform(-1, 1)
        if name == "Add":
            return x.but(w.op("Add", *random.sample([x.name, w.scalar(by)], 2)), x.low + by, x.high + by)
        return x.but(w.op("Sub", w.scalar(by), x.name), by - x.high, by - x.low)

    def gelu(self, x):
        """Of erf, with pairs between its operators or without."""
        w, x, pairs = self.w, self.maybe(x), self.pairs
        self.pairs = self.inside()
        inner = self.maybe(x.but(w.op("Div", x.name, w.scalar(math.sqrt(2))), x.low / 1.4, x.high / 1.4, exact=frozenset()))
        erf = self.maybe(inner.but(w.op("Erf", inner.name), -1, 1))
        one = self.maybe(erf.but(w.op("Add", erf.name, w.scalar(1.0)), 0, 2))
        product = self.maybe(one.but(w.op("Mul", x.name, one.name), -0.4, max(2 * x.high, 0.1)))
        self.pairs = pairs
        return self.maybe(product.but(w.op("Mul", product.name, w.scalar(0.5)), -0.2, max(x.high, 0.1)))

    def another_table(self, x):
        """Two functions of the same bytes."""
        q = self.quantize(x)
        a, b = self.step(self.dequantize(q)), self.step(self.dequantize(q))
        return self.maybe(self.add(self.maybe(a), self.maybe(b)))

    def twice(self, x):
        """Quantized as it is already, or otherwise; or a sum with bytes that the caller has."""
        form = self.choices.random.choice(["same", "other", "input"])
        if form == "input":
            return self.maybe(self.add(self.maybe(x), self.input_bytes()))
        q = self.quantize(x)
        return self.pair(self.dequantize(q), q.grid if form == "same" else None)

    def loose(self, x):
        """A scale that is an input."""
        w, random = self.w, self.choices.random
        scale = self.input("scale", np.float32, [])
        if random.random() < 0.3:
            scale = w.op("Mul", scale, w.scalar(1.5))
        zero = w.constant(120, np.uint8)
        q = w.op("QuantizeLinear", x.name, scale, zero)
        back = scale if random.random() < 0.7 else w.weight("grid", np.float32(0.021))
        return x.but(w.op("DequantizeLinear", q, back, zero), -3, 3)

    # ---- Moves ----

    def move(self, x):
        """Heads apart and together again, as bytes or as floats, with pairs of the same scale between."""
        w, random = self.w, self.choices.random
        size = x.dims[2] // self.heads
        split, there = [*x.dims[:2], self.heads, size], [x.dims[0], self.heads, x.dims[1], size]
        steps = [("Reshape", [0, 0, self.heads, size], split), ("Transpose", [0, 2, 1, 3], there),
                 ("Transpose", [0, 2, 1, 3], split), ("Reshape", [0, 0, x.dims[2]], x.dims)]
        q = self.quantize(x)
        value, between = self.dequantize(q), random.random()
        if random.random() < 0.3:
            value = q
        for op, how, dims in steps:
            name = w.op(op, value.name, w.constant(how)) if op == "Reshape" else w.op(op, value.name, perm=how)
            value = Value(name, dims, value.low, value.high, value.exact, value.grid)
            if not value.grid and random.random() < between:
                value = self.pair(value, q.grid if random.random() < 0.8 else None)
            if value.grid and random.random() < 0.2:
                value = self.dequantize(value)
        return self.dequantize(value) if value.grid else value

    # ---- Rows ----

    def layer_norm(self, x):
        """Of x or of a sum, which the reference backend may have in double."""
        w, random = self.w, self.choices.random
        x = self.maybe(x)
        if random.random() < 0.6:
            x = self.maybe(self.add(x, self.maybe(random.choice(self.past))))
        if x.high - x.low > 1000:
            return x  # Beside a mask of -10000 rows are one number but for rounding, which a normalization shows.
        gamma, beta = self.vector(self.hidden, 1, 0.2), self.vector(self.hidden)
        if self.opset >= 17:
            y = w.op("LayerNormalization", x.name, gamma.name, beta.name, axis=-1, epsilon=1e-5)
            return self.maybe(x.but(y, -3.5, 3.5, exact=x.exact - {"reference"}))
        centered = w.op("Sub", x.name, w.reduce_mean(x.name))
        variance = w.reduce_mean(w.op("Pow", centered, w.scalar(2.0)))
        y = w.op("Div", centered, w.op("Sqrt", w.op("Add", variance, w.scalar(1e-5))))
        return self.maybe(x.but(w.op("Add", w.op("Mul", y, gamma.name), beta.name), -3.5, 3.5, exact=frozenset()))

    def softmax(self, x):
        if self.opset < 13:
            return x
        x = self.maybe(x)
        return self.maybe(x.but(self.w.op("Softmax", x.name, axis=-1), 0, min(1, 6 / self.hidden)))

    # ---- Products ----

    def weight(self, k, n):
        """A constant matrix of bytes, dequantized: with one scale, or one for each column."""
        w, random = self.w, self.choices.random
        values = (self.choices.numpy.standard_normal((k, n)) * 1.2 / math.sqrt(k)).astype(np.float32)
        dtype = random.choice([np.int8, np.int8, np.uint8])
        per_channel = self.opset >= 13 and not self.domain and random.random() < 0.4
        least, most = weight_range(dtype)
        scale = np.maximum(np.abs(values).max(axis=0 if per_channel else None) / ((most - least) // 2), 1e-4)
        scale = scale.astype(np.float32)
        zero = np.full(scale.shape, 128 if dtype == np.uint8 else random.choice([0, 0, 3]), dtype)
        integers = np.clip(np.rint(values / scale) + zero.astype(np.float64), least, most).astype(dtype)
        names = [w.weight("integers", integers), w.weight("weight_scale", scale)]
        if zero.any() or random.random() < 0.5 or self.domain:
            names.append(w.weight("weight_zero", zero))
        return w.op("DequantizeLinear", *names, domain=self.domain, **({"axis": 1} if per_channel else {}))

    def product(self, x, n):
        """x W + b, with a pair before the bias or without."""
        random = self.choices.random
        x = self.maybe(x)
        half = 1.2 * max(-x.low, x.high)
        y = Value(self.w.op("MatMul", x.name, self.weight(x.dims[-1], n)), [*x.dims[:-1], n], -half, half, frozenset())
        if random.random() < 0.8:
            y = self.add(self.maybe(y), self.vector(n))
        return self.maybe(y) if random.random() < 0.7 else y

    def linear(self, x):
        """One product, with a sum behind it or without, or two with an activation between."""
        random = self.choices.random
        if random.random() < 0.5:
            y = self.product(x, self.hidden)
            return self.maybe(self.add(y, random.choice(self.past))) if random.random() < 0.4 else y
        y = self.product(x, random.choice([self.hidden * 2, 13]))
        y = random.choice([self.gelu, self.step])(y) if random.random() < 0.7 else y
        return self.product(y, self.hidden)

    def attention(self, x):
        """Of one tensor in bytes, or of one for each of queries, keys and values, or of floats."""
        if x.high - x.low > 1000:
            return x  # Its scores would be greater than what a mask takes from them.
        w, size, pairs = self.w, self.hidden // self.heads, self.pairs
        if self.choices.random.random() < 0.7:
            x = self.pair(x)
        self.pairs = self.inside()

        def heads(perm):
            y = self.product(x, self.hidden)
            grid = self.grid(y)
            y = self.maybe(y, grid)
            dims = [*x.dims[:2], self.heads, size]
            y = self.maybe(y.but(w.op("Reshape", y.name, w.constant([0, 0, self.heads, size])), dims=dims), grid)
            return self.maybe(y.but(w.op("Transpose", y.name, perm=perm), dims=[dims[i] for i in perm]), grid)

        q, k, v = heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3])
        root = size ** 0.5
        half = 2 + root * 4
        scores = self.maybe(Value(w.op("MatMul", q.name, k.name), [*q.dims[:3], q.dims[2]], -half, half, frozenset()))
        scores = self.maybe(scores.but(w.op("Div", scores.name, w.scalar(root)), -half / root, half / root))
        scores = self.maybe(self.add(scores, self.mask(1, 2)))
        shares = self.maybe(scores.but(w.softmax(scores.name), 0, 1))
        y = self.maybe(v.but(w.op("MatMul", shares.name, v.name)))
        y = self.maybe(y.but(w.op("Transpose", y.name, perm=[0, 2, 1, 3]), dims=[*x.dims[:2], self.heads, size]))
        self.pairs = pairs
        y = self.maybe(y.but(w.op("Reshape", y.name, w.constant([0, 0, self.hidden])), dims=x.dims))
        return self.product(y, self.hidden)

    # ---- The graph ----

    def start(self):
        c, w, dims = self.choices, self.w, [self.batch, self.sequence, self.hidden]
        form = c.pick("start", ["ids", "ids", "floats", "bytes"])
        if form == "bytes":
            return self.input_bytes()
        if form == "floats":
            return Value(self.input("hidden", np.float32, dims), dims, -3, 3)
        self.input("input_ids", np.int64, dims[:2])
        values = c.numpy.standard_normal((self.vocabulary, self.hidden)).astype(np.float32)
        table = self.maybe(Value(w.weight("word", values), values.shape, -3, 3))
        return self.maybe(table.but(w.op("Gather", table.name, "input_ids"), dims=dims))

    def write(self):
        c = self.choices
        x = self.start()
        self.past.append(x)
        for number in range(c.pick("count", [1, 2, 3, 3, 4, 5, 6, 8])):
            x = getattr(self, c.pick(f"piece{number}", PIECES[self.kind]))(x)
            self.past.append(x)
        if c.chance("hidden_given", 0.5):
            self.give(self.quantize(x) if c.random.random() < 0.3 else x, "last")
        if not self.outputs or c.chance("place", 0.7):
            for _ in range(1 + c.chance("place_twice", 0.2)):
                self.take(x)

    def take(self, x):
        """[CLS] or another place, of bytes or of floats, and a pooler behind it or none."""
        random, w = self.choices.random, self.w
        at, keep = random.choice([0, 0, 0, -1]), random.random() < 0.3
        if self.fixed and random.random() < 0.5:
            at = random.randrange(self.fixed[1])
        value = self.quantize(x) if random.random() < 0.3 else x
        name = w.op("Gather", value.name, w.constant([at] if keep else at), axis=1)
        dims = [x.dims[0], 1, x.dims[2]] if keep else [x.dims[0], x.dims[2]]
        row = Value(name, dims, x.low, x.high, x.exact, value.grid)
        row = self.dequantize(row) if row.grid and random.random() < 0.8 else row
        if not row.grid and self.kind != "moves" and random.random() < 0.5:
            row = self.product(row, self.hidden)
            row = row.but(w.op("Tanh", row.name), -1, 1)
        if not row.grid and random.random() < 0.6:
            row = self.quantize(row) if random.random() < 0.3 else self.pair(row)
        self.give(row, "row")
