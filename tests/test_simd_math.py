"""The elementary functions within the ulp bounds that csrc/simd/math.h states, on every ISA."""

import math

import numpy as np
import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

FAMILY = "pointwise"  # whose variants the fixture `isa` goes over
BOUNDS = {  # ulp: float32, float64
    "exp": (1.5, 1.5),
    "log": (1.5, 1.5),
    "tanh": (2.5, 2.5),
    "sigmoid": (2.5, 2.5),
    "erf": (2.5, 1.5),
}
# Where the function is neither constant nor out of range; log takes its from all magnitudes.
DOMAINS = {
    np.float32: {"exp": (-104, 89), "tanh": (-10, 10), "sigmoid": (-104, 30), "erf": (-4.5, 4.5)},
    np.float64: {"exp": (-746, 710), "tanh": (-21, 21), "sigmoid": (-746, 50), "erf": (-6.5, 6.5)},
}
LONG_DOUBLE_IS_WIDER = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps


def exact_erf(x):
    """Kummer's series, 2 / sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!: no term cancels."""
    term = total = x
    for n in range(1, 200):
        term = term * 2 * x * x / (2 * n + 1)
        total = total + term
    return 2 / np.sqrt(4 * np.arctan(x.dtype.type(1))) * np.exp(-x * x) * total


def exact(name, x):
    """In a wider type than x's."""
    if name == "sigmoid":
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e, 1) / (1 + e)
    if name == "erf":
        return np.vectorize(math.erf)(x) if x.dtype == np.float64 else exact_erf(x)
    return getattr(np, name)(x)


def points(name, dtype):
    rng = np.random.default_rng(0)
    count = 300_000 if dtype == np.float32 and name != "erf" else 30_000
    bits = np.uint32 if dtype == np.float32 else np.uint64
    if name == "log":
        top = np.array(np.inf, dtype).view(bits)
        anywhere = rng.integers(1, top, count, dtype=bits).view(dtype)  # denormals too
        return np.concatenate([anywhere, rng.uniform(0.5, 2, count).astype(dtype)])
    low, high = DOMAINS[dtype][name]
    small = rng.uniform(-1, 1, count) * 2.0 ** rng.integers(-30, 1, count)
    return np.concatenate([rng.uniform(low, high, count), small]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUNDS)
def test_ulp_bound(isa, name, dtype):
    if dtype == np.float64 and not LONG_DOUBLE_IS_WIDER:
        pytest.skip("float64 needs a wider long double to be judged by")
    x = points(name, dtype)
    wide = np.longdouble if dtype == np.float64 else np.float64
    expected = exact(name, x.astype(wide))
    with np.errstate(over="ignore"):
        rounded = expected.astype(dtype)
    got = native.unary_forward(name, x)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    ulp = np.spacing(np.abs(rounded[finite])).astype(wide)
    error = np.abs(got[finite] - expected[finite]) / ulp
    worst = int(np.argmax(error))
    bound = BOUNDS[name][0 if dtype == np.float32 else 1]
    assert error[worst] <= bound, f"{error[worst]} ulp at {x[finite][worst]!r}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BOUNDS)
def test_special_values(isa, name, dtype):
    """Zeros with their signs, infinities, NaN, and the largest, least and denormal numbers."""
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    x = np.array([0, tiny, info.tiny, info.max, np.inf, np.nan, 1], dtype)
    x = np.concatenate([x, -x])
    with np.errstate(all="ignore"):
        expected = exact(name, x.astype(np.float64)).astype(dtype)
    got = native.unary_forward(name, x)
    bound = BOUNDS[name][0 if dtype == np.float32 else 1]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
    usual = np.isfinite(expected)
    with np.errstate(all="ignore"):
        # The expectation was itself computed in float64: the C library's ulp is added.
        slack = (bound + 1) * np.spacing(np.abs(expected[usual]))
    assert np.all(np.abs(got[usual] - expected[usual]) <= slack)
    same_sign = np.signbit(got[usual]) == np.signbit(expected[usual])
    assert np.all(same_sign | (got[usual] == expected[usual]) & (expected[usual] != 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturation_is_exact(isa, dtype):
    x = np.array([50, 1000, np.inf], dtype)
    for name in ("tanh", "erf"):
        np.testing.assert_array_equal(native.unary_forward(name, x), np.ones(3, dtype))
        np.testing.assert_array_equal(native.unary_forward(name, -x), -np.ones(3, dtype))
    np.testing.assert_array_equal(native.unary_forward("sigmoid", x), np.ones(3, dtype))
    assert native.unary_forward("sigmoid", -x)[2] == 0
    dense = np.linspace(-12, 12, 100_001).astype(dtype)
    for name in ("tanh", "erf", "sigmoid"):
        assert np.abs(native.unary_forward(name, dense)).max() <= 1
