"""The vision transformer (Dosovitskiy et al., "An image is worth 16x16 words", 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tilework import functional as F
from tilework import nn
from tilework.errors import error
from tilework.models.activations import FUSED
from tilework.models.config import Config
from tilework.tensor import Tensor


@dataclass(frozen=True)
class ViTConfig(Config):
    """The fields of ViT's config.json that shape the model. In `from_config` the number of classes
    is that of `id2label`.

    >>> ViTConfig.from_config({"id2label": {"0": "cat", "1": "dog"}}).num_labels
    2
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    qkv_bias: bool = True
    num_labels: int = 2

    @classmethod
    def from_config(cls, config: Any) -> ViTConfig:
        """As Config.from_config."""
        labels = {"num_labels": len(config["id2label"])} if config.get("id2label") else {}
        return super().from_config({**config, **labels})

    def check(self) -> None:
        """ValueError where heads or patches do not fit."""
        self.divides("num_attention_heads", "hidden_size")
        self.divides("patch_size", "image_size")
        self.only("hidden_act", *FUSED)


class _Patches(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, size, stride=size)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.projection(x)
        return y.flatten(2).transpose(1, 2)


class _Embeddings(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        patches = (config.image_size // config.patch_size) ** 2
        self.cls_token = nn.Parameter(F.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(F.zeros(1, patches + 1, config.hidden_size))
        self.patch_embeddings = _Patches(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embeddings(images)
        first = self.cls_token.expand(x.shape[0], -1, -1)
        result: Tensor = self.dropout(F.cat([first, x], 1) + self.position_embeddings)
        return result


class _SelfAttention(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.qkv_bias
        self.heads, self.rate = config.num_attention_heads, config.attention_probs_dropout_prob
        self.query = nn.Linear(width, width, bias)
        self.key = nn.Linear(width, width, bias)
        self.value = nn.Linear(width, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            linear(x).reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate if self.training else 0.0)
        return y.transpose(1, 2).reshape(batch, length, width)


class _Dense(nn.Module):
    """A linear map under the name `dense`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        result: Tensor = self.dense(x, activation=activation)
        return result


class _Attention(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.attention = _SelfAttention(config)
        self.output = _Dense(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.attention(x))
        return result


class _Layer(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.attention = _Attention(config)
        self.intermediate = _Dense(width, config.intermediate_size)
        self.output = _Dense(config.intermediate_size, width)
        self.layernorm_before = nn.LayerNorm(width, config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, config.layer_norm_eps)
        self.activation = FUSED[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.attention(self.layernorm_before(x)))
        y, x = self.layernorm_after(y, residual=x)
        y = self.output(self.intermediate(y, self.activation))
        result: Tensor = x + self.dropout(y)
        return result


class _Encoder(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_Layer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class _ViT(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layernorm(self.encoder(self.embeddings(images)))
        return result


class ViTForImageClassification(nn.Module):
    """The vision transformer: images (N, num_channels, H, W) to class scores (N, num_labels).

    The state's names and shapes are Hugging Face's. ValueError where H or W is not image_size.

    >>> config = ViTConfig(8, 1, 2, 16, image_size=8, patch_size=4, num_labels=3)
    >>> ViTForImageClassification(config)(tw.zeros(2, 3, 8, 8)).shape
    (2, 3)
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = _ViT(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        spread = self.config.initializer_range
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(module.weight, 0.0, spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, _Embeddings):
            nn.init.normal_(module.cls_token, 0.0, spread)
            nn.init.normal_(module.position_embeddings, 0.0, spread)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, num_channels, image_size, image_size)."""
        size, channels = self.config.image_size, self.config.num_channels
        if tuple(images.shape[1:]) != (channels, size, size):
            raise error(
                ValueError, "ViTForImageClassification", f"images (N, {channels}, {size}, {size})",
                tuple(images.shape), f"F.interpolate(images, ({size}, {size})) resizes them",
            )  # fmt: skip
        result: Tensor = self.classifier(self.vit(images)[:, 0])
        return result
