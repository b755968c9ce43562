"""A dataset is in the bucket once, or not at all: a real server with S3's interface."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from object_store import BUCKET, KEY, SECRET, ObjectStore

from aigc.data.adopt import adopt
from aigc.data.catalog import Dataset, publish
from aigc.data.manifest import MANIFEST, Manifest
from aigc.data.shards import table_of, write_shard
from aigc.data.verification import verify
from aigc.errors import FactoryError, ShardCorrupt, StorageUnavailable
from aigc.layout import Layout
from cluster.bucket import PROBE, Bucket
from cluster.errors import BucketDiffers, BucketRefused
from jobs.errors import exit_code

LAYOUT = Layout(modality="image", shape=(1, 4, 4), labels=tuple("0123456789"))
TO = f"s3://{BUCKET}/nights"
FILES = ("report.html", "report.json")
UPLOAD = Path(__file__).parents[1] / "fixtures" / "killed_upload.py"
FOLDER = "nights/night/v1/"


@pytest.fixture
def store(object_store: ObjectStore) -> ObjectStore:
    return object_store


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Published in a workspace: three shards and a report."""
    return made(tmp_path / "datasets" / "night" / "v1")


def made(folder: Path, created: str = "2026-11-27T06:00:00+00:00", seed: int = 0) -> Dataset:
    source, shards = torch.Generator().manual_seed(seed), []
    for number in range(3):
        images = torch.randint(256, (10, *LAYOUT.shape), generator=source).to(torch.uint8)
        table = table_of(images, torch.arange(10), LAYOUT)
        shards.append(write_shard(folder, f"shards/generated-{number}.parquet", "generated", table))
    for name in FILES:
        (folder / name).write_text(f"of {created}")
    return publish(
        folder,
        Manifest(
            name="night",
            version="v1",
            created=created,
            layout=LAYOUT,
            columns={field.name: str(field.type) for field in table.schema},
            shards=tuple(shards),
            source={},
        ),
    )


def put(dataset: Dataset) -> str:
    return Bucket(TO).publish(dataset, FILES, lambda done: None)


def on_disk(dataset: Dataset) -> dict[str, bytes]:
    files = (path for path in dataset.folder.rglob("*") if path.is_file())
    return {path.relative_to(dataset.folder).as_posix(): path.read_bytes() for path in files}


def test_what_is_put_is_what_is_on_the_disk_and_the_manifest_is_last(store, dataset) -> None:
    heard: list[int] = []
    location = Bucket(TO).publish(dataset, FILES, heard.append)

    assert location == f"{TO}/night/v1"
    assert store.content(FOLDER) == on_disk(dataset)
    assert len(on_disk(dataset)) == 6
    puts = [each for each in store.seen if each.startswith(f"PUT /{BUCKET}/{FOLDER}")]
    assert puts[-1].endswith(MANIFEST)
    assert heard == [1, 2, 3, 4, 5]


def test_what_was_put_can_be_adopted_and_verified(store, dataset, tmp_path: Path) -> None:
    found, _ = adopt(tmp_path / "elsewhere", put(dataset), "seen")

    assert [shard.footer for shard in found.manifest.shards] == [
        shard.footer for shard in dataset.manifest.shards
    ]
    assert verify(found) == []


def test_once_published_it_is_not_put_again(store, dataset) -> None:
    put(dataset)
    store.seen.clear()

    assert put(dataset) == f"{TO}/night/v1"
    assert store.seen == [f"GET /{BUCKET}/{FOLDER}{MANIFEST}"]


def test_the_same_samples_of_another_workspace_are_the_same_dataset(
    store, dataset, tmp_path: Path
) -> None:
    put(dataset)
    before = store.content(FOLDER)
    put(made(tmp_path / "other", created="2026-11-28T06:00:00+00:00"))

    assert store.content(FOLDER) == before


@pytest.mark.parametrize("name", ["shards/generated-2.parquet", "report.json", MANIFEST])
@pytest.mark.parametrize("content", [b"", b"other"])
def test_other_content_is_an_error_and_stays(store, dataset, name: str, content: bytes) -> None:
    store.client.put_object(Bucket=BUCKET, Key=FOLDER + name, Body=content)
    with pytest.raises(BucketDiffers, match=name) as error:
        put(dataset)

    assert exit_code(error.value) == 100
    assert store.content(FOLDER)[name] == content
    assert name == MANIFEST or MANIFEST not in store.content(FOLDER)


def test_another_dataset_of_that_version_is_an_error(store, dataset, tmp_path: Path) -> None:
    put(dataset)
    before = store.content(FOLDER)
    with pytest.raises(BucketDiffers, match=MANIFEST):
        put(made(tmp_path / "other", seed=1))

    assert store.content(FOLDER) == before


@pytest.mark.parametrize("name", ["shards/generated-1.parquet", "report.html"])
def test_what_was_damaged_since_is_not_put(store, dataset, name: str) -> None:
    (dataset.folder / name).unlink()
    if name.endswith("parquet"):
        (dataset.folder / name).write_bytes(b"damaged")
    with pytest.raises(ShardCorrupt, match=name):
        put(dataset)

    assert not {name, MANIFEST} & store.content(FOLDER).keys()


def test_publishers_at_the_same_time_and_a_reader_who_sees_all_or_nothing(store, dataset) -> None:
    seen, first, done = list[bool](), threading.Event(), threading.Event()
    whole = on_disk(dataset)

    def read() -> None:
        while not (done.is_set() and seen[-1]):
            names = store.client.list_objects_v2(Bucket=BUCKET, Prefix=FOLDER).get("Contents", [])
            is_published = any(each["Key"].endswith(MANIFEST) for each in names)
            assert not is_published or store.content(FOLDER) == whole
            seen.append(is_published)
            first.set()

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        first.wait()
        publishers = [pool.submit(put, dataset) for _ in range(4)]
        assert [each.result() for each in publishers] == [f"{TO}/night/v1"] * 4
        done.set()
        reader.result()

    assert (seen[0], seen[-1]) == (False, True)
    assert store.content(FOLDER) == whole


@pytest.fixture
def killed(dataset: Dataset, store: ObjectStore) -> Iterator[Callable[[str], str]]:
    """Upload until a step of which one says "before 3 s3://…"; what became of it."""
    command = [sys.executable, str(UPLOAD), str(dataset.folder), *FILES]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def kill(step: str) -> str:
            asked.write(f"{step}\n")
            asked.flush()
            return answers.readline().strip()

        yield kill
        asked.close()


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_killed_at_any_step_and_begun_again_it_is_there_once(
    store, dataset, killed, when: str
) -> None:
    whole, steps = on_disk(dataset), len(on_disk(dataset)) + 1
    for step in range(1, steps + 1):
        to = f"s3://{BUCKET}/{step}"
        assert killed(f"{when} {step} {to}") == "killed"
        there = store.content(f"{step}/night/v1/")
        assert there.items() <= whole.items()
        assert (MANIFEST in there) is ((when, step) == ("after", steps))
        Bucket(to).publish(dataset, FILES, lambda done: None)
        assert store.content(f"{step}/night/v1/") == whole


def test_a_store_is_asked_whether_it_keeps_what_is_there(store) -> None:
    for _ in range(2):
        Bucket(TO).require_put_if_absent()
        assert list(store.content()) == [f"nights/{PROBE}"]

    store.forgetful = True
    with pytest.raises(BucketRefused, match="replaces objects in spite of If-None-Match") as error:
        Bucket(TO).require_put_if_absent()
    assert exit_code(error.value) == 2


def test_a_store_that_refuses_the_header_is_refused(store) -> None:
    store.fault = lambda request: 501
    with pytest.raises(BucketRefused, match="Fault501"):
        Bucket(TO).require_put_if_absent()


@pytest.mark.parametrize("status", [503, 409])
def test_what_passes_is_asked_again(store, dataset, status: int) -> None:
    hit = set[str]()

    def once(request: str) -> int | None:
        is_new = request.startswith("PUT") and request not in hit
        hit.add(request)
        return status if is_new else None

    store.fault = once
    put(dataset)

    assert store.content(FOLDER) == on_disk(dataset)
    assert len([each for each in store.seen if each.startswith("PUT")]) == 13


def test_what_does_not_pass_is_told_and_the_next_time_only_the_rest_is_put(store, dataset) -> None:
    store.fault = lambda request: 503 if "generated-2" in request else None
    with pytest.raises(StorageUnavailable, match=r"cannot take s3://.*-2.*Fault503") as error:
        put(dataset)
    assert exit_code(error.value) == 100
    there = store.content(FOLDER)
    assert MANIFEST not in there
    store.fault = lambda request: None
    put(dataset)

    assert store.content(FOLDER) == on_disk(dataset)


def refusal() -> FactoryError:
    with pytest.raises(FactoryError) as error:
        Bucket(TO).require_put_if_absent()
    said = repr(error.value) + str(error.value.__cause__)
    assert SECRET not in said
    assert KEY not in said
    assert error.value.__suppress_context__
    return error.value


def test_wrong_credentials_are_a_sentence(store) -> None:
    store.require_credentials()
    error = refusal()

    assert isinstance(error, BucketRefused)
    assert "InvalidAccessKeyId" in error.what


def test_no_credentials_are_a_sentence(store, monkeypatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    error = refusal()

    assert isinstance(error, BucketRefused)
    assert "no credentials" in error.what


def test_no_bucket_is_a_sentence(store) -> None:
    store.client.delete_bucket(Bucket=BUCKET)
    error = refusal()

    assert isinstance(error, BucketRefused)
    assert "NoSuchBucket" in error.what


@pytest.mark.parametrize("address", [f"http://user:{SECRET}@[", f"user:{SECRET}"])
def test_an_address_that_is_none_is_a_sentence(store, monkeypatch, address: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)

    assert isinstance(refusal(), BucketRefused)


def test_a_store_that_is_gone_is_a_sentence(store, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:1")
    error = refusal()

    assert isinstance(error, StorageUnavailable)
    assert exit_code(error) == 100
