"""The model registry: versions in MLflow, found by number or alias, promoted through gates."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from aigc.data.files import digest_of
from aigc.errors import ArtifactCorrupt
from aigc.models.artifact import load_model
from cluster.aliases import CHALLENGER as CHALLENGER
from cluster.aliases import CHAMPION as CHAMPION
from cluster.aliases import Aliases
from cluster.code import code_digest
from cluster.errors import ModelNotFound, NoChampion, TrackingRefused
from cluster.evaluation import Evaluation
from cluster.judgement import Gates, Verdict
from cluster.ledger import Cause, Ledger, Move, line_of, standing
from cluster.store import Store
from cluster.tracking import SUBMISSION_TAG, Tracking, answered
from cluster.workspace import Workspace

MODEL_FOLDER = "model"
"""The folder of a run's artifacts that holds the model."""
DIGEST_TAG, EVALUATION_TAG, VERDICT_TAG = "aigc.digest", "aigc.evaluation", "aigc.verdict"
DATASET_TAG, RECIPE_TAG, FAMILY_TAG = "aigc.dataset", "aigc.recipe", "aigc.family"
DATASET_DIGEST_TAG, MIXTURE_TAG = "aigc.dataset_digest", "aigc.mixture"
UNBOUNDED_TAG, GATES_TAG = "aigc.unbounded", "aigc.gates"
CODE_TAG = "aigc.code"


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry. `digest` is of the exact weights; `created` is ISO 8601."""

    name: str
    version: int
    digest: str
    run_id: str
    aliases: tuple[str, ...]
    created: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def dataset(self) -> str:
        """The reference of the dataset that it was trained on."""
        return self.tags.get(DATASET_TAG, "")

    @property
    def trained_on(self) -> dict[str, Any]:
        """That dataset, the digest of its content, and the shares of others mixed in."""
        return {
            "dataset": self.dataset,
            "digest": self.tags.get(DATASET_DIGEST_TAG),
            "mixture": _plain(self.tags.get(MIXTURE_TAG)) or {},
        }

    @property
    def family(self) -> str:
        """The family of the model."""
        return self.tags.get(FAMILY_TAG, "")

    @property
    def is_unbounded(self) -> bool:
        """Whether it is known to have no likelihood of a record, nor a bound on it."""
        return UNBOUNDED_TAG in self.tags

    @property
    def code(self) -> str | None:
        """The digest of the code that registered it."""
        return self.tags.get(CODE_TAG)

    @property
    def recipe(self) -> str:
        """The digest of all that it was made from."""
        return self.tags.get(RECIPE_TAG, "")

    @property
    def submission(self) -> str:
        """The id of the submission that made it."""
        return self.tags.get(SUBMISSION_TAG, "")

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What the gates of promotion said last."""
        return _plain(self.tags.get(VERDICT_TAG))

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The last recorded evaluation, as `Evaluation.as_dict` has it."""
        return _plain(self.tags.get(EVALUATION_TAG))

    @property
    def gates(self) -> Gates | None:
        """What it has to show to be champion, by the spec that made or judged it last."""
        plain = _plain(self.tags.get(GATES_TAG))
        return None if plain is None else Gates.model_validate(plain)

    def figures_beside(self, evaluation: Evaluation) -> dict[str, float] | None:
        """The recorded figures if they were taken on the same data under the same extractor."""
        mine = self.evaluation
        protocol = ("dataset_digest", "extractor_digest")
        if mine is None or any(mine[key] != getattr(evaluation, key) for key in protocol):
            return None
        figures: dict[str, float] = mine["figures"]
        return figures


class Registry:
    """The registered models of one MLflow store."""

    def __init__(self, tracking: Tracking, ledger: Ledger) -> None:
        self._tracking = tracking
        self._aliases = Aliases(tracking, ledger)

    @property
    def _client(self) -> MlflowClient:
        return self._tracking.client

    def register(
        self, name: str, run_id: str, submission: str, digest: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The version that a submission made; registered now unless it already was.

        It is the challenger until it is promoted or another one comes.
        """
        with self._aliases.held(name):
            made = self._made_by(name, submission)
            if made is None:
                own = {SUBMISSION_TAG: submission, DIGEST_TAG: digest, CODE_TAG: code_digest()}
                made = self._create(name, run_id, {**own, **tags})
            newest = made.version == self.versions(name)[-1].version
            if newest and CHAMPION not in made.aliases:
                cause = Cause("train", "it is the newest version", submission)
                self._aliases.move(name, CHALLENGER, made.version, cause)
        return made

    def _made_by(self, name: str, submission: str) -> ModelVersion | None:
        made = (each for each in self.versions(name) if each.submission == submission)
        return next(made, None)

    def _create(self, name: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        with answered():
            self._ensure(name)
            source = f"runs:/{run_id}/{MODEL_FOLDER}"
            made = self._client.create_model_version(name, source, run_id, tags=dict(tags))
        return _version(made, self._aliases.now(name))

    def names(self) -> list[str]:
        """Every registered model."""
        names, token = list[str](), None
        with answered():
            while True:
                page = self._client.search_registered_models(page_token=token)
                names.extend(model.name for model in page)
                token = page.token
                if not token:
                    return sorted(names)

    def versions(self, name: str) -> list[ModelVersion]:
        """The versions of a model, the oldest first; none when there is no such model."""
        with answered():
            found = self._client.search_model_versions(f"name = '{name}'", max_results=10_000)
        # search_model_versions leaves the aliases out.
        aliases = self._aliases.now(name)
        return sorted((_version(each, aliases) for each in found), key=lambda each: each.version)

    def resolve(self, reference: str) -> ModelVersion:
        """NAME@VERSION or NAME@ALIAS. Raises ModelNotFound, NoChampion."""
        name, _, which = reference.partition("@")
        self.known(name)
        if not which:
            raise ModelNotFound(
                f"{reference!r} names no version", f"Write {name}@{CHAMPION}, or {name}@NUMBER"
            )
        for version in self.versions(name):
            if which == str(version.version) or which in version.aliases:
                return version
        if which == CHAMPION:
            raise NoChampion(
                f"the model {name!r} has no champion",
                f"Name a version, as in {name}@1, or train one that passes the gates of "
                "registry.promote",
            )
        numbers = ", ".join(str(version.version) for version in self.versions(name))
        raise ModelNotFound(f"there is no model {reference!r}", f"Versions of {name}: {numbers}")

    def known(self, name: str) -> str:
        """The name, if there is such a model. Raises ModelNotFound."""
        names = self.names()
        if name not in names:
            registered = ", ".join(names) or "none yet: train one with aigc submit"
            raise ModelNotFound(f"there is no model {name!r}", f"Registered models: {registered}")
        return name

    def latest(self, name: str) -> ModelVersion:
        """The newest version of a model. Raises ModelNotFound."""
        versions = self.versions(self.known(name))
        return versions[-1] if versions else self.resolve(f"{name}@1")

    def champion(self, name: str) -> ModelVersion | None:
        """The champion of a model, if it has one."""
        return next((each for each in self.versions(name) if CHAMPION in each.aliases), None)

    def fetch(self, version: ModelVersion, folder: Path) -> None:
        """Copy the version's artifact to `folder`. Raises ArtifactCorrupt if it is gone, or not the
        one that was registered."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as fetched:
            try:
                with answered():
                    found = self._client.download_artifacts(version.run_id, MODEL_FOLDER, fetched)
            except TrackingRefused as refusal:
                raise ArtifactCorrupt(
                    f"MLflow has no artifacts of {version}: {refusal.what}",
                    "Promote another version, or train it again",
                ) from refusal
            shutil.rmtree(folder, ignore_errors=True)
            Path(found).rename(folder)
        if load_model(folder).digest != version.digest:
            raise ArtifactCorrupt(
                f"the stored model {version} is not the one that was registered",
                "Promote another version, or train it again",
            )

    def record(self, version: ModelVersion, evaluation: Evaluation) -> None:
        """Record an evaluation with the version."""
        self._tag(version, EVALUATION_TAG, json.dumps(evaluation.as_dict()))

    def require(self, version: ModelVersion, gates: Gates) -> None:
        """Record what the version has to show to be champion."""
        self._tag(version, GATES_TAG, json.dumps(gates.model_dump(mode="json")))

    def promote(
        self,
        version: ModelVersion,
        verdict: Verdict,
        cause: Cause,
        beaten: int | None = None,
    ) -> bool:
        """Record the verdict with the version, and make it champion if that or force says so.

        False, and nothing is moved, when somebody else than `beaten` is champion by now: the
        version's number, or aliases.NOBODY. None stands for whoever it is.
        """
        plain = verdict.as_dict()
        self._tag(version, VERDICT_TAG, json.dumps(plain))
        if not verdict.passed and cause.kind != "force":
            return True
        with self._aliases.held(version.name):
            return self._aliases.move(
                version.name, CHAMPION, version.version, cause, plain, expected=beaten
            )

    def roll_back(self, name: str, cause: Cause) -> tuple[ModelVersion, ModelVersion | None]:
        """Give the alias back to the champion before; returns that one, and the withdrawn one.

        Raises NoChampion when the ledger knows of none that is still there.
        """
        versions = {each.version: each for each in self.versions(self.known(name))}
        with self._aliases.held(name):
            moves = self._aliases.recorded(name)
            last = standing(moves, CHAMPION)
            now = last.to_version if last else None
            line = line_of(moves, CHAMPION)
            before = [each for each in line if each != now and each in versions]
            if not before:
                raise NoChampion(
                    f"the model {name!r} has no champion to go back to",
                    f"Promote a version: aigc model promote {name}@VERSION",
                )
            self._aliases.move(name, CHAMPION, before[-1], cause)
        return versions[before[-1]], versions.get(now or 0)

    def history(self, name: str) -> list[Move]:
        """Every move of the model's aliases, the oldest first. Raises ModelNotFound."""
        with self._aliases.held(self.known(name)):
            return self._aliases.recorded(name)

    def moved_outside(self, version: ModelVersion) -> Move | None:
        """The move that made this version champion, if that was done in MLflow itself."""
        with self._aliases.held(version.name):
            last = standing(self._aliases.recorded(version.name), CHAMPION)
        outside = last and last.kind == "outside" and last.to_version == version.version
        return last if outside else None

    def decided(self, name: str, submission: str) -> Verdict | None:
        """The verdict by which a submission has made the champion before, if it has."""
        for move in self._aliases.recorded(name):
            mine = (move.submission, move.alias, move.state) == (submission, CHAMPION, "done")
            if mine and move.gates is not None:
                return Verdict.of(move.gates)
        return None

    def _tag(self, version: ModelVersion, key: str, value: str) -> None:
        with answered():
            self._client.set_model_version_tag(version.name, str(version.version), key, value)

    def _ensure(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _version(made: MlflowVersion, aliases: Mapping[str, int]) -> ModelVersion:
    number = int(str(made.version))  # MLflow declares a string and gives a number
    created = datetime.fromtimestamp(made.creation_timestamp / 1000, UTC)
    return ModelVersion(
        name=made.name,
        version=number,
        digest=made.tags.get(DIGEST_TAG, ""),
        run_id=made.run_id or "",
        aliases=tuple(alias for alias, to in aliases.items() if to == number),
        created=created.isoformat(timespec="seconds"),
        tags=dict(made.tags),
    )


def open_registry(workspace: Workspace, tracking: Tracking) -> Registry:
    """The registry of an installation, with the ledger in its store. Raises StoreUnavailable."""
    return Registry(tracking, Ledger(Store.of(workspace), digest_of(tracking.uri)))


def _plain(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None
