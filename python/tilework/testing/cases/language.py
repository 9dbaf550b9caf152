"""The transformers of tilework.models in NumPy, for their cases: small ones, by published names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tilework.testing.case import Array
from tilework.testing.cases.networks import Weights, linear, relu
from tilework.testing.reference import gelu, gelu_tanh, silu, softmax

VOCABULARY = 11
HEADS = 4


def _layer_norm(w: Weights, at: str, x: Array, eps: float) -> Array:
    away = x - x.mean(-1, keepdims=True)
    y = away / np.sqrt((away * away).mean(-1, keepdims=True) + eps)
    return np.asarray(y * w[f"{at}.weight"] + w[f"{at}.bias"])


def _rms_norm(w: Weights, at: str, x: Array) -> Array:
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w[f"{at}.weight"])


def _heads(x: Array, count: int) -> Array:
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def _attend(parts: Iterable[Array], added: Any = 0.0, scale: float | None = None) -> Array:
    """Of queries, keys and values (N, heads, S, width); the result's heads are side by side."""
    q, k, v = parts
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    y = softmax(q @ k.swapaxes(-1, -2) * scale + added, -1) @ v
    return np.asarray(y.swapaxes(1, 2).reshape(q.shape[0], q.shape[2], -1))


def _causal(length: int) -> Array:
    return np.triu(np.full((length, length), -np.inf), 1)


def _layers(w: Weights, pattern: str) -> list[str]:
    """The names "pattern.0", "pattern.1", ... that the weights have."""
    found = {n[len(pattern) + 1 :].split(".")[0] for n in w if n.startswith(f"{pattern}.")}
    return [f"{pattern}.{i}" for i in sorted(found, key=int)]


def bert_layer(w: Weights, x: Array, at: str, heads: int = HEADS) -> Array:
    parts = (linear(w, f"{at}.attention.self.{n}", x) for n in ("query", "key", "value"))
    y = _attend(_heads(part, heads) for part in parts)
    y = linear(w, f"{at}.attention.output.dense", y)
    x = _layer_norm(w, f"{at}.attention.output.LayerNorm", x + y, 1e-12)
    y = linear(w, f"{at}.output.dense", gelu(linear(w, f"{at}.intermediate.dense", x)))
    return _layer_norm(w, f"{at}.output.LayerNorm", x + y, 1e-12)


def bert(w: Weights, ids: Array) -> Array:
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = _layer_norm(w, "embeddings.LayerNorm", x, 1e-12)
    for at in _layers(w, "encoder.layer"):
        x = bert_layer(w, x, at)
    return np.asarray(np.concatenate([x, np.tanh(linear(w, "pooler.dense", x[:, :1]))], 1))


def gpt2(w: Weights, ids: Array, under: str = "transformer.", heads: int = HEADS) -> Array:
    def mapped(at: str, x: Array) -> Array:  # these weights are (inputs, outputs)
        return np.asarray(x @ w[f"{at}.weight"] + w[f"{at}.bias"])

    x = w[f"{under}wte.weight"][ids] + w[f"{under}wpe.weight"][: ids.shape[1]]
    for at in _layers(w, f"{under}h"):
        parts = np.split(mapped(f"{at}.attn.c_attn", _layer_norm(w, f"{at}.ln_1", x, 1e-5)), 3, -1)
        y = _attend((_heads(part, heads) for part in parts), _causal(ids.shape[1]))
        x = x + mapped(f"{at}.attn.c_proj", y)
        y = gelu_tanh(mapped(f"{at}.mlp.c_fc", _layer_norm(w, f"{at}.ln_2", x, 1e-5)))
        x = x + mapped(f"{at}.mlp.c_proj", y)
    x = _layer_norm(w, f"{under}ln_f", x, 1e-5)
    return linear(w, "lm_head", x) if "lm_head.weight" in w else x


def _turned(x: Array) -> Array:
    """Rotated by its position: elements i and i + half are a complex number."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[-2])[:, None] * 10000.0 ** (-np.arange(half) / half)
    y = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([y.real, y.imag], -1)


def llama(w: Weights, ids: Array, under: str = "model.") -> Array:
    x = w[f"{under}embed_tokens.weight"][ids]
    for at in _layers(w, f"{under}layers"):
        y = _rms_norm(w, f"{at}.input_layernorm", x)
        q, k, v = (linear(w, f"{at}.self_attn.{n}_proj", y) for n in "qkv")
        q, (k, v) = _heads(q, HEADS), (np.repeat(_heads(a, HEADS // 2), 2, 1) for a in (k, v))
        y = _attend((_turned(q), _turned(k), v), _causal(ids.shape[1]))
        x = x + linear(w, f"{at}.self_attn.o_proj", y)
        y = _rms_norm(w, f"{at}.post_attention_layernorm", x)
        y = silu(linear(w, f"{at}.mlp.gate_proj", y)) * linear(w, f"{at}.mlp.up_proj", y)
        x = x + linear(w, f"{at}.mlp.down_proj", y)
    x = _rms_norm(w, f"{under}norm", x)
    return linear(w, "lm_head", x) if "lm_head.weight" in w else x


def _distances(table: Array, length: int, both_sides: bool) -> Array:
    """T5's bias by distance for lengths within its exact buckets: (heads, length, length)."""
    away = np.arange(length) - np.arange(length)[:, None]
    if both_sides:
        bucket = np.abs(away) + np.where(away > 0, len(table) // 2, 0)
    else:
        bucket = np.maximum(-away, 0)
    return np.asarray(table[bucket].transpose(2, 0, 1))


def _t5_stack(w: Weights, side: str, ids: Array, memory: Array | None) -> Array:
    x = w["decoder.embed_tokens.weight"][ids]  # one table of three names: the last is loaded last
    table = w[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    bias = _distances(table, ids.shape[1], memory is None)
    bias = bias if memory is None else bias + _causal(ids.shape[1])

    def attend(at: str, x: Array, source: Array | None, added: Any) -> Array:
        y = _rms_norm(w, at.rpartition(".")[0] + ".layer_norm", x)
        source = y if source is None else source
        parts = (
            _heads(linear(w, f"{at}.{n}", s), HEADS)
            for n, s in zip("qkv", (y, source, source), strict=True)
        )
        return x + linear(w, f"{at}.o", _attend(parts, added, 1.0))

    for at in _layers(w, f"{side}.block"):
        x = attend(f"{at}.layer.0.SelfAttention", x, None, bias)
        if memory is not None:
            x = attend(f"{at}.layer.1.EncDecAttention", x, memory, 0.0)
        last = f"{at}.layer.{1 if memory is None else 2}"
        y = _rms_norm(w, f"{last}.layer_norm", x)
        y = relu(linear(w, f"{last}.DenseReluDense.wi", y))
        x = x + linear(w, f"{last}.DenseReluDense.wo", y)
    return _rms_norm(w, f"{side}.final_layer_norm", x)


def t5(w: Weights, ids: Array) -> Array:
    """The text is its own answer so far."""
    x = _t5_stack(w, "decoder", ids, _t5_stack(w, "encoder", ids, None))
    return linear(w, "lm_head", x)


def vit(w: Weights, images: Array, heads: int = HEADS) -> Array:
    kernel = w["vit.embeddings.patch_embeddings.projection.weight"]
    n, c, h, _ = images.shape
    size = kernel.shape[2]
    x = images.reshape(n, c, h // size, size, h // size, size).transpose(0, 2, 4, 1, 3, 5)
    x = x.reshape(n, (h // size) ** 2, -1) @ kernel.reshape(len(kernel), -1).T
    x = x + w["vit.embeddings.patch_embeddings.projection.bias"]
    first = np.broadcast_to(w["vit.embeddings.cls_token"], (n, 1, x.shape[2]))
    x = np.concatenate([first, x], 1) + w["vit.embeddings.position_embeddings"]
    for at in _layers(w, "vit.encoder.layer"):
        y = _layer_norm(w, f"{at}.layernorm_before", x, 1e-12)
        parts = (linear(w, f"{at}.attention.attention.{n}", y) for n in ("query", "key", "value"))
        y = _attend(_heads(part, heads) for part in parts)
        x = x + linear(w, f"{at}.attention.output.dense", y)
        y = _layer_norm(w, f"{at}.layernorm_after", x, 1e-12)
        x = x + linear(w, f"{at}.output.dense", gelu(linear(w, f"{at}.intermediate.dense", y)))
    return linear(w, "classifier", _layer_norm(w, "vit.layernorm", x[:, :1], 1e-12)[:, 0])


# --- the models that are computed above, and how each is called ---

Make = Callable[[Any], Any]
Run = Callable[[Any, Any, Any], Any]  # of F, the model, and its input


def _alone(F: Any, model: Any, x: Any) -> Any:
    return model(x)


def _with_pool(F: Any, model: Any, x: Any) -> Any:
    y = model(x)
    return F.cat([y, model.pool(y).unsqueeze(1)], 1)


def _of_itself(F: Any, model: Any, x: Any) -> Any:
    return model(x, x)


def _bert(models: Any) -> Any:
    return models.BertModel(
        models.BertConfig(VOCABULARY, 8, 2, HEADS, 12, max_position_embeddings=7)
    )


def _gpt2(name: str) -> Make:
    def make(models: Any) -> Any:
        config = models.GPT2Config(VOCABULARY, 7, 8, 2, HEADS, tie_word_embeddings=False)
        return getattr(models, name)(config)

    return make


def _llama(name: str) -> Make:
    def make(models: Any) -> Any:
        config = models.LlamaConfig(VOCABULARY, 16, 12, 2, HEADS, num_key_value_heads=HEADS // 2)
        return getattr(models, name)(config)

    return make


def _t5(models: Any) -> Any:
    config = models.T5Config(VOCABULARY, 8, 3, 12, 2, 1, HEADS, tie_word_embeddings=False)
    return models.T5ForConditionalGeneration(config)


def _vit(models: Any) -> Any:
    config = models.ViTConfig(8, 2, HEADS, 12, image_size=6, patch_size=2, num_labels=5)
    return models.ViTForImageClassification(config)


# Of each: what makes it, the shape of one input, how many tokens that is of (0: it is no text), the
# reference, and the call.
MODELS: dict[str, tuple[Make, tuple[int, ...], int, Callable[[Weights, Array], Array], Run]] = {
    "BertModel": (_bert, (6,), VOCABULARY, bert, _with_pool),
    "GPT2Model": (_gpt2("GPT2Model"), (6,), VOCABULARY, lambda w, x: gpt2(w, x, ""), _alone),
    "GPT2LMHeadModel": (_gpt2("GPT2LMHeadModel"), (6,), VOCABULARY, gpt2, _alone),
    "LlamaModel": (_llama("LlamaModel"), (6,), VOCABULARY, lambda w, x: llama(w, x, ""), _alone),
    "LlamaForCausalLM": (_llama("LlamaForCausalLM"), (6,), VOCABULARY, llama, _alone),
    "T5ForConditionalGeneration": (_t5, (5,), VOCABULARY, t5, _of_itself),
    "ViTForImageClassification": (_vit, (3, 6, 6), 0, vit, _alone),
}
