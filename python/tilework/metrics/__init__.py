"""Metrics: figures of a model's outputs over many batches.

Each takes (output, target) a batch at a time, with `update`, gives the figure of all of them with
`compute`, and forgets them with `reset`. Sums are kept in float64.

>>> accuracy = Accuracy()
>>> accuracy.update(tw.tensor([[0.1, 0.9], [0.8, 0.2]]), tw.tensor([1, 1]))
>>> accuracy.update(tw.tensor([[0.0, 1.0]]), tw.tensor([1]))
>>> round(accuracy.compute(), 4)
0.6667
"""

from tilework.metrics.classification import F1, Accuracy, ConfusionMatrix, Precision, Recall
from tilework.metrics.images import PSNR
from tilework.metrics.language import BitsPerByte, Perplexity
from tilework.metrics.metric import Metric, named
from tilework.metrics.ranking import ROCAUC, AveragePrecision
from tilework.metrics.regression import MAE, MSE, R2
from tilework.metrics.segmentation import Dice, IoU

__all__ = [
    "F1",
    "MAE",
    "MSE",
    "PSNR",
    "R2",
    "ROCAUC",
    "Accuracy",
    "AveragePrecision",
    "BitsPerByte",
    "ConfusionMatrix",
    "Dice",
    "IoU",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "named",
]
