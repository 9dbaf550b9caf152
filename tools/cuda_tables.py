"""The table at the head of each .cuh: what its kernels take of a multiprocessor.

    // on sm_80, 90a, 100  registers      shared  dynamic  threads  blocks an SM  holds
    // gemm_*_bfloat16     168, 168, 162  0       98304    256      1, 1, 1       HMMA LDGSTS.128
    // *                   32, 40, 40     256     0        256      8, 6, 6

A row speaks of the kernels whose names match its pattern and no earlier row's. Registers of a
thread, shared memory (static, in bytes) and threads are the most that one of them takes; the
blocks are the least that a multiprocessor holds of one. The compiler tells these, and each version
of it others: the tables are of nvcc KEPT_BY.

The rest is the author's to write. `dynamic` is the most dynamic shared memory that a plan asks for.
`holds` names instructions that each of the kernels must have in its machine code: HMMA where
tensor cores are meant, LDG.128 or LDGSTS.128 where accesses of 16 bytes are. The parts of a name
may have others between them, as in LDG.E.128.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from cuda_toolkit import ARCHITECTURES, Compiled

# fmt: off
HEAD = (f"on sm_{', '.join(ARCHITECTURES)}", "registers", "shared", "dynamic", "threads",
        "blocks an SM", "holds")
# fmt: on
_IS_HEAD = re.compile(r"^// on sm_.* registers +shared +dynamic +threads +blocks an SM")
_IS_ROW = re.compile(
    r"^// (?P<pattern>\S+) +(?P<registers>\d+(?:, \d+)*) +(?P<shared>\d+) +(?P<dynamic>\d+)"
    r" +(?P<threads>\d+) +(?P<blocks>\d+(?:, \d+)*)(?: +(?P<holds>\S.*))?$"
)

KEPT_BY = "13.5"

# Of a multiprocessor (CUDA C++ Programming Guide, compute capabilities): the three architectures
# differ in shared memory alone.
SHARED_BYTES = {"80": 164 * 1024, "90a": 228 * 1024, "100": 228 * 1024}
REGISTERS, WARPS, BLOCKS = 64 * 1024, 64, 32
PARTITIONS = 4  # each with a quarter of the registers, for its own warps
REGISTERS_TOGETHER, SHARED_TOGETHER = 256, 128  # what a warp, and a block, get them by
SHARED_OF_SYSTEM = 1024  # bytes of each block


def blocks(architecture: str, registers: int, shared: int, threads: int) -> int:
    """How many blocks a multiprocessor holds at once."""
    warps = -(-threads // 32)
    of_a_warp = _up(registers * 32, REGISTERS_TOGETHER)
    by_registers = REGISTERS // PARTITIONS // of_a_warp * PARTITIONS // warps
    of_a_block = _up(shared + SHARED_OF_SYSTEM, SHARED_TOGETHER)
    return min(BLOCKS, WARPS // warps, by_registers, SHARED_BYTES[architecture] // of_a_block)


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit


@dataclass(frozen=True)
class Row:
    pattern: str
    registers: tuple[int, ...] = ()  # on each architecture
    shared: int = 0
    dynamic: int = 0
    threads: int = 0
    blocks: tuple[int, ...] = ()  # on each architecture
    holds: tuple[str, ...] = ()
    kernels: list[Compiled] = field(default_factory=list, compare=False)

    def measured(self) -> Row:
        """The row as the compiler has it."""
        on = [[k for k in self.kernels if k.architecture == a] for a in ARCHITECTURES]
        fit = [
            min(blocks(k.architecture, k.registers, k.shared + self.dynamic, k.threads) for k in of)
            for of in on
        ]
        return replace(
            self, registers=tuple(max(k.registers for k in of) for of in on),
            shared=max(k.shared for k in self.kernels),
            threads=max(k.threads for k in self.kernels), blocks=tuple(fit),
        )  # fmt: skip

    def cells(self) -> tuple[str, ...]:
        return (
            self.pattern, _several(self.registers), str(self.shared), str(self.dynamic),
            str(self.threads), _several(self.blocks), " ".join(self.holds),
        )  # fmt: skip

    def lacking(self) -> list[str]:
        """What its kernels must hold and do not."""
        return [
            f"{k.name} on sm_{k.architecture} has no {wanted}"
            for wanted in self.holds for k in self.kernels
            if not any(_is_one(wanted, found) for found in k.instructions)
        ]  # fmt: skip


def _is_one(wanted: str, found: str) -> bool:
    first, *parts = wanted.split(".")
    name, *modifiers = found.split(".")
    return name == first and all(part in modifiers for part in parts)


def _several(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _row(match: re.Match[str]) -> Row:
    registers, blocks = (tuple(map(int, match[n].split(", "))) for n in ("registers", "blocks"))
    shared, dynamic, threads = (int(match[n]) for n in ("shared", "dynamic", "threads"))
    holds = tuple((match["holds"] or "").split())
    return Row(match["pattern"], registers, shared, dynamic, threads, blocks, holds)


def read(text: str) -> tuple[list[Row], int, int]:
    """The table's rows, and the lines that it takes (from, to); no rows where there is none."""
    lines = text.splitlines()
    for begin, line in enumerate(lines):
        if _IS_HEAD.match(line):
            rows = []
            for row in lines[begin + 1 :]:
                if not (match := _IS_ROW.match(row)):
                    break
                rows.append(_row(match))
            return rows, begin, begin + 1 + len(rows)
    return [], 0, 0


def filled(rows: Iterable[Row], kernels: Iterable[Compiled]) -> tuple[list[Row], list[str]]:
    """The rows with their kernels as compiled, and the names of those that no row speaks of."""
    made = [replace(row, kernels=[]) for row in rows]
    unnamed = set()
    for kernel in kernels:
        row = next((r for r in made if fnmatchcase(kernel.name, r.pattern)), None)
        if row is None:
            unnamed.add(kernel.name)
        else:
            row.kernels.append(kernel)
    return made, sorted(unnamed)


def written(rows: Iterable[Row]) -> list[str]:
    """The table's lines."""
    table = [HEAD, *(row.cells() for row in rows)]
    if not any(cells[-1] for cells in table[1:]):
        table = [cells[:-1] for cells in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "// " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    ]
