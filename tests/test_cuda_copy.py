"""Copies, joins, borders and choices by a mask on the simulated device, to the CPU's bits."""

import ml_dtypes
import numpy as np
import pytest

from tilework import engines
from tilework.engines.cuda import axes
from tilework.testing import simulated, traffic
from tilework.testing.inputs import LAYOUTS, laid_out, normal
from tilework.testing.tolerance import assert_close, eps

from .device_arrays import here, there

if simulated.refusal():
    pytest.skip(simulated.refusal(), allow_module_level=True)
native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")
cuda = engines.engine_module("cuda")
# laid_out() fills gaps with NaN, which integers have none of.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast")

DTYPES = ["bool", "bfloat16", "int32", "float64"]  # 1, 2, 4 and 8 bytes
bfloat16 = np.dtype(ml_dtypes.bfloat16)


@pytest.fixture(autouse=True, params=simulated.ORDERS)
def device(request):
    with simulated.device(order=request.param, seed=9) as made:
        yield made


def numbers(dtype, *shape):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def check(name, *args):
    """Values, dtype and layout, of both engines."""
    y = getattr(native, name)(*args)
    sides = [there(a) if isinstance(a, np.ndarray) else a for a in args]
    found = here(getattr(cuda, name)(*sides))
    np.testing.assert_array_equal(found, y)
    assert found.dtype == y.dtype
    assert found.strides == y.strides


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies(layout, dtype):
    x = laid_out(numbers(dtype, 3, 5, 2, 33), layout)
    check("copy", x, True)
    check("copy", x, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 4095, 4096, 8193])
def test_lengths(n, dtype):
    for how in ("contiguous", "misaligned"):
        check("copy", laid_out(numbers(dtype, n), how), True)


def test_many_axes_go_another_way():
    x = numbers("float32", 2, 3, 2, 3, 2, 3, 2, 3)
    check("copy", x.transpose(1, 0, 3, 2, 5, 4, 7, 6)[:, :, ::2], False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_joins(axis, dtype):
    parts = [numbers(dtype, *(n if i == axis else 4 for i in range(3))) for n in (3, 1, 0, 8)]
    parts.append(laid_out(parts[0], "transposed"))
    for name, given in (("concatenate", parts), ("stack", [parts[0], parts[-1]])):
        y = getattr(native, name)(given, axis)
        found = here(getattr(cuda, name)([there(x) for x in given], axis))
        np.testing.assert_array_equal(found, y)
        assert found.flags.c_contiguous


def test_joins_refuse_what_the_cpu_refuses():
    a, b, c = (there(x) for x in (np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3), np.float32)))
    for name in ("concatenate", "stack"):
        join = getattr(cuda, name)
        with pytest.raises(ValueError, match="expected shapes as"):
            join([a, b], 0)
        with pytest.raises(TypeError, match="one dtype"):
            join([a, c], 0)
        with pytest.raises(ValueError, match="an axis"):
            join([a, a], 3)
        with pytest.raises(ValueError, match="arrays"):
            join([], 0)


PADDINGS = [
    ((0, 0, 2), (0, 0, 3)), ((1, 0, 0), (2, 0, 0)), ((1, 2, 3), (0, 1, 2)), ((0, 0, 0), (0, 0, 0)),
    ((0, 1, 0), (0, 3, 0)),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(("before", "after"), PADDINGS)
def test_borders(before, after, mode):
    for dtype in DTYPES:
        for layout in ("contiguous", "transposed", "gapped"):
            x = laid_out(numbers(dtype, 4, 5, 16), layout)
            check("pad", x, before, after, mode, np.array([1], dtype))
    rng = np.random.default_rng(1)
    for dtype in ("float32", "float64"):
        shape = [n + a + b for n, a, b in zip((4, 5, 16), before, after, strict=True)]
        grad = normal(rng, dtype, *shape)
        y = native.pad_backward(grad, before, after, mode)
        found = here(cuda.pad_backward(there(grad), before, after, mode))
        total = native.pad_backward(np.abs(grad), before, after, mode)
        assert_close(found, y, 8 * eps(dtype) * total, mode)


def test_borders_of_nothing():
    empty = np.ones((0, 3), np.float32)
    check("pad", empty, (1, 0), (1, 2), "constant", np.array([7], np.float32))
    check("pad", np.asarray(3, np.float32), (), (), "constant", np.array([7], np.float32))
    for mode in ("reflect", "replicate", "circular"):
        with pytest.raises(ValueError, match="pad"):
            cuda.pad(there(empty), (1, 0), (0, 0), mode, there(np.zeros(1, np.float32)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype):
    rng = np.random.default_rng(2)
    shapes = [
        ((3, 4, 16), (3, 4, 16), (3, 4, 16)), ((4, 1), (3, 4, 16), ()), ((16,), (1, 4, 1), (16,)),
        ((3, 4, 5), (5,), (3, 1, 5)), ((0, 2), (1, 2), ()), ((), (), ()),
    ]  # fmt: skip
    for of_condition, of_a, of_b in shapes:
        condition = rng.integers(0, 2, of_condition).astype(bool)
        check("where", condition, numbers(dtype, *of_a), numbers(dtype, *of_b))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_of_any_layout(layout):
    rng = np.random.default_rng(3)
    condition = laid_out(rng.integers(0, 2, (3, 5, 2, 8)).astype(bool), layout)
    a, b = (laid_out(normal(rng, "float32", 3, 5, 2, 8), how) for how in ("transposed", layout))
    check("where", condition, a, b)
    check("where", condition, b, a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "order"), [
    ((40, 33), (1, 0)), ((3, 70, 9), (0, 2, 1)), ((2, 8, 3, 35), (0, 3, 1, 2)), ((32, 64), (1, 0)),
    ((2, 3, 9, 2, 10), (3, 4, 1, 0, 2)),
])  # fmt: skip
def test_turned_copies(shape, order, dtype, device):
    x = numbers(dtype, *shape)
    check("copy", x.transpose(order), False)
    check("copy", np.repeat(x, 2, 0)[::2].transpose(order), False)
    assert any(name.startswith("copy_turned") for name in device.launched)


def test_turned_copies_meet_no_bank_twice():
    for dtype in DTYPES:
        lines = traffic.counted(lambda x: cuda.copy(there(x), False), numbers(dtype, 32, 64).T)
        shared = [line for line in lines if line.shared]
        assert shared
        assert all(line.cost == line.ideal for line in shared)


def test_offsets_of_64_bits(monkeypatch, device):
    """Kernels for what 32 bits do not reach, on what they do."""
    monkeypatch.setattr(axes, "_NEAR", 0)
    for dtype in DTYPES:
        x = laid_out(numbers(dtype, 3, 5, 2, 32), "gapped")
        check("copy", x, False)
        check("pad", x, (0, 1, 0, 0), (2, 0, 1, 0), "reflect", np.array([1], dtype))
        check("where", numbers("bool", 5, 1, 32), x, numbers(dtype, 3, 5, 1, 1))
    for dtype in ("float32", "float64"):
        check("binary_forward", "sub", numbers(dtype, 3, 4, 8), numbers(dtype, 4, 1))
    assert all("_far_" in name for name in device.launched)
