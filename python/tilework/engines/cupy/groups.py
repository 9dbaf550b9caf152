"""Elements gathered by a key: put in order by a stable sort, and reduced within each run of equal
keys by doubling steps (Hillis and Steele, "Data parallel algorithms", 1986). No atomic additions:
the same numbers come of it each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tilework.arrays import may_hold, namespace
from tilework.engines.layout import contiguous

Array = Any
Parts = tuple[Array, ...]
Combine = Callable[[Parts, Parts], Parts]


class Groups(NamedTuple):
    """Keys in order: `order` sorts what they belong to, `last` ends each run of equal ones."""

    keys: Array
    order: Array
    last: Array

    @property
    def places(self) -> Array:
        """Each key that is there, once."""
        return self.keys[self.last]


def grouped(keys: Array) -> Groups:
    """The groups of keys (n,)."""
    xp = namespace(keys)
    order = xp.argsort(keys, kind="stable")
    keys = keys[order]
    last = xp.ones(keys.shape, dtype=bool)
    last[:-1] = keys[1:] != keys[:-1]
    return Groups(keys, order, xp.argwhere(last)[:, 0])


def combined(groups: Groups, parts: Parts, combine: Combine) -> Parts:
    """What `combine` makes of each group's rows, in order: parts (n, columns) in the order that the
    keys came in."""
    xp, keys = namespace(groups.keys), groups.keys
    now = tuple(part[groups.order] for part in parts)
    step = 1
    while step < len(keys):
        same = (keys[step:] == keys[:-step])[:, None]
        if not may_hold(same):
            break
        met = combine(tuple(p[:-step] for p in now), tuple(p[step:] for p in now))
        following = tuple(p.copy() for p in now)
        for p, value in zip(following, met, strict=True):
            p[step:] = xp.where(same, value, p[step:])
        now = following
        step *= 2
    return tuple(p[groups.last] for p in now)


def summed(keys: Array, rows: Array, count: int) -> Array:
    """Rows (n, columns), of float64 or integers, added up by keys below `count`."""
    groups = grouped(keys)
    found = combined(groups, (rows,), lambda a, b: (a[0] + b[0],))[0]
    out = namespace(rows).zeros((count, rows.shape[1]), rows.dtype)
    out[groups.places] = found
    return out


def added_rows(x: Array, keys: Array, count: int) -> Array:
    """`summed` of x (n, ...)."""
    flat = contiguous(x).reshape(len(keys), x.size // len(keys) if len(keys) else 0)
    if not flat.size:
        return namespace(x).zeros((count, *x.shape[1:]), x.dtype)
    return summed(keys, flat, count).reshape(count, *x.shape[1:])
