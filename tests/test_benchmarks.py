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

CASES = [
    pytest.param(case, id=case.bench.label, marks=() if case.bench.quick else pytest.mark.full)
    for case in cases.benchmarks()
]


@pytest.mark.parametrize("case", CASES)
def test_time(benchmark, case):
    inputs = case.make_inputs(case.bench.dtype)
    judge = Judge(case, inputs)
    contestant = Tilework(tw.engines.current_engine())
    prepared = contestant.prepare(case, inputs, judge.grad)
    judge.check(prepared.answer(), ours=True)
    with contestant.running(case):
        if benchmark.enabled and not benchmark.disabled:
            benchmark(prepared.call)
        else:
            prepared.call()
