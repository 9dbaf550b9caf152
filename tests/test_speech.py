"""Speech: features by their definition, and recordings."""

import sys
import wave

import numpy as np
import pytest

from tilework import data


def recordings():
    """The folder of Asterisk's recordings; the test is skipped where there is none."""
    if not data.ASTERISK_FOLDER.is_dir():
        pytest.skip("the recordings of asterisk-core-sounds-en-wav are not installed")
    return data.ASTERISK_FOLDER


# --- features ---


def by_definition(x, rate, n_mels, window, hop):
    """Log-mel features by sums: a Fourier transform's definition, a triangle's two lines."""
    size, step = round(window * rate), round(hop * rate)
    n_fft = 1
    while n_fft < size:
        n_fft *= 2
    n, k = np.arange(size), np.arange(n_fft // 2 + 1)[:, None]
    waves = np.exp(-2j * np.pi * k * n / n_fft)
    hann = np.sin(np.pi * n / size) ** 2

    def mel(f):
        return 2595.0 * np.log(1.0 + f / 700.0) / np.log(10.0)

    rows = []
    for start in range(0, len(x) - size + 1, step):
        power = np.abs(waves @ (hann * x[start : start + size])) ** 2
        row = []
        for m in range(n_mels):
            pitch = mel(rate / 2) / (n_mels + 1)
            ends = [700.0 * (10.0 ** (pitch * (m + i) / 2595.0) - 1.0) for i in range(3)]
            total = 0.0
            for i, p in enumerate(power):
                total += p * max(0.0, np.interp(i * rate / n_fft, ends, [0.0, 1.0, 0.0]))
            row.append(np.log(max(total, 1e-10)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("rate", "n_mels"), [(8000, 20), (16000, 40), (11025, 13)])
def test_log_mel_by_its_definition(rate, n_mels):
    pytest.importorskip("scipy", reason="SciPy, whose FFT the features take, is not installed")
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal(rate // 10)
    x += np.sin(2 * np.pi * 440 * np.arange(len(x)) / rate)
    found = data.log_mel(x, rate, n_mels=n_mels)
    expected = by_definition(x, rate, n_mels, 0.025, 0.010)
    assert found.dtype == np.float32
    limit = np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, 0, limit)


def test_log_mel_of_little():
    pytest.importorskip("scipy", reason="SciPy, whose FFT the features take, is not installed")
    silent = data.log_mel(np.zeros(100), 8000, n_mels=10, order=2)
    assert silent.shape == (1, 30)
    np.testing.assert_allclose(silent[0], [np.log(1e-10)] * 10 + [0.0] * 20, rtol=1e-6)
    assert data.log_mel([], 8000, n_mels=10).shape == (1, 10)
    for wrong in ({"n_mels": 0}, {"hop": 0.0}, {"window": 0.0}, {"floor": 0.0}, {"order": -1}):
        with pytest.raises(ValueError, match=r"\[log_mel\] expected"):
            data.log_mel(np.zeros(100), 8000, **wrong)
    with pytest.raises(ValueError, match=r"\[log_mel\] expected"):
        data.log_mel(np.zeros((2, 100)), 8000)
    for low, high in ((-1, 100), (200, 100), (0, 4001), (5000, None)):
        with pytest.raises(ValueError, match=r"\[mel_filters\] expected 0 <= low < high <= 4000"):
            data.mel_filters(8000, 256, 10, low, high)


def test_deltas_are_slopes():
    x = np.random.default_rng(0).standard_normal((9, 3))
    for width in (1, 2, 4):
        padded = np.pad(x, ((width, width), (0, 0)), "edge")
        around = np.arange(-width, width + 1)
        expected = [np.polyfit(around, padded[t : t + 2 * width + 1], 1)[0] for t in range(9)]
        np.testing.assert_allclose(data.deltas(x, width), expected, 0, 1e-13)
    assert data.deltas(np.zeros((0, 3))).shape == (0, 3)
    assert data.deltas(x.astype(np.float32)).dtype == np.float32
    for wrong in ((x[0], 2), (x, 0)):
        with pytest.raises(ValueError, match=r"\[deltas\] expected"):
            data.deltas(*wrong)


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.fft", None)
    with pytest.raises(ImportError, match=r"tilework\[speech\]"):
        data.log_mel(np.zeros(800), 8000)


def test_wav_files(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, (50, 2))

    def write(width, channels):
        with wave.open(str(tmp_path / "x.wav"), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(12345)
            file.writeframes(samples[:, :channels].astype(f"<i{width}").tobytes())

    write(2, 2)
    found, rate = data.read_wav(tmp_path / "x.wav")
    assert (rate, found.dtype) == (12345, np.float32)
    assert (found == samples.T / 32768).all()
    write(2, 1)
    assert (data.read_wav(tmp_path / "x.wav")[0] == samples[:, 0] / 32768).all()
    write(4, 1)
    with pytest.raises(ValueError, match="samples of 16 bits; got 32 bits"):
        data.read_wav(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="a WAV file of integers"):
        data.read_wav(tmp_path / "x.wav")
    with pytest.raises(FileNotFoundError, match="apt-get install asterisk-core-sounds-en-wav"):
        data.spoken_numbers(tmp_path)


def test_recordings_of_numbers():
    recordings()
    found = data.spoken_numbers()
    assert (len(found.samples), found.rate) == (31, 8000)
    assert len(set(found.texts)) == 31
    assert all(0.2 < len(x) / 8000 < 2 and np.abs(x).max() > 0.05 for x in found.samples)
