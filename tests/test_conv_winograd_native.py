"""3x3 convolutions by minimal filtering, at the precision "high": sizes, layouts, special values.

Tolerances are the definition's, but that a pixel's error goes by the largest sum of absolute
products among the 4x4 that its patch gives: at a border it may meet one product, they many more.
"""

import itertools

import numpy as np
import pytest

from tilework.testing.inputs import laid_out

from .conv_definition import Conv, assert_sum, check_everything, native, weight_as

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
}


def around(size):
    """The largest of each 4x4 pixels, at each of them."""
    rows, cols = size.shape[2:]
    whole = np.pad(size, [(0, 0), (0, 0), (0, -rows % 4), (0, -cols % 4)])
    blocks = whole.reshape(*size.shape[:2], whole.shape[2] // 4, 4, whole.shape[3] // 4, 4)
    largest = blocks.max((3, 5), keepdims=True)
    return np.broadcast_to(largest, blocks.shape).reshape(whole.shape)[..., :rows, :cols]


@pytest.fixture(autouse=True)
def high(isa):
    """The precision, on ISAs that have nothing better for it."""
    native.set_matmul_precision("high")
    if isa in ("twin", "amx"):
        pytest.skip(f"{isa} splits float32 for its tiles at this precision")
    yield
    native.set_matmul_precision("highest")


@pytest.fixture
def threads():
    before = native.num_threads()
    yield native.set_num_threads
    native.set_num_threads(before)


def routines(conv):
    """Who serves each pass on images channels last."""
    services = native.conv_services(
        "float32", conv.x_shape, conv.w_shape, *conv.window, conv.out_size
    )
    return {name: routine for name, _, routine, _ in services}


@pytest.mark.parametrize("name", CONVS)
def test_serves_at_this_precision_alone(isa, name):
    assert routines(CONVS[name]) == dict.fromkeys(PASSES, "winograd")
    native.set_matmul_precision("medium")
    assert routines(CONVS[name]) == dict.fromkeys(PASSES, "winograd")
    native.set_matmul_precision("highest")
    assert "winograd" not in routines(CONVS[name]).values()


@pytest.mark.parametrize(
    "conv",
    [
        Conv(2, 32, 32, (16, 16), (3, 3), (2, 2), (1, 1)),
        Conv(2, 32, 32, (16, 16), (3, 3), (1, 1), (2, 2), (2, 2)),
        Conv(2, 32, 32, (16, 16), (3, 1), padding=(1, 0)),
        Conv(2, 32, 32, (16, 16), (5, 5), padding=(2, 2)),
        Conv(2, 15, 32, (16, 16), (3, 3), **P1),  # transformations would outweigh the products
        Conv(2, 32, 15, (16, 16), (3, 3), **P1),
        Conv(1, 64, 64, (12, 12), (3, 3), **P1),  # too few patches for the weights'
        Conv(64, 64, 64, (5, 5), (3, 3), **P1),  # patches too empty
    ],
)
def test_leaves_other_convolutions_alone(isa, conv):
    assert "winograd" not in routines(conv).values()


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("x_layout", ["contiguous", "channels_last"])
def test_against_the_definition(isa, name, x_layout):
    for w_layout in ("oihw", "hwio", "gaps"):
        check_everything(CONVS[name], "float32", x_layout, w_layout, around)


@pytest.mark.parametrize("activation", ["none", "relu", "tanh"])
def test_epilogue(isa, activation):
    conv = CONVS["cut patches"]
    x, w, residual = conv.tensors("float32")
    bias = np.linspace(-1, 1, conv.y_shape[1], dtype=np.float32)
    plain = native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "none", False)[0]
    for b, r in itertools.product((None, bias), (None, residual)):
        z = plain + (np.float32(0) if b is None else b[:, None, None])
        z = z if r is None else z + r
        want = z if activation == "none" else native.unary_forward(activation, z)
        y = native.conv_forward(x, w, b, r, *conv.window, conv.out_size, activation, True)[0]
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("name", CONVS)
def test_threads_do_not_change_a_bit(isa, threads, name):
    conv = CONVS[name]
    x, w, dy = conv.tensors("float32")
    x[0, 3, 1, 2] = np.inf  # what takes the definition's way is cut as the rest
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    bias = np.arange(conv.y_shape[1]).astype("float32")
    results = []
    for count in (1, 2, 3, 8):
        threads(count)
        forward = native.conv_forward(x, w, bias, dy, *conv.window, conv.out_size, "relu", True)
        back = native.conv_backward(dy, x, w, None, *conv.window, "none", True, True, True)
        results.append([forward[0], *back[:3]])
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_packed_weights_change_no_bit(isa, threads):
    for (name, conv), layout in itertools.product(CONVS.items(), ("oihw", "hwio")):
        x, w, _ = conv.tensors("float32")
        packed = native.pack_conv_weight(weight_as(w, layout))
        arguments = (x, weight_as(w, layout), None, None, *conv.window, conv.out_size)
        plain = native.conv_forward(*arguments, "relu", False)[0]
        for count in (1, 3):
            threads(count)
            ours = native.conv_forward(*arguments, "relu", False, packed)[0]
            np.testing.assert_array_equal(ours, plain, err_msg=name)
        assert packed.nbytes >= 36 * w.nbytes // 9


def forward(conv, x, w):
    return native.conv_forward(x, w, None, None, *conv.window, conv.out_size, "none", False)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CONVS)
def test_special_values_reach_their_windows_and_no_other(isa, name, value):
    conv = CONVS[name]
    x, w, dy = conv.tensors("float32")
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    x64, w64, dy64 = (a.astype(np.float64) for a in (x, w, dy))
    where = (conv.x_shape[0] - 1, conv.x_shape[1] - 1, 2, conv.x_shape[3] - 1)
    mark = np.zeros(conv.x_shape)
    mark[where] = 1
    exact, size = conv.forward(x64, w64), around(conv.forward(abs(x64), abs(w64)))
    exact_dw = conv.weight_gradient(dy64, x64)
    size_dw = conv.weight_gradient(abs(dy64), abs(x64))
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
    assert_sum(dw[rest], exact_dw[rest], size_dw[rest], pixels, "the other channels' weights")


@pytest.mark.parametrize("name", CONVS)
def test_a_special_gradient_reaches_all_weights_of_its_out(isa, name):
    conv = CONVS[name]
    x, w, dy = conv.tensors("float32")
    x, dy = (laid_out(a, "channels_last") for a in (x, dy))
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    dy64[:, -1] = 0
    exact, size = conv.weight_gradient(dy64, x64), conv.weight_gradient(abs(dy64), abs(x64))
    dy[0, -1, 2, 2] = np.nan
    dw = native.conv_backward(dy, x, w, None, *conv.window, "none", False, True, False)[1]
    assert np.isnan(dw[-1]).all()
    pixels = conv.y_shape[0] * conv.y_shape[2] * conv.y_shape[3]
    assert_sum(dw[:-1], exact[:-1], size[:-1], pixels, "the other outs' weights")


def test_what_overflows_at_a_point_is_computed_by_the_definition(isa):
    conv = CONVS["cut patches"]
    x, w, _ = conv.tensors("float32")
    x *= np.float32(2e37)
    w *= np.float32(1e-2)
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    exact, size = conv.forward(x64, w64), around(conv.forward(abs(x64), abs(w64)))
    assert float(abs(x).max()) * 1.265625**2 * 4 > float(np.finfo(np.float32).max) > size.max()
    assert_sum(forward(conv, x, w), exact, size, conv.w_shape[1] * 9, "y")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_weights_reach_their_outs_and_no_other(isa, value):
    conv = CONVS["cut patches"]
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
    exact, size = conv.forward(x64, w64), around(conv.forward(abs(x64), abs(w64)))
    terms = conv.w_shape[1] * 9
    assert_sum(dirty[:, others], exact[:, others], size[:, others], terms, "the other outs")
