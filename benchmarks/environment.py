"""What must stand in the environment before a library is imported, so that all start equal."""

from __future__ import annotations

import os

# How each library spells the highest ISA that it may use.
_ISA_VARIABLES: dict[str, dict[str, str]] = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "OPENBLAS_CORETYPE": "SkylakeX",
    },
}
_XLA_ISA = {"avx2": "AVX2", "avx512": "AVX512"}
ISAS = ("generic", "avx2", "avx512", "avx512bf16", "amx")

# An allocator that returns nothing to the system and uses huge pages: the best that glibc can do
# for a library that allocates each output afresh.
KEEP_MEMORY: dict[str, str] = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def worker_environment(
    threads: int, isa: str | None = None, precision: str | None = None
) -> dict[str, str]:
    """This process's environment, with `threads` and `isa` made known to every library."""
    xla = []
    if threads == 1:
        xla.append("--xla_cpu_multi_thread_eigen=false")
    if isa in _XLA_ISA:
        xla.append(f"--xla_cpu_max_isa={_XLA_ISA[isa]}")
    count = str(threads)
    environment = os.environ | {
        "TILEWORK_NUM_THREADS": count,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        "NPROC": count,  # the size of JAX's thread pool
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *xla]).strip(),
    }
    if isa is not None:
        environment |= {"TILEWORK_ISA": isa} | _ISA_VARIABLES.get(isa, {})
    if precision is not None:
        environment["TILEWORK_PRECISION"] = precision
    return environment
