"""An ISA that cannot serve is refused loudly, at the first use: never replaced, never a crash."""

import os
import subprocess
import sys

import pytest

import tilework as tw
from tilework import engines

if engines.current_engine() != "native":
    pytest.skip("ISAs are the compiled engine's", allow_module_level=True)

ISAS = ["generic", "avx2", "avx512", "avx512bf16", "amx"]
BEST = engines.engine_module().cpu_info()["best_isa"]
CANNOT_RUN = [name for name in ISAS if name not in ISAS[: ISAS.index(BEST) + 1]]
USES = {
    "get_isa": "tw.get_isa()",
    "kernel": "tw.ones(3) + tw.ones(3)",
    "gemm": "tw.eye(3) @ tw.eye(3)",
}


def forced(isa, code):
    """What Python prints of `code`, and the last line of its complaint, under TILEWORK_ISA."""
    done = subprocess.run(
        [sys.executable, "-c", f"import tilework as tw\nprint('imported', flush=True)\n{code}"],
        env={**os.environ, "TILEWORK_ISA": isa},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("isa", ["sparkle", *CANNOT_RUN])
def test_environment_is_refused_at_the_first_use(isa, use):
    status, said, complaint = forced(isa, f"{use}\nprint('served')")
    assert (status, said) == (1, "imported\n")
    assert complaint.startswith("RuntimeError: [TILEWORK_ISA] expected ")
    assert f"got '{isa}': " in complaint


def test_a_refusal_can_be_mended():
    status, said, _ = forced(
        "sparkle",
        "try: tw.get_isa()\nexcept RuntimeError: tw.set_isa('generic')\n"
        "print(tw.get_isa(), (tw.ones(3) + tw.ones(3)).tolist())",
    )
    assert (status, said) == (0, "imported\ngeneric [2.0, 2.0, 2.0]\n")


@pytest.mark.parametrize("isa", ISAS[: ISAS.index(BEST) + 1])
def test_environment_is_obeyed(isa):
    assert forced(isa, "print(tw.get_isa())")[:2] == (0, f"imported\n{isa}\n")


@pytest.mark.parametrize("isa", ["sparkle", *CANNOT_RUN])
def test_call_is_refused_and_changes_nothing(isa):
    before = tw.get_isa()
    with pytest.raises(ValueError, match=rf"^\[set_isa\] expected .*; got '{isa}': "):
        tw.set_isa(isa)
    assert tw.get_isa() == before
