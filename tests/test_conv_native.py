"""Convolutions of the compiled engine against float64 loops: shapes, strides, layouts, threads."""

import itertools

import numpy as np
import pytest

from tilework.testing.inputs import normal
from tilework.testing.isas import runnable

from .conv_definition import Conv, assert_sum, check_everything, weight_as

native = pytest.importorskip("tilework._native", reason="tests the compiled engine")

FAMILY = "conv"  # whose variants the fixture `isa` goes over
TILES = ("twin", "amx")
DTYPES = ["float32", "float64", "bfloat16"]
WEIGHTS = ["oihw", "hwio", "gaps"]


P1 = {"padding": (1, 1)}
CONVS = {
    "1x1": Conv(2, 20, 37, (5, 6), (1, 1)),
    "1x1 s2": Conv(2, 20, 37, (7, 6), (1, 1), (2, 2)),
    "1x1 padded": Conv(1, 17, 3, (4, 4), (1, 1), **P1),
    "3x3": Conv(2, 17, 33, (9, 15), (3, 3), **P1),
    "3x3 7 wide": Conv(3, 40, 70, (7, 7), (3, 3), **P1),
    "3x3 valid": Conv(1, 16, 32, (6, 31), (3, 3)),
    "3x3 s2": Conv(2, 33, 18, (15, 16), (3, 3), (2, 2), (1, 1)),
    "3x3 s2 even": Conv(1, 18, 5, (8, 8), (3, 3), (2, 2), (1, 1)),
    "3x3 s3x1": Conv(1, 18, 5, (11, 9), (3, 3), (3, 1), (0, 2)),
    "3x3 wide": Conv(2, 64, 48, (14, 15), (3, 3), **P1),  # enough for tiles, as the next two
    "3x3 wide s2": Conv(4, 64, 96, (23, 22), (3, 3), (2, 2), (1, 1)),
    "3x3 wide dilated": Conv(1, 64, 64, (17, 16), (3, 3), (1, 1), (2, 2), (2, 2)),
    "3x3 dilated": Conv(2, 18, 20, (13, 12), (3, 3), (1, 1), (2, 2), (2, 2)),
    "dilated s2": Conv(1, 18, 20, (17, 14), (3, 2), (2, 2), (3, 1), (3, 2)),
    "stem": Conv(2, 3, 40, (21, 22), (7, 7), (2, 2), (3, 3)),
    "5x5 few": Conv(2, 1, 6, (12, 13), (5, 5), padding=(2, 2)),
    "few, dilated": Conv(1, 3, 20, (12, 13), (3, 3), (1, 1), (2, 2), (2, 3)),
    "4x4 s2": Conv(1, 35, 20, (16, 16), (4, 4), (2, 2), (1, 1)),
    "2x2 s2": Conv(1, 20, 33, (8, 6), (2, 2), (2, 2)),
    "kernel under stride": Conv(1, 20, 33, (11, 10), (2, 1), (3, 4)),
    "even same": Conv(1, 20, 18, (6, 9), (4, 2), padding=(1, 0), out_size=(6, 9)),
    "all of the image": Conv(3, 18, 20, (5, 4), (5, 4)),
    "padding over the image": Conv(1, 18, 20, (2, 3), (3, 3), padding=(4, 5)),
    "1-d": Conv(2, 19, 40, (1, 50), (1, 5), padding=(0, 2)),
    "1-d few": Conv(2, 2, 40, (1, 50), (1, 9), (1, 3), padding=(0, 4)),
    "tall": Conv(1, 18, 20, (40, 1), (3, 1), padding=(1, 0)),
    "one pixel": Conv(2, 18, 20, (1, 1), (3, 3), **P1),
    "two wide": Conv(2, 18, 20, (3, 2), (3, 3), **P1),
    "grouped": Conv(2, 12, 18, (7, 9), (3, 3), **P1, groups=3),
    "grouped wide": Conv(1, 40, 36, (7, 9), (3, 3), (2, 2), (1, 1), groups=2),
    "depthwise": Conv(2, 21, 21, (7, 9), (3, 3), **P1, groups=21),
    "depthwise x2": Conv(2, 5, 10, (7, 9), (3, 3), (2, 2), (1, 1), groups=5),
    "depthwise, wide rows": Conv(1, 37, 37, (5, 40), (3, 3), **P1, groups=37),
    "depthwise 5x5 s2": Conv(2, 33, 33, (12, 41), (5, 5), (2, 2), (2, 2), groups=33),
    "depthwise dilated": Conv(1, 16, 16, (9, 23), (3, 3), (1, 1), (2, 2), (2, 2), groups=16),
    "groups of 4": Conv(2, 32, 32, (9, 31), (3, 3), **P1, groups=8),
    "groups of 8": Conv(1, 40, 40, (5, 20), (3, 3), (2, 1), (1, 1), groups=5),
    "groups of 3": Conv(1, 21, 21, (5, 20), (3, 2), **P1, groups=7),
    "groups of 2, outs of 6": Conv(1, 10, 30, (5, 20), (1, 3), (1, 1), (0, 1), groups=5),
    "1x1 grouped": Conv(2, 12, 18, (7, 9), (1, 1), groups=3),
    "rows unread": Conv(1, 18, 20, (6, 6), (2, 2), out_size=(3, 4)),
    "beyond the end": Conv(1, 18, 20, (4, 4), (2, 2), out_size=(7, 6)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONVS)
def test_against_the_definition(isa, name, dtype):
    check_everything(CONVS[name], dtype)


LAYOUTS = ["channels_last", "transposed", "gapped", "reversed", "misaligned"]


@pytest.mark.parametrize("name", ["3x3", "3x3 s2", "stem", "grouped", "1x1", "1-d", "3x3 dilated"])
@pytest.mark.parametrize("w_layout", WEIGHTS)
@pytest.mark.parametrize("x_layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layouts(isa, name, x_layout, w_layout, dtype):
    check_everything(CONVS[name], dtype, x_layout, w_layout)


# More than one block of channels, of columns, of pixels, of both; pixels summed up in slices.
LARGE = {
    "many channels": Conv(1, 1100, 20, (3, 4), (3, 3), **P1),
    "many outs": Conv(2, 130, 900, (4, 5), (3, 3), **P1),
    "many taps": Conv(1, 40, 40, (1, 200), (1, 129), padding=(0, 64)),
    "many pixels": Conv(2, 20, 40, (9, 600), (3, 3), **P1),
    "slices of images": Conv(5, 16, 16, (28, 28), (3, 3), **P1),
    "slices of rows": Conv(1, 20, 16, (90, 100), (3, 3), (2, 2), (1, 1)),
    "slices of groups": Conv(3, 16, 12, (30, 31), (3, 3), **P1, groups=4),
    "narrow": Conv(2, 330, 40, (9, 7), (3, 3), **P1),
    "narrow groups": Conv(2, 40, 36, (14, 14), (5, 5), (2, 2), (2, 2), groups=2),
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("x_layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_blocks(isa, name, x_layout, dtype):
    for w_layout in WEIGHTS[:2]:
        check_everything(LARGE[name], dtype, x_layout, w_layout)


# Channels few enough to be gathered: sums of several chains, windows that lie outside of x
# altogether, groups beside each other in a pixel.
FEW = {
    "chains": Conv(2, 15, 20, (9, 40), (7, 7), (1, 2), (3, 3)),
    "outside": Conv(1, 2, 5, (2, 3), (5, 5), padding=(9, 9)),
    "groups": Conv(2, 22, 26, (9, 11), (3, 3), **P1, groups=2),
}


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("x_layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_few_channels(isa, name, x_layout, dtype):
    for w_layout in WEIGHTS[:2]:
        check_everything(FEW[name], dtype, x_layout, w_layout)


def test_few_channels_to_an_output_around_the_caches(isa):
    conv = Conv(1, 3, 64, (130, 130), (3, 3), **P1)  # 4 MiB
    x, w, _ = conv.tensors("float32")
    y = native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "none", False)[0]
    x, w = x.astype(np.float64), w.astype(np.float64)
    assert_sum(y, conv.forward(x, w), conv.forward(abs(x), abs(w)), 27, "the output")


@pytest.mark.parametrize("channels", [3, 17])
@pytest.mark.parametrize("width", [*range(1, 20), 28, 29, 43])
def test_every_width(isa, channels, width):
    for padding, step in itertools.product((0, 1, 2), (1, 2)):
        if width + 2 * padding >= 3:
            conv = Conv(1, channels, 5, (3, width), (3, 3), (1, step), (1, padding))
            check_everything(conv, "float32", "channels_last", "hwio")


@pytest.mark.parametrize("outs", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_every_count_of_columns(isa, outs):
    check_everything(Conv(1, outs, outs, (4, 5), (3, 3), **P1), "float32")


@pytest.mark.parametrize(
    "conv",
    [
        Conv(0, 4, 5, (6, 6), (3, 3), **P1),
        Conv(2, 4, 5, (0, 6), (1, 3), padding=(0, 1)),
        Conv(2, 4, 5, (6, 6), (3, 3), out_size=(0, 4)),
    ],
    ids=["images", "rows in", "rows out"],
)
def test_empty(isa, conv):
    check_everything(conv, "float32")


def test_out_sizes_beyond_reach_are_bias(isa):
    conv = Conv(1, 20, 18, (3, 3), (2, 2), (3, 3))
    _, w, dy = conv.tensors("float32")
    bias = np.arange(20, dtype=np.float32)
    y, _ = native.conv_transpose_forward(dy, w, bias, *conv.window, (7, 8), "none", False)
    np.testing.assert_array_equal(y[:, :, 2:], np.broadcast_to(bias[:, None, None], (1, 20, 5, 8)))


ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"]
FUSED = ["3x3", "stem", "1x1", "grouped", "many channels"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", FUSED)
def test_epilogue(isa, name, activation):
    """Bias, residual and activation are what linear's epilogue makes of the plain convolution."""
    conv = {**CONVS, **LARGE}[name]
    x, w, dy = conv.tensors("float64")
    o = conv.y_shape[1]
    rng = np.random.default_rng(1)
    bias, residual = normal(rng, "float64", o), normal(rng, "float64", *conv.y_shape)
    plain = native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "none", False)[0]
    for b, r in itertools.product((None, bias), (None, residual)):
        z = plain + (0 if b is None else b[:, None, None]) + (0 if r is None else r)
        want = z if activation == "none" else native.unary_forward(activation, z)
        y, saved = native.conv_forward(x, w, b, r, *conv.window, conv.out_size, activation, True)
        np.testing.assert_allclose(y, want, rtol=1e-12, atol=1e-12)
        if activation == "none":
            assert saved is None
            dz = dy
        else:
            held = z if native.UNARY_OPS[activation] == "input" else want
            np.testing.assert_allclose(saved, held, rtol=1e-12, atol=1e-12)
            dz = native.unary_backward(activation, dy, np.ascontiguousarray(saved))
        found = native.conv_backward(
            dy, x, w, saved, *conv.window, activation, True, True, True, True
        )
        right = native.conv_backward(dz, x, w, None, *conv.window, "none", True, True, True, True)
        for ours, theirs in zip(found, right, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_transposed_epilogue(isa, activation):
    conv = CONVS["4x4 s2"]
    x, w, dy = conv.tensors("float64")
    bias = normal(np.random.default_rng(1), "float64", conv.x_shape[1])
    size = conv.x_shape[2:]
    plain = native.conv_transpose_forward(dy, w, None, *conv.window, size, "none", False)[0]
    z = plain + bias[:, None, None]
    y, saved = native.conv_transpose_forward(dy, w, bias, *conv.window, size, activation, True)
    want = z if activation == "none" else native.unary_forward(activation, z)
    np.testing.assert_allclose(y, want, rtol=1e-12, atol=1e-12)
    dz = x
    if activation != "none":
        dz = native.unary_backward(activation, x, np.ascontiguousarray(saved))
    found = native.conv_transpose_backward(
        x, dy, w, saved, *conv.window, activation, True, True, True
    )
    right = native.conv_transpose_backward(dz, dy, w, None, *conv.window, "none", True, True, True)
    for ours, theirs in zip(found, right, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_gives_what_is_asked_for(isa):
    conv = CONVS["3x3"]
    x, w, dy = conv.tensors("float32")
    wanted = native.conv_backward(dy, x, w, None, *conv.window, "none", True, True, True, True)
    for asked in itertools.product((False, True), repeat=4):
        found = native.conv_backward(dy, x, w, None, *conv.window, "none", *asked)
        for ask, value, right in zip(asked, found, wanted, strict=True):
            if ask:
                np.testing.assert_array_equal(value, right)
            else:
                assert value is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", ["3x3", "3x3 s2", "3x3 wide", "3x3 wide s2", "stem", "1x1", "3x3 dilated", "grouped"]
)
def test_special_values_reach_their_windows_and_no_other(isa, name, value):
    conv = CONVS[name]
    x, w, dy = conv.tensors("float32")
    h, col = 2, conv.x_shape[3] - 1
    mark = np.zeros(conv.x_shape)
    mark[0, 1, h, col] = 1
    touched = conv.forward(mark, abs(w).astype(np.float64)) > 0
    assert touched.any()
    assert not touched.all()
    forward = lambda: native.conv_forward(  # noqa: E731
        x, w, None, None, *conv.window, conv.out_size, "none", False
    )[0]
    clean = forward()
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    exact, size = conv.forward(x64, w64), conv.forward(abs(x64), abs(w64))
    x[0, 1, h, col] = value
    dirty = forward()
    assert not np.isfinite(dirty[touched]).any()
    services = native.conv_services(
        "float32", conv.x_shape, conv.w_shape, *conv.window, conv.out_size
    )
    # Tiles leave whole rows that meet the value to another routine, and so does a patch its pixels.
    if isa in TILES or "winograd" in services[0][2]:
        terms = conv.w_shape[1] * len(conv.taps)
        assert_sum(dirty[~touched], exact[~touched], size[~touched], terms, "beside the value")
    else:
        np.testing.assert_array_equal(dirty[~touched], clean[~touched])
    # The weights' gradient: every out meets the value through the taps that reach it.
    reached = conv.weight_gradient(abs(dy).astype(np.float64), mark) > 0
    dw = native.conv_backward(dy, x, w, None, *conv.window, "none", False, True, False)[1]
    assert not np.isfinite(dw[reached]).any()
    assert np.isfinite(dw[~reached]).all()


THREADED = {
    **{name: conv for name, conv in LARGE.items() if name != "many taps"},
    "rows": Conv(1, 40, 60, (30, 30), (3, 3), **P1),
    "images": Conv(7, 64, 64, (12, 12), (3, 3), (2, 2), (1, 1)),
    "wide": Conv(3, 64, 100, (20, 21), (3, 3), **P1),
    "groups": Conv(2, 64, 96, (20, 20), (3, 3), **P1, groups=8),
    "stem": Conv(3, 3, 64, (60, 60), (7, 7), (2, 2), (3, 3)),
    "few": Conv(3, 5, 7, (40, 41), (5, 5), padding=(2, 2)),
}


@pytest.mark.parametrize("name", THREADED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_threads_do_not_change_a_bit(isa, threads, name, dtype):
    conv = THREADED[name]
    x, w, dy = conv.tensors(dtype)
    bias = np.arange(conv.y_shape[1]).astype(dtype)
    results = []
    for count in (1, 2, 3, 8):
        threads(count)
        y, saved = native.conv_forward(x, w, bias, dy, *conv.window, conv.out_size, "gelu", True)
        results.append(
            [
                y,
                saved,
                *native.conv_backward(dy, x, w, saved, *conv.window, "gelu", True, True, True),
            ]
        )
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_cut_does_not_show_in_what_infinite_weights_give(isa, threads):
    """Beyond x's border they may meet zeros or nothing, but so for any number of threads."""
    conv = Conv(1, 400, 16, (13, 7), (3, 3), **P1)
    x, w, _ = conv.tensors("float32")
    w[:, 0, 1, [0, 2]] = np.inf  # the borders of every row
    arguments = (x, w, None, None, *conv.window, conv.out_size, "none", False)
    results = []
    for count in (1, 2, 3, 4, 5):
        threads(count)
        results.append(native.conv_forward(*arguments)[0])
    assert np.isnan(results[0]).any()
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def rounded_once(arrays):
    return [native.narrow(a) if a is not None else None for a in arrays]


@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("name", [n for n in {**CONVS, **THREADED} if n != "1x1"])
def test_bfloat16_is_float32_rounded_once(name, activation):
    """Where the CPU has no products of bfloat16, the same routine sums the same numbers."""
    conv = {**CONVS, **THREADED}[name]
    x, w, residual = conv.tensors("bfloat16")
    bias = np.arange(conv.y_shape[1]).astype("bfloat16")
    operands = (x, w, bias, residual)
    before = native.active_isa()
    for isa in [i for i in runnable("conv") if i in ("generic", "avx2", "avx512")]:
        native.set_isa(isa)
        narrow = native.conv_forward(*operands, *conv.window, conv.out_size, activation, True)
        wide = native.conv_forward(
            *map(native.widen, operands), *conv.window, conv.out_size, activation, True
        )
        for ours, theirs in zip(narrow, rounded_once(wide), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    native.set_isa(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("w_layout", ["oihw", "hwio"])
def test_packed_weights_change_no_bit(isa, threads, dtype, w_layout):
    for name, conv in {**CONVS, **THREADED}.items():
        if name == "1x1":  # a product, whose sums may be cut elsewhere
            continue
        x, w, residual = conv.tensors(dtype)
        w = weight_as(w, w_layout)
        packed = native.pack_conv_weight(w)
        arguments = (x, w, None, residual, *conv.window, conv.out_size, "relu", False)
        plain = native.conv_forward(*arguments)[0]
        for count in (1, 3):
            threads(count)
            ours = native.conv_forward(*arguments, packed)[0]
            np.testing.assert_array_equal(ours, plain, err_msg=name)
        # Few channels or outs are gathered, or read by lanes, from weights as they lie.
        as_they_lie = conv.w_shape[1] < 16 or conv.w_shape[0] // conv.groups <= 8
        assert packed.nbytes > 0 or as_they_lie, name


def test_packed_weights_follow_the_isa():
    conv, before = CONVS["3x3"], native.active_isa()
    x, w, _ = conv.tensors("float32")
    packed = native.pack_conv_weight(w)
    arguments = (x, w, None, None, *conv.window, conv.out_size, "none", False)
    for isa in [*runnable("conv"), "generic"]:
        native.set_isa(isa)
        plain = native.conv_forward(*arguments)[0]
        np.testing.assert_array_equal(native.conv_forward(*arguments, packed)[0], plain)
    native.set_isa(before)
    # Of 33 outputs: as one group, then as three.
    many = np.concatenate([x] * 3, 1)
    threefold = (many, w, None, None, *conv.window[:-1], 3, conv.out_size, "none", False)
    plain = native.conv_forward(*threefold)[0]
    np.testing.assert_array_equal(native.conv_forward(*threefold, packed)[0], plain)
    other = native.pack_conv_weight(np.ones((2, 3, 3, 3), np.float32))
    with pytest.raises(ValueError, match="made from this weight"):
        native.conv_forward(*arguments, other)
    with pytest.raises(ValueError, match="expected a weight"):
        native.pack_conv_weight(w[0, 0])


def test_outputs_lie_channels_last(isa):
    conv = CONVS["3x3"]
    x, w, dy = conv.tensors("float32")
    y, saved = native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "gelu", True)
    dx = native.conv_backward(dy, x, w, saved, *conv.window, "gelu", True, False, False)[0]
    for out in (y, saved, dx):
        assert np.moveaxis(out, 1, -1).flags.c_contiguous


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((2, 3, 4), np.float32)}, "four axes"),
        ({"w": np.ones((5, 3, 3, 3), np.float32)}, "expected a weight"),
        ({"groups": 3}, "expected a weight"),
        ({"stride": (0, 1)}, "at least 1"),
        ({"out_size": (-1, 4)}, "output size"),
        ({"bias": np.ones(4, np.float32)}, "expected bias"),
        ({"residual": np.ones((1, 6, 4, 5), np.float32)}, "residual"),
    ],
)
def test_refuses(change, message):
    arguments = {
        "x": np.ones((1, 4, 4, 4), np.float32), "w": np.ones((6, 4, 1, 1), np.float32),
        "bias": None, "residual": None, "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1),
        "groups": 1, "out_size": (4, 4), "activation": "none", "save": False, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        native.conv_forward(*arguments.values())
