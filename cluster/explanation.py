"""One sample of a generated dataset: its record, its media file, and the same made again."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aigc.data.catalog import Dataset
from aigc.data.shards import ATTEMPT, LABEL, SAMPLE, SEED
from aigc.errors import DataError
from aigc.generation.finishing import MEDIA, media
from aigc.generation.labels.tables import LABEL_FIELD
from aigc.generation.media import MediaFile
from aigc.generation.plan import GENERATED, Plan
from aigc.generation.sampling import shard_table
from aigc.generation.scores import THUMBNAIL
from aigc.modalities import modality
from aigc.models.artifact import load_model
from cluster.lineage import plan_of
from cluster.registry import Registry


@dataclass(frozen=True)
class Sample:
    """A published sample: `record` is a table of one row, with all columns of the dataset, which
    is row number `row` of `shard`."""

    plan: Plan
    shard: str
    row: int
    record: pa.Table

    @classmethod
    def of(cls, dataset: Dataset, sample: int) -> Sample:
        """The sample of that id. Raises DataError when there is none, ShardCorrupt."""
        plan = plan_of(dataset)
        if plan is None:
            raise DataError(
                f"{dataset.reference} was not generated here: its records have no origin",
                "Name a dataset that a generate job has published",
            )
        if not 0 <= sample < plan.count:
            raise DataError(
                f"{dataset.reference} has no sample {sample}", f"They are 0 to {plan.count - 1}"
            )
        path = plan.path(sample // plan.shard_size)
        shard = next((each for each in dataset.manifest.shards if each.path == path), None)
        if shard is None:
            raise DataError(
                f"{path} of {dataset.reference} was left out, with sample {sample}",
                f"Look at the versions that there are: aigc data show {dataset.manifest.name}",
            )
        one = Dataset(dataset.folder, dataset.manifest.model_copy(update={"shards": (shard,)}))
        first = 0
        for batch in one.read(GENERATED, list(dataset.manifest.columns)):
            row = pc.index(batch.column(SAMPLE), sample).as_py()
            if row >= 0:
                record = pa.Table.from_batches([batch.slice(row, 1)])
                return cls(plan, shard.path, first + row, record)
            first += len(batch)
        raise DataError(
            f"sample {sample} is not where the plan of {dataset.reference} puts it",
            f"See what is wrong: aigc data verify {dataset.reference}",
        )

    def file(self) -> MediaFile:
        """Its media file, labelled. Raises DataError unless it has the hash that was published."""
        (file,) = media(self.record, self.plan)
        if bytes.fromhex(file.sha256) != self._value(MEDIA.name):
            raise DataError(
                f"the media file of sample {self._value(SAMPLE)} is not the one that was published",
                "It was published by another version of this program, or the record was changed",
            )
        return file

    def make_again(self, registry: Registry) -> bool:
        """Whether the model makes the same bytes of the seed again.

        Raises ModelNotFound, ArtifactCorrupt and TrackingUnavailable when it cannot be tried.
        """
        version = registry.resolve(str(self.plan.model))
        with tempfile.TemporaryDirectory() as folder:
            registry.fetch(version, Path(folder) / "model")
            model = load_model(Path(folder) / "model").model
        sample, attempt = self._value(SAMPLE), self._value(ATTEMPT)
        made = shard_table(model, self.plan, [sample], attempt)
        column = modality(self.plan.layout.modality).column_name
        return bool(
            made.column(column).to_pylist() == self.record.column(column).to_pylist()
            and made.column(SEED).to_pylist() == [self._value(SEED)]
        )

    def as_dict(self) -> dict[str, object]:
        """What the dataset says of it beside its content, as plain data."""
        content = {modality(self.plan.layout.modality).column_name, THUMBNAIL}
        said = {name: self._value(name) for name in self.record.column_names if name not in content}
        if LABEL in said:
            said[LABEL] = self.plan.layout.labels[said[LABEL]]
        said[MEDIA.name] = said[MEDIA.name].hex()
        said[LABEL_FIELD.name] = json.loads(said[LABEL_FIELD.name])
        return said | {"shard": self.shard, "row": self.row}

    def _value(self, name: str) -> Any:
        return self.record.column(name)[0].as_py()
