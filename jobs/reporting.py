"""The report of a generation, from all that was found out about it."""

from __future__ import annotations

import heapq
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from torch import Tensor

from aigc.data.batches import in_class_columns
from aigc.data.catalog import Dataset
from aigc.data.shards import SAMPLE
from aigc.generation.media import FORMATS
from aigc.generation.plan import GENERATED, Plan
from aigc.generation.scores import DISTANCE, NEIGHBOUR
from aigc.generation.screening import Memory, copied_spans
from aigc.layout import Layout
from aigc.modalities import modality, stored_records
from aigc.modalities.text import texts
from aigc.models.artifact import Artifact
from cluster.candidates import Screened, training_records
from cluster.training import SHEET_RECORDS
from jobs.economics import account
from jobs.report import (
    Copying,
    Funnel,
    Labelling,
    ModelOrigin,
    Pair,
    Passage,
    Rejected,
    Report,
    ShardEntry,
    Sheet,
    TrainingData,
    contact_sheet,
    extremes,
    shown,
)
from jobs.screening import trained_on
from jobs.submission import Attempt

if TYPE_CHECKING:
    from jobs.generation import Judged, Work

REJECTED, PAIRS, PASSAGES, FARTHEST = 20, 12, 12, 30
"""So many of each are shown."""

RULES = {
    "image": "A copy is what lies nearer to a training record, as it is, flipped, cropped, moved "
    "or noised, than training records lie to one another.",
    "text": "A copy is what has a long span that stands verbatim in a training record.",
}
"""What is called a copy, by modality."""

STANDARDS = ("GB 45438-2025", "IPTC DigitalSourceType trainedAlgorithmicMedia")
PLACES = {
    "png": "XMP property TC260:AIGC",
    "md": "front matter",
    "parquet": "column AIGC and the metadata of the schema",
}
"""Where the label is, by the suffix of the file."""


def report_of(
    work: Work,
    artifact: Artifact,
    plan: Plan,
    judged: Judged,
    screened: Screened | None,
    compared: Sequence[Sheet] = (),
) -> Report:
    """All that is known of a generation that is not published yet; `compared` are the sheets that
    stand beside what was made."""
    attempt, manifest = work.attempt, judged.dataset.manifest
    accepted = sum(shard.records for shard in manifest.shards)
    made = screened.selection.made if screened else accepted
    return Report(
        dataset=judged.dataset.reference,
        submission=attempt.submission.id,
        created=manifest.created,
        published=judged.verdict.passed,
        verdict=judged.verdict.as_dict(),
        figures=judged.figures,
        evaluation=judged.evaluation.as_dict() if judged.evaluation else None,
        plan=plan.model_dump(mode="json"),
        model=_origin(attempt, artifact),
        sheets=[*_sheets(attempt, judged.dataset), *compared],
        seconds=work.seconds,
        shards=[
            ShardEntry(
                path=shard.path, records=shard.records, bytes=shard.bytes, sha256=shard.sha256 or ""
            )
            for shard in manifest.shards
        ],
        reproduce=_commands(attempt, judged.dataset),
        champion=judged.champion,
        nights=judged.nights,
        funnel=_funnel(plan, screened) if screened else None,
        rejected=list(_rejected(plan, screened)) if screened else [],
        copying=_copying(attempt, plan, judged.dataset, screened) if screened else None,
        passages=list(_passages(attempt, judged.dataset)),
        economics=account(
            work.usage,
            work.spec.economics,
            made=made,
            accepted=accepted,
            stored=sum(shard.bytes for shard in manifest.shards),
            published=judged.verdict.passed,
        ),
        labelling=_labelling(attempt, plan, judged.dataset, accepted),
        incidents=work.incidents,
    )


def _origin(attempt: Attempt, artifact: Artifact) -> ModelOrigin:
    model, trained_on = attempt.model, artifact.trained_on
    return ModelOrigin(
        name=model.name,
        version=model.version,
        digest=model.digest,
        run_id=model.run_id,
        family=model.family,
        trained_on=TrainingData(dataset=trained_on["dataset"], digest=trained_on["digest"]),
        code=model.code,
    )


def _commands(attempt: Attempt, dataset: Dataset) -> list[str]:
    aigc = _aigc(attempt)
    return [
        f"{aigc} submit {shlex.quote(str(attempt.run.spec))} --set publish.dataset=again",
        f"{aigc} data verify {dataset.reference}",
        f"{aigc} data explain {dataset.reference} 0",
    ]


def _aigc(attempt: Attempt) -> str:
    return shlex.join(["aigc", "--workspace", str(attempt.session.workspace.root)])


def _sheets(attempt: Attempt, dataset: Dataset) -> list[Sheet]:
    """What was made, and beside it what is real; and where they differ most."""
    made = _sheet(
        dataset, GENERATED, "Generated", "The first samples of the plan, a class a column"
    )
    if attempt.submission.dataset is None:
        return [made]
    caption = "Records that the model has never seen, a class a column"
    real = _sheet(attempt.dataset, "test", "Held-out data", caption)
    return [made, real, *_farthest(dataset)]


def _sheet(dataset: Dataset, split: str, title: str, caption: str) -> Sheet:
    records = in_class_columns(dataset.records(split), SHEET_RECORDS)
    return contact_sheet(records.stored, dataset.manifest.layout, title, caption)


def _farthest(dataset: Dataset) -> Iterator[Sheet]:
    """The samples that are least like any training record, if they were compared."""
    if DISTANCE not in dataset.manifest.columns:
        return
    batches = dataset.read(GENERATED, [DISTANCE])
    distances = torch.cat([torch.tensor(batch.column(0).to_pylist()) for batch in batches])
    _, worst = extremes(distances, FARTHEST)
    if len(worst):
        stored = dataset.records(GENERATED).stored[worst.flip(0)]
        title, caption = "Farthest from the training data", "The least like any training record"
        yield contact_sheet(stored, dataset.manifest.layout, title, caption)


def _funnel(plan: Plan, screened: Screened) -> Funnel:
    selection, screening = screened.selection, plan.screening
    return Funnel(
        wanted=plan.count,
        made=selection.made,
        rejected=selection.reasons,
        replaced=int((selection.attempts > 0).sum()),
        accepted=selection.accepted,
        budget=screening.budget if screening else 0,
    )


def _rejected(plan: Plan, screened: Screened) -> Iterator[Rejected]:
    """The first candidates that are in no dataset."""
    rejected = screened.selection.rejected[:REJECTED]
    if not rejected:
        return
    stored = stored_records(screened.rejected(REJECTED), plan.layout)
    for each, record in zip(rejected, stored, strict=True):
        yield Rejected(each.sample, each.attempt, each.reason, shown(record, plan.layout))


def _copying(attempt: Attempt, plan: Plan, dataset: Dataset, screened: Screened) -> Copying | None:
    """What is known of copies of the training data, if samples were compared with them."""
    if plan.screening is None or plan.screening.memory is None:
        return None
    learned = trained_on(attempt)
    return Copying(
        compared_with=f"the training split of {' and '.join(each.reference for each in learned)}",
        rule=RULES[plan.layout.modality],
        checked=screened.selection.made,
        rejected=screened.selection.reasons.get("copied", 0),
        pairs=list(_pairs(plan, dataset, training_records(learned))),
    )


def _pairs(plan: Plan, dataset: Dataset, training: Tensor) -> Iterator[Pair]:
    """The samples that are nearest to one of the training records (N, *shape), each beside it."""
    content = modality(plan.layout.modality).column_name
    batches = dataset.read(GENERATED, [content, SAMPLE, NEIGHBOUR, DISTANCE])
    nearest = heapq.nsmallest(PAIRS, _rows(batches, plan.layout), key=lambda row: row[:2])
    for distance, sample, neighbour, stored in nearest:
        pair = (shown(each, plan.layout) for each in (stored, training[neighbour]))
        yield Pair(sample, neighbour, distance, False, *pair)


def _rows(
    batches: Iterator[pa.RecordBatch], layout: Layout
) -> Iterator[tuple[float, int, int, Tensor]]:
    """Of each sample how far its nearest training record is, its id, that record's row, itself."""
    for batch in batches:
        distances = batch.column(DISTANCE).to_pylist()
        samples, neighbours = (batch.column(name).to_pylist() for name in (SAMPLE, NEIGHBOUR))
        stored = stored_records(pa.Table.from_batches([batch]), layout)
        yield from zip(distances, samples, neighbours, stored, strict=True)


def _passages(attempt: Attempt, dataset: Dataset) -> Iterator[Passage]:
    """The first texts, and which words of them stand in the training data."""
    layout = dataset.manifest.layout
    if layout.modality != "text":
        return
    stored = dataset.records(GENERATED).stored[:PASSAGES]
    memory = _memory(attempt.run.memory)
    for sample, text in enumerate(texts(stored)):
        yield Passage(sample, text, copied_spans(text, memory) if memory else ())


def _memory(folder: Path) -> Memory | None:
    return Memory.load(folder) if folder.exists() else None


def _labelling(attempt: Attempt, plan: Plan, dataset: Dataset, accepted: int) -> Labelling:
    suffix, _ = FORMATS[plan.layout.modality]
    return Labelling(
        standards=STANDARDS,
        producer=plan.producer,
        places={each: PLACES[each] for each in (suffix, "parquet")},
        checked=accepted,
        read=_read_commands(attempt, dataset, suffix),
    )


def _read_commands(attempt: Attempt, dataset: Dataset, suffix: str) -> Sequence[str]:
    explain = f"{_aigc(attempt)} data explain {dataset.reference} 0"
    return [explain, f"{explain} --save 0.{suffix}"]
