"""Parquet that a team already has: adopted, trained on, damaged, and trained on without."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc.data.catalog import Dataset, find
from aigc.models.artifact import load_model
from jobs.cli import main
from jobs.commands import data

SPEC = """kind: train
name: lake
data: {dataset: lake, stream: {window: 256}}
model: {family: vae, latent_size: 4, width: 8, mixture: 2}
training: {steps: 30, batch_size: 32, report_every: 10, checkpoint_every: 15}
resources: {workers: 1}
registry: {model: lake}
"""
NAMES = [f"digit {number}" for number in range(10)]
GROUP = 100


class Said(NamedTuple):
    code: int
    stdout: str
    stderr: str


class Place(NamedTuple):
    """A folder of a team, and this installation's workspace."""

    lake: Path
    workspace: Path

    def aigc(self, *words: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--workspace", str(self.workspace), *words])
        return Said(code, out.getvalue(), err.getvalue())

    def submit(self, *settings: str) -> Said:
        spec = self.workspace.parent / "lake.yaml"
        spec.write_text(SPEC)
        changes = [word for setting in settings for word in ("--set", setting)]
        return self.aigc("submit", str(spec), "--on", "here", "-o", "json", *changes)

    @property
    def dataset(self) -> Dataset:
        return find(self.workspace / "datasets", "lake")


@pytest.fixture(scope="module")
def place(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The digits as Hugging Face writes them: PNG files in a struct, with the classes' names."""
    root = tmp_path_factory.mktemp("adopted")
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split in ("train", "test"):
        records = digits.records(split)
        assert records.labels is not None
        rows = [{"bytes": png(image[0].numpy()), "path": None} for image in records.stored]
        images = pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
        table = pa.table({"image": images, "label": records.labels.numpy()}, metadata=metadata)
        path = root / "lake" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=GROUP, write_page_checksum=True)
    return Place(root / "lake", root / "workspace")


def png(pixels: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_folder_is_adopted_trained_on_damaged_and_trained_on_without(
    place: Place, digits: Dataset
) -> None:
    adopted = place.aigc("data", "adopt", str(place.lake), "--name", "lake", "-o", "json")
    assert adopted.code == 0, adopted.stderr
    assert f"adopted {place.dataset.reference}" in adopted.stderr
    splits = {name: digits.manifest.splits[name] for name in ("train", "test")}
    assert json.loads(adopted.stdout)["splits"] == splits
    assert place.dataset.manifest.layout.labels == tuple(NAMES)
    assert (
        "was there already"
        in place.aigc("data", "adopt", f"{place.lake}/", "--name", "lake").stderr
    )
    assert "contents and labels can be read" in place.aigc("data", "verify", "lake").stderr

    whole = place.dataset
    trained = place.submit()
    assert trained.code == 0, trained.stderr
    assert trained_on(place, trained)["dataset"] == whole.reference

    path = place.lake / "data" / "train-00000-of-00001.parquet"
    chunk, content = pq.read_metadata(path).row_group(3).column(0), bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    refused = place.submit("training.seed=1")
    assert refused.code == 100
    assert f"{path}: row group 3: column 'image" in refused.stderr
    assert "Traceback" not in refused.stderr

    kept = place.submit("training.seed=1", "data.damaged=quarantine")
    assert kept.code == 0, kept.stderr
    assert f"verifying {whole.reference}" in kept.stderr
    assert "quarantined: shard " in kept.stderr
    assert place.dataset.reference != whole.reference
    assert place.dataset.manifest.splits["train"] == splits["train"] - GROUP
    assert trained_on(place, kept)["dataset"] == place.dataset.reference
    assert place.aigc("data", "verify", "lake").code == 0
    assert place.aigc("data", "verify", whole.reference).code == 100


def test_what_takes_long_or_much_memory_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pq.read_table(next((place.lake / "data").glob("test-*.parquet")))
    folder = place.workspace.parent / "many"
    folder.mkdir()
    for number in range(data.WORTH_WATCHING):
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=GROUP)
    adopt = "data", "adopt", str(folder), "--name", "many"
    quiet = place.aigc(*adopt)
    monkeypatch.setattr(data, "LARGE_ROW_GROUP", 10 * 64)
    warned = place.aigc(*adopt)

    assert (quiet.code, warned.code) == (0, 0)
    assert "adopting: 8/8" in quiet.stderr
    assert "decoded records" not in quiet.stderr
    assert "decoded records" in warned.stderr
    assert "row_group_size of up to 10\n" in warned.stderr


@pytest.mark.parametrize("count", ["0", "10001", "100000000", "9" * 5000])
def test_more_classes_than_anybody_has_are_wrong_usage(place: Place, count: str) -> None:
    words = "data", "adopt", str(place.lake), "--name", "classes", "--classes"

    assert place.aigc(*words, "10000").code == 0
    refused = place.aigc(*words, count)
    assert refused.code == 2
    assert "1 to 10000 classes" in refused.stderr


def trained_on(place: Place, said: Said) -> dict[str, object]:
    """What the model says that it was trained on."""
    submission = json.loads(said.stdout)["submission"]
    return load_model(place.workspace / "runs" / submission / "model").trained_on


@pytest.mark.parametrize("names", ["a,a,b", "a,,b", ""])
def test_each_class_has_a_name_of_its_own(place: Place, names: str) -> None:
    words = "data", "adopt", str(place.lake), "--name", "classes", "--classes"
    refused = place.aigc(*words, names)

    assert refused.code == 2
    assert "each class needs a name of its own" in refused.stderr
