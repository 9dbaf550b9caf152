"""NaN counts as the largest of all where elements are ordered, and wins where one is chosen, in
every dtype, as in PyTorch; the judge is NumPy in float64."""

import numpy as np
import pytest

import tilework as tw
from tilework.testing.runner import Target, running_on

DTYPES = [tw.bfloat16, tw.float32, tw.float64]
LENGTHS = (1, 2, 7, 40)


def chosen(x, indices):
    return np.take_along_axis(x, indices, 1)


def descending(x):
    """The stable order from the largest: NaN first."""
    n = x.shape[1]
    return n - 1 - np.flip(np.argsort(np.flip(x, 1), 1, kind="stable"), 1)


def ascending(x):
    return np.argsort(x, 1, kind="stable")


# The call, and its values and indices: None where NumPy has no like.
ORDERED = {
    "sort": (lambda x: x.sort(1), ascending),
    "sort, descending": (lambda x: x.sort(1, descending=True), descending),
    "argsort": (lambda x: (None, x.argsort(1)), ascending),
    "argsort, descending": (lambda x: (None, x.argsort(1, descending=True)), descending),
    "topk": (lambda x: x.topk(x.shape[1] // 2 + 1, 1), descending),
    "topk, smallest": (lambda x: x.topk(x.shape[1] // 2 + 1, 1, largest=False), ascending),
    "max": (lambda x: x.max(1, keepdim=True), lambda x: x.argmax(1)[:, None]),
    "min": (lambda x: x.min(1, keepdim=True), lambda x: x.argmin(1)[:, None]),
    "argmax": (
        lambda x: (None, x.argmax(1, keepdim=True)), lambda x: x.argmax(1)[:, None]),
    "argmin": (
        lambda x: (None, x.argmin(1, keepdim=True)), lambda x: x.argmin(1)[:, None]),
    "amax": (lambda x: (x.amax(1, keepdim=True), None), lambda x: x.argmax(1)[:, None]),
    "amin": (lambda x: (x.amin(1, keepdim=True), None), lambda x: x.argmin(1)[:, None]),
}  # fmt: skip


def rows(length):
    """Ties, both zeros, infinities and NaN, in every place of some row."""
    rng = np.random.default_rng(length)
    x = rng.integers(-2, 3, (60, length)).astype(np.float64)
    for value in (np.nan, np.inf, -np.inf, -0.0):
        x[rng.random(x.shape) < 0.12] = value
    x[:3] = [[np.nan], [np.inf], [-np.inf]]
    return x


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize("name", ORDERED)
def test_nan_in_order(name, engine, dtype):
    if reason := Target(engine).refusal():
        pytest.skip(reason)
    call, order = ORDERED[name]
    with running_on(Target(engine)):
        for length in LENGTHS:
            x = rows(length)
            values, indices = call(tw.tensor(x).to(dtype))
            expected = order(x)
            if indices is not None:
                expected = expected[:, : indices.shape[1]]
                ours = indices.numpy()
                if name.startswith("topk"):  # any of equal ones
                    same = chosen(x, ours) == chosen(x, expected)
                    assert (same | np.isnan(chosen(x, expected)) & np.isnan(chosen(x, ours))).all()
                else:
                    np.testing.assert_array_equal(ours, expected)
            if values is not None:
                assert values.dtype == dtype
                np.testing.assert_array_equal(values.double().numpy(), chosen(x, expected))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("engine", ["native", "numba"])
def test_nan_over_all(engine, dtype):
    if reason := Target(engine).refusal():
        pytest.skip(reason)
    with running_on(Target(engine)):
        for place in range(5):
            x = tw.tensor([3.0, -1.0, float("inf"), -float("inf"), 0.0]).to(dtype)
            x[place] = float("nan")
            for whole in (x.max(), x.min(), x.amax(), x.amin(), tw.maximum(x, x * 0)[place]):
                assert tw.isnan(whole)
            assert x.argmax().item() == x.argmin().item() == place
