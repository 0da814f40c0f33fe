#!/usr/bin/env python3
"""Keeps of exported models what passes look at: the graph, its small constants, its quantized forms.

    export_graphs.py CASES OUT

CASES holds folders with a model.onnx each. OUT gets NAME.onnx for each, and one weights.bin, where all large weights
lie (as external data): numbers of the weights' type and about their size, the same for all models. So the graphs are as
the exporters wrote them, the numbers that they compute are others, and 88 of them take the room of a few.
"""
import argparse
import pathlib

import numpy
import onnx

# Numbers of a weight of this type: how many bytes of them there are, and what they look like.
REGIONS = {
    onnx.TensorProto.FLOAT: (98304, lambda r, n: r.normal(0, 0.05, n // 4).astype('<f4')),
    onnx.TensorProto.FLOAT16: (24576, lambda r, n: r.normal(0, 0.05, n // 2).astype('<f2')),
    onnx.TensorProto.INT8: (16384, lambda r, n: r.normal(0, 40, n).clip(-127, 127).astype('i1')),
    onnx.TensorProto.UINT8: (16384, lambda r, n: r.normal(128, 40, n).clip(0, 255).astype('u1')),
}
LARGE = 1024  # bytes
STEP = 512    # from where one weight begins to where the next does


class Weights:
    """The file that all models share."""

    def __init__(self):
        random = numpy.random.default_rng(1)
        self.data, self.starts = b'', {}
        for dtype, (size, make) in REGIONS.items():
            self.starts[dtype] = len(self.data)
            self.data += make(random, size).tobytes()

    def place(self, tensor, number):
        """Where the `number`th weight of a model lies; None when it stays in the model."""
        size = onnx.numpy_helper.to_array(tensor).nbytes
        if size <= LARGE or tensor.data_type not in REGIONS:
            return None
        room = REGIONS[tensor.data_type][0] - size
        if room < 0:
            raise ValueError(f'{tensor.name} has {size} bytes')
        return self.starts[tensor.data_type] + (number * STEP) % (room + 1), size


def strip(model, weights):
    def forget(message):
        message.doc_string = ''
        if hasattr(message, 'metadata_props'):
            del message.metadata_props[:]

    graph = model.graph
    for message in [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        forget(message)
    for number, tensor in enumerate(graph.initializer):
        place = weights.place(tensor, number)
        if not place:
            continue
        for field in ('raw_data', 'float_data', 'int32_data'):
            tensor.ClearField(field)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (('location', 'weights.bin'), ('offset', place[0]), ('length', place[1])):
            tensor.external_data.add(key=key, value=str(value))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cases', type=pathlib.Path)
    parser.add_argument('out', type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = Weights()
    for path in sorted(arguments.cases.glob('*/model.onnx')):
        model = onnx.load(path)
        strip(model, weights)
        (arguments.out / f'{path.parent.name}.onnx').write_bytes(model.SerializeToString(deterministic=True))
    (arguments.out / 'weights.bin').write_bytes(weights.data)


if __name__ == '__main__':
    main()
