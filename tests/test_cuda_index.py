"""The cuda engine's gather, scatter and their like, on the simulated device, against the native
engine's."""

import numpy as np
import pytest

from tilework import dtypes
from tilework.engines import device, native, ops
from tilework.engines.cuda import errors
from tilework.engines.cuda import index as plan
from tilework.engines.cuda import index_reduce as reductions_plan
from tilework.testing import simulated
from tilework.testing.stand_in import StandIn

from .device_arrays import order, served

__all__ = ["order", "served"]  # fixtures

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

DTYPES = ["uint8", "bool", "bfloat16", "int32", "float32", "float64", "int64"]


def numbers(shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(-9, 9, shape) if dtype != "bool" else rng.integers(0, 2, shape)).astype(
        dtypes.bfloat16 if dtype == "bfloat16" else dtype
    )


def indices(shape, n, seed=1, lowest=0):
    return np.random.default_rng(seed).integers(lowest, n, shape)


def misaligned(x):
    """The same numbers, their first element no multiple of 16 bytes from the start."""
    room = np.empty(x.size + 1, x.dtype)
    room[1:] = x.reshape(-1)
    return room, x.shape


def on_device(x):
    return StandIn(x) if isinstance(x, np.ndarray) else x


def held(found):
    return tuple(map(held, found)) if isinstance(found, tuple) else found._held


def both(name, *args):
    """What the device's function gives, and the native one."""
    found = held(getattr(ops, name)(*map(on_device, args)))
    errors.check()
    return found, getattr(native, name)(*args)


def agree(name, *args):
    found, expected = both(name, *args)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.flags.c_contiguous
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather(order, dtype):
    x = numbers((3, 37, 5), dtype)
    agree("gather", x, 1, indices((3, 700, 5), 37, lowest=-37), True)
    assert any(name.startswith("gather_") for name in order.launched)


@pytest.mark.parametrize(
    ("shape", "axis", "index"),
    [((7,), 0, (1030,)), ((4, 6), 1, (3, 2)), ((4, 6), 0, (9, 6)), ((2, 3, 4), 2, (2, 2, 5)),
     ((0, 3), 1, (0, 3)), ((3, 0), 1, (3, 0)), ((3, 4), 0, (0, 4)), ((5, 3), 0, (2, 0))],
)  # fmt: skip
def test_gather_of_shapes(served, shape, axis, index):
    x = numbers(shape)
    agree("gather", x, axis, indices(index, max(shape[axis], 1)), False)
    agree("gather", x[..., ::-1], axis, indices(index, max(shape[axis], 1)), False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 3, 8, 100])
def test_index_select(order, dtype, columns):
    agree("index_select", numbers((11, columns), dtype), 0, indices((70,), 11, lowest=-11), True)


@pytest.mark.parametrize(
    ("shape", "axis", "m"),
    [((3, 5, 4), 1, 7), ((3, 5), 1, 9), ((2, 3, 9000), 1, 2), ((4,), 0, 300), ((0, 3), 1, 2),
     ((3, 0), 0, 2), ((3, 4), 0, 0)],
)  # fmt: skip
def test_index_select_of_shapes(served, shape, axis, m):
    agree("index_select", numbers(shape), axis, indices((m,), shape[axis]), False)


def test_slices_that_are_not_aligned(served):
    room = StandIn(numbers((8 * 4 + 1,)))
    x = room[1:].reshape(8, 4)
    index = indices((20,), 8)
    found = ops.index_select(x, 0, StandIn(index), False)
    assert (found._held == native.index_select(x._held.copy(), 0, index, False)).all()
    assert "index_select_uint32_t" in served.launched
    ops.index_select(room[: 8 * 4].reshape(8, 4), 0, StandIn(index), False)
    assert "index_select_uint4" in served.launched


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_of_equal_indices_is_written(order, dtype):
    x, index = numbers((3, 6, 5), dtype), indices((3, 250, 5), 6)
    agree("scatter", x, 1, index, numbers(index.shape, dtype, 5))
    agree("scatter", x, 1, index, numbers((), dtype, 5))
    some = indices((40,), 6)
    agree("index_copy", x, 1, some, numbers((3, 40, 5), dtype, 5))
    agree("index_copy", x, 1, some, numbers((), dtype, 5))


@pytest.mark.parametrize(
    ("shape", "axis", "index"),
    [((7,), 0, (1030,)), ((4, 6), 1, (3, 2)), ((4, 6), 1, (4, 1)), ((2, 3, 4), 2, (2, 2, 5)),
     ((3, 0), 1, (3, 0)), ((3, 4), 0, (0, 4))],
)  # fmt: skip
def test_scatter_of_shapes(served, shape, axis, index):
    x = numbers(shape)
    agree("scatter", x, axis, indices(index, max(shape[axis], 1)), numbers(index, seed=4))
    agree("scatter", x.T.copy().T, axis, indices(index, max(shape[axis], 1)), numbers((), seed=4))


@pytest.mark.parametrize(
    ("shape", "axis", "m"), [((5, 16), 0, 3), ((5, 3), 1, 0), ((0, 3), 1, 2), ((3, 4, 700), 1, 9)]
)
def test_index_copy_of_shapes(served, shape, axis, m):
    x, source = numbers(shape), numbers((*shape[:axis], m, *shape[axis + 1 :]), seed=4)
    agree("index_copy", x, axis, indices((m,), max(shape[axis], 1)), source)


def test_what_32_bits_do_not_number_is_the_cupy_engine_s(served, monkeypatch):
    monkeypatch.setattr(plan, "_MOST", 5)
    monkeypatch.setattr(reductions_plan, "fits", lambda count, places: False)
    x, index, source = numbers((4,)), indices((40,), 4), numbers((40,), seed=2)
    agree("scatter", x, 0, index, source)
    agree("index_copy", x, 0, index, source)
    close("scatter_reduce", x, 0, index, source, "mean", True)
    close("scatter_add", source, 0, index, (4,), False)
    assert not any(name.startswith(("scatter", "index")) for name in served.launched)


# --- reductions ---

HOW = ["sum", "prod", "amax", "amin", "mean"]


def close(name, *args):
    """Floats to what their type rounds in a sum of float64, or of 32 in itself; the rest equal."""
    found, expected = both(name, *args)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if found.dtype.kind in "iub":
        assert (found == expected).all()
        return
    eps = 2.0**-8 if found.dtype == dtypes.bfloat16 else np.finfo(found.dtype).eps
    x, y = (a.astype(np.float64) for a in (found, expected))
    terms = args[2].size if found.dtype == np.float64 else 32  # numbers of 9 at most
    np.testing.assert_allclose(x, y, rtol=terms * eps, atol=terms * eps * 9)


def reductions(dtype):
    if dtype == "bool":
        return HOW[2:4]
    return HOW if dtype in ("float32", "float64", "bfloat16") else HOW[:4]


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_scatter_reduce_in_orders(order, dtype):
    check_reductions(dtype, 100)


@pytest.mark.parametrize("dtype", [*DTYPES, "uint32"])
@pytest.mark.parametrize("m", [1, 7, 100])
def test_scatter_reduce(served, dtype, m):
    check_reductions(dtype, m)


def check_reductions(dtype, m):
    x, index = numbers((3, 9, 2), dtype), indices((3, m, 2), 7)
    index[1, : m // 2] = 3  # a long run, over many warps
    source = numbers(index.shape, dtype, 5)
    for how in reductions(dtype):
        if how == "prod":
            source = np.where(indices(index.shape, 9, 6) > 0, np.ones_like(source), source)
        for include_self in (True, False):
            close("scatter_reduce", x, 1, index, source, how, include_self)
    if dtype != "bool":
        close("scatter_add", source, 1, index - 9, (3, 9, 2), True)


@pytest.mark.parametrize(
    ("shape", "axis", "index"),
    [((7,), 0, (1030,)), ((3,), 0, (5000,)), ((4, 6), 1, (3, 2)), ((4, 6), 1, (4, 1)),
     ((2, 3, 4), 2, (2, 2, 50)), ((3, 0), 1, (3, 0)), ((3, 4), 0, (0, 4)), ((1,), 0, (64,))],
)  # fmt: skip
def test_scatter_reduce_of_shapes(served, shape, axis, index):
    x, i = numbers(shape), indices(index, max(shape[axis], 1))
    source = numbers(index, seed=4)
    close("scatter_reduce", x, axis, i, source, "mean", False)
    close("scatter_reduce", x[..., ::-1], axis, i, source, "amin", True)
    close("scatter_add", source, axis, i, shape, False)


@pytest.mark.parametrize("how", ["amax", "amin", "sum"])
def test_nan_stays(served, how):
    source = numbers((90,))
    source[40] = np.nan
    close("scatter_reduce", numbers((3,)), 0, np.repeat([0, 1, 2], 30), source, how, False)
    close("scatter_reduce", numbers((3,)), 0, np.repeat([0, 1], 45), source, how, True)
    close("scatter_reduce", np.float32([np.nan, 1]), 0, np.zeros(90, int), source[:90], how, True)


# --- outside ---

CALLS = [
    ("gather", lambda i: (numbers((4, 3)), 0, i.reshape(-1, 3), False)),
    ("gather", lambda i: (numbers((4, 3)), 0, i.reshape(-1, 3), True)),
    ("gather", lambda i: (numbers((0, 3)), 0, i.reshape(-1, 3), True)),
    ("index_select", lambda i: (numbers((4, 3)), 0, i, False)),
    ("index_select", lambda i: (numbers((4, 3)), 0, i, True)),
    ("scatter", lambda i: (numbers((4, 3)), 0, i.reshape(-1, 3), numbers((2, 3)))),
    ("index_copy", lambda i: (numbers((4, 3)), 0, i, numbers((6, 3)))),
    ("scatter_add", lambda i: (numbers((2, 3)), 0, i.reshape(-1, 3), (4, 3), False)),
    ("scatter_add", lambda i: (numbers((66,)), 0, np.tile(i, 11), (4,), True)),
    ("scatter_reduce", lambda i: (numbers((4,)), 0, i, numbers((6,)), "mean", False)),
]


@pytest.mark.parametrize("bad", [4, -5, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_an_index_outside_is_told_when_the_device_is_waited_for(order, name, arguments, bad):
    args = arguments(np.array([0, 1, bad, 3, 2, 1]))
    with pytest.raises(IndexError) as expected:
        getattr(native, name)(*args)
    getattr(ops, name)(*map(on_device, args))  # touches no memory: the simulator knows bounds
    with pytest.raises(IndexError) as found:
        device.provider.synchronize()
    if args[0].size:
        assert str(found.value) == str(expected.value)
    device.provider.synchronize()  # told once


def test_the_first_launch_is_told_and_any_later_wait_does_it(served):
    ops.gather(StandIn(numbers((4,))), 0, StandIn(np.array([9])), False)
    ops.gather(StandIn(numbers((5,))), 0, StandIn(np.array([8])), False)
    with pytest.raises(IndexError, match=r"\[gather\] expected indices in \[0, 4\); got 9"):
        served.to_host(StandIn(numbers((1,))))


def test_words_are_read_before_another_launch_has_them(served, monkeypatch):
    monkeypatch.setattr(errors, "_PLACES", 4)
    with simulated.device():
        ops.gather(StandIn(numbers((4,))), 0, StandIn(np.array([9])), False)
        whole = (StandIn(numbers((4,))), 0, StandIn(np.array([2])), False)
        for _ in range(3):
            ops.gather(*whole)
        with pytest.raises(IndexError, match="got 9"):
            ops.gather(*whole)
