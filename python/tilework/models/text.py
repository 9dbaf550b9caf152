"""Tokenizers beside published weights, and tokens as text while they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilework.errors import error
from tilework.models.gguf import package
from tilework.models.gguf import read_tokenizer as read_from_gguf
from tilework.models.pretrained import read_json

_UNFINISHED = "\ufffd"  # what stands for bytes that are no whole character


def read_tokenizer(source: Path) -> tuple[Any, list[int]]:
    """The tokenizer in a folder or a GGUF file, and the tokens that end a text.

    FileNotFoundError where there is none, ImportError where the package tokenizers is missing.
    """
    if source.is_file():
        return read_from_gguf(source)
    tokenizers = package("tokenizers", "text")
    file = source / "tokenizer.json"
    if not file.is_file():
        raise error(
            FileNotFoundError, "generate", "a folder with tokenizer.json, or a .gguf file",
            f"no {file}", "save the tokenizer beside the weights",
        )  # fmt: skip
    ends = read_json(source / "config.json").get("eos_token_id")
    if (source / "generation_config.json").is_file():
        ends = read_json(source / "generation_config.json").get("eos_token_id", ends)
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    return tokenizers.Tokenizer.from_file(str(file)), ends


class Pieces:
    """Tokens that come one by one, as pieces of text that only hold whole characters."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        """`before` are the tokens that are there already: a space may depend on them."""
        self._tokenizer = tokenizer
        self._tokens = list(before)
        self._said = tokenizer.decode(self._tokens)

    def add(self, token: int) -> str:
        """What this token makes certain."""
        self._tokens.append(token)
        text = self._tokenizer.decode(self._tokens)
        return "" if text.endswith(_UNFINISHED) else self._new(text)

    def rest(self) -> str:
        """What is left at the end."""
        return self._new(self._tokenizer.decode(self._tokens))

    def _new(self, text: str) -> str:
        piece, self._said = text[len(self._said) :], text
        return piece
