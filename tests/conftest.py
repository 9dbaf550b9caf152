"""The tests' own options and marks: without --full, what is marked `full` is left out."""

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

import tilework as tw
from tilework.testing.isas import runnable
from tilework.testing.plugin import add_options

# What measures time, or waits until another thread has run: the gate runs it beside nothing else.
ALONE = (
    "test_bench.py", "test_benchmarks.py", "test_cliffs.py", "test_overhead.py", "test_import.py",
    "::test_packing_lets_other_threads_run",
    "::test_import_takes_a_tenth_of_a_second_beyond_numpy",
)  # fmt: skip
SAMPLED = 50  # one in so many of what --full adds is what --full-sample adds
NEIGHBOURS = 16


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # the installed plugin has added it
        add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: runs only with --full")
    config.addinivalue_line("markers", "minutes: and never by --full-sample")
    config.addinivalue_line("markers", "gpu: runs on a CUDA device, and is skipped without one")
    config.addinivalue_line("markers", "alone: wants the machine for itself")


@pytest.hookimpl(tryfirst=True)  # before -m is heard
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if any(part in item.nodeid for part in ALONE):
            item.add_marker("alone")
    chosen = of_part(selected(items, config), config.getoption("--part", default="1/1"))
    if len(chosen) < len(items):
        kept = set(chosen)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = chosen


def selected(items: list[pytest.Item], config: pytest.Config) -> list[pytest.Item]:
    """What --full and --full-sample leave."""
    if config.getoption("--full", default=False):
        return items
    full = [item for item in items if item.get_closest_marker("full")]
    left_out = set(full)
    if (seed := config.getoption("--full-sample", default=None)) is not None:
        short = [item for item in full if not item.get_closest_marker("minutes")]
        left_out -= set(random.Random(seed).sample(short, -(-len(short) // SAMPLED)))
    return [item for item in items if item not in left_out]


def of_part(items: list[pytest.Item], part: str) -> list[pytest.Item]:
    """Part "2/3": the second of each three runs of neighbours, which share what they prepare."""
    at, parts = map(int, part.split("/"))
    return [item for i, item in enumerate(items) if i // NEIGHBOURS % parts == at - 1]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    family = getattr(metafunc.module, "FAMILY", None)
    if family and "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", runnable(family), indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each variant of the module's FAMILY that this machine can run, in turn."""
    tw.set_isa(request.param)
    yield request.param
    tw.set_isa("auto")


@pytest.fixture
def threads():
    """Sets the number of threads, until the test ends."""
    before = tw.get_num_threads()
    yield tw.set_num_threads
    tw.set_num_threads(before)
