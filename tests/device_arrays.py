"""What tests of kernels share: the simulated device, and arrays of it that lie in memory as
NumPy's do, gaps, alignment and all."""

import numpy as np
import pytest

from tilework.testing import simulated, stand_in


@pytest.fixture(params=simulated.ORDERS)
def order(request):
    """A simulated device, its threads in each order."""
    with simulated.device(order=request.param, seed=7) as served:
        yield served


@pytest.fixture
def served():
    """One, its threads at random."""
    with simulated.device(seed=3) as made:
        yield made


def there(x):
    """A copy of NumPy's `x` on the device, of its strides, as far past 64 bytes."""
    steps = [s * (n - 1) for s, n in zip(x.strides, x.shape, strict=True)]
    first = x.__array_interface__["data"][0]
    low = first + sum(min(s, 0) for s in steps) if x.size else first
    high = first + sum(max(s, 0) for s in steps) + x.itemsize if x.size else first
    pad = low % 64
    room = stand_in.StandIn(np.full(pad + high - low, 0xFF, np.uint8))._held
    view = np.ndarray(x.shape, x.dtype, room, pad + first - low, x.strides)
    view[...] = x
    return stand_in.StandIn(view)


def here(given):
    """What an op on the device gave, as NumPy's."""
    if isinstance(given, (tuple, list)):
        return type(given)(map(here, given))
    return given._held if isinstance(given, stand_in.StandIn) else given
