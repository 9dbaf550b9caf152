"""The test-suite's options, as a pytest plugin of the installed package.

pytest reads a conftest.py's options only for directories named on its command line, and
`--pyargs tilework.tests` names a package. The plugin keeps out of every other suite's way.
"""

from __future__ import annotations

import sys
from typing import Any


def add_options(parser: Any) -> None:
    """Makes --full, --full-sample and --part known."""
    parser.addoption("--full", action="store_true", help="the whole sweep, not the selection")
    parser.addoption(
        "--full-sample", type=int, metavar="SEED",
        help="the selection, and a fiftieth of what --full adds within a minute, drawn by the seed",
    )  # fmt: skip
    parser.addoption(
        "--part", default="1/1", metavar="I/N", help="the I-th of N parts: for N processes"
    )


def pytest_addoption(parser: Any) -> None:
    """pytest's hook: where the tests of this package are what was asked for."""
    if any(argument.startswith("tilework.tests") for argument in sys.argv[1:]):
        add_options(parser)
