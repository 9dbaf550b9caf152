"""Linear-chain conditional random fields as a layer."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.dtypes import float32
from tilework.errors import error, word
from tilework.functional.common import whole
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor

_REDUCTIONS = ("none", "sum", "mean", "token_mean")


class CRF(Module):
    """The likelihood of tags under scores of each tag at each place and of each tag after another.

    Names, shapes and rules are those of the package pytorch-crf: parameters `start_transitions`,
    `end_transitions` (C,) and `transitions` (C, C), from a tag to the next, uniform in [-0.1, 0.1].
    ValueError where num_tags is not above 0.

    >>> crf = nn.CRF(5, batch_first=True)
    >>> emissions, tags = tw.zeros(2, 3, 5), tw.tensor([[0, 1, 2], [4, 4, 0]])
    >>> loss = -crf(emissions, tags, mask=tw.tensor([[1, 1, 1], [1, 1, 0]]), reduction="mean")
    >>> [len(tags) for tags in crf.decode(emissions)]
    [3, 3]
    """

    def __init__(self, num_tags: int, batch_first: bool = False, *, dtype: Any = float32) -> None:
        super().__init__()
        self.num_tags = whole("CRF", "num_tags", num_tags)
        if self.num_tags < 1:
            raise error(ValueError, "CRF", "num_tags from 1", num_tags, "raise it")
        self.batch_first = batch_first
        self.start_transitions = Parameter(F.empty(self.num_tags, dtype=dtype))
        self.end_transitions = Parameter(F.empty(self.num_tags, dtype=dtype))
        self.transitions = Parameter(F.empty(self.num_tags, self.num_tags, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        for p in self.parameters():
            init.uniform_(p, -0.1, 0.1)

    def _rows(self, x: Tensor | None) -> Tensor | None:
        """With the batch first."""
        if x is None or self.batch_first or not isinstance(x, Tensor) or x.ndim < 2:
            return x
        return x.transpose(0, 1)

    def _scores(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.transitions, self.start_transitions, self.end_transitions

    def forward(
        self,
        emissions: Tensor,
        tags: Tensor,
        mask: Tensor | None = None,
        reduction: str = "sum",
    ) -> Tensor:
        """The log likelihood, not its negative: of emissions (L, N, C) and tags (L, N), or
        with batch_first N before.

        `mask` (L, N) is on from each sequence's first place to its last. `reduction` is "none",
        "sum", "mean" over the sequences or "token_mean" over what the mask leaves of their places.
        """
        if reduction not in _REDUCTIONS:
            raise error(
                ValueError, "CRF", f"reduction of {', '.join(_REDUCTIONS)}", word(reduction),
                "name one of them",
            )  # fmt: skip
        x, names, on = self._rows(emissions), self._rows(tags), self._rows(mask)
        found: Tensor = F.crf_log_likelihood(x, names, *self._scores(), mask=on)  # type: ignore[arg-type]
        if reduction == "none":
            return found
        if reduction == "mean":
            return found.mean()
        places = tags.numel() if mask is None else (mask != 0).sum()
        return found.sum() / places if reduction == "token_mean" else found.sum()

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """The likeliest tags of each sequence, as long as it is."""
        x, on = self._rows(emissions), self._rows(mask)
        return F.crf_decode(x, *self._scores(), mask=on)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}"
