"""`tilework gpu-report`: the one command for a person with a GPU.

It runs the tests that carry the mark `gpu`, then the table of CPU beside GPU, the rooflines and the
crossing points, into one file: `tilework bench --compare FILE` shows it beside another machine's
CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from rich.console import Console

import tilework as tw
from tilework.benchmarks import cli
from tilework.benchmarks.selection import chosen
from tilework.testing import cases

_TEXT = 2000  # of a failure's text, so that the file stays one to send
_SECONDS = 3600.0  # a card that hangs is a finding too

_EPILOG = """exit status: 1 where there is no GPU, a test fails or an answer is wrong, else 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument(
        "--output", type=Path, default=Path("gpu-report.json"), metavar="FILE",
        help="where to write (default: gpu-report.json)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="the main cases alone")


def run(args: argparse.Namespace) -> int:
    """Tests, measures and writes; the exit status is _EPILOG's."""
    if not tw.cuda.is_available():
        print(f"tilework gpu-report needs a GPU: {tw.cuda.why_not()}", file=sys.stderr)
        return 1
    from tilework.benchmarks.gpu import flow
    from tilework.benchmarks.gpu.results import DeviceRun

    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f"{tw.cuda.get_device_name()}: the tests, which take some minutes", markup=False)
    tests = run_tests()
    console.print(verdict(tests), markup=False)
    options = _options(args)
    selected = chosen(cases.benchmarks(), "quick" if args.quick else "usual")

    def keep(found: DeviceRun) -> None:
        found.tests = tests
        found.write(args.output)

    keep(flow.without_rows())  # whatever ends the report leaves what was found before
    measured, left_out = flow.measure(selected, options, console, crossed=True, keep=keep)
    measured.tests = tests
    status = flow.told(measured, left_out, options, console)
    console.print(f"written to {args.output}", markup=False)
    return 1 if tests["failed"] else status


def _options(args: argparse.Namespace) -> argparse.Namespace:
    """The options of `tilework bench` that this is a run of."""
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    words = ["--device", "cpu,cuda", "--json", str(args.output)]
    return parser.parse_args([*words, *(["--quick"] if args.quick else [])])


def run_tests(package: str = "tilework.tests.test_gpu") -> dict[str, Any]:
    """How the marked tests ended, in a process of their own."""
    if importlib.util.find_spec("pytest") is None:
        return _not_run("pytest is not installed: pip install 'tilework[test]'")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tests.xml"
        command = [
            sys.executable, "-m", "pytest", "--pyargs", package, "-m", "gpu", "-v",
            "-p", "no:cacheprovider", f"--junit-xml={file}",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as late:
            said = late.stdout or b""
            last = (said if isinstance(said, str) else said.decode(errors="replace"))[-_TEXT:]
            why = f"the tests had not ended after {_SECONDS:.0f} s; the last of them:\n{last}"
            return _not_run(why, failed=1)
        if done.returncode not in (0, 1):  # pytest's own for tests that ran
            lines = (done.stdout + done.stderr).strip()[-_TEXT:]
            return _not_run(lines, failed=1)
        found = counted(file)
        if not (found["passed"] or found["failed"]):
            return _not_run("every one was skipped", failed=1)
        return found


def _not_run(why: str, failed: int = 0) -> dict[str, Any]:
    return {"ran": False, "why": why, "passed": 0, "failed": failed, "skipped": 0, "failures": []}


def counted(file: Path) -> dict[str, Any]:
    """What stands in a file of --junit-xml."""
    failures, passed, skipped = [], 0, 0
    for case in ElementTree.parse(file).iter("testcase"):
        wrong = [part for part in case if part.tag in ("failure", "error")]
        if wrong:
            text = (wrong[0].text or wrong[0].get("message") or "")[-_TEXT:]
            failures.append({"test": f"{case.get('classname')}::{case.get('name')}", "text": text})
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return {"ran": True, "why": "", "passed": passed, "failed": len(failures), "skipped": skipped,
            "failures": failures}  # fmt: skip


def verdict(tests: dict[str, Any]) -> str:
    """The tests in a line, or a few."""
    if not tests["ran"]:
        return f"the tests did not run: {tests['why']}"
    failed = "".join(f"\n  failed: {failure['test']}" for failure in tests["failures"][:20])
    return f"tests: {tests['passed']} passed, {tests['failed']} failed{failed}"
