"""In the process of the command `tilework`: a complaint of ours while it is still being imported (a
wrong environment variable) is printed as one sentence, as the command prints later ones.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType

_unexpected = sys.excepthook


def _is_command() -> bool:
    """Whether this is `tilework`, or `python -m tilework` (argv[0] is "-m" until that is found)."""
    called = getattr(sys, "argv", [""])[0]
    return os.path.basename(called) == "tilework" or (
        called == "-m" and "tilework" in sys.orig_argv
    )


def _say(kind: type[BaseException], reason: BaseException, trace: TracebackType | None) -> None:
    if str(reason).startswith("["):  # the form of errors.error
        print(f"tilework: {reason}", file=sys.stderr)
    else:
        _unexpected(kind, reason, trace)


if _is_command():
    sys.excepthook = _say
