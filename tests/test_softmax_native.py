"""Softmax of the compiled engine: every ISA variant, row length and layout, against float64."""

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "softmax"  # whose variants the fixture `isa` goes over
DTYPES = [np.float32, np.float64]
LENGTHS = [*range(68), 300, 2047, 2048, 2049, 4097]
# Rows past L2 (a second exponential), and an output past the caches in rows that begin on cache
# lines (streamed; with a row that fits its buffer, and with one that does not).
LONG = [(3, 140_001), (8192, 160), (20, 70_400)]


def reference(x, axis, log):
    x = x.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = x - x.max(axis, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis, keepdims=True))
        return shifted - log_sum if log else np.exp(shifted - log_sum)


def reference_backward(grad, y, axis, log):
    grad, y = grad.astype(np.float64), y.astype(np.float64)
    if log:
        return grad - np.exp(y) * grad.sum(axis, keepdims=True)
    return y * (grad - (grad * y).sum(axis, keepdims=True))


def check_forward(y, x, axis, log):
    """The argument of an exponential is rounded once (its size times eps), the exponential and the
    division by the sum add 4 eps, and summing n positive terms at most log2(n) + 32: vectors of
    partial sums over blocks, then a tree."""
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    if not x.size:
        return
    expected = reference(x, axis, log)
    eps, n = np.finfo(x.dtype).eps, x.shape[axis]
    spread = np.abs(x - x.max(axis, keepdims=True)).astype(np.float64)
    relative = eps * (spread + np.log2(n) + 36)
    size = 1 + np.abs(expected) / (np.log2(n) + 36) if log else expected
    tiny = np.finfo(x.dtype).smallest_normal  # below it, an exponential may count as zero
    assert np.all(np.abs(y - expected) <= relative * size + tiny)


def check_backward(dx, grad, y, axis, log):
    """Each product and the sum of n of them: half an eps a step of 4 chains of vectors."""
    if not y.size:
        return
    expected = reference_backward(grad, y, axis, log)
    eps, n = np.finfo(y.dtype).eps, y.shape[axis]
    p = np.exp(y) if log else y
    terms = np.abs(grad if log else grad * y).sum(axis, keepdims=True, dtype=np.float64)
    bound = eps * (np.abs(grad) + (8 + np.sqrt(n)) * p * terms + np.abs(grad * p))
    assert dx.shape == y.shape
    assert np.all(np.abs(dx - expected) <= 2 * bound)


def both_ways(x, axis, log, seed=0):
    y = native.softmax_forward(x, axis, log)
    check_forward(y, x, axis, log)
    grad = np.random.default_rng(seed).standard_normal(x.shape).astype(x.dtype)
    check_backward(native.softmax_backward(grad, y, axis, log), grad, y, axis, log)
    return y


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_every_length(isa, dtype, log):
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        both_ways((4 * rng.standard_normal((5, n))).astype(dtype), 1, log)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("shape", LONG)
def test_long_rows_and_large_outputs(isa, shape, log):
    rng = np.random.default_rng(1)
    both_ways((4 * rng.standard_normal(shape)).astype(np.float32), 1, log)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_axes(isa, dtype, log):
    rng = np.random.default_rng(2)
    for inner in (2, 3, 15, 16, 17, 67, 513, 1030):
        both_ways((4 * rng.standard_normal((3, 7, inner))).astype(dtype), 1, log)
    both_ways((4 * rng.standard_normal((2, 5000, 70))).astype(dtype), 1, log)
    both_ways((4 * rng.standard_normal((2, 700, 784))).astype(dtype), 1, log)  # streamed


@pytest.mark.parametrize("axis", range(4))
def test_any_layout(axis):
    x = np.random.default_rng(3).standard_normal((3, 5, 4, 6)).astype(np.float32)
    expected = native.softmax_forward(x, axis, False)
    check_forward(expected, x, axis, False)
    layouts = {
        "channels last": np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "reversed axes": np.asfortranarray(x),
        "gaps": np.stack([x, x], -1)[..., 0],
        "negative strides": x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    }
    for name, laid in layouts.items():
        y = native.softmax_forward(laid, axis, False)
        check_forward(y, x, axis, False)
        if name in ("channels last", "reversed axes"):
            assert y.strides == laid.strides
        dx = native.softmax_backward(x, y, axis, False)
        check_backward(dx, x, y, axis, False)


@pytest.mark.parametrize("log", [False, True])
def test_sizes_of_zero_and_one(log):
    one = 0.0 if log else 1.0
    for shape, axis in [((0, 3), 1), ((3, 0), 1), ((3, 0), 0), ((2, 0, 4), 1)]:
        x = np.zeros(shape, np.float32)
        assert native.softmax_forward(x, axis, log).shape == shape
        assert native.softmax_backward(x, x, axis, log).shape == shape
    x = np.random.default_rng(4).standard_normal((3, 1, 4)).astype(np.float32)
    assert np.all(native.softmax_forward(x, 1, log) == one)
    assert np.all(native.softmax_forward(x.transpose(2, 0, 1), 2, log) == one)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "axis"), [*((n, 1) for n in (5, 16, 40, 300, 5000, 140_000)), (5, 0), (300, 0)]
)
def test_special_values(isa, dtype, log, n, axis):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, n)).astype(dtype)
    x[0] = -np.inf  # masked whole: NaN, as in PyTorch
    x[1, n // 2] = np.nan
    x[2, 0] = np.inf
    x[3, 1:] = -np.inf  # one left: it has all the weight
    x[4] = 1e30  # equal and large
    x[5] *= np.finfo(dtype).max / 8  # the differences overflow
    x[6, ::2] = -np.inf
    x[7] = np.finfo(dtype).smallest_subnormal
    y = native.softmax_forward(x.T if axis == 0 else x, axis, log)
    y = y.T if axis == 0 else y
    assert np.all(np.isnan(y[:3]))
    expected = reference(x[3:], 1, log)
    finite = np.abs(expected) < np.finfo(dtype).max
    assert np.array_equal(np.isfinite(y[3:]) | ~finite, np.ones_like(finite))
    check_forward(y[[4, 7]], x[[4, 7]], 1, log)
    assert y[3, 0] == (0 if log else 1)
    assert np.all(y[[3, 6]][np.isneginf(x[[3, 6]])] == (-np.inf if log else 0))
    assert np.nanmax(y[5]) == (0 if log else 1)


def test_threads_do_not_change_a_bit(isa):
    rng = np.random.default_rng(6)
    x = rng.standard_normal((300, 1000)).astype(np.float32)
    runs = []
    try:
        for threads in (1, 2, 5):
            native.set_num_threads(threads)
            runs.append([native.softmax_forward(x, axis, log) for axis in (0, 1) for log in (0, 1)])
            runs[-1] += [native.softmax_backward(x, x, axis, True) for axis in (0, 1)]
    finally:
        native.set_num_threads(1)
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_bad_input_raises():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"^\[softmax\] expected an axis .*; got 2"):
        native.softmax_forward(x, 2, False)
    with pytest.raises(TypeError, match=r"^\[log_softmax\] expected `input` .*; got int64"):
        native.softmax_forward(np.zeros((2, 3), np.int64), 1, True)
    with pytest.raises(ValueError, match=r"\(2, 3\); got \(3, 2\)"):
        native.softmax_backward(np.zeros((3, 2), np.float32), x, 1, False)
    with pytest.raises(TypeError, match=r"float32; got float64"):
        native.softmax_backward(np.zeros((2, 3)), x, 1, False)


@pytest.mark.parametrize("log", [False, True])
def test_against_torch(log):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here, where installed")
    rng = np.random.default_rng(7)
    x = (4 * rng.standard_normal((4, 33, 5))).astype(np.float32)
    grad = rng.standard_normal(x.shape).astype(np.float32)
    x[0, :, 0] = -np.inf
    x[1, 3, 0] = np.nan
    for axis in range(3):
        theirs = torch.tensor(x, requires_grad=True)
        out = (torch.log_softmax if log else torch.softmax)(theirs, axis)
        out.backward(torch.tensor(grad))
        y = native.softmax_forward(x, axis, log)
        dx = native.softmax_backward(grad, y, axis, log)
        eps = np.finfo(np.float32).eps
        np.testing.assert_allclose(y, out.detach().numpy(), rtol=32 * eps, atol=32 * eps)
        np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=32 * eps, atol=32 * eps * 33)
