"""The spellings of attention: each writes a layer's context [batch, sequence, hidden] and says what it means."""

import math

import numpy as np

import random_graphs_exact as exact
from random_graphs_linear import quantized_weight
from random_graphs_write import FLOAT_MIN, f32


class Attentions:
    """A part of RandomBert. Each attention_* returns the context, the three projections, and the scale of the scores."""

    # ---- Projections ----

    def project(self, x, name, apart=False):
        """Q, K and V [batch, sequence, hidden]: three Linears, or one that is split; with `apart` maybe into heads."""
        if apart and self.choices.chance(f"{name}.apart", 0.4 if self.rotary else 0.05):
            return self.project_apart(x, name)
        if self.choices.chance(f"{name}.split", 0.15):
            return self.project_split(x, name)
        written = [self.linear(x, f"{name}.{part}", self.hidden, self.hidden) for part in "qkv"]
        return [y for y, _ in written], [affine for _, affine in written]

    def project_split(self, x, name):
        w, h = self.w, self.hidden
        y, affine = self.linear(x, f"{name}.qkv", h, 3 * h)
        if self.opset >= 18 and self.choices.chance(f"{name}.num_outputs", 0.5):
            parts = w.ops("Split", [y], 3, axis=2, num_outputs=3)
        elif self.opset >= 13:
            parts = w.ops("Split", [y, w.constant([h, h, h])], 3, axis=2)
        else:
            parts = w.ops("Split", [y], 3, axis=2, split=[h, h, h])
        weights, biases = np.split(affine.weight, 3, axis=1), np.split(affine.bias, 3)
        return parts, [exact.Affine(weight, bias) for weight, bias in zip(weights, biases)]

    def project_apart(self, x, name):
        """Q, K and V [batch, sequence, heads, head], cut from one tensor of five dimensions, as ModernBERT has them."""
        w, h = self.w, self.hidden
        y, affine = self.linear(x, f"{name}.qkv", h, 3 * h)
        qkv = w.op("Reshape", y, w.constant([0, 0, 3, self.heads, self.head_size]))
        if self.choices.chance(f"{name}.gathered", 0.3):
            parts = [w.op("Gather", qkv, w.constant(part), axis=2) for part in range(3)]
        else:
            parts = [w.squeeze(w.slice(qkv, part, part + 1, 2), 2) for part in range(3)]
        self.apart.update(parts)
        weights, biases = np.split(affine.weight, 3, axis=1), np.split(affine.bias, 3)
        return parts, [exact.Affine(weight, bias) for weight, bias in zip(weights, biases)]

    def heads_of(self, x, perm, shape):
        """[batch, heads, sequence, head] or so by `perm`; `shape`: how the target is spelled."""
        w = self.w
        if x in self.apart:
            return x if perm == [0, 1, 2, 3] else w.op("Transpose", x, perm=perm)
        if shape == "zeros":
            target = w.constant([0, 0, self.heads, self.head_size])
        elif shape == "minus":
            target = w.constant([0, -1, self.heads, self.head_size])
        else:
            target = w.shape(x, "0", "1", self.heads, self.head_size)
        heads = w.op("Reshape", x, target)
        return heads if perm == [0, 1, 2, 3] else w.op("Transpose", heads, perm=perm)

    def rotated(self, parts, name, shape):
        """Heads [batch, heads, sequence, head] of the three, queries and keys rotated by their positions."""
        return self.rotary.write(name, *parts, lambda x, perm: self.heads_of(x, perm, shape))

    def all_heads(self, parts, name, shape, key_twice):
        """Heads of queries and values [batch, heads, sequence, head], and of keys [batch, heads, head, sequence]."""
        if self.rotary:
            q, k, v = self.rotated(parts, name, shape)
        else:
            perms = [[0, 2, 1, 3], [0, 2, 1, 3] if key_twice else [0, 2, 3, 1], [0, 2, 1, 3]]
            q, k, v = [self.heads_of(x, perm, shape) for x, perm in zip(parts, perms)]
        return q, self.columns(k, name) if self.rotary or key_twice else k, v

    def columns(self, k, name):
        """[batch, heads, sequence, head] as [batch, heads, head, sequence]."""
        w, size = self.w, self.head_size
        if not self.choices.chance(f"{name}.key_in_three", 0.15):
            return w.op("Transpose", k, perm=[0, 1, 3, 2])
        rows = w.op("Reshape", k, w.shape(k, -1, "2", size))  # As PyTorch 2 has it: batch and heads are one dimension.
        return w.op("Reshape", w.op("Transpose", rows, perm=[0, 2, 1]), w.shape(k, "0", self.heads, size, "2"))

    def joined(self, context, shape):
        """[batch, heads, sequence, head] back to [batch, sequence, hidden]."""
        w = self.w
        back = w.op("Transpose", context, perm=[0, 2, 1, 3])
        if shape == "computed":
            return w.op("Reshape", back, w.shape(back, "0", "1", self.hidden))
        return w.op("Reshape", back, w.constant([0, 0, self.hidden]))

    def biased(self, scores, name):
        """The scores with the mask's tensor added."""
        if not self.mask.value:
            return scores
        if self.choices.chance(f"{name}.mask_first", 0.2):
            return self.w.op("Add", self.mask.value, scores)
        return self.w.op("Add", scores, self.mask.value)

    # ---- As exporters write it ----

    def attention_old(self, x, name):
        """PyTorch 1 and BERT's own code: scores divided by the root of the head size."""
        w, c = self.w, self.choices
        parts, affines = self.project(x, name, apart=True)
        shape = c.pick(f"{name}.shape", ["computed", "computed", "zeros", "minus"])
        q, k, v = self.all_heads(parts, name, shape, c.chance(f"{name}.key_twice", 0.3))
        root, where = math.sqrt(self.head_size), c.pick(f"{name}.scale", ["div", "div", "mul", "q_div", "q_mul", "fused"])
        scale = 1 / f32(root) if where in ("div", "q_div") else f32(1 / root)
        if where == "q_div":
            q = w.op("Div", q, w.scalar(root))
        elif where == "q_mul":
            q = w.op("Mul", q, w.scalar(1 / root))
        if where == "fused":
            scores = w.ms("FusedMatMul", q, k, alpha=1 / root)
        else:
            scores = w.op("MatMul", q, k)
        if where == "div":
            scores = w.op("Div", scores, w.scalar(root))
        elif where == "mul":
            scores = w.op("Mul", scores, w.scalar(1 / root))
        weights = w.softmax(self.biased(scores, name))
        context = w.op("MatMul", weights, v)
        return self.joined(context, shape), affines, scale

    def attention_distil(self, x, name):
        """DistilBERT: Q divided first, masked scores replaced."""
        w = self.w
        parts, affines = self.project(x, name, apart=True)
        shape = self.choices.pick(f"{name}.shape", ["computed", "zeros"])
        root = math.sqrt(self.head_size)
        q, k, v = self.all_heads(parts, name, shape, False)
        scores = w.op("MatMul", w.op("Div", q, w.scalar(root)), k)
        if self.mask.form != "none":
            scores = self.mask.drop(scores, q)
        context = w.op("MatMul", w.softmax(scores), v)
        return self.joined(context, shape), affines, 1 / f32(root)

    def attention_sdpa(self, x, name):
        """PyTorch 2's scaled_dot_product_attention: the root of the scale on both sides, and a guard against NaN."""
        w, c = self.w, self.choices
        parts, affines = self.project(x, name, apart=True)
        shape = c.pick(f"{name}.shape", ["computed", "zeros", "minus"])
        q, k, v = self.all_heads(parts, name, shape, True)
        root = f32(math.sqrt(1 / math.sqrt(self.head_size)))
        scores = w.op("MatMul", w.op("Mul", q, w.scalar(root)), w.op("Mul", k, w.scalar(root)))
        weights = w.softmax(self.biased(scores, name))
        if self.recipe.layers:
            guard = self.recipe.nan_is_zero  # One model, one exporter.
        else:
            guard = self.recipe.nan_is_zero = c.chance("nan_guard", 0.6)
        if guard:
            weights = w.op("Where", w.op("IsNaN", weights), w.scalar(0.0), weights)
        context = w.op("MatMul", weights, v)
        return self.joined(context, shape), affines, root * root

    def attention_einsum(self, x, name):
        """torch.einsum: no transposition is written; a head's key may come before its query."""
        w, c = self.w, self.choices
        parts, affines = self.project(x, name)
        shape, root = w.constant([0, 0, self.heads, self.head_size]), math.sqrt(self.head_size)
        q, k, v = (w.op("Reshape", part, shape) for part in parts)
        if c.chance(f"{name}.key_first", 0.3):
            scores = w.op("Einsum", k, q, equation="bkhd,bqhd->bhqk")
        else:
            scores = w.op("Einsum", q, k, equation="bqhd, bkhd -> bhqk")
        weights = w.softmax(self.biased(w.op("Div", scores, w.scalar(root)), name))
        context = w.op("Einsum", weights, v, equation="bhqk,bkhd->bqhd")
        return w.op("Reshape", context, w.constant([0, 0, self.hidden])), affines, 1 / f32(root)

    # ---- Fused ----

    def packed(self):
        """Weights [hidden, 3 hidden] and bias of the three projections, and what they mean."""
        weight, bias = self.matrix(self.hidden, 3 * self.hidden)
        affines = [exact.Affine(w.astype(np.float64), b.astype(np.float64))
                   for w, b in zip(np.split(weight, 3, axis=1), np.split(bias, 3))]
        return weight, bias, affines

    def fused_attributes(self, name):
        """Attributes of com.microsoft's operators, and the scale that they mean."""
        c, attributes = self.choices, {"num_heads": self.heads}
        filter_value = c.pick("mask_filter_value", [None, FLOAT_MIN])
        if self.recipe.layers:
            filter_value = None if self.filter_value == -10000.0 else FLOAT_MIN
        elif filter_value is not None:
            self.filter_value = f32(filter_value)
        if filter_value is not None:
            attributes["mask_filter_value"] = filter_value
        scale = 1 / math.sqrt(self.head_size)
        if c.chance(f"{name}.scale_given", 0.3):
            scale = attributes["scale"] = f32(scale * 1.25)
        return attributes, scale

    def fused_masks(self):
        """The mask that a fused operator takes, and the bias: names, "" where there is none."""
        if not self.mask.value:
            return "", ""
        return (self.mask.value, "") if self.mask.fused else ("", self.four_dimensions(self.mask.value))

    def four_dimensions(self, bias):
        """A bias of full length in every dimension but batch and heads, as the operators want it."""
        w = self.w
        if self.mask.form in ("three", "expanded") or self.mask.related:
            return bias
        rows, columns = w.dimension("input_ids", 1), w.dimension("input_ids", 1)
        shape = w.op("Concat", w.constant([1, 1]), w.unsqueeze(rows, 0), w.unsqueeze(columns, 0), axis=0)
        return w.op("Expand", bias, shape)

    def attention_ms(self, x, name):
        w = self.w
        weight, bias, affines = self.packed()
        attributes, scale = self.fused_attributes(name)
        mask, score_bias = self.fused_masks()
        # With padding on the left the first queries attend to nothing, which the mask leaves out for float16.
        if self.choices.chance(f"{name}.unidirectional", 0.1) and self.kind != "half":
            attributes["unidirectional"] = 1
            self.comparable = False
        y = w.ms("Attention", x, w.weight("qkv", weight), w.weight("qkv_bias", bias), mask, "", score_bias, **attributes)
        return y, affines, scale

    def attention_mha(self, x, name):
        w, c = self.w, self.choices
        attributes, scale = self.fused_attributes(name)
        mask, score_bias = self.fused_masks()
        if self.rotary:
            parts, affines = self.project(x, name)
            parts = [self.joined(heads, "zeros") for heads in self.rotated(parts, name, "zeros")]
            return w.ms("MultiHeadAttention", *parts, "", mask, score_bias, **attributes), affines, scale
        if c.chance(f"{name}.packed", 0.2):
            return self.packed_mha(x, mask, score_bias, attributes, scale)
        if c.chance(f"{name}.bias_inside", 0.5):
            weight, bias, affines = self.packed()
            parts = [w.op("MatMul", x, w.weight("weight", part)) for part in np.split(weight, 3, axis=1)]
            inside = w.weight("qkv_bias", bias)
        else:
            parts, affines = self.project(x, name)
            inside = ""
        return w.ms("MultiHeadAttention", *parts, inside, mask, score_bias, **attributes), affines, scale

    def packed_mha(self, x, mask, score_bias, attributes, scale):
        """Query, key and value in one tensor [batch, sequence, heads, 3, head]."""
        w, shape = self.w, (self.hidden, 3, self.heads, self.head_size)
        weight, bias, affines = self.packed()
        packed = weight.reshape(shape).transpose(0, 2, 1, 3).reshape(self.hidden, -1)
        packed_bias = bias.reshape(shape[1:]).transpose(1, 0, 2).reshape(-1)
        product = w.op("Add", w.op("MatMul", x, w.weight("weight", packed)), w.weight("bias", packed_bias))
        qkv = w.op("Reshape", product, w.constant([0, 0, self.heads, 3, self.head_size]))
        return w.ms("MultiHeadAttention", qkv, "", "", "", mask, score_bias, **attributes), affines, scale

    def attention_q(self, x, name):
        """QAttention: the projection in integers."""
        w, c = self.w, self.choices
        weight, bias, affines = self.packed()
        attributes, scale = self.fused_attributes(name)
        mask, _ = self.fused_masks()
        dtype = c.pick(f"{name}.dtype", [np.uint8, np.int8])
        per_channel = c.chance(f"{name}.per_channel", 0.3)
        integers, weight_scale, zero = quantized_weight(c, weight, dtype, per_channel, dtype == np.int8)
        q, x_scale, x_zero = w.quantize_dynamic(x, c.chance(f"{name}.shared", 0.6))
        y = w.ms("QAttention", q, w.weight("integers", integers), w.weight("qkv_bias", bias), x_scale,
                 w.weight("scale", weight_scale), mask, x_zero, w.weight("zero_point", zero), **attributes)
        return y, affines, scale

    def attention_onnx(self, x, name):
        """ai.onnx's Attention, on tensors of three or four dimensions."""
        w, c = self.w, self.choices
        parts, affines = self.project(x, name)
        scale, attributes = 1 / math.sqrt(self.head_size), {}
        if c.chance(f"{name}.scale_given", 0.3):
            scale = attributes["scale"] = f32(scale * 1.25)
        mask = "" if self.mask.form == "none" else self.four_dimensions(self.mask.value)
        heads = self.rotated(parts, name, "zeros") if self.rotary else None
        if c.chance(f"{name}.three_dimensions", 0.4):
            parts = [self.joined(part, "zeros") for part in heads] if heads else parts
            return w.op("Attention", *parts, mask, q_num_heads=self.heads, kv_num_heads=self.heads, **attributes), affines, scale
        heads = heads or [self.heads_of(part, [0, 2, 1, 3], "zeros") for part in parts]
        return self.joined(w.op("Attention", *heads, mask, **attributes), "zeros"), affines, scale
