from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.data.batches import Batch
from aigc.data.catalog import Dataset
from aigc.data.stream import START, Position, Stream, windows
from aigc.errors import DataError, ShardCorrupt

WINDOW = 300
"""Smaller than a row group, so that an epoch has several windows."""


def first(stream: Stream, count: int, start: Position = START) -> list[tuple[Batch, Position]]:
    return list(itertools.islice(stream.batches(start), count))


def keys(batch: Batch) -> list[bytes]:
    return [record.numpy().tobytes() for record in batch.records]


def test_the_order_depends_on_seed_and_epoch_alone(digits: Dataset) -> None:
    once, again = (first(Stream(digits, "train", 64, seed=3, window=WINDOW), 30) for _ in range(2))
    other = first(Stream(digits, "train", 64, seed=4, window=WINDOW), 1)

    assert all(
        torch.equal(a.records, b.records) for (a, _), (b, _) in zip(once, again, strict=True)
    )
    assert not torch.equal(once[0][0].records, other[0][0].records)


def test_epochs_have_different_orders_of_the_same_records(digits: Dataset) -> None:
    stream = Stream(digits, "train", 64, seed=0, window=WINDOW)
    per_epoch = stream.batches_per_epoch
    batches = [batch for batch, _ in first(stream, 2 * per_epoch)]

    assert not torch.equal(batches[0].records, batches[per_epoch].records)


def test_an_epoch_has_each_record_at_most_once(digits: Dataset) -> None:
    stored = Counter(record.numpy().tobytes() for record in digits.records("train").stored)
    stream = Stream(digits, "train", 50, seed=0, window=WINDOW)
    decoded = [batch for batch, _ in first(stream, stream.batches_per_epoch)]
    seen = Counter(
        ((record + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()
        for batch in decoded
        for record in batch.records
    )

    assert sum(seen.values()) == stream.batches_per_epoch * 50
    assert seen <= stored


def test_labels_stay_with_their_records(digits: Dataset) -> None:
    stored = digits.records("train")
    assert stored.labels is not None
    label_of = {
        r.numpy().tobytes(): int(y) for r, y in zip(stored.stored, stored.labels, strict=True)
    }
    batch, _ = first(Stream(digits, "train", 200, seed=1, window=WINDOW), 1)[0]
    raw = ((batch.records + 1) * 127.5).round().to(torch.uint8)

    assert batch.labels is not None
    assert [label_of[r.numpy().tobytes()] for r in raw] == batch.labels.tolist()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_workers_together_see_what_one_worker_sees(digits: Dataset, size: int) -> None:
    one = first(Stream(digits, "train", 60, seed=0, window=WINDOW), 40)
    many = [
        first(Stream(digits, "train", 60, seed=0, rank=rank, size=size, window=WINDOW), 40)
        for rank in range(size)
    ]

    for step, (batch, position) in enumerate(one):
        together = torch.cat([worker[step][0].records for worker in many])
        assert torch.equal(together, batch.records)
        assert {worker[step][1] for worker in many} == {position}


@pytest.mark.parametrize("stop", [1, 5, 21, 22, 23, 44, 50])
def test_resuming_equals_never_having_stopped(digits: Dataset, stop: int) -> None:
    whole = first(Stream(digits, "train", 64, seed=0, window=WINDOW), 60)
    position = whole[stop - 1][1]
    rest = first(Stream(digits, "train", 64, seed=0, window=WINDOW), 60 - stop, position)

    for (a, after_a), (b, after_b) in zip(whole[stop:], rest, strict=True):
        assert keys(a) == keys(b)
        assert after_a == after_b


def test_what_was_consumed_is_not_read_again(digits: Dataset, tmp_path: Path) -> None:
    """Resuming in the last window must not open what lies in the windows before it."""
    stream = Stream(digits, "train", 64, seed=0, window=WINDOW)
    read: list[list[int]] = []
    original = stream._read
    stream._read = lambda groups: read.append(list(groups)) or original(groups)  # type: ignore[method-assign,func-returns-value]
    first(stream, 1, Position(0, stream.batches_per_epoch - 1))

    assert len(windows([1024, 388], 0, 0, WINDOW)) == 2
    assert len(read) == 1


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
    st.integers(0, 2**31),
    st.integers(0, 9),
    st.integers(1, 200),
)
def test_windows_hold_each_row_group_once(
    groups: list[int], seed: int, epoch: int, window: int
) -> None:
    gathered = windows(groups, seed, epoch, window)

    assert sorted(itertools.chain.from_iterable(gathered)) == list(range(len(groups)))
    assert all(sum(groups[g] for g in each) >= window for each in gathered[:-1])


def test_a_batch_larger_than_the_split_is_refused(digits: Dataset) -> None:
    with pytest.raises(DataError, match=r"1412 records, fewer than one batch of 5000.*batch_size"):
        Stream(digits, "train", 5000, seed=0)


def test_a_truncated_shard_is_named(digits: Dataset, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(digits.folder, folder)
    shard = folder / digits.shards("train")[0].path
    shard.write_bytes(shard.read_bytes()[:-100])

    with pytest.raises(ShardCorrupt, match=r"train-00000\.parquet.*aigc data verify"):
        first(Stream(Dataset(folder, digits.manifest), "train", 64, seed=0), 1)
