"""Who is champion, by whose word, and what came of what: by the command line."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from cluster.ledger import whoever_asks
from jobs.cli import main
from jobs.specs import SPECS

LENIENT = "{elbo: {at_least: -1e9}}"
STRICT = "{elbo: {at_least: 1e9}}"


class Said(NamedTuple):
    data: Any
    messages: str


def aigc(workspace: Path, *words: str, code: int = 0) -> Said:
    """One command line, in this process; what it printed as JSON, and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = main(["--workspace", str(workspace), *words])
    assert ended == code, f"{words} ended with {ended}: {out.getvalue()}\n{err.getvalue()}"
    return Said(json.loads(out.getvalue() or "null"), err.getvalue())


def train(workspace: Path, seed: int, gates: str) -> dict[str, Any]:
    settings = (
        "training.steps=2",
        "evaluation.metrics=[elbo]",
        f"training.seed={seed}",
        f"registry={{model: tiny, promote: {gates}}}",
    )
    changes = [word for setting in settings for word in ("--set", setting)]
    spec = str(SPECS / "tiny" / "vae.yaml")
    code = 107 if gates == STRICT else 0
    words = ("submit", spec, "--yes", "--on", "here", "-o", "json", *changes)
    outcome: dict[str, Any] = aigc(workspace, *words, code=code).data
    return outcome


def generate(workspace: Path, model: str, dataset: str) -> Said:
    settings = (f"model={model}", f"publish.dataset={dataset}", "count=30", "shard_size=20")
    settings = (*settings, "evaluation.metrics=[]", "gates={}")
    changes = [word for setting in settings for word in ("--set", setting)]
    spec = str(SPECS / "tiny" / "generate.yaml")
    return aigc(workspace, "submit", spec, "--yes", "--on", "here", "-o", "json", *changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with tiny@1, which became champion and made the dataset `one`, tiny@2, which did
    not pass its gates, and tiny@3, which is champion and made the dataset `three`."""
    workspace = tmp_path_factory.mktemp("governance")
    aigc(workspace, "data", "import", "digits", "-o", "json")
    train(workspace, 1, LENIENT)
    generate(workspace, "tiny@champion", "one")
    train(workspace, 2, STRICT)
    train(workspace, 3, LENIENT)
    generate(workspace, "tiny@champion", "three")
    return workspace


def history(workspace: Path) -> list[dict[str, Any]]:
    moves = aigc(workspace, "model", "history", "tiny", "-o", "json").data
    return [move for move in moves if move["alias"] == "champion"]


def test_the_moves_of_jobs_are_in_the_history(made: Path) -> None:
    first, second = history(made)[:2]

    assert (first["from_version"], first["to_version"]) == (None, 1)
    assert (second["from_version"], second["to_version"]) == (1, 3)
    assert (second["kind"], second["who"]) == ("train", whoever_asks())
    assert second["submission"].startswith("tiny-vae-")
    assert second["gates"]["results"][0]["metric"] == "elbo"
    assert all(
        move["submission"] for move in aigc(made, "model", "history", "tiny", "-o", "json").data[:3]
    )


def test_a_version_that_does_not_pass_is_refused_and_forced_only_with_a_reason(made: Path) -> None:
    before = len(history(made))
    refused = aigc(made, "model", "promote", "tiny@2", "-o", "json", code=107)
    assert refused.data["verdict"]["passed"] is False
    assert "tiny@2 did not pass its gates" in refused.messages
    for reason in ((), ("--reason", " ")):
        said = aigc(made, "model", "promote", "tiny@2", "--force", *reason, code=2)
        assert "--force needs a --reason" in said.messages
    assert len(history(made)) == before

    aigc(made, "model", "promote", "tiny@2", "--force", "--reason", "a demo", "-o", "json")
    newest = history(made)[-1]
    assert (newest["kind"], newest["why"], newest["from_version"]) == ("force", "a demo", 3)
    back = aigc(made, "model", "rollback", "tiny", "--reason", "it is over", "-o", "json")
    assert back.data == {"champion": "tiny@3", "withdrawn": "tiny@2", "datasets": []}


def test_a_rollback_names_what_the_withdrawn_version_has_made(made: Path) -> None:
    back = aigc(made, "model", "rollback", "tiny", "-o", "json")
    (dataset,) = back.data["datasets"]
    assert (back.data["champion"], back.data["withdrawn"]) == ("tiny@1", "tiny@3")
    assert dataset.startswith("three@")
    assert dataset in back.messages

    again = aigc(made, "model", "promote", "tiny@3", "-o", "json")
    assert again.data["aliases"] == ["champion"]
    assert history(made)[-1]["kind"] == "promote"
    aigc(made, "model", "rollback", "nothing", code=102)


def test_a_champion_made_in_mlflow_itself_is_told_of(made: Path) -> None:
    client = MlflowClient(f"sqlite:///{made / 'mlflow.db'}")
    assert "warning" not in generate(made, "tiny@champion", "calm").messages
    client.set_registered_model_alias("tiny", "champion", "2")
    for _ in range(2):
        said = generate(made, "tiny@champion", "two").messages
        assert "warning: tiny@2 was made champion in MLflow itself" in said
    newest = history(made)[-1]
    assert (newest["kind"], newest["from_version"], newest["to_version"]) == ("outside", 3, 2)
    aigc(made, "model", "rollback", "tiny", "-o", "json")
    assert "warning" not in generate(made, "tiny@champion", "calm").messages


def test_a_sample_is_traced_to_model_run_spec_and_data(made: Path) -> None:
    sample = aigc(made, "data", "explain", "three", "25", "-o", "json").data
    shard = pq.read_table(made / "datasets" / sample["dataset"].replace("@", "/") / sample["shard"])
    generation, training = sample["made_by"], sample["made_by"]["model_made_by"]

    assert shard.column("sample")[sample["row"]].as_py() == sample["sample"] == 25
    assert shard.column("seed")[sample["row"]].as_py() == sample["seed"]
    assert sample["label"] == "5"
    assert sample["made_again"] == "the same, byte for byte"
    assert sample["AIGC"]["ProduceID"] == f"{sample['dataset']}/25"
    assert generation["model"] == "tiny@3"
    assert training["trained_on"]["dataset"].startswith("digits@")
    assert len(training["trained_on"]["digest"]) == 64
    client = MlflowClient(f"sqlite:///{made / 'mlflow.db'}")
    for origin, kind in ((generation, "generate"), (training, "train")):
        run = client.get_run(origin["run_id"])
        assert run.data.tags["aigc.submission"] == origin["submission"]
        assert run.data.tags["aigc.kind"] == kind
        assert f"kind: {kind}" in Path(origin["spec"]).read_text()
        client.set_tag(origin["run_id"], "aigc.commit", "c0ffee")
        client.set_tag(origin["run_id"], "aigc.dirty", "false")
    traced = aigc(made, "data", "explain", "three", "25", "-o", "json").data["made_by"]
    assert (traced["commit"], traced["dirty"]) == ("c0ffee", False)
    assert traced["model_made_by"]["commit"] == "c0ffee"
    assert "0 to 29" in aigc(made, "data", "explain", "three", "30", code=100).messages
    assert "no origin" in aigc(made, "data", "explain", "digits", "0", code=100).messages


def test_a_dataset_is_followed_to_all_that_came_of_it(made: Path) -> None:
    shown = aigc(made, "data", "show", "digits", "-o", "json").data
    came = {each["model"]: each for each in shown["trainings"]}

    assert shown["made_by"] is None
    assert set(came) == {"tiny@1", "tiny@2", "tiny@3"}
    assert all(each["status"] == "FINISHED" for each in came.values())
    assert [name.split("@")[0] for name in came["tiny@1"]["datasets"]] == ["one"]
    assert "three" in {name.split("@")[0] for name in came["tiny@3"]["datasets"]}
    version = aigc(made, "model", "show", "tiny@3", "-o", "json").data
    assert version["datasets"] == came["tiny@3"]["datasets"]
    assert version["made_by"]["submission"] == came["tiny@3"]["submission"]
    assert version["gates"] == {"elbo": {"at_least": -1e9}, "better_than_champion": None}


def test_asking_of_a_dataset_makes_no_store(tmp_path: Path) -> None:
    aigc(tmp_path, "data", "import", "digits", "-o", "json")
    shown = aigc(tmp_path, "data", "show", "digits", "-o", "json").data

    assert (shown["made_by"], shown["trainings"]) == (None, [])
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "aigc.db").exists()


def test_a_registered_version_carries_its_card(made: Path) -> None:
    for folder in made.glob("mlartifacts/*/artifacts/model"):
        names = {path.name for path in folder.iterdir()}
        assert {"card.md", "record.json", "MLmodel", "served.py", "hashes.json"} <= names
        record = json.loads((folder / "record.json").read_text())
        assert list(record["evaluation"]["figures"]) == ["elbo"]
        assert record["spec"]["training"]["steps"] == 2


def test_a_dataset_is_shown_while_mlflow_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aigc(tmp_path, "data", "import", "digits", "-o", "json")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    shown = aigc(tmp_path, "data", "show", "digits", "-o", "json")

    assert shown.data["records"] == 1797
    assert "runs and versions are missing here" in shown.messages


def test_a_model_without_a_version_is_asked_for_one(made: Path) -> None:
    said = aigc(made, "model", "promote", "tiny", code=102)
    assert "'tiny' names no version. Write tiny@champion, or tiny@NUMBER" in said.messages
