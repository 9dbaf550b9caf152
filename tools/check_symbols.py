#!/usr/bin/env python3
"""Fails where an object built for one ISA defines a weak symbol outside its own namespace.

The linker keeps one copy of a weak symbol (an inline function, a template's instance) out of all
the objects that define it. Were that copy one built for AVX-512, baseline code would die by an
illegal instruction on a machine that lacks it. So whatever kernels/<family>/<isa>.cc instantiates
must stand in tilework::<isa>, where nobody else looks for it.

    python tools/check_symbols.py [--self-test] BUILD_FOLDER

reads each object of an ISA file there; --self-test first shows that seeded symbols are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ISAS = ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon")
OBJECT = re.compile(rf"/kernels/[^/]+/({'|'.join(ISAS)})(_[^/]*)?\.cc\.o$")
WEAK = frozenset("WVu")  # nm's letters of weak functions, weak objects and unique globals


def belongs_to(mangled: str, isa: str) -> bool:
    """Whether a mangled name is of tilework::<isa>: itself, a local of it (Z), a guard of its
    statics (GV), or its vtable and type information (TV, TT, TI, TS)."""
    scope = f"8tilework{len(isa)}{isa}"
    return re.match(rf"_Z(GV|T[VTIS])?Z*N[rVKRO]*{scope}", mangled) is not None


def isa_objects(build: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(build.rglob("*.cc.o")):
        if match := OBJECT.search(path.as_posix()):
            yield path, match[1]


def strays(path: Path, isa: str) -> list[str]:
    """The mangled names of the weak symbols that `path` defines outside tilework::<isa>."""
    listing = run("nm", "--defined-only", "--format=posix", str(path))
    symbols = [line.split()[:2] for line in listing.splitlines()]
    if any(name.startswith("__gnu_lto_") for name, _ in symbols):
        raise SystemExit(f"{path}: holds no machine code yet (-flto): build it without")
    return [name for name, kind in symbols if kind in WEAK and not belongs_to(name, isa)]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def check(build: Path) -> int:
    objects = list(isa_objects(build))
    if not objects:
        print(f"{build}: no object of an ISA file there; expected a build folder", file=sys.stderr)
        return 1
    failures = 0
    for path, isa in objects:
        if names := strays(path, isa):
            failures += 1
            print(f"{path}: weak symbols outside tilework::{isa}:", file=sys.stderr)
            for name in run("c++filt", *names).splitlines():
                print(f"    {name}", file=sys.stderr)
    if not failures:
        print(f"{len(objects)} objects of ISA files: no weak symbol outside its namespace")
    return 1 if failures else 0


CLEAN = """
namespace tilework::avx2 {
template <class T> __attribute__((noinline)) T twice(T x) { return x + x; }
struct Base { virtual ~Base() {} };
template <class T> struct Weak : Base { static inline T value = T(); };
float use(float x) { static Weak<float> local; return twice(x) + local.value; }
inline int counter() { static int count = twice(1); return ++count; }
int count() { return counter(); }
}
"""
# The first names the namespace, but only as an argument: the vector is everybody's.
SEEDED = {
    "a vector of the ISA's own type": """
#include <vector>
namespace tilework::avx2 {
struct Tile { float x; };
void grow(std::vector<Tile>& v) { v.push_back(Tile{1.0f}); }
}
""",
    "a namespace that only begins alike": """
namespace tilework::avx2x { template <class T> __attribute__((noinline)) T f(T x) { return x; } }
float use(float x) { return tilework::avx2x::f(x); }
""",
    "an inline function of tilework itself": """
namespace tilework { __attribute__((noinline)) inline int shared(int x) { return x * x; } }
int use(int x) { return tilework::shared(x); }
""",
}


def self_test() -> int:
    def is_caught(source: str) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder, "kernels", "seeded")
            place.mkdir(parents=True)
            (place / "avx2.cc").write_text(source)
            compiler = os.environ.get("CXX", "c++")
            # Unoptimised, so that nothing is inlined away.
            command = [compiler, "-std=c++20", "-O0", "-c", "avx2.cc", "-o", "avx2.cc.o"]
            subprocess.run(command, cwd=place, check=True)
            return any(strays(path, isa) for path, isa in isa_objects(Path(folder)))

    wrong = [name for name, source in SEEDED.items() if not is_caught(source)]
    if is_caught(CLEAN):
        wrong.append("clean code")
    for name in wrong:
        print(f"self-test: the wrong verdict on {name}", file=sys.stderr)
    print(f"self-test: {'failed' if wrong else 'the seeded symbols are caught'}")
    return 1 if wrong else 0


def main(description: str, self_test: Callable[[], int], check: Callable[[Path], int]) -> int:
    """The command line of a check of a build folder."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("build", nargs="?", type=Path, help="a build folder")
    parser.add_argument("--self-test", action="store_true", help="check the checker")
    options = parser.parse_args()
    if not options.self_test and options.build is None:
        parser.error("expected a build folder or --self-test")
    status = self_test() if options.self_test else 0
    return status or (check(options.build) if options.build else 0)


if __name__ == "__main__":
    sys.exit(main(__doc__, self_test, check))
