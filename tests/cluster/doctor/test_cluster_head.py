"""The head of a real cluster, examined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ray_head import RayHead

from cluster.doctor import cluster_head
from cluster.doctor.contract import Check, Installation
from cluster.doctor.examination import examine
from cluster.resources import Resources

pytestmark = pytest.mark.ray


def found(installation: Installation, address: str) -> dict[str, tuple[str, str]]:
    asked = replace(
        installation,
        head=(address, False),
        jobs=lambda: {"small": Resources(workers=1), "large": Resources(workers=9)},
    )
    (area,) = examine(asked, [Check("cluster", cluster_head.look)])
    return {each.name: (each.grade, each.found) for each in area.findings}


def test_a_head_that_takes_jobs(
    installation: Installation, ray_cluster: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_cluster.token or "")
    said = found(installation, ray_cluster.address)

    assert said["head"][0] == said["clock"][0] == "ok"
    assert said["nodes"] == ("ok", "1 node(s) with 2 CPU and 0 GPU in all")
    assert said["1 × (1 CPU)"][0] == "ok"
    assert said["9 × (1 CPU)"] == ("warning", "never: large")


def test_a_head_that_does_not_take_ours(
    installation: Installation, ray_cluster: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    assert "refuses the token" in found(installation, ray_cluster.address)["cluster"][1]


def test_no_head_is_asked_unless_one_is_named(installation: Installation) -> None:
    (area,) = examine(installation, [Check("cluster", cluster_head.look)])
    assert area.findings == ()
