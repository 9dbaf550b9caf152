"""The memory pool and the thread pool, as Python meets them."""

import gc
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import tilework as tw

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built here")

MIB = 1 << 20


def new(*shape, dtype="float32"):
    return native.uniform(shape, dtype, 1, 2)


@pytest.fixture
def limit():
    """Sets the pool's limit for one test."""
    before = native.pool_stats()["limit_bytes"]
    yield native.pool_set_limit
    native.pool_set_limit(before)


@pytest.fixture
def two_threads():
    before = native.num_threads()
    native.set_num_threads(2)
    yield
    native.set_num_threads(before)


# --- memory ---


def test_arrays_are_ordinary_and_aligned():
    x = new(3, 5)
    assert type(x) is np.ndarray
    assert x.flags.owndata
    assert x.flags.writeable
    assert x.flags.c_contiguous
    assert x.base is None
    assert x.ctypes.data % 64 == 0
    assert new(600, 1024).ctypes.data % (2 * MIB) == 0  # 2.3 MiB: huge pages begin at 2


def test_in_use_follows_the_arrays():
    gc.collect()
    before = native.pool_stats()
    x = new(1024, 1024)
    view = x[::2]
    stats = native.pool_stats()
    assert stats["in_use_bytes"] - before["in_use_bytes"] == x.nbytes
    assert stats["allocations"] == before["allocations"] + 1
    assert stats["peak_in_use_bytes"] >= before["in_use_bytes"] + x.nbytes
    del x
    assert native.pool_stats()["in_use_bytes"] == stats["in_use_bytes"]  # the view holds it
    del view
    after = native.pool_stats()
    assert after["in_use_bytes"] == before["in_use_bytes"]
    assert after["cached_bytes"] >= 4 * MIB


def test_a_freed_block_serves_the_next_request():
    x = new(333, 777)
    address = x.ctypes.data
    del x
    hits = native.pool_stats()["cache_hits"]
    assert new(333, 777).ctypes.data == address
    assert native.pool_stats()["cache_hits"] == hits + 1


def test_trim_returns_all():
    blocks = [new(n) for n in (10, 1000, 100_000, 10_000_000)]
    del blocks
    assert native.pool_stats()["cached_bytes"] > 0
    native.pool_trim()
    assert native.pool_stats()["cached_bytes"] == 0


def test_changing_shapes_stay_bounded(limit):
    gc.collect()
    native.pool_trim()
    limit(native.pool_stats()["in_use_bytes"] + 32 * MIB)
    shapes = random.Random(1)
    held = []
    for _ in range(2000):
        held.append(new(shapes.randrange(1, 2000), shapes.randrange(1, 500)))
        if len(held) > 4:
            del held[shapes.randrange(5)]
        stats = native.pool_stats()
        assert stats["cached_bytes"] + stats["in_use_bytes"] <= stats["limit_bytes"]
    del held
    x = new(64 * MIB // 4)  # larger than the limit: served, and not kept
    assert x.nbytes == 64 * MIB
    del x
    stats = native.pool_stats()
    assert stats["cached_bytes"] + stats["in_use_bytes"] <= stats["limit_bytes"]


def test_half_of_the_memory_by_default():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    program = "from tilework import _native as n; print(n.pool_stats()['limit_bytes'])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 0 < int(out.stdout) <= pages // 2


def test_bad_limit():
    with pytest.raises(ValueError, match=r"\[pool_set_limit\] expected at least 0 .* got -1"):
        native.pool_set_limit(-1)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 5), (1, 1), (7,)])
def test_empty_and_tiny_arrays_come_and_go(shape):
    before = native.pool_stats()["in_use_bytes"]
    for dtype in ("float32", "float64"):
        x = new(*shape, dtype=dtype)
        assert x.shape == shape
        del x
    assert native.pool_stats()["in_use_bytes"] == before


def test_pickle_and_setstate():
    x = new(100, 7)
    before = native.pool_stats()["in_use_bytes"]
    y = pickle.loads(pickle.dumps(x))
    np.testing.assert_array_equal(x, y)
    x.__setstate__(y.__reduce__()[2])  # frees the pool's block, takes one of NumPy's own
    np.testing.assert_array_equal(x, y)
    assert native.pool_stats()["in_use_bytes"] < before


def test_resize_in_place_refuses_and_leaves_the_array():
    x = new(4, 4)
    kept = x.copy()
    with pytest.raises(MemoryError):
        x.resize((8, 8), refcheck=False)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(np.resize(x, (2, 2)), kept.ravel()[:4].reshape(2, 2))


def test_user_arrays_are_left_alone():
    before = native.pool_stats()["allocations"]
    new(10)
    np.empty(1000)
    assert native.pool_stats()["allocations"] == before + 1


def test_threads_free_what_others_made():
    before = native.pool_stats()["in_use_bytes"]
    queue = [new(n % 5000 + 1) for n in range(0, 200_000, 500)]

    def drain():
        while True:
            try:
                x = queue.pop()
            except IndexError:
                return
            del x
            new(100, 100)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert native.pool_stats()["in_use_bytes"] == before


def test_arrays_alive_at_exit():
    program = """
import atexit, threading
from tilework import _native as n
keep = [n.uniform((k,), "float32", 1, 2) for k in (1, 1000, 1000000)]
class Late:
    def __del__(self, n=n): self.x = n.uniform((100000,), "float32", 1, 2)
late = Late()
n.set_num_threads(2)
held = n.normal((1 << 20,), "float32", 1, 2)
atexit.register(lambda: n.uniform((1000,), "float32", 1, 2))
threading.Thread(target=lambda: [n.normal((1 << 18,), "float32", 1, 2) for _ in range(20)]).start()
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (out.returncode, out.stderr) == (0, b"")


# --- threads ---


def expected_normal():
    return native.normal((1 << 18,), "float32", 5, 6).sum()


def test_thread_info(two_threads):
    info = native.thread_info()
    assert info["threads"] == native.num_threads() == 2
    assert info["source"] == "set_num_threads"
    assert info["affinity"] == len(os.sched_getaffinity(0))
    assert 1 <= info["cores"] <= info["affinity"]
    assert info["quota"] is None or info["quota"] > 0


@pytest.mark.parametrize("n", [0, -1, 1 << 20])
def test_bad_thread_count(n):
    with pytest.raises(ValueError, match=rf"\[set_num_threads\] expected .* got {n}"):
        native.set_num_threads(n)


def threads_of_a_new_process(**environment):
    program = (
        "from tilework import _native as n; i = n.thread_info(); print(i['threads'], i['source'])"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_environment_sets_the_threads():
    out = threads_of_a_new_process(TILEWORK_NUM_THREADS="3")
    assert out.stdout.split() == ["3", "TILEWORK_NUM_THREADS"]
    out = threads_of_a_new_process(TILEWORK_NUM_THREADS="many")
    assert "[TILEWORK_NUM_THREADS] expected" in out.stderr


def test_affinity_limits_the_threads():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        out = threads_of_a_new_process(TILEWORK_NUM_THREADS="")
    finally:
        os.sched_setaffinity(0, before)
    assert out.stdout.split()[0] == "1"


def test_two_python_threads_at_once(two_threads):
    expected = expected_normal()
    results = []

    def work():
        results.extend(expected_normal() for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=60)
    assert results == [expected] * 60


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_threads_run(two_threads):
    expected = expected_normal()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            expected_normal()

    user = threading.Thread(target=work)
    user.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0 if all(expected_normal() == expected for _ in range(3)) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        user.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_multiprocessing_fork(two_threads):
    expected = expected_normal()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(expected_normal) for _ in range(6)]
        assert [r.get(timeout=60) for r in results] == [expected] * 6


ONE = np.ones((1, 1), np.float32)
WIDE = 4_000_000  # squared, in any dtype, more than a machine has


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("uniform", lambda: native.uniform((WIDE, WIDE), "float32", 0, 0)),
        (
            "matmul",
            lambda: native.matmul(np.broadcast_to(ONE, (WIDE, 1)), np.broadcast_to(ONE, (1, WIDE))),
        ),
        ("pack_weight", lambda: native.pack_weight(np.broadcast_to(ONE, (WIDE, WIDE)))),
        ("mul", lambda: tw.ones(1).expand(WIDE, WIDE) * 2),
    ],
)
def test_an_error_of_memory_says_for_whom_and_how_much(op, call):
    with pytest.raises(MemoryError, match=rf"\[{op}\] .* got none for {4 * WIDE**2} bytes: take"):
        call()
    assert new(3).shape == (3,)  # the process goes on
