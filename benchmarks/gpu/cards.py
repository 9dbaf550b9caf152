"""Named cards: their published peaks, and the least time that these leave for some work.

Peaks are of dense matrices, at the boost clock, with float32 accumulation: what our kernels do.
Datasheets that print figures with sparsity are halved here. PCIe is one direction's.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilework.benchmarks.gpu.work import Work

# What a call costs beside its kernel: the way through Python, the driver's queue and the card's
# front end. No datasheet has it: an assumption, named wherever it is used, and left out of the
# bounds.
LAUNCH_SECONDS = 5e-6


@dataclass(frozen=True)
class Card:
    """A card's published peaks.

    Attributes:
        name: What the column says.
        driver: What the driver calls it: others of its family (PCIe, NVL, laptops, parts of a card)
            have other peaks.
        flops: Operations a second by unit: "float64" and "float32" on CUDA cores, "tf32",
            "bfloat16" and "float16" on tensor cores.
        bandwidth: Bytes a second of its memory.
        pcie: Bytes a second of its link to the host, in one direction.
        source: Where the figures stand.
    """

    name: str
    driver: str
    flops: dict[str, float]
    bandwidth: float
    pcie: float
    source: str


CARDS: dict[str, Card] = {
    "h200": Card(
        "H200 SXM",
        "NVIDIA H200",
        {"float64": 34e12, "float32": 67e12, "tf32": 494.5e12, "bfloat16": 989.5e12,
         "float16": 989.5e12},
        4.8e12,
        64e9,
        "NVIDIA H200 Tensor Core GPU datasheet (its tensor figures, with sparsity, halved); "
        "PCIe 5.0 x16",
    ),
    "a100": Card(
        "A100 SXM 80 GB",
        "NVIDIA A100-SXM4-80GB",
        {"float64": 9.7e12, "float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12,
         "float16": 312e12},
        2.039e12,
        32e9,
        "NVIDIA A100 Tensor Core GPU datasheet; PCIe 4.0 x16",
    ),
    "rtx4090": Card(
        "GeForce RTX 4090",
        "NVIDIA GeForce RTX 4090",
        {"float64": 1.29e12, "float32": 82.6e12, "tf32": 82.6e12, "bfloat16": 165.2e12,
         "float16": 165.2e12},
        1.008e12,
        32e9,
        "NVIDIA Ada GPU architecture whitepaper, appendix A (float64: 1/64 of float32); "
        "PCIe 4.0 x16",
    ),
}  # fmt: skip


def bound(work: Work, card: Card) -> float:
    """The least seconds that `work` can take: its products, its other arithmetic (which goes
    through the CUDA cores), or its bytes, whichever takes longest."""
    return max(
        work.products / card.flops[work.unit],
        work.arithmetic / card.flops[work.plain],
        work.bytes / card.bandwidth,
    )


def roof(work: Work, card: Card) -> float:
    """Operations a second that the card allows at this work's intensity."""
    least = bound(work, card)
    return work.operations / least if least else 0.0


def transfer(moved: float, card: Card) -> float:
    """The least seconds that bytes take over PCIe."""
    return moved / card.pcie


def named(driver: str) -> str:
    """The key of the card that the driver calls so; "" where its peaks are not in the table."""
    return next((key for key, card in CARDS.items() if card.driver == driver), "")
