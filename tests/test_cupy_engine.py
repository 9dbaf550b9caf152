"""The cupy engine over NumPy's arrays, where every case can be run, and over arrays that are not
NumPy's; what it and the ops call is in CuPy, where that is installed."""

import math
from contextlib import contextmanager

import numpy as np
import pytest

import tilework as tw
from tilework import engines
from tilework.engines import cupy as arrays
from tilework.testing import stand_in
from tilework.testing.case import as_float64
from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import check_forward, failure, gradient_bound, gradients
from tilework.testing.tolerance import assert_close, eps

MOST = 2  # cases of one op, but with --full
FAMILIES_OF_KERNELS = (
    "gemm", "conv", "pool", "interpolate", "pointwise", "gated", "reduce", "softmax", "attention",
    "varlen", "recurrent", "embedding", "norm", "loss", "sequence", "optim", "random", "shape",
    "index", "scatter",
)  # fmt: skip
LARGEST, FULL_LARGEST = 2**12, 2**16  # elements of an input; with --full
HOSTS = ("ctc_greedy_decode", "ctc_beam_search_decode")  # go over to the host: what they are for


@contextmanager
def table_of(functions):
    """The functions of `ops` from another place, until the end."""
    table = engines.ops
    before = {name: getattr(table, name) for name in engines.CONTRACT}
    try:
        for name in before:
            setattr(table, name, functions(name))
        yield
    finally:
        for name, function in before.items():
            setattr(table, name, function)


def over_arrays(name):
    return getattr(arrays, name)


def size(case):
    return max((getattr(x, "size", 0) for x in case.make_inputs(case.dtypes[0])), default=0)


def chosen(family, most, full):
    """A few small cases of each op."""
    taken = {}
    for case in of_family(family):
        held = size(case)
        if held <= FULL_LARGEST if full else case.quick and held <= LARGEST:
            taken[case.op] = taken.get(case.op, 0) + 1
            if full or taken[case.op] <= most:
                yield case


def report(found):
    failures = [line for line in found if line]
    assert not failures, "\n".join(failures[:20])


def exact(case):
    """The CPU engine's gradients in float64, by the dtype that the inputs were rounded to."""
    dtypes = ("float64", *(d for d in ("float32", "bfloat16") if d in case.dtypes))
    inputs = {d: case.make_inputs("float32" if d == "float64" else d) for d in dtypes}
    return {d: (x, gradients(case, as_float64(x))) for d, x in inputs.items()}


def check_beside(case, wanted):
    """The gradients beside those of `exact`."""
    for dtype, (inputs, right) in wanted.items():
        given = as_float64(inputs) if dtype == "float64" else inputs
        for i, ours, theirs in zip(case.differentiable, gradients(case, given), right, strict=True):
            assert ours.dtype == np.dtype(dtype)
            bound = gradient_bound(case, dtype, inputs, theirs)
            assert_close(ours, theirs, bound, f"{case}: gradient {i} of {dtype}")


@pytest.mark.parametrize(
    "family",
    [
        family if family in FAMILIES_OF_KERNELS else pytest.param(family, marks=pytest.mark.full)
        for family in FAMILIES
    ],
)
def test_cases_on_numpys_arrays(family, request):
    cases = list(chosen(family, MOST, request.config.getoption("--full")))
    sloped = [case for case in cases if case.differentiable]
    wanted = [exact(case) for case in sloped]
    with table_of(over_arrays):
        report(failure(check_forward, case, dtype) for case in cases for dtype in case.dtypes)
        report(failure(check_beside, case, w) for case, w in zip(sloped, wanted, strict=True))


# --- arrays that are not NumPy's ---


@pytest.fixture
def held():
    engines.serve(stand_in.Held())
    engines.use_engine("cupy")
    with tw.device("cuda"):
        yield
    engines.use_engine("cuda")
    engines.serve(None)


@pytest.mark.parametrize("family", FAMILIES_OF_KERNELS)
def test_cases_on_arrays_that_are_not_numpys(held, family, request):
    cases = chosen(family, 1, request.config.getoption("--full"))
    cases = [case for case in cases if case.op not in HOSTS]
    report(failure(check_forward, case, case.dtypes[0]) for case in cases)
    for case in cases:
        if case.differentiable:
            gradients(case, case.make_inputs(case.dtypes[0]))  # they come without the host


# --- what is CuPy's own ---


def test_stand_ins_have_no_more_than_cupy():
    """What the ops and this engine call of a namespace and of arrays, CuPy has."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed here")
    names = stand_in.STANDARD | stand_in.CUPY
    assert [name for name in sorted(names) if not hasattr(cupy, name)] == []
    assert hasattr(cupy.lib.stride_tricks, "as_strided")
    names = stand_in.METHODS | stand_in.FIELDS
    assert [name for name in sorted(names) if not hasattr(cupy.ndarray, name)] == []
    from cupy._core.flags import Flags

    given = [n for n in dir(stand_in.StandIn(np.zeros(2)).flags) if not n.startswith("_")]
    assert given == ["c_contiguous", "f_contiguous", "owndata"]
    assert all(hasattr(Flags, name) for name in given)
    assert not hasattr(Flags, "writeable")


# --- numbers ---


def test_random_bits_and_uniforms_are_the_kernels_to_the_bit():
    native = engines.engine_module()
    for shape in ((), (1,), (0,), (4, 5), (3, 1001)):
        for seed, call in ((0, 0), (1, 7), (2**63 + 11, 2**40 + 5)):
            bits = [e.random_bits(shape, seed, call) for e in (native, arrays)]
            assert bits[1].dtype == np.uint32
            np.testing.assert_array_equal(*bits)
            for dtype in ("float32", "float64"):
                drawn = [e.uniform(shape, dtype, seed, call) for e in (native, arrays)]
                assert drawn[1].dtype == np.dtype(dtype)
                np.testing.assert_array_equal(*drawn)


def test_normals_are_exact_within_two_ulp():
    """Beside the formula in long doubles; and beside the kernels', which are as far off."""
    words = arrays.random_bits((4 * 20001,), 3, 4).astype(np.uint64)
    pairs = words[::2] | words[1::2] << np.uint64(32)
    u = ((pairs[::2] >> np.uint64(12)).astype(np.longdouble) + 0.5) / 2**52
    t = (pairs[1::2] >> np.uint64(11)).astype(np.longdouble) / 2**53
    quarter = np.rint(4 * t)
    angle = 2 * np.longdouble("3.14159265358979323846264338327950288") * (t - quarter / 4)
    turned = np.array([[1, 0, -1, 0, 1], [0, 1, 0, -1, 0]])[:, quarter.astype(int)]
    cosine = np.cos(angle) * turned[0] - np.sin(angle) * turned[1]
    exact = np.sqrt(-2 * np.log(u)) * cosine
    found = arrays.normal((2 * 20001,), "float64", 3, 4)[::2]
    assert (np.abs(found - exact) <= 2 * eps("float64") * np.abs(exact)).all()
    for dtype in ("float32", "float64"):
        for shape in ((), (5,), (0,), (3, 2001)):
            a, b = (e.normal(shape, dtype, 3, 4) for e in (engines.engine_module(), arrays))
            assert (b.dtype, b.shape) == (np.dtype(dtype), shape)
            assert (np.abs(a - b) <= 5 * eps(dtype) * np.abs(a)).all()


def test_bfloat16_widens_and_narrows_as_ml_dtypes_does():
    every = np.arange(2**16, dtype=np.uint16).view(tw.bfloat16)
    np.testing.assert_array_equal(
        arrays.widen(every).view(np.uint32), every.astype(np.float32).view(np.uint32)
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, 100_000, dtype=np.uint32)
    x[:4] = 0x7F7FFFFF, 0x00008000, 0x00018000, 0x7F800001  # overflows, ties, a signalling NaN
    x = x.view(np.float32)
    with np.errstate(all="ignore"):
        wanted = x.astype(tw.bfloat16)
    np.testing.assert_array_equal(arrays.narrow(x).view(np.uint16), wanted.view(np.uint16))


def test_erf_is_within_two_ulp():
    x = np.concatenate([np.linspace(-7, 7, 20001), np.geomspace(1e-300, 1, 500)])
    wanted = np.array([math.erf(v) for v in x])
    away = np.abs(arrays.unary_forward("erf", x) - wanted)
    assert (away <= 2 * eps("float64") * np.abs(wanted)).all()
    ends = arrays.unary_forward("erf", np.array([np.inf, -np.inf, np.nan, -0.0]))
    np.testing.assert_array_equal(ends, [1.0, -1.0, np.nan, -0.0])
    assert np.signbit(ends[3])


# --- groups ---


def test_of_equal_places_the_last_is_written_and_sums_are_the_same_each_time():
    rng = np.random.default_rng(0)
    index, source = rng.integers(0, 3, 1000), rng.standard_normal(1000)
    wanted = np.zeros(3)
    for i, x in zip(index, source, strict=True):
        wanted[i] = x
    np.testing.assert_array_equal(arrays.scatter(np.zeros(3), 0, index, source), wanted)
    np.testing.assert_array_equal(arrays.index_copy(np.zeros(3), 0, index, source), wanted)
    sums = [arrays.scatter_add(source, 0, index, (3,), False) for _ in range(2)]
    np.testing.assert_array_equal(*sums)
    by_numpy = np.bincount(index, source, 3)
    np.testing.assert_allclose(sums[0], by_numpy, atol=1000 * eps("float64"), rtol=0)


def test_a_group_that_holds_nan_or_infinity_leaves_the_others_alone():
    x = np.array([1.0, np.nan, 2.0, np.inf, 3.0, -np.inf])
    index = np.array([0, 1, 0, 2, 3, 2])
    np.testing.assert_array_equal(
        arrays.scatter_add(x, 0, index, (5,), False), [3.0, np.nan, np.nan, 3.0, 0.0]
    )
