"""No call warns of what it meets: of NaN, infinities and numbers at the ends of the range a result
tells by itself, and a warning would stop who turns warnings into errors."""

import math
import warnings

import pytest

import tilework as tw
from tilework import functional as F

inf, nan = math.inf, math.nan
NUMBERS = (0.0, -0.0, 1e-45, 1.0, -1.0, 3e38, -3e38, inf, -inf, nan, 2.5, 100.0)
DTYPES = (tw.float32, tw.float64, tw.bfloat16)
# What changes more than its arguments, or draws, reads and writes.
LEFT_OUT = {"backward", "manual_seed", "set_rng_state", "seed"}


def calls(dtype):
    """Functions and methods by name, with arguments that many of them take."""
    x = tw.tensor(NUMBERS).to(dtype)
    rows, back = x.reshape(3, 4), x.flip(0)
    arguments = (
        (x,), (rows, 1), (x, back), (rows, rows.flip(0)), (x, 2.5), (x, 0.0), (x, back, x),
        (rows, tw.tensor([0, 1, 2])), (rows, rows.t()), (x, -1.0, 1.0), (x, tw.int32), (x, tw.bool),
    )  # fmt: skip
    for owner in (F, tw.Tensor):
        for name in sorted(set(dir(owner)) - LEFT_OUT):
            function = getattr(owner, name)
            if not name.startswith("_") and callable(function):
                yield from ((name, function, given) for given in arguments)


def tried(function, given):
    """Whether the call suits the function: then its value is shown, and goes back."""
    given = [
        t.detach().clone().requires_grad_(t.is_floating_point()) if isinstance(t, tw.Tensor) else t
        for t in given
    ]
    try:
        y = function(*given)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError):
        return False
    for part in y if isinstance(y, tuple) else (y,):
        repr(part)
        if isinstance(part, tw.Tensor) and part.requires_grad:
            part.sum().backward()
            break
    return True


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_call_warns(dtype):
    state, served = tw.get_rng_state(), 0
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        for name, function, given in calls(dtype):
            served += tried(function, given)
            heard = [str(w.message) for w in said if issubclass(w.category, RuntimeWarning)]
            assert not heard, f"{name} of {[str(getattr(g, 'shape', g)) for g in given]}"
    tw.set_rng_state(state)
    assert served > 800
