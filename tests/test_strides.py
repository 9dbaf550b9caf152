"""Every operand of every family, and the gradient that flows in, under every pattern of strides:
the answers are those of contiguous copies."""

from functools import cache

import numpy as np
import pytest

from tilework.testing.cases import FAMILIES, of_family
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.strides import chosen, failures, laid, overlaps, patterns

PARAMS = [
    pytest.param(target, family, id=f"{target}-{family}")
    for target in TARGETS
    for family in FAMILIES
    if target.serves(family)
]
MOST = 6  # cases of an op in the default run


@cache
def few_of(family):
    return chosen(of_family(family), MOST)


def check_all(target, cases):
    """Each case at one of its dtypes, in turn."""
    if reason := target.refusal():
        pytest.skip(reason)
    with running_on(target):
        found = [failures(case, case.dtypes[n % len(case.dtypes)]) for n, case in enumerate(cases)]
    lines = [line for of_case in found for line in of_case]
    assert not lines, f"{len(lines)} answers depend on strides\n" + "\n".join(lines[:30])


@pytest.mark.parametrize(("target", "family"), PARAMS)
def test_answers_do_not_depend_on_strides(target, family):
    check_all(target, few_of(family))


@pytest.mark.full
@pytest.mark.parametrize(("target", "family"), PARAMS)
def test_answers_of_all_cases_do_not_depend_on_strides(target, family):
    check_all(target, chosen(of_family(family)))


def test_a_family_has_cases_that_are_swept():
    for family in FAMILIES:
        assert family in ("networks", "transformer_networks") or few_of(family), family


@pytest.mark.parametrize("shape", [(), (1,), (3,), (3, 4), (1, 4), (2, 3, 4), (2, 3, 1, 4), (0, 2)])
def test_patterns_have_the_strides_that_they_say(shape):
    x = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
    for strides in patterns(shape).values():
        view = laid(x, strides)
        assert view.strides == tuple(8 * s for s in strides)
        assert np.isin(view, x).all()
        if not overlaps(shape, strides):
            assert np.array_equal(view, x)


def test_patterns_of_a_matrix_have_both_expansions():
    assert {(0, 0), (1, 0), (0, 1), (1, 1)} <= set(patterns((3, 4)).values())
