"""Cases of whole transformers: training steps and inference. PyTorch runs the very same files of
models, by testing/over_torch.py; the reference is NumPy's."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.cases import language
from tilework.testing.cases.networks import Weights
from tilework.testing.cases.step import training_step
from tilework.testing.reference import log_softmax
from tilework.testing.tolerance import eps, growth

FAMILY = "transformer_networks"


@dataclass(frozen=True)
class Network:
    """A model by its file and what makes it of that module; the reference's scores; an input's
    shape, the number of its tokens (0: an image), and of what is told apart.

    `multiply_adds` are of the forward pass of one input; `layers` those with weights, and `longest`
    the longest sum in one.
    """

    file: str
    make: Callable[[Any], Any]
    scores: Callable[[Weights, Array], Array]
    shape: tuple[int, ...]
    tokens: int
    classes: int
    multiply_adds: float
    layers: int
    longest: int

    def model(self, tw: Any) -> Any:
        """The model over either library."""
        if tw.__name__ == "torch":
            from tilework.testing.over_torch import over_torch

            return self.make(over_torch(self.file))
        from tilework import models

        return self.make(models)

    def state(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the state by name."""
        return _state(self)


@functools.cache
def _state(network: Network) -> dict[str, tuple[int, ...]]:
    import tilework as tw

    return {name: x.shape for name, x in network.model(tw).state_dict().items()}


def _products(length: int, width: int, inner: int, layers: int) -> float:
    """Multiply-adds of a stack: its linear maps, and attention's two products."""
    return float(layers * length * (4 * width**2 + 2 * width * inner + 2 * length * width))


def _gpt(models: Any) -> Any:
    config = models.GPT2Config(
        256, 128, 256, 4, 4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        tie_word_embeddings=False,
    )  # fmt: skip
    return models.GPT2LMHeadModel(config)


def _vit(models: Any) -> Any:
    return models.ViTForImageClassification(models.ViTConfig(192, 12, 3, 768, num_labels=1000))


def _bert_layer(models: Any) -> Any:
    config = models.BertConfig(
        16, num_hidden_layers=1, max_position_embeddings=128, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return models.BertModel(config)


READ, DECODED = 64, 16  # tokens of the text, and how many follow one by one


def _llama(models: Any) -> Any:
    return models.LlamaForCausalLM(models.LlamaConfig(1000, 512, 1408, 4, 4, 2))


GPT = Network(
    "gpt2", _gpt, functools.partial(language.gpt2, heads=4), (128,), 256, 256,
    _products(128, 256, 1024, 4) + 128 * 256 * 256, 17, 1024,
)  # fmt: skip
VIT = Network(
    "vit", _vit, functools.partial(language.vit, heads=3), (3, 224, 224), 0, 1000,
    _products(197, 192, 768, 12) + 196 * 768 * 192, 50, 768,
)  # fmt: skip
BERT = Network(
    "bert", _bert_layer, functools.partial(language.bert_layer, at="encoder.layer.0", heads=12),
    (128, 768), 0, 0, _products(128, 768, 3072, 1), 6, 3072,
)  # fmt: skip


LLAMA = Network(
    "llama", _llama, lambda w, x: language.llama(w, x)[:, -1:], (READ + DECODED,), 1000, 1000,
    (READ + DECODED) * 4.0 * (512 * 512 * 3 + 3 * 512 * 1408), 29, 1408,
)  # fmt: skip


def _loaded(tw: Any, network: Network, dtype: Any, weights: tuple[Any, ...]) -> Any:
    model = network.model(tw)
    model.load_state_dict(dict(zip(network.state(), weights, strict=True)))
    return model.to(dtype)


def _training(network: Network) -> Callable[..., Callable[[], Any]]:
    """Builds model and optimiser, and returns the step."""

    def setup(tw: Any, F: Any, x: Any, target: Any, *weights: Any) -> Callable[[], Any]:
        model = _loaded(tw, network, weights[0].dtype, weights)
        fastest = {"fused": True} if tw.__name__ == "torch" else {}
        optimiser = tw.optim.AdamW(model.parameters(), lr=1e-3, **fastest)
        return training_step(
            optimiser, lambda: F.cross_entropy(model(x).reshape(-1, network.classes), target)
        )

    return setup


def _layer(frozen: bool) -> Callable[..., Callable[[], Any]]:
    """The one layer of BERT in evaluation, of a batch of one."""

    def setup(tw: Any, F: Any, x: Any, *weights: Any) -> Callable[[], Any]:
        model = _loaded(tw, BERT, x.dtype, weights).eval()
        if frozen and tw.__name__ != "torch":
            tw.nn.utils.freeze(model)
        layer = model.encoder.layer[0]

        def run() -> Any:
            with tw.no_grad():
                return layer(x, None)

        return run

    return setup


def _decoding(tw: Any, F: Any, x: Any, *weights: Any) -> Callable[[], Any]:
    """Reads a text, and then token after token by a cache, as generation does."""
    model = _loaded(tw, LLAMA, weights[0].dtype, weights).eval()
    text, *tokens = x.split([READ] + [1] * DECODED, 1)

    def decode() -> Any:
        with tw.no_grad():
            cache = model.new_cache()
            scores = model(text, cache=cache, logits_to_keep=1)
            for token in tokens:
                scores = model(token, cache=cache, logits_to_keep=1)
        return scores

    return decode


def _weight(rng: Generator, name: str, shape: tuple[int, ...]) -> Array:
    """Of the size that keeps what passes through of order one."""
    if len(shape) > 1:
        longest = max(shape[0], math.prod(shape[1:]))
        return np.asarray(rng.standard_normal(shape) / math.sqrt(longest))
    if name.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.uniform(-0.1, 0.1, shape)


def _inputs(network: Network, batch: int, train: bool) -> Callable[..., tuple[Any, ...]]:
    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        shape = (batch, *network.shape)
        x: Array = rng.standard_normal(shape).astype(t)
        if network.tokens:
            x = rng.integers(0, network.tokens, shape)
        weights = [_weight(rng, name, s).astype(t) for name, s in network.state().items()]
        if not train:
            return (x, *weights)
        return (x, rng.integers(0, network.classes, batch * (network.shape[0] if network.tokens
                                                             else 1)), *weights)  # fmt: skip

    return inputs


def _reference(network: Network, train: bool) -> Callable[..., Array]:
    def expected(x: Array, *rest: Array) -> Array:
        weights = dict(zip(network.state(), rest[1:] if train else rest, strict=True))
        scores = network.scores(weights, x)
        if not train:
            return scores
        log_p = log_softmax(scores.reshape(-1, network.classes), 1)
        return np.asarray(-log_p[np.arange(len(log_p)), rest[0]].mean())

    return expected


def _bound(network: Network) -> Callable[..., Array]:
    """Numbers of order one, at the end of one product a layer."""

    def bound(dtype: str, expected: Array, *inputs: Any) -> Array:
        size = 1.0 + np.abs(expected).max()
        return np.asarray(8.0 * network.layers * growth(network.longest) * eps(dtype) * size)

    return bound


def _case(
    network: Network, batch: int, setup: Callable[..., Any], label: str, train: bool,
    frozen: bool = False,
) -> Case:  # fmt: skip
    weights = sum(math.prod(shape) for shape in network.state().values())
    passes, moved = (3, 7) if train else (1, 1)  # a step reads and writes two moments as well
    bench = Bench(
        label, 2.0 * passes * batch * network.multiply_adds, 4.0 * moved * weights,
        "frozen" if frozen else "forward",
    )  # fmt: skip
    return Case(
        family=FAMILY,
        op=network.file,
        label=label,
        inputs=_inputs(network, batch, train),
        setup=setup,
        reference=_reference(network, train),
        tolerance=_bound(network),
        dtypes=("float32",),
        quick=False,
        bench=bench,
    )


def _cases() -> Iterator[Case]:
    label = "GPT of 4 layers, d=256, step, 16x128"
    yield _case(GPT, 16, _training(GPT), label, True)
    yield _case(VIT, 4, _training(VIT), "ViT-tiny step, batch 4", True)
    label = f"LLaMA of 4 layers, d=512, {DECODED} tokens after {READ}"
    yield _case(LLAMA, 1, _decoding, label, False)
    label = "BERT-base layer inference, S=128"
    for frozen in (False, True):
        yield _case(BERT, 1, _layer(frozen), label + " frozen" * frozen, False, frozen)


CASES: tuple[Case, ...] = tuple(_cases())
