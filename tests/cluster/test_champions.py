"""The champions that a workspace keeps for nights without a registry."""

from __future__ import annotations

import threading
from pathlib import Path

from aigc.layout import Layout
from aigc.models import build
from aigc.models.artifact import save_model
from aigc.models.gan import GANConfig
from cluster.champions import Champions
from cluster.registry import ModelVersion
from cluster.workspace import Workspace

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=("0", "1"))
CONFIG = GANConfig(latent_size=8, width=8)


def registered(folder: Path, seed: int, aliases: tuple[str, ...] = ("champion",)) -> ModelVersion:
    digest = save_model(folder, build(CONFIG, LAYOUT, seed=seed), CONFIG, {})
    return ModelVersion("digits", seed, digest, "run", aliases, "2027-01-31T02:00:00+00:00", {})


def test_nights_that_keep_the_same_champion_at_once_do_not_disturb_each_other(
    workspace: Workspace, tmp_path: Path
) -> None:
    versions = [registered(tmp_path / str(seed), seed) for seed in (1, 2)]
    start, failed = threading.Barrier(8), list[Exception]()

    def night(number: int) -> None:
        start.wait()
        try:
            for turn in range(10):
                version = versions[(number + turn) % 2]
                Champions(workspace).keep(version, tmp_path / str(version.version))
        except Exception as error:
            failed.append(error)

    nights = [threading.Thread(target=night, args=(number,)) for number in range(8)]
    for each in nights:
        each.start()
    for each in nights:
        each.join()

    assert failed == []
    last = Champions(workspace).last("digits")
    assert last is not None
    assert last[0] in versions
    assert Champions(workspace).fetch(last[0], tmp_path / "fetched")


def test_only_a_champion_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    version = registered(tmp_path / "model", 1, aliases=("challenger",))
    Champions(workspace).keep(version, tmp_path / "model")
    assert Champions(workspace).last("digits") is None
    assert not Champions(workspace).fetch(version, tmp_path / "fetched")
