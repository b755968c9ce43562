"""A registered version: what is beside its arrays, what MLflow serves, and what runs nothing."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from mlflow.models import Model

from aigc.data.catalog import Dataset
from aigc.generation.plan import ModelReference, Plan
from aigc.generation.sampling import make_samples
from aigc.models import ModelConfig, build
from aigc.models.artifact import load_model, save_model
from aigc.models.classifier import ClassifierConfig
from aigc.models.gan import GANConfig
from cluster.card import CARD, RECORD, Record, card, record_of, write_card
from cluster.evaluation import Evaluation
from cluster.judgement import Gates
from cluster.record import begin_run
from cluster.registry import MODEL_FOLDER, ModelVersion, Registry
from cluster.serving import EXAMPLE, write_served
from cluster.tracking import Tracking

GAN = GANConfig(latent_size=8, width=8)
GATES = Gates.model_validate({"frechet_1k": {"at_most": 60}, "better_than_champion": "frechet_1k"})
FIGURES = Evaluation({"frechet_1k": 50.0}, 2.0, "digits@1", "d" * 64, "e" * 64, 1000, 0)


@pytest.fixture
def folder(tmp_path: Path, digits: Dataset) -> Path:
    """A model as a train job leaves it, with all that is registered beside it."""
    save(tmp_path / "model", GAN, digits)
    write_card(tmp_path / "model", described(tmp_path / "model"))
    write_served(tmp_path / "model", digits.manifest.layout)
    return tmp_path / "model"


def save(folder: Path, config: ModelConfig, digits: Dataset) -> None:
    model = build(config, digits.manifest.layout, seed=3)
    save_model(folder, model, config, {"dataset": "digits@1", "digest": "d" * 64, "mixture": {}})


def described(folder: Path, evaluation: Evaluation | None = FIGURES) -> Record:
    return record_of("digits", "night-1", load_model(folder), {"kind": "train"}, evaluation, GATES)


def registered(registry: Registry, tracking: Tracking, name: str, folder: Path) -> ModelVersion:
    run = begin_run(tracking, name, "test", {})
    run.attach(folder, MODEL_FOLDER)
    run.settle()
    return registry.register(name, run.run_id, name, load_model(folder).digest, {})


@pytest.fixture
def version(registry: Registry, tracking: Tracking, name: str, folder: Path) -> ModelVersion:
    return registered(registry, tracking, name, folder)


def generated(folder: Path, count: int, seed: int) -> np.ndarray[Any, Any]:
    """What a generation stores."""
    model = load_model(folder).model
    plan = Plan(
        dataset="night",
        model=ModelReference(name="digits", version=1, digest="0"),
        layout=model.layout,
        count=count,
        seed=seed,
        shard_size=1000,
        code="0",
    )
    samples = range(count)
    made = make_samples(model, samples, plan.seeds(samples), plan.classes(samples))
    stored: np.ndarray[Any, Any] = made.stored.numpy()
    return stored


def test_mlflow_predicts_what_a_generation_makes(
    version: ModelVersion, tracking: Tracking, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    # mlflow.set_tracking_uri would set it for every test that comes after.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/{version.version}")
    made = model.predict({"count": 16, "seed": 7})

    assert made.dtype == np.uint8
    assert made.shape == (16, 1, 8, 8)
    assert np.array_equal(made, generated(folder, 16, 7))
    assert len(model.predict({"count": 300, "seed": 8})) == 300


def test_what_is_asked_wrongly_is_refused(folder: Path) -> None:
    model = mlflow.pyfunc.load_model(str(folder))
    for wrong in ({"count": "many", "seed": 7}, {"seed": 7}):
        with pytest.raises(mlflow.MlflowException):
            model.predict(wrong)
    with pytest.raises(ValueError, match="count must be at least 1"):
        model.predict({"count": 0, "seed": 7})


def test_beside_the_arrays_lies_what_is_known_of_them(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"tensors.safetensors", "plain.json", "hashes.json", RECORD, CARD, "MLmodel"} <= names
    record = json.loads((folder / RECORD).read_text())
    assert record["evaluation"]["extractor_digest"] == "e" * 64
    assert record["trained_on"]["digest"] == "d" * 64
    assert record["spec"] == {"kind": "train"}
    assert record["layout"]["modality"] == "image"
    assert record["digest"] == load_model(folder).digest
    served = Model.load(str(folder))
    assert served.signature is not None
    assert served.load_input_example(str(folder)) == EXAMPLE
    assert "/" not in served.flavors["python_function"]["model_code_path"]
    assert "aigc-factory==" in (folder / "requirements.txt").read_text()


def test_the_digest_of_the_weights_does_not_depend_on_what_is_beside_them(
    folder: Path, digits: Dataset, tmp_path: Path
) -> None:
    save(tmp_path / "bare", GAN, digits)
    assert load_model(tmp_path / "bare").digest == load_model(folder).digest
    assert pickled(folder) == []


def pickled(folder: Path) -> list[str]:
    """Files that begin as a pickle or a zip archive does."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if path.read_bytes()[:2] in (b"\x80\x04", b"PK")]


def test_the_card_tells_figures_with_their_protocol_gates_and_limits(folder: Path) -> None:
    text = card(described(folder))
    for said in (
        "A gan for records of image, 1 × 8 × 8 each.",
        "`digits@1`, the split train",
        "| frechet_1k | 50 |",
        "1,000 samples in the features of extractor `eeeeeeeeeeee`",
        "frechet_1k at most 60",
        "better than the champion's",
        "repeats training records was not measured",
        "submission `night-1`",
    ):
        assert said in text
    assert "None were taken." in card(described(folder, None))


def test_what_makes_no_samples_has_a_card_too(tmp_path: Path, digits: Dataset) -> None:
    save(tmp_path, ClassifierConfig(width=4), digits)
    assert "makes no samples" in card(described(tmp_path, None))


class Trap:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.trace, "executed")


def plant_pickle(folder: Path, trace: Path) -> Callable[[], object]:
    content = pickle.dumps(Trap(trace))
    for name in ("python_model.pkl", "model.pkl", "data.pickle"):
        (folder / name).write_bytes(content)
    return lambda: pickle.loads(content)


def plant_torch(folder: Path, trace: Path) -> Callable[[], object]:
    for name in ("model.pt", "data/model.pth", "tensors.pt2"):
        (folder / name).parent.mkdir(exist_ok=True)
        torch.save(Trap(trace), folder / name)
    return lambda: torch.load(folder / "model.pt", weights_only=False)


def plant_loader_module(folder: Path, trace: Path) -> Callable[[], object]:
    (folder / "code").mkdir()
    source = f"import pathlib\npathlib.Path({str(trace)!r}).write_text('executed')\n"
    for name in ("code/planted_loader.py", "served.py", "sitecustomize.py", "conftest.py"):
        (folder / name).write_text(source)
    described = yaml.safe_load((folder / "MLmodel").read_text())
    described["flavors"] = {
        "python_function": {"loader_module": "planted_loader", "code": "code", "env": {}}
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(described))
    return lambda: mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize("plant", [plant_pickle, plant_torch, plant_loader_module])
def test_what_is_planted_in_an_artifact_runs_nothing(
    plant: Callable[[Path, Path], Callable[[], object]],
    registry: Registry,
    tracking: Tracking,
    name: str,
    folder: Path,
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    naive = plant(folder, trace)
    version = registered(registry, tracking, name, folder)
    registry.fetch(version, tmp_path / "fetched")
    load_model(tmp_path / "fetched")
    assert not trace.exists()

    # The payload is a real one: who reads it the careless way runs it.
    with pytest.raises(Exception, match=r".*") if plant is plant_loader_module else nullcontext():
        naive()
    assert trace.exists()


@pytest.mark.slow
def test_mlflow_serves_it(folder: Path, tmp_path: Path) -> None:
    with serving(folder, tmp_path / "log") as address:
        asked = json.dumps({"inputs": EXAMPLE}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/invocations", asked, headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            answered = json.loads(reply.read())
    assert np.array_equal(np.array(answered["predictions"]), generated(folder, 16, 7))


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[str]:
    """The address of a real `mlflow models serve`, ended with the processes that it starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    place = ["--model-uri", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    # MLflow looks for uvicorn on the path, where an activated environment has it.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        log.open("w") as said,
        subprocess.Popen(
            [*command, *place],
            env=os.environ | {"PATH": path},
            stdout=said,
            stderr=said,
            start_new_session=True,
        ) as server,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        with suppress(OSError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.5)
    raise AssertionError(log.read_text())
