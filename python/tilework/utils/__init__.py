"""PyTorch's place for data and checkpoints: tilework.utils.data is tilework.data by
torch.utils.data's names."""

from tilework.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
