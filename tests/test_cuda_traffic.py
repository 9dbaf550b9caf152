"""What the hot loops cost of shared memory: the simulator counts no bank conflict in them."""

import pytest

from tilework.testing import simulated, traffic

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

PRODUCTS = [n for n in traffic.PROGRAMS if n.startswith(("gemm", "attention"))]
# Outside of the loops over K: the sums on their way out, once a block.
ONCE = {"gemm_small_mk_float"}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_meet_no_bank_twice(name):
    lines = [line for line in traffic.counted(traffic.PROGRAMS[name]) if line.shared]
    loads = [line for line in lines if not line.store]
    assert sum(line.warps for line in loads) > 100
    assert [line for line in loads if line.cost != line.ideal] == []
    stores = [line for line in lines if line.store and line.kernel not in ONCE]
    assert [line for line in stores if line.cost != line.ideal] == []


def test_a_report_is_a_table(capsys):
    assert traffic.main(["copy"]) == 0
    said = capsys.readouterr().out
    assert "copy, transposed" in said
    assert "shared" in said
    assert "passes" in said
