"""Cases of whole image networks: training steps, and inference as it is deployed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.cases.gemm import ITEM_BYTES
from tilework.testing.cases.step import training_step
from tilework.testing.convolution import conv
from tilework.testing.reference import log_softmax
from tilework.testing.tolerance import eps, growth, working_eps

Weights = dict[str, Array]
SGD = {"lr": 0.1, "momentum": 0.9}


# --- the networks in NumPy ---


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def linear(w: Weights, at: str, x: Array) -> Array:
    y = x @ w[f"{at}.weight"].T
    return np.asarray(y + w[f"{at}.bias"] if f"{at}.bias" in w else y)


def max_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    pads = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    framed = np.pad(x, pads, constant_values=-np.inf)
    windows = sliding_window_view(framed, (size, size), (2, 3))[:, :, ::stride, ::stride]
    result: Array = windows.max((4, 5))
    return result


def _lenet_scores(w: Weights, x: Array, training: bool) -> Array:
    x = max_pool(relu(conv(x, w["layers.0.weight"], w["layers.0.bias"], padding=2)), 2, 2)
    x = max_pool(relu(conv(x, w["layers.3.weight"], w["layers.3.bias"])), 2, 2)
    x = x.reshape(len(x), -1)
    for i in (7, 9, 11):
        x = linear(w, f"layers.{i}", x)
        x = relu(x) if i != 11 else x
    return x


def batch_norm(w: Weights, name: str, x: Array, training: bool) -> Array:
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    else:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    scale = w[f"{name}.weight"] / np.sqrt(var + 1e-5)
    shift = w[f"{name}.bias"] - mean * scale
    result: Array = x * scale[:, None, None] + shift[:, None, None]
    return result


def _resnet_scores(w: Weights, x: Array, training: bool) -> Array:
    norm = functools.partial(batch_norm, w, training=training)
    if w["conv1.weight"].shape[2] == 3:
        x = relu(norm("bn1", conv(x, w["conv1.weight"], padding=1)))
    else:
        x = relu(norm("bn1", conv(x, w["conv1.weight"], stride=2, padding=3)))
        x = max_pool(x, 3, 2, 1)
    for at in (f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)):
        stride = 2 if f"{at}.downsample.0.weight" in w else 1
        y = conv(x, w[f"{at}.conv1.weight"], stride=stride, padding=1)
        y = conv(relu(norm(f"{at}.bn1", y)), w[f"{at}.conv2.weight"], padding=1)
        if stride == 2:
            x = conv(x, w[f"{at}.downsample.0.weight"], stride=2)
            x = norm(f"{at}.downsample.1", x)
        x = relu(norm(f"{at}.bn2", y) + x)
    return linear(w, "fc", x.mean((2, 3)))


# --- the networks as both libraries build them ---


@dataclass(frozen=True)
class Network:
    """Ours by what makes it, PyTorch's likewise, the reference, and the size of its work.

    `multiply_adds` are of one image's forward pass; `layers` are those with weights, and `longest`
    is the longest sum in one of them.
    """

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    scores: Callable[[Weights, Array, bool], Array]
    image: tuple[int, int, int]
    classes: int
    multiply_adds: int
    layers: int
    longest: int

    def state(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the state by name, without the count of batches."""
        return _state(self.ours)


@functools.cache
def _state(make: Callable[[], Any]) -> dict[str, tuple[int, ...]]:
    state = make().state_dict().items()
    return {name: x.shape for name, x in state if not name.endswith("num_batches_tracked")}


def _our_lenet() -> Any:
    from tilework.models import LeNet5

    return LeNet5()


def _our_resnet18() -> Any:
    from tilework.models import resnet18

    return resnet18()


def _our_cifar_resnet18() -> Any:
    from tilework.models import resnet18

    return resnet18(10, small_images=True)


def _their_lenet() -> Any:
    from tilework.testing.torch_models import lenet

    return lenet()


def _their_resnet18() -> Any:
    from tilework.testing.torch_models import resnet

    return resnet(18)


def _their_cifar_resnet18() -> Any:
    from tilework.testing.torch_models import resnet

    return resnet(18, 10, small_images=True)


LENET = Network(_our_lenet, _their_lenet, _lenet_scores, (1, 28, 28), 10, 416_520, 5, 400)
CIFAR_RESNET18 = Network(
    _our_cifar_resnet18, _their_cifar_resnet18, _resnet_scores, (3, 32, 32), 10, 555_422_720,
    18, 9 * 512,
)  # fmt: skip
RESNET18 = Network(
    _our_resnet18, _their_resnet18, _resnet_scores, (3, 224, 224), 1000, 1_814_073_344,
    18, 9 * 512,
)  # fmt: skip


def _model(tw: Any, network: Network, x: Any, weights: tuple[Any, ...]) -> Any:
    """The network with copies of the weights; PyTorch's in the layout of its images."""
    if tw.__name__ == "torch":
        model = network.theirs()
        if not x.is_contiguous():
            model = model.to(memory_format=tw.channels_last)
    else:
        model = network.ours()
    model.load_state_dict(dict(zip(network.state(), weights, strict=True)), strict=False)
    return model.to(x.dtype)


def _training(network: Network) -> Callable[..., Callable[[], Any]]:
    """Builds model and optimiser, and returns the step."""

    def setup(tw: Any, F: Any, x: Any, target: Any, *weights: Any) -> Callable[[], Any]:
        model = _model(tw, network, x, weights)
        optimiser = tw.optim.SGD(model.parameters(), **SGD)
        return training_step(optimiser, lambda: F.cross_entropy(model(x), target))

    return setup


def _inference(network: Network) -> Callable[..., Callable[[], Any]]:
    """Scores in evaluation; ours with batch norm folded into the convolutions and weights packed.
    (PyTorch's twin is no faster for torch.fx's folding, so it stays as eval() leaves it.)"""

    def setup(tw: Any, F: Any, x: Any, *weights: Any) -> Callable[[], Any]:
        model = _model(tw, network, x, weights).eval()
        if tw.__name__ != "torch":
            model = tw.nn.utils.freeze(tw.nn.utils.fuse(model))

        def scores() -> Any:
            with tw.no_grad():
                return model(x)

        return scores

    return setup


# --- the cases ---


def random_weight(rng: Generator, name: str, shape: tuple[int, ...]) -> Array:
    """Of the size that keeps what passes through of order one."""
    if len(shape) > 1:
        return rng.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[1:]))
    if name.endswith("weight") or name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.uniform(-0.1, 0.1, shape)


def _inputs(network: Network, batch: int, train: bool) -> Callable[..., tuple[Any, ...]]:
    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        x = rng.standard_normal((batch, *network.image)).astype(t)
        weights = [
            random_weight(rng, name, shape).astype(t) for name, shape in network.state().items()
        ]
        if not train:
            return (x, *weights)
        return (x, rng.integers(0, network.classes, batch), *weights)

    return inputs


def _reference(network: Network, train: bool) -> Callable[..., Array]:
    def expected(x: Array, *rest: Array) -> Array:
        weights = dict(zip(network.state(), rest[1:] if train else rest, strict=True))
        scores = network.scores(weights, x, train)
        if not train:
            return scores
        return np.asarray(-log_softmax(scores, 1)[np.arange(len(x)), rest[0]].mean())

    return expected


def _tolerance(network: Network) -> Callable[..., Array]:
    def bound(dtype: str, expected: Array, *inputs: Any) -> Array:
        """Numbers of order one, at the end of one product a layer, each stored once."""
        size = 1.0 + np.abs(expected).max()
        each = growth(network.longest) * working_eps(dtype) + eps(dtype)
        return np.asarray(8.0 * network.layers * each * size)

    return bound


def _case(
    op: str, network: Network, batch: int, train: bool, label: str, dtype: str = "float32"
) -> Case:
    mode: Mode = "forward" if train else "frozen"
    weights = sum(math.prod(shape) for shape in network.state().values())
    passes, moved = (3, 5) if train else (1, 1)  # a step reads and writes gradients and momentum
    return Case(
        family="networks",
        op=op,
        label=label,
        inputs=_inputs(network, batch, train),
        setup=(_training if train else _inference)(network),
        reference=_reference(network, train),
        tolerance=_tolerance(network),
        dtypes=(dtype,),
        quick=network is LENET,
        bench=Bench(
            label,
            flops=2.0 * passes * batch * network.multiply_adds,
            bytes=ITEM_BYTES[dtype] * moved * weights,
            mode=mode,
            dtype=dtype,
            quick=network is LENET,
        ),
    )


def _cases() -> Iterator[Case]:
    yield _case("lenet", LENET, 64, True, "LeNet-5 step, batch 64")
    yield _case("resnet18", CIFAR_RESNET18, 32, True, "ResNet-18 CIFAR step, batch 32")
    label = "ResNet-18 inference at 224, batch 1"
    yield _case("resnet18_eval", RESNET18, 1, False, f"{label} frozen")
    yield _case("resnet18_eval", RESNET18, 1, False, f"{label} bfloat16 frozen", "bfloat16")


CASES: tuple[Case, ...] = tuple(_cases())
