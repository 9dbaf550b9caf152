"""What both kinds of attention are asked, of one batch and of sequences of their own lengths."""

import numpy as np

import tilework as tw


def answers(call, inputs):
    """What `call(*inputs)` gives, and the gradients of its sum."""
    y = call(*inputs)
    y.backward(tw.ones_like(y))
    got = [y.detach().numpy().copy(), *(t.grad.numpy().copy() for t in inputs)]
    for t in inputs:
        t.grad = None
    return got


def assert_same_bits(found):
    """Of several answers, each that of the first."""
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert np.array_equal(a, b)


def check_second_derivatives(call, inputs, rng):
    """Along a line, the slope of the first derivative."""
    along = [rng.standard_normal(t.shape) for t in inputs]
    seed = tw.from_numpy(rng.standard_normal(call(*inputs).shape))

    def first(step, record=False):
        moved = [
            tw.from_numpy(t.detach().numpy() + step * a).requires_grad_()
            for t, a in zip(inputs, along, strict=True)
        ]
        grads = tw.autograd.grad(call(*moved), moved, seed, create_graph=record)
        total = sum((g * tw.from_numpy(a)).sum() for g, a in zip(grads, along, strict=True))
        return total, moved

    total, moved = first(0.0, record=True)
    second = tw.autograd.grad(total, moved)
    found = sum(float((g * tw.from_numpy(a)).sum()) for g, a in zip(second, along, strict=True))
    h = 1e-5
    slope = (float(first(h)[0]) - float(first(-h)[0])) / (2 * h)
    assert abs(found - slope) <= 1e-6 * max(abs(slope), 1.0)
