"""What is done when a worker is lost, and what is said, by the errors that Ray really raises."""

from __future__ import annotations

import pickle

import pytest
import torch
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

from aigc.errors import DataError, Preempted, ShardCorrupt, TrainingDiverged
from cluster.errors import JobFailed, OutOfMemory, WorkerLost
from cluster.failures import GiveUp, Retry, decide, kind_of, reported

LOSSES: list[BaseException] = [
    ActorDiedError(),
    ActorUnavailableError("the actor is gone", b"0" * 16),
    NodeDiedError("a node died"),
    RaySystemError("a raylet went away"),
    WorkerCrashedError(),
    WorkerHealthCheckFailedError("it does not answer", failure=ActorDiedError()),
    RuntimeError("[enforce fail] Connection closed by peer [10.0.0.1]:4040"),
    RuntimeError(
        "[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:11656: "
        "Connection reset by peer. This is typically caused by a remote worker hanging"
    ),
    torch.distributed.DistBackendError("NCCL error: remote process exited"),
]
FAULTS: list[BaseException] = [
    ValueError("wrong shape"),
    RuntimeError("mat1 and mat2 cannot be multiplied"),
    DataError("what", "next"),
    TrainingDiverged("loss is nan at step 4", "Lower the learning rate"),
    KeyError("missing"),
]
TOO_LARGE: list[BaseException] = [
    OutOfMemoryError("killed by the memory monitor"),
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    WorkerHealthCheckFailedError("it does not answer", failure=OutOfMemoryError("killed")),
]
WHOLE = WorkerGroupError("the group failed", {})


def after(reasons: dict[int, BaseException], failures: int = 0, allowed: int = 2) -> Retry | GiveUp:
    return decide(reasons, WHOLE, failures, allowed)


@pytest.mark.parametrize("reason", LOSSES, ids=lambda reason: type(reason).__name__)
def test_a_lost_worker_is_retried_until_the_failures_are_used_up(reason: BaseException) -> None:
    assert kind_of({1: reason}) == "lost"
    assert after({1: reason}, 0) == Retry(1, 1.0)
    assert after({1: reason}, 1) == Retry(2, 2.0)
    assert isinstance(after({1: reason}, 2), GiveUp)
    assert isinstance(after({1: reason}, 0, allowed=0), GiveUp)


def test_the_pause_between_attempts_has_an_end() -> None:
    assert after({0: ActorDiedError()}, 40, allowed=100) == Retry(41, 60.0)


def test_a_preempted_worker_is_retried_and_not_counted() -> None:
    reason = ActorDiedError()
    reason._preempted = True

    assert kind_of({0: RuntimeError("Connection closed by peer"), 1: reason}) == "preempted"
    assert after({1: reason}, 2, allowed=2) == Retry(2, 2.0)


def test_who_asks_to_stop_is_not_answered_with_another_attempt() -> None:
    asked = Preempted("stopped at step 7", "Submit the same spec again")
    reasons: dict[int, BaseException] = {0: asked, 1: RuntimeError("Connection closed by peer")}

    assert kind_of(reasons) == "stopped"
    assert after(reasons) == GiveUp(asked)
    assert kind_of({0: asked, 1: ActorDiedError()}) == "stopped"


@pytest.mark.parametrize("reason", FAULTS, ids=lambda reason: type(reason).__name__)
def test_an_error_of_code_or_data_is_never_retried(reason: BaseException) -> None:
    assert isinstance(after({0: reason}, allowed=5), GiveUp)


@pytest.mark.parametrize("reason", TOO_LARGE, ids=lambda reason: type(reason).__module__)
def test_what_does_not_fit_into_memory_is_not_tried_again(reason: BaseException) -> None:
    decision = after({0: RuntimeError("Connection closed by peer"), 1: reason}, allowed=5)

    assert isinstance(decision, GiveUp)
    assert isinstance(decision.error, OutOfMemory)
    assert "batch_size" in decision.error.next_step
    assert "training.accumulate" in decision.error.next_step


def test_without_a_reason_nothing_is_retried() -> None:
    assert isinstance(after({}, allowed=5), GiveUp)


def test_peers_of_a_lost_worker_do_not_hide_the_loss() -> None:
    reasons = {0: RuntimeError("Connection closed by peer"), 1: ActorDiedError()}

    assert after(reasons, 0, allowed=1) == Retry(1, 1.0)
    assert isinstance(reported(reasons, WHOLE), WorkerLost)


def test_a_workers_own_sentence_is_what_is_shown() -> None:
    own = ShardCorrupt("shard a.parquet: row group 3", "Restore the file")

    assert reported({1: own}, WHOLE) is own
    assert reported({0: ValueError("x"), 1: own}, WHOLE) is own


def test_an_error_of_its_own_beside_closed_connections_is_what_is_shown() -> None:
    own = ShardCorrupt("shard a.parquet: row group 3", "Restore the file")
    reasons: dict[int, BaseException] = {0: RuntimeError("Connection closed by peer"), 1: own}

    assert after(reasons, 0, allowed=1) == GiveUp(own)
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
