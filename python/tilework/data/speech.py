"""Speech: recordings, and what networks hear of them (log-mel features and their deltas)."""

from __future__ import annotations

import importlib
import math
import os
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tilework.errors import error

ASTERISK_FOLDER = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
_NUMBERS = {
    "0": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six",
    "7": "seven", "8": "eight", "9": "nine", "10": "ten", "11": "eleven", "12": "twelve",
    "13": "thirteen", "14": "fourteen", "15": "fifteen", "16": "sixteen", "17": "seventeen",
    "18": "eighteen", "19": "nineteen", "20": "twenty", "30": "thirty", "40": "forty",
    "50": "fifty", "60": "sixty", "70": "seventy", "80": "eighty", "90": "ninety",
    "hundred": "hundred", "thousand": "thousand", "million": "million",
}  # fmt: skip


@dataclass(frozen=True)
class Recordings:
    """Recordings of one rate, float32 in [-1, 1) of shape (samples,), and what is said in each."""

    samples: list[NDArray[np.float32]]
    texts: list[str]
    rate: int


def read_wav(path: str | os.PathLike[str]) -> tuple[NDArray[np.float32], int]:
    """The samples of a WAV file of 16 bits, and their rate: (samples,) of one channel, (channels,
    samples) of more, float32 in [-1, 1).

    ValueError on another kind of file or sample.
    """
    try:
        with wave.open(os.fspath(path)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as reason:
        raise error(
            ValueError, "read_wav", "a WAV file of integers", f"{path}: {reason}", "convert it"
        ) from reason
    if width != 2:
        raise error(
            ValueError, "read_wav", "samples of 16 bits", f"{8 * width} bits in {path}",
            "convert the file",
        )  # fmt: skip
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)
    return (samples if channels == 1 else samples.reshape(-1, channels).T), rate


def spoken_numbers(folder: str | os.PathLike[str] = ASTERISK_FOLDER) -> Recordings:
    """Thirty-one English words for numbers, each said once by one speaker at 8,000 samples a
    second: Asterisk's core sounds (Allison Smith for Digium; CC BY-SA 3.0).

    Read from `folder`, by default where Debian's package asterisk-core-sounds-en-wav puts it.
    FileNotFoundError where it is not installed.
    """
    at = Path(folder) / "digits"
    if not at.is_dir():
        raise error(
            FileNotFoundError, "spoken_numbers", f"recordings in {at}", "no such folder",
            "sudo apt-get install asterisk-core-sounds-en-wav, or give the folder",
        )  # fmt: skip
    read = [read_wav(at / f"{name}.wav") for name in _NUMBERS]
    return Recordings([samples for samples, _ in read], list(_NUMBERS.values()), read[0][1])


def _rfft(frames: NDArray[np.float64], size: int) -> NDArray[Any]:
    try:
        fft = importlib.import_module("scipy.fft")
    except ImportError:
        raise error(
            ImportError, "log_mel", "the package scipy, whose FFT it takes", "none installed",
            "pip install 'tilework[speech]'",
        ) from None  # fmt: skip
    found: NDArray[Any] = fft.rfft(frames, size)
    return found


def mel_filters(
    rate: float, n_fft: int, n_mels: int, low: float = 0.0, high: float | None = None
) -> NDArray[np.float64]:
    """The weights (n_mels, n_fft / 2 + 1) of triangles that stand evenly on the mel scale,
    2595 log10(1 + f / 700), from `low` to `high` Hz (half the rate where None); each is 1 at its
    middle and 0 at its neighbours'.

    ValueError where the frequencies are not in order, or above half the rate.

    >>> mel_filters(8000, 256, 20).shape
    (20, 129)
    """
    top = rate / 2 if high is None else high
    if not 0 <= low < top <= rate / 2:
        raise error(
            ValueError, "mel_filters", f"0 <= low < high <= {rate / 2} Hz", f"{low} and {top}",
            "stay below half the rate",
        )  # fmt: skip
    first, last = (2595.0 * math.log10(1.0 + f / 700.0) for f in (low, top))
    middles = 700.0 * (10.0 ** (np.linspace(first, last, n_mels + 2) / 2595.0) - 1.0)
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    left, middle, right = middles[:-2, None], middles[1:-1, None], middles[2:, None]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    weights: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return weights


def deltas(features: ArrayLike, width: int = 2) -> NDArray[Any]:
    """How fast features (T, D) change at each frame: the slope of the line that fits the `width`
    frames on both sides best; the first and the last frame stand for those beyond.

    ValueError where width is not above 0, or on another number of axes.

    >>> deltas(np.arange(5.0)[:, None])[:, 0].tolist()
    [0.5, 0.8, 1.0, 0.8, 0.5]
    """
    x = np.asarray(features)
    if x.ndim != 2 or width < 1:
        raise error(
            ValueError, "deltas", "features (T, D) and width from 1", f"{x.shape} and {width}",
            "give frames by features",
        )  # fmt: skip
    count = len(x)
    padded = np.pad(x, ((width, width), (0, 0)), "edge") if count else x
    total = np.zeros(x.shape, np.float64)
    for n in range(1, width + 1) if count else ():
        later, earlier = padded[width + n :][:count], padded[width - n :][:count]
        total += n * (later.astype(np.float64) - earlier)
    return (total / (2 * sum(n * n for n in range(1, width + 1)))).astype(
        x.dtype if x.dtype.kind == "f" else np.float64
    )


def log_mel(
    samples: ArrayLike,
    rate: float,
    *,
    n_mels: int = 80,
    window: float = 0.025,
    hop: float = 0.010,
    low: float = 0.0,
    high: float | None = None,
    floor: float = 1e-10,
    order: int = 0,
) -> NDArray[np.float32]:
    """The logarithms (T, n_mels) of a recording's energy around n_mels pitches in each frame.

    A frame is `window` seconds long, weighted by Hann's window, and starts `hop` seconds after the
    one before; frames that would go past the end are left out, and a recording shorter than one is
    filled up with zeros. Its power spectrum (SciPy's FFT over the next power of two) goes through
    mel_filters; energies below `floor` count as that. `order` 1 puts the deltas beside the
    features, 2 theirs too: (T, 3 n_mels).

    ImportError without SciPy (the extra `speech`); ValueError on samples of several axes, or
    settings out of range.

    >>> time = np.arange(8000) / 8000
    >>> log_mel(np.sin(2 * np.pi * 1000 * time), 8000, n_mels=40, order=2).shape
    (98, 120)
    """
    x = np.asarray(samples, np.float64)
    size, step = round(window * rate), round(hop * rate)
    if x.ndim != 1 or size < 1 or step < 1 or n_mels < 1 or not floor > 0 or order < 0:
        raise error(
            ValueError, "log_mel",
            "samples (S,), a window and a hop of a sample or more, n_mels from 1, floor above 0, "
            "order from 0",
            f"{x.shape}, {window}, {hop}, {n_mels}, {floor}, {order}", "change the one that is not",
        )  # fmt: skip
    if len(x) < size:
        x = np.append(x, np.zeros(size - len(x)))
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[::step]
    n_fft = 1 << (size - 1).bit_length()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    spectrum = _rfft(frames * hann, n_fft)
    power = spectrum.real**2 + spectrum.imag**2
    energy = power @ mel_filters(rate, n_fft, n_mels, low, high).T
    parts = [np.log(np.maximum(energy, floor))]
    for _ in range(order):
        parts.append(deltas(parts[-1]))
    return np.concatenate(parts, 1).astype(np.float32)
