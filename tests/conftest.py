"""The tests' own options: without --full, what is marked `full` is left out."""

from contextlib import suppress

import pytest

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
