"""Seeds bugs one at a time, and says which of them the default tests catch.

    python tools/mutate.py                    all of tools/mutations.py: an hour or two on two cores
    python tools/mutate.py --only pool norm   those whose names have one of these words
    python tools/mutate.py --list

Each bug is one line of the sources, changed in a copy of the tree (--work, kept: a second run
builds what changed alone), whose extension is built at -O1. First its likeliest test files run; a
bug that these let live meets the whole default selection. It is caught by a test that fails, by a
crash, and by a run without end. What lives is named; the exit says whether fewer than 95 % are
caught. An interrupted run goes on where it was while the sources are the same.

CMake, Ninja, pybind11 and the tests' own needs must be installed (CONTRIBUTING.md, Set-up).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
NEEDED = 0.95
LIMIT_SECONDS = 1800.0  # of one run of tests


def copy_tree(work: Path) -> str:
    """The sources, where they differ from what is there: an untouched file keeps its time.

    What they hold, as a digest.
    """
    digest = hashlib.sha256()
    for part in (
        "CMakeLists.txt",
        "CMakePresets.json",
        "pyproject.toml",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "docs",
        "tools",
        ".ci",
        "csrc",
        "python",
        "tests",
        "benchmarks",
    ):
        source = ROOT / part
        files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
        for file in sorted(files):
            name = file.relative_to(ROOT)
            if file.suffix in (".so", ".pyc") or file.is_symlink() or part_of_link(file):
                continue
            content = file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
            target = work / name
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    for name in ("tests", "benchmarks"):
        link = work / "python/tilework" / name
        if not link.exists():
            link.symlink_to(work / name)
    return digest.hexdigest()


class Verdicts:
    """What was found for these sources so far, kept in a file beside them.

    "" is the verdict of a bug that lives; the sound tree's is kept under the name "".
    """

    def __init__(self, file: Path, sources: str) -> None:
        self.file = file
        self.found: dict[str, str] = {}
        self.sources = sources
        if file.exists():
            kept = json.loads(file.read_text())
            if kept["sources"] == sources:
                self.found = kept["found"]

    def put(self, name: str, verdict: str) -> None:
        self.found[name] = verdict
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps({"sources": self.sources, "found": self.found}, indent=1))
        beside.replace(self.file)


def part_of_link(file: Path) -> bool:
    """Whether a folder on the way is a link, as a checkout's python/tilework/tests may be."""
    return any(p.is_symlink() for p in file.parents if ROOT in p.parents)


def build(work: Path) -> str:
    """Builds the copy's extension in place; the compiler's complaint, or nothing."""
    folder = work / "build/mutate"
    if not (folder / "build.ninja").exists():
        run_or_die([
            "cmake", "-S", str(work), "-B", str(folder), "-G", "Ninja",
            "-DCMAKE_BUILD_TYPE=Mutate", "-DCMAKE_CXX_FLAGS_MUTATE=-O1 -DNDEBUG -w",
        ])  # fmt: skip
    steps = (
        ["cmake", "--build", str(folder)],
        ["cmake", "--install", str(folder), "--prefix", str(work / "python")],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stdout[-2000:] + done.stderr[-2000:]
    return ""


def run_or_die(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def verdict(work: Path, tests: tuple[str, ...]) -> str:
    """What caught the bug among these test files, or among all where none is named; or nothing."""
    where = [str(work / "tests" / name) for name in tests] or [str(work / "tests")]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-m",  # a busy machine fails what measures time, and would seem to catch whatever is seeded
        "not alone",
        *where,
    ]
    environment = {**os.environ, "PYTHONPATH": str(work / "python")}
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, check=False,
            timeout=LIMIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "a run without end"
    if done.returncode == 0:
        return ""
    if done.returncode != 1:
        said = done.stderr.strip().splitlines()[-1:] or ["a crash"]
        return f"pytest ended with {done.returncode}: {said[0]}"
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0].split(" - ")[0].rsplit("/", 1)[-1] if failed else "a failure"


def tried(mutation: Mutation, work: Path) -> str:
    """What catches a bug; nothing where it lives."""
    file = work / mutation.file
    sound = file.read_text()
    if sound.count(mutation.line) != 1:
        sys.exit(f"{mutation.name}: its line is there {sound.count(mutation.line)} times, not once")
    file.write_text(sound.replace(mutation.line, mutation.bug))
    try:
        complaint = build(work)  # of a bug in Python too: the one before it may be compiled in
        if complaint:
            sys.exit(f"{mutation.name}: does not compile:\n{complaint}")
        return verdict(work, mutation.tests) or verdict(work, ())
    finally:
        file.write_text(sound)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", default=[], help="bugs whose names have one of these"
    )
    parser.add_argument("--list", action="store_true", help="name the bugs and end")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build/mutate-tree", help="where the copy stands"
    )
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if not options.only or any(w in m.name for w in options.only)]
    if options.list:
        print(*(f"{m.name:<52} {m.file}" for m in chosen), sep="\n")
        return 0
    verdicts = Verdicts(options.work / "verdicts.json", copy_tree(options.work))
    if "" not in verdicts.found:
        complaint = build(options.work)
        if complaint:
            sys.exit(complaint)
        if failing := verdict(options.work, ()):
            sys.exit(f"{failing} without any bug: it would seem to catch all of them")
        verdicts.put("", "")
    alive = []
    for i, mutation in enumerate(chosen, 1):
        start = time.monotonic()
        if mutation.name not in verdicts.found:
            verdicts.put(mutation.name, tried(mutation, options.work))
        caught = verdicts.found[mutation.name]
        if not caught:
            alive.append(mutation.name)
        took = f"{time.monotonic() - start:6.0f} s"
        print(f"{i:>3}/{len(chosen)} {mutation.name:<52} {took}  {caught or 'LIVES'}", flush=True)
    caught_count = len(chosen) - len(alive)
    share = caught_count / max(1, len(chosen))
    print(f"{caught_count} of {len(chosen)} caught, {share:.0%}; {NEEDED:.0%} and more is wanted")
    return int(share < NEEDED)


if __name__ == "__main__":
    sys.exit(main())
