"""What kernels call the types of their elements, at the end of their names."""

from __future__ import annotations

FLOATS = {"float32": "float", "float64": "double"}
TYPES = {**FLOATS, "bfloat16": "bfloat16"}
