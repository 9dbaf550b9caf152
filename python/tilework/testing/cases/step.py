"""Cases of whole training steps: an image classifier, a small network of deep Q-learning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.cases.optim import adam, sgd
from tilework.testing.reference import log_softmax
from tilework.testing.tolerance import eps, growth

Recipe = dict[str, Any]
MLP: Recipe = {"optimiser": "SGD", "lr": 0.1, "momentum": 0.9}
DQN: Recipe = {"optimiser": "Adam", "lr": 1e-3}


# --- the step, as our library and PyTorch both spell it ---


def _model(tw: Any, weights: tuple[Any, ...]) -> Any:
    """Linear layers with ReLU between, holding copies of the weights."""
    layers = []
    for weight in weights[::2]:
        layers += [tw.nn.Linear(weight.shape[1], weight.shape[0]), tw.nn.ReLU()]
    model = tw.nn.Sequential(*layers[:-1])
    names = [f"{2 * i}.{kind}" for i in range(len(weights) // 2) for kind in ("weight", "bias")]
    if weights[0].dtype == tw.float64:
        model = model.double()
    model.load_state_dict(dict(zip(names, weights, strict=True)))
    return model


def _training(recipe: Recipe, classify: bool) -> Callable[..., Callable[[], Any]]:
    """Builds model and optimiser, and returns the step: it gives the loss before the update."""

    def setup(tw: Any, F: Any, x: Any, target: Any, *weights: Any) -> Callable[[], Any]:
        model = _model(tw, weights)
        options = {k: v for k, v in recipe.items() if k != "optimiser"}
        if tw.__name__ == "torch" and recipe["optimiser"] == "Adam":
            options["fused"] = True  # PyTorch's fastest
        optimiser = getattr(tw.optim, recipe["optimiser"])(model.parameters(), **options)
        loss_of = F.cross_entropy if classify else F.mse_loss

        def step() -> Any:
            optimiser.zero_grad()
            loss = loss_of(model(x), target)
            loss.backward()
            optimiser.step()
            return loss.detach()

        return step

    return setup


# --- the same in NumPy ---


def _loss(output: Array, target: Array, classify: bool) -> tuple[Array, Array]:
    """The loss, and its gradient by the network's output."""
    if not classify:
        away = output - target
        return np.asarray(np.square(away).mean()), 2.0 * away / away.size
    log_p = log_softmax(output, 1)
    rows = np.arange(len(target))
    grad = np.exp(log_p)
    grad[rows, target] -= 1.0
    return np.asarray(-log_p[rows, target].mean()), grad / len(target)


def _gradients(
    x: Array, target: Array, weights: list[Array], classify: bool
) -> tuple[Array, list[Array]]:
    activations = [x]
    for i in range(0, len(weights), 2):
        z = activations[-1] @ weights[i].T + weights[i + 1]
        activations.append(np.maximum(z, 0.0) if i + 2 < len(weights) else z)
    loss, dz = _loss(activations.pop(), target, classify)
    grads: list[Array] = []
    for i in range(len(weights) - 2, -1, -2):
        inner = activations.pop()
        grads = [dz.T @ inner, dz.sum(0), *grads]
        dz = (dz @ weights[i]) * (inner > 0)
    return loss, grads


def _losses(recipe: Recipe, classify: bool, steps: int) -> Callable[..., Array]:
    """The losses of the first steps."""
    options = {k: v for k, v in recipe.items() if k != "optimiser"}
    optimise = sgd if recipe["optimiser"] == "SGD" else adam

    def expected(x: Array, target: Array, *weights: Array) -> Array:
        losses: list[Array] = []
        history: list[list[Array]] = []
        now = list(weights)
        for _ in range(steps):
            loss, grads = _gradients(x, target, now, classify)
            losses.append(loss)
            history.append(grads)
            # From the start each time: the optimisers' references keep no state.
            so_far = [tuple(g) for g in zip(*history, strict=True)]
            now = [optimise(w, g, **options) for w, g in zip(weights, so_far, strict=True)]
        return losses[0] if steps == 1 else np.stack(losses)

    return expected


# --- the cases ---


def _inputs(sizes: tuple[int, ...], batch: int, classify: bool) -> Callable[..., tuple[Any, ...]]:
    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        weights: list[Array] = []
        for wide, out in itertools.pairwise(sizes):
            bound = wide**-0.5
            weights += [rng.uniform(-bound, bound, (out, wide)), rng.uniform(-bound, bound, out)]
        x = rng.standard_normal((batch, sizes[0])).astype(t)
        last = sizes[-1]
        if classify:
            target = rng.integers(0, last, batch)
        else:
            target = rng.standard_normal((batch, last)).astype(t)
        return (x, target, *(w.astype(t) for w in weights))

    return inputs


def _bound(dtype: str, expected: Array, x: Array, target: Array, *weights: Array) -> Array:
    """A loss of order one, at the end of one product a layer."""
    longest = max(w.shape[-1] for w in weights[::2])
    layers = len(weights) // 2
    return np.asarray(8.0 * layers * growth(longest) * eps(dtype) * (1.0 + np.abs(expected)))


def _work(sizes: tuple[int, ...], batch: int, state: int) -> tuple[float, float]:
    """Flops (three products a layer) and bytes (each weight, its gradient and state, both ways)."""
    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    return 6.0 * batch * weights, 4.0 * weights * (3 + 2 * state)


def _in_a_row(setup: Callable[..., Callable[[], Any]], steps: int) -> Callable[..., Any]:
    def call(tw: Any, F: Any, *inputs: Any) -> Any:
        step = setup(tw, F, *inputs)
        return tw.stack([step() for _ in range(steps)])

    return call


def _cases() -> Iterator[Case]:
    networks = (
        ("mlp", (784, 512, 256, 10), 64, MLP, True, "MLP 784-512-256-10 step, batch 64"),
        ("mlp", (784, 512, 256, 10), 512, MLP, True, "MLP 784-512-256-10 step, batch 512"),
        ("dqn", (4, 128, 128, 2), 64, DQN, False, "DQN 4-128-128-2 step, batch 64"),
    )
    for op, sizes, batch, recipe, classify, label in networks:
        setup = _training(recipe, classify)
        flops, moved = _work(sizes, batch, 1 if recipe is MLP else 2)
        yield Case(
            family="step",
            op=op,
            label=label,
            inputs=_inputs(sizes, batch, classify),
            setup=setup,
            reference=_losses(recipe, classify, 1),
            tolerance=_bound,
            dtypes=("float32",),
            quick=op == "dqn",
            bench=Bench(label, flops=flops, bytes=moved, quick=batch == 64),
        )
    for op, sizes, recipe, classify in (
        ("mlp", (17, 33, 9, 5), MLP, True),
        ("dqn", (4, 18, 7, 2), DQN, False),
    ):
        yield Case(
            family="step",
            op=op,
            label=f"{op}, four steps",
            inputs=_inputs(sizes, 13, classify),
            call=_in_a_row(_training(recipe, classify), 4),
            reference=_losses(recipe, classify, 4),
            tolerance=_bound,
        )


CASES: tuple[Case, ...] = tuple(_cases())
