"""What each engine has of the contract, read from its source: the page docs/gpu-parity.md.

    python -m tilework.testing.parity > docs/gpu-parity.md

Nothing is imported but the source: neither Numba nor CuPy nor a GPU need be here.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tilework
from tilework import engines

ROOT = Path(tilework.__file__).parent
KERNEL, SOME, ARRAYS, MISSING = "kernel", "kernel, arrays", "arrays", "missing"
# A plan launches a kernel; Numba compiles what these decorate.
_LAUNCH = ("tilework.engines.cuda.launch", "launch")
_COMPILES = frozenset(("jit", "elementwise", "vectorize"))
_NEED_NONE = frozenset(("pack_weight", "pack_conv_weight", "expand"))  # hold or show what is there
_ARRAYS = "tilework.engines.cupy"  # what serves where the cuda engine has no kernel

Place = tuple[str, str]  # a module and a name in it


class Source:
    """A module's definitions, what they name, and where names come from."""

    def __init__(self, text: str) -> None:
        self.defined: dict[str, list[ast.AST]] = {}
        self.imported: dict[str, Place] = {}
        self.starred: list[str] = []
        self.offered: list[str] = []
        for node in ast.parse(text).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.defined[node.name] = [node]
            elif isinstance(node, ast.ImportFrom) and node.module:
                for name in node.names:
                    if name.name == "*":
                        self.starred.append(node.module)
                    else:
                        self.imported[name.asname or name.name] = (node.module, name.name)
            elif isinstance(node, ast.Assign):
                for target in (n for t in node.targets for n in ast.walk(t)):
                    if isinstance(target, ast.Name):
                        self.defined.setdefault(target.id, []).append(node.value)
                        if target.id == "__all__":
                            self.offered = list(ast.literal_eval(node.value))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.defined[node.target.id] = [node]

    def compiles(self, name: str) -> bool:
        """Whether the definition is compiled to a kernel."""
        return any(
            isinstance(found, ast.Name) and found.id in _COMPILES
            for node in self.defined.get(name, ())
            for decorator in getattr(node, "decorator_list", ())
            for found in ast.walk(decorator)
        )

    def names(self, name: str) -> set[str]:
        """What a definition names, but for modules of which it takes a constant alone."""
        nodes = [found for node in self.defined[name] for found in ast.walk(node)]
        constants = {
            id(n.value) for n in nodes if isinstance(n, ast.Attribute) and n.attr.isupper()
        }
        return {n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in constants}


@cache
def _source(module: str) -> Source | None:
    """The source of a module of the engines; None of what is none."""
    path = ROOT.joinpath(*module.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if module.startswith("tilework.engines.") and file.is_file():
            return Source(file.read_text(encoding="utf-8"))
    return None


def _place(module: str, name: str) -> Place | None:
    """Where a name of a package is defined."""
    source = _source(module)
    if source is None:
        return None
    if name in source.imported:
        return _place(*source.imported[name]) or source.imported[name]
    for star in reversed(source.starred):
        inner = _source(star)
        if inner is not None and name in inner.offered:
            return _place(star, name)
    return (module, name) if name in source.defined else None


def _reached(start: Place) -> Iterator[Place]:
    """A definition, and all that it calls or names, within the engines."""
    seen, waiting = {start}, [start]
    while waiting:
        module, name = waiting.pop()
        yield module, name
        source = _source(module)
        if source is None or name not in source.defined:
            continue
        for other in source.names(name):
            found = (module, other) if other in source.defined else source.imported.get(other)
            if found is not None and found not in seen:
                seen.add(found)
                waiting.append(found)


def level(engine: str, function: str) -> str:
    """What an engine has of a function of the contract: KERNEL, SOME (a kernel for the usual
    dtypes and layouts, array functions for the rest), ARRAYS or MISSING.

    >>> level("cuda", "softmax_forward").startswith("kernel"), level("cupy", "softmax_forward")
    (True, 'arrays')
    """
    if engine == "native":
        stub = (ROOT / "_native.pyi").read_text(encoding="utf-8")
        return KERNEL if re.search(rf"^def {function}\(", stub, re.M) else MISSING
    place = _place(f"tilework.engines.{engine}", function)
    if place is None:
        return level("cupy", function) if engine == "cuda" else MISSING
    found = list(_reached(place))
    kernel = any(
        at == _LAUNCH or ((source := _source(at[0])) is not None and source.compiles(at[1]))
        for at in found
    )
    arrays = any(f"{module}.{name}" == _ARRAYS or module == _ARRAYS for module, name in found)
    return ARRAYS if not kernel else SOME if arrays and engine == "cuda" else KERNEL


ENGINES = ("native", "numba", "cuda", "cupy")


def families() -> dict[str, list[str]]:
    """The contract's functions by family, in the order of _native.pyi."""
    found: dict[str, list[str]] = {}
    family = ""
    for line in (ROOT / "_native.pyi").read_text(encoding="utf-8").splitlines():
        if head := re.match(r"# --- (\w+) ---", line):
            family = head[1]
        elif family and (name := re.match(r"def (\w+)\(", line)) and name[1] in engines.CONTRACT:
            found.setdefault(family, []).append(name[1])
    return found


_HEAD = """\
# What each engine has

Every engine offers the same functions (`python/tilework/_native.pyi` says what each must give), so
that no op fails for want of a kernel. What differs is how they are served:

- **kernel**: code of tilework's own: C++ in `native`, CUDA in `cuda`, compiled by Numba in `numba`
  (of products and convolutions what stands around NumPy's BLAS);
- **kernel, arrays**: a kernel for the usual dtypes and layouts, array functions for the rest;
- **arrays**: functions of the array library: NumPy's in `numba`, CuPy's in `cupy`, and what `cuda`
  takes of `cupy`;
- **missing**: an error.

`native` and `numba` serve the CPU's tensors, `cuda` those of a CUDA device, and `cupy` too, after
`tw.use_engine("cupy")`. This page is made from the source by `python -m tilework.testing.parity`,
and a test holds it to that.
"""


def page() -> str:
    """The page, in Markdown."""
    lines, to_come = [_HEAD], []
    for family, functions in families().items():
        lines.append(f"\n## {family}\n\n| function | {' | '.join(ENGINES)} |")
        lines.append("|---" * (len(ENGINES) + 1) + "|")
        for function in functions:
            levels = [level(engine, function) for engine in ENGINES]
            lines.append(f"| `{function}` | {' | '.join(levels)} |")
            if levels[ENGINES.index("cuda")] == ARRAYS and function not in _NEED_NONE:
                to_come.append(f"`{function}`")
    count = sum(len(set(names) - _NEED_NONE) for names in families().values())
    lines.append("\n## To come\n")
    told = f"Of {count} functions that compute, {count - len(to_come)} have a CUDA kernel. "
    told += f"Without one: {', '.join(to_come)}." if to_come else "None is without."
    lines.append(textwrap.fill(told, 100, break_on_hyphens=False))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
