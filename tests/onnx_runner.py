"""Runs ONNX graphs by tilework's functions: enough of the standard for its tests to judge us.

`OPS` maps an operator to a function `(attributes, *inputs)` on tensors; an input left out is None.
"""

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

import tilework as tw
from tilework import functional as F
from tilework.dtypes import is_float

from .onnx_image_ops import IMAGE_OPS, ints
from .onnx_recurrent_ops import RECURRENT_OPS
from .onnx_sequence_ops import SEQUENCE_OPS

DTYPES = {
    TensorProto.FLOAT: tw.float32,
    TensorProto.DOUBLE: tw.float64,
    TensorProto.BFLOAT16: tw.bfloat16,
    TensorProto.INT64: tw.int64,
    TensorProto.INT32: tw.int32,
    TensorProto.UINT8: tw.uint8,
    TensorProto.BOOL: tw.bool,
}


def folded(function):
    """Operators of any number of inputs."""

    def fold(attributes, first, *rest):
        for x in rest:
            first = function(first, x)
        return first

    return fold


def plain(function):
    """Operators without attributes."""
    return lambda attributes, *inputs: function(*inputs)


# --- products ---


def gemm(attributes, a, b, c=None):
    a = a.t() if attributes.get("transA") else a
    b = b.t() if attributes.get("transB") else b
    y = tw.matmul(a, b) * attributes.get("alpha", 1.0)
    return y if c is None else y + c * attributes.get("beta", 1.0)


# --- reductions ---


def reduction(function, before=None, after=None):
    """before(x), summed up by function(x, dim=, keepdim=), then after(y)."""

    def reduce(attributes, x, axes=None):
        axes = attributes.get("axes") if axes is None else ints(axes)
        if not axes and attributes.get("noop_with_empty_axes"):
            y = before(x) if before else x
            return after(y) if after else y
        dims = tuple(a % x.ndim for a in axes) if axes else tuple(range(x.ndim))
        x = before(x) if before else x
        y = function(x, dim=dims, keepdim=bool(attributes.get("keepdims", 1)))
        return after(y) if after else y

    return reduce


def extremum_index(function):
    def index(attributes, x):
        axis = attributes.get("axis", 0)
        if attributes.get("select_last_index"):
            reverse = tw.arange(x.shape[axis] - 1, -1, -1)
            x = x.index_select(axis, reverse)
        found = function(x, dim=axis, keepdim=bool(attributes.get("keepdims", 1)))
        return x.shape[axis] - 1 - found if attributes.get("select_last_index") else found

    return index


# --- shapes ---


def reshape(attributes, x, shape):
    sizes = ints(shape)
    if not attributes.get("allowzero"):
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(*sizes)


def flatten(attributes, x):
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def squeeze(attributes, x, axes=None):
    axes = attributes.get("axes") if axes is None else axes
    if axes is None:
        return x.squeeze()
    for axis in sorted((a % x.ndim for a in ints(axes)), reverse=True):
        x = x.squeeze(axis)
    return x


def unsqueeze(attributes, x, axes=None):
    axes = ints(attributes["axes"] if axes is None else axes)
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


def slice_(attributes, x, starts=None, ends=None, axes=None, steps=None):
    starts, ends, axes = (
        attributes.get(name) if given is None else given
        for name, given in (("starts", starts), ("ends", ends), ("axes", axes))
    )
    starts, ends = ints(starts), ints(ends)
    axes = range(len(starts)) if axes is None else ints(axes)
    steps = [1] * len(starts) if steps is None else ints(steps)
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        if step < 0 and end < -size:
            end = None  # down to the first element, which no number names
        where[axis] = slice(start, end, step)
    return x[tuple(where)]


def split(attributes, x, sizes=None):
    axis = attributes.get("axis", 0)
    sizes = attributes.get("split") if sizes is None else sizes
    if sizes is None:
        parts = attributes["outputs"]
        each = -(-x.shape[axis] // parts)
        return tuple(tw.split(x, each, dim=axis))
    return tuple(tw.split(x, ints(sizes), dim=axis))


def expand(attributes, x, shape):
    return x.broadcast_to(np.broadcast_shapes(x.shape, tuple(ints(shape))))


def transpose(attributes, x):
    return x.permute(*attributes.get("perm", range(x.ndim)[::-1]))


def gather_slices(attributes, x, indices):
    axis = attributes.get("axis", 0) % x.ndim
    indices = indices.where(indices >= 0, indices + x.shape[axis])
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def gather_elements(attributes, x, indices):
    axis = attributes.get("axis", 0)
    return x.gather(axis, indices.where(indices >= 0, indices + x.shape[axis]))


# --- the rest ---


def clip(attributes, x, low=None, high=None):
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    x = x if low is None else tw.maximum(x, tw.as_tensor(low, dtype=x.dtype))
    return x if high is None else tw.minimum(x, tw.as_tensor(high, dtype=x.dtype))


def dropout(attributes, x, ratio=None, training=None):
    rate = 0.5 if ratio is None else float(ratio)
    if training is not None and bool(training) and rate > 0:
        raise NotImplementedError("ONNX fixes no generator")
    return x, tw.ones(*x.shape).to(tw.bool)


def cross_entropy(attributes, scores, labels, weights=None):
    how = {
        "weight": weights,
        "ignore_index": attributes.get("ignore_index", -100),
        "reduction": attributes.get("reduction", b"mean").decode(),
    }
    return F.cross_entropy(scores, labels.long(), **how), F.log_softmax(scores, 1)


def negative_log_likelihood(attributes, x, labels, weights=None):
    classes = x.shape[1]
    ignore = attributes.get("ignore_index")
    flat = x.movedim(1, -1).reshape(-1, classes)
    y = F.nll_loss(
        flat,
        labels.long().reshape(-1),
        weights,
        ignore_index=-100 if ignore is None else ignore,
        reduction=attributes.get("reduction", b"mean").decode(),
    )
    return y.reshape(*labels.shape) if y.ndim else y


def top_k(attributes, x, k):
    how = {"dim": attributes.get("axis", -1), "largest": bool(attributes.get("largest", 1))}
    return tuple(tw.topk(x, int(k.reshape(()).item()), **how))


def cumulative_sum(attributes, x, axis):
    axis = int(axis.item())
    backwards = tw.arange(x.shape[axis] - 1, -1, -1)
    x = x.index_select(axis, backwards) if attributes.get("reverse") else x
    y = tw.cumsum(x, axis).to(x.dtype)
    y = y - x if attributes.get("exclusive") else y
    return y.index_select(axis, backwards) if attributes.get("reverse") else y


def softmax(function):
    def apply(attributes, x):
        if attributes["opset"] >= 13:
            return function(x, attributes.get("axis", -1))
        axis = attributes.get("axis", 1) % x.ndim  # before, of all axes from there on together
        return function(x.flatten(axis), axis).reshape(*x.shape)

    return apply


def broadcasting(function):
    """Arithmetic; before opset 7 `axis` says where the second operand's axes begin."""

    def apply(attributes, x, y):
        if attributes["opset"] < 7 and "axis" in attributes and y.ndim:
            axis = attributes["axis"] % x.ndim
            y = y.reshape(*y.shape, *[1] * (x.ndim - axis - y.ndim))
        return function(x, y)

    return apply


def divide(x, y):
    """Of integers: the quotient without its fraction, which PyTorch's div and ours keep."""
    if is_float(x.dtype):
        return tw.div(x, y)
    whole = tw.floor_divide(tw.abs(x), tw.abs(y))
    return (whole * tw.sign(x) * tw.sign(y)).to(x.dtype)


def modulo(attributes, x, y):
    """With the sign of y, or with fmod of x."""
    if not attributes.get("fmod"):
        return tw.remainder(x, y)
    return tw.remainder(tw.abs(x), tw.abs(y)) * tw.sign(x)


def swiglu(attributes, a, b):
    alpha = attributes.get("alpha", 1.0)
    return F.swiglu(a * alpha, b) / alpha


def constant_of_shape(attributes, shape):
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else np.float32(0)
    return tw.from_numpy(np.full(ints(shape), value.reshape(()), value.dtype))


def constant(attributes):
    if "value" in attributes:
        return tw.from_numpy(numpy_helper.to_array(attributes["value"]).copy())
    name, value = next(iter(attributes.items()))
    dtype = tw.int64 if name.startswith("value_int") else tw.float32
    return tw.tensor(value, dtype=dtype)


OPS = {
    "Abs": plain(tw.abs),
    "Add": broadcasting(tw.add),
    "And": plain(tw.logical_and),
    "ArgMax": extremum_index(tw.argmax),
    "ArgMin": extremum_index(tw.argmin),
    "Cast": lambda attributes, x: x.to(DTYPES[attributes["to"]]),
    "CastLike": lambda attributes, x, like: x.to(like.dtype),
    "Ceil": plain(tw.ceil),
    "Clip": clip,
    "Concat": lambda attributes, *xs: tw.cat(list(xs), dim=attributes["axis"]),
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "CumSum": cumulative_sum,
    "Div": broadcasting(divide),
    "Dropout": dropout,
    "Equal": plain(tw.eq),
    "Exp": plain(tw.exp),
    "Expand": expand,
    "Flatten": flatten,
    "Floor": plain(tw.floor),
    "Gather": gather_slices,
    "GatherElements": gather_elements,
    "Gelu": lambda attributes, x: F.gelu(x, attributes.get("approximate", b"none").decode()),
    "Gemm": gemm,
    "Greater": plain(tw.gt),
    "GreaterOrEqual": plain(tw.ge),
    "Identity": plain(lambda x: x),
    "IsNaN": plain(tw.isnan),
    "Less": plain(tw.lt),
    "LessOrEqual": plain(tw.le),
    "Log": plain(tw.log),
    "LogSoftmax": softmax(F.log_softmax),
    "MatMul": plain(tw.matmul),
    "Max": folded(tw.maximum),
    "Mean": lambda attributes, *xs: folded(tw.add)(attributes, *xs) / len(xs),
    "Min": folded(tw.minimum),
    "Mod": modulo,
    "Mul": broadcasting(tw.mul),
    "Neg": plain(tw.neg),
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "Not": plain(tw.logical_not),
    "Or": plain(tw.logical_or),
    "Pow": lambda attributes, x, y: tw.pow(x, y.to(x.dtype)).to(x.dtype),
    "Range": plain(
        lambda start, end, step: tw.arange(start.item(), end.item(), step.item(), dtype=start.dtype)
    ),
    "Reciprocal": plain(lambda x: 1.0 / x),
    "ReduceL1": reduction(tw.sum, tw.abs),
    "ReduceL2": reduction(tw.sum, tw.square, tw.sqrt),
    "ReduceLogSum": reduction(tw.sum, None, tw.log),
    "ReduceLogSumExp": reduction(tw.logsumexp),
    "ReduceMax": reduction(tw.amax),
    "ReduceMean": reduction(tw.mean),
    "ReduceMin": reduction(tw.amin),
    "ReduceSum": reduction(tw.sum),
    "ReduceSumSquare": reduction(tw.sum, tw.square),
    "Relu": plain(F.relu),
    "Reshape": reshape,
    "Round": plain(tw.round),
    "Shape": lambda attributes, x: tw.tensor(
        list(x.shape[attributes.get("start", 0) : attributes.get("end")]), dtype=tw.int64
    ),
    "Sigmoid": plain(tw.sigmoid),
    "Sign": plain(tw.sign),
    "Size": plain(lambda x: tw.tensor(x.numel(), dtype=tw.int64)),
    "Slice": slice_,
    "Softmax": softmax(F.softmax),
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "Split": split,
    "Sqrt": plain(tw.sqrt),
    "Squeeze": squeeze,
    "Sub": broadcasting(tw.sub),
    "Sum": folded(tw.add),
    "SwiGLU": swiglu,
    "Swish": lambda attributes, x: x * tw.sigmoid(x * attributes.get("alpha", 1.0)),
    "Tanh": plain(tw.tanh),
    "TopK": top_k,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": plain(tw.where),
    "Xor": plain(tw.logical_xor),
    **IMAGE_OPS,
    **RECURRENT_OPS,
    **SEQUENCE_OPS,
}


def runnable(model):
    """Whether every node of the model's graph is in OPS, and every dtype ours."""
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type
        if not kind.HasField("tensor_type") or kind.tensor_type.elem_type not in DTYPES:
            return False
    for node in model.graph.node:
        if node.op_type not in OPS or node.domain not in ("", "ai.onnx"):
            return False
        casts = [a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"]
        if any(to not in DTYPES for to in casts):
            return False
        if any(a.type == AttributeProto.GRAPH for a in node.attribute):
            return False
    return True


def array(value):
    """A node test's input or output, which may come as a TensorProto."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def run(model, inputs):
    """The model's outputs for NumPy inputs, as tensors."""
    values = {"": None}
    values |= {
        t.name: tw.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer
    }
    names = (i.name for i in model.graph.input)
    values |= {n: tw.from_numpy(np.array(array(x))) for n, x in zip(names, inputs, strict=False)}
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes |= {"outputs": len(node.output), "opset": opset}
        outputs = OPS[node.op_type](attributes, *(values[name] for name in node.input))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        values |= dict(zip(node.output, outputs, strict=False))
    return [values[o.name] for o in model.graph.output]
