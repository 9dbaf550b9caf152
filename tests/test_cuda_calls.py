"""The cuda engine on the simulated device beside the compiled one, on random calls: its kernels,
and what it takes of the cupy engine."""

import pytest

pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

from tilework.engines import ops
from tilework.testing import simulated, stand_in
from tilework.testing.call_parts import Given, Packed

from .engine_calls import NAMES, TIED, check, flat

pytestmark = pytest.mark.skipif(bool(simulated.refusal()), reason=simulated.refusal())

DRAWN, MANY = 2, 30  # calls of a function; with --full
ALONE = ("random_bits", "uniform", "normal")  # have no arrays to tell a device
TABLES = ("rows", "cols", "row_index", "col_index", "row_weights", "col_weights")


def run(device, name, call):
    def own(value, argument):
        if isinstance(value, list):
            return [own(part, argument) for part in value]
        if not isinstance(value, Given):
            return value
        held = value.values.copy("K")
        tabled = argument in TABLES and name.startswith(("pool_", "interpolate_"))
        return held if tabled else device.to_device(held)

    given = {argument: own(value, argument) for argument, value in call.items()}
    for argument, value in given.items():
        if isinstance(value, Packed):
            given[argument] = getattr(ops, value.function)(given[value.of])
    found = flat(getattr(ops, name)(*given.values()))
    device.synchronize()
    return [bare(x) for x in found], {k: [bare(x) for x in flat(v)] for k, v in given.items()}


def bare(x):
    return x._held if isinstance(x, stand_in.StandIn) else x


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ALONE])
def test_random_calls_give_what_the_cpu_gives(name, request):
    for seed in range(MANY if request.config.getoption("--full") else DRAWN):
        with simulated.device("random", seed=seed) as device:
            check(name, seed, lambda call: run(device, name, call))


@pytest.mark.parametrize("name", TIED)
def test_of_equals_and_of_nans_the_same_is_chosen(name):
    for seed in range(2 * DRAWN):
        with simulated.device("random", seed=seed) as device:
            check(name, seed, lambda call: run(device, name, call), tied=True)
