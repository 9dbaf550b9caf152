"""tools/build_times.py on a small log of ninja's."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "build_times.py"
pytestmark = pytest.mark.skipif(not TOOL.is_file(), reason="tools/ is in a checkout alone")

KERNELS = "CMakeFiles/tilework_core.dir/csrc/kernels"
LOG = f"""# ninja log v5
0\t9000\t1\t{KERNELS}/conv/avx2.cc.o\tab
0\t3000\t2\t{KERNELS}/conv/avx2.cc.o\tab
100\t1350\t2\t{KERNELS}/conv/conv.cc.o\tab
3000\t3500\t2\t{KERNELS}/gemm/avx512bf16.cc.o\tab
0\t250\t2\tCMakeFiles/tilework_core.dir/csrc/base/cpu.cc.o\tab
0\t750\t2\tCMakeFiles/_native.dir/Unity/unity_0_cxx.cxx.o\tab
"""


def build_times(folder):
    return subprocess.run([sys.executable, TOOL, folder], capture_output=True, text=True)


def test_a_log_becomes_a_table_of_families_by_isa(tmp_path):
    (tmp_path / ".ninja_log").write_text(LOG)
    done = build_times(tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["seconds"] == ["avx2", "avx512bf16", "baseline", "all"]
    # What was built twice counts once, as it was built last.
    assert rows["conv"] == ["3.0", "1.2", "4.2"]
    assert rows["gemm"] == ["0.5", "0.5"]
    assert rows["bindings"] == ["0.8", "0.8"]
    assert rows["base"] == ["0.2", "0.2"]
    assert rows["all"] == ["3.0", "0.5", "2.2", "5.8"]
    assert list(rows)[1:3] == ["conv", "bindings"]  # the dearest first


def test_a_folder_without_a_log_is_refused(tmp_path):
    done = build_times(tmp_path)
    assert done.returncode == 1
    assert "expected the folder of a build by ninja" in done.stderr
