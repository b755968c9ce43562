"""A sample is found where the plan puts it, whatever else the dataset has lost."""

from __future__ import annotations

import pytest

from aigc.data.catalog import Dataset, publish
from aigc.data.verification import Damage, without
from aigc.errors import DataError
from aigc.generation.plan import ModelReference, Plan
from aigc.layout import Layout
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.gan import GANConfig
from cluster.code import code_digest
from cluster.explanation import Sample
from cluster.generation import Generation, publish_checked
from cluster.lineage import made_by, plan_of
from cluster.places import Here
from cluster.registry import ModelVersion
from cluster.resources import Resources
from cluster.workspace import Workspace

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
CONFIG = GANConfig(latent_size=8, width=8)


@pytest.fixture
def published(workspace: Workspace) -> Dataset:
    """Thirty samples in three shards."""
    run = workspace.run("night-1")
    digest = save_model(run.model, build(CONFIG, LAYOUT, seed=1), CONFIG, {})
    plan = Plan(
        dataset="night",
        model=ModelReference(name="tiny", version=1, digest=digest),
        layout=LAYOUT,
        count=30,
        seed=3,
        shard_size=10,
        code=code_digest(),
    )
    made = Generation.pinned(plan, workspace, run).fill(Here(), Resources(), lambda done: None)
    publish_checked(made)
    return made


def test_a_sample_behind_a_shard_that_was_left_out_is_found(published: Dataset) -> None:
    lost = published.manifest.shards[1].path
    kept = without(published, [Damage("it is damaged", lost, (0,))])
    found = Sample.of(kept, 25)
    assert (found.shard, found.row) == (published.manifest.shards[2].path, 5)
    assert found.record.column("sample").to_pylist() == [25]
    with pytest.raises(DataError, match=f"{lost} of night@.* was left out, with sample 15"):
        Sample.of(kept, 15)


def test_a_plan_of_another_version_is_named_and_stops_no_listing(
    published: Dataset, workspace: Workspace
) -> None:
    plan = published.manifest.source["plan"]
    source = {**published.manifest.source, "plan": {**plan, "unheard_of": 1}}
    other = published.manifest.model_copy(update={"source": source, "version": "a" * 12})
    foreign = publish(published.folder.parent / other.version, other)
    with pytest.raises(DataError, match="is one of another version of this program"):
        plan_of(foreign)
    model = ModelVersion("tiny", 1, plan["model"]["digest"], "", (), "", {})
    made = made_by(workspace.datasets, model)
    assert [each.reference for each in made] == [published.reference]
