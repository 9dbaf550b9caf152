"""The suite's cases on a real CUDA device: what `tilework gpu-report` runs first."""

import pytest

import tilework as tw
from tilework.testing.cases import of_family
from tilework.testing.runner import CARD

from .test_cuda_cases import PARAMS, check_all

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(CARD.refusal()), reason=CARD.refusal())]


@pytest.mark.parametrize(("family", "op"), PARAMS)
def test_cases_on_the_card(family, op):
    check_all(CARD, [c for c in of_family(family) if c.op == op and c.quick])


def test_a_card_says_who_it_is():
    assert tw.cuda.get_device_name()
    assert tw.cuda.get_device_capability() >= (8, 0)
