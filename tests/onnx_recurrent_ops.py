"""ONNX operators RNN, GRU and LSTM, by tilework's functions of the same names."""

import tilework as tw

# The standard's order of gates, as places in PyTorch's.
ORDERS = {"rnn_tanh": (0,), "gru": (1, 0, 2), "lstm": (0, 2, 3, 1)}
UNUSUAL = {"activation_alpha", "activation_beta", "activations", "clip", "input_forget"}


def _in_order(cell, x):
    """Rows gate after gate, in PyTorch's order."""
    parts = x.chunk(len(ORDERS[cell]), 0)
    return tw.cat([parts[i] for i in ORDERS[cell]])


def _weights(cell, w, r, b):
    """Of one direction: weights and biases."""
    if b is None:
        return [_in_order(cell, w), _in_order(cell, r)]
    return [_in_order(cell, part) for part in (w, r, *b.chunk(2, 0))]


def _one_way(attributes, cell, x, weights, states, peepholes, reverse):
    """(y, h, c) of sequences x (T, N, I) of one length."""
    x = x.flip(0) if reverse else x
    common = (weights, len(weights) > 2, 1, 0.0, False, False, False)
    if cell == "lstm":
        y, h, c = tw.lstm(x, states, *common, peepholes=peepholes)
    elif cell == "gru":
        after = bool(attributes.get("linear_before_reset", 0))
        y, h = tw.gru(x, states[0], *common, reset_after=after)
        c = None
    else:
        y, h = tw.rnn_tanh(x, states[0], *common)
        c = None
    return (y.flip(0) if reverse else y), h, c


def _of_lengths(attributes, cell, x, lengths, weights, states, peepholes, reverse):
    """The same for sequences each of which ends at its own length; what follows is zero."""
    found = []
    for i, n in enumerate(lengths.tolist()):
        at = slice(i, i + 1)
        own = [s if s is None else s[:, at] for s in states]
        y, h, c = _one_way(attributes, cell, x[:n, at], weights, own, peepholes, reverse)
        rest = tw.zeros(x.shape[0] - n, 1, y.shape[2], dtype=y.dtype)
        found.append((tw.cat([y, rest]), h, c))
    return tuple(
        None if parts[0] is None else tw.cat(list(parts), 1) for parts in zip(*found, strict=True)
    )


def recurrent(cell):
    def run(attributes, x, w, r, b=None, lengths=None, h0=None, c0=None, peepholes=None):
        if UNUSUAL & attributes.keys():
            raise NotImplementedError("the cell is as usual")
        first = attributes.get("layout", 0)
        x = x.transpose(0, 1) if first else x
        ways = []
        for d in range(w.shape[0]):
            reverse = d == 1 or attributes.get("direction", b"forward") == b"reverse"
            states = [s if s is None else (s[:, d] if first else s[d]) for s in (h0, c0)]
            states = [s if s is None else s.unsqueeze(0) for s in states]
            weights = _weights(cell, w[d], r[d], None if b is None else b[d])
            peep = None if peepholes is None else peepholes[d]
            if lengths is None or bool((lengths == x.shape[0]).all()):
                ways.append(_one_way(attributes, cell, x, weights, states, peep, reverse))
            else:
                ways.append(
                    _of_lengths(attributes, cell, x, lengths, weights, states, peep, reverse)
                )
        y = tw.stack([way[0] for way in ways], 1)
        ends = [tw.cat([way[i] for way in ways]) for i in (1, 2) if ways[0][i] is not None]
        if first:
            y = y.permute(2, 0, 1, 3)
            ends = [s.transpose(0, 1) for s in ends]
        return (y, *ends)

    return run


RECURRENT_OPS = {
    "GRU": recurrent("gru"),
    "LSTM": recurrent("lstm"),
    "RNN": recurrent("rnn_tanh"),
}
