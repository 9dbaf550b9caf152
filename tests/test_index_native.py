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
    mask = np.zeros(N, np.bool_)
    x = np.ones((N, 2), np.float32)
    calls = {
        "gather": lambda: native.gather(x[:, 0], 0, index, True),
        "index_select": lambda: native.index_select(x, 0, index, False),
        "scatter": lambda: native.scatter(x[:, 0], 0, index, x[:, 0]),
        "index_copy": lambda: native.index_copy(x, 0, index, x),
        "scatter_add": lambda: native.scatter_add(x[:, 0], 0, index, (N,), False),
        "scatter_reduce": lambda: native.scatter_reduce(
            x[:, 0], 0, index, x[:, 0], "mean", False),
        "index_add": lambda: native.index_add(x, 0, index, N, None, False),
        "index_add_few": lambda: native.index_add(x, 0, index, 100 * N, None, False),
        "segment_sum": lambda: native.segment_sum(x, index, N, 3, True),
        "segment_max": lambda: native.segment_max(x, index, N),
        "embedding_bag_forward": lambda: native.embedding_bag_forward(
            x, index, index[:1], None, "sum", -1),
        "embedding_bag_backward": lambda: native.embedding_bag_backward(
            x[:1], index, index[:1], None, True, N, -1, False),
        "embedding_bag_weights_backward": lambda: native.embedding_bag_weights_backward(
            x[:1], x, index, index[:1], -1),
        "offsets": lambda: native.embedding_bag_forward(x, index, index[-2:], None, "sum", -1),
        "masked_select": lambda: native.masked_select(x[:, 0], mask),
        "masked_scatter": lambda: native.masked_scatter(None, mask, x[:1000, 0]),
        "nonzero": lambda: native.nonzero(mask, False),
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
            mask[::7] = True
            index[-1] = 0
            mask[::7] = False

    writer = threading.Thread(target=write)
    writer.start()
    sys.setswitchinterval(1e-5)
    outcomes = {"served": 0, "refused": 0}
    try:
        for _ in range(200):
            try:
                call()
                outcomes["served"] += 1
            except (IndexError, ValueError) as error:
                assert str(error).startswith("["), error
                outcomes["refused"] += 1
    finally:
        over = True
        writer.join()
    print(outcomes["served"] + outcomes["refused"])
""")


NAMES = (
    "gather", "index_select", "scatter", "index_copy", "scatter_add", "scatter_reduce", "index_add",
    "index_add_few", "segment_sum", "segment_max", "embedding_bag_forward",
    "embedding_bag_backward", "embedding_bag_weights_backward", "offsets", "masked_select",
    "masked_scatter", "nonzero", "cross_entropy_forward", "cross_entropy_backward",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_indices_written_meanwhile(name):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
