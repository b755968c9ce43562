from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from aigc.data.catalog import Dataset
from aigc.errors import ArtifactCorrupt
from aigc.models import build
from aigc.models.artifact import load_model, save_model
from aigc.models.vae import VAEConfig
from cluster.errors import ModelNotFound, NoChampion
from cluster.evaluation import Evaluation
from cluster.judgement import Verdict
from cluster.ledger import Cause
from cluster.record import begin_run
from cluster.registry import CHAMPION, ModelVersion, Registry
from cluster.tracking import Tracking

PASSED, REFUSED = Verdict(True, ()), Verdict(False, ())
ASKED = Cause("promote", "it looks good")


@pytest.fixture
def folder(tmp_path: Path, digits: Dataset) -> Path:
    config = VAEConfig(width=8, latent_size=2, mixture=2)
    model = build(config, digits.manifest.layout, seed=0)
    save_model(tmp_path / "model", model, config, {"dataset": "digits@1", "digest": "0"})
    return tmp_path / "model"


def register(
    registry: Registry, tracking: Tracking, name: str, folder: Path, submission: str | None = None
) -> ModelVersion:
    submission = submission or uuid.uuid4().hex
    run = begin_run(tracking, submission, "test", {})
    run.attach(folder, "model")
    run.settle()
    return registry.register(name, run.run_id, submission, load_model(folder).digest, {})


def evaluation(extractor: str = "e") -> Evaluation:
    return Evaluation({"frechet_1k": 50.0}, 2.0, "digits@1", "d", extractor, 1000, 0)


def test_a_submission_registers_one_version_however_often_it_is_tried(
    registry: Registry, tracking: Tracking, name: str, folder: Path
) -> None:
    one = register(registry, tracking, name, folder, "submission")
    again = register(registry, tracking, name, folder, "submission")
    other = register(registry, tracking, name, folder)

    assert (one.version, again.version, other.version) == (1, 1, 2)
    assert [each.version for each in registry.versions(name)] == [1, 2]


def test_only_a_passed_verdict_makes_a_champion(
    registry: Registry, tracking: Tracking, name: str, folder: Path
) -> None:
    one, two = (register(registry, tracking, name, folder) for _ in range(2))
    registry.promote(one, PASSED, ASKED)
    registry.promote(two, REFUSED, ASKED)

    champion = registry.champion(name)
    assert champion is not None
    assert champion.version == 1
    refused = registry.resolve(f"{name}@2").verdict
    assert refused is not None
    assert refused["passed"] is False


def test_a_fetched_model_is_the_one_that_was_registered(
    registry: Registry, tracking: Tracking, name: str, folder: Path, tmp_path: Path
) -> None:
    version = register(registry, tracking, name, folder)
    registry.fetch(version, tmp_path / "run" / "extractor")
    (tmp_path / "run" / "model").mkdir()
    registry.fetch(version, tmp_path / "run" / "extractor")

    assert load_model(tmp_path / "run" / "extractor").digest == version.digest
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["extractor", "model"]
    with pytest.raises(ArtifactCorrupt, match="is not the one that was registered"):
        registry.fetch(replace(version, digest="0" * 64), tmp_path / "run" / "other")


def test_what_is_not_there_is_answered_by_what_there_is(
    registry: Registry, tracking: Tracking, name: str, folder: Path
) -> None:
    register(registry, tracking, name, folder)

    with pytest.raises(ModelNotFound, match=rf"no model 'faces'.*{name}"):
        registry.resolve("faces@champion")
    with pytest.raises(ModelNotFound, match=f"Versions of {name}: 1"):
        registry.resolve(f"{name}@7")
    with pytest.raises(NoChampion, match="has no champion"):
        registry.resolve(f"{name}@{CHAMPION}")
    assert registry.versions("faces") == []


def test_figures_are_compared_only_under_the_same_protocol(
    registry: Registry, tracking: Tracking, name: str, folder: Path
) -> None:
    version = register(registry, tracking, name, folder)
    assert version.figures_beside(evaluation()) is None
    registry.record(version, evaluation())
    recorded = registry.resolve(f"{name}@1")

    assert recorded.figures_beside(evaluation()) == {"frechet_1k": 50.0}
    assert recorded.figures_beside(evaluation(extractor="another")) is None


def test_the_newest_version_is_the_challenger_until_it_is_promoted(
    registry: Registry, tracking: Tracking, name: str, folder: Path
) -> None:
    register(registry, tracking, name, folder)
    two = register(registry, tracking, name, folder)
    assert registry.resolve(f"{name}@challenger").version == 2

    registry.promote(two, PASSED, ASKED)
    assert registry.resolve(f"{name}@champion").version == 2
    with pytest.raises(ModelNotFound):
        registry.resolve(f"{name}@challenger")


def test_a_version_whose_artifacts_are_gone_is_told_from_a_silent_store(
    registry: Registry, tracking: Tracking, name: str, tmp_path: Path
) -> None:
    run = begin_run(tracking, uuid.uuid4().hex, "test", {})
    version = registry.register(name, run.run_id, run.folder.submission, "0" * 64, {})
    with pytest.raises(ArtifactCorrupt, match=f"no artifacts of {name}@1"):
        registry.fetch(version, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
