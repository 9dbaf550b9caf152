"""Convolutions by their definition, for the tests of the compiled engine."""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import pytest

from tilework.testing.inputs import laid_out, normal
from tilework.testing.tolerance import assert_close, growth, stored, working_eps

native = pytest.importorskip("tilework._native", reason="tests the compiled engine")

einsum = functools.partial(np.einsum, optimize=True)  # by products of matrices


class Conv:
    """A convolution by its definition, in float64: a product for each tap."""

    def __init__(self, n, c, o, size, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
                 groups=1, out_size=None):  # fmt: skip
        self.x_shape = (n, c, *size)
        self.w_shape = (o, c // groups, *kernel)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.out_size = out_size or tuple(
            (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
            for i in (0, 1)
        )
        self.y_shape = (n, o, *self.out_size)
        self.window = (stride, padding, dilation, groups)
        self.taps = list(itertools.product(range(kernel[0]), range(kernel[1])))

    def padded(self, x):
        """x with zeros wherever a window reaches, and where its first pixel lies in that."""
        reach = [
            (self.out_size[i] - 1) * self.stride[i]
            + (self.w_shape[2 + i] - 1) * self.dilation[i]
            + 1
            - self.padding[i]
            for i in (0, 1)
        ]
        after = [max(0, reach[i] - x.shape[2 + i]) for i in (0, 1)]
        return np.pad(x, [(0, 0), (0, 0)] + [(self.padding[i], after[i]) for i in (0, 1)])

    def patch(self, padded, kh, kw):
        """The pixels that tap (kh, kw) meets."""
        top, left = kh * self.dilation[0], kw * self.dilation[1]
        rows = slice(top, top + (self.out_size[0] - 1) * self.stride[0] + 1, self.stride[0])
        cols = slice(left, left + (self.out_size[1] - 1) * self.stride[1] + 1, self.stride[1])
        return padded[:, :, rows, cols]

    def split(self, a):
        return a.reshape(a.shape[0], self.groups, a.shape[1] // self.groups, *a.shape[2:])

    def forward(self, x, w):
        padded = self.padded(x)
        w = w.reshape(self.groups, -1, *w.shape[1:])
        y = np.zeros(self.split(np.zeros(self.y_shape)).shape)
        for kh, kw in self.taps if y.size else ():
            y += einsum("goi,ngihw->ngohw", w[..., kh, kw], self.split(self.patch(padded, kh, kw)))
        return y.reshape(self.y_shape)

    def input_gradient(self, dy, w):
        dx = self.padded(np.zeros(self.x_shape))
        w = w.reshape(self.groups, -1, *w.shape[1:])
        for kh, kw in self.taps if dy.size else ():
            part = einsum("goi,ngohw->ngihw", w[..., kh, kw], self.split(dy))
            self.patch(dx, kh, kw)[...] += part.reshape(dy.shape[0], -1, *dy.shape[2:])
        top, left = self.padding
        return dx[:, :, top : top + self.x_shape[2], left : left + self.x_shape[3]]

    def weight_gradient(self, dy, x):
        padded = self.padded(x)
        dw = np.zeros(self.w_shape)
        for kh, kw in self.taps if dy.size else ():
            part = einsum(
                "ngohw,ngihw->goi", self.split(dy), self.split(self.patch(padded, kh, kw))
            )
            dw[..., kh, kw] = part.reshape(self.w_shape[:2])
        return dw

    def tensors(self, dtype, seed=0):
        rng = np.random.default_rng(seed)
        return (normal(rng, dtype, *s) for s in (self.x_shape, self.w_shape, self.y_shape))


class Expected(NamedTuple):
    """The results of a convolution's own tensors, and their sums of absolute products."""

    y: np.ndarray
    dx: np.ndarray
    dweight: np.ndarray
    y_size: np.ndarray
    dx_size: np.ndarray
    dweight_size: np.ndarray


# Kept, since every ISA, layout and precision is compared with the same.
@functools.lru_cache(maxsize=64)
def expected(conv, dtype):
    tensors = [a.astype(np.float64) for a in conv.tensors(dtype)]
    found = []
    for x, w, dy in (tensors, map(abs, tensors)):
        found += [conv.forward(x, w), conv.input_gradient(dy, w), conv.weight_gradient(dy, x)]
    for array in found:
        array.flags.writeable = False
    return Expected(*found)


def weight_as(w, layout):
    if layout == "oihw":
        return np.ascontiguousarray(w)
    if layout == "hwio":
        return np.ascontiguousarray(w.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    return laid_out(w, "gapped")


def assert_sum(actual, expected, magnitude, length, what):
    dtype = str(actual.dtype)
    error = growth(length) * working_eps(dtype) * magnitude
    assert_close(actual, expected, stored(dtype, expected, error), what)


def check_everything(conv, dtype, x_layout="contiguous", w_layout="oihw", around=lambda size: size):
    """Forward, both gradients and the transposed twin.

    `around` makes of each pixel's sum of absolute products the magnitude that its error goes by.
    """
    x, w, dy = conv.tensors(dtype)
    want = expected(conv, dtype)
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    terms = conv.w_shape[1] * len(conv.taps)
    back_terms = conv.w_shape[0] // conv.groups * len(conv.taps)
    pixels = conv.y_shape[0] * conv.y_shape[2] * conv.y_shape[3]
    x, dy, w = laid_out(x, x_layout), laid_out(dy, x_layout), weight_as(w, w_layout)

    y, saved = native.conv_forward(
        x, w, None, None, *conv.window, conv.out_size, "none", True
    )  # fmt: skip
    assert saved is None
    assert_sum(y, want.y, around(want.y_size), terms, "y")

    dx, dw, db, dz = native.conv_backward(
        dy, x, w, None, *conv.window, "none", True, True, True, True
    )
    assert_sum(dx, want.dx, around(want.dx_size), back_terms, "dx")
    assert_sum(dw, want.dweight, want.dweight_size, pixels, "dweight")
    assert_sum(db, dy64.sum((0, 2, 3)), abs(dy64).sum((0, 2, 3)), pixels, "dbias")
    assert dz is dy
    if w_layout != "gaps":
        assert [s for s, n in zip(dw.strides, w.shape, strict=True) if n > 1] == [
            s for s, n in zip(w.strides, w.shape, strict=True) if n > 1
        ]

    # The transposed twin takes dy to x's shape; its gradient of the weight swaps the two.
    up, _ = native.conv_transpose_forward(
        dy, w, None, *conv.window, conv.x_shape[2:], "none", False
    )  # fmt: skip
    np.testing.assert_array_equal(up, dx)
    ddy, dw_up, db_up = native.conv_transpose_backward(
        x, dy, w, None, *conv.window, "none", True, True, True
    )  # fmt: skip
    np.testing.assert_array_equal(ddy, y)
    assert_sum(dw_up, want.dweight, want.dweight_size, pixels, "transposed dweight")
    assert_sum(db_up, x64.sum((0, 2, 3)), abs(x64).sum((0, 2, 3)), x64[:, 0].size, "dbias")
