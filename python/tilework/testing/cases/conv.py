"""Cases of the convolutions and their transposed twins.

Each of kernel, stride, padding, dilation and groups is stepped around one small image, and channels
and widths one by one past the vector width; `--full` crosses the settings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tilework.testing import convolution
from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.cases.gemm import ACTIVATIONS, ITEM_BYTES
from tilework.testing.inputs import LAYOUTS, Inputs, Shape, arrays, laid_out, normal
from tilework.testing.tolerance import (
    exact,
    growth,
    of_magnitude,
    stored,
    working_eps,
)

Settings = dict[str, Any]

DTYPES = ("float32", "float64", "bfloat16")
IMAGE: Shape = (2, 6, 9, 11)
BASE: Shape = (4, 6, 3, 3)


# --- one case ---


def kernel_order(weight: Array) -> Array:
    """A weight in the memory order of our layers: (*kernel, I, O)."""
    last = (*range(2, weight.ndim), 1, 0)
    return np.ascontiguousarray(weight.transpose(last)).transpose(np.argsort(last))


def _inputs(x: Shape, weight: Shape, bias: int, layout: str = "", of_weight: str = "") -> Inputs:
    """Weights are scaled so that outputs are of order one."""

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        scale = np.dtype(t).type(1.0 / math.sqrt(max(math.prod(weight[1:]), 1)))
        w = normal(rng, t, *weight) * scale
        w = (
            kernel_order(w)
            if of_weight == "kernel order"
            else laid_out(w, of_weight or "contiguous")
        )
        images = laid_out(normal(rng, t, *x), layout or "contiguous")
        return (images, w, normal(rng, t, bias)) if bias else (images, w)

    return inputs


def _outputs(op: str, weight: Shape, settings: Settings) -> int:
    return weight[1] * settings.get("groups", 1) if "transpose" in op else weight[0]


# What may stand beside a case's settings.
_FIELDS = ("inputs", "differentiable", "dtypes", "quick", "bench", "setup", "peer")


def _case(
    op: str,
    x: Shape,
    weight: Shape,
    label: str = "",
    bias: bool = True,
    layouts: tuple[str, str] = ("", ""),
    **settings: Any,
) -> Case:
    """One call with `settings`, F's keyword arguments, among them fields of the Case."""
    fields = {name: settings.pop(name) for name in _FIELDS if name in settings}
    words = [f"{'x'.join(map(str, x))} by {'x'.join(map(str, weight))}"]
    words += [f"{k} {v}" for k, v in settings.items()]
    words += ["no bias"] if not bias else []
    outputs = _outputs(op, weight, settings) if bias else 0
    return Case(
        family="conv",
        op=op,
        label=label or ", ".join(words),
        reference=partial(convolution.reference(op), **settings),
        tolerance=partial(convolution.bound, op, settings),
        **{
            "inputs": _inputs(x, weight, outputs, *layouts),
            "call": None if "setup" in fields else _call(op, settings),
            "differentiable": (0, 1, 2)[: 2 + bias],
            "dtypes": DTYPES,
            **fields,
        },
    )


def _call(op: str, settings: Settings) -> Callable[..., Any]:
    def call(tw: Any, F: Any, *inputs: Any) -> Any:
        return getattr(F, op)(*inputs, **settings)

    return call


# --- conv2d, setting by setting ---


def _kernels() -> Iterator[Case]:
    for kernel, stride in itertools.product((1, 2, 3, 5, 7), (1, 2, 3)):
        weight = (4, 6, kernel, kernel)
        yield _case("conv2d", IMAGE, weight, stride=stride, padding=kernel // 2)
    for height, width in ((1, 3), (3, 1), (2, 5), (9, 11)):
        yield _case("conv2d", IMAGE, (4, 6, height, width), bias=False)
    yield _case("conv2d", IMAGE, BASE, stride=(1, 2), padding=1)
    yield _case("conv2d", IMAGE, (4, 6, 1, 1), stride=(3, 2))
    for kernel in (1, 3, 5):  # maps of one element
        yield _case("conv2d", (3, 6, 1, 1), (4, 6, kernel, kernel), padding=kernel // 2)
    yield _case("conv2d", (2, 3, 1, 9), (4, 3, 1, 4), padding=(0, 1))
    yield _case("conv2d", (2, 3, 9, 1), (4, 3, 4, 1), padding=(1, 0), stride=(2, 1))


def _paddings() -> Iterator[Case]:
    for padding in (0, 1, 2, 4, (1, 2), (2, 0), (0, 3), "valid", "same"):
        yield _case("conv2d", IMAGE, BASE, padding=padding)
    for kernel, dilation in (((2, 4), 1), ((5, 3), 2), ((4, 2), (3, 2))):
        yield _case("conv2d", IMAGE, (4, 6, *kernel), padding="same", dilation=dilation)
    for dilation, padding in ((2, 2), (3, 3), (2, 0), ((1, 3), (1, 0)), ((4, 1), 1)):
        yield _case("conv2d", IMAGE, BASE, padding=padding, dilation=dilation)
    yield _case("conv2d", IMAGE, BASE, padding=3, dilation=2, stride=2)
    yield _case("conv2d", IMAGE, BASE, padding=(4, 5), stride=3, dilation=(3, 2))


def _far() -> Iterator[Case]:
    """Windows that lie far apart, and taps that never meet the image."""
    kinds: tuple[Settings, ...] = (
        {"padding": 40, "dilation": 40},
        {"padding": (40, 1), "dilation": (41, 1)},
        {"padding": 200, "dilation": 100, "stride": 100},
        {"padding": (1, 300), "dilation": (1, 300), "stride": (1, 150)},
        {"padding": (300, 2), "stride": (300, 2)},
    )
    for settings in kinds:
        for weight, groups in ((BASE, 1), ((6, 1, 3, 3), 6), ((34, 3, 3, 3), 2)):
            yield _case("conv2d", IMAGE, weight, **settings, groups=groups)
        if "stride" not in settings:
            yield _case("conv_transpose2d", (2, 34, 7, 5), (34, 2, 3, 3), **settings)
    yield _case("conv1d", (2, 3, 9), (4, 3, 5), padding=100, dilation=50)
    yield _case("conv1d", (2, 3, 9), (4, 3, 5), padding=400, dilation=100, stride=200)
    far: Settings = {"padding": 500, "dilation": 500, "stride": 500, "output_padding": 3}
    yield _case("conv_transpose1d", (2, 3, 3), (3, 4, 3), **far)


def _groups() -> Iterator[Case]:
    for groups, inner, outer in (
        (2, 3, 2),
        (3, 2, 5),
        (2, 16, 16),
        (2, 17, 33),
        (4, 4, 4),
        (4, 8, 8),
        (5, 1, 3),
        (5, 3, 1),
        (33, 2, 2),
    ):
        image, weight = (2, groups * inner, 5, 7), (groups * outer, inner, 3, 3)
        yield _case("conv2d", image, weight, padding=1, groups=groups)
    yield _case("conv2d", IMAGE, (4, 3, 3, 3), padding=1, stride=2, dilation=2, groups=2)
    yield _case("conv2d", IMAGE, (4, 3, 1, 1), groups=2)
    for channels in (1, 3, 8, 15, 16, 17, 31, 33, 40):  # depthwise
        image = (2, channels, 6, 7)
        yield _case("conv2d", image, (channels, 1, 3, 3), padding=1, groups=channels)
    for kernel, stride, dilation, times in ((3, 2, 1, 1), (5, 1, 1, 1), (3, 1, 2, 1), (3, 1, 1, 2)):
        weight = (18 * times, 1, kernel, kernel)
        how: Settings = {"stride": stride, "padding": kernel // 2, "dilation": dilation}
        yield _case("conv2d", (2, 18, 9, 8), weight, **how, groups=18)


def _tails() -> Iterator[Case]:
    for n in (*range(1, 18), 23, 31, 32, 33):
        order = ("", "kernel order" if n % 2 else "")
        yield _case("conv2d", (2, n, 4, 5), (34 - n, n, 3, 3), layouts=order, padding=1)
        yield _case("conv2d", (1, 5, 3, n), (18, 5, 3, 3), layouts=order, padding=1)
        yield _case("conv2d", (2, n, 3, 5), (34 - n, n, 1, 1), layouts=order)
    for outputs in (47, 48, 49, 63, 64, 65, 96, 97):
        yield _case("conv2d", (1, 16, 4, 9), (outputs, 16, 3, 3), padding=1, stride=2)
    for channels in (1, 3):
        yield _case("conv2d", (2, channels, 17, 19), (24, channels, 7, 7), stride=2, padding=3)
        yield _case("conv2d", (2, channels, 9, 9), (16, channels, 3, 3), padding=1)
    for side in (7, 14, 15):
        yield _case("conv2d", (2, 33, side, side), (32, 33, 3, 3), padding=1)
    for channels in (127, 128, 129, 257):  # long sums
        yield _case("conv2d", (1, channels, 3, 4), (17, channels, 3, 3), padding=1)


def _streamed() -> Iterator[Case]:
    """Outputs of 4 MiB and more that go around the caches, by the routines for few channels and for
    any."""
    for image, weight in (((1, 3, 131, 130), (64, 3, 3, 3)), ((1, 17, 131, 130), (64, 17, 1, 2))):
        label = f"streamed, {image[1]} channels"
        yield _case("conv2d", image, weight, label, dtypes=("float32",), differentiable=(0,))


def _layouts() -> Iterator[Case]:
    for layout in LAYOUTS:
        for op, weight in (("conv2d", BASE), ("conv_transpose2d", (6, 4, 3, 3))):
            label = f"{layout} images"
            yield _case(op, IMAGE, weight, label, layouts=(layout, ""), padding=1)
            label = f"{layout} weight"
            yield _case(op, IMAGE, weight, label, layouts=("channels_last", layout), stride=2)
    for layout in ("contiguous", "channels_last", "gapped"):
        for weight, groups in ((BASE, 1), ((4, 6, 1, 1), 1), ((6, 1, 3, 3), 6), ((6, 2, 3, 3), 3)):
            label = f"{layout}, weight {weight} in kernel order"
            layouts = (layout, "kernel order")
            yield _case("conv2d", IMAGE, weight, label, layouts=layouts, groups=groups)


def _planted(value: float, x: Shape, weight: Shape) -> Inputs:
    """One such element within the image."""

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        images, *rest = _inputs(x, weight, weight[0])(rng, t)
        images[(-1, 1, *(n // 2 for n in x[2:]))] = value
        return (images, *rest)

    return inputs


def _values() -> Iterator[Case]:
    for value in (math.inf, -math.inf, math.nan):
        kinds: tuple[tuple[Shape, Settings], ...] = (
            (BASE, {"padding": 1}),
            ((4, 6, 1, 1), {}),
            ((6, 1, 3, 3), {"groups": 6, "padding": 1}),
            ((6, 2, 3, 3), {"groups": 3, "stride": 2}),
            ((33, 6, 3, 3), {"stride": 2, "padding": 1}),
        )
        for weight, settings in kinds:
            label = f"{value} by {weight}"
            inputs = _planted(value, IMAGE, weight)
            yield _case(
                "conv2d", IMAGE, weight, label, inputs=inputs, differentiable=(), **settings
            )
        label, inputs = f"{value}", _planted(value, IMAGE, (6, 6, 3, 3))
        yield _case(
            "conv_transpose2d", IMAGE, (6, 6, 3, 3), label, inputs=inputs, differentiable=(),
            stride=2,
        )  # fmt: skip


def _batches() -> Iterator[Case]:
    yield _case("conv2d", (0, 6, 9, 11), BASE, padding=1)
    yield _case("conv2d", (0, 6, 9, 11), (6, 1, 3, 3), groups=6)
    yield _case("conv2d", (0, 6, 9, 11), (4, 6, 1, 1))
    yield _case("conv_transpose2d", (0, 6, 9, 11), (6, 4, 3, 3), stride=2)
    yield _case("conv2d", (6, 9, 11), BASE, padding=1)
    yield _case("conv_transpose2d", (6, 9, 11), (6, 4, 3, 3), stride=2)
    yield _case("conv2d", (9, 6, 5, 4), BASE, padding=1)


def _one_axis() -> Iterator[Case]:
    kinds: tuple[tuple[int, Settings], ...] = (
        (1, {}),
        (3, {"padding": 1}),
        (4, {"stride": 2, "padding": 1}),
        (3, {"padding": "same", "dilation": 3}),
        (5, {"groups": 3, "padding": (2,)}),
    )
    for kernel, settings in kinds:
        groups = settings.get("groups", 1)
        yield _case("conv1d", (2, 6, 19), (9, 6 // groups, kernel), **settings)
    yield _case("conv1d", (6, 19), (4, 6, 3), bias=False)
    yield _case("conv1d", (0, 6, 19), (4, 6, 3))
    yield _case("conv1d", (2, 1, 33), (17, 1, 9), stride=4)
    yield _case("conv_transpose1d", (2, 6, 11), (6, 4, 4), stride=2, padding=1)
    yield _case("conv_transpose1d", (2, 6, 11), (6, 2, 3), stride=3, output_padding=2, groups=3)
    yield _case("conv_transpose1d", (6, 11), (6, 4, 3), bias=False, dilation=2)
    # Few output channels, a stride and more apart: by an overlapping sum.
    yield _case("conv_transpose1d", (2, 6, 11), (6, 1, 16), stride=4)
    yield _case("conv_transpose1d", (2, 6, 11), (6, 3, 17), stride=5, padding=3, output_padding=2)
    yield _case("conv_transpose1d", (6, 7), (6, 2, 30), bias=False, stride=7, padding=20)


# --- the transposed twin ---


def _transposed() -> Iterator[Case]:
    image = (2, 6, 5, 7)
    for kernel, stride in itertools.product((1, 2, 3, 4, 5), (1, 2, 3)):
        weight = (6, 4, kernel, kernel)
        yield _case("conv_transpose2d", image, weight, stride=stride, padding=(kernel - 1) // 2)
    kinds: tuple[Settings, ...] = (
        {"stride": 2, "output_padding": 1},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 3, "output_padding": (1, 2)},
        {"dilation": 2},
        {"dilation": 3, "stride": 2, "padding": (2, 1), "output_padding": 2},
        {"stride": (1, 2), "padding": (0, 1)},
        {"stride": 4},
        {"padding": 2},
    )
    for settings in kinds:
        yield _case("conv_transpose2d", image, (6, 4, 3, 3), **settings)
    for groups, inner, outer in ((2, 3, 2), (3, 2, 5), (6, 1, 1), (6, 1, 2), (2, 17, 16)):
        x, weight = (2, groups * inner, 4, 5), (groups * inner, outer, 3, 3)
        yield _case("conv_transpose2d", x, weight, groups=groups, stride=2, padding=1)
    for n in (1, 3, 15, 16, 17, 31, 33):
        x, weight = (1, n, 3, 4), (n, 34 - n, 4, 4)
        layouts = ("", "kernel order" if n % 2 else "")
        yield _case("conv_transpose2d", x, weight, layouts=layouts, stride=2, padding=1)
    yield _case("conv_transpose2d", (2, 6, 1, 1), (6, 4, 3, 3), stride=2, padding=1)
    yield _case("conv_transpose2d", image, (6, 4, 2, 2), bias=False, stride=2)


# --- unfold and fold: convolutions by the kernels that pick one element ---


def _windows() -> Iterator[Case]:
    kinds: tuple[tuple[Shape, Shape, Settings], ...] = (
        ((2, 3, 7, 8), (3, 3), {}),
        ((2, 3, 7, 8), (2, 3), {"padding": (1, 2), "stride": (2, 3)}),
        ((2, 3, 7, 8), (3, 2), {"dilation": (2, 3), "padding": 1}),
        ((2, 1, 5, 5), (5, 5), {"stride": 2}),
        ((3, 7, 8), (2, 2), {"stride": 2}),
        ((0, 3, 7, 8), (3, 3), {}),
        ((2, 3, 7, 8), (3, 3), {"dilation": 60, "padding": (60, 61)}),
        ((2, 3, 7, 8), (3, 3), {"dilation": 60, "padding": 120, "stride": 60}),
    )
    for x, kernel, how in kinds:
        label = f"{'x'.join(map(str, x))}, kernel {kernel}, " + str(how)
        yield Case(
            family="conv",
            op="unfold",
            label=label,
            inputs=arrays(x, layouts=["channels_last"]),
            call=lambda tw, F, x, kernel=kernel, how=how: F.unfold(x, kernel, **how),
            reference=partial(convolution.unfolded, kernel=kernel, how=how),
            tolerance=exact,
            differentiable=(0,),
        )
        columns = convolution.unfolded(np.zeros(x), kernel, how).shape
        size = x[-2:]
        yield Case(
            family="conv",
            op="fold",
            label=label,
            inputs=arrays(columns),
            call=lambda tw, F, y, kernel=kernel, how=how, size=size: F.fold(y, size, kernel, **how),
            reference=partial(convolution.folded, size=size, kernel=kernel, how=how),
            tolerance=of_magnitude(
                lambda y, kernel=kernel, how=how, size=size: convolution.folded(
                    np.abs(y), size, kernel, how
                ),
                math.prod(kernel),
            ),
            differentiable=(0,),
        )


# --- what is fused ---


def _through(
    slope: float, settings: Settings, dtype: str, expected: Array, *inputs: Array
) -> Array:
    """The sum's error through an activation, and the activation's own rounding."""
    size, e = convolution.magnitude("conv2d", settings, *inputs), working_eps(dtype)
    error = growth(convolution.terms("conv2d", inputs[1], settings.get("groups", 1)) + 1) * e * size
    bound = slope * error + e * (4.0 * np.abs(expected) + np.minimum(size, 1.0))
    return np.asarray(stored(dtype, expected, bound))


FUSED: tuple[tuple[Shape, Shape, Settings], ...] = (
    (IMAGE, BASE, {"padding": 1}),
    (IMAGE, (18, 6, 1, 1), {}),
    (IMAGE, (6, 1, 3, 3), {"groups": 6, "stride": 2}),
    ((0, 6, 9, 11), BASE, {}),
)


def _fused() -> Iterator[Case]:
    for name, (function, slope, torch_name) in ACTIVATIONS.items():
        how = {"approximate": "tanh"} if name == "gelu_tanh" else {}
        for x, weight, settings in FUSED:

            def call(
                tw: Any, F: Any, *inputs: Any, name: str = name, settings: Settings = settings
            ) -> Any:
                return F.conv2d(*inputs, **settings, activation=name)

            def peer(
                torch: Any, F: Any, *inputs: Any, settings: Settings = settings,
                word: str = torch_name, how: Settings = how,
            ) -> Any:  # fmt: skip
                return getattr(F, word)(F.conv2d(*inputs, **settings), **how)

            def expected(
                x: Array, weight: Array, bias: Array, settings: Settings = settings,
                function: Callable[[Array], Array] = function,
            ) -> Array:  # fmt: skip
                return function(convolution.conv(x, weight, bias, **settings))

            yield Case(
                family="conv",
                op=f"conv2d_{name}",
                label=f"{'x'.join(map(str, x))} by {'x'.join(map(str, weight))}",
                inputs=_inputs(x, weight, weight[0]),
                call=call,
                peer=peer,
                reference=expected,
                tolerance=partial(_through, slope, settings),
                differentiable=(0, 1, 2),
                dtypes=DTYPES,
            )


def _residuals() -> Iterator[Case]:
    for (x, weight, settings), layout in itertools.product(FUSED, ("contiguous", "channels_last")):

        def inputs(
            rng: Generator, t: str, x: Shape = x, weight: Shape = weight, layout: str = layout,
            settings: Settings = settings,
        ) -> tuple[Any, ...]:  # fmt: skip
            made = _inputs(x, weight, weight[0], layout)(rng, t)
            shape = convolution.conv(*made, **settings).shape
            return (*made, laid_out(normal(rng, t, *shape), layout))

        def tolerance(
            dtype: str, expected: Array, *inputs: Array, settings: Settings = settings
        ) -> Array:
            size = convolution.magnitude("conv2d", settings, *inputs[:3]) + np.abs(inputs[3])
            n = convolution.terms("conv2d", inputs[1], settings.get("groups", 1)) + 1
            return np.asarray(stored(dtype, expected, growth(n) * working_eps(dtype) * size))

        yield Case(
            family="conv",
            op="conv2d_residual",
            label=f"{'x'.join(map(str, x))} by {'x'.join(map(str, weight))}, {layout}",
            inputs=inputs,
            call=lambda tw, F, x, w, b, r, settings=settings: F.conv2d(
                x, w, b, **settings, residual=r
            ),
            peer=lambda torch, F, x, w, b, r, settings=settings: F.conv2d(x, w, b, **settings) + r,
            reference=lambda x, w, b, r, settings=settings: (
                convolution.conv(x, w, b, **settings) + r
            ),
            tolerance=tolerance,
            differentiable=(0, 1, 2, 3),
            dtypes=DTYPES,
        )


# --- under --full ---


def _crossed() -> Iterator[Case]:
    for kernel, stride, pad, dilation, groups in itertools.product(
        (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2), (1, 2, 8)
    ):
        settings: Settings = {"stride": stride, "padding": pad, "dilation": dilation}
        label = (
            f"kernel {kernel}, stride {stride}, padding {pad}, {dilation} apart, {groups} groups"
        )
        settings.update(groups=groups, quick=False)
        weight = (16, 8 // groups, kernel, kernel)
        yield _case("conv2d", (2, 8, 10, 12), weight, label, **settings)
        if pad <= dilation * (kernel - 1):
            weight = (8, 16 // groups, kernel, kernel)
            yield _case("conv_transpose2d", (2, 8, 5, 7), weight, label, **settings)
    for n in range(1, 34):
        for m in (1, 3, 16, 31, 33):
            yield _case("conv2d", (1, n, 4, m), (m, n, 3, 3), quick=False, padding=1)
    for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7)):
        weight = (channels, channels, 3, 3)
        yield _case("conv2d", (1, channels, side, side), weight, quick=False, padding=1, bias=False)


# --- what is timed ---


def _as_layers_hold(op: str, settings: Settings) -> Callable[..., Callable[[], Any]]:
    """The call with the weight in the memory order that our layers give it."""

    def setup(tw: Any, F: Any, x: Any, weight: Any, bias: Any) -> Callable[[], Any]:
        order = (*range(2, weight.ndim), 1, 0)
        back = tuple(int(i) for i in np.argsort(order))
        laid = weight.detach().permute(order).contiguous()
        laid.numpy()  # of memory that others may write, no call remembers a packed copy
        weight.data = laid.permute(back)
        return lambda: getattr(F, op)(x, weight, bias, **settings)

    return setup


def _frozen(op: str, settings: Settings) -> Callable[..., Callable[[], Any]]:
    """The call with a layer's weight and bias that nn.utils.freeze has made read-only."""

    def setup(tw: Any, F: Any, x: Any, weight: Any, bias: Any) -> Callable[[], Any]:
        layer = tw.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:]).to(weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})
        tw.nn.utils.freeze(layer)
        return lambda: getattr(F, op)(x, layer.weight, layer.bias, **settings)

    return setup


def _timed_case(
    name: str,
    x: Shape,
    weight: Shape,
    op: str = "conv2d",
    quick: bool = False,
    dtype: str = "float32",
    modes: tuple[Mode, ...] = ("forward", "backward"),
    **settings: Any,
) -> Iterator[Case]:
    groups = settings.get("groups", 1)
    outputs = _outputs(op, weight, settings)
    at = np.zeros((1, 1, *x[2:]), np.float32)
    out = convolution.reference(op)(
        at, np.zeros((1, 1, *weight[2:]), np.float32), **_alone(settings)
    ).shape[2:]
    elements = math.prod(x), math.prod(weight), x[0] * outputs * math.prod(out)
    windows = x if "transpose" in op else (x[0], 0, *out)
    products = windows[0] * math.prod(windows[2:]) * math.prod(weight)
    if "transpose" not in op:
        assert weight[1] * groups == x[1]
    for mode in modes:
        backward = mode == "backward"
        label = f"{name} {mode}{' bfloat16' if dtype == 'bfloat16' else ''}"
        bench = Bench(
            label,
            flops=(3 if backward else 1) * 2.0 * products,
            bytes=ITEM_BYTES[dtype] * (2 if backward else 1) * sum(elements),
            mode=mode,
            dtype=dtype,
            quick=quick,
        )
        setup = _frozen if mode == "frozen" else _as_layers_hold
        yield _case(
            op, x, weight, label, quick=False, bench=bench, setup=setup(op, settings),
            differentiable=() if mode == "frozen" else (0, 1, 2), peer=_call(op, settings),
            dtypes=(dtype,), **settings,
        )  # fmt: skip


def _alone(settings: Settings) -> Settings:
    return {k: v for k, v in settings.items() if k != "groups"}


def _timed() -> Iterator[Case]:
    for dtype, (channels, side), n in itertools.product(
        ("float32", "bfloat16"), ((64, 56), (128, 28), (256, 14), (512, 7)), (1, 16)
    ):
        name, x = f"conv 3x3 {channels}@{side} N={n}", (n, channels, side, side)
        quick = channels == 128 and n == 1
        yield from _timed_case(
            name, x, (channels, channels, 3, 3), quick=quick, dtype=dtype, padding=1,
            modes=("forward", "frozen", "backward") if n == 1 else ("forward", "backward"),
        )  # fmt: skip
    yield from _timed_case("conv 1x1 64->256@56 N=16", (16, 64, 56, 56), (256, 64, 1, 1))
    yield from _timed_case(
        "conv stem 7x7 s2 3->64@224 N=16", (16, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3
    )
    yield from _timed_case(
        "conv depthwise 3x3 96@56 N=16", (16, 96, 56, 56), (96, 1, 3, 3), padding=1, groups=96
    )
    yield from _timed_case(
        "conv grouped 3x3 g32 128@28 N=16", (16, 128, 28, 28), (128, 4, 3, 3), padding=1, groups=32
    )
    yield from _timed_case(
        "conv transposed 4x4 s2 256->128@16 N=16", (16, 256, 16, 16), (256, 128, 4, 4),
        "conv_transpose2d", stride=2, padding=1,
    )  # fmt: skip
    # The last layer of a decoder of sound: one channel, of overlapping windows.
    yield from _timed_case(
        "conv transposed 16 s8 256->1@4000 N=1", (1, 256, 4000), (256, 1, 16),
        "conv_transpose1d", stride=8,
    )  # fmt: skip
    yield from _timed_case(
        "conv dilated 3x3 256@28 N=16", (16, 256, 28, 28), (256, 256, 3, 3), padding=2, dilation=2
    )


CASES: tuple[Case, ...] = (
    *_kernels(),
    *_paddings(),
    *_far(),
    *_groups(),
    *_tails(),
    *_streamed(),
    *_layouts(),
    *_values(),
    *_batches(),
    *_one_axis(),
    *_transposed(),
    *_windows(),
    *_fused(),
    *_residuals(),
    *_crossed(),
    *_timed(),
)
