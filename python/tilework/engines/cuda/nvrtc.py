"""NVIDIA's run-time compiler: a .cuh becomes machine code without nvcc, host compiler or card."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

from tilework.engines.cuda import sources

_VERSIONS = (13, 12)  # of libnvrtc that build for the cards of sm_80 and later
_FIX = "pip install 'tilework[cuda]'"


class Refusal(RuntimeError):
    """What the compiler says of a source."""


def compiled(file: str, capability: int) -> bytes:
    """The kernels of a file (sources.files()) for a card of a compute capability (90 is 9.0).

    A cubin; PTX, of which the driver makes one, where this compiler is older than the card.
    Refusal, with the compiler's messages, where it does not compile; ImportError where there is no
    compiler.
    """
    known = [c for c in architectures() if c <= capability]
    own = bool(known) and known[-1] == capability
    kind = f"sm_{capability}" if own else f"compute_{known[-1] if known else capability}"
    return _built(file, f"-arch={kind}", wanted="nvrtcGetCUBIN" if own else "nvrtcGetPTX")


def names(file: str) -> bytes:
    """PTX of kernels with the names of a file's and nothing in them: in a fraction of a second."""
    return _built(file, "-arch=compute_80", "-DTILEWORK_KERNEL_NAMES", wanted="nvrtcGetPTX")


def _built(file: str, *options: str, wanted: str) -> bytes:
    words = ["-std=c++20", *options, *(f"-I{place}" for place in include_folders())]
    program = ctypes.c_void_p()
    text = f'#include "{file}"\n'.encode()
    _call("nvrtcCreateProgram", ctypes.byref(program), text, b"kernels.cu", 0, None, None)
    try:
        given = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
        if _library().nvrtcCompileProgram(program, len(words), given):
            log = _taken("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
            raise Refusal(f"[{file}] {options[0]}:\n{log}")
        return _taken(wanted, program)
    finally:
        _library().nvrtcDestroyProgram(ctypes.byref(program))


@cache
def version() -> tuple[int, int]:
    """The compiler's version: (13, 5)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


@cache
def architectures() -> tuple[int, ...]:
    """The compute capabilities that it builds for, ascending."""
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", found)
    return tuple(found)


@cache
def include_folders() -> tuple[str, ...]:
    """Ours, and that of cuda_bf16.h."""
    headers = _headers()
    return str(sources.folder()), *([str(headers)] if headers else [])


def missing() -> str:
    """Why nothing can be compiled here; empty where it can."""
    if _library() is None:
        return f"NVIDIA's run-time compiler (libnvrtc.so) is not installed: {_FIX}"
    return "" if _headers() else f"CUDA's headers (cuda_bf16.h) are not installed: {_FIX}"


@cache
def _library() -> Any:
    for name in _candidates():
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _candidates() -> list[str]:
    """By their paths where they are; then as the loader finds them."""
    named = [f"libnvrtc.so.{version}" for version in _VERSIONS]
    places = [place / lib for place in _places() for lib in ("lib", "lib64")]
    found = [str(place / name) for place in places for name in named]
    return [name for name in found if os.path.isfile(name)] + named


def _places() -> list[Path]:
    """Where CUDA may be: in NVIDIA's wheels (nvidia/cu13), where CUDA_PATH says, the system's."""
    spec = importlib.util.find_spec("nvidia")
    parents = (spec.submodule_search_locations or []) if spec else []
    wheels = [place for p in parents for place in sorted(Path(p).glob("cu1[3-9]"), reverse=True)]
    return [*wheels, Path(os.environ.get("CUDA_PATH", "/usr/local/cuda")), Path("/usr")]


def _headers() -> Path | None:
    """The folder of cuda_bf16.h."""
    found = [place / "include" for place in _places()]
    return next((folder for folder in found if (folder / "cuda_bf16.h").is_file()), None)


def _taken(function: str, program: Any) -> bytes:
    size = ctypes.c_size_t()
    _call(f"{function}Size", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    _call(function, program, text)
    return text.raw


def _call(function: str, *arguments: Any) -> None:
    library = _library()
    if library is None:
        raise ImportError(missing())
    if status := getattr(library, function)(*arguments):
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"[{function}] {library.nvrtcGetErrorString(status).decode()}")
