"""The cuda engine's groups of rows on the simulated device, against the native engine's: sums of
float32 and bfloat16 to the bit."""

import numpy as np
import pytest

from tilework import dtypes
from tilework.engines import device, native, ops
from tilework.engines.cuda import embedding as plan
from tilework.engines.cuda import errors
from tilework.testing import simulated
from tilework.testing.stand_in import StandIn

from .device_arrays import order, served

__all__ = ["order", "served"]  # fixtures

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

DTYPES = ["float32", "float64", "bfloat16"]
COLUMNS = [1, 3, 8, 136]


def numbers(shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def uneven(m, n, seed=1):
    """Indices below n, one of them more often than all others together."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(m) < 0.6, n // 2, rng.integers(0, n, m))


def on_device(x):
    return StandIn(x) if isinstance(x, np.ndarray) else x


def both(name, *args):
    """Pairs of what the device's function gives, and the native one."""
    found = getattr(ops, name)(*map(on_device, args))
    errors.check()
    expected = getattr(native, name)(*args)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    return [(None if x is None else x._held, y) for x, y in pairs]


def agree(name, *args, magnitude=None, terms=0):
    """To the bit; or of `terms` numbers whose absolute values sum to `magnitude`, in another order
    of additions, each of which rounds once."""
    for x, y in both(name, *args):
        if y is None:
            assert x is None
            continue
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        if magnitude is None or y.dtype == np.int64:
            nan = y != y
            assert (nan == (x != x)).all()
            assert np.where(nan, 0, x).tobytes() == np.where(nan, 0, y).tobytes()
        else:
            eps = 2.0**-8 if y.dtype == dtypes.bfloat16 else np.finfo(y.dtype).eps
            wide = [a.astype(np.float64) for a in (x, y)]
            assert (abs(wide[0] - wide[1]) <= (terms + 2) * eps * magnitude).all()


def summed(name, x, *args):
    """float64 sums long groups by chains, which the CPU does not."""
    bound = float(np.abs(x.astype(np.float64)).sum(axis=0).max(initial=0))
    agree(
        name, x, *args, **({"magnitude": bound, "terms": len(x)} if x.dtype == np.float64 else {})
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", COLUMNS)
def test_segment_sum(order, dtype, columns):
    x, index = numbers((301, columns), dtype), uneven(301, 11)
    summed("segment_sum", x, index, 13, -1, False)
    summed("segment_sum", x, index, 11, 5, True)


@pytest.mark.parametrize("run", [31, 32, 33, 63, 64, 65, 97])
def test_groups_around_the_length_of_a_chain(served, run):
    index = np.repeat([2, 0, 3, 1], [run, 1, run, 40])
    agree("segment_sum", numbers((index.size, 5)), index, 5, -1, False)
    agree("index_add", numbers((index.size, 5)), 0, index, 5, numbers((5, 5), seed=2), False)


def test_the_last_chain_of_a_list_is_cut(served):
    index = np.repeat([0, 1], [1, 95])  # chains begin at 1, 33 and 65, which has 31 rows
    agree("segment_sum", numbers((96, 5)), index, 2, -1, False)


@pytest.mark.parametrize(
    ("shape", "axis", "rows"),
    [((70, 4), 0, 6), ((3, 70, 5), 1, 6), ((2, 3, 41), 2, 4), ((0, 4), 0, 3), ((5, 0), 0, 3),
     ((0, 5, 3), 1, 2), ((5, 3), 0, 1)],
)  # fmt: skip
def test_index_add(served, shape, axis, rows):
    x, start = numbers(shape), numbers((*shape[:axis], rows, *shape[axis + 1 :]), seed=3)
    index = np.random.default_rng(4).integers(-rows, rows, shape[axis])
    terms = {"magnitude": 20.0, "terms": 4} if axis == len(shape) - 1 else {}
    agree("index_add", x, axis, index, rows, None, True, **terms)
    agree("index_add", x[..., ::-1], axis, index % rows, rows, start, False, **terms)


@pytest.mark.parametrize("inner", [1, 4])
def test_more_lists_than_blocks_along_z(served, monkeypatch, inner):
    monkeypatch.setattr(plan, "_MOST", 2)
    x, start = numbers((3, 70, inner)), numbers((3, 6, inner), seed=3)
    agree("index_add", x, 1, uneven(70, 6), 6, start, False, magnitude=20.0, terms=4)


def test_what_32_bits_do_not_number_is_the_cupy_engine_s(served, monkeypatch):
    monkeypatch.setattr(plan, "fits", lambda count, places: False)
    x, index = numbers((20, 3)), uneven(20, 4)
    near = {"magnitude": 20.0, "terms": 20}
    agree("index_add", x, 0, index, 4, None, False, **near)
    agree("segment_sum", x, index, 4, -1, True, **near)
    agree("segment_max", x, index, 4)
    agree("embedding_bag_backward", x, index, np.arange(20), None, True, 4, -1, False, **near)
    assert not any(name.startswith("row_") for name in served.launched)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", COLUMNS)
def test_segment_max(order, dtype, columns):
    x, index = np.round(numbers((150, columns), dtype)), uneven(150, 11)
    x[7, 0] = x[90, -1] = np.nan
    agree("segment_max", x, index, 12)


def test_rows_that_are_not_aligned(served):
    room = StandIn(numbers((40 * 8 + 1,)))
    x, index = room[1:].reshape(40, 8), uneven(40, 3)
    found = ops.segment_sum(x, StandIn(index), 3, -1, False)
    expected = native.segment_sum(x._held.copy(), index, 3, -1, False)
    assert found._held.tobytes() == expected.tobytes()


def bags(count=90, seed=5):
    """(index below 7, offsets), two bags empty and one of more than 64 entries."""
    return uneven(count, 7, seed), np.array([0, 3, 3, 10, count - 5, count])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("padding", [-1, 3])
def test_bags(order, dtype, columns, padding):
    table, (index, offsets) = numbers((7, columns), dtype), bags()
    weights = numbers((index.size,), dtype, 6)
    for mode in ("sum", "mean", "max"):
        agree("embedding_bag_forward", table, index, offsets, None, mode, padding)
    agree("embedding_bag_forward", table, index, offsets, weights, "sum", padding)
    grad = numbers((offsets.size, columns), dtype, 8)
    double = {"magnitude": 300.0, "terms": 90} if dtype == "float64" else {}
    for given, mean, often in [(None, False, False), (None, True, False), (weights, False, True)]:
        agree(
            "embedding_bag_backward", grad, index, offsets, given, mean, 7, padding, often, **double
        )
    products = {"magnitude": float(columns) * 9, "terms": columns}
    agree("embedding_bag_weights_backward", grad, table, index, offsets, padding, **products)


def test_no_bags_and_no_entries(served):
    table, none = numbers((7, 4)), np.zeros(0, np.int64)
    agree("embedding_bag_forward", table, none, none, None, "sum", -1)
    agree("embedding_bag_forward", table, none, np.zeros(3, np.int64), None, "max", -1)
    agree("embedding_bag_backward", table[:0], none, none, None, True, 7, -1, False)
    agree("embedding_bag_weights_backward", table[:0], table, none, none, -1)


BAD, TWO = np.array([0, 1, 9, 3, 2, 1]), np.array([0, 4])
CALLS = [
    ("index_add", (numbers((6, 3)), 0, BAD, 5, None, True)),
    ("segment_sum", (numbers((6, 3)), BAD, 5, 2, True)),
    ("segment_max", (numbers((6, 3)), BAD, 5)),
    ("embedding_bag_forward", (numbers((5, 3)), BAD, TWO, None, "sum", -1)),
    ("embedding_bag_forward", (numbers((5, 3)), BAD, TWO, None, "max", -1)),
    ("embedding_bag_backward", (numbers((2, 3)), BAD, TWO, None, True, 5, 3, True)),
    ("embedding_bag_weights_backward", (numbers((2, 3)), numbers((5, 3)), BAD, TWO, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), CALLS)
def test_an_index_outside_is_told_when_the_device_is_waited_for(order, name, args):
    with pytest.raises(IndexError) as expected:
        getattr(native, name)(*args)
    getattr(ops, name)(*map(on_device, args))
    with pytest.raises(IndexError) as found:
        device.provider.synchronize()
    assert str(found.value) == str(expected.value)
