"""What recipes of tables and of autoencoders are made of: splits, Rosenblatt's rule, components."""

import sys

import numpy as np
import pytest

import tilework as tw
from tilework import data
from tilework import functional as F
from tilework.models.perceptron import Perceptron
from tilework.train import Trainer, recipes
from tilework.train import recipe as running
from tilework.train.recipes import (
    _reconstruction,
    _tables,
    anomaly,
    autoencoder_denoising,
    autoencoder_kl,
    autoencoder_l1,
    vae,
)
from tilework.train.recipes.perceptron import Rosenblatt, loss

RNG = np.random.default_rng(0)
WIDTHS = {
    "autoencoder": 16, "autoencoder-conv": 16, "autoencoder-kl": 16, "autoencoder-l1": 16, "vae": 8,
}  # fmt: skip


# --- tables ---


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "diabetes"])
def test_tables_are_split_once_and_for_all(name):
    pytest.importorskip("sklearn", reason="scikit-learn, which has the tables, is not installed")
    from sklearn import datasets

    table, again = data.source(name), data.source(name)
    np.testing.assert_array_equal(table.test, again.test)
    whole = getattr(datasets, f"load_{name.replace('-', '_')}")()
    rows = np.concatenate([table.train, table.test])
    assert len(table.test) == round(0.3 * len(whole.data))
    targets = np.concatenate([table.train_targets, table.test_targets]).reshape(-1)
    found, expected = (
        np.unique(np.column_stack([x, y]).astype(np.float32), axis=0)
        for x, y in ((rows, targets), (whole.data, whole.target))
    )
    np.testing.assert_array_equal(found, expected)  # every row once, with its own target
    if table.classes:
        counts = [np.bincount(y) for y in (table.train_targets, table.test_targets)]
        away = counts[1] - counts[1].sum() / len(rows) * (counts[0] + counts[1])
        assert np.abs(away).max() < 1  # each part has its share of each class


def test_without_scikit_learn_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"\[wine\] expected scikit-learn.*pip install"):
        data.wine()


def table(classes=("a", "b")):
    rows = (5 + 3 * RNG.standard_normal((60, 4))).astype(np.float32)
    targets = (rows @ [1.0, -2.0, 0.5, 0.0] > -2.5).astype(np.int64)
    if not classes:
        targets = (rows[:, :1] * 2 + 10).astype(np.float32)
    return data.Table("t", tuple("wxyz"), rows[:40], targets[:40], rows[40:], targets[40:], classes)


@pytest.mark.parametrize("classes", [("a", "b"), ()])
def test_tables_are_standard_by_the_part_to_learn_from(classes):
    given = table(classes)
    train, _, test, targets = _tables.standardised(given)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(test * given.train.std(0) + given.train.mean(0), given.test, 1e-4)
    if classes:
        assert targets is given.test_targets
    else:
        scale, shift = given.train_targets.std(), given.train_targets.mean()
        np.testing.assert_allclose(targets * scale + shift, given.test_targets, 1e-4)


def test_linear_models_stand_beside_what_is_trivial():
    pytest.importorskip("sklearn", reason="scikit-learn, which has linear models, is missing")
    found = _tables.majority(table())
    assert found.name.startswith("the majority class; logistic regression ")
    assert found.value < 0.8 <= float(found.name.split()[-1])
    given = table(())
    found = _tables.mean(given)
    assert found.name.startswith("the mean; ridge regression ")
    assert float(found.name.split()[-1]) < 1e-3  # the targets are a line's
    spread = ((given.test_targets - given.train_targets.mean()) ** 2).mean()
    assert found.value == pytest.approx(spread / given.train_targets.var(), rel=1e-4)


# --- Rosenblatt's rule ---


def test_rosenblatts_rule_is_the_textbooks():
    """By numbers worked out by hand: a point that is missed is added, or taken away."""
    model = Perceptron(2)
    model.load_state_dict(
        {"plane.weight": tw.tensor([[1.0, -1.0]]), "plane.bias": tw.tensor([0.0])}
    )
    task = Rosenblatt(model, lambda scores, labels: loss(F, scores, labels), [])
    trainer = Trainer(task, tw.optim.SGD(model.parameters(), lr=0.5))
    points = [([2.0, 1.0], 1), ([3.0, 1.0], 0), ([1.0, 1.0], 1), ([0.0, 0.0], 0)]
    batches = [[tw.tensor([x]), tw.tensor([y])] for x, y in points]
    losses = [trainer.task.optimise(batch, trainer)["loss"].item() for batch in batches]
    # (2, 1) is right; (3, 1) is taken away by half; (1, 1), missed now, is added by half; the last
    # lies on the plane and counts as missed.
    assert losses == [0.0, 2.0, 2.5, 0.0]
    assert model.plane.weight.tolist() == [[0.0, -1.0]]
    assert model.plane.bias.item() == -0.5
    assert all(p.grad is None for p in model.parameters())


def test_rosenblatts_rule_is_descent_on_how_far_points_are_missed_by():
    """By PyTorch's gradients and steps, whatever the batch."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    model, plane = Perceptron(4), torch.nn.Linear(4, 1)
    start = {
        name: torch.from_numpy(x.numpy().copy()) for name, x in model.plane.state_dict().items()
    }
    plane.load_state_dict(start)
    step = torch.optim.SGD(plane.parameters(), lr=0.1)
    task = Rosenblatt(model, lambda scores, labels: loss(F, scores, labels), [])
    trainer = Trainer(task, tw.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(30):
        x, y = RNG.standard_normal((5, 4)).astype(np.float32), RNG.integers(0, 2, 5)
        trainer.task.optimise([tw.tensor(x), tw.tensor(y)], trainer)
        step.zero_grad()
        loss(torch.nn.functional, plane(torch.tensor(x))[:, 0], torch.tensor(y)).backward()
        step.step()
    theirs = plane.weight.detach().numpy()
    np.testing.assert_allclose(
        model.plane.weight.detach().numpy(), theirs, rtol=0, atol=30 * 32 * np.finfo(np.float32).eps
    )
    assert np.abs(theirs - start["weight"].numpy()).max() > 0.1


# --- autoencoders ---


def images():
    """Pictures of 28x28 pixels on a plane of two dimensions, and a little off it."""
    codes = RNG.random((80, 2))
    y, x = np.mgrid[:28, :28] / 27
    flat = codes[:, :1, None, None] * x + codes[:, 1:, None, None] * y
    pictures = (flat / 2 + 0.01 * RNG.random(flat.shape)).astype(np.float32)
    labels = np.arange(40) % 2
    return data.ImageSet(
        "planes", pictures[:40], labels, pictures[40:], labels.copy(), ("Trouser", "Bag")
    )


def test_principal_components_are_scikit_learns():
    decomposition = pytest.importorskip("sklearn.decomposition", reason="scikit-learn is missing")
    given = images()
    judge = decomposition.PCA(3, svd_solver="full").fit(given.train_images.reshape(40, -1))
    flat = given.test_images.reshape(40, -1)
    expected = judge.inverse_transform(judge.transform(flat)).reshape(given.test_images.shape)
    found = _reconstruction.Principal(given.train_images, 3)(given.test_images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    baseline = _reconstruction.components(3)(given)
    error = np.square(expected - given.test_images).mean()
    assert baseline.value == pytest.approx(error, rel=1e-3)


def test_noise_is_fixed_where_it_is_judged_and_new_where_it_is_learnt_from():
    given = images()
    batches = autoencoder_denoising.batches(given, 40)
    for part, fixed in ((batches.held_out, True), (batches.train, False)):
        ((first, clean),), ((second, _),) = part, part
        noise = (first - clean).numpy()
        assert noise.std() == pytest.approx(0.25, rel=0.02)
        assert abs(noise.mean()) < 0.01
        assert np.array_equal(first.numpy(), second.numpy()) == fixed
    baseline = autoencoder_denoising.untouched(given)
    assert baseline.value == pytest.approx(10 * np.log10(16), abs=0.1)


def test_penalties_are_those_of_their_definitions():
    image, target = tw.zeros(2, 4), tw.full((2, 4), 0.5)
    code = tw.tensor([[0.2, 0.0, 0.9], [0.4, 0.0, 0.1]])
    found = autoencoder_l1.loss(F, (image, code), target).item() - 0.25
    assert found == pytest.approx(5e-4 * 1.6 / 6, rel=1e-2)
    found = autoencoder_kl.loss(F, (image, code), target).item() - 0.25
    p, q = 0.2, np.array([0.3, 1e-6, 0.5])
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
    assert found == pytest.approx(5e-4 * expected, rel=1e-2)


def test_the_bound_is_that_of_two_normals():
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    mean, log_variance = (RNG.standard_normal((3, 5)).astype(np.float32) for _ in range(2))
    image, target = (RNG.random((3, 784)).astype(np.float32) for _ in range(2))
    output = tuple(map(tw.tensor, (image, mean, log_variance)))
    normal = torch.distributions.Normal
    apart = torch.distributions.kl_divergence(
        normal(torch.tensor(mean), torch.tensor(log_variance / 2).exp()), normal(0.0, 1.0)
    )
    deviation = np.sqrt(np.square(image - target).mean())
    evidence = normal(torch.tensor(image), float(deviation)).log_prob(torch.tensor(target))
    constant = 0.5 * np.log(2 * np.pi) + 0.5
    expected = (apart.sum(1).mean() / 784 - evidence.mean()).item() - constant
    assert vae.loss(F, output, tw.tensor(target)).item() == pytest.approx(expected, rel=1e-4)


def test_the_variational_one_is_judged_by_its_mean_codes():
    batches = vae.batches(images(), 20)
    ((_, noise, _),) = batches.held_out
    assert not noise.numpy().any()
    drawn = np.concatenate([noise.numpy() for _, noise, _ in batches.train])
    assert drawn.std() == pytest.approx(1, abs=0.15)


def test_anomalies_are_learnt_from_trousers_alone():
    given = images()
    batches = anomaly.batches(given, 50)
    ((ordinary, none),) = batches.train
    assert ordinary.shape[0] == 20
    assert not none.numpy().any()
    kept = given.train_images[given.train_labels == 0]
    assert ordinary.numpy().sum() == pytest.approx(kept.sum(), rel=1e-5)
    ((_, strange),) = batches.held_out
    np.testing.assert_array_equal(strange.numpy(), given.test_labels)
    assert "components" in anomaly.distances(given).name


@pytest.mark.parametrize("name", ["autoencoder", "autoencoder-denoising", "vae", "anomaly"])
def test_pictures_are_drawn(name, tmp_path):
    pytest.importorskip("PIL", reason="Pillow, which writes pictures, is not installed")
    recipe, given = recipes.get(name), images()
    outcome = running.run(recipe, given, epochs=1)
    recipe.picture(outcome, given, tmp_path / "p.png")
    picture = data.read_image(tmp_path / "p.png", mode="L").numpy()[0]
    assert picture.max() > picture.min()
    first = picture[:56:2, :56:2]
    if name == "autoencoder":  # a picture to judge by, and below it what is made of it
        np.testing.assert_allclose(first, given.test_images[0, 0], atol=1 / 255)
        made = outcome.trainer.predict(given.test_images[:1]).numpy()[0, 0]
        np.testing.assert_allclose(picture[56:112:2, :56:2], made, atol=1 / 255)
    if name == "vae":  # a walk begins and ends at held-out images' mean codes
        shown, _, _ = outcome.model(tw.tensor(given.test_images[[0, 12]]))
        for column, expected in ((12, shown[0, 0]), (23, shown[1, 0])):
            start = 56 * column + 16
            made = picture[:56:2, start : start + 56 : 2]
            np.testing.assert_allclose(made, expected.detach().numpy(), atol=1.5 / 255)


@pytest.mark.full
@pytest.mark.parametrize("name", WIDTHS)
def test_goals_are_seven_tenths_of_the_principal_components(name):
    recipe = recipes.get(name)
    try:
        source = data.source(recipe.data)
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    baseline = recipe.baseline(source)
    assert baseline.name == f"{WIDTHS[name]} principal components"
    assert recipe.model(source).encoder is not None
    assert recipe.goal <= 0.7 * baseline.value
