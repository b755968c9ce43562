"""The head of a real cluster, examined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ray_head import RayHead

from cluster.doctor import cluster_head
from cluster.doctor.cluster_head import FULL, judge_disks
from cluster.doctor.contract import Check, Installation
from cluster.doctor.examination import examine
from cluster.head import RAY
from cluster.head_replies import disks_of
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

    entry = f"{ray_cluster.address} runs Ray {RAY} and takes the token of RAY_AUTH_TOKEN"
    assert said["head"] == ("ok", entry)
    assert said["clock"][0] == "ok"
    assert "whose disk is the fullest" in said["disk"][1]
    assert said["nodes"] == ("ok", "1 node(s) with 2 CPU and 0 GPU in all")
    assert said["1 × (1 CPU)"][0] == "ok"
    assert said["9 × (1 CPU)"] == ("warning", "never: large")


def test_a_head_that_does_not_take_ours(
    installation: Installation, ray_cluster: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    said = found(installation, ray_cluster.address)["cluster"]
    assert said == ("problem", f"{ray_cluster.address} refuses the token of RAY_AUTH_TOKEN")


def test_the_fullest_disk_of_the_nodes_is_told() -> None:
    disks = disks_of(
        {
            "data": {
                "summary": [
                    {"hostname": "empty", "disk": {"/": {"free": 90 << 30, "total": 100 << 30}}},
                    {"hostname": "full", "disk": {"/": {"free": 100 << 20, "total": 10 << 30}}},
                    {"hostname": "new"},
                ]
            }
        }
    )
    judged = judge_disks(disks)

    assert (judged.grade, judged.advice) == ("problem", FULL)
    assert judged.found == "100.0 MiB of 10.0 GiB are free on full, whose disk is the fullest"
    assert disks_of({"data": {"summary": [{"hostname": 1, "disk": []}]}}) == []
    assert disks_of({}) == []


def test_no_head_is_asked_unless_one_is_named(installation: Installation) -> None:
    (area,) = examine(installation, [Check("cluster", cluster_head.look)])
    assert area.findings == ()
