"""What attention does to scores: the arguments that its engines share."""

from __future__ import annotations

from typing import Any, NamedTuple

UNBOUNDED = 2**60  # an edge of the window that hides nothing


class ScoreRule(NamedTuple):
    """What stands between products and weights, in the order of an engine's arguments.

    bias (B or 1, H or 1, L or 1, S or 1) and slopes (H,), or None; query i sees the keys from
    i + diagonal - left to i + diagonal + right; p, seed and call are the dropout's.

    >>> ScoreRule(None, 0.5, 0.0, None, 0, UNBOUNDED, 0, 0.0, 0, 0).hides
    True
    """

    bias: Any
    scale: float
    softcap: float
    slopes: Any
    diagonal: int
    left: int
    right: int
    p: float
    seed: int
    call: int

    @property
    def hides(self) -> bool:
        """Whether some scores may count for nothing."""
        return self.bias is not None or self.left < UNBOUNDED or self.right < UNBOUNDED
