"""Where the windows of a convolution meet their input along one axis."""

from __future__ import annotations

from collections.abc import Iterator

Met = tuple[int, slice, slice]


def met(
    kernel: int, windows: int, stride: int, padding: int, dilation: int, size: int
) -> Iterator[Met]:
    """Each tap that meets an input of `size` anywhere, the windows under which it does, and what of
    the input they see; the others see nothing, however far out they lie.

    >>> list(met(3, 4, 1, 1, 1, 4))
    [(0, slice(1, 4, None), slice(0, 3, 1)), (1, slice(0, 4, None), slice(0, 4, 1)), \
(2, slice(0, 3, None), slice(1, 4, 1))]
    """
    first = max(0, -(((windows - 1) * stride - padding) // dilation))
    for tap in range(first, min(kernel, (size - 1 + padding) // dilation + 1)):
        at = tap * dilation - padding
        begin, end = max(0, -(at // stride)), min(windows, (size - 1 - at) // stride + 1)
        if begin < end:
            start, stop = begin * stride + at, (end - 1) * stride + at + 1
            yield tap, slice(begin, end), slice(start, stop, stride)
