"""Whatever is wrong is said in a sentence, with its code, and leaves nothing half-done behind."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow.tracking import MlflowClient

from aigc.data.catalog import Dataset, find
from aigc.data.manifest import MANIFEST, Manifest, manifest_text
from jobs.cli import main
from jobs.specs import SPECS

TRAIN = """kind: train
name: bad
data: {dataset: digits}
model: {family: gan, latent_size: 8, width: 8}
training:
  steps: 8
  batch_size: 32
evaluation: {metrics: []}
registry: {model: bad}
"""
GENERATE = """kind: generate
name: bad-night
model: tiny@1
count: 50
seed: 7
shard_size: 20
publish: {dataset: bad-nightly}
"""
EVALUATE = """kind: evaluate
name: bad-judge
model: tiny@1
data: {dataset: digits}
evaluation: {metrics: [frechet_200]}
"""


class Said(NamedTuple):
    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """What was said but for the plan and the progress: each mistake, and the last word."""
        lines = self.stderr.splitlines()
        plan = [number for number, line in enumerate(lines) if line.startswith("tracking ")]
        after = lines[plan[0] + 1 :] if plan else lines
        return [line for line in after if not line.startswith("training bad: ")]


def aigc(workspace: Path, *words: str) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--workspace", str(workspace), *words])
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the digits, a GAN that is no champion, a VAE and a classifier."""
    workspace = tmp_path_factory.mktemp("bad") / "workspace"
    assert aigc(workspace, "data", "import", "digits").code == 0
    for name, model in (("gan", "tiny"), ("vae", "tiny-vae"), ("extractor", "tiny-extractor")):
        settings = [f"registry={{model: {model}}}", "evaluation.metrics=[]", "training.steps=2"]
        changes = [word for setting in settings for word in ("--set", setting)]
        spec = str(SPECS / "tiny" / f"{name}.yaml")
        assert aigc(workspace, "submit", spec, "--yes", "--on", "here", *changes).code == 0
    return workspace


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and age; the MLflow store is asked by its own client."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("mlflow.db")
    }


def runs(workspace: Path) -> dict[str, str]:
    """The status of each MLflow run."""
    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    return {run.info.run_id: run.info.status for run in client.search_runs(["1"])}


def versions(workspace: Path) -> list[tuple[str, str]]:
    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    return [(each.name, str(each.version)) for each in client.search_model_versions()]


@pytest.fixture
def refused(workspace: Path) -> Callable[..., Said]:
    """Runs a command line that must change nothing at all."""

    def run(code: int, *words: str) -> Said:
        before = tree(workspace), runs(workspace), versions(workspace)
        said = aigc(workspace, *words)
        assert said.code == code, said
        assert (tree(workspace), runs(workspace), versions(workspace)) == before
        assert said.stdout == ""
        assert_plain(said)
        return said

    return run


def assert_plain(said: Said) -> None:
    assert "Traceback" not in said.stderr
    assert "fault of aigc" not in said.stderr
    last = [line for line in said.errors if not line.startswith("See: ")][-1:]
    assert [line for line in said.errors if line.startswith("error: ")] == last


def written(folder: Path, text: str, *change: str) -> Path:
    path = folder / "bad.yaml"
    if change:
        old, new = change
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    return path


MISTAKES = {
    "an unknown key": (
        (TRAIN, "steps:", "stepz:"),
        ["6: training.stepz: unknown key. Did you mean steps?"],
    ),
    "a wrong type": (
        (TRAIN, "steps: 8", "steps: many"),
        ['6: training.steps: must be a whole number (got "many")'],
    ),
    "no steps": (
        (TRAIN, "steps: 8", "steps: 0"),
        ["6: training.steps: must be greater than 0 (got 0)"],
    ),
    "no samples": (
        (GENERATE, "count: 50", "count: 0"),
        ["4: count: must be greater than 0 (got 0)"],
    ),
    "an unknown metric": (
        (TRAIN, "[]", "[frechett_5k]"),
        [
            "8: evaluation.metrics[0]: There is no metric frechett_5k. Did you mean frechet_5k? "
            "Known, at any count: "
        ],
    ),
    "a bound that a GAN has not": (
        (TRAIN, "[]", "[elbo]"),
        ["8: evaluation.metrics: must not name elbo: a gan has no bound on the likelihood"],
    ),
    "a name of 200 characters": (
        (TRAIN, "name: bad", f"name: {'bad-' * 50}"),
        ["2: name: must be up to 40 of a–z, 0–9 and -, the first no - (got "],
    ),
    "a second document": (
        (TRAIN, "registry:", "---\nregistry:"),
        ["9: a second document begins: one file asks for one job"],
    ),
    "no YAML": ((TRAIN, "steps: 8", "steps: [8"), ["7: is not YAML here: "]),
    "three at once": (
        (TRAIN, "  steps: 8\n  batch_size: 32", "  stepz: 8\n  batch_size: -3\n  seed: x"),
        ["6: training.stepz: ", "7: training.batch_size: ", "8: training.seed: "],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_in_a_spec_is_named_with_file_line_and_field(
    mistake: str, refused: Callable[..., Said], tmp_path: Path
) -> None:
    change, expected = MISTAKES[mistake]
    path = written(tmp_path, *change)
    *problems, last = refused(2, "submit", str(path), "--on", "here").errors

    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(f"{path}:{start}")
    count = "a mistake" if len(expected) == 1 else f"{len(expected)} mistakes"
    assert last == (
        f"error: the spec has {count}. Correct it and run the command again; nothing was started."
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.stepz=3", "training.stepz: unknown key. Did you mean steps?"),
        ("nothing.here=3", "nothing: unknown key"),
        ("training.steps=no", 'training.steps: must be a whole number (got "no")'),
        ("training.steps", "must read PATH=VALUE, as training.steps=100"),
        ("training.steps=[", "is not YAML here"),
    ],
)
def test_a_wrong_setting_is_named_as_it_was_typed(
    setting: str, said: str, refused: Callable[..., Said], tmp_path: Path
) -> None:
    path = written(tmp_path, TRAIN)
    problem, _ = refused(2, "submit", str(path), "--on", "here", "--set", setting).errors

    assert problem.startswith(f"--set {setting}: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        (b"", "is empty"),
        (b"\x7fELF\x02\x01\x01\x00", "holds a character that YAML does not allow"),
        (b"kind: train\nname: \xff\xfe\n", "is not UTF-8 text"),
    ],
)
def test_a_spec_that_is_none_is_refused(
    content: bytes | str | None, said: str, refused: Callable[..., Said], tmp_path: Path
) -> None:
    path = tmp_path / "spec.yaml"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    problem, _ = refused(2, "submit", str(path), "--on", "here").errors

    assert problem.startswith(str(path))
    assert said in problem


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (TRAIN, "digits", "faces", r"no dataset 'faces' in .*There are: .*digits"),
        (TRAIN, "digits", "digits@1234", r"no dataset 'digits@1234'"),
        (GENERATE, "tiny@1", "nobody@champion", r"no model 'nobody'.*tiny, tiny-extractor"),
        (GENERATE, "tiny@1", "tiny@champion", r"'tiny' has no champion. Name .*tiny@1"),
        (GENERATE, "tiny@1", "tiny@9", r"no model 'tiny@9'. Versions of tiny: 1"),
        (EVALUATE, "[frechet_200]", "[frechet_200], extractor: nobody", r"no model 'nobody'"),
    ],
)
def test_what_is_not_there_is_said_before_anything_starts(
    text: str, old: str, new: str, said: str, refused: Callable[..., Said], tmp_path: Path
) -> None:
    path = written(tmp_path, text, old, new)
    (error,) = refused(102, "submit", str(path), "--on", "here").errors

    assert re.search(said, error), error


def variant(workspace: Path, name: str, **changes: Any) -> Dataset:
    """The digits under another name, with another layout or other shards in the manifest."""
    original = find(workspace / "datasets", "digits")
    folder = workspace / "datasets" / name / original.manifest.version
    shutil.copytree(original.folder, folder)
    manifest = original.manifest.model_copy(update={"name": name, **changes})
    (folder / MANIFEST).write_text(manifest_text(manifest.sealed()))
    return Dataset(folder, manifest)


@pytest.fixture
def damaged(workspace: Path) -> Iterator[Callable[..., Dataset]]:
    """Makes a variant of the digits, which is gone after the test."""
    made: list[Dataset] = []

    def make(name: str, **changes: Any) -> Dataset:
        made.append(variant(workspace, name, **changes))
        return made[-1]

    yield make
    for dataset in made:
        shutil.rmtree(dataset.folder.parent)


def layout(workspace: Path, **changes: Any) -> Any:
    return find(workspace / "datasets", "digits").manifest.layout.model_copy(update=changes)


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("{family: vae}", {"modality": "text"}, "family vae makes image, and this dataset holds"),
        ("{family: classifier}", {"labels": ()}, "classifier needs labels and this dataset has"),
        ("{family: gan}", {"shape": (1, 64)}, "Images are (channels, height, width)"),
    ],
)
def test_a_family_that_cannot_learn_the_dataset_is_refused(
    model: str,
    changes: dict[str, Any],
    said: str,
    workspace: Path,
    damaged: Callable[..., Dataset],
    refused: Callable[..., Said],
    tmp_path: Path,
) -> None:
    damaged("strange", layout=layout(workspace, **changes))
    path = written(tmp_path, TRAIN, "{family: gan, latent_size: 8, width: 8}", model)
    words = ("submit", str(path), "--on", "here", "--set", "data.dataset=strange")
    problem, _ = refused(2, *words).errors

    assert problem.startswith(f"{path}:4: model.family: ")
    assert said in problem


def test_a_dataset_without_labels_needs_an_extractor_by_name(
    workspace: Path, damaged: Callable[..., Dataset], refused: Callable[..., Said], tmp_path: Path
) -> None:
    damaged("unnamed", layout=layout(workspace, labels=()))
    path = written(tmp_path, TRAIN, "[]", "[frechet_200]")
    words = ("submit", str(path), "--on", "here", "--set", "data.dataset=unnamed")
    problem, _ = refused(2, *words).errors

    assert problem.startswith(f"{path}:8: evaluation.extractor: must name a registered")


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (GENERATE, "tiny@1", "tiny-extractor@1", "model: tiny-extractor@1 is a classifier, which"),
        (EVALUATE, "tiny@1", "tiny-extractor@1", "model: tiny-extractor@1 is a classifier, which"),
        (EVALUATE, "[frechet_200]", "[elbo]", "evaluation.metrics: must not name elbo: tiny@1"),
        (
            EVALUATE,
            "[frechet_200]",
            "[frechet_200], extractor: tiny-vae",
            "evaluation.extractor: tiny-vae@1 is a vae: name a model of family classifier",
        ),
    ],
)
def test_a_model_that_cannot_do_the_job_is_refused(
    text: str, old: str, new: str, said: str, refused: Callable[..., Said], tmp_path: Path
) -> None:
    path = written(tmp_path, text, old, new)
    *_, problem, last = refused(2, "submit", str(path), "--on", "here").errors

    assert said in problem
    assert last.startswith("error: the spec has a mistake. ")


def test_more_workers_than_fit_are_refused_with_what_would_fit(
    refused: Callable[..., Said], tmp_path: Path
) -> None:
    path, cpus = written(tmp_path, TRAIN), len(os.sched_getaffinity(0))
    settings = (
        "--set",
        f"resources.workers={cpus + 6}",
        "--set",
        f"training.batch_size={cpus + 6}",
    )
    (error,) = refused(105, "submit", str(path), "--on", "local", *settings).errors

    assert f"{cpus + 6} × (1 CPU) can never fit" in error
    assert f"The nearest that fits is {cpus} × (1 CPU); change resources in the spec" in error


@pytest.mark.parametrize("place", ["", "below/it"])
def test_a_file_in_the_place_of_the_workspace_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for words in (["data", "list"], ["submit", str(written(tmp_path, TRAIN)), "--on", "here"]):
        said = aigc(tmp_path / "file" / place, *words)

        assert said.code == 2
        assert_plain(said)
        assert str(tmp_path / "file") in said.stderr
        assert "choose another --workspace" in said.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("blocked", "words"),
    [
        ("datasets", ["data", "import", "digits"]),
        ("runs", ["submit", "SPEC", "--on", "here"]),
        ("mlflow.db", ["model", "list"]),
    ],
)
def test_a_folder_of_the_workspace_that_cannot_be_made_is_named(
    blocked: str, words: list[str], workspace: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "workspace"
    mine.mkdir()
    if blocked == "mlflow.db":
        (mine / blocked).mkdir()
    else:
        (mine / blocked).write_text("")
    if blocked == "runs":
        shutil.copytree(workspace / "datasets", mine / "datasets")
    path = str(written(tmp_path, TRAIN))
    said = aigc(mine, *(path if word == "SPEC" else word for word in words))

    assert said.code == (100 if blocked == "mlflow.db" else 2), said
    assert_plain(said)
    assert len([line for line in said.errors if line.startswith("error: ")]) == 1
    assert "MLflow store" in said.stderr if blocked == "mlflow.db" else blocked in said.stderr
    assert "FINISHED" not in (runs(mine).values() if blocked == "runs" else [])
    assert not list(mine.rglob("*.partial"))


@pytest.fixture
def failed(workspace: Path) -> Callable[..., Said]:
    """Runs a submission that fails on its way: its run is closed, and nothing else is new."""

    def run(*words: str) -> Said:
        datasets, known, registered = tree(workspace / "datasets"), runs(workspace), None
        registered = versions(workspace)
        folders = set((workspace / "runs").iterdir())
        said = aigc(workspace, "submit", *words, "--on", "here", "--yes")
        assert said.code == 100, said
        assert_plain(said)
        assert len(said.errors) == 1
        assert tree(workspace / "datasets") == datasets
        assert versions(workspace) == registered
        ended = [status for run, status in runs(workspace).items() if run not in known]
        assert ended == ["FAILED"]
        (folder,) = set((workspace / "runs").iterdir()) - folders
        assert not (folder / "outcome.json").exists()
        assert not [path for path in workspace.rglob("*.partial")]
        return said

    return run


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    third = len(content) // 3
    return content[:third] + bytes([content[third] ^ 4]) + content[third + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b""])
def test_a_damaged_shard_stops_the_training_and_is_named(
    damage: Callable[[bytes], bytes],
    damaged: Callable[..., Dataset],
    failed: Callable[..., Said],
    workspace: Path,
    tmp_path: Path,
) -> None:
    name = f"hurt-{getattr(damage, '__name__', '').strip('<>')}"
    dataset = damaged(name)
    shard = dataset.folder / "shards" / "train-00000.parquet"
    shard.write_bytes(damage(shard.read_bytes()))
    path = written(tmp_path, TRAIN)
    (error,) = failed(str(path), "--set", f"data.dataset={name}").errors

    assert str(shard) in error
    assert "Run 'aigc data verify', then restore the file" in error
    checked = aigc(workspace, "data", "verify", name)
    assert checked.code == 100
    assert_plain(checked)
    assert "shards/train-00000.parquet" in checked.stderr


def test_a_missing_shard_stops_the_training(
    damaged: Callable[..., Dataset], failed: Callable[..., Said], tmp_path: Path
) -> None:
    dataset = damaged("halved")
    (dataset.folder / "shards" / "train-00000.parquet").unlink()
    (error,) = failed(str(written(tmp_path, TRAIN)), "--set", "data.dataset=halved").errors

    assert "train-00000.parquet" in error


def test_a_manifest_of_other_shards_stops_the_training(
    workspace: Path, damaged: Callable[..., Dataset], failed: Callable[..., Said], tmp_path: Path
) -> None:
    shards = [
        shard.model_copy(update={"row_groups": (*shard.row_groups, 7)})
        for shard in find(workspace / "datasets", "digits").manifest.shards
    ]
    damaged("longer", shards=tuple(shards))
    (error,) = failed(str(written(tmp_path, TRAIN)), "--set", "data.dataset=longer").errors

    assert "train-00000.parquet: row group" in error


def test_a_batch_larger_than_the_dataset_is_refused(
    refused: Callable[..., Said], tmp_path: Path
) -> None:
    path = written(tmp_path, TRAIN, "batch_size: 32", "batch_size: 5000")
    said = refused(2, "submit", str(path), "--yes", "--on", "here")

    assert f"{path}:7: training.batch_size: must be at most 1412" in said.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not JSON", "the document"),
        ('{"format": 1}', "name"),
        (None, "the digest does not match the content"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    content: str | None,
    said: str,
    damaged: Callable[..., Dataset],
    refused: Callable[..., Said],
    tmp_path: Path,
) -> None:
    manifest = damaged("blurred").folder / MANIFEST
    forged = Manifest.model_validate_json(manifest.read_bytes()).model_copy(
        update={"digest": "0" * 64}
    )
    manifest.write_text(manifest_text(forged) if content is None else content)
    path = str(written(tmp_path, TRAIN))
    for words in (
        ["submit", path, "--on", "here", "--set", "data.dataset=blurred"],
        ["data", "verify", "blurred"],
    ):
        (error,) = refused(100, *words).errors
        assert f"{manifest}: {said}" in error


def test_a_broken_dataset_does_not_hide_that_another_is_missing(
    damaged: Callable[..., Dataset], refused: Callable[..., Said]
) -> None:
    (damaged("broken").folder / MANIFEST).write_text("{")

    assert "no dataset 'faces'" in refused(102, "data", "show", "faces").stderr


@pytest.mark.parametrize("name", ["../outside", "Upper", "a/b", "x@1"])
def test_a_dataset_cannot_be_imported_under_a_name_that_is_none(
    name: str, refused: Callable[..., Said], workspace: Path
) -> None:
    around = sorted(workspace.parent.iterdir())
    said = refused(2, "data", "import", "digits", "--name", name)

    assert said.errors[-1].startswith(f"error: {name!r} cannot be a dataset's name. ")
    assert sorted(workspace.parent.iterdir()) == around


def test_an_unknown_importer_names_the_known_ones(refused: Callable[..., Said]) -> None:
    (error,) = refused(2, "data", "import", "mnist").errors

    assert error == (
        "error: there is no importer 'mnist'. The importers are: "
        "digits, mnist-5k, idx, images, huggingface, parquet, csv, jsonl, text"
    )


@pytest.mark.parametrize(
    "words", [["data", "show", "faces"], ["data", "verify", "faces"], ["model", "show", "nobody@1"]]
)
def test_what_is_asked_for_by_name_and_is_not_there_is_102(
    words: list[str], refused: Callable[..., Said]
) -> None:
    (error,) = refused(102, *words).errors

    assert words[-1].partition("@")[0] in error
