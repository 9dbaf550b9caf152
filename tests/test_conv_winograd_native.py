"""Convolutions by minimal filtering: sizes, layouts, special values, uneven patches.

At "highest" tolerances are the definition's. At "high" a pixel's error goes by the largest sum of
absolute products among the 4x4 that its patch gives: at a border it may meet one product, they many
more.
"""

import itertools

import numpy as np
import pytest

from tilework.testing.inputs import laid_out

from .conv_definition import Conv, assert_sum, check_everything, expected, native, weight_as

FAMILY = "conv"  # whose variants the fixture `isa` goes over
PASSES = ("forward", "input gradient", "weight gradient")
P1 = {"padding": (1, 1)}
CONVS = {
    "whole patches": Conv(2, 32, 32, (16, 16), (3, 3), **P1),
    "cut patches": Conv(3, 40, 37, (13, 15), (3, 3), **P1),
    "one more": Conv(2, 33, 32, (17, 21), (3, 3), **P1),
    "small images": Conv(16, 35, 50, (7, 6), (3, 3), **P1),
    "images of a patch": Conv(37, 64, 33, (4, 4), (3, 3), **P1),
    "valid": Conv(2, 32, 32, (18, 19), (3, 3)),
    "padding of 2": Conv(2, 32, 40, (18, 14), (3, 3), padding=(2, 2)),
    "rows alone padded": Conv(2, 32, 40, (18, 22), (3, 3), padding=(1, 0)),
    "groups": Conv(2, 96, 64, (16, 13), (3, 3), **P1, groups=2),
    "many channels": Conv(9, 400, 32, (8, 8), (3, 3), **P1),
    "many outs": Conv(9, 32, 200, (8, 7), (3, 3), **P1),
    "many patches": Conv(1, 32, 32, (70, 70), (3, 3), **P1),
    "slices": Conv(5, 32, 32, (28, 28), (3, 3), **P1),
    "dilated": Conv(6, 32, 33, (23, 22), (3, 3), padding=(2, 3), dilation=(2, 3)),
    "dilated rows": Conv(4, 32, 32, (29, 15), (3, 3), padding=(5, 1), dilation=(5, 1)),
    "dilated far": Conv(32, 32, 32, (15, 14), (3, 3), padding=(4, 4), dilation=(4, 4)),
}
SQUARES = {  # windows of 2x2, which have no weights' gradient by minimal filtering
    "2x2": Conv(2, 32, 40, (19, 17), (2, 2)),
    "2x2 padded": Conv(2, 33, 32, (16, 16), (2, 2), padding=(1, 1)),
    "2x2 dilated": Conv(2, 32, 32, (23, 20), (2, 2), padding=(1, 0), dilation=(2, 1)),
    "4x4 s2": Conv(2, 32, 40, (26, 30), (4, 4), (2, 2), (1, 1)),  # its twin's phases
}


def around(size, step):
    """The largest of each 4x4 pixels that lie `step` apart, at each of them."""
    largest = np.empty_like(size)
    for row, col in np.ndindex(*step):
        grid = size[..., row :: step[0], col :: step[1]]
        rows, cols = grid.shape[2:]
        whole = np.pad(grid, [(0, 0), (0, 0), (0, -rows % 4), (0, -cols % 4)])
        blocks = whole.reshape(*grid.shape[:2], whole.shape[2] // 4, 4, whole.shape[3] // 4, 4)
        most = np.broadcast_to(blocks.max((3, 5), keepdims=True), blocks.shape)
        largest[..., row :: step[0], col :: step[1]] = most.reshape(whole.shape)[..., :rows, :cols]
    return largest


@pytest.fixture(autouse=True, params=["highest", "high"])
def precision(request, isa):
    """On ISAs that have nothing better for it."""
    if isa in ("twin", "amx"):
        pytest.skip(f"{isa} splits float32 for its tiles")
    native.set_matmul_precision(request.param)
    yield request.param
    native.set_matmul_precision("highest")


def magnitude_of(conv, precision):
    """What a pixel's error goes by, of the sums of absolute products."""
    return lambda size: around(size, conv.dilation) if precision == "high" else size


def routines(conv, dtype="float32"):
    """Who serves each pass on images channels last."""
    services = native.conv_services(dtype, conv.x_shape, conv.w_shape, *conv.window, conv.out_size)
    return {name: routine for name, _, routine, _ in services}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONVS)
def test_serves(isa, precision, name, dtype):
    routine = "winograd_4x4" if precision == "high" else "winograd_2x2"
    few = np.prod(CONVS[name].y_shape) / CONVS[name].y_shape[1] < 768  # pixels
    last = "blocked" if few and precision == "highest" else routine
    want = dict(zip(PASSES, (routine, routine, last), strict=True))
    assert routines(CONVS[name], dtype) == want
    native.set_matmul_precision("medium")
    assert routines(CONVS[name], dtype) == dict.fromkeys(PASSES, "winograd_4x4")


def test_squares_of_2x2_serve_at_each_precision(isa, precision):
    for name in ("2x2", "2x2 padded", "2x2 dilated"):
        served = routines(SQUARES[name])
        assert [served[p] for p in PASSES] == ["winograd_2x2", "winograd_2x2", "blocked"]
    assert routines(SQUARES["4x4 s2"])["input gradient"] == "winograd_2x2"


@pytest.mark.parametrize(
    "conv",
    [
        Conv(2, 32, 32, (16, 16), (3, 3), (2, 2), (1, 1)),
        Conv(2, 32, 32, (16, 16), (3, 1), padding=(1, 0)),
        Conv(2, 32, 32, (16, 16), (5, 5), padding=(2, 2)),
        Conv(2, 15, 32, (16, 16), (3, 3), **P1),  # transformations would outweigh the products
        Conv(2, 32, 15, (16, 16), (3, 3), **P1),
        Conv(1, 64, 64, (6, 6), (3, 3), **P1),  # too few patches for the weights'
        Conv(64, 64, 64, (1, 1), (3, 3), **P1),  # patches too empty
        Conv(64, 32, 32, (5, 5), (3, 3), padding=(5, 5), dilation=(5, 5)),  # of a pixel a grid
    ],
)
def test_leaves_other_convolutions_alone(isa, conv):
    served = routines(conv)
    if conv.stride == (2, 2):  # a phase of whose gradient is a window of 2x2
        assert served.pop("input gradient") == "winograd_2x2"
    assert not any("winograd" in routine for routine in served.values())


@pytest.mark.parametrize("precision", ["highest"], indirect=True)
def test_a_gradient_packs_weights_for_more_patches_than_a_layer(isa):
    served = routines(Conv(1, 64, 64, (7, 7), (3, 3), **P1))
    assert [served[p] for p in PASSES] == ["winograd_2x2", "blocked", "blocked"]


def test_many_channels_take_the_fewer_products(isa, precision):
    served = [routines(Conv(16, 128, 128, (side, side), (3, 3), **P1)) for side in (14, 28)]
    best = "winograd_4x4" if precision == "high" else "winograd_2x2"
    assert [s["forward"] for s in served] == ["winograd_2x2", best]


@pytest.mark.parametrize("name", [*CONVS, *SQUARES])
@pytest.mark.parametrize("x_layout", ["contiguous", "channels_last"])
def test_against_the_definition(isa, precision, name, x_layout):
    conv = {**CONVS, **SQUARES}[name]
    for w_layout in ("oihw", "hwio", "gaps"):
        check_everything(conv, "float32", x_layout, w_layout, magnitude_of(conv, precision))


@pytest.mark.parametrize("name", ["cut patches", "dilated", "groups", "2x2 dilated"])
@pytest.mark.parametrize("activation", ["none", "relu", "tanh"])
def test_epilogue(isa, name, activation):
    conv = {**CONVS, **SQUARES}[name]
    x, w, residual = conv.tensors("float32")
    bias = np.linspace(-1, 1, conv.y_shape[1], dtype=np.float32)
    plain = native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "none", False)[0]
    for b, r in itertools.product((None, bias), (None, residual)):
        z = plain + (np.float32(0) if b is None else b[:, None, None])
        z = z if r is None else z + r
        want = z if activation == "none" else native.unary_forward(activation, z)
        y = native.conv_forward(x, w, b, r, *conv.window, conv.out_size, activation, True)[0]
        np.testing.assert_array_equal(y, want)


EVERY_CONV = {
    **CONVS,
    **SQUARES,
    # What bfloat16 widens in more than one band of rows or images, the last one smaller.
    "bands of rows": Conv(1, 32, 32, (54, 67), (3, 3), padding=(3, 4), dilation=(3, 4)),
    "bands of images": Conv(18, 32, 32, (8, 8), (3, 3), **P1),
}


@pytest.mark.parametrize("name", EVERY_CONV)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_threads_do_not_change_a_bit(isa, threads, name, dtype):
    conv = EVERY_CONV[name]
    x, w, dy = conv.tensors(dtype)
    x[0, 3, 1, 2] = np.inf  # what takes the definition's way is cut as the rest
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    bias = np.arange(conv.y_shape[1]).astype(dtype)
    results = []
    for count in (1, 2, 3, 8):
        threads(count)
        forward = native.conv_forward(x, w, bias, dy, *conv.window, conv.out_size, "relu", True)
        back = native.conv_backward(dy, x, w, None, *conv.window, "none", True, True, True)
        results.append([forward[0], *back[:3]])
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_packed_weights_change_no_bit(isa, precision, threads):
    for (name, conv), layout in itertools.product(CONVS.items(), ("oihw", "hwio")):
        x, w, _ = conv.tensors("float32")
        laid = weight_as(w, layout)
        packed = native.pack_conv_weight(laid)
        arguments = (x, laid, None, None, *conv.window, conv.out_size)
        plain = native.conv_forward(*arguments, "relu", False)[0]
        for count in (1, 3):
            threads(count)
            ours = native.conv_forward(*arguments, "relu", False, packed)[0]
            np.testing.assert_array_equal(ours, plain, err_msg=name)
        points = 36 if precision == "high" else 16
        assert packed.nbytes >= points * w.nbytes // 9


def forward(conv, x, w):
    return native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "none", False)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CONVS)
def test_special_values_reach_their_windows_and_no_other(isa, precision, name, value):
    conv = CONVS[name]
    magnitude = magnitude_of(conv, precision)
    x, w, dy = conv.tensors("float32")
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    w64, dy64 = (a.astype(np.float64) for a in (w, dy))
    where = (conv.x_shape[0] - 1, conv.x_shape[1] - 1, 2, conv.x_shape[3] - 1)
    mark = np.zeros(conv.x_shape)
    mark[where] = 1
    want = expected(conv, "float32")
    exact, size = want.y, magnitude(want.y_size)
    x[where] = value
    y = forward(conv, x, w)
    touched = conv.forward(mark, abs(w64)) > 0
    one = conv.forward(mark, w64)[touched]
    np.testing.assert_array_equal(y[touched], np.copysign(1, one).astype(np.float32) * value)
    terms = conv.w_shape[1] * 9
    assert_sum(y[~touched], exact[~touched], size[~touched], terms, "beside the value")

    dw = native.conv_backward(dy, x, w, None, *conv.window, "none", False, True, False)[1]
    reached = conv.weight_gradient(abs(dy64), mark) > 0
    assert not np.isfinite(dw[reached]).any()
    pixels = conv.y_shape[0] * conv.y_shape[2] * conv.y_shape[3]
    rest = ~reached
    wide, size = want.dweight[rest], want.dweight_size[rest]
    assert_sum(dw[rest], wide, size, pixels, "the other channels' weights")


@pytest.mark.parametrize("name", CONVS)
def test_a_special_gradient_reaches_all_weights_of_its_out(isa, name):
    conv = CONVS[name]
    x, w, dy = conv.tensors("float32")
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    dy64[:, -1] = 0
    exact, size = conv.weight_gradient(dy64, x64), conv.weight_gradient(abs(dy64), abs(x64))
    dy[0, -1, conv.y_shape[2] // 2, conv.y_shape[3] // 2] = np.nan
    dw = native.conv_backward(dy, x, w, None, *conv.window, "none", False, True, False)[1]
    assert np.isnan(dw[-1]).all()
    pixels = conv.y_shape[0] * conv.y_shape[2] * conv.y_shape[3]
    assert_sum(dw[:-1], exact[:-1], size[:-1], pixels, "the other outs' weights")


def test_what_overflows_at_a_point_is_computed_by_the_definition(isa, precision):
    conv = CONVS["cut patches"]
    x, w, _ = conv.tensors("float32")
    x *= np.float32(2e37)
    w *= np.float32(1e-2)
    x[0, 0, :2, :2] = 1.2e38  # which a point adds up
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    exact, size = conv.forward(x64, w64), conv.forward(abs(x64), abs(w64))
    assert 4 * 1.2e38 > float(np.finfo(np.float32).max) > size.max()
    magnitude = magnitude_of(conv, precision)
    assert_sum(forward(conv, x, w), exact, magnitude(size), conv.w_shape[1] * 9, "y")


@pytest.mark.parametrize("name", ["whole patches", "cut patches", "dilated", "groups", "2x2"])
@pytest.mark.parametrize("taps", ["alike", "one", "small"])
@pytest.mark.parametrize("precision", ["highest"], indirect=True)
def test_uneven_pixels_keep_the_definitions_accuracy(isa, name, taps):
    conv = {**CONVS, **SQUARES}[name]
    x, w, _ = conv.tensors("float32")
    if taps != "alike":  # of the second panel of outs
        w[20:, :, 0, 0] *= np.float32(1e6 if taps == "one" else 1e-6)
    rng = np.random.default_rng(1)
    bright = 10.0 ** rng.uniform(-6, 6, (conv.x_shape[0], 1, *conv.x_shape[2:]))
    for scale in (bright, bright > 1e3):
        uneven = (x * scale).astype(np.float32)
        x64, w64 = uneven.astype(np.float64), w.astype(np.float64)
        exact, size = conv.forward(x64, w64), conv.forward(abs(x64), abs(w64))
        assert (size == 0).any() == (scale is not bright)  # whose pixels are exactly zero
        assert_sum(forward(conv, uneven, w), exact, size, conv.w_shape[1] * 9, "y")


@pytest.mark.parametrize("precision", ["highest"], indirect=True)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_zeros_around_an_image_are_uneven_beside_its_pixels(isa, layout):
    conv = CONVS["whole patches"]
    x, w, _ = conv.tensors("float32")
    w[:, :, 0, 0] *= np.float32(1e6)  # which the first row and column of y do not meet
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    exact, size = conv.forward(x64, w64), conv.forward(abs(x64), abs(w64))
    assert_sum(forward(conv, laid_out(x, layout), w), exact, size, conv.w_shape[1] * 9, "y")


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_no_window_reads_has_no_part(isa, precision, layout, dtype):
    """Images a million times as large lie beside one, and as large are rows that y leaves out."""
    conv = Conv(4, 32, 33, (21, 20), (3, 3), **P1, out_size=(17, 18))
    magnitude = magnitude_of(conv, precision)
    x, w, dy = conv.tensors("float32")
    x[1:] *= 1e6
    x[:, :, 18:] = 1e6
    x, w, dy = (laid_out(a.astype(dtype), layout) for a in (x, w, dy))
    x64, w64, dy64 = (a.astype(np.float64) for a in (x, w, dy))
    exact, size = conv.forward(x64, w64), magnitude(conv.forward(abs(x64), abs(w64)))
    assert_sum(forward(conv, x, w), exact, size, conv.w_shape[1] * 9, "y")
    exact = conv.weight_gradient(dy64, x64)
    size = conv.weight_gradient(abs(dy64), abs(x64))
    dw = native.conv_backward(dy, x, w, None, *conv.window, "none", False, True, False)[1]
    assert_sum(dw, exact, size, 4 * 17 * 18, "dweight")

    conv = Conv(4, 32, 33, (17, 20), (3, 3), padding=(4, 1))  # of whose y the borders meet no x
    x, w, dy = conv.tensors("float32")
    dy[1:] *= 1e6
    x, w, dy = (laid_out(a.astype(dtype), layout) for a in (x, w, dy))
    w64, dy64 = (a.astype(np.float64) for a in (w, dy))
    exact = conv.input_gradient(dy64, w64)
    size = magnitude(conv.input_gradient(abs(dy64), abs(w64)))
    dx = native.conv_backward(dy, x, w, None, *conv.window, "none", True, False, False)[0]
    assert_sum(dx, exact, size, 33 * 9, "dx")


@pytest.mark.parametrize("dilation", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bands_of_rows_know_nothing_of_each_other(isa, precision, dilation, dtype):
    """Gradients and images of sizes apart: what one leaves in memory would stand out."""
    conv = Conv(2, 32, 32, (40, 32), (3, 3), padding=dilation, dilation=dilation)
    x, w, dy = conv.tensors("float32")
    x, dy = (x * np.float32(1e-3)).astype(dtype), (dy * np.float32(1e3)).astype(dtype)
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    w = w.astype(dtype)
    dw = native.conv_backward(dy, x, w, None, *conv.window, "none", False, True, False)[1]
    size = conv.weight_gradient(abs(dy64), abs(x64))
    assert_sum(dw, conv.weight_gradient(dy64, x64), size, 2 * 40 * 32, "dweight")


@pytest.mark.parametrize("name", EVERY_CONV)
def test_bfloat16_is_float32_rounded_once(isa, precision, name):
    conv = EVERY_CONV[name]
    x, w, _ = conv.tensors("bfloat16")
    x[0, 3, 1, 2] = np.inf  # the definition reads bfloat16 weights
    for layout in ("oihw", "hwio"):
        w = weight_as(w, layout)
        wide = forward(conv, native.widen(x), native.widen(w))
        np.testing.assert_array_equal(forward(conv, x, w), wide.astype(x.dtype), err_msg=layout)
        packed = native.pack_conv_weight(w)
        arguments = (x, w, None, None, *conv.window, conv.out_size, "none", False)
        np.testing.assert_array_equal(
            native.conv_forward(*arguments, packed)[0], wide.astype(x.dtype)
        )
    check_everything(conv, "bfloat16", "channels_last", "oihw", magnitude_of(conv, precision))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_weights_reach_their_outs_and_no_other(isa, precision, value):
    conv = CONVS["cut patches"]
    magnitude = magnitude_of(conv, precision)
    x, w, _ = conv.tensors("float32")
    clean = forward(conv, x, w)
    w[5, 3, 1, 1] = value  # the centre, which every window has
    dirty = forward(conv, x, w)
    assert not np.isfinite(dirty[:, 5]).any()
    others = np.arange(conv.y_shape[1]) != 5
    # The unit of outs that meets the value goes by the definition, the others as before.
    np.testing.assert_array_equal(dirty[:, 32:], clean[:, 32:])
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    w64[5] = 0
    exact, size = conv.forward(x64, w64), magnitude(conv.forward(abs(x64), abs(w64)))
    terms = conv.w_shape[1] * 9
    assert_sum(dirty[:, others], exact[:, others], size[:, others], terms, "the other outs")
