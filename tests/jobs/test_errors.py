"""Problems as they are printed, and the exit code of every error."""

from __future__ import annotations

import inspect
import pickle

import pytest

import aigc.errors
import cluster.errors
from aigc.errors import FactoryError
from cluster.errors import HandoverUnsettled, HeadUnavailable
from jobs.errors import Problem, SpecInvalid, dotted, exit_code, shortened
from jobs.schedule.decisions import FINAL

CODES = {
    "FactoryError": 100,
    "DataError": 100,
    "DatasetNotFound": 102,
    "ManifestInvalid": 100,
    "ShardCorrupt": 100,
    "ImportRefused": 2,
    "ModelError": 100,
    "ModalityUnsupported": 100,
    "ArtifactCorrupt": 100,
    "MetricUnknown": 2,
    "TrainingDiverged": 100,
    "TrainingCollapsed": 100,
    "WorkspaceUnwritable": 2,
    "ClusterError": 100,
    "CanNeverFit": 105,
    "JobFailed": 100,
    "OutOfMemory": 100,
    "Preempted": 101,
    "WorkerLost": 100,
    "ModelNotFound": 102,
    "NoChampion": 102,
    "GateRefused": 107,
    "WorkspaceNotFound": 102,
    "SubmissionNotFound": 102,
    "LogNotFound": 102,
    "Cancelled": 103,
    "CannotCancel": 2,
    "TrackingUnavailable": 100,
    "CredentialsRefused": 2,
}
PROBLEM = Problem("a.yaml", 7, ("training", "steps"), "must be greater than 0 (got 0)")


def errors() -> dict[str, type[FactoryError]]:
    members = {**vars(aigc.errors), **vars(cluster.errors)}
    return {
        name: kind
        for name, kind in members.items()
        if inspect.isclass(kind) and issubclass(kind, FactoryError)
    }


@pytest.mark.parametrize("name", CODES)
def test_each_error_has_the_exit_code_of_the_contract(name: str) -> None:
    assert exit_code(errors()[name]("what", "next")) == CODES[name]


def test_no_error_ends_as_done_or_as_our_fault() -> None:
    assert {exit_code(kind("what")) for kind in errors().values()} <= {
        2,
        100,
        101,
        102,
        103,
        104,
        105,
        106,
        107,
    }


def test_a_wrong_spec_is_wrong_usage() -> None:
    assert exit_code(SpecInvalid([PROBLEM])) == 2


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), OSError(2, "x")])
def test_what_nobody_foresaw_is_our_error(error: Exception) -> None:
    assert exit_code(error) == 1


def test_an_interruption_is_130() -> None:
    assert exit_code(KeyboardInterrupt()) == 130


def test_a_problem_reads_as_editors_expect_it() -> None:
    assert str(PROBLEM) == "a.yaml:7: training.steps: must be greater than 0 (got 0)"
    assert str(Problem("a.yaml", None, (), "is empty")) == "a.yaml: is empty"


def test_a_path_reads_as_it_is_written() -> None:
    assert dotted(("evaluation", "metrics", 0)) == "evaluation.metrics[0]"
    assert dotted(("a.b\n", "c")) == '"a.b\\n".c'


def test_a_quoted_value_is_short_and_on_one_line() -> None:
    assert shortened("a\nb") == '"a\\nb"'
    assert len(shortened("x" * 1000)) == 38


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SpecInvalid([PROBLEM, PROBLEM])))
    assert error.problems == (PROBLEM, PROBLEM)
    assert error.what == "the spec has 2 mistakes"
    assert str(error) == f"{PROBLEM}\n{PROBLEM}"


def test_a_head_that_is_silent_is_asked_again_by_a_schedule() -> None:
    """It may be starting again: a night must not be lost to that."""
    for kind in (HeadUnavailable, HandoverUnsettled):
        assert exit_code(kind("nobody answers", "Check the address")) not in FINAL
