#!/usr/bin/env python3
"""What can be shown of the CUDA kernels without a card, by NVIDIA's compiler.

    python tools/cuda_check.py                     all of it
    python tools/cuda_check.py --family softmax    of one family
    python tools/cuda_check.py kernels --write     rewrite the tables at the heads of the files

kernels   nvcc for each architecture with warnings as errors; no kernel spills a register; the table
          at the head of each file (cuda_tables.py) is what ptxas says; the machine code has the
          instructions that the table names, and fuses nothing by itself where results are the CPU's
          to the bit
nvrtc     NVRTC compiles each file, by the package's own way, and knows the names of its kernels
wheel     the wheel that `TILEWORK_CUDA=ON` makes by NVIDIA's compiler from PyPI; it is imported,
          and has the kernels and their sources

`pip install --group cuda-check` has what it needs; --cuda names another toolkit's folder.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cuda_tables
import cuda_toolkit
from cuda_toolkit import ARCHITECTURES, ROOT, Compiled, Refused, Toolkit, run

# Files that promise the CPU's results to the bit: what is fused stands in the source, and the
# compiler, which fuses products and sums as it likes, finds nothing more.
EXACT = ("optim.cuh",)

# What a file's source means to have in the machine code of some kernel.
MEANT = {"ptx::mma_": "HMMA", "ptx::copy_async": "LDGSTS.128"}


def sources_of(families: list[str]) -> list[Path]:
    found = sorted((ROOT / "csrc/kernels").glob("*/*.cuh"))
    chosen = [f for f in found if not families or f.parent.name in families]
    if not chosen:
        raise Refused(f"no .cuh of {', '.join(families)}")
    return chosen


def kernels(options: argparse.Namespace) -> list[str]:
    toolkit = cuda_toolkit.find(options.cuda)
    files, version = sources_of(options.family), toolkit.version()
    if version != cuda_tables.KEPT_BY:
        if options.write:
            raise Refused(
                f"the tables are kept by nvcc {cuda_tables.KEPT_BY}, and this is {version}"
            )
        print(f"nvcc {version}: the tables' numbers are of {cuda_tables.KEPT_BY}, and not compared")
    pairs = [(file, a) for file in files for a in ARCHITECTURES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compiled = list(pool.map(lambda pair: _compiled(toolkit, *pair), pairs))
    faults = [fault for _, fault in compiled if fault]
    for file in files:
        found = [
            k for (f, _), (made, _) in zip(pairs, compiled, strict=True) if f == file for k in made
        ]
        faults += [f"{k.name} spills {k.spilled} bytes on sm_{k.architecture}"
                   for k in found if k.spilled]  # fmt: skip
        if {k.architecture for k in found} == set(ARCHITECTURES):
            faults += _table(file, found, version, options.write)
        if file.name in EXACT:
            faults += _fused(toolkit, file)
        print(f"{file.relative_to(ROOT)}: {len({k.name for k in found})} kernels", flush=True)
    return faults


def _fused(toolkit: Toolkit, file: Path) -> list[str]:
    """A fault where the compiler fuses more than the source says."""
    text = f'#include "{file.relative_to(ROOT / "csrc")}"\n'
    plain, own = (
        toolkit.code(text, ARCHITECTURES[0], option) for option in ("-fmad=false", "-fmad=true")
    )
    name = file.relative_to(ROOT)
    return [] if plain == own else [f"{name}: products and sums are fused that are none on the CPU"]


def _compiled(toolkit: Toolkit, file: Path, architecture: str) -> tuple[list[Compiled], str]:
    try:
        text = f'#include "{file.relative_to(ROOT / "csrc")}"\n'
        return toolkit.compiled(text, architecture), ""
    except Refused as reason:
        return [], str(reason)


def _table(file: Path, found: list[Compiled], version: str, write: bool) -> list[str]:
    """What is wrong with the table of a file whose kernels are these by a version of nvcc;
    rewritten where asked. Another version than the table's is held to `holds` alone."""
    text, where = file.read_text(), str(file.relative_to(ROOT))
    rows, begin, end = cuda_tables.read(text)
    rows, unnamed = cuda_tables.filled(rows, found)
    if unnamed:
        offered, _ = cuda_tables.filled(map(cuda_tables.Row, _patterns(unnamed)), found)
        lines = "\n".join(cuda_tables.written(row.measured() for row in offered if row.kernels))
        return [
            f"{where}: no row of its table speaks of {', '.join(unnamed)}. As compiled:\n{lines}"
        ]
    if idle := [row.pattern for row in rows if not row.kernels]:
        return [f"{where}: no kernel is named {', '.join(idle)}, or an earlier row has it"]
    faults = [f"{where}: {lack}" for row in rows for lack in row.lacking()]
    named = {instruction for row in rows for instruction in row.holds}
    faults += [
        f"{where}: it calls {call}, and no row of its table holds {instruction}"
        for call, instruction in MEANT.items()
        if call in text and instruction not in named
    ]
    right = cuda_tables.written(row.measured() for row in rows)
    lines = text.splitlines()
    if write:
        file.write_text("\n".join([*lines[:begin], *right, *lines[end:], ""]))
    elif version == cuda_tables.KEPT_BY and lines[begin:end] != right:
        faults.append(f"{where}: its table (--write) would be\n" + "\n".join(right))
    return faults


def _patterns(names: list[str]) -> list[str]:
    """Names alike but for the C type at their end, as one pattern each."""
    return list(dict.fromkeys(re.sub(r"_[a-z0-9]+$", "_*", name) for name in names))


def nvrtc(options: argparse.Namespace) -> list[str]:
    sys.path.insert(0, str(ROOT / "python"))
    from tilework.engines.cuda import cubins
    from tilework.engines.cuda import nvrtc as compiler

    if reason := compiler.missing():
        raise Refused(reason)
    files = [str(file.relative_to(ROOT / "csrc")) for file in sources_of(options.family)]
    capabilities = [int(a.rstrip("a")) for a in ARCHITECTURES]

    def checked(pair: tuple[str, int]) -> list[str]:
        file, capability = pair
        try:
            made = cubins.kernels_in(compiler.compiled(file, capability))
            named = cubins.kernels_in(compiler.names(file))
        except compiler.Refusal as reason:
            return [str(reason)]
        return [f"{file} has other names than kernels: {made ^ named}"] if made != named else []

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(checked, [(file, c) for file in files for c in capabilities])
    print(f"NVRTC {'.'.join(map(str, compiler.version()))}: {len(files)} files")
    return list(dict.fromkeys(fault for faults in found for fault in faults))


# What a process does with the wheel alone.
TRIAL = """
import pathlib, sys
import tilework
from tilework import _cuda
from tilework.engines.cuda import sources
assert pathlib.Path(tilework.__file__).is_relative_to(sys.argv[1]), tilework.__file__
assert sources.folder().is_relative_to(sys.argv[1]), sources.folder()
kernels = _cuda.kernels()
assert bool(_cuda.device_count()) != bool(_cuda.refusal())
print(len(kernels), "kernels;", _cuda.refusal() or f"{_cuda.device_count()} devices")
try:
    _cuda.launch("softmax_nowhere", (1, 1, 1), (1, 1, 1), 0, 0, ())
except KeyError:
    sys.exit(0)
"""


def wheel(options: argparse.Namespace) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "installed")
        pip = [sys.executable, "-m", "pip"]
        environment = {**os.environ, "TILEWORK_CUDA": "ON"}
        run(*pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT, env=environment)
        [made] = Path(folder).glob("tilework-*.whl")
        run(*pip, "install", "-q", "--no-deps", "--target", place, made)
        environment = {**os.environ, "PYTHONPATH": str(place)}
        told = run(sys.executable, "-c", TRIAL, place, env=environment, cwd=folder)
        print(f"{made.name}, {made.stat().st_size} bytes: {told.strip()}")
    return []


CHECKS: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "kernels": kernels,
    "nvrtc": nvrtc,
    "wheel": wheel,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; or all"
    )
    parser.add_argument("--family", action="append", default=[], help="this one's kernels alone")
    parser.add_argument("--cuda", type=Path, help="the folder of a CUDA toolkit")
    parser.add_argument("--write", action="store_true", help="rewrite the files' tables")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.checks if name not in CHECKS]:
        parser.error(f"no such check: {', '.join(unknown)}")
    faults: list[str] = []
    for name in options.checks or CHECKS:
        try:
            faults += CHECKS[name](options)
        except Refused as reason:
            faults.append(f"{name}: {reason}")
    print(*faults, f"{len(faults)} faults" if faults else "no fault", sep="\n", flush=True)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
