"""Docstrings as the documentation site shows them: examples as code, F.name as a link.

Griffe, which reads the docstrings for mkdocstrings, calls it by zensical.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

# A doctest up to the blank line that ends it.
EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.M)


def fenced(text: str) -> str:
    """`text` with each doctest in a fence of its own, and the rest without Markdown's emphasis."""
    pieces, end = [], 0
    for found in EXAMPLE.finditer(text):
        indent = found[1]
        pieces.append(plain(text[end : found.start()]))
        pieces.append(f"\n{indent}```pycon\n{found[0]}\n{indent}```\n")
        end = found.end()
    return "".join([*pieces, plain(text[end:])])


def plain(text: str) -> str:
    """What Markdown would read as emphasis, a link or a tag, outside of backticks, as it stands."""
    parts = re.split(r"(`+[^`]*`+)", text)
    parts[::2] = [re.sub(r"([*<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def linked(text: str, functions: set[str]) -> str:
    """`text` with a link at each F.name that there is, outside of examples."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        known = name in functions
        return f"[`F.{name}`][tilework.functional.{name}]" if known else found[0]

    parts = re.split(r"(```pycon\n.*?```|`[^`\n]*`)", text, flags=re.S)
    parts[::2] = [re.sub(r"\bF\.(\w+)", link, part) for part in parts[::2]]
    return "".join(parts)


def objects(found: Any) -> Iterator[Any]:
    """All that a module or a class holds itself, at any depth."""
    for member in found.members.values():
        if not member.is_alias:
            yield member
            yield from objects(member)


def uncover(package: griffe.Module, names: set[str]) -> None:
    """A function that has the name of a file is the function, as the package's import has it."""
    files = dict(package.members)
    for name in names & set(files):
        if not files[name].is_alias and files[name].is_module:
            file, found = package.imports[name].split(".")[-2:]
            if file in files:  # not where the file itself is what is public
                function = files[file].members[found]
                package.members[name] = griffe.Alias(name, function, parent=package)


class Docstrings(griffe.Extension):
    """Changes the docstrings of the package once it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Modules lose theirs (each group on a page would repeat it), all else is made Markdown."""
        functions = {str(name) for name in pkg["functional"].exports or ()}
        methods = pkg["tensor.Tensor"].members
        for name, method in methods.items():
            if method.docstring is None and name in functions:
                method.docstring = griffe.Docstring(f"F.{name} of this tensor.", parent=method)
        for found in objects(pkg["functional"]):
            if found.is_attribute and found.name in functions and found.docstring is None:
                found.docstring = griffe.Docstring(
                    f"F.{found.value} by another name.", parent=found
                )
        for found in objects(pkg):
            if found.is_module:
                found.docstring = None
            elif found.docstring is not None:
                found.docstring.value = linked(fenced(found.docstring.value), functions)
        pkg.docstring = None
        uncover(pkg["functional"], functions)
        for package in ("data", "models"):
            uncover(pkg[package], {str(name) for name in pkg[package].exports or ()})
