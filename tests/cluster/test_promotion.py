"""Promotion through the ledger: whoever asks, however many at once, and wherever one is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable

import promoting
import pytest

from cluster.aliases import CHALLENGER, CHAMPION, NOBODY
from cluster.errors import GateRefused, NoChampion
from cluster.evaluation import Evaluation
from cluster.judgement import Gates, Verdict
from cluster.ledger import Cause, Move, whoever_asks
from cluster.promotion import promote, promote_recorded
from cluster.record import begin_run
from cluster.registry import ModelVersion, Registry, open_registry
from cluster.tracking import Tracking
from cluster.workspace import Workspace

BETTER = Gates.model_validate({"better_than_champion": "frechet_1k"})
BOUNDED = Gates.model_validate({"frechet_1k": {"at_most": 60}})
PASSED = Verdict(True, ())
ASKED = Cause("promote", "it looks good")

pytestmark = pytest.mark.usefixtures("decisions")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All of them on both stores; on PostgreSQL only the sixteen at once are not slow."""
    many = metafunc.function is test_sixteen_at_once_leave_one_champion_and_sixteen_rows
    marks = [] if many else [pytest.mark.slow]
    stores = ["sqlite", pytest.param("postgresql", marks=marks)]
    metafunc.parametrize("decisions", stores, indirect=True)


@pytest.fixture
def registry(store: Workspace, tracking: Tracking, decisions: None) -> Registry:
    return open_registry(store, tracking)


@pytest.fixture
def version(registry: Registry, tracking: Tracking, name: str) -> Callable[..., ModelVersion]:
    """Registers a version with a figure, and the gates that it has to pass."""

    def make(figure: float, gates: Gates | None = BOUNDED, model: str = name) -> ModelVersion:
        submission = uuid.uuid4().hex
        run = begin_run(tracking, submission, "test", {})
        made = registry.register(model, run.run_id, submission, "0" * 64, {})
        registry.record(made, evaluation(figure))
        if gates:
            registry.require(made, gates)
        return registry.resolve(str(made))

    return make


def evaluation(figure: float, extractor: str = "e") -> Evaluation:
    return Evaluation({"frechet_1k": figure}, 2.0, "digits@1", "d", extractor, 1000, 0)


def champions(registry: Registry, name: str) -> list[Move]:
    return [move for move in registry.history(name) if move.alias == CHAMPION]


def at_once(store: Workspace, promotions: list[tuple[ModelVersion, str | None]]) -> None:
    asked = [{"version": str(version), "point": point} for version, point in promotions]
    command = [sys.executable, promoting.__file__, str(store.root), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_sixteen_at_once_leave_one_champion_and_sixteen_rows(
    store: Workspace, registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    versions = [version(50.0) for _ in range(16)]
    at_once(store, [(each, None) for each in versions])
    moves = champions(registry, name)

    assert sorted(move.to_version or 0 for move in moves) == list(range(1, 17))
    assert [move.from_version for move in moves] == [None, *(m.to_version for m in moves[:-1])]
    assert {move.state for move in moves} == {"done"}
    assert [each.version for each in registry.versions(name) if CHAMPION in each.aliases] == [
        moves[-1].to_version
    ]


def test_what_has_beaten_one_champion_never_replaces_another(
    registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    one, two, three = version(50.0), version(45.0), version(40.0)
    assert registry.promote(one, PASSED, ASKED, beaten=NOBODY)

    def meanwhile(champion: ModelVersion, metric: str) -> dict[str, float]:
        """The champion's figure, during whose measurement another one is promoted."""
        if champion.version == one.version:
            promote_recorded(registry, three, ASKED)
        return {metric: 50.0 if champion.version == one.version else 40.0}

    elsewhere = evaluation(45.0, extractor="another")
    verdict = promote(registry, two, elsewhere, BETTER, ASKED, meanwhile)

    assert not verdict.passed
    assert "not lower than the champion's 40" in str(verdict)
    assert [move.to_version for move in champions(registry, name)] == [1, 3]
    assert not registry.promote(two, PASSED, ASKED, beaten=NOBODY)
    assert [move.to_version for move in champions(registry, name)] == [1, 3]


def test_what_a_killed_promotion_began_is_finished_by_the_next_one(
    store: Workspace, registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    models = {point: f"{name}-{number}" for number, point in enumerate(promoting.POINTS)}
    dying = list[tuple[ModelVersion, str | None]]()
    for point, model in models.items():
        promote_recorded(registry, version(50.0, model=model), ASKED)
        dying.append((version(40.0, model=model), point))
    at_once(store, dying)

    for point, model in models.items():
        moves, began = champions(registry, model), point != "before the intent"
        assert [move.to_version for move in moves] == ([1, 2] if began else [1]), point
        assert {move.state for move in moves} == {"done"}, point
        assert registry.resolve(f"{model}@champion").version == len(moves), point
        aliases = {alias for each in registry.versions(model) for alias in each.aliases}
        assert aliases == ({CHAMPION} if began else {CHAMPION, CHALLENGER}), point


def test_what_cannot_be_finished_is_withdrawn(
    store: Workspace,
    registry: Registry,
    tracking: Tracking,
    version: Callable[..., ModelVersion],
    name: str,
) -> None:
    one, two, three = version(50.0), version(40.0), version(30.0)
    promote_recorded(registry, one, ASKED)
    at_once(store, [(two, "before the alias")])
    tracking.client.set_registered_model_alias(name, CHAMPION, str(three.version))
    moves = champions(registry, name)

    assert [(move.to_version, move.kind, move.state) for move in moves] == [
        (1, "promote", "done"),
        (2, "promote", "withdrawn"),
        (3, "outside", "done"),
    ]


def test_a_row_says_who_when_why_and_by_which_gates(
    registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    promote_recorded(registry, version(50.0), ASKED)
    (move,) = champions(registry, name)

    assert (move.who, move.why, move.kind) == (whoever_asks(), "it looks good", "promote")
    assert move.at.endswith("+00:00")
    assert move.gates is not None
    assert move.gates["results"][0]["reason"] == "frechet_1k is 50, at most 60"
    assert (move.from_version, move.to_version) == (None, 1)


def test_the_gates_refuse_and_force_overrules_them_on_the_record(
    registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    bad = version(90.0)
    assert not promote_recorded(registry, bad, ASKED).passed
    assert champions(registry, name) == []

    promote_recorded(registry, bad, Cause("force", "the gates are wrong"))
    (move,) = champions(registry, name)
    assert (move.kind, move.why) == ("force", "the gates are wrong")
    assert move.gates is not None
    assert move.gates["passed"] is False


def test_without_gates_only_force_promotes(
    registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    free = version(50.0, None)
    with pytest.raises(GateRefused, match="has no gates to be judged by"):
        promote_recorded(registry, free, ASKED)
    promote_recorded(registry, free, Cause("force", "by hand"))
    assert registry.resolve(f"{name}@champion").version == 1


def test_figures_of_another_extractor_do_not_beat_the_champion(
    registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    promote_recorded(registry, version(50.0, BETTER), ASKED)
    other = version(40.0, BETTER)
    registry.record(other, evaluation(40.0, extractor="another"))
    verdict = promote_recorded(registry, registry.resolve(str(other)), ASKED)

    assert "evaluate it first" in str(verdict)
    measured = promote(
        registry,
        other,
        evaluation(40.0, extractor="another"),
        BETTER,
        ASKED,
        lambda champion, metric: {metric: 45.0},
    )
    assert measured.passed


def test_a_submission_registers_and_promotes_once_also_after_a_rollback(
    registry: Registry, tracking: Tracking, version: Callable[..., ModelVersion], name: str
) -> None:
    promote_recorded(registry, version(50.0), ASKED)
    two = version(40.0)
    job = Cause("train", "it passed", two.submission)
    first = promote(registry, two, evaluation(40.0), BETTER, job)
    registry.roll_back(name, Cause("rollback", "it makes 7s"))
    again = registry.register(name, two.run_id, two.submission, two.digest, {})

    assert (again.version, registry.resolve(f"{name}@2").aliases) == (2, ())
    promote_recorded(registry, version(30.0), ASKED)
    assert promote(registry, two, evaluation(40.0), BETTER, job) == first
    assert registry.resolve(f"{name}@champion").version == 3


def test_rolling_back_twice_goes_back_twice(
    registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    for figure in (50.0, 40.0, 30.0):
        promote_recorded(registry, version(figure), ASKED)
    back = Cause("rollback", "it makes 7s")
    champion, withdrawn = registry.roll_back(name, back)
    assert (champion.version, withdrawn and withdrawn.version) == (2, 3)
    champion, withdrawn = registry.roll_back(name, back)
    assert (champion.version, withdrawn and withdrawn.version) == (1, 2)

    with pytest.raises(NoChampion, match="no champion to go back to"):
        registry.roll_back(name, back)
    assert [move.to_version for move in champions(registry, name)] == [1, 2, 3, 2, 1]


def test_a_move_in_mlflow_itself_is_a_row_once(
    registry: Registry, tracking: Tracking, version: Callable[..., ModelVersion], name: str
) -> None:
    promote_recorded(registry, version(50.0), ASKED)
    version(40.0)
    tracking.client.set_registered_model_alias(name, CHAMPION, "2")
    for _ in range(2):
        moves = champions(registry, name)
        assert [(move.from_version, move.to_version, move.kind) for move in moves] == [
            (None, 1, "promote"),
            (1, 2, "outside"),
        ]
    champion, _ = registry.roll_back(name, Cause("rollback", "nobody asked"))
    assert champion.version == 1
    tracking.client.delete_registered_model_alias(name, CHAMPION)
    assert champions(registry, name)[-1].to_version is None
    assert registry.roll_back(name, Cause("rollback", "it was lost"))[0].version == 1


def test_another_registry_has_another_ledger(
    store: Workspace, registry: Registry, version: Callable[..., ModelVersion], name: str
) -> None:
    promote_recorded(registry, version(50.0), ASKED)
    other = Tracking(store)
    assert other.client, "connected before it goes by another name"
    other.uri = "http://elsewhere"
    (move,) = open_registry(store, other).history(name)

    assert move.kind == "outside"
