"""Published weights into our models: a folder of Hugging Face's files, or a GGUF file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilework import io, nn
from tilework.errors import error, word
from tilework.io.files import StrPath
from tilework.models.bert import BertConfig, BertModel
from tilework.models.gpt2 import GPT2Config, GPT2LMHeadModel
from tilework.models.llama import LlamaConfig, LlamaForCausalLM
from tilework.models.t5 import T5Config, T5ForConditionalGeneration
from tilework.models.vit import ViTConfig, ViTForImageClassification

# By config.json's model_type: the configuration, the model, and the name under which it holds what
# published states may have at the top, or the other way round.
KINDS: dict[str, tuple[Any, Any, str]] = {
    "bert": (BertConfig, BertModel, "bert."),
    "gpt2": (GPT2Config, GPT2LMHeadModel, "transformer."),
    "llama": (LlamaConfig, LlamaForCausalLM, "model."),
    "mistral": (LlamaConfig, LlamaForCausalLM, "model."),
    "t5": (T5Config, T5ForConditionalGeneration, "transformer."),
    "vit": (ViTConfig, ViTForImageClassification, "vit."),
}
# What published states hold beside weights (masks, positions, frequencies), and heads for
# pretraining that our BERT has not.
_PASSED_OVER = re.compile(
    r"(.*\.)?(attn\.(masked_)?bias|position_ids|rotary_emb\.inv_freq)|(bert\.)?cls\..*"
)


def from_pretrained(path: StrPath) -> Any:
    """The model in a folder with config.json and safetensors files (one, or parts with an index),
    in eval mode, its weights in float32.

    `path` may also be a .gguf file of a LLaMA-type model: its weights are dequantised, which needs
    the package gguf. FileNotFoundError where there is none, ValueError where it is of a kind, or
    has weights, that no model here has.

    >>> model = GPT2LMHeadModel(GPT2Config(5, 8, 4, 1, 2))
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "config.json").write_text(
    ...     '{"model_type": "gpt2", "vocab_size": 5, "n_positions": 8, "n_embd": 4, "n_layer": 1,'
    ...     ' "n_head": 2}')
    >>> io.save(model.state_dict(), folder / "model.safetensors")
    >>> from_pretrained(folder).config.vocab_size
    5
    """
    source = Path(path)
    if not source.exists():
        raise error(
            FileNotFoundError, "from_pretrained", "a folder with config.json, or a .gguf file",
            f"no {source}", "give the path of one; nothing is downloaded",
        )  # fmt: skip
    if source.suffix == ".gguf":
        from tilework.models.gguf import read_model

        return read_model(source)
    config = read_json(source / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise error(
            ValueError, "from_pretrained", f"model_type of {', '.join(KINDS)}", str(word(kind)),
            "build the model yourself",
        )  # fmt: skip
    make_config, make_model, _ = KINDS[kind]
    model = nn.utils.skip_init(make_model, make_config.from_config(config))
    state: dict[str, Any] = {}
    for file in _files(source):
        state.update(io.load(file))
    load_published(model, state, KINDS[kind][2])
    return model.eval()


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file of a published model holds. FileNotFoundError, ValueError."""
    if not path.is_file():
        raise error(
            FileNotFoundError, "from_pretrained", f"{path.name} beside the weights", f"no {path}",
            "give the folder that has both",
        )  # fmt: skip
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as reason:
        raise error(
            ValueError, "from_pretrained", "JSON", f"{path} ({reason})", "copy it again"
        ) from None
    return found if isinstance(found, dict) else {}


def _files(folder: Path) -> Iterator[Path]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
    for name in names:
        if not (folder / name).is_file():
            raise error(
                FileNotFoundError, "from_pretrained", f"{name} beside config.json", "none",
                "save the weights as safetensors",
            )  # fmt: skip
        yield folder / name


def load_published(model: nn.Module, state: Mapping[str, Any], prefix: str) -> None:
    """Loads a state under Hugging Face's names, as it was published.

    What is at the top there may be under `prefix` here, and the other way round; a table that two
    parts share may be there once. ValueError where weights are missing, unknown or of other shapes.
    """
    own = model.state_dict()
    found = {}
    for name, value in state.items():
        here = next((n for n in (name, prefix + name, name.removeprefix(prefix)) if n in own), name)
        if here in own or not _PASSED_OVER.fullmatch(name):
            found[here] = value
    shared: dict[int, Any] = {id(own[name]._storage): v for name, v in found.items() if name in own}
    for name, tensor in own.items():
        if name not in found and id(tensor._storage) in shared:
            found[name] = shared[id(tensor._storage)]
    model.load_state_dict(found)
