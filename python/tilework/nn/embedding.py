"""Tables of rows that are looked up by number."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.autograd import no_grad
from tilework.dtypes import float32
from tilework.errors import error
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor


class _Table(Module):
    """What Embedding and EmbeddingBag share: the rows, and what is done to them."""

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Tensor | None,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise error(
                    ValueError, name, f"padding_idx within {num_embeddings} rows", padding_idx,
                    "name one of them",
                )  # fmt: skip
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        shape = (num_embeddings, embedding_dim)
        if weight is None:
            self.weight = Parameter(F.empty(*shape, dtype=dtype))
            self.reset_parameters()
            return
        if weight.shape != shape:
            raise error(ValueError, name, f"a weight {shape}", weight.shape, "match the sizes")
        self.weight = Parameter(weight)

    def reset_parameters(self) -> None:
        """Draws the rows anew: normal, zeros in the row of padding."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def _holding(cls, embeddings: Tensor, freeze: bool, **options: Any) -> Any:
        if embeddings.ndim != 2:
            raise error(
                ValueError, "from_pretrained", "embeddings (rows, columns)", embeddings.shape,
                "reshape them",
            )  # fmt: skip
        make: Any = cls
        layer = make(*embeddings.shape, _weight=embeddings, **options)
        layer.weight.requires_grad_(not freeze)
        return layer

    def extra_repr(self) -> str:
        """The sizes, and what is not as usual, as PyTorch prints them."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        usual = {"padding_idx": None, "max_norm": None, "norm_type": 2.0,
                 "scale_grad_by_freq": False, "sparse": False}  # fmt: skip
        for name, value in usual.items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text


class Embedding(_Table):
    """F.embedding with rows of its own: `weight` (num_embeddings, embedding_dim), drawn normal.

    The row `padding_idx` begins as zeros and gets no gradient. IndexError on numbers that are not
    in the table.

    >>> nn.Embedding(10, 3)(tw.tensor([[1, 2], [4, 5]])).shape
    (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq,
            sparse, _weight, dtype,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, **options: Any
    ) -> Embedding:
        """A layer that holds `embeddings` (rows, columns), which do not learn where `freeze`."""
        layer: Embedding = cls._holding(embeddings, freeze, padding_idx=padding_idx, **options)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        """input (any shape, integers) to (*input.shape, embedding_dim)."""
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.sparse,
        )  # fmt: skip


class EmbeddingBag(_Table):
    """F.embedding_bag with rows of its own: the mean, sum or maximum of each bag's.

    >>> nn.EmbeddingBag(10, 3)(tw.tensor([1, 2, 4]), tw.tensor([0, 2])).shape
    (2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq,
            sparse, _weight, dtype,
        )  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, **options: Any
    ) -> EmbeddingBag:
        """A layer that holds `embeddings` (rows, columns), which do not learn where `freeze`."""
        layer: EmbeddingBag = cls._holding(embeddings, freeze, **options)
        return layer

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """input (bags, size), or (N,) with offsets, to (bags, embedding_dim)."""
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The sizes, and what is not as usual, as PyTorch prints them."""
        return f"{super().extra_repr()}, mode={self.mode!r}"
