"""libbertc from Python by ctypes, as far as the tools need it: load a model from bytes, run it on numpy arrays."""

import ctypes
import os

import numpy as np

MAX_RANK = 8
PRECISION_FP32, PRECISION_FP64 = 0, 4
PADDED_ROWS_EXACT, PADDED_ROWS_UNDEFINED = 0, 1
# Element types by ONNX's numbers.
DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
          10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64}
NUMBERS = {np.dtype(dtype): number for number, dtype in DTYPES.items()}


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 1024)]


class ModelOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("allocator", ctypes.c_void_p), ("log", ctypes.c_void_p),
                ("read_files", ctypes.c_bool), ("no_passes", ctypes.c_bool), ("promote_to_double", ctypes.c_bool),
                ("external_data_folder", ctypes.c_char_p)]


class SessionOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("providers", ctypes.c_char_p), ("threads", ctypes.c_void_p),
                ("precision", ctypes.c_int), ("quant_scope", ctypes.c_int), ("padded_rows", ctypes.c_int),
                ("deterministic", ctypes.c_bool), ("profile", ctypes.c_bool), ("plan_cache", ctypes.c_int32)]


class Tensor(ctypes.Structure):
    _fields_ = [("dtype", ctypes.c_int), ("rank", ctypes.c_int32), ("dims", ctypes.c_int64 * MAX_RANK),
                ("data", ctypes.c_void_p)]


class NamedTensor(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("tensor", Tensor), ("capacity_bytes", ctypes.c_size_t)]


class BertcError(Exception):
    """What bert.c says; `status` is the number of its bert_status."""

    def __init__(self, error):
        super().__init__(error.message.decode())
        self.status = error.status


class Library:
    """A loaded libbertc."""

    def __init__(self, path):
        self.functions = ctypes.CDLL(os.path.abspath(path))
        for name in ("bert_model_free", "bert_session_free"):
            function = getattr(self.functions, name)
            function.argtypes, function.restype = [ctypes.c_void_p], None

    def check(self, status, error):
        if status:
            raise BertcError(error)

    def run(self, model, feeds, outputs, provider="cpu", passes=True, double=False, padded_rows=PADDED_ROWS_EXACT):
        """Loads a model from bytes and runs it on each of `feeds`, dicts of arrays; returns a list of dicts of arrays.

        double: every step in float64, as the graph has them; float32 feeds are widened. Raises BertcError.
        """
        options = ModelOptions(struct_size=ctypes.sizeof(ModelOptions), no_passes=not passes, promote_to_double=double)
        handle, session, error = ctypes.c_void_p(), ctypes.c_void_p(), Error()
        self.check(self.functions.bert_model_load_memory(model, ctypes.c_size_t(len(model)), ctypes.byref(options),
                                                         ctypes.byref(handle), ctypes.byref(error)), error)
        try:
            chosen = SessionOptions(struct_size=ctypes.sizeof(SessionOptions),
                                    providers=("reference" if double else provider).encode(),
                                    precision=PRECISION_FP64 if double else PRECISION_FP32, padded_rows=padded_rows)
            self.check(self.functions.bert_session_create(handle, ctypes.byref(chosen), ctypes.byref(session),
                                                          ctypes.byref(error)), error)
            return [self.run_once(session, feed, outputs, double) for feed in feeds]
        finally:
            self.functions.bert_session_free(session)
            self.functions.bert_model_free(handle)

    def run_once(self, session, feed, names, double):
        error, kept = Error(), []
        inputs, outputs = (NamedTensor * max(len(feed), 1))(), (NamedTensor * len(names))()
        for slot, (name, values) in zip(inputs, feed.items()):
            values = np.asarray(values, np.float64 if double and values.dtype == np.float32 else None, order="C")
            kept.append(values)
            slot.name = name.encode()
            slot.tensor = Tensor(NUMBERS[values.dtype], values.ndim, (ctypes.c_int64 * MAX_RANK)(*values.shape),
                                 values.ctypes.data)
        for slot, name in zip(outputs, names):
            slot.name = name.encode()
        self.check(self.functions.bert_session_run(session, None, inputs, ctypes.c_size_t(len(feed)), outputs,
                                                   ctypes.c_size_t(len(names)), ctypes.byref(error)), error)
        return {name: array_of(slot.tensor) for name, slot in zip(names, outputs)}


def array_of(tensor):
    """A copy of a tensor that the session owns."""
    dtype = np.dtype(DTYPES[tensor.dtype])
    shape = tuple(tensor.dims[: tensor.rank])
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(ctypes.string_at(tensor.data, count * dtype.itemsize), dtype).reshape(shape).copy()
