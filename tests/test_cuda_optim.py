"""The cuda engine's optimiser steps on the simulated device, against the native engine's: to the
bit, but for sums of squares."""

import numpy as np
import pytest

from tilework.engines import native, ops
from tilework.engines.cuda import optim as plan
from tilework.testing import simulated
from tilework.testing.stand_in import StandIn

from .device_arrays import order, served

__all__ = ["order", "served"]  # fixtures

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

SHAPES = [(1,), (7,), (0, 3), (5, 33), (2048,), (2, 1025), (9,)]


def lists(count, dtype="float32", shapes=SHAPES, seed=0):
    """`count` lists of arrays, without a negative number in those from the fourth on."""
    rng = np.random.default_rng(seed)
    made = [[rng.standard_normal(s).astype(dtype) for s in shapes] for _ in range(count)]
    return [[abs(x) for x in xs] if i >= 3 else xs for i, xs in enumerate(made)]


def on_device(arrays):
    return None if arrays is None else [StandIn(x) for x in arrays]


def agree(name, arrays, *options):
    """The same step by both engines leaves the same bits everywhere."""
    there = [on_device(xs) for xs in arrays]
    getattr(ops, name)(*there, *options)
    getattr(native, name)(*arrays, *options)
    for xs, ys in zip(there, arrays, strict=True):
        for x, y in zip(xs or [], ys or [], strict=True):
            np.testing.assert_array_equal(x._held, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd(order, dtype, decay):
    for first, momentum, dampening, nesterov, maximize in [
        (True, 0.9, 0.0, False, False), (False, 0.9, 0.1, False, True),
        (False, 0.9, 0.0, True, False), (True, 0.9, 0.0, True, False),
    ]:  # fmt: skip
        options = (first, 0.1, momentum, dampening, decay, nesterov, maximize)
        agree("sgd_step", lists(3, dtype), *options)
    agree("sgd_step", [*lists(2, dtype), None], False, 0.1, 0.0, 0.0, decay, False, True)
    assert order.launched[f"sgd_{'float' if dtype == 'float32' else 'double'}"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(order, dtype, amsgrad):
    for step, decoupled, decay, maximize, beta1 in [
        (1, False, 0.0, False, 0.9), (7, True, 0.01, False, 0.9), (3, False, 0.01, True, 0.3),
    ]:  # fmt: skip
        arrays = lists(5 if amsgrad else 4, dtype)
        arrays = arrays if amsgrad else [*arrays, None]
        options = (step, 1e-3, beta1, 0.999, 1e-8, decay, decoupled, maximize)
        agree("adam_step", arrays, *options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, 1e-30, 3e38])
def test_numbers_at_the_ends_of_their_range(served, bad):
    def with_bad(count):
        arrays = lists(count, shapes=[(37,)])
        for at, xs in enumerate(arrays):
            xs[0][at] = bad
            xs[0][30:] = abs(bad)
        return arrays

    for decay in (0.0, 0.1):
        options = (2, 1e-3, 0.9, 0.999, 1e-8, decay, False, False)
        agree("adam_step", with_bad(5), *options)
        agree("sgd_step", with_bad(3), False, 0.1, 0.9, 0.0, decay, True, False)


def test_averages_that_vanish_become_zero(served):
    arrays = lists(4, shapes=[(16,)])
    for xs in arrays[1:]:
        xs[0][:] = 1e-36
    agree("adam_step", [*arrays, None], 5, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, False)
    arrays[2][0][:] = 1e-31
    there = [on_device(xs) for xs in arrays[:3]]
    ops.sgd_step(*there, False, 0.1, 0.9, 0.0, 0.0, False, False)
    assert (there[2][0]._held == 0).all()


def test_a_step_of_many_parameters_is_one_launch_of_each_dtype(served):
    arrays = [a + b for a, b in zip(lists(3), lists(3, "float64"), strict=True)]
    agree("sgd_step", arrays, False, 0.1, 0.9, 0.0, 0.0, False, False)
    assert served.launched == {"sgd_momentum_float": 1, "sgd_momentum_double": 1}


def laid_out():
    """Arrays (6, 10) of one number each, in different layouts."""
    x = np.arange(60, dtype=np.float32).reshape(6, 10)
    room = np.zeros((12, 20), np.float32)
    room[::2, ::2] = x
    shifted = np.zeros(61, np.float32)
    shifted[1:] = x.reshape(-1)
    return [x, x.T.copy().T, room[::2, ::2], shifted[1:].reshape(6, 10)]


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(4))
def test_arrays_that_lie_otherwise(served, first, second):
    p, g, b = laid_out()[first], laid_out()[second], laid_out()[first]
    wide = [StandIn(np.zeros(1000, np.float32))[1:] for _ in range(3)]  # a place off alignment
    there = []
    for x, room in zip((p, g, b), wide, strict=True):
        low = room[: x.base.size if x.base is not None else x.size]._held
        view = np.ndarray(x.shape, x.dtype, low, 0, x.strides)
        view[...] = x
        there.append([StandIn(view)])
    options = (False, 0.1, 0.9, 0.0, 0.1, False, False)
    ops.sgd_step(*there, *options)
    native.sgd_step([p], [g], [b], *options)
    assert (there[0][0]._held == p).all()
    assert (there[2][0]._held == b).all()


def test_a_table_of_addresses_is_made_once(served, monkeypatch):
    made = []
    monkeypatch.setattr(served, "to_device", lambda x: made.append(x) or StandIn(x))
    params, grads, _ = map(on_device, lists(3))
    for _ in range(3):
        ops.sgd_step(params, grads, None, False, 0.1, 0.0, 0.0, 0.0, False, False)
    assert len(made) == 1
    others = on_device(lists(1)[0])
    ops.sgd_step(params, others, None, False, 0.1, 0.0, 0.0, 0.0, False, False)
    assert len(made) == 2


def test_old_tables_are_forgotten(served, monkeypatch):
    monkeypatch.setattr(plan, "_MOST_TABLES", 2)
    kept = [on_device([np.ones(3, np.float32)]) for _ in range(4)]
    for xs in kept:
        ops.scale_(xs, 2.0)
    assert len(plan._tables) == 2


@pytest.mark.parametrize(
    ("grad", "kind"),
    [(np.zeros((4, 2), np.float32), ValueError), (np.zeros((3, 2), np.float64), ValueError)],
)
def test_arrays_that_do_not_fit_reach_no_kernel(served, grad, kind):
    param = StandIn(np.zeros((3, 2), np.float32))
    with pytest.raises(kind, match="sgd_step"):
        ops.sgd_step([param], [StandIn(grad)], None, False, 0.1, 0.0, 0.0, 0.0, False, False)
    with pytest.raises(RuntimeError, match="one device"):
        ops.sgd_step([param], [param._held], None, False, 0.1, 0.0, 0.0, 0.0, False, False)
    with pytest.raises(TypeError, match="float32 or float64"):
        ops.scale_([StandIn(np.zeros(3, np.int64))], 2.0)
    assert served.launched == {}


# --- gradients as one vector ---


def test_scale(order):
    agree("scale_", [lists(1)[0] + lists(1, "float64")[0]], 0.3)
    agree("scale_", [laid_out()], 0.3)


def test_squares(order):
    arrays = [*lists(1)[0], *lists(1, "float64")[0], np.float32([1e30, 3e38])]
    found = ops.squares_of(on_device(arrays))
    expected = native.squares_of(arrays)
    size = sum(x.size for x in arrays)
    assert found.shape == ()
    assert found.dtype == np.float64
    # Sums of positive numbers: each of the additions rounds once, in either order.
    assert abs(float(found) - expected) <= size * np.finfo(np.float64).eps * expected
    assert float(ops.squares_of([StandIn(np.zeros((0, 3), np.float32))])) == 0
    assert np.isnan(float(ops.squares_of([StandIn(np.float32([1, np.nan]))])))
