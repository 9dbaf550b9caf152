"""Training: it learns, it stops where it is told to, and it goes on as if it had never stopped."""

import os
import signal
import threading

import numpy as np
import pytest

import tilework as tw
from tilework import data, io, metrics, nn, optim
from tilework import functional as F
from tilework.models import MLP
from tilework.optim.lr_scheduler import LambdaLR, StepLR
from tilework.train import Interrupted, Supervised, Task, Trainer, callbacks

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((50, 1, 3, 3)).astype(np.float32)
LABELS = (IMAGES.reshape(50, 9) @ RNG.standard_normal((9, 4))).argmax(1)


class Stop(callbacks.Callback):
    """Ctrl-C after a batch."""

    def __init__(self, epoch, batch, times=1):
        self.at, self.times = (epoch, batch), times

    def on_batch(self, trainer):
        if (trainer.position.epoch, trainer.position.batch) == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


class Watch(callbacks.Callback):
    """Keeps what `look(trainer)` gives after each batch."""

    def __init__(self, look):
        self.look, self.seen = look, []

    def on_batch(self, trainer):
        self.seen.append(self.look(trainer))


def loader_of(dataset=None, **options):
    dataset = data.TensorDataset(IMAGES, LABELS) if dataset is None else dataset
    return data.DataLoader(dataset, 8, shuffle=True, **options)


def trainer_of(*watchers, seed=1, schedule=True, **options):
    """A model with dropout and all that keeps a state, and draws random numbers."""
    tw.manual_seed(seed)
    model = MLP([9, 16, 4], dropout=0.3)
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    stateful = [callbacks.EarlyStopping("val_accuracy", 50), callbacks.WeightAverage(0.9)]
    if schedule:
        stateful.append(callbacks.Schedule(LambdaLR(optimizer, lambda step: 1 / (1 + step))))
    task = Supervised(model, F.cross_entropy, [metrics.Accuracy()])
    return Trainer(task, optimizer, [*watchers, *stateful], **options)


def weights(trainer):
    return {name: value.numpy().copy() for name, value in trainer.task.state_dict().items()}


def assert_same(one, other):
    assert one.history.rows == other.history.rows
    mine, others = weights(one), weights(other)
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, others[name])


def assert_resumes_exactly(make, loader, path, epoch, batch, epochs=3):
    """A run that Ctrl-C cuts ends as one that was never cut."""
    whole = make()
    whole.fit(loader(), loader(), epochs=epochs)
    with pytest.raises(Interrupted) as stop:
        make(Stop(epoch, batch), callbacks.Checkpoint(path)).fit(loader(), loader(), epochs=epochs)
    assert (stop.value.position.epoch, stop.value.position.batch) == (epoch, batch)
    other = make(callbacks.Checkpoint(path), seed=2)
    other.fit(loader(), loader(), epochs=epochs, resume=path)
    assert_same(other, whole)


def test_it_learns_and_reports():
    tw.manual_seed(1)
    model = MLP([9, 16, 4])
    task = Supervised(model, F.cross_entropy, [metrics.Accuracy()])
    watch = Watch(lambda t: (t.position.epoch, t.position.batch, t.batches))
    trainer = Trainer(task, optim.Adam(model.parameters(), lr=1e-2), [watch])
    history = trainer.fit(loader_of(), loader_of(), epochs=40)
    assert history["epoch"] == list(range(1, 41))
    assert watch.seen[:8] == [(0, i + 1, 7) for i in range(7)] + [(1, 1, 7)]
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["val_accuracy"] > 0.9
    assert trainer.evaluate(loader_of())["accuracy"] == history[-1]["val_accuracy"]
    assert trainer.position.step == 280
    assert history.names() == ["epoch", "loss", "lr", "val_loss", "val_accuracy"]


@pytest.mark.parametrize("kind", ["sampler", "batch_sampler", "indices"])
def test_a_samplers_own_generator_is_resumed(tmp_path, kind):
    def loader():
        pairs = data.TensorDataset(IMAGES, LABELS)
        if kind == "indices":
            return data.DataLoader(pairs, 8, sampler=data.SubsetRandomSampler(range(40), 3))
        drawn = data.RandomSampler(pairs, generator=3)
        if kind == "sampler":
            return data.DataLoader(pairs, 8, sampler=drawn)
        return data.DataLoader(pairs, batch_sampler=data.BatchSampler(drawn, 8, True))

    assert_resumes_exactly(trainer_of, loader, tmp_path / "c", 1, 3)


def test_the_definition_of_a_step():
    """Against a loop by hand: the mean of two batches' gradients, clipped; a step of what is left
    at the epoch's end."""
    x, y = IMAGES.reshape(50, 9)[:40], np.float32(RNG.standard_normal((40, 1)))
    batches = [(tw.tensor(x[i : i + 8]), tw.tensor(y[i : i + 8])) for i in range(0, 40, 8)]

    def model_of():
        tw.manual_seed(3)
        return nn.Linear(9, 1)

    by_hand = model_of()
    optimizer = optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    for group in (batches[:2], batches[2:4], batches[4:]):
        optimizer.zero_grad()
        sum(F.mse_loss(by_hand(a), b) for a, b in group).div(len(group)).backward()
        nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        optimizer.step()
    model = model_of()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = Trainer(Supervised(model, F.mse_loss), optimizer, accumulate=2, clip_norm=0.5)
    trainer.fit(batches, epochs=1)
    assert trainer.position.step == 3
    for mine, other in zip(model.parameters(), by_hand.parameters(), strict=True):
        tolerance = 32 * np.finfo(np.float32).eps * np.abs(other.detach().numpy()).max()
        np.testing.assert_allclose(
            mine.detach().numpy(), other.detach().numpy(), rtol=0, atol=tolerance
        )


@pytest.mark.parametrize(("epoch", "batch"), [(0, 3), (1, 1), (1, 7), (2, 7)])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_interrupted_and_resumed_is_as_never_interrupted(tmp_path, epoch, batch, accumulate):
    """At an epoch's last batch, its first, and one in between; within an accumulation too."""

    def make(*watchers, seed=1):
        return trainer_of(*watchers, seed=seed, accumulate=accumulate, clip_norm=1.0)

    assert_resumes_exactly(make, loader_of, str(tmp_path / "c"), epoch, batch)


def test_resuming_what_draws_its_own_numbers(tmp_path):
    """A dataset that draws tilework's numbers, a loader and an augmentation with generators."""
    noise = np.random.Generator(np.random.MT19937(0))

    class Noisy(data.Dataset):
        def __len__(self):
            return len(LABELS)

        def __getitem__(self, index):
            drawn = tw.randn(1, 3, 3).numpy() + noise.standard_normal((1, 3, 3), np.float32)
            return IMAGES[index] + 0.1 * drawn, LABELS[index]

    def make(*watchers, seed=1):
        noise.bit_generator.state = np.random.MT19937(seed).state
        return trainer_of(*watchers, seed=seed, generators={"noise": noise})

    assert_resumes_exactly(make, lambda: loader_of(Noisy(), generator=7), tmp_path / "c", 1, 3)


class Adversaries(Task):
    """Two models, two optimisers, and a count that says whose turn it is."""

    def __init__(self):
        super().__init__()
        self.maker, self.critic = nn.Linear(2, 9), nn.Linear(9, 1)
        self.kept["turn"] = 0

    def optimise(self, batch, trainer):
        real, fake = batch[0].reshape(-1, 9), self.maker(tw.randn(len(batch[0]), 2))
        self.kept["turn"] += 1
        if self.kept["turn"] % 3:
            loss = self.critic(fake.detach()).mean() - self.critic(real).mean()
            name = "critic"
        else:
            loss, name = -self.critic(fake).mean(), "maker"
        optimizer = trainer.optimizers[name]
        optimizer.zero_grad()
        (loss / 2).backward(retain_graph=True)
        (loss / 2).backward()
        optimizer.step()
        return {name: loss}

    def validation_step(self, batch):
        return {"critic": self.critic(batch[0].reshape(-1, 9)).mean()}


def test_a_task_with_two_optimisers_resumes_exactly(tmp_path):
    def make(*watchers, seed=1):
        tw.manual_seed(seed)
        task = Adversaries()
        made = {
            "maker": optim.Adam(task.maker.parameters(), lr=0.01),
            "critic": optim.SGD(task.critic.parameters(), lr=0.1, momentum=0.9),
        }
        halved = callbacks.Schedule(StepLR(made["critic"], 1, gamma=0.5), every="epoch")
        return Trainer(task, made, [halved, *watchers])

    assert_resumes_exactly(make, loader_of, tmp_path / "c", 1, 4)
    trainer = make()
    trainer.fit(loader_of(), epochs=2)
    assert trainer.position.step == 14
    assert {"maker", "critic"} <= set(trainer.history.names())
    assert trainer.optimizers["critic"].param_groups[0]["lr"] == 0.025


def test_a_second_fit_goes_on(tmp_path):
    def plain():
        made = trainer_of()
        made.callbacks = [c for c in made.callbacks if not isinstance(c, callbacks.EarlyStopping)]
        return made

    whole = plain()
    whole.fit(loader_of(), loader_of(), epochs=4)
    parts = plain()
    parts.fit(loader_of(), loader_of(), epochs=2)
    parts.fit(loader_of(), loader_of(), epochs=4)
    assert_same(whole, parts)
    whole = trainer_of()
    whole.fit(loader_of(), loader_of(), epochs=4)
    saved = trainer_of(callbacks.Checkpoint(tmp_path / "c"))
    saved.fit(loader_of(), loader_of(), epochs=2)
    other = trainer_of(seed=9)
    other.fit(loader_of(), loader_of(), epochs=4, resume=tmp_path / "c")
    assert_same(whole, other)


def test_steps_in_place_of_epochs():
    trainer = trainer_of(accumulate=2)
    trainer.fit(loader_of(), loader_of(), steps=6)
    assert (trainer.position.step, trainer.position.epoch) == (6, 2)
    with pytest.raises(ValueError, match=r"\[Trainer.fit\].*epochs or steps"):
        trainer.fit(loader_of(), steps=6, epochs=2)


def test_modes_and_handlers_come_back():
    trainer = trainer_of()
    trainer.task.eval()
    trainer.task.model.train()
    modes = [module.training for module in trainer.task.modules()]
    handler = signal.getsignal(signal.SIGINT)
    trainer.fit(loader_of(), loader_of(), epochs=1)
    trainer.predict(IMAGES)
    with pytest.raises(Interrupted):
        trainer_of(Stop(0, 1)).fit(loader_of(), epochs=1)
    assert [module.training for module in trainer.task.modules()] == modes
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_interrupt_is_an_ordinary_one(request):
    # A process started in the background of a script ignores SIGINT, and Python leaves it so.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        trainer_of(Stop(0, 1, times=2)).fit(loader_of(), epochs=1)


def test_it_runs_off_the_main_thread():
    trainer = trainer_of()
    thread = threading.Thread(target=lambda: trainer.fit(loader_of(), loader_of(), epochs=1))
    thread.start()
    thread.join()
    assert trainer.position.epoch == 1


def test_resuming_from_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\[Trainer\].*no file"):
        trainer_of().fit(loader_of(), epochs=1, resume=tmp_path / "none")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: tree.pop("optimizers"),
        lambda tree: tree.pop("now"),
        lambda tree: tree.update(position={"epoch": 1, "nonsense": 2}),
        lambda tree: tree["position"].update(epoch="x"),
        lambda tree: tree.update(order=None),
        lambda tree: tree["order"].update(train={}),
        lambda tree: tree["callbacks"]["Schedule 0"].update(base_lrs=[1.0]),
        lambda tree: tree["callbacks"].pop("Schedule 0"),
        lambda tree: tree["callbacks"].update(Another={}),
        lambda tree: tree["now"].update(tilework=tw.ones(3)),
        lambda tree: tree["optimizers"]["optimizer"].update(state=[]),
        lambda tree: tree["optimizers"]["optimizer"]["state"].update({99: {}}),
        lambda tree: tree.update(task=nn.Linear(2, 2).state_dict()),
        lambda tree: tree.update(gradients={"nobody": tw.ones(3)}),
        lambda tree: tree.update(losses={"loss": [1.0]}),
    ],
)
def test_a_checkpoint_that_does_not_fit_leaves_all_as_it_was(tmp_path, spoil):
    path = tmp_path / "c"
    trainer_of(callbacks.Checkpoint(path)).fit(loader_of(), loader_of(), epochs=1)
    tree = io.load_checkpoint(path)
    spoil(tree)
    io.save_checkpoint(path, tree)
    made = trainer_of(seed=5)
    before, numbers = weights(made), tw.get_rng_state().tolist()
    with pytest.raises(ValueError, match=r"\[Trainer\].*resume with the options"):
        made.fit(loader_of(), loader_of(), epochs=2, resume=path)
    assert tw.get_rng_state().tolist() == numbers
    assert not made.optimizers["optimizer"].state
    assert made.position.epoch == len(made.history) == 0
    for name, value in weights(made).items():
        np.testing.assert_array_equal(value, before[name])


class Fixed(nn.Module):
    """Gives its input, and asks to be judged in eval mode."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(tw.zeros(1))

    def forward(self, x):
        assert not self.training
        return x + self.weight


def test_evaluation_weighs_batches_by_their_samples():
    logits = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]
    loader = data.DataLoader(data.TensorDataset(logits, np.array([0, 1, 2, 0, 1])), 2)
    model = Fixed()
    task = Supervised(model, F.cross_entropy, [metrics.Accuracy()])
    found = Trainer(task, optim.SGD(model.parameters(), lr=1)).evaluate(loader)
    assert found["accuracy"] == pytest.approx(3 / 5)
    whole = F.cross_entropy(tw.tensor(logits), tw.tensor([0, 1, 2, 0, 1])).item()
    assert found["loss"] == pytest.approx(whole, rel=1e-6)
    assert model.training


def test_kinds_of_batches():
    """Pairs, several inputs, dicts, single tensors; outputs that are tuples and dicts."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(tw.ones(1))

        def forward(self, a, b):
            return {"sum": (a + b) * self.weight, "both": (a, b)}

    def loss(output, target):
        return F.mse_loss(output["sum"], target)

    model = Both()
    task = Supervised(model, loss, target="y")
    trainer = Trainer(task, optim.SGD(model.parameters(), lr=0.1))
    a, b = tw.ones(4, 1), tw.full((4, 1), 2.0)
    for batch in ((a, b, a), [a, b, a], {"a": a, "b": b, "y": a}):
        assert trainer.fit([batch], epochs=trainer.position.epoch + 1)[-1]["loss"] > 0
    found = trainer.predict([{"a": a, "b": b}, {"a": a, "b": b}])
    assert found["sum"].shape == found["both"][1].shape == (8, 1)
    auto = nn.Linear(1, 1)
    alone = Trainer(Supervised(auto, F.mse_loss), optim.SGD(auto.parameters(), lr=0.1))
    assert alone.fit([a], epochs=3)["loss"][0] > alone.history["loss"][-1]
    loader = data.DataLoader(data.TensorDataset(a), 4)  # whose batches are lists of one
    assert alone.fit(loader, loader, epochs=4)[-1]["loss"] < alone.history["loss"][-2]
    with pytest.raises(KeyError, match=r"\[Supervised\].*target=KEY"):
        task.training_step({"a": a})
    with pytest.raises(TypeError, match=r"\[Supervised\].*0 parts"):
        task.training_step([])


def test_losses_by_name():
    class Parts(Supervised):
        def training_step(self, batch):
            total = super().training_step(batch)
            return {"fit": total, "size": self.model.weight.square().sum()}

    model = nn.Linear(1, 1)
    trainer = Trainer(Parts(model, F.mse_loss), optim.SGD(model.parameters(), lr=0.0))
    row = trainer.fit([(tw.ones(2, 1), tw.ones(2, 1))], epochs=1)[0]
    assert row["loss"] == pytest.approx(row["fit"] + row["size"])


def test_early_stopping_keeps_the_best():
    figures = iter([3.0, 2.0, 2.5, 1.9999, 2.2, 0.0])

    class Given(Supervised):
        def validation_step(self, batch):
            return {"loss": next(figures)}

    model = nn.Linear(1, 1)
    stop = callbacks.EarlyStopping(patience=3, min_delta=0.01)
    trainer = Trainer(Given(model, F.mse_loss), optim.SGD(model.parameters(), lr=0.1), [stop])
    batches = [(tw.ones(2, 1), tw.ones(2, 1))]
    best = {}

    class Keep(callbacks.Callback):
        def on_epoch(self, trainer):
            best[trainer.position.epoch] = weights(trainer)

    trainer.callbacks.append(Keep())
    history = trainer.fit(batches, batches, epochs=10)
    assert len(history) == 5
    assert history.best("val_loss")["epoch"] == 4
    for name, value in weights(trainer).items():
        np.testing.assert_array_equal(value, best[2][name])
    with pytest.raises(KeyError, match=r"\[EarlyStopping\].*val_"):
        Trainer(Given(model, F.mse_loss), optim.SGD(model.parameters(), lr=0.1),
                [callbacks.EarlyStopping()]).fit(batches, epochs=1)  # fmt: skip


def test_the_best_weights_are_those_that_were_judged_best(tmp_path):
    """The averages, where there are such: of both callbacks that keep the best."""
    kept = callbacks.Checkpoint(tmp_path / "c", tmp_path / "best", monitor="val_accuracy")
    seen = []

    class Keep(callbacks.Callback):
        def on_validation_end(self, trainer):
            seen.append({n: p.numpy().copy() for n, p in trainer.callbacks[0]._average.items()})

    trainer = trainer_of(kept, Keep(), schedule=False, seed=3)
    history = trainer.fit(loader_of(), loader_of(), epochs=7)
    best = history["val_accuracy"].index(max(history["val_accuracy"]))
    assert best < 6  # the last epoch's would show nothing
    for name, value in io.load(tmp_path / "best").items():
        np.testing.assert_array_equal(value.numpy(), seen[best][name])
        np.testing.assert_array_equal(weights(trainer)[name], seen[best][name])
    judged = trainer.evaluate(loader_of())
    assert judged["accuracy"] == history[best]["val_accuracy"]


def schedules(optimizer):
    """Each kind that keeps a state of its own making, and how often it steps."""
    s = optim.lr_scheduler
    warm = [s.LinearLR(optimizer, 0.1, total_iters=3), s.CosineAnnealingLR(optimizer, 10)]
    yield s.SequentialLR(optimizer, warm, [3])
    yield s.ChainedScheduler([s.ConstantLR(optimizer, 0.5, 4), s.ExponentialLR(optimizer, 0.9)])
    yield s.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.2)
    yield s.MultiStepLR(optimizer, [2, 3, 3])


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("batch", [1, 5])
def test_every_schedule_resumes_within_an_accumulation(tmp_path, which, batch):
    def make(*watchers, seed=1):
        trainer = trainer_of(*watchers, seed=seed, schedule=False, accumulate=3)
        schedule = list(schedules(trainer.optimizers["optimizer"]))[which]
        trainer.callbacks.insert(0, callbacks.Schedule(schedule))
        return trainer

    assert_resumes_exactly(make, loader_of, tmp_path / "c", 1, batch)


def test_a_plateau_is_given_its_figure():
    tw.manual_seed(1)
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    figures = iter([3.0, 2.0, 2.5, 1.0])

    class Given(Supervised):
        def validation_step(self, batch):
            return {"figure": next(figures)}

    watch = callbacks.Schedule(plateau, monitor="val_figure")
    batches = [(tw.ones(2, 1), tw.ones(2, 1))]
    history = Trainer(Given(model, F.mse_loss), optimizer, [watch]).fit(batches, batches, epochs=4)
    assert history["lr"] == [1.0, 1.0, 1.0, 0.5]
    with pytest.raises(KeyError, match=r"\[Schedule\].*val_"):
        Trainer(Given(model, F.mse_loss), optimizer, [watch]).fit(batches, epochs=1)
    with pytest.raises(ValueError, match=r"\[Schedule\].*every='epoch'"):
        callbacks.Schedule(plateau, every="step")
    with pytest.raises(TypeError, match=r"\[Schedule\].*got SGD"):
        callbacks.Schedule(optimizer)


def test_a_run_that_stopped_early_is_over_when_it_is_resumed(tmp_path):
    def make():
        tw.manual_seed(1)
        model = MLP([9, 4])
        stop = callbacks.EarlyStopping("val_loss", 2, min_delta=100.0)
        kept = [callbacks.WeightAverage(0.5), stop, callbacks.Checkpoint(tmp_path / "c")]
        task = Supervised(model, F.cross_entropy)
        return Trainer(task, optim.SGD(model.parameters(), lr=0.1), kept)

    whole = make()
    assert len(whole.fit(loader_of(), loader_of(), epochs=9)) == 3
    again = make()
    assert len(again.fit(loader_of(), loader_of(), epochs=9, resume=tmp_path / "c")) == 3
    assert_same(again, whole)


def test_a_finished_run_with_averages_is_saved_whole(tmp_path):
    """The run goes on with its own weights, not with the averages that the task has at its end."""
    whole = trainer_of(seed=1)
    whole.fit(loader_of(), loader_of(), epochs=1)
    whole.save(tmp_path / "c")
    whole.fit(loader_of(), loader_of(), epochs=2)
    other = trainer_of(seed=2)
    other.fit(loader_of(), loader_of(), epochs=2, resume=tmp_path / "c")
    assert_same(other, whole)


@pytest.mark.parametrize("decay", [None, 0.5])
def test_averages_of_weights(decay):
    model = nn.Linear(1, 1, bias=False)
    seen = []

    class Keep(callbacks.Callback):
        def on_step(self, trainer):
            seen.append(model.weight.item())

    average = callbacks.WeightAverage(decay, start=1)
    task = Supervised(model, F.mse_loss)
    trainer = Trainer(task, optim.SGD(model.parameters(), lr=0.1), [Keep(), average])
    trainer.fit([(tw.ones(2, 1), tw.zeros(2, 1))] * 5, epochs=1)
    expected = seen[1]
    for value in seen[2:]:
        expected = np.mean(seen[1:]) if decay is None else decay * expected + 0.5 * value
    assert model.weight.item() == pytest.approx(expected, rel=1e-6)


def test_the_history_is_written_and_drawn(tmp_path):
    logs = [callbacks.CSVLog(tmp_path / "h.csv"), callbacks.ProgressBar()]
    trainer = trainer_of(*logs)
    trainer.fit(loader_of(), loader_of(), epochs=2)
    lines = (tmp_path / "h.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,lr,val_loss,val_accuracy"
    assert len(lines) == 3
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    trainer.history.plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").stat().st_size > 1000


def test_errors_say_what_to_do():
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match=r"\[Trainer\].*Supervised\(model, loss\)"):
        Trainer(model, optimizer)
    task = Supervised(model, F.mse_loss)
    for loss in (lambda y, t: 1.0, lambda y, t: {"loss": 1.0}, lambda y, t: {"a": 1.0, "b": 2.0}):
        lost = Trainer(Supervised(model, loss), optimizer)
        with pytest.raises(TypeError, match=r"\[Supervised\].*a loss.*got float"):
            lost.fit([(tw.ones(2, 1), tw.ones(2, 1))], epochs=1)
    with pytest.raises(TypeError, match=r"\[Trainer\].*optimizer as an Optimizer; got list"):
        Trainer(task, [optimizer])
    with pytest.raises(TypeError, match=r"\[Trainer\].*put it in a list"):
        Trainer(task, optimizer, callbacks.ProgressBar())
    with pytest.raises(TypeError, match=r"\[Trainer\].*make them"):
        Trainer(task, optimizer, [callbacks.ProgressBar])
    with pytest.raises(ValueError, match=r"\[Trainer.fit\].*from 0; got -1"):
        Trainer(task, optimizer).fit([], epochs=-1)
    with pytest.raises(ValueError, match=r"\[Trainer.fit\].*not an iterator"):
        Trainer(Supervised(model, F.mse_loss), optimizer).fit(iter([]), epochs=1)
    with pytest.raises(NotImplementedError, match=r"\[Task\].*training_step"):
        Trainer(Task(), optimizer).fit([tw.ones(1)], epochs=1)
    with pytest.raises(ValueError, match=r"\[Checkpoint\].*make it first"):
        callbacks.Checkpoint("/no/such/folder/file")
