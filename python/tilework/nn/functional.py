"""tilework.functional, by the name that `import tilework.nn.functional as F` asks for."""

import sys

from tilework import functional
from tilework.functional import *  # noqa: F403

sys.modules[__name__] = functional  # one module under two names: `nn.functional is functional`
