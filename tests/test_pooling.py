"""Pooling and interpolation as functions and layers: arguments, indices, layouts, the tape."""

import itertools

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import nn
from tilework.testing.inputs import laid_out

MAXIMA = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": (3, 2), "stride": (1, 2), "dilation": (2, 1)},
    {"kernel_size": 5, "stride": 3, "padding": 2, "ceil_mode": True},
]
MEANS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 3, "padding": 1, "count_include_pad": False},
    {"kernel_size": (2, 3), "divisor_override": 4},
]
SIZES = [
    {"size": 7},
    {"size": (4, 13), "mode": "nearest-exact"},
    {"scale_factor": 2.0},
    {"scale_factor": (0.7, 1.3)},
    {"size": (4, 13), "mode": "bilinear"},
    {"size": (4, 13), "mode": "bilinear", "align_corners": True},
    {"scale_factor": 1.7, "mode": "bilinear"},
    {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True},
    {"size": 3, "mode": "area"},
]


def image(*shape, dtype=np.float32, layout="contiguous"):
    return laid_out(np.random.default_rng(0).standard_normal(shape).astype(dtype), layout)


def run(library, functions, op, x, how):
    """An op's result(s) and gradient in PyTorch or in tilework."""
    leaf = library.from_numpy(x).requires_grad_()
    found = getattr(functions, op)(leaf, **how)
    found = found if isinstance(found, tuple) else (found,)
    grad = np.random.default_rng(1).standard_normal(tuple(found[0].shape)).astype(x.dtype)
    found[0].backward(library.from_numpy(grad))
    return [np.asarray(y.detach()) for y in found] + [np.asarray(leaf.grad)]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("op", "how"),
    [
        *(("max_pool2d", {**how, "return_indices": True}) for how in MAXIMA),
        *(("avg_pool2d", how) for how in MEANS),
        *(("adaptive_max_pool2d", {"output_size": n, "return_indices": True}) for n in (1, 3)),
        ("adaptive_avg_pool2d", {"output_size": (None, 4)}),
        *(("interpolate", how) for how in SIZES),
    ],
)
def test_against_torch(op, how, layout):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here, where installed")
    x = image(2, 5, 9, 10, layout=layout)
    x[0, 1, 2:4, 3] = np.nan if "pool" in op else 0.0
    x[1] = np.round(x[1])  # ties
    ours = run(tw, F, op, x, how)
    theirs = run(torch, torch.nn.functional, op, x, how)
    eps = np.finfo(np.float32).eps
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        # A scale in float32, as PyTorch's is, moves a position by eps times the side.
        np.testing.assert_allclose(a, b, rtol=64 * eps, atol=64 * eps)


def test_one_dimension_is_a_row():
    x = tw.from_numpy(image(2, 3, 11))
    y, at = F.max_pool1d(x, 3, 2, 1, return_indices=True)
    plane, flat = F.max_pool2d(x.unsqueeze(2), (1, 3), (1, 2), (0, 1), return_indices=True)
    np.testing.assert_array_equal(y.numpy(), plane.squeeze(2).numpy())
    np.testing.assert_array_equal(at.numpy(), flat.squeeze(2).numpy())
    np.testing.assert_array_equal(np.take_along_axis(x.numpy(), at.numpy(), -1), y.numpy())


def test_results_take_the_layout_of_the_input():
    x = tw.from_numpy(image(2, 8, 6, 10, layout="channels_last")).requires_grad_()
    for y in (
        F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.interpolate(x, scale_factor=2.0),
        F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2),
    ):  # fmt: skip
        assert y._array.transpose(0, 2, 3, 1).flags.c_contiguous
        x.grad = None
        y.backward(tw.ones(*y.shape))
        assert x.grad.numpy().transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(2),
        nn.Upsample(scale_factor=2), nn.Upsample(size=3, mode="bilinear"), nn.PixelUnshuffle(2),
    ],
    ids=repr,
)  # fmt: skip
def test_layers_take_bfloat16(layer):
    x = tw.from_numpy(image(2, 4, 6, 6))
    wide, narrow = layer(x), layer(x.bfloat16())
    assert narrow.dtype is tw.bfloat16
    np.testing.assert_allclose(narrow.float().numpy(), wide.numpy(), atol=2**-7, rtol=2**-7)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_factor_of_one_copies(layout):
    x = tw.from_numpy(image(2, 3, 4, 5, layout=layout))
    for y in (F.pixel_shuffle(x, 1), F.pixel_unshuffle(x, 1)):
        assert tw.equal(x, y)
        assert not np.shares_memory(x.numpy(), y.numpy())


def test_unpooling_puts_maxima_back():
    x = tw.from_numpy(image(2, 3, 7, 8)).requires_grad_()
    pooled, at = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(pooled, at, output_size=(7, 8))
    values = back.detach().numpy()
    assert back.shape == x.shape
    assert np.count_nonzero(values) == pooled.numel()
    np.testing.assert_array_equal(values[values != 0], x.detach().numpy()[values != 0])
    back.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), (values != 0).astype(np.float32))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_avg_pool2d(x, 2),
        lambda x: F.interpolate(x, size=7, mode="bilinear"),
        lambda x: F.interpolate(x, size=3),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: F.pixel_shuffle(x.reshape(1, 4, 2, 6), 2),
    ],
)
def test_second_gradients_of_linear_maps(function):
    """Of |J^T J x|^2 / 2, a square form: differences are exact but for rounding."""
    x = tw.from_numpy(image(1, 2, 4, 6, dtype=np.float64)).requires_grad_()

    def energy(at):
        y = function(at)
        (slope,) = tw.autograd.grad((y * y).sum() * 0.5, (at,), create_graph=True)
        return (slope * slope).sum() * 0.5

    (found,) = tw.autograd.grad(energy(x), (x,))
    along = np.random.default_rng(2).standard_normal(x.shape)
    h = 1e-5
    ends = [
        energy(tw.from_numpy(x.detach().numpy() + step * along).requires_grad_()).item()
        for step in (h, -h)
    ]
    expected = (ends[0] - ends[1]) / (2 * h)
    assert abs(float((found.numpy() * along).sum()) - expected) <= 1e-6 * (1 + abs(expected))


def test_the_maximum_refuses_a_second_gradient_by_name():
    x = tw.ones(1, 1, 4, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="max_pool2d"):
        F.max_pool2d(x, 2).sum().backward(create_graph=True)


def test_no_wide_integers_are_kept():
    x = tw.from_numpy(image(2, 3, 40, 40)).requires_grad_()
    for y, dtype in ((F.max_pool2d(x, 2), np.uint8), (F.adaptive_max_pool2d(x, 1), np.uint32)):
        assert y._node[2][0].dtype == dtype


def test_empty_batches():
    x = tw.zeros(0, 3, 8, 8, requires_grad=True)
    for y, side in (
        (F.max_pool2d(x, 2), 4), (F.avg_pool2d(x, 2), 4), (F.adaptive_avg_pool2d(x, 1), 1),
        (F.interpolate(x, size=5), 5), (F.pixel_shuffle(F.pixel_unshuffle(x, 4), 4), 8),
    ):  # fmt: skip
        assert y.shape == (0, 3, side, side)
        y.sum().backward()
        assert x.grad.shape == x.shape


X = np.zeros((1, 1, 5, 5), np.float32)
REFUSED = [
    ("max_pool2d", X[0, 0], {"kernel_size": 2}, ValueError, r"input \(N, C, H, W\)"),
    ("max_pool1d", X, {"kernel_size": 2}, ValueError, r"input \(N, C, L\)"),
    ("max_pool2d", X[:, :, :0], {"kernel_size": 2}, ValueError, "none of H, W zero"),
    ("max_pool2d", X.astype(int), {"kernel_size": 2}, TypeError, "float dtype"),
    ("max_pool2d", X, {"kernel_size": 6}, ValueError, "an input that kernel 6"),
    ("max_pool2d", X, {"kernel_size": 2, "padding": 2}, ValueError, "half the kernel"),
    ("max_pool2d", X, {"kernel_size": 0}, ValueError, "kernel_size .* at least 1"),
    ("max_pool2d", X, {"kernel_size": (2, 2, 2)}, ValueError, "kernel_size as 2 numbers"),
    ("max_pool2d", X, {"kernel_size": 2.5}, TypeError, "whole numbers"),
    ("max_pool2d", X, {"kernel_size": 2, "stride": 0}, ValueError, "stride"),
    ("max_pool2d", X, {"kernel_size": 2, "dilation": 0}, ValueError, "dilation"),
    ("avg_pool2d", X, {"kernel_size": 2, "padding": -1}, ValueError, "padding"),
    ("avg_pool2d", X, {"kernel_size": 2, "divisor_override": 0}, ValueError, "divisor_override"),
    ("adaptive_avg_pool2d", X, {"output_size": 0}, ValueError, "output_size"),
    ("adaptive_max_pool2d", X, {"output_size": (1, 2, 3)}, ValueError, "output_size"),
    ("interpolate", X, {}, ValueError, "one of size and scale_factor"),
    ("interpolate", X, {"size": 2, "scale_factor": 2}, ValueError, "both"),
    ("interpolate", X, {"scale_factor": 0.1}, ValueError, "at least one element"),
    ("interpolate", X, {"size": 3, "mode": "linear"}, ValueError, "mode among"),
    ("interpolate", X, {"size": 3, "align_corners": True}, ValueError, "align_corners"),
    ("interpolate", X[0, 0], {"size": 3}, ValueError, "input"),
    ("pixel_shuffle", X, {"upscale_factor": 2}, ValueError, "multiples of 4"),
    ("pixel_unshuffle", X, {"downscale_factor": 2}, ValueError, "multiples of 2"),
]


@pytest.mark.parametrize(("op", "x", "how", "kind", "words"), REFUSED)
def test_refusals(op, x, how, kind, words):
    with pytest.raises(kind, match=rf"^\[{op}\] expected .*{words}"):
        getattr(F, op)(tw.from_numpy(x), **how)


def test_engines_choose_the_same_positions():
    native, numba = (
        pytest.importorskip(f"tilework.{name}", reason="both engines are compared")
        for name in ("engines.native", "engines.numba")
    )
    from tilework.functional.windows import adaptive, regular

    x = np.round(image(2, 3, 9, 20))
    x[0, 0, 3] = np.nan
    for rows, cols in (
        (regular(9, 3, 2, 1, 1, 5, True), regular(20, 3, 2, 1, 1, 10, True)),
        (adaptive(9, 2), adaptive(20, 3)),
    ):
        for a, b in itertools.zip_longest(
            native.pool_max_forward(x, rows, cols, True),
            numba.pool_max_forward(x, rows, cols, True),
        ):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
