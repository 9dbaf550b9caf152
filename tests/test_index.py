"""Indices outside, repeated, negative and of every dtype; the order in which sources add."""

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.tolerance import eps

N, WIDE = 5, 3


@pytest.fixture(params=[t for t in TARGETS if t.serves("embedding")], ids=str)
def target(request):
    """One after the other, at work until the test ends."""
    if reason := request.param.refusal():
        pytest.skip(reason)
    with running_on(request.param):
        yield request.param


def whole(*numbers, dtype="int64"):
    return tw.tensor(np.array(numbers, dtype))


def rows(n=N):
    return tw.arange(float(n * WIDE)).reshape(n, WIDE)


def spread(i):
    """An index of one place as one for every column."""
    return i.reshape(-1, 1).expand(len(i.reshape(-1)), WIDE)


# Each on an index (n,) into N rows.
CALLS = {
    "gather": lambda i: tw.gather(rows(), 0, spread(i)),
    "take_along_dim": lambda i: tw.take_along_dim(rows(), spread(i), 0),
    "take": lambda i: tw.take(rows()[:, 0], i),
    "index_select": lambda i: tw.index_select(rows(), 0, i),
    "index": lambda i: rows()[i],
    "scatter": lambda i: tw.scatter(rows(), 0, spread(i), rows(len(i))),
    "scatter_add": lambda i: tw.scatter_add(rows(), 0, spread(i), rows(len(i))),
    "scatter_reduce": lambda i: tw.scatter_reduce(rows(), 0, spread(i), rows(len(i)), "amax"),
    "index_add": lambda i: tw.index_add(rows(), 0, i, rows(len(i))),
    "index_copy": lambda i: tw.index_copy(rows(), 0, i, rows(len(i))),
    "index_fill": lambda i: tw.index_fill(rows(), 0, i, 1.0),
    "embedding": lambda i: F.embedding(i, rows()),
    "embedding_bag": lambda i: F.embedding_bag(i, rows(), whole(0), mode="sum"),
    "segment_sum": lambda i: F.segment_sum(rows(len(i)), i, N),
    "segment_mean": lambda i: F.segment_mean(rows(len(i)), i, N),
    "segment_max": lambda i: F.segment_max(rows(len(i)), i, N),
    "segment_softmax": lambda i: F.segment_softmax(rows(len(i)), i, N),
}
FROM_THE_END = ("take_along_dim", "take", "index", "index_fill")


@pytest.mark.parametrize("op", CALLS)
def test_indices_outside_are_refused(target, op):
    for outside in (N, -N - 1, 2**40, -(2**62), *(() if op in FROM_THE_END else (-1,))):
        for at in range(3):
            numbers = [0, N - 1]
            numbers.insert(at, outside)
            with pytest.raises(IndexError, match=rf"^\[{op}\] expected .*{outside}"):
                CALLS[op](whole(*numbers))


@pytest.mark.parametrize("op", CALLS)
def test_every_dtype_of_indices_gives_the_same(target, op):
    expected = CALLS[op](whole(3, 0, 3)).numpy()
    for dtype in ("int32", "uint8") if op != "index" else ("int32",):  # uint8 is a mask there
        found = CALLS[op](whole(3, 0, 3, dtype=dtype)).numpy()
        np.testing.assert_array_equal(found, expected)
    if op in FROM_THE_END:
        found = CALLS[op](whole(3 - N, 0, -2)).numpy()
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", CALLS)
def test_an_empty_index_is_served(target, op):
    found = CALLS[op](tw.zeros(0).long()).numpy()
    assert found.size == 0 or np.isin(found, rows().numpy()).all()


# --- what adds, and in which order ---


def test_short_sums_go_in_the_order_of_the_list(target):
    """Numbers of which another order gives other bits."""
    if target.engine != "native":
        pytest.skip("sums are kept in float64 there")
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((90, 37)) * 10.0 ** rng.integers(-4, 4, (90, 37))).astype(np.float32)
    index = rng.permutation(np.repeat(np.arange(6), 15))
    expected = np.zeros((6, 37), np.float32)
    for i, row in zip(index, x, strict=True):
        expected[i] += row
    found = F.segment_sum(tw.tensor(x), tw.tensor(index), 6).numpy()
    np.testing.assert_array_equal(found, expected)


LARGE = 200_000  # beyond what one task takes


def _numbers(*shape):
    return tw.tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


def _places(below, *shape):
    return tw.tensor(np.random.default_rng(2).integers(0, below, shape))


SUMS = {
    "gather": lambda: tw.gather(_numbers(300, 700), 0, _places(300, 300, 700)),
    "index_select": lambda: tw.index_select(_numbers(300, 700), 1, _places(700, 900)),
    "scatter_add": lambda: tw.scatter_add(
        _numbers(300, 700), 0, _places(300, 300, 700), _numbers(300, 700)
    ),
    "scatter_add, few places": lambda: tw.scatter_add(
        _numbers(3, 700), 0, _places(3, 300, 700), _numbers(300, 700)
    ),
    "scatter": lambda: tw.scatter(
        _numbers(300, 700), 0, _places(300, 300, 700), _numbers(300, 700)
    ),
    "scatter_reduce": lambda: tw.scatter_reduce(
        _numbers(300, 700), 1, _places(700, 300, 700), _numbers(300, 700), "mean"
    ),
    "index_add": lambda: tw.index_add(_numbers(50, 70), 0, _places(50, 4000), _numbers(4000, 70)),
    "index_add, columns": lambda: tw.index_add(
        _numbers(4000, 7), 1, _places(7, 70), _numbers(4000, 70)
    ),
    "embedding_bag": lambda: F.embedding_bag(_places(90, 900, 40), _numbers(90, 70), mode="mean"),
    "segment_sum": lambda: F.segment_sum(_numbers(LARGE, 3), _places(900, LARGE), 900),
    "segment_max": lambda: F.segment_max(_numbers(LARGE, 3), _places(900, LARGE), 900),
    "masked_select": lambda: tw.masked_select(_numbers(LARGE), _numbers(LARGE) > 0),
    "nonzero": lambda: tw.nonzero(_numbers(LARGE) > 0),
    "where": lambda: tw.where(_numbers(LARGE) > 0, _numbers(LARGE), 0.0),
    "pad": lambda: F.pad(_numbers(90, 7, 400), (2, 3, 1, 2), mode="reflect"),
}


@pytest.mark.parametrize("op", SUMS)
def test_bits_do_not_depend_on_threads(threads, op):
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(SUMS[op]().numpy().tobytes())
    assert found[0] == found[1] == found[2]


def test_long_chains_lose_nothing(target):
    """A hundred thousand tenths: added one by one in float32 they would be a thousandth off."""
    count, far = 100_000, 80_000
    tenths = tw.full((count,), 0.1)
    exact = count * float(np.float32(0.1))
    zeros = tw.zeros(count).long()
    found = [
        tw.zeros(far).scatter_add(0, zeros, tenths)[0],
        tw.zeros(4).scatter_add(0, zeros, tenths)[0],
        tw.zeros(far).index_add(0, zeros, tenths)[0],
        F.segment_sum(tenths.reshape(-1, 1).expand(count, 3), zeros, 2)[0, 2],
        F.embedding_bag(zeros, tw.full((1, 3), 0.1), whole(0), mode="sum")[0, 1],
    ]
    # A chain of 32 additions at most, and one rounding.
    for sum_of in found:
        assert abs(float(sum_of) - exact) <= 32 * eps("float32") * exact


def test_choosing_between_numbers_gives_a_number(target):
    m, x = tw.tensor(True), tw.tensor(2.0)
    assert tw.where(m, x, tw.tensor(1.0)).shape == ()
    assert x.masked_fill(m, 1.0).shape == ()
    assert x.clone().masked_fill_(m, 1.0).item() == 1.0
    with pytest.raises(TypeError, match=r"\[masked_fill\].*bool mask"):
        tw.ones(2).masked_fill(tw.ones(2), 0.0)
