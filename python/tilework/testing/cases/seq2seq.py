"""The recurrent models of tilework.models in NumPy, for their cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilework.testing.case import Array
from tilework.testing.cases.networks import Weights, linear, relu
from tilework.testing.convolution import conv
from tilework.testing.reference import sigmoid, softmax

VOCABULARY = 11


def _gru_step(w: Weights, at: str, end: str, x: Array, h: Array) -> Array:
    a = x @ w[f"{at}.weight_ih{end}"].T + w[f"{at}.bias_ih{end}"]
    b = h @ w[f"{at}.weight_hh{end}"].T + w[f"{at}.bias_hh{end}"]
    (r, z, n), (of_r, of_z, of_n) = np.split(a, 3, -1), np.split(b, 3, -1)
    z = sigmoid(z + of_z)
    return np.asarray((1 - z) * np.tanh(n + sigmoid(r + of_r) * of_n) + z * h)


def _gru(w: Weights, at: str, end: str, x: Array, h: Array) -> Array:
    """All states (N, T, hidden)."""
    steps = []
    for step in x.swapaxes(0, 1):
        h = _gru_step(w, at, end, step, h)
        steps.append(h)
    return np.stack(steps, 1)


def _lstm(w: Weights, end: str, x: Array) -> Array:
    """All states (N, T, hidden) of the model's `lstm`."""
    w_ih, w_hh, b_ih, b_hh = (
        w[f"lstm.{n}{end}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = c = np.zeros((len(x), w_hh.shape[1]))
    states = []
    for step in x.swapaxes(0, 1):
        i, f, g, o = np.split(step @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, 1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states, 1)


def lstm_lm(w: Weights, ids: Array) -> Array:
    x = w["head.weight"][ids]  # the embedding's too
    for layer in range(2):
        x = _lstm(w, f"_l{layer}", x)
    return linear(w, "head", linear(w, "project", x))


def speaker(w: Weights, x: Array) -> Array:
    """The second utterance lacks the last two frames."""
    means = []
    for frames in (x[:1], x[1:, :-2]):
        back = _lstm(w, "_l0_reverse", frames[:, ::-1])
        means.append(np.concatenate([_lstm(w, "_l0", frames), back], -1).mean(1))
    return linear(w, "score", np.concatenate(means))


def forecaster(w: Weights, x: Array) -> Array:
    last = x[:, -1:]
    states = _lstm(w, "_l0", (x - last).reshape(len(x), -1, 2) / 3.0)
    return np.asarray(last + 3.0 * linear(w, "head", states[:, -1]))


def bahdanau(w: Weights, query: Array, keys: Array, under: str = "") -> Array:
    q, k = (linear(w, f"{under}{n}", x) for n, x in (("query", query), ("key", keys)))
    scores = linear(w, f"{under}score", np.tanh(q[:, :, None] + k[:, None]))[..., 0]
    return np.asarray(softmax(scores, -1) @ keys)


def luong(w: Weights, query: Array, keys: Array, under: str = "") -> Array:
    if f"{under}score.weight" in w:
        shape = (*query.shape[:2], *keys.shape[1:])
        pairs = [np.broadcast_to(query[:, :, None], (*shape[:3], query.shape[2])),
                 np.broadcast_to(keys[:, None], shape)]  # fmt: skip
        hidden = np.tanh(linear(w, f"{under}weight", np.concatenate(pairs, -1)))
        scores = linear(w, f"{under}score", hidden)[..., 0]
    else:
        mapped = linear(w, f"{under}weight", keys) if f"{under}weight.weight" in w else keys
        scores = query @ mapped.swapaxes(1, 2)
    return np.asarray(softmax(scores, -1) @ keys)


def seq2seq(w: Weights, ids: Array) -> Array:
    """The text is its own answer so far."""
    x = w["encoder_embedding.weight"][ids]
    nothing = np.zeros((len(ids), w["encoder.weight_hh_l0"].shape[1]))
    memory = _gru(w, "encoder", "_l0", x, nothing)
    if "bridge.weight" in w:
        back = _gru(w, "encoder", "_l0_reverse", x[:, ::-1], nothing)[:, ::-1]
        memory = np.concatenate([memory, back], -1)
        state = np.tanh(linear(w, "bridge", back[:, 0]))
    else:
        state = memory[:, -1]
    x = w["decoder_embedding.weight"][ids]
    if "attention.query.weight" in w:
        states, contexts = [], []
        for step in x.swapaxes(0, 1):
            context = bahdanau(w, state[:, None], memory, "attention.")[:, 0]
            state = _gru_step(w, "decoder", "", np.concatenate([step, context], -1), state)
            states.append(state)
            contexts.append(context)
        y, looked = np.stack(states, 1), np.stack(contexts, 1)
    else:
        y = _gru(w, "decoder", "_l0", x, state)
        looked = luong(w, y, memory, "attention.") if "combine.weight" in w else y
    if "combine.weight" in w:
        y = np.tanh(linear(w, "combine", np.concatenate([looked, y], -1)))
    return linear(w, "head", y)


def silero(w: Weights, x: Array) -> Array:
    """Two pieces, one after the other."""
    h = c = np.zeros((len(x), 128))
    found = []
    for _ in range(2):
        y = np.concatenate([x, x[:, -2:-66:-1]], 1)[:, None]
        y = conv(y, w["stft.forward_basis_buffer"], stride=128)
        y = np.sqrt(y[:, :129] ** 2 + y[:, 129:] ** 2)
        for i, stride in enumerate((1, 2, 2, 1)):
            at = f"encoder.{i}.reparam_conv"
            y = relu(conv(y, w[f"{at}.weight"], w[f"{at}.bias"], stride, 1))
        gates = y[:, :, 0] @ w["decoder.rnn.weight_ih"].T + w["decoder.rnn.bias_ih"]
        gates = gates + h @ w["decoder.rnn.weight_hh"].T + w["decoder.rnn.bias_hh"]
        i_gate, f, g, o = np.split(gates, 4, 1)
        c = sigmoid(f) * c + sigmoid(i_gate) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        at = "decoder.decoder.2"
        found.append(sigmoid(conv(relu(h)[:, :, None], w[f"{at}.weight"], w[f"{at}.bias"])))
    return np.concatenate(found, -1)[:, 0]


# --- the models that are computed above, and how each is called ---

Make = Callable[[Any], Any]
Run = Callable[[Any, Any, Any], Any]  # of F, the model, and its input


def _translator(**settings: Any) -> Make:
    return lambda models: models.Seq2Seq(
        models.Seq2SeqConfig(VOCABULARY, VOCABULARY, 6, 4, **settings)
    )


def _alone(F: Any, model: Any, x: Any) -> Any:
    return model(x)


def _of_itself(F: Any, model: Any, x: Any) -> Any:
    return model(x, x)


def _looking(F: Any, model: Any, x: Any) -> Any:
    return model(x[:, :3], x)[0]


def _twice(F: Any, model: Any, x: Any) -> Any:
    first, state = model(x)
    return F.cat([first, model(x, state)[0]], 1)


def _shorter(F: Any, model: Any, x: Any) -> Any:
    return model(x, F.tensor([x.shape[1], x.shape[1] - 2]))


def _luong(method: str) -> Make:
    return lambda models: models.LuongAttention(6, 6, method)


# Of each: the op, what makes it, the shape of one input, how many tokens that is of (0: it is no
# text), the reference, and the call.
MODELS: tuple[tuple[str, Make, tuple[int, ...], int, Callable[[Weights, Array], Array], Run], ...]
MODELS = (
    *(
        ("Seq2Seq", _translator(attention=kind, bidirectional=both), (5,), VOCABULARY, seq2seq,
         _of_itself)
        for kind, both in (
            ("bahdanau", True), ("bahdanau", False), ("dot", False), ("general", True),
            ("concat", True), ("none", False),
        )
    ),
    ("BahdanauAttention", lambda models: models.BahdanauAttention(6, 6, 5), (4, 6), 0,
     lambda w, x: bahdanau(w, x[:, :3], x), _looking),
    *(
        ("LuongAttention", _luong(method), (4, 6), 0, lambda w, x: luong(w, x[:, :3], x), _looking)
        for method in ("general", "concat")
    ),
    ("SileroVAD", lambda models: models.SileroVAD(), (576,), 0, silero, _twice),
    ("LSTMLanguageModel", lambda models: models.LSTMLanguageModel(VOCABULARY, 6, 5, 2, 0.5), (7,),
     VOCABULARY, lstm_lm, _alone),
    ("SpeakerLSTM", lambda models: models.SpeakerLSTM(4, 3, 5), (7, 4), 0, speaker, _shorter),
    ("LSTMForecaster", lambda models: models.LSTMForecaster(3, 5, 2, 3.0), (8,), 0, forecaster,
     _alone),
)  # fmt: skip
