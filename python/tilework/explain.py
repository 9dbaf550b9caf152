"""Which kernel serves a convolution, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes, engines
from tilework.functional.conv_shapes import conv_plan

Size = int | Sequence[int]
Shape = Sequence[int]

PASSES = ("forward", "input gradient", "weight gradient")

# What `tilework info` tells of: a name, the input, the weight, and the settings.
TYPICAL: tuple[tuple[str, Shape, Shape, dict[str, Any]], ...] = (
    ("3x3", (16, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
    ("3x3, bfloat16", (16, 64, 56, 56), (64, 64, 3, 3), {"padding": 1, "dtype": dtypes.bfloat16}),
    ("1x1", (16, 64, 56, 56), (256, 64, 1, 1), {}),
    ("1x1, bfloat16", (16, 64, 56, 56), (256, 64, 1, 1), {"dtype": dtypes.bfloat16}),
    ("7x7 of 3 channels", (16, 3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    ("32 groups of 4", (16, 128, 28, 28), (128, 4, 3, 3), {"padding": 1, "groups": 32}),
    ("depthwise", (16, 96, 56, 56), (96, 1, 3, 3), {"padding": 1, "groups": 96}),
)


def explain_conv2d(
    input: Shape,
    weight: Shape,
    stride: Size = 1,
    padding: str | Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    dtype: Any = dtypes.float32,
) -> list[dict[str, str]]:
    """Who serves F.conv2d of these shapes on this machine now, a row a pass: "pass" ("forward",
    "input gradient", "weight gradient"), "variant", "routine" and "why".

    Images are taken channels last, and the weight as nn.Conv2d holds it. A pass has several rows
    where its parts differ. Errors: F.conv2d's; ValueError where set_conv_routine() asks for a
    routine that does not suit.

    >>> [row["pass"] for row in tw.explain_conv2d((1, 8, 9, 9), (4, 8, 3, 3))]
    ['forward', 'input gradient', 'weight gradient']
    """
    x, w = tuple(input), tuple(weight)
    plain = [n if isinstance(n, (int, str)) else tuple(n) for n in (stride, padding, dilation)]
    geometry, out_size = conv_plan("conv2d", x, w, *plain, groups)
    name = dtypes.check(dtype, "explain_conv2d").name
    if engines.current_engine() != "native":
        rows = [(p, "numba", "taps", "a matrix product of BLAS for each tap") for p in PASSES]
    else:
        module = engines.engine_module()
        rows = module.conv_services(name, list(x), list(w), *geometry, out_size)
    return [dict(zip(("pass", "variant", "routine", "why"), row, strict=True)) for row in rows]
