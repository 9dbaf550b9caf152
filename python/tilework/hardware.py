"""This machine: its CPU, its GPU or why none, its measured roof, and who serves each op.

`python -m tilework.hardware` prints it as JSON.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any

from tilework import config, engines
from tilework.engines import found


def cpu() -> dict[str, Any]:
    """The processor as the compiled engine sees it; without that engine, its name alone."""
    if "native" not in engines.available_engines():
        return {"model": platform.processor() or platform.machine()}
    from tilework import _native

    return dict(_native.cpu_info())


def gpu() -> dict[str, str]:
    """The name of the first CUDA device, and the reason why none can be used ("" where one can).

    Asks the driver alone, which takes a tenth of a millisecond; importing cupy takes half a second.
    """
    return {"name": found.device_name(), "reason": found.missing()}


def threads() -> dict[str, Any]:
    """How many threads kernels use, and what decided it."""
    module = engines.engine_module()
    if engines.current_engine() == "native":
        return dict(module.thread_info())
    return {"threads": config.get_num_threads(), "reason": "numba's own setting"}


def roof() -> dict[str, float] | None:
    """Operations (by dtype) and bytes a second, measured; None without the compiled engine."""
    if engines.current_engine() != "native":
        return None
    from tilework import _native

    return {
        "float32": _native.roof_flops_float32(),
        "float64": _native.roof_flops_float64(),
        "bandwidth": _native.roof_bandwidth(),
    }


def variants() -> dict[str, dict[str, str]]:
    """For each family of ops: the variant that serves it now, and why not a higher one."""
    if engines.current_engine() != "native":
        name = engines.current_engine()
        asked = os.environ.get("TILEWORK_ENGINE") == name
        reason = "TILEWORK_ENGINE asks for it" if asked else "native is not installed or not chosen"
        return {"every family": {"variant": name, "why": reason}}
    module = engines.engine_module()
    served = {}
    for family, rows in module.variants().items():
        at = next(i for i, row in enumerate(rows) if row["serves"])
        higher: dict[str, list[str]] = {}
        for row in rows[at + 1 :]:
            higher.setdefault(row["reason"], []).append(row["name"])
        why = [rows[at]["reason"], *(f"{', '.join(n)}: {reason}" for reason, n in higher.items())]
        served[family] = {"variant": rows[at]["name"], "why": "; ".join(why)}
    return served


def main() -> None:
    print(
        json.dumps(
            {
                "cpu": cpu(),
                "gpu": gpu(),
                "isa": config.get_isa(),
                "threads": config.get_num_threads(),
                "precision": config.get_float32_matmul_precision(),
                "roof": roof(),
            }
        )
    )


if __name__ == "__main__":
    main()
