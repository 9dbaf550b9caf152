"""Augmentation of whole batches of images, under the names of torchvision.transforms.v2.

A transform is called as `t(images)` or `t(images, labels)`, images (N, C, H, W), and returns as
many tensors. Every image has its own draw. The numbers follow from `generator` (a seed or a NumPy
generator), by default from tilework.manual_seed(), so that a resumed run augments as the whole one.
`TransformedDataset` puts a transform into a DataLoader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework import dtypes, functional
from tilework.data.loader import Source, numpy_generator
from tilework.errors import error
from tilework.tensor import fresh

Array = NDArray[Any]
Generator = np.random.Generator
_ERASING_TRIES = 10  # boxes drawn an image until one fits, as in torchvision


class Transform:
    """The base: subclasses give `apply(images, rng)` on arrays, which returns a new array."""

    def __init__(self, generator: Source = None) -> None:
        self.generator = None if generator is None else numpy_generator(generator)

    def apply(self, images: Array, rng: Generator) -> Array:
        """The changed images."""
        raise NotImplementedError

    def __call__(self, images: Any, *labels: Any) -> Any:
        changed = fresh(self.apply(self._checked(images), self._rng()))
        return (changed, *labels) if labels else changed

    def _rng(self) -> Generator:
        return self.generator or numpy_generator(functional.random_seed())

    def _checked(self, images: Any) -> Array:
        array: Array = functional.as_tensor(images)._array
        if array.ndim != 4 or not dtypes.is_float(array.dtype):
            raise error(
                ValueError, type(self).__name__, "float images (N, C, H, W)",
                f"{array.shape} of {array.dtype}", "add the missing axes, convert with x.float()",
            )  # fmt: skip
        return array


def _probability(op: str, p: float) -> float:
    if not 0.0 <= p <= 1.0:
        raise error(ValueError, op, "p in [0, 1]", p, "give the share of images to change")
    return p


class Compose(Transform):
    """One transform after the other.

    >>> from tilework.data import augment
    >>> t = augment.Compose([augment.RandomHorizontalFlip(), augment.RandomCrop(28, padding=2)])
    >>> t(tw.zeros(8, 1, 28, 28)).shape
    (8, 1, 28, 28)
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__()
        self.transforms = list(transforms)

    def __call__(self, images: Any, *given: Any) -> Any:
        labels = list(given)
        for transform in self.transforms:
            if labels:
                images, *labels = transform(images, *labels)
            else:
                images = transform(images)
        return (images, *labels) if labels else images


class _Flip(Transform):
    """Turns each image round along one axis with probability p."""

    mirrored: tuple[slice, ...]

    def __init__(self, p: float = 0.5, *, generator: Source = None) -> None:
        super().__init__(generator)
        self.p = _probability(type(self).__name__, p)

    def apply(self, images: Array, rng: Generator) -> Array:
        turned = rng.random(len(images)) < self.p
        result = images.copy()
        result[turned] = images[turned][self.mirrored]
        return result


class RandomHorizontalFlip(_Flip):
    """Turns left and right round with probability p.

    >>> from tilework.data import augment
    >>> augment.RandomHorizontalFlip(p=1)(tw.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[2., 1.]]]])
    """

    mirrored = (..., slice(None, None, -1))  # type: ignore[assignment]


class RandomVerticalFlip(_Flip):
    """Turns top and bottom round with probability p."""

    mirrored = (..., slice(None, None, -1), slice(None))  # type: ignore[assignment]


class RandomCrop(Transform):
    """A window of `size` (a number or (height, width)) from anywhere in the image, which is first
    framed by `padding` pixels of `fill`.

    ValueError where the window is larger than the framed image.

    >>> from tilework.data import augment
    >>> augment.RandomCrop(24)(tw.zeros(2, 3, 32, 32)).shape
    (2, 3, 24, 24)
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int = 0,
        fill: float = 0.0,
        *,
        generator: Source = None,
    ) -> None:
        super().__init__(generator)
        self.size = (size, size) if isinstance(size, int) else size
        self.padding = padding
        self.fill = fill

    def apply(self, images: Array, rng: Generator) -> Array:
        (h, w), p = self.size, self.padding
        framed = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        spare = framed.shape[2] - h, framed.shape[3] - w
        if min(spare) < 0 or min(h, w) < 1:
            raise error(
                ValueError, "RandomCrop", f"a window within {framed.shape[2:]}", self.size,
                "crop less, or pad more",
            )  # fmt: skip
        # A view of all windows, of which one an image is copied.
        windows = np.lib.stride_tricks.sliding_window_view(framed, (h, w), (2, 3))
        top, left = (rng.integers(0, n + 1, len(images)) for n in spare)
        result: Array = windows[np.arange(len(images)), :, top, left]
        return result


class RandomRotation(Transform):
    """A turn about the centre by an angle within `degrees` (a number d for (-d, d)), positive ones
    counter-clockwise; bilinear, zeros from outside.

    >>> from tilework.data import augment
    >>> augment.RandomRotation((90, 90))(tw.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """

    def __init__(self, degrees: float | tuple[float, float], *, generator: Source = None) -> None:
        super().__init__(generator)
        self.degrees = degrees if isinstance(degrees, tuple) else (-degrees, degrees)
        if self.degrees[0] > self.degrees[1]:
            raise error(
                ValueError, "RandomRotation", "degrees from 0, or (low, high)", degrees,
                "give the lower angle first",
            )  # fmt: skip

    def apply(self, images: Array, rng: Generator) -> Array:
        return _rotated(images, np.deg2rad(rng.uniform(*self.degrees, len(images))))


def _rotated(images: Array, angles: Array) -> Array:
    """Each image turned by its angle: where each pixel comes from, and the mean of the four there,
    weighted by how near they are."""
    n, c, h, w = images.shape
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    y, x = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w) - (w - 1) / 2
    # What lies outside reads the frame of zeros: one in front, and two behind, for the neighbours.
    framed = np.pad(images, ((0, 0), (0, 0), (1, 2), (1, 2)))
    planes = np.arange(n * c).reshape(n, c, 1, 1) * ((h + 3) * (w + 3))
    rows = (sin * x + cos * y + (h + 1) / 2).clip(0, h + 1)
    columns = (cos * x - sin * y + (w + 1) / 2).clip(0, w + 1)
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    down, right = ((a - b).astype(images.dtype)[:, None] for a, b in ((rows, top), (columns, left)))
    corner = planes + (top * (w + 3) + left)[:, None]

    def pixels(below: int, beside: int) -> Array:
        found: Array = framed.take(corner + (below * (w + 3) + beside))
        return found

    above = pixels(0, 0) * (1 - right) + pixels(0, 1) * right
    result: Array = above * (1 - down) + (pixels(1, 0) * (1 - right) + pixels(1, 1) * right) * down
    return result


class GaussianNoise(Transform):
    """Adds normal noise; with `clip`, brings the result into [0, 1].

    ValueError where sigma is negative.

    >>> from tilework.data import augment
    >>> augment.GaussianNoise(sigma=0.0)(tw.ones(1, 1, 1, 2))
    tensor([[[[1., 1.]]]])
    """

    def __init__(
        self,
        mean: float = 0.0,
        sigma: float = 0.1,
        clip: bool = True,
        *,
        generator: Source = None,
    ) -> None:
        super().__init__(generator)
        if sigma < 0.0:
            raise error(ValueError, "GaussianNoise", "sigma from 0", sigma, "take its size")
        self.mean = mean
        self.sigma = sigma
        self.clip = clip

    def apply(self, images: Array, rng: Generator) -> Array:
        noise = rng.standard_normal(images.shape, np.float32)
        result: Array = images + (noise * self.sigma + self.mean).astype(images.dtype)
        return result.clip(0.0, 1.0) if self.clip else result


class RandomErasing(Transform):
    """Overwrites a box of each image with probability p (Zhong et al. 2020): a share of the area
    within `scale`, height over width within `ratio`, by `value`, a number or "random" for normal
    ones. Cutout (DeVries and Taylor 2017) is `ratio=(1, 1)` and one share for both ends of `scale`.

    Where ten boxes in a row do not fit into an image it stays as it was.

    >>> from tilework.data import augment
    >>> cutout = augment.RandomErasing(p=1, scale=(0.25, 0.25), ratio=(1, 1))
    >>> cutout(tw.ones(3, 1, 8, 8)).sum((1, 2, 3))
    tensor([48., 48., 48.])
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: float | str = 0.0,
        *,
        generator: Source = None,
    ) -> None:
        super().__init__(generator)
        self.p = _probability("RandomErasing", p)
        if not 0.0 <= scale[0] <= scale[1] <= 1.0 or not 0.0 < ratio[0] <= ratio[1]:
            raise error(
                ValueError, "RandomErasing", "scale (low, high) in [0, 1], ratio (low, high)",
                (scale, ratio), "give the lower bound first",
            )  # fmt: skip
        if isinstance(value, str) and value != "random":
            raise error(ValueError, "RandomErasing", 'a number or "random"', value, "give one")
        self.scale = scale
        self.ratio = ratio
        self.value = value

    def apply(self, images: Array, rng: Generator) -> Array:
        n, _, h, w = images.shape
        tries = (_ERASING_TRIES, n)
        area = h * w * rng.uniform(*self.scale, tries)
        ratio = np.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), tries))
        heights, widths = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (heights <= h) & (widths <= w)
        first = fits.argmax(0), np.arange(n)
        chosen = fits.any(0) & (rng.random(n) < self.p)
        rows = _spans(rng, h, heights[first]) & chosen[:, None]
        columns = _spans(rng, w, widths[first])
        box = rows[:, None, :, None] & columns[:, None, None, :]
        if self.value == "random":
            filling = rng.standard_normal(images.shape, np.float32).astype(images.dtype)
        else:
            filling = np.asarray(self.value, images.dtype)
        result: Array = np.where(box, filling, images)
        return result


def _spans(rng: Generator, size: int, lengths: Array) -> Array:
    """For each length, `size` booleans of which so many in a row, somewhere, are true."""
    start = np.floor(rng.random(len(lengths)) * (size - lengths + 1))[:, None]
    at = np.arange(size)
    result: Array = (at >= start) & (at < start + lengths[:, None])
    return result


class Normalize(Transform):
    """(images - mean) / std, one number for all channels or one for each.

    >>> from tilework.data import augment
    >>> augment.Normalize([1.0, 2.0], [1.0, 4.0])(tw.ones(1, 2, 1, 1) * 6).reshape(2)
    tensor([5., 1.])
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        super().__init__()
        self.mean = np.reshape(mean, (-1, 1, 1))
        self.std = np.reshape(std, (-1, 1, 1))
        if not (self.std > 0.0).all():
            raise error(ValueError, "Normalize", "std above 0", std, "leave constant channels be")

    def apply(self, images: Array, rng: Generator) -> Array:
        for given in (self.mean, self.std):
            if len(given) not in (1, images.shape[1]):
                raise error(
                    ValueError, "Normalize", f"1 or {images.shape[1]} numbers for the channels",
                    len(given), "give one each",
                )  # fmt: skip
        result: Array = (images - self.mean.astype(images.dtype)) / self.std.astype(images.dtype)
        return result

    def _rng(self) -> Generator:
        return _UNUSED  # draws nothing: the stream stays where it was


_UNUSED = numpy_generator(0)


class MixUp(Transform):
    """Blends each image and its label with its neighbour's in the batch (Zhang et al. 2018).

    The share is drawn from Beta(alpha, alpha), one a batch. Labels come as class indices (N,), or
    as probabilities (N, num_classes), and leave as probabilities, which F.cross_entropy takes.
    ValueError where alpha is not above 0 or a class is not below num_classes.

    >>> from tilework.data import augment
    >>> mixed, labels = augment.MixUp(num_classes=3)(tw.zeros(4, 1, 2, 2), tw.tensor([0, 1, 2, 0]))
    >>> labels.shape
    (4, 3)
    """

    def __init__(self, *, num_classes: int, alpha: float = 1.0, generator: Source = None) -> None:
        super().__init__(generator)
        if not alpha > 0.0:
            raise error(ValueError, "MixUp", "alpha above 0", alpha, "leave MixUp out instead")
        self.num_classes = num_classes
        self.alpha = alpha

    def __call__(self, images: Any, *labels: Any) -> Any:
        if len(labels) != 1:
            raise error(
                TypeError, "MixUp", "images and labels", f"{1 + len(labels)} arguments",
                "call it on both",
            )  # fmt: skip
        array = self._checked(images)
        share = self._rng().beta(self.alpha, self.alpha)
        mixed = (_blend(x, share) for x in (array, self._probabilities(labels[0], array)))
        return tuple(fresh(x) for x in mixed)

    def _probabilities(self, labels: Any, images: Array) -> Array:
        given: Array = functional.as_tensor(labels)._array
        if given.shape == (len(images), self.num_classes) and dtypes.is_float(given.dtype):
            return given.astype(images.dtype)
        if given.shape != (len(images),) or given.dtype.kind not in "iu":
            raise error(
                ValueError, "MixUp", f"labels ({len(images)},) of classes", given.shape,
                "give one class index an image",
            )  # fmt: skip
        if given.size and not 0 <= given.min() <= given.max() < self.num_classes:
            raise error(
                ValueError, "MixUp", f"classes below {self.num_classes}", int(given.max()),
                "raise num_classes",
            )  # fmt: skip
        one_hot: Array = np.eye(self.num_classes, dtype=images.dtype)[given]
        return one_hot


def _blend(x: Array, share: float) -> Array:
    result: Array = x * x.dtype.type(share) + np.roll(x, 1, 0) * x.dtype.type(1.0 - share)
    return result
