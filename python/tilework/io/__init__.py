"""Weights and checkpoints on disk, as safetensors files."""

from tilework.io.checkpoint import load_checkpoint, save_checkpoint
from tilework.io.weights import load, load_with_metadata, save

__all__ = ["load", "load_checkpoint", "load_with_metadata", "save", "save_checkpoint"]
