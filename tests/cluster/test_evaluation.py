"""Figures under a small real extractor: in their order, repeatable, and with their protocol."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.data.importers.contract import Options
from aigc.data.stream import Stream
from aigc.errors import MetricUnknown, ModelError
from aigc.generation.plan import GENERATED
from aigc.models import ModelConfig, build
from aigc.models.artifact import save_model
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.gan import GANConfig
from aigc.models.vae import VAEConfig
from aigc.training.config import TrainingConfig
from aigc.training.loop import Runtime, train
from aigc.training.state import TrainingState
from aigc.training.world import World
from cluster.evaluation import Evaluation, EvaluationRequest, content_size, evaluate_worker

CONFIGS: dict[str, ModelConfig] = {
    "gan": GANConfig(latent_size=8, width=8),
    "article": GANConfig(recipe="article", width=16),
    "vae": VAEConfig(latent_size=4, width=8, mixture=2),
    "classifier": ClassifierConfig(width=8, feature_size=16),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> Path:
    """A folder of models: a classifier that has learned something, the others fresh."""
    root = tmp_path_factory.mktemp("models")
    config = TrainingConfig(steps=150, batch_size=64, seed=0)
    for name, each in CONFIGS.items():
        model = build(each, digits.manifest.layout, seed=0)
        if name == "classifier":
            stream = Stream(digits, "train", config.batch_size, config.seed)
            silent = Runtime(World(), lambda *_: None, lambda _: None, lambda *_: None)
            train(TrainingState(model), stream, config, silent)
        save_model(root / name, model, each, {"dataset": digits.reference, "digest": ""})
    return root


@pytest.fixture(scope="module")
def request_(models: Path, datasets: Path) -> EvaluationRequest:
    metrics = ("frechet_300", "coverage_300", "inception_score_200")
    return EvaluationRequest(datasets, "digits", models / "gan", models / "classifier", metrics)


@pytest.fixture(scope="module")
def untrained(request_: EvaluationRequest) -> Evaluation:
    return evaluate_worker(request_)


def test_figures_come_in_their_order_with_the_whole_protocol(
    untrained: Evaluation, request_: EvaluationRequest, digits: Dataset
) -> None:
    assert tuple(untrained.figures) == request_.metrics
    assert untrained.dataset == digits.reference
    assert untrained.dataset_digest == digits.manifest.digest
    assert len(untrained.extractor_digest) == 64
    assert (untrained.samples, untrained.seed) == (300, 0)
    assert untrained.as_dict()["floor"] == untrained.floor


def test_noise_is_far_above_the_floor(untrained: Evaluation) -> None:
    assert 0 < untrained.floor < untrained.figures["frechet_300"] / 5
    assert untrained.figures["coverage_300"] < 0.2
    assert 1 <= untrained.figures["inception_score_200"] <= 10


def test_real_records_score_as_the_floor_says(
    request_: EvaluationRequest, digits: Dataset, untrained: Evaluation
) -> None:
    shards = [shard.model_copy(update={"split": GENERATED}) for shard in digits.shards("train")]
    real = Dataset(digits.folder, digits.manifest.model_copy(update={"shards": tuple(shards)}))
    count = real.manifest.splits[GENERATED]
    metrics = (f"frechet_{count}", f"coverage_{count}")
    scored = evaluate_worker(dataclasses.replace(request_, generated=real, metrics=metrics))

    assert scored.samples == count
    assert scored.figures[metrics[0]] == pytest.approx(scored.floor, rel=1e-6)
    assert scored.floor == pytest.approx(untrained.floor, rel=1e-6)
    assert scored.figures[metrics[1]] > 0.9


def test_the_same_request_gives_the_same_figures_and_another_seed_does_not(
    untrained: Evaluation, request_: EvaluationRequest
) -> None:
    other = evaluate_worker(dataclasses.replace(request_, seed=1))

    assert evaluate_worker(request_) == untrained
    assert other.figures["frechet_300"] != untrained.figures["frechet_300"]
    assert other.floor == untrained.floor


def test_more_metrics_do_not_change_the_others(
    untrained: Evaluation, request_: EvaluationRequest
) -> None:
    wider = ("frechet_300", "kernel_500", "neighbour_ratio_100")
    found = evaluate_worker(dataclasses.replace(request_, metrics=wider)).figures

    assert found["frechet_300"] == pytest.approx(untrained.figures["frechet_300"], rel=1e-6)


def test_an_unconditional_model_is_judged_too(request_: EvaluationRequest, models: Path) -> None:
    asked = dataclasses.replace(request_, model=models / "article", metrics=("frechet_300",))

    assert math.isfinite(evaluate_worker(asked).figures["frechet_300"])


def test_a_bound_needs_no_samples_and_repeats(request_: EvaluationRequest, models: Path) -> None:
    asked = dataclasses.replace(request_, model=models / "vae", metrics=("elbo",))
    found = evaluate_worker(asked)

    # An untrained decoder says 1/2 for each of 64 pixels.
    assert found.samples == 0
    assert found.figures["elbo"] == pytest.approx(-64 * math.log(2), rel=0.2)
    assert evaluate_worker(asked).figures == found.figures


def test_likelihoods_need_no_extractor(request_: EvaluationRequest, models: Path) -> None:
    metrics = ("elbo", "log_likelihood", "nats_per_byte")
    asked = dataclasses.replace(
        request_, model=models / "vae", extractor=None, metrics=metrics, seed=3
    )
    found = evaluate_worker(asked)
    figures = found.figures

    assert (found.floor, found.extractor_digest, found.samples) == (None, None, 0)
    assert figures["log_likelihood"] > figures["elbo"]
    assert figures["nats_per_byte"] == pytest.approx(-figures["log_likelihood"] / 64)
    with_samples = dataclasses.replace(
        request_, model=models / "vae", metrics=("frechet_300", "elbo"), seed=3
    )
    assert evaluate_worker(with_samples).figures["elbo"] == figures["elbo"]


def test_text_is_judged_by_its_bytes(tmp_path: Path) -> None:
    """An untrained model knows nothing: log 256 nats or so for each byte that is not padding."""
    (tmp_path / "tale.txt").write_text("Once upon a time there was a byte.\n" * 200)
    options = Options(length=64)
    tale, _ = import_dataset(tmp_path, "text", "tale", tmp_path / "tale.txt", options)
    config = AttentionConfig(width=8, depth=1, heads=2)
    model = build(config, tale.manifest.layout, seed=0)
    save_model(tmp_path / "model", model, config, {"dataset": tale.reference, "digest": ""})
    metrics = ("log_likelihood", "nats_per_byte")
    asked = EvaluationRequest(tmp_path, "tale", tmp_path / "model", None, metrics)
    figures = evaluate_worker(asked).figures

    assert figures["nats_per_byte"] == pytest.approx(math.log(256), rel=0.1)
    assert figures["log_likelihood"] < 0


def test_padding_is_no_content() -> None:
    stored = torch.tensor([[65, 0, 0], [65, 66, 0]], dtype=torch.uint8)
    assert content_size(stored, 0) == 3
    assert content_size(stored, None) == 6


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"metrics": ("elbo",)}, ModelError, "Likelihoods need a model that has them"),
        ({"extractor": None}, ModelError, "look at samples, and there is no extractor"),
        ({"metrics": ("frechett_5k",)}, MetricUnknown, "frechett_5k"),
        ({"extractor": "vae"}, ModelError, "is no classifier"),
        ({"model": "classifier"}, ModelError, "makes no samples"),
    ],
)
def test_what_cannot_be_judged_is_said(
    changes: dict[str, object],
    error: type[Exception],
    said: str,
    request_: EvaluationRequest,
    models: Path,
) -> None:
    folders = {
        key: models / str(changes[key]) for key in ("extractor", "model") if changes.get(key)
    }

    with pytest.raises(error, match=said):
        evaluate_worker(dataclasses.replace(request_, **(changes | folders)))


def test_a_table_has_a_row_for_each_figure_with_its_own_floor_and_protocol() -> None:
    figures = {"frechet_200": 31.5, "coverage_5k": 0.75, "elbo": -20.0}
    digests = {"dataset_digest": "d1", "extractor_digest": "e1"}
    evaluation = Evaluation(figures, 4.5, "digits@1", samples=5000, seed=7, **digests)
    table = evaluation.as_table()
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]

    assert [(row["metric"], row["figure"], row["better"], row["floor"]) for row in rows] == [
        ("frechet_200", 31.5, "lower", 4.5),
        ("coverage_5k", 0.75, "higher", None),
        ("elbo", -20.0, "higher", None),
    ]
    assert rows[0]["protocol"] == (
        "Fréchet distance to the held-out split; 200 samples of seed 7; "
        "digits@1 of digest d1; extractor of digest e1"
    )
    assert "5000 samples" in rows[1]["protocol"]
    assert "samples" not in rows[2]["protocol"]
    assert "extractor" not in rows[2]["protocol"]
