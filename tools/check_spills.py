#!/usr/bin/env python3
"""Fails where the inner loop of a micro-kernel stores a vector on the stack.

A tile's sums, B's vectors and A's scalar fill an AVX2 machine's sixteen registers to the last but
one. A mask or a constant that the compiler keeps beside them makes each turn of the loop store a
vector and wait for it to come back, which costs a product some 12 % and shows in no result.

    python tools/check_spills.py [--self-test] BUILD_FOLDER

reads the objects of the ISA files there; --self-test first shows that a seeded spill is caught.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from check_symbols import isa_objects, main, run

KERNEL = re.compile(r"::(segment_)?tile<")  # in the names of the functions that are held to it
SPILL = re.compile(r"^vmov[au]p[sd]\s+%[yz]mm\d+,-?(0x[0-9a-f]+)?\(%r[sb]p\)")

Instruction = tuple[int, str]  # address and text


def functions(disassembly: str) -> Iterator[tuple[str, list[Instruction]]]:
    name, body = "", []
    for line in disassembly.splitlines():
        if match := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            yield name, body
            name, body = match[1], []
        elif match := re.match(r"^\s+([0-9a-f]+):\s+(\S.*)$", line):
            body.append((int(match[1], 16), match[2]))
    yield name, body


def inner_loops(body: list[Instruction]) -> Iterator[list[str]]:
    """What lies between a jump back and its target, where no other such pair lies within."""
    index = {address: i for i, (address, _) in enumerate(body)}
    loops = set()
    for i, (_, text) in enumerate(body):
        if match := re.match(r"j\w+\s+([0-9a-f]+)", text):
            start = index.get(int(match[1], 16), i + 1)
            if start <= i:
                loops.add((start, i))
    for start, end in loops:
        if not any(start <= s and e <= end for s, e in loops - {(start, end)}):
            yield [text for _, text in body[start : end + 1]]


def spilling(path: Path) -> tuple[int, list[str]]:
    """How many loops of micro-kernels with FMAs `path` has, and the kernels of those that spill."""
    count, names = 0, []
    for name, body in functions(run("objdump", "-dC", "--no-show-raw-insn", str(path))):
        if not KERNEL.search(name):
            continue
        for loop in inner_loops(body):
            if any(text.startswith("vfmadd") for text in loop):
                count += 1
                if any(SPILL.match(text) for text in loop):
                    names.append(name)
    return count, names


def check(build: Path) -> int:
    count = failures = 0
    for path, _ in isa_objects(build):
        loops, names = spilling(path)
        count += loops
        failures += len(names)
        for name in names:
            print(f"{path}: a loop stores vectors on the stack: {name}", file=sys.stderr)
    if count == 0:
        print(f"{build}: no loop of a micro-kernel there; expected a build folder", file=sys.stderr)
        return 1
    if not failures:
        print(f"{count} loops of micro-kernels: no sum leaves its register")
    return 1 if failures else 0


# Sums of a tile of `ROWS` rows: six fit the registers, nine do not.
SEEDED = """
#include <immintrin.h>
namespace tilework::avx2 {
template <int Rows> void tile(long k, const float* a, const float* b, float* c) {
  __m256 sum[Rows][2] = {};
  for (long step = 0; step < k; ++step, a += Rows, b += 16)
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j)
        sum[i][j] = _mm256_fmadd_ps(_mm256_set1_ps(a[i]), _mm256_loadu_ps(b + 8 * j), sum[i][j]);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) _mm256_storeu_ps(c + 16 * i + 8 * j, sum[i][j]);
}
template void tile<ROWS>(long, const float*, const float*, float*);
}
"""


def self_test() -> int:
    def is_caught(rows: int) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "avx2.cc"), Path(folder, "avx2.cc.o")
            source.write_text(SEEDED)
            compiler = os.environ.get("CXX", "c++")
            options = ["-std=c++20", "-O3", "-mavx2", "-mfma", f"-DROWS={rows}"]
            subprocess.run([compiler, *options, "-c", source, "-o", target], check=True)
            loops, names = spilling(target)
            return loops > 0 and bool(names)

    failed = is_caught(6) or not is_caught(9)
    print(f"self-test: {'failed' if failed else 'the seeded spill is caught'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(__doc__, self_test, check))
