"""Indices that another thread writes while the compiled engine reads them are never followed."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

# Followed, one index of 2**40 ends the process. Each call lets the other thread run meanwhile.
PROGRAM = textwrap.dedent("""
    import sys, threading
    import numpy as np
    from tilework import _native as native

    N = 100_000
    index = np.zeros(N, np.int64)
    x = np.ones((N, 2), np.float32)
    calls = {
        "gather": lambda: native.gather(x[:, 0], 0, index),
        "scatter_add": lambda: native.scatter_add(x[:, 0], 0, index, (N,)),
        "index_add": lambda: native.index_add(x, index, N),
        "index_add_few": lambda: native.index_add(x, index, 100 * N),
        "cross_entropy_forward": lambda: native.cross_entropy_forward(
            x, index, None, -100, 0.0, "mean"),
        "cross_entropy_backward": lambda: native.cross_entropy_backward(
            np.ones((), np.float32), x, index, None, saved, -100, 0.0, "mean"),
    }
    saved = native.cross_entropy_forward(x, index, None, -100, 0.0, "mean")[1]
    call, over = calls[sys.argv[1]], False

    def write():
        while not over:
            index[-1] = 2**40
            index[-1] = 0

    writer = threading.Thread(target=write)
    writer.start()
    sys.setswitchinterval(1e-5)
    outcomes = {"served": 0, "refused": 0}
    try:
        for _ in range(200):
            try:
                call()
                outcomes["served"] += 1
            except IndexError as error:
                assert str(error).startswith("["), error
                outcomes["refused"] += 1
    finally:
        over = True
        writer.join()
    print(outcomes["served"] + outcomes["refused"])
""")


@pytest.mark.parametrize(
    "name",
    [
        "gather",
        "scatter_add",
        "index_add",
        "index_add_few",
        "cross_entropy_forward",
        "cross_entropy_backward",
    ],
)
def test_indices_written_meanwhile(name):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
