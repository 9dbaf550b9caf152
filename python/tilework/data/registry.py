"""Data by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilework.data.photographs import photographs
from tilework.data.series import co2, sunspots
from tilework.data.sources import digits, fashion_mnist, nuclei
from tilework.data.speech import spoken_numbers
from tilework.data.tables import breast_cancer, diabetes, wine
from tilework.data.text import world_english_bible
from tilework.data.utterances import japanese_vowels
from tilework.errors import error, word

SOURCES: dict[str, Callable[[], Any]] = {
    "breast-cancer": breast_cancer,
    "co2": co2,
    "diabetes": diabetes,
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "japanese-vowels": japanese_vowels,
    "nuclei": nuclei,
    "photographs": photographs,
    "spoken-numbers": spoken_numbers,
    "sunspots": sunspots,
    "wine": wine,
    "world-english-bible": world_english_bible,
}


def source(name: str) -> Any:
    """Data by its name in SOURCES, which has room for your own: a function that reads them.

    ValueError where there is none of that name; where they are not installed, the error of the
    function, which says how to get them.

    >>> source("digits").name
    'digits'
    """
    if name not in SOURCES:
        raise error(
            ValueError, "data.source", f"data of {', '.join(SOURCES)}", str(word(name)), "name one"
        )
    return SOURCES[name]()
