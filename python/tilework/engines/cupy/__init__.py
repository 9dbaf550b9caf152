"""The cupy engine: the contract over the namespace of its arrays, CuPy's or another's that has
NumPy's names. It serves what has no kernel."""

from tilework.engines.cupy.copy import *  # noqa: F403
from tilework.engines.cupy.gemm import *  # noqa: F403
from tilework.engines.cupy.index import *  # noqa: F403
from tilework.engines.cupy.mask import *  # noqa: F403
from tilework.engines.cupy.pointwise import *  # noqa: F403
from tilework.engines.cupy.random import *  # noqa: F403
from tilework.engines.cupy.reduce import *  # noqa: F403
from tilework.engines.cupy.softmax import *  # noqa: F403
