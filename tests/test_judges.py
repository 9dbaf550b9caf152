"""The judges themselves: a wrong answer must fail."""

import numpy as np
import pytest

import tilework as tw
from tilework.testing import reference
from tilework.testing.case import as_float64
from tilework.testing.cases import FAMILIES, all_cases, of_family
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.tolerance import assert_close, eps, growth

QUICK = [c for c in all_cases() if c.quick]


def bound_of(case, dtype):
    inputs = case.make_inputs(dtype)
    expected = case.expected(inputs)
    with np.errstate(all="ignore"):
        bound = case.tolerance(dtype, expected, *as_float64(inputs))
    return expected, np.broadcast_to(bound, expected.shape)


@pytest.mark.skipif(bool(TARGETS[1].refusal()), reason="ISAs are the compiled engine's")
def test_a_run_held_to_an_isa_stays_held():
    with running_on(TARGETS[0]):
        with running_on(TARGETS[1]):
            pass
        assert tw.get_isa() == TARGETS[0].isa


def test_labels_are_unique():
    names = [str(c) for c in all_cases()]
    assert len(names) == len(set(names))


def test_inputs_are_the_same_each_time():
    for case in QUICK[::50]:
        for x, y in zip(case.make_inputs("float32"), case.make_inputs("float32"), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("family", FAMILIES)
def test_bounds_are_tight(family):
    """No bound lets half of a result's size pass, but where its terms cancel or it is denormal."""
    loose = total = 0
    judged = [c for c in of_family(family) if c.quick and c.precision == "highest"]
    judged = [c for c in judged if not c.cancels]
    if not judged:
        pytest.skip(f"every quick case of {family} is what is left of larger terms")
    for case in judged:
        expected, bound = bound_of(case, "float32")
        if expected.dtype.kind != "f":
            continue
        usable = np.isfinite(expected) & (np.abs(expected) > 1e-30)
        total += int(usable.sum())
        loose += int((bound[usable] > 1e-2 * np.abs(expected[usable])).sum())
    assert total
    assert loose <= 0.01 * total


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x * (1 + 1e-3),
        lambda x: np.where(np.arange(x.size) == x.size - 1, 0.0, x),
        lambda x: np.where(np.arange(x.size) == x.size - 1, np.nan, x),
        lambda x: np.where(np.arange(x.size) == x.size - 1, np.inf, x),
        lambda x: np.roll(x, 1),
        lambda x: x[:-1],
    ],
    ids=["scaled", "lost tail", "nan", "inf", "shifted", "short"],
)
def test_a_wrong_answer_fails(spoil):
    expected = np.random.default_rng(0).standard_normal(67)
    bound = growth(67) * eps("float32") * np.abs(expected)
    assert_close(expected.astype(np.float32), expected, bound, "right")
    with pytest.raises(AssertionError, match="wrong"):
        assert_close(spoil(expected).astype(np.float32), expected, bound, "wrong")


def test_nan_and_infinity_must_be_met():
    x = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert_close(x.astype(np.float32), x, 0.0, "right")
    for other in (np.zeros(4), -x, x[::-1]):
        with pytest.raises(AssertionError):
            assert_close(other.astype(np.float32), x, np.inf, "wrong")


def test_philox_meets_the_published_vectors():
    """Known answers of Random123: counter and key of zeros, and of ones."""
    zeros = reference.philox_words(4, 0, 0)
    assert [hex(w) for w in zeros] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def test_references_agree_with_their_definitions():
    x = np.linspace(-6, 6, 41)
    gelu = 0.5 * x * (1 + reference.erf(x / 2**0.5))
    np.testing.assert_allclose(reference.gelu(x), gelu, atol=1e-14)
    np.testing.assert_allclose(reference.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-14)
    softmax = np.exp(reference.log_softmax(x, 0))
    np.testing.assert_allclose(softmax, reference.softmax(x, 0), rtol=1e-13)
