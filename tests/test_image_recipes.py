"""The parts of recipes on images: pairs of pictures, triplets, and what they are judged by."""

import dataclasses

import numpy as np
import pytest

import tilework as tw
from tilework import data
from tilework import functional as F
from tilework.train import recipe as running
from tilework.train import recipes
from tilework.train.recipes import embedding, espcn

RNG = np.random.default_rng(0)


# --- super-resolution ---


@pytest.fixture
def photographs():
    """Stripes, which can be had anywhere."""
    pytest.importorskip("PIL", reason="Pillow, which makes the small pictures, is not installed")
    y, x = np.mgrid[:122, :140] / 9
    waves = [
        0.5 + 0.3 * np.tanh(3 * np.sin(a * x + b * y))
        for a, b in ((1, 0.3), (0.2, 1.1), (0.7, -0.7))
    ]
    both = tuple(wave.astype(np.float32) for wave in waves)
    return data.Photographs(both[:2], both[2:], ("stripes",))


def test_windows_of_small_and_large_lie_on_each_other(photographs):
    """A large window's means over 3x3 pixels are near the small one's, and not near another's."""
    batches = espcn.batches(photographs, 4)
    assert len(batches.train.dataset) == 2 * 2 * 2
    seen = set()
    for _ in range(150):
        for small, large in batches.train:
            assert small.shape[1:] == (1, 24, 24)
            assert large.shape[1:] == (1, 72, 72)
            means = large.numpy().reshape(-1, 1, 24, 3, 24, 3).mean((3, 5))
            assert np.abs(means - small.numpy()).max() < 0.05
            seen |= {tuple(np.round(x[0, [0, 0, -1], [0, -1, 0]], 6)) for x in large.numpy()}
    assert len(seen) == 8 * 8  # each turned and mirrored in eight ways
    ((small, large),) = batches.held_out
    assert small.shape == (1, 1, 40, 46)
    np.testing.assert_array_equal(large.numpy()[0, 0], photographs.test[0][:120, :138])


def test_stripes_become_larger_stripes(photographs, tmp_path):
    """Of which a tenth of the spread's energy is missed at most; and the picture of it."""
    recipe = dataclasses.replace(recipes.get("espcn"), epochs=25, batch_size=2)
    outcome = running.run(recipe, photographs)
    truth = photographs.test[0][:120, :138]
    assert outcome.value > 10 * np.log10(1 / truth.var()) + 10
    recipe.picture(outcome, photographs, tmp_path / "p.png")
    picture = data.read_image(tmp_path / "p.png", mode="L")
    assert picture.shape == (1, 120, 3 * 138)
    np.testing.assert_allclose(picture[0, :, -138:].numpy(), truth, atol=1 / 255)


# --- the embedding ---


def test_mined_triplets_are_those_of_the_definition():
    points = RNG.standard_normal((24, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = np.tile([0, 1, 2], 8)
    points[2::3] = np.outer((-1) ** np.arange(8), [1, 0, 0])  # as far apart as can be
    positive, negative = embedding._mined(points, labels)
    away = np.linalg.norm(points[:, None] - points, axis=-1)
    fallbacks = 0
    for i in range(24):
        following = [j % 24 for j in range(i + 1, i + 24) if labels[j % 24] == labels[i]]
        assert positive[i] == following[0]
        others = np.flatnonzero(labels != labels[i])
        farther = [j for j in others if away[i, j] > away[i, positive[i]]]
        fallbacks += not farther
        nearest = min(farther, key=away[i].__getitem__, default=None)
        assert negative[i] == (max(others, key=away[i].__getitem__) if not farther else nearest)
    assert 0 < fallbacks < 24


def test_the_loss_is_of_those_triplets():
    points = F.normalize(tw.randn(12, 4), dim=1).detach().requires_grad_()
    labels = tw.tensor([0, 1, 2] * 4)
    loss = embedding.triplets(F, points, labels)
    positive, negative = embedding._mined(points.detach().numpy(), labels.numpy())
    x = points.detach().numpy()
    apart = [np.linalg.norm(x - x[other] + 1e-6, axis=1) for other in (positive, negative)]
    assert loss.item() == pytest.approx(np.maximum(apart[0] - apart[1] + 0.4, 0).mean(), rel=1e-5)
    loss.backward()
    assert np.abs(points.grad.numpy()).max() > 0


def test_verification_is_the_chance_that_a_pair_of_one_class_is_nearer():
    points, labels = RNG.standard_normal((40, 3)), RNG.integers(0, 4, 40)
    metric = embedding.Verification()
    for part in (slice(0, 7), slice(7, 40)):
        metric.update(tw.tensor(points[part]), tw.tensor(labels[part]))
    pairs = [(i, j) for i in range(40) for j in range(i)]
    away = {pair: np.linalg.norm(points[pair[0]] - points[pair[1]]) for pair in pairs}
    one = [away[i, j] for i, j in pairs if labels[i] == labels[j]]
    two = [away[i, j] for i, j in pairs if labels[i] != labels[j]]
    assert metric.compute() == pytest.approx(np.mean(np.less.outer(one, two)), rel=1e-12)
    metric.reset()
    assert np.isnan(metric.compute())


def test_no_held_out_class_is_learnt_from():
    labels = np.arange(10).repeat(3)
    images = RNG.random((30, 1, 4, 4)).astype(np.float32)
    names = (
        "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    )  # fmt: skip
    parts = embedding._parts(data.ImageSet("x", images, labels, images, labels, names))
    assert set(parts.train_labels) == {0, 1, 2, 5, 6, 8, 9}
    assert set(parts.test_labels) == {3, 4, 7}
    assert len(parts.train_images) == len(parts.train_labels) == 21
    np.testing.assert_array_equal(parts.test_images, images[np.isin(labels, [3, 4, 7])])
