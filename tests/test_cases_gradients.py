"""Every case's gradients: against the reference's slopes, between engines, in both dtypes."""

import pytest

from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import TARGETS, check_gradients, failure, running_on

DIFFERENTIABLE = {
    (family, op): cases
    for family in FAMILIES
    for op in dict.fromkeys(case.op for case in of_family(family))
    if (cases := [c for c in of_family(family) if c.op == op and c.differentiable and c.quick])
}


@pytest.mark.parametrize(
    ("target", "family", "op"),
    [
        pytest.param(target, family, op, id=f"{target}-{family}-{op}")
        for target in TARGETS
        for family, op in DIFFERENTIABLE
        if target.serves(family)
    ],
)
def test_gradients(target, family, op):
    if reason := target.refusal():
        pytest.skip(reason)
    with running_on(target):
        found = [failure(check_gradients, case) for case in DIFFERENTIABLE[family, op]]
    failures = [line for line in found if line]
    assert not failures, "\n".join(failures)
