"""Optimisers and schedules beside PyTorch's, step by step, and their states in each other."""

import numpy as np
import pytest

import tilework as tw
from tilework.testing.tolerance import eps

torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")

STEPS = 14  # past where RAdam begins to rectify
OPTIMISERS = {
    "RMSprop": ({}, {"momentum": 0.9, "centered": True}, {"weight_decay": 0.1, "maximize": True}),
    "Adagrad": ({}, {"lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    "Adadelta": ({}, {"rho": 0.7, "weight_decay": 0.1}),
    "Adamax": ({}, {"betas": (0.8, 0.9), "weight_decay": 0.1}),
    "RAdam": ({}, {"betas": (0.8, 0.95), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "NAdam": ({}, {"momentum_decay": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "Adam": ({"foreach": True}, {"fused": True, "amsgrad": True}),
    "SGD": ({"foreach": False, "momentum": 0.9},),
}
EACH = [(name, how) for name, every in OPTIMISERS.items() for how in every]


def stepped(library, optimiser, weight, grads):
    for grad in grads:
        weight.grad = library.tensor(grad)
        optimiser.step()
    return weight.detach().numpy()


def as_arrays(state):
    """A state of PyTorch's with its tensors as arrays."""
    kept = {
        i: {k: v.numpy().copy() if isinstance(v, torch.Tensor) else v for k, v in held.items()}
        for i, held in state["state"].items()
    }
    return {**state, "state": kept}


@pytest.mark.parametrize(("name", "how"), EACH, ids=[f"{n}-{i}" for i, (n, _) in enumerate(EACH)])
def test_steps(name, how):
    rng = np.random.default_rng(3)
    start = rng.standard_normal((3, 5)).astype(np.float32)
    grads = [rng.standard_normal((3, 5)).astype(np.float32) for _ in range(STEPS)]
    theirs, ours = torch.nn.Parameter(torch.tensor(start)), tw.nn.Parameter(tw.tensor(start))
    their_optimiser = getattr(torch.optim, name)([theirs], lr=0.05, **how)
    wanted = stepped(torch, their_optimiser, theirs, grads)
    got = stepped(tw, getattr(tw.optim, name)([ours], lr=0.05, **how), ours, grads)
    bound = 40 * STEPS * eps("float32") * (1 + np.abs(start) + 0.05 * STEPS)
    assert (np.abs(got - wanted) <= bound).all()

    # and from PyTorch's own state half-way
    theirs, ours = torch.nn.Parameter(torch.tensor(start)), tw.nn.Parameter(tw.tensor(start))
    their_optimiser = getattr(torch.optim, name)([theirs], lr=0.05, **how)
    half = stepped(torch, their_optimiser, theirs, grads[: STEPS // 2])
    with tw.no_grad():
        ours.copy_(tw.tensor(half.copy()))
    optimiser = getattr(tw.optim, name)([ours], lr=0.05, **how)
    optimiser.load_state_dict(as_arrays(their_optimiser.state_dict()))
    got = stepped(tw, optimiser, ours, grads[STEPS // 2 :])
    assert (np.abs(got - wanted) <= bound).all()
    names = set(their_optimiser.state_dict()["state"][0])
    assert {k for k, v in optimiser.state_dict()["state"][0].items() if v is not None} == {
        k for k in names if their_optimiser.state_dict()["state"][0][k] is not None
    }


def test_arguments():
    w = [tw.ones(1, requires_grad=True)]
    for name in OPTIMISERS:
        with pytest.raises(ValueError, match=rf"^\[{name}\] expected lr >= 0"):
            getattr(tw.optim, name)(w, lr=-1.0)
        with pytest.raises(TypeError, match=rf"^\[{name}\] expected an argument that it has"):
            getattr(tw.optim, name)(w, strange=1)
        with pytest.raises(ValueError, match="differentiable"):
            getattr(tw.optim, name)(w, differentiable=True)


class Falling:
    """A function of a schedule with a state of its own."""

    def __init__(self):
        self.rate = 0.9

    def __call__(self, step):
        return self.rate**step


def warm(s, o):
    return s.SequentialLR(o, [s.LinearLR(o, 0.25, total_iters=4), s.CosineAnnealingLR(o, 9)], [4])


def three(s, o):
    first, second = s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9)
    return s.SequentialLR(o, [first, second, s.StepLR(o, 2, 0.5)], milestones=[3, 8])


def chained(s, o):
    return s.ChainedScheduler([s.MultiStepLR(o, [2, 5], 0.5), s.ExponentialLR(o, 0.95)])


def nested(s, o):
    both = s.ChainedScheduler([s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.9)])
    return s.SequentialLR(o, [both, s.PolynomialLR(o, 8)], [6])


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 2, 7, 11], 0.5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.3, 0.8, 6),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 9, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.95),
    "LambdaLR": lambda s, o: s.LambdaLR(o, [Falling(), lambda epoch: 1 / (1 + epoch)]),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.01),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, [0.5, 1.0], 21),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, 0.5, epochs=3, steps_per_epoch=8, anneal_strategy="linear", three_phase=True
    ),
    "OneCycleLR alone": lambda s, o: s.OneCycleLR(o, 0.5, 25, cycle_momentum=False),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 3, 4),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, [0.1, 0.2], 0.5, 3, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(
        o, 0.1, 0.5, 3, mode="exp_range", gamma=0.9, cycle_momentum=False
    ),
    "CyclicLR by hand": lambda s, o: s.CyclicLR(
        o, 0.1, 0.5, 3, scale_fn=Falling(), scale_mode="iterations"
    ),
    "SequentialLR": warm,
    "SequentialLR of three": three,
    "SequentialLR of chained": nested,
    "ChainedScheduler": chained,
}


def built(library, make, adam):
    groups = [{"params": [library.ones(1, requires_grad=True)], "lr": rate} for rate in (0.5, 2.0)]
    kind = library.optim.Adam if adam else library.optim.SGD
    optimiser = kind(groups, **({} if adam else {"momentum": 0.9}))
    return optimiser, make(library.optim.lr_scheduler, optimiser)


def rates(optimiser, schedule, steps):
    seen = []
    for _ in range(steps):
        seen.append(
            [(g["lr"], g.get("momentum"), g.get("betas")) for g in optimiser.param_groups]
            + [schedule.get_last_lr()]
        )
        optimiser.step()
        schedule.step()
    return seen


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("adam", [False, True], ids=["momentum", "betas"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name, adam):
    ours, theirs = (rates(*built(lib, SCHEDULES[name], adam), 20) for lib in (tw, torch))
    assert ours == theirs
    # a fresh one goes on from a state
    optimiser, schedule = built(tw, SCHEDULES[name], adam)
    assert rates(optimiser, schedule, 8) == theirs[:8]
    state, rest = schedule.state_dict(), optimiser.state_dict()
    optimiser, schedule = built(tw, SCHEDULES[name], adam)
    optimiser.load_state_dict(rest)
    schedule.load_state_dict(state)
    assert rates(optimiser, schedule, 12) == theirs[8:]


METRICS = [3.0, 2.9, 2.9, 2.95, 2.9, 2.9, 1.0, 1.0, 0.9999, 1.1, 1.2, 1.3, 1.4, 0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    "how",
    [
        {"patience": 1},
        {"mode": "max", "patience": 2, "factor": 0.5},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 0, "cooldown": 2},
        {"mode": "max", "threshold_mode": "abs", "patience": 0, "min_lr": [0.01, 0.1]},
        {"patience": 0, "factor": 0.9, "eps": 0.01},
    ],
)
def test_plateaus(how):
    seen = {}
    for library in (tw, torch):
        optimiser, s = built(library, lambda s, o: s.ReduceLROnPlateau(o, **how), False)
        seen[library] = []
        for i, metric in enumerate(METRICS):
            s.step(library.tensor(metric) if i % 2 else metric)
            seen[library].append(
                [g["lr"] for g in optimiser.param_groups]
                + [s.best, s.num_bad_epochs, s.in_cooldown, s.last_epoch, s.get_last_lr()]
            )
            if library is tw and i == 7:
                state = s.state_dict()
                s = tw.optim.lr_scheduler.ReduceLROnPlateau(optimiser, **how)
                s.load_state_dict(state)
    assert seen[tw] == seen[torch]


def test_what_schedules_refuse():
    o = tw.optim.SGD([tw.ones(1)], lr=1.0)
    other = tw.optim.SGD([tw.ones(1)], lr=1.0)
    s = tw.optim.lr_scheduler
    plateau = s.ReduceLROnPlateau(o)
    for make in (
        lambda: s.ConstantLR(o, 1.5), lambda: s.LinearLR(o, 0.0),
        lambda: s.LinearLR(o, end_factor=2), lambda: s.CosineAnnealingWarmRestarts(o, 0),
        lambda: s.OneCycleLR(o, 1.0),
        lambda: s.OneCycleLR(o, 1.0, 10, anneal_strategy="sine"),
        lambda: s.OneCycleLR(o, [1.0, 2.0], 10), lambda: s.CyclicLR(o, 0.1, 1.0, mode="square"),
        lambda: s.ReduceLROnPlateau(o, factor=1.0), lambda: s.ReduceLROnPlateau(o, "best"),
        lambda: s.SequentialLR(o, [s.StepLR(o, 1)], [3]), lambda: s.SequentialLR(o, [], []),
        lambda: s.ChainedScheduler([s.StepLR(o, 1), s.StepLR(other, 1)]),
        lambda: s.ChainedScheduler([plateau]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^\[\w+\] expected"):
            make()
    cycle = s.OneCycleLR(o, 1.0, 2, cycle_momentum=False)
    cycle.step()
    cycle.step()
    with pytest.raises(ValueError, match="at most 2 steps"):
        cycle.step()
