"""A folder of images, one folder in it a class, as in torchvision.datasets.ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tilework.data.dataset import Dataset
from tilework.errors import error, word
from tilework.tensor import Tensor

IMG_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
)  # fmt: skip
_MODES = ("RGB", "L")


def read_image(
    path: str | os.PathLike[str], size: int | tuple[int, int] | None = None, mode: str = "RGB"
) -> Tensor:
    """A picture, by Pillow, as float32 in [0, 1] of shape (3, H, W), or (1, H, W) in mode "L".

    `size`, a side or (height, width), is what it is brought to, bilinearly, with each pixel the
    mean of what it covers; by default it keeps its own. A photograph is turned as its camera says.

    FileNotFoundError where there is none; ValueError where the file is damaged or no picture;
    ImportError without Pillow (`pip install 'tilework[images]'`).
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as reason:
        raise error(
            ImportError, "read_image", "Pillow", "no such package",
            "pip install 'tilework[images]'",
        ) from reason  # fmt: skip
    if mode not in _MODES:
        raise error(ValueError, "read_image", f"a mode of {_MODES}", str(word(mode)), "take one")
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # of 16 bits, which Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert(mode)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError) as reason:
        raise error(
            ValueError, "read_image", "a picture that Pillow reads", f"{path}: {reason}",
            "leave it out, or write it anew",
        ) from reason  # fmt: skip
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise error(ValueError, "read_image", "a size from 1", size, "give (height, width)")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32) / np.float32(255)
    return Tensor(np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)))


class ImageFolder(Dataset):
    """The pictures of a folder, each with the number of its class: that of the folder it lies in.

        root/cat/1.png  root/cat/more/2.jpg  root/dog/3.png

    Classes are root's folders, sorted; a picture's class is the one that it lies in, however deep.
    As in torchvision, but for what an image is: a float32 tensor (C, H, W) in [0, 1], read anew at
    each access, at one `size` for all, so that they stack into batches. Files and folders whose
    names begin with a dot are none: other programs leave them (._1.jpg, .ipynb_checkpoints).

    Args:
        root: The folder.
        transform, target_transform: What is done to an image, and to a class's number.
        loader: From a path to an image, instead of `read_image`.
        is_valid_file: Whether a path is a picture's; by default its extension says.
        size, mode: read_image's.

    Attributes: classes, class_to_idx, samples (path and class of each; `imgs` too), targets.

    FileNotFoundError where root is no folder, has none in it, or one without pictures.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        loader: Callable[[str], Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        *,
        size: int | tuple[int, int] | None = None,
        mode: str = "RGB",
    ) -> None:
        self.root = os.fspath(root)
        self.transform = transform
        self.target_transform = target_transform
        if loader is not None and (size is not None or mode != "RGB"):
            raise error(
                ValueError, "ImageFolder", "a loader, or size and mode, which are read_image's",
                "both", "let the loader do all of it",
            )  # fmt: skip
        self.loader = loader or partial(read_image, size=size, mode=mode)
        self.classes, self.class_to_idx = _classes(Path(root))
        self.samples = _samples(Path(root), self.class_to_idx, is_valid_file or _is_image)
        self.imgs = self.samples
        self.targets = [target for _, target in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        image = self.loader(path)
        if self.transform is not None:
            image = self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMG_EXTENSIONS) and not _is_hidden(os.path.basename(path))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _classes(root: Path) -> tuple[list[str], dict[str, int]]:
    entries = root.iterdir() if root.is_dir() else ()
    found = sorted(e.name for e in entries if e.is_dir() and not _is_hidden(e.name))
    if not found:
        raise error(
            FileNotFoundError, "ImageFolder", "a folder with a folder for each class",
            f"{root}, which has none", "sort the pictures into root/CLASS/",
        )  # fmt: skip
    return found, {name: number for number, name in enumerate(found)}


def _samples(
    root: Path, classes: dict[str, int], is_valid: Callable[[str], bool]
) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for name, number in classes.items():
        paths = (
            os.path.join(folder, file)
            for folder, _, files in sorted(os.walk(root / name, followlinks=True))
            if not any(map(_is_hidden, Path(folder).relative_to(root).parts))
            for file in sorted(files)
        )
        before = len(found)
        found += [(path, number) for path in paths if is_valid(path)]
        if len(found) == before:
            raise error(
                FileNotFoundError, "ImageFolder", "a picture of each class",
                f"none in {root / name}", f"take {', '.join(IMG_EXTENSIONS)}, or is_valid_file",
            )  # fmt: skip
    return found
