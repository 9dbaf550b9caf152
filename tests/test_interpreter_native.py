"""The extension as the interpreter ends, and in an interpreter that is not the main one."""

import subprocess
import sys

import pytest

native = pytest.importorskip("tilework._native", reason="the compiled engine is not built")

# What waits for the GIL at the exit: a kernel's end, NumPy's own copies, and a measurement.
WORK = {
    "a kernel": "tw.softmax(rows, 1)",
    "a product": "rows @ rows",
    "a copy": "native.softmax_forward(gaps, 1, False)",
    "a sum by NumPy": "native.accumulate_(gaps, dense)",
    "a product written by a copy": "native.matmul(dense, dense, gaps)",
    "a measurement": "native.roof_bandwidth()",
}

THREADS = """
import threading, time
import numpy as np
import tilework as tw
from tilework import _native as native

rows = tw.ones(500, 500)
dense, gaps = np.ones((500, 500), np.float32), np.ones((500, 1000), np.float32)[:, ::2]
started = threading.Barrier(4)

def work():
    started.wait()
    while True:
        {call}

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
started.wait()
time.sleep({wait})
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("call", WORK.values(), ids=WORK.keys())
def test_threads_in_a_kernel_at_exit(call):
    for wait in (0.02, 0.03, 0.05):
        done = run(THREADS.format(call=call, wait=wait))
        assert (done.returncode, done.stderr) == (0, "")


# Without NumPy, which itself serves one interpreter alone.
SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

load = '''
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("tilework._native", {path!r})
try:
    module_from_spec(spec)
except ImportError as e:
    assert "interpreter" in str(e), e  # from 3.12 on, Python refuses by itself
else:
    raise AssertionError("a sub-interpreter was served")
'''
made = interpreters.create()
failure = interpreters.run_string(made, load)
assert failure is None, failure
import tilework as tw
assert (tw.ones(2) + 1).tolist() == [2, 2]
"""


def test_a_sub_interpreter_that_comes_first_is_refused():
    done = run(SUBINTERPRETER.format(path=native.__file__))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_sub_interpreter_that_comes_later_is_refused():
    done = run("import tilework\n" + SUBINTERPRETER.format(path=native.__file__))
    assert (done.returncode, done.stderr) == (0, "")
