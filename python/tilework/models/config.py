"""What the configurations of the transformers share: they are read from a config.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from tilework.errors import error, word

C = TypeVar("C", bound="Config")


@dataclasses.dataclass(frozen=True)
class Config:
    """The base of a model's configuration: fields by Hugging Face's names, with their defaults."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """ValueError where the model cannot be built like that."""

    @classmethod
    def from_config(cls: type[C], config: Mapping[str, Any]) -> C:
        """A configuration of what a config.json holds; what it says beyond the fields is ignored.

        ValueError where the file asks for another model than ours computes.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in config.items() if name in names})

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses another value of a field than those that the model computes."""
        value = getattr(self, name)
        if value not in allowed:
            raise error(
                ValueError, type(self).__name__,
                f"{name} of {', '.join(str(word(a)) for a in allowed)}", str(word(value)),
                "no other is computed here",
            )  # fmt: skip

    def divides(self, part: str, whole: str) -> None:
        """Refuses a number of heads that does not divide a width."""
        a, b = getattr(self, part), getattr(self, whole)
        if a < 1 or b % a:
            raise error(
                ValueError, type(self).__name__, f"{part} that divides {whole}", f"{a} and {b}",
                "choose a divisor",
            )  # fmt: skip


def check_ids(op: str, ids: Any, vocab_size: int) -> None:
    """Refuses what is no (N, S) of token ids below `vocab_size`."""
    if ids.ndim != 2:
        raise error(
            ValueError,
            op,
            "token ids (N, S)",
            tuple(ids.shape),
            "add an axis with ids.unsqueeze(0)",
        )
    if ids.shape[0] * ids.shape[1] and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise error(
            IndexError, op, f"token ids from 0 to {vocab_size - 1}",
            f"{int(ids.min())} to {int(ids.max())}", "take the tokenizer of these weights",
        )  # fmt: skip


def check_length(op: str, length: int, limit: int) -> None:
    """Refuses more tokens than there are positions."""
    if length > limit:
        raise error(
            ValueError, op, f"at most {limit} tokens, those in the cache counted", length,
            "cut the text, or take a model of more positions",
        )  # fmt: skip
