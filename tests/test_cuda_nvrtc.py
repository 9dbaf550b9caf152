"""Kernels out of the shipped sources: which file has one, what is kept; NVRTC compiles all."""

import pytest

from tilework.engines.cuda import cubins, nvrtc, sources


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """Two files of kernels in a folder of sources, an empty cache, and a compiler that lists what
    it is asked for."""
    kernels = {"alpha": ["alpha_float", "alpha_double"], "beta": ["gamma_float"]}
    for family in kernels:
        (tmp_path / "csrc/kernels" / family).mkdir(parents=True)
        (tmp_path / f"csrc/kernels/{family}/{family}.cuh").write_text(
            '#include "base/both.cuh"\n#include "cudasim/none.h"\n'
        )
    (tmp_path / "csrc/base").mkdir()
    (tmp_path / "csrc/base/both.cuh").write_text("// both\n")
    asked = []

    def compiled(file, capability):
        asked.append((file, capability))
        names = kernels[file.split("/")[1]]
        return b"\x7fELF" + b"".join(b"\0.text." + name.encode() for name in names) + b"\0"

    def names(file):
        asked.append(file)
        return b"".join(b".entry " + name.encode() for name in kernels[file.split("/")[1]])

    monkeypatch.setattr(sources, "_PACKAGE", tmp_path)
    monkeypatch.setattr(nvrtc, "compiled", compiled)
    monkeypatch.setattr(nvrtc, "names", names)
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 5))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield tmp_path, asked
    forget()


def forget():
    """As in a new process."""
    for kept in (
        sources.folder, sources.files, sources.text, cubins._key, cubins.cache_folder, cubins.index,
    ):  # fmt: skip
        kept.cache_clear()


FILES = ["kernels/alpha/alpha.cuh", "kernels/beta/beta.cuh"]


def test_a_kernel_is_found_by_its_name(shipped):
    _, asked = shipped
    path = cubins.file_of("gamma_float", 90)
    assert cubins.kernels_in(path.read_bytes()) == {"gamma_float"}
    assert sorted(asked[:2]) == FILES
    assert asked[2:] == [("kernels/beta/beta.cuh", 90)]


def test_a_kernel_that_is_nowhere(shipped):
    with pytest.raises(KeyError, match="no kernel delta"):
        cubins.file_of("delta", 90)


def test_what_is_compiled_is_kept(shipped):
    folder, asked = shipped
    first = cubins.file_of("alpha_float", 90)
    assert first.is_relative_to(folder / "cache/tilework")
    assert {p.suffix for p in first.parent.iterdir()} == {".cubin", ".json"}
    before = list(asked)
    forget()
    assert cubins.file_of("alpha_double", 90) == first
    assert asked == before
    assert cubins.file_of("alpha_float", 80) != first
    assert asked == [*before, (FILES[0], 80)]


@pytest.mark.parametrize("changed", ["kernels/alpha/alpha.cuh", "base/both.cuh"])
def test_another_source_is_compiled_anew(shipped, changed):
    folder, asked = shipped
    first = cubins.file_of("alpha_float", 90)
    with (folder / "csrc" / changed).open("a") as file:
        file.write("// changed\n")
    forget()
    assert cubins.file_of("alpha_float", 90) != first
    assert asked.count((FILES[0], 90)) == 2


def test_where_no_cache_can_be_written_kernels_are_compiled_all_the_same(shipped, monkeypatch):
    folder, _ = shipped
    (folder / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "a file"))
    forget()
    path = cubins.file_of("alpha_float", 90)
    assert path.is_file()
    assert not path.is_relative_to(folder)


@pytest.mark.usefixtures("shipped")
def test_a_file_that_is_cut_off_is_no_file(monkeypatch):
    first = cubins.file_of("alpha_float", 90)
    for kept in first.parent.iterdir():  # as a loss of power leaves them
        kept.write_bytes(b"")
    forget()
    assert cubins.kernels_in(cubins.file_of("alpha_float", 90).read_bytes())
    first.unlink()
    forget()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(cubins.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        cubins.file_of("alpha_float", 90)
    assert {p.suffix for p in first.parent.iterdir()} == {".json"}


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nvrtc, "missing", lambda: "no libnvrtc: pip install 'tilework[cuda]'")
    with pytest.raises(ImportError, match=r"no libnvrtc: pip install 'tilework\[cuda\]'"):
        cubins.check_compiler()


# --- the compiler itself, which needs no card ---

compiler = pytest.mark.skipif(bool(nvrtc.missing()), reason="NVRTC is not installed here")


@compiler
def test_what_does_not_compile_is_told_by_the_compiler(shipped, monkeypatch):
    monkeypatch.undo()
    folder, _ = shipped
    monkeypatch.setattr(nvrtc, "include_folders", lambda: (str(folder),))
    (folder / "wrong.cuh").write_text("int f() { return g(); }\n")
    with pytest.raises(nvrtc.Refusal, match=r'(?s)\[wrong.cuh\] -arch=sm_90:.*"g" is undefined'):
        nvrtc.compiled("wrong.cuh", 90)


@compiler
def test_a_card_later_than_the_compiler_gets_ptx(tmp_path, monkeypatch):
    monkeypatch.setattr(nvrtc, "include_folders", lambda: (str(tmp_path),))
    (tmp_path / "small.cuh").write_text('extern "C" __global__ void small(float* x) { *x = 1; }\n')
    for capability, head in ((90, b"\x7fELF"), (999, b"//")):
        path = tmp_path / str(capability)
        path.write_bytes(nvrtc.compiled("small.cuh", capability))
        assert path.read_bytes().lstrip().startswith(head)
        assert cubins.kernels_in(path.read_bytes()) == {"small"}


@compiler
def test_the_names_are_those_of_the_other_builds():
    simulated = pytest.importorskip("tilework._cudasim", reason="the simulator is not built here")
    named = [name for file in sources.files() for name in cubins.kernels_in(nvrtc.names(file))]
    assert sorted(named) == sorted(simulated.kernels())


@compiler
@pytest.mark.full
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("file", sources.files())
def test_every_file_compiles(file, capability):
    made = nvrtc.compiled(file, capability)
    assert made.startswith(b"\x7fELF")
    assert cubins.kernels_in(made) == cubins.kernels_in(nvrtc.names(file))
