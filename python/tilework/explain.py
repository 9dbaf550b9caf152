"""Which kernel serves a convolution or an attention, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes, engines
from tilework.errors import error
from tilework.functional.attention import sides
from tilework.functional.conv_shapes import conv_plan
from tilework.functional.recurrent import GATES

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


def explain_attention(
    query: Shape,
    key: Shape,
    value_width: int | None = None,
    is_causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    dtype: Any = dtypes.float32,
) -> list[dict[str, str]]:
    """Who serves F.scaled_dot_product_attention of query (B, H, L, E) and key (B, G, S, E) on this
    machine now, a row a pass: "pass" ("forward", "backward"), "variant", "routine", "blocks" and
    "why".

    Values are `value_width` wide, or as wide as keys. ValueError where the shapes do not fit.

    >>> [row["routine"] for row in tw.explain_attention((1, 12, 1, 64), (1, 12, 2048, 64))]
    ['decode', 'recomputed']
    """
    op = "explain_attention"
    q, k = tuple(query), tuple(key)
    fits = len(q) == len(k) == 4 and q[0] == k[0] and q[3] == k[3] and k[1] > 0
    if not fits or q[1] % k[1] or min(*q, *k, 0 if value_width is None else value_width) < 0:
        raise error(
            ValueError, op, "query (B, H, L, E) and key (B, G, S, E) whose G divides H",
            f"{q} and {k}", "give four lengths each",
        )  # fmt: skip
    left, right = sides(op, "window", window)
    right = min(right, 0) if is_causal else right
    width = k[3] if value_width is None else value_width
    name = dtypes.check(dtype, op).name
    if engines.current_engine() == "native":
        module = engines.engine_module()
        rows = module.attention_services(name, list(q), list(k), width, left, right)
    else:
        blocks = f"{min(q[2], 64)} queries by {k[2]} keys"
        why = "BLAS multiplies, NumPy takes the softmax in between"
        rows = [(p, "numba", "blocks", blocks, why) for p in ("forward", "backward")]
    columns = ("pass", "variant", "routine", "blocks", "why")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def explain_recurrent(
    cell: str, input: Shape, hidden: int, dtype: Any = dtypes.float32
) -> list[dict[str, str]]:
    """Who serves a layer `cell` ("lstm", "gru", "rnn_tanh", "rnn_relu") of input (T, N, I) on this
    machine now, a row a pass: "pass" ("forward", "backward"), "variant", "routine" and "why".

    ValueError where the shape is not of three lengths, or the cell is none of these.

    >>> [row["routine"] for row in tw.explain_recurrent("lstm", (64, 32, 256), 256)]
    ['grouped', 'packed']
    """
    op, shape = "explain_recurrent", tuple(input)
    if cell not in GATES:
        raise error(ValueError, op, f"cell of {', '.join(GATES)}", cell, "name one")
    if len(shape) != 3 or min(*shape, hidden) < 1:
        raise error(
            ValueError, op, "input (T, N, I) and hidden, each at least 1", f"{shape} and {hidden}",
            "give whole numbers",
        )  # fmt: skip
    dtypes.check(dtype, op)
    if engines.current_engine() == "native":
        rows = engines.engine_module().recurrent_services(cell, *shape[:2], hidden)
    else:
        why = "BLAS multiplies, NumPy takes a step's gates"
        rows = [(p, "numba", "steps", why) for p in ("forward", "backward")]
    return [dict(zip(("pass", "variant", "routine", "why"), row, strict=True)) for row in rows]
