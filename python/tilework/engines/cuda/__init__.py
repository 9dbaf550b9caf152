"""The cuda engine: tilework's own kernels on a device's arrays, and array functions where there is
none (the cupy engine).

Each file plans the launches of one family: shapes and layouts here, the work in
csrc/kernels/<family>/<family>.cuh.
"""

from typing import Any

from tilework.engines import cupy
from tilework.engines.cuda.attention import *  # noqa: F403
from tilework.engines.cuda.copy import *  # noqa: F403
from tilework.engines.cuda.embedding import *  # noqa: F403
from tilework.engines.cuda.gated import *  # noqa: F403
from tilework.engines.cuda.gemm import *  # noqa: F403
from tilework.engines.cuda.index import *  # noqa: F403
from tilework.engines.cuda.index_reduce import *  # noqa: F403
from tilework.engines.cuda.loss import *  # noqa: F403
from tilework.engines.cuda.mask import *  # noqa: F403
from tilework.engines.cuda.norm import *  # noqa: F403
from tilework.engines.cuda.optim import *  # noqa: F403
from tilework.engines.cuda.pointwise import *  # noqa: F403
from tilework.engines.cuda.random import *  # noqa: F403
from tilework.engines.cuda.reduce import *  # noqa: F403
from tilework.engines.cuda.softmax import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """What has no kernel is the cupy engine's."""
    return getattr(cupy, name)
