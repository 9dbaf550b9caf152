#!/usr/bin/env python3
"""Says where a build's seconds go: a table of families by ISA, from ninja's log.

    python tools/build_times.py BUILD_FOLDER
    python tools/build_times.py --build [CMAKE_OPTION...]

The first reads the log there: seconds on the clock, which with as many jobs as cores or more
contain a file's waiting too. The second compiles all of the extension anew, in a folder of its own
and without ccache, one file after another, and prints what the whole took of the processor beside
the table.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNEL = re.compile(r"csrc/kernels/(\w+)/(\w+?)(_\w+)?\.cc\.o$")
Seconds = dict[tuple[str, str], float]  # by family and ISA


def place(output: str, isas: list[str]) -> tuple[str, str]:
    """The family and the ISA that a file built for; drivers and the rest are of the baseline."""
    if match := KERNEL.search(output):
        return match[1], match[2] if match[2] in isas else "baseline"
    for folder in ("base", "bindings", "tests"):
        if f"csrc/{folder}/" in output:
            return folder, "baseline"
    return ("bindings" if "_native.dir/" in output else "link"), "baseline"


def isas_of_this_source() -> list[str]:
    """The rows of the table of ISA flags."""
    text = (ROOT / "csrc/simd/isa.cmake").read_text()
    return [name for name in re.findall(r"set\(TILEWORK_ISA_(\w+)", text) if name != "baseline"]


def seconds_in(log: str, isas: list[str]) -> Seconds:
    """Sums of a ninja log; of an output that was built several times the last one counts."""
    last: dict[str, float] = {}
    for line in log.splitlines():
        if not line.startswith("#"):
            begin, end, _, output, _ = line.split("\t")
            last[output] = (int(end) - int(begin)) / 1000
    sums: Seconds = defaultdict(float)
    for output, seconds in last.items():
        sums[place(output, isas)] += seconds
    return dict(sums)


def table(sums: Seconds, isas: list[str]) -> str:
    """Rows of families, the dearest first; columns of ISAs that have anything, and the sum."""
    columns = [isa for isa in dict.fromkeys([*isas, "baseline"]) if any(i == isa for _, i in sums)]
    row_sums: dict[str, float] = defaultdict(float)
    for (family, _), seconds in sums.items():
        row_sums[family] += seconds
    column_sums = [sum(s for (_, i), s in sums.items() if i == isa) for isa in columns]
    rows: list[list[str]] = [["seconds", *columns, "all"]]
    for family in sorted(row_sums, key=lambda name: -row_sums[name]):
        cells = [sums.get((family, isa)) for isa in columns]
        texts = ["" if cell is None else f"{cell:.1f}" for cell in cells]
        rows.append([family, *texts, f"{row_sums[family]:.1f}"])
    rows.append(["all", *(f"{s:.1f}" for s in column_sums), f"{sum(column_sums):.1f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def build(folder: Path, options: list[str]) -> float:
    """Builds the extension there; the seconds of the processor that it took, user and system."""
    environment = os.environ | {"CCACHE_DISABLE": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", *options],
        ["cmake", "--build", str(folder), "-j", "1", "--target", "_native"],
    ):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Says where a build's seconds go.")
    parser.add_argument("folder", nargs="?", type=Path, help="with .ninja_log in it")
    parser.add_argument("--build", action="store_true", help="compile all first, without ccache")
    arguments, options = parser.parse_known_args()
    if arguments.build == (arguments.folder is not None):
        parser.error("expected a build folder, or --build")
    isas = isas_of_this_source()
    if not arguments.build:
        log = arguments.folder / ".ninja_log"
        if not log.exists():
            sys.exit(f"{log} is not there: expected the folder of a build by ninja")
        print(table(seconds_in(log.read_text(), isas), isas))
        return
    with tempfile.TemporaryDirectory() as folder:
        processor = build(Path(folder), options)
        print(table(seconds_in((Path(folder) / ".ninja_log").read_text(), isas), isas))
        print(f"of the processor, user and system, with CMake's own: {processor:.0f} s")


if __name__ == "__main__":
    main()
