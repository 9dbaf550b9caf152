"""What a case asks of a card: products, the arithmetic beside them, and bytes.

A case counts its products and the bytes that must move at least once (testing/case.py). Ops that
memory alone bounds count no arithmetic there; here they have what their kernels do to each number
that they read or write, so that every kernel has its place in a roofline. A fused multiply-add is
two operations, an exponential, logarithm, error function or square root the instructions that it
becomes: about 8, 8, 16 and 4 in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tilework.benchmarks.results import Row

# Operations for each element read or written, forward. A pass of 3 elements for one addition has
# 1/3; softmax reads one and writes one for a maximum, a difference, an exponential, a sum and a
# product.
_PER_ELEMENT: dict[str, float] = {
    "add": 1 / 3,
    "gelu": 20 / 2,  # an error function, and four beside it
    "bias_relu": 2 / 2,
    "pow": 20 / 2,  # a logarithm, an exponential, a product
    "to": 1 / 2,
    "swiglu": 12 / 3,
    "geglu": 21 / 3,
    "cumsum": 1 / 2,
    "sum": 1.0,
    "softmax": 12 / 2,
    "log_softmax": 12 / 2,
    "batch_norm": 8 / 3,  # read twice: the moments, then the result
    "group_norm": 8 / 3,
    "instance_norm": 8 / 3,
    "layer_norm": 8 / 2,
    "rms_norm": 6 / 2,
    "cross_entropy": 12.0,
    "smooth_l1_loss": 5 / 2,
    "ctc_loss": 24.0,
    "clip_grad_norm_": 3 / 3,
    "dropout": 12 / 2,  # Philox: forty instructions for four numbers
    "max_pool2d": 9 / 2,
    "avg_pool2d": 9 / 2,
    "max_pool1d": 3 / 2,
    "adaptive_avg_pool2d": 1.0,
    "adaptive_max_pool2d": 1.0,
    "interpolate": 7 / 2,
}
# What moves, sorts or chooses numbers.
MOVING: frozenset[str] = frozenset((
    "contiguous", "cat", "sort", "topk", "index", "embedding", "pixel_shuffle",
))  # fmt: skip

# The unit that computes float32's products at each precision, and that of the stored dtypes.
_FLOAT32_UNITS = {"highest": "float32", "high": "tf32", "medium": "bfloat16"}
_SIZES = {"float64": 8.0, "float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Work:
    """What is to be done, at least.

    Attributes:
        products: Operations of matrix products and their like.
        arithmetic: Operations of CUDA cores beside them.
        bytes: To and from the card's memory.
        unit: Which of a card's peaks the products run against.
        plain: Which the arithmetic does.
    """

    products: float
    arithmetic: float
    bytes: float
    unit: str
    plain: str

    @property
    def operations(self) -> float:
        return self.products + self.arithmetic

    @property
    def intensity(self) -> float:
        """Operations a byte; 0 for what only moves."""
        return self.operations / self.bytes if self.bytes else 0.0


class Moved(NamedTuple):
    """Bytes of a case's inputs, to the device, and of its answer, back."""

    to_device: float
    to_host: float


def work(row: Row, precision: str = "highest") -> Work:
    """A row's work, with the model's arithmetic where the case counts no products."""
    unit = _FLOAT32_UNITS[precision] if row.dtype == "float32" else row.dtype
    elements = row.bytes / _SIZES[row.dtype]
    arithmetic = 0.0 if row.flops else _PER_ELEMENT.get(row.op, 0.0) * elements
    plain = "float64" if row.dtype == "float64" else "float32"
    return Work(row.flops, arithmetic, row.bytes, unit, plain)


def modelled(op: str, flops: float) -> bool:
    """Whether a case's work is known: it counts products, or its op stands in a table here."""
    return flops > 0 or op in MOVING or op in _PER_ELEMENT
