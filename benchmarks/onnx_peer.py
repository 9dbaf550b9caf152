"""ONNX Runtime as a contestant, for the layers that it is there for: weights known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.benchmarks.contestants import Contestant, Inputs, Prepared
from tilework.testing.case import Case


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
        if case.op != "linear_gelu" or case.bench is None or case.bench.mode != "frozen":
            return None
        if case.bench.dtype != "float32":  # its CPU provider has no Gelu of bfloat16
            return None
        x, weight, bias = inputs
        session = self._session(x, weight, bias)

        def call() -> Any:
            return session.run(None, {"x": x})

        return Prepared(call, lambda: [call()[0]])

    def _session(self, x: Any, weight: Any, bias: Any) -> Any:
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        kind = self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            [
                helper.make_node("MatMul", ["x", "w"], ["h"]),
                helper.make_node("Add", ["h", "b"], ["z"]),
                helper.make_node("Gelu", ["z"], ["y"], approximate="none"),
            ],
            "linear_gelu",
            [helper.make_tensor_value_info("x", kind, list(x.shape))],
            [helper.make_tensor_value_info("y", kind, [x.shape[0], weight.shape[0]])],
            [
                numpy_helper.from_array(np.ascontiguousarray(weight.T), "w"),
                numpy_helper.from_array(bias, "b"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return self.runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
