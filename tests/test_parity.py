"""The page of what each engine has: made from the source, and right."""

from pathlib import Path

import pytest

from tilework import engines
from tilework.testing import parity

PAGE = Path(__file__).resolve().parent.parent / "docs/gpu-parity.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="an installed package has no docs")
def test_the_page_is_what_the_source_says():
    assert PAGE.read_text() == parity.page(), (
        "run `python -m tilework.testing.parity > docs/gpu-parity.md`"
    )


def test_every_function_of_the_contract_has_a_row():
    rows = [name for names in parity.families().values() for name in names]
    assert sorted(rows) == sorted(set(engines.CONTRACT) - {"UNARY_OPS", "BINARY_OPS"})


def test_no_engine_lacks_a_function():
    for names in parity.families().values():
        for name in names:
            for engine in parity.ENGINES:
                assert parity.level(engine, name) != parity.MISSING, (engine, name)


def test_levels_are_read_from_what_functions_reach():
    assert parity.level("native", "sort") == parity.KERNEL
    assert parity.level("native", "no_such") == parity.MISSING
    assert parity.level("numba", "softmax_forward") == parity.KERNEL
    assert parity.level("numba", "unary_forward") == parity.KERNEL  # through a table
    assert parity.level("numba", "sort") == parity.ARRAYS
    assert parity.level("numba", "no_such") == parity.MISSING
    assert parity.level("cuda", "sum_to_shape").startswith(parity.KERNEL)  # through another plan
    assert parity.level("cuda", "ctc_forward") == parity.ARRAYS  # the cupy engine's
    assert {
        parity.level("cupy", name) for names in parity.families().values() for name in names
    } == {parity.ARRAYS}
