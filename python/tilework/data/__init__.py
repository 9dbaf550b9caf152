"""Where training data comes from: datasets, loaders, and images that need no download."""

from tilework.data import augment
from tilework.data.collate import default_collate, default_convert, get_worker_info
from tilework.data.dataset import (
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    TransformedDataset,
    random_split,
)
from tilework.data.folder import ImageFolder, read_image
from tilework.data.joined import ChainDataset, ConcatDataset, StackDataset
from tilework.data.loader import DataLoader
from tilework.data.photographs import Photographs, photographs
from tilework.data.registry import SOURCES, source
from tilework.data.samplers import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from tilework.data.series import Series, co2, sunspots, windows
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
from tilework.data.tables import Table, breast_cancer, diabetes, wine
from tilework.data.text import WEB_FOLDER, Text, world_english_bible
from tilework.data.utterances import Utterances, japanese_vowels, read_ts

__all__ = [
    "ASTERISK_FOLDER",
    "FASHION_MNIST_FOLDER",
    "SOURCES",
    "WEB_FOLDER",
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "ImageSet",
    "IterableDataset",
    "Nuclei",
    "Photographs",
    "RandomSampler",
    "Recordings",
    "Sampler",
    "SequentialSampler",
    "Series",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "Table",
    "TensorDataset",
    "Text",
    "TransformedDataset",
    "Utterances",
    "WeightedRandomSampler",
    "augment",
    "breast_cancer",
    "co2",
    "default_collate",
    "default_convert",
    "deltas",
    "diabetes",
    "digits",
    "fashion_mnist",
    "get_worker_info",
    "japanese_vowels",
    "log_mel",
    "mel_filters",
    "nuclei",
    "photographs",
    "random_split",
    "read_idx",
    "read_image",
    "read_ts",
    "read_wav",
    "source",
    "spoken_numbers",
    "sunspots",
    "windows",
    "wine",
    "world_english_bible",
]
