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
from tilework.data.folder import ImageFolder, read_image
from tilework.data.loader import DataLoader
from tilework.data.registry import SOURCES, source
from tilework.data.sources import (
    FASHION_MNIST_FOLDER,
    ImageSet,
    Nuclei,
    digits,
    fashion_mnist,
    nuclei,
    read_idx,
)
from tilework.data.speech import (
    ASTERISK_FOLDER,
    Recordings,
    deltas,
    log_mel,
    mel_filters,
    read_wav,
    spoken_numbers,
)

__all__ = [
    "ASTERISK_FOLDER",
    "FASHION_MNIST_FOLDER",
    "SOURCES",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "ImageSet",
    "IterableDataset",
    "Nuclei",
    "Recordings",
    "Subset",
    "TensorDataset",
    "TransformedDataset",
    "augment",
    "default_collate",
    "deltas",
    "digits",
    "fashion_mnist",
    "log_mel",
    "mel_filters",
    "nuclei",
    "random_split",
    "read_idx",
    "read_image",
    "read_wav",
    "source",
    "spoken_numbers",
]
