"""Metrics: over batches of any sizes they are scikit-learn's of all samples at once."""

import itertools
import math

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F
from tilework import metrics

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn, the judge, is not installed")

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 203)
LABELS[LABELS == 3] = 1  # a class that no target has
SCORES = RNG.standard_normal((203, 4)).astype(np.float32).round(1)  # with ties
SCORES[np.arange(203), LABELS] += RNG.uniform(0, 2, 203).astype(np.float32).round(1)
FOUND = SCORES.argmax(1)
BINARY = (LABELS == 1).astype(np.int64)
BINARY_SCORES = SCORES[:, 1] - 0.5
CUTS = [0, 1, 50, 50, 120, 203]  # an empty batch too


def streamed(metric, output, target):
    metric.update(output[:7], target[:7])
    metric.reset()
    for a, b in itertools.pairwise(CUTS):
        metric.update(tw.tensor(output[a:b]), tw.tensor(target[a:b]))
    return metric.compute()


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_accuracy():
    close(streamed(metrics.Accuracy(), SCORES, LABELS), (FOUND == LABELS).mean())
    close(streamed(metrics.Accuracy(), FOUND, LABELS), (FOUND == LABELS).mean())
    found = (BINARY_SCORES > 0).astype(int)
    close(streamed(metrics.Accuracy(), BINARY_SCORES[:, None], BINARY), (found == BINARY).mean())
    whole = RNG.permuted(np.tile(np.arange(4.0), (203, 1)), axis=1)  # without ties
    expected = sklearn.top_k_accuracy_score(LABELS, whole, k=2, labels=range(4))
    close(streamed(metrics.Accuracy(k=2), whole, LABELS), expected)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize(
    ("metric", "judge"),
    [
        (metrics.Precision, "precision_score"),
        (metrics.Recall, "recall_score"),
        (metrics.F1, "f1_score"),
        (metrics.IoU, "jaccard_score"),
        (metrics.Dice, "f1_score"),
    ],
)
def test_figures_of_classes(metric, judge, average):
    expected = getattr(sklearn, judge)(LABELS, FOUND, average=average, zero_division=0)
    close(streamed(metric(average), SCORES, LABELS), expected)
    expected = getattr(sklearn, judge)(BINARY, BINARY_SCORES > 0, average="binary")
    close(streamed(metric("binary"), BINARY_SCORES, BINARY), expected)


def test_confusion_matrix():
    expected = sklearn.confusion_matrix(LABELS, FOUND)
    assert (streamed(metrics.ConfusionMatrix(), SCORES, LABELS) == expected).all()
    wide = metrics.ConfusionMatrix(classes=6, ignore_index=2)
    found = streamed(wide, FOUND, LABELS)
    assert found.shape == (6, 6)
    assert found.sum() == (LABELS != 2).sum()
    with pytest.raises(ValueError, match=r"\[ConfusionMatrix\].*below 2"):
        metrics.ConfusionMatrix(classes=2)(FOUND, LABELS)


def test_rankings():
    for metric, judge in (
        (metrics.ROCAUC(), sklearn.roc_auc_score),
        (metrics.AveragePrecision(), sklearn.average_precision_score),
    ):
        close(streamed(metric, BINARY_SCORES, BINARY), judge(BINARY, BINARY_SCORES))
        logits = SCORES + RNG.uniform(0, 0.1, SCORES.shape)  # no ties, which rounding may break
        weights = np.exp(logits)
        shares = weights / weights.sum(1, keepdims=True)
        each = [judge(c == LABELS, shares[:, c]) for c in range(3)]
        close(streamed(metric, shares, LABELS), np.mean(each))
        close(streamed(metric, logits, LABELS), np.mean(each))
        away = logits[:, 1] - logits[:, 3]  # of a network of two classes
        expected = np.mean([judge(BINARY == 0, -away), judge(BINARY, away)])
        close(streamed(metric, logits[:, [3, 1]], BINARY), expected)
        huge = 1000 * logits[:, [3, 1]]  # whose probabilities are 0 and 1
        close(streamed(metric, huge, BINARY), expected)
        assert math.isnan(metric(np.array([math.nan, 0.0]), np.array([0, 1])))
        assert math.isnan(metric(np.ones(3), np.zeros(3, int)))
        assert math.isnan(metric(np.ones(0), np.zeros(0, int)))


def test_regression():
    true = (RNG.standard_normal(203) + 1e4).astype(np.float32)
    found = true + RNG.standard_normal(203).astype(np.float32)
    for metric, judge in (
        (metrics.MAE(), sklearn.mean_absolute_error),
        (metrics.MSE(), sklearn.mean_squared_error),
        (metrics.R2(), sklearn.r2_score),
    ):
        expected = judge(true.astype(float), found.astype(float))
        np.testing.assert_allclose(streamed(metric, found, true), expected, rtol=1e-9)
    several = np.column_stack([true, 3 * true + 5e4, np.ones_like(true)])
    guesses = several + RNG.standard_normal(several.shape).astype(np.float32)
    expected = sklearn.r2_score(several.astype(float), guesses.astype(float))
    np.testing.assert_allclose(streamed(metrics.R2(), guesses, several), expected, rtol=1e-9)
    metric = metrics.R2()
    metric.update(several[:, :2], several[:, :2])
    with pytest.raises(ValueError, match=r"\[R2\] expected 2 outputs"):
        metric.update(several, several)
    assert metrics.R2()(np.ones(3), np.ones(3)) == 1.0
    assert metrics.R2()(np.zeros(3), np.ones(3)) == 0.0


def test_images():
    """The mean of each image's own ratio, whatever the batches."""
    true = RNG.random((7, 2, 5, 3)).astype(np.float32) * 4
    found = true + RNG.standard_normal(true.shape).astype(np.float32)
    squares = ((true.astype(float) - found) ** 2).mean((1, 2, 3))
    expected = np.mean(20 * math.log10(4) - 10 * np.log10(squares))
    np.testing.assert_allclose(streamed(metrics.PSNR(4.0), found, true), expected, rtol=1e-12)
    assert metrics.PSNR()(true, true) == math.inf
    judge = pytest.importorskip("skimage.metrics", reason="scikit-image, a judge, is missing")
    each = [
        judge.peak_signal_noise_ratio(*pair, data_range=4.0)
        for pair in zip(true, found, strict=True)
    ]
    np.testing.assert_allclose(np.mean(each), expected, rtol=1e-6)


def test_language():
    logits = RNG.standard_normal((6, 5, 11)).astype(np.float32)
    targets = RNG.integers(0, 11, (6, 5))
    targets[0, :3] = -100
    nats = F.cross_entropy(
        tw.tensor(logits.reshape(30, 11).astype(float)), tw.tensor(targets.reshape(30))
    ).item()
    for output in (logits, logits.transpose(0, 2, 1)):
        metric = metrics.Perplexity()
        for i in range(6):
            metric.update(tw.tensor(output[i : i + 1]), tw.tensor(targets[i : i + 1]))
        np.testing.assert_allclose(metric.compute(), math.exp(nats), rtol=1e-12)
    bits = metrics.BitsPerByte(bytes_per_token=2.5)(logits, targets)
    np.testing.assert_allclose(bits, nats / math.log(2) / 2.5, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(set(metrics.__all__) - {"Metric", "named"}))
def test_nothing_is_no_number(name):
    found = getattr(metrics, name)().compute()
    assert np.size(found) == 0 or math.isnan(found)


def test_bfloat16_outputs():
    scores = tw.tensor(SCORES).to(tw.bfloat16)
    found = metrics.Accuracy()(scores, tw.tensor(LABELS))
    close(found, (scores.float().numpy().argmax(1) == LABELS).mean())


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"\[Accuracy\].*class's number"):
        metrics.Accuracy()(SCORES, np.eye(4)[LABELS][:, :3])
    with pytest.raises(ValueError, match=r"\[F1\].*name one"):
        metrics.F1("mean")
    with pytest.raises(ValueError, match=r"\[R2\].*reshape"):
        metrics.R2()(np.ones((3, 1)), np.ones(3))
    with pytest.raises(ValueError, match=r"\[ROCAUC\].*several classes"):
        metrics.ROCAUC()(np.ones(3), np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="one metric a name"):
        metrics.named([metrics.MAE(), metrics.MAE()])
