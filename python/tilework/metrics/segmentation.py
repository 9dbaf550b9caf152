"""How far regions overlap."""

from __future__ import annotations

from tilework.metrics.classification import F1, OfClasses, ratio
from tilework.metrics.metric import Floats


class IoU(OfClasses):
    """Intersection over union of each class's pixels over all images (the Jaccard index), averaged
    as Precision. Outputs are scores (N, C, H, W), labels (N, H, W), or one score a pixel.

    >>> metrics.IoU("binary")(tw.tensor([[1, 1, 0]]), tw.tensor([[1, 0, 0]]))
    0.5
    """

    name = "iou"

    @staticmethod
    def _share(right: Floats, found: Floats, true: Floats) -> Floats:
        return ratio(right, found + true - right)


class Dice(F1):
    """Twice the intersection over the sum of both regions (Sørensen-Dice), as IoU: F1 of
    the pixels.

    >>> round(metrics.Dice("binary")(tw.tensor([[1, 1, 0]]), tw.tensor([[1, 0, 0]])), 4)
    0.6667
    """

    name = "dice"
