"""Speech: features by their definition, real weights on real recordings, CTC that learns some."""

import importlib.util
import sys
import types
import wave
from pathlib import Path

import numpy as np
import pytest

import tilework as tw
from tilework import data, models, nn
from tilework import functional as F


def recordings():
    """The folder of Asterisk's recordings; the test is skipped where there is none."""
    if not data.ASTERISK_FOLDER.is_dir():
        pytest.skip("the recordings of asterisk-core-sounds-en-wav are not installed")
    return data.ASTERISK_FOLDER


def package(name):
    """The folder of a package that has weights; the test is skipped where there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {name}, which has the weights, is not installed")
    return Path(spec.origin).parent


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


# --- real weights ---


SPEECH = ("agent-user", "activated", "digits/7", "vm-instructions", "tt-weasels", "letters/w")


def test_silero_hears_speech():
    """The weights in the package's ONNX file, on real recordings, beside ONNX Runtime."""
    file = package("silero_vad") / "data" / "silero_vad_16k_op15.onnx"
    onnx = pytest.importorskip("onnx", reason="onnx, which reads the weights, is not installed")
    ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime, the judge, is not installed")
    signal = pytest.importorskip("scipy.signal", reason="SciPy, which resamples, is not installed")
    stored = onnx.load(file).graph.initializer
    weights = {i.name.removeprefix("model."): onnx.numpy_helper.to_array(i) for i in stored}
    model = models.SileroVAD().eval()
    model.load_state_dict({name: tw.tensor(w) for name, w in weights.items()})
    judge = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    for name in SPEECH:
        x, rate = data.read_wav(recordings() / f"{name}.wav")
        x = signal.resample_poly(x, 16000, rate).astype(np.float32)
        with tw.no_grad():
            found = model.detect(tw.from_numpy(x[None])).numpy()[0]
        padded = np.pad(x, (64, -len(x) % 512))
        state, expected = np.zeros((2, 1, 128), np.float32), []
        for start in range(0, len(padded) - 64, 512):
            part = {"input": padded[None, start : start + 576], "state": state}
            (chance,), state = judge.run(None, {**part, "sr": np.array(16000)})
            expected.append(chance[0])
        np.testing.assert_allclose(found, expected, 0, 1e-5, err_msg=name)
        assert found.max() > 0.9 > 0.1 > found.min()


WORDS = [
    "tilework", "kernel", "blorptastic", "quandry", "zygote", "attensional", "mizzle",
    "frobnicate", "grumphed", "pelican", "thrumbing", "oxidase", "yclept", "wuthering",
    "neologistic", "snarkily", "a", "zz", "activationist", "x",
]  # fmt: skip


def g2p_of(monkeypatch):
    """The package's own class, without the corpora that its package asks for and `predict` does
    not."""
    package("g2p_en")
    nltk, corpus, tokenize = (types.ModuleType(f"nltk{x}") for x in ("", ".corpus", ".tokenize"))
    nltk.pos_tag, corpus.cmudict = None, types.SimpleNamespace(dict=dict)
    nltk.data = types.SimpleNamespace(find=lambda name: name)
    tokenize.TweetTokenizer = lambda: types.SimpleNamespace(tokenize=str.split)
    inflect = types.ModuleType("inflect")
    inflect.engine = lambda: None
    for module in (nltk, corpus, tokenize, inflect):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [name for name in sys.modules if name.split(".")[0] == "g2p_en"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("g2p_en.g2p").G2p()


def test_g2p_spells_as_itself(monkeypatch):
    theirs = g2p_of(monkeypatch)
    stored = theirs.variables
    config = models.Seq2SeqConfig(
        *(len(stored[f"{side}_emb"]) for side in ("enc", "dec")), *stored["enc_emb"].shape[1:],
        stored["enc_w_hh"].shape[1], bidirectional=False, attention="none",
        decoder_start_token_id=2,
    )  # fmt: skip
    model = models.Seq2Seq(config).eval()
    names = {"emb": "embedding.weight", **{
        f"{kind}_{part}": f".{'weight' if kind == 'w' else 'bias'}_{part}_l0"
        for kind in "wb" for part in ("ih", "hh")
    }}  # fmt: skip
    state = {"head.weight": stored["fc_w"], "head.bias": stored["fc_b"]}
    for side, whole in (("enc", "encoder"), ("dec", "decoder")):
        for short, name in names.items():
            state[f"{whole}{'_' if short == 'emb' else ''}{name}"] = stored[f"{side}_{short}"]
    model.load_state_dict({name: tw.tensor(w) for name, w in state.items()})
    for word in WORDS:
        ids = tw.tensor([[theirs.g2idx[c] for c in [*word, "</s>"]]])
        with tw.no_grad():
            memory = model.encode(ids).numpy()
        steps = theirs.gru(
            theirs.encode(word), len(word) + 1,
            *(stored[f"enc_{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")),
        )  # fmt: skip
        np.testing.assert_allclose(memory, steps, 0, 1e-5)
        told = models.generate(model, ids, max_new_tokens=20, eos_token_id=3)[0, 1:].tolist()
        said = [theirs.idx2p[t] for t in (told[: told.index(3)] if 3 in told else told)]
        assert said == theirs.predict(word), word


# --- CTC that learns ---

LETTERS = "_abcdefghijklmnopqrstuvwxyz"


class Listener(nn.Module):
    """Two frames in one, a bidirectional LSTM, and the letters' scores (T / 2, N, 27)."""

    def __init__(self, features, hidden):
        super().__init__()
        self.lstm = nn.LSTM(2 * features, hidden, bidirectional=True)
        self.head = nn.Linear(2 * hidden, len(LETTERS))

    def forward(self, x):
        return F.log_softmax(self.head(self.lstm(x)[0]), -1)


def test_a_ctc_network_learns_twenty_recordings():
    recordings()
    pytest.importorskip("scipy", reason="SciPy, whose FFT the features take, is not installed")
    given = data.spoken_numbers()
    texts = given.texts[:20]
    heard = [data.log_mel(x, given.rate, n_mels=26, order=1) for x in given.samples[:20]]
    mean, deviation = np.concatenate(heard).mean(0), np.concatenate(heard).std(0)
    pairs = [((x - mean) / deviation)[: len(x) // 2 * 2].reshape(-1, 2 * 52) for x in heard]
    lengths = np.array([len(x) for x in pairs])
    batch = np.zeros((lengths.max(), 20, 104), np.float32)
    for n, x in enumerate(pairs):
        batch[: len(x), n] = x
    labels = tw.tensor([LETTERS.index(c) for c in "".join(texts)])
    counts, ends = tw.tensor([len(t) for t in texts]), tw.tensor(lengths)
    tw.manual_seed(0)
    model, x = Listener(52, 64), tw.from_numpy(batch)
    optimiser = tw.optim.Adam(model.parameters(), lr=5e-3)

    def told():
        with tw.no_grad():
            found = F.ctc_greedy_decode(model(x), ends)
        return ["".join(LETTERS[i] for i in word) for word in found]

    for step in range(400):
        loss = F.ctc_loss(model(x), labels, ends, counts)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        if step % 10 == 9 and loss.item() < 0.1 and told() == texts:
            break
    assert told() == texts
    with tw.no_grad():
        best = F.ctc_beam_search_decode(model(x), ends, 4)
    assert ["".join(LETTERS[i] for i in found[0][0]) for found in best] == texts
