"""Cases of the suite over CuPy on a driver that does nothing: for tools/cupy_check.py."""

from __future__ import annotations

import random
import re
import sys
import traceback
import types
import warnings
from collections import defaultdict
from typing import Any

import cupy
from cupy._core import _routines_sorting

from tilework.engines.cuda import cubins

# Before a device is asked for: our kernels are compiled by tools/cuda_check.py, and CuPy's sorting
# has a runtime of its own in it.
cubins.check_compiler = lambda: None
cubins.file_of = lambda kernel, capability: kernel
_nothing = dict.fromkeys(("sort", "argsort", "lexsort"), lambda *_: None)
_routines_sorting.thrust = types.SimpleNamespace(**_nothing)
cupy.cuda.set_allocator(None)  # what is taken from a pool again would not be zeros

from tilework.testing import runner  # noqa: E402
from tilework.testing.cases import FAMILIES, of_family  # noqa: E402

MOST, LARGEST = 3, 20000  # cases of an op, elements of an input
# What an op says of its numbers, and what goes over to the host.
OF_VALUES = (ValueError, IndexError, AssertionError)
OF_THE_HOST = re.compile(r"expected a tensor on the CPU|[Uu]nsupported device in DLTensor")


def _size(case: Any) -> int:
    return max((getattr(x, "size", 0) for x in case.make_inputs(case.dtypes[0])), default=0)


def chosen(family: str) -> list[tuple[str, Any]]:
    found = []
    for op in dict.fromkeys(case.op for case in of_family(family)):
        own = [c for c in of_family(family) if c.op == op and c.quick and _size(c) <= LARGEST]
        found += [(op, c) for c in random.Random(op).sample(own, min(MOST, len(own)))]
    return found


def main(families: list[str]) -> int:
    warnings.simplefilter("ignore")
    faults, calls = defaultdict(list), 0
    for family in families or FAMILIES:
        for op, case in chosen(family):
            for dtype in case.dtypes:
                ways = [runner.forward, *([runner.gradients] if case.differentiable else [])]
                for way in ways:
                    calls += 1
                    try:
                        with runner.running_on(runner.CARD):
                            way(case, case.make_inputs(dtype))
                    except OF_VALUES:
                        pass
                    except Exception as reason:
                        if not OF_THE_HOST.search(str(reason)):
                            at = traceback.extract_tb(reason.__traceback__)[-1]
                            said = f"{type(reason).__name__}: {reason}".splitlines()[0][:200]
                            where = f"{at.filename}:{at.lineno}"
                            faults[said, where].append(f"{family}/{op} {dtype} {way.__name__}")
    for (said, where), of in faults.items():
        print(f"{said}\n    {where}, in {len(of)} calls: {', '.join(sorted(set(of))[:4])}")
    print(f"CuPy {cupy.__version__}: {calls} calls, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
