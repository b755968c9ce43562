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

from aigc.errors import ArtifactCorrupt
from aigc.models.artifact import load_model
from cluster.code import code_digest
from cluster.errors import ModelNotFound, NoChampion
from cluster.evaluation import Evaluation
from cluster.judgement import Verdict
from cluster.tracking import SUBMISSION_TAG, Tracking, answered

CHAMPION, CHALLENGER = "champion", "challenger"
MODEL_FOLDER = "model"
"""The folder of a run's artifacts that holds the model."""
DIGEST_TAG, EVALUATION_TAG, VERDICT_TAG = "aigc.digest", "aigc.evaluation", "aigc.verdict"
DATASET_TAG, RECIPE_TAG, FAMILY_TAG = "aigc.dataset", "aigc.recipe", "aigc.family"
UNBOUNDED_TAG = "aigc.unbounded"
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

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    @property
    def _client(self) -> MlflowClient:
        return self._tracking.client

    def register(
        self, name: str, run_id: str, submission: str, digest: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The version that a submission made; registered now unless it already was.

        It is the challenger until it is promoted or another one comes.
        """
        for known in self.versions(name):
            if known.tags.get(SUBMISSION_TAG) == submission:
                return known
        own = {SUBMISSION_TAG: submission, DIGEST_TAG: digest, CODE_TAG: code_digest()}
        all_tags = {**own, **tags}
        with answered():
            self._ensure(name)
            source = f"runs:/{run_id}/{MODEL_FOLDER}"
            made = self._client.create_model_version(name, source, run_id, tags=all_tags)
            self._client.set_registered_model_alias(name, CHALLENGER, str(made.version))
        return self._version(made)

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
        return sorted((self._version(each) for each in found), key=lambda each: each.version)

    def resolve(self, reference: str) -> ModelVersion:
        """NAME@VERSION or NAME@ALIAS. Raises ModelNotFound, NoChampion."""
        name, _, which = reference.partition("@")
        self.known(name)
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
        """Copy the version's artifact to `folder`. Raises ArtifactCorrupt if it is not the one
        that was registered."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as fetched, answered():
            found = self._client.download_artifacts(version.run_id, MODEL_FOLDER, fetched)
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

    def promote(self, version: ModelVersion, verdict: Verdict) -> None:
        """Record the verdict with the version, and make it the champion if it passed."""
        self._tag(version, VERDICT_TAG, json.dumps(verdict.as_dict()))
        if verdict.passed:
            with answered():
                number = str(version.version)
                self._client.set_registered_model_alias(version.name, CHAMPION, number)
                if CHALLENGER in self.resolve(str(version)).aliases:
                    self._client.delete_registered_model_alias(version.name, CHALLENGER)

    def _tag(self, version: ModelVersion, key: str, value: str) -> None:
        with answered():
            self._client.set_model_version_tag(version.name, str(version.version), key, value)

    def _ensure(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _version(self, made: MlflowVersion) -> ModelVersion:
        # search_model_versions leaves the aliases out.
        aliases = self._client.get_registered_model(made.name).aliases
        number = int(str(made.version))  # MLflow declares a string and gives a number
        created = datetime.fromtimestamp(made.creation_timestamp / 1000, UTC)
        return ModelVersion(
            name=made.name,
            version=number,
            digest=made.tags.get(DIGEST_TAG, ""),
            run_id=made.run_id or "",
            aliases=tuple(alias for alias, to in aliases.items() if int(to) == number),
            created=created.isoformat(timespec="seconds"),
            tags=dict(made.tags),
        )


def _plain(text: str | None) -> dict[str, Any] | None:
    return json.loads(text) if text else None
