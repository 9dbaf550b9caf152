"""Importing tilework is quick, and brings nothing heavy along."""

import os
import statistics
import subprocess
import sys

HEAVY = [
    "numba",
    "llvmlite",
    "cupy",
    "matplotlib",
    "rich",
    "safetensors",
    "torch",
    "jax",
    "scipy",
    "PIL",
]


def modules_after(statement):
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_nothing_heavy_comes_along():
    assert not modules_after("import tilework, tilework.cli") & set(HEAVY)


def test_submodules_are_light_too():
    everything = (
        "import tilework.nn, tilework.optim, tilework.functional, tilework.data, tilework.io"
    )
    assert not modules_after(everything) & set(HEAVY)


LATER = ["data", "io", "models", "testing", "train"]


def test_every_part_is_there_after_the_import_and_loaded_when_asked_for():
    names = [f"tilework.{name}" for name in LATER]
    assert not modules_after("import tilework") & set(names)
    for name in LATER:
        found = modules_after(f"import tilework as tw; assert tw.{name}; tw.{name}.__name__")
        assert f"tilework.{name}" in found
    code = f"import tilework as tw; assert set({LATER}) <= set(dir(tw))"
    assert not modules_after(code) & set(names)


def test_what_is_not_there_is_an_attribute_error():
    code = "import tilework as tw; assert not hasattr(tw, 'nothing_of_that_name')"
    assert modules_after(code)


def seconds_beyond_numpy():
    """One process: NumPy and ml_dtypes first, then the clock, then tilework.

    The clock is the thread's own: other processes must not count, nor the threads that BLAS has
    started by then, and nothing here waits.
    """
    code = (
        "import time, numpy, ml_dtypes\n"
        "start = time.thread_time()\n"
        "import tilework\n"
        "print(time.thread_time() - start)"
    )
    # As programs run: with the modules' bytecode at hand, which the first process writes.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_import_time():
    """Below 0.1 s beyond NumPy's own: the median of nine processes, after one to warm the disk.

    A busy machine may be slow in one median; a regression is slow in all three.
    """
    seconds_beyond_numpy()
    medians = []
    for _ in range(3):
        medians.append(statistics.median(seconds_beyond_numpy() for _ in range(9)))
        if medians[-1] < 0.1:
            return
    raise AssertionError(f"import takes {medians} s beyond NumPy's own; 0.1 is allowed")
