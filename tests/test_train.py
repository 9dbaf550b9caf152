"""Training: it learns, it stops where it is told to, and it goes on as if it had never stopped."""

import dataclasses
import itertools
import os
import signal
import threading

import numpy as np
import pytest

import tilework as tw
from tilework import data, io, nn, optim
from tilework import functional as F
from tilework.models import MLP
from tilework.optim.lr_scheduler import LambdaLR
from tilework.train import Interrupted, accuracy, classifier, fit, lenet, mlp, resnet, unet

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((50, 1, 3, 3)).astype(np.float32)
LABELS = (IMAGES.reshape(50, 9) @ RNG.standard_normal((9, 4))).argmax(1)


def parts(seed=1):
    """A model with dropout, its optimiser and a shuffling loader: all that draws random numbers."""
    tw.manual_seed(seed)
    model = MLP([9, 16, 4], dropout=0.3)
    loader = data.DataLoader(data.TensorDataset(IMAGES, LABELS), 8, shuffle=True)
    return model, optim.Adam(model.parameters(), lr=1e-2), F.cross_entropy, loader


def weights(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def stop_at(epoch, batch):
    def on_batch(position, batches):
        if (position.epoch, position.batch) == (epoch, batch):
            os.kill(os.getpid(), signal.SIGINT)

    return on_batch


def test_fit_learns_and_reports():
    model, optimizer, loss, loader = parts()
    losses, seen = [], []
    position = fit(
        model, optimizer, loss, loader, 30,
        on_batch=lambda p, n: seen.append((p.epoch, p.batch, n)),
        on_epoch=lambda p, mean: losses.append(mean),
    )  # fmt: skip
    assert position.epoch == len(losses) == 30
    assert seen[:8] == [(0, i + 1, 7) for i in range(7)] + [(1, 1, 7)]
    assert losses[-1] < losses[0] / 2
    assert accuracy(model, loader) > 0.9


def test_the_same_seed_gives_the_same_weights():
    runs = []
    for _ in range(2):
        made = parts()
        fit(*made, 2)
        runs.append(weights(made[0]))
    for name, value in runs[0].items():
        np.testing.assert_array_equal(value, runs[1][name])


# The last batch of an epoch, its first, and one in between.
@pytest.mark.parametrize(("epoch", "batch"), [(0, 3), (1, 1), (1, 7), (2, 7)])
def test_interrupted_and_resumed_is_as_never_interrupted(tmp_path, epoch, batch):
    whole = parts()
    whole_losses = []
    fit(*whole, 3, on_epoch=lambda p, mean: whole_losses.append(mean))
    path = tmp_path / "c"
    cut = parts()
    losses = []
    with pytest.raises(Interrupted) as stop:
        fit(*cut, 3, checkpoint=path, on_batch=stop_at(epoch, batch),
            on_epoch=lambda p, mean: losses.append(mean))  # fmt: skip
    assert (stop.value.position.epoch, stop.value.position.batch) == (epoch, batch)
    other = parts(seed=2)
    position = fit(*other, 3, checkpoint=path, resume=True,
                   on_epoch=lambda p, mean: losses.append(mean))  # fmt: skip
    assert position.epoch == 3
    assert losses == whole_losses
    for name, value in weights(whole[0]).items():
        np.testing.assert_array_equal(weights(other[0])[name], value)


def test_resuming_a_dataset_that_draws_numbers_itself(tmp_path):
    class Noisy(data.Dataset):
        def __len__(self):
            return len(LABELS)

        def __getitem__(self, index):
            return IMAGES[index] + 0.1 * tw.randn(1, 3, 3).numpy(), LABELS[index]

    def noisy_parts(seed):
        model, optimizer, loss, _ = parts(seed)
        return model, optimizer, loss, data.DataLoader(Noisy(), 8, shuffle=True)

    whole = noisy_parts(1)
    fit(*whole, 1)
    with pytest.raises(Interrupted):
        fit(*noisy_parts(1), 1, checkpoint=tmp_path / "c", on_batch=stop_at(0, 3))
    resumed = noisy_parts(2)
    fit(*resumed, 1, checkpoint=tmp_path / "c", resume=True)
    for name, value in weights(whole[0]).items():
        np.testing.assert_array_equal(weights(resumed[0])[name], value)


def test_resuming_after_a_whole_epoch(tmp_path):
    whole = parts()
    fit(*whole, 4)
    fit(*parts(), 2, checkpoint=tmp_path / "c")
    other = parts(seed=9)
    fit(*other, 4, checkpoint=tmp_path / "c", resume=True)
    for name, value in weights(whole[0]).items():
        np.testing.assert_array_equal(weights(other[0])[name], value)


def test_a_schedule_goes_on_where_it_stood(tmp_path):
    """By hand: each step's rate is the schedule's, across an interruption within an epoch."""

    def scheduled(seed=1):
        made = parts(seed)
        rates = []
        lr = LambdaLR(made[1], lambda step: 1 / (1 + step))
        return made, lr, rates, lambda p, n: rates.append(made[1].param_groups[0]["lr"])

    made, lr, rates, watch = scheduled()
    fit(*made, 2, scheduler=lr, on_batch=watch)
    assert rates == pytest.approx([1e-2 / (1 + step) for step in range(1, 15)])
    cut, lr, early, _ = scheduled()

    def stop(position, batches):
        early.append(cut[1].param_groups[0]["lr"])
        stop_at(1, 2)(position, batches)

    with pytest.raises(Interrupted):
        fit(*cut, 2, scheduler=lr, checkpoint=tmp_path / "c", on_batch=stop)
    other, lr, late, watch = scheduled(seed=2)
    fit(*other, 2, scheduler=lr, checkpoint=tmp_path / "c", resume=True, on_batch=watch)
    assert early + late == rates
    for name, value in weights(made[0]).items():
        np.testing.assert_array_equal(weights(other[0])[name], value)
    with pytest.raises(ValueError, match=r"\[fit\].*schedule"):
        fit(*parts(), 3, checkpoint=tmp_path / "c", resume=True)


def test_one_cycle():
    recipe = classifier.Recipe(batch_size=1, epochs=1, lr=1.0, one_cycle=True)
    rate = recipe.rate(100)
    rates = [rate(step) for step in range(100)]
    assert rates[:25] == pytest.approx([(i + 1) / 25 for i in range(25)])
    assert rates[25] == 1.0
    assert rates[25 + 75 // 2] == pytest.approx(0.5, abs=0.03)
    assert all(a > b for a, b in itertools.pairwise(rates[25:]))
    assert 0 < rates[-1] < 0.01
    assert rate(100) == 0.0
    steady = classifier.Recipe(batch_size=1, epochs=1, lr=1.0).rate(10)
    assert [steady(step) for step in range(10)] == [1.0] * 10


def test_the_users_own_handler_comes_back():
    before = signal.getsignal(signal.SIGINT)
    fit(*parts(), 1)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(Interrupted):
        fit(*parts(), 1, on_batch=stop_at(0, 1))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_is_an_ordinary_one(request):
    # A process started in the background of a script ignores SIGINT, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def twice(position, batches):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(*parts(), 1, on_batch=twice)


def test_fit_runs_off_the_main_thread():
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(*parts(), 1).epoch))
    thread.start()
    thread.join()
    assert done == [1]


def test_resuming_from_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\[fit\].*no file"):
        fit(*parts(), 1, checkpoint=tmp_path / "none", resume=True)
    with pytest.raises(ValueError, match=r"\[fit\].*checkpoint=PATH"):
        fit(*parts(), 1, resume=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: tree.pop("optimizer"),
        lambda tree: tree.pop("now"),
        lambda tree: tree.update(position={"epoch": 1, "nonsense": 2}),
        lambda tree: tree["position"].update(epoch="x"),
        lambda tree: tree.update(order=None),
        lambda tree: tree.update(scheduler={"last_epoch": 3, "base_lrs": [1.0]}),
        lambda tree: tree.pop("scheduler"),
        lambda tree: tree.update(now=tw.ones(3)),
        lambda tree: tree["optimizer"].update(state=[]),
        lambda tree: tree["optimizer"]["state"].update({0: None}),
        lambda tree: tree["optimizer"]["state"].update({99: {}}),
        lambda tree: tree.update(model=nn.Linear(2, 2).state_dict()),
        lambda tree: tree.update(optimizer={"state": {}, "param_groups": []}),
    ],
)
def test_a_checkpoint_that_does_not_fit_leaves_the_model_as_it_was(tmp_path, spoil):
    path = tmp_path / "c"
    fit(*parts(), 1, checkpoint=path)
    tree = io.load_checkpoint(path)
    spoil(tree)
    io.save_checkpoint(path, tree)
    made = parts(seed=5)
    before, numbers = weights(made[0]), tw.get_rng_state().tolist()
    with pytest.raises(ValueError, match=r"\[fit\].*resume with the options"):
        fit(*made, 2, checkpoint=path, resume=True)
    assert tw.get_rng_state().tolist() == numbers
    assert not made[1].state
    for name, value in weights(made[0]).items():
        np.testing.assert_array_equal(value, before[name])


def test_accuracy_counts_and_keeps_the_mode():
    class Fixed(nn.Module):
        def forward(self, x):
            assert not self.training
            return x

    logits = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]
    loader = data.DataLoader(data.TensorDataset(logits, np.array([0, 1, 2, 0, 1])), 2)
    model = Fixed()
    assert accuracy(model, loader) == pytest.approx(3 / 5)
    assert model.training


def test_digits_reach_97_percent():
    recipe = mlp.RECIPES["digits"]
    outcome = mlp.train(data.digits(), recipe, seed=0)
    assert outcome.accuracy >= 0.97
    assert outcome.majority < 0.15


needs_fashion = pytest.mark.skipif(
    not data.FASHION_MNIST_FOLDER.is_dir(), reason="needs Debian's dataset-fashion-mnist"
)


def few(images, count):
    """The first images of both parts."""
    return dataclasses.replace(
        images,
        train_images=images.train_images[:count],
        train_labels=images.train_labels[:count],
        test_images=images.test_images[:count],
        test_labels=images.test_labels[:count],
    )


@needs_fashion
@pytest.mark.parametrize(("recipes", "count"), [(lenet, 2000), (resnet, 1500)])
def test_image_recipes_learn(recipes, count, request):
    """A few steps on a few images: far above chance."""
    if tw.engines.current_engine() == "numba" and not request.config.getoption("--full"):
        pytest.skip("takes minutes on the numba engine; --full runs it")
    images = few(data.fashion_mnist(), count)
    recipe = dataclasses.replace(recipes.RECIPES["fashion-mnist"], batch_size=50, epochs=2)
    losses = []
    outcome = recipes.train(images, recipe, on_epoch=lambda p, mean: losses.append(mean))
    assert losses[1] < losses[0]
    assert outcome.accuracy > 0.4
    assert "by the majority class" in str(outcome)


def test_unet_finds_bright_discs(tmp_path):
    """The recipe itself, made small, on an image that can be had anywhere."""
    pytest.importorskip("skimage", reason="scikit-image, for Otsu's threshold, is not installed")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :128]
    instances = np.zeros((64, 128), np.int64)
    for i, (cy, cx) in enumerate(rng.uniform(0, 1, (20, 2)) * (64, 128), 1):
        instances[np.hypot(y - cy, x - cx) < 6] = i
    image = (instances > 0) * 3 + rng.standard_normal((64, 128))
    recipe = dataclasses.replace(
        unet.RECIPES["nuclei"], width=8, depth=2, window=32, batches=8, epochs=4, lr=1e-2
    )
    outcome = unet.train(data.Nuclei(image.astype(np.float32), instances), recipe)
    assert unet.overlap(outcome.found, outcome.truth) > 0.8
    assert outcome.truth.shape == (64, 64)
    outcome.save_picture(tmp_path / "p.png")
    from skimage.io import imread

    picture = imread(tmp_path / "p.png")
    assert picture.shape == (64, 3 * 64 + 8, 3)
    missed = (picture[:, -64:] == (255, 51, 51)).all(-1)
    np.testing.assert_array_equal(missed, outcome.truth & ~outcome.found)


@pytest.mark.full
@needs_fashion
@pytest.mark.parametrize(("recipes", "least"), [(lenet, 0.90), (resnet, 0.925)])
def test_image_recipes_reach_their_goal(recipes, least):
    images = data.fashion_mnist()
    assert recipes.train(images, recipes.RECIPES["fashion-mnist"]).accuracy >= least


@pytest.mark.full
@needs_fashion
def test_fashion_mnist_reaches_88_percent():
    outcome = mlp.train(data.fashion_mnist(), mlp.RECIPES["fashion-mnist"], seed=0)
    assert outcome.accuracy >= 0.88
    assert outcome.majority == pytest.approx(0.1)


def test_recipes_are_compared_by_their_spread_where_there_is_one():
    from tilework.benchmarks.torch_recipes.side_by_side import verdict

    assert verdict({"tilework": [0.5], "PyTorch": [0.25]}) == "tilework 50.00%, PyTorch 25.00%"
    near = verdict({"tilework": [0.50, 0.52], "PyTorch": [0.51, 0.53]})
    assert "the difference, -1.00%, is within two standard errors of it (1.41% each)" in near
    assert "beyond" in verdict({"tilework": [0.5, 0.51], "PyTorch": [0.9, 0.91]})
