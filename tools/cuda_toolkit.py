"""Where NVIDIA's compiler is: PyPI's wheels (pip install --group cuda-build), or the system's."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ARCHITECTURES = ("80", "90a", "100")


class Refused(Exception):
    """What a check found wrong, as a person reads it."""


def run(*command: str | Path, **options: Any) -> str:
    """What a command prints. Refused, with all of that, where it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise Refused(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Compiled:
    """A kernel as ptxas leaves it, for one architecture."""

    name: str
    architecture: str
    registers: int
    shared: int  # bytes, static
    threads: int  # the most that a block has
    spilled: int  # bytes that it stores
    instructions: frozenset[str]  # those of its machine code


@dataclass(frozen=True)
class Toolkit:
    """A folder with bin/nvcc, bin/cuobjdump and include/cuda_runtime.h."""

    root: Path

    def version(self) -> str:
        """The compiler's: "13.5"."""
        found = re.search(r"release (\d+\.\d+)", run(self.root / "bin/nvcc", "--version"))
        return found[1] if found else ""

    def compiled(self, text: str, architecture: str) -> list[Compiled]:
        """The kernels of a source. Refused where nvcc has so much as a warning."""
        with tempfile.TemporaryDirectory() as folder:
            unit = Path(folder, "kernels.cu")
            unit.write_text(text)
            cubin = unit.with_suffix(".cubin")
            told = run(
                self.root / "bin/nvcc", "-std=c++20", "-cubin", f"-arch=sm_{architecture}",
                f"-I{ROOT / 'csrc'}", "-Werror", "all-warnings", "-Xptxas", "-v", "--keep",
                "--keep-dir", folder, "-o", cubin, unit,
            )  # fmt: skip
            threads = dict(_threads(unit.with_suffix(".ptx").read_text()))
            code = dict(_code(run(self.root / "bin/cuobjdump", "-sass", cubin)))
        return [
            Compiled(name, architecture, registers, shared, threads[name], spilled, code[name])
            for name, registers, shared, spilled in _used(told)
        ]

    def code(self, text: str, architecture: str, *options: str) -> str:
        """The machine code of a source, instruction by instruction."""
        with tempfile.TemporaryDirectory() as folder:
            unit = Path(folder, "kernels.cu")
            unit.write_text(text)
            cubin = unit.with_suffix(".cubin")
            run(
                self.root / "bin/nvcc", "-std=c++20", "-cubin", f"-arch=sm_{architecture}",
                f"-I{ROOT / 'csrc'}", *options, "-o", cubin, unit,
            )  # fmt: skip
            return re.sub(r"/\*.*?\*/", "", run(self.root / "bin/cuobjdump", "-sass", cubin))


def find(given: Path | None = None) -> Toolkit:
    """The toolkit in `given`, else PyPI's of this Python, else the system's."""
    for root in [given] if given else _candidates():
        if all((root / "bin" / name).is_file() for name in ("nvcc", "cuobjdump")):
            return Toolkit(root)
    raise Refused(
        "no nvcc with cuobjdump: pip install --group cuda-check, or name its folder by --cuda"
    )


def _candidates() -> Iterator[Path]:
    try:
        import nvidia  # type: ignore[import-not-found]  # a namespace of wheels

        for place in nvidia.__path__:
            yield from sorted(Path(place).glob("cu*"), reverse=True)
    except ImportError:
        pass
    if found := shutil.which("nvcc"):
        yield Path(found).resolve().parent.parent
    yield Path("/usr/local/cuda")


def _threads(ptx: str) -> Iterator[tuple[str, int]]:
    for name, body in re.findall(r"\.entry (\w+)\((.*?)\{", ptx, re.DOTALL):
        numbers = re.search(r"\.maxntid (\d+)(?:, (\d+), (\d+))?", body)
        yield name, int(numbers[1]) * int(numbers[2] or 1) * int(numbers[3] or 1) if numbers else 0


def _code(sass: str) -> Iterator[tuple[str, frozenset[str]]]:
    for part in sass.split("Function : ")[1:]:
        name, body = part.split(None, 1)
        found = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", body)
        yield name, frozenset(found)


def _used(told: str) -> Iterator[tuple[str, int, int, int]]:
    for part in told.split("Compiling entry function '")[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        spilled = re.search(r"(\d+) bytes spill stores", part)
        shared = re.search(r"(\d+) bytes smem", part)
        assert registers
        assert spilled
        name = part.split("'", 1)[0]
        yield name, int(registers[1]), int(shared[1]) if shared else 0, int(spilled[1])
