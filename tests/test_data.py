"""Datasets, loaders and the images that come with the package."""

import collections
import gzip
import struct

import numpy as np
import pytest

import tilework as tw
from tilework import data
from tilework.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset


class Squares(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, index):
        return {"x": np.float32(index), "name": f"n{index}", "y": (index * index, 0.5 * index)}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(7))


def rows(loader):
    return [batch[0].tolist() for batch in loader]


def test_batches_come_in_order():
    loader = DataLoader(TensorDataset(np.arange(7)), batch_size=3)
    assert rows(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(loader) == 3


def test_drop_last():
    loader = DataLoader(TensorDataset(np.arange(7)), batch_size=3, drop_last=True)
    assert rows(loader) == [[0, 1, 2], [3, 4, 5]]
    assert len(loader) == 2


def test_no_batch_size_gives_samples():
    samples = list(DataLoader(TensorDataset(np.arange(3)), batch_size=None))
    assert [s[0].item() for s in samples] == [0, 1, 2]


def test_shuffling_is_a_permutation_new_each_pass_and_seeded():
    def passes():
        tw.manual_seed(5)
        loader = DataLoader(TensorDataset(np.arange(100)), batch_size=100, shuffle=True)
        return [rows(loader)[0] for _ in range(2)]

    first, second = passes()
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first != list(range(100))
    assert passes() == [first, second]


@pytest.mark.parametrize("make", [lambda: 3, lambda: np.random.default_rng(3)])
def test_own_generator(make):
    def passes():
        loader = DataLoader(
            TensorDataset(np.arange(50)), batch_size=50, shuffle=True, generator=make()
        )
        return [rows(loader)[0] for _ in range(2)]

    before = tw.get_rng_state().tolist()
    first, second = passes()
    assert first != second
    assert passes() == [first, second]
    assert tw.get_rng_state().tolist() == before


def test_sampler():
    assert rows(DataLoader(TensorDataset(np.arange(9)), 2, sampler=[8, 0, 4])) == [[8, 0], [4]]


def test_collating_structures():
    batch = next(iter(DataLoader(Squares(), batch_size=3)))
    assert batch["x"].tolist() == [0.0, 1.0, 2.0]
    assert batch["x"].dtype == tw.float32
    assert batch["name"] == ["n0", "n1", "n2"]
    assert batch["y"][0].tolist() == [0, 1, 4]
    assert batch["y"][0].dtype == tw.int64
    assert batch["y"][1].dtype == tw.float64  # as PyTorch's


def test_collate_fn():
    loader = DataLoader(Squares(), batch_size=2, collate_fn=lambda samples: len(samples))
    assert list(loader) == [2, 2, 2, 1]


def test_iterable_dataset():
    assert [b.tolist() for b in DataLoader(Stream(), batch_size=3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(list(DataLoader(Stream(), batch_size=3, drop_last=True))) == 2
    assert list(DataLoader(Stream(), batch_size=None)) == list(range(7))
    with pytest.raises(TypeError, match="with a length"):
        len(DataLoader(Stream()))


def test_tensor_dataset_gathers_rows_of_any_layout():
    images = np.asfortranarray(np.arange(24.0).reshape(4, 6))
    labels = tw.tensor([0, 1, 2, 3])
    x, y = TensorDataset(images, labels).batch(np.array([2, 0]))
    np.testing.assert_array_equal(x.numpy(), images[[2, 0]])
    assert y.tolist() == [2, 0]


def test_subsets_nest():
    inner = Subset(TensorDataset(np.arange(10)), [1, 3, 5, 7])
    outer = Subset(inner, [3, 0])
    assert [outer[i][0].item() for i in range(2)] == [7, 1]
    assert outer.batch(np.array([1, 0]))[0].tolist() == [1, 7]


def test_random_split_partitions():
    parts = data.random_split(TensorDataset(np.arange(10)), [5, 3, 2], generator=1)
    assert [len(p) for p in parts] == [5, 3, 2]
    together = np.concatenate([p.indices for p in parts])
    assert sorted(together) == list(range(10))
    again = data.random_split(TensorDataset(np.arange(10)), [5, 3, 2], generator=1)
    assert [p.indices.tolist() for p in parts] == [p.indices.tolist() for p in again]


def test_a_stratified_split_gives_each_part_its_share_of_each_label():
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 1000, p=[0.7, 0.25, 0.05])
    samples = TensorDataset(np.arange(1000))
    parts = data.random_split(samples, [0.6, 0.2, 0.2], generator=1, stratify=labels)
    assert [len(p) for p in parts] == [600, 200, 200]
    assert sorted(np.concatenate([p.indices for p in parts])) == list(range(1000))
    for label in "abc":
        whole = np.count_nonzero(labels == label)
        for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
            assert abs(np.count_nonzero(labels[part.indices] == label) - share * whole) <= 1
    assert len(set(labels[parts[0].indices[:20]])) > 1  # shuffled, not label by label
    again = data.random_split(
        samples, [0.6, 0.2, 0.2], generator=1, stratify=tw.tensor(np.unique(labels, False, True)[1])
    )
    assert [p.indices.tolist() for p in parts] == [p.indices.tolist() for p in again]


def test_a_stratified_split_in_two_is_scikit_learns():
    selection = pytest.importorskip("sklearn.model_selection", reason="no scikit-learn here")
    labels = np.repeat([0, 1, 2, 3], [7, 50, 11, 33])
    train, _ = data.random_split(labels, [71, 30], generator=0, stratify=labels)
    theirs, _ = selection.train_test_split(labels, train_size=71, stratify=labels, random_state=0)
    assert np.bincount(labels[train.indices]).tolist() == np.bincount(theirs).tolist()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: DataLoader(TensorDataset(np.arange(3)), batch_size=0), ValueError),
        (lambda: DataLoader(Stream(), shuffle=True), ValueError),
        (lambda: DataLoader(TensorDataset(np.arange(3)), shuffle=True, sampler=[0]), ValueError),
        (lambda: TensorDataset(), ValueError),
        (lambda: TensorDataset(np.zeros(3), np.zeros(4)), ValueError),
        (lambda: TensorDataset(np.float32(3)), ValueError),
        (lambda: data.random_split(TensorDataset(np.zeros(3)), [1, 1]), ValueError),
        (lambda: data.random_split(TensorDataset(np.zeros(3)), [4, -1]), ValueError),
        (lambda: data.random_split(np.zeros(3), [2, 1], stratify=[0, 1]), ValueError),
    ],
)
def test_bad_arguments_are_named(make, kind):
    with pytest.raises(kind, match=r"^\[\w+\] expected .*; got .*: "):
        make()


def test_digits_are_whole_and_the_parts_apart():
    images = data.digits()
    assert images.train_images.shape == (1437, 1, 8, 8)
    assert images.test_images.shape == (360, 1, 8, 8)
    assert images.train_images.dtype == np.float32
    assert images.train_labels.dtype == np.int64
    every = np.concatenate([images.train_images, images.test_images])
    assert every.min() == 0.0
    assert every.max() == 1.0
    labels = np.concatenate([images.train_labels, images.test_labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert 0.05 < images.majority_accuracy() < 0.2


def test_digits_are_the_same_each_time():
    np.testing.assert_array_equal(data.digits().test_images, data.digits().test_images)


def test_photographs_are_apart():
    pytest.importorskip("skimage", reason="scikit-image, whose they are, is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn, whose they are, is not installed")
    found = data.photographs()
    assert found.names == ("chelsea", "coffee", "coins", "rocket", "china")
    assert [x.shape for x in found.test] == [
        (300, 451), (400, 600), (303, 384), (427, 640), (427, 640)
    ]  # fmt: skip
    assert len(found.train) == 8
    for image in (*found.train, *found.test):
        assert image.dtype == np.float32
        assert 0.0 <= image.min() < 0.3 < 0.5 < image.max() <= 1.0
    assert not any(np.array_equal(a, b) for a in found.train for b in found.test)


# --- IDX files ---


def idx(array):
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_idx(tmp_path, pack):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(pack(idx(array)))
    np.testing.assert_array_equal(data.read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0",
        b"\0\0\x0d\x01\0\0\0\1\0",
        idx(np.zeros((2, 3)))[:-1],
        idx(np.zeros((2, 3))) + b"\0",
        b"\0\0\x08\x03\0\0\0\1",
        gzip.compress(idx(np.zeros((2, 3))))[:-9],
        b"\x1f\x8bnonsense",
        b"\0\0\x08\x04" + b"\xff" * 16,
    ],
)
def test_damaged_idx_files_are_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=r"\[read_idx\]"):
        data.read_idx(tmp_path / "a")


def test_fashion_mnist_from_files(tmp_path):
    for name, n in (("train", 5), ("t10k", 2)):
        images = np.full((n, 28, 28), 255)
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(n))))
    images = data.fashion_mnist(tmp_path)
    assert images.train_images.shape == (5, 1, 28, 28)
    assert images.train_images.dtype == np.float32
    assert images.test_images.max() == 1.0
    assert images.test_labels.tolist() == [0, 1]


def test_fashion_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        data.fashion_mnist(tmp_path / "nowhere")


def test_a_tensor_dataset_takes_what_tensor_takes():
    data = TensorDataset([[1.0, 2.0]], [3])
    assert [part.dtype for part in data[0]] == [tw.float32, tw.int64]
    with pytest.raises(TypeError, match="float16"):
        TensorDataset(np.zeros(3, np.float16))
    array = np.zeros(3, np.float32)
    assert TensorDataset(array).tensors[0]._storage.exposed  # the caller may still write to it


# --- data as people have it ---


class Pairs:
    def __init__(self, n=5):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return {"x": np.full(2, i, np.float32), "name": str(i), "in": {"y": (i, float(i))}}


class Endless:
    """Indexable, of no length: a sampler says where."""

    def __getitem__(self, i):
        return i * i


Point = collections.namedtuple("Point", "x y")


def test_lists_and_foreign_classes_are_datasets():
    pairs = [(np.full(3, i, np.float32), i) for i in range(5)]
    batches = list(DataLoader(pairs, 2))
    assert [type(b) for b in batches] == [list] * 3
    assert [b[1].tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    assert batches[0][0].shape == (2, 3)
    assert len(DataLoader(pairs, 2)) == 3
    batch = next(iter(DataLoader(Pairs(), 2)))
    assert batch["x"].shape == (2, 2)
    assert batch["name"] == ["0", "1"]
    assert batch["in"]["y"][0].tolist() == [0, 1]
    tw.manual_seed(0)
    shuffled = [int(n) for b in DataLoader(Pairs(50), 7, shuffle=True) for n in b["name"]]
    assert shuffled != sorted(shuffled) == list(range(50))
    assert next(iter(DataLoader(np.arange(3), 2))).tolist() == [0, 1]
    assert list(DataLoader(range(3), 2))[1].tolist() == [2]
    assert next(iter(DataLoader(Endless(), 2, sampler=[3, 1]))).tolist() == [9, 1]
    with pytest.raises(TypeError, match=r"\[DataLoader\] expected a dataset with a length"):
        list(DataLoader(Endless()))


def test_subsets_splits_and_transforms_of_lists():
    pairs = [(np.full(3, i, np.float32), i) for i in range(6)]
    assert Subset(pairs, [4, 2]).batch(np.array([1, 0]))[1].tolist() == [2, 4]
    parts = data.random_split(pairs, [4, 2], generator=0)
    assert sorted(y for part in parts for _, y in (part[i] for i in range(len(part)))) == [
        0, 1, 2, 3, 4, 5
    ]  # fmt: skip
    doubled = data.TransformedDataset(pairs, lambda x, y: (x * 2, y))
    assert next(iter(DataLoader(doubled, 2)))[0][1].tolist() == [2.0, 2.0, 2.0]


def test_what_can_only_be_iterated_is_a_stream():
    class Numbers:
        def __iter__(self):
            return iter(range(5))

    assert [b.tolist() for b in DataLoader(Numbers(), 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader((i for i in range(3)), 2)] == [[0, 1], [2]]
    with pytest.raises(ValueError, match="with a length, to shuffle"):
        DataLoader(Numbers(), shuffle=True)
    with pytest.raises(TypeError, match=r"\[DataLoader\] expected a dataset: .*; got int"):
        DataLoader(3)


def same(mine, theirs):
    """Whether ours is PyTorch's batch: types, shapes, dtypes and values."""
    if isinstance(mine, tw.Tensor):
        return str(theirs.dtype) == f"torch.{mine.dtype}" and mine.tolist() == theirs.tolist()
    if isinstance(mine, dict):
        return type(mine) is type(theirs) and list(mine) == list(theirs) and all(
            same(mine[k], theirs[k]) for k in mine
        )  # fmt: skip
    if isinstance(mine, (list, tuple)):
        return type(mine) is type(theirs) and len(mine) == len(theirs) and all(
            map(same, mine, theirs)
        )  # fmt: skip
    return mine == theirs


COLLATED = {
    "floats": [0.1, 2.0],
    "ints": [1, -2],
    "bools": [True, False],
    "NumPy numbers": [np.float32(1), np.float32(2)],
    "NumPy integers": [np.int32(1), np.int32(2)],
    "0-d arrays": [np.array(1.5), np.array(2.5)],
    "arrays": [np.ones((2, 3)), np.zeros((2, 3))],
    "bytes": [np.ones(2, np.uint8), np.zeros(2, np.uint8)],
    "text": ["a", "bc"],
    "np.str_": [np.str_("a"), np.str_("b")],
    "bytes of text": [b"a", b"b"],
    "tuples": [(1, "a", (2.0, [3])), (4, "b", (5.0, [6]))],
    "named": [Point(1, Point("a", 2.0)), Point(3, Point("b", 4.0))],
    "dicts": [{"a": 1, "b": {"c": [1.0, 2]}}, {"a": 3, "b": {"c": [3.0, 4]}}],
    "ordered": [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    "default": [collections.defaultdict(int, a=1), collections.defaultdict(int, a=2)],
    "counter": [collections.Counter("aab"), collections.Counter("abb")],
    "ranges": [range(3), range(3)],
    "empty tuples": [(), ()],
    "one": [(np.float64(2),)],
}


@pytest.mark.parametrize("name", COLLATED)
def test_batches_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    batch = COLLATED[name]
    mine = data.default_collate(batch)
    theirs = torch.utils.data.default_collate(batch)
    assert same(mine, theirs), (mine, theirs)


def test_tensors_are_stacked_and_promoted():
    assert data.default_collate([tw.ones(2), tw.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    mixed = data.default_collate([np.ones(2, np.float32), np.ones(2, np.int64)])
    assert mixed.dtype == tw.float32
    x = tw.ones(2, requires_grad=True)
    data.default_collate([x, x * 2]).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("batch", "kind", "words"),
    [
        ([np.zeros(2, np.float16)] * 2, TypeError, "float16"),
        ([np.uint16(3)] * 2, TypeError, "uint16"),
        ([np.zeros(2, complex)] * 2, TypeError, "complex128"),
        ([np.array(["a", "b"])] * 2, TypeError, "<U1"),
        ([np.array([None])] * 2, TypeError, "object"),
        ([1j, 2j], TypeError, "complex"),
        ([None, None], TypeError, "NoneType"),
        ([{1}, {2}], TypeError, "set"),
        ([object()], TypeError, "object"),
        ([np.zeros(2), np.zeros(3)], ValueError, r"\(2,\), \(3,\)"),
        ([tw.zeros(2), tw.zeros(3)], ValueError, r"\(2,\), \(3,\)"),
        ([tw.zeros(2), np.zeros(2)], TypeError, "ndarray"),
        ([(1, 2), (1,)], ValueError, r"\[2, 1\]"),
        ([], ValueError, "none"),
    ],
)
def test_what_no_op_takes_is_refused_where_it_enters(batch, kind, words):
    with pytest.raises(kind, match=r"^\[(default_collate|tensor)\] expected .*; got .*" + words):
        data.default_collate(batch)
