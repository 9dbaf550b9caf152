"""The list of what the gate runs a part of: a checkout's tools/full_check.py."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools/full_check.py"
pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="the tools are in a checkout alone")


def told(*arguments):
    command = [sys.executable, TOOL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_each_part_is_listed_with_its_time():
    done = told("--list")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split()[:2] == ["part", "minutes"]
    names = [line.split()[0] for line in lines]
    assert {"sanitizers", "tests", "fuzz-sanitized", "strange", "mutate"} <= set(names)
    assert all(int(line.split()[1]) > 0 for line in lines)


def test_an_unknown_part_is_an_error_that_names_it():
    done = told("sanitisers")
    assert done.returncode == 2
    assert "no such part: sanitisers" in done.stderr
