"""Whole networks, one file a family."""

from tilework.models.mlp import MLP

__all__ = ["MLP"]
