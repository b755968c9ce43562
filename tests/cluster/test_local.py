"""What is done when a worker is lost, and what is said, by the errors that Ray really raises."""

from __future__ import annotations

import pickle

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RaySystemError,
    WorkerCrashedError,
)
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from aigc.errors import DataError, ShardCorrupt, TrainingDiverged
from cluster.errors import JobFailed, WorkerLost
from cluster.local import after_failure, reported

LOSSES: list[BaseException] = [
    ActorDiedError(),
    ActorUnavailableError("the actor is gone", b"0" * 16),
    NodeDiedError("a node died"),
    OutOfMemoryError("killed by the memory monitor"),
    RaySystemError("a raylet went away"),
    WorkerCrashedError(),
    WorkerHealthCheckFailedError("it does not answer", failure=ActorDiedError()),
    RuntimeError("[enforce fail] Connection closed by peer [10.0.0.1]:4040"),
]
FAULTS: list[BaseException] = [
    ValueError("wrong shape"),
    RuntimeError("mat1 and mat2 cannot be multiplied"),
    DataError("what", "next"),
    TrainingDiverged("loss is nan at step 4", "Lower the learning rate"),
    KeyError("missing"),
]
WHOLE = WorkerGroupError("the group failed", {})


@pytest.mark.parametrize("reason", LOSSES, ids=lambda reason: type(reason).__name__)
def test_a_lost_worker_is_retried_until_the_failures_are_used_up(reason: BaseException) -> None:
    assert [after_failure({1: reason}, n, max_failures=2) for n in (1, 2, 3)] == [
        "retry",
        "retry",
        "raise",
    ]
    assert after_failure({1: reason}, 1, max_failures=0) == "raise"


@pytest.mark.parametrize("reason", FAULTS, ids=lambda reason: type(reason).__name__)
def test_an_error_of_code_or_data_is_never_retried(reason: BaseException) -> None:
    assert after_failure({0: reason}, 1, max_failures=5) == "raise"


def test_without_a_reason_nothing_is_retried() -> None:
    assert after_failure({}, 1, max_failures=5) == "raise"


def test_peers_of_a_lost_worker_do_not_hide_the_loss() -> None:
    reasons = {0: RuntimeError("Connection closed by peer"), 1: ActorDiedError()}

    assert after_failure(reasons, 1, max_failures=1) == "retry"
    assert isinstance(reported(reasons, WHOLE), WorkerLost)


def test_a_workers_own_sentence_is_what_is_shown() -> None:
    own = ShardCorrupt("shard a.parquet: row group 3", "Restore the file")

    assert reported({1: own}, WHOLE) is own
    assert reported({0: ValueError("x"), 1: own}, WHOLE) is own


def test_an_error_of_its_own_beside_closed_connections_is_what_is_shown() -> None:
    own = ShardCorrupt("shard a.parquet: row group 3", "Restore the file")
    reasons: dict[int, BaseException] = {0: RuntimeError("Connection closed by peer"), 1: own}

    assert after_failure(reasons, 1, max_failures=1) == "raise"
    assert reported(reasons, WHOLE) is own


def test_a_loss_says_what_happened_and_how_to_go_on() -> None:
    said = reported({1: NodeDiedError("the node 10.0.0.7 died\nand more")}, WHOLE)

    assert isinstance(said, WorkerLost)
    assert "rank 1: NodeDiedError" in said.what
    assert "\n" not in said.what
    assert "max_failures" in said.next_step
    assert "same spec again" in said.next_step


@pytest.mark.parametrize("reason", FAULTS[:2])
def test_a_fault_without_a_sentence_is_named_with_its_rank(reason: BaseException) -> None:
    said = reported({3: reason}, WHOLE)

    assert isinstance(said, JobFailed)
    assert said.what == f"training failed: rank 3: {type(reason).__name__}: {reason}"


def test_an_empty_message_is_no_obstacle() -> None:
    assert "ValueError" in str(reported({0: ValueError()}, WHOLE))
    assert "the group failed" in str(reported({}, WHOLE))


@pytest.mark.parametrize("reason", [*LOSSES[:4], *FAULTS], ids=lambda each: type(each).__name__)
def test_what_is_shown_travels_between_processes(reason: BaseException) -> None:
    said = reported({0: reason}, WHOLE)

    assert str(pickle.loads(pickle.dumps(said))) == str(said)
