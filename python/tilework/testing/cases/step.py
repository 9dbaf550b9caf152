"""Cases of whole training steps: an image classifier, a small network of deep Q-learning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.cases.optim import adam, sgd
from tilework.testing.reference import log_softmax
from tilework.testing.tolerance import eps, growth

Recipe = dict[str, Any]
MLP: Recipe = {"optimiser": "SGD", "lr": 0.1, "momentum": 0.9}
DQN: Recipe = {"optimiser": "Adam", "lr": 1e-3}
DISCOUNT = 0.99


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


def _optimiser(tw: Any, recipe: Recipe, model: Any) -> Any:
    options = {k: v for k, v in recipe.items() if k != "optimiser"}
    if tw.__name__ == "torch" and recipe["optimiser"] == "Adam":
        options["fused"] = True  # PyTorch's fastest
    return getattr(tw.optim, recipe["optimiser"])(model.parameters(), **options)


def training_step(optimiser: Any, loss_of: Callable[[], Any]) -> Callable[[], Any]:
    """A step that gives the loss before the update."""

    def step() -> Any:
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def _training(recipe: Recipe, classify: bool) -> Callable[..., Callable[[], Any]]:
    """Builds model and optimiser, and returns the step."""

    def setup(tw: Any, F: Any, x: Any, target: Any, *weights: Any) -> Callable[[], Any]:
        model = _model(tw, weights)
        optimiser = _optimiser(tw, recipe, model)
        loss_of = F.cross_entropy if classify else F.mse_loss
        return training_step(optimiser, lambda: loss_of(model(x), target))

    return setup


def _q_learning(
    tw: Any, F: Any, states: Any, actions: Any, rewards: Any, following: Any, going: Any,
    *weights: Any,
) -> Callable[[], Any]:  # fmt: skip
    """The step as people write it, with a target network that stays as it was."""
    model, target_model = _model(tw, weights), _model(tw, weights)
    optimiser = _optimiser(tw, DQN, model)

    def step() -> Any:
        values = model(states).gather(1, actions)
        with tw.no_grad():
            best = target_model(following).max(1).values
            target = rewards + DISCOUNT * going * best
        loss = F.smooth_l1_loss(values, target.unsqueeze(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


# --- the same in NumPy ---

Loss = Callable[[Array], tuple[Array, Array]]  # of the output: itself, and its gradient by that


def _loss(output: Array, target: Array, classify: bool) -> tuple[Array, Array]:
    if not classify:
        away = output - target
        return np.asarray(np.square(away).mean()), 2.0 * away / away.size
    log_p = log_softmax(output, 1)
    rows = np.arange(len(target))
    grad = np.exp(log_p)
    grad[rows, target] -= 1.0
    return np.asarray(-log_p[rows, target].mean()), grad / len(target)


def _q_loss(output: Array, actions: Array, target: Array) -> tuple[Array, Array]:
    rows, chosen = np.arange(len(actions)), actions[:, 0]
    away = output[rows, chosen] - target
    near = np.abs(away) < 1.0
    loss = np.where(near, 0.5 * away * away, np.abs(away) - 0.5).mean()
    grad = np.zeros_like(output)
    grad[rows, chosen] = np.where(near, away, np.sign(away)) / len(away)
    return np.asarray(loss), grad


def _activations(x: Array, weights: Sequence[Array]) -> list[Array]:
    """The input, and what each layer makes of it."""
    found = [x]
    for i in range(0, len(weights), 2):
        z = found[-1] @ weights[i].T + weights[i + 1]
        found.append(np.maximum(z, 0.0) if i + 2 < len(weights) else z)
    return found


def _gradients(x: Array, weights: list[Array], loss_of: Loss) -> tuple[Array, list[Array]]:
    activations = _activations(x, weights)
    loss, dz = loss_of(activations.pop())
    grads: list[Array] = []
    for i in range(len(weights) - 2, -1, -2):
        inner = activations.pop()
        grads = [dz.T @ inner, dz.sum(0), *grads]
        dz = (dz @ weights[i]) * (inner > 0)
    return loss, grads


def _descent(
    recipe: Recipe, x: Array, weights: Sequence[Array], loss_of: Loss, steps: int
) -> Array:
    """The losses of the first steps."""
    options = {k: v for k, v in recipe.items() if k != "optimiser"}
    optimise = sgd if recipe["optimiser"] == "SGD" else adam
    losses: list[Array] = []
    history: list[list[Array]] = []
    now = list(weights)
    for _ in range(steps):
        loss, grads = _gradients(x, now, loss_of)
        losses.append(loss)
        history.append(grads)
        # From the start each time: the optimisers' references keep no state.
        so_far = [tuple(g) for g in zip(*history, strict=True)]
        now = [optimise(w, g, **options) for w, g in zip(weights, so_far, strict=True)]
    return losses[0] if steps == 1 else np.stack(losses)


def _losses(recipe: Recipe, classify: bool, steps: int) -> Callable[..., Array]:
    def expected(x: Array, target: Array, *weights: Array) -> Array:
        return _descent(recipe, x, weights, lambda y: _loss(y, target, classify), steps)

    return expected


def _q_losses(steps: int) -> Callable[..., Array]:
    def expected(
        states: Array, actions: Array, rewards: Array, following: Array, going: Array,
        *weights: Array,
    ) -> Array:  # fmt: skip
        best = _activations(following, weights)[-1].max(1)
        target = rewards + DISCOUNT * going * best
        return _descent(DQN, states, weights, lambda y: _q_loss(y, actions, target), steps)

    return expected


# --- the cases ---


def _weights(rng: Generator, t: str, sizes: tuple[int, ...]) -> list[Array]:
    weights: list[Array] = []
    for wide, out in itertools.pairwise(sizes):
        bound = wide**-0.5
        weights += [rng.uniform(-bound, bound, (out, wide)), rng.uniform(-bound, bound, out)]
    return [w.astype(t) for w in weights]


def _inputs(sizes: tuple[int, ...], batch: int, classify: bool) -> Callable[..., tuple[Any, ...]]:
    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        weights = _weights(rng, t, sizes)
        x = rng.standard_normal((batch, sizes[0])).astype(t)
        last = sizes[-1]
        if classify:
            target = rng.integers(0, last, batch)
        else:
            target = rng.standard_normal((batch, last)).astype(t)
        return (x, target, *weights)

    return inputs


def _memories(sizes: tuple[int, ...], batch: int) -> Callable[..., tuple[Any, ...]]:
    """States, actions, rewards, the states that followed, 0 where an episode ended."""

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        weights = _weights(rng, t, sizes)
        states, following = (rng.standard_normal((batch, sizes[0])).astype(t) for _ in range(2))
        actions = rng.integers(0, sizes[-1], (batch, 1))
        rewards = rng.uniform(-2.0, 2.0, batch).astype(t)
        going = rng.integers(0, 2, batch).astype(t)
        return (states, actions, rewards, following, going, *weights)

    return inputs


def _bound(dtype: str, expected: Array, *inputs: Array) -> Array:
    """A loss of order one, at the end of one product a layer: of the batch, and of weights."""
    weights = [x for x in inputs[2:] if x.ndim == 2]
    longest, layers = max(w.shape[-1] for w in weights), len(weights)
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
    for sizes, batch, steps in (((4, 128, 128, 2), 64, 1), ((4, 18, 7, 3), 13, 4)):
        label = f"DQN {'-'.join(map(str, sizes))} step with a target network, batch {batch}"
        flops, moved = _work(sizes, batch, 2)
        yield Case(
            family="step",
            op="q_learning",
            label=label,
            inputs=_memories(sizes, batch),
            reference=_q_losses(steps),
            tolerance=_bound,
            dtypes=("float32",) if steps == 1 else ("float32", "float64"),
            # The target network takes one product a layer more.
            bench=Bench(label, flops=flops * 4 / 3, bytes=moved) if steps == 1 else None,
            setup=_q_learning if steps == 1 else None,
            call=None if steps == 1 else _in_a_row(_q_learning, steps),
        )


CASES: tuple[Case, ...] = tuple(_cases())
