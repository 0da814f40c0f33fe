#!/usr/bin/env python3
"""Writes a BERT classifier of any size with random weights, as a PyTorch export of transformers' BertForSequenceClassification
looks: plain ONNX ops, float32 weights in raw_data.

    make_bert.py OUT.onnx [--layers 12] [--hidden 768] [--heads 12] [--intermediate 3072] [--vocabulary 21128] ...
                          [--token-outputs]      # last_hidden_state [batch, sequence, hidden] is an output too

Needs onnx and numpy from PyPI. The defaults are BERT-base with the Chinese vocabulary: 390 MiB.
"""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Export:
    """Collects nodes and initializers; names are made as an exporter makes them."""

    def __init__(self, arguments):
        self.a = arguments
        self.random = np.random.default_rng(arguments.seed)
        self.nodes, self.initializers = [], []

    def op(self, op_type, *inputs, **attributes):
        name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name + "_output_0"], name=name, **attributes))
        return name + "_output_0"

    def constant(self, value, dtype=np.int64):
        return self.op("Constant", value=numpy_helper.from_array(np.array(value, dtype)))

    def weight(self, name, *shape, scale=0.02, mean=0.0):
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale) + np.float32(mean)
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def linear(self, x, name, k, n):
        product = self.op("MatMul", x, self.weight(f"onnx::MatMul_{name}", k, n))
        return self.op("Add", self.weight(f"{name}.bias", n), product)

    def unsqueeze(self, x, axis):
        if self.a.opset >= 13:
            return self.op("Unsqueeze", x, self.constant([axis]))
        return self.op("Unsqueeze", x, axes=[axis])

    def layer_norm(self, x, name):
        gamma = self.weight(f"{name}.weight", self.a.hidden, mean=1.0)
        beta = self.weight(f"{name}.bias", self.a.hidden)
        if self.a.opset >= 17:
            return self.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-12)
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        variance = self.op("ReduceMean", self.op("Pow", centred, self.constant(2.0, np.float32)), axes=[-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(1e-12, np.float32)))
        return self.op("Add", self.op("Mul", self.op("Div", centred, deviation), gamma), beta)

    def dimension(self, x, index):
        return self.op("Gather", self.op("Shape", x), self.constant(index), axis=0)

    def shape(self, x, *rest):
        parts = [self.unsqueeze(self.dimension(x, 0), 0), self.unsqueeze(self.dimension(x, 1), 0)]
        return self.op("Concat", *parts, *[self.constant([r]) for r in rest], axis=0)

    def heads(self, x, perm):
        size = self.a.hidden // self.a.heads
        return self.op("Transpose", self.op("Reshape", x, self.shape(x, self.a.heads, size)), perm=perm)

    def attention(self, x, mask, name):
        h = self.a.hidden
        q = self.linear(x, f"{name}.self.query", h, h)
        k = self.linear(x, f"{name}.self.key", h, h)
        v = self.linear(x, f"{name}.self.value", h, h)
        scores = self.op("MatMul", self.heads(q, [0, 2, 1, 3]), self.heads(k, [0, 2, 3, 1]))
        scores = self.op("Div", scores, self.constant(np.sqrt(h // self.a.heads), np.float32))
        probabilities = self.op("Softmax", self.op("Add", scores, mask), axis=3)
        context = self.op("Transpose", self.op("MatMul", probabilities, self.heads(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        context = self.op("Reshape", context, self.shape(context, h))
        return self.layer_norm(self.op("Add", self.linear(context, f"{name}.output.dense", h, h), x),
                               f"{name}.output.LayerNorm")

    def feed_forward(self, x, name):
        h, i = self.a.hidden, self.a.intermediate
        y = self.linear(x, f"{name}.intermediate.dense", h, i)
        erf = self.op("Erf", self.op("Div", y, self.constant(np.sqrt(2.0), np.float32)))
        y = self.op("Mul", y, self.op("Add", erf, self.constant(1.0, np.float32)))
        y = self.op("Mul", y, self.constant(0.5, np.float32))
        return self.layer_norm(self.op("Add", self.linear(y, f"{name}.output.dense", i, h), x), f"{name}.output.LayerNorm")

    def embeddings(self):
        h, prefix = self.a.hidden, "bert.embeddings"
        positions = np.arange(self.a.positions, dtype=np.int64)[None]
        self.initializers.append(numpy_helper.from_array(positions, f"{prefix}.position_ids"))
        end = self.unsqueeze(self.dimension("input_ids", 1), 0)
        ids = self.op("Slice", f"{prefix}.position_ids", self.constant([0]), end, self.constant([1]), self.constant([1]))
        words = self.op("Gather", self.weight(f"{prefix}.word_embeddings.weight", self.a.vocabulary, h), "input_ids")
        types = self.op("Gather", self.weight(f"{prefix}.token_type_embeddings.weight", 2, h), "token_type_ids")
        places = self.op("Gather", self.weight(f"{prefix}.position_embeddings.weight", self.a.positions, h), ids)
        return self.layer_norm(self.op("Add", self.op("Add", words, types), places), f"{prefix}.LayerNorm")

    def model(self):
        a = self.a
        mask = self.op("Cast", self.unsqueeze(self.unsqueeze("attention_mask", 1), 2), to=TensorProto.FLOAT)
        mask = self.op("Sub", self.constant(1.0, np.float32), mask)
        mask = self.op("Mul", mask, self.constant(np.finfo(np.float32).min, np.float32))
        x = self.embeddings()
        for layer in range(a.layers):
            prefix = f"bert.encoder.layer.{layer}"
            x = self.feed_forward(self.attention(x, mask, f"{prefix}.attention"), prefix)
        first = self.op("Gather", x, self.constant(0), axis=1)
        dense = self.op("Gemm", first, self.weight("bert.pooler.dense.weight", a.hidden, a.hidden),
                        self.weight("bert.pooler.dense.bias", a.hidden), transB=1)
        logits = self.op("Gemm", self.op("Tanh", dense), self.weight("classifier.weight", a.labels, a.hidden),
                         self.weight("classifier.bias", a.labels), transB=1)
        self.nodes[-1].output[0] = "logits"
        assert logits != "logits"
        names = ["input_ids", "attention_mask", "token_type_ids"]
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"]) for n in names]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", a.labels])]
        if a.token_outputs:
            self.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
            outputs.append(helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", a.hidden]))
        graph = helper.make_graph(self.nodes, "main_graph", inputs, outputs, self.initializers)
        opset = helper.make_opsetid("", a.opset)
        return helper.make_model(graph, producer_name="make_bert.py", opset_imports=[opset], ir_version=8)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    for name, default in (("layers", 12), ("hidden", 768), ("heads", 12), ("intermediate", 3072), ("vocabulary", 21128),
                          ("positions", 512), ("labels", 2), ("opset", 17), ("seed", 0)):
        p.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default {default}")
    p.add_argument("--token-outputs", action="store_true", help="the last hidden state is an output too")
    onnx.save(Export(p.parse_args()).model(), p.parse_args().out)


if __name__ == "__main__":
    main()
