"""Losses of the compiled engine: every ISA variant and option, against float64 and PyTorch."""

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "loss"  # whose variants the fixture `isa` goes over
DTYPES = [np.float32, np.float64]
REDUCTIONS = ["none", "mean", "sum"]
IGNORE = -100


def reference(logits, target, weight, ignore_index, smoothing, reduction):
    """The loss, and its gradient for an upstream gradient of one."""
    x = logits.astype(np.float64)
    n, classes = x.shape
    kept = target != ignore_index
    label = np.where(kept, target, 0)
    w = np.ones(classes) if weight is None else weight.astype(np.float64)
    log_p = x - x.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    wanted = np.zeros((n, classes))  # loss = -sum(wanted * log_p)
    wanted[np.arange(n), label] = (1 - smoothing) * w[label]
    wanted += smoothing / classes * w
    wanted *= kept[:, None]
    losses = -np.where(wanted != 0, wanted * np.maximum(log_p, -1e300), 0).sum(1)
    grads = np.exp(log_p) * wanted.sum(1, keepdims=True) - wanted
    if reduction == "none":
        return losses, grads
    with np.errstate(invalid="ignore", divide="ignore"):
        divisor = (w[label] * kept).sum() if reduction == "mean" else 1.0
        return losses.sum() / divisor, grads / divisor if divisor else grads


def tolerance(logits, dtype):
    """Relative to the largest log-probability: its argument is rounded once, a sum of C terms costs
    log2(C) + 32 roundings at most (blocks of vectors, then a tree), and a few more follow."""
    classes = logits.shape[1]
    spread = np.ptp(logits.astype(np.float64), axis=1).max() if logits.size else 1.0
    return np.finfo(dtype).eps * (np.log2(classes) + 40) * (2 + spread)


def run(logits, target, weight, smoothing, reduction, ignore_index=IGNORE, grad=None):
    loss, saved = native.cross_entropy_forward(
        logits, target, weight, ignore_index, smoothing, reduction
    )
    if grad is None:
        grad = np.ones_like(loss)
    dx = native.cross_entropy_backward(
        grad, logits, target, weight, saved, ignore_index, smoothing, reduction
    )
    return loss, dx


def check(logits, target, weight, smoothing, reduction, ignore_index=IGNORE):
    loss, dx = run(logits, target, weight, smoothing, reduction, ignore_index)
    expected_loss, expected_dx = reference(
        logits, target, weight, ignore_index, smoothing, reduction
    )
    atol = tolerance(logits, logits.dtype)
    scale = 1.0 if weight is None else float(weight.max()) / min(1.0, float(weight.min()))
    count = len(target) if reduction == "sum" else 1
    assert loss.shape == np.shape(expected_loss)
    assert loss.dtype == dx.dtype == logits.dtype
    np.testing.assert_allclose(loss, expected_loss, rtol=0, atol=atol * scale * count)
    largest = np.abs(expected_dx).max(initial=0)
    np.testing.assert_allclose(dx, expected_dx, rtol=0, atol=atol * largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(isa, dtype, reduction, smoothing, weighted):
    rng = np.random.default_rng(0)
    for classes in (*range(1, 68), 2049, 5000):
        logits = (3 * rng.standard_normal((9, classes))).astype(dtype)
        target = rng.integers(0, classes, 9)
        target[[0, 4]] = IGNORE
        target[[1, 2]] = 0, classes - 1
        weight = rng.uniform(0.5, 2, classes).astype(dtype) if weighted else None
        check(logits, target, weight, smoothing, reduction)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_past_the_caches(isa, smoothing, weighted):
    """A gradient that is streamed around the cache, in rows that end on cache lines."""
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((1200, 1024)).astype(np.float32)
    weight = rng.uniform(0.5, 2, 1024).astype(np.float32) if weighted else None
    target = rng.integers(0, 1024, 1200)
    target[::7] = IGNORE
    check(logits, target, weight, smoothing, "mean")


def test_cross_entropy_layouts():
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((6, 11)).astype(np.float32)
    target, weight = rng.integers(0, 11, 6), rng.uniform(0.5, 2, 11).astype(np.float32)
    grad = rng.standard_normal(6).astype(np.float32)
    expected = run(logits, target, weight, 0.1, "none", grad=grad)
    wide = np.zeros((12, 30), np.float32)
    wide[::2, 5:16] = logits
    for laid in (np.asfortranarray(logits), wide[::2, 5:16], logits[::-1].copy()[::-1]):
        got = run(
            laid,
            np.repeat(target, 3)[::3],
            np.repeat(weight, 2)[::2],
            0.1,
            "none",
            grad=np.repeat(grad, 2)[::2],
        )
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_cross_entropy_of_nothing():
    x = np.zeros((3, 4), np.float32)
    ignored = np.full(3, IGNORE)
    for weight in (None, np.ones(4, np.float32)):
        loss, dx = run(x, ignored, weight, 0.0, "mean")
        assert np.isnan(loss)
        assert not dx.any()
        assert run(x, ignored, weight, 0.1, "sum")[0] == 0
        assert not run(x, ignored, weight, 0.1, "none")[0].any()
    loss, dx = run(x[:0], ignored[:0], None, 0.0, "mean")
    assert np.isnan(loss)
    assert dx.shape == (0, 4)
    assert run(np.zeros((3, 0), np.float32), ignored, None, 0.0, "sum")[0] == 0


@pytest.mark.parametrize("ignore_index", [2, 0, 1 << 40])
def test_ignore_index_may_be_a_class(ignore_index):
    rng = np.random.default_rng(3)
    target = rng.integers(0, 5, 20)
    target[3] = ignore_index
    check(rng.standard_normal((20, 5)), target, None, 0.1, "mean", ignore_index)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [5, 40, 3000])
def test_cross_entropy_special_values(isa, dtype, classes):
    x = np.random.default_rng(4).standard_normal((6, classes)).astype(dtype)
    target = np.full(6, 1)
    x[0, 3] = np.nan
    x[1, 2] = np.inf
    x[2] = -np.inf
    x[3, 2:] = -np.inf  # masked classes
    x[4, 1] = -np.inf  # the label itself is masked
    x[5] += 1e4  # the maximum is subtracted, not rounded into the logarithm
    loss, dx = run(x, target, None, 0.0, "none")
    assert np.all(np.isnan(loss[:3]))
    assert np.all(np.isnan(dx[:3]))
    assert loss[4] == np.inf
    check(x[5:], target[5:], None, 0.0, "none")
    expected, expected_dx = reference(x[3:4], target[3:4], None, IGNORE, 0.0, "none")
    np.testing.assert_allclose(loss[3:4], expected, rtol=0, atol=64 * np.finfo(dtype).eps)
    np.testing.assert_allclose(dx[3:4], expected_dx, rtol=0, atol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("bad", [-1, 5, IGNORE + 1, 1 << 40, -(1 << 63)])
def test_target_out_of_range_raises(bad):
    x, target = np.zeros((70, 5), np.float32), np.zeros(70, np.int64)
    _, saved = native.cross_entropy_forward(x, target, None, IGNORE, 0.0, "mean")
    target[67] = bad
    message = rf"^\[cross_entropy\] expected `target` in \[0, 5\) .*; got {bad} at 67"
    with pytest.raises(IndexError, match=message):
        native.cross_entropy_forward(x, target, None, IGNORE, 0.0, "mean")
    one = np.ones((), np.float32)
    with pytest.raises(IndexError, match=rf"got {bad} at 67"):
        native.cross_entropy_backward(one, x, target, None, saved, IGNORE, 0.0, "mean")


BAD = {
    "3-d input": (ValueError, {"logits": np.zeros((2, 3, 4), np.float32)}),
    "int input": (TypeError, {"logits": np.zeros((2, 3), np.int64)}),
    "int32 target": (TypeError, {"target": np.zeros(2, np.int32)}),
    "long target": (ValueError, {"target": np.zeros(3, np.int64)}),
    "weight shape": (ValueError, {"weight": np.zeros(2, np.float32)}),
    "weight dtype": (TypeError, {"weight": np.zeros(3)}),
    "smoothing": (ValueError, {"label_smoothing": 1.5}),
    "smoothing nan": (ValueError, {"label_smoothing": float("nan")}),
    "reduction": (ValueError, {"reduction": "average"}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_cross_entropy_raises(case):
    error, changes = BAD[case]
    arguments = {
        "logits": np.zeros((2, 3), np.float32),
        "target": np.zeros(2, np.int64),
        "weight": None,
        "ignore_index": IGNORE,
        "label_smoothing": 0.0,
        "reduction": "mean",
    }
    with pytest.raises(error, match=r"^\[cross_entropy\] expected .*; got "):
        native.cross_entropy_forward(**arguments | changes)


MSE_LAYOUTS = {
    "c": lambda a: a,
    "transposed": np.asfortranarray,
    "gaps": lambda a: np.stack([a, a], -1)[..., 0],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse(isa, dtype, reduction):
    rng = np.random.default_rng(5)
    for n in (*range(1, 68), 16_384, 50_001):
        a, b = (rng.standard_normal(n).astype(dtype) for _ in range(2))
        d = a.astype(np.float64) - b
        loss = native.distance_forward("square", a, b, 0.0, reduction)
        expected = {"none": d * d, "mean": (d * d).mean(), "sum": (d * d).sum()}[reduction]
        eps = np.finfo(dtype).eps
        # A difference rounded once counts twice in its square, and the sum of positive terms loses
        # at most log2(n) + 32 roundings.
        np.testing.assert_allclose(loss, expected, rtol=eps * (np.log2(n) + 36), atol=0)
        grad = rng.standard_normal(loss.shape).astype(dtype)
        factor = 2 / n if reduction == "mean" else 2
        dx = native.distance_backward("square", grad, a, b, 0.0, reduction)
        np.testing.assert_allclose(dx, factor * d * grad, rtol=4 * eps, atol=0)


@pytest.mark.parametrize("first", MSE_LAYOUTS)
@pytest.mark.parametrize("second", MSE_LAYOUTS)
@pytest.mark.parametrize("third", MSE_LAYOUTS)
def test_mse_layouts(first, second, third):
    rng = np.random.default_rng(6)
    a, b, g = rng.standard_normal((3, 4, 5))
    laid = MSE_LAYOUTS[first](a), MSE_LAYOUTS[second](b)
    np.testing.assert_array_equal(
        native.distance_forward("square", *laid, 0.0, "none"), (a - b) ** 2
    )
    dx = native.distance_backward("square", MSE_LAYOUTS[third](g), *laid, 0.0, "none")
    np.testing.assert_allclose(dx, 2 * (a - b) * g, rtol=4 * np.finfo(float).eps, atol=0)
    assert native.distance_backward("square", np.ones((1,)), *laid, 0.0, "sum").shape == (4, 5)


def test_mse_of_nothing_and_bad_input():
    empty = np.zeros((0, 3), np.float32)
    assert np.isnan(native.distance_forward("square", empty, empty, 0.0, "mean"))
    assert native.distance_forward("square", empty, empty, 0.0, "sum") == 0
    assert native.distance_forward("square", empty, empty, 0.0, "none").shape == (0, 3)
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"^\[mse_loss\] expected `target` .*\(2, 3\); got \(3,"):
        native.distance_forward("square", x, x.T, 0.0, "mean")
    with pytest.raises(TypeError, match=r"float32; got float64"):
        native.distance_forward("square", x, np.zeros((2, 3)), 0.0, "mean")
    with pytest.raises(ValueError, match=r"`grad` of one element; got \(2, 3\)"):
        native.distance_backward("square", x, x, x, 0.0, "mean")


def test_threads_do_not_change_a_bit(isa):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3000, 70)).astype(np.float32)
    target = rng.integers(0, 70, 3000)
    runs = []
    try:
        for threads in (1, 2, 5):
            native.set_num_threads(threads)
            runs.append(
                [
                    *run(x, target, None, 0.1, "mean"),
                    native.distance_forward("square", x, x * 2, 0.0, "sum"),
                ]
            )
    finally:
        native.set_num_threads(1)
    for again in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(again, runs[0], strict=True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("all_ignored", [False, True])
def test_cross_entropy_against_torch(reduction, smoothing, weighted, all_ignored):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here, where installed")
    rng = np.random.default_rng(8)
    x = rng.standard_normal((12, 7))
    target = np.full(12, 3) if all_ignored else rng.integers(0, 7, 12)
    weight = rng.uniform(0.5, 2, 7) if weighted else None
    theirs = torch.tensor(x, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        theirs,
        torch.tensor(target),
        None if weight is None else torch.tensor(weight),
        ignore_index=3,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    ours, dx = run(x, target, weight, smoothing, reduction, ignore_index=3)
    rtol = 100 * np.finfo(float).eps
    np.testing.assert_allclose(ours, loss.detach().numpy(), rtol=rtol)
    if not all_ignored:  # PyTorch's gradient there is NaN with smoothing, zero without
        loss.sum().backward()
        np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=rtol, atol=rtol)
