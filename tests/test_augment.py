"""Augmentation: known answers, one draw an image, the same numbers from the same seed."""

import numpy as np
import pytest

import tilework as tw
from tilework import data
from tilework import functional as F
from tilework.data import augment

RNG = np.random.default_rng(0)
IMAGES = RNG.random((64, 3, 9, 12)).astype(np.float32)
LABELS = np.arange(64) % 5
RANDOM = {
    "flip": augment.RandomHorizontalFlip,
    "vertical flip": augment.RandomVerticalFlip,
    "crop": lambda **how: augment.RandomCrop((9, 12), padding=3, **how),
    "rotation": lambda **how: augment.RandomRotation(30, **how),
    "noise": augment.GaussianNoise,
    "erasing": augment.RandomErasing,
    "random erasing": lambda **how: augment.RandomErasing(value="random", **how),
    "mixup": lambda **how: augment.MixUp(num_classes=5, **how),
}


def both(transform, images=IMAGES, labels=LABELS):
    changed, kept = transform(tw.from_numpy(images), tw.from_numpy(labels))
    return changed.numpy(), kept.numpy()


@pytest.mark.parametrize("make", RANDOM.values(), ids=list(RANDOM))
def test_seeds(make):
    first, second = make(generator=3), make(generator=3)
    a, b = both(first)[0], both(first)[0]
    np.testing.assert_array_equal(a, both(second)[0])
    assert not np.array_equal(a, b)  # the second call draws anew
    assert not np.array_equal(a, both(make(generator=4))[0])
    tw.manual_seed(3)
    c = both(make())[0]
    tw.manual_seed(3)
    np.testing.assert_array_equal(c, both(make())[0])
    assert a.dtype == c.dtype == np.float32


@pytest.mark.parametrize("make", RANDOM.values(), ids=list(RANDOM))
def test_inputs_stay_as_they_were_and_float64_stays_float64(make):
    images = IMAGES.astype(np.float64)
    assert both(make(), images)[0].dtype == np.float64
    np.testing.assert_array_equal(images, IMAGES)
    assert both(make(), IMAGES[:0], LABELS[:0])[0].shape == (0, 3, 9, 12)


def test_flips_are_of_single_images():
    for transform, axis in (
        (augment.RandomHorizontalFlip(0.25, generator=1), 3),
        (augment.RandomVerticalFlip(0.25, generator=1), 2),
    ):
        changed, labels = both(transform, np.tile(IMAGES, (16, 1, 1, 1)), np.tile(LABELS, 16))
        np.testing.assert_array_equal(labels, np.tile(LABELS, 16))
        images = np.tile(IMAGES, (16, 1, 1, 1))
        turned = (changed == np.flip(images, axis)).all((1, 2, 3))
        assert (turned | (changed == images).all((1, 2, 3))).all()
        assert abs(turned.mean() - 0.25) < 4 * (0.25 * 0.75 / 1024) ** 0.5


def test_crops_are_windows_of_the_framed_image():
    images = np.arange(1, 1 + 500 * 2 * 4 * 5, dtype=np.float32).reshape(500, 2, 4, 5)
    changed, _ = both(augment.RandomCrop((3, 5), padding=1, fill=-1, generator=0), images, images)
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    seen = set()
    for one, frame in zip(changed, framed, strict=True):
        fits = [(i, j) for i in range(4) for j in range(3)
                if np.array_equal(one, frame[:, i : i + 3, j : j + 5])]  # fmt: skip
        assert len(fits) == 1
        seen.update(fits)
    assert len(seen) == 12  # every place is drawn


def test_rotation():
    square = IMAGES[:, :, :, :9]
    for degrees, turns in ((90, 1), (180, 2), (-90, 3), (0, 0)):
        changed, _ = both(augment.RandomRotation((degrees, degrees)), square)
        np.testing.assert_allclose(changed, np.rot90(square, turns, (2, 3)), atol=1e-6)
    # Bilinear interpolation is exact on a slope, wherever it does not read from outside.
    y, x = np.mgrid[:33, :33] - 16.0
    slope = np.broadcast_to(2 * x - 3 * y, (10, 1, 33, 33)).astype(np.float32)
    angles = np.deg2rad(np.random.default_rng(0).uniform(-40, 40, 10))
    seeded = augment.RandomRotation(40, generator=np.random.default_rng(0))
    changed, _ = both(seeded, slope, angles)
    inside = np.hypot(x, y) < 15
    for one, angle in zip(changed[:, 0], angles, strict=True):
        c, s = np.cos(angle), np.sin(angle)
        expected = 2 * (c * x - s * y) - 3 * (s * x + c * y)
        np.testing.assert_allclose(one[inside], expected[inside], atol=16 * 33 * 3 * 2**-23)
    assert (changed[:, 0, 0, 0] == 0).any()  # a corner from outside


def test_noise_has_the_moments_and_the_range():
    grey = np.full((64, 3, 32, 32), 0.5, np.float32)
    free, _ = both(augment.GaussianNoise(0.25, 0.5, clip=False, generator=0), grey)
    assert abs(free.mean() - 0.75) < 4 * 0.5 / grey.size**0.5
    assert abs(free.std() - 0.5) < 4 * 0.5 / (2 * grey.size) ** 0.5
    clipped, _ = both(augment.GaussianNoise(0.25, 0.5, generator=0), grey)
    np.testing.assert_array_equal(clipped, free.clip(0, 1))


def test_erased_boxes():
    images = 1 + IMAGES.repeat(8, 0)
    area = 9 * 12
    changed, _ = both(augment.RandomErasing(0.5, (0.1, 0.3), (0.5, 2.0), generator=0), images)
    erased = changed == 0
    np.testing.assert_array_equal(changed[~erased], images[~erased])
    assert (erased == erased[:, :1]).all()  # all channels alike
    some = erased[:, 0].any((1, 2))
    assert abs(some.mean() - 0.5) < 4 * 0.5 / len(images) ** 0.5
    for box in erased[some, 0]:
        rows, columns = box.any(1), box.any(0)
        np.testing.assert_array_equal(box, rows[:, None] & columns)
        for span in (rows, columns):  # in a row
            assert np.diff(np.flatnonzero(span)).max(initial=1) == 1
        h, w = rows.sum(), columns.sum()
        # Each side is rounded by a half at most.
        assert (h - 0.5) * (w - 0.5) <= 0.3 * area
        assert (h + 0.5) * (w + 0.5) >= 0.1 * area
        assert (h - 0.5) / (w + 0.5) <= 2.0
        assert (h + 0.5) / (w - 0.5) >= 0.5
    noisy, _ = both(augment.RandomErasing(1, value="random", generator=0), images)
    assert np.abs(noisy[noisy != images].std() - 1) < 0.05


def test_boxes_that_never_fit_leave_the_image():
    changed, _ = both(augment.RandomErasing(1, (1.0, 1.0), (9.0, 10.0)))
    np.testing.assert_array_equal(changed, IMAGES)


def test_mixup():
    images, labels = both(augment.MixUp(num_classes=5, generator=0))
    share = labels[1, 1]
    np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
    eye = np.eye(5, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(labels, share * eye + (1 - share) * np.roll(eye, 1, 0), atol=1e-6)
    blend = share * IMAGES + (1 - share) * np.roll(IMAGES, 1, 0)
    np.testing.assert_allclose(images, blend, atol=1e-6)
    again = both(augment.MixUp(num_classes=5, generator=0), IMAGES, labels)[1]
    assert again.shape == labels.shape
    # The loss of a blend is the blend of the losses.
    logits = tw.from_numpy(RNG.standard_normal((64, 5)).astype(np.float32))
    each = [F.cross_entropy(logits, tw.from_numpy(t)) for t in (LABELS, np.roll(LABELS, 1))]
    mixed = F.cross_entropy(logits, tw.from_numpy(labels)).item()
    assert mixed == pytest.approx(share * each[0].item() + (1 - share) * each[1].item(), rel=1e-5)


def test_normalize():
    changed, _ = both(augment.Normalize([0.1, 0.2, 0.3], [0.5, 1.0, 2.0]))
    for i, (mean, std) in enumerate(((0.1, 0.5), (0.2, 1.0), (0.3, 2.0))):
        np.testing.assert_allclose(changed[:, i], (IMAGES[:, i] - mean) / std, rtol=1e-6, atol=1e-6)
    before = tw.get_rng_state().tolist()
    both(augment.Normalize(0.5, 0.5))
    assert tw.get_rng_state().tolist() == before  # it draws nothing


def test_compose_passes_labels_on_or_does_without():
    steps = augment.Compose([augment.RandomCrop(8), augment.MixUp(num_classes=5)])
    images, labels = both(steps)
    assert images.shape == (64, 3, 8, 8)
    assert labels.shape == (64, 5)
    assert augment.Compose([augment.RandomCrop(8)])(IMAGES).shape == (64, 3, 8, 8)


def test_a_loader_augments_each_batch():
    plain = data.TensorDataset(IMAGES, LABELS)
    flipped = data.TransformedDataset(plain, augment.RandomHorizontalFlip(1))
    loader = data.DataLoader(flipped, 10)
    images, labels = zip(*loader, strict=True)
    np.testing.assert_array_equal(tw.cat(list(images)).numpy(), IMAGES[..., ::-1])
    np.testing.assert_array_equal(tw.cat(list(labels)).numpy(), LABELS)
    one, label = flipped[3]
    np.testing.assert_array_equal(one.numpy(), IMAGES[3, :, :, ::-1])
    assert label.item() == LABELS[3]


@pytest.mark.parametrize(
    "call",
    [
        lambda: augment.RandomHorizontalFlip(1.5),
        lambda: augment.RandomErasing(-0.1),
        lambda: augment.RandomErasing(scale=(0.5, 0.1)),
        lambda: augment.RandomErasing(value="black"),
        lambda: augment.RandomRotation(-3.0),
        lambda: augment.GaussianNoise(sigma=-1),
        lambda: augment.Normalize(0.0, 0.0),
        lambda: augment.Normalize([0.0, 0.0], 1.0)(IMAGES),
        lambda: augment.RandomCrop(13)(IMAGES),
        lambda: augment.RandomCrop(8)(IMAGES[0]),
        lambda: augment.RandomCrop(8)(np.zeros((1, 1, 9, 9), np.uint8)),
        lambda: augment.MixUp(num_classes=5, alpha=0),
        lambda: augment.MixUp(num_classes=4)(IMAGES, LABELS),
        lambda: augment.MixUp(num_classes=5)(IMAGES, LABELS[:3]),
        lambda: augment.MixUp(num_classes=5)(IMAGES),
    ],
)
def test_refusals(call):
    with pytest.raises((ValueError, TypeError), match=r"^\[\w+\] expected .*; got .*: ."):
        call()
