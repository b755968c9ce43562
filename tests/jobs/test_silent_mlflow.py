"""Jobs whose MLflow is down, and what `aigc track sync` makes of what they left."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from proxy import Proxy

from aigc.data.importers import import_dataset
from cluster.places import Here
from jobs.cli import main
from jobs.specs import SPECS

TRAIN = (
    "training.steps=4",
    "evaluation.metrics=[frechet_200]",
    "registry={model: TOY, promote: {frechet_200: {at_least: 0}}}",
)
GATES = "registry.promote={elbo: {at_least: -1.0e9}}"
GENERATE = """kind: generate
name: night
model: TOY@1
count: 20
publish: {dataset: night}
"""
EVALUATE = """kind: evaluate
name: judged
model: TOY@1
data: {dataset: digits}
evaluation: {metrics: [class_balance_min_10]}
promote: {class_balance_min_10: {at_least: 0}}
"""


class Said(NamedTuple):
    code: int
    data: Any
    stderr: str


Command = Callable[..., Said]


@pytest.fixture
def aigc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in a workspace that has the digits."""
    import_dataset(tmp_path / "datasets", "digits")

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = main(["--workspace", str(tmp_path), *words, "-o", "json"])
        said = capsys.readouterr()
        assert "fault of aigc" not in said.err
        return Said(code, json.loads(said.out) if said.out else None, said.err)

    return run


@pytest.fixture
def toy() -> str:
    """The name of a model that no other test has registered on the server that they share."""
    return f"toy-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def submit(aigc: Command, tmp_path: Path, toy: str) -> Command:
    def run(spec: str | Path, *settings: str) -> Said:
        if isinstance(spec, str):
            (tmp_path / "spec.yaml").write_text(spec.replace("TOY", toy))
            spec = tmp_path / "spec.yaml"
        else:
            settings = (*settings, f"name={toy}")
        changes = [word for each in settings for word in ("--set", each.replace("TOY", toy))]
        return aigc("submit", str(spec), "--yes", "--on", "here", *changes)

    return run


def faulty_from(
    monkeypatch: pytest.MonkeyPatch, proxy: Proxy, method: str, fault: str, call: int = 1
) -> None:
    """The server fails from the moment on at which the place begins that work for the `call`th
    time."""
    work, calls = getattr(Here, method), [0]

    def failing(self: Here, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            proxy.mode = fault
        return work(self, *arguments)

    monkeypatch.setattr(Here, method, failing)


def assert_waits(said: Said, *words: str) -> None:
    assert said.code == 0, said.stderr
    assert re.search(r"will be delivered by the next job, or by: aigc .*track sync", said.stderr)
    for word in words:
        assert word in said.data["waits"]


def test_a_training_without_mlflow_is_made_up_for(
    submit: Command, aigc: Command, toy: str, proxy: Proxy
) -> None:
    proxy.mode = "refuse"
    said = submit(SPECS / "tiny" / "gan.yaml", *TRAIN)
    assert_waits(said, "does not answer", "the registration as toy-")
    assert said.data["run_id"] is None
    assert said.data["evaluation"]["figures"]

    down = aigc("track", "sync")
    assert down.code == 100
    assert "still wait: the MLflow store does not answer" in down.stderr
    assert [each["waits"] > 0 for each in down.data] == [True, True]
    assert [each["points"] for each in down.data] == [0, 0]

    proxy.mode = "pass"
    up = aigc("track", "sync", said.data["submission"])
    assert up.code == 0
    (delivered,) = up.data
    assert (delivered["status"], delivered["waits"], delivered["refused"]) == ("FINISHED", 0, 0)
    assert delivered["points"] > 0
    assert aigc("track", "sync").data[0]["submission"] != said.data["submission"]
    everything = aigc("track", "sync")
    assert (everything.code, everything.data) == (0, [])

    shown = aigc("model", "show", f"{toy}@champion").data
    assert shown["made_by"]["submission"] == said.data["submission"]
    assert shown["made_by"]["run_id"]
    again = submit(SPECS / "tiny" / "gan.yaml", *TRAIN).data
    assert (again["model"], again["verdict"]["passed"]) == (f"{toy}@1", True)
    assert "waits" not in again


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("train", "hang"),
        ("train", "500"),
        pytest.param("map", "hang", marks=pytest.mark.slow),
        ("map", "500"),
    ],
)
def test_a_training_goes_on_when_mlflow_fails(
    fault: str,
    method: str,
    submit: Command,
    aigc: Command,
    toy: str,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faulty_from(monkeypatch, proxy, method, fault)
    said = submit(SPECS / "tiny" / "vae.yaml", *TRAIN, "evaluation.metrics=[elbo]", GATES)
    assert_waits(said, "the registration as toy-")

    proxy.mode = "pass"
    synced = aigc("track", "sync")
    assert synced.code == 0
    assert {each["waits"] for each in synced.data} == {0}
    assert aigc("model", "show", f"{toy}@champion").code == 0


def test_the_next_job_makes_up_for_the_last(
    submit: Command, aigc: Command, toy: str, proxy: Proxy
) -> None:
    proxy.mode = "refuse"
    first = submit(SPECS / "tiny" / "vae.yaml", "evaluation.metrics=[]", "registry={model: TOY}")
    assert_waits(first)
    proxy.mode = "pass"
    assert submit(SPECS / "tiny" / "gan.yaml", "evaluation.metrics=[]", "registry=null").code == 0

    assert (
        aigc("model", "show", f"{toy}@1").data["made_by"]["submission"] == first.data["submission"]
    )


def test_generation_and_evaluation_go_on_when_mlflow_fails(
    submit: Command, aigc: Command, toy: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = ("training.steps=4", "evaluation.metrics=[]", "registry={model: TOY}")
    assert submit(SPECS / "tiny" / "gan.yaml", *trained).code == 0
    faulty_from(monkeypatch, proxy, "map", "500")
    made = submit(GENERATE)
    assert made.code == 0, made.stderr
    assert made.data["published"]
    assert re.search("aigc .*track sync night-", made.stderr)

    refused = submit(GENERATE, "publish.dataset=other")
    assert refused.code == 100
    assert "does not answer" in refused.stderr

    proxy.mode = "pass"
    faulty_from(monkeypatch, proxy, "map", "429")
    judged = submit(EVALUATE)
    assert_waits(judged, f"the gates of {toy}@1 are still to judge")
    proxy.mode = "pass"
    assert aigc("track", "sync").code == 0
    assert aigc("model", "show", f"{toy}@champion").data["made_by"]["submission"]
    assert submit(EVALUATE).data["verdict"]["passed"]


def test_a_night_without_its_registry_takes_the_last_champion(
    submit: Command, aigc: Command, tmp_path: Path, toy: str, proxy: Proxy
) -> None:
    champion = GENERATE.replace("TOY@1", "TOY@champion")
    trained = ("training.steps=4", "evaluation.metrics=[elbo]", "registry={model: TOY}", GATES)
    assert submit(SPECS / "tiny" / "vae.yaml", *trained).code == 0
    proxy.mode = "refuse"
    unknown = submit(champion)
    assert unknown.code == 100
    assert "does not answer" in unknown.stderr

    proxy.mode = "pass"
    first = submit(champion)
    assert first.code == 0, first.stderr
    proxy.mode = "refuse"
    second = submit(champion, "seed=1")
    assert second.code == 0, second.stderr
    assert f"taking {toy}@1, the champion that was fetched on" in second.stderr
    assert second.data["published"]
    (kept,) = (each for each in (tmp_path / "champions" / toy).iterdir() if each.is_dir())
    next(kept.glob("*.safetensors")).write_bytes(b"damaged")
    assert submit(champion, "seed=2").code == 100, "a damaged copy was used"


def test_a_failed_job_says_what_it_failed_of(
    submit: Command, aigc: Command, toy: str, proxy: Proxy
) -> None:
    proxy.mode = "refuse"
    said = submit(
        SPECS / "tiny" / "vae.yaml",
        "model.optimizer={learning_rate: 1e+30}",
        "training.report_every=1",
        "registry=null",
        "evaluation.metrics=[]",
    )
    assert said.code == 100
    assert "Lower the learning rate" in said.stderr.splitlines()[-1]
    proxy.mode = "pass"
    (delivered,) = aigc("track", "sync").data
    assert delivered["status"] == "FAILED"


def test_nothing_to_deliver_is_an_empty_list(aigc: Command) -> None:
    said = aigc("track", "sync")
    assert (said.code, said.data, said.stderr) == (0, [], "")


def test_a_submission_that_is_none_is_102(aigc: Command) -> None:
    said = aigc("track", "sync", "nobody")
    assert said.code == 102
    assert "there is no submission 'nobody'" in said.stderr
