"""Candidates for a generated dataset: made on a place, each file committed once, and chosen from.

candidates/VERSION/00-00003.parquet     the first attempt at the samples of shard 3
candidates/VERSION/01-00000.parquet     the second attempt at the first samples that were rejected
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from aigc.data.catalog import Dataset, find
from aigc.data.shards import ATTEMPT, SAMPLE
from aigc.errors import ArtifactCorrupt
from aigc.generation.finishing import finished
from aigc.generation.plan import GENERATED, Plan
from aigc.generation.sampling import shard_table
from aigc.generation.scores import FINGERPRINT, THUMBNAIL, chosen_of, findings, looks, scored
from aigc.generation.screening import REACHES, Memory
from aigc.generation.selection import Findings, Looks, Selection, choose
from aigc.models.artifact import load_model
from aigc.models.contract import Model
from aigc.seeding import Integers
from aigc.training.tensors import require_whole
from cluster.code import require_same_code
from cluster.commits import commit_table, is_committed
from cluster.logs import logged
from cluster.places import Mapper
from cluster.resources import Resources
from cluster.tasks import behind
from cluster.workspace import RunFolder


@dataclass(frozen=True)
class ModelAt:
    """The planned model, where every worker finds it. Plain data: it travels between processes."""

    folder: Path
    digest: str
    use_gpu: bool

    def load(self) -> Model:
        """The model, once for all that this process makes. Raises ArtifactCorrupt."""
        return _loaded(self)


@dataclass(frozen=True)
class MemoryRequest:
    """Whose training splits are to be remembered, and where."""

    datasets: Path
    references: Sequence[str]
    target: Path


def remember(request: MemoryRequest) -> str:
    """Write down what a model was trained on, to compare samples with it, unless that was done
    before, by code that writes it as this does; the digest of what is written."""
    with suppress(ArtifactCorrupt):
        Memory.load(request.target)
        return require_whole(request.target)
    trained_on = [find(request.datasets, each) for each in request.references]
    memory = Memory.of(training_records(trained_on), trained_on[0].manifest.layout)
    return memory.save(request.target)


def training_records(datasets: Sequence[Dataset]) -> Tensor:
    """The stored training records (N, *shape) of one dataset after the other."""
    return torch.cat([dataset.records("train").stored for dataset in datasets])


@dataclass(frozen=True)
class CandidatesRequest:
    """One file of candidates: an attempt at some samples, and the folder with the memory of what
    the model was trained on, if they are compared with that."""

    plan: Plan
    attempt: int
    samples: Integers
    model: ModelAt
    memory: Path | None
    attempts: Path
    target: Path


def make_candidates(request: CandidatesRequest) -> Callable[[], int]:
    """Make candidates and look at them; what is returned labels and commits them, and says how many
    there are.

    If another process was first, its file stands. Raises ArtifactCorrupt, Unlabelled,
    WorkspaceUnwritable.
    """
    require_same_code(request.plan.code)
    count = len(request.samples)
    if is_committed(request.target, lambda: _is_whole(request.target, count)):
        return lambda: count
    model = request.model.load()
    memory = _remembered(request.memory) if request.memory else None
    table = shard_table(model, request.plan, request.samples.tolist(), request.attempt)
    looked_at = scored(table, request.plan.layout, memory)

    def commit() -> int:
        commit_table(finished(looked_at, request.plan), request.attempts, request.target)
        return count

    return commit


@dataclass(frozen=True, eq=False)
class Chosen:
    """Candidates, int64 (N, 2), the sample and the attempt of each in the order of the samples, as
    those of one shard, and the files that hold them."""

    candidates: Integers
    files: tuple[Path, ...]

    def file(self) -> Path | None:
        """The file that holds these samples and no others, if there is one."""
        if len(self.files) > 1 or pq.read_metadata(self.files[0]).num_rows > len(self.candidates):
            return None
        return self.files[0]

    def table(self) -> pa.Table:
        """The samples in their order, with what was found out about them."""
        candidates = chosen_of(pa.concat_tables(_read(file) for file in self.files))
        samples, made = (candidates.column(name).to_numpy() for name in (SAMPLE, ATTEMPT))
        at = np.searchsorted(self.candidates[:, 0], samples).clip(max=len(self.candidates) - 1)
        rows = np.flatnonzero(
            (self.candidates[at] == np.stack([samples, made], axis=1)).all(axis=1)
        )
        return candidates.take(pa.array(rows[np.argsort(samples[rows])]))


@dataclass(frozen=True)
class Files:
    """Where candidates lie: of each attempt those that were `asked` for, the samples ascending, in
    files of as many as a shard has."""

    folder: Path
    size: int
    asked: list[Integers] = field(default_factory=list)

    def path(self, attempt: int, part: int) -> Path:
        """The file of that part of an attempt."""
        return self.folder / f"{attempt:02d}-{part:05d}.parquet"

    def of(self, candidates: Integers) -> Iterator[Chosen]:
        """The candidates (N, 2), file by file."""
        for attempt in np.unique(candidates[:, 1]).tolist():
            mine = candidates[candidates[:, 1] == attempt]
            parts = np.searchsorted(self.asked[attempt], mine[:, 0]) // self.size
            for part in np.unique(parts).tolist():
                yield Chosen(mine[parts == part], (self.path(attempt, part),))


@dataclass(frozen=True)
class Screened:
    """What came of the candidates of a plan: the samples of each shard, and where all lie."""

    selection: Selection
    chosen: list[Chosen]
    files: Files

    def rejected(self, most: int) -> pa.Table:
        """The first candidates that were rejected, at most so many, in the order of `selection`."""
        first = [(each.sample, each.attempt) for each in self.selection.rejected[:most]]
        return pa.concat_tables(each.table() for each in self.files.of(np.array(first)))


class Candidates:
    """The candidates of a plan, in the folder of the run."""

    def __init__(self, plan: Plan, run: RunFolder, datasets: Path, model: ModelAt) -> None:
        self._plan, self._run, self._datasets, self._model = plan, run, datasets, model
        self._files = Files(run.candidates / plan.version, plan.shard_size)

    def choose(
        self, place: Mapper, resources: Resources, progress: Callable[[int], None]
    ) -> Screened:
        """Make candidates, look at them, and choose; `progress` hears how many there are."""
        made = 0
        task = logged(behind(make_candidates), self._run.logs, "generation")

        def look(attempt: int, samples: Integers) -> Findings:
            nonlocal made
            requests = self._requests(attempt, samples)
            for count in place.map(task, requests, resources):
                made += count
                progress(made)
            columns = [FINGERPRINT, THUMBNAIL]
            return Findings.joined([findings(_read(each.target, columns)) for each in requests])

        screening = self._plan.screening
        assert screening is not None, "only what is screened has candidates"
        earlier = self._earlier(screening.earlier)
        reach = REACHES[self._plan.layout.modality]
        selection = choose(self._plan.count, screening.budget, earlier, reach, look)
        chosen = [self._chosen(shard, selection) for shard in range(self._plan.shards)]
        return Screened(selection, chosen, self._files)

    def _requests(self, attempt: int, samples: Integers) -> list[CandidatesRequest]:
        screening, requests = self._plan.screening, list[CandidatesRequest]()
        memory = self._run.memory if screening and screening.memory else None
        self._files.asked.append(samples)
        for part, start in enumerate(range(0, len(samples), self._files.size)):
            target, mine = (
                self._files.path(attempt, part),
                samples[start : start + self._files.size],
            )
            shared = (self._model, memory, self._run.attempts, target)
            requests.append(CandidatesRequest(self._plan, attempt, mine, *shared))
        return requests

    def _chosen(self, shard: int, selection: Selection) -> Chosen:
        planned = self._plan.samples(shard)
        samples = np.arange(planned.start, planned.stop)
        candidates = np.stack([samples, selection.attempts[samples]], axis=1)
        candidates = candidates[candidates[:, 1] >= 0]
        files = (file for each in self._files.of(candidates) for file in each.files)
        return Chosen(candidates, tuple(files))

    def _earlier(self, references: Sequence[str]) -> Looks | None:
        """What the samples of earlier datasets look like.

        Raises DatasetNotFound: without one of them other samples would be chosen.
        """
        batches = [
            batch
            for reference in references
            for batch in find(self._datasets, reference).read(GENERATED, [FINGERPRINT, THUMBNAIL])
        ]
        return looks(pa.Table.from_batches(batches)) if batches else None


def _read(file: Path, columns: list[str] | None = None) -> pa.Table:
    """Candidates, whose checksums must hold; all columns, unless some are named."""
    with pq.ParquetFile(file, page_checksum_verification=True) as candidates:
        return candidates.read(columns)


def _is_whole(file: Path, count: int) -> bool:
    """Whether a file of so many candidates is there, can be read, and says what is against them."""
    try:
        return len(findings(_read(file)).blank) == count
    except (OSError, ValueError, LookupError, pa.ArrowException):
        return False


@functools.lru_cache(maxsize=1)
def _loaded(model: ModelAt) -> Model:
    artifact = load_model(model.folder)
    if artifact.digest != model.digest:
        raise ArtifactCorrupt(
            f"{model.folder} is not the model of the plan",
            "Remove the folder and submit the spec again",
        )
    return artifact.model.to("cuda" if model.use_gpu else "cpu")


@functools.lru_cache(maxsize=1)
def _remembered(folder: Path) -> Memory:
    """The memory, once for all that this process looks at."""
    return Memory.load(folder)
