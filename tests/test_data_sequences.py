"""Series, utterances and text: what the sources read, and where their parts are divided."""

import importlib.util
import struct
import types
import zlib

import numpy as np
import pytest

from tilework import data


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A folder that stands for every package that is looked up."""
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return tmp_path


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_windows_are_divided_where_judging_begins():
    values = np.arange(20, dtype=np.float32)
    series = data.Series("s", "", values.astype(float), values, 4, held_out=12)
    (train, train_next), (test, test_next) = series.windows(3, 2)
    np.testing.assert_array_equal(train[[0, -1]], [[0, 1, 2], [7, 8, 9]])
    np.testing.assert_array_equal(train_next[[0, -1]], [[3, 4], [10, 11]])
    np.testing.assert_array_equal(test[[0, -1]], [[9, 10, 11], [15, 16, 17]])
    np.testing.assert_array_equal(test_next[[0, -1]], [[12, 13], [18, 19]])
    part = series.part(5, 4)
    np.testing.assert_array_equal(part.values, values[7:16])
    assert part.values[part.held_out] == part.times[part.held_out] == 12
    np.testing.assert_array_equal(series.part(100, 100).values, values)
    for past, ahead in ((11, 2), (3, 9), (0, 1), (1, 0)):
        with pytest.raises(ValueError, match=r"\[Series.windows\] expected a window within"):
            series.windows(past, ahead)


def test_co2_is_a_mean_a_month_and_a_line_where_there_is_none(package):
    rows = "date,co2\n19891201,1\n19900101,4\n19900108,6\n19900201,\n19900301,7\n19900402,8\n"
    written(package / "datasets/co2/co2.csv", rows)
    series = data.co2()
    np.testing.assert_array_equal(series.values, [5, 6, 7, 8])  # December has its end alone
    np.testing.assert_allclose(series.times, 1990 + np.arange(4) / 12)
    assert series.held_out == 0


def test_sunspots_are_judged_from_1950(package):
    written(package / "datasets/sunspots/sunspots.csv", '"Y","S"\n1948,3\n1949,5.5\n1950,7\n')
    series = data.sunspots()
    assert series.values.dtype == np.float32
    assert series.values.tolist() == [3, 5.5, 7]
    assert series.held_out == 2


def test_japanese_vowels(package):
    folder = package / "datasets/data/JapaneseVowels"
    written(folder / "JapaneseVowels_TRAIN.ts", "@data\n1,2:3,4:9\n1:3:2\n5:6:9\n")
    written(folder / "JapaneseVowels_TEST.ts", "@data\n1,2,0:3,4,0:2\n")
    said = data.japanese_vowels()
    assert said.train_speakers.tolist() == [1, 0, 1]
    assert said.classes == ("2", "9")
    np.testing.assert_array_equal(said.train[0], [[1, 3], [2, 4]])
    assert said.test[0].shape == (3, 2)
    assert said.majority_accuracy() == 0.0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1,2:a", "a line @data"),
        ("@data\n1,2:3:a", "dimensions of equal length"),
        ("@data\n1,x:a", "could not convert"),
        ("@data\na", "a label behind the last colon"),
    ],
)
def test_what_is_no_ts_file_is_a_sentence(tmp_path, text, match):
    with pytest.raises(ValueError, match=rf"\[read_ts\].*{match}"):
        data.read_ts(written(tmp_path / "x.ts", text))


def test_a_package_that_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("co2", "sunspots"):
        with pytest.raises(FileNotFoundError, match="pip install --no-deps statsmodels"):
            data.source(name)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps aeon"):
        data.source("japanese-vowels")


# --- the World English Bible ---


def book(name, lines):
    paragraphs = "".join(f'<div sID="p{i}" type="x-p"/>{line}' for i, line in enumerate(lines))
    return (
        f'<div canonical="true" osisID="{name}" sID="{name}" type="book"/><title level="1">{name}'
        f'</title>{paragraphs}<div canonical="true" eID="{name}" osisID="{name}" type="book"/>'
    )


def module(folder, testament, blocks):
    """A zText module of these blocks."""
    packed = [zlib.compress(block.encode()) for block in blocks]
    index, at = struct.pack("<III", 0, 0, 0), 0
    for block, stream in zip(blocks, packed, strict=True):
        index += struct.pack("<III", at, len(stream), len(block.encode()))
        at += len(stream)
    (folder / f"{testament}.bzs").write_bytes(index)
    (folder / f"{testament}.bzz").write_bytes(b"".join(packed))


def test_text_is_what_a_reader_sees(tmp_path):
    line = (
        '<chapter n="1" osisID="A.1"/><w lemma="x">In</w> the<note placement="foot">a <i>note</i>'
        '</note>, end.<l level="1" sID="l"/> “Verse &amp; line<note>b</note> <w>.</w>”'
    )
    first = book("A", ["<lb/>", line, *"345678"])
    module(tmp_path, "ot", ["front" + first[:150], first[150:] + "between", book("DanGr", "12")])
    words = '<div sID="i" type="introduction"/>about it<div eID="i" type="introduction"/>'
    module(tmp_path, "nt", [book("B", [words, *"cdefghijkl", "z"])])
    text = data.world_english_bible(tmp_path)
    assert text.train.split("\n") == ["In the, end.", "“Verse & line.”", *"345678", *"cdefghijkl"]
    assert text.test == "z"


def test_damaged_text_is_a_sentence(tmp_path):
    module(tmp_path, "ot", [book("A", "12")])
    with pytest.raises(ValueError, match=r"\[world_english_bible\] .*nt.bzs"):
        data.world_english_bible(tmp_path)
    module(tmp_path, "nt", [book("A", "12")])
    whole = (tmp_path / "nt.bzz").read_bytes()
    for damaged in (whole[:-5], whole[:20] + b"x" + whole[21:], b""):
        (tmp_path / "nt.bzz").write_bytes(damaged)
        with pytest.raises(ValueError, match="install the package sword-text-web afresh"):
            data.world_english_bible(tmp_path)
    with pytest.raises(FileNotFoundError, match="sudo apt-get install sword-text-web"):
        data.world_english_bible(tmp_path / "no")


def test_the_sources_as_they_are_installed():
    """Counts that the archives publish, where the packages are."""
    try:
        said, spots, air = (data.source(n) for n in ("japanese-vowels", "sunspots", "co2"))
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    assert (len(said.train), len(said.test), len(said.classes)) == (270, 370, 9)
    lengths = [len(x) for x in said.train + said.test]
    assert (min(lengths), max(lengths)) == (7, 29)
    assert {x.shape[1] for x in said.train} == {12}
    assert (len(spots.values), spots.times[spots.held_out]) == (309, 1950)
    assert (len(air.values), air.times[air.held_out]) == (525, 1990)
