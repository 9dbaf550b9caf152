"""GGUF files of LLaMA-type models: weights dequantised, and the tokenizer that is in the file.

Reading the format is the package gguf's work.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from tilework import nn
from tilework.errors import error, word
from tilework.models.llama import LlamaConfig, LlamaForCausalLM

# llama.cpp's names of tensors, and Hugging Face's.
_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
# How each of llama.cpp's pre-tokenizers cuts a text before its bytes are merged: whether digits
# stand alone.
_SINGLE_DIGITS = {"smollm": True, "gpt-2": False, "default": False}
_CONTROL = 3  # the token_type of special tokens


def package(name: str, extra: str) -> Any:
    """An optional package. ImportError says which extra has it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise error(
            ImportError, "from_pretrained", f"the package {name}", "none installed",
            f"pip install 'tilework[{extra}]'",
        ) from None  # fmt: skip


def _open(path: Path) -> tuple[Any, dict[str, Any]]:
    """The reader of a file, and its metadata by key."""
    reader = package("gguf", "text").GGUFReader(path)
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def _config(path: Path, about: dict[str, Any], tied: bool) -> LlamaConfig:
    kind = about.get("general.architecture")
    if kind != "llama":
        raise error(
            ValueError, "from_pretrained", "a GGUF file of architecture llama",
            f"{path.name} of {word(kind)}", "no other is read here",
        )  # fmt: skip
    heads = about["llama.attention.head_count"]
    return LlamaConfig(
        vocab_size=len(about["tokenizer.ggml.tokens"]),
        hidden_size=about["llama.embedding_length"],
        intermediate_size=about["llama.feed_forward_length"],
        num_hidden_layers=about["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=about.get("llama.attention.head_count_kv", heads),
        head_dim=about.get("llama.attention.key_length"),
        max_position_embeddings=about["llama.context_length"],
        rms_norm_eps=about["llama.attention.layer_norm_rms_epsilon"],
        rope_theta=about.get("llama.rope.freq_base", 10000.0),
        tie_word_embeddings=tied,
    )


def _halves(weight: Any, heads: int) -> Any:
    """Rows of a map to queries or keys with the two of a rotated pair half a head apart, as
    Hugging Face's are; the file has them side by side."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def read_model(path: Path) -> LlamaForCausalLM:
    """The model of a file, in eval mode, its weights dequantised to float32."""
    reader, about = _open(path)
    quants = package("gguf", "text").quants
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    config = _config(path, about, tied)
    state: dict[str, Any] = {}
    for tensor in reader.tensors:
        array = quants.dequantize(tensor.data, tensor.tensor_type)
        name = _TOP.get(tensor.name, tensor.name)
        if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name):
            layer, part = found.groups()
            name = f"model.layers.{layer}.{_PARTS.get(part, part)}.weight"
            if part in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if part == "attn_q" else config.key_heads
                array = _halves(array, heads)
        state[name] = array
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = nn.utils.skip_init(LlamaForCausalLM, config)
    model.load_state_dict(state)
    return model.eval()


def read_tokenizer(path: Path) -> tuple[Any, list[int]]:
    """The tokenizer of a file (of the package tokenizers), and the tokens that end a text."""
    _, about = _open(path)
    tokenizers = package("tokenizers", "text")
    cut = about.get("tokenizer.ggml.pre", "default")
    if about.get("tokenizer.ggml.model") != "gpt2" or cut not in _SINGLE_DIGITS:
        raise error(
            ValueError, "from_pretrained",
            f"a tokenizer of kind gpt2, cut as {', '.join(_SINGLE_DIGITS)}",
            f"{about.get('tokenizer.ggml.model')}, {cut}", "convert the model to a folder",
        )  # fmt: skip
    tokens = about["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in about["tokenizer.ggml.merges"]]
    model = tokenizers.models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    tokenizer = tokenizers.Tokenizer(model)
    steps = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if _SINGLE_DIGITS[cut]:
        steps.insert(0, tokenizers.pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    kinds = about.get("tokenizer.ggml.token_type", [])
    special = [t for t, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL]
    tokenizer.add_special_tokens(special)
    if about.get("tokenizer.ggml.add_bos_token"):
        first = about["tokenizer.ggml.bos_token_id"]
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{tokens[first]} $A", special_tokens=[(tokens[first], first)]
        )
    ends = [about[k] for k in ("tokenizer.ggml.eos_token_id",) if k in about]
    ends += [tokens.index(t) for t in ("<|endoftext|>",) if t in special]
    return tokenizer, sorted(set(ends))
