"""The tests' own options: without --full, what is marked `full` is left out."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

import tilework as tw
from tilework.testing.isas import runnable
from tilework.testing.plugin import add_options


def pytest_addoption(parser: pytest.Parser) -> None:
    with suppress(ValueError):  # the installed plugin has added it
        add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: runs only with --full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full", default=False):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


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
