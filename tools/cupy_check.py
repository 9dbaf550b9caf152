#!/usr/bin/env python3
"""CuPy itself where there is no card: every case of the suite over it, without the values.

    python tools/cupy_check.py                   all of it, in some minutes
    python tools/cupy_check.py --family optim    cases of one family

The simulator's arrays are none of CuPy's, and know its functions by their names alone. Here CuPy's
own code runs, on a driver that does nothing (cupy_check/): arrays are zeros, NVRTC compiles each of
CuPy's kernels, none is run. What CuPy lacks (an argument, a dtype, a flag) fails as it would on a
card. What an op says of numbers, which all are zero, is no fault.

It needs CuPy (pip install 'tilework[cuda]', or --cupy with a folder of packages), `pip install
--group cuda-check`, a C++ compiler, and from PyPI CuPy's sources and Cython: the one module that
has CUDA's runtime in it is built anew, on the runtime of cupy_check/fake_runtime.cpp.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

import cuda_toolkit
from cuda_toolkit import ROOT, Refused, run

HERE = Path(__file__).resolve().parent / "cupy_check"
RUNTIME = "cupy_backends/cuda/api/runtime"
# As CuPy's own build has it (install/cupy_builder/_command.py).
CYTHONIZE = """
import sys
from Cython.Compiler.Main import CompilationOptions, compile_single
done = compile_single(sys.argv[1] + ".pyx", CompilationOptions(
    cplus=True, language_level=3, include_path=["."], output_file=sys.argv[1] + ".cpp",
    compiler_directives={"binding": False, "c_api_binop_methods": True,
                         "warn.deprecated.IF": False},
    compile_time_env={"CUPY_USE_CUDA_PYTHON": False, "CUPY_CUFFT_STATIC": False,
                      "CUPY_CYTHON_VERSION": "", "CUPY_CUDA_VERSION": 13000, "CUPY_HIP_VERSION": 0},
), full_module_name=sys.argv[1].replace("/", "."))
sys.exit(done.num_errors)
"""


def prepared(folder: Path, packages: Path, cuda: Path) -> dict[str, str]:
    """The environment of a process whose CuPy runs on the driver that does nothing."""
    site, lib = folder / "site", folder / "lib"
    lib.mkdir(parents=True)
    for name in ("cupy", "cupyx", "cupy_backends"):
        shutil.copytree(packages / name, site / name)
    [about] = packages.glob("cupy_cuda*.dist-info")
    shutil.copytree(about, site / about.name)
    shared = ("-O1", "-fPIC", "-shared", "-w")
    run("gcc", *shared, "-Wl,-soname,libcuda.so.1", "-o", lib / "libcuda.so.1",
        HERE / "fake_driver.c")  # fmt: skip
    _blas(site, lib, shared)
    _runtime(folder, site, cuda, about.name.split("-")[1].removesuffix(".dist"))
    others = [str(packages)] if packages != Path(sysconfig.get_path("purelib")) else []
    return {
        **os.environ, "CUPY_ACCELERATORS": "", "CUPY_CACHE_DIR": str(folder / "kernels"),
        "XDG_CACHE_HOME": str(folder / "cache"), "CUDA_PATH": str(cuda),
        "LD_LIBRARY_PATH": f"{lib}:{cuda / 'lib'}:{cuda / 'lib64'}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(site), *others]),
    }  # fmt: skip


def _undefined(file: Path, prefix: str, *options: str) -> list[str]:
    found = run("nm", *options, "--undefined-only", file)
    return sorted(set(re.findall(rf"\b({prefix}\w+)", found)))


def _blas(site: Path, lib: Path, shared: tuple[str, ...]) -> None:
    """cuBLAS whose functions do nothing."""
    [module] = (site / "cupy_backends/cuda/libs").glob("cublas.*.so")
    for name, functions in (
        ("libcublas.so.13", _undefined(module, "cublas", "-D")),
        ("libcublasLt.so.13", []),
    ):
        source, versions = lib / f"{name}.c", lib / f"{name}.map"
        source.write_text("".join(f"int {function}() {{ return 0; }}\n" for function in functions))
        versions.write_text(f"{name} {{ global: *; }};\n")
        run("gcc", *shared, f"-Wl,-soname,{name}", f"-Wl,--version-script={versions}", "-o",
            lib / name, source)  # fmt: skip


def _runtime(folder: Path, site: Path, cuda: Path, version: str) -> None:
    """CuPy's module of the runtime, anew."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    run(*pip, "download", "--no-deps", "--no-binary", "cupy", f"cupy=={version}", "-d", folder,
        env={**os.environ, "CUPY_INSTALL_USE_STUB": "1"})  # fmt: skip
    with tarfile.open(folder / f"cupy-{version}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    sources, cython = folder / f"cupy-{version}", folder / "cython"
    run(*pip, "install", "--target", cython, "cython>=3.2,<3.3")
    run(sys.executable, "-c", CYTHONIZE, RUNTIME, cwd=sources,
        env={**os.environ, "PYTHONPATH": str(cython)})  # fmt: skip
    (sources / "cuda_profiler_api.h").write_text(
        'extern "C" int cudaProfilerStart();\nextern "C" int cudaProfilerStop();\n'
    )
    compile_ = ["g++", "-std=c++17", "-O0", "-fPIC", "-w", "-c", f"-I{cuda / 'include'}",
                f"-I{sources}", f"-I{sysconfig.get_path('include')}"]  # fmt: skip
    own, fake, rest = folder / "runtime.o", folder / "fake.o", folder / "rest.c"
    run(*compile_, "-o", own, sources / f"{RUNTIME}.cpp")
    run(*compile_, "-o", fake, HERE / "fake_runtime.cpp")
    there = set(re.findall(r"\bT (cuda\w+)", run("nm", fake)))
    names = [name for name in _undefined(own, "cuda[A-Z]") if name not in there]
    rest.write_text("".join(f"int {name}() {{ return 0; }}\n" for name in names))
    run("gcc", "-O1", "-fPIC", "-w", "-c", "-o", rest.with_suffix(".o"), rest)
    [module] = (site / RUNTIME).parent.glob("runtime.*.so")
    module.unlink()  # the copy is ours, and may be a link
    run("g++", "-shared", "-o", module, own, fake, rest.with_suffix(".o"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", action="append", default=[], help="this one's cases alone")
    parser.add_argument("--cupy", type=Path, help="the folder of packages that has CuPy")
    parser.add_argument("--cuda", type=Path, help="the folder of a CUDA toolkit, with NVRTC")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            packages = options.cupy or Path(sysconfig.get_path("purelib"))
            if not (packages / "cupy").is_dir():
                raise Refused(f"no CuPy in {packages}: pip install 'tilework[cuda]', or --cupy")
            cuda = cuda_toolkit.find(options.cuda).root
            environment = prepared(Path(folder), packages, cuda)
            print(run(sys.executable, HERE / "calls.py", *options.family, env=environment), end="")
        except Refused as reason:
            print(reason)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
