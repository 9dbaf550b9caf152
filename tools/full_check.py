#!/usr/bin/env python3
"""What .ci/run has no time for, each part whole: the gate runs a part or a sample of it.

    python tools/full_check.py --list              each part, what it takes, what the gate has of it
    python tools/full_check.py sanitizers stress   these two
    python tools/full_check.py                     all of them: hours

Builds and copies stand in --work (build/full), which keeps them: a second run builds what changed.
CMake, Ninja, a compiler, pybind11 and the tests' own needs must be installed (CONTRIBUTING.md,
Set-up).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERY_ISA = "generic;avx2;avx512;avx512bf16;amx"
MILLION = ["--calls", "1000000", "--seed"]


class Failed(Exception):
    """A part's command that ended with an error."""


def run(*command: str | Path, **environment: str) -> None:
    words = [str(word) for word in command]
    print("+", *(f"{k}={v}" for k, v in environment.items()), *words, flush=True)
    if status := subprocess.run(words, env={**os.environ, **environment}, check=False).returncode:
        raise Failed(f"{words[0]} ended with {status}")


def build(folder: Path, *options: str, targets: tuple[str, ...] = ()) -> None:
    """Configures and builds in `folder`."""
    run("cmake", "-S", ROOT, "-B", folder, *options)
    run("cmake", "--build", folder, *(("--target", *targets) if targets else ()))


def python_tree(folder: Path, compiled: Path) -> str:
    """A PYTHONPATH on which the sources lie with the extension of the build `compiled`."""
    package = folder / "python/tilework"
    shutil.rmtree(package, ignore_errors=True)
    skipped = shutil.ignore_patterns("*.so", "__pycache__", "tests", "benchmarks")
    shutil.copytree(ROOT / "python/tilework", package, ignore=skipped)
    for name in ("tests", "benchmarks"):
        (package / name).symlink_to(ROOT / name)
    run("cmake", "--install", compiled, "--prefix", package.parent)
    return str(package.parent)


def compiled_tree(work: Path, preset: str = "dev") -> str:
    build(work / preset, "--preset", preset, targets=("_native",))
    return python_tree(work / f"{preset}-tree", work / preset)


def under_asan(*libraries: str) -> dict[str, str]:
    """What a Python needs that loads a module built with the sanitizers: libstdc++.so too, where it
    is linked to that. (Modules share pybind11's tables: what one allocates another frees, and only
    one of them has ASan's operators.)"""
    found = [
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", *libraries)
    ]
    return {
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:alloc_dealloc_mismatch=0",
    }


def pytest(path: str, *arguments: str | Path, **environment: str) -> None:
    # The cache stays out of the sources, and so do the tests that lie there.
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ROOT,
        "-c", ROOT / "pyproject.toml", *arguments, PYTHONPATH=path, **environment)  # fmt: skip


# --- the parts ---


def sanitizers(work: Path, seed: int) -> None:
    build(work / "sanitize", "--preset", "sanitize")
    run("ctest", "--test-dir", work / "sanitize", "--output-on-failure")


def stress(work: Path, seed: int) -> None:
    build(work / "dev", "--preset", "dev", targets=("stress",))
    run(work / "dev/csrc/tests/stress", "100")


def stress_threads(work: Path, seed: int) -> None:
    build(work / "tsan", "--preset", "tsan", targets=("stress",))
    run(work / "tsan/csrc/tests/stress", "20")


def tests(work: Path, seed: int) -> None:
    pytest(compiled_tree(work), ROOT / "tests", "--full")


def twin(work: Path, seed: int) -> None:
    pytest(compiled_tree(work, "twin"), ROOT / "tests")


def fuzz(work: Path, seed: int) -> None:
    run(sys.executable, "-m", "tilework.testing.fuzz", *MILLION, str(seed),
        PYTHONPATH=compiled_tree(work))  # fmt: skip


def fuzz_sanitized(work: Path, seed: int) -> None:
    folder = work / "fuzz-sanitized"
    build(folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
          "-DTILEWORK_SANITIZE=address,undefined", f"-DTILEWORK_UNCHECKED_ISAS={EVERY_ISA}",
          targets=("_native",))  # fmt: skip
    path = python_tree(work / "fuzz-sanitized-tree", folder)
    run(sys.executable, "-m", "tilework.testing.fuzz", *MILLION, str(seed), PYTHONPATH=path,
        **under_asan())  # fmt: skip


def strange(work: Path, seed: int) -> None:
    run(sys.executable, "-m", "tilework.testing.strange", *MILLION, str(seed),
        PYTHONPATH=compiled_tree(work))  # fmt: skip


def cuda(work: Path, seed: int) -> None:
    run(sys.executable, ROOT / "tools/cuda_check.py")


def cuda_cupy(work: Path, seed: int) -> None:
    run(sys.executable, ROOT / "tools/cupy_check.py")


def cuda_sanitized(work: Path, seed: int) -> None:
    folder = work / "cudasim-sanitized"
    build(folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DTILEWORK_TESTS=ON",
          "-DTILEWORK_SANITIZE=address,undefined", targets=("_cudasim",))  # fmt: skip
    path = compiled_tree(work)
    run("cmake", "--install", folder, "--prefix", path, "--component", "cudasim")
    pytest(path, *sorted((ROOT / "tests").glob("test_cuda_*.py")), **under_asan("libstdc++.so"))


def mutate(work: Path, seed: int) -> None:
    run(sys.executable, ROOT / "tools/mutate.py", "--work", work / "mutate")


@dataclass(frozen=True)
class Part:
    """A check, the minutes that it takes on two cores, and what the gate runs of it."""

    run: Callable[[Path, int], None]
    what: str
    minutes: int
    gate: str


PARTS = {
    "sanitizers": Part(
        sanitizers, "the C++ programs under ASan and UBSan, the kernels of each ISA checked", 12,
        "the kernels of avx2, avx512 and twin checked",
    ),
    "stress": Part(stress, "both pools without Python, 100 rounds", 8, "5 rounds"),
    "stress-threads": Part(
        stress_threads, "the same under ThreadSanitizer, 20 rounds", 12, "one round"
    ),
    "tests": Part(
        tests, "pytest --full: each case in each dtype and size", 60,
        "the default selection, and a fiftieth of what --full adds",
    ),
    "twin": Part(
        twin, "the default tests over the AVX-512 and AMX kernels, in software where it must be",
        40, "the C++ programs over them",
    ),
    "fuzz": Part(
        fuzz, "a million calls of the bindings with wrong arguments", 20, "two minutes of them"
    ),
    "fuzz-sanitized": Part(
        fuzz_sanitized, "a million of them under ASan and UBSan", 30, "none of them"
    ),
    "strange": Part(
        strange, "a million calls of the public API with strange arguments", 12, "80,000 of them"
    ),
    "cuda": Part(
        cuda, "the CUDA kernels by nvcc and NVRTC, and the wheel that has them", 25,
        "the tables' own tests",
    ),
    "cuda-cupy": Part(
        cuda_cupy, "CuPy itself, where there is no card: each op's calls, without their values", 5,
        "the stand-in, held against CuPy's names",
    ),
    "cuda-sanitized": Part(
        cuda_sanitized, "the CUDA kernels on the simulated device, under ASan and UBSan", 30,
        "the simulator's own programs",
    ),
    "mutate": Part(
        mutate, "the share of some sixty seeded bugs that the tests catch", 120, "none of them"
    ),
}  # fmt: skip


def listed() -> str:
    lines = [f"{'part':<16} {'minutes':>7}  what (in the gate)"]
    for name, part in PARTS.items():
        lines.append(f"{name:<16} {part.minutes:>7}  {part.what} ({part.gate})")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="all of them where none is named")
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build/full", help="where builds and copies stand"
    )
    options = parser.parse_args(argv)
    if options.list:
        print(listed())
        return 0
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; --list names them")
    results = []
    for name in options.parts or PARTS:
        start, word = time.monotonic(), "ok"
        print(f"\n=== {name}: {PARTS[name].what}", flush=True)
        try:
            PARTS[name].run(options.work.resolve(), options.seed)
        except Failed as reason:
            word = f"FAILED: {reason}"
        took = (time.monotonic() - start) / 60
        results.append(f"{name:<16} {took:6.1f} min of some {PARTS[name].minutes}  {word}")
    print("", *results, sep="\n")
    return int(any("FAILED" in line for line in results))


if __name__ == "__main__":
    sys.exit(main())
