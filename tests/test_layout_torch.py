"""Random programs of views, copies and writes, the same in PyTorch: nobody sees the layout."""

import random

import numpy as np
import pytest

import tilework as tw
from tilework import functional as F

torch = pytest.importorskip("torch", reason="PyTorch, the judge here, is not installed")

PROGRAMS = 300
STEPS = 14


# --- where tensors come from: values in whole numbers, so that both sides have the very same ---


class Side:
    """One of the two libraries, with what they call differently."""

    def __init__(self, lib, functional):
        self.lib = lib
        self.F = functional

    def plain(self, shape):
        count = int(np.prod(shape))
        return (self.lib.arange(count) % 11).float().reshape(shape) - 5.0

    def from_numpy(self, array):
        return self.lib.from_numpy(array.copy(order="K"))


SIDES = Side(torch, torch.nn.functional), Side(tw, F)
IMAGE = (2, 3, 5, 4)


def permuted(side):
    array = (np.arange(120.0, dtype=np.float32) % 11).reshape(2, 5, 4, 3)
    return side.from_numpy(array).permute(0, 3, 1, 2)


def gradient(side):
    w = side.plain((4, 3, 2, 2)).requires_grad_()
    side.F.conv2d(side.plain(IMAGE), w).sum().backward()
    return w.grad


def batch_norm(side):
    zeros, ones = side.lib.zeros(3), side.lib.ones(3)
    x = side.F.conv2d(side.plain(IMAGE), side.plain((3, 3, 2, 2)))
    return side.F.batch_norm(x, zeros, ones, eps=0.0)


def conv(side):
    return side.F.conv2d(side.plain(IMAGE), side.plain((4, 3, 2, 2)))


SOURCES = {
    "plain": lambda s: s.plain((3, 2, 4)),
    "ones": lambda s: s.plain((1, 4, 1, 3)),
    "vector": lambda s: s.plain((6,)),
    "conv": conv,
    "one image": lambda s: s.F.conv2d(s.plain((1, 3, 3, 4)), s.plain((2, 3, 2, 2))),
    "one channel": lambda s: s.F.conv2d(s.plain(IMAGE), s.plain((1, 3, 2, 2))),
    "one pixel": lambda s: s.F.conv2d(s.plain(IMAGE), s.plain((4, 3, 5, 4))),
    "conv1d": lambda s: s.F.conv1d(s.plain((2, 3, 6)), s.plain((4, 3, 2))),
    "unbatched": lambda s: s.F.conv2d(s.plain((3, 5, 4)), s.plain((4, 3, 2, 2))),
    "transposed": lambda s: s.F.conv_transpose2d(s.plain((1, 3, 2, 2)), s.plain((3, 4, 2, 2))),
    "max pool": lambda s: s.F.max_pool2d(conv(s), 2, 1),
    "average": lambda s: s.F.avg_pool2d(conv(s), (1, 2), 1),
    "batch norm": batch_norm,
    "relu": lambda s: s.F.relu(conv(s)),
    "interpolate": lambda s: s.F.interpolate(s.plain((1, 3, 2, 2)), scale_factor=2.0),
    "cat": lambda s: s.lib.cat([conv(s), conv(s)], 1),
    "gradient": gradient,
    "permuted": permuted,
    "permuted conv": lambda s: s.F.conv2d(permuted(s), s.plain((4, 3, 2, 2))),
    "permuted pool": lambda s: s.F.max_pool2d(permuted(s), 2, 1),
    "zeros_like": lambda s: s.lib.zeros_like(permuted(s)),
    "transposed matrix": lambda s: s.plain((3, 4)).t(),
}


# --- what programs do: each choice is a function of a library's tensor ---


def factors(rng, count, parts):
    """A random shape of `count` elements."""
    shape = []
    for _ in range(parts - 1):
        divisors = [d for d in range(1, count + 1) if count % d == 0]
        shape.append(rng.choice(divisors))
        count //= shape[-1]
    return (*shape, count)


def a_shape(rng, x):
    kind = rng.randrange(3)
    if kind == 0 and x.ndim > 1:  # two axes of it as one
        at = rng.randrange(x.ndim - 1)
        return (*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :])
    if kind == 1:
        return (-1,)
    return factors(rng, x.numel(), rng.randrange(1, 5))


def a_slice(rng, length):
    start = rng.randrange(length)
    return slice(start, rng.randrange(start + 1, length + 1), rng.choice((1, 1, 2)))


def a_key(rng, x):
    return tuple(
        rng.randrange(n) if rng.random() < 0.2 else a_slice(rng, n)
        for n in x.shape[: rng.randrange(1, x.ndim + 1)]
    )


def draw(rng, x):
    """A name, and the function of a tensor that it names."""
    axis, other = rng.randrange(x.ndim), rng.randrange(x.ndim)
    low, high = sorted((axis, other))
    shape, key = a_shape(rng, x), a_key(rng, x)
    order = rng.sample(range(x.ndim), x.ndim)
    wide = tuple(n if n > 1 else rng.choice((1, 3)) for n in x.shape)
    front = rng.choice(((), (2,)))
    return rng.choice(
        [
            (f"view{shape}", lambda s, x: x.view(shape)),
            (f"view{shape}", lambda s, x: x.view(shape)),
            (f"reshape{shape}", lambda s, x: x.reshape(shape)),
            (f"permute{order}", lambda s, x: x.permute(order)),
            (f"permute{order}", lambda s, x: x.permute(order)),
            (f"transpose({axis}, {other})", lambda s, x: x.transpose(axis, other)),
            (f"[{key}]", lambda s, x: x[key]),
            (f"[0-d {key[0]}]", lambda s, x: x[s.lib.tensor(x.shape[0] - 1)]),
            (f"expand{front + wide}", lambda s, x: x.expand(front + wide)),
            (f"flatten({low}, {high})", lambda s, x: x.flatten(low, high)),
            ("squeeze()", lambda s, x: x.squeeze()),
            (f"unsqueeze({axis})", lambda s, x: x.unsqueeze(axis)),
            (f"chunk({axis})", lambda s, x: x.chunk(2, axis)[0]),
            ("contiguous", lambda s, x: x.contiguous()),
            ("contiguous", lambda s, x: x.contiguous()),
            ("clone", lambda s, x: x.clone()),
            ("detach", lambda s, x: x.detach()),
            ("data", lambda s, x: x.data),
            ("double", lambda s, x: x.double().float()),
            ("+ 1", lambda s, x: x + 1.0),
            ("relu", lambda s, x: s.F.relu(x)),
            ("+ itself", lambda s, x: x + x),
            ("+ c order", lambda s, x: x + s.plain(tuple(x.shape))),
            ("c order +", lambda s, x: s.plain(tuple(x.shape)) + x),
            ("+ row", lambda s, x: x + s.plain(tuple(x.shape[-1:]))),
            ("where", lambda s, x: s.lib.where(x > 0, x, 0.0)),
            ("clamp", lambda s, x: x.clamp(-2.0, 2.0)),
            ("zeros_like", lambda s, x: s.lib.zeros_like(x)),
            ("add_", lambda s, x: x.add_(1.0)),
            ("mul_", lambda s, x: x.mul_(-1.0)),
            ("zero_", lambda s, x: x[0].zero_()),
            ("copy_", lambda s, x: x.copy_(s.plain(tuple(x.shape)))),
            ("numpy", write_in_numpy),
        ]
    )


def write_in_numpy(side, x):
    array = x.numpy()
    if array.flags.writeable and x.numel() and 0 not in x.stride():
        array.reshape(-1)[0] += 1.0  # the tensor's memory where this is a view
    return x


# --- the comparison ---


def show(x):
    """What a program can ask of a tensor; the stride of an axis of length 1 says nothing."""
    strides = [step for n, step in zip(x.shape, x.stride(), strict=True) if n != 1]
    return tuple(x.shape), strides if x.numel() else None, x.is_contiguous(), x.tolist()


def outcome(function, side, x):
    try:
        return function(side, x)
    except (RuntimeError, ValueError, IndexError):
        return None


@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_random_programs_are_pytorch_s(seed):
    rng = random.Random(seed)
    source = rng.choice(list(SOURCES))
    told = [source]
    held = [tuple(SOURCES[source](side) for side in SIDES)]
    for _ in range(STEPS):
        at = rng.randrange(len(held))
        theirs, ours = held[at]
        if not theirs.ndim or not theirs.numel() or theirs.numel() > 2000:
            continue
        name, function = draw(rng, theirs)
        told.append(f"{at}.{name}")
        found = [outcome(function, side, x) for side, x in zip(SIDES, held[at], strict=True)]
        if found[1] is None and not ours._array.flags.writeable:
            return  # a part of an expanded tensor: it may be written in PyTorch, and here not
        assert (found[0] is None) == (found[1] is None), told
        if found[0] is not None:
            held.append(tuple(found))
        for theirs, ours in held:
            assert show(ours) == show(theirs), told
