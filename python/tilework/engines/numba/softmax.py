"""Softmax along any axis, row by row: a row stays in cache for its three passes."""

import math
from typing import Any

from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array, around_axis, empty_like, in_layout_of


@jit
def _forward(x: Any, out: Any, log: bool) -> None:
    for o in range(x.shape[0]):
        for i in range(x.shape[2]):
            largest = -math.inf
            for k in range(x.shape[1]):
                largest = max(largest, x[o, k, i])
            total = 0.0
            for k in range(x.shape[1]):
                e = math.exp(x[o, k, i] - largest)
                total += e
                if not log:
                    out[o, k, i] = e
            if log:
                log_total = math.log(total)
                for k in range(x.shape[1]):
                    out[o, k, i] = (x[o, k, i] - largest) - log_total
            else:
                for k in range(x.shape[1]):
                    out[o, k, i] /= total


@jit
def _backward(grad: Any, output: Any, dx: Any, log: bool) -> None:
    for o in range(output.shape[0]):
        for i in range(output.shape[2]):
            total = 0.0
            for k in range(output.shape[1]):
                total += grad[o, k, i] if log else grad[o, k, i] * output[o, k, i]
            for k in range(output.shape[1]):
                if log:
                    dx[o, k, i] = grad[o, k, i] - math.exp(output[o, k, i]) * total
                else:
                    dx[o, k, i] = output[o, k, i] * (grad[o, k, i] - total)


@quiet
def softmax_forward(x: Array, axis: int, log: bool) -> Array:
    out = empty_like(x)
    _forward(around_axis(in_layout_of(x, out), axis), around_axis(out, axis), log)
    return out


@quiet
def softmax_backward(grad: Array, output: Array, axis: int, log: bool) -> Array:
    dx = empty_like(output)
    grad, output = in_layout_of(grad, dx), in_layout_of(output, dx)
    _backward(around_axis(grad, axis), around_axis(output, axis), around_axis(dx, axis), log)
    return dx
