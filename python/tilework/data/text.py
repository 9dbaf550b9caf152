"""Text in the public domain that a package of the system ships."""

from __future__ import annotations

import html
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from tilework.errors import error

WEB_FOLDER = Path("/usr/share/sword/modules/texts/ztext/engWEB2015eb")
_JUDGED = 10  # a tenth
_BOOK = re.compile(
    r'<div canonical="true" osisID="(\w+)" sID="(\w+)" type="book"/>(.*?)<div [^>]*eID="\2"',
    re.DOTALL,
)
_APART = re.compile(
    r'<(note|title)\b[^>]*(?<!/)>.*?</\1>'
    r'|<div sID="(\w+)" type="introduction"/>.*?<div eID="\2" type="introduction"/>', re.DOTALL
)  # fmt: skip
_LINE = re.compile(r'<div sID="[^"]*" type="x-p"/>|<l level="[^"]*" sID="[^"]*"/>|<chapter [^>]*>')
_TAG = re.compile(r"<[^>]*>")
_BEFORE_MARK = re.compile(r"\s+([,.;:!?\u2019\u201d)])")


@dataclass(frozen=True)
class Text:
    """Text to learn from and, of the same kind, text to judge by."""

    name: str
    train: str
    test: str


def world_english_bible(folder: str | os.PathLike[str] = WEB_FOLDER) -> Text:
    """The World English Bible, a translation of our day in the public domain: 4.9 million
    characters, a paragraph or verse line each. The last tenth of each book is judged by.

    Read from `folder`, by default where Debian's package sword-text-web puts it; notes and headings
    are left out. FileNotFoundError where it is not installed, ValueError where a file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise error(
            FileNotFoundError, "world_english_bible", f"its files in {folder}", "no such folder",
            "sudo apt-get install sword-text-web, or give the folder",
        )  # fmt: skip
    train, test = [], []
    for testament in ("ot", "nt"):
        for book, _, markup in _BOOK.findall(_unpacked(folder, testament)):
            if not book.endswith("Gr"):  # Esther and Daniel from the Greek: much stands twice
                lines = _lines(markup)
                kept = len(lines) - len(lines) // _JUDGED
                train += lines[:kept]
                test += lines[kept:]
    return Text("world-english-bible", "\n".join(train), "\n".join(test))


def _unpacked(folder: Path, testament: str) -> str:
    """What is in a zText module: an index of offset, size and size unpacked, and zlib streams."""
    try:
        index = (folder / f"{testament}.bzs").read_bytes()
        packed = (folder / f"{testament}.bzz").read_bytes()
        places = list(struct.iter_unpack("<III", index))
        blocks = [zlib.decompress(packed[at : at + size]) for at, size, _ in places if size]
        if [len(block) for block in blocks] != [length for _, size, length in places if size]:
            raise ValueError("blocks of other lengths than the index says")
        return b"".join(blocks).decode()
    except (OSError, struct.error, zlib.error, ValueError) as reason:
        raise error(
            ValueError, "world_english_bible", "a zText module", f"{reason} in {folder}",
            "install the package sword-text-web afresh",
        ) from reason  # fmt: skip


def _lines(markup: str) -> list[str]:
    """What a reader sees of a book in OSIS, a paragraph or a line of verse each."""
    text = _TAG.sub("", _LINE.sub("\n", _APART.sub(" ", markup)))
    lines = (" ".join(line.split()) for line in html.unescape(text).split("\n"))
    return [_BEFORE_MARK.sub(r"\1", line) for line in lines if line]
