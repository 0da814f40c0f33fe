"""The spellings of x W + b: as exporters write it, as ONNX Runtime fuses it, and quantized."""

import functools
import pathlib

import numpy as np
from onnx import TensorProto

FLOAT_SPELLINGS = ["matmul_add", "matmul_add", "add_matmul", "add_matmul", "gemm", "gemm_transposed", "transposed",
                   "fused_matmul", "fused_matmul_alpha", "float16"]
WEIGHT_SPELLINGS = ["dequantize", "dequantize", "cast_mul"]
DYNAMIC_SPELLINGS = ["integer", "integer", "ms_dynamic", "ms_integer_to_float"]
STATIC_SPELLINGS = ["qdq"]


@functools.cache
def int8_weights_saturate():
    """Whether ONNX Runtime adds up products with int8 weights in 16 bits here, as it does on x86 without VNNI. Its
    documentation's way round is 7 bits."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx2" in flags and not {"avx_vnni", "avx512_vnni"} & set(flags)


def weight_range(dtype):
    """Least and greatest integer of a weight: all of the type's, but where 8 bits saturate 7."""
    if dtype == np.int8 and int8_weights_saturate():
        return -64, 63
    return np.iinfo(dtype).min, np.iinfo(dtype).max


def quantized_weight(choices, weight, dtype, per_channel, symmetric):
    """Integers, scale and zero point of a weight [K, N]; scale and zero point are scalars, or [N] per channel."""
    axis = 0 if per_channel else None
    low, high = np.minimum(weight.min(axis=axis), 0), np.maximum(weight.max(axis=axis), 0)
    least, most = weight_range(dtype)
    if dtype == np.int8 and symmetric:
        scale = np.maximum(np.maximum(-low, high) / most, 1e-6).astype(np.float32)
        zero = np.zeros_like(scale, dtype)
    else:
        scale = np.maximum((high - low) / (most - least), 1e-6).astype(np.float32)
        zero = np.clip(np.rint(least - low / scale), least, most).astype(dtype)
    integers = np.clip(np.rint(weight / scale) + zero.astype(np.float64), least, most).astype(dtype)
    return integers, scale, zero


class Linear:
    """Writes one Linear; `exact_weight` is what the graph's weight is in double."""

    def __init__(self, writer, choices, name, kinds):
        self.w, self.choices, self.name = writer, choices, name
        self.spelling = choices.pick(f"{name}.spelling", kinds)
        self.exact_weight = None

    def add_bias(self, product, bias):
        if self.choices.chance(f"{self.name}.bias_first", 0.5):
            return self.w.op("Add", bias, product)
        return self.w.op("Add", product, bias)

    def quantize(self, weight):
        """Names of integers, scale and zero point ("" where absent); sets exact_weight."""
        w, choices = self.w, self.choices
        dtype = choices.pick(f"{self.name}.dtype", [np.uint8, np.int8])
        channel = self.spelling not in ("dequantize", "qdq") or w.opset >= 13
        per_channel = channel and choices.chance(f"{self.name}.per_channel", 0.4)
        symmetric = dtype == np.int8 and choices.chance(f"{self.name}.symmetric", 0.5)
        integers, scale, zero = quantized_weight(choices, weight, dtype, per_channel, symmetric)
        self.exact_weight = (integers.astype(np.float64) - zero) * scale.astype(np.float64)
        names = w.weight("integers", integers), w.weight("scale", scale)
        keep_zero = dtype == np.uint8 or not symmetric or choices.chance(f"{self.name}.zero", 0.5)
        return (*names, w.weight("zero_point", zero) if keep_zero else "")

    def write(self, x, weight, bias):
        """`weight` [K, N] and `bias` [N] are float32 arrays; returns the product with the bias added."""
        self.exact_weight = weight.astype(np.float64)
        return getattr(self, self.spelling)(x, weight, self.w.weight("bias", bias))

    def product(self, x, weight):
        """A plain product whose bias someone else adds."""
        self.exact_weight = weight.astype(np.float64)
        return self.w.op("MatMul", x, self.w.weight("weight", weight))

    # ---- As exporters write it ----

    def matmul_add(self, x, weight, bias):
        return self.w.op("Add", self.w.op("MatMul", x, self.w.weight("weight", weight)), bias)

    def add_matmul(self, x, weight, bias):
        return self.w.op("Add", bias, self.w.op("MatMul", x, self.w.weight("weight", weight)))

    def gemm(self, x, weight, bias, transposed=0):
        w = self.w
        shape = w.shape(x, "0", "1", weight.shape[1])
        flat = w.op("Reshape", x, w.constant([-1, weight.shape[0]]))
        matrix = w.weight("weight", weight.T if transposed else weight)
        return w.op("Reshape", w.op("Gemm", flat, matrix, bias, transB=transposed), shape)

    def gemm_transposed(self, x, weight, bias):
        return self.gemm(x, weight, bias, 1)

    def transposed(self, x, weight, bias):
        matrix = self.w.op("Transpose", self.w.weight("weight", weight.T), perm=[1, 0])
        return self.add_bias(self.w.op("MatMul", x, matrix), bias)

    def fused_matmul(self, x, weight, bias):
        return self.add_bias(self.w.ms("FusedMatMul", x, self.w.weight("weight", weight.T), transB=1), bias)

    def fused_matmul_alpha(self, x, weight, bias):
        return self.add_bias(self.w.ms("FusedMatMul", x, self.w.weight("weight", weight * 4), alpha=0.25), bias)

    def float16(self, x, weight, bias):
        half = weight.astype(np.float16)
        self.exact_weight = half.astype(np.float64)
        return self.add_bias(self.w.op("MatMul", x, self.w.cast(self.w.weight("half", half), TensorProto.FLOAT)), bias)

    # ---- Weights of 8 bits, x as it is ----

    def dequantize(self, x, weight, bias):
        integers, scale, zero = self.quantize(weight)
        axis = {"axis": 1} if self.w.opset >= 13 else {}
        return self.add_bias(self.w.op("MatMul", x, self.w.op("DequantizeLinear", integers, scale, zero, **axis)), bias)

    def cast_mul(self, x, weight, bias):
        w = self.w
        integers, scale, zero = quantized_weight(self.choices, weight, np.int8, False, True)
        self.exact_weight = integers.astype(np.float64) * float(scale)
        scaled = w.op("Mul", w.cast(w.weight("integers", integers), TensorProto.FLOAT), w.weight("scale", scale))
        return self.add_bias(w.op("MatMul", x, scaled), bias)

    # ---- x quantized as it comes ----

    def integer(self, x, weight, bias):
        w = self.w
        integers, scale, zero = self.quantize(weight)
        q, x_scale, x_zero = w.quantize_dynamic(x, self.choices.chance(f"{self.name}.shared", 0.6))
        sums = w.cast(w.op("MatMulInteger", q, integers, x_zero, zero), TensorProto.FLOAT)
        factor = w.op("Mul", x_scale, scale) if self.choices.chance(f"{self.name}.x_scale_first", 0.7) \
            else w.op("Mul", scale, x_scale)
        return self.add_bias(w.op("Mul", sums, factor), bias)

    def ms_dynamic(self, x, weight, bias):
        integers, scale, zero = self.quantize(weight)
        if self.choices.chance(f"{self.name}.bias_inside", 0.5):
            return self.w.ms("DynamicQuantizeMatMul", x, integers, scale, zero, bias)
        return self.add_bias(self.w.ms("DynamicQuantizeMatMul", x, integers, scale, zero), bias)

    def ms_integer_to_float(self, x, weight, bias):
        integers, scale, zero = self.quantize(weight)
        q, x_scale, x_zero = self.w.quantize_dynamic(x, self.choices.chance(f"{self.name}.shared", 0.6))
        inside = self.choices.chance(f"{self.name}.bias_inside", 0.5)
        result = self.w.ms("MatMulIntegerToFloat", q, integers, x_scale, scale, x_zero, zero, bias if inside else "")
        return result if inside else self.add_bias(result, bias)

    # ---- Both sides quantized beforehand ----

    def qdq(self, x, weight, bias):
        w = self.w
        integers, scale, zero = self.quantize(weight)
        axis = {"axis": 1} if w.opset >= 13 else {}
        x_dtype = self.choices.pick(f"{self.name}.x_dtype", [np.uint8, np.int8])
        x_scale, x_zero = w.scalar(6 / 255), w.constant(127 if x_dtype == np.uint8 else -3, x_dtype)
        rounded = w.op("DequantizeLinear", w.op("QuantizeLinear", x, x_scale, x_zero), x_scale, x_zero)
        return self.add_bias(w.op("MatMul", rounded, w.op("DequantizeLinear", integers, scale, zero, **axis)), bias)
