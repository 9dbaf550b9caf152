"""Limits of dtypes, constants and switches, by PyTorch's names."""

import math

import numpy as np
import pytest

import tilework as tw
from tilework import nn


def test_limits():
    for dtype in (tw.float32, tw.float64):
        found, wanted = tw.finfo(dtype), np.finfo(dtype)
        assert (found.bits, found.eps, found.max, found.min) == (
            wanted.bits, wanted.eps, wanted.max, wanted.min,
        )  # fmt: skip
        assert found.tiny == found.smallest_normal == wanted.tiny
        assert type(found.max) is float
    assert tw.finfo().dtype == "float32"
    narrow = tw.finfo(tw.bfloat16)
    assert (narrow.bits, narrow.eps, narrow.max) == (16, 2.0**-7, (2 - 2.0**-7) * 2.0**127)
    assert (tw.iinfo(tw.uint8).min, tw.iinfo(tw.int64).max) == (0, 2**63 - 1)
    assert "max=255" in repr(tw.iinfo(tw.uint8))
    assert "bfloat16" in repr(narrow)
    for call in (lambda: tw.finfo(tw.int32), lambda: tw.iinfo(tw.float32)):
        with pytest.raises(TypeError, match=r"^\[[fi]info\] expected an? \w+ dtype"):
            call()


def test_constants_and_switches():
    assert (tw.inf, tw.pi, tw.e) == (math.inf, math.pi, math.e)
    assert math.isnan(tw.nan)
    tw.use_deterministic_algorithms(True, warn_only=True)
    assert tw.are_deterministic_algorithms_enabled()
    x = tw.ones(2, 3)
    assert (tw.is_tensor(x), tw.is_tensor(x.numpy()), tw.numel(x)) == (True, False, 6)
    assert tw.is_floating_point(x)
    assert not tw.is_floating_point(x.long())
    assert tw.ones(1).dtype == tw.get_default_dtype()


def test_compile_leaves_what_it_is_given():
    layer = nn.Linear(2, 2)
    layer.compile(mode="reduce-overhead")
    assert tw.compile(layer, fullgraph=True, dynamic=False) is layer

    @tw.compile(backend="inductor")
    def twice(x):
        return x * 2

    assert twice(3) == 6
