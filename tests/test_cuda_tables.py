"""The tables at the heads of the .cuh files: how tools/cuda_check.py reads, fills, writes them."""

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
pytestmark = pytest.mark.skipif(not TOOLS.is_dir(), reason="the tools are in a checkout alone")


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    yield
    for name in ("cuda_check", "cuda_tables", "cuda_toolkit"):
        sys.modules.pop(name, None)


@pytest.fixture
def tables(tools):
    import cuda_tables

    return cuda_tables


@pytest.fixture
def nvcc(tools):
    import cuda_toolkit

    try:
        return cuda_toolkit.find()
    except cuda_toolkit.Refused as reason:
        pytest.skip(str(reason))


# From NVIDIA's occupancy calculator: registers, shared bytes, threads, blocks on each architecture.
@pytest.mark.parametrize(
    ("registers", "shared", "threads", "expected"),
    [
        (32, 0, 256, (8, 8, 8)),  # the 64 warps
        (16, 0, 32, (32, 32, 32)),  # the 32 blocks
        (33, 0, 256, (6, 6, 6)),  # registers come to a warp by 256
        (168, 0, 128, (3, 3, 3)),
        (255, 0, 256, (1, 1, 1)),
        (32, 48 * 1024, 128, (3, 4, 4)),  # a kilobyte of each block is the system's
        (64, 99 * 1024, 256, (1, 2, 2)),
    ],
)
def test_occupancy(tables, registers, shared, threads, expected):
    found = [tables.blocks(a, registers, shared, threads) for a in tables.ARCHITECTURES]
    assert tuple(found) == expected


TEXT = """// A family.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// product_*           40, 40, 40  0       50176    128      3, 4, 4       HMMA LDG.128
// *                   16, 16, 16  64      0        256      8, 8, 8
#pragma once
"""


def kernel(tables, name, architecture, registers=40, shared=0, threads=128, code=()):
    return tables.Compiled(name, architecture, registers, shared, threads, 0, frozenset(code))


def test_a_table_is_read_filled_and_written(tables):
    rows, begin, end = tables.read(TEXT)
    assert TEXT.splitlines()[begin:end] == tables.written(rows)
    code = ("HMMA.16816.F32", "LDG.E.128.CONSTANT")
    made = [kernel(tables, "product_float", a, code=code) for a in tables.ARCHITECTURES]
    made += [kernel(tables, "sum_float", a, 16, 64, 256) for a in tables.ARCHITECTURES]
    rows, unnamed = tables.filled(rows, made)
    assert unnamed == []
    assert not [lack for row in rows for lack in row.lacking()]
    assert tables.written(row.measured() for row in rows) == TEXT.splitlines()[begin:end]


def test_what_a_table_gets_wrong_is_found(tables):
    rows, *_ = tables.read(TEXT)
    made = [kernel(tables, "product_float", a, 41) for a in tables.ARCHITECTURES]
    rows, unnamed = tables.filled(rows[:1], [*made, kernel(tables, "sum_float", "80")])
    assert unnamed == ["sum_float"]
    assert rows[0].measured().registers == (41, 41, 41)
    assert rows[0].lacking()[0] == "product_float on sm_80 has no HMMA"
    assert len(rows[0].lacking()) == 6


# --- by nvcc, where it is installed: what it refuses, and what it finds ---

SPILLING = """
#include "base/cuda.cuh"
TW_KERNEL(1024, spilling_float, float* x) {
  float held[128];
#pragma unroll
  for (int i = 0; i < 128; ++i) held[i] = x[i * blockDim.x + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 128; ++i) x[(127 - i) * blockDim.x + threadIdx.x] = held[i] * held[i / 2];
}
"""
TIGHT = """
#include "base/cuda.cuh"
TW_KERNEL(96, tight_float, float4* to, const float4* from) {
  TW_SHARED(float4, held, [64]);
  held[threadIdx.x % 64] = from[threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = held[63 - threadIdx.x % 64];
}
"""


def test_a_kernel_that_spills_is_found(nvcc):
    [found] = nvcc.compiled(SPILLING, "90a")
    assert found.name == "spilling_float"
    assert found.registers == 64
    assert found.spilled > 0


def test_what_a_kernel_takes_and_has(nvcc, tables):
    [found] = nvcc.compiled(TIGHT, "80")
    assert (found.shared, found.threads, found.spilled) == (1024, 96, 0)
    row = tables.Row("*", holds=("LDG.128", "STG.128", "HMMA"), kernels=[found])
    assert row.lacking() == ["tight_float on sm_80 has no HMMA"]


def test_a_warning_is_an_error(nvcc):
    import cuda_toolkit

    with pytest.raises(cuda_toolkit.Refused, match="never referenced"):
        nvcc.compiled(TIGHT.replace("__syncthreads", "int unused; __syncthreads"), "80")
