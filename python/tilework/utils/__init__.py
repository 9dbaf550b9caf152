"""PyTorch's place for data: tilework.utils.data is tilework.data by torch.utils.data's names."""

from tilework.utils import data

__all__ = ["data"]
