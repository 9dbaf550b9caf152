"""The benchmark cases under pytest-benchmark: `pytest tests/test_benchmarks.py --benchmark-only`.

For following one's own changes over time; `tilework bench` compares with other libraries. In an
ordinary test run each call is made once, and its answer asserted.
"""

import pytest

import tilework as tw
from tilework.benchmarks.check import Judge
from tilework.benchmarks.contestants import Tilework
from tilework.testing import cases

pytest.importorskip("pytest_benchmark")


def _marks(bench):
    """The ordinary run leaves out what takes long to check."""
    return () if bench.quick and bench.bytes < 2e7 else pytest.mark.full


CASES = [pytest.param(c, id=c.bench.label, marks=_marks(c.bench)) for c in cases.benchmarks()]


@pytest.mark.parametrize("case", CASES)
def test_time(benchmark, case, request):
    inputs = case.make_inputs(case.bench.dtype)
    judge = Judge(case, inputs)
    contestant = Tilework(tw.engines.current_engine())
    prepared = contestant.prepare(case, inputs, judge.grad)
    judge.check(prepared.answer(), ours=True)
    with contestant.running(case):
        if request.config.getoption("benchmark_only"):
            benchmark(prepared.call)
        else:
            benchmark.pedantic(prepared.call)
