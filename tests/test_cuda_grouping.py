"""The radix sort that sums by an index begin with, on the simulated device."""

import numpy as np
import pytest

from tilework.engines.cuda import grouping
from tilework.testing import simulated
from tilework.testing.stand_in import StandIn

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())


@pytest.mark.parametrize("order", simulated.ORDERS)
@pytest.mark.parametrize(
    ("count", "n"), [(0, 3), (1, 1), (31, 5), (2048, 256), (2049, 255), (3001, 70_000_000)]
)
@pytest.mark.parametrize("few", [0, 8192])
def test_a_list_in_the_order_of_its_places(order, count, n, few, monkeypatch):
    monkeypatch.setattr(grouping, "_FEW", few)
    index = np.random.default_rng(count).integers(0, n, count)
    with simulated.device(order=order, seed=5):
        groups = grouping.grouped("op", StandIn(index), n, skipped=n - 1)
        place = np.where(index == n - 1, n, index)
        expected = np.argsort(place, kind="stable")
        assert (groups.place._held == place[expected]).all()
        assert (groups.member._held == expected).all()
        assert groups.size == count


def test_places_of_several_axes():
    index = np.random.default_rng(1).integers(-4, 4, (2, 5, 3))
    with simulated.device():
        groups = grouping.grouped("op", StandIn(index), 4, wraps=True, lines=(2, 3), same=False)
        outer, _, inner = np.ogrid[:2, :5, :3]
        place = ((outer * 4 + index % 4) * 3 + inner).reshape(-1)
        assert (groups.place._held == np.sort(place)).all()
        assert (groups.member._held == np.argsort(place, kind="stable")).all()
        one = grouping.grouped("op", StandIn(index[0, :, 0].copy()), 4, wraps=True, lines=(2, 1))
        place = (np.arange(2)[:, None] * 4 + index[0, :, 0] % 4).reshape(-1)
        assert (one.member._held == np.argsort(place, kind="stable")).all()


def test_large_lists_have_large_tiles(monkeypatch):
    monkeypatch.setattr(grouping, "_FEW", 0)
    monkeypatch.setattr(grouping, "_TILE", 256)
    monkeypatch.setattr(grouping, "_MOST_TILES", 2)
    index = np.random.default_rng(2).integers(0, 1000, 3000)
    with simulated.device():
        groups = grouping.grouped("op", StandIn(index), 1000)
        assert (groups.member._held == np.argsort(index, kind="stable")).all()
