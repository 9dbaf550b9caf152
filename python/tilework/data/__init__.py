"""Where training data comes from: datasets, loaders, and images that need no download."""

from tilework.data import augment
from tilework.data.collate import default_collate
from tilework.data.dataset import (
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    TransformedDataset,
    random_split,
)
from tilework.data.loader import DataLoader
from tilework.data.sources import (
    FASHION_MNIST_FOLDER,
    ImageSet,
    Nuclei,
    digits,
    fashion_mnist,
    nuclei,
    read_idx,
)

__all__ = [
    "FASHION_MNIST_FOLDER",
    "DataLoader",
    "Dataset",
    "ImageSet",
    "IterableDataset",
    "Nuclei",
    "Subset",
    "TensorDataset",
    "TransformedDataset",
    "augment",
    "default_collate",
    "digits",
    "fashion_mnist",
    "nuclei",
    "random_split",
    "read_idx",
]
