"""The machine, its Ray, its GPUs, and what it has room for: judged from figures."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from cluster.doctor import collective
from cluster.doctor.collective import all_reduce, judge_sum
from cluster.doctor.gpus import Card, Torch, card_of, cards, judge_cards, judge_nccl
from cluster.doctor.machine import (
    GIBIBYTE,
    judge_memory,
    judge_open_files,
    judge_processors,
    judge_shared,
    limit,
    quota,
)
from cluster.doctor.ray_start import (
    address_of,
    judge_host,
    judge_ports,
    judge_scratch,
    judge_variables,
    listens,
)
from cluster.doctor.room import free_now, judge_jobs, told
from cluster.resources import Capacity, Node, Resources

H100 = Card("NVIDIA H100 80GB HBM3", 0.0, "570.86.15")


@pytest.mark.parametrize(
    ("allowed", "there", "quota", "grade"),
    [(2, 2, None, "ok"), (2, 64, None, "ok"), (64, 64, 4.0, "warning"), (4, 64, 8.0, "ok")],
)
def test_processors_without_time_are_told(
    allowed: int, there: int, quota: float | None, grade: str
) -> None:
    assert judge_processors(allowed, there, quota).grade == grade


@pytest.mark.parametrize(
    ("text", "processors"), [("200000 100000\n", 2.0), ("max 100000\n", None), ("", None)]
)
def test_the_limits_of_a_container_are_read(
    text: str, processors: float | None, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    (tmp_path / "memory.max").write_text("1073741824\n")

    assert quota(tmp_path / "cpu.max") == processors
    assert limit(tmp_path / "memory.max") == GIBIBYTE
    assert limit(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("available", "limit", "grade"),
    [(30, None, "ok"), (3, None, "warning"), (0.5, None, "problem"), (30, 2, "warning")],
)
def test_too_little_memory_is_told(available: float, limit: int | None, grade: str) -> None:
    most = limit and limit * GIBIBYTE

    assert judge_memory(int(available * GIBIBYTE), 32 * GIBIBYTE, most).grade == grade


def test_the_shared_memory_of_a_container_is_small() -> None:
    assert judge_shared(64 * 2**20, 64 * 2**20).grade == "warning"
    assert judge_shared(8 * GIBIBYTE, 16 * GIBIBYTE).grade == "ok"


@pytest.mark.parametrize(
    ("soft", "hard", "grade"),
    [
        (256, 512, "problem"),
        (1024, 2048, "warning"),
        (1024, 524288, "ok"),
        (4096, resource.RLIM_INFINITY, "ok"),
    ],
)
def test_too_few_open_files_are_told(soft: int, hard: int, grade: str) -> None:
    assert judge_open_files(soft, hard).grade == grade


@pytest.mark.parametrize(
    ("environment", "grade"),
    [
        ({}, "ok"),
        ({"RAY_AUTH_MODE": "token"}, "ok"),
        ({"RAY_AUTH_MODE": "disabled"}, "warning"),
        ({"RAY_ADDRESS": "ray://me:canary@head:10001"}, "warning"),
    ],
)
def test_variables_that_lead_ray_elsewhere_are_told(
    environment: dict[str, str], grade: str
) -> None:
    finding = judge_variables(environment)

    assert finding.grade == grade
    assert "canary" not in finding.found


def test_another_ray_is_told_of_by_its_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert listens(port)
    assert not listens(port)
    assert judge_ports([]).grade == "ok"
    assert "a head on 6379" in judge_ports([6379, 8265]).found


def test_a_machine_without_an_address_is_a_problem() -> None:
    assert address_of("localhost") == "127.0.0.1"
    assert address_of("nowhere.invalid") is None
    assert judge_host("here", None).grade == "problem"
    assert judge_host("here", "10.0.0.7").grade == "ok"


def test_a_folder_that_is_too_deep_for_sockets_is_a_problem() -> None:
    assert judge_scratch(Path("/tmp")).grade == "ok"
    assert judge_scratch(Path("/tmp") / ("x" * 60)).grade == "problem"


@pytest.mark.parametrize(
    ("there", "ours", "visible", "grade"),
    [
        ([], Torch(None, 0, None), None, "ok"),
        ([H100] * 2, Torch("13.0", 2, "2.27.3"), None, "ok"),
        ([H100] * 2, Torch("13.0", 1, "2.27.3"), "0", "ok"),
        ([H100] * 2, Torch("13.0", 0, "2.27.3"), None, "problem"),
        ([H100], Torch(None, 0, None), None, "warning"),
        ([], Torch("13.0", 1, "2.27.3"), None, "warning"),
    ],
)
def test_gpus_that_torch_does_not_see_are_told(
    there: list[Card], ours: Torch, visible: str | None, grade: str
) -> None:
    assert judge_cards(there, ours, visible).grade == grade


def test_gpus_are_used_side_by_side_by_nccl() -> None:
    assert judge_nccl(Torch("13.0", 2, "2.27.3")).found == "NCCL 2.27.3"
    assert judge_nccl(Torch("13.0", 2, None)).grade == "problem"


def test_a_line_of_the_driver_is_read() -> None:
    assert card_of("NVIDIA H100, 80000, 20000, 570.86.15") == Card("NVIDIA H100", 0.25, "570.86.15")
    assert card_of("NVIDIA GB10, [N/A], [N/A], 580.95.05").used_share == 0.0


def test_the_driver_is_asked_for_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = tmp_path / "nvidia-smi"
    answer.write_text("#!/bin/sh\necho \"$1, 100, 50, 570\" | sed 's/,memory.*version//'\n")
    answer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert cards() == [Card("--query-gpu=name", 0.5, "570")]


def test_processes_add_up() -> None:
    failure = all_reduce("gloo", 2)

    assert failure is None
    assert judge_sum("gloo", 2, failure).grade == "ok"


def test_why_processes_do_not_add_up_is_told() -> None:
    failure = all_reduce("nowhere", 1)

    assert failure is not None
    assert "nowhere" in failure
    assert judge_sum("nowhere", 1, failure).grade == "problem"


def test_processes_that_hang_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collective, "PATIENCE_SECONDS", 0.05)

    assert all_reduce("gloo", 2) == "no end within 0.05 s"


@pytest.mark.parametrize(
    ("load", "used", "free"),
    [(0.0, [0.0, 0.0], (4, 2)), (1.2, [0.0, 0.9], (3, 1)), (9.0, [0.9, 0.9], (0, 0))],
)
def test_what_is_at_work_is_not_free(
    load: float, used: list[float], free: tuple[float, float]
) -> None:
    node = free_now(Node(4, 2, 4, 2), load, used)

    assert (node.cpus_free, node.gpus_free) == free
    assert (node.cpus, node.gpus) == (4, 2)


def test_jobs_that_ask_for_the_same_are_judged_together() -> None:
    jobs = {
        "small": Resources(),
        "other": Resources(),
        "wide": Resources(workers=2),
        "large": Resources(workers=8),
        "graphic": Resources(gpus_per_worker=1),
    }
    now = Node(2, 0, 1, 0)
    found = {finding.name: finding for finding in judge_jobs(jobs, Capacity((now,)))}

    assert told(now) == "1 of 2 CPU are idle, no GPU"
    assert found["1 × (1 CPU)"].found == "now: small, other"
    assert found["2 × (1 CPU)"].found == "when idle: wide"
    assert found["8 × (1 CPU)"].grade == "warning"
    assert "The nearest that fits is 2 × (1 CPU)" in found["8 × (1 CPU)"].advice
    assert found["1 × (1 CPU and 1 GPU)"].found == "never: graphic"
