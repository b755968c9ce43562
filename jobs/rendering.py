"""A submission as a document that another scheduler runs."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.kuberay import MOST_SPEC_BYTES, Document, cluster_document, ray_job
from jobs.errors import FieldPath, SpecInvalid
from jobs.handover import made_from
from jobs.source import Source
from jobs.spec import as_document
from jobs.submission import Submission


def rendered(submission: Submission, source: Source, queue: str | None = None) -> Document:
    """The RayJob of a submission, whose spec was read from `source`, in that queue of Kueue.

    Raises SpecInvalid, with every reason why there can be none.
    """
    if found := list(_obstacles(submission)):
        raise SpecInvalid([source.problem(path, message) for path, message in found])
    spec = submission.spec
    text, cluster = as_document(spec), cluster_document()
    return ray_job(cluster, submission.id, text, spec.resources, made_from(), queue)


def _obstacles(submission: Submission) -> Iterator[tuple[FieldPath, str]]:
    """What a job on Kubernetes cannot have, and what would not be found there."""
    gpus = submission.spec.resources.gpus_per_worker
    if gpus % 1:
        message = f"must be a whole number, as Kubernetes shares no GPU (got {gpus:g})"
        yield ("resources", "gpus_per_worker"), message
    if submission.unpublished:
        message = "must be refuse: a version without what is damaged is made when a job runs; "
        yield ("data", "damaged"), f"{message}make it now by aigc data verify NAME --quarantine"
    size = len(as_document(submission.spec).encode())
    if size > MOST_SPEC_BYTES:
        yield (), f"has {size:,} bytes; what Kubernetes carries may have {MOST_SPEC_BYTES:,}"
