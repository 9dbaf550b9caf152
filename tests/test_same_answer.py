"""The compiled engine's promise: one answer, to the bit, whatever the threads or alignment."""

import numpy as np
import pytest

import tilework as tw
from tilework import engines
from tilework.testing.cases import all_cases, benchmarks
from tilework.testing.cases.pointwise import UNARY
from tilework.testing.inputs import laid_out
from tilework.testing.runner import TARGETS, failure, forward, gradients, running_on

pytestmark = pytest.mark.skipif(
    "native" not in engines.available_engines(), reason="the compiled engine is not built here"
)
THREADS = (2, 3, 4)


def bits(arrays):
    return [np.ascontiguousarray(x).tobytes() for x in arrays]


def answers(case, inputs):
    """The output, and the gradients of a case that has any."""
    found = [forward(case, inputs)]
    return bits([*found, *gradients(case, inputs)] if case.differentiable else found)


@pytest.fixture
def native():
    threads = tw.get_num_threads()
    with running_on(next(t for t in reversed(TARGETS) if t.isa and not t.refusal())):
        yield
        tw.set_num_threads(threads)


def check_threads(case):
    inputs = case.make_inputs(case.dtypes[0])
    tw.set_num_threads(1)
    alone = answers(case, inputs)
    for n in THREADS:
        tw.set_num_threads(n)
        assert answers(case, inputs) == alone, f"{case} differs on {n} threads"


def is_quick(case):
    return case.bench.quick and case.bench.bytes < 8e7


# Cases large enough for threads to share: what is timed, and the long ones.
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, id=str(c), marks=() if is_quick(c) else pytest.mark.full)
        for c in benchmarks()
    ],
)
def test_threads_do_not_change_results(native, case):
    check_threads(case)


def test_threads_do_not_change_long_vectors(native):
    long = [c for c in all_cases() if c.quick and c.label in ("500009", "(200003,)")]
    assert len(long) > 10
    assert not [line for c in long if (line := failure(check_threads, c))]


def test_alignment_does_not_change_results(native):
    def check(case):
        inputs = case.make_inputs(case.dtypes[0])
        moved = [
            laid_out(x, "misaligned")
            if isinstance(x, np.ndarray) and x.flags.c_contiguous and x.dtype.kind == "f"
            else x
            for x in inputs
        ]
        assert answers(case, tuple(moved)) == answers(case, inputs), case

    cases = [c for c in all_cases() if c.quick and not c.writes and c.family != "random"]
    assert not [line for c in cases if (line := failure(check, c))]


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_element_does_not_depend_on_its_place(native, op, dtype):
    """Tails run the arithmetic of full vectors: an element's result is its own."""
    function = UNARY[op]
    x = function.values(np.random.default_rng(0), dtype, 97)
    whole = function.call(tw, tw.functional, tw.from_numpy(x)).numpy()
    for start, stop in ((0, n) for n in range(1, 70)):
        part = function.call(tw, tw.functional, tw.from_numpy(x[start:stop])).numpy()
        assert part.tobytes() == whole[start:stop].tobytes()
    for start in range(1, 40):
        part = function.call(tw, tw.functional, tw.from_numpy(x[start:])).numpy()
        assert part.tobytes() == whole[start:].tobytes()
