"""The compiled engine: the extension's own functions, and nothing between."""

from tilework._native import *  # noqa: F403
