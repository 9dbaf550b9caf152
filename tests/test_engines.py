"""The engines' table: each engine whole, one contract, swapped in place."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tilework as tw
from tilework import engines

STUB = Path(tw.__file__).with_name("_native.pyi")


def stub_functions():
    """The contract: the stub's functions from the first family on, below native's controls."""
    text = STUB.read_text()
    first = text[: text.index("# --- gemm ---")].count("\n")
    nodes = ast.parse(text).body
    return {n.name: n for n in nodes if isinstance(n, ast.FunctionDef) and n.lineno > first}


def stub_constants():
    tree = ast.parse(STUB.read_text())
    return {
        node.target.id
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def test_the_contract_is_the_stubs():
    wanted = set(stub_functions()) | (stub_constants() - {"__version__"})
    assert set(engines.CONTRACT) == wanted
    assert len(set(engines.CONTRACT)) == len(engines.CONTRACT)


@pytest.mark.parametrize("name", [*engines.available_engines(), "cuda", "cupy"])
def test_each_engine_is_whole(name):
    module = engines.engine_module(name)
    for function in engines.CONTRACT:
        assert hasattr(module, function), function
    assert set(module.UNARY_OPS.values()) <= {"input", "output", "none"}


@pytest.mark.parametrize(
    "name", [*(name for name in engines.available_engines() if name != "native"), "cupy"]
)
def test_signatures_are_the_stubs(name):
    module = engines.engine_module(name)
    for function, node in stub_functions().items():
        declared = [argument.arg for argument in node.args.args]
        optional = len(node.args.defaults)
        found = inspect.signature(getattr(module, function)).parameters.values()
        assert [p.name for p in found] == declared, function
        assert sum(p.default is not p.empty for p in found) == optional, function


@pytest.mark.parametrize("name", engines.available_engines())
def test_use_engine_swaps_the_table_in_place(name):
    before, table = engines.current_engine(), engines.ops
    generation = engines.generation
    try:
        tw.use_engine(name)
        assert engines.ops is table
        assert engines.current_engine() == name
        assert engines.ops.linear_forward is engines.engine_module(name).linear_forward
        assert engines.generation > generation
        assert tw.relu(tw.tensor([-1.0, 1.0])).tolist() == [0.0, 1.0]
    finally:
        tw.use_engine(before)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match=r"\[use_engine\] expected 'native' or 'numba'"):
        tw.use_engine("fortran")


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**__import__("os").environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("name", engines.available_engines())
def test_the_environment_chooses(name):
    done = run("import tilework as tw; print(tw.engines.current_engine())", TILEWORK_ENGINE=name)
    assert done.stdout.strip() == name, done.stderr


def test_a_wrong_environment_fails_loudly():
    done = run("import tilework", TILEWORK_ENGINE="fortran")
    assert done.returncode != 0
    assert "[use_engine] expected 'native' or 'numba' or 'cuda' or 'cupy'; got" in done.stderr


NAMED = """
import sys, tilework as tw
print(tw.engines.current_engine(), "numba" in sys.modules)
"""
FILE = next(iter(Path(tw.__file__).parent.glob("_native*.so")), None)
HIDDEN = """
import importlib.abc, importlib.util, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            raise ImportError(f"{name} is hidden")
sys.meta_path.insert(0, Hide())
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "numba" else real(name, *a)
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package without the extension, by links; `run_in` runs code with it."""
    folder = tmp_path / "tilework"
    folder.mkdir()
    for entry in Path(tw.__file__).parent.iterdir():
        if not (entry.name.startswith("_native.") and entry.suffix != ".pyi"):
            (folder / entry.name).symlink_to(entry)
    return folder


def run_in(package, code=NAMED, engine=""):
    return run(code, PYTHONPATH=str(package.parent), TILEWORK_ENGINE=engine)


def test_without_the_extension_numba_serves_and_waits(package):
    if "numba" not in engines.available_engines():
        pytest.skip("numba is not installed: there is nothing to fall back to")
    done = run_in(package)
    assert done.stdout.strip() == "numba False", done.stderr


def test_without_any_engine_the_import_says_what_to_do(package):
    done = run_in(package, HIDDEN + NAMED)
    assert done.returncode != 0
    assert "pip install 'tilework[numba]'" in done.stderr


@pytest.mark.skipif(FILE is None, reason="there is no compiled extension here to damage")
@pytest.mark.parametrize("kind", ["empty", "truncated", "damaged", "text"])
def test_a_damaged_extension_is_an_error_and_not_numba(package, kind):
    whole = FILE.read_bytes()
    content = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "damaged": whole[:16] + bytes(b ^ 255 for b in whole[16:64]) + whole[64:],
        "text": b"import this",
    }[kind]
    target = package / FILE.name
    target.write_bytes(content)
    done = run_in(package)
    assert done.returncode == 1
    assert "ImportError: [use_engine] expected the native engine; got " in done.stderr
    assert "reinstall tilework" in done.stderr
    assert run_in(package, engine="numba").stdout.split()[:1] == ["numba"]


STOPPED = """
try:
    raise KeyboardInterrupt
except BaseException as reason:
    raise ImportError("initialization failed") from reason
"""


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        (STOPPED, "KeyboardInterrupt"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("raise SystemError('initialization failed')", "SystemError: initialization failed"),
        ("raise MemoryError", "MemoryError"),
        ("__version__ = '0.0.0'", "got that of 0.0.0"),
        ("", "got that of None"),
        (f"__version__ = {tw.__version__!r}", "[use_engine] expected the native engine whole; got"),
    ],
)
def test_an_extension_that_does_not_start_is_an_error_and_not_numba(package, code, wanted):
    (package / "_native.py").write_text(code)
    done = run_in(package)
    assert done.returncode != 0
    assert wanted in done.stderr
    assert not done.stdout


def test_an_extension_of_another_python_is_an_error_and_not_numba(package):
    (package / "_native.cpython-30-other.so").write_bytes(b"")
    done = run_in(package)
    assert done.returncode == 1
    assert "[use_engine] expected the native engine; got " in done.stderr
