"""Every case against its float64 reference, on every engine and ISA that runs here."""

import pytest

from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import TARGETS, check_forward, failure, running_on

PARAMS = [
    pytest.param(target, family, op, id=f"{target}-{family}-{op}")
    for target in TARGETS
    for family in FAMILIES
    if target.serves(family)
    for op in dict.fromkeys(case.op for case in of_family(family))
]


def check_all(target, cases):
    """Runs every case, and reports all that fail."""
    with running_on(target):
        found = [failure(check_forward, case, dtype) for case in cases for dtype in case.dtypes]
    failures = [line for line in found if line]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(("target", "family", "op"), PARAMS)
def test_forward(target, family, op):
    if reason := target.refusal():
        pytest.skip(reason)
    check_all(target, [c for c in of_family(family) if c.op == op and c.quick])


@pytest.mark.full
@pytest.mark.parametrize(("target", "family", "op"), PARAMS)
def test_forward_full(target, family, op):
    if reason := target.refusal():
        pytest.skip(reason)
    check_all(target, [c for c in of_family(family) if c.op == op and not c.quick])
