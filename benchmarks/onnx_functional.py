"""PyTorch's functions on symbols: a call notes the nodes of an ONNX graph that compute it.

Arrays beside symbols become constants of the graph. NotImplementedError where ONNX has no op that
is the same. Arguments are torch.nn.functional's, as far as what is timed gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
OPSET = 23  # the first with an RMS norm


class Graph:
    """What has been noted."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._given: list[Any] = []

    def given(self, x: Array) -> Symbol:
        """An array that each run of the graph is given anew."""
        name = f"given{len(self._given)}"
        kind = self._onnx.TensorProto.FLOAT
        self._given.append(self._onnx.helper.make_tensor_value_info(name, kind, list(x.shape)))
        return Symbol(self, name, x.shape)

    def node(self, kind: str, *inputs: Any, **attributes: Any) -> Symbol:
        """The result of an ONNX op; None stands for an input that is left out."""
        y = Symbol(self, f"value{len(self._nodes)}")
        names = [self._name(x) for x in inputs]
        self._nodes.append(self._onnx.helper.make_node(kind, names, [y.name], **attributes))
        return y

    def _name(self, x: Any) -> str:
        if x is None:
            return ""
        if isinstance(x, Symbol):
            return x.name
        name = f"constant{len(self._constants)}"
        packed = np.ascontiguousarray(x)
        self._constants.append(self._onnx.numpy_helper.from_array(packed, name))
        return name

    def model(self, result: Symbol) -> bytes:
        """The model that gives `result`."""
        helper = self._onnx.helper
        output = helper.make_tensor_value_info(result.name, self._onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "case", self._given, [output], self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        serialised: bytes = helper.make_model(
            graph, opset_imports=opsets, ir_version=10
        ).SerializeToString()
        return serialised


@dataclass(frozen=True)
class Symbol:
    """A value of a graph; those that are given have a shape."""

    graph: Graph
    name: str
    shape: tuple[int, ...] = ()

    def __add__(self, other: Any) -> Symbol:
        return self.graph.node("Add", self, other)

    def __pow__(self, exponent: float) -> Symbol:
        return self.graph.node("Pow", self, np.array(exponent, np.float32))


def _each(value: Any, axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else [*value]


def _window(stride: Any, padding: Any, axes: int = 2, **more: Any) -> dict[str, list[int]]:
    pads = 2 * _each(padding, axes)
    sizes = {"strides": stride, **more}
    return {"pads": pads, **{name: _each(size, axes) for name, size in sizes.items()}}


# --- convolution and what is linear ---


def conv2d(
    x: Symbol, weight: Array, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Symbol:  # fmt: skip
    window = _window(stride, padding, dilations=dilation)
    return x.graph.node("Conv", x, weight, bias, group=groups, **window)


def conv_transpose2d(
    x: Symbol, weight: Array, bias: Any = None, stride: Any = 1, padding: Any = 0
) -> Symbol:
    return x.graph.node("ConvTranspose", x, weight, bias, **_window(stride, padding))


def conv_transpose1d(x: Symbol, weight: Array, bias: Any = None, stride: Any = 1) -> Symbol:
    return x.graph.node("ConvTranspose", x, weight, bias, **_window(stride, 0, axes=1))


def linear(x: Symbol, weight: Array, bias: Array) -> Symbol:
    return x.graph.node("MatMul", x, weight.T) + bias


def interpolate(
    x: Symbol, scale_factor: float, mode: str = "nearest", align_corners: bool | None = None
) -> Symbol:
    scales = np.array([1, 1, scale_factor, scale_factor], np.float32)
    if mode == "nearest":
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        corners = "align_corners" if align_corners else "half_pixel"
        how = {"coordinate_transformation_mode": corners, "mode": "linear"}
    return x.graph.node("Resize", x, None, scales, **how)


def pixel_shuffle(x: Symbol, upscale_factor: int) -> Symbol:
    return x.graph.node("DepthToSpace", x, blocksize=upscale_factor, mode="CRD")


# --- pooling ---


def max_pool2d(x: Symbol, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Symbol:
    window = _window(stride or kernel_size, padding, kernel_shape=kernel_size)
    return x.graph.node("MaxPool", x, **window)


def max_pool1d(x: Symbol, kernel_size: Any, stride: Any = None) -> Symbol:
    window = _window(stride or kernel_size, 0, axes=1, kernel_shape=kernel_size)
    return x.graph.node("MaxPool", x, **window)


def avg_pool2d(x: Symbol, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Symbol:
    window = _window(stride or kernel_size, padding, kernel_shape=kernel_size)
    return x.graph.node("AveragePool", x, count_include_pad=1, **window)


def adaptive_max_pool2d(x: Symbol, output_size: int) -> Symbol:
    return _adaptive("MaxPool", x, output_size)


def adaptive_avg_pool2d(x: Symbol, output_size: int) -> Symbol:
    return _adaptive("AveragePool", x, output_size)


def _adaptive(kind: str, x: Symbol, parts: int) -> Symbol:
    if parts == 1:
        return x.graph.node(f"Global{kind}", x)
    if any(n % parts for n in x.shape[2:]):
        raise NotImplementedError("windows of several sizes")
    size = [n // parts for n in x.shape[2:]]
    return x.graph.node(kind, x, **_window(size, 0, kernel_shape=size))


# --- normalisation ---


def batch_norm(
    x: Symbol, mean: Array, var: Array, weight: Array, bias: Array, training: bool = False,
    eps: float = 1e-5,
) -> Symbol:  # fmt: skip
    if training:
        raise NotImplementedError("training")
    return x.graph.node("BatchNormalization", x, weight, bias, mean, var, epsilon=eps)


def layer_norm(
    x: Symbol, normalized_shape: tuple[int, ...], weight: Array, bias: Array, eps: float
) -> Symbol:
    axis = -len(normalized_shape)
    return x.graph.node("LayerNormalization", x, weight, bias, axis=axis, epsilon=eps)


def rms_norm(x: Symbol, normalized_shape: tuple[int, ...], weight: Array, eps: float) -> Symbol:
    axis = -len(normalized_shape)
    return x.graph.node("RMSNormalization", x, weight, axis=axis, epsilon=eps)


def group_norm(x: Symbol, num_groups: int, weight: Array, bias: Array, eps: float) -> Symbol:
    how = {"num_groups": num_groups, "epsilon": eps}
    return x.graph.node("GroupNormalization", x, weight, bias, **how)


def instance_norm(
    x: Symbol, mean: None, var: None, weight: Array, bias: Array, eps: float
) -> Symbol:
    return x.graph.node("InstanceNormalization", x, weight, bias, epsilon=eps)


# --- elementwise, and by rows ---


def relu(x: Symbol) -> Symbol:
    return x.graph.node("Relu", x)


def gelu(x: Symbol) -> Symbol:
    return x.graph.node("Gelu", x, approximate="none")


def softmax(x: Symbol, dim: int) -> Symbol:
    return x.graph.node("Softmax", x, axis=dim)


def log_softmax(x: Symbol, dim: int) -> Symbol:
    return x.graph.node("LogSoftmax", x, axis=dim)


def flatten(x: Symbol) -> Symbol:
    return x.graph.node("Flatten", x, axis=1)
