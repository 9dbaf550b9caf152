"""As much of CuPy as the provider of CUDA devices uses, over the host's memory, and a log of it.

A launch is written down and not run. `made()` gives a module of it; `names()` are CuPy's names that
it stands for, which a test holds against CuPy itself where that is installed.
"""

from __future__ import annotations

import ctypes
import types

import numpy as np


class Pointer:
    def __init__(self, array, log):
        self.ptr, self._log = array.ctypes.data, log

    def copy_from_host_async(self, mem, size, stream=None):
        self._log.append(("copy", size, stream.ptr))
        ctypes.memmove(self.ptr, mem, size)


class ndarray(np.ndarray):
    __array_interface__ = property()  # there is none: CuPy's memory is not the host's

    @property
    def data(self):
        return Pointer(self, ndarray.log)

    def get(self, stream=None, order="C", out=None, blocking=True):
        if ndarray.failure:
            raise ndarray.failure
        ndarray.log.append(("get", self.nbytes))
        return np.array(self.view(np.ndarray), order=order)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.disable_timing, self.done = disable_timing, False

    def record(self, stream=None):
        self.done, self.stream = True, stream

    def synchronize(self):
        pass


class Stream:
    done = False

    def __init__(self, null=False, ptds=False, non_blocking=False, priority=0):
        self.ptr, self.options = 77 + 11 * priority, (non_blocking, priority)

    def record(self, event=None):
        event = event or Event()
        ndarray.log.append(("record", event))
        return event

    def synchronize(self):
        if ndarray.failure:
            raise ndarray.failure
        ndarray.log.append("waited")

    def wait_event(self, event):
        ndarray.log.append(("wait", self.ptr, event))

    def use(self):
        Stream.current = self


class PinnedMemoryPointer(bytearray):
    pass


class CUDARuntimeError(RuntimeError):
    pass


def made():
    """The module, of one device that has done nothing yet. `failure` is raised by what waits."""
    ndarray.log, ndarray.failure = [], None
    log = ndarray.log
    Stream.null = Stream.current = Stream()
    fake = types.ModuleType("cupy")
    fake.log = log
    fake.ndarray = ndarray
    fake.empty = lambda shape, dtype: np.full(shape, 0, dtype).view(ndarray)
    fake.used = [3, 5]
    fake.reads_pageable = 0

    class Device:
        id = 0
        compute_capability = "90"

        def synchronize(self):
            if ndarray.failure:
                raise ndarray.failure

    class RawKernel:
        def __init__(self, path, name):
            self.path, self.name = path, name
            self.max_dynamic_shared_size_bytes = 0

        def __call__(self, grid, block, args, *, shared_mem=0):
            allowed = self.max_dynamic_shared_size_bytes
            log.append(("launch", self.name, grid, block, args, shared_mem, allowed))

    class RawModule:
        def __init__(self, code=None, *, path=None):
            log.append(("load", path))
            self.path = path

        def get_function(self, name):
            return RawKernel(self.path, name)

    class Pool:
        def used_bytes(self):
            return fake.used[0]

        def total_bytes(self):
            return fake.used[1]

        def free_all_blocks(self):
            log.append("freed")

    fake.RawModule = RawModule
    fake.get_default_memory_pool = fake.get_default_pinned_memory_pool = Pool
    fake.cuda = types.SimpleNamespace(
        Device=Device, Event=Event, PinnedMemoryPointer=PinnedMemoryPointer,
        alloc_pinned_memory=PinnedMemoryPointer, get_current_stream=lambda: Stream.current,
        Stream=Stream,
        get_elapsed_time=lambda start, end: 1.5,
        runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError,
            getDeviceProperties=lambda i: {"name": b"A card", "multiProcessorCount": 132},
            memGetInfo=lambda: (7, 9),
            cudaDevAttrPageableMemoryAccess=88,
            deviceGetAttribute=lambda which, i: {88: fake.reads_pageable}[which],
        ),
    )  # fmt: skip
    return fake


def names():
    """(where, name) of what is CuPy's in here."""
    return [
        ("", "ndarray empty RawModule get_default_memory_pool get_default_pinned_memory_pool cuda"),
        ("", "from_dlpack"),
        ("ndarray", "data get transpose copy strides flags"),
        ("RawModule", "get_function"),
        ("RawKernel", "max_dynamic_shared_size_bytes"),
        ("cuda", "Device Event PinnedMemoryPointer alloc_pinned_memory get_current_stream"),
        ("cuda", "get_elapsed_time runtime Stream MemoryPointer MemoryPool"),
        ("cuda.Device", "id compute_capability synchronize"),
        ("cuda.Event", "record synchronize done"),
        ("cuda.Stream", "record done synchronize wait_event use null"),
        ("cuda.Stream.null", "ptr"),
        ("cuda.MemoryPointer", "ptr copy_from_host_async"),
        ("cuda.MemoryPool", "used_bytes total_bytes free_all_blocks"),
        ("cuda.runtime", "getDeviceCount getDeviceProperties memGetInfo CUDARuntimeError"),
        ("cuda.runtime", "deviceGetAttribute cudaDevAttrPageableMemoryAccess"),
    ]
