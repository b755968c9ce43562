"""Shards in a bucket: a real server, whose answers a proxy spoils."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from aigc.data import storage
from aigc.data.adopt import adopt
from aigc.data.batches import Batch
from aigc.data.catalog import Dataset
from aigc.data.reader import OpenShards
from aigc.data.storage import Location
from aigc.data.stream import START, Position, Stream
from aigc.errors import ImportRefused, ShardCorrupt, StorageUnavailable

Upload = Callable[[Dataset], Dataset]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(storage, "ATTEMPTS", 4)


def epoch(dataset: Dataset, start: Position = START) -> list[Batch]:
    stream = Stream(dataset, "train", 50, seed=1, window=200, drop_last=False)
    rest = stream.batches_per_epoch - start.batch
    return [batch for batch, _ in itertools.islice(stream.batches(start), rest)]


def same(ones: list[Batch], others: list[Batch]) -> bool:
    return all(
        torch.equal(one.records, other.records) and torch.equal(one.labels, other.labels)
        for one, other in zip(ones, others, strict=True)
        if one.labels is not None and other.labels is not None
    )


def test_a_bucket_gives_the_batches_that_the_disk_gives(made, uploaded: Upload) -> None:
    there = uploaded(made)

    assert not there.location.is_local
    assert sum(len(batch.records) for batch in epoch(made)) == 600
    assert same(epoch(there), epoch(made))
    assert same(epoch(there, Position(0, 10)), epoch(made)[10:])


def test_a_bucket_is_adopted_as_a_folder_is(made, uploaded: Upload, tmp_path: Path) -> None:
    there, _ = adopt(tmp_path, uploaded(made).location.uri, "made")

    assert there.manifest.shards == made.manifest.shards
    assert there.manifest.layout == made.manifest.layout


@pytest.mark.parametrize("fault", [503, 500, "cut", "hang up"])
def test_no_record_is_lost_or_repeated_however_often_reads_fail(
    fault, made, uploaded: Upload, proxy
) -> None:
    there = uploaded(made)
    proxy.fault = lambda request, nth: fault if nth < 2 else None

    assert same(epoch(there), epoch(made))
    reads = [count for request, count in proxy.seen.items() if request.startswith("GET")]
    assert len(reads) >= 12
    assert min(reads) > 2


def test_an_answer_that_does_not_come_is_asked_for_again(parquet, uploaded: Upload, proxy) -> None:
    there = uploaded(parquet)
    first = itertools.count()
    proxy.fault = lambda request, nth: "stall" if next(first) == 5 else None

    assert same(epoch(there), epoch(parquet))
    assert next(first) > 12


@pytest.mark.parametrize("fault", [503, "hang up"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_storage_that_stays_away_is_named_after_so_many_attempts(
    fault, method: str, made, uploaded: Upload, proxy
) -> None:
    there = uploaded(made)
    proxy.fault = lambda request, nth: fault if request.startswith(method) else None

    with pytest.raises(StorageUnavailable, match=r"s3://bucket/\w+/0\.") as error:
        list(there.read("train"))
    assert "Check the endpoint" in error.value.next_step
    asked = [count for request, count in proxy.seen.items() if request.startswith(method)]
    # What fails on a connection that was used before, curl itself tries on a new one.
    assert asked in ([storage.ATTEMPTS], [storage.ATTEMPTS + 1])


def test_storage_that_goes_away_in_mid_epoch_is_named(made, uploaded: Upload, proxy) -> None:
    batches = Stream(uploaded(made), "train", 50, seed=1, window=50).batches()
    next(batches)
    proxy.fault = lambda request, nth: 503

    with pytest.raises(StorageUnavailable, match="s3://bucket/"):
        list(itertools.islice(batches, 12))


def test_a_server_that_is_gone_is_named(parquet, uploaded: Upload, proxy) -> None:
    there = uploaded(parquet)
    proxy.shutdown()
    proxy.server_close()

    with pytest.raises(StorageUnavailable, match=r"s3://bucket/.*connect"):
        epoch(there)


@pytest.mark.parametrize("status", [401, 403])
def test_a_right_that_lacks_is_not_asked_for_again(
    status: int, made, uploaded: Upload, proxy, tmp_path: Path
) -> None:
    there = uploaded(made)
    proxy.fault = lambda request, nth: status

    with pytest.raises(StorageUnavailable, match="credentials"):
        list(there.read("train"))
    with pytest.raises(StorageUnavailable, match=r"s3://bucket/\w+:.*credentials"):
        adopt(tmp_path, there.location.uri, "made")
    assert set(proxy.seen.values()) == {1}


def test_a_missing_object_is_no_matter_of_the_storage(made, uploaded: Upload, proxy) -> None:
    there = uploaded(made)
    nowhere = {"location": proxy.uri("elsewhere")}

    with pytest.raises(ShardCorrupt, match=r"s3://bucket/elsewhere/\d\.\w+: it is missing"):
        list(Dataset(there.folder, there.manifest.model_copy(update=nowhere)).read("train"))
    assert set(proxy.seen.values()) == {1}


@pytest.mark.parametrize("folder", ["nothing", "../nobucket/folder"])
def test_an_empty_place_is_not_adopted(folder: str, s3, proxy, tmp_path: Path) -> None:
    uri = proxy.uri(folder).replace("bucket/../", "")

    with pytest.raises((ImportRefused, StorageUnavailable), match="s3://") as error:
        adopt(tmp_path, uri, "made")
    assert "endpoint_override" not in str(error.value)
    assert set(proxy.seen.values()) == {1}


def test_eight_threads_read_one_shard_and_one_failure_is_theirs_alone(
    made, uploaded: Upload, proxy
) -> None:
    there = uploaded(made)
    shards = OpenShards(there.location, there.manifest, 4)
    every = [(shard, group) for shard in there.manifest.shards for group in shard.readable]

    def count(place) -> int:
        return sum(len(records.stored) for records in shards.row_group(*place).records())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(count, every * 3)) == [50] * 36
        proxy.fault = lambda request, nth: 503
        failures = [pool.submit(count, place) for place in every]
        assert {type(failure.exception()) for failure in failures} == {StorageUnavailable}
        proxy.fault = lambda request, nth: None
        assert list(pool.map(count, every)) == [50] * 12
    shards.close()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:secret@bucket/folder?region=us-east-1", "s3://bucket/folder"),
        ("s3://key:sec/ret@bucket/folder", "s3://bucket/folder"),
        ("s3://key:sec ret@bucket/folder", "s3://bucket/folder"),
        ("s3://bucket/images@2x/folder", "s3://bucket/images@2x/folder"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs"),
        ("file:///a%20folder", "/a folder"),
    ],
)
def test_a_location_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert str(Location(uri)).startswith(shown)
    assert "ret" not in str(Location(uri))


@pytest.mark.parametrize(
    "uri", ["s3://key:sec/ret@b/f", "s3://key:secret@b/f?bogus=1", "s3://[x", "odd://x"]
)
def test_a_uri_that_cannot_be_used_is_told_without_its_secrets(uri: str) -> None:
    with pytest.raises(StorageUnavailable, match=r"cannot use (s3|odd)://") as error:
        Location(uri).files()
    assert "ret" not in str(error.value)
    assert error.value.__cause__ is None
