#!/usr/bin/env python3
"""Times PyTorch on a GPU over the BERT of a file of make_bert.py, for bench/gpu_bench.py.

    gpu_pytorch.py MODEL.onnx [--mode eager|compiled] [--precision fp32|tf32|fp16|bf16] [--cells 1x128,8x128] [--seconds 0.5]
                   [--device cuda] [--ids IDS.npy --logits OUT.npy]

Prints a JSON line a cell, as soon as it is measured; {"cell", "error"} where that failed, and goes on. `eager` is the module
as written; `compiled` is torch.compile with max-autotune, a graph of its own for each shape, replayed as a CUDA graph;
`cudagraph_skips` counts where PyTorch did without one. Attention is scaled_dot_product_attention without a mask, since every
token is real: PyTorch may take its fastest kernel. Two times a cell:

    median_ms         from ids in the host's memory to logits in the host's memory, fresh ids every run
    device_median_ms  the GPU's own time for the forward pass, by events, ids already there

--ids: first one run on these ids, its logits to a file, to be held against bert.c's. Needs torch, onnx and numpy.
"""
import argparse
import json
import statistics
import sys
import time

import numpy as np
import torch  # noqa: F401  first: whole as it is here, so that engines.py need not find that out

import engines


class Bert(engines.PyTorch):
    """engines.py's module with its weights on a device, in a precision."""

    def __init__(self, model, device, precision, compiled):
        super().__init__(model, 1)
        torch = self.torch
        dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self.device = device
        self.weights = {name: w.to(device, dtype if w.is_floating_point() else w.dtype) for name, w in self.weights.items()}
        self.forward, self.compiled = self.real_tokens, compiled
        if compiled:
            # As a module's parameters are: else every replay of the graph would copy all weights to where it reads them.
            for w in self.weights.values():
                torch._dynamo.mark_static_address(w)
            self.forward = torch.compile(self.real_tokens, mode="max-autotune", fullgraph=True, dynamic=False)

    def mask(self, attention_mask, dtype):
        return None

    def real_tokens(self, input_ids, token_type_ids):
        return self.bert(input_ids, None, token_type_ids)

    def synchronize(self):
        if self.device.startswith("cuda"):
            self.torch.cuda.synchronize()

    def host_to_host(self, ids):
        """Logits in the host's memory, and milliseconds. ids: int64 [batch, sequence], pinned where a GPU is."""
        start = time.perf_counter()
        there = ids.to(self.device, non_blocking=True)
        logits = self.forward(there, self.types).cpu().float()
        return logits, (time.perf_counter() - start) * 1e3

    def on_device(self, ids):
        """Milliseconds of one forward pass by the GPU's clock; None without one."""
        if not self.device.startswith("cuda"):
            return None
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        self.forward(ids, self.types)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def random_ids(self, batch, sequence):
        ids = self.torch.randint(0, len(self.weights["bert.embeddings.word_embeddings.weight"]), (batch, sequence))
        return ids.pin_memory() if self.device.startswith("cuda") else ids

    def logits(self, ids):
        self.types = self.torch.zeros(ids.shape, dtype=self.torch.int64, device=self.device)
        return self.host_to_host(ids)[0].numpy()

    def measure(self, batch, sequence, seconds):
        """Warms up (compiles, captures), then measures for some seconds and at least 10 runs."""
        if self.compiled:
            # Each shape is a graph of its own; past eight of one function dynamo compiles no more, and fullgraph makes that an error.
            self.torch._dynamo.reset()
            self.torch._dynamo.utils.counters.clear()
        self.types = self.torch.zeros((batch, sequence), dtype=self.torch.int64, device=self.device)
        start = time.perf_counter()
        for _ in range(5):
            self.host_to_host(self.random_ids(batch, sequence))
        self.synchronize()
        warm_up = time.perf_counter() - start
        whole, device = [], []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(whole) < 10:
            ids = self.random_ids(batch, sequence)
            whole.append(self.host_to_host(ids)[1])
            device.append(self.on_device(ids.to(self.device)))
        row = {"cell": f"{batch}x{sequence}", "median_ms": statistics.median(whole), "min_ms": min(whole), "runs": len(whole),
               "warm_up_s": warm_up}
        if device[0] is not None:
            row["device_median_ms"] = statistics.median(device)
        if self.compiled:
            row["cudagraph_skips"] = self.torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
        return row


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--mode", choices=("eager", "compiled"), default="eager")
    p.add_argument("--precision", choices=("fp32", "tf32", "fp16", "bf16"), default="fp16")
    p.add_argument("--cells", default="1x128")
    p.add_argument("--seconds", type=float, default=0.5)
    p.add_argument("--device", default="cuda")
    p.add_argument("--ids")
    p.add_argument("--logits")
    a = p.parse_args()
    bert = Bert(a.model, a.device, a.precision, a.mode == "compiled")
    about = {"engine": f"PyTorch {bert.version} {a.mode}", "precision": a.precision}
    if a.ids:
        np.save(a.logits, bert.logits(bert.torch.from_numpy(np.load(a.ids))))
    for cell in filter(None, a.cells.split(",")):
        batch, sequence = map(int, cell.split("x"))
        try:
            row = bert.measure(batch, sequence, a.seconds)
        except Exception as error:  # a cell that fails takes no other with it
            row = {"cell": cell, "error": f"{type(error).__name__}: {error}"[-500:]}
        print(json.dumps({**about, **row}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
