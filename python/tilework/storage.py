"""What stands beside a tensor: the memory that its views share, and the clock of writes."""

from __future__ import annotations

import itertools
from typing import Any

# One clock for recordings and writes: an op that was recorded before the last write to what its
# backward reads has lost it.
next_time = itertools.count(1).__next__


class Storage:
    """What the views of one piece of memory share: when it was written, and who can reach it."""

    __slots__ = ("exposed", "frozen", "layout", "moved", "packed", "shared", "taped", "version")

    def __init__(self) -> None:
        self.version = 0  # the time of the last write that tilework made; 0: none yet
        self.shared = False  # some view or detached twin exists
        self.exposed = False  # user code holds a writable array on this memory
        self.frozen = False  # nn.utils.freeze: read-only
        self.packed: Any = None  # functional.gemm's cache of a packed weight
        # How the memory lies beside how it shows (layout.py). None: not asked yet, which is so
        # while one tensor alone is here, and that shows C order however the engine laid it.
        self.layout: Any = None
        self.moved: Any = None  # the Layout that it had, once it went over to C order
        self.taped: Any = None  # the op that a view is of, once a write to this memory was recorded


class Aside:
    """What few tensors have to say besides, for states.py. Views made at once hold one in common:
    `common` says so, and who has more to say takes a copy."""

    common: bool = False
    barred: str = ""  # why this view may not be written while ops are recorded
    past: Any = None  # of a root, what it was before each recorded write, oldest first
    states: Any = None  # of a view, the part that it is of the root, by the time of the write
    whose: Any = None  # of such a part, a weak reference to the view that keeps its gradient


NOTHING = Aside()
NOTHING.common = True
