"""ESPCN, which makes photographs three times as wide and high (Shi et al. 2016).

It learns from eight photographs, and is judged by five others, beside bicubic interpolation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilework import functional as F
from tilework.data import DataLoader, Photographs, TensorDataset, TransformedDataset
from tilework.data.loader import numpy_generator
from tilework.metrics import PSNR
from tilework.tensor import Tensor
from tilework.train.recipe import Baseline, Batches, Optimisation, Outcome, Recipe

_SCALE = 3
_WINDOW, _STEP = 24, 12  # of small pixels a side, and from one to the next

Array = NDArray[np.float32]


def _resized(image: Array, height: int, width: int) -> Array:
    """By Pillow's bicubic filter, which when it shrinks has each pixel see all that it covers."""
    from PIL import Image

    made = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(made, np.float32).clip(0.0, 1.0)


def _pair(image: Array) -> tuple[Array, Array]:
    """The photograph, cut to a whole number of small pixels, and the small one, in steps of 1/255,
    as files have them."""
    height, width = (n // _SCALE for n in image.shape)
    large = image[: _SCALE * height, : _SCALE * width]
    small = np.rint(_resized(large, height, width) * 255) / np.float32(255)
    return small.astype(np.float32)[None], large[None]


def _windows(image: Array, side: int, step: int) -> Array:
    """Squares (N, 1, side, side) of an image (1, H, W)."""
    every = np.lib.stride_tricks.sliding_window_view(image, (side, side), (1, 2))
    return every[:, ::step, ::step].reshape(-1, 1, side, side)


def _turned(small: Tensor, large: Tensor) -> tuple[Tensor, ...]:
    """Both turned and mirrored in one of the eight ways."""
    across, down, swapped = numpy_generator(F.random_seed()).integers(0, 2, 3).tolist()
    flipped = [axis for axis, chosen in ((3, across), (2, down)) if chosen]
    both = [x.flip(flipped) if flipped else x for x in (small, large)]
    return tuple(x.transpose(2, 3).contiguous() if swapped else x for x in both)


def batches(photographs: Photographs, batch_size: int) -> Batches:
    """Windows of the photographs to learn from, turned as they are drawn; whole ones, each in its
    size, to judge by."""
    pairs = [_pair(image) for image in photographs.train]
    window = min(_WINDOW, *(n for small, _ in pairs for n in small.shape[1:]))
    cut = [
        np.concatenate([_windows(pair[i], scale * window, scale * _STEP) for pair in pairs])
        for i, scale in enumerate((1, _SCALE))
    ]
    train = TransformedDataset(TensorDataset(*cut), _turned)
    held_out = [_pair(image) for image in photographs.test]
    return Batches(DataLoader(train, batch_size, shuffle=True), DataLoader(held_out, 1))


def few(photographs: Photographs, count: int) -> Photographs:
    """A square of `count` pixels of one photograph of each part."""
    train, test = ((part[0][:count, :count],) for part in (photographs.train, photographs.test))
    return Photographs(train, test, photographs.names[:1])


def bicubic(photographs: Photographs) -> Baseline:
    metric = PSNR()
    for small, large in map(_pair, photographs.test):
        metric.update(_resized(small[0], *large.shape[1:])[None], large)
    return Baseline("bicubic interpolation", metric.compute())


def picture(outcome: Outcome, photographs: Photographs, path: Path) -> None:
    """A part of each photograph: by bicubic interpolation, by the network, and as it is; a PNG."""
    from PIL import Image

    rows = []
    for small, large in map(_pair, photographs.test):
        found = outcome.trainer.predict(small[None]).numpy()[0, 0].clip(0.0, 1.0)
        middle = tuple(slice(max(0, n // 2 - 75), n // 2 + 75) for n in found.shape)
        ways = (_resized(small[0], *found.shape), found, large[0])
        rows.append(np.concatenate([way[middle] for way in ways], 1))
    Image.fromarray((255 * np.concatenate(rows)).astype(np.uint8)).save(path)


RECIPE = Recipe(
    title="ESPCN, photographs three times as large",
    file="espcn",
    data="photographs",
    network=lambda file, photographs: file.ESPCN(_SCALE),
    batches=batches,
    few=few,
    # At 0.01 the hyperbolic tangents saturate in some runs, and nothing is learnt from then on.
    optimisation=Optimisation(kind="adam", lr=4e-3, one_cycle=True),
    batch_size=8,
    epochs=40,
    loss="mse_loss",
    metrics=lambda: [PSNR()],
    goal=27.3,
    baseline=bicubic,
    parameters=64 * 25 + 64 + 32 * 64 * 9 + 32 + 9 * 32 * 9 + 9,
    picture=picture,
)
