#!/usr/bin/env python3
"""Writes the dynamic INT8 file of a float32 model, as ONNX Runtime's own tools make it.

    quantize_dynamic.py MODEL.onnx OUT.onnx [--weights uint8|int8] [--per-channel] [--optimize]

--optimize lets ONNX Runtime fuse the graph first (Attention, EmbedLayerNormalization ... where it still knows the export), as
transformers.convert_graph_to_onnx --quantize did; its weights are uint8. Needs onnx and onnxruntime from PyPI.
"""
import argparse
import logging
import os
import tempfile

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic


def optimized(model, folder):
    """What an ONNX Runtime session makes of the graph at its extended level, saved."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return options.optimized_model_filepath


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--weights", choices=("uint8", "int8"), default="uint8")
    p.add_argument("--per-channel", action="store_true")
    p.add_argument("--optimize", action="store_true")
    arguments = p.parse_args()
    logging.disable(logging.WARNING)  # advice to preprocess, which is what --optimize does
    with tempfile.TemporaryDirectory() as folder:
        source = optimized(arguments.model, folder) if arguments.optimize else arguments.model
        # Types after operators of com.microsoft are beyond shape inference of the onnx package.
        quantize_dynamic(onnx.load(source), arguments.out, per_channel=arguments.per_channel,
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
                         weight_type=QuantType.QUInt8 if arguments.weights == "uint8" else QuantType.QInt8)


if __name__ == "__main__":
    main()
