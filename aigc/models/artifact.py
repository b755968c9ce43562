"""A trained model on disk: arrays, configuration, and what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aigc.errors import ArtifactCorrupt
from aigc.layout import Layout
from aigc.models import ModelConfig, build
from aigc.models.contract import Model
from aigc.training.tensors import read_tensors, write_tensors

_CONFIG: TypeAdapter[Any] = TypeAdapter(ModelConfig)


@dataclass(frozen=True)
class Artifact:
    """A model as it was registered; `digest` names its exact weights and configuration.

    `trained_on` is the reference and digest of the dataset, and the shares of others mixed in.
    """

    model: Model
    config: Any
    trained_on: dict[str, Any]
    digest: str


def save_model(folder: Path, model: Model, config: Any, trained_on: dict[str, Any]) -> str:
    """Write the model to `folder`, whole or not at all; returns the digest."""
    plain = {
        "format": 1,
        "config": config.model_dump(mode="json"),
        "layout": model.layout.model_dump(mode="json"),
        "trained_on": trained_on,
    }
    return write_tensors(folder, model.state_dict(), plain)


def load_model(folder: Path) -> Artifact:
    """The model in `folder`, in evaluation mode, after checking its hashes.

    Runs no code from the folder. Raises ArtifactCorrupt.
    """
    tensors, plain, digest = read_tensors(folder)
    try:
        config = _CONFIG.validate_python(plain["config"])
        model = build(config, Layout.model_validate(plain["layout"], strict=False), seed=0)
        model.load_state_dict(tensors)
    except (ValidationError, KeyError, RuntimeError) as error:
        raise ArtifactCorrupt(
            f"{folder} was written by another version of this program: {error}",
            "Train the model again, or use the version that wrote it",
        ) from error
    return Artifact(model.eval(), config, plain["trained_on"], digest)
