"""Whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aigc.data.files import (
    digest_of,
    put_if_absent,
    sha256_of,
    write_json,
    write_text,
    writing,
)
from aigc.data.shards import table_of, write_shard
from aigc.errors import WorkspaceUnwritable
from aigc.layout import Layout
from aigc.training.tensors import write_tensors


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


class Stopped(Exception):
    """What goes wrong in the middle."""


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("there", [True, False])
def test_what_stops_halfway_leaves_the_old_file_or_none(
    error: type[BaseException], there: bool, tmp_path: Path
) -> None:
    target = tmp_path / "file"
    if there:
        target.write_text("old")
    with pytest.raises(error), writing(target) as partial:  # noqa: PT012
        partial.write_text("half")
        raise error

    assert names(tmp_path) == (["file"] if there else [])
    assert not there or target.read_text() == "old"


def test_a_file_is_seen_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    with writing(target) as partial:
        partial.write_text("new")
        assert not target.exists()
        assert partial.parent == target.parent

    assert target.read_text() == "new"
    assert names(tmp_path) == ["file", "folder"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceUnwritable, match="cannot write"), writing(tmp_path / "file"):
        pass

    assert names(tmp_path) == []


def test_what_no_json_can_hold_replaces_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    write_json(target, {"figure": 1.5, "name": "ü"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"figure": float("nan")})

    assert target.read_text() == '{\n  "figure": 1.5,\n  "name": "ü"\n}\n'
    assert names(tmp_path) == ["file.json"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for write in (write_text, put_if_absent):
        with pytest.raises(WorkspaceUnwritable, match=r"cannot write .*file/\.?below"):
            write(tmp_path / "file" / "below", "text")

    assert (tmp_path / "file").read_text() == "mine"


def test_only_the_first_puts_and_the_second_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"

    assert put_if_absent(target, "first") is True
    assert put_if_absent(target, "second") is False
    assert target.read_text() == "first"
    assert names(tmp_path) == ["file"]


def test_of_many_that_put_at_once_one_wins(tmp_path: Path) -> None:
    target, start = tmp_path / "file", threading.Barrier(8)
    won: list[str] = []

    def put(text: str) -> None:
        start.wait()
        if put_if_absent(target, text):
            won.append(text)

    threads = [threading.Thread(target=put, args=(f"text {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [target.read_text()] == won
    assert names(tmp_path) == ["file"]


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond 4 kB: the system refuses as a full disk does.

    Only for the writes themselves, since pytest's own output may be a longer file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", ["text", "shard", "tensors"])
def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written(
    what: str, tmp_path: Path
) -> None:
    source = torch.Generator().manual_seed(0)
    with full_disk(), pytest.raises(WorkspaceUnwritable, match="cannot write") as error:  # noqa: PT012
        if what == "text":
            write_text(tmp_path / "file", "x" * 10_000)
        elif what == "shard":
            pixels = torch.randint(256, (200, 1, 8, 8), generator=source).to(torch.uint8)
            layout = Layout(modality="image", shape=(1, 8, 8))
            write_shard(tmp_path, "file", "train", table_of(pixels, None, layout))
        else:
            write_tensors(tmp_path, {"weights": torch.zeros(5000)}, {})

    assert "Free some space" in error.value.next_step
    assert names(tmp_path) == []


def test_digests_depend_on_content_and_not_on_order(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")

    assert digest_of({"a": 1, "b": [2, "ü"]}) == digest_of({"b": [2, "ü"], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert sha256_of(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
