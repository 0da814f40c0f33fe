"""Writes ONNX graphs node by node, each operator in the form that it has at the graph's opset."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
FLOAT_MIN = float(np.finfo(np.float32).min)


def f32(value):
    """What a float32 constant holds, as a double."""
    return float(np.float32(value))


class GraphWriter:
    """Collects nodes, initializers, inputs and outputs. Methods that add an operator return its output's name."""

    def __init__(self, opset):
        self.opset = opset
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []
        self.count = 0
        self.constants_as_nodes = False
        self.shape_cuts = False  # Shape with start and end, from opset 15 on.
        self.quantized = {}

    def name(self, stem):
        self.count += 1
        return f"{stem}_{self.count}"

    def ops(self, op_type, inputs, outputs, domain="", **attributes):
        """A node with several outputs: `outputs` says how many, or lists True where one is wanted ("" where not)."""
        wanted = [True] * outputs if isinstance(outputs, int) else outputs
        name = self.name(op_type)
        results = [f"{name}_output_{i}" if wanted[i] else "" for i in range(len(wanted))]
        inputs = list(inputs)
        while inputs and not inputs[-1]:
            inputs.pop()
        self.nodes.append(helper.make_node(op_type, inputs, results, name=name, domain=domain, **attributes))
        return results

    def op(self, op_type, *inputs, domain="", **attributes):
        return self.ops(op_type, inputs, 1, domain, **attributes)[0]

    def ms(self, op_type, *inputs, **attributes):
        return self.op(op_type, *inputs, domain=MICROSOFT, **attributes)

    def weight(self, stem, values):
        name = self.name(stem)
        self.initializers.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def constant(self, values, dtype=np.int64):
        """A small constant: an initializer, or a Constant node where the exporter writes those."""
        values = np.array(values, dtype)
        if self.constants_as_nodes:
            return self.op("Constant", value=numpy_helper.from_array(values))
        return self.weight("constant", values)

    def scalar(self, value):
        return self.constant(value, np.float32)

    def graph_input(self, name, dtype, shape):
        self.inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape))
        return name

    def graph_output(self, name, value, shape, dtype=TensorProto.FLOAT):
        """Makes a value an output, called `name`: by an Identity, so that the value may have other readers."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=self.name("Identity")))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    # ---- Operators whose form changed ----

    def cast(self, x, to):
        return self.op("Cast", x, to=to)

    def unsqueeze(self, x, *axes):
        if self.opset >= 13:
            return self.op("Unsqueeze", x, self.constant(list(axes)))
        return self.op("Unsqueeze", x, axes=list(axes))

    def squeeze(self, x, *axes):
        if self.opset >= 13:
            return self.op("Squeeze", x, self.constant(list(axes)))
        return self.op("Squeeze", x, axes=list(axes))

    def reduce_mean(self, x):
        """Over the last dimension, which stays as 1."""
        if self.opset >= 18:
            return self.op("ReduceMean", x, self.constant([-1]), keepdims=1)
        return self.op("ReduceMean", x, axes=[-1] if self.opset >= 11 else [2], keepdims=1)

    def reduce_sum(self, x, axis, keepdims=0):
        if self.opset >= 13:
            return self.op("ReduceSum", x, self.constant([axis]), keepdims=keepdims)
        return self.op("ReduceSum", x, axes=[axis], keepdims=keepdims)

    def slice(self, x, start, end, axis):
        """`start` and `end` are numbers, or names of tensors [1]."""
        if self.opset >= 10:
            start, end = [at if isinstance(at, str) else self.constant([at]) for at in (start, end)]
            return self.op("Slice", x, start, end, self.constant([axis]))
        return self.op("Slice", x, starts=[start], ends=[end], axes=[axis])

    def dimension(self, x, index):
        """A dimension of a tensor as a scalar."""
        return self.op("Gather", self.op("Shape", x), self.constant(index), axis=0)

    def shape(self, x, *parts):
        """A shape tensor: a string part is the letter of a dimension of x ("0", "1"), a number is itself."""
        pieces = [self.length(x, int(part)) if isinstance(part, str) else self.constant([part]) for part in parts]
        return self.op("Concat", *pieces, axis=0)

    def length(self, x, index):
        """A dimension of a tensor as a tensor of one element."""
        if self.shape_cuts and self.opset >= 15:
            return self.op("Shape", x, start=index, end=index + 1)
        return self.unsqueeze(self.dimension(x, index), 0)

    def quantize_dynamic(self, x, shared):
        """Integers, scale and zero point of x; `shared`: of one DynamicQuantizeLinear for all that read x."""
        if not shared or x not in self.quantized:
            self.quantized[x] = self.ops("DynamicQuantizeLinear", [x], 3)
        return self.quantized[x]

    def softmax(self, x):
        """Over the last of four dimensions."""
        return self.op("Softmax", x, axis=-1 if self.opset >= 11 else 3)

    def model(self):
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        version = 10 if self.opset >= 20 else 8
        return helper.make_model(graph, producer_name="random_graphs", opset_imports=imports, ir_version=version)



def halved(model):
    """The model with every float32 weight, constant, Cast and output as float16; what is beyond float16 is its greatest."""
    changed = onnx.load_model_from_string(model)

    def convert(tensor):
        if tensor.data_type == TensorProto.FLOAT:
            values = np.clip(numpy_helper.to_array(tensor), -65504, 65504).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    for tensor in changed.graph.initializer:
        convert(tensor)
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                convert(attribute.t)
            elif attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    for entry in [*changed.graph.input, *changed.graph.output]:
        if entry.type.tensor_type.elem_type == TensorProto.FLOAT:
            entry.type.tensor_type.elem_type = TensorProto.FLOAT16
    return changed.SerializeToString()
