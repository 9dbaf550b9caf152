"""Recurrent layers beyond their cases: packed sequences, states, errors, second derivatives."""

import copy
import pickle
import time
import warnings

import numpy as np
import pytest

import tilework as tw
from tilework import nn
from tilework.nn.utils import rnn
from tilework.testing.runner import TARGETS, running_on
from tilework.testing.tolerance import eps

KINDS = {
    "tanh": lambda *a, **k: nn.RNN(*a, **k),
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
    "lstm": lambda *a, **k: nn.LSTM(*a, **k),
    "projected": lambda *a, **k: nn.LSTM(*a, proj_size=2, **k),
    "gru": lambda *a, **k: nn.GRU(*a, **k),
}


def numbers(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def tensor(*shape, seed=0, requires_grad=False):
    return tw.tensor(numbers(*shape, seed=seed)).requires_grad_(requires_grad)


def states_of(last):
    return last if isinstance(last, tuple) else (last,)


def agree(found, expected):
    """But for the order of sums: a step rounds some thirty terms of about one, and two layers of
    five steps pass that on."""
    bound = 30 * 2 * 5 * eps("float64")
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), 0, bound)


# --- packed sequences ---


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_batch_is_its_sequences_alone(kind, batch_first):
    """Outputs, states and gradients, in any order of lengths."""
    lengths = [2, 5, 1, 4, 5]
    layer = KINDS[kind](3, 6, 2, batch_first=batch_first, bidirectional=True).double()
    x = tensor(5, 5, 3, requires_grad=True)
    hx = tuple(tensor(4, 5, n, seed=n) for n in ((2, 6) if kind == "projected" else (6, 6)))
    pair = kind in ("lstm", "projected")
    packed = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    y, last = layer(packed, hx if pair else hx[0])
    out, back = rnn.pad_packed_sequence(y, batch_first)
    assert back.tolist() == lengths
    (out.square().sum() + sum(s.square().sum() for s in states_of(last))).backward()
    gradients = [x.grad, *(p.grad for p in layer.parameters())]
    x.grad, total = None, 0.0
    layer.zero_grad()
    for i, n in enumerate(lengths):
        alone = x[i, :n] if batch_first else x[:n, i]
        own = tuple(s[:, i] for s in hx)
        y_alone, last_alone = layer(alone, own if pair else own[0])
        whole = out[i] if batch_first else out[:, i]
        agree(whole[:n], y_alone)
        assert not whole[n:].detach().numpy().any()
        for s, t in zip(states_of(last), states_of(last_alone), strict=True):
            agree(s[:, i], t)
        total = total + y_alone.square().sum()
        total = total + sum(s.square().sum() for s in states_of(last_alone))
    total.backward()
    for a, b in zip(gradients, [x.grad, *(p.grad for p in layer.parameters())], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_packing_and_back(batch_first):
    x = tensor(4, 4, 2)
    x = x if batch_first else x.transpose(0, 1)
    lengths = tw.tensor([4, 1, 3, 2])
    packed = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [4, 3, 2, 1]
    assert packed.sorted_indices.tolist() == [0, 2, 3, 1]
    assert packed.unsorted_indices.tolist() == [0, 3, 1, 2]
    padded, back = rnn.pad_packed_sequence(packed, batch_first, padding_value=7.0, total_length=6)
    assert back.tolist() == lengths.tolist()
    whole = padded if batch_first else padded.transpose(0, 1)
    given = x if batch_first else x.transpose(0, 1)
    for i, n in enumerate(lengths.tolist()):
        assert tw.equal(whole[i, :n], given[i, :n])
        assert (whole[i, n:] == 7.0).all()
    pieces = rnn.unpack_sequence(packed)
    assert [len(p) for p in pieces] == lengths.tolist()
    assert tw.equal(rnn.pad_sequence(pieces, True), rnn.pad_packed_sequence(packed, True)[0])


def test_packing_can_be_differentiated_twice():
    x = tensor(3, 2, 2, requires_grad=True)
    packed = rnn.pack_padded_sequence(x, [3, 2])
    y, _ = rnn.pad_packed_sequence(packed)
    (g,) = tw.autograd.grad((y**3).sum(), x, create_graph=True)
    (second,) = tw.autograd.grad(g.sum(), x)
    expected = 6 * x.detach().numpy()
    expected[2, 1] = 0
    np.testing.assert_allclose(second.numpy(), expected, rtol=1e-12)


def test_sequences_are_padded_on_either_side():
    given = [tw.tensor([1, 2, 3]), tw.tensor([4])]
    assert rnn.pad_sequence(given).tolist() == [[1, 4], [2, 0], [3, 0]]
    left = rnn.pad_sequence(given, batch_first=True, padding_value=9, padding_side="left")
    assert left.tolist() == [[1, 2, 3], [9, 9, 4]]
    with pytest.raises(ValueError, match="padding_side of left or right; got 'top'"):
        rnn.pad_sequence(given, padding_side="top")
    with pytest.raises(ValueError, match=r"sequences \(L, ...\) that are alike"):
        rnn.pad_sequence([tw.ones(2, 3), tw.ones(2, 4)])


def test_a_packed_sequence_is_a_tuple_of_four():
    packed = rnn.pack_sequence([tw.tensor([1.0, 2.0]), tw.tensor([3.0])])
    data, sizes, order, back = packed
    assert (data.tolist(), sizes.tolist(), order, back) == ([1.0, 3.0, 2.0], [2, 1], None, None)
    assert packed.to(tw.float64).data.dtype == tw.float64
    assert packed.float() is packed
    assert packed.cpu() is packed
    assert not packed.is_cuda
    again = rnn.PackedSequence(data, sizes, tw.tensor([1, 0]))
    assert again.unsorted_indices.tolist() == [1, 0]


# --- what is refused ---


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 0], "lengths from 1 to 3, the steps there are; got 0"),
        ([3, -2], "lengths from 1 to 3, the steps there are; got -2"),
        ([4, 2], "lengths from 1 to 3, the steps there are; got 4"),
        ([3, 2, 1], r"lengths \(2,\), one of each sequence; got \(3,\)"),
        ([2, 3], r"lengths that never grow; got \[2, 3\]: sort the sequences"),
    ],
)
def test_lengths_are_checked(lengths, message):
    with pytest.raises(ValueError, match=message):
        rnn.pack_padded_sequence(tw.ones(3, 2, 4), lengths)
    with pytest.raises(ValueError, match=message):
        rnn.pack_padded_sequence(tw.ones(3, 2, 4), tw.tensor(lengths))


@pytest.mark.parametrize(
    ("sizes", "orders", "message"),
    [
        ([1, 2, 3], (), "batch_sizes from 1 up that never grow, 6 in all"),
        ([3, 2], (), "batch_sizes"),
        ([7, -1], (), "batch_sizes"),
        ([], (), "batch_sizes"),
        ([2**62] * 4 + [6], (), "batch_sizes"),  # which is 6 in all, of 64 bits
        ([3, 3], ([0, 1, 7],), "sorted_indices as an order of 3"),
        ([3, 3], ([0, 1, 2], [0, 1]), "unsorted_indices as an order of 3"),
    ],
)
def test_packed_sequences_of_ones_own_are_checked(sizes, orders, message):
    orders = [tw.tensor(order) for order in orders]
    packed = rnn.PackedSequence(tw.ones(6, 2), tw.tensor(sizes, dtype=tw.int64), *orders)
    with pytest.raises(ValueError, match=rf"\[pad_packed_sequence\].*{message}"):
        rnn.pad_packed_sequence(packed)
    if not orders:
        with pytest.raises(ValueError, match=rf"\[gru\].*{message}"):
            nn.GRU(2, 3)(packed)


def test_lengths_are_whole_numbers():
    with pytest.raises(TypeError, match="lengths as whole numbers; got float"):
        rnn.pack_padded_sequence(tw.ones(3, 2, 4), [2.5, 1.0])
    with pytest.raises(
        ValueError, match="total_length of at least the longest sequence's 3; got 2"
    ):
        rnn.pad_packed_sequence(rnn.pack_padded_sequence(tw.ones(3, 1, 2), [3]), total_length=2)
    with pytest.raises(TypeError, match="a PackedSequence; got Tensor: pack it"):
        rnn.pad_packed_sequence(tw.ones(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LSTM(3, 4)(tw.ones(5, 2, 7)), r"input \(..., input_size=3\); got \(5, 2, 7\)"),
        (lambda: nn.LSTM(3, 4)(tw.ones(5, 2, 3, 1)), "input of 3 axes, or of 2"),
        (lambda: nn.LSTM(3, 4)(tw.ones(0, 2, 3)), "at least one step"),
        (
            lambda: nn.LSTM(3, 4)(tw.ones(5, 2, 3), (tw.ones(1, 2, 5), tw.ones(1, 2, 4))),
            r"h_0 \(1, 2, 4\); got \(1, 2, 5\)",
        ),
        (
            lambda: nn.LSTM(3, 4)(tw.ones(5, 2, 3), (tw.ones(1, 2, 4), tw.ones(2, 2, 4))),
            r"c_0 \(1, 2, 4\); got \(2, 2, 4\)",
        ),
        (lambda: nn.GRU(3, 4)(tw.ones(5, 2, 3), tw.ones(1, 3, 4)), r"h_0 \(1, 2, 4\)"),
        (lambda: nn.GRU(3, 4)(tw.ones(5, 2, 3), tw.ones(2, 4)), "states of 3 axes"),
        (lambda: nn.GRUCell(3, 4)(tw.ones(2, 3), tw.ones(3, 4)), r"h \(2, 4\); got \(3, 4\)"),
        (lambda: nn.LSTM(3, 4, proj_size=4), "proj_size below hidden_size"),
        (lambda: nn.LSTM(0, 4), "input_size of at least 1; got 0"),
        (lambda: nn.LSTM(3, 4, dropout=1.5), r"dropout in \[0, 1\]; got 1.5"),
        (lambda: nn.RNN(3, 4, nonlinearity="sin"), "nonlinearity of tanh or relu; got 'sin'"),
        (
            lambda: tw.gru(
                tw.ones(2, 1, 3), None, [tw.ones(6, 3)], False, 1, 0, False, False, False
            ),
            "2 params, 2 for each layer and direction; got 1",
        ),
    ],
)
def test_shapes_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LSTM(3, 4)(tw.ones(5, 2, 3), tw.ones(1, 2, 4)), "hx as a pair of states"),
        (lambda: nn.GRU(3, 4)(tw.ones(5, 2, 3), (tw.ones(1, 2, 4),)), "hx as a Tensor, h_0"),
        (lambda: nn.LSTM(3, 4)(tw.ones(5, 2, 3).double()), "of the input's dtype, float64"),
        (lambda: nn.LSTM(3.5, 4), "input_size as a whole number; got float"),
    ],
)
def test_kinds_are_checked(call, message):
    with pytest.raises(TypeError, match=message):
        call()


# --- layers ---


def test_names_shapes_and_text_are_pytorchs():
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    shapes = {name: tuple(p.shape) for name, p in layer.state_dict().items()}
    for n, width in ((0, 3), (1, 4)):
        for tail in (f"_l{n}", f"_l{n}_reverse"):
            assert shapes[f"weight_ih{tail}"] == (20, width)
            assert shapes[f"weight_hh{tail}"] == (20, 2)
            assert shapes[f"bias_ih{tail}"] == shapes[f"bias_hh{tail}"] == (20,)
            assert shapes[f"weight_hr{tail}"] == (2, 5)
    assert repr(layer) == "LSTM(3, 5, proj_size=2, num_layers=2, bidirectional=True)"
    assert repr(nn.GRU(3, 5, bias=False, batch_first=True)) == (
        "GRU(3, 5, bias=False, batch_first=True)"
    )
    assert repr(nn.RNNCell(3, 5, nonlinearity="relu")) == "RNNCell(3, 5, nonlinearity=relu)"
    assert [len(names) for names in layer.all_weights] == [5] * 4
    assert all(abs(p.detach().numpy()).max() <= 5**-0.5 for p in layer.parameters())


def test_layers_are_copied_and_pickled():
    for layer in (nn.LSTM(3, 4, 2), nn.RNN(3, 4), nn.RNNCell(3, 4, nonlinearity="relu")):
        x = tw.ones(2, 3) if isinstance(layer, nn.RNNCell) else tw.ones(5, 2, 3)
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            a, b = (m(x) for m in (layer, twin))
            a, b = (y[0] if isinstance(y, tuple) else y for y in (a, b))
            assert tw.equal(a, b)


def test_dropout_of_one_layer_is_warned_of():
    with pytest.warns(UserWarning, match="between layers"):
        nn.LSTM(3, 4, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(3, 4, 2, dropout=0.5)


def test_a_written_output_is_told_and_a_written_state_is_not():
    """Backward reads the outputs, and nothing of the states that it gave."""
    layer = nn.LSTM(3, 4)
    y, (h, c) = layer(tw.ones(5, 2, 3))
    total = y.sum()
    h.detach().zero_()
    c.detach().zero_()
    total.backward()
    y, _ = layer(tw.ones(5, 2, 3))
    total = y.sum()
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="recurrent"):
        total.backward()


@pytest.mark.parametrize("kind", ["tanh", "relu", "gru"])
def test_outputs_written_before_backward(kind):
    """As in PyTorch, which keeps what these layers' backward reads apart from what they give."""
    layer = KINDS[kind](3, 4, 2, batch_first=True).double()
    x = tensor(2, 5, 3, requires_grad=True)
    factor = tensor(2, 5, 4)
    (layer(x)[0] * factor).sum().backward()
    expected = [x.grad, *(p.grad for p in layer.parameters())]
    x.grad = None
    layer.zero_grad()
    y, _ = layer(x)
    y.mul_(factor)
    y.sum().backward()
    for found, wanted in zip(
        [x.grad, *(p.grad for p in layer.parameters())], expected, strict=True
    ):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_with_the_batch_first_are_viewed_by_sequence(kind):
    """Where PyTorch's want contiguous() first."""
    y, _ = KINDS[kind](3, 4, batch_first=True)(tw.ones(2, 5, 3))
    assert y.is_contiguous()
    assert y.view(2, -1).shape == y.contiguous().view(2, -1).shape == (2, 5 * y.shape[-1])


@pytest.mark.parametrize("lengths", [(), (3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind, lengths):
    """Beside differences of the first, which the kernels make."""
    layer = KINDS[kind](2, 3, bidirectional=True).double()
    x = tensor(5, 2, seed=3) if lengths else tensor(3, 2, 2, seed=3)
    sizes = tw.tensor([2, 2, 1])

    def loss(x, create_graph):
        x = x.detach().requires_grad_()
        given = rnn.PackedSequence(x, sizes) if lengths else x
        y, last = layer(given)
        y = y.data if lengths else y
        total = y.square().sum() + sum((s**3).sum() for s in states_of(last))
        inputs = [x, *layer.parameters()]
        grads = tw.autograd.grad(total, inputs, create_graph=create_graph)
        rng = np.random.default_rng(5)
        slope = sum((g * tw.tensor(rng.standard_normal(g.shape))).sum() for g in grads)
        return x, slope

    leaf, slope = loss(x, True)
    assert slope.item() == pytest.approx(loss(x, False)[1].item(), rel=1e-9)
    (second,) = tw.autograd.grad(slope, leaf)
    h, step = eps("float64") ** (1 / 3), tensor(*x.shape, seed=9)
    above, below = (loss(x + sign * h * step, False)[1].item() for sign in (1, -1))
    expected, found = (above - below) / (2 * h), float((second * step).sum().item())
    assert abs(found - expected) <= 1000 * h * h * (1 + abs(found) + abs(above))


@pytest.mark.parametrize("batch", [1, 3, 7, 33])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_threads(threads, kind, batch):
    """Of 7 sequences there are too few steps to pack weights for, and a part of the product is so
    narrow that by itself another routine would serve it."""
    layer = KINDS[kind](64, 200, bidirectional=True)
    x = tw.tensor(numbers(12, batch, 64).astype("float32"))
    if batch == 7:
        layer, x = KINDS[kind](64, 100, bidirectional=True).double(), tensor(2, 7, 64)
    found = []
    for count in (1, 2, 3):
        threads(count)
        layer.zero_grad()
        given = x.detach().requires_grad_()
        y, _ = layer(given)
        y.square().sum().backward()
        found.append([y.detach(), given.grad, *(p.grad for p in layer.parameters())])
    for other in found[1:]:
        assert all(tw.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_not_a_number_stays_in_its_sequence():
    layer = nn.LSTM(3, 20)
    x = numbers(6, 5, 3).astype("float32")
    x[2, 1, 0] = np.nan
    y = layer(tw.tensor(x))[0].detach().numpy()
    assert np.isnan(y[2:, 1]).all()
    assert np.isfinite(y[:2]).all()
    assert np.isfinite(np.delete(y, 1, 1)).all()


@pytest.mark.alone
def test_denormal_states_cost_no_more():
    """States and gradients that decay: a hundred cycles an operation where they are kept."""
    layer = nn.LSTM(64, 64)
    state = {name: np.zeros(p.shape, np.float32) for name, p in layer.state_dict().items()}
    state["weight_hh_l0"][:] = 0.01

    def seconds(forget):
        state["bias_ih_l0"][64:128] = forget
        layer.load_state_dict({name: tw.tensor(a) for name, a in state.items()})
        x, c0 = tw.zeros(200, 16, 64), tw.ones(1, 16, 64, requires_grad=True)
        start = time.perf_counter()
        _, (_, c) = layer(x, (tw.zeros(1, 16, 64), c0))
        c.sum().backward()
        return time.perf_counter() - start

    turns = [(seconds(-1.0), seconds(5.0)) for _ in range(15)]
    decaying, steady = (min(times) for times in zip(*turns, strict=True))
    assert decaying < 1.5 * steady


def test_dropout_stands_between_layers_in_training():
    """Of all that a layer gives, where its probability is 1; and never behind the last layer."""
    layer = nn.GRU(3, 4, 2, dropout=1.0).double()
    x = tensor(5, 2, 3)
    evaluated = layer.eval()(x)[0]
    layer.train()
    y, h = layer(x)
    rest = nn.GRU(4, 4).double()
    for mine, given in zip(rest.parameters(), layer.all_weights[1], strict=True):
        mine.data = given.detach()
    agree(y, rest(tw.zeros(5, 2, 4, dtype=tw.float64))[0])
    assert y.detach().numpy().any()
    assert h[0].detach().numpy().any()
    assert not np.allclose(evaluated.detach().numpy(), y.detach().numpy())


def test_a_state_alone_holds_no_outputs():
    with tw.no_grad():
        _, (h, c) = nn.LSTM(3, 4)(tw.ones(50, 2, 3))
    for state in (h, c):
        memory = state.numpy()
        while memory.base is not None and hasattr(memory.base, "size"):
            memory = memory.base
        assert memory.size == state.numel()


def test_sequences_of_one_length_keep_their_order():
    packed = rnn.pack_padded_sequence(tw.zeros(2, 300, 1), [1, 2] * 150, enforce_sorted=False)
    assert packed.sorted_indices.tolist() == [*range(1, 300, 2), *range(0, 300, 2)]


@pytest.mark.parametrize("sizes", [[2, 2], [3, 3], [2, 3], [5, 0], []])
def test_batch_sizes_are_checked(sizes):
    w, u = tw.ones(12, 3), tw.ones(12, 4)
    with pytest.raises(ValueError, match=r"^\[gru\] expected batch_sizes .* 5 in all"):
        tw.gru(
            tw.ones(5, 3), None, [w, u], False, 1, 0.0, False, False, False,
            batch_sizes=tw.tensor(sizes, dtype=tw.int64),
        )  # fmt: skip


@pytest.mark.parametrize("target", [t for t in TARGETS if t.serves("recurrent")], ids=str)
@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "gru"])
def test_no_state_is_denormal(target, kind):
    """One that decays passes to zero at the smallest normal number, and not earlier."""
    if reason := target.refusal():
        pytest.skip(reason)
    size, steps = 16, 12
    layer = KINDS[kind](1, size)
    with tw.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        if kind in ("tanh", "relu"):
            layer.weight_hh_l0.copy_(0.0625 * tw.eye(size))
        else:  # the forget gate, and the gate that keeps
            layer.bias_ih_l0[size : 2 * size] = -3.0
        start = tw.full((1, 5, size), 1e-30)
        x = tw.zeros(steps, 5, 1)
        with running_on(target):
            y, last = layer(x, (start, start) if kind == "lstm" else start)
    smallest = np.finfo(np.float32).tiny
    for found in (y, *states_of(last)):
        values = np.abs(found.numpy())
        assert ((values == 0) | (values >= smallest)).all()
    kept = (y.numpy() != 0).all((1, 2))
    below = np.flatnonzero(~kept)[0]
    assert not kept[below:].any()
    assert np.abs(y.numpy()[below - 1]).min() < 40 * smallest
