"""CUDA devices by CuPy, where there is neither: the provider over a fake of CuPy (fake_cupy.py)."""

import importlib
import importlib.util
import operator
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from tilework import arrays
from tilework._version import __version__
from tilework.engines import device, found
from tilework.engines.cuda import cubins, errors, nvrtc

from . import fake_cupy

SHAPES = [(4, 3, 2), (), (0, 3), (1, 5)]


@pytest.fixture
def fake(monkeypatch):
    """A fake of CuPy in its place, and no _cuda."""
    made = fake_cupy.made()
    monkeypatch.setitem(sys.modules, "cupy", made)
    monkeypatch.delitem(sys.modules, "tilework.engines.cuda.on_cupy", raising=False)
    monkeypatch.setitem(sys.modules, "tilework._cuda", None)
    monkeypatch.setattr(arrays, "_adopted", {})
    monkeypatch.setattr(cubins, "check_compiler", lambda: None)
    monkeypatch.setattr(cubins, "file_of", lambda kernel, capability: f"{kernel}-{capability}")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "tilework._cuda" else find_spec(n)
    )
    yield made
    sys.modules.pop("tilework.engines.cuda.on_cupy", None)


@pytest.fixture
def served(fake):
    return importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()


def with_module(monkeypatch, **functions):
    module = types.ModuleType("tilework._cuda")
    module.__version__, module.__file__ = __version__, "_cuda.so"
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, "tilework._cuda", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: types.SimpleNamespace(origin=""))


# --- arrays ---


@pytest.mark.parametrize("shape", SHAPES)
def test_a_copy_keeps_values_and_layout(served, shape):
    x = np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape)
    for view in (x, x.T):
        there = served.to_device(view)
        assert type(there) is served.kind
        assert there.strides == view.strides or not x.size
        back = served.to_host(there)
        assert type(back) is np.ndarray
        assert back.strides == view.strides or not x.size
        np.testing.assert_array_equal(back, view)


def test_what_is_not_dense_becomes_so(served):
    x = np.arange(24.0).reshape(4, 6)
    for view in (x[:, ::2], x[::-1], np.broadcast_to(x[0], (3, 6))):
        there = served.to_device(view)
        assert there.flags.c_contiguous
        np.testing.assert_array_equal(served.to_host(there), view)
        np.testing.assert_array_equal(served.to_host(there[:, 1:]), view[:, 1:])


def test_a_copy_goes_by_the_current_stream_and_waits_for_nothing(served, fake):
    served.to_device(np.zeros(3, "f4"))
    assert fake.log == [("copy", 12, 77)]


def test_a_device_that_reads_ordinary_memory_itself_is_waited_for(fake):
    fake.reads_pageable = 1
    served = importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()
    served.to_device(np.zeros(3, "f4"))  # which may be written to when this returns
    assert fake.log == [("copy", 12, 77), "waited"]
    served.to_device(served.pinned(np.zeros(2, "f4")))
    assert fake.log.count("waited") == 1


def test_pinned_memory_is_kept_until_the_device_has_read_it(served, fake):
    x = np.arange(6.0).reshape(2, 3).T
    pinned = served.pinned(x)
    assert pinned.strides == x.strides
    np.testing.assert_array_equal(pinned, x)
    assert served.is_pinned(pinned[:1])
    assert not served.is_pinned(x)
    served.to_device(pinned)
    (event, held), *_ = served._under_way
    assert np.shares_memory(held, pinned)
    served.to_device(pinned)
    assert len(served._under_way) == 2
    event.done = True
    served.to_device(np.zeros(2))
    assert len(served._under_way) == 1


def test_indices_outside_are_told_by_whatever_waits(served, fake, monkeypatch):
    monkeypatch.setattr(device, "provider", served)
    for wait in (served.synchronize, lambda: served.to_host(served.to_device(np.zeros(2)))):
        place = errors.outside("gather", 5)
        words = errors._held.words
        assert (words.dtype, words.any()) == (np.int64, False)
        words[(place - errors._held.start) // 8 + 1] = 8  # as a kernel that meets a 7
        with pytest.raises(IndexError, match=r"\[gather\] expected indices in \[0, 5\); got 7"):
            wait()
        wait()


def test_the_namespace_of_its_arrays_is_cupy(served, fake):
    x = served.to_device(np.zeros(2))
    assert arrays.namespace(x) is fake
    assert arrays.is_array(x)
    assert arrays.address(x) == x.ctypes.data


# --- launches ---


def test_sources_are_launched_with_slots_of_eight_bytes(served, fake):
    served.launch("k", (2, 1, 1), (64, 1, 1), 0, [5, 2.0, None, -1])
    served.launch("k", (2, 1, 1), (64, 1, 1), 0, [5, 2.0, None, -1])
    loaded, first, second = fake.log
    assert loaded == ("load", "k-90")
    assert first == second
    assert first[:4] == ("launch", "k", (2, 1, 1), (64, 1, 1))
    assert [type(slot) for slot in first[4]] == [np.uint64, np.float64, np.uint64, np.uint64]
    assert first[4] == (5, 2.0, 0, 2**64 - 1)
    served.launch("k", (1, 1, 1), (1, 1, 1), 0, [2**64 - 1])  # a seed
    assert fake.log[-1][4] == (2**64 - 1,)


def test_more_shared_memory_is_asked_for_once(served, fake):
    for shared in (32 * 1024, 64 * 1024, 50 * 1024):
        served.launch("k", (1, 1, 1), (1, 1, 1), shared, [])
    assert [entry[-2:] for entry in fake.log[1:]] == [(32768, 0), (65536, 65536), (51200, 65536)]


def test_the_compiled_module_comes_first(fake, monkeypatch):
    calls = []
    with_module(monkeypatch, launch=lambda *args: calls.append(args))
    served = importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()
    served.launch("k", (2, 1, 1), (64, 1, 1), 8, [5, 2.0])
    assert calls == [("k", (2, 1, 1), (64, 1, 1), 8, 77, (5, 2.0))]


def test_a_module_of_another_version_is_refused(fake, monkeypatch):
    with_module(monkeypatch, launch=None)
    sys.modules["tilework._cuda"].__version__ = "0.0.1"
    with pytest.raises(ImportError, match=r"0\.0\.1"):
        importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()


def test_what_fails_at_once_names_its_kernel(fake, monkeypatch):
    def launch(*_):
        raise RuntimeError("[k] cudaErrorInvalidValue: invalid argument")

    with_module(monkeypatch, launch=launch)
    served = importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()
    with pytest.raises(RuntimeError, match=r"^\[k\] .*cudaErrorInvalidValue"):
        served.launch("k", (1, 1, 1), (1, 1, 1), 0, [])


@pytest.mark.parametrize(
    "wait",
    [
        operator.methodcaller("synchronize"),
        lambda served: served.to_host(served.to_device(np.zeros(1))),
    ],
)
def test_what_fails_later_names_the_kernels_launched_last(served, fake, wait):
    for name in ("first", "second", "second"):
        served.launch(name, (1, 1, 1), (1, 1, 1), 0, [])
    fake.ndarray.failure = fake.cuda.runtime.CUDARuntimeError("cudaErrorIllegalAddress")
    with pytest.raises(RuntimeError, match=r"IllegalAddress.*first, second\).*LAUNCH_BLOCKING"):
        wait(served)


# --- the card ---


def test_what_the_card_says(served, fake):
    assert (served.count(), served.name(), served.capability()) == (1, "A card", (9, 0))
    assert served.memory() == (3, 5)
    assert served.card_memory() == (7, 9)
    assert served.multiprocessors() == 132
    served.empty_cache()
    assert fake.log == ["freed", "freed"]


def test_a_card_that_is_too_old_is_refused(fake):
    fake.cuda.Device.compute_capability = "75"
    with pytest.raises(RuntimeError, match=r"8\.0 or later.*A card, of 7\.5"):
        importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()


def test_launches_copies_and_marks_go_by_the_stream_of_the_moment(fake, monkeypatch):
    calls = []
    with_module(monkeypatch, launch=lambda *args: calls.append(args[4]))
    served = importlib.import_module("tilework.engines.cuda.on_cupy").OnCupy()
    other, before = served.stream(-1), served.current_stream()
    assert other.of_cupy.options == (True, -1)  # which does not wait for the null stream
    for stream in (other, before, served.default_stream()):
        stream.use()
        assert served.current_stream().ptr == stream.ptr
        served.launch("k", (1, 1, 1), (1, 1, 1), 0, [])
        served.to_device(np.zeros(3, "f4"))
        assert fake.log[-1] == ("copy", 12, stream.ptr)
        mark = served.event(False)
        mark.record()
        assert mark.of_cupy.stream is stream.of_cupy  # CuPy's own default is the null stream
    assert calls == [66, 77, 77]
    mark.record(other)
    assert mark.of_cupy.stream is other.of_cupy
    before.wait(mark)
    assert fake.log[-1] == ("wait", 77, mark.of_cupy)
    assert not other.query()


def test_a_stream_that_failed_names_its_kernels(served, fake):
    served.launch("first", (1, 1, 1), (1, 1, 1), 0, [])
    fake.ndarray.failure = fake.cuda.runtime.CUDARuntimeError("cudaErrorIllegalAddress")
    with pytest.raises(RuntimeError, match=r"IllegalAddress.*first\).*LAUNCH_BLOCKING"):
        served.current_stream().synchronize()


def test_events(served):
    start, end = served.event(True), served.event(True)
    assert not start.query()
    start.record()
    end.record()
    assert end.query()
    end.synchronize()
    assert start.elapsed_time(end) == 1.5
    assert not start.of_cupy.disable_timing
    assert served.event(False).of_cupy.disable_timing


# --- the fake ---


@pytest.mark.parametrize(("where", "names"), fake_cupy.names())
def test_cupy_has_what_the_fake_has(where, names):
    at = pytest.importorskip("cupy", reason="CuPy itself, which the fake is held against")
    for part in where.split(".") if where else []:
        at = getattr(at, part)
    assert not [name for name in names.split() if not hasattr(at, name)]


# --- what is missing ---


@pytest.mark.parametrize(
    ("devices", "installed", "compiler", "said"),
    [
        (None, [], "", "no NVIDIA driver (libcuda.so.1): install the card's driver"),
        (0, [], "", "the driver finds no CUDA device: nvidia-smi"),
        (1, [], "", "CuPy, which holds the arrays of a device, is not installed: pip install"),
        (1, ["cupy"], "no compiler: pip install", "no compiler: pip install"),
        (1, ["cupy"], "", ""),
        (1, ["cupy", "tilework._cuda"], "no compiler: pip install", ""),
    ],
)
def test_what_is_missing_is_said(monkeypatch, devices, installed, compiler, said):
    monkeypatch.setattr(found, "driver_devices", lambda: devices)
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: n if n in installed else None)
    monkeypatch.setattr(nvrtc, "missing", lambda: compiler)
    assert found.missing().startswith(said)
    assert bool(found.missing()) == bool(said)


class Driver:
    """The driver of one card."""

    def __init__(self, cuda, capability):
        self._cuda, self._attributes = cuda, dict(zip((75, 76), capability, strict=True))

    def cuDeviceGetCount(self, to):
        to._obj.value = 1
        return 0

    def cuDriverGetVersion(self, to):
        to._obj.value = self._cuda
        return 0

    def cuDeviceGetAttribute(self, to, which, card):
        to._obj.value = self._attributes[which]
        return 0


@pytest.mark.parametrize(
    ("cuda", "capability", "cupy", "built", "said"),
    [
        (13000, (8, 0), "cupy-cuda13x", False, ""),
        (13050, (12, 0), "cupy-cuda13x", True, ""),
        (13000, (7, 5), "cupy-cuda13x", False, "compute capability 8.0 .* the card's is 7.5"),
        (12040, (9, 0), "cupy-cuda13x", False, "runs CUDA 12.4, .* is of 13: install a driver"),
        (12090, (9, 0), "cupy-cuda12x", False, ""),  # of which NVRTC 12 is the compiler
        (12090, (9, 0), "cupy-cuda12x", True, "runs CUDA 12.9"),  # _cuda is of 13
    ],
)
def test_what_is_too_old_is_said_before_anything_is_imported(
    monkeypatch, cuda, capability, cupy, built, said
):
    modules = ["cupy", *(["tilework._cuda"] if built else [])]
    monkeypatch.setattr(found, "_driver", lambda: (Driver(cuda, capability), 0))
    monkeypatch.setattr(found, "_installed", lambda name: name == cupy)
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: n if n in modules else None)
    monkeypatch.setattr(nvrtc, "missing", lambda: "")
    assert re.search(said, found.missing())
    assert bool(found.missing()) == bool(said)


def test_without_a_card_nothing_is_imported_to_find_that_out():
    code = (
        "import sys; from tilework.engines import found; found.driver_devices = lambda: None; "
        "import tilework as tw; assert not tw.cuda.is_available(); "
        "print([m for m in sys.modules if m.startswith(('cupy', 'tilework.engines.cu'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
