"""Where the taps of a convolution's kernel meet its images: for engines that sum over taps."""

from __future__ import annotations

from collections.abc import Iterator

from tilework.geometry import met

Pair = tuple[int, int]
Pixels = tuple[slice, slice, slice, slice]
_ALL = slice(None)


class Windows:
    """Where the windows of a convolution lie on images of `size`."""

    def __init__(
        self, stride: Pair, padding: Pair, dilation: Pair, kernel: Pair, out: Pair, size: Pair
    ):
        self.out, self.size = out, size
        self._axes = tuple(zip(kernel, out, stride, padding, dilation, size, strict=True))

    def taps(self) -> Iterator[tuple[int, int, Pixels, Pixels]]:
        """Each tap that meets the images, the windows under which it does, and the pixels there, of
        (groups, N, H, W, C)."""
        rows, columns = (list(met(*axis)) for axis in self._axes)
        for i, down, y in rows:
            for j, across, x in columns:
                yield i, j, (_ALL, _ALL, down, across), (_ALL, _ALL, y, x)
