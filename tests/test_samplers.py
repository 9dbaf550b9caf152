"""Samplers, joined datasets and the loader's other arguments, as torch.utils.data has them."""

import numpy as np
import pytest

import tilework as tw
from tilework.utils import data
from tilework.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)


def test_names_are_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch, whose names these are, is not installed")
    assert set(data.__all__) <= set(dir(torch.utils.data))


def test_random_samplers():
    tw.manual_seed(1)
    for make in (lambda g: RandomSampler(range(10), generator=g),
                 lambda g: SubsetRandomSampler(list(range(10)), generator=g)):  # fmt: skip
        for generator in (None, 3):
            sampler = make(generator)
            first, second = list(sampler), list(sampler)
            assert sorted(first) == sorted(second) == list(range(10))
            assert first != second
            assert len(sampler) == 10
        assert list(make(3)) == list(make(3))
    drawn = list(RandomSampler(range(4), num_samples=10, generator=1))
    assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [0, 1, 2, 3]
    assert len(set(drawn[8:])) == 2
    for generator in (None, 5):
        drawn = list(RandomSampler(range(4), True, 4000, generator))
        assert np.abs(np.bincount(drawn) / 4000 - 0.25).max() < 5 * np.sqrt(0.1875 / 4000)


@pytest.mark.parametrize("generator", [None, 2])
def test_weighted_sampler(generator):
    tw.manual_seed(2)
    weights = tw.tensor([1.0, 0.0, 3.0])
    drawn = list(WeightedRandomSampler(weights, 4000, generator=generator))
    share = np.bincount(drawn, minlength=3) / 4000
    assert np.abs(share - [0.25, 0, 0.75]).max() < 5 * np.sqrt(0.1875 / 4000)
    assert sorted(WeightedRandomSampler([1.0, 0.0, 3.0], 2, False, generator)) == [0, 2]
    with pytest.raises(ValueError, match="3 weights above 0"):
        WeightedRandomSampler([1.0, 0.0, 3.0], 3, replacement=False)
    with pytest.raises(ValueError, match="num_samples"):
        WeightedRandomSampler([1.0], 0)


def test_batches_of_a_sampler():
    samples = TensorDataset(np.arange(7))
    sampler = BatchSampler(SequentialSampler(samples), 3, drop_last=True)
    assert list(sampler) == [[0, 1, 2], [3, 4, 5]]
    assert len(sampler) == 2
    loader = DataLoader(samples, batch_sampler=[[6, 0], [3]])
    assert [b.tolist() for (b,) in loader] == [[6, 0], [3]]
    assert len(loader) == 2
    loader = DataLoader(samples, batch_sampler=sampler, collate_fn=len)
    assert list(loader) == [3, 3]
    for how in ({"batch_size": 2}, {"shuffle": True}, {"sampler": [1]}, {"drop_last": True}):
        with pytest.raises(ValueError, match=r"^\[DataLoader\] expected a batch_sampler alone"):
            DataLoader(samples, batch_sampler=sampler, **how)


def test_arguments_of_workers_change_nothing():
    samples = TensorDataset(np.arange(5))
    loader = DataLoader(
        samples, 2, False, num_workers=4, pin_memory=True, worker_init_fn=print, timeout=3,
        prefetch_factor=2, persistent_workers=True, multiprocessing_context="spawn",
    )  # fmt: skip
    assert [b.tolist() for (b,) in loader] == [[0, 1], [2, 3], [4]]
    assert data.get_worker_info() is None


def test_joined_datasets():
    both = ConcatDataset([TensorDataset(np.arange(3)), TensorDataset(np.arange(10, 12))])
    assert [x.item() for (x,) in (both[i] for i in range(5))] == [0, 1, 2, 10, 11]
    assert both[-1][0].item() == 11
    assert [b.tolist() for (b,) in DataLoader(both, 4)] == [[0, 1, 2, 10], [11]]
    with pytest.raises(IndexError, match="ConcatDataset"):
        both[5]
    beside = StackDataset(x=np.arange(3), y=["a", "b", "c"])
    batch = next(iter(DataLoader(beside, 3)))
    assert batch["x"].tolist() == [0, 1, 2]
    assert batch["y"] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="one length"):
        StackDataset([1], [1, 2])
    chained = data.ChainDataset([iter([1, 2]), iter([3])])
    assert [b.tolist() for b in DataLoader(chained, 2)] == [[1, 2], [3]]
