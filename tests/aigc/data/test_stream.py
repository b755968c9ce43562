from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numbered import Numbered, make_numbered, numbers_of

from aigc.data import reader
from aigc.data.batches import Batch
from aigc.data.catalog import Dataset
from aigc.data.mixture import Mixture
from aigc.data.reader import ShardReader
from aigc.data.stream import START, Position, Stream
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


def test_a_batch_larger_than_the_split_is_refused(digits: Dataset) -> None:
    with pytest.raises(DataError, match=r"1412 records, fewer than one batch of 5000.*batch_size"):
        Stream(digits, "train", 5000, seed=0)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("drop_last", [True, False])
def test_an_epoch_has_each_record_once(numbered: Numbered, suffix: str, drop_last: bool) -> None:
    stream = Stream(numbered(1234, suffix=suffix), "train", 100, 5, window=300, drop_last=drop_last)
    batches = [numbers_of(b) for b, _ in first(stream, 2 * stream.batches_per_epoch)]
    epochs = batches[: stream.batches_per_epoch], batches[stream.batches_per_epoch :]

    assert epochs[0] != epochs[1]
    for epoch in epochs:
        seen = sorted(itertools.chain(*epoch))
        assert len(seen) == (1200 if drop_last else 1234)
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(1234))


@given(
    records=st.integers(20, 400),
    shard_records=st.integers(10, 200),
    group_records=st.integers(1, 90),
    batch_size=st.integers(1, 60),
    window=st.integers(1, 300),
    stops=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, 2, 3, 4, 8, 64])), max_size=4),
)
@settings(max_examples=15, deadline=None)
def test_stopping_and_going_on_with_other_workers_equals_never_stopping(
    tmp_path_factory: pytest.TempPathFactory,
    records: int,
    shard_records: int,
    group_records: int,
    batch_size: int,
    window: int,
    stops: list[tuple[int, int]],
) -> None:
    assume(batch_size <= records)
    folder = tmp_path_factory.mktemp("numbered")
    dataset = make_numbered(folder, records, "any", shard_records, group_records)
    most = 4 * 30 + 5
    whole = [numbers_of(b) for b, _ in first(stream_of(dataset, batch_size, window), most)]
    seen, position = list[list[int]](), START
    for count, workers in [*stops, (5, 2)]:
        streams = [stream_of(dataset, batch_size, window, r, workers) for r in range(workers)]
        parts = [first(stream, count, position) for stream in streams]
        for together in zip(*parts, strict=True):
            seen.append([number for batch, _ in together for number in numbers_of(batch)])
            (position,) = {after for _, after in together}

    assert seen == whole[: len(seen)]


def stream_of(
    dataset: Dataset, batch_size: int, window: int, rank: int = 0, size: int = 1
) -> Stream:
    return Stream(dataset, "train", batch_size, 7, rank=rank, size=size, window=window)


def test_what_was_consumed_is_not_read_again(numbered: Numbered) -> None:
    """Of 40 row groups, resuming reads those of two windows: the one it begins in, and the next."""
    stream = Stream(numbered(2000), "train", 50, seed=0, window=200)
    read = list[int]()
    feed = stream._feeds[0]
    original = feed._row_group
    feed._row_group = lambda group, is_whole: read.append(group) or original(group, is_whole)  # type: ignore[method-assign,func-returns-value]
    first(stream, 1, Position(0, 30))

    assert 4 <= len(set(read)) <= 10


def test_memory_is_used_again_and_batches_stay_what_they_were(numbered: Numbered) -> None:
    stream = Stream(numbered(1000), "train", 10, seed=0, window=50)
    kept = first(stream, 300)
    fresh = first(stream, 300)

    assert [numbers_of(b) for b, _ in kept] == [numbers_of(b) for b, _ in fresh]
    for batch, _ in kept:
        assert batch.labels is not None
        assert batch.labels.tolist() == [number % 10 for number in numbers_of(batch)]


def test_row_groups_larger_than_the_window_are_read_once_for_it(
    numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[tuple[str, int]]()
    original = ShardReader.read

    def counted(shard: ShardReader, number: int, rows: int) -> Iterator[pa.RecordBatch]:
        read.append((shard._name, number))
        return original(shard, number, rows)

    monkeypatch.setattr(ShardReader, "read", counted)
    stream = Stream(numbered(1000, group_records=500), "train", 10, seed=0, window=50)
    seen = [number for batch, _ in first(stream, 100) for number in numbers_of(batch)]

    assert sorted(seen) == list(range(1000))
    assert len(read) <= 3


def test_a_row_group_that_is_too_large_to_be_kept_is_read_again(
    numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a second reading of the same stream, when the first has closed its files."""
    stream = Stream(numbered(500, group_records=500), "train", 10, seed=0, window=50)
    kept = [numbers_of(batch) for batch, _ in first(stream, 100)]
    monkeypatch.setattr(reader, "LARGEST_KEPT", 0)
    again = Stream(numbered(500, group_records=500), "train", 10, seed=0, window=50)

    for _ in range(2):
        assert [numbers_of(batch) for batch, _ in first(again, 100)] == kept


def test_a_mixture_has_each_dataset_in_every_batch_by_its_share(numbered: Numbered) -> None:
    one, other = numbered(1000), numbered(300, "other", first=5000)
    stream = Stream(Mixture(one, (other, 0.25)), "train", 40, seed=0, window=200)
    batches = [numbers_of(batch) for batch, _ in first(stream, 60)]
    of_one = [n for batch in batches for n in batch if n < 5000]
    of_other = [n for batch in batches for n in batch if n >= 5000]

    assert all(sum(n >= 5000 for n in batch) == 10 for batch in batches)
    assert len(set(of_one[:990])) == 990
    assert sorted(of_other[:300]) == list(range(5000, 5300))
    assert stream.batches_per_epoch == 1300 // 40


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_a_mixture_is_the_same_on_any_number_of_workers(numbered: Numbered, workers: int) -> None:
    mixture = Mixture(numbered(1000), (numbered(300, "other", first=5000), 0.3))
    start = Position(1, 7)
    whole = first(Stream(mixture, "train", 30, 0, window=100), 50, start)
    parts = [
        first(Stream(mixture, "train", 30, 0, rank, workers, window=100), 50, start)
        for rank in range(workers)
    ]

    for (batch, after), *together in zip(whole, *parts, strict=True):
        assert numbers_of(batch) == [n for part, _ in together for n in numbers_of(part)]
        assert {position for _, position in together} == {after}


def test_the_same_records_twice_in_a_mixture_are_not_in_step(numbered: Numbered) -> None:
    dataset = numbered(1000)
    batches = first(Stream(Mixture(dataset, (dataset, 0.5)), "train", 40, seed=0), 20)
    numbers = [numbers_of(batch) for batch, _ in batches]

    assert all(batch[:20] != batch[20:] for batch in numbers)


def test_every_batch_of_a_mixture_is_whole(numbered: Numbered) -> None:
    mixture = Mixture(numbered(103), (numbered(57, "other", first=5000), 0.3))
    batches = first(Stream(mixture, "train", 10, seed=0, drop_last=False), 60)

    assert {len(batch.records) for batch, _ in batches} == {10}


@pytest.mark.parametrize("workers", [1, 3])
def test_how_many_threads_read_changes_nothing(numbered: Numbered, workers: int) -> None:
    """One reads ahead only while batches are used, several always do."""
    dataset = numbered(2000, group_records=70)
    alone, several = (Stream(dataset, "train", 20, 0, 0, workers, window=150) for _ in range(2))
    several._feeds[0]._readers = 4

    for (one, _), (other, _) in zip(first(alone, 250), first(several, 250), strict=True):
        assert numbers_of(one) == numbers_of(other)


def test_a_mixture_of_different_layouts_is_refused(numbered: Numbered, digits: Dataset) -> None:
    with pytest.raises(DataError, match=r"digits@\w+ has records of image 1×8×8.*image 1×2×4"):
        Mixture(numbered(10), (digits, 0.5))


def test_a_share_of_less_than_a_record_is_refused(numbered: Numbered) -> None:
    mixture = Mixture(numbered(100), (numbered(100, "other"), 0.01))
    with pytest.raises(DataError, match=r"other@v1 would have no record in a batch of 10"):
        Stream(mixture, "train", 10, 0)


def test_a_damaged_shard_stops_the_stream_wherever_it_is_read(numbered: Numbered) -> None:
    dataset = numbered(1000)
    (dataset.folder / dataset.manifest.shards[1].path).unlink()

    with pytest.raises(ShardCorrupt, match=r"train-00001\.parquet: it is missing"):
        first(Stream(dataset, "train", 100, seed=0, window=100), 10)


def test_leaving_the_stream_ends_its_threads(numbered: Numbered) -> None:
    batches = Stream(numbered(1000), "train", 10, seed=0, window=50).batches()
    next(batches), next(batches)
    assert any(thread.name.startswith("stream") for thread in threading.enumerate())
    batches.close()

    assert not any(thread.name.startswith("stream") for thread in threading.enumerate())


@pytest.mark.gpu
def test_a_gpu_gets_what_a_cpu_gets(numbered: Numbered) -> None:
    dataset, device = numbered(1000), torch.device("cuda")
    here = first(Stream(dataset, "train", 40, 0, window=200), 60)
    on_gpu = first(Stream(dataset, "train", 40, 0, window=200, device=device), 60)

    for (one, _), (other, _) in zip(here, on_gpu, strict=True):
        assert other.records.device.type == "cuda"
        # Not by `to`, which would not wait for the copy.
        there = Batch(other.records.cpu(), None if other.labels is None else other.labels.cpu())
        assert numbers_of(there) == numbers_of(one)
