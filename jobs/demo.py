"""The whole night in a few minutes, on bundled digits, with the shipped specs."""

from __future__ import annotations

import time
from pathlib import Path

from aigc.data.batches import in_class_columns
from aigc.data.catalog import Dataset
from aigc.data.importers import import_dataset
from aigc.modalities import modality
from cluster.contact import in_contact
from cluster.training import SHEET_RECORDS
from cluster.workspace import Workspace
from jobs.progress import Reporter
from jobs.run import execute, require_passed
from jobs.session import open_session
from jobs.spec import load
from jobs.specs import SPECS
from jobs.submission import Outcome, prepare

DATASET = "mnist-5k"
SPEC_FILES = (
    SPECS / "training" / "digits-vae.yaml",
    SPECS / "training" / "digits-gan.yaml",
    SPECS / "generation" / "demo-digits.yaml",
)


def run_demo(workspace: Workspace, place: str, reporter: Reporter) -> Outcome:
    """Import, train a VAE and a GAN, promote the better, generate, check, publish, report.

    Raises GateRefused if the generated dataset was quarantined.
    """
    started = time.monotonic()
    dataset, _ = import_dataset(workspace.datasets, DATASET)
    reporter.say(f"imported {dataset.reference}; real digits: {_real_sheet(dataset, workspace)}")
    session = open_session(workspace, place, reporter)
    outcome: Outcome = {}
    with session.place, in_contact(session.tracking):
        for path in SPEC_FILES:
            submission = prepare(load(path), session)
            reporter.say(f"\n{path.name}: pictures appear in {submission.run.path}")
            outcome = execute(submission, session)
    require_passed(outcome)
    reporter.say(f"\ndone in {time.monotonic() - started:.0f} s")
    return outcome


def _real_sheet(dataset: Dataset, workspace: Workspace) -> Path:
    """A contact sheet of what is to be learned: the first picture on the disk."""
    path = workspace.root / f"{dataset.manifest.name}.png"
    records = in_class_columns(dataset.records("train"), SHEET_RECORDS)
    modality(dataset.manifest.layout.modality).sheet(records.stored).save(path)
    return path
