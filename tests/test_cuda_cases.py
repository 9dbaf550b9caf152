"""Every case over the cuda engine on the simulated device, its threads in three orders, to the
CPU's tolerances: forward against the float64 reference, gradients against its slopes.

The selection takes a few small cases of each op, in one order drawn for it; --full all of them, in
each order.
"""

import random

import pytest

from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import (
    DEVICES,
    check_forward,
    check_gradients,
    failure,
    running_on,
)

MOST = 3  # cases of one op, but with --full
LARGEST = 4096  # elements of an input, but with --full

# What does not run on a device, and why.
IS_THE_HOSTS = "goes over to the host, which is what it is for"
LEFT_OUT = {
    IS_THE_HOSTS: {
        "creation/from_numpy", "creation/from_dlpack", "creation/tensor",
        "tensor/numpy", "tensor/__array__",
        "tensor/__dlpack__", "tensor/__dlpack_device__", "tensor/__init__", "tensor/__reduce__",
        "tensor/__repr__", "tensor/cpu", "tensor/device", "tensor/get_device", "tensor/is_cpu",
        "tensor/is_cuda",
    },
}  # fmt: skip
WHERE = {op: reason for reason, ops in LEFT_OUT.items() for op in ops}

PARAMS = [
    pytest.param(family, op, id=f"{family}-{op}")
    for family in FAMILIES
    for op in dict.fromkeys(case.op for case in of_family(family))
    if f"{family}/{op}" not in WHERE
]
pytestmark = pytest.mark.skipif(bool(DEVICES[0].refusal()), reason=DEVICES[0].refusal())


def size(case):
    return max((getattr(x, "size", 0) for x in case.make_inputs(case.dtypes[0])), default=0)


def selected(family, op):
    cases = [c for c in of_family(family) if c.op == op and c.quick]
    small = [c for c in cases if size(c) <= LARGEST]
    return random.Random(op).sample(small, min(MOST, len(small)))


def check_all(target, cases):
    with running_on(target):
        found = [failure(check_forward, c, dtype) for c in cases for dtype in c.dtypes]
        found += [failure(check_gradients, c) for c in cases if c.differentiable]
    failures = [line for line in found if line]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(("family", "op"), PARAMS)
def test_cases(family, op):
    check_all(random.Random(f"{family}-{op}").choice(DEVICES), selected(family, op))


@pytest.mark.full
@pytest.mark.parametrize("target", DEVICES, ids=str)
@pytest.mark.parametrize(("family", "op"), PARAMS)
def test_cases_full(target, family, op):
    check_all(target, [c for c in of_family(family) if c.op == op])
