"""Operands that end, or begin, at memory which cannot be read: no kernel reads beyond them."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from tilework.testing.fenced import Fence
from tilework.testing.guarded import crashes
from tilework.testing.runner import TARGETS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX's")


@pytest.mark.parametrize("target", [pytest.param(t, id=str(t)) for t in TARGETS])
def test_nothing_is_read_beyond_an_operand(target):
    if reason := target.refusal():
        pytest.skip(reason)
    found = crashes(target)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("side", ["end", "start"])
@pytest.mark.parametrize("strides", [(32, 8), (8, 24), (-32, 8), (0, 8), (64, -16)])
def test_a_fence_keeps_numbers_and_strides(side, strides):
    base = np.arange(64.0)
    x = np.lib.stride_tricks.as_strided(base[32:], (3, 4), strides)
    out = Fence(1000).put(x, side)
    assert out.strides == strides
    assert np.array_equal(out, x)


@pytest.mark.parametrize(("side", "step"), [("end", 1), ("start", -1)])
def test_an_element_beyond_a_fence_ends_the_process(side, step):
    program = (
        "import ctypes, numpy as np\n"
        "from tilework.testing.fenced import Fence\n"
        f"x = Fence(100).put(np.ones(5, np.float32), {side!r})\n"
        f"at = x.ctypes.data + (16 if {step} > 0 else 0)\n"
        "ctypes.c_float.from_address(at).value\n"
        "print('within', flush=True)\n"
        f"ctypes.c_float.from_address(at + 4 * {step}).value\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "within\n"
    assert done.returncode < 0
    assert ctypes.sizeof(ctypes.c_float) == 4
