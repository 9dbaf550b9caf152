"""The compiled engine's functions under wrong arguments: some of the fuzz, and its own faults."""

import subprocess
import sys

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

from tilework.engines import CONTRACT  # noqa: E402
from tilework.testing import fuzz  # noqa: E402
from tilework.testing.call_parts import Given, Packed  # noqa: E402
from tilework.testing.fenced import Fence  # noqa: E402
from tilework.testing.native_calls import CALLS  # noqa: E402

# A packed weight is no function, and what is no function is told by its use.
FUNCTIONS = [name for name in CONTRACT if callable(getattr(native, name)) and name[0].islower()]


@pytest.fixture(scope="module")
def fences():
    return [Fence() for _ in range(24)]


def test_every_function_has_calls():
    assert set(FUNCTIONS) <= set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_valid(name):
    rng = np.random.default_rng(0)
    for _ in range(20):
        call = CALLS[name](rng)
        given = {k: v for k, v in call.items() if not isinstance(v, Packed)}
        plain = {
            k: [a.values if isinstance(a, Given) else a for a in v] if isinstance(v, list)
            else v.values if isinstance(v, Given) else v
            for k, v in given.items()
        }  # fmt: skip
        for k, v in call.items():
            if isinstance(v, Packed):
                plain[k] = getattr(native, v.function)(plain[v.of])
        getattr(native, name)(**plain)


def test_calls_with_wrong_arguments_are_served_or_refused():
    done = subprocess.run(
        [sys.executable, "-m", "tilework.testing.fuzz", "--calls", "1500", "--seed", "12"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "1500 calls, 0 faults\n"), done.stderr


def test_a_call_is_told_by_seed_and_number(fences):
    for number in range(40):
        assert fuzz.shown(5, number, fences) == fuzz.shown(5, number, fences)


def test_text_and_dates_as_a_packed_weight_are_calls(fences, monkeypatch):
    """The fuzz itself once multiplied a date."""
    monkeypatch.setattr(fuzz, "NAMES", ["linear_forward"])
    kinds = set()
    for number in range(4000):
        name, given, _ = fuzz.arguments(1, number, fences)
        assert name == "linear_forward"
        if isinstance(given["weight"], np.ndarray):
            kinds.add(given["weight"].dtype.kind)
    assert kinds >= set("MU")


def test_a_huge_size_is_refused_and_not_worked_through():
    program = """
from tilework import _native
from tilework.testing import fuzz
fuzz.limit_memory()
_native.random_bits((2**20,), 0, 0)
try:
    _native.random_bits((2**28,), 0, 0)
except MemoryError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr


def test_a_fence_tells_what_was_written():
    fence = Fence()
    array = fence.put(np.ones((2, 3), np.float32), side="end")
    fence.remember()
    array[0] = 2
    assert not fence.written_outside(array)
    assert fence.written_outside(None)
    assert fence.written_outside(array[1:])


# --- what the fuzz found, and what stands in no random call ---


def x(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def packed_conv():
    w = x(20, 20, 3, 3)
    other = native.pack_conv_weight(w + 1)
    args = (x(1, 20, 8, 8), w, None, None, (1, 1), (1, 1), (1, 1), 1, (8, 8), "none", False)
    return lambda packed: native.conv_forward(*args, packed), other


WRONG = {
    "33 axes": (ValueError, lambda: native.matmul(x(*(1,) * 33), x(2, 1))),
    "64 axes": (ValueError, lambda: native.matmul(x(1, 2), x(*(1,) * 63, 2)[..., None, 0])),
    "no mean": (
        TypeError,
        lambda: native.batch_norm_backward(
            x(2, 3), x(2, 3), None, None, x(3), True, None, True, False
        ),
    ),
    "no rstd": (
        TypeError,
        lambda: native.norm_rows_backward(x(2, 3), x(2, 3), None, x(2), None, 3, 1, 3, True),
    ),
    "no gradient": (
        TypeError,
        lambda: native.norm_rows_backward(None, x(2, 3), None, x(2), x(2), 3, 1, 3, True),
    ),
    "a weight as packed": (
        TypeError, lambda: native.linear_forward(x(2, 3), x(4, 3), None, None, "none", False, 3)),
    "another weight, packed": (
        ValueError,
        lambda: native.linear_forward(
            x(2, 20), x(40, 20), None, None, "none", False, native.pack_weight(x(40, 20))
        ),
    ),
    "another convolution's weight": (ValueError, lambda: packed_conv()[0](packed_conv()[1])),
    "an image that no memory holds": (
        ValueError,
        lambda: native.conv_transpose_backward(
            x(1, 2, 5, 3), np.broadcast_to(x(1, 2, 1, 1), (1, 2, 1, 2**48)), x(2, 2, 2, 3), None,
            (3, 2), (0, 0), (2, 1), 1, "none", False, True, False,
        ),
    ),
    "an axis beyond 64 bits": (ValueError, lambda: native.sum(x(2, 3), (2**70,), False)),
    "a dtype that is not here": (TypeError, lambda: native.sort(x(2, 3).astype("f2"), 0, False)),
    "an axis in text": (TypeError, lambda: native.sum(x(2, 3), ("a",), False)),
    "a shape of 65 axes": (ValueError, lambda: native.random_bits((1,) * 65, 0, 0)),
    "a negative plane": (
        ValueError,
        lambda: native.pool_average_backward(
            x(1, 1, 0, 0), np.zeros((0, 4), int), np.zeros((0, 4), int), -1, 2, False
        ),
    ),
    "a window whose end overflows": (
        ValueError,
        lambda: native.pool_average_backward(
            x(1, 1, 1, 1), np.array([[0, 2**33, 2**33, 1]]), np.array([[0, 1, 1, 1]]),
            2**34, 1, False,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_refuses(name):
    kind, call = WRONG[name]
    with pytest.raises(kind, match=r"^\[\w+\] expected "):
        call()


@pytest.mark.parametrize("dtype", ["f2", "i2", "M8[s]", "c8"])
@pytest.mark.parametrize("name", ["sort", "topk", "gather", "cumsum", "copy"])
def test_a_dtype_that_is_not_here_is_refused_by_the_ops_name(name, dtype):
    array, index = np.ones((2, 3)).astype(dtype), np.zeros((2, 3), np.int64)
    rest = {"sort": (0, False), "topk": (1, 0, True), "gather": (0, index, False),
            "cumsum": (0, False), "copy": (False,)}  # fmt: skip
    with pytest.raises(TypeError, match=rf"^\[{name}\] expected "):
        getattr(native, name)(array, *rest[name])


def test_statistics_of_nothing_are_nan_and_the_running_ones_stay():
    for shape in ((0, 3), (2, 3, 0)):
        mean, variance = x(3), x(3)
        found = native.batch_norm_forward(
            x(*shape), None, None, mean, variance, True, 0.1, 1e-5, "none", None
        )
        assert np.isnan(found[1]).all()
        assert np.isnan(found[2]).all()
        assert mean.tolist() == variance.tolist() == [1, 1, 1]


def test_a_step_holds_its_arrays():
    params = [x(1000) for _ in range(3)]
    counts = [sys.getrefcount(p) for p in params]
    native.sgd_step(params, params, None, True, 0.1, 0.0, 0.0, 0.0, False, False)
    assert [sys.getrefcount(p) for p in params] == counts
