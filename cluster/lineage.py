"""Lineage: from a sample back to what it was made from, and from a dataset to what came of it."""

from __future__ import annotations

from pathlib import Path

from aigc.data.catalog import Dataset, list_datasets
from aigc.generation.plan import ModelReference
from cluster.registry import ModelVersion


def made_by(datasets: Path, version: ModelVersion) -> list[Dataset]:
    """The published datasets that a version made, by name and then by age."""
    found, _ = list_datasets(datasets)
    mine = ModelReference(name=version.name, version=version.version, digest=version.digest)
    return [dataset for dataset in found if maker_of(dataset) == mine]


def maker_of(dataset: Dataset) -> ModelReference | None:
    """The model that made a generated dataset; None for an imported one."""
    plan = dataset.manifest.source.get("plan")
    return ModelReference.model_validate(plan["model"]) if plan else None
