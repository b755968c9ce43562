"""data.mixture, data.stream and data.damaged of a train spec: what they do, what is refused."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from numbered import make_numbered
from safetensors.torch import load_file

from aigc.data.catalog import Dataset, find, publish
from aigc.data.importers import import_dataset
from aigc.errors import DatasetNotFound, ShardCorrupt
from aigc.models.artifact import load_model
from aigc.training.checkpoint import save_checkpoint
from aigc.training.loop import Sums
from aigc.training.state import TrainingState
from cluster import training
from cluster.workspace import Workspace
from jobs.errors import SpecInvalid
from jobs.overrides import override
from jobs.progress import Reporter
from jobs.run import execute
from jobs.session import Session, open_session
from jobs.source import Source, parse
from jobs.spec import Spec, Train, as_document, check, load
from jobs.submission import Submission, prepare

SPEC = """kind: train
name: mixed
data:
  dataset: digits
  mixture: {others: 0.25}
  stream: {window: 500}
model: {family: vae, latent_size: 4, width: 8, mixture: 2}
training: {steps: 3, batch_size: 32, report_every: 1, checkpoint_every: 3}
resources: {workers: 1}
"""
PLAIN = SPEC.replace("  mixture: {others: 0.25}\n", "")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session in this process with the digits, twice, and a dataset of another layout."""
    workspace = Workspace.at(tmp_path_factory.mktemp("training-data"))
    import_dataset(workspace.datasets, "digits")
    import_dataset(workspace.datasets, "digits", name="others")
    make_numbered(workspace.datasets, 100)
    return open_session(workspace, "here", Reporter())


def source_of(text: str, *settings: str) -> Source:
    return override(parse(text.encode(), "mixed.yaml"), settings)


def prepared(session: Session, text: str, *settings: str) -> Submission:
    source = source_of(text, *settings)
    return prepare(check(source), session, source)


def mistakes(session: Session, text: str, *settings: str) -> list[str]:
    """What is said about a spec, with where it is said."""
    with pytest.raises(SpecInvalid) as error:
        prepared(session, text, *settings)
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("window: 500", "window: 0", "6: data.stream.window: must be greater than 0 (got 0)"),
        ("window: 500", "window: -1", "6: data.stream.window: must be greater than 0 (got -1)"),
        (
            "window: 500",
            "window: all",
            '6: data.stream.window: must be a whole number (got "all")',
        ),
        ("window: 500", "windows: 500", "6: data.stream.windows: unknown key. Did you mean window"),
        (
            "window: 500",
            "drop_last: false",
            "6: data.stream.drop_last: must be true with a mixture, whose every batch is whole",
        ),
        ("others: 0.25", "others: 1", "5: data.mixture.others: must be less than 1 (got 1)"),
        ("others: 0.25", "others: 0", "5: data.mixture.others: must be greater than 0 (got 0)"),
        ("others: 0.25", "others: .nan", "5: data.mixture.others: "),
        (
            "others: 0.25",
            "others: 0.5, digits: 0.5",
            "5: data.mixture: must leave a share to digits",
        ),
        ("others: 0.25", "Others: 0.25", "5: data.mixture.Others"),
        (
            "  stream:",
            "  damaged: repair\n  stream:",
            '6: data.damaged: must be one of refuse, quarantine (got "repair")',
        ),
        (
            "{others: 0.25}",
            "{numbered: 0.25}",
            "5: data.mixture: numbered@v1 has records of image 1×2×4 with 10 labels (0, ",
        ),
        (
            "others: 0.25",
            "others: 0.01",
            "5: data.mixture: others@",
        ),
        (
            "others: 0.25",
            "others: 0.99",
            "5: data.mixture: digits@",
        ),
        (
            "batch_size: 32",
            "batch_size: 6400",
            "8: training.batch_size: must be at most ",
        ),
    ],
)
def test_each_mistake_is_named_with_file_line_and_field(
    old: str, new: str, expected: str, session: Session
) -> None:
    assert SPEC.count(old) == 1
    problem, *_ = mistakes(session, SPEC.replace(old, new))

    assert problem.startswith(f"mixed.yaml:{expected}")


def test_a_share_too_small_says_of_what(session: Session) -> None:
    (problem,) = mistakes(session, SPEC.replace("0.25", "0.01"))

    assert "would have no record in a batch of 32. Give it a larger share" in problem


def test_a_batch_that_one_part_cannot_fill_says_which(session: Session) -> None:
    """Of 6,400 records a batch, others would give 1,600 and have 1,412."""
    problems = mistakes(session, SPEC.replace("batch_size: 32", "batch_size: 6400"))
    records = find(session.workspace.datasets, "others").manifest.splits["train"]

    assert any(f"at most {6400 * records // 1600}, for the {records}" in p for p in problems)
    assert all("(got 6400)" in problem for problem in problems)
    assert prepared(session, SPEC.replace("batch_size: 32", "batch_size: 1600"))


def test_a_dataset_of_the_mixture_that_is_not_there_is_said_where(session: Session) -> None:
    with pytest.raises(DatasetNotFound, match=r"^mixed\.yaml:5: data\.mixture: .*'faces'") as error:
        prepared(session, SPEC.replace("others", "faces"))
    assert "There are: digits, numbered, others" in str(error.value)


def test_a_last_batch_that_the_workers_cannot_share_is_refused(session: Session) -> None:
    """Of 1,412 records 4 are left by batches of 32: enough for two workers, not for three."""
    text = PLAIN.replace("{window: 500}", "{drop_last: false}").replace("32", "33")
    (problem,) = mistakes(session, text.replace("workers: 1", "workers: 3"))
    rest = find(session.workspace.datasets, "digits").manifest.splits["train"] % 33

    assert rest % 3
    assert problem == (
        f"mixed.yaml:5: data.stream.drop_last: must be true: the last batch of {rest} records "
        "cannot be cut into 3 equal parts"
    )
    assert prepared(session, text).mixed_in == ()


def test_a_setting_on_the_command_line_is_named_as_it_was_typed(session: Session) -> None:
    spec = check(source_of(SPEC, "data.stream.window=4096"))
    assert isinstance(spec, Train)
    assert spec.data.stream.window == 4096
    with pytest.raises(SpecInvalid, match=r"--set data\.stream\.window=no: data\.stream\.window"):
        check(source_of(SPEC, "data.stream.window=no"))


def test_what_is_read_and_how_makes_another_submission(session: Session) -> None:
    """Each changes what is learned."""
    settings = ["data.stream.window=400", "data.mixture={others: 0.5}", "data.mixture={}"]
    ids = {prepared(session, SPEC, *([each] if each else [])).id for each in ["", *settings]}

    assert len(ids) == 4


def test_a_mixture_is_pinned_and_recorded_wherever_it_is_asked(
    session: Session, tmp_path: Path
) -> None:
    submission = prepared(session, SPEC)
    digits, others = (find(session.workspace.datasets, name) for name in ("digits", "others"))
    outcome = execute(submission, session)
    trained_on = load_model(submission.run.model).trained_on
    inputs = session.tracking.client.get_run(outcome["run_id"]).inputs.dataset_inputs
    (tmp_path / "again.yaml").write_text(submission.run.spec.read_text())

    assert isinstance(submission.spec, Train)
    assert submission.spec.data.dataset == digits.reference
    assert dict(submission.spec.data.mixture) == {others.reference: 0.25}
    assert load(tmp_path / "again.yaml") == submission.spec
    assert trained_on["mixture"] == {others.reference: 0.25}
    assert trained_on["dataset"] == digits.reference
    assert sorted(each.dataset.name for each in inputs) == ["digits", "others"]


def test_a_newer_version_of_what_is_mixed_in_changes_nothing_that_is_pinned(
    session: Session, tmp_path: Path
) -> None:
    workspace = Workspace.at(tmp_path / "workspace")
    shutil.copytree(session.workspace.datasets, workspace.datasets)
    here = open_session(workspace, "here", Reporter())
    before = prepared(here, SPEC)
    others = find(workspace.datasets, "others")
    changes = {"version": "newer", "created": "2999-01-01T00:00:00.000+00:00"}
    newer = others.manifest.model_copy(update={**changes, "location": others.location.uri})
    publish(others.folder.parent / "newer", newer)
    after = prepared(here, SPEC)

    assert after.id != before.id
    assert dict(after.spec.data.mixture) == {"others@newer": 0.25}  # type: ignore[union-attr]
    assert prepared(here, as_document(before.spec)).id == before.id


def test_the_window_and_the_mixture_reach_the_training(session: Session) -> None:
    settings = [[], ["data.stream.window=64"], ["data.mixture={}"]]
    outcomes = [execute(prepared(session, SPEC, *each), session) for each in settings]

    assert len({outcome["model_digest"] for outcome in outcomes}) == 3


def test_a_resumed_run_with_a_short_last_batch_equals_an_undisturbed_one(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped at a checkpoint in the second epoch; an epoch has 8 batches of 176, and one of 4."""
    text = PLAIN.replace("{window: 500}", "{window: 500, drop_last: false}")
    changes = ["training.steps=22", "training.batch_size=176", "training.checkpoint_every=13"]
    whole = prepared(session, text, *changes, "name=whole")
    execute(whole, session)
    stopped = prepared(session, text, *changes, "name=stopped")
    with monkeypatch.context() as patch:
        patch.setattr(training.Recorder, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            execute(stopped, session)
    assert json.loads((newest(stopped) / "plain.json").read_text())["step"] == 13
    next_step = f"a rerun goes on from step 13: {stopped.run.command} job rerun {stopped.id}"
    assert f"stopped; {next_step}\n" in capsys.readouterr().err
    execute(stopped, session)

    expected, actual = weights(whole), weights(stopped)
    assert expected.keys() == actual.keys()
    assert [name for name in expected if not torch.equal(expected[name], actual[name])] == []


def save_and_stop(recorder: Any, state: TrainingState, sums: Sums) -> None:
    save_checkpoint(recorder._run.checkpoints, state, sums=sums, journal=0)
    raise KeyboardInterrupt


def newest(submission: Submission) -> Path:
    return max(submission.run.checkpoints.iterdir())


def weights(submission: Submission) -> dict[str, torch.Tensor]:
    return load_file(submission.run.model / "tensors.safetensors")


@pytest.fixture
def damaged(session: Session, tmp_path: Path) -> tuple[Session, Dataset]:
    """A workspace where a bit is flipped in the first row group of the training images."""
    workspace = Workspace.at(tmp_path / "workspace")
    shutil.copytree(session.workspace.datasets, workspace.datasets)
    dataset = find(workspace.datasets, "digits")
    path = dataset.folder / dataset.shards("train")[0].path
    chunk, content = pq.read_metadata(path).row_group(0).column(0), bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    return open_session(workspace, "here", Reporter()), dataset


def test_damage_is_refused_unless_the_spec_says_otherwise(damaged: tuple[Session, Dataset]) -> None:
    session, dataset = damaged
    path = dataset.shards("train")[0].path

    with pytest.raises(ShardCorrupt, match=rf"{path}: row group 0: column 'image'"):
        execute(prepared(session, PLAIN), session)


def test_damage_is_left_out_where_the_spec_allows_it_and_that_is_said(
    damaged: tuple[Session, Dataset],
) -> None:
    session, dataset = damaged
    said = io.StringIO()
    with redirect_stderr(said):
        submission = prepared(session, PLAIN, "data.damaged=quarantine")
        assert find(session.workspace.datasets, "digits") == dataset
        execute(submission, session)
    kept = find(session.workspace.datasets, "digits")
    rows = dataset.shards("train")[0].row_groups[0]

    assert f"verifying {dataset.reference}" in said.getvalue()
    assert "quarantined: shard " in said.getvalue()
    assert "row group 0: column 'image'" in said.getvalue()
    assert submission.dataset == kept
    assert kept.manifest.splits["train"] == dataset.manifest.splits["train"] - rows
    assert load_model(submission.run.model).trained_on["dataset"] == kept.reference
    assert prepared(session, PLAIN, "data.damaged=quarantine").id == submission.id


def test_damage_of_what_is_mixed_in_is_left_out_too(damaged: tuple[Session, Dataset]) -> None:
    session, dataset = damaged
    mixed = {"data.dataset": "others", "data.mixture": "{digits: 0.25}"}
    settings = [f"{path}={value}" for path, value in mixed.items()]
    submission = prepared(session, SPEC, *settings, "data.damaged=quarantine")
    execute(submission, session)

    (kept,) = submission.mixed_in
    assert find(session.workspace.datasets, "digits").reference == kept.reference
    assert kept.reference != dataset.reference
    assert load_model(submission.run.model).trained_on["mixture"] == {kept.reference: 0.25}


@pytest.mark.parametrize(
    ("mixture", "again"), [("digits: 0.25", "digits"), ("others: 0.25, {others}: 0.25", "others")]
)
def test_a_dataset_is_mixed_in_once(mixture: str, again: str, session: Session) -> None:
    others = find(session.workspace.datasets, "others").reference
    text = SPEC.replace("others: 0.25", mixture.format(others=others))
    (problem,) = mistakes(session, text)

    assert f"5: data.mixture: must name other datasets, each once, not {again}@" in problem


def test_quarantine_of_what_is_whole_is_the_dataset_itself(session: Session) -> None:
    dataset = find(session.workspace.datasets, "digits")
    spec: Spec = prepared(session, PLAIN, "data.damaged=quarantine").spec

    assert isinstance(spec, Train)
    assert spec.data.dataset == dataset.reference
