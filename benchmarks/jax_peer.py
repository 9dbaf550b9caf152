"""JAX as a contestant: each op, and each training step, jitted whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilework.benchmarks.contestants import Contestant, Inputs, Prepared, to_numpy
from tilework.testing.case import Case
from tilework.testing.cases.step import DISCOUNT


class Jax(Contestant):
    """JAX on the CPU."""

    name = "JAX"

    def __init__(self, threads: int) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        mode = case.bench.mode if case.bench else "forward"
        function = self._functions().get(case.op)
        if case.op in _STEPS:
            return self._prepare_step(case, inputs)
        if function is None or (case.setup is not None and mode != "frozen"):
            return None
        arrays = [self.jax.numpy.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
        where = [i for i, x in enumerate(arrays) if isinstance(x, self.jax.Array)]

        def of_arrays(*given: Any) -> Any:
            every = list(arrays)
            for i, x in zip(where, given, strict=True):
                every[i] = x
            return function(*every)

        given = [arrays[i] for i in where]
        if mode == "backward":
            wanted = [where.index(i) for i in case.differentiable]
            cotangent = self.jax.numpy.asarray(grad)

            def forward_backward(g: Any, *given: Any) -> Any:
                output, pull = self.jax.vjp(of_arrays, *given)
                gradients = pull(g)
                return [output, *(gradients[i] for i in wanted)]

            compiled = self.jax.jit(forward_backward)
            given = [cotangent, *given]
        else:
            compiled = self.jax.jit(lambda *given: [of_arrays(*given)])

        def call() -> Any:
            return self.jax.block_until_ready(compiled(*given))

        return Prepared(call, lambda: [to_numpy(x) for x in call()])

    def _prepare_step(self, case: Case, inputs: Inputs) -> Prepared:
        make, count = _STEPS[case.op]
        arrays = [self.jax.numpy.asarray(a) for a in inputs]
        batch = arrays[:count]
        state, step = make(self.jax, arrays[count:])
        compiled = self.jax.jit(step, donate_argnums=0)

        def call() -> Any:
            nonlocal state
            state, loss = compiled(state, *batch)
            return self.jax.block_until_ready(loss)

        return Prepared(call, lambda: [to_numpy(call())])

    def _functions(self) -> dict[str, Callable[..., Any]]:
        jax, jnp = self.jax, self.jax.numpy

        def gelu(x: Any) -> Any:
            return jax.nn.gelu(x, approximate=False)

        return {
            "matmul": jnp.matmul,
            "linear_gelu": lambda x, weight, bias: gelu(x @ weight.T + bias),
            "gelu": gelu,
            "relu": jax.nn.relu,
            "tanh": jnp.tanh,
            "sigmoid": jax.nn.sigmoid,
            "silu": jax.nn.silu,
            "exp": jnp.exp,
            "add": jnp.add,
            "bias_relu": lambda x, bias: jax.nn.relu(x + bias),
            "softmax": lambda x, dim=-1: jax.nn.softmax(x, axis=dim),
            "log_softmax": lambda x, dim=-1: jax.nn.log_softmax(x, axis=dim),
            "cross_entropy": lambda x, target: (
                -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), target[:, None], axis=1))
            ),
            "mse_loss": lambda x, target: jnp.mean((x - target) ** 2),
        }


def _network(jax: Any, params: list[Any], x: Any) -> Any:
    for i in range(0, len(params), 2):
        x = x @ params[i].T + params[i + 1]
        x = jax.nn.relu(x) if i + 2 < len(params) else x
    return x


def _mlp(jax: Any, params: list[Any]) -> tuple[Any, Callable[..., Any]]:
    """SGD with momentum on the cross entropy, as testing.cases.step has it."""
    jnp = jax.numpy

    def loss_of(params: list[Any], x: Any, target: Any) -> Any:
        log_p = jax.nn.log_softmax(_network(jax, params, x))
        return -jnp.mean(jnp.take_along_axis(log_p, target[:, None], axis=1))

    def step(state: Any, x: Any, target: Any) -> tuple[Any, Any]:
        params, momenta = state
        loss, grads = jax.value_and_grad(loss_of)(params, x, target)
        momenta = [0.9 * m + g for m, g in zip(momenta, grads, strict=True)]
        params = [p - 0.1 * m for p, m in zip(params, momenta, strict=True)]
        return (params, momenta), loss

    return (params, [jnp.zeros_like(p) for p in params]), step


def _dqn(jax: Any, params: list[Any]) -> tuple[Any, Callable[..., Any]]:
    """Adam on the squared error, as testing.cases.step has it."""

    def loss_of(params: list[Any], x: Any, target: Any) -> Any:
        return jax.numpy.mean((_network(jax, params, x) - target) ** 2)

    return _adam(jax, params, loss_of)


def _q_learning(jax: Any, params: list[Any]) -> tuple[Any, Callable[..., Any]]:
    """Adam on the Huber loss against a target network, as testing.cases.step has it."""
    jnp = jax.numpy
    target_params = [p.copy() for p in params]

    def loss_of(
        params: list[Any], states: Any, actions: Any, rewards: Any, following: Any, going: Any
    ) -> Any:
        best = _network(jax, target_params, following).max(1)
        values = jnp.take_along_axis(_network(jax, params, states), actions, axis=1)
        away = values[:, 0] - (rewards + DISCOUNT * going * best)
        return jnp.mean(jnp.where(jnp.abs(away) < 1.0, 0.5 * away**2, jnp.abs(away) - 0.5))

    return _adam(jax, params, loss_of)


def _adam(
    jax: Any, params: list[Any], loss_of: Callable[..., Any]
) -> tuple[Any, Callable[..., Any]]:
    jnp = jax.numpy
    lr, b1, b2, eps = 1e-3, 0.9, 0.999, 1e-8

    def step(state: Any, *batch: Any) -> tuple[Any, Any]:
        params, means, squares, t = state
        loss, grads = jax.value_and_grad(loss_of)(params, *batch)
        t = t + 1
        means = [b1 * m + (1 - b1) * g for m, g in zip(means, grads, strict=True)]
        squares = [b2 * v + (1 - b2) * g * g for v, g in zip(squares, grads, strict=True)]
        rate, correction = lr / (1 - b1**t), jnp.sqrt(1 - b2**t)
        params = [
            p - rate * m / (jnp.sqrt(v) / correction + eps)
            for p, m, v in zip(params, means, squares, strict=True)
        ]
        return (params, means, squares, t), loss

    zeros = [jnp.zeros_like(p) for p in params], [jnp.zeros_like(p) for p in params]
    return (params, *zeros, jnp.float32(0)), step


# Each step, and how many of the case's inputs are the batch; the rest are weights.
_STEPS = {"mlp": (_mlp, 2), "dqn": (_dqn, 2), "q_learning": (_q_learning, 5)}
