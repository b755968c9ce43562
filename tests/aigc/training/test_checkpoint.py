"""A checkpoint is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import importlib.util
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aigc.errors import ArtifactCorrupt, WorkspaceUnwritable
from aigc.training import checkpoint
from aigc.training.checkpoint import CheckpointWriter, restore_newest, save_checkpoint
from aigc.training.state import TrainingState

SCRIPT = Path(__file__).with_name("checkpoint_saver.py")

_found = importlib.util.spec_from_file_location("checkpoint_saver", SCRIPT)
assert _found is not None
assert _found.loader is not None
saver = importlib.util.module_from_spec(_found)
_found.loader.exec_module(saver)

NOTES = {"sums": {"only/loss": (0.1 + 0.2, 3)}, "journal": 17}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of steps 10 and 20."""
    for step in (10, 20):
        save_checkpoint(tmp_path / "checkpoints", saver.state_at(step))
    return tmp_path / "checkpoints"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def restored(folder: Path) -> int:
    """The step that is restored, after a look at whether all weights are of it."""
    state: TrainingState = saver.state_at(0)
    assert restore_newest(folder, state) is not None
    values = {float(value) for p in state.model.parameters() for value in p.detach().unique()}
    assert values == {float(state.step)}
    return state.step


def test_killed_at_any_call_of_the_disk_the_old_or_the_new_is_there(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "crashed").mkdir()
    words = [sys.executable, str(SCRIPT), str(folder), str(tmp_path / "crashed")]
    subprocess.run(words, check=True, timeout=120)
    crashed = sorted((tmp_path / "crashed").iterdir())
    steps = [restored(each) for each in crashed]

    assert len(crashed) > 25
    assert steps == sorted(steps)
    assert set(steps) == {20, 30}
    assert names(crashed[-1]) == ["step-00000020", "step-00000030"]
    for each in crashed:
        writer = CheckpointWriter(each)
        writer.save(saver.state_at(40), NOTES)
        writer.close()
        assert names(each)[-1] == "step-00000040"
        assert len(names(each)) == 2
        assert restored(each) == 40


@pytest.mark.parametrize("name", ["tensors.safetensors", "plain.json", "hashes.json"])
def test_any_flipped_byte_is_found(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "step-00000020" / name
    content = path.read_bytes()
    places = range(0, len(content), max(1, len(content) // 150))
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert restored(folder) == 10
    path.write_bytes(content)

    assert len(caplog.messages) == len(places)
    assert restored(folder) == 20


def test_all_damaged_is_an_error_and_not_step_0(folder: Path) -> None:
    for path in folder.glob("*/tensors.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ArtifactCorrupt):
        restore_newest(folder, saver.state_at(0))


def test_an_older_one_stays_until_two_newer_ones_are_whole(folder: Path) -> None:
    (folder / "step-00000020" / "plain.json").write_text("{}")
    save_checkpoint(folder, saver.state_at(30))
    assert names(folder) == ["step-00000010", "step-00000020", "step-00000030"]
    save_checkpoint(folder, saver.state_at(40))
    assert names(folder) == ["step-00000030", "step-00000040"]


def test_what_is_there_and_whole_is_not_written_again(folder: Path) -> None:
    before = (folder / "step-00000020" / "hashes.json").stat().st_ino
    save_checkpoint(folder, saver.state_at(20))
    assert (folder / "step-00000020" / "hashes.json").stat().st_ino == before
    (folder / "step-00000020" / "plain.json").write_text("{}")
    save_checkpoint(folder, saver.state_at(20))
    assert restored(folder) == 20


def test_what_was_noted_comes_back(folder: Path) -> None:
    save_checkpoint(folder, saver.state_at(30), **NOTES)
    plain = restore_newest(folder, saver.state_at(0))

    assert plain is not None
    assert plain["sums"] == {"only/loss": [0.1 + 0.2, 3]}
    assert plain["journal"] == 17


def test_a_step_does_not_wait_for_the_disk_and_the_next_checkpoint_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, write, state = threading.Semaphore(0), checkpoint.write_tensors, saver.state_at(10)

    def slow(*arguments: object) -> str:
        assert free.acquire(timeout=30)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint, "write_tensors", slow)
    writer = CheckpointWriter(tmp_path)
    writer.save(state, {})
    assert names(tmp_path) == []
    for parameter in state.model.parameters():
        parameter.data.fill_(77)
    threading.Timer(0.1, free.release).start()
    writer.save(saver.state_at(20), {})
    assert restored(tmp_path) == 10
    free.release()
    writer.close()
    assert restored(tmp_path) == 20


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of more than 4 KiB are refused, as a full disk refuses them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_heard_and_takes_nothing(folder: Path) -> None:
    writer = CheckpointWriter(folder)
    with full_disk():
        writer.save(saver.state_at(30), {})
        with pytest.raises(WorkspaceUnwritable, match="step-00000030"):
            writer.save(saver.state_at(40), {})
        writer.save(saver.state_at(40), {})
        with pytest.raises(WorkspaceUnwritable, match="step-00000040"):
            writer.close()
    assert names(folder) == ["step-00000010", "step-00000020"]
    assert restored(folder) == 20

    again = CheckpointWriter(folder)
    again.save(saver.state_at(30), {})
    again.close()
    assert restored(folder) == 30


def test_what_a_killed_writer_left_is_removed(folder: Path) -> None:
    shutil.copytree(folder / "step-00000020", folder / ".step-00000030.0123abcd.partial")
    CheckpointWriter(folder).close()

    assert names(folder) == ["step-00000010", "step-00000020"]
