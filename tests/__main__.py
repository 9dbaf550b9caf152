"""`python -m tilework.tests [--full] [pytest's options]`: the tests of the installed package."""

import sys
from pathlib import Path

import pytest

# By path: pytest learns of conftest.py's options only for directories named on its command line.
sys.exit(pytest.main([str(Path(__file__).parent), *sys.argv[1:]]))
