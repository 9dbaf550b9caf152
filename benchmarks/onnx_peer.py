"""ONNX Runtime as a contestant, for what it is there for: inference with weights known beforehand.

A case's call in PyTorch's spelling is made once on symbols (onnx_functional.py), which gives the
graph that is timed.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tilework.benchmarks import onnx_functional as F
from tilework.benchmarks.contestants import Contestant, Inputs, Prepared
from tilework.testing.case import Case
from tilework.testing.cases.networks import RESNET18

_LIBRARY = SimpleNamespace(nn=SimpleNamespace(functional=F), pow=pow)
# What is played, and in which modes. Weights are constants here: products and networks are compared
# where ours hold theirs ready too, convolutions in both modes.
_MODES = {
    **dict.fromkeys(("gemm", "networks"), ("frozen",)),
    **dict.fromkeys(("pool", "interpolate", "norm", "softmax", "pointwise"), ("forward",)),
    "conv": ("forward", "frozen"),
}


class OnnxRuntime(Contestant):
    """ONNX Runtime's CPU provider, weights as constants of the graph."""

    name = "ONNX Runtime"

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self.onnx = onnx
        self.runtime = onnxruntime
        self.threads = threads

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        assert case.bench is not None
        if case.bench.dtype != "float32":  # its CPU provider lacks most ops of bfloat16
            return None
        if case.bench.mode not in _MODES.get(case.family, ()):
            return None
        graph = F.Graph(self.onnx)
        # A second operand of the first one's shape is no weight.
        at_run_time = [x for x in inputs if np.shape(x) == inputs[0].shape]
        symbols = [graph.given(x) for x in at_run_time]
        result = _noted(case, (*symbols, *inputs[len(symbols) :]))
        if result is None:
            return None
        session = self._session(graph.model(result))
        given = {s.name: x for s, x in zip(symbols, at_run_time, strict=True)}

        def call() -> Any:
            return session.run(None, given)

        return Prepared(call, lambda: [call()[0]])

    def _session(self, model: bytes) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _noted(case: Case, inputs: Inputs) -> F.Symbol | None:
    """The case's result in a graph; None where ONNX has no such thing."""
    if case.family == "networks":
        is_known = case.op == "resnet18_eval"
        return resnet18(*inputs) if is_known else None
    try:
        result: F.Symbol = case.bind_peer(_LIBRARY, inputs)()
    except (AttributeError, NotImplementedError):  # of a symbol that lacks a method, of F's own
        return None
    return result


def resnet18(x: F.Symbol, *weights: np.ndarray[Any, Any]) -> F.Symbol:
    """ResNet-18's scores in evaluation, by the state that testing.cases.networks gives."""
    w = dict(zip(RESNET18.state(), weights, strict=True))

    def normed(x: F.Symbol, conv: str, norm: str, stride: int = 1, padding: int = 1) -> F.Symbol:
        y = F.conv2d(x, w[f"{conv}.weight"], None, stride, padding)
        mean, var = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
        return F.batch_norm(y, mean, var, w[f"{norm}.weight"], w[f"{norm}.bias"])

    x = F.max_pool2d(F.relu(normed(x, "conv1", "bn1", 2, 3)), 3, 2, 1)
    for at in (f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)):
        shrinks = f"{at}.downsample.0.weight" in w
        y = F.relu(normed(x, f"{at}.conv1", f"{at}.bn1", 2 if shrinks else 1))
        y = normed(y, f"{at}.conv2", f"{at}.bn2")
        if shrinks:
            x = normed(x, f"{at}.downsample.0", f"{at}.downsample.1", 2, 0)
        x = F.relu(y + x)
    return F.linear(F.flatten(F.adaptive_avg_pool2d(x, 1)), w["fc.weight"], w["fc.bias"])
